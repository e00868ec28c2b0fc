//! Properties (section 2.2.2): one table says of each its type, where it may be, how often and with which values; it
//! encodes, decodes and validates.
//!
//! Knows nothing about what a property is for.

use super::wire::{put_binary, put_varint, Reader};
use super::{topic, DecodeError, EncodeError, Place, PropertyError, Reason, MAX_REMAINING};
use bytes::{BufMut, BytesMut};
use std::fmt;

/// The type of a property on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Byte,
    U16,
    U32,
    Varint,
    Binary,
    Text,
    Pair,
}

/// Which of the values of its type a property allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Any,
    /// 0 or 1.
    Flag,
    NotZero,
    /// A topic name without wildcards.
    Topic,
}

/// Writes the enum and the table.
macro_rules! properties {
    ($($variant:ident = $id:literal, $name:literal, $wire:ident, $rule:ident,
       [$($place:ident),+], repeatable [$($again:ident),*];)+) => {
        /// The properties of version 5 (section 2.2.2.2), by their number on the wire. Displays as
        /// [`PropertyId::name`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum PropertyId {
            $(#[doc = $name] $variant = $id,)+
        }

        impl PropertyId {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The property with this number on the wire.
            #[inline]
            pub const fn from_id(id: u8) -> Option<Self> {
                Some(match id {
                    $($id => Self::$variant,)+
                    _ => return None,
                })
            }

            /// Its name in snake case: `message_expiry_interval`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The property of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Some(match name {
                    $($name => Self::$variant,)+
                    _ => return None,
                })
            }

            const fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        wire: Wire::$wire,
                        rule: Rule::$rule,
                        places: 0 $(| Place::$place.bit())+,
                        repeatable: 0 $(| Place::$again.bit())*,
                    },)+
                }
            }
        }
    };
}

#[derive(Debug, Clone, Copy)]
struct Row {
    wire: Wire,
    rule: Rule,
    /// A bit for each [`Place`] that may have it.
    places: u16,
    /// A bit for each that may have it more than once.
    repeatable: u16,
}

properties! {
    PayloadFormatIndicator = 0x01, "payload_format_indicator", Byte, Flag,
        [Publish, Will], repeatable [];
    MessageExpiryInterval = 0x02, "message_expiry_interval", U32, Any,
        [Publish, Will], repeatable [];
    ContentType = 0x03, "content_type", Text, Any, [Publish, Will], repeatable [];
    ResponseTopic = 0x08, "response_topic", Text, Topic, [Publish, Will], repeatable [];
    CorrelationData = 0x09, "correlation_data", Binary, Any, [Publish, Will], repeatable [];
    SubscriptionIdentifier = 0x0b, "subscription_identifier", Varint, NotZero,
        [Publish, Subscribe], repeatable [Publish];
    SessionExpiryInterval = 0x11, "session_expiry_interval", U32, Any,
        [Connect, ConnAck, Disconnect], repeatable [];
    AssignedClientIdentifier = 0x12, "assigned_client_identifier", Text, Any,
        [ConnAck], repeatable [];
    ServerKeepAlive = 0x13, "server_keep_alive", U16, Any, [ConnAck], repeatable [];
    AuthenticationMethod = 0x15, "authentication_method", Text, Any,
        [Connect, ConnAck, Auth], repeatable [];
    AuthenticationData = 0x16, "authentication_data", Binary, Any,
        [Connect, ConnAck, Auth], repeatable [];
    RequestProblemInformation = 0x17, "request_problem_information", Byte, Flag,
        [Connect], repeatable [];
    WillDelayInterval = 0x18, "will_delay_interval", U32, Any, [Will], repeatable [];
    RequestResponseInformation = 0x19, "request_response_information", Byte, Flag,
        [Connect], repeatable [];
    ResponseInformation = 0x1a, "response_information", Text, Any, [ConnAck], repeatable [];
    ServerReference = 0x1c, "server_reference", Text, Any, [ConnAck, Disconnect], repeatable [];
    ReasonString = 0x1f, "reason_string", Text, Any,
        [ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth],
        repeatable [];
    ReceiveMaximum = 0x21, "receive_maximum", U16, NotZero, [Connect, ConnAck], repeatable [];
    TopicAliasMaximum = 0x22, "topic_alias_maximum", U16, Any, [Connect, ConnAck], repeatable [];
    TopicAlias = 0x23, "topic_alias", U16, NotZero, [Publish], repeatable [];
    MaximumQos = 0x24, "maximum_qos", Byte, Flag, [ConnAck], repeatable [];
    RetainAvailable = 0x25, "retain_available", Byte, Flag, [ConnAck], repeatable [];
    UserProperty = 0x26, "user_property", Pair, Any,
        [Connect, ConnAck, Publish, Will, PubAck, PubRec, PubRel, PubComp, Subscribe, SubAck,
         Unsubscribe, UnsubAck, Disconnect, Auth],
        repeatable [Connect, ConnAck, Publish, Will, PubAck, PubRec, PubRel, PubComp, Subscribe,
                    SubAck, Unsubscribe, UnsubAck, Disconnect, Auth];
    MaximumPacketSize = 0x27, "maximum_packet_size", U32, NotZero,
        [Connect, ConnAck], repeatable [];
    WildcardSubscriptionAvailable = 0x28, "wildcard_subscription_available", Byte, Flag,
        [ConnAck], repeatable [];
    SubscriptionIdentifierAvailable = 0x29, "subscription_identifier_available", Byte, Flag,
        [ConnAck], repeatable [];
    SharedSubscriptionAvailable = 0x2a, "shared_subscription_available", Byte, Flag,
        [ConnAck], repeatable [];
}

