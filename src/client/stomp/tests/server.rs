//! As much of a STOMP server as a client's session can tell apart from one.

use super::*;
use crate::codec::stomp::{encode, Body, Command as Word, Decoder, Event, Frame, Limits, Role};

/// What a server says first.
#[derive(Clone, Debug)]
pub(super) struct Manners {
    pub(super) version: Version,
    /// The `server` header.
    pub(super) name: &'static str,
    pub(super) heart_beat: &'static str,
    /// In place of CONNECTED: an ERROR's message and body.
    pub(super) refuses: Option<(&'static str, &'static str)>,
}

pub(super) struct Server {
    decoder: Decoder,
    pub(super) manners: Manners,
    connected: bool,
    /// Frames that get no receipt.
    pub(super) silent: Vec<Word>,
    /// A body or a destination that is not taken, and whether the ERROR says which receipt it is
    /// about.
    pub(super) poison: Option<(&'static str, bool)>,
    /// It has sent an ERROR: nothing is read any more.
    pub(super) gone: bool,
    /// Every frame, as [`line`] has it.
    pub(super) log: Vec<String>,
    /// Bodies of messages that were taken, those of transactions once these are committed.
    pub(super) got: Vec<String>,
    held: Vec<(String, String)>,
    /// Receipts that wait for [`Server::release`].
    pub(super) withholds: bool,
    pub(super) withheld: Vec<String>,
    beats: usize,
}

impl Server {
    pub(super) fn new(version: Version) -> Self {
        Server {
            decoder: Decoder::new(Role::Server, Limits::default()),
            manners: Manners {
                version,
                name: "Test/1",
                heart_beat: "0,0",
                refuses: None,
            },
            connected: false,
            silent: Vec::new(),
            poison: None,
            gone: false,
            log: Vec::new(),
            got: Vec::new(),
            held: Vec::new(),
            withholds: false,
            withheld: Vec::new(),
            beats: 0,
        }
    }

    /// The server's end of a new connection.
    pub(super) fn reset(&mut self) {
        self.decoder = Decoder::new(Role::Server, Limits::default());
        self.connected = false;
        self.gone = false;
        self.log.clear();
        self.held.clear();
        self.withheld.clear();
    }

    /// How many heart-beats have come since the last call.
    pub(super) fn beats(&mut self) -> usize {
        std::mem::take(&mut self.beats)
    }

    pub(super) fn say(&self, word: Word, headers: &[(&str, &str)], body: &str, out: &mut BytesMut) {
        let body = Body::Measured(body.as_bytes());
        let version = self.manners.version;
        encode(word, headers, body, version, out).expect("a frame that this version has");
    }

    pub(super) fn receipt(&self, id: &str, out: &mut BytesMut) {
        self.say(Word::Receipt, &[("receipt-id", id)], "", out);
    }

    fn answer(&mut self, frame: &Frame<'_>, out: &mut BytesMut) {
        let get = |name: &str| {
            let value = frame.headers.get(name)?;
            Some(String::from_utf8_lossy(&value).into_owned())
        };
        let body = String::from_utf8_lossy(frame.body).into_owned();
        self.log.push(line(frame));
        if frame.command == Word::Connect {
            self.connect(out);
            return;
        }
        let receipt = get("receipt");
        let destination = get("destination").unwrap_or_default();
        if let Some((poison, names)) = self.poison {
            if body == poison || destination == poison {
                let mut headers = vec![("message", "not_found")];
                match &receipt {
                    Some(id) if names => headers.push(("receipt-id", id)),
                    _ => {}
                }
                self.say(Word::Error, &headers, "no such thing\n", out);
                self.gone = true;
                return;
            }
        }
        let transaction = get("transaction");
        match (frame.command, transaction) {
            (Word::Send, Some(transaction)) => self.held.push((transaction, body)),
            (Word::Send, None) => self.got.push(body),
            (Word::Commit, Some(transaction)) => {
                let held = std::mem::take(&mut self.held);
                for (name, body) in held {
                    match name == transaction {
                        true => self.got.push(body),
                        false => self.held.push((name, body)),
                    }
                }
            }
            _ => {}
        }
        if let Some(id) = receipt {
            if self.withholds {
                self.withheld.push(id);
            } else if !self.silent.contains(&frame.command) {
                self.receipt(&id, out);
            }
        }
    }

    fn connect(&mut self, out: &mut BytesMut) {
        let manners = self.manners.clone();
        if let Some((message, body)) = manners.refuses {
            self.say(Word::Error, &[("message", message)], body, out);
            self.gone = true;
            return;
        }
        self.connected = true;
        self.decoder.set_version(manners.version);
        let mut headers = vec![("server", manners.name), ("session", "s-1")];
        if manners.version != Version::V10 {
            headers.push(("version", manners.version.as_str()));
            headers.push(("heart-beat", manners.heart_beat));
        }
        self.say(Word::Connected, &headers, "", out);
    }
}

impl Peer for Server {
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) {
        let bytes = std::mem::take(input);
        let mut rest = &bytes[..];
        while !self.gone {
            let Some((event, used)) = self.decoder.decode(rest).expect("a frame") else {
                input.extend_from_slice(rest);
                return;
            };
            rest = &rest[used..];
            match event {
                Event::Frame(frame) => self.answer(&frame, out),
                Event::HeartBeat => self.beats += 1,
            }
        }
    }
}

/// A frame on one line, its headers in the order of the wire.
fn line(frame: &Frame<'_>) -> String {
    let mut line = frame.command.to_string();
    for (name, value) in frame.headers {
        if &*name != b"content-length" {
            line.push(' ');
            line.push_str(&String::from_utf8_lossy(&name));
            line.push('=');
            line.push_str(&String::from_utf8_lossy(&value));
        }
    }
    if !frame.body.is_empty() {
        line.push_str(" | ");
        line.push_str(&String::from_utf8_lossy(frame.body));
    }
    line
}
