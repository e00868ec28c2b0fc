//! What a STOMP connection receives: its subscriptions, and the mailboxes behind them.
//!
//! Source: STOMP 1.2, "SUBSCRIBE" and "UNSUBSCRIBE"; 1.0, where a subscription need not have an id.

use super::destination::{self, Destination, TEMPORARY};
use super::settling::Held;
use super::{shown, Client, Refusal};
use crate::broker::{Broker, Caller, Happening, Kind, Mailbox, Name, SubscriberId};
use crate::broker::{Consignment, Consumer, ConsumerId};
use crate::codec::stomp::{Body, Command, Frame, FrameBuilder, Version};
use bytes::BytesMut;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Messages of a queue that a consumer may have unacknowledged unless it says otherwise.
const PREFETCH: usize = 1000;

/// Bytes of queues' messages that wait for the connection to take more; what finds no room stays in its queue.
const WAITING: usize = 1 << 20;

/// How messages of a subscription are acknowledged ("SUBSCRIBE ack Header").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    /// Not at all: what is sent counts as received.
    Auto,
    /// A message and all that the subscription got before it.
    Cumulative,
    /// Each for itself.
    Individual,
}

impl Ack {
    fn parse(text: Option<&[u8]>) -> Result<Self, Refusal> {
        match text {
            None | Some(b"auto") => Ok(Ack::Auto),
            Some(b"client") => Ok(Ack::Cumulative),
            Some(b"client-individual") => Ok(Ack::Individual),
            Some(other) => Err(Refusal::violation(format!(
                "ack is auto, client or client-individual, not {}",
                shown(other)
            ))),
        }
    }
}

/// Where a subscription's messages come from.
#[derive(Debug)]
pub(super) enum Source {
    /// Of the router. Each subscription is a subscriber of its own: two of one connection may have one topic.
    Topic {
        name: Name,
        subscriber: SubscriberId,
    },
    /// Of a queue, with the name that it has there.
    Queue { name: Name, consumer: ConsumerId },
}

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The header `id`; None where 1.0 gave none.
    pub(super) id: Option<Box<[u8]>>,
    pub(super) destination: Name,
    pub(super) ack: Ack,
    /// Nobody asked for it: it was made for a SEND that wants its answer there.
    implied: bool,
    pub(super) source: Source,
    /// Messages of a queue that the client has yet to acknowledge, by the numbers of their deliveries.
    pub(super) held: BTreeMap<u64, Held>,
}

/// Nothing at all, for a connection that has never subscribed.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(pub(super) Option<Box<Active>>);

impl Subscriptions {
    pub(super) fn is_overrun(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|active| active.topics.is_overrun())
    }

    pub(super) fn get(&self, tag: u32) -> Option<&Subscription> {
        self.0.as_ref()?.by_tag.get(&tag)
    }

    pub(super) fn get_mut(&mut self, tag: u32) -> Option<&mut Subscription> {
        self.0.as_mut()?.by_tag.get_mut(&tag)
    }
}

#[derive(Debug)]
pub(super) struct Active {
    /// What comes of topics. A client that does not take it is cut off.
    pub(super) topics: Arc<Mailbox>,
    /// What comes of queues, which keep what finds no room.
    pub(super) inbox: Arc<Inbox>,
    /// By the tags that deliveries have; never used twice, since some may still be in the inbox.
    pub(super) by_tag: HashMap<u32, Subscription>,
    by_key: HashMap<Key, u32>,
    /// The connection's temporary queues, by the `x` of `/temp-queue/x`.
    temporaries: HashMap<Box<[u8]>, Temporary>,
    last_tag: u32,
    last_temporary: u64,
    pub(super) last_delivery: u64,
}

#[derive(Debug)]
struct Temporary {
    /// What others call it.
    name: Name,
    /// Subscriptions to it: it is there as long as there is one.
    subscriptions: usize,
}

/// What a client names a subscription by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Id(Box<[u8]>),
    /// Without an id (1.0).
    Destination(Box<[u8]>),
}

/// A mailbox for queues, which remembers that it had no room.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) mailbox: Mailbox,
    turned_away: AtomicBool,
}

