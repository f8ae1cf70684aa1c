//! Budgets, windows and delays, computed here as data; a guard of the store only compares attributes with them.

use std::time::Duration;

use crate::env::Timestamp;

/// How long a challenge lives (security.md 4).
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(5 * 60);
/// How long an enrolment token, and a pending enrolment, lives (security.md 4, 20).
pub const ENROLMENT_LIFE: Duration = Duration::from_secs(10 * 60);
/// Tries at one challenge, one pending enrolment or one reset code.
pub const MAX_ATTEMPTS: i64 = 5;
/// Failed codes of one person in [`WINDOW`], over all doors (security.md 28).
pub const MAX_RECENT_ATTEMPTS: usize = 10;
/// The window of [`MAX_RECENT_ATTEMPTS`] and of [`NETWORK_CHALLENGES`].
pub const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Failed codes in a row that disable a factor (NIST SP 800-63B-4, 3.2.2).
pub const MAX_CONSECUTIVE_FAILURES: i64 = 100;
/// Challenges and enrolment tokens of one person from one client network in [`WINDOW`] (security.md 31).
pub const NETWORK_CHALLENGES: usize = 20;
/// How long a session may be idle.
pub const SESSION_IDLE: Duration = Duration::from_secs(30 * 60);
/// How long a session lives at most.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// How long the session of an excluded contact lives at most (security.md 46).
pub const EXEMPT_SESSION_LIFE: Duration = Duration::from_secs(8 * 3600);
/// Sessions of one person; the oldest goes.
pub const SESSIONS: usize = 10;
/// Known devices of one person; the least recently used goes.
pub const DEVICES: usize = 5;
/// How long a device is known.
pub const DEVICE_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// How long a step-up is fresh.
pub const STEP_UP_LIFE: Duration = Duration::from_secs(300);
/// How long after a recovery sign-in a new token may be fetched or a device enrolled (security.md 34).
pub const RECOVERY_GRACE: Duration = Duration::from_secs(10 * 60);
/// How long after a reset one may enrol (security.md 39).
pub const ENROL_WINDOW: Duration = Duration::from_secs(72 * 3600);
/// How long a reset code lives (security.md 39).
pub const RESET_CODE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// An account without a factor that saw no sign-in, creation or reset for so long must be reset (security.md 41).
pub const DORMANT: Duration = Duration::from_secs(90 * 86_400);
/// Use of a session is noted at most so often.
pub const LAST_SEEN_INTERVAL: Duration = Duration::from_secs(60);
/// How far apart the clocks of two instances may be.
pub const SKEW: Duration = Duration::from_secs(60);

/// The delays after failed passwords (security.md 13): none for four failures, then 1 s doubling to 15 minutes.
///
/// A rung `(n, at)` says: with at most `n` failures since the last success, a try is admitted when the last one was
/// counted at `at` or before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    steps: Vec<(i64, Timestamp)>,
    cap: Timestamp,
    future: Timestamp,
}

const FREE: i64 = 5;
const DOUBLINGS: i64 = 10;
const LONGEST: Duration = Duration::from_secs(900);

impl Backoff {
    /// The ladder as of now.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let steps = (0..DOUBLINGS).map(|n| (FREE + n, now - Duration::from_secs(1 << n))).collect();
        // A failure counted far in the future was counted by a clock that ran ahead: it must not lock anybody out.
        Self { steps, cap: now - LONGEST, future: now + LONGEST }
    }

    /// Failures that cost no delay.
    #[must_use]
    pub fn free(&self) -> i64 {
        FREE
    }

    /// The rungs, fewest failures first.
    #[must_use]
    pub fn steps(&self) -> &[(i64, Timestamp)] {
        &self.steps
    }

    /// Whatever the number of failures, a try is admitted when the last was counted at this moment or before.
    #[must_use]
    pub fn cap(&self) -> Timestamp {
        self.cap
    }

    /// A last try counted after this moment does not count as one.
    #[must_use]
    pub fn future(&self) -> Timestamp {
        self.future
    }

    /// When the next try is admitted after `failures`, the last one counted at `last`.
    #[must_use]
    pub fn retry_at(failures: i64, last: Timestamp) -> Timestamp {
        let wait = match failures - FREE {
            n if n < 0 => Duration::ZERO,
            n if n < DOUBLINGS => Duration::from_secs(1 << n),
            _ => LONGEST,
        };
        last + wait
    }
}

