use std::{collections::HashMap, time::Duration};

use super::*;
use crate::{
    audit::{AuditAction, Outcome},
    env::SystemEntropy,
    id::{LoginName, TenantId, UserId},
    secret::{NameKey, TokenClass},
    sign_in::{LoginTokenKind, PasswordChecked},
    store::{
        fixture::{Ann, NOW, PASSWORD, STEP, ann, attempt, decided, factor_removal},
        lists::AuditFilter,
        memory::MemoryTable,
    },
};

fn fixture() -> (Store, LoginKey) {
    let tenant = TenantId::parse("acme").unwrap();
    let login = NameKey::new([1; 32].into()).login(&tenant, &LoginName::fold("ann"));
    (Store::new(std::sync::Arc::new(MemoryTable::default())), login)
}

async fn attempt_at(store: &Store, login: &LoginKey, now: Timestamp) -> Result<PasswordAttempt, Exhausted> {
    let attempt = Attempt::begin(now, &SystemEntropy).unwrap();
    decided(store.charge_login(login, None, &Backoff::at(now), &attempt).await)
}

#[tokio::test]
async fn early_attempt_is_neither_admitted_nor_counted() {
    let (store, login) = fixture();
    let mut now = Timestamp::from_secs(1_800_000_000);
    for failures in 0..17 {
        let due = Backoff::retry_at(failures, now);
        if due > now {
            let early = due - Duration::from_millis(1);
            let refused = attempt_at(&store, &login, early).await;
            assert!(matches!(refused, Err(Exhausted { retry_at }) if retry_at == due));
        }
        now = due;
        let Ok(row) = attempt_at(&store, &login, now).await else { panic!("refused at {failures}") };
        assert_eq!(row.failures(), failures + 1);
    }
}

#[tokio::test]
async fn concurrent_attempts_are_limited_to_five() {
    let (store, login) = fixture();
    let now = Timestamp::from_secs(1_800_000_000);
    let attempts = (0..64).map(|_| attempt_at(&store, &login, now));
    let admitted = futures_util::future::join_all(attempts).await;
    assert_eq!(admitted.iter().filter(|charge| charge.is_ok()).count(), 5);
}

#[tokio::test]
async fn repeated_attempt_is_counted_once() {
    let (store, login) = fixture();
    let now = Timestamp::from_secs(1_800_000_000);
    let attempt = Attempt::begin(now, &SystemEntropy).unwrap();
    for _ in 0..2 {
        let charge = decided(store.charge_login(&login, None, &Backoff::at(now), &attempt).await);
        let Ok(row) = charge else { panic!("refused") };
        assert_eq!(row.failures(), 1);
    }
}

#[tokio::test]
async fn only_last_counted_attempt_clears_failures() {
    let (store, login) = fixture();
    let now = Timestamp::from_secs(1_800_000_000);
    let first = Attempt::begin(now, &SystemEntropy).unwrap();
    let charge = decided(store.charge_login(&login, None, &Backoff::at(now), &first).await);
    let Ok(first) = charge else { panic!("refused") };
    assert!(attempt_at(&store, &login, now).await.is_ok());
    store.clear_login_failures(&first).await;
    let Ok(row) = attempt_at(&store, &login, now).await else { panic!("refused") };
    assert_eq!(row.failures(), 3);
}

#[tokio::test]
async fn fast_clock_locks_no_user_out() {
    let (store, login) = fixture();
    let now = Timestamp::from_secs(1_800_000_000);
    for _ in 0..5 {
        assert!(attempt_at(&store, &login, now + Duration::from_secs(86_400)).await.is_ok());
    }
    assert!(attempt_at(&store, &login, now).await.is_ok());
}

#[tokio::test]
async fn correct_password_opens_challenge_and_clears_failures() {
    let (ann, _) = ann(0).await;
    for _ in 0..3 {
        let wrong = ann.password("wrong", None, NOW).await.err().unwrap();
        assert!(wrong.owner().is_some());
    }
    let token = ann.challenge(None, NOW).await;
    assert!(ann.signed_in(&token, STEP, NOW).await.is_some());
    assert_eq!(ann.password("wrong", None, NOW).await.err().unwrap().failures(), 1);
}

