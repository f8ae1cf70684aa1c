//! A table that runs another command at a chosen point between a read and a write, for tests. So conditions that matter
//! only then are tested deterministically.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use super::{
    table::{Query, Retry, StoreError, Table, Transacted, Transaction, Updated},
    write::{Item, Key, Write},
};

type Command = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Read,
    Write,
}

struct Planned {
    call: Call,
    /// Number of calls of this kind before the command runs.
    calls_before: usize,
    command: Command,
}

/// A wrapper of another table with at most one planned command.
pub struct InterleavedTable {
    inner: Arc<dyn Table>,
    planned: Mutex<Option<Planned>>,
}

impl InterleavedTable {
    /// Wraps a table. Without a plan it changes nothing.
    #[must_use]
    pub fn over(inner: Arc<dyn Table>) -> Self {
        Self { inner, planned: Mutex::new(None) }
    }

    /// Runs the command once: after the `nth` read or query from now on (the first is 1), before the caller gets the
    /// result. The command may use this table.
    pub fn after_read(&self, nth: usize, command: impl Future<Output = ()> + Send + 'static) {
        self.plan(Call::Read, nth, Box::pin(command));
    }

    /// Runs the command once, before the `nth` update or transaction from now on (the first is 1).
    pub fn before_write(&self, nth: usize, command: impl Future<Output = ()> + Send + 'static) {
        self.plan(Call::Write, nth, Box::pin(command));
    }

    /// Whether the planned command has not run. If so, the test proved nothing.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn plan(&self, call: Call, nth: usize, command: Command) {
        let planned = Planned { call, calls_before: nth.saturating_sub(1), command };
        *self.planned.lock().unwrap_or_else(PoisonError::into_inner) = Some(planned);
    }

    /// Counts a call. Returns the command if it is due now.
    fn due(&self, call: Call) -> Option<Command> {
        let mut waiting = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.as_mut() {
            Some(planned) if planned.call == call && planned.calls_before > 0 => {
                planned.calls_before -= 1;
                None
            }
            Some(planned) if planned.call == call => waiting.take().map(|planned| planned.command),
            _ => None,
        }
    }

    async fn run(&self, call: Call) {
        if let Some(command) = self.due(call) {
            command.await;
        }
    }
}

#[async_trait]
impl Table for InterleavedTable {
    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, StoreError> {
        let found = self.inner.read(keys).await;
        self.run(Call::Read).await;
        found
    }

    async fn update(&self, write: &Write, retry: Retry) -> Result<Updated, StoreError> {
        self.run(Call::Write).await;
        self.inner.update(write, retry).await
    }

    async fn transact(&self, transaction: &Transaction) -> Result<Transacted, StoreError> {
        self.run(Call::Write).await;
        self.inner.transact(transaction).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Item>, StoreError> {
        let found = self.inner.query(query).await;
        self.run(Call::Read).await;
        found
    }
}
