//! A client's side of a STOMP session, 1.0, 1.1 or 1.2: the handshake, subscriptions that outlive
//! connections, receipts, acknowledgements, transactions, and heart-beats. No I/O, no clock.
//!
//! `handshake` knows CONNECT and its answer, `outbound` what leaves, `inbound` what comes. Sections
//! are those of STOMP 1.2 unless another version is named.

mod acknowledging;
mod deliveries;
mod handshake;
mod inbound;
mod options;
mod outbound;
mod routes;
mod stored;
mod subscribing;
mod suspects;
#[cfg(test)]
mod tests;
mod timers;
mod transacting;
mod transactions;

pub use options::Options;

use crate::client::gather::Gather;
use crate::client::in_flight::{self, InFlight};
use crate::client::ledger::Ledger;
use crate::client::outbox::Outbox;
use crate::client::sender::{Sender, Written};
use crate::client::{earliest, told};
use crate::codec::stomp::{self as codec, Decoder, Event, Role, Version};
use crate::error::{Code, Error};
use crate::message::{Batch, Command, Key, Publish, Ticket};
use crate::session::{Client, Counters, Detour, Patience, Session};
use bytes::{Buf, BytesMut};
use deliveries::Deliveries;
use handshake::Broker;
use routes::Routes;
use std::collections::BTreeMap;
use std::time::Instant;
use subscribing::Leaving;
use suspects::Suspects;
use timers::Clock;
use transactions::Transactions;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Offline,
    /// CONNECT is sent; the answer is due.
    Handshake {
        until: Instant,
    },
    Ready,
    /// Terminated: nothing is taken any more.
    Ended,
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    Unsaid,
    /// DISCONNECT is on the wire: nothing follows it.
    Said,
    /// Its receipt has come, or none is due.
    Answered,
}

/// The RECEIPT that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// To a SEND.
    Message(Sender),
    /// To a SUBSCRIBE.
    Subscribed(Key),
    /// To an UNSUBSCRIBE.
    Unsubscribed(Key),
    /// To a COMMIT.
    Committed(Option<Ticket>, transactions::Id),
    /// To DISCONNECT.
    Goodbye,
    /// None any more.
    Nothing,
}

impl in_flight::Due for Due {
    const NOTHING: Self = Due::Nothing;

    fn is_message(self) -> bool {
        matches!(self, Due::Message(_))
    }

    fn give_up(&mut self) -> Option<Ticket> {
        match self {
            Due::Message(sender) => sender.give_up(),
            Due::Committed(ticket, _) => ticket.take(),
            _ => None,
        }
    }
}

/// The client session; see [`crate::session`].
#[derive(Debug)]
pub struct Stomp {
    options: Options,
    stage: Stage,
    decoder: Decoder,
    /// What this connection agreed on.
    broker: Broker,
    /// This broker takes what CONNECT holds for escaped.
    escapes_connect: bool,
    detour: Option<Detour>,
    /// Frames that go before everything else.
    control: BytesMut,
    outbox: Outbox,
    in_flight: InFlight<Due>,
    written: Written,
    /// Holds messages back.
    gather: Gather,
    transactions: Transactions,
    routes: Routes,
    /// Subscriptions that have ended and of which the broker has yet to be told; and those of which
    /// it has yet to confirm that.
    leaving: BTreeMap<Key, Leaving>,
    ending: BTreeMap<Key, Leaving>,
    deliveries: Deliveries,
    suspects: Suspects,
    ledger: Ledger,
    closing: Option<Ticket>,
    goodbye: Goodbye,
    /// The broker has refused something, and that is dealt with.
    made_up: bool,
    /// Why it was terminated: what later commands are told.
    end: Option<Error>,
    /// Nothing could be taken; tell when there is room.
    wants_room: bool,
    /// The peer is not read because events are not taken: its silence says nothing.
    stalled: bool,
    /// Why this connection is given up: nothing more of it is read, nothing written.
    condemned: Option<Error>,
    /// None before the first connection.
    clock: Option<Clock>,
    /// Why there is no connection, for those whose time runs out meanwhile.
    trouble: Option<Error>,
    counters: Counters,
    /// The headers of a message while it is taken, to be used again.
    packed: Vec<u8>,
}

/// Bytes of acknowledgements that a broker may leave unread while it goes on sending.
const UNREAD: usize = 16 << 20;

impl Stomp {
    /// A session that is not connected.
    pub fn new(options: Options) -> Self {
        Stomp {
            decoder: Decoder::new(Role::Client, options.limits()),
            options,
            stage: Stage::Offline,
            broker: Broker::default(),
            escapes_connect: false,
            detour: None,
            control: BytesMut::new(),
            outbox: Outbox::default(),
            in_flight: InFlight::default(),
            written: Written::default(),
            gather: Gather::default(),
            transactions: Transactions::default(),
            routes: Routes::default(),
            leaving: BTreeMap::new(),
            ending: BTreeMap::new(),
            deliveries: Deliveries::default(),
            suspects: Suspects::default(),
            ledger: Ledger::default(),
            closing: None,
            goodbye: Goodbye::Unsaid,
            made_up: false,
            end: None,
            wants_room: false,
            stalled: false,
            condemned: None,
            clock: None,
            trouble: None,
            counters: Counters::default(),
            packed: Vec::new(),
        }
    }

