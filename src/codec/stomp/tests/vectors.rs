//! Every command, byte for byte, with the sections that say so. `vectors_escapes` has what versions spell differently.

use super::*;
use Version::{V10, V11, V12};

/// A vector that is the same in all versions that have its command.
fn check_all(lines: &[(&str, &str)], expected: Expected<'_>) {
    for version in Version::ALL {
        if expected.command.exists_in(version) {
            check(version, lines, expected);
        }
    }
}

#[test]
fn connect() {
    for (command, line) in [(Command::Connect, "CONNECT\n"), (Command::Stomp, "STOMP\n")] {
        check_all(
            &[
                (line, "CONNECT or STOMP Frame"),
                ("accept-version:1.0,1.1,1.2\n", "Protocol Negotiation"),
                ("host:stomp.example\n", "CONNECT or STOMP Frame: host"),
                ("login:guest\n", "login"),
                (
                    "passcode:a:b\\c\n",
                    "Value Encoding: CONNECT does not escape",
                ),
                ("heart-beat:0,10000\n", "Heart-beating"),
                ("\n", "STOMP Frames: a blank line ends the headers"),
                ("\0", "Body: it has none; STOMP Frames: NULL ends the frame"),
            ],
            Expected {
                command,
                headers: &[
                    ("accept-version", "1.0,1.1,1.2"),
                    ("host", "stomp.example"),
                    ("login", "guest"),
                    ("passcode", "a:b\\c"),
                    ("heart-beat", "0,10000"),
                ],
                body: b"",
            },
        );
    }
}

#[test]
fn connected() {
    check_all(
        &[
            ("CONNECTED\n", "CONNECTED Frame"),
            ("version:1.1\n", "CONNECTED Frame: version"),
            ("session:ID:host-1\n", "session; Value Encoding: no escapes"),
            ("\n\0", "STOMP Frames"),
        ],
        Expected {
            command: Command::Connected,
            headers: &[("version", "1.1"), ("session", "ID:host-1")],
            body: b"",
        },
    );
}

#[test]
fn client_frames() {
    for (command, line, headers, text) in [
        (
            Command::Subscribe,
            "SUBSCRIBE\n",
            &[
                ("id", "0"),
                ("destination", "/queue/foo"),
                ("ack", "client"),
            ][..],
            "id:0\ndestination:/queue/foo\nack:client\n",
        ),
        (
            Command::Unsubscribe,
            "UNSUBSCRIBE\n",
            &[("id", "0")],
            "id:0\n",
        ),
        (
            Command::Ack,
            "ACK\n",
            &[("id", "12345"), ("transaction", "tx1")],
            "id:12345\ntransaction:tx1\n",
        ),
        (Command::Nack, "NACK\n", &[("id", "12345")], "id:12345\n"),
        (
            Command::Begin,
            "BEGIN\n",
            &[("transaction", "tx1")],
            "transaction:tx1\n",
        ),
        (
            Command::Commit,
            "COMMIT\n",
            &[("transaction", "tx1")],
            "transaction:tx1\n",
        ),
        (
            Command::Abort,
            "ABORT\n",
            &[("transaction", "tx1")],
            "transaction:tx1\n",
        ),
        (
            Command::Disconnect,
            "DISCONNECT\n",
            &[("receipt", "77")],
            "receipt:77\n",
        ),
        (Command::Disconnect, "DISCONNECT\n", &[], ""),
    ] {
        check_all(
            &[
                (line, "Client Frames: the section of this name"),
                (text, "its headers"),
                ("\n", "STOMP Frames: a blank line ends the headers"),
                ("\0", "Body: it has none; STOMP Frames: NULL ends the frame"),
            ],
            Expected {
                command,
                headers,
                body: b"",
            },
        );
    }
}

