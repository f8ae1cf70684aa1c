//! Certificates of an IdP's signing keys. They only carry keys, and are trusted because an Administrator configured
//! them: no chain is built, and an expired certificate is reported but still accepted (SAML metadata interoperability
//! profile, 2.6.1).

use bergshamra_keys::{Key, loader::load_x509_cert_der};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use x509_cert::{
    Certificate as X509,
    der::{Decode, DecodePem, Encode, EncodePem, Error, Reader, SliceReader, asn1::UintRef, pem::LineEnding},
    time::Time,
};

use crate::env::Timestamp;

/// Minimum length of an RSA modulus in bits (NIST SP 800-131A).
const MIN_RSA_BITS: u32 = 2048;

/// A parsed certificate. Its key is of a supported kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate in DER.
    pub der: Vec<u8>,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Parses a certificate in DER.
    ///
    /// # Errors
    /// A text that says what is wrong with the certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, &'static str> {
        let read = X509::from_der(der).map_err(|_| "a certificate cannot be parsed")?;
        if key(der).is_none() {
            return Err(
                "a certificate's key is neither RSA of 2048 bits or more nor of the curve P-256, P-384 or P-521",
            );
        }
        let at =
            |time: Time| Timestamp::from_secs(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX));
        let validity = &read.tbs_certificate.validity;
        Ok(Self { der: der.to_vec(), not_before: at(validity.not_before), not_after: at(validity.not_after) })
    }

    /// Parses a certificate in PEM.
    ///
    /// # Errors
    /// A text that says what is wrong with the certificate.
    pub fn from_pem(pem: &str) -> Result<Self, &'static str> {
        let read = X509::from_pem(pem.trim()).map_err(|_| "a certificate is not PEM")?;
        Self::from_der(&read.to_der().map_err(|_| "a certificate cannot be parsed")?)
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        X509::from_der(&self.der).ok().and_then(|read| read.to_pem(LineEnding::LF).ok()).unwrap_or_default()
    }

    /// The SHA-256 of the certificate, in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(&self.der))
    }
}

/// Length in bits of the modulus of a certificate's RSA key (RSAPublicKey, RFC 8017 A.1.1).
fn modulus_bits(der: &[u8]) -> Option<u32> {
    let certificate = X509::from_der(der).ok()?;
    let key = certificate.tbs_certificate.subject_public_key_info.subject_public_key;
    let mut reader = SliceReader::new(key.as_bytes()?).ok()?;
    let bits = reader.sequence(|key| {
        let modulus = UintRef::decode(key)?;
        UintRef::decode(key)?;
        let digits = modulus.as_bytes();
        let leading = digits.first().map_or(0, |first| first.leading_zeros());
        Ok::<_, Error>(u32::try_from(digits.len()).unwrap_or(0).saturating_mul(8).saturating_sub(leading))
    });
    bits.ok()
}

/// The key of a certificate, if its kind is supported.
pub(super) fn key(der: &[u8]) -> Option<Key> {
    let key = load_x509_cert_der(der).ok()?;
    let supported = match key.data.algorithm_name() {
        "RSA" => modulus_bits(der).is_some_and(|bits| bits >= MIN_RSA_BITS),
        "EC-P256" | "EC-P384" | "EC-P521" => true,
        _ => false,
    };
    supported.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_key_below_2048_bits_is_refused() {
        let short = include_str!("../../../tests/keys/rsa-2047.pem");
        let long = include_str!("../../../tests/keys/rsa-2048.pem");
        assert!(Certificate::from_pem(short).is_err());
        assert!(Certificate::from_pem(long).is_ok());
        for (pem, bits) in [(short, 2047), (long, 2048)] {
            assert_eq!(modulus_bits(&X509::from_pem(pem).unwrap().to_der().unwrap()), Some(bits));
        }
    }
}
