//! Carries bytes between a stream and a session until either is done. Knows no frames.

use super::connection::{Attention, Hub, Lease, Reader, Writer, LINGER};
use super::nap::Nap;
use super::recall::Recall;
use super::transport::{Stream, Watch, READ};
use crate::error::Error;
use crate::session::{Patience, Session};
use bytes::{Buf, BytesMut};
use std::cell::Cell;
use std::future::{poll_fn, Future};
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, Sleep};

/// Why the pump stopped.
#[derive(Debug)]
pub(super) enum Ending {
    /// The session had nothing more to say, and all of it is written.
    Finished,
    /// The time for closing was over.
    CutOff,
    /// Nobody is interested any more.
    Abandoned,
    /// The connection failed, or the session gave it up.
    Broken(Error),
}

/// An idle connection keeps an out-buffer of this size.
const KEEP: usize = 1024;

/// For the peer to take a good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

/// A timer that is never due in practice.
const FAR: Duration = Duration::from_secs(86_400);

thread_local! {
    /// One read buffer serves all connections of a thread; a connection has one of its own only
    /// while half a frame is in it.
    static SPARE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

struct Pump<'a, H: Hub> {
    hub: &'a Arc<H>,
    stream: Stream,
    linger_until: Option<Instant>,
    /// When to look at a socket that the runtime does not watch, and whether the Lua thread does.
    lease_check: Option<Instant>,
    /// When to read what is too little to be told of.
    little_check: Option<Instant>,
    /// The last look by the clock found nothing: the peer has other things to do, and may well wake us.
    in_vain: bool,
    recall: Recall,
    nap: Nap,
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

/// Serves one connection until it ends.
pub(super) async fn run<H: Hub>(hub: &Arc<H>, stream: Stream) -> Ending {
    hub.connection().reset(stream.socket().cloned());
    let mut pump = Pump {
        hub,
        stream,
        linger_until: None,
        lease_check: None,
        little_check: None,
        in_vain: false,
        recall: Recall::default(),
        nap: Nap::default(),
        timer: Box::pin(sleep_until(far(Instant::now()))),
        armed: None,
    };
    let mut events = hub.events();
    hub.connection()
        .session()
        .connected(Instant::now(), &mut events);
    hub.deliver(events);
    let ending = poll_fn(|cx| pump.poll(cx)).await;
    hub.connection().reset(None);
    hub.connection().signal.set(Attention::Offline);
    if matches!(ending, Ending::Finished) {
        let farewell = poll_fn(|cx| pump.stream.poll_shutdown(cx));
        // The peer may be gone already: there is nothing left to lose.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
    ending
}

/// What [`step`] found.
pub(super) struct Step {
    /// The session had something to receive, or has again.
    pub(super) worked: bool,
    /// It has nothing more to say.
    pub(super) finished: bool,
    /// What was read has to be acknowledged at once, with nothing to say.
    pub(super) acknowledge: bool,
}

/// Lets the session work on what was read, and fills the out-buffer. The caller writes it. For
/// the pump, and for a Lua thread that reads for itself.
pub(super) fn step<H: Hub>(
    hub: &Arc<H>,
    reader: &mut Reader,
    writer: &mut Writer,
    read: usize,
    now: Instant,
) -> Result<Step, Ending> {
    let connection = hub.connection();
    let mut events = hub.events();
    // Also when room has come or gone, which the session has to know.
    let worked = read > 0 || reader.stalled != H::is_full(&events);
    let mut outcome = Ok(());
    let mut acknowledge = false;
    let finished = {
        let mut session = connection.session();
        if worked {
            outcome = session.receive(now, &mut reader.input, &mut events);
            reader.stalled = H::is_full(&events);
        }
        if outcome.is_ok() && session.deadline().is_some_and(|at| at <= now) {
            outcome = session.expire(now, &mut events);
        }
        hub.feed(&mut session, now, &mut events);
        if outcome.is_err() {
            session.farewell(&mut writer.out);
        } else if writer.out.is_empty() {
            session.poll_transmit(now, &mut writer.out, &mut events);
            acknowledge = read > 0 && writer.out.is_empty() && session.awaits_answer();
        }
        if !reader.accepted && session.accepted() {
            reader.accepted = true;
            connection.accepted.fetch_add(1, Ordering::Relaxed);
        }
        let mut patience = session.patience();
        let heeded = writer.direct.as_ref();
        if H::GATHERS && heeded.is_some_and(|socket| socket.heeds_low_water()) {
            let sent = connection.bytes_out.load(Ordering::Relaxed);
            reader.flood.note(now, read, sent);
            if patience == Patience::None {
                patience = reader.flood.patience();
            }
        }
        connection.set_patience(patience);
        session.finished() && !hub.has_more()
    };
    hub.deliver(events);
    outcome.map_err(Ending::Broken)?;
    // Whoever makes room from here on sees the pause and wakes the pump; who has made room before
    // is seen here.
    connection.paused.store(reader.stalled, Ordering::SeqCst);
    let resumes = reader.stalled && hub.has_room();
    Ok(Step {
        worked: worked || resumes,
        finished,
        acknowledge,
    })
}

/// Reads with a buffer that is given back, if nothing stays in it, by [`give_buffer_back`].
pub(super) fn receive<T>(reader: &mut Reader, read: impl FnOnce(&mut BytesMut) -> T) -> T {
    if reader.input.capacity() == 0 {
        reader.input = SPARE.take().unwrap_or_default();
    }
    read(&mut reader.input)
}

pub(super) fn give_buffer_back(reader: &mut Reader) {
    if reader.input.is_empty() && reader.input.capacity() > 0 {
        let mut buffer = std::mem::take(&mut reader.input);
        buffer.clear();
        if buffer.capacity() <= 4 * READ {
            SPARE.set(Some(buffer));
        }
    }
}

impl<H: Hub> Pump<'_, H> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.hub.connection().signal.register(cx.waker());
        // Something was queued: more may follow.
        let touched = self.hub.connection().signal.take_touched();
        let mut busy = touched;
        for _ in 0..H::ROUNDS {
            let now = Instant::now();
            match self.round(cx, now) {
                Err(ending) => return Poll::Ready(ending),
                Ok(true) => busy = true,
                Ok(false) => match self.settle(now, busy, touched) {
                    Err(error) => return Poll::Ready(Ending::Broken(failed(&error))),
                    // Something was queued before it was known that it must wake us.
                    Ok(true) => busy = true,
                    Ok(false) => {
                        if self.arm(cx, now) {
                            continue;
                        }
                        return Poll::Pending;
                    }
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once, lets the session work, writes what it has to say. True: there may be more.
    fn round(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, Ending> {
        let connection = self.hub.connection();
        if self.hub.abandoned() {
            return Err(Ending::Abandoned);
        }
        if self.hub.cut_off().is_some_and(|at| at <= now) {
            return Err(Ending::CutOff);
        }
        let mut reader = connection.reader();
        // Once nobody else reads: what another reader has found comes before the end of the stream.
        if let Some(ending) = connection.take_ending() {
            return Err(ending);
        }
        let skipped = reader.stalled || !self.hub.has_room();
        let read = match skipped {
            // What was read before comes first; with no room for anything, `step` sees to the pause.
            true => 0,
            false => self.read(cx, &mut reader, now)?,
        };
        let mut writer = connection.writer();
        let step = match step(self.hub, &mut reader, &mut writer, read, now) {
            Ok(step) => step,
            Err(ending) => {
                // The last words, as far as the stream takes them now.
                if !writer.out.is_empty() {
                    let _ = self.stream.poll_write(cx, &writer.out);
                    let _ = self.stream.poll_flush(cx);
                }
                return Err(ending);
            }
        };
        give_buffer_back(&mut reader);
        if let (true, Some(socket)) = (step.acknowledge, self.stream.socket()) {
            socket.acknowledge(false);
        }
        // Room that has come since nobody was told of: the pause had not begun.
        let mut worked = step.worked || skipped && !reader.stalled;
        while !writer.out.is_empty() {
            match self.stream.poll_write(cx, &writer.out) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    writer.out.advance(written);
                    connection
                        .bytes_out
                        .fetch_add(written as u64, Ordering::Relaxed);
                    worked = true;
                }
                Poll::Ready(Ok(_)) => return Err(Ending::Broken(closed(H::PEER))),
                Poll::Ready(Err(error)) => return Err(Ending::Broken(failed(&error))),
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(Err(error)) = self.stream.poll_flush(cx) {
            return Err(Ending::Broken(failed(&error)));
        }
        if step.finished && writer.out.is_empty() {
            return Err(Ending::Finished);
        }
        Ok(worked)
    }

    /// Reads once.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut Reader,
        now: Instant,
    ) -> Result<usize, Ending> {
        let connection = self.hub.connection();
        let little = self.little_check.take_if(|at| *at <= now).is_some();
        let unhurried = self.is_unhurried();
        let by_the_clock = little || unhurried;
        // Taken: the look after one that found something is not due.
        let due = little || unhurried && self.lease_check.take_if(|at| *at <= now).is_some();
        let (stream, recall) = (&mut self.stream, &mut self.recall);
        let arrived = receive(reader, |input| {
            let seen = match stream {
                // It is not watched, or not for so little, but looked at now and then.
                Stream::Plain(socket) if little => {
                    recall.read(|| socket.read_now(input), || socket.acknowledge(true))
                }
                Stream::Plain(socket) if by_the_clock => socket.read_now(input),
                _ => Poll::Pending,
            };
            match seen {
                // Also has the runtime wake us, where it watches: the kernel tells it when a lower mark makes a difference.
                Poll::Pending => stream.poll_read(cx, input),
                seen => seen,
            }
        });
        match arrived {
            Poll::Pending => {
                self.in_vain |= due;
                give_buffer_back(reader);
                Ok(0)
            }
            Poll::Ready(Ok(0)) => Err(Ending::Broken(closed(H::PEER))),
            Poll::Ready(Ok(read)) => {
                self.little_check = None;
                self.in_vain = false;
                connection
                    .bytes_in
                    .fetch_add(read as u64, Ordering::Relaxed);
                Ok(read)
            }
            Poll::Ready(Err(error)) => Err(Ending::Broken(failed(&error))),
        }
    }

    /// Decides who must wake us, then looks for what was queued before that was known: true.
    fn settle(&mut self, now: Instant, busy: bool, touched: bool) -> io::Result<bool> {
        let connection = self.hub.connection();
        let touched = connection.signal.take_touched() || touched;
        // Who only reads, and more seldom than that, has nothing to linger for.
        let rests = matches!(connection.patience(), Patience::Some { time, .. } if time > LINGER);
        if touched || busy && !rests {
            self.linger_until = Some(now + LINGER);
        }
        self.linger_until = self.linger_until.filter(|until| *until > now);
        let mut writer = connection.writer();
        let watch = self.choose_watch(now, !writer.out.is_empty());
        if let Stream::Plain(socket) = &mut self.stream {
            let (bytes, check) = match connection.patience() {
                // Whoever makes room for what is there wakes us.
                Patience::Some { bytes, .. } if connection.paused.load(Ordering::SeqCst) => {
                    (bytes, None)
                }
                Patience::Some { time, bytes } if !self.in_vain => (bytes, Some(now + time)),
                _ => (1, None),
            };
            socket.set_low_water(bytes);
            // A wait that has begun is not prolonged by what else wakes us.
            let begun = self.little_check.filter(|at| *at > now);
            self.little_check = check.map(|at| begun.map_or(at, |begun| begun.min(at)));
            if socket.set_watch(watch)? && watch != Watch::Nothing {
                // What has come meanwhile is to be noticed.
                return Ok(true);
            }
        }
        connection.signal.set(match self.linger_until {
            Some(_) => Attention::Lingering,
            None => {
                self.hub.relax();
                if !connection.is_patient() {
                    self.nap = Nap::default();
                }
                if writer.out.is_empty() && writer.out.capacity() > KEEP {
                    writer.out = BytesMut::new();
                }
                Attention::Idle
            }
        });
        if !writer.out.is_empty() {
            // It waits for the stream to take more; what else there is waits behind it.
            return Ok(false);
        }
        let mut events = self.hub.events();
        {
            let mut session = connection.session();
            self.hub.feed(&mut session, now, &mut events);
            session.poll_transmit(now, &mut writer.out, &mut events);
        }
        self.hub.deliver(events);
        Ok(!writer.out.is_empty())
    }

    /// Who looks after a bare socket from here on: the runtime, the Lua thread that holds a lease,
    /// or nobody but the clock.
    fn choose_watch(&mut self, now: Instant, blocked: bool) -> Watch {
        let unhurried = self.is_unhurried();
        let connection = self.hub.connection();
        let due = self.lease_check.is_none_or(|at| at <= now);
        let lease = match connection.lease() {
            Lease::None => Lease::None,
            // The Lua thread cannot wait for room to write, and does not watch what is not urgent.
            _ if blocked || connection.is_patient() => Lease::None,
            Lease::Wanted => {
                connection.take_lease_used();
                Lease::Held
            }
            // The Lua thread has gone elsewhere.
            Lease::Held if due && !connection.take_lease_used() => Lease::None,
            Lease::Held => Lease::Held,
        };
        connection.set_lease(lease);
        if lease == Lease::None && !unhurried {
            self.lease_check = None;
            return Watch::All;
        }
        if due {
            self.lease_check = Some(now + LINGER);
        }
        match blocked {
            true => Watch::Writes,
            false => Watch::Nothing,
        }
    }

    /// It may be looked at by the clock alone.
    fn is_unhurried(&self) -> bool {
        self.hub.connection().patience() == Patience::Millisecond && !self.in_vain
    }

    /// Sets the timer; true: it is due already.
    fn arm(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let deadline = self.hub.connection().session().deadline();
        let next = [
            deadline,
            self.hub.cut_off(),
            self.linger_until,
            self.lease_check,
            self.little_check,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or_else(|| now + FAR);
        // A timer that fires too early costs a look; moving it for every message costs more.
        if self.armed.is_none_or(|armed| next < armed || armed <= now) {
            self.timer.as_mut().reset(next.into());
            self.armed = Some(next);
        }
        let little = self.little_check;
        self.timer.as_mut().poll(cx).is_ready()
            || little.is_some_and(|at| self.nap.poll(cx, at).is_ready())
    }
}

pub(super) fn far(now: Instant) -> tokio::time::Instant {
    (now + FAR).into()
}

pub(super) fn closed(peer: &str) -> Error {
    Error::lost(format!("the {peer} closed the connection"))
}

pub(super) fn failed(error: &io::Error) -> Error {
    let text = format!("the connection failed: {}", super::endpoint::plainly(error));
    Error::new(super::transport::code_of(error), text)
}
