//! Packets → bytes. Appends to a buffer and knows nothing about who will write it.
//!
//! Everything is checked before the first byte is written, so that an error leaves the buffer as it was.

use super::wire::{put_binary, put_varint, varint_len};
use super::{
    topic, Ack, Auth, ConnAck, Disconnect, EncodeError, Packet, Place, Properties, PropertyId,
    Publish, Qos, Reason, SubAck, Subscribe, UnsubAck, Unsubscribe, Version, MAX_REMAINING,
};
use bytes::{BufMut, BytesMut};

impl Packet<'_> {
    /// Appends the packet in the form of `version`; what 3.1.1 has no place for is left out. CONNECT is written in the
    /// version that it names itself.
    ///
    /// # Errors
    /// The packet cannot be sent, or a peer would refuse it; `out` is as it was. Not looked for: wildcards in topics,
    /// the form of filters, see [`topic::check_name`] and [`topic::check_filter`].
    #[inline]
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::Publish(packet) => packet.encode(version, out),
            Self::Ack(packet) => packet.encode(version, out),
            Self::Connect(packet) => packet.encode(version, out),
            Self::ConnAck(packet) => packet.encode(version, out),
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::SubAck(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::UnsubAck(packet) => packet.encode(version, out),
            Self::PingReq => start(Place::PingReq, 0, out),
            Self::PingResp => start(Place::PingResp, 0, out),
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(version, out),
        }
    }

    /// How many bytes `encode` appends, its fixed header included, where it does not fail.
    pub fn encoded_len(&self, version: Version) -> usize {
        match self {
            Self::Publish(packet) => packet.encoded_len(version),
            Self::Ack(packet) => packet.encoded_len(version),
            Self::Connect(packet) => packet.encoded_len(version),
            Self::ConnAck(packet) => packet.encoded_len(version),
            Self::Subscribe(packet) => packet.encoded_len(version),
            Self::SubAck(packet) => packet.encoded_len(version),
            Self::Unsubscribe(packet) => packet.encoded_len(version),
            Self::UnsubAck(packet) => packet.encoded_len(version),
            Self::PingReq | Self::PingResp => with_header(0),
            Self::Disconnect(packet) => packet.encoded_len(version),
            Self::Auth(packet) => packet.encoded_len(version),
        }
    }
}

/// `encoded_len` of a packet that knows the length of its body.
macro_rules! encoded_len {
    () => {
        /// As [`Packet::encoded_len`].
        #[inline]
        pub fn encoded_len(&self, version: Version) -> usize {
            with_header(self.body_len(version))
        }
    };
}

impl Publish<'_> {
    /// As [`Packet::encode`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.check(version)?;
        let body = self.body_len(version);
        if body > MAX_REMAINING {
            return Err(too_long(Place::Publish, body));
        }
        let first = (Place::Publish as u8) << 4
            | u8::from(self.dup) << 3
            | (self.qos as u8) << 1
            | u8::from(self.retain);
        // One piece: each append has its price.
        let (header, length) = header(first, body, self.topic.len() as u16);
        out.reserve(length + body);
        out.extend_from_slice(header.get(..length).unwrap_or_default());
        out.extend_from_slice(self.topic.as_bytes());
        if self.qos != Qos::AtMostOnce {
            out.put_u16(self.packet_id);
        }
        if version == Version::V5 {
            put_properties(out, self.properties);
        }
        out.extend_from_slice(self.payload);
        Ok(())
    }

    encoded_len!();

    #[inline]
    fn body_len(&self, version: Version) -> usize {
        let id = if self.qos == Qos::AtMostOnce { 0 } else { 2 };
        2 + self.topic.len() + id + properties_len(self.properties, version) + self.payload.len()
    }

    #[inline]
    fn check(&self, version: Version) -> Result<(), EncodeError> {
        let place = Place::Publish;
        if self.topic.len() > usize::from(u16::MAX) {
            return Err(field_too_long(place, "topic", self.topic.len()));
        }
        if version == Version::V5 {
            self.properties.check(place)?;
        }
        if self.topic.is_empty()
            && (version == Version::V311 || self.properties.value(PropertyId::TopicAlias).is_none())
        {
            return Err(invalid(place, "it needs a topic or a topic alias"));
        }
        if self.qos == Qos::AtMostOnce {
            if self.dup {
                return Err(invalid(place, "QoS 0 cannot be sent again with DUP"));
            }
        } else if self.packet_id == 0 {
            return Err(invalid(place, "QoS 1 and 2 need a packet identifier"));
        }
        Ok(())
    }
}

