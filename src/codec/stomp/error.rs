//! What can be wrong with frames, in words that a user of the library can act on.
//!
//! Knows nothing about how bytes are read or written.

use super::{Command, Role, Version};
use std::fmt;

/// The peer sent something that is not STOMP, that STOMP forbids, or more of it than the limits allow.
///
/// The connection is lost then: where the next frame starts is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A frame cannot start with this octet.
    NotStomp {
        /// The octet.
        found: u8,
    },
    /// The first line is no command; case matters.
    UnknownCommand {
        /// Its front, escaped.
        found: String,
    },
    /// Only the side that decodes sends this command.
    WrongSide {
        /// The command.
        command: Command,
    },
    /// The version does not know this command.
    NotInVersion {
        /// The command.
        command: Command,
        /// The version.
        version: Version,
    },
    /// A header has no colon.
    MissingColon {
        /// The frame's command.
        command: Command,
        /// The header's front, escaped.
        line: String,
    },
    /// A header has nothing in front of its colon.
    EmptyName {
        /// The frame's command.
        command: Command,
        /// The header's front, escaped.
        line: String,
    },
    /// A header holds a carriage return, which 1.2 wants escaped.
    CarriageReturn {
        /// The frame's command.
        command: Command,
        /// The header's name as it was spelled, escaped.
        name: String,
    },
    /// A header holds an escape that the version does not define.
    BadEscape {
        /// The frame's command.
        command: Command,
        /// The version.
        version: Version,
        /// The header's name as it was spelled, escaped.
        name: String,
        /// The backslash and the octet behind it; there is none at the end of a name or value.
        escape: String,
    },
    /// `content-length` is not a number.
    BadContentLength {
        /// The frame's command.
        command: Command,
        /// The header's value, escaped.
        value: String,
    },
    /// Behind the body that `content-length` measured is no NUL.
    MissingNul {
        /// The frame's command.
        command: Command,
        /// What `content-length` says.
        announced: usize,
        /// The octet in place of the NUL.
        found: u8,
    },
    /// A body where only SEND, MESSAGE and ERROR may have one.
    UnexpectedBody {
        /// The frame's command.
        command: Command,
    },
    /// A header is longer than [`Limits::max_header_line`](super::Limits::max_header_line).
    LineTooLong {
        /// The frame's command.
        command: Command,
        /// The limit in bytes.
        limit: usize,
    },
    /// More headers than [`Limits::max_headers`](super::Limits::max_headers).
    TooManyHeaders {
        /// The frame's command.
        command: Command,
        /// The limit.
        limit: usize,
    },
    /// The body is longer than [`Limits::max_body`](super::Limits::max_body).
    BodyTooLarge {
        /// The frame's command.
        command: Command,
        /// What `content-length` says; without one, there was no NUL within the limit.
        announced: Option<u64>,
        /// The limit in bytes.
        limit: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStomp { found } => {
                let guess = match found {
                    0x15 | 0x16 => " (is this a TLS port?)",
                    _ => "",
                };
                write!(f, "expected a STOMP frame, found the octet {found:#04x}{guess}")
            }
            Self::UnknownCommand { found } => {
                let guess = if found.starts_with("HTTP") {
                    " (is this an HTTP server?)"
                } else {
                    ""
                };
                write!(f, "expected a STOMP command, found \"{found}\"{guess}")
            }
            Self::WrongSide { command } => {
                let sender = match command.reader() {
                    Role::Client => "client",
                    Role::Server => "server",
                };
                write!(f, "{command} cannot come from a {sender}")
            }
            Self::NotInVersion { command, version } => {
                write!(f, "STOMP {version} has no {command}")
            }
            Self::MissingColon { command, line } => {
                write!(f, "{command} has the header \"{line}\" without a colon")
            }
            Self::EmptyName { command, line } => {
                write!(f, "{command} has the header \"{line}\" without a name")
            }
            Self::CarriageReturn { command, name } => write!(
                f,
                "the header \"{name}\" of {command} holds a carriage return that is not escaped"
            ),
            Self::BadEscape {
                command,
                version,
                name,
                escape,
            } => write!(
                f,
                "the header \"{name}\" of {command} holds {escape}, which STOMP {version} does not define"
            ),
            Self::BadContentLength { command, value } => {
                write!(f, "the content-length of {command} is no number: \"{value}\"")
            }
            Self::MissingNul {
                command,
                announced,
                found,
            } => write!(
                f,
                "{command} has a content-length of {announced}, \
                 but {found:#04x} in place of NUL behind that many octets"
            ),
            Self::UnexpectedBody { command } => write!(f, "{command} cannot have a body"),
            Self::LineTooLong { command, limit } => {
                write!(f, "a header of {command} is longer than the limit, {limit} bytes")
            }
            Self::TooManyHeaders { command, limit } => {
                write!(f, "{command} has more headers than the limit, {limit}")
            }
            Self::BodyTooLarge {
                command,
                announced: Some(announced),
                limit,
            } => write!(
                f,
                "{command} announces a body of {announced} bytes, the limit is {limit}"
            ),
            Self::BodyTooLarge { command, limit, .. } => {
                write!(f, "the body of {command} is longer than the limit, {limit} bytes")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// A frame that cannot be put on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The version does not know this command.
    NotInVersion {
        /// The command.
        command: Command,
        /// The version.
        version: Version,
    },
    /// A header's name or value holds an octet that this frame cannot say.
    Octet {
        /// The frame's command.
        command: Command,
        /// The version.
        version: Version,
        /// The header's name, escaped.
        name: String,
        /// The octet: NUL, line feed, carriage return; in a name, the colon too.
        octet: u8,
    },
    /// A header has no name.
    EmptyName {
        /// The frame's command.
        command: Command,
    },
    /// `content-length` among the headers: the encoder writes it.
    ContentLength {
        /// The frame's command.
        command: Command,
    },
    /// Only SEND, MESSAGE and ERROR have bodies.
    UnexpectedBody {
        /// The frame's command.
        command: Command,
    },
    /// The body holds a NUL, and is not to be measured.
    NulInBody {
        /// The frame's command.
        command: Command,
        /// Where the NUL is.
        at: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInVersion { command, version } => {
                write!(f, "STOMP {version} has no {command}")
            }
            Self::Octet {
                command,
                version,
                name,
                octet,
            } => {
                let octet_name = match octet {
                    0 => "a NUL",
                    b'\n' => "a line feed",
                    b'\r' => "a carriage return",
                    _ => "a colon in its name",
                };
                write!(
                    f,
                    "the header \"{name}\" of {command} holds {octet_name}, which "
                )?;
                match octet {
                    0 => f.write_str("no version of STOMP can send"),
                    _ if command.connects() => write!(f, "{command} cannot escape"),
                    b'\r' => write!(f, "STOMP {version} cannot escape, 1.2 can"),
                    _ => write!(f, "STOMP {version} cannot escape, 1.1 and 1.2 can"),
                }
            }
            Self::EmptyName { command } => write!(f, "a header of {command} has no name"),
            Self::ContentLength { command } => write!(
                f,
                "content-length of {command} is counted from its body: leave it out of the headers"
            ),
            Self::UnexpectedBody { command } => write!(f, "{command} cannot have a body"),
            Self::NulInBody { command, at } => write!(
                f,
                "the body of {command} holds a NUL at offset {at}: send it with a content-length"
            ),
        }
    }
}

impl std::error::Error for EncodeError {}

/// The front of `text` for a message: at most 32 octets, escaped.
pub(super) fn excerpt(text: &[u8]) -> String {
    const MAX: usize = 32;
    text.get(..MAX).unwrap_or(text).escape_ascii().to_string()
}
