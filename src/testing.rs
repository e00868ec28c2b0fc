//! Both ends of a connection wired together without I/O, on a clock that only moves when told.

#![cfg_attr(not(feature = "mqtt"), allow(dead_code))] // not every protocol needs all of it

use crate::codec::resp::{encode_reply, Decoder, Frame, Limits, Reply, Version};
use crate::error::Error;
use crate::message::{unpack, Batch, Command, Meta, Publish, Record, Value};
use crate::session::Client;
use bytes::{Buf, BytesMut};
use redis_protocol::resp3::types::Resp3Frame;
use std::time::{Duration, Instant};

/// What a client is told, with the bytes that its records measure out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Message(u64, String, String),
    Answered(u64, Value),
    Failed(u64, &'static str, Option<u64>),
    State(&'static str),
}

/// The other end: bytes in, bytes out.
pub(crate) trait Peer {
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut);
}

/// A client session and its peer.
pub(crate) struct Pair<C, P> {
    pub(crate) client: C,
    pub(crate) peer: P,
    pub(crate) now: Instant,
    /// Messages that the consumer takes before the wire is paused.
    pub(crate) room: usize,
    pub(crate) online: bool,
    to_peer: BytesMut,
    to_client: BytesMut,
    told: Vec<Told>,
    /// Of each message that had one.
    pub(crate) metas: Vec<Meta>,
    /// What was said of each failure and state, where anything was.
    pub(crate) texts: Vec<String>,
    /// What else belonged to a state.
    pub(crate) details: Vec<Value>,
}

impl<C: Client, P: Peer> Pair<C, P> {
    pub(crate) fn new(client: C, peer: P) -> Self {
        Pair {
            client,
            peer,
            now: Instant::now(),
            room: usize::MAX,
            online: false,
            to_peer: BytesMut::new(),
            to_client: BytesMut::new(),
            told: Vec::new(),
            metas: Vec::new(),
            texts: Vec::new(),
            details: Vec::new(),
        }
    }

    pub(crate) fn connect(&mut self) -> &mut Self {
        let mut events = self.events();
        self.client.connected(self.now, &mut events);
        self.note(&events);
        self.online = true;
        self
    }

    /// The connection breaks; what is on the wire is gone.
    pub(crate) fn cut(&mut self, cause: &Error) -> &mut Self {
        let mut events = self.events();
        self.client.disconnected(cause, &mut events);
        self.note(&events);
        self.online = false;
        self.to_peer.clear();
        self.to_client.clear();
        self
    }

    /// Moves bytes to and fro until both ends are silent.
    pub(crate) fn settle(&mut self) -> Result<&mut Self, Error> {
        loop {
            self.transmit();
            if self.to_peer.is_empty() && self.to_client.is_empty() {
                return Ok(self);
            }
            self.peer.receive(&mut self.to_peer, &mut self.to_client);
            let before = self.to_client.len();
            self.deliver()?;
            if self.to_client.len() == before && self.to_peer.is_empty() {
                // What was written may have to be known before there is more to write.
                self.transmit();
                if self.to_peer.is_empty() {
                    return Ok(self);
                }
            }
        }
    }

    /// What the client sends from now on does not reach the peer.
    pub(crate) fn transmit_into_the_void(&mut self) {
        self.transmit();
        self.to_peer.clear();
    }

    /// What the client sends reaches the peer; the answers are on the wire.
    pub(crate) fn reach_peer(&mut self) {
        self.transmit();
        self.peer.receive(&mut self.to_peer, &mut self.to_client);
    }

    /// The peer reads nothing, and the client's buffer is full: what it sends waits there.
    pub(crate) fn transmit_only(&mut self) {
        self.transmit();
    }

    fn transmit(&mut self) {
        let mut events = self.events();
        self.client
            .poll_transmit(self.now, &mut self.to_peer, &mut events);
        self.note(&events);
    }

    /// Bytes that the peer did not send.
    pub(crate) fn inject(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.to_client.extend_from_slice(bytes);
        self.deliver()
    }

    /// Lets the client receive what is on the wire, or know that the wire is paused.
    pub(crate) fn deliver(&mut self) -> Result<(), Error> {
        let mut events = self.events();
        let outcome = self
            .client
            .receive(self.now, &mut self.to_client, &mut events);
        // One packet may be for several subscriptions.
        self.room = self.room.saturating_sub(events.messages());
        self.note(&events);
        outcome
    }

