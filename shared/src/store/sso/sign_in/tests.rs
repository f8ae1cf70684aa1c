//! Tests of sign-ins by an assertion.

use std::time::Duration;

use super::*;
use crate::{
    domain::{AuthType, Exclusion},
    env::SystemEntropy,
    id::BatchId,
    secret::{Nonce, TokenRef},
    sso::SsoChecked,
    store::{
        enrolment::EnrolmentToken,
        fixture::{Ann, NOW, ann, at_once, attempt, decided, enrolment, factor_removal, idp},
        item::{Amr, Provisioning},
        session::TokenRejection,
        table::Retry,
        users::{Actor, ChangeRejection, CreationRejection, Patch},
        write::Value,
    },
};

pub(in crate::store::sso) async fn update_user(ann: &Ann, key: &UserKey, actions: Vec<Action>) {
    let write = Write::update(keys::user(key), vec![], actions);
    ann.store.table.update(&write, Retry::Never).await.unwrap();
}

/// Ann, and Bob, who signs in by SSO and has a factor.
pub(in crate::store::sso) async fn ann_with_sso_user() -> (Ann, UserKey) {
    let (ann, _) = ann(0).await;
    let bob = ann.of_idp("bob", Role::Standard, FactorState::Active).await;
    (ann, bob)
}

/// A sign-in by an assertion with this NameID and assertion id.
pub(in crate::store::sso) async fn sso_sign_in(ann: &Ann, name_id: &str, id: &str) -> SsoSignIn {
    ann.owner(ann.asserted(name_id, id, None), NOW).await.unwrap()
}

pub(in crate::store::sso) async fn opened(ann: &Ann, sign_in: SsoSignIn) -> Result<SsoOpened, OpeningRejection> {
    decided(ann.opens(sign_in).await.unwrap())
}

async fn session(ann: &Ann, sign_in: SsoSignIn) -> item::Session {
    match opened(ann, sign_in).await {
        Ok(SsoOpened::SignedIn(it)) => it.signed_in.session,
        _ => panic!("not signed in"),
    }
}

fn subject(ann: &Ann, name_id: &str) -> String {
    ann.names.subject(ann.key.tenant(), &idp().entity_id, name_id)
}

async fn link_user(ann: &Ann, target: &UserKey, name_id: &str) {
    let linked = Some(ann.names.link(ann.key.tenant(), &idp().entity_id, name_id));
    assert!(ann.patch(target, Patch { linked, ..Patch::default() }).await.is_ok());
}

async fn delete_user(ann: &Ann, target: &UserKey) {
    let session = ann.session_of(&ann.key).await;
    let loaded = decided(ann.store.load_user(&session, target.user().clone(), NOW).await);
    let (principal, named) = loaded.ok().unwrap();
    let admin = principal.administrator(NOW).ok().unwrap();
    ann.store.delete_user(&admin, named, &attempt(NOW), &ann.event()).await.unwrap();
}

#[tokio::test]
async fn assertion_and_request_are_used_once() {
    let (ann, bob) = ann_with_sso_user().await;
    let relay = ann.request().await;
    let answer = |id| ann.asserted("bob", id, Some(relay.clone()));
    let (one, same, other) = (answer("1"), answer("1"), answer("2"));
    let (one, same, other) =
        (ann.owner(one, NOW).await.unwrap(), ann.owner(same, NOW).await, ann.owner(other, NOW).await);
    session(&ann, one).await;
    // A used assertion is refused, and so is a used request.
    let again = sso_sign_in(&ann, "bob", "1").await;
    for spent in [same.unwrap(), other.unwrap(), again] {
        assert!(matches!(opened(&ann, spent).await, Err(OpeningRejection::Spent)));
    }
    assert_eq!(ann.read(&bob).await.sessions.len(), 1);
    // An assertion with another id is accepted.
    assert!(ann.owner(ann.asserted("bob", "3", None), NOW).await.is_some());
}

