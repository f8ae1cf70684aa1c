//! Commands of the IdP's door: a tenant's IdP, requests to it, and spending what it asserts.

use super::{
    MAX_RETRIES, Store, StoreError,
    administrators::{add_admin, is_local_admin, mark_admin_with_mfa, remove_admin},
    item,
    item::{
        Administrators, Amr, Challenge, CurrentIdp, FactorState, Idp, LoginRow, Profile, Role, SsoRequest, Subject,
        TenantPolicy, User,
    },
    keys,
    login::{Planned, deciding, open_entry},
    session::AdminContext,
    table::{Retry, Transacted, Transaction, Updated},
    write::{Action, Condition, Item, Value, Write, absent, attr, eq, exists, gt, lt, num, text},
};
use crate::{
    audit::AuditEvent,
    env::{Entropy, Timestamp},
    id::{AssertedName, TenantId, UserId, UserKey},
    policy,
    secret::{NameKey, NewToken, Nonce, TokenClass},
    sign_in::{Attempt, NewSession, NextStep, SignedIn},
    sso::{Assertion, PreSession, Relay, SsoGrant, SsoSignIn},
};

/// A tenant's IdP, and the request that an assertion says it answers.
pub struct LoadedRequest {
    /// The IdP.
    pub idp: Idp,
    /// The request; `None` where none of that kind was sent, or it was answered.
    pub request: Option<SsoRequest>,
}

/// What became of an assertion.
pub enum SsoOpened {
    /// Signed in.
    SignedIn(Box<SsoSession>),
    /// An authenticator has to be enrolled first.
    EnrolmentRequired {
        /// The token.
        token: NewToken,
        /// When it ends.
        ends: Timestamp,
        /// Whether enrolment asks for the reset code that was handed out.
        reset_code_required: bool,
    },
    /// Too many enrolment tokens were opened from this network.
    TooMany {
        /// When one can be opened again.
        retry_at: Timestamp,
    },
    /// It was spent already, or its request was: denied.
    Spent,
    /// The person changed meanwhile, or what the IdP calls them: whose it is has to be asked anew.
    Stale(Assertion),
}

/// Why an assertion is nobody's who may sign in by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectRejection {
    /// Nobody is called so: the person may be provisioned.
    Unknown,
    /// Nobody is called so, and NFKC alters the name, so that it may look like somebody's: nobody is provisioned by it.
    AlteredByNormalization,
    /// Somebody is called so, but does not sign in by this name, or not by SSO.
    NotSsoUser,
}

/// Whom an assertion names.
struct Candidate {
    uid: UserId,
    /// Of a link: the incarnation it is about.
    incarnation: Option<Nonce>,
    /// The name that has to be their login name, where there is no link.
    by: Option<AssertedName>,
    /// Whether this sign-in makes the link.
    links: bool,
}

/// Somebody who is signed in by their IdP.
pub struct SsoSession {
    /// What they get.
    pub signed_in: SignedIn,
    /// Who they are.
    pub key: UserKey,
    /// As they were.
    pub user: User,
    /// Their names.
    pub profile: Profile,
}

/// What became of the end of a tenant's IdP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdpRemoved {
    /// It is not configured any more.
    Done,
    /// There is none.
    NotFound,
    /// No active Administrator signs in locally.
    Needed,
    /// The caller may no longer.
    ActorRevoked,
}

impl SsoRequest {
    /// One that is sent now, asks for no step-up and is bound to no browser.
    #[must_use]
    pub fn new(return_to: String, now: Timestamp) -> Self {
        Self { ends: (now + REQUEST_LIFE).millis(), return_to, step_up: false, pre_session: None }
    }
}

/// How long a request waits for its answer.
pub const REQUEST_LIFE: std::time::Duration = PreSession::LIFE;

