//! Measures the local server as a process, over HTTP: `just bench`. Prints a Markdown table. With the argument `sso` it measures
//! only sign-ins by SSO, with `sign-in` only passwords and codes, with `pages` only pages.
//!
//! Machines differ and may be shared, so costs are ratios within one run: the cost of a part alone, divided by the cost of the
//! server for the same work. Both are measured alternately, in several rounds; the median of the rounds counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sled::{Transactional, transaction::TransactionResult};
use vestibule::{
    env::{Clock, SystemClock, SystemEntropy},
    password::{PasswordHash, PasswordParams, Passwords},
    secret::SecretText,
};

mod http;
mod pages;
mod process;
mod sso;

use http::{Connection, Response, bearer, connections, parallel};
use process::{Server, own_cpu};

/// The allocator of the server, so that both sides of a ratio have the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of employees who sign in.
const USERS: usize = 400;
/// Number of contacts who are excluded, in batches.
const CONTACTS: usize = 10_000;
/// Contacts of one batch: the maximum of one request.
const BATCH: usize = 1_000;
/// Number of rounds.
const ROUNDS: usize = 5;
/// Passwords that are checked in one turn, by the server or directly. Few, because the speed of a shared machine changes within
/// seconds.
const TURN: usize = 20;
/// Parallel connections for each core.
const BUSY: usize = 2;
/// Parallel connections of a flood.
const FLOOD: usize = 256;

/// Pairs of transactions in a round.
const PAIRS: usize = 4 * USERS;

struct User {
    username: String,
    secret: String,
    /// The last time step whose code was used.
    step: i64,
}

fn main() {
    // `cargo test` also runs benches, without the argument `--bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let cores = thread::available_parallelism().unwrap().get();
    let home = tempfile::tempdir().unwrap();
    let (data, mut table) = (home.path().join("data"), Table::default());
    starts(&home.path().join("empty"), &mut table);
    progress("seeding and enrolling");
    let seed = home.path().join("seed.json");
    fs::write(&seed, seed_file().to_string()).unwrap();
    let mut server = Server::in_directory(&data, seed.to_str().unwrap());
    let mut users = enrol(&server.address, cores);
    let only = |part: &str| std::env::args().any(|argument| argument == part);
    if only("sso") {
        sso::measure(&server, &mut users, cores, &mut table);
        server.stop();
        return table.print(cores);
    }
    if only("pages") {
        let session = sign_in(&mut Connection::open(&server.address), &mut users[0]);
        pages::measure(&server, &session, &mut table);
        server.stop();
        return table.print(cores);
    }
    let mut rounds = Rounds::default();
    for round in 1..=ROUNDS {
        progress(&format!("round {round} of {ROUNDS}"));
        let challenges = passwords(&server, cores, &users, &mut rounds);
        codes(&server, cores, &mut users, &challenges, &mut rounds);
        rounds.peak.push(server.memory("VmHWM"));
        server.stop();
        transactions(&data.join("db"), cores, &mut rounds);
        server = Server::in_directory(&data, "none");
        rounds.start.push(millis(server.started));
        rounds.idle.push(server.memory("VmRSS"));
    }
    rounds.add_to(&mut table);
    if only("sign-in") {
        server.stop();
        return table.print(cores);
    }
    progress("sessions, batches, flood");
    let session = sign_in(&mut Connection::open(&server.address), &mut users[0]);
    sessions(&server, &session, &mut table);
    pages::measure(&server, &session, &mut table);
    batches(&server, &session, &mut table);
    flood(&server, &users, &mut table);
    sso::measure(&server, &mut users, cores, &mut table);
    server.stop();
    table.print(cores);
}

fn progress(what: &str) {
    let _ = writeln!(io::stderr(), "{what}");
}

