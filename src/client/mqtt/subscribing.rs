//! Subscriptions on their way to the broker: asked for, renewed on each connection, ended.
//!
//! Source: MQTT 5.0, sections 3.8 to 3.11.

use super::{properties, Batch, Due, Leaving, Mqtt, Stage};
use crate::client::subscriptions::{Inserted, Stage as SubscriptionStage};
use crate::codec::mqtt::{
    topic, Filter, Place, PropertyId, PropertyList, PropertyValue, Subscribe, Unsubscribe,
};
use crate::error::{Code, Error};
use crate::message::{Key, State, Ticket, Value};
use std::time::Instant;

impl Mqtt {
    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        ticket: Ticket,
        key: Key,
        pattern: &[u8],
        options: &Value,
        events: &mut Batch,
    ) -> Result<(), Error> {
        let filter = std::str::from_utf8(pattern).map_err(|_| {
            Error::invalid(format!(
                "the topic filter {:?} is not UTF-8",
                String::from_utf8_lossy(pattern)
            ))
        })?;
        properties::parse(options.member("properties"), Place::Subscribe)?;
        let until = now + self.options.timeout;
        let inserted = self
            .routes
            .insert(key, filter, options, self.options.qos, ticket, until)?;
        match inserted {
            Inserted::Waiting => {}
            Inserted::Active => events.answer(ticket, Value::Nil),
            Inserted::Taken => {
                return Err(Error::invalid(format!("already subscribed to {filter:?}")));
            }
        }
        self.claim_strays(key, events);
        let subscription = self.routes.subscriptions.find(key);
        let wanted = subscription.is_some_and(|known| known.stage == SubscriptionStage::Wanted);
        if wanted && self.stage == Stage::Ready {
            self.ask(now, key, events);
        }
        Ok(())
    }

    pub(super) fn unsubscribe(
        &mut self,
        now: Instant,
        ticket: Ticket,
        key: Key,
        events: &mut Batch,
    ) -> Result<(), Error> {
        let asked_before = self.routes.wish(key).is_some_and(|wish| wish.asked);
        let Some(gone) = self.routes.remove(key) else {
            return Err(Error::invalid("no such subscription"));
        };
        if let Some(waiter) = gone.waiter {
            events.fail(waiter, &Error::new(Code::Closed, "unsubscribed meanwhile"));
        }
        self.arrivals.release(key);
        self.send_acknowledgements();
        let known_there = gone.stage != SubscriptionStage::Wanted || (asked_before && self.resume);
        let waits = self.stage == Stage::Ready && gone.stage != SubscriptionStage::Wanted;
        if known_there {
            let leaving = Leaving {
                filter: String::from_utf8_lossy(&gone.name).into_owned(),
                waiter: waits.then_some(ticket),
                asked: false,
            };
            self.leaving.insert(key, leaving);
        }
        if !waits {
            events.answer(ticket, Value::Nil);
        }
        if known_there && self.stage == Stage::Ready {
            self.ask_end(now, key);
        }
        Ok(())
    }

    /// Asks the broker for all that it does not know yet: ends of subscriptions first, since a new
    /// one may have the filter of one that ended.
    pub(super) fn ask_all(&mut self, now: Instant, events: &mut Batch) {
        self.unasked = false;
        let ends = self.leaving.iter().filter(|(_, leaving)| !leaving.asked);
        let ends: Vec<Key> = ends.map(|(key, _)| *key).collect();
        for key in ends {
            self.ask_end(now, key);
        }
        let mut wanted = Vec::new();
        self.routes
            .subscriptions
            .ask_wanted(|key, _| wanted.push(key));
        for key in wanted {
            self.ask(now, key, events);
        }
    }

    /// Asks the broker for one subscription.
    fn ask(&mut self, now: Instant, key: Key, events: &mut Batch) {
        let waits = !self.may_ask(now);
        if let Some(subscription) = self.routes.subscriptions.find(key) {
            subscription.stage = match waits {
                true => SubscriptionStage::Wanted,
                false => SubscriptionStage::Asked,
            };
        }
        if !waits {
            if let Err(error) = self.ask_for(key) {
                self.drop_refused(key, &error, events);
            }
        }
    }

    /// Asks the broker to end one.
    fn ask_end(&mut self, now: Instant, key: Key) {
        if !self.may_ask(now) {
            return;
        }
        if let Some(leaving) = self.leaving.get_mut(&key) {
            leaving.asked = true;
            let packet = Unsubscribe {
                packet_id: self.in_flight.push(Due::UnsubAck(key), &[], None),
                properties: Default::default(),
                filters: vec![&leaving.filter],
            };
            // A filter that went into SUBSCRIBE goes into UNSUBSCRIBE.
            let _ = packet.encode(self.version, &mut self.control);
        }
    }

    /// False: there is no identifier for a question, or others wait for one. It is asked by
    /// [`Mqtt::ask_all`] once answers have come.
    fn may_ask(&mut self, now: Instant) -> bool {
        self.unasked |= !self.in_flight.has_identifier();
        if self.in_flight.is_quiet() {
            // From here on an answer is due: silence before it does not count.
            self.progressed(now);
        }
        !self.unasked
    }

    /// The broker refused a subscription, or would: it is gone, and somebody is told.
    pub(super) fn drop_refused(&mut self, key: Key, error: &Error, events: &mut Batch) {
        if let Some(gone) = self.routes.remove(key) {
            self.arrivals.release(key);
            match gone.waiter {
                Some(ticket) => events.fail(ticket, error),
                None => events.state(State::Unsubscribed, Some(error), key as f64),
            }
        }
    }

    /// Queues SUBSCRIBE for one subscription.
    ///
    /// # Errors
    /// The broker would not take it.
    fn ask_for(&mut self, key: Key) -> Result<(), Error> {
        let Some(wish) = self.routes.wish(key).cloned() else {
            return Ok(());
        };
        let Some(subscription) = self.routes.subscriptions.find(key) else {
            return Ok(());
        };
        let filter = std::str::from_utf8(&subscription.name).unwrap_or_default();
        let shared = topic::shared_filter(filter);
        let refuse = |what| {
            Err(Error::new(
                Code::Refused,
                format!("the broker takes no {what}: {filter:?}"),
            ))
        };
        if shared.is_some() && !self.broker.shared {
            return refuse("shared subscriptions");
        }
        if !self.broker.wildcards && filter.contains(['+', '#']) {
            return refuse("wildcards");
        }
        let mut list: PropertyList = properties::parse(&wish.properties, Place::Subscribe)?;
        if self.broker.identifiers && self.options.subscription_identifiers {
            properties::push(
                &mut list,
                PropertyId::SubscriptionIdentifier,
                PropertyValue::Varint(wish.identifier),
            )?;
        }
        let known = subscription.waiter.is_none() && self.resume;
        let packet_id = self.in_flight.push(Due::SubAck(key), &[], None);
        let packet = Subscribe {
            packet_id,
            properties: list.as_properties(),
            filters: vec![Filter {
                filter,
                qos: wish.qos,
                no_local: wish.no_local,
                retain_as_published: wish.retain_as_published,
                // A renewed one has had what was retained, unless the broker has forgotten it.
                retain_handling: match (known, wish.retain_handling) {
                    (true, 0) => 1,
                    (_, given) => given,
                },
            }],
        };
        if let Err(error) = packet.encode(self.version, &mut self.control) {
            self.in_flight.set_due(packet_id, Due::Nothing);
            return Err(Error::invalid(error.to_string()));
        }
        self.routes.mark_asked(key);
        Ok(())
    }
}
