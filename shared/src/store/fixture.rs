//! Ann, an enrolled Administrator for the tests of the store, over the in-memory table or another table.
#![allow(clippy::unwrap_used, clippy::panic)]
#![allow(dead_code, reason = "the contract suite of other crates uses a part")]

use std::{collections::HashMap, sync::Arc};

use super::{
    OperationError, Store, item,
    item::{AuthType, FactorState, Kind, LoginTokenEntry, Profile, Role, User},
    keys,
    login::LoginRejection,
    memory::MemoryTable,
    session::{AdminContext, Principal},
    table::{Retry, Table, Updated},
    users::{Actor, ChangeRejection, NewUser, NewUserDetails, Patch},
    verify::ChargeRejection,
    write::{self, Action, Write, attr},
};
use crate::{
    audit::{AuditEvent, Outcome},
    auth::verify_code::SignIn,
    domain::{Authenticator, ChallengeState, Factor, PasswordVersion, SecurityVersion, StoredRecoveryToken, TimeStep},
    env::{SystemEntropy, Timestamp},
    id::{LoginName, TenantId, UserId, UserKey},
    password::{PasswordParams, Passwords},
    policy::{self, Backoff},
    recovery::{self, RecoveryToken},
    secret::{
        CodeKey, FactorRef, LoginKey, NameKey, NewToken, Nonce, RestoreEpoch, SealedSecret, SecretText, TokenClass,
        TokenRef, TotpSecret,
    },
    sign_in::{
        Attempt, NewSession, OwnPasswordAttempt, PasswordAttempt, PasswordChecked, PendingVerification, SignedIn,
        VerificationToken, VerifiedOwnPassword, VerifiedPassword,
    },
    totp,
};

mod sso;

#[cfg(test)]
pub(crate) use sso::assertion;
pub(crate) use sso::idp;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) struct Ann {
    pub(crate) store: Store,
    pub(crate) key: UserKey,
    pub(crate) login: LoginKey,
    pub(crate) secret: TotpSecret,
    pub(crate) names: NameKey,
    pub(crate) codes: CodeKey,
    pub(crate) recovery: RecoveryToken,
    passwords: Passwords,
}

/// A new user.
pub(crate) fn person(kind: Kind, role: Role, incarnation: Nonce) -> User {
    User::new(kind, role, AuthType::Local, incarnation, "", NOW)
}

pub(crate) fn attempt(at: Timestamp) -> Attempt {
    Attempt::begin(at, &SystemEntropy).unwrap()
}

/// An enrolled authenticator app. Its secret cannot be opened.
pub(crate) fn authenticator() -> Authenticator {
    Authenticator {
        id: Nonce::generate(&SystemEntropy).unwrap(),
        secret: sealed(b"a sealed secret"),
        last_step: TimeStep(0),
        enrolled_at: NOW,
        recovery_token: None,
    }
}

/// Adds an open challenge to a user.
fn add_challenge(user: &mut User, key: &UserKey) -> TokenRef {
    let token = NewToken::generate(TokenClass::Challenge, key, RestoreEpoch::default(), &SystemEntropy).unwrap();
    let reference = token.reference().clone();
    let challenge = LoginTokenEntry {
        verifier: *reference.verifier(),
        ends: NOW + policy::CHALLENGE_LIFE,
        state: ChallengeState::NEW,
        security_version: user.security_version,
        network: "10.0.0".to_owned(),
        device: None,
        idp_generation: None,
    };
    user.challenges.insert(reference.id().clone(), challenge);
    reference
}

/// Adds a session to a user, as if they had signed in with a code.
pub(crate) fn add_session(user: &mut User, key: &UserKey) -> TokenRef {
    let new = new_session(key, user.security_version, RestoreEpoch::default());
    user.sessions.insert(new.id().clone(), new.entry.clone());
    new.token.reference().clone()
}