    fn version(&self) -> Version {
        self.broker.version
    }
}

impl Session for Stomp {
    type Events = Batch;

    fn connected(&mut self, now: Instant, events: &mut Batch) {
        self.stage = Stage::Handshake {
            until: now + self.options.timeout,
        };
        // CONNECTED is read alike in all versions, and ERROR before it without escapes.
        self.decoder.set_version(Version::V10);
        self.clock = Some(Clock::new(now));
        self.stalled = false;
        self.condemned = None;
        self.goodbye = Goodbye::Unsaid;
        self.made_up = false;
        let connect = handshake::encode(&self.options, self.escapes_connect, &mut self.control);
        if let Err(error) = connect {
            // No connection mends an option.
            self.terminate(&error, events);
        }
    }

    fn receive(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
        events: &mut Batch,
    ) -> Result<(), Error> {
        if let Some(cause) = &self.condemned {
            return Err(cause.clone());
        }
        if !input.is_empty() || self.stalled {
            self.heard(now);
        }
        if self.control.len() > UNREAD {
            return Err(Error::new(
                Code::Protocol,
                format!("the broker sends, and does not read {UNREAD} bytes of our answers"),
            ));
        }
        let mut at = 0;
        let outcome = loop {
            self.stalled = events.is_full();
            if self.stalled {
                break Ok(());
            }
            let rest = input.get(at..).unwrap_or_default();
            match self.decoder.decode(rest) {
                Ok(Some((_, used))) if used > self.options.max_packet => {
                    break Err(self.too_large());
                }
                Ok(Some((Event::Frame(frame), used))) => {
                    at += used;
                    if frame.command == codec::Command::Receipt {
                        self.gather.note_answer(used);
                    }
                    if let Err(error) = self.take_frame(now, &frame, events) {
                        break Err(error);
                    }
                }
                Ok(Some((Event::HeartBeat, used))) => at += used,
                Ok(None) if rest.len() > self.options.max_packet => break Err(self.too_large()),
                Ok(None) => break Ok(()),
                Err(error) => {
                    break Err(Error::new(
                        Code::Protocol,
                        format!("the broker does not speak STOMP, or exceeds a limit: {error}"),
                    ));
                }
            }
        };
        input.advance(at.min(input.len()));
        self.gather.note_look(now, self.traffic());
        self.make_room(events);
        // What is submitted from here on is none of this connection's.
        self.condemned = outcome.as_ref().err().cloned();
        outcome
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut, events: &mut Batch) {
        if matches!(self.stage, Stage::Offline | Stage::Ended) || self.condemned.is_some() {
            return;
        }
        if out.is_empty() {
            self.written.settle(&mut self.ledger, events);
        }
        let before = out.len();
        if self.goodbye == Goodbye::Unsaid {
            if self.stage == Stage::Ready {
                self.transmit_messages(now, out, events);
            } else {
                out.unsplit(std::mem::take(&mut self.control));
            }
            if self.closing.is_some() && self.has_said_all() {
                self.say_goodbye(now, out);
            }
        }
        if let (true, Some(clock)) = (out.len() > before, &mut self.clock) {
            clock.last_sent = now;
        }
        self.make_room(events);
    }

    fn detour(&mut self) -> Option<Detour> {
        self.detour.take()
    }

    fn deadline(&self) -> Option<Instant> {
        [
            self.outbox.deadline(),
            self.in_flight.deadline(),
            self.routes.subscriptions.deadline(),
            self.leaving_deadline(),
            self.beat_deadline(),
            self.gather.deadline(),
            self.silence_deadline(),
        ]
        .into_iter()
        .fold(None, earliest)
    }

    fn expire(&mut self, now: Instant, events: &mut Batch) -> Result<(), Error> {
        self.gather.expire(now);
        let give_up = self.out_of_patience();
        self.routes
            .subscriptions
            .expire(now, |ticket| events.fail(ticket, &give_up));
        self.expire_queue(now, &give_up, events);
        let unanswered = self.unanswered();
        self.in_flight
            .expire(now, |ticket| events.fail(ticket, &unanswered));
        self.ask_ends(now, events);
        self.make_room(events);
        if self.silence_deadline().is_some_and(|at| at <= now) {
            let silence = self.silence();
            self.condemned = Some(silence.clone());
            return Err(silence);
        }
        if self.beat_deadline().is_some_and(|at| at <= now) {
            self.beat(now);
        }
        Ok(())
    }

