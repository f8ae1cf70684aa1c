//! Races of every command with itself: 32 tasks that start together, on any table. What may happen once must happen
//! once, and all attempts must be counted.

use std::sync::Arc;

use super::count_true;
use crate::{
    audit::{AuditAction, AuditEvent, Outcome},
    domain::SecurityVersion,
    env::SystemEntropy,
    id::{IdempotencyKey, TenantId, UserId, UserKey},
    policy,
    recovery::ResetCode,
    secret::{KeyRing, Nonce, Sealer, TokenRef, TotpSecret},
    store::{
        OperatorEvents, Store, Table,
        batch::{BatchRequest, ExclusionChange},
        data_keys::WrappedKey,
        enrolment::{ConfirmedEnrolment, EnrolmentToken},
        fixture::{Ann, NOW, STEP, ann_of, attempt, decided, person},
        item::{self, AuthType, Kind, Role},
        session::{AdminContext, SessionsToEnd},
        tenant::{NewTenant, TenantRejection},
        users::{Actor, CreationRejection, NewUser, NewUserDetails},
    },
    totp,
};

mod codes;
mod directory;
mod mails;
mod passwords;
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
        passwords::race(&table, round).await;
        codes::race(&table, round).await;
        enrolment(&table, round).await;
        sessions(&table, round).await;
        resets(&table, round).await;
        directory::race(&table, round).await;
        mails::race(&table, round).await;
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

/// `authorize_enrolment`, `begin_enrolment`, `charge_confirmation`, `confirm_enrolment`.
async fn enrolment(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "enrol", round).await;
    let ring = Arc::new(KeyRing::new([(1, zeroize::Zeroizing::new([9; 32]))].into()).unwrap());
    let token = || EnrolmentToken::new(one.session.clone()).unwrap();
    let begun = count_true(RACERS, |_| {
        let (one, ring, token) = (Arc::clone(&one), Arc::clone(&ring), token());
        async move {
            let attempt = attempt(NOW);
            let start = one.store().authorize_enrolment(token, None, &attempt).await.unwrap();
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
            let proof = totp::check(&secret, &totp::code_at(&secret, STEP).unwrap(), NOW, None).unwrap();
            let confirmed = ConfirmedEnrolment::new(charged, proof, &SystemEntropy).unwrap();
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
            let which = SessionsToEnd::One(other.id().clone());
            let ended = one.store().end_sessions(&caller, &which, &attempt(NOW), &one.ann.event()).await;
            ended.is_ok()
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
            let (principal, target) = one.store().load_reset(&one.session, target, NOW).await.unwrap();
            let admin = principal.administrator(NOW).ok().unwrap();
            let code = ResetCode::generate(&SystemEntropy).unwrap().digest(&one.ann.codes, target.key());
            let reset = one.store().reset_mfa(&admin, target, code, &attempt(NOW), &one.ann.event()).await;
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
            let events = OperatorEvents { in_support: &event, in_tenant: &event };
            let actor = Actor::AdminContext(&operator);
            one.store().reset_sole_administrator(&actor, asked, &digest, &attempt, &events).await.is_ok()
        }
    });
    assert_eq!(reset.await, 1, "resets of one ticket");
}

impl RaceTenant {
    /// The session token of a new operator.
    async fn operator(&self, table: &Arc<dyn Table>, round: usize) -> TokenRef {
        let event = AuditEvent::new(AuditAction::TenantCreated, Outcome::Success, "r");
        let store = Store::new(Arc::clone(table));
        let tenant = NewTenant { id: TenantId::support(), name: "Support".into(), first: None };
        // An earlier round may have created it.
        let events = OperatorEvents { in_support: &event, in_tenant: &event };
        let created = decided(store.create_tenant(&Actor::Seed, &tenant, &attempt(NOW), &events).await);
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
            security_version: SecurityVersion(1),
            idp_generation: None,
            password_attempts: 0,
            password_attempt: None,
        };
        user.sessions.insert(token.reference().id().clone(), session);
        self.ann.add(&key, &user).await;
        token.reference().clone()
    }
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
        change: ExclusionChange::Exclude,
        dry_run: false,
        reason: "r".into(),
    });
    let admin = Arc::new(one.admin().await);
    let reports = count_true(RACERS, |_| {
        let (one, admin, request) = (Arc::clone(&one), Arc::clone(&admin), Arc::clone(&request));
        async move { one.store().run_batch(&admin, &request, &attempt(NOW), &one.ann.event()).await.is_ok() }
    });
    assert!(reports.await >= 1);
    for id in &contacts {
        let user = one.ann.read(&one.key(id)).await;
        assert!(
            user.excluded.is_some() && user.security_version.0 == 2,
            "{id} was excluded {} times",
            user.security_version.0 - 1
        );
    }
}
