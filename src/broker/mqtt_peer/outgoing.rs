//! What leaves a session: messages in their order, as many of QoS 1 and 2 at a time as the client takes, those of an
//! earlier connection first; and what becomes of the client's acknowledgements (MQTT 5, sections 4.3, 4.4, 4.9).

use super::in_flight::Stage;
use super::properties::Delivered;
use super::queue::Queued;
use super::state::{Contents, SessionState};
use crate::broker::Message;
use crate::codec::mqtt::{Ack, AckKind, Properties, Publish, Qos, Reason, Version};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::time::Instant;

/// A shorter topic is hardly longer than its alias.
const WORTH: usize = 6;

/// Aliases that we give, and the longest topic that gets one.
const ALIASES: u16 = 64;
const LONGEST: usize = 1024;

/// What this connection's client takes.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) version: Version,
    /// Messages of QoS 1 and 2 at a time.
    pub(super) receive_maximum: usize,
    /// Bytes of a packet.
    pub(super) max_packet: usize,
    pub(super) aliases: Aliases,
}

/// The topic aliases that we have given (section 3.3.2.3.4): to the first topics that are sent, for good.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    maximum: u16,
    /// None until the first.
    given: Option<Box<Given>>,
}

#[derive(Debug, Default)]
struct Given {
    by_topic: HashMap<Bytes, u16>,
    /// The last topic with its alias: messages come in runs.
    recent: (Bytes, u16),
}

impl Aliases {
    pub(super) fn new(maximum: u16) -> Self {
        Aliases {
            maximum: maximum.min(ALIASES),
            given: None,
        }
    }

    /// The alias of a topic, 0 for none; and whether the client knows it.
    #[inline]
    fn find(&mut self, topic: &Bytes) -> (u16, bool) {
        if self.maximum == 0 || topic.len() < WORTH || topic.len() > LONGEST {
            return (0, false);
        }
        let given = self.given.get_or_insert_default();
        if given.recent.0 == topic {
            return (given.recent.1, true);
        }
        if let Some((topic, alias)) = given.by_topic.get_key_value(topic) {
            given.recent = (topic.clone(), *alias);
            return (*alias, true);
        }
        let count = given.by_topic.len() as u16;
        match count < self.maximum {
            true => (count + 1, false),
            false => (0, false),
        }
    }

    /// The client has been told.
    fn give(&mut self, topic: &Bytes, alias: u16) {
        if let Some(given) = &mut self.given {
            // Not the message's own: that would keep the whole message.
            let topic = Bytes::copy_from_slice(topic);
            given.by_topic.insert(topic.clone(), alias);
            given.recent = (topic, alias);
        }
    }
}

impl Link {
    /// Appends a message. False: it cannot be sent to this client.
    #[inline]
    fn put(
        &mut self,
        queued: &Queued,
        (packet_id, dup): (u16, bool),
        now: Instant,
        out: &mut BytesMut,
    ) -> bool {
        let message: &Message = &queued.message;
        // That it is one was seen when the message came.
        let Ok(name) = std::str::from_utf8(&message.topic) else {
            return false;
        };
        let (alias, known) = match self.version {
            Version::V5 => self.aliases.find(&message.topic),
            Version::V311 => (0, false),
        };
        let mut put = |alias| {
            let mut properties = Delivered::default();
            if self.version == Version::V5 {
                properties.fill(message, queued.manner, alias, now);
            }
            let publish = Publish {
                dup,
                qos: queued.manner.qos(),
                retain: queued.manner.retain(),
                topic: if known { "" } else { name },
                packet_id,
                properties: properties.as_properties(),
                payload: &message.payload,
            };
            publish.encoded_len(self.version) <= self.max_packet
                && publish.encode(self.version, out).is_ok()
        };
        if put(alias) {
            if alias != 0 && !known {
                self.aliases.give(&message.topic, alias);
            }
            return true;
        }
        // Without the alias, which is only a kindness, it may be small enough.
        alias != 0 && !known && put(0)
    }

    /// Appends PUBACK, PUBREC, PUBREL or PUBCOMP.
    #[inline]
    pub(super) fn answer(&self, kind: AckKind, packet_id: u16, reason: Reason, out: &mut BytesMut) {
        let ack = Ack {
            kind,
            packet_id,
            reason,
            properties: Properties::NONE,
        };
        // These reasons may be there, and the identifier was decoded, so it is not 0.
        let _ = ack.encode(self.version, out);
    }
}

impl SessionState {
    /// Appends what can be sent, until `out` holds `most` bytes. How many messages.
    pub(super) fn transmit(
        &self,
        link: &mut Link,
        now: Instant,
        out: &mut BytesMut,
        most: usize,
    ) -> u64 {
        let mut contents = self.lock();
        let mut sent = contents.send_again(link, now, out, most);
        sent += contents.send_held(link, now, out, most);
        sent += contents.send_queued(link, now, out, most);
        // What is held waits for an acknowledgement.
        if out.len() < most {
            self.set_waiting(false);
            contents.relax();
        }
        sent
    }

