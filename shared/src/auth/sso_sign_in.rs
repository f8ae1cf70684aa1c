//! Sign-in by an assertion of the tenant's IdP: the user whom it signs in, and the token that it opens.

use std::time::Duration;

use super::login::NetworkFull;
use crate::{
    domain::{Amr, AuthType, ChallengeState, LoginTokenEntry, Profile, Role, Session, User},
    env::{Entropy, EntropyError, Timestamp},
    id::{AssertedName, UserId},
    policy,
    secret::{NewToken, Nonce, RestoreEpoch, TokenClass},
    sign_in::{LoginTokenKind, NewSession},
    sso::{SsoGrant, SsoSignIn, SsoStep},
};

/// Why no user can sign in by an assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectRejection {
    /// The name belongs to no user. A user may be provisioned with it.
    #[error("the name belongs to no user")]
    Unknown,
    /// The name belongs to no user, and NFKC changes it, so that it may look like the name of a user. No user is provisioned
    /// with it.
    #[error("normalization changes the name")]
    AlteredByNormalization,
    /// The name belongs to a user who signs in by another name, or not by SSO.
    #[error("the user does not sign in by this name")]
    NotSsoUser,
}

/// The user whom an assertion names, by a link or by the login name.
pub(crate) struct Candidate {
    pub(crate) uid: UserId,
    /// The incarnation that the link was made for; `None` without a link.
    pub(crate) incarnation: Option<Nonce>,
    /// The name that must be the user's login name; `None` with a link.
    pub(crate) login_name: Option<AssertedName>,
    /// Whether this sign-in links the NameID to the user.
    pub(crate) links: bool,
}

impl Candidate {
    /// Checks that the assertion signs in this user. `subject` is the digest of the NameID. A user who is linked to a NameID
    /// cannot sign in by another name.
    ///
    /// # Errors
    /// [`SubjectRejection::Unknown`]: the user's login name is not the asserted name.
    /// [`SubjectRejection::NotSsoUser`]: the user's link does not match, or the user is inactive or does not sign in by SSO.
    pub(crate) fn check(&self, user: &User, profile: &Profile, subject: &str) -> Result<(), SubjectRejection> {
        if self.login_name.as_ref().is_some_and(|name| !name.matches(&profile.username)) {
            return Err(SubjectRejection::Unknown);
        }
        let own = match self.incarnation {
            // An Administrator may have replaced the link after it was loaded.
            Some(incarnation) => incarnation == user.incarnation && profile.subject.as_deref() == Some(subject),
            None => profile.subject.is_none(),
        };
        if own && user.signs_in_by_sso() { Ok(()) } else { Err(SubjectRejection::NotSsoUser) }
    }
}

/// Why an accepted assertion opens no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SsoRejection {
    /// The user changed after the assertion was accepted. The user of the assertion must be found again.
    #[error("the user changed during the sign-in")]
    UserChanged,
    /// The limit of enrolment tokens from the network is reached.
    #[error(transparent)]
    NetworkFull(#[from] NetworkFull),
}

/// An accepted assertion, and the token that it opens.
pub(crate) struct SsoOpening {
    pub(crate) sign_in: SsoSignIn,
    step: SsoStep,
    pub(crate) token: SsoToken,
}

/// The token that an assertion opens.
pub(crate) enum SsoToken {
    /// A session.
    Session(NewSession),
    /// An enrolment token.
    Enrolment(NewToken, LoginTokenEntry),
}

impl SsoOpening {
    /// Generates the token. An enrolment token counts against the limit of `network`, the client's network.
    ///
    /// # Errors
    /// [`EntropyError`]: the random generator failed.
    pub(crate) fn new(
        grant: SsoGrant,
        network: &str,
        restore_epoch: RestoreEpoch,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let SsoGrant { sign_in, step } = grant;
        let token = match step {
            SsoStep::Session => {
                let mut session = new_session(&sign_in, policy::SESSION_LIFE, restore_epoch, entropy)?;
                // A second factor that the IdP checked counts as a step-up. The IdP may have checked it long before it answered.
                let now = sign_in.attempt.at();
                session.entry.step_up = sign_in.assertion.stepped_up.map(|at| at.min(now).whole_second());
                SsoToken::Session(session)
            }
            // It has no step-up, because an excluded contact has no factor.
            SsoStep::ExcludedSession => {
                SsoToken::Session(new_session(&sign_in, policy::EXCLUDED_SESSION_LIFE, restore_epoch, entropy)?)
            }
            SsoStep::Enrolment => {
                let token = NewToken::generate(TokenClass::Enrolment, &sign_in.key, restore_epoch, entropy)?;
                let entry = enrolment(&sign_in, &token, network);
                SsoToken::Enrolment(token, entry)
            }
        };
        Ok(Self { sign_in, step, token })
    }

