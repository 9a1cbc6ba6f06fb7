//! The settings a process starts with: the file as written -> checked values without `Option` where a
//! default exists.
//!
//! Every key in it is fixed: loaded at start, changed by an upgrade or a restart and never applied by
//! halves. What a changed file would need is told by [`pending`].

mod bind;
mod etcd;
mod file;
mod pending;
mod services;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod upgrade;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tomlcheck::Faults;

pub use self::{
    bind::{Bind, LISTENERS_MAX, only_v6},
    etcd::{EtcdSettings, EtcdUser, NodeSettings, reached},
    file::parse,
    pending::{Needs, PendingChange, pending},
    services::{MysqlSettings, Password, PasswordError, RedisSettings, halves},
    settings::{
        AdminSettings, ApiSettings, AuthSettings, Config, FeedSettings, GlobalSettings, Limits, LogLevel,
        Place, ReloadSettings, SaleSettings, Secret, StoreSettings, Strategy,
    },
    stream::StreamSettings,
    upgrade::UpgradeSettings,
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
    /// The file has faults; the source is all of them, each with line and hint.
    #[error("use the configuration file {}", path.display())]
    Faults {
        path: PathBuf,
        #[source]
        faults: Faults,
    },
}

/// Reads and checks the file at `path`.
///
/// # Errors
/// The file cannot be read, or it has faults; then all of them are told at once.
pub fn load(path: &Path) -> Result<Config, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    parse(path, &text).map_err(|faults| Error::Faults { path: path.to_path_buf(), faults })
}
