//! What Lambda says of a function's surroundings, read whole: every fault is named.

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_runtime_api::client::{behavior_version::BehaviorVersion, http::SharedHttpClient};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::{SdkConfig, app_name::AppName, region::Region};

use crate::tls_roots::TlsRoots;
#[cfg(feature = "dynamo")]
use crate::{
    env::SystemEntropy,
    store::dynamo::{self, DynamoTable},
};

/// All that is wrong, in one report.
#[derive(Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{} fault(s): {}", .0.len(), .0.join("; "))]
pub struct ConfigErrors(pub Vec<String>);

impl ConfigErrors {
    /// A variable that has to be there.
    pub fn wanted(&mut self, variable: impl Fn(&str) -> Option<String>, name: &str, what: &str) -> Option<String> {
        let found = variable(name).filter(|value| !value.is_empty());
        if found.is_none() {
            self.0.push(format!("{name} is not set: {what}"));
        }
        found
    }

    /// What was found, or another fault.
    pub fn take<T>(&mut self, found: Result<T, String>) -> Option<T> {
        found.map_err(|fault| self.0.push(fault)).ok()
    }

    /// What was found, or other faults.
    pub fn take_all<T>(&mut self, found: Result<T, Self>) -> Option<T> {
        found.map_err(|Self(faults)| self.0.extend(faults)).ok()
    }
}

/// Where AWS is, and as whom it is asked: what Lambda sets.
pub struct Aws {
    /// The region.
    pub region: String,
    /// Of the function's role.
    pub credentials: Credentials,
    /// The function's own name, which stands in the user agent of each of its calls.
    pub name: Option<AppName>,
    trust: TlsRoots,
}

impl Aws {
    /// Reads what is there, and notes what is not.
    pub fn read(variable: impl Fn(&str) -> Option<String>, faults: &mut ConfigErrors) -> Option<Self> {
        let region = faults.wanted(&variable, "AWS_REGION", "the region; Lambda sets it");
        let access = faults.wanted(&variable, "AWS_ACCESS_KEY_ID", "the function's role; Lambda sets it");
        let secret = faults.wanted(&variable, "AWS_SECRET_ACCESS_KEY", "the function's role; Lambda sets it");
        let session = variable("AWS_SESSION_TOKEN");
        let file = variable("VESTIBULE_CA_FILE").filter(|path| !path.is_empty());
        let trust = TlsRoots::read(file.as_deref());
        let trust = trust.map_err(|fault| format!("VESTIBULE_CA_FILE {}: {fault}", file.unwrap_or_default()));
        // With Amazon's own the rest can be looked at all the same.
        let trust = faults.take(trust).or_else(|| TlsRoots::read(None).ok());
        Some(Self {
            region: region?,
            credentials: Credentials::new(access?, secret?, session, None, "environment"),
            name: variable("AWS_LAMBDA_FUNCTION_NAME").and_then(|name| AppName::new(name).ok()),
            trust: trust?,
        })
    }

    /// A client for the SDK, with connections of its own.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        self.trust.http_client()
    }

    /// What a client of a service is made of, for AWS or for another address than AWS's.
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

    /// The table of that name, in DynamoDB or in what answers as it at another address.
    #[cfg(feature = "dynamo")]
    #[must_use]
    pub fn table(&self, name: String, endpoint: Option<String>) -> DynamoTable {
        let client = dynamo::client(self.region.clone(), self.credentials.clone(), endpoint, &self.trust);
        let mut config = client.config().to_builder();
        config.set_app_name(self.name.clone());
        DynamoTable::new(aws_sdk_dynamodb::Client::from_conf(config.build()), name, std::sync::Arc::new(SystemEntropy))
    }
}
