//! The protections that `just conditions` cannot find: settings of the XML parser and of the signature library, patterns, match arms,
//! and waiting times.

use super::Edit;

const SIGNATURE: &str = "shared/src/saml/signature.rs";
const CLAIMS: &str = "shared/src/saml/claims.rs";
const XML: &str = "shared/src/saml/xml.rs";
const CERTIFICATE: &str = "shared/src/saml/certificate.rs";
const METADATA: &str = "shared/src/saml/metadata.rs";
const CONFIGURATION: &str = "functions/sso/src/configuration.rs";
const PROVISIONING: &str = "functions/sso/src/provisioning.rs";
const ACS: &str = "functions/sso/src/acs.rs";
const LIMITER: &str = "functions/sso/src/limiter.rs";

/// The condition `text` always holds in this mutant.
const fn accept(name: &'static str, path: &'static str, text: &'static str) -> Edit {
    Edit::Accept { name, path, text }
}

/// The condition `text` never holds in this mutant.
const fn ignore(name: &'static str, path: &'static str, text: &'static str) -> Edit {
    Edit::Ignore { name, path, text }
}

/// `OFF[name]` in the new text is true in the mutant of that name.
const fn replace(path: &'static str, text: &'static str, by: &'static str) -> Edit {
    Edit::Replace { path, text, by }
}

