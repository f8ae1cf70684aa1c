//! Races of the SSO commands.

use std::sync::Arc;

use super::{AuditAction, RACERS, RaceTenant, count_true, race_tenant};
use crate::{
    audit::{AuditEvent, Outcome},
    env::SystemEntropy,
    id::{UserId, UserKey},
    secret::TokenRef,
    sso::Relay,
    store::{
        Table,
        fixture::{NOW, attempt, idp},
        item::{self, Administrators, AuthType, FactorState, Idp, Profile, Role, Subject},
        keys,
        sso::SsoOpened,
        users::{CreationRejection, Patch},
    },
};

/// Races `open_request`, `open_sso`, `set_idp` and `remove_idp`, and links by `create_user` and `update_user`.
pub(super) async fn race(table: &Arc<dyn Table>, round: usize) {
    requests(table, round).await;
    assertions(table, round).await;
    first_sign_ins(table, round).await;
    idps(table, round).await;
    subjects(table, round).await;
}

/// A request that is opened several times keeps its first values.
async fn requests(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "sso-request", round).await;
    let (_, relay) = Relay::generate(one.store().restore_epoch(), &SystemEntropy).unwrap();
    let sent = count_true(RACERS, |n| {
        let (one, relay) = (Arc::clone(&one), relay.clone());
        async move {
            let (tenant, to) = (one.ann.key.tenant(), format!("/{n}"));
            let sent = item::SsoRequest::new(to.clone(), NOW);
            one.store().open_request(tenant, &relay, &sent).await.unwrap();
            let [request] = one.store().read_all([keys::sso_request(tenant, &relay)]).await.unwrap();
            item::read::<item::SsoRequest>(request.unwrap()).unwrap().return_to == to
        }
    });
    assert_eq!(sent.await, 1, "requests with one relay state");
}

/// One assertion, sent 32 times, gives one session or one enrolment token.
async fn assertions(table: &Arc<dyn Table>, round: usize) {
    for (factor, name) in [(FactorState::Active, "sso-session"), (FactorState::None, "sso-enrolment")] {
        let one = race_tenant(table, name, round).await;
        let bob = one.ann.of_idp("bob", Role::Standard, factor).await;
        let relay = one.ann.request().await;
        let opened = count_true(RACERS, |_| {
            let (one, relay) = (Arc::clone(&one), relay.clone());
            async move {
                let assertion = one.ann.asserted("bob", "once", Some(relay));
                let sign_in = one.ann.owner(assertion, NOW).await.unwrap();
                match one.ann.opens(sign_in).await.unwrap() {
                    Ok(SsoOpened::SignedIn(_)) => factor == FactorState::Active,
                    Ok(SsoOpened::EnrolmentRequired { .. }) => factor == FactorState::None,
                    _ => false,
                }
            }
        });
        assert_eq!(opened.await, 1, "{name}s from one assertion");
        let user = one.ann.read(&bob).await;
        assert_eq!(user.sessions.len() + user.enrolments.len(), 1, "{name}");
        let [request] = one.store().read_all([keys::sso_request(one.ann.key.tenant(), &relay)]).await.unwrap();
        assert_eq!(request, None, "the request must be removed");
    }
}

