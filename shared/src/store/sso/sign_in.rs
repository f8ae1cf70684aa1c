//! Sign-in by an assertion: finds the user, and uses up the assertion in one transaction.

use super::has_generation;
use crate::{
    audit::AuditEvent,
    auth::{
        login::NetworkFull,
        sso_sign_in::{Candidate, SsoOpening, SsoRejection, SsoToken, SubjectRejection},
    },
    domain::{FactorState, Role, User},
    env::{Entropy, Timestamp},
    id::{AssertedName, UserKey},
    policy,
    secret::{NameKey, NewToken},
    sign_in::{Attempt, SignedIn},
    sso::{Assertion, SsoGrant, SsoSignIn},
    store::{
        AttemptEvent, OperationError, Store, StoreError,
        administrators::{AdminChange, add_admin, change_admin, mark_admin_with_mfa},
        commit::{self, Retries},
        item::{self, Idp, LoginRow, Profile, Subject},
        keys,
        table::{Transacted, Transaction},
        write::{Action, Item, Write, absent, attr, exists, gt, num, text},
    },
};

/// Result of an accepted assertion.
pub enum SsoOpened {
    /// The user is signed in.
    SignedIn(Box<SsoSession>),
    /// The user must enrol an authenticator app first.
    EnrolmentRequired {
        /// The enrolment token.
        token: NewToken,
        /// When the token expires.
        ends: Timestamp,
        /// Whether enrolment requires a reset code from an Administrator.
        reset_code_required: bool,
    },
}

/// Why an accepted assertion opens nothing.
#[derive(thiserror::Error)]
pub enum OpeningRejection {
    /// The limit of enrolment tokens from this network is reached.
    #[error(transparent)]
    NetworkFull(NetworkFull),
    /// The assertion or its request was used before, the request expired, or the groups change the role and the IdP is no longer
    /// configured.
    #[error("the assertion, its request or its identity provider is no longer valid")]
    Spent,
    /// The user, the link or the Administrators changed. The caller must find the user of the returned assertion again.
    #[error("the user changed during the sign-in")]
    Stale(Assertion),
}

/// Without the assertion, which names a person.
impl std::fmt::Debug for OpeningRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// An assertion that no user signs in by.
#[derive(thiserror::Error)]
#[error("no user signs in by the assertion")]
pub struct NoOwner {
    /// The assertion, for provisioning and the audit.
    pub assertion: Assertion,
    /// The reason.
    #[source]
    pub why: SubjectRejection,
}

impl std::fmt::Debug for NoOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoOwner").field("why", &self.why).finish_non_exhaustive()
    }
}

/// A user who signed in by SSO.
pub struct SsoSession {
    /// The session and its token.
    pub signed_in: SignedIn,
    /// Tenant and id of the user.
    pub key: UserKey,
    /// The user after the sign-in.
    pub user: User,
    /// Login name, display name and e-mail address.
    pub profile: Profile,
}

