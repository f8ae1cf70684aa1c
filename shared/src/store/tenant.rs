//! Commands for tenants: creating them and changing their settings.

use std::collections::HashMap;

use super::{
    ActorRevoked, AttemptEvent, OperationError, OperatorEvents, Store, StoreError, item,
    item::{Administrators, ResetCodeFor, TenantPolicy},
    keys,
    session::{AdminContext, Principal, SessionError},
    table::{Transacted, Transaction},
    users::{Actor, NewUser},
    write::{Action, Value, Write, attr, bytes, exists, text},
};
use crate::{
    audit::AuditEvent,
    domain::{Change, Logo, SettingsChange},
    env::Timestamp,
    id::TenantId,
    secret::TokenRef,
    sign_in::Attempt,
};

/// A tenant to create.
pub struct NewTenant {
    /// The id of the tenant.
    pub id: TenantId,
    /// The company's name. Authenticator apps show it as the issuer.
    pub name: String,
    /// The first Administrator.
    pub first: Option<NewUser>,
}

/// Why a tenant was not created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TenantRejection {
    /// The id is taken.
    #[error("another tenant has the id")]
    Taken,
    /// The caller lost the permission.
    #[error("the caller may no longer do this")]
    ActorRevoked,
}

/// Why a tenant was not created.
pub type TenantError = OperationError<TenantRejection>;

impl Store {
    /// Creates a tenant, with its first Administrator if given. The event in `support` is recorded only if the caller is an
    /// operator.
    ///
    /// # Errors
    /// [`TenantError`]: the id is taken, or the caller lost the right. If the store failed, the tenant may have been created.
    pub async fn create_tenant(
        &self,
        by: &Actor<'_>,
        tenant: &NewTenant,
        attempt: &Attempt,
        events: &OperatorEvents<'_>,
    ) -> Result<(), TenantError> {
        let policy = TenantPolicy {
            name: tenant.name.clone(),
            issuer: tenant.name.clone(),
            reset_code_for: ResetCodeFor::Administrators,
            accent: None,
            logo: None,
            created: attempt.at().whole_second(),
        };
        let first = tenant.first.as_ref().filter(|first| first.user.administers_now());
        let active = first.map(|first| (first.key.user().clone(), first.user.auth_type)).into_iter().collect();
        let administrators = Administrators { active, ..Default::default() };
        // The index lists all tenants for operators.
        let mut listed = item::write(&policy)?;
        listed.insert("GP".to_owned(), text(keys::tenants()));
        listed.insert("GS".to_owned(), text(tenant.id.as_str()));
        let mut writes = vec![
            Write::put_new(keys::tenant(&tenant.id), listed),
            Write::put_new(keys::administrators(&tenant.id), item::write(&administrators)?),
        ];
        if let Some(first) = &tenant.first {
            writes.extend(first.writes()?);
        }
        writes.extend(by.check(attempt.at()));
        if let Actor::AdminContext(admin) = by {
            writes.push(self.audit_row(admin.tenant(), attempt, AttemptEvent::InSupport, events.in_support)?);
        }
        let row = self.audit_row(&tenant.id, attempt, AttemptEvent::Outcome, events.in_tenant)?;
        let unmet = match self.table.transact(&Transaction::new(writes, row)).await? {
            Transacted::Committed => return Ok(()),
            Transacted::Refused(unmet) => unmet,
        };
        let revoked = matches!(by, Actor::AdminContext(admin) if unmet.contains_key(&keys::user(admin.key())));
        let why = if revoked { TenantRejection::ActorRevoked } else { TenantRejection::Taken };
        Err(OperationError::Rejected(why))
    }

    /// Authenticates the caller, and reads the name and settings of a tenant, their own or another, in one round trip.
    ///
    /// # Errors
    /// [`SessionError`]: the token holds no valid session, or the store failed.
    pub async fn load_tenant(
        &self,
        token: &TokenRef,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<(Principal, Option<TenantPolicy>), SessionError> {
        let [own, idp] = [keys::user(token.user()), keys::idp(token.user().tenant())];
        let [own, idp, policy] = self.read_all([own, idp, keys::tenant(tenant)]).await?;
        let principal = self.principal([own, idp], token, now).await?;
        let policy = policy.map(item::read).transpose()?;
        Ok((principal, policy))
    }

    /// Reads a tenant's name and settings.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn settings(&self, tenant: &TenantId) -> Result<Option<TenantPolicy>, StoreError> {
        let [found] = self.read_all([keys::tenant(tenant)]).await?;
        found.map(item::read).transpose()
    }

