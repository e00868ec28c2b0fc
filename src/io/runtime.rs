//! The one runtime thread of a process, started at the first client and shared by all clients of
//! all Lua states. A forked child gets one of its own.

use super::fork;
#[cfg(feature = "broker")]
use nix::sys::resource::{getrlimit, setrlimit, Resource};
use nix::sys::signal::SigSet;
use std::io;
use std::sync::OnceLock;
use tokio::runtime::{Builder, Handle};

/// The runtime of one generation of the process, and a place for that of a child. A child never
/// looks at the cell that its parent filled: a thread of the parent may have been at it.
struct Slot {
    runtime: OnceLock<Handle>,
    child: OnceLock<Box<Slot>>,
}

impl Slot {
    const fn new() -> Self {
        Slot {
            runtime: OnceLock::new(),
            child: OnceLock::new(),
        }
    }
}

static ROOT: Slot = Slot::new();

/// The runtime of this process.
///
/// # Errors
/// No thread or no epoll descriptor can be had.
pub fn handle() -> io::Result<Handle> {
    let mut slot = &ROOT;
    for _ in 0..fork::generation() {
        slot = slot.child.get_or_init(|| Box::new(Slot::new()));
    }
    if let Some(handle) = slot.runtime.get() {
        return Ok(handle.clone());
    }
    let handle = start()?;
    // Two Lua states may have raced here: the loser's thread ends when its handle is dropped.
    Ok(slot.runtime.get_or_init(|| handle).clone())
}

/// Lets the process have as many descriptors as its administrator allows. For a program that is a broker and nothing
/// else: a library in somebody's process leaves that to the process. How many there may be now.
#[cfg(feature = "broker")]
pub fn raise_descriptors() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => Some(hard),
        Err(_) => Some(soft),
    }
}

fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // Only name resolution blocks.
        .max_blocking_threads(4)
        .thread_name("mq-resolver")
        .build()?;
    let handle = runtime.handle().clone();
    // A thread inherits the mask of its maker: signals are the host's, and its handlers must run
    // on its own threads, where they interrupt its own system calls.
    let mask = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
    let started = std::thread::Builder::new()
        .name("mq".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()));
    if let Ok(before) = mask {
        let _ = before.thread_set_mask();
    }
    started.map(|_| handle)
}
