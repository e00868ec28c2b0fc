//! Who is to blame for an ERROR that does not say: a connection ends with it, so one message that
//! the broker cannot take, sent again on each connection, would end them all.
//!
//! What had no answer when such an ERROR came is suspect. On the next connection the suspects go
//! before everything else, the first one alone: an ERROR then has only one that it can be about.
//! As long as all is well, twice as many go together each time: most such errors are about the
//! first one, and some, a shutdown say, about none.
//!
//! Some brokers hang up without a word (RabbitMQ 3.10 does so at a backslash in STOMP 1.0). That says little, a network
//! does it, too; where it comes again and again while nothing is ever answered, it is treated like such an ERROR.

use super::{Due, Stomp};
use crate::client::subscriptions::Stage as SubscriptionStage;
use crate::error::{Code, Error};
use crate::message::{Batch, Key};
use bytes::BytesMut;
use std::collections::BTreeSet;
use std::time::Instant;

/// After so many connections in a row that ended without a word, and without an answer to what was sent, that is suspect, ...
const WORDLESS: u32 = 3;

/// ... and after so many what was sent alone is to blame: with the pauses between them, no restart of a broker lasts so
/// long that its handshake succeeds each time and nothing else does.
const HOPELESS: u32 = 6;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Messages in flight that have a lower number.
    until: u64,
    /// Subscriptions, and those that wait for the end of all this.
    keys: BTreeSet<Key>,
    /// It goes on.
    under_way: bool,
    /// How many went together the last time.
    together: usize,
    /// Messages without a receipt were sent before the flight of this number, and may be to blame.
    loose: Option<u64>,
    /// The same of transactions, which fail by it as a whole.
    transacted: Option<u64>,
    /// How many connections in a row have ended without a word or an answer.
    wordless: u32,
}

impl Suspects {
    /// Whether suspects are examined now, and all else waits.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Whether this subscription has to wait for its turn.
    pub(super) fn holds(&self, key: Key) -> bool {
        self.keys.contains(&key)
    }

    /// A new subscription waits for its turn.
    pub(super) fn queue(&mut self, key: Key) {
        self.keys.insert(key);
    }

    /// The subscription is gone.
    pub(super) fn forget(&mut self, key: Key) {
        self.keys.remove(&key);
    }

    /// A message left without a receipt, before the flight that will have this number.
    pub(super) fn sent_without_receipt(&mut self, next: u64) {
        self.loose = Some(next);
    }

    /// The same of what belongs to a transaction.
    pub(super) fn sent_transacted(&mut self, next: u64) {
        self.transacted = Some(next);
    }

    /// The broker has done what had this number, and so all before it.
    pub(super) fn answered(&mut self, number: u64) {
        self.wordless = 0;
        self.loose = self.loose.filter(|before| number < *before);
        self.transacted = self.transacted.filter(|before| number < *before);
    }

    /// What was sent without a receipt is not sent again.
    pub(super) fn disconnected(&mut self) {
        self.loose = None;
        self.transacted = None;
        self.together = 0;
    }
}

impl Stomp {
    /// A connection that had been let in has ended, and the broker did not say why.
    pub(super) fn hung_up(&mut self, cause: &Error, events: &mut Batch) {
        let mut awaited = self.in_flight.all_awaited();
        let (first, second) = (awaited.next(), awaited.next());
        drop(awaited);
        if first.is_none() {
            return;
        }
        self.suspects.wordless += 1;
        let times = self.suspects.wordless;
        let is_hopeless = times >= HOPELESS && second.is_none();
        if is_hopeless || (times >= WORDLESS && second.is_some()) {
            let text = format!(
                "each of {times} connections in a row ended without a word when it was sent: {}",
                cause.text
            );
            self.accuse(&Error::new(Code::Refused, text), events);
            // That is a guess, and it may be the network after all: the next connection waits as after any other end.
            self.made_up = false;
        }
        if is_hopeless {
            self.suspects.wordless = 0;
        }
    }

    /// An ERROR that does not say what it is about.
    pub(super) fn accuse(&mut self, error: &Error, events: &mut Batch) {
        let mut awaited = self.in_flight.all_awaited();
        let (first, second) = (awaited.next(), awaited.next());
        // Each such end leaves fewer suspects.
        self.made_up = first.is_some();
        let (loose, transacted) = (self.suspects.loose, self.suspects.transacted);
        let is_certain = |due| match due {
            Due::Committed(..) => loose.is_none(),
            _ => loose.is_none() && transacted.is_none(),
        };
        match (first, second) {
            (Some((number, due)), None) if is_certain(due) => {
                drop(awaited);
                self.refuse(number, error, events);
            }
            (Some(first), _) => {
                let all: Vec<Due> = [Some(first), second]
                    .into_iter()
                    .flatten()
                    .chain(awaited)
                    .map(|(_, due)| due)
                    .collect();
                for due in all {
                    match due {
                        Due::Message(_) => self.suspects.until = self.in_flight.next(),
                        Due::Subscribed(key) => self.suspects.queue(key),
                        Due::Unsubscribed(key) => self.take_end(key, events),
                        _ => {}
                    }
                }
            }
            (None, _) => {}
        }
        let left = !self.suspects.keys.is_empty() || self.in_flight.first() < self.suspects.until;
        self.suspects.under_way = left;
    }

    /// The broker refuses what has this number.
    pub(super) fn refuse(&mut self, number: u64, error: &Error, events: &mut Batch) {
        let due = self.in_flight.due(number);
        self.in_flight.set_due(number, Due::Nothing);
        self.made_up = true;
        match due {
            Due::Message(sender) => {
                let error = refused("the message", error);
                sender.fail(&error, &mut self.ledger, events);
            }
            Due::Subscribed(key) => {
                self.drop_refused(key, &refused("the subscription", error), events);
            }
            Due::Unsubscribed(key) => self.take_end(key, events),
            Due::Committed(ticket, _) => {
                if let Some(ticket) = ticket {
                    events.fail(ticket, &refused("the transaction", error));
                }
            }
            Due::Goodbye | Due::Nothing => {}
        }
    }

    /// Sends the next suspects once the last ones are answered. False: there are none any more.
    pub(super) fn examine(&mut self, now: Instant, out: &mut BytesMut, events: &mut Batch) -> bool {
        if !self.in_flight.is_quiet() {
            return true;
        }
        let together = (self.suspects.together * 2).clamp(1, self.options.max_in_flight);
        self.suspects.together = together;
        while self.in_flight.awaited() < together {
            let Some(key) = self.suspects.keys.pop_first() else {
                break;
            };
            let known = self.routes.subscriptions.find(key);
            if known.is_some_and(|known| known.stage == SubscriptionStage::Wanted) {
                self.ask(now, key, events);
            }
        }
        self.transmit_control(out);
        // A message may be for a subscription: those come first, here too.
        while self.suspects.keys.is_empty() && self.in_flight.sent_here() < together {
            let next = self.in_flight.next_unsent().map(|(number, ..)| number);
            if next.is_none_or(|number| number >= self.suspects.until) {
                break;
            }
            self.transmit_unsent(out, events);
        }
        self.progressed(now);
        self.suspects.under_way = !self.in_flight.is_quiet();
        self.suspects.under_way
    }
}

fn refused(what: &str, error: &Error) -> Error {
    let text = format!("the broker refused {what}: {}", error.text);
    Error::new(Code::Refused, text)
}
