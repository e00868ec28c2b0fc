//! What a peer may not do to us: announce, nest or drip-feed more than the limits allow.

use super::*;

fn limits(max_frame: usize, max_depth: usize) -> Limits {
    Limits {
        max_frame,
        max_depth,
    }
}

#[test]
fn a_long_frame_is_refused_when_it_is_announced() {
    for input in [
        &b"$536870912\r\n"[..],
        b"!536870912\r\n",
        b"=536870912\r\n",
        b">3\r\n$7\r\nmessage\r\n$536870912\r\n",
        b">4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n$536870912\r\n",
        b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$536870912\r\n",
        b">3\r\n$11\r\nunsubscribe\r\n$536870912\r\n",
        b"|1\r\n+a\r\n$536870912\r\n",
        b"$18446744073709551615\r\n",
        b"*1\r\n$18446744073709551613\r\n",
    ] {
        match decode_error(Limits::default(), input) {
            DecodeError::FrameTooLong { announced, limit } => {
                assert!(announced > 536_870_912 && limit == 64 << 20, "{announced}");
            }
            error => panic!("{}: {error}", input.escape_ascii()),
        }
    }
}

#[test]
fn a_frame_may_be_as_long_as_the_limit() {
    for bytes in [
        &b"$5\r\nhello\r\n"[..],
        b"+hello\r\n",
        b":1234\r\n",
        b"+OK\r\n",
        b"*2\r\n:1\r\n+OK\r\n",
        b"|1\r\n+a\r\n+b\r\n:3\r\n",
        b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\np\r\n",
        b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
    ] {
        for cuts in [0..0, 0..bytes.len()] {
            let exact = Decoder::new(limits(bytes.len(), 4)).decode(bytes);
            assert!(matches!(exact, Ok(Some(_))), "{exact:?}");
            let (frames, end) = feed(&mut Decoder::new(limits(bytes.len() - 1, 4)), bytes, cuts);
            assert!(frames.is_empty());
            assert!(
                matches!(end, Err(DecodeError::FrameTooLong { announced, limit })
                    if announced == bytes.len() as u64 && limit == bytes.len() - 1),
                "{}: {end:?}",
                bytes.escape_ascii()
            );
        }
    }
}

#[test]
fn lines_end() {
    let line = [&b"+"[..], &[b'a'; 70_000], b"\r\n"].concat();
    let expected = DecodeError::LineTooLong {
        kind: b'+',
        limit: 65536,
    };
    assert_eq!(decode_error(Limits::default(), &line), expected);
    assert_eq!(decode_error(Limits::default(), &line[..65536]), expected);
    assert_eq!(
        Decoder::new(Limits::default()).decode(&line[..65535]),
        Ok(None)
    );
    let header = decode_error(Limits::default(), b"$0000000000000000000000000000000");
    assert!(matches!(header, DecodeError::BadLength { kind: b'$', .. }));
}

#[test]
fn elements_are_counted() {
    for input in [
        &b"*2147483647\r\n"[..],
        b"~18446744073709551615\r\n",
        b"%9223372036854775808\r\n",
        b">99999999\r\n",
        b"*2\r\n*100000\r\n",
    ] {
        let limits = limits(1 << 20, 4);
        let (_, end) = feed(&mut Decoder::new(limits), input, 0..input.len());
        assert_eq!(end, Err(decode_error(limits, input)));
        match end {
            Err(DecodeError::TooManyElements { announced, limit }) => {
                assert!(announced > limit as u64);
            }
            other => panic!("{}: {other:?}", input.escape_ascii()),
        }
    }
    let flat = [&b"*1024\r\n"[..], &b"_\r\n".repeat(1024)].concat();
    assert!(matches!(
        Decoder::new(limits(4096, 4)).decode(&flat),
        Ok(Some(_))
    ));
    // Empty attributes are no elements, but do not come for nothing.
    let attributes = [&b"*1\r\n"[..], &b"|0\r\n".repeat(2000)].concat();
    assert!(matches!(
        decode_error(limits(1 << 16, 4), &attributes),
        DecodeError::TooManyElements { .. }
    ));
    let skipped = b"|0\r\n".repeat(2000);
    assert!(matches!(
        decode_error(limits(4000, 4), &skipped),
        DecodeError::FrameTooLong { limit: 4000, .. }
    ));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| [&b"*1\r\n".repeat(depth)[..], b":1\r\n"].concat();
    assert!(matches!(
        Decoder::new(Limits::default()).decode(&nested(16)),
        Ok(Some(_))
    ));
    assert_eq!(
        decode_error(Limits::default(), &nested(17)),
        DecodeError::TooDeep { limit: 16 }
    );
    let endless = b"|1\r\n".repeat(1 << 16);
    assert_eq!(
        decode_error(Limits::default(), &endless),
        DecodeError::TooDeep { limit: 16 }
    );
}

/// What the scanner did for `input` in reads of `size` bytes.
fn work(input: &[u8], size: usize) -> usize {
    let mut decoder = Decoder::new(Limits::default());
    let cuts = (0..input.len()).step_by(size);
    let (frames, end) = feed(&mut decoder, input, cuts);
    assert_eq!((frames.len(), end), (1, Ok(())));
    decoder.scanner.work
}

#[test]
fn byte_by_byte_costs_as_much_as_whole() {
    let line = [&b"-ERR "[..], &[b'a'; 50_000], b"\r\n"].concat();
    let text = [&b"$200000\r\n"[..], &[b'\n'; 200_000], b"\r\n"].concat();
    let many = [&b"*20000\r\n"[..], &b"$3\r\nabc\r\n".repeat(20_000)].concat();
    let attribute = [&b"|1\r\n+a\r\n$-1\r\n"[..], &many].concat();
    for input in [line, text, many, attribute] {
        let (whole, single) = (work(&input, usize::MAX), work(&input, 1));
        // Each header is searched once a byte, up to its dozen bytes: a constant, however long the frame.
        assert!(
            single <= 8 * (whole + input.len()),
            "{whole} whole, {single} by byte"
        );
        assert!(whole <= 2 * input.len());
    }
}

#[test]
fn a_large_message_in_small_reads_is_never_searched() {
    let size = 8 << 20;
    let header = format!(">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${size}\r\n");
    let input = [header.as_bytes(), &vec![b'\n'; size], b"\r\n"].concat();
    assert_eq!(work(&input, 16 << 10), 0);
    let mut decoder = Decoder::new(Limits::default());
    assert_eq!(decoder.decode(&input[..100]), Ok(None));
    assert_eq!(
        decoder.need,
        input.len(),
        "the reads in between are not looked at"
    );
}

#[test]
fn reset_forgets() {
    for front in [
        &b"$10\r\nabc"[..],
        b"|1\r\n+a\r\n+b\r\n*2\r\n",
        b">4\r\n$8\r\npmessage\r\n$99\r\n",
    ] {
        let mut decoder = Decoder::new(Limits::default());
        assert_eq!(decoder.decode(front), Ok(None));
        decoder.reset();
        assert_eq!(decoder.decode(b":1\r\n"), Ok(Some((Frame::Integer(1), 4))));
    }
}

#[test]
fn an_error_leaves_the_decoder_as_new() {
    let mut decoder = Decoder::new(Limits::default());
    assert_eq!(decoder.decode(b"|1\r\n+a\r\n+b\r\n*2\r\n"), Ok(None));
    assert!(decoder.decode(b"|1\r\n+a\r\n+b\r\n*2\r\nHTTP").is_err());
    assert_eq!(decoder.decode(b":1\r\n"), Ok(Some((Frame::Integer(1), 4))));
}
