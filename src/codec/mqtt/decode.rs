//! The body of a packet → the packet. The fixed header has been read, and its flags are right.
//!
//! Allocates for lists of filters and reasons only, which are bounded. Knows nothing about streams.

use super::wire::Reader;
use super::{
    topic, Ack, AckKind, Auth, ConnAck, Connect, DecodeError, Disconnect, Filter, Packet, Place,
    Properties, PropertyId, Publish, Qos, Reason, Role, SubAck, Subscribe, UnsubAck, Unsubscribe,
    Version, Will,
};

/// Filters of one SUBSCRIBE or UNSUBSCRIBE. Each takes a multiple of the four bytes that it may have in the packet.
pub(super) const MAX_FILTERS: usize = 1 << 20;

/// Section 3.3. `first`: the first byte of the packet, which has the flags.
#[inline]
pub(super) fn publish(
    first: u8,
    body: &[u8],
    role: Role,
    version: Version,
) -> Result<Publish<'_>, DecodeError> {
    let mut reader = Reader::new(body, Place::Publish);
    let topic = reader.raw_text("topic")?;
    if !topic::is_plain(topic) {
        return Err(bad_name(&reader, topic));
    }
    let qos = Qos::from_u8(first >> 1 & 3).unwrap_or_default();
    let packet_id = match qos {
        Qos::AtMostOnce => 0,
        _ => reader.packet_id()?,
    };
    let properties = match version {
        Version::V5 => Properties::read(&mut reader, Place::Publish)?,
        Version::V311 => Properties::default(),
    };
    // Neither is frequent, so the properties are not searched before it is known that they matter.
    if topic.is_empty() && properties.value(PropertyId::TopicAlias).is_none() {
        return Err(DecodeError::protocol(
            "PUBLISH has neither a topic nor a topic alias",
        ));
    }
    if role == Role::Server
        && !properties.is_empty()
        && properties
            .value(PropertyId::SubscriptionIdentifier)
            .is_some()
    {
        return Err(DecodeError::protocol(
            "PUBLISH with a subscription_identifier cannot come from a client",
        ));
    }
    Ok(Publish {
        dup: first & 0b1000 != 0,
        qos,
        retain: first & 1 != 0,
        topic,
        packet_id,
        properties,
        payload: reader.rest(),
    })
}

/// Section 3.1. Sets `version` to the one that the packet names, or the one to refuse it in.
pub(super) fn connect<'a>(
    body: &'a [u8],
    version: &mut Version,
) -> Result<Connect<'a>, DecodeError> {
    let mut reader = Reader::new(body, Place::Connect);
    protocol(&mut reader, version)?;
    let flags = reader.u8("flags")?;
    let bit = |number: u8| flags >> number & 1 != 0;
    if bit(0) {
        return Err(DecodeError::malformed(
            "the reserved flag of CONNECT is set",
        ));
    }
    let Some(will_qos) = Qos::from_u8(flags >> 3 & 3) else {
        return Err(DecodeError::malformed(
            "the will of CONNECT has QoS 3, which does not exist",
        ));
    };
    if !bit(2) && (will_qos != Qos::AtMostOnce || bit(5)) {
        return Err(DecodeError::malformed(
            "CONNECT has QoS or RETAIN of a will, but no will",
        ));
    }
    if *version == Version::V311 && bit(6) && !bit(7) {
        return Err(DecodeError::malformed(
            "CONNECT of MQTT 3.1.1 has a password, but no user name",
        ));
    }
    let keep_alive = reader.u16("keep alive")?;
    let properties = properties(&mut reader, Place::Connect, *version)?;
    if properties.value(PropertyId::AuthenticationData).is_some()
        && properties.value(PropertyId::AuthenticationMethod).is_none()
    {
        return Err(DecodeError::protocol(
            "CONNECT has authentication_data, but no authentication_method",
        ));
    }
    let client_id = reader.text("client identifier")?;
    let will = match bit(2) {
        true => Some(will(&mut reader, will_qos, bit(5), *version)?),
        false => None,
    };
    let username = bit(7).then(|| reader.text("user name")).transpose()?;
    let password = bit(6).then(|| reader.binary("password")).transpose()?;
    reader.end()?;
    Ok(Connect {
        version: *version,
        clean_start: bit(1),
        keep_alive,
        client_id,
        will,
        username,
        password,
        properties,
    })
}

