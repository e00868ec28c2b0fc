//! Tests of the STOMP codec: what they share.

mod encoding;
mod laws;
mod limits;
mod streams;
mod vectors;
mod vectors_escapes;
mod violations;

use super::*;
use bytes::BytesMut;

/// Far below the defaults, so that tests reach them; more than any other test needs.
const LIMITS: Limits = Limits {
    max_headers: 12,
    max_header_line: 200,
    max_body: 1 << 20,
};

fn decoder(role: Role, version: Version) -> Decoder {
    let mut decoder = Decoder::new(role, LIMITS);
    decoder.set_version(version);
    decoder
}

/// Feeds `input` up to each of `cuts` in turn, then whole. The events, and how it ended.
fn feed<'a>(
    decoder: &mut Decoder,
    input: &'a [u8],
    cuts: impl IntoIterator<Item = usize>,
) -> (Vec<(Event<'a>, usize)>, Result<(), DecodeError>) {
    let mut events = Vec::new();
    let mut start = 0;
    for cut in cuts.into_iter().chain([input.len()]) {
        while start <= cut {
            match decoder.decode(&input[start..cut]) {
                Ok(None) => break,
                Ok(Some((event, length))) => {
                    assert!(0 < length && length <= cut - start, "took {length}");
                    events.push((event, length));
                    start += length;
                }
                Err(error) => return (events, Err(error)),
            }
        }
    }
    (events, Ok(()))
}

/// What a frame is expected to be: names and values as they are without escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected<'a> {
    command: Command,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
}

fn assert_frame(event: Event<'_>, expected: Expected<'_>, how: &str) {
    let Event::Frame(frame) = event else {
        panic!("{how}: {event:?} in place of {expected:?}");
    };
    let headers: Vec<_> = frame
        .headers
        .iter()
        .map(|(name, value)| [name, value].map(|text| text.escape_ascii().to_string()))
        .collect();
    let wanted: Vec<_> = expected
        .headers
        .iter()
        .map(|(name, value)| [name, value].map(|text| text.as_bytes().escape_ascii().to_string()))
        .collect();
    assert_eq!(
        (
            frame.command,
            headers,
            frame.body.escape_ascii().to_string()
        ),
        (
            expected.command,
            wanted,
            expected.body.escape_ascii().to_string()
        ),
        "{how}"
    );
}

/// Runs a vector four ways. `lines`: bytes, and what the specification says that they are. The headers are those that
/// are read; `content-length` is not among those that are given to the encoder, and has to be the last.
fn check(version: Version, lines: &[(&str, &str)], expected: Expected<'_>) {
    let bytes = read(version, lines, expected);
    let mut given = expected.headers.to_vec();
    let measured = given
        .last()
        .is_some_and(|(name, _)| *name == "content-length");
    if measured {
        given.pop();
    }
    let body = match measured || !expected.command.has_body() {
        true => Body::Measured(expected.body),
        false => Body::Terminated(expected.body),
    };
    let mut out = BytesMut::from("before");
    encode(expected.command, &given, body, version, &mut out).expect("encodes");
    assert_eq!(
        out[6..].escape_ascii().to_string(),
        bytes.escape_ascii().to_string(),
        "{expected:?}, encoded"
    );
}

/// As [`check`] for a frame that the codec reads, but writes otherwise. Its bytes.
fn read(version: Version, lines: &[(&str, &str)], expected: Expected<'_>) -> Vec<u8> {
    let bytes: Vec<u8> = lines.iter().flat_map(|(text, _)| text.bytes()).collect();
    let role = expected.command.reader();

    for (how, cuts) in [("whole", 0..0), ("by byte", 0..bytes.len())] {
        let (events, end) = feed(&mut decoder(role, version), &bytes, cuts);
        assert_eq!((events.len(), end), (1, Ok(())), "{how}: {expected:?}");
        let (event, length) = events[0];
        assert_frame(event, expected, how);
        assert_eq!(length, bytes.len(), "{how}");
    }

    for trailing in [&b"\n"[..], b"\r", b"\0", b"\xff", b"SEND", &bytes] {
        let input = [&bytes, trailing].concat();
        let (event, length) = decoder(role, version)
            .decode(&input)
            .expect("a frame")
            .expect("a whole frame");
        assert_frame(event, expected, "with trailing data");
        assert_eq!(length, bytes.len(), "with {trailing:?}");
        let (twice, _) = feed(&mut decoder(role, version), &input, 0..bytes.len() + 1);
        assert_frame(twice[0].0, expected, "by byte with trailing data");
    }
    bytes
}
