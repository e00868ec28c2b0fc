//! What comes: the answer to CONNECT, messages, confirmations, and the broker's good-bye.
//! Source: MQTT 5.0, sections 3.2, 3.3, 3.9, 3.11, 3.14, 3.15 and 4.3.

use super::answers::acknowledge;
use super::arrivals::{Known, Print};
use super::{aliases, handshake, properties, Batch, Due, Knows, Mqtt, Stage};
use crate::codec::mqtt::{
    Ack, AckKind, Auth, ConnAck, Disconnect, Packet, Properties, PropertyId, Publish, Qos, Reason,
    Version,
};
use crate::error::{Code, Error};
use crate::message::{Key, Meta, State, Value, Verdict};
use crate::session::Detour;
use std::time::Instant;

pub(super) use aliases::Inbound as InboundAliases;

/// The flags of a message: two bits of QoS, RETAIN, DUP, and the packet identifier above them.
const RETAIN: u32 = 4;
const DUP: u32 = 8;
const PACKET_ID: u32 = 16;

impl Mqtt {
    /// Takes one packet; an error ends the connection.
    #[inline]
    pub(super) fn take_packet(
        &mut self,
        now: Instant,
        packet: Packet<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        match (self.stage, packet) {
            (Stage::Ready, Packet::Publish(publish)) => self.take_message(now, &publish, events),
            (Stage::Ready, Packet::Ack(ack)) => self.take_ack(now, &ack, events),
            (stage, packet) => self.take_other(now, stage, packet, events),
        }
    }

    fn take_other(
        &mut self,
        now: Instant,
        stage: Stage,
        packet: Packet<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        match (stage, packet) {
            (Stage::Handshake { .. }, Packet::ConnAck(connack)) => {
                self.take_connack(now, &connack, events)
            }
            (Stage::Handshake { .. }, Packet::Auth(auth)) if self.may_be_challenged() => {
                self.take_challenge(now, &auth, events);
                Ok(())
            }
            (_, Packet::Disconnect(goodbye)) => Err(self.take_goodbye(&goodbye)),
            (Stage::Ready, Packet::PingResp) => {
                if let Some(clock) = &mut self.clock {
                    clock.pinged = None;
                }
                Ok(())
            }
            (Stage::Ready, Packet::SubAck(suback)) => {
                self.progressed(now);
                if let Due::SubAck(key) = self.in_flight.due(suback.packet_id) {
                    self.in_flight.set_due(suback.packet_id, Due::Nothing);
                    let reason = suback.reasons.first().copied().unwrap_or_default();
                    self.take_confirmation(key, reason, suback.properties, events);
                    return Ok(());
                }
                Err(self.unexpected("a SUBACK"))
            }
            (Stage::Ready, Packet::UnsubAck(unsuback)) => {
                self.progressed(now);
                if let Due::UnsubAck(key) = self.in_flight.due(unsuback.packet_id) {
                    self.in_flight.set_due(unsuback.packet_id, Due::Nothing);
                    let gone = self.leaving.remove(&key);
                    if let Some(ticket) = gone.and_then(|gone| gone.waiter) {
                        events.answer(ticket, Value::Nil);
                    }
                    return Ok(());
                }
                Err(self.unexpected("an UNSUBACK"))
            }
            (_, packet) => Err(self.unexpected(name_of(&packet))),
        }
    }

    pub(super) fn progressed(&mut self, now: Instant) {
        if let Some(clock) = &mut self.clock {
            clock.last_progress = now;
        }
    }

    fn take_connack(
        &mut self,
        now: Instant,
        connack: &ConnAck<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        if connack.reason != Reason::SUCCESS {
            return Err(self.take_refusal(connack));
        }
        let asked = self.clock.map_or(now, |clock| clock.last_sent);
        self.broker = handshake::Broker::parse(
            self.version,
            connack.properties,
            now.saturating_duration_since(asked),
        );
        self.window = self.windows().0;
        self.outbound_aliases.reset(self.broker.topic_alias_maximum);
        if let Some(clock) = &mut self.clock {
            clock.keepalive = handshake::keepalive(&self.options, connack.properties);
        }
        let assigned = connack
            .properties
            .text(PropertyId::AssignedClientIdentifier);
        if let Some(assigned) = assigned {
            self.client_id = assigned.to_owned();
        }
        if !connack.session_present {
            self.session_lost(events);
        }
        if self.version == Version::V5 {
            self.knows = Knows::Answer;
        }
        self.dup = connack.session_present;
        self.stage = Stage::Ready;
        self.trouble = None;
        self.accepted_at = Some(now);
        events.state_with(
            State::Connected,
            handshake::describe(self.version, &self.client_id, connack),
        );
        self.ask_all(now, events);
        let server_expiry = connack.properties.u32(PropertyId::SessionExpiryInterval);
        self.resume = match self.version {
            Version::V5 => server_expiry.unwrap_or(self.options.session_expiry) > 0,
            Version::V311 => !self.options.clean,
        };
        Ok(())
    }

