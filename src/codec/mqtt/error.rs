//! What can be wrong with packets, properties and topics, in words that a user of the library can act on.
//!
//! Knows nothing about how bytes are read or written.

use super::{Place, PropertyId, Reason, MAX_REMAINING};
use std::borrow::Cow;
use std::fmt;

/// The peer sent something that is not MQTT, or that MQTT forbids. The connection is lost then (section 4.13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// What a DISCONNECT (for a refused CONNECT: a CONNACK) would carry.
    pub reason: Reason,
    /// What was wrong, naming the packet and the value at fault.
    pub text: Cow<'static, str>,
}

impl DecodeError {
    #[cold]
    pub(super) fn new(reason: Reason, text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        Self { reason, text }
    }

    /// Cannot be parsed, or breaks a rule that the specification says makes it malformed.
    #[cold]
    pub(super) fn malformed(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::MALFORMED_PACKET, text)
    }

    /// Can be parsed, but says what is not allowed.
    #[cold]
    pub(super) fn protocol(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::PROTOCOL_ERROR, text)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for DecodeError {}

/// A packet that cannot be put on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string or binary field is longer than 65535 bytes.
    FieldTooLong {
        /// Which packet.
        place: Place,
        /// Which field.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// The packet's remaining length would be above [`MAX_REMAINING`].
    PacketTooLong {
        /// Which packet.
        place: Place,
        /// Its remaining length in bytes.
        length: usize,
    },
    /// The packet may not have this property, or not more than once.
    Property {
        /// Which packet.
        place: Place,
        /// Which property.
        id: PropertyId,
        /// It may, but only once.
        repeated: bool,
    },
    /// The packet may not carry this reason; in 3.1.1, CONNACK has no return code for it, and the connection is to be
    /// closed without one (3.1.1, [MQTT-3.2.2-6]).
    Reason {
        /// Which packet.
        place: Place,
        /// Which reason.
        reason: Reason,
    },
    /// A peer would refuse the packet.
    Invalid {
        /// Which packet.
        place: Place,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FieldTooLong {
                place,
                field,
                length,
            } => write!(
                f,
                "the {field} of {place} has {length} bytes, at most 65535 are allowed"
            ),
            Self::PacketTooLong { place, length } => write!(
                f,
                "{place} of {length} bytes cannot be sent, MQTT allows {MAX_REMAINING}"
            ),
            Self::Property {
                place,
                id,
                repeated: false,
            } => write!(f, "{place} cannot have the property {id}"),
            Self::Property { place, id, .. } => {
                write!(f, "{place} can have the property {id} only once")
            }
            Self::Reason { place, reason } => {
                write!(f, "{place} cannot carry the reason \"{reason}\"")
            }
            Self::Invalid { place, what } => write!(f, "{place}: {what}"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// A property that cannot be added to a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PropertyError {
    /// The value is not of the property's type.
    Type {
        /// Which property.
        id: PropertyId,
    },
    /// The property does not allow this value.
    Value {
        /// Which property.
        id: PropertyId,
        /// What it allows.
        expected: &'static str,
    },
    /// It is there already, and may not be repeated.
    Repeated {
        /// Which property.
        id: PropertyId,
    },
}

impl fmt::Display for PropertyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type { id } => write!(f, "the property {id} must be {}", id.type_name()),
            Self::Value { id, expected } => write!(f, "the property {id} must be {expected}"),
            Self::Repeated { id } => write!(f, "the property {id} may be given only once"),
        }
    }
}

impl std::error::Error for PropertyError {}

/// A topic name or topic filter that no server takes. Name it beside the message: the error does not hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// It has no characters [MQTT-4.7.3-1].
    Empty,
    /// It holds a NUL character [MQTT-4.7.3-2].
    Nul,
    /// Longer than 65535 bytes [MQTT-4.7.3-3].
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A topic name holds `+` or `#` [MQTT-3.3.2-2].
    Wildcard,
    /// `+` does not stand alone in its level [MQTT-4.7.1-2].
    MisplacedPlus,
    /// `#` does not stand alone in the last level [MQTT-4.7.1-1].
    MisplacedHash,
    /// `$share/` without a group, or with a wildcard in it [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    ShareGroup,
    /// `$share/group` without a filter behind it [MQTT-4.8.2-2].
    ShareFilter,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic needs at least one character",
            Self::Nul => "a topic cannot hold a NUL character",
            Self::TooLong { length } => {
                return write!(f, "a topic has {length} bytes, at most 65535 are allowed")
            }
            Self::Wildcard => "a topic to publish to cannot hold the wildcards + and #",
            Self::MisplacedPlus => "the wildcard + must be a level of its own, as in a/+/b",
            Self::MisplacedHash => {
                "the wildcard # must be the last level and alone in it, as in a/#"
            }
            Self::ShareGroup => {
                "a shared filter needs a group without wildcards, as in $share/group/filter"
            }
            Self::ShareFilter => {
                "a shared filter needs a filter behind its group, as in $share/group/filter"
            }
        })
    }
}

impl std::error::Error for TopicError {}
