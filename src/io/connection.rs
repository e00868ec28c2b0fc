//! Where the calling thread and the runtime thread meet over one connection: the session, what is
//! read and what is to be written behind short-held locks, and the signal that wakes the pump no
//! more often than it must. The same for clients and for peers of the broker.
//!
//! Lock order: reader, writer, session, staging, port. No lock is held across a wait.

use super::flood::Flood;
use super::pump::Ending;
use super::transport::Plain;
use crate::session::{Patience, Session};
use bytes::{Buf, BytesMut};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// What was queued meanwhile is written after this time at the latest, while the pump lingers.
pub(super) const LINGER: Duration = Duration::from_millis(1);

/// What fits into half a word without being taken for [`Patience::Millisecond`], in microseconds.
const LONGEST_PATIENCE: u128 = 0xfffe;

/// With so many bytes queued a pump that lingers is woken, once.
pub(super) const PLENTY: usize = 64 * 1024;

/// What the pump does, as far as a caller with something new must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Attention {
    /// Asleep; must be woken.
    Idle,
    /// Asleep, looks again within [`LINGER`]; need not be woken for little. This is what makes a
    /// stream of posts cost one system call in a thousand instead of one each.
    Lingering,
    /// Running, or already woken.
    Awake,
    /// No connection: only commands that somebody waits for need be looked at (their deadlines).
    Offline,
}

/// Wakes the task of one connection.
#[derive(Debug)]
pub(super) struct Signal {
    attention: AtomicU8,
    pub(super) touched: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Signal {
    fn new() -> Self {
        Signal {
            attention: AtomicU8::new(Attention::Offline as u8),
            touched: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// Called by the task itself: who wakes it from now on, and that it is awake.
    pub(super) fn register(&self, waker: &Waker) {
        let mut slot = lock(&self.waker);
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
        self.set(Attention::Awake);
    }

    pub(super) fn set(&self, attention: Attention) {
        self.attention.store(attention as u8, Ordering::SeqCst);
    }

    /// Whether something was queued without waking the task.
    pub(super) fn take_touched(&self) -> bool {
        self.touched.swap(false, Ordering::Relaxed)
    }

    pub(super) fn wake(&self) {
        self.set(Attention::Awake);
        let waker = lock(&self.waker).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Something was queued: wakes the task where it would not look by itself soon, or there is plenty to do by now.
    pub(super) fn queued(&self, plenty: bool, awaited: bool) {
        const IDLE: u8 = Attention::Idle as u8;
        const LINGERING: u8 = Attention::Lingering as u8;
        const OFFLINE: u8 = Attention::Offline as u8;
        match self.attention.load(Ordering::SeqCst) {
            IDLE => {
                // It lingers, also where it can do nothing with it yet: the next one need not wake it, too.
                self.touched.store(true, Ordering::Relaxed);
                self.wake();
            }
            LINGERING if plenty => self.wake(),
            LINGERING => self.touched.store(true, Ordering::Relaxed),
            OFFLINE if awaited => self.wake(),
            _ => {}
        }
    }
}

/// Who watches a bare socket for what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Lease {
    /// The pump.
    None,
    /// The pump still, asked to let go.
    Wanted,
    /// The Lua thread, as long as it keeps reading; the pump looks after that.
    Held,
}

/// What has arrived and is not consumed. Whoever holds its lock is the reader, also while it
/// delivers what came of it, so that events keep their order.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) input: BytesMut,
    /// The session left input unread because nobody takes events.
    pub(super) stalled: bool,
    pub(super) accepted: bool,
    pub(super) flood: Flood,
}

/// What waits to be written, and the socket for those who need not go through the pump.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) out: BytesMut,
    pub(super) direct: Option<Arc<Plain>>,
}

/// One connection's shared state, the same for clients and for peers of the broker.
pub(super) struct Connection<S: Session + ?Sized> {
    session: Mutex<Box<S>>,
    pub(super) reader: Mutex<Reader>,
    writer: Mutex<Writer>,
    lease: AtomicU8,
    /// The Lua thread has read since the pump last looked.
    pub(super) lease_used: AtomicBool,
    /// What a reader other than the pump has found.
    ending: Mutex<Option<Ending>>,
    pub(super) signal: Signal,
    /// See [`Connection::set_patience`].
    patience: AtomicU32,
    /// The pump has stopped reading because nobody takes events.
    pub(super) paused: AtomicBool,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    /// Handshakes that the peer has accepted.
    pub(super) accepted: AtomicU64,
}

impl<S: Session + ?Sized> Connection<S> {
    pub(super) fn new(session: Box<S>) -> Self {
        Connection {
            session: Mutex::new(session),
            reader: Mutex::default(),
            writer: Mutex::default(),
            lease: AtomicU8::new(Lease::None as u8),
            lease_used: AtomicBool::new(false),
            ending: Mutex::new(None),
            signal: Signal::new(),
            patience: AtomicU32::new(0),
            paused: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        }
    }

    pub(super) fn session(&self) -> MutexGuard<'_, Box<S>> {
        lock(&self.session)
    }