/// First sign-ins with many NameIDs, concurrent with links by an Administrator or with a deletion. At the end one
/// NameID is linked to Bob and his item names it, or nothing is left of the deleted user.
async fn first_sign_ins(table: &Arc<dyn Table>, round: usize) {
    for deleted in [false, true] {
        let one = race_tenant(table, if deleted { "sso-deleted" } else { "sso-linked" }, round).await;
        let bob = one.ann.of_idp("bob", Role::Standard, FactorState::Active).await;
        count_true(RACERS, |n| {
            let (one, bob) = (Arc::clone(&one), bob.clone());
            async move {
                let name = format!("name-{n}");
                if n % 16 == 15 && deleted {
                    return one.delete(&one.session, "u-bob").await;
                }
                if n % 8 == 7 && !deleted {
                    let linked = Some(one.ann.names.link(one.ann.key.tenant(), &idp().entity_id, &name));
                    return one.patch(&one.session, "u-bob", Patch { linked, ..Patch::default() }).await;
                }
                let mut assertion = one.ann.asserted(&name, &name, None);
                assertion.attributes.insert("Username".into(), vec!["bob".into()]);
                let Some(sign_in) = one.ann.owner(assertion, NOW).await else { return false };
                assert!(sign_in.key() == &bob);
                matches!(one.ann.opens(sign_in).await.unwrap(), Ok(SsoOpened::SignedIn(_)))
            }
        })
        .await;
        let tenant = one.ann.key.tenant();
        let mut linked = Vec::new();
        for n in 0..RACERS {
            let subject = one.subject(&format!("name-{n}"));
            let [found] = one.store().read_all([keys::subject(tenant, &subject)]).await.unwrap();
            linked.extend(found.map(|found| {
                assert_eq!(&item::read::<Subject>(found).unwrap().uid, bob.user());
                subject
            }));
        }
        let named = one.profile(&bob).await.and_then(|profile| profile.subject);
        assert_eq!(linked, named.into_iter().collect::<Vec<_>>(), "NameIDs of one user");
        assert_eq!(linked.len(), usize::from(!deleted));
    }
}

/// The IdP is set and removed, while an Administrator who signs in by SSO changes, demotes, deactivates and deletes the
/// local Administrators. At each moment an Administrator can sign in.
async fn idps(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "idps", round).await;
    let amy = one.ann.of_idp("amy", Role::Administrator, FactorState::Active).await;
    let amy = one.ann.session_of(&amy).await;
    one.create(&one.new_user("abe", "u-abe", Role::Administrator)).await.unwrap();
    one.set_idp(&amy, 99).await;
    let done = count_true(RACERS, |n| {
        let (one, amy) = (Arc::clone(&one), amy.clone());
        async move {
            let auth_type = |auth_type| Patch { auth_type: Some(auth_type), ..Patch::default() };
            let done = match n % 8 {
                0 => one.set_idp(&amy, n).await,
                1 | 2 => one.remove_idp(&amy).await,
                3 => one.patch(&amy, "u-ann", auth_type(AuthType::SamlSso)).await,
                4 => one.patch(&amy, "u-ann", auth_type(AuthType::Local)).await,
                5 => one.patch(&amy, "u-abe", Patch { role: Some(Role::Standard), ..Patch::default() }).await,
                6 => one.patch(&amy, "u-ann", Patch { active: Some(n > 16), ..Patch::default() }).await,
                _ if n > 24 => one.delete(&amy, "u-abe").await,
                _ => one.patch(&amy, "u-abe", auth_type(AuthType::SamlSso)).await,
            };
            // The administrators are one item, so one read shows a consistent state during the race.
            one.assert_admin_can_sign_in().await;
            done
        }
    });
    assert!(done.await > 0);
    let (administrators, idp) = (one.assert_admin_can_sign_in().await, one.idp().await);
    assert_eq!(administrators.has_idp, idp.is_some(), "the administrators' item must record the IdP");
    assert!(idp.is_none_or(|idp| idp.sso_url.starts_with(&idp.entity_id)), "the IdP must be one that was set");
    let mut active_admins = 0;
    for name in ["u-ann", "u-amy", "u-abe"] {
        let key = one.key(name);
        let [user] = one.store().read_all([keys::user(&key)]).await.unwrap();
        let user = user.map(|user| item::read::<item::User>(user).unwrap()).filter(item::User::administers_now);
        let auth_type = user.map(|user| user.auth_type);
        assert_eq!(administrators.active.get(key.user()), auth_type.as_ref(), "{name}");
        active_admins += usize::from(auth_type.is_some());
    }
    assert_eq!(administrators.active.len(), active_admins);
}