/// A session of an employee who signed in with a code.
pub(crate) fn session() -> item::Session {
    let key = TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap());
    let mut user = person(Kind::Employee, Role::Standard, Nonce::generate(&SystemEntropy).unwrap());
    let token = add_session(&mut user, &key);
    user.sessions.remove(token.id()).unwrap()
}

/// A session of a user, as if they had signed in with a code.
pub(crate) fn new_session(key: &UserKey, security_version: SecurityVersion, restore_epoch: RestoreEpoch) -> NewSession {
    NewSession::signed_in(key, security_version, item::Amr::Otp, &attempt(NOW), restore_epoch, &SystemEntropy).unwrap()
}

/// The actions on a user's item that enrol the user.
pub(crate) fn enrolment() -> Vec<Action> {
    let enrolled = User {
        factor: Factor::Active(authenticator()),
        ..person(Kind::Employee, Role::Standard, Nonce::generate(&SystemEntropy).unwrap())
    };
    let mut item = item::write(&enrolled).unwrap();
    ["fs", "fid", "sec", "ls", "fat"]
        .into_iter()
        .map(|name| Action::Set(attr(name), item.remove(name).unwrap()))
        .collect()
}

/// The attributes of a user's item that only a user with a factor has.
pub(crate) const FACTOR_ATTRIBUTES: [&str; 6] = ["fid", "sec", "ls", "fat", "rk", "rkt"];

/// The actions on a user's item that remove the factor.
pub(crate) fn factor_removal() -> Vec<Action> {
    let removed = FACTOR_ATTRIBUTES.map(|name| Action::Remove(attr(name)));
    removed.into_iter().chain([Action::Set(attr("fs"), write::text("n"))]).collect()
}

/// A sealed secret of these bytes.
pub(crate) fn sealed(bytes: &[u8]) -> SealedSecret {
    item::read::<HashMap<String, SealedSecret>>([("sec".to_owned(), write::bytes(bytes))].into())
        .unwrap()
        .remove("sec")
        .unwrap()
}

/// Ann of tenant `acme`, over the in-memory table.
pub(crate) async fn ann(challenges: usize) -> (Ann, Vec<TokenRef>) {
    ann_of("acme", Arc::new(MemoryTable::default()), challenges).await
}

/// Ann, enrolled, an Administrator of a new tenant, with her password, her recovery token and the given number of open
/// challenges.
pub(crate) async fn ann_of(tenant: &str, table: Arc<dyn Table>, challenges: usize) -> (Ann, Vec<TokenRef>) {
    let tenant = TenantId::parse(tenant).unwrap();
    let key = tenant.user(UserId::parse("u-ann").unwrap());
    let nonce = || Nonce::generate(&SystemEntropy).unwrap();
    let (incarnation, factor) = (nonce(), nonce());
    let secret = TotpSecret::generate(FactorRef { user: key.clone(), incarnation, factor }, &SystemEntropy).unwrap();
    let (names, codes) = (NameKey::new([1; 32].into()), CodeKey::new([2; 32].into()));
    let login = names.login(&tenant, &LoginName::fold("ann"));
    let recovery = RecoveryToken::generate(&SystemEntropy).unwrap();
    let passwords = Passwords::new(PasswordParams::cheap(), 4, 64, &SystemEntropy).unwrap();
    let mut user = User {
        login_digest: login.digest().to_owned(),
        factor: Factor::Active(Authenticator {
            id: factor,
            recovery_token: Some(StoredRecoveryToken { digest: recovery.digest(&codes, &key), issued_at: NOW }),
            ..authenticator()
        }),
        ..person(Kind::Employee, Role::Administrator, incarnation)
    };
    let tokens = (0..challenges).map(|_| add_challenge(&mut user, &key)).collect();
    let hash = passwords.hash(&SecretText::new(PASSWORD.to_owned()), &SystemEntropy).await.unwrap();
    let row = item::LoginRow {
        uid: Some(key.user().clone()),
        hash: Some(hash.as_str().to_owned()),
        version: Some(PasswordVersion(1)),
        ..Default::default()
    };
    let ann = Ann { store: Store::new(table), key, login, secret, names, codes, recovery, passwords };
    let settings = item::TenantPolicy {
        name: "Acme".to_owned(),
        issuer: "Acme".to_owned(),
        accent: None,
        logo: None,
        reset_code_for: item::ResetCodeFor::Administrators,
        created: NOW,
    };
    ann.put(Write::put_new(keys::login(&ann.login), item::write(&row).unwrap())).await;
    ann.put(Write::put_new(keys::tenant(&tenant), item::write(&settings).unwrap())).await;
    ann.put(Write::put_new(keys::administrators(&tenant), item::write(&item::Administrators::default()).unwrap()))
        .await;
    ann.add(&ann.key, &user).await;
    (ann, tokens)
}