#[tokio::test]
async fn network_may_open_twenty_challenges_in_fifteen_minutes() {
    let (ann, _) = ann(0).await;
    for n in 0..policy::NETWORK_CHALLENGES {
        let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        assert!(ann.opened(verified, "10.0.0").await.is_ok(), "{n}");
    }
    let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    let until = NOW + policy::WINDOW;
    assert!(
        matches!(ann.opened(verified, "10.0.0").await, Err(LoginRejection::NetworkFull(NetworkFull { retry_at })) if retry_at == until)
    );
    let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    assert!(ann.opened(verified, "10.0.1").await.is_ok());
    let verified = ann.password(PASSWORD, None, until).await.ok().unwrap();
    assert!(ann.opened(verified, "10.0.0").await.is_ok());
    assert!(ann.read(&ann.key).await.networks["10.0.0"].len() == 1, "expired times are removed");
}

#[tokio::test]
async fn full_challenge_list_drops_oldest_of_busiest_network() {
    let (ann, _) = ann(0).await;
    let first = ann.challenge(None, NOW).await;
    for n in 0..40 {
        let at = NOW + Duration::from_millis(n + 1);
        let verified = ann.password(PASSWORD, None, at).await.ok().unwrap();
        let network = if n % 2 == 0 { "10.0.1" } else { "10.0.2" };
        assert!(ann.opened(verified, network).await.is_ok());
    }
    let user = ann.read(&ann.key).await;
    assert_eq!(user.challenges.len(), policy::CHALLENGES);
    assert!(user.challenges.contains_key(first.id()), "the challenge of the other network stays");
}

#[tokio::test]
async fn networks_are_bounded() {
    let (ann, _) = ann(0).await;
    for n in 0..policy::NETWORKS + 4 {
        let at = NOW + Duration::from_millis(u64::try_from(n).unwrap());
        let verified = ann.password(PASSWORD, None, at).await.ok().unwrap();
        assert!(ann.opened(verified, &format!("10.0.{n}")).await.is_ok());
    }
    let user = ann.read(&ann.key).await;
    assert_eq!(user.networks.len(), policy::NETWORKS);
    assert!(!user.networks.contains_key("10.0.3") && user.networks.contains_key("10.0.4"));
}

/// A write that opens a challenge from a network, for the user as loaded.
fn from_network(ann: &Ann, loaded: &User, network: &str, now: Timestamp) -> Write {
    let token = NewToken::generate(TokenClass::Challenge, &ann.key, ann.store.restore_epoch(), &SystemEntropy).unwrap();
    let entry = LoginTokenEntry {
        verifier: *token.reference().verifier(),
        ends: now + policy::CHALLENGE_LIFE,
        state: ChallengeState::NEW,
        security_version: loaded.security_version,
        network: network.to_owned(),
        device: None,
        idp_generation: None,
    };
    let mut changed = loaded.clone();
    changed.open_login_token(LoginTokenKind::Challenge, token.reference().id(), entry, now).unwrap();
    commit::update(&ann.key, loaded, &changed).unwrap()
}

async fn written(ann: &Ann, write: &Write) -> bool {
    matches!(ann.store.table.update(write, Retry::Never).await.unwrap(), Updated::Written(_))
}

/// Ann, who opened challenges from this number of networks, one each second, the last one now.
async fn ann_with_networks(networks: usize) -> Ann {
    let (ann, _) = ann(0).await;
    let times = (0..networks).rev().map(|n| vec![NOW.millis() - 1000 * i64::try_from(n).unwrap()]);
    let networks: HashMap<_, _> = times.enumerate().map(|(n, times)| (format!("10.1.{n}"), times)).collect();
    ann.change(Action::Set(attr("nw"), item::value(&networks).unwrap())).await;
    ann
}

