//! The data directory that MySQL or MariaDB starts from: made once for each version, which takes seconds, and copied
//! for each run, which takes milliseconds.
//!
//! It lies in the user's cache folder. Whoever finds none there makes it beside and renames it, so that it is whole
//! when it has its name, whoever else makes one at the same time.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    Error,
    process::{hex, output},
    programs::as_root,
};

/// The harness's own folder in the cache.
const FOLDER: &str = "seckill-harness";
/// MariaDB's own way to make one; it is in its package, beside the server or in the usual folder.
const INSTALL: &str = "mariadb-install-db";

/// Makes `into`, which must not exist, a data directory for `program`.
pub(super) async fn data(program: &Path, into: &Path) -> Result<(), Error> {
    let version = output(program, &["--no-defaults".into(), "--version".into()]).await?;
    let Some(cache) = cache() else { return make(program, &version, into).await };
    let key = hex(&Sha256::digest(&version)[..8]);
    let template = cache.join(format!("mysql-data-{key}"));
    if !template.is_dir() {
        let beside = tempfile::tempdir_in(&cache).map_err(Error::file("make a folder in", &cache))?;
        let made = beside.path().join("data");
        make(program, &version, &made).await?;
        match fs::rename(&made, &template) {
            Err(error) if !template.is_dir() => return Err(Error::file("make", &template)(error)),
            // Somebody else was faster.
            Ok(()) | Err(_) => {}
        }
    }
    copy(&template, into).map_err(Error::file("copy the data of MySQL to", into))
}

/// The harness's folder for what it can always make again; `None` where there is no place for it.
fn cache() -> Option<PathBuf> {
    let given = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let root = given("XDG_CACHE_HOME").or_else(|| Some(given("HOME")?.join(".cache")))?.join(FOLDER);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&root).is_ok().then_some(root)
}

async fn make(program: &Path, version: &str, into: &Path) -> Result<(), Error> {
    // A server that starts removes temporary tables from where it puts its own, those of others that run there too.
    // The script of MariaDB cannot pass on a folder whose name has spaces.
    let temporary = tempfile::tempdir().map_err(Error::file("make a folder in", &env::temp_dir()))?;
    let mut tmpdir = OsString::from("TMPDIR=");
    tmpdir.push(temporary.path());
    let mut datadir = OsString::from("--datadir=");
    datadir.push(into);
    let mut arguments: Vec<OsString> = vec!["--no-defaults".into(), datadir];
    let program = if version.contains("MariaDB") {
        arguments.push("--auth-root-authentication-method=normal".into());
        arguments.push("--skip-test-db".into());
        arguments.push("--innodb-log-file-size=4M".into());
        arguments.push("--innodb-flush-method=nosync".into());
        let beside = program.with_file_name(INSTALL);
        if beside.is_file() { beside } else { INSTALL.into() }
    } else {
        arguments.push("--initialize-insecure".into());
        program.to_owned()
    };
    arguments.extend(as_root());
    arguments.splice(0..0, [tmpdir, program.into()]);
    output(Path::new("env"), &arguments).await.map(drop)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::with_a_strangers_temporary_table, *};

    #[test]
    fn making_data_leaves_temporary_tables_of_others_alone() {
        with_a_strangers_temporary_table(async |program, folder| {
            let version = output(program, &["--no-defaults".into(), "--version".into()]).await.unwrap();
            make(program, &version, &folder.join("data")).await.unwrap();
        });
    }
}
