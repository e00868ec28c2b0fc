//! What a peer may not send. Every entry runs whole, byte by byte, and with the version's neighbours where it matters.

use super::*;
use Role::{Client, Server};
use Version::{V10, V11, V12};

fn refused(role: Role, version: Version, input: &[u8]) -> DecodeError {
    let shown = input.escape_ascii();
    let (events, whole) = feed(&mut decoder(role, version), input, []);
    assert!(events.is_empty(), "{version} {shown}: {events:?}");
    let whole = whole.expect_err(&format!("{version} {shown}"));
    let (_, single) = feed(&mut decoder(role, version), input, 0..input.len());
    assert_eq!(single, Err(whole.clone()), "{version} {shown}");
    whole
}

/// Versions, what follows the role, and the message.
fn check(role: Role, versions: &[Version], input: &[u8], text: &str) {
    for version in versions {
        let error = refused(role, *version, input).to_string();
        assert_eq!(error, text, "{version} {}", input.escape_ascii());
    }
}

const ALL: [Version; 3] = Version::ALL;

#[test]
fn commands() {
    check(
        Server,
        &ALL,
        b"send\n",
        "expected a STOMP command, found \"send\"",
    );
    check(
        Server,
        &ALL,
        b"SEND \n",
        "expected a STOMP command, found \"SEND \"",
    );
    check(
        Server,
        &ALL,
        b"SENDS\n\n\0",
        "expected a STOMP command, found \"SENDS\"",
    );
    check(
        Server,
        &ALL,
        b"UNSUBSCRIBE\r\r\n",
        "expected a STOMP command, found \"UNSUBSCRIBE\\r\\r\"",
    );
    check(
        Client,
        &ALL,
        b"MESSAGE\0\n",
        "expected a STOMP command, found \"MESSAGE\\x00\"",
    );
    check(
        Server,
        &ALL,
        b"GET / HTTP/1.1\r\n",
        "expected a STOMP command, found \"GET / HTTP/1.\"",
    );
    check(
        Client,
        &ALL,
        b"HTTP/1.1 400 Bad Request\r\n",
        "expected a STOMP command, found \"HTTP/1.1 400 \" (is this an HTTP server?)",
    );
    check(
        Client,
        &ALL,
        b"\x15\x03\x03\0\x02\x02\x46",
        "expected a STOMP frame, found the octet 0x15 (is this a TLS port?)",
    );
    check(
        Client,
        &ALL,
        b"\rMESSAGE\n",
        "expected a STOMP frame, found the octet 0x0d",
    );
    check(
        Client,
        &ALL,
        b"\0",
        "expected a STOMP frame, found the octet 0x00",
    );
    check(
        Client,
        &ALL,
        b" \n",
        "expected a STOMP frame, found the octet 0x20",
    );
    check(
        Client,
        &ALL,
        b"\xc3\xa4\n",
        "expected a STOMP frame, found the octet 0xc3",
    );
}

#[test]
fn commands_of_the_wrong_side() {
    for command in [
        Command::Connect,
        Command::Stomp,
        Command::Send,
        Command::Subscribe,
        Command::Unsubscribe,
        Command::Begin,
        Command::Commit,
        Command::Abort,
        Command::Ack,
        Command::Nack,
        Command::Disconnect,
        Command::Connected,
        Command::Message,
        Command::Receipt,
        Command::Error,
    ] {
        let from_client = !matches!(
            command.as_str(),
            "CONNECTED" | "MESSAGE" | "RECEIPT" | "ERROR"
        );
        let (wrong, sender) = if from_client {
            (Client, "server")
        } else {
            (Server, "client")
        };
        let frame = format!("{command}\n\n\0");
        let text = format!("{command} cannot come from a {sender}");
        check(wrong, &ALL, frame.as_bytes(), &text);
        let right = if from_client { Server } else { Client };
        let (events, end) = feed(&mut decoder(right, V12), frame.as_bytes(), []);
        assert_eq!((events.len(), end), (1, Ok(())), "{command}");
        assert_eq!(
            Command::from_bytes(command.as_str().as_bytes()),
            Some(command)
        );
    }
    check(
        Server,
        &[V10],
        b"NACK\nmessage-id:1\n\n\0",
        "STOMP 1.0 has no NACK",
    );
}

#[test]
fn headers() {
    check(
        Server,
        &ALL,
        b"SEND\nfoo\n",
        "SEND has the header \"foo\" without a colon",
    );
    check(
        Server,
        &ALL,
        b"SEND\na:b\n \n",
        "SEND has the header \" \" without a colon",
    );
    check(
        Server,
        &[V11, V12],
        b"SEND\na\\cb\n",
        "SEND has the header \"a\\\\cb\" without a colon",
    );
    check(
        Server,
        &ALL,
        b"SEND\n:foo\n",
        "SEND has the header \":foo\" without a name",
    );
    check(
        Server,
        &ALL,
        b"SEND\na:b\n:\n",
        "SEND has the header \":\" without a name",
    );
    let long = [&b"SEND\n"[..], &[b'x'; 60], b"\n"].concat();
    let text = format!("SEND has the header \"{}\" without a colon", "x".repeat(32));
    check(Server, &ALL, &long, &text);
    // Lines of this frame do not end in CR LF.
    check(
        Server,
        &[V10, V11],
        b"SEND\n\r\n",
        "SEND has the header \"\\r\" without a colon",
    );
}

