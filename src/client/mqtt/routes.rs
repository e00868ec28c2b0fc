//! Which subscriptions a message is for.
//!
//! In version 5 a message names the subscriptions that it matched (section 3.3.4). An identifier is
//! made from its filter, so that it means the same to the next process of the same session. Where
//! a message names none, its topic is compared.

use super::options;
use crate::client::subscriptions::{Inserted, Subscription, Subscriptions};
use crate::client::told;
use crate::codec::mqtt::{topic, Properties, PropertyId, PropertyValue, Qos};
use crate::error::Error;
use crate::message::{Key, Ticket, Value};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// The largest subscription identifier (section 3.8.2.1.2).
const LARGEST_IDENTIFIER: u64 = 268_435_455;

/// So many ended subscriptions are remembered.
const ENDED: usize = 256;

/// What a subscription asks of the broker (section 3.8.3.1).
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) qos: Qos,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) retain_handling: u8,
    pub(super) identifier: u32,
    /// A broker was asked for it before.
    pub(super) asked: bool,
    /// Whole properties of SUBSCRIBE that the program gave.
    pub(super) properties: Value,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Their stages, and who waits.
    pub(super) subscriptions: Subscriptions,
    wishes: HashMap<Key, Wish>,
    by_identifier: HashMap<u32, Key>,
    /// Identifiers of subscriptions that have ended, the last ones: what was on its way for them is
    /// not for another one that matches, which gets its own copy.
    ended: VecDeque<u32>,
    /// Filters without wildcards, by topic.
    plain: HashMap<String, Key>,
    /// Those with wildcards, without their share's name.
    wild: Vec<(String, Key)>,
    /// Some have ended: messages of theirs may still come.
    any_ended: bool,
    /// The last message's topic and identifiers, and what was found: messages come in runs.
    recent: Recent,
}

#[derive(Debug, Default)]
struct Recent {
    topic: String,
    identifiers: Vec<u32>,
    keys: Vec<Key>,
    valid: bool,
}

impl Routes {
    /// Adds a subscription, or waits anew for one that is not confirmed.
    ///
    /// # Errors
    /// The filter, or an option, is wrong.
    pub(super) fn insert(
        &mut self,
        key: Key,
        filter: &str,
        given: &Value,
        default: Qos,
        waiter: Ticket,
        until: Instant,
    ) -> Result<Inserted, Error> {
        topic::check_filter(filter).map_err(|error| {
            let filter = told::quoted(filter.as_bytes());
            Error::invalid(format!("the topic filter {filter}: {error}"))
        })?;
        let flag = |name| given.member(name).as_bool() == Some(true);
        let no_local = flag("no_local");
        if no_local && topic::shared_filter(filter).is_some() {
            // [MQTT-3.8.3-4]
            return Err(Error::invalid(format!(
                "no_local cannot be asked for with the shared subscription {filter:?}"
            )));
        }
        let inserted = self
            .subscriptions
            .insert(key, filter.as_bytes(), false, waiter, until);
        if inserted == Inserted::Taken || self.wishes.contains_key(&key) {
            return Ok(inserted);
        }
        let identifier = self.free_identifier(filter);
        let wish = Wish {
            qos: options::qos(given.member("qos")).unwrap_or(default),
            no_local,
            retain_as_published: flag("retain_as_published"),
            retain_handling: given
                .member("retain_handling")
                .as_size()
                .unwrap_or(0)
                .min(2) as u8,
            identifier,
            asked: false,
            properties: given.member("properties").clone(),
        };
        self.by_identifier.insert(identifier, key);
        self.ended.retain(|known| *known != identifier);
        self.wishes.insert(key, wish);
        let matched = unshared(filter);
        if matched.contains(['+', '#']) || self.plain.contains_key(matched) {
            self.wild.push((matched.to_owned(), key));
        } else {
            self.plain.insert(matched.to_owned(), key);
        }
        self.recent.valid = false;
        Ok(inserted)
    }

    /// Removes one; messages for it find no key any more.
    pub(super) fn remove(&mut self, key: Key) -> Option<Subscription> {
        if let Some(wish) = self.wishes.remove(&key) {
            self.by_identifier.remove(&wish.identifier);
            if self.ended.len() >= ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back(wish.identifier);
        }
        self.recent.valid = false;
        self.any_ended = true;
        let gone = self.subscriptions.remove(key)?;
        let matched = unshared(std::str::from_utf8(&gone.name).unwrap_or_default());
        if self.plain.get(matched) == Some(&key) {
            self.plain.remove(matched);
        } else if let Some(place) = self.wild.iter().position(|(_, known)| *known == key) {
            self.wild.swap_remove(place);
        }
        Some(gone)
    }

    /// What a subscription asks for.
    pub(super) fn wish(&self, key: Key) -> Option<&Wish> {
        self.wishes.get(&key)
    }

    /// The broker is asked for it.
    pub(super) fn mark_asked(&mut self, key: Key) {
        if let Some(wish) = self.wishes.get_mut(&key) {
            wish.asked = true;
        }
    }

    /// Whether a message without a subscription may be one of a subscription that has ended.
    pub(super) fn any_ended(&self) -> bool {
        self.any_ended
    }