impl Ann {
    pub(crate) async fn put(&self, write: Write) {
        assert!(matches!(self.store.table.update(&write, Retry::Never).await.unwrap(), Updated::Written(_)));
    }

    /// Adds a user with a profile.
    pub(crate) async fn add(&self, key: &UserKey, user: &User) {
        let profile = item::Profile {
            username: key.user().to_string(),
            display_name: key.user().to_string(),
            email: None,
            created: NOW,
            name_id: None,
            subject: None,
        };
        self.put(Write::put_new(keys::user(key), item::write(user).unwrap())).await;
        self.put(Write::put_new(keys::profile(key), item::write(&profile).unwrap())).await;
        if user.administers() {
            let of = |map: &'static str| Action::Set(attr(map).key(key.user().to_string()), write::Value::Bool(true));
            let with_mfa = (user.factor.state() == FactorState::Active).then(|| of("able"));
            let both = [Some(of("act")), with_mfa].into_iter().flatten().collect();
            self.put(Write::update(keys::administrators(key.tenant()), vec![], both)).await;
        }
    }

    pub(crate) async fn read(&self, key: &UserKey) -> User {
        item::read(self.item(key).await).unwrap()
    }

    /// A user's item, as it is stored.
    pub(crate) async fn item(&self, key: &UserKey) -> write::Item {
        let found = self.store.table.read(&[keys::user(key)]).await.unwrap();
        found.into_iter().next().flatten().unwrap()
    }

    pub(crate) async fn administrators(&self) -> item::Administrators {
        let found = self.store.table.read(&[keys::administrators(self.key.tenant())]).await.unwrap();
        item::read(found.into_iter().next().flatten().unwrap()).unwrap()
    }

    pub(crate) async fn hash(&self, password: &str) -> crate::password::PasswordHash {
        self.passwords.hash(&SecretText::new(password.to_owned()), &SystemEntropy).await.unwrap()
    }

    /// Attempts a sign-in with a password.
    pub(crate) async fn password(
        &self,
        password: &str,
        device: Option<&TokenRef>,
        at: Timestamp,
    ) -> Result<VerifiedPassword, PasswordAttempt> {
        let charge = decided(self.store.charge_login(&self.login, device, &Backoff::at(at), &attempt(at)).await);
        let Ok(password_attempt) = charge else { panic!("refused") };
        self.checked(password_attempt, password).await
    }

    /// Checks the caller's own password.
    pub(crate) async fn own_password(
        &self,
        caller: &Principal,
        password: &str,
        at: Timestamp,
    ) -> Result<VerifiedOwnPassword, OwnPasswordAttempt> {
        let password_attempt = self.store.charge_own_password(caller, &attempt(at)).await.unwrap();
        let proof = self.proof(&password_attempt.hash().unwrap(), password).await;
        password_attempt.checked(proof)
    }

    /// The proof that a password matches a hash, if it does.
    pub(crate) async fn proof(
        &self,
        hash: &crate::password::PasswordHash,
        password: &str,
    ) -> Option<crate::password::PasswordProof> {
        let password = SecretText::new(password.to_owned());
        self.passwords.verify(self.passwords.place().unwrap(), &password, Some(hash)).await.unwrap()
    }

