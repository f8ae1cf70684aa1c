//! A tenant's identity provider (IdP), and the requests that are sent to it.

use super::Role;
use crate::{env::Timestamp, secret::Nonce};

/// The configuration of a tenant's IdP (`IDP`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idp {
    /// Entity id.
    pub entity_id: String,
    /// Random, and new with each configured entity id. Sessions of another generation are void. An IdP that is removed and
    /// configured again gets a new generation, so its old sessions stay void although nothing of it was kept. `None` if it
    /// was configured before generations existed.
    pub generation: Option<Nonce>,
    /// The URL of its single sign-on service (HTTP-Redirect binding).
    pub sso_url: String,
    /// Certificates (DER) of its signing keys. There are several during a key change.
    pub certificates: Vec<serde_bytes::ByteBuf>,
    /// Whether it may start a sign-in (IdP-initiated SSO).
    pub idp_initiated: bool,
    /// Authentication contexts that count as a step-up.
    pub mfa_contexts: Vec<String>,
    /// The attribute that identifies a user at the first sign-in, which links the user to the IdP's name id.
    pub link_attribute: Option<String>,
    /// How a sign-in creates users who do not exist yet (just-in-time provisioning).
    pub provisioning: Option<Provisioning>,
    /// The key that signs requests to it, if it requires signed requests.
    pub request_key: Option<RequestKey>,
    /// Until when its metadata is valid, in whole seconds.
    pub valid_until: Option<Timestamp>,
    /// When it was configured, in whole seconds.
    pub changed: Timestamp,
}

/// The key that signs a tenant's requests to its IdP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// The private key, sealed for the tenant ([`crate::secret::NameKey::seal_request_key`]).
    pub sealed: serde_bytes::ByteBuf,
    /// The certificate (DER) that the IdP checks signatures with.
    pub certificate: serde_bytes::ByteBuf,
}

/// Just-in-time provisioning: the names of the attributes that describe a new user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioning {
    /// The login name.
    pub username: String,
    /// The first name.
    pub first_name: String,
    /// The last name.
    pub last_name: String,
    /// The address for notifications.
    pub email: String,
    /// Groups.
    pub groups: String,
    /// The company.
    pub company: String,
    /// The value that the company attribute must have. `None`: any value.
    pub only_company: Option<String>,
    /// Groups whose members become Administrators. Other users become employees without administrative rights.
    pub administrators: Vec<String>,
}

impl Provisioning {
    /// The role that a user's groups give.
    #[must_use]
    pub fn role(&self, groups: &[String]) -> Role {
        let administers = self.administrators.iter().any(|group| groups.contains(group));
        if administers { Role::Administrator } else { Role::Standard }
    }
}

/// A request for an assertion that was sent to the IdP (`R`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SsoRequest {
    /// When it ends.
    pub ends: Timestamp,
    /// The path of this service to which the browser returns afterwards.
    pub return_to: String,
    /// Whether it required a new authentication of the user. Only then may the assertion count as a step-up.
    pub step_up: bool,
    /// The digest of the pre-session that started it. `None`: the request is bound to no browser, and the response to it
    /// sets no cookie.
    pub pre_session: Option<String>,
}
