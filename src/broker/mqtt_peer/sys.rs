//! `$SYS/broker/…`: what the broker tells of itself, as mosquitto does. Made when somebody subscribes to it, and from
//! then on every ten seconds as long as somebody does.

use crate::broker::{Broker, Message};
use crate::codec::mqtt::topic;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What all topics begin with; nobody else publishes there.
const ROOT: &str = "$SYS/";

const INTERVAL: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(in crate::broker) struct Sys {
    /// Subscriptions to any of it.
    watching: AtomicUsize,
    /// The next telling has its time.
    ticking: AtomicBool,
    pub(super) bytes_received: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
}

/// Whether a filter is for topics of the broker's own.
pub(super) fn is_watched_by(filter: &[u8]) -> bool {
    filter.starts_with(ROOT.as_bytes())
}

/// Whether a topic is one that only the broker publishes to.
#[inline]
pub(super) fn is_reserved(topic: &[u8]) -> bool {
    topic.starts_with(ROOT.as_bytes())
}

impl Sys {
    /// One more subscription.
    pub(super) fn watch(&self, broker: &Arc<Broker>, now: Instant) {
        self.watching.fetch_add(1, Ordering::Relaxed);
        if !self.ticking.swap(true, Ordering::Relaxed) {
            broker.after(now + INTERVAL, tell);
        }
    }

    /// So many fewer.
    pub(super) fn unwatch(&self, count: usize) {
        if count > 0 {
            self.watching.fetch_sub(count, Ordering::Relaxed);
        }
    }
}

fn tell(broker: &Arc<Broker>, now: Instant) {
    let sys = &broker.mqtt.sys;
    if sys.watching.load(Ordering::Relaxed) == 0 {
        sys.ticking.store(false, Ordering::Relaxed);
        return;
    }
    for message in messages(broker, now, None) {
        broker.router().publish(&message.topic, || message.clone());
    }
    broker.after(now + INTERVAL, tell);
}

/// What there is to tell, of topics that match `filter`.
pub(super) fn messages(broker: &Broker, now: Instant, filter: Option<&str>) -> Vec<Arc<Message>> {
    let counters = &broker.counters;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed).to_string();
    let sys = &broker.mqtt.sys;
    let began = broker.mqtt.clock.began(now);
    let uptime = now.saturating_duration_since(began).as_secs();
    let (sessions, away) = {
        let sessions = crate::broker::lock(&broker.mqtt.sessions);
        (sessions.len(), sessions.away)
    };
    let retained = crate::broker::lock(&broker.mqtt.retained).len();
    [
        (
            "version",
            concat!("MQ ", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
        ("uptime", format!("{uptime} seconds")),
        ("clients/total", sessions.to_string()),
        ("clients/connected", (sessions - away).to_string()),
        ("clients/disconnected", away.to_string()),
        ("messages/received", load(&counters.received)),
        ("messages/sent", load(&counters.sent)),
        ("publish/messages/received", load(&counters.received)),
        ("publish/messages/sent", load(&counters.sent)),
        ("bytes/received", load(&sys.bytes_received)),
        ("bytes/sent", load(&sys.bytes_sent)),
        ("subscriptions/count", load(&counters.subscriptions)),
        ("retained messages/count", retained.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("{ROOT}broker/{name}"), value))
    .filter(|(name, _)| filter.is_none_or(|filter| topic::matches(filter, name)))
    .map(|(name, value)| {
        Arc::new(Message {
            topic: Bytes::from(name),
            payload: Bytes::from(value),
            ..Message::default()
        })
    })
    .collect()
}
