//! What a response costs in memory, before anybody knows whose it is: a bound that holds for whatever is posted.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use allocation_counter::{AllocationInfo, measure};
use data_encoding::BASE64;
use tests::{
    PUBLIC_URL, Service,
    idp::{Asked, Bare, Idp, Says, Sp},
};
use vestibule::{
    env::{SystemEntropy, Timestamp},
    id::TenantId,
    saml::{self, Fault},
    secret::RestoreEpoch,
    sso::{PublicUrl, Relay, ServiceProvider},
};

struct Scene {
    idp: Idp,
    bare: Bare,
    says: Says,
}

fn scene() -> Scene {
    let (service, idp) = (Service::new(), Idp::new("https://idp.example/acme"));
    let public = PublicUrl::parse(PUBLIC_URL).unwrap();
    let sp = ServiceProvider::new(&public, &TenantId::parse("acme").unwrap());
    let (relay_state, relay) = Relay::generate(RestoreEpoch::default(), &SystemEntropy).unwrap();
    let asked = Asked { xml: String::new(), id: relay.request_id().to_owned(), relay_state: relay_state.to_string() };
    let known = Sp { tenant: "acme".into(), entity_id: sp.entity_id.clone(), acs_url: sp.acs_url.clone() };
    let says = idp.answer(&service, &known, &asked, "bob");
    Scene { bare: Bare::new(&idp, &known, &asked), idp, says }
}

impl Scene {
    /// What the check of a response takes, and what comes of it.
    fn takes(&self, response: &str) -> (AllocationInfo, Result<String, Fault>) {
        let posted = BASE64.encode(response.as_bytes());
        assert!(posted.len() <= saml::MAX_BYTES);
        let expected = self.bare.expected(self.says.issued, Timestamp::default());
        let mut checked = Err(Fault::Xml);
        let taken = measure(|| {
            checked = saml::check(&posted, expected).map(|assertion| assertion.name_id().to_owned());
        });
        (taken, checked)
    }

    /// As much of something as fits.
    fn full(&self, piece: impl Fn(usize) -> String, around: impl Fn(&Self, &str) -> String) -> String {
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
fn a_usual_response_takes_little() {
    let scene = scene();
    let (taken, checked) = scene.takes(&scene.says.signed(&scene.idp));
    assert_eq!(checked, Ok("bob".to_owned()));
    assert!(taken.count_total < 1_000 && taken.bytes_max < 64 << 10, "{taken:?}");
}

/// Whatever it is full of, one that is refused takes some tens of times its size at most, and gives it back.
#[test]
fn what_is_refused_takes_no_more_than_a_bound() {
    let scene = scene();
    let other = Idp::new("https://idp.example/acme");
    let attribute =
        |n| format!("<saml:Attribute Name=\"a{n}\"><saml:AttributeValue>x</saml:AttributeValue></saml:Attribute>");
    let by_another = scene.full(attribute, |scene, content| {
        let statement = format!("<saml:AttributeStatement>{content}</saml:AttributeStatement></saml:Assertion>");
        let assertion = scene.says.assertion().replace("</saml:Assertion>", &statement);
        scene.says.response(&other.sign(&assertion, &scene.says.assertion_id))
    });
    let response = |scene: &Scene, content: &str| scene.says.response(content);
    // As many namespaces as may be, in as many elements.
    let names = |level: usize| (0..60).map(|n| format!(" xmlns:b{n}=\"{level}\"")).collect::<String>();
    let opened: String = (0..28).map(|level| format!("<a{}>", names(level))).collect();
    let around = |all: &str| format!("{opened}{all}{}", "</a>".repeat(28));
    for (what, posted, rule) in [
        ("signed by another key", by_another, Fault::Signature),
        ("elements", scene.full(|_| "<a/>".into(), response), Fault::Assertions),
        ("elements in elements", scene.full(|_| "<a><a><a><a/></a></a></a>".into(), response), Fault::Assertions),
        ("text and elements", scene.full(|_| "x<a/>".into(), response), Fault::Assertions),
        ("attributes", scene.full(|n| format!("<a b{n}=\"\" c{n}=\"\"/>"), response), Fault::Assertions),
        (
            "attributes of one",
            scene.full(|n| format!(" b{n}=\"\""), |scene, all| scene.says.response(&format!("<a{all}/>"))),
            Fault::Xml,
        ),
        (
            "attributes of one, behind what is no value",
            scene
                .full(|n| format!(" b{n}=\"\""), |scene, all| scene.says.response(&format!("<a x=\"<\" y='>'{all}/>"))),
            Fault::Xml,
        ),
        ("namespaces", scene.full(|n| format!("<a xmlns:b{n}=\"c\"/>"), response), Fault::Assertions),
        (
            "namespaces around",
            scene.full(|n| format!("<b{}:a/>", n % 60), |scene, all| scene.says.response(&around(all))),
            Fault::Assertions,
        ),
        ("references", scene.full(|_| "&#97;".into(), response), Fault::Assertions),
        ("comments", scene.full(|_| "<!---->".into(), response), Fault::Assertions),
        ("assertions", scene.full(|_| "<saml:Assertion/>".into(), response), Fault::Assertions),
    ] {
        let (taken, checked) = scene.takes(&posted);
        assert_eq!(checked, Err(rule), "{what}");
        assert!(taken.bytes_max < 32 << 20, "{what}: {taken:?}");
        assert!(taken.bytes_current <= 0, "{what}: {taken:?}");
    }
}