    /// Checks a charged attempt.
    pub(crate) async fn checked(
        &self,
        password_attempt: PasswordAttempt,
        password: &str,
    ) -> Result<VerifiedPassword, PasswordAttempt> {
        let proof = match password_attempt.hash() {
            Some(hash) => self.proof(&hash, password).await,
            None => None,
        };
        let owner = self.store.load_owner(&password_attempt).await.unwrap();
        password_attempt.checked(proof, owner)
    }

    /// Opens the challenge or enrolment token of a correct password.
    pub(crate) async fn opened(
        &self,
        verified: VerifiedPassword,
        network: &str,
    ) -> Result<(NewToken, Timestamp), LoginRejection> {
        match verified.decide() {
            PasswordChecked::MfaRequired(pending) | PasswordChecked::EnrolmentRequired(pending) => {
                decided(self.store.open_attempt(pending, network, &SystemEntropy, &self.event()).await)
            }
            _ => panic!("opens nothing"),
        }
    }

    pub(crate) async fn challenge(&self, device: Option<&TokenRef>, at: Timestamp) -> TokenRef {
        let verified = self.password(PASSWORD, device, at).await.ok().unwrap();
        let (token, _) = self.opened(verified, "10.0.0").await.unwrap();
        token.reference().clone()
    }

    pub(crate) async fn charge(&self, token: &TokenRef, at: Timestamp) -> Result<PendingVerification, ChargeRejection> {
        let token =
            VerificationToken::challenge(token.clone()).or_else(|| VerificationToken::session(token.clone())).unwrap();
        let attempt = Attempt::begin(at, &SystemEntropy).unwrap();
        decided(self.store.charge_verification(token, attempt).await)
    }

    pub(crate) fn event(&self) -> AuditEvent {
        AuditEvent::new(crate::audit::AuditAction::Verify, Outcome::Success, "r").own(self.key.user())
    }

    /// All audit rows of the month of [`NOW`].
    pub(crate) async fn rows(&self) -> Vec<AuditEvent> {
        let mut rows = Vec::new();
        for shard in 0..crate::audit::SHARDS {
            let query = super::table::Query {
                index: false,
                partition: keys::audit_partition(self.key.tenant(), &NOW.year_month(), shard),
                prefix: String::new(),
                after: None,
                descending: false,
                limit: 1_000,
            };
            let found = self.store.table.query(&query).await.unwrap();
            rows.extend(found.into_iter().map(|row| item::read::<AuditEvent>(row).unwrap()));
        }
        rows
    }

    /// Clears the window of recent attempts, as if 15 minutes had passed.
    pub(crate) async fn forget_window(&self) {
        self.change(Action::Set(attr("f"), write::empty())).await;
    }

    /// Changes Ann's item, as another request would.
    pub(crate) async fn change(&self, action: Action) {
        self.change_all(vec![action]).await;
    }

    /// As [`Self::change`], with several actions in one write.
    pub(crate) async fn change_all(&self, actions: Vec<Action>) {
        let write = Write::update(keys::user(&self.key), vec![], actions);
        self.store.table.update(&write, Retry::Never).await.unwrap();
    }

    pub(crate) async fn accept(&self, sign_in: SignIn) -> Option<SignedIn> {
        decided(self.store.accept(sign_in, &self.event()).await).ok()
    }

    /// Verifies the code of a time step at a challenge or a session.
    pub(crate) async fn with_step(&self, token: &TokenRef, step: TimeStep, at: Timestamp) -> Option<NewToken> {
        self.signed_in(token, step, at).await.map(|signed_in| signed_in.token)
    }

    pub(crate) async fn signed_in(&self, token: &TokenRef, step: TimeStep, at: Timestamp) -> Option<SignedIn> {
        let Ok(pending) = self.charge(token, at).await else { return None };
        let code = totp::code_at(&self.secret, step).unwrap();
        let last_step = pending.user().factor.active().unwrap().last_step;
        let proof = totp::check(&self.secret, &code, at, Some(last_step))?;
        self.accept(SignIn::with_totp(pending, proof, None, &SystemEntropy).unwrap()).await
    }

