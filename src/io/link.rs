//! Where the calling thread and the runtime thread meet over one connection: the session and the
//! out-buffer behind short-held locks, and the signal that wakes the pump no more often than it
//! must.
//!
//! Lock order: reader, writer, session, staging, port. No lock is held across a wait.

use super::fork;
use super::port::{Backlog, Port, Producer};
use super::pump::{self, Ending};
use super::staging::{QueueBounds, Staging};
use super::transport::Plain;
use crate::error::{Code, Error};
use crate::message::{Batch, Command, Publish};
use crate::session::{Client, Counters, Session};
use bytes::{Buf, BytesMut};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// What was queued meanwhile is written after this time at the latest, while the pump lingers.
pub(super) const LINGER: Duration = Duration::from_millis(1);

/// So many queued bytes wake a pump that lingers.
const PLENTY: usize = 64 * 1024;

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
    touched: AtomicBool,
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

    /// Something was queued: wakes the task where it would not look by itself soon.
    fn queued(&self, bytes: usize, awaited: bool) {
        const IDLE: u8 = Attention::Idle as u8;
        const LINGERING: u8 = Attention::Lingering as u8;
        const OFFLINE: u8 = Attention::Offline as u8;
        match self.attention.load(Ordering::SeqCst) {
            IDLE => self.wake(),
            LINGERING if bytes >= PLENTY => self.wake(),
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
}

/// What waits to be written, and the socket for those who need not go through the pump.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) out: BytesMut,
    pub(super) direct: Option<Arc<Plain>>,
}

/// One connection's shared state, the same for clients and, later, for peers of the broker.
pub struct Connection<S: Session + ?Sized> {
    session: Mutex<Box<S>>,
    reader: Mutex<Reader>,
    writer: Mutex<Writer>,
    lease: AtomicU8,
    /// The Lua thread has read since the pump last looked.
    lease_used: AtomicBool,
    /// What a reader other than the pump has found.
    ending: Mutex<Option<Ending>>,
    pub(super) signal: Signal,
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

    pub(super) fn take_lease_used(&self) -> bool {
        self.lease_used.swap(false, Ordering::Relaxed)
    }

    pub(super) fn take_ending(&self) -> Option<Ending> {
        lock(&self.ending).take()
    }

    /// A new connection begins, or the last one has ended.
    pub(super) fn reset(&self, direct: Option<Arc<Plain>>) {
        *self.reader() = Reader::default();
        *self.writer() = Writer {
            out: BytesMut::new(),
            direct,
        };
        *lock(&self.ending) = None;
        self.set_lease(Lease::None);
        self.paused.store(false, Ordering::SeqCst);
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.writer)
    }

    /// Writes on the calling thread what the kernel takes at once; the pump does the rest.
    /// `feed` appends what the session has to send. True: something was written.
    fn push(&self, feed: impl Fn(&mut Box<S>, &mut BytesMut)) -> bool {
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

    fn write_out(&self, socket: &Plain, out: &mut BytesMut) -> bool {
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
    fn end(&self, ending: Ending) {
        lock(&self.ending).get_or_insert(ending);
        self.signal.wake();
    }
}

/// Whose connection a pump serves.
pub(super) trait Hub: Send + Sync + 'static {
    type Session: Session + ?Sized;

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
    /// When the connection is to be cut whatever it has yet to say.
    fn cut_off(&self) -> Option<Instant>;
    /// Nobody is interested any more.
    fn abandoned(&self) -> bool;
}

/// What a client may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// On the way out.
    pub queue: QueueBounds,
    /// Messages that have arrived and that Lua has not taken.
    pub pending: usize,
}

/// A client: a session, its connection, and the port where its events go.
pub struct Link {
    connection: Connection<dyn Client>,
    port: Arc<Port>,
    id: u32,
    bounds: Bounds,
    backlog: Backlog,
    /// Lock order: inside the session's.
    staging: Mutex<Staging>,
    check: fn(&Publish<'_>) -> Result<(), Error>,
    cut_off: Mutex<Option<Instant>>,
    abandoned: AtomicBool,
    ended: AtomicBool,
    generation: u32,
}

thread_local! {
    /// One event queue serves all links of a thread: an idle link holds no buffers.
    static SCRATCH: Cell<Option<Batch>> = const { Cell::new(None) };
    /// Likewise, for what is on its way from a staging to its session.
    static STAGED: Cell<Staging> = Cell::default();
}

impl Link {
    /// A client that has not begun to connect.
    pub fn new(session: Box<dyn Client>, port: Arc<Port>, id: u32, bounds: Bounds) -> Self {
        Link {
            check: session.checker(),
            connection: Connection::new(session),
            port,
            id,
            bounds,
            backlog: Backlog::default(),
            staging: Mutex::default(),
            cut_off: Mutex::new(None),
            abandoned: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            generation: fork::generation(),
        }
    }

