//! What every client of AWS is made of: the region, the role's credentials and whom to believe, as the environment has them.

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::{SdkConfig, app_name::AppName, region::Region};

use crate::trust::Trust;

/// How a variable of the environment is read; `None` where it is not set.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// All that is wrong with a configuration, in one report.
#[derive(Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{} fault(s): {}", .0.len(), .0.join("; "))]
pub struct Faults(pub Vec<String>);

impl Faults {
    /// A variable that has to be set: what it is, for whoever has forgotten it.
    pub fn wanted(&mut self, variable: Variables<'_>, name: &str, what: &str) -> Option<String> {
        let found = variable(name).filter(|value| !value.is_empty());
        if found.is_none() {
            self.0.push(format!("{name} is not set: {what}"));
        }
        found
    }

    /// What was found, or one fault more.
    pub fn take<T>(&mut self, found: Result<T, String>) -> Option<T> {
        found.map_err(|fault| self.0.push(fault)).ok()
    }
}

/// Where AWS is, and as whom it is asked: what Lambda sets.
pub struct Aws {
    region: String,
    credentials: Credentials,
    trust: Trust,
    /// The function's own name, which stands in each call's user agent.
    name: Option<AppName>,
}

impl Aws {
    /// From the environment, with every fault of it.
    #[must_use]
    pub fn read(variable: Variables<'_>, faults: &mut Faults) -> Option<Self> {
        let region = faults.wanted(variable, "AWS_REGION", "the region; Lambda sets it");
        let access = faults.wanted(variable, "AWS_ACCESS_KEY_ID", "the function's role; Lambda sets it");
        let secret = faults.wanted(variable, "AWS_SECRET_ACCESS_KEY", "the function's role; Lambda sets it");
        let session = variable("AWS_SESSION_TOKEN");
        let file = variable("VESTIBULE_CA_FILE").filter(|path| !path.is_empty());
        let trust = Trust::read(file.as_deref());
        let trust =
            faults.take(trust.map_err(|fault| format!("VESTIBULE_CA_FILE {}: {fault}", file.unwrap_or_default())));
        Some(Self {
            region: region?,
            credentials: Credentials::new(access?, secret?, session, None, "environment"),
            trust: trust?,
            name: variable("AWS_LAMBDA_FUNCTION_NAME").and_then(|name| AppName::new(name).ok()),
        })
    }

    /// What a client of one service is made of; at another address than AWS's where one is given.
    #[must_use]
    pub fn config(&self, endpoint: Option<String>, timeouts: TimeoutConfig, retries: RetryConfig) -> SdkConfig {
        let mut config = SdkConfig::builder()
            .behavior_version(aws_smithy_runtime_api::client::behavior_version::BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(self.credentials.clone()))
            .http_client(self.trust.http_client(endpoint.as_deref()))
            .timeout_config(timeouts)
            .retry_config(retries);
        config.set_app_name(self.name.clone()).set_endpoint_url(endpoint);
        config.build()
    }
}