#[tokio::test]
async fn change_of_the_user_during_sign_in_does_not_use_up_the_assertion() {
    let (ann, bob) = ann_with_sso_user().await;
    for (n, actions) in [
        vec![Action::Add(attr("ep"), 1)],
        vec![Action::Set(attr("ac"), Value::Bool(false))],
        vec![Action::Set(attr("ac"), Value::Bool(true)), Action::Set(attr("at"), text("l"))],
        factor_removal().into_iter().chain([Action::Set(attr("at"), text("s"))]).collect(),
        enrolment(),
    ]
    .into_iter()
    .enumerate()
    {
        update_user(&ann, &bob, vec![Action::Set(attr("ac"), Value::Bool(true)), Action::Set(attr("at"), text("s"))])
            .await;
        let sign_in = sso_sign_in(&ann, "bob", "1").await;
        update_user(&ann, &bob, actions).await;
        assert!(matches!(opened(&ann, sign_in).await, Err(OpeningRejection::Stale(_))), "{n}");
    }
    // The returned assertion is not used up.
    session(&ann, sso_sign_in(&ann, "bob", "1").await).await;
    let sign_in = sso_sign_in(&ann, "bob", "2").await;
    delete_user(&ann, &bob).await;
    assert!(matches!(opened(&ann, sign_in).await, Err(OpeningRejection::Stale(_))));
    // Other sign-ins of the user do not make the assertion stale.
    let eve = ann.of_idp("eve", Role::Standard, FactorState::Active).await;
    let sign_in = sso_sign_in(&ann, "eve", "3").await;
    for _ in 0..policy::SESSIONS {
        ann.session_of(&eve).await;
    }
    session(&ann, sign_in).await;
    assert_eq!(ann.read(&eve).await.sessions.len(), policy::SESSIONS);
}

#[tokio::test]
async fn session_of_an_excluded_contact_lasts_eight_hours() {
    let (ann, _) = ann(0).await;
    let con = ann.of_idp("con", Role::Portal, FactorState::None).await;
    let excluded = item::value(&Exclusion { batch: BatchId::parse("b").unwrap(), at: Timestamp::default() }).unwrap();
    update_user(&ann, &con, vec![Action::Set(attr("ex"), excluded)]).await;
    let mut assertion = ann.asserted("con", "1", None);
    assertion.stepped_up = Some(NOW);
    let got = session(&ann, ann.owner(assertion, NOW).await.unwrap()).await;
    assert_eq!((got.amr, got.ends), (Amr::Sso, NOW + policy::EXCLUDED_SESSION_LIFE));
    assert_eq!(got.step_up, None, "a contact without a factor has no step-up");
    let sign_in = sso_sign_in(&ann, "con", "2").await;
    update_user(&ann, &con, vec![Action::Remove(attr("ex"))]).await;
    assert!(
        matches!(opened(&ann, sign_in).await, Err(OpeningRejection::Stale(_))),
        "the exclusion ended before the commit"
    );
    assert!(ann.read(&con).await.sessions.len() == 1);
}

#[tokio::test]
async fn disabled_factor_or_dormant_account_requires_a_reset() {
    let (ann, bob) = ann_with_sso_user().await;
    let full = || vec![Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES))];
    let sign_in = sso_sign_in(&ann, "bob", "1").await;
    update_user(&ann, &bob, full()).await;
    assert!(
        matches!(opened(&ann, sign_in).await, Err(OpeningRejection::Stale(_))),
        "the limit of failures was reached before the commit"
    );
    assert!(ann.opens(sso_sign_in(&ann, "bob", "1").await).await.is_none());
    update_user(&ann, &bob, vec![Action::Set(attr("fs"), text("d"))]).await;
    assert!(ann.opens(sso_sign_in(&ann, "bob", "1").await).await.is_none());
    let eve = ann.of_idp("eve", Role::Standard, FactorState::None).await;
    let late = NOW + policy::DORMANT;
    for (at, opens) in [(late - Duration::from_secs(1), true), (late, false)] {
        let sign_in = ann.owner(ann.asserted("eve", &at.to_string(), None), at).await.unwrap();
        assert_eq!(ann.opens(sign_in).await.is_some(), opens, "dormant at {at}");
    }
    update_user(&ann, &eve, vec![Action::Set(attr("eb"), num(NOW.secs()))]).await;
    assert!(ann.read(&eve).await.enrol_by.is_some());
    assert!(ann.opens(sso_sign_in(&ann, "eve", "2").await).await.is_none(), "the deadline to enrol has passed");
    assert_eq!(ann.read(&eve).await.sessions.len() + ann.read(&bob).await.sessions.len(), 0);
}

