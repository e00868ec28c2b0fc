//! Many frames, whatever the pieces: what it costs, and that a decoder is as new after each.

use super::*;

fn frame(headers: usize, value: usize, body: usize, measured: bool) -> Vec<u8> {
    let mut out = BytesMut::new();
    let value = "v".repeat(value);
    let headers: Vec<_> = (0..headers)
        .map(|at| (format!("header-{at}"), &value))
        .collect();
    let body = vec![b'x'; body];
    let body = if measured {
        Body::Measured(&body)
    } else {
        Body::Terminated(&body)
    };
    encode(Command::Message, &headers, body, Version::V12, &mut out).expect("encodes");
    out.to_vec()
}

#[test]
fn feeding_by_byte_is_linear() {
    for (headers, value, body, measured) in [
        (0, 0, 0, false),
        (500, 0, 0, false),
        (6, 30_000, 0, false),
        (6, 10, 100_000, false),
        (6, 10, 100_000, true),
    ] {
        let bytes = frame(headers, value, body, measured);
        let mut decoder = Decoder::new(Role::Client, Limits::default());
        decoder.set_version(Version::V12);
        for length in 0..bytes.len() {
            assert_eq!(decoder.decode(&bytes[..length]), Ok(None));
        }
        let decoded = decoder.decode(&bytes).expect("a frame");
        assert!(matches!(decoded, Some((Event::Frame(frame), length))
            if frame.body.len() == body && length == bytes.len()));
        // Each octet when it is new, and once more when its line ends.
        assert!(
            decoder.work <= 2 * bytes.len(),
            "{} of {}",
            decoder.work,
            bytes.len()
        );
        if measured {
            assert!(
                decoder.work < 1000,
                "{}: looked into a measured body",
                decoder.work
            );
        }
    }
}

#[test]
fn small_frames_are_linear() {
    let bytes = b"\n".repeat(10_000);
    let mut decoder = Decoder::new(Role::Client, LIMITS);
    let (events, end) = feed(&mut decoder, &bytes, 0..bytes.len());
    assert_eq!((events.len(), end), (10_000, Ok(())));
    let bytes = b"RECEIPT\nreceipt-id:1\n\n\0\n".repeat(1000);
    let (events, end) = feed(&mut decoder, &bytes, 0..bytes.len());
    assert_eq!((events.len(), end), (2000, Ok(())));
    assert!(decoder.work <= 2 * bytes.len(), "{}", decoder.work);
}

const RECEIPT: &[u8] = b"RECEIPT\nreceipt-id:1\n\n\0";

fn reads_a_receipt(decoder: &mut Decoder) {
    let decoded = decoder.decode(RECEIPT).expect("a frame");
    assert!(
        matches!(decoded, Some((Event::Frame(frame), 23)) if frame.command == Command::Receipt)
    );
}

#[test]
fn reset_forgets_half_a_frame() {
    for half in [
        "M",
        "MESSAGE\nfo",
        "MESSAGE\ncontent-length:500\n\nab",
        "MESSAGE\n\nabc",
        "\r",
    ] {
        let mut decoder = decoder(Role::Client, Version::V11);
        assert_eq!(decoder.decode(half.as_bytes()), Ok(None), "{half}");
        decoder.reset();
        reads_a_receipt(&mut decoder);
        assert_eq!(decoder.version(), Version::V11);
    }
}

#[test]
fn an_error_leaves_the_decoder_as_new() {
    for bad in [
        "MESSAGE\nfoo\n",
        "MESSAGE\ncontent-length:1\n\nabc",
        "SEND\n",
        "\r\r",
    ] {
        let mut decoder = decoder(Role::Client, Version::V12);
        let (_, end) = feed(&mut decoder, bad.as_bytes(), 0..bad.len());
        assert!(end.is_err(), "{bad}");
        reads_a_receipt(&mut decoder);
    }
}

#[test]
fn versions_change_between_frames() {
    let input = b"CONNECTED\nversion:1.2\n\n\0MESSAGE\na:\\c\n\n\0";
    let mut decoder = Decoder::new(Role::Client, LIMITS);
    assert_eq!(decoder.version(), Version::V10);
    let (event, length) = decoder
        .decode(input)
        .expect("a frame")
        .expect("a whole frame");
    let Event::Frame(connected) = event else {
        panic!("{event:?}");
    };
    let named = connected
        .headers
        .get("version")
        .and_then(|text| Version::from_bytes(&text));
    assert_eq!(named, Some(Version::V12));
    decoder.set_version(Version::V12);
    let (event, _) = decoder
        .decode(&input[length..])
        .expect("a frame")
        .expect("whole");
    let Event::Frame(message) = event else {
        panic!("{event:?}");
    };
    assert_eq!(message.headers.get("a").as_deref(), Some(&b":"[..]));
}

#[test]
fn names_of_versions() {
    for version in Version::ALL {
        assert_eq!(
            Version::from_bytes(version.to_string().as_bytes()),
            Some(version)
        );
    }
    for text in ["", "1", "1.3", "1.2 ", "2.0"] {
        assert_eq!(Version::from_bytes(text.as_bytes()), None);
    }
    assert!(Version::V10 < Version::V11 && Version::V11 < Version::V12);
}
