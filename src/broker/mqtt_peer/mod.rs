//! The broker's side of an MQTT connection, 3.1.1 and 5.0.
//!
//! This file is the connection: packets in, packets out, time. `connect` knows CONNECT and its answer, `publishing` what
//! comes, `subscribing` what a client asks for, `outgoing` what leaves. What outlives a connection is in `state`, a
//! session's, in `sessions`, which there are, in `retained`, `shared` and `sys`. Sections are those of MQTT 5.0 unless
//! 3.1.1 is named.

mod clock;
mod connect;
mod in_flight;
mod outgoing;
mod properties;
mod publishing;
mod queue;
mod retained;
mod sessions;
mod shared;
mod state;
mod subscribing;
mod sys;
#[cfg(test)]
mod tests;
mod will;

use super::{lock, Broker, Caller, Flow, Happening, Message, PLENTY};
use crate::codec::mqtt::{
    AckKind, DecodeError, Decoder, Disconnect, Packet, Properties, PropertyId, PropertyList,
    PropertyValue, Reason, Role, Version,
};
use crate::error::{Code, Error};
use crate::session::Session;
use bytes::{Buf, BytesMut};
use connect::CONNECT;
use outgoing::Link;
use publishing::Incoming;
use state::SessionState;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes written to a connection at a time.
const CHUNK: usize = 128 * 1024;

/// An out-buffer that grew beyond this is given back.
const KEEP: usize = 1024;

/// How long a client may take to send CONNECT.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What the broker has for MQTT alone.
#[derive(Debug, Default)]
pub(super) struct Service {
    sessions: Mutex<sessions::Sessions>,
    retained: Mutex<retained::Retained>,
    groups: Mutex<shared::Groups>,
    sys: sys::Sys,
    clock: Arc<clock::Clock>,
    /// Makes numbers of client identifiers.
    hasher: RandomState,
}

impl Service {
    /// The number of a client identifier, by which what it publishes is told from what others do: never that of a
    /// connection, and that of another client as good as never.
    fn identity(&self, client_id: &[u8]) -> u64 {
        self.hasher.hash_one(client_id) | 1 << 63
    }
}

/// See the module.
#[derive(Debug)]
pub struct MqttPeer {
    decoder: Decoder,
    client: Client,
}

/// The client as the broker sees it: all but what has not been decoded.
#[derive(Debug)]
struct Client {
    caller: Caller,
    /// What goes before messages.
    out: BytesMut,
    /// None before CONNECT.
    joined: Option<Box<Joined>>,
    /// When it was heard last, and until when it has to be heard again.
    heard: Option<Instant>,
    patience: Option<Duration>,
    /// The last time that it knew.
    now: Option<Instant>,
    /// Bytes of a packet that has begun to come.
    begun: usize,
    /// It is not read, so its silence says nothing.
    stalled: bool,
    /// It has said good-bye.
    leaving: bool,
    /// What a connection that is given up is told, with the error.
    parting: Option<Reason>,
    /// For the refusal of a CONNECT.
    refused: bool,
}

/// A client that was let in.
#[derive(Debug)]
struct Joined {
    session: Arc<SessionState>,
    link: Link,
    incoming: Incoming,
    /// Seconds, as CONNECT said.
    expiry: u32,
    /// The session was there before.
    resumed: bool,
}

impl MqttPeer {
    /// For a connection that has just been accepted.
    pub fn new(caller: Caller) -> Self {
        let largest = caller.broker.settings().max_packet;
        MqttPeer {
            // Who has not said who it is gets no more room than that takes.
            decoder: Decoder::new(Role::Server, largest.min(CONNECT)),
            client: Client {
                caller,
                out: BytesMut::new(),
                joined: None,
                heard: None,
                patience: None,
                now: None,
                begun: 0,
                stalled: false,
                leaving: false,
                parting: None,
                refused: false,
            },
        }
    }
}

impl Session for MqttPeer {
    type Events = Flow;

    fn connected(&mut self, now: Instant, _: &mut Flow) {
        let client = &mut self.client;
        client.now = Some(now);
        client.heard = Some(now);
        client.patience = Some(HANDSHAKE);
        client.caller.broker.mqtt.clock.set(now);
        client.caller.tell(Happening::Connect, b"");
    }