fn seed_file() -> Value {
    let employee = |n: usize| {
        json!({"id": format!("u-{n}"), "username": name(n), "password": password(&name(n)), "display_name": name(n),
               "kind": "employee", "role": if n == 0 { "administrator" } else { "standard" }})
    };
    // Without passwords, because hashing ten thousand would take too long.
    let contact = |n: usize| {
        json!({"id": format!("c-{n}"), "username": format!("contact{n}"), "display_name": format!("Contact {n}"),
               "kind": "contact", "role": "portal", "auth_type": "saml_sso"})
    };
    let users: Vec<_> = (0..USERS).map(employee).chain((0..CONTACTS).map(contact)).collect();
    let other_users = json!([employee(0), contact(0)]);
    json!({"tenants": [{"id": "acme", "name": "Acme", "users": users}, {"id": "globex", "name": "Globex", "users": other_users}]})
}

fn name(n: usize) -> String {
    format!("person{n}")
}

fn password(username: &str) -> String {
    format!("{username} and a long tail of words")
}

fn login(connection: &mut Connection, username: &str) -> Response {
    login_at("acme", connection, username)
}

fn login_at(tenant: &str, connection: &mut Connection, username: &str) -> Response {
    let body = json!({"tenant": tenant, "username": username, "password": password(username)});
    connection.post("/v1/login", "", &body)
}

/// An unused code of a user. Waits for the next time step if necessary.
fn code(user: &mut User) -> String {
    let now = || SystemClock.now().secs() / 30;
    user.step = now().max(user.step + 1);
    while user.step > now() + 1 {
        thread::sleep(Duration::from_millis(50));
    }
    let secret = totp_rs::Secret::try_from_base32(user.secret.replace(' ', "")).unwrap();
    totp_rs::Builder::new()
        .with_secret(secret)
        .build()
        .unwrap()
        .generate(u64::try_from(user.step * 30).unwrap())
        .to_string()
}

fn enrol(address: &str, cores: usize) -> Vec<User> {
    let names: Vec<_> = (0..USERS).map(name).collect();
    parallel(&mut connections(address, BUSY * cores), &names, |connection, username| {
        let token = bearer(&login(connection, username).ok().text("/enrolment/token"));
        let secret = connection.post("/v1/mfa/enrolments", &token, &json!({})).ok().text("/secret");
        let mut user = User { username: username.clone(), secret, step: 0 };
        let code = code(&mut user);
        connection.post("/v1/mfa/enrolments/confirm", &token, &json!({"code": code})).ok();
        user
    })
}

fn sign_in(connection: &mut Connection, user: &mut User) -> String {
    let challenge = login(connection, &user.username).ok().text("/challenge/token");
    let body = json!({"code": code(user)});
    connection.post("/v1/verify", &bearer(&challenge), &body).ok().text("/session/token")
}

/// Start time and memory with an empty store.
fn starts(directory: &Path, table: &mut Table) {
    progress("starts with an empty store");
    let first = Server::in_directory(directory, "none");
    let first_start = millis(first.started);
    first.stop();
    let again = (0..10).map(|_| {
        let server = Server::in_directory(directory, "none");
        let seen = (millis(server.started), server.memory("VmRSS"));
        server.stop();
        seen
    });
    let (times, memory): (Vec<_>, Vec<_>) = again.unzip();
    table.row("From exec to listening, first start (generates the keys)", format!("{first_start:.0} ms"), "");
    table.row("From exec to listening, empty store", spread(&times, 0, "ms"), "");
    table.row("Resident memory, idle, empty store", spread(&memory, 1, "MiB"), "");
}

/// The measurements, one number for each round.
#[derive(Default)]
struct Rounds {
    password_ratio: Vec<f64>,
    password_server: Vec<f64>,
    password_bare: Vec<f64>,
    verify_rate: Vec<f64>,
    verify_server: Vec<f64>,
    verify_latency: Vec<f64>,
    synced_rate: Vec<f64>,
    flushed_rate: Vec<f64>,
    flushed_cpu: Vec<f64>,
    unflushed_rate: Vec<f64>,
    item: Vec<f64>,
    start: Vec<f64>,
    idle: Vec<f64>,
    peak: Vec<f64>,
}

