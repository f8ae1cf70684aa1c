//! The memory that checking a response takes before its sender is known is bounded for any input.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use allocation_counter::{AllocationInfo, measure};
use data_encoding::BASE64;
use tests::{
    PUBLIC_URL, Service,
    idp::{AuthnRequest, CheckInput, Idp, ResponseSpec, Sp},
};
use vestibule::{
    env::{SystemEntropy, Timestamp},
    id::TenantId,
    saml::{self, Fault},
    secret::RestoreEpoch,
    sso::{PublicUrl, Relay, ServiceProvider},
};

struct Fixture {
    idp: Idp,
    check_input: CheckInput,
    spec: ResponseSpec,
}

fn fixture() -> Fixture {
    let (service, idp) = (Service::new(), Idp::new("https://idp.example/acme"));
    let public = PublicUrl::parse(PUBLIC_URL).unwrap();
    let sp = ServiceProvider::new(&public, &TenantId::parse("acme").unwrap());
    let (relay_state, relay) = Relay::generate(RestoreEpoch::default(), &SystemEntropy).unwrap();
    let authn_request =
        AuthnRequest { xml: String::new(), id: relay.request_id().to_owned(), relay_state: relay_state.to_string() };
    let known = Sp { tenant: "acme".into(), entity_id: sp.entity_id.clone(), acs_url: sp.acs_url.clone() };
    let spec = idp.valid_response(&service, &known, &authn_request, "bob");
    Fixture { check_input: CheckInput::new(&idp, &known, &authn_request), idp, spec }
}

impl Fixture {
    /// The memory that checking a response takes, and the result.
    fn measure_check(&self, response: &str) -> (AllocationInfo, Result<String, Fault>) {
        let posted = BASE64.encode(response.as_bytes());
        assert!(posted.len() <= saml::MAX_BYTES);
        let expected = self.check_input.expected(self.spec.issued, Timestamp::default());
        let mut checked = Err(Fault::Xml);
        let taken = measure(|| {
            checked = saml::check(&posted, expected).map(|assertion| assertion.name_id().to_owned());
        });
        (taken, checked)
    }

    /// A response of the maximum size, filled with pieces.
    fn filled(&self, piece: impl Fn(usize) -> String, around: impl Fn(&Self, &str) -> String) -> String {
        let (mut content, room) = (String::new(), saml::MAX_BYTES / 4 * 3 - 16);
        let left = room - around(self, "").len();
        for n in 0.. {
            let next = piece(n);
            if content.len() + next.len() > left {
                break;
            }
            let _ = write!(content, "{next}");
        }
        around(self, &content)
    }
}

#[test]
fn ordinary_response_uses_little_memory() {
    let fixture = fixture();
    let (taken, checked) = fixture.measure_check(&fixture.spec.sign_assertion(&fixture.idp));
    assert_eq!(checked, Ok("bob".to_owned()));
    assert!(taken.count_total < 1_000 && taken.bytes_max < 64 << 10, "{taken:?}");
}

/// Checking a refused response takes at most 32 MiB for any content, and releases the memory.
#[test]
fn rejected_response_uses_bounded_memory() {
    let fixture = fixture();
    let other = Idp::new("https://idp.example/acme");
    let attribute =
        |n| format!("<saml:Attribute Name=\"a{n}\"><saml:AttributeValue>x</saml:AttributeValue></saml:Attribute>");
    let by_another = fixture.filled(attribute, |fixture, content| {
        let statement = format!("<saml:AttributeStatement>{content}</saml:AttributeStatement></saml:Assertion>");
        let assertion = fixture.spec.assertion().replace("</saml:Assertion>", &statement);
        fixture.spec.response(&other.sign(&assertion, &fixture.spec.assertion_id))
    });
    let response = |fixture: &Fixture, content: &str| fixture.spec.response(content);
    // As many namespaces as allowed, in as many elements.
    let names = |level: usize| (0..60).map(|n| format!(" xmlns:b{n}=\"{level}\"")).collect::<String>();
    let opened: String = (0..28).map(|level| format!("<a{}>", names(level))).collect();
    let around = |all: &str| format!("{opened}{all}{}", "</a>".repeat(28));
    for (what, posted, rule) in [
        ("signed by another key", by_another, Fault::Signature),
        ("elements", fixture.filled(|_| "<a/>".into(), response), Fault::Assertions),
        ("elements in elements", fixture.filled(|_| "<a><a><a><a/></a></a></a>".into(), response), Fault::Assertions),
        ("text and elements", fixture.filled(|_| "x<a/>".into(), response), Fault::Assertions),
        ("attributes", fixture.filled(|n| format!("<a b{n}=\"\" c{n}=\"\"/>"), response), Fault::Assertions),
        (
            "attributes of one",
            fixture.filled(|n| format!(" b{n}=\"\""), |fixture, all| fixture.spec.response(&format!("<a{all}/>"))),
            Fault::Xml,
        ),
        (
            "attributes of one, behind what is no value",
            fixture.filled(
                |n| format!(" b{n}=\"\""),
                |fixture, all| fixture.spec.response(&format!("<a x=\"<\" y='>'{all}/>")),
            ),
            Fault::Xml,
        ),
        ("namespaces", fixture.filled(|n| format!("<a xmlns:b{n}=\"c\"/>"), response), Fault::Assertions),
        (
            "namespaces around",
            fixture.filled(|n| format!("<b{}:a/>", n % 60), |fixture, all| fixture.spec.response(&around(all))),
            Fault::Assertions,
        ),
        ("references", fixture.filled(|_| "&#97;".into(), response), Fault::Assertions),
        ("comments", fixture.filled(|_| "<!---->".into(), response), Fault::Assertions),
        ("assertions", fixture.filled(|_| "<saml:Assertion/>".into(), response), Fault::Assertions),
    ] {
        let (taken, checked) = fixture.measure_check(&posted);
        assert_eq!(checked, Err(rule), "{what}");
        assert!(taken.bytes_max < 32 << 20, "{what}: {taken:?}");
        assert!(taken.bytes_current <= 0, "{what}: {taken:?}");
    }
}
