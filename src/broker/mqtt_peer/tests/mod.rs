//! Connections of one broker, without I/O, on a clock that only moves when told: packets in, packets out, as people read
//! them. Each file has one side of it; this one has what they share.

mod client;
mod connecting;
mod delivery;
mod hostile;
mod resuming;
mod retaining;
mod sharing;
mod subscribing;
mod wills;

use crate::broker::testing::{accept, Rung};
use crate::broker::{Bell, Broker, Flow, Peer, Protocol, Settings};
use crate::codec::mqtt::{
    Ack, AckKind, Connect, Decoder, Disconnect, Filter, Packet, Properties, PropertyId,
    PropertyList, PropertyValue, Publish, Qos, Reason, Role, Subscribe, Unsubscribe, Version, Will,
};
use crate::error::{Code, Error};
use bytes::{Buf, BytesMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A broker and its clock.
struct World {
    broker: Arc<Broker>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        World {
            broker: Broker::new(settings),
            now: Instant::now(),
        }
    }

    /// Lets time pass for the broker's own timers; a wire has a clock of its own.
    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.broker.expire(self.now);
    }

    /// A connection that says nothing yet.
    fn wire(&self) -> Wire {
        Wire::new(&self.broker, self.now)
    }

    /// A client of version 5 with a clean start; what it was told is forgotten.
    fn client(&self, id: &str) -> Wire {
        self.join(Version::V5, id, true, &[]).0
    }

    /// The same of 3.1.1.
    fn old_client(&self, id: &str) -> Wire {
        self.join(Version::V311, id, true, &[]).0
    }

    /// A client whose session is kept for an hour, and the answer to its CONNECT.
    fn keeper(&self, id: &str) -> (Wire, String) {
        let hour = (PropertyId::SessionExpiryInterval, PropertyValue::U32(3600));
        self.join(Version::V5, id, false, &[hour])
    }

    fn join(
        &self,
        version: Version,
        id: &str,
        clean_start: bool,
        properties: &[(PropertyId, PropertyValue<'_>)],
    ) -> (Wire, String) {
        let mut wire = self.wire();
        let properties = list(properties);
        let told = wire.say(Packet::Connect(Connect {
            clean_start,
            properties: properties.as_properties(),
            ..connect(version, id)
        }));
        (wire, told)
    }
}

fn connect(version: Version, id: &str) -> Connect<'_> {
    Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        client_id: id,
        will: None,
        username: None,
        password: None,
        properties: Properties::NONE,
    }
}

fn list(properties: &[(PropertyId, PropertyValue<'_>)]) -> PropertyList {
    let mut list = PropertyList::new();
    for (id, value) in properties {
        list.push(*id, *value).expect("a valid property");
    }
    list
}

/// One connection.
struct Wire {
    peer: Box<dyn Peer>,
    rung: Arc<Rung>,
    input: BytesMut,
    flow: Flow,
    now: Instant,
    version: Version,
}

impl Wire {
    fn new(broker: &Arc<Broker>, now: Instant) -> Self {
        let (peer, rung) = accept(broker, Protocol::Mqtt);
        let mut wire = Wire {
            peer,
            rung,
            input: BytesMut::new(),
            flow: Flow::default(),
            now,
            version: Version::V5,
        };
        wire.peer.connected(now, &mut wire.flow);
        wire
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.input.extend_from_slice(bytes);
        self.peer.receive(self.now, &mut self.input, &mut self.flow)
    }

    fn send(&mut self, packet: Packet<'_>) -> Result<(), Error> {
        if let Packet::Connect(connect) = &packet {
            self.version = connect.version;
        }
        let mut bytes = BytesMut::new();
        packet
            .encode(self.version, &mut bytes)
            .expect("a valid packet");
        self.receive(&bytes)
    }

    /// Bytes that it writes next.
    fn written(&mut self) -> BytesMut {
        let mut out = BytesMut::new();
        self.peer.poll_transmit(self.now, &mut out, &mut self.flow);
        out
    }

    /// What it writes next, a packet a line.
    fn told(&mut self) -> String {
        let written = self.written();
        read(self.version, written)
    }

    /// Sends a packet; what comes back.
    fn say(&mut self, packet: Packet<'_>) -> String {
        self.send(packet).expect("the connection goes on");
        self.told()
    }

    /// Sends what ends the connection: the error, and the last words.
    fn fail(&mut self, packet: Packet<'_>) -> (Code, String) {
        let error = self.send(packet).expect_err("the connection ends");
        (error.code, self.last_words())
    }

    fn last_words(&mut self) -> String {
        let mut out = BytesMut::new();
        self.peer.farewell(&mut out);
        read(self.version, out)
    }

    fn publish(&mut self, qos: u8, topic: &str, payload: &str) -> String {
        self.say(publish(qos, 7, topic, payload))
    }

    fn retain(&mut self, topic: &str, payload: &str) {
        let Packet::Publish(publish) = publish(0, 0, topic, payload) else {
            return;
        };
        let retain = true;
        assert_eq!(self.say(Packet::Publish(Publish { retain, ..publish })), "");
    }

    fn subscribe(&mut self, filter: &str, qos: u8) -> String {
        self.subscribe_with(self::filter(filter, qos), 0)
    }

    fn subscribe_with(&mut self, filter: Filter<'_>, identifier: u32) -> String {
        let properties = match identifier {
            0 => PropertyList::new(),
            _ => list(&[(
                PropertyId::SubscriptionIdentifier,
                PropertyValue::Varint(identifier),
            )]),
        };
        self.say(Packet::Subscribe(Subscribe {
            packet_id: 1,
            properties: properties.as_properties(),
            filters: vec![filter],
        }))
    }

    fn unsubscribe(&mut self, filter: &str) -> String {
        self.say(Packet::Unsubscribe(Unsubscribe {
            packet_id: 2,
            properties: Properties::NONE,
            filters: vec![filter],
        }))
    }

    fn ack(&mut self, kind: AckKind, packet_id: u16) -> String {
        self.say(ack(kind, packet_id, Reason::SUCCESS))
    }

    /// Lets time pass for this connection.
    fn pass(&mut self, seconds: u64) -> Result<(), Error> {
        self.now += Duration::from_secs(seconds);
        match self.peer.deadline() {
            Some(at) if at <= self.now => self.peer.expire(self.now, &mut self.flow),
            _ => Ok(()),
        }
    }

    /// The connection breaks.
    fn lose(mut self) {
        let cause = Error::lost("gone");
        self.peer.disconnected(&cause, &mut self.flow);
    }

    /// It says good-bye, with this reason.
    fn leave(mut self, reason: Reason) {
        let told = self.say(Packet::Disconnect(Disconnect {
            reason,
            properties: Properties::NONE,
        }));
        assert_eq!(told, "");
        assert!(self.peer.finished());
        self.lose();
    }
}

fn filter(filter: &str, qos: u8) -> Filter<'_> {
    Filter {
        filter,
        qos: Qos::from_u8(qos).expect("a level"),
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    }
}

fn publish<'a>(qos: u8, packet_id: u16, topic: &'a str, payload: &'a str) -> Packet<'a> {
    Packet::Publish(Publish {
        dup: false,
        qos: Qos::from_u8(qos).expect("a level"),
        retain: false,
        topic,
        packet_id: if qos == 0 { 0 } else { packet_id },
        properties: Properties::NONE,
        payload: payload.as_bytes(),
    })
}

fn with_properties<'a>(packet: Packet<'a>, properties: &'a PropertyList) -> Packet<'a> {
    let Packet::Publish(publish) = packet else {
        return packet;
    };
    Packet::Publish(Publish {
        properties: properties.as_properties(),
        ..publish
    })
}

fn ack(kind: AckKind, packet_id: u16, reason: Reason) -> Packet<'static> {
    Packet::Ack(Ack {
        kind,
        packet_id,
        reason,
        properties: Properties::NONE,
    })
}