/// Why no user was found for an assertion.
#[derive(Debug, thiserror::Error)]
enum OwnerError {
    #[error(transparent)]
    Rejected(#[from] SubjectRejection),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The user whom an assertion signs in.
struct Owner {
    key: UserKey,
    user: User,
    profile: Profile,
    /// The digest of the NameID, if this sign-in links it to the user.
    link: Option<String>,
}

/// A change of the role by the groups of the assertion.
struct MappedRole {
    role: Role,
    /// The write that adds the user to the tenant's Administrators, or removes the user.
    administrators: Write,
}

impl Store {
    /// Finds the user of an assertion. The rules, in this order: the user is linked to the NameID; the NameID is the user's login
    /// name; the attribute that the tenant configured for first sign-ins is the user's login name. E-mail addresses are never
    /// compared.
    ///
    /// # Errors
    /// [`OperationError`]: deny the sign-in. A rejection returns the assertion.
    pub async fn sso_owner(
        &self,
        assertion: Assertion,
        idp: &Idp,
        names: &NameKey,
        attempt: &Attempt,
    ) -> Result<SsoSignIn, OperationError<NoOwner>> {
        match self.find_owner(&assertion, idp, names).await {
            Ok(Owner { key, user, profile, link }) => {
                Ok(SsoSignIn { assertion, attempt: *attempt, key, user, profile, link })
            }
            Err(OwnerError::Rejected(why)) => Err(OperationError::Rejected(NoOwner { assertion, why })),
            Err(OwnerError::Store(error)) => Err(error.into()),
        }
    }

    async fn find_owner(&self, assertion: &Assertion, idp: &Idp, names: &NameKey) -> Result<Owner, OwnerError> {
        let tenant = &assertion.tenant;
        let subject = names.subject(tenant, &assertion.entity_id, &assertion.name_id);
        let candidate = self.find_candidate(assertion, idp, names, &subject).await?;
        let key = tenant.user(candidate.uid.clone());
        let [user, profile] = self.read_all([keys::user(&key), keys::profile(&key)]).await?;
        let (Some(user), Some(profile)) = (user, profile) else { return Err(SubjectRejection::NotSsoUser.into()) };
        let (user, profile): (User, Profile) = (item::read(user)?, item::read(profile)?);
        candidate.check(&user, &profile, &subject)?;
        Ok(Owner { key, user, profile, link: candidate.links.then_some(subject) })
    }

    /// Finds the user that the assertion names. A link must match the NameID byte for byte. Without a link, the login name is
    /// compared. A name that NFKC changes is not looked up as a login name.
    async fn find_candidate(
        &self,
        assertion: &Assertion,
        idp: &Idp,
        names: &NameKey,
        subject: &str,
    ) -> Result<Candidate, OwnerError> {
        let tenant = &assertion.tenant;
        let attribute = idp.link_attribute.as_deref().and_then(|name| assertion.attribute(name));
        let asserted = [Some(assertion.name_id.as_str()), attribute].map(|text| text.map(AssertedName::parse));
        let login = |name: &AssertedName| keys::login(&names.login(tenant, name.login()));
        let logins = asserted.iter().flatten().flatten().map(login);
        let keys: Vec<_> = [keys::subject(tenant, subject)].into_iter().chain(logins).collect();
        let mut found = self.table.read(&keys).await?.into_iter();
        if let Some(link) = found.next().flatten() {
            let Subject { uid, incarnation } = item::read(link)?;
            return Ok(Candidate { uid, incarnation: Some(incarnation), login_name: None, links: false });
        }
        let mut why = SubjectRejection::Unknown;
        for (name, links) in asserted.into_iter().zip([false, true]) {
            match name {
                None => {}
                Some(None) => why = SubjectRejection::AlteredByNormalization,
                Some(Some(name)) => {
                    let row = found.next().flatten().map(item::read::<LoginRow>).transpose()?;
                    if let Some(uid) = row.and_then(|row| row.uid) {
                        return Ok(Candidate { uid, incarnation: None, login_name: Some(name), links });
                    }
                }
            }
        }
        Err(why.into())
    }

    /// Uses up an assertion and its request, and opens a session or an enrolment token. The same transaction sets the role that
    /// the groups give, and links the NameID at a first sign-in. `network` is the client's network.
    ///
    /// # Errors
    /// [`OpeningRejection`], or a failure of the store: deny the sign-in, though the transaction may be committed.
    pub async fn open_sso(
        &self,
        grant: SsoGrant,
        idp: &Idp,
        network: &str,
        entropy: &dyn Entropy,
        event: &AuditEvent,
    ) -> Result<SsoOpened, OperationError<OpeningRejection>> {
        let opening = SsoOpening::new(grant, network, self.restore_epoch, entropy).map_err(StoreError::from)?;
        let SsoSignIn { assertion, attempt, key, user, .. } = &opening.sign_in;
        let (mut user, mut retries) = (user.clone(), Retries::of(attempt));
        loop {
            let (transaction, changed) = match self.decide_sso(&opening, idp, &user, event).await {
                Ok(decided) => decided,
                Err(OperationError::Rejected(SsoRejection::UserChanged)) => break,
                Err(OperationError::Rejected(SsoRejection::NetworkFull(full))) => {
                    return Err(OperationError::Rejected(OpeningRejection::NetworkFull(full)));
                }
                Err(OperationError::Store(error)) => return Err(error.into()),
            };
            let mut unmet = match self.table.transact(&transaction).await? {
                Transacted::Committed => return Ok(opened(opening, changed)),
                Transacted::Refused(unmet) => unmet,
            };
            let mut spent = use_up(assertion, attempt.at()).into_iter().chain([still_configured(assertion)]);
            if spent.any(|write| unmet.contains_key(write.key())) {
                return Err(OperationError::Rejected(OpeningRejection::Spent));
            }
            let Some(Some(found)) = unmet.remove(&keys::user(key)) else { break };
            user = item::read(found)?;
            retries.pause().await?;
        }
        Err(OperationError::Rejected(OpeningRejection::Stale(opening.sign_in.assertion)))
    }

    /// The transaction of a sign-in, and the user after it.
    async fn decide_sso(
        &self,
        opening: &SsoOpening,
        idp: &Idp,
        user: &User,
        event: &AuditEvent,
    ) -> Result<(Transaction, User), OperationError<SsoRejection>> {
        let SsoSignIn { assertion, attempt, key, .. } = &opening.sign_in;
        let mapped = self.map_role(&opening.sign_in, user, idp).await?;
        let mut changed = user.clone();
        let role = mapped.as_ref().map(|mapped| mapped.role);
        opening.apply(&mut changed, role).map_err(OperationError::Rejected)?;
        let mut writes = vec![commit::update(key, user, &changed)?];
        writes.extend(use_up(assertion, attempt.at()));
        let mut event = event.clone();
        if let Some(MappedRole { administrators, .. }) = mapped {
            writes.extend([still_configured(assertion), administrators]);
            event.changed.push("role".to_owned());
        }
        writes.extend(create_link(&opening.sign_in)?);
        let audit_row = self.audit_row(key.tenant(), attempt, AttemptEvent::Outcome, &event)?;
        Ok((Transaction::new(writes, audit_row), changed))
    }

    /// The change of the user's role by groups. `None`: the role does not change. The last active Administrator keeps the role.
    async fn map_role(&self, sign_in: &SsoSignIn, user: &User, idp: &Idp) -> Result<Option<MappedRole>, StoreError> {
        let Some(role) = sign_in.role_by_groups(user, idp) else { return Ok(None) };
        let key = &sign_in.key;
        let administrators = if role == Role::Administrator {
            let mut actions = vec![add_admin(key, user.auth_type)];
            actions.extend((user.factor.state() == FactorState::Active).then(|| mark_admin_with_mfa(key)));
            Some(Write::update(keys::administrators(key.tenant()), vec![], actions))
        } else {
            change_admin(key, &self.administrators(key, true).await?, AdminChange::Remove)
        };
        Ok(administrators.map(|administrators| MappedRole { role, administrators }))
    }
}

/// The result after the commit. `user` is the user as written.
fn opened(opening: SsoOpening, user: User) -> SsoOpened {
    let SsoSignIn { key, profile, .. } = opening.sign_in;
    match opening.token {
        SsoToken::Session(session) => {
            let entry = user.sessions.get(session.id()).unwrap_or(&session.entry).clone();
            let signed_in = session.into_signed_in(entry, false);
            SsoOpened::SignedIn(Box::new(SsoSession { signed_in, key, user, profile }))
        }
        SsoToken::Enrolment(token, challenge) => {
            let (ends, reset_code_required) = (challenge.ends, user.reset_code_required);
            SsoOpened::EnrolmentRequired { token, ends, reset_code_required }
        }
    }
}

/// Condition: the tenant's IdP is still the one that issued the assertion. A role stays after the session ends, so an IdP that is
/// no longer configured must not give one.
pub(in crate::store) fn still_configured(assertion: &Assertion) -> Write {
    Write::check(keys::idp(&assertion.tenant), vec![has_generation(assertion.generation)])
}

/// Uses up the assertion and its request: stores the assertion's digest, and deletes the request. The digest is kept until twice
/// the clock skew after the end of the assertion.
fn use_up(assertion: &Assertion, now: Timestamp) -> Vec<Write> {
    let tenant = &assertion.tenant;
    let remembered = (assertion.ends + policy::SKEW + policy::SKEW).secs();
    let spent = Item::from([("ttl".to_owned(), num(remembered))]);
    let mut writes = vec![Write::put_new(keys::assertion(tenant, &assertion.digest), spent)];
    writes.extend(
        assertion
            .relay
            .as_ref()
            .map(|relay| Write::delete(keys::sso_request(tenant, relay), vec![gt(attr("x"), now.millis())])),
    );
    writes
}

/// Links the NameID of a first sign-in to the user.
fn create_link(sign_in: &SsoSignIn) -> Result<Vec<Write>, StoreError> {
    let Some(subject) = &sign_in.link else { return Ok(Vec::new()) };
    let name_id = &sign_in.assertion.name_id;
    Ok(vec![
        linked(&sign_in.key, &sign_in.user, subject)?,
        Write::update(
            keys::profile(&sign_in.key),
            vec![exists(attr("PK")), absent(attr("sj"))],
            vec![Action::Set(attr("sj"), text(subject)), Action::Set(attr("ni"), text(name_id))],
        ),
    ])
}

/// Links a NameID to a user. Refused if the NameID is linked to a user. `subject` is the digest of the NameID.
pub(in crate::store) fn linked(key: &UserKey, user: &User, subject: &str) -> Result<Write, StoreError> {
    let link = Subject { uid: key.user().clone(), incarnation: user.incarnation };
    Ok(Write::put_new(keys::subject(key.tenant(), subject), item::write(&link)?))
}

#[cfg(test)]
pub(super) mod tests;
