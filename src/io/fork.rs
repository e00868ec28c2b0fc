//! Which process this is, told so cheaply that every call can ask.
//!
//! A child made by `fork()` has a copy of the parent's memory but not its threads, and shares its
//! descriptors, the epoll set included. It must use nothing that the parent made: not a lock that
//! a thread of the parent may have held, not a socket whose closing would touch the shared epoll
//! set. So everything carries the generation that made it.

use super::sys;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Once;

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between this process and the one that loaded the library.
#[inline]
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Arranges that a child finds another generation. Call it before anything asks for one.
pub fn watch() {
    static ONCE: Once = Once::new();
    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    ONCE.call_once(|| sys::at_fork(in_child));
}
