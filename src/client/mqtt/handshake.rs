//! CONNECT, and what the broker's answer means: let in, refused for now, refused for good, or sent
//! elsewhere. Also why a broker ends a connection.
//!
//! Source: MQTT 5.0, sections 3.1, 3.2, 3.14 and 4.11.

use super::options::Options;
use super::properties;
use crate::codec::mqtt::{
    Auth, ConnAck, Connect, Disconnect, Properties, PropertyId, PropertyList, PropertyValue, Qos,
    Reason, Version, Will, MAX_REMAINING,
};
use crate::error::{Code, Error};
use crate::message::Value;
use bytes::BytesMut;
use std::time::Duration;

/// Bytes of the largest packet that there is, its fixed header included (section 2.1.4).
const LARGEST: usize = MAX_REMAINING + 5;

/// What the broker can do; what it says in CONNACK, or what the specification gives it otherwise.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) receive_maximum: usize,
    pub(super) maximum_qos: Qos,
    pub(super) retain: bool,
    pub(super) max_packet: usize,
    pub(super) wildcards: bool,
    pub(super) identifiers: bool,
    pub(super) shared: bool,
    pub(super) topic_alias_maximum: u16,
    /// It answers at once.
    pub(super) nearby: bool,
}

/// A broker that lets us in within this time is nearby.
const NEARBY: Duration = Duration::from_millis(1);

impl Broker {
    /// What it says (section 3.2.2.3), after so long.
    pub(super) fn parse(version: Version, properties: Properties<'_>, after: Duration) -> Self {
        let has = |id| properties.u8(id).is_none_or(|flag| flag == 1);
        Broker {
            receive_maximum: properties
                .u16(PropertyId::ReceiveMaximum)
                .unwrap_or(u16::MAX)
                .into(),
            maximum_qos: properties
                .u8(PropertyId::MaximumQos)
                .and_then(Qos::from_u8)
                .unwrap_or(Qos::ExactlyOnce),
            retain: has(PropertyId::RetainAvailable),
            max_packet: properties
                .u32(PropertyId::MaximumPacketSize)
                .map_or(LARGEST, |bytes| LARGEST.min(bytes as usize)),
            wildcards: has(PropertyId::WildcardSubscriptionAvailable),
            identifiers: version == Version::V5 && has(PropertyId::SubscriptionIdentifierAvailable),
            shared: has(PropertyId::SharedSubscriptionAvailable),
            topic_alias_maximum: properties.u16(PropertyId::TopicAliasMaximum).unwrap_or(0),
            nearby: after <= NEARBY,
        }
    }
}

/// Appends CONNECT. `resume`: this client has a session that it wants back.
///
/// # Errors
/// An option does not go into the packet.
pub(super) fn encode(
    options: &Options,
    version: Version,
    client_id: &str,
    resume: bool,
    out: &mut BytesMut,
) -> Result<(), Error> {
    let mut list = options.properties.clone();
    let mut push = |id, value| properties::push(&mut list, id, value);
    if options.session_expiry > 0 {
        let expiry = PropertyValue::U32(options.session_expiry);
        push(PropertyId::SessionExpiryInterval, expiry)?;
    }
    push(
        PropertyId::ReceiveMaximum,
        PropertyValue::U16(options.receive_maximum),
    )?;
    let max_packet = u32::try_from(options.max_packet).unwrap_or(u32::MAX);
    push(
        PropertyId::MaximumPacketSize,
        PropertyValue::U32(max_packet),
    )?;
    if options.topic_alias_maximum > 0 {
        push(
            PropertyId::TopicAliasMaximum,
            PropertyValue::U16(options.topic_alias_maximum),
        )?;
    }
    if let Some(method) = &options.auth_method {
        push(
            PropertyId::AuthenticationMethod,
            PropertyValue::Text(method),
        )?;
        if let Some(data) = &options.auth_data {
            push(PropertyId::AuthenticationData, PropertyValue::Binary(data))?;
        }
    }
    let connect = Connect {
        version,
        clean_start: options.clean && !(resume && version == Version::V5),
        keep_alive: options.keepalive.as_secs() as u16,
        client_id,
        will: options.will.as_ref().map(|will| Will {
            topic: &will.topic,
            payload: &will.payload,
            qos: will.qos,
            retain: will.retain,
            properties: will.properties.as_properties(),
        }),
        // 3.1.1 has no password without a user name [MQTT-3.1.2-22].
        username: match (&options.username, &options.password) {
            (None, Some(_)) if version == Version::V311 => Some(""),
            (username, _) => username.as_deref(),
        },
        password: options.password.as_deref(),
        properties: list.as_properties(),
    };
    connect
        .encode(version, out)
        .map_err(|error| Error::fatal(Code::Invalid, error.to_string()))
}

/// Appends AUTH with the program's answer to a challenge (section 3.15).
///
/// # Errors
/// The data does not go into the packet.
pub(super) fn encode_auth(
    options: &Options,
    data: Option<&[u8]>,
    out: &mut BytesMut,
) -> Result<(), Error> {
    let mut list = PropertyList::new();
    if let Some(method) = &options.auth_method {
        properties::push(
            &mut list,
            PropertyId::AuthenticationMethod,
            PropertyValue::Text(method),
        )?;
    }
    if let Some(data) = data {
        properties::push(
            &mut list,
            PropertyId::AuthenticationData,
            PropertyValue::Binary(data),
        )?;
    }
    let auth = Auth {
        reason: Reason::CONTINUE_AUTHENTICATION,
        properties: list.as_properties(),
    };
    auth.encode(Version::V5, out)
        .map_err(|error| Error::invalid(error.to_string()))
}

