//! The embedded broker: one [`Router`] behind peers of several protocols, as state machines without I/O, clock or Lua.
//!
//! # How a protocol joins
//!
//! A *peer* is the broker's side of one connection: a [`Session`] whose events are a [`Flow`]. `io::listener` accepts,
//! asks [`Broker::accept`] for the peer and drives it with the pump that drives clients, so the contract is that of
//! [`crate::session`], and besides:
//!
//! - **Made** by [`Protocol::peer`] with a [`Caller`]: the broker, the connection's id and address, its bell. A new
//!   protocol is one arm there. [`Session::connected`] comes at once: reserve nothing before.
//! - **Receiving from others.** The peer enrols a [`Subscriber`] with the [`Router`] (`broker.router()`, a short-held
//!   lock) and subscribes names and patterns under tags of its own. A [`Mailbox`] is the subscriber of a connection
//!   that receives only while it lasts: others fill it on their turn, it rings the bell, and
//!   [`Session::poll_transmit`] drains it. A session that outlives its connection brings its own `Subscriber`, which
//!   keeps what comes meanwhile and rings whatever bell is there.
//! - **Publishing**: [`Broker::publish`]. It delivers before it returns, also to the publisher itself.
//! - **Queues**: [`Broker::queues`], another name space. A [`Mailbox`] is a queue's [`Consumer`], too; it turns messages
//!   away while it is full, so the peer calls [`Queues::resume`] when it has drained it. Not the mailbox that receives
//!   from the router: what waits of queues is no reason to cut a connection off.
//! - **Back-pressure.** Where a peer's own out-buffer is beyond [`PLENTY`], `receive` leaves what is left in `input`
//!   and sets [`Flow::full`]; once `poll_transmit` has emptied the buffer it clears the flag.
//! - **Order.** What a mailbox holds came before the confirmation that is written next: a peer drains it in front of
//!   each confirmation of an UNSUBSCRIBE, and of each SUBSCRIBE.
//! - **Cut off.** [`Mailbox::is_overrun`], a violated limit or protocol: `receive` or `expire` returns an error
//!   ([`Session::deadline`] in the past asks for `expire`), and [`Session::farewell`] says why in the protocol's words.
//! - **Ended.** [`Session::disconnected`], once: it unsubscribes, leaves the router, tells the observer. A peer is never
//!   connected again.
//! - **Counting and telling.** [`Broker::counters`], [`Caller::tell`].
//! - **Later.** What has to happen without a connection (a will's delay, a session's end): [`Broker::after`].
//!
//! Lock order: session, router or queues (one at a time), subscriber (mailbox). Nothing is called under the lock of a mailbox, and a subscriber
//! calls nothing of the broker.

mod filters;
mod glob;
mod mailbox;
mod message;
#[cfg(feature = "mqtt")]
pub mod mqtt_peer;
mod queues;
pub mod redis_peer;
mod router;
mod settings;
#[cfg(feature = "stomp")]
pub mod stomp_peer;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timers;

pub use mailbox::{Bell, Delivery, Mailbox};
pub use message::{Extra, Message};
pub use queues::{Consignment, Consumer, ConsumerId, Queues};
pub use router::{Kind, Name, Router, Subscriber, SubscriberId};
pub use settings::Settings;
pub use timers::TimerId;

use crate::session::Session;
use bytes::BytesMut;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;
use timers::Timers;

/// A peer whose out-buffer holds so many bytes reads on only when they are written.
pub const PLENTY: usize = 64 * 1024;

/// A peer's out-buffer that grew beyond this is given back once what it held is passed on.
const KEEP: usize = 16 * 1024;

/// What a peer says of itself with each call: its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// What it has to say must be written before it reads on.
    pub full: bool,
}

/// The broker's side of one connection. See the module.
pub trait Peer: Session<Events = Flow> {}
impl<T: Session<Events = Flow>> Peer for T {}

/// A protocol that the broker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RESP2 and RESP3: publish/subscribe.
    Redis,
    /// MQTT 3.1.1 and 5.0.
    #[cfg(feature = "mqtt")]
    Mqtt,
    /// STOMP 1.0, 1.1 and 1.2: topics and queues.
    #[cfg(feature = "stomp")]
    Stomp,
}

