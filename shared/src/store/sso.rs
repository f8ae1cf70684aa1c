//! Commands of the IdP's door: a tenant's IdP, requests to it, and spending what it asserts.

use super::{
    REPLANS, Store, StoreError, audit_row, item,
    item::{Administrators, Amr, Challenge, Idp, LoginRow, Profile, SsoRequest, Subject, TenantPolicy, User},
    keys,
    login::{Planned, deciding, open_entry},
    people::appointed_locally,
    session::Authority,
    table::{Again, Transacted, Transaction, Updated},
    write::{Action, Item, Value, Write, absent, attr, eq, exists, gt, lt, num, text},
};
use crate::{
    attempt::{Attempt, NewSession, SignedIn, Worth},
    audit::AuditEvent,
    env::{Entropy, Timestamp},
    id::{LoginName, TenantId, UserKey},
    policy,
    secret::{NameKey, NewToken, TokenClass},
    sso::{Assertion, Relay, SsoGrant, SsoSignIn},
};

/// A tenant's IdP, and the request that an assertion says it answers.
pub struct Asked {
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
    Moved(Assertion),
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
    Yes,
    /// There is none.
    NotFound,
    /// No active Administrator signs in locally.
    Needed,
    /// The caller may no longer.
    ActorGone,
}

/// How long a request waits for its answer.
pub const REQUEST_LIFE: std::time::Duration = std::time::Duration::from_secs(15 * 60);

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

    /// Configures the IdP of the caller's tenant, in the place of whichever was. `None`: the caller may no longer.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn set_idp(
        &self,
        authority: &Authority,
        idp: &Idp,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<Option<()>, StoreError> {
        let tenant = authority.tenant();
        let writes = vec![
            Write::check(keys::user(authority.key()), authority.guards(attempt.at())),
            Write::put(keys::idp(tenant), item::write(idp)?),
            Write::update(
                keys::administrators(tenant),
                vec![exists(attr("PK"))],
                vec![Action::Set(attr("idp"), Value::Bool(true))],
            ),
        ];
        let row = audit_row(tenant, attempt, 0, event)?;
        Ok(match self.table.transact(&Transaction::new(writes, row)).await? {
            Transacted::Committed => Some(()),
            Transacted::Refused(_) => None,
        })
    }

    /// Ends the IdP of the caller's tenant, unless every active Administrator depends on it.
    ///
    /// # Errors
    /// [`StoreError`]: it may have happened.
    pub async fn remove_idp(
        &self,
        authority: &Authority,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<IdpRemoved, StoreError> {
        let tenant = authority.tenant();
        for _ in 0..REPLANS {
            let [idp, administrators] = self.read_all([keys::idp(tenant), keys::administrators(tenant)]).await?;
            let administrators: Administrators = item::read(administrators.unwrap_or_default())?;
            match (idp, administrators.local(None)) {
                (None, _) => return Ok(IdpRemoved::NotFound),
                (_, None) => return Ok(IdpRemoved::Needed),
                (Some(_), Some(local)) => {
                    let writes = vec![
                        Write::check(keys::user(authority.key()), authority.guards(attempt.at())),
                        Write::delete(keys::idp(tenant), vec![exists(attr("PK"))]),
                        Write::update(
                            keys::administrators(tenant),
                            vec![appointed_locally(local)],
                            vec![Action::Remove(attr("idp"))],
                        ),
                    ];
                    let row = audit_row(tenant, attempt, 0, event)?;
                    match self.table.transact(&Transaction::new(writes, row)).await? {
                        Transacted::Committed => return Ok(IdpRemoved::Yes),
                        Transacted::Refused(met) if met.first().is_some_and(Option::is_some) => {
                            return Ok(IdpRemoved::ActorGone);
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
    pub async fn open_request(
        &self,
        tenant: &TenantId,
        relay: &Relay,
        return_to: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let ends = now + REQUEST_LIFE;
        let request = [
            Action::Set(attr("x"), num(ends.millis())),
            Action::Set(attr("to"), text(return_to)),
            Action::Set(attr("ttl"), num((ends + policy::SKEW).secs())),
        ];
        let write = Write::update(keys::sso_request(tenant, relay), vec![absent(attr("PK"))], request.into());
        match self.table.update(&write, Again::Harmless).await? {
            // Its random name is there: the reply was lost.
            Updated::Written(_) | Updated::Refused(_) => Ok(()),
        }
    }

    /// Reads what an assertion is checked against: the tenant's IdP, and the request it may answer. `None`: the tenant has
    /// no IdP, or is none.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn asked(
        &self,
        tenant: &TenantId,
        relay: Option<&Relay>,
        now: Timestamp,
    ) -> Result<Option<Asked>, StoreError> {
        let wanted: Vec<_> =
            [keys::idp(tenant)].into_iter().chain(relay.map(|relay| keys::sso_request(tenant, relay))).collect();
        let mut found = self.table.read(&wanted).await?.into_iter();
        let Some(idp) = found.next().flatten() else { return Ok(None) };
        let request: Option<SsoRequest> = found.next().flatten().map(item::read).transpose()?;
        let request = request.filter(|request| in_time(request, now));
        Ok(Some(Asked { idp: item::read(idp)?, request }))
    }

    /// Whose an assertion is: whom an Administrator linked to what the IdP calls them, or named so; else, if the tenant has a
    /// rule for it, whom an attribute names that was linked to nobody yet. Never by e-mail. The assertion comes back where it
    /// is nobody's who may sign in by it, and with it whether there is somebody at all.
    ///
    /// # Errors
    /// [`StoreError`]: denied.
    pub async fn sso_owner(
        &self,
        assertion: Assertion,
        idp: &Idp,
        names: &NameKey,
        attempt: &Attempt,
    ) -> Result<Result<SsoSignIn, (Assertion, bool)>, StoreError> {
        let tenant = assertion.tenant.clone();
        let login = |name: &str| names.login(&tenant, &LoginName::fold(name));
        let subject = names.subject(&tenant, &assertion.entity_id, &assertion.name_id);
        let attribute = idp.link_attribute.as_deref().and_then(|name| assertion.attribute(name));
        let wanted: Vec<_> = [keys::subject(&tenant, &subject), keys::login(&login(&assertion.name_id))]
            .into_iter()
            .chain(attribute.map(|name| keys::login(&login(name))))
            .collect();
        let mut found = self.table.read(&wanted).await?.into_iter();
        let linked: Option<Subject> = found.next().flatten().map(item::read).transpose()?;
        let mut owner = || -> Result<_, StoreError> {
            Ok(found.next().flatten().map(item::read::<LoginRow>).transpose()?.and_then(|row| row.uid))
        };
        let (named, by_attribute) = (owner()?, owner()?);
        let (uid, born, link) = match (linked, named, by_attribute) {
            (Some(subject), _, _) => (subject.uid, Some(subject.born), None),
            (None, Some(uid), _) => (uid, None, None),
            (None, None, Some(uid)) => (uid, None, Some(subject)),
            (None, None, None) => return Ok(Err((assertion, false))),
        };
        let key = tenant.user(uid);
        let [user, profile] = self.read_all([keys::user(&key), keys::profile(&key)]).await?;
        let (Some(user), Some(profile)) = (user, profile) else { return Ok(Err((assertion, true))) };
        let (user, profile): (User, Profile) = (item::read(user)?, item::read(profile)?);
        // Who was linked to a name is called so and nothing else.
        let theirs = born.map_or(profile.subject.is_none(), |born| born == user.born);
        if !theirs {
            return Ok(Err((assertion, true)));
        }
        let sign_in = SsoSignIn { assertion, attempt: *attempt, key, user, profile, link };
        Ok(sign_in.of_one_who_may().map_err(|assertion| (assertion, true)))
    }

    /// Spends an assertion, and its request, for a session or an enrolment token: one transaction.
    ///
    /// # Errors
    /// [`StoreError`]: denied, though it may have been committed.
    pub async fn open_sso(
        &self,
        grant: SsoGrant,
        network: &str,
        entropy: &dyn Entropy,
        event: &AuditEvent,
    ) -> Result<SsoOpened, StoreError> {
        let SsoGrant { mut sign_in, worth } = grant;
        let attempt = sign_in.attempt;
        for _ in 0..REPLANS {
            let (gift, (guards, actions)) = match self.gift(&sign_in, worth, network, entropy)? {
                Ok(planned) => planned,
                Err(retry_at) => return Ok(SsoOpened::TooMany { retry_at }),
            };
            let mut writes = vec![Write::update(keys::user(&sign_in.key), guards, actions)];
            writes.extend(spending(&sign_in.assertion, attempt.at()));
            let spent = 1..writes.len();
            writes.extend(linking(&sign_in)?.into_iter().flatten());
            let row = audit_row(sign_in.key.tenant(), &attempt, 0, event)?;
            let mut met = match self.table.transact(&Transaction::new(writes, row)).await? {
                Transacted::Committed => return Ok(gift.opened(sign_in)),
                Transacted::Refused(met) => met,
            };
            if met.get(spent).is_some_and(|met| met.iter().any(Option::is_some)) {
                return Ok(SsoOpened::Spent);
            }
            // Their item, if it was that: else the link was made meanwhile.
            let Some(Some(item)) = met.swap_remove(0) else { return Ok(SsoOpened::Moved(sign_in.assertion)) };
            let user: User = item::read(item)?;
            if deciding(&user) != deciding(&sign_in.user) {
                return Ok(SsoOpened::Moved(sign_in.assertion));
            }
            sign_in.user = user;
        }
        Err(StoreError::Contended("sessions of one person keep changing".into()))
    }

    /// What an assertion opens, and how it is written into the person's item; or when there is room for it again.
    fn gift(
        &self,
        sign_in: &SsoSignIn,
        worth: Worth,
        network: &str,
        entropy: &dyn Entropy,
    ) -> Result<Result<(Gift, Planned), Timestamp>, StoreError> {
        let SsoSignIn { assertion, attempt, key, user, .. } = sign_in;
        let now = attempt.at();
        if worth == Worth::Enrolment {
            let token = NewToken::generate(TokenClass::Enrolment, key, self.restored, entropy)?;
            let ends = now + policy::ENROLMENT_LIFE;
            let entry = Challenge {
                guard: *token.reference().guard(),
                ends: ends.millis(),
                tries: 0,
                epoch: user.epoch,
                network: network.to_owned(),
                device: None,
            };
            let planned = open_entry(user, &token, &entry, now)?;
            return Ok(planned.map(|planned| (Gift::Enrolment(token, ends), planned)));
        }
        let mut session = NewSession::signed_in(key, user.epoch, Amr::Sso, attempt, self.restored, entropy)?;
        if worth == Worth::Exempt {
            session.entry.ends = (now + policy::EXEMPT_SESSION_LIFE).secs();
        } else if assertion.stepped_up {
            session.entry.step_up = now.secs();
        }
        let ends = assertion.session_ends.map_or(i64::MAX, Timestamp::secs);
        session.entry.ends = session.entry.ends.min(ends);
        let (mut guards, mut actions) = super::session::open(user, &session, None, now)?;
        guards.extend([
            eq(attr("ep"), user.epoch),
            eq(attr("ac"), true),
            eq(attr("at"), item::value(&user.auth_type)?),
            eq(attr("fs"), item::value(&user.factor)?),
        ]);
        guards.push(if worth == Worth::Exempt { exists(attr("ex")) } else { lt(attr("row"), policy::ROW_TRIES) });
        actions.push(Action::Set(attr("seen"), num(now.secs())));
        Ok(Ok((Gift::Session(session), (guards, actions))))
    }
}

/// What an assertion opens.
enum Gift {
    Session(NewSession),
    Enrolment(NewToken, Timestamp),
}

impl Gift {
    fn opened(self, sign_in: SsoSignIn) -> SsoOpened {
        let SsoSignIn { key, user, profile, .. } = sign_in;
        match self {
            Self::Session(session) => {
                SsoOpened::SignedIn(Box::new(SsoSession { signed_in: session.opened(&user), key, user, profile }))
            }
            Self::Enrolment(token, ends) => SsoOpened::EnrolmentRequired {
                token,
                ends,
                reset_code_required: user.reset_code_required.unwrap_or(false),
            },
        }
    }
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
    let link = Subject { uid: key.user().clone(), born: user.born };
    Ok(Write::put_new(keys::subject(key.tenant(), subject), item::write(&link)?))
}
