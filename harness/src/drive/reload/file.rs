//! A change of a file, in each of the ways in which people and programs write files.
//!
//! It is made at the last system call: until then a reader may rightly see the old file, none, or a part.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tokio::task::spawn_blocking;

use crate::{clock::RunClock, environment::Content, plan::How};

/// Pieces of a file that is written in pieces, and the rest after each.
const PIECES: usize = 8;
const PIECE_REST: Duration = Duration::from_millis(2);
/// The link that a configuration map switches.
const DATA_LINK: &str = "..data";

/// Changes a file on a thread where that may take its time; when the last system call was begun.
pub(super) async fn change(
    path: PathBuf,
    content: Content,
    how: How,
    number: u64,
    clock: RunClock,
) -> Result<u64, String> {
    let shown = path.display().to_string();
    let writing = spawn_blocking(move || write(&path, &content, how, number, clock));
    let written = writing.await.map_err(|error| format!("{shown}: {error}"))?;
    written.map_err(|error| format!("{shown}: {error}"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a writer that rests is what is wanted; it has a thread of its own"
)]
fn write(path: &Path, content: &Content, how: How, number: u64, clock: RunClock) -> io::Result<u64> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let beside = folder.join(format!(".new-{number}"));
    match how {
        How::Rename => {
            whole(&beside, content)?;
            let at_ns = clock.now_ns();
            fs::rename(&beside, path)?;
            Ok(at_ns)
        }
        How::InPlace => {
            let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            content.write_to(&mut file)?;
            file.set_len(content.bytes())?;
            Ok(closed(file, clock))
        }
        How::Pieces => {
            let mut file = File::create(path)?;
            for part in content.parts() {
                for piece in part.chunks(part.len().div_ceil(PIECES).max(1)) {
                    file.write_all(piece)?;
                    thread::sleep(PIECE_REST);
                }
            }
            Ok(closed(file, clock))
        }
        How::DeleteCreate => {
            gone(fs::remove_file(path))?;
            let mut file = File::create(path)?;
            content.write_to(&mut file)?;
            Ok(closed(file, clock))
        }
        How::Symlink => switch(path, folder, content, number, clock),
        How::Folder => {
            gone(fs::remove_dir_all(folder))?;
            fs::create_dir_all(folder)?;
            whole(&beside, content)?;
            let at_ns = clock.now_ns();
            fs::rename(&beside, path)?;
            Ok(at_ns)
        }
    }
}

/// As the kubelet does it: `name -> ..data/name`, `..data -> ..N`, and the second link is renamed over at once.
fn switch(path: &Path, folder: &Path, content: &Content, number: u64, clock: RunClock) -> io::Result<u64> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let data = format!("..{number}");
    fs::create_dir_all(folder.join(&data))?;
    whole(&folder.join(&data).join(name), content)?;
    let link = folder.join(DATA_LINK);
    let before = fs::read_link(&link).ok();
    let new_link = folder.join(format!("{DATA_LINK}_new"));
    gone(fs::remove_file(&new_link))?;
    symlink(&data, &new_link)?;
    let mut at_ns = clock.now_ns();
    fs::rename(&new_link, &link)?;
    let through_link = Path::new(DATA_LINK).join(name);
    if fs::read_link(path).ok().as_deref() != Some(&through_link) {
        // The first time: from now on the file is a link.
        symlink(&through_link, &new_link)?;
        at_ns = clock.now_ns();
        fs::rename(&new_link, path)?;
    }
    if let Some(before) = before.filter(|before| *before != Path::new(&data)) {
        gone(fs::remove_dir_all(folder.join(before)))?;
    }
    Ok(at_ns)
}

fn whole(path: &Path, content: &Content) -> io::Result<()> {
    let mut file = File::create(path)?;
    content.write_to(&mut file)
}

fn closed(file: File, clock: RunClock) -> u64 {
    let at_ns = clock.now_ns();
    drop(file);
    at_ns
}

/// What is not there need not be removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
