//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5, sections 3.8 to 3.11), shared subscriptions among them, and what was retained for
//! new ones.

use super::queue::Wish;
use super::state::SessionState;
use super::{lock, shared, sys, Client, Joined};
use crate::broker::{Broker, Happening, Kind, Name};
use crate::codec::mqtt::{
    topic, Filter, Properties, PropertyId, Reason, SubAck, Subscribe, UnsubAck, Unsubscribe,
    Version,
};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

/// Retained messages go out: always, for a new subscription, never (section 3.8.3.1).
const ALWAYS: u8 = 0;
const IF_NEW: u8 = 1;

impl Client {
    /// SUBSCRIBE.
    pub(super) fn subscribe(&mut self, now: Instant, subscribe: &Subscribe<'_>) {
        let Some(joined) = &self.joined else { return };
        let broker = &self.caller.broker;
        let version = joined.link.version;
        let identifier = subscribe
            .properties
            .u32(PropertyId::SubscriptionIdentifier)
            .unwrap_or_default();
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        let mut wanted = Vec::new();
        for filter in &subscribe.filters {
            let wish = Wish::new(
                identifier,
                filter.qos,
                filter.no_local,
                // Version 3.1.1 marks what is retained only (3.1.1, [MQTT-3.3.1-9]).
                filter.retain_as_published && version == Version::V5,
            );
            // Version 3.1.1 has no such word, but its clients know it from other brokers.
            let share = topic::shared_filter(filter.filter);
            let begun = joined.begin(broker, now, filter, share, wish);
            let Some(is_new) = begun else {
                reasons.push(Reason::QUOTA_EXCEEDED);
                continue;
            };
            reasons.push(Reason(filter.qos as u8));
            if is_new {
                let subscriptions = &broker.counters().subscriptions;
                subscriptions.fetch_add(1, Ordering::Relaxed);
                self.caller
                    .tell(Happening::Subscribe, filter.filter.as_bytes());
            }
            let handling = filter.retain_handling;
            // Shared subscriptions get none (section 4.8.2).
            if share.is_none() && (handling == ALWAYS || (handling == IF_NEW && is_new)) {
                wanted.push((filter.filter, wish));
            }
        }
        let answer = SubAck {
            packet_id: subscribe.packet_id,
            properties: Properties::NONE,
            reasons,
        };
        // There is a reason for each filter, of those that may be there.
        let _ = answer.encode(version, &mut self.out);
        for (filter, wish) in wanted {
            if joined.session.is_overrun() {
                break;
            }
            let mut found = lock(&broker.mqtt.retained).matching(filter.as_bytes(), now);
            if sys::is_watched_by(filter.as_bytes()) {
                found.extend(sys::messages(broker, now, Some(filter)));
            }
            joined.session.accept_retained(wish, found);
        }
    }

    /// UNSUBSCRIBE.
    pub(super) fn unsubscribe(&mut self, now: Instant, unsubscribe: &Unsubscribe<'_>) {
        let Some(joined) = &mut self.joined else {
            return;
        };
        let broker = &self.caller.broker;
        let version = joined.link.version;
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        for filter in &unsubscribe.filters {
            let gone = end(broker, &joined.session, filter.as_bytes());
            reasons.push(match gone {
                true => Reason::SUCCESS,
                false => Reason::NO_SUBSCRIPTION_EXISTED,
            });
            if gone {
                let subscriptions = &broker.counters().subscriptions;
                subscriptions.fetch_sub(1, Ordering::Relaxed);
                self.caller.tell(Happening::Unsubscribe, filter.as_bytes());
            }
        }
        // What came before the end is told before the end, as far as the client takes it.
        let (session, link) = (&joined.session, &mut joined.link);
        let sent = session.transmit(link, now, &mut self.out, usize::MAX);
        broker.counters().sent.fetch_add(sent, Ordering::Relaxed);
        let answer = UnsubAck {
            packet_id: unsubscribe.packet_id,
            properties: Properties::NONE,
            reasons,
        };
        let _ = answer.encode(version, &mut self.out);
    }
}

impl Joined {
    /// Makes a subscription, or changes it. Whether it is new; None: there are as many as there may be.
    fn begin(
        &self,
        broker: &Arc<Broker>,
        now: Instant,
        filter: &Filter<'_>,
        share: Option<(&str, &str)>,
        wish: Wish,
    ) -> Option<bool> {
        let session = &self.session;
        let text = filter.filter.as_bytes();
        let (is_known, count, subscriber) = {
            let state = session.lock();
            let is_known = match share {
                None => state.filters.contains(text),
                Some(_) => state.shares.contains_key(text),
            };
            (is_known, state.subscriptions(), state.subscriber)
        };
        if !is_known && count >= broker.settings().max_subscriptions {
            return None;
        }
        if let Some((_, inner)) = share {
            let name = filter.filter.split_once('/').map_or("", |(_, name)| name);
            let group = shared::join(broker, name, inner, session, wish);
            let mut state = session.lock();
            state.shares.insert(text.into(), group);
            return Some(!is_known);
        }
        let name: Name = text.into();
        let subscriber = {
            let mut router = broker.router();
            let subscriber = subscriber.unwrap_or_else(|| router.enrol(session.clone()));
            if is_known {
                router.unsubscribe(Kind::Filter, &name, subscriber);
            }
            router.subscribe(Kind::Filter, &name, subscriber, wish.tag());
            subscriber
        };
        let mut state = session.lock();
        state.subscriber = Some(subscriber);
        // The same text that the router has.
        state.filters.replace(name);
        drop(state);
        if !is_known && sys::is_watched_by(text) {
            broker.mqtt.sys.watch(broker, now);
        }
        Some(!is_known)
    }
}

/// Ends a subscription. False: there is none.
fn end(broker: &Arc<Broker>, session: &Arc<SessionState>, filter: &[u8]) -> bool {
    let (subscriber, is_known, group) = {
        let mut state = session.lock();
        let is_known = state.filters.remove(filter);
        let group = state.shares.remove(filter);
        (state.subscriber, is_known, group)
    };
    if let (true, Some(subscriber)) = (is_known, subscriber) {
        let mut router = broker.router();
        router.unsubscribe(Kind::Filter, filter, subscriber);
        drop(router);
        broker
            .mqtt
            .sys
            .unwatch(usize::from(sys::is_watched_by(filter)));
    }
    if let Some(group) = group {
        shared::leave(broker, group, session);
    }
    is_known || group.is_some()
}
