//! Holds back what the peer's last answers allow to be sent, so that more of it leaves at once: a
//! system call for each would cost more than all the rest. Only in a rush of messages, as long as
//! the peer has three quarters of the window to work on, and for a millisecond. Knows no protocol.

use crate::session::Patience;
use std::time::{Duration, Instant};

/// For so long at most.
const LONGEST: Duration = Duration::from_millis(1);

/// A shorter nap is none.
const SHORTEST: Duration = Duration::from_micros(20);

/// For how long a broker on the same machine works on a message: what is assumed of one that is not known yet.
const BRISK: Duration = Duration::from_micros(10);

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
    /// So many are worth a system call; the rest of the window keeps the peer busy until they are there.
    fn enough(self) -> usize {
        self.window / 4
    }

    /// The time of so many answers is worth a nap: it leaves the peer something to do until we are awake again, and have
    /// sent something.
    fn worth_a_nap(self) -> usize {
        (self.window * 3 / 8).min(self.due()).max(1)
    }

    /// So many are worth that the peer wakes us, which costs it, on the same machine, as much as half a message. Only one
    /// that is quicker than its pace so far comes to that.
    fn worth_waking(self) -> usize {
        (self.window * 4 / 5).min(self.due()).max(1)
    }

    fn due(self) -> usize {
        self.window.saturating_sub(self.held)
    }
}

/// See the module. One for each connection.
#[derive(Debug)]
pub(super) struct Gather {
    until: Option<Instant>,
    /// How many times in a row it was in vain.
    futile: u8,
    /// Nothing is held back before.
    rests_until: Option<Instant>,
    /// Bytes, of those so far.
    shortest_answer: Option<usize>,
    /// Since the last look.
    answers: u32,
    looked_at: Option<Instant>,
    /// For how long the peer works on an answer, as far as is known.
    pace: Duration,
}

impl Default for Gather {
    fn default() -> Self {
        Gather {
            until: None,
            futile: 0,
            rests_until: None,
            shortest_answer: None,
            answers: 0,
            looked_at: None,
            pace: BRISK,
        }
    }
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

    /// An answer of so many bytes has come: a longer one costs a wake-up, a shorter one a millisecond at most.
    pub(super) fn note_answer(&mut self, bytes: usize) {
        let shortest = self.shortest_answer.map_or(bytes, |known| known.min(bytes));
        self.shortest_answer = Some(shortest);
        self.answers += 1;
    }

    /// All answers that there are have been noted.
    pub(super) fn note_look(&mut self, now: Instant, traffic: Traffic) {
        let answers = std::mem::take(&mut self.answers);
        if answers == 0 {
            return;
        }
        // One that is asked now and then says nothing of how it works in a rush.
        let before = self.looked_at.replace(now);
        if let (Some(before), true) = (before, self.is_rush(traffic)) {
            let each = now.saturating_duration_since(before) / answers;
            let pace = self.pace;
            self.pace = if traffic.due() == 0 {
                // It has waited for us.
                pace.min(each) * 7 / 8
            } else if each < pace {
                (pace + each) / 2
            } else {
                // We may have come late, once.
                (pace * 7 + each.min((pace * 2).max(SHORTEST))) / 8
            };
        }
    }

    /// How late answers may be read that nobody waits for: `sent` messages await one each.
    pub(super) fn patience(&self, traffic: Traffic, sent: usize) -> Patience {
        if sent >= RUSH {
            return Patience::Millisecond;
        }
        if !self.is_rush(traffic) {
            return Patience::None;
        }
        let shortest = self.shortest_answer.unwrap_or(1);
        let bytes = traffic.worth_waking().saturating_mul(shortest);
        let answers = traffic.worth_a_nap().min(RUSH) as u32;
        let time = self.pace * answers;
        Patience::Some {
            time: time.clamp(SHORTEST, LONGEST),
            bytes: bytes.try_into().unwrap_or(u16::MAX),
        }
    }

    /// What is due is looked at, whether it can be sent now or not.
    pub(super) fn expire(&mut self, now: Instant) {
        self.until = self.until.filter(|at| *at > now);
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
    fn holds_back_until_a_quarter_of_the_window_is_free_or_the_time_is_over() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        assert!(gather.holds_back(now, now, held(4)));
        assert_eq!(gather.deadline(), Some(now + LONGEST));
        assert!(!gather.holds_back(now, now, held(5)));
        assert_eq!(gather.deadline(), None);
        assert!(!gather.holds_back(now + LONGEST, now, held(4)));
        let calm = Traffic {
            queued: 19,
            ..held(9)
        };
        assert!(!gather.holds_back(now, now, calm));
    }

