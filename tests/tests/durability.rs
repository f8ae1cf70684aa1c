//! Answered writes of the embedded store survive `kill -9`, and how often a sign-in writes to its log.
//!
//! The test of `kill -9` starts itself as a child process. Four tasks of the child count, and each prints the count that was
//! answered. The test kills the child and checks that the highest printed count is stored.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use axum::http::Method;
use local::{data_dir::DataDir, mail::NotifyingTable};
use serde_json::json;
use tests::{Service, TestRequest, user_mut};
use vestibule::{env::SystemEntropy, store::contract};

const CHILD: &str = "VESTIBULE_DURABILITY_CHILD";

#[tokio::test]
async fn answered_write_survives_a_kill() {
    if let Some(path) = std::env::var_os(CHILD) {
        return count(Path::new(&path)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut answered = 0;
    for round in 0_u64..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "answered_write_survives_a_kill", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Kill after this many lines; counts that are in the pipe by then were answered too.
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            if let Some(count) = line.strip_prefix("answered ").and_then(|count| count.parse::<i64>().ok()) {
                answered = count.max(answered);
                seen += 1;
                if seen == 20 + round * 7 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        let data = DataDir::open(folder.path(), &SystemEntropy).unwrap();
        let stored = contract::stored_count(&data.table).await;
        assert!(seen >= 20 && stored >= answered, "round {round}: answered {answered}, stored {stored}");
    }
}

/// Four tasks count, so that one sync serves several writes.
async fn count(path: &Path) {
    let data = DataDir::open(path, &SystemEntropy).unwrap();
    println!(); // ends the line of the test harness
    let count = || contract::count_forever(&data.table, print);
    tokio::join!(count(), count(), count(), count());
}

fn print(count: i64) {
    let mut out = std::io::stdout();
    writeln!(out, "answered {count}").and_then(|()| out.flush()).unwrap();
}

/// Counts the groups that sign-ins write in the table of the local server. Each is one sync of the log.
#[tokio::test]
async fn password_step_and_verification_take_two_syncs_each() {
    let data = DataDir::ephemeral(&SystemEntropy).unwrap();
    let table = data.table.clone();
    let notifying = NotifyingTable::new(Arc::new(data.table), None).unwrap();
    let service = Service::with_table(Arc::new(notifying), data.keys);
    let mut users = service.add_users().await;
    let bob = user_mut(&mut users, "bob");
    service.enrol(bob).await;
    let mut before = table.written_groups();
    let mut groups = || table.written_groups() - std::mem::replace(&mut before, table.written_groups());

    // The charge; then the challenge, the audit row and the reset of the failures.
    let challenge = service.challenge_token(bob).await;
    assert_eq!(groups(), 2, "the right password");
    // The charge; then the session with its audit row.
    let code = service.next_code(bob);
    let device = service.verify(&challenge, &code).await.ok().text("/session/device_token");
    assert_eq!(groups(), 2, "the right code");
    let known = json!({"tenant": "acme", "username": "bob", "password": bob.password, "device_token": device});
    service.send(TestRequest::new(Method::POST, "/v1/login").json(known)).await.ok();
    assert_eq!(groups(), 2, "the right password at a known device");
    service.login_with(bob, "wrong").await;
    assert_eq!(groups(), 2, "a wrong password");
}
