//! A session for the tests of what carries one: it notes what it is told, and panics at the first byte.

use crate::error::Error;
use crate::message::{Batch, Command, Publish, Ticket};
use crate::session::{Client, Counters, Session};
use bytes::BytesMut;
use std::time::Instant;

#[derive(Default)]
pub(super) struct Stub {
    /// Targets of messages, and flushes.
    pub(super) told: Vec<String>,
    /// Bytes that it says it holds.
    pub(super) held: u64,
    /// Flushes that fail once it is terminated.
    waiting: Vec<Ticket>,
}

impl Session for Stub {
    type Events = Batch;
    fn connected(&mut self, _: Instant, _: &mut Batch) {}
    fn receive(&mut self, _: Instant, input: &mut BytesMut, _: &mut Batch) -> Result<(), Error> {
        assert!(
            input.is_empty(),
            "a bug in a session (this test provokes it)"
        );
        Ok(())
    }
    fn poll_transmit(&mut self, _: Instant, _: &mut BytesMut, _: &mut Batch) {}
    fn deadline(&self) -> Option<Instant> {
        None
    }
    fn expire(&mut self, _: Instant, _: &mut Batch) -> Result<(), Error> {
        Ok(())
    }
    fn disconnected(&mut self, _: &Error, _: &mut Batch) {}
    fn terminate(&mut self, cause: &Error, events: &mut Batch) {
        for ticket in self.waiting.drain(..) {
            events.fail(ticket, cause);
        }
    }
    fn accepted(&self) -> bool {
        true
    }
    fn finished(&self) -> bool {
        false
    }
}

impl Client for Stub {
    fn submit(&mut self, _: Instant, command: Command<'_>, _: &mut Batch) -> Result<(), Error> {
        match command {
            Command::Publish(publish) => {
                self.held += (publish.target.len() + publish.payload.len()) as u64;
                let target = String::from_utf8_lossy(publish.target);
                self.told.push(target.into_owned());
            }
            Command::Flush { ticket } => {
                self.told.push(format!("flush {ticket}"));
                self.waiting.push(ticket);
            }
            _ => {}
        }
        Ok(())
    }
    fn forfeit(&mut self, _: &Error, _: &mut Batch) {}
    fn checker(&self) -> fn(&Publish<'_>) -> Result<(), Error> {
        |_| Ok(())
    }
    fn is_closed(&self) -> bool {
        false
    }
    fn counters(&self) -> Counters {
        Counters {
            queued: self.told.len() as u64,
            queued_bytes: self.held,
            ..Counters::default()
        }
    }
}
