//! Who receives what: one name space for channels, topics and destinations, three kinds of patterns over it.
//!
//! Without I/O, clock or protocol. To find those who receive a name costs a look-up, a walk that is as deep as the
//! name, and a look at each of Redis' globs.

use super::filters::Filters;
use super::glob;
use super::message::Message;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A name or pattern, shared by the router and whoever subscribed.
pub type Name = Arc<[u8]>;

/// Names a subscriber of the router.
pub type SubscriberId = u32;

/// Where messages go: a connection's [`super::Mailbox`], a session that outlives connections, a group that shares.
pub trait Subscriber: Send + Sync {
    /// Takes a message for the subscription that was made with `tag`. False: it was not taken.
    ///
    /// Called under the router's lock, on the publisher's turn: must not call the broker.
    fn deliver(&self, tag: u32, message: &Arc<Message>) -> bool;
}

/// How a pattern matches names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It is a name: a Redis channel, a STOMP destination.
    Exact,
    /// MQTT's `+` and `#`; valid ([`crate::codec::mqtt::topic`]). One without a wildcard is an exact name.
    Filter,
    /// Redis' `*`, `?`, `[…]`.
    Glob,
}

/// One subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receiver {
    pub(super) subscriber: SubscriberId,
    pub(super) tag: u32,
}

/// The subscriptions to one pattern: most often one.
#[derive(Debug, Default)]
pub(super) enum Receivers {
    #[default]
    None,
    One(Receiver),
    #[allow(clippy::box_collection)] // to be no larger than One
    Many(Box<Vec<Receiver>>),
}

impl Receivers {
    pub(super) fn as_slice(&self) -> &[Receiver] {
        match self {
            Receivers::None => &[],
            Receivers::One(receiver) => std::slice::from_ref(receiver),
            Receivers::Many(receivers) => receivers,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Receiver> + '_ {
        self.as_slice().iter().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Receivers::None)
    }

    pub(super) fn insert(&mut self, receiver: Receiver) {
        *self = match std::mem::take(self) {
            Receivers::None => Receivers::One(receiver),
            Receivers::One(first) => Receivers::Many(Box::new(vec![first, receiver])),
            Receivers::Many(mut receivers) => {
                receivers.push(receiver);
                Receivers::Many(receivers)
            }
        };
    }

    /// False: it is not among them. The others keep their order.
    pub(super) fn remove(&mut self, subscriber: SubscriberId) -> bool {
        let place = self.iter().position(|each| each.subscriber == subscriber);
        let Some(place) = place else { return false };
        *self = match std::mem::take(self) {
            Receivers::None | Receivers::One(_) => Receivers::None,
            Receivers::Many(mut receivers) => {
                receivers.remove(place);
                match receivers[..] {
                    [last] => Receivers::One(last),
                    _ => Receivers::Many(receivers),
                }
            }
        };
        true
    }
}

#[derive(Debug)]
struct Glob {
    pattern: Name,
    /// Bytes that every name has that matches.
    prefix: usize,
    receivers: Receivers,
}

/// See the module.
#[derive(Default)]
pub struct Router {
    subscribers: Vec<Option<Arc<dyn Subscriber>>>,
    free: Vec<SubscriberId>,
    names: HashMap<Name, Receivers>,
    filters: Filters,
    globs: Vec<Glob>,
    /// Where each glob is.
    places: HashMap<Name, usize>,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("names", &self.names.len())
            .field("filters", &self.filters.len())
            .field("globs", &self.globs.len())
            .finish_non_exhaustive()
    }
}

impl Router {
    /// Adds a subscriber without subscriptions.
    pub fn enrol(&mut self, subscriber: Arc<dyn Subscriber>) -> SubscriberId {
        match self.free.pop() {
            Some(id) => {
                self.subscribers[id as usize] = Some(subscriber);
                id
            }
            None => {
                self.subscribers.push(Some(subscriber));
                (self.subscribers.len() - 1) as SubscriberId
            }
        }
    }

    /// Forgets a subscriber, all of whose subscriptions have been removed.
    pub fn dismiss(&mut self, id: SubscriberId) {
        if let Some(place) = self.subscribers.get_mut(id as usize) {
            if place.take().is_some() {
                self.free.push(id);
            }
        }
    }