#[test]
fn send() {
    check_all(
        &[
            ("SEND\n", "SEND"),
            ("destination:/queue/a\n", "SEND: destination"),
            ("content-type:text/plain\n", "Header content-type"),
            ("content-length:13\n", "Header content-length"),
            ("\n", "STOMP Frames: a blank line ends the headers"),
            ("hello queue a", "Body"),
            ("\0", "STOMP Frames: NULL ends the frame"),
        ],
        Expected {
            command: Command::Send,
            headers: &[
                ("destination", "/queue/a"),
                ("content-type", "text/plain"),
                ("content-length", "13"),
            ],
            body: b"hello queue a",
        },
    );
}

#[test]
fn message() {
    check_all(
        &[
            ("MESSAGE\n", "MESSAGE"),
            ("subscription:0\n", "MESSAGE: subscription"),
            ("message-id:007\n", "message-id"),
            ("destination:/queue/a\n", "destination"),
            (
                "content-length:5\n",
                "Header content-length: octets are read, NULs or not",
            ),
            ("\n", "STOMP Frames"),
            ("a\0\0\nb", "Body"),
            ("\0", "STOMP Frames"),
        ],
        Expected {
            command: Command::Message,
            headers: &[
                ("subscription", "0"),
                ("message-id", "007"),
                ("destination", "/queue/a"),
                ("content-length", "5"),
            ],
            body: b"a\0\0\nb",
        },
    );
}

#[test]
fn bodies_without_a_length_end_at_the_first_nul() {
    for body in ["", "hello\n\nqueue a", "\n", "\r\n", "a:b\\t"] {
        check_all(
            &[
                ("MESSAGE\n", "MESSAGE"),
                ("message-id:007\n", "message-id"),
                ("\n", "STOMP Frames"),
                (
                    body,
                    "1.0, SEND: the first null byte signals the end of the frame",
                ),
                ("\0", "STOMP Frames"),
            ],
            Expected {
                command: Command::Message,
                headers: &[("message-id", "007")],
                body: body.as_bytes(),
            },
        );
    }
}

#[test]
fn empty_bodies_may_be_measured() {
    check_all(
        &[
            ("SEND\ndestination:a\n", "SEND"),
            ("content-length:0\n", "Header content-length"),
            ("\n\0", "STOMP Frames"),
        ],
        Expected {
            command: Command::Send,
            headers: &[("destination", "a"), ("content-length", "0")],
            body: b"",
        },
    );
}

#[test]
fn receipt_and_error() {
    check_all(
        &[
            ("RECEIPT\n", "RECEIPT"),
            ("receipt-id:message-12345\n", "RECEIPT: receipt-id"),
            ("\n\0", "Body: it has none"),
        ],
        Expected {
            command: Command::Receipt,
            headers: &[("receipt-id", "message-12345")],
            body: b"",
        },
    );
    check_all(
        &[
            ("ERROR\n", "ERROR"),
            ("receipt-id:message-12345\n", "ERROR: receipt-id"),
            ("message:malformed frame received\n", "ERROR: message"),
            ("\n", "STOMP Frames"),
            ("The message:\n-----\n", "ERROR: the body may have more"),
            ("\0", "STOMP Frames"),
        ],
        Expected {
            command: Command::Error,
            headers: &[
                ("receipt-id", "message-12345"),
                ("message", "malformed frame received"),
            ],
            body: b"The message:\n-----\n",
        },
    );
}

