//! What can be wrong with bytes that claim to be RESP, in words that a user of the library can act on.
//!
//! Knows nothing about how the bytes are scanned.

use std::fmt;

/// The start of the offending bytes, for messages: at most [`Excerpt::MAX`] bytes, shown escaped.
///
/// How many there are depends on what had arrived, so compare errors by everything else.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(Box<[u8]>);

impl Excerpt {
    /// Enough for an HTTP status line or the first words of an error.
    pub const MAX: usize = 32;

    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(bytes.iter().take(Self::MAX).copied().collect())
    }

    /// The bytes as they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What a server that is not Redis would have sent; people do mix up ports.
    fn guess(&self) -> &'static str {
        match &*self.0 {
            [b'H', b'T', b'T', b'P', ..] => " (is this an HTTP server?)",
            [0x15 | 0x16, 0x03, ..] => " (is this a TLS port?)",
            _ => "",
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The peer sent something that is not RESP, or more of it than the limits allow.
///
/// The connection is lost then: where the next frame starts is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// No RESP type starts with this byte.
    UnknownType {
        /// The byte.
        found: u8,
        /// The bytes from there on.
        near: Excerpt,
    },
    /// A length or a count is not a number (nor the `-1` of a RESP2 null, where that is allowed).
    BadLength {
        /// The type whose length it is: the byte that starts the frame.
        kind: u8,
        /// The frame from its first byte on.
        near: Excerpt,
    },
    /// A string, or an aggregate's header, does not end with CR LF where it must.
    MissingCrlf {
        /// The type whose end is missing.
        kind: u8,
        /// What is there instead.
        near: Excerpt,
    },
    /// A value that its type does not allow, such as `#x` or `:1.5`.
    BadValue {
        /// The type whose value it is.
        kind: u8,
        /// What is wrong with it.
        reason: String,
        /// The frame from its first byte on.
        near: Excerpt,
    },
    /// The frame would be longer than [`Limits::max_frame`](super::Limits::max_frame).
    FrameTooLong {
        /// What it announced: the length of the whole frame as far as it is known.
        announced: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A line (a simple string, an error, a number) does not end within the limit.
    LineTooLong {
        /// The type that the line starts with.
        kind: u8,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The frame announces more elements than the limits allow in memory.
    TooManyElements {
        /// How many the frame announced so far, those of nested aggregates included.
        announced: u64,
        /// The limit.
        limit: usize,
    },
    /// Aggregates are nested deeper than [`Limits::max_depth`](super::Limits::max_depth).
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// A streamed string or aggregate (`$?`, `*?`), which no Redis server sends.
    Streamed {
        /// The type that is streamed.
        kind: u8,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType { found, near } => write!(
                f,
                "expected a RESP frame, found '{}' in {near}{}",
                found.escape_ascii(),
                near.guess()
            ),
            Self::BadLength { kind, near } => {
                write!(
                    f,
                    "expected a length after '{}', found {near}",
                    kind.escape_ascii()
                )
            }
            Self::MissingCrlf { kind, near } => {
                write!(
                    f,
                    "expected CR LF at the end of a '{}', found {near}",
                    kind.escape_ascii()
                )
            }
            Self::BadValue { kind, reason, near } => {
                write!(
                    f,
                    "bad value of a '{}': {reason}, found {near}",
                    kind.escape_ascii()
                )
            }
            Self::FrameTooLong { announced, limit } => {
                write!(
                    f,
                    "a frame of {announced} bytes or more was announced, the limit is {limit}"
                )
            }
            Self::LineTooLong { kind, limit } => {
                write!(
                    f,
                    "a '{}' line does not end within {limit} bytes",
                    kind.escape_ascii()
                )
            }
            Self::TooManyElements { announced, limit } => {
                write!(
                    f,
                    "a frame of {announced} elements was announced, the limit is {limit}"
                )
            }
            Self::TooDeep { limit } => write!(f, "aggregates are nested deeper than {limit}"),
            Self::Streamed { kind } => write!(
                f,
                "streamed frames ('{}?') are not supported",
                kind.escape_ascii()
            ),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A reply that cannot be put on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A simple string, simple error or big number holds CR or LF, which would end it early.
    LineBreak {
        /// The text that holds it.
        near: Excerpt,
    },
    /// Not a reply: `Hello` and chunks of streamed strings.
    NotAReply,
    /// redis-protocol refused it.
    Refused(String),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineBreak { near } => write!(f, "a line of a reply cannot hold CR or LF: {near}"),
            Self::NotAReply => write!(
                f,
                "neither HELLO nor a chunk of a streamed string is a reply"
            ),
            Self::Refused(reason) => write!(f, "the reply cannot be encoded: {reason}"),
        }
    }
}

impl std::error::Error for EncodeError {}
