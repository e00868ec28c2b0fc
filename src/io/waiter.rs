//! What a Lua thread does for its clients while it has nothing else to do: it writes what they have
//! queued, and reads the sockets of those that have just been active, which saves a message two
//! hops between threads. Everything else is the runtime thread's.

use super::link::Link;
use super::port::Port;
use super::transport::Plain;
use super::wakeup::{Woken, MAX_OTHERS};
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A client that was active so recently is likely to be so again at once.
const HOT: Duration = Duration::from_millis(2);

/// With more clients than this, looking through them costs more than it saves.
const FEW: usize = 32;

/// After so many waits in a row that ended with something for it, the Lua thread takes over the
/// watch for a while.
const STREAK: u32 = 8;

/// Messages that arrive one by one, each a wake-up of its own, cost more than all that is done with
/// them. Where they have done so for [`RUSH`] times in a row, and nobody waits for an answer, the
/// thread lets them gather for a while before it looks again.
const GATHER: Duration = Duration::from_micros(200);

/// How often in a row, ...
const RUSH: u32 = 16;

/// ... how soon after each other, ...
const SOON: Duration = Duration::from_micros(500);

/// ... and how many bytes at a time: less is not worth a pause, with more the pauses are there.
const TRICKLE: std::ops::Range<u64> = 64..8192;

/// Somebody who asks and waits for each answer has it the sooner, the less often both ends fall asleep between: to wake
/// a processor that rests costs more than all that is done with a message. Where [`STREAK`] answers in a row have come
/// within this time, the thread looks for the next one so long before it blocks. One that takes longer begins a new
/// streak, so little is wasted where there is nothing to gain.
const BRISK: Duration = Duration::from_micros(100);

/// The longest wait before the caller has another look.
const ROUND: Duration = Duration::from_secs(1);

/// Something else that the thread holds back until it has nothing else to do.
pub trait Deferred {
    /// It has nothing else to do, or a turn of its loop is over.
    fn push(&self);
}

/// A client that has begun to connect, and how lively it is.
struct Attached {
    link: Arc<Link>,
    /// When it last wrote or received something.
    active: Option<Instant>,
    /// The bytes that it had received then.
    received: u64,
    streak: u32,
    /// How many times in a row little came, soon after what came before.
    rush: u32,
}

impl Attached {
    fn is_hot(&self, now: Instant) -> bool {
        self.active.is_some_and(|then| now - then < HOT)
    }
}

/// The clients of one Lua thread, as far as it works for them itself. Only that thread uses it.
pub struct Waiter {
    port: Arc<Port>,
    /// With something to write.
    dirty: RefCell<Vec<Arc<Link>>>,
    /// Counts how often `dirty` was worked off, so that a client knows whether it is in it.
    epoch: Cell<u64>,
    /// The program has asked for something since the last wait, and may wait for the answer.
    asked: Cell<bool>,
    /// How many waits in a row for something asked for were over within [`BRISK`].
    brisk: Cell<u32>,
    attached: RefCell<Vec<Attached>>,
    deferred: RefCell<Vec<Arc<dyn Deferred>>>,
}

impl Waiter {
    /// For the clients of `port`.
    pub fn new(port: Arc<Port>) -> Self {
        Waiter {
            port,
            dirty: RefCell::default(),
            epoch: Cell::new(1),
            asked: Cell::new(false),
            brisk: Cell::new(0),
            attached: RefCell::default(),
            deferred: RefCell::default(),
        }
    }

    /// At the next [`Waiter::push`], `deferred` is pushed, too, once.
    pub fn defer(&self, deferred: Arc<dyn Deferred>) {
        self.deferred.borrow_mut().push(deferred);
    }

    /// Counts the pushes: what has the same number happens in one turn.
    #[inline]
    pub fn turn(&self) -> u64 {
        self.epoch.get()
    }

    /// Where the clients' events go.
    pub fn port(&self) -> &Arc<Port> {
        &self.port
    }

    /// `link` has something to write, for which the pump need not be woken if the thread is about
    /// to block. `epoch` is the client's memory of the last time it said so.
    #[inline]
    pub fn touch(&self, link: &Arc<Link>, epoch: &Cell<u64>) {
        if epoch.replace(self.epoch.get()) != self.epoch.get() {
            self.dirty.borrow_mut().push(link.clone());
        }
    }

    /// The program has asked a client for something: what comes next may be the answer.
    #[inline]
    pub fn ask(&self) {
        self.asked.set(true);
    }

    /// A client has begun to connect.
    pub fn attach(&self, link: &Arc<Link>) {
        let mut attached = self.attached.borrow_mut();
        attached.retain(|each| !each.link.has_ended());
        attached.push(Attached {
            link: link.clone(),
            active: None,
            received: 0,
            streak: 0,
            rush: 0,
        });
    }

    /// A client is gone.
    pub fn detach(&self, link: &Arc<Link>) {
        if self.port.is_ours() {
            let mut attached = self.attached.borrow_mut();
            attached.retain(|each| !Arc::ptr_eq(&each.link, link));
        }
    }

    /// Writes what the clients have to write, as far as the kernel takes it now.
    pub fn push(&self) {
        if !self.port.is_ours() {
            return;
        }
        self.epoch.set(self.epoch.get() + 1);
        for deferred in self.deferred.borrow_mut().drain(..) {
            deferred.push();
        }
        let mut attached = self.attached.borrow_mut();
        let few = attached.len() <= FEW;
        for link in self.dirty.borrow_mut().drain(..) {
            if link.push() && few {
                let written = attached
                    .iter_mut()
                    .find(|each| Arc::ptr_eq(&each.link, &link));
                if let Some(each) = written {
                    each.active = Some(Instant::now());
                }
            }
        }
    }

