//! A table on which another command runs at a chosen moment, for tests: what one request does between another's read and its
//! write. A condition that matters only then is tested without luck.

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
    /// How many calls of that kind come before it.
    calls_before: usize,
    command: Command,
}

/// Another table, with at most one command that waits for its moment.
pub struct InterleavedTable {
    inner: Arc<dyn Table>,
    planned: Mutex<Option<Planned>>,
}

impl InterleavedTable {
    /// Over a table. Without a plan it adds nothing.
    #[must_use]
    pub fn over(inner: Arc<dyn Table>) -> Self {
        Self { inner, planned: Mutex::new(None) }
    }

    /// Runs the command once, after the table has read for the `nth` read or query from now on (the first is 1), and before
    /// the caller gets what was read. The command may use this same table.
    pub fn after_read(&self, nth: usize, command: impl Future<Output = ()> + Send + 'static) {
        self.plan(Call::Read, nth, Box::pin(command));
    }

    /// Runs the command once, before the `nth` update or transaction from now on (the first is 1).
    pub fn before_write(&self, nth: usize, command: impl Future<Output = ()> + Send + 'static) {
        self.plan(Call::Write, nth, Box::pin(command));
    }

    /// Whether the planned command waits still: then a test has shown nothing.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn plan(&self, call: Call, nth: usize, command: Command) {
        let planned = Planned { call, calls_before: nth.saturating_sub(1), command };
        *self.planned.lock().unwrap_or_else(PoisonError::into_inner) = Some(planned);
    }

    /// Counts a call; the command, when its moment has come.
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

    async fn update(&self, write: &Write, again: Retry) -> Result<Updated, StoreError> {
        self.run(Call::Write).await;
        self.inner.update(write, again).await
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
