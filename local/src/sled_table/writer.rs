//! The writer of the embedded store: one thread that evaluates all transactions, and writes them in groups.
//!
//! A flush costs more than a transaction. So the thread takes every request that waits, evaluates its transactions in order, appends
//! their changes to the log as one record, and syncs it. Only then it changes sled, and answers. So nothing is returned or read that
//! a crash could undo. A refusal waits too, because it can show a write of the same group.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use tokio::sync::{mpsc, oneshot};
use vestibule::store::{StoreError, write::Write};

use super::{Changes, Outcome, Trees, WriteAheadLog};

/// How many requests may wait. A group has at most as many. Further callers wait until there is room.
const QUEUE: usize = 256;

/// Sends transactions to the thread. When it is dropped, it waits until the thread has written what was sent, and ends.
pub(super) struct Writer {
    // The order matters: the thread ends after the last sender is dropped.
    requests: mpsc::Sender<Request>,
    thread: Joined,
    groups: Arc<AtomicU64>,
}

/// The result of each transaction of a request, in their order.
type Outcomes = Vec<Result<Outcome, StoreError>>;

/// Transactions that are written together. Each is applied or refused by itself.
struct Request {
    transactions: Vec<Vec<Write>>,
    answer: oneshot::Sender<Outcomes>,
}

/// The state of the thread. It ends after an error or a panic: the log may then end with a part of a record, and sled may have a part
/// of a group. Every later read and write is refused, and the next start applies the log.
struct WriterThread {
    trees: Arc<Trees>,
    /// `None`: a temporary store.
    log: Option<WriteAheadLog>,
    requests: mpsc::Receiver<Request>,
    groups: Arc<AtomicU64>,
}

/// Evaluated transactions that are not written yet.
struct Group {
    changes: Changes,
    answers: Vec<(oneshot::Sender<Outcomes>, Outcomes)>,
}

fn stopped() -> StoreError {
    StoreError::Unavailable("a write failed: free disk space and restart".to_owned())
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(super) fn start(trees: &Arc<Trees>, log: Option<WriteAheadLog>) -> io::Result<Self> {
        let (mut writer, thread) = Self::new(trees, log);
        let work = move || {
            if let Err(error) = thread.run() {
                tracing::error!(%error, "a write to the embedded store failed");
            }
        };
        writer.thread.0 = Some(thread::Builder::new().name("store-writer".to_owned()).spawn(work)?);
        Ok(writer)
    }

    fn new(trees: &Arc<Trees>, log: Option<WriteAheadLog>) -> (Self, WriterThread) {
        let ((requests, received), groups) = (mpsc::channel(QUEUE), Arc::default());
        let thread = WriterThread { trees: Arc::clone(trees), log, requests: received, groups: Arc::clone(&groups) };
        (Self { requests, thread: Joined(None), groups }, thread)
    }

    /// Applies transactions in order, each by itself. Returns the outcome of each, when they are on disk.
    pub(super) async fn commit(&self, transactions: Vec<Vec<Write>>) -> Outcomes {
        let count = transactions.len();
        let (answer, answered) = oneshot::channel();
        if self.requests.send(Request { transactions, answer }).await.is_ok()
            && let Ok(outcomes) = answered.await
        {
            return outcomes;
        }
        // The thread is ending. When this caller learns of it, every later call must be refused already.
        self.requests.closed().await;
        (0..count).map(|_| Err(stopped())).collect()
    }

    /// # Errors
    /// [`StoreError::Unavailable`]: a write failed.
    pub(super) fn check_running(&self) -> Result<(), StoreError> {
        if self.requests.is_closed() { Err(stopped()) } else { Ok(()) }
    }

    /// The number of groups that were written since the start.
    pub(super) fn groups(&self) -> u64 {
        self.groups.load(Ordering::Relaxed)
    }
}

impl WriterThread {
    fn run(mut self) -> io::Result<()> {
        while let Some(group) = self.evaluate_group() {
            self.write_group(group)?;
        }
        self.log.map_or(Ok(()), |mut log| log.checkpoint(&self.trees))
    }