#[tokio::test]
async fn session_ends_with_the_idp_session_and_steps_up_only_by_the_authentication_context() {
    let (ann, bob) = ann_with_sso_user().await;
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
        assert_eq!((got.amr, got.ends), (Amr::Sso, NOW + life), "{n}");
        // The step-up has the earlier of the two times: that of the IdP, or now.
        assert_eq!(got.step_up, stepped_up.map(|at| at.min(NOW)), "{n}");
    }
    assert_eq!(ann.read(&bob).await.seen, NOW);
}

#[tokio::test]
async fn enrolment_tokens_are_limited_per_network_and_open_no_session() {
    let (ann, _) = ann(0).await;
    let eve = ann.of_idp("eve", Role::Standard, FactorState::None).await;
    for n in 0..=policy::NETWORK_CHALLENGES {
        let mut assertion = ann.asserted("eve", &n.to_string(), None);
        assertion.stepped_up = Some(NOW);
        let sign_in = ann.owner(assertion, NOW).await.unwrap();
        match opened(&ann, sign_in).await {
            Ok(SsoOpened::EnrolmentRequired { ends, reset_code_required, .. }) => {
                assert!(n < policy::NETWORK_CHALLENGES && ends == NOW + policy::ENROLMENT_LIFE);
                assert!(!reset_code_required);
            }
            Err(OpeningRejection::NetworkFull(NetworkFull { retry_at })) => {
                assert!(n == policy::NETWORK_CHALLENGES && retry_at == NOW + policy::WINDOW);
            }
            _ => panic!("unexpected result"),
        }
    }
    let user = ann.read(&eve).await;
    assert!(user.sessions.is_empty() && user.enrolments.len() == policy::NETWORK_CHALLENGES);
}

/// Normalization would turn each of these names into the login name of another user. A user who registers at the IdP can choose
/// such a name.
#[tokio::test]
async fn look_alike_name_matches_no_user() {
    let (ann, _) = ann_with_sso_user().await;
    ann.of_idp("kim", Role::Standard, FactorState::Active).await;
    ann.of_idp("Strauß", Role::Standard, FactorState::Active).await;
    let why = async |name_id: &str, attribute: Option<&str>| {
        let mut assertion = ann.asserted(name_id, "1", None);
        assertion.attributes.extend(attribute.map(|it| ("Username".to_owned(), vec![it.to_owned()])));
        let owner = decided(ann.store.sso_owner(assertion, &idp(), &ann.names, &attempt(NOW)).await);
        owner.map(|it| it.links()).map_err(|it| it.why)
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
    // The NameID and the attribute are checked separately: NFKC may change an opaque NameID.
    assert_eq!(why("ᵏ", Some("kim")).await, Ok(true));
    assert_eq!(why("kim", Some("ᵏim")).await, Ok(false));
}

/// A link matches the NameID byte for byte.
#[tokio::test]
async fn explicit_link_is_exact() {
    let (ann, bob) = ann_with_sso_user().await;
    link_user(&ann, &bob, "ｋim").await;
    assert_eq!(sso_sign_in(&ann, "ｋim", "1").await.key(), &bob);
    for other in ["kim", "ｋIm"] {
        assert!(ann.owner(ann.asserted(other, "2", None), NOW).await.is_none(), "{other}");
    }
}

/// Three NameIDs compete for one user. The first one is linked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_first_sign_ins_link_one_name_id() {
    let (ann, bob) = ann_with_sso_user().await;
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
    let (mut linked, mut stale) = (Vec::new(), Vec::new());
    for it in opened {
        match it {
            Ok(SsoOpened::SignedIn(it)) => linked.push(it.key),
            Err(OpeningRejection::Stale(assertion)) => stale.push(assertion),
            _ => panic!("unexpected result"),
        }
    }
    assert_eq!((linked, stale.len()), (vec![bob], 2));
    for assertion in stale {
        assert!(ann.owner(assertion, NOW).await.is_none(), "Bob is linked to another NameID");
    }
    assert!(
        ann.owner(ann.asserted("bob", "x", None), NOW).await.is_none(),
        "a linked user does not sign in by the login name"
    );
}

