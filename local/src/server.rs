//! Serving: seed, listen, say so, and stop without losing what was begun.

use std::{
    fs,
    future::IntoFuture,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderValue, header},
    middleware::{Next, from_fn},
    response::{Html, IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::sleep,
};
use vestibule::{
    env::{SystemClock, SystemEntropy},
    http::{ApiResult, App, Code, Peer, Problem, Routes},
    key_file::Keys,
    password::{PasswordParams, Passwords},
    sso::PublicUrl,
    store::{Store, Table, keys},
};

#[cfg(feature = "dynamodb")]
use crate::args::StoreChoice;
use crate::{
    Failure,
    args::{OWN_DIRECTORY, SeedChoice, Serve},
    data_dir::DataDir,
    mail::NotifyingTable,
    seed::{DEMO, Seed},
    seeding,
    welcome::Welcome,
    wire::Wire,
};

/// How long requests that were begun may take when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// The page at `/` has one stylesheet, in the page, and nothing else.
const HOME_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

/// How many passwords may wait for a core, for each core.
const QUEUE: usize = 64;

/// What a store and its keys are to the flows.
pub struct Opened {
    /// What handlers work with.
    pub app: App,
    /// The table under the commands.
    pub table: Arc<dyn Table>,
}

impl Opened {
    /// In the restore epoch that the store says it is in: what handlers have to work with.
    ///
    /// # Errors
    /// The store does not say.
    pub async fn in_its_epoch(mut self) -> Result<Self, Failure> {
        let identity = self.app.store.identity().await?.ok_or("the store lost its identity")?;
        self.app.store = self.app.store.at(identity.restore);
        Ok(self)
    }
}

/// Opens a data directory, or a store that is gone when it is dropped.
///
/// # Errors
/// Says what is wrong with the directory, and what mends it.
pub fn open(directory: Option<&Path>) -> Result<Opened, Failure> {
    // sled panics over some damage, which the directory turns into an answer: that is said once, not by the panic too.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let opened = match directory {
        Some(path) => DataDir::open(path, &SystemEntropy),
        None => DataDir::ephemeral(&SystemEntropy),
    };
    std::panic::set_hook(hook);
    let DataDir { table, keys, .. } = opened?;
    opened_app(Arc::new(table), keys, directory)
}

#[cfg(feature = "dynamodb")]
async fn open_store(options: &Serve, directory: Option<&Path>) -> Result<Opened, Failure> {
    match (options.store, &options.endpoint) {
        (StoreChoice::Dynamodb, Some(endpoint)) => {
            let (table, keys) = crate::dynamodb::open(directory, endpoint).await?;
            opened_app(table, keys, directory)
        }
        _ => open(directory),
    }
}

#[cfg(not(feature = "dynamodb"))]
#[allow(clippy::unused_async, reason = "with the feature it waits for DynamoDB")]
async fn open_store(_: &Serve, directory: Option<&Path>) -> Result<Opened, Failure> {
    open(directory)
}

fn opened_app(table: Arc<dyn Table>, keys: Keys, directory: Option<&Path>) -> Result<Opened, Failure> {
    let table: Arc<dyn Table> = Arc::new(
        NotifyingTable::new(table, directory)
            .map_err(|error| format!("cannot write notifications into the data directory: {error}"))?,
    );
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let passwords = Passwords::new(PasswordParams::default(), cores, QUEUE * cores, &SystemEntropy)?;
    let app = App {
        store: Store::new(Arc::clone(&table)),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        sealer: Some(Arc::new(keys.ring)),
        names: Some(Arc::new(keys.names)),
        codes: Some(Arc::new(keys.codes)),
        passwords: Arc::new(passwords),
        public_url: None,
    };
    Ok(Opened { app, table })
}

/// Serves until a signal says to stop.
///
/// # Errors
/// Says what keeps it from serving. Nothing was written unless the seed was right and the address free.
pub async fn serve(options: &Serve) -> Result<(), Failure> {
    let directory = store_directory(options);
    let choice = choice(options, directory.as_deref());
    if choice == SeedChoice::Demo && !options.host.is_loopback() {
        return Err(format!(
            "the demo people's passwords are public, so they are not served on {}: use --seed none or a file, or keep \
             --host 127.0.0.1",
            options.host
        )
        .into());
    }
    let seed = match &choice {
        SeedChoice::Demo => Some(Seed::parse("demo", DEMO.as_bytes())?),
        SeedChoice::None => None,
        SeedChoice::File(path) => Some(Seed::read(path)?),
    };
    let address = SocketAddr::new(options.host, options.port);
    let listener = TcpListener::bind(address).await.map_err(|error| unbound(address, &error))?;
    let url = format!("http://{}", listener.local_addr()?);
    let Opened { mut app, table } = open_store(options, directory.as_deref()).await?.in_its_epoch().await?;
    app.store = app.store.keeping_audit(options.audit_retention_days);
    app.public_url = match &options.public_url {
        Some(text) => Some(PublicUrl::parse(text).map_err(|wanted| format!("--public-url has to be {wanted}"))?),
        None => PublicUrl::parse(&url).ok(),
    };
    let app = Arc::new(app);
    if let Some(seed) = seed {
        seeding::add_missing(&app, seed).await?;
    }
    let demo = seeding::demo_people(&app).await?;
    if !demo.is_empty() && !options.host.is_loopback() {
        return Err(format!(
            "the demo people are in this store and their passwords are public, so it is not served on {}: choose another \
             --data-dir, or keep --host 127.0.0.1",
            options.host
        )
        .into());
    }
    let welcome = Welcome { url: &url, directory: directory.as_deref(), seed: &choice, demo: &demo };
    let mut signals = Signals::new()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let service = with_home(app, table, welcome.page()).into_make_service_with_connect_info::<SocketAddr>();
    let listener = Wire(listener).tap_io(|connection| connection.no_delay());
    let server = axum::serve(listener, service).with_graceful_shutdown(async { drop(stopped.await) });
    let mut server = pin!(server.into_future());
    if !options.host.is_loopback() {
        tracing::warn!("passwords and codes travel in the clear: put something that speaks TLS in front");
    }
    tracing::info!(url, directory = ?directory, "serving");
    announce(options, &welcome);
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = signals.next() => tracing::info!("stopping: no new connections, requests that were begun are answered"),
    }
    let _ = stop.send(());
    tokio::select! {
        ended = &mut server => ended?,
        () = sleep(DRAIN) => tracing::warn!("some connections did not end in time and were cut off"),
        () = signals.next() => tracing::warn!("stopped at once"),
    }
    tracing::info!("stopped");
    Ok(())
}

