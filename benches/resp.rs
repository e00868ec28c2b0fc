//! What the RESP codec costs. One message of 64 bytes is the unit that the whole library is measured in.
#![allow(missing_docs)] // criterion_group! makes a public function

use bytes::BytesMut;
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use mq::codec::resp::{encode_command, encode_publish, Decoder, Frame, Limits, Push};
use std::hint::black_box;

const PAYLOAD: [u8; 64] = [b'x'; 64];

const HELLO: &[u8] = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$5\r\nproto\r\n:3\r\n\
    $2\r\nid\r\n:12\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";

fn pmessage(header: &str, payload: &[u8]) -> Vec<u8> {
    let mut frame = format!(
        "{header}\r\n$8\r\npmessage\r\n$9\r\n/user/9/*\r\n$10\r\n/user/9/ad\r\n${}\r\n",
        payload.len()
    )
    .into_bytes();
    frame.extend_from_slice(payload);
    frame.extend_from_slice(b"\r\n");
    frame
}

/// Decodes all of `input` and counts payload bytes, so that nothing can be left out.
fn drain(decoder: &mut Decoder, mut input: &[u8]) -> usize {
    let mut sum = 0;
    while let Ok(Some((frame, length))) = decoder.decode(input) {
        sum += match frame {
            Frame::Push(Push::PatternMessage {
                channel, payload, ..
            }) => channel.len() + payload.len(),
            Frame::Integer(value) => value as usize,
            _ => 1,
        };
        input = input.get(length..).unwrap_or_default();
    }
    sum
}

fn decode(criterion: &mut Criterion) {
    const FRAMES: usize = 256;
    let mut group = criterion.benchmark_group("decode");
    let cases = [
        ("pmessage push, 64 bytes", pmessage(">4", &PAYLOAD)),
        ("pmessage array, 64 bytes", pmessage("*4", &PAYLOAD)),
        ("integer", b":1\r\n".to_vec()),
        ("OK", b"+OK\r\n".to_vec()),
        ("map (HELLO, through redis-protocol)", HELLO.to_vec()),
    ];
    for (name, frame) in cases {
        let input = frame.repeat(FRAMES);
        let mut decoder = Decoder::new(Limits::default());
        // Per element: one frame.
        group.throughput(Throughput::Elements(FRAMES as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| drain(&mut decoder, black_box(&input)));
        });
    }

    let input = pmessage(">4", &vec![b'x'; 8 << 20]);
    let mut decoder = Decoder::new(Limits::default());
    group.throughput(Throughput::Bytes(input.len() as u64));
    group.bench_function("pmessage push, 8 MiB in reads of 16 KiB", |bencher| {
        bencher.iter(|| {
            (0..input.len())
                .step_by(16 << 10)
                .chain([input.len()])
                .map(|read| drain(&mut decoder, black_box(&input[..read])))
                .sum::<usize>()
        });
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    const COMMANDS: usize = 256;
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(COMMANDS as u64));
    let mut out = BytesMut::with_capacity(64 << 10);
    group.bench_function("publish, 64 bytes", |bencher| {
        bencher.iter(|| {
            out.clear();
            for _ in 0..COMMANDS {
                encode_publish(&mut out, black_box(b"/user/9/ad"), black_box(&PAYLOAD));
            }
            out.len()
        });
    });
    group.bench_function("command, 3 parts", |bencher| {
        bencher.iter(|| {
            out.clear();
            for _ in 0..COMMANDS {
                encode_command(
                    &mut out,
                    black_box(&[b"PUBLISH", b"/user/9/ad", &PAYLOAD[..]]),
                );
            }
            out.len()
        });
    });
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
