//! What comes: the answer to CONNECT, messages, receipts and errors.
//!
//! Source: STOMP 1.2, "CONNECTED", "MESSAGE", "RECEIPT" and "ERROR".

use super::deliveries::Mode;
use super::stored::Decimal;
use super::{handshake, Due, Goodbye, Stage, Stomp};
use crate::codec::stomp::{Command, Frame, Version};
use crate::error::{Code, Error};
use crate::message::{pack, unpack, Batch, Meta, State, Value};
use crate::session::Detour;
use std::ops::Range;
use std::time::Instant;

/// The flag of a message that has come before.
const REDELIVERED: u32 = 1;

/// Where the headers are, among those packed, that say what to do with a message.
#[derive(Default)]
struct Fields {
    subscription: Option<Range<usize>>,
    destination: Range<usize>,
    message_id: Range<usize>,
    ack: Range<usize>,
    redelivered: Range<usize>,
}

impl Stomp {
    /// Takes one frame; an error ends the connection.
    #[inline]
    pub(super) fn take_frame(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        match (self.stage, frame.command) {
            (Stage::Ready, Command::Message) => {
                let mut packed = std::mem::take(&mut self.packed);
                packed.clear();
                self.take_message(frame, &mut packed, events);
                self.packed = packed;
                Ok(())
            }
            (Stage::Ready, Command::Receipt) => {
                self.take_receipt(now, frame, events);
                Ok(())
            }
            (Stage::Ready, Command::Error) => Err(self.take_error(frame, events)),
            (Stage::Handshake { .. }, Command::Connected) => {
                self.take_connected(frame, now, events)
            }
            (Stage::Handshake { .. }, Command::Error) => Err(self.take_refusal(frame)),
            (_, command) => Err(Error::new(
                Code::Protocol,
                format!("the broker sent {command}, for which nothing had asked"),
            )),
        }
    }

    fn take_connected(
        &mut self,
        frame: &Frame<'_>,
        now: Instant,
        events: &mut Batch,
    ) -> Result<(), Error> {
        self.broker = handshake::Broker::parse(frame, &self.options)?;
        self.decoder.set_version(self.broker.version);
        self.stage = Stage::Ready;
        self.trouble = None;
        let detail = handshake::describe(&self.broker, frame);
        events.state_with(State::Connected, detail);
        self.ask_ends(now, events);
        self.ask_all(now, events);
        Ok(())
    }

    fn take_refusal(&mut self, frame: &Frame<'_>) -> Error {
        let error = handshake::refusal(frame, &self.options);
        if error.code == Code::Auth
            && !self.escapes_connect
            && handshake::is_ambiguous(&self.options)
        {
            // RabbitMQ takes a backslash in CONNECT for an escape, which the specification does not.
            self.escapes_connect = true;
            self.detour = Some(Detour::Again);
        }
        error
    }

    #[inline]
    fn take_message(&mut self, frame: &Frame<'_>, packed: &mut Vec<u8>, events: &mut Batch) {
        if self.goodbye != Goodbye::Unsaid {
            // It cannot be acknowledged any more: the broker keeps it.
            return;
        }
        let fields = read_headers(frame, packed);
        let text = |range: &Range<usize>| packed.get(range.clone()).unwrap_or_default();
        let subscription = fields.subscription.as_ref().map(text);
        let destination = text(&fields.destination);
        let name = match (fields.ack.is_empty(), self.broker.version) {
            (false, Version::V12) => text(&fields.ack),
            _ => text(&fields.message_id),
        };
        let route = match subscription {
            Some(id) => self.routes.route(id),
            None => self.routes.by_destination(destination),
        };
        let Some(route) = route else {
            self.take_late(subscription.unwrap_or_default(), name);
            return;
        };
        if self.in_flight.has_questions() {
            self.confirm_by_message(route.key, events);
        }
        let redelivered = text(&fields.redelivered) == b"true";
        let id = match (route.mode, self.broker.version) {
            (Mode::None, _) => 0,
            (Mode::Each, Version::V10) => {
                let mode = Mode::EachInOrder;
                self.deliveries.arrive(route.key, mode, name, redelivered)
            }
            (mode, _) => self.deliveries.arrive(route.key, mode, name, redelivered),
        };
        self.counters.received += 1;
        let meta = Meta {
            flags: if redelivered { REDELIVERED } else { 0 },
            id,
            headers: 0,
            packed: self.options.packed_headers,
            extra: None,
        };
        events.push_with_headers(route.key, destination, frame.body, meta, packed);
    }

