//! Sign-in through an organisation's IdP, apart from its XML: what a proven assertion holds, whose it may be, and what it is
//! worth (product.md P11).
//!
//! As with passwords, each state is a struct with private fields that the next one consumes: a session comes only from an
//! [`Assertion`], which `saml` alone can make.

use std::{collections::BTreeMap, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    env::{Entropy, EntropyError, Timestamp},
    id::{TenantId, UserKey},
    secret::{Nonce, RestoreEpoch},
    sign_in::{Attempt, NextStep},
    store::item::{AuthType, Idp, Profile, Role, User},
};

/// The longest name that an IdP may call somebody (NameID), in bytes.
pub const MAX_NAME_ID: usize = 256;

/// Where people reach this service: `https://` and a host, or plain HTTP on this machine. It is configured, never taken from
/// a request: what an IdP addresses its assertions to must not be a stranger's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Reads it; a slash at its end is left out.
    ///
    /// # Errors
    /// Says what it has to be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let wanted = "an address as https://login.example.com; plain http:// for this machine alone";
        let text = text.strip_suffix('/').unwrap_or(text);
        let plain = |c: char| c.is_ascii_graphic() && !"?#@\\<>\"'&".contains(c);
        if is_https_or_loopback(text) && text.chars().all(plain) { Ok(Self(text.to_owned())) } else { Err(wanted) }
    }

    /// As it stands in links.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether browsers reach it encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

/// An address that nobody can read along or redirect on the way: HTTPS, or this machine.
#[must_use]
pub fn is_https_or_loopback(url: &str) -> bool {
    let authority = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or("").to_owned();
    if let Some(rest) = url.strip_prefix("https://") {
        return !authority(rest).is_empty() && !authority(rest).contains('@');
    }
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = authority(rest);
    let host =
        authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(&*authority, |it| it.0);
    ["127.0.0.1", "localhost", "[::1]"].contains(&host)
}

/// This service as a tenant's IdP knows it (SAML 2.0 profiles, 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceProvider {
    /// Its entity id: where its metadata is.
    pub entity_id: String,
    /// Where assertions are posted to.
    pub acs_url: String,
}

impl ServiceProvider {
    /// Of a tenant: each has one of its own, so that no assertion is for two of them.
    #[must_use]
    pub fn new(public: &PublicUrl, tenant: &TenantId) -> Self {
        let base = format!("{}/v1/sso/{tenant}", public.as_str());
        Self { entity_id: format!("{base}/metadata"), acs_url: format!("{base}/acs") }
    }
}

/// What binds a request to its answer. The text goes through the browser as `RelayState`; the request's id, which the IdP has
/// to name in its answer, follows from it, and the store keeps a digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Relay {
    digest: String,
    request_id: String,
}

impl Relay {
    /// A new one, of 192 random bits; its text is for the one redirect.
    ///
    /// # Errors
    /// [`EntropyError`] when there is no randomness.
    pub fn generate(restored: RestoreEpoch, entropy: &dyn Entropy) -> Result<(Zeroizing<String>, Self), EntropyError> {
        let bytes = Zeroizing::new(entropy.bytes::<24>()?);
        Ok((Zeroizing::new(BASE64URL_NOPAD.encode(bytes.as_slice())), Self::of(bytes.as_slice(), restored)))
    }

    /// Reads what came back; `None` for whatever was none of ours.
    #[must_use]
    pub fn parse(text: &str, restored: RestoreEpoch) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() == 24)?);
        Some(Self::of(&bytes, restored))
    }

    fn of(bytes: &[u8], restored: RestoreEpoch) -> Self {
        let part = |name: &[u8]| {
            let hash = Sha256::new().chain_update(b"vestibule/1 relay ").chain_update(name).chain_update(bytes);
            hash.chain_update(restored.number.to_be_bytes()).finalize()
        };
        // An XML id begins with a letter or an underscore.
        let request_id = format!("_{}", data_encoding::HEXLOWER.encode(&part(b"request")[..20]));
        Self { digest: BASE64URL_NOPAD.encode(&part(b"digest")[..24]), request_id }
    }

    /// What the store keeps it under.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The id of the request.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }
}

/// What binds the requests that a browser starts to that browser: the secret of a cookie, before there is a session.
#[derive(Clone)]
pub struct PreSession {
    value: Zeroizing<String>,
    /// Whether it began with an answer that nobody had asked for.
    pub unsolicited: bool,
}

