//! Transactions that the program has begun: what of each is on the wire, and why it cannot be
//! committed any more. A connection's end is the end of each transaction begun on it.
//!
//! Source: STOMP 1.2, "BEGIN", "COMMIT" and "ABORT".

use crate::error::Error;
use std::collections::BTreeMap;

/// Names a transaction for good, on the wire too; never 0.
pub(super) type Id = u32;

/// One of them, until its end is on the wire.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// BEGIN is on the wire.
    pub(super) begun: bool,
    /// Why it has failed: what is left of it is not sent.
    pub(super) failed: Option<Error>,
    /// Who waits for the commit, which is in the queue.
    pub(super) commit: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// By the numbers that the program gave them, those that it has not ended.
    open: BTreeMap<u16, Id>,
    known: BTreeMap<Id, Transaction>,
    last: Id,
}

impl Transactions {
    /// The program begins one.
    ///
    /// # Errors
    /// The number is in use, or is none.
    pub(super) fn begin(&mut self, number: u16) -> Result<Id, Error> {
        if number == 0 || self.open.contains_key(&number) {
            return Err(Error::invalid(format!(
                "the number {number} of a transaction is in use"
            )));
        }
        self.last = self.last.wrapping_add(1).max(1);
        self.open.insert(number, self.last);
        self.known.insert(self.last, Transaction::default());
        Ok(self.last)
    }

    /// The transaction that the program calls by this number.
    ///
    /// # Errors
    /// It has ended, or was never begun.
    pub(super) fn named(&self, number: u16) -> Result<Id, Error> {
        self.open
            .get(&number)
            .copied()
            .ok_or_else(|| Error::invalid(format!("there is no transaction {number}")))
    }

    /// The program has ended it: its number is free.
    pub(super) fn close(&mut self, number: u16) {
        self.open.remove(&number);
    }

    /// None: all of it is over.
    pub(super) fn find(&mut self, id: Id) -> Option<&mut Transaction> {
        self.known.get_mut(&id)
    }

    /// Its end is on the wire, or needs not be.
    pub(super) fn remove(&mut self, id: Id) -> Option<Transaction> {
        self.known.remove(&id)
    }

    /// It cannot be committed; the first reason counts.
    pub(super) fn fail(&mut self, id: Id, cause: &Error) {
        if let Some(transaction) = self.known.get_mut(&id) {
            transaction.failed.get_or_insert_with(|| cause.clone());
        }
    }

    /// The transaction for whose commit this caller waits, if it is in the queue.
    pub(super) fn of_commit(&self, ticket: u64) -> Option<Id> {
        let mut known = self.known.iter();
        let found = known.find(|(_, transaction)| transaction.commit == Some(ticket));
        found.map(|(id, _)| *id)
    }

    /// The connection is gone, and what was begun on it.
    pub(super) fn lose(&mut self, cause: &Error) {
        for transaction in self.known.values_mut() {
            if transaction.begun {
                transaction.begun = false;
                transaction.failed.get_or_insert_with(|| cause.clone());
            }
        }
    }

    /// Nothing goes on any more.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.known.clear();
    }
}
