//! Commands for client credentials, with which portals introspect tokens.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    AttemptEvent, OperationError, Store, StoreError, item,
    item::Profile,
    keys,
    records::times::millis,
    session::{AdminContext, Principal},
    table::{Query, Transacted, Transaction},
    write::{Write, attr, eq, text},
};
use crate::{
    audit::AuditEvent,
    env::{Entropy, EntropyError, Timestamp},
    id::{ClientId, TenantId},
    secret::{CodeDigest, TokenClass, TokenRef},
    sign_in::Attempt,
};

/// A portal's client credential (item `C`).
#[derive(Clone, Serialize, Deserialize)]
pub struct Client {
    /// The tenant; for a credential that is valid for all tenants, the tenant `support`.
    #[serde(rename = "t")]
    pub tenant: TenantId,
    /// The id of the credential.
    pub id: ClientId,
    /// The digest of the secret.
    #[serde(rename = "h")]
    pub digest: CodeDigest,
    /// What the credential is for, in an Administrator's words.
    pub name: String,
    /// Created at.
    #[serde(rename = "cr", with = "millis")]
    pub created: Timestamp,
    /// Whether it may introspect tokens of all tenants.
    #[serde(default)]
    pub all: bool,
}

/// A new client credential with its secret.
pub struct NewClient {
    /// What the store keeps.
    pub client: Client,
    /// The secret of 256 random bits. It is shown once.
    pub secret: Zeroizing<String>,
}

impl NewClient {
    /// Generates a client credential.
    ///
    /// # Errors
    /// [`EntropyError`] if the source of randomness fails.
    pub fn generate(
        tenant: &TenantId,
        name: &str,
        all: bool,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let id = ClientId::generate(entropy)?;
        let secret = Zeroizing::new(BASE64URL_NOPAD.encode(Zeroizing::new(entropy.bytes::<32>()?).as_slice()));
        let digest = CodeDigest::of_client_secret(&id, &secret);
        let client = Client { tenant: tenant.clone(), id, digest, name: name.to_owned(), created: now, all };
        Ok(Self { client, secret })
    }
}

/// Why a client was not created or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientRejection {
    /// There is no such client or no such tenant.
    #[error("there is no such client or no such tenant")]
    NotFound,
    /// The caller lost the right to do it.
    #[error("the caller may no longer do this")]
    ActorRevoked,
}

/// Why a client was not created or deleted.
pub type ClientError = OperationError<ClientRejection>;

/// The result of an introspection.
pub enum Introspected {
    /// The client's credential is wrong.
    BadClient,
    /// The token is not a valid session, or belongs to a tenant that the client may not introspect.
    Inactive,
    /// The session and the profile of its user.
    Active(Box<Principal>, Profile),
}

impl Store {
    /// Stores a new client.
    ///
    /// # Errors
    /// [`ClientError`]: another client has the id, the tenant does not exist, or the caller lost the right. If the store failed,
    /// the client may have been created. Do not show the secret.
    pub async fn create_client(
        &self,
        admin: &AdminContext,
        client: &Client,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), ClientError> {
        let mut put = item::write(client)?;
        put.insert("GP".to_owned(), text(keys::clients(&client.tenant)));
        put.insert("GS".to_owned(), text(format!("{:013}#{}", client.created.millis(), client.id)));
        let mut writes = vec![
            Write::check(keys::user(admin.key()), admin.conditions(attempt.at())),
            Write::put_new(keys::client(&client.id), put),
        ];
        // The caller's own tenant exists, so only another tenant is checked.
        if client.tenant != *admin.tenant() {
            writes.push(Write::check(keys::tenant(&client.tenant), vec![super::write::exists(attr("PK"))]));
        }
        let row = self.audit_row(&client.tenant, attempt, AttemptEvent::Outcome, event)?;
        self.change_client(admin, &Transaction::new(writes, row)).await
    }

