//! BEGIN, COMMIT and ABORT, and what is sent between them.
//!
//! Source: STOMP 1.2, "BEGIN", "COMMIT" and "ABORT".

use super::outbound::unsayable;
use super::stored::{Decimal, Kind, Stored};
use super::{Due, Stage, Stomp};
use crate::codec::stomp::{Body, Command, FrameBuilder, Version};
use crate::error::{Code, Error};
use crate::message::{Batch, Ticket, Value, Verdict};
use bytes::BytesMut;
use std::time::Instant;

impl Stomp {
    pub(super) fn begin(
        &mut self,
        ticket: Ticket,
        options: &Value,
        events: &mut Batch,
    ) -> Result<(), Error> {
        let id = self.transactions.begin(number(options)?)?;
        self.queue(Kind::Begin, id, 0);
        events.answer(ticket, Value::Nil);
        Ok(())
    }

    pub(super) fn commit(
        &mut self,
        now: Instant,
        ticket: Ticket,
        options: &Value,
    ) -> Result<(), Error> {
        let number = number(options)?;
        let id = self.transactions.named(number)?;
        self.transactions.close(number);
        if let Some(transaction) = self.transactions.find(id) {
            transaction.commit = Some(ticket);
        }
        let until = now + self.options.timeout;
        self.outbox.push(Some((ticket, until)), |out| {
            Stored::bare(Kind::Commit, id).write(&[], out);
        });
        Ok(())
    }

    pub(super) fn abort(
        &mut self,
        now: Instant,
        ticket: Ticket,
        options: &Value,
        events: &mut Batch,
    ) -> Result<(), Error> {
        let number = number(options)?;
        let id = self.transactions.named(number)?;
        self.transactions.close(number);
        self.roll_back(id);
        self.ask_ends(now, events);
        events.answer(ticket, Value::Nil);
        Ok(())
    }

    /// Queues ACK or NACK within a transaction.
    ///
    /// # Errors
    /// There is no such transaction.
    pub(super) fn acknowledge_in(
        &mut self,
        number: u16,
        delivery: u64,
        verdict: Verdict,
    ) -> Result<(), Error> {
        let id = self.transactions.named(number)?;
        if self.deliveries.pledge(delivery, id) {
            let kind = match verdict {
                Verdict::Accept => Kind::Accept,
                Verdict::Reject => Kind::Reject,
            };
            self.queue(kind, id, delivery);
        } else {
            // What was made of the message must not count where the message comes again.
            let text = "nothing of the transaction was applied: a message that it acknowledges \
                        was delivered on a connection that is lost, or is acknowledged already";
            self.transactions.fail(id, &Error::new(Code::Lost, text));
        }
        Ok(())
    }

    fn queue(&mut self, kind: Kind, transaction: u32, delivery: u64) {
        let stored = Stored {
            delivery,
            ..Stored::bare(kind, transaction)
        };
        self.outbox.push(None, |out| stored.write(&[], out));
    }

    /// Whether what is to be sent belongs to a transaction that has failed; who waits is told.
    pub(super) fn is_futile(
        &mut self,
        id: u32,
        ticket: Option<Ticket>,
        events: &mut Batch,
    ) -> bool {
        let transaction = self.transactions.find(id);
        let Some(cause) = transaction.and_then(|transaction| transaction.failed.as_ref()) else {
            return false;
        };
        if let Some(ticket) = ticket {
            events.fail(ticket, cause);
        }
        true
    }