    /// Sets the role that the groups give, if it changes, and opens the session or the enrolment token.
    ///
    /// # Errors
    /// [`SsoRejection`]: each variant.
    pub(crate) fn apply(&self, user: &mut User, role: Option<Role>) -> Result<(), SsoRejection> {
        let now = self.sign_in.attempt.at();
        self.check(user, now)?;
        // The limit of the network may still reject: until then the user stays as it was.
        let mut changed = user.clone();
        if let Some(role) = role {
            changed.role = role;
            changed.raise_security_version();
        }
        let security_version = changed.security_version;
        match &self.token {
            SsoToken::Session(session) => {
                let entry = Session { security_version, ..session.entry.clone() };
                changed.open_session(session, entry, None, now);
                changed.seen = now.whole_second();
            }
            SsoToken::Enrolment(token, entry) => {
                let entry = LoginTokenEntry { security_version, ..entry.clone() };
                changed.open_login_token(LoginTokenKind::Enrolment, token.reference().id(), entry, now)?;
            }
        }
        *user = changed;
        Ok(())
    }

    /// Checks that the user did not change since the assertion was accepted. A change of the link raises the security version,
    /// so this check detects it too.
    fn check(&self, user: &User, now: Timestamp) -> Result<(), SsoRejection> {
        let accepted = &self.sign_in.user;
        let same = user.incarnation == accepted.incarnation && user.security_version == accepted.security_version;
        let may = same && user.signs_in_by_sso() && SsoStep::of(user, now) == Some(self.step);
        if may { Ok(()) } else { Err(SsoRejection::UserChanged) }
    }
}

impl User {
    /// Whether the user is active and signs in by SSO.
    fn signs_in_by_sso(&self) -> bool {
        self.active && self.auth_type == AuthType::SamlSso
    }
}

/// The entry of an enrolment token.
fn enrolment(sign_in: &SsoSignIn, token: &NewToken, network: &str) -> LoginTokenEntry {
    LoginTokenEntry {
        verifier: *token.reference().verifier(),
        ends: sign_in.attempt.at() + policy::ENROLMENT_LIFE,
        state: ChallengeState::NEW,
        security_version: sign_in.user.security_version,
        network: network.to_owned(),
        device: None,
        idp_generation: sign_in.assertion.generation,
    }
}

