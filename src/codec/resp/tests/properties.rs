//! Laws: what is encoded is decoded again, and it does not matter in what pieces it arrives.

use super::*;
use proptest::collection::{hash_map, hash_set, vec};
use proptest::prelude::*;
use redis_protocol::resp3::types::VerbatimStringFormat;

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn integer() -> impl Strategy<Value = i64> {
    // Next to powers of ten is where lengths are miscounted.
    let powers = (0..19u32, -1..=1i64, prop::bool::ANY).prop_map(|(power, off, negative)| {
        let value = 10i64.pow(power) + off;
        if negative {
            -value
        } else {
            value
        }
    });
    prop_oneof![any::<i64>(), -10..100i64, powers]
}

/// Replies that can be keys: everything but aggregates.
fn leaf() -> impl Strategy<Value = Reply> {
    let attributes = None;
    prop_oneof![
        Just(Reply::Null),
        any::<bool>().prop_map(boolean),
        integer().prop_map(number),
        prop::num::f64::NORMAL.prop_map(double),
        "[^\r\n]{0,20}".prop_map(|text| simple(&text)),
        "[^\r\n]{0,20}".prop_map(|text| failure(&text)),
        bytes().prop_map(|data| Reply::BlobString {
            data,
            attributes: None
        }),
        bytes().prop_map(|data| Reply::BlobError {
            data,
            attributes: None
        }),
        "-?[0-9]{1,60}".prop_map(move |text| Reply::BigNumber {
            data: text.into(),
            attributes: attributes.clone()
        }),
        (bytes(), any::<bool>()).prop_map(|(data, markdown)| Reply::VerbatimString {
            data,
            format: if markdown {
                VerbatimStringFormat::Markdown
            } else {
                VerbatimStringFormat::Text
            },
            attributes: None
        }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    leaf().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(array),
            vec(inner.clone(), 0..6).prop_map(push),
            hash_set(leaf(), 0..6).prop_map(set),
            hash_map(leaf(), inner, 0..6).prop_map(map),
        ]
    })
}