    /// Takes the oldest frame from the queue, which belongs to a transaction; sends what is to be
    /// sent of it.
    pub(super) fn transmit_transacted(
        &mut self,
        until: Option<Instant>,
        out: &mut BytesMut,
        events: &mut Batch,
    ) {
        let version = self.broker.version;
        let Some((entry, _, frame)) = self.outbox.oldest() else {
            return;
        };
        let Some(stored) = Stored::read(frame) else {
            return;
        };
        let (id, kind) = (stored.transaction, stored.kind);
        // An ERROR about it names nothing, as one about a message without a receipt.
        self.suspects.sent_transacted(self.in_flight.next());
        let transaction = self.transactions.find(id);
        let failed = match &transaction {
            Some(transaction) => transaction.failed.clone(),
            // All of it is over already.
            None => Some(Error::closed()),
        };
        let mut outcome = Ok(());
        match (kind, failed) {
            (Kind::Commit, Some(cause)) => {
                if let Some(ticket) = entry.ticket {
                    events.fail(ticket, &cause);
                }
                self.roll_back(id);
                self.transmit_control(out);
            }
            (_, Some(_)) => {}
            (Kind::Receipted | Kind::Plain, None) => {
                let measured = self.options.content_length;
                outcome = stored
                    .encode(None, measured, version, out)
                    .map_err(|error| unsayable(&error));
                self.counters.sent += u64::from(outcome.is_ok());
            }
            (Kind::Begin, None) => {
                put(Command::Begin, id, None, version, out);
                if let Some(transaction) = transaction {
                    transaction.begun = true;
                }
            }
            (Kind::Commit, None) => {
                let due = Due::Committed(entry.ticket, id);
                let receipt = self.in_flight.push(due, &[], until);
                put(Command::Commit, id, Some(receipt), version, out);
                self.transactions.remove(id);
            }
            (Kind::Accept | Kind::Reject, None) => {
                let delivery = stored.delivery;
                let verdict = match kind {
                    Kind::Accept => Verdict::Accept,
                    _ => Verdict::Reject,
                };
                outcome = self.put_verdict(delivery, verdict, &[], Some(id));
                self.transmit_control(out);
            }
        }
        if let Err(cause) = outcome {
            self.transactions.fail(id, &cause);
        }
        self.outbox.drop_oldest();
    }

    /// The program's caller of a commit has lost patience while it was in the queue.
    pub(super) fn withdraw_commit(&mut self, ticket: Ticket) {
        if let Some(id) = self.transactions.of_commit(ticket) {
            self.roll_back(id);
        }
    }

    /// A queued frame of a transaction is gone: so is the transaction. `commit`: it was the last.
    pub(super) fn drop_transaction(&mut self, id: u32, cause: &Error, commit: Option<Ticket>) {
        if id != 0 {
            self.transactions.fail(id, cause);
            if commit.is_some() {
                self.roll_back(id);
            }
        }
    }

    /// Ends a transaction without effect; what is queued of it is not sent.
    fn roll_back(&mut self, id: u32) {
        let gone = self.transactions.remove(id);
        self.deliveries.redeem(id, false);
        if gone.is_some_and(|transaction| transaction.begun) && self.stage == Stage::Ready {
            put(
                Command::Abort,
                id,
                None,
                self.broker.version,
                &mut self.control,
            );
        }
    }

    /// The connection is gone because of `cause`, and with it what was begun on it.
    pub(super) fn lose_transactions(&mut self, cause: &Error) {
        let text = format!("nothing of the transaction was applied: {}", cause.text);
        self.transactions.lose(&Error::new(Code::Lost, text));
    }
}

/// Appends a frame about a transaction.
fn put(command: Command, id: u32, receipt: Option<u64>, version: Version, out: &mut BytesMut) {
    // Numbers go into any version.
    let _ = FrameBuilder::new(command, version, out).and_then(|mut frame| {
        frame.header("transaction", Decimal::new(id.into()))?;
        if let Some(receipt) = receipt {
            frame.header("receipt", Decimal::new(receipt))?;
        }
        frame.finish(Body::NONE)
    });
}

/// The number that the program gives a transaction.
fn number(options: &Value) -> Result<u16, Error> {
    let given = options.member("transaction");
    let number = given
        .as_size()
        .and_then(|number| u16::try_from(number).ok());
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| Error::invalid(format!("transaction = {given:?}: a number from 1 to 65535")))
}