/// A session of this length, which ends no later than the session at the IdP.
fn new_session(
    sign_in: &SsoSignIn,
    life: Duration,
    restore_epoch: RestoreEpoch,
    entropy: &dyn Entropy,
) -> Result<NewSession, EntropyError> {
    let SsoSignIn { assertion, attempt, key, user, .. } = sign_in;
    let mut session = NewSession::signed_in(key, user.security_version, Amr::Sso, attempt, restore_epoch, entropy)?;
    session.entry.idp_generation = assertion.generation;
    let ends = (attempt.at() + life).whole_second();
    session.entry.ends = assertion.session_ends.map_or(ends, |at_idp| ends.min(at_idp.whole_second()));
    Ok(session)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Factor, Kind, SecurityVersion},
        env::SystemEntropy,
        id::{TenantId, UserKey},
        sso::SsoChecked,
        store::fixture::{NOW, assertion, attempt, authenticator, person},
    };

    fn nonce() -> Nonce {
        Nonce::generate(&SystemEntropy).unwrap()
    }

    fn sso_user(factor: Factor) -> User {
        User { auth_type: AuthType::SamlSso, factor, ..person(Kind::Employee, Role::Standard, nonce()) }
    }

    fn profile(subject: Option<&str>) -> Profile {
        Profile {
            username: "bob".to_owned(),
            display_name: "Bob".to_owned(),
            email: None,
            created: NOW,
            name_id: None,
            subject: subject.map(str::to_owned),
        }
    }

    fn key() -> UserKey {
        TenantId::parse("acme").unwrap().user(UserId::parse("u-bob").unwrap())
    }

    /// What the assertion opens for this user; `None` if the user needs a reset first.
    fn try_opening(user: &User) -> Option<SsoOpening> {
        let (assertion, attempt, user) = (assertion(), attempt(NOW), user.clone());
        let sign_in = SsoSignIn { assertion, attempt, key: key(), user, profile: profile(None), link: None };
        let SsoChecked::Granted(grant) = sign_in.decide() else { return None };
        Some(SsoOpening::new(grant, "10.0.0", RestoreEpoch::default(), &SystemEntropy).unwrap())
    }

    fn opening(user: &User) -> SsoOpening {
        try_opening(user).unwrap()
    }

    fn candidate(incarnation: Option<Nonce>, login_name: Option<&str>) -> Candidate {
        let (uid, login_name) = (key().user().clone(), login_name.and_then(AssertedName::parse));
        Candidate { uid, incarnation, login_name, links: false }
    }

    #[test]
    fn enrolled_user_gets_a_session_and_unenrolled_user_an_enrolment_token() {
        for (factor, sessions) in [(Factor::Active(authenticator()), 1), (Factor::None, 0)] {
            let mut user = sso_user(factor);
            opening(&user).apply(&mut user, None).unwrap();
            assert_eq!((user.sessions.len(), user.enrolments.len()), (sessions, 1 - sessions));
        }
    }

    #[test]
    fn user_who_needs_a_reset_gets_no_token() {
        let exhausted = policy::MAX_CONSECUTIVE_FAILURES;
        for user in [
            sso_user(Factor::Disabled(authenticator())),
            User { consecutive_failures: exhausted, ..sso_user(Factor::Active(authenticator())) },
            User { enrol_by: Some(NOW), ..sso_user(Factor::None) },
            User { seen: NOW - policy::DORMANT, ..sso_user(Factor::None) },
        ] {
            assert!(try_opening(&user).is_none());
        }
    }

    #[test]
    fn new_session_is_valid_after_a_role_change() {
        let mut user = sso_user(Factor::Active(authenticator()));
        opening(&user).apply(&mut user, Some(Role::Administrator)).unwrap();
        let [session] = user.sessions.values().collect::<Vec<_>>()[..] else { panic!("one session") };
        assert!(user.role == Role::Administrator && user.security_version.0 == 2 && session.security_version.0 == 2);
    }

    #[test]
    fn changed_user_is_rejected() {
        let user = sso_user(Factor::Active(authenticator()));
        let opening = opening(&user);
        for changed in [
            User { incarnation: nonce(), ..user.clone() },
            User { security_version: SecurityVersion(2), ..user.clone() },
            User { active: false, ..user.clone() },
            User { auth_type: AuthType::Local, ..user.clone() },
            User { factor: Factor::None, ..user.clone() },
            User { consecutive_failures: policy::MAX_CONSECUTIVE_FAILURES, ..user.clone() },
        ] {
            assert_eq!(opening.apply(&mut changed.clone(), None), Err(SsoRejection::UserChanged));
        }
    }

    #[test]
    fn enrolment_tokens_of_one_network_are_limited() {
        let mut user = sso_user(Factor::None);
        let all: Vec<_> = (0..=policy::NETWORK_CHALLENGES).map(|_| opening(&user).apply(&mut user, None)).collect();
        let full = SsoRejection::NetworkFull(NetworkFull { retry_at: NOW + policy::WINDOW });
        assert!(all[..policy::NETWORK_CHALLENGES].iter().all(Result::is_ok));
        assert_eq!(all[policy::NETWORK_CHALLENGES], Err(full));
        let before = user.clone();
        assert_eq!(opening(&user).apply(&mut user, Some(Role::Administrator)), Err(full));
        assert!(user == before, "a rejection leaves the user as it was");
    }

    #[test]
    fn login_name_of_a_linked_user_is_not_accepted() {
        let user = sso_user(Factor::None);
        let by_name = candidate(None, Some("bob"));
        assert_eq!(by_name.check(&user, &profile(None), "s"), Ok(()));
        assert_eq!(by_name.check(&user, &profile(Some("s")), "s"), Err(SubjectRejection::NotSsoUser));
        let other = candidate(None, Some("rob"));
        assert_eq!(other.check(&user, &profile(None), "s"), Err(SubjectRejection::Unknown));
    }

    #[test]
    fn replaced_link_and_link_of_an_earlier_incarnation_are_not_accepted() {
        let user = sso_user(Factor::None);
        let linked = candidate(Some(user.incarnation), None);
        assert_eq!(linked.check(&user, &profile(Some("s")), "s"), Ok(()));
        assert_eq!(linked.check(&user, &profile(Some("t")), "s"), Err(SubjectRejection::NotSsoUser));
        let earlier = candidate(Some(nonce()), None);
        assert_eq!(earlier.check(&user, &profile(Some("s")), "s"), Err(SubjectRejection::NotSsoUser));
    }

    #[test]
    fn inactive_user_and_local_user_are_not_accepted() {
        let user = sso_user(Factor::None);
        for user in [User { active: false, ..user.clone() }, User { auth_type: AuthType::Local, ..user }] {
            let by_name = candidate(None, Some("bob"));
            assert_eq!(by_name.check(&user, &profile(None), "s"), Err(SubjectRejection::NotSsoUser));
        }
    }
}
