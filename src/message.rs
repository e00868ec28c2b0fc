//! The neutral vocabulary between the binding and the client sessions of all protocols: commands
//! go down, a [`Batch`] of events comes up. Knows no protocol and no Lua.

use crate::error::{Code, Error};
use std::time::Duration;

/// Names a command that waits for its answer; chosen by the caller, unique per port, never 0.
pub type Ticket = u64;

/// Names a subscription; chosen by the caller, unique per port, never 0.
pub type Key = u64;

/// What a program can ask of a client, borrowing what the session copies into its own buffers.
#[derive(Debug)]
pub enum Command<'a> {
    /// Send one message.
    Publish(Publish<'a>),
    /// Receive what matches `pattern`, until [`Command::Unsubscribe`], across reconnects.
    Subscribe {
        /// Answered once the broker has confirmed.
        ticket: Ticket,
        /// Marks each message of this subscription.
        key: Key,
        /// A channel, a pattern, a topic filter or a destination.
        pattern: &'a [u8],
        /// `pattern` is a name, not a pattern (Redis SUBSCRIBE).
        exact: bool,
        /// The protocol's own options.
        options: &'a Value,
    },
    /// End a subscription; no message of it follows the answer.
    Unsubscribe {
        /// Answered once the broker has confirmed.
        ticket: Ticket,
        /// The subscription.
        key: Key,
    },
    /// Answer once every post so far has its own answer.
    Flush {
        /// Fails with the number of posts that failed since the last flush.
        ticket: Ticket,
    },
    /// Take nothing more, send what is queued, then say good-bye.
    Close {
        /// Fails where something could not be sent.
        ticket: Ticket,
    },
    /// Tell the broker how a message fared. Never answered; one of a session that is over is
    /// ignored.
    Acknowledge {
        /// As the message's record names it.
        id: u64,
        /// How it fared.
        verdict: Verdict,
    },
    /// What only one protocol knows.
    Custom {
        /// Answered as the protocol says.
        ticket: Ticket,
        /// Which of them.
        verb: &'a [u8],
        /// What it needs.
        options: &'a Value,
    },
}

/// How a message fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has been dealt with.
    Accept,
    /// It could not be dealt with.
    Reject,
}

/// One message on its way out.
#[derive(Debug)]
pub struct Publish<'a> {
    /// None for a post: nobody waits, a later flush counts it.
    pub ticket: Option<Ticket>,
    /// Channel, topic or destination.
    pub target: &'a [u8],
    /// Any bytes.
    pub payload: &'a [u8],
    /// The protocol's own small options (MQTT: QoS and retain), 0 where none are given.
    pub flags: u32,
    /// The protocol's own larger options (headers, properties).
    pub options: Option<&'a Value>,
}

/// A tree of plain values: options on their way down, headers and properties on their way up.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing.
    #[default]
    Nil,
    /// A truth value.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A sequence.
    List(Vec<Value>),
    /// Keys and values, in the order given.
    Map(Vec<(Vec<u8>, Value)>),
}

impl Value {
    /// The member `name` of a map; [`Value::Nil`] where there is none.
    pub fn member(&self, name: &str) -> &Value {
        const NIL: &Value = &Value::Nil;
        match self {
            Value::Map(entries) => entries
                .iter()
                .find(|(key, _)| key == name.as_bytes())
                .map_or(NIL, |(_, value)| value),
            _ => NIL,
        }
    }

    /// The bytes of a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a string that is UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        self.as_bytes().and_then(|b| std::str::from_utf8(b).ok())
    }

    /// The truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The whole number; a float without a fraction counts, since Lua 5.1 knows no other kind.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(n) => Some(*n),
            Value::Number(n) if n.fract() == 0.0 && n.abs() < 9.0e15 => Some(*n as i64),
            _ => None,
        }
    }

    /// A size or a count.
    pub fn as_size(&self) -> Option<usize> {
        self.as_integer().and_then(|n| usize::try_from(n).ok())
    }

    /// A time in seconds; what is longer than 100 years counts as 100 years.
    pub fn as_seconds(&self) -> Option<Duration> {
        const CENTURY: f64 = 3.2e9;
        let seconds = match self {
            Value::Integer(n) => *n as f64,
            Value::Number(n) => *n,
            _ => return None,
        };
        (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(CENTURY)))
    }
}

