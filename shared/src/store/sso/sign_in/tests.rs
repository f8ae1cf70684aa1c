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
        fixture::{Ann, NOW, ann, at_once, attempt, enrolment, idp},
        item::{Amr, Provisioning},
        session::NoSession,
        table::Retry,
        users::{Actor, Changed, Created, Patch},
        write::Value,
    },
};

pub(in crate::store::sso) async fn set(ann: &Ann, key: &UserKey, actions: Vec<Action>) {
    let write = Write::update(keys::user(key), vec![], actions);
    ann.store.table.update(&write, Retry::Never).await.unwrap();
}

/// Ann with Bob, who comes from the IdP and has a factor.
pub(in crate::store::sso) async fn office() -> (Ann, UserKey) {
    let (ann, _) = ann(0).await;
    let bob = ann.of_idp("bob", Role::Standard, FactorState::Active).await;
    (ann, bob)
}

/// A sign-in of somebody, under an id of its own.
pub(in crate::store::sso) async fn arrives(ann: &Ann, name_id: &str, id: &str) -> SsoSignIn {
    ann.owner(ann.asserted(name_id, id, None), NOW).await.unwrap()
}

pub(in crate::store::sso) async fn opened(ann: &Ann, sign_in: SsoSignIn) -> SsoOpened {
    ann.opens(sign_in).await.unwrap().unwrap()
}

async fn session(ann: &Ann, sign_in: SsoSignIn) -> item::Session {
    match opened(ann, sign_in).await {
        SsoOpened::SignedIn(it) => it.signed_in.session,
        _ => panic!("not signed in"),
    }
}

fn subject(ann: &Ann, name_id: &str) -> String {
    ann.names.subject(ann.key.tenant(), &idp().entity_id, name_id)
}

async fn links(ann: &Ann, target: &UserKey, name_id: &str) {
    let linked = Some(ann.names.link(ann.key.tenant(), &idp().entity_id, name_id));
    assert!(matches!(ann.patch(target, Patch { linked, ..Patch::default() }).await, Changed::Done(_)));
}

async fn delete(ann: &Ann, target: &UserKey) {
    let session = ann.session_of(&ann.key).await;
    let loaded = ann.store.load_user(&session, target.user().clone(), NOW).await.unwrap();
    let (principal, named) = loaded.ok().unwrap();
    let admin = principal.administrator(NOW).ok().unwrap();
    let gone = ann.store.delete_user(&admin, named, &attempt(NOW), &ann.event()).await.unwrap();
    assert!(matches!(gone, Changed::Done(_)));
}

#[tokio::test]
async fn an_assertion_and_a_request_are_spent_once() {
    let (ann, bob) = office().await;
    let relay = ann.request().await;
    let answer = |id| ann.asserted("bob", id, Some(relay.clone()));
    let (one, same, other) = (answer("1"), answer("1"), answer("2"));
    let (one, same, other) =
        (ann.owner(one, NOW).await.unwrap(), ann.owner(same, NOW).await, ann.owner(other, NOW).await);
    session(&ann, one).await;
    // Each alone is enough to be refused.
    let again = arrives(&ann, "bob", "1").await;
    for spent in [same.unwrap(), other.unwrap(), again] {
        assert!(matches!(opened(&ann, spent).await, SsoOpened::Spent));
    }
    assert_eq!(ann.read(&bob).await.sessions.len(), 1);
    // Another tenant's assertion of that id is another one.
    assert!(ann.owner(ann.asserted("bob", "3", None), NOW).await.is_some());
}

