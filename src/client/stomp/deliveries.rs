//! Messages that the broker wants acknowledged: what the program names them by, what the broker
//! does, and what became of them. They are the connection's, since after it the broker delivers
//! them again.
//!
//! Source: STOMP 1.2, "SUBSCRIBE ack Header", "ACK" and "NACK".

use crate::message::{Key, Verdict};
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;

/// How acknowledgements of a subscription count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// There are none: what is sent counts as received.
    None,
    /// Each message for itself.
    Each,
    /// A message and all before it: the program says so.
    UpTo,
    /// Each message for the program; a message and all before it for the broker, which knows
    /// nothing else (1.0).
    EachInOrder,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// With the program.
    Waiting,
    /// Acknowledged within this transaction, which may still be aborted.
    Pledged(u32),
    /// Dealt with, and not to be told before those before it are ([`Mode::EachInOrder`]).
    Accepted,
    /// Refused in a version that has no word for that, so that neither it nor what is behind it can
    /// be acknowledged; or nobody wanted it.
    Refused,
    /// The broker knows.
    Done,
}

#[derive(Debug)]
struct Delivery {
    id: u64,
    key: Key,
    mode: Mode,
    redelivered: bool,
    standing: Standing,
    /// Where its name is, counted from the first byte ever.
    at: u64,
    len: u32,
}

/// An acknowledgement that may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled<'a> {
    pub(super) key: Key,
    /// As the broker named the message: its `ack`, or its `message-id`.
    pub(super) name: &'a [u8],
    /// It had come before.
    pub(super) redelivered: bool,
}

/// Settled deliveries behind one that is not are forgotten once there are so many.
const SPARSE: usize = 1024;

/// A buffer that grew beyond this is given back once nothing waits.
const KEEP: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Deliveries {
    /// In the order of their numbers, which are never used again.
    list: VecDeque<Delivery>,
    next: u64,
    /// Names, one behind the other; and the place of the first byte, counted from the first ever.
    names: BytesMut,
    base: u64,
    done: usize,
}

impl Default for Deliveries {
    fn default() -> Self {
        Deliveries {
            list: VecDeque::new(),
            next: 1,
            names: BytesMut::new(),
            base: 0,
            done: 0,
        }
    }
}

impl Deliveries {
    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// A message has come; what the program names it by.
    #[inline]
    pub(super) fn arrive(&mut self, key: Key, mode: Mode, name: &[u8], redelivered: bool) -> u64 {
        let id = self.next;
        self.next += 1;
        self.list.push_back(Delivery {
            id,
            key,
            mode,
            redelivered,
            standing: Standing::Waiting,
            at: self.base + self.names.len() as u64,
            len: name.len() as u32,
        });
        self.names.extend_from_slice(name);
        id
    }

    /// The program has dealt with a message, or refuses it: what the broker is to be told. None: it
    /// is told later, or never.
    pub(super) fn settle(&mut self, id: u64, verdict: Verdict, can_refuse: bool) -> Option<u64> {
        let place = self.place(id)?;
        let delivery = self.list.get_mut(place)?;
        if delivery.standing != Standing::Waiting {
            return None;
        }
        let (key, mode) = (delivery.key, delivery.mode);
        if verdict == Verdict::Reject && !can_refuse {
            delivery.standing = Standing::Refused;
            return None;
        }
        match mode {
            Mode::None => None,
            Mode::Each => {
                delivery.standing = Standing::Done;
                self.done += 1;
                Some(id)
            }
            Mode::UpTo => {
                self.finish_up_to(place, key);
                Some(id)
            }
            Mode::EachInOrder => {
                delivery.standing = Standing::Accepted;
                let mut last = None;
                for (place, delivery) in self.list.iter().enumerate() {
                    match delivery.standing {
                        _ if delivery.key != key => {}
                        Standing::Done => {}
                        Standing::Accepted => last = Some((place, delivery.id)),
                        _ => break,
                    }
                }
                let (place, id) = last?;
                self.finish_up_to(place, key);
                Some(id)
            }
        }
    }

