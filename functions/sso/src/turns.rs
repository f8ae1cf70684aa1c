//! One check of a response after another, and a rest after each that failed: a flood of bad ones leaves the other flows
//! their cores.

use std::{thread, time::Duration};

use tokio::{sync::Semaphore, task::spawn_blocking};
use vestibule::http::{Answer, Code, Problem};

/// How long whoever is refused keeps their turn: no more than 20 bad responses a second are answered.
const REST: Duration = Duration::from_millis(50);

/// Whose turn it is.
static TURN: Semaphore = Semaphore::const_new(1);

/// Checks something, when its turn has come. A turn ends with its check, not with the caller: who hangs up gains nothing.
///
/// # Errors
/// [`Code::Unavailable`]: the check panicked.
pub(crate) async fn in_turn<T, E>(check: impl FnOnce() -> Result<T, E> + Send + 'static) -> Answer<Result<T, E>>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let turn = TURN.acquire().await.map_err(|_| Code::Unavailable)?;
    let checked = spawn_blocking(move || {
        let _turn = turn;
        let checked = check();
        if checked.is_err() {
            thread::sleep(REST);
        }
        checked
    });
    Ok(checked.await.map_err(|_| Code::Unavailable)?)
}

/// A refusal before or after the check. It takes a turn like all others: what was read for it is as long.
pub(crate) async fn refused_in_turn(problem: impl Into<Problem>) -> Problem {
    let _ = in_turn(|| Err::<(), _>(())).await;
    problem.into()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use tokio::{sync::oneshot, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_turn_ends_with_its_check_and_not_with_the_caller() {
        let (began, begun) = oneshot::channel();
        let (end, ended) = mpsc::channel::<()>();
        let gone = tokio::spawn(in_turn(move || {
            let _ = began.send(());
            ended.recv().map_err(drop)
        }));
        begun.await.unwrap();
        gone.abort();
        assert!(gone.await.is_err_and(|it| it.is_cancelled()));
        let mut next = Box::pin(in_turn(|| Ok::<_, ()>(())));
        assert!(timeout(Duration::from_millis(100), &mut next).await.is_err(), "two checks at once");
        end.send(()).unwrap();
        assert!(next.await.is_ok_and(|it| it.is_ok()));
        let begun = Instant::now();
        assert!(in_turn(|| Err::<(), _>(())).await.is_ok_and(|it| it.is_err()));
        assert!(in_turn(|| Ok::<_, ()>(())).await.is_ok_and(|it| it.is_ok()));
        assert!(begun.elapsed() >= REST, "a refusal keeps its turn");
    }
}
