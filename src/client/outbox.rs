//! What is accepted and not yet sent: encoded frames in one buffer, bounded in messages and
//! bytes. Knows frames only by their length, and no protocol.

use crate::message::{Batch, State, Ticket};
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::time::Instant;

/// What happens to a message for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The caller waits for room; the session refuses, like [`Overflow::Error`], and tells when
    /// there is room.
    Block,
    /// The oldest message not yet sent makes room.
    DropOldest,
    /// The new message is thrown away, and counted.
    DropNewest,
    /// The new message is refused.
    Error,
}

impl Overflow {
    /// The policy of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "block" => Overflow::Block,
            "drop_oldest" => Overflow::DropOldest,
            "drop_newest" => Overflow::DropNewest,
            "error" => Overflow::Error,
            _ => return None,
        })
    }
}

/// One accepted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who waits; None for a post.
    pub ticket: Option<Ticket>,
    /// Bytes of the encoded frame.
    pub len: u32,
    withdrawn: bool,
}

/// A queue of encoded frames.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: BytesMut,
    entries: VecDeque<Entry>,
    /// Deadlines of the entries somebody waits for, oldest first: every caller has the same
    /// patience, so they are in order.
    patience: VecDeque<(Instant, Ticket)>,
    withdrawn: usize,
    /// How many have been pushed out in a row, and how many there were then.
    pushed_out: (u64, usize),
}

/// A buffer that grew beyond this is given back once it is empty.
const KEEP: usize = 256 * 1024;

impl Outbox {
    /// Messages that wait to be sent.
    pub fn len(&self) -> usize {
        self.entries.len() - self.withdrawn
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait to be sent.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the frame that `encode` writes. `patience` is until when its caller waits for it
    /// to be sent.
    pub fn push(&mut self, waiter: Option<(Ticket, Instant)>, encode: impl FnOnce(&mut BytesMut)) {
        if self.len() * 2 < self.pushed_out.1 {
            self.pushed_out = (0, 0);
        }
        let before = self.bytes.len();
        encode(&mut self.bytes);
        if let Some((ticket, until)) = waiter {
            self.patience.push_back((until, ticket));
        }
        self.entries.push_back(Entry {
            ticket: waiter.map(|(ticket, _)| ticket),
            len: (self.bytes.len() - before) as u32,
            withdrawn: false,
        });
    }

    /// Removes the oldest message, unsent.
    pub fn drop_oldest(&mut self) -> Option<Entry> {
        self.skip_withdrawn();
        let entry = self.take_front()?;
        self.bytes.advance(entry.len as usize);
        self.relax();
        Some(entry)
    }

    /// Tells of a message that newer ones have pushed out: of the first in a row, and whenever they are twice as many, since
    /// to tell of each would make it worse.
    pub fn tell_pushed_out(&mut self, events: &mut Batch) {
        let row = self.pushed_out.0 + 1;
        self.pushed_out = (row, self.len() + 1);
        if row.is_power_of_two() {
            events.state(State::Dropped, None, row as f64);
        }
    }

    /// The oldest message, until when its caller waits, and its frame.
    pub fn oldest(&mut self) -> Option<(Entry, Option<Instant>, &[u8])> {
        self.skip_withdrawn();
        let entry = *self.entries.front()?;
        let until = self.patience.front().filter(|_| entry.ticket.is_some());
        let frame = self.bytes.get(..entry.len as usize)?;
        Some((entry, until.map(|(until, _)| *until), frame))
    }

    /// Moves messages to `out` until it holds at least `chunk` bytes, telling each to `sent`.
    pub fn transmit(&mut self, out: &mut BytesMut, chunk: usize, mut sent: impl FnMut(Entry)) {
        if self.withdrawn == 0 && out.is_empty() && self.bytes.len() <= chunk {
            // Everything goes: trade buffers instead of copying.
            std::mem::swap(out, &mut self.bytes);
            self.entries.drain(..).for_each(sent);
            self.patience.clear();
        } else {
            let mut ready = 0;
            while out.len() + ready < chunk {
                let Some(entry) = self.take_front() else {
                    break;
                };
                if entry.withdrawn {
                    // What lies before it goes first: the arena is consumed in order.
                    out.extend_from_slice(&self.bytes[..ready]);
                    self.bytes.advance(ready + entry.len as usize);
                    ready = 0;
                } else {
                    ready += entry.len as usize;
                    sent(entry);
                }
            }
            out.extend_from_slice(&self.bytes[..ready]);
            self.bytes.advance(ready);
        }
        self.relax();
    }

    /// When the first caller loses patience.
    pub fn deadline(&self) -> Option<Instant> {
        self.patience.front().map(|(until, _)| *until)
    }

    /// Withdraws every message whose caller's patience has ended, telling its ticket.
    pub fn withdraw_expired(&mut self, now: Instant, mut expired: impl FnMut(Ticket)) {
        let mut from = 0;
        while let Some(&(until, ticket)) = self.patience.front() {
            if until > now {
                break;
            }
            self.patience.pop_front();
            // Entries are in the order of the deadlines: the search goes on where it stopped.
            if let Some(found) = (from..self.entries.len()).find(|&i| {
                self.entries
                    .get(i)
                    .is_some_and(|e| e.ticket == Some(ticket))
            }) {
                if let Some(entry) = self.entries.get_mut(found) {
                    entry.withdrawn = true;
                    entry.ticket = None;
                    self.withdrawn += 1;
                }
                from = found + 1;
            }
            expired(ticket);
        }
        self.compact();
    }

    /// Takes everything out, unsent, telling each message and its frame to `gone`.
    pub fn drain_frames(&mut self, mut gone: impl FnMut(Entry, &[u8])) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut rest = &bytes[..];
        for entry in self.entries.iter() {
            // invariant: the entries measure out the bytes
            let (frame, behind) = rest.split_at(entry.len as usize);
            rest = behind;
            if !entry.withdrawn {
                gone(*entry, frame);
            }
        }
        self.drain().for_each(drop);
    }

