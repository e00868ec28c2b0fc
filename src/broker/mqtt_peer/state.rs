//! A session's state, which may outlive its connection (MQTT 5, section 4.1): subscriptions, what waits, what is on its
//! way. It is the router's subscriber.
//!
//! Bounded by [`crate::broker::Settings::max_queue_bytes`]: who is connected and does not take what comes is cut off
//! beyond that. Without a connection what comes beyond that is dropped, the newest first, and so is everything of QoS 0.

use super::clock::Clock;
use super::in_flight::InFlight;
use super::queue::{Queued, Wish};
use super::will::Will;
use crate::broker::{lock, Bell, Message, Name, Subscriber, SubscriberId, TimerId};
use crate::codec::mqtt::{topic, Qos};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

/// A queue with room for more is given back once it is empty.
const KEEP: usize = 32;

/// So many copies with other identifiers are looked past for one to merge with.
const COPIES: usize = 8;

/// A full session is searched for what has expired so often.
const PURGE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct SessionState {
    pub(super) client_id: Name,
    /// What its messages name as their publisher: the same whichever connection sends them.
    pub(super) identity: u64,
    /// The connection that has it; 0: none. Read without the lock, changed under it.
    owner: AtomicU64,
    /// There may be something to send; read without the lock.
    waiting: AtomicBool,
    overrun: AtomicBool,
    limit: usize,
    clock: Arc<Clock>,
    contents: Mutex<Contents>,
}

/// What is under the lock.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) bell: Option<Weak<dyn Bell>>,
    /// In the router, once it has subscribed.
    pub(super) subscriber: Option<SubscriberId>,
    /// What each asks for is with the router: there may be a million.
    pub(super) filters: HashSet<Name>,
    /// Shared subscriptions as they were asked for, with their groups.
    pub(super) shares: HashMap<Name, u32>,
    /// What has not been looked at since it came.
    pub(super) queue: VecDeque<Queued>,
    /// What waits until fewer are in flight; it came before what is in the queue.
    pub(super) held: VecDeque<Queued>,
    pub(super) in_flight: InFlight,
    /// Of all three.
    pub(super) bytes: usize,
    /// Bytes beyond the limit that retained messages may take until the queue has been emptied.
    pub(super) allowance: usize,
    /// Identifiers of QoS 2 messages that have come, and of which the client has yet to hear that it may forget them.
    pub(super) received: HashSet<u16>,
    /// When what has expired was thrown out.
    purged: Option<Instant>,
    pub(super) will: Option<Box<Will>>,
    /// Seconds that it is kept without a connection.
    pub(super) expiry: u32,
    /// Changes with each connection, and each end of one.
    pub(super) epoch: u64,
    /// The will's, and the session's end.
    pub(super) timers: [Option<TimerId>; 2],
}

impl fmt::Debug for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = String::from_utf8_lossy(&self.client_id);
        write!(f, "SessionState({id})")
    }
}

