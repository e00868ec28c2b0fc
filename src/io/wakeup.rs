//! A descriptor that becomes readable when somebody calls [`Wakeup::wake`]: an eventfd, or a pipe
//! where there is none. Made for hosts that can watch a descriptor and for those that just wait.

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
mod signal {
    use nix::sys::eventfd::{EfdFlags, EventFd};
    use std::os::fd::{AsFd, BorrowedFd};

    #[derive(Debug)]
    pub(super) struct Signal(EventFd);

    impl Signal {
        pub(super) fn new() -> nix::Result<Self> {
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(Signal)
        }

        pub(super) fn set(&self) {
            // Full counts as set.
            let _ = self.0.write(1);
        }

        pub(super) fn clear(&self) {
            let _ = self.0.read();
        }

        pub(super) fn readable(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
mod signal {
    use nix::fcntl::{fcntl, FcntlArg, FdFlag, OFlag};
    use nix::unistd::{pipe, read, write};
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    #[derive(Debug)]
    pub(super) struct Signal {
        reader: OwnedFd,
        writer: OwnedFd,
    }

    impl Signal {
        pub(super) fn new() -> nix::Result<Self> {
            let (reader, writer) = pipe()?;
            for fd in [&reader, &writer] {
                fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
            }
            Ok(Signal { reader, writer })
        }

        pub(super) fn set(&self) {
            let _ = write(&self.writer, &[1]);
        }

        pub(super) fn clear(&self) {
            let mut sink = [0; 64];
            while read(&self.reader, &mut sink).is_ok_and(|n| n == sink.len()) {}
        }

        pub(super) fn readable(&self) -> BorrowedFd<'_> {
            self.reader.as_fd()
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Wakeup(signal::Signal);

impl Wakeup {
    /// A fresh descriptor, not readable, closed on exec.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Wakeup(signal::Signal::new()?))
    }

    /// Makes it readable. From any thread.
    pub fn wake(&self) {
        self.0.set();
    }

    /// Makes it unreadable.
    pub fn clear(&self) {
        self.0.clear();
    }

    /// Blocks until it is readable, for `limit` at most; false when the time is over, or early
    /// when a signal handler ran.
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        let timeout = limit.map_or(PollTimeout::NONE, |limit| {
            // A millisecond too long rather than a busy loop for the last fraction of one.
            let millis = limit.as_millis() + u128::from(limit.subsec_nanos() % 1_000_000 != 0);
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [PollFd::new(self.0.readable(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(ready) => ready > 0,
            Err(Errno::EINTR) => false,
            // Nothing else can happen to a valid descriptor; seen as a time-out, the caller's
            // loop goes on.
            Err(_) => false,
        }
    }

    /// Its number, for a host that watches it.
    pub fn fd(&self) -> RawFd {
        self.0.readable().as_raw_fd()
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.readable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_once_and_clears() -> io::Result<()> {
        let wakeup = Wakeup::new()?;
        assert!(!wakeup.wait(Some(Duration::ZERO)));
        wakeup.wake();
        wakeup.wake();
        assert!(wakeup.wait(Some(Duration::from_secs(1))));
        wakeup.clear();
        assert!(!wakeup.wait(Some(Duration::ZERO)));
        Ok(())
    }
}
