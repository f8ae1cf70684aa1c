//! Measures the local runner as a process, over HTTP: `just bench`. It prints a table in Markdown. With the argument `sso`
//! it measures sign-ins by SSO alone.
//!
//! The machine may be shared and its speed its own, so costs are ratios within one run: what a part costs by itself, over
//! what the server needs for it, in turns and several times. The median of the rounds is what counts.
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
mod process;
mod sso;

use http::{Answer, Connection, bearer, parallel};
use process::{Server, own_cpu};

/// Employees who sign in.
const PEOPLE: usize = 400;
/// Contacts who are excluded, in batches.
const CONTACTS: usize = 10_000;
/// As many as one request takes.
const BATCH: usize = 1_000;
/// How often everything is measured.
const ROUNDS: usize = 5;
/// Connections at once, for each core.
const BUSY: usize = 2;
/// Connections at once when there are far too many.
const FLOOD: usize = 256;

/// Pairs of transactions a round.
const PAIRS: usize = 4 * PEOPLE;

struct Person {
    username: String,
    secret: String,
    /// The last step whose code was used.
    step: i64,
}

fn main() {
    // Cargo runs benches as tests too, without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let cores = thread::available_parallelism().unwrap().get();
    let home = tempfile::tempdir().unwrap();
    let (data, mut table) = (home.path().join("data"), Table::default());
    starts(&home.path().join("empty"), &mut table);
    say("seeding, enrolling");
    let seed = home.path().join("seed.json");
    fs::write(&seed, seed_file().to_string()).unwrap();
    let mut server = Server::in_directory(&data, seed.to_str().unwrap());
    let mut people = enrol(&server.address, cores);
    if std::env::args().any(|argument| argument == "sso") {
        sso::measure(&server, &mut people, cores, &mut table);
        server.stop();
        return table.print(cores);
    }
    let mut rounds = Rounds::default();
    for round in 1..=ROUNDS {
        say(&format!("round {round} of {ROUNDS}"));
        let challenges = passwords(&server, cores, &people, &mut rounds);
        codes(&server, cores, &mut people, &challenges, &mut rounds);
        rounds.peak.push(server.memory("VmHWM"));
        server.stop();
        transactions(&data.join("db"), cores, &mut rounds);
        server = Server::in_directory(&data, "none");
        rounds.start.push(millis(server.started));
        rounds.idle.push(server.memory("VmRSS"));
    }
    rounds.tell(&mut table);
    say("sessions, batches, too many at once");
    let session = sign_in(&mut Connection::open(&server.address), &mut people[0]);
    sessions(&server, &session, &mut table);
    batches(&server, &session, &mut table);
    flood(&server, &people, &mut table);
    sso::measure(&server, &mut people, cores, &mut table);
    server.stop();
    table.print(cores);
}

fn say(what: &str) {
    let _ = writeln!(io::stderr(), "{what}");
}

fn seed_file() -> Value {
    let employee = |n: usize| {
        json!({"id": format!("u-{n}"), "username": name(n), "password": password(&name(n)), "display_name": name(n),
               "kind": "employee", "role": if n == 0 { "administrator" } else { "standard" }})
    };
    // Without passwords: nobody hashes ten thousand of them for this.
    let contact = |n: usize| {
        json!({"id": format!("c-{n}"), "username": format!("contact{n}"), "display_name": format!("Contact {n}"),
               "kind": "contact", "role": "portal", "auth_type": "saml_sso"})
    };
    let users: Vec<_> = (0..PEOPLE).map(employee).chain((0..CONTACTS).map(contact)).collect();
    let neighbour = json!([employee(0), contact(0)]);
    json!({"tenants": [{"id": "acme", "name": "Acme", "users": users}, {"id": "globex", "name": "Globex", "users": neighbour}]})
}

fn name(n: usize) -> String {
    format!("person{n}")
}

fn password(username: &str) -> String {
    format!("{username} and a long tail of words")
}

fn login(connection: &mut Connection, username: &str) -> Answer {
    login_at("acme", connection, username)
}

fn login_at(tenant: &str, connection: &mut Connection, username: &str) -> Answer {
    let body = json!({"tenant": tenant, "username": username, "password": password(username)});
    connection.post("/v1/login", "", &body)
}

