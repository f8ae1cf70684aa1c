//! A flow as a Lambda: the only file that knows of it.
//!
//! A function opens before it takes its first request: its table, its keys and its clock are looked at, and with that the
//! connections are made that requests will use. While something is wrong it stays up and answers 503 to whatever is asked; one
//! line in its log names every fault, and it looks again at a later request.

use std::{
    fs,
    io::{self, Write},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use aws_sdk_dynamodb::config::{AppName, Credentials};
use axum::{
    Router,
    extract::Request,
    http::{StatusCode, Uri, uri::PathAndQuery},
    middleware::{Next, from_fn},
    response::Response,
};
pub use lambda_http::Error;
use lambda_http::{Context, RequestExt, request::RequestContext};
use tokio::sync::Mutex;
use tower::ServiceExt;
use tracing::Instrument;
use tracing_subscriber::{Layer, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};
use zeroize::Zeroizing;

use crate::{
    env::{Clock, SystemClock, SystemEntropy, Timestamp},
    http::{App, Peer, Routes, closed, serve},
    key_file::{KeyFile, Keys},
    password::{PasswordParams, Passwords},
    store::{
        Store,
        dynamo::{self, DynamoTable, Look},
        setup::Identity,
    },
    trust::Trust,
};

/// How long what was seen of the store's identity is relied on: so long a function may serve after a restore epoch was
/// raised.
const RELIED_ON: Duration = Duration::from_secs(30);

/// How soon a function that is shut looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How far the clock may be off DynamoDB's: one step of an authenticator's codes.
const CLOCK_OFF: Duration = Duration::from_secs(30);

/// What a flow needs beside its table. It is given nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    sealing: bool,
    names: bool,
    codes: bool,
}

impl Needs {
    /// No key at all.
    pub const NOTHING: Self = Self { sealing: false, names: false, codes: false };
    /// The key under which login names and tickets are digested.
    pub const NAMES: Self = Self { names: true, ..Self::NOTHING };
    /// The key under which recovery tokens and reset codes are digested.
    pub const CODES: Self = Self { codes: true, ..Self::NOTHING };
    /// The keys that seal authenticators' secrets.
    pub const SEALING: Self = Self { sealing: true, ..Self::NOTHING };

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            sealing: self.sealing || other.sealing,
            names: self.names || other.names,
            codes: self.codes || other.codes,
        }
    }
}

/// Serves a flow's endpoints to API Gateway, with what the environment configures.
///
/// # Errors
/// What the runtime said.
pub async fn run(routes: Routes, needs: Needs) -> Result<(), Error> {
    start_log();
    let function = Function::new(routes, needs, |name| std::env::var(name).ok(), Arc::new(SystemClock));
    // Before the first request: what this takes is part of no answer.
    let _ = function.router().await;
    lambda_http::run(handler(function)).await
}

fn start_log() {
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    // Whoever has started one already keeps it.
    let _ = log(level.unwrap_or(tracing::Level::INFO), io::stdout).try_init();
}

/// A function's log: one JSON object a line. The runtime's spans stay out: they are paid for by the byte, and say what our
/// lines say.
pub fn log<W>(level: tracing::Level, writer: W) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let ours = Targets::new().with_default(level.min(tracing::Level::WARN)).with_target("vestibule", level);
    let form = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false).with_span_list(false);
    tracing_subscriber::registry().with(form.with_writer(writer).with_filter(ours))
}

/// A flow with what it has of its own: its endpoints, and where its table and its keys are.
pub struct Function {
    routes: Routes,
    needs: Needs,
    variable: Variables,
    clock: Arc<dyn Clock>,
    door: Mutex<Door>,
}

/// The environment: read once when a function opens, and again when it looks again.
type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Whether requests are served.
enum Door {
    /// Something is wrong; when it was looked at.
    Shut(Option<Timestamp>),
    /// All was right.
    Open { router: Router, store: Store, identity: Identity, looked: Timestamp },
}

/// All that is wrong, in one report.
#[derive(Debug, Default, thiserror::Error)]
#[error("{} fault(s): {}", .0.len(), .0.join("; "))]
struct Faults(Vec<String>);

