//! The AWS settings that Lambda gives a function in environment variables. All errors are reported together.

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_runtime_api::client::{behavior_version::BehaviorVersion, http::SharedHttpClient};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::{SdkConfig, app_name::AppName, region::Region};

use crate::{
    audit::{AuditRetention, BadRetention},
    tls_roots::TlsRoots,
};
#[cfg(feature = "dynamo")]
use crate::{
    env::SystemEntropy,
    store::dynamo::{self, DynamoTable},
};

/// All configuration errors, in one report.
#[derive(Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{} fault(s): {}", .0.len(), .0.join("; "))]
pub struct ConfigErrors(pub Vec<String>);

impl ConfigErrors {
    /// Reads a required environment variable, or records that it is not set. An empty value counts as not set.
    pub fn require(&mut self, variable: impl Fn(&str) -> Option<String>, name: &str, what: &str) -> Option<String> {
        let found = variable(name).filter(|value| !value.is_empty());
        if found.is_none() {
            self.0.push(format!("{name} is not set: {what}"));
        }
        found
    }

    /// Reads how long audit rows are kept, or records that the value is invalid.
    pub fn audit_retention(&mut self, variable: impl Fn(&str) -> Option<String>) -> AuditRetention {
        let said = variable("VESTIBULE_AUDIT_RETENTION_DAYS").filter(|days| !days.is_empty());
        let read = |days: String| {
            days.parse().map_err(|expected: BadRetention| format!("VESTIBULE_AUDIT_RETENTION_DAYS {days}: {expected}"))
        };
        said.and_then(|days| self.take(read(days))).unwrap_or_default()
    }

    /// Unwraps a result, or records its error.
    pub fn take<T>(&mut self, found: Result<T, String>) -> Option<T> {
        found.map_err(|fault| self.0.push(fault)).ok()
    }

    /// Unwraps a result, or records its errors.
    pub fn take_all<T>(&mut self, found: Result<T, Self>) -> Option<T> {
        found.map_err(|Self(faults)| self.0.extend(faults)).ok()
    }
}

/// Region and credentials for calls to AWS, as Lambda sets them.
pub struct Aws {
    /// The AWS region.
    pub region: String,
    /// The credentials of the function's role.
    pub credentials: Credentials,
    /// The function's name. It is part of the user agent of each call to AWS.
    pub name: Option<AppName>,
    trust: TlsRoots,
}

impl Aws {
    /// Reads the environment variables and records what is missing or invalid. `None` if any required value is missing.
    pub fn read(variable: impl Fn(&str) -> Option<String>, errors: &mut ConfigErrors) -> Option<Self> {
        let region = errors.require(&variable, "AWS_REGION", "the region; Lambda sets it");
        let access = errors.require(&variable, "AWS_ACCESS_KEY_ID", "the function's role; Lambda sets it");
        let secret = errors.require(&variable, "AWS_SECRET_ACCESS_KEY", "the function's role; Lambda sets it");
        let session = variable("AWS_SESSION_TOKEN");
        let file = variable("VESTIBULE_CA_FILE").filter(|path| !path.is_empty());
        let trust = TlsRoots::read(file.as_deref());
        let trust = trust.map_err(|fault| format!("VESTIBULE_CA_FILE {}: {fault}", file.unwrap_or_default()));
        // With Amazon's certificates as a fallback, the other settings can still be checked.
        let trust = errors.take(trust).or_else(|| TlsRoots::read(None).ok());
        Some(Self {
            region: region?,
            credentials: Credentials::new(access?, secret?, session, None, "environment"),
            name: variable("AWS_LAMBDA_FUNCTION_NAME").and_then(|name| AppName::new(name).ok()),
            trust: trust?,
        })
    }

    /// A new HTTP client for the SDK, with its own connections.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        self.trust.http_client()
    }

    /// The configuration of an SDK client. `endpoint` replaces the address of AWS.
    #[must_use]
    pub fn config(&self, endpoint: Option<String>, timeouts: TimeoutConfig, retries: RetryConfig) -> SdkConfig {
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(self.credentials.clone()))
            .http_client(self.http_client())
            .timeout_config(timeouts)
            .retry_config(retries);
        config.set_app_name(self.name.clone()).set_endpoint_url(endpoint);
        config.build()
    }

    /// The DynamoDB table with this name. `endpoint` replaces the address of AWS.
    #[cfg(feature = "dynamo")]
    #[must_use]
    pub fn table(&self, name: String, endpoint: Option<String>) -> DynamoTable {
        let client = dynamo::client(self.region.clone(), self.credentials.clone(), endpoint, &self.trust);
        let mut config = client.config().to_builder();
        config.set_app_name(self.name.clone());
        DynamoTable::new(aws_sdk_dynamodb::Client::from_conf(config.build()), name, std::sync::Arc::new(SystemEntropy))
    }
}
