//! The broker's side of a STOMP connection, in versions 1.0, 1.1 and 1.2.
//!
//! This file is the session, and hands each frame to whoever knows what it means: `connecting` the handshake,
//! `sending` what is published, `subscribing` what the connection receives, `delivering` how it is told, `settling`
//! acknowledgements, `transacting` what is done together, `timers` heart-beats. `destination` knows what names mean.
//! Source: STOMP 1.2, whose sections have no numbers and are named; 1.0 and 1.1 where they differ.

mod connecting;
mod delivering;
mod destination;
mod sending;
mod settling;
mod subscribing;
#[cfg(test)]
mod tests;
mod timers;
mod transacting;

use super::{pass_on, Caller, Flow, Happening, Settings, PLENTY};
use crate::codec::stomp::{Body, Command, Decoder, Event, Frame, FrameBuilder, Limits};
use crate::codec::stomp::{Role, Version};
use crate::error::{Code, Error};
use crate::session::Session;
use bytes::{Buf, BytesMut};
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Instant;
use subscribing::Subscriptions;
use timers::Clock;
use transacting::Transactions;

/// What a client may send before it is let in: a CONNECT, with a token for a password.
const STRANGER: Limits = Limits {
    max_headers: 64,
    max_header_line: 16 << 10,
    max_body: 1 << 10,
};

/// See the module.
#[derive(Debug)]
pub struct StompPeer {
    decoder: Decoder,
    client: Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// CONNECT has yet to come.
    Connecting,
    Ready,
    /// It has said good-bye: nothing more of it is heard.
    Leaving,
}

/// The client as the broker sees it: all but what has not been decoded.
#[derive(Debug)]
struct Client {
    caller: Caller,
    stage: Stage,
    version: Version,
    out: BytesMut,
    /// None before [`Session::connected`].
    clock: Option<Clock>,
    subscriptions: Subscriptions,
    transactions: Transactions,
    /// The ERROR that says why the connection is given up.
    last_words: BytesMut,
}

/// Why a frame is not obeyed, which ends the connection ("ERROR").
#[derive(Debug)]
struct Refusal {
    code: Code,
    text: String,
    /// The client has to be told which versions there are ("Protocol Negotiation").
    versions: bool,
}

impl Refusal {
    fn new(code: Code, text: impl Into<String>) -> Self {
        Refusal {
            code,
            text: text.into(),
            versions: false,
        }
    }

    /// The client does what STOMP forbids.
    fn violation(text: impl Into<String>) -> Self {
        Refusal::new(Code::Protocol, text)
    }

    /// The client asks for what this broker does not do.
    fn refused(text: impl Into<String>) -> Self {
        Refusal::new(Code::Refused, text)
    }

    fn missing(command: Command, header: &str) -> Self {
        Refusal::violation(format!("{command} needs the header {header}"))
    }
}

/// Text that came from a client, in a message to it: on one line, and not for pages.
fn shown(text: &[u8]) -> String {
    const MOST: usize = 100;
    let front = text.get(..MOST).unwrap_or(text);
    format!("{:?}", String::from_utf8_lossy(front))
}

impl StompPeer {
    /// For a connection that has just been accepted.
    pub fn new(caller: Caller) -> Self {
        StompPeer {
            decoder: Decoder::new(Role::Server, STRANGER),
            client: Client {
                caller,
                stage: Stage::Connecting,
                version: Version::V10,
                out: BytesMut::new(),
                clock: None,
                subscriptions: Subscriptions::default(),
                transactions: Transactions::default(),
                last_words: BytesMut::new(),
            },
        }
    }
}

fn limits(settings: &Settings) -> Limits {
    let defaults = Limits::default();
    Limits {
        max_header_line: defaults.max_header_line.min(settings.max_packet),
        max_body: settings.max_packet,
        ..defaults
    }
}

impl Client {
    /// Obeys one frame, and answers where an answer is asked for ("Header receipt").
    ///
    /// # Errors
    /// It is refused: the connection is to be given up.
    #[inline]
    fn execute(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), Error> {
        let command = frame.command;
        let outcome = match (self.stage, command) {
            (Stage::Connecting, Command::Connect | Command::Stomp) => self.connect(now, frame),
            (Stage::Connecting, _) => Err(Refusal::violation(format!(
                "CONNECT has to come first, not {command}"
            ))),
            (_, Command::Send) => self.send(now, frame),
            (_, Command::Ack) => self.acknowledge(frame, true),
            (_, Command::Nack) => self.acknowledge(frame, false),
            (_, Command::Subscribe) => self.subscribe(now, frame),
            (_, Command::Unsubscribe) => self.unsubscribe(now, frame),
            (_, Command::Begin) => self.begin(frame),
            (_, Command::Commit) => self.commit(frame),
            (_, Command::Abort) => self.abort(frame),
            (_, Command::Disconnect) => {
                // Others get what it leaves before it knows that it is gone.
                self.leave();
                self.stage = Stage::Leaving;
                Ok(())
            }
            (_, Command::Connect | Command::Stomp) => {
                Err(Refusal::violation("this connection is connected already"))
            }
            // The decoder takes no frames of servers.
            (_, Command::Connected | Command::Message | Command::Receipt | Command::Error) => Err(
                Refusal::violation(format!("{command} cannot come from a client")),
            ),
        };
        let receipt = match command {
            Command::Connect | Command::Stomp => None,
            _ => frame.headers.get("receipt"),
        };
        let outcome = match (outcome, &receipt) {
            (Ok(()), Some(receipt)) => self.confirm(receipt),
            (outcome, _) => outcome,
        };
        outcome.map_err(|refusal| self.condemn(refusal, receipt.as_deref()))
    }

