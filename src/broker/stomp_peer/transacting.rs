//! BEGIN, COMMIT and ABORT, and what is to happen at the COMMIT: all of it, or nothing.
//!
//! Source: STOMP 1.2, "BEGIN", "COMMIT" and "ABORT".

use super::sending::{full, is_gone};
use super::settling::Settlement;
use super::{shown, Client, Refusal};
use crate::broker::{Message, Name};
use crate::codec::stomp::Frame;
use crate::error::Code;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Transactions that a client may have open at a time.
const MOST: usize = 256;

/// What a COMMIT does.
#[derive(Debug)]
pub(super) enum Deed {
    /// A message goes to a queue, or else to its topic.
    Send {
        queue: Option<Name>,
        message: Arc<Message>,
    },
    Settle(Settlement),
}

impl Deed {
    fn size(&self) -> usize {
        match self {
            Deed::Send { message, .. } => message.size(),
            Deed::Settle(settlement) => settlement.size(),
        }
    }
}

/// What a connection has begun.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: HashMap<Box<[u8]>, Vec<Deed>>,
    /// Of all deeds.
    bytes: usize,
}

impl Transactions {
    fn take(&mut self, name: &[u8]) -> Option<Vec<Deed>> {
        let deeds = self.open.remove(name)?;
        self.bytes -= deeds.iter().map(Deed::size).sum::<usize>();
        Some(deeds)
    }
}

fn unknown(name: &[u8]) -> Refusal {
    Refusal::violation(format!("no transaction {} is open", shown(name)))
}

fn name_of(frame: &Frame<'_>) -> Result<Box<[u8]>, Refusal> {
    let name = frame.headers.get("transaction");
    let name = name.ok_or_else(|| Refusal::missing(frame.command, "transaction"))?;
    Ok(name.into())
}

impl Client {
    /// BEGIN.
    pub(super) fn begin(&mut self, frame: &Frame<'_>) -> Result<(), Refusal> {
        let name = name_of(frame)?;
        let open = &mut self.transactions.open;
        if open.contains_key(&name) {
            let shown = shown(&name);
            return Err(Refusal::violation(format!("{shown} is open already")));
        }
        if open.len() >= MOST {
            return Err(Refusal::refused(format!("{MOST} transactions are open")));
        }
        open.insert(name, Vec::new());
        Ok(())
    }

    /// Whether there is such a transaction.
    pub(super) fn check_transaction(&self, name: &[u8]) -> Result<(), Refusal> {
        match self.transactions.open.contains_key(name) {
            true => Ok(()),
            false => Err(unknown(name)),
        }
    }

    /// Does something at the COMMIT of a transaction.
    pub(super) fn act_in(&mut self, name: &[u8], deed: Deed) -> Result<(), Refusal> {
        let most = self.caller.broker.settings().max_queue_bytes;
        let transactions = &mut self.transactions;
        let deeds = transactions.open.get_mut(name);
        let deeds = deeds.ok_or_else(|| unknown(name))?;
        let size = deed.size();
        if transactions.bytes + size > most {
            return Err(Refusal::new(
                Code::Full,
                format!("transactions may hold {most} bytes"),
            ));
        }
        transactions.bytes += size;
        deeds.push(deed);
        Ok(())
    }

    pub(super) fn settle_in(&mut self, name: &[u8], what: Settlement) -> Result<(), Refusal> {
        self.act_in(name, Deed::Settle(what))
    }

    /// COMMIT.
    pub(super) fn commit(&mut self, frame: &Frame<'_>) -> Result<(), Refusal> {
        let name = name_of(frame)?;
        let deeds = self.transactions.take(&name);
        let deeds = deeds.ok_or_else(|| unknown(&name))?;
        let broker = self.caller.broker.clone();
        let limit = broker.settings().max_queue_bytes;
        let mut wanted: HashMap<&Name, usize> = HashMap::new();
        for deed in &deeds {
            match deed {
                Deed::Send {
                    queue: Some(queue),
                    message,
                } => *wanted.entry(queue).or_default() += message.size(),
                Deed::Send { queue: None, .. } => {}
                Deed::Settle(settlement) if self.can_settle(settlement) => {}
                Deed::Settle(_) => {
                    return Err(Refusal::refused(format!(
                        "nothing of {} is done: it acknowledges messages of a subscription that has ended",
                        shown(&name)
                    )));
                }
            }
        }
        let mut queues = broker.queues();
        for (queue, bytes) in wanted {
            if !is_gone(queue, queues.is_consumed(queue)) && !queues.has_room(queue, bytes, limit) {
                return Err(full(queue, limit));
            }
        }
        // From here on nothing can fail: others cannot come in between.
        let mut published = Vec::new();
        let mut received = 0;
        for deed in deeds {
            match deed {
                Deed::Settle(settlement) => self.settle(&mut queues, &settlement),
                Deed::Send { queue, message } => match queue {
                    Some(queue) => {
                        received += 1;
                        if !is_gone(&queue, queues.is_consumed(&queue)) {
                            queues.send(&queue, message, limit);
                        }
                    }
                    None => published.push(message),
                },
            }
        }
        drop(queues);
        let counter = &broker.counters().received;
        counter.fetch_add(received, Ordering::Relaxed);
        for message in published {
            let topic = message.topic.clone();
            broker.publish(&topic, || message);
        }
        Ok(())
    }

    /// ABORT.
    pub(super) fn abort(&mut self, frame: &Frame<'_>) -> Result<(), Refusal> {
        let name = name_of(frame)?;
        let deeds = self.transactions.take(&name);
        for deed in deeds.ok_or_else(|| unknown(&name))? {
            if let Deed::Settle(settlement) = deed {
                self.pledge(&settlement, false);
            }
        }
        Ok(())
    }
}
