//! What leaves: messages from the queue to the wire, their receipts, and those that have to be sent
//! again. Source: STOMP 1.2, "SEND", "Header receipt" and "RECEIPT".

use super::options;
use super::stored::{pack_all, Decimal, Kind, Stored};
use super::{Due, Goodbye, Stage, Stomp};
use crate::client::gather::Traffic;
use crate::client::outbox::{Entry, Overflow};
use crate::client::sender::Sender;
use crate::client::told;
use crate::codec::stomp::{Body, Command, EncodeError, FrameBuilder};
use crate::error::Error;
use crate::message::{Batch, Publish, State, Value};
use bytes::BytesMut;
use std::time::Instant;

/// Bytes handed to the transport at a time: enough to keep it busy.
const CHUNK: usize = 64 * 1024;

/// The flags of [`Publish`]: the program says whether it wants a receipt, and what it says.
const SAYS_RECEIPT: u32 = 1;
const RECEIPT: u32 = 2;
/// The number of a transaction is above them.
const TRANSACTION: u32 = 8;

/// Headers of SEND that the session writes.
const OURS: &[&str] = &["destination", "receipt", "transaction", "content-length"];

/// Judges what needs no session.
pub(super) fn check(publish: &Publish<'_>) -> Result<(), Error> {
    match publish.target.is_empty() {
        true => Err(Error::invalid("the destination is empty; name one")),
        false => check_prefixed(publish),
    }
}

/// The same where a prefix goes before the destination.
pub(super) fn check_prefixed(publish: &Publish<'_>) -> Result<(), Error> {
    match memchr::memchr(0, publish.target) {
        None => Ok(()),
        Some(_) => Err(Error::invalid(format!(
            "the destination {} holds a NUL, which no version of STOMP can send",
            told::quoted(publish.target)
        ))),
    }
}

/// The same where bodies end at the first NUL.
pub(super) fn check_text(publish: &Publish<'_>) -> Result<(), Error> {
    check(publish).and_then(|()| check_body(publish))
}

/// Both.
pub(super) fn check_prefixed_text(publish: &Publish<'_>) -> Result<(), Error> {
    check_prefixed(publish).and_then(|()| check_body(publish))
}

fn check_body(publish: &Publish<'_>) -> Result<(), Error> {
    match memchr::memchr(0, publish.payload) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(format!(
            "the payload holds a NUL at offset {at}, where content_length = false would end it"
        ))),
    }
}

impl Stomp {
    pub(super) fn publish(
        &mut self,
        now: Instant,
        publish: &Publish<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        let flags = publish.flags;
        let transaction = match (flags >> TRANSACTION) as u16 {
            0 => 0,
            number => self.transactions.named(number)?,
        };
        let headers = match publish.options {
            Some(given) => pack_all(&options::headers(given.member("header"), OURS)?),
            None => Vec::new(),
        };
        let receipted = match flags & SAYS_RECEIPT {
            0 => self.options.receipt,
            _ => flags & RECEIPT != 0,
        };
        let mut stored = Stored {
            kind: match receipted && transaction == 0 {
                true => Kind::Receipted,
                false => Kind::Plain,
            },
            epoch: 0,
            transaction,
            delivery: 0,
            target: publish.target,
            headers: &headers,
            payload: publish.payload,
        };
        let size = stored.len(&self.options.prefix);
        if size > self.options.max_queue_bytes.min(u32::MAX as usize) {
            let most = self.options.max_queue_bytes;
            return Err(told::too_large(publish.payload.len(), most));
        }
        if self.is_futile(transaction, publish.ticket, events) {
            return Ok(());
        }
        while self.unfinished() >= self.options.max_queue
            || self.outbox.byte_len() + size > self.options.max_queue_bytes
        {
            self.overflow(events)?;
        }
        let mut waiter = publish.ticket.map(|at| (at, now + self.options.timeout));
        if transaction != 0 {
            // Its commit says what became of it.
            if let Some((ticket, _)) = waiter.take() {
                events.answer(ticket, Value::Nil);
            }
        } else if waiter.is_none() {
            stored.epoch = self.ledger.accept();
        }
        let prefix = &self.options.prefix;
        self.outbox.push(waiter, |out| stored.write(prefix, out));
        Ok(())
    }