impl PropertyId {
    /// Whether this packet, or the will, may have it.
    pub const fn allowed_in(self, place: Place) -> bool {
        self.row().places & place.bit() != 0
    }

    /// Whether it may be there more than once.
    pub const fn repeatable_in(self, place: Place) -> bool {
        self.row().repeatable & place.bit() != 0
    }

    /// What values of it are, for messages: "a string".
    pub const fn type_name(self) -> &'static str {
        match self.row().wire {
            Wire::Byte => "0 or 1",
            Wire::U16 => "an integer from 0 to 65535",
            Wire::U32 => "an integer from 0 to 4294967295",
            Wire::Varint => "an integer from 1 to 268435455",
            Wire::Binary => "bytes, at most 65535",
            Wire::Text => "a string of at most 65535 bytes",
            Wire::Pair => "a pair of strings",
        }
    }

    /// A value of this property's type from an integer; `None`: it has another type or does not go into it.
    pub fn integer(self, value: u64) -> Option<PropertyValue<'static>> {
        Some(match self.row().wire {
            Wire::Byte => PropertyValue::Byte(u8::try_from(value).ok()?),
            Wire::U16 => PropertyValue::U16(u16::try_from(value).ok()?),
            Wire::U32 => PropertyValue::U32(u32::try_from(value).ok()?),
            Wire::Varint => PropertyValue::Varint(u32::try_from(value).ok()?),
            Wire::Binary | Wire::Text | Wire::Pair => return None,
        })
    }

    /// A value of this property's type from bytes; `None`: it has another type, or they are not UTF-8 and have to be.
    pub fn bytes(self, value: &[u8]) -> Option<PropertyValue<'_>> {
        Some(match self.row().wire {
            Wire::Binary => PropertyValue::Binary(value),
            Wire::Text => PropertyValue::Text(std::str::from_utf8(value).ok()?),
            _ => return None,
        })
    }

    /// What of a value is against the rules; `None`: nothing.
    fn objection(self, value: PropertyValue<'_>) -> Option<&'static str> {
        match (self.row().rule, value) {
            (Rule::Flag, PropertyValue::Byte(2..)) => Some("0 or 1"),
            (
                Rule::NotZero,
                PropertyValue::U16(0) | PropertyValue::U32(0) | PropertyValue::Varint(0),
            ) => Some("above 0"),
            (Rule::Topic, PropertyValue::Text(text)) if topic::check_name(text).is_err() => {
                Some("a topic without wildcards")
            }
            _ => None,
        }
    }

    #[inline]
    fn read<'a>(self, reader: &mut Reader<'a>) -> Result<PropertyValue<'a>, DecodeError> {
        let name = self.name();
        Ok(match self.row().wire {
            Wire::Byte => PropertyValue::Byte(reader.u8(name)?),
            Wire::U16 => PropertyValue::U16(reader.u16(name)?),
            Wire::U32 => PropertyValue::U32(reader.u32(name)?),
            Wire::Varint => PropertyValue::Varint(reader.varint(name)?),
            Wire::Binary => PropertyValue::Binary(reader.binary(name)?),
            Wire::Text => PropertyValue::Text(reader.text(name)?),
            Wire::Pair => PropertyValue::Pair(reader.text(name)?, reader.text(name)?),
        })
    }

    /// As `read`, of a value that was checked and is not asked for.
    #[inline]
    fn skip(self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let name = self.name();
        match self.row().wire {
            Wire::Byte => reader.take(1, name).map(drop),
            Wire::U16 => reader.take(2, name).map(drop),
            Wire::U32 => reader.take(4, name).map(drop),
            Wire::Varint => reader.varint(name).map(drop),
            Wire::Binary | Wire::Text => reader.binary(name).map(drop),
            Wire::Pair => reader
                .binary(name)
                .and_then(|_| reader.binary(name))
                .map(drop),
        }
    }
}

