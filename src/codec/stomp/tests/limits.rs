//! What a peer may not do to us: announce or drip-feed more than the limits allow.

use super::*;
use Version::V12;

fn error(limits: Limits, version: Version, input: &[u8]) -> Option<DecodeError> {
    let mut decoder = Decoder::new(Role::Server, limits);
    decoder.set_version(version);
    let (_, whole) = feed(&mut decoder.clone(), input, []);
    let (_, single) = feed(&mut decoder, input, 0..input.len());
    assert_eq!(whole, single, "{}", input.escape_ascii());
    whole.err()
}

const SMALL: Limits = Limits {
    max_headers: 2,
    max_header_line: 20,
    max_body: 4,
};

const SEND: Command = Command::Send;

#[test]
fn headers_are_counted() {
    for version in Version::ALL {
        assert_eq!(error(SMALL, version, b"SEND\na:1\na:2\n\n\0"), None);
        let found = error(SMALL, version, b"SEND\na:1\na:2\na:3\n");
        assert_eq!(
            found,
            Some(DecodeError::TooManyHeaders {
                command: SEND,
                limit: 2
            })
        );
    }
    let none = Limits {
        max_headers: 0,
        ..SMALL
    };
    assert_eq!(error(none, V12, b"SEND\n\n\0"), None);
    assert!(error(none, V12, b"SEND\na:1\n").is_some());
}

#[test]
fn lines_are_bounded_before_they_end() {
    let too_long = Some(DecodeError::LineTooLong {
        command: SEND,
        limit: 20,
    });
    for version in Version::ALL {
        for end in ["\n", "\r\n"] {
            let start = format!("SEND{end}");
            // As long as the limit: with the line end or without it.
            let header = format!("{start}a:{}", "x".repeat(18));
            assert_eq!(error(SMALL, version, header.as_bytes()), None);
            assert_eq!(
                error(SMALL, version, format!("{header}{end}{end}\0").as_bytes()),
                None
            );
            for more in ["x", "\\n", "xxxxxxxx", ":"] {
                for end in ["", end] {
                    let input = format!("{header}{more}{end}");
                    assert_eq!(error(SMALL, version, input.as_bytes()), too_long, "{input}");
                }
            }
        }
        let colonless = format!("SEND\n{}", "x".repeat(21));
        assert_eq!(error(SMALL, version, colonless.as_bytes()), too_long);
    }
    let header = format!("SEND\na:{}", "x".repeat(18));
    for returns in ["\r\r", "\r\r\n", "\rx"] {
        assert_eq!(
            error(SMALL, V12, format!("{header}{returns}").as_bytes()),
            too_long
        );
    }
}

#[test]
fn a_long_body_is_refused_when_it_is_announced() {
    for (announced, value) in [
        ("5", 5),
        ("18446744073709551615", u64::MAX),
        ("99999999999999999999999", u64::MAX),
    ] {
        for version in Version::ALL {
            let input = format!("SEND\ncontent-length:{announced}\n");
            let limits = Limits {
                max_header_line: 100,
                ..SMALL
            };
            let expected = DecodeError::BodyTooLarge {
                command: SEND,
                announced: Some(value),
                limit: 4,
            };
            assert_eq!(error(limits, version, input.as_bytes()), Some(expected));
        }
    }
    let vast = Limits {
        max_body: usize::MAX,
        max_header_line: 100,
        ..SMALL
    };
    let input = format!("SEND\ncontent-length:{}\n\nabc", usize::MAX);
    assert_eq!(error(vast, V12, input.as_bytes()), None);
    assert_eq!(error(vast, V12, b"SEND\n\nabc\0"), None);
}

#[test]
fn a_body_without_a_length_is_bounded() {
    for version in Version::ALL {
        assert_eq!(error(SMALL, version, b"SEND\n\nabcd\0"), None);
        assert_eq!(
            error(SMALL, version, b"SEND\ncontent-length:4\n\nabcd\0"),
            None
        );
        for input in [
            &b"SEND\n\nabcde"[..],
            b"SEND\n\nabcde\0",
            b"SEND\n\nabcdefgh\0",
        ] {
            let expected = DecodeError::BodyTooLarge {
                command: SEND,
                announced: None,
                limit: 4,
            };
            assert_eq!(error(SMALL, version, input), Some(expected));
        }
    }
}

#[test]
fn messages_name_the_limit() {
    for (input, text) in [
        (
            &b"SEND\na:1\na:2\na:3\n"[..],
            "SEND has more headers than the limit, 2",
        ),
        (
            b"SEND\na:xxxxxxxxxxxxxxxxxxx",
            "a header of SEND is longer than the limit, 20 bytes",
        ),
        (
            b"SEND\ncontent-length:5\n",
            "SEND announces a body of 5 bytes, the limit is 4",
        ),
        (
            b"SEND\n\nabcde",
            "the body of SEND is longer than the limit, 4 bytes",
        ),
    ] {
        assert_eq!(
            error(SMALL, V12, input)
                .map(|error| error.to_string())
                .as_deref(),
            Some(text)
        );
    }
}
