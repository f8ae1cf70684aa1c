//! Sign-in by an assertion: whose it is, and the transaction that spends it.

use super::of_generation;
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
        Store, StoreError,
        administrators::{add_admin, mark_admin_with_mfa, remove_admin},
        commit::{self, Commit, Decision, Retries},
        item::{self, Idp, LoginRow, Profile, Subject},
        keys,
        write::{Action, Item, Write, absent, attr, exists, gt, num, text},
    },
};

/// Result of an accepted assertion.
pub enum SsoOpened {
    /// Signed in.
    SignedIn(Box<SsoSession>),
    /// The user must enrol an authenticator app first.
    EnrolmentRequired {
        /// The token.
        token: NewToken,
        /// When it ends.
        ends: Timestamp,
        /// Whether enrolment needs the reset code that was handed out.
        reset_code_required: bool,
    },
    /// Too many enrolment tokens were opened from this network.
    TooMany {
        /// When one can be opened again.
        retry_at: Timestamp,
    },
    /// The assertion or its request was used before, or the IdP that would change the role is no longer configured: denied.
    Spent,
    /// The user, the link or the Administrators changed meanwhile: whose the assertion is must be decided again.
    Stale(Assertion),
}

/// A user who signed in by SSO.
pub struct SsoSession {
    /// The session and its token.
    pub signed_in: SignedIn,
    /// Tenant and id.
    pub key: UserKey,
    /// The user after the sign-in.
    pub user: User,
    /// Names.
    pub profile: Profile,
}