    pub(super) fn reader(&self) -> MutexGuard<'_, Reader> {
        lock(&self.reader)
    }

    pub(super) fn lease(&self) -> Lease {
        const WANTED: u8 = Lease::Wanted as u8;
        const HELD: u8 = Lease::Held as u8;
        match self.lease.load(Ordering::Relaxed) {
            WANTED => Lease::Wanted,
            HELD => Lease::Held,
            _ => Lease::None,
        }
    }

    pub(super) fn set_lease(&self, lease: Lease) {
        self.lease.store(lease as u8, Ordering::Relaxed);
    }

    pub(super) fn patience(&self) -> Patience {
        match self.patience.load(Ordering::Relaxed) {
            0 => Patience::None,
            u32::MAX => Patience::Millisecond,
            number => Patience::Some {
                time: Duration::from_micros((number >> 16).into()),
                bytes: number as u16,
            },
        }
    }

    /// Nobody waits for what arrives: it is the pump's, however little it is looked at.
    pub(super) fn is_patient(&self) -> bool {
        self.patience() != Patience::None
    }

    /// What the session last said ([`Session::patience`]), or what a [`Flood`] allows.
    pub(super) fn set_patience(&self, patience: Patience) {
        let number = match patience {
            Patience::None => 0,
            Patience::Some { time, bytes } => {
                let time = time.as_micros().min(LONGEST_PATIENCE) as u32;
                time << 16 | u32::from(bytes.max(1))
            }
            Patience::Millisecond => u32::MAX,
        };
        self.patience.store(number, Ordering::Relaxed);
    }

    pub(super) fn take_lease_used(&self) -> bool {
        self.lease_used.swap(false, Ordering::Relaxed)
    }

    pub(super) fn take_ending(&self) -> Option<Ending> {
        lock(&self.ending).take()
    }

    /// A new connection begins, or the last one has ended.
    pub(super) fn reset(&self, direct: Option<Arc<Plain>>) {
        // Both at once: nobody may read the old socket for the new connection.
        let (mut reader, mut writer) = (self.reader(), self.writer());
        *reader = Reader::default();
        *writer = Writer {
            out: BytesMut::new(),
            direct,
        };
        *lock(&self.ending) = None;
        self.set_lease(Lease::None);
        self.paused.store(false, Ordering::SeqCst);
        self.set_patience(Patience::None);
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.writer)
    }

    /// Writes on the calling thread what the kernel takes at once; the pump does the rest.
    /// `feed` appends what the session has to send. True: something was written.
    pub(super) fn push(&self, feed: impl Fn(&mut Box<S>, &mut BytesMut)) -> bool {
        let mut writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            // The pump is writing, and looks for more when it is done.
            Err(TryLockError::WouldBlock) => return false,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        let Writer { out, direct } = &mut *writer;
        let Some(socket) = direct else { return false };
        let mut pushed = false;
        // Otherwise the pump waits for the socket to take more.
        while out.is_empty() {
            feed(&mut self.session(), out);
            if out.is_empty() {
                self.signal.touched.store(true, Ordering::Relaxed);
                return pushed;
            }
            pushed |= self.write_out(socket, out);
        }
        drop(writer);
        self.signal.wake();
        pushed
    }

    pub(super) fn write_out(&self, socket: &Plain, out: &mut BytesMut) -> bool {
        match socket.try_write(out) {
            Ok(written) => {
                self.bytes_out.fetch_add(written as u64, Ordering::Relaxed);
                out.advance(written);
                written > 0
            }
            // The pump meets the error itself.
            Err(_) => false,
        }
    }

    /// Leaves the end of the connection to the pump.
    pub(super) fn end(&self, ending: Ending) {
        lock(&self.ending).get_or_insert(ending);
        self.signal.wake();
    }
}

/// Whose connection a pump serves.
pub(super) trait Hub: Send + Sync + 'static {
    type Session: Session + ?Sized;

    /// What the other end is called in an error.
    const PEER: &str;
    /// Reads and writes before other connections get their turn.
    const ROUNDS: usize;
    /// Whether a [`Flood`] may be read a little late.
    const GATHERS: bool;

    fn connection(&self) -> &Connection<Self::Session>;
    /// An empty event queue with the room that the consumer has now.
    fn events(&self) -> <Self::Session as Session>::Events;
    /// Whether that queue takes no more.
    fn is_full(events: &<Self::Session as Session>::Events) -> bool;
    /// Whether the consumer takes anything now.
    fn has_room(&self) -> bool;
    fn deliver(self: &Arc<Self>, events: <Self::Session as Session>::Events);
    /// Hands the session what callers have left for it since the last time.
    fn feed(
        &self,
        session: &mut Self::Session,
        now: Instant,
        events: &mut <Self::Session as Session>::Events,
    );
    /// Whether callers have left more than was fed.
    fn has_more(&self) -> bool;
    /// Nothing has happened for a while: memory of a rush may be given back.
    fn relax(&self);
    /// When the connection is to be cut whatever it has yet to say.
    fn cut_off(&self) -> Option<Instant>;
    /// Nobody is interested any more.
    fn abandoned(&self) -> bool;
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under a lock ends its own call with an error; the others go on with what there is.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
