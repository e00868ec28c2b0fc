//! Messages of a resumed session for which there is no subscription yet: the program is about to
//! say what it wants, and the broker does not wait for that. Kept, unacknowledged, for a while.

use crate::message::Value;
use std::collections::VecDeque;
use std::time::Instant;

/// One message.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) flags: u32,
    pub(super) extra: Option<Box<Value>>,
    /// As [`super::arrivals::Arrivals`] counts deliveries.
    pub(super) delivery: u64,
    until: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Strays {
    waiting: VecDeque<Stray>,
    bytes: usize,
}

impl Strays {
    /// Whether there is room for one more.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        self.bytes < limit
    }

    /// Keeps one.
    pub(super) fn push(
        &mut self,
        (topic, payload): (&str, &[u8]),
        (flags, extra): (u32, Option<Box<Value>>),
        delivery: u64,
        until: Instant,
    ) {
        self.bytes += topic.len() + payload.len();
        self.waiting.push_back(Stray {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            flags,
            extra,
            delivery,
            until,
        });
    }

    /// When the first one has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|stray| stray.until)
    }

    /// Takes out one that has waited long enough.
    pub(super) fn next_expired(&mut self, now: Instant) -> Option<Stray> {
        if self.deadline()? > now {
            return None;
        }
        let stray = self.waiting.pop_front()?;
        self.bytes -= stray.topic.len() + stray.payload.len();
        Some(stray)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes out all that `wanted` says yes to, in order.
    pub(super) fn claim(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<Stray> {
        let (claimed, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|stray| wanted(&stray.topic));
        for stray in &claimed {
            self.bytes -= stray.topic.len() + stray.payload.len();
        }
        self.waiting = left.into();
        claimed
    }

    /// Forgets all: the broker has.
    pub(super) fn clear(&mut self) {
        *self = Strays::default();
    }
}
