//! Attacks on SSO (docs/threat-model.md, "SSO"). Each is refused with the general answer, the audit names the violated rule,
//! and no session is created.
#![allow(clippy::unwrap_used, clippy::panic)]

mod conditions;
mod limits;
mod signatures;

use std::{sync::Arc, time::Duration};

use axum::http::Method;
use data_encoding::BASE64;
use rsa::{RsaPublicKey, pkcs1v15, pkcs8::DecodePublicKey, signature::Verifier};
use serde_json::{Value, json};
use tests::{
    Reply, Service, TestRequest, TestUsers,
    idp::{AuthnRequest, CheckInput, Idp, ResponseSpec, Sp},
    log::Log,
};
use tracing_subscriber::{filter::LevelFilter, util::SubscriberInitExt};
use vestibule::{
    env::Timestamp,
    saml::{self, Fault},
};
use x509_cert::der::{DecodePem, Encode};

/// The tenants acme and globex, each with its own IdP. Bob and eve of acme sign in by SSO; bob has enrolled.
struct Fixture {
    service: Service,
    users: TestUsers,
    /// The session token of the Administrator ann.
    ann: String,
    acme: Sp,
    idp: Idp,
    foreign: Idp,
}

async fn fixture() -> Fixture {
    let (service, mut users) = Service::with_users().await;
    let (idp, foreign) = (Idp::new("https://idp.example/acme"), Idp::new("https://idp.example/globex"));
    for (admin, idp) in [("ann", &idp), ("gus", &foreign)] {
        let token = service.stepped_up_session(users.get_mut(admin).unwrap()).await;
        service.put("/v1/admin/sso", &token, json!({"metadata_xml": idp.metadata()})).await.ok();
    }
    let ann = service.stepped_up_session(users.get_mut("ann").unwrap()).await;
    for name in ["bob", "eve"] {
        let change = json!({"auth_type": "saml_sso"});
        service.patch(&format!("/v1/admin/users/u-{name}"), &ann, change).await.ok();
    }
    let acme = service.sp("acme").await;
    let fixture = Fixture { service, users, ann, acme, idp, foreign };
    let (authn_request, spec) = fixture.valid("bob").await;
    let first = fixture.service.acs("acme", &spec.sign_assertion(&fixture.idp), &authn_request.relay_state).await.ok();
    let mut fixture = fixture;
    let bob = fixture.users.get_mut("bob").unwrap();
    fixture.service.enrol_with(bob, &first.text("/enrolment/token"), json!({})).await;
    fixture
}

impl Fixture {
    async fn valid(&self, name_id: &str) -> (AuthnRequest, ResponseSpec) {
        let authn_request = self.service.sso_request("acme").await;
        let spec = self.idp.valid_response(&self.service, &self.acme, &authn_request, name_id);
        (authn_request, spec)
    }

    /// The `reason` in the audit row of a refused sign-in.
    async fn refusal_reason(&self, reply: &Reply) -> String {
        self.refusal_row(reply).await["reason"].as_str().unwrap().to_owned()
    }

    /// The audit row of a refused sign-in. Panics if the answer is not the general refusal.
    async fn refusal_row(&self, reply: &Reply) -> Value {
        assert!(reply.is(401, "invalid_credentials"), "{reply:?}");
        assert!(reply.body.get("detail").is_none() && !reply.headers.contains_key("set-cookie"));
        let rows = self.service.get("/v1/admin/audit?limit=100", &self.ann).await.ok();
        let id = reply.headers["x-request-id"].to_str().unwrap();
        let row = rows.body["items"].as_array().unwrap().iter().find(|row| row["request_id"] == id).unwrap().clone();
        assert_eq!((&row["action"], &row["outcome"]), (&json!("sso.login"), &json!("refused")));
        row
    }

    async fn assert_refused(&self, what: &str, response: &str, authn_request: &AuthnRequest, rule: Fault) {
        let reply = self.service.acs("acme", response, &authn_request.relay_state).await;
        assert_eq!(self.refusal_reason(&reply).await, rule.as_str(), "{what}");
    }