/// An Administrator replaces the link after the link was loaded and before the user is loaded.
#[tokio::test]
async fn replaced_link_matches_no_user() {
    let (ann, bob) = ann_with_sso_user().await;
    link_user(&ann, &bob, "old").await;
    let [old] = ann.store.read_all([keys::subject(bob.tenant(), &subject(&ann, "old"))]).await.unwrap();
    link_user(&ann, &bob, "new").await;
    session(&ann, sso_sign_in(&ann, "new", "1").await).await;
    ann.put(Write::put_new(keys::subject(bob.tenant(), &subject(&ann, "old")), old.unwrap())).await;
    assert!(ann.owner(ann.asserted("old", "2", None), NOW).await.is_none());
}

#[tokio::test]
async fn link_is_deleted_with_its_user_and_not_inherited_by_a_new_user() {
    let (ann, bob) = ann_with_sso_user().await;
    link_user(&ann, &bob, "00u1").await;
    let subject_key = || keys::subject(bob.tenant(), &subject(&ann, "00u1"));
    let [link] = ann.store.read_all([subject_key()]).await.unwrap();
    let earlier_sign_in = sso_sign_in(&ann, "00u1", "1").await;
    delete_user(&ann, &bob).await;
    assert_eq!(ann.store.read_all([subject_key()]).await.unwrap(), [None]);
    // A new user with the same user id and security version.
    let again = ann.of_idp("bob", Role::Standard, FactorState::Active).await;
    assert_eq!(again, bob);
    update_user(&ann, &bob, vec![Action::Set(attr("ep"), num(earlier_sign_in.user.security_version.0))]).await;
    assert!(
        matches!(opened(&ann, earlier_sign_in).await, Err(OpeningRejection::Stale(_))),
        "the sign-in belongs to the deleted user"
    );
    // A restored or edited table may still contain the link.
    ann.put(Write::put_new(subject_key(), link.unwrap())).await;
    assert!(ann.owner(ann.asserted("00u1", "2", None), NOW).await.is_none());
    assert!(ann.read(&bob).await.sessions.is_empty());
}

/// A NameID that is linked cannot be linked to another user. A link is valid for one IdP only.
#[tokio::test]
async fn name_id_is_linked_to_one_user() {
    let (ann, bob) = ann_with_sso_user().await;
    link_user(&ann, &bob, "00u1").await;
    let eve = ann.of_idp("eve", Role::Standard, FactorState::Active).await;
    let link = || ann.names.link(ann.key.tenant(), &idp().entity_id, "00u1");
    let taken = ann.patch(&eve, Patch { linked: Some(link()), ..Patch::default() }).await;
    assert!(matches!(taken, Err(ChangeRejection::SubjectTaken)));
    let new_user = ann.to_be("zoe", Role::Standard).linked(link());
    let made = decided(ann.store.create_user(&Actor::Seed, &new_user, &attempt(NOW), &ann.event()).await);
    assert_eq!(made, Err(CreationRejection::SubjectTaken));
    assert_eq!(sso_sign_in(&ann, "00u1", "1").await.key(), &bob);
    let mut elsewhere = ann.asserted("00u1", "2", None);
    elsewhere.entity_id = "https://other.example".to_owned();
    assert!(ann.owner(elsewhere, NOW).await.is_none());
    assert!(ann.patch(&bob, Patch { auth_type: Some(AuthType::Local), ..Patch::default() }).await.is_ok());
    assert!(ann.owner(ann.asserted("00u1", "3", None), NOW).await.is_none(), "the user no longer signs in by SSO");
}

