//! What cannot be sent, and that nothing of it is: never a header that was not given.

use super::*;
use Version::{V10, V11, V12};

fn refused(
    command: Command,
    version: Version,
    headers: &[(&str, &str)],
    body: Body<'_>,
) -> EncodeError {
    let mut out = BytesMut::from("before");
    let error = encode(command, headers, body, version, &mut out).expect_err("refused");
    assert_eq!(&out[..], b"before", "{error}");
    error
}

#[test]
fn octets_that_cannot_be_escaped() {
    for (command, version, octets) in [
        (Command::Send, V10, &["\n", "\r", "\0"][..]),
        (Command::Send, V11, &["\r", "\0"]),
        (Command::Send, V12, &["\0"]),
        (Command::Connect, V12, &["\n", "\r", "\0"]),
        (Command::Stomp, V12, &["\n", "\r", "\0"]),
        (Command::Connected, V11, &["\n", "\r", "\0"]),
    ] {
        for octet in octets {
            let injected = format!("x{octet}evil:1");
            for (name, value) in [("topic", injected.as_str()), (&injected, "x"), ("t", octet)] {
                let error = refused(command, version, &[("ok", "1"), (name, value)], Body::NONE);
                match error {
                    EncodeError::Octet { name: found, .. } => {
                        assert_eq!(found, name.as_bytes().escape_ascii().to_string());
                    }
                    other => panic!("{command} {version} {octet:?}: {other}"),
                }
            }
        }
    }
}

#[test]
fn colons_in_names() {
    for (command, version) in [(Command::Send, V10), (Command::Connect, V12)] {
        let error = refused(command, version, &[("a:b", "c")], Body::NONE);
        assert!(
            matches!(error, EncodeError::Octet { octet: b':', .. }),
            "{error}"
        );
    }
}

#[test]
fn messages_name_the_header_and_the_remedy() {
    for (command, version, name, value, text) in [
        (
            Command::Send,
            V10,
            "destination",
            "a\nb",
            "the header \"destination\" of SEND holds a line feed, \
             which STOMP 1.0 cannot escape, 1.1 and 1.2 can",
        ),
        (
            Command::Send,
            V11,
            "x",
            "\r",
            "the header \"x\" of SEND holds a carriage return, which STOMP 1.1 cannot escape, 1.2 can",
        ),
        (
            Command::Send,
            V12,
            "x",
            "\0",
            "the header \"x\" of SEND holds a NUL, which no version of STOMP can send",
        ),
        (
            Command::Connect,
            V12,
            "login",
            "a\nb",
            "the header \"login\" of CONNECT holds a line feed, which CONNECT cannot escape",
        ),
        (
            Command::Send,
            V10,
            "a:b",
            "",
            "the header \"a:b\" of SEND holds a colon in its name, \
             which STOMP 1.0 cannot escape, 1.1 and 1.2 can",
        ),
        (Command::Send, V12, "", "x", "a header of SEND has no name"),
        (
            Command::Send,
            V12,
            "content-length",
            "1",
            "content-length of SEND is counted from its body: leave it out of the headers",
        ),
    ] {
        let error = refused(command, version, &[(name, value)], Body::NONE);
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn bodies() {
    let none: &[(&str, &str)] = &[];
    let error = refused(Command::Send, V12, none, Body::Terminated(b"ab\0c"));
    assert_eq!(
        error,
        EncodeError::NulInBody {
            command: Command::Send,
            at: 2
        }
    );
    for body in [Body::Measured(b"x"), Body::Terminated(b"x")] {
        for version in Version::ALL {
            let error = refused(Command::Ack, version, none, body);
            assert_eq!(error.to_string(), "ACK cannot have a body");
        }
    }
    let error = refused(Command::Nack, V10, none, Body::NONE);
    assert_eq!(error.to_string(), "STOMP 1.0 has no NACK");
}

#[test]
fn a_refused_header_can_be_left_out() {
    let mut out = BytesMut::new();
    let mut frame = FrameBuilder::new(Command::Send, V10, &mut out).expect("begins");
    frame.header("a", "1").expect("a header");
    assert!(frame.header("b", "\n").is_err());
    assert!(frame.header("c", "x\0").is_err());
    frame.header("d", "2").expect("a header");
    frame.finish(Body::Terminated(b"body")).expect("a frame");
    assert_eq!(&out[..], b"SEND\na:1\nd:2\n\nbody\0");
}

#[test]
fn an_unfinished_frame_is_taken_back() {
    let mut out = BytesMut::from("before");
    let mut frame = FrameBuilder::new(Command::Send, V12, &mut out).expect("begins");
    frame.header("a", "1").expect("a header");
    drop(frame);
    assert_eq!(&out[..], b"before");
}

#[test]
fn lengths_are_decimal() {
    for length in [0, 9, 10, 99, 100, 12_345] {
        let mut out = BytesMut::new();
        let body = vec![0; length];
        let none: &[(&str, &str)] = &[];
        encode(Command::Send, none, Body::Measured(&body), V12, &mut out).expect("encodes");
        let head = format!("SEND\ncontent-length:{length}\n\n");
        assert!(out.starts_with(head.as_bytes()));
        assert_eq!(out.len(), head.len() + length + 1);
    }
}
