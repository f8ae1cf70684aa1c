//! Commits by version under contention: 32 requests about one user at once end within the bound of retries.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;

use local::data_dir::DataDir;
use tests::crowd::{self, Crowd};
use vestibule::{env::SystemEntropy, store::memory::MemoryTable};

const ROUNDS: usize = 10;

/// Each round is answered, and in some round a code signs in and a commit is refused: otherwise there is no contention.
fn check(store: &str, rounds: &[Crowd]) {
    println!("{store}: {rounds:?}");
    for crowd in rounds {
        assert_eq!(crowd.unavailable, 0, "{store}: {crowd:?}");
        assert!(crowd.signed_in <= 1, "one code signs in once: {crowd:?}");
    }
    assert!(rounds.iter().any(|crowd| crowd.signed_in == 1), "{store}: no code signed in");
    assert!(rounds.iter().any(|crowd| crowd.refused > 0), "{store}: no commit was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn crowd_of_32_on_the_embedded_store_is_answered_without_503() {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let data = DataDir::ephemeral(&SystemEntropy).unwrap();
        rounds.push(crowd::send(Arc::new(data.table)).await);
    }
    check("sled", &rounds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn crowd_of_32_on_the_model_is_answered_without_503() {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(crowd::send(Arc::new(MemoryTable::default())).await);
    }
    check("memory", &rounds);
}
