//! RESP2 and RESP3: bytes ⇄ frames, for clients and servers of Redis.
//!
//! Pub/sub frames, integers and `+OK` are read by `push` straight from the slice, without an allocation; every other
//! frame is measured by `scan` against the [`Limits`] and, once it is whole, decoded by the `redis-protocol` crate in
//! `mend`. This file joins the two. It must not know what a frame means to a session, who
//! sent it, nor when.

mod command;
mod encode;
mod error;
mod mend;
mod push;
pub mod reply;
mod scan;
#[cfg(test)]
mod tests;

pub use command::{Arguments, CommandDecoder, CommandError};
pub use encode::{encode_command, encode_publish, encode_reply, Version};
pub use error::{DecodeError, EncodeError, Excerpt};
pub use redis_protocol::resp3::types::BytesFrame as Reply;

use push::{Fast, Stop};
use scan::{Scan, Scanner};

/// What a peer may send. Checked when a length is announced, before anything is allocated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame in bytes, its headers and attributes included. Also what a decoded reply may take in
    /// memory, roughly: it bounds the number of elements, which cost far more than their bytes on the wire.
    pub max_frame: usize,
    /// How many aggregates (attributes included) may be open within each other. Decoding recurses that deep.
    pub max_depth: usize,
}

impl Default for Limits {
    /// 64 MiB; 16 levels (`COMMAND DOCS`, the deepest reply of Redis itself, takes about 8).
    fn default() -> Self {
        Self {
            max_frame: 64 << 20,
            max_depth: 16,
        }
    }
}

/// One frame. What can be borrowed from the input is.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame<'a> {
    /// A message or a confirmation of a subscription; RESP3 push or RESP2 array.
    Push(Push<'a>),
    /// `:1`, such as PUBLISH's number of receivers.
    Integer(i64),
    /// `+OK`.
    Ok,
    /// Everything else, unknown kinds of push (`Reply::Push`) and errors included. Nulls of both versions are
    /// `Reply::Null`; attributes are dropped; sets and maps with aggregates as keys become a flat `Reply::Array`. Which
    /// value a map keeps for a key that comes twice is left to chance.
    Reply(Reply),
}

impl<'a> From<Fast<'a>> for Frame<'a> {
    #[inline]
    fn from(fast: Fast<'a>) -> Self {
        match fast {
            Fast::Push(push) => Self::Push(push),
            Fast::Integer(value) => Self::Integer(value),
            Fast::Ok => Self::Ok,
        }
    }
}

/// Which command made a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// SUBSCRIBE.
    Exact,
    /// PSUBSCRIBE.
    Pattern,
}

/// A pub/sub frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push<'a> {
    /// `message`: to a channel subscribed with SUBSCRIBE.
    Message {
        /// The channel it was published to.
        channel: &'a [u8],
        /// The message.
        payload: &'a [u8],
    },
    /// `pmessage`: to a channel that a PSUBSCRIBE pattern matches.
    PatternMessage {
        /// The pattern, as it was subscribed.
        pattern: &'a [u8],
        /// The channel it was published to.
        channel: &'a [u8],
        /// The message.
        payload: &'a [u8],
    },
    /// `subscribe` or `psubscribe`: the server's confirmation.
    Subscribed {
        /// Which of the two.
        kind: Channel,
        /// The channel or pattern.
        name: &'a [u8],
        /// How many channels and patterns this connection is subscribed to now.
        count: i64,
    },
    /// `unsubscribe` or `punsubscribe`: the server's confirmation.
    Unsubscribed {
        /// Which of the two.
        kind: Channel,
        /// The channel or pattern; `None` answers an UNSUBSCRIBE from everything when there was nothing.
        name: Option<&'a [u8]>,
        /// How many channels and patterns this connection is still subscribed to.
        count: i64,
    },
    /// `["pong", …]`: the answer to PING of a RESP2 connection that has subscriptions.
    Pong,
}

/// Cuts a stream of bytes into frames. One per connection.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// Whether an array may be a pub/sub frame.
    arrays: bool,
    /// Attributes in front of the frame; they are skipped.
    skipped: usize,
    /// The input must be this long before looking at it again makes sense; 0 at the start of a frame.
    need: usize,
    /// The frame is the scanner's, and begun.
    scanning: bool,
    scanner: Scanner,
}

impl Decoder {
    /// A decoder for what a server sends.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            arrays: true,
            skipped: 0,
            need: 0,
            scanning: false,
            scanner: Scanner::default(),
        }
    }

    /// A decoder for what a client sends: arrays are never taken for pub/sub frames, so that a command named
    /// `message` arrives as the [`Reply::Array`] that it is.
    pub fn commands(limits: Limits) -> Self {
        Self {
            arrays: false,
            ..Self::new(limits)
        }
    }

    /// Forgets a frame of which only the front was seen. For a new connection.
    pub fn reset(&mut self) {
        self.skipped = 0;
        self.need = 0;
        self.scanning = false;
    }

    /// Decodes the frame at the front of `input`, and tells how many bytes it took; advance by that many.
    ///
    /// `None`: the frame is incomplete. Call again with the same bytes and more behind them; what was scanned is
    /// not scanned again. After an error, give the connection up (the decoder itself is as new).
    #[inline(always)]
    pub fn decode<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Option<(Frame<'a>, usize)>, DecodeError> {
        if self.need == 0 {
            // The hot path: a frame that is whole when it is first seen touches no state.
            if let Ok((frame, length)) = push::decode(input, self.limits.max_frame, self.arrays) {
                return Ok(Some((frame.into(), length)));
            }
        } else if input.len() < self.need {
            return Ok(None);
        }
        self.resume(input)
    }

    /// A frame that is not of the fast path, or was incomplete before.
    #[inline(never)]
    fn resume<'a>(&mut self, input: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, DecodeError> {
        let decoded = self.advance(input);
        if !matches!(decoded, Ok(None)) {
            self.reset();
        }
        decoded
    }

    fn advance<'a>(&mut self, input: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, DecodeError> {
        loop {
            if !self.scanning {
                // `skipped` bytes of this input were scanned, so it has them, and the limit was held.
                let frame = input.get(self.skipped..).unwrap_or_default();
                let max_frame = self.limits.max_frame.saturating_sub(self.skipped);
                match push::decode(frame, max_frame, self.arrays) {
                    Ok((frame, length)) => return Ok(Some((frame.into(), self.skipped + length))),
                    Err(Stop::Need(need)) => {
                        self.need = self.skipped.saturating_add(need);
                        return Ok(None);
                    }
                    Err(Stop::Other) => {
                        self.scanning = true;
                        self.scanner.begin(self.skipped);
                    }
                }
            }
            match self.scanner.scan(input, &self.limits)? {
                Scan::Need(need) => {
                    self.need = need;
                    return Ok(None);
                }
                Scan::Attribute(end) => {
                    self.skipped = end;
                    self.scanning = false;
                }
                Scan::Frame(end) => {
                    let frame = match self.scanner.take(input, end)? {
                        Reply::Number { data, .. } => Frame::Integer(data), // with leading zeros
                        reply => Frame::Reply(reply),
                    };
                    return Ok(Some((frame, end)));
                }
            }
        }
    }
}
