//! How a port reaches a host that can watch nothing but the sockets which it has connected itself: a
//! unix socket for it to connect to. What comes through is told by bytes; see
//! [`Port::set_bell`](super::port::Port::set_bell).
//!
//! The socket is a file in a directory that only this user may enter, and both are gone as soon as
//! the host has connected.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket that waits for one connection.
pub struct Doorbell {
    directory: Directory,
    path: PathBuf,
    listener: UnixListener,
}

/// Removed with what is in it.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // Whoever cleans temporary files up may have been quicker.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Doorbell {
    /// Listens in the directory for temporary files.
    ///
    /// # Errors
    /// Nothing can be made there, or its name is too long for a socket.
    pub fn new() -> io::Result<Self> {
        Self::within(&std::env::temp_dir())
    }

    fn within(parent: &Path) -> io::Result<Self> {
        // A name that somebody else has taken, on purpose, is an error, and another one comes next.
        let directory = parent.join(format!("mq-{:016x}", fastrand::u64(..)));
        DirBuilder::new().mode(0o700).create(&directory)?;
        let directory = Directory(directory);
        let path = directory.0.join("port");
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Doorbell {
            directory,
            path,
            listener,
        })
    }

    /// What the host connects to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The connection that the host has made; the file is gone afterwards.
    ///
    /// # Errors
    /// `WouldBlock`: it has made none.
    pub fn answer(self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        drop(self.directory);
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nobody_else_gets_in_and_nothing_is_left() -> io::Result<()> {
        let doorbell = Doorbell::new()?;
        let path = doorbell.path().to_owned();
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        let mode = std::fs::metadata(&directory)?.permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let _host = UnixStream::connect(&path)?;
        doorbell.answer()?;
        assert!(!directory.exists());
        Ok(())
    }

    #[test]
    fn a_host_that_has_not_connected_is_not_waited_for() -> io::Result<()> {
        let doorbell = Doorbell::new()?;
        let path = doorbell.path().to_owned();
        let refused = doorbell.answer().map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::WouldBlock));
        assert!(!path.exists());
        Ok(())
    }

    #[test]
    fn a_directory_that_is_not_there_is_told() {
        let missing = Path::new("/nonexistent/of/mq");
        let error = Doorbell::within(missing).map(drop).map_err(|e| e.kind());
        assert_eq!(error, Err(io::ErrorKind::NotFound));
    }
}
