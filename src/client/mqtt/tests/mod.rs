//! The session against a server's end, on a clock that only moves when told. Each file has one
//! side of it; this one has what they share.

mod handshake;
mod hostile;
mod inbound;
mod outbound;
mod properties;
mod queue;
mod resumption;
mod server;
mod subscriptions;
mod timers;

use super::*;
use crate::codec::mqtt::{Ack, AckKind, Packet, Properties, PropertyId, PropertyValue, Qos};
use crate::message::Verdict;
use crate::testing::{Pair, Peer, Told};
use server::Server;

type Wired = Pair<Mqtt, Server>;
type Outcome = Result<(), Error>;

const CONNECTED: Told = Told::State("connected");

/// The flags of a publish.
const RETAIN: u32 = 4;
const HAS_QOS: u32 = 8;

fn options(entries: &[(&str, Value)]) -> Options {
    let entries = entries
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.clone()))
        .collect();
    Options::parse(&Value::Map(entries)).expect("valid options")
}

fn wired(entries: &[(&str, Value)]) -> Wired {
    Pair::new(Mqtt::new(options(entries)), Server::new())
}

/// Both versions, with these options.
fn both(entries: &[(&str, Value)]) -> [Wired; 2] {
    let old = [entries, &[("version", text("3.1.1"))]].concat();
    [wired(entries), wired(&old)]
}

/// A session that outlives its process, in both versions.
fn persistent(entries: &[(&str, Value)]) -> [Wired; 2] {
    let kept = [("clean", Value::Boolean(false)), ("client_id", text("me"))];
    both(&[entries, &kept].concat())
}

fn text(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

fn number(number: i64) -> Value {
    Value::Integer(number)
}

fn done(ticket: u64) -> Told {
    Told::Answered(ticket, Value::Nil)
}

fn failed(ticket: u64, code: &'static str) -> Told {
    Told::Failed(ticket, code, None)
}

fn message(key: u64, source: &str, payload: &str) -> Told {
    Told::Message(key, source.into(), payload.into())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Wired {
    /// Connected, and what was said until then forgotten.
    fn ready(mut self) -> Result<Self, Error> {
        self.connect().settle()?;
        self.forget();
        Ok(self)
    }

    /// What was told and logged so far is of no interest.
    fn forget(&mut self) {
        self.told();
        self.log();
        self.texts.clear();
        self.metas.clear();
    }

    /// What the server saw since the last call.
    fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.peer.log)
    }

    fn lose(&mut self) {
        self.cut(&Error::lost("gone"));
        self.peer.reset();
    }

    fn again(&mut self) -> Result<&mut Self, Error> {
        self.lose();
        self.connect().settle()
    }

    /// The program sends a message.
    fn emit(&mut self, ticket: Option<u64>, qos: u32, topic: &str, payload: &str) -> Outcome {
        self.submit(Command::Publish(Publish {
            ticket,
            target: topic.as_bytes(),
            payload: payload.as_bytes(),
            flags: HAS_QOS | qos,
            options: None,
        }))
    }

    fn subscribe_with(&mut self, key: u64, filter: &str, options: &[(&str, Value)]) -> Outcome {
        let entries = options.iter();
        let entries = entries.map(|(name, value)| (name.as_bytes().to_vec(), value.clone()));
        self.submit(Command::Subscribe {
            ticket: key,
            key,
            pattern: filter.as_bytes(),
            exact: false,
            options: &Value::Map(entries.collect()),
        })
    }

    /// The server sends a message.
    fn arrives(&mut self, qos: Qos, topic: &str, payload: &str) -> Outcome {
        let mut bytes = BytesMut::new();
        self.peer.publish(qos, topic, payload, &mut bytes);
        self.inject(&bytes)?;
        self.settle().map(drop)
    }

    /// The server sends a packet.
    fn hears(&mut self, packet: &Packet<'_>) -> Outcome {
        let mut bytes = BytesMut::new();
        self.peer.say(packet, &mut bytes);
        self.inject(&bytes)?;
        self.settle().map(drop)
    }

    /// The program has dealt with the messages so far, the first one first.
    fn acknowledge(&mut self, verdict: Verdict) -> Outcome {
        for meta in std::mem::take(&mut self.metas) {
            let id = meta.id;
            self.submit(Command::Acknowledge { id, verdict })?;
        }
        self.settle().map(drop)
    }

    /// The last words on a connection that has failed, as the server sees them.
    fn last_words(&mut self) -> Vec<String> {
        let mut out = BytesMut::new();
        self.log();
        self.client.farewell(&mut out);
        self.peer.receive(&mut out, &mut BytesMut::new());
        self.log()
    }

    /// Time passes on a connection that works.
    fn live(&mut self, time: u64) -> Outcome {
        for _ in 0..time {
            self.pass(seconds(1))?.settle()?;
        }
        Ok(())
    }

    fn error(&mut self) -> Error {
        self.settle().err().expect("an error")
    }
}

/// An acknowledgement that says yes.
fn ack(kind: AckKind, packet_id: u16) -> Packet<'static> {
    let (reason, properties) = (Reason::SUCCESS, Properties::default());
    Packet::Ack(Ack {
        kind,
        packet_id,
        reason,
        properties,
    })
}
