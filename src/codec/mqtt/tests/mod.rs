//! Tests of the MQTT codec: what they share.

mod encoding;
mod laws;
mod streams;
mod topics;
mod vectors;
mod vectors_v5;
mod violations;
mod violations_inside;

use super::*;
use bytes::BytesMut;

/// More than any packet here has.
const MAX: usize = 1 << 20;

fn decoder(role: Role, version: Version) -> Decoder {
    let mut decoder = Decoder::new(role, MAX);
    decoder.set_version(version);
    decoder
}

/// Feeds `input` up to each of `cuts` in turn, then whole. The packets, and how it ended.
fn feed<'a>(
    decoder: &mut Decoder,
    input: &'a [u8],
    cuts: impl IntoIterator<Item = usize>,
) -> (Vec<(Packet<'a>, usize)>, Result<(), DecodeError>) {
    let mut packets = Vec::new();
    let mut start = 0;
    for cut in cuts.into_iter().chain([input.len()]) {
        while start <= cut {
            match decoder.decode(&input[start..cut]) {
                Ok(None) => break,
                Ok(Some((packet, length))) => {
                    assert!(2 <= length && length <= cut - start, "took {length}");
                    packets.push((packet, length));
                    start += length;
                }
                Err(error) => return (packets, Err(error)),
            }
        }
    }
    (packets, Ok(()))
}

/// The bytes that `text` spells in hexadecimal digits; blanks between them do not matter.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text}");
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(pair, 16).expect(text)
        })
        .collect()
}

fn list(properties: &[(PropertyId, PropertyValue<'_>)]) -> PropertyList {
    let mut list = PropertyList::new();
    for (id, value) in properties {
        list.push(*id, *value).expect("a property");
    }
    list
}

/// Runs a vector four ways. `lines`: bytes in hexadecimal, and what the specification says that they are.
fn check(role: Role, version: Version, lines: &[(&str, &str)], packet: Packet<'_>) {
    let bytes = read(role, version, lines, packet.clone());
    let mut out = BytesMut::from("before");
    packet.encode(version, &mut out).expect("encodes");
    assert_eq!(
        out[6..].escape_ascii().to_string(),
        bytes.escape_ascii().to_string(),
        "{packet:?}, encoded"
    );
    assert_eq!(packet.encoded_len(version), bytes.len(), "{packet:?}");
}

/// As [`check`] for a packet that the codec reads, but writes otherwise. Its bytes.
fn read(role: Role, version: Version, lines: &[(&str, &str)], packet: Packet<'_>) -> Vec<u8> {
    let bytes: Vec<u8> = lines.iter().flat_map(|(digits, _)| hex(digits)).collect();
    let expected = vec![(packet.clone(), bytes.len())];

    let (whole, end) = feed(&mut decoder(role, version), &bytes, []);
    assert_eq!((&whole, end), (&expected, Ok(())), "whole");

    let (single, end) = feed(&mut decoder(role, version), &bytes, 0..bytes.len());
    assert_eq!((&single, end), (&expected, Ok(())), "by byte");

    for trailing in [&[0xff][..], &[0x30], &[0x30, 0xff, 0xff], &bytes] {
        let input = [&bytes, trailing].concat();
        let first = decoder(role, version).decode(&input);
        let expected = Ok(Some((packet.clone(), bytes.len())));
        assert_eq!(first, expected, "with {trailing:?}");
        let (twice, _) = feed(&mut decoder(role, version), &input, 0..bytes.len() + 1);
        assert_eq!(twice[0].0, packet, "by byte with {trailing:?}");
    }
    bytes
}