/// Of two writes that were decided on the same fifteen networks, one is refused.
#[tokio::test]
async fn concurrent_writes_do_not_exceed_network_cap() {
    let ann = ann_with_networks(policy::NETWORKS - 1).await;
    let read = ann.read(&ann.key).await;
    let [one, two] = ["10.2.1", "10.2.2"].map(|network| from_network(&ann, &read, network, NOW));
    assert!(written(&ann, &one).await && !written(&ann, &two).await);
    assert_eq!(ann.read(&ann.key).await.networks.len(), policy::NETWORKS);
    // Decided again, it replaces the network that was quiet longest. Again one of two writes is refused.
    let read = ann.read(&ann.key).await;
    let [two, three] = ["10.2.2", "10.2.3"].map(|network| from_network(&ann, &read, network, NOW));
    assert!(written(&ann, &two).await && !written(&ann, &three).await);
    let networks = ann.read(&ann.key).await.networks;
    assert!(networks.len() == policy::NETWORKS && !networks.contains_key("10.1.0"));
    // A network that is known needs no room.
    let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    assert!(ann.opened(verified, "10.1.1").await.is_ok());
    assert_eq!(ann.read(&ann.key).await.networks["10.1.1"].len(), 2);
}

/// A write that was decided before another count is refused, so the count is not lost.
#[tokio::test]
async fn next_write_drops_expired_networks_and_loses_no_count() {
    let ann = ann_with_networks(3).await;
    let later = NOW + policy::WINDOW;
    let read = ann.read(&ann.key).await;
    let earlier = from_network(&ann, &read, "10.2.1", later);
    assert!(written(&ann, &from_network(&ann, &read, "10.1.2", later)).await);
    assert!(!written(&ann, &earlier).await);
    let verified = ann.password(PASSWORD, None, later).await.ok().unwrap();
    assert!(ann.opened(verified, "10.2.1").await.is_ok());
    let networks = ann.read(&ann.key).await.networks;
    let want = HashMap::from([("10.1.2", vec![later]), ("10.2.1", vec![later])]);
    assert_eq!(networks, want.into_iter().map(|(name, times)| (name.to_owned(), times)).collect());
}

/// An earlier version without the cap can have left such an item.
#[tokio::test]
async fn next_write_trims_too_many_networks() {
    let ann = ann_with_networks(191).await;
    let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    assert!(ann.opened(verified, "10.1.0").await.is_ok());
    let networks = ann.read(&ann.key).await.networks;
    assert!(networks.len() == policy::NETWORKS && networks["10.1.0"].len() == 2 && networks.contains_key("10.1.190"));
}

/// The count of a network is kept although other networks are removed.
#[tokio::test]
async fn full_network_stays_full_when_other_networks_are_dropped() {
    let ann = ann_with_networks(policy::NETWORKS + 1).await;
    let full: Vec<_> = (0..policy::NETWORK_CHALLENGES).map(|_| num(NOW.millis())).collect();
    ann.change(Action::Set(attr("nw").key("10.1.16"), write::Value::L(full))).await;
    let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    let until = NOW + policy::WINDOW;
    assert!(
        matches!(ann.opened(verified, "10.1.16").await, Err(LoginRejection::NetworkFull(NetworkFull { retry_at })) if retry_at == until)
    );
}

/// The row of the refusal does not replace the row that was written before the outcome was known.
#[tokio::test]
async fn refusal_after_correct_password_has_its_own_audit_row() {
    let (ann, _) = ann(0).await;
    let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    ann.change(Action::Set(attr("ac"), write::Value::Bool(false))).await;
    let PasswordChecked::MfaRequired(pending) = verified.decide() else { panic!("no code required") };
    let event = |action, outcome| AuditEvent::new(action, outcome, "r").own(ann.key.user());
    let accepted = event(AuditAction::PasswordAccepted, Outcome::Success);
    let opened = decided(ann.store.open_attempt(pending, "10.0.0", &SystemEntropy, &accepted).await);
    let Err(LoginRejection::Denied(password_attempt)) = opened else { panic!("opened") };
    let refused = event(AuditAction::Login, Outcome::Refused);
    ann.store.record(ann.key.tenant(), password_attempt.attempt(), AttemptEvent::Outcome, &refused).await;
    let page = ann.store.audit(ann.key.tenant(), &AuditFilter::default(), (NOW, NOW), None, 9).await.unwrap();
    let events: Vec<_> = page.items.into_iter().map(|row| row.event).collect();
    assert_eq!(events, [accepted, refused]);
}

