//! A client's side of an MQTT session, 3.1.1 or 5.0: the handshake, subscriptions that outlive
//! connections, the flows of QoS 1 and 2 in both directions across connections, and the timers.
//! No I/O, no clock.
//!
//! `handshake` knows CONNECT and its answer, `outbound` what leaves, `inbound` what comes. Sections
//! are those of MQTT 5.0 unless 3.1.1 is named.

mod aliases;
mod answers;
mod arrivals;
mod handshake;
mod in_flight;
mod inbound;
mod options;
mod outbound;
mod properties;
mod routes;
mod strays;
mod subscribing;
#[cfg(test)]
mod tests;
mod timers;

pub use options::Options;

use crate::client::gather::Gather;
use crate::client::ledger::Ledger;
use crate::client::outbox::Outbox;
use crate::client::sender::{Sender, Written};
use crate::client::{earliest, told};
use crate::codec::mqtt::{Decoder, Packet, Reason, Role, Version};
use crate::error::{Code, Error};
use crate::message::{Batch, Command, Key, Publish, Ticket, Value};
use crate::session::{Client, Counters, Detour, Patience, Session};
use arrivals::Arrivals;
use bytes::{Buf, BytesMut};
use handshake::Broker;
use in_flight::{Due, InFlight};
use inbound::InboundAliases;
use outbound::OutboundAliases;
use routes::Routes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use strays::Strays;

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

/// The timers of one connection.
#[derive(Clone, Copy, Debug)]
struct Clock {
    last_sent: Instant,
    last_heard: Instant,
    /// The last answer to something in flight, or when the first of it was sent.
    last_progress: Instant,
    /// A PINGREQ awaits its answer.
    pinged: Option<Instant>,
    /// The broker has said something.
    heard: bool,
    /// It was we who ended the connection.
    given_up: bool,
    /// What this connection agreed on; zero: no pings.
    keepalive: Duration,
}

/// The client session; see [`crate::session`].
#[derive(Debug)]
pub struct Mqtt {
    options: Options,
    stage: Stage,
    /// Of this connection, and of the next.
    version: Version,
    /// As given, or as assigned by the broker.
    client_id: String,
    /// What is known of the broker's versions.
    knows: Knows,
    /// The broker has let us in before: a session may wait there.
    resume: bool,
    decoder: Decoder,
    broker: Broker,
    /// Packets that go before everything else.
    control: BytesMut,
    /// PUBRELs, and how many: those may wait for each other.
    releases: BytesMut,
    released: usize,
    /// How many publishes may be in flight where the next message in the queue is to follow.
    window: usize,
    /// Holds messages and PUBRELs back.
    gather: Gather,
    outbox: Outbox,
    in_flight: InFlight,
    /// What is in flight was sent on an earlier connection of the same session.
    dup: bool,
    written: Written,
    outbound_aliases: OutboundAliases,
    inbound_aliases: InboundAliases,
    routes: Routes,
    /// Subscriptions that have ended and of which the broker has yet to confirm that.
    leaving: BTreeMap<Key, Leaving>,
    arrivals: Arrivals,
    strays: Strays,
    ledger: Ledger,
    closing: Option<Ticket>,
    /// DISCONNECT is queued: nothing follows it.
    said_goodbye: bool,
    /// Some subscription, or the end of one, waits for a packet identifier.
    unasked: bool,
    /// The broker's question before it lets us in is with the program.
    challenged: bool,
    /// What the last words on a connection that we give up are.
    parting: Reason,
    /// Why it was terminated: what later commands are told.
    end: Option<Error>,
    /// Nothing could be taken; tell when there is room.
    wants_room: bool,
    /// The peer is not read because events are not taken: its silence says nothing.
    stalled: bool,
    /// None before the first connection.
    clock: Option<Clock>,
    detour: Option<Detour>,
    /// How many times in a row the broker sent us elsewhere.
    redirects: u32,
    /// When the broker let us in; None once that has lasted.
    accepted_at: Option<Instant>,
    /// Why there is no connection, for those whose time runs out meanwhile.
    trouble: Option<Error>,
    counters: Counters,
}

/// The end of a subscription.
#[derive(Debug)]
struct Leaving {
    filter: String,
    /// Who waits for it.
    waiter: Option<Ticket>,
    /// This connection has been asked.
    asked: bool,
}

/// Which version a broker speaks, as far as it has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knows {
    /// It has not answered yet.
    Nothing,
    /// It said nothing to version 5 and closed: RabbitMQ and ActiveMQ do that, but so does a broker
    /// that is being restarted. What it says to 3.1.1 counts for one connection.
    Silence,
    /// It has answered: what it spoke then is what it speaks.
    Answer,
}