#[tokio::test]
async fn somebody_who_changed_meanwhile_is_looked_at_again_and_loses_nothing() {
    let (ann, bob) = office().await;
    for (n, actions) in [
        vec![Action::Add(attr("ep"), 1)],
        vec![Action::Set(attr("ac"), Value::Bool(false))],
        vec![Action::Set(attr("ac"), Value::Bool(true)), Action::Set(attr("at"), text("l"))],
        vec![Action::Set(attr("at"), text("s")), Action::Set(attr("fs"), text("n"))],
        enrolment(),
    ]
    .into_iter()
    .enumerate()
    {
        set(&ann, &bob, vec![Action::Set(attr("ac"), Value::Bool(true)), Action::Set(attr("at"), text("s"))]).await;
        let sign_in = arrives(&ann, "bob", "1").await;
        set(&ann, &bob, actions).await;
        assert!(matches!(opened(&ann, sign_in).await, SsoOpened::Stale(_)), "{n}");
    }
    // The assertion that came back was not spent.
    session(&ann, arrives(&ann, "bob", "1").await).await;
    let sign_in = arrives(&ann, "bob", "2").await;
    delete(&ann, &bob).await;
    assert!(matches!(opened(&ann, sign_in).await, SsoOpened::Stale(_)));
    // A busy day of theirs is none of it.
    let eve = ann.of_idp("eve", Role::Standard, FactorState::Active).await;
    let sign_in = arrives(&ann, "eve", "3").await;
    for _ in 0..policy::SESSIONS {
        ann.session_of(&eve).await;
    }
    session(&ann, sign_in).await;
    assert_eq!(ann.read(&eve).await.sessions.len(), policy::SESSIONS);
}

#[tokio::test]
async fn an_excluded_contact_is_signed_in_for_eight_hours() {
    let (ann, _) = ann(0).await;
    let con = ann.of_idp("con", Role::Portal, FactorState::None).await;
    let excluded = item::value(&Exclusion { batch: BatchId::parse("b").unwrap(), at: 0 }).unwrap();
    set(&ann, &con, vec![Action::Set(attr("ex"), excluded)]).await;
    let mut assertion = ann.asserted("con", "1", None);
    assertion.stepped_up = Some(NOW);
    let got = session(&ann, ann.owner(assertion, NOW).await.unwrap()).await;
    assert_eq!((got.amr, got.ends), (Amr::Sso, (NOW + policy::EXEMPT_SESSION_LIFE).secs()));
    assert_eq!(got.step_up, 0, "who has no factor steps up by nothing");
    let sign_in = arrives(&ann, "con", "2").await;
    set(&ann, &con, vec![Action::Remove(attr("ex"))]).await;
    assert!(matches!(opened(&ann, sign_in).await, SsoOpened::Stale(_)), "the exclusion has ended");
    assert!(ann.read(&con).await.sessions.len() == 1);
}

#[tokio::test]
async fn a_factor_that_is_gone_or_an_account_left_alone_needs_a_reset() {
    let (ann, bob) = office().await;
    let full = || vec![Action::Set(attr("row"), num(policy::MAX_CONSECUTIVE_FAILURES))];
    let sign_in = arrives(&ann, "bob", "1").await;
    set(&ann, &bob, full()).await;
    assert!(matches!(opened(&ann, sign_in).await, SsoOpened::Stale(_)), "full meanwhile");
    assert!(ann.opens(arrives(&ann, "bob", "1").await).await.is_none());
    set(&ann, &bob, vec![Action::Set(attr("fs"), text("d"))]).await;
    assert!(ann.opens(arrives(&ann, "bob", "1").await).await.is_none());
    let eve = ann.of_idp("eve", Role::Standard, FactorState::None).await;
    let late = NOW + policy::DORMANT;
    for (at, opens) in [(late - Duration::from_secs(1), true), (late, false)] {
        let sign_in = ann.owner(ann.asserted("eve", &at.to_string(), None), at).await.unwrap();
        assert_eq!(ann.opens(sign_in).await.is_some(), opens, "dormant");
    }
    set(&ann, &eve, vec![Action::Set(attr("eb"), num(NOW.secs()))]).await;
    assert!(ann.read(&eve).await.enrol_by.is_some());
    assert!(ann.opens(arrives(&ann, "eve", "2").await).await.is_none(), "too late to enrol");
    assert_eq!(ann.read(&eve).await.sessions.len() + ann.read(&bob).await.sessions.len(), 0);
}

#[tokio::test]
async fn a_session_ends_with_the_idps_and_steps_up_by_its_context_alone() {
    let (ann, bob) = office().await;
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
        assert_eq!((got.amr, got.ends), (Amr::Sso, (NOW + life).secs()), "{n}");
        // Dated by the older of the two.
        assert_eq!(got.step_up, stepped_up.map_or(0, |at| at.min(NOW).secs()), "{n}");
    }
    assert_eq!(ann.read(&bob).await.seen, NOW.secs());
}