    fn receive(
        &mut self,
        now: Instant,
        input: &mut BytesMut,
        flow: &mut Flow,
    ) -> Result<(), Error> {
        let client = &mut self.client;
        client.now = Some(now);
        client.caller.broker.mqtt.clock.set(now);
        client.check_owner()?;
        // A large packet may take longer than the keep alive, and nothing else can be sent meanwhile.
        let more = input.len() > client.begun;
        let mut taken = 0;
        let outcome = loop {
            if client.leaving {
                input.clear();
                return Ok(());
            }
            client.stalled = client.out.len() >= PLENTY;
            if client.stalled {
                flow.full = true;
                break Ok(());
            }
            let rest = input.get(taken..).unwrap_or_default();
            match self.decoder.decode(rest) {
                Ok(None) => break Ok(()),
                Ok(Some((packet, length))) => {
                    taken += length;
                    let was_out = client.joined.is_none();
                    if let Err(error) = client.take(now, &packet) {
                        break Err(error);
                    }
                    if was_out {
                        let largest = client.caller.broker.settings().max_packet;
                        let version = self.decoder.version();
                        self.decoder = Decoder::new(Role::Server, largest);
                        self.decoder.set_version(version);
                    }
                }
                Err(error) => break Err(client.violated(&error, self.decoder.version(), rest)),
            }
        };
        if (more || taken > 0) && client.joined.is_some() {
            client.heard = Some(now);
        }
        client.begun = input.len() - taken;
        let bytes = &client.caller.broker.mqtt.sys.bytes_received;
        bytes.fetch_add(taken as u64, Ordering::Relaxed);
        input.advance(taken);
        outcome
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut BytesMut, flow: &mut Flow) {
        let client = &mut self.client;
        let before = out.len();
        client.flush(out);
        flow.full = false;
        if let (Some(joined), false) = (&mut client.joined, client.leaving) {
            if joined.session.is_waiting() && joined.session.owner() == client.caller.id {
                let sent = joined.session.transmit(&mut joined.link, now, out, CHUNK);
                let counter = &client.caller.broker.counters().sent;
                counter.fetch_add(sent, Ordering::Relaxed);
            }
        }
        if out.len() > before {
            let bytes = &client.caller.broker.mqtt.sys.bytes_sent;
            bytes.fetch_add((out.len() - before) as u64, Ordering::Relaxed);
        }
    }

