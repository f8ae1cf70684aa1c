//! Keys in AWS KMS (docs/adr/0009). Digest keys are derived by KMS when a function starts. The secrets of authenticator
//! apps are sealed under data keys that only KMS can unwrap.
//!
//! Calls run without a log subscriber: at its finest level the SDK logs whole responses, which contain keys.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_kms::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::{DataKeySpec, MacAlgorithmSpec},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::Mutex;
use tracing::{instrument::WithSubscriber, subscriber::NoSubscriber};
use zeroize::Zeroizing;

use crate::{
    env::{Clock, Entropy, Timestamp},
    secret::{FactorRef, KeyRing, SealError, SealedSecret, Sealer, TotpSecret},
    store::{
        Store, StoreError,
        data_keys::{WrappedKey, WrappedKeys},
    },
};

/// The message whose MAC is the key for login names and tickets.
pub const NAMES_MESSAGE: &[u8] = b"vestibule/1 names";
/// The message whose MAC is the key for recovery tokens and reset codes.
pub const CODES_MESSAGE: &[u8] = b"vestibule/1 codes";

/// How long an unwrapped data key stays in memory. A key that is disabled in KMS opens nothing after this time.
pub const DATA_KEYS_CACHED: Duration = Duration::from_secs(5 * 60);
/// How many times the data keys in memory are used before they are read again.
const MAX_USES: u32 = 10_000;
/// The age at which a data key gets a successor.
pub const DATA_KEY_SEALS: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A call to KMS failed. The caller must grant nothing.
#[derive(Debug, thiserror::Error)]
#[error("KMS {operation}: {fault}")]
pub struct KmsError {
    operation: &'static str,
    /// The error code of KMS, or how the call failed. It contains nothing that was sent or received.
    fault: String,
}

impl KmsError {
    fn new(operation: &'static str, fault: impl Into<String>) -> Self {
        Self { operation, fault: fault.into() }
    }

    fn of<E: ProvideErrorMetadata, R>(operation: &'static str, error: &SdkError<E, R>) -> Self {
        let fault = match error {
            SdkError::ServiceError(answer) => answer.err().code().unwrap_or("an error without a code"),
            SdkError::TimeoutError(_) => "timed out",
            SdkError::DispatchFailure(_) => "unreachable",
            SdkError::ResponseError(_) => "an unreadable response",
            _ => "the request could not be built",
        };
        Self::new(operation, fault)
    }
}

impl From<KmsError> for SealError {
    fn from(error: KmsError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<StoreError> for SealError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// A KMS client over an HTTP client (see `TlsRoots::http_client`). `endpoint` replaces the address of AWS. Throttled or
/// unanswered calls are sent at most three times, within three seconds; every call made here is safe to repeat.
#[must_use]
pub fn client(region: String, credentials: Credentials, endpoint: Option<String>, http: SharedHttpClient) -> Client {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(1))
        .operation_timeout(Duration::from_secs(3));
    let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(100));
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .credentials_provider(credentials)
        .timeout_config(timeouts.build())
        .retry_config(retries)
        .http_client(http);
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    Client::from_conf(config.build())
}

/// Derives a 256-bit key: the MAC of a fixed message under an HMAC key that never leaves KMS. The result is always the
/// same and is stored nowhere.
///
/// # Errors
/// [`KmsError`] if the call fails or the response has no key of 32 bytes.
pub async fn mac_key(client: &Client, key_id: &str, message: &[u8]) -> Result<Zeroizing<[u8; 32]>, KmsError> {
    let asked = client.generate_mac().key_id(key_id).mac_algorithm(MacAlgorithmSpec::HmacSha256);
    let answered = asked.message(Blob::new(message)).send().with_subscriber(NoSubscriber::default()).await;
    key_of("GenerateMac", answered.map_err(|error| KmsError::of("GenerateMac", &error))?.mac)
}

/// The key in a response. The SDK keeps its own copy of the response text, which cannot be wiped.
fn key_of(operation: &'static str, blob: Option<Blob>) -> Result<Zeroizing<[u8; 32]>, KmsError> {
    let bytes = Zeroizing::new(blob.map(Blob::into_inner).unwrap_or_default());
    let key = bytes.as_slice().try_into().map_err(|_| KmsError::new(operation, "a response without a key"))?;
    Ok(Zeroizing::new(key))
}

/// Seals the secrets of authenticator apps under data keys of the store, which KMS unwraps.
pub struct KmsSealer {
    client: Client,
    key_id: String,
    store: Store,
    clock: Arc<dyn Clock>,
    /// Locked during calls to KMS: concurrent requests need the same response.
    kept: Mutex<Option<Kept>>,
}

/// The wrapped data keys as they were read, and those of them that are unwrapped.
struct Kept {
    since: Timestamp,
    uses: u32,
    wrapped: WrappedKeys,
    ring: KeyRing,
}

impl Kept {
    fn fresh(&self, now: Timestamp) -> bool {
        // If the clock was set back, the keys count as stale.
        self.since <= now && now < self.since + DATA_KEYS_CACHED && self.uses < MAX_USES
    }

    fn newest(&self) -> Option<(u64, &WrappedKey)> {
        self.wrapped.last_key_value().map(|(number, key)| (*number, key))
    }
}

