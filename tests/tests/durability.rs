//! Answered writes of the embedded store survive `kill -9`.
//!
//! The test starts itself as a child process that counts and prints each count once it was answered. It kills the child
//! and checks that the last printed count is stored.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use local::data_dir::DataDir;
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
        // Kill after this many answers; counts that are in the pipe by then were answered too.
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            if let Some(count) = line.strip_prefix("answered ").and_then(|count| count.parse().ok()) {
                answered = count;
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

async fn count(path: &Path) {
    let data = DataDir::open(path, &SystemEntropy).unwrap();
    let mut out = std::io::stdout();
    println!(); // ends the line of the test harness
    contract::count_forever(&data.table, |count| writeln!(out, "answered {count}").and_then(|()| out.flush()).unwrap())
        .await;
}
