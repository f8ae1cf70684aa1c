//! The key that signs a tenant's requests to its IdP (SAML bindings 3.4.4.1): RSA of 2048 bits with SHA-256, which all
//! IdPs can verify. Keycloak does not verify ECDSA here.

use std::{convert::Infallible, fmt};

use data_encoding::BASE64;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData, SerialNumber, SigningKey, date_time_ymd,
};
use rsa::{
    RsaPrivateKey,
    pkcs8::EncodePrivateKey,
    rand_core::{TryCryptoRng, TryRng},
};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    env::{Entropy, EntropyError},
    id::TenantId,
    secret::{NameKey, SealError},
    store::item::RequestKey,
};

const ALGORITHM: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const BITS: usize = 2048;

/// Signs requests. It holds a private key, which its `Debug` does not show.
pub struct RequestSigner(KeyPair);

impl fmt::Debug for RequestSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestSigner")
    }
}

impl RequestSigner {
    /// Generates a key for a tenant, in the form that the store keeps: sealed, with a self-signed certificate. This
    /// takes up to one second of one core.
    ///
    /// # Errors
    /// [`SealError::Entropy`] if the source of randomness fails, [`SealError::Refused`] if the key cannot be generated.
    pub fn make(names: &NameKey, tenant: &TenantId, entropy: &dyn Entropy) -> Result<RequestKey, SealError> {
        let key = RsaPrivateKey::new(&mut Stream::new(entropy)?, BITS).map_err(|_| SealError::Refused)?;
        let pkcs8 = key.to_pkcs8_der().map_err(|_| SealError::Refused)?;
        let pair = KeyPair::try_from(pkcs8.as_bytes()).map_err(|_| SealError::Refused)?;
        let certificate = certificate(&pair, tenant).map_err(|_| SealError::Refused)?;
        let sealed = names.seal_request_key(tenant, pkcs8.as_bytes(), entropy)?;
        Ok(RequestKey { sealed: ByteBuf::from(sealed), certificate: ByteBuf::from(certificate) })
    }

    /// Opens a key that [`Self::make`] generated for the tenant.
    ///
    /// # Errors
    /// [`SealError::Refused`] if the key was sealed for another tenant or under another key.
    pub fn open(names: &NameKey, tenant: &TenantId, key: &RequestKey) -> Result<Self, SealError> {
        let pkcs8 = names.open_request_key(tenant, &key.sealed)?;
        KeyPair::try_from(pkcs8.as_slice()).map(Self).map_err(|_| SealError::Refused)
    }

    /// Adds `SigAlg` and `Signature` to the query of a request. The signature covers everything before it.
    pub(super) fn signed(&self, query: String) -> Result<String, SealError> {
        let part = |name: &str, value: &str| serde_urlencoded::to_string([(name, value)]).unwrap_or_default();
        let query = format!("{query}&{}", part("SigAlg", ALGORITHM));
        let signature = self.0.sign(query.as_bytes()).map_err(|_| SealError::Refused)?;
        Ok(format!("{query}&{}", part("Signature", &BASE64.encode(&signature))))
    }
}

/// The self-signed certificate. An IdP trusts it because its Administrator configured it there, so it has little
/// content and does not expire.
fn certificate(pair: &KeyPair, tenant: &TenantId) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Vestibule {tenant}"));
    params.not_before = date_time_ymd(2020, 1, 1);
    // The date that RFC 5280 (4.1.2.5) defines for "no expiry".
    params.not_after = date_time_ymd(9999, 12, 31);
    params.serial_number = Some(SerialNumber::from_slice(&Sha256::digest(pair.der_bytes())[..16]));
    Ok(params.self_signed(pair)?.der().to_vec())
}

/// A random stream of any length from a seed of 256 bits, since generating a key may need much randomness: SHA-256 of
/// the seed and a counter.
struct Stream {
    seed: Zeroizing<[u8; 32]>,
    blocks: u64,
}

impl Stream {
    fn new(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Ok(Self { seed: Zeroizing::new(entropy.bytes()?), blocks: 0 })
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for chunk in to.chunks_mut(32) {
            let hash = Sha256::new().chain_update(b"vestibule/1 request key").chain_update(self.seed.as_slice());
            let block = Zeroizing::new(<[u8; 32]>::from(hash.chain_update(self.blocks.to_be_bytes()).finalize()));
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.blocks += 1;
        }
        Ok(())
    }
}

impl TryCryptoRng for Stream {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{env::SystemEntropy, saml::Certificate};

    #[test]
    fn key_opens_only_for_its_tenant() {
        let (acme, globex) = (TenantId::parse("acme").unwrap(), TenantId::parse("globex").unwrap());
        let names = NameKey::new(Zeroizing::new([1; 32]));
        let key = RequestSigner::make(&names, &acme, &SystemEntropy).unwrap();
        assert!(Certificate::from_der(&key.certificate).is_ok());
        let signer = RequestSigner::open(&names, &acme, &key).unwrap();
        assert_eq!(format!("{signer:?}"), "RequestSigner");
        let other = NameKey::new(Zeroizing::new([2; 32]));
        for (names, tenant) in [(&names, &globex), (&other, &acme)] {
            assert!(matches!(RequestSigner::open(names, tenant, &key), Err(SealError::Refused)));
        }
        for cut in [0, 12, key.sealed.len() - 1] {
            let sealed = ByteBuf::from(key.sealed[..cut].to_vec());
            let cut = RequestKey { sealed, certificate: key.certificate.clone() };
            assert!(matches!(RequestSigner::open(&names, &acme, &cut), Err(SealError::Refused)));
        }
    }

    #[test]
    fn stream_differs_by_seed_and_does_not_repeat() {
        let bytes = |stream: &mut Stream| {
            let mut bytes = [0; 40];
            stream.try_fill_bytes(&mut bytes).unwrap();
            bytes
        };
        let (mut one, mut other) = (Stream::new(&SystemEntropy).unwrap(), Stream::new(&SystemEntropy).unwrap());
        let first = bytes(&mut one);
        assert!(first != bytes(&mut other) && first != bytes(&mut one));
        assert!(one.try_next_u32().unwrap() != one.try_next_u32().unwrap());
        assert!(one.try_next_u64().unwrap() != one.try_next_u64().unwrap());
    }
}
