//! Sign-in through a tenant's identity provider (IdP), without the XML: what a verified assertion contains, which user
//! it belongs to, and what it leads to (product.md P11).
//!
//! As with passwords, each state is a struct that no other crate can make and that the next state consumes. A session comes only
//! from an [`Assertion`], and in this crate only the module `saml` makes one.

use std::{collections::BTreeMap, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    domain::{Idp, Profile, Role, User},
    env::{Entropy, EntropyError, Timestamp},
    id::{TenantId, UserKey},
    secret::{Nonce, RestoreEpoch},
    sign_in::{Attempt, NextStep},
};

/// Maximum length of a NameID, in bytes.
pub const MAX_NAME_ID: usize = 256;

/// The public address of this service: `https://` and a host, or plain HTTP on this machine. It is configured and never
/// taken from a request, so an attacker cannot choose the address that an IdP sends assertions to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Parses the address. A slash at the end is removed.
    ///
    /// # Errors
    /// A text that says what the address must be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let expected = "an address like https://login.example.com, or http:// for this machine only";
        let text = text.strip_suffix('/').unwrap_or(text);
        let plain = |c: char| c.is_ascii_graphic() && !"?#@\\<>\"'&".contains(c);
        if is_https_or_loopback(text) && text.chars().all(plain) { Ok(Self(text.to_owned())) } else { Err(expected) }
    }

    /// The address, without a slash at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The origin: scheme, host and port, without a path.
    #[must_use]
    pub fn origin(&self) -> &str {
        let host = self.0.find("://").map_or(0, |at| at + 3);
        self.0[host..].find('/').map_or(&self.0, |path| &self.0[..host + path])
    }

    /// The port, if the address names one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.origin().rsplit_once(':').and_then(|(_, port)| port.parse().ok())
    }

    /// Whether the address uses HTTPS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

/// Whether traffic to the URL cannot be read or redirected on the way: it uses HTTPS, or its host is this machine.
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

/// The service provider that a tenant's IdP sees (SAML 2.0 profiles, 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceProvider {
    /// The entity id: the URL of the metadata.
    pub entity_id: String,
    /// The assertion consumer service (ACS): the URL that assertions are posted to.
    pub acs_url: String,
}

impl ServiceProvider {
    /// The service provider of a tenant. Each tenant has its own, so no assertion is valid for two tenants.
    #[must_use]
    pub fn new(public: &PublicUrl, tenant: &TenantId) -> Self {
        let base = format!("{}/v1/sso/{tenant}", public.as_str());
        Self { entity_id: format!("{base}/metadata"), acs_url: format!("{base}/acs") }
    }
}

/// Binds a SAML request to its response. The text goes through the browser as `RelayState`. The request id, which the
/// IdP repeats in its response, is derived from it. The store keeps a digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Relay {
    digest: String,
    request_id: String,
}

impl Relay {
    /// Generates a relay state of 192 random bits. The text goes into one redirect.
    ///
    /// # Errors
    /// [`EntropyError`] if the source of randomness fails.
    pub fn generate(
        restore_epoch: RestoreEpoch,
        entropy: &dyn Entropy,
    ) -> Result<(Zeroizing<String>, Self), EntropyError> {
        let bytes = Zeroizing::new(entropy.bytes::<24>()?);
        Ok((Zeroizing::new(BASE64URL_NOPAD.encode(bytes.as_slice())), Self::of(bytes.as_slice(), restore_epoch)))
    }

    /// Parses a returned relay state. `None` if it is malformed. Whether Vestibule made it, only the store shows.
    #[must_use]
    pub fn parse(text: &str, restore_epoch: RestoreEpoch) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() == 24)?);
        Some(Self::of(&bytes, restore_epoch))
    }

    fn of(bytes: &[u8], restore_epoch: RestoreEpoch) -> Self {
        let part = |name: &[u8]| {
            let hash = Sha256::new().chain_update(b"vestibule/1 relay ").chain_update(name).chain_update(bytes);
            hash.chain_update(restore_epoch.number.to_be_bytes()).finalize()
        };
        // An XML id must begin with a letter or an underscore.
        let request_id = format!("_{}", data_encoding::HEXLOWER.encode(&part(b"request")[..20]));
        Self { digest: BASE64URL_NOPAD.encode(&part(b"digest")[..24]), request_id }
    }

    /// The key under which the store keeps the request.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The id of the SAML request.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }
}

/// Binds the requests that a browser starts to that browser: the secret of a cookie that is set before there is a
/// session.
#[derive(Clone)]
pub struct PreSession {
    value: Zeroizing<String>,
    /// Whether the cookie was set by an unsolicited response.
    pub unsolicited: bool,
}

impl PreSession {
    /// Lifetime of the cookie: as long as a request waits for its response.
    pub const LIFE: Duration = Duration::from_secs(15 * 60);
    /// Suffix of the cookie's value if it was set by an unsolicited response.
    const MARK: &str = ".u";

