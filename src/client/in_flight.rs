//! What has been sent and not yet answered, by number: messages with their frames, to be sent again
//! on the next connection, and questions that are asked anew on each. Knows a frame by its length
//! only, and no protocol.
//!
//! Numbers are given out in order, so a flight's place in the queue tells its number, and answers
//! find it in any order at no cost.

use crate::message::Ticket;
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::time::Instant;

/// A buffer that grew beyond this is given back once nothing is in flight.
const KEEP: usize = 256 * 1024;

/// The answer that is due, as a protocol has it.
pub(super) trait Due: Copy + PartialEq {
    /// None any more.
    const NOTHING: Self;

    /// It is due to a message, which counts for the window and is sent again on the next
    /// connection.
    fn is_message(self) -> bool;

    /// Its caller has lost patience: who that was.
    fn give_up(&mut self) -> Option<Ticket>;
}

#[derive(Debug)]
struct Flight<D> {
    due: D,
    len: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct InFlight<D> {
    flights: VecDeque<Flight<D>>,
    /// The frames of the flights, in their order.
    frames: BytesMut,
    /// How many were in flight before the first one: its number.
    gone: u64,
    messages: usize,
    /// Questions that this connection has been asked and has not answered.
    questions: usize,
    /// Where begins what this connection has not been sent: the place, and the byte among the
    /// frames.
    unsent: (usize, usize),
    /// Messages that this connection has been sent.
    sent_here: usize,
    /// Until when callers wait, in order, and for which flight.
    patience: VecDeque<(Instant, u64)>,
}

impl<D> Default for InFlight<D> {
    fn default() -> Self {
        InFlight {
            flights: VecDeque::new(),
            frames: BytesMut::new(),
            gone: 0,
            messages: 0,
            questions: 0,
            unsent: (0, 0),
            sent_here: 0,
            patience: VecDeque::new(),
        }
    }
}

impl<D: Due> InFlight<D> {
    /// Messages without their last answer.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// Of these, the ones that this connection has been sent.
    pub(super) fn sent_here(&self) -> usize {
        self.sent_here
    }

    /// What this connection has been sent and has not answered.
    pub(super) fn awaited(&self) -> usize {
        self.sent_here + self.questions
    }

    /// Whether nothing that this connection has been sent awaits an answer.
    pub(super) fn is_quiet(&self) -> bool {
        self.awaited() == 0
    }

    /// Whether a question awaits its answer.
    #[cfg(feature = "stomp")]
    pub(super) fn has_questions(&self) -> bool {
        self.questions > 0
    }

    /// All that this connection has been sent and has not answered, the first one first.
    #[cfg(feature = "stomp")]
    pub(super) fn all_awaited(&self) -> impl Iterator<Item = (u64, D)> + '_ {
        let numbered = (self.gone..).zip(&self.flights).enumerate();
        numbered.filter_map(|(place, (number, flight))| {
            let sent = !flight.due.is_message() || place < self.unsent.0;
            (sent && flight.due != D::NOTHING).then_some((number, flight.due))
        })
    }

    /// Bytes of the frames.
    pub(super) fn byte_len(&self) -> usize {
        self.frames.len()
    }

    /// The number of the oldest flight; of the next one where there is none.
    pub(super) fn first(&self) -> u64 {
        self.gone
    }

    /// The number of the next flight.
    pub(super) fn next(&self) -> u64 {
        self.gone + self.flights.len() as u64
    }

    /// Puts something in flight, which the caller sends; its number. A message only when nothing
    /// is unsent. Where something is, a question overtakes it, and is passed over when its turn
    /// comes.
    pub(super) fn push(&mut self, due: D, frame: &[u8], until: Option<Instant>) -> u64 {
        let number = self.next();
        if let Some(until) = until {
            self.patience.push_back((until, number));
        }
        let all_sent = self.unsent.0 == self.flights.len();
        match due.is_message() {
            true => self.messages += 1,
            false => self.questions += 1,
        }
        self.frames.extend_from_slice(frame);
        self.flights.push_back(Flight {
            due,
            len: frame.len() as u32,
        });
        if all_sent {
            self.sent_here += usize::from(due.is_message());
            self.unsent = (self.flights.len(), self.frames.len());
        }
        number
    }

