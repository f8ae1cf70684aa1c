//! RFC 6238 time-based codes: SHA-1, 6 digits, 30 s, which every authenticator app knows (product.md P2).

use subtle::{ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};
use totp_rs::{Builder, Totp};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    env::Timestamp,
    secret::{FactorRef, TotpSecret},
};

/// Seconds of a time step.
pub const PERIOD: i64 = 30;

/// Six digits that somebody typed. Wipes itself; cannot be printed or copied.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TotpCode([u8; 6]);

impl TotpCode {
    /// Takes exactly six ASCII digits.
    #[must_use]
    pub fn parse(bare: &str) -> Option<Self> {
        let digits: [u8; 6] = bare.as_bytes().try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }
}

/// A code of a factor was typed. It pays for one sign-in, at the step it is of, and cannot be copied:
///
/// ```compile_fail,E0382
/// # fn spend(_: vestibule::totp::TotpProof) {}
/// fn twice(proof: vestibule::totp::TotpProof) {
///     spend(proof);
///     spend(proof); // no proof is used twice
/// }
/// ```
pub struct TotpProof {
    owner: FactorRef,
    step: i64,
}

impl TotpProof {
    /// Which factor's code it was.
    #[must_use]
    pub fn owner(&self) -> &FactorRef {
        &self.owner
    }

    /// The time step it is of.
    #[must_use]
    pub fn step(&self) -> i64 {
        self.step
    }
}

/// The time step of a moment.
#[must_use]
pub fn step_at(now: Timestamp) -> i64 {
    now.secs().div_euclid(PERIOD)
}

/// Checks what was typed against the steps T-1, T and T+1 after the last accepted one. All three are compared, in constant
/// time (security.md 24, 25, 27); of several that match the earliest is spent, so that the later stays good.
#[must_use]
pub fn check(secret: &TotpSecret, typed: &TotpCode, now: Timestamp, last_step: i64) -> Option<TotpProof> {
    let totp = totp(secret);
    let current = step_at(now);
    let mut found = 0_u64;
    for step in [current + 1, current, current - 1] {
        let Ok(unsigned) = u64::try_from(step) else { continue };
        let after = u64::try_from(last_step).map_or(subtle::Choice::from(1), |last| unsigned.ct_gt(&last));
        let matches = digits(&totp, unsigned).ct_eq(&typed.0);
        found.conditional_assign(&unsigned, matches & after);
    }
    let step = i64::try_from(found).ok().filter(|&step| step > 0)?;
    Some(TotpProof { owner: secret.owner().clone(), step })
}

/// The code of a step, as the person's authenticator shows it: for tests.
#[cfg(any(test, feature = "testing"))]
#[must_use]
pub fn code_at(secret: &TotpSecret, step: i64) -> TotpCode {
    TotpCode(digits(&totp(secret), u64::try_from(step).unwrap_or_default()))
}

fn totp(secret: &TotpSecret) -> Totp {
    match Builder::new().with_secret(*secret.expose()).build() {
        Ok(totp) => totp,
        Err(_) => unreachable!("160 bits, 6 digits and 30 s are what RFC 6238 recommends"),
    }
}

fn digits(totp: &Totp, step: u64) -> [u8; 6] {
    let mut digits = [b'0'; 6];
    let text = zeroize::Zeroizing::new(totp.generate(step * PERIOD.unsigned_abs()).to_string());
    if let Ok(exact) = <[u8; 6]>::try_from(text.as_bytes()) {
        digits = exact;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        env::SystemEntropy,
        id::{TenantId, UserId},
        secret::Nonce,
    };

    fn secret() -> TotpSecret {
        let user = TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap());
        let nonce = || Nonce::generate(&SystemEntropy).unwrap();
        let owner = FactorRef { user, born: nonce(), factor: nonce() };
        TotpSecret::from_bytes(owner, *b"12345678901234567890")
    }

    fn step_of(typed: &str, now: i64, last_step: i64) -> Option<i64> {
        let typed = TotpCode::parse(typed).unwrap();
        check(&secret(), &typed, Timestamp::from_secs(now), last_step).map(|proof| proof.step())
    }

    /// RFC 6238 appendix B, SHA-1, the last six of its eight digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let vectors = [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ];
        for (now, code) in vectors {
            assert_eq!(step_of(code, now, 0), Some(now / 30), "{now}");
        }
    }

    #[test]
    fn one_step_either_side_is_accepted_and_no_more() {
        let now = 1_111_111_111;
        let step = now / 30;
        for (offset, accepted) in [(-3, false), (-2, false), (-1, true), (0, true), (1, true), (2, false), (3, false)] {
            let typed = code_at(&secret(), step + offset);
            let proof = check(&secret(), &typed, Timestamp::from_secs(now), 0);
            assert_eq!(proof.is_some(), accepted, "{offset}");
        }
    }

    #[test]
    fn a_step_up_to_the_last_accepted_one_is_none() {
        let now = 1_111_111_111;
        let step = now / 30;
        assert_eq!(step_of("050471", now, step - 1), Some(step));
        assert_eq!(step_of("050471", now, step), None);
        assert_eq!(step_of("050471", now, step + 1), None);
    }

    #[test]
    fn only_six_ascii_digits_are_a_code() {
        for typed in ["", "12345", "1234567", "12345a", "１２３４５６", "+12345"] {
            assert!(TotpCode::parse(typed).is_none(), "{typed}");
        }
    }
}