/// Why an assertion has no owner.
#[derive(Debug, thiserror::Error)]
enum OwnerError {
    #[error(transparent)]
    Rejected(#[from] SubjectRejection),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The owner of an assertion.
struct Owner {
    key: UserKey,
    user: User,
    profile: Profile,
    /// The link that the sign-in makes.
    link: Option<String>,
}

/// Why there is nothing to commit.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Rejected(#[from] SsoRejection),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A role that groups give.
struct MappedRole {
    role: Role,
    /// The change of the tenant's Administrators.
    administrators: Write,
}

impl Store {
    /// The user whose assertion it is: the one whom an Administrator linked to the NameID, or whose login name the NameID is;
    /// else, if the tenant has a rule for first sign-ins, the one whose login name an attribute is. Never by e-mail address. A
    /// rejected assertion is returned with the reason.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn sso_owner(
        &self,
        assertion: Assertion,
        idp: &Idp,
        names: &NameKey,
        attempt: &Attempt,
    ) -> Result<Result<SsoSignIn, (Assertion, SubjectRejection)>, StoreError> {
        match self.find_owner(&assertion, idp, names).await {
            Ok(Owner { key, user, profile, link }) => {
                Ok(Ok(SsoSignIn { assertion, attempt: *attempt, key, user, profile, link }))
            }
            Err(OwnerError::Rejected(why)) => Ok(Err((assertion, why))),
            Err(OwnerError::Store(error)) => Err(error),
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

    /// The user whom the assertion names: by a link, which is exact, else by a login name. A name that NFKC changes is not
    /// looked up as a login name.
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
        let wanted: Vec<_> = [keys::subject(tenant, subject)].into_iter().chain(logins).collect();
        let mut found = self.table.read(&wanted).await?.into_iter();
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

    /// Spends an assertion and its request for a session or an enrolment token, in one transaction. The same transaction maps
    /// the role that groups give, and makes the link of a first sign-in.
    ///
    /// # Errors
    /// [`StoreError`]: denied, though it may have been committed.
    pub async fn open_sso(
        &self,
        grant: SsoGrant,
        idp: &Idp,
        network: &str,
        entropy: &dyn Entropy,
        event: &AuditEvent,
    ) -> Result<SsoOpened, StoreError> {
        let opening = SsoOpening::new(grant, network, self.restored, entropy)?;
        let SsoSignIn { assertion, attempt, key, user, .. } = &opening.sign_in;
        let (mut user, mut retries) = (user.clone(), Retries::of(attempt));
        loop {
            let decision = match self.decide_sso(&opening, idp, &user, event).await {
                Ok(decision) => decision,
                Err(OpenError::Rejected(SsoRejection::UserChanged)) => break,
                Err(OpenError::Rejected(SsoRejection::NetworkFull(NetworkFull { retry_at }))) => {
                    return Ok(SsoOpened::TooMany { retry_at });
                }
                Err(OpenError::Store(error)) => return Err(error),
            };
            let written = decision.keys();
            let found = match self.try_commit(decision).await? {
                Commit::Done(user) => return Ok(opened(opening, user)),
                Commit::Stale(found) => found,
            };
            let mut changed = commit::changed_items(written, found);
            let spent = spending(assertion, attempt.at()).into_iter().chain([still_configured(assertion)]);
            if spent.into_iter().any(|write| changed.contains_key(write.key())) {
                return Ok(SsoOpened::Spent);
            }
            let Some(Some(found)) = changed.remove(&keys::user(key)) else { break };
            user = item::read(found)?;
            retries.pause().await?;
        }
        Ok(SsoOpened::Stale(opening.sign_in.assertion))
    }

    async fn decide_sso(
        &self,
        opening: &SsoOpening,
        idp: &Idp,
        user: &User,
        event: &AuditEvent,
    ) -> Result<Decision<User>, OpenError> {
        let SsoSignIn { assertion, attempt, key, .. } = &opening.sign_in;
        let mapped = self.map_role(&opening.sign_in, user, idp).await?;
        let mut changed = user.clone();
        opening.apply(&mut changed, mapped.as_ref().map(|mapped| mapped.role))?;
        let mut writes = vec![commit::update(key, user, &changed)?];
        writes.extend(spending(assertion, attempt.at()));
        let mut event = event.clone();
        if let Some(MappedRole { administrators, .. }) = mapped {
            // A role outlives the session, so an IdP that is no longer configured must not give it.
            writes.extend([still_configured(assertion), administrators]);
            event.changed.push("role".to_owned());
        }
        writes.extend(linking(&opening.sign_in)?);
        let audit_row = Some(self.audit_row(key.tenant(), attempt, 0, &event)?);
        Ok(Decision { writes, audit_row, outcome: changed })
    }

    /// The role that changes with the sign-in, if one does. The last active Administrator keeps the role.
    async fn map_role(&self, sign_in: &SsoSignIn, user: &User, idp: &Idp) -> Result<Option<MappedRole>, StoreError> {
        let Some(role) = sign_in.role_by_groups(user, idp) else { return Ok(None) };
        let key = &sign_in.key;
        let administrators = if role == Role::Administrator {
            let mut actions = vec![add_admin(key, user.auth_type)];
            actions.extend((user.factor.state() == FactorState::Active).then(|| mark_admin_with_mfa(key)));
            Some(Write::update(keys::administrators(key.tenant()), vec![], actions))
        } else {
            remove_admin(key, &self.administrators(key, true).await?, None)
        };
        Ok(administrators.map(|administrators| MappedRole { role, administrators }))
    }
}

/// What the caller gets after the commit. `user` is the user as written.
fn opened(opening: SsoOpening, user: User) -> SsoOpened {
    let SsoSignIn { key, profile, .. } = opening.sign_in;
    match opening.token {
        SsoToken::Session(session) => {
            let entry = user.sessions.get(session.id()).unwrap_or(&session.entry).clone();
            let signed_in = session.into_signed_in(entry, false);
            SsoOpened::SignedIn(Box::new(SsoSession { signed_in, key, user, profile }))
        }
        SsoToken::Enrolment(token, challenge) => {
            let (ends, reset_code_required) = (Timestamp::from_millis(challenge.ends), user.reset_code_required);
            SsoOpened::EnrolmentRequired { token, ends, reset_code_required }
        }
    }
}

/// The IdP that made the assertion is still the tenant's.
fn still_configured(assertion: &Assertion) -> Write {
    Write::check(keys::idp(&assertion.tenant), vec![of_generation(assertion.generation)])
}

/// Uses up the assertion and its request: the assertion's id is stored, and the request is deleted.
fn spending(assertion: &Assertion, now: Timestamp) -> Vec<Write> {
    let tenant = &assertion.tenant;
    let remembered = (assertion.ends + policy::SKEW + policy::SKEW).secs();
    let spent = Item::from([("ttl".to_owned(), num(remembered))]);
    let mut writes = vec![Write::put_new(keys::assertion(tenant, &assertion.digest), spent)];
    writes.extend(assertion.relay.as_ref().map(|relay| {
        Write::delete(keys::sso_request(tenant, relay), vec![exists(attr("PK")), gt(attr("x"), now.millis())])
    }));
    writes
}

/// Makes the link of a first sign-in.
fn linking(sign_in: &SsoSignIn) -> Result<Vec<Write>, StoreError> {
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

/// Links a NameID that no user has to a user.
pub(in crate::store) fn linked(key: &UserKey, user: &User, subject: &str) -> Result<Write, StoreError> {
    let link = Subject { uid: key.user().clone(), incarnation: user.incarnation };
    Ok(Write::put_new(keys::subject(key.tenant(), subject), item::write(&link)?))
}

#[cfg(test)]
pub(super) mod tests;