    /// A connection that lasts is not one more of those that send us on.
    pub(super) fn consider_settled(&mut self, now: Instant) {
        if let Some(since) = self.accepted_at {
            if now.saturating_duration_since(since) >= self.options.timeout {
                self.accepted_at = None;
                self.redirects = 0;
            }
        }
    }

    fn take_refusal(&mut self, connack: &ConnAck<'_>) -> Error {
        let too_new = connack.reason == Reason::UNSUPPORTED_PROTOCOL_VERSION;
        if too_new && self.version == Version::V5 {
            self.knows = Knows::Answer;
            self.version = Version::V311;
            self.detour = Some(Detour::Again);
        }
        self.consider_reference(connack.reason, connack.properties);
        handshake::refusal(connack.reason, connack.properties, &self.options)
    }

    /// A connection has failed: whether the next one is to speak another version.
    pub(super) fn reconsider_version(&mut self) {
        if self.options.version != Version::V5 || self.knows == Knows::Answer {
            return;
        }
        let in_handshake = matches!(self.stage, Stage::Handshake { .. });
        let silent = self
            .clock
            .is_some_and(|clock| !clock.heard && !clock.given_up);
        if in_handshake && silent && self.version == Version::V5 {
            self.knows = Knows::Silence;
            self.version = Version::V311;
            self.detour = Some(Detour::Again);
        } else {
            self.version = Version::V5;
        }
    }

    /// The broker names another one.
    fn consider_reference(&mut self, reason: Reason, properties: Properties<'_>) {
        let places = handshake::referred(reason, properties);
        if self.options.redirect && !places.is_empty() && self.redirects < super::REDIRECTS {
            self.redirects += 1;
            self.detour = Some(Detour::Elsewhere(places));
        }
    }

    /// One question at a time, and none where no method was agreed on [MQTT-4.12.0-6].
    fn may_be_challenged(&self) -> bool {
        self.options.auth_method.is_some() && !self.challenged
    }

    fn take_challenge(&mut self, now: Instant, auth: &Auth<'_>, events: &mut Batch) {
        self.stage = Stage::Handshake {
            until: now + self.options.timeout,
        };
        self.challenged = true;
        let properties = properties::to_value(auth.properties).unwrap_or_default();
        events.state_with(State::Challenge, properties);
    }

    fn take_goodbye(&mut self, goodbye: &Disconnect<'_>) -> Error {
        self.consider_reference(goodbye.reason, goodbye.properties);
        handshake::farewell(goodbye.reason, goodbye.properties, &self.client_id)
    }

    fn take_confirmation(
        &mut self,
        key: Key,
        reason: Reason,
        properties: Properties<'_>,
        events: &mut Batch,
    ) {
        if reason.is_error() {
            let told = handshake::told(reason, properties);
            let text = format!("the broker refused the subscription: {told}");
            self.drop_refused(key, &Error::new(Code::Refused, text), events);
        } else if let Some(ticket) = self.routes.subscriptions.confirm(key) {
            events.answer(ticket, Value::Nil);
        }
    }

    fn take_message(
        &mut self,
        now: Instant,
        publish: &Publish<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        let alias = match publish.properties.is_empty() {
            true => None,
            false => publish.properties.u16(PropertyId::TopicAlias),
        };
        let mut aliases = std::mem::take(&mut self.inbound_aliases);
        let name = match alias {
            None => Some(publish.topic),
            Some(alias) if alias > self.options.topic_alias_maximum => None,
            Some(alias) => aliases.resolve(alias, publish.topic),
        };
        let outcome = match name {
            Some(name) => self.deliver(now, publish, name, events),
            None => {
                let alias = alias.unwrap_or_default();
                self.parting = Reason::TOPIC_ALIAS_INVALID;
                Err(Error::new(
                    Code::Protocol,
                    format!("the broker uses the topic alias {alias}, which it has not given"),
                ))
            }
        };
        self.inbound_aliases = aliases;
        outcome
    }

