//! SAML 2.0 Web Browser SSO, the service provider's side: a response that was posted becomes an [`Assertion`], or a [`Fault`].
//!
//! A library checks signatures (ADR 0014); this module decides what they have to look like, and reads what they are over. In
//! this order: size, encoding, XML without a DTD, one assertion in its place, signatures in theirs and of the profile's form
//! alone, each verified with the tenant's configured keys. Then the bytes that were digested are parsed anew, and all that
//! decides is taken from those: nothing else of the document is believed (security.md 47).

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

/// The longest response, before and after it is decoded.
pub const MAX_BYTES: usize = 256 * 1024;

/// The longest time for which an assertion may hold: so long its id is remembered.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Which rule a response breaks. The audit says it; the caller never learns more than that it was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As the audit says it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

faults! {
    /// More than [`MAX_BYTES`] after it was decoded.
    TooLarge = "too_large",
    /// Not base64 of UTF-8.
    Encoding = "encoding",
    /// Not well-formed XML, with a DTD, or nested too deeply.
    Xml = "xml",
    /// No SAML 2.0 response.
    Response = "response",
    /// The IdP reports a failure.
    Status = "status",
    /// Not exactly one assertion, in the place of one.
    Assertions = "assertions",
    /// An encrypted part: there is no key here to read it with.
    Encrypted = "encrypted",
    /// Nothing is signed.
    Unsigned = "unsigned",
    /// A signature where none belongs, or over something else than what it stands in.
    SignaturePlace = "signature_place",
    /// An algorithm or transform that is not of the profile: SHA-1, HMAC, XPath, and whatever else.
    Algorithm = "signature_algorithm",
    /// A signature that none of the configured keys made, or over other bytes.
    Signature = "signature",
    /// Another issuer than the configured IdP.
    Issuer = "issuer",
    /// Addressed elsewhere.
    Destination = "destination",
    /// No answer to the request that this browser brought.
    InResponseTo = "in_response_to",
    /// It came unasked for, which this tenant does not allow.
    Unsolicited = "unsolicited",
    /// Nobody, several, or a name that is not plain text.
    Subject = "subject",
    /// Confirmed otherwise than by who bears it.
    Confirmation = "subject_confirmation",
    /// For another recipient.
    Recipient = "recipient",
    /// For another audience, or for any.
    Audience = "audience",
    /// A condition that is not known here.
    Conditions = "conditions",
    /// Not valid yet.
    NotYetValid = "not_yet_valid",
    /// A time that is missing or cannot be read.
    Time = "malformed_time",
    /// Not valid any more.
    Expired = "expired",
    /// Valid for longer than it can be remembered.
    TooLong = "valid_too_long",
}

/// What a response has to fit.
pub struct Expected<'a> {
    /// Whose IdP.
    pub tenant: &'a TenantId,
    /// As it is configured.
    pub idp: &'a Idp,
    /// This service, for that tenant.
    pub sp: &'a ServiceProvider,
    /// What the browser brought, where it is one of ours; and the request, if it waits.
    pub relay: Option<(Relay, Option<SsoRequest>)>,
    /// The moment.
    pub now: Timestamp,
    /// What was issued before, the store may have forgotten to be spent.
    pub since: Timestamp,
}

/// Checks a posted `SAMLResponse`.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(response: &str, expected: Expected<'_>) -> Result<Assertion, Fault> {
    let text = decoded(response)?;
    let document = xml::parse(&text)?;
    let signed = signature::signed(&document, &expected.idp.certificates)?;
    claims::check(&document, &signed, expected)
}

/// A posted response as text.
fn decoded(response: &str) -> Result<String, Fault> {
    if response.len() > MAX_BYTES {
        return Err(Fault::TooLarge);
    }
    // Some wrap lines.
    let text: String = response.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = BASE64.decode(text.as_bytes()).map_err(|_| Fault::Encoding)?;
    String::from_utf8(bytes).map_err(|_| Fault::Encoding)
}