/// Where a client stands; each change is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The broker has accepted the handshake.
    Connected,
    /// The connection broke, or a try to make one failed; the driver tries again.
    Lost,
    /// No more tries: every ticket has been answered with the error.
    Failed,
    /// Closed as asked.
    Closed,
    /// The outbound queue, full before, has room again.
    Room,
    /// Queued messages were dropped by the overflow policy.
    Dropped,
    /// This connection cannot subscribe and publish at once: the caller opens a second client for
    /// its subscriptions. The session has forgotten them, tickets included.
    Split,
    /// The broker refused to renew the subscription named by the number; it is gone.
    Unsubscribed,
    /// The broker asks for something before it lets the client in; the detail is the question.
    Challenge,
    /// Something has happened at a broker of this program; the detail is what.
    Notice,
}

impl State {
    /// The name that the Lua layer sees.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Connected => "connected",
            State::Lost => "lost",
            State::Failed => "failed",
            State::Closed => "closed",
            State::Room => "room",
            State::Dropped => "dropped",
            State::Split => "split",
            State::Unsubscribed => "unsubscribed",
            State::Challenge => "challenge",
            State::Notice => "notice",
        }
    }
}

/// One event; the bytes it speaks of follow each other in the batch's arena.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// `source` bytes of source, then `payload` bytes of payload.
    Message {
        /// The subscription.
        key: Key,
        /// Length of the source.
        source: u32,
        /// Length of the payload.
        payload: u32,
    },
    /// A message with what only some protocols carry; [`Meta::headers`] follow its payload.
    RichMessage {
        /// The subscription.
        key: Key,
        /// Length of the source.
        source: u32,
        /// Length of the payload.
        payload: u32,
        /// The rest.
        meta: Meta,
    },
    /// A command succeeded.
    Answered {
        /// The command.
        ticket: Ticket,
        /// The broker's answer, where it says more than yes.
        detail: Value,
    },
    /// A command failed.
    Failed {
        /// The command.
        ticket: Ticket,
        /// Why.
        code: Code,
        /// Length of the error text.
        text: u32,
        /// How many, where several failed together.
        count: Option<u64>,
    },
    /// The client changed its state.
    State {
        /// Which client of the port.
        client: u32,
        /// The new state.
        state: State,
        /// The reason's code, where there is a reason.
        code: Option<Code>,
        /// Length of the reason's text.
        text: u32,
        /// A number that belongs to the state.
        number: f64,
        /// What else belongs to it, in place of the number.
        detail: Option<Box<Value>>,
    },
}

/// What a message carries beyond source and payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// The protocol's own bits (MQTT: QoS, retain, dup).
    pub flags: u32,
    /// What an acknowledgement names; 0 where none is expected.
    pub id: u64,
    /// Length of the headers, which the arena holds packed: see [`unpack`].
    pub headers: u32,
    /// They are handed over as they are, to be unpacked when somebody looks at them.
    pub packed: bool,
    /// Properties, where they are no mere names and values; boxed to keep a record small.
    pub extra: Option<Box<Value>>,
}

/// Bytes of a packed header besides its name and value: the lengths of both.
const PACKED: usize = 8;

/// Appends one header to a packed list.
#[inline]
pub fn pack(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.reserve(PACKED + name.len() + value.len());
    out.extend_from_slice(&(name.len() as u32).to_ne_bytes());
    out.extend_from_slice(&(value.len() as u32).to_ne_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}

/// Takes the first header, its name and value, off a packed list.
#[inline]
pub fn unpack<'a>(packed: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (name, rest) = packed.split_first_chunk()?;
    let (value, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(u32::from_ne_bytes(*name) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_ne_bytes(*value) as usize)?;
    *packed = rest;
    Some((name, value))
}

/// Events in order: a byte arena and a list of records, so that a message costs no allocation.
///
/// `room` says how many more messages the consumer takes: a session that finds it 0 leaves the
/// rest of its input unread ([`crate::session::Session::receive`]).
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    client: u32,
    messages: usize,
    room: usize,
}

