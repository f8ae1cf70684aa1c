//! Size, form and rate of responses (S09).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request},
};
use data_encoding::BASE64;
use futures_util::stream::pending;
use serde_json::json;
use tests::{
    TestRequest,
    idp::{CheckInput, Idp, ResponseSpec, form},
};
use vestibule::{
    env::Timestamp,
    saml::{self, Fault},
};

use super::fixture;

/// S09: no entity is resolved, with any DTD.
#[tokio::test]
async fn s09_entities_are_refused() {
    let fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let response = spec.sign_assertion(&fixture.idp).replace(">bob<", ">&bob;<");
    let response = format!("<!DOCTYPE x [<!ENTITY bob \"bob\">]>{response}");
    let reply = fixture.service.acs("acme", &response, &authn_request.relay_state).await;
    fixture.refusal_reason(&reply).await;
}

/// S09: the check itself limits the size, even if the form parser accepts more.
#[tokio::test]
async fn s09_too_large_response_is_refused() {
    let fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let check_input = CheckInput::new(&fixture.idp, &fixture.acme, &authn_request);
    for (length, rule) in [(saml::MAX_BYTES, Fault::Xml), (saml::MAX_BYTES + 4, Fault::TooLarge)] {
        let expected = check_input.expected(spec.issued, Timestamp::default());
        assert_eq!(saml::check(&"AAAA".repeat(length / 4), expected).err(), Some(rule));
    }
}

/// Values of `SAMLResponse` that are not the encoding of one response, made of a good one, and why each is refused.
fn odd_encodings(good: &str, spec: &ResponseSpec) -> Vec<(&'static str, String, Fault)> {
    let deflated = BASE64.encode(&miniz_oxide::deflate::compress_to_vec(&vec![b'<'; 64 << 20], 9));
    let lol: String = (1..10).map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))).collect();
    let dtd = format!("<!DOCTYPE x [<!ENTITY l0 \"lol\">{lol}]>{}", good.replace(">bob<", ">&l9;<"));
    let external =
        format!("<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>{}", good.replace(">bob<", ">&e;<"));
    let deep = format!("{}{}", "<a>".repeat(20_000), "</a>".repeat(20_000));
    let attributes: String = (0..15_000).map(|n| format!(" a{n}=\"\"")).collect();
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        ("a deflate bomb", deflated, Fault::Encoding),
        ("entities", BASE64.encode(dtd.as_bytes()), Fault::Xml),
        ("an external entity", BASE64.encode(external.as_bytes()), Fault::Xml),
        ("a bare DTD", BASE64.encode(format!("<!DOCTYPE x>{good}").as_bytes()), Fault::Xml),
        ("depth", BASE64.encode(deep.as_bytes()), Fault::Xml),
        ("attributes", BASE64.encode(format!("<a{attributes}/>").as_bytes()), Fault::Xml),
        ("another element", BASE64.encode(b"<a/>"), Fault::Response),
        ("UTF-16", BASE64.encode(&utf16), Fault::Xml),
        ("invalid UTF-8", BASE64.encode(b"<a>\xff</a>"), Fault::Encoding),
        ("NUL", BASE64.encode(good.replace(">bob<", ">bob\0<").as_bytes()), Fault::Xml),
        ("invalid base64", "%%%".to_owned(), Fault::Encoding),
        ("base64 of another alphabet", "PHg-_w==".to_owned(), Fault::Encoding),
        ("an empty value", String::new(), Fault::Xml),
        ("not XML", BASE64.encode(b"hello"), Fault::Xml),
        ("two documents", BASE64.encode(format!("{good}{good}").as_bytes()), Fault::Xml),
        ("SAML 1.1", BASE64.encode(good.replace("SAML:2.0:protocol", "SAML:1.0:protocol").as_bytes()), Fault::Response),
        ("encrypted", BASE64.encode(spec.response("<saml:EncryptedAssertion/>").as_bytes()), Fault::Encrypted),
    ]
}

