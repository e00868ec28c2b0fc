//! ACK and NACK.
//!
//! Source: STOMP 1.2, "ACK" and "NACK"; 1.1 and 1.0, "ACK".

use super::deliveries::Settled;
use super::options::{self, Header};
use super::outbound::unsayable;
use super::stored::Decimal;
use super::{Leaving, Stage, Stomp};
use crate::codec::stomp::{Body, Command, EncodeError, FrameBuilder, Version};
use crate::error::Error;
use crate::message::{Batch, Key, Ticket, Value, Verdict};
use bytes::BytesMut;

/// Headers of ACK and NACK that the session writes.
const OURS: &[&str] = &["id", "message-id", "subscription", "transaction", "receipt"];

impl Stomp {
    /// Tells the broker how a message fared, with `headers` besides. One of an earlier connection
    /// is ignored: the broker delivers it again.
    #[inline]
    pub(super) fn acknowledge(&mut self, id: u64, verdict: Verdict, headers: &[Header]) {
        if self.stage != Stage::Ready {
            return;
        }
        let can_refuse = self.version() != Version::V10;
        if let Some(told) = self.deliveries.settle(id, verdict, can_refuse) {
            // A name that came in this version goes in it.
            let _ = self.put_verdict(told, verdict, headers, None);
        }
        self.deliveries.tidy();
    }

    /// The same with the program's own headers, or within a transaction.
    ///
    /// # Errors
    /// An option is wrong, or there is no such transaction.
    pub(super) fn acknowledge_with(
        &mut self,
        ticket: Ticket,
        given: &Value,
        events: &mut Batch,
    ) -> Result<(), Error> {
        let headers = options::headers(given.member("header"), OURS)?;
        let id = given.member("id").as_size().unwrap_or(0) as u64;
        let verdict = match given.member("accept").as_bool() {
            Some(false) => Verdict::Reject,
            _ => Verdict::Accept,
        };
        match given.member("transaction") {
            Value::Nil => self.acknowledge(id, verdict, &headers),
            number => {
                let number = number.as_size().and_then(|n| u16::try_from(n).ok());
                self.acknowledge_in(number.unwrap_or(0), id, verdict)?;
            }
        }
        events.answer(ticket, Value::Nil);
        Ok(())
    }

    /// Queues ACK or NACK for a delivery that is still known.
    ///
    /// # Errors
    /// Its name, or a header, cannot be sent in this version.
    pub(super) fn put_verdict(
        &mut self,
        id: u64,
        verdict: Verdict,
        headers: &[Header],
        transaction: Option<u32>,
    ) -> Result<(), Error> {
        let Some(settled) = self.deliveries.name(id) else {
            return Ok(());
        };
        // RabbitMQ puts a refused message back into its queue at once: for one that nobody can
        // deal with that would go on for ever. The second time it goes where dead letters go.
        let gives_up = verdict == Verdict::Reject
            && self.broker.is_rabbit
            && settled.redelivered
            && headers.iter().all(|(name, _)| name != b"requeue");
        let version = self.broker.version;
        let subscription = self.routes.wish(settled.key).map(|wish| wish.id.as_slice());
        let ended = self.leaving.get(&settled.key).map(Leaving::id);
        let mut frame = Acknowledgement {
            settled,
            subscription: subscription.or(ended).unwrap_or_default(),
            verdict,
            transaction,
            requeue: !gives_up,
            headers,
        };
        if version == Version::V10 {
            frame.verdict = Verdict::Accept;
        }
        frame
            .encode(version, &mut self.control)
            .map_err(|error| unsayable(&error))
    }

    /// RabbitMQ keeps what it has delivered to a subscription that ends, until the connection
    /// ends: it gets it back. Others see to that themselves.
    pub(super) fn give_back(&mut self, key: Key, cumulative: bool) {
        if self.broker.is_rabbit && self.version() != Version::V10 {
            let mut open = self.deliveries.open(key);
            if cumulative {
                open.drain(..open.len().saturating_sub(1));
            }
            let requeue = [(b"requeue".to_vec(), b"true".to_vec())];
            for id in open {
                let _ = self.put_verdict(id, Verdict::Reject, &requeue, None);
            }
        }
        self.deliveries.release(key);
    }
}

/// What goes into ACK or NACK.
struct Acknowledgement<'a> {
    settled: Settled<'a>,
    subscription: &'a [u8],
    verdict: Verdict,
    transaction: Option<u32>,
    requeue: bool,
    headers: &'a [Header],
}

impl Acknowledgement<'_> {
    #[inline]
    fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let command = match self.verdict {
            Verdict::Accept => Command::Ack,
            Verdict::Reject => Command::Nack,
        };
        let mut frame = FrameBuilder::new(command, version, out)?;
        if version == Version::V12 {
            frame.header("id", self.settled.name)?;
        } else {
            frame.header("message-id", self.settled.name)?;
            frame.header("subscription", self.subscription)?;
        }
        if let Some(transaction) = self.transaction {
            frame.header("transaction", Decimal::new(transaction.into()))?;
        }
        if !self.requeue {
            frame.header("requeue", "false")?;
        }
        for (name, value) in self.headers {
            frame.header(name, value)?;
        }
        frame.finish(Body::NONE)
    }
}
