//! Start time and size of each function and of a minimal one, as processes with a stub of the runtime API. `just
//! bench-lambda` builds them first. It prints two tables in Markdown.
//!
//! The binaries start in rounds, one after another, so that changes of the machine's speed affect all alike. The
//! results are ratios within a round, and their medians.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

#[path = "../../../tests/certified/mod.rs"]
mod certified;
mod cloud;

use cloud::Cloud;
use tests::runtime::{Function, Variables};

/// Number of rounds.
const ROUNDS: usize = 40;
/// Number of requests before the second measurement of memory.
const REQUESTS: usize = 100;
/// The minimal function.
const HELLO: &str = "hello";
/// Where a system stores its certificate authorities.
const BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// How a function connects to AWS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Connection {
    /// Without TLS: the function's own work and a minimal connection.
    Plain,
    /// Over TLS, with Amazon's roots and the test authority.
    Pinned,
    /// Over TLS, with all roots of the system and the test authority.
    System,
}

/// The times of one start.
struct Start {
    /// From exec to the first connection to AWS; for the minimal function, which makes none, to its first poll.
    built: f64,
    started: f64,
    cpu: f64,
}

/// The starts of each binary and kind of connection, one per round.
type Starts = BTreeMap<(String, Connection), Vec<Start>>;

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    // Cargo also runs benches as tests, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder =
        std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map_or_else(built_folder, PathBuf::from);
    let binaries = binaries(&folder);
    let cloud = Cloud::open().await;
    let home = tempfile::tempdir().unwrap();
    let bundle = BUNDLES.into_iter().find_map(|path| fs::read_to_string(path).ok());
    fs::write(home.path().join("pinned.pem"), [vestibule::tls_roots::AMAZON_ROOTS, &cloud.authority].concat()).unwrap();
    if let Some(bundle) = &bundle {
        fs::write(home.path().join("system.pem"), [bundle, "\n", &cloud.authority].concat()).unwrap();
    }
    let connections: &[Connection] = if bundle.is_some() {
        &[Connection::Plain, Connection::Pinned, Connection::System]
    } else {
        &[Connection::Plain, Connection::Pinned]
    };
    let mut starts = Starts::new();
    // The first round fills caches and the stub's recorded answers.
    for round in 0..=ROUNDS {
        log(&format!("round {round} of {ROUNDS}"));
        for binary in &binaries {
            let name = name_of(binary);
            for connection in if name == HELLO { &[Connection::Plain][..] } else { connections } {
                let start = start(binary, *connection, &cloud, home.path());
                if round > 0 {
                    starts.entry((name.clone(), *connection)).or_default().push(start);
                }
            }
        }
    }
    let mut text = table_of_starts(&binaries, &starts, connections);
    log(&format!("{REQUESTS} requests each"));
    text.push_str(&table_of_sizes(&binaries, &cloud, home.path()));
    io::stdout().write_all(text.as_bytes()).unwrap();
}

fn log(what: &str) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// The folder of `cargo build --profile lambda`.
fn built_folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("lambda")
}