    /// Reads a tenant's logo.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn logo(&self, tenant: &TenantId) -> Result<Option<Logo>, StoreError> {
        let [found] = self.read_all([keys::logo(tenant)]).await?;
        let Some(mut item) = found else { return Ok(None) };
        match item.remove("png") {
            Some(Value::B(png)) => Ok(Logo::parse(png)),
            _ => Err(StoreError::Corrupt("a logo has no image".into())),
        }
    }

    /// Changes the settings of the caller's tenant and returns them.
    ///
    /// # Errors
    /// [`ActorRevoked`], or a failure of the store; then the change may be committed nevertheless.
    pub async fn change_settings(
        &self,
        admin: &AdminContext,
        change: &SettingsChange,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<TenantPolicy, OperationError<ActorRevoked>> {
        let tenant = admin.tenant();
        let mut actions = Vec::new();
        actions.extend(change.issuer.as_deref().map(|issuer| Action::Set(attr("issuer"), text(issuer))));
        if let Some(reset_code_for) = change.reset_code_for {
            actions.push(Action::Set(attr("rcf"), item::value(&reset_code_for)?));
        }
        actions.extend(set_or_remove("ac", &change.accent, |accent| text(accent.to_string())));
        actions.extend(set_or_remove("lg", &change.logo, |logo| text(logo.digest())));
        if !actions.is_empty() {
            let mut writes = vec![
                Write::check(keys::user(admin.key()), admin.conditions(attempt.at())),
                Write::update(keys::tenant(tenant), vec![exists(attr("PK"))], actions),
            ];
            writes.extend(match &change.logo {
                Change::Keep => None,
                Change::Remove => Some(Write::delete(keys::logo(tenant), Vec::new())),
                Change::Set(logo) => {
                    Some(Write::put(keys::logo(tenant), HashMap::from([("png".to_owned(), bytes(logo.png()))])))
                }
            });
            let row = self.audit_row(tenant, attempt, AttemptEvent::Outcome, event)?;
            if let Transacted::Refused(_) = self.table.transact(&Transaction::new(writes, row)).await? {
                return Err(OperationError::Rejected(ActorRevoked));
            }
        }
        self.settings(tenant).await?.ok_or(OperationError::Rejected(ActorRevoked))
    }
}