fn will<'a>(topic: &'a str, payload: &'a str, properties: Properties<'a>) -> Will<'a> {
    Will {
        topic,
        payload: payload.as_bytes(),
        qos: Qos::AtMostOnce,
        retain: false,
        properties,
    }
}

/// Packets for a client, one a line.
fn read(version: Version, mut bytes: BytesMut) -> String {
    let mut decoder = Decoder::new(Role::Client, usize::MAX);
    decoder.set_version(version);
    let mut lines = Vec::new();
    while let Some((packet, length)) = decoder.decode(&bytes).expect("what a client understands") {
        lines.push(shown(&packet));
        bytes.advance(length);
    }
    assert!(bytes.is_empty(), "half a packet");
    lines.join("\n")
}

fn shown(packet: &Packet<'_>) -> String {
    let reasons = |all: &[Reason]| {
        let all: Vec<_> = all.iter().map(|each| format!("{:#04x}", each.0)).collect();
        all.join(" ")
    };
    match packet {
        Packet::ConnAck(packet) => format!(
            "CONNACK {:#04x}{}{}",
            packet.reason.0,
            if packet.session_present {
                " present"
            } else {
                ""
            },
            properties(packet.properties)
        ),
        Packet::Publish(packet) => format!(
            "PUBLISH {}{}{}{} {}{}{}",
            packet.qos as u8,
            match packet.packet_id {
                0 => String::new(),
                id => format!(" #{id}"),
            },
            if packet.dup { " dup" } else { "" },
            if packet.retain { " retain" } else { "" },
            packet.topic,
            match packet.payload {
                [] => String::new(),
                payload => format!(" {}", String::from_utf8_lossy(payload)),
            },
            properties(packet.properties)
        ),
        Packet::Ack(packet) => format!(
            "{} #{}{}",
            packet.kind.place().name(),
            packet.packet_id,
            match packet.reason {
                Reason::SUCCESS => String::new(),
                reason => format!(" {:#04x}", reason.0),
            }
        ),
        Packet::SubAck(packet) => {
            format!("SUBACK #{} {}", packet.packet_id, reasons(&packet.reasons))
        }
        Packet::UnsubAck(packet) => {
            format!(
                "UNSUBACK #{} {}",
                packet.packet_id,
                reasons(&packet.reasons)
            )
        }
        Packet::Disconnect(packet) => format!("DISCONNECT {:#04x}", packet.reason.0),
        Packet::PingResp => "PINGRESP".to_owned(),
        other => format!("{other:?}"),
    }
}

fn properties(properties: Properties<'_>) -> String {
    properties
        .iter()
        .map(|(id, value)| match value {
            PropertyValue::Byte(value) => format!(" {id}={value}"),
            PropertyValue::U16(value) => format!(" {id}={value}"),
            PropertyValue::U32(value) | PropertyValue::Varint(value) => format!(" {id}={value}"),
            PropertyValue::Text(value) => format!(" {id}={value}"),
            PropertyValue::Binary(value) => format!(" {id}={}", value.escape_ascii()),
            PropertyValue::Pair(name, value) => format!(" {name}={value}"),
        })
        .collect()
}
