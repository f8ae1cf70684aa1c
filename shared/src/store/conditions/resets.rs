//! Resets while the target, the caller or the other Administrators change.

use std::time::Duration;

use super::*;
use crate::{
    domain::{Factor, TimeStep},
    env::{SystemEntropy, Timestamp},
    id::{TenantId, UserId},
    recovery::ResetCode,
    secret::{LoginKey, Nonce, TokenRef},
    store::{
        OperatorEvents,
        fixture::{ann, authenticator, person},
        item::{self, Administrators, Kind, ResetCodeFor, User},
        reset::{MfaResetRejection, NotSoleAdministrator, ResetUser, SupportResetRejection},
        session::AdminContext,
        users::Actor,
    },
};

async fn reset(ann: &Ann, session: &TokenRef, target: &UserId) -> Result<ResetUser, MfaResetRejection> {
    reset_at(ann, session, target, NOW).await
}

async fn reset_at(
    ann: &Ann,
    session: &TokenRef,
    target: &UserId,
    at: Timestamp,
) -> Result<ResetUser, MfaResetRejection> {
    let (principal, target) = ann.store.load_reset(session, target.clone(), at).await.unwrap();
    let admin = principal.administrator(at).ok().unwrap();
    let code = ResetCode::generate(&SystemEntropy).unwrap().digest(&ann.codes, target.key());
    decided(ann.store.reset_mfa(&admin, target, code, &attempt(at), &ann.event()).await)
}

/// Configures the tenant so that every user gets a reset code.
async fn codes_for_everyone(ann: &Ann) {
    let everyone = Action::Set(attr("rcf"), item::value(&ResetCodeFor::Everyone).unwrap());
    ann.put(Write::update(keys::tenant(ann.key.tenant()), vec![], vec![everyone])).await;
}

async fn enrolled(ann: &Ann, name: &str) -> UserKey {
    let key = ann.someone(name, Role::Standard).await;
    set(ann, &key, enrolment()).await;
    key
}

/// Resets Bob, who becomes an Administrator before the write: he gets a reset code, and is not among the Administrators with a
/// factor.
async fn reset_treats_bob_as_administrator(ann: &Ann, session: &TokenRef, bob: &UserKey) {
    let Ok(done) = reset(ann, session, bob.user()).await else { panic!("not reset") };
    assert!(done.user.reset_code_required);
    let user = ann.read(bob).await;
    assert!(user.factor.state() == FactorState::None && user.reset_code.is_some());
    assert!(registry_matches_user(ann, bob).await);
}

#[tokio::test]
async fn reset_is_retried_when_security_version_changed_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let (bob, session) = (enrolled(&ann, "bob").await, ann.session_of(&ann.key).await);
    let (other, key) = (Arc::clone(&ann), bob.clone());
    table.before_write(1, async move {
        assert!(other.patch(&key, promoted()).await.is_ok());
    });
    reset_treats_bob_as_administrator(&ann, &session, &bob).await;
    assert!(!table.waits());
}

#[tokio::test]
async fn reset_is_retried_when_id_was_reused_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let (bob, session) = (enrolled(&ann, "bob").await, ann.session_of(&ann.key).await);
    let (other, key) = (Arc::clone(&ann), bob.clone());
    table.before_write(1, async move {
        assert!(delete(&other, &key).await.is_ok());
        other.someone("bob", Role::Administrator).await;
    });
    reset_treats_bob_as_administrator(&ann, &session, &bob).await;
    assert!(!table.waits());
}

/// A reset by support is refused because another Administrator enrols meanwhile.
async fn support_reset_is_refused_during_enrolment(ann: &Arc<Ann>, table: &InterleavedTable) {
    let other = Arc::clone(ann);
    table.before_write(1, async move {
        let incarnation = Nonce::generate(&SystemEntropy).unwrap();
        let amy = User {
            factor: Factor::Active(authenticator()),
            ..person(Kind::Employee, Role::Administrator, incarnation)
        };
        other.add(&user_of(&other, "u-amy"), &amy).await;
    });
    let before = ann.read(&ann.key).await;
    assert!(matches!(
        support_reset(ann, &Actor::Seed, &ann.login).await,
        Err(SupportResetRejection::NotSoleAdministrator(NotSoleAdministrator::AnotherCanReset))
    ));
    assert!(!table.waits() && ann.read(&ann.key).await == before);
}

#[tokio::test]
async fn support_reset_is_refused_when_another_administrator_enrolled_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    support_reset_is_refused_during_enrolment(&ann, &table).await;
}

#[tokio::test]
async fn support_reset_without_factor_is_refused_when_another_administrator_enrolled_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    set(&ann, &ann.key, vec![Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES))]).await;
    let full = ann.read(&ann.key).await;
    ann.store.disable_factor(&ann.key, &full, &attempt(NOW), &ann.event()).await.unwrap();
    assert!(ann.administrators().await.with_mfa.is_empty());
    support_reset_is_refused_during_enrolment(&ann, &table).await;
}