impl Function {
    /// Configured by the variables.
    pub fn new(
        routes: Routes,
        needs: Needs,
        variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self { routes, needs, variable: Box::new(variable), clock, door: Mutex::new(Door::Shut(None)) })
    }

    /// The endpoints; or, while something is wrong, what answers 503.
    async fn router(&self) -> Router {
        let now = self.clock.now();
        let mut door = self.door.lock().await;
        match &mut *door {
            Door::Open { router, looked, .. } if now < *looked + RELIED_ON => return router.clone(),
            Door::Open { router, store, identity, looked } => match store.identity().await {
                Ok(Some(found)) if found == *identity => {
                    *looked = now;
                    return router.clone();
                }
                // Another restore epoch, or another store: everything is looked at anew.
                Ok(_) => {}
                // Denied. A table that does not answer now may do so for the next request.
                Err(_) => return self.shut(),
            },
            Door::Shut(Some(looked)) if now < *looked + LOOK_AGAIN => return self.shut(),
            Door::Shut(_) => {}
        }
        match self.open().await {
            Ok((app, identity)) => {
                let (store, router) = (app.store.clone(), serve(self.routes.clone(), app));
                *door = Door::Open { router: router.clone(), store, identity, looked: self.clock.now() };
                router
            }
            Err(faults) => {
                tracing::error!(%faults, "nothing is served before this is mended");
                *door = Door::Shut(Some(self.clock.now()));
                self.shut()
            }
        }
    }

    fn shut(&self) -> Router {
        closed(Arc::clone(&self.clock), Arc::new(SystemEntropy))
    }

    /// Looks at everything, whatever else is wrong.
    async fn open(&self) -> Result<(Arc<App>, Identity), Faults> {
        let mut faults = Faults::default();
        let aws = Aws::read(&self.variable, &mut faults);
        let table = faults.wanted(&self.variable, "VESTIBULE_TABLE", "the DynamoDB table");
        let keys = faults.wanted(&self.variable, "VESTIBULE_KEYS_FILE", "the file with the keys");
        let keys = keys.and_then(|path| faults.take(read_keys(&path)));
        let (Some(aws), Some(table)) = (aws, table) else { return Err(faults) };
        let table = aws.table(table);
        let identity = self.looked_at(&table).await;
        let identity = identity.map_err(|found| faults.0.extend(found.0)).ok();
        match (identity, keys) {
            (Some(identity), Some(keys)) if faults.0.is_empty() => {
                let app = self.app(table, &identity, keys).map_err(|fault| Faults(vec![fault]))?;
                Ok((app, identity))
            }
            _ => Err(faults),
        }
    }

    /// The store in a table that is there and is the one that the store says it is in.
    async fn looked_at(&self, table: &DynamoTable) -> Result<Identity, Faults> {
        let Look { id, service_time, mut faults } = table.look().await;
        let off = service_time.map(|time| Duration::from_millis(time.millis().abs_diff(self.clock.now().millis())));
        if let Some(off) = off.filter(|off| *off > CLOCK_OFF) {
            faults.push(format!("the clock is {} seconds off that of DynamoDB", off.as_secs()));
        }
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let one = |fault: &str| Err(Faults(vec![fault.to_owned()]));
        match Store::new(Arc::new(table.clone())).identity().await {
            Ok(Some(identity)) if identity.table.is_some() && id.is_some() && identity.table != id => {
                one("the table was restored from a backup: raise the restore epoch first (docs/deploy.md)")
            }
            Ok(Some(identity)) => Ok(identity),
            Ok(None) => one("the table is no store yet: invoke the function of the operators first (docs/deploy.md)"),
            Err(error) => one(&format!("the table does not say whose it is: {error}")),
        }
    }

    fn app(&self, table: DynamoTable, identity: &Identity, keys: Keys) -> Result<Arc<App>, String> {
        // A function serves one request at a time.
        let passwords = Passwords::new(PasswordParams::default(), 1, 1, &SystemEntropy);
        let Needs { sealing, names, codes } = self.needs;
        Ok(Arc::new(App {
            store: Store::new(Arc::new(table)).at(identity.restore),
            clock: Arc::clone(&self.clock),
            entropy: Arc::new(SystemEntropy),
            sealer: sealing.then(|| Arc::new(keys.ring) as _),
            names: names.then(|| Arc::new(keys.names)),
            codes: codes.then(|| Arc::new(keys.codes)),
            passwords: Arc::new(passwords.map_err(|error| error.to_string())?),
        }))
    }
}

impl Faults {
    fn wanted(&mut self, variable: impl Fn(&str) -> Option<String>, name: &str, what: &str) -> Option<String> {
        let found = variable(name).filter(|value| !value.is_empty());
        if found.is_none() {
            self.0.push(format!("{name} is not set: {what}"));
        }
        found
    }

    fn take<T>(&mut self, found: Result<T, String>) -> Option<T> {
        found.map_err(|fault| self.0.push(fault)).ok()
    }
}

/// Where AWS is, and as whom it is asked: what Lambda sets.
struct Aws {
    region: String,
    credentials: Credentials,
    /// Another address of DynamoDB's, for development.
    dynamodb: Option<String>,
    trust: Trust,
    /// The function's own name, which stands in each call's user agent.
    name: Option<AppName>,
}