impl ConnAck<'_> {
    /// As [`Packet::encode`].
    ///
    /// # Errors
    /// As there; in 3.1.1 also where there is no return code for the reason.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let place = Place::ConnAck;
        let reason = self.reason;
        if self.session_present && reason != Reason::SUCCESS {
            return Err(invalid(place, "there is no session together with an error"));
        }
        check_reason(place, reason)?;
        let code = match version {
            Version::V5 => {
                self.properties.check(place)?;
                reason.0
            }
            Version::V311 => reason
                .return_code()
                .ok_or(EncodeError::Reason { place, reason })?,
        };
        start(place, self.body_len(version), out)?;
        out.put_u8(u8::from(self.session_present));
        out.put_u8(code);
        if version == Version::V5 {
            put_properties(out, self.properties);
        }
        Ok(())
    }

    encoded_len!();

    fn body_len(&self, version: Version) -> usize {
        2 + properties_len(self.properties, version)
    }
}

impl Ack<'_> {
    /// As [`Packet::encode`]; 3.1.1 has no reasons.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let place = self.kind.place();
        check_packet_id(place, self.packet_id)?;
        if version == Version::V311
            || (self.reason == Reason::SUCCESS && self.properties.is_empty())
        {
            let [high, low] = self.packet_id.to_be_bytes();
            out.extend_from_slice(&[place.first_byte(), 2, high, low]);
            return Ok(());
        }
        check_reason(place, self.reason)?;
        self.properties.check(place)?;
        start(place, self.body_len(version), out)?;
        out.put_u16(self.packet_id);
        put_outcome(out, self.reason, self.properties);
        Ok(())
    }

    encoded_len!();

    fn body_len(&self, version: Version) -> usize {
        2 + outcome_len(self.reason, self.properties, version)
    }
}

impl Subscribe<'_> {
    /// As [`Packet::encode`]; 3.1.1 has no options but the QoS.
    ///
    /// # Errors
    /// As there.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let place = Place::Subscribe;
        check_packet_id(place, self.packet_id)?;
        if self.filters.is_empty() {
            return Err(invalid(place, "it needs a topic filter"));
        }
        for filter in &self.filters {
            check_text(place, "topic filter", filter.filter)?;
            if version == Version::V311 {
                continue;
            }
            if filter.retain_handling > 2 {
                return Err(invalid(place, "retain handling is 0, 1 or 2"));
            }
            if filter.no_local && topic::shared_filter(filter.filter).is_some() {
                return Err(invalid(place, "a shared subscription cannot be no local"));
            }
        }
        if version == Version::V5 {
            self.properties.check(place)?;
        }
        start(place, self.body_len(version), out)?;
        out.put_u16(self.packet_id);
        if version == Version::V5 {
            put_properties(out, self.properties);
        }
        for filter in &self.filters {
            put_binary(out, filter.filter.as_bytes());
            let options = match version {
                Version::V311 => 0,
                Version::V5 => {
                    u8::from(filter.no_local) << 2
                        | u8::from(filter.retain_as_published) << 3
                        | filter.retain_handling << 4
                }
            };
            out.put_u8(filter.qos as u8 | options);
        }
        Ok(())
    }

    encoded_len!();

    fn body_len(&self, version: Version) -> usize {
        let filters = self.filters.iter().map(|filter| 3 + filter.filter.len());
        2 + properties_len(self.properties, version) + filters.sum::<usize>()
    }
}