fn store_directory(options: &Serve) -> Option<PathBuf> {
    let own = || OWN_DIRECTORY.into();
    (!options.ephemeral).then(|| options.data_dir.clone().unwrap_or_else(own))
}

/// Demo people, whose passwords everybody knows, get into a named directory only while it is empty, unless asked for.
fn choice(options: &Serve, directory: Option<&Path>) -> SeedChoice {
    let named = options.data_dir.is_some();
    let empty = |path: &Path| fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
    match (&options.seed, directory) {
        (Some(choice), _) => choice.clone(),
        (None, Some(path)) if named && !empty(path) => SeedChoice::None,
        (None, _) => SeedChoice::Demo,
    }
}

pub(crate) fn unbound(address: SocketAddr, error: &io::Error) -> String {
    let mend = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has that port: stop it, or choose another with --port (0 picks one)"
        }
        io::ErrorKind::PermissionDenied => "this user may not have that port: choose one above 1023 with --port",
        _ => "choose an address of this machine with --host",
    };
    format!("cannot listen on {address} ({error}): {mend}")
}

/// The endpoints of all flows.
#[must_use]
pub fn routes() -> Routes {
    let routes = [
        login::routes(),
        verify::routes(),
        enable_mfa::routes(),
        recovery::routes(),
        admin_reset::routes(),
        batch_portal_exclude::routes(),
        session::routes(),
        directory::routes(),
        sso::routes(),
        support::routes(),
    ];
    routes.into_iter().fold(Routes::new(), Routes::merge)
}

/// All flows on one router, and whether the store answers.
pub fn router(app: Arc<App>, table: Arc<dyn Table>) -> Router {
    served(app, table, Routes::new())
}

/// With a page at `/`.
fn with_home(app: Arc<App>, table: Arc<dyn Table>, page: Html<String>) -> Router {
    served(app, table, Routes::new().route("/", get(async move |headers: HeaderMap| home(&headers, page))))
}

fn served(app: Arc<App>, table: Arc<dyn Table>, more: Routes) -> Router {
    let health = Routes::new().route("/healthz", get(move || health(Arc::clone(&table))));
    vestibule::http::serve(routes().merge(health).merge(more), app).layer(from_fn(peer))
}

/// What this is: a page for a browser, JSON for other clients.
fn home(headers: &HeaderMap, page: Html<String>) -> Response {
    let mut response = if accepts_html(headers) {
        page.into_response()
    } else {
        Json(json!({"service": "vestibule", "version": env!("CARGO_PKG_VERSION"), "health": "/healthz"}))
            .into_response()
    };
    for (name, value) in [
        (header::VARY, "Accept"),
        (header::CONTENT_SECURITY_POLICY, HOME_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    types.any(|media_type| media_type.trim().eq_ignore_ascii_case("text/html"))
}

/// Whether the store answers: a consistent read of the one record that is always there.
async fn health(table: Arc<dyn Table>) -> ApiResult<Json<Value>> {
    match table.read(&[keys::identity()]).await {
        Ok(found) if found.iter().all(Option::is_some) => Ok(Json(json!({"status": "ok"}))),
        Ok(_) => {
            tracing::error!("the store lost its identity");
            Err(Problem::new(Code::Unavailable))
        }
        Err(error) => {
            tracing::error!(%error, "the store does not answer");
            Err(Problem::new(Code::Unavailable))
        }
    }
}

/// The client's address is that of the connection, whatever a header says.
async fn peer(ConnectInfo(address): ConnectInfo<SocketAddr>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Peer(address.ip()));
    next.run(request).await
}

fn announce(options: &Serve, welcome: &Welcome<'_>) {
    let text = if options.json {
        let seed = match welcome.seed {
            SeedChoice::Demo => serde_json::from_str(DEMO).unwrap_or(Value::Null),
            SeedChoice::None => Value::Null,
            SeedChoice::File(path) => json!(path.display().to_string()),
        };
        format!("{{\"url\":{},\"seed\":{seed}}}\n", json!(welcome.url))
    } else {
        welcome.text()
    };
    // Whoever does not read standard output is served all the same.
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
