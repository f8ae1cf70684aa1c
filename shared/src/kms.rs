//! Keys in AWS KMS: digest keys derived there when a function starts, and data keys that only KMS can unwrap, under which
//! authenticators' secrets are sealed (docs/adr/0009).
//!
//! What the SDK says while it works is not logged: at its finest level it would write down whole answers, keys among them.

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

/// Of what the key for login names and tickets is the MAC.
pub const NAMES: &[u8] = b"vestibule/1 names";
/// Of what the key for recovery tokens and reset codes is the MAC.
pub const CODES: &[u8] = b"vestibule/1 codes";

/// How long an unwrapped data key is kept: a key that was disabled in KMS opens nothing after this.
pub const KEPT: Duration = Duration::from_secs(5 * 60);
/// How often what is kept is used at most.
const USES: u32 = 10_000;
/// How long a data key seals before it gets a successor.
pub const SEALS: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// KMS did not do what it was asked: nothing may be granted.
#[derive(Debug, thiserror::Error)]
#[error("KMS {operation}: {fault}")]
pub struct KmsError {
    operation: &'static str,
    /// KMS's name of the error, or what happened to the call: nothing that was sent or received.
    fault: String,
}

impl KmsError {
    fn new(operation: &'static str, fault: impl Into<String>) -> Self {
        Self { operation, fault: fault.into() }
    }

    fn of<E: ProvideErrorMetadata, R>(operation: &'static str, error: &SdkError<E, R>) -> Self {
        let fault = match error {
            SdkError::ServiceError(answer) => answer.err().code().unwrap_or("an error without a name"),
            SdkError::TimeoutError(_) => "no answer in time",
            SdkError::DispatchFailure(_) => "not reached",
            SdkError::ResponseError(_) => "an answer that does not read",
            _ => "not asked",
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

/// A client of KMS over an HTTP client (one of `TlsRoots::http_client`); at another address than AWS's where one is given.
/// Throttled and silent calls are made three times at most, in three seconds at most: no call here does harm when it is done
/// twice.
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

/// Derives a key: the MAC of a fixed message under an HMAC key that never leaves KMS. Always the same, and kept nowhere.
///
/// # Errors
/// [`KmsError`].
pub async fn mac_key(client: &Client, key_id: &str, message: &[u8]) -> Result<Zeroizing<[u8; 32]>, KmsError> {
    let asked = client.generate_mac().key_id(key_id).mac_algorithm(MacAlgorithmSpec::HmacSha256);
    let answered = asked.message(Blob::new(message)).send().with_subscriber(NoSubscriber::default()).await;
    key_of("GenerateMac", answered.map_err(|error| KmsError::of("GenerateMac", &error))?.mac)
}

/// The key in an answer. The SDK's own copy of the answer's text cannot be wiped.
fn key_of(operation: &'static str, blob: Option<Blob>) -> Result<Zeroizing<[u8; 32]>, KmsError> {
    let bytes = Zeroizing::new(blob.map(Blob::into_inner).unwrap_or_default());
    let key = bytes.as_slice().try_into().map_err(|_| KmsError::new(operation, "an answer without a key"))?;
    Ok(Zeroizing::new(key))
}

/// Seals authenticators' secrets under data keys of the store, which KMS unwraps.
pub struct KmsSealer {
    client: Client,
    key_id: String,
    store: Store,
    clock: Arc<dyn Clock>,
    /// Held while KMS is asked: who comes meanwhile needs the same answer.
    kept: Mutex<Option<Kept>>,
}

/// What was read, and of it what was unwrapped.
struct Kept {
    since: Timestamp,
    uses: u32,
    wrapped: WrappedKeys,
    ring: KeyRing,
}

impl Kept {
    fn fresh(&self, now: Timestamp) -> bool {
        // A clock that was set back makes nothing last.
        self.since <= now && now < self.since + KEPT && self.uses < USES
    }

    fn newest(&self) -> Option<(u64, &WrappedKey)> {
        self.wrapped.last_key_value().map(|(number, key)| (*number, key))
    }
}

fn due(key: &WrappedKey, now: Timestamp) -> bool {
    key.made() + SEALS <= now
}

fn context(number: u64) -> Option<HashMap<String, String>> {
    let pair = |name: &str, value: String| (name.to_owned(), value);
    Some(HashMap::from([pair("purpose", "totp-secret".to_owned()), pair("number", number.to_string())]))
}

impl KmsSealer {
    /// Over the data keys of a store, wrapped by the KMS key of that id.
    #[must_use]
    pub fn new(client: Client, key_id: impl Into<String>, store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { client, key_id: key_id.into(), store, clock, kept: Mutex::new(None) }
    }

    /// Unwraps the newest data key, so that the first sign-in need not wait for it. It makes none.
    ///
    /// # Errors
    /// [`SealError`]: neither will a sign-in get it.
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

    /// Makes a data key, unless another instance was faster. A key that is not stored seals nothing.
    async fn make(&self, kept: &mut Kept, number: u64) -> Result<(), SealError> {
        let asked = self.client.generate_data_key().key_id(&self.key_id).key_spec(DataKeySpec::Aes256);
        let asked = asked.set_encryption_context(context(number));
        let answered = asked.send().with_subscriber(NoSubscriber::default()).await;
        let answer = answered.map_err(|error| KmsError::of("GenerateDataKey", &error))?;
        let Some(wrapped) = answer.ciphertext_blob.map(Blob::into_inner).filter(|wrapped| !wrapped.is_empty()) else {
            return Err(KmsError::new("GenerateDataKey", "an answer without a wrapped key").into());
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
        // The newest of what is there now: perhaps another instance's.
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
            // Another instance has made it since.
            kept.wrapped = self.store.data_keys().await?;
        }
        self.unwrap(kept, number).await?;
        kept.ring.open(owner, sealed).await
    }

    /// Also if the newest key is due for a successor: then it gets one, though nobody enrols.
    async fn outdated(&self, sealed: &SealedSecret) -> bool {
        let kept = self.kept.lock().await;
        let newest = kept.as_ref().and_then(Kept::newest);
        newest.is_some_and(|(number, key)| sealed.number() < Some(number) || due(key, self.clock.now()))
    }
}