impl Store {
    /// A tenant's IdP. The outer `None`: there is no such tenant.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn idp(&self, tenant: &TenantId) -> Result<Option<Option<Idp>>, StoreError> {
        let [policy, idp] = self.read_all([keys::tenant(tenant), keys::idp(tenant)]).await?;
        let idp = idp.map(item::read).transpose()?;
        Ok(policy.map(item::read::<TenantPolicy>).transpose()?.map(|_| idp))
    }

    /// Configures the IdP of the caller's tenant, in the place of whichever was. Where that had the same entity id, its
    /// generation stays, and with it the sessions of its people. `None`: the caller may no longer.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn set_idp(
        &self,
        admin: &AdminContext,
        idp: &Idp,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Option<()>, StoreError> {
        let tenant = admin.tenant();
        let mut current = admin.principal().idp().cloned();
        for _ in 0..MAX_RETRIES {
            let (idp, condition) = in_place_of(current.as_ref(), idp);
            let writes = vec![
                Write::check(keys::user(admin.key()), admin.conditions(attempt.at())),
                Write { condition, ..Write::put(keys::idp(tenant), item::write(&idp)?) },
                Write::update(
                    keys::administrators(tenant),
                    vec![exists(attr("PK"))],
                    vec![Action::Set(attr("idp"), Value::Bool(true))],
                ),
            ];
            let row = self.audit_row(tenant, attempt, 0, event)?;
            match self.table.transact(&Transaction::new(writes, row)).await? {
                Transacted::Committed => return Ok(Some(())),
                Transacted::Refused(mut met) => match met.swap_remove(1) {
                    // Another one was configured or removed meanwhile.
                    Some(found) => current = found.map(item::read).transpose()?,
                    None => return Ok(None),
                },
            }
        }
        Err(StoreError::Contended("a tenant's IdP keeps changing".into()))
    }

    /// Ends the IdP of the caller's tenant, unless every active Administrator depends on it.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn remove_idp(
        &self,
        admin: &AdminContext,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<IdpRemoved, StoreError> {
        let tenant = admin.tenant();
        for _ in 0..MAX_RETRIES {
            let [idp, administrators] = self.read_all([keys::idp(tenant), keys::administrators(tenant)]).await?;
            let administrators: Administrators = item::read(administrators.unwrap_or_default())?;
            match (idp, administrators.local(None)) {
                (None, _) => return Ok(IdpRemoved::NotFound),
                (_, None) => return Ok(IdpRemoved::Needed),
                (Some(_), Some(local)) => {
                    let writes = vec![
                        Write::check(keys::user(admin.key()), admin.conditions(attempt.at())),
                        Write::delete(keys::idp(tenant), vec![exists(attr("PK"))]),
                        Write::update(
                            keys::administrators(tenant),
                            vec![is_local_admin(local)],
                            vec![Action::Remove(attr("idp"))],
                        ),
                    ];
                    let row = self.audit_row(tenant, attempt, 0, event)?;
                    match self.table.transact(&Transaction::new(writes, row)).await? {
                        Transacted::Committed => return Ok(IdpRemoved::Done),
                        Transacted::Refused(met) if met.first().is_some_and(Option::is_some) => {
                            return Ok(IdpRemoved::ActorRevoked);
                        }
                        Transacted::Refused(_) => {}
                    }
                }
            }
        }
        Err(StoreError::Contended("a tenant's IdP and Administrators keep changing".into()))
    }

    /// Keeps a request that is sent to the IdP, until it is answered.
    ///
    /// # Errors
    /// [`StoreError`]; the browser must not be sent on then.
    pub async fn open_request(&self, tenant: &TenantId, relay: &Relay, request: &SsoRequest) -> Result<(), StoreError> {
        let mut fields = item::write(request)?;
        fields.insert("ttl".to_owned(), num((Timestamp::from_millis(request.ends) + policy::SKEW).secs()));
        let actions = fields.into_iter().map(|(name, value)| Action::Set(attr(name), value)).collect();
        let write = Write::update(keys::sso_request(tenant, relay), vec![absent(attr("PK"))], actions);
        match self.table.update(&write, Retry::Idempotent).await? {
            // Its random name is there: the reply was lost.
            Updated::Written(_) | Updated::Refused(_) => Ok(()),
        }
    }

    /// Reads what an assertion is checked against: the tenant's IdP, and the request it may answer. `None`: the tenant has
    /// no IdP, or is none.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn load_request(
        &self,
        tenant: &TenantId,
        relay: Option<&Relay>,
        now: Timestamp,
    ) -> Result<Option<LoadedRequest>, StoreError> {
        let wanted: Vec<_> =
            [keys::idp(tenant)].into_iter().chain(relay.map(|relay| keys::sso_request(tenant, relay))).collect();
        let mut found = self.table.read(&wanted).await?.into_iter();
        let Some(idp) = found.next().flatten() else { return Ok(None) };
        let request: Option<SsoRequest> = found.next().flatten().map(item::read).transpose()?;
        let request = request.filter(|request| in_time(request, now));
        Ok(Some(LoadedRequest { idp: item::read(idp)?, request }))
    }

    /// Whose an assertion is: whom an Administrator linked to what the IdP calls them, or named so; else, if the tenant has a
    /// rule for it, whom an attribute names that was linked to nobody yet. Never by e-mail. The assertion comes back where it
    /// is nobody's who may sign in by it, with the reason.
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
        let tenant = assertion.tenant.clone();
        let subject = names.subject(&tenant, &assertion.entity_id, &assertion.name_id);
        let found = match self.named(&assertion, idp, names, &subject).await? {
            Ok(found) => found,
            Err(why) => return Ok(Err((assertion, why))),
        };
        let key = tenant.user(found.uid);
        let [user, profile] = self.read_all([keys::user(&key), keys::profile(&key)]).await?;
        let (Some(user), Some(profile)) = (user, profile) else {
            return Ok(Err((assertion, SubjectRejection::NotSsoUser)));
        };
        let (user, profile): (User, Profile) = (item::read(user)?, item::read(profile)?);
        if found.by.as_ref().is_some_and(|name| !name.matches(&profile.username)) {
            return Ok(Err((assertion, SubjectRejection::Unknown)));
        }
        // Who was linked to a name is called so and nothing else.
        let theirs = match found.incarnation {
            // Replaced since it was read, it is theirs no more.
            Some(incarnation) => incarnation == user.incarnation && profile.subject.as_ref() == Some(&subject),
            None => profile.subject.is_none(),
        };
        if !theirs {
            return Ok(Err((assertion, SubjectRejection::NotSsoUser)));
        }
        let link = found.links.then_some(subject);
        let sign_in = SsoSignIn { assertion, attempt: *attempt, key, user, profile, link };
        Ok(sign_in.if_permitted().map_err(|assertion| (assertion, SubjectRejection::NotSsoUser)))
    }

    /// Whom the assertion names: by an explicit link, which is exact; else by a login name, which is not looked up by a
    /// name that NFKC alters.
    async fn named(
        &self,
        assertion: &Assertion,
        idp: &Idp,
        names: &NameKey,
        subject: &str,
    ) -> Result<Result<Candidate, SubjectRejection>, StoreError> {
        let tenant = &assertion.tenant;
        let attribute = idp.link_attribute.as_deref().and_then(|name| assertion.attribute(name));
        let said = [Some(assertion.name_id.as_str()), attribute].map(|text| text.map(AssertedName::parse));
        let login = |name: &AssertedName| keys::login(&names.login(tenant, name.login()));
        let logins = said.iter().flatten().flatten().map(login);
        let wanted: Vec<_> = [keys::subject(tenant, subject)].into_iter().chain(logins).collect();
        let mut found = self.table.read(&wanted).await?.into_iter();
        if let Some(link) = found.next().flatten() {
            let Subject { uid, incarnation } = item::read(link)?;
            return Ok(Ok(Candidate { uid, incarnation: Some(incarnation), by: None, links: false }));
        }
        let mut why = SubjectRejection::Unknown;
        for (name, links) in said.into_iter().zip([false, true]) {
            match name {
                None => {}
                Some(None) => why = SubjectRejection::AlteredByNormalization,
                Some(Some(name)) => {
                    let row = found.next().flatten().map(item::read::<LoginRow>).transpose()?;
                    if let Some(uid) = row.and_then(|row| row.uid) {
                        return Ok(Ok(Candidate { uid, incarnation: None, by: Some(name), links }));
                    }
                }
            }
        }
        Ok(Err(why))
    }

    /// Spends an assertion, and its request, for a session or an enrolment token: one transaction. The role that groups give is
    /// mapped in it.
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
        let SsoGrant { mut sign_in, next_step: worth } = grant;
        let attempt = sign_in.attempt;
        for _ in 0..MAX_RETRIES {
            let mapped = self.mapped(&sign_in, idp).await?;
            let security_version = sign_in.user.security_version + i64::from(mapped.is_some());
            let (grant, (mut conditions, mut actions)) =
                match self.grant(&sign_in, worth, security_version, network, entropy)? {
                    Ok(planned) => planned,
                    Err(retry_at) => return Ok(SsoOpened::TooMany { retry_at }),
                };
            // Not a namesake's, whose epoch may be as low.
            conditions.push(eq(attr("born"), sign_in.user.incarnation.bytes()));
            let mut event = event.clone();
            if let Some(mapped) = &mapped {
                actions.extend(mapped.actions()?);
                event.changed.push("role".to_owned());
            }
            let mut writes = vec![Write::update(keys::user(&sign_in.key), conditions, actions)];
            writes.extend(spending(&sign_in.assertion, attempt.at()));
            // A role outlives the session: it is not given by an IdP that has ended meanwhile.
            writes.extend(mapped.as_ref().map(|_| still_configured(&sign_in.assertion)));
            let spent = 1..writes.len();
            writes.extend(mapped.as_ref().map(|mapped| mapped.administrators.clone()));
            writes.extend(linking(&sign_in)?.into_iter().flatten());
            let row = self.audit_row(sign_in.key.tenant(), &attempt, 0, &event)?;
            let mut met = match self.table.transact(&Transaction::new(writes, row)).await? {
                Transacted::Committed => {
                    sign_in.user.role = mapped.map_or(sign_in.user.role, |mapped| mapped.role);
                    return Ok(grant.opened(sign_in));
                }
                Transacted::Refused(met) => met,
            };
            if met.get(spent).is_some_and(|met| met.iter().any(Option::is_some)) {
                return Ok(SsoOpened::Spent);
            }
            // Their item, if it was that: else the link was made meanwhile.
            let Some(Some(item)) = met.swap_remove(0) else { return Ok(SsoOpened::Stale(sign_in.assertion)) };
            let user: User = item::read(item)?;
            if deciding(&user) != deciding(&sign_in.user) || NextStep::of(&user, attempt.at()) != worth {
                return Ok(SsoOpened::Stale(sign_in.assertion));
            }
            sign_in.user = user;
        }
        Err(StoreError::Contended("sessions of one person keep changing".into()))
    }

    /// The role that is to change with a sign-in, if one is. The last active Administrator stays one.
    async fn mapped(&self, sign_in: &SsoSignIn, idp: &Idp) -> Result<Option<Mapped>, StoreError> {
        let Some(role) = sign_in.role_by_groups(idp) else { return Ok(None) };
        let (key, user) = (&sign_in.key, &sign_in.user);
        let administrators = if role == Role::Administrator {
            let mut actions = vec![add_admin(key, user.auth_type)];
            actions.extend((user.factor.state() == FactorState::Active).then(|| mark_admin_with_mfa(key)));
            Some(Write::update(keys::administrators(key.tenant()), vec![], actions))
        } else {
            remove_admin(key, &self.administrators(key, true).await?, None)
        };
        Ok(administrators.map(|administrators| Mapped { role, administrators }))
    }

    /// What an assertion opens, and how it is written into the person's item; or when there is room for it again.
    fn grant(
        &self,
        sign_in: &SsoSignIn,
        worth: NextStep,
        security_version: i64,
        network: &str,
        entropy: &dyn Entropy,
    ) -> Result<Result<(Grant, Planned), Timestamp>, StoreError> {
        let SsoSignIn { assertion, attempt, key, user, .. } = sign_in;
        let now = attempt.at();
        if worth == NextStep::EnrolmentRequired {
            let token = NewToken::generate(TokenClass::Enrolment, key, self.restored, entropy)?;
            let ends = now + policy::ENROLMENT_LIFE;
            let entry = Challenge {
                verifier: *token.reference().verifier(),
                ends: ends.millis(),
                attempts: 0,
                security_version,
                network: network.to_owned(),
                device: None,
                idp: assertion.generation,
            };
            let planned = open_entry(user, &token, &entry, now)?;
            return Ok(planned.map(|planned| (Grant::Enrolment(token, ends), planned)));
        }
        let mut session = NewSession::signed_in(key, security_version, Amr::Sso, attempt, self.restored, entropy)?;
        session.entry.idp = assertion.generation;
        if worth == NextStep::Exempt {
            session.entry.ends = (now + policy::EXEMPT_SESSION_LIFE).secs();
        } else if let Some(at) = assertion.stepped_up {
            // The IdP may have asked long before it answered.
            session.entry.step_up = at.min(now).secs();
        }
        let ends = assertion.session_ends.map_or(i64::MAX, Timestamp::secs);
        session.entry.ends = session.entry.ends.min(ends);
        let (mut conditions, mut actions) = super::session::open(user, &session, None, now)?;
        conditions.extend([
            eq(attr("ep"), user.security_version),
            eq(attr("ac"), true),
            eq(attr("at"), item::value(&user.auth_type)?),
            eq(attr("fs"), item::value(&user.factor.state())?),
        ]);
        conditions.push(if worth == NextStep::Exempt {
            exists(attr("ex"))
        } else {
            lt(attr("row"), policy::MAX_CONSECUTIVE_FAILURES)
        });
        actions.push(Action::Set(attr("seen"), num(now.secs())));
        Ok(Ok((Grant::Session(session), (conditions, actions))))
    }
}