impl Protocol {
    /// All that this build has.
    pub const ALL: &'static [Protocol] = &[
        Protocol::Redis,
        #[cfg(feature = "mqtt")]
        Protocol::Mqtt,
        #[cfg(feature = "stomp")]
        Protocol::Stomp,
    ];

    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Redis => "redis",
            #[cfg(feature = "mqtt")]
            Protocol::Mqtt => "mqtt",
            #[cfg(feature = "stomp")]
            Protocol::Stomp => "stomp",
        }
    }

    /// The last word to a connection for which there is no room; empty where there is none before a handshake.
    pub fn no_room(self) -> &'static [u8] {
        match self {
            Protocol::Redis => b"-ERR max number of clients reached\r\n",
            // CONNACK of 3.1.1, "server unavailable": which version the client speaks is not known yet.
            #[cfg(feature = "mqtt")]
            Protocol::Mqtt => b"\x20\x02\x00\x03",
            #[cfg(feature = "stomp")]
            Protocol::Stomp => b"ERROR\nmessage:max number of connections reached\n\n\0",
        }
    }

    fn peer(self, caller: Caller) -> Box<dyn Peer> {
        match self {
            Protocol::Redis => Box::new(redis_peer::RedisPeer::new(caller)),
            #[cfg(feature = "mqtt")]
            Protocol::Mqtt => Box::new(mqtt_peer::MqttPeer::new(caller)),
            #[cfg(feature = "stomp")]
            Protocol::Stomp => Box::new(stomp_peer::StompPeer::new(caller)),
        }
    }
}

/// Counts since the broker began, and what there is now.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that are open.
    pub connections: AtomicU32,
    /// Connections accepted so far.
    pub accepted: AtomicU64,
    /// Connections refused because there were too many.
    pub refused: AtomicU64,
    /// Subscriptions that there are.
    pub subscriptions: AtomicU64,
    /// Messages published.
    pub received: AtomicU64,
    /// Messages handed to subscribers.
    pub sent: AtomicU64,
    /// Connections cut off because they did not read.
    pub overruns: AtomicU64,
    /// Bytes read from connections that have ended.
    pub bytes_in: AtomicU64,
    /// Bytes written to them.
    pub bytes_out: AtomicU64,
}

/// Something that an observer may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What has happened.
    pub what: Happening,
    /// Of which protocol.
    pub protocol: Protocol,
    /// The connection's number.
    pub id: u64,
    /// The connection's address.
    pub remote: Arc<str>,
    /// The pattern, or why the connection has ended.
    pub text: Vec<u8>,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A connection is there.
    Connect,
    /// It has ended.
    Disconnect,
    /// A subscription is there.
    Subscribe,
    /// It has ended.
    Unsubscribe,
}

impl Happening {
    /// All of them.
    pub const ALL: [Happening; 4] = [
        Happening::Connect,
        Happening::Disconnect,
        Happening::Subscribe,
        Happening::Unsubscribe,
    ];

    /// The name that the Lua layer knows.
    pub fn as_str(self) -> &'static str {
        match self {
            Happening::Connect => "connect",
            Happening::Disconnect => "disconnect",
            Happening::Subscribe => "subscribe",
            Happening::Unsubscribe => "unsubscribe",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Who hears of notices; called under a session's lock, must not block.
pub type Observer = Box<dyn Fn(Notice) + Send + Sync>;

/// What a peer knows of its connection, and its way to the broker.
#[derive(Clone)]
pub struct Caller {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Names the connection; never used twice.
    pub id: u64,
    /// Which protocol it speaks.
    pub protocol: Protocol,
    /// Where it comes from, as people read it.
    pub remote: Arc<str>,
    /// Where it arrived, the same.
    pub local: Arc<str>,
    /// Has the connection's turn come.
    pub bell: Weak<dyn Bell>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} ({})",
            self.protocol.as_str(),
            self.id,
            self.remote
        )
    }
}

impl Caller {
    /// Tells the observer, where there is one for it.
    pub fn tell(&self, what: Happening, text: &[u8]) {
        let broker = &self.broker;
        if broker.observed.load(Ordering::Relaxed) & what.bit() == 0 {
            return;
        }
        if let Some(observer) = broker.observer.get() {
            observer(Notice {
                what,
                protocol: self.protocol,
                id: self.id,
                remote: self.remote.clone(),
                text: text.to_vec(),
            });
        }
    }

    /// A mailbox for this connection, bounded as the settings say.
    pub fn mailbox(&self) -> Mailbox {
        Mailbox::new(self.bell.clone(), self.broker.settings.max_queue_bytes)
    }
}

