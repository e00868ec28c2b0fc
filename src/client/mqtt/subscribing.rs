//! Subscriptions on their way to the broker: asked for, renewed on each connection, ended.
//!
//! Source: MQTT 5.0, sections 3.8 to 3.11.

use super::{handshake::Broker, properties, routes::Routes};
use super::{Batch, Due, InFlight, Leaving, Mqtt, Stage};
use crate::client::subscriptions::{Inserted, Stage as SubscriptionStage};
use crate::codec::mqtt::{
    topic, Filter, Place, PropertyId, PropertyList, PropertyValue, Subscribe, Unsubscribe, Version,
};
use crate::error::{Code, Error};
use crate::message::{Key, State, Ticket, Value};
use bytes::BytesMut;
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
        if self.stage == Stage::Ready {
            self.ask(events);
        }
        Ok(())
    }

    pub(super) fn unsubscribe(
        &mut self,
        ticket: Ticket,
        key: Key,
        events: &mut Batch,
    ) -> Result<(), Error> {
        let Some(gone) = self.routes.remove(key) else {
            return Err(Error::invalid("no such subscription"));
        };
        if let Some(waiter) = gone.waiter {
            events.fail(waiter, &Error::new(Code::Closed, "unsubscribed meanwhile"));
        }
        self.arrivals.release(key);
        self.send_acknowledgements();
        let known_there = gone.stage != SubscriptionStage::Wanted || self.resume;
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
        if self.stage == Stage::Ready {
            self.ask(events);
        }
        Ok(())
    }

    /// Asks the broker for what it does not know yet: ends of subscriptions first, since a new one
    /// may have the filter of one that ended.
    pub(super) fn ask(&mut self, events: &mut Batch) {
        let version = self.version;
        for (key, leaving) in &mut self.leaving {
            if leaving.asked || !self.in_flight.has_identifier() {
                continue;
            }
            leaving.asked = true;
            let packet = Unsubscribe {
                packet_id: self.in_flight.push(Due::UnsubAck(*key), &[], None),
                properties: Default::default(),
                filters: vec![&leaving.filter],
            };
            // A filter that went into SUBSCRIBE goes into UNSUBSCRIBE.
            let _ = packet.encode(version, &mut self.control);
        }
        let mut refused = Vec::new();
        let Mqtt {
            routes,
            in_flight,
            control,
            broker,
            resume,
            ..
        } = self;
        let mut wanted = Vec::new();
        routes.subscriptions.ask_wanted(|key, _| wanted.push(key));
        for key in wanted {
            let outcome = match in_flight.has_identifier() {
                true => ask_for(key, routes, in_flight, broker, version, *resume, control),
                false => Err(Error::new(Code::Full, "65535 packets await their answer")),
            };
            if let Err(error) = outcome {
                refused.push((key, error));
            }
        }
        for (key, error) in refused {
            self.drop_refused(key, &error, events);
        }
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
}

/// Appends SUBSCRIBE for one subscription.
fn ask_for(
    key: Key,
    routes: &mut Routes,
    in_flight: &mut InFlight,
    broker: &Broker,
    version: Version,
    renewal: bool,
    control: &mut BytesMut,
) -> Result<(), Error> {
    let Some(wish) = routes.wish(key).cloned() else {
        return Ok(());
    };
    let Some(subscription) = routes.subscriptions.find(key) else {
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
    if shared.is_some() && !broker.shared {
        return refuse("shared subscriptions");
    }
    if !broker.wildcards && filter.contains(['+', '#']) {
        return refuse("wildcards");
    }
    let mut list: PropertyList = properties::parse(&wish.properties, Place::Subscribe)?;
    if broker.identifiers {
        properties::push(
            &mut list,
            PropertyId::SubscriptionIdentifier,
            PropertyValue::Varint(wish.identifier),
        )?;
    }
    let known = subscription.waiter.is_none() && renewal;
    let packet = Subscribe {
        packet_id: in_flight.push(Due::SubAck(key), &[], None),
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
    packet
        .encode(version, control)
        .map_err(|error| Error::invalid(error.to_string()))
}
