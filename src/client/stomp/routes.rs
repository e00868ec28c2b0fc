//! Subscriptions: what each asks of the broker, and which of them a message is for.
//!
//! Source: STOMP 1.2, "SUBSCRIBE" and "MESSAGE".

use super::deliveries::Mode;
use super::options::{self, Header};
use crate::client::subscriptions::{Inserted, Subscription, Subscriptions};
use crate::client::told;
use crate::error::Error;
use crate::message::{Key, Ticket, Value};
use std::collections::HashMap;
use std::time::Instant;

/// Headers of SUBSCRIBE that the session writes.
const OURS: &[&str] = &["destination", "id", "ack", "receipt"];

/// What a subscription asks of the broker.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// The header `id`.
    pub(super) id: Vec<u8>,
    pub(super) destination: Vec<u8>,
    /// As the program wants it; [`Mode::EachInOrder`] is what a connection makes of it.
    pub(super) mode: Mode,
    /// What brokers have besides; UNSUBSCRIBE repeats them where they make a subscription durable.
    pub(super) durable: Vec<Header>,
    /// Whatever else goes into SUBSCRIBE.
    pub(super) headers: Vec<Header>,
}

impl Wish {
    fn parse(key: Key, destination: Vec<u8>, given: &Value) -> Result<Self, Error> {
        let text = |name| given.member(name).as_bytes().map(<[u8]>::to_vec);
        let header = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let mode = match given.member("ack").as_bytes() {
            Some(b"none") => Mode::None,
            Some(b"client") => Mode::UpTo,
            _ => Mode::Each,
        };
        let durable = match text("durable") {
            // RabbitMQ; ActiveMQ Classic; Artemis.
            Some(name) => vec![
                header("durable", b"true"),
                header("auto-delete", b"false"),
                header("activemq.subscriptionName", &name),
                header("durable-subscription-name", &name),
            ],
            None => Vec::new(),
        };
        let mut headers = options::headers(given.member("header"), OURS)?;
        if let Some(count) = given.member("prefetch").as_size() {
            let count = count.to_string();
            headers.push(header("prefetch-count", count.as_bytes()));
            headers.push(header("activemq.prefetchSize", count.as_bytes()));
        }
        let id = text("id").or(text("durable"));
        Ok(Wish {
            id: id.unwrap_or_else(|| key.to_string().into_bytes()),
            destination,
            mode,
            durable,
            headers,
        })
    }
}

/// Where messages of one `subscription` header go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) key: Key,
    pub(super) mode: Mode,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Their stages, and who waits.
    pub(super) subscriptions: Subscriptions,
    wishes: HashMap<Key, Wish>,
    by_id: HashMap<Vec<u8>, Route>,
    /// The id of the last message: messages come in runs, and a comparison costs a fifth of a
    /// hash.
    recent: Option<(Vec<u8>, Route)>,
}

impl Routes {
    /// Adds a subscription, or waits anew for one that is not confirmed.
    ///
    /// # Errors
    /// An option is wrong.
    pub(super) fn insert(
        &mut self,
        key: Key,
        name: &[u8],
        prefix: &[u8],
        given: &Value,
        waiter: Ticket,
        until: Instant,
    ) -> Result<Inserted, Error> {
        let destination = [prefix, name].concat();
        if destination.is_empty() || destination.contains(&0) {
            let shown = told::quoted(name);
            return Err(Error::invalid(format!(
                "the destination {shown} is empty, or holds a NUL, which STOMP cannot send"
            )));
        }
        let known = self.wishes.contains_key(&key);
        let wish = Wish::parse(key, destination, given)?;
        if !known && self.by_id.contains_key(&wish.id) {
            let shown = told::quoted(&wish.id);
            return Err(Error::invalid(format!(
                "another subscription has the id {shown}; give each an id of its own"
            )));
        }
        let inserted = self.subscriptions.insert(key, name, false, waiter, until);
        if inserted == Inserted::Taken || known {
            return Ok(inserted);
        }
        let mode = wish.mode;
        self.by_id.insert(wish.id.clone(), Route { key, mode });
        self.wishes.insert(key, wish);
        Ok(inserted)
    }

    /// Removes one; messages for it find no key any more.
    pub(super) fn remove(&mut self, key: Key) -> Option<(Subscription, Wish)> {
        self.forget(key);
        let wish = self.wishes.remove(&key)?;
        Some((self.subscriptions.remove(key)?, wish))
    }

    /// What a subscription asks for.
    pub(super) fn wish(&self, key: Key) -> Option<&Wish> {
        self.wishes.get(&key)
    }

    /// Messages with this `subscription` header are for that subscription on this connection.
    pub(super) fn bind(&mut self, id: &[u8], route: Route) {
        self.forget(route.key);
        self.by_id.insert(id.to_vec(), route);
    }

    /// The subscription that a message names.
    #[inline]
    pub(super) fn route(&mut self, id: &[u8]) -> Option<Route> {
        if let Some((recent, route)) = &self.recent {
            if recent == id {
                return Some(*route);
            }
        }
        let route = *self.by_id.get(id)?;
        self.recent = Some((id.to_vec(), route));
        Some(route)
    }

    /// The one subscription to this destination, for a broker that does not name one (1.0).
    pub(super) fn by_destination(&self, destination: &[u8]) -> Option<Route> {
        let mut fit = self
            .by_id
            .values()
            .filter(|route| {
                let wish = self.wishes.get(&route.key);
                wish.is_some_and(|wish| wish.destination == destination)
            })
            .copied();
        fit.next().filter(|_| fit.next().is_none())
    }

    fn forget(&mut self, key: Key) {
        self.recent = None;
        if let Some(wish) = self.wishes.get(&key) {
            if self
                .by_id
                .get(&wish.id)
                .is_some_and(|route| route.key == key)
            {
                self.by_id.remove(&wish.id);
                return;
            }
        }
        self.by_id.retain(|_, route| route.key != key);
    }
}
