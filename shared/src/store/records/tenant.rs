//! Attribute names of the items of tenants and login names (docs/data-model.md).

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    domain::{
        Administrators, Idp, LoginRow, Profile, Provisioning, RequestKey, ResetCodeFor, SsoRequest, TenantPolicy,
    },
    id::UserId,
    secret::Nonce,
};

#[derive(Serialize, Deserialize)]
struct ProfileRecord {
    #[serde(rename = "un")]
    username: String,
    #[serde(rename = "dn")]
    display_name: String,
    #[serde(rename = "em", default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(rename = "cr")]
    created: i64,
    #[serde(rename = "ni", default, skip_serializing_if = "Option::is_none")]
    name_id: Option<String>,
    #[serde(rename = "sj", default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
}

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ProfileRecord { username, display_name, email, created, name_id, subject } =
            ProfileRecord::deserialize(deserializer)?;
        Ok(Self { username, display_name, email, created, name_id, subject })
    }
}

impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { username, display_name, email, created, name_id, subject } = self.clone();
        ProfileRecord { username, display_name, email, created, name_id, subject }.serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
struct TenantPolicyRecord {
    name: String,
    issuer: String,
    #[serde(rename = "rcf")]
    reset_code_for: ResetCodeFor,
    #[serde(rename = "cr")]
    created: i64,
}

impl<'de> Deserialize<'de> for TenantPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let TenantPolicyRecord { name, issuer, reset_code_for, created } =
            TenantPolicyRecord::deserialize(deserializer)?;
        Ok(Self { name, issuer, reset_code_for, created })
    }
}

impl Serialize for TenantPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { name, issuer, reset_code_for, created } = self.clone();
        TenantPolicyRecord { name, issuer, reset_code_for, created }.serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
struct AdministratorsRecord {
    #[serde(rename = "act", default)]
    active: HashMap<UserId, bool>,
    #[serde(rename = "able", default)]
    with_mfa: HashMap<UserId, bool>,
    #[serde(default)]
    idp: bool,
}

impl<'de> Deserialize<'de> for Administrators {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let AdministratorsRecord { active, with_mfa, idp } = AdministratorsRecord::deserialize(deserializer)?;
        Ok(Self { active, with_mfa, idp })
    }
}

impl Serialize for Administrators {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { active, with_mfa, idp } = self.clone();
        AdministratorsRecord { active, with_mfa, idp }.serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
struct IdpRecord {
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
    #[serde(rename = "vu", default, skip_serializing_if = "Option::is_none")]
    valid_until: Option<i64>,
    #[serde(rename = "at")]
    changed: i64,
}

impl<'de> Deserialize<'de> for Idp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let IdpRecord {
            entity_id,
            generation,
            sso_url,
            certificates,
            idp_initiated,
            mfa_contexts,
            link_attribute,
            provisioning,
            request_key,
            valid_until,
            changed,
        } = IdpRecord::deserialize(deserializer)?;
        Ok(Self {
            entity_id,
            generation,
            sso_url,
            certificates,
            idp_initiated,
            mfa_contexts,
            link_attribute,
            provisioning,
            request_key,
            valid_until,
            changed,
        })
    }
}

impl Serialize for Idp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            entity_id,
            generation,
            sso_url,
            certificates,
            idp_initiated,
            mfa_contexts,
            link_attribute,
            provisioning,
            request_key,
            valid_until,
            changed,
        } = self.clone();
        IdpRecord {
            entity_id,
            generation,
            sso_url,
            certificates,
            idp_initiated,
            mfa_contexts,
            link_attribute,
            provisioning,
            request_key,
            valid_until,
            changed,
        }
        .serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
struct RequestKeyRecord {
    #[serde(rename = "k")]
    sealed: serde_bytes::ByteBuf,
    #[serde(rename = "c")]
    certificate: serde_bytes::ByteBuf,
}

impl<'de> Deserialize<'de> for RequestKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RequestKeyRecord { sealed, certificate } = RequestKeyRecord::deserialize(deserializer)?;
        Ok(Self { sealed, certificate })
    }
}

impl Serialize for RequestKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { sealed, certificate } = self.clone();
        RequestKeyRecord { sealed, certificate }.serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
struct ProvisioningRecord {
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
}

impl<'de> Deserialize<'de> for Provisioning {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ProvisioningRecord {
            username,
            first_name,
            last_name,
            email,
            groups,
            company,
            only_company,
            administrators,
        } = ProvisioningRecord::deserialize(deserializer)?;
        Ok(Self { username, first_name, last_name, email, groups, company, only_company, administrators })
    }
}

impl Serialize for Provisioning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { username, first_name, last_name, email, groups, company, only_company, administrators } =
            self.clone();
        ProvisioningRecord { username, first_name, last_name, email, groups, company, only_company, administrators }
            .serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
struct SsoRequestRecord {
    #[serde(rename = "x")]
    ends: i64,
    #[serde(rename = "to")]
    return_to: String,
    #[serde(rename = "su", default)]
    step_up: bool,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pre_session: Option<String>,
}

impl<'de> Deserialize<'de> for SsoRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let SsoRequestRecord { ends, return_to, step_up, pre_session } = SsoRequestRecord::deserialize(deserializer)?;
        Ok(Self { ends, return_to, step_up, pre_session })
    }
}

impl Serialize for SsoRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { ends, return_to, step_up, pre_session } = self.clone();
        SsoRequestRecord { ends, return_to, step_up, pre_session }.serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
struct LoginRowRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<UserId>,
    #[serde(rename = "ph", default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(rename = "pv", default, skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(rename = "n", default)]
    attempts: i64,
    #[serde(rename = "q", default)]
    last: i64,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    attempt: Option<Nonce>,
    #[serde(rename = "day", default, skip_serializing_if = "Option::is_none")]
    notified_day: Option<i64>,
}

impl<'de> Deserialize<'de> for LoginRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let LoginRowRecord { uid, hash, version, attempts, last, attempt, notified_day } =
            LoginRowRecord::deserialize(deserializer)?;
        Ok(Self { uid, hash, version, attempts, last, attempt, notified_day })
    }
}

impl Serialize for LoginRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { uid, hash, version, attempts, last, attempt, notified_day } = self.clone();
        LoginRowRecord { uid, hash, version, attempts, last, attempt, notified_day }.serialize(serializer)
    }
}
