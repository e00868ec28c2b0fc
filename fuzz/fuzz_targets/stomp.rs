//! STOMP, both roles and all versions: a stream gives the same events and the same error in whatever pieces it arrives,
//! no frame exceeds the limits, and what was decoded survives being encoded.
//!
//! `make fuzz`, or `cargo +nightly fuzz run stomp` with cargo-fuzz. The first two bytes of the input are where the rest
//! is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mq::codec::stomp::{
    Body, DecodeError, Decoder, EncodeError, Event, Frame, FrameBuilder, Limits, Role, Version,
};

/// So small that inputs of the fuzzer reach them.
const LIMITS: Limits = Limits {
    max_headers: 5,
    max_header_line: 40,
    max_body: 60,
};

type Events<'a> = Vec<(Event<'a>, usize)>;

/// Feeds `input` up to each of `cuts` in turn.
fn feed<'a>(
    mut decoder: Decoder,
    input: &'a [u8],
    cuts: &[usize],
) -> (Events<'a>, Option<DecodeError>) {
    let mut events = Vec::new();
    let mut start = 0;
    for &cut in cuts {
        while start <= cut {
            match decoder.decode(&input[start..cut]) {
                Ok(None) => break,
                Ok(Some((event, length))) => {
                    assert!(0 < length && length <= cut - start);
                    events.push((event, length));
                    start += length;
                }
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

fn survives(role: Role, version: Version, frame: &Frame<'_>) {
    assert!(frame.headers.iter().count() <= LIMITS.max_headers);
    assert!(frame.body.len() <= LIMITS.max_body);
    let measured = frame.headers.get("content-length").is_some();
    let body = match measured || !frame.command.has_body() {
        true => Body::Measured(frame.body),
        false => Body::Terminated(frame.body),
    };
    if !frame.command.has_body() && !frame.body.is_empty() {
        assert_eq!(version, Version::V10, "{frame:?}");
        return;
    }
    let mut out = Default::default();
    let mut builder = FrameBuilder::new(frame.command, version, &mut out).expect("exists");
    for (name, value) in frame.headers {
        assert_eq!(
            frame.headers.get(&name),
            frame
                .headers
                .iter()
                .find_map(|(other, value)| (other == name).then_some(value))
        );
        if *name == b"content-length"[..] {
            continue;
        }
        match builder.header(&name, &value) {
            Ok(_) => {}
            // These are read, but not written.
            Err(EncodeError::Octet {
                octet: 0 | b'\r', ..
            }) => return,
            Err(error) => panic!("{frame:?}: {error}"),
        }
    }
    builder.finish(body).expect("encodes again");
    // Colons that ought to have been escaped make it longer.
    let mut decoder = Decoder::new(role, Limits::default());
    decoder.set_version(version);
    let (again, length) = decoder.decode(&out).expect("decodes").expect("whole");
    assert_eq!(length, out.len());
    let Event::Frame(again) = again else {
        panic!("{frame:?} became {again:?}");
    };
    let headers = |frame: &Frame<'_>| {
        let headers = frame
            .headers
            .iter()
            .map(|(name, value)| (name.into_owned(), value.into_owned()));
        headers
            .filter(|(name, _)| name != b"content-length")
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (again.command, again.body, headers(&again)),
        (frame.command, frame.body, headers(frame))
    );
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, input)) = data.split_at_checked(2) else {
        return;
    };
    let cut = usize::from(u16::from_le_bytes([cut[0], cut[1]])) % (input.len() + 1);
    for role in [Role::Client, Role::Server] {
        for version in Version::ALL {
            let mut decoder = Decoder::new(role, LIMITS);
            decoder.set_version(version);
            let whole = feed(decoder.clone(), input, &[input.len()]);
            assert_eq!(whole, feed(decoder.clone(), input, &[cut, input.len()]));
            let single: Vec<_> = (0..=input.len()).collect();
            assert_eq!(whole, feed(decoder, input, &single));
            for (event, _) in &whole.0 {
                if let Event::Frame(frame) = event {
                    survives(role, version, frame);
                }
            }
        }
    }
});
