//! The session against a server's end, on a clock that only moves when told. Each file has one
//! side of it; this one has what they share.

mod acknowledgements;
mod handshake;
mod hostile;
mod laws;
mod outbound;
mod queue;
mod server;
mod subscriptions;
mod suspects;
mod timers;
mod transactions;

use super::*;
use crate::codec::stomp::Command as Word;
use crate::message::{Value, Verdict};
use crate::testing::{Pair, Peer, Told};
use server::Server;
use std::time::Duration;

type Wired = Pair<Stomp, Server>;
type Outcome = Result<(), Error>;

const CONNECTED: Told = Told::State("connected");

/// The flags of a publish.
const NO_RECEIPT: u32 = 1;
const RECEIPT: u32 = 3;

fn map(entries: &[(&str, Value)]) -> Value {
    let entries = entries.iter();
    let entries = entries.map(|(name, value)| (name.as_bytes().to_vec(), value.clone()));
    Value::Map(entries.collect())
}

fn options(entries: &[(&str, Value)]) -> Options {
    Options::parse(&map(entries)).expect("valid options")
}

fn speaking(version: Version, entries: &[(&str, Value)]) -> Wired {
    Pair::new(Stomp::new(options(entries)), Server::new(version))
}

fn wired(entries: &[(&str, Value)]) -> Wired {
    speaking(Version::V12, entries)
}

/// Every version, with these options.
fn all(entries: &[(&str, Value)]) -> [Wired; 3] {
    Version::ALL.map(|version| speaking(version, entries))
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
        self.details.clear();
    }

    /// What the server saw since the last call.
    fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.peer.log)
    }

    fn lose(&mut self) {
        self.lose_because(&Error::lost("gone"));
    }

    fn lose_because(&mut self, cause: &Error) {
        self.cut(cause);
        self.peer.reset();
    }

    fn again(&mut self) -> Result<&mut Self, Error> {
        self.lose();
        self.connect().settle()
    }

    /// The server ends the connection with an ERROR; the session goes on with the next one.
    fn after_error(&mut self) -> Result<Error, Error> {
        let error = self.error();
        self.lose_because(&error);
        self.connect();
        Ok(error)
    }

    /// The program sends a message.
    fn emit(&mut self, ticket: Option<u64>, flags: u32, target: &str, payload: &str) -> Outcome {
        self.emit_with(ticket, flags, (target, payload), None)
    }

    fn emit_with(
        &mut self,
        ticket: Option<u64>,
        flags: u32,
        (target, payload): (&str, &str),
        options: Option<&Value>,
    ) -> Outcome {
        let publish = Publish {
            ticket,
            target: target.as_bytes(),
            payload: payload.as_bytes(),
            flags,
            options,
        };
        (self.client.checker())(&publish)?;
        self.submit(Command::Publish(publish))
    }

    fn subscribe_with(&mut self, key: u64, target: &str, options: &[(&str, Value)]) -> Outcome {
        self.submit(Command::Subscribe {
            ticket: key,
            key,
            pattern: target.as_bytes(),
            exact: false,
            options: &map(options),
        })
    }

    fn command(&mut self, ticket: u64, verb: &str, options: &[(&str, Value)]) -> Outcome {
        self.submit(Command::Custom {
            ticket,
            verb: verb.as_bytes(),
            options: &map(options),
        })
    }

    fn settles(&mut self, id: u64, verdict: Verdict) -> Outcome {
        self.submit(Command::Acknowledge { id, verdict })?;
        self.settle().map(drop)
    }

    fn unsubscribe(&mut self, ticket: u64, key: u64) -> Outcome {
        self.submit(Command::Unsubscribe { ticket, key })?;
        self.settle().map(drop)
    }

    /// The server sends a frame.
    fn hears(&mut self, word: Word, headers: &[(&str, &str)], body: &str) -> Outcome {
        let mut bytes = BytesMut::new();
        self.peer.say(word, headers, body, &mut bytes);
        self.inject(&bytes)?;
        self.settle().map(drop)
    }

    /// The server sends a message that is named `name` to the subscription `id`.
    fn arrives(&mut self, id: &str, name: &str, payload: &str) -> Outcome {
        self.arrives_with(id, name, payload, &[])
    }

    fn arrives_with(
        &mut self,
        id: &str,
        name: &str,
        payload: &str,
        more: &[(&str, &str)],
    ) -> Outcome {
        let ack = format!("a-{name}");
        let mut headers = vec![
            ("subscription", id),
            ("destination", "/queue/q"),
            ("message-id", name),
        ];
        if self.peer.manners.version == Version::V12 {
            headers.push(("ack", &ack));
        }
        headers.extend(more);
        self.hears(Word::Message, &headers, payload)
    }

    /// What the program names the messages so far by.
    fn ids(&mut self) -> Vec<u64> {
        let metas = std::mem::take(&mut self.metas);
        metas.iter().map(|meta| meta.id).collect()
    }

    fn error(&mut self) -> Error {
        self.settle().err().expect("an error")
    }
}