#[test]
fn a_frame_that_ends_within_its_headers() {
    let input = b"RECEIPT\nreceipt-id:1\0RECEIPT\nreceipt-id:2\n\n\0";
    check(
        Client,
        &[V12],
        b"RECEIPT\nid\0RECEIPT\n",
        "RECEIPT has the header \"id\\x00RECEIPT\" without a colon",
    );
    // Nothing says that a value cannot hold NULs.
    let (events, end) = feed(&mut decoder(Client, V12), input, []);
    assert_eq!((events.len(), end), (1, Ok(())));
}

#[test]
fn carriage_returns_within_lines() {
    let text = "the header \"a\" of SEND holds a carriage return that is not escaped";
    check(Server, &[V12], b"SEND\na:b\rc\n", text);
    check(Server, &[V12], b"SEND\na:b\r\r\n", text);
    check(Server, &[V12], b"SEND\r\na:\rb\r\n", text);
    let text = "the header \"a\\r\" of SEND holds a carriage return that is not escaped";
    check(Server, &[V12], b"SEND\na\r:b\n", text);
    let text = "the header \"a\" of CONNECT holds a carriage return that is not escaped";
    check(Server, &[V12], b"CONNECT\na:b\rc\n", text);
}

#[test]
fn escapes() {
    for (versions, name, value, escape) in [
        (&[V11, V12][..], "a", "\\t", "\\t"),
        (&[V11, V12], "a", "x\\\\\\0", "\\0"),
        (&[V11, V12], "a", "\\C", "\\C"),
        (&[V11, V12], "a", "\\c\\", "\\"),
        (&[V11, V12], "a", "\\:", "\\:"),
        (&[V11, V12], "\\x", "b", "\\x"),
        (&[V11, V12], "n\\", "c", "\\"),
        (&[V11], "a", "\\r", "\\r"),
        (&[V11], "\\r", "\\x", "\\r"),
    ] {
        for version in versions {
            let input = format!("SEND\n{name}:{value}\n\n\0");
            let error = refused(Server, *version, input.as_bytes()).to_string();
            let name = name.replace('\\', "\\\\");
            let text = format!(
                "the header \"{name}\" of SEND holds {escape}, which STOMP {version} does not define"
            );
            assert_eq!(error, text);
        }
        let input = format!("CONNECT\n{name}:{value}\n\n\0SEND\n{name}:{value}\n\n\0");
        let (events, end) = feed(&mut decoder(Server, V10), input.as_bytes(), []);
        assert_eq!((events.len(), end), (2, Ok(())), "{input}");
    }
}

#[test]
fn content_lengths() {
    for value in ["", "x", "-1", "+1", "1x", "0x1", "1.0", "1,2", "\u{661}"] {
        let shown = value.as_bytes().escape_ascii();
        let text = format!("the content-length of SEND is no number: \"{shown}\"");
        check(
            Server,
            &ALL,
            format!("SEND\ncontent-length:{value}\n").as_bytes(),
            &text,
        );
    }
    let text = "SEND has a content-length of 2, but 0x63 in place of NUL behind that many octets";
    check(Server, &ALL, b"SEND\ncontent-length:2\n\nabc\0", text);
    let text = "SEND has a content-length of 0, but 0x0a in place of NUL behind that many octets";
    check(Server, &ALL, b"SEND\ncontent-length:00\n\n\n\0", text);
    // Longer than the body that was meant: swallows what follows, and finds no NUL there.
    let text = "SEND has a content-length of 5, but 0x44 in place of NUL behind that many octets";
    check(Server, &ALL, b"SEND\ncontent-length:5\n\na\0SEND\n", text);
}

#[test]
fn bodies_of_commands_that_have_none() {
    for version in [V11, V12] {
        for (role, command) in [
            (Server, "ACK"),
            (Server, "CONNECT"),
            (Client, "RECEIPT"),
            (Client, "CONNECTED"),
        ] {
            let text = format!("{command} cannot have a body");
            for rest in [
                "\nx",
                "\n\n\0",
                "content-length:1\n",
                "content-length:9999999999999999999999\n",
            ] {
                check(
                    role,
                    &[version],
                    format!("{command}\n{rest}").as_bytes(),
                    &text,
                );
            }
            let input = format!("{command}\ncontent-length:0\n\n\0");
            let (events, end) = feed(
                &mut decoder(role, version),
                input.as_bytes(),
                0..input.len(),
            );
            assert_eq!((events.len(), end), (1, Ok(())), "{input}");
        }
    }
}