impl Rounds {
    fn add_to(&self, table: &mut Table) {
        let quotient = |above: &[f64], below: &[f64]| spread(&ratio(above, below), 2, "");
        table.row(
            "**CPU of bare Argon2id ÷ CPU of the server for a password**",
            spread(&self.password_ratio, 3, ""),
            "≥ 0.95",
        );
        table.row("— bare, each", spread(&self.password_bare, 2, "ms CPU"), "");
        table.row("— the server, each `POST /v1/login`", spread(&self.password_server, 2, "ms CPU"), "");
        table.row(
            "**Verifications per second ÷ bare pairs of synced sled transactions per second**",
            quotient(&self.verify_rate, &self.synced_rate),
            "≥ 0.60",
        );
        table.row("— `POST /v1/verify`, wall time, driver included", spread(&self.verify_rate, 0, "/s"), "");
        table.row("— the two transactions, each with sled's flush and a sync", spread(&self.synced_rate, 0, "/s"), "");
        table.row("— the two transactions, each with sled's flush", spread(&self.flushed_rate, 0, "/s"), "");
        table.row(
            "— verifications ÷ the two transactions with sled's flush",
            quotient(&self.verify_rate, &self.flushed_rate),
            "",
        );
        table.row("— the two transactions without a flush", spread(&self.unflushed_rate, 0, "/s"), "");
        table.row("— mean size of a user's item", spread(&self.item, 1, "KiB"), "");
        table.row(
            "— CPU of the two transactions with sled's flush ÷ CPU of the server for a verification",
            quotient(&self.flushed_cpu, &self.verify_server),
            "",
        );
        table.row("— the server, each verification", spread(&self.verify_server, 2, "ms CPU"), "");
        table.row("— latency of a verification, median and 99 %", quantiles(&self.verify_latency), "");
        let stored = format!("{} users stored", USERS + CONTACTS);
        table.row(&format!("From exec to listening, {stored}"), spread(&self.start, 0, "ms"), "");
        table.row(&format!("Resident memory, idle, {stored}"), spread(&self.idle, 1, "MiB"), "");
        table.row("Resident memory, maximum while all cores check passwords", spread(&self.peak, 1, "MiB"), "");
    }
}

/// Every user's password through HTTP, and as many checked directly, alternately. Measures CPU time, not wall time, because the
/// driver shares the cores. Returns the challenge tokens.
fn passwords(server: &Server, cores: usize, users: &[User], rounds: &mut Rounds) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let bare = Passwords::new(PasswordParams::default(), cores, USERS, &SystemEntropy).unwrap();
    let secret = SecretText::new(password("bare"));
    let hash = runtime.block_on(bare.hash(&secret, &SystemEntropy)).unwrap();
    let mut open = connections(&server.address, BUSY * cores);
    let (mut challenges, mut through_http, mut direct) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    for users in users.chunks(TURN) {
        let before = server.cpu();
        challenges.extend(parallel(&mut open, users, |connection, user| {
            login(connection, &user.username).ok().text("/challenge/token")
        }));
        through_http += server.cpu() - before;
        let before = own_cpu();
        runtime.block_on(check_bare(&bare, &secret, &hash, users.len()));
        direct += own_cpu() - before;
    }
    let each = |total: Duration| millis(total) / as_f64(users.len());
    rounds.password_server.push(each(through_http));
    rounds.password_bare.push(each(direct));
    rounds.password_ratio.push(direct.as_secs_f64() / through_http.as_secs_f64());
    challenges
}

async fn check_bare(passwords: &Passwords, secret: &SecretText, hash: &PasswordHash, count: usize) {
    let checks = (0..count).map(|_| passwords.verify(passwords.place().unwrap(), secret, Some(hash)));
    for proof in futures_util::future::join_all(checks).await {
        assert!(proof.unwrap().is_some());
    }
}