fn name_of(binary: &Path) -> String {
    binary.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The minimal function, and each function of `functions/`.
fn binaries(folder: &Path) -> Vec<PathBuf> {
    let functions = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions")).unwrap();
    let mut names: Vec<_> = functions.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names.insert(0, HELLO.into());
    let binaries = names.iter().map(|name| folder.join(name));
    let (there, missing): (Vec<_>, Vec<_>) = binaries.partition(|binary| binary.is_file());
    for binary in missing {
        log(&format!("not built, left out: {}", binary.display()));
    }
    assert_eq!(there.first().map(|binary| name_of(binary)).as_deref(), Some(HELLO), "the minimal function is missing");
    there
}

/// The variables that Lambda and the template set.
fn environment(cloud: &Cloud, home: &Path, dynamodb: &str, kms: &str, roots: Option<&str>) -> Variables {
    let path = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let mut variables = vec![
        ("AWS_REGION", "eu-central-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_SESSION_TOKEN", "test".to_owned()),
        ("VESTIBULE_TABLE", cloud.table.clone()),
        ("VESTIBULE_TABLE_STREAM", "arn:of-the-stream".to_owned()),
        ("VESTIBULE_DYNAMODB_ENDPOINT", dynamodb.to_owned()),
        ("VESTIBULE_KMS_ENDPOINT", kms.to_owned()),
        ("VESTIBULE_SEALING_KEY", "alias/sealing".to_owned()),
        ("VESTIBULE_NAMES_KEY", "alias/names".to_owned()),
        ("VESTIBULE_CODES_KEY", "alias/codes".to_owned()),
        ("VESTIBULE_PUBLIC_URL", "https://login.example.com".to_owned()),
        ("VESTIBULE_EVENT_BUS", "vestibule".to_owned()),
        ("VESTIBULE_MAIL_FROM", "vestibule@example.com".to_owned()),
    ];
    variables.extend(roots.map(|file| ("VESTIBULE_CA_FILE", path(file))));
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn start(binary: &Path, connection: Connection, cloud: &Cloud, home: &Path) -> Start {
    let (aws, roots) = match connection {
        Connection::Plain => (format!("http://{}", cloud.plain), None),
        Connection::Pinned => (format!("https://{}", cloud.tls), Some("pinned.pem")),
        Connection::System => (format!("https://{}", cloud.tls), Some("system.pem")),
    };
    let environment = environment(cloud, home, &aws, &aws, roots);
    cloud.forget_contact();
    let begun = Instant::now();
    let function = Function::start(Command::new(binary), &name_of(binary), &environment);
    let built = cloud.contact().map_or(function.started, |contact| contact - begun);
    Start { built: millis(built), started: millis(function.started), cpu: millis(function.start_cpu) }
}

fn table_of_starts(binaries: &[PathBuf], starts: &Starts, connections: &[Connection]) -> String {
    let cores = thread::available_parallelism().unwrap();
    let mut text = format!(
        "{cores} cores, {ROUNDS} rounds. Medians in milliseconds; in parentheses the ratio to `{HELLO}` in the same round.\n\n\
         | Function | Until all is built | CPU until `next`, no TLS | Exec to `next`, no TLS | with TLS, Amazon's roots | with TLS, all roots |\n\
         |---|---|---|---|---|---|\n"
    );
    let hello = &starts[&(HELLO.to_owned(), Connection::Plain)];
    for binary in binaries {
        let name = name_of(binary);
        if name == HELLO {
            let (started, cpu) = (column(hello, |start| start.started), column(hello, |start| start.cpu));
            text.push_str(&format!("| {HELLO} |  | {:.2} | {:.2} |  |  |\n", median(&cpu), median(&started)));
            continue;
        }
        let cell = |connection: Connection, of: fn(&Start) -> f64, than: fn(&Start) -> f64| {
            let own = column(starts.get(&(name.clone(), connection))?, of);
            let ratios: Vec<_> = own.iter().zip(column(hello, than)).map(|(own, hello)| own / hello).collect();
            Some(format!("{:.2} ({:.2})", median(&own), median(&ratios)))
        };
        let started = |connection: Connection| cell(connection, |start| start.started, |start| start.started);
        let cells = [
            cell(Connection::Plain, |start| start.built, |start| start.started),
            cell(Connection::Plain, |start| start.cpu, |start| start.cpu),
            started(Connection::Plain),
            started(Connection::Pinned),
            connections.contains(&Connection::System).then(|| started(Connection::System)).flatten(),
        ];
        text.push_str(&format!("| {name} | {} |\n", cells.map(Option::unwrap_or_default).join(" | ")));
    }
    text
}

/// File sizes, resident memory after the start and after requests, and CPU time per request.
fn table_of_sizes(binaries: &[PathBuf], cloud: &Cloud, home: &Path) -> String {
    let mut text = format!(
        "\n| Function | Binary | Zip | Resident after its start | after {REQUESTS} requests | CPU a request |\n|---|---|---|---|---|---|\n"
    );
    let environment =
        environment(cloud, home, &format!("http://{}", cloud.emulator), &format!("http://{}", cloud.plain), None);
    for binary in binaries {
        let name = name_of(binary);
        let mut function = Function::start(Command::new(binary), &name_of(binary), &environment);
        let idle = function.resident();
        let (mut busy, mut each) = (String::new(), String::new());
        if let Some(request) = request_of(&name) {
            let begun = function.cpu();
            for n in 0..REQUESTS {
                let answer = function.invoke(event(&request, n));
                assert_eq!(answer["statusCode"], request.status, "{name}: {answer}");
            }
            busy = format!("{:.1} MiB", function.resident());
            each = format!("{:.2} ms", millis(function.cpu() - begun) / as_f64(REQUESTS));
        }
        let (size, zip) = (fs::metadata(binary).unwrap().len(), zipped(binary, home));
        let (size, zip) = (megabytes(size), megabytes(zip));
        text.push_str(&format!("| {name} | {size:.2} MB | {zip:.2} MB | {idle:.1} MiB | {busy} | {each} |\n"));
    }
    text
}

/// A request that reaches the table and is refused.
struct Request {
    method: &'static str,
    path: &'static str,
    body: Value,
    token: Option<&'static str>,
    status: u16,
}

/// `None` for a function without routes.
fn request_of(name: &str) -> Option<Request> {
    let reset = json!({"reason": "r"});
    let (method, path, body, token, status) = match name {
        HELLO => ("GET", "/hello", Value::Null, None, 200),
        // Username and password come with the event. An unknown username costs as much as a known one.
        "login" => ("POST", "/v1/login", Value::Null, None, 401),
        "verify" => ("POST", "/v1/verify", json!({"code": "123456"}), Some("vc_"), 401),
        "enable-mfa" => ("POST", "/v1/mfa/enrolments", json!({}), Some("ve_"), 401),
        "recovery" => ("POST", "/v1/mfa/recovery-token", Value::Null, Some("vs_"), 401),
        "admin-reset" => ("POST", "/v1/admin/users/u-1/mfa-reset", reset, Some("vs_"), 401),
        "batch-portal-exclude" => ("GET", "/v1/admin/portal-exclusions", Value::Null, Some("vs_"), 401),
        "session" => ("GET", "/v1/session", Value::Null, Some("vs_"), 401),
        "directory" => ("GET", "/v1/admin/users", Value::Null, Some("vs_"), 401),
        "sso" => ("GET", "/v1/sso/acme/metadata", Value::Null, None, 404),
        "support" => ("POST", "/v1/support/clients", json!({"name": "portal"}), Some("vs_"), 401),
        _ => return None,
    };
    Some(Request { method, path, body, token, status })
}

/// The request as an HTTP API sends it; each with another client and username.
fn event(request: &Request, n: usize) -> Value {
    let body = match request.path {
        "/v1/login" => {
            json!({"tenant": "acme", "username": format!("person{n}"), "password": "a long tail of words after it"})
        }
        _ => request.body.clone(),
    };
    let mut headers = json!({"host": "api.example.com", "user-agent": "curl/8.5.0"});
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": request.path, "rawQueryString": "",
        "requestContext": {
            "accountId": "123456789012", "apiId": "a1b2c3d4e5", "domainName": "api.example.com", "domainPrefix": "api",
            "http": {"method": request.method, "path": request.path, "protocol": "HTTP/1.1",
                     "sourceIp": format!("203.{}.{}.7", n / 100, n % 100), "userAgent": "curl/8.5.0"},
            "requestId": format!("r{n}"), "routeKey": "$default", "stage": "$default",
            "time": "24/Nov/2026:12:00:00 +0000", "timeEpoch": 1_795_521_600_000_i64,
        },
        "isBase64Encoded": false,
    });
    if let Some(prefix) = request.token {
        headers["authorization"] = json!(format!("Bearer {}", token(prefix)));
    }
    if !body.is_null() {
        headers["content-type"] = json!("application/json");
        event["body"] = json!(body.to_string());
    }
    event["headers"] = headers;
    event
}

/// A well-formed token that was not issued.
fn token(prefix: &str) -> String {
    let ids = [&[1, 4][..], b"acme", &[8], b"u-nobody", &[7; 32]].concat();
    format!("{prefix}{}", BASE64URL_NOPAD.encode(&ids))
}

/// The size in bytes of a zip with the binary as `bootstrap`, compressed as cargo-lambda does by default.
fn zipped(binary: &Path, home: &Path) -> u64 {
    let (bootstrap, zip) = (home.join("bootstrap"), home.join("function.zip"));
    fs::copy(binary, &bootstrap).unwrap();
    let made = Command::new("python3").args(["-m", "zipfile", "-c"]).args([&zip, &bootstrap]).status();
    assert!(made.expect("python3 makes the zips").success());
    fs::metadata(&zip).unwrap().len()
}

fn column(starts: &[Start], of: fn(&Start) -> f64) -> Vec<f64> {
    starts.iter().map(of).collect()
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