async fn support_reset(ann: &Ann, actor: &Actor<'_>, login: &LoginKey) -> Result<ResetUser, SupportResetRejection> {
    let target = ann.store.load_support_reset_by_name(login.clone(), ann.names.ticket("T-1")).await.unwrap();
    let code = ResetCode::generate(&SystemEntropy).unwrap();
    let (digest, event) = (|key: &UserKey| code.digest(&ann.codes, key), ann.event());
    let events = OperatorEvents { in_support: &event, in_tenant: &event };
    decided(ann.store.reset_sole_administrator(actor, target, &digest, &attempt(NOW), &events).await)
}

#[tokio::test]
async fn support_reset_of_non_administrator_is_refused() {
    let (ann, _) = ann(0).await;
    let bob = enrolled(&ann, "bob").await;
    set(&ann, &ann.key, vec![Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES))]).await;
    let full = ann.read(&ann.key).await;
    ann.store.disable_factor(&ann.key, &full, &attempt(NOW), &ann.event()).await.unwrap();
    let before = ann.read(&bob).await;
    let login = ann.names.login(bob.tenant(), &crate::id::LoginName::fold("bob"));
    assert!(matches!(
        support_reset(&ann, &Actor::Seed, &login).await,
        Err(SupportResetRejection::NotSoleAdministrator(NotSoleAdministrator::NotAnAdministrator))
    ));
    assert!(ann.read(&bob).await == before);
}

/// The other Administrators are notified of the reset of an Administrator. A repeat is recorded as a renewal of the reset code.
#[tokio::test]
async fn reset_of_administrator_notifies_others_and_repeat_is_a_renewal() {
    let (ann, _) = ann(0).await;
    let (bob, session) = (enrolled(&ann, "bob").await, ann.session_of(&ann.key).await);
    codes_for_everyone(&ann).await;
    let amy = ann.someone("amy", Role::Administrator).await;
    for (target, administrator) in [(&bob, false), (&amy, true)] {
        for repeat in [false, true] {
            assert!(reset(&ann, &session, target.user()).await.is_ok());
            let rows = ann.rows().await;
            let renewed = rows.iter().filter(|row| row.action == crate::audit::AuditAction::ResetCodeRenewed).count();
            let notified = rows.iter().filter(|row| row.notify.contains(&crate::audit::Notify::Administrators)).count();
            assert_eq!(renewed, usize::from(administrator) + usize::from(repeat));
            assert_eq!(notified, usize::from(administrator));
        }
    }
}

/// An operator of support, signed in, with login name `op`.
async fn operator(ann: &Ann) -> (UserKey, LoginKey, AdminContext) {
    let key = TenantId::support().user(UserId::parse("u-op").unwrap());
    let login = ann.names.login(key.tenant(), &crate::id::LoginName::fold("op"));
    let incarnation = Nonce::generate(&SystemEntropy).unwrap();
    let user = User { login_digest: login.digest().to_owned(), ..person(Kind::Employee, Role::Operator, incarnation) };
    let row = item::LoginRow { uid: Some(key.user().clone()), ..item::LoginRow::default() };
    let tenant = item_at(ann, keys::tenant(ann.key.tenant())).await.unwrap();
    ann.put(Write::put_new(keys::tenant(key.tenant()), tenant)).await;
    let nobody = item::write(&Administrators::default()).unwrap();
    ann.put(Write::put_new(keys::administrators(key.tenant()), nobody)).await;
    ann.put(Write::put_new(keys::login(&login), item::write(&row).unwrap())).await;
    ann.add(&key, &user).await;
    let session = ann.session_of(&key).await;
    let principal = ann.store.read_session(&session, NOW).await.unwrap();
    (key, login, principal.operator(NOW).ok().unwrap())
}

#[tokio::test]
async fn operators_cannot_reset_themselves() {
    let (ann, _) = ann(0).await;
    let (key, login, admin) = operator(&ann).await;
    let before = ann.read(&key).await;
    assert!(matches!(
        support_reset(&ann, &Actor::AdminContext(&admin), &login).await,
        Err(SupportResetRejection::SelfReset)
    ));
    assert!(ann.read(&key).await == before);
}

#[tokio::test]
async fn support_reset_is_refused_when_operator_lost_right_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let (key, _, admin) = operator(&ann).await;
    let before = ann.read(&ann.key).await;
    let other = Arc::clone(&ann);
    table.before_write(1, async move { set(&other, &key, vec![Action::Add(attr("ep"), 1)]).await });
    assert!(matches!(
        support_reset(&ann, &Actor::AdminContext(&admin), &ann.login).await,
        Err(SupportResetRejection::ActorRevoked)
    ));
    assert!(!table.waits() && ann.read(&ann.key).await == before);
}

#[tokio::test]
async fn support_reset_is_retried_when_administrator_changed_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let (_, _, admin) = operator(&ann).await;
    let other = Arc::clone(&ann);
    table.before_write(1, async move { other.change(Action::Add(attr("ep"), 1)).await });
    let done = support_reset(&ann, &Actor::AdminContext(&admin), &ann.login).await;
    assert!(done.is_ok() && !table.waits());
    assert_eq!(ann.read(&ann.key).await.security_version.0, 3);
}

