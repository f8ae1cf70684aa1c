//! What is signed, by whom and how (S01).

use std::cell::Cell;

use data_encoding::BASE64;
use proptest::{prelude::*, test_runner::TestRunner};
use tests::idp::{CheckInput, ECDSA_SHA256, EXCLUSIVE, ResponseSpec, template};
use vestibule::{
    env::Timestamp,
    saml::{self, Fault},
};

use super::{Fixture, between, fixture};

/// S01: each part of a signature, altered alone.
#[tokio::test]
async fn s01_each_altered_part_of_a_signature_is_refused() {
    let fixture = &fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let good = spec.sign_assertion(&fixture.idp);
    let uri = format!("URI=\"#{}\"", spec.assertion_id);
    let nameless = good.replace(&spec.assertion_id, "");
    let twice = fixture.idp.sign(&fixture.idp.sign(&spec.assertion(), &spec.assertion_id), &spec.assertion_id);
    let extension =
        format!("<samlp:Extensions ID=\"_x\"><saml:Issuer>x</saml:Issuer></samlp:Extensions>{}", spec.assertion());
    let elsewhere = fixture.idp.sign(&spec.response(&extension), "_x");
    for (what, response) in [
        ("a processing instruction in the digest", good.replace("<ds:DigestValue>", "<ds:DigestValue><?x y?>")),
        ("a comment in the value", good.replace("<ds:SignatureValue>", "<ds:SignatureValue><!-- x -->")),
        ("a comment in SignedInfo", good.replace("<ds:SignedInfo>", "<ds:SignedInfo><!-- x -->")),
        ("in the assertion, over the response", good.replace(&uri, &format!("URI=\"#{}\"", spec.response_id))),
        ("over the whole document", good.replace(&uri, "URI=\"\"")),
        ("over an element without id", nameless),
        ("two signatures over one element", spec.response(&twice)),
        ("over another element", elsewhere),
        (
            "an id in another attribute",
            good.replace("</samlp:Status>", &format!("</samlp:Status><x Id=\"{}\"/>", spec.assertion_id)),
        ),
        (
            "an id as in SAML 1.1",
            good.replace("</samlp:Status>", &format!("</samlp:Status><x AssertionID=\"{}\"/>", spec.assertion_id)),
        ),
    ] {
        assert_ne!(response, good, "{what}");
        fixture.assert_refused(what, &response, &authn_request, Fault::SignaturePlace).await;
    }
    let assertion = fixture.idp.sign(&spec.assertion(), &spec.assertion_id);
    let aside = spec.response(&format!("<samlp:Extensions>{assertion}</samlp:Extensions>"));
    fixture.assert_refused("a signed assertion in Extensions", &aside, &authn_request, Fault::Assertions).await;
    // A transform may contain the list of prefixes, and nothing else.
    let transform = format!("<ds:Transform Algorithm=\"{EXCLUSIVE}\"/>");
    let with = |content: &str| {
        let right = template(&spec.assertion_id, ECDSA_SHA256);
        let full = transform.replace("/>", &format!(">{content}</ds:Transform>"));
        let place = format!("</saml:Issuer>{}", right.replace(&transform, &full));
        spec.response(&fixture.idp.fill(&spec.assertion().replacen("</saml:Issuer>", &place, 1)))
    };
    fixture.assert_refused("an unknown element in a transform", &with("<x/>"), &authn_request, Fault::Algorithm).await;
    let kept = with(&format!("<ec:InclusiveNamespaces xmlns:ec=\"{EXCLUSIVE}\" PrefixList=\"saml\"/>"));
    fixture.service.acs("acme", &kept, &authn_request.relay_state).await.ok();
}

/// S01: a signature of the IdP in the assertion, over another element next to the assertion.
#[tokio::test]
async fn s01_signature_over_another_element_is_refused() {
    let fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("eve").await;
    let template = template("_x", ECDSA_SHA256);
    let assertion = spec.assertion().replacen("</saml:Issuer>", &format!("</saml:Issuer>{template}"), 1);
    let beside = format!("<samlp:Extensions ID=\"_x\"/>{assertion}");
    let response = fixture.idp.fill(&spec.response(&beside));
    let reply = fixture.service.acs("acme", &response, &authn_request.relay_state).await;
    fixture.refusal_reason(&reply).await;
}

/// S01: the content that is read must have the signed digest.
#[tokio::test]
async fn s01_only_digested_content_is_read() {
    let fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let response = spec.sign_assertion(&fixture.idp).replace(">bob<", ">eve<");
    fixture.assert_refused("about eve", &response, &authn_request, Fault::Signature).await;
}

