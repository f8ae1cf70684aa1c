//! Reads an assertion from the signed bytes, and checks each rule of the Web Browser SSO profile (SAML profiles 4.1.4).

use std::collections::BTreeMap;

use uppsala::{Document, NodeId};

use super::{
    Expected, Fault, MAX_VALIDITY,
    signature::Signed,
    xml::{ASSERTION, PROTOCOL, attribute, elements, is, named, one, parse, root, text},
};
use crate::{
    env::Timestamp,
    policy,
    sso::{Assertion, MAX_NAME_ID},
};

const SUCCESS: &str = "urn:oasis:names:tc:SAML:2.0:status:Success";
const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";

/// Reads and checks a response. The signature of its signed part was verified before.
pub(super) fn check(posted: &Document<'_>, signed: &Signed, expected: Expected<'_>) -> Result<Assertion, Fault> {
    let document = parse(&signed.xml)?;
    // An attacker may have written the response around a signed assertion. It is checked anyway, since it can only
    // deny.
    envelope(if signed.whole { &document } else { posted }, signed.whole, &expected)?;
    let (document, assertion) = if signed.whole {
        let response = root(&document, PROTOCOL, "Response").ok_or(Fault::Response)?;
        let assertion = one(&document, response, ASSERTION, "Assertion").ok().flatten();
        (&document, assertion.ok_or(Fault::Assertions)?)
    } else {
        (&document, root(&document, ASSERTION, "Assertion").ok_or(Fault::Assertions)?)
    };
    let reader = Reader { document, expected };
    reader.issued(assertion)?;
    let (name_id, name_id_format) = reader.name_id(assertion)?;
    let ends = reader.confirmed(assertion)?.min(reader.conditions(assertion)?);
    if ends > reader.expected.now + MAX_VALIDITY {
        return Err(Fault::TooLong);
    }
    let (stepped_up, session_ends) = reader.authenticated(assertion)?;
    let attributes = reader.attributes(assertion);
    let id = attribute(document, assertion, "ID").filter(|id| !id.is_empty()).ok_or(Fault::Assertions)?;
    let Expected { tenant, idp, relay, .. } = &reader.expected;
    Ok(Assertion {
        tenant: (*tenant).clone(),
        entity_id: idp.entity_id.clone(),
        generation: idp.generation,
        name_id,
        name_id_format,
        digest: Assertion::spent_as(&idp.entity_id, id),
        ends,
        relay: relay.as_ref().map(|(relay, _)| relay.clone()),
        session_ends,
        stepped_up,
        attributes,
    })
}

/// The response around the assertion.
fn envelope(document: &Document<'_>, whole: bool, expected: &Expected<'_>) -> Result<(), Fault> {
    let response = root(document, PROTOCOL, "Response").ok_or(Fault::Response)?;
    let attr = |name| attribute(document, response, name);
    if attr("Version") != Some("2.0") {
        return Err(Fault::Response);
    }
    let status = one(document, response, PROTOCOL, "Status").ok().flatten().ok_or(Fault::Status)?;
    let code = one(document, status, PROTOCOL, "StatusCode").ok().flatten().ok_or(Fault::Status)?;
    if attribute(document, code, "Value") != Some(SUCCESS) {
        return Err(Fault::Status);
    }
    let issuer = one(document, response, ASSERTION, "Issuer").map_err(|()| Fault::Issuer)?;
    if issuer.is_some_and(|issuer| trimmed(document, issuer).as_deref() != Some(&expected.idp.entity_id)) {
        return Err(Fault::Issuer);
    }
    match attr("Destination") {
        Some(destination) if destination != expected.sp.acs_url => return Err(Fault::Destination),
        // A signed message must have a destination (SAML bindings 3.5.5.2).
        None if whole => return Err(Fault::Destination),
        _ => {}
    }
    check_in_response_to(attr("InResponseTo"), false, expected)
}

