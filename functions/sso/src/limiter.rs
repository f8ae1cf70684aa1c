//! Limits the work that SAML responses can cause. Anyone can post a response to any tenant, and an invalid one takes as much
//! work as a valid one.
//!
//! - The process checks one response at a time.
//! - A refusal is answered after a pause. The pauses of the whole process follow one another, so it answers at most 20
//!   refusals a second, however many requests arrive. The other flows keep their CPU time.
//! - A pause delays only its own lane. A lane is a pair of a tenant, as the path names it, and a client network. So a flood at
//!   one tenant, or from one network, delays no other lane.
//! - The number of requests is limited: in a lane, of a tenant, of a network, and in total. Above a limit the response is 503. The
//!   body is then discarded, and the store is not read.
//!
//! A lane exists while a request has a place in it. So there are at most as many lanes as places, and no lane has to be evicted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::extract::{FromRequest, FromRequestParts, Path, Request as HttpRequest};
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};
use vestibule::{
    http::{ApiResult, App, Body, Code, NoBody, Peer, Problem},
    id::TenantId,
};

/// Pause after a refusal.
const PAUSE: Duration = Duration::from_millis(50);
/// Delay before a request without a place is answered, so that one connection sends at most one such request a second.
const FULL: Duration = Duration::from_secs(1);

/// Places in one lane. A full lane is empty after 32 pauses: 1.6 seconds.
const LANE: usize = 32;
/// Places of one tenant, and of one network.
const SHARE: usize = 64;
/// Places in total. Each may hold a body of 256 KiB: 64 MiB together.
const TOTAL: usize = 256;

/// Why [`Place::check`] returns nothing.
#[derive(Debug)]
pub(crate) enum CheckError<E> {
    /// The check refused the response.
    Refused(E),
    /// The check did not end: it panicked.
    Failed,
}

/// The limits of one process, shared by its requests.
pub(crate) struct Limiter {
    lanes: Mutex<Lanes>,
    /// One check at a time.
    checking: Semaphore,
}

#[derive(Default)]
struct Lanes {
    all: BTreeMap<Key, Lane>,
    /// When the last pause ends.
    paused_until: Option<Instant>,
}

/// Names a lane.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// `None`: the path holds no valid tenant id.
    tenant: Option<TenantId>,
    network: String,
}

struct Lane {
    /// How many places are taken.
    places: usize,
    /// One request of a lane at a time is checked or pauses.
    turn: Arc<Semaphore>,
}

/// A request's place in its lane, until the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Place(Arc<Taken>);

/// Gives the place back when it is dropped.
struct Taken {
    limiter: Arc<Limiter>,
    key: Key,
    turn: Arc<Semaphore>,
}

/// A request that has a place. The request was read only after it got the place.
pub(crate) struct Placed<C> {
    pub(crate) place: Place,
    pub(crate) call: ApiResult<C>,
}

