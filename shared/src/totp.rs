//! Time-based one-time codes (RFC 6238): checking codes, and the data from which an authenticator app makes them.

use qrcode::{EcLevel, QrCode, render::svg};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    domain::TimeStep,
    env::Timestamp,
    id::is_display_control,
    secret::{FactorRef, TotpSecret},
};

/// Six ASCII digits that the user typed. They are wiped when dropped; there is no Debug.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct TotpCode([u8; 6]);

impl TotpCode {
    /// Parses exactly six ASCII digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 6] = text.as_bytes().try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }
}

/// Proof that a correct code was sent for one factor and one time step. It cannot be copied or cloned, so it is used
/// once.
///
/// ```compile_fail,E0382
/// fn spend(_: vestibule::totp::TotpProof) {}
/// fn twice(proof: vestibule::totp::TotpProof) {
///     spend(proof);
///     spend(proof); // error: moved
/// }
/// ```
pub struct TotpProof {
    owner: FactorRef,
    step: TimeStep,
}

impl TotpProof {
    /// The factor that the code was for.
    #[must_use]
    pub fn owner(&self) -> &FactorRef {
        &self.owner
    }

    /// The time step of the code.
    #[must_use]
    pub fn step(&self) -> TimeStep {
        self.step
    }
}

/// Checks a code against the time steps T-1, T and T+1 of `now`, as far as they are later than `last_step`, the last
/// accepted step (`None`: no step was accepted). If several match, the earliest counts. All steps are always compared, in constant time (security.md
/// 24 to 27).
#[must_use]
pub fn check(secret: &TotpSecret, code: &TotpCode, now: Timestamp, last_step: Option<TimeStep>) -> Option<TotpProof> {
    let totp = totp_rs::Builder::new().with_secret(*secret.expose()).build().ok()?;
    let current = TimeStep::of(now);
    let (mut found, mut step) = (Choice::from(0), 0);
    // From the latest step to the earliest, so that the earliest match remains.
    for candidate in [current + 1, current, current - 1] {
        let seconds = u64::try_from(candidate.begins().secs()).unwrap_or(0);
        let mut expected = totp.generate(seconds).to_string();
        let fresh = Choice::from(u8::from(Some(candidate) > last_step && candidate.0 >= 0));
        let matches = expected.as_bytes().ct_eq(&code.0) & fresh;
        expected.zeroize();
        step = i64::conditional_select(&step, &candidate.0, matches);
        found |= matches;
    }
    bool::from(found).then(|| TotpProof { owner: secret.owner().clone(), step: TimeStep(step) })
}

/// The code of a time step, as the user's authenticator app shows it, for tests.
#[cfg(any(test, feature = "testing"))]
#[must_use]
pub fn code_at(secret: &TotpSecret, step: TimeStep) -> Option<TotpCode> {
    let totp = totp_rs::Builder::new().with_secret(*secret.expose()).build().ok()?;
    TotpCode::parse(&totp.generate(u64::try_from(step.begins().secs()).ok()?).to_string())
}

/// The secret in the three forms that a user can give to an authenticator app. It is shown once and wiped when dropped;
/// there is no Debug.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Provisioning {
    /// The secret in base32 for typing: eight groups of four characters.
    pub secret_grouped: String,
    /// The `otpauth://` URI.
    pub otpauth_uri: String,
    /// The URI as a QR code: an SVG document of at least 200 pixels.
    pub qr_svg: String,
}

/// Maximum characters of a name in the URI. It keeps the QR code well below its size limit.
const NAME_CHARS: usize = 64;

fn clean(name: &str) -> String {
    let kept: String = name.chars().filter(|&c| !is_display_control(c) && c != ':').take(NAME_CHARS).collect();
    // The library refuses an empty name.
    if kept.is_empty() { "-".to_owned() } else { kept }
}