    /// Generates a secret of 192 random bits.
    ///
    /// # Errors
    /// [`EntropyError`] if the source of randomness fails.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let bytes = Zeroizing::new(entropy.bytes::<24>()?);
        Ok(Self { value: Zeroizing::new(BASE64URL_NOPAD.encode(bytes.as_slice())), unsolicited: false })
    }

    /// Parses the value of a cookie. `None` if it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = text.strip_suffix(Self::MARK).unwrap_or(text);
        let ours = BASE64URL_NOPAD.decode(value.as_bytes()).is_ok_and(|bytes| bytes.len() == 24);
        let unsolicited = value.len() < text.len();
        ours.then(|| Self { value: Zeroizing::new(value.to_owned()), unsolicited })
    }

    /// The value for the cookie.
    #[must_use]
    pub fn cookie_value(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}{}", *self.value, if self.unsolicited { Self::MARK } else { "" }))
    }

    /// The digest that a request stores to name the browser that started it.
    #[must_use]
    pub fn digest(&self) -> String {
        let hash = Sha256::new().chain_update(b"vestibule/1 pre-session ").chain_update(self.value.as_bytes());
        BASE64URL_NOPAD.encode(&hash.finalize()[..24])
    }

    /// Whether this browser started the request that has this digest.
    #[must_use]
    pub fn started(&self, digest: &str) -> bool {
        self.digest().as_bytes().ct_eq(digest.as_bytes()).into()
    }
}

/// A verified assertion of a tenant's IdP about a user: all rules were checked (security.md 47). It is used once.
///
/// ```compile_fail,E0451
/// # fn any<T>() -> T { loop {} }
/// let made_up = vestibule::sso::Assertion { name_id: "ann".to_owned(), ..any() }; // error: private fields
/// ```
pub struct Assertion {
    pub(crate) tenant: TenantId,
    /// The entity id of the IdP.
    pub(crate) entity_id: String,
    /// The generation of the IdP's configuration that the assertion was checked against.
    pub(crate) generation: Option<Nonce>,
    /// The NameID of the user.
    pub(crate) name_id: String,
    /// The `Format` of the NameID, as the IdP sent it.
    pub(crate) name_id_format: Option<String>,
    /// The key under which the store remembers that the assertion was used.
    pub(crate) digest: String,
    /// The end of its validity. It is accepted for [`policy::SKEW`] longer, so the store remembers that it was used until twice that
    /// time after the end.
    pub(crate) ends: Timestamp,
    /// The request it responds to; `None` if it is unsolicited.
    pub(crate) relay: Option<Relay>,
    /// When the IdP requires the user to sign in again.
    pub(crate) session_ends: Option<Timestamp>,
    /// When the IdP checked a second factor, if that counts as a step-up.
    pub(crate) stepped_up: Option<Timestamp>,
    pub(crate) attributes: BTreeMap<String, Vec<String>>,
}

impl Assertion {
    /// The key under which the store remembers a used assertion.
    #[cfg(any(feature = "saml", feature = "testing", test))]
    pub(crate) fn spent_as(entity_id: &str, id: &str) -> String {
        let hash = Sha256::new().chain_update(b"vestibule/1 assertion").chain_update([0]);
        BASE64URL_NOPAD.encode(&hash.chain_update(entity_id).chain_update([0]).chain_update(id).finalize())
    }

    /// The tenant of the IdP.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The entity id of the IdP.
    #[must_use]
    pub fn entity_id(&self) -> &str {
        &self.entity_id
    }

    /// The NameID of the user.
    #[must_use]
    pub fn name_id(&self) -> &str {
        &self.name_id
    }

    /// The `Format` of the NameID, as the IdP sent it.
    #[must_use]
    pub fn name_id_format(&self) -> Option<&str> {
        self.name_id_format.as_deref()
    }

    /// The value of an attribute. `None` if it has no value or several.
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

/// An assertion about a user who may sign in with it.
pub struct SsoSignIn {
    pub(crate) assertion: Assertion,
    pub(crate) attempt: Attempt,
    pub(crate) key: UserKey,
    pub(crate) user: User,
    pub(crate) profile: Profile,
    /// The NameID link to create with this sign-in, if the tenant's rule for first sign-ins allows it.
    pub(crate) link: Option<String>,
}

/// The result of an accepted assertion.
pub enum SsoChecked {
    /// The user gets a session or an enrolment token.
    Granted(SsoGrant),
    /// The factor was disabled, or the time to enrol has passed: the user needs a reset first.
    ResetRequired(SsoSignIn),
}

/// An accepted assertion: it opens a session if the user has enrolled or is an excluded contact, and gives an enrolment token
/// otherwise.
pub struct SsoGrant {
    pub(crate) sign_in: SsoSignIn,
    pub(crate) step: SsoStep,
}

/// What an accepted assertion opens. There is no step for a user who needs a reset first, so such a user gets no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SsoStep {
    /// A session of a user who has enrolled.
    Session,
    /// A session of an excluded contact.
    ExcludedSession,
    /// An enrolment token.
    Enrolment,
}

