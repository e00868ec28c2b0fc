//! Holds back what the peer's last answers allow to be sent, so that more of it leaves at once: a
//! system call for each would cost more than all the rest. Only in a rush of messages, as long as
//! the peer has half of the window to work on, and for a millisecond. Knows no protocol.

use crate::session::Patience;
use std::time::{Duration, Instant};

/// For so long at most.
const LONGEST: Duration = Duration::from_millis(1);

/// So many messages keep the peer busy for a millisecond or more.
const RUSH: usize = 256;

/// In a smaller window there is nothing to gather.
const SMALLEST: usize = 8;

/// So many times in a row in vain, and the connection rests from it: its peer keeps its answers back until it has got
/// what is held (Nagle's algorithm), or is too far away.
const FUTILE: u8 = 3;

/// Then it is tried again, once: the peer may only have been kept from its work. This costs one that has not a hundredth
/// of its time.
const REST: Duration = Duration::from_millis(100);

/// What is under way, and how much may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    /// Messages that the peer may have unanswered.
    pub(super) window: usize,
    /// How many more of them it may have now.
    pub(super) held: usize,
    /// Messages that wait.
    pub(super) queued: usize,
}

impl Traffic {
    /// So many are worth a system call; what is left of the window keeps the peer busy until they are there. A larger
    /// part saves more calls, but lets the peer idle. Where the window is 20, this is also what a peer may send of small
    /// answers before TCP makes it wait for us to acknowledge them (RFC 6928, section 2: ten segments).
    fn enough(self) -> usize {
        self.window / 2
    }
}

/// See the module. One for each connection.
#[derive(Debug, Default)]
pub(super) struct Gather {
    until: Option<Instant>,
    /// How many times in a row it was in vain.
    futile: u8,
    /// Nothing is held back before.
    rests_until: Option<Instant>,
    /// Bytes of the last answer.
    answer: usize,
}

impl Gather {
    /// When what is held back has to leave.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// More waits than the peer takes at a time.
    pub(super) fn is_rush(&self, traffic: Traffic) -> bool {
        self.rests_until.is_none() && traffic.window >= SMALLEST && traffic.queued >= traffic.window
    }

    /// An answer of so many bytes has come: the next ones will be about as long.
    pub(super) fn note_answer(&mut self, bytes: usize) {
        self.answer = bytes;
    }

    /// How late answers may be read that nobody waits for: `sent` messages await one each.
    pub(super) fn patience(&self, traffic: Traffic, sent: usize) -> Patience {
        if sent >= RUSH {
            return Patience::Millisecond;
        }
        if !self.is_rush(traffic) {
            return Patience::None;
        }
        // Until so many have come that the next messages leave.
        let missing = traffic.enough().saturating_sub(traffic.held).max(1);
        let bytes = missing.saturating_mul(self.answer.max(1));
        Patience::Bytes(bytes.try_into().unwrap_or(u16::MAX))
    }

    /// Whether nothing is to be sent yet. `last_sent` is when something was.
    pub(super) fn holds_back(
        &mut self,
        now: Instant,
        last_sent: Instant,
        traffic: Traffic,
    ) -> bool {
        self.until = None;
        self.rests_until = self.rests_until.filter(|at| *at > now);
        if traffic.held == 0 || !self.is_rush(traffic) {
            return false;
        }
        let until = last_sent + LONGEST;
        if traffic.held >= traffic.enough() {
            self.futile = 0;
            return false;
        }
        if now < until {
            self.until = Some(until);
            return true;
        }
        self.futile = (self.futile + 1).min(FUTILE);
        self.rests_until = (self.futile == FUTILE).then(|| now + REST);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Traffic = Traffic {
        window: 20,
        held: 0,
        queued: 1000,
    };

    fn held(held: usize) -> Traffic {
        Traffic { held, ..BUSY }
    }

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// Lets one millisecond pass in vain after another until it gives up; when that was.
    fn given_up(gather: &mut Gather, mut now: Instant) -> Instant {
        for _ in 0..FUTILE {
            assert!(gather.holds_back(now, now, held(1)));
            let sent = now;
            now += LONGEST;
            assert!(!gather.holds_back(now, sent, held(1)));
        }
        assert!(!gather.is_rush(BUSY));
        now
    }

    #[test]
    fn holds_back_until_half_of_the_window_is_free_or_the_time_is_over() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        assert!(gather.holds_back(now, now, held(9)));
        assert_eq!(gather.deadline(), Some(now + LONGEST));
        assert!(!gather.holds_back(now, now, held(10)));
        assert_eq!(gather.deadline(), None);
        assert!(!gather.holds_back(now + LONGEST, now, held(9)));
        let calm = Traffic {
            queued: 19,
            ..held(9)
        };
        assert!(!gather.holds_back(now, now, calm));
    }

    #[test]
    fn a_peer_that_waits_for_what_is_held_is_left_alone_for_a_while() {
        let mut gather = Gather::default();
        let now = given_up(&mut gather, Instant::now());
        assert!(!gather.holds_back(now + REST - milliseconds(1), now, held(1)));
        // one more time in vain is enough
        let again = now + REST;
        assert!(gather.holds_back(again, again, held(1)));
        assert!(!gather.holds_back(again + LONGEST, again, held(1)));
        assert!(!gather.is_rush(BUSY));
        // and one that is not makes it a good peer again
        let again = again + LONGEST + REST;
        assert!(!gather.holds_back(again, again, held(10)));
        assert!(gather.is_rush(BUSY));
        given_up(&mut gather, again);
    }

    #[test]
    fn answers_are_read_when_so_many_have_come_that_the_next_messages_leave() {
        let mut gather = Gather::default();
        assert_eq!(gather.patience(held(4), 16), Patience::Bytes(6), "unknown");
        gather.note_answer(5);
        assert_eq!(gather.patience(held(4), 16), Patience::Bytes(30));
        assert_eq!(gather.patience(held(10), 10), Patience::Bytes(5));
        let calm = Traffic { queued: 19, ..BUSY };
        assert_eq!(gather.patience(calm, 20), Patience::None);
        assert_eq!(gather.patience(BUSY, RUSH), Patience::Millisecond);
        gather.note_answer(usize::MAX);
        assert_eq!(gather.patience(BUSY, 20), Patience::Bytes(u16::MAX));
    }

    #[test]
    fn that_we_come_late_ourselves_is_not_held_against_the_peer() {
        let (mut gather, mut now) = (Gather::default(), Instant::now());
        for _ in 0..10 {
            let sent = now;
            now += milliseconds(5);
            assert!(!gather.holds_back(now, sent, held(20)));
            assert!(gather.is_rush(BUSY));
        }
    }
}
