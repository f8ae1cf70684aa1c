//! Mailed tokens: limits of requests, issuing a token, and using one.

mod confirm;
mod issue;

pub use confirm::{MailTokenError, ResetPasswordError};
pub use issue::{ChargedMail, IssueRejection, IssuedToken};

use super::{
    OperationError, Store, StoreError, budget, keys,
    login::Exhausted,
    table::{Retry, Updated},
    write::{Action, Condition, Value, Write, attr, lt, num, size},
};
use crate::{
    auth::mail_token::MailRejection,
    domain::{MailLog, NotCharged},
    env::Timestamp,
    policy::Budget,
    sign_in::Attempt,
};

/// How often the charge of a network is tried again, if other requests of the network come between.
const MAX_CHARGES: usize = 32;

impl Store {
    /// Counts a request for a mail at its client network, whatever the tenant. A request without a response may count twice.
    ///
    /// # Errors
    /// [`Exhausted`]: the network made too many requests. If the store failed, the request may have been counted.
    pub async fn charge_mail_request(&self, network: &str, attempt: &Attempt) -> Result<(), OperationError<Exhausted>> {
        let (now, window) = (attempt.at(), Budget::MAIL_REQUESTS.window);
        let times = || attr("w");
        let charge = |conditions: Vec<Condition>, action: Action| {
            let ttl = Action::Set(attr("ttl"), num((now + window).secs()));
            Write::update(keys::mail_requests(network), conditions, vec![action, ttl])
        };
        // The first try is without a read: it needs a list that is not full. Times that have left the window stay in it until it
        // is full.
        let most = i64::try_from(Budget::MAIL_REQUESTS.max).unwrap_or(i64::MAX);
        let mut write = charge(vec![lt(size(times()), most)], Action::Append(times(), num(now.millis())));
        for _ in 0..MAX_CHARGES {
            let found = match self.table.update(&write, Retry::Idempotent).await? {
                Updated::Written(_) => return Ok(()),
                Updated::Refused(found) => found.unwrap_or_default(),
            };
            let counted = found.get("w").map(stored_times).transpose()?;
            let (conditions, action) = budget::take(&times(), counted.as_deref(), Budget::MAIL_REQUESTS, now)
                .map_err(|retry_at| OperationError::Rejected(Exhausted { retry_at }))?;
            write = charge(conditions, action);
        }
        Err(StoreError::Contended("other requests of the same network keep coming".into()).into())
    }
}

/// The times of a list of milliseconds.
fn stored_times(value: &Value) -> Result<Vec<Timestamp>, StoreError> {
    let corrupt = || StoreError::Corrupt("the requests of a client network are no list of times".into());
    let Value::L(times) = value else { return Err(corrupt()) };
    let time = |time: &Value| match time {
        Value::N(digits) => digits.parse().map(Timestamp::from_millis).map_err(|_| corrupt()),
        _ => Err(corrupt()),
    };
    times.iter().map(time).collect()
}

#[cfg(test)]
mod tests;