/// S01: signatures that are missing, incomplete or by another key.
#[tokio::test]
async fn s01_missing_or_foreign_signatures_are_refused() {
    let fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let good = spec.sign_assertion(&fixture.idp);
    let cut = |from: &str, to: &str| {
        let (start, end) = (good.find(from).unwrap(), good.find(to).unwrap() + to.len());
        format!("{}{}", &good[..start], &good[end..])
    };
    let unsigned = spec.response(&spec.assertion());
    fixture.assert_refused("unsigned", &unsigned, &authn_request, Fault::Unsigned).await;
    fixture
        .assert_refused("signature removed", &cut("<ds:Signature ", "</ds:Signature>"), &authn_request, Fault::Unsigned)
        .await;
    let value = cut("<ds:SignatureValue>", "</ds:SignatureValue>");
    fixture.assert_refused("no signature value", &value, &authn_request, Fault::Signature).await;
    let reference = cut("<ds:Reference ", "</ds:Reference>");
    fixture.assert_refused("no reference", &reference, &authn_request, Fault::SignaturePlace).await;
    fixture.assert_refused("about eve", &good.replace(">bob<", ">eve<"), &authn_request, Fault::Signature).await;
    let foreign = spec.sign_assertion(&fixture.foreign);
    fixture.assert_refused("by another tenant's IdP", &foreign, &authn_request, Fault::Signature).await;
    let key_info = format!(
        "</ds:SignatureValue><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>",
        fixture.foreign.certificate_base64()
    );
    let own_key = foreign.replace("</ds:SignatureValue>", &key_info);
    fixture.assert_refused("with its own key in KeyInfo", &own_key, &authn_request, Fault::Signature).await;
    // Content that the profile does not allow, and content that canonicalisation drops but a reader may not.
    let object = good.replace("</ds:SignatureValue>", "</ds:SignatureValue><ds:Object><x/></ds:Object>");
    fixture.assert_refused("an object in the signature", &object, &authn_request, Fault::SignaturePlace).await;
    let comment = good.replace("<ds:DigestValue>", "<ds:DigestValue><!-- x -->");
    fixture.assert_refused("a comment in the digest", &comment, &authn_request, Fault::SignaturePlace).await;
    let twice = good
        .replace("</saml:Assertion>", "</saml:Assertion><x ID=\"ID\"/>")
        .replace("ID=\"ID\"", &format!("ID=\"{}\"", spec.assertion_id));
    fixture.assert_refused("two elements with one id", &twice, &authn_request, Fault::SignaturePlace).await;
    // The IdP signed the response and another key the assertion: both signatures must be valid.
    let inner = spec.response(&fixture.foreign.sign(&spec.assertion(), &spec.assertion_id));
    let both = fixture.idp.sign(&inner, &spec.response_id);
    fixture.assert_refused("one of two signatures is by another key", &both, &authn_request, Fault::Signature).await;
}

