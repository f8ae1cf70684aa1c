//! A tenant's identity provider, and the requests that are sent to it.

use super::Role;
use crate::secret::Nonce;

/// A tenant's IdP (`IDP`): who may say who its people are, and how much of that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idp {
    /// Its entity id.
    pub entity_id: String,
    /// Random, and new with each entity id that is configured: sessions of another generation are dead. An IdP that is removed
    /// and configured again has another one, so nothing has to be kept of it meanwhile. Without one it was configured before
    /// there were generations.
    pub generation: Option<Nonce>,
    /// Where it takes requests, by HTTP-Redirect.
    pub sso_url: String,
    /// Certificates (DER) of the keys it signs with; several while it changes them.
    pub certificates: Vec<serde_bytes::ByteBuf>,
    /// Whether people may arrive from its portal, unasked for.
    pub idp_initiated: bool,
    /// Authentication contexts of its that count as a step-up.
    pub mfa_contexts: Vec<String>,
    /// The attribute by which somebody who was not linked yet is, at their first sign-in.
    pub link_attribute: Option<String>,
    /// How people come to be whom nobody created.
    pub provisioning: Option<Provisioning>,
    /// The key that signs requests to it, where it wants that.
    pub request_key: Option<RequestKey>,
    /// Until when its metadata holds, s, where that says so.
    pub valid_until: Option<i64>,
    /// When it was configured, s.
    pub changed: i64,
}

/// The key that signs a tenant's requests to its IdP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// The private key, sealed for the tenant ([`crate::secret::NameKey::seal_request_key`]).
    pub sealed: serde_bytes::ByteBuf,
    /// Its certificate (DER), for the IdP.
    pub certificate: serde_bytes::ByteBuf,
}

/// Just-in-time provisioning: which attributes say what of somebody new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioning {
    /// The login name.
    pub username: String,
    /// The first name.
    pub first_name: String,
    /// The last name.
    pub last_name: String,
    /// Where notifications go.
    pub email: String,
    /// Groups.
    pub groups: String,
    /// The company.
    pub company: String,
    /// The company that has to be said, if one has.
    pub only_company: Option<String>,
    /// Groups whose people are Administrators; everybody else is an employee like others.
    pub administrators: Vec<String>,
}

impl Provisioning {
    /// The role that somebody's groups give.
    #[must_use]
    pub fn role(&self, groups: &[String]) -> Role {
        let administers = self.administrators.iter().any(|group| groups.contains(group));
        if administers { Role::Administrator } else { Role::Standard }
    }
}

/// A request for an assertion (`R`) that was sent to the IdP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SsoRequest {
    /// Ends, ms.
    pub ends: i64,
    /// Where the browser goes on afterwards, a path of this service's.
    pub return_to: String,
    /// Whether it asked the IdP to authenticate the person anew, so that its answer may count as a step-up.
    pub step_up: bool,
    /// The digest of the pre-session that started it. Without one it is bound to no browser, and its answer sets no cookie.
    pub pre_session: Option<String>,
}
