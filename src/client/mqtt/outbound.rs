//! What leaves: messages from the queue to the wire, their answers, and those that have to be sent
//! again. Source: MQTT 5.0, sections 3.3 to 3.7, 4.3, 4.4 and 4.9.

use super::answers::release;
use super::{aliases, Batch, Due, Mqtt, Sender};
use crate::client::gather::Traffic;
use crate::client::ledger::Epoch;
use crate::client::outbox::Overflow;
use crate::client::told;
use crate::codec::mqtt::{topic, Place, Properties, Publish as Packet, Qos, Reason, Version};
use crate::error::{Code, Error};
use crate::message::{Publish, State};
use bytes::{BufMut, BytesMut};
use std::time::Instant;

pub(super) use aliases::Outbound as OutboundAliases;

/// Bytes handed to the transport at a time: enough to keep it busy.
const CHUNK: usize = 64 * 1024;

/// The flags of [`Publish`]: two bits of QoS, which count where [`HAS_QOS`] is set, and RETAIN.
const QOS: u32 = 3;
const RETAIN: u32 = 4;
const HAS_QOS: u32 = 8;

/// Bytes by which an alias can make a packet longer: its own, and one more in each of two lengths.
const ALIAS: usize = 5;

/// With so many messages in flight a broker nearby is busy: one of QoS 2 waits until there are fewer. For each it may
/// search all those whose PUBREL has not come, as mosquitto does: more would only slow it down.
const BUSY: usize = 256;

/// Bytes of a stored message before its topic.
const HEADER: usize = 11;

/// A message as it waits: it becomes a packet when it leaves, since that depends on the connection.
struct Stored<'a> {
    qos: Qos,
    retain: bool,
    topic: &'a str,
    properties: Properties<'a>,
    payload: &'a [u8],
}

impl<'a> Stored<'a> {
    /// What [`store`] has written; None: it has not.
    fn read(frame: &'a [u8]) -> Option<Self> {
        let (header, rest) = frame.split_first_chunk::<HEADER>()?;
        let [_, _, _, _, flags, t0, t1, p0, p1, p2, p3] = *header;
        let (topic, rest) = rest.split_at_checked(u16::from_be_bytes([t0, t1]).into())?;
        let properties = u32::from_be_bytes([p0, p1, p2, p3]) as usize;
        let (properties, payload) = rest.split_at_checked(properties)?;
        Some(Stored {
            qos: Qos::from_u8(flags & QOS as u8)?,
            retain: flags & RETAIN as u8 != 0,
            topic: std::str::from_utf8(topic).ok()?,
            properties: Properties::stored(properties),
            payload,
        })
    }

    fn epoch(frame: &[u8]) -> Epoch {
        frame
            .first_chunk()
            .map_or(0, |bytes| Epoch::from_be_bytes(*bytes))
    }
}

/// Judges what needs no session.
pub(super) fn check(publish: &Publish<'_>) -> Result<(), Error> {
    let named = |problem: &str| {
        let name = told::quoted(publish.target);
        Error::invalid(format!("the topic {name}: {problem}"))
    };
    match std::str::from_utf8(publish.target) {
        Ok(name) => topic::check_name(name).map_err(|error| named(&error.to_string())),
        Err(_) => Err(named("it is not UTF-8")),
    }
}

impl Mqtt {
    pub(super) fn publish(
        &mut self,
        now: Instant,
        publish: &Publish<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        let properties = match publish.options {
            Some(options) => super::properties::parse(options, Place::Publish)?,
            None => Default::default(),
        };
        let raw = properties.as_properties().raw();
        let size = HEADER + publish.target.len() + raw.len() + publish.payload.len();
        if size > self.options.max_queue_bytes.min(u32::MAX as usize) {
            let most = self.options.max_queue_bytes;
            return Err(told::too_large(publish.payload.len(), most));
        }
        let flags = publish.flags;
        let qos = match flags & HAS_QOS {
            0 => self.options.qos as u8,
            _ => (flags & QOS) as u8,
        };
        if Qos::from_u8(qos).is_none() {
            return Err(Error::invalid(format!("there is no QoS {qos}")));
        }
        while self.unfinished() >= self.options.max_queue
            || self.outbox.byte_len() + size > self.options.max_queue_bytes
        {
            self.overflow(events)?;
        }
        let epoch = match publish.ticket {
            None => self.ledger.accept(),
            Some(_) => 0,
        };
        let until = now + self.options.timeout;
        let waiter = publish.ticket.map(|ticket| (ticket, until));
        self.outbox.push(waiter, |out| {
            out.reserve(size);
            out.put_u32(epoch);
            out.put_u8(qos | (flags & RETAIN) as u8);
            // invariant: check() has seen that it is not longer
            out.put_u16(publish.target.len() as u16);
            out.put_u32(raw.len() as u32);
            out.put_slice(publish.target);
            out.put_slice(raw);
            out.put_slice(publish.payload);
        });
        Ok(())
    }

    /// Messages that are accepted and have no answer.
    pub(super) fn unfinished(&self) -> usize {
        self.outbox.len() + self.in_flight.messages() + self.written.len()
    }

