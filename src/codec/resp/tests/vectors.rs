//! Frames as the specification writes them. Each runs four ways: whole, byte by byte, with trailing data, encoded.
//!
//! "spec": <https://redis.io/docs/latest/develop/reference/protocol-spec/>, by section; "pub/sub":
//! <https://redis.io/docs/latest/develop/pubsub/>; "RESP3": <https://github.com/redis/redis-specifications>.

use super::*;
use redis_protocol::resp3::types::VerbatimStringFormat;

pub(super) struct Vector {
    pub(super) section: &'static str,
    pub(super) bytes: &'static [u8],
    pub(super) frame: Frame<'static>,
    /// What encodes to exactly these bytes, where the codec writes such a frame.
    pub(super) encode: Option<(Version, Reply)>,
}

pub(super) fn check(vector: &Vector) {
    let Vector {
        section,
        bytes,
        frame,
        encode,
    } = vector;
    let expected = vec![(frame.clone(), bytes.len())];

    let (whole, end) = feed(&mut Decoder::new(Limits::default()), bytes, []);
    assert_eq!((&whole, end), (&expected, Ok(())), "{section}, whole");

    let (single, end) = feed(&mut Decoder::new(Limits::default()), bytes, 0..bytes.len());
    assert_eq!((&single, end), (&expected, Ok(())), "{section}, by byte");

    for trailing in [&b"+OK\r\n"[..], b"\xff", b"$", b">4\r\n$8\r\npmess", bytes] {
        let input = [bytes, trailing].concat();
        let first = Decoder::new(Limits::default()).decode(&input);
        assert_eq!(
            first,
            Ok(Some((frame.clone(), bytes.len()))),
            "{section}, {trailing:?}"
        );
        let (twice, _) = feed(
            &mut Decoder::new(Limits::default()),
            &input,
            0..bytes.len() + 1,
        );
        assert_eq!(
            twice[0], expected[0],
            "{section}, by byte with {trailing:?}"
        );
    }

    if let Some((version, reply)) = encode {
        let mut out = BytesMut::from("before");
        encode_reply(&mut out, *version, reply).expect(section);
        assert_eq!(
            out[6..].escape_ascii().to_string(),
            bytes.escape_ascii().to_string(),
            "{section}, encoded"
        );
    }
}

pub(super) fn reply(section: &'static str, bytes: &'static [u8], reply: Reply) {
    let (frame, encode) = (Frame::Reply(reply.clone()), Some((Version::Resp3, reply)));
    check(&Vector {
        section,
        bytes,
        frame,
        encode,
    });
}

/// A frame that the codec reads, but writes otherwise.
pub(super) fn read(section: &'static str, bytes: &'static [u8], frame: Frame<'static>) {
    check(&Vector {
        section,
        bytes,
        frame,
        encode: None,
    });
}

#[test]
fn simple_types() {
    check(&Vector {
        section: "spec: Simple strings",
        bytes: b"+OK\r\n",
        frame: Frame::Ok,
        encode: Some((Version::Resp2, simple("OK"))),
    });
    reply("spec: Simple strings", b"+PONG\r\n", simple("PONG"));
    reply("spec: Simple strings", b"+OKAY\r\n", simple("OKAY"));
    reply("spec: Simple strings", b"+O\r\n", simple("O"));
    reply("spec: Simple strings", b"+\r\n", simple(""));
    reply(
        "spec: Simple errors",
        b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        failure("WRONGTYPE Operation against a key holding the wrong kind of value"),
    );
    for (bytes, value) in [
        (&b":0\r\n"[..], 0),
        (b":1000\r\n", 1000),
        (b":-7\r\n", -7),
        (b":9223372036854775807\r\n", i64::MAX),
        (b":-9223372036854775808\r\n", i64::MIN),
        (b":999999999999999999\r\n", 999_999_999_999_999_999),
    ] {
        check(&Vector {
            section: "spec: Integers",
            bytes,
            frame: Frame::Integer(value),
            encode: Some((Version::Resp3, number(value))),
        });
    }
    read("spec: Integers, with +", b":+5\r\n", Frame::Integer(5));
    read(
        "spec: Integers, with zeros",
        b":0000000000000000000000007\r\n",
        Frame::Integer(7),
    );
    reply("spec: Nulls", b"_\r\n", Reply::Null);
    reply("spec: Booleans", b"#t\r\n", boolean(true));
    reply("spec: Booleans", b"#f\r\n", boolean(false));
    reply("spec: Doubles", b",1.23\r\n", double(1.23));
    reply("spec: Doubles", b",10\r\n", double(10.0));
    reply("spec: Doubles", b",inf\r\n", double(f64::INFINITY));
    reply("spec: Doubles", b",-inf\r\n", double(f64::NEG_INFINITY));
    read("spec: Doubles", b",1e3\r\n", Frame::Reply(double(1000.0)));
    reply(
        "spec: Big numbers",
        b"(3492890328409238509324850943850943825024385\r\n",
        Reply::BigNumber {
            data: Bytes::from_static(b"3492890328409238509324850943850943825024385"),
            attributes: None,
        },
    );
}

