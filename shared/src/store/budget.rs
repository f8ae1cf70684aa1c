//! A [`Budget`] of an item's list of times, as a guarded write.

use super::write::{Action, Condition, Path, Value, absent, eq, lt, num, size};
use crate::{env::Timestamp, policy::Budget};

/// Takes one from the budget: the guard that there is room still, and the action that notes it. `times` is the list as it
/// was read; `None` where there is no list. While no time is past, tries at once append side by side; a list with past
/// times is replaced, if it is the list that was read.
///
/// # Errors
/// When there is room again, if there is none.
pub(super) fn take(
    path: &Path,
    times: Option<&[i64]>,
    budget: Budget,
    now: Timestamp,
) -> Result<(Vec<Condition>, Action), Timestamp> {
    let fresh = |mut times: Vec<i64>| {
        times.push(now.millis());
        Action::Set(path.clone(), Value::L(times.into_iter().map(num).collect()))
    };
    let Some(times) = times else { return Ok((vec![absent(path.clone())], fresh(Vec::new()))) };
    if let Some(until) = budget.full_until(times, now) {
        return Err(until);
    }
    let counted = budget.counted(times, now);
    let length = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    match times.first() {
        Some(first) if counted.len() < times.len() => {
            let as_read = vec![eq(size(path.clone()), length(times.len())), eq(path.clone().at(0), *first)];
            Ok((as_read, fresh(counted)))
        }
        _ => Ok((vec![lt(size(path.clone()), length(budget.max))], Action::Append(path.clone(), num(now.millis())))),
    }
}