    /// Subscribes; `tag` comes with each message. A subscriber subscribes to a pattern once: it removes the old
    /// subscription before it makes one with another tag.
    pub fn subscribe(&mut self, kind: Kind, pattern: &Name, subscriber: SubscriberId, tag: u32) {
        let receiver = Receiver { subscriber, tag };
        match kind {
            Kind::Filter if has_wildcard(pattern) => self.filters.insert(pattern, receiver),
            Kind::Exact | Kind::Filter => match self.names.get_mut(pattern) {
                Some(receivers) => receivers.insert(receiver),
                None => {
                    self.names.insert(pattern.clone(), Receivers::One(receiver));
                }
            },
            Kind::Glob => match self.places.get(pattern) {
                Some(place) => self.globs[*place].receivers.insert(receiver),
                None => {
                    self.places.insert(pattern.clone(), self.globs.len());
                    self.globs.push(Glob {
                        pattern: pattern.clone(),
                        prefix: glob::literal_prefix(pattern),
                        receivers: Receivers::One(receiver),
                    });
                }
            },
        }
    }

    /// Ends a subscription. False: there is no such.
    pub fn unsubscribe(&mut self, kind: Kind, pattern: &[u8], subscriber: SubscriberId) -> bool {
        match kind {
            Kind::Filter if has_wildcard(pattern) => self.filters.remove(pattern, subscriber),
            Kind::Exact | Kind::Filter => {
                let Some(receivers) = self.names.get_mut(pattern) else {
                    return false;
                };
                let removed = receivers.remove(subscriber);
                if receivers.is_empty() {
                    self.names.remove(pattern);
                    give_back(&mut self.names);
                }
                removed
            }
            Kind::Glob => {
                let Some(&place) = self.places.get(pattern) else {
                    return false;
                };
                let removed = self.globs[place].receivers.remove(subscriber);
                if self.globs[place].receivers.is_empty() {
                    self.globs.swap_remove(place);
                    self.places.remove(pattern);
                    if let Some(moved) = self.globs.get(place) {
                        self.places.insert(moved.pattern.clone(), place);
                    }
                }
                removed
            }
        }
    }

    /// Delivers to everybody who receives `name`; `message` makes the message at the first of them. How many have
    /// taken it.
    pub fn publish(&mut self, name: &[u8], message: impl FnOnce() -> Arc<Message>) -> usize {
        let mut taken = 0;
        let mut source = Some(message);
        let mut made: Option<Arc<Message>> = None;
        let subscribers = &self.subscribers;
        let matching = (&self.names, &mut self.filters, &self.globs[..]);
        each_match(matching, name, |receiver| {
            let message = match (&made, source.take()) {
                (Some(message), _) => message,
                (None, Some(make)) => made.insert(make()),
                (None, None) => return,
            };
            if let Some(Some(subscriber)) = subscribers.get(receiver.subscriber as usize) {
                taken += usize::from(subscriber.deliver(receiver.tag, message));
            }
        });
        taken
    }

    /// Names, and MQTT filters without wildcards, that somebody subscribes to; those that match a Redis pattern, where
    /// one is given.
    pub fn names_like<'a>(&'a self, pattern: Option<&'a [u8]>) -> impl Iterator<Item = &'a Name> {
        let like = move |name: &&Name| pattern.is_none_or(|pattern| glob::matches(pattern, name));
        self.names.keys().filter(like)
    }

    /// How many subscribe to exactly this name.
    pub fn count(&self, name: &[u8]) -> usize {
        self.names.get(name).map_or(0, |each| each.as_slice().len())
    }

    /// Redis' patterns that somebody subscribes to.
    pub fn globs(&self) -> usize {
        self.globs.len()
    }

    /// MQTT filters with wildcards that somebody subscribes to.
    pub fn filters(&self) -> usize {
        self.filters.len()
    }
}

#[inline]
fn each_match(
    (names, filters, globs): (&HashMap<Name, Receivers>, &mut Filters, &[Glob]),
    name: &[u8],
    mut each: impl FnMut(Receiver),
) {
    if let Some(receivers) = names.get(name) {
        receivers.iter().for_each(&mut each);
    }
    filters.matches(name, &mut each);
    for glob in globs {
        if name.get(..glob.prefix) == glob.pattern.get(..glob.prefix)
            && glob::matches(&glob.pattern, name)
        {
            glob.receivers.iter().for_each(&mut each);
        }
    }
}

/// Whether a valid filter has `+` or `#` in it: they are whole levels.
fn has_wildcard(filter: &[u8]) -> bool {
    filter.iter().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Gives the memory of a rush back.
fn give_back<V>(map: &mut HashMap<Name, V>) {
    if map.capacity() > 1024 && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}