    /// Which topics are for that subscription.
    pub(super) fn matcher(&mut self, key: Key) -> impl Fn(&str) -> bool + use<'_> {
        let known = self.subscriptions.find(key);
        let filter = known.and_then(|known| std::str::from_utf8(&known.name).ok());
        let filter = filter.map(unshared);
        move |name| filter.is_some_and(|filter| topic::matches(filter, name))
    }

    /// The subscriptions that a message is for, each once.
    #[inline]
    pub(super) fn route(&mut self, name: &str, properties: Properties<'_>) -> &[Key] {
        let identifiers = &mut self.recent.identifiers;
        let same = if properties.is_empty() {
            identifiers.is_empty()
        } else {
            same_identifiers(properties, identifiers)
        };
        if !(self.recent.valid && same && self.recent.topic == name) {
            self.look_up(name, properties);
        }
        &self.recent.keys
    }

    #[cold]
    fn look_up(&mut self, name: &str, properties: Properties<'_>) {
        let recent = &mut self.recent;
        recent.identifiers = identifiers_of(properties).collect();
        recent.topic.clear();
        recent.topic.push_str(name);
        recent.valid = true;
        recent.keys.clear();
        let known = recent.identifiers.iter();
        recent
            .keys
            .extend(known.filter_map(|identifier| self.by_identifier.get(identifier)));
        let mut named = recent.identifiers.iter().take(ENDED);
        if recent.keys.is_empty() && !named.any(|named| self.ended.contains(named)) {
            // None were named, or they are another process's.
            recent.keys.extend(self.plain.get(name));
            let wild = self.wild.iter();
            recent.keys.extend(
                wild.filter(|(filter, _)| topic::matches(filter, name))
                    .map(|(_, key)| *key),
            );
        }
        recent.keys.sort_unstable();
        recent.keys.dedup();
    }

    fn free_identifier(&self, filter: &str) -> u32 {
        let mut hasher = DefaultHasher::new();
        filter.hash(&mut hasher);
        let mut identifier = hasher.finish() % LARGEST_IDENTIFIER + 1;
        while self.by_identifier.contains_key(&(identifier as u32)) {
            identifier = identifier % LARGEST_IDENTIFIER + 1;
        }
        identifier as u32
    }
}

/// The filter of a shared subscription, or the filter itself.
fn unshared(filter: &str) -> &str {
    topic::shared_filter(filter).map_or(filter, |(_, filter)| filter)
}

fn identifiers_of(properties: Properties<'_>) -> impl Iterator<Item = u32> + use<'_> {
    properties.iter().filter_map(|property| match property {
        (PropertyId::SubscriptionIdentifier, PropertyValue::Varint(identifier)) => Some(identifier),
        _ => None,
    })
}

fn same_identifiers(properties: Properties<'_>, known: &[u32]) -> bool {
    identifiers_of(properties).eq(known.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::mqtt::PropertyList;

    fn routes(filters: &[&str]) -> Routes {
        let mut routes = Routes::default();
        for (key, filter) in (1..).zip(filters) {
            let inserted = routes.insert(
                key,
                filter,
                &Value::Nil,
                Qos::AtLeastOnce,
                key,
                Instant::now(),
            );
            assert_eq!(inserted, Ok(Inserted::Waiting), "{filter}");
        }
        routes
    }

    fn naming(routes: &Routes, keys: &[Key]) -> PropertyList {
        let mut list = PropertyList::new();
        for key in keys {
            let identifier = routes.wish(*key).map_or(1, |wish| wish.identifier);
            list.push(
                PropertyId::SubscriptionIdentifier,
                PropertyValue::Varint(identifier),
            )
            .expect("a valid identifier");
        }
        list
    }

    #[test]
    fn without_identifiers_every_filter_that_matches_counts_once() {
        let mut routes = routes(&["a/b", "a/+", "#", "$share/g/a/b", "c"]);
        let none = Properties::default();
        assert_eq!(routes.route("a/b", none), [1, 2, 3, 4]);
        assert_eq!(routes.route("a/b", none), [1, 2, 3, 4]);
        assert_eq!(routes.route("a/c", none), [2, 3]);
        assert_eq!(routes.route("$SYS/x", none), [] as [Key; 0]);
        routes.remove(2);
        assert_eq!(routes.route("a/b", none), [1, 3, 4]);
    }

    #[test]
    fn identifiers_name_the_subscriptions() {
        let mut routes = routes(&["a/b", "a/+"]);
        let both = naming(&routes, &[2, 1]);
        let second = naming(&routes, &[2]);
        assert_eq!(routes.route("a/b", both.as_properties()), [1, 2]);
        assert_eq!(routes.route("a/b", second.as_properties()), [2]);
        let strange = naming(&routes, &[99]);
        assert_eq!(routes.route("a/b", strange.as_properties()), [1, 2]);
    }

    #[test]
    fn what_is_late_for_one_is_not_for_another() {
        let mut routes = routes(&["a/b", "a/+"]);
        let second = naming(&routes, &[2]);
        routes.remove(2);
        assert_eq!(routes.route("a/b", second.as_properties()), [] as [Key; 0]);
        assert_eq!(routes.route("a/b", Properties::default()), [1]);
    }

    #[test]
    fn an_identifier_is_the_same_in_every_process() {
        let identifier = |filters: &[&str]| routes(filters).wish(1).map(|wish| wish.identifier);
        assert_eq!(identifier(&["a/+", "b"]), identifier(&["a/+"]));
        assert_ne!(identifier(&["a/+"]), identifier(&["a/#"]));
    }
}
