//! What is tried against the IdP's door (docs/threat-model.md, "SSO"): each is refused as everything else is, by the rule that
//! the audit names, and no session comes of it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::extract::ConnectInfo;
use data_encoding::BASE64;
use futures_util::stream::pending;
use proptest::{prelude::*, test_runner::TestRunner};
use rsa::{RsaPublicKey, pkcs1v15, pkcs8::DecodePublicKey, signature::Verifier};
use serde_json::{Value, json};
use tests::{
    People, Reply, Service,
    idp::{Asked, Bare, EXCLUSIVE, Idp, Says, Sp, form, template},
};
use vestibule::{
    env::Timestamp,
    saml::{self, Fault},
};
use x509_cert::der::{DecodePem, Encode};

/// Acme and Globex, each with an IdP; bob of acme comes from his and has enrolled.
struct Scene {
    service: Service,
    people: People,
    /// Ann's session.
    ann: String,
    acme: Sp,
    idp: Idp,
    foreign: Idp,
}

async fn scene() -> Scene {
    let (service, mut people) = Service::peopled().await;
    let (idp, foreign) = (Idp::new("https://idp.example/acme"), Idp::new("https://idp.example/globex"));
    for (admin, idp) in [("ann", &idp), ("gus", &foreign)] {
        let token = service.fresh(people.get_mut(admin).unwrap()).await;
        service.put("/v1/admin/sso", &token, json!({"metadata_xml": idp.metadata()})).await.ok();
    }
    let ann = service.fresh(people.get_mut("ann").unwrap()).await;
    for name in ["bob", "eve"] {
        let change = json!({"auth_type": "saml_sso"});
        service.patch(&format!("/v1/admin/users/u-{name}"), &ann, change).await.ok();
    }
    let acme = service.sp("acme").await;
    let scene = Scene { service, people, ann, acme, idp, foreign };
    let (asked, says) = scene.right("bob").await;
    let first = scene.service.acs("acme", &says.signed(&scene.idp), &asked.relay_state).await.ok();
    let mut scene = scene;
    let bob = scene.people.get_mut("bob").unwrap();
    scene.service.enrol_with(bob, &first.text("/enrolment/token"), json!({})).await;
    scene
}

impl Scene {
    async fn right(&self, name_id: &str) -> (Asked, Says) {
        let asked = self.service.sso_request("acme").await;
        let says = self.idp.answer(&self.service, &self.acme, &asked, name_id);
        (asked, says)
    }

    /// The rule by which a request was refused.
    async fn rule(&self, reply: &Reply) -> String {
        self.row(reply).await["reason"].as_str().unwrap().to_owned()
    }

    /// What the audit says of a refusal.
    async fn row(&self, reply: &Reply) -> Value {
        assert!(reply.is(401, "invalid_credentials"), "{reply:?}");
        assert!(reply.body.get("detail").is_none() && !reply.headers.contains_key("set-cookie"));
        let rows = self.service.get("/v1/admin/audit?limit=100", &self.ann).await.ok();
        let id = reply.headers["x-request-id"].to_str().unwrap();
        let row = rows.body["items"].as_array().unwrap().iter().find(|row| row["request_id"] == id).unwrap().clone();
        assert_eq!((&row["action"], &row["outcome"]), (&json!("sso.login"), &json!("refused")));
        row
    }

    async fn refused(&self, what: &str, response: &str, asked: &Asked, rule: Fault) {
        let reply = self.service.acs("acme", response, &asked.relay_state).await;
        assert_eq!(self.rule(&reply).await, rule.as_str(), "{what}");
    }

    /// A right answer about bob, changed and signed, is refused by a rule.
    async fn refused_with(&self, what: &str, rule: Fault, change: impl FnOnce(&mut Says)) {
        let (asked, mut says) = self.right("bob").await;
        change(&mut says);
        let response = says.signed(&self.idp);
        self.refused(what, &response, &asked, rule).await;
    }
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_secs(at.secs() + seconds)
}

/// The control: else all of the refusals below would be worth nothing.
#[tokio::test]
async fn a_right_response_signs_in() {
    let scene = scene().await;
    for whole in [false, true] {
        let (asked, says) = scene.right("bob").await;
        let response = if whole { says.signed_whole(&scene.idp) } else { says.signed(&scene.idp) };
        let reply = scene.service.acs("acme", &response, &asked.relay_state).await.ok();
        assert_eq!(reply.text("/user/username"), "bob");
    }
    // Both signed; base64 in lines; a byte order mark.
    let (asked, says) = scene.right("bob").await;
    let both = scene.idp.sign(&says.signed(&scene.idp), &says.response_id);
    let lines: Vec<_> = BASE64.encode(format!("\u{feff}{both}").as_bytes()).into_bytes();
    let lines: Vec<_> = lines.chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let form = [("SAMLResponse", lines.join("\r\n")), ("RelayState", asked.relay_state)];
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    scene.service.acs_form("acme", &form).await.ok();
}