    /// Asserts that a valid response about bob, changed and then signed, is refused by this rule.
    async fn assert_refused_with(&self, what: &str, rule: Fault, change: impl FnOnce(&mut ResponseSpec)) {
        let (authn_request, mut spec) = self.valid("bob").await;
        change(&mut spec);
        let response = spec.sign_assertion(&self.idp);
        self.assert_refused(what, &response, &authn_request, rule).await;
    }
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_secs(at.secs() + seconds)
}

/// Control: valid responses are accepted, so the refusals below have the expected cause.
#[tokio::test]
async fn valid_response_signs_in() {
    let fixture = fixture().await;
    for whole in [false, true] {
        let (authn_request, spec) = fixture.valid("bob").await;
        let response = if whole { spec.sign_response(&fixture.idp) } else { spec.sign_assertion(&fixture.idp) };
        let reply = fixture.service.acs("acme", &response, &authn_request.relay_state).await.ok();
        assert_eq!(reply.text("/user/username"), "bob");
    }
    // Response and assertion signed, base64 in lines, and a byte order mark.
    let (authn_request, spec) = fixture.valid("bob").await;
    let both = fixture.idp.sign(&spec.sign_assertion(&fixture.idp), &spec.response_id);
    let lines: Vec<_> = BASE64.encode(format!("\u{feff}{both}").as_bytes()).into_bytes();
    let lines: Vec<_> = lines.chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let form = [("SAMLResponse", lines.join("\r\n")), ("RelayState", authn_request.relay_state)];
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fixture.service.acs_form("acme", &form).await.ok();
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).unwrap();
    &text[start..start + text[start..].find(to).unwrap() + to.len()]
}