    #[inline]
    fn deliver(
        &mut self,
        now: Instant,
        publish: &Publish<'_>,
        name: &str,
        events: &mut Batch,
    ) -> Result<(), Error> {
        let identifier = publish.packet_id;
        let mut print = Print::default();
        if publish.qos != Qos::AtMostOnce {
            print = Print::of(name, publish.payload);
            match self
                .arrivals
                .recognize(identifier, publish.qos, publish.dup, print)
            {
                Known::New => {}
                Known::Pending => return Ok(()),
                Known::Received => {
                    let kind = AckKind::PubRec;
                    let out = &mut self.control;
                    acknowledge(kind, identifier, Reason::SUCCESS, self.version, out);
                    return Ok(());
                }
            }
            // Not our receive maximum: mosquitto 2.0 sends two messages for each one that is
            // acknowledged, and a client that ended the connection for it would never be served.
            if self.arrivals.len() >= usize::from(u16::MAX) {
                self.parting = Reason::RECEIVE_MAXIMUM_EXCEEDED;
                return Err(Error::new(
                    Code::Protocol,
                    "the broker has more messages under way than there are packet identifiers",
                ));
            }
        }
        let flags = publish.qos as u32
            | if publish.retain { RETAIN } else { 0 }
            | if publish.dup { DUP } else { 0 }
            | u32::from(identifier) << PACKET_ID;
        let extra = match publish.properties.is_empty() {
            true => None,
            false => properties::to_value(publish.properties).map(Box::new),
        };
        let keys = self.routes.route(name, publish.properties);
        let delivery = match publish.qos {
            Qos::AtMostOnce => 0,
            _ if keys.is_empty() => {
                self.keep_stray(now, publish, (name, print), (flags, extra));
                return Ok(());
            }
            qos => self.arrivals.arrive(identifier, qos, print, keys),
        };
        self.counters.received += keys.len() as u64;
        for (at, key) in keys.iter().enumerate() {
            let id = match delivery {
                0 => 0,
                first => first + at as u64,
            };
            let meta = Meta {
                flags,
                id,
                headers: 0,
                packed: false,
                extra: extra.clone(),
            };
            events.push_rich(*key, name.as_bytes(), publish.payload, meta);
        }
        Ok(())
    }

    /// No subscription wants it: one that the program is about to make may.
    fn keep_stray(
        &mut self,
        now: Instant,
        publish: &Publish<'_>,
        (name, print): (&str, Print),
        rest: (u32, Option<Box<Value>>),
    ) {
        let (identifier, qos) = (publish.packet_id, publish.qos);
        // Key 0 is nobody's.
        let delivery = self.arrivals.arrive(identifier, qos, print, &[0]);
        let likely = self.dup && !self.routes.any_ended();
        if likely && self.strays.has_room(self.options.max_queue_bytes) {
            let until = now + self.options.timeout;
            let message = (name, publish.payload);
            self.strays.push(message, rest, delivery, until);
        } else {
            self.arrivals.settle(delivery, Verdict::Accept);
        }
    }

    /// Gives a new subscription what has come for it.
    pub(super) fn claim_strays(&mut self, key: Key, events: &mut Batch) {
        if self.strays.is_empty() {
            return;
        }
        let wanted = self.routes.matcher(key);
        for stray in self.strays.claim(wanted) {
            self.arrivals.readdress(stray.delivery, key);
            self.counters.received += 1;
            let meta = Meta {
                flags: stray.flags,
                id: stray.delivery,
                headers: 0,
                packed: false,
                extra: stray.extra,
            };
            events.push_rich(key, stray.topic.as_bytes(), &stray.payload, meta);
        }
    }

    /// Nobody wants them: the broker may forget them.
    pub(super) fn expire_strays(&mut self, now: Instant, events: &mut Batch) {
        let mut count = 0;
        let mut last = None;
        while let Some(stray) = self.strays.next_expired(now) {
            self.arrivals.settle(stray.delivery, Verdict::Accept);
            self.counters.dropped += 1;
            count += 1;
            last = Some(stray.topic);
        }
        if let Some(topic) = last {
            let seconds = self.options.timeout.as_secs_f64();
            let text = format!(
                "{count} messages of the resumed session dropped: nothing is subscribed to {topic:?} after {seconds} s"
            );
            events.state(State::Dropped, Some(&Error::lost(text)), f64::from(count));
            self.send_acknowledgements();
        }
    }

    /// PUBREL: the broker will not send that packet again.
    pub(super) fn take_release(&mut self, release: &Ack<'_>) {
        let reason = match self.arrivals.complete(release.packet_id) {
            true => Reason::SUCCESS,
            false => Reason::PACKET_IDENTIFIER_NOT_FOUND,
        };
        let out = &mut self.control;
        acknowledge(
            AckKind::PubComp,
            release.packet_id,
            reason,
            self.version,
            out,
        );
    }

    fn unexpected(&mut self, what: &str) -> Error {
        self.parting = Reason::PROTOCOL_ERROR;
        Error::new(
            Code::Protocol,
            format!("the broker sent {what}, for which nothing had asked"),
        )
    }
}

/// A packet in a sentence; nothing of what is in it, which may be long.
fn name_of(packet: &Packet<'_>) -> &'static str {
    match packet {
        Packet::ConnAck(_) => "a CONNACK",
        Packet::Publish(_) => "a PUBLISH",
        Packet::Ack(ack) => ack.kind.place().name(),
        Packet::SubAck(_) => "a SUBACK",
        Packet::UnsubAck(_) => "an UNSUBACK",
        Packet::PingResp => "a PINGRESP",
        Packet::Auth(_) => "an AUTH",
        // The decoder lets no other packet of a server through.
        _ => "a packet",
    }
}