    /// Takes everything out, unsent.
    pub fn drain(&mut self) -> impl Iterator<Item = Entry> {
        self.bytes = BytesMut::new();
        self.patience = VecDeque::new();
        self.withdrawn = 0;
        std::mem::take(&mut self.entries)
            .into_iter()
            .filter(|entry| !entry.withdrawn)
    }

    fn skip_withdrawn(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.withdrawn) {
            if let Some(entry) = self.take_front() {
                self.bytes.advance(entry.len as usize);
            }
        }
    }

    fn take_front(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        if entry.withdrawn {
            self.withdrawn -= 1;
        } else if entry.ticket.is_some() {
            self.patience.pop_front();
        }
        Some(entry)
    }

    /// Withdrawn frames hold memory: once they are the majority, the buffer is written anew.
    fn compact(&mut self) {
        if self.withdrawn * 2 <= self.entries.len() {
            return;
        }
        let mut kept = BytesMut::new();
        let mut at = 0;
        for entry in &self.entries {
            let end = at + entry.len as usize;
            if !entry.withdrawn {
                kept.extend_from_slice(&self.bytes[at..end]);
            }
            at = end;
        }
        self.bytes = kept;
        self.entries.retain(|entry| !entry.withdrawn);
        self.withdrawn = 0;
    }

    fn relax(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP {
            self.bytes = BytesMut::new();
        }
        if self.entries.is_empty() && self.entries.capacity() > KEEP / size_of::<Entry>() {
            self.entries = VecDeque::new();
            self.patience = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn push(outbox: &mut Outbox, ticket: Option<(Ticket, Instant)>, text: &str) {
        outbox.push(ticket, |bytes| bytes.extend_from_slice(text.as_bytes()));
    }

    fn transmit(outbox: &mut Outbox, chunk: usize) -> (String, Vec<Option<Ticket>>) {
        let (mut out, mut sent) = (BytesMut::new(), Vec::new());
        outbox.transmit(&mut out, chunk, |entry| sent.push(entry.ticket));
        (String::from_utf8_lossy(&out).into_owned(), sent)
    }

    #[test]
    fn keeps_order_and_stops_at_the_chunk() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        push(&mut outbox, None, "aaa");
        push(&mut outbox, Some((7, now)), "bbb");
        push(&mut outbox, None, "ccc");
        assert_eq!(
            transmit(&mut outbox, 4),
            ("aaabbb".into(), vec![None, Some(7)])
        );
        assert_eq!(
            outbox.deadline(),
            None,
            "a sent message has no deadline here"
        );
        assert_eq!(transmit(&mut outbox, 4), ("ccc".into(), vec![None]));
        assert!(outbox.is_empty());
    }

    #[test]
    fn withdraws_only_those_whose_time_is_over() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut outbox = Outbox::default();
        push(&mut outbox, None, "a");
        push(&mut outbox, Some((1, now)), "b");
        push(&mut outbox, None, "c");
        push(&mut outbox, Some((2, later)), "d");
        let mut expired = Vec::new();
        outbox.withdraw_expired(now, |ticket| expired.push(ticket));
        assert_eq!(expired, [1]);
        assert_eq!(outbox.len(), 3);
        assert_eq!(outbox.deadline(), Some(later));
        assert_eq!(
            transmit(&mut outbox, 100),
            ("acd".into(), vec![None, None, Some(2)])
        );
        assert_eq!((outbox.len(), outbox.byte_len()), (0, 0));
    }

    #[test]
    fn dropping_the_oldest_skips_the_withdrawn() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        push(&mut outbox, Some((1, now)), "a");
        push(&mut outbox, None, "b");
        push(&mut outbox, None, "c");
        outbox.withdraw_expired(now, |_| {});
        assert_eq!(outbox.drop_oldest().map(|entry| entry.ticket), Some(None));
        assert_eq!(transmit(&mut outbox, 100).0, "c");
    }

    #[test]
    fn withdrawn_messages_do_not_hold_memory() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        for ticket in 1..=1000 {
            push(&mut outbox, Some((ticket, now)), "0123456789");
        }
        outbox.withdraw_expired(now, |_| {});
        assert_eq!((outbox.len(), outbox.byte_len()), (0, 0));
    }

    proptest::proptest! {
        /// Whatever is pushed, withdrawn, dropped and sent in chunks: nothing is doubled, nothing
        /// is lost, nothing changes its place.
        #[test]
        fn conserves_messages(steps in proptest::collection::vec((0u8..6, 1usize..40), 0..200)) {
            let start = Instant::now();
            let mut outbox = Outbox::default();
            let mut model: VecDeque<(Option<Ticket>, Vec<u8>)> = VecDeque::new();
            let (mut next, mut clock) = (1, start);
            for (step, size) in steps {
                match step {
                    0..=2 => {
                        clock += Duration::from_millis(1);
                        let frame = vec![(next % 251) as u8; size];
                        let waiter = (step == 0).then_some((next, clock));
                        outbox.push(waiter, |bytes| bytes.extend_from_slice(&frame));
                        model.push_back((waiter.map(|(ticket, _)| ticket), frame));
                        next += 1;
                    }
                    3 => {
                        let until = start + Duration::from_millis(next / 2);
                        let mut gone = Vec::new();
                        outbox.withdraw_expired(until, |ticket| gone.push(ticket));
                        model.retain(|(ticket, _)| ticket.is_none_or(|t| !gone.contains(&t)));
                        proptest::prop_assert!(outbox.deadline().is_none_or(|at| at > until));
                    }
                    4 => {
                        let dropped = outbox.drop_oldest().map(|entry| entry.ticket);
                        proptest::prop_assert_eq!(dropped, model.pop_front().map(|(ticket, _)| ticket));
                    }
                    _ => {
                        let (mut out, mut sent) = (BytesMut::new(), Vec::new());
                        outbox.transmit(&mut out, size * 3, |entry| sent.push(entry.ticket));
                        let expected: Vec<_> = model.drain(..sent.len()).collect();
                        let bytes: Vec<u8> = expected.iter().flat_map(|(_, f)| f.clone()).collect();
                        proptest::prop_assert_eq!(&out[..], &bytes[..]);
                        proptest::prop_assert_eq!(sent, expected.iter().map(|(t, _)| *t).collect::<Vec<_>>());
                    }
                }
                proptest::prop_assert_eq!(outbox.len(), model.len());
            }
        }
    }
}
