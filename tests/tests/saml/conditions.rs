//! The conditions of the profile (S03).

use serde_json::json;
use vestibule::{env::Timestamp, saml::Fault};

use super::{between, fixture, later};

/// S03: each condition of the profile, violated or missing.
#[tokio::test]
async fn s03_every_violated_condition_is_refused() {
    let fixture = &fixture().await;
    let other = || Some("https://login.example.com/v1/sso/globex/acs".to_owned());
    fixture
        .assert_refused_with("issuer", Fault::Issuer, |spec| spec.issuer = "https://idp.example/globex".into())
        .await;
    fixture
        .assert_refused_with("status", Fault::Status, |spec| {
            spec.status = "urn:oasis:names:tc:SAML:2.0:status:Responder".into()
        })
        .await;
    fixture.assert_refused_with("destination", Fault::Destination, |spec| spec.destination = other()).await;
    fixture.assert_refused_with("recipient", Fault::Recipient, |spec| spec.recipient = other()).await;
    fixture.assert_refused_with("no recipient", Fault::Recipient, |spec| spec.recipient = None).await;
    fixture
        .assert_refused_with("audience", Fault::Audience, |spec| {
            spec.audience = Some("https://login.example.com/v1/sso/globex/metadata".into())
        })
        .await;
    fixture.assert_refused_with("no audience", Fault::Audience, |spec| spec.audience = None).await;
    fixture
        .assert_refused_with("a second audience restriction without us", Fault::Audience, |spec| {
            spec.conditions =
                "<saml:AudienceRestriction><saml:Audience>x</saml:Audience></saml:AudienceRestriction>".into();
        })
        .await;
    fixture
        .assert_refused_with("an unknown condition", Fault::Conditions, |spec| {
            spec.conditions = r#"<x:Only xmlns:x="urn:x"/>"#.into()
        })
        .await;
    fixture.assert_refused_with("no request", Fault::InResponseTo, |spec| spec.in_response_to = None).await;
    fixture
        .assert_refused_with("another request", Fault::InResponseTo, |spec| spec.in_response_to = Some("_0".into()))
        .await;
    fixture
        .assert_refused_with("not the bearer", Fault::Confirmation, |spec| {
            spec.method = "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches".into()
        })
        .await;
    // These conditions are known, and change nothing: each assertion is accepted once, and none is passed on.
    let (authn_request, mut spec) = fixture.valid("bob").await;
    spec.conditions = "<saml:OneTimeUse/><saml:ProxyRestriction/>".into();
    fixture.service.acs("acme", &spec.sign_assertion(&fixture.idp), &authn_request.relay_state).await.ok();
}

/// S03: times and subjects.
#[tokio::test]
async fn s03_invalid_times_and_subjects_are_refused() {
    let fixture = &fixture().await;
    fixture.assert_refused_with("expired", Fault::Expired, |spec| spec.not_on_or_after = later(spec.issued, -60)).await;
    fixture.assert_refused_with("not yet", Fault::NotYetValid, |spec| spec.not_before = later(spec.issued, 61)).await;
    fixture
        .assert_refused_with("issued in the future", Fault::NotYetValid, |spec| spec.issued = later(spec.issued, 61))
        .await;
    fixture
        .assert_refused_with("valid for too long", Fault::TooLong, |spec| {
            spec.not_on_or_after = later(spec.issued, 86_401)
        })
        .await;
    fixture
        .assert_refused_with("a session that has ended", Fault::Expired, |spec| spec.session_ends = Some(spec.issued))
        .await;
    for (what, name_id) in [
        ("an empty name", ""),
        ("an element in the name", "<b>bob</b>"),
        ("a line break", "bob&#10;"),
        ("a processing instruction", "<?x y?>bob"),
    ] {
        fixture.assert_refused_with(what, Fault::Subject, |spec| spec.name_id = name_id.into()).await;
    }
    // A clock difference of up to a minute is allowed in both directions.
    for (before, after) in [(60, 300), (-30, -59)] {
        let (authn_request, mut spec) = fixture.valid("bob").await;
        (spec.not_before, spec.not_on_or_after) = (later(spec.issued, before), later(spec.issued, after));
        fixture.service.acs("acme", &spec.sign_assertion(&fixture.idp), &authn_request.relay_state).await.ok();
    }
    let (authn_request, mut spec) = fixture.valid("bob").await;
    spec.session_ends = Some(later(spec.issued, 600));
    let until = spec.assertion().replace("SessionNotOnOrAfter=\"", "SessionNotOnOrAfter=\"soon, ");
    let response = spec.response(&fixture.idp.sign(&until, &spec.assertion_id));
    fixture.assert_refused("an invalid session end", &response, &authn_request, Fault::Time).await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let silent = between(&spec.assertion(), "<saml:AuthnStatement", "</saml:AuthnStatement>").to_owned();
    let silent = spec.response(&fixture.idp.sign(&spec.assertion().replace(&silent, ""), &spec.assertion_id));
    fixture.service.acs("acme", &silent, &authn_request.relay_state).await.ok();
    let (authn_request, spec) = fixture.valid("bob").await;
    let whole = fixture.idp.sign(
        &spec.response(&spec.assertion()).replace(&format!(" Destination=\"{}\"", fixture.acme.acs_url), ""),
        &spec.response_id,
    );
    fixture.assert_refused("a signed response without destination", &whole, &authn_request, Fault::Destination).await;
}

