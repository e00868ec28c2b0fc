//! The embedded broker's MQTT peer: whatever three clients send, and in whatever pieces, it does not panic, what it says
//! is MQTT, and when they are gone nothing is left of their subscriptions.
//!
//! `make fuzz`. The input is a row of acts: which client, how many bytes, the bytes.
#![no_main]

use bytes::{Buf, BytesMut};
use libfuzzer_sys::fuzz_target;
use mq::broker::{Bell, Broker, Flow, Peer, Protocol, Settings};
use mq::codec::mqtt::{Decoder, Role, Version};
use mq::error::Error;
use mq::session::Session;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

struct Silent;

impl Bell for Silent {
    fn ring(&self) {}
}

/// So small that inputs of the fuzzer reach them.
const MAX_PACKET: usize = 2048;
const MAX_QUEUE: usize = 4096;

/// What each client begins with: versions, and whether its session is kept.
const CONNECTS: [(Version, &[u8]); 3] = [
    (
        Version::V311,
        b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x3c\x00\x01a",
    ),
    (
        Version::V5,
        b"\x10\x13\x00\x04MQTT\x05\x00\x00\x3c\x05\x11\x00\x00\x01\x00\x00\x01b",
    ),
    (
        Version::V5,
        b"\x10\x14\x00\x04MQTT\x05\x02\x00\x3c\x06\x21\x00\x02\x22\x00\x01\x00\x01c",
    ),
];

struct Wire {
    peer: Box<dyn Peer>,
    input: BytesMut,
    flow: Flow,
    version: Version,
}

impl Wire {
    fn new(broker: &Arc<Broker>, which: usize, now: Instant) -> Self {
        let (version, connect) = CONNECTS[which];
        let bell: Weak<dyn Bell> = Weak::<Silent>::new();
        let mut wire = Wire {
            peer: broker.accept(Protocol::Mqtt, "", "", bell),
            input: BytesMut::from(connect),
            flow: Flow::default(),
            version,
        };
        wire.peer.connected(now, &mut wire.flow);
        wire.receive(now).expect("it is let in");
        wire.read(now);
        wire
    }

    fn receive(&mut self, now: Instant) -> Result<(), Error> {
        self.peer.receive(now, &mut self.input, &mut self.flow)?;
        match self.peer.deadline() {
            Some(at) if at <= now => self.peer.expire(now, &mut self.flow),
            _ => Ok(()),
        }
    }

    fn read(&mut self, now: Instant) {
        let mut out = BytesMut::new();
        self.peer.poll_transmit(now, &mut out, &mut self.flow);
        self.understand(out);
    }

    fn understand(&self, mut out: BytesMut) {
        let mut decoder = Decoder::new(Role::Client, usize::MAX);
        decoder.set_version(self.version);
        while let Some((_, length)) = decoder.decode(&out).expect("a client understands it") {
            out.advance(length);
        }
        assert!(out.is_empty(), "half a packet");
    }

    fn end(mut self) {
        let mut out = BytesMut::new();
        self.peer.farewell(&mut out);
        self.understand(out);
        self.peer.disconnected(&Error::lost("gone"), &mut self.flow);
    }
}

fuzz_target!(|input: &[u8]| {
    let broker = Broker::new(Settings {
        max_packet: MAX_PACKET,
        max_queue_bytes: MAX_QUEUE,
        max_retained_bytes: MAX_QUEUE,
        ..Settings::default()
    });
    let mut now = Instant::now();
    let mut wires: Vec<_> = (0..CONNECTS.len())
        .map(|which| Some(Wire::new(&broker, which, now)))
        .collect();
    let mut rest = input;
    while let [act, length, tail @ ..] = rest {
        let (bytes, behind) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = behind;
        let which = usize::from(act % 3);
        let Some(mut wire) = wires[which].take() else {
            continue;
        };
        wire.input.extend_from_slice(bytes);
        let outcome = wire.receive(now);
        // Some read late.
        if act & 0x10 == 0 {
            wire.read(now);
        }
        if act & 0x20 != 0 {
            now += Duration::from_secs(u64::from(*length));
            broker.expire(now);
        }
        if outcome.is_err() || wire.peer.finished() {
            wire.end();
            broker.expire(now);
            wire = Wire::new(&broker, which, now);
        }
        wires[which] = Some(wire);
    }
    wires.into_iter().flatten().for_each(Wire::end);
    broker.expire(now);
    broker.expire(now + Duration::from_secs(10_000_000));
    let counters = broker.counters();
    assert_eq!(
        counters
            .subscriptions
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
});