#[test]
fn the_first_of_repeated_headers_is_the_value() {
    let expected = Expected {
        command: Command::Message,
        headers: &[
            ("foo", "World"),
            ("foo", "Hello"),
            ("food", "1"),
            ("fo", "2"),
        ],
        body: b"",
    };
    check_all(
        &[
            ("MESSAGE\n", "Repeated Header Entries"),
            ("foo:World\nfoo:Hello\n", "the value is just World"),
            ("food:1\nfo:2\n", "other names"),
            ("\n\0", "STOMP Frames"),
        ],
        expected,
    );
    let text = b"MESSAGE\nfoo:World\nfoo:Hello\nfood:1\nfo:2\nf\\\\:3\nn:a:b\n\n\0";
    for version in Version::ALL {
        let (events, _) = feed(&mut decoder(Role::Client, version), text, []);
        let Event::Frame(frame) = events[0].0 else {
            panic!("{events:?}");
        };
        let backslash = if version == V10 { r"f\\" } else { r"f\" };
        for (name, value) in [
            ("foo", Some("World")),
            ("food", Some("1")),
            ("fo", Some("2")),
            (backslash, Some("3")),
            ("n", Some("a:b")),
            ("n:a", None),
            ("f", None),
            ("Foo", None),
            ("", None),
        ] {
            let found = frame.headers.get(name);
            assert_eq!(
                found.as_deref(),
                value.map(str::as_bytes),
                "{version} {name}"
            );
        }
    }
}

#[test]
fn the_first_content_length_counts() {
    for second in ["2", "1000000000000", "x", ""] {
        let second = format!("content-length:{second}\n");
        let bytes = read_lines(&["SEND\ncontent-length:3\n", &second, "\na\0b\0"]);
        for version in Version::ALL {
            let (events, end) = feed(&mut decoder(Role::Server, version), &bytes, 0..bytes.len());
            assert_eq!(end, Ok(()));
            assert!(matches!(events[..], [(Event::Frame(frame), _)] if frame.body == b"a\0b"));
        }
    }
}

fn read_lines(lines: &[&str]) -> Vec<u8> {
    lines.concat().into_bytes()
}

#[test]
fn spaces_are_kept() {
    // Value Encoding: clients and servers MUST never trim or pad headers with spaces.
    check_all(
        &[
            ("SEND\n", "SEND"),
            (
                " destination : /queue/a \n",
                "Value Encoding: nothing is trimmed",
            ),
            ("\t:\n", "Augmented BNF: a value may be empty"),
            ("\n\0", "STOMP Frames"),
        ],
        Expected {
            command: Command::Send,
            headers: &[(" destination ", " /queue/a "), ("\t", "")],
            body: b"",
        },
    );
}

#[test]
fn only_1_0_has_blanks_around_content_length() {
    read(
        V10,
        &[
            ("SEND\n", "1.0, SEND"),
            (
                "destination: /queue/a\n",
                "1.0: examples have a blank there",
            ),
            ("content-length: 3 \n", "as they may have here"),
            ("\na\0b\0", "1.0, SEND"),
        ],
        Expected {
            command: Command::Send,
            headers: &[("destination", " /queue/a"), ("content-length", " 3 ")],
            body: b"a\0b",
        },
    );
    for version in [V11, V12] {
        let (_, end) = feed(
            &mut decoder(Role::Server, version),
            b"SEND\ncontent-length: 3\n",
            [],
        );
        assert!(
            matches!(end, Err(DecodeError::BadContentLength { .. })),
            "{end:?}"
        );
    }
}

#[test]
fn heart_beats() {
    for version in Version::ALL {
        let input = b"\n\r\n\nRECEIPT\nreceipt-id:1\n\n\0\n\r\n";
        for cuts in [0..0, 0..input.len()] {
            let (events, end) = feed(&mut decoder(Role::Client, version), input, cuts);
            assert_eq!(end, Ok(()));
            let lengths: Vec<_> = events.iter().map(|(_, length)| *length).collect();
            assert_eq!(lengths, [1, 2, 1, 23, 1, 2]);
            let beats = events
                .iter()
                .filter(|(event, _)| *event == Event::HeartBeat);
            assert_eq!(beats.count(), 5);
        }
    }
    assert_eq!(
        decoder(Role::Server, V12).decode(HEART_BEAT),
        Ok(Some((Event::HeartBeat, 1)))
    );
}

#[test]
fn bodies_that_mean_nothing_are_allowed_in_1_0() {
    // 1.0, SUBSCRIBE: the body of the SUBSCRIBE command is ignored.
    read(
        V10,
        &[
            ("SUBSCRIBE\ndestination:a\n\n", "1.0, SUBSCRIBE"),
            ("ignored\0", "its body"),
        ],
        Expected {
            command: Command::Subscribe,
            headers: &[("destination", "a")],
            body: b"ignored",
        },
    );
}
