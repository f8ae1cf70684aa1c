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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::write::{Item, Key, Write, attr};

    const BUDGET: Budget = Budget { max: 3, window: Duration::from_secs(60) };

    fn list(secs: &[i64]) -> Value {
        Value::L(secs.iter().map(|secs| num(secs * 1000)).collect())
    }

    /// Whether an attempt at `now` that read the list as it was `read` makes `after` of the stored list. Without `after`, whether it is
    /// refused.
    fn makes(read: &[i64], stored: &[i64], now: i64, after: Option<&[i64]>) -> bool {
        let read: Vec<_> = read.iter().copied().map(Timestamp::from_secs).collect();
        let (conditions, action) = take(&attr("t"), Some(&read), BUDGET, Timestamp::from_secs(now)).unwrap();
        let key = Key { pk: "p".to_owned(), sk: "s".to_owned() };
        let item: Item = [("t".to_owned(), list(stored))].into();
        let written = Write::update(key, conditions, vec![action]).apply(Some(item)).ok().flatten();
        written.and_then(|item| item.get("t").cloned()) == after.map(list)
    }

    #[test]
    fn concurrent_attempts_append_up_to_the_maximum() {
        assert!(makes(&[100], &[100], 110, Some(&[100, 110])));
        assert!(makes(&[100], &[100, 105], 110, Some(&[100, 105, 110])));
        assert!(makes(&[100], &[100, 105, 106], 110, None));
    }

    #[test]
    fn list_with_expired_times_is_replaced_only_as_it_was_read() {
        assert!(makes(&[100, 150], &[100, 150], 170, Some(&[150, 170])));
        // Another attempt replaced it.
        assert!(makes(&[100, 150], &[150, 165], 170, None));
        // Another attempt, whose clock is behind, appended to it.
        assert!(makes(&[100, 150], &[100, 150, 155], 170, None));
    }
}