    /// Waits for requests and evaluates all that wait. `None`: the table was dropped.
    fn evaluate_group(&mut self) -> Option<Group> {
        let mut requests = Vec::new();
        if self.requests.blocking_recv_many(&mut requests, QUEUE) == 0 {
            return None;
        }
        let mut changes = Changes::default();
        let mut answers = Vec::with_capacity(requests.len());
        for Request { transactions, answer } in requests {
            let evaluate = |writes: &Vec<Write>| self.trees.evaluate(writes, &mut changes);
            answers.push((answer, transactions.iter().map(evaluate).collect()));
        }
        Some(Group { changes, answers })
    }

    fn write_group(&mut self, Group { changes, answers }: Group) -> io::Result<()> {
        if !changes.is_empty() {
            if let Some(log) = &mut self.log {
                log.append(&changes)?; // before sled changes: otherwise a crash could leave a part of the group
            }
            self.trees.apply(changes)?;
            self.groups.fetch_add(1, Ordering::Relaxed);
        }
        for (answer, outcomes) in answers {
            drop(answer.send(outcomes)); // the caller may have been cancelled
        }
        self.log.as_mut().map_or(Ok(()), |log| log.checkpoint_if_long(&self.trees))
    }
}

/// A thread that is joined when this is dropped.
struct Joined(Option<JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        drop(self.0.take().map(JoinHandle::join)); // a panic of the thread was logged
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    use tempfile::TempDir;
    use vestibule::store::{Store, Table};

    use super::*;
    use crate::sled_table::{Shared, SledTable};

    /// A store whose thread is not started: the test does its work step by step.
    struct Stepped {
        store: Store,
        table: SledTable,
        thread: WriterThread,
    }

    impl Stepped {
        fn new(directory: &TempDir) -> Self {
            let trees = Trees::open(directory.path(), None).unwrap();
            let log = WriteAheadLog::open(directory.path(), &trees).unwrap();
            Self::with(trees, log)
        }

        fn with(trees: Trees, log: WriteAheadLog) -> Self {
            let trees = Arc::new(trees);
            let (writer, thread) = Writer::new(&trees, Some(log));
            let table = SledTable(Arc::new(Shared { writer, trees }));
            Self { store: Store::new(Arc::new(table.clone())), table, thread }
        }
    }

    fn poll<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn is_stopped<T>(result: &Poll<Result<T, StoreError>>) -> bool {
        matches!(result, Poll::Ready(Err(StoreError::Unavailable(_))))
    }

    fn is_written<T>(result: &Poll<Result<T, StoreError>>) -> bool {
        matches!(result, Poll::Ready(Ok(_)))
    }

    #[test]
    fn group_is_one_record_and_is_answered_only_when_it_is_on_disk() {
        let directory = TempDir::new().unwrap();
        let Stepped { store, table, mut thread } = Stepped::new(&directory);
        let (mut written, mut refused) = (pin!(store.identify("one", None)), pin!(store.identify("two", None)));
        assert!(poll(&mut written).is_pending() && poll(&mut refused).is_pending());
        let group = thread.evaluate_group().unwrap();
        assert_eq!(group.answers.len(), 2);
        assert!(poll(&mut written).is_pending() && poll(&mut refused).is_pending());
        assert_eq!(table.written_groups(), 0);
        thread.write_group(group).unwrap();
        assert!(is_written(&poll(&mut written)) && is_written(&poll(&mut refused)));
        assert!(matches!(poll(&mut pin!(store.identity())), Poll::Ready(Ok(Some(identity))) if identity.id == "one"));
        assert_eq!(table.written_groups(), 1);
        let log = std::fs::read(directory.path().join(crate::sled_table::LOG_FILE)).unwrap();
        assert_eq!(log.split(|byte| *byte == b'\n').count(), 2, "one record, and what is behind it");
    }

    #[test]
    fn read_returns_a_write_only_when_it_is_on_disk() {
        let Stepped { store, mut thread, .. } = Stepped::new(&TempDir::new().unwrap());
        let mut write = pin!(store.identify("one", None));
        assert!(poll(&mut write).is_pending());
        let group = thread.evaluate_group().unwrap();
        assert!(matches!(poll(&mut pin!(store.identity())), Poll::Ready(Ok(None))));
        thread.write_group(group).unwrap();
        assert!(matches!(poll(&mut pin!(store.identity())), Poll::Ready(Ok(Some(identity))) if identity.id == "one"));
    }

    #[test]
    fn group_that_changes_nothing_is_not_written() {
        let Stepped { store, table, mut thread } = Stepped::new(&TempDir::new().unwrap());
        for _ in 0..2 {
            let mut write = pin!(store.identify("one", None));
            assert!(poll(&mut write).is_pending());
            let group = thread.evaluate_group().unwrap();
            thread.write_group(group).unwrap();
            assert!(is_written(&poll(&mut write)));
        }
        assert_eq!(table.written_groups(), 1);
    }

    #[test]
    fn failed_write_changes_nothing_and_refuses_waiting_and_later_calls() {
        let directory = TempDir::new().unwrap();
        let trees = Trees::open(directory.path(), None).unwrap();
        let log = WriteAheadLog::on_a_full_disk(directory.path(), &trees);
        let Stepped { store, table, mut thread } = Stepped::with(trees, log);
        let (mut write, mut later) = (pin!(store.identify("one", None)), pin!(store.identify("two", None)));
        assert!(poll(&mut write).is_pending());
        let group = thread.evaluate_group().unwrap();
        assert!(poll(&mut later).is_pending());
        thread.write_group(group).unwrap_err();
        assert_eq!(table.0.trees.main.len(), 0);
        assert!(poll(&mut write).is_pending(), "it would learn of the error before later calls are refused");
        drop(thread); // as `run` does after an error
        assert!(is_stopped(&poll(&mut write)) && is_stopped(&poll(&mut later)));
        assert!(is_stopped(&poll(&mut pin!(store.identify("three", None)))));
        assert!(is_stopped(&poll(&mut pin!(store.identity()))));
    }

    #[test]
    fn panic_of_the_thread_refuses_later_calls() {
        let Stepped { store, mut thread, .. } = Stepped::new(&TempDir::new().unwrap());
        let mut write = pin!(store.identify("one", None));
        assert!(poll(&mut write).is_pending());
        let panicked = thread::spawn(move || {
            let _group = thread.evaluate_group();
            std::panic::resume_unwind(Box::new("the test says so"));
        });
        assert!(panicked.join().is_err());
        assert!(is_stopped(&poll(&mut write)));
        assert!(is_stopped(&poll(&mut pin!(store.identify("two", None)))));
        assert!(is_stopped(&poll(&mut pin!(store.identity()))));
    }

    #[test]
    fn caller_waits_when_the_queue_is_full() {
        let Stepped { store, mut thread, .. } = Stepped::new(&TempDir::new().unwrap());
        let mut waiting: Vec<_> = (0..=QUEUE).map(|_| Box::pin(store.identify("one", None))).collect();
        for write in &mut waiting {
            assert!(poll(&mut write.as_mut()).is_pending());
        }
        let group = thread.evaluate_group().unwrap();
        assert_eq!(group.answers.len(), QUEUE, "the last one found no room");
        thread.write_group(group).unwrap();
        assert!(poll(&mut waiting[QUEUE].as_mut()).is_pending());
        let group = thread.evaluate_group().unwrap();
        assert_eq!(group.answers.len(), 1);
        thread.write_group(group).unwrap();
        assert!(waiting.iter_mut().all(|write| poll(&mut write.as_mut()).is_ready()));
    }

    #[tokio::test]
    async fn dropped_table_writes_what_was_sent_and_closes_the_database() {
        let directory = TempDir::new().unwrap();
        for id in ["one", "two"] {
            let table: Arc<dyn Table> = Arc::new(SledTable::open(directory.path(), None).unwrap());
            let store = Store::new(table);
            let mut sent = pin!(store.identify(id, None));
            let _cancelled = poll(&mut sent);
        }
        let log = std::fs::metadata(directory.path().join(crate::sled_table::LOG_FILE)).unwrap();
        assert_eq!(log.len(), 0, "a checkpoint was made");
        let table = Arc::new(SledTable::open(directory.path(), None).unwrap());
        assert_eq!(Store::new(table).identity().await.unwrap().unwrap().id, "one");
    }
}