/// Checks that the response belongs to the request of this browser. An unsolicited response belongs to no request.
fn check_in_response_to(in_response_to: Option<&str>, required: bool, expected: &Expected<'_>) -> Result<(), Fault> {
    match (&expected.relay, in_response_to) {
        (Some((relay, Some(_))), Some(id)) if id == relay.request_id() => Ok(()),
        (Some((_, Some(_))), None) if !required => Ok(()),
        (Some(_), _) => Err(Fault::InResponseTo),
        (None, None) => Err(Fault::Unsolicited),
        // The request was started by another browser, or this browser lost the relay state.
        (None, Some(_)) => Err(Fault::InResponseTo),
    }
}

fn trimmed(document: &Document<'_>, of: NodeId) -> Option<String> {
    text(document, of).map(|text| text.trim().to_owned())
}

struct Reader<'a, 'd> {
    document: &'a Document<'d>,
    expected: Expected<'a>,
}

impl Reader<'_, '_> {
    fn attr(&self, of: NodeId, name: &str) -> Option<&str> {
        attribute(self.document, of, name)
    }

    /// Parses a time attribute. A present time must be valid.
    fn time(&self, of: NodeId, name: &str) -> Result<Option<Timestamp>, Fault> {
        self.attr(of, name).map(|text| Timestamp::parse(text).ok_or(Fault::Time)).transpose()
    }

    /// Checks `NotBefore` and `NotOnOrAfter`, with a tolerance of one minute. Returns the end.
    fn window(&self, of: NodeId) -> Result<Timestamp, Fault> {
        let now = self.expected.now;
        if self.time(of, "NotBefore")?.is_some_and(|from| now + policy::SKEW < from) {
            return Err(Fault::NotYetValid);
        }
        let until = self.time(of, "NotOnOrAfter")?.unwrap_or(Timestamp::from_millis(i64::MAX));
        if now >= until + policy::SKEW { Err(Fault::Expired) } else { Ok(until) }
    }

    fn issued(&self, assertion: NodeId) -> Result<(), Fault> {
        if self.attr(assertion, "Version") != Some("2.0") {
            return Err(Fault::Response);
        }
        let at = self.time(assertion, "IssueInstant")?.ok_or(Fault::Time)?;
        if at > self.expected.now + policy::SKEW {
            return Err(Fault::NotYetValid);
        }
        if at < self.expected.since {
            return Err(Fault::Expired);
        }
        let issuer = one(self.document, assertion, ASSERTION, "Issuer").ok().flatten().ok_or(Fault::Issuer)?;
        let right = trimmed(self.document, issuer).as_deref() == Some(&self.expected.idp.entity_id);
        if right { Ok(()) } else { Err(Fault::Issuer) }
    }

    /// The NameID and its format. The element must contain only text. Comments are not part of the signed bytes.
    fn name_id(&self, assertion: NodeId) -> Result<(String, Option<String>), Fault> {
        let subject = self.required(assertion, "Subject", Fault::Subject)?;
        let id = self.required(subject, "NameID", Fault::Subject)?;
        let name = text(self.document, id).ok_or(Fault::Subject)?;
        let plain = !name.is_empty() && name.len() <= MAX_NAME_ID && !name.contains(char::is_control);
        if plain { Ok((name, self.attr(id, "Format").map(str::to_owned))) } else { Err(Fault::Subject) }
    }

    fn required(&self, of: NodeId, name: &str, fault: Fault) -> Result<NodeId, Fault> {
        one(self.document, of, ASSERTION, name).ok().flatten().ok_or(fault)
    }

    /// Checks for a bearer confirmation for this service and this request. Returns its end.
    fn confirmed(&self, assertion: NodeId) -> Result<Timestamp, Fault> {
        let subject = self.required(assertion, "Subject", Fault::Subject)?;
        let mut why = Fault::Confirmation;
        for confirmation in named(self.document, subject, ASSERTION, "SubjectConfirmation") {
            if self.attr(confirmation, "Method") != Some(BEARER) {
                continue;
            }
            match self.bearer(confirmation) {
                Ok(until) => return Ok(until),
                Err(fault) => why = fault,
            }
        }
        Err(why)
    }

