//! MQTT, both roles and versions: a stream gives the same packets and the same error in whatever pieces it arrives, and
//! what was decoded survives being encoded.
//!
//! `make fuzz`, or `cargo +nightly fuzz run mqtt` with cargo-fuzz. The first two bytes of the input are where the rest
//! is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mq::codec::mqtt::{DecodeError, Decoder, Packet, Reason, Role, Version};

/// So small that inputs of the fuzzer reach it.
const MAX_PACKET: usize = 2048;

/// Each packet, its length, and the version that it was decoded in.
type Packets<'a> = Vec<(Packet<'a>, usize, Version)>;

/// Feeds `input` up to each of `cuts` in turn.
fn feed<'a>(
    mut decoder: Decoder,
    input: &'a [u8],
    cuts: &[usize],
) -> (Packets<'a>, Option<DecodeError>) {
    let mut packets = Vec::new();
    let mut start = 0;
    for &cut in cuts {
        while start <= cut {
            match decoder.decode(&input[start..cut]) {
                Ok(None) => break,
                Ok(Some((packet, length))) => {
                    assert!(2 <= length && length <= cut - start && length <= MAX_PACKET);
                    packets.push((packet, length, decoder.version()));
                    start += length;
                }
                Err(error) => return (packets, Some(error)),
            }
        }
    }
    (packets, None)
}

fn survives(role: Role, version: Version, packet: &Packet<'_>, length: usize) {
    // Brokers say it where they may not: it is understood there, and never said.
    if matches!(packet, Packet::Ack(ack) if ack.reason == Reason::PACKET_TOO_LARGE) {
        return;
    }
    let mut out = Default::default();
    packet.encode(version, &mut out).expect("encodes again");
    assert_eq!(out.len(), packet.encoded_len(version), "{packet:?}");
    // The input may have spelled out what can be left out, never the other way round.
    assert!(out.len() <= length || matches!(packet, Packet::ConnAck(_)), "{packet:?}");
    let mut decoder = Decoder::new(role, MAX_PACKET);
    decoder.set_version(version);
    let decoded = decoder.decode(&out);
    match &decoded {
        Ok(Some((again, taken))) => assert_eq!((again, *taken), (packet, out.len())),
        other => panic!("{packet:?} became {other:?}"),
    }
    match packet {
        Packet::Publish(publish) => {
            for (id, value) in publish.properties {
                assert!(id.allowed_in(mq::codec::mqtt::Place::Publish), "{value:?}");
            }
        }
        Packet::Connect(connect) => assert_eq!(connect.version, version),
        _ => {}
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, input)) = data.split_at_checked(2) else {
        return;
    };
    let cut = usize::from(u16::from_le_bytes([cut[0], cut[1]])) % (input.len() + 1);
    for role in [Role::Client, Role::Server] {
        for version in [Version::V311, Version::V5] {
            let mut decoder = Decoder::new(role, MAX_PACKET);
            decoder.set_version(version);
            let whole = feed(decoder.clone(), input, &[input.len()]);
            assert_eq!(whole, feed(decoder, input, &[cut, input.len()]));
            for (packet, length, version) in &whole.0 {
                survives(role, *version, packet, *length);
            }
        }
    }
});