    fn farewell(&mut self, out: &mut BytesMut) {
        let client = &mut self.client;
        client.flush(out);
        let Some(reason) = client.parting else {
            return;
        };
        if client.refused {
            let version = self.decoder.version();
            connect::refuse(version, reason, out);
        } else if let Some(joined) = &client.joined {
            // Version 3.1.1 has no last words (3.1.1, section 3.14).
            if joined.link.version == Version::V5 {
                let disconnect = Disconnect {
                    reason,
                    properties: Properties::NONE,
                };
                // The reasons that are given are those of DISCONNECT.
                let _ = disconnect.encode(Version::V5, out);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let client = &self.client;
        let joined = client.joined.as_ref();
        if client.is_taken_over() || joined.is_some_and(|joined| joined.session.is_overrun()) {
            // What was in time is long past.
            return client.heard;
        }
        client.heard?.checked_add(client.patience?)
    }

    fn expire(&mut self, now: Instant, _: &mut Flow) -> Result<(), Error> {
        let client = &mut self.client;
        client.now = Some(now);
        client.caller.broker.mqtt.clock.set(now);
        client.check_owner()?;
        if let Some(joined) = &client.joined {
            if joined.session.is_overrun() {
                let counters = client.caller.broker.counters();
                counters.overruns.fetch_add(1, Ordering::Relaxed);
                client.parting = Some(Reason::QUOTA_EXCEEDED);
                let text = "it did not take what it had subscribed to: too much waits for it";
                return Err(Error::new(Code::Full, text));
            }
        }
        if client.stalled {
            client.heard = Some(now);
        }
        let due = client.heard.zip(client.patience);
        if due.is_none_or(|(heard, patience)| now.saturating_duration_since(heard) < patience) {
            return Ok(());
        }
        let text = match client.joined {
            None => "no CONNECT came",
            Some(_) => "it was silent for longer than its keep alive allows",
        };
        client.parting = Some(Reason::KEEP_ALIVE_TIMEOUT);
        Err(Error::new(Code::Timeout, text))
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
        self.client.joined.is_some()
    }

    fn finished(&self) -> bool {
        self.client.leaving && self.client.out.is_empty()
    }
}

impl Drop for MqttPeer {
    fn drop(&mut self) {
        // A panic in the session has ended its task: its session must know all the same.
        self.client.leave();
    }
}

impl Client {
    /// Moves what is to be said to `out`.
    fn flush(&mut self, out: &mut BytesMut) {
        if self.out.is_empty() {
            return;
        }
        // Most are a few bytes; the buffer stays where it is then.
        if self.out.len() <= KEEP || !out.is_empty() {
            out.extend_from_slice(&self.out);
            self.out.clear();
        } else {
            std::mem::swap(out, &mut self.out);
        }
        if self.out.capacity() > KEEP {
            self.out = BytesMut::new();
        }
    }

    /// Another connection has its session.
    fn is_taken_over(&self) -> bool {
        let joined = self.joined.as_ref();
        joined.is_some_and(|joined| joined.session.owner() != self.caller.id)
    }

    /// Nothing is done any more to a session that is another connection's.
    fn check_owner(&mut self) -> Result<(), Error> {
        if !self.is_taken_over() {
            return Ok(());
        }
        self.parting = Some(Reason::SESSION_TAKEN_OVER);
        let text = "another connection has taken its session over";
        Err(Error::new(Code::Refused, text))
    }

    #[inline]
    fn take(&mut self, now: Instant, packet: &Packet<'_>) -> Result<(), Error> {
        let Some(joined) = &mut self.joined else {
            return match packet {
                Packet::Connect(connect) => self.connect(now, connect),
                _ => Err(Error::new(Code::Protocol, "its first packet is no CONNECT")),
            };
        };
        match packet {
            Packet::Publish(publish) => self.publish(now, publish),
            Packet::Ack(ack) if ack.kind == AckKind::PubRel => {
                joined.release(ack.packet_id, &mut self.out);
                Ok(())
            }
            Packet::Ack(ack) => {
                let answered = joined.session.acknowledge(&joined.link, ack, &mut self.out);
                answered.map_err(|text| self.fail(Reason::PROTOCOL_ERROR, text))
            }
            Packet::PingReq => {
                // It has no fields: nothing can be wrong with it.
                let _ = Packet::PingResp.encode(joined.link.version, &mut self.out);
                Ok(())
            }
            Packet::Subscribe(subscribe) => {
                self.subscribe(now, subscribe);
                Ok(())
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.unsubscribe(now, unsubscribe);
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.disconnect(disconnect),
            Packet::Connect(_) => Err(self.fail(Reason::PROTOCOL_ERROR, "it sent CONNECT again")),
            _ => Err(self.fail(
                Reason::PROTOCOL_ERROR,
                "it sent a packet that is not for a server, or that was not agreed on",
            )),
        }
    }

    /// The connection is given up; a client of version 5 is told the reason.
    #[cold]
    fn fail(&mut self, reason: Reason, text: &str) -> Error {
        self.parting = Some(reason);
        Error::new(
            Code::Protocol,
            format!("the client broke the protocol: {text}"),
        )
    }

    #[cold]
    fn violated(&mut self, error: &DecodeError, version: Version, packet: &[u8]) -> Error {
        let is_connect = packet.first().is_some_and(|first| first >> 4 == 1);
        self.refused = self.joined.is_none() && is_connect;
        // What is no CONNECT at all is not answered; nor, in 3.1.1, is what it has no return code for.
        let has_word = version == Version::V5 || error.reason.return_code().is_some();
        if self.joined.is_some() || (self.refused && has_word) {
            self.parting = Some(error.reason);
        }
        Error::new(
            Code::Protocol,
            format!("the client broke the protocol: {error}"),
        )
    }

    /// DISCONNECT (section 3.14).
    fn disconnect(&mut self, disconnect: &Disconnect<'_>) -> Result<(), Error> {
        let Some(joined) = &mut self.joined else {
            return Ok(());
        };
        let expiry = disconnect.properties.u32(PropertyId::SessionExpiryInterval);
        if joined.expiry == 0 && expiry.is_some_and(|expiry| expiry > 0) {
            // [MQTT-3.1.2-23] has nothing left to keep; section 3.14.2.2.2.
            return Err(self.fail(
                Reason::PROTOCOL_ERROR,
                "it wants its session to be kept only now that it leaves",
            ));
        }
        {
            let mut state = joined.session.lock();
            if joined.session.owner() == self.caller.id {
                if let Some(expiry) = expiry {
                    state.expiry = expiry.min(sessions::LONGEST);
                }
                if disconnect.reason == Reason::NORMAL_DISCONNECTION {
                    state.will = None;
                }
            }
        }
        self.leaving = true;
        Ok(())
    }

    /// The connection is over.
    fn leave(&mut self) {
        if let (Some(joined), Some(now)) = (self.joined.take(), self.now) {
            let caller = &self.caller;
            let ended = sessions::detach(&caller.broker, now, caller.id, &joined.session);
            for filter in ended {
                caller.tell(Happening::Unsubscribe, &filter);
            }
        }
    }
}

/// Delivers a message that nobody waits for an answer to, and keeps it, where it wants to be kept and there is room.
fn publish_message(broker: &Arc<Broker>, now: Instant, message: &Arc<Message>) {
    if message.retain {
        keep(broker, now, message);
    }
    broker.publish(&message.topic, || message.clone());
}

/// Retains a message. False: there is no room for it.
fn keep(broker: &Broker, now: Instant, message: &Arc<Message>) -> bool {
    let limit = broker.settings.max_retained_bytes;
    lock(&broker.mqtt.retained).store(message, now, limit)
}

/// A list of properties, of which those with a wrong value are left out: there are none.
fn list(properties: &[(PropertyId, PropertyValue<'_>)]) -> PropertyList {
    let mut list = PropertyList::new();
    for (id, value) in properties {
        let _ = list.push(*id, *value);
    }
    list
}
