//! Certificates of the keys that an IdP signs with. They carry keys, and are believed because an Administrator configured them:
//! no chain is built, and an end that has passed is told, not enforced (SAML metadata interoperability profile, 2.6.1).

use bergshamra_keys::{Key, loader::load_x509_cert_der};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use x509_cert::{
    Certificate as X509,
    der::{Decode, DecodePem, Encode, EncodePem, pem::LineEnding},
    time::Time,
};

use crate::env::Timestamp;

/// How long the description of an RSA key of 2048 bits is at least (NIST SP 800-131A has no shorter ones).
const RSA_SPKI: usize = 290;

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

/// The key of a certificate, if it is of a kind that is taken.
pub(super) fn key(der: &[u8]) -> Option<Key> {
    let key = load_x509_cert_der(der).ok()?;
    let taken = match key.data.algorithm_name() {
        "RSA" => key.data.to_spki_der().is_some_and(|spki| spki.len() >= RSA_SPKI),
        "EC-P256" | "EC-P384" | "EC-P521" => true,
        _ => false,
    };
    taken.then_some(key)
}
