//! Tells a flood: a peer that has been sending for a while, and fast, but a handful of messages at a time, to somebody
//! who says nothing. To be woken for each handful costs more than all that is done with it, at both ends.

use crate::session::Patience;
use std::time::{Duration, Instant};

/// It is judged by what has come in so long.
const SPAN: Duration = Duration::from_millis(32);

/// With fewer bytes a second it is none: the wake-ups cost little then, and a pause would not gather much.
const RATE: u64 = 2_000_000;

/// One that has begun ends below this: a peer that is busy pauses now and then.
const EBB: u64 = RATE / 8;

/// Whoever finds more than this each time is not woken too often, ...
const HANDFUL: u64 = 8 * 1024;

/// ... so many bytes are worth waking for whatever the time, and from a peer that sends them at once there is nothing to
/// gain. Less than what a socket takes before the peer has to wait.
const ENOUGH: u16 = 48 * 1024;

/// How late it is read. A handful each 0.2 ms costs five times as much as what is done with it, and from here on little
/// is gained.
const LATE: Duration = Duration::from_millis(2);

/// What one connection has received of late.
#[derive(Debug, Default)]
pub(super) struct Flood {
    /// When the span began, and what it has brought.
    begun: Option<Instant>,
    bytes: u64,
    reads: u64,
    /// All bytes sent before it.
    sent: u64,
    flows: bool,
}

impl Flood {
    /// `read` bytes have come; `sent` have been sent so far on this connection.
    pub(super) fn note(&mut self, now: Instant, read: usize, sent: u64) {
        if sent != self.sent {
            // Whoever says something may wait for the answer.
            *self = Flood {
                sent,
                ..Flood::default()
            };
        }
        if read == 0 {
            return;
        }
        let took = now.saturating_duration_since(*self.begun.get_or_insert(now));
        if took >= SPAN {
            self.flows = self.is_flood(took);
            (self.begun, self.bytes, self.reads) = (Some(now), 0, 0);
        }
        self.bytes += read as u64;
        self.reads += 1;
    }

    fn is_flood(&self, took: Duration) -> bool {
        let (rate, handful) = match self.flows {
            true => (EBB, ENOUGH.into()),
            false => (RATE, HANDFUL),
        };
        let second = Duration::from_secs(1).as_micros();
        u128::from(self.bytes) * second >= u128::from(rate) * took.as_micros()
            && self.bytes < handful * self.reads
    }

    /// How late what arrives may be read.
    pub(super) fn patience(&self) -> Patience {
        match self.flows {
            true => Patience::Some {
                time: LATE,
                bytes: ENOUGH,
            },
            false => Patience::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener with a clock of its own.
    struct Listener {
        flood: Flood,
        now: Instant,
        sent: u64,
    }

    impl Listener {
        fn new() -> Self {
            Listener {
                flood: Flood::default(),
                now: Instant::now(),
                sent: 0,
            }
        }

        /// Reads so many `bytes` `each` microseconds, `times` over; whether it is patient then.
        fn reads(&mut self, bytes: usize, each: u64, times: usize) -> bool {
            for _ in 0..times {
                self.now += Duration::from_micros(each);
                self.flood.note(self.now, bytes, self.sent);
            }
            self.flood.patience() != Patience::None
        }

        fn flooded() -> Self {
            let mut listener = Listener::new();
            assert!(listener.reads(1800, 200, 200));
            listener
        }
    }

    #[test]
    fn handfuls_that_keep_coming_fast_are_a_flood() {
        let mut listener = Listener::new();
        assert!(!listener.reads(1800, 200, 160), "not for long");
        assert!(listener.reads(1800, 200, 40));
        let expected = Patience::Some {
            time: Duration::from_millis(2),
            bytes: 49_152,
        };
        assert_eq!(listener.flood.patience(), expected);
    }

    #[test]
    fn a_slow_stream_or_one_of_large_pieces_is_none() {
        assert!(!Listener::new().reads(300, 200, 1000), "1.5 MB/s");
        assert!(!Listener::new().reads(10_000, 200, 1000), "enough at once");
        assert!(
            !Listener::new().reads(1800, 1_000_000, 10),
            "one now and then"
        );
    }

    #[test]
    fn it_goes_on_while_it_is_read_late_and_its_peer_slackens() {
        let mut listener = Listener::flooded();
        assert!(listener.reads(18_000, 2000, 100), "many at a time");
        assert!(listener.reads(1000, 2000, 100), "0.5 MB/s");
    }

    #[test]
    fn it_ends_when_it_has_become_slow_or_comes_at_once() {
        assert!(!Listener::flooded().reads(100, 2000, 40), "0.05 MB/s");
        assert!(!Listener::flooded().reads(65_536, 2000, 40), "at once");
        assert!(
            !Listener::flooded().reads(100, 1_000_000, 1),
            "the first one after a pause"
        );
    }

    #[test]
    fn it_ends_when_something_is_said() {
        let mut listener = Listener::flooded();
        listener.flood.note(listener.now, 0, 1);
        assert_eq!(listener.flood.patience(), Patience::None);
        listener.sent = 1;
        assert!(!listener.reads(1800, 200, 100), "begins anew");
        assert!(listener.reads(1800, 200, 100));
    }
}