    fn bearer(&self, confirmation: NodeId) -> Result<Timestamp, Fault> {
        let data = self.required(confirmation, "SubjectConfirmationData", Fault::Confirmation)?;
        if self.attr(data, "Recipient") != Some(&self.expected.sp.acs_url) {
            return Err(Fault::Recipient);
        }
        check_in_response_to(self.attr(data, "InResponseTo"), true, &self.expected)?;
        self.attr(data, "NotOnOrAfter").ok_or(Fault::Confirmation)?;
        self.window(data)
    }

    /// Checks the conditions: this audience, in time, and no unknown condition. Returns their end.
    fn conditions(&self, assertion: NodeId) -> Result<Timestamp, Fault> {
        let conditions = self.required(assertion, "Conditions", Fault::Audience)?;
        let mut audiences = 0;
        for condition in elements(self.document, conditions) {
            let called = |name| is(self.document, condition, ASSERTION, name);
            if called("AudienceRestriction") {
                audiences += 1;
                let meant = named(self.document, condition, ASSERTION, "Audience")
                    .into_iter()
                    .any(|it| trimmed(self.document, it).as_deref() == Some(&self.expected.sp.entity_id));
                if !meant {
                    return Err(Fault::Audience);
                }
            } else if !called("OneTimeUse") && !called("ProxyRestriction") {
                return Err(Fault::Conditions);
            }
        }
        if audiences == 0 {
            return Err(Fault::Audience);
        }
        self.window(conditions)
    }

    /// When the user stepped up at the IdP, if at all, and when the IdP's session ends. An assertion without these
    /// statements is accepted, since some IdPs omit them and they do not open anything by themselves.
    fn authenticated(&self, assertion: NodeId) -> Result<(Option<Timestamp>, Option<Timestamp>), Fault> {
        let mut stepped_up: Option<Timestamp> = None;
        let mut until: Option<Timestamp> = None;
        for statement in named(self.document, assertion, ASSERTION, "AuthnStatement") {
            if let Some(ends) = self.time(statement, "SessionNotOnOrAfter")? {
                if ends <= self.expected.now {
                    return Err(Fault::Expired);
                }
                until = Some(until.map_or(ends, |until| until.min(ends)));
            }
            if let Some(at) = self.stepped_up(statement) {
                stepped_up = Some(stepped_up.map_or(at, |other| other.min(at)));
            }
        }
        Ok((stepped_up, until))
    }

    /// When the IdP checked a second factor, if the statement counts as a step-up: the request demanded a new
    /// authentication, the tenant lists the authentication context, and the statement has a time. The step-up has that time.
    /// Nothing shows that the IdP asked the user again: the IdP is trusted to obey `ForceAuthn`.
    fn stepped_up(&self, statement: NodeId) -> Option<Timestamp> {
        let request = self.expected.relay.as_ref().and_then(|(_, request)| request.as_ref());
        let at = self.attr(statement, "AuthnInstant").and_then(Timestamp::parse)?;
        let asked = request.is_some_and(|request| request.step_up);
        let counts =
            |class| trimmed(self.document, class).is_some_and(|class| self.expected.idp.mfa_contexts.contains(&class));
        let mut classes = named(self.document, statement, ASSERTION, "AuthnContext")
            .into_iter()
            .flat_map(|context| named(self.document, context, ASSERTION, "AuthnContextClassRef"));
        (asked && at <= self.expected.now + policy::SKEW && classes.any(counts)).then_some(at)
    }

    /// The attributes, with those values that are plain text.
    fn attributes(&self, assertion: NodeId) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for statement in named(self.document, assertion, ASSERTION, "AttributeStatement") {
            for attribute in named(self.document, statement, ASSERTION, "Attribute") {
                let Some(name) = self.attr(attribute, "Name") else { continue };
                let values = named(self.document, attribute, ASSERTION, "AttributeValue");
                let values = values.into_iter().filter_map(|value| trimmed(self.document, value));
                all.entry(name.to_owned()).or_default().extend(values);
            }
        }
        all
    }
}
