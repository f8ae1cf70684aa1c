//! Races of every command with itself: 32 tasks that start count_true, on any table. What may happen once must happen
//! once, and all attempts must be counted.

use std::sync::Arc;

use super::count_true;
use crate::{
    audit::{Action as Did, AuditEvent, Outcome},
    auth::verify_code::SignIn,
    env::{SystemEntropy, Timestamp},
    id::{BatchId, ClientId, IdempotencyKey, TenantId, UserId, UserKey},
    policy::{self, Backoff},
    recovery::{self, RecoveryCode, ResetCode},
    secret::{CodeDigest, KeyRing, Nonce, Sealer, TokenRef, TotpSecret},
    sign_in::PasswordChecked,
    store::{
        Store, Table,
        batch::{BatchRequest, BatchResult},
        client::{Client, ClientChange},
        data_keys::WrappedKey,
        enrolment::{ConfirmedEnrolment, EnrolmentToken},
        fixture::{Ann, NOW, PASSWORD, STEP, ann_of, attempt, decided, person},
        item::{self, AuthType, Kind, Role},
        login::Opened,
        recovery::Replaced,
        session::{AdminContext, Ended, Which},
        tenant::{NewTenant, TenantRejection},
        users::{Actor, Changed, CreationRejection, NewUser, NewUserDetails, Patch},
        verify::Disabled,
        write::{Action, attr, num, text},
    },
    totp,
};

mod sso;

const RACERS: usize = 32;

/// A tenant of its own for a race, with the Administrator Ann, a session of hers and challenges.
struct RaceTenant {
    ann: Ann,
    session: TokenRef,
    challenges: Vec<TokenRef>,
}

async fn race_tenant(table: &Arc<dyn Table>, name: &str, round: usize) -> Arc<RaceTenant> {
    let (ann, mut challenges) = ann_of(&format!("{name}-{round}"), Arc::clone(table), 9).await;
    let first = challenges.pop().unwrap();
    let session = ann.with_step(&first, STEP - 1, NOW).await.unwrap().reference().clone();
    Arc::new(RaceTenant { ann, session, challenges })
}

impl RaceTenant {
    fn store(&self) -> &Store {
        &self.ann.store
    }

    async fn admin(&self) -> AdminContext {
        let principal = self.store().read_session(&self.session, NOW).await.unwrap();
        principal.administrator(NOW).ok().unwrap()
    }

    fn key(&self, user: &str) -> UserKey {
        self.ann.key.tenant().user(UserId::parse(user).unwrap())
    }

    fn new_user(&self, name: &str, id: &str, role: Role) -> NewUser {
        let login = self.ann.names.login(self.ann.key.tenant(), &crate::id::LoginName::fold(name));
        let kind = if role == Role::Portal { Kind::Contact } else { Kind::Employee };
        let details =
            NewUserDetails { kind, role, auth_type: AuthType::Local, username: name, display_name: name, email: None };
        NewUser::new(self.key(id), login, &details, Nonce::generate(&SystemEntropy).unwrap(), NOW)
    }

    async fn create(&self, user: &NewUser) -> Result<(), CreationRejection> {
        decided(self.store().create_user(&Actor::Seed, user, &attempt(NOW), &self.ann.event()).await)
    }
}

/// Races all commands. Each round has its own tenants.
pub async fn race(table: Arc<dyn Table>, rounds: usize) {
    for round in 0..rounds {
        passwords(&table, round).await;
        codes(&table, round).await;
        enrolment(&table, round).await;
        sessions(&table, round).await;
        resets(&table, round).await;
        directory(&table, round).await;
        batches(&table, round).await;
        sso::race(&table, round).await;
    }
    data_keys(&table).await;
}

/// `add_data_key`. The data keys belong to the store, not to a tenant, so this runs once.
async fn data_keys(table: &Arc<dyn Table>) {
    for number in [1, 2] {
        let made = count_true(RACERS, |n| {
            let store = Store::new(Arc::clone(table));
            async move {
                let key = WrappedKey::new(vec![u8::try_from(n).unwrap()], NOW);
                store.add_data_key(number, &key).await.unwrap().get(&number) == Some(&key)
            }
        });
        assert_eq!(made.await, 1, "data keys made");
    }
}

