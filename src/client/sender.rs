//! Who is told what became of a message, and those whose messages are in the out-buffer. Knows no
//! protocol.

use super::ledger::{Epoch, Ledger};
use crate::error::Error;
use crate::message::{Batch, Ticket, Value};

/// Who is told what became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// Somebody waits.
    Emit(Ticket),
    /// A flush counts it.
    Post(Epoch),
    /// Its caller has lost patience, or does not ask.
    Nobody,
}

impl Sender {
    /// The message reached the broker, which says no more than that.
    #[inline]
    pub(super) fn succeed(self, ledger: &mut Ledger, events: &mut Batch) {
        match self {
            Sender::Emit(ticket) => events.answer(ticket, Value::Nil),
            Sender::Post(epoch) => ledger.succeed(epoch, 1, events),
            Sender::Nobody => {}
        }
    }

    /// The message did not, or nobody knows.
    pub(super) fn fail(self, cause: &Error, ledger: &mut Ledger, events: &mut Batch) {
        match self {
            Sender::Emit(ticket) => events.fail(ticket, cause),
            Sender::Post(epoch) => ledger.fail(epoch, cause, events),
            Sender::Nobody => {}
        }
    }

    /// Its caller has lost patience: who that was.
    pub(super) fn give_up(&mut self) -> Option<Ticket> {
        match std::mem::replace(self, Sender::Nobody) {
            Sender::Emit(ticket) => Some(ticket),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// A list that grew beyond so many entries is given back once it is empty.
const KEEP: usize = 2048;

/// Messages that await no answer and are in the out-buffer: their senders are told once it is
/// written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Runs of posts of the same epoch are one entry.
    senders: Vec<(Sender, u64)>,
    count: usize,
}

impl Written {
    /// One more.
    pub(super) fn push(&mut self, sender: Sender) {
        self.count += 1;
        match self.senders.last_mut() {
            Some((last @ Sender::Post(_), count)) if *last == sender => *count += 1,
            _ => self.senders.push((sender, 1)),
        }
    }

    /// How many messages.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The out-buffer is written.
    pub(super) fn settle(&mut self, ledger: &mut Ledger, events: &mut Batch) {
        if self.count == 0 {
            return;
        }
        self.count = 0;
        for (sender, count) in self.senders.drain(..) {
            match sender {
                Sender::Post(epoch) => ledger.succeed(epoch, count, events),
                other => other.succeed(ledger, events),
            }
        }
        if self.senders.capacity() > KEEP {
            self.senders = Vec::new();
        }
    }

    /// The connection is gone, and perhaps the messages with it.
    pub(super) fn fail(&mut self, cause: &Error, ledger: &mut Ledger, events: &mut Batch) {
        self.count = 0;
        for (sender, count) in std::mem::take(&mut self.senders) {
            for _ in 0..count {
                sender.fail(cause, ledger, events);
            }
        }
    }
}