    /// Pushes, then blocks until the port has events, for `seconds` at most; false when the time
    /// is over, or early: when a signal handler ran, and after a second at the latest.
    pub fn wait(&self, seconds: Option<f64>) -> bool {
        if !self.port.is_ours() {
            return false;
        }
        self.push();
        let limit = seconds
            .filter(|seconds| seconds.is_finite())
            .map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1.0e9)));
        // A signal that comes just before the thread blocks interrupts nothing; the caller's loop
        // must come round for the interpreter to see it.
        let limit = limit.map_or(ROUND, |limit| limit.min(ROUND));
        let from = Instant::now();
        let until = from.checked_add(limit);
        let asked = self.asked.replace(false);
        if asked {
            self.attached
                .borrow_mut()
                .iter_mut()
                .for_each(|each| each.rush = 0);
        } else if limit > GATHER && self.is_rush() {
            std::thread::sleep(GATHER);
        }
        let look_until = (asked && limit >= BRISK && self.is_brisk()).then_some(from + BRISK);
        let found = loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match self.wait_once(left, look_until) {
                Woken::Wakeup => break true,
                Woken::Late => break false,
                Woken::Others(_) => {}
            }
        };
        if asked {
            self.brisk.set(match found && from.elapsed() <= BRISK {
                true => self.brisk.get().saturating_add(1),
                false => 0,
            });
        }
        found
    }

    fn is_brisk(&self) -> bool {
        // With a single processor, whoever looks keeps the one who answers from it.
        self.brisk.get() >= STREAK && several_processors()
    }

    /// Looks for something without blocking.
    fn look(&self, others: &[BorrowedFd<'_>], until: Instant) -> Woken {
        while Instant::now() < until {
            match self.port.wait(others, Some(Duration::ZERO)) {
                // Whoever has to answer may need this processor.
                Woken::Late => std::thread::yield_now(),
                woken => return woken,
            }
        }
        Woken::Late
    }

    fn is_rush(&self) -> bool {
        let attached = self.attached.borrow();
        attached.len() <= FEW && attached.iter().any(|each| each.rush >= RUSH)
    }

    /// Waits for events and for the hot sockets; does not block before `look_until`.
    fn wait_once(&self, limit: Option<Duration>, look_until: Option<Instant>) -> Woken {
        if !self.port.park() {
            return Woken::Wakeup;
        }
        let mut attached = self.attached.borrow_mut();
        let hot = hot_sockets(&attached);
        // Filled up with the port's own descriptor, which `count` cuts off again.
        let fds: [BorrowedFd<'_>; MAX_OTHERS] = std::array::from_fn(|at| match &hot[at] {
            Some((_, socket)) => socket.as_fd(),
            None => self.port.as_fd(),
        });
        let count = hot.iter().flatten().count();
        let mut woken = look_until.map_or(Woken::Late, |until| self.look(&fds[..count], until));
        if woken == Woken::Late {
            woken = self.port.wait(&fds[..count], limit);
        }
        if let Woken::Others(mask) = woken {
            self.port.unpark();
            for (bit, (at, _)) in hot.iter().flatten().enumerate() {
                if mask >> bit & 1 == 1 {
                    // Where the pump was quicker, it is delivering what it has read.
                    attached[*at].link.serve_here();
                }
            }
            if self.port.unpark() {
                woken = Woken::Wakeup;
            }
        }
        if woken != Woken::Late {
            note_activity(&mut attached);
        }
        woken
    }
}

fn several_processors() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| std::thread::available_parallelism().is_ok_and(|count| count.get() > 1))
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.port.is_ours() {
            self.push();
            self.port.close();
        } else {
            // The parent's: its destructors would take its locks and close its sockets.
            std::mem::forget(std::mem::take(&mut self.dirty));
            std::mem::forget(std::mem::take(&mut self.attached));
            std::mem::forget(std::mem::take(&mut self.deferred));
            std::mem::forget(self.port.clone());
        }
    }
}

/// The sockets worth watching, the first ones first, each with its place among the attached.
fn hot_sockets(attached: &[Attached]) -> [Option<(usize, Arc<Plain>)>; MAX_OTHERS] {
    let mut hot = [const { None }; MAX_OTHERS];
    if attached.len() <= FEW {
        let now = Instant::now();
        let recent = attached
            .iter()
            .enumerate()
            .filter(|(_, each)| each.is_hot(now));
        let sockets = recent.filter_map(|(at, each)| Some((at, each.link.socket()?)));
        for (slot, socket) in hot.iter_mut().zip(sockets) {
            *slot = Some(socket);
        }
    }
    hot
}

/// Remembers who has received something, and asks for the watch over a socket that is busy.
fn note_activity(attached: &mut [Attached]) {
    if attached.len() > FEW {
        return;
    }
    let now = Instant::now();
    for each in attached {
        let received = each.link.bytes_in();
        if received != each.received {
            each.streak = if each.is_hot(now) {
                each.streak.saturating_add(1)
            } else {
                0
            };
            let soon = each.active.is_some_and(|then| now - then < SOON);
            each.rush = match soon && TRICKLE.contains(&(received - each.received)) {
                true => each.rush.saturating_add(1),
                false => 0,
            };
            each.received = received;
            each.active = Some(now);
            if each.streak >= STREAK {
                each.link.want_lease();
            }
        }
    }
}
