//! Subscriptions on their way to the broker: asked for, renewed on each connection, ended.
//!
//! Source: STOMP 1.2, "SUBSCRIBE" and "UNSUBSCRIBE".

use super::deliveries::Mode;
use super::handshake::Broker;
use super::options::Header;
use super::outbound::unsayable;
use super::routes::{Route, Wish};
use super::stored::Decimal;
use super::{Due, Goodbye, Stage, Stomp};
use crate::client::subscriptions::{Inserted, Stage as SubscriptionStage};
use crate::client::told;
use crate::codec::stomp::{Body, Command, EncodeError, FrameBuilder, Version};
use crate::error::{Code, Error};
use crate::message::{Batch, Key, State, Ticket, Value};
use bytes::BytesMut;
use std::time::Instant;

/// RabbitMQ makes these for a SEND that names one in `reply-to`, and takes no SUBSCRIBE for them.
const TEMPORARY: &[u8] = b"/temp-queue/";

/// The end of a subscription.
#[derive(Debug)]
pub(super) struct Leaving {
    wish: Wish,
    /// Who waits for it.
    waiter: Option<Ticket>,
    /// This connection has it still, or has had it.
    known_here: bool,
    /// Until then the program may settle what it has of it: once the broker is asked, it cannot.
    until: Instant,
}

impl Leaving {
    /// The header `id` of its SUBSCRIBE.
    pub(super) fn id(&self) -> &[u8] {
        &self.wish.id
    }
}