#[tokio::test]
async fn enrolment_tokens_are_counted_for_a_network_and_none_is_a_session() {
    let (ann, _) = ann(0).await;
    let eve = ann.of_idp("eve", Role::Standard, FactorState::None).await;
    for n in 0..=policy::NETWORK_CHALLENGES {
        let mut assertion = ann.asserted("eve", &n.to_string(), None);
        assertion.stepped_up = Some(NOW);
        let sign_in = ann.owner(assertion, NOW).await.unwrap();
        match opened(&ann, sign_in).await {
            SsoOpened::EnrolmentRequired { ends, reset_code_required, .. } => {
                assert!(n < policy::NETWORK_CHALLENGES && ends == NOW + policy::ENROLMENT_LIFE);
                assert!(!reset_code_required);
            }
            SsoOpened::TooMany { retry_at } => {
                assert!(n == policy::NETWORK_CHALLENGES && retry_at == NOW + policy::WINDOW);
            }
            _ => panic!("neither"),
        }
    }
    let user = ann.read(&eve).await;
    assert!(user.sessions.is_empty() && user.enrolments.len() == policy::NETWORK_CHALLENGES);
}

/// Each would find the same login name by folding; whoever can register at the IdP chooses them.
#[tokio::test]
async fn look_alike_name_is_nobodys() {
    let (ann, _) = office().await;
    ann.of_idp("kim", Role::Standard, FactorState::Active).await;
    ann.of_idp("Strauß", Role::Standard, FactorState::Active).await;
    let why = async |name_id: &str, attribute: Option<&str>| {
        let mut assertion = ann.asserted(name_id, "1", None);
        assertion.attributes.extend(attribute.map(|it| ("Username".to_owned(), vec![it.to_owned()])));
        let owner = ann.store.sso_owner(assertion, &idp(), &ann.names, &attempt(NOW)).await.unwrap();
        owner.map(|it| it.links()).map_err(|(_, why)| why)
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
    // Each name is looked at for itself: an opaque NameID may be of any form.
    assert_eq!(why("ᵏ", Some("kim")).await, Ok(true));
    assert_eq!(why("kim", Some("ᵏim")).await, Ok(false));
}

/// A link is what the IdP says, byte for byte.
#[tokio::test]
async fn explicit_link_is_exact() {
    let (ann, bob) = office().await;
    links(&ann, &bob, "ｋim").await;
    assert_eq!(arrives(&ann, "ｋim", "1").await.key(), &bob);
    for other in ["kim", "ｋIm"] {
        assert!(ann.owner(ann.asserted(other, "2", None), NOW).await.is_none(), "{other}");
    }
}

/// Two names of the IdP's and one person: whoever is first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_first_sign_in_links_once_and_to_nobody_who_is_called_otherwise() {
    let (ann, bob) = office().await;
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
    let (mut linked, mut moved) = (Vec::new(), Vec::new());
    for it in opened {
        match it {
            SsoOpened::SignedIn(it) => linked.push(it.key),
            SsoOpened::Stale(assertion) => moved.push(assertion),
            _ => panic!("neither"),
        }
    }
    assert_eq!((linked, moved.len()), (vec![bob], 2));
    for assertion in moved {
        assert!(ann.owner(assertion, NOW).await.is_none(), "he is called something else");
    }
    assert!(ann.owner(ann.asserted("bob", "x", None), NOW).await.is_none(), "nor by his login name");
}

/// An Administrator has linked them anew between the read of the link and the read of the person.
#[tokio::test]
async fn a_link_that_was_replaced_is_nobodys() {
    let (ann, bob) = office().await;
    links(&ann, &bob, "old").await;
    let [old] = ann.store.read_all([keys::subject(bob.tenant(), &subject(&ann, "old"))]).await.unwrap();
    links(&ann, &bob, "new").await;
    session(&ann, arrives(&ann, "new", "1").await).await;
    ann.put(Write::put_new(keys::subject(bob.tenant(), &subject(&ann, "old")), old.unwrap())).await;
    assert!(ann.owner(ann.asserted("old", "2", None), NOW).await.is_none());
}