/// An arena that grew beyond this is given back once it is empty.
const KEEP: usize = 1 << 20;

impl Batch {
    /// An empty batch for the events of the client `client`, taking up to `room` messages.
    pub fn for_client(client: u32, room: usize) -> Self {
        Batch {
            client,
            room,
            ..Batch::default()
        }
    }

    /// Uses an emptied batch again.
    pub fn reuse(&mut self, client: u32, room: usize) {
        self.clear();
        self.client = client;
        self.room = room;
    }

    /// Whether the consumer takes no further message now.
    pub fn is_full(&self) -> bool {
        self.room == 0
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many of the events are messages.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes of sources, payloads and texts.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a message. Only call it when the batch is not full.
    pub fn push_message(&mut self, key: Key, source: &[u8], payload: &[u8]) {
        self.bytes.extend_from_slice(source);
        self.bytes.extend_from_slice(payload);
        self.records.push(Record::Message {
            key,
            source: source.len() as u32,
            payload: payload.len() as u32,
        });
        self.messages += 1;
        self.room = self.room.saturating_sub(1);
    }

    /// Appends a message with flags, id and headers.
    pub fn push_rich(&mut self, key: Key, source: &[u8], payload: &[u8], meta: Meta) {
        self.push_message(key, source, payload);
        if let Some(last) = self.records.last_mut() {
            *last = Record::RichMessage {
                key,
                source: source.len() as u32,
                payload: payload.len() as u32,
                meta,
            };
        }
    }

    /// Appends a message with packed headers, whose length `meta` need not know.
    #[inline]
    pub fn push_with_headers(
        &mut self,
        key: Key,
        source: &[u8],
        payload: &[u8],
        meta: Meta,
        headers: &[u8],
    ) {
        let headers_len = headers.len() as u32;
        let meta = Meta {
            headers: headers_len,
            ..meta
        };
        self.push_rich(key, source, payload, meta);
        self.bytes.extend_from_slice(headers);
    }

    /// The command succeeded.
    pub fn answer(&mut self, ticket: Ticket, detail: Value) {
        self.records.push(Record::Answered { ticket, detail });
    }

    /// The command failed.
    pub fn fail(&mut self, ticket: Ticket, error: &Error) {
        self.fail_counted(ticket, error, None);
    }

    /// The command failed, with a count of what failed.
    pub fn fail_counted(&mut self, ticket: Ticket, error: &Error, count: Option<u64>) {
        self.bytes.extend_from_slice(error.text.as_bytes());
        self.records.push(Record::Failed {
            ticket,
            code: error.code,
            text: error.text.len() as u32,
            count,
        });
    }

    /// The client is in a new state.
    pub fn state(&mut self, state: State, cause: Option<&Error>, number: f64) {
        self.push_state(state, cause, number, None);
    }

    /// The client is in a new state, of which there is more to tell.
    pub fn state_with(&mut self, state: State, detail: Value) {
        self.push_state(state, None, 0.0, Some(Box::new(detail)));
    }

    fn push_state(
        &mut self,
        state: State,
        cause: Option<&Error>,
        number: f64,
        detail: Option<Box<Value>>,
    ) {
        let text = cause.map_or("", |error| error.text.as_str());
        self.bytes.extend_from_slice(text.as_bytes());
        self.records.push(Record::State {
            client: self.client,
            state,
            code: cause.map(|error| error.code),
            text: text.len() as u32,
            number,
            detail,
        });
    }

    /// Moves all events of `other` behind those of `self`; `other` is empty afterwards.
    pub fn append(&mut self, other: &mut Batch) {
        if self.records.is_empty() {
            std::mem::swap(&mut self.bytes, &mut other.bytes);
            std::mem::swap(&mut self.records, &mut other.records);
        } else {
            self.bytes.extend_from_slice(&other.bytes);
            self.records.append(&mut other.records);
        }
        self.messages += other.messages;
        other.clear();
    }

    /// Forgets all events, and an arena that had grown large.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
        if self.records.capacity() > KEEP / size_of::<Record>() {
            self.records = Vec::new();
        }
        self.bytes.clear();
        self.records.clear();
        self.messages = 0;
    }

    /// The records, for a reader that keeps its own place.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The arena that the records measure out, in their order.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
