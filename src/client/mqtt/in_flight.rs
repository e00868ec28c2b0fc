//! What has been sent and not yet answered, by packet identifier: publishes of QoS 1 and 2 with
//! their frames, to be sent again on the next connection, and subscriptions.
//! Knows a frame by its length only.
//!
//! Identifiers are given out in order, so a packet's place in the queue tells its identifier, and
//! none is used again before its packet is answered and all before it are (MQTT 5.0, section 2.2.1).

use crate::client::ledger::Epoch;
use crate::message::{Key, Ticket};
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::time::Instant;

/// How many identifiers there are: 1 to 65,535.
const IDENTIFIERS: usize = 65_535;

/// A buffer that grew beyond this is given back once nothing is in flight.
const KEEP: usize = 256 * 1024;

/// Who is told what became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// Somebody waits.
    Emit(Ticket),
    /// A flush counts it.
    Post(Epoch),
    /// Its caller has lost patience.
    Nobody,
}

/// The answer that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// To a publish of QoS 1.
    PubAck(Sender),
    /// To a publish of QoS 2.
    PubRec(Sender),
    /// To its PUBREL: the broker has the message.
    PubComp(Sender),
    /// To a subscription.
    SubAck(Key),
    /// To the end of one.
    UnsubAck(Key),
    /// None any more.
    Nothing,
}

#[derive(Debug)]
struct Flight {
    due: Due,
    len: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct InFlight {
    flights: VecDeque<Flight>,
    /// The frames of the flights, in their order.
    frames: BytesMut,
    /// The identifier of the first one.
    first: u16,
    /// How many were in flight before the first one: names a flight for good.
    gone: u64,
    publishes: usize,
    /// Where begins what this connection has not been sent: the place, and the byte among the
    /// frames.
    unsent: (usize, usize),
    /// Publishes that this connection has been sent.
    sent_here: usize,
    /// Until when callers wait, in order, and for which flight.
    patience: VecDeque<(Instant, u64)>,
}

impl Default for InFlight {
    fn default() -> Self {
        InFlight {
            flights: VecDeque::new(),
            frames: BytesMut::new(),
            first: 1,
            gone: 0,
            publishes: 0,
            unsent: (0, 0),
            sent_here: 0,
            patience: VecDeque::new(),
        }
    }
}

impl InFlight {
    /// Publishes without their last answer.
    pub(super) fn publishes(&self) -> usize {
        self.publishes
    }

    /// Of these, the ones that this connection has been sent: what the peer's receive maximum
    /// counts (section 4.9).
    pub(super) fn sent_here(&self) -> usize {
        self.sent_here
    }