impl Inbox {
    /// Whether something was turned away since the last call: the queues are to offer it again.
    pub(super) fn has_turned_away(&self) -> bool {
        self.turned_away.swap(false, Ordering::SeqCst)
    }
}

impl Consumer for Inbox {
    fn consume(&self, consignment: Consignment) -> bool {
        if self.mailbox.consume(consignment.clone()) {
            return true;
        }
        // Once more behind the flag: who has drained it in between may have looked before it was set.
        self.turned_away.store(true, Ordering::SeqCst);
        self.mailbox.consume(consignment)
    }
}

impl Active {
    fn new(caller: &Caller) -> Box<Self> {
        let room = WAITING.min(caller.broker.settings().max_queue_bytes);
        Box::new(Active {
            topics: Arc::new(caller.mailbox()),
            inbox: Arc::new(Inbox {
                mailbox: Mailbox::new(caller.bell.clone(), room),
                turned_away: AtomicBool::new(false),
            }),
            by_tag: HashMap::new(),
            by_key: HashMap::new(),
            temporaries: HashMap::new(),
            last_tag: 0,
            last_temporary: 0,
            last_delivery: 0,
        })
    }

    /// The queue behind `/temp-queue/x`, for one more subscription.
    fn use_temporary(&mut self, connection: u64, name: &[u8]) -> Name {
        let known = self.temporaries.entry(name.into());
        let temporary = known.or_insert_with(|| {
            self.last_temporary += 1;
            Temporary {
                name: destination::reply_name(connection, self.last_temporary).into(),
                subscriptions: 0,
            }
        });
        temporary.subscriptions += 1;
        temporary.name.clone()
    }

    /// A subscription to this destination has ended.
    fn leave_temporary(&mut self, destination: &[u8]) {
        let Some(name) = destination.strip_prefix(TEMPORARY) else {
            return;
        };
        if let Some(temporary) = self.temporaries.get_mut(name) {
            temporary.subscriptions -= 1;
            if temporary.subscriptions == 0 {
                self.temporaries.remove(name);
            }
        }
    }
}

/// What SUBSCRIBE asks for.
struct Wish<'a> {
    id: Option<&'a [u8]>,
    destination: &'a [u8],
    ack: Ack,
    implied: bool,
    prefetch: usize,
}

impl Client {
    /// SUBSCRIBE.
    pub(super) fn subscribe(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), Refusal> {
        let header = |name: &str| frame.headers.get(name);
        let destination = header("destination");
        let destination = destination
            .as_deref()
            .ok_or_else(|| Refusal::missing(frame.command, "destination"))?;
        let id = header("id");
        if id.is_none() && self.version != Version::V10 {
            return Err(Refusal::missing(frame.command, "id"));
        }
        // What would get other messages than it asked for, or lose some that it counts on, is told so.
        if header("selector").is_some() {
            return Err(Refusal::refused("this broker has no selectors"));
        }
        let kept = header("activemq.subscriptionName").is_some()
            || header("durable").is_some_and(|value| *value == *b"true");
        if kept && matches!(Destination::parse(destination)?, Destination::Topic(_)) {
            return Err(Refusal::refused(
                "this broker has no durable subscriptions: use a queue",
            ));
        }
        let ack = Ack::parse(header("ack").as_deref())?;
        let prefetch = header("prefetch-count").or_else(|| header("activemq.prefetchSize"));
        let prefetch = match prefetch {
            Some(text) => parse_prefetch(&text)?,
            // What is accepted when it is written is bounded by what waits for that.
            None if ack == Ack::Auto => usize::MAX,
            None => PREFETCH,
        };
        let wish = Wish {
            id: id.as_deref(),
            destination,
            ack,
            implied: false,
            prefetch,
        };
        check_sayable(&wish, self.version)?;
        self.add(now, &wish)
    }

