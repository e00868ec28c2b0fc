//! One side of one connection as a state machine without I/O.
//!
//! The pump (`io::pump`) drives client sessions and broker peers alike:
//!
//! 1. [`Session::connected`] once the transport is up, TLS included. The session queues its
//!    handshake; once the peer has accepted it, it renews its subscriptions, then it sends what
//!    is queued.
//! 2. [`Session::receive`] with all bytes not yet consumed, each time there are more, and once
//!    more, with or without new bytes, when a full event queue has room again.
//! 3. [`Session::poll_transmit`] after every other call, until it adds nothing.
//! 4. [`Session::expire`] at or after [`Session::deadline`], which is asked after every call.
//! 5. [`Session::disconnected`] when the connection ended or could not be made: wire state goes,
//!    subscriptions and what may be sent again stay. Then 1 again, or [`Session::terminate`].
//!
//! Time is an argument: a session never reads a clock.

use crate::error::Error;
use crate::message::{Batch, Command, Publish};
use bytes::BytesMut;
use std::time::{Duration, Instant};

/// A state machine between the bytes of one connection and the events of its owner.
pub trait Session: Send {
    /// Where events go. They are an argument of the calls that produce them, not a queue inside
    /// the session: one scratch queue then serves all sessions of a thread, and an idle session
    /// holds no buffers.
    type Events;

    /// The transport is up.
    fn connected(&mut self, now: Instant, events: &mut Self::Events);

    /// Consumes whole frames from the front of `input`; what is left is offered again with more
    /// bytes behind it. Leaves frames in `input` while `events` is full, and then does not count
    /// silence against the peer.
    ///
    /// # Errors
    /// The connection must be dropped; where [`Error::fatal`], for good.
    fn receive(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
        events: &mut Self::Events,
    ) -> Result<(), Error>;

    /// Appends bytes to send to `out`; may stop at a chunk, so call it again once `out` is
    /// written: where it finds `out` empty, what it appended before has been.
    fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut, events: &mut Self::Events);

    /// Appends the last words on a connection that the session has given up, where the protocol
    /// has any: called once [`Session::receive`] or [`Session::expire`] has failed.
    fn farewell(&mut self, _out: &mut BytesMut) {}

    /// Where to turn at once, in place of a pause and a word to the owner: asked after a
    /// connection has failed, before [`Session::disconnected`].
    fn detour(&mut self) -> Option<Detour> {
        None
    }

    /// When [`Session::expire`] wants to be called next.
    fn deadline(&self) -> Option<Instant>;

    /// Timers are due: probe the peer, answer who has waited too long.
    ///
    /// # Errors
    /// As [`Session::receive`]: the peer is silent, drop the connection.
    fn expire(&mut self, now: Instant, events: &mut Self::Events) -> Result<(), Error>;

    /// The connection ended, or an attempt to make one failed, because of `cause`.
    fn disconnected(&mut self, cause: &Error, events: &mut Self::Events);

    /// No further connection will be made: answer everything that waits with `cause`, take no
    /// more commands.
    fn terminate(&mut self, cause: &Error, events: &mut Self::Events);

    /// The peer has accepted the handshake of this connection.
    fn accepted(&self) -> bool;

    /// The connection has ended over something that will not come again, since the session has told
    /// whom it concerns: the next try is no further one of a row, and need not wait longer.
    fn has_made_up(&self) -> bool {
        false
    }

    /// An answer is due which the peer may keep back until it knows that what came before has
    /// arrived (Nagle's algorithm): the transport acknowledges at once.
    fn awaits_answer(&self) -> bool {
        false
    }

    /// How late what arrives may be read, many answers at a time, which saves both ends a wake-up
    /// for each handful.
    fn patience(&self) -> Patience {
        Patience::None
    }

    /// All is said: once what is in the out-buffer is written, the connection may be closed.
    fn finished(&self) -> bool;
}

/// How late what arrives may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// At once.
    None,
    /// When so much time has passed, or there are so many bytes: nobody waits for an answer, and
    /// the peer has something to do until then. Counted in microseconds, 65 milliseconds at most.
    Some {
        /// So much.
        time: Duration,
        /// So many.
        bytes: u16,
    },
    /// A millisecond: nobody waits for an answer, and the peer has enough to do.
    Millisecond,
}

/// What the session has learned from a connection that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detour {
    /// The same peer may take another handshake.
    Again,
    /// The peer names others, as `host` or `host:port`.
    Elsewhere(Vec<String>),
}

/// A session that a program commands through the neutral vocabulary.
pub trait Client: Session<Events = Batch> {
    /// Takes a command, also while there is no connection.
    ///
    /// # Errors
    /// The command was not taken and nothing of it remains: [`crate::error::Code::Full`] (try
    /// again after [`crate::message::State::Room`]), `Closed` or `Invalid`. The borrowed command
    /// is still the caller's.
    fn submit(
        &mut self,
        now: Instant,
        command: Command<'_>,
        events: &mut Batch,
    ) -> Result<(), Error>;

    /// A post that was accepted before cannot be sent any more, because of `cause`: it counts as
    /// failed.
    fn forfeit(&mut self, cause: &Error, events: &mut Batch);

    /// Judges what of a publish can be judged without the session: called before the message is
    /// accepted, from the calling thread, without a lock.
    ///
    /// # Errors
    /// [`crate::error::Code::Invalid`]: the session would never take it.
    fn checker(&self) -> fn(&Publish<'_>) -> Result<(), Error>;

    /// It takes no more commands.
    fn is_closed(&self) -> bool;

    /// What was counted so far.
    fn counters(&self) -> Counters;
}

/// Counts for `mq:stats()`; messages unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages handed to the transport.
    pub sent: u64,
    /// Messages received for a subscription.
    pub received: u64,
    /// Accepted, not yet handed to the transport.
    pub queued: u64,
    /// Handed to the transport, not yet answered.
    pub in_flight: u64,
    /// Refused or thrown away by the overflow policy.
    pub dropped: u64,
    /// Bytes that the queue holds.
    pub queued_bytes: u64,
}
