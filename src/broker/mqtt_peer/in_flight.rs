//! What has been sent with QoS 1 or 2 and is not dealt with yet, in the order that it was sent (MQTT 5, section 4.4, 4.6).
//!
//! A ring in which packet identifiers follow each other: an acknowledgement finds its message without a search. Knows no
//! packets.

use super::queue::Queued;
use std::collections::VecDeque;

/// Identifiers that there are: 1 to 65535.
const IDENTIFIERS: usize = u16::MAX as usize;

/// A ring with room for more is given back once it is empty.
const KEEP: usize = 32;

/// How far the flow of a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// PUBACK or PUBREC is due.
    Published,
    /// PUBCOMP is due.
    Released,
    /// Nothing is.
    Done,
}

/// One message on its way.
#[derive(Debug)]
pub(super) struct Flight {
    /// None once it is released or done.
    pub(super) what: Option<Queued>,
    pub(super) stage: Stage,
}

/// See the module.
#[derive(Debug)]
pub(super) struct InFlight {
    ring: VecDeque<Flight>,
    /// The identifier of the first, or of the next one where there is none.
    first: u16,
    /// So many from the front have been sent on this connection.
    sent: usize,
    /// Those of them that are not done.
    open: usize,
}

impl Default for InFlight {
    fn default() -> Self {
        InFlight {
            ring: VecDeque::new(),
            first: 1,
            sent: 0,
            open: 0,
        }
    }
}

impl InFlight {
    /// Nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// How many the receiver has yet to deal with, of those that it was sent on this connection.
    #[inline]
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// There is an identifier for one more, and nothing has to be sent again first.
    #[inline]
    pub(super) fn takes_more(&self) -> bool {
        self.sent == self.ring.len() && self.ring.len() < IDENTIFIERS
    }

    /// Adds one that is sent now; its packet identifier.
    #[inline]
    pub(super) fn push(&mut self, what: Queued) -> u16 {
        let id = self.id_at(self.ring.len());
        self.ring.push_back(Flight {
            what: Some(what),
            stage: Stage::Published,
        });
        self.sent += 1;
        self.open += 1;
        id
    }

    /// Another connection takes over: everything is to be sent again, in its order.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
        self.open = 0;
    }

    /// What has to be sent again next, with its identifier.
    pub(super) fn unsent(&mut self) -> Option<(u16, &mut Flight)> {
        let id = self.id_at(self.sent);
        Some((id, self.ring.get_mut(self.sent)?))
    }

    /// It was sent again, or found to be of no use any more.
    pub(super) fn mark_sent(&mut self) {
        let Some(flight) = self.ring.get(self.sent) else {
            return;
        };
        if flight.stage != Stage::Done {
            self.open += 1;
        }
        self.sent += 1;
        self.prune();
    }

    /// The flight of that identifier.
    #[inline]
    pub(super) fn find(&mut self, id: u16) -> Option<&mut Flight> {
        let place = self.place(id);
        self.ring
            .get_mut(place)
            .filter(|flight| flight.stage != Stage::Done)
    }

    /// Ends a flight; what its message was, unless it was released before.
    #[inline]
    pub(super) fn finish(&mut self, id: u16) -> Option<Queued> {
        let place = self.place(id);
        let flight = self.ring.get_mut(place)?;
        if flight.stage == Stage::Done {
            return None;
        }
        flight.stage = Stage::Done;
        let what = flight.what.take();
        if place < self.sent {
            self.open -= 1;
        }
        self.prune();
        what
    }

    /// Takes the messages for which `wanted` out of their flights.
    pub(super) fn withdraw(&mut self, mut wanted: impl FnMut(&Queued) -> bool) -> Vec<Queued> {
        let mut withdrawn = Vec::new();
        for (place, flight) in self.ring.iter_mut().enumerate() {
            if flight.stage == Stage::Published && flight.what.as_ref().is_some_and(&mut wanted) {
                flight.stage = Stage::Done;
                withdrawn.extend(flight.what.take());
                self.open -= usize::from(place < self.sent);
            }
        }
        self.prune();
        withdrawn
    }

    fn prune(&mut self) {
        while self
            .ring
            .front()
            .is_some_and(|flight| flight.stage == Stage::Done)
        {
            self.ring.pop_front();
            self.first = self.first.checked_add(1).unwrap_or(1);
            self.sent = self.sent.saturating_sub(1);
        }
        if self.ring.is_empty() && self.ring.capacity() > KEEP {
            self.ring = VecDeque::new();
        }
    }

    #[inline]
    fn id_at(&self, place: usize) -> u16 {
        ((usize::from(self.first) - 1 + place) % IDENTIFIERS + 1) as u16
    }

    #[inline]
    fn place(&self, id: u16) -> usize {
        (usize::from(id) + IDENTIFIERS - usize::from(self.first)) % IDENTIFIERS
    }
}