/// The audit row of the correct password, which was written before, does not count as the audit row of the sign-in.
#[tokio::test]
async fn sign_in_of_a_contact_excluded_meanwhile_succeeds() {
    let (ann, _) = ann(0).await;
    ann.change(Action::Set(attr("k"), write::text("c"))).await;
    ann.change_all(factor_removal()).await;
    let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    let PasswordChecked::EnrolmentRequired(pending) = verified.decide() else { panic!("no enrolment required") };
    let excluded = item::Exclusion { batch: crate::id::BatchId::parse("b").unwrap(), at: NOW };
    ann.change(Action::Set(attr("ex"), item::value(&excluded).unwrap())).await;
    ann.change(Action::Add(attr("ep"), 1)).await;
    let opened = decided(ann.store.open_attempt(pending, "10.0.0", &SystemEntropy, &ann.event()).await);
    let Err(LoginRejection::UserChanged(verified)) = opened else { panic!("opened") };
    let PasswordChecked::Excluded(excluded) = verified.decide() else { panic!("not excluded") };
    assert!(ann.store.open_excluded_session(excluded, &SystemEntropy, &ann.event()).await.is_ok());
}

/// Attackers who guess passwords for the login name do not delay a known device.
#[tokio::test]
async fn known_device_has_its_own_failure_count() {
    let (ann, tokens) = ann(1).await;
    let device = ann.signed_in(&tokens[0], STEP, NOW).await.unwrap().device.unwrap();
    let device = device.reference();
    for _ in 0..5 {
        ann.password("wrong", None, NOW).await.err().unwrap();
    }
    let charge = decided(ann.store.charge_login(&ann.login, None, &Backoff::at(NOW), &attempt(NOW)).await);
    assert!(charge.is_err());
    for n in 0..4 {
        assert_eq!(ann.password("wrong", Some(device), NOW).await.err().unwrap().failures(), n + 1);
    }
    let later = NOW + Duration::from_secs(86_400);
    let token = ann.challenge(Some(device), later).await;
    let user = ann.read(&ann.key).await;
    assert_eq!(user.devices[device.id()].attempts, 0, "a correct password clears the device's failures");
    let signed_in = ann.signed_in(&token, STEP + 2880, later).await.unwrap();
    assert!(signed_in.device.is_none(), "the device is known already");
    let user = ann.read(&ann.key).await;
    assert_eq!(user.devices[device.id()].ends, later + policy::DEVICE_LIFE, "the device is renewed");
    for _ in 0..5 {
        ann.password("wrong", Some(device), later).await.err().unwrap();
    }
    let charge = decided(ann.store.charge_login(&ann.login, Some(device), &Backoff::at(later), &attempt(later)).await);
    assert!(charge.is_err(), "attempts from the device are delayed too");
    let after = later + policy::DEVICE_LIFE;
    assert!(
        ann.password(PASSWORD, Some(device), after).await.ok().unwrap().password_attempt().device.is_none(),
        "the device has expired"
    );
}

#[tokio::test]
async fn unusable_device_token_is_ignored() {
    let (ann, _) = ann(0).await;
    let bob = ann.key.tenant().user(UserId::parse("u-bob").unwrap());
    for key in [&ann.key, &bob] {
        let unknown =
            NewToken::generate(TokenClass::Device, key, crate::secret::RestoreEpoch::default(), &SystemEntropy)
                .unwrap();
        let password_attempt = ann.password("wrong", Some(unknown.reference()), NOW).await.err().unwrap();
        assert!(password_attempt.device.is_none());
    }
    assert_eq!(ann.password("wrong", None, NOW).await.err().unwrap().failures(), 3);
}

