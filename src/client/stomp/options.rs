//! What a STOMP session is told when it is made.

use super::handshake;
use crate::client::outbox::Overflow;
use crate::client::told;
use crate::codec::stomp::{Limits, Version};
use crate::error::Error;
use crate::message::Value;
use bytes::BytesMut;
use std::time::Duration;

/// A header that a program gave: name and value.
pub(super) type Header = (Vec<u8>, Vec<u8>);

/// The options of a STOMP session, parsed.
#[derive(Debug)]
pub struct Options {
    /// The only one offered; None: all of them are.
    pub(super) version: Option<Version>,
    /// The header `host` of CONNECT.
    pub(super) vhost: Option<Vec<u8>>,
    pub(super) username: Option<Vec<u8>>,
    pub(super) password: Option<Vec<u8>>,
    pub(super) client_id: Option<Vec<u8>>,
    /// Further headers of CONNECT.
    pub(super) headers: Vec<Header>,
    /// How often the broker hears from us at least; zero: it need not.
    pub(super) heartbeat_send: Duration,
    /// How often we want to hear from the broker at least; zero: we do not care.
    pub(super) heartbeat_receive: Duration,
    /// For a handshake, and for an answer.
    pub(super) timeout: Duration,
    /// Goes before every destination.
    pub(super) prefix: Vec<u8>,
    /// Whether a publish that does not say so asks for a receipt.
    pub(super) receipt: bool,
    /// Whether SEND has the header `content-length`.
    pub(super) content_length: bool,
    /// Whether the owner unpacks the headers of messages itself.
    pub(super) packed_headers: bool,
    /// Messages that may await their receipts.
    pub(super) max_in_flight: usize,
    /// Bytes of the largest frame that the broker may send.
    pub(super) max_packet: usize,
    /// Messages that may wait to be sent or answered.
    pub(super) max_queue: usize,
    /// Bytes of them.
    pub(super) max_queue_bytes: usize,
    /// What happens to a message for which there is no room.
    pub(super) overflow: Overflow,
}

impl Options {
    /// Reads the options that concern the session; the Lua layer has checked names and ranges.
    ///
    /// # Errors
    /// A value that this layer cannot use.
    pub fn parse(options: &Value) -> Result<Self, Error> {
        let bytes = |name| options.member(name).as_bytes().map(<[u8]>::to_vec);
        let size = |name, default| options.member(name).as_size().unwrap_or(default);
        let flag = |name, default| options.member(name).as_bool().unwrap_or(default);
        let seconds = |name, default: u64| {
            options
                .member(name)
                .as_seconds()
                .unwrap_or(Duration::from_secs(default))
        };
        let options =
            Options {
                version: match options.member("version") {
                    Value::Nil => None,
                    given => Some(given.as_bytes().and_then(Version::from_bytes).ok_or_else(
                        || {
                            Error::invalid(format!(
                                "version = {given:?}: one of \"1.0\", \"1.1\", \"1.2\""
                            ))
                        },
                    )?),
                },
                vhost: bytes("vhost"),
                username: bytes("username"),
                password: bytes("password"),
                client_id: bytes("client_id"),
                headers: headers(options.member("header"), handshake::OURS)?,
                heartbeat_send: seconds("heartbeat_send", 10),
                heartbeat_receive: seconds("heartbeat_receive", 10),
                timeout: seconds("timeout", 10),
                prefix: bytes("prefix").unwrap_or_default(),
                receipt: flag("receipt", true),
                content_length: flag("content_length", true),
                packed_headers: flag("packed_headers", false),
                max_in_flight: size("max_in_flight", 1000).max(1),
                max_packet: size("max_packet", 64 << 20).max(1),
                max_queue: size("max_queue", 100_000).max(1),
                max_queue_bytes: size("max_queue_bytes", 64 << 20).max(1),
                overflow: match options.member("overflow") {
                    Value::Nil => Overflow::Block,
                    value => value.as_text().and_then(Overflow::parse).ok_or_else(|| {
                        Error::invalid(format!("overflow = {value:?}: there is no such policy"))
                    })?,
                },
            };
        // What does not go into CONNECT is known here rather than on each connection.
        handshake::encode(&options, false, &mut BytesMut::new())?;
        Ok(options)
    }

    /// The bounds of what the broker may send. It has taken these headers from others: whoever does not read them gets
    /// the same message on each connection, so what they hold is bounded by `max_packet` alone, which users can raise; and
    /// their number by more than anybody sends.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            max_headers: 10_000,
            max_header_line: self.max_packet,
            max_body: self.max_packet,
        }
    }
}

/// How many headers a program may give a frame: other readers bound them, and brokers add theirs.
const MAX_HEADERS: usize = 400;

/// How many bytes the name and the value of one may have, for the same reason; escapes double them at the most.
const MAX_HEADER: usize = 16 << 10;

/// Reads a map of headers; names that the session writes itself may not be among them.
///
/// # Errors
/// No map of strings, or such a name.
pub(super) fn headers(given: &Value, ours: &[&str]) -> Result<Vec<Header>, Error> {
    let entries = match given {
        Value::Map(entries) => entries,
        // An empty table is no list of anything.
        Value::Nil => return Ok(Vec::new()),
        Value::List(items) if items.is_empty() => return Ok(Vec::new()),
        _ => {
            let text = "headers are given as a table of names and values";
            return Err(Error::invalid(text));
        }
    };
    if entries.len() > MAX_HEADERS {
        return Err(Error::invalid(format!(
            "{} headers are too many: a frame may have {MAX_HEADERS}, since its readers bound them",
            entries.len()
        )));
    }
    let mut headers = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let shown = told::quoted(name);
        if name.len() + value.as_bytes().map_or(0, <[u8]>::len) > MAX_HEADER {
            return Err(Error::invalid(format!(
                "the header {shown} is longer than {MAX_HEADER} bytes: its readers would refuse it; \
                 write it into the payload"
            )));
        }
        if ours.iter().any(|known| known.as_bytes() == name) {
            return Err(Error::invalid(format!(
                "the header {shown} is written by MQ itself; leave it out"
            )));
        }
        if name.is_empty() || name.contains(&0) {
            return Err(Error::invalid(format!(
                "a header cannot have the name {shown}"
            )));
        }
        let value = match value {
            Value::Bytes(value) if value.contains(&0) => {
                return Err(Error::invalid(format!(
                    "the header {shown} holds a NUL, which no version of STOMP can send"
                )));
            }
            Value::Bytes(value) => value.clone(),
            Value::Integer(number) => number.to_string().into_bytes(),
            Value::Number(number) => number.to_string().into_bytes(),
            Value::Boolean(flag) => flag.to_string().into_bytes(),
            _ => {
                return Err(Error::invalid(format!(
                    "the value of the header {shown} must be a string"
                )));
            }
        };
        headers.push((name.clone(), value));
    }
    Ok(headers)
}
