//! RESP: a stream gives the same frames and the same error in whatever pieces it arrives, no frame takes more than
//! there is, and what was decoded survives being encoded.
//!
//! `make fuzz`, or `cargo +nightly fuzz run resp` with cargo-fuzz. The first two bytes of the input are where the rest is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mq::codec::resp::{encode_reply, DecodeError, Decoder, Frame, Limits, Reply, Version};
use std::mem::discriminant;

/// So small that inputs of the fuzzer reach them.
const LIMITS: Limits = Limits {
    max_frame: 2048,
    max_depth: 4,
};

type Frames<'a> = Vec<(Frame<'a>, usize)>;

/// Feeds `input` up to each of `cuts` in turn.
fn feed<'a>(
    mut decoder: Decoder,
    input: &'a [u8],
    cuts: &[usize],
) -> (Frames<'a>, Option<DecodeError>) {
    let mut frames = Vec::new();
    let mut start = 0;
    for &cut in cuts {
        while start <= cut {
            match decoder.decode(&input[start..cut]) {
                Ok(None) => break,
                Ok(Some((frame, length))) => {
                    assert!(0 < length && length <= cut - start);
                    frames.push((frame, length));
                    start += length;
                }
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Equal as far as can be told: NaN is not equal to itself, sets and maps come in any order, and which value is kept
/// for a key that comes twice is chance.
fn same(left: &Frame<'_>, right: &Frame<'_>) -> bool {
    match (left, right) {
        (Frame::Reply(left), Frame::Reply(right)) => same_reply(left, right),
        _ => left == right,
    }
}

fn same_reply(left: &Reply, right: &Reply) -> bool {
    match (left, right) {
        (Reply::Array { data: left, .. }, Reply::Array { data: right, .. })
        | (Reply::Push { data: left, .. }, Reply::Push { data: right, .. }) => {
            let mut pairs = left.iter().zip(right);
            left.len() == right.len() && pairs.all(|(left, right)| same_reply(left, right))
        }
        (Reply::Set { data: left, .. }, Reply::Set { data: right, .. }) => {
            printed(left) == printed(right)
        }
        (Reply::Map { data: left, .. }, Reply::Map { data: right, .. }) => {
            printed(left.keys()) == printed(right.keys())
        }
        _ => format!("{left:?}") == format!("{right:?}"),
    }
}

fn printed<'a>(keys: impl IntoIterator<Item = &'a Reply>) -> Vec<String> {
    let mut printed: Vec<_> = keys.into_iter().map(|key| format!("{key:?}")).collect();
    printed.sort_unstable();
    printed
}

fn in_pieces_as_whole(make: fn(Limits) -> Decoder, input: &[u8], cut: usize) {
    let (whole, whole_error) = feed(make(LIMITS), input, &[input.len()]);
    let (pieces, pieces_error) = feed(make(LIMITS), input, &[cut, input.len()]);
    assert_eq!(whole.len(), pieces.len(), "{whole:?}\n{pieces:?}");
    for ((left, left_length), (right, right_length)) in whole.iter().zip(&pieces) {
        assert_eq!(left_length, right_length, "{left:?}\n{right:?}");
        assert!(same(left, right), "{left:?}\n{right:?}");
    }
    assert_eq!(
        whole_error.as_ref().map(discriminant),
        pieces_error.as_ref().map(discriminant),
        "{whole_error:?}\n{pieces_error:?}"
    );
    for (frame, _) in whole {
        if let Frame::Reply(reply) = frame {
            survives(reply);
        }
    }
}

fn survives(reply: Reply) {
    let mut out = Default::default();
    // A lone CR in a simple string is read, but not written.
    if encode_reply(&mut out, Version::Resp3, &reply).is_err() {
        return;
    }
    let decoded = Decoder::commands(Limits::default()).decode(&out);
    match decoded {
        // Attributes within a push hid that it is a pub/sub frame, and they are gone.
        Ok(Some((Frame::Push(_), _))) => {}
        Ok(Some((frame, length))) => {
            assert_eq!(length, out.len());
            assert!(same(&frame, &Frame::Reply(reply)), "{frame:?}");
        }
        other => panic!("{reply:?} became {other:?}"),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, input)) = data.split_at_checked(2) else {
        return;
    };
    let cut = usize::from(u16::from_le_bytes([cut[0], cut[1]])) % (input.len() + 1);
    in_pieces_as_whole(Decoder::new, input, cut);
    in_pieces_as_whole(Decoder::commands, input, cut);
});