impl fmt::Display for PropertyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The value of a property, by its type on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names say it
pub enum PropertyValue<'a> {
    Byte(u8),
    U16(u16),
    U32(u32),
    /// At most 268435455.
    Varint(u32),
    Binary(&'a [u8]),
    Text(&'a str),
    /// Name and value of a user property.
    Pair(&'a str, &'a str),
}

impl PropertyValue<'_> {
    fn wire(self) -> Wire {
        match self {
            Self::Byte(_) => Wire::Byte,
            Self::U16(_) => Wire::U16,
            Self::U32(_) => Wire::U32,
            Self::Varint(_) => Wire::Varint,
            Self::Binary(_) => Wire::Binary,
            Self::Text(_) => Wire::Text,
            Self::Pair(..) => Wire::Pair,
        }
    }

    /// It goes on the wire: strings of at most 65535 bytes without NUL, variable byte integers of four bytes.
    fn fits(self) -> bool {
        let text = |text: &str| text.len() <= usize::from(u16::MAX) && !text.contains('\0');
        match self {
            Self::Varint(value) => value as usize <= MAX_REMAINING,
            Self::Binary(data) => data.len() <= usize::from(u16::MAX),
            Self::Text(value) => text(value),
            Self::Pair(name, value) => text(name) && text(value),
            Self::Byte(_) | Self::U16(_) | Self::U32(_) => true,
        }
    }

    fn put(self, out: &mut BytesMut) {
        match self {
            Self::Byte(value) => out.put_u8(value),
            Self::U16(value) => out.put_u16(value),
            Self::U32(value) => out.put_u32(value),
            Self::Varint(value) => put_varint(out, value as usize),
            Self::Binary(data) => put_binary(out, data),
            Self::Text(text) => put_binary(out, text.as_bytes()),
            Self::Pair(name, value) => {
                put_binary(out, name.as_bytes());
                put_binary(out, value.as_bytes());
            }
        }
    }
}