/// A role that groups give.
struct Mapped {
    role: Role,
    /// The tenant's Administrators, who change with it.
    administrators: Write,
}

impl Mapped {
    /// As every change of a role it raises the epoch. Tokens of before are dead by that.
    fn actions(&self) -> Result<[Action; 3], StoreError> {
        let role = Action::Set(attr("r"), item::value(&self.role)?);
        Ok([role, Action::Add(attr("ep"), 1), Action::Remove(attr("pe"))])
    }
}

/// That the IdP that made an assertion is the tenant's still.
fn still_configured(assertion: &Assertion) -> Write {
    let generation = match assertion.generation {
        Some(generation) => eq(attr("gn"), generation.bytes()),
        None => absent(attr("gn")),
    };
    Write::check(keys::idp(&assertion.tenant), vec![exists(attr("PK")), generation])
}

/// What an assertion opens.
enum Grant {
    Session(NewSession),
    Enrolment(NewToken, Timestamp),
}

impl Grant {
    fn opened(self, sign_in: SsoSignIn) -> SsoOpened {
        let SsoSignIn { key, user, profile, .. } = sign_in;
        match self {
            Self::Session(session) => {
                SsoOpened::SignedIn(Box::new(SsoSession { signed_in: session.opened(&user), key, user, profile }))
            }
            Self::Enrolment(token, ends) => {
                SsoOpened::EnrolmentRequired { token, ends, reset_code_required: user.reset_code_required }
            }
        }
    }
}

/// An IdP as it is put in the place of another, and that this is still the one that is there.
fn in_place_of(current: Option<&CurrentIdp>, idp: &Idp) -> (Idp, Condition) {
    let mut idp = idp.clone();
    let Some(current) = current else { return (idp, absent(attr("PK"))) };
    if current.entity_id == idp.entity_id {
        idp.generation = current.generation;
    }
    let generation = match current.generation {
        Some(generation) => eq(attr("gn"), generation.bytes()),
        None => absent(attr("gn")),
    };
    (idp, Condition::All(vec![eq(attr("e"), current.entity_id.as_str()), generation]))
}

fn in_time(request: &SsoRequest, now: Timestamp) -> bool {
    let longest = (now + REQUEST_LIFE + policy::SKEW).millis();
    request.ends > now.millis() && request.ends <= longest
}

/// What happens once, with the sign-in: the assertion's id is written down, and its request is gone.
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

/// The link that a first sign-in makes.
fn linking(sign_in: &SsoSignIn) -> Result<Option<[Write; 2]>, StoreError> {
    let Some(subject) = &sign_in.link else { return Ok(None) };
    let name_id = &sign_in.assertion.name_id;
    Ok(Some([
        linked(&sign_in.key, &sign_in.user, subject)?,
        Write::update(
            keys::profile(&sign_in.key),
            vec![exists(attr("PK")), absent(attr("sj"))],
            vec![Action::Set(attr("sj"), text(subject)), Action::Set(attr("ni"), text(name_id))],
        ),
    ]))
}

