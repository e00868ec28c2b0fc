//! MQTT 3.1.1 and 5.0: bytes ⇄ packets, for clients and servers.
//!
//! This file cuts a stream into packets: the fixed header, whether role and version allow the type, and the limit on
//! the length. `decode`, `encode` and `encode_connect` know what is inside. None of them may know what a packet means
//! to a session, who sent it, nor when.
//!
//! "section 3.3.1" and "[MQTT-3.3.1-2]" refer to MQTT 5.0 unless 3.1.1 is named.

mod decode;
mod encode;
mod encode_connect;
mod error;
mod packet;
mod property;
mod reason;
#[cfg(test)]
mod tests;
pub mod topic;
mod wire;

pub use error::{DecodeError, EncodeError, PropertyError, TopicError};
pub use packet::{
    Ack, AckKind, Auth, ConnAck, Connect, Disconnect, Filter, Packet, Place, Publish, SubAck,
    Subscribe, UnsubAck, Unsubscribe, Will,
};
pub use property::{Properties, PropertyId, PropertyIter, PropertyList, PropertyValue};
pub use reason::Reason;

/// The largest value of a variable byte integer (section 1.5.5), and so of a packet's remaining length.
pub const MAX_REMAINING: usize = 268_435_455;

/// The version of a connection, as its CONNECT named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// 3.1.1.
    V311,
    /// 5.0.
    V5,
}

impl Version {
    /// The protocol level in CONNECT (section 3.1.2.2).
    pub const fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

/// Who decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads what a server sends.
    Client,
    /// Reads what a client sends.
    Server,
}

/// Quality of service (section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Qos {
    /// Fire and forget.
    #[default]
    AtMostOnce = 0,
    /// Acknowledged by PUBACK.
    AtLeastOnce = 1,
    /// Acknowledged by PUBREC, PUBREL and PUBCOMP.
    ExactlyOnce = 2,
}

impl Qos {
    /// `None`: there is no such level.
    #[inline]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// Cuts a stream of bytes into packets. One per connection.
#[derive(Debug, Clone)]
pub struct Decoder {
    role: Role,
    version: Version,
    max_packet: usize,
    /// The input must be this long before looking at it again makes sense; 0 at the start of a packet.
    need: usize,
    /// How often it looked at the input: each time costs a header at most, and once a packet its body.
    #[cfg(test)]
    looks: usize,
}

impl Decoder {
    /// A decoder for version 5. `max_packet`: the longest packet in bytes, its fixed header included, as the property
    /// `maximum_packet_size` counts (section 3.1.2.11.4); a longer one is refused when its length is announced.
    pub fn new(role: Role, max_packet: usize) -> Self {
        Self {
            role,
            version: Version::V5,
            max_packet,
            need: 0,
            #[cfg(test)]
            looks: 0,
        }
    }

    /// The version of what comes next. A client's decoder has to be told; a server's adopts what CONNECT names.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// The version that packets are decoded by. After a server has refused a CONNECT of another protocol level, the
    /// one to answer in: 3.1.1 below level 5.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Forgets a packet of which only the front was seen. For a new connection; the version stays as it was set.
    pub fn reset(&mut self) {
        self.need = 0;
    }

    /// Decodes the packet at the front of `input`, and tells how many bytes it took; advance by that many.
    ///
    /// `None`: the packet is incomplete. Call again with the same bytes and more behind them; until there are enough,
    /// that costs a comparison.
    ///
    /// # Errors
    /// The peer broke the protocol: give the connection up, with the reason in a DISCONNECT where version and role
    /// allow one (section 4.13). The decoder itself is as new.
    #[inline]
    pub fn decode<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Option<(Packet<'a>, usize)>, DecodeError> {
        if input.len() < self.need {
            return Ok(None);
        }
        self.need = 0;
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let Some((&first, rest)) = input.split_first() else {
            return Ok(None);
        };
        self.check_first(first)?;
        let Some(length) = wire::varint(rest)? else {
            self.need = input.len() + 1;
            return Ok(None);
        };
        let is_connect = first == (Place::Connect as u8) << 4;
        if !length.minimal && self.version == Version::V5 && !is_connect {
            return Err(wire::not_minimal());
        }
        let remaining = length.value as usize;
        let start = 1 + length.size;
        let end = start + remaining;
        if end > self.max_packet {
            return Err(self.too_large(first, end));
        }
        let Some(body) = input.get(start..end) else {
            self.need = end;
            return Ok(None);
        };
        let packet = if first >> 4 == Place::Publish as u8 {
            Packet::Publish(decode::publish(first, body, self.role, self.version)?)
        } else if is_connect {
            let connect = decode::connect(body, &mut self.version)?;
            // Only version 5 asks for the shortest form, and which one it is was not known until here.
            if !length.minimal && self.version == Version::V5 {
                return Err(wire::not_minimal());
            }
            Packet::Connect(connect)
        } else {
            decode::other(first, body, self.role, self.version)?
        };
        Ok(Some((packet, end)))
    }

    /// Whether a packet may start with this byte: type, flags (section 2.1.3) and direction (section 2.1.2).
    #[inline]
    fn check_first(&self, first: u8) -> Result<(), DecodeError> {
        if first >> 4 == Place::Publish as u8 {
            // DUP, two bits of QoS, RETAIN.
            return match first & 0b1110 {
                0b0110 | 0b1110 => Err(DecodeError::malformed(
                    "PUBLISH has QoS 3, which does not exist",
                )),
                0b1000 => Err(DecodeError::malformed(
                    "PUBLISH of QoS 0 has its DUP flag set",
                )),
                _ => Ok(()),
            };
        }
        self.check_other(first)
    }

    fn check_other(&self, first: u8) -> Result<(), DecodeError> {
        let Some(place) = Place::from_type(first >> 4) else {
            return Err(DecodeError::malformed("packet type 0 is reserved"));
        };
        if place == Place::Auth && self.version == Version::V311 {
            return Err(DecodeError::malformed(
                "packet type 15 is reserved in MQTT 3.1.1",
            ));
        }
        let allowed = match self.role {
            Role::Client if place == Place::Disconnect => self.version == Version::V5,
            Role::Client => !matches!(
                place,
                Place::Connect | Place::Subscribe | Place::Unsubscribe | Place::PingReq
            ),
            Role::Server => !matches!(
                place,
                Place::ConnAck | Place::SubAck | Place::UnsubAck | Place::PingResp
            ),
        };
        if !allowed {
            let sender = match self.role {
                Role::Client => "server",
                Role::Server => "client",
            };
            return Err(DecodeError::protocol(format!(
                "{place} cannot come from a {sender}"
            )));
        }
        if first & 0x0f != place.flags() {
            return Err(DecodeError::malformed(format!(
                "{place} has flags {:#03x} in its first byte instead of {:#03x}",
                first & 0x0f,
                place.flags()
            )));
        }
        Ok(())
    }

    #[cold]
    fn too_large(&self, first: u8, length: usize) -> DecodeError {
        let place = Place::from_type(first >> 4).unwrap_or(Place::Publish);
        let limit = self.max_packet;
        DecodeError::new(
            Reason::PACKET_TOO_LARGE,
            format!("{place} of {length} bytes was announced, the limit is {limit}"),
        )
    }
}