/// A code that was not used yet; waits until there is one.
fn code(person: &mut Person) -> String {
    let now = || SystemClock.now().secs() / 30;
    person.step = now().max(person.step + 1);
    while person.step > now() + 1 {
        thread::sleep(Duration::from_millis(50));
    }
    let secret = totp_rs::Secret::try_from_base32(person.secret.replace(' ', "")).unwrap();
    totp_rs::Builder::new()
        .with_secret(secret)
        .build()
        .unwrap()
        .generate(u64::try_from(person.step * 30).unwrap())
        .to_string()
}

fn enrol(address: &str, cores: usize) -> Vec<Person> {
    let names: Vec<_> = (0..PEOPLE).map(name).collect();
    parallel(address, BUSY * cores, &names, |connection, username| {
        let token = bearer(&login(connection, username).ok().text("/enrolment/token"));
        let secret = connection.post("/v1/mfa/enrolments", &token, &json!({})).ok().text("/secret");
        let mut person = Person { username: username.clone(), secret, step: 0 };
        let code = code(&mut person);
        connection.post("/v1/mfa/enrolments/confirm", &token, &json!({"code": code})).ok();
        person
    })
}

fn sign_in(connection: &mut Connection, person: &mut Person) -> String {
    let challenge = login(connection, &person.username).ok().text("/challenge/token");
    let body = json!({"code": code(person)});
    connection.post("/v1/verify", &bearer(&challenge), &body).ok().text("/session/token")
}

/// How long it takes to be there, and what it holds then.
fn starts(directory: &Path, table: &mut Table) {
    say("starting, empty");
    let first = Server::in_directory(directory, "none");
    let begun = millis(first.started);
    first.stop();
    let again = (0..10).map(|_| {
        let server = Server::in_directory(directory, "none");
        let seen = (millis(server.started), server.memory("VmRSS"));
        server.stop();
        seen
    });
    let (times, memory): (Vec<_>, Vec<_>) = again.unzip();
    table.row("From exec to listening, first start (generates the keys)", format!("{begun:.0} ms"), "");
    table.row("From exec to listening, empty store", spread(&times, 0, "ms"), "");
    table.row("Resident memory, idle, empty store", spread(&memory, 1, "MiB"), "");
}

/// What the rounds showed, one number each.
#[derive(Default)]
struct Rounds {
    password_ratio: Vec<f64>,
    password_server: Vec<f64>,
    password_bare: Vec<f64>,
    verify_rate: Vec<f64>,
    verify_server: Vec<f64>,
    verify_latency: Vec<f64>,
    pair_rate: Vec<f64>,
    pair_cpu: Vec<f64>,
    unflushed_rate: Vec<f64>,
    item: Vec<f64>,
    start: Vec<f64>,
    idle: Vec<f64>,
    peak: Vec<f64>,
}

impl Rounds {
    fn tell(&self, table: &mut Table) {
        let rate_ratio = ratio(&self.verify_rate, &self.pair_rate);
        let cpu_ratio = ratio(&self.pair_cpu, &self.verify_server);
        table.row(
            "**CPU of bare Argon2id ÷ CPU of the server for a password**",
            spread(&self.password_ratio, 3, ""),
            "≥ 0.95",
        );
        table.row("— bare, each", spread(&self.password_bare, 2, "ms CPU"), "");
        table.row("— the server, each `POST /v1/login`", spread(&self.password_server, 2, "ms CPU"), "");
        table.row(
            "**Verifications per second ÷ bare pairs of flushed sled transactions per second**",
            spread(&rate_ratio, 2, ""),
            "≥ 0.70",
        );
        table.row("— `POST /v1/verify`, wall time, driver included", spread(&self.verify_rate, 0, "/s"), "");
        table.row("— the two transactions alone", spread(&self.pair_rate, 0, "/s"), "");
        table.row("— the two transactions without their flush", spread(&self.unflushed_rate, 0, "/s"), "");
        table.row("— mean size of a user's item", spread(&self.item, 1, "KiB"), "");
        table.row(
            "— CPU of the two transactions ÷ CPU of the server for a verification",
            spread(&cpu_ratio, 2, ""),
            "",
        );
        table.row("— the server, each verification", spread(&self.verify_server, 2, "ms CPU"), "");
        table.row("— latency of a verification, median and 99 %", quantiles(&self.verify_latency), "");
        let stored = format!("{} users stored", PEOPLE + CONTACTS);
        table.row(&format!("From exec to listening, {stored}"), spread(&self.start, 0, "ms"), "");
        table.row(&format!("Resident memory, idle, {stored}"), spread(&self.idle, 1, "MiB"), "");
        table.row("Resident memory, maximum while all cores check passwords", spread(&self.peak, 1, "MiB"), "");
    }
}

