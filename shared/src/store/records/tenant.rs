//! Attribute names of the items of tenants and login names (docs/data-model.md).

use std::collections::HashMap;

use super::times::{millis, secs};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    domain::{
        AccentColor, Administrators, AuthType, Idp, LoginRow, PasswordVersion, Profile, Provisioning, RequestKey,
        ResetCodeFor, SsoRequest, TenantPolicy,
    },
    env::{Day, Timestamp},
    id::UserId,
    secret::Nonce,
};

record! { Profile "Profile" as ProfileRecord {
    #[serde(rename = "un")]
    username: String,
    #[serde(rename = "dn")]
    display_name: String,
    #[serde(rename = "em", default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(rename = "cr", with = "secs")]
    created: Timestamp,
    #[serde(rename = "ni", default, skip_serializing_if = "Option::is_none")]
    name_id: Option<String>,
    #[serde(rename = "sj", default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
} }

record! { TenantPolicy "TenantPolicy" as TenantPolicyRecord {
    name: String,
    issuer: String,
    #[serde(rename = "rcf")]
    reset_code_for: ResetCodeFor,
    #[serde(rename = "ac", default, skip_serializing_if = "Option::is_none")]
    accent: Option<AccentColor>,
    #[serde(rename = "lg", default, skip_serializing_if = "Option::is_none")]
    logo: Option<String>,
    #[serde(rename = "cr", with = "secs")]
    created: Timestamp,
} }

/// Stores a colour as `#rrggbb`. It was checked when it was set, so a rule that changes later does not make the item unreadable.
impl Serialize for AccentColor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AccentColor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_stored(&text).ok_or_else(|| D::Error::custom("not a colour"))
    }
}

/// The Administrators are maps, so that repeating a write has no effect.
#[derive(Serialize, Deserialize)]
struct AdministratorsRecord {
    /// Whether each signs in locally.
    #[serde(rename = "act", default)]
    active: HashMap<UserId, bool>,
    /// The values mean nothing.
    #[serde(rename = "able", default)]
    with_mfa: HashMap<UserId, bool>,
    #[serde(rename = "idp", default)]
    has_idp: bool,
}

impl<'de> Deserialize<'de> for Administrators {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let AdministratorsRecord { active, with_mfa, has_idp } = AdministratorsRecord::deserialize(deserializer)?;
        let auth_type = |local| if local { AuthType::Local } else { AuthType::SamlSso };
        Ok(Self {
            active: active.into_iter().map(|(user, local)| (user, auth_type(local))).collect(),
            with_mfa: with_mfa.into_keys().collect(),
            has_idp,
        })
    }
}

impl Serialize for Administrators {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { active, with_mfa, has_idp } = self.clone();
        let is_local = |auth_type| auth_type == AuthType::Local;
        AdministratorsRecord {
            active: active.into_iter().map(|(user, auth_type)| (user, is_local(auth_type))).collect(),
            with_mfa: with_mfa.into_iter().map(|user| (user, true)).collect(),
            has_idp,
        }
        .serialize(serializer)
    }
}

record! { Idp "Idp" as IdpRecord {
    #[serde(rename = "e")]
    entity_id: String,
    #[serde(rename = "gn", default, skip_serializing_if = "Option::is_none")]
    generation: Option<Nonce>,
    #[serde(rename = "u")]
    sso_url: String,
    #[serde(rename = "c")]
    certificates: Vec<serde_bytes::ByteBuf>,
    #[serde(rename = "ii", default)]
    idp_initiated: bool,
    #[serde(rename = "mc", default)]
    mfa_contexts: Vec<String>,
    #[serde(rename = "lf", default, skip_serializing_if = "Option::is_none")]
    link_attribute: Option<String>,
    #[serde(rename = "jp", default, skip_serializing_if = "Option::is_none")]
    provisioning: Option<Provisioning>,
    #[serde(rename = "rk", default, skip_serializing_if = "Option::is_none")]
    request_key: Option<RequestKey>,
    #[serde(rename = "vu", default, skip_serializing_if = "Option::is_none", with = "secs")]
    valid_until: Option<Timestamp>,
    #[serde(rename = "at", with = "secs")]
    changed: Timestamp,
} }

record! { RequestKey "RequestKey" as RequestKeyRecord {
    #[serde(rename = "k")]
    sealed: serde_bytes::ByteBuf,
    #[serde(rename = "c")]
    certificate: serde_bytes::ByteBuf,
} }

record! { Provisioning "Provisioning" as ProvisioningRecord {
    #[serde(rename = "un")]
    username: String,
    #[serde(rename = "fn")]
    first_name: String,
    #[serde(rename = "ln")]
    last_name: String,
    #[serde(rename = "em")]
    email: String,
    #[serde(rename = "g")]
    groups: String,
    #[serde(rename = "co")]
    company: String,
    #[serde(rename = "cn", default, skip_serializing_if = "Option::is_none")]
    only_company: Option<String>,
    #[serde(rename = "ag", default)]
    administrators: Vec<String>,
} }

record! { SsoRequest "SsoRequest" as SsoRequestRecord {
    #[serde(rename = "x", with = "millis")]
    ends: Timestamp,
    #[serde(rename = "to")]
    return_to: String,
    #[serde(rename = "su", default)]
    step_up: bool,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pre_session: Option<String>,
} }

record! { LoginRow "LoginRow" as LoginRowRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<UserId>,
    #[serde(rename = "ph", default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(rename = "pv", default, skip_serializing_if = "Option::is_none")]
    version: Option<PasswordVersion>,
    #[serde(rename = "n", default)]
    attempts: i64,
    #[serde(rename = "q", default, with = "millis")]
    last: Timestamp,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    attempt: Option<Nonce>,
    #[serde(rename = "day", default, skip_serializing_if = "Option::is_none")]
    notified_day: Option<Day>,
} }
