//! What a Redis session is told when it is made.

use crate::client::outbox::Overflow;
use crate::codec::resp::Limits;
use crate::error::Error;
use crate::message::Value;
use std::time::Duration;

/// What this connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Publishes and subscribes.
    Both,
    /// Only subscribes: the second connection to a server that speaks RESP2, on which a
    /// subscribed connection cannot publish.
    Subscriber,
}

/// The options of a Redis session, parsed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of an ACL user; None for the default user.
    pub username: Option<Vec<u8>>,
    /// None: no login.
    pub password: Option<Vec<u8>>,
    /// Selected after login where it is not 0.
    pub db: i64,
    /// For a handshake, and for an answer.
    pub timeout: Duration,
    /// Silence after which the server is probed; zero: never.
    pub keepalive: Duration,
    /// Messages that may wait to be sent or answered.
    pub max_queue: usize,
    /// Bytes that may wait to be sent.
    pub max_queue_bytes: usize,
    /// What happens to a message for which there is no room.
    pub overflow: Overflow,
    /// What the server may send.
    pub limits: Limits,
    /// What this connection is for.
    pub role: Role,
}

impl Options {
    /// Reads the options that concern the session; the Lua layer has checked names and ranges.
    ///
    /// # Errors
    /// A value that this layer cannot use.
    pub fn parse(options: &Value) -> Result<Self, Error> {
        let bytes = |name| options.member(name).as_bytes().map(<[u8]>::to_vec);
        let size = |name, default| options.member(name).as_size().unwrap_or(default);
        let seconds = |name, default: u64| {
            options
                .member(name)
                .as_seconds()
                .unwrap_or(Duration::from_secs(default))
        };
        let overflow = match options.member("overflow") {
            Value::Nil => Overflow::Block,
            value => value.as_text().and_then(Overflow::parse).ok_or_else(|| {
                Error::invalid(format!(
                    "overflow = {value:?}: one of \"block\", \"drop_oldest\", \"drop_newest\", \"error\""
                ))
            })?,
        };
        let defaults = Limits::default();
        Ok(Options {
            username: bytes("username"),
            password: bytes("password"),
            db: options.member("db").as_integer().unwrap_or(0),
            timeout: seconds("timeout", 10),
            keepalive: seconds("keepalive", 60),
            max_queue: size("max_queue", 100_000).max(1),
            max_queue_bytes: size("max_queue_bytes", 64 << 20).max(1),
            overflow,
            limits: Limits {
                max_frame: size("max_packet", defaults.max_frame),
                ..defaults
            },
            role: match options.member("role").as_text() {
                Some("subscriber") => Role::Subscriber,
                _ => Role::Both,
            },
        })
    }
}
