//! Certificates of the keys that an IdP signs with. They carry keys, and are believed because an Administrator configured them:
//! no chain is built, and an end that has passed is told, not enforced (SAML metadata interoperability profile, 2.6.1).

use bergshamra_keys::{Key, loader::load_x509_cert_der};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use x509_cert::{
    Certificate as X509,
    der::{Decode, DecodePem, Encode, EncodePem, Error, Reader, SliceReader, asn1::UintRef, pem::LineEnding},
    time::Time,
};

use crate::env::Timestamp;

/// The shortest modulus of an RSA key, in bits (NIST SP 800-131A).
const RSA_BITS: u32 = 2048;

/// A certificate that was read, of a key that can verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its DER.
    pub der: Vec<u8>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn from_der(der: &[u8]) -> Result<Self, &'static str> {
        let read = X509::from_der(der).map_err(|_| "a certificate does not read")?;
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

    /// Reads PEM.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn from_pem(pem: &str) -> Result<Self, &'static str> {
        let read = X509::from_pem(pem.trim()).map_err(|_| "a certificate is not PEM")?;
        Self::from_der(&read.to_der().map_err(|_| "a certificate does not read")?)
    }

    /// As PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        X509::from_der(&self.der).ok().and_then(|read| read.to_pem(LineEnding::LF).ok()).unwrap_or_default()
    }

    /// SHA-256 of it, in hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(&self.der))
    }
}

/// How long the modulus of a certificate's RSA key is: RSAPublicKey of RFC 8017, A.1.1.
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

/// The key of a certificate, if it is of a kind that is taken.
pub(super) fn key(der: &[u8]) -> Option<Key> {
    let key = load_x509_cert_der(der).ok()?;
    let taken = match key.data.algorithm_name() {
        "RSA" => modulus_bits(der).is_some_and(|bits| bits >= RSA_BITS),
        "EC-P256" | "EC-P384" | "EC-P521" => true,
        _ => false,
    };
    taken.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_key_is_of_2048_bits_or_more() {
        let short = include_str!("../../../tests/keys/rsa-2047.pem");
        let long = include_str!("../../../tests/keys/rsa-2048.pem");
        assert!(Certificate::from_pem(short).is_err());
        assert!(Certificate::from_pem(long).is_ok());
        for (pem, bits) in [(short, 2047), (long, 2048)] {
            assert_eq!(modulus_bits(&X509::from_pem(pem).unwrap().to_der().unwrap()), Some(bits));
        }
    }
}
