//! A server's end of MQTT as far as a client's session can tell it from one: sessions that outlive
//! connections, the flows of QoS 1 and 2 in both directions, and every answer that a test sets.
//! It routes nothing: what it sends, a test tells it to.

use crate::codec::mqtt::{
    Ack, AckKind, Auth, ConnAck, Connect, Decoder, Packet, Place, Properties, PropertyId,
    PropertyList, PropertyValue, Publish, Qos, Reason, Role, SubAck, Subscribe, UnsubAck, Version,
};
use crate::testing::Peer;
use bytes::{Buf, BytesMut};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

/// A message on its way to the client.
#[derive(Debug)]
struct Outgoing {
    id: u16,
    qos: Qos,
    topic: String,
    payload: String,
    /// PUBREC has come.
    released: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Server {
    decoder: Decoder,
    pub(super) version: Version,
    /// Every packet that came, in short.
    pub(super) log: Vec<String>,
    /// Payloads of the messages accepted, each once where the QoS says so.
    pub(super) got: Vec<String>,
    /// Answers CONNECT with this.
    pub(super) connack: (Reason, PropertyList),
    /// Answers CONNECT of version 5 as a server of 3.1.1 does.
    pub(super) knows_v5: bool,
    /// Asks this before it answers CONNECT.
    pub(super) challenge: Option<&'static str>,
    /// Packets of this kind get no answer.
    pub(super) silent: Vec<Place>,
    pub(super) suback: Reason,
    /// Of PUBACK and PUBREC.
    pub(super) puback: Reason,
    /// Messages sent once more to the client, when it resumes its session.
    outgoing: Vec<Outgoing>,
    next_id: u16,
    /// QoS 2 messages that await their PUBREL.
    held: BTreeSet<u16>,
    /// Identifiers of packets that have not had their last answer.
    open: BTreeSet<u16>,
    /// The most publishes that were open at a time.
    pub(super) most_open: usize,
    /// There is a session; it stays when the connection goes.
    session: bool,
    keeps: bool,
    aliases: HashMap<u16, String>,
}

impl Server {
    pub(super) fn new() -> Self {
        Server {
            decoder: Decoder::new(Role::Server, usize::MAX),
            version: Version::V5,
            log: Vec::new(),
            got: Vec::new(),
            connack: (Reason::SUCCESS, PropertyList::new()),
            knows_v5: true,
            challenge: None,
            silent: Vec::new(),
            suback: Reason::GRANTED_QOS_2,
            puback: Reason::SUCCESS,
            outgoing: Vec::new(),
            next_id: 1,
            held: BTreeSet::new(),
            open: BTreeSet::new(),
            most_open: 0,
            session: false,
            keeps: false,
            aliases: HashMap::new(),
        }
    }

    /// Says this in CONNACK from now on.
    pub(super) fn grant(&mut self, id: PropertyId, value: PropertyValue<'_>) {
        self.connack.1.push(id, value).expect("a valid property");
    }

    /// The connection is gone.
    pub(super) fn reset(&mut self) {
        self.decoder = Decoder::new(Role::Server, usize::MAX);
        self.aliases.clear();
        self.session &= self.keeps;
    }

    /// As a restart without persistence.
    pub(super) fn forget_session(&mut self) {
        self.session = false;
    }

    /// Messages that the client has not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.outgoing.len()
    }

    /// A new message to the client.
    pub(super) fn publish(&mut self, qos: Qos, topic: &str, payload: &str, out: &mut BytesMut) {
        let id = match qos {
            Qos::AtMostOnce => 0,
            _ => self.fresh_id(),
        };
        let message = Outgoing {
            id,
            qos,
            topic: topic.into(),
            payload: payload.into(),
            released: false,
        };
        self.send(&message, false, out);
        if id != 0 {
            self.outgoing.push(message);
        }
    }

