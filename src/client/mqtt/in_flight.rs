//! What has been sent and not yet answered, by packet identifier.
//!
//! Identifiers are given out in order, and none is used again before its packet is answered and all
//! before it are (MQTT 5.0, section 2.2.1).

use crate::client::{in_flight, sender::Sender};
use crate::message::{Key, Ticket};
use std::ops::{Deref, DerefMut};
use std::time::Instant;

/// How many identifiers there are: 1 to 65,535.
const IDENTIFIERS: u16 = 65_535;

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

impl in_flight::Due for Due {
    const NOTHING: Self = Due::Nothing;

    fn is_message(self) -> bool {
        matches!(self, Due::PubAck(_) | Due::PubRec(_) | Due::PubComp(_))
    }

    fn give_up(&mut self) -> Option<Ticket> {
        match self {
            Due::PubAck(sender) | Due::PubRec(sender) | Due::PubComp(sender) => sender.give_up(),
            _ => None,
        }
    }
}

/// See the module; what needs no identifier is the shared queue's.
#[derive(Debug, Default)]
pub(super) struct InFlight(in_flight::InFlight<Due>);

impl Deref for InFlight {
    type Target = in_flight::InFlight<Due>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for InFlight {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl InFlight {
    /// Whether an identifier is free.
    pub(super) fn has_identifier(&self) -> bool {
        self.has_identifiers(1)
    }

    /// Whether so many are.
    pub(super) fn has_identifiers(&self, count: usize) -> bool {
        let used = self.0.next() - self.0.first();
        used + count as u64 <= IDENTIFIERS.into()
    }

    /// Puts a packet in flight; its identifier. Only call it where one is free, and otherwise as
    /// the shared queue wants it.
    pub(super) fn push(&mut self, due: Due, frame: &[u8], until: Option<Instant>) -> u16 {
        identifier(self.0.push(due, frame, until))
    }

    /// The first publish that this connection has not been sent.
    pub(super) fn next_unsent(&mut self) -> Option<(u16, Due, &[u8])> {
        let (number, due, frame) = self.0.next_unsent()?;
        Some((identifier(number), due, frame))
    }

    /// The answer that is due to this packet; [`Due::Nothing`] where there is no such packet.
    pub(super) fn due(&self, identifier: u16) -> Due {
        self.0.due(self.number(identifier))
    }

    /// The next answer to that packet, or none: then it is done.
    pub(super) fn set_due(&mut self, identifier: u16, due: Due) {
        let number = self.number(identifier);
        self.0.set_due(number, due);
    }

    /// The flight that has this identifier now; 0 is nobody's.
    fn number(&self, identifier: u16) -> u64 {
        let Some(slot) = identifier.checked_sub(1) else {
            return u64::MAX;
        };
        let (first, all) = (self.0.first(), u64::from(IDENTIFIERS));
        first + (u64::from(slot) + all - first % all) % all
    }
}

/// Identifiers run from 1 to 65,535 and over again.
fn identifier(number: u64) -> u16 {
    (number % u64::from(IDENTIFIERS) + 1) as u16
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
        assert_eq!(flying.messages(), 65_535);
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
        assert_eq!((flying.messages(), flying.sent_here()), (2, 0));
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
        assert_eq!((flying.messages(), flying.sent_here()), (1, 1));
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
        assert_eq!(flying.messages(), 1);
        flying.set_due(a, Due::Nothing);
        assert_eq!((flying.messages(), flying.byte_len()), (0, 0));
    }
}
