//! SEND: to whom, and what is handed on.
//!
//! Source: STOMP 1.2, "SEND".

use super::delivering;
use super::destination::{Destination, REPLY, TEMPORARY};
use super::transacting::Deed;
use super::{shown, Client, Refusal};
use crate::broker::{Broker, Extra, Message, Name};
use crate::codec::stomp::{Frame, Headers};
use crate::error::Code;
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

/// The headers that say what to do with a message; the first of equal names counts ("Repeated Header Entries").
#[derive(Default)]
struct Fields<'a> {
    destination: Option<Cow<'a, [u8]>>,
    transaction: Option<Cow<'a, [u8]>>,
    reply_to: Option<Cow<'a, [u8]>>,
    /// Headers that are handed on, and their bytes.
    others: usize,
    bytes: usize,
}

impl<'a> Fields<'a> {
    #[inline]
    fn read(headers: Headers<'a>) -> Self {
        let mut fields = Fields::default();
        for (name, value) in headers.iter() {
            let field = match &*name {
                b"destination" => &mut fields.destination,
                b"transaction" => &mut fields.transaction,
                b"reply-to" if value.starts_with(TEMPORARY) => &mut fields.reply_to,
                _ => {
                    if is_handed_on(&name) {
                        fields.others += 1;
                        fields.bytes += name.len() + value.len();
                    }
                    continue;
                }
            };
            field.get_or_insert(value);
        }
        fields
    }
}

/// Whether a header of SEND is the message's.
fn is_handed_on(name: &[u8]) -> bool {
    !matches!(name, b"receipt" | b"transaction") && !delivering::is_ours(name)
}

/// A message that is yet to be made.
#[derive(Clone, Copy)]
struct Draft<'a> {
    frame: &'a Frame<'a>,
    topic: &'a [u8],
    fields: &'a Fields<'a>,
    /// What others are to write for the sender's temporary queue.
    reply_to: Option<&'a [u8]>,
    publisher: u64,
}

impl Draft<'_> {
    /// All of it in one piece of memory.
    fn message(self) -> Arc<Message> {
        let fields = self.fields;
        let reply = self.reply_to.map_or(0, |name| name.len() + REPLY_TO.len());
        let body = self.frame.body;
        let whole = self.topic.len() + fields.bytes + reply + body.len();
        let mut text = BytesMut::with_capacity(whole);
        let mut cut = |part: &[u8]| -> Bytes {
            text.extend_from_slice(part);
            text.split().freeze()
        };
        let topic = cut(self.topic);
        let payload = cut(body);
        let count = fields.others + usize::from(self.reply_to.is_some());
        let extra = (count > 0).then(|| {
            let mut headers = Vec::with_capacity(count);
            for (name, value) in self.frame.headers.iter() {
                if *name == *REPLY_TO && value.starts_with(TEMPORARY) {
                    continue;
                }
                if is_handed_on(&name) {
                    headers.push((cut(&name), cut(&value)));
                }
            }
            if let Some(address) = self.reply_to {
                headers.push((cut(REPLY_TO), cut(address)));
            }
            Box::new(Extra {
                headers,
                ..Extra::default()
            })
        });
        Arc::new(Message {
            topic,
            payload,
            publisher: self.publisher,
            extra,
            ..Message::default()
        })
    }
}

const REPLY_TO: &[u8] = b"reply-to";

impl Client {
    /// SEND.
    #[inline]
    pub(super) fn send(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), Refusal> {
        let fields = Fields::read(frame.headers);
        let address = fields.destination.as_deref();
        let address = address.ok_or_else(|| Refusal::missing(frame.command, "destination"))?;
        let destination = Destination::parse(address)?;
        let reply_to = match &fields.reply_to {
            Some(address) => Some(self.reply_to(now, address)?),
            None => None,
        };
        let (topic, queue) = match destination {
            Destination::Topic(name) => (name, None),
            Destination::Queue(whole, name) => (name, Some(Cow::Borrowed(whole))),
            Destination::Reply(whole) => (whole, Some(Cow::Borrowed(whole))),
            Destination::Temporary(_) => {
                let queue = self.own_queue(address).ok_or_else(|| {
                    let shown = shown(address);
                    Refusal::refused(format!("this connection is not subscribed to {shown}"))
                })?;
                (address, Some(Cow::Owned(queue.to_vec())))
            }
        };
        let draft = Draft {
            frame,
            topic,
            fields: &fields,
            reply_to: reply_to.as_deref(),
            publisher: self.caller.id,
        };
        if let Some(transaction) = &fields.transaction {
            let queue = queue.map(|queue| Name::from(&*queue));
            let message = draft.message();
            return self.act_in(transaction, Deed::Send { queue, message });
        }
        let broker = &self.caller.broker;
        match queue {
            None => {
                broker.publish(topic, || draft.message());
                Ok(())
            }
            Some(queue) => {
                let received = &broker.counters().received;
                received.fetch_add(1, Ordering::Relaxed);
                enqueue(broker, &queue, draft.message())
            }
        }
    }
}

/// Puts a message into a queue.
fn enqueue(broker: &Broker, name: &[u8], message: Arc<Message>) -> Result<(), Refusal> {
    let limit = broker.settings().max_queue_bytes;
    let mut queues = broker.queues();
    if is_gone(name, queues.is_consumed(name)) || queues.send(name, message, limit) {
        return Ok(());
    }
    Err(full(name, limit))
}

/// Whether it is a temporary queue whose owner has gone: who answers cannot know, and has done nothing wrong.
pub(super) fn is_gone(name: &[u8], consumed: bool) -> bool {
    !consumed && name.starts_with(REPLY)
}

pub(super) fn full(name: &[u8], limit: usize) -> Refusal {
    Refusal::new(
        Code::Full,
        format!("{} is full: it may hold {limit} bytes", shown(name)),
    )
}