impl PreSession {
    /// How long it lasts: as long as a request waits for its answer.
    pub const LIFE: Duration = Duration::from_secs(15 * 60);
    /// The end of the cookie's value where it began with an unsolicited answer.
    const MARK: &str = ".u";

    /// A new one, of 192 random bits.
    ///
    /// # Errors
    /// [`EntropyError`] when there is no randomness.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let bytes = Zeroizing::new(entropy.bytes::<24>()?);
        Ok(Self { value: Zeroizing::new(BASE64URL_NOPAD.encode(bytes.as_slice())), unsolicited: false })
    }

    /// Reads the value of a cookie; `None` where it is none of ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = text.strip_suffix(Self::MARK).unwrap_or(text);
        let ours = BASE64URL_NOPAD.decode(value.as_bytes()).is_ok_and(|bytes| bytes.len() == 24);
        let unsolicited = value.len() < text.len();
        ours.then(|| Self { value: Zeroizing::new(value.to_owned()), unsolicited })
    }

    /// The value of its cookie.
    #[must_use]
    pub fn cookie_value(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}{}", *self.value, if self.unsolicited { Self::MARK } else { "" }))
    }

    /// What a request that it starts keeps of it.
    #[must_use]
    pub fn digest(&self) -> String {
        let hash = Sha256::new().chain_update(b"vestibule/1 pre-session ").chain_update(self.value.as_bytes());
        BASE64URL_NOPAD.encode(&hash.finalize()[..24])
    }

    /// Whether it started a request that kept this digest.
    #[must_use]
    pub fn started(&self, digest: &str) -> bool {
        self.digest().as_bytes().ct_eq(digest.as_bytes()).into()
    }
}

/// What a tenant's IdP said about somebody, every rule of it checked (security.md 47). It opens something once.
///
/// ```compile_fail,E0451
/// # fn any<T>() -> T { loop {} }
/// let made_up = vestibule::sso::Assertion { name_id: "ann".to_owned(), ..any() }; // private fields
/// ```
pub struct Assertion {
    pub(crate) tenant: TenantId,
    /// The IdP.
    pub(crate) entity_id: String,
    /// The IdP's generation when it was checked.
    pub(crate) generation: Option<Nonce>,
    /// What the IdP calls them.
    pub(crate) name_id: String,
    /// The `Format` of that, as it came.
    pub(crate) name_id_format: Option<String>,
    /// Its id in the store, under which it is spent.
    pub(crate) digest: String,
    /// Until then it is in time, and has to be remembered as spent.
    pub(crate) ends: Timestamp,
    /// What it answers; `None` where it came unasked for.
    pub(crate) relay: Option<Relay>,
    /// When the IdP wants them to sign in anew.
    pub(crate) session_ends: Option<Timestamp>,
    /// When the IdP asked for a second factor, where that counts as a step-up.
    pub(crate) stepped_up: Option<Timestamp>,
    pub(crate) attributes: BTreeMap<String, Vec<String>>,
}

impl Assertion {
    /// Under what an assertion of an IdP is spent.
    #[cfg(any(feature = "saml", feature = "testing", test))]
    pub(crate) fn spent_as(entity_id: &str, id: &str) -> String {
        let hash = Sha256::new().chain_update(b"vestibule/1 assertion").chain_update([0]);
        BASE64URL_NOPAD.encode(&hash.chain_update(entity_id).chain_update([0]).chain_update(id).finalize())
    }

    /// Whose IdP said it.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The IdP.
    #[must_use]
    pub fn entity_id(&self) -> &str {
        &self.entity_id
    }

    /// What the IdP calls them.
    #[must_use]
    pub fn name_id(&self) -> &str {
        &self.name_id
    }

    /// The `Format` of what the IdP calls them, as it came.
    #[must_use]
    pub fn name_id_format(&self) -> Option<&str> {
        self.name_id_format.as_deref()
    }

    /// The one value of an attribute; `None` for none and for several.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        match self.values(name) {
            [one] => Some(one),
            _ => None,
        }
    }

    /// All values of an attribute.
    #[must_use]
    pub fn values(&self, name: &str) -> &[String] {
        self.attributes.get(name).map_or(&[], Vec::as_slice)
    }
}