#[tokio::test]
async fn a_link_goes_with_its_person_and_a_namesake_does_not_inherit_it() {
    let (ann, bob) = office().await;
    links(&ann, &bob, "00u1").await;
    let place = || keys::subject(bob.tenant(), &subject(&ann, "00u1"));
    let [link] = ann.store.read_all([place()]).await.unwrap();
    let meanwhile = arrives(&ann, "00u1", "1").await;
    delete(&ann, &bob).await;
    assert_eq!(ann.store.read_all([place()]).await.unwrap(), [None]);
    // The same id and epoch, another person.
    let again = ann.of_idp("bob", Role::Standard, FactorState::Active).await;
    assert_eq!(again, bob);
    set(&ann, &bob, vec![Action::Set(attr("ep"), num(meanwhile.user.security_version))]).await;
    assert!(matches!(opened(&ann, meanwhile).await, SsoOpened::Stale(_)), "begun by the one who is gone");
    // A link that a restored or edited table has kept.
    ann.put(Write::put_new(place(), link.unwrap())).await;
    assert!(ann.owner(ann.asserted("00u1", "2", None), NOW).await.is_none());
    assert!(ann.read(&bob).await.sessions.is_empty());
}

/// Who has the name stays; a link is by the IdP, and a tenant's.
#[tokio::test]
async fn a_name_of_the_idps_is_one_persons() {
    let (ann, bob) = office().await;
    links(&ann, &bob, "00u1").await;
    let eve = ann.of_idp("eve", Role::Standard, FactorState::Active).await;
    let link = || ann.names.link(ann.key.tenant(), &idp().entity_id, "00u1");
    let taken = ann.patch(&eve, Patch { linked: Some(link()), ..Patch::default() }).await;
    assert!(matches!(taken, Changed::SubjectTaken));
    let person = ann.to_be("zoe", Role::Standard).linked(link());
    let made = ann.store.create_user(&Actor::Seed, &person, &attempt(NOW), &ann.event()).await.unwrap();
    assert_eq!(made, Created::SubjectTaken);
    assert_eq!(arrives(&ann, "00u1", "1").await.key(), &bob);
    let mut elsewhere = ann.asserted("00u1", "2", None);
    elsewhere.entity_id = "https://other.example".to_owned();
    assert!(ann.owner(elsewhere, NOW).await.is_none());
    assert!(matches!(
        ann.patch(&bob, Patch { auth_type: Some(AuthType::Local), ..Patch::default() }).await,
        Changed::Done(_)
    ));
    assert!(ann.owner(ann.asserted("00u1", "3", None), NOW).await.is_none(), "not of this door any more");
}

/// A name that were one person's by a link and another's by the login name would sign in the wrong one of them.
#[tokio::test]
async fn login_name_of_one_is_not_what_the_idp_calls_another() {
    let (ann, bob) = office().await;
    let eve = ann.of_idp("eve", Role::Standard, FactorState::Active).await;
    let entity_id = idp().entity_id;
    let link = |name_id: &str| ann.names.link(ann.key.tenant(), &entity_id, name_id);
    let linked = |name_id: &str| Patch { linked: Some(link(name_id)), ..Patch::default() };
    for name in ["bob", "BOB", "ｂob"] {
        assert!(matches!(ann.patch(&eve, linked(name)).await, Changed::Ambiguous), "{name}");
    }
    let hash = Some(ann.hash("a good long password").await);
    let both = Patch { hash, ..linked("Bob") };
    assert!(matches!(ann.patch(&bob, both).await, Changed::Done(_)), "his own, beside a new password of that name");
    assert!(matches!(ann.patch(&eve, linked("zoe")).await, Changed::Done(_)));
    let create = async |name: &str, name_id: Option<&str>| {
        let mut person = ann.to_be(name, Role::Standard).in_tenant_with_idp(&ann.names, &entity_id);
        if let Some(name_id) = name_id {
            person = person.linked(link(name_id));
        }
        ann.store.create_user(&Actor::Seed, &person, &attempt(NOW), &ann.event()).await.unwrap()
    };
    for (name, name_id, made) in [
        ("zoe", None, Created::Ambiguous),
        ("ZOE", None, Created::Ambiguous),
        ("zed", Some("eve"), Created::Ambiguous),
        ("bob", None, Created::NameTaken),
        ("zed", Some("zed"), Created::Done),
    ] {
        assert_eq!(create(name, name_id).await, made, "{name} {name_id:?}");
    }
}

