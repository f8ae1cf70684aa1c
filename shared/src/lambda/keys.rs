//! Loads the keys that a flow needs: from KMS, or from a file for development.

use std::fs;

use tokio::join;
use zeroize::Zeroizing;

use super::{Aws, ConfigErrors, RequiredKeys};
use crate::{
    key_file::{self, KeyFile},
    kms,
    secret::{CodeKey, KeyRing, NameKey},
};

/// Where the keys come from: ids of KMS keys, or the content of a file.
#[derive(Default)]
pub(super) struct KeySources {
    file: Option<key_file::Keys>,
    kms: Option<String>,
    sealing: Option<String>,
    names: Option<String>,
    codes: Option<String>,
}

/// The keys that a flow needs, and no others.
pub(super) struct Keys {
    pub(super) sealing: Option<Sealing>,
    pub(super) names: Option<NameKey>,
    pub(super) codes: Option<CodeKey>,
}

/// The source of the sealing keys.
pub(super) enum Sealing {
    /// The keys of a file.
    Ring(KeyRing),
    /// Data keys of the store, wrapped by the KMS key with this id.
    Kms(aws_sdk_kms::Client, String),
}

impl KeySources {
    pub(super) fn read(
        variable: impl Fn(&str) -> Option<String>,
        needs: RequiredKeys,
        faults: &mut ConfigErrors,
    ) -> Self {
        if let Some(path) = variable("VESTIBULE_KEYS_FILE").filter(|path| !path.is_empty()) {
            return Self { file: faults.take(read_file(&path)), ..Self::default() };
        }
        let mut key = |needed: bool, name: &str, what: &str| {
            if needed { faults.require(&variable, name, what) } else { None }
        };
        Self {
            file: None,
            kms: variable("VESTIBULE_KMS_ENDPOINT"),
            sealing: key(needs.sealing, "VESTIBULE_SEALING_KEY", "the KMS key that wraps data keys"),
            names: key(needs.names, "VESTIBULE_NAMES_KEY", "the KMS key for names and SAML signing keys"),
            codes: key(needs.codes, "VESTIBULE_CODES_KEY", "the KMS key for recovery tokens and reset codes"),
        }
    }

    /// Loads the keys. Each digest key is derived now, by its own call to KMS.
    pub(super) async fn keys(self, aws: &Aws, needs: RequiredKeys) -> Result<Keys, ConfigErrors> {
        if let Some(key_file::Keys { ring, names, codes }) = self.file {
            return Ok(Keys {
                sealing: needs.sealing.then_some(Sealing::Ring(ring)),
                names: needs.names.then_some(names),
                codes: needs.codes.then_some(codes),
            });
        }
        let http = aws.http_client();
        let client = kms::client(aws.region.clone(), aws.credentials.clone(), self.kms.clone(), http);
        let mut config = client.config().to_builder();
        config.set_app_name(aws.name.clone());
        let client = aws_sdk_kms::Client::from_conf(config.build());
        let derived = async |id: Option<String>, message: &[u8], name: &str| {
            let Some(id) = id else { return Ok(None) };
            kms::mac_key(&client, &id, message).await.map(Some).map_err(|error| format!("{name} {id}: {error}"))
        };
        let (names, codes) = join!(
            derived(self.names, kms::NAMES_MESSAGE, "VESTIBULE_NAMES_KEY"),
            derived(self.codes, kms::CODES_MESSAGE, "VESTIBULE_CODES_KEY"),
        );
        let mut faults = ConfigErrors::default();
        let (names, codes) = (faults.take(names), faults.take(codes));
        let sealing = self.sealing.map(|id| Sealing::Kms(client.clone(), id));
        match (names, codes) {
            (Some(names), Some(codes)) => {
                Ok(Keys { sealing, names: names.map(NameKey::new), codes: codes.map(CodeKey::new) })
            }
            _ => Err(faults),
        }
    }
}

fn read_file(path: &str) -> Result<key_file::Keys, String> {
    let read = || -> Result<key_file::Keys, String> {
        let bytes = Zeroizing::new(fs::read(path).map_err(|error| error.to_string())?);
        KeyFile::parse(&bytes).and_then(|file| file.keys()).map_err(|fault| fault.to_string())
    };
    read().map_err(|fault| format!("VESTIBULE_KEYS_FILE {path}: {fault}"))
}
