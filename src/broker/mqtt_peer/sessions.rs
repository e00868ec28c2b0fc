//! Which sessions there are, from the first CONNECT of a client identifier to the end of its expiry (MQTT 5, section
//! 4.1): take-overs, wills, and the timers of both.
//!
//! Lock order: the sessions, the groups, the router, a group's members, a session's state. Jobs run without a lock, and
//! learn from the epoch whether the client has come back meanwhile.

use super::state::SessionState;
use super::will::Will;
use super::{publish_message, shared};
use crate::broker::{lock, Bell, Broker, Kind, Name};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Seconds that a session is kept at the most: a week.
pub(super) const LONGEST: u32 = 7 * 24 * 3600;

/// Sessions by client identifier.
#[derive(Debug, Default)]
pub(in crate::broker) struct Sessions {
    by_id: HashMap<Name, Arc<SessionState>>,
    /// Those without a connection.
    pub(super) away: usize,
}

impl Sessions {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    fn remove(&mut self, session: &Arc<SessionState>) {
        let known = self.by_id.get(&session.client_id);
        if known.is_some_and(|known| Arc::ptr_eq(known, session)) {
            self.by_id.remove(&session.client_id);
        }
    }
}

/// What CONNECT says of the session.
#[derive(Debug)]
pub(super) struct Arriving<'a> {
    pub(super) client_id: &'a str,
    pub(super) clean_start: bool,
    /// Seconds.
    pub(super) expiry: u32,
    pub(super) will: Option<Will>,
}

/// The session of a new connection, whose number is `owner`; and whether it was there before. Whoever had it hears its
/// bell.
pub(super) fn attach(
    broker: &Arc<Broker>,
    now: Instant,
    owner: u64,
    bell: Weak<dyn Bell>,
    arriving: Arriving<'_>,
) -> (Arc<SessionState>, bool) {
    let Arriving {
        client_id,
        clean_start,
        expiry,
        will,
    } = arriving;
    let will = will.map(Box::new);
    let mut sessions = lock(&broker.mqtt.sessions);
    let old = sessions.by_id.get(client_id.as_bytes()).cloned();
    if let Some(old) = &old {
        sessions.away -= usize::from(old.owner() == 0);
        let mut state = old.lock();
        // The state of a session that ends with its connection ends with this take-over.
        if !clean_start && state.expiry > 0 {
            let last = old.hand_over(&mut state, owner, Some(bell));
            state.expiry = expiry;
            let last_will = std::mem::replace(&mut state.will, will);
            let timers = std::mem::take(&mut state.timers);
            drop(state);
            drop(sessions);
            timers.into_iter().flatten().for_each(|timer| {
                broker.cancel(timer);
            });
            ring(last);
            // One that is delayed is not sent any more: the client is back (section 3.1.3.2.2).
            if let Some(will) = last_will.filter(|will| will.delay == 0) {
                publish_message(broker, now, &will.into_message(now));
            }
            return (old.clone(), true);
        }
    }
    let limit = broker.settings.max_queue_bytes;
    let name: Name = client_id.as_bytes().into();
    let identity = broker.mqtt.identity(client_id.as_bytes());
    let clock = broker.mqtt.clock.clone();
    let session = SessionState::new(name.clone(), identity, owner, bell, expiry, limit, clock);
    let session = Arc::new(session);
    session.lock().will = will;
    sessions.by_id.insert(name, session.clone());
    drop(sessions);
    if let Some(old) = old {
        let mut state = old.lock();
        let last = old.hand_over(&mut state, 0, None);
        let last_will = state.will.take();
        drop(state);
        ring(last);
        end(broker, &old);
        // The end of a session does not wait for the will's delay.
        if let Some(will) = last_will {
            publish_message(broker, now, &will.into_message(now));
        }
    }
    (session, false)
}

fn ring(bell: Option<Weak<dyn Bell>>) {
    if let Some(bell) = bell.and_then(|bell| bell.upgrade()) {
        bell.ring();
    }
}

