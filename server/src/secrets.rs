//! The admin token and the key that signs the users' tokens, each in its own file, made at first start.
//!
//! A secret never shows in a log line, a `Debug` text or an error.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{config::Config, seckill::TokenKey};

/// Bytes of a secret that we make; 256 bits are beyond guessing.
const SECRET_BYTES: usize = 32;

/// A secret file with fewer characters is refused, because it could be guessed.
const SECRET_CHARS_MIN: usize = 16;

/// What the process must keep to itself.
#[derive(Debug)]
pub struct Secrets {
    pub admin: AdminToken,
    pub tokens: TokenKey,
}

/// The bearer token of the admin API.
#[derive(Clone)]
pub struct AdminToken(String);

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there and cannot be read.
    #[error("read the secret in {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// There was no file and none could be made.
    #[error("make the secret file {}; its folder must exist and be writable", path.display())]
    Make {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is empty or holds a short word.
    #[error(
        "use the secret in {}: it has fewer than {SECRET_CHARS_MIN} characters; delete the file to get a new one",
        path.display()
    )]
    Short { path: PathBuf },
}

impl Secrets {
    /// Reads both secrets, and makes those that are not there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn load(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            admin: AdminToken::load(&config.admin.token_file)?,
            tokens: load_token_key(&config.auth.secret_file)?,
        })
    }
}

/// The key that signs the users' tokens.
///
/// # Errors
/// See [`Error`].
pub fn load_token_key(path: &Path) -> Result<TokenKey, Error> {
    Ok(TokenKey::new(load_or_make(path)?.as_bytes()))
}

impl AdminToken {
    /// Reads the token, and makes it when it is not there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        load_or_make(path).map(Self)
    }

    /// Reads the token of a server that runs already.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        read(path).map(Self)
    }

    /// Whether `offered` is the token. Takes as long for a near miss as for a far one, because two
    /// authentication codes are compared instead of the words.
    #[must_use]
    pub fn accepts(&self, offered: &str) -> bool {
        let code = |word: &str| {
            Hmac::<Sha256>::new_from_slice(self.0.as_bytes())
                .expect("HMAC must take a key of any length")
                .chain_update(word)
        };
        code(offered).verify(&code(&self.0).finalize().into_bytes()).is_ok()
    }

    /// The token itself, for the `authorization` header.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(hidden)")
    }
}

/// The word in the file, which is made first if need be.
fn load_or_make(path: &Path) -> Result<String, Error> {
    if !path.exists() {
        make(path).map_err(|source| Error::Make { path: path.to_path_buf(), source })?;
    }
    read(path)
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_path_buf(), source };
    let text = fs::read_to_string(path).map_err(failed)?;
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!("{} can be read by others (mode {:o}); use chmod 600", path.display(), mode & 0o777);
    }
    let word = text.trim();
    if word.len() < SECRET_CHARS_MIN {
        return Err(Error::Short { path: path.to_path_buf() });
    }
    Ok(word.to_owned())
}

/// Writes a new secret under another name and links it to its place, so that nobody ever sees half of
/// it and of two processes that start at once only one makes it.
fn make(path: &Path) -> io::Result<()> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.new", getrandom::u64().map_err(io::Error::other)?));
    let unfinished = path.with_file_name(name);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = writeln!(file, "{}", URL_SAFE_NO_PAD.encode(secret)).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&unfinished, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&unfinished)?;
    linked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".admin-token");
        let first = AdminToken::load(&path).unwrap();
        assert_eq!(first.expose().len(), 43);
        assert_eq!(AdminToken::load(&path).unwrap().expose(), first.expose());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left behind");
    }

    #[test]
    fn only_the_token_itself_is_accepted() {
        let token = AdminToken("correct horse battery".to_owned());
        assert!(token.accepts("correct horse battery"));
        for wrong in ["", "correct horse batter", "correct horse battery ", "Correct horse battery"] {
            assert!(!token.accepts(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_short_secret_is_refused_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "hunter2\n").unwrap();
        let error = AdminToken::load(&path).unwrap_err();
        assert!(matches!(error, Error::Short { .. }));
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert_eq!(format!("{:?}", AdminToken("hunter2".to_owned())), "AdminToken(hidden)");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let error = AdminToken::load(Path::new("/nowhere/at/all/token")).unwrap_err();
        assert!(matches!(error, Error::Make { .. }));
    }
}