impl SessionState {
    /// A new one, of the connection `owner`.
    pub(super) fn new(
        client_id: Name,
        identity: u64,
        owner: u64,
        bell: Weak<dyn Bell>,
        expiry: u32,
        limit: usize,
        clock: Arc<Clock>,
    ) -> Self {
        SessionState {
            client_id,
            identity,
            owner: AtomicU64::new(owner),
            waiting: AtomicBool::new(false),
            overrun: AtomicBool::new(false),
            limit,
            clock,
            contents: Mutex::new(Contents {
                bell: Some(bell),
                expiry,
                ..Contents::default()
            }),
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Contents> {
        lock(&self.contents)
    }

    /// The connection that has it; 0: none.
    #[inline]
    pub(super) fn owner(&self) -> u64 {
        self.owner.load(Ordering::Relaxed)
    }

    /// Under the lock of `contents`: another connection has it from now on, or none. The bell of the last one, which has
    /// to learn of it.
    pub(super) fn hand_over(
        &self,
        contents: &mut Contents,
        owner: u64,
        bell: Option<Weak<dyn Bell>>,
    ) -> Option<Weak<dyn Bell>> {
        self.owner.store(owner, Ordering::Relaxed);
        self.overrun.store(false, Ordering::Relaxed);
        contents.epoch += 1;
        contents.in_flight.rewind();
        let waits = !contents.in_flight.is_empty()
            || !contents.queue.is_empty()
            || !contents.held.is_empty();
        self.waiting.store(waits, Ordering::Relaxed);
        std::mem::replace(&mut contents.bell, bell)
    }

    /// More came than the client has taken: it is to be cut off.
    pub(super) fn is_overrun(&self) -> bool {
        self.overrun.load(Ordering::Relaxed)
    }

    /// Whether there may be something to send.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Takes a message for a subscription; `group`: the shared one that it came by, or 0, whose messages cut nobody off,
    /// for others may take them. False: it was not taken.
    #[inline]
    pub(super) fn accept(&self, wish: Wish, message: &Arc<Message>, group: u32) -> bool {
        // Other protocols have names that are no topics.
        let name = std::str::from_utf8(&message.topic);
        if name.map_or(true, |name| topic::check_name(name).is_err()) {
            return false;
        }
        let owner = self.owner();
        if wish.is_no_local() && message.publisher == self.identity {
            return false;
        }
        let manner = wish.manner(message);
        if self.is_overrun() || (owner == 0 && manner.qos() == Qos::AtMostOnce) {
            return false;
        }
        let queued = Queued {
            message: message.clone(),
            manner,
            group,
        };
        let mut contents = self.lock();
        if !contents.has_room(message, self.limit) {
            contents.purge(self.clock.now());
        }
        let bell = match contents.put(queued, self.limit) {
            true if self.waiting.swap(true, Ordering::Relaxed) => return true,
            true => contents.bell.clone(),
            false if owner == 0 || group != 0 => return false,
            false => {
                self.overrun.store(true, Ordering::Relaxed);
                contents.bell.clone()
            }
        };
        drop(contents);
        if let Some(bell) = bell.and_then(|bell| bell.upgrade()) {
            bell.ring();
        }
        !self.is_overrun()
    }

    /// Takes what was retained for a new subscription, whatever that is, unless too much waits already.
    pub(super) fn accept_retained(&self, wish: Wish, messages: Vec<Arc<Message>>) {
        if messages.is_empty() {
            return;
        }
        let mut contents = self.lock();
        if contents.bytes > self.limit {
            self.overrun.store(true, Ordering::Relaxed);
            return;
        }
        for message in messages {
            if wish.is_no_local() && message.publisher == self.identity {
                continue;
            }
            let size = message.size();
            contents.bytes += size;
            // No more than waits: who reads slowly and asks again would raise its bound each time.
            contents.allowance = (contents.allowance + size).min(contents.bytes);
            let manner = wish.manner_of_retained(&message);
            contents.queue.push_back(Queued {
                message,
                manner,
                group: 0,
            });
        }
        self.set_waiting(true);
    }
}

impl SessionState {
    /// Messages of QoS 1 and 2 that nobody else has taken wait for the client again, in front of all others.
    pub(super) fn take_back(&self, mut messages: VecDeque<Queued>) {
        if messages.is_empty() {
            return;
        }
        let mut contents = self.lock();
        contents.bytes += messages
            .iter()
            .map(|each| each.message.size())
            .sum::<usize>();
        messages.append(&mut contents.held);
        contents.held = messages;
        self.set_waiting(true);
    }
}

impl Subscriber for SessionState {
    fn deliver(&self, tag: u32, message: &Arc<Message>) -> bool {
        self.accept(Wish::from_tag(tag), message, 0)
    }
}

impl Contents {
    /// Puts it in where there is room; a single message may be larger than the whole bound.
    #[inline]
    fn put(&mut self, queued: Queued, limit: usize) -> bool {
        // A client whose subscriptions overlap, and have no identifiers, would take further copies for messages that are
        // equal: it gets the message once, with the highest QoS of them [MQTT-3.3.4-2].
        let is_copy = |last: &&mut Queued| Arc::ptr_eq(&last.message, &queued.message);
        let copies = self.queue.iter_mut().rev().take_while(is_copy);
        for last in copies.take(COPIES) {
            if last.group == 0 && queued.group == 0 {
                if let Some(manner) = last.manner.merge(queued.manner) {
                    last.manner = manner;
                    return true;
                }
            }
        }
        if !self.has_room(&queued.message, limit) {
            return false;
        }
        self.bytes += queued.message.size();
        self.queue.push_back(queued);
        true
    }

    #[inline]
    fn has_room(&self, message: &Message, limit: usize) -> bool {
        self.bytes == 0 || self.bytes + message.size() <= limit + self.allowance
    }

    /// What has expired makes room (section 3.3.2.3.3); it is looked for once in a while, for there may be nothing of it
    /// each time.
    #[cold]
    fn purge(&mut self, now: Option<Instant>) {
        let Some(now) = now else { return };
        if self.purged.is_some_and(|last| now < last + PURGE) {
            return;
        }
        self.purged = Some(now);
        let Contents {
            queue, held, bytes, ..
        } = self;
        for queue in [queue, held] {
            queue.retain(|queued| {
                let is_over = queued.message.expires.is_some_and(|at| at <= now);
                if is_over {
                    *bytes = bytes.saturating_sub(queued.message.size());
                }
                !is_over
            });
        }
    }

    /// A message has left.
    #[inline]
    pub(super) fn forget(&mut self, message: &Message) {
        self.bytes = self.bytes.saturating_sub(message.size());
    }

    /// Gives the memory of a rush back, once it is over.
    pub(super) fn relax(&mut self) {
        self.allowance = 0;
        for queue in [&mut self.queue, &mut self.held] {
            if queue.is_empty() && queue.capacity() > KEEP {
                *queue = VecDeque::new();
            }
        }
    }

    /// Subscriptions.
    pub(super) fn subscriptions(&self) -> usize {
        self.filters.len() + self.shares.len()
    }

    /// Drops what no session keeps without a connection: messages of QoS 0.
    pub(super) fn drop_unacknowledged(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        for queued in queue {
            if queued.manner.qos() == Qos::AtMostOnce {
                self.forget(&queued.message);
            } else {
                self.queue.push_back(queued);
            }
        }
    }

    /// Takes what came by one of these shared subscriptions and can be given to another one of its members. What the
    /// client may have in part, being QoS 2, is nobody else's any more [MQTT-4.8.2-5].
    pub(super) fn take_shared(&mut self, groups: &[u32]) -> Vec<Queued> {
        let is_shared = |queued: &Queued| groups.contains(&queued.group);
        let mut taken = self
            .in_flight
            .withdraw(|queued| is_shared(queued) && queued.manner.qos() == Qos::AtLeastOnce);
        for queue in [&mut self.held, &mut self.queue] {
            let all = std::mem::take(queue);
            let (shared, own): (VecDeque<_>, VecDeque<_>) = all.into_iter().partition(is_shared);
            *queue = own;
            taken.extend(shared);
        }
        for queued in &taken {
            self.forget(&queued.message);
        }
        taken
    }

    /// Everything that there is of it, of messages and subscriptions, goes.
    pub(super) fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.held = VecDeque::new();
        self.in_flight = InFlight::default();
        self.received = HashSet::new();
        self.bytes = 0;
        self.allowance = 0;
        self.filters = HashSet::new();
        self.shares = HashMap::new();
    }
}
