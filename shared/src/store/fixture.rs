//! Ann, for the tests of commands: enrolled, over the reference model.

use std::sync::Arc;

use super::{
    Store, Table, item,
    item::{AuthType, Challenge, FactorState, Kind, Role, User},
    keys,
    login::Charge,
    memory::MemoryTable,
    table::{Again, Updated},
    verify::{Accept, Dead, SignIn},
    write::{self, Action, Write, attr},
};
use crate::{
    attempt::{Attempt, ChargedGuess, Door},
    audit::{AuditEvent, Outcome},
    env::{SystemEntropy, Timestamp},
    id::{TenantId, UserId, UserKey},
    policy,
    recovery::{self, RecoveryCode},
    secret::{DigestKeys, FactorRef, NewToken, Nonce, TokenClass, TokenRef, TotpSecret},
    totp,
};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(crate) struct Ann {
    pub(crate) store: Store,
    pub(crate) key: UserKey,
    pub(crate) secret: TotpSecret,
    keys: DigestKeys,
    recovery: RecoveryCode,
}

/// Ann, enrolled, with her recovery token and the given number of open challenges.
pub(crate) async fn ann(challenges: usize) -> (Ann, Vec<TokenRef>) {
    let key = TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap());
    let nonce = || Nonce::generate(&SystemEntropy).unwrap();
    let (born, factor) = (nonce(), nonce());
    let secret = TotpSecret::generate(FactorRef { user: key.clone(), born, factor }, &SystemEntropy).unwrap();
    let keys = DigestKeys::new([1; 32], [2; 32]);
    let recovery = RecoveryCode::generate(&SystemEntropy).unwrap();
    let mut user = User {
        kind: Kind::Employee,
        role: Role::Standard,
        auth_type: AuthType::Local,
        active: true,
        born,
        epoch: 1,
        password_version: 1,
        login: "x".to_owned(),
        factor: FactorState::Active,
        factor_id: Some(factor),
        secret: None,
        last_step: Some(0),
        enrolled_at: Some(NOW.secs()),
        recovery: Some(recovery.digest(&keys, &key)),
        recovery_at: Some(NOW.secs()),
        tries: Default::default(),
        row: 0,
        life: 0,
        challenges: Default::default(),
        enrolments: Default::default(),
        sessions: Default::default(),
        devices: Default::default(),
        pending: None,
        reset_code: None,
        reset_code_required: None,
        enrol_by: None,
        excluded: None,
        networks: Default::default(),
        resets: Vec::new(),
        seen: NOW.secs(),
    };
    let mut tokens = Vec::new();
    for _ in 0..challenges {
        let token = NewToken::generate(TokenClass::Challenge, &key, &SystemEntropy).unwrap();
        let reference = token.reference().clone();
        let challenge = Challenge {
            guard: *reference.guard(),
            ends: (NOW + policy::CHALLENGE_LIFE).millis(),
            tries: 0,
            epoch: 1,
            network: "10.0.0".to_owned(),
            device: None,
        };
        user.challenges.insert(reference.id().clone(), challenge);
        tokens.push(reference);
    }
    let table = Arc::new(MemoryTable::default());
    let put = Write::put_new(keys::user(&key), item::write(&user).unwrap());
    assert!(matches!(table.update(&put, Again::Never).await.unwrap(), Updated::Written(_)));
    (Ann { store: Store::new(table), key, secret, keys, recovery }, tokens)
}

impl Ann {
    pub(crate) async fn charge(&self, token: &TokenRef, at: Timestamp) -> Charge<ChargedGuess, Dead> {
        let door = Door::challenge(token.clone()).or_else(|| Door::session(token.clone())).unwrap();
        let attempt = Attempt::begin(at, &SystemEntropy).unwrap();
        self.store.charge_guess(door, attempt).await.unwrap()
    }

    pub(crate) fn event(&self) -> AuditEvent {
        AuditEvent::new(crate::audit::Action::Verify, Outcome::Success, "r").own(self.key.user())
    }

    /// As if a quarter of an hour had passed.
    pub(crate) async fn forget_window(&self) {
        self.change(Action::Set(attr("f"), write::empty())).await;
    }

    /// What somebody else's command did meanwhile.
    pub(crate) async fn change(&self, action: Action) {
        let write = Write::update(keys::user(&self.key), vec![], vec![action]);
        self.store.table.update(&write, Again::Never).await.unwrap();
    }

    pub(crate) async fn accept(&self, sign_in: SignIn) -> Option<NewToken> {
        match self.store.accept(sign_in, &self.event()).await.unwrap() {
            Accept::Yes(signed_in) => Some(signed_in.token),
            Accept::Gone => None,
        }
    }

    /// One whole try with the code of a step.
    pub(crate) async fn with_step(&self, token: &TokenRef, step: i64, at: Timestamp) -> Option<NewToken> {
        let Charge::Admitted(guess) = self.charge(token, at).await else { return None };
        let code = totp::code_at(&self.secret, step).unwrap();
        let proof = totp::check(&self.secret, &code, at, guess.user().last_step.unwrap())?;
        self.accept(SignIn::with_totp(guess, proof, &SystemEntropy).unwrap()).await
    }

    pub(crate) async fn with_recovery(&self, token: &TokenRef) -> Option<NewToken> {
        let Charge::Admitted(guess) = self.charge(token, NOW).await else { return None };
        let proof = recovery::check(&self.keys, &self.key, guess.user().recovery.as_ref(), &self.recovery)?;
        self.accept(SignIn::with_recovery(guess, proof, &SystemEntropy).unwrap()).await
    }
}

/// The time step of [`NOW`].
pub(crate) const STEP: i64 = 1_800_000_000 / 30;