#[tokio::test]
async fn sixth_device_replaces_least_recently_used() {
    let (ann, _) = ann(0).await;
    let mut devices = Vec::new();
    for n in 0..6_i64 {
        let at = NOW + Duration::from_secs(u64::try_from(n * 60).unwrap());
        let token = ann.challenge(None, at).await;
        devices.push(ann.signed_in(&token, STEP + n * 2, at).await.unwrap().device.unwrap());
    }
    let user = ann.read(&ann.key).await;
    assert_eq!(user.devices.len(), policy::DEVICES);
    assert!(!user.devices.contains_key(devices[0].reference().id()));
}

#[tokio::test]
async fn password_of_old_version_or_blocked_user_opens_nothing() {
    let (ann, _) = ann(0).await;
    for (no, yes) in [
        (Action::Set(attr("pv"), num(2)), Action::Set(attr("pv"), num(1))),
        (Action::Set(attr("ac"), write::Value::Bool(false)), Action::Set(attr("ac"), write::Value::Bool(true))),
        (Action::Set(attr("at"), write::text("s")), Action::Set(attr("at"), write::text("l"))),
    ] {
        ann.change(no.clone()).await;
        assert!(ann.password(PASSWORD, None, NOW).await.is_err());
        ann.change(yes).await;
        let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
        ann.change(no).await;
        assert!(matches!(ann.opened(verified, "n").await, Err(LoginRejection::Denied(_))), "changed after the check");
        ann.change(Action::Set(attr("pv"), num(1))).await;
        ann.change(Action::Set(attr("ac"), write::Value::Bool(true))).await;
        ann.change(Action::Set(attr("at"), write::text("l"))).await;
    }
}

#[tokio::test]
async fn excluded_contact_signs_in_by_password_until_promoted() {
    let (ann, _) = ann(0).await;
    let exclusion = item::Exclusion { batch: crate::id::BatchId::parse("b").unwrap(), at: Timestamp::default() };
    let contact = [Action::Set(attr("k"), write::text("c")), Action::Set(attr("ex"), item::value(&exclusion).unwrap())];
    ann.change_all(factor_removal().into_iter().chain(contact).collect()).await;
    let excluded = |verified: VerifiedPassword| match verified.decide() {
        PasswordChecked::Excluded(excluded) => excluded,
        _ => panic!("not excluded"),
    };
    let first = excluded(ann.password(PASSWORD, None, NOW).await.ok().unwrap());
    let second = excluded(ann.password(PASSWORD, None, NOW).await.ok().unwrap());
    let event = ann.event();
    let signed_in = ann.store.open_excluded_session(first, &SystemEntropy, &event).await.unwrap();
    assert_eq!(signed_in.session.ends, NOW + policy::EXCLUDED_SESSION_LIFE);
    ann.change(Action::Set(attr("k"), write::text("e"))).await;
    ann.change(Action::Remove(attr("ex"))).await;
    ann.change(Action::Add(attr("ep"), 1)).await;
    let stale = decided(ann.store.open_excluded_session(second, &SystemEntropy, &event).await);
    let Err(LoginRejection::UserChanged(verified)) = stale else { panic!("signed in, or denied") };
    assert!(matches!(verified.decide(), PasswordChecked::EnrolmentRequired(_)));
}

#[tokio::test]
async fn correct_password_leads_to_next_step() {
    let (ann, _) = ann(0).await;
    let reset = |at| async move { matches!(at, PasswordChecked::ResetRequired(_)) };
    ann.change(Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES))).await;
    assert!(reset(ann.password(PASSWORD, None, NOW).await.ok().unwrap().decide()).await);
    ann.change_all(factor_removal()).await;
    let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    assert!(matches!(verified.decide(), PasswordChecked::EnrolmentRequired(_)));
    let dormant = NOW + policy::DORMANT;
    assert!(reset(ann.password(PASSWORD, None, dormant).await.ok().unwrap().decide()).await);
    ann.change(Action::Set(attr("eb"), num(NOW.secs()))).await;
    assert!(reset(ann.password(PASSWORD, None, NOW).await.ok().unwrap().decide()).await);
}