/// 32 requests link the same NameID to different users.
async fn subjects(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "subjects", round).await;
    for n in 0..RACERS / 2 {
        one.create(&one.new_user(&format!("p{n}"), &format!("u-{n}"), Role::Standard)).await.unwrap();
    }
    let subject = one.subject("00u1");
    let linked = count_true(RACERS, |n| {
        let (one, link) = (Arc::clone(&one), one.ann.names.link(one.ann.key.tenant(), &idp().entity_id, "00u1"));
        async move {
            let id = format!("u-{n}");
            if n < RACERS / 2 {
                let linked = Some(link);
                return one.patch(&one.session, &id, Patch { linked, ..Patch::default() }).await;
            }
            let user = one.new_user(&format!("p{n}"), &id, Role::Standard).linked(link);
            let created = one.create(&user).await;
            assert!(matches!(created, Ok(()) | Err(CreationRejection::SubjectTaken)), "{created:?}");
            created.is_ok()
        }
    });
    assert_eq!(linked.await, 1, "users linked to one NameID");
    let [owner] = one.store().read_all([keys::subject(one.ann.key.tenant(), &subject)]).await.unwrap();
    let owner: Subject = item::read(owner.unwrap()).unwrap();
    for n in 0..RACERS {
        let key = one.key(&format!("u-{n}"));
        let linked_subject = one.profile(&key).await.and_then(|profile| profile.subject);
        assert_eq!(linked_subject.as_ref(), (key.user() == &owner.uid).then_some(&subject), "u-{n}");
    }
}

impl RaceTenant {
    fn subject(&self, name_id: &str) -> String {
        self.ann.names.subject(self.ann.key.tenant(), &idp().entity_id, name_id)
    }

    async fn profile(&self, key: &UserKey) -> Option<Profile> {
        let [profile] = self.store().read_all([keys::profile(key)]).await.unwrap();
        profile.map(|profile| item::read(profile).unwrap())
    }

    async fn idp(&self) -> Option<Idp> {
        self.store().idp(self.ann.key.tenant()).await.unwrap().configured()
    }

    /// Asserts that an Administrator can sign in, locally or through the IdP.
    async fn assert_admin_can_sign_in(&self) -> Administrators {
        let now = self.ann.administrators().await;
        assert!(
            !now.active.is_empty() && (now.has_idp || now.local(None).is_some()),
            "no Administrator can sign in: {now:?}"
        );
        now
    }

    async fn set_idp(&self, by: &TokenRef, n: usize) -> bool {
        let entity_id = format!("https://idp-{n}.example/");
        let new = Idp { sso_url: format!("{entity_id}sso"), entity_id, ..idp() };
        let event = AuditEvent::new(AuditAction::IdpChanged, Outcome::Success, "r");
        let admin = self.ann.admin(by).await;
        self.store().set_idp(&admin, &new, &attempt(NOW), &event).await.is_ok()
    }

    async fn remove_idp(&self, by: &TokenRef) -> bool {
        let event = AuditEvent::new(AuditAction::IdpRemoved, Outcome::Success, "r");
        let admin = self.ann.admin(by).await;
        self.store().remove_idp(&admin, &attempt(NOW), &event).await.is_ok()
    }

    async fn patch(&self, by: &TokenRef, id: &str, patch: Patch) -> bool {
        let (principal, target) = self.store().load_user(by, UserId::parse(id).unwrap(), NOW).await.unwrap();
        let admin = principal.administrator(NOW).ok().unwrap();
        let changed = self.store().update_user(&admin, target, &patch, &attempt(NOW), &self.ann.event()).await;
        changed.is_ok()
    }

    async fn delete(&self, by: &TokenRef, id: &str) -> bool {
        let (principal, target) = self.store().load_user(by, UserId::parse(id).unwrap(), NOW).await.unwrap();
        let admin = principal.administrator(NOW).ok().unwrap();
        let deleted = self.store().delete_user(&admin, target, &attempt(NOW), &self.ann.event()).await;
        deleted.is_ok()
    }
}
