//! What waits to be written to one connection. Bounded: whoever does not read is cut off.
//!
//! The publisher's turn puts in, the connection's own turn takes out; neither waits for the other.

use super::message::Message;
use super::queues::{Consignment, Consumer};
use super::router::Subscriber;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Wakes the task that serves a connection, or the one that sees to the broker's timers.
pub trait Bell: Send + Sync {
    /// There is something to do. May come when there is nothing.
    fn ring(&self);
}

/// A message for one of the connection's subscriptions.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// As the subscription was made.
    pub tag: u32,
    /// Of a queue's message: what names it to [`super::Queues::accept`]. 0: it is nobody's to deal with.
    pub id: u64,
    /// How often a queue's message has been given to somebody before.
    pub redeliveries: u32,
    /// What is delivered.
    pub message: Arc<Message>,
}

#[derive(Default)]
struct Contents {
    queue: VecDeque<Delivery>,
    bytes: usize,
}

/// See the module.
pub struct Mailbox {
    contents: Mutex<Contents>,
    /// There may be something in it; read without the lock.
    waiting: AtomicBool,
    overrun: AtomicBool,
    bell: Weak<dyn Bell>,
    limit: usize,
}

/// A queue with room for more is given back once it is empty.
const KEEP: usize = 32;

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

impl Mailbox {
    /// An empty one for up to `limit` bytes ([`Message::size`]); `bell` wakes its owner.
    pub fn new(bell: Weak<dyn Bell>, limit: usize) -> Self {
        Mailbox {
            contents: Mutex::default(),
            waiting: AtomicBool::new(false),
            overrun: AtomicBool::new(false),
            bell,
            limit,
        }
    }

    /// More came than the owner has taken: nothing is taken any more, and the connection is to be cut off.
    pub fn is_overrun(&self) -> bool {
        self.overrun.load(Ordering::Relaxed)
    }

    /// Whether there may be something to take.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes messages in their order, until `take` says that this one was the last for now.
    pub fn drain(&self, mut take: impl FnMut(Delivery) -> bool) {
        if !self.is_waiting() {
            return;
        }
        let mut contents = self.lock();
        while let Some(delivery) = contents.queue.pop_front() {
            contents.bytes -= delivery.message.size();
            if !take(delivery) {
                break;
            }
        }
        if contents.queue.is_empty() {
            self.waiting.store(false, Ordering::Relaxed);
            if contents.queue.capacity() > KEEP {
                contents.queue = VecDeque::new();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailbox {
    /// Puts it in where there is room; a single message may be larger than the whole bound.
    fn put(&self, delivery: Delivery) -> bool {
        let size = delivery.message.size();
        let mut contents = self.lock();
        let first = contents.queue.is_empty();
        if contents.bytes + size > self.limit && !first {
            return false;
        }
        contents.bytes += size;
        contents.queue.push_back(delivery);
        self.waiting.store(true, Ordering::Relaxed);
        drop(contents);
        if first {
            self.ring();
        }
        true
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.upgrade() {
            bell.ring();
        }
    }
}

impl Subscriber for Mailbox {
    fn deliver(&self, tag: u32, message: &Arc<Message>) -> bool {
        if self.is_overrun() {
            return false;
        }
        let taken = self.put(Delivery {
            tag,
            id: 0,
            redeliveries: 0,
            message: message.clone(),
        });
        if !taken {
            *self.lock() = Contents::default();
            self.overrun.store(true, Ordering::Relaxed);
            self.ring();
        }
        taken
    }
}

impl Consumer for Mailbox {
    /// A queue keeps what finds no room: nobody is cut off.
    fn consume(&self, consignment: Consignment) -> bool {
        !self.is_overrun()
            && self.put(Delivery {
                tag: consignment.tag,
                id: consignment.id,
                redeliveries: consignment.redeliveries,
                message: consignment.message,
            })
    }
}