/// Every packet but PUBLISH and CONNECT.
pub(super) fn other(
    first: u8,
    body: &[u8],
    role: Role,
    version: Version,
) -> Result<Packet<'_>, DecodeError> {
    let Some(place) = Place::from_type(first >> 4) else {
        return Err(DecodeError::malformed("packet type 0 is reserved"));
    };
    let mut reader = Reader::new(body, place);
    let packet = match place {
        Place::PubAck => Packet::Ack(ack(&mut reader, AckKind::PubAck, version)?),
        Place::PubRec => Packet::Ack(ack(&mut reader, AckKind::PubRec, version)?),
        Place::PubRel => Packet::Ack(ack(&mut reader, AckKind::PubRel, version)?),
        Place::PubComp => Packet::Ack(ack(&mut reader, AckKind::PubComp, version)?),
        Place::ConnAck => Packet::ConnAck(conn_ack(&mut reader, version)?),
        Place::Subscribe => Packet::Subscribe(subscribe(&mut reader, version)?),
        Place::SubAck => Packet::SubAck(sub_ack(&mut reader, version)?),
        Place::Unsubscribe => Packet::Unsubscribe(unsubscribe(&mut reader, version)?),
        Place::UnsubAck => Packet::UnsubAck(unsub_ack(&mut reader, version)?),
        Place::PingReq => Packet::PingReq,
        Place::PingResp => Packet::PingResp,
        Place::Disconnect => Packet::Disconnect(disconnect(&mut reader, role, version)?),
        Place::Auth => Packet::Auth(auth(&mut reader)?),
        // Not reached: they have functions of their own.
        Place::Will | Place::Connect | Place::Publish => {
            return Err(DecodeError::malformed("unexpected packet"))
        }
    };
    reader.end()?;
    Ok(packet)
}

/// Protocol name and level (sections 3.1.2.1, 3.1.2.2). Sets `version` also where it refuses the level: below 5, a
/// client understands at best the answer of 3.1.1.
fn protocol(reader: &mut Reader<'_>, version: &mut Version) -> Result<(), DecodeError> {
    let unsupported = |text| DecodeError::new(Reason::UNSUPPORTED_PROTOCOL_VERSION, text);
    let name = reader.binary("protocol name")?;
    // The latter is the name of 3.1, whose clients are told so rather than that they are no MQTT at all.
    if name != b"MQTT" && name != b"MQIsdp" {
        let name: Vec<u8> = name.iter().take(16).copied().collect();
        return Err(unsupported(format!(
            "CONNECT asks for the protocol \"{}\" instead of \"MQTT\"",
            name.escape_ascii()
        )));
    }
    let level = reader.u8("protocol level")?;
    *version = match level {
        0..=4 => Version::V311,
        5.. => Version::V5,
    };
    if name == b"MQTT" && level == version.level() {
        return Ok(());
    }
    Err(unsupported(format!(
        "CONNECT asks for protocol level {level} of {}, supported are 4 (3.1.1) and 5 of MQTT",
        name.escape_ascii()
    )))
}

/// The will in CONNECT's payload (section 3.1.3).
fn will<'a>(
    reader: &mut Reader<'a>,
    qos: Qos,
    retain: bool,
    version: Version,
) -> Result<Will<'a>, DecodeError> {
    let properties = properties(reader, Place::Will, version)?;
    let topic = reader.raw_text("will topic")?;
    if topic::check_name(topic).is_err() {
        return Err(bad_name(reader, topic));
    }
    Ok(Will {
        topic,
        payload: reader.binary("will payload")?,
        qos,
        retain,
        properties,
    })
}

/// Section 3.2.
fn conn_ack<'a>(reader: &mut Reader<'a>, version: Version) -> Result<ConnAck<'a>, DecodeError> {
    let flags = reader.u8("flags")?;
    if flags > 1 {
        return Err(DecodeError::malformed(format!(
            "CONNACK has flags {flags:#04x}, only 0x01 exists"
        )));
    }
    let code = reader.u8("reason code")?;
    // A server of 3.1.1 refuses a CONNECT of version 5 in the form that it knows.
    let old = version == Version::V311 || (reader.is_empty() && matches!(code, 1..=5));
    let (reason, properties) = if old {
        match Reason::from_return_code(code) {
            Some(reason) => (reason, Properties::default()),
            None => {
                return Err(DecodeError::protocol(format!(
                    "CONNACK has the return code {code}, which is reserved"
                )))
            }
        }
    } else {
        let reason = check_reason(code, Place::ConnAck)?;
        (reason, Properties::read(reader, Place::ConnAck)?)
    };
    let session_present = flags == 1;
    if session_present && reason != Reason::SUCCESS {
        return Err(DecodeError::protocol(format!(
            "CONNACK tells of a session together with the error \"{reason}\""
        )));
    }
    Ok(ConnAck {
        session_present,
        reason,
        properties,
    })
}