/// S09: oversized and wrongly encoded input is refused.
#[tokio::test]
async fn s09_bombs_and_other_encodings_are_refused() {
    let fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let good = spec.sign_assertion(&fixture.idp);
    let relay = authn_request.relay_state.clone();
    let huge = "A".repeat(10 << 20);
    assert!(
        fixture
            .service
            .acs_form("acme", &[("SAMLResponse", &huge), ("RelayState", &relay)])
            .await
            .is(413, "payload_too_large")
    );
    for (what, encoded, rule) in odd_encodings(&good, &spec) {
        let reply = fixture.service.acs_form("acme", &[("SAMLResponse", &encoded), ("RelayState", &relay)]).await;
        assert_eq!(fixture.refusal_reason(&reply).await, rule.as_str(), "{what}");
    }
    for form in [
        vec![("RelayState", relay.as_str())],
        vec![("SAMLResponse", "x"), ("SAMLResponse", "y")],
        vec![("SAMLResponse", "a\0b")],
    ] {
        assert!(fixture.service.acs_form("acme", &form).await.is(400, "invalid_request"), "{form:?}");
    }
    let request = TestRequest::new(Method::POST, "/v1/sso/acme/acs").json(json!({"SAMLResponse": "x"}));
    assert!(fixture.service.send(request).await.is(400, "invalid_request"));
    fixture.service.acs("acme", &good, &relay).await.ok();
}

/// S09: every refusal is answered after a pause, and the pauses follow one another, so that a flood does not delay other requests.
#[tokio::test]
async fn s09_every_refusal_is_answered_after_a_pause() {
    let fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let foreign = form(&spec.sign_assertion(&Idp::new(&fixture.idp.entity_id)), &authn_request.relay_state);
    let (authn_request, spec) = fixture.valid("nobody").await;
    let right = form(&spec.sign_assertion(&fixture.idp), &authn_request.relay_state);
    for (what, tenant, form, status) in [
        ("another key", "acme", foreign.as_str(), 401),
        ("an unknown user", "acme", &right, 401),
        ("an unknown tenant", "nobody", &right, 401),
        ("an invalid form", "acme", &right[1..], 400),
    ] {
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(fixture.service.acs_body(tenant, form).await.status, status, "{what}");
        }
        assert!(begun.elapsed() >= Duration::from_millis(150), "{what}");
    }
}

/// S09: a lane has 32 places. Beyond them the answer is 503, before the body or the store is read. Other client
/// networks and other tenants are not affected.
#[tokio::test]
async fn s09_full_lane_answers_503_and_delays_no_other_tenant() {
    let fixture = fixture().await;
    let endless = |tenant: &str| {
        let mut request = Request::post(format!("/v1/sso/{tenant}/acs"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from_stream(pending::<Result<String, std::io::Error>>()))
            .unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
        Box::pin(fixture.service.raw(request))
    };
    let (authn_request, spec) = fixture.valid("bob").await;
    let right = form(&spec.sign_assertion(&fixture.idp), &authn_request.relay_state);
    let mut held: Vec<_> = (0..32).map(|_| endless("acme")).collect();
    for request in &mut held {
        assert!(futures_util::poll!(request).is_pending());
    }
    let full = fixture.service.acs_body("acme", &right).await;
    assert!(full.is(503, "unavailable") && full.headers.contains_key("retry-after"), "{full:?}");
    assert!(fixture.service.acs_body("globex", &right).await.is(401, "invalid_credentials"));
    let request = TestRequest::new(Method::POST, "/v1/sso/acme/acs").form(&right).from([127, 0, 1, 1]);
    fixture.service.send(request).await.ok();
    drop(held);
    let (authn_request, spec) = fixture.valid("bob").await;
    fixture.service.acs("acme", &spec.sign_assertion(&fixture.idp), &authn_request.relay_state).await.ok();
}