/// If a NameID is linked to one user and is the login name of another, the wrong user could be signed in.
#[tokio::test]
async fn name_id_that_is_the_login_name_of_another_user_is_ambiguous() {
    let (ann, bob) = ann_with_sso_user().await;
    let eve = ann.of_idp("eve", Role::Standard, FactorState::Active).await;
    let entity_id = idp().entity_id;
    let link = |name_id: &str| ann.names.link(ann.key.tenant(), &entity_id, name_id);
    let linked = |name_id: &str| Patch { linked: Some(link(name_id)), ..Patch::default() };
    for name in ["bob", "BOB", "ｂob"] {
        assert!(matches!(ann.patch(&eve, linked(name)).await, Err(ChangeRejection::Ambiguous)), "{name}");
    }
    let hash = Some(ann.hash("a good long password").await);
    let both = Patch { hash, ..linked("Bob") };
    assert!(ann.patch(&bob, both).await.is_ok(), "his own login name, together with a new password");
    assert!(ann.patch(&eve, linked("zoe")).await.is_ok());
    let create = async |name: &str, name_id: Option<&str>| {
        let mut new_user = ann.to_be(name, Role::Standard).in_tenant_with_idp(&ann.names, &entity_id);
        if let Some(name_id) = name_id {
            new_user = new_user.linked(link(name_id));
        }
        decided(ann.store.create_user(&Actor::Seed, &new_user, &attempt(NOW), &ann.event()).await)
    };
    for (name, name_id, made) in [
        ("zoe", None, Err(CreationRejection::Ambiguous)),
        ("ZOE", None, Err(CreationRejection::Ambiguous)),
        ("zed", Some("eve"), Err(CreationRejection::Ambiguous)),
        ("bob", None, Err(CreationRejection::NameTaken)),
        ("zed", Some("zed"), Ok(())),
    ] {
        assert_eq!(create(name, name_id).await, made, "{name} {name_id:?}");
    }
}

pub(in crate::store::sso) const OTHER_ENTITY_ID: &str = "https://other.example";

pub(in crate::store::sso) async fn session_rejection(ann: &Ann, token: &TokenRef) -> Option<TokenRejection> {
    decided(ann.store.read_session(token, NOW).await).err()
}

/// Configures an IdP whose group `boss` gives the role Administrator.
async fn idp_with_group_mapping(ann: &Ann) -> Idp {
    let names = ["un", "fn", "ln", "em", "g", "co"].map(str::to_owned);
    let [username, first_name, last_name, email, groups, company] = names;
    let administrators = vec!["boss".to_owned()];
    let rules =
        Provisioning { username, first_name, last_name, email, groups, company, only_company: None, administrators };
    Idp { provisioning: Some(rules), ..ann.configures(&idp().entity_id, 1).await }
}

/// A sign-in by an assertion with these groups. `None`: the assertion has no attribute for groups.
async fn sign_in_with_groups(
    ann: &Ann,
    idp: &Idp,
    name_id: &str,
    groups: Option<&[&str]>,
) -> Result<SsoOpened, OpeningRejection> {
    let id = Nonce::generate(&SystemEntropy).unwrap();
    let mut assertion = ann.asserted(name_id, &format!("{id:?}"), None);
    assertion.generation = idp.generation;
    let groups = groups.map(|groups| groups.iter().map(|&group| group.to_owned()).collect());
    assertion.attributes.extend(groups.map(|groups| ("g".to_owned(), groups)));
    let SsoChecked::Granted(grant) = ann.owner(assertion, NOW).await.unwrap().decide() else {
        panic!("a reset is required")
    };
    decided(ann.store.open_sso(grant, idp, "10.0.0", &SystemEntropy, &ann.event()).await)
}

fn session_token(opened: Result<SsoOpened, OpeningRejection>) -> TokenRef {
    let Ok(SsoOpened::SignedIn(it)) = opened else { panic!("not signed in") };
    it.signed_in.token.reference().clone()
}

