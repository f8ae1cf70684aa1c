//! Conversion between items and typed records. Attribute names are short, because the cost of a write grows with each
//! kilobyte of its item; the fields have full names.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    records::times::millis,
    table::StoreError,
    write::{Item, Value},
};
use crate::{env::Timestamp, secret::Nonce};

pub use crate::domain::{
    Administrators, Amr, AuthType, CurrentIdp, Device, Exclusion, FactorState, Idp, Kind, LoginRow, LoginTokenEntry,
    PendingEnrolment, Profile, Provisioning, RequestKey, ResetCodeEntry, ResetCodeFor, Role, Session, SsoRequest,
    TenantPolicy, User,
};

/// An excluded contact (`X`), for the list of them: decisions read [`User::excluded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExclusionRow {
    /// The contact.
    #[serde(rename = "u")]
    pub contact: crate::id::UserId,
    /// The login name at the time of the exclusion.
    #[serde(rename = "un")]
    pub username: String,
    /// The Administrator who excluded the contact.
    pub by: crate::id::UserId,
    /// The reason.
    #[serde(rename = "why")]
    pub reason: String,
    /// The batch.
    #[serde(rename = "b")]
    pub batch: crate::id::BatchId,
    /// When.
    #[serde(rename = "t", with = "millis")]
    pub at: Timestamp,
}

/// The user who is linked to a name id of the IdP (`N`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The user.
    pub uid: crate::id::UserId,
    /// The user's incarnation.
    #[serde(rename = "born")]
    pub incarnation: Nonce,
}

/// A tenant's MFA resets of the last hour (`RB`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetBudget {
    /// Times of the resets.
    #[serde(rename = "w", default, with = "millis")]
    pub resets: Vec<Timestamp>,
}

