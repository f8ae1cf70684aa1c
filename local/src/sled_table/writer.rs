//! The writer of the embedded store: one thread that applies all transactions, and flushes them in groups.
//!
//! A flush costs more than a transaction. So the thread takes every request that waits, applies its transactions in order, flushes
//! once for this group, and only then answers. Nothing is returned that a crash could undo. A refusal waits for the flush too,
//! because it can show a write of the same group. A read waits for the flush of each group that it may have seen.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::sync::{mpsc, oneshot, watch};
use vestibule::store::{StoreError, write::Write};

use super::{Outcome, Trees};

/// How many requests may wait. A group has at most as many. Further callers wait until there is room.
const QUEUE: usize = 256;

/// Sends transactions to the thread. When it is dropped, it waits until the thread has applied what was sent, and ends.
pub(super) struct Writer {
    // The order matters: the thread ends after the last sender is dropped.
    requests: mpsc::Sender<Request>,
    progress: watch::Receiver<Progress>,
    thread: Joined,
}

/// Transactions that are flushed together. Each is applied or refused by itself.
struct Request {
    transactions: Vec<Vec<Write>>,
    answer: oneshot::Sender<Vec<Outcome>>,
}

/// Numbers of groups. Between `flushed` and `begun`, the database in memory is ahead of the disk.
#[derive(Default)]
struct Progress {
    begun: u64,
    flushed: u64,
}

/// The state of the thread. It ends after an error or a panic, because sled accepts no more writes then. The group that it had
/// begun is never flushed, so every later read and write is refused.
struct WriterThread {
    trees: Arc<Trees>,
    requests: mpsc::Receiver<Request>,
    progress: watch::Sender<Progress>,
}

/// The answers of a group, which are sent after the flush.
type Answers = Vec<(oneshot::Sender<Vec<Outcome>>, Vec<Outcome>)>;

fn stopped() -> StoreError {
    StoreError::Unavailable("a write failed: free disk space and restart".to_owned())
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(super) fn start(trees: &Arc<Trees>) -> sled::Result<Self> {
        let (mut writer, thread) = Self::new(trees);
        let work = move || {
            if let Err(error) = thread.run() {
                tracing::error!(%error, "a write to the embedded store failed");
            }
        };
        writer.thread.0 = Some(thread::Builder::new().name("store-writer".to_owned()).spawn(work)?);
        Ok(writer)
    }

    fn new(trees: &Arc<Trees>) -> (Self, WriterThread) {
        let ((requests, received), (sender, progress)) = (mpsc::channel(QUEUE), watch::channel(Progress::default()));
        let thread = WriterThread { trees: Arc::clone(trees), requests: received, progress: sender };
        (Self { requests, progress, thread: Joined(None) }, thread)
    }

    /// Applies transactions in order, each by itself, and flushes once. Returns the outcome of each.
    pub(super) async fn commit(&self, transactions: Vec<Vec<Write>>) -> Vec<Outcome> {
        let count = transactions.len();
        let (answer, answered) = oneshot::channel();
        if self.requests.send(Request { transactions, answer }).await.is_ok()
            && let Ok(outcomes) = answered.await
        {
            return outcomes;
        }
        (0..count).map(|_| Err(stopped())).collect()
    }

    /// Waits until every write that a read before this call may have seen is on disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: a write failed.
    pub(super) async fn flushed(&self) -> Result<(), StoreError> {
        let mut progress = self.progress.clone();
        let begun = progress.borrow().begun;
        progress.wait_for(|progress| progress.flushed >= begun).await.map(drop).map_err(|_| stopped())
    }

    /// The number of flushes since the start.
    pub(super) fn flushes(&self) -> u64 {
        self.progress.borrow().flushed
    }
}

impl WriterThread {
    fn run(mut self) -> sled::Result<()> {
        while let Some(answers) = self.apply_group()? {
            self.flush_group(answers)?;
        }
        Ok(())
    }

    /// Waits for requests and applies all that wait. `None`: the table was dropped.
    fn apply_group(&mut self) -> sled::Result<Option<Answers>> {
        let mut requests = Vec::new();
        if self.requests.blocking_recv_many(&mut requests, QUEUE) == 0 {
            return Ok(None);
        }
        // Before a read can see a write of the group. Nobody waits for this, so nobody is woken.
        self.progress.send_if_modified(|progress| {
            progress.begun += 1;
            false
        });
        let mut answers = Vec::with_capacity(requests.len());
        for Request { transactions, answer } in requests {
            let outcomes: sled::Result<_> = transactions.iter().map(|writes| self.trees.commit(writes)).collect();
            answers.push((answer, outcomes?));
        }
        Ok(Some(answers))
    }