    #[test]
    fn what_is_due_and_cannot_be_sent_is_due_once() {
        let (mut gather, now) = (Gather::default(), Instant::now());
        assert!(gather.holds_back(now, now, held(4)));
        gather.expire(now);
        assert_eq!(gather.deadline(), Some(now + LONGEST));
        gather.expire(now + LONGEST);
        assert_eq!(gather.deadline(), None);
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
        assert!(!gather.holds_back(again, again, held(5)));
        assert!(gather.is_rush(BUSY));
        given_up(&mut gather, again);
    }

    fn some(microseconds: u64, bytes: u16) -> Patience {
        let time = Duration::from_micros(microseconds);
        Patience::Some { time, bytes }
    }

    #[test]
    fn answers_are_read_when_most_of_those_that_are_due_have_come() {
        let mut gather = Gather::default();
        assert_eq!(
            gather.patience(held(4), 16),
            some(70, 16),
            "of unknown size"
        );
        for bytes in [5, 4, 5] {
            gather.note_answer(bytes);
        }
        assert_eq!(gather.patience(held(4), 16), some(70, 64));
        assert_eq!(gather.patience(held(15), 5), some(50, 20), "all");
        let calm = Traffic { queued: 19, ..BUSY };
        assert_eq!(gather.patience(calm, 20), Patience::None);
        assert_eq!(gather.patience(BUSY, RUSH), Patience::Millisecond);
        let mut gather = Gather::default();
        gather.note_answer(usize::MAX);
        assert_eq!(gather.patience(BUSY, 20), some(70, u16::MAX));
    }

    /// One that has found so many answers so long after the last one.
    fn look(gather: &mut Gather, answers: u32, microseconds: u64, traffic: Traffic) {
        let now = gather.looked_at.unwrap_or_else(Instant::now);
        for _ in 0..answers {
            gather.note_answer(4);
        }
        gather.note_look(now + Duration::from_micros(microseconds), traffic);
    }

    fn nap(gather: &Gather) -> u128 {
        match gather.patience(BUSY, 20) {
            Patience::Some { time, .. } => time.as_micros(),
            patience => panic!("{patience:?}"),
        }
    }

    #[test]
    fn a_nap_is_as_long_as_the_peer_takes_for_a_good_part_of_the_window() {
        let mut gather = Gather::default();
        assert_eq!(nap(&gather), 70, "a guess");
        look(&mut gather, 1, 0, held(1));
        look(&mut gather, 0, 500_000, held(1));
        look(&mut gather, 10, 100, held(10));
        assert_eq!(nap(&gather), 70, "ten each");
        assert_eq!(
            gather.patience(held(16), 4),
            some(40, 16),
            "all that are due"
        );
        look(&mut gather, 10, 180, held(10));
        assert_eq!(nap(&gather), 77, "slower");
        look(&mut gather, 10, 3_600_000_000, held(10));
        assert_eq!(nap(&gather), 86, "late once: no more than a bit slower");
        look(&mut gather, 10, 80, held(10));
        assert_eq!(nap(&gather), 71, "quicker: half way at once");
        for _ in 0..50 {
            look(&mut gather, 10, 1, held(10));
        }
        assert_eq!(nap(&gather), 20, "hardly a nap");
        for _ in 0..200 {
            look(&mut gather, 1, 1_000_000, held(1));
        }
        assert_eq!(nap(&gather), 1000, "no longer one");
    }

    #[test]
    fn a_peer_that_has_nothing_left_to_do_has_waited_for_us() {
        let mut gather = Gather::default();
        look(&mut gather, 1, 0, held(1));
        let mut last = nap(&gather);
        for _ in 0..5 {
            // it has done all twenty long ago
            look(&mut gather, 20, 300, held(20));
            assert!(nap(&gather) < last);
            last = nap(&gather);
        }
        look(&mut gather, 20, 40, held(20));
        assert_eq!(nap(&gather), 20, "two each at most");
    }

    #[test]
    fn one_that_is_asked_now_and_then_says_nothing_of_its_pace() {
        let mut gather = Gather::default();
        let calm = Traffic {
            queued: 0,
            ..held(19)
        };
        for _ in 0..100 {
            look(&mut gather, 1, 300, calm);
        }
        assert_eq!(nap(&gather), 70);
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