/// Replaces the first occurrence of `from`, which must exist.
fn edited(text: String, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

/// S03: each rule violated alone. The test above violates some rules in two places at once.
#[tokio::test]
async fn s03_each_single_violation_is_refused() {
    let fixture = &fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    // In the signed assertion; the response around it is valid.
    let id = format!("InResponseTo=\"{}\"", authn_request.id);
    let recipient = format!("Recipient=\"{}\"", fixture.acme.acs_url);
    let (until, over) = (format!("NotOnOrAfter=\"{}\"", spec.not_on_or_after), later(spec.issued, -60));
    let over = format!("NotOnOrAfter=\"{over}\"");
    let ahead = format!("NotBefore=\"{}\"", later(spec.issued, 61));
    let confirmation = |with: &str| (format!("Data {until}"), format!("Data {with}"));
    let condition = |with: &str| (format!("{until}>"), format!("{with}>"));
    let own = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let conditions = spec.assertion();
    let conditions = between(&conditions, "<saml:Conditions", "</saml:Conditions>");
    for (what, (from, to), rule) in [
        ("issuer", own("idp.example/acme<", "idp.example/globex<"), Fault::Issuer),
        ("version", own("Version=\"2.0\"", "Version=\"1.1\""), Fault::Response),
        ("no issue time", own(&format!(" IssueInstant=\"{}\"", spec.issued), ""), Fault::Time),
        ("confirmation expired", confirmation(&over), Fault::Expired),
        ("confirmation with invalid end", confirmation("NotOnOrAfter=\"soon\""), Fault::Time),
        ("confirmation with invalid start", confirmation(&format!("{until} NotBefore=\"soon\"")), Fault::Time),
        ("conditions with invalid end", condition("NotOnOrAfter=\"soon\""), Fault::Time),
        ("confirmation not yet valid", confirmation(&format!("{until} {ahead}")), Fault::NotYetValid),
        ("confirmation without end", confirmation(""), Fault::Confirmation),
        ("conditions expired", condition(&over), Fault::Expired),
        ("no conditions", own(conditions, ""), Fault::Audience),
        ("another request", own(&id, "InResponseTo=\"_0\""), Fault::InResponseTo),
        ("no request", own(&id, ""), Fault::InResponseTo),
        (
            "attribute of another namespace",
            own(&recipient, &format!("xmlns:x=\"urn:x\" x:{recipient}")),
            Fault::Recipient,
        ),
        ("two names", own("</saml:NameID>", "</saml:NameID><saml:NameID>eve</saml:NameID>"), Fault::Subject),
        ("a long name", own(">bob<", &format!(">{}<", "b".repeat(257))), Fault::Subject),
    ] {
        let assertion = fixture.idp.sign(&edited(spec.assertion(), &from, &to), &spec.assertion_id);
        fixture.assert_refused(what, &spec.response(&assertion), &authn_request, rule).await;
    }
    let long =
        fixture.idp.sign(&spec.assertion().replace(">bob<", &format!(">{}<", "b".repeat(256))), &spec.assertion_id);
    let reply = fixture.service.acs("acme", &spec.response(&long), &authn_request.relay_state).await;
    assert_eq!(fixture.refusal_reason(&reply).await, "unknown_subject");
}

/// S03: each rule of the response violated alone; only the assertion is signed.
#[tokio::test]
async fn s03_each_single_violation_of_the_response_is_refused() {
    let fixture = &fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let id = format!("InResponseTo=\"{}\"", authn_request.id);
    let status = "<samlp:Status><samlp:StatusCode Value=\"x\"/></samlp:Status>";
    for (what, from, to, rule) in [
        ("issuer", "idp.example/acme<", "idp.example/globex<", Fault::Issuer),
        ("version", "Version=\"2.0\"", "Version=\"1.1\"", Fault::Response),
        ("another request", id.as_str(), "InResponseTo=\"_0\"", Fault::InResponseTo),
        ("two statuses", "<saml:Assertion", &format!("{status}<saml:Assertion"), Fault::Status),
    ] {
        let response = edited(spec.sign_assertion(&fixture.idp), from, to);
        fixture.assert_refused(what, &response, &authn_request, rule).await;
    }
    // Only a signed response must have a destination.
    let (other_request, other) = fixture.valid("bob").await;
    let destination = format!(" Destination=\"{}\"", fixture.acme.acs_url);
    let response = edited(other.sign_assertion(&fixture.idp), &destination, "");
    fixture.service.acs("acme", &response, &other_request.relay_state).await.ok();
    // An assertion without id could be replayed without limit.
    let nameless = spec.assertion().replace(&spec.assertion_id, "");
    let whole = fixture.idp.sign(&spec.response(&nameless), &spec.response_id);
    fixture.assert_refused("no id", &whole, &authn_request, Fault::Assertions).await;
    fixture.service.acs("acme", &spec.sign_assertion(&fixture.idp), &authn_request.relay_state).await.ok();
}

/// The IdP's clock may be a minute ahead. Of several authentication statements that count, the oldest does.
#[tokio::test]
async fn idp_step_up_dates_from_the_earlier_of_now_and_authn_instant() {
    let fixture = fixture().await;
    let mfa = "https://refeds.org/profile/mfa";
    let mut fields = fixture.idp.fields();
    fields["mfa_contexts"] = json!([mfa]);
    fixture.service.put("/v1/admin/sso", &fixture.ann, fields).await.ok();
    let stepped_up = async |ahead: &[i64]| {
        let authn_request = fixture.service.sso_request_for("acme", "?step_up=true").await;
        let mut spec = fixture.idp.valid_response(&fixture.service, &fixture.acme, &authn_request, "bob");
        (spec.context, spec.authenticated) = (Some(mfa.to_owned()), Some("AT".to_owned()));
        let assertion = spec.assertion();
        let statement = between(&assertion, "<saml:AuthnStatement", "</saml:AuthnStatement>");
        let all: String =
            ahead.iter().map(|ahead| statement.replace("AT", &later(spec.issued, *ahead).to_string())).collect();
        let assertion = fixture.idp.sign(&assertion.replace(statement, &all), &spec.assertion_id);
        let reply = fixture.service.acs("acme", &spec.response(&assertion), &authn_request.relay_state).await.ok();
        let session = fixture.service.get("/v1/session", &reply.text("/session/token")).await.ok();
        let until = session.body["session"]["step_up_until"].as_str().and_then(Timestamp::parse);
        until.map(|until| until.secs() - spec.issued.secs() - 300)
    };
    for (ahead, counts) in [
        (&[0][..], Some(0)),
        (&[60], Some(0)),
        (&[61], None),
        (&[-100], Some(-100)),
        (&[-10, -200, -20], Some(-200)),
        (&[61, -50], Some(-50)),
        (&[], None),
    ] {
        assert_eq!(stepped_up(ahead).await, counts, "{ahead:?}");
    }
}

/// A session ends at `SessionNotOnOrAfter`.
#[tokio::test]
async fn session_ends_no_later_than_the_idp_allows() {
    let fixture = fixture().await;
    let (authn_request, mut spec) = fixture.valid("bob").await;
    spec.session_ends = Some(later(spec.issued, 600));
    let session = fixture
        .service
        .acs("acme", &spec.sign_assertion(&fixture.idp), &authn_request.relay_state)
        .await
        .ok()
        .text("/session/token");
    fixture.service.advance(599);
    fixture.service.get("/v1/session", &session).await.ok();
    fixture.service.advance(1);
    assert!(fixture.service.get("/v1/session", &session).await.is(401, "invalid_token"));
}
