//! Whom connections to AWS believe: Amazon's own certificate authorities, or those of a file.
//!
//! The system has some 140 of them. Reading those was most of a function's start (docs/adr/0013), and none but Amazon's
//! certify what is called here.

use std::{fs, io, sync::Arc};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::connector;

/// The five that Amazon Trust Services says to have in a trust store of one's own; NOTICE tells where they come from.
pub const AMAZON_ROOTS: &str = include_str!("amazon_roots.pem");

/// How the end of a certificate is spelled.
const END: &str = "-----END CERTIFICATE-----";

/// The certificate authorities that connections to AWS believe.
#[derive(Debug, Clone)]
pub struct TlsRoots(ClientConfig);

/// Why there is nobody to believe.
#[derive(Debug, thiserror::Error)]
pub enum TlsRootsError {
    /// The file does not read.
    #[error("{0}")]
    Unread(#[from] io::Error),
    /// Nothing in the file is a certificate.
    #[error("there is no certificate in it that can be used")]
    Empty,
    /// TLS does not take them.
    #[error("TLS does not take them: {0}")]
    Refused(#[from] rustls::Error),
}

impl TlsRoots {
    /// Amazon's own, or those of a PEM file and no others.
    ///
    /// # Errors
    /// [`TlsRootsError`].
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

    /// A client for the SDK, with connections of its own.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        connector::http_client(self.0.clone())
    }
}

/// The certificates of a PEM text that TLS can use; what it cannot use is passed over.
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

    /// Name, SHA-256 of all of it and last day of each, as NOTICE has them.
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

    /// The last day of a certificate: its two times are the one pair of UTCTimes in it.
    fn last_day(der: &[u8]) -> String {
        let validity = der.windows(32).find(|bytes| bytes.starts_with(&[0x30, 0x1e, 0x17, 0x0d]) && bytes[17] == 0x17);
        let end = std::str::from_utf8(&validity.unwrap()[19..25]).unwrap();
        format!("20{}-{}-{}", &end[..2], &end[2..4], &end[4..])
    }

    #[test]
    fn amazons_roots_are_the_known_ones_and_hold_for_years() {
        let found: Vec<_> = CertificateDer::pem_slice_iter(AMAZON_ROOTS.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(found.len(), KNOWN.len());
        for (certificate, (name, digest, last)) in found.iter().zip(KNOWN) {
            assert_eq!(HEXLOWER.encode(&Sha256::digest(certificate)), digest, "{name}");
            assert_eq!(last_day(certificate), last, "{name}");
            assert!(last > "2027-11-24", "{name} ends within a year of this test's day: look for its successor");
            RootCertStore::empty().add(certificate.clone()).unwrap();
            let notice = include_str!("../../NOTICE");
            assert!(notice.contains(&format!("{name}, until {last}\n    {digest}")), "{name} is not in NOTICE");
        }
        TlsRoots::read(None).unwrap();
    }

    #[test]
    fn of_a_file_counts_what_can_be_used() {
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
