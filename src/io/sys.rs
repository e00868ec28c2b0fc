//! Five calls that no crate wraps safely for our use, and nothing else: the one file of `io` with
//! `unsafe` in it.
#![allow(unsafe_code)]

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::nap::Timer;
use super::transport::Plain;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

/// Has `in_child` called in every child process from now on, before `fork()` returns there.
///
/// `in_child` must do nothing but touch atomics: the child of a process with threads may not even
/// allocate.
pub(super) fn at_fork(in_child: extern "C" fn()) {
    // SAFETY: the handler is a function of this library, which is linked `nodelete` and thus never
    // unmapped; by contract it is async-signal-safe. The call can only fail for want of memory; a
    // child then behaves as one that was not told, which no call of this library can mend.
    unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    }
}

/// Has the kernel call the socket readable only once so many bytes are there, or its peer has
/// closed; 1: any. A socket that cannot be told stays as it is.
pub(super) fn set_receive_low_water(socket: BorrowedFd<'_>, bytes: u16) {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes.into());
}

/// Has the kernel send the acknowledgement that it is holding back (tcp(7), TCP_QUICKACK): this `once`, or also what it
/// would hold back until something is sent.
pub(super) fn acknowledge(socket: BorrowedFd<'_>, once: bool) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // Of a value that is set, the kernel takes an even one as "once".
    set_option(
        socket,
        libc::IPPROTO_TCP,
        libc::TCP_QUICKACK,
        if once { 2 } else { 1 },
    );
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (socket, once);
}

/// Sets an option that only makes things quicker: a kernel that does not know it is no error.
fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: libc::c_int) {
    // SAFETY: the descriptor is borrowed for the call; the option takes an int, which it reads.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        );
    }
}

/// Puts the socket under the runtime's watch until the result is dropped.
///
/// # Errors
/// The process has no memory or descriptor left.
pub(super) fn watch(socket: Arc<Plain>, interest: Interest) -> io::Result<AsyncFd<Arc<Plain>>> {
    // SAFETY: the descriptor must stay open, and the same, while it is registered. `Plain` owns its
    // socket, gives out only borrows of it, and always names that one descriptor; the `AsyncFd`
    // keeps the `Plain` alive, and drops its registration before that.
    let watch = unsafe { AsyncFd::register_with_interest(socket, interest) }?;
    Ok(watch)
}

/// Puts the timer under the runtime's watch until the result is dropped.
///
/// # Errors
/// The process has no memory left.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn watch_timer(timer: Timer) -> io::Result<AsyncFd<Timer>> {
    // SAFETY: the descriptor must stay open, and the same, while it is registered. `Timer` owns it, lends it to nobody, and
    // always names that one; the `AsyncFd` owns the `Timer`, and drops its registration before it.
    let watch = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
    Ok(watch)
}