/// S03: each of what the profile asks for, wrong and missing.
#[tokio::test]
async fn s03_every_condition() {
    let scene = &scene().await;
    let other = || Some("https://login.example.com/v1/sso/globex/acs".to_owned());
    scene.refused_with("issuer", Fault::Issuer, |says| says.issuer = "https://idp.example/globex".into()).await;
    scene
        .refused_with("status", Fault::Status, |says| {
            says.status = "urn:oasis:names:tc:SAML:2.0:status:Responder".into()
        })
        .await;
    scene.refused_with("destination", Fault::Destination, |says| says.destination = other()).await;
    scene.refused_with("recipient", Fault::Recipient, |says| says.recipient = other()).await;
    scene.refused_with("no recipient", Fault::Recipient, |says| says.recipient = None).await;
    scene
        .refused_with("audience", Fault::Audience, |says| {
            says.audience = Some("https://login.example.com/v1/sso/globex/metadata".into())
        })
        .await;
    scene.refused_with("no audience", Fault::Audience, |says| says.audience = None).await;
    scene
        .refused_with("two audiences, one ours", Fault::Audience, |says| {
            says.conditions =
                "<saml:AudienceRestriction><saml:Audience>x</saml:Audience></saml:AudienceRestriction>".into();
        })
        .await;
    scene
        .refused_with("a condition of another's", Fault::Conditions, |says| {
            says.conditions = r#"<x:Only xmlns:x="urn:x"/>"#.into()
        })
        .await;
    scene.refused_with("no request", Fault::InResponseTo, |says| says.in_response_to = None).await;
    scene.refused_with("another request", Fault::InResponseTo, |says| says.in_response_to = Some("_0".into())).await;
    scene
        .refused_with("not the bearer", Fault::Confirmation, |says| {
            says.method = "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches".into()
        })
        .await;
    scene.refused_with("expired", Fault::Expired, |says| says.not_on_or_after = later(says.issued, -60)).await;
    scene.refused_with("not yet", Fault::NotYetValid, |says| says.not_before = later(says.issued, 61)).await;
    scene.refused_with("of tomorrow", Fault::NotYetValid, |says| says.issued = later(says.issued, 61)).await;
    scene.refused_with("for ever", Fault::TooLong, |says| says.not_on_or_after = later(says.issued, 86_401)).await;
    scene.refused_with("a session that is over", Fault::Expired, |says| says.session_ends = Some(says.issued)).await;
    for (what, name_id) in [
        ("nobody", ""),
        ("a comment is text to the signer", "<b>bob</b>"),
        ("two lines", "bob&#10;"),
        ("processing", "<?x y?>bob"),
    ] {
        scene.refused_with(what, Fault::Subject, |says| says.name_id = name_id.into()).await;
    }
    // A minute of skew is borne, on both sides.
    for (before, after) in [(60, 300), (-30, -59)] {
        let (asked, mut says) = scene.right("bob").await;
        (says.not_before, says.not_on_or_after) = (later(says.issued, before), later(says.issued, after));
        scene.service.acs("acme", &says.signed(&scene.idp), &asked.relay_state).await.ok();
    }
    let (asked, mut says) = scene.right("bob").await;
    says.session_ends = Some(later(says.issued, 600));
    let until = says.assertion().replace("SessionNotOnOrAfter=\"", "SessionNotOnOrAfter=\"soon, ");
    let response = says.response(&scene.idp.sign(&until, &says.assertion_id));
    scene.refused("a session that ends at no time", &response, &asked, Fault::Time).await;
    let (asked, says) = scene.right("bob").await;
    let silent = between(&says.assertion(), "<saml:AuthnStatement", "</saml:AuthnStatement>").to_owned();
    let silent = says.response(&scene.idp.sign(&says.assertion().replace(&silent, ""), &says.assertion_id));
    scene.service.acs("acme", &silent, &asked.relay_state).await.ok();
    let (asked, says) = scene.right("bob").await;
    let whole = scene.idp.sign(
        &says.response(&says.assertion()).replace(&format!(" Destination=\"{}\"", scene.acme.acs_url), ""),
        &says.response_id,
    );
    scene.refused("signed, and for nowhere", &whole, &asked, Fault::Destination).await;
}

/// S03: each rule alone, where the one above breaks two at once.
#[tokio::test]
async fn s03_each_rule_alone() {
    let scene = &scene().await;
    let (asked, says) = scene.right("bob").await;
    let edited = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    // What the assertion says, which is signed; all around it is right.
    let id = format!("InResponseTo=\"{}\"", asked.id);
    let recipient = format!("Recipient=\"{}\"", scene.acme.acs_url);
    let (until, over) = (format!("NotOnOrAfter=\"{}\"", says.not_on_or_after), later(says.issued, -60));
    let over = format!("NotOnOrAfter=\"{over}\"");
    let ahead = format!("NotBefore=\"{}\"", later(says.issued, 61));
    let confirmation = |with: &str| (format!("Data {until}"), format!("Data {with}"));
    let condition = |with: &str| (format!("{until}>"), format!("{with}>"));
    let own = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let conditions = says.assertion();
    let conditions = between(&conditions, "<saml:Conditions", "</saml:Conditions>");
    for (what, (from, to), rule) in [
        ("issuer", own("idp.example/acme<", "idp.example/globex<"), Fault::Issuer),
        ("version", own("Version=\"2.0\"", "Version=\"1.1\""), Fault::Response),
        ("no time", own(&format!(" IssueInstant=\"{}\"", says.issued), ""), Fault::Time),
        ("confirmation over", confirmation(&over), Fault::Expired),
        ("confirmation at no time", confirmation("NotOnOrAfter=\"soon\""), Fault::Time),
        ("confirmation from no time", confirmation(&format!("{until} NotBefore=\"soon\"")), Fault::Time),
        ("conditions at no time", condition("NotOnOrAfter=\"soon\""), Fault::Time),
        ("confirmation ahead", confirmation(&format!("{until} {ahead}")), Fault::NotYetValid),
        ("confirmation for ever", confirmation(""), Fault::Confirmation),
        ("conditions over", condition(&over), Fault::Expired),
        ("no conditions", own(conditions, ""), Fault::Audience),
        ("another request", own(&id, "InResponseTo=\"_0\""), Fault::InResponseTo),
        ("no request", own(&id, ""), Fault::InResponseTo),
        ("another's attribute", own(&recipient, &format!("xmlns:x=\"urn:x\" x:{recipient}")), Fault::Recipient),
        ("two names", own("</saml:NameID>", "</saml:NameID><saml:NameID>eve</saml:NameID>"), Fault::Subject),
        ("a long name", own(">bob<", &format!(">{}<", "b".repeat(257))), Fault::Subject),
    ] {
        let assertion = scene.idp.sign(&edited(says.assertion(), &from, &to), &says.assertion_id);
        scene.refused(what, &says.response(&assertion), &asked, rule).await;
    }
    let long =
        scene.idp.sign(&says.assertion().replace(">bob<", &format!(">{}<", "b".repeat(256))), &says.assertion_id);
    let reply = scene.service.acs("acme", &says.response(&long), &asked.relay_state).await;
    assert_eq!(scene.rule(&reply).await, "unknown_subject");
    // What the response says, which is not.
    let status = "<samlp:Status><samlp:StatusCode Value=\"x\"/></samlp:Status>";
    for (what, from, to, rule) in [
        ("issuer", "idp.example/acme<", "idp.example/globex<", Fault::Issuer),
        ("version", "Version=\"2.0\"", "Version=\"1.1\"", Fault::Response),
        ("another request", id.as_str(), "InResponseTo=\"_0\"", Fault::InResponseTo),
        ("two statuses", "<saml:Assertion", &format!("{status}<saml:Assertion"), Fault::Status),
    ] {
        let response = edited(says.signed(&scene.idp), from, to);
        scene.refused(what, &response, &asked, rule).await;
    }
    // An assertion without an id could be spent without end.
    let nameless = says.assertion().replace(&says.assertion_id, "");
    let whole = scene.idp.sign(&says.response(&nameless), &says.response_id);
    scene.refused("no id", &whole, &asked, Fault::Assertions).await;
    scene.service.acs("acme", &says.signed(&scene.idp), &asked.relay_state).await.ok();
}

