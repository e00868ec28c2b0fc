//! Where events of all clients of one Lua state meet their consumer: the runtime thread appends,
//! the Lua thread takes everything at once.
//!
//! The consumer is woken only when it has found nothing and said so by taking nothing. From then on
//! the descriptor stays readable until it finds nothing again: a host that watches it has not seen
//! to everything before. A host that cannot watch it may have a bell instead ([`Port::set_bell`]).

use super::fork;
use super::wakeup::{Wakeup, Woken};
use crate::message::Batch;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a producer and the consumer know of each other's pace, so that a producer can stop
/// reading its socket. Sequentially consistent: one side says "paused" and looks for room, the
/// other makes room and looks for the pause; one of them must see the other.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Messages delivered to the port and not yet taken by Lua.
    messages: AtomicUsize,
    /// Their bytes.
    bytes: AtomicUsize,
    /// Messages that Lua has taken and holds in queues of its own.
    held: AtomicUsize,
}

impl Backlog {
    /// How many more messages the consumer takes.
    pub fn room(&self, max_messages: usize, max_bytes: usize) -> usize {
        if self.bytes.load(Ordering::SeqCst) >= max_bytes {
            return 0;
        }
        let waiting = self.messages.load(Ordering::SeqCst) + self.held.load(Ordering::SeqCst);
        max_messages.saturating_sub(waiting)
    }

    /// Says how many messages Lua holds.
    pub fn hold(&self, messages: usize) {
        self.held.store(messages, Ordering::SeqCst);
    }
}

/// Who produced a part of a batch: it may go on once Lua has taken that part.
pub trait Producer: Send + Sync {
    /// What of it is not yet consumed.
    fn backlog(&self) -> &Backlog;
    /// The consumer has taken something.
    fn consumed(&self);
}

#[derive(Default)]
struct Share {
    messages: usize,
    bytes: usize,
}

/// Events, and whose they are.
#[derive(Default)]
pub struct Delivery {
    /// The events.
    pub batch: Batch,
    shares: Vec<(Arc<dyn Producer>, Share)>,
}

impl Delivery {
    /// Tells the producers that their messages are consumed, and empties itself.
    fn settle(&mut self) {
        self.batch.clear();
        self.release();
    }

    /// Tells the producers that their messages are consumed.
    pub fn release(&mut self) {
        for (producer, share) in self.shares.drain(..) {
            let backlog = producer.backlog();
            backlog.messages.fetch_sub(share.messages, Ordering::SeqCst);
            backlog.bytes.fetch_sub(share.bytes, Ordering::SeqCst);
            producer.consumed();
        }
    }
}

#[derive(Default)]
struct Shared {
    delivery: Delivery,
    /// The consumer has found nothing: the next event wakes it.
    parked: bool,
    /// The descriptor is readable, for there are events, ...
    signalled: bool,
    /// ... or because somebody has rung.
    rung: bool,
    /// Nobody will take anything any more.
    closed: bool,
    /// Tells a host that cannot watch the descriptor that it has become readable.
    bell: Option<UnixStream>,
}

impl Shared {
    fn is_readable(&self) -> bool {
        self.signalled || self.rung
    }

    fn strike(&self) {
        if let Some(mut bell) = self.bell.as_ref() {
            // Full counts as struck; and a host that is gone hears nothing.
            let _ = bell.write(&[1]);
        }
    }
}

/// See the module.
pub struct Port {
    shared: Mutex<Shared>,
    wakeup: Wakeup,
    generation: u32,
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }
}