    /// Deletes a client of the caller's tenant. It is invalid at once.
    ///
    /// # Errors
    /// [`ClientError`]: the tenant has no such client, or the caller lost the right. If the store failed, the client may have been
    /// deleted.
    pub async fn delete_client(
        &self,
        admin: &AdminContext,
        client: &ClientId,
        attempt: &Attempt,
        event: &AuditEvent,
    ) -> Result<(), ClientError> {
        let writes = vec![
            Write::check(keys::user(admin.key()), admin.conditions(attempt.at())),
            Write::delete(keys::client(client), vec![eq(attr("t"), admin.tenant().as_str())]),
        ];
        let row = self.audit_row(admin.tenant(), attempt, AttemptEvent::Outcome, event)?;
        self.change_client(admin, &Transaction::new(writes, row)).await
    }

    /// Commits a change of a client, which includes the check of the caller.
    async fn change_client(&self, admin: &AdminContext, change: &Transaction) -> Result<(), ClientError> {
        let unmet = match self.table.transact(change).await? {
            Transacted::Committed => return Ok(()),
            Transacted::Refused(unmet) => unmet,
        };
        let revoked = unmet.contains_key(&keys::user(admin.key()));
        let why = if revoked { ClientRejection::ActorRevoked } else { ClientRejection::NotFound };
        Err(OperationError::Rejected(why))
    }

    /// Lists a tenant's clients, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`]: the store failed, or an item is corrupt.
    pub async fn clients(&self, tenant: &TenantId) -> Result<Vec<Client>, StoreError> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let query = Query {
                index: true,
                partition: keys::clients(tenant),
                prefix: String::new(),
                after,
                descending: false,
                limit: PAGE,
            };
            let found = self.table.query(&query).await?;
            let is_last = found.len() < PAGE;
            for item in found {
                all.push(item::read::<Client>(item)?);
            }
            after = all.last().map(|last| format!("{:013}#{}", last.created.millis(), last.id));
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Introspects a session token for a client, in one round trip. It counts as use of the session.
    ///
    /// # Errors
    /// [`StoreError`]; the caller must deny the request.
    pub async fn introspect(
        &self,
        client: &ClientId,
        digest: &CodeDigest,
        token: Option<&TokenRef>,
        now: Timestamp,
    ) -> Result<Introspected, StoreError> {
        let token = token.filter(|token| token.class() == TokenClass::Session);
        let mut keys_read = vec![keys::client(client)];
        keys_read.extend(token.iter().flat_map(|token| {
            let who = token.user();
            [keys::user(who), keys::idp(who.tenant()), keys::profile(who)]
        }));
        let mut found = self.table.read(&keys_read).await?.into_iter();
        let known: Option<Client> = found.next().flatten().map(item::read).transpose()?;
        let Some(known) = known.filter(|known| known.digest == *digest) else { return Ok(Introspected::BadClient) };
        let Some(token) = token else { return Ok(Introspected::Inactive) };
        let own = [found.next().flatten(), found.next().flatten()];
        let profile = found.next().flatten();
        if !known.all && known.tenant != *token.user().tenant() {
            return Ok(Introspected::Inactive);
        }
        match (self.principal(own, token, now).await, profile) {
            (Ok(principal), Some(profile)) => Ok(Introspected::Active(Box::new(principal), item::read(profile)?)),
            (Err(OperationError::Store(error)), _) => Err(error),
            _ => Ok(Introspected::Inactive),
        }
    }
}