    fn add(&mut self, now: Instant, wish: &Wish<'_>) -> Result<(), Refusal> {
        let broker = self.caller.broker.clone();
        let most = broker.settings().max_subscriptions;
        let parsed = Destination::parse(wish.destination)?;
        let key = match wish.id {
            Some(id) => Key::Id(id.into()),
            None => Key::Destination(wish.destination.into()),
        };
        let active = self
            .subscriptions
            .0
            .get_or_insert_with(|| Active::new(&self.caller));
        if let Some(tag) = active.by_key.get(&key).copied() {
            return match active.by_tag.get_mut(&tag) {
                // The client wants what it has: the name that is told with its messages is the same.
                Some(same) if same.implied && same.ack == wish.ack => {
                    same.implied = false;
                    Ok(())
                }
                _ => Err(Refusal::violation(match wish.id {
                    Some(id) => format!("another subscription has the id {}", shown(id)),
                    None => format!("already subscribed to {}", shown(wish.destination)),
                })),
            };
        }
        if active.by_tag.len() >= most {
            return Err(Refusal::refused(format!(
                "max number of subscriptions reached ({most})"
            )));
        }
        let Some(tag) = active.last_tag.checked_add(1) else {
            return Err(Refusal::refused("this connection has no more tags"));
        };
        active.last_tag = tag;
        let consume = |active: &Active, name: Name| {
            let to = active.inbox.clone();
            let consumer = broker.queues().consume(&name, to, tag, wish.prefetch);
            Source::Queue { name, consumer }
        };
        let source = match parsed {
            Destination::Topic(name) => {
                let name: Name = name.into();
                let mut router = broker.router();
                let subscriber = router.enrol(active.topics.clone());
                router.subscribe(Kind::Exact, &name, subscriber, tag);
                Source::Topic { name, subscriber }
            }
            Destination::Queue(whole, _) => consume(active, whole.into()),
            Destination::Temporary(name) => {
                let name = active.use_temporary(self.caller.id, name);
                consume(active, name)
            }
            Destination::Reply(_) => {
                let shown = shown(wish.destination);
                return Err(Refusal::refused(format!(
                    "{shown} is another connection's: it can be sent to, no more"
                )));
            }
        };
        active.by_key.insert(key, tag);
        active.by_tag.insert(
            tag,
            Subscription {
                id: wish.id.map(Into::into),
                destination: wish.destination.into(),
                ack: wish.ack,
                implied: wish.implied,
                source,
                held: BTreeMap::new(),
            },
        );
        let subscriptions = &broker.counters().subscriptions;
        subscriptions.fetch_add(1, Ordering::Relaxed);
        self.caller.tell(Happening::Subscribe, wish.destination);
        if let (Destination::Temporary(_), false) = (parsed, wish.implied) {
            // One that was made on the quiet makes way, now that its messages have another place to go.
            self.end_implied(wish.destination);
        }
        self.catch_up(now);
        Ok(())
    }

    /// Makes sure that there is a subscription for what is sent to `/temp-queue/x`, as RabbitMQ does for a SEND that
    /// names it in `reply-to`; what others are to call the queue.
    pub(super) fn reply_to(&mut self, now: Instant, address: &[u8]) -> Result<Name, Refusal> {
        if let Some(name) = self.own_queue(address) {
            return Ok(name);
        }
        let wish = Wish {
            id: Some(address),
            destination: address,
            ack: Ack::Auto,
            implied: true,
            prefetch: usize::MAX,
        };
        check_sayable(&wish, self.version)?;
        self.add(now, &wish)?;
        self.own_queue(address)
            .ok_or_else(|| Refusal::refused(format!("no queue {}", shown(address))))
    }

    /// The queue behind this connection's `/temp-queue/x`, if it is subscribed to.
    pub(super) fn own_queue(&self, address: &[u8]) -> Option<Name> {
        let active = self.subscriptions.0.as_ref()?;
        let temporary = active.temporaries.get(address.strip_prefix(TEMPORARY)?)?;
        Some(temporary.name.clone())
    }

    fn end_implied(&mut self, address: &[u8]) {
        let key = Key::Id(address.into());
        let tag = (self.subscriptions.0.as_ref()).and_then(|active| active.by_key.get(&key));
        let Some(tag) = tag.copied() else { return };
        if self.subscriptions.get(tag).is_some_and(|it| it.implied) {
            self.end(None, &key, tag);
        }
    }