#[test]
fn strings() {
    reply("spec: Bulk strings", b"$5\r\nhello\r\n", blob("hello"));
    reply("spec: Bulk strings", b"$0\r\n\r\n", blob(""));
    reply(
        "spec: Bulk strings, binary",
        b"$4\r\n\r\n$1\r\n",
        blob("\r\n$1"),
    );
    reply(
        "spec: Bulk errors",
        b"!21\r\nSYNTAX invalid syntax\r\n",
        Reply::BlobError {
            data: Bytes::from_static(b"SYNTAX invalid syntax"),
            attributes: None,
        },
    );
    let verbatim = |data, format| Reply::VerbatimString {
        data: Bytes::from_static(data),
        format,
        attributes: None,
    };
    reply(
        "spec: Verbatim strings",
        b"=15\r\ntxt:Some string\r\n",
        verbatim(b"Some string", VerbatimStringFormat::Text),
    );
    reply(
        "spec: Verbatim strings",
        b"=4\r\nmkd:\r\n",
        verbatim(b"", VerbatimStringFormat::Markdown),
    );
    check(&Vector {
        section: "spec: Null bulk strings",
        bytes: b"$-1\r\n",
        frame: Frame::Reply(Reply::Null),
        encode: Some((Version::Resp2, Reply::Null)),
    });
    // Redis quotes arguments in errors, whatever bytes they are.
    read(
        "spec: Simple errors, not UTF-8",
        b"*2\r\n-ERR '\xff'\r\n+OK\r\n",
        Frame::Reply(array([failure("ERR '\u{fffd}'"), simple("OK")])),
    );
}

#[test]
fn aggregates() {
    reply("spec: Arrays", b"*0\r\n", array([]));
    reply(
        "spec: Arrays",
        b"*2\r\n$5\r\nhello\r\n$5\r\nworld\r\n",
        array([blob("hello"), blob("world")]),
    );
    reply(
        "spec: Arrays, nested",
        b"*2\r\n*3\r\n:1\r\n:2\r\n:3\r\n*2\r\n+Hello\r\n-World\r\n",
        array([
            array([number(1), number(2), number(3)]),
            array([simple("Hello"), failure("World")]),
        ]),
    );
    read("spec: Null arrays", b"*-1\r\n", Frame::Reply(Reply::Null));
    check(&Vector {
        section: "spec: Null elements in arrays",
        bytes: b"*3\r\n$5\r\nhello\r\n$-1\r\n$5\r\nworld\r\n",
        frame: Frame::Reply(array([blob("hello"), Reply::Null, blob("world")])),
        encode: Some((
            Version::Resp2,
            array([blob("hello"), Reply::Null, blob("world")]),
        )),
    });
    read(
        "spec: Null elements in arrays, of both kinds and versions",
        b"*4\r\n*-1\r\n_\r\n$-1\r\n*1\r\n$-1\r\n",
        Frame::Reply(array([
            Reply::Null,
            Reply::Null,
            Reply::Null,
            array([Reply::Null]),
        ])),
    );
    reply("spec: Maps", b"%0\r\n", map([]));
    reply(
        "spec: Maps",
        b"%1\r\n+first\r\n*1\r\n:1\r\n",
        map([(simple("first"), array([number(1)]))]),
    );
    read(
        "spec: Maps",
        b"%2\r\n+first\r\n:1\r\n+second\r\n:2\r\n",
        Frame::Reply(map([
            (simple("first"), number(1)),
            (simple("second"), number(2)),
        ])),
    );
    reply("spec: Sets", b"~1\r\n:5\r\n", set([number(5)]));
    read(
        "spec: Sets",
        b"~3\r\n+a\r\n#t\r\n+a\r\n",
        Frame::Reply(set([simple("a"), boolean(true)])),
    );
    // As in the key specifications of COMMAND; redis-protocol alone refuses these two.
    read(
        "spec: Sets, of aggregates",
        b"*2\r\n~2\r\n$-1\r\n%1\r\n+a\r\n~1\r\n*0\r\n:7\r\n",
        Frame::Reply(array([
            array([Reply::Null, map([(simple("a"), array([array([])]))])]),
            number(7),
        ])),
    );
    read(
        "spec: Maps, with aggregates as keys",
        b"%5\r\n+a\r\n:1\r\n*1\r\n+b\r\n:2\r\n+c\r\n*0\r\n+d\r\n:4\r\n+e\r\n:5\r\n",
        Frame::Reply(array([
            simple("a"),
            number(1),
            array([simple("b")]),
            number(2),
            simple("c"),
            array([]),
            simple("d"),
            number(4),
            simple("e"),
            number(5),
        ])),
    );
    read(
        "spec: Client handshake",
        b"%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n$7\r\nmodules\r\n*0\r\n",
        Frame::Reply(map([
            (blob("server"), blob("redis")),
            (blob("proto"), number(3)),
            (blob("modules"), array([])),
        ])),
    );
}

