//! A flow as a Lambda: the only file that knows of it.

use std::{fs, net::IpAddr, sync::Arc};

use aws_sdk_dynamodb::config::Credentials;
use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
pub use lambda_http::Error;
use lambda_http::request::RequestContext;
use zeroize::Zeroizing;

use crate::{
    env::{SystemClock, SystemEntropy},
    http::{App, Peer, Routes, closed, serve},
    key_file::{KeyFile, Keys},
    password::{PasswordParams, Passwords},
    store::{
        Store,
        dynamo::{self, DynamoTable},
    },
    trust::Trust,
};

/// Serves a flow's endpoints to API Gateway, with what the environment configures. With a faulty configuration it stays up,
/// names every fault in the log, and answers 503 to whatever is asked.
///
/// # Errors
/// What the runtime said.
pub async fn run(routes: Routes) -> Result<(), Error> {
    lambda_http::tracing::init_default_subscriber();
    lambda_http::run(configured(routes, |name| std::env::var(name).ok())).await
}

/// The endpoints over what the variables configure.
pub fn configured(routes: Routes, variable: impl Fn(&str) -> Option<String>) -> Router {
    let app = Configuration::read(variable).map_err(Error::from).and_then(Configuration::app);
    match app {
        Ok(app) => handler(routes, app),
        Err(faults) => {
            tracing::error!(%faults, "nothing is served before the configuration is mended");
            closed(Arc::new(SystemClock), Arc::new(SystemEntropy))
        }
    }
}

/// The endpoints as API Gateway calls them.
pub fn handler(routes: Routes, app: Arc<App>) -> Router {
    serve(routes, app).layer(from_fn(peer))
}

/// The client's address is what the gateway saw, whatever a header says.
async fn peer(mut request: Request, next: Next) -> Response {
    let address = match request.extensions().get::<RequestContext>() {
        Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.as_deref(),
        _ => None,
    };
    if let Some(address) = address.and_then(|text| text.parse::<IpAddr>().ok()) {
        request.extensions_mut().insert(Peer(address));
    }
    next.run(request).await
}

/// What the environment has to say, read once.
struct Configuration {
    table: String,
    region: String,
    access_key: String,
    secret_key: Zeroizing<String>,
    session_token: Option<String>,
    endpoint: Option<String>,
    trust: Trust,
    keys: Keys,
}

/// Every fault of the configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} fault(s): {}", .0.len(), .0.join("; "))]
struct Faults(Vec<String>);

impl Configuration {
    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let mut wanted = |name: &str, what: &str| {
            let found = variable(name).filter(|value| !value.is_empty());
            if found.is_none() {
                faults.push(format!("{name} is not set: {what}"));
            }
            found
        };
        let table = wanted("VESTIBULE_TABLE", "the DynamoDB table");
        let region = wanted("AWS_REGION", "the region; Lambda sets it");
        let access_key = wanted("AWS_ACCESS_KEY_ID", "the function's role; Lambda sets it");
        let secret_key = wanted("AWS_SECRET_ACCESS_KEY", "the function's role; Lambda sets it").map(Zeroizing::new);
        let path = wanted("VESTIBULE_KEYS_FILE", "the file with the keys");
        let keys = path.and_then(|path| match keys(&path) {
            Ok(keys) => Some(keys),
            Err(fault) => {
                faults.push(format!("VESTIBULE_KEYS_FILE {path}: {fault}"));
                None
            }
        });
        let file = variable("VESTIBULE_CA_FILE").filter(|path| !path.is_empty());
        let trust = match Trust::read(file.as_deref()) {
            Ok(trust) => Some(trust),
            Err(fault) => {
                faults.push(format!("VESTIBULE_CA_FILE {}: {fault}", file.unwrap_or_default()));
                None
            }
        };
        let (session_token, endpoint) = (variable("AWS_SESSION_TOKEN"), variable("VESTIBULE_DYNAMODB_ENDPOINT"));
        match (table, region, access_key, secret_key, keys, trust) {
            (Some(table), Some(region), Some(access_key), Some(secret_key), Some(keys), Some(trust)) => {
                Ok(Self { table, region, access_key, secret_key, session_token, endpoint, trust, keys })
            }
            _ => Err(Faults(faults)),
        }
    }

    fn app(self) -> Result<Arc<App>, Error> {
        let (access, secret) = (self.access_key, self.secret_key.to_string());
        let credentials = Credentials::new(access, secret, self.session_token, None, "environment");
        let client = dynamo::client(self.region, credentials, self.endpoint, &self.trust);
        let table = DynamoTable::new(client, self.table, Arc::new(SystemEntropy));
        // A function serves one request at a time.
        let passwords = Passwords::new(PasswordParams::default(), 1, 1, &SystemEntropy)?;
        Ok(Arc::new(App {
            store: Store::new(Arc::new(table)),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            sealer: Some(Arc::new(self.keys.ring)),
            names: Some(Arc::new(self.keys.names)),
            codes: Some(Arc::new(self.keys.codes)),
            passwords: Arc::new(passwords),
        }))
    }
}

fn keys(path: &str) -> Result<Keys, String> {
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| error.to_string())?);
    KeyFile::parse(&bytes).and_then(|file| file.keys()).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_configuration_is_named() {
        let Err(Faults(faults)) = Configuration::read(|_| None) else { panic!("it was taken") };
        let named: Vec<_> = faults.iter().filter_map(|fault| fault.split(' ').next()).collect();
        let want =
            ["VESTIBULE_TABLE", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "VESTIBULE_KEYS_FILE"];
        assert_eq!(named, want);
        let Err(faults) = Configuration::read(|_| Some("/no/such/file".into())) else { panic!("it was taken") };
        for name in ["VESTIBULE_KEYS_FILE", "VESTIBULE_CA_FILE"] {
            assert!(faults.to_string().contains(&format!("{name} /no/such/file: ")), "{faults}");
        }
    }
}