    fn disconnected(&mut self, cause: &Error, events: &mut Batch) {
        if self.stage == Stage::Ready && self.condemned.is_none() && self.goodbye == Goodbye::Unsaid
        {
            self.hung_up(cause, events);
        }
        if self.stage != Stage::Ended {
            self.stage = Stage::Offline;
        }
        self.decoder.reset();
        self.control = BytesMut::new();
        self.gather = Gather::default();
        self.stalled = false;
        self.condemned = None;
        self.trouble = Some(cause.clone());
        let lost = told::lost(cause);
        self.written.fail(&lost, &mut self.ledger, events);
        self.in_flight.change(|due| match due {
            Due::Message(_) => due,
            Due::Committed(ticket, _) => {
                if let Some(ticket) = ticket {
                    events.fail(ticket, &lost);
                }
                Due::Nothing
            }
            // Without the connection these await no answer; subscriptions are asked for anew.
            _ => Due::Nothing,
        });
        self.in_flight.rewind();
        self.deliveries.clear();
        self.suspects.disconnected();
        self.lose_transactions(cause);
        self.routes.subscriptions.forget_stages();
        self.suspend_leaving(events);
        self.make_room(events);
    }

    fn terminate(&mut self, cause: &Error, events: &mut Batch) {
        let unsent = self.unfinished();
        let trouble = self.trouble.take();
        self.disconnected(cause, events);
        self.stage = Stage::Ended;
        self.end.get_or_insert_with(|| cause.clone());
        self.abandon_messages(cause, events);
        self.transactions.clear();
        self.leaving.clear();
        self.ending.clear();
        for (_, subscription) in self.routes.subscriptions.drain() {
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

    fn has_made_up(&self) -> bool {
        self.made_up
    }

    fn awaits_answer(&self) -> bool {
        self.stage == Stage::Ready && !self.in_flight.is_quiet()
    }

    fn patience(&self) -> Patience {
        let emits = self.in_flight.deadline().or(self.outbox.deadline());
        if emits.is_some() || !self.routes.subscriptions.is_empty() {
            return Patience::None;
        }
        let sent_here = self.in_flight.sent_here();
        self.gather.patience(self.traffic(), sent_here)
    }

    fn finished(&self) -> bool {
        self.closing.is_some()
            && self.unfinished() == 0
            && (self.goodbye == Goodbye::Answered || self.stage == Stage::Offline)
    }
}

impl Client for Stomp {
    fn submit(
        &mut self,
        now: Instant,
        command: Command<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        match (&command, &self.end) {
            (Command::Acknowledge { id, verdict }, _) => {
                self.acknowledge(*id, *verdict, &[]);
                self.ask_ends(now, events);
                return Ok(());
            }
            (Command::Flush { ticket }, Some(end)) => {
                // The posts that did not make it are still to be told.
                self.ledger.settle_accounts(*ticket, end, events);
                return Ok(());
            }
            _ => {}
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
                exact: _,
                options,
            } => self.subscribe(now, (ticket, key), pattern, options, events),
            Command::Unsubscribe { ticket, key } => self.unsubscribe(now, ticket, key, events),
            Command::Flush { ticket } => {
                self.ledger.flush(ticket, events);
                Ok(())
            }
            Command::Close { ticket } => {
                self.closing = Some(ticket);
                self.hurry_ends(now, events);
                Ok(())
            }
            Command::Acknowledge { .. } => Ok(()),
            Command::Custom {
                ticket,
                verb,
                options,
            } => match verb {
                b"begin" => self.begin(ticket, options, events),
                b"commit" => self.commit(now, ticket, options),
                b"abort" => self.abort(now, ticket, options, events),
                b"acknowledge" => {
                    self.acknowledge_with(ticket, options, events)?;
                    self.ask_ends(now, events);
                    Ok(())
                }
                _ => Err(Error::invalid(format!(
                    "STOMP has no {:?}",
                    String::from_utf8_lossy(verb)
                ))),
            },
        }
    }

    fn forfeit(&mut self, cause: &Error, events: &mut Batch) {
        let epoch = self.ledger.accept();
        self.ledger.fail(epoch, cause, events);
    }

    fn checker(&self) -> fn(&Publish<'_>) -> Result<(), Error> {
        match (self.options.prefix.is_empty(), self.options.content_length) {
            (true, true) => outbound::check,
            (false, true) => outbound::check_prefixed,
            (true, false) => outbound::check_text,
            (false, false) => outbound::check_prefixed_text,
        }
    }

    fn is_closed(&self) -> bool {
        self.stage == Stage::Ended || self.closing.is_some()
    }

    fn counters(&self) -> Counters {
        Counters {
            queued: self.outbox.len() as u64,
            queued_bytes: self.outbox.byte_len() as u64,
            in_flight: (self.in_flight.messages() + self.written.len()) as u64,
            ..self.counters
        }
    }
}
