//! `totp code`: acts as an authenticator app, so that you need no phone to try Vestibule.

use data_encoding::BASE32_NOPAD;
use vestibule::env::Timestamp;
use zeroize::Zeroizing;

/// The six-digit code (RFC 6238) at a time. `secret` is base32; spaces, hyphens and case are ignored. `None`: it is not
/// a key of at least 128 bits, or the time is before 1970.
#[must_use]
pub fn code(secret: &str, at: Timestamp) -> Option<String> {
    let bare: Zeroizing<String> = Zeroizing::new(
        secret
            .chars()
            .filter(|c| !matches!(c, ' ' | '-' | '=' | '\n' | '\r'))
            .map(|c| c.to_ascii_uppercase())
            .collect(),
    );
    let key = Zeroizing::new(BASE32_NOPAD.decode(bare.as_bytes()).ok()?);
    let totp = totp_rs::Builder::new().with_secret(key.as_slice()).build().ok()?;
    Some(totp.generate(u64::try_from(at.secs()).ok()?).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6238_test_vectors_match_in_any_grouping() {
        let at = Timestamp::from_secs(1_234_567_890);
        for secret in [
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ",
            "gezd-gnbv-gy3t-qojq-gezd-gnbv-gy3t-qojq\n",
        ] {
            assert_eq!(code(secret, at).as_deref(), Some("005924"));
        }
        assert_eq!(code("not base32!", at), None);
        assert_eq!(code("", at), None);
    }
}
