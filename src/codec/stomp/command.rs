//! The commands, and what the specification allows each of them.
//!
//! Knows nothing about headers or how bytes are read.

use super::{Role, Version};
use std::fmt;

/// The first line of a frame. Displays as on the wire: `MESSAGE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it
pub enum Command {
    Connect,
    /// CONNECT by another name ("CONNECT or STOMP Frame").
    Stomp,
    Send,
    Subscribe,
    Unsubscribe,
    Begin,
    Commit,
    Abort,
    Ack,
    /// Not in 1.0.
    Nack,
    Disconnect,
    Connected,
    Message,
    Receipt,
    Error,
}

impl Command {
    /// The longest one's length in bytes.
    pub(super) const MAX_LENGTH: usize = "UNSUBSCRIBE".len();

    /// As on the wire.
    #[inline]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Stomp => "STOMP",
            Self::Send => "SEND",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::Disconnect => "DISCONNECT",
            Self::Connected => "CONNECTED",
            Self::Message => "MESSAGE",
            Self::Receipt => "RECEIPT",
            Self::Error => "ERROR",
        }
    }

    /// `None`: there is no such command. Case matters ("STOMP Frames").
    #[inline]
    pub const fn from_bytes(line: &[u8]) -> Option<Self> {
        Some(match line {
            b"CONNECT" => Self::Connect,
            b"STOMP" => Self::Stomp,
            b"SEND" => Self::Send,
            b"SUBSCRIBE" => Self::Subscribe,
            b"UNSUBSCRIBE" => Self::Unsubscribe,
            b"BEGIN" => Self::Begin,
            b"COMMIT" => Self::Commit,
            b"ABORT" => Self::Abort,
            b"ACK" => Self::Ack,
            b"NACK" => Self::Nack,
            b"DISCONNECT" => Self::Disconnect,
            b"CONNECTED" => Self::Connected,
            b"MESSAGE" => Self::Message,
            b"RECEIPT" => Self::Receipt,
            b"ERROR" => Self::Error,
            _ => return None,
        })
    }

    /// Who decodes it: its sender is the other side ("Augmented BNF": client-command, server-command).
    #[inline]
    pub const fn reader(self) -> Role {
        match self {
            Self::Connected | Self::Message | Self::Receipt | Self::Error => Role::Client,
            _ => Role::Server,
        }
    }

    /// Whether a body has a meaning: SEND, MESSAGE and ERROR ("Body"). In 1.0 the others may have one, too, and
    /// it is ignored.
    #[inline]
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Send | Self::Message | Self::Error)
    }

    /// All versions know it but 1.0, for NACK. STOMP comes before a version is agreed on.
    #[inline]
    pub const fn exists_in(self, version: Version) -> bool {
        !matches!((self, version), (Self::Nack, Version::V10))
    }

    /// Whether its headers are escaped in `version` ("Value Encoding"). STOMP is to be handled as CONNECT is, and no
    /// version is agreed on when it is sent, so that it has no escapes either.
    #[inline]
    pub const fn escapes_in(self, version: Version) -> bool {
        !self.connects() && !matches!(version, Version::V10)
    }

    /// The frames that agree on a version, and are the same in all of them.
    #[inline]
    pub(super) const fn connects(self) -> bool {
        matches!(self, Self::Connect | Self::Stomp | Self::Connected)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
