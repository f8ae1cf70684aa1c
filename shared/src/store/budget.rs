//! A [`Budget`] over a list of times in an item, as conditions and an action of a write.

use super::write::{Action, Condition, Path, Value, absent, eq, lt, num, size};
use crate::{env::Timestamp, policy::Budget};

/// Takes one event from the budget: the condition that one is still allowed, and the action that adds it. `times` is
/// the list as it was read; `None` if there is none. While no time has left the window, concurrent attempts append. A
/// list with expired times is replaced, on condition that it is unchanged.
///
/// # Errors
/// The time when the next event is allowed, if none is now.
pub(super) fn take(
    path: &Path,
    times: Option<&[Timestamp]>,
    budget: Budget,
    now: Timestamp,
) -> Result<(Vec<Condition>, Action), Timestamp> {
    let fresh = |mut times: Vec<Timestamp>| {
        times.push(now);
        Action::Set(path.clone(), Value::L(times.into_iter().map(|at| num(at.millis())).collect()))
    };
    let Some(times) = times else { return Ok((vec![absent(path.clone())], fresh(Vec::new()))) };
    if let Some(until) = budget.full_until(times, now) {
        return Err(until);
    }
    let counted = budget.counted(times, now);
    let length = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    match times.first() {
        Some(first) if counted.len() < times.len() => {
            let as_read = vec![eq(size(path.clone()), length(times.len())), eq(path.clone().at(0), first.millis())];
            Ok((as_read, fresh(counted)))
        }
        _ => Ok((vec![lt(size(path.clone()), length(budget.max))], Action::Append(path.clone(), num(now.millis())))),
    }
}