impl Port {
    /// A port without events.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Port {
            shared: Mutex::default(),
            wakeup: Wakeup::new()?,
            generation: fork::generation(),
        })
    }

    /// Whether this process made it; otherwise nothing of it may be touched.
    #[inline]
    pub fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Appends the events of `producer`; `batch` is empty afterwards.
    pub fn deliver(&self, producer: &Arc<impl Producer + 'static>, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        {
            let mut shared = self.lock();
            if shared.closed {
                batch.clear();
                return;
            }
            if batch.messages() > 0 {
                let backlog = producer.backlog();
                backlog
                    .messages
                    .fetch_add(batch.messages(), Ordering::SeqCst);
                backlog.bytes.fetch_add(batch.byte_len(), Ordering::SeqCst);
                let address = Arc::as_ptr(producer).cast::<()>();
                let shares = &mut shared.delivery.shares;
                // A producer may have several shares: a short search is worth more than one entry.
                let known = shares
                    .iter_mut()
                    .rev()
                    .take(8)
                    .find(|(known, _)| Arc::as_ptr(known).cast::<()>() == address);
                let share = match known {
                    Some((_, share)) => share,
                    None => {
                        shares.push((producer.clone(), Share::default()));
                        // invariant: just pushed
                        let Some((_, share)) = shares.last_mut() else {
                            return;
                        };
                        share
                    }
                };
                share.messages += batch.messages();
                share.bytes += batch.byte_len();
            }
            shared.delivery.batch.append(batch);
            let wake = std::mem::take(&mut shared.parked);
            // Under the lock: a consumer that clears the descriptor must not be overtaken by a
            // wake that belongs to what it has taken already.
            if wake {
                self.show(&mut shared, |shared| shared.signalled = true);
            }
        }
    }

    /// Takes all events into `delivery`, whose own have been consumed. False: there are none, and
    /// the descriptor, which is not readable now, becomes so when there are.
    pub fn take(&self, delivery: &mut Delivery) -> bool {
        delivery.settle();
        let mut shared = self.lock();
        std::mem::swap(&mut shared.delivery, delivery);
        shared.parked = delivery.batch.is_empty();
        if shared.parked {
            self.show(&mut shared, |shared| shared.signalled = false);
        }
        !shared.parked
    }

    /// Makes the descriptor readable until [`Port::hush`].
    pub fn ring(&self) {
        self.show(&mut self.lock(), |shared| shared.rung = true);
    }

    /// Takes [`Port::ring`] back. The descriptor stays readable where there are events.
    pub fn hush(&self) {
        self.show(&mut self.lock(), |shared| shared.rung = false);
    }

    /// From now on a byte comes through `bell`, which does not block, each time that the descriptor
    /// becomes readable. A host that has read it and seen to what there was calls
    /// [`Port::remind`]: bytes that it has read tell it nothing of what is left.
    pub fn set_bell(&self, bell: UnixStream) {
        self.lock().bell = Some(bell);
        self.remind();
    }

    /// Has another byte come through the bell if the descriptor is readable still.
    pub fn remind(&self) {
        let shared = self.lock();
        if shared.is_readable() {
            shared.strike();
        }
    }

    /// Makes a change, and the descriptor readable or not as that demands.
    fn show(&self, shared: &mut Shared, change: impl FnOnce(&mut Shared)) {
        let before = shared.is_readable();
        change(shared);
        match (before, shared.is_readable()) {
            (false, true) => {
                self.wakeup.wake();
                shared.strike();
            }
            (true, false) => self.wakeup.clear(),
            _ => {}
        }
    }

    /// Says that the consumer is about to wait: the next event makes the descriptor readable.
    /// False: there are events, it need not wait.
    pub fn park(&self) -> bool {
        let mut shared = self.lock();
        shared.parked = shared.delivery.batch.is_empty();
        shared.parked
    }

    /// Says that the consumer does not wait: events from here on need not wake it. False: there
    /// are none.
    pub fn unpark(&self) -> bool {
        let mut shared = self.lock();
        shared.parked = false;
        !shared.delivery.batch.is_empty()
    }

    /// Blocks a parked consumer until there are events or one of `others` is readable.
    pub fn wait(&self, others: &[BorrowedFd<'_>], limit: Option<Duration>) -> Woken {
        self.wakeup.wait(others, limit)
    }

    /// The consumer is gone: what arrives from now on is dropped.
    pub fn close(&self) {
        let mut delivery = {
            let mut shared = self.lock();
            shared.closed = true;
            std::mem::take(&mut shared.delivery)
        };
        delivery.settle();
    }

    /// The descriptor that tells of events, from now on.
    pub fn fd(&self) -> i32 {
        if !self.park() {
            self.show(&mut self.lock(), |shared| shared.signalled = true);
        }
        self.wakeup.fd()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // No call under this lock leaves it half changed.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[derive(Default)]
    struct Source(Backlog);

    impl Producer for Source {
        fn backlog(&self) -> &Backlog {
            &self.0
        }
        fn consumed(&self) {}
    }

    fn is_readable(port: &Port) -> bool {
        port.wait(&[], Some(Duration::ZERO)) == Woken::Wakeup
    }

    fn deliver(port: &Port, source: &Arc<Source>) {
        let mut batch = Batch::for_client(1, 10);
        batch.push_message(1, b"channel", b"payload");
        port.deliver(source, &mut batch);
    }

    #[test]
    fn the_descriptor_is_readable_until_the_consumer_finds_nothing() -> io::Result<()> {
        let (port, source) = (Port::new()?, Arc::new(Source::default()));
        let mut delivery = Delivery::default();
        port.fd();
        assert!(!is_readable(&port));
        deliver(&port, &source);
        assert!(is_readable(&port));
        // It may be kept in the middle of what it has taken.
        assert!(port.take(&mut delivery));
        assert!(is_readable(&port));
        deliver(&port, &source);
        assert!(port.take(&mut delivery));
        assert!(is_readable(&port));
        assert!(!port.take(&mut delivery));
        assert!(!is_readable(&port));
        deliver(&port, &source);
        assert!(is_readable(&port));
        Ok(())
    }

    #[test]
    fn whoever_asks_for_the_descriptor_late_has_missed_nothing() -> io::Result<()> {
        let (port, source) = (Port::new()?, Arc::new(Source::default()));
        deliver(&port, &source);
        assert!(!is_readable(&port));
        port.fd();
        assert!(is_readable(&port));
        Ok(())
    }

    #[test]
    fn a_bell_says_each_time_that_the_descriptor_becomes_readable() -> io::Result<()> {
        let (port, source) = (Port::new()?, Arc::new(Source::default()));
        let mut delivery = Delivery::default();
        let (bell, mut host) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        host.set_nonblocking(true)?;
        let mut bytes = || host.read(&mut [0; 64]).unwrap_or(0);
        port.fd();
        deliver(&port, &source);
        port.set_bell(bell);
        assert_eq!(bytes(), 1, "it had been readable before");
        assert!(port.take(&mut delivery));
        deliver(&port, &source);
        assert_eq!(bytes(), 0, "it has been readable all the time");
        port.remind();
        assert_eq!(bytes(), 1);
        assert!(port.take(&mut delivery));
        assert!(!port.take(&mut delivery));
        port.remind();
        assert_eq!(bytes(), 0);
        deliver(&port, &source);
        port.ring();
        assert_eq!(bytes(), 1);
        Ok(())
    }

    #[test]
    fn a_bell_that_nobody_hears_holds_nothing_up() -> io::Result<()> {
        let port = Port::new()?;
        let (bell, host) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        port.set_bell(bell);
        port.ring();
        for _ in 0..10_000 {
            port.remind();
        }
        drop(host);
        port.remind();
        Ok(())
    }

    #[test]
    fn a_ring_and_events_do_not_hide_each_other() -> io::Result<()> {
        let (port, source) = (Port::new()?, Arc::new(Source::default()));
        let mut delivery = Delivery::default();
        port.fd();
        port.ring();
        deliver(&port, &source);
        assert!(port.take(&mut delivery));
        assert!(!port.take(&mut delivery));
        assert!(is_readable(&port), "it has been rung");
        deliver(&port, &source);
        port.hush();
        assert!(is_readable(&port), "there are events");
        assert!(port.take(&mut delivery));
        assert!(!port.take(&mut delivery));
        assert!(!is_readable(&port));
        Ok(())
    }
}