    /// Makes room for one more message, or says that there is none.
    fn overflow(&mut self, events: &mut Batch) -> Result<(), Error> {
        match self.options.overflow {
            Overflow::Block | Overflow::Error => self.wants_room = true,
            Overflow::DropNewest => self.counters.dropped += 1,
            Overflow::DropOldest => {
                let oldest = self.outbox.oldest();
                let oldest = oldest.map(|(entry, _, frame)| sender_of(entry.ticket, frame));
                if let Some(sender) = oldest {
                    self.outbox.drop_oldest();
                    self.counters.dropped += 1;
                    self.outbox.tell_pushed_out(events);
                    sender.fail(&told::dropped(), &mut self.ledger, events);
                    return Ok(());
                }
            }
        }
        Err(told::full(
            (self.unfinished(), self.options.max_queue),
            (self.outbox.byte_len(), self.options.max_queue_bytes),
        ))
    }

    /// Tells that there is room once half of the queue is free: to tell each free place would
    /// wake the waiting program for every message.
    pub(super) fn make_room(&mut self, events: &mut Batch) {
        if self.wants_room
            && self.unfinished() * 2 <= self.options.max_queue
            && self.outbox.byte_len() * 2 <= self.options.max_queue_bytes
        {
            self.wants_room = false;
            events.state(State::Room, None, 0.0);
        }
    }

    /// Everything is sent and answered that will be.
    pub(super) fn has_said_all(&self) -> bool {
        self.unfinished() == 0 && self.control.is_empty() && self.releases.is_empty()
    }

    /// Control packets first, then what has to be sent again, then the queue; as much as the broker
    /// takes, and a chunk at a time.
    pub(super) fn transmit_messages(
        &mut self,
        now: Instant,
        out: &mut BytesMut,
        events: &mut Batch,
    ) {
        if !self.control.is_empty() {
            out.extend_from_slice(&self.control);
            self.control.clear();
            if self.control.capacity() > CHUNK {
                self.control = BytesMut::new();
            }
        }
        let (traffic, last_sent) = (self.traffic(), self.clock.map(|clock| clock.last_sent));
        if last_sent.is_some_and(|at| self.gather.holds_back(now, at, traffic)) {
            return;
        }
        out.unsplit(std::mem::take(&mut self.releases));
        self.released = 0;
        let was_quiet = self.in_flight.is_quiet();
        if self.transmit_again(out, events) {
            self.transmit_queue(out, events);
        }
        if let (true, Some(clock)) = (was_quiet, &mut self.clock) {
            // From here on an answer is due: silence before it does not count.
            clock.last_progress = now;
        }
    }

    /// What is under way on this connection.
    pub(super) fn traffic(&self) -> Traffic {
        let window = self.window;
        Traffic {
            window,
            held: window.saturating_sub(self.in_flight.sent_here()) + self.released,
            queued: self.outbox.len(),
        }
    }

    /// How many publishes may be in flight where one of QoS 1 is to follow; and where one of QoS 2 is.
    pub(super) fn windows(&self) -> (usize, usize) {
        let exactly_once = match self.version {
            Version::V5 => self.options.max_in_flight,
            Version::V311 => self.options.max_in_flight_unsaid,
        };
        let limit = |most: usize| most.min(self.broker.receive_maximum);
        let busy = match self.broker.nearby {
            true => BUSY,
            false => usize::MAX,
        };
        (
            limit(self.options.max_in_flight),
            limit(exactly_once.min(busy)),
        )
    }

    /// True: all of it is on its way again.
    fn transmit_again(&mut self, out: &mut BytesMut, events: &mut Batch) -> bool {
        let (version, dup) = (self.version, self.dup);
        let (at_least_once, exactly_once) = self.windows();
        while out.len() < CHUNK {
            let sent_here = self.in_flight.sent_here();
            let Some((identifier, due, frame)) = self.in_flight.next_unsent() else {
                return true;
            };
            let window = match due {
                Due::PubAck(_) => at_least_once,
                _ => exactly_once,
            };
            if sent_here >= window {
                return false;
            }
            match due {
                Due::PubAck(sender) | Due::PubRec(sender) => {
                    if let Some(message) = Stored::read(frame) {
                        // It may be another broker than the one that would have taken it.
                        if let Err(error) = self.broker.takes(&message, version) {
                            self.in_flight.set_due(identifier, Due::Nothing);
                            sender.fail(&error, &mut self.ledger, events);
                            continue;
                        }
                        let aliases = &mut self.outbound_aliases;
                        let most = self.broker.max_packet;
                        encode(&message, identifier, dup, version, aliases, most, out);
                    }
                }
                _ => release(identifier, Reason::SUCCESS, version, out),
            }
            self.in_flight.mark_sent();
        }
        self.in_flight.next_unsent().is_none()
    }

