//! What a Redis connection receives: its channels and patterns, and the mailbox behind them.

use super::{Card, Client};
use crate::broker::{Happening, Kind, Mailbox, Name, SubscriberId};
use crate::codec::resp::{reply, Arguments, Channel, Version};
use bytes::BytesMut;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// The tag of subscriptions to channels; a pattern has its place behind it.
const EXACT: u32 = 0;

/// Nothing at all, for a connection that has never subscribed: most of the many only publish, or wait.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Option<Box<Active>>);

#[derive(Debug)]
struct Active {
    id: SubscriberId,
    mailbox: Arc<Mailbox>,
    channels: HashSet<Name>,
    /// With their tags.
    patterns: HashMap<Name, u32>,
    /// By tag, less one.
    tagged: Vec<Option<Name>>,
    free: Vec<u32>,
}

impl Subscriptions {
    /// Channels and patterns.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |active| active.len())
    }

    pub(super) fn is_overrun(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|active| active.mailbox.is_overrun())
    }
}

impl Active {
    fn len(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// Appends what waits, until `out` holds `most` bytes; how many messages.
    fn drain(&self, version: Version, out: &mut BytesMut, most: usize) -> u64 {
        let mut drained = 0;
        if out.len() >= most {
            return 0;
        }
        self.mailbox.drain(|delivery| {
            let message = &delivery.message;
            let place = (delivery.tag as usize).checked_sub(1);
            match place.map(|place| self.tagged.get(place)) {
                None => reply::put_message(out, version, &message.topic, &message.payload),
                Some(Some(Some(pattern))) => {
                    let (topic, payload) = (&message.topic, &message.payload);
                    reply::put_pattern_message(out, version, pattern, topic, payload);
                }
                // A tag is freed only when nothing with it waits.
                Some(_) => {}
            }
            drained += 1;
            out.len() < most
        });
        drained
    }
}

impl Client {
    /// Appends messages that wait to `out`, until it holds `most` bytes.
    #[inline]
    pub(super) fn drain(&mut self, out: &mut BytesMut, most: usize) {
        if let Some(active) = &self.subscriptions.0 {
            let drained = active.drain(self.version, out, most);
            let sent = &self.caller.broker.counters().sent;
            sent.fetch_add(drained, Ordering::Relaxed);
        }
    }

    /// Puts what waits in front of what is said next.
    pub(super) fn catch_up(&mut self) {
        if self.subscriptions.0.is_some() {
            let mut out = std::mem::take(&mut self.out);
            self.drain(&mut out, usize::MAX);
            self.out = out;
        }
    }

    /// SUBSCRIBE, PSUBSCRIBE.
    pub(super) fn subscribe(&mut self, kind: Channel, command: Arguments<'_>) {
        let broker = self.caller.broker.clone();
        for name in command.from(1) {
            if self.subscriptions.len() >= broker.settings().max_subscriptions {
                self.last_words = format!(
                    "ERR max number of subscriptions reached ({})",
                    broker.settings().max_subscriptions
                )
                .into_bytes();
                return;
            }
            let active = self.subscriptions.0.get_or_insert_with(|| {
                let mailbox = Arc::new(self.caller.mailbox());
                Box::new(Active {
                    id: broker.router().enrol(mailbox.clone()),
                    mailbox,
                    channels: HashSet::new(),
                    patterns: HashMap::new(),
                    tagged: Vec::new(),
                    free: Vec::new(),
                })
            });
            let begun = active.insert(kind, name).map(|(name, tag)| {
                broker
                    .router()
                    .subscribe(kind_of(kind), &name, active.id, tag);
            });
            let count = active.len();
            if begun.is_some() {
                active.show(&self.card);
                let subscriptions = &broker.counters().subscriptions;
                subscriptions.fetch_add(1, Ordering::Relaxed);
                self.caller.tell(Happening::Subscribe, name);
            }
            self.catch_up();
            reply::put_subscription(&mut self.out, self.version, kind, true, Some(name), count);
        }
    }