impl Limiter {
    pub(crate) fn new() -> Self {
        Self { lanes: Mutex::default(), checking: Semaphore::new(1) }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in the lane of this tenant and network. `None`: a limit is reached.
    fn place(self: &Arc<Self>, tenant: Option<TenantId>, network: String) -> Option<Place> {
        let key = Key { tenant, network };
        let mut lanes = self.lanes();
        let taken = |is: &dyn Fn(&Key) -> bool| -> usize {
            lanes.all.iter().filter(|(key, _)| is(key)).map(|(_, lane)| lane.places).sum()
        };
        let full = taken(&|_| true) >= TOTAL
            || taken(&|other| other.tenant == key.tenant) >= SHARE
            || taken(&|other| other.network == key.network) >= SHARE
            || taken(&|other| *other == key) >= LANE;
        if full {
            return None;
        }
        let new = || Lane { places: 0, turn: Arc::new(Semaphore::new(1)) };
        let lane = lanes.all.entry(key.clone()).or_insert_with(new);
        lane.places += 1;
        let turn = Arc::clone(&lane.turn);
        drop(lanes);
        Some(Place(Arc::new(Taken { limiter: Arc::clone(self), key, turn })))
    }

    /// Begins a pause, after all earlier ones, and returns when it ends.
    fn pause(&self) -> Instant {
        let mut lanes = self.lanes();
        let until = lanes.paused_until.unwrap_or_else(Instant::now).max(Instant::now()) + PAUSE;
        lanes.paused_until = Some(until);
        until
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut lanes = self.limiter.lanes();
        if let Some(lane) = lanes.all.get_mut(&self.key) {
            lane.places -= 1;
            if lane.places == 0 {
                lanes.all.remove(&self.key);
            }
        }
    }
}

impl Place {
    /// Waits for the lane and the process, then checks a response. Once begun, the check and its pause continue without the
    /// caller, so that closing the connection does not avoid the pause.
    ///
    /// # Errors
    /// [`CheckError`]: the check refused the response, or failed.
    pub(crate) async fn check<T, E>(
        &self,
        check: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, CheckError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let turn = Arc::clone(&self.0.turn).acquire_owned().await.map_err(|_| CheckError::Failed)?;
        let place = self.clone();
        let checked = tokio::spawn(async move {
            let limiter = &place.0.limiter;
            let checking = limiter.checking.acquire().await;
            let checked = spawn_blocking(check).await;
            drop(checking);
            if !matches!(checked, Ok(Ok(_))) {
                sleep_until(limiter.pause()).await;
            }
            drop(turn);
            checked
        });
        match checked.await {
            Ok(Ok(checked)) => checked.map_err(CheckError::Refused),
            Ok(Err(_)) | Err(_) => Err(CheckError::Failed),
        }
    }

    /// Returns the problem after a pause, for a refusal without a check or after one.
    pub(crate) async fn refuse(&self, problem: impl Into<Problem>) -> Problem {
        if let Ok(turn) = Arc::clone(&self.0.turn).acquire_owned().await {
            let place = self.clone();
            let paused = tokio::spawn(async move {
                sleep_until(place.0.limiter.pause()).await;
                drop(turn);
            });
            let _ = paused.await;
        }
        problem.into()
    }
}

impl<C: FromRequest<Arc<App>, Rejection = Problem>> FromRequest<Arc<App>> for Placed<C> {
    type Rejection = Problem;