#[test]
fn attributes() {
    read(
        "spec: Attributes, before a reply",
        b"|1\r\n+key-popularity\r\n%2\r\n$1\r\na\r\n,0.1923\r\n$1\r\nb\r\n,0.0012\r\n*2\r\n:2039123\r\n:9543892\r\n",
        Frame::Reply(array([number(2_039_123), number(9_543_892)])),
    );
    read(
        "spec: Attributes, within a reply",
        b"*3\r\n:1\r\n:2\r\n|1\r\n+ttl\r\n:3600\r\n:3\r\n",
        Frame::Reply(array([number(1), number(2), number(3)])),
    );
    read(
        "spec: Attributes, before a null, nested, empty, last",
        b"|2\r\n+a\r\n|1\r\n+b\r\n$-1\r\n*-1\r\n~1\r\n*0\r\n+d\r\n|0\r\n*2\r\n|0\r\n$-1\r\n|1\r\n*0\r\n:1\r\n_\r\n",
        Frame::Reply(array([Reply::Null, Reply::Null])),
    );
    read(
        "spec: Attributes",
        b"|1\r\n+a\r\n+b\r\n:3\r\n",
        Frame::Integer(3),
    );
    read("spec: Attributes", b"|0\r\n|0\r\n+OK\r\n", Frame::Ok);
    read(
        "spec: Attributes, before a push",
        b"|1\r\n+a\r\n$-1\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\np\r\n",
        Frame::Push(Push::Message {
            channel: b"c",
            payload: b"p",
        }),
    );
}

#[test]
fn commands() {
    let mut out = BytesMut::new();
    encode_command(&mut out, &[b"LLEN", b"mylist"]);
    assert_eq!(
        &out[..],
        b"*2\r\n$4\r\nLLEN\r\n$6\r\nmylist\r\n",
        "spec: Sending commands"
    );
    out.clear();
    encode_command(&mut out, &[]);
    assert_eq!(&out[..], b"*0\r\n");
    out.clear();
    encode_command(&mut out, &[b""]);
    assert_eq!(&out[..], b"*1\r\n$0\r\n\r\n");
    out.clear();
    let long = [b'x'; 1234];
    encode_publish(&mut out, b"c", &long);
    let mut same = BytesMut::new();
    encode_command(&mut same, &[b"PUBLISH", b"c", &long]);
    assert_eq!(out, same);
    assert!(out.starts_with(b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$1234\r\nxxx"));
}

#[test]
fn resp2_has_fewer_types() {
    let resp2 = |reply| {
        let mut out = BytesMut::new();
        encode_reply(&mut out, Version::Resp2, &reply).expect("a reply");
        out.escape_ascii().to_string()
    };
    assert_eq!(
        resp2(map([(simple("a"), double(0.5))])),
        r"*2\r\n+a\r\n$3\r\n0.5\r\n"
    );
    assert_eq!(resp2(set([boolean(true)])), r"*1\r\n:1\r\n");
    assert_eq!(resp2(double(f64::NAN)), r"$3\r\nnan\r\n");
    let error = Reply::BlobError {
        data: Bytes::from_static(b"ERR a\r\nb"),
        attributes: None,
    };
    assert_eq!(resp2(error), r"-ERR a  b\r\n");
}

#[test]
fn line_breaks_are_not_encoded() {
    let attributes = Some([(blob("a"), simple("\n"))].into_iter().collect());
    for reply in [
        simple("a\r\nb"),
        failure("\n"),
        array([map([(simple("\r"), number(1))])]),
        Reply::Number {
            data: 1,
            attributes,
        },
    ] {
        let mut out = BytesMut::from("before");
        let error = encode_reply(&mut out, Version::Resp3, &reply).expect_err("a line break");
        assert!(error.to_string().contains("CR or LF"), "{error}");
        assert_eq!(&out[..], b"before");
    }
    let mut out = BytesMut::new();
    let chunk = array([Reply::ChunkedString(Bytes::new())]);
    assert_eq!(
        encode_reply(&mut out, Version::Resp2, &chunk),
        Err(EncodeError::NotAReply)
    );
}
