//! What the MQTT codec costs. One message of 64 bytes is the unit that the whole library is measured in.
#![allow(missing_docs)] // criterion_group! makes a public function
#![allow(clippy::expect_used)] // what is measured must have worked, and nothing here is from a network

use bytes::BytesMut;
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use mq::codec::mqtt::{
    Ack, AckKind, Decoder, Packet, Properties, PropertyId, PropertyList, PropertyValue, Publish,
    Qos, Reason, Role, Version,
};
use std::hint::black_box;

const PAYLOAD: [u8; 64] = [b'x'; 64];
const TOPIC: &str = "sensors/room7/temper";
/// How many packets one iteration handles.
const PACKETS: usize = 256;

fn publish(qos: Qos, properties: Properties<'_>) -> Publish<'_> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: TOPIC,
        packet_id: if qos == Qos::AtMostOnce { 0 } else { 7 },
        properties,
        payload: &PAYLOAD,
    }
}

fn properties() -> PropertyList {
    let mut list = PropertyList::new();
    for (id, value) in [
        (PropertyId::MessageExpiryInterval, PropertyValue::U32(60)),
        (
            PropertyId::ContentType,
            PropertyValue::Text("application/json"),
        ),
        (
            PropertyId::UserProperty,
            PropertyValue::Pair("trace", "9f8e7d6c"),
        ),
    ] {
        list.push(id, value).expect("a property");
    }
    list
}

fn ack() -> Ack<'static> {
    Ack {
        kind: AckKind::PubAck,
        packet_id: 7,
        reason: Reason::SUCCESS,
        properties: Properties::default(),
    }
}

/// Decodes all of `input` and counts payload bytes, so that nothing can be left out.
fn drain(decoder: &mut Decoder, mut input: &[u8]) -> usize {
    let mut sum = 0;
    while let Ok(Some((packet, length))) = decoder.decode(input) {
        sum += match packet {
            Packet::Publish(publish) => publish.topic.len() + publish.payload.len(),
            Packet::Ack(ack) => usize::from(ack.packet_id),
            _ => 1,
        };
        input = input.get(length..).unwrap_or_default();
    }
    sum
}

fn cases(list: &PropertyList) -> [(&'static str, Version, Packet<'_>); 5] {
    let none = Properties::default();
    let some = list.as_properties();
    let publish = |qos, properties| Packet::Publish(publish(qos, properties));
    [
        (
            "publish QoS 0, 64 bytes, 3.1.1",
            Version::V311,
            publish(Qos::AtMostOnce, none),
        ),
        (
            "publish QoS 0, 64 bytes, 5",
            Version::V5,
            publish(Qos::AtMostOnce, none),
        ),
        (
            "publish QoS 1, 64 bytes, 5",
            Version::V5,
            publish(Qos::AtLeastOnce, none),
        ),
        (
            "publish QoS 1, 64 bytes, 5, 3 properties",
            Version::V5,
            publish(Qos::AtLeastOnce, some),
        ),
        ("puback, 5", Version::V5, Packet::Ack(ack())),
    ]
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mqtt decode");
    // Per element: one packet.
    group.throughput(Throughput::Elements(PACKETS as u64));
    let list = properties();
    for (name, version, packet) in cases(&list) {
        let mut input = BytesMut::new();
        for _ in 0..PACKETS {
            packet.encode(version, &mut input).expect(name);
        }
        let mut decoder = Decoder::new(Role::Client, 1 << 20);
        decoder.set_version(version);
        group.bench_function(name, |bencher| {
            bencher.iter(|| drain(&mut decoder, black_box(&input)));
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mqtt encode");
    group.throughput(Throughput::Elements(PACKETS as u64));
    let list = properties();
    let mut out = BytesMut::with_capacity(64 << 10);
    for (name, version, packet) in cases(&list) {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                for _ in 0..PACKETS {
                    let packet = black_box(&packet);
                    let written = match packet {
                        Packet::Publish(publish) => publish.encode(version, &mut out),
                        packet => packet.encode(version, &mut out),
                    };
                    written.expect(name);
                }
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