    /// Messages that are accepted and have no answer.
    pub(super) fn unfinished(&self) -> usize {
        self.outbox.len() + self.in_flight.messages() + self.written.len()
    }

    /// Makes room for one more message, or says that there is none.
    fn overflow(&mut self, events: &mut Batch) -> Result<(), Error> {
        match self.options.overflow {
            Overflow::Block | Overflow::Error => self.wants_room = true,
            Overflow::DropNewest => self.counters.dropped += 1,
            Overflow::DropOldest => {
                if let Some((entry, _, frame)) = self.outbox.oldest() {
                    let sender = sender_of(entry, frame);
                    let transaction = Stored::read(frame).map_or(0, |stored| stored.transaction);
                    self.outbox.drop_oldest();
                    self.counters.dropped += 1;
                    self.outbox.tell_pushed_out(events);
                    sender.fail(&told::dropped(), &mut self.ledger, events);
                    self.drop_transaction(transaction, &told::dropped(), entry.ticket);
                    return Ok(());
                }
            }
        }
        Err(told::full(
            (self.unfinished(), self.options.max_queue),
            (self.outbox.byte_len(), self.options.max_queue_bytes),
        ))
    }

    /// Tells that there is room once half of the queue is free: to tell each free place would
    /// wake the waiting program for every message.
    pub(super) fn make_room(&mut self, events: &mut Batch) {
        if self.wants_room
            && self.unfinished() * 2 <= self.options.max_queue
            && self.outbox.byte_len() * 2 <= self.options.max_queue_bytes
        {
            self.wants_room = false;
            events.state(State::Room, None, 0.0);
        }
    }

    /// Everything is sent and answered that will be.
    pub(super) fn has_said_all(&self) -> bool {
        self.unfinished() == 0 && self.control.is_empty() && !self.suspects.is_under_way()
    }

    /// DISCONNECT; before the broker has let us in, nobody waits for what it says to that.
    pub(super) fn say_goodbye(&mut self, now: Instant, out: &mut BytesMut) {
        self.goodbye = Goodbye::Answered;
        let mut goodbye = None;
        if self.stage == Stage::Ready {
            self.goodbye = Goodbye::Said;
            goodbye = Some(self.ask_for(now, Due::Goodbye));
        }
        // Numbers go into any version.
        let _ =
            FrameBuilder::new(Command::Disconnect, self.version(), out).and_then(|mut frame| {
                if let Some(number) = goodbye {
                    frame.header("receipt", Decimal::new(number))?;
                }
                frame.finish(Body::NONE)
            });
    }

    /// Puts in flight what the caller asks of the broker; the number of its receipt.
    pub(super) fn ask_for(&mut self, now: Instant, due: Due) -> u64 {
        if self.in_flight.is_quiet() {
            // From here on an answer is due: silence before it does not count.
            self.progressed(now);
        }
        self.in_flight.push(due, &[], None)
    }

    /// What is under way on this connection.
    pub(super) fn traffic(&self) -> Traffic {
        let window = self.options.max_in_flight;
        Traffic {
            window,
            held: window.saturating_sub(self.in_flight.sent_here()),
            queued: self.outbox.len(),
        }
    }

    /// Control frames first, then what has to be sent again, then the queue; as much as may be in
    /// flight, and a chunk at a time.
    pub(super) fn transmit_messages(
        &mut self,
        now: Instant,
        out: &mut BytesMut,
        events: &mut Batch,
    ) {
        self.transmit_control(out);
        if self.suspects.is_under_way() && self.examine(now, out, events) {
            return;
        }
        let (traffic, last_sent) = (self.traffic(), self.clock.map(|clock| clock.last_sent));
        if last_sent.is_some_and(|at| self.gather.holds_back(now, at, traffic)) {
            return;
        }
        let was_quiet = self.in_flight.is_quiet();
        if self.transmit_again(out, events) {
            self.transmit_queue(out, events);
        }
        if was_quiet {
            // From here on an answer is due: silence before it does not count.
            self.progressed(now);
        }
    }

    pub(super) fn transmit_control(&mut self, out: &mut BytesMut) {
        if !self.control.is_empty() {
            out.extend_from_slice(&self.control);
            self.control.clear();
            if self.control.capacity() > CHUNK {
                self.control = BytesMut::new();
            }
        }
    }