/// Bytes that are nearly RESP, so that the parser is not done with them at the first.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&[u8]] = &[
        b"\r\n",
        b"\r",
        b"\n",
        b"*",
        b"$",
        b">",
        b"%",
        b"~",
        b"|",
        b":",
        b"+",
        b"-",
        b"_",
        b"=",
        b"!",
        b",",
        b"#",
        b"(",
        b"?",
        b".",
        b";",
        b"-1",
        b"0",
        b"1",
        b"2",
        b"3",
        b"4",
        b"7",
        b"8",
        b"10",
        b"99",
        b"OK",
        b"t",
        b"txt:",
        b"a",
        b"\xff",
        b">3\r\n$7\r\nmessage\r\n",
        b"*4\r\n$8\r\npmessage\r\n",
        b"*2\r\n$4\r\npong\r\n",
        b">3\r\n$11\r\nunsubscribe\r\n",
        b"$1\r\na\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"_\r\n",
        b":1\r\n",
        b"+OK\r\n",
        b"*1\r\n",
        b"*2\r\n",
        b"|1\r\n",
        b"%1\r\n",
        b"~2\r\n",
        b"$5000\r\n",
        b"*5000\r\n",
        b"#t\r\n",
        b",1\r\n",
    ];
    vec(prop::sample::select(PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

fn small() -> Limits {
    Limits {
        max_frame: 300,
        max_depth: 3,
    }
}

/// `input` in pieces gives what it gives whole.
fn split(limits: Limits, input: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    cuts.sort_unstable();
    for make in [Decoder::new, Decoder::commands] {
        let (whole, whole_end) = feed(&mut make(limits), input, []);
        let (pieces, pieces_end) = feed(&mut make(limits), input, cuts.iter().copied());
        prop_assert_eq!(&whole, &pieces);
        let (whole_end, pieces_end) = (whole_end.map_err(plain), pieces_end.map_err(plain));
        prop_assert_eq!(&whole_end, &pieces_end);
        let (single, single_end) = feed(&mut make(limits), input, 0..input.len());
        prop_assert_eq!(&whole, &single);
        prop_assert_eq!(&whole_end, &single_end.map_err(plain));
    }
    Ok(())
}

proptest! {
    #[test]
    fn commands_survive(parts in vec(bytes(), 0..8), named in prop::sample::select(&["message", "pong", "GET"][..])) {
        for first in [None, Some(named.as_bytes())] {
            let parts: Vec<&[u8]> = first.into_iter().chain(parts.iter().map(|part| &part[..])).collect();
            let mut out = BytesMut::new();
            encode_command(&mut out, &parts);
            let data = parts.iter().map(|part| Reply::BlobString {
                data: Bytes::copy_from_slice(part), attributes: None
            });
            let expected = Frame::Reply(array(data));
            let decoded = Decoder::commands(Limits::default()).decode(&out).expect("a command");
            prop_assert_eq!(decoded, Some((expected, out.len())));
        }
    }

    #[test]
    fn publishes_survive(channel in bytes(), payload in vec(any::<u8>(), 0..2000), before in vec(any::<u8>(), 0..9)) {
        let (mut out, mut same) = (BytesMut::from(&before[..]), BytesMut::from(&before[..]));
        encode_publish(&mut out, &channel, &payload);
        encode_command(&mut same, &[b"PUBLISH", &channel, &payload]);
        prop_assert_eq!(&out, &same);
        prop_assert!(Decoder::commands(Limits::default()).decode(&out[before.len()..]).expect("a command").is_some());
    }

    #[test]
    fn replies_survive(reply in reply()) {
        let mut out = BytesMut::from("before");
        encode_reply(&mut out, Version::Resp3, &reply).expect("a reply");
        let decoded = Decoder::new(Limits::default()).decode(&out[6..]).expect("a reply");
        let expected = match reply {
            Reply::Number { data, .. } => Frame::Integer(data),
            reply => Frame::Reply(reply),
        };
        prop_assert_eq!(decoded, Some((expected, out.len() - 6)));
    }

    #[test]
    fn replies_survive_in_pieces(replies in vec(reply(), 1..4), cuts in vec(any::<usize>(), 0..4)) {
        let mut out = BytesMut::new();
        for (number, reply) in replies.iter().enumerate() {
            let version = if number % 2 == 0 { Version::Resp3 } else { Version::Resp2 };
            encode_reply(&mut out, version, reply).expect("a reply");
        }
        split(Limits::default(), &out, &cuts)?;
    }

    #[test]
    fn resp2_replies_are_resp2(reply in reply()) {
        let mut out = BytesMut::new();
        encode_reply(&mut out, Version::Resp2, &reply).expect("a reply");
        let whole = redis_protocol::resp2::decode::decode(&out).expect("RESP2");
        prop_assert_eq!(whole.map(|(_, length)| length), Some(out.len()));
    }

    #[test]
    fn pushes_survive(
        channel in bytes(), payload in bytes(), pattern in prop::option::of(bytes()), count in integer(),
        resp3 in any::<bool>(), cuts in vec(any::<usize>(), 0..4),
    ) {
        let version = if resp3 { Version::Resp3 } else { Version::Resp2 };
        let text = |data: &Bytes| Reply::BlobString { data: data.clone(), attributes: None };
        let mut out = BytesMut::new();
        let message = match &pattern {
            Some(pattern) => push([blob("pmessage"), text(pattern), text(&channel), text(&payload)]),
            None => push([blob("message"), text(&channel), text(&payload)]),
        };
        let name = pattern.as_ref().map_or(Reply::Null, text);
        let unsubscribed = push([blob("punsubscribe"), name, number(count)]);
        encode_reply(&mut out, version, &message).expect("a reply");
        encode_reply(&mut out, version, &unsubscribed).expect("a reply");
        let expected = [
            match &pattern {
                Some(pattern) => Push::PatternMessage { pattern, channel: &channel, payload: &payload },
                None => Push::Message { channel: &channel, payload: &payload },
            },
            Push::Unsubscribed { kind: Channel::Pattern, name: pattern.as_deref(), count },
        ];
        let (frames, end) = feed(&mut Decoder::new(Limits::default()), &out, []);
        prop_assert_eq!(end, Ok(()));
        let frames: Vec<_> = frames.into_iter().map(|(frame, _)| frame).collect();
        prop_assert_eq!(frames, expected.map(Frame::Push).to_vec());
        split(Limits::default(), &out, &cuts)?;
    }

    #[test]
    fn random_bytes_in_pieces(input in vec(any::<u8>(), 0..200), cuts in vec(any::<usize>(), 0..4)) {
        split(small(), &input, &cuts)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn near_misses_in_pieces(input in nearly(), cuts in vec(any::<usize>(), 0..4)) {
        split(small(), &input, &cuts)?;
        split(Limits::default(), &input, &cuts)?;
    }

    /// The fast path and the scanner agree: what the one takes, the other finds as long.
    #[test]
    fn the_fast_path_agrees_with_the_scanner(input in nearly()) {
        let limits = small();
        let mut scanner = Scanner::default();
        scanner.begin(0);
        let scanned = scanner.scan(&input, &limits);
        match super::super::push::decode(&input, limits.max_frame, true) {
            Ok((_, length)) => {
                prop_assert_eq!(scanned.clone(), Ok(Scan::Frame(length)));
                prop_assert!(scanner.take(&input, length).is_ok());
            }
            // Never waits for a frame that is there.
            Err(Stop::Need(need)) => {
                prop_assert!(need > input.len());
                prop_assert!(!matches!(scanned, Ok(Scan::Frame(_))), "{:?}", scanned);
            }
            Err(Stop::Other) => {}
        }
    }
}
