//! A client's side of a connection to Redis: login, subscriptions that outlive connections, and
//! publishing with its answers. No I/O, no clock.
//!
//! Redis answers in the order of the commands, so a queue of what is expected assigns each reply;
//! messages come between replies, as RESP3 pushes or, on a RESP2 connection, as arrays. In RESP3
//! the confirmation of a SUBSCRIBE is a push, too, yet it keeps its place in the order.

mod handshake;
mod inbound;
mod ledger;
mod options;
#[cfg(test)]
mod tests;

pub use options::{Options, Role};

use crate::client::outbox::{Outbox, Overflow};
use crate::client::subscriptions::{Inserted, Stage as SubscriptionStage, Subscriptions};
use crate::client::{earliest, told};
use crate::codec::resp::{encode_command, encode_publish, Decoder};
use crate::error::{Code, Error};
use crate::message::{Batch, Command, Key, Publish, State, Ticket, Value};
use crate::session::{Client, Counters, Patience, Session};
use bytes::{Buf, BytesMut};
use handshake::Step;
use ledger::Ledger;
use std::collections::VecDeque;
use std::time::Instant;

/// Bytes handed to the transport at a time. What the transport holds when a connection breaks is
/// lost with it, so it is not given more than it needs to be busy.
const CHUNK: usize = 64 * 1024;

/// So many posts keep a server busy for a millisecond or more.
const RUSH: u32 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Offline,
    Handshake {
        until: Instant,
    },
    Ready,
    /// Terminated: nothing is taken any more.
    Ended,
}

/// The reply that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Step(Step),
    Ping,
    Subscribe(Key),
    /// With who waits for it.
    Unsubscribe(Ticket),
    Emit(Ticket),
    /// So many posts in a row.
    Posts(u32),
}

/// The client session; see [`crate::session`].
#[derive(Debug)]
pub struct Redis {
    options: Options,
    stage: Stage,
    resp3: bool,
    decoder: Decoder,
    /// Commands that go before the outbox: handshake, probes, subscriptions.
    control: BytesMut,
    /// What was written to `control`, to be expected once it is transmitted.
    control_expected: VecDeque<Expected>,
    outbox: Outbox,
    expected: VecDeque<Expected>,
    /// Publishes among `expected`.
    in_flight: usize,
    subscriptions: Subscriptions,
    ledger: Ledger,
    closing: Option<Ticket>,
    /// Why it was terminated: what later commands are told.
    end: Option<Error>,
    /// Nothing could be taken; tell when there is room.
    wants_room: bool,
    /// The peer is not read because events are not taken: its silence says nothing.
    stalled: bool,
    /// None before the first connection.
    last_heard: Option<Instant>,
    /// Why there is no connection, for those whose time runs out meanwhile.
    trouble: Option<Error>,
    counters: Counters,
}

impl Redis {
    /// A session that is not connected.
    pub fn new(options: Options) -> Self {
        Redis {
            decoder: Decoder::new(options.limits),
            options,
            stage: Stage::Offline,
            resp3: true,
            control: BytesMut::new(),
            control_expected: VecDeque::new(),
            outbox: Outbox::default(),
            expected: VecDeque::new(),
            in_flight: 0,
            subscriptions: Subscriptions::default(),
            ledger: Ledger::default(),
            closing: None,
            end: None,
            wants_room: false,
            stalled: false,
            last_heard: None,
            trouble: None,
            counters: Counters::default(),
        }
    }
}

impl Session for Redis {
    type Events = Batch;

    fn connected(&mut self, now: Instant, _events: &mut Batch) {
        self.stage = Stage::Handshake {
            until: now + self.options.timeout,
        };
        self.resp3 = true;
        self.last_heard = Some(now);
        self.stalled = false;
        self.take_step(Step::Hello);
    }