    #[inline]
    fn take_receipt(&mut self, now: Instant, frame: &Frame<'_>, events: &mut Batch) {
        self.progressed(now);
        let Some(number) = number_of(frame) else {
            // It is not one of ours.
            return;
        };
        let due = self.in_flight.due(number);
        self.in_flight.set_due(number, Due::Nothing);
        self.suspects.answered(number);
        match due {
            Due::Message(sender) => sender.succeed(&mut self.ledger, events),
            Due::Subscribed(key) => self.confirm(key, events),
            Due::Unsubscribed(key) => self.take_end(key, events),
            Due::Committed(ticket, id) => {
                self.deliveries.redeem(id, true);
                self.ask_ends(now, events);
                if let Some(ticket) = ticket {
                    events.answer(ticket, Value::Nil);
                }
            }
            Due::Goodbye => self.goodbye = Goodbye::Answered,
            // An answer that comes twice.
            Due::Nothing => {}
        }
    }

    /// The broker closes the connection behind it ("ERROR"); one that does not is left.
    fn take_error(&mut self, frame: &Frame<'_>, events: &mut Batch) -> Error {
        let said = handshake::told(frame);
        let error = Error::new(Code::Refused, said.clone());
        let number = number_of(frame).filter(|number| self.in_flight.due(*number) != Due::Nothing);
        match number {
            Some(number) => self.refuse(number, &error, events),
            None => self.accuse(&error, events),
        }
        Error::new(
            Code::Refused,
            format!("the broker ended the connection: {said}"),
        )
    }

    pub(super) fn too_large(&self) -> Error {
        let most = self.options.max_packet;
        Error::new(
            Code::Protocol,
            format!("the broker sent a frame of more than max_packet = {most} bytes"),
        )
    }
}

/// The number in a `receipt-id` header.
#[inline]
fn number_of(frame: &Frame<'_>) -> Option<u64> {
    let text = frame.headers.get("receipt-id")?;
    Decimal::parse(&text)
}

/// Packs the headers of a message, the first of equal names only ("Repeated Header Entries"), and
/// says where the ones are that matter here.
#[inline]
fn read_headers(frame: &Frame<'_>, packed: &mut Vec<u8>) -> Fields {
    let mut fields = Fields::default();
    let mut seen = 0u64;
    for (name, value) in frame.headers.iter() {
        let bit = 1u64 << (print(&name) % 64);
        if seen & bit != 0 && contains(packed, &name) {
            continue;
        }
        seen |= bit;
        pack(&name, &value, packed);
        let range = packed.len() - value.len()..packed.len();
        match &*name {
            b"subscription" => fields.subscription = Some(range),
            b"destination" => fields.destination = range,
            b"message-id" => fields.message_id = range,
            b"ack" => fields.ack = range,
            b"redelivered" => fields.redelivered = range,
            _ => {}
        }
    }
    fields
}

/// A number that is the same for equal names, and seldom for others.
#[inline]
fn print(name: &[u8]) -> usize {
    let middle = name.get(name.len() / 2).copied().unwrap_or_default();
    let last = name.last().copied().unwrap_or_default();
    name.len() * 31 + usize::from(middle) * 7 + usize::from(last)
}

#[cold]
fn contains(mut packed: &[u8], name: &[u8]) -> bool {
    while let Some((found, _)) = unpack(&mut packed) {
        if found == name {
            return true;
        }
    }
    false
}