impl SubAck<'_> {
    /// As [`Packet::encode`]; in 3.1.1 every error is 0x80.
    ///
    /// # Errors
    /// As there.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let place = Place::SubAck;
        check_packet_id(place, self.packet_id)?;
        check_reasons(place, &self.reasons)?;
        if version == Version::V5 {
            self.properties.check(place)?;
        }
        start(place, self.body_len(version), out)?;
        out.put_u16(self.packet_id);
        if version == Version::V5 {
            put_properties(out, self.properties);
        }
        out.extend(self.reasons.iter().map(|reason| match version {
            Version::V311 => reason.suback_code(),
            Version::V5 => reason.0,
        }));
        Ok(())
    }

    encoded_len!();

    fn body_len(&self, version: Version) -> usize {
        2 + properties_len(self.properties, version) + self.reasons.len()
    }
}

impl Unsubscribe<'_> {
    /// As [`Packet::encode`].
    ///
    /// # Errors
    /// As there.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let place = Place::Unsubscribe;
        check_packet_id(place, self.packet_id)?;
        if self.filters.is_empty() {
            return Err(invalid(place, "it needs a topic filter"));
        }
        for filter in &self.filters {
            check_text(place, "topic filter", filter)?;
        }
        if version == Version::V5 {
            self.properties.check(place)?;
        }
        start(place, self.body_len(version), out)?;
        out.put_u16(self.packet_id);
        if version == Version::V5 {
            put_properties(out, self.properties);
        }
        for filter in &self.filters {
            put_binary(out, filter.as_bytes());
        }
        Ok(())
    }

    encoded_len!();

    fn body_len(&self, version: Version) -> usize {
        let filters = self.filters.iter().map(|filter| 2 + filter.len());
        2 + properties_len(self.properties, version) + filters.sum::<usize>()
    }
}

impl UnsubAck<'_> {
    /// As [`Packet::encode`]; 3.1.1 has no reasons.
    ///
    /// # Errors
    /// As there.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let place = Place::UnsubAck;
        check_packet_id(place, self.packet_id)?;
        if version == Version::V5 {
            check_reasons(place, &self.reasons)?;
            self.properties.check(place)?;
        }
        start(place, self.body_len(version), out)?;
        out.put_u16(self.packet_id);
        if version == Version::V5 {
            put_properties(out, self.properties);
            out.extend(self.reasons.iter().map(|reason| reason.0));
        }
        Ok(())
    }

    encoded_len!();

    fn body_len(&self, version: Version) -> usize {
        match version {
            Version::V311 => 2,
            Version::V5 => 2 + properties_len(self.properties, version) + self.reasons.len(),
        }
    }
}

impl Disconnect<'_> {
    /// As [`Packet::encode`]; 3.1.1 has no reasons.
    ///
    /// # Errors
    /// As there.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let place = Place::Disconnect;
        if version == Version::V5 {
            check_reason(place, self.reason)?;
            self.properties.check(place)?;
        }
        start(place, self.body_len(version), out)?;
        if version == Version::V5 {
            put_outcome(out, self.reason, self.properties);
        }
        Ok(())
    }

    encoded_len!();

    fn body_len(&self, version: Version) -> usize {
        outcome_len(self.reason, self.properties, version)
    }
}

impl Auth<'_> {
    /// As [`Packet::encode`].
    ///
    /// # Errors
    /// As there; always in 3.1.1, which has no such packet.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let place = Place::Auth;
        if version == Version::V311 {
            return Err(invalid(place, "MQTT 3.1.1 has no such packet"));
        }
        check_reason(place, self.reason)?;
        self.properties.check(place)?;
        let body = self.body_len(version);
        start(place, body, out)?;
        if body > 0 {
            out.put_u8(self.reason.0);
            put_properties(out, self.properties);
        }
        Ok(())
    }

    encoded_len!();

    fn body_len(&self, _version: Version) -> usize {
        if self.reason == Reason::SUCCESS && self.properties.is_empty() {
            return 0;
        }
        1 + properties_len(self.properties, Version::V5)
    }
}

/// A packet with its fixed header.
#[inline]
pub(super) fn with_header(body: usize) -> usize {
    1 + varint_len(body) + body
}