/// Sections 3.4 to 3.7.
fn ack<'a>(
    reader: &mut Reader<'a>,
    kind: AckKind,
    version: Version,
) -> Result<Ack<'a>, DecodeError> {
    let packet_id = reader.packet_id()?;
    let (reason, properties) = match version {
        Version::V5 => outcome(reader)?,
        Version::V311 => Default::default(),
    };
    Ok(Ack {
        kind,
        packet_id,
        reason,
        properties,
    })
}

/// A reason and properties, of which either may be left out at the end of the packet (section 3.4.2.1).
fn outcome<'a>(reader: &mut Reader<'a>) -> Result<(Reason, Properties<'a>), DecodeError> {
    if reader.is_empty() {
        return Ok(Default::default());
    }
    let place = reader.place();
    let reason = check_reason(reader.u8("reason code")?, place)?;
    if reader.is_empty() {
        return Ok((reason, Properties::default()));
    }
    Ok((reason, Properties::read(reader, place)?))
}

/// Section 3.8.
fn subscribe<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Subscribe<'a>, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = properties(reader, Place::Subscribe, version)?;
    let mut filters = Vec::new();
    while !reader.is_empty() {
        check_count(&filters, reader)?;
        filters.push(subscription(reader, version)?);
    }
    if filters.is_empty() {
        return Err(DecodeError::protocol("SUBSCRIBE has no topic filter"));
    }
    Ok(Subscribe {
        packet_id,
        properties,
        filters,
    })
}

/// A filter and its options (section 3.8.3.1).
fn subscription<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Filter<'a>, DecodeError> {
    let filter = topic_filter(reader, version)?;
    let options = reader.u8("subscription options")?;
    let reserved = match version {
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if options & reserved != 0 {
        return Err(DecodeError::malformed(format!(
            "SUBSCRIBE has options {options:#04x}, of which reserved bits are set"
        )));
    }
    let Some(qos) = Qos::from_u8(options & 3) else {
        let text = "SUBSCRIBE asks for QoS 3, which does not exist";
        // 3.1.1, [MQTT-3.8.3-4]; version 5, section 3.8.3.1.
        return Err(match version {
            Version::V311 => DecodeError::malformed(text),
            Version::V5 => DecodeError::protocol(text),
        });
    };
    let no_local = options & 0b100 != 0;
    let retain_handling = options >> 4 & 3;
    if retain_handling == 3 {
        return Err(DecodeError::protocol(
            "SUBSCRIBE asks for retain handling 3, which does not exist",
        ));
    }
    if no_local && topic::shared_filter(filter).is_some() {
        return Err(DecodeError::protocol(
            "SUBSCRIBE asks for no local on a shared subscription",
        ));
    }
    Ok(Filter {
        filter,
        qos,
        no_local,
        retain_as_published: options & 0b1000 != 0,
        retain_handling,
    })
}

/// Section 3.9.
fn sub_ack<'a>(reader: &mut Reader<'a>, version: Version) -> Result<SubAck<'a>, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = properties(reader, Place::SubAck, version)?;
    let reasons = reasons(reader, |code| match version {
        Version::V5 => check_reason(code, Place::SubAck),
        Version::V311 => {
            Reason::from_suback_code(code).ok_or_else(|| bad_reason(code, Place::SubAck))
        }
    })?;
    Ok(SubAck {
        packet_id,
        properties,
        reasons,
    })
}

/// Section 3.10.
fn unsubscribe<'a>(
    reader: &mut Reader<'a>,
    version: Version,
) -> Result<Unsubscribe<'a>, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = properties(reader, Place::Unsubscribe, version)?;
    let mut filters = Vec::new();
    while !reader.is_empty() {
        check_count(&filters, reader)?;
        filters.push(topic_filter(reader, version)?);
    }
    if filters.is_empty() {
        return Err(DecodeError::protocol("UNSUBSCRIBE has no topic filter"));
    }
    Ok(Unsubscribe {
        packet_id,
        properties,
        filters,
    })
}

