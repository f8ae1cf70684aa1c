//! Commits by version under contention: 32 requests about one user at once end within the bound of retries.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;

use local::data_dir::DataDir;
use tests::crowd::{self, Crowd};
use vestibule::{env::SystemEntropy, store::memory::MemoryTable};

const ROUNDS: usize = 10;

fn check(store: &str, crowd: &Crowd) {
    println!("{store}: {crowd:?}");
    assert_eq!(crowd.unavailable, 0, "{store}: {crowd:?}");
    assert!(crowd.signed_in <= 1, "one code signs in once: {crowd:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn crowd_of_32_on_the_embedded_store_is_answered_without_503() {
    for _ in 0..ROUNDS {
        let data = DataDir::ephemeral(&SystemEntropy).unwrap();
        check("sled", &crowd::send(Arc::new(data.table)).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn crowd_of_32_on_the_model_is_answered_without_503() {
    for _ in 0..ROUNDS {
        check("memory", &crowd::send(Arc::new(MemoryTable::default())).await);
    }
}
