//! A descriptor that becomes readable when somebody calls [`Wakeup::wake`]: an eventfd, or a pipe
//! where there is none. Made for hosts that can watch a descriptor and for those that just wait.

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

/// How many descriptors can be watched beside it.
pub const MAX_OTHERS: usize = 4;

/// Why [`Wakeup::wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// It was woken.
    Wakeup,
    /// Others are readable: a bit for each, the lowest for the first.
    Others(u8),
    /// The time is over, or a signal came.
    Late,
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

    /// Blocks until it is readable, or one of `others` is, for `limit` at most. Returns at once
    /// when a signal handler ran, as if the time were over.
    pub fn wait(&self, others: &[BorrowedFd<'_>], limit: Option<Duration>) -> Woken {
        let timeout = limit.map_or(PollTimeout::NONE, |limit| {
            // A millisecond too long rather than a busy loop for the last fraction of one.
            let millis = limit.as_millis() + u128::from(limit.subsec_nanos() % 1_000_000 != 0);
            PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
        });
        let own = || PollFd::new(self.0.readable(), PollFlags::POLLIN);
        let mut fds: [PollFd<'_>; 1 + MAX_OTHERS] = std::array::from_fn(|_| own());
        let count = others.len().min(MAX_OTHERS);
        for (slot, other) in fds.iter_mut().skip(1).zip(others) {
            *slot = PollFd::new(*other, PollFlags::POLLIN);
        }
        let Some(watched) = fds.get_mut(..=count) else {
            return Woken::Late;
        };
        // Nothing but a signal can go wrong with valid descriptors.
        if !poll(watched, timeout).is_ok_and(|ready| ready > 0) {
            return Woken::Late;
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        if fds.first().is_some_and(ready) {
            return Woken::Wakeup;
        }
        let mut mask = 0;
        for (at, fd) in fds.iter().skip(1).take(count).enumerate() {
            mask |= u8::from(ready(fd)) << at;
        }
        Woken::Others(mask)
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
        let other = Wakeup::new()?;
        let look = || wakeup.wait(&[other.as_fd()], Some(Duration::ZERO));
        assert_eq!(look(), Woken::Late);
        wakeup.wake();
        wakeup.wake();
        assert_eq!(look(), Woken::Wakeup);
        wakeup.clear();
        assert_eq!(look(), Woken::Late);
        other.wake();
        assert_eq!(look(), Woken::Others(1));
        Ok(())
    }
}