    fn fresh_id(&mut self) -> u16 {
        while self.next_id == 0 || self.outgoing.iter().any(|each| each.id == self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    fn send(&self, message: &Outgoing, dup: bool, out: &mut BytesMut) {
        if message.released {
            return self.ack(AckKind::PubRel, message.id, Reason::SUCCESS, out);
        }
        let packet = Publish {
            dup,
            qos: message.qos,
            retain: false,
            topic: &message.topic,
            packet_id: message.id,
            properties: Properties::default(),
            payload: message.payload.as_bytes(),
        };
        self.say(&Packet::Publish(packet), out);
    }

    pub(super) fn say(&self, packet: &Packet<'_>, out: &mut BytesMut) {
        packet
            .encode(self.version, out)
            .expect("a packet that this version has");
    }

    fn ack(&self, kind: AckKind, packet_id: u16, reason: Reason, out: &mut BytesMut) {
        let properties = Properties::default();
        let ack = Ack {
            kind,
            packet_id,
            reason,
            properties,
        };
        self.say(&Packet::Ack(ack), out);
    }

    fn take(&mut self, packet: &Packet<'_>, out: &mut BytesMut) {
        let place = place_of(packet);
        let answers = !self.silent.contains(&place);
        match packet {
            Packet::Connect(connect) => self.take_connect(connect, answers, out),
            Packet::Auth(_) => {
                self.challenge = None;
                if answers {
                    self.accept(false, out);
                }
            }
            Packet::Publish(publish) => self.take_publish(publish, answers, out),
            Packet::Ack(ack) => self.take_ack(ack, answers, out),
            Packet::Subscribe(Subscribe {
                packet_id, filters, ..
            }) => {
                self.opens(*packet_id, false);
                let reasons = vec![self.suback; filters.len()];
                if answers {
                    self.open.remove(packet_id);
                    let (packet_id, properties) = (*packet_id, Properties::default());
                    let suback = SubAck {
                        packet_id,
                        properties,
                        reasons,
                    };
                    self.say(&Packet::SubAck(suback), out);
                }
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.opens(unsubscribe.packet_id, false);
                if answers {
                    self.open.remove(&unsubscribe.packet_id);
                    let unsuback = UnsubAck {
                        packet_id: unsubscribe.packet_id,
                        properties: Properties::default(),
                        reasons: match self.version {
                            Version::V5 => vec![Reason::SUCCESS; unsubscribe.filters.len()],
                            Version::V311 => Vec::new(),
                        },
                    };
                    self.say(&Packet::UnsubAck(unsuback), out);
                }
            }
            Packet::PingReq if answers => self.say(&Packet::PingResp, out),
            Packet::PingReq => {}
            Packet::Disconnect(goodbye) => {
                let expiry = goodbye.properties.u32(PropertyId::SessionExpiryInterval);
                self.keeps &= expiry != Some(0);
            }
            other => panic!("a client does not send {other:?}"),
        }
    }

    fn take_connect(&mut self, connect: &Connect<'_>, answers: bool, out: &mut BytesMut) {
        self.version = connect.version;
        if connect.version == Version::V5 && !self.knows_v5 {
            // CONNACK with the return code 1 of 3.1.1.
            out.extend_from_slice(&[0x20, 2, 0, 1]);
            return;
        }
        let expiry = connect.properties.u32(PropertyId::SessionExpiryInterval);
        let present = self.session && !connect.clean_start;
        self.keeps = match connect.version {
            Version::V5 => expiry.unwrap_or(0) > 0,
            Version::V311 => !connect.clean_start,
        };
        if !present {
            self.outgoing.clear();
            self.held.clear();
        }
        self.open.clear();
        match self.challenge {
            Some(question) if answers => {
                let mut list = PropertyList::new();
                let data = PropertyValue::Binary(question.as_bytes());
                list.push(PropertyId::AuthenticationData, data)
                    .expect("a valid property");
                let auth = Auth {
                    reason: Reason::CONTINUE_AUTHENTICATION,
                    properties: list.as_properties(),
                };
                self.say(&Packet::Auth(auth), out);
            }
            _ if answers => self.accept(present, out),
            _ => {}
        }
    }

    fn accept(&mut self, present: bool, out: &mut BytesMut) {
        let (reason, properties) = &self.connack;
        let succeeds = *reason == Reason::SUCCESS;
        let connack = ConnAck {
            session_present: present && succeeds,
            reason: *reason,
            properties: properties.as_properties(),
        };
        self.say(&Packet::ConnAck(connack), out);
        if succeeds {
            self.session = true;
            for message in &self.outgoing {
                self.send(message, true, out);
            }
        }
    }

    fn take_publish(&mut self, publish: &Publish<'_>, answers: bool, out: &mut BytesMut) {
        if let Some(alias) = publish.properties.u16(PropertyId::TopicAlias) {
            match publish.topic {
                "" => assert!(
                    self.aliases.contains_key(&alias),
                    "alias {alias} is unknown"
                ),
                topic => drop(self.aliases.insert(alias, topic.into())),
            }
        }
        let id = publish.packet_id;
        let new = publish.qos != Qos::ExactlyOnce || self.held.insert(id);
        if publish.qos != Qos::AtMostOnce {
            self.opens(id, publish.dup);
        }
        self.most_open = self.most_open.max(self.open.len());
        if new {
            self.got
                .push(String::from_utf8_lossy(publish.payload).into_owned());
        }
        if !answers {
            return;
        }
        let refused = self.puback.is_error();
        match publish.qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => {
                self.open.remove(&id);
                self.ack(AckKind::PubAck, id, self.puback, out);
            }
            Qos::ExactlyOnce => {
                if refused {
                    self.open.remove(&id);
                    self.held.remove(&id);
                }
                self.ack(AckKind::PubRec, id, self.puback, out);
            }
        }
    }

    fn take_ack(&mut self, ack: &Ack<'_>, answers: bool, out: &mut BytesMut) {
        let id = ack.packet_id;
        match ack.kind {
            AckKind::PubAck | AckKind::PubComp => self.outgoing.retain(|each| each.id != id),
            AckKind::PubRec if ack.reason.is_error() => self.outgoing.retain(|each| each.id != id),
            AckKind::PubRec => {
                for message in self.outgoing.iter_mut().filter(|each| each.id == id) {
                    message.released = true;
                }
                if answers {
                    self.ack(AckKind::PubRel, id, Reason::SUCCESS, out);
                }
            }
            AckKind::PubRel => {
                self.held.remove(&id);
                if answers {
                    self.open.remove(&id);
                    self.ack(AckKind::PubComp, id, Reason::SUCCESS, out);
                }
            }
        }
    }

    /// A packet with this identifier awaits an answer: no other one may have it.
    fn opens(&mut self, id: u16, dup: bool) {
        assert!(self.open.insert(id) || dup, "identifier {id} is in use");
    }
}

impl Peer for Server {
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) {
        let bytes = input.split();
        let mut rest = &bytes[..];
        while let Some((packet, used)) = self.decoder.decode(rest).expect("a packet") {
            self.log.push(shown(&packet));
            self.take(&packet, out);
            rest.advance(used);
        }
        input.extend_from_slice(rest);
    }
}