/// `charge_login`, `open_attempt`, `open_exempt_session`, `notify_failures`, `charge_own_password`, `change_password`.
async fn passwords(table: &Arc<dyn Table>, round: usize) {
    password_charges(table, round).await;
    challenges(table, round).await;
    networks(table, round).await;
    exempt_sessions(table, round).await;
    failure_notifications(table, round).await;
    password_changes(table, round).await;
    own_password_charges(table, round).await;
}

/// Five attempts are admitted before the backoff.
async fn password_charges(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "charge", round).await;
    let admitted = count_true(RACERS, |_| {
        let one = Arc::clone(&one);
        async move {
            let charge = one.store().charge_login(&one.ann.login, None, &Backoff::at(NOW), &attempt(NOW)).await;
            decided(charge).is_ok()
        }
    });
    assert_eq!(admitted.await, 5, "passwords checked");
}

/// Opened challenges are counted against the budget of the network.
async fn challenges(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "open", round).await;
    let opened = count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move {
            // Spread over ten minutes, so that the backoff admits them. The network's budget does not admit all.
            let at = Timestamp::from_secs(NOW.secs() + i64::try_from(n).unwrap() * 600 / 32);
            let device = None;
            let Ok(right) = one.verified_password(device, at).await else { return false };
            let PasswordChecked::MfaRequired(opening) = right.decide() else { panic!("not due") };
            let event = one.ann.event();
            // Contention is a valid result too: the request is denied and nothing is opened.
            let opened = one.store().open_attempt(opening, "10.9.8", &SystemEntropy, &event).await;
            matches!(opened, Ok(Opened::Done(..)))
        }
    });
    let opened = opened.await;
    let user = one.ann.read(&one.ann.key).await;
    let counted = user.networks.get("10.9.8").map_or(0, Vec::len);
    assert!(opened == counted && counted <= policy::NETWORK_CHALLENGES, "{opened} opened, {counted} counted");
    assert!(user.challenges.len() <= policy::CHALLENGES);
}

/// The number of counted networks is limited.
async fn networks(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "networks", round).await;
    let opened = count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move {
            // Over twenty minutes, so that networks are removed by age and by the limit.
            let at = Timestamp::from_secs(NOW.secs() + i64::try_from(n).unwrap() * 1200 / 32);
            let Ok(right) = one.verified_password(None, at).await else { return false };
            let PasswordChecked::MfaRequired(opening) = right.decide() else { panic!("not due") };
            let network = format!("10.9.{n}");
            let opened = one.store().open_attempt(opening, &network, &SystemEntropy, &one.ann.event()).await;
            matches!(opened, Ok(Opened::Done(..)))
        }
    });
    assert!(opened.await > 0);
    let networks = one.ann.read(&one.ann.key).await.networks.len();
    assert!((1..=policy::NETWORKS).contains(&networks), "{networks} networks");
}

/// The number of sessions of an excluded contact is limited.
async fn exempt_sessions(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "exempt", round).await;
    let excluded = item::Exclusion { batch: BatchId::parse("b").unwrap(), at: Timestamp::default() };
    for action in [
        Action::Set(attr("k"), text("c")),
        Action::Set(attr("fs"), text("n")),
        Action::Set(attr("ex"), item::value(&excluded).unwrap()),
    ] {
        one.ann.change(action).await;
    }
    let opened = count_true(RACERS, |_| {
        let one = Arc::clone(&one);
        async move {
            let Ok(right) = one.verified_password(None, NOW).await else { return false };
            let PasswordChecked::Exempt(exempt) = right.decide() else { panic!("not exempt") };
            let opened = one.store().open_exempt_session(exempt, &SystemEntropy, &one.ann.event()).await;
            matches!(opened, Ok(Opened::Done(_)))
        }
    });
    assert!(opened.await >= 1);
    assert!(one.ann.read(&one.ann.key).await.sessions.len() <= policy::SESSIONS);
}

/// Five failures cause one notification.
async fn failure_notifications(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "notified", round).await;
    for _ in 0..4 {
        one.ann.password("wrong", None, NOW).await.err().unwrap();
    }
    let fifth = Arc::new(one.ann.password("wrong", None, NOW).await.err().unwrap());
    let notified = count_true(RACERS, |_| {
        let (one, fifth) = (Arc::clone(&one), Arc::clone(&fifth));
        async move { one.store().notify_failures(&fifth).await.unwrap() }
    });
    assert_eq!(notified.await, 1, "notifications of failures");
}