    async fn from_request(request: HttpRequest, app: &Arc<App>) -> ApiResult<Self> {
        let (mut parts, body) = request.into_parts();
        let tenant = Path::<TenantId>::from_request_parts(&mut parts, app).await.ok().map(|Path(tenant)| tenant);
        let network = Peer::network_of(parts.extensions.get::<Peer>().copied());
        let limiter = parts.extensions.get::<Arc<Limiter>>().cloned().ok_or(Code::Unavailable)?;
        let Some(place) = limiter.place(tenant, network) else {
            // A client reads the response only when its body was received, so the body is read and discarded.
            let _ = NoBody::read(&parts.headers, body).await;
            sleep(FULL).await;
            return Err(Code::Unavailable.into());
        };
        let call = C::from_request(HttpRequest::from_parts(parts, body), app).await;
        Ok(Self { place, call })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::{sync::oneshot, time::timeout};

    use super::*;

    fn lane(limiter: &Arc<Limiter>, tenant: &str, network: &str) -> Option<Place> {
        limiter.place(TenantId::parse(tenant).ok(), network.to_owned())
    }

    #[tokio::test]
    async fn check_outlives_its_caller_and_excludes_other_lanes() {
        let limiter = Arc::new(Limiter::new());
        let (acme, globex) = (lane(&limiter, "acme", "1").unwrap(), lane(&limiter, "globex", "1").unwrap());
        let (started, has_started) = oneshot::channel();
        let (end, wait_for_end) = mpsc::channel::<()>();
        let caller = tokio::spawn(async move {
            let check = move || {
                let _ = started.send(());
                wait_for_end.recv().map_err(drop)
            };
            acme.check(check).await
        });
        has_started.await.unwrap();
        caller.abort();
        assert!(caller.await.is_err_and(|it| it.is_cancelled()));
        let mut next = Box::pin(globex.check(|| Ok::<_, ()>(())));
        assert!(timeout(Duration::from_millis(100), &mut next).await.is_err(), "two checks ran at the same time");
        assert_eq!(limiter.lanes().all.len(), 2, "the place was released before the check ended");
        end.send(()).unwrap();
        assert!(next.await.is_ok());
    }

    /// A limiter with so many pauses ahead that a request that pauses is still waiting at the end of the test.
    fn busy() -> Arc<Limiter> {
        let limiter = Arc::new(Limiter::new());
        for _ in 0..1000 {
            let _ = limiter.pause();
        }
        limiter
    }

    async fn waits(place: &Place) -> bool {
        timeout(Duration::from_millis(100), place.check(|| Ok::<_, ()>(()))).await.is_err()
    }

    #[tokio::test]
    async fn refusal_delays_only_its_own_lane() {
        for checked in [true, false] {
            let limiter = busy();
            let [one, same, tenant, network] = [("acme", "1"), ("acme", "1"), ("globex", "1"), ("acme", "2")]
                .map(|(tenant, network)| lane(&limiter, tenant, network).unwrap());
            let before = limiter.lanes().paused_until;
            let refused = tokio::spawn(async move {
                if checked {
                    let _ = one.check(|| Err::<(), _>(())).await;
                } else {
                    one.refuse(Code::InvalidCredentials).await;
                }
            });
            while limiter.lanes().paused_until == before {
                tokio::task::yield_now().await;
            }
            assert!(!waits(&tenant).await && !waits(&network).await, "another lane was delayed");
            // Closing the connection does not end the pause.
            refused.abort();
            assert!(waits(&same).await, "the same lane was not delayed");
        }
    }

    #[tokio::test]
    async fn pauses_of_all_lanes_are_sequential() {
        let limiter = Arc::new(Limiter::new());
        let started_at = Instant::now();
        let first = limiter.pause();
        assert!(first >= started_at + PAUSE && limiter.pause() == first + PAUSE);
        let (acme, globex) = (lane(&limiter, "acme", "1").unwrap(), lane(&limiter, "globex", "1").unwrap());
        let (_, checked) =
            futures_util::join!(acme.refuse(Code::InvalidCredentials), globex.check(|| Err::<(), _>(())));
        assert!(matches!(checked, Err(CheckError::Refused(()))));
        assert!(started_at.elapsed() >= 4 * PAUSE);
    }

    #[test]
    fn places_are_limited_per_lane_tenant_network_and_process() {
        let check = |count: usize, of: &dyn Fn(usize) -> (String, String), other: (&str, &str)| {
            let limiter = Arc::new(Limiter::new());
            let take = |n| {
                let (tenant, network) = of(n);
                lane(&limiter, &tenant, &network)
            };
            let mut held: Vec<_> = (0..count).map(|n| take(n).unwrap()).collect();
            assert!(take(count).is_none(), "no limit at {count}");
            assert_eq!(lane(&limiter, other.0, other.1).is_some(), count < TOTAL, "another lane at {count}");
            held.pop();
            held.push(take(count).expect("a place was released"));
            assert!(take(count).is_none(), "more than one place was released at {count}");
            drop(held);
            assert!(limiter.lanes().all.is_empty(), "lanes stay");
        };
        check(LANE, &|_| ("acme".to_owned(), "1".to_owned()), ("acme", "2"));
        check(SHARE, &|n| ("acme".to_owned(), n.to_string()), ("globex", "1"));
        check(SHARE, &|n| (format!("t{n}"), "1".to_owned()), ("t1", "2"));
        // All invalid tenant ids count as one tenant.
        check(SHARE, &|n| ("/".to_owned(), n.to_string()), ("acme", "1"));
        check(TOTAL, &|n| (format!("t{n}"), n.to_string()), ("acme", "x"));
    }
}
