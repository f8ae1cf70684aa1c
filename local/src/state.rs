//! The session that `login` keeps for the next commands: one file, which only its owner can read.

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Failure;

/// The folder in the user's state folder.
const FOLDER: &str = "vestibule";

/// The file in it.
const FILE: &str = "session.json";

/// A session, and whose it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct SavedSession {
    /// The server.
    pub(crate) url: String,
    pub(crate) tenant: String,
    pub(crate) username: String,
    pub(crate) user_id: String,
    /// The session token.
    pub(crate) token: String,
    /// Lets the next sign-in from this machine count its own wrong passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device_token: Option<String>,
}

/// The file with the session.
#[derive(Debug, Clone)]
pub(crate) struct StateFile(PathBuf);

impl StateFile {
    /// The file of this user: in `$XDG_STATE_HOME`, otherwise in `~/.local/state`.
    ///
    /// # Errors
    /// Neither of the two folders is known.
    pub(crate) fn locate() -> Result<Self, Failure> {
        Self::within(env::var_os("XDG_STATE_HOME"), env::var_os("HOME"))
    }

    fn within(state: Option<OsString>, home: Option<OsString>) -> Result<Self, Failure> {
        // The XDG specification ignores relative paths.
        let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
        let state = state.and_then(absolute).or_else(|| home.and_then(absolute).map(|home| home.join(".local/state")));
        let state = state.ok_or("there is no place for the session: set HOME or XDG_STATE_HOME to an absolute path")?;
        Ok(Self(state.join(FOLDER).join(FILE)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The session, if there is one.
    ///
    /// # Errors
    /// The file is open to other users, damaged or unreadable.
    pub(crate) fn read(&self) -> Result<Option<SavedSession>, Failure> {
        let path = self.0.display();
        let mut file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot read {path} ({error}): check whose file it is").into()),
        };
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            return Err(format!("{path} is open to other users of this machine: run `chmod 600 {path}`").into());
        }
        let mut text = Zeroizing::new(Vec::new());
        file.read_to_end(&mut text)?;
        // The message of the parser could quote the token.
        let kept =
            serde_json::from_slice(&text).map_err(|_| format!("{path} is damaged: delete it and sign in again"))?;
        Ok(Some(kept))
    }

    /// Replaces the file as a whole: a crash leaves the old session or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, kept: &SavedSession) -> Result<(), Failure> {
        self.replace(kept).map_err(|error| {
            let path = self.0.display();
            format!("cannot keep the session in {path} ({error}): check that this user may write there").into()
        })
    }

    fn replace(&self, kept: &SavedSession) -> io::Result<()> {
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let new = self.0.with_extension(format!("json.{}", std::process::id()));
        let text = Zeroizing::new(serde_json::to_vec(kept)?);
        let written = write_private(&new, &text).and_then(|()| fs::rename(&new, &self.0));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written?;
        File::open(folder)?.sync_all()
    }

    /// Deletes the file.
    ///
    /// # Errors
    /// The file cannot be deleted.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        let path = self.0.display();
        fs::remove_file(&self.0).map_err(|error| format!("cannot delete {path} ({error}): delete it yourself").into())
    }
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    // A file of an earlier process with the same id.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn kept(token: &str) -> SavedSession {
        let text = str::to_owned;
        SavedSession {
            url: text("http://127.0.0.1:1"),
            tenant: text("acme"),
            username: text("ann"),
            user_id: text("u-ann"),
            token: text(token),
            device_token: None,
        }
    }

    #[test]
    fn session_is_in_the_state_folder_of_the_user() {
        let path = |state: &str, home: &str| {
            let file = StateFile::within(Some(state.into()), Some(home.into()));
            file.map(|file| file.0.to_str().unwrap().to_owned()).map_err(drop)
        };
        assert_eq!(path("/s", "/h"), Ok("/s/vestibule/session.json".to_owned()));
        assert_eq!(path("", "/h"), Ok("/h/.local/state/vestibule/session.json".to_owned()));
        assert_eq!(path("relative", "/h"), Ok("/h/.local/state/vestibule/session.json".to_owned()));
        assert_eq!(path("", ""), Err(()));
    }

    #[test]
    fn session_is_kept_for_its_owner_only() {
        let home = TempDir::new().unwrap();
        let file = StateFile::within(Some(home.path().into()), None).unwrap();
        assert!(file.read().unwrap().is_none());
        for token in ["vs_1", "vs_2"] {
            file.write(&kept(token)).unwrap();
            assert!(file.read().unwrap() == Some(kept(token)));
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(file.path()), mode(file.path().parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(file.path().parent().unwrap()).unwrap().count(), 1, "no file is left beside it");

        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(file.read().err().unwrap().to_string().contains("chmod 600"));
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(file.path(), "{\"token\": \"vs_secret\", ").unwrap();
        let message = file.read().err().unwrap().to_string();
        assert!(message.contains("is damaged") && !message.contains("vs_secret"), "{message}");
        file.remove().unwrap();
        assert!(file.read().unwrap().is_none());
    }
}