    fn confirm(&mut self, receipt: &[u8]) -> Result<(), Refusal> {
        let frame = FrameBuilder::new(Command::Receipt, self.version, &mut self.out);
        frame
            .and_then(|mut frame| {
                frame.header("receipt-id", receipt)?;
                frame.finish(Body::NONE)
            })
            .map_err(|error| Refusal::violation(error.to_string()))
    }

    /// Writes the ERROR that the connection ends with.
    #[cold]
    fn condemn(&mut self, refusal: Refusal, receipt: Option<&[u8]>) -> Error {
        let mut line = String::with_capacity(refusal.text.len());
        for each in refusal.text.chars() {
            // Before a version is agreed on nothing can be escaped.
            let _ = line.write_char(if each.is_control() { ' ' } else { each });
        }
        self.last_words.clear();
        let frame = FrameBuilder::new(Command::Error, self.version, &mut self.last_words);
        // What it cannot say in this version it leaves out; of its own text that is nothing.
        let _ = frame.and_then(|mut frame| {
            let _ = frame.header("message", &line);
            if let Some(receipt) = receipt {
                let _ = frame.header("receipt-id", receipt);
            }
            if refusal.versions {
                let _ = frame.header("version", connecting::VERSIONS);
            }
            frame.finish(Body::NONE)
        });
        Error::new(refusal.code, refusal.text)
    }

    fn overrun(&mut self) -> Error {
        let counters = self.caller.broker.counters();
        counters.overruns.fetch_add(1, Ordering::Relaxed);
        let text = "it did not read what it had subscribed to: too much waits for it";
        self.condemn(Refusal::new(Code::Full, text), None)
    }

    /// Ends all that the connection has: subscriptions, transactions, temporary queues. What it has not acknowledged
    /// goes to others.
    fn leave(&mut self) {
        self.transactions = Transactions::default();
        self.end_subscriptions();
    }
}

impl Session for StompPeer {
    type Events = Flow;

    fn connected(&mut self, now: Instant, _: &mut Flow) {
        self.client.clock = Some(Clock::new(now));
        self.client.caller.tell(Happening::Connect, b"");
    }

    fn receive(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
        flow: &mut Flow,
    ) -> Result<(), Error> {
        let client = &mut self.client;
        let most = client.caller.broker.settings().max_packet;
        if let Some(clock) = &mut client.clock {
            clock.heard(now, input.len());
        }
        let mut taken = 0;
        let outcome = loop {
            if client.stage == Stage::Leaving {
                taken = input.len();
                break Ok(());
            }
            if client.out.len() >= PLENTY {
                flow.full = true;
                if let Some(clock) = &mut client.clock {
                    clock.stalled = true;
                }
                break Ok(());
            }
            let rest = input.get(taken..).unwrap_or_default();
            let refusal = match self.decoder.decode(rest) {
                Ok(Some((_, used))) if used > most => too_large(most),
                Ok(None) if rest.len() > most => too_large(most),
                Ok(None) => break Ok(()),
                Ok(Some((Event::HeartBeat, used))) => {
                    taken += used;
                    continue;
                }
                Ok(Some((Event::Frame(frame), used))) => {
                    taken += used;
                    let stranger = client.stage == Stage::Connecting;
                    if let Err(error) = client.execute(now, &frame) {
                        break Err(error);
                    }
                    if stranger {
                        let limits = limits(client.caller.broker.settings());
                        self.decoder = Decoder::new(Role::Server, limits);
                        self.decoder.set_version(client.version);
                    }
                    continue;
                }
                Err(error) => Refusal::violation(error.to_string()),
            };
            break Err(client.condemn(refusal, None));
        };
        input.advance(taken.min(input.len()));
        outcome
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut, flow: &mut Flow) {
        let client = &mut self.client;
        let before = out.len();
        pass_on(&mut client.out, out);
        flow.full = false;
        client.transmit_messages(now, out);
        if let (true, Some(clock)) = (out.len() > before, &mut client.clock) {
            clock.last_sent = now;
        }
    }

    fn farewell(&mut self, out: &mut BytesMut) {
        out.unsplit(self.client.out.split());
        out.unsplit(self.client.last_words.split());
    }

    fn deadline(&self) -> Option<Instant> {
        self.client.deadline()
    }

    fn expire(&mut self, now: Instant, _: &mut Flow) -> Result<(), Error> {
        self.client.expire(now)
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
        self.client.stage != Stage::Connecting
    }

    fn finished(&self) -> bool {
        self.client.stage == Stage::Leaving && self.client.out.is_empty()
    }
}

impl Drop for StompPeer {
    fn drop(&mut self) {
        // A panic in the session has ended its task: router and queues must forget it all the same.
        self.client.leave();
    }
}

#[cold]
fn too_large(most: usize) -> Refusal {
    Refusal::violation(format!("a frame may have {most} bytes"))
}