    /// A new connection: it has been sent nothing. Questions must have been answered, or changed
    /// to nothing.
    pub(super) fn rewind(&mut self) {
        self.unsent = (0, 0);
        self.sent_here = 0;
    }

    /// The first message that this connection has not been sent; what is answered is passed over,
    /// and so are questions, which went ahead.
    pub(super) fn next_unsent(&mut self) -> Option<(u64, D, &[u8])> {
        loop {
            let (place, byte) = self.unsent;
            let flight = self.flights.get(place)?;
            let end = byte + flight.len as usize;
            if flight.due.is_message() {
                let frame = self.frames.get(byte..end)?;
                return Some((self.gone + place as u64, flight.due, frame));
            }
            self.unsent = (place + 1, end);
        }
    }

    /// What [`InFlight::next_unsent`] tells has been sent.
    pub(super) fn mark_sent(&mut self) {
        let (place, byte) = self.unsent;
        if let Some(flight) = self.flights.get(place) {
            self.unsent = (place + 1, byte + flight.len as usize);
            self.sent_here += usize::from(flight.due.is_message());
        }
    }

    /// The answer that is due to this flight; [`Due::NOTHING`] where there is no such flight.
    pub(super) fn due(&self, number: u64) -> D {
        self.place(number)
            .and_then(|place| self.flights.get(place))
            .map_or(D::NOTHING, |flight| flight.due)
    }

    /// The next answer to that flight, or none: then it is done.
    pub(super) fn set_due(&mut self, number: u64, due: D) {
        if let Some(place) = self.place(number) {
            self.change_at(place, |_| due);
            if due == D::NOTHING {
                self.land();
            }
        }
    }

    /// Gives each what `change` makes of what is due to it.
    pub(super) fn change(&mut self, mut change: impl FnMut(D) -> D) {
        for place in 0..self.flights.len() {
            self.change_at(place, &mut change);
        }
        self.land();
    }

    fn change_at(&mut self, place: usize, change: impl FnOnce(D) -> D) {
        let Some(flight) = self.flights.get_mut(place) else {
            return;
        };
        let before = flight.due;
        flight.due = change(before);
        if before.is_message() {
            let ends = !flight.due.is_message();
            self.messages -= usize::from(ends);
            self.sent_here -= usize::from(ends && place < self.unsent.0);
        } else if before != D::NOTHING {
            self.questions -= usize::from(flight.due == D::NOTHING);
        }
    }

    /// When the first caller loses patience.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.patience.front().map(|(until, _)| *until)
    }

    /// Tells each caller whose time is over; what they sent stays in flight.
    pub(super) fn expire(&mut self, now: Instant, mut expired: impl FnMut(Ticket)) {
        while let Some(&(until, number)) = self.patience.front() {
            if until > now {
                break;
            }
            self.patience.pop_front();
            let place = self.place(number);
            let flight = place.and_then(|place| self.flights.get_mut(place));
            if let Some(ticket) = flight.and_then(|flight| flight.due.give_up()) {
                expired(ticket);
            }
        }
        self.forget_answered();
    }

    /// What is answered at the front is gone.
    fn land(&mut self) {
        while self
            .flights
            .front()
            .is_some_and(|flight| flight.due == D::NOTHING)
        {
            if let Some(flight) = self.flights.pop_front() {
                let len = flight.len as usize;
                self.frames.advance(len);
                let (place, byte) = self.unsent;
                self.unsent = (place.saturating_sub(1), byte.saturating_sub(len));
                self.gone += 1;
            }
        }
        self.forget_answered();
        if self.flights.is_empty() {
            if self.frames.capacity() > KEEP {
                self.frames = BytesMut::new();
            }
            if self.flights.capacity() > KEEP / size_of::<Flight<D>>() {
                self.flights = VecDeque::new();
                self.patience = VecDeque::new();
            }
        }
    }

    fn forget_answered(&mut self) {
        while let Some(&(_, number)) = self.patience.front() {
            if self.due(number) != D::NOTHING {
                break;
            }
            self.patience.pop_front();
        }
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.gone)?).ok()
    }
}
