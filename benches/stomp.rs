//! What the STOMP codec costs. One message of 64 bytes is the unit that the whole library is measured in.
#![allow(missing_docs)] // criterion_group! makes a public function
#![allow(clippy::expect_used)] // what is measured must have worked, and nothing here is from a network

use bytes::BytesMut;
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use mq::codec::stomp::{encode, Body, Command, Decoder, Event, Limits, Role, Version};
use std::hint::black_box;

const BODY: [u8; 64] = [b'x'; 64];
/// How many frames one iteration handles.
const FRAMES: usize = 256;

type Headers = &'static [(&'static str, &'static str)];

/// What RabbitMQ puts into a MESSAGE; with `content-length` there are six.
const MESSAGE: Headers = &[
    ("subscription", "1"),
    ("destination", "/queue/sensors.room7"),
    ("message-id", "T_1@@session-Ab3dE6gH9kLm@@4711"),
    ("redelivered", "false"),
    ("content-type", "text/plain"),
];

const ESCAPED: Headers = &[
    ("subscription", "1"),
    ("destination", "/queue/sensors.room7"),
    ("message-id", "ID:host-40213-1700000000000-3:1:2:1:4711"),
    ("redelivered", "false"),
    ("content-type", "text/plain"),
];

const SEND: Headers = &[("destination", "/queue/sensors.room7"), ("receipt", "4711")];

struct Case {
    name: &'static str,
    role: Role,
    command: Command,
    headers: Headers,
    body: Body<'static>,
}

fn cases() -> [Case; 5] {
    let message = |name, headers, body| Case {
        name,
        role: Role::Client,
        command: Command::Message,
        headers,
        body,
    };
    [
        message(
            "message, 64 bytes, 6 headers",
            MESSAGE,
            Body::Measured(&BODY),
        ),
        message(
            "message, 64 bytes, 6 headers, escaped",
            ESCAPED,
            Body::Measured(&BODY),
        ),
        message(
            "message, 64 bytes, 5 headers, no length",
            MESSAGE,
            Body::Terminated(&BODY),
        ),
        Case {
            name: "send, 64 bytes, 3 headers",
            role: Role::Server,
            command: Command::Send,
            headers: SEND,
            body: Body::Measured(&BODY),
        },
        Case {
            name: "receipt",
            role: Role::Client,
            command: Command::Receipt,
            headers: &[("receipt-id", "4711")],
            body: Body::NONE,
        },
    ]
}

/// The frames of one iteration, one behind the other.
fn input(case: &Case) -> BytesMut {
    let mut input = BytesMut::new();
    for _ in 0..FRAMES {
        encode(
            case.command,
            case.headers,
            case.body,
            Version::V12,
            &mut input,
        )
        .expect(case.name);
    }
    input
}

fn decoder(role: Role) -> Decoder {
    let mut decoder = Decoder::new(role, Limits::default());
    decoder.set_version(Version::V12);
    decoder
}

/// Decodes all of `input`, hands each frame to `look`, and sums up what it returns, so that nothing can be left out.
fn drain(
    decoder: &mut Decoder,
    mut input: &[u8],
    look: impl Fn(&mq::codec::stomp::Frame<'_>) -> usize,
) -> usize {
    let mut sum = 0;
    while let Ok(Some((event, length))) = decoder.decode(input) {
        sum += match event {
            Event::Frame(frame) => look(&frame),
            Event::HeartBeat => 1,
        };
        input = input.get(length..).unwrap_or_default();
    }
    sum
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stomp decode");
    // Per element: one frame.
    group.throughput(Throughput::Elements(FRAMES as u64));
    for case in cases() {
        let input = input(&case);
        let mut decoder = decoder(case.role);
        group.bench_function(case.name, |bencher| {
            bencher.iter(|| drain(&mut decoder, black_box(&input), |frame| frame.body.len()));
        });
        group.bench_function(format!("{}, all read", case.name), |bencher| {
            bencher.iter(|| {
                drain(&mut decoder, black_box(&input), |frame| {
                    let headers = frame.headers.iter();
                    headers
                        .map(|(name, value)| name.len() + value.len())
                        .sum::<usize>()
                })
            });
        });
    }
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stomp encode");
    group.throughput(Throughput::Elements(FRAMES as u64));
    let mut out = BytesMut::with_capacity(256 << 10);
    for case in cases() {
        group.bench_function(case.name, |bencher| {
            bencher.iter(|| {
                out.clear();
                for _ in 0..FRAMES {
                    let (headers, body) = black_box((case.headers, case.body));
                    encode(case.command, headers, body, Version::V12, &mut out).expect(case.name);
                }
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, encoding);
criterion_main!(benches);
