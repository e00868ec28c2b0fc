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

/// So many times in a row in vain, and a connection is not gathered for any more.
const FUTILE: u8 = 3;

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

/// See the module. One for each connection.
#[derive(Debug, Default)]
pub(super) struct Gather {
    until: Option<Instant>,
    /// How many times in a row it was in vain.
    futile: u8,
}

impl Gather {
    /// When what is held back has to leave.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// More waits than the peer takes at a time.
    pub(super) fn is_rush(&self, traffic: Traffic) -> bool {
        self.futile < FUTILE && traffic.window >= SMALLEST && traffic.queued >= traffic.window
    }

    /// How late answers may be read that nobody waits for: `sent` messages await one each, of
    /// `answer` bytes or more.
    pub(super) fn patience(&self, traffic: Traffic, sent: usize, answer: usize) -> Patience {
        if sent >= RUSH {
            return Patience::Millisecond;
        }
        if !self.is_rush(traffic) {
            return Patience::None;
        }
        // Until so many have come that the next messages leave.
        let missing = (traffic.window / 2).saturating_sub(traffic.held).max(1);
        Patience::Bytes((missing * answer) as u16)
    }

    /// Whether nothing is to be sent yet. `last_sent` is when something was.
    pub(super) fn holds_back(
        &mut self,
        now: Instant,
        last_sent: Instant,
        traffic: Traffic,
    ) -> bool {
        self.until = None;
        if traffic.held == 0 || !self.is_rush(traffic) {
            return false;
        }
        let until = last_sent + LONGEST;
        if traffic.held < traffic.window / 2 && now < until {
            self.until = Some(until);
            return true;
        }
        // A peer that keeps its answers back (Nagle's algorithm) waits for what is held.
        self.futile = match now < until {
            true => 0,
            false => self.futile + 1,
        };
        false
    }
}