    /// True: all of it is on its way again.
    fn transmit_again(&mut self, out: &mut BytesMut, events: &mut Batch) -> bool {
        while out.len() < CHUNK && self.in_flight.sent_here() < self.options.max_in_flight {
            if self.transmit_unsent(out, events).is_none() {
                return true;
            }
        }
        self.in_flight.next_unsent().is_none()
    }

    /// Sends the next of those that an earlier connection has not answered. None: there is none.
    pub(super) fn transmit_unsent(
        &mut self,
        out: &mut BytesMut,
        events: &mut Batch,
    ) -> Option<u64> {
        let version = self.broker.version;
        let (number, due, frame) = self.in_flight.next_unsent()?;
        let measured = self.options.content_length;
        let outcome = Stored::read(frame).map_or(Ok(()), |stored| {
            stored.encode(Some(number), measured, version, out)
        });
        match outcome {
            Ok(()) => self.in_flight.mark_sent(),
            Err(error) => {
                // It may be another version than the one that could say it.
                self.in_flight.set_due(number, Due::Nothing);
                if let Due::Message(sender) = due {
                    sender.fail(&unsayable(&error), &mut self.ledger, events);
                }
            }
        }
        Some(number)
    }

    fn transmit_queue(&mut self, out: &mut BytesMut, events: &mut Batch) {
        let (version, measured) = (self.broker.version, self.options.content_length);
        while let Some((entry, until, frame)) = self.outbox.oldest() {
            if out.len() >= CHUNK {
                break;
            }
            let Some(stored) = Stored::read(frame) else {
                // Cannot be: write and read are of one mind.
                self.outbox.drop_oldest();
                continue;
            };
            if stored.transaction != 0 {
                self.transmit_transacted(until, out, events);
                continue;
            }
            let sender = sender_of(entry, frame);
            let receipted = stored.kind == Kind::Receipted;
            if receipted
                && (self.in_flight.sent_here() >= self.options.max_in_flight
                    || self.in_flight.byte_len() >= self.options.max_queue_bytes)
            {
                // Those behind it wait, too: messages leave in the order of the calls.
                break;
            }
            let number = self.in_flight.next();
            match stored.encode(receipted.then_some(number), measured, version, out) {
                Err(error) => sender.fail(&unsayable(&error), &mut self.ledger, events),
                Ok(()) => {
                    self.counters.sent += 1;
                    if receipted {
                        self.in_flight.push(Due::Message(sender), frame, until);
                    } else {
                        self.written.push(sender);
                        self.suspects.sent_without_receipt(number);
                    }
                }
            }
            self.outbox.drop_oldest();
        }
    }

    /// Withdraws what could not be sent in time.
    pub(super) fn expire_queue(&mut self, now: Instant, give_up: &Error, events: &mut Batch) {
        let mut withdrawn = Vec::new();
        self.outbox.withdraw_expired(now, |ticket| {
            events.fail(ticket, give_up);
            withdrawn.push(ticket);
        });
        for ticket in withdrawn {
            self.withdraw_commit(ticket);
        }
    }

    /// No further connection: nothing that waits will be answered.
    pub(super) fn abandon_messages(&mut self, cause: &Error, events: &mut Batch) {
        let mut senders = Vec::new();
        self.in_flight.change(|due| {
            if let Due::Message(sender) = due {
                senders.push(sender);
            }
            Due::Nothing
        });
        self.outbox
            .drain_frames(|entry, frame| senders.push(sender_of(entry, frame)));
        for sender in senders {
            sender.fail(cause, &mut self.ledger, events);
        }
    }
}

/// Who is told what becomes of a queued frame.
fn sender_of(entry: Entry, frame: &[u8]) -> Sender {
    match (entry.ticket, Stored::read(frame)) {
        (Some(ticket), _) => Sender::Emit(ticket),
        (None, Some(stored)) if stored.transaction == 0 => Sender::Post(stored.epoch),
        _ => Sender::Nobody,
    }
}

/// The error of a frame that this version of the protocol has no form for.
pub(super) fn unsayable(error: &EncodeError) -> Error {
    Error::invalid(format!("it cannot be sent: {error}"))
}