    /// Lets time pass; whatever becomes due on the way is done when it is due.
    pub(crate) fn pass(&mut self, time: Duration) -> Result<&mut Self, Error> {
        let end = self.now + time;
        while let Some(due) = self.client.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let mut events = self.events();
            let outcome = self.client.expire(self.now, &mut events);
            self.note(&events);
            outcome?;
            if self.online {
                self.transmit();
            }
        }
        self.now = end;
        Ok(self)
    }

    pub(crate) fn submit(&mut self, command: Command<'_>) -> Result<(), Error> {
        let mut events = self.events();
        let outcome = self.client.submit(self.now, command, &mut events);
        self.note(&events);
        outcome
    }

    pub(crate) fn subscribe(&mut self, ticket: u64, key: u64, pattern: &str) -> Result<(), Error> {
        self.submit(Command::Subscribe {
            ticket,
            key,
            pattern: pattern.as_bytes(),
            exact: false,
            options: &Value::Nil,
        })
    }

    pub(crate) fn publish(
        &mut self,
        ticket: Option<u64>,
        target: &str,
        payload: &str,
    ) -> Result<(), Error> {
        self.submit(Command::Publish(Publish {
            ticket,
            target: target.as_bytes(),
            payload: payload.as_bytes(),
            flags: 0,
            options: None,
        }))
    }

    pub(crate) fn terminate(&mut self, cause: &Error) {
        let mut events = self.events();
        self.client.terminate(cause, &mut events);
        self.note(&events);
    }

    /// What the client was told since the last call.
    pub(crate) fn told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    fn events(&self) -> Batch {
        Batch::for_client(1, self.room)
    }

    fn note(&mut self, events: &Batch) {
        let mut bytes = events.bytes();
        let mut cut = |len: &u32| {
            let (front, rest) = bytes.split_at(*len as usize);
            bytes = rest;
            front
        };
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let mut texts = Vec::new();
        for record in events.records() {
            if let Record::State {
                detail: Some(detail),
                ..
            } = record
            {
                self.details.push((**detail).clone());
            }
            self.told.push(match record {
                Record::Message {
                    key,
                    source,
                    payload,
                }
                | Record::RichMessage {
                    key,
                    source,
                    payload,
                    ..
                } => {
                    let (source, payload) = (text(cut(source)), text(cut(payload)));
                    if let Record::RichMessage { meta, .. } = record {
                        let headers = cut(&meta.headers);
                        self.metas.push(readable(meta, headers));
                    }
                    Told::Message(*key, source, payload)
                }
                Record::Answered { ticket, detail } => Told::Answered(*ticket, detail.clone()),
                Record::Failed {
                    ticket,
                    code,
                    text: len,
                    count,
                } => {
                    texts.push(text(cut(len)));
                    Told::Failed(*ticket, code.as_str(), *count)
                }
                Record::State {
                    state, text: len, ..
                } => {
                    texts.push(text(cut(len)));
                    Told::State(state.as_str())
                }
            });
        }
        self.texts
            .extend(texts.into_iter().filter(|text| !text.is_empty()));
    }
}

/// With headers where a test can look at them.
fn readable(meta: &Meta, mut headers: &[u8]) -> Meta {
    let mut entries = Vec::new();
    while let Some((name, value)) = unpack(&mut headers) {
        entries.push((name.to_vec(), Value::Bytes(value.to_vec())));
    }
    match entries.is_empty() {
        true => meta.clone(),
        false => Meta {
            extra: Some(Box::new(Value::Map(entries))),
            ..meta.clone()
        },
    }
}

/// As much of a Redis server as a client's session can tell apart from one: the handshake, login,
/// subscriptions of one connection, and PUBLISH that reaches them.
pub(crate) struct RedisServer {
    decoder: Decoder,
    pub(crate) password: Option<&'static str>,
    pub(crate) knows_hello: bool,
    /// Commands of this name get this error.
    pub(crate) refuses: Option<(&'static str, &'static str)>,
    pub(crate) version: Version,
    pub(crate) subscribed: Vec<Vec<u8>>,
    /// Every command, its words joined by spaces.
    pub(crate) log: Vec<String>,
    logged_in: bool,
}

impl RedisServer {
    pub(crate) fn new() -> Self {
        RedisServer {
            decoder: Decoder::commands(Limits::default()),
            password: None,
            knows_hello: true,
            refuses: None,
            version: Version::Resp2,
            subscribed: Vec::new(),
            log: Vec::new(),
            logged_in: false,
        }
    }

