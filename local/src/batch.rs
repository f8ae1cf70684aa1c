//! Rows that are sent in chunks: an import of users, and exclusions. A run that stops says which rows are done, and a later run
//! continues after them.

use std::{ops::Range, pin::pin};

use futures_util::FutureExt;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    Failure,
    admin::Admin,
    args::Format,
    client::{Call, NoAnswer, Reply},
    journal::{Journal, RowResult},
    output::Listing,
    signals::{Interrupted, Signals},
    terminal::{progress, say},
};

/// The maximum number of rows in a chunk. `POST /v1/admin/users/batch` takes no more.
pub(crate) const CHUNK: usize = 200;

/// How often a chunk is sent again if the service is unavailable.
const RETRIES: usize = 3;

/// The columns of the results.
const RESULT: [&str; 5] = ["row", "id", "username", "outcome", "detail"];

/// The rows of a run.
pub(crate) trait Rows {
    /// What the request does, for error messages.
    const ACTION: &str;
    /// The path of the request.
    const PATH: &str;

    /// The chunks, in order: at most [`CHUNK`] rows each. The same file has the same chunks.
    fn chunks(&self) -> Vec<Range<usize>>;

    /// The number of a row, for people.
    fn number(&self, row: usize) -> u64;

    /// The body of the request for a chunk.
    fn body(&self, chunk: &Range<usize>) -> Value;

    /// The results of a chunk in the response. `again`: it was sent before, and that answer was lost.
    fn results(&self, chunk: &Range<usize>, answer: &Value, again: bool) -> Result<Vec<RowResult>, Failure>;

    /// Whether a row with this outcome failed.
    fn has_failed(outcome: &str) -> bool;
}

/// Sends the rows that are not done yet, prints the results of all, and deletes the journal.
///
/// # Errors
/// The run stopped: a later run continues. Or rows failed.
pub(crate) async fn run<R: Rows>(
    admin: &mut Admin,
    rows: &R,
    mut journal: Journal,
    format: Format,
) -> Result<(), Failure> {
    let chunks = rows.chunks();
    let total: usize = chunks.iter().map(Range::len).sum();
    if journal.rows() > 0 {
        say(&format!("Continuing: {} of {total} rows are done.", journal.rows()));
    }
    for (n, chunk) in chunks.iter().enumerate() {
        if journal.is_done(n) {
            continue;
        }
        progress(&format!("{} of {total} rows", journal.rows()));
        if let Err(error) = send_chunk(admin, rows, &mut journal, (n, chunk)).await {
            return Err(stopped(rows, &journal, (n, chunk), total, error));
        }
    }
    progress("");
    let mut listing = Listing::new(&RESULT, format);
    let mut failed = 0;
    for result in journal.results() {
        failed += usize::from(R::has_failed(&result.outcome));
        listing.row(&serde_json::to_value(result)?)?;
    }
    listing.end()?;
    journal.finish()?;
    match failed {
        0 => Ok(()),
        failed => Err(format!("{failed} of {total} rows failed: the columns outcome and detail say why").into()),
    }
}

async fn send_chunk<R: Rows>(
    admin: &mut Admin,
    rows: &R,
    journal: &mut Journal,
    (n, chunk): (usize, &Range<usize>),
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let again = journal.sending(n)?;
    let (key, body) = (journal.key(n), rows.body(chunk));
    let call = Call { idempotency_key: Some(&key), ..Call::post(R::PATH, &body) };
    let mut sent = pin!(send_patiently(admin, call));
    let mut stop = false;
    let answered = tokio::select! {
        answered = &mut sent => answered,
        () = signals.next() => {
            say("Stopping when these rows have their answer. Ctrl-C again stops at once.");
            stop = true;
            tokio::select! {
                answered = &mut sent => answered,
                () = signals.next() => (Err(Interrupted.into()), false),
            }
        }
    };
    let (answered, repeated) = answered;
    let again = again || repeated;
    let is_refused = match &answered {
        Ok(reply) => reply.is_refusal(),
        Err(error) => !error.is::<NoAnswer>() && !error.is::<Interrupted>(),
    };
    if is_refused && !again {
        journal.refused(n)?;
    }
    let results = rows.results(chunk, &answered?.ok(R::ACTION)?, again)?;
    journal.answered(n, results)?;
    if stop || signals.next().now_or_never().is_some() { Err(Interrupted.into()) } else { Ok(()) }
}

/// Sends a request again while the service is unavailable. Returns the last answer, and whether it was sent more than once.
async fn send_patiently(admin: &mut Admin, call: Call<'_>) -> (Result<Reply, Failure>, bool) {
    for n in 0..RETRIES {
        let answered = admin.send(call.clone()).await;
        match answered.as_ref().ok().and_then(Reply::unavailable) {
            Some(wait) => sleep(wait).await,
            None => return (answered, n > 0),
        }
    }
    (admin.send(call).await, true)
}

/// Why a run stopped, which rows are done, and how to go on.
fn stopped<R: Rows>(
    rows: &R,
    journal: &Journal,
    (n, chunk): (usize, &Range<usize>),
    total: usize,
    error: Failure,
) -> Failure {
    let (first, last) = (rows.number(chunk.start), rows.number(chunk.end.saturating_sub(1)));
    let unknown = match journal.is_unanswered(n) {
        true => format!(", and rows {first} to {last} were sent without an answer: they may or may not be done"),
        false => String::new(),
    };
    let done = journal.rows();
    let advice = match journal.is_saved() {
        true => "Run the same command again to continue.",
        false => "The same command starts from the first row again.",
    };
    let note = format!("{done} of {total} rows are done{unknown}. {advice}");
    if error.is::<Interrupted>() {
        say(&note);
        return error;
    }
    progress("");
    format!("{error}\n{note}").into()
}