    /// Bytes of their frames.
    pub(super) fn byte_len(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing that this connection has been sent awaits an answer.
    pub(super) fn is_quiet(&self) -> bool {
        self.unsent.0 == 0
    }

    /// Whether an identifier is free.
    pub(super) fn has_identifier(&self) -> bool {
        self.flights.len() < IDENTIFIERS
    }

    /// Whether so many are.
    pub(super) fn has_identifiers(&self, count: usize) -> bool {
        self.flights.len() + count <= IDENTIFIERS
    }

    /// Puts a packet in flight, which the caller sends; its identifier. Only call it where one is
    /// free, and with a publish when nothing is unsent. Where something is, the packet overtakes
    /// it, and is passed over when its turn comes.
    pub(super) fn push(&mut self, due: Due, frame: &[u8], until: Option<Instant>) -> u16 {
        if let Some(until) = until {
            self.patience
                .push_back((until, self.gone + self.flights.len() as u64));
        }
        let identifier = advanced(self.first, self.flights.len());
        let all_sent = self.unsent.0 == self.flights.len();
        self.publishes += usize::from(is_publish(due));
        self.frames.extend_from_slice(frame);
        self.flights.push_back(Flight {
            due,
            len: frame.len() as u32,
        });
        if all_sent {
            self.sent_here += usize::from(is_publish(due));
            self.unsent = (self.flights.len(), self.frames.len());
        }
        identifier
    }

    /// A new connection: it has been sent nothing.
    pub(super) fn rewind(&mut self) {
        self.unsent = (0, 0);
        self.sent_here = 0;
    }

    /// The first publish that this connection has not been sent; what is answered is passed over,
    /// and so are subscriptions, which went ahead.
    pub(super) fn next_unsent(&mut self) -> Option<(u16, Due, &[u8])> {
        loop {
            let (place, byte) = self.unsent;
            let flight = self.flights.get(place)?;
            let end = byte + flight.len as usize;
            if is_publish(flight.due) {
                let frame = self.frames.get(byte..end)?;
                return Some((advanced(self.first, place), flight.due, frame));
            }
            self.unsent = (place + 1, end);
        }
    }

    /// What [`InFlight::next_unsent`] tells has been sent.
    pub(super) fn mark_sent(&mut self) {
        let (place, byte) = self.unsent;
        if let Some(flight) = self.flights.get(place) {
            self.unsent = (place + 1, byte + flight.len as usize);
            self.sent_here += usize::from(is_publish(flight.due));
        }
    }

    /// The answer that is due to this packet; [`Due::Nothing`] where there is no such packet.
    pub(super) fn due(&self, identifier: u16) -> Due {
        self.flights
            .get(self.place(identifier))
            .map_or(Due::Nothing, |flight| flight.due)
    }

    /// The next answer to that packet, or none: then it is done.
    pub(super) fn set_due(&mut self, identifier: u16, due: Due) {
        let place = self.place(identifier);
        self.set_due_at(place, due);
    }

    fn set_due_at(&mut self, place: usize, due: Due) {
        if let Some(flight) = self.flights.get_mut(place) {
            let ends = is_publish(flight.due) && !is_publish(due);
            self.publishes -= usize::from(ends);
            self.sent_here -= usize::from(ends && place < self.unsent.0);
            flight.due = due;
        }
        if due == Due::Nothing {
            self.land();
        }
    }

    /// Gives each what `change` makes of what is due to it.
    pub(super) fn change(&mut self, mut change: impl FnMut(Due) -> Due) {
        for (place, flight) in self.flights.iter_mut().enumerate() {
            let due = change(flight.due);
            let ends = is_publish(flight.due) && !is_publish(due);
            self.publishes -= usize::from(ends);
            self.sent_here -= usize::from(ends && place < self.unsent.0);
            flight.due = due;
        }
        self.land();
    }

    /// When the first caller loses patience.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.patience.front().map(|(until, _)| *until)
    }

    /// Tells each caller whose time is over; their messages stay in flight.
    pub(super) fn expire(&mut self, now: Instant, mut expired: impl FnMut(Ticket)) {
        while let Some(&(until, flight)) = self.patience.front() {
            if until > now {
                break;
            }
            self.patience.pop_front();
            let place = flight.wrapping_sub(self.gone) as usize;
            if let Some(flight) = self.flights.get_mut(place) {
                let (Due::PubAck(sender) | Due::PubRec(sender) | Due::PubComp(sender)) =
                    &mut flight.due
                else {
                    continue;
                };
                if let Sender::Emit(ticket) = std::mem::replace(sender, Sender::Nobody) {
                    expired(ticket);
                }
            }
        }
        self.forget_answered();
    }

    /// The place of a packet; beyond the end where there is no such packet.
    fn place(&self, identifier: u16) -> usize {
        if identifier == 0 {
            return usize::MAX;
        }
        let (first, identifier) = (usize::from(self.first), usize::from(identifier));
        (identifier + IDENTIFIERS - first) % IDENTIFIERS
    }

    /// What is answered at the front is gone.
    fn land(&mut self) {
        while self
            .flights
            .front()
            .is_some_and(|flight| flight.due == Due::Nothing)
        {
            if let Some(flight) = self.flights.pop_front() {
                let len = flight.len as usize;
                self.frames.advance(len);
                let (place, byte) = self.unsent;
                self.unsent = (place.saturating_sub(1), byte.saturating_sub(len));
                self.first = advanced(self.first, 1);
                self.gone += 1;
            }
        }
        self.forget_answered();
        if self.flights.is_empty() {
            if self.frames.capacity() > KEEP {
                self.frames = BytesMut::new();
            }
            if self.flights.capacity() > KEEP / size_of::<Flight>() {
                self.flights = VecDeque::new();
                self.patience = VecDeque::new();
            }
        }
    }

