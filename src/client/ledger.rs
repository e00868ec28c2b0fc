//! Counts posts whose answers come in any order, and answers flushes from that. Knows no protocol.
//!
//! Every flush ends an epoch: it is answered once the posts of its own and of all earlier epochs
//! are settled. A post carries the number of its epoch.

use crate::error::Error;
use crate::message::{Batch, Ticket, Value};
use std::collections::VecDeque;

/// Names an epoch; what a session stores with each post.
pub type Epoch = u32;

#[derive(Debug, Default)]
struct Account {
    /// Posts that have no answer yet.
    open: u64,
    failed: u64,
    first_failure: Option<Error>,
    /// Who waits; None for the epoch that is still open.
    flush: Option<Ticket>,
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    /// The last one takes new posts.
    accounts: VecDeque<Account>,
    /// The epoch of the first one.
    first: Epoch,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger {
            accounts: VecDeque::from([Account::default()]),
            first: 0,
        }
    }
}

impl Ledger {
    /// Takes a post; the result is what [`Ledger::succeed`] or [`Ledger::fail`] wants to know.
    #[inline]
    pub fn accept(&mut self) -> Epoch {
        let last = self.accounts.len().saturating_sub(1);
        if let Some(account) = self.accounts.back_mut() {
            account.open += 1;
        }
        self.first.wrapping_add(last as Epoch)
    }

    /// So many posts reached the broker.
    #[inline]
    pub fn succeed(&mut self, epoch: Epoch, count: u64, events: &mut Batch) {
        if let Some(account) = self.account(epoch) {
            account.open = account.open.saturating_sub(count);
            if account.open == 0 && account.flush.is_some() {
                self.answer(events);
            }
        }
    }

    /// The post did not, or nobody knows.
    pub fn fail(&mut self, epoch: Epoch, cause: &Error, events: &mut Batch) {
        if let Some(account) = self.account(epoch) {
            account.open = account.open.saturating_sub(1);
            account.failed += 1;
            account.first_failure.get_or_insert_with(|| cause.clone());
            if account.open == 0 && account.flush.is_some() {
                self.answer(events);
            }
        }
    }

    /// `ticket` is answered once every post so far is settled.
    pub fn flush(&mut self, ticket: Ticket, events: &mut Batch) {
        if let Some(account) = self.accounts.back_mut() {
            account.flush = Some(ticket);
        }
        self.accounts.push_back(Account::default());
        self.answer(events);
    }

    /// Answers a flush after the end, when nothing can be under way any more.
    pub fn settle_accounts(&mut self, ticket: Ticket, end: &Error, events: &mut Batch) {
        let failed = self.accounts.iter().map(|account| account.failed).sum();
        *self = Ledger::default();
        events.fail_counted(ticket, end, Some(failed));
    }

    fn account(&mut self, epoch: Epoch) -> Option<&mut Account> {
        let index = epoch.wrapping_sub(self.first) as usize;
        self.accounts.get_mut(index)
    }

    fn answer(&mut self, events: &mut Batch) {
        while let Some(account) = self.accounts.front_mut() {
            let Some(ticket) = account.flush.filter(|_| account.open == 0) else {
                break;
            };
            match account.first_failure.take() {
                Some(cause) => {
                    let failed = account.failed;
                    let error = Error::new(
                        cause.code,
                        format!("{failed} posts failed; the first: {}", cause.text),
                    );
                    events.fail_counted(ticket, &error, Some(failed));
                }
                None => events.answer(ticket, Value::Nil),
            }
            self.accounts.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Record;

    fn answered(events: &mut Batch) -> Vec<(Ticket, Option<u64>)> {
        let told = events.records().iter().map(|record| match record {
            Record::Answered { ticket, .. } => (*ticket, None),
            Record::Failed { ticket, count, .. } => (*ticket, *count),
            other => panic!("{other:?}"),
        });
        let told = told.collect();
        events.clear();
        told
    }

    #[test]
    fn a_flush_waits_for_the_posts_before_it_and_for_no_other() {
        let (mut ledger, mut events) = (Ledger::default(), Batch::default());
        let (slow, quick) = (ledger.accept(), ledger.accept());
        ledger.flush(1, &mut events);
        let later = ledger.accept();
        ledger.succeed(later, 1, &mut events);
        ledger.succeed(quick, 1, &mut events);
        assert_eq!(answered(&mut events), []);
        ledger.flush(2, &mut events);
        assert_eq!(answered(&mut events), [], "flushes are answered in order");
        ledger.fail(slow, &Error::lost("gone"), &mut events);
        assert_eq!(answered(&mut events), [(1, Some(1)), (2, None)]);
    }

    #[test]
    fn nothing_to_wait_for() {
        let (mut ledger, mut events) = (Ledger::default(), Batch::default());
        ledger.flush(1, &mut events);
        assert_eq!(answered(&mut events), [(1, None)]);
        let post = ledger.accept();
        ledger.fail(post, &Error::lost("gone"), &mut events);
        ledger.settle_accounts(2, &Error::closed(), &mut events);
        assert_eq!(answered(&mut events), [(2, Some(1))]);
    }
}
