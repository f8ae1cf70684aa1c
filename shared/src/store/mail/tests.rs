use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    audit::AuditAction,
    auth::mail_token::{InvalidMailToken, PasswordResetRejection},
    domain::{MailPurpose, Role},
    env::SystemEntropy,
    id::{MessageId, UserKey},
    language::Language,
    mail_order::{MailOrder, OrderedMail},
    secret::{LoginKey, RestoreEpoch, TokenRef},
    store::{
        OperationError,
        fixture::{Ann, NOW, ann, ann_of, at_once, attempt, decided},
        interleaved::InterleavedTable,
        memory::MemoryTable,
        users::Patch,
        write::text,
    },
};

const ADDRESS: &str = "ann@acme.example";

/// Gives a user an address.
async fn addressed(ann: &Ann, key: &UserKey, verified: bool) {
    ann.put(Write::update(keys::profile(key), vec![], vec![Action::Set(attr("em"), text(ADDRESS))])).await;
    ann.put(Write::update(keys::user(key), vec![], vec![Action::Set(attr("ev"), Value::Bool(verified))])).await;
}

async fn ann_with_address() -> Ann {
    let (ann, _) = ann(1).await;
    addressed(&ann, &ann.key, true).await;
    ann
}

fn order(mail: OrderedMail) -> MailOrder {
    let id = MessageId::generate(&SystemEntropy).unwrap();
    MailOrder { id, request_id: "r".to_owned(), language: Language::English, mail }
}

fn reset_order(ann: &Ann) -> MailOrder {
    order(OrderedMail::reset(&ann.login, "10.0.0".to_owned()))
}

async fn issue(ann: &Ann, order: &MailOrder) -> Result<IssuedToken, IssueRejection> {
    decided(ann.store.issue_mail_token(order, &attempt(NOW), &SystemEntropy).await)
}

async fn issued(ann: &Ann) -> TokenRef {
    issue(ann, &reset_order(ann)).await.ok().unwrap().token.reference().clone()
}

async fn reset(ann: &Ann, token: &TokenRef) -> Result<(), ResetPasswordError> {
    let Ok(user) = ann.store.load_mail_token(token).await else {
        return Err(OperationError::Rejected(PasswordResetRejection::Token(InvalidMailToken)));
    };
    let hash = ann.hash("another good password").await;
    ann.store.reset_password(token, user, &hash, &attempt(NOW), &ann.event()).await
}

#[tokio::test]
async fn network_makes_twenty_requests_in_any_hour() {
    let (ann, _) = ann(0).await;
    let charge = async |network, at: Timestamp| ann.store.charge_mail_request(network, &attempt(at)).await;
    let minute = |n: u64| NOW + Duration::from_secs(60 * n);
    for n in 0..20 {
        assert!(charge("10.0.0", minute(n)).await.is_ok(), "{n}");
    }
    let refused = decided(charge("10.0.0", minute(59)).await);
    assert_eq!(refused, Err(Exhausted { retry_at: minute(60) }));
    assert!(charge("10.0.1", minute(59)).await.is_ok(), "another network");
    assert!(charge("10.0.0", minute(60)).await.is_ok());
    assert!(charge("10.0.0", minute(60)).await.is_err());
}

#[tokio::test]
async fn reset_token_sets_the_password_and_clears_its_failures() {
    let ann = ann_with_address().await;
    ann.put(Write::update(keys::login(&ann.login), vec![], vec![Action::Set(attr("n"), num(7))])).await;
    let issued = issue(&ann, &reset_order(&ann)).await.ok().unwrap();
    assert_eq!(
        (issued.address.as_str(), issued.company.as_str(), issued.purpose),
        (ADDRESS, "Acme", MailPurpose::Reset)
    );
    let token = issued.token.reference();
    let before = ann.read(&ann.key).await;
    reset(&ann, token).await.unwrap();
    let after = ann.read(&ann.key).await;
    assert!(after.challenges.is_empty() && after.mail_tokens.is_empty() && after.factor == before.factor);
    let [row] = ann.store.read_all([keys::login(&ann.login)]).await.unwrap();
    let row: crate::domain::LoginRow = crate::store::item::read(row.unwrap()).unwrap();
    assert_eq!((row.attempts, row.version), (0, Some(after.password_version)));
    assert!(ann.password("another good password", None, NOW).await.is_ok());
    assert!(ann.rows().await.iter().any(|row| row.action == AuditAction::PasswordResetMailed));
}

#[tokio::test]
async fn one_of_32_uses_of_a_token_sets_the_password() {
    let ann = Arc::new(ann_with_address().await);
    let token = issued(&ann).await;
    let uses = at_once((0..32).map(|_| {
        let (ann, token) = (Arc::clone(&ann), token.clone());
        async move { reset(&ann, &token).await }
    }))
    .await;
    assert_eq!(uses.iter().filter(|used| used.is_ok()).count(), 1);
    let invalid =
        |used: &Result<(), _>| matches!(used, Err(ResetPasswordError::Rejected(PasswordResetRejection::Token(_))));
    assert_eq!(uses.iter().filter(|used| invalid(used)).count(), 31);
    assert_eq!(ann.read(&ann.key).await.password_version.0, 2);
}