/// S02: an assertion is accepted once, also under concurrency and after its request was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s02_assertion_is_accepted_once() {
    let mut fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let response = spec.sign_assertion(&fixture.idp);
    let service = Arc::new(fixture.service);
    let racing = (0..32).map(|_| {
        let (service, response, relay) = (Arc::clone(&service), response.clone(), authn_request.relay_state.clone());
        tokio::spawn(async move { service.acs("acme", &response, &relay).await.status.as_u16() })
    });
    let mut statuses = Vec::new();
    for one in racing.collect::<Vec<_>>() {
        statuses.push(one.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    fixture.service = Arc::into_inner(service).unwrap();
    let reply = fixture.service.acs("acme", &response, &authn_request.relay_state).await;
    fixture.refusal_reason(&reply).await;
    // Only the assertion id is reused, in answer to another request.
    let (other, mut again) = fixture.valid("bob").await;
    again.assertion_id = spec.assertion_id.clone();
    let reply = fixture.service.acs("acme", &again.sign_assertion(&fixture.idp), &other.relay_state).await;
    assert_eq!(fixture.refusal_reason(&reply).await, "spent");
    // Only the request is reused, by another assertion.
    let (_, mut new) = fixture.valid("bob").await;
    new.in_response_to = Some(authn_request.id.clone());
    fixture
        .assert_refused("an answered request", &new.sign_assertion(&fixture.idp), &authn_request, Fault::InResponseTo)
        .await;
    // The request of another browser.
    let (mine, spec) = fixture.valid("bob").await;
    let (theirs, _) = fixture.valid("bob").await;
    fixture
        .assert_refused("for another browser", &spec.sign_assertion(&fixture.idp), &theirs, Fault::InResponseTo)
        .await;
    // A request that has expired.
    fixture.service.advance(15 * 60);
    let mut late = fixture.idp.valid_response(&fixture.service, &fixture.acme, &mine, "bob");
    late.in_response_to = Some(mine.id.clone());
    fixture.assert_refused("late", &late.sign_assertion(&fixture.idp), &mine, Fault::InResponseTo).await;
}

/// S04: a tenant's IdP cannot sign in another tenant's users, at either tenant's ACS.
#[tokio::test]
async fn s04_response_of_another_tenants_idp_is_refused() {
    let fixture = fixture().await;
    let globex = fixture.service.sp("globex").await;
    let (authn_request, _) = fixture.valid("bob").await;
    for name_id in ["bob", "bob@acme.example"] {
        let spec = fixture.foreign.valid_response(&fixture.service, &fixture.acme, &authn_request, name_id);
        let response = spec.sign_assertion(&fixture.foreign);
        let reply = fixture.service.acs("acme", &response, &authn_request.relay_state).await;
        assert_eq!(fixture.refusal_reason(&reply).await, "signature");
        let theirs = fixture.service.sso_request("globex").await;
        let spec = fixture.foreign.valid_response(&fixture.service, &globex, &theirs, name_id);
        let reply = fixture.service.acs("globex", &spec.sign_assertion(&fixture.foreign), &theirs.relay_state).await;
        assert!(reply.is(401, "invalid_credentials"));
        // A response for one tenant at the other's ACS, and a request of the other tenant.
        let (authn_request, spec) = fixture.valid("bob").await;
        let reply = fixture.service.acs("globex", &spec.sign_assertion(&fixture.idp), &authn_request.relay_state).await;
        assert!(reply.is(401, "invalid_credentials"));
        let spec = fixture.idp.valid_response(&fixture.service, &fixture.acme, &theirs, "bob");
        fixture
            .assert_refused(
                "a request of another tenant",
                &spec.sign_assertion(&fixture.idp),
                &theirs,
                Fault::InResponseTo,
            )
            .await;
    }
}

/// S06: an IdP can never make a user an operator.
#[tokio::test]
async fn s06_operators_are_never_provisioned() {
    let mut fixture = fixture().await;
    let op = fixture.service.stepped_up_session(fixture.users.get_mut("op").unwrap()).await;
    let mut fields = fixture.idp.fields();
    fields["provisioning"] = json!({"administrators": ["Staff"]});
    fixture.service.put("/v1/admin/sso", &op, fields).await.ok();
    let sp = fixture.service.sp("support").await;
    let authn_request = fixture.service.sso_request("support").await;
    let mut spec = fixture.idp.valid_response(&fixture.service, &sp, &authn_request, "n-1");
    spec.attributes = [("Username", "zoe"), ("SecurityGroup", "Staff")].map(|(n, v)| (n.into(), vec![v.into()])).into();
    let reply = fixture.service.acs("support", &spec.sign_assertion(&fixture.idp), &authn_request.relay_state).await;
    fixture.ann = op;
    assert_eq!(fixture.refusal_reason(&reply).await, "provisioning_support");
}

/// S08: only an Administrator of the tenant changes the sign-in method.
#[tokio::test]
async fn s08_only_administrators_with_step_up_change_the_sign_in_method() {
    let mut fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let own = fixture
        .service
        .acs("acme", &spec.sign_assertion(&fixture.idp), &authn_request.relay_state)
        .await
        .ok()
        .text("/session/token");
    let gus = fixture.service.stepped_up_session(fixture.users.get_mut("gus").unwrap()).await;
    let change = json!({"auth_type": "local"});
    assert!(fixture.service.patch("/v1/admin/users/u-bob", &own, change.clone()).await.is(403, "forbidden"));
    assert!(fixture.service.patch("/v1/admin/users/u-bob", &gus, change).await.is(404, "not_found"));
    for field in [json!({"auth_type": "none"}), json!({"saml": true}), json!({"auth_type": ["local"]})] {
        let ann = fixture.service.stepped_up_session(fixture.users.get_mut("ann").unwrap()).await;
        assert!(fixture.service.patch("/v1/admin/users/u-bob", &ann, field).await.is(400, "invalid_request"));
    }
}

/// SAML bindings 3.5.4: a form may have more fields than the profile names.
#[tokio::test]
async fn additional_form_fields_are_ignored() {
    let fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let response = BASE64.encode(spec.sign_assertion(&fixture.idp).as_bytes());
    let form = [
        ("SAMLart", "x"),
        ("SAMLResponse", &*response),
        ("RelayState", &*authn_request.relay_state),
        ("submit", "Continue"),
    ];
    assert_eq!(fixture.service.acs_form("acme", &form).await.ok().text("/user/username"), "bob");
}

/// After a restore, assertions issued before it are refused, because the store no longer knows which were spent.
#[tokio::test]
async fn tokens_from_before_a_restore_are_refused() {
    let fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let check_input = CheckInput::new(&fixture.idp, &fixture.acme, &authn_request);
    let check = |since: Timestamp| {
        let expected = check_input.expected(spec.issued + Duration::from_secs(10), since);
        saml::check(&BASE64.encode(spec.sign_assertion(&fixture.idp).as_bytes()), expected)
            .map(|assertion| assertion.name_id().to_owned())
    };
    assert_eq!(check(spec.issued), Ok("bob".to_owned()));
    assert_eq!(check(spec.issued + Duration::from_secs(1)), Err(Fault::Expired));
}

/// The audit names the unknown `NameID`, escaped; the answer does not contain it.
#[tokio::test]
async fn audit_names_an_unknown_subject() {
    let fixture = fixture().await;
    let (authn_request, mut spec) = fixture.valid("bob").await;
    spec.name_id = "mal\u{202e}lory".into();
    let format = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";
    let assertion = spec.assertion().replace("<saml:NameID>", &format!("<saml:NameID Format=\"{format}\">"));
    let response = spec.response(&fixture.idp.sign(&assertion, &spec.assertion_id));
    let reply = fixture.service.acs("acme", &response, &authn_request.relay_state).await;
    assert!(!reply.body.to_string().contains("lory"), "{reply:?}");
    let row = fixture.refusal_row(&reply).await;
    assert_eq!(row["reason"], "unknown_subject");
    assert_eq!((&row["name_id"], &row["name_id_format"]), (&json!("mal\\u{202e}lory"), &json!(format)));
}

/// Expired metadata is refused. Metadata that expires within 30 days gives a warning.
#[tokio::test]
async fn expired_metadata_is_refused_and_expiring_metadata_warned_about() {
    let fixture = fixture().await;
    let now = Timestamp::from_secs(fixture.service.now());
    let until = |at: &str| {
        let with = format!("<md:IDPSSODescriptor validUntil=\"{at}\"");
        json!({"metadata_xml": fixture.idp.metadata().replace("<md:IDPSSODescriptor", &with)})
    };
    for bad in [now.to_string(), later(now, -1).to_string(), "soon".to_owned()] {
        let refused = fixture.service.put("/v1/admin/sso", &fixture.ann, until(&bad)).await;
        assert!(refused.is(400, "invalid_request") && refused.text("/detail").contains("validUntil"), "{refused:?}");
    }
    for (seconds, warned) in [(31 * 86_400, json!([])), (30 * 86_400, json!(["metadata_expires"]))] {
        let end = later(now, seconds).to_string();
        let put = fixture.service.put("/v1/admin/sso", &fixture.ann, until(&end)).await.ok();
        let got = fixture.service.get("/v1/admin/sso", &fixture.ann).await.ok();
        assert_eq!((put.text("/valid_until"), &put.body["warnings"]), (end, &warned));
        assert_eq!(got.body, put.body);
    }
}

/// Those who run the service see a certificate that expires, also if the Administrators of the tenant do not look.
#[tokio::test]
async fn certificate_that_expires_soon_is_logged_at_a_sign_in() {
    let fixture = fixture().await;
    let log = Log::default();
    // 45 days after the clock starts.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut other = rcgen::CertificateParams::new(vec!["idp.example".to_owned()]).unwrap();
    other.not_after = rcgen::date_time_ymd(2027, 3, 1);
    let mut fields = fixture.idp.fields();
    fields["certificates"] = json!([fixture.idp.certificate, other.self_signed(&key).unwrap().pem()]);
    fixture.service.put("/v1/admin/sso", &fixture.ann, fields).await.ok();
    for (days, warned) in [(0, false), (16, true)] {
        fixture.service.advance(days * 86_400);
        let (authn_request, spec) = fixture.valid("bob").await;
        let response = spec.sign_assertion(&fixture.idp);
        let subscriber = tracing_subscriber::fmt().without_time().with_ansi(false).with_max_level(LevelFilter::WARN);
        let _collected = subscriber.with_writer(log.clone()).set_default();
        fixture.service.acs("acme", &response, &authn_request.relay_state).await.ok();
        let said = log.take();
        assert_eq!(said.matches("expires").count(), usize::from(warned), "{said}");
        assert!(!warned || said.contains("ends=2027-03-01T00:00:00Z"), "{said}");
    }
}

/// If the IdP wants signed requests, the tenant's key signs them and the metadata contains its certificate.
#[tokio::test]
async fn requests_are_signed_if_the_idp_wants_it() {
    let fixture = fixture().await;
    let unsigned = fixture.service.send(TestRequest::new(Method::GET, "/v1/sso/acme/login")).await;
    assert!(!unsigned.headers["location"].to_str().unwrap().contains("Signature"));
    let wanted = "<md:IDPSSODescriptor WantAuthnRequestsSigned=\"true\"";
    let metadata = json!({"metadata_xml": fixture.idp.metadata().replace("<md:IDPSSODescriptor", wanted)});
    let put = fixture.service.put("/v1/admin/sso", &fixture.ann, metadata.clone()).await.ok();
    let pem = put.text("/service_provider/signing_certificate");
    assert_eq!(put.body["sign_requests"], json!(true));
    let verified = async || {
        let sent = fixture.service.send(TestRequest::new(Method::GET, "/v1/sso/acme/login")).await;
        signed_by(sent.headers["location"].to_str().unwrap(), &pem)
    };
    assert!(verified().await);
    let base64: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
    let shown = fixture.service.send(TestRequest::new(Method::GET, "/v1/sso/acme/metadata")).await.ok();
    let shown = shown.body.as_str().unwrap();
    assert!(shown.contains("AuthnRequestsSigned=\"true\"") && shown.contains(&base64), "{shown}");
    // The key is kept as long as requests are signed.
    let again = fixture.service.put("/v1/admin/sso", &fixture.ann, metadata.clone()).await.ok();
    assert_eq!(again.text("/service_provider/signing_certificate"), pem);
    assert!(verified().await);
    let mut off = metadata;
    off["sign_requests"] = json!(false);
    let off = fixture.service.put("/v1/admin/sso", &fixture.ann, off).await.ok();
    assert!(
        off.body["sign_requests"] == json!(false)
            && off.body.pointer("/service_provider/signing_certificate").is_none()
    );
    let sent = fixture.service.send(TestRequest::new(Method::GET, "/v1/sso/acme/login")).await;
    assert!(!sent.headers["location"].to_str().unwrap().contains("Signature"));
}

/// Whether the query of a URL is signed by the key of a certificate (SAML bindings 3.4.4.1).
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

/// Every `Fault` is expected by a test here or in `journeys/sso/`.
#[test]
fn every_fault_is_covered_by_a_test() {
    let here = concat!(
        include_str!("conditions.rs"),
        include_str!("signatures.rs"),
        include_str!("limits.rs"),
        include_str!("main.rs"),
        include_str!("../journeys/sso/mod.rs"),
        include_str!("../journeys/sso/accounts.rs"),
        include_str!("../journeys/sso/browser.rs")
    );
    for fault in Fault::ALL {
        let tried = here.contains(&format!("Fault::{fault:?}")) || here.contains(&format!("\"{}\"", fault.as_str()));
        assert!(tried, "{fault:?}");
    }
}
