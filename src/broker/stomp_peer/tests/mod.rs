//! Connections of one broker, without I/O, on a clock that moves when told. In frames, `^` is NUL.

mod clients;
mod frames;
mod hostile;
mod queues;
mod transactions;

use crate::broker::testing::{accept, Rung};
use crate::broker::{Bell, Broker, Flow, Peer, Protocol, Settings};
use crate::error::{Code, Error};
use bytes::BytesMut;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

struct Wire {
    peer: Box<dyn Peer>,
    rung: Arc<Rung>,
    input: BytesMut,
    flow: Flow,
    now: Instant,
}

impl Wire {
    /// Before CONNECT.
    fn bare(broker: &Arc<Broker>) -> Self {
        let (peer, rung) = accept(broker, Protocol::Stomp);
        let mut wire = Wire {
            peer,
            rung,
            input: BytesMut::new(),
            flow: Flow::default(),
            now: Instant::now(),
        };
        wire.peer.connected(wire.now, &mut wire.flow);
        wire
    }

    /// Connected in this version.
    fn speaking(broker: &Arc<Broker>, version: &str) -> Self {
        let mut wire = Wire::bare(broker);
        let told = wire.say(&format!("CONNECT\naccept-version:{version}\nhost:/\n\n^"));
        assert!(told.starts_with("CONNECTED\n"), "{told}");
        wire
    }

    fn new(broker: &Arc<Broker>) -> Self {
        Wire::speaking(broker, "1.2")
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.input.extend_from_slice(bytes);
        self.peer.receive(self.now, &mut self.input, &mut self.flow)
    }

    /// What it writes next.
    fn bytes(&mut self) -> BytesMut {
        let mut out = BytesMut::new();
        self.peer.poll_transmit(self.now, &mut out, &mut self.flow);
        out
    }

    /// All that it has to say.
    fn told(&mut self) -> String {
        let mut all = Vec::new();
        loop {
            let bytes = self.bytes();
            if bytes.is_empty() {
                return readable(&all);
            }
            all.extend_from_slice(&bytes);
        }
    }

    /// Sends frames; what comes back.
    fn say(&mut self, frames: &str) -> String {
        self.receive(frames.replace('^', "\0").as_bytes())
            .expect("the connection goes on");
        self.told()
    }

    /// Sends what ends the connection: the error, and the last words.
    fn fail(&mut self, frames: &str) -> (Code, String) {
        let bytes = frames.replace('^', "\0");
        let error = self
            .receive(bytes.as_bytes())
            .expect_err("the connection ends");
        (error.code, self.farewell())
    }

    fn farewell(&mut self) -> String {
        let mut out = BytesMut::new();
        self.peer.farewell(&mut out);
        readable(&out)
    }

    /// Lets time pass, with what is due on the way; what is said meanwhile.
    fn pass(&mut self, time: Duration) -> Result<String, Error> {
        let end = self.now + time;
        let mut said = String::new();
        while let Some(due) = self.peer.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.peer.expire(self.now, &mut self.flow)?;
            said.push_str(&self.told());
        }
        self.now = end;
        Ok(said)
    }

    fn end(mut self) {
        let cause = Error::lost("gone");
        self.peer.disconnected(&cause, &mut self.flow);
    }

    fn is_rung(&self) -> bool {
        self.rung.0.swap(false, Ordering::Relaxed)
    }
}

fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "^")
}

fn broker() -> Arc<Broker> {
    Broker::new(Settings::default())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn send(destination: &str, body: &str) -> String {
    format!("SEND\ndestination:{destination}\n\n{body}^")
}

fn subscribe(id: &str, destination: &str, ack: &str) -> String {
    format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\nack:{ack}\n\n^")
}

/// The bodies of messages, in their order; `*` behind one that came before.
fn bodies(told: &str) -> Vec<String> {
    let frames = told.split('^').map(|frame| frame.trim_start_matches('\n'));
    let messages = frames.filter(|frame| frame.starts_with("MESSAGE\n"));
    messages
        .map(|frame| {
            let (head, body) = frame.split_once("\n\n").expect("a head");
            let again = head.contains("\nredelivered:true\n");
            format!("{body}{}", if again { "*" } else { "" })
        })
        .collect()
}

/// The values of a header, in their order.
fn values(told: &str, name: &str) -> Vec<String> {
    let start = format!("{name}:");
    let lines = told.lines().filter_map(|line| line.strip_prefix(&start));
    lines.map(str::to_owned).collect()
}

/// The names of messages, as ACK gives them.
fn acks(told: &str) -> Vec<String> {
    values(told, "ack")
}

fn ack(name: &str) -> String {
    format!("ACK\nid:{name}\n\n^")
}

fn nack(name: &str) -> String {
    format!("NACK\nid:{name}\n\n^")
}
