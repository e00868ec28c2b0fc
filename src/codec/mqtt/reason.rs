//! Reason codes (section 2.4): their names, which packet may carry which, and what 3.1.1 has in their place.
//!
//! Knows nothing about when one is due.

use super::Place;
use std::fmt;

/// A reason code of version 5; return codes of 3.1.1 are mapped to these. Displays as the specification names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Reason(pub u8);

/// Writes the constants, and the one table of names and packets.
macro_rules! reasons {
    ($($name:ident = $code:literal, $text:literal, [$($place:ident),+];)+) => {
        #[allow(missing_docs)] // the names are the specification's
        impl Reason {
            $(#[doc = $text] pub const $name: Self = Self($code);)+

            const fn row(self) -> Option<(&'static str, u16)> {
                Some(match self.0 {
                    $($code => ($text, 0 $(| Place::$place.bit())+),)+
                    _ => return None,
                })
            }

            /// All of them, by code.
            #[cfg(test)]
            pub(super) const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

reasons! {
    SUCCESS = 0x00, "success",
        [ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Auth, Disconnect];
    GRANTED_QOS_1 = 0x01, "granted QoS 1", [SubAck];
    GRANTED_QOS_2 = 0x02, "granted QoS 2", [SubAck];
    DISCONNECT_WITH_WILL = 0x04, "disconnect with will message", [Disconnect];
    NO_MATCHING_SUBSCRIBERS = 0x10, "no matching subscribers", [PubAck, PubRec];
    NO_SUBSCRIPTION_EXISTED = 0x11, "no subscription existed", [UnsubAck];
    CONTINUE_AUTHENTICATION = 0x18, "continue authentication", [Auth];
    RE_AUTHENTICATE = 0x19, "re-authenticate", [Auth];
    UNSPECIFIED_ERROR = 0x80, "unspecified error",
        [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    MALFORMED_PACKET = 0x81, "malformed packet", [ConnAck, Disconnect];
    PROTOCOL_ERROR = 0x82, "protocol error", [ConnAck, Disconnect];
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83, "implementation specific error",
        [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "unsupported protocol version", [ConnAck];
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "client identifier not valid", [ConnAck];
    BAD_USER_NAME_OR_PASSWORD = 0x86, "bad user name or password", [ConnAck];
    NOT_AUTHORIZED = 0x87, "not authorized",
        [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    SERVER_UNAVAILABLE = 0x88, "server unavailable", [ConnAck];
    SERVER_BUSY = 0x89, "server busy", [ConnAck, Disconnect];
    BANNED = 0x8a, "banned", [ConnAck];
    SERVER_SHUTTING_DOWN = 0x8b, "server shutting down", [Disconnect];
    BAD_AUTHENTICATION_METHOD = 0x8c, "bad authentication method", [ConnAck, Disconnect];
    KEEP_ALIVE_TIMEOUT = 0x8d, "keep alive timeout", [Disconnect];
    SESSION_TAKEN_OVER = 0x8e, "session taken over", [Disconnect];
    TOPIC_FILTER_INVALID = 0x8f, "topic filter invalid", [SubAck, UnsubAck, Disconnect];
    TOPIC_NAME_INVALID = 0x90, "topic name invalid", [ConnAck, PubAck, PubRec, Disconnect];
    PACKET_IDENTIFIER_IN_USE = 0x91, "packet identifier in use",
        [PubAck, PubRec, SubAck, UnsubAck];
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "packet identifier not found", [PubRel, PubComp];
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "receive maximum exceeded", [Disconnect];
    TOPIC_ALIAS_INVALID = 0x94, "topic alias invalid", [Disconnect];
    PACKET_TOO_LARGE = 0x95, "packet too large", [ConnAck, Disconnect];
    MESSAGE_RATE_TOO_HIGH = 0x96, "message rate too high", [Disconnect];
    QUOTA_EXCEEDED = 0x97, "quota exceeded", [ConnAck, PubAck, PubRec, SubAck, Disconnect];
    ADMINISTRATIVE_ACTION = 0x98, "administrative action", [Disconnect];
    PAYLOAD_FORMAT_INVALID = 0x99, "payload format invalid",
        [ConnAck, PubAck, PubRec, Disconnect];
    RETAIN_NOT_SUPPORTED = 0x9a, "retain not supported", [ConnAck, Disconnect];
    QOS_NOT_SUPPORTED = 0x9b, "QoS not supported", [ConnAck, Disconnect];
    USE_ANOTHER_SERVER = 0x9c, "use another server", [ConnAck, Disconnect];
    SERVER_MOVED = 0x9d, "server moved", [ConnAck, Disconnect];
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9e, "shared subscriptions not supported",
        [SubAck, Disconnect];
    CONNECTION_RATE_EXCEEDED = 0x9f, "connection rate exceeded", [ConnAck, Disconnect];
    MAXIMUM_CONNECT_TIME = 0xa0, "maximum connect time", [Disconnect];
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xa1, "subscription identifiers not supported",
        [SubAck, Disconnect];
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xa2, "wildcard subscriptions not supported",
        [SubAck, Disconnect];
}

impl Reason {
    /// [`Reason::SUCCESS`] in DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::SUCCESS;
    /// [`Reason::SUCCESS`] in SUBACK.
    pub const GRANTED_QOS_0: Self = Self::SUCCESS;

    /// The packet reports a failure.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// The specification's name in lower-case words; `"unknown reason"` where it has none, which Display tells by its
    /// number.
    pub const fn text(self) -> &'static str {
        match self.row() {
            Some((text, _)) => text,
            None => "unknown reason",
        }
    }

    /// Whether this packet may carry it, whoever sends it: servers do end connections with reasons that section 3.14.2
    /// gives to clients.
    pub const fn allowed_in(self, place: Place) -> bool {
        match self.row() {
            Some((_, places)) => places & place.bit() != 0,
            None => false,
        }
    }

    /// What the return code of a 3.1.1 CONNACK means (3.1.1, section 3.2.2.3); `None`: reserved.
    pub const fn from_return_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::SUCCESS,
            1 => Self::UNSUPPORTED_PROTOCOL_VERSION,
            2 => Self::CLIENT_IDENTIFIER_NOT_VALID,
            3 => Self::SERVER_UNAVAILABLE,
            4 => Self::BAD_USER_NAME_OR_PASSWORD,
            5 => Self::NOT_AUTHORIZED,
            _ => return None,
        })
    }

    /// The return code of a 3.1.1 CONNACK that comes nearest; `None`: there is none, close without a CONNACK
    /// (3.1.1, [MQTT-3.2.2-6]).
    pub const fn return_code(self) -> Option<u8> {
        Some(match self {
            Self::SUCCESS => 0,
            Self::UNSUPPORTED_PROTOCOL_VERSION => 1,
            Self::CLIENT_IDENTIFIER_NOT_VALID => 2,
            Self::SERVER_UNAVAILABLE
            | Self::SERVER_BUSY
            | Self::QUOTA_EXCEEDED
            | Self::USE_ANOTHER_SERVER
            | Self::SERVER_MOVED
            | Self::CONNECTION_RATE_EXCEEDED => 3,
            Self::BAD_USER_NAME_OR_PASSWORD => 4,
            Self::NOT_AUTHORIZED | Self::BANNED | Self::BAD_AUTHENTICATION_METHOD => 5,
            _ => return None,
        })
    }

    /// What a return code of a 3.1.1 SUBACK means (3.1.1, section 3.9.3); `None`: reserved.
    pub const fn from_suback_code(code: u8) -> Option<Self> {
        match code {
            0..=2 => Some(Self(code)),
            0x80 => Some(Self::UNSPECIFIED_ERROR),
            _ => None,
        }
    }

    /// The return code of a 3.1.1 SUBACK: every error is 0x80.
    pub const fn suback_code(self) -> u8 {
        if self.is_error() {
            0x80
        } else {
            self.0
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some((text, _)) => f.write_str(text),
            None => write!(f, "reason {:#04x}", self.0),
        }
    }
}