    /// Whether this process made it; otherwise nothing of it may be touched.
    #[inline]
    pub fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Names the client among those of its port.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Accepts a message: the hot path.
    ///
    /// # Errors
    /// As [`Client::submit`]; [`Code::Closed`] in a forked child.
    #[inline]
    pub fn publish(self: &Arc<Self>, publish: Publish<'_>) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(forked());
        }
        (self.check)(&publish)?;
        let awaited = publish.ticket.is_some();
        let staged = {
            let mut staging = lock(&self.staging);
            staging
                .accept(&publish, self.bounds.queue)
                .then(|| staging.byte_len())
        };
        match staged {
            Some(bytes) => self.connection.signal.queued(bytes, awaited),
            None => self.submit(Command::Publish(publish))?,
        }
        Ok(())
    }

    /// Hands a command to the session, behind all messages accepted before.
    ///
    /// # Errors
    /// As [`Client::submit`]; [`Code::Closed`] in a forked child.
    pub fn submit(self: &Arc<Self>, command: Command<'_>) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(forked());
        }
        let now = Instant::now();
        let mut events = Batch::for_client(self.id, 0);
        let outcome = {
            let mut session = self.connection.session();
            self.feed(&mut **session, now, &mut events);
            let outcome = session.submit(now, command, &mut events);
            self.account(&mut **session);
            outcome
        };
        self.connection.signal.queued(PLENTY, true);
        self.port.deliver(self, &mut events);
        outcome
    }

    /// Whether somebody waits for a message that the session has not been fed.
    pub(super) fn has_staged_emits(&self) -> bool {
        lock(&self.staging).has_emits()
    }

    /// Lets the staging know how much room the session leaves. Call it under the session's lock.
    fn account(&self, session: &mut dyn Client) {
        let held = session.counters();
        let messages = (held.queued + held.in_flight) as usize;
        lock(&self.staging).session_holds(messages, held.queued_bytes as usize);
        if session.is_closed() {
            // Whatever comes now is refused by the session itself.
            lock(&self.staging).session_holds(usize::MAX / 2, 0);
        }
    }

    /// Takes no more commands, sends what is queued for `patience` at most, then says good-bye.
    ///
    /// # Errors
    /// It is closed already.
    pub fn close(self: &Arc<Self>, ticket: u64, patience: Duration) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(forked());
        }
        *lock(&self.cut_off) = Instant::now().checked_add(patience);
        self.submit(Command::Close { ticket })?;
        self.connection.signal.wake();
        Ok(())
    }

    /// Drops the connection at once; no event follows. What is queued is written as far as the
    /// kernel takes it now.
    pub fn abandon(self: &Arc<Self>) {
        if self.is_ours() {
            self.push();
            self.abandoned.store(true, Ordering::SeqCst);
            self.connection.signal.wake();
        }
    }

    /// Writes what is queued, as far as the kernel takes it now; true: something was written.
    pub fn push(self: &Arc<Self>) -> bool {
        self.is_ours()
            && self.connection.push(|session, out| {
                let now = Instant::now();
                // A session that is fed while it is connected has nothing to tell but refusals.
                let mut events = Batch::for_client(self.id, 0);
                self.feed(&mut **session, now, &mut events);
                session.poll_transmit(now, out);
                self.port.deliver(self, &mut events);
            })
    }

    /// The socket, for a thread that would read it itself ([`Link::serve_here`]) while it waits;
    /// None where only the pump may, or nobody takes messages now.
    pub fn socket(&self) -> Option<Arc<Plain>> {
        if !self.has_room() {
            return None;
        }
        self.connection.writer().direct.clone()
    }

    /// Reads once on the calling thread, lets the session work, and writes what comes of it. What
    /// cannot be done here is left to the pump. True: something was read.
    pub fn serve_here(self: &Arc<Self>) -> bool {
        let connection = &self.connection;
        let Ok(mut reader) = connection.reader.try_lock() else {
            return false;
        };
        if reader.stalled || !self.has_room() {
            connection.signal.wake();
            return false;
        }
        let Some(socket) = connection.writer().direct.clone() else {
            return false;
        };
        let read = match pump::receive(&mut reader, |input| socket.try_read(input)) {
            Ok(0) => {
                connection.end(Ending::Broken(pump::closed()));
                return false;
            }
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            Err(error) => {
                connection.end(Ending::Broken(pump::failed(&error)));
                return false;
            }
        };
        connection
            .bytes_in
            .fetch_add(read as u64, Ordering::Relaxed);
        connection.lease_used.store(true, Ordering::Relaxed);
        let mut writer = connection.writer();
        match pump::step(self, &mut reader, &mut writer, read, Instant::now()) {
            Ok(step) => {
                let out = &mut writer.out;
                if !out.is_empty() {
                    connection.write_out(&socket, out);
                }
                if step.finished || !out.is_empty() || reader.stalled {
                    connection.signal.wake();
                } else {
                    connection.signal.touched.store(true, Ordering::Relaxed);
                }
            }
            Err(ending) => connection.end(ending),
        }
        pump::give_buffer_back(&mut reader);
        true
    }

    /// Bytes received so far.
    pub fn bytes_in(&self) -> u64 {
        self.connection.bytes_in.load(Ordering::Relaxed)
    }

    /// No connection will be made any more.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub(super) fn set_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Asks the pump to leave the watch over the socket to the calling thread, which keeps
    /// reading it: two threads that wake for each message are one too many.
    pub fn want_lease(&self) {
        if self.connection.lease() == Lease::None {
            self.connection.set_lease(Lease::Wanted);
            self.connection.signal.wake();
        }
    }

    /// Says how many messages Lua holds in queues of its own.
    pub fn hold(&self, messages: usize) {
        if self.is_ours() {
            self.backlog.hold(messages);
            self.consumed();
        }
    }

    /// The session's counts, and the connection's: bytes in, bytes out, reconnects.
    pub fn counters(self: &Arc<Self>) -> Option<(Counters, [u64; 3])> {
        self.is_ours().then(|| {
            let connection = &self.connection;
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let reconnects = load(&connection.accepted).saturating_sub(1);
            let (bytes_in, bytes_out) = (load(&connection.bytes_in), load(&connection.bytes_out));
            let counters = {
                let mut session = connection.session();
                let mut events = Batch::for_client(self.id, 0);
                self.feed(&mut **session, Instant::now(), &mut events);
                self.port.deliver(self, &mut events);
                session.counters()
            };
            (counters, [bytes_in, bytes_out, reconnects])
        })
    }
}

