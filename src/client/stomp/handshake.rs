//! CONNECT, and what the broker's answer means: let in, refused for now, or refused for good. Also
//! what an ERROR says.
//!
//! Source: STOMP 1.2, "Connecting", "Protocol Negotiation", "Heart-beating" and "ERROR".

use super::options::Options;
use crate::codec::stomp::{Body, Command, Frame, FrameBuilder, Version};
use crate::error::{Code, Error};
use crate::message::Value;
use bytes::BytesMut;
use std::borrow::Cow;
use std::time::Duration;

/// Headers of CONNECT that the session writes.
pub(super) const OURS: &[&str] = &[
    "accept-version",
    "host",
    "login",
    "passcode",
    "client-id",
    "heart-beat",
];

/// What the broker said of itself and of this connection in CONNECTED.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) version: Version,
    /// How often it wants to hear from us; zero: it does not care.
    pub(super) send: Duration,
    /// How often we hear from it; zero: nobody knows.
    pub(super) receive: Duration,
    /// It is RabbitMQ, some of whose ways are its own.
    pub(super) is_rabbit: bool,
    /// It is ActiveMQ Classic, likewise.
    pub(super) is_classic: bool,
}

impl Default for Broker {
    fn default() -> Self {
        Broker {
            version: Version::V12,
            send: Duration::ZERO,
            receive: Duration::ZERO,
            is_rabbit: false,
            is_classic: false,
        }
    }
}

impl Broker {
    /// What CONNECTED says.
    ///
    /// # Errors
    /// It names a version that was not offered.
    pub(super) fn parse(frame: &Frame<'_>, options: &Options) -> Result<Self, Error> {
        // Who names none knows no other ("Protocol Negotiation").
        let named = frame.headers.get("version");
        let named = named.as_deref().map_or(&b"1.0"[..], <[u8]>::trim_ascii);
        let offered = Version::from_bytes(named)
            .filter(|version| options.version.is_none_or(|only| only == *version));
        let Some(version) = offered else {
            let found = String::from_utf8_lossy(named);
            let text = match options.version {
                Some(only) => format!(
                    "the broker speaks STOMP {found:?}; with version = \"{only}\" nothing else is \
                     spoken"
                ),
                None => format!("the broker answers with STOMP {found:?}, which was not offered"),
            };
            return Err(Error::fatal(Code::Refused, text));
        };
        let beats = frame.headers.get("heart-beat");
        let (can, wants) = match (version, beats.as_deref().and_then(parse_beats)) {
            (Version::V11 | Version::V12, Some(beats)) => beats,
            _ => (Duration::ZERO, Duration::ZERO),
        };
        let server = frame.headers.get("server").unwrap_or_default();
        Ok(Broker {
            version,
            send: agreed(options.heartbeat_send, wants),
            receive: agreed(options.heartbeat_receive, can),
            is_rabbit: server.starts_with(b"RabbitMQ"),
            is_classic: server.starts_with(b"ActiveMQ/"),
        })
    }
}

/// Both numbers of a `heart-beat` header, in milliseconds. None: it says something else.
fn parse_beats(text: &[u8]) -> Option<(Duration, Duration)> {
    let (can, wants) = std::str::from_utf8(text).ok()?.split_once(',')?;
    let time = |text: &str| text.trim().parse().ok().map(Duration::from_millis);
    Some((time(can)?, time(wants)?))
}

/// How often one side is heard: as often as it can and as the other wants, and not at all where
/// either has said zero.
fn agreed(one: Duration, other: Duration) -> Duration {
    match one.is_zero() || other.is_zero() {
        true => Duration::ZERO,
        false => one.max(other),
    }
}

/// Appends CONNECT; `escaped`: for a broker that takes what CONNECT holds for escaped.
///
/// # Errors
/// An option does not go into the frame.
pub(super) fn encode(options: &Options, escaped: bool, out: &mut BytesMut) -> Result<(), Error> {
    build(options, escaped, out).map_err(|error| {
        let text = format!("{error}; give another value");
        Error::fatal(Code::Invalid, text)
    })
}

