//! The certificate authorities that connections to AWS trust: Amazon's own, or those in a file.
//!
//! The system has about 140 certificate authorities. Reading them took most of a function's start (docs/adr/0013), and
//! only Amazon's certify the AWS endpoints called here.

use std::{fs, io, sync::Arc};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::connector;

/// The five root certificates that Amazon Trust Services says to include in a custom trust store. NOTICE says where
/// they come from.
pub const AMAZON_ROOTS: &str = include_str!("amazon_roots.pem");

/// The last line of a certificate in PEM.
const END: &str = "-----END CERTIFICATE-----";

/// The certificate authorities that connections to AWS trust.
#[derive(Debug, Clone)]
pub struct TlsRoots(ClientConfig);

/// Why the certificate authorities could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TlsRootsError {
    /// The file cannot be read.
    #[error("{0}")]
    Unread(#[from] io::Error),
    /// The file contains no usable certificate.
    #[error("the file contains no usable certificate")]
    Empty,
    /// The TLS library rejected the configuration.
    #[error("the TLS configuration was rejected: {0}")]
    Refused(#[from] rustls::Error),
}

impl TlsRoots {
    /// Loads Amazon's root certificates, or those of a PEM file instead.
    ///
    /// # Errors
    /// [`TlsRootsError`], as each variant says.
    pub fn read(file: Option<&str>) -> Result<Self, TlsRootsError> {
        let certificates = match file {
            None => usable(AMAZON_ROOTS),
            Some(path) => usable(&fs::read_to_string(path)?),
        };
        if certificates.is_empty() {
            return Err(TlsRootsError::Empty);
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(certificates)
            .with_no_client_auth();
        Ok(Self(tls))
    }

    /// A new HTTP client for the SDK, with its own connections.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        connector::http_client(self.0.clone())
    }
}

/// The certificates of a PEM text that TLS can use. Other text and unusable certificates are skipped.
fn usable(text: &str) -> RootCertStore {
    let mut store = RootCertStore::empty();
    for block in text.split_inclusive(END) {
        if let Ok(certificate) = CertificateDer::from_pem_slice(block.as_bytes()) {
            let _ = store.add(certificate);
        }
    }
    store
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use sha2::{Digest, Sha256};

    use super::*;

    /// Name, SHA-256 digest and last day of validity of each certificate, as NOTICE lists them.
    const KNOWN: [(&str, &str, &str); 5] = [
        ("Amazon Root CA 1", "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e", "2038-01-17"),
        ("Amazon Root CA 2", "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4", "2040-05-26"),
        ("Amazon Root CA 3", "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4", "2040-05-26"),
        ("Amazon Root CA 4", "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092", "2040-05-26"),
        (
            "Starfield Services Root Certificate Authority - G2",
            "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
            "2037-12-31",
        ),
    ];

    /// The last day of validity. It is the second of the two UTCTimes in the certificate.
    fn last_day(der: &[u8]) -> String {
        let validity = der.windows(32).find(|bytes| bytes.starts_with(&[0x30, 0x1e, 0x17, 0x0d]) && bytes[17] == 0x17);
        let end = std::str::from_utf8(&validity.unwrap()[19..25]).unwrap();
        format!("20{}-{}-{}", &end[..2], &end[2..4], &end[4..])
    }

    #[test]
    fn amazon_roots_match_notice_and_are_valid_for_years() {
        let found: Vec<_> = CertificateDer::pem_slice_iter(AMAZON_ROOTS.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(found.len(), KNOWN.len());
        for (certificate, (name, digest, last)) in found.iter().zip(KNOWN) {
            assert_eq!(HEXLOWER.encode(&Sha256::digest(certificate)), digest, "{name}");
            assert_eq!(last_day(certificate), last, "{name}");
            assert!(last > "2027-11-24", "{name} expires within a year of this test's date: find its successor");
            RootCertStore::empty().add(certificate.clone()).unwrap();
            let notice = include_str!("../../NOTICE");
            assert!(notice.contains(&format!("{name}, until {last}\n    {digest}")), "{name} is not in NOTICE");
        }
        TlsRoots::read(None).unwrap();
    }

    #[test]
    fn file_with_a_usable_certificate_is_accepted() {
        let folder = std::env::temp_dir().join(format!("vestibule-trust-{}", std::process::id()));
        let read = |text: &str| {
            fs::write(&folder, text).unwrap();
            TlsRoots::read(folder.to_str())
        };
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let text = format!("words\n{broken}{AMAZON_ROOTS}{broken}words\n");
        read(&text).unwrap();
        let mixed = usable(&text).len();
        assert_eq!(mixed, usable(AMAZON_ROOTS).len());
        for nothing in ["", "words", broken] {
            assert!(matches!(read(nothing), Err(TlsRootsError::Empty)), "{nothing}");
        }
        fs::remove_file(&folder).unwrap();
        assert!(matches!(TlsRoots::read(folder.to_str()), Err(TlsRootsError::Unread(_))));
    }
}