/// Every user's code, at full speed.
fn codes(server: &Server, cores: usize, users: &mut [User], challenges: &[String], rounds: &mut Rounds) {
    let requests: Vec<_> =
        users.iter_mut().zip(challenges).map(|(user, token)| (bearer(token), json!({"code": code(user)}))).collect();
    let (before, started_at) = (server.cpu(), Instant::now());
    let latencies =
        parallel(&mut connections(&server.address, BUSY * cores), &requests, |connection, (token, body)| {
            let started_at = Instant::now();
            connection.post("/v1/verify", token, body).ok();
            millis(started_at.elapsed())
        });
    let (took, cpu) = (started_at.elapsed(), server.cpu() - before);
    rounds.verify_rate.push(as_f64(requests.len()) / took.as_secs_f64());
    rounds.verify_server.push(millis(cpu) / as_f64(requests.len()));
    rounds.verify_latency.extend(latencies);
}

/// How a bare transaction ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    InMemory,
    /// sled's flush. It leaves the last step to the system: after a power failure the write can be lost.
    Flushed,
    /// sled's flush, and a sync of its file. This gives what the server gives: a write that was answered survives a power failure.
    Synced,
}

/// Only the store's part of a verification: writes the user's item twice, the second time with an audit row, each in a
/// transaction. Uses the stopped server's own database and items.
fn transactions(path: &Path, cores: usize, rounds: &mut Rounds) {
    let (db, file) = (sled::Config::new().path(path).open().unwrap(), fs::File::open(path.join("db")).unwrap());
    let (main, dir) = (db.open_tree("main").unwrap(), db.open_tree("dir").unwrap());
    let users: Vec<_> = (0..USERS).map(|n| format!("T#acme#U#u-{n}\0U").into_bytes()).collect();
    assert!(
        users.iter().all(|key| main.get(key).unwrap().is_some()),
        "every user must be stored; this also reads each item once"
    );
    let (row_key, row) = main.scan_prefix("T#acme#A#").last().unwrap().unwrap();
    let pair = |end: End, n: usize| {
        let key = &users[n % USERS];
        let row_key = [&row_key[..], format!("-{}-{end:?}-{n}", rounds.item.len()).as_bytes()].concat();
        let write = |row: Option<&[u8]>| -> TransactionResult<()> {
            (&main, &dir).transaction(|(main, _)| {
                let item = main.get(key)?.unwrap();
                main.insert(&key[..], item)?;
                if let Some(row) = row {
                    main.insert(&row_key[..], row)?;
                }
                if end != End::InMemory {
                    main.flush();
                }
                Ok(())
            })?;
            if end == End::Synced {
                file.sync_data().unwrap();
            }
            Ok(())
        };
        write(None).unwrap();
        write(Some(&row)).unwrap();
    };
    let (unflushed, _) = in_parallel(cores, |n| pair(End::InMemory, n));
    db.flush().unwrap();
    let (flushed, cpu) = in_parallel(cores, |n| pair(End::Flushed, n));
    let (synced, _) = in_parallel(cores, |n| pair(End::Synced, n));
    rounds.unflushed_rate.push(unflushed);
    rounds.flushed_rate.push(flushed);
    rounds.flushed_cpu.push(cpu);
    rounds.synced_rate.push(synced);
    let sizes = users.iter().map(|key| as_f64(main.get(key).unwrap().unwrap().len()));
    rounds.item.push(sizes.sum::<f64>() / as_f64(USERS) / 1024.0);
}

/// Runs all pairs. Returns how many a second, and the CPU time of each in milliseconds.
fn in_parallel(cores: usize, pair: impl Fn(usize) + Sync) -> (f64, f64) {
    let (next, before, started_at) = (AtomicUsize::new(0), own_cpu(), Instant::now());
    thread::scope(|scope| {
        for _ in 0..BUSY * cores {
            scope.spawn(|| {
                let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                numbers.take_while(|n| *n < PAIRS).for_each(&pair);
            });
        }
    });
    (as_f64(PAIRS) / started_at.elapsed().as_secs_f64(), millis(own_cpu() - before) / as_f64(PAIRS))
}

