//! Where the server binary comes from: named by the plan, built in the workspace, or beside the harness.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use super::{Error, release::BINARY};

/// The server's package in the workspace.
const PACKAGE: &str = "server";

/// Finds the binaries of the odd and the even releases, building one where none is named.
pub(super) async fn binaries(old: Option<&Path>, new: Option<&Path>) -> Result<(PathBuf, PathBuf), Error> {
    let old = match old {
        Some(path) => named(path)?,
        None => own().await?,
    };
    let new = match new {
        Some(path) => named(path)?,
        None => old.clone(),
    };
    Ok((old, new))
}

fn named(path: &Path) -> Result<PathBuf, Error> {
    if !path.is_file() {
        return Err(Error::NotABinary { path: path.to_owned() });
    }
    path.canonicalize().map_err(Error::file("resolve", path))
}

/// Our own server: built when the harness runs out of a workspace's target folder, else its neighbour.
async fn own() -> Result<PathBuf, Error> {
    let harness =
        env::current_exe().map_err(Error::file("find the running harness", Path::new("/proc/self/exe")))?;
    match BuildFolder::of(&harness) {
        Some(folder) => folder.build().await,
        None => {
            let looked_in = harness.parent().unwrap_or(Path::new("/")).to_owned();
            let neighbour = looked_in.join(BINARY);
            if neighbour.is_file() { Ok(neighbour) } else { Err(Error::NoBinary { looked_in }) }
        }
    }
}

/// A profile's folder under a target folder of our workspace.
#[derive(Debug, PartialEq, Eq)]
struct BuildFolder {
    workspace: PathBuf,
    target: PathBuf,
    /// As in the folder's name: `debug`, `release`, or a profile's own name.
    profile: String,
}

impl BuildFolder {
    /// Takes the path of a running harness (or of its test binary in `deps/`) apart.
    fn of(executable: &Path) -> Option<Self> {
        let folder = executable.parent()?;
        let folder = if folder.ends_with("deps") { folder.parent()? } else { folder };
        let target = folder.parent()?;
        // The target folder may lie anywhere (CARGO_TARGET_DIR); then cargo says where the workspace is.
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
        let workspace =
            target.ancestors().chain(manifest_dir.ancestors()).find(|folder| is_workspace(folder))?;
        // cargo keeps its fingerprints beside what it built. Its CACHEDIR.TAG would not do: it is missing
        // from a target folder that somebody else has made.
        let marked = folder.join(".fingerprint").is_dir();
        marked.then(|| Self {
            workspace: workspace.to_owned(),
            target: target.to_owned(),
            profile: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        })
    }

    /// Builds the server as the harness was built, and shows what cargo says: it may take minutes.
    async fn build(&self) -> Result<PathBuf, Error> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // The folder of the dev profile is called debug.
        let profile = if self.profile == "debug" { "dev" } else { &self.profile };
        // With the whole workspace selected, the dependencies get the features that the harness was built
        // with, and most of them need not be compiled a second time.
        let arguments = ["build", "--workspace", "--bin", BINARY, "--profile", profile];
        let shown = format!("cargo {}", arguments.join(" "));
        let failed = |source: io::Error| Error::Run { command: shown.clone(), source };
        let status = Command::new(cargo)
            .args(arguments)
            .arg("--target-dir")
            .arg(&self.target)
            .current_dir(&self.workspace)
            .stdin(Stdio::null())
            // Our standard output is for the report.
            .stdout(io::stderr())
            .kill_on_drop(true)
            .status()
            .await
            .map_err(failed)?;
        if !status.success() {
            return Err(Error::Build { command: shown, status: status.to_string() });
        }
        Ok(self.target.join(&self.profile).join(BINARY))
    }
}

fn is_workspace(folder: &Path) -> bool {
    folder.join("Cargo.toml").is_file() && folder.join(PACKAGE).join("Cargo.toml").is_file()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_profile_and_the_workspace_come_from_the_executable_s_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("server")).unwrap();
        for profile in ["debug", "release"] {
            fs::create_dir_all(root.join("target").join(profile).join(".fingerprint")).unwrap();
        }
        for file in ["Cargo.toml", "server/Cargo.toml"] {
            fs::write(root.join(file), "").unwrap();
        }
        for (executable, profile) in [
            ("target/debug/harness", "debug"),
            ("target/release/harness", "release"),
            ("target/debug/deps/it-0", "debug"),
        ] {
            let expected = BuildFolder {
                workspace: root.to_owned(),
                target: root.join("target"),
                profile: profile.to_owned(),
            };
            assert_eq!(BuildFolder::of(&root.join(executable)), Some(expected), "{executable}");
        }
        assert_eq!(BuildFolder::of(Path::new("/usr/local/bin/harness")), None);
    }

    #[test]
    fn a_named_binary_must_be_a_file() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(binaries(Some(Path::new("no/such/file")), None)).unwrap_err();
        insta::assert_snapshot!(error, @"use no/such/file as the server binary: it is not a file; give an executable with --old and --new");
    }
}