/// One of the concurrent password changes succeeds.
async fn password_changes(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "password", round).await;
    let hash = one.ann.hash("another good password").await;
    let changed = count_true(RACERS, |n| {
        let (one, hash) = (Arc::clone(&one), hash.clone());
        async move {
            let at = Timestamp::from_millis(NOW.millis() + i64::try_from(n).unwrap());
            let Ok(caller) = decided(one.store().read_session(&one.session, NOW).await) else { return false };
            let Ok(password_attempt) = decided(one.store().charge_own_password(&caller, &attempt(at)).await) else {
                return false;
            };
            let proof = one.ann.proof(&password_attempt.hash().unwrap(), PASSWORD).await;
            let Ok(right) = password_attempt.checked(proof) else { return false };
            let event = one.ann.event();
            let changed = one.store().change_password(right, &hash, &SystemEntropy, &event).await;
            changed.is_ok()
        }
    });
    assert_eq!(changed.await, 1, "passwords changed");
}

/// A session may check the current password five times.
async fn own_password_charges(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "own", round).await;
    let caller = Arc::new(one.store().read_session(&one.session, NOW).await.unwrap());
    let admitted = count_true(RACERS, |_| {
        let (one, caller) = (Arc::clone(&one), Arc::clone(&caller));
        async move { one.store().charge_own_password(&caller, &attempt(NOW)).await.is_ok() }
    });
    assert_eq!(admitted.await, 5, "current passwords checked in one session");
}

impl RaceTenant {
    /// A verified password, if the backoff admits the attempt.
    async fn verified_password(
        &self,
        device: Option<&TokenRef>,
        at: Timestamp,
    ) -> Result<crate::sign_in::VerifiedPassword, ()> {
        let charge = decided(self.store().charge_login(&self.ann.login, device, &Backoff::at(at), &attempt(at)).await);
        let Ok(password_attempt) = charge else { return Err(()) };
        self.ann.checked(password_attempt, PASSWORD).await.map_err(|_| ())
    }
}

/// `charge_verification`, `accept` of a code and of a recovery token, `disable_factor`, `replace_recovery_token`.
async fn codes(table: &Arc<dyn Table>, round: usize) {
    code_charges(table, round).await;
    code_sign_ins(table, round).await;
    recovery_sign_ins(table, round).await;
    recovery_tokens(table, round).await;
    disabled_factors(table, round).await;
}

/// A challenge admits five attempts.
async fn code_charges(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "code", round).await;
    let admitted = count_true(RACERS, |_| {
        let one = Arc::clone(&one);
        async move { one.ann.charge(&one.challenges[0], NOW).await.is_ok() }
    });
    assert_eq!(admitted.await, 5, "attempts at one challenge");
}

/// A code is accepted once, over several challenges.
async fn code_sign_ins(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "step", round).await;
    let signed_in = count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move {
            let Ok(pending) = one.ann.charge(&one.challenges[n % 8], NOW).await else { return false };
            let code = totp::code_at(&one.ann.secret, STEP).unwrap();
            let last = pending.user().factor.active().unwrap().last_step;
            let Some(proof) = totp::check(&one.ann.secret, &code, NOW, last) else { return false };
            let sign_in = SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap();
            one.store().accept(sign_in, &one.ann.event()).await.is_ok()
        }
    });
    assert_eq!(signed_in.await, 1, "sign-ins of one code");
}

/// A recovery token is accepted once.
async fn recovery_sign_ins(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "recover", round).await;
    let signed_in = count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move {
            let Ok(pending) = one.ann.charge(&one.challenges[n % 8], NOW).await else { return false };
            let stored = pending.user().factor.recovery_token().map(|it| &it.digest);
            let (keys, code) = (&one.ann.codes, &one.ann.recovery);
            let Some(proof) = recovery::check(keys, &one.ann.key, stored, code) else { return false };
            let sign_in = SignIn::with_recovery(pending, proof, &SystemEntropy).unwrap();
            one.store().accept(sign_in, &one.ann.event()).await.is_ok()
        }
    });
    assert_eq!(signed_in.await, 1, "sign-ins of one recovery token");
}