fn build(
    options: &Options,
    escaped: bool,
    out: &mut BytesMut,
) -> Result<(), crate::codec::stomp::EncodeError> {
    let say = |text: &[u8]| -> Vec<u8> {
        match escaped {
            true => escape(text),
            false => text.to_vec(),
        }
    };
    // Not STOMP, its other name: 1.0 knows CONNECT alone.
    let mut frame = FrameBuilder::new(Command::Connect, Version::V12, out)?;
    let versions = match options.version {
        Some(only) => only.as_str(),
        None => "1.0,1.1,1.2",
    };
    frame.header("accept-version", versions)?;
    if let Some(vhost) = &options.vhost {
        frame.header("host", say(vhost))?;
    }
    if let Some(login) = &options.username {
        frame.header("login", say(login))?;
    }
    if let Some(passcode) = &options.password {
        frame.header("passcode", say(passcode))?;
    }
    if let Some(client_id) = &options.client_id {
        frame.header("client-id", say(client_id))?;
    }
    let (send, receive) = (options.heartbeat_send, options.heartbeat_receive);
    let beats = format!("{},{}", milliseconds(send), milliseconds(receive));
    frame.header("heart-beat", beats)?;
    for (name, value) in &options.headers {
        frame.header(name, value)?;
    }
    frame.finish(Body::NONE)
}

/// Whole milliseconds that brokers can count; what is shorter than one counts as one.
fn milliseconds(time: Duration) -> u128 {
    match time.is_zero() {
        true => 0,
        false => time.as_millis().clamp(1, i32::MAX as u128),
    }
}

/// Some credential reads otherwise where it is taken for escaped.
pub(super) fn is_ambiguous(options: &Options) -> bool {
    [&options.username, &options.password, &options.vhost]
        .into_iter()
        .flatten()
        .any(|text| text.contains(&b'\\'))
}

fn escape(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for octet in text {
        if *octet == b'\\' {
            escaped.push(b'\\');
        }
        escaped.push(*octet);
    }
    escaped
}

/// What a program is told of a connection.
pub(super) fn describe(broker: &Broker, frame: &Frame<'_>) -> Value {
    let text = |text: &[u8]| Value::Bytes(text.to_vec());
    let version = broker.version.as_str().as_bytes();
    let mut entries = vec![(b"version".to_vec(), text(version))];
    for name in ["server", "session"] {
        if let Some(value) = frame.headers.get(name) {
            entries.push((name.as_bytes().to_vec(), text(&value)));
        }
    }
    Value::Map(entries)
}

/// What an ERROR in place of CONNECTED means.
pub(super) fn refusal(frame: &Frame<'_>, options: &Options) -> Error {
    let said = told(frame);
    let lower = said.to_lowercase();
    let speaks_of = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let text = |remedy: &str| format!("the broker refused the connection: {said}{remedy}");
    if speaks_of(&["version"]) {
        return Error::fatal(Code::Refused, text(""));
    }
    if speaks_of(&["virtual host", "vhost"]) {
        let vhost = options.vhost.as_deref().unwrap_or_default();
        let vhost = String::from_utf8_lossy(vhost);
        return Error::fatal(Code::Auth, text(&format!("; vhost = {vhost:?}")));
    }
    if speaks_of(&[
        "access refused",
        "access denied",
        "denied",
        "authenti",
        "authoriz",
        "credential",
        "password",
        "passcode",
        "login",
        "user name",
        "security",
    ]) {
        let remedy = match (&options.username, &options.password) {
            (None, None) => "; give `username` and `password`",
            _ => "; are `username` and `password` right?",
        };
        return Error::fatal(Code::Auth, text(remedy));
    }
    Error::new(Code::Refused, text(""))
}

/// An ERROR in a sentence: its header `message`, and the front of its body where that says more.
pub(super) fn told(frame: &Frame<'_>) -> String {
    let headers = frame.headers;
    let message = headers.get("message").unwrap_or(Cow::Borrowed(b""));
    let message = excerpt(&message);
    let body = excerpt(before_trace(frame.body));
    match (
        message.is_empty(),
        body.is_empty() || body.contains(&message),
    ) {
        (false, true) => message,
        (false, false) => format!("{message}: {body}"),
        (true, false) => body,
        (true, true) => "it does not say why".to_owned(),
    }
}

/// A body up to the first line that is indented: ActiveMQ sends the stack of its exceptions.
fn before_trace(body: &[u8]) -> &[u8] {
    let trace = memchr::memmem::find(body, b"\n\t");
    trace.and_then(|at| body.get(..at)).unwrap_or(body)
}

/// The front of what a peer said, on one line, without what a terminal could take for a command.
fn excerpt(text: &[u8]) -> String {
    /// Characters of it.
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(text);
    let mut line = String::new();
    for (count, word) in text.split_whitespace().enumerate() {
        if count > 0 {
            line.push(' ');
        }
        line.extend(word.chars().filter(|c| !c.is_control()));
        if let Some((end, _)) = line.char_indices().nth(MOST) {
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}
