//! The key and the certificate of the development IdP. Each start generates new ones, so that no tenant continues to trust them by
//! mistake.

use std::time::Duration;

use bergshamra_dsig::{context::DsigContext, sign::sign_owned};
use bergshamra_keys::{Key, KeysManager, loader::load_ec_p256_private_pem};
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding},
};
use vestibule::env::{Entropy, Timestamp};
use x509_cert::{
    Certificate, TbsCertificate, Version,
    der::{
        Decode, Encode,
        asn1::{BitString, GeneralizedTime, ObjectIdentifier},
    },
    serial_number::SerialNumber,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::{Time, Validity},
};

use crate::Failure;

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// How long the certificate is valid: longer than the IdP runs.
const VALID: Duration = Duration::from_secs(90 * 24 * 3600);

/// The IdP's signing key and certificate.
pub(super) struct Signer {
    key: Key,
    /// The certificate, in DER.
    pub(super) certificate: Vec<u8>,
}

impl Signer {
    /// Generates a key on the curve P-256.
    pub(super) fn generate(now: Timestamp, entropy: &dyn Entropy) -> Result<Self, Failure> {
        // About one in four thousand million random numbers is not a valid key.
        let key = SigningKey::from_slice(&entropy.bytes::<32>()?)
            .map_err(|_| "the random number is not a valid key: start again")?;
        let certificate = certificate(&key, now, &entropy.bytes::<16>()?)?;
        let key = load_ec_p256_private_pem(key.to_pkcs8_pem(LineEnding::LF)?.as_bytes())?;
        Ok(Self { key, certificate })
    }

    /// Signs a document: fills in the values of its first signature element.
    pub(super) fn sign(&self, unsigned: String) -> Result<String, Failure> {
        let mut keys = KeysManager::new();
        keys.add_key(self.key.clone());
        Ok(sign_owned(&DsigContext::new(keys), unsigned)?)
    }
}

/// The self-signed certificate of a key, in DER. The builder of `x509-cert` needs a newer version of the signature traits than
/// `p256` has, so the fields are set here.
fn certificate(key: &SigningKey, now: Timestamp, serial: &[u8]) -> Result<Vec<u8>, Failure> {
    let at = |at: Timestamp| {
        let since = Duration::from_secs(u64::try_from(at.secs())?);
        Ok::<_, Failure>(Time::GeneralTime(GeneralizedTime::from_unix_duration(since)?))
    };
    let name: x509_cert::name::Name = "CN=Vestibule development IdP".parse()?;
    let algorithm = AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None };
    let signed = TbsCertificate {
        version: Version::V3,
        serial_number: SerialNumber::new(serial)?,
        signature: algorithm.clone(),
        issuer: name.clone(),
        validity: Validity { not_before: at(now)?, not_after: at(now + VALID)? },
        subject: name,
        subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(
            key.verifying_key().to_public_key_der()?.as_bytes(),
        )?,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: None,
    };
    let signature: Signature = key.sign(&signed.to_der()?);
    let signature = BitString::from_bytes(signature.to_der().as_bytes())?;
    Ok(Certificate { tbs_certificate: signed, signature_algorithm: algorithm, signature }.to_der()?)
}

#[cfg(test)]
mod tests {
    use vestibule::env::SystemEntropy;

    use super::*;

    #[test]
    fn certificate_is_self_signed_by_the_key() {
        let now = Timestamp::parse("2026-11-24T09:00:00Z").unwrap();
        let signer = Signer::generate(now, &SystemEntropy).unwrap();
        let read = vestibule::saml::Certificate::from_der(&signer.certificate).unwrap();
        assert_eq!((read.not_before, read.not_after), (now, now + VALID));
        let read = Certificate::from_der(&signer.certificate).unwrap();
        let other = Signer::generate(now, &SystemEntropy).unwrap();
        let other = Certificate::from_der(&other.certificate).unwrap();
        let key = |it: &Certificate| it.tbs_certificate.subject_public_key_info.clone();
        assert_ne!(key(&read), key(&other));
        let spki = key(&read).to_der().unwrap();
        let public = <p256::ecdsa::VerifyingKey as p256::pkcs8::DecodePublicKey>::from_public_key_der(&spki).unwrap();
        let signature = Signature::from_der(read.signature.raw_bytes()).unwrap();
        let signed = read.tbs_certificate.to_der().unwrap();
        p256::ecdsa::signature::Verifier::verify(&public, &signed, &signature).unwrap();
    }
}
