//! Races of the commands of the directory.

use std::sync::Arc;

use super::{RACERS, count_true, race_tenant};
use crate::{
    domain::SettingsChange,
    id::{ClientId, TenantId, UserId},
    secret::CodeDigest,
    store::{
        OperatorEvents, Table,
        client::Client,
        fixture::{NOW, attempt, decided},
        item::Role,
        tenant::NewTenant,
        users::{Actor, Patch},
    },
};

/// `create_user`, `update_user`, `delete_user`, `create_tenant`, `change_settings`, `create_client`, `delete_client`.
pub(super) async fn race(table: &Arc<dyn Table>, round: usize) {
    users(table, round).await;
    tenants(table, round).await;
    clients(table, round).await;
}

/// A login name is given once, and the last Administrator can be neither demoted nor deleted.
async fn users(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "directory", round).await;
    let made = count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move { one.create(&one.new_user("bob", &format!("u-bob{n}"), Role::Standard)).await.is_ok() }
    });
    assert_eq!(made.await, 1, "users with one login name");

    for n in 0..7 {
        one.create(&one.new_user(&format!("adm{n}"), &format!("u-adm{n}"), Role::Administrator)).await.unwrap();
    }
    // Ann and seven more Administrators. Each task demotes or deletes one of the eight.
    count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move {
            let target = if n % 8 == 7 { "u-ann".to_owned() } else { format!("u-adm{}", n % 8) };
            let target = UserId::parse(&target).unwrap();
            let Ok((principal, named)) = decided(one.store().load_user(&one.session, target, NOW).await) else {
                return false;
            };
            let Ok(admin) = principal.administrator(NOW) else { return false };
            let (attempt, event) = (attempt(NOW), one.ann.event());
            let patch = Patch { role: Some(Role::Standard), ..Patch::default() };
            match n % 2 {
                0 => one.store().update_user(&admin, named, &patch, &attempt, &event).await.is_ok(),
                _ => one.store().delete_user(&admin, named, &attempt, &event).await.is_ok(),
            }
        }
    })
    .await;
    assert!(!one.ann.administrators().await.active.is_empty(), "the last Administrator must remain");
}

/// A tenant is created once.
async fn tenants(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "tenants", round).await;
    let made = count_true(RACERS, |_| {
        let one = Arc::clone(&one);
        async move {
            let id = TenantId::parse(&format!("new-{round}")).unwrap();
            let (tenant, event) = (NewTenant { id, name: "New".into(), first: None }, one.ann.event());
            let events = OperatorEvents { in_support: &event, in_tenant: &event };
            let made = one.store().create_tenant(&Actor::Seed, &tenant, &attempt(NOW), &events).await;
            made.is_ok()
        }
    });
    assert_eq!(made.await, 1, "tenants with one id");
    let admin = Arc::new(one.admin().await);
    let set = count_true(RACERS, |n| {
        let (one, admin) = (Arc::clone(&one), Arc::clone(&admin));
        async move {
            let issuer = Some(format!("Issuer {n}"));
            let (change, event) = (SettingsChange { issuer, ..SettingsChange::default() }, one.ann.event());
            one.store().change_settings(&admin, &change, &attempt(NOW), &event).await.is_ok()
        }
    });
    assert!(set.await >= 1);
}

/// A client is deleted once.
async fn clients(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "clients", round).await;
    let admin = Arc::new(one.admin().await);
    let id = ClientId::parse(&format!("client-{round}")).unwrap();
    let digest = CodeDigest::of_client_secret(&id, "secret");
    let tenant = one.ann.key.tenant().clone();
    let client = Client { tenant, id, digest, name: "portal".into(), created: NOW, all: false };
    one.store().create_client(&admin, &client, &attempt(NOW), &one.ann.event()).await.unwrap();
    let deleted = count_true(RACERS, |_| {
        let (one, admin, id) = (Arc::clone(&one), Arc::clone(&admin), client.id.clone());
        async move {
            let done = one.store().delete_client(&admin, &id, &attempt(NOW), &one.ann.event()).await;
            done.is_ok()
        }
    });
    assert_eq!(deleted.await, 1, "clients deleted");
}