impl Aws {
    fn read(variable: impl Fn(&str) -> Option<String>, faults: &mut Faults) -> Option<Self> {
        let region = faults.wanted(&variable, "AWS_REGION", "the region; Lambda sets it");
        let access = faults.wanted(&variable, "AWS_ACCESS_KEY_ID", "the function's role; Lambda sets it");
        let secret = faults.wanted(&variable, "AWS_SECRET_ACCESS_KEY", "the function's role; Lambda sets it");
        let session = variable("AWS_SESSION_TOKEN");
        let file = variable("VESTIBULE_CA_FILE").filter(|path| !path.is_empty());
        let trust = Trust::read(file.as_deref());
        let trust = trust.map_err(|fault| format!("VESTIBULE_CA_FILE {}: {fault}", file.unwrap_or_default()));
        // With Amazon's own the rest can be looked at all the same.
        let trust = faults.take(trust).or_else(|| Trust::read(None).ok());
        Some(Self {
            region: region?,
            credentials: Credentials::new(access?, secret?, session, None, "environment"),
            dynamodb: variable("VESTIBULE_DYNAMODB_ENDPOINT"),
            trust: trust?,
            name: variable("AWS_LAMBDA_FUNCTION_NAME").and_then(|name| AppName::new(name).ok()),
        })
    }

    fn table(&self, table: String) -> DynamoTable {
        let client = dynamo::client(self.region.clone(), self.credentials.clone(), self.dynamodb.clone(), &self.trust);
        let mut config = client.config().to_builder();
        config.set_app_name(self.name.clone());
        let client = aws_sdk_dynamodb::Client::from_conf(config.build());
        DynamoTable::new(client, table, Arc::new(SystemEntropy))
    }
}

fn read_keys(path: &str) -> Result<Keys, String> {
    let read = || -> Result<Keys, String> {
        let bytes = Zeroizing::new(fs::read(path).map_err(|error| error.to_string())?);
        KeyFile::parse(&bytes).and_then(|file| file.keys()).map_err(|fault| fault.to_string())
    };
    read().map_err(|fault| format!("VESTIBULE_KEYS_FILE {path}: {fault}"))
}

/// A flow as API Gateway calls it.
pub fn handler(function: Arc<Function>) -> Router {
    let (name, clock) = ((function.variable)("AWS_LAMBDA_FUNCTION_NAME"), Arc::clone(&function.clock));
    let served = Router::new().fallback(async move |request: Request| {
        let Ok(response) = function.router().await.oneshot(request).await;
        response
    });
    behind_gateway(served, name.unwrap_or_default(), clock)
}

/// What is served, told by the gateway who asks; its metrics are counted for the function of that name.
pub fn behind_gateway(served: Router, function: String, clock: Arc<dyn Clock>) -> Router {
    served.layer(from_fn(move |request, next| invoked(request, next, function.clone(), Arc::clone(&clock))))
}

/// What the gateway says of a request beside the request; and what the function's metrics say of the answer.
async fn invoked(mut request: Request, next: Next, function: String, clock: Arc<dyn Clock>) -> Response {
    let extensions = request.extensions();
    let span = match extensions.get::<Context>().and_then(|context| context.xray_trace_id.as_deref()) {
        Some(trace) if trace.contains("Sampled=1") => tracing::info_span!("traced", trace),
        _ => tracing::Span::none(),
    };
    // What the gateway saw, whatever a header says.
    let (address, path) = match extensions.get::<RequestContext>() {
        Some(RequestContext::ApiGatewayV2(context)) => (context.http.source_ip.clone(), None),
        // A REST API's path is told with its stage, which no route has.
        Some(RequestContext::ApiGatewayV1(context)) => {
            (context.identity.source_ip.clone(), Some(request.raw_http_path().to_owned()))
        }
        _ => (None, None),
    };
    if let Some(address) = address.and_then(|text| text.parse::<IpAddr>().ok()) {
        request.extensions_mut().insert(Peer(address));
    }
    if let Some(uri) = path.and_then(|path| at(request.uri(), &path)) {
        *request.uri_mut() = uri;
    }
    let response = next.run(request).instrument(span).await;
    match response.status() {
        StatusCode::SERVICE_UNAVAILABLE => count(&function, "Unavailable", &*clock),
        StatusCode::TOO_MANY_REQUESTS => count(&function, "TooManyAttempts", &*clock),
        _ => {}
    }
    response
}

/// The same address at another path.
fn at(uri: &Uri, path: &str) -> Option<Uri> {
    let path = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.ok()?);
    Uri::from_parts(parts).ok()
}

/// Counts one of something in CloudWatch, in its embedded metric format: a line of the log that becomes a metric of the
/// namespace `Vestibule` with the function's name as its dimension. There is no library between: this is all of the format
/// that we use.
pub fn count(function: &str, metric: &str, clock: &dyn Clock) {
    let line = serde_json::json!({
        "_aws": {"Timestamp": clock.now().millis(), "CloudWatchMetrics": [{
            "Namespace": "Vestibule", "Dimensions": [["function"]], "Metrics": [{"Name": metric, "Unit": "Count"}],
        }]},
        "function": function,
        (metric): 1,
    });
    // A metric that cannot be written changes no answer.
    let _ = writeln!(io::stdout().lock(), "{line}");
}