impl Stomp {
    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        (ticket, key): (Ticket, Key),
        pattern: &[u8],
        options: &Value,
        events: &mut Batch,
    ) -> Result<(), Error> {
        let until = now + self.options.timeout;
        let prefix = &self.options.prefix;
        let inserted = self
            .routes
            .insert(key, pattern, prefix, options, ticket, until)?;
        match inserted {
            Inserted::Waiting => {}
            Inserted::Active => events.answer(ticket, Value::Nil),
            Inserted::Taken => {
                let shown = told::quoted(pattern);
                return Err(Error::invalid(format!("already subscribed to {shown}")));
            }
        }
        let subscription = self.routes.subscriptions.find(key);
        let wanted = subscription.is_some_and(|known| known.stage == SubscriptionStage::Wanted);
        if wanted && self.may_ask() {
            match self.suspects.is_under_way() {
                true => self.suspects.queue(key),
                false => self.ask(now, key, events),
            }
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
        let Some((gone, wish)) = self.routes.remove(key) else {
            return Err(Error::invalid("no such subscription"));
        };
        if let Some(waiter) = gone.waiter {
            events.fail(waiter, &Error::new(Code::Closed, "unsubscribed meanwhile"));
        }
        self.suspects.forget(key);
        let known_here = self.stage == Stage::Ready && gone.stage != SubscriptionStage::Wanted;
        let is_durable = !wish.durable.is_empty();
        if !(known_here || is_durable) || self.is_implied(&wish) {
            self.deliveries.release(key);
            events.answer(ticket, Value::Nil);
            return Ok(());
        }
        // The call may come from the callback whose message has yet to be settled: it cannot wait
        // for that.
        let mut waiter = Some(ticket);
        if self.deliveries.has_unsettled(key) || self.stage != Stage::Ready {
            events.answer(ticket, Value::Nil);
            waiter = None;
        }
        let leaving = Leaving {
            wish,
            waiter,
            known_here,
            until: now + self.options.timeout,
        };
        self.leaving.insert(key, leaving);
        self.ask_ends(now, events);
        Ok(())
    }

    /// Whether this connection takes questions.
    fn may_ask(&self) -> bool {
        self.stage == Stage::Ready && self.goodbye == Goodbye::Unsaid && self.condemned.is_none()
    }

    /// Asks the broker for all subscriptions, on a new connection.
    pub(super) fn ask_all(&mut self, now: Instant, events: &mut Batch) {
        let mut wanted = Vec::new();
        self.routes
            .subscriptions
            .ask_wanted(|key, _| wanted.push(key));
        for key in wanted {
            match self.suspects.holds(key) {
                true => {
                    if let Some(known) = self.routes.subscriptions.find(key) {
                        known.stage = SubscriptionStage::Wanted;
                    }
                }
                false => self.ask(now, key, events),
            }
        }
    }

    /// Asks the broker for one subscription, if it has not been asked.
    pub(super) fn ask(&mut self, now: Instant, key: Key, events: &mut Batch) {
        let Some(wish) = self.routes.wish(key).cloned() else {
            return;
        };
        if self.is_implied(&wish) {
            // It needs not be asked for, and its messages name it so.
            let (id, mode) = (&wish.destination, Mode::None);
            self.routes.bind(id, Route { key, mode });
            if let Some(ticket) = self.routes.subscriptions.confirm(key) {
                events.answer(ticket, Value::Nil);
            }
            return;
        }
        let mode = wish.mode;
        self.routes.bind(&wish.id, Route { key, mode });
        self.end_namesake(now, &wish.id, events);
        let number = self.in_flight.next();
        let version = self.broker.version;
        if let Err(error) = put_subscribe(&wish, Some(number), version, &mut self.control) {
            self.drop_refused(key, &unsayable(&error), events);
            return;
        }
        self.ask_for(now, Due::Subscribed(key));
        if let Some(known) = self.routes.subscriptions.find(key) {
            known.stage = SubscriptionStage::Asked;
        }
    }

    /// Whether the broker makes such a subscription without being asked.
    fn is_implied(&self, wish: &Wish) -> bool {
        self.broker.is_rabbit && wish.destination.starts_with(TEMPORARY)
    }

    /// A message of the subscription is as good as its receipt, which may be late.
    pub(super) fn confirm_by_message(&mut self, key: Key, events: &mut Batch) {
        let known = self.routes.subscriptions.find(key);
        if known.is_some_and(|known| known.stage == SubscriptionStage::Asked) {
            self.in_flight.change(|due| match due {
                Due::Subscribed(asked) if asked == key => Due::Nothing,
                due => due,
            });
            self.confirm(key, events);
        }
    }

    pub(super) fn confirm(&mut self, key: Key, events: &mut Batch) {
        if let Some(ticket) = self.routes.subscriptions.confirm(key) {
            events.answer(ticket, Value::Nil);
        }
    }

    /// The broker refused a subscription, or would: it is gone, and somebody is told.
    pub(super) fn drop_refused(&mut self, key: Key, error: &Error, events: &mut Batch) {
        self.suspects.forget(key);
        if let Some((gone, _)) = self.routes.remove(key) {
            self.deliveries.release(key);
            match gone.waiter {
                Some(ticket) => events.fail(ticket, error),
                None => events.state(State::Unsubscribed, Some(error), key as f64),
            }
        }
    }

    /// Asks the broker to end what has ended and is settled, or whose time for that is over.
    pub(super) fn ask_ends(&mut self, now: Instant, events: &mut Batch) {
        if self.leaving.is_empty() || !self.may_ask() {
            return;
        }
        let due = self.leaving.iter().filter(|(key, leaving)| {
            leaving.until <= now || !leaving.known_here || !self.deliveries.has_unsettled(**key)
        });
        let due: Vec<Key> = due.map(|(key, _)| *key).collect();
        for key in due {
            self.ask_end(now, key, events);
        }
    }

    /// The client closes: what outlives connections has to end now.
    pub(super) fn hurry_ends(&mut self, now: Instant, events: &mut Batch) {
        for leaving in self.leaving.values_mut() {
            if !leaving.wish.durable.is_empty() {
                leaving.until = now;
            }
        }
        self.ask_ends(now, events);
    }

    /// The end of one whose id another one is to have.
    fn end_namesake(&mut self, now: Instant, id: &[u8], events: &mut Batch) {
        let mut leaving = self.leaving.iter();
        let found = leaving.find(|(_, leaving)| leaving.wish.id == id);
        if let Some(key) = found.map(|(key, _)| *key) {
            self.ask_end(now, key, events);
        }
    }

    fn ask_end(&mut self, now: Instant, key: Key, events: &mut Batch) {
        let Some(leaving) = self.leaving.get(&key) else {
            return;
        };
        let cumulative = leaving.wish.mode == Mode::UpTo;
        self.give_back(key, cumulative);
        let number = self.ask_for(now, Due::Unsubscribed(key));
        let Some(leaving) = self.leaving.remove(&key) else {
            return;
        };
        let outcome = put_end(&leaving, number, &self.broker, &mut self.control);
        self.ending.insert(key, leaving);
        if outcome.is_err() {
            // An option of it cannot be said in this version: nothing of it can be on the broker.
            self.in_flight.set_due(number, Due::Nothing);
            self.take_end(key, events);
        }
    }

    /// The broker has ended a subscription.
    pub(super) fn take_end(&mut self, key: Key, events: &mut Batch) {
        let gone = self.ending.remove(&key);
        if let Some(ticket) = gone.and_then(|gone| gone.waiter) {
            events.answer(ticket, Value::Nil);
        }
    }

    /// The connection is gone, and with it what it was subscribed to; what is durable is to end on
    /// the next one.
    pub(super) fn suspend_leaving(&mut self, events: &mut Batch) {
        self.leaving.append(&mut self.ending);
        self.leaving.retain(|_, leaving| {
            if let Some(ticket) = leaving.waiter.take() {
                events.answer(ticket, Value::Nil);
            }
            leaving.known_here = false;
            !leaving.wish.durable.is_empty()
        });
    }

    /// When the program's time to settle is over.
    pub(super) fn leaving_deadline(&self) -> Option<Instant> {
        if !self.may_ask() {
            return None;
        }
        self.leaving.values().map(|leaving| leaving.until).min()
    }

    /// A message for a subscription that has ended: it is given back with the others.
    pub(super) fn take_late(&mut self, id: &[u8], name: &[u8]) {
        let mut leaving = self.leaving.iter();
        let found = leaving.find(|(_, leaving)| leaving.wish.id == id);
        if let Some((key, mode)) = found.map(|(key, leaving)| (*key, leaving.wish.mode)) {
            if mode != Mode::None {
                let delivery = self.deliveries.arrive(key, mode, name, false);
                self.deliveries.shelve(delivery);
                return;
            }
        }
        self.counters.dropped += 1;
    }
}