pub(in crate::store::sso) const OTHER: &str = "https://other.example";

pub(in crate::store::sso) async fn refused(ann: &Ann, token: &TokenRef) -> Option<NoSession> {
    ann.store.read_session(token, NOW).await.unwrap().err()
}

/// An IdP whose group `boss` administers, configured.
async fn mapping(ann: &Ann) -> Idp {
    let names = ["un", "fn", "ln", "em", "g", "co"].map(str::to_owned);
    let [username, first_name, last_name, email, groups, company] = names;
    let administrators = vec!["boss".to_owned()];
    let rules =
        Provisioning { username, first_name, last_name, email, groups, company, only_company: None, administrators };
    Idp { provisioning: Some(rules), ..ann.configures(&idp().entity_id, 1).await }
}

/// A sign-in that says groups, or none.
async fn comes(ann: &Ann, idp: &Idp, name_id: &str, groups: Option<&[&str]>) -> SsoOpened {
    let id = Nonce::generate(&SystemEntropy).unwrap();
    let mut assertion = ann.asserted(name_id, &format!("{id:?}"), None);
    assertion.generation = idp.generation;
    let groups = groups.map(|groups| groups.iter().map(|&group| group.to_owned()).collect());
    assertion.attributes.extend(groups.map(|groups| ("g".to_owned(), groups)));
    let SsoChecked::Granted(grant) = ann.owner(assertion, NOW).await.unwrap().decide() else { panic!("reset") };
    ann.store.open_sso(grant, idp, "10.0.0", &SystemEntropy, &ann.event()).await.unwrap()
}

fn session_token(opened: SsoOpened) -> TokenRef {
    let SsoOpened::SignedIn(it) = opened else { panic!("not signed in") };
    it.signed_in.token.reference().clone()
}

/// Their role, whether they are listed as an Administrator, and their epoch.
async fn standing(ann: &Ann, key: &UserKey) -> (Role, bool, i64) {
    let (user, listed) = (ann.read(key).await, ann.administrators().await);
    let (active, mark_admin_with_mfa) =
        (listed.active.contains_key(key.user()), listed.with_mfa.contains_key(key.user()));
    assert_eq!(active, mark_admin_with_mfa, "he has a factor");
    (user.role, active, user.security_version)
}

async fn by_groups(ann: &Ann, key: &UserKey) {
    set(ann, key, vec![Action::Set(attr("rg"), Value::Bool(true))]).await;
}

#[tokio::test]
async fn groups_are_mapped_at_every_sign_in() {
    let (ann, bob) = office().await;
    let idp = mapping(&ann).await;
    by_groups(&ann, &bob).await;
    let before = session_token(comes(&ann, &idp, "bob", Some(&["staff"])).await);
    assert_eq!(standing(&ann, &bob).await, (Role::Standard, false, 1));
    let SsoOpened::SignedIn(it) = comes(&ann, &idp, "bob", Some(&["x", "boss"])).await else { panic!("no") };
    assert_eq!(it.user.role, Role::Administrator);
    assert_eq!(standing(&ann, &bob).await, (Role::Administrator, true, 2));
    assert_eq!(refused(&ann, it.signed_in.token.reference()).await, None);
    assert_eq!(refused(&ann, &before).await, Some(NoSession::RefreshRequired), "as after every change of a role");
    comes(&ann, &idp, "bob", None).await;
    comes(&ann, &idp, "bob", Some(&["boss"])).await;
    assert_eq!(standing(&ann, &bob).await, (Role::Administrator, true, 2), "it does not say, or says so");
    for groups in [&["staff"][..], &[]] {
        let session = session_token(comes(&ann, &idp, "bob", Some(groups)).await);
        assert!(matches!(standing(&ann, &bob).await, (Role::Standard, false, _)), "{groups:?}");
        assert_eq!(refused(&ann, &session).await, None);
        comes(&ann, &idp, "bob", Some(&["boss"])).await;
    }
    // Where the tenant names no group for it, none is mapped.
    let mut none = idp.clone();
    none.provisioning.as_mut().unwrap().administrators.clear();
    for other in [none, Idp { provisioning: None, ..idp.clone() }] {
        comes(&ann, &other, "bob", Some(&["staff"])).await;
        assert!(matches!(standing(&ann, &bob).await, (Role::Administrator, true, _)));
    }
}