/// S01: only listed algorithms are allowed. The IdP signs where it can, so that only the algorithm is wrong.
#[tokio::test]
async fn s01_other_algorithms_are_refused() {
    let fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let right = template(&spec.assertion_id, ECDSA_SHA256);
    let place = "</saml:Issuer>";
    let assertion = spec.assertion();
    let with = |fixture: &Fixture, template: String, fill: bool| {
        let unsigned = assertion.replacen(place, &format!("{place}{template}"), 1);
        spec.response(&if fill { fixture.idp.fill(&unsigned) } else { unsigned })
    };
    let control = with(&fixture, right.clone(), true);
    for (what, template, fill) in [
        ("SHA-1", right.replace(ECDSA_SHA256, "http://www.w3.org/2000/09/xmldsig#rsa-sha1"), false),
        ("RSA-PSS", right.replace(ECDSA_SHA256, "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1"), false),
        ("ECDSA with SHA-1", right.replace("ecdsa-sha256", "ecdsa-sha1"), false),
        ("HMAC with the public key", right.replace("ecdsa-sha256", "hmac-sha256"), false),
        ("none", right.replace(ECDSA_SHA256, "none"), false),
        ("SHA-224", right.replace("ecdsa-sha256", "ecdsa-sha224"), false),
        ("SHA-1 digest", right.replace("http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2000/09/xmldsig#sha1"), true),
        ("inclusive canonicalisation", right.replace(EXCLUSIVE, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"), true),
        ("inclusive canonicalisation of SignedInfo", right.replacen(EXCLUSIVE, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315", 1), true),
        ("canonicalisation with comments", right.replace(EXCLUSIVE, &format!("{EXCLUSIVE}WithComments")), true),
        ("XPath", right.replace("</ds:Transforms>", "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"><ds:XPath>not(self::text())</ds:XPath></ds:Transform></ds:Transforms>"), false),
        ("XSLT", right.replace("</ds:Transforms>", "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xslt-19991116\"/></ds:Transforms>"), false),
        ("no transform", right.replace(&format!("<ds:Transform Algorithm=\"{EXCLUSIVE}\"/>"), ""), false),
    ] {
        assert_ne!(template, right, "{what}");
        let response = with(&fixture, template, fill);
        let row = fixture.refusal_row(&fixture.service.acs("acme", &response, &authn_request.relay_state).await).await;
        assert_eq!(row["reason"], Fault::Algorithm.as_str(), "{what}");
        let named = row["algorithm"].as_str().unwrap_or_default();
        // A missing transform has no algorithm to name.
        assert_eq!(named.is_empty(), what == "no transform", "{what}");
        assert!(what != "RSA-PSS" || named == "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1", "{named}");
    }
    fixture.service.acs("acme", &control, &authn_request.relay_state).await.ok();
}

/// A response about eve, in the place of `spec`.
fn about_eve(spec: &ResponseSpec) -> ResponseSpec {
    ResponseSpec { name_id: "eve".into(), assertion_id: "_evil".into(), response_id: "_evilr".into(), ..spec.clone() }
}

/// Responses about eve that contain the signed response of `spec` (XSW1 and XSW2).
fn with_signed_response(fixture: &Fixture, spec: &ResponseSpec) -> [(&'static str, String); 2] {
    let evil = about_eve(spec);
    let response = spec.sign_response(&fixture.idp);
    let evil_response = |inside_signature: bool| {
        let signature = between(&response, "<ds:Signature ", "</ds:Signature>");
        let original = response.replace(signature, "");
        let placed = if inside_signature {
            signature.replace("</ds:Signature>", &format!("<ds:Object>{original}</ds:Object></ds:Signature>"))
        } else {
            format!("{original}{signature}")
        };
        evil.response(&evil.assertion()).replacen("</saml:Issuer>", &format!("</saml:Issuer>{placed}"), 1)
    };
    [("XSW1", evil_response(true)), ("XSW2", evil_response(false))]
}

/// Responses that contain the signed assertion of `spec` and an assertion about eve (XSW3 to XSW8, and others).
fn with_signed_assertion(fixture: &Fixture, spec: &ResponseSpec) -> Vec<(&'static str, String)> {
    let evil_assertion = about_eve(spec).assertion();
    let signed = fixture.idp.sign(&spec.assertion(), &spec.assertion_id);
    let signature = between(&signed, "<ds:Signature ", "</ds:Signature>").to_owned();
    let unsigned = signed.replace(&signature, "");
    let into = |outer: &str, inner: &str, before: &str| outer.replacen(before, &format!("{inner}{before}"), 1);
    let object =
        |inner: &str| signature.replace("</ds:Signature>", &format!("<ds:Object>{inner}</ds:Object></ds:Signature>"));
    let after_issuer = |assertion: &str, signature: &str| {
        assertion.replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1)
    };
    let extensions = |inner: &str| format!("<samlp:Extensions>{inner}</samlp:Extensions>");
    vec![
        ("XSW3: the evil assertion before the signed one", spec.response(&format!("{evil_assertion}{signed}"))),
        (
            "XSW4: the signed assertion inside the evil one",
            spec.response(&into(&evil_assertion, &signed, "</saml:Assertion>")),
        ),
        (
            "XSW5: the evil assertion has the signature, the signed one comes last",
            spec.response(&format!("{}{unsigned}", after_issuer(&evil_assertion, &signature))),
        ),
        (
            "XSW6: the evil assertion has the signature, which contains the signed one",
            spec.response(&after_issuer(&evil_assertion, &into(&signature, &unsigned, "</ds:Signature>"))),
        ),
        (
            "XSW7: the evil assertion in Extensions, before the signed one",
            spec.response(&format!("{}{signed}", extensions(&evil_assertion))),
        ),
        (
            "XSW8: the signed assertion in an Object of the evil one's signature",
            spec.response(&after_issuer(&evil_assertion, &object(&unsigned))),
        ),
        ("the signed assertion first, then the evil one", spec.response(&format!("{signed}{evil_assertion}"))),
        (
            "the evil assertion with the signed one's id",
            spec.response(&format!("{}{signed}", evil_assertion.replace("_evil", &spec.assertion_id))),
        ),
        (
            "the evil assertion inside the signed one",
            spec.response(&into(&signed, &evil_assertion, "</saml:Assertion>")),
        ),
    ]
}

/// S01: the eight ways of signature wrapping (Somorovsky et al., "On Breaking SAML", 2012, figure 4). The signed
/// element is moved, and an assertion about eve is put where a careless reader looks. Eve signs in by SSO too, so only
/// the signature check refuses her.
#[tokio::test]
async fn s01_signature_wrapping_is_refused() {
    let fixture = fixture().await;
    let (authn_request, spec) = fixture.valid("bob").await;
    let wrapped = with_signed_assertion(&fixture, &spec).into_iter().chain(with_signed_response(&fixture, &spec));
    for (what, response) in wrapped {
        let reply = fixture.service.acs("acme", &response, &authn_request.relay_state).await;
        let rule = fixture.refusal_reason(&reply).await;
        assert!(["assertions", "signature_place", "response"].contains(&rule.as_str()), "{what}: {rule}");
    }
    fixture.service.acs("acme", &spec.sign_assertion(&fixture.idp), &authn_request.relay_state).await.ok();
}

/// S01: canonicalisation drops comments, so the name is all text around a comment (CVE-2017-11428).
#[tokio::test]
async fn s01_comments_do_not_truncate_a_name() {
    let fixture = fixture().await;
    for (signed, posted) in [("bob.evil", "bob<!-- -->.evil"), ("bob@acme", "bob<!-- -->@acme")] {
        let (authn_request, mut spec) = fixture.valid("bob").await;
        spec.name_id = signed.into();
        let response = spec.sign_assertion(&fixture.idp).replace(signed, posted);
        let reply = fixture.service.acs("acme", &response, &authn_request.relay_state).await;
        assert_eq!(fixture.refusal_reason(&reply).await, "unknown_subject");
    }
    // A comment that the IdP wrote is no part of the name either.
    let (authn_request, mut spec) = fixture.valid("bob").await;
    spec.name_id = "b<!-- -->ob".into();
    let reply = fixture.service.acs("acme", &spec.sign_assertion(&fixture.idp), &authn_request.relay_state).await.ok();
    assert_eq!(reply.text("/user/username"), "bob");
}

/// Mutates bytes: replaces or flips one, removes, doubles, inserts or replaces a range, or moves an element.
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
            // Moves from one `<` to another, so mostly whole elements.
            let mark =
                |bytes: &[u8], from: usize| bytes[from..].iter().position(|b| *b == b'<').map_or(from, |n| from + n);
            let (from, until) = (mark(bytes, at.min(to)), mark(bytes, at.max(to)));
            let part: Vec<u8> = bytes.drain(from..until).collect();
            let place = mark(bytes, (at / 2).min(bytes.len().saturating_sub(1)));
            bytes.splice(place..place, part);
        }
    }
}

/// What a mutation inserts: XML that could make a careless reader see another name.
fn inserted_pieces(spec: &ResponseSpec) -> Vec<Vec<u8>> {
    let evil = ResponseSpec { name_id: "eve".into(), ..spec.clone() };
    [
        evil.assertion(),
        "eve".into(),
        "<!---->".into(),
        "<?x?>".into(),
        "<![CDATA[eve]]>".into(),
        "&#101;".into(),
        format!("ID=\"{}\"", spec.assertion_id),
        "<saml:NameID>eve</saml:NameID>".into(),
        " xmlns:saml=\"urn:x\"".into(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect()
}

/// A valid response with mutated bytes and elements: what is accepted still contains the signed name.
#[tokio::test]
async fn mutated_responses_never_change_the_identity() {
    let fixture = fixture().await;
    let (authn_request, mut spec) = fixture.valid("bob").await;
    spec.attributes = vec![("Username".into(), vec!["bob".into()])];
    let check_input = CheckInput::new(&fixture.idp, &fixture.acme, &authn_request);
    let check = |response: &[u8]| {
        saml::check(&BASE64.encode(response), check_input.expected(spec.issued, Timestamp::default()))
    };
    let pieces = inserted_pieces(&spec);
    let accepted = Cell::new(0_u32);
    for base in [spec.sign_assertion(&fixture.idp), spec.sign_response(&fixture.idp)] {
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
    assert!(
        accepted.get() > 0,
        "no mutation was accepted, although white space outside the signed part changes nothing"
    );
}