fn due(key: &WrappedKey, now: Timestamp) -> bool {
    key.made() + DATA_KEY_SEALS <= now
}

fn context(number: u64) -> Option<HashMap<String, String>> {
    let pair = |name: &str, value: String| (name.to_owned(), value);
    Some(HashMap::from([pair("purpose", "totp-secret".to_owned()), pair("number", number.to_string())]))
}

impl KmsSealer {
    /// A sealer for a store. `key_id` is the KMS key that wraps its data keys.
    #[must_use]
    pub fn new(client: Client, key_id: impl Into<String>, store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { client, key_id: key_id.into(), store, clock, kept: Mutex::new(None) }
    }

    /// Unwraps the newest data key, so that the first sign-in need not wait for it. It never creates a data key.
    ///
    /// # Errors
    /// [`SealError::Unavailable`] if KMS or the store fails; a sign-in would fail too.
    pub async fn warm(&self) -> Result<(), SealError> {
        let mut kept = self.kept.lock().await;
        let kept = self.current(&mut kept).await?;
        match kept.newest().map(|(number, _)| number) {
            Some(number) => self.unwrap(kept, number).await,
            None => Ok(()),
        }
    }

    async fn current<'a>(&self, kept: &'a mut Option<Kept>) -> Result<&'a mut Kept, SealError> {
        let now = self.clock.now();
        let current = match kept.take() {
            Some(kept) if kept.fresh(now) => kept,
            _ => {
                let (wrapped, ring) = (self.store.data_keys().await?, KeyRing::of_data_keys());
                Kept { since: now, uses: 0, wrapped, ring }
            }
        };
        let current = kept.insert(current);
        current.uses += 1;
        Ok(current)
    }

    async fn unwrap(&self, kept: &mut Kept, number: u64) -> Result<(), SealError> {
        if kept.ring.has(number) {
            return Ok(());
        }
        let Some(key) = kept.wrapped.get(&number) else {
            return Err(SealError::Unavailable(format!("no data key {number}")));
        };
        let asked = self.client.decrypt().key_id(&self.key_id).ciphertext_blob(Blob::new(key.wrapped()));
        let asked = asked.set_encryption_context(context(number));
        let answered = asked.send().with_subscriber(NoSubscriber::default()).await;
        let answer = answered.map_err(|error| KmsError::of("Decrypt", &error))?;
        kept.ring.insert(number, key_of("Decrypt", answer.plaintext)?);
        Ok(())
    }

    /// Creates a data key, unless another instance created it first. A key that is not stored seals nothing.
    async fn make(&self, kept: &mut Kept, number: u64) -> Result<(), SealError> {
        let asked = self.client.generate_data_key().key_id(&self.key_id).key_spec(DataKeySpec::Aes256);
        let asked = asked.set_encryption_context(context(number));
        let answered = asked.send().with_subscriber(NoSubscriber::default()).await;
        let answer = answered.map_err(|error| KmsError::of("GenerateDataKey", &error))?;
        let Some(wrapped) = answer.ciphertext_blob.map(Blob::into_inner).filter(|wrapped| !wrapped.is_empty()) else {
            return Err(KmsError::new("GenerateDataKey", "a response without a wrapped key").into());
        };
        let (key, wrapped) = (key_of("GenerateDataKey", answer.plaintext)?, WrappedKey::new(wrapped, self.clock.now()));
        kept.wrapped = self.store.add_data_key(number, &wrapped).await?;
        if kept.wrapped.get(&number) == Some(&wrapped) {
            kept.ring.insert(number, key);
        }
        Ok(())
    }
}

#[async_trait]
impl Sealer for KmsSealer {
    async fn seal(&self, secret: &TotpSecret, entropy: &dyn Entropy) -> Result<SealedSecret, SealError> {
        let mut kept = self.kept.lock().await;
        let kept = self.current(&mut kept).await?;
        match kept.newest() {
            None => self.make(kept, 1).await?,
            Some((number, key)) if due(key, self.clock.now()) => self.make(kept, number + 1).await?,
            Some(_) => {}
        }
        // The newest key now; another instance may have created it.
        if let Some((number, _)) = kept.newest() {
            self.unwrap(kept, number).await?;
        }
        kept.ring.seal(secret, entropy).await
    }

    async fn open(&self, owner: FactorRef, sealed: &SealedSecret) -> Result<TotpSecret, SealError> {
        let number = sealed.number().ok_or(SealError::Refused)?;
        let mut kept = self.kept.lock().await;
        let kept = self.current(&mut kept).await?;
        if !kept.wrapped.contains_key(&number) {
            // Another instance may have created it since the keys were read.
            kept.wrapped = self.store.data_keys().await?;
        }
        self.unwrap(kept, number).await?;
        kept.ring.open(owner, sealed).await
    }

    /// True also if the newest key is due for a successor: sealing again then creates one, even if no user enrols.
    async fn outdated(&self, sealed: &SealedSecret) -> bool {
        let kept = self.kept.lock().await;
        let newest = kept.as_ref().and_then(Kept::newest);
        newest.is_some_and(|(number, key)| sealed.number() < Some(number) || due(key, self.clock.now()))
    }
}
