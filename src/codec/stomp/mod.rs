//! STOMP 1.0, 1.1 and 1.2: bytes ⇄ frames, for clients and servers.
//!
//! This file holds what both directions share and the decoder's outside; `decode` reads, `headers` looks into what was
//! read, `encode` writes. None of them may know what a frame means to a session, which headers it needs, who sent it,
//! nor when.
//!
//! Sections are named as in the specification of STOMP 1.2, which has no numbers ("Value Encoding"), unless 1.0 or 1.1
//! is named.

mod command;
mod decode;
mod encode;
mod error;
mod headers;
#[cfg(test)]
mod tests;

pub use command::Command;
pub use encode::{encode, Body, FrameBuilder};
pub use error::{DecodeError, EncodeError};
pub use headers::{HeaderIter, Headers};

use decode::Head;
use std::fmt;

/// What a heart-beat is on the wire ("Heart-beating"): a line end between frames.
pub const HEART_BEAT: &[u8] = b"\n";

/// The version of a connection, as CONNECTED named it. Displays as in its `version` header: `1.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 1.0: nothing is escaped; any frame may have a body; there is no NACK.
    V10,
    /// 1.1: `\n`, `\c` and `\\`.
    V11,
    /// 1.2: `\r` too, because lines may end in CR LF.
    V12,
}

impl Version {
    /// All of them, the oldest first.
    pub const ALL: [Self; 3] = [Self::V10, Self::V11, Self::V12];

    /// As in the headers `version` and `accept-version`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V10 => "1.0",
            Self::V11 => "1.1",
            Self::V12 => "1.2",
        }
    }

    /// `None`: not a version that this codec speaks. Blanks are not trimmed.
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str().as_bytes() == text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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

/// What a peer may send ("Size Limits"). Refused as soon as it is announced or exceeded; an unfinished frame never has
/// more bytes than these allow together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many headers a frame may have, repeated ones included.
    pub max_headers: usize,
    /// The longest header in bytes as it is on the wire: name, colon and value, without the line end.
    pub max_header_line: usize,
    /// The longest body in bytes.
    pub max_body: usize,
}

impl Default for Limits {
    /// 512 headers of 32 KiB each; 64 MiB.
    fn default() -> Self {
        Self {
            max_headers: 512,
            max_header_line: 32 << 10,
            max_body: 64 << 20,
        }
    }
}

/// What a stream consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// A line end between frames: a heart-beat, or one of those that a peer may send behind a frame. Each is an event
    /// of its own.
    HeartBeat,
}

/// One frame, borrowed from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its first line.
    pub command: Command,
    /// All of its headers, `content-length` included.
    pub headers: Headers<'a>,
    /// Empty, other than in 1.0, where the command allows no body.
    pub body: &'a [u8],
}

/// Cuts a stream of bytes into frames. One per connection.
#[derive(Debug, Clone)]
pub struct Decoder {
    role: Role,
    version: Version,
    limits: Limits,
    /// The input must be this long before looking at it again makes sense; 0 between frames.
    need: usize,
    /// What was looked for (the end of a line, of a body) is not before here.
    scanned: usize,
    /// The frame that was begun, once its command is known.
    head: Option<Head>,
    /// How many bytes were looked at.
    #[cfg(test)]
    work: usize,
}

impl Decoder {
    /// A decoder for version 1.0, which is right until the two sides have agreed on another one: CONNECT, STOMP and
    /// CONNECTED are read alike in all versions.
    pub fn new(role: Role, limits: Limits) -> Self {
        Self {
            role,
            version: Version::V10,
            limits,
            need: 0,
            scanned: 0,
            head: None,
            #[cfg(test)]
            work: 0,
        }
    }

    /// The version of what comes next: of the frames behind the CONNECTED that names it. Between frames only.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// The version that frames are decoded by.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Forgets a frame of which only the front was seen. For a new connection; the version stays as it was set.
    #[inline]
    pub fn reset(&mut self) {
        self.need = 0;
        self.scanned = 0;
        self.head = None;
    }

    /// Decodes the frame or heart-beat at the front of `input`, and tells how many bytes it took; advance by that many.
    ///
    /// `None`: it is incomplete. Call again with the same bytes and more behind them; what was looked at is not looked
    /// at again.
    ///
    /// Lines may end in CR LF in 1.2, and in each frame of 1.0 and 1.1 whose command does; in their other frames, a
    /// carriage return belongs to the header. Values may hold colons that ought to have been escaped: the first one
    /// ends the name.
    ///
    /// # Errors
    /// The peer broke the protocol or a limit: give the connection up; a server says why in an ERROR first. The
    /// decoder itself is as new.
    #[inline]
    pub fn decode<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Option<(Event<'a>, usize)>, DecodeError> {
        if input.len() < self.need {
            return Ok(None);
        }
        let decoded = self.advance(input);
        if !matches!(decoded, Ok(None)) {
            self.reset();
        }
        decoded
    }
}