/// The user's role, whether the user is listed as an active Administrator, and the security version.
async fn role_state(ann: &Ann, key: &UserKey) -> (Role, bool, i64) {
    let (user, listed) = (ann.read(key).await, ann.administrators().await);
    let (active, mark_admin_with_mfa) = (listed.active.contains_key(key.user()), listed.with_mfa.contains(key.user()));
    assert_eq!(active, mark_admin_with_mfa, "the user has a factor");
    (user.role, active, user.security_version.0)
}

async fn set_role_by_groups(ann: &Ann, key: &UserKey) {
    update_user(ann, key, vec![Action::Set(attr("rg"), Value::Bool(true))]).await;
}

#[tokio::test]
async fn groups_are_mapped_at_every_sign_in() {
    let (ann, bob) = ann_with_sso_user().await;
    let idp = idp_with_group_mapping(&ann).await;
    set_role_by_groups(&ann, &bob).await;
    let before = session_token(sign_in_with_groups(&ann, &idp, "bob", Some(&["staff"])).await);
    assert_eq!(role_state(&ann, &bob).await, (Role::Standard, false, 1));
    let Ok(SsoOpened::SignedIn(it)) = sign_in_with_groups(&ann, &idp, "bob", Some(&["x", "boss"])).await else {
        panic!("not signed in")
    };
    assert_eq!(it.user.role, Role::Administrator);
    assert_eq!(role_state(&ann, &bob).await, (Role::Administrator, true, 2));
    assert_eq!(session_rejection(&ann, it.signed_in.token.reference()).await, None);
    assert_eq!(
        session_rejection(&ann, &before).await,
        Some(TokenRejection::RefreshRequired),
        "a change of the role ends earlier sessions"
    );
    sign_in_with_groups(&ann, &idp, "bob", None).await.unwrap();
    sign_in_with_groups(&ann, &idp, "bob", Some(&["boss"])).await.unwrap();
    assert_eq!(
        role_state(&ann, &bob).await,
        (Role::Administrator, true, 2),
        "no groups attribute, or the same role, changes nothing"
    );
    for groups in [&["staff"][..], &[]] {
        let session = session_token(sign_in_with_groups(&ann, &idp, "bob", Some(groups)).await);
        assert!(matches!(role_state(&ann, &bob).await, (Role::Standard, false, _)), "{groups:?}");
        assert_eq!(session_rejection(&ann, &session).await, None);
        sign_in_with_groups(&ann, &idp, "bob", Some(&["boss"])).await.unwrap();
    }
    // If the tenant configures no group for Administrators, no role is mapped.
    let mut none = idp.clone();
    none.provisioning.as_mut().unwrap().administrators.clear();
    for other in [none, Idp { provisioning: None, ..idp.clone() }] {
        sign_in_with_groups(&ann, &other, "bob", Some(&["staff"])).await.unwrap();
        assert!(matches!(role_state(&ann, &bob).await, (Role::Administrator, true, _)));
    }
}

#[tokio::test]
async fn role_given_by_an_administrator_is_not_changed_by_groups() {
    let (ann, bob) = ann_with_sso_user().await;
    let idp = idp_with_group_mapping(&ann).await;
    sign_in_with_groups(&ann, &idp, "bob", Some(&["boss"])).await.unwrap();
    assert_eq!(role_state(&ann, &bob).await, (Role::Standard, false, 1), "the role from the creation stays");
    set_role_by_groups(&ann, &bob).await;
    sign_in_with_groups(&ann, &idp, "bob", Some(&["boss"])).await.unwrap();
    // An Administrator gives the same role, which groups no longer change.
    let given = Patch { role: Some(Role::Administrator), ..Patch::default() };
    assert!(ann.patch(&bob, given).await.is_ok());
    sign_in_with_groups(&ann, &idp, "bob", Some(&["staff"])).await.unwrap();
    assert_eq!(role_state(&ann, &bob).await, (Role::Administrator, true, 3));
    // Other changes by an Administrator leave the role to the groups.
    set_role_by_groups(&ann, &bob).await;
    let set_active = |active| Patch { active: Some(active), ..Patch::default() };
    assert!(ann.patch(&bob, set_active(false)).await.is_ok());
    assert!(ann.patch(&bob, set_active(true)).await.is_ok());
    sign_in_with_groups(&ann, &idp, "bob", Some(&["staff"])).await.unwrap();
    assert!(matches!(role_state(&ann, &bob).await, (Role::Standard, false, _)));
}