    fn forget_answered(&mut self) {
        while let Some(&(_, flight)) = self.patience.front() {
            let place = flight.wrapping_sub(self.gone) as usize;
            let awaited = self
                .flights
                .get(place)
                .is_some_and(|flight| flight.due != Due::Nothing);
            if awaited {
                break;
            }
            self.patience.pop_front();
        }
    }
}

fn is_publish(due: Due) -> bool {
    matches!(due, Due::PubAck(_) | Due::PubRec(_) | Due::PubComp(_))
}

/// Identifiers run from 1 to 65,535 and over again.
fn advanced(identifier: u16, by: usize) -> u16 {
    ((usize::from(identifier) - 1 + by) % IDENTIFIERS + 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const POST: Due = Due::PubAck(Sender::Post(0));

    #[test]
    fn identifiers_go_round_and_none_is_used_twice() {
        let mut flying = InFlight::default();
        let first = flying.push(POST, b"first", None);
        assert_eq!(first, 1);
        for expected in 2..=65_535 {
            assert!(flying.has_identifier());
            assert_eq!(flying.push(POST, b"", None), expected);
        }
        assert!(!flying.has_identifier());
        flying.set_due(2, Due::Nothing);
        assert!(!flying.has_identifier(), "the first one is still in flight");
        flying.set_due(1, Due::Nothing);
        assert_eq!(flying.push(POST, b"", None), 1);
        assert_eq!(flying.push(POST, b"", None), 2);
        assert!(!flying.has_identifier());
        assert_eq!(flying.publishes(), 65_535);
    }

    #[test]
    fn answers_find_their_packet_in_any_order() {
        let mut flying = InFlight::default();
        let due = [1, 2, 3].map(|ticket| Due::PubRec(Sender::Emit(ticket)));
        let [a, b, c] = due.map(|due| flying.push(due, b"frame", None));
        assert_eq!(flying.due(b), due[1]);
        flying.set_due(c, Due::Nothing);
        flying.set_due(a, Due::PubComp(Sender::Emit(1)));
        flying.rewind();
        assert_eq!((flying.publishes(), flying.sent_here()), (2, 0));
        let mut seen = Vec::new();
        while let Some((identifier, due, frame)) = flying.next_unsent() {
            seen.push((identifier, due, frame.len()));
            flying.mark_sent();
        }
        assert_eq!(
            seen,
            [(a, Due::PubComp(Sender::Emit(1)), 5), (b, due[1], 5)]
        );
        assert_eq!(flying.sent_here(), 2);
        flying.set_due(a, Due::Nothing);
        assert_eq!((flying.publishes(), flying.sent_here()), (1, 1));
        assert_eq!(flying.next_unsent(), None);
        assert_eq!(flying.due(c), Due::Nothing);
        assert_eq!(flying.due(0), Due::Nothing);
        assert_eq!(flying.due(99), Due::Nothing);
    }

    #[test]
    fn a_subscription_goes_ahead_of_what_is_to_be_sent_again() {
        let mut flying = InFlight::default();
        let a = flying.push(POST, b"a", None);
        let b = flying.push(POST, b"b", None);
        flying.rewind();
        let asked = flying.push(Due::SubAck(1), &[], None);
        assert_eq!(flying.next_unsent(), Some((a, POST, &b"a"[..])));
        flying.mark_sent();
        assert_eq!(flying.next_unsent(), Some((b, POST, &b"b"[..])));
        flying.mark_sent();
        assert_eq!(flying.next_unsent(), None);
        assert_eq!(flying.sent_here(), 2);
        assert_eq!(flying.push(POST, b"c", None), asked + 1);
        assert_eq!(flying.next_unsent(), None);
        assert_eq!(flying.sent_here(), 3);
    }

    #[test]
    fn callers_lose_patience_and_messages_stay() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut flying = InFlight::default();
        let a = flying.push(Due::PubAck(Sender::Emit(1)), b"a", Some(now));
        let b = flying.push(Due::PubAck(Sender::Emit(2)), b"b", Some(later));
        let mut expired = Vec::new();
        flying.expire(now, |ticket| expired.push(ticket));
        assert_eq!(expired, [1]);
        assert_eq!(flying.due(a), Due::PubAck(Sender::Nobody));
        assert_eq!(flying.deadline(), Some(later));
        flying.set_due(b, Due::Nothing);
        assert_eq!(flying.deadline(), None, "an answered one has no deadline");
        assert_eq!(flying.publishes(), 1);
        flying.set_due(a, Due::Nothing);
        assert_eq!((flying.publishes(), flying.byte_len()), (0, 0));
    }
}