/// Everybody's password through HTTP, and as many checked bare, in turns. CPU time of either process, not wall time: the
/// driver shares the cores.
fn passwords(server: &Server, cores: usize, people: &[Person], rounds: &mut Rounds) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let bare = Passwords::new(PasswordParams::default(), cores, PEOPLE, &SystemEntropy).unwrap();
    let secret = SecretText::new(password("bare"));
    let hash = runtime.block_on(bare.hash(&secret, &SystemEntropy)).unwrap();
    let (mut challenges, mut through_http, mut alone) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    for people in people.chunks(PEOPLE / 4) {
        let before = server.cpu();
        challenges.extend(parallel(&server.address, BUSY * cores, people, |connection, person| {
            login(connection, &person.username).ok().text("/challenge/token")
        }));
        through_http += server.cpu() - before;
        let before = own_cpu();
        runtime.block_on(check_bare(&bare, &secret, &hash, people.len()));
        alone += own_cpu() - before;
    }
    let each = |total: Duration| millis(total) / as_f64(people.len());
    rounds.password_server.push(each(through_http));
    rounds.password_bare.push(each(alone));
    rounds.password_ratio.push(alone.as_secs_f64() / through_http.as_secs_f64());
    challenges
}

async fn check_bare(passwords: &Passwords, secret: &SecretText, hash: &PasswordHash, count: usize) {
    let checks = (0..count).map(|_| passwords.verify(passwords.place().unwrap(), secret, Some(hash)));
    for proof in futures_util::future::join_all(checks).await {
        assert!(proof.unwrap().is_some());
    }
}

/// Everybody's code, as fast as it goes.
fn codes(server: &Server, cores: usize, people: &mut [Person], challenges: &[String], rounds: &mut Rounds) {
    let asks: Vec<_> = people
        .iter_mut()
        .zip(challenges)
        .map(|(person, token)| (bearer(token), json!({"code": code(person)})))
        .collect();
    let (before, begun) = (server.cpu(), Instant::now());
    let latencies = parallel(&server.address, BUSY * cores, &asks, |connection, (token, body)| {
        let begun = Instant::now();
        connection.post("/v1/verify", token, body).ok();
        millis(begun.elapsed())
    });
    let (took, cpu) = (begun.elapsed(), server.cpu() - before);
    rounds.verify_rate.push(as_f64(asks.len()) / took.as_secs_f64());
    rounds.verify_server.push(millis(cpu) / as_f64(asks.len()));
    rounds.verify_latency.extend(latencies);
}

