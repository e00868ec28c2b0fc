//! Messages to the client: MESSAGE frames, straight into the out-buffer.
//!
//! Source: STOMP 1.2, "MESSAGE".

use super::settling::Held;
use super::subscribing::{Ack, Active, Source, Subscription};
use super::{Client, Stage};
use crate::broker::{Broker, ConsumerId, Delivery};
use crate::codec::stomp::{Body, Command, EncodeError, FrameBuilder, Version};
use bytes::BytesMut;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Bytes written to a connection at a time, of topics and of queues each, so that neither waits for the other's end.
const CHUNK: usize = 64 * 1024;

/// Headers that the broker writes into each MESSAGE: a sender's own are not told.
pub(super) fn is_ours(name: &[u8]) -> bool {
    matches!(
        name,
        b"subscription"
            | b"message-id"
            | b"destination"
            | b"ack"
            | b"content-length"
            | b"redelivered"
            | b"x-delivery-count"
    )
}

/// What a delivery is called in `message-id` and `ack`: connection, subscription, number.
pub(super) struct DeliveryName {
    text: [u8; DeliveryName::MOST],
    length: usize,
}

impl DeliveryName {
    const MOST: usize = 20 + 1 + 10 + 1 + 20;

    fn new(connection: u64, tag: u32, number: u64) -> Self {
        let mut text = [0; Self::MOST];
        let mut rest = &mut text[..];
        // There is room for the longest.
        let _ = write!(rest, "{connection}-{tag}-{number}");
        let length = Self::MOST - rest.len();
        DeliveryName { text, length }
    }

    /// The subscription and the number in a name that this connection gave.
    pub(super) fn parse(connection: u64, name: &[u8]) -> Option<(u32, u64)> {
        let mut parts = std::str::from_utf8(name).ok()?.split('-');
        let (session, tag) = (parts.next()?, parts.next()?.parse().ok()?);
        let number = parts.next()?.parse().ok()?;
        let whole = parts.next().is_none() && session.parse() == Ok(connection);
        whole.then_some((tag, number))
    }
}

impl AsRef<[u8]> for DeliveryName {
    fn as_ref(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

/// Who writes.
#[derive(Clone, Copy)]
struct Writer {
    now: Instant,
    connection: u64,
    version: Version,
}

impl Client {
    /// Appends messages that wait.
    #[inline]
    pub(super) fn transmit_messages(&mut self, now: Instant, out: &mut BytesMut) {
        if self.stage != Stage::Ready {
            return;
        }
        let writer = self.writer(now);
        if let Some(active) = &mut self.subscriptions.0 {
            let broker = &self.caller.broker;
            let mut sent = active.drain_topics(writer, out, CHUNK);
            sent += active.drain_queues(writer, broker, out, 2 * CHUNK);
            let counter = &broker.counters().sent;
            counter.fetch_add(sent, Ordering::Relaxed);
        }
    }

    /// Puts what has come of topics in front of what is said next.
    pub(super) fn catch_up(&mut self, now: Instant) {
        let writer = self.writer(now);
        if let Some(active) = &mut self.subscriptions.0 {
            let sent = active.drain_topics(writer, &mut self.out, usize::MAX);
            let counter = &self.caller.broker.counters().sent;
            counter.fetch_add(sent, Ordering::Relaxed);
        }
    }

    fn writer(&self, now: Instant) -> Writer {
        Writer {
            now,
            connection: self.caller.id,
            version: self.version,
        }
    }
}

impl Active {
    /// Appends what waits of topics, until `out` holds `most` bytes; how many messages.
    fn drain_topics(&mut self, writer: Writer, out: &mut BytesMut, most: usize) -> u64 {
        if out.len() >= most {
            return 0;
        }
        let mut drained = 0;
        let (by_tag, last) = (&self.by_tag, &mut self.last_delivery);
        self.topics.drain(|delivery| {
            let expired = delivery.message.expires.is_some_and(|at| at <= writer.now);
            if let (Some(subscription), false) = (by_tag.get(&delivery.tag), expired) {
                *last += 1;
                // Whatever it holds can be said: what cannot is left out.
                let _ = writer.put(subscription, *last, &delivery, out);
                drained += 1;
            }
            out.len() < most
        });
        drained
    }

    /// The same of queues. What needs no acknowledgement is accepted with that.
    fn drain_queues(
        &mut self,
        writer: Writer,
        broker: &Broker,
        out: &mut BytesMut,
        most: usize,
    ) -> u64 {
        if out.len() >= most || !self.inbox.mailbox.is_waiting() {
            return 0;
        }
        let mut drained = 0;
        let mut accepted: Vec<(ConsumerId, u64)> = Vec::new();
        let (by_tag, last) = (&mut self.by_tag, &mut self.last_delivery);
        self.inbox.mailbox.drain(|delivery| {
            // What is left of one that has ended is another's by now.
            if let Some(subscription) = by_tag.get_mut(&delivery.tag) {
                *last += 1;
                let _ = writer.put(subscription, *last, &delivery, out);
                drained += 1;
                match (&subscription.source, subscription.ack) {
                    (Source::Queue { consumer, .. }, Ack::Auto) => {
                        accepted.push((*consumer, delivery.id));
                    }
                    _ => {
                        let held = Held::new(delivery.id, delivery.redeliveries);
                        subscription.held.insert(*last, held);
                    }
                }
            }
            out.len() < most
        });
        let resumes = self.inbox.has_turned_away();
        if resumes || !accepted.is_empty() {
            let mut queues = broker.queues();
            for (consumer, id) in accepted {
                queues.accept(consumer, id);
            }
            if resumes {
                for subscription in self.by_tag.values() {
                    if let Source::Queue { consumer, .. } = &subscription.source {
                        queues.resume(*consumer);
                    }
                }
            }
        }
        drained
    }
}

impl Writer {
    #[inline]
    fn put(
        self,
        subscription: &Subscription,
        number: u64,
        delivery: &Delivery,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let name = DeliveryName::new(self.connection, delivery.tag, number);
        let mut frame = FrameBuilder::new(Command::Message, self.version, out)?;
        if let Some(id) = &subscription.id {
            frame.header("subscription", id)?;
        }
        frame.header("message-id", &name)?;
        frame.header("destination", &subscription.destination)?;
        if self.version == Version::V12 && subscription.ack != Ack::Auto {
            frame.header("ack", &name)?;
        }
        if delivery.redeliveries > 0 {
            frame.header("redelivered", "true")?;
            frame.header("x-delivery-count", delivery.redeliveries.to_string())?;
        }
        if let Some(extra) = &delivery.message.extra {
            for (name, value) in &extra.headers {
                if !is_ours(name) {
                    // What this version cannot say is not told: a line end in 1.0.
                    let _ = frame.header(name, value);
                }
            }
        }
        frame.finish(Body::Measured(&delivery.message.payload))
    }
}