#[tokio::test]
async fn role_that_an_administrator_gave_stays() {
    let (ann, bob) = office().await;
    let idp = mapping(&ann).await;
    comes(&ann, &idp, "bob", Some(&["boss"])).await;
    assert_eq!(standing(&ann, &bob).await, (Role::Standard, false, 1), "as he was created");
    by_groups(&ann, &bob).await;
    comes(&ann, &idp, "bob", Some(&["boss"])).await;
    // The same role, and an Administrator's now.
    let given = Patch { role: Some(Role::Administrator), ..Patch::default() };
    assert!(matches!(ann.patch(&bob, given).await, Changed::Done(_)));
    comes(&ann, &idp, "bob", Some(&["staff"])).await;
    assert_eq!(standing(&ann, &bob).await, (Role::Administrator, true, 3));
    // Another change takes nothing over.
    by_groups(&ann, &bob).await;
    let inactive = |active| Patch { active: Some(active), ..Patch::default() };
    assert!(matches!(ann.patch(&bob, inactive(false)).await, Changed::Done(_)));
    assert!(matches!(ann.patch(&bob, inactive(true)).await, Changed::Done(_)));
    comes(&ann, &idp, "bob", Some(&["staff"])).await;
    assert!(matches!(standing(&ann, &bob).await, (Role::Standard, false, _)));
}

#[tokio::test]
async fn last_active_administrator_stays_one_whatever_the_groups() {
    let (ann, bob) = office().await;
    let idp = mapping(&ann).await;
    by_groups(&ann, &bob).await;
    comes(&ann, &idp, "bob", Some(&["boss"])).await;
    let act = attr("act").key(ann.key.user().as_str().to_owned());
    ann.put(Write::update(keys::administrators(ann.key.tenant()), vec![], vec![Action::Remove(act)])).await;
    let session = session_token(comes(&ann, &idp, "bob", Some(&["staff"])).await);
    assert_eq!(refused(&ann, &session).await, None);
    assert!(matches!(standing(&ann, &bob).await, (Role::Administrator, true, 2)));
}

/// A role outlives the session that it came with.
#[tokio::test]
async fn role_is_not_given_by_an_idp_that_ended() {
    let (ann, bob) = office().await;
    let idp = mapping(&ann).await;
    by_groups(&ann, &bob).await;
    ann.configures(OTHER, 2).await;
    assert!(matches!(comes(&ann, &idp, "bob", Some(&["boss"])).await, SsoOpened::Spent));
    ann.removes_idp().await;
    assert!(matches!(comes(&ann, &idp, "bob", Some(&["boss"])).await, SsoOpened::Spent));
    assert_eq!(standing(&ann, &bob).await, (Role::Standard, false, 1));
}

#[tokio::test]
async fn groups_are_mapped_where_enrolment_is_due() {
    let (ann, _) = office().await;
    let eve = ann.of_idp("eve", Role::Standard, FactorState::None).await;
    let idp = mapping(&ann).await;
    by_groups(&ann, &eve).await;
    let SsoOpened::EnrolmentRequired { token, .. } = comes(&ann, &idp, "eve", Some(&["boss"])).await else {
        panic!("signed in")
    };
    assert_eq!(ann.read(&eve).await.role, Role::Administrator);
    let listed = ann.administrators().await;
    assert!(listed.active.contains_key(eve.user()) && !listed.with_mfa.contains_key(eve.user()));
    let token = EnrolmentToken::new(token.reference().clone()).unwrap();
    assert!(ann.store.may_enrol(token, None, &attempt(NOW)).await.unwrap().is_ok());
}
