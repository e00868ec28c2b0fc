//! What a client publishes (MQTT 5, section 3.3): topic aliases, QoS 2 exactly once, retained messages.

use super::{keep, properties, sys, Client, Joined};
use crate::broker::Message;
use crate::codec::mqtt::{AckKind, PropertyId, Publish, Qos, Reason, Version};
use crate::error::Error;
use bytes::{Bytes, BytesMut};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages of QoS 1 and 2 that a client may have on its way to us. Those of QoS 1 are answered at once, so that it is
/// those of QoS 2.
pub(super) const RECEIVE_MAXIMUM: u16 = 1024;

/// Aliases that a client may give.
pub(super) const ALIASES: u16 = 64;

/// A set of identifiers with room for more is given back once it is empty.
const KEEP: usize = 64;

/// What this connection has sent so far that later packets lean on.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// The last topic: messages come in runs, and share it.
    last: Bytes,
    /// Messages of QoS 2 that came by this connection and are not released: others do not count against its window,
    /// which begins with it (section 4.9).
    open: u16,
    /// By alias, less one; None until the first.
    #[allow(clippy::box_collection)] // most connections have none
    aliases: Option<Box<Vec<Bytes>>>,
}

impl Incoming {
    /// The topic that a packet means; None: its alias stands for none.
    #[inline]
    fn topic(&mut self, publish: &Publish<'_>) -> Option<&Bytes> {
        let alias = match publish.properties.is_empty() {
            true => None,
            false => publish.properties.u16(PropertyId::TopicAlias),
        };
        match alias {
            None => {}
            Some(alias) if publish.topic.is_empty() => {
                let known = self.aliases.as_ref()?.get(usize::from(alias) - 1)?;
                if known.is_empty() {
                    return None;
                }
                if self.last != known {
                    self.last = known.clone();
                }
                return Some(&self.last);
            }
            Some(alias) if alias <= ALIASES => {
                let aliases = self.aliases.get_or_insert_default();
                if aliases.len() < usize::from(alias) {
                    aliases.resize(alias.into(), Bytes::new());
                }
                if let Some(place) = aliases.get_mut(usize::from(alias) - 1) {
                    *place = Bytes::copy_from_slice(publish.topic.as_bytes());
                }
            }
            Some(_) => return None,
        }
        if self.last != publish.topic.as_bytes() {
            self.last = Bytes::copy_from_slice(publish.topic.as_bytes());
        }
        Some(&self.last)
    }
}

impl Client {
    /// PUBLISH.
    pub(super) fn publish(&mut self, now: Instant, publish: &Publish<'_>) -> Result<(), Error> {
        let Some(joined) = &mut self.joined else {
            return Ok(());
        };
        let version = joined.link.version;
        let id = publish.packet_id;
        let Some(topic) = joined.incoming.topic(publish) else {
            return Err(self.fail(Reason::TOPIC_ALIAS_INVALID, "its topic alias means nothing"));
        };
        let topic = topic.clone();
        if topic.is_empty() {
            return Err(self.fail(Reason::TOPIC_NAME_INVALID, "its topic is empty"));
        }
        if publish.qos == Qos::ExactlyOnce {
            match joined.has_received(id) {
                Some(true) => {
                    joined
                        .link
                        .answer(AckKind::PubRec, id, Reason::SUCCESS, &mut self.out);
                    return Ok(());
                }
                Some(false) => {}
                None if version == Version::V311 => {}
                None => {
                    return Err(self.fail(
                        Reason::RECEIVE_MAXIMUM_EXCEEDED,
                        "it has more messages under way than it may",
                    ));
                }
            }
        }
        let publisher = joined.session.identity;
        let make = || {
            let seconds = publish
                .properties
                .u32(PropertyId::MessageExpiryInterval)
                .map(|seconds| Duration::from_secs(seconds.into()));
            Arc::new(Message {
                topic: topic.clone(),
                payload: Bytes::copy_from_slice(publish.payload),
                publisher,
                qos: publish.qos as u8,
                retain: publish.retain,
                expires: seconds.and_then(|seconds| now.checked_add(seconds)),
                extra: properties::extra(publish.properties),
            })
        };
        let broker = &self.caller.broker;
        let reason = if sys::is_reserved(&topic) {
            Reason::NOT_AUTHORIZED
        } else {
            let message = publish.retain.then(&make);
            let kept = message
                .as_ref()
                .is_none_or(|message| keep(broker, now, message));
            // Who cannot be told is not refused the rest.
            let can_refuse = version == Version::V5 && publish.qos != Qos::AtMostOnce;
            if !kept && can_refuse {
                Reason::QUOTA_EXCEEDED
            } else {
                match broker.publish(&topic, || message.unwrap_or_else(make)) {
                    0 => Reason::NO_MATCHING_SUBSCRIBERS,
                    _ => Reason::SUCCESS,
                }
            }
        };
        match publish.qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => {
                joined
                    .link
                    .answer(AckKind::PubAck, id, reason, &mut self.out);
            }
            Qos::ExactlyOnce => {
                // An error ends the exchange (section 4.3.3); 3.1.1 cannot tell, and goes on with it.
                if !reason.is_error() || version == Version::V311 {
                    joined.note_received(id);
                }
                joined
                    .link
                    .answer(AckKind::PubRec, id, reason, &mut self.out);
            }
        }
        Ok(())
    }
}

impl Joined {
    /// Whether a QoS 2 message of this identifier has come and is not released; None: there are too many of them.
    fn has_received(&self, id: u16) -> Option<bool> {
        let state = self.session.lock();
        match state.received.contains(&id) {
            true => Some(true),
            false if self.incoming.open >= RECEIVE_MAXIMUM => None,
            false => Some(false),
        }
    }

    fn note_received(&mut self, id: u16) {
        let mut state = self.session.lock();
        state.received.insert(id);
        self.incoming.open = self.incoming.open.saturating_add(1);
    }

    /// PUBREL (section 3.6).
    pub(super) fn release(&mut self, id: u16, out: &mut BytesMut) {
        let known = {
            let mut state = self.session.lock();
            let known = state.received.remove(&id);
            if state.received.is_empty() && state.received.capacity() > KEEP {
                state.received = HashSet::new();
            }
            known
        };
        let reason = match known {
            true => {
                // One of an earlier connection gives this one more than it has: the set of identifiers is the bound.
                self.incoming.open = self.incoming.open.saturating_sub(1);
                Reason::SUCCESS
            }
            // No error while a client recovers (section 3.7.2.1), and some report one to whoever has published: PUBCOMP
            // was on its way when the last connection broke.
            false if self.resumed => Reason::SUCCESS,
            false => Reason::PACKET_IDENTIFIER_NOT_FOUND,
        };
        self.link.answer(AckKind::PubComp, id, reason, out);
    }
}