/// The IdP's clock may be a minute ahead. Of several statements that count, the oldest does.
#[tokio::test]
async fn step_up_is_dated_by_the_older_of_now_and_the_instant() {
    let scene = scene().await;
    let mfa = "https://refeds.org/profile/mfa";
    let mut fields = scene.idp.fields();
    fields["mfa_contexts"] = json!([mfa]);
    scene.service.put("/v1/admin/sso", &scene.ann, fields).await.ok();
    let stepped_up = async |ahead: &[i64]| {
        let asked = scene.service.sso_request_for("acme", "?step_up=true").await;
        let mut says = scene.idp.answer(&scene.service, &scene.acme, &asked, "bob");
        (says.context, says.authenticated) = (Some(mfa.to_owned()), Some("AT".to_owned()));
        let assertion = says.assertion();
        let statement = between(&assertion, "<saml:AuthnStatement", "</saml:AuthnStatement>");
        let all: String =
            ahead.iter().map(|ahead| statement.replace("AT", &later(says.issued, *ahead).to_string())).collect();
        let assertion = scene.idp.sign(&assertion.replace(statement, &all), &says.assertion_id);
        let reply = scene.service.acs("acme", &says.response(&assertion), &asked.relay_state).await.ok();
        let session = scene.service.get("/v1/session", &reply.text("/session/token")).await.ok();
        let until = session.body["session"]["step_up_until"].as_str().and_then(Timestamp::parse);
        until.map(|until| until.secs() - says.issued.secs() - 300)
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

/// S01: the form of a signature, each part of it alone.
#[tokio::test]
async fn s01_each_part_of_a_signature() {
    let scene = &scene().await;
    let (asked, says) = scene.right("bob").await;
    let good = says.signed(&scene.idp);
    let uri = format!("URI=\"#{}\"", says.assertion_id);
    let nameless = good.replace(&says.assertion_id, "");
    let twice = scene.idp.sign(&scene.idp.sign(&says.assertion(), &says.assertion_id), &says.assertion_id);
    let extension =
        format!("<samlp:Extensions ID=\"_x\"><saml:Issuer>x</saml:Issuer></samlp:Extensions>{}", says.assertion());
    let elsewhere = scene.idp.sign(&says.response(&extension), "_x");
    for (what, response) in [
        ("an instruction in the digest", good.replace("<ds:DigestValue>", "<ds:DigestValue><?x y?>")),
        ("a comment in the value", good.replace("<ds:SignatureValue>", "<ds:SignatureValue><!-- x -->")),
        ("a comment in what is signed", good.replace("<ds:SignedInfo>", "<ds:SignedInfo><!-- x -->")),
        ("over the response, in the assertion", good.replace(&uri, &format!("URI=\"#{}\"", says.response_id))),
        ("over the document", good.replace(&uri, "URI=\"\"")),
        ("over what has no id", nameless),
        ("two over one", says.response(&twice)),
        ("over something else", elsewhere),
        (
            "an id by another name",
            good.replace("</samlp:Status>", &format!("</samlp:Status><x Id=\"{}\"/>", says.assertion_id)),
        ),
        (
            "an id of SAML 1.1",
            good.replace("</samlp:Status>", &format!("</samlp:Status><x AssertionID=\"{}\"/>", says.assertion_id)),
        ),
    ] {
        assert_ne!(response, good, "{what}");
        scene.refused(what, &response, &asked, Fault::SignaturePlace).await;
    }
    let assertion = scene.idp.sign(&says.assertion(), &says.assertion_id);
    let aside = says.response(&format!("<samlp:Extensions>{assertion}</samlp:Extensions>"));
    scene.refused("a signed assertion in another place", &aside, &asked, Fault::Assertions).await;
    // What stands in a transform: the prefixes that are kept, and nothing else.
    let transform = format!("<ds:Transform Algorithm=\"{EXCLUSIVE}\"/>");
    let with = |content: &str| {
        let right = template(&says.assertion_id, tests::idp::ECDSA_SHA256);
        let full = transform.replace("/>", &format!(">{content}</ds:Transform>"));
        let place = format!("</saml:Issuer>{}", right.replace(&transform, &full));
        says.response(&scene.idp.fill(&says.assertion().replacen("</saml:Issuer>", &place, 1)))
    };
    scene.refused("a stranger in a transform", &with("<x/>"), &asked, Fault::Algorithm).await;
    let kept = with(&format!("<ec:InclusiveNamespaces xmlns:ec=\"{EXCLUSIVE}\" PrefixList=\"saml\"/>"));
    scene.service.acs("acme", &kept, &asked.relay_state).await.ok();
}

/// S01: a signature of the IdP's in the assertion, but over something else that stands beside it.
#[tokio::test]
async fn s01_a_signature_over_something_else() {
    let scene = scene().await;
    let (asked, says) = scene.right("eve").await;
    let template = template("_x", tests::idp::ECDSA_SHA256);
    let assertion = says.assertion().replacen("</saml:Issuer>", &format!("</saml:Issuer>{template}"), 1);
    let beside = format!("<samlp:Extensions ID=\"_x\"/>{assertion}");
    let response = scene.idp.fill(&says.response(&beside));
    let reply = scene.service.acs("acme", &response, &asked.relay_state).await;
    scene.rule(&reply).await;
}

/// S01: what is read has the digest that was signed, whoever else has looked at it.
#[tokio::test]
async fn s01_what_is_read_was_digested() {
    let scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let response = says.signed(&scene.idp).replace(">bob<", ">eve<");
    scene.refused("about eve", &response, &asked, Fault::Signature).await;
}

/// S09: no entity is resolved, with whatever DTD.
#[tokio::test]
async fn s09_entities() {
    let scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let response = says.signed(&scene.idp).replace(">bob<", ">&bob;<");
    let response = format!("<!DOCTYPE x [<!ENTITY bob \"bob\">]>{response}");
    let reply = scene.service.acs("acme", &response, &asked.relay_state).await;
    scene.rule(&reply).await;
}

/// S09: more than the form lets through is refused by itself, too.
#[tokio::test]
async fn s09_a_response_that_is_too_large() {
    let scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let bare = Bare::new(&scene.idp, &scene.acme, &asked);
    for (length, rule) in [(saml::MAX_BYTES, Fault::Xml), (saml::MAX_BYTES + 4, Fault::TooLarge)] {
        let expected = bare.expected(says.issued, Timestamp::default());
        assert_eq!(saml::check(&"AAAA".repeat(length / 4), expected).err(), Some(rule));
    }
}

/// The session ends when the IdP says so.
#[tokio::test]
async fn a_session_lasts_no_longer_than_the_idp_wants() {
    let scene = scene().await;
    let (asked, mut says) = scene.right("bob").await;
    says.session_ends = Some(later(says.issued, 600));
    let session =
        scene.service.acs("acme", &says.signed(&scene.idp), &asked.relay_state).await.ok().text("/session/token");
    scene.service.pass(599);
    scene.service.get("/v1/session", &session).await.ok();
    scene.service.pass(1);
    assert!(scene.service.get("/v1/session", &session).await.is(401, "invalid_token"));
}

/// S01: who signed, what, and with which algorithm.
#[tokio::test]
async fn s01_signatures() {
    let scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let good = says.signed(&scene.idp);
    let cut = |from: &str, to: &str| {
        let (start, end) = (good.find(from).unwrap(), good.find(to).unwrap() + to.len());
        format!("{}{}", &good[..start], &good[end..])
    };
    let unsigned = says.response(&says.assertion());
    scene.refused("unsigned", &unsigned, &asked, Fault::Unsigned).await;
    scene.refused("its signature cut out", &cut("<ds:Signature ", "</ds:Signature>"), &asked, Fault::Unsigned).await;
    let value = cut("<ds:SignatureValue>", "</ds:SignatureValue>");
    scene.refused("no value", &value, &asked, Fault::Signature).await;
    let reference = cut("<ds:Reference ", "</ds:Reference>");
    scene.refused("no reference", &reference, &asked, Fault::SignaturePlace).await;
    scene.refused("about eve", &good.replace(">bob<", ">eve<"), &asked, Fault::Signature).await;
    let foreign = says.signed(&scene.foreign);
    scene.refused("by another tenant's IdP", &foreign, &asked, Fault::Signature).await;
    let key_info = format!(
        "</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>",
        scene.foreign.certificate_base64()
    );
    let own_key = foreign.replace("</ds:SignatureValue>", &key_info);
    scene.refused("with a key of its own", &own_key, &asked, Fault::Signature).await;
    // An object that is none of the profile's, and what canonicalisation drops where a reader may not.
    let object = good.replace("</ds:SignatureValue>", "</ds:SignatureValue><ds:Object><x/></ds:Object>");
    scene.refused("an object in the signature", &object, &asked, Fault::SignaturePlace).await;
    let comment = good.replace("<ds:DigestValue>", "<ds:DigestValue><!-- x -->");
    scene.refused("a comment in the digest", &comment, &asked, Fault::SignaturePlace).await;
    let twice = good
        .replace("</saml:Assertion>", "</saml:Assertion><x ID=\"ID\"/>")
        .replace("ID=\"ID\"", &format!("ID=\"{}\"", says.assertion_id));
    scene.refused("two of one id", &twice, &asked, Fault::SignaturePlace).await;
    // Signed as a whole by the IdP, and the assertion by somebody else: both have to be right.
    let inner = says.response(&scene.foreign.sign(&says.assertion(), &says.assertion_id));
    let both = scene.idp.sign(&inner, &says.response_id);
    scene.refused("one of two signatures is another's", &both, &asked, Fault::Signature).await;
}

/// S01: algorithms are a list. Each of these is signed by the IdP itself, so that it is the list that refuses.
#[tokio::test]
async fn s01_algorithms() {
    let scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let right = template(&says.assertion_id, tests::idp::ECDSA_SHA256);
    let place = "</saml:Issuer>";
    let assertion = says.assertion();
    let with = |scene: &Scene, template: String, fill: bool| {
        let unsigned = assertion.replacen(place, &format!("{place}{template}"), 1);
        says.response(&if fill { scene.idp.fill(&unsigned) } else { unsigned })
    };
    let control = with(&scene, right.clone(), true);
    for (what, template, fill) in [
        ("SHA-1", right.replace(tests::idp::ECDSA_SHA256, "http://www.w3.org/2000/09/xmldsig#rsa-sha1"), false),
        ("RSA-PSS", right.replace(tests::idp::ECDSA_SHA256, "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"), false),
        ("ECDSA with SHA-1", right.replace("ecdsa-sha256", "ecdsa-sha1"), false),
        ("HMAC with the public key", right.replace("ecdsa-sha256", "hmac-sha256"), false),
        ("none", right.replace(tests::idp::ECDSA_SHA256, "none"), false),
        ("SHA-224", right.replace("ecdsa-sha256", "ecdsa-sha224"), false),
        ("a digest by SHA-1", right.replace("http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1"), true),
        ("inclusive canonicalisation", right.replace(EXCLUSIVE, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"), true),
        ("inclusive canonicalisation of what is signed about it", right.replacen(EXCLUSIVE, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315", 1), true),
        ("with comments", right.replace(EXCLUSIVE, &format!("{EXCLUSIVE}WithComments")), true),
        ("XPath", right.replace("</ds:Transforms>", "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"><ds:XPath>not(self::text())</ds:XPath></ds:Transform></ds:Transforms>"), false),
        ("XSLT", right.replace("</ds:Transforms>", "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xslt-19991116\"/></ds:Transforms>"), false),
        ("no transform", right.replace(&format!("<ds:Transform Algorithm=\"{EXCLUSIVE}\"/>"), ""), false),
    ] {
        assert_ne!(template, right, "{what}");
        let response = with(&scene, template, fill);
        let row = scene.row(&scene.service.acs("acme", &response, &asked.relay_state).await).await;
        assert_eq!(row["reason"], Fault::Algorithm.as_str(), "{what}");
        let named = row["algorithm"].as_str().unwrap_or_default();
        // A missing transform is no algorithm.
        assert_eq!(named.is_empty(), what == "no transform", "{what}");
        assert!(what != "RSA-PSS" || named == "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1", "{named}");
    }
    scene.service.acs("acme", &control, &asked.relay_state).await.ok();
}

/// The eight ways of wrapping (Somorovsky et al., "On Breaking SAML", 2012, figure 4): the signed element is moved aside, and
/// one about eve stands where a careless reader looks. Eve is of SSO too, and would be let in.
#[tokio::test]
async fn s01_wrapping() {
    let scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let evil =
        Says { name_id: "eve".into(), assertion_id: "_evil".into(), response_id: "_evilr".into(), ..says.clone() };
    let evil_assertion = evil.assertion();
    // Of a signed response (1 and 2).
    let response = says.signed_whole(&scene.idp);
    let evil_response = |inside_signature: bool| {
        let signature = between(&response, "<ds:Signature ", "</ds:Signature>");
        let original = response.replace(signature, "");
        let placed = if inside_signature {
            signature.replace("</ds:Signature>", &format!("<ds:Object>{original}</ds:Object></ds:Signature>"))
        } else {
            format!("{original}{signature}")
        };
        evil.response(&evil_assertion).replacen("</saml:Issuer>", &format!("</saml:Issuer>{placed}"), 1)
    };
    // Of a signed assertion (3 to 8).
    let signed = scene.idp.sign(&says.assertion(), &says.assertion_id);
    let signature = between(&signed, "<ds:Signature ", "</ds:Signature>").to_owned();
    let bare = signed.replace(&signature, "");
    let into = |outer: &str, inner: &str, before: &str| outer.replacen(before, &format!("{inner}{before}"), 1);
    let object =
        |inner: &str| signature.replace("</ds:Signature>", &format!("<ds:Object>{inner}</ds:Object></ds:Signature>"));
    let after_issuer = |assertion: &str, signature: &str| {
        assertion.replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1)
    };
    let extensions = |inner: &str| format!("<samlp:Extensions>{inner}</samlp:Extensions>");
    let cases = [
        ("XSW1", evil_response(true)),
        ("XSW2", evil_response(false)),
        ("XSW3: the evil assertion before the signed one", says.response(&format!("{evil_assertion}{signed}"))),
        ("XSW4: the signed one in the evil one", says.response(&into(&evil_assertion, &signed, "</saml:Assertion>"))),
        (
            "XSW5: the evil one has the signature, the signed one comes last",
            says.response(&format!("{}{bare}", after_issuer(&evil_assertion, &signature))),
        ),
        (
            "XSW6: the evil one has the signature, which has the signed one",
            says.response(&after_issuer(&evil_assertion, &into(&signature, &bare, "</ds:Signature>"))),
        ),
        (
            "XSW7: the evil one in Extensions, before the signed one",
            says.response(&format!("{}{signed}", extensions(&evil_assertion))),
        ),
        (
            "XSW8: the signed one in an Object of the evil one's signature",
            says.response(&after_issuer(&evil_assertion, &object(&bare))),
        ),
        ("the signed one first, then the evil one", says.response(&format!("{signed}{evil_assertion}"))),
        (
            "the evil one of the signed one's id",
            says.response(&format!("{}{signed}", evil_assertion.replace("_evil", &says.assertion_id))),
        ),
        (
            "only the evil one, the signed one around it",
            says.response(&into(&signed, &evil_assertion, "</saml:Assertion>")),
        ),
    ];
    for (what, response) in cases {
        let reply = scene.service.acs("acme", &response, &asked.relay_state).await;
        let rule = scene.rule(&reply).await;
        assert!(["assertions", "signature_place", "response"].contains(&rule.as_str()), "{what}: {rule}");
    }
    scene.service.acs("acme", &says.signed(&scene.idp), &asked.relay_state).await.ok();
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap();
    &text[start..start + text[start..].find(to).unwrap() + to.len()]
}

/// A comment is not among what is signed: the name is all of the text around it (CVE-2017-11428).
#[tokio::test]
async fn s01_comments_cut_no_name_short() {
    let scene = scene().await;
    for (signed, posted) in [("bob.evil", "bob<!-- -->.evil"), ("bob@acme", "bob<!-- -->@acme")] {
        let (asked, mut says) = scene.right("bob").await;
        says.name_id = signed.into();
        let response = says.signed(&scene.idp).replace(signed, posted);
        let reply = scene.service.acs("acme", &response, &asked.relay_state).await;
        assert_eq!(scene.rule(&reply).await, "unknown_subject");
    }
    // The signer's own comment is none either.
    let (asked, mut says) = scene.right("bob").await;
    says.name_id = "b<!-- -->ob".into();
    let reply = scene.service.acs("acme", &says.signed(&scene.idp), &asked.relay_state).await.ok();
    assert_eq!(reply.text("/user/username"), "bob");
}

/// S02: once, whoever brings it, however often, at the same moment too, and after the request was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s02_an_assertion_is_spent_once() {
    let mut scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let response = says.signed(&scene.idp);
    let service = Arc::new(scene.service);
    let racing = (0..32).map(|_| {
        let (service, response, relay) = (Arc::clone(&service), response.clone(), asked.relay_state.clone());
        tokio::spawn(async move { service.acs("acme", &response, &relay).await.status.as_u16() })
    });
    let mut statuses = Vec::new();
    for one in racing.collect::<Vec<_>>() {
        statuses.push(one.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    scene.service = Arc::into_inner(service).unwrap();
    let reply = scene.service.acs("acme", &response, &asked.relay_state).await;
    scene.rule(&reply).await;
    // The assertion alone, in answer to another request.
    let (other, mut again) = scene.right("bob").await;
    again.assertion_id = says.assertion_id.clone();
    let reply = scene.service.acs("acme", &again.signed(&scene.idp), &other.relay_state).await;
    assert_eq!(scene.rule(&reply).await, "spent");
    // The request alone, by another assertion.
    let (_, mut new) = scene.right("bob").await;
    new.in_response_to = Some(asked.id.clone());
    scene.refused("an answered request", &new.signed(&scene.idp), &asked, Fault::InResponseTo).await;
    // Another browser's request.
    let (mine, says) = scene.right("bob").await;
    let (theirs, _) = scene.right("bob").await;
    scene.refused("for another browser", &says.signed(&scene.idp), &theirs, Fault::InResponseTo).await;
    // A request that waited too long.
    scene.service.pass(15 * 60);
    let mut late = scene.idp.answer(&scene.service, &scene.acme, &mine, "bob");
    late.in_response_to = Some(mine.id.clone());
    scene.refused("late", &late.signed(&scene.idp), &mine, Fault::InResponseTo).await;
}

/// S04: another tenant's IdP says nothing about this one's people, at neither address.
#[tokio::test]
async fn s04_a_foreign_idp() {
    let scene = scene().await;
    let globex = scene.service.sp("globex").await;
    let (asked, _) = scene.right("bob").await;
    for name_id in ["bob", "bob@acme.example"] {
        let says = scene.foreign.answer(&scene.service, &scene.acme, &asked, name_id);
        let response = says.signed(&scene.foreign);
        let reply = scene.service.acs("acme", &response, &asked.relay_state).await;
        assert_eq!(scene.rule(&reply).await, "signature");
        let theirs = scene.service.sso_request("globex").await;
        let says = scene.foreign.answer(&scene.service, &globex, &theirs, name_id);
        let reply = scene.service.acs("globex", &says.signed(&scene.foreign), &theirs.relay_state).await;
        assert!(reply.is(401, "invalid_credentials"));
        // What is for one tenant, at the other's address; and a request of the other's.
        let (asked, says) = scene.right("bob").await;
        let reply = scene.service.acs("globex", &says.signed(&scene.idp), &asked.relay_state).await;
        assert!(reply.is(401, "invalid_credentials"));
        let says = scene.idp.answer(&scene.service, &scene.acme, &theirs, "bob");
        scene.refused("a request of another tenant's", &says.signed(&scene.idp), &theirs, Fault::InResponseTo).await;
    }
}

/// Nobody becomes an operator by what an IdP says of them.
#[tokio::test]
async fn s06_no_operator_is_provisioned() {
    let mut scene = scene().await;
    let op = scene.service.fresh(scene.people.get_mut("op").unwrap()).await;
    let mut fields = scene.idp.fields();
    fields["provisioning"] = json!({"administrators": ["Staff"]});
    scene.service.put("/v1/admin/sso", &op, fields).await.ok();
    let sp = scene.service.sp("support").await;
    let asked = scene.service.sso_request("support").await;
    let mut says = scene.idp.answer(&scene.service, &sp, &asked, "n-1");
    says.attributes = [("Username", "zoe"), ("SecurityGroup", "Staff")].map(|(n, v)| (n.into(), vec![v.into()])).into();
    let reply = scene.service.acs("support", &says.signed(&scene.idp), &asked.relay_state).await;
    scene.ann = op;
    assert_eq!(scene.rule(&reply).await, "provisioning_support");
}

/// S08: the door is an Administrator's to change.
#[tokio::test]
async fn s08_who_may_change_the_door() {
    let mut scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let own = scene.service.acs("acme", &says.signed(&scene.idp), &asked.relay_state).await.ok().text("/session/token");
    let gus = scene.service.fresh(scene.people.get_mut("gus").unwrap()).await;
    let change = json!({"auth_type": "local"});
    assert!(scene.service.patch("/v1/admin/users/u-bob", &own, change.clone()).await.is(403, "forbidden"));
    assert!(scene.service.patch("/v1/admin/users/u-bob", &gus, change).await.is(404, "not_found"));
    for field in [json!({"auth_type": "none"}), json!({"saml": true}), json!({"auth_type": ["local"]})] {
        let ann = scene.service.fresh(scene.people.get_mut("ann").unwrap()).await;
        assert!(scene.service.patch("/v1/admin/users/u-bob", &ann, field).await.is(400, "invalid_request"));
    }
}

/// S09: what is too much is refused at once.
#[tokio::test]
async fn s09_bombs_and_encodings() {
    let scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let good = says.signed(&scene.idp);
    let relay = asked.relay_state.clone();
    let huge = "A".repeat(10 << 20);
    assert!(
        scene
            .service
            .acs_form("acme", &[("SAMLResponse", &huge), ("RelayState", &relay)])
            .await
            .is(413, "payload_too_large")
    );
    let deflated = BASE64.encode(&miniz_oxide::deflate::compress_to_vec(&vec![b'<'; 64 << 20], 9));
    let lol: String = (1..10).map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))).collect();
    let dtd = format!("<!DOCTYPE x [<!ENTITY l0 \"lol\">{lol}]>{}", good.replace(">bob<", ">&l9;<"));
    let external =
        format!("<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>{}", good.replace(">bob<", ">&e;<"));
    let deep = format!("{}{}", "<a>".repeat(20_000), "</a>".repeat(20_000));
    let attributes: String = (0..15_000).map(|n| format!(" a{n}=\"\"")).collect();
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (what, encoded, rule) in [
        ("a deflate bomb", deflated, Fault::Encoding),
        ("entities", BASE64.encode(dtd.as_bytes()), Fault::Xml),
        ("an external entity", BASE64.encode(external.as_bytes()), Fault::Xml),
        ("a bare DTD", BASE64.encode(format!("<!DOCTYPE x>{good}").as_bytes()), Fault::Xml),
        ("depth", BASE64.encode(deep.as_bytes()), Fault::Xml),
        ("attributes", BASE64.encode(format!("<a{attributes}/>").as_bytes()), Fault::Xml),
        ("another element", BASE64.encode(b"<a/>"), Fault::Response),
        ("UTF-16", BASE64.encode(&utf16), Fault::Xml),
        ("no UTF-8", BASE64.encode(b"<a>\xff</a>"), Fault::Encoding),
        ("NUL", BASE64.encode(good.replace(">bob<", ">bob\0<").as_bytes()), Fault::Xml),
        ("no base64", "%%%".to_owned(), Fault::Encoding),
        ("base64 of another alphabet", "PHg-_w==".to_owned(), Fault::Encoding),
        ("nothing", String::new(), Fault::Xml),
        ("no XML", BASE64.encode(b"hello"), Fault::Xml),
        ("two documents", BASE64.encode(format!("{good}{good}").as_bytes()), Fault::Xml),
        ("SAML 1.1", BASE64.encode(good.replace("SAML:2.0:protocol", "SAML:1.0:protocol").as_bytes()), Fault::Response),
        ("encrypted", BASE64.encode(says.response("<saml:EncryptedAssertion/>").as_bytes()), Fault::Encrypted),
    ] {
        let reply = scene.service.acs_form("acme", &[("SAMLResponse", &encoded), ("RelayState", &relay)]).await;
        assert_eq!(scene.rule(&reply).await, rule.as_str(), "{what}");
    }
    for form in [
        vec![("RelayState", relay.as_str())],
        vec![("SAMLResponse", "x"), ("SAMLResponse", "y")],
        vec![("SAMLResponse", "a\0b")],
    ] {
        assert!(scene.service.acs_form("acme", &form).await.is(400, "invalid_request"), "{form:?}");
    }
    let ask = tests::Ask::new(axum::http::Method::POST, "/v1/sso/acme/acs").json(json!({"SAMLResponse": "x"}));
    assert!(scene.service.send(ask).await.is(400, "invalid_request"));
    scene.service.acs("acme", &good, &relay).await.ok();
}

/// SAML bindings 3.5.4: a form may have more fields than the profile names.
#[tokio::test]
async fn additional_form_fields_are_ignored() {
    let scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let response = BASE64.encode(says.signed(&scene.idp).as_bytes());
    let form =
        [("SAMLart", "x"), ("SAMLResponse", &*response), ("RelayState", &*asked.relay_state), ("submit", "Continue")];
    assert_eq!(scene.service.acs_form("acme", &form).await.ok().text("/user/username"), "bob");
}

/// S09: whatever is refused takes a turn, and keeps it for a while: a flood of it stops nobody else.
#[tokio::test]
async fn s09_every_refusal_takes_a_turn() {
    let scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let foreign = form(&says.signed(&Idp::new(&scene.idp.entity_id)), &asked.relay_state);
    let (asked, says) = scene.right("nobody").await;
    let right = form(&says.signed(&scene.idp), &asked.relay_state);
    for (what, tenant, form, status) in [
        ("a foreign key", "acme", foreign.as_str(), 401),
        ("nobody's", "acme", &right, 401),
        ("no tenant", "nobody", &right, 401),
        ("no form", "acme", &right[1..], 400),
    ] {
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(scene.service.acs_body(tenant, form).await.status, status, "{what}");
        }
        assert!(begun.elapsed() >= Duration::from_millis(150), "{what}");
    }
}

/// S09: a lane has 32 places. Beyond them the answer is 503 before the body or the store is read, and no other client network
/// and no other tenant notices.
#[tokio::test]
async fn s09_full_lane_answers_503_and_delays_nobody_else() {
    let scene = scene().await;
    let endless = |tenant: &str| {
        let mut request = axum::http::Request::post(format!("/v1/sso/{tenant}/acs"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(axum::body::Body::from_stream(pending::<Result<String, std::io::Error>>()))
            .unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
        Box::pin(scene.service.raw(request))
    };
    let (asked, says) = scene.right("bob").await;
    let right = form(&says.signed(&scene.idp), &asked.relay_state);
    let mut held: Vec<_> = (0..32).map(|_| endless("acme")).collect();
    for request in &mut held {
        assert!(futures_util::poll!(request).is_pending());
    }
    let full = scene.service.acs_body("acme", &right).await;
    assert!(full.is(503, "unavailable") && full.headers.contains_key("retry-after"), "{full:?}");
    assert!(scene.service.acs_body("globex", &right).await.is(401, "invalid_credentials"));
    let ask = tests::Ask::new(axum::http::Method::POST, "/v1/sso/acme/acs").form(&right).from([127, 0, 1, 1]);
    scene.service.send(ask).await.ok();
    drop(held);
    let (asked, says) = scene.right("bob").await;
    scene.service.acs("acme", &says.signed(&scene.idp), &asked.relay_state).await.ok();
}

/// After a backup was put back, nothing that was issued before signs in: what the store has forgotten to be spent was.
#[tokio::test]
async fn what_was_issued_before_a_restore_is_void() {
    let scene = scene().await;
    let (asked, says) = scene.right("bob").await;
    let bare = Bare::new(&scene.idp, &scene.acme, &asked);
    let check = |since: Timestamp| {
        let expected = bare.expected(says.issued + Duration::from_secs(10), since);
        saml::check(&BASE64.encode(says.signed(&scene.idp).as_bytes()), expected)
            .map(|assertion| assertion.name_id().to_owned())
    };
    assert_eq!(check(says.issued), Ok("bob".to_owned()));
    assert_eq!(check(says.issued + Duration::from_secs(1)), Err(Fault::Expired));
}

/// Changes bytes, cuts, doubles, puts in, replaces or moves.
fn mutate(bytes: &mut Vec<u8>, (kind, at, to, length, byte): (u8, usize, usize, usize, u8), piece: &[u8]) {
    let (at, to) = (at.min(bytes.len() - 1), to.min(bytes.len() - 1));
    let end = (at + length).min(bytes.len());
    match kind {
        0 => bytes[at] = byte,
        1 => bytes[at] ^= 1 << (byte % 8),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(to..to, copy);
        }
        4 => drop(bytes.splice(at..at, piece.iter().copied())),
        5 => drop(bytes.splice(at..end, piece.iter().copied())),
        _ => {
            // A whole element's worth, from one mark to another.
            let mark =
                |bytes: &[u8], from: usize| bytes[from..].iter().position(|b| *b == b'<').map_or(from, |n| from + n);
            let (from, until) = (mark(bytes, at.min(to)), mark(bytes, at.max(to)));
            let part: Vec<u8> = bytes.drain(from..until).collect();
            let place = mark(bytes, (at / 2).min(bytes.len().saturating_sub(1)));
            bytes.splice(place..place, part);
        }
    }
}

/// A right response, with bytes changed, cut, doubled, moved and swapped, and whole elements too: whatever is accepted still
/// says what was signed.
#[tokio::test]
async fn mutations_change_no_identity() {
    let scene = scene().await;
    let (asked, mut says) = scene.right("bob").await;
    says.attributes = vec![("Username".into(), vec!["bob".into()])];
    let bare = Bare::new(&scene.idp, &scene.acme, &asked);
    let check =
        |response: &[u8]| saml::check(&BASE64.encode(response), bare.expected(says.issued, Timestamp::default()));
    let evil = Says { name_id: "eve".into(), ..says.clone() };
    let pieces: Vec<Vec<u8>> = [
        evil.assertion(),
        "eve".into(),
        "<!---->".into(),
        "<?x?>".into(),
        "<![CDATA[eve]]>".into(),
        "&#101;".into(),
        format!("ID=\"{}\"", says.assertion_id),
        "<saml:NameID>eve</saml:NameID>".into(),
        " xmlns:saml=\"urn:x\"".into(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    let accepted = std::cell::Cell::new(0_u32);
    for base in [says.signed(&scene.idp), says.signed_whole(&scene.idp)] {
        assert!(check(base.as_bytes()).is_ok());
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() });
        let length = base.len();
        let step = (0..7_u8, 0..length, 0..length, 0..80_usize, any::<u8>(), 0..pieces.len());
        let mutated = proptest::collection::vec(step, 1..4).prop_map(|steps| {
            let mut bytes = base.clone().into_bytes();
            for (kind, at, to, length, byte, piece) in steps {
                mutate(&mut bytes, (kind, at, to, length, byte), &pieces[piece]);
                if bytes.is_empty() {
                    break;
                }
            }
            bytes
        });
        runner
            .run(&mutated, |bytes| {
                if let Ok(assertion) = check(&bytes) {
                    accepted.set(accepted.get() + 1);
                    prop_assert_eq!(assertion.name_id(), "bob");
                    prop_assert_eq!(assertion.attribute("Username"), Some("bob"));
                }
                Ok(())
            })
            .unwrap();
    }
    assert!(accepted.get() > 0, "white space outside of what is signed changes nothing: else nothing was tried");
}

/// The audit says what the IdP calls somebody whom nobody knows here, and nobody else reads it.
#[tokio::test]
async fn unknown_subject_is_named_in_the_audit() {
    let scene = scene().await;
    let (asked, mut says) = scene.right("bob").await;
    says.name_id = "mal\u{202e}lory".into();
    let format = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";
    let assertion = says.assertion().replace("<saml:NameID>", &format!("<saml:NameID Format=\"{format}\">"));
    let response = says.response(&scene.idp.sign(&assertion, &says.assertion_id));
    let reply = scene.service.acs("acme", &response, &asked.relay_state).await;
    assert!(!reply.body.to_string().contains("lory"), "{reply:?}");
    let row = scene.row(&reply).await;
    assert_eq!(row["reason"], "unknown_subject");
    assert_eq!((&row["name_id"], &row["name_id_format"]), (&json!("mal\\u{202e}lory"), &json!(format)));
}

/// Metadata that is over is refused; that it will be is told.
#[tokio::test]
async fn metadata_ends() {
    let scene = scene().await;
    let now = Timestamp::from_secs(scene.service.now());
    let until = |at: &str| {
        let with = format!("<md:IDPSSODescriptor validUntil=\"{at}\"");
        json!({"metadata_xml": scene.idp.metadata().replace("<md:IDPSSODescriptor", &with)})
    };
    for bad in [now.to_string(), later(now, -1).to_string(), "soon".to_owned()] {
        let refused = scene.service.put("/v1/admin/sso", &scene.ann, until(&bad)).await;
        assert!(refused.is(400, "invalid_request") && refused.text("/detail").contains("validUntil"), "{refused:?}");
    }
    for (seconds, warned) in [(31 * 86_400, json!([])), (30 * 86_400, json!(["metadata_expires"]))] {
        let end = later(now, seconds).to_string();
        let put = scene.service.put("/v1/admin/sso", &scene.ann, until(&end)).await.ok();
        let got = scene.service.get("/v1/admin/sso", &scene.ann).await.ok();
        assert_eq!((put.text("/valid_until"), &put.body["warnings"]), (end, &warned));
        assert_eq!(got.body, put.body);
    }
}

/// Where the IdP wants it, requests are signed by a key of the tenant's that its metadata shows.
#[tokio::test]
async fn requests_are_signed_where_the_idp_wants_it() {
    let scene = scene().await;
    let unsigned = scene.service.send(tests::Ask::new(axum::http::Method::GET, "/v1/sso/acme/login")).await;
    assert!(!unsigned.headers["location"].to_str().unwrap().contains("Signature"));
    let wanted = "<md:IDPSSODescriptor WantAuthnRequestsSigned=\"true\"";
    let metadata = json!({"metadata_xml": scene.idp.metadata().replace("<md:IDPSSODescriptor", wanted)});
    let put = scene.service.put("/v1/admin/sso", &scene.ann, metadata.clone()).await.ok();
    let pem = put.text("/service_provider/signing_certificate");
    assert_eq!(put.body["sign_requests"], json!(true));
    let verified = async || {
        let sent = scene.service.send(tests::Ask::new(axum::http::Method::GET, "/v1/sso/acme/login")).await;
        signed_by(sent.headers["location"].to_str().unwrap(), &pem)
    };
    assert!(verified().await);
    let base64: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
    let shown = scene.service.send(tests::Ask::new(axum::http::Method::GET, "/v1/sso/acme/metadata")).await.ok();
    let shown = shown.body.as_str().unwrap();
    assert!(shown.contains("AuthnRequestsSigned=\"true\"") && shown.contains(&base64), "{shown}");
    // The key stays as long as requests are signed.
    let again = scene.service.put("/v1/admin/sso", &scene.ann, metadata.clone()).await.ok();
    assert_eq!(again.text("/service_provider/signing_certificate"), pem);
    assert!(verified().await);
    let mut off = metadata;
    off["sign_requests"] = json!(false);
    let off = scene.service.put("/v1/admin/sso", &scene.ann, off).await.ok();
    assert!(
        off.body["sign_requests"] == json!(false)
            && off.body.pointer("/service_provider/signing_certificate").is_none()
    );
    let sent = scene.service.send(tests::Ask::new(axum::http::Method::GET, "/v1/sso/acme/login")).await;
    assert!(!sent.headers["location"].to_str().unwrap().contains("Signature"));
}

/// Whether the query of an address is signed by the key of a certificate (SAML bindings 3.4.4.1).
fn signed_by(location: &str, pem: &str) -> bool {
    let query = location.split_once('?').unwrap().1;
    let (signed, signature) = query.split_once("&Signature=").unwrap();
    assert!(signed.starts_with("SAMLRequest=") && signed.contains("&RelayState="), "{query}");
    let method = signed.split_once("&SigAlg=").unwrap().1;
    assert_eq!(method, "http%3A%2F%2Fwww.w3.org%2F2001%2F04%2Fxmldsig-more%23rsa-sha256");
    let signature: Vec<(String, String)> = serde_urlencoded::from_str(&format!("x={signature}")).unwrap();
    let signature = BASE64.decode(signature[0].1.as_bytes()).unwrap();
    let certificate = x509_cert::Certificate::from_pem(pem).unwrap();
    let key = certificate.tbs_certificate.subject_public_key_info.to_der().unwrap();
    let key = RsaPublicKey::from_public_key_der(&key).unwrap();
    let signature = pkcs1v15::Signature::try_from(signature.as_slice()).unwrap();
    pkcs1v15::VerifyingKey::<sha2::Sha256>::new(key).verify(signed.as_bytes(), &signature).is_ok()
}

/// Every rule that the service knows is one that a test here or in `journeys/sso.rs` breaks.
#[test]
fn every_rule_is_tried() {
    let here = concat!(include_str!("saml.rs"), include_str!("journeys/sso.rs"));
    for fault in Fault::ALL {
        let tried = here.contains(&format!("Fault::{fault:?}")) || here.contains(&format!("\"{}\"", fault.as_str()));
        assert!(tried, "{fault:?}");
    }
}
