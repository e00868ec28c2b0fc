//! Reads what a peer keeps back until it knows that its last small packet has arrived (Nagle's algorithm, RFC 896), as
//! mosquitto does unless it is told otherwise. Our kernel would say so with what we send next, and the peer's answers
//! would always come one round late: to a window of twenty messages that is half of it.

use std::io;
use std::task::Poll;

/// It rests for so many looks at most.
const LONGEST: u8 = 63;

/// One for each connection.
#[derive(Debug, Default)]
pub(super) struct Recall {
    /// For how many looks it rested last, because a second read was not worth it.
    rest: u8,
    left: u8,
}

impl Recall {
    /// Reads once with `read`, has `acknowledge` tell the peer that it has arrived, and reads what comes of it.
    pub(super) fn read(
        &mut self,
        mut read: impl FnMut() -> Poll<io::Result<usize>>,
        acknowledge: impl FnOnce(),
    ) -> Poll<io::Result<usize>> {
        let first = read();
        let Poll::Ready(Ok(first @ 1..)) = first else {
            return first;
        };
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Ok(first));
        }
        acknowledge();
        // The next look finds the end that comes second; of an error, no more than that it is the end.
        let second = match read() {
            Poll::Ready(Ok(second)) => second,
            _ => 0,
        };
        self.rest = match second > first / 8 {
            true => 0,
            // So little was on its way.
            false => (self.rest * 2 + 1).min(LONGEST),
        };
        self.left = self.rest;
        Poll::Ready(Ok(first + second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once at a peer that lets go of `held` bytes when it is told; what was read, and whether it was told.
    fn look(recall: &mut Recall, held: usize) -> (usize, bool) {
        let mut reads = [Ok(8), Ok(held)].into_iter();
        let mut told = false;
        let read = recall.read(
            || reads.next().map_or(Poll::Pending, Poll::Ready),
            || told = true,
        );
        match read {
            Poll::Ready(Ok(read)) => (read, told),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_what_the_peer_has_kept_back() {
        let mut recall = Recall::default();
        for _ in 0..10 {
            assert_eq!(look(&mut recall, 80), (88, true));
        }
    }

    #[test]
    fn tries_less_and_less_where_nothing_is_kept_back() {
        let mut recall = Recall::default();
        for rest in [1, 3, 7, 15, 31, 63, 63] {
            assert_eq!(look(&mut recall, 1), (9, true), "one was on its way");
            for _ in 0..rest {
                assert_eq!(look(&mut recall, 80), (8, false));
            }
        }
        assert_eq!(look(&mut recall, 80), (88, true));
        assert_eq!(look(&mut recall, 80), (88, true), "the peer has begun to");
    }

    #[test]
    fn loses_nothing_of_what_it_was_told_with_the_first_read() {
        let mut recall = Recall::default();
        for first in [
            Poll::Pending,
            Poll::Ready(Ok(0)),
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        ] {
            let expected = format!("{first:?}");
            let mut first = Some(first);
            let read = recall.read(
                || first.take().expect("one read"),
                || panic!("nothing to tell of"),
            );
            assert_eq!(format!("{read:?}"), expected);
        }
        // one that comes second is left to the next look
        let mut reads = [Ok(8), Err(io::ErrorKind::ConnectionReset.into())].into_iter();
        let read = recall.read(|| reads.next().map_or(Poll::Pending, Poll::Ready), || ());
        assert!(matches!(read, Poll::Ready(Ok(8))));
    }
}
