//! What is not RESP is refused in words that help.

use super::*;

/// The error of `input`, the same whole and byte by byte.
fn message(input: &[u8]) -> String {
    let error = decode_error(Limits::default(), input);
    let (frames, end) = feed(&mut Decoder::new(Limits::default()), input, 0..input.len());
    assert!(frames.is_empty());
    assert_eq!(end.map_err(plain), Err(plain(error.clone())));
    error.to_string()
}

#[test]
fn other_protocols() {
    assert_eq!(
        message(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        r#"expected a RESP frame, found 'H' in "HTTP/1.1 400 Bad Request\r\nConten" (is this an HTTP server?)"#
    );
    assert_eq!(
        message(b"\x15\x03\x01\x00\x02\x02\x46"),
        r#"expected a RESP frame, found '\x15' in "\x15\x03\x01\x00\x02\x02F" (is this a TLS port?)"#
    );
    assert!(message(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").contains("TLS"));
    assert!(message(b"SSH-2.0-OpenSSH_9.6\r\n").contains("found 'S'"));
    assert!(message(b"ERROR\nmessage:x\n\n\0").contains("found 'E'"));
    assert!(message(b"\r\n").contains(r"found '\r'"));
    assert!(message(b"\0").contains(r"found '\x00'"));
    // Redis-protocol's own extension, which no server sends.
    assert!(message(b"HELLO 3\r\n").contains("found 'H'"));
}

#[test]
fn broken_frames() {
    for (input, expected) in [
        (
            &b"$x\r\n"[..],
            r#"expected a length after '$', found "$x\r\n""#,
        ),
        (
            b"*-2\r\n",
            r#"expected a length after '*', found "*-2\r\n""#,
        ),
        (
            b"%-1\r\n",
            r#"expected a length after '%', found "%-1\r\n""#,
        ),
        (b"*+1\r\n", "expected a length after '*'"),
        (b"*\r\n", "expected a length after '*'"),
        (b"!-1\r\n", "expected a length after '!'"),
        (b"$99999999999999999999\r\n", "expected a length after '$'"),
        (b"*1\n", "expected CR LF at the end of a '*'"),
        (
            b"$2\r\nabc\r\n",
            r#"expected CR LF at the end of a '$', found "c\r\n""#,
        ),
        (
            b"+a\nb\r\n",
            r#"expected CR LF at the end of a '+', found "+a\nb\r\n""#,
        ),
        (b"+\n", "expected CR LF at the end of a '+'"),
        (b":\n", "expected CR LF at the end of a ':'"),
        (b":\r\n", "bad value of a ':': not a 64-bit integer"),
        (b":-\r\n", "bad value of a ':'"),
        (b":1.5\r\n", "bad value of a ':'"),
        (
            b":9223372036854775808\r\n",
            r#"not a 64-bit integer, found ":9223372036854775808\r\n""#,
        ),
        (b":-9223372036854775809\r\n", "not a 64-bit integer"),
        (b",1,5\r\n", "bad value of a ',': not a number"),
        (b"(12x\r\n", "bad value of a '(': not an integer"),
        (b"#x\r\n", "bad value of a '#': neither t nor f"),
        (b"_x\r\n", "bad value of a '_': a null has no value"),
        (
            b"=3\r\ntxt\r\n",
            "bad value of a '=': neither txt: nor mkd:",
        ),
        (
            b"=5\r\nabc:d\r\n",
            "bad value of a '=': neither txt: nor mkd:",
        ),
        (b"$?\r\n", "streamed frames ('$?') are not supported"),
        (b"*?\r\n", "streamed frames ('*?') are not supported"),
        (b"*1\r\n.\r\n", "streamed"),
        (b";4\r\n", "streamed"),
        (b"*2\r\n:1\r\nx", r#"found 'x' in "x""#),
        (
            b">3\r\n$7\r\nmessage\r\n$1\r\nabc\r\n",
            "expected CR LF at the end of a '$'",
        ),
        (
            b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$-5\r\n",
            "expected a length after '$'",
        ),
        (
            b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:x\r\n",
            "bad value of a ':'",
        ),
        (
            b">3\r\n$11\r\nunsubscribe\r\n_x\r\n:1\r\n",
            "bad value of a '_'",
        ),
        (b">x\r\n", "expected a length after '>'"),
    ] {
        let message = message(input);
        assert!(
            message.contains(expected),
            "{}: {message}",
            input.escape_ascii()
        );
    }
}

#[test]
fn errors_tell_what_was_announced() {
    assert_eq!(
        message(b"$536870912\r\n"),
        "a frame of 536870926 bytes or more was announced, the limit is 67108864"
    );
    assert!(message(b"*536870912\r\n").starts_with("a frame of 536870912 elements was announced"));
    let deep = b"*1\r\n".repeat(17);
    assert_eq!(message(&deep), "aggregates are nested deeper than 16");
}