/// An assertion about somebody whom the tenant lets sign in by it.
pub struct SsoSignIn {
    pub(crate) assertion: Assertion,
    pub(crate) attempt: Attempt,
    pub(crate) key: UserKey,
    pub(crate) user: User,
    pub(crate) profile: Profile,
    /// The link that is made with this sign-in, where the tenant's rule for first ones makes it.
    pub(crate) link: Option<String>,
}

/// What an assertion is worth.
pub enum SsoChecked {
    /// A session, or an enrolment token.
    Granted(SsoGrant),
    /// The factor was disabled, or the time to enrol has passed: worth nothing before a reset.
    ResetRequired(SsoSignIn),
}

/// An assertion that opens a session for somebody who has enrolled, or else an enrolment token.
pub struct SsoGrant {
    pub(crate) sign_in: SsoSignIn,
    pub(crate) worth: NextStep,
}

impl SsoSignIn {
    /// Who they are.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.key
    }

    /// Whether a name of the IdP's is linked to them by it.
    #[must_use]
    pub fn links(&self) -> bool {
        self.link.is_some()
    }

    /// The role that the groups of this sign-in give, where it is another than they have. An assertion that does not say the
    /// groups changes nothing, and neither does one about somebody whose role an Administrator gave.
    pub(crate) fn role_by_groups(&self, idp: &Idp) -> Option<Role> {
        let rules = idp.provisioning.as_ref().filter(|rules| !rules.administrators.is_empty())?;
        let groups = self.assertion.attributes.get(&rules.groups)?;
        let role = rules.role(groups);
        (self.user.role_by_groups && role != self.user.role).then_some(role)
    }

    /// Only who is active and of this door; not who signs in locally.
    pub(crate) fn of_one_who_may(self) -> Result<Self, Assertion> {
        if self.user.active && self.user.auth_type == AuthType::SamlSso { Ok(self) } else { Err(self.assertion) }
    }

    /// What it is worth: enrolled once, they are asked for no code (product.md P11).
    #[must_use]
    pub fn decide(self) -> SsoChecked {
        match NextStep::of(&self.user, self.attempt.at()) {
            NextStep::ResetRequired => SsoChecked::ResetRequired(self),
            worth => SsoChecked::Granted(SsoGrant { sign_in: self, worth }),
        }
    }
}

impl SsoGrant {
    /// Who they are.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.sign_in.key
    }

    /// The sign-in.
    #[must_use]
    pub fn sign_in(&self) -> &SsoSignIn {
        &self.sign_in
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemEntropy;

    #[test]
    fn a_public_address_is_encrypted_or_of_this_machine() {
        for good in ["https://login.example.com", "https://a.example/x/", "http://127.0.0.1:8080", "http://[::1]:80"] {
            assert!(PublicUrl::parse(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "login.example.com",
            "http://login.example.com",
            "https://",
            "https://a@b",
            "http://127.0.0.1@b",
            "https://a/?q",
            "https://a/#f",
            "https://a b",
            "http://127.0.0.1.example.com",
            "javascript:alert(1)",
        ];
        for bad in bad {
            assert!(PublicUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pre_session_is_read_back() {
        let mut one = PreSession::generate(&SystemEntropy).unwrap();
        let digest = one.digest();
        assert_eq!((one.cookie_value().len(), digest.len()), (32, 32));
        for unsolicited in [false, true] {
            one.unsolicited = unsolicited;
            let read = PreSession::parse(&one.cookie_value()).unwrap();
            assert!(read.unsolicited == unsolicited && read.started(&digest));
        }
        assert!(!PreSession::generate(&SystemEntropy).unwrap().started(&digest));
        assert!(!one.started(""));
        for bad in ["", ".u", "x", &one.value[1..], &format!("{}=", *one.value), &format!("{}.v", *one.value)] {
            assert!(PreSession::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_relay_is_read_back_and_of_one_restore_epoch() {
        let (text, relay) = Relay::generate(RestoreEpoch::default(), &SystemEntropy).unwrap();
        let again = Relay::parse(&text, RestoreEpoch::default()).unwrap();
        assert!(again == relay && relay.request_id().starts_with('_') && text.len() <= 80);
        let restored = RestoreEpoch { number: 1, since: Timestamp::from_secs(1) };
        assert!(Relay::parse(&text, restored).unwrap() != relay);
        for bad in ["", "/", &text[1..], &format!("{}=", *text), "https://portal.example.com/"] {
            assert!(Relay::parse(bad, RestoreEpoch::default()).is_none(), "{bad}");
        }
    }
}