/// Each text occurs exactly once in its file.
pub(super) const EDITS: &[Edit] = &[
    // XML
    replace(
        "shared/src/saml.rs",
        "    String::from_utf8(bytes).map_err(|_| Fault::Encoding)",
        r"    if OFF[UTF-8] { return Ok(String::from_utf8_lossy(&bytes).into_owned()); }
    String::from_utf8(bytes).map_err(|_| Fault::Encoding)",
    ),
    replace(XML, ".with_max_depth(DEPTH)", ".with_max_depth(if OFF[depth] { 1_000_000 } else { DEPTH })"),
    replace(XML, ".with_forbid_dtd(true)", ".with_forbid_dtd(!OFF[DTD])"),
    replace(XML, ".with_forbid_entities(true)", ".with_forbid_entities(!OFF[entities])"),
    replace(
        XML,
        "element.matches_name_ns(namespace, name)",
        "(if OFF[namespace of elements] { &*element.name.local_name == name } else { element.matches_name_ns(namespace, name) })",
    ),
    replace(XML, "_ => Err(()),", "[first, ..] if OFF[element occurs once] => Ok(Some(first)), _ => Err(()),"),
    replace(XML, "_ => return None,", "_ if OFF[text only] => {} _ => return None,"),
    // Signatures
    replace(
        SIGNATURE,
        r#"root(document, PROTOCOL, "Response").ok_or(Fault::Response)?"#,
        r#"root(document, PROTOCOL, "Response").or(document.document_element().filter(|_| OFF[root is a response])).ok_or(Fault::Response)?"#,
    ),
    replace(
        SIGNATURE,
        "[one] if document.parent(one) == Some(response) => Ok(one),",
        "[one, ref more @ ..] if (OFF[one assertion] || more.is_empty()) && document.parent(one) == Some(response) => Ok(one),",
    ),
    replace(
        SIGNATURE,
        r#"["id", "assertionid"].contains(&&*it.name.local_name.to_ascii_lowercase())"#,
        r#"(if OFF[ids in other attributes] { &*it.name.local_name == "ID" } else { ["id", "assertionid"].contains(&&*it.name.local_name.to_ascii_lowercase()) })"#,
    ),
    accept("place of signatures", SIGNATURE, "*over == response || *over == assertion"),
    replace(
        SIGNATURE,
        "    let widest = forms.iter().find(",
        r"    if OFF[a signature] && forms.is_empty() {
        let xml = canonicalize_doc::<&str>(document, C14nMode::Exclusive, None, &[]).unwrap_or_default();
        return Ok(Signed { xml: String::from_utf8(xml).unwrap_or_default(), whole: true });
    }
    let widest = forms.iter().find(",
    ),
    replace(
        SIGNATURE,
        r#"attribute(document, over, "ID").filter(|id| !id.is_empty()).ok_or(Fault::SignaturePlace)?"#,
        r#"attribute(document, over, "ID").filter(|id| OFF[id of the signed element] || !id.is_empty()).or(OFF[id of the signed element].then_some("")).ok_or(Fault::SignaturePlace)?"#,
    ),
    replace(
        SIGNATURE,
        "_ => return Err(Fault::Algorithm),",
        "_ if OFF[digest methods] => self.digest.clone(), _ => return Err(Fault::Algorithm),",
    ),
    replace(
        SIGNATURE,
        r"        _ => Err(Fault::Algorithm),
",
        r"        _ if OFF[content of transforms] => Ok(Vec::new()), _ => Err(Fault::Algorithm),
",
    ),
    replace(
        SIGNATURE,
        "&DsigContext::new(keys)",
        "&if OFF[trusted keys only] { DsigContext::new_permissive(keys) } else { DsigContext::new(keys) }",
    ),
    accept("verified digest of the reference", SIGNATURE, "one.digest_verified"),
    accept("target of the reference", SIGNATURE, "one.resolved_node == Some(form.over)"),
    replace(CERTIFICATE, "_ => false,", "_ => OFF[kinds of keys],"),
    // The response
    replace(
        CLAIMS,
        "Some(destination) if destination != expected.sp.acs_url =>",
        "Some(destination) if !OFF[destination] && destination != expected.sp.acs_url =>",
    ),
    replace(CLAIMS, "None if whole =>", "None if !OFF[destination of signed responses] && whole =>"),
    replace(
        CLAIMS,
        r#"check_in_response_to(attr("InResponseTo"), false, expected)"#,
        r#"if OFF[InResponseTo of responses] { return Ok(()) } check_in_response_to(attr("InResponseTo"), false, expected)"#,
    ),
    replace(
        CLAIMS,
        "(Some((relay, Some(_))), Some(id)) if id == relay.request_id() => Ok(()),",
        "_ if OFF[InResponseTo] => Ok(()), (Some((relay, Some(_))), Some(id)) if id == relay.request_id() => Ok(()),",
    ),
    replace(
        CLAIMS,
        "(Some(_), _) => Err(Fault::InResponseTo),",
        "(Some((relay, None)), Some(id)) if OFF[pending request] && id == relay.request_id() => Ok(()), (Some(_), _) => Err(Fault::InResponseTo),",
    ),
    replace(
        CLAIMS,
        "(None, None) => Err(Fault::Unsolicited),",
        "(None, None) if OFF[unsolicited responses] => Ok(()), (None, None) => Err(Fault::Unsolicited),",
    ),
    replace(
        CLAIMS,
        "(None, Some(_)) => Err(Fault::InResponseTo),",
        "(None, Some(_)) if OFF[request of another browser] => Ok(()), (None, Some(_)) => Err(Fault::InResponseTo),",
    ),
    // The assertion
    replace(
        CLAIMS,
        r#"self.time(assertion, "IssueInstant")?.ok_or(Fault::Time)?"#,
        r#"self.time(assertion, "IssueInstant")?.or(OFF[IssueInstant].then_some(self.expected.now)).ok_or(Fault::Time)?"#,
    ),
    replace(
        CLAIMS,
        "self.window(data)",
        "if OFF[time of confirmations] { return Ok(self.expected.now) } self.window(data)",
    ),
    replace(
        CLAIMS,
        "        self.window(conditions)",
        "        if OFF[time of conditions] { return Ok(self.expected.now) } self.window(conditions)",
    ),
    replace(
        CLAIMS,
        r#"self.required(assertion, "Conditions", Fault::Audience)?;"#,
        r#"if OFF[conditions] && named(self.document, assertion, ASSERTION, "Conditions").is_empty() { return Ok(self.expected.now) } else { self.required(assertion, "Conditions", Fault::Audience)? };"#,
    ),
    ignore("unknown conditions", CLAIMS, r#"!called("OneTimeUse") && !called("ProxyRestriction")"#),
    replace(
        CLAIMS,
        r#"attribute(document, assertion, "ID").filter(|id| !id.is_empty()).ok_or(Fault::Assertions)?"#,
        r#"attribute(document, assertion, "ID").filter(|id| OFF[id of the assertion] || !id.is_empty()).or(OFF[id of the assertion].then_some("")).ok_or(Fault::Assertions)?"#,
    ),
    replace(
        CLAIMS,
        "stepped_up.map_or(at, |other| other.min(at))",
        "stepped_up.map_or(at, |other| if OFF[oldest step-up] { other.max(at) } else { other.min(at) })",
    ),
    replace(
        "shared/src/sso.rs",
        "[one] => Some(one),",
        "[one] => Some(one), [one, ..] if OFF[one value of an attribute] => Some(one),",
    ),
    // The flow
    replace(
        ACS,
        "(Some(digest), Some(brought)) if brought.started(digest) => Some(brought),",
        "(Some(_), None) if OFF[cookie of the browser] => None, (Some(digest), Some(brought)) if brought.started(digest) => Some(brought),",
    ),
    replace(
        ACS,
        "(None, _) => None,",
        "(None, Some(brought)) if OFF[no cookie for unbound starts] => Some(brought), (None, _) => None,",
    ),
    replace(
        CONFIGURATION,
        "(Some(xml), (None, None, None)) =>",
        r#"(Some(xml), _) if OFF[metadata or fields] => IdpMetadata::parse(&xml).map_err(|why| Problem::field("/metadata_xml", why)),
            (Some(xml), (None, None, None)) =>"#,
    ),
    accept("binding", METADATA, r#"attribute(&document, *id, "Binding") == Some(HTTP_REDIRECT)"#),
    replace(METADATA, "[one] => Ok(one),", "[one] => Ok(one), [one, ..] if OFF[one IdP] => Ok(one),"),
    replace(
        LIMITER,
        "limiter.checking.acquire().await;",
        "(!OFF[one check at a time]).then_some(limiter.checking.acquire().await);",
    ),
    replace(
        ACS,
        "place.refuse(problem).await",
        "if OFF[delay after an invalid form] { problem } else { place.refuse(problem).await }",
    ),
    replace(
        ACS,
        "return Err(place.refuse(Code::InvalidCredentials).await);",
        "if OFF[delay for an unknown tenant] { return Err(Code::InvalidCredentials.into()); } return Err(place.refuse(Code::InvalidCredentials).await);",
    ),
    replace(
        ACS,
        "self.record(self.event(rule, user)).await;",
        "self.record(self.event(rule, user)).await; if OFF[delay for a refused user] { return Code::InvalidCredentials.into(); }",
    ),
    replace(
        ACS,
        r"self.record(event).await;
        self.place",
        r"self.record(event).await; if OFF[delay for an unknown user] { return Code::InvalidCredentials.into(); }
        self.place",
    ),
    replace(
        ACS,
        "(SubjectRejection::Unknown, Some(provisioning)) => provisioning,",
        "(SubjectRejection::NotSsoUser, Some(provisioning)) if OFF[provisioning of unknown users only] => provisioning, (SubjectRejection::AlteredByNormalization, Some(provisioning)) if OFF[no provisioning of lookalikes] => provisioning, (SubjectRejection::Unknown, Some(provisioning)) => provisioning,",
    ),
    replace(
        PROVISIONING,
        r#"Err(CreationError::Rejected(_)) => Ok(Provisioned::Refused("provisioning_username_taken")),"#,
        r#"Err(CreationError::Rejected(_)) => Ok(if OFF[no takeover] { Provisioned::Created } else { Provisioned::Refused("provisioning_username_taken") }),"#,
    ),
    // Conditions, which are switched off only to show that a mutant below is redundant.
    ignore("(reference)", SIGNATURE, r##"attribute(document, reference, "URI") != Some(format!("#{id}").as_str())"##),
    ignore("(repeated digest)", SIGNATURE, "digest != self.digest"),
];

/// Protections that others back up: without one of these alone, nothing is lost. The test passes without the backups, and fails if
/// this protection is missing too: (name, backups, test program, test).
pub(super) const REDUNDANT: [(&str, &[&str], &str, &str); 2] = [
    ("entities", &["DTD"], "saml", "limits::s09_entities_are_refused"),
    // However strict its settings are, the library checks the place of a signature, too.
    (
        "target of the reference",
        &["(reference)", "(repeated digest)", "trusted keys only"],
        "saml",
        "signatures::s01_signature_over_another_element_is_refused",
    ),
];

/// Protections that the signature library backs up, which cannot be switched off here.
pub(super) const LIBRARY: [(&str, &str); 1] = [(
    "verified digest of the reference",
    "bergshamra answers Valid only if it digested every reference (require_reference_digests)",
)];