impl SsoStep {
    /// Decides the step. An enrolled user is not asked for a code (product.md P11). `None`: the user needs a reset first.
    pub(crate) fn of(user: &User, now: Timestamp) -> Option<Self> {
        match NextStep::of(user, now) {
            NextStep::CodeRequired => Some(Self::Session),
            NextStep::ExcludedSession => Some(Self::ExcludedSession),
            NextStep::EnrolmentRequired => Some(Self::Enrolment),
            NextStep::ResetRequired => None,
        }
    }
}

impl SsoSignIn {
    /// The user.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.key
    }

    /// Whether this sign-in links a NameID to the user.
    #[must_use]
    pub fn links(&self) -> bool {
        self.link.is_some()
    }

    /// The new role that the groups in the assertion give, if it differs from the user's role. The role does not change
    /// if the assertion has no groups attribute, or if an Administrator assigned the role.
    pub(crate) fn role_by_groups(&self, user: &User, idp: &Idp) -> Option<Role> {
        let rules = idp.provisioning.as_ref().filter(|rules| !rules.administrators.is_empty())?;
        let groups = self.assertion.attributes.get(&rules.groups)?;
        let role = rules.role(groups);
        (user.role_by_groups && role != user.role).then_some(role)
    }

    /// Decides what the sign-in leads to.
    #[must_use]
    pub fn decide(self) -> SsoChecked {
        match SsoStep::of(&self.user, self.attempt.at()) {
            Some(step) => SsoChecked::Granted(SsoGrant { sign_in: self, step }),
            None => SsoChecked::ResetRequired(self),
        }
    }
}

impl SsoGrant {
    /// The user.
    #[must_use]
    pub fn key(&self) -> &UserKey {
        &self.sign_in.key
    }

    /// The accepted sign-in.
    #[must_use]
    pub fn sign_in(&self) -> &SsoSignIn {
        &self.sign_in
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Exclusion, Factor, Kind},
        env::SystemEntropy,
        id::{BatchId, UserId},
        policy,
        store::fixture::{NOW, assertion, attempt, authenticator, person},
    };

    /// What an assertion about this user opens; `None` if the user needs a reset first.
    fn granted(user: User) -> Option<SsoStep> {
        let assertion = assertion();
        let key = assertion.tenant.user(UserId::parse("u-bob").unwrap());
        let profile = Profile {
            username: "bob".to_owned(),
            display_name: "Bob".to_owned(),
            email: None,
            created: NOW,
            name_id: None,
            subject: None,
        };
        match (SsoSignIn { assertion, attempt: attempt(NOW), key, user, profile, link: None }).decide() {
            SsoChecked::Granted(grant) => Some(grant.step),
            SsoChecked::ResetRequired(_) => None,
        }
    }

    /// The rows of the sign-in table in product.md, with a session where a password leads to a challenge.
    #[test]
    fn assertion_opens_a_session_only_for_an_enrolled_user_and_an_excluded_contact() {
        let user = |factor| {
            let incarnation = Nonce::generate(&SystemEntropy).unwrap();
            User { factor, ..person(Kind::Contact, Role::Portal, incarnation) }
        };
        let [none, active, disabled] =
            [Factor::None, Factor::Active(authenticator()), Factor::Disabled(authenticator())].map(user);
        let exclusion = Exclusion { batch: BatchId::parse("b").unwrap(), at: NOW };
        let excluded = User { excluded: Some(exclusion), seen: NOW - policy::DORMANT, ..none.clone() };
        assert_eq!(granted(active.clone()), Some(SsoStep::Session));
        assert_eq!(granted(none.clone()), Some(SsoStep::Enrolment));
        assert_eq!(granted(excluded), Some(SsoStep::ExcludedSession));
        for needs_a_reset in [
            disabled,
            User { consecutive_failures: policy::MAX_CONSECUTIVE_FAILURES, ..active },
            User { enrol_by: Some(NOW), ..none.clone() },
            User { seen: NOW - policy::DORMANT, ..none },
        ] {
            assert_eq!(granted(needs_a_reset), None);
        }
    }

    #[test]
    fn public_url_requires_https_or_loopback() {
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
    fn other_urls_need_https_with_a_host_or_loopback() {
        for good in
            ["https://idp.example.com/sso?x=@", "http://localhost/sso", "http://[::1]", "http://127.0.0.1:8080/"]
        {
            assert!(is_https_or_loopback(good), "{good}");
        }
        for bad in ["https://", "https:///sso", "https://a@b/sso", "http://localhost:x/", "http://a/sso"] {
            assert!(!is_https_or_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn pre_session_round_trips() {
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
    fn relay_round_trips_within_one_restore_epoch() {
        let (text, relay) = Relay::generate(RestoreEpoch::default(), &SystemEntropy).unwrap();
        let again = Relay::parse(&text, RestoreEpoch::default()).unwrap();
        assert!(again == relay && relay.request_id().starts_with('_') && text.len() <= 80);
        let restore_epoch = RestoreEpoch { number: 1, since: Timestamp::from_secs(1) };
        assert!(Relay::parse(&text, restore_epoch).unwrap() != relay);
        for bad in ["", "/", &text[1..], &format!("{}=", *text), "https://portal.example.com/"] {
            assert!(Relay::parse(bad, RestoreEpoch::default()).is_none(), "{bad}");
        }
    }
}
