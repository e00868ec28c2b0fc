//! ACK and NACK.
//!
//! Source: STOMP 1.2, "ACK" and "NACK"; 1.1 and 1.0, where the message is named otherwise.

use super::delivering::DeliveryName;
use super::subscribing::{Ack, Source};
use super::{shown, Client, Refusal};
use crate::broker::Queues;
use crate::codec::stomp::{Frame, Version};

/// A message that was rejected comes again until it was delivered so often, and is thrown away then: one that nobody can
/// deal with would go round for ever.
const MOST_DELIVERIES: u32 = 5;

/// A queue's message that the client has yet to acknowledge.
#[derive(Debug)]
pub(super) struct Held {
    id: u64,
    redeliveries: u32,
    /// A transaction that is not committed has acknowledged it.
    pledged: bool,
}

impl Held {
    pub(super) fn new(id: u64, redeliveries: u32) -> Self {
        Held {
            id,
            redeliveries,
            pledged: false,
        }
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    /// It comes again, to another consumer where there is one.
    Again,
    /// It is thrown away.
    Discard,
}

/// An acknowledgement whose messages are known.
#[derive(Debug)]
pub(super) struct Settlement {
    tag: u32,
    numbers: Vec<u64>,
    verdict: Verdict,
}

impl Settlement {
    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.numbers.len() * size_of::<u64>()
    }
}

impl Client {
    /// ACK, or NACK where not `accept`.
    #[inline]
    pub(super) fn acknowledge(&mut self, frame: &Frame<'_>, accept: bool) -> Result<(), Refusal> {
        let named_by = match self.version {
            Version::V12 => "id",
            Version::V10 | Version::V11 => "message-id",
        };
        let name = frame.headers.get(named_by);
        let name = name
            .as_deref()
            .ok_or_else(|| Refusal::missing(frame.command, named_by))?;
        let unknown = || {
            let command = frame.command;
            Refusal::violation(format!(
                "no message {} waits for this {command}",
                shown(name)
            ))
        };
        let (tag, number) = DeliveryName::parse(self.caller.id, name).ok_or_else(unknown)?;
        let last = self.subscriptions.0.as_ref().map(|it| it.last_delivery);
        let subscription = self.subscriptions.get_mut(tag).ok_or_else(unknown)?;
        if self.version == Version::V11 {
            let id = frame.headers.get("subscription");
            let id = id.ok_or_else(|| Refusal::missing(frame.command, "subscription"))?;
            if subscription.id.as_deref() != Some(&*id) {
                return Err(unknown());
            }
        }
        let transaction = frame.headers.get("transaction");
        if let (Source::Topic { .. }, Ack::Cumulative | Ack::Individual) =
            (&subscription.source, subscription.ack)
        {
            // A topic keeps nothing that could come again.
            return match (transaction, last.is_some_and(|last| number <= last)) {
                (_, false) => Err(unknown()),
                (Some(transaction), true) => self.check_transaction(&transaction),
                (None, true) => Ok(()),
            };
        }
        let waits = subscription.held.get(&number).is_some_and(|it| !it.pledged);
        if !waits {
            return Err(unknown());
        }
        let verdict = match (accept, frame.headers.get("requeue").as_deref()) {
            (true, _) => Verdict::Accept,
            // RabbitMQ's word for it.
            (false, Some(b"false")) => Verdict::Discard,
            (false, _) => Verdict::Again,
        };
        if let (None, Ack::Individual) = (&transaction, subscription.ack) {
            if let (Source::Queue { consumer, .. }, Some(held)) =
                (&subscription.source, subscription.held.remove(&number))
            {
                settle(&mut self.caller.broker.queues(), *consumer, held, verdict);
            }
            return Ok(());
        }
        let before = match subscription.ack {
            Ack::Cumulative => 0,
            _ => number,
        };
        let unsettled = subscription.held.range(before..=number);
        let unsettled = unsettled.filter(|(_, held)| !held.pledged);
        let settlement = Settlement {
            tag,
            numbers: unsettled.map(|(number, _)| *number).collect(),
            verdict,
        };
        match transaction {
            Some(transaction) => {
                self.pledge(&settlement, true);
                self.settle_in(&transaction, settlement)
            }
            None => {
                let broker = self.caller.broker.clone();
                self.settle(&mut broker.queues(), &settlement);
                Ok(())
            }
        }
    }

    /// What a transaction has acknowledged cannot be acknowledged otherwise, until it is over.
    pub(super) fn pledge(&mut self, settlement: &Settlement, pledged: bool) {
        let subscription = self.subscriptions.get_mut(settlement.tag);
        if let Some(subscription) = subscription {
            for number in &settlement.numbers {
                if let Some(held) = subscription.held.get_mut(number) {
                    held.pledged = pledged;
                }
            }
        }
    }

    /// Whether the messages are still the client's to acknowledge: a subscription that has ended gave them back.
    pub(super) fn can_settle(&self, settlement: &Settlement) -> bool {
        self.subscriptions.get(settlement.tag).is_some()
    }

    pub(super) fn settle(&mut self, queues: &mut Queues, settlement: &Settlement) {
        let subscription = self.subscriptions.get_mut(settlement.tag);
        let Some(subscription) = subscription else {
            return;
        };
        let Source::Queue { consumer, .. } = subscription.source else {
            return;
        };
        for number in &settlement.numbers {
            if let Some(held) = subscription.held.remove(number) {
                settle(queues, consumer, held, settlement.verdict);
            }
        }
    }
}

fn settle(queues: &mut Queues, consumer: u64, held: Held, verdict: Verdict) {
    match verdict {
        Verdict::Accept => queues.accept(consumer, held.id),
        Verdict::Discard => queues.reject(consumer, held.id, false),
        Verdict::Again => {
            let again = held.redeliveries + 1 < MOST_DELIVERIES;
            queues.reject(consumer, held.id, again)
        }
    };
}