/// Converts an item to a typed record.
///
/// # Errors
/// [`StoreError::Corrupt`] if the item does not have the expected attributes.
pub fn read<T: DeserializeOwned>(item: Item) -> Result<T, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Converts a typed record to an item.
///
/// # Errors
/// [`StoreError::Corrupt`] if the store cannot hold the record. This happens with none of the types here.
pub fn write<T: Serialize>(record: &T) -> Result<Item, StoreError> {
    serde_dynamo::to_item(record).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Converts a typed entry to an attribute value.
///
/// # Errors
/// As [`write`].
pub fn value<T: Serialize>(entry: &T) -> Result<Value, StoreError> {
    serde_dynamo::to_attribute_value(entry).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The size of an item in bytes, as DynamoDB counts it: names and values, 3 for a map or list and 1 for each of its entries.
#[must_use]
pub fn size(item: &Item) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::S(text) => text.len(),
            Value::N(digits) => digits.trim_start_matches('-').len().div_ceil(2) + 1,
            Value::B(bytes) => bytes.len(),
            Value::M(map) => 3 + map.iter().map(|(name, value)| name.len() + of(value) + 1).sum::<usize>(),
            Value::L(list) => 3 + list.iter().map(|value| of(value) + 1).sum::<usize>(),
            Value::Ss(set) => set.iter().map(String::len).sum(),
            _ => 1,
        }
    }
    item.iter().map(|(name, value)| name.len() + of(value)).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::{ChallengeState, SecurityVersion},
        env::SystemEntropy,
        policy,
        secret::{KeyRing, NewToken, Sealer, TokenClass},
        store::{
            fixture::{NOW, PASSWORD, STEP, ann, attempt},
            keys,
        },
    };

    /// The cost of a write grows with each kilobyte (docs/data-model.md, "Size"). Ids have the length of those that the service
    /// makes.
    #[tokio::test]
    async fn user_with_four_sessions_fits_into_one_kilobyte() {
        let (ann, _) = ann(0).await;
        let ring = KeyRing::new([(1, zeroize::Zeroizing::new([9; 32]))].into()).unwrap();
        let mut device = None;
        for n in 0..5_i64 {
            let at = NOW + Duration::from_secs(u64::try_from(n * 30).unwrap());
            let verified = ann.password(PASSWORD, device.as_ref().filter(|_| n == 3), at).await.ok().unwrap();
            let (token, _) = ann.opened(verified, "10.20.30").await.unwrap();
            if n < 4 {
                let signed_in = ann.signed_in(token.reference(), STEP + n, at).await.unwrap();
                device = signed_in.device.map(|token| token.reference().clone()).or(device);
            }
        }
        let mut user = ann.read(&ann.key).await;
        user.factor.active_mut().unwrap().secret = ring.seal(&ann.secret, &SystemEntropy).await.unwrap();
        user.challenges.retain(|_, challenge| challenge.state == ChallengeState::NEW);
        assert_eq!((user.sessions.len(), user.challenges.len(), user.devices.len()), (4, 1, 3));
        let mut item = write(&user).unwrap();
        item.extend(keys::user(&ann.key).attributes());
        let bytes = size(&item) + 22 - ann.key.user().as_str().len();
        #[allow(clippy::print_stdout, reason = "what `--nocapture` is for")]
        {
            println!("a user with 4 sessions, 1 challenge and 3 devices: {bytes} bytes");
        }
        assert!(bytes <= 1024, "{bytes} bytes");
    }

    /// Adds the maximum number of sessions and known devices.
    fn fill_sessions_and_devices(user: &mut User, token: impl Fn(TokenClass) -> NewToken, nonce: impl Fn() -> Nonce) {
        for _ in 0..policy::SESSIONS {
            let new = token(TokenClass::Session);
            let (verifier, attempt, s) = (*new.reference().verifier(), nonce(), NOW);
            let session = Session {
                verifier,
                created: NOW,
                attempt,
                ends: s,
                seen: s,
                step_up: Some(s),
                amr: Amr::SsoOtp,
                security_version: SecurityVersion(10_000),
                idp_generation: Some(nonce()),
                password_attempts: policy::MAX_ATTEMPTS,
                password_attempt: Some(nonce()),
            };
            user.sessions.insert(new.reference().id().clone(), session);
        }
        for _ in 0..policy::DEVICES {
            let new = token(TokenClass::Device);
            let device = Device {
                verifier: *new.reference().verifier(),
                ends: NOW,
                attempts: 10_000,
                last: NOW,
                attempt: Some(nonce()),
            };
            user.devices.insert(new.reference().id().clone(), device);
        }
    }

    /// A caller who knows the password can fill every list of the item. Each list has a cap, so the size is bounded.
    #[tokio::test]
    async fn user_at_every_cap_has_bounded_item() {
        let (ann, _) = ann(0).await;
        let ring = KeyRing::new([(1, zeroize::Zeroizing::new([9; 32]))].into()).unwrap();
        let sealed = || ring.seal(&ann.secret, &SystemEntropy);
        let token = |class| NewToken::generate(class, &ann.key, ann.store.restore_epoch(), &SystemEntropy).unwrap();
        let nonce = || Nonce::generate(&SystemEntropy).unwrap();
        let network = |n: usize| format!("20010db80000{n:02x}");
        let digest = || ann.recovery.digest(&ann.codes, &ann.key);
        let mut user = ann.read(&ann.key).await;
        let open = |class, n| {
            let token = token(class);
            let (verifier, device) = (*token.reference().verifier(), Some(token.reference().id().clone()));
            let (network, idp_generation) = (network(n), (class == TokenClass::Enrolment).then(nonce));
            let entry = LoginTokenEntry {
                verifier,
                ends: NOW,
                state: ChallengeState::Open { attempts: policy::MAX_ATTEMPTS },
                security_version: SecurityVersion(10_000),
                network,
                device,
                idp_generation,
            };
            (token.reference().id().clone(), entry)
        };
        user.challenges = (0..policy::CHALLENGES).map(|n| open(TokenClass::Challenge, n)).collect();
        user.enrolments = (0..policy::ENROLMENT_TOKENS).map(|n| open(TokenClass::Enrolment, n)).collect();
        fill_sessions_and_devices(&mut user, token, nonce);
        user.recent_attempts = (0..policy::MAX_RECENT_ATTEMPTS).map(|_| (attempt(NOW).text(), NOW)).collect();
        let times = vec![NOW; policy::NETWORK_CHALLENGES];
        user.networks = (0..policy::NETWORKS).map(|n| (network(n), times.clone())).collect();
        user.resets = vec![NOW; policy::OWN_RESETS];
        user.factor.active_mut().unwrap().secret = sealed().await.unwrap();
        let started_by = user.sessions.keys().next().unwrap().clone();
        let (factor, secret, factor_at_start) = (nonce(), sealed().await.unwrap(), Some(nonce()));
        let reset_code = Some(digest());
        user.pending =
            Some(PendingEnrolment { factor, secret, started_by, ends: NOW, attempts: 5, reset_code, factor_at_start });
        user.reset_code = Some(ResetCodeEntry { digest: digest(), ends: NOW, attempts: 5 });
        (user.reset_code_required, user.enrol_by) = (true, Some(NOW));
        user.excluded = Some(Exclusion { batch: crate::id::BatchId::parse(&"b".repeat(22)).unwrap(), at: NOW });
        let mut item = write(&user).unwrap();
        item.extend(keys::user(&ann.key).attributes());
        let bytes = size(&item);
        #[allow(clippy::print_stdout, reason = "what `--nocapture` is for")]
        {
            println!("a user at every cap: {bytes} bytes");
        }
        assert!(bytes <= MOST, "{bytes} bytes");
    }

    /// Maximum size of a user's item in bytes. DynamoDB allows 400 KB, but the cost of a write grows with the size.
    const MOST: usize = 12 * 1024;
}