/// After concurrent replacements one recovery token works.
async fn recovery_tokens(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "regenerate", round).await;
    let codes: Arc<Vec<_>> = Arc::new((0..RACERS).map(|_| RecoveryCode::generate(&SystemEntropy).unwrap()).collect());
    let made = count_true(RACERS, |n| {
        let (one, codes) = (Arc::clone(&one), Arc::clone(&codes));
        async move {
            let caller = one.store().read_session(&one.session, NOW).await.unwrap();
            let caller = caller.fresh_or_recovering(NOW).ok().unwrap();
            let digest = codes[n].digest(&one.ann.codes, &one.ann.key);
            let made = one.store().replace_recovery_token(&caller, &digest, &attempt(NOW), &one.ann.event()).await;
            matches!(made, Ok(Replaced::Done))
        }
    });
    assert!(made.await >= 1);
    let user = one.ann.read(&one.ann.key).await;
    let stored = user.factor.recovery_token().map(|it| it.digest);
    let works = |code: &&RecoveryCode| stored == Some(code.digest(&one.ann.codes, &one.ann.key));
    assert_eq!(codes.iter().filter(works).count(), 1, "recovery tokens that work");
}

/// A factor is disabled once.
async fn disabled_factors(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "disable", round).await;
    one.ann.change(Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES))).await;
    let user = Arc::new(one.ann.read(&one.ann.key).await);
    let disabled = count_true(RACERS, |_| {
        let (one, user) = (Arc::clone(&one), Arc::clone(&user));
        async move {
            let done = one.store().disable_factor(&one.ann.key, &user, &attempt(NOW), &one.ann.event()).await;
            matches!(done, Ok(Disabled::Done))
        }
    });
    assert_eq!(disabled.await, 1, "disabled");
    assert!(one.ann.administrators().await.with_mfa.is_empty());
}

/// `may_enrol`, `begin_enrolment`, `charge_confirmation`, `confirm_enrolment`.
async fn enrolment(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "enrol", round).await;
    let ring = Arc::new(KeyRing::new([(1, zeroize::Zeroizing::new([9; 32]))].into()).unwrap());
    let token = || EnrolmentToken::new(one.session.clone()).unwrap();
    let begun = count_true(RACERS, |_| {
        let (one, ring, token) = (Arc::clone(&one), Arc::clone(&ring), token());
        async move {
            let attempt = attempt(NOW);
            let start = one.store().may_enrol(token, None, &attempt).await.unwrap();
            let factor = Nonce::generate(&SystemEntropy).unwrap();
            let secret = TotpSecret::generate(start.factor(factor), &SystemEntropy).unwrap();
            let sealed = ring.seal(&secret, &SystemEntropy).await.unwrap();
            let begun = one.store().begin_enrolment(start, factor, sealed, &attempt, &one.ann.event()).await;
            begun.is_ok()
        }
    });
    assert!(begun.await >= 1);
    let confirmed = count_true(RACERS, |_| {
        let (one, ring, token) = (Arc::clone(&one), Arc::clone(&ring), token());
        async move {
            let charge = decided(one.store().charge_confirmation(token, attempt(NOW)).await);
            let Ok(charged) = charge else { return false };
            let secret = ring.open(charged.factor(), charged.secret()).await.unwrap();
            let proof = totp::check(&secret, &totp::code_at(&secret, STEP).unwrap(), NOW, -1).unwrap();
            let confirmed = ConfirmedEnrolment::new(charged, proof, &SystemEntropy).unwrap().unwrap();
            one.store().confirm_enrolment(confirmed, &one.ann.event()).await.is_ok()
        }
    });
    assert_eq!(confirmed.await, 1, "enrolments confirmed");
}

/// `read_session`, `end_sessions`.
async fn sessions(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "sessions", round).await;
    let other = one.ann.with_step(&one.challenges[0], STEP, NOW).await.unwrap().reference().clone();
    let ended = count_true(RACERS, |_| {
        let (one, other) = (Arc::clone(&one), other.clone());
        async move {
            let caller = one.store().read_session(&one.session, NOW).await.unwrap();
            let which = Which::One(other.id().clone());
            let ended = one.store().end_sessions(&caller, &which, &attempt(NOW), &one.ann.event()).await;
            matches!(ended, Ok(Ended::Done))
        }
    });
    assert_eq!(ended.await, 1, "sessions ended");
    assert!(one.store().read_session(&other, NOW).await.is_err());
}

/// `reset_mfa`, `reset_sole_administrator`.
async fn resets(table: &Arc<dyn Table>, round: usize) {
    admin_resets(table, round).await;
    support_resets(table, round).await;
}

