//! Counts posts: how many were accepted, how many have their answer, how many failed; and answers
//! flushes from that. Posts are settled in the order of their acceptance.

use crate::error::Error;
use crate::message::{Batch, Ticket, Value};
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    accepted: u64,
    settled: u64,
    failed: u64,
    /// Of the failures since the last flush.
    first_failure: Option<Error>,
    /// Each waits until so many posts are settled.
    flushes: VecDeque<(u64, Ticket)>,
}

impl Ledger {
    pub(super) fn accept(&mut self) {
        self.accepted += 1;
    }

    pub(super) fn succeed(&mut self, events: &mut Batch) {
        self.settled += 1;
        if !self.flushes.is_empty() {
            self.answer(events);
        }
    }

    pub(super) fn fail(&mut self, count: u64, cause: &Error, events: &mut Batch) {
        if count > 0 {
            self.settled += count;
            self.failed += count;
            self.first_failure.get_or_insert_with(|| cause.clone());
            self.answer(events);
        }
    }

    pub(super) fn flush(&mut self, ticket: Ticket, events: &mut Batch) {
        self.flushes.push_back((self.accepted, ticket));
        self.answer(events);
    }

    /// No post will be settled any more.
    pub(super) fn abandon(&mut self, cause: &Error, events: &mut Batch) {
        self.fail(self.accepted - self.settled, cause, events);
        self.answer(events);
    }

    /// Answers a flush after the end, when nothing can be under way any more.
    pub(super) fn settle_accounts(&mut self, ticket: Ticket, end: &Error, events: &mut Batch) {
        let failed = std::mem::take(&mut self.failed);
        self.first_failure = None;
        events.fail_counted(ticket, end, Some(failed));
    }

    fn answer(&mut self, events: &mut Batch) {
        while let Some(&(target, ticket)) = self.flushes.front() {
            if self.settled < target {
                break;
            }
            self.flushes.pop_front();
            let failed = std::mem::take(&mut self.failed);
            match self.first_failure.take() {
                Some(cause) => {
                    let error = Error::new(
                        cause.code,
                        format!("{failed} posts failed; the first: {}", cause.text),
                    );
                    events.fail_counted(ticket, &error, Some(failed));
                }
                None => events.answer(ticket, Value::Nil),
            }
        }
    }
}
