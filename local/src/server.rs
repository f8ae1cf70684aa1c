//! The server: opens and seeds the store, listens, and stops after the requests in progress.

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
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
    serve::ListenerExt,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, time::sleep};
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
    args::{DEFAULT_DATA_DIR, SeedChoice, Serve},
    data_dir::DataDir,
    letters::{self, Letters},
    mail::NotifyingTable,
    mail_page,
    seed::{DEMO, Seed},
    seeding,
    signals::Signals,
    welcome::Welcome,
    wire::Wire,
};

/// How long requests in progress may take when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// How many passwords may wait to be hashed, for each core.
const QUEUE: usize = 64;

/// An open store.
pub struct Opened {
    /// The state of the handlers, with the store and its keys.
    pub app: App,
    /// The table of the store.
    pub table: Arc<dyn Table>,
}

impl Opened {
    /// Sets the restore epoch that the store records. Handlers need it to refuse tokens of earlier epochs.
    ///
    /// # Errors
    /// The store cannot be read, or has lost its identity record.
    pub async fn at_restore_epoch(mut self) -> Result<Self, Failure> {
        let identity = self.app.store.identity().await?.ok_or("the store has lost its identity record")?;
        self.app.store = self.app.store.at(identity.restore);
        Ok(self)
    }
}

/// Opens a data directory. Without one, opens a temporary store.
///
/// # Errors
/// [`DataDirError`](crate::data_dir::DataDirError): its message says what is wrong with the directory, and how to repair it.
pub fn open(directory: Option<&Path>) -> Result<Opened, Failure> {
    // sled panics on some damage. `DataDir` turns the panic into an error, so the panic itself must not be printed.
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
            .map_err(|error| format!("cannot write mails into the data directory: {error}"))?,
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
        mails: None,
    };
    Ok(Opened { app, table })
}

/// Serves until a signal stops the server.
///
/// # Errors
/// A message that says why the server cannot serve. Nothing was written if the seed is invalid or the address is taken.
pub async fn serve(options: &Serve) -> Result<(), Failure> {
    let directory = store_directory(options);
    let choice = seed_choice(options, directory.as_deref());
    if choice == SeedChoice::Demo && !options.host.is_loopback() {
        return Err(format!(
            "the passwords of the demo users are public, so the server does not listen on {}: use --seed none or a seed \
             file, or keep --host 127.0.0.1",
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
    let listener = TcpListener::bind(address).await.map_err(|error| bind_error(address, &error))?;
    let url = format!("http://{}", listener.local_addr()?);
    let (app, table, letters) = open_configured(options, directory.as_deref(), &url).await?;
    if let Some(seed) = seed {
        seeding::add_missing(&app, seed).await?;
    }
    let demo = seeding::demo_users(&app).await?;
    if !demo.is_empty() && !options.host.is_loopback() {
        return Err(format!(
            "the store holds demo users, whose passwords are public, so the server does not listen on {}: choose another \
             --data-dir, or keep --host 127.0.0.1",
            options.host
        )
        .into());
    }
    let welcome = Welcome { url: &url, directory: directory.as_deref(), seed: &choice, demo: &demo };
    let mut router = router(app, table);
    if options.host.is_loopback() {
        router = router.merge(mail_page::router(letters));
    }
    let announce = || {
        if !options.host.is_loopback() {
            tracing::warn!("plain HTTP does not protect passwords and codes: put a TLS proxy in front");
        }
        tracing::info!(url, directory = ?directory, "serving");
        announce(options, &welcome);
    };
    serve_until_signal(listener, router, announce).await
}

/// Opens the store with the audit retention and the public URL of the options. `url` is the address that the server listens on.
async fn open_configured(
    options: &Serve,
    directory: Option<&Path>,
    url: &str,
) -> Result<(Arc<App>, Arc<dyn Table>, Arc<Letters>), Failure> {
    let Opened { mut app, table } = open_store(options, directory).await?.at_restore_epoch().await?;
    app.store = app.store.with_audit_retention(options.audit_retention_days);
    app.public_url = options.public_url.clone().or_else(|| PublicUrl::parse(url).ok());
    let letters = Letters::new(directory, Arc::clone(&app.clock))
        .map_err(|error| format!("cannot write mails into the data directory: {error}"))?;
    let letters = Arc::new(letters);
    letters::start(&mut app, Arc::clone(&letters));
    Ok((Arc::new(app), table, letters))
}

/// Serves until a signal, then gives the requests in progress [`DRAIN`] to finish. `announce` runs when the server is ready.
async fn serve_until_signal(listener: TcpListener, router: Router, announce: impl FnOnce()) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let listener = Wire(listener).tap_io(|connection| connection.no_delay());
    let server = axum::serve(listener, service).with_graceful_shutdown(async { drop(stopped.await) });
    let mut server = pin!(server.into_future());
    announce();
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = signals.next() => tracing::info!("stopping: no new connections; requests in progress are answered"),
    }
    let _ = stop.send(());
    tokio::select! {
        ended = &mut server => ended?,
        () = sleep(DRAIN) => tracing::warn!("some connections did not end in time and were closed"),
        () = signals.next() => tracing::warn!("stopped at once"),
    }
    tracing::info!("stopped");
    Ok(())
}

fn store_directory(options: &Serve) -> Option<PathBuf> {
    let own = || DEFAULT_DATA_DIR.into();
    (!options.ephemeral).then(|| options.data_dir.clone().unwrap_or_else(own))
}

/// The seed of the options. By default, a directory given by `--data-dir` gets the demo users only if it is empty, because their
/// passwords are public.
fn seed_choice(options: &Serve, directory: Option<&Path>) -> SeedChoice {
    let named = options.data_dir.is_some();
    let empty = |path: &Path| fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
    match (&options.seed, directory) {
        (Some(choice), _) => choice.clone(),
        (None, Some(path)) if named && !empty(path) => SeedChoice::None,
        (None, _) => SeedChoice::Demo,
    }
}

/// The message for an address that the server cannot listen on.
pub(crate) fn bind_error(address: SocketAddr, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program uses this port: stop it, or choose another port with --port (0 selects a free one)"
        }
        io::ErrorKind::PermissionDenied => "this user may not use this port: choose one above 1023 with --port",
        _ => "choose an address of this machine with --host",
    };
    format!("cannot listen on {address} ({error}): {advice}")
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
        password::routes(),
    ];
    routes.into_iter().fold(Routes::new(), Routes::merge)
}

/// A router with all flows and `/healthz`.
pub fn router(app: Arc<App>, table: Arc<dyn Table>) -> Router {
    let health = Routes::new().route("/healthz", get(move || health(Arc::clone(&table))));
    vestibule::http::serve(routes().merge(health), app).layer(from_fn(peer))
}

/// Checks that the store answers, by a consistent read of the identity record, which every store has.
async fn health(table: Arc<dyn Table>) -> ApiResult<Json<Value>> {
    match table.read(&[keys::identity()]).await {
        Ok(found) if found.iter().all(Option::is_some) => Ok(Json(json!({"status": "ok"}))),
        Ok(_) => {
            tracing::error!("the store has lost its identity record");
            Err(Problem::new(Code::Unavailable))
        }
        Err(error) => {
            tracing::error!(%error, "the store does not answer");
            Err(Problem::new(Code::Unavailable))
        }
    }
}

/// Sets the client's address to the address of the connection. Headers are ignored, because clients can forge them.
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
    // The server continues if standard output is closed.
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