    fn flush_group(&self, answers: Answers) -> sled::Result<()> {
        self.trees.main.flush()?;
        self.progress.send_modify(|progress| progress.flushed = progress.begun);
        for (answer, outcomes) in answers {
            drop(answer.send(outcomes)); // the caller may have been cancelled
        }
        Ok(())
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

    use vestibule::store::{Store, Table, keys};

    use super::*;
    use crate::sled_table::{Shared, SledTable};

    fn trees() -> Arc<Trees> {
        Arc::new(Trees::open(sled::Config::new().temporary(true).open().unwrap(), None).unwrap())
    }

    /// A store whose thread is not started: the test does its work step by step.
    fn store() -> (Store, SledTable, WriterThread) {
        let trees = trees();
        let (writer, thread) = Writer::new(&trees);
        let table = SledTable(Arc::new(Shared { writer, trees }));
        (Store::new(Arc::new(table.clone())), table, thread)
    }

    fn poll<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn is_stopped<T>(result: &Poll<Result<T, StoreError>>) -> bool {
        matches!(result, Poll::Ready(Err(StoreError::Unavailable(_))))
    }

    #[test]
    fn group_is_flushed_once_and_answered_only_then() {
        let (store, table, mut thread) = store();
        let (mut written, mut refused) = (pin!(store.identify("one", None)), pin!(store.identify("two", None)));
        assert!(poll(&mut written).is_pending() && poll(&mut refused).is_pending());
        let answers = thread.apply_group().unwrap().unwrap();
        assert_eq!(answers.len(), 2);
        assert!(table.0.trees.get(&super::super::main_key(&keys::identity())).unwrap().is_some(), "applied in memory");
        assert!(poll(&mut written).is_pending() && poll(&mut refused).is_pending());
        assert_eq!(table.flushes(), 0);
        thread.flush_group(answers).unwrap();
        assert!(matches!((poll(&mut written), poll(&mut refused)), (Poll::Ready(Ok(())), Poll::Ready(Ok(())))));
        assert_eq!(table.flushes(), 1);
    }

    #[test]
    fn read_returns_a_write_only_after_its_flush() {
        let (store, _, mut thread) = store();
        assert!(matches!(poll(&mut pin!(store.identity())), Poll::Ready(Ok(None))), "nothing waits: no delay");
        let mut write = pin!(store.identify("one", None));
        assert!(poll(&mut write).is_pending());
        let answers = thread.apply_group().unwrap().unwrap();
        let mut read = pin!(store.identity());
        assert!(poll(&mut read).is_pending());
        thread.flush_group(answers).unwrap();
        assert!(matches!(poll(&mut read), Poll::Ready(Ok(Some(identity))) if identity.id == "one"));
    }

    #[test]
    fn failed_write_refuses_waiting_and_later_calls() {
        let (store, _, mut thread) = store();
        let mut write = pin!(store.identify("one", None));
        assert!(poll(&mut write).is_pending());
        let answers = thread.apply_group().unwrap();
        let mut read = pin!(store.identity());
        assert!(poll(&mut read).is_pending());
        drop((answers, thread)); // as after an error of the flush
        assert!(is_stopped(&poll(&mut write)) && is_stopped(&poll(&mut read)));
        assert!(is_stopped(&poll(&mut pin!(store.identify("two", None)))));
        assert!(is_stopped(&poll(&mut pin!(store.identity()))));
    }

    #[test]
    fn panic_of_the_thread_refuses_later_calls() {
        let (store, _, mut thread) = store();
        let mut write = pin!(store.identify("one", None));
        assert!(poll(&mut write).is_pending());
        let panicked = thread::spawn(move || {
            let _answers = thread.apply_group();
            std::panic::resume_unwind(Box::new("the test says so"));
        });
        assert!(panicked.join().is_err());
        assert!(is_stopped(&poll(&mut write)));
        assert!(is_stopped(&poll(&mut pin!(store.identify("two", None)))));
        assert!(is_stopped(&poll(&mut pin!(store.identity()))));
    }

    #[test]
    fn caller_waits_when_the_queue_is_full() {
        let (store, _, mut thread) = store();
        let mut waiting: Vec<_> = (0..=QUEUE).map(|_| Box::pin(store.identify("one", None))).collect();
        for write in &mut waiting {
            assert!(poll(&mut write.as_mut()).is_pending());
        }
        let answers = thread.apply_group().unwrap().unwrap();
        assert_eq!(answers.len(), QUEUE, "the last one found no room");
        thread.flush_group(answers).unwrap();
        assert!(poll(&mut waiting[QUEUE].as_mut()).is_pending());
        let answers = thread.apply_group().unwrap().unwrap();
        assert_eq!(answers.len(), 1);
        thread.flush_group(answers).unwrap();
        assert!(waiting.iter_mut().all(|write| poll(&mut write.as_mut()).is_ready()));
    }

    #[tokio::test]
    async fn dropped_table_applies_what_was_sent_and_closes_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let db = sled::Config::new().path(folder.path()).open().unwrap();
            Arc::new(SledTable::new(db, None).unwrap())
        };
        for id in ["one", "two"] {
            let table: Arc<dyn Table> = open();
            let store = Store::new(table);
            let mut sent = pin!(store.identify(id, None));
            let _cancelled = poll(&mut sent);
        }
        let table = open();
        assert_eq!(Store::new(table).identity().await.unwrap().unwrap().id, "one");
    }
}