/// First byte, remaining length, length of the topic: what PUBLISH starts with, and how much of it is used.
#[inline]
fn header(first: u8, body: usize, topic: u16) -> ([u8; 7], usize) {
    let [high, low] = topic.to_be_bytes();
    let byte = |place: u32| (body >> (7 * place) & 0x7f) as u8;
    match varint_len(body) {
        1 => ([first, byte(0), high, low, 0, 0, 0], 4),
        2 => ([first, byte(0) | 0x80, byte(1), high, low, 0, 0], 5),
        3 => (
            [first, byte(0) | 0x80, byte(1) | 0x80, byte(2), high, low, 0],
            6,
        ),
        _ => (
            [
                first,
                byte(0) | 0x80,
                byte(1) | 0x80,
                byte(2) | 0x80,
                byte(3),
                high,
                low,
            ],
            7,
        ),
    }
}

/// Writes the fixed header and makes room for the rest.
pub(super) fn start(place: Place, body: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
    if body > MAX_REMAINING {
        return Err(too_long(place, body));
    }
    out.reserve(with_header(body));
    out.put_u8(place.first_byte());
    put_varint(out, body);
    Ok(())
}

#[inline]
pub(super) fn properties_len(properties: Properties<'_>, version: Version) -> usize {
    match version {
        Version::V311 => 0,
        Version::V5 => varint_len(properties.raw().len()) + properties.raw().len(),
    }
}

#[inline]
pub(super) fn put_properties(out: &mut BytesMut, properties: Properties<'_>) {
    let raw = properties.raw();
    put_varint(out, raw.len());
    if !raw.is_empty() {
        out.extend_from_slice(raw);
    }
}

/// A reason and properties at the end of a packet; each is left out where it says nothing (section 3.4.2.1).
fn outcome_len(reason: Reason, properties: Properties<'_>, version: Version) -> usize {
    match version {
        Version::V311 => 0,
        Version::V5 if !properties.is_empty() => 1 + properties_len(properties, version),
        Version::V5 => usize::from(reason != Reason::SUCCESS),
    }
}

fn put_outcome(out: &mut BytesMut, reason: Reason, properties: Properties<'_>) {
    if !properties.is_empty() {
        out.put_u8(reason.0);
        put_properties(out, properties);
    } else if reason != Reason::SUCCESS {
        out.put_u8(reason.0);
    }
}

pub(super) fn check_text(place: Place, field: &'static str, text: &str) -> Result<(), EncodeError> {
    if text.contains('\0') {
        return Err(invalid(place, "its strings cannot hold a NUL character"));
    }
    check_binary(place, field, text.as_bytes())
}

pub(super) fn check_binary(
    place: Place,
    field: &'static str,
    data: &[u8],
) -> Result<(), EncodeError> {
    if data.len() > usize::from(u16::MAX) {
        return Err(field_too_long(place, field, data.len()));
    }
    Ok(())
}

#[inline]
fn check_packet_id(place: Place, packet_id: u16) -> Result<(), EncodeError> {
    if packet_id == 0 {
        return Err(invalid(place, "it needs a packet identifier"));
    }
    Ok(())
}

fn check_reason(place: Place, reason: Reason) -> Result<(), EncodeError> {
    if reason.allowed_in(place) {
        return Ok(());
    }
    Err(EncodeError::Reason { place, reason })
}

fn check_reasons(place: Place, reasons: &[Reason]) -> Result<(), EncodeError> {
    if reasons.is_empty() {
        return Err(invalid(place, "it needs a reason for each topic filter"));
    }
    reasons
        .iter()
        .try_for_each(|&reason| check_reason(place, reason))
}

#[cold]
pub(super) fn invalid(place: Place, what: &'static str) -> EncodeError {
    EncodeError::Invalid { place, what }
}

#[cold]
fn field_too_long(place: Place, field: &'static str, length: usize) -> EncodeError {
    EncodeError::FieldTooLong {
        place,
        field,
        length,
    }
}

#[cold]
fn too_long(place: Place, length: usize) -> EncodeError {
    EncodeError::PacketTooLong { place, length }
}