    fn receive(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
        events: &mut Batch,
    ) -> Result<(), Error> {
        if !input.is_empty() || self.stalled {
            self.last_heard = Some(now);
        }
        let mut at = 0;
        let outcome = loop {
            self.stalled = events.is_full();
            if self.stalled {
                break Ok(());
            }
            match self.decoder.decode(&input[at..]) {
                Ok(Some((frame, used))) => {
                    if let Err(error) = self.take_frame(frame, events) {
                        break Err(error);
                    }
                    at += used;
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(inbound::undecodable(&error)),
            }
        };
        input.advance(at);
        self.make_room(events);
        outcome
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut, _events: &mut Batch) {
        if matches!(self.stage, Stage::Offline | Stage::Ended) {
            return;
        }
        let publishes = self.stage == Stage::Ready && !self.outbox.is_empty();
        if self.expected.is_empty() && (publishes || !self.control.is_empty()) {
            // From here on an answer is due: silence before it does not count.
            self.last_heard = Some(now);
        }
        if !self.control.is_empty() {
            out.extend_from_slice(&self.control);
            self.control = BytesMut::new();
            self.expected.append(&mut self.control_expected);
        }
        if publishes {
            let (expected, counters) = (&mut self.expected, &mut self.counters);
            let in_flight = &mut self.in_flight;
            self.outbox.transmit(out, CHUNK, |entry| {
                counters.sent += 1;
                *in_flight += 1;
                match (entry.ticket, expected.back_mut()) {
                    (Some(ticket), _) => expected.push_back(Expected::Emit(ticket)),
                    (None, Some(Expected::Posts(run))) if *run < u32::MAX => *run += 1,
                    (None, _) => expected.push_back(Expected::Posts(1)),
                }
            });
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let queued = earliest(self.outbox.deadline(), self.subscriptions.deadline());
        earliest(queued, self.silence_deadline())
    }

    fn expire(&mut self, now: Instant, events: &mut Batch) -> Result<(), Error> {
        let give_up = self.out_of_patience();
        self.subscriptions
            .expire(now, |ticket| events.fail(ticket, &give_up));
        self.outbox
            .withdraw_expired(now, |ticket| events.fail(ticket, &give_up));
        self.make_room(events);
        if self.silence_deadline().is_none_or(|at| at > now) {
            return Ok(());
        }
        match self.stage {
            Stage::Ready if self.expected.is_empty() => {
                self.control_command(&[b"PING"], Expected::Ping);
                Ok(())
            }
            _ => Err(Error::new(
                Code::Timeout,
                format!(
                    "no answer from the server within {} s",
                    self.options.timeout.as_secs_f64()
                ),
            )),
        }
    }

    fn disconnected(&mut self, cause: &Error, events: &mut Batch) {
        if self.stage != Stage::Ended {
            self.stage = Stage::Offline;
        }
        self.decoder.reset();
        self.control = BytesMut::new();
        self.stalled = false;
        self.trouble = Some(cause.clone());
        let control = std::mem::take(&mut self.control_expected);
        for expected in std::mem::take(&mut self.expected)
            .into_iter()
            .chain(control)
        {
            match expected {
                // Without the connection there is no subscription either.
                Expected::Unsubscribe(ticket) => events.answer(ticket, Value::Nil),
                Expected::Emit(ticket) => events.fail(ticket, &told::lost(cause)),
                Expected::Posts(count) => {
                    self.ledger
                        .fail(u64::from(count), &told::lost(cause), events);
                }
                Expected::Step(_) | Expected::Ping | Expected::Subscribe(_) => {}
            }
        }
        self.in_flight = 0;
        self.subscriptions.forget_stages();
        self.make_room(events);
    }

    fn terminate(&mut self, cause: &Error, events: &mut Batch) {
        let unsent = self.outbox.len() + self.in_flight;
        let trouble = self.trouble.take();
        self.disconnected(cause, events);
        self.stage = Stage::Ended;
        self.end.get_or_insert_with(|| cause.clone());
        for entry in self.outbox.drain() {
            match entry.ticket {
                Some(ticket) => events.fail(ticket, cause),
                None => self.ledger.fail(1, cause, events),
            }
        }
        self.ledger.abandon(cause, events);
        for (_, subscription) in self.subscriptions.drain() {
            if let Some(ticket) = subscription.waiter {
                events.fail(ticket, cause);
            }
        }
        if let Some(ticket) = self.closing.take() {
            told::closed(ticket, unsent, trouble.as_ref().unwrap_or(cause), events);
        }
    }

    fn accepted(&self) -> bool {
        self.stage == Stage::Ready
    }

    fn patience(&self) -> Patience {
        // Answers come in order: whoever waits, waits for these posts first.
        let under_way = matches!(self.expected.front(), Some(&Expected::Posts(n)) if n >= RUSH);
        match under_way && self.subscriptions.is_empty() {
            true => Patience::Millisecond,
            false => Patience::None,
        }
    }

    fn finished(&self) -> bool {
        self.closing.is_some() && self.in_flight == 0 && self.outbox.is_empty()
    }
}

impl Client for Redis {
    fn submit(
        &mut self,
        now: Instant,
        command: Command<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        if let (Stage::Ended, Some(end), Command::Flush { ticket }) =
            (self.stage, &self.end, &command)
        {
            // The posts that did not make it are still to be told.
            self.ledger.settle_accounts(*ticket, end, events);
            return Ok(());
        }
        if self.is_closed() {
            return Err(self.end.clone().unwrap_or_else(Error::closed));
        }
        match command {
            Command::Publish(publish) => self.publish(now, &publish, events),
            Command::Subscribe {
                ticket,
                key,
                pattern,
                exact,
                options: _,
            } => {
                if pattern.is_empty() {
                    return Err(Error::invalid("the pattern is empty"));
                }
                let until = now + self.options.timeout;
                match self
                    .subscriptions
                    .insert(key, pattern, exact, ticket, until)
                {
                    Inserted::Waiting => {}
                    Inserted::Active => events.answer(ticket, Value::Nil),
                    Inserted::Taken => {
                        return Err(Error::invalid(format!(
                            "already subscribed to {:?}",
                            String::from_utf8_lossy(pattern)
                        )));
                    }
                }
                if self.stage == Stage::Ready {
                    self.subscribe_wanted(events);
                }
                Ok(())
            }
            Command::Unsubscribe { ticket, key } => {
                let Some(gone) = self.subscriptions.remove(key) else {
                    return Err(Error::invalid("no such subscription"));
                };
                if let Some(waiter) = gone.waiter {
                    events.fail(waiter, &Error::new(Code::Closed, "unsubscribed meanwhile"));
                }
                if self.stage == Stage::Ready && gone.stage != SubscriptionStage::Wanted {
                    let verb: &[u8] = if gone.exact {
                        b"UNSUBSCRIBE"
                    } else {
                        b"PUNSUBSCRIBE"
                    };
                    self.control_command(&[verb, &gone.name], Expected::Unsubscribe(ticket));
                } else {
                    events.answer(ticket, Value::Nil);
                }
                Ok(())
            }
            Command::Flush { ticket } => {
                self.ledger.flush(ticket, events);
                Ok(())
            }
            Command::Close { ticket } => {
                self.closing = Some(ticket);
                Ok(())
            }
            // Publish/subscribe has no acknowledgements.
            Command::Acknowledge { .. } => Ok(()),
            Command::Custom { verb, .. } => Err(Error::invalid(format!(
                "Redis has no {:?}",
                String::from_utf8_lossy(verb)
            ))),
        }
    }

    fn forfeit(&mut self, cause: &Error, events: &mut Batch) {
        self.ledger.accept();
        self.ledger.fail(1, cause, events);
    }

    fn checker(&self) -> fn(&Publish<'_>) -> Result<(), Error> {
        check
    }

    fn is_closed(&self) -> bool {
        self.stage == Stage::Ended || self.closing.is_some()
    }

    fn counters(&self) -> Counters {
        Counters {
            queued: self.outbox.len() as u64,
            queued_bytes: self.outbox.byte_len() as u64,
            in_flight: self.in_flight as u64,
            ..self.counters
        }
    }
}

impl Redis {
    fn publish(
        &mut self,
        now: Instant,
        publish: &Publish<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        // The command's own words, the decimal lengths, and the line ends.
        const FRAME: usize = 64;
        let size = publish.target.len() + publish.payload.len() + FRAME;
        check(publish)?;
        if size > self.options.max_queue_bytes.min(u32::MAX as usize) {
            let most = self.options.max_queue_bytes;
            return Err(told::too_large(publish.payload.len(), most));
        }
        while self.outbox.len() + self.in_flight >= self.options.max_queue
            || self.outbox.byte_len() + size > self.options.max_queue_bytes
        {
            self.overflow(events)?;
        }
        if publish.ticket.is_none() {
            self.ledger.accept();
        }
        let waiter = publish
            .ticket
            .map(|ticket| (ticket, now + self.options.timeout));
        self.outbox.push(waiter, |out| {
            encode_publish(out, publish.target, publish.payload)
        });
        Ok(())
    }

    /// Makes room for one more message, or says that there is none.
    fn overflow(&mut self, events: &mut Batch) -> Result<(), Error> {
        match self.options.overflow {
            Overflow::Block | Overflow::Error => self.wants_room = true,
            Overflow::DropNewest => {
                self.counters.dropped += 1;
            }
            Overflow::DropOldest => {
                if let Some(entry) = self.outbox.drop_oldest() {
                    self.counters.dropped += 1;
                    self.outbox.tell_pushed_out(events);
                    let dropped = told::dropped();
                    match entry.ticket {
                        Some(ticket) => events.fail(ticket, &dropped),
                        None => self.ledger.fail(1, &dropped, events),
                    }
                    return Ok(());
                }
            }
        }
        Err(told::full(
            (self.outbox.len() + self.in_flight, self.options.max_queue),
            (self.outbox.byte_len(), self.options.max_queue_bytes),
        ))
    }

    /// Tells that there is room once half of the queue is free: to tell each free place would
    /// wake the waiting program for every message.
    fn make_room(&mut self, events: &mut Batch) {
        if self.wants_room
            && (self.outbox.len() + self.in_flight) * 2 <= self.options.max_queue
            && self.outbox.byte_len() * 2 <= self.options.max_queue_bytes
        {
            self.wants_room = false;
            events.state(State::Room, None, 0.0);
        }
    }

    fn control_command(&mut self, parts: &[&[u8]], expected: Expected) {
        encode_command(&mut self.control, parts);
        self.control_expected.push_back(expected);
    }

    fn take_step(&mut self, step: Step) {
        handshake::encode(step, &self.options, &mut self.control);
        self.control_expected.push_back(Expected::Step(step));
    }

    /// Asks for every subscription that the server does not know yet.
    fn subscribe_wanted(&mut self, events: &mut Batch) {
        if !self.resp3 && self.options.role == Role::Both {
            if !self.subscriptions.is_empty() {
                self.subscriptions.drain().for_each(drop);
                events.state(State::Split, None, 0.0);
            }
            return;
        }
        let (control, expected) = (&mut self.control, &mut self.control_expected);
        self.subscriptions.ask_wanted(|key, subscription| {
            let verb: &[u8] = if subscription.exact {
                b"SUBSCRIBE"
            } else {
                b"PSUBSCRIBE"
            };
            encode_command(control, &[verb, &subscription.name]);
            expected.push_back(Expected::Subscribe(key));
        });
    }

    fn silence_deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Offline | Stage::Ended => None,
            Stage::Handshake { until } => Some(until),
            Stage::Ready if self.stalled => None,
            Stage::Ready => {
                let patience = if self.expected.is_empty() && self.control_expected.is_empty() {
                    self.options.keepalive
                } else {
                    self.options.timeout
                };
                let never = patience.is_zero();
                self.last_heard
                    .filter(|_| !never)
                    .map(|heard| heard + patience)
            }
        }
    }

    /// What a caller is told whose command could not be sent in time.
    fn out_of_patience(&self) -> Error {
        let seconds = self.options.timeout.as_secs_f64();
        let text = match (&self.trouble, self.stage) {
            (Some(trouble), Stage::Offline | Stage::Handshake { .. }) => {
                format!(
                    "no connection within {seconds} s; the last error: {}",
                    trouble.text
                )
            }
            (None, Stage::Offline | Stage::Handshake { .. }) => format!(
                "no connection within {seconds} s: nothing has answered yet; is it the right port, \
                 and does TLS begin on both sides?"
            ),
            _ => format!("could not be sent within {seconds} s"),
        };
        Error::new(Code::Timeout, text)
    }
}

/// Redis itself takes an empty channel, but nothing that a program means by one.
fn check(publish: &Publish<'_>) -> Result<(), Error> {
    if publish.target.is_empty() {
        return Err(Error::invalid("the channel is empty"));
    }
    Ok(())
}