/// Sequential session checks on one connection.
fn sessions(server: &Server, session: &str, table: &mut Table) {
    let mut connection = Connection::open(&server.address);
    let mut latencies = |path: &str| -> Vec<f64> {
        let once = |_| {
            let started_at = Instant::now();
            assert_eq!(connection.get(path, session).status, 200);
            millis(started_at.elapsed())
        };
        (0..3_000).map(once).collect()
    };
    table.row("Session check, `GET /v1/session`, median and 99 %", quantiles(&latencies("/v1/session")), "");
    table.row("— `GET /healthz`, one read of the store, for comparison", quantiles(&latencies("/healthz")), "");
}

/// Excludes all contacts and includes them again, three times.
fn batches(server: &Server, session: &str, table: &mut Table) {
    let mut connection = Connection::open(&server.address);
    let (mut all_batches, mut firsts, mut lasts, mut totals) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..3 {
        for disable_mfa in [true, false] {
            let times: Vec<_> = (0..CONTACTS / BATCH)
                .map(|batch| {
                    let ids: Vec<_> = (0..BATCH).map(|n| format!("c-{}", batch * BATCH + n)).collect();
                    let body = json!({"contact_ids": ids, "disable_mfa": disable_mfa, "reason": "measured"});
                    let key = format!("{}Idempotency-Key: {round}-{disable_mfa}-{batch}\r\n", bearer(session));
                    let started_at = Instant::now();
                    let answer = connection.post("/v1/admin/portal-exclusions", &key, &body).ok();
                    let took = started_at.elapsed().as_secs_f64();
                    let changed = if disable_mfa { "excluded" } else { "included" };
                    assert_eq!(answer.body["counts"][changed], BATCH);
                    took
                })
                .collect();
            if disable_mfa {
                firsts.push(times[0]);
                lasts.push(times[times.len() - 1]);
                totals.push(times.iter().sum());
                all_batches.extend(times);
            }
        }
    }
    table.row("**Batch exclusion of 1,000**", spread(&all_batches, 2, "s"), "≤ 1 s");
    table.row("— of 10,000, in ten batches", spread(&totals, 2, "s"), "");
    table.row("— the tenth batch ÷ the first", spread(&ratio(&lasts, &firsts), 2, ""), "");
}

/// More parallel passwords than may wait.
fn flood(server: &Server, users: &[User], table: &mut Table) {
    let answers =
        parallel(&mut connections(&server.address, FLOOD), users, |connection, user| login(connection, &user.username));
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(answers.iter().all(|answer| [200, 503].contains(&answer.status)));
    assert!(refused.iter().all(|answer| answer.retry_after.is_some()), "every 503 has Retry-After");
    let refusals = format!("{} of {}", refused.len(), answers.len());
    table.row(
        &format!("{FLOOD} connections send passwords at the same time: answered 503 with `Retry-After`"),
        refusals,
        "",
    );
    table.row("— resident memory, maximum", format!("{:.1} MiB", server.memory("VmHWM")), "");
}

#[derive(Default)]
struct Table(Vec<[String; 3]>);

impl Table {
    fn row(&mut self, what: &str, result: String, goal: &str) {
        self.0.push([what.to_owned(), result, goal.to_owned()]);
    }

    fn print(&self, cores: usize) {
        let mut text = format!("{cores} cores, {ROUNDS} rounds of {USERS} users, {} connections.\n\n", BUSY * cores);
        text.push_str("| What | Median (least to most) | Goal |\n|---|---|---|\n");
        for row in &self.0 {
            text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        io::stdout().write_all(text.as_bytes()).unwrap();
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(count: usize) -> f64 {
    count as f64
}

fn ratio(above: &[f64], below: &[f64]) -> Vec<f64> {
    above.iter().zip(below).map(|(above, below)| above / below).collect()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values
}

fn spread(values: &[f64], digits: usize, unit: &str) -> String {
    let values = sorted(values);
    let (least, middle, most) = (values[0], values[values.len() / 2], values[values.len() - 1]);
    format!("{middle:.digits$} {unit} ({least:.digits$} to {most:.digits$})").replace("  ", " ")
}

fn quantiles(values: &[f64]) -> String {
    let values = sorted(values);
    format!("{:.2} ms, {:.2} ms", values[values.len() / 2], values[values.len() * 99 / 100])
}
