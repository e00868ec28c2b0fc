//! What an MQTT session is told when it is made.

use super::{handshake, properties};
use crate::client::outbox::Overflow;
use crate::codec::mqtt::{topic, Place, PropertyId, PropertyList, PropertyValue, Qos, Version};
use crate::error::Error;
use crate::message::Value;
use bytes::BytesMut;
use std::time::Duration;

/// "The session never expires" (MQTT 5.0, section 3.1.2.11.2).
pub(super) const NEVER: u32 = u32::MAX;

/// QoS 2 messages that brokers of version 3.1.1 are known to take at a time: mosquitto ends the
/// connection at the 21st (its `max_inflight_messages`), and so would each one after it.
const UNSAID: usize = 20;

/// What the broker publishes when it loses us.
#[derive(Debug)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) properties: PropertyList,
}

/// The options of an MQTT session, parsed.
#[derive(Debug)]
pub struct Options {
    /// What is tried first.
    pub(super) version: Version,
    /// Empty: the broker assigns one.
    pub(super) client_id: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Vec<u8>>,
    /// Begin without what an earlier process has left.
    pub(super) clean: bool,
    /// Seconds that the broker keeps the session once the connection is gone (version 5).
    pub(super) session_expiry: u32,
    /// The program did not ask for it: it is for broken connections, and ends with a close.
    pub(super) expiry_is_ours: bool,
    pub(super) will: Option<Will>,
    /// Of publishes and subscriptions that name none.
    pub(super) qos: Qos,
    /// Silence after which the broker is probed, whole seconds; zero: never.
    pub(super) keepalive: Duration,
    /// For a handshake, and for an answer.
    pub(super) timeout: Duration,
    /// QoS 1 and 2 messages that the broker may have under way to us.
    pub(super) receive_maximum: u16,
    /// The same, from us to the broker.
    pub(super) max_in_flight: usize,
    /// The same for QoS 2 where the broker cannot say how many it takes (version 3.1.1).
    pub(super) max_in_flight_unsaid: usize,
    /// Topic aliases that the broker may use.
    pub(super) topic_alias_maximum: u16,
    /// Messages are to name the subscriptions that they are for (version 5).
    pub(super) subscription_identifiers: bool,
    /// Bytes of the largest packet that the broker may send.
    pub(super) max_packet: usize,
    /// Messages that may wait to be sent or answered.
    pub(super) max_queue: usize,
    /// Bytes of them.
    pub(super) max_queue_bytes: usize,
    /// What happens to a message for which there is no room.
    pub(super) overflow: Overflow,
    /// Of CONNECT, besides those that stand for other options.
    pub(super) properties: PropertyList,
    pub(super) auth_method: Option<String>,
    pub(super) auth_data: Option<Vec<u8>>,
    /// Follow a broker that names another one.
    pub(super) redirect: bool,
}