/// Links a name of the IdP's, that nobody has, to somebody.
pub(super) fn linked(key: &UserKey, user: &User, subject: &str) -> Result<Write, StoreError> {
    let link = Subject { uid: key.user().clone(), incarnation: user.incarnation };
    Ok(Write::put_new(keys::subject(key.tenant(), subject), item::write(&link)?))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use async_trait::async_trait;

    use super::*;
    use crate::{
        auth::verify_code::VerificationRejection,
        env::SystemEntropy,
        id::BatchId,
        secret::TokenRef,
        sign_in::VerificationToken,
        sso::SsoChecked,
        store::{
            Table,
            enrolment::{Denied, EnrolmentToken},
            fixture::{Ann, NOW, ann, ann_of, at_once, attempt, enrolment, idp},
            item::{AuthType, Exclusion, Provisioning},
            login::Charge,
            memory::MemoryTable,
            session::NoSession,
            table::{Query, Retry},
            users::{Actor, Changed, Created, Patch},
            write::Key,
        },
    };

    async fn set(ann: &Ann, key: &UserKey, actions: Vec<Action>) {
        let write = Write::update(keys::user(key), vec![], actions);
        ann.store.table.update(&write, Retry::Never).await.unwrap();
    }

    /// Ann with Bob, who comes from the IdP and has a factor.
    async fn office() -> (Ann, UserKey) {
        let (ann, _) = ann(0).await;
        let bob = ann.of_idp("bob", Role::Standard, FactorState::Active).await;
        (ann, bob)
    }

    /// A sign-in of somebody, under an id of its own.
    async fn arrives(ann: &Ann, name_id: &str, id: &str) -> SsoSignIn {
        ann.owner(ann.asserted(name_id, id, None), NOW).await.unwrap()
    }

    async fn opened(ann: &Ann, sign_in: SsoSignIn) -> SsoOpened {
        ann.opens(sign_in).await.unwrap().unwrap()
    }

    async fn session(ann: &Ann, sign_in: SsoSignIn) -> item::Session {
        match opened(ann, sign_in).await {
            SsoOpened::SignedIn(it) => it.signed_in.session,
            _ => panic!("not signed in"),
        }
    }

    fn subject(ann: &Ann, name_id: &str) -> String {
        ann.names.subject(ann.key.tenant(), &idp().entity_id, name_id)
    }

    async fn links(ann: &Ann, target: &UserKey, name_id: &str) {
        let linked = Some(ann.names.link(ann.key.tenant(), &idp().entity_id, name_id));
        assert!(matches!(ann.patch(target, Patch { linked, ..Patch::default() }).await, Changed::Done(_)));
    }

    async fn delete(ann: &Ann, target: &UserKey) {
        let session = ann.session_of(&ann.key).await;
        let loaded = ann.store.load_user(&session, target.user().clone(), NOW).await.unwrap();
        let (principal, named) = loaded.ok().unwrap();
        let admin = principal.administrator(NOW).ok().unwrap();
        let gone = ann.store.delete_user(&admin, named, &attempt(NOW), &ann.event()).await.unwrap();
        assert!(matches!(gone, Changed::Done(_)));
    }

    #[tokio::test]
    async fn an_assertion_and_a_request_are_spent_once() {
        let (ann, bob) = office().await;
        let relay = ann.request().await;
        let answer = |id| ann.asserted("bob", id, Some(relay.clone()));
        let (one, same, other) = (answer("1"), answer("1"), answer("2"));
        let (one, same, other) =
            (ann.owner(one, NOW).await.unwrap(), ann.owner(same, NOW).await, ann.owner(other, NOW).await);
        session(&ann, one).await;
        // Each alone is enough to be refused.
        let again = arrives(&ann, "bob", "1").await;
        for spent in [same.unwrap(), other.unwrap(), again] {
            assert!(matches!(opened(&ann, spent).await, SsoOpened::Spent));
        }
        assert_eq!(ann.read(&bob).await.sessions.len(), 1);
        // Another tenant's assertion of that id is another one.
        assert!(ann.owner(ann.asserted("bob", "3", None), NOW).await.is_some());
    }

    #[tokio::test]
    async fn a_request_waits_a_quarter_of_an_hour() {
        let (ann, _) = office().await;
        let (tenant, relay) = (ann.key.tenant().clone(), ann.request().await);
        assert!(ann.store.load_request(&tenant, Some(&relay), NOW).await.unwrap().is_none(), "there is no IdP yet");
        ann.put(Write::put_new(keys::idp(&tenant), item::write(&idp()).unwrap())).await;
        let last = NOW + REQUEST_LIFE - Duration::from_millis(1);
        let early = NOW - policy::SKEW - Duration::from_millis(1);
        for (at, waits) in [(NOW, true), (last, true), (NOW + REQUEST_LIFE, false), (early, false)] {
            let loaded = ann.store.load_request(&tenant, Some(&relay), at).await.unwrap().unwrap();
            assert_eq!(loaded.request.is_some(), waits, "{at}");
        }
        // In time when it was read, and late when it is spent.
        let late = ann.owner(ann.asserted("bob", "1", Some(relay)), NOW + REQUEST_LIFE).await.unwrap();
        assert!(matches!(opened(&ann, late).await, SsoOpened::Spent));
    }

    #[tokio::test]
    async fn somebody_who_changed_meanwhile_is_looked_at_again_and_loses_nothing() {
        let (ann, bob) = office().await;
        for (n, actions) in [
            vec![Action::Add(attr("ep"), 1)],
            vec![Action::Set(attr("ac"), Value::Bool(false))],
            vec![Action::Set(attr("ac"), Value::Bool(true)), Action::Set(attr("at"), text("l"))],
            vec![Action::Set(attr("at"), text("s")), Action::Set(attr("fs"), text("n"))],
            enrolment(),
        ]
        .into_iter()
        .enumerate()
        {
            set(&ann, &bob, vec![Action::Set(attr("ac"), Value::Bool(true)), Action::Set(attr("at"), text("s"))]).await;
            let sign_in = arrives(&ann, "bob", "1").await;
            set(&ann, &bob, actions).await;
            assert!(matches!(opened(&ann, sign_in).await, SsoOpened::Stale(_)), "{n}");
        }
        // The assertion that came back was not spent.
        session(&ann, arrives(&ann, "bob", "1").await).await;
        let sign_in = arrives(&ann, "bob", "2").await;
        delete(&ann, &bob).await;
        assert!(matches!(opened(&ann, sign_in).await, SsoOpened::Stale(_)));
        // A busy day of theirs is none of it.
        let eve = ann.of_idp("eve", Role::Standard, FactorState::Active).await;
        let sign_in = arrives(&ann, "eve", "3").await;
        for _ in 0..policy::SESSIONS {
            ann.session_of(&eve).await;
        }
        session(&ann, sign_in).await;
        assert_eq!(ann.read(&eve).await.sessions.len(), policy::SESSIONS);
    }

    #[tokio::test]
    async fn an_excluded_contact_is_signed_in_for_eight_hours() {
        let (ann, _) = ann(0).await;
        let con = ann.of_idp("con", Role::Portal, FactorState::None).await;
        let excluded = item::value(&Exclusion { batch: BatchId::parse("b").unwrap(), at: 0 }).unwrap();
        set(&ann, &con, vec![Action::Set(attr("ex"), excluded)]).await;
        let mut assertion = ann.asserted("con", "1", None);
        assertion.stepped_up = Some(NOW);
        let got = session(&ann, ann.owner(assertion, NOW).await.unwrap()).await;
        assert_eq!((got.amr, got.ends), (Amr::Sso, (NOW + policy::EXEMPT_SESSION_LIFE).secs()));
        assert_eq!(got.step_up, 0, "who has no factor steps up by nothing");
        let sign_in = arrives(&ann, "con", "2").await;
        set(&ann, &con, vec![Action::Remove(attr("ex"))]).await;
        assert!(matches!(opened(&ann, sign_in).await, SsoOpened::Stale(_)), "the exclusion has ended");
        assert!(ann.read(&con).await.sessions.len() == 1);
    }

    #[tokio::test]
    async fn a_factor_that_is_gone_or_an_account_left_alone_needs_a_reset() {
        let (ann, bob) = office().await;
        let full = || vec![Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES))];
        let sign_in = arrives(&ann, "bob", "1").await;
        set(&ann, &bob, full()).await;
        assert!(matches!(opened(&ann, sign_in).await, SsoOpened::Stale(_)), "full meanwhile");
        assert!(ann.opens(arrives(&ann, "bob", "1").await).await.is_none());
        set(&ann, &bob, vec![Action::Set(attr("fs"), text("d"))]).await;
        assert!(ann.opens(arrives(&ann, "bob", "1").await).await.is_none());
        let eve = ann.of_idp("eve", Role::Standard, FactorState::None).await;
        let late = NOW + policy::DORMANT;
        for (at, opens) in [(late - Duration::from_secs(1), true), (late, false)] {
            let sign_in = ann.owner(ann.asserted("eve", &at.to_string(), None), at).await.unwrap();
            assert_eq!(ann.opens(sign_in).await.is_some(), opens, "dormant");
        }
        set(&ann, &eve, vec![Action::Set(attr("eb"), num(NOW.secs()))]).await;
        assert!(ann.read(&eve).await.enrol_by.is_some());
        assert!(ann.opens(arrives(&ann, "eve", "2").await).await.is_none(), "too late to enrol");
        assert_eq!(ann.read(&eve).await.sessions.len() + ann.read(&bob).await.sessions.len(), 0);
    }

    #[tokio::test]
    async fn a_session_ends_with_the_idps_and_steps_up_by_its_context_alone() {
        let (ann, bob) = office().await;
        let day = Duration::from_secs(86_400);
        let ten = Duration::from_secs(600);
        for (n, idp_ends, stepped_up, life) in [
            (1, None, None, policy::SESSION_LIFE),
            (2, Some(ten), Some(NOW), ten),
            (3, Some(day), Some(NOW - ten), policy::SESSION_LIFE),
            (4, Some(day), Some(NOW + policy::SKEW), policy::SESSION_LIFE),
        ] {
            let mut assertion = ann.asserted("bob", &n.to_string(), None);
            assertion.session_ends = idp_ends.map(|it| NOW + it);
            assertion.stepped_up = stepped_up;
            let got = session(&ann, ann.owner(assertion, NOW).await.unwrap()).await;
            assert_eq!((got.amr, got.ends), (Amr::Sso, (NOW + life).secs()), "{n}");
            // Dated by the older of the two.
            assert_eq!(got.step_up, stepped_up.map_or(0, |at| at.min(NOW).secs()), "{n}");
        }
        assert_eq!(ann.read(&bob).await.seen, NOW.secs());
    }

    #[tokio::test]
    async fn enrolment_tokens_are_counted_for_a_network_and_none_is_a_session() {
        let (ann, _) = ann(0).await;
        let eve = ann.of_idp("eve", Role::Standard, FactorState::None).await;
        for n in 0..=policy::NETWORK_CHALLENGES {
            let mut assertion = ann.asserted("eve", &n.to_string(), None);
            assertion.stepped_up = Some(NOW);
            let sign_in = ann.owner(assertion, NOW).await.unwrap();
            match opened(&ann, sign_in).await {
                SsoOpened::EnrolmentRequired { ends, reset_code_required, .. } => {
                    assert!(n < policy::NETWORK_CHALLENGES && ends == NOW + policy::ENROLMENT_LIFE);
                    assert!(!reset_code_required);
                }
                SsoOpened::TooMany { retry_at } => {
                    assert!(n == policy::NETWORK_CHALLENGES && retry_at == NOW + policy::WINDOW);
                }
                _ => panic!("neither"),
            }
        }
        let user = ann.read(&eve).await;
        assert!(user.sessions.is_empty() && user.enrolments.len() == policy::NETWORK_CHALLENGES);
    }

    /// Each would find the same login name by folding; whoever can register at the IdP chooses them.
    #[tokio::test]
    async fn look_alike_name_is_nobodys() {
        let (ann, _) = office().await;
        ann.of_idp("kim", Role::Standard, FactorState::Active).await;
        ann.of_idp("Strauß", Role::Standard, FactorState::Active).await;
        let why = async |name_id: &str, attribute: Option<&str>| {
            let mut assertion = ann.asserted(name_id, "1", None);
            assertion.attributes.extend(attribute.map(|it| ("Username".to_owned(), vec![it.to_owned()])));
            let owner = ann.store.sso_owner(assertion, &idp(), &ann.names, &attempt(NOW)).await.unwrap();
            owner.map(|it| it.links()).map_err(|(_, why)| why)
        };
        for altered in ["ｋim", "ᵏim", "𝐤im", "kⅰm", "\u{212a}im"] {
            assert_eq!(why(altered, None).await, Err(SubjectRejection::AlteredByNormalization), "{altered}");
            assert_eq!(
                why("opaque", Some(altered)).await,
                Err(SubjectRejection::AlteredByNormalization),
                "{altered} as attribute"
            );
        }
        for other in ["strauss", "STRAUSS"] {
            assert_eq!(why(other, None).await, Err(SubjectRejection::Unknown), "{other}");
            assert_eq!(why("opaque", Some(other)).await, Err(SubjectRejection::Unknown), "{other} as attribute");
        }
        for same in ["KIM", "kim", "STRAUẞ", "strauß"] {
            assert_eq!(why(same, None).await, Ok(false), "{same}");
            assert_eq!(why("opaque", Some(same)).await, Ok(true), "{same} as attribute");
        }
        // Each name is looked at for itself: an opaque NameID may be of any form.
        assert_eq!(why("ᵏ", Some("kim")).await, Ok(true));
        assert_eq!(why("kim", Some("ᵏim")).await, Ok(false));
    }

    /// A link is what the IdP says, byte for byte.
    #[tokio::test]
    async fn explicit_link_is_exact() {
        let (ann, bob) = office().await;
        links(&ann, &bob, "ｋim").await;
        assert_eq!(arrives(&ann, "ｋim", "1").await.key(), &bob);
        for other in ["kim", "ｋIm"] {
            assert!(ann.owner(ann.asserted(other, "2", None), NOW).await.is_none(), "{other}");
        }
    }

    /// Two names of the IdP's and one person: whoever is first.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_first_sign_in_links_once_and_to_nobody_who_is_called_otherwise() {
        let (ann, bob) = office().await;
        let first = async |name: &str| {
            let mut assertion = ann.asserted(name, name, None);
            assertion.attributes.insert("Username".into(), vec!["Bob".into()]);
            ann.owner(assertion, NOW).await.unwrap()
        };
        let racing = [first("one").await, first("two").await, first("three").await];
        assert!(racing.iter().all(SsoSignIn::links));
        let ann = std::sync::Arc::new(ann);
        let opened = at_once(racing.map(|sign_in| {
            let ann = std::sync::Arc::clone(&ann);
            async move { opened(&ann, sign_in).await }
        }))
        .await;
        let (mut linked, mut moved) = (Vec::new(), Vec::new());
        for it in opened {
            match it {
                SsoOpened::SignedIn(it) => linked.push(it.key),
                SsoOpened::Stale(assertion) => moved.push(assertion),
                _ => panic!("neither"),
            }
        }
        assert_eq!((linked, moved.len()), (vec![bob], 2));
        for assertion in moved {
            assert!(ann.owner(assertion, NOW).await.is_none(), "he is called something else");
        }
        assert!(ann.owner(ann.asserted("bob", "x", None), NOW).await.is_none(), "nor by his login name");
    }

    /// An Administrator has linked them anew between the read of the link and the read of the person.
    #[tokio::test]
    async fn a_link_that_was_replaced_is_nobodys() {
        let (ann, bob) = office().await;
        links(&ann, &bob, "old").await;
        let [old] = ann.store.read_all([keys::subject(bob.tenant(), &subject(&ann, "old"))]).await.unwrap();
        links(&ann, &bob, "new").await;
        session(&ann, arrives(&ann, "new", "1").await).await;
        ann.put(Write::put_new(keys::subject(bob.tenant(), &subject(&ann, "old")), old.unwrap())).await;
        assert!(ann.owner(ann.asserted("old", "2", None), NOW).await.is_none());
    }

    #[tokio::test]
    async fn a_link_goes_with_its_person_and_a_namesake_does_not_inherit_it() {
        let (ann, bob) = office().await;
        links(&ann, &bob, "00u1").await;
        let place = || keys::subject(bob.tenant(), &subject(&ann, "00u1"));
        let [link] = ann.store.read_all([place()]).await.unwrap();
        let meanwhile = arrives(&ann, "00u1", "1").await;
        delete(&ann, &bob).await;
        assert_eq!(ann.store.read_all([place()]).await.unwrap(), [None]);
        // The same id and epoch, another person.
        let again = ann.of_idp("bob", Role::Standard, FactorState::Active).await;
        assert_eq!(again, bob);
        set(&ann, &bob, vec![Action::Set(attr("ep"), num(meanwhile.user.security_version))]).await;
        assert!(matches!(opened(&ann, meanwhile).await, SsoOpened::Stale(_)), "begun by the one who is gone");
        // A link that a restored or edited table has kept.
        ann.put(Write::put_new(place(), link.unwrap())).await;
        assert!(ann.owner(ann.asserted("00u1", "2", None), NOW).await.is_none());
        assert!(ann.read(&bob).await.sessions.is_empty());
    }

    /// Who has the name stays; a link is by the IdP, and a tenant's.
    #[tokio::test]
    async fn a_name_of_the_idps_is_one_persons() {
        let (ann, bob) = office().await;
        links(&ann, &bob, "00u1").await;
        let eve = ann.of_idp("eve", Role::Standard, FactorState::Active).await;
        let link = || ann.names.link(ann.key.tenant(), &idp().entity_id, "00u1");
        let taken = ann.patch(&eve, Patch { linked: Some(link()), ..Patch::default() }).await;
        assert!(matches!(taken, Changed::SubjectTaken));
        let person = ann.to_be("zoe", Role::Standard).linked(link());
        let made = ann.store.create_user(&Actor::Seed, &person, &attempt(NOW), &ann.event()).await.unwrap();
        assert_eq!(made, Created::SubjectTaken);
        assert_eq!(arrives(&ann, "00u1", "1").await.key(), &bob);
        let mut elsewhere = ann.asserted("00u1", "2", None);
        elsewhere.entity_id = "https://other.example".to_owned();
        assert!(ann.owner(elsewhere, NOW).await.is_none());
        assert!(matches!(
            ann.patch(&bob, Patch { auth_type: Some(AuthType::Local), ..Patch::default() }).await,
            Changed::Done(_)
        ));
        assert!(ann.owner(ann.asserted("00u1", "3", None), NOW).await.is_none(), "not of this door any more");
    }

    /// A name that were one person's by a link and another's by the login name would sign in the wrong one of them.
    #[tokio::test]
    async fn login_name_of_one_is_not_what_the_idp_calls_another() {
        let (ann, bob) = office().await;
        let eve = ann.of_idp("eve", Role::Standard, FactorState::Active).await;
        let entity_id = idp().entity_id;
        let link = |name_id: &str| ann.names.link(ann.key.tenant(), &entity_id, name_id);
        let linked = |name_id: &str| Patch { linked: Some(link(name_id)), ..Patch::default() };
        for name in ["bob", "BOB", "ｂob"] {
            assert!(matches!(ann.patch(&eve, linked(name)).await, Changed::Ambiguous), "{name}");
        }
        let hash = Some(ann.hash("a good long password").await);
        let both = Patch { hash, ..linked("Bob") };
        assert!(matches!(ann.patch(&bob, both).await, Changed::Done(_)), "his own, beside a new password of that name");
        assert!(matches!(ann.patch(&eve, linked("zoe")).await, Changed::Done(_)));
        let create = async |name: &str, name_id: Option<&str>| {
            let mut person = ann.to_be(name, Role::Standard).beside_idp(&ann.names, &entity_id);
            if let Some(name_id) = name_id {
                person = person.linked(link(name_id));
            }
            ann.store.create_user(&Actor::Seed, &person, &attempt(NOW), &ann.event()).await.unwrap()
        };
        for (name, name_id, made) in [
            ("zoe", None, Created::Ambiguous),
            ("ZOE", None, Created::Ambiguous),
            ("zed", Some("eve"), Created::Ambiguous),
            ("bob", None, Created::NameTaken),
            ("zed", Some("zed"), Created::Done),
        ] {
            assert_eq!(create(name, name_id).await, made, "{name} {name_id:?}");
        }
    }

    /// Whose right has ended since it was asked about changes nothing of the door.
    #[tokio::test]
    async fn who_is_no_administrator_any_more_neither_configures_the_door_nor_ends_it() {
        let (ann, _) = office().await;
        let admin = ann.admin(&ann.session_of(&ann.key).await).await;
        let (begun, event) = (attempt(NOW), ann.event());
        assert!(ann.store.set_idp(&admin, &idp(), &begun, &event).await.unwrap().is_some());
        set(&ann, &ann.key, vec![Action::Add(attr("ep"), 1)]).await;
        let other = Idp { sso_url: "https://evil.example".to_owned(), ..idp() };
        assert!(ann.store.set_idp(&admin, &other, &attempt(NOW), &event).await.unwrap().is_none());
        assert_eq!(ann.store.remove_idp(&admin, &attempt(NOW), &event).await.unwrap(), IdpRemoved::ActorRevoked);
        let kept = ann.store.idp(ann.key.tenant()).await.unwrap().unwrap().unwrap();
        assert_eq!(kept.sso_url, idp().sso_url);
    }

    const OTHER: &str = "https://other.example";

    async fn refused(ann: &Ann, token: &TokenRef) -> Option<NoSession> {
        ann.store.read_session(token, NOW).await.unwrap().err()
    }

    #[tokio::test]
    async fn sso_session_ends_with_its_idp_and_not_with_a_certificate() {
        let (ann, _) = office().await;
        let local = ann.session_of(&ann.key).await;
        let first = ann.configures(&idp().entity_id, 1).await;
        let session = ann.token_by(&first, "bob", "1").await;
        let same = ann.configures(&idp().entity_id, 2).await;
        assert_eq!((same.generation, same.changed), (first.generation, 2));
        assert_eq!(refused(&ann, &session).await, None);
        ann.configures(OTHER, 3).await;
        assert_eq!(refused(&ann, &session).await, Some(NoSession::Invalid), "replaced");
        let again = ann.configures(&idp().entity_id, 4).await;
        assert_eq!(refused(&ann, &session).await, Some(NoSession::Invalid), "the first one is back");
        let session = ann.token_by(&again, "bob", "2").await;
        assert_eq!(refused(&ann, &session).await, None);
        ann.removes_idp().await;
        assert_eq!(refused(&ann, &session).await, Some(NoSession::Invalid), "removed");
        ann.configures(&idp().entity_id, 5).await;
        assert_eq!(refused(&ann, &session).await, Some(NoSession::Invalid), "removed, and back");
        assert_eq!(refused(&ann, &local).await, None, "a session of a password is of no IdP");
    }

    /// It was checked before the IdP went, and commits after that.
    #[tokio::test]
    async fn assertion_on_the_way_gives_no_usable_session() {
        let (ann, _) = office().await;
        ann.of_idp("eve", Role::Standard, FactorState::None).await;
        for replaced in [true, false] {
            let idp = ann.configures(&idp().entity_id, 1).await;
            if replaced {
                drop(ann.configures(OTHER, 2).await)
            } else {
                ann.removes_idp().await
            }
            let session = ann.token_by(&idp, "bob", &format!("1{replaced}")).await;
            assert_eq!(refused(&ann, &session).await, Some(NoSession::Invalid));
            let enrolment = EnrolmentToken::new(ann.token_by(&idp, "eve", &format!("2{replaced}")).await).unwrap();
            let may = ann.store.may_enrol(enrolment, None, &attempt(NOW)).await.unwrap();
            assert_eq!(may.err(), Some(Denied::Token));
        }
    }

    /// Before the code is looked at, and whatever the state of the factor is.
    #[tokio::test]
    async fn step_up_by_a_session_of_another_idp_is_refused() {
        let (ann, bob) = office().await;
        let first = ann.configures(&idp().entity_id, 1).await;
        let session = ann.token_by(&first, "bob", "1").await;
        let charge = async || {
            let token = VerificationToken::session(session.clone()).unwrap();
            ann.store.charge_verification(token, attempt(NOW)).await.unwrap()
        };
        let Charge::Admitted(_) = charge().await else { panic!("refused") };
        ann.configures(OTHER, 2).await;
        assert!(matches!(charge().await, Charge::Rejected(VerificationRejection::InvalidToken)));
        set(&ann, &bob, vec![Action::Set(attr("fs"), text("d"))]).await;
        assert!(
            matches!(charge().await, Charge::Rejected(VerificationRejection::InvalidToken)),
            "not that the factor is disabled"
        );
    }

    /// Another Administrator removes the IdP, and configures it anew, while one replaces its certificates.
    #[tokio::test]
    async fn generation_that_ended_meanwhile_does_not_come_back() {
        let (ann, table, _) = two(true).await;
        let place = || keys::idp(ann.key.tenant());
        let kept = async || ann.store.idp(ann.key.tenant()).await.unwrap().unwrap().unwrap();
        let first = ann.configures(&idp().entity_id, 1).await;
        let other = Idp { generation: Some(Nonce::generate(&SystemEntropy).unwrap()), ..first.clone() };
        for meanwhile in [Write::put(place(), item::write(&other).unwrap()), Write::delete(place(), vec![])] {
            let before = kept().await.generation;
            let admin = ann.admin(&ann.session_of(&ann.key).await).await;
            *table.1.lock().unwrap() = Some(meanwhile);
            let new = Idp { generation: Some(Nonce::generate(&SystemEntropy).unwrap()), changed: 2, ..first.clone() };
            ann.store.set_idp(&admin, &new, &attempt(NOW), &ann.event()).await.unwrap().unwrap();
            assert!(kept().await.generation != before && kept().await.changed == 2);
        }
    }

    /// An IdP whose group `boss` administers, configured.
    async fn mapping(ann: &Ann) -> Idp {
        let names = ["un", "fn", "ln", "em", "g", "co"].map(str::to_owned);
        let [username, first_name, last_name, email, groups, company] = names;
        let administrators = vec!["boss".to_owned()];
        let rules = Provisioning {
            username,
            first_name,
            last_name,
            email,
            groups,
            company,
            only_company: None,
            administrators,
        };
        Idp { provisioning: Some(rules), ..ann.configures(&idp().entity_id, 1).await }
    }

    /// A sign-in that says groups, or none.
    async fn comes(ann: &Ann, idp: &Idp, name_id: &str, groups: Option<&[&str]>) -> SsoOpened {
        let id = Nonce::generate(&SystemEntropy).unwrap();
        let mut assertion = ann.asserted(name_id, &format!("{id:?}"), None);
        assertion.generation = idp.generation;
        let groups = groups.map(|groups| groups.iter().map(|&group| group.to_owned()).collect());
        assertion.attributes.extend(groups.map(|groups| ("g".to_owned(), groups)));
        let SsoChecked::Granted(grant) = ann.owner(assertion, NOW).await.unwrap().decide() else { panic!("reset") };
        ann.store.open_sso(grant, idp, "10.0.0", &SystemEntropy, &ann.event()).await.unwrap()
    }

    fn session_token(opened: SsoOpened) -> TokenRef {
        let SsoOpened::SignedIn(it) = opened else { panic!("not signed in") };
        it.signed_in.token.reference().clone()
    }

    /// Their role, whether they are listed as an Administrator, and their epoch.
    async fn standing(ann: &Ann, key: &UserKey) -> (Role, bool, i64) {
        let (user, listed) = (ann.read(key).await, ann.administrators().await);
        let (active, mark_admin_with_mfa) =
            (listed.active.contains_key(key.user()), listed.with_mfa.contains_key(key.user()));
        assert_eq!(active, mark_admin_with_mfa, "he has a factor");
        (user.role, active, user.security_version)
    }

    async fn by_groups(ann: &Ann, key: &UserKey) {
        set(ann, key, vec![Action::Set(attr("rg"), Value::Bool(true))]).await;
    }

    #[tokio::test]
    async fn groups_are_mapped_at_every_sign_in() {
        let (ann, bob) = office().await;
        let idp = mapping(&ann).await;
        by_groups(&ann, &bob).await;
        let before = session_token(comes(&ann, &idp, "bob", Some(&["staff"])).await);
        assert_eq!(standing(&ann, &bob).await, (Role::Standard, false, 1));
        let SsoOpened::SignedIn(it) = comes(&ann, &idp, "bob", Some(&["x", "boss"])).await else { panic!("no") };
        assert_eq!(it.user.role, Role::Administrator);
        assert_eq!(standing(&ann, &bob).await, (Role::Administrator, true, 2));
        assert_eq!(refused(&ann, it.signed_in.token.reference()).await, None);
        assert_eq!(refused(&ann, &before).await, Some(NoSession::RefreshRequired), "as after every change of a role");
        comes(&ann, &idp, "bob", None).await;
        comes(&ann, &idp, "bob", Some(&["boss"])).await;
        assert_eq!(standing(&ann, &bob).await, (Role::Administrator, true, 2), "it does not say, or says so");
        for groups in [&["staff"][..], &[]] {
            let session = session_token(comes(&ann, &idp, "bob", Some(groups)).await);
            assert!(matches!(standing(&ann, &bob).await, (Role::Standard, false, _)), "{groups:?}");
            assert_eq!(refused(&ann, &session).await, None);
            comes(&ann, &idp, "bob", Some(&["boss"])).await;
        }
        // Where the tenant names no group for it, none is mapped.
        let mut none = idp.clone();
        none.provisioning.as_mut().unwrap().administrators.clear();
        for other in [none, Idp { provisioning: None, ..idp.clone() }] {
            comes(&ann, &other, "bob", Some(&["staff"])).await;
            assert!(matches!(standing(&ann, &bob).await, (Role::Administrator, true, _)));
        }
    }

    #[tokio::test]
    async fn role_that_an_administrator_gave_stays() {
        let (ann, bob) = office().await;
        let idp = mapping(&ann).await;
        comes(&ann, &idp, "bob", Some(&["boss"])).await;
        assert_eq!(standing(&ann, &bob).await, (Role::Standard, false, 1), "as he was created");
        by_groups(&ann, &bob).await;
        comes(&ann, &idp, "bob", Some(&["boss"])).await;
        // The same role, and an Administrator's now.
        let given = Patch { role: Some(Role::Administrator), ..Patch::default() };
        assert!(matches!(ann.patch(&bob, given).await, Changed::Done(_)));
        comes(&ann, &idp, "bob", Some(&["staff"])).await;
        assert_eq!(standing(&ann, &bob).await, (Role::Administrator, true, 3));
        // Another change takes nothing over.
        by_groups(&ann, &bob).await;
        let inactive = |active| Patch { active: Some(active), ..Patch::default() };
        assert!(matches!(ann.patch(&bob, inactive(false)).await, Changed::Done(_)));
        assert!(matches!(ann.patch(&bob, inactive(true)).await, Changed::Done(_)));
        comes(&ann, &idp, "bob", Some(&["staff"])).await;
        assert!(matches!(standing(&ann, &bob).await, (Role::Standard, false, _)));
    }

    #[tokio::test]
    async fn last_active_administrator_stays_one_whatever_the_groups() {
        let (ann, bob) = office().await;
        let idp = mapping(&ann).await;
        by_groups(&ann, &bob).await;
        comes(&ann, &idp, "bob", Some(&["boss"])).await;
        let act = attr("act").key(ann.key.user().as_str().to_owned());
        ann.put(Write::update(keys::administrators(ann.key.tenant()), vec![], vec![Action::Remove(act)])).await;
        let session = session_token(comes(&ann, &idp, "bob", Some(&["staff"])).await);
        assert_eq!(refused(&ann, &session).await, None);
        assert!(matches!(standing(&ann, &bob).await, (Role::Administrator, true, 2)));
    }

    /// A role outlives the session that it came with.
    #[tokio::test]
    async fn role_is_not_given_by_an_idp_that_ended() {
        let (ann, bob) = office().await;
        let idp = mapping(&ann).await;
        by_groups(&ann, &bob).await;
        ann.configures(OTHER, 2).await;
        assert!(matches!(comes(&ann, &idp, "bob", Some(&["boss"])).await, SsoOpened::Spent));
        ann.removes_idp().await;
        assert!(matches!(comes(&ann, &idp, "bob", Some(&["boss"])).await, SsoOpened::Spent));
        assert_eq!(standing(&ann, &bob).await, (Role::Standard, false, 1));
    }

    #[tokio::test]
    async fn groups_are_mapped_where_enrolment_is_due() {
        let (ann, _) = office().await;
        let eve = ann.of_idp("eve", Role::Standard, FactorState::None).await;
        let idp = mapping(&ann).await;
        by_groups(&ann, &eve).await;
        let SsoOpened::EnrolmentRequired { token, .. } = comes(&ann, &idp, "eve", Some(&["boss"])).await else {
            panic!("signed in")
        };
        assert_eq!(ann.read(&eve).await.role, Role::Administrator);
        let listed = ann.administrators().await;
        assert!(listed.active.contains_key(eve.user()) && !listed.with_mfa.contains_key(eve.user()));
        let token = EnrolmentToken::new(token.reference().clone()).unwrap();
        assert!(ann.store.may_enrol(token, None, &attempt(NOW)).await.unwrap().is_ok());
    }

    /// A table on which somebody is quicker: a write that comes before the next transaction.
    #[derive(Default)]
    struct Quicker(MemoryTable, Mutex<Option<Write>>);

    #[async_trait]
    impl Table for Quicker {
        async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
            self.0.read(keys).await
        }

        async fn update(&self, write: &Write, again: Retry) -> Result<Updated, StoreError> {
            self.0.update(write, again).await
        }

        async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
            let first = self.1.lock().unwrap().take();
            if let Some(first) = first {
                self.0.update(&first, Retry::Never).await?;
            }
            self.0.transact(transaction).await
        }

        async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
            self.0.query(query).await
        }
    }

    /// Ann and Amy administer; there is an IdP, or none.
    async fn two(with_idp: bool) -> (Ann, Arc<Quicker>, UserKey) {
        let table = Arc::new(Quicker::default());
        let (ann, _) = ann_of("acme", Arc::<Quicker>::clone(&table), 0).await;
        let amy = ann.someone("amy", Role::Administrator).await;
        if with_idp {
            let admin = ann.admin(&ann.session_of(&ann.key).await).await;
            ann.store.set_idp(&admin, &idp(), &attempt(NOW), &ann.event()).await.unwrap().unwrap();
        }
        (ann, table, amy)
    }

    /// Whoever was there to administer, when it was read, and is not when it is written, is not counted on.
    #[tokio::test]
    async fn somebody_who_can_administer_is_there_when_it_is_written() {
        let demoted = || Patch { role: Some(Role::Standard), ..Patch::default() };
        let flipped = || Patch { auth_type: Some(AuthType::SamlSso), ..Patch::default() };
        let act = |key: &UserKey| attr("act").key(key.user().as_str().to_owned());
        let quicker = |ann: &Ann, table: &Quicker, action: Action| {
            let write = Write::update(keys::administrators(ann.key.tenant()), vec![], vec![action]);
            *table.1.lock().unwrap() = Some(write);
        };
        // Amy goes, and then Ann is the last; with an IdP, for which no password is needed.
        let (ann, table, amy) = two(true).await;
        quicker(&ann, &table, Action::Remove(act(&amy)));
        assert!(matches!(ann.patch(&ann.key, demoted()).await, Changed::LastAdministrator));
        assert!(matches!(ann.patch(&ann.key, demoted()).await, Changed::LastAdministrator), "and is read so");
        // The IdP goes, with Amy of it.
        let (ann, table, amy) = two(true).await;
        assert!(matches!(ann.patch(&amy, flipped()).await, Changed::Done(_)));
        quicker(&ann, &table, Action::Remove(attr("idp")));
        assert!(matches!(ann.patch(&ann.key, flipped()).await, Changed::LastAdministrator));
        // Amy changes to the IdP's door before there is one.
        let (ann, table, amy) = two(false).await;
        quicker(&ann, &table, Action::Set(act(&amy), Value::Bool(false)));
        assert!(matches!(ann.patch(&ann.key, flipped()).await, Changed::LastAdministrator));
        // The last who signs in by a password goes over, and the IdP stays.
        let (ann, table, amy) = two(true).await;
        assert!(matches!(ann.patch(&amy, flipped()).await, Changed::Done(_)));
        let admin = ann.admin(&ann.session_of(&ann.key).await).await;
        quicker(&ann, &table, Action::Set(act(&ann.key), Value::Bool(false)));
        let ended = ann.store.remove_idp(&admin, &attempt(NOW), &ann.event()).await.unwrap();
        assert_eq!(ended, IdpRemoved::Needed);
    }
}