    /// What the broker calls a delivery that [`Deliveries::settle`] or [`Deliveries::pledge`] has
    /// told, until [`Deliveries::tidy`].
    pub(super) fn name(&self, id: u64) -> Option<Settled<'_>> {
        let delivery = self.list.get(self.place(id)?)?;
        let start = usize::try_from(delivery.at.checked_sub(self.base)?).ok()?;
        Some(Settled {
            key: delivery.key,
            name: self.names.get(start..start + delivery.len as usize)?,
            redelivered: delivery.redelivered,
        })
    }

    /// It is acknowledged within a transaction; false: it cannot be.
    pub(super) fn pledge(&mut self, id: u64, transaction: u32) -> bool {
        let place = self.place(id);
        let delivery = place.and_then(|place| self.list.get_mut(place));
        match delivery {
            Some(delivery) if delivery.standing == Standing::Waiting => {
                delivery.standing = Standing::Pledged(transaction);
                true
            }
            _ => false,
        }
    }

    /// The transaction is over: what was acknowledged in it is, or is not.
    pub(super) fn redeem(&mut self, transaction: u32, committed: bool) {
        for delivery in &mut self.list {
            if delivery.standing == Standing::Pledged(transaction) {
                delivery.standing = match committed {
                    true => Standing::Done,
                    false => Standing::Waiting,
                };
                self.done += usize::from(committed);
            }
        }
        self.tidy();
    }

    /// Whether something of this subscription is not settled, by the program or its transaction.
    pub(super) fn has_unsettled(&self, key: Key) -> bool {
        let mut list = self.list.iter();
        list.any(|delivery| {
            let unsettled = matches!(delivery.standing, Standing::Waiting | Standing::Pledged(_));
            delivery.key == key && unsettled
        })
    }

    /// A message has come that nobody wants any more: it is not with the program.
    pub(super) fn shelve(&mut self, id: u64) {
        let place = self.place(id);
        if let Some(delivery) = place.and_then(|place| self.list.get_mut(place)) {
            delivery.standing = Standing::Refused;
        }
    }

    /// Those of a subscription that the broker has not been told of, the first one first.
    pub(super) fn open(&self, key: Key) -> Vec<u64> {
        use Standing as S;
        let open = self.list.iter().filter(|delivery| {
            let open = matches!(delivery.standing, S::Waiting | S::Accepted | S::Refused);
            delivery.key == key && open
        });
        open.map(|delivery| delivery.id).collect()
    }

    /// The subscription has ended: nothing of it can be acknowledged any more.
    pub(super) fn release(&mut self, key: Key) {
        for delivery in &mut self.list {
            if delivery.key == key && delivery.standing != Standing::Done {
                delivery.standing = Standing::Done;
                self.done += 1;
            }
        }
        self.tidy();
    }

    /// The connection is gone: so is what it delivered.
    pub(super) fn clear(&mut self) {
        self.list = VecDeque::new();
        self.names = BytesMut::new();
        self.base = 0;
        self.done = 0;
    }

    /// Forgets what is done.
    pub(super) fn tidy(&mut self) {
        while self
            .list
            .front()
            .is_some_and(|delivery| delivery.standing == Standing::Done)
        {
            if let Some(delivery) = self.list.pop_front() {
                self.done -= 1;
                let end = delivery.at + u64::from(delivery.len);
                let past = usize::try_from(end - self.base).unwrap_or(self.names.len());
                self.names.advance(past.min(self.names.len()));
                self.base = end;
            }
        }
        if self.done >= SPARSE && self.done * 2 > self.list.len() {
            self.compact();
        }
        if self.list.is_empty() && self.names.capacity() > KEEP {
            self.clear();
        }
    }

    /// Writes anew what is open: one that is never acknowledged must not keep all behind it.
    fn compact(&mut self) {
        let mut names = BytesMut::new();
        let (base, old) = (self.base, std::mem::take(&mut self.names));
        self.list
            .retain(|delivery| delivery.standing != Standing::Done);
        for delivery in &mut self.list {
            let start = (delivery.at - base) as usize;
            let name = old.get(start..start + delivery.len as usize);
            delivery.at = base + names.len() as u64;
            names.extend_from_slice(name.unwrap_or_default());
        }
        self.names = names;
        self.done = 0;
    }

    fn finish_up_to(&mut self, place: usize, key: Key) {
        for delivery in self.list.range_mut(..=place) {
            let open = matches!(delivery.standing, Standing::Waiting | Standing::Accepted);
            if delivery.key == key && open {
                delivery.standing = Standing::Done;
                self.done += 1;
            }
        }
    }

    #[inline]
    fn place(&self, id: u64) -> Option<usize> {
        let first = self.list.front()?.id;
        let direct = usize::try_from(id.checked_sub(first)?).ok()?;
        if self.list.get(direct).is_some_and(|found| found.id == id) {
            return Some(direct);
        }
        self.list.binary_search_by_key(&id, |found| found.id).ok()
    }
}
