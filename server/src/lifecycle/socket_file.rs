//! The file of a unix socket: made when nobody answers at its path, removed only by whoever made it.
//!
//! Invariant: a file at which somebody answers, or that is no socket, is never touched.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use socket2::{Domain, SockAddr, Socket, Type};

/// A file that a chain of processes has made and is to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and number.
    inode: (u64, u64),
    /// When it was made, where the file system says: numbers are used again.
    made: Option<SystemTime>,
}

impl SocketFile {
    /// The socket that lies at `path` now, which is ours.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "what lies there is no socket"));
        }
        let inode = (metadata.dev(), metadata.ino());
        Ok(Self { path: path.to_path_buf(), inode, made: metadata.created().ok() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still the same that lies there.
    pub(super) fn is_there(&self) -> bool {
        Self::at(&self.path).is_ok_and(|found| found == *self)
    }

    /// Removes it, if it is still the same.
    pub(super) fn remove(&self) {
        if self.is_there() {
            // Gone already is as good.
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes room for a socket at `path`: what a dead process left there is removed.
///
/// # Errors
/// When somebody answers there, when something else lies there, and those of removing a file.
pub(super) fn make_room(path: &Path) -> io::Result<()> {
    let asking = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue is somebody, and must not hold us up.
    asking.set_nonblocking(true)?;
    let in_use = |what| Err(io::Error::new(io::ErrorKind::AddrInUse, what));
    match asking.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            if fs::symlink_metadata(path)?.file_type().is_socket() {
                tracing::info!(path = %path.display(), "nobody answers at this socket any more; it is replaced");
                fs::remove_file(path)
            } else {
                in_use("something else lies there, which is no socket; move it away")
            }
        }
        Ok(()) => in_use("another process answers there; stop it, or take another path"),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            in_use("another process listens there; stop it, or take another path")
        }
        // A socket of another type, for example the control socket of a server.
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    #[test]
    fn only_what_nobody_answers_at_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        make_room(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(make_room(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let ours = SocketFile::at(&path).unwrap();
        drop(listener);
        make_room(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, "notes").unwrap();
        assert_eq!(make_room(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        ours.remove();
        assert!(path.exists(), "another file is somebody else's");
        SocketFile::at(&path).unwrap_err();
        fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        SocketFile::at(&path).unwrap().remove();
        assert!(!path.exists());
        drop(listener);
        let _other = UnixDatagram::bind(&path).unwrap();
        make_room(&path).unwrap_err();
        assert!(path.exists());
    }
}