/// What a verify asks of the store, and nothing else: the person's item written twice, with an audit row the second time,
/// each flushed before it is answered. The items are the server's own, in its own database, while it is stopped.
fn transactions(path: &Path, cores: usize, rounds: &mut Rounds) {
    let db = sled::Config::new().path(path).open().unwrap();
    let (main, dir) = (db.open_tree("main").unwrap(), db.open_tree("dir").unwrap());
    let people: Vec<_> = (0..PEOPLE).map(|n| format!("T#acme#U#u-{n}\0U").into_bytes()).collect();
    assert!(people.iter().all(|key| main.get(key).unwrap().is_some()), "everybody is there, and read once");
    let (row_key, row) = main.scan_prefix("T#acme#A#").last().unwrap().unwrap();
    let pair = |flush: bool, n: usize| {
        let key = &people[n % PEOPLE];
        let row_key = [&row_key[..], format!("-{}-{flush}-{n}", rounds.pair_rate.len()).as_bytes()].concat();
        let write = |row: Option<&[u8]>| -> TransactionResult<()> {
            (&main, &dir).transaction(|(main, _)| {
                let item = main.get(key)?.unwrap();
                main.insert(&key[..], item)?;
                if let Some(row) = row {
                    main.insert(&row_key[..], row)?;
                }
                if flush {
                    main.flush();
                }
                Ok(())
            })
        };
        write(None).unwrap();
        write(Some(&row)).unwrap();
    };
    let run = |flush: bool| {
        let (next, before, begun) = (AtomicUsize::new(0), own_cpu(), Instant::now());
        thread::scope(|scope| {
            for _ in 0..BUSY * cores {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= PAIRS {
                            return;
                        }
                        pair(flush, n);
                    }
                });
            }
        });
        (as_f64(PAIRS) / begun.elapsed().as_secs_f64(), millis(own_cpu() - before) / as_f64(PAIRS))
    };
    let (unflushed, _) = run(false);
    db.flush().unwrap();
    let (rate, cpu) = run(true);
    rounds.pair_rate.push(rate);
    rounds.pair_cpu.push(cpu);
    rounds.unflushed_rate.push(unflushed);
    let sizes = people.iter().map(|key| as_f64(main.get(key).unwrap().unwrap().len()));
    rounds.item.push(sizes.sum::<f64>() / as_f64(PEOPLE) / 1024.0);
}

/// One after the other on one connection.
fn sessions(server: &Server, session: &str, table: &mut Table) {
    let mut connection = Connection::open(&server.address);
    let mut latencies = |path: &str| -> Vec<f64> {
        let once = |_| {
            let begun = Instant::now();
            assert_eq!(connection.get(path, session).status, 200);
            millis(begun.elapsed())
        };
        (0..3_000).map(once).collect()
    };
    table.row("Session check, `GET /v1/session`, median and 99 %", quantiles(&latencies("/v1/session")), "");
    table.row("— `GET /healthz`, one read of the store, for comparison", quantiles(&latencies("/healthz")), "");
}

/// Excludes everybody and includes them again, three times.
fn batches(server: &Server, session: &str, table: &mut Table) {
    let mut connection = Connection::open(&server.address);
    let (mut ones, mut firsts, mut lasts, mut alls) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..3 {
        for disable_mfa in [true, false] {
            let times: Vec<_> = (0..CONTACTS / BATCH)
                .map(|batch| {
                    let ids: Vec<_> = (0..BATCH).map(|n| format!("c-{}", batch * BATCH + n)).collect();
                    let body = json!({"contact_ids": ids, "disable_mfa": disable_mfa, "reason": "measured"});
                    let key = format!("{}Idempotency-Key: {round}-{disable_mfa}-{batch}\r\n", bearer(session));
                    let begun = Instant::now();
                    let answer = connection.post("/v1/admin/portal-exclusions", &key, &body).ok();
                    let took = begun.elapsed().as_secs_f64();
                    let changed = if disable_mfa { "excluded" } else { "included" };
                    assert_eq!(answer.body["counts"][changed], BATCH);
                    took
                })
                .collect();
            if disable_mfa {
                firsts.push(times[0]);
                lasts.push(times[times.len() - 1]);
                alls.push(times.iter().sum());
                ones.extend(times);
            }
        }
    }
    table.row("**Batch exclusion of 1,000**", spread(&ones, 2, "s"), "≤ 1 s");
    table.row("— of 10,000, in ten batches", spread(&alls, 2, "s"), "");
    table.row("— the tenth batch ÷ the first", spread(&ratio(&lasts, &firsts), 2, ""), "");
}

/// Far more passwords at once than may wait.
fn flood(server: &Server, people: &[Person], table: &mut Table) {
    let answers = parallel(&server.address, FLOOD, people, |connection, person| login(connection, &person.username));
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(answers.iter().all(|answer| [200, 503].contains(&answer.status)));
    assert!(refused.iter().all(|answer| answer.retry_after.is_some()), "every 503 says when to come again");
    let told = format!("{} of {}", refused.len(), answers.len());
    table.row(
        &format!("{FLOOD} connections send passwords at the same time: answered 503 with `Retry-After`"),
        told,
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
        let mut text = format!("{cores} cores, {ROUNDS} rounds of {PEOPLE} people, {} connections.\n\n", BUSY * cores);
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