impl Options {
    /// Reads the options that concern the session; the Lua layer has checked names and ranges.
    ///
    /// # Errors
    /// A value that this layer cannot use.
    pub fn parse(options: &Value) -> Result<Self, Error> {
        let text = |name: &str| -> Result<Option<String>, Error> {
            let Some(bytes) = options.member(name).as_bytes() else {
                return Ok(None);
            };
            let text = std::str::from_utf8(bytes)
                .ok()
                .filter(|text| !text.contains('\0') && text.len() <= usize::from(u16::MAX))
                .ok_or_else(|| {
                    Error::invalid(format!(
                        "option {name:?} must be UTF-8 text of at most 65535 bytes without NUL"
                    ))
                })?;
            Ok(Some(text.to_owned()))
        };
        let bytes = |name| options.member(name).as_bytes().map(<[u8]>::to_vec);
        let size = |name, default| options.member(name).as_size().unwrap_or(default);
        let flag = |name, default| options.member(name).as_bool().unwrap_or(default);
        let seconds = |name, default: u64| {
            options
                .member(name)
                .as_seconds()
                .unwrap_or(Duration::from_secs(default))
        };
        let version = match options.member("version") {
            Value::Bytes(version) if version == b"3.1.1" => Version::V311,
            _ => Version::V5,
        };
        let clean = flag("clean", true);
        let keepalive = seconds("keepalive", 60);
        let options = Options {
            version,
            client_id: text("client_id")?.unwrap_or_default(),
            username: text("username")?,
            password: bytes("password"),
            clean,
            expiry_is_ours: clean && *options.member("session_expiry") == Value::Nil,
            session_expiry: match options.member("session_expiry").as_integer() {
                Some(seconds) => seconds.clamp(0, i64::from(NEVER)) as u32,
                // Long enough to come back after a broken connection.
                None if clean => 120,
                None => NEVER,
            },
            will: will(options)?,
            qos: qos(options.member("qos")).unwrap_or(Qos::AtLeastOnce),
            keepalive: Duration::from_secs(keepalive.as_secs_f64().ceil().min(65_535.0) as u64),
            timeout: seconds("timeout", 10),
            receive_maximum: size("receive_maximum", 1000).clamp(1, 65_535) as u16,
            max_in_flight: size("max_in_flight", 1000).clamp(1, 65_535),
            max_in_flight_unsaid: size("max_in_flight", UNSAID).clamp(1, 65_535),
            topic_alias_maximum: size("topic_alias_maximum", 64).min(65_535) as u16,
            subscription_identifiers: flag("subscription_identifiers", true),
            max_packet: size("max_packet", 64 << 20),
            max_queue: size("max_queue", 100_000).max(1),
            max_queue_bytes: size("max_queue_bytes", 64 << 20).max(1),
            overflow: match options.member("overflow") {
                Value::Nil => Overflow::Block,
                value => value.as_text().and_then(Overflow::parse).ok_or_else(|| {
                    Error::invalid(format!("overflow = {value:?}: there is no such policy"))
                })?,
            },
            properties: properties::parse(options.member("properties"), Place::Connect)?,
            auth_method: text("auth_method")?,
            auth_data: bytes("auth_data"),
            redirect: flag("redirect", false),
        };
        // What does not go into CONNECT is known here rather than on each connection.
        let client_id = &options.client_id;
        handshake::encode(&options, version, client_id, false, &mut BytesMut::new())?;
        Ok(options)
    }
}

/// A quality of service that somebody gave.
pub(super) fn qos(value: &Value) -> Option<Qos> {
    let level = value.as_integer()?;
    u8::try_from(level).ok().and_then(Qos::from_u8)
}

fn will(options: &Value) -> Result<Option<Will>, Error> {
    if options.member("will").as_bool() != Some(true) {
        return Ok(None);
    }
    let name = options.member("will_topic").as_text().unwrap_or_default();
    topic::check_name(name)
        .map_err(|error| Error::invalid(format!("the will's topic {name:?}: {error}")))?;
    let payload = options
        .member("will_payload")
        .as_bytes()
        .unwrap_or_default()
        .to_vec();
    if payload.len() > usize::from(u16::MAX) {
        return Err(Error::invalid(format!(
            "the will's payload has {} bytes; 65535 are the most",
            payload.len()
        )));
    }
    let mut list = properties::parse(options.member("will_properties"), Place::Will)?;
    if let Some(delay) = options.member("will_delay").as_size() {
        let delay = PropertyValue::U32(delay.min(u32::MAX as usize) as u32);
        list.push(PropertyId::WillDelayInterval, delay)
            .map_err(|error| Error::invalid(format!("the will's delay: {error}")))?;
    }
    Ok(Some(Will {
        topic: name.to_owned(),
        payload,
        qos: qos(options.member("will_qos")).unwrap_or_default(),
        retain: options.member("will_retain").as_bool() == Some(true),
        properties: list,
    }))
}