/// The action that changes the attribute of a setting, if there is a change.
fn set_or_remove<T>(name: &'static str, change: &Change<T>, value: impl Fn(&T) -> Value) -> Option<Action> {
    match change {
        Change::Keep => None,
        Change::Remove => Some(Action::Remove(attr(name))),
        Change::Set(new) => Some(Action::Set(attr(name), value(new))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{AuditAction, Outcome},
        domain::{AccentColor, logo::image},
        env::SystemEntropy,
        id::{LoginName, UserId},
        secret::Nonce,
        store::{
            fixture::{Ann, NOW, STEP, ann, at_once, attempt, decided},
            item::{AuthType, Kind, LoginRow, Role},
            session::AdminContext,
            table::Query,
            users::NewUserDetails,
        },
    };

    async fn signed_in_admin() -> (Ann, AdminContext) {
        let (ann, challenges) = ann(1).await;
        let session = ann.with_step(&challenges[0], STEP, NOW).await.unwrap();
        let admin = ann.admin(session.reference()).await;
        (ann, admin)
    }

    fn tenant(ann: &Ann, id: &str, name: &str) -> NewTenant {
        let id = TenantId::parse(id).unwrap();
        let login = ann.names.login(&id, &LoginName::fold("ada"));
        let (kind, role, auth_type) = (Kind::Employee, Role::Administrator, AuthType::Local);
        let details = NewUserDetails { kind, role, auth_type, username: "ada", display_name: "Ada", email: None };
        let incarnation = Nonce::generate(&SystemEntropy).unwrap();
        let first = NewUser::new(id.user(UserId::parse("u-ada").unwrap()), login, &details, incarnation, NOW);
        NewTenant { id, name: name.to_owned(), first: Some(first) }
    }

    async fn create(ann: &Ann, by: &Actor<'_>, tenant: &NewTenant) -> Result<(), TenantRejection> {
        let event = AuditEvent::new(AuditAction::TenantCreated, Outcome::Success, "r");
        let events = OperatorEvents { in_support: &event, in_tenant: &event };
        decided(ann.store.create_tenant(by, tenant, &attempt(NOW), &events).await)
    }

    async fn rows(ann: &Ann, tenant: &TenantId) -> usize {
        let partition = keys::audit_partition(tenant, &NOW.year_month(), 0);
        let (prefix, after) = (String::new(), None);
        let query = Query { index: false, partition, prefix, after, descending: false, limit: 100 };
        ann.store.table.query(&query).await.unwrap().len()
    }

    #[tokio::test]
    async fn new_tenant_has_its_administrator_and_is_audited_in_both_tenants() {
        let (ann, admin) = signed_in_admin().await;
        let new = tenant(&ann, "fresh", "Fresh");
        let here = rows(&ann, admin.tenant()).await;
        assert_eq!(create(&ann, &Actor::AdminContext(&admin), &new).await, Ok(()));
        let policy = ann.store.settings(&new.id).await.unwrap().unwrap();
        assert_eq!((policy.name.as_str(), policy.issuer.as_str()), ("Fresh", "Fresh"));
        assert!(policy.reset_code_for == ResetCodeFor::Administrators);
        let first = new.first.as_ref().unwrap();
        let [administrators, login] =
            ann.store.read_all([keys::administrators(&new.id), keys::login(&first.login)]).await.unwrap();
        let administrators: Administrators = item::read(administrators.unwrap()).unwrap();
        assert!(administrators.active.contains_key(first.key.user()) && administrators.with_mfa.is_empty());
        let login: LoginRow = item::read(login.unwrap()).unwrap();
        assert_eq!(login.uid.as_ref(), Some(first.key.user()));
        assert_eq!((rows(&ann, &new.id).await, rows(&ann, admin.tenant()).await), (1, here + 1));
        assert_eq!(create(&ann, &Actor::Seed, &tenant(&ann, "fresh", "Other")).await, Err(TenantRejection::Taken));
        assert_eq!(ann.store.settings(&new.id).await.unwrap().unwrap().name, "Fresh");
        ann.change(Action::Add(crate::store::write::attr("ep"), 1)).await;
        assert_eq!(
            create(&ann, &Actor::AdminContext(&admin), &tenant(&ann, "late", "L")).await,
            Err(TenantRejection::ActorRevoked)
        );
        assert!(ann.store.settings(&TenantId::parse("late").unwrap()).await.unwrap().is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn concurrent_creations_of_a_tenant_have_one_winner() {
        let ann = std::sync::Arc::new(signed_in_admin().await.0);
        let made = at_once((0..16).map(|n| {
            let ann = std::sync::Arc::clone(&ann);
            async move { create(&ann, &Actor::Seed, &tenant(&ann, "fresh", &n.to_string())).await }
        }));
        let made = made.await;
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1);
        let winner = made.iter().position(|made| made.is_ok()).unwrap().to_string();
        let policy = ann.store.settings(&TenantId::parse("fresh").unwrap()).await.unwrap().unwrap();
        assert_eq!((policy.name, policy.issuer), (winner.clone(), winner));
    }

    #[tokio::test]
    async fn settings_change_only_while_the_caller_is_permitted() {
        let (ann, admin) = signed_in_admin().await;
        let set = async |change: &SettingsChange| {
            let (attempt, event) = (attempt(NOW), ann.event());
            decided(ann.store.change_settings(&admin, change, &attempt, &event).await)
        };
        let change = async |issuer: Option<&'static str>, reset_code_for: Option<ResetCodeFor>| {
            let issuer = issuer.map(str::to_owned);
            set(&SettingsChange { issuer, reset_code_for, ..SettingsChange::default() }).await
        };
        let read =
            |policy: Result<TenantPolicy, ActorRevoked>| policy.map(|policy| (policy.issuer, policy.reset_code_for));
        let before = rows(&ann, admin.tenant()).await;
        assert_eq!(read(change(None, None).await).unwrap(), ("Acme".into(), ResetCodeFor::Administrators));
        assert_eq!(rows(&ann, admin.tenant()).await, before, "no change has no audit row");
        assert_eq!(read(change(Some("A"), None).await).unwrap(), ("A".into(), ResetCodeFor::Administrators));
        let everyone = Some(ResetCodeFor::Everyone);
        assert_eq!(read(change(None, everyone).await).unwrap(), ("A".into(), ResetCodeFor::Everyone));
        let red = AccentColor::parse("#a00000").ok();
        for accent in [red, None] {
            let change = accent.map_or(Change::Remove, Change::Set);
            let policy = set(&SettingsChange { accent: change, ..SettingsChange::default() }).await.unwrap();
            assert_eq!((policy.accent, policy.issuer), (accent, "A".to_owned()));
            assert_eq!(ann.store.settings(ann.key.tenant()).await.unwrap().unwrap().accent, accent);
        }
        let logo = Logo::parse(image(2, 1, &[1])).unwrap();
        for logo in [Some(logo), None] {
            let change = logo.clone().map_or(Change::Remove, Change::Set);
            let policy = set(&SettingsChange { logo: change, ..SettingsChange::default() }).await.unwrap();
            assert_eq!(policy.logo, logo.as_ref().map(Logo::digest));
            assert_eq!(ann.store.logo(ann.key.tenant()).await.unwrap(), logo);
        }
        ann.change(Action::Add(crate::store::write::attr("ep"), 1)).await;
        assert!(matches!(change(Some("B"), None).await, Err(ActorRevoked)));
        assert_eq!(ann.store.settings(ann.key.tenant()).await.unwrap().unwrap().issuer, "A");
    }

    #[tokio::test]
    async fn only_an_active_administrator_is_listed_as_one() {
        let (ann, _) = signed_in_admin().await;
        let mut new = tenant(&ann, "fresh", "Fresh");
        new.first.as_mut().unwrap().user.active = false;
        assert_eq!(create(&ann, &Actor::Seed, &new).await, Ok(()));
        let [found] = ann.store.read_all([keys::administrators(&new.id)]).await.unwrap();
        assert!(item::read::<Administrators>(found.unwrap()).unwrap().active.is_empty());
    }
}