/// Brokers that send us from one to the other are followed so far.
const REDIRECTS: u32 = 5;

/// Bytes of answers that a broker may leave unread while it goes on sending.
const UNREAD: usize = 16 << 20;

/// Free identifiers at which questions that wait for one are asked: to look for each costs too much.
const SPARE: usize = 1000;

impl Mqtt {
    /// A session that is not connected.
    pub fn new(options: Options) -> Self {
        let version = options.version;
        Mqtt {
            decoder: Decoder::new(Role::Client, options.max_packet),
            client_id: options.client_id.clone(),
            inbound_aliases: InboundAliases::default(),
            options,
            stage: Stage::Offline,
            version,
            knows: Knows::Nothing,
            resume: false,
            broker: Broker::parse(version, Default::default(), Duration::MAX),
            window: 1,
            control: BytesMut::new(),
            releases: BytesMut::new(),
            released: 0,
            gather: Gather::default(),
            outbox: Outbox::default(),
            in_flight: InFlight::default(),
            dup: false,
            written: Written::default(),
            outbound_aliases: OutboundAliases::default(),
            routes: Routes::default(),
            leaving: BTreeMap::new(),
            arrivals: Arrivals::default(),
            strays: Strays::default(),
            ledger: Ledger::default(),
            closing: None,
            said_goodbye: false,
            unasked: false,
            challenged: false,
            parting: Reason::SUCCESS,
            end: None,
            wants_room: false,
            stalled: false,
            clock: None,
            detour: None,
            redirects: 0,
            accepted_at: None,
            trouble: None,
            counters: Counters::default(),
        }
    }
}

impl Session for Mqtt {
    type Events = Batch;

