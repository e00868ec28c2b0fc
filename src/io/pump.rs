//! Carries bytes between a stream and a session until either is done. Knows no frames.

use super::link::{Attention, Hub, LINGER};
use super::transport::Stream;
use crate::error::Error;
use crate::session::Session;
use bytes::{Buf, BytesMut};
use std::cell::Cell;
use std::future::{poll_fn, Future};
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

/// Bytes read at a time.
const READ: usize = 64 * 1024;

/// Reads and writes before other connections get their turn.
const ROUNDS: usize = 16;

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
    input: BytesMut,
    /// The session left input unread because nobody takes events.
    stalled: bool,
    accepted: bool,
    linger_until: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

/// Serves one connection until it ends.
pub(super) async fn run<H: Hub>(hub: &Arc<H>, stream: Stream) -> Ending {
    hub.connection().writer().direct = stream.plain().cloned();
    let mut pump = Pump {
        hub,
        stream,
        input: BytesMut::new(),
        stalled: false,
        accepted: false,
        linger_until: None,
        timer: Box::pin(sleep_until(far(Instant::now()))),
        armed: None,
    };
    let mut events = hub.events();
    hub.connection()
        .session()
        .connected(Instant::now(), &mut events);
    hub.deliver(events);
    let ending = poll_fn(|cx| pump.poll(cx)).await;
    {
        let mut writer = hub.connection().writer();
        writer.direct = None;
        writer.out = BytesMut::new();
    }
    hub.connection().signal.set(Attention::Offline);
    if matches!(ending, Ending::Finished) {
        let farewell = poll_fn(|cx| pump.stream.poll_shutdown(cx));
        // The peer may be gone already: there is nothing left to lose.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
    ending
}

impl<H: Hub> Pump<'_, H> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.hub.connection().signal.register(cx.waker());
        let mut busy = self.hub.connection().signal.take_touched();
        for _ in 0..ROUNDS {
            let now = Instant::now();
            match self.round(cx, now) {
                Err(ending) => return Poll::Ready(ending),
                Ok(true) => busy = true,
                Ok(false) => {
                    if self.settle(now, busy) {
                        // Something was queued before it was known that it must wake us.
                        busy = true;
                        continue;
                    }
                    if self.arm(cx, now) {
                        continue;
                    }
                    self.give_buffer_back();
                    return Poll::Pending;
                }
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
        let read = self.read(cx)?;
        let mut broken = None;
        let mut worked = false;
        {
            let mut writer = connection.writer();
            let mut events = self.hub.events();
            let finished = {
                let mut session = connection.session();
                // Also when room has come or gone, which the session has to know.
                if read > 0 || self.stalled != H::is_full(&events) {
                    broken = session.receive(now, &mut self.input, &mut events).err();
                    self.stalled = H::is_full(&events);
                    worked = true;
                }
                if broken.is_none() && session.deadline().is_some_and(|at| at <= now) {
                    broken = session.expire(now, &mut events).err();
                }
                self.hub.feed(&mut session, now, &mut events);
                if broken.is_none() && writer.out.is_empty() {
                    session.poll_transmit(now, &mut writer.out);
                }
                if !self.accepted && session.accepted() {
                    self.accepted = true;
                    connection.accepted.fetch_add(1, Ordering::Relaxed);
                }
                session.finished()
            };
            self.hub.deliver(events);
            if let Some(error) = broken {
                return Err(Ending::Broken(error));
            }
            while !writer.out.is_empty() {
                match self.stream.poll_write(cx, &writer.out) {
                    Poll::Ready(Ok(written)) if written > 0 => {
                        writer.out.advance(written);
                        connection
                            .bytes_out
                            .fetch_add(written as u64, Ordering::Relaxed);
                        worked = true;
                    }
                    Poll::Ready(Ok(_)) => return Err(Ending::Broken(closed())),
                    Poll::Ready(Err(error)) => return Err(Ending::Broken(failed(&error))),
                    Poll::Pending => break,
                }
            }
            if let Poll::Ready(Err(error)) = self.stream.poll_flush(cx) {
                return Err(Ending::Broken(failed(&error)));
            }
            if finished && writer.out.is_empty() {
                return Err(Ending::Finished);
            }
        }
        Ok(worked)
    }

    /// Reads once, unless nobody takes what comes of it.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<usize, Ending> {
        let connection = self.hub.connection();
        if !self.hub.has_room() {
            connection.paused.store(true, Ordering::SeqCst);
            // Room may have come in between, from a consumer that saw no pause to end.
            if !self.hub.has_room() {
                return Ok(0);
            }
        }
        connection.paused.store(false, Ordering::SeqCst);
        if self.stalled {
            // What was read before comes first.
            return Ok(0);
        }
        if self.input.capacity() == 0 {
            self.input = SPARE.take().unwrap_or_default();
        }
        self.input.reserve(READ);
        match self.stream.poll_read(cx, &mut self.input) {
            Poll::Pending => Ok(0),
            Poll::Ready(Ok(0)) => Err(Ending::Broken(closed())),
            Poll::Ready(Ok(read)) => {
                connection
                    .bytes_in
                    .fetch_add(read as u64, Ordering::Relaxed);
                Ok(read)
            }
            Poll::Ready(Err(error)) => Err(Ending::Broken(failed(&error))),
        }
    }

    /// Decides who must wake us, then looks for what was queued before that was known.
    fn settle(&mut self, now: Instant, busy: bool) -> bool {
        let connection = self.hub.connection();
        if busy || connection.signal.take_touched() {
            self.linger_until = Some(now + LINGER);
        }
        self.linger_until = self.linger_until.filter(|until| *until > now);
        connection.signal.set(match self.linger_until {
            Some(_) => Attention::Lingering,
            None => Attention::Idle,
        });
        let mut writer = connection.writer();
        if !writer.out.is_empty() {
            // It waits for the stream to take more; what else there is waits behind it.
            return false;
        }
        let mut events = self.hub.events();
        {
            let mut session = connection.session();
            self.hub.feed(&mut session, now, &mut events);
            session.poll_transmit(now, &mut writer.out);
        }
        self.hub.deliver(events);
        !writer.out.is_empty()
    }

    /// Sets the timer; true: it is due already.
    fn arm(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let deadline = self.hub.connection().session().deadline();
        let next = [deadline, self.hub.cut_off(), self.linger_until]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| now + FAR);
        // A timer that fires too early costs a look; moving it for every message costs more.
        if self.armed.is_none_or(|armed| next < armed || armed <= now) {
            self.timer.as_mut().reset(next.into());
            self.armed = Some(next);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    fn give_buffer_back(&mut self) {
        if self.input.is_empty() && self.input.capacity() > 0 {
            let mut buffer = std::mem::take(&mut self.input);
            buffer.clear();
            if buffer.capacity() <= 4 * READ {
                SPARE.set(Some(buffer));
            }
        }
    }
}

pub(super) fn far(now: Instant) -> tokio::time::Instant {
    (now + FAR).into()
}

fn closed() -> Error {
    Error::lost("the server closed the connection")
}

fn failed(error: &std::io::Error) -> Error {
    Error::lost(format!(
        "the connection failed: {}",
        super::endpoint::plainly(error)
    ))
}