impl Producer for Link {
    fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    fn consumed(&self) {
        if self.connection.paused.load(Ordering::SeqCst)
            && self.has_room()
            && self.connection.paused.swap(false, Ordering::SeqCst)
        {
            self.connection.signal.wake();
        }
    }
}

impl Hub for Link {
    type Session = dyn Client;

    fn connection(&self) -> &Connection<dyn Client> {
        &self.connection
    }

    fn events(&self) -> Batch {
        let room = self
            .backlog
            .room(self.bounds.pending, self.bounds.queue.bytes);
        let mut batch = SCRATCH.take().unwrap_or_default();
        batch.reuse(self.id, room);
        batch
    }

    fn is_full(events: &Batch) -> bool {
        events.is_full()
    }

    fn has_room(&self) -> bool {
        self.backlog
            .room(self.bounds.pending, self.bounds.queue.bytes)
            > 0
    }

    fn deliver(self: &Arc<Self>, mut events: Batch) {
        self.port.deliver(self, &mut events);
        SCRATCH.set(Some(events));
    }

    fn feed(&self, session: &mut (dyn Client + 'static), now: Instant, events: &mut Batch) {
        let mut staged = STAGED.take();
        lock(&self.staging).hand_over(&mut staged);
        if !staged.is_empty() {
            staged.drain(now, |at, publish| {
                let ticket = publish.ticket;
                if let Err(error) = session.submit(at, Command::Publish(publish), events) {
                    // It was accepted while the session ended: its caller learns why. A post has
                    // nobody who waits, and a flush of an ended session fails as a whole.
                    if let Some(ticket) = ticket {
                        events.fail(ticket, &error);
                    }
                }
            });
        }
        STAGED.set(staged);
        self.account(session);
    }

    fn cut_off(&self) -> Option<Instant> {
        *lock(&self.cut_off)
    }

    fn abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }
}

fn forked() -> Error {
    Error::new(
        Code::Closed,
        "this client belongs to the parent process; make a new one after fork()",
    )
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under a lock ends its own call with an error; the others go on with what there is.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