/// A second reset is a repeat only until the deadline for the enrolment.
#[tokio::test]
async fn reset_after_enrolment_deadline_is_new_and_counted() {
    let (ann, _) = ann(0).await;
    let (bob, session) = (enrolled(&ann, "bob").await, ann.session_of(&ann.key).await);
    assert!(reset(&ann, &session, bob.user()).await.is_ok());
    let late = NOW + policy::ENROL_WINDOW + Duration::from_secs(1);
    let step = TimeStep::of(late);
    let session = ann.signed_in(&ann.challenge(None, late).await, step, late).await.unwrap().token;
    let Ok(done) = reset_at(&ann, session.reference(), bob.user(), late).await else { panic!("not reset") };
    assert_eq!(done.enrol_by.secs(), (late + policy::ENROL_WINDOW).secs());
    assert_eq!((ann.read(&bob).await.security_version.0, ann.read(&ann.key).await.resets.len()), (3, 1));
}

#[tokio::test]
async fn every_user_gets_reset_code_if_tenant_requires_it() {
    let (ann, _) = ann(0).await;
    let (bob, session) = (enrolled(&ann, "bob").await, ann.session_of(&ann.key).await);
    codes_for_everyone(&ann).await;
    let Ok(done) = reset(&ann, &session, bob.user()).await else { panic!("not reset") };
    assert!(done.user.reset_code_required && ann.read(&bob).await.reset_code.is_some());
}

#[tokio::test]
async fn repeated_reset_requires_code_if_first_did() {
    let (ann, _) = ann(0).await;
    let (bob, session) = (enrolled(&ann, "bob").await, ann.session_of(&ann.key).await);
    assert!(matches!(reset(&ann, &session, bob.user()).await, Ok(done) if !done.user.reset_code_required));
    codes_for_everyone(&ann).await;
    assert!(matches!(reset(&ann, &session, bob.user()).await, Ok(done) if !done.user.reset_code_required));
    assert!(ann.read(&bob).await.reset_code.is_none());
}

#[tokio::test]
async fn ticket_used_meanwhile_is_refused() {
    let (ann, table, _) = interleaved(0).await;
    let (before, other) = (ann.read(&ann.key).await, Arc::clone(&ann));
    table.before_write(1, async move {
        let ticket = keys::ticket(&other.names.ticket("T-1"));
        other.put(Write::put_new(ticket, Item::from([("u".to_owned(), text("u-else"))]))).await;
    });
    assert!(matches!(support_reset(&ann, &Actor::Seed, &ann.login).await, Err(SupportResetRejection::TicketUsed)));
    assert!(!table.waits() && ann.read(&ann.key).await == before);
}

#[tokio::test]
async fn reset_code_is_not_renewed_when_caller_lost_right_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let (amy, session) = (ann.someone("amy", Role::Administrator).await, ann.session_of(&ann.key).await);
    assert!(reset(&ann, &session, amy.user()).await.is_ok());
    let (before, other) = (ann.read(&amy).await, Arc::clone(&ann));
    table.before_write(1, async move { other.change(Action::Add(attr("ep"), 1)).await });
    assert!(matches!(reset(&ann, &session, amy.user()).await, Err(MfaResetRejection::ActorRevoked)));
    assert!(!table.waits() && ann.read(&amy).await == before);
}

#[tokio::test]
async fn reset_code_is_not_renewed_when_user_enrolled_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let (amy, session) = (ann.someone("amy", Role::Administrator).await, ann.session_of(&ann.key).await);
    assert!(reset(&ann, &session, amy.user()).await.is_ok());
    let (other, key) = (Arc::clone(&ann), amy.clone());
    table.before_write(1, async move {
        let mut enrolled = enrolment();
        enrolled.push(Action::Add(attr("ep"), 1));
        enrolled.extend(["rc", "rq", "eb"].map(|name| Action::Remove(attr(name))));
        set(&other, &key, enrolled).await;
    });
    assert!(reset(&ann, &session, amy.user()).await.is_ok());
    assert!(!table.waits() && ann.read(&amy).await.factor.state() == FactorState::None, "the user is reset again");
    assert_eq!(ann.read(&ann.key).await.resets.len(), 2);
}

#[tokio::test]
async fn reset_is_refused_when_tenant_budget_was_spent_meanwhile() {
    let (ann, table, _) = interleaved(0).await;
    let (bob, session) = (enrolled(&ann, "bob").await, ann.session_of(&ann.key).await);
    let (before, other) = (ann.read(&bob).await, Arc::clone(&ann));
    table.before_write(1, async move {
        let spent = vec![num(NOW.millis()); policy::TENANT_RESETS];
        let budget = Item::from([("w".to_owned(), crate::store::write::Value::L(spent))]);
        other.put(Write::put_new(keys::reset_budget(other.key.tenant()), budget)).await;
    });
    assert!(matches!(reset(&ann, &session, bob.user()).await, Err(MfaResetRejection::OverBudget { .. })));
    assert!(!table.waits() && ann.read(&bob).await == before);
}