/// Client networks of one person whose challenges are counted; the one that was quiet longest goes.
pub const NETWORKS: usize = 16;
/// Live challenges of one person.
pub const CHALLENGES: usize = 24;
/// Live enrolment tokens of one person: more than a client network may ask for, so that each lives its ten minutes.
pub const ENROLMENT_TOKENS: usize = 24;
/// MFA resets by one Administrator in [`RESET_WINDOW`] (security.md 37).
pub const OWN_RESETS: usize = 10;
/// MFA resets in one tenant in [`RESET_WINDOW`] (security.md 37).
pub const TENANT_RESETS: usize = 50;
/// The window of [`OWN_RESETS`] and [`TENANT_RESETS`].
pub const RESET_WINDOW: Duration = Duration::from_secs(3600);
/// Wrong passwords in a row that are told of, once a day.
pub const NOTIFY_FAILURES: i64 = 5;
/// Wrong passwords in a row that are told of as an attack (security.md 13).
pub const ATTACK_FAILURES: i64 = 100;
/// Wrong codes at one challenge after a right password that are told of (security.md 23).
pub const NOTIFY_CODES: i64 = 3;
/// Failed codes since the factor began that are told of, again and again: the slow attacker.
pub const SLOW_FAILURES: i64 = 50;

/// A number of events in a sliding window, kept as the list of their times.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// How many.
    pub most: usize,
    /// In how long.
    pub window: Duration,
}

impl Budget {
    /// Challenges and enrolment tokens of a client network.
    pub const NETWORK: Self = Self { most: NETWORK_CHALLENGES, window: WINDOW };
    /// An Administrator's own resets.
    pub const OWN_RESETS: Self = Self { most: OWN_RESETS, window: RESET_WINDOW };
    /// A tenant's resets.
    pub const TENANT_RESETS: Self = Self { most: TENANT_RESETS, window: RESET_WINDOW };

    /// Those of the times that still count; a time too far in the future was noted by a clock that ran ahead.
    #[must_use]
    pub fn counted(&self, times: &[i64], now: Timestamp) -> Vec<i64> {
        let (from, to) = ((now - self.window).millis(), (now + self.window).millis());
        times.iter().copied().filter(|at| *at > from && *at <= to).collect()
    }

    /// When there is room again, if there is none now.
    #[must_use]
    pub fn full_until(&self, times: &[i64], now: Timestamp) -> Option<Timestamp> {
        let counted = self.counted(times, now);
        let oldest = counted.get(counted.len().checked_sub(self.most)?)?;
        Some(Timestamp::from_millis(*oldest) + self.window)
    }
}

/// Whole seconds to wait, at least one, for `Retry-After`.
#[must_use]
pub fn retry_after_secs(now: Timestamp, at: Timestamp) -> u32 {
    let millis = at.millis().saturating_sub(now.millis()).max(1);
    u32::try_from(millis.saturating_add(999) / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_quarter_of_an_hour() {
        let at = Timestamp::from_secs(1_000_000);
        let waits: Vec<i64> = (0..17).map(|n| Backoff::retry_at(n, at).secs() - at.secs()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    }

    #[test]
    fn a_rung_admits_exactly_when_its_wait_is_over() {
        let last = Timestamp::from_secs(1_000_000);
        for failures in FREE..FREE + DOUBLINGS {
            let due = Backoff::retry_at(failures, last);
            let admits = |now| Backoff::at(now).steps().iter().any(|&(n, at)| failures <= n && last <= at);
            assert!(admits(due) && !admits(due - Duration::from_millis(1)), "{failures}");
        }
    }

    #[test]
    fn times_out_of_the_window_do_not_count_neither_old_nor_of_the_future() {
        let now = Timestamp::from_secs(1_000_000);
        let (oldest, latest) = ((now - RESET_WINDOW).millis(), (now + RESET_WINDOW).millis());
        let times = [oldest, oldest + 1, latest, latest + 1];
        assert_eq!(Budget::OWN_RESETS.counted(&times, now), [oldest + 1, latest]);
    }

    #[test]
    fn waiting_is_at_least_a_second_and_rounds_up() {
        let now = Timestamp::from_secs(10);
        assert_eq!(retry_after_secs(now, now), 1);
        assert_eq!(retry_after_secs(now, Timestamp::from_millis(11_001)), 2);
    }
}
