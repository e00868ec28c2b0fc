//! Properties of a message between those who publish it and those who receive it (MQTT 5, section 3.3.2.3).

use super::queue::Manner;
use crate::broker::{Extra, Message};
use crate::codec::mqtt::{Properties, PropertyId, PropertyList, PropertyValue};
use bytes::{BufMut, BytesMut};
use std::time::Instant;

/// User properties that other protocols see as headers. As such each takes a multiple of its bytes; MQTT's clients get
/// all of them.
const HEADERS: usize = 1000;

/// Of the properties that came with a message, those that go on with it, unaltered; and as headers for other protocols.
pub(super) fn extra(properties: Properties<'_>) -> Option<Box<Extra>> {
    if properties.is_empty() {
        return None;
    }
    let mut kept = PropertyList::new();
    let mut headers = Vec::new();
    for (id, value) in properties {
        match id {
            // These are between two ends of one connection, or renewed for each.
            PropertyId::TopicAlias
            | PropertyId::MessageExpiryInterval
            | PropertyId::WillDelayInterval
            | PropertyId::SubscriptionIdentifier => continue,
            _ => {}
        }
        // What was decoded encodes.
        let _ = kept.push(id, value);
        let is_header = headers.len() < HEADERS;
        if let (PropertyValue::Pair(name, value), true) = (value, is_header) {
            headers.push((
                name.as_bytes().to_vec().into(),
                value.as_bytes().to_vec().into(),
            ));
        }
    }
    if kept.is_empty() {
        return None;
    }
    Some(Box::new(Extra {
        headers,
        properties: kept.as_properties().raw().to_vec().into(),
    }))
}

/// The properties of one delivery, encoded: short ones without an allocation.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    short: [u8; 16],
    length: usize,
    long: BytesMut,
}

impl Delivered {
    /// Those of `message`; `alias`: in place of its topic, or to become that.
    #[inline]
    pub(super) fn fill(&mut self, message: &Message, manner: Manner, alias: u16, now: Instant) {
        self.length = 0;
        self.long.clear();
        if alias != 0 {
            let [high, low] = alias.to_be_bytes();
            self.put(&[PropertyId::TopicAlias as u8, high, low]);
        }
        let mut rest = manner.identifier();
        if rest != 0 {
            self.put(&[PropertyId::SubscriptionIdentifier as u8]);
            while rest > 0x7f {
                self.put(&[(rest & 0x7f) as u8 | 0x80]);
                rest >>= 7;
            }
            self.put(&[rest as u8]);
        }
        if let Some(expires) = message.expires {
            // Begun seconds count; one that is over was on its way already.
            let left = expires.saturating_duration_since(now);
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            let [a, b, c, d] = (seconds.clamp(1, u32::MAX.into()) as u32).to_be_bytes();
            self.put(&[PropertyId::MessageExpiryInterval as u8, a, b, c, d]);
        }
        if let Some(extra) = &message.extra {
            self.append(extra);
        }
    }

    /// As they go into PUBLISH.
    #[inline]
    pub(super) fn as_properties(&self) -> Properties<'_> {
        match self.long.is_empty() {
            true => Properties::stored(self.short.get(..self.length).unwrap_or_default()),
            false => Properties::stored(&self.long),
        }
    }

    /// Fourteen bytes at the most.
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(place) = self.short.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
            self.length = end;
        }
    }

    #[cold]
    fn append(&mut self, extra: &Extra) {
        let short = self.short.get(..self.length).unwrap_or_default();
        self.long.extend_from_slice(short);
        if !extra.properties.is_empty() {
            self.long.extend_from_slice(&extra.properties);
            return;
        }
        for (name, value) in &extra.headers {
            if let (Some(name), Some(value)) = (text(name), text(value)) {
                self.long.put_u8(PropertyId::UserProperty as u8);
                for text in [name, value] {
                    self.long.put_u16(text.len() as u16);
                    self.long.extend_from_slice(text.as_bytes());
                }
            }
        }
    }
}

/// What can be a user property's name or value (section 1.5.4).
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (text.len() <= usize::from(u16::MAX) && !text.contains('\0')).then_some(text)
}