    /// UNSUBSCRIBE.
    pub(super) fn unsubscribe(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), Refusal> {
        let (id, destination) = (
            frame.headers.get("id"),
            frame.headers.get("destination").unwrap_or_default(),
        );
        let active = self.subscriptions.0.as_ref();
        let found = match &id {
            Some(id) => active.and_then(|active| active.find(&Key::Id((&**id).into()))),
            None if self.version != Version::V10 => {
                return Err(Refusal::missing(frame.command, "id"));
            }
            None => active.and_then(|active| {
                active
                    .find(&Key::Destination((&*destination).into()))
                    .or_else(|| active.find_by_destination(&destination))
            }),
        };
        let Some((key, tag)) = found else {
            let name = id.as_deref().unwrap_or(&destination);
            let shown = shown(name);
            return Err(Refusal::violation(format!("no subscription {shown}")));
        };
        self.end(Some(now), &key, tag);
        Ok(())
    }

    /// Ends a subscription; `now`, where what came before of its topic is to be told before.
    fn end(&mut self, now: Option<Instant>, key: &Key, tag: u32) {
        let broker = self.caller.broker.clone();
        if let Some(subscription) = self.subscriptions.get(tag) {
            subscription.source.close(&broker);
        }
        if let Some(now) = now {
            self.catch_up(now);
        }
        let Some(active) = &mut self.subscriptions.0 else {
            return;
        };
        active.by_key.remove(key);
        let Some(gone) = active.by_tag.remove(&tag) else {
            return;
        };
        active.leave_temporary(&gone.destination);
        let subscriptions = &broker.counters().subscriptions;
        subscriptions.fetch_sub(1, Ordering::Relaxed);
        self.caller.tell(Happening::Unsubscribe, &gone.destination);
    }

    /// Ends all of them, without a word to the client.
    pub(super) fn end_subscriptions(&mut self) {
        let Some(active) = self.subscriptions.0.take() else {
            return;
        };
        let broker = &self.caller.broker;
        for subscription in active.by_tag.values() {
            subscription.source.close(broker);
        }
        let subscriptions = &broker.counters().subscriptions;
        subscriptions.fetch_sub(active.by_tag.len() as u64, Ordering::Relaxed);
        for gone in active.by_tag.values() {
            self.caller.tell(Happening::Unsubscribe, &gone.destination);
        }
    }
}

impl Active {
    fn find(&self, key: &Key) -> Option<(Key, u32)> {
        self.by_key.get(key).map(|tag| (key.clone(), *tag))
    }

    fn find_by_destination(&self, destination: &[u8]) -> Option<(Key, u32)> {
        let mut by_key = self.by_key.iter();
        let found = by_key.find(|(_, tag)| {
            let subscription = self.by_tag.get(tag);
            subscription.is_some_and(|it| &*it.destination == destination)
        });
        found.map(|(key, tag)| (key.clone(), *tag))
    }
}

impl Source {
    /// Nothing comes any more. What a queue's consumer has not dealt with goes to another one; a temporary queue has
    /// no other, and goes with what is in it.
    fn close(&self, broker: &Broker) {
        match self {
            Source::Topic { name, subscriber } => {
                let mut router = broker.router();
                router.unsubscribe(Kind::Exact, name, *subscriber);
                router.dismiss(*subscriber);
            }
            Source::Queue { name, consumer } => {
                let mut queues = broker.queues();
                queues.cancel(*consumer);
                if name.starts_with(destination::REPLY) && !queues.is_consumed(name) {
                    queues.remove(name);
                }
            }
        }
    }
}

fn parse_prefetch(text: &[u8]) -> Result<usize, Refusal> {
    let number = std::str::from_utf8(text).ok();
    match number.and_then(|text| text.trim().parse().ok()) {
        // As RabbitMQ has it.
        Some(0) => Ok(usize::MAX),
        Some(count) => Ok(count),
        None => Err(Refusal::violation(format!(
            "the prefetch {} is no number",
            shown(text)
        ))),
    }
}

/// Whether each message can name the subscription.
fn check_sayable(wish: &Wish<'_>, version: Version) -> Result<(), Refusal> {
    let mut scratch = BytesMut::new();
    FrameBuilder::new(Command::Message, version, &mut scratch)
        .and_then(|mut frame| {
            frame.header("subscription", wish.id.unwrap_or_default())?;
            frame.header("destination", wish.destination)?;
            frame.finish(Body::NONE)
        })
        .map_err(|error| Refusal::violation(error.to_string()))
}
