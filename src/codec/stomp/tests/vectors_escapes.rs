//! What the versions spell differently, byte for byte: escapes and line ends.

use super::*;
use Version::{V10, V11, V12};

#[test]
fn no_escapes_in_1_0() {
    check(
        V10,
        &[
            ("SEND\n", "1.0, SEND"),
            (
                "destination:/queue/a:b\n",
                "1.0, Augmented BNF: a value may hold colons",
            ),
            ("a\\n:\\c\\\\\\t\\\n", "a backslash is like any other octet"),
            ("\n\0", "1.0"),
        ],
        Expected {
            command: Command::Send,
            headers: &[("destination", "/queue/a:b"), ("a\\n", "\\c\\\\\\t\\")],
            body: b"",
        },
    );
}

#[test]
fn escapes_of_1_1() {
    for version in [V11, V12] {
        check(
            version,
            &[
                ("SEND\n", "SEND"),
                (
                    "a\\cb:\\c\n",
                    "1.1, Value Encoding: \\c translates to a colon",
                ),
                ("a\\nb:x\\n\\ny\n", "\\n translates to a line feed"),
                (
                    "\\\\:\\\\n\\\\\\n\n",
                    "\\\\ translates to a backslash, whatever follows",
                ),
                ("\n", "STOMP Frames"),
                ("\\c\\\\\\t", "only headers are escaped"),
                ("\0", "STOMP Frames"),
            ],
            Expected {
                command: Command::Send,
                headers: &[("a:b", ":"), ("a\nb", "x\n\ny"), ("\\", "\\n\\\n")],
                body: b"\\c\\\\\\t",
            },
        );
    }
}

#[test]
fn escapes_of_1_2() {
    check(
        V12,
        &[
            ("MESSAGE\n", "MESSAGE"),
            (
                "a\\rb:\\r\\n\n",
                "Value Encoding: \\r translates to a carriage return",
            ),
            ("\\r:\\r\n", "alone"),
            ("\n\0", "STOMP Frames"),
        ],
        Expected {
            command: Command::Message,
            headers: &[("a\rb", "\r\n"), ("\r", "\r")],
            body: b"",
        },
    );
}

#[test]
fn colons_that_ought_to_have_been_escaped() {
    for version in Version::ALL {
        read(
            version,
            &[
                ("MESSAGE\n", "MESSAGE"),
                (
                    "message-id:ID:host-1:2\n",
                    "1.1, Value Encoding: ought to be ID\\chost-1\\c2",
                ),
                ("n::\n", "the first colon ends the name"),
                ("\n\0", "STOMP Frames"),
            ],
            Expected {
                command: Command::Message,
                headers: &[("message-id", "ID:host-1:2"), ("n", ":")],
                body: b"",
            },
        );
    }
}

#[test]
fn carriage_returns_end_lines() {
    for version in Version::ALL {
        read(
            version,
            &[
                (
                    "SEND\r\n",
                    "STOMP Frames: EOL has an OPTIONAL carriage return",
                ),
                ("destination:a\r\n", "the same"),
                ("content-length:4\r\n", "the same"),
                ("\r\n", "Augmented BNF: EOL"),
                ("\r\nb\r", "Body: a carriage return in it means nothing"),
                ("\0", "STOMP Frames"),
            ],
            Expected {
                command: Command::Send,
                headers: &[("destination", "a"), ("content-length", "4")],
                body: b"\r\nb\r",
            },
        );
        read(
            version,
            &[
                ("CONNECT\r\n", "CONNECT or STOMP Frame: of a 1.2 client"),
                (
                    "accept-version:1.2\r\nhost:h\n",
                    "Augmented BNF: EOL, one way or the other",
                ),
                ("\r\n\0", "STOMP Frames"),
            ],
            Expected {
                command: Command::Connect,
                headers: &[("accept-version", "1.2"), ("host", "h")],
                body: b"",
            },
        );
    }
    read(
        V12,
        &[
            ("RECEIPT\n", "STOMP Frames"),
            (
                "receipt-id:1\r\n",
                "Augmented BNF: EOL, one way or the other",
            ),
            ("\n\0", "the same"),
        ],
        Expected {
            command: Command::Receipt,
            headers: &[("receipt-id", "1")],
            body: b"",
        },
    );
}

#[test]
fn carriage_returns_are_data_before_1_2() {
    for version in [V10, V11] {
        read(
            version,
            &[
                ("SEND\n", "1.1, STOMP Frames: terminated by a newline"),
                (
                    "a\r:\rb\r\n",
                    "1.1, Augmented BNF: any OCTET except LF or colon",
                ),
                ("\n\0", "1.1, STOMP Frames"),
            ],
            Expected {
                command: Command::Send,
                headers: &[("a\r", "\rb\r")],
                body: b"",
            },
        );
    }
}

#[test]
fn any_other_octet_is_a_header() {
    // Augmented BNF: any OCTET except CR or LF or ":". NUL is one; it is read, but not written.
    let text = "MESSAGE\nä\0:\u{1}\0 \u{7f}✓\n\n\0";
    for version in Version::ALL {
        read(
            version,
            &[(text, "Augmented BNF: header")],
            Expected {
                command: Command::Message,
                headers: &[("ä\0", "\u{1}\0 \u{7f}✓")],
                body: b"",
            },
        );
    }
    let bytes = b"MESSAGE\n\xff\xfe:\xc3\n\n\0";
    let (events, end) = feed(&mut decoder(Role::Client, V12), bytes, []);
    assert_eq!(end, Ok(()));
    let Event::Frame(frame) = events[0].0 else {
        panic!("{events:?}");
    };
    assert_eq!(
        frame.headers.get(b"\xff\xfe").as_deref(),
        Some(&b"\xc3"[..])
    );
}

#[test]
fn values_are_borrowed_unless_something_was_escaped() {
    use std::borrow::Cow;
    let (events, _) = feed(
        &mut decoder(Role::Client, V12),
        b"MESSAGE\na:b\nc:\\c\n\n\0",
        [],
    );
    let Event::Frame(frame) = events[0].0 else {
        panic!("{events:?}");
    };
    assert!(matches!(frame.headers.get("a"), Some(Cow::Borrowed(b"b"))));
    assert!(matches!(frame.headers.get("c"), Some(Cow::Owned(value)) if value == b":"));
}
