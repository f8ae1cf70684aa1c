//! Limits, time windows and delays. They are computed here as plain values; a condition of the store only compares
//! attributes with them.

use std::time::Duration;

use crate::env::Timestamp;

/// Lifetime of a challenge (security.md 4).
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(5 * 60);
/// Lifetime of an enrolment token and of a pending enrolment (security.md 4, 20).
pub const ENROLMENT_LIFE: Duration = Duration::from_secs(10 * 60);
/// Attempts per challenge, per pending enrolment and per reset code.
pub const MAX_ATTEMPTS: i64 = 5;
/// Failed codes of one user in [`WINDOW`], over all operations that check a code (security.md 28).
pub const MAX_RECENT_ATTEMPTS: usize = 10;
/// The window of [`MAX_RECENT_ATTEMPTS`] and of [`NETWORK_CHALLENGES`].
pub const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Consecutive failed codes that disable a factor (NIST SP 800-63B-4, 3.2.2).
pub const MAX_CONSECUTIVE_FAILURES: i64 = 100;
/// Challenges and enrolment tokens of one user from one client network in [`WINDOW`] (security.md 31).
pub const NETWORK_CHALLENGES: usize = 20;
/// A session ends after this time without use.
pub const SESSION_IDLE: Duration = Duration::from_secs(30 * 60);
/// Maximum lifetime of a session.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);
/// Maximum lifetime of the session of an excluded contact (security.md 46).
pub const EXCLUDED_SESSION_LIFE: Duration = Duration::from_secs(8 * 3600);
/// Maximum sessions of one user. A new session replaces the oldest.
pub const SESSIONS: usize = 10;
/// Maximum known devices of one user. A new device replaces the least recently used.
pub const DEVICES: usize = 5;
/// Lifetime of a known device.
pub const DEVICE_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// How long a step-up stays fresh.
pub const STEP_UP_LIFE: Duration = Duration::from_secs(300);
/// How long after a recovery sign-in the user may fetch a new recovery token or enrol a device (security.md 34).
pub const RECOVERY_GRACE: Duration = Duration::from_secs(10 * 60);
/// How long after a reset the user may enrol (security.md 39).
pub const ENROL_WINDOW: Duration = Duration::from_secs(72 * 3600);
/// Lifetime of a reset code (security.md 39).
pub const RESET_CODE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// An account without a factor needs a reset if it had no sign-in, creation or reset for this time (security.md 41).
pub const DORMANT: Duration = Duration::from_secs(90 * 86_400);
/// The last use of a session is updated at most once in this time.
pub const LAST_SEEN_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum difference between the clocks of two instances.
pub const SKEW: Duration = Duration::from_secs(60);

/// The delays after failed passwords (security.md 13): none for fewer than five failures, then 1 s doubling to 15 minutes.
///
/// A step `(n, at)` means: with at most `n` failures since the last success, an attempt is admitted if the last failure
/// was counted at or before `at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    steps: Vec<(i64, Timestamp)>,
    cap: Timestamp,
    future: Timestamp,
}

const FREE_FAILURES: i64 = 5;
const DOUBLINGS: i64 = 10;
const LONGEST: Duration = Duration::from_secs(900);

impl Backoff {
    /// The backoff at time `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let steps = (0..DOUBLINGS).map(|n| (FREE_FAILURES + n, now - Duration::from_secs(1 << n))).collect();
        // A failure with a time far in the future came from a clock that ran ahead. It must not lock the user out.
        Self { steps, cap: now - LONGEST, future: now + LONGEST }
    }

    /// Number of failures from which an attempt is delayed. Fewer failures cause no delay.
    #[must_use]
    pub fn free(&self) -> i64 {
        FREE_FAILURES
    }

    /// The steps, fewest failures first.
    #[must_use]
    pub fn steps(&self) -> &[(i64, Timestamp)] {
        &self.steps
    }

    /// An attempt is admitted after any number of failures if the last one was counted at or before this time.
    #[must_use]
    pub fn cap(&self) -> Timestamp {
        self.cap
    }

    /// A last failure counted after this time is ignored.
    #[must_use]
    pub fn future(&self) -> Timestamp {
        self.future
    }

    /// When the next attempt is admitted after `failures` failures, the last one counted at `last`.
    #[must_use]
    pub fn retry_at(failures: i64, last: Timestamp) -> Timestamp {
        let wait = match failures - FREE_FAILURES {
            n if n < 0 => Duration::ZERO,
            n if n < DOUBLINGS => Duration::from_secs(1 << n),
            _ => LONGEST,
        };
        last + wait
    }
}

