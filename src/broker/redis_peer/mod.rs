//! The broker's side of a Redis connection: publish/subscribe, logins, and the commands that clients send before it.
//!
//! This file is the session; `commands` and `about` know what each command means, `table` which there are,
//! `subscriptions` what the connection receives, `clients` what connections see of each other.
//! Source: Redis command reference; the words of errors are those of Redis 7.0.

mod about;
mod clients;
mod commands;
mod subscriptions;
mod table;
#[cfg(test)]
mod tests;

use super::{pass_on, Caller, Flow, Happening, PLENTY};
use crate::codec::resp::{reply, CommandDecoder, CommandError, Version};
use crate::error::{Code, Error};
use crate::session::Session;
use bytes::{Buf, BytesMut};
use clients::{Card, Details};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;
use subscriptions::Subscriptions;

/// Bytes written to a connection at a time.
const CHUNK: usize = 128 * 1024;

/// See the module.
#[derive(Debug)]
pub struct RedisPeer {
    decoder: CommandDecoder,
    client: Client,
}

/// The client as the broker sees it: all but what has not been decoded.
#[derive(Debug)]
struct Client {
    caller: Caller,
    out: BytesMut,
    version: Version,
    /// It has logged in, or need not.
    trusted: bool,
    /// What others may see of it.
    card: Arc<Card>,
    /// Calls of PUBLISH that are still to be counted.
    published: u64,
    subscriptions: Subscriptions,
    /// It has said good-bye.
    leaving: bool,
    /// Why the connection is given up, in the words of the protocol.
    last_words: Vec<u8>,
}

pub(super) use clients::Service;

impl RedisPeer {
    /// For a connection that has just been accepted.
    pub fn new(caller: Caller) -> Self {
        let settings = caller.broker.settings();
        let trusted = settings.users.is_none();
        let mut decoder = CommandDecoder::new(settings.max_packet);
        decoder.trust(trusted);
        let card = Card::new(&caller);
        RedisPeer {
            decoder,
            client: Client {
                caller,
                out: BytesMut::new(),
                version: Version::Resp2,
                trusted,
                card,
                published: 0,
                subscriptions: Subscriptions::default(),
                leaving: false,
                last_words: Vec::new(),
            },
        }
    }

    fn overrun(&mut self) -> Error {
        let counters = self.client.caller.broker.counters();
        counters.overruns.fetch_add(1, Ordering::Relaxed);
        // Redis has no word for it either: it would only queue up behind what is not read.
        Error::new(
            Code::Full,
            "it did not read what it had subscribed to: too much waits for it",
        )
    }
}

impl Client {
    /// Nobody is to know it any more.
    fn leave(&mut self) {
        self.end_subscriptions();
        self.caller.broker.redis.leave(&self.card);
    }
}

impl Session for RedisPeer {
    type Events = Flow;

    fn connected(&mut self, now: Instant, _: &mut Flow) {
        let client = &self.client;
        client.card.begin(now);
        client.caller.broker.redis.enter(&client.card);
        client.caller.tell(Happening::Connect, b"");
    }

    fn receive(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
        flow: &mut Flow,
    ) -> Result<(), Error> {
        let client = &mut self.client;
        let mut taken = 0;
        let outcome = loop {
            if client.leaving {
                input.clear();
                return Ok(());
            }
            if client.out.len() >= PLENTY {
                flow.full = true;
                break Ok(());
            }
            let rest = input.get(taken..).unwrap_or_default();
            match self.decoder.decode(rest) {
                Ok(None) => break Ok(()),
                Ok(Some((None, length))) => taken += length,
                Ok(Some((Some(command), length))) => {
                    taken += length;
                    client.execute(now, command);
                    if !client.last_words.is_empty() {
                        break Err(limit(&client.last_words));
                    }
                    self.decoder.trust(client.trusted);
                }
                Err(error) => {
                    client.last_words = format!("ERR Protocol error: {error}").into_bytes();
                    break Err(violated(error));
                }
            }
        };
        if taken > 0 {
            client.count_published();
            client.card.hear(now);
            self.decoder.relax();
        }
        input.advance(taken);
        outcome
    }

    fn poll_transmit(&mut self, _: Instant, out: &mut BytesMut, flow: &mut Flow) {
        let client = &mut self.client;
        pass_on(&mut client.out, out);
        flow.full = false;
        if !client.leaving {
            client.drain(out, CHUNK);
        }
    }

    fn farewell(&mut self, out: &mut BytesMut) {
        out.unsplit(self.client.out.split());
        if !self.client.last_words.is_empty() {
            reply::put_error(out, &self.client.last_words);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let client = &self.client;
        // What was in time is long past.
        client
            .card
            .began()
            .filter(|_| client.subscriptions.is_overrun() || client.card.is_killed())
    }

    fn expire(&mut self, _: Instant, _: &mut Flow) -> Result<(), Error> {
        if self.client.subscriptions.is_overrun() {
            return Err(self.overrun());
        } else if self.client.card.is_killed() {
            // Redis closes the connection without a word, too.
            return Err(Error::new(Code::Refused, "it was ended by CLIENT KILL"));
        }
        Ok(())
    }

    fn disconnected(&mut self, cause: &Error, _: &mut Flow) {
        self.client.leave();
        let caller = &self.client.caller;
        caller.tell(Happening::Disconnect, cause.text.as_bytes());
    }

    fn terminate(&mut self, _: &Error, _: &mut Flow) {
        self.client.leave();
    }

    fn accepted(&self) -> bool {
        true
    }

    fn finished(&self) -> bool {
        self.client.leaving && self.client.out.is_empty()
    }
}

impl Drop for RedisPeer {
    fn drop(&mut self) {
        // A panic in the session has ended its task: the router must forget it all the same.
        self.client.leave();
    }
}

fn violated(error: CommandError) -> Error {
    Error::new(
        Code::Protocol,
        format!("the client broke the protocol: {error}"),
    )
}

fn limit(words: &[u8]) -> Error {
    Error::new(Code::Refused, String::from_utf8_lossy(words))
}