/// The resets by one Administrator are counted and limited.
async fn admin_resets(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "resets", round).await;
    for n in 0..RACERS {
        one.create(&one.new_user(&format!("p{n}"), &format!("u-{n}"), Role::Standard)).await.unwrap();
    }
    let reset = count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move {
            let target = UserId::parse(&format!("u-{n}")).unwrap();
            let (principal, asked) = one.store().load_reset(&one.session, target, NOW).await.unwrap();
            let admin = principal.administrator(NOW).ok().unwrap();
            let code = ResetCode::generate(&SystemEntropy).unwrap();
            let digest = |key: &UserKey| code.digest(&one.ann.codes, key);
            let reset = one.store().reset_mfa(&admin, asked, &digest, &attempt(NOW), &one.ann.event()).await;
            reset.is_ok()
        }
    });
    let (reset, counted) = (reset.await, one.ann.read(&one.ann.key).await.resets.len());
    assert!(reset == counted && (1..=policy::OWN_RESETS).contains(&counted), "{reset} reset, {counted} counted");
}

/// A support ticket allows one reset.
async fn support_resets(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "support-reset", round).await;
    let op = one.operator(table, round).await;
    let reset = count_true(RACERS, |_| {
        let (one, op) = (Arc::clone(&one), op.clone());
        async move {
            let ticket = one.ann.names.ticket(&format!("T-{round}"));
            let asked = decided(one.store().load_support_reset(&op, one.ann.login.clone(), ticket, NOW).await);
            let (principal, asked) = asked.ok().unwrap();
            let operator = principal.operator(NOW).ok().unwrap();
            let code = ResetCode::generate(&SystemEntropy).unwrap();
            let digest = |key: &UserKey| code.digest(&one.ann.codes, key);
            let (event, attempt) = (one.ann.event(), attempt(NOW));
            let store = one.store();
            let reset = store
                .reset_sole_administrator(&Actor::AdminContext(&operator), asked, &digest, &attempt, (&event, &event))
                .await;
            reset.is_ok()
        }
    });
    assert_eq!(reset.await, 1, "resets of one ticket");
}

impl RaceTenant {
    /// The session token of a new operator.
    async fn operator(&self, table: &Arc<dyn Table>, round: usize) -> TokenRef {
        let event = AuditEvent::new(Did::TenantCreated, Outcome::Success, "r");
        let store = Store::new(Arc::clone(table));
        let tenant = NewTenant { id: TenantId::support(), name: "Support".into(), first: None };
        // An earlier round may have created it.
        let created = decided(store.create_tenant(&Actor::Seed, &tenant, &attempt(NOW), (&event, &event)).await);
        assert!(matches!(created, Ok(()) | Err(TenantRejection::Taken)), "{created:?}");
        let key = TenantId::support().user(UserId::parse(&format!("u-op-{round}")).unwrap());
        let token = crate::secret::NewToken::generate(
            crate::secret::TokenClass::Session,
            &key,
            crate::secret::RestoreEpoch::default(),
            &SystemEntropy,
        )
        .unwrap();
        let mut user = person(Kind::Employee, Role::Operator, Nonce::generate(&SystemEntropy).unwrap());
        let session = item::Session {
            verifier: *token.reference().verifier(),
            created: NOW,
            attempt: Nonce::generate(&SystemEntropy).unwrap(),
            ends: NOW + policy::SESSION_LIFE,
            seen: NOW,
            step_up: Some(NOW),
            amr: item::Amr::Otp,
            security_version: 1,
            idp: None,
            password_attempts: 0,
            password_attempt: None,
        };
        user.sessions.insert(token.reference().id().clone(), session);
        self.ann.add(&key, &user).await;
        token.reference().clone()
    }
}

/// `create_user`, `update_user`, `delete_user`, `create_tenant`, `change_settings`, `create_client`, `delete_client`.
async fn directory(table: &Arc<dyn Table>, round: usize) {
    users(table, round).await;
    tenants(table, round).await;
    clients(table, round).await;
}