    pub(crate) async fn with_recovery(&self, token: &TokenRef) -> Option<NewToken> {
        let Ok(pending) = self.charge(token, NOW).await else { return None };
        let proof = recovery::check(
            &self.codes,
            &self.key,
            pending.user().factor.recovery_token().map(|it| &it.digest),
            &self.recovery,
        )?;
        self.accept(SignIn::with_recovery(pending, proof, &SystemEntropy).unwrap())
            .await
            .map(|signed_in| signed_in.token)
    }
}

/// The time step of [`NOW`].
pub(crate) const STEP: TimeStep = TimeStep::of(NOW);

impl Ann {
    /// Creates a user in Ann's tenant.
    pub(crate) async fn someone(&self, name: &str, role: Role) -> UserKey {
        let new_user = self.to_be(name, role);
        let created = decided(self.store.create_user(&Actor::Seed, &new_user, &attempt(NOW), &self.event()).await);
        assert_eq!(created, Ok(()));
        new_user.key
    }

    /// A user of Ann's tenant, to be created.
    pub(crate) fn to_be(&self, name: &str, role: Role) -> NewUser {
        let tenant = self.key.tenant();
        let id: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let key = tenant.user(UserId::parse(&format!("u-{id}")).unwrap());
        let kind = if role == Role::Portal { Kind::Contact } else { Kind::Employee };
        let details = NewUserDetails {
            kind,
            role,
            auth_type: AuthType::Local,
            username: name,
            display_name: "Some User",
            email: None,
        };
        let incarnation = Nonce::generate(&SystemEntropy).unwrap();
        NewUser::new(key, self.names.login(tenant, &LoginName::fold(name)), &details, incarnation, NOW)
    }

    /// Changes a user, as Administrator Ann.
    pub(crate) async fn patch(&self, target: &UserKey, patch: Patch) -> Result<(User, Profile), ChangeRejection> {
        let session = self.session_of(&self.key).await;
        let loaded = decided(self.store.load_user(&session, target.user().clone(), NOW).await);
        let (principal, loaded_user) = loaded.ok().unwrap();
        let admin = principal.administrator(NOW).ok().unwrap();
        decided(self.store.update_user(&admin, loaded_user, &patch, &attempt(NOW), &self.event()).await)
    }

    /// Opens a session of a user, as if they had signed in with a code.
    pub(crate) async fn session_of(&self, key: &UserKey) -> TokenRef {
        let new = new_session(key, self.read(key).await.security_version, self.store.restore_epoch());
        let entry = Action::Set(attr("s").key(new.id().as_str().to_owned()), item::value(&new.entry).unwrap());
        self.put(Write::update(keys::user(key), vec![], vec![entry])).await;
        new.token.reference().clone()
    }

    /// The admin context of a session.
    pub(crate) async fn admin(&self, session: &TokenRef) -> AdminContext {
        let principal = self.store.read_session(session, NOW).await.unwrap();
        principal.administrator(NOW).ok().unwrap()
    }
}

/// What an operation returned, or why it was rejected. Panics if the store failed.
pub(crate) fn decided<T, R>(result: Result<T, OperationError<R>>) -> Result<T, R> {
    result.map_err(|error| match error {
        OperationError::Rejected(why) => why,
        OperationError::Store(error) => panic!("{error}"),
    })
}

/// Runs all futures concurrently, each as its own task, and starts them at the same time.
pub(crate) async fn at_once<F>(all: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let all: Vec<_> = all.into_iter().collect();
    let barrier = Arc::new(tokio::sync::Barrier::new(all.len()));
    let spawned = all.into_iter().map(|one| {
        let barrier = Arc::clone(&barrier);
        tokio::spawn(async move {
            barrier.wait().await;
            one.await
        })
    });
    futures_util::future::join_all(spawned).await.into_iter().map(|done| done.unwrap()).collect()
}
