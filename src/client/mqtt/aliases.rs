//! Topic aliases of one connection: a number in place of a topic that was sent before.
//!
//! Source: MQTT 5.0, section 3.3.2.3.4.

use crate::codec::mqtt::{Properties, PropertyId};
use std::collections::HashMap;

/// A shorter topic is no longer than its alias.
const WORTH: usize = 6;

/// Those that we have given, in the order of the topics' first use, up to the broker's maximum.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    maximum: u16,
    given: HashMap<String, u16>,
    /// The last topic with its alias: messages come in runs.
    recent: Option<(String, u16)>,
    /// Properties with the alias before them.
    scratch: Vec<u8>,
}

impl Outbound {
    /// A connection whose peer takes aliases up to `maximum`; 0: none.
    pub(super) fn reset(&mut self, maximum: u16) {
        self.clear();
        self.maximum = maximum;
    }

    /// There is no connection.
    pub(super) fn clear(&mut self) {
        *self = Outbound::default();
    }

    /// Topic and properties to send in place of these; None: these.
    #[inline]
    pub(super) fn apply<'a>(
        &'a mut self,
        topic: &'a str,
        properties: Properties<'_>,
    ) -> Option<(&'a str, Properties<'a>)> {
        if self.maximum == 0 || topic.len() < WORTH {
            return None;
        }
        let (alias, known) = self.alias(topic)?;
        let [high, low] = alias.to_be_bytes();
        self.scratch.clear();
        self.scratch
            .extend_from_slice(&[PropertyId::TopicAlias as u8, high, low]);
        self.scratch.extend_from_slice(properties.raw());
        let shown = if known { "" } else { topic };
        Some((shown, Properties::stored(&self.scratch)))
    }

    /// The alias of a topic, and whether the peer knows it already.
    fn alias(&mut self, topic: &str) -> Option<(u16, bool)> {
        if let Some((recent, alias)) = &self.recent {
            if recent == topic {
                return Some((*alias, true));
            }
        }
        let (alias, known) = match self.given.get(topic) {
            Some(alias) => (*alias, true),
            None if self.given.len() < usize::from(self.maximum) => {
                let alias = self.given.len() as u16 + 1;
                self.given.insert(topic.to_owned(), alias);
                (alias, false)
            }
            None => return None,
        };
        match &mut self.recent {
            Some((recent, number)) => {
                recent.clear();
                recent.push_str(topic);
                *number = alias;
            }
            None => self.recent = Some((topic.to_owned(), alias)),
        }
        Some((alias, known))
    }
}

/// Those that the broker has given us.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    topics: HashMap<u16, String>,
}

impl Inbound {
    /// There is no connection.
    pub(super) fn clear(&mut self) {
        self.topics = HashMap::new();
    }

    /// The topic that a packet with this alias is about, where it has a topic of its own or the
    /// alias is known.
    pub(super) fn resolve<'a>(&'a mut self, alias: u16, topic: &'a str) -> Option<&'a str> {
        if topic.is_empty() {
            return self.topics.get(&alias).map(String::as_str);
        }
        let known = self.topics.entry(alias).or_default();
        known.clear();
        known.push_str(topic);
        Some(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_once_and_the_maximum_kept() {
        let mut aliases = Outbound::default();
        let none = Properties::default();
        assert_eq!(aliases.apply("sensors/1", none), None);
        aliases.reset(1);
        let shown = |aliases: &mut Outbound, topic: &str| {
            let topic = topic.to_owned();
            aliases
                .apply(&topic, Properties::default())
                .map(|(shown, properties)| {
                    (shown.to_owned(), properties.u16(PropertyId::TopicAlias))
                })
        };
        let first = shown(&mut aliases, "sensors/1");
        assert_eq!(first, Some(("sensors/1".into(), Some(1))));
        let again = shown(&mut aliases, "sensors/1");
        assert_eq!(again, Some((String::new(), Some(1))));
        assert_eq!(shown(&mut aliases, "sensors/2"), None, "none is left");
        assert_eq!(shown(&mut aliases, "a"), None, "not worth it");
    }

    #[test]
    fn the_broker_may_change_what_an_alias_means() {
        let mut aliases = Inbound::default();
        assert_eq!(aliases.resolve(1, ""), None);
        assert_eq!(aliases.resolve(1, "a"), Some("a"));
        assert_eq!(aliases.resolve(1, ""), Some("a"));
        assert_eq!(aliases.resolve(1, "b"), Some("b"));
        assert_eq!(aliases.resolve(1, ""), Some("b"));
    }
}