    /// UNSUBSCRIBE, PUNSUBSCRIBE.
    pub(super) fn unsubscribe(&mut self, kind: Channel, command: Arguments<'_>) {
        if command.len() > 1 {
            for name in command.from(1) {
                self.unsubscribe_one(kind, name);
            }
            return;
        }
        let all: Vec<Name> = match (&self.subscriptions.0, kind) {
            (None, _) => Vec::new(),
            (Some(active), Channel::Exact) => active.channels.iter().cloned().collect(),
            (Some(active), Channel::Pattern) => active.patterns.keys().cloned().collect(),
        };
        if all.is_empty() {
            let count = self.subscriptions.len();
            self.catch_up();
            reply::put_subscription(&mut self.out, self.version, kind, false, None, count);
        }
        for name in all {
            self.unsubscribe_one(kind, &name);
        }
    }

    fn unsubscribe_one(&mut self, kind: Channel, name: &[u8]) {
        let broker = self.caller.broker.clone();
        let id = self.subscriptions.0.as_ref().map(|active| active.id);
        let gone = id.is_some_and(|id| broker.router().unsubscribe(kind_of(kind), name, id));
        // What came before the end is told before the end, while its tag is known.
        self.catch_up();
        if gone {
            if let Some(active) = &mut self.subscriptions.0 {
                active.remove(kind, name);
                active.show(&self.card);
            }
            let subscriptions = &broker.counters().subscriptions;
            subscriptions.fetch_sub(1, Ordering::Relaxed);
            self.caller.tell(Happening::Unsubscribe, name);
        }
        let count = self.subscriptions.len();
        reply::put_subscription(&mut self.out, self.version, kind, false, Some(name), count);
    }

    /// Ends all subscriptions, without a word to the client.
    pub(super) fn end_subscriptions(&mut self) {
        let Some(active) = self.subscriptions.0.take() else {
            return;
        };
        let broker = &self.caller.broker;
        {
            let mut router = broker.router();
            for name in active.channels.iter() {
                router.unsubscribe(Kind::Exact, name, active.id);
            }
            for pattern in active.patterns.keys() {
                router.unsubscribe(Kind::Glob, pattern, active.id);
            }
            router.dismiss(active.id);
        }
        let subscriptions = &broker.counters().subscriptions;
        subscriptions.fetch_sub(active.len() as u64, Ordering::Relaxed);
        for name in active.channels.iter().chain(active.patterns.keys()) {
            self.caller.tell(Happening::Unsubscribe, name);
        }
    }
}

impl Active {
    /// Others may see how many there are.
    fn show(&self, card: &Card) {
        let mut details = card.details();
        (details.channels, details.patterns) = (self.channels.len(), self.patterns.len());
    }

    /// The shared name and the tag of a new subscription; None for one that there is.
    fn insert(&mut self, kind: Channel, name: &[u8]) -> Option<(Name, u32)> {
        match kind {
            Channel::Exact => {
                if self.channels.contains(name) {
                    return None;
                }
                let name: Name = name.into();
                self.channels.insert(name.clone());
                Some((name, EXACT))
            }
            Channel::Pattern => {
                if self.patterns.contains_key(name) {
                    return None;
                }
                let name: Name = name.into();
                let tag = match self.free.pop() {
                    Some(tag) => tag,
                    None => {
                        self.tagged.push(None);
                        self.tagged.len() as u32
                    }
                };
                if let Some(place) = self.tagged.get_mut(tag as usize - 1) {
                    *place = Some(name.clone());
                }
                self.patterns.insert(name.clone(), tag);
                Some((name, tag))
            }
        }
    }

    fn remove(&mut self, kind: Channel, name: &[u8]) {
        match kind {
            Channel::Exact => {
                self.channels.remove(name);
            }
            Channel::Pattern => {
                if let Some(tag) = self.patterns.remove(name) {
                    if let Some(place) = self.tagged.get_mut(tag as usize - 1) {
                        *place = None;
                        self.free.push(tag);
                    }
                }
            }
        }
    }
}

fn kind_of(kind: Channel) -> Kind {
    match kind {
        Channel::Exact => Kind::Exact,
        Channel::Pattern => Kind::Glob,
    }
}