#[tokio::test]
async fn failures_are_notified_once_a_day() {
    let (ann, _) = ann(0).await;
    let mut at = NOW;
    let mut notified = 0;
    for _ in 0..8 {
        let password_attempt = ann.password("wrong", None, at).await.err().unwrap();
        notified += i32::from(ann.store.notify_failures(&password_attempt).await.unwrap());
        at = at + Duration::from_secs(900);
    }
    assert_eq!(notified, 1);
    let tomorrow = ann.password("wrong", None, NOW + Duration::from_secs(86_400)).await.err().unwrap();
    assert!(ann.store.notify_failures(&tomorrow).await.unwrap());
}

#[tokio::test]
async fn password_hash_is_upgraded_unless_password_changed() {
    let (ann, _) = ann(0).await;
    let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    let again = ann.hash(PASSWORD).await;
    ann.store.upgrade_password_hash(&verified, &again).await;
    assert!(
        ann.password(PASSWORD, None, NOW).await.ok().unwrap().password_attempt().hash().unwrap().as_str()
            == again.as_str()
    );
    // The hash that was checked is no longer stored.
    ann.store.upgrade_password_hash(&verified, &ann.hash("another").await).await;
    assert!(ann.password(PASSWORD, None, NOW).await.is_ok());
}

/// The token of a device whose entry has another verifier.
#[tokio::test]
async fn device_token_with_another_verifier_is_ignored() {
    let (ann, tokens) = ann(1).await;
    let device = ann.signed_in(&tokens[0], STEP, NOW).await.unwrap().device.unwrap();
    let device = device.reference();
    let verifier = attr("d").key(device.id().as_str().to_owned()).key("g");
    ann.change(Action::Set(verifier, write::bytes(&[9; 16]))).await;
    assert!(ann.password("wrong", Some(device), NOW).await.err().unwrap().device.is_none());
    assert_eq!(ann.read(&ann.key).await.devices[device.id()].attempts, 0);
}

#[tokio::test]
async fn fifth_wrong_password_notifies_once_a_day() {
    let (ann, _) = ann(0).await;
    let mut at = NOW;
    let mut attempts = Vec::new();
    for failures in 1..=7 {
        attempts.push(ann.password("wrong", None, at).await.err().unwrap());
        at = at.max(Backoff::retry_at(failures, at))
            + if failures == 6 { Duration::from_secs(86_400) } else { Duration::ZERO };
    }
    // The sixth attempt was made before the notification of the fifth.
    for (attempt, notifies) in attempts[3..].iter().zip([false, true, false, true]) {
        assert_eq!(ann.store.notify_failures(attempt).await.unwrap(), notifies, "{}", attempt.failures());
    }
}

#[tokio::test]
async fn correct_password_is_not_that_of_a_user_created_again() {
    let (ann, _) = ann(0).await;
    let verified = ann.password(PASSWORD, None, NOW).await.ok().unwrap();
    let incarnation = crate::secret::Nonce::generate(&SystemEntropy).unwrap();
    let again = User { incarnation, ..ann.read(&ann.key).await };
    assert!(matches!(verified.rejected_for(again), LoginRejection::Denied(_)));
}

#[tokio::test]
async fn challenge_names_the_device_only_while_it_is_known() {
    let (ann, tokens) = ann(1).await;
    let signed_in = ann.signed_in(&tokens[0], STEP, NOW).await.unwrap();
    let device = signed_in.device.unwrap();
    let verified = ann.password(PASSWORD, Some(device.reference()), NOW).await.ok().unwrap();
    let mut user = ann.read(&ann.key).await;
    let named = |user: &User| verified.challenge(user, &signed_in.token, NOW, "10.0.0").device;
    assert_eq!(named(&user).as_ref(), Some(device.reference().id()));
    user.devices.clear();
    assert_eq!(named(&user), None);
}