#[tokio::test]
async fn last_active_administrator_is_not_demoted_by_groups() {
    let (ann, bob) = ann_with_sso_user().await;
    let idp = idp_with_group_mapping(&ann).await;
    set_role_by_groups(&ann, &bob).await;
    sign_in_with_groups(&ann, &idp, "bob", Some(&["boss"])).await.unwrap();
    let active_entry = attr("act").key(ann.key.user().as_str().to_owned());
    ann.put(Write::update(keys::administrators(ann.key.tenant()), vec![], vec![Action::Remove(active_entry)])).await;
    let session = session_token(sign_in_with_groups(&ann, &idp, "bob", Some(&["staff"])).await);
    assert_eq!(session_rejection(&ann, &session).await, None);
    assert!(matches!(role_state(&ann, &bob).await, (Role::Administrator, true, 2)));
}

/// The role stays after the session ends, so it must not come from an IdP that is no longer configured.
#[tokio::test]
async fn replaced_or_removed_idp_gives_no_role() {
    let (ann, bob) = ann_with_sso_user().await;
    let idp = idp_with_group_mapping(&ann).await;
    set_role_by_groups(&ann, &bob).await;
    ann.configures(OTHER_ENTITY_ID, 2).await;
    assert!(matches!(sign_in_with_groups(&ann, &idp, "bob", Some(&["boss"])).await, Err(OpeningRejection::Spent)));
    ann.removes_idp().await;
    assert!(matches!(sign_in_with_groups(&ann, &idp, "bob", Some(&["boss"])).await, Err(OpeningRejection::Spent)));
    assert_eq!(role_state(&ann, &bob).await, (Role::Standard, false, 1));
}

#[tokio::test]
async fn replaced_or_removed_idp_creates_no_administrator() {
    let (ann, _) = ann_with_sso_user().await;
    let idp = idp_with_group_mapping(&ann).await;
    let assertion = Assertion { generation: idp.generation, ..ann.asserted("zoe", "1", None) };
    let create = async |name: &str, role: Role| {
        let (actor, new_user) = (Actor::Idp(&assertion), ann.to_be(name, role));
        decided(ann.store.create_user(&actor, &new_user, &attempt(NOW), &ann.event()).await)
    };
    assert_eq!(create("boss", Role::Administrator).await, Ok(()));
    ann.configures(OTHER_ENTITY_ID, 2).await;
    assert_eq!(create("late", Role::Administrator).await, Err(CreationRejection::ActorRevoked));
    ann.removes_idp().await;
    assert_eq!(create("late", Role::Administrator).await, Err(CreationRejection::ActorRevoked));
    assert_eq!(create("staff", Role::Standard).await, Ok(()));
}

#[tokio::test]
async fn groups_are_mapped_when_enrolment_is_required() {
    let (ann, _) = ann_with_sso_user().await;
    let eve = ann.of_idp("eve", Role::Standard, FactorState::None).await;
    let idp = idp_with_group_mapping(&ann).await;
    set_role_by_groups(&ann, &eve).await;
    let Ok(SsoOpened::EnrolmentRequired { token, .. }) = sign_in_with_groups(&ann, &idp, "eve", Some(&["boss"])).await
    else {
        panic!("no enrolment is required")
    };
    assert_eq!(ann.read(&eve).await.role, Role::Administrator);
    let listed = ann.administrators().await;
    assert!(listed.active.contains_key(eve.user()) && !listed.with_mfa.contains(eve.user()));
    let token = EnrolmentToken::new(token.reference().clone()).unwrap();
    assert!(ann.store.authorize_enrolment(token, None, &attempt(NOW)).await.is_ok());
}

#[tokio::test]
async fn removed_idp_is_not_configured_any_more() {
    let (ann, _) = ann_with_sso_user().await;
    let write = still_configured(&ann.asserted("bob", "1", None));
    assert!(write.apply(Some(write.key().attributes())).is_ok() && write.apply(None).is_err());
}
