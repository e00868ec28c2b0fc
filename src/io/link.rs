//! A client as both threads hold it: its connection, the messages on their way to the session, and
//! the port where its events go.

use super::connection::{lock, Connection, Hub, Lease, PLENTY};
use super::fork;
use super::port::{Backlog, Port, Producer};
use super::pump::{self, Ending};
use super::staging::{QueueBounds, Staging};
use super::transport::Plain;
use crate::error::{Code, Error};
use crate::message::{Batch, Command, Publish, Verdict};
use crate::session::{Client, Counters};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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
    staging: Staging,
    /// What became of messages, on its way to the session.
    verdicts: Mutex<Vec<(u64, Verdict)>>,
    check: fn(&Publish<'_>) -> Result<(), Error>,
    cut_off: Mutex<Option<Instant>>,
    abandoned: AtomicBool,
    ended: AtomicBool,
    generation: u32,
}

/// Bytes that a verdict makes the session send, for the signal.
const VERDICT: usize = 8;

thread_local! {
    /// One event queue serves all links of a thread: an idle link holds no buffers.
    static SCRATCH: Cell<Option<Batch>> = const { Cell::new(None) };
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
            staging: Staging::default(),
            verdicts: Mutex::default(),
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
        let staged = self.staging.accept(&publish, self.bounds.queue);
        match staged {
            Some(plenty) => self.connection.signal.queued(plenty, awaited),
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
            self.feed_verdicts(&mut **session, now, &mut events);
            let open = !session.is_closed();
            match command {
                Command::Flush { ticket } if open && self.staging.postpone(ticket) => Ok(()),
                _ => {
                    self.staging.feed(&mut **session, now, &mut events, true);
                    let outcome = session.submit(now, command, &mut events);
                    self.staging.note(&**session);
                    outcome
                }
            }
        };
        self.connection.signal.queued(true, true);
        self.port.deliver(self, &mut events);
        outcome
    }

    /// Says how a message fared: the hot path of acknowledged ones.
    #[inline]
    pub fn acknowledge(&self, id: u64, verdict: Verdict) {
        if self.is_ours() {
            let waiting = {
                let mut verdicts = lock(&self.verdicts);
                verdicts.push((id, verdict));
                verdicts.len()
            };
            let plenty = waiting * VERDICT >= PLENTY;
            self.connection.signal.queued(plenty, false);
        }
    }

    fn feed_verdicts(&self, session: &mut dyn Client, now: Instant, events: &mut Batch) {
        for (id, verdict) in lock(&self.verdicts).drain(..) {
            // A session that has ended takes none, which is as good.
            let _ = session.submit(now, Command::Acknowledge { id, verdict }, events);
        }
    }

    /// Whether somebody waits for a message that the session has not been fed.
    pub(super) fn has_staged_emits(&self) -> bool {
        self.staging.has_emits()
    }

    /// Hands the session everything that callers have left for it.
    pub(super) fn feed_all(&self, session: &mut dyn Client, events: &mut Batch) {
        self.staging.feed(session, Instant::now(), events, true);
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
                let mut events = Batch::for_client(self.id, 0);
                self.feed(&mut **session, now, &mut events);
                session.poll_transmit(now, out, &mut events);
                self.port.deliver(self, &mut events);
            })
    }

    /// The socket, for a thread that would read it itself ([`Link::serve_here`]) while it waits;
    /// None where only the pump may, nobody takes messages now, or nothing is worth a wake-up.
    pub fn socket(&self) -> Option<Arc<Plain>> {
        if !self.has_room() || self.connection.is_patient() {
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
                connection.end(Ending::Broken(pump::closed(Self::PEER)));
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
                if step.acknowledge {
                    socket.acknowledge(false);
                }
                let out = &mut writer.out;
                if !out.is_empty() {
                    connection.write_out(&socket, out);
                }
                // A patient session tells the pump from how many bytes on the socket counts.
                let patient = connection.is_patient();
                if step.finished || !out.is_empty() || reader.stalled || patient {
                    connection.signal.wake();
                } else {
                    connection.signal.touched.store(true, Ordering::Relaxed);
                }
            }
            Err(ending) => {
                connection.write_out(&socket, &mut writer.out);
                connection.end(ending);
            }
        }
        drop(writer);
        pump::give_buffer_back(&mut reader);
        // What was written is written: the session may have something to tell of it.
        self.push();
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
        if self.connection.lease() == Lease::None && !self.connection.is_patient() {
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
            let mut counters = connection.session().counters();
            let (messages, bytes) = self.staging.holds();
            counters.queued += messages;
            counters.queued_bytes += bytes;
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

    const PEER: &str = "server";
    const ROUNDS: usize = 16;
    const GATHERS: bool = true;

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
        self.feed_verdicts(session, now, events);
        self.staging.feed(session, now, events, false);
    }

    fn has_more(&self) -> bool {
        self.staging.has_more() || !lock(&self.verdicts).is_empty()
    }

    fn relax(&self) {
        self.staging.relax();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::redis::{Options, Redis};
    use crate::message::Value;
    use crate::session::Patience;
    use std::io;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    fn connected(socket: Plain) -> io::Result<Arc<Link>> {
        let options = Options::parse(&Value::Nil).expect("the defaults are valid");
        let bounds = Bounds {
            queue: QueueBounds {
                messages: 10,
                bytes: 1000,
            },
            pending: 10,
        };
        let port = Arc::new(Port::new()?);
        let link = Link::new(Box::new(Redis::new(options)), port, 1, bounds);
        link.connection.reset(Some(Arc::new(socket)));
        Ok(Arc::new(link))
    }

    #[test]
    fn a_lua_thread_leaves_the_socket_of_a_patient_session_to_the_pump() -> io::Result<()> {
        let (socket, _peer) = UnixStream::pair()?;
        let link = connected(Plain::Unix(socket))?;
        assert!(link.socket().is_some());
        let some = Patience::Some {
            time: Duration::from_micros(50),
            bytes: 10,
        };
        for patience in [some, Patience::Millisecond] {
            link.connection.set_patience(patience);
            assert!(link.socket().is_none(), "{patience:?}");
            link.want_lease();
            assert_eq!(link.connection.lease(), Lease::None, "{patience:?}");
        }
        Ok(())
    }

    /// Has the session told of handfuls that come one after the other.
    fn flood(link: &Arc<Link>) {
        let now = Instant::now();
        let connection = &link.connection;
        for look in 0..200 {
            let now = now + Duration::from_micros(200) * look;
            let (mut reader, mut writer) = (connection.reader(), connection.writer());
            let step = pump::step(link, &mut reader, &mut writer, 1800, now);
            assert!(step.is_ok(), "look {look}");
        }
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_flood_is_the_pumps_until_something_is_sent() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let link = connected(Plain::Tcp(TcpStream::connect(listener.local_addr()?)?))?;
        flood(&link);
        assert!(link.socket().is_none());
        link.connection.bytes_out.fetch_add(1, Ordering::Relaxed);
        let (mut reader, mut writer) = (link.connection.reader(), link.connection.writer());
        assert!(pump::step(&link, &mut reader, &mut writer, 0, Instant::now()).is_ok());
        drop((reader, writer));
        assert!(link.socket().is_some());
        Ok(())
    }

    #[test]
    fn a_flood_through_a_unix_socket_is_read_as_it_comes() -> io::Result<()> {
        let (socket, _peer) = UnixStream::pair()?;
        let link = connected(Plain::Unix(socket))?;
        flood(&link);
        assert!(link.socket().is_some());
        Ok(())
    }
}