/// Makes the three forms of a secret. Control characters, bidirectional controls and `:` are removed from the names,
/// and at most 64 characters of each name are kept. The library percent-encodes the rest (security.md 18).
#[must_use]
pub fn provisioning(secret: &TotpSecret, issuer: &str, account: &str) -> Provisioning {
    let base32 = zeroize::Zeroizing::new(data_encoding::BASE32_NOPAD.encode(secret.expose()));
    let mut secret_grouped = String::with_capacity(40);
    for (index, symbol) in base32.chars().enumerate() {
        if index > 0 && index % 4 == 0 {
            secret_grouped.push(' ');
        }
        secret_grouped.push(symbol);
    }
    let totp = totp_rs::Builder::new()
        .with_secret(*secret.expose())
        .with_issuer(Some(clean(issuer)))
        .with_account_name(clean(account))
        .build();
    let mut otpauth_uri = match totp.and_then(|totp| totp.to_url()) {
        Ok(uri) => uri,
        Err(_) => unreachable!("a secret of 160 bits and names without colons make a URI"),
    };
    // The library omits default values, but some apps require them.
    otpauth_uri.push_str("&algorithm=SHA1&digits=6&period=30");
    let qr_svg = match QrCode::with_error_correction_level(&otpauth_uri, EcLevel::L) {
        Ok(code) => code.render::<svg::Color<'_>>().quiet_zone(true).min_dimensions(240, 240).build(),
        Err(_) => unreachable!("two names of 64 characters give a URI of at most 2300 bytes"),
    };
    let qr_svg = qr_svg.find("<svg").and_then(|at| qr_svg.get(at..)).unwrap_or_default().to_owned();
    Provisioning { secret_grouped, otpauth_uri, qr_svg }
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
        let nonce = || Nonce::generate(&SystemEntropy).unwrap();
        let user = TenantId::parse("acme").unwrap().user(UserId::parse("u-ann").unwrap());
        TotpSecret::from_bytes(FactorRef { user, incarnation: nonce(), factor: nonce() }, *b"12345678901234567890")
    }

    fn step(code: &str, secs: i64, last: Option<i64>) -> Option<i64> {
        let (code, now) = (TotpCode::parse(code).unwrap(), Timestamp::from_secs(secs));
        check(&secret(), &code, now, last.map(TimeStep)).map(|proof| proof.step().0)
    }

    #[test]
    fn rfc_6238_vectors() {
        for (secs, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(step(code, secs, None), Some(secs / 30));
        }
    }

    #[test]
    fn code_is_valid_for_three_steps_and_used_once() {
        let (code, at) = ("005924", 1_234_567_890);
        let t = at / 30;
        for shift in [-1, 0, 1] {
            assert_eq!(step(code, at + shift * 30, Some(0)), Some(t));
            assert_eq!(step(code, at + shift * 30, Some(t - 1)), Some(t));
            assert_eq!(step(code, at + shift * 30, Some(t)), None);
        }
        assert_eq!(step(code, at + 60, Some(0)), None);
        assert_eq!(step(code, at - 60, Some(0)), None);
    }

    /// The code of step 0 (RFC 4226, appendix D), which is not taken for one of a step before it.
    #[test]
    fn no_step_is_before_1970() {
        assert_eq!(step("755224", 0, None), Some(0));
        assert_eq!(step("755224", 0, Some(i64::MIN)), Some(0));
    }

    #[test]
    fn names_cannot_inject_into_uri() {
        let long = "é".repeat(2048);
        let wide = "\u{1f600}".repeat(1024);
        for name in [
            "a?secret=AAAA&issuer=Evil",
            "x&algorithm=MD5",
            "a:b",
            "%0d%0a",
            "\u{202e}",
            "\r\n",
            "#frag",
            "",
            "Ann Lee",
            &long,
            &wide,
        ] {
            let made = provisioning(&secret(), name, name);
            let uri = &made.otpauth_uri;
            assert_eq!(uri.matches("secret=").count(), 1, "{uri}");
            assert_eq!(uri.matches(['&', '?', '#']).count(), 5, "{uri}");
            assert_eq!(uri.matches(':').count(), 2, "{uri}");
            let read = totp_rs::Totp::from_url(uri).unwrap();
            assert_eq!(read.account_name(), clean(name));
            assert!(!read.account_name().chars().any(is_display_control), "{uri}");
            assert_eq!(read.issuer(), Some(clean(name).as_str()));
            assert!(uri.contains(&format!("secret={}&", made.secret_grouped.replace(' ', ""))));
            assert!(made.qr_svg.starts_with("<svg") && made.qr_svg.ends_with("</svg>"));
        }
        let made = provisioning(&secret(), "Acme Ltd", "ann");
        assert!(made.otpauth_uri.starts_with("otpauth://totp/Acme%20Ltd:ann?secret=GEZDGNBV"));
        assert!(made.secret_grouped.starts_with("GEZD GNBV ") && made.secret_grouped.len() == 39);
    }
}