fn put_subscribe(
    wish: &Wish,
    receipt: Option<u64>,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut frame = FrameBuilder::new(Command::Subscribe, version, out)?;
    frame.header("id", &wish.id)?;
    frame.header("destination", &wish.destination)?;
    let ack = match (wish.mode, version) {
        (Mode::None, _) => "auto",
        (Mode::UpTo, _) | (_, Version::V10) => "client",
        _ => "client-individual",
    };
    frame.header("ack", ack)?;
    if let Some(receipt) = receipt {
        frame.header("receipt", Decimal::new(receipt))?;
    }
    for (name, value) in wish.durable.iter().chain(&wish.headers) {
        frame.header(name, value)?;
    }
    frame.finish(Body::NONE)
}

/// Appends what ends a subscription. A durable one is made once more where this connection does not
/// have it: brokers refuse to end what they do not know, or what nobody has at the time.
fn put_end(
    leaving: &Leaving,
    receipt: u64,
    broker: &Broker,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let (wish, version) = (&leaving.wish, broker.version);
    if !leaving.known_here {
        put_subscribe(wish, None, version, out)?;
    }
    if broker.is_classic && !wish.durable.is_empty() {
        // It ends a durable subscription that nobody has at the time, and no other.
        put_unsubscribe(wish, None, &[], version, out)?;
    }
    put_unsubscribe(wish, Some(receipt), &wish.durable, version, out)
}

fn put_unsubscribe(
    wish: &Wish,
    receipt: Option<u64>,
    durable: &[Header],
    version: Version,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut frame = FrameBuilder::new(Command::Unsubscribe, version, out)?;
    frame.header("id", &wish.id)?;
    frame.header("destination", &wish.destination)?;
    if let Some(receipt) = receipt {
        frame.header("receipt", Decimal::new(receipt))?;
    }
    for (name, value) in durable {
        frame.header(name, value)?;
    }
    frame.finish(Body::NONE)
}
