//! The authentication request to an IdP, by HTTP-Redirect (SAML bindings 3.4).

use data_encoding::BASE64;
use uppsala::XmlWriter;

use super::{
    signing::RequestSigner,
    xml::{ASSERTION, HTTP_POST, PROTOCOL},
};
use crate::{
    env::Timestamp,
    secret::SealError,
    sso::{Relay, ServiceProvider},
};

/// The URL to redirect the browser to: the IdP's address with the request and the relay state, signed if there is a
/// signer.
///
/// # Errors
/// [`SealError::Refused`] if signing fails.
pub fn redirect(
    sp: &ServiceProvider,
    sso_url: &str,
    relay_state: &str,
    relay: &Relay,
    now: Timestamp,
    step_up: bool,
    signer: Option<&RequestSigner>,
) -> Result<String, SealError> {
    let mut xml = XmlWriter::new();
    // Whole seconds, because some IdPs do not accept fractions.
    let issued = now.whole_second().to_string();
    let mut attributes = vec![
        ("xmlns:samlp", PROTOCOL),
        ("xmlns:saml", ASSERTION),
        ("ID", relay.request_id()),
        ("Version", "2.0"),
        ("IssueInstant", &issued),
        ("Destination", sso_url),
        ("ProtocolBinding", HTTP_POST),
        ("AssertionConsumerServiceURL", &sp.acs_url),
    ];
    if step_up {
        // The IdP must authenticate the user again, even in an existing session.
        attributes.push(("ForceAuthn", "true"));
    }
    xml.start_element("samlp:AuthnRequest", &attributes);
    xml.start_element("saml:Issuer", &[]);
    xml.text(&sp.entity_id);
    xml.end_element("saml:Issuer");
    xml.empty_element("samlp:NameIDPolicy", &[("AllowCreate", "true")]);
    xml.end_element("samlp:AuthnRequest");
    let deflated = miniz_oxide::deflate::compress_to_vec(xml.as_str().as_bytes(), 6);
    let query = [("SAMLRequest", BASE64.encode(&deflated)), ("RelayState", relay_state.to_owned())];
    let mut query = serde_urlencoded::to_string(query).unwrap_or_default();
    if let Some(signer) = signer {
        query = signer.signed(query)?;
    }
    Ok(format!("{sso_url}{}{query}", if sso_url.contains('?') { '&' } else { '?' }))
}
