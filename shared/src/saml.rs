//! The service provider's side of SAML 2.0 Web Browser SSO: a posted response becomes an [`Assertion`] or a [`Fault`].
//!
//! A library verifies signatures (ADR 0014). This module decides which signatures are allowed, and reads what they
//! cover. The order is: size, encoding, XML without a DTD, exactly one assertion in its place, signatures only in their
//! places and of the allowed form, each verified with the tenant's configured keys. Then the signed bytes are parsed
//! again, and all decisions use only those: nothing else in the document is trusted (security.md 47).

mod certificate;
mod claims;
mod metadata;
mod request;
mod signature;
mod signing;
pub mod xml;

pub use certificate::Certificate;
pub use metadata::{IdpMetadata, service_provider_metadata};
pub use request::redirect;
pub use signature::refused_algorithm;
pub use signing::RequestSigner;

use data_encoding::BASE64;

use crate::{
    env::Timestamp,
    id::TenantId,
    sso::{Assertion, Relay, ServiceProvider},
    store::item::{Idp, SsoRequest},
};

/// Maximum size of a response in bytes, before and after decoding.
pub const MAX_BYTES: usize = 256 * 1024;

/// Maximum time for which an assertion may be valid, because the store remembers its id until after the end.
const MAX_VALIDITY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The rule that a response breaks. The audit names it; the caller only learns that the sign-in was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All faults.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name of the fault in the audit.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

faults! {
    /// It has more than [`MAX_BYTES`].
    TooLarge = "too_large",
    /// It is not base64 of UTF-8.
    Encoding = "encoding",
    /// It is not well-formed XML, has a DTD, or is nested too deeply.
    Xml = "xml",
    /// It is not a SAML 2.0 response.
    Response = "response",
    /// The IdP reports a failure.
    Status = "status",
    /// It does not have exactly one assertion, directly in the response.
    Assertions = "assertions",
    /// A part is encrypted. Vestibule has no decryption key.
    Encrypted = "encrypted",
    /// Nothing is signed.
    Unsigned = "unsigned",
    /// A signature is in a wrong place, or covers another element than its parent.
    SignaturePlace = "signature_place",
    /// An algorithm or transform is not allowed by the profile, for example SHA-1, HMAC or XPath.
    Algorithm = "signature_algorithm",
    /// A signature does not verify with any configured key.
    Signature = "signature",
    /// The issuer is not the configured IdP.
    Issuer = "issuer",
    /// It is addressed to another URL.
    Destination = "destination",
    /// It does not respond to the request of this browser.
    InResponseTo = "in_response_to",
    /// It is unsolicited, which this tenant does not allow.
    Unsolicited = "unsolicited",
    /// There is no subject, more than one, or a NameID that is not plain text.
    Subject = "subject",
    /// There is no valid bearer confirmation.
    Confirmation = "subject_confirmation",
    /// It is for another recipient.
    Recipient = "recipient",
    /// It is for another audience, or names none.
    Audience = "audience",
    /// It has an unknown condition.
    Conditions = "conditions",
    /// It is not valid yet.
    NotYetValid = "not_yet_valid",
    /// A time is missing or cannot be parsed.
    Time = "malformed_time",
    /// It has expired.
    Expired = "expired",
    /// It is valid for longer than its id is remembered.
    TooLong = "valid_too_long",
}

/// What a response is checked against.
pub struct Expected<'a> {
    /// The tenant of the IdP.
    pub tenant: &'a TenantId,
    /// The configuration of the IdP.
    pub idp: &'a Idp,
    /// This service, as that tenant's service provider.
    pub sp: &'a ServiceProvider,
    /// The relay state that the browser sent, if valid; and its request, if one is waiting.
    pub relay: Option<(Relay, Option<SsoRequest>)>,
    /// The current time.
    pub now: Timestamp,
    /// Assertions issued before this time are refused: after a restore the store may not know that they were used.
    pub since: Timestamp,
}

/// Checks a posted `SAMLResponse`.
///
/// # Errors
/// The first rule that the response breaks.
pub fn check(response: &str, expected: Expected<'_>) -> Result<Assertion, Fault> {
    let text = decoded(response)?;
    let document = xml::parse(&text)?;
    let signed = signature::signed(&document, &expected.idp.certificates)?;
    claims::check(&document, &signed, expected)
}

/// Decodes a posted response.
fn decoded(response: &str) -> Result<String, Fault> {
    if response.len() > MAX_BYTES {
        return Err(Fault::TooLarge);
    }
    // Some IdPs wrap lines.
    let text: String = response.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = BASE64.decode(text.as_bytes()).map_err(|_| Fault::Encoding)?;
    String::from_utf8(bytes).map_err(|_| Fault::Encoding)
}