/// A login name is given once, and the last Administrator can be neither demoted nor deleted.
async fn users(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "directory", round).await;
    let made = count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move { one.create(&one.new_user("bob", &format!("u-bob{n}"), Role::Standard)).await.is_ok() }
    });
    assert_eq!(made.await, 1, "users with one login name");

    for n in 0..7 {
        one.create(&one.new_user(&format!("adm{n}"), &format!("u-adm{n}"), Role::Administrator)).await.unwrap();
    }
    // Ann and seven more Administrators. Each task demotes or deletes one of the eight.
    count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move {
            let target = if n % 8 == 7 { "u-ann".to_owned() } else { format!("u-adm{}", n % 8) };
            let target = UserId::parse(&target).unwrap();
            let Ok((principal, named)) = decided(one.store().load_user(&one.session, target, NOW).await) else {
                return false;
            };
            let Ok(admin) = principal.administrator(NOW) else { return false };
            let (attempt, event) = (attempt(NOW), one.ann.event());
            let patch = Patch { role: Some(Role::Standard), ..Patch::default() };
            let changed = match n % 2 {
                0 => one.store().update_user(&admin, named, &patch, &attempt, &event).await,
                _ => one.store().delete_user(&admin, named, &attempt, &event).await,
            };
            matches!(changed, Ok(Changed::Done(_)))
        }
    })
    .await;
    assert!(!one.ann.administrators().await.active.is_empty(), "the last Administrator must remain");
}

/// A tenant is created once.
async fn tenants(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "tenants", round).await;
    let made = count_true(RACERS, |_| {
        let one = Arc::clone(&one);
        async move {
            let id = TenantId::parse(&format!("new-{round}")).unwrap();
            let (tenant, event) = (NewTenant { id, name: "New".into(), first: None }, one.ann.event());
            let made = one.store().create_tenant(&Actor::Seed, &tenant, &attempt(NOW), (&event, &event)).await;
            made.is_ok()
        }
    });
    assert_eq!(made.await, 1, "tenants with one id");
    let admin = Arc::new(one.admin().await);
    let set = count_true(RACERS, |n| {
        let (one, admin) = (Arc::clone(&one), Arc::clone(&admin));
        async move {
            let (issuer, event) = (format!("Issuer {n}"), one.ann.event());
            let set = one.store().change_settings(&admin, Some(&issuer), None, &attempt(NOW), &event).await;
            matches!(set, Ok(Some(_)))
        }
    });
    assert!(set.await >= 1);
}

/// A client is deleted once.
async fn clients(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "clients", round).await;
    let admin = Arc::new(one.admin().await);
    let id = ClientId::parse(&format!("client-{round}")).unwrap();
    let digest = CodeDigest::of_client_secret(&id, "secret");
    let tenant = one.ann.key.tenant().clone();
    let client = Client { tenant, id, digest, name: "portal".into(), created: NOW, all: false };
    let made = one.store().create_client(&admin, &client, &attempt(NOW), &one.ann.event()).await.unwrap();
    assert_eq!(made, ClientChange::Done);
    let deleted = count_true(RACERS, |_| {
        let (one, admin, id) = (Arc::clone(&one), Arc::clone(&admin), client.id.clone());
        async move {
            let done = one.store().delete_client(&admin, &id, &attempt(NOW), &one.ann.event()).await;
            matches!(done, Ok(ClientChange::Done))
        }
    });
    assert_eq!(deleted.await, 1, "clients deleted");
}

/// `run_batch`.
async fn batches(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "batch", round).await;
    let contacts: Vec<_> = (0..25).map(|n| format!("u-con{n}")).collect();
    for (n, id) in contacts.iter().enumerate() {
        one.create(&one.new_user(&format!("con{n}"), id, Role::Portal)).await.unwrap();
    }
    let request = Arc::new(BatchRequest {
        key: IdempotencyKey::parse("k").unwrap(),
        contacts: contacts.iter().map(|id| UserId::parse(id).unwrap()).collect(),
        disable_mfa: true,
        dry_run: false,
        reason: "r".into(),
    });
    let admin = Arc::new(one.admin().await);
    let reports = count_true(RACERS, |_| {
        let (one, admin, request) = (Arc::clone(&one), Arc::clone(&admin), Arc::clone(&request));
        async move {
            let result = one.store().run_batch(&admin, &request, &attempt(NOW), &one.ann.event()).await;
            matches!(result, Ok(BatchResult::Report(_)))
        }
    });
    assert!(reports.await >= 1);
    for id in &contacts {
        let user = one.ann.read(&one.key(id)).await;
        assert!(
            user.excluded.is_some() && user.security_version == 2,
            "{id} was excluded {} times",
            user.security_version - 1
        );
    }
}