#[tokio::test]
async fn message_delivered_twice_leaves_one_token_and_counts_once() {
    let ann = ann_with_address().await;
    let order = reset_order(&ann);
    let first = issue(&ann, &order).await.ok().unwrap();
    let second = issue(&ann, &order).await.ok().unwrap();
    assert_eq!(ann.read(&ann.key).await.mail_tokens.len(), 1);
    assert!(reset(&ann, first.token.reference()).await.is_err());
    ann.store.mark_mail_sent(&second.mail()).await.unwrap();
    assert!(matches!(issue(&ann, &order).await, Err(IssueRejection::NotCharged(NotCharged::Sent))));
    assert!(reset(&ann, second.token.reference()).await.is_ok());
    assert!(
        matches!(issue(&ann, &order).await, Err(IssueRejection::NotCharged(NotCharged::Sent))),
        "also after its use"
    );
}

#[tokio::test]
async fn fourth_mail_of_a_network_in_an_hour_is_not_made() {
    let ann = ann_with_address().await;
    for _ in 0..3 {
        issued(&ann).await;
    }
    assert!(matches!(issue(&ann, &reset_order(&ann)).await, Err(IssueRejection::NotCharged(NotCharged::TooMany))));
}

#[tokio::test]
async fn concurrent_messages_are_all_counted() {
    let ann = Arc::new(ann_with_address().await);
    let made = at_once((0..8).map(|_| {
        let ann = Arc::clone(&ann);
        async move { issue(&ann, &reset_order(&ann)).await.is_ok() }
    }))
    .await;
    assert_eq!(made.into_iter().filter(|made| *made).count(), 3);
}

#[tokio::test]
async fn unknown_name_and_user_without_verified_address_get_no_token() {
    let (ann, _) = ann(0).await;
    assert!(matches!(issue(&ann, &reset_order(&ann)).await, Err(IssueRejection::NoMail(MailRejection::NoAddress))));
    addressed(&ann, &ann.key, false).await;
    assert!(matches!(issue(&ann, &reset_order(&ann)).await, Err(IssueRejection::NoMail(MailRejection::NoAddress))));
    let unknown = ann.names.login(ann.key.tenant(), &crate::id::LoginName::fold("nobody"));
    let unknown = order(OrderedMail::reset(&unknown, "10.0.0".to_owned()));
    assert!(matches!(issue(&ann, &unknown).await, Err(IssueRejection::NoUser)));
    assert!(ann.read(&ann.key).await.mail_tokens.is_empty());
}

#[tokio::test]
async fn invitation_is_for_users_without_a_password() {
    let (ann, _) = ann(0).await;
    addressed(&ann, &ann.key, false).await;
    let invitation = order(OrderedMail::invitation(&ann.key, ann.key.user()));
    assert!(matches!(issue(&ann, &invitation).await, Err(IssueRejection::NoMail(MailRejection::HasPassword))));
    let bob = ann.someone("bob", Role::Standard).await;
    addressed(&ann, &bob, false).await;
    let invitation = order(OrderedMail::invitation(&bob, ann.key.user()));
    let token = issue(&ann, &invitation).await.ok().unwrap().token.reference().clone();
    reset(&ann, &token).await.unwrap();
    assert!(ann.read(&bob).await.email_verified);
}

#[tokio::test]
async fn verification_token_verifies_once() {
    let (ann, _) = ann(0).await;
    addressed(&ann, &ann.key, false).await;
    let order = order(OrderedMail::verification(&ann.key, "10.0.0".to_owned()));
    let token = issue(&ann, &order).await.ok().unwrap().token.reference().clone();
    assert!(reset(&ann, &token).await.is_err());
    let verify = async || {
        let user = ann.store.load_mail_token(&token).await.ok().unwrap();
        ann.store.verify_email(&token, user, &attempt(NOW), &ann.event()).await
    };
    assert!(verify().await.is_ok() && ann.read(&ann.key).await.email_verified);
    assert!(matches!(verify().await, Err(MailTokenError::Rejected(_))));
}

#[tokio::test]
async fn token_is_void_after_a_change_of_address_or_password_and_after_deactivation() {
    let email = || Patch { email: Some("new@acme.example".to_owned()), ..Patch::default() };
    let inactive = || Patch { active: Some(false), ..Patch::default() };
    let (ann, _) = ann(0).await;
    let password = Patch { hash: Some(ann.hash("set by an Administrator").await), ..Patch::default() };
    for (name, patch) in [("address", email()), ("activity", inactive()), ("password", password)] {
        let bob = ann.someone(&format!("bob-{name}"), Role::Standard).await;
        addressed(&ann, &bob, false).await;
        let invitation = order(OrderedMail::invitation(&bob, ann.key.user()));
        let token = issue(&ann, &invitation).await.ok().unwrap().token.reference().clone();
        assert!(ann.patch(&bob, patch).await.is_ok());
        assert!(reset(&ann, &token).await.is_err(), "{name}");
        let bob = ann.read(&bob).await;
        assert!(bob.mail_tokens.is_empty() && !bob.email_verified, "{name}");
    }
}