/// See the module.
pub struct Broker {
    settings: Settings,
    router: Mutex<Router>,
    queues: Mutex<Queues>,
    timers: Mutex<Timers>,
    /// Of the task that sees to the timers.
    clock: OnceLock<Weak<dyn Bell>>,
    counters: Counters,
    last_id: AtomicU64,
    observed: AtomicU32,
    observer: OnceLock<Observer>,
    redis: redis_peer::Service,
    #[cfg(feature = "mqtt")]
    mqtt: mqtt_peer::Service,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// A broker without connections.
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Broker {
            settings,
            router: Mutex::default(),
            queues: Mutex::default(),
            timers: Mutex::default(),
            clock: OnceLock::new(),
            counters: Counters::default(),
            last_id: AtomicU64::new(0),
            observed: AtomicU32::new(0),
            observer: OnceLock::new(),
            redis: redis_peer::Service::default(),
            #[cfg(feature = "mqtt")]
            mqtt: mqtt_peer::Service::default(),
        })
    }

    /// What was given.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is counted; peers count their part.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes a place for a connection; the peer's owner gives it back with [`Broker::leave`]. False: there are as many
    /// as there may be.
    pub fn enter(&self) -> bool {
        let connections = &self.counters.connections;
        let before = connections.fetch_add(1, Ordering::Relaxed);
        if before as usize >= self.settings.max_connections {
            connections.fetch_sub(1, Ordering::Relaxed);
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// A connection has ended, whose counts are these.
    pub fn leave(&self, bytes_in: u64, bytes_out: u64) {
        self.counters.connections.fetch_sub(1, Ordering::Relaxed);
        self.counters
            .bytes_in
            .fetch_add(bytes_in, Ordering::Relaxed);
        self.counters
            .bytes_out
            .fetch_add(bytes_out, Ordering::Relaxed);
    }

    /// The peer for a new connection.
    pub fn accept(
        self: &Arc<Self>,
        protocol: Protocol,
        remote: &str,
        local: &str,
        bell: Weak<dyn Bell>,
    ) -> Box<dyn Peer> {
        protocol.peer(Caller {
            broker: self.clone(),
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            protocol,
            remote: remote.into(),
            local: local.into(),
            bell,
        })
    }

    /// The router, for a subscription. Not to be held across a call of anything else here.
    pub fn router(&self) -> MutexGuard<'_, Router> {
        lock(&self.router)
    }

    /// The queues, likewise.
    pub fn queues(&self) -> MutexGuard<'_, Queues> {
        lock(&self.queues)
    }

    /// Delivers to everybody who receives `name`; `message` makes the message, if there is anybody. How many took it.
    #[inline]
    pub fn publish(&self, name: &[u8], message: impl FnOnce() -> Arc<Message>) -> usize {
        self.counters.received.fetch_add(1, Ordering::Relaxed);
        self.router().publish(name, message)
    }

    /// Whether a user is let in. Without users everybody is; a password alone is that of the user `default`.
    pub fn admits(&self, user: &[u8], password: &[u8]) -> bool {
        self.settings.admits(user, password)
    }

    /// Has `job` called once, at `at` or soon after, without a lock.
    pub fn after(
        &self,
        at: Instant,
        job: impl FnOnce(&Arc<Broker>, Instant) + Send + 'static,
    ) -> TimerId {
        let (id, first) = lock(&self.timers).insert(at, Box::new(job));
        if first {
            if let Some(clock) = self.clock.get().and_then(Weak::upgrade) {
                clock.ring();
            }
        }
        id
    }

    /// Forgets a job. False: it has been called.
    pub fn cancel(&self, id: TimerId) -> bool {
        lock(&self.timers).remove(id)
    }

    /// When [`Broker::expire`] wants to be called next; `clock` hears when that changes.
    pub fn deadline(&self, clock: &Weak<dyn Bell>) -> Option<Instant> {
        self.clock.get_or_init(|| clock.clone());
        lock(&self.timers).deadline()
    }

    /// Calls the jobs that are due.
    pub fn expire(self: &Arc<Self>, now: Instant) {
        loop {
            let Some(job) = lock(&self.timers).take_due(now) else {
                return;
            };
            job(self, now);
        }
    }

    /// Sets who hears of notices, once.
    pub fn set_observer(&self, observer: Observer) {
        let _ = self.observer.set(observer);
    }

    /// The observer wants to hear of this from now on.
    pub fn observe(&self, what: Happening) {
        self.observed.fetch_or(what.bit(), Ordering::Relaxed);
    }
}

/// Moves what a peer has to say to the connection's out-buffer; its own is given back where it grew beyond [`KEEP`].
fn pass_on(own: &mut BytesMut, out: &mut BytesMut) {
    if out.is_empty() {
        std::mem::swap(out, own);
        if own.capacity() > KEEP {
            *own = BytesMut::new();
        }
    } else {
        out.unsplit(own.split());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under a lock ends its own connection; the others go on with what there is.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