    /// PUBACK, PUBREC or PUBCOMP of the client; `out` is for what is due then.
    ///
    /// # Errors
    /// It acknowledges with the wrong packet.
    pub(super) fn acknowledge(
        &self,
        link: &Link,
        ack: &Ack<'_>,
        out: &mut BytesMut,
    ) -> Result<(), &'static str> {
        let mut contents = self.lock();
        let contents = &mut *contents;
        let id = ack.packet_id;
        let flight = contents.in_flight.find(id);
        let known = flight.map(|flight| {
            let exactly = |what: &Queued| what.manner.qos() == Qos::ExactlyOnce;
            let is_exactly = flight.what.as_ref().is_none_or(exactly);
            (flight, is_exactly)
        });
        match (ack.kind, known) {
            // The client has dealt with it before, or has answered twice.
            (AckKind::PubAck | AckKind::PubComp, None) => return Ok(()),
            (AckKind::PubAck, Some((_, true))) => {
                return Err("it answered QoS 2 with PUBACK");
            }
            (AckKind::PubAck, Some(_)) => contents.finish(id),
            (AckKind::PubRec, Some((_, false))) => {
                return Err("it answered QoS 1 with PUBREC");
            }
            (AckKind::PubRec, Some((flight, _))) if !ack.reason.is_error() => {
                flight.stage = Stage::Released;
                if let Some(what) = flight.what.take() {
                    contents.forget(&what.message);
                }
                link.answer(AckKind::PubRel, id, Reason::SUCCESS, out);
                return Ok(());
            }
            (AckKind::PubRec, Some(_)) => contents.finish(id),
            (AckKind::PubRec, None) => {
                let reason = Reason::PACKET_IDENTIFIER_NOT_FOUND;
                link.answer(AckKind::PubRel, id, reason, out);
                return Ok(());
            }
            (AckKind::PubComp, Some((flight, _))) if flight.stage != Stage::Released => {
                return Err("it sent PUBCOMP for what was not released");
            }
            (AckKind::PubComp, Some(_)) => contents.finish(id),
            (AckKind::PubRel, _) => return Ok(()),
        }
        if !contents.held.is_empty() || !contents.in_flight.takes_more() {
            self.set_waiting(true);
        }
        Ok(())
    }
}

impl Contents {
    fn finish(&mut self, id: u16) {
        if let Some(what) = self.in_flight.finish(id) {
            self.forget(&what.message);
        }
    }

    /// What an earlier connection left (section 4.4).
    fn send_again(
        &mut self,
        link: &mut Link,
        now: Instant,
        out: &mut BytesMut,
        most: usize,
    ) -> u64 {
        let mut sent = 0;
        while out.len() < most {
            let open = self.in_flight.open();
            let Some((id, flight)) = self.in_flight.unsent() else {
                break;
            };
            match (flight.stage, &flight.what) {
                (Stage::Published, Some(_)) if open >= link.receive_maximum => break,
                (Stage::Published, Some(what)) => {
                    if link.put(what, (id, true), now, out) {
                        sent += 1;
                    } else {
                        self.finish(id);
                        continue;
                    }
                }
                (Stage::Released, _) => link.answer(AckKind::PubRel, id, Reason::SUCCESS, out),
                _ => {}
            }
            self.in_flight.mark_sent();
        }
        sent
    }

    fn has_window(&self, link: &Link) -> bool {
        self.in_flight.takes_more() && self.in_flight.open() < link.receive_maximum
    }

    fn send_held(&mut self, link: &mut Link, now: Instant, out: &mut BytesMut, most: usize) -> u64 {
        let mut sent = 0;
        while out.len() < most && self.has_window(link) {
            let Some(queued) = self.held.pop_front() else {
                break;
            };
            sent += self.send(queued, link, now, out);
        }
        sent
    }

    fn send_queued(
        &mut self,
        link: &mut Link,
        now: Instant,
        out: &mut BytesMut,
        most: usize,
    ) -> u64 {
        let mut sent = 0;
        while out.len() < most {
            let Some(queued) = self.queue.pop_front() else {
                break;
            };
            // QoS 0 needs no acknowledgement, and does not wait behind what does.
            if queued.manner.qos() == Qos::AtMostOnce
                || (self.held.is_empty() && self.has_window(link))
            {
                sent += self.send(queued, link, now, out);
            } else {
                self.held.push_back(queued);
            }
        }
        sent
    }

    /// Sends a message for the first time, where it can be and its time is not over.
    #[inline]
    fn send(&mut self, queued: Queued, link: &mut Link, now: Instant, out: &mut BytesMut) -> u64 {
        if queued.message.expires.is_some_and(|at| at <= now) {
            self.forget(&queued.message);
            return 0;
        }
        if queued.manner.qos() == Qos::AtMostOnce {
            self.forget(&queued.message);
            return u64::from(link.put(&queued, (0, false), now, out));
        }
        let id = self.in_flight.push(queued);
        let taken = match self
            .in_flight
            .find(id)
            .and_then(|flight| flight.what.as_ref())
        {
            Some(queued) => link.put(queued, (id, false), now, out),
            None => false,
        };
        if !taken {
            self.finish(id);
        }
        u64::from(taken)
    }
}
