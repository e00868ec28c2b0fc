//! The packets as values. What can be borrowed from the input is.
//!
//! Types only: `decode` and `encode` know the bytes.

use super::{Properties, Qos, Reason, Version};
use std::fmt;

/// Any packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A client asks for a session.
    Connect(Connect<'a>),
    /// The server's answer.
    ConnAck(ConnAck<'a>),
    /// A message, in either direction.
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack<'a>),
    /// A client subscribes.
    Subscribe(Subscribe<'a>),
    /// The server's answer.
    SubAck(SubAck<'a>),
    /// A client unsubscribes.
    Unsubscribe(Unsubscribe<'a>),
    /// The server's answer.
    UnsubAck(UnsubAck<'a>),
    /// A client is alive.
    PingReq,
    /// So is the server.
    PingResp,
    /// The last packet of a connection.
    Disconnect(Disconnect<'a>),
    /// Extended authentication (section 4.12); version 5 only.
    Auth(Auth<'a>),
}

/// Where a property or a reason may stand: a type of packet by its number (section 2.1.2), or the will in CONNECT.
/// Displays as the specification writes it: `PUBLISH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it
pub enum Place {
    /// The will inside CONNECT, whose properties are its own.
    Will = 0,
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl Place {
    /// As the specification writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Will => "the will",
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The packet with this number; `None` for 0 and what has more than four bits.
    pub(super) const fn from_type(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The lower half of the first byte (section 2.1.3); PUBLISH has flags of its own there.
    pub(super) const fn flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// The first byte of a packet other than PUBLISH.
    pub(super) const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.flags()
    }

    pub(super) const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// CONNECT (section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that it asks for.
    pub version: Version,
    /// Begin without what an earlier session has left; 3.1.1 calls it the clean session flag.
    pub clean_start: bool,
    /// Seconds of silence after which the server may give the client up; 0: never.
    pub keep_alive: u16,
    /// Empty: the server assigns one. (3.1.1 wants `clean_start` then; that is for the server to refuse, with 0x85.)
    pub client_id: &'a str,
    /// What the server publishes when the connection is lost.
    pub will: Option<Will<'a>>,
    /// Who it is.
    pub username: Option<&'a str>,
    /// In 3.1.1 only together with a user name.
    pub password: Option<&'a [u8]>,
    /// None in 3.1.1.
    pub properties: Properties<'a>,
}

/// The will in CONNECT (section 3.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// A topic name without wildcards.
    pub topic: &'a str,
    /// At most 65535 bytes.
    pub payload: &'a [u8],
    /// What to publish it with.
    pub qos: Qos,
    /// Whether to retain it.
    pub retain: bool,
    /// None in 3.1.1.
    pub properties: Properties<'a>,
}

/// CONNACK (section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// The server has resumed a session; never together with an error.
    pub session_present: bool,
    /// Return codes of 3.1.1 are mapped to and from reasons.
    pub reason: Reason,
    /// None in 3.1.1.
    pub properties: Properties<'a>,
}

/// PUBLISH (section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Sent before; never with QoS 0.
    pub dup: bool,
    /// Quality of service.
    pub qos: Qos,
    /// Retain it, or: it was retained.
    pub retain: bool,
    /// A topic name without wildcards; empty only with a topic alias.
    pub topic: &'a str,
    /// 0 with QoS 0, and never else.
    pub packet_id: u16,
    /// None in 3.1.1.
    pub properties: Properties<'a>,
    /// The message.
    pub payload: &'a [u8],
}

/// Which acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// Answers PUBLISH of QoS 1.
    PubAck,
    /// Answers PUBLISH of QoS 2.
    PubRec,
    /// Answers PUBREC.
    PubRel,
    /// Answers PUBREL.
    PubComp,
}

impl AckKind {
    /// The type of packet.
    pub const fn place(self) -> Place {
        match self {
            Self::PubAck => Place::PubAck,
            Self::PubRec => Place::PubRec,
            Self::PubRel => Place::PubRel,
            Self::PubComp => Place::PubComp,
        }
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP (sections 3.4 to 3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which of them.
    pub kind: AckKind,
    /// The packet identifier of the PUBLISH; never 0.
    pub packet_id: u16,
    /// Success in 3.1.1, where it is not written.
    pub reason: Reason,
    /// None in 3.1.1.
    pub properties: Properties<'a>,
}

/// SUBSCRIBE (section 3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// None in 3.1.1.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: Vec<Filter<'a>>,
}

/// A subscription in SUBSCRIBE (section 3.8.3). 3.1.1 has but filter and QoS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter<'a> {
    /// A topic filter; in version 5 perhaps a shared one, [`super::topic::shared_filter`].
    pub filter: &'a str,
    /// The highest QoS that messages are to come with.
    pub qos: Qos,
    /// Not what this client published itself; never with a shared filter.
    pub no_local: bool,
    /// Keep the RETAIN flag as it was published.
    pub retain_as_published: bool,
    /// Whether retained messages are sent: 0 now, 1 only if the subscription is new, 2 never.
    pub retain_handling: u8,
}

/// SUBACK (section 3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// As in SUBSCRIBE.
    pub packet_id: u16,
    /// None in 3.1.1.
    pub properties: Properties<'a>,
    /// One for each filter, in order: the granted QoS or an error. 3.1.1 has one error, 0x80.
    pub reasons: Vec<Reason>,
}

/// UNSUBSCRIBE (section 3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Never 0.
    pub packet_id: u16,
    /// None in 3.1.1.
    pub properties: Properties<'a>,
    /// At least one, as they were subscribed.
    pub filters: Vec<&'a str>,
}

/// UNSUBACK (section 3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// As in UNSUBSCRIBE.
    pub packet_id: u16,
    /// None in 3.1.1.
    pub properties: Properties<'a>,
    /// One for each filter, in order; empty in 3.1.1.
    pub reasons: Vec<Reason>,
}

/// DISCONNECT (section 3.14). In 3.1.1 only clients send it, and it has no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why.
    pub reason: Reason,
    /// None in 3.1.1.
    pub properties: Properties<'a>,
}

/// AUTH (section 3.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// [`Reason::SUCCESS`], [`Reason::CONTINUE_AUTHENTICATION`] or [`Reason::RE_AUTHENTICATE`].
    pub reason: Reason,
    /// Method and data.
    pub properties: Properties<'a>,
}