/// Section 3.11.
fn unsub_ack<'a>(reader: &mut Reader<'a>, version: Version) -> Result<UnsubAck<'a>, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = properties(reader, Place::UnsubAck, version)?;
    let reasons = match version {
        Version::V311 => Vec::new(),
        Version::V5 => reasons(reader, |code| check_reason(code, Place::UnsubAck))?,
    };
    Ok(UnsubAck {
        packet_id,
        properties,
        reasons,
    })
}

/// Section 3.14.
fn disconnect<'a>(
    reader: &mut Reader<'a>,
    role: Role,
    version: Version,
) -> Result<Disconnect<'a>, DecodeError> {
    let (reason, properties) = match version {
        Version::V5 => outcome(reader)?,
        Version::V311 => Default::default(),
    };
    let expiry = properties.value(PropertyId::SessionExpiryInterval);
    if role == Role::Client && expiry.is_some() {
        return Err(DecodeError::protocol(
            "DISCONNECT with a session_expiry_interval cannot come from a server",
        ));
    }
    Ok(Disconnect { reason, properties })
}

/// Section 3.15: both reason and properties, or neither.
fn auth<'a>(reader: &mut Reader<'a>) -> Result<Auth<'a>, DecodeError> {
    if reader.is_empty() {
        let (reason, properties) = Default::default();
        return Ok(Auth { reason, properties });
    }
    let reason = check_reason(reader.u8("reason code")?, Place::Auth)?;
    let properties = Properties::read(reader, Place::Auth)?;
    Ok(Auth { reason, properties })
}

#[inline]
fn properties<'a>(
    reader: &mut Reader<'a>,
    place: Place,
    version: Version,
) -> Result<Properties<'a>, DecodeError> {
    match version {
        Version::V5 => Properties::read(reader, place),
        Version::V311 => Ok(Properties::default()),
    }
}

fn check_count<T>(filters: &[T], reader: &Reader<'_>) -> Result<(), DecodeError> {
    if filters.len() < MAX_FILTERS {
        return Ok(());
    }
    Err(DecodeError::new(
        Reason::PACKET_TOO_LARGE,
        format!("{} has more than {MAX_FILTERS} filters", reader.place()),
    ))
}

fn topic_filter<'a>(reader: &mut Reader<'a>, version: Version) -> Result<&'a str, DecodeError> {
    let filter = reader.text("topic filter")?;
    let checked = match version {
        Version::V5 => topic::check_filter(filter),
        Version::V311 => topic::check_unshared_filter(filter),
    };
    match checked {
        Ok(()) => Ok(filter),
        Err(error) => Err(DecodeError::new(
            Reason::TOPIC_FILTER_INVALID,
            format!("{} has a bad topic filter: {error}", reader.place()),
        )),
    }
}

/// All the bytes that are left, at least one.
fn reasons(
    reader: &mut Reader<'_>,
    check: impl Fn(u8) -> Result<Reason, DecodeError>,
) -> Result<Vec<Reason>, DecodeError> {
    let codes = reader.take(reader.rest().len(), "reason codes")?;
    if codes.is_empty() {
        let place = reader.place();
        return Err(DecodeError::protocol(format!("{place} has no reason code")));
    }
    codes.iter().map(|&code| check(code)).collect()
}

#[inline]
fn check_reason(code: u8, place: Place) -> Result<Reason, DecodeError> {
    // Most acknowledgements say nothing else, and every packet with a reason may say it.
    if code == 0 || Reason(code).allowed_in(place) {
        return Ok(Reason(code));
    }
    // Mosquitto answers with it what exceeds its message_size_limit, against [MQTT-3.4.2-1]. To insist
    // would end the connection, and the message would be sent again on each of the next.
    let refusal = matches!(place, Place::PubAck | Place::PubRec);
    if refusal && code == Reason::PACKET_TOO_LARGE.0 {
        return Ok(Reason::PACKET_TOO_LARGE);
    }
    Err(bad_reason(code, place))
}

#[cold]
fn bad_reason(code: u8, place: Place) -> DecodeError {
    DecodeError::protocol(format!("{place} cannot carry the reason {code:#04x}"))
}

#[cold]
fn bad_name(reader: &Reader<'_>, name: &str) -> DecodeError {
    if name.contains('\0') {
        return reader.nul("topic");
    }
    let text = match topic::check_name(name) {
        Err(error) => format!("{} has a bad topic: {error}", reader.place()),
        Ok(()) => format!("{} has a bad topic", reader.place()),
    };
    DecodeError::new(Reason::TOPIC_NAME_INVALID, text)
}