/// Client networks of one user whose challenges are counted. A new network replaces the one that was quiet longest.
pub const NETWORKS: usize = 16;
/// Maximum valid challenges of one user.
pub const CHALLENGES: usize = 24;
/// Maximum valid enrolment tokens of one user: more than one client network may request, so each can live its ten
/// minutes.
pub const ENROLMENT_TOKENS: usize = 24;
/// MFA resets by one Administrator in [`RESET_WINDOW`] (security.md 37).
pub const OWN_RESETS: usize = 10;
/// MFA resets in one tenant in [`RESET_WINDOW`] (security.md 37).
pub const TENANT_RESETS: usize = 50;
/// The window of [`OWN_RESETS`] and [`TENANT_RESETS`].
pub const RESET_WINDOW: Duration = Duration::from_secs(3600);
/// Consecutive wrong passwords that cause a notification, once a day.
pub const NOTIFY_FAILURES: i64 = 5;
/// Consecutive wrong passwords that are reported as an attack (security.md 13).
pub const ATTACK_FAILURES: i64 = 100;
/// Wrong codes at one challenge, after the right password, that cause a notification (security.md 23).
pub const NOTIFY_CODES: i64 = 3;
/// Failed codes of a factor that cause a notification, at each multiple of this number: they show a slow attack.
pub const SLOW_FAILURES: i64 = 50;

/// Lifetime of a mailed token that sets a forgotten password or verifies an address.
pub const MAIL_TOKEN_LIFE: Duration = Duration::from_secs(30 * 60);
/// Lifetime of a mailed invitation.
pub const INVITATION_LIFE: Duration = Duration::from_secs(7 * 86_400);
/// Maximum valid mailed tokens of one user. A new token replaces the oldest.
pub const MAIL_TOKENS: usize = 3;
/// Requests for mails from a client network in an hour, whatever the tenant.
pub const MAIL_REQUESTS: usize = 20;
/// Mails in an hour that a client network causes to one login name.
pub const NETWORK_MAILS: usize = 3;
/// Mails to one login name in a day. Those that an Administrator asked for are counted apart.
pub const DAILY_MAILS: usize = 30;

/// A maximum number of events in a sliding window. The events are kept as a list of their times.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Maximum number of events.
    pub max: usize,
    /// Length of the window.
    pub window: Duration,
}

impl Budget {
    /// Limits the challenges and enrolment tokens of a client network.
    pub const NETWORK: Self = Self { max: NETWORK_CHALLENGES, window: WINDOW };
    /// Limits the resets by one Administrator.
    pub const OWN_RESETS: Self = Self { max: OWN_RESETS, window: RESET_WINDOW };
    /// Limits the requests for mails from a client network.
    pub const MAIL_REQUESTS: Self = Self { max: MAIL_REQUESTS, window: Duration::from_secs(3600) };
    /// Limits the resets in a tenant.
    pub const TENANT_RESETS: Self = Self { max: TENANT_RESETS, window: RESET_WINDOW };

    /// The times that are within the window. A time too far in the future came from a clock that ran ahead and is
    /// dropped.
    #[must_use]
    pub fn counted(&self, times: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
        let (from, to) = (now - self.window, now + self.window);
        times.iter().copied().filter(|at| *at > from && *at <= to).collect()
    }

    /// When the next event is allowed. `None` if one is allowed now.
    #[must_use]
    pub fn full_until(&self, times: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
        let counted = self.counted(times, now);
        let oldest = counted.get(counted.len().checked_sub(self.max)?)?;
        Some(*oldest + self.window)
    }
}

/// The seconds to wait until `at` for `Retry-After`: rounded up, at least one.
#[must_use]
pub fn retry_after_secs(now: Timestamp, at: Timestamp) -> u32 {
    u32::try_from((at - now).as_millis().div_ceil(1000).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_15_minutes() {
        let at = Timestamp::from_secs(1_000_000);
        let waits: Vec<i64> = (0..17).map(|n| Backoff::retry_at(n, at).secs() - at.secs()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    }

    #[test]
    fn step_admits_exactly_when_its_delay_is_over() {
        let last = Timestamp::from_secs(1_000_000);
        for failures in FREE_FAILURES..FREE_FAILURES + DOUBLINGS {
            let due = Backoff::retry_at(failures, last);
            let admits = |now| Backoff::at(now).steps().iter().any(|&(n, at)| failures <= n && last <= at);
            assert!(admits(due) && !admits(due - Duration::from_millis(1)), "{failures}");
        }
    }

    #[test]
    fn times_outside_the_window_do_not_count() {
        let now = Timestamp::from_secs(1_000_000);
        let (oldest, latest, ms) = (now - RESET_WINDOW, now + RESET_WINDOW, Duration::from_millis(1));
        let times = [oldest, oldest + ms, latest, latest + ms];
        assert_eq!(Budget::OWN_RESETS.counted(&times, now), [oldest + ms, latest]);
    }

    #[test]
    fn retry_after_rounds_up_and_is_at_least_1() {
        let now = Timestamp::from_secs(10);
        assert_eq!(retry_after_secs(now, now), 1);
        assert_eq!(retry_after_secs(now, Timestamp::from_millis(11_001)), 2);
    }
}