/// The connection `owner` has ended, not long after `now`, the last time that it knew. The subscriptions that have ended
/// with it.
pub(super) fn detach(
    broker: &Arc<Broker>,
    now: Instant,
    owner: u64,
    session: &Arc<SessionState>,
) -> Vec<Name> {
    let mut sessions = lock(&broker.mqtt.sessions);
    let mut state = session.lock();
    if session.owner() != owner {
        return Vec::new();
    }
    session.hand_over(&mut state, 0, None);
    let epoch = state.epoch;
    let is_over = state.expiry == 0 || sessions.away >= broker.settings.max_connections;
    if is_over {
        let will = state.will.take();
        drop(state);
        sessions.remove(session);
        drop(sessions);
        let ended = end(broker, session);
        if let Some(will) = will {
            broker.after(now, move |broker, now| {
                publish_message(broker, now, &will.into_message(now));
            });
        }
        return ended;
    }
    state.drop_unacknowledged();
    let groups: Vec<u32> = state.shares.values().copied().collect();
    drop(state);
    sessions.away += 1;
    drop(sessions);
    if !groups.is_empty() {
        let groups = shared::with_others(broker, &groups, session);
        let messages = session.lock().take_shared(&groups);
        let left = shared::give_to_others(broker, messages, session);
        session.take_back(left);
    }
    // What follows is counted from the end of the connection, and only the clock knows when that was.
    let session = Arc::downgrade(session);
    broker.after(now, move |broker, now| {
        if let Some(session) = session.upgrade() {
            await_return(broker, now, &session, epoch);
        }
    });
    Vec::new()
}

/// Has the will published and the session ended when their time comes.
fn await_return(broker: &Arc<Broker>, now: Instant, session: &Arc<SessionState>, epoch: u64) {
    let mut state = session.lock();
    if state.epoch != epoch {
        return;
    }
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let ends = now + seconds(state.expiry);
    let delay = state.will.as_ref().map(|will| will.delay);
    let will = state.will.take_if(|will| will.delay == 0);
    drop(state);
    if let Some(will) = will {
        publish_message(broker, now, &will.into_message(now));
    }
    let job = |at: Instant, end_too: bool| {
        let session = Arc::downgrade(session);
        broker.after(at, move |broker, now| {
            if let Some(session) = session.upgrade() {
                expire(broker, now, &session, epoch, end_too);
            }
        })
    };
    let will_timer = delay
        .filter(|delay| *delay > 0)
        .map(|delay| now + seconds(delay))
        .filter(|at| *at < ends)
        .map(|at| job(at, false));
    let timers = [will_timer, Some(job(ends, true))];
    let mut state = session.lock();
    if state.epoch == epoch {
        state.timers = timers;
    }
}

/// The time of the will, or of the whole session, has come.
fn expire(
    broker: &Arc<Broker>,
    now: Instant,
    session: &Arc<SessionState>,
    epoch: u64,
    end_too: bool,
) {
    let mut sessions = lock(&broker.mqtt.sessions);
    let mut state = session.lock();
    if state.epoch != epoch {
        return;
    }
    let will = state.will.take();
    drop(state);
    if end_too {
        sessions.remove(session);
        sessions.away -= 1;
    }
    drop(sessions);
    if end_too {
        end(broker, session);
    }
    if let Some(will) = will {
        publish_message(broker, now, &will.into_message(now));
    }
}

/// Forgets all of a session that nobody has any more; its subscriptions.
fn end(broker: &Arc<Broker>, session: &Arc<SessionState>) -> Vec<Name> {
    let timers = std::mem::take(&mut session.lock().timers);
    timers.into_iter().flatten().for_each(|timer| {
        broker.cancel(timer);
    });
    let (subscriber, filters, shares, messages) = {
        let mut state = session.lock();
        let shares = std::mem::take(&mut state.shares);
        let groups: Vec<u32> = shares.values().copied().collect();
        let messages = match groups.is_empty() {
            true => Vec::new(),
            false => state.take_shared(&groups),
        };
        let filters = std::mem::take(&mut state.filters);
        let subscriber = state.subscriber.take();
        state.clear();
        (subscriber, filters, shares, messages)
    };
    if let Some(subscriber) = subscriber {
        let mut router = broker.router();
        for filter in &filters {
            router.unsubscribe(Kind::Filter, filter, subscriber);
        }
        router.dismiss(subscriber);
    }
    for group in shares.values() {
        shared::leave(broker, *group, session);
    }
    // What is left is gone with the session.
    let _ = shared::give_to_others(broker, messages, session);
    let count = filters.len() + shares.len();
    let watching = filters
        .iter()
        .filter(|filter| super::sys::is_watched_by(filter));
    broker.mqtt.sys.unwatch(watching.count());
    let subscriptions = &broker.counters.subscriptions;
    subscriptions.fetch_sub(count as u64, Ordering::Relaxed);
    filters.into_iter().chain(shares.into_keys()).collect()
}
