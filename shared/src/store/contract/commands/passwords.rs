//! Races of the commands of a password.

use std::sync::Arc;

use super::{RACERS, RaceTenant, count_true, race_tenant};
use crate::{
    env::{SystemEntropy, Timestamp},
    id::BatchId,
    policy::{self, Backoff},
    secret::TokenRef,
    sign_in::{PasswordChecked, VerifiedPassword},
    store::{
        Table,
        fixture::{NOW, PASSWORD, attempt, decided, factor_removal},
        item,
        write::{Action, attr, text},
    },
};

/// `charge_login`, `open_attempt`, `open_excluded_session`, `notify_failures`, `charge_own_password`, `change_password`.
pub(super) async fn race(table: &Arc<dyn Table>, round: usize) {
    password_charges(table, round).await;
    challenges(table, round).await;
    networks(table, round).await;
    excluded_sessions(table, round).await;
    failure_notifications(table, round).await;
    password_changes(table, round).await;
    own_password_charges(table, round).await;
}

/// Five attempts are admitted before the backoff.
async fn password_charges(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "charge", round).await;
    let admitted = count_true(RACERS, |_| {
        let one = Arc::clone(&one);
        async move {
            let charge = one.store().charge_login(&one.ann.login, None, &Backoff::at(NOW), &attempt(NOW)).await;
            decided(charge).is_ok()
        }
    });
    assert_eq!(admitted.await, 5, "passwords checked");
}

/// Opened challenges are counted against the budget of the network.
async fn challenges(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "open", round).await;
    let opened = count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move {
            // Spread over ten minutes, so that the backoff admits them. The network's budget does not admit all.
            let at = Timestamp::from_secs(NOW.secs() + i64::try_from(n).unwrap() * 600 / 32);
            let device = None;
            let Ok(right) = one.verified_password(device, at).await else { return false };
            let PasswordChecked::MfaRequired(opening) = right.decide() else { panic!("not due") };
            let event = one.ann.event();
            // Contention is a valid result too: the request is denied and nothing is opened.
            one.store().open_attempt(opening, "10.9.8", &SystemEntropy, &event).await.is_ok()
        }
    });
    let opened = opened.await;
    let user = one.ann.read(&one.ann.key).await;
    let counted = user.networks.get("10.9.8").map_or(0, Vec::len);
    assert!(opened == counted && counted <= policy::NETWORK_CHALLENGES, "{opened} opened, {counted} counted");
    assert!(user.challenges.len() <= policy::CHALLENGES);
}

/// The number of counted networks is limited.
async fn networks(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "networks", round).await;
    let opened = count_true(RACERS, |n| {
        let one = Arc::clone(&one);
        async move {
            // Over twenty minutes, so that networks are removed by age and by the limit.
            let at = Timestamp::from_secs(NOW.secs() + i64::try_from(n).unwrap() * 1200 / 32);
            let Ok(right) = one.verified_password(None, at).await else { return false };
            let PasswordChecked::MfaRequired(opening) = right.decide() else { panic!("not due") };
            let network = format!("10.9.{n}");
            one.store().open_attempt(opening, &network, &SystemEntropy, &one.ann.event()).await.is_ok()
        }
    });
    assert!(opened.await > 0);
    let networks = one.ann.read(&one.ann.key).await.networks.len();
    assert!((1..=policy::NETWORKS).contains(&networks), "{networks} networks");
}

/// The number of sessions of an excluded contact is limited.
async fn excluded_sessions(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "excluded", round).await;
    let excluded = item::Exclusion { batch: BatchId::parse("b").unwrap(), at: Timestamp::default() };
    let contact = [Action::Set(attr("k"), text("c")), Action::Set(attr("ex"), item::value(&excluded).unwrap())];
    one.ann.change_all(factor_removal().into_iter().chain(contact).collect()).await;
    let opened = count_true(RACERS, |_| {
        let one = Arc::clone(&one);
        async move {
            let Ok(right) = one.verified_password(None, NOW).await else { return false };
            let PasswordChecked::Excluded(excluded) = right.decide() else { panic!("not excluded") };
            one.store().open_excluded_session(excluded, &SystemEntropy, &one.ann.event()).await.is_ok()
        }
    });
    assert!(opened.await >= 1);
    assert!(one.ann.read(&one.ann.key).await.sessions.len() <= policy::SESSIONS);
}

/// Five failures cause one notification.
async fn failure_notifications(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "notified", round).await;
    for _ in 0..4 {
        one.ann.password("wrong", None, NOW).await.err().unwrap();
    }
    let fifth = Arc::new(one.ann.password("wrong", None, NOW).await.err().unwrap());
    let notified = count_true(RACERS, |_| {
        let (one, fifth) = (Arc::clone(&one), Arc::clone(&fifth));
        async move { one.store().notify_failures(&fifth).await.unwrap() }
    });
    assert_eq!(notified.await, 1, "notifications of failures");
}

/// One of the concurrent password changes succeeds.
async fn password_changes(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "password", round).await;
    let hash = one.ann.hash("another good password").await;
    let changed = count_true(RACERS, |n| {
        let (one, hash) = (Arc::clone(&one), hash.clone());
        async move {
            let at = Timestamp::from_millis(NOW.millis() + i64::try_from(n).unwrap());
            let Ok(caller) = decided(one.store().read_session(&one.session, NOW).await) else { return false };
            let Ok(password_attempt) = decided(one.store().charge_own_password(&caller, &attempt(at)).await) else {
                return false;
            };
            let proof = one.ann.proof(&password_attempt.hash().unwrap(), PASSWORD).await;
            let Ok(right) = password_attempt.checked(proof) else { return false };
            let event = one.ann.event();
            let changed = one.store().change_password(right, &hash, &SystemEntropy, &event).await;
            changed.is_ok()
        }
    });
    assert_eq!(changed.await, 1, "passwords changed");
}

/// A session may check the current password five times.
async fn own_password_charges(table: &Arc<dyn Table>, round: usize) {
    let one = race_tenant(table, "own", round).await;
    let caller = Arc::new(one.store().read_session(&one.session, NOW).await.unwrap());
    let admitted = count_true(RACERS, |_| {
        let (one, caller) = (Arc::clone(&one), Arc::clone(&caller));
        async move { one.store().charge_own_password(&caller, &attempt(NOW)).await.is_ok() }
    });
    assert_eq!(admitted.await, 5, "current passwords checked in one session");
}

impl RaceTenant {
    /// A verified password, if the backoff admits the attempt.
    async fn verified_password(&self, device: Option<&TokenRef>, at: Timestamp) -> Result<VerifiedPassword, ()> {
        let charge = decided(self.store().charge_login(&self.ann.login, device, &Backoff::at(at), &attempt(at)).await);
        let Ok(password_attempt) = charge else { return Err(()) };
        self.ann.checked(password_attempt, PASSWORD).await.map_err(|_| ())
    }
}