const PAGE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        fixture::{Ann, NOW, STEP, ann, attempt, decided},
        write::Action,
    };

    fn client(tenant: &str, id: &str, all: bool) -> Client {
        let id = ClientId::parse(id).unwrap();
        let digest = CodeDigest::of_client_secret(&id, "secret");
        let tenant = TenantId::parse(tenant).unwrap();
        Client { tenant, id, digest, name: "portal".to_owned(), created: NOW, all }
    }

    async fn introspect(ann: &Ann, id: &str, secret: &str, token: &TokenRef) -> Introspected {
        let id = ClientId::parse(id).unwrap();
        ann.store.introspect(&id, &CodeDigest::of_client_secret(&id, secret), Some(token), NOW).await.unwrap()
    }

    #[tokio::test]
    async fn client_introspects_only_its_own_tenant_until_deleted() {
        let (ann, tokens) = ann(1).await;
        let session = ann.with_step(&tokens[0], STEP, NOW).await.unwrap();
        let session = session.reference();
        let admin = ann.store.read_session(session, NOW).await.unwrap();
        let admin = admin.administrator(NOW).ok().unwrap();
        let event = ann.event();
        // Creating a client must not read its own tenant's item: all creations would contend for it.
        let gone = Write::delete(keys::tenant(ann.key.tenant()), vec![]);
        ann.store.table.update(&gone, super::super::table::Retry::Never).await.unwrap();
        for (one, want) in [
            (client("acme", "own", false), Ok(())),
            (client("nowhere", "other", false), Err(ClientRejection::NotFound)),
        ] {
            let made = ann.store.create_client(&admin, &one, &attempt(NOW), &event).await;
            assert_eq!(decided(made), want);
        }
        assert!(matches!(introspect(&ann, "own", "secret", session).await, Introspected::Active(..)));
        assert!(matches!(introspect(&ann, "own", "wrong", session).await, Introspected::BadClient));
        assert!(matches!(introspect(&ann, "other", "secret", session).await, Introspected::BadClient));
        assert!(matches!(introspect(&ann, "own", "secret", &tokens[0]).await, Introspected::Inactive));
        for (id, foreign) in [("foreign", false), ("every", true)] {
            let put = item::write(&client("globex", id, foreign)).unwrap();
            ann.put(Write::put_new(keys::client(&ClientId::parse(id).unwrap()), put)).await;
            let active = matches!(introspect(&ann, id, "secret", session).await, Introspected::Active(..));
            assert_eq!(active, foreign);
        }
        assert_eq!(ann.store.clients(ann.key.tenant()).await.unwrap().len(), 1);
        let delete = |id: &str| {
            let (store, admin, event) = (&ann.store, &admin, &event);
            let id = ClientId::parse(id).unwrap();
            async move { decided(store.delete_client(admin, &id, &attempt(NOW), event).await) }
        };
        assert_eq!(delete("foreign").await, Err(ClientRejection::NotFound), "a client of another tenant");
        assert_eq!(delete("own").await, Ok(()));
        assert!(matches!(introspect(&ann, "own", "secret", session).await, Introspected::BadClient));
    }

    #[tokio::test]
    async fn caller_whose_session_ended_meanwhile_changes_no_client() {
        let (ann, _) = ann(0).await;
        let session = ann.session_of(&ann.key).await;
        let (admin, event) = (ann.admin(&session).await, ann.event());
        let (own, late) = (client("acme", "own", false), client("acme", "late", false));
        let create = async |client| decided(ann.store.create_client(&admin, client, &attempt(NOW), &event).await);
        assert_eq!(create(&own).await, Ok(()));
        let taken = Client { name: "other".to_owned(), ..own.clone() };
        assert_eq!(create(&taken).await, Err(ClientRejection::NotFound), "the id is taken");
        ann.change(Action::Set(attr("s"), crate::store::write::empty())).await;
        assert_eq!(create(&late).await, Err(ClientRejection::ActorRevoked));
        let deleted = decided(ann.store.delete_client(&admin, &own.id, &attempt(NOW), &event).await);
        assert_eq!(deleted, Err(ClientRejection::ActorRevoked));
        // All are listed, also those beyond one query.
        for n in 0..=PAGE {
            let mut item = item::write(&client("acme", &format!("c{n}"), false)).unwrap();
            item.insert("GP".to_owned(), text(keys::clients(ann.key.tenant())));
            item.insert("GS".to_owned(), text(format!("{:013}#c{n}", NOW.millis())));
            let id = ClientId::parse(&format!("c{n}")).unwrap();
            ann.put(Write::put_new(keys::client(&id), item)).await;
        }
        assert_eq!(ann.store.clients(ann.key.tenant()).await.unwrap().len(), PAGE + 2);
        let names: Vec<_> = ann.store.clients(ann.key.tenant()).await.unwrap().into_iter().map(|it| it.name).collect();
        assert!(names.iter().all(|name| name == "portal"));
    }
}