/// Appends DISCONNECT.
pub(super) fn encode_disconnect(
    options: &Options,
    version: Version,
    reason: Reason,
    out: &mut BytesMut,
) {
    let mut list = PropertyList::new();
    if version == Version::V5 && options.expiry_is_ours && !reason.is_error() {
        // Nobody will come back to this session (section 3.14.2.2.2).
        let _ = list.push(PropertyId::SessionExpiryInterval, PropertyValue::U32(0));
    }
    let disconnect = Disconnect {
        reason,
        properties: list.as_properties(),
    };
    // It holds nothing that could be too long.
    let _ = disconnect.encode(version, out);
}

/// The keep-alive that counts on this connection (section 3.2.2.3.14).
pub(super) fn keepalive(options: &Options, properties: Properties<'_>) -> Duration {
    properties
        .u16(PropertyId::ServerKeepAlive)
        .map_or(options.keepalive, |seconds| {
            Duration::from_secs(seconds.into())
        })
}

/// What a program is told of a connection.
pub(super) fn describe(version: Version, client_id: &str, connack: &ConnAck<'_>) -> Value {
    let text = |text: &str| Value::Bytes(text.as_bytes().to_vec());
    let mut entries = vec![
        (
            b"session_present".to_vec(),
            Value::Boolean(connack.session_present),
        ),
        (
            b"version".to_vec(),
            match version {
                Version::V5 => Value::Integer(5),
                Version::V311 => text("3.1.1"),
            },
        ),
        (b"client_id".to_vec(), text(client_id)),
    ];
    if let Some(properties) = properties::to_value(connack.properties) {
        entries.push((b"properties".to_vec(), properties));
    }
    Value::Map(entries)
}

/// The servers that the broker names in place of itself (section 4.11).
pub(super) fn referred(reason: Reason, properties: Properties<'_>) -> Vec<String> {
    if !matches!(reason, Reason::USE_ANOTHER_SERVER | Reason::SERVER_MOVED) {
        return Vec::new();
    }
    let reference = properties
        .text(PropertyId::ServerReference)
        .unwrap_or_default();
    reference.split_whitespace().map(str::to_owned).collect()
}

/// What a refusal in CONNACK means.
pub(super) fn refusal(reason: Reason, properties: Properties<'_>, options: &Options) -> Error {
    use Reason as R;
    let text = |remedy: &str| {
        let told = told(reason, properties);
        format!("the broker refused the connection: {told}{remedy}")
    };
    match reason {
        R::BAD_USER_NAME_OR_PASSWORD | R::NOT_AUTHORIZED | R::BANNED => {
            let remedy = match (&options.username, &options.password) {
                (None, None) => "; give `username` and `password`",
                _ => "; are `username` and `password` right?",
            };
            Error::fatal(Code::Auth, text(remedy))
        }
        R::BAD_AUTHENTICATION_METHOD => Error::fatal(Code::Auth, text("; see `auth_method`")),
        R::CLIENT_IDENTIFIER_NOT_VALID => Error::fatal(
            Code::Refused,
            text(&format!("; client_id = {:?}", options.client_id)),
        ),
        R::MALFORMED_PACKET | R::PROTOCOL_ERROR => Error::fatal(Code::Protocol, text("")),
        R::UNSUPPORTED_PROTOCOL_VERSION => Error::fatal(Code::Refused, text("")),
        R::TOPIC_NAME_INVALID
        | R::PACKET_TOO_LARGE
        | R::PAYLOAD_FORMAT_INVALID
        | R::RETAIN_NOT_SUPPORTED
        | R::QOS_NOT_SUPPORTED => Error::fatal(Code::Refused, text("; see `will`")),
        R::SERVER_MOVED => Error::fatal(Code::Refused, text(elsewhere(properties))),
        R::USE_ANOTHER_SERVER => Error::new(Code::Refused, text(elsewhere(properties))),
        // It is down, busy, or over a quota: that passes.
        _ => Error::new(Code::Refused, text("")),
    }
}

/// Why a broker ended the connection (section 3.14.2.1).
pub(super) fn farewell(reason: Reason, properties: Properties<'_>, client_id: &str) -> Error {
    use Reason as R;
    let text = |remedy: &str| {
        let told = told(reason, properties);
        format!("the broker ended the connection: {told}{remedy}")
    };
    match reason {
        // Both would end each other's connections for ever.
        R::SESSION_TAKEN_OVER => Error::fatal(
            Code::Refused,
            text(&format!(
                "; another client uses client_id = {client_id:?}, which must be its own"
            )),
        ),
        R::NOT_AUTHORIZED => Error::fatal(Code::Auth, text("")),
        R::SERVER_MOVED => Error::fatal(Code::Refused, text(elsewhere(properties))),
        _ => Error::lost(text("")),
    }
}

fn elsewhere(properties: Properties<'_>) -> &'static str {
    match properties.text(PropertyId::ServerReference) {
        Some(_) => "; `redirect = true` follows it",
        None => "",
    }
}

/// The broker's reason: its name, its number, and what it says besides.
pub(super) fn told(reason: Reason, properties: Properties<'_>) -> String {
    let number = reason.0;
    let mut text = match reason.text() {
        "unknown reason" => format!("reason 0x{number:02x}"),
        name => format!("{name} (0x{number:02x})"),
    };
    if let Some(more) = properties.text(PropertyId::ReasonString) {
        text.push_str(": ");
        text.push_str(more);
    }
    if let Some(reference) = properties.text(PropertyId::ServerReference) {
        text.push_str(", ");
        text.push_str(reference);
    }
    text
}