    fn connected(&mut self, now: Instant, events: &mut Batch) {
        self.stage = Stage::Handshake {
            until: now + self.options.timeout,
        };
        self.decoder.set_version(self.version);
        self.clock = Some(Clock {
            last_sent: now,
            last_heard: now,
            last_progress: now,
            pinged: None,
            heard: false,
            given_up: false,
            keepalive: self.options.keepalive,
        });
        self.stalled = false;
        self.said_goodbye = false;
        self.challenged = false;
        self.accepted_at = None;
        self.parting = Reason::SUCCESS;
        if let Err(error) = handshake::encode(
            &self.options,
            self.version,
            &self.client_id,
            self.resume,
            &mut self.control,
        ) {
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
        if let (true, Some(clock)) = (!input.is_empty() || self.stalled, &mut self.clock) {
            clock.last_heard = now;
            clock.heard |= !input.is_empty();
            if self.stalled {
                // Answers may have waited behind what was not taken.
                clock.last_progress = now;
            }
        }
        if self.control.len() > UNREAD {
            return Err(Error::new(
                Code::Protocol,
                format!("the broker sends, and does not read {UNREAD} bytes of our answers"),
            ));
        }
        self.consider_settled(now);
        let mut at = 0;
        let outcome = loop {
            self.stalled = events.is_full();
            if self.stalled {
                break Ok(());
            }
            match self.decoder.decode(&input[at..]) {
                Ok(Some((packet, used))) => {
                    if matches!(packet, Packet::Ack(_)) {
                        self.gather.note_answer(used);
                    }
                    if let Err(error) = self.take_packet(now, packet, events) {
                        break Err(error);
                    }
                    at += used;
                }
                Ok(None) => break Ok(()),
                Err(error) => {
                    self.parting = error.reason;
                    break Err(Error::new(
                        Code::Protocol,
                        format!("the broker does not speak MQTT, or exceeds a limit: {error}"),
                    ));
                }
            }
        };
        input.advance(at);
        self.gather.note_look(now, self.traffic());
        if self.unasked && self.stage == Stage::Ready && self.in_flight.has_identifiers(SPARE) {
            self.ask_all(now, events);
        }
        self.send_acknowledgements();
        self.make_room(events);
        outcome
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut, events: &mut Batch) {
        if matches!(self.stage, Stage::Offline | Stage::Ended) {
            return;
        }
        if out.is_empty() {
            self.written.settle(&mut self.ledger, events);
        }
        let before = out.len();
        if !self.said_goodbye {
            if self.stage == Stage::Ready {
                self.transmit_messages(now, out, events);
            } else {
                out.unsplit(std::mem::take(&mut self.control));
            }
            if self.closing.is_some() && self.has_said_all() {
                handshake::encode_disconnect(&self.options, self.version, Reason::SUCCESS, out);
                self.said_goodbye = true;
            }
        }
        if let (true, Some(clock)) = (out.len() > before, &mut self.clock) {
            clock.last_sent = now;
        }
        self.make_room(events);
    }

    fn farewell(&mut self, out: &mut BytesMut) {
        // Version 3.1.1 has no reasons: there a client just closes (3.1.1, section 4.8).
        if self.parting.is_error() && self.version == Version::V5 {
            handshake::encode_disconnect(&self.options, self.version, self.parting, out);
        }
    }

    fn detour(&mut self) -> Option<Detour> {
        self.reconsider_version();
        self.detour.take()
    }

    fn deadline(&self) -> Option<Instant> {
        [
            self.outbox.deadline(),
            self.in_flight.deadline(),
            self.routes.subscriptions.deadline(),
            self.strays.deadline(),
            self.ping_deadline(),
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
        self.outbox
            .withdraw_expired(now, |ticket| events.fail(ticket, &give_up));
        let unanswered = self.unanswered();
        self.in_flight
            .expire(now, |ticket| events.fail(ticket, &unanswered));
        self.expire_strays(now, events);
        self.make_room(events);
        if self.silence_deadline().is_some_and(|at| at <= now) {
            return Err(self.silence());
        }
        if self.ping_deadline().is_some_and(|at| at <= now) {
            self.ping(now);
        }
        Ok(())
    }

    fn disconnected(&mut self, cause: &Error, events: &mut Batch) {
        if self.stage != Stage::Ended {
            self.stage = Stage::Offline;
        }
        self.decoder.reset();
        self.control = BytesMut::new();
        self.releases = BytesMut::new();
        self.released = 0;
        self.gather = Gather::default();
        self.stalled = false;
        self.trouble = Some(cause.clone());
        self.outbound_aliases.clear();
        self.inbound_aliases.clear();
        self.written
            .fail(&told::lost(cause), &mut self.ledger, events);
        // Without the connection these await no answer; subscriptions are asked for anew.
        self.in_flight.change(|due| match due {
            Due::SubAck(_) | Due::UnsubAck(_) => Due::Nothing,
            due => due,
        });
        self.in_flight.rewind();
        self.arrivals.suspend();
        self.routes.subscriptions.forget_stages();
        for leaving in self.leaving.values_mut() {
            leaving.asked = false;
            if let Some(ticket) = leaving.waiter.take() {
                events.answer(ticket, Value::Nil);
            }
        }
        self.make_room(events);
    }

    fn terminate(&mut self, cause: &Error, events: &mut Batch) {
        let unsent = self.unfinished();
        let trouble = self.trouble.take();
        self.disconnected(cause, events);
        self.stage = Stage::Ended;
        self.end.get_or_insert_with(|| cause.clone());
        self.abandon_messages(cause, events);
        self.strays.clear();
        self.leaving.clear();
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
            && (self.said_goodbye || self.stage == Stage::Offline)
    }
}

impl Client for Mqtt {
    fn submit(
        &mut self,
        now: Instant,
        command: Command<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        match (&command, &self.end) {
            (Command::Acknowledge { id, verdict }, _) => {
                self.arrivals.settle(*id, *verdict);
                self.send_acknowledgements();
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
            } => self.subscribe(now, ticket, key, pattern, options, events),
            Command::Unsubscribe { ticket, key } => self.unsubscribe(now, ticket, key, events),
            Command::Flush { ticket } => {
                self.ledger.flush(ticket, events);
                Ok(())
            }
            Command::Close { ticket } => {
                self.closing = Some(ticket);
                Ok(())
            }
            Command::Acknowledge { .. } => Ok(()),
            Command::Custom {
                ticket,
                verb: b"authenticate",
                options,
            } => {
                if !(self.challenged && matches!(self.stage, Stage::Handshake { .. })) {
                    return Err(Error::new(Code::Lost, "nobody awaits the answer any more"));
                }
                let data = options.as_bytes();
                handshake::encode_auth(&self.options, data, &mut self.control)?;
                self.challenged = false;
                events.answer(ticket, Value::Nil);
                Ok(())
            }
            Command::Custom { verb, .. } => Err(Error::invalid(format!(
                "MQTT has no {:?}",
                String::from_utf8_lossy(verb)
            ))),
        }
    }

    fn forfeit(&mut self, cause: &Error, events: &mut Batch) {
        let epoch = self.ledger.accept();
        self.ledger.fail(epoch, cause, events);
    }

    fn checker(&self) -> fn(&Publish<'_>) -> Result<(), Error> {
        outbound::check
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
