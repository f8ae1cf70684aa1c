//! Compares the time of answers about users who exist and who do not: `cargo bench --workspace --bench equal_time`. Prints a
//! Markdown table. The requests alternate, so that the load of the machine is the same for both. Passwords are hashed with the
//! parameters of tests, which cost next to nothing: a difference beside the hash shows much larger than it is in production.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::json;
use tests::{Service, TestRequest};

/// Requests for each name.
const SAMPLES: usize = 300;

/// An hour: no limit applies to the next request.
const PAUSE: u64 = 3_600;

#[tokio::main]
async fn main() {
    // `cargo test` also runs benches, without the argument `--bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (service, mut users) = Service::with_users().await;
    service.enrol(tests::user_mut(&mut users, "bob")).await.ok();
    println!(
        "| Request, {SAMPLES} for each name | Exists, median | Does not exist, median | Ratio |\n|---|---|---|---|"
    );
    for (what, path, status) in
        [("Wrong password", "/v1/login", 401), ("Mail for a forgotten password", "/v1/password-resets", 202)]
    {
        let (mut exists, mut does_not) = (Vec::new(), Vec::new());
        for n in 0..SAMPLES {
            // Both are first equally often, because the first request after a pause does more.
            for turn in [n % 2, 1 - n % 2] {
                service.advance(PAUSE);
                match turn {
                    0 => exists.push(time(&service, path, status, "bob", n).await),
                    _ => does_not.push(time(&service, path, status, "bub", n).await),
                }
            }
        }
        let (exists, does_not) = (median(exists), median(does_not));
        let ratio = exists.as_secs_f64() / does_not.as_secs_f64();
        let (exists, does_not) = (exists.as_micros(), does_not.as_micros());
        println!("| {what}, `POST {path}` | {exists} µs | {does_not} µs | {ratio:.2} |");
    }
}

async fn time(service: &Service, path: &str, status: u16, username: &str, n: usize) -> Duration {
    let mut body = json!({"tenant": "acme", "username": username});
    if path == "/v1/login" {
        body["password"] = json!(format!("a wrong password with the number {n}"));
    }
    let request = TestRequest::new(Method::POST, path).json(body);
    let began = Instant::now();
    let reply = service.send(request).await;
    let took = began.elapsed();
    assert_eq!(reply.status, status, "{reply:?}");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
