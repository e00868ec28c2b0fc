//! What can go wrong at run time, and who is at fault.
//!
//! Misuse by the Lua program is refused before anything is queued; everything here reaches Lua as
//! `nil, err, code`. Knows nothing of Lua.

use std::fmt;

/// The machine-readable half of an error: the third value that Lua sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The caller passed something that can never work (an empty channel, an oversized payload).
    Invalid,
    /// The client was closed, by the program or because its process forked.
    Closed,
    /// No answer within the time that the options allow.
    Timeout,
    /// The broker understood and said no (a permission, a database that does not exist).
    Refused,
    /// The broker did not accept the credentials.
    Auth,
    /// The outbound queue is at its bound.
    Full,
    /// The connection broke, or never came to be; the outcome of what was under way is unknown.
    Lost,
    /// The peer does not speak the protocol, or exceeded a limit.
    Protocol,
    /// The TLS handshake or the verification of a certificate failed.
    Tls,
}

impl Code {
    /// The name that the Lua API documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Invalid => "invalid",
            Code::Closed => "closed",
            Code::Timeout => "timeout",
            Code::Refused => "refused",
            Code::Auth => "auth",
            Code::Full => "full",
            Code::Lost => "lost",
            Code::Protocol => "protocol",
            Code::Tls => "tls",
        }
    }
}

/// An error with its text for people, its code for programs, and whether another try can help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// For programs.
    pub code: Code,
    /// For people: names the value at fault and, where there is one, the remedy.
    pub text: String,
    /// True where trying again cannot help: the driver gives up and every waiter gets this error.
    pub fatal: bool,
}

impl Error {
    /// An error after which a new connection may work.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Error {
            code,
            text: text.into(),
            fatal: false,
        }
    }

    /// An error that no new connection mends.
    pub fn fatal(code: Code, text: impl Into<String>) -> Self {
        Error {
            code,
            text: text.into(),
            fatal: true,
        }
    }

    /// The connection is gone.
    pub fn lost(text: impl Into<String>) -> Self {
        Error::new(Code::Lost, text)
    }

    /// The caller asked for what cannot be.
    pub fn invalid(text: impl Into<String>) -> Self {
        Error::new(Code::Invalid, text)
    }

    /// The client no longer takes commands.
    pub fn closed() -> Self {
        Error::new(Code::Closed, "the client is closed")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