fn place_of(packet: &Packet<'_>) -> Place {
    match packet {
        Packet::Connect(_) => Place::Connect,
        Packet::Publish(_) => Place::Publish,
        Packet::Ack(ack) => ack.kind.place(),
        Packet::Subscribe(_) => Place::Subscribe,
        Packet::Unsubscribe(_) => Place::Unsubscribe,
        Packet::PingReq => Place::PingReq,
        Packet::Auth(_) => Place::Auth,
        _ => Place::Disconnect,
    }
}

/// A packet in a line: its name, its identifier, what is out of the ordinary, then its text.
fn shown(packet: &Packet<'_>) -> String {
    let mut text = place_of(packet).name().to_owned();
    let written = match packet {
        Packet::Connect(connect) => {
            let version = connect.version.level();
            let clean = if connect.clean_start { " clean" } else { "" };
            let id = connect.client_id;
            let _ = write!(text, " {version}{clean} id={id} {}s", connect.keep_alive);
            for (id, name) in [
                (PropertyId::SessionExpiryInterval, "expiry"),
                (PropertyId::AuthenticationMethod, "method"),
            ] {
                match connect.properties.value(id) {
                    Some(PropertyValue::U32(number)) => drop(write!(text, " {name}={number}")),
                    Some(PropertyValue::Text(value)) => drop(write!(text, " {name}={value}")),
                    _ => {}
                }
            }
            if let Some(will) = &connect.will {
                let retain = if will.retain { " retain" } else { "" };
                let delay = will.properties.u32(PropertyId::WillDelayInterval);
                let payload = String::from_utf8_lossy(will.payload);
                let (qos, topic) = (will.qos as u8, will.topic);
                let _ = write!(text, " will: q{qos}{retain} {delay:?} {topic} {payload}");
            }
            match (connect.username, connect.password) {
                (None, None) => Ok(()),
                (user, password) => {
                    let password = String::from_utf8_lossy(password.unwrap_or_default());
                    write!(text, " login: {}:{password}", user.unwrap_or("none"))
                }
            }
        }
        Packet::Publish(publish) => {
            let dup = if publish.dup { " dup" } else { "" };
            let retain = if publish.retain { " retain" } else { "" };
            let alias = match publish.properties.u16(PropertyId::TopicAlias) {
                Some(alias) => format!("~{alias}"),
                None => String::new(),
            };
            let (qos, id) = (publish.qos as u8, publish.packet_id);
            let payload = String::from_utf8_lossy(publish.payload);
            let topic = publish.topic;
            write!(text, " {id} q{qos}{dup}{retain} {topic}{alias} {payload}")
        }
        Packet::Ack(ack) => with_reason(write!(text, " {}", ack.packet_id), &mut text, ack.reason),
        Packet::Subscribe(subscribe) => {
            let identified = subscribe.properties.u32(PropertyId::SubscriptionIdentifier);
            let identified = if identified.is_some() { " #" } else { "" };
            let filter = subscribe.filters.first().expect("a filter");
            let local = if filter.no_local { " nl" } else { "" };
            let kept = if filter.retain_as_published {
                " rap"
            } else {
                ""
            };
            let (qos, handling) = (filter.qos as u8, filter.retain_handling);
            write!(
                text,
                " {} q{qos} rh{handling}{local}{kept}{identified} {}",
                subscribe.packet_id, filter.filter
            )
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filter = unsubscribe.filters.first().expect("a filter");
            write!(text, " {} {filter}", unsubscribe.packet_id)
        }
        Packet::Auth(auth) => {
            let data = auth.properties.binary(PropertyId::AuthenticationData);
            write!(
                text,
                " {}",
                String::from_utf8_lossy(data.unwrap_or_default())
            )
        }
        Packet::Disconnect(goodbye) => {
            let expiry = goodbye.properties.u32(PropertyId::SessionExpiryInterval);
            let expiry = expiry.map_or(String::new(), |expiry| format!(" expiry={expiry}"));
            with_reason(write!(text, "{expiry}"), &mut text, goodbye.reason)
        }
        _ => Ok(()),
    };
    written.expect("a string takes everything");
    text
}

fn with_reason(written: std::fmt::Result, text: &mut String, reason: Reason) -> std::fmt::Result {
    written?;
    match reason {
        Reason::SUCCESS => Ok(()),
        Reason(code) => write!(text, " 0x{code:02x}"),
    }
}