    fn transmit_queue(&mut self, out: &mut BytesMut, events: &mut Batch) {
        let (at_least_once, exactly_once) = self.windows();
        while let Some((entry, until, frame)) = self.outbox.oldest() {
            if out.len() >= CHUNK {
                break;
            }
            let sender = sender_of(entry.ticket, frame);
            let Some(message) = Stored::read(frame) else {
                // Cannot be: store and read are of one mind.
                self.outbox.drop_oldest();
                continue;
            };
            if let Err(error) = self.broker.takes(&message, self.version) {
                self.outbox.drop_oldest();
                sender.fail(&error, &mut self.ledger, events);
                continue;
            }
            let window = match message.qos {
                Qos::ExactlyOnce => exactly_once,
                _ => at_least_once,
            };
            self.window = window;
            let full = self.in_flight.sent_here() >= window
                || self.unasked
                || !self.in_flight.has_identifier()
                || self.in_flight.byte_len() >= self.options.max_queue_bytes;
            let due = match message.qos {
                Qos::AtMostOnce => Due::Nothing,
                Qos::AtLeastOnce => Due::PubAck(sender),
                Qos::ExactlyOnce => Due::PubRec(sender),
            };
            let identifier = match due {
                Due::Nothing => {
                    self.written.push(sender);
                    0
                }
                // Those behind it wait, too: messages leave in the order of the calls.
                _ if full => break,
                due => self.in_flight.push(due, frame, until),
            };
            let aliases = &mut self.outbound_aliases;
            let most = self.broker.max_packet;
            encode(
                &message,
                identifier,
                false,
                self.version,
                aliases,
                most,
                out,
            );
            self.counters.sent += 1;
            self.outbox.drop_oldest();
        }
    }

    /// The broker has no session of ours (any more): what it had not acknowledged is sent as new,
    /// what it had and not completed cannot be sent again without perhaps coming twice.
    pub(super) fn session_lost(&mut self, events: &mut Batch) {
        let mut lost = Vec::new();
        self.in_flight.change(|due| match due {
            Due::PubComp(sender) => {
                lost.push(sender);
                Due::Nothing
            }
            due => due,
        });
        let text = "the broker had taken the message, and lost its session before it was done";
        let error = Error::lost(text);
        for sender in lost {
            sender.fail(&error, &mut self.ledger, events);
        }
        self.arrivals.clear();
        self.strays.clear();
        self.leaving.clear();
    }

    /// No further connection: nothing that waits will be answered.
    pub(super) fn abandon_messages(&mut self, cause: &Error, events: &mut Batch) {
        let mut senders = Vec::new();
        self.in_flight.change(|due| {
            if let Due::PubAck(sender) | Due::PubRec(sender) | Due::PubComp(sender) = due {
                senders.push(sender);
            }
            Due::Nothing
        });
        self.outbox
            .drain_frames(|entry, frame| senders.push(sender_of(entry.ticket, frame)));
        for sender in senders {
            sender.fail(cause, &mut self.ledger, events);
        }
    }
}

impl super::Broker {
    /// Whether the broker said that it takes such a message.
    fn takes(&self, message: &Stored<'_>, version: Version) -> Result<(), Error> {
        if message.qos > self.maximum_qos {
            let (given, most) = (message.qos as u8, self.maximum_qos as u8);
            return Err(Error::new(
                Code::Refused,
                format!("the broker takes no QoS {given}; {most} is the most"),
            ));
        }
        if message.retain && !self.retain {
            let text = "the broker retains no messages; leave `retain` out";
            return Err(Error::new(Code::Refused, text));
        }
        let size = packet(message, 1, false).encoded_len(version);
        if size > self.max_packet {
            return Err(Error::new(
                Code::Refused,
                format!(
                    "the packet would have {size} bytes; the broker takes {} at most",
                    self.max_packet
                ),
            ));
        }
        Ok(())
    }
}

fn sender_of(ticket: Option<u64>, frame: &[u8]) -> Sender {
    match ticket {
        Some(ticket) => Sender::Emit(ticket),
        None => Sender::Post(Stored::epoch(frame)),
    }
}

fn packet<'a>(message: &Stored<'a>, identifier: u16, dup: bool) -> Packet<'a> {
    Packet {
        dup,
        qos: message.qos,
        retain: message.retain,
        topic: message.topic,
        packet_id: match message.qos {
            Qos::AtMostOnce => 0,
            _ => identifier,
        },
        properties: message.properties,
        payload: message.payload,
    }
}

/// Appends PUBLISH, with a topic alias in place of the topic where the connection has one.
fn encode(
    message: &Stored<'_>,
    identifier: u16,
    dup: bool,
    version: Version,
    aliases: &mut OutboundAliases,
    max_packet: usize,
    out: &mut BytesMut,
) {
    let plain = packet(message, identifier, dup);
    // The first use of an alias makes a packet longer.
    let alias = match plain.encoded_len(version) + ALIAS > max_packet {
        true => None,
        false => aliases.apply(message.topic, message.properties),
    };
    // What was stored goes into a packet: topic and properties were checked, and so was the size.
    let _ = match alias {
        Some((topic, properties)) => Packet {
            topic,
            properties,
            ..plain
        }
        .encode(version, out),
        None => plain.encode(version, out),
    };
}