/// Properties as they are on the wire, without their length. Their types and values are known to be right; that they
/// are right for the packet is known of what was decoded, and checked by `encode`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// No properties.
    pub const NONE: Self = Self(&[]);

    /// There are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order that they came.
    pub fn iter(&self) -> PropertyIter<'a> {
        PropertyIter(Reader::new(self.0, Place::Publish))
    }

    /// The first property with this id. Where user properties or subscription identifiers matter, use `iter`.
    pub fn value(&self, id: PropertyId) -> Option<PropertyValue<'a>> {
        let mut reader = Reader::new(self.0, Place::Publish);
        while !reader.is_empty() {
            let found = PropertyId::from_id(reader.u8("property").ok()?)?;
            if found == id {
                return found.read(&mut reader).ok();
            }
            found.skip(&mut reader).ok()?;
        }
        None
    }

    /// As `value`; `None` also where the property is no byte.
    pub fn u8(&self, id: PropertyId) -> Option<u8> {
        match self.value(id)? {
            PropertyValue::Byte(value) => Some(value),
            _ => None,
        }
    }

    /// As `value`; `None` also where the property has another type.
    pub fn u16(&self, id: PropertyId) -> Option<u16> {
        match self.value(id)? {
            PropertyValue::U16(value) => Some(value),
            _ => None,
        }
    }

    /// As `value`, for four byte integers and variable byte integers; `None` also where the property has another type.
    pub fn u32(&self, id: PropertyId) -> Option<u32> {
        match self.value(id)? {
            PropertyValue::U32(value) | PropertyValue::Varint(value) => Some(value),
            _ => None,
        }
    }

    /// As `value`; `None` also where the property has another type.
    pub fn text(&self, id: PropertyId) -> Option<&'a str> {
        match self.value(id)? {
            PropertyValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As `value`; `None` also where the property has another type.
    pub fn binary(&self, id: PropertyId) -> Option<&'a [u8]> {
        match self.value(id)? {
            PropertyValue::Binary(data) => Some(data),
            _ => None,
        }
    }

    /// As they go on the wire, without their length.
    #[inline]
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.0
    }

    /// What was stored of [`Properties::raw`], or encodes to properties.
    #[inline]
    pub(crate) fn stored(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// Reads and checks the properties of `place`, their length first.
    #[inline]
    pub(super) fn read(reader: &mut Reader<'a>, place: Place) -> Result<Self, DecodeError> {
        let length = reader.varint("property length")?;
        if length == 0 {
            return Ok(Self::default());
        }
        let raw = reader.take(length as usize, "properties")?;
        check_raw(raw, place)?;
        Ok(Self(raw))
    }

    /// Whether `place` may have these.
    #[inline]
    pub(super) fn check(&self, place: Place) -> Result<(), EncodeError> {
        if self.is_empty() {
            return Ok(());
        }
        self.check_each(place)
    }

    fn check_each(&self, place: Place) -> Result<(), EncodeError> {
        let mut seen = Seen::default();
        let mut reader = Reader::new(self.0, place);
        while !reader.is_empty() {
            // As in `PropertyIter`: these were checked, an error is the end and nothing else.
            let number = reader.u8("property").unwrap_or_default();
            let Some(id) = PropertyId::from_id(number) else {
                break;
            };
            if id.skip(&mut reader).is_err() {
                break;
            }
            let repeated = seen.again(id) && !id.repeatable_in(place);
            if repeated || !id.allowed_in(place) {
                return Err(EncodeError::Property {
                    place,
                    id,
                    repeated,
                });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = (PropertyId, PropertyValue<'a>);
    type IntoIter = PropertyIter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What [`Properties::iter`] returns.
#[derive(Debug, Clone)]
pub struct PropertyIter<'a>(Reader<'a>);

impl<'a> Iterator for PropertyIter<'a> {
    type Item = (PropertyId, PropertyValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        // What is in `Properties` was checked, so an error is the end and nothing else.
        let id = PropertyId::from_id(self.0.u8("property").ok()?)?;
        Some((id, id.read(&mut self.0).ok()?))
    }
}

/// Which properties were there already.
#[derive(Debug, Default)]
struct Seen(u64);

impl Seen {
    fn again(&mut self, id: PropertyId) -> bool {
        let bit = 1 << id as u8;
        let again = self.0 & bit != 0;
        self.0 |= bit;
        again
    }
}

fn check_raw(raw: &[u8], place: Place) -> Result<(), DecodeError> {
    let mut reader = Reader::new(raw, place);
    let mut seen = Seen::default();
    while !reader.is_empty() {
        let number = reader.u8("property")?;
        let Some(id) = PropertyId::from_id(number) else {
            return Err(DecodeError::malformed(format!(
                "{place} has the property {number:#04x}, which does not exist"
            )));
        };
        if !id.allowed_in(place) {
            return Err(DecodeError::malformed(format!(
                "{place} cannot have the property {id}"
            )));
        }
        let value = id.read(&mut reader)?;
        if seen.again(id) && !id.repeatable_in(place) {
            return Err(DecodeError::protocol(format!(
                "{place} has the property {id} more than once"
            )));
        }
        if let Some(expected) = id.objection(value) {
            let reason = match id {
                PropertyId::TopicAlias => Reason::TOPIC_ALIAS_INVALID,
                PropertyId::ResponseTopic => Reason::TOPIC_NAME_INVALID,
                _ => Reason::PROTOCOL_ERROR,
            };
            let text = format!("the property {id} of {place} must be {expected}");
            return Err(DecodeError::new(reason, text));
        }
    }
    Ok(())
}

/// Properties to send. Which packet they are for is checked when that is encoded.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PropertyList(BytesMut);

impl PropertyList {
    /// An empty list, which allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a property at the end.
    ///
    /// # Errors
    /// The value has the wrong type or one that the property does not allow, or the property is there already and no
    /// packet may repeat it. The list is as it was.
    pub fn push(&mut self, id: PropertyId, value: PropertyValue<'_>) -> Result<(), PropertyError> {
        let row = id.row();
        if value.wire() != row.wire {
            return Err(PropertyError::Type { id });
        }
        if !value.fits() {
            let expected = match value {
                PropertyValue::Text(_) | PropertyValue::Pair(..) => {
                    "at most 65535 bytes long, without NUL"
                }
                _ => id.type_name(),
            };
            return Err(PropertyError::Value { id, expected });
        }
        if let Some(expected) = id.objection(value) {
            return Err(PropertyError::Value { id, expected });
        }
        if row.repeatable == 0 && self.as_properties().value(id).is_some() {
            return Err(PropertyError::Repeated { id });
        }
        self.0.put_u8(id as u8);
        value.put(&mut self.0);
        Ok(())
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For a packet.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties(&self.0)
    }
}

impl From<Properties<'_>> for PropertyList {
    fn from(properties: Properties<'_>) -> Self {
        Self(properties.raw().into())
    }
}

impl fmt::Debug for PropertyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_properties().fmt(f)
    }
}