#[tokio::test]
async fn unchanged_address_stays_verified() {
    let ann = ann_with_address().await;
    let token = issued(&ann).await;
    let patch = Patch { email: Some(ADDRESS.to_owned()), ..Patch::default() };
    assert!(ann.patch(&ann.key, patch).await.is_ok());
    assert!(reset(&ann, &token).await.is_ok());
}

#[tokio::test]
async fn token_of_an_earlier_restore_epoch_is_void() {
    let ann = ann_with_address().await;
    let token = issue(&ann, &reset_order(&ann)).await.ok().unwrap().token;
    let text = token.into_text();
    let epoch = RestoreEpoch { number: 1, since: NOW };
    let later = TokenRef::parse(&text, epoch).unwrap();
    assert!(reset(&ann, &later).await.is_err());
    assert!(reset(&ann, &TokenRef::parse(&text, RestoreEpoch::default()).unwrap()).await.is_ok());
}

#[tokio::test]
async fn address_changed_while_a_token_is_made_gets_no_token() {
    let table = Arc::new(InterleavedTable::over(Arc::new(MemoryTable::default())));
    let (ann, _) = ann_of("acme", Arc::<InterleavedTable>::clone(&table), 0).await;
    addressed(&ann, &ann.key, true).await;
    let ann = Arc::new(ann);
    let other = Arc::clone(&ann);
    // Only the profile, as if the worker had read the user after the change and the profile before.
    table.before_write(1, async move {
        let changed = vec![Action::Set(attr("em"), text("new@acme.example"))];
        other.put(Write::update(keys::profile(&other.key), vec![], changed)).await;
    });
    let issued = issue(&ann, &reset_order(&ann)).await.ok().unwrap();
    assert!(!table.waits());
    assert_eq!(issued.address, "new@acme.example", "the mail does not go to the former address");
}

/// Two deliveries of a message at once: what one has sent, the other does not send again.
#[tokio::test]
async fn mail_that_was_sent_while_its_message_is_delivered_again_is_not_sent_twice() {
    let table = Arc::new(InterleavedTable::over(Arc::new(MemoryTable::default())));
    let (ann, _) = ann_of("acme", Arc::<InterleavedTable>::clone(&table), 0).await;
    addressed(&ann, &ann.key, true).await;
    let (order, ann) = (reset_order(&ann), Arc::new(ann));
    let first = issue(&ann, &order).await.ok().unwrap();
    let other = Arc::clone(&ann);
    table.before_write(1, async move { other.store.mark_mail_sent(&first.mail()).await.unwrap() });
    assert!(matches!(issue(&ann, &order).await, Err(IssueRejection::NotCharged(NotCharged::Sent))));
    assert!(!table.waits());
}

/// A login name that gets another user while the worker reads is not that of this mail any more.
#[tokio::test]
async fn login_name_that_changes_hands_while_a_mail_is_made_gets_no_token() {
    let table = Arc::new(InterleavedTable::over(Arc::new(MemoryTable::default())));
    let (ann, _) = ann_of("acme", Arc::<InterleavedTable>::clone(&table), 0).await;
    let (bob, ann) = (ann.someone("bob", Role::Standard).await, Arc::new(ann));
    addressed(&ann, &bob, false).await;
    let login = LoginKey::of(bob.tenant(), &ann.read(&bob).await.login_digest);
    let invitation = order(OrderedMail::invitation(&bob, ann.key.user()));
    let other = Arc::clone(&ann);
    table.after_read(1, async move {
        let taken = vec![Action::Set(attr("uid"), text(other.key.user().as_str()))];
        other.put(Write::update(keys::login(&login), vec![], taken)).await;
    });
    assert!(matches!(issue(&ann, &invitation).await, Err(IssueRejection::NoUser)));
    assert!(!table.waits());
}

#[tokio::test]
async fn password_set_while_a_token_is_used_is_kept() {
    let table = Arc::new(InterleavedTable::over(Arc::new(MemoryTable::default())));
    let (ann, _) = ann_of("acme", Arc::<InterleavedTable>::clone(&table), 0).await;
    addressed(&ann, &ann.key, true).await;
    let ann = Arc::new(ann);
    let token = issued(&ann).await;
    let other = Arc::clone(&ann);
    table.before_write(1, async move {
        let second = issued(&other).await;
        reset(&other, &second).await.unwrap();
    });
    assert!(reset(&ann, &token).await.is_err());
    assert_eq!(ann.read(&ann.key).await.password_version.0, 2);
}