    /// The server's end of a new connection.
    pub(crate) fn reset(&mut self) {
        self.decoder.reset();
        self.version = Version::Resp2;
        self.subscribed.clear();
        self.log.clear();
        self.logged_in = false;
    }

    fn answer(&mut self, words: &[Vec<u8>], out: &mut BytesMut) {
        let name = words.first().map_or(String::new(), |word| {
            String::from_utf8_lossy(word).to_uppercase()
        });
        let word = |at: usize| words.get(at).map_or(&b""[..], Vec::as_slice);
        if let Some((refused, error)) = self.refuses {
            if refused == name {
                return self.say(simple_error(error), out);
            }
        }
        match name.as_str() {
            "HELLO" if !self.knows_hello => {
                self.say(simple_error("ERR unknown command 'HELLO'"), out);
            }
            "HELLO" => match (self.password, words.len()) {
                (Some(_), 2) => {
                    self.say(simple_error("NOAUTH HELLO must be called with AUTH"), out)
                }
                (Some(password), _) if word(4) != password.as_bytes() => {
                    self.say(
                        simple_error("WRONGPASS invalid username-password pair"),
                        out,
                    );
                }
                _ => {
                    self.version = Version::Resp3;
                    self.logged_in = true;
                    self.say(
                        Reply::Array {
                            data: vec![
                                bulk(b"proto"),
                                Reply::Number {
                                    data: 3,
                                    attributes: None,
                                },
                            ],
                            attributes: None,
                        },
                        out,
                    );
                }
            },
            "AUTH" if self.password.map(str::as_bytes) != words.last().map(Vec::as_slice) => {
                self.say(
                    simple_error("WRONGPASS invalid username-password pair"),
                    out,
                );
            }
            "AUTH" | "SELECT" => {
                self.logged_in = true;
                out.extend_from_slice(b"+OK\r\n");
            }
            "PING" => out.extend_from_slice(b"+PONG\r\n"),
            "PSUBSCRIBE" | "PUNSUBSCRIBE" => {
                let ends = name == "PUNSUBSCRIBE";
                self.subscribed.retain(|known| !ends || known != word(1));
                if !ends {
                    self.subscribed.push(word(1).to_vec());
                }
                let count = Reply::Number {
                    data: self.subscribed.len() as i64,
                    attributes: None,
                };
                let kind = name.to_lowercase();
                self.push(vec![bulk(kind.as_bytes()), bulk(word(1)), count], out);
            }
            "PUBLISH" => {
                let matching: Vec<_> = self
                    .subscribed
                    .iter()
                    .filter(|pattern| matches(pattern, word(1)))
                    .cloned()
                    .collect();
                for pattern in &matching {
                    let words = [b"pmessage", &pattern[..], word(1), word(2)];
                    self.push(words.iter().map(|word| bulk(word)).collect(), out);
                }
                out.extend_from_slice(format!(":{}\r\n", matching.len()).as_bytes());
            }
            _ => self.say(simple_error("ERR unknown command"), out),
        }
    }

    fn push(&self, data: Vec<Reply>, out: &mut BytesMut) {
        self.say(
            match self.version {
                Version::Resp3 => Reply::Push {
                    data,
                    attributes: None,
                },
                Version::Resp2 => Reply::Array {
                    data,
                    attributes: None,
                },
            },
            out,
        );
    }

    fn say(&self, reply: Reply, out: &mut BytesMut) {
        encode_reply(out, self.version, &reply).expect("a reply that this version has");
    }
}

impl Peer for RedisServer {
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) {
        while let Some((frame, used)) = self.decoder.decode(input).expect("a command") {
            let Frame::Reply(Reply::Array { data, .. }) = frame else {
                panic!("not a command: {frame:?}");
            };
            let words: Vec<Vec<u8>> = data
                .iter()
                .map(|word| word.as_bytes().expect("a bulk string").to_vec())
                .collect();
            input.advance(used);
            self.log
                .push(String::from_utf8_lossy(&words.join(&b' ')).into_owned());
            self.answer(&words, out);
        }
    }
}

fn bulk(bytes: &[u8]) -> Reply {
    Reply::BlobString {
        data: bytes.to_vec().into(),
        attributes: None,
    }
}

fn simple_error(text: &str) -> Reply {
    Reply::SimpleError {
        data: text.into(),
        attributes: None,
    }
}

/// Enough of a glob: a star at the end.
fn matches(pattern: &[u8], channel: &[u8]) -> bool {
    match pattern.strip_suffix(b"*") {
        Some(prefix) => channel.starts_with(prefix),
        None => pattern == channel,
    }
}
