//! Replies and pub/sub frames → bytes, piece by piece, for a server that writes them as it goes. Appends to a buffer.
//!
//! [`super::encode_reply`] does the same for a reply that is there as a tree.

use super::{Channel, Version};
use bytes::BytesMut;

/// The length of a decimal u64.
const DIGITS: usize = 20;

/// `kind`, a number, CR LF.
#[inline]
fn header(out: &mut BytesMut, kind: u8, number: u64) {
    // One digit is by far the most common.
    if number < 10 {
        out.extend_from_slice(&[kind, b'0' + number as u8, b'\r', b'\n']);
        return;
    }
    let mut buffer = [0; 1 + DIGITS + 2];
    let mut at = buffer.len();
    let mut put = |byte| {
        // The buffer has room for every digit that a u64 can have.
        at = at.saturating_sub(1);
        if let Some(place) = buffer.get_mut(at) {
            *place = byte;
        }
    };
    put(b'\n');
    put(b'\r');
    let mut rest = number;
    while rest > 0 {
        put(b'0' + (rest % 10) as u8);
        rest /= 10;
    }
    put(kind);
    out.extend_from_slice(buffer.get(at..).unwrap_or_default());
}

/// A line: `+OK`. What would end it early becomes a space.
pub fn put_line(out: &mut BytesMut, text: &[u8]) {
    put_text(out, b'+', text);
}

/// An error: its kind, a space, what is wrong. What would end it early becomes a space.
pub fn put_error(out: &mut BytesMut, text: &[u8]) {
    put_text(out, b'-', text);
}

fn put_text(out: &mut BytesMut, kind: u8, text: &[u8]) {
    out.extend_from_slice(&[kind]);
    let start = out.len();
    out.extend_from_slice(text);
    for byte in out.iter_mut().skip(start) {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// An integer.
#[inline]
pub fn put_integer(out: &mut BytesMut, value: i64) {
    match u64::try_from(value) {
        Ok(value) => header(out, b':', value),
        Err(_) => put_text(out, b':', value.to_string().as_bytes()),
    }
}

/// A bulk string.
#[inline]
pub fn put_bulk(out: &mut BytesMut, bytes: &[u8]) {
    header(out, b'$', bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// A text for people: a verbatim string, in RESP2 a bulk string.
pub fn put_text_for_people(out: &mut BytesMut, version: Version, text: &str) {
    match version {
        Version::Resp2 => put_bulk(out, text.as_bytes()),
        Version::Resp3 => {
            header(out, b'=', text.len() as u64 + 4);
            out.extend_from_slice(b"txt:");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Nothing.
pub fn put_null(out: &mut BytesMut, version: Version) {
    out.extend_from_slice(match version {
        Version::Resp2 => b"$-1\r\n",
        Version::Resp3 => b"_\r\n",
    });
}

/// The head of an array of `count` elements, which follow.
pub fn put_array(out: &mut BytesMut, count: usize) {
    header(out, b'*', count as u64);
}

/// The head of a set of `count` elements.
pub fn put_set(out: &mut BytesMut, version: Version, count: usize) {
    let kind = match version {
        Version::Resp2 => b'*',
        Version::Resp3 => b'~',
    };
    header(out, kind, count as u64);
}

/// The head of a map of `count` keys, each followed by its value.
pub fn put_map(out: &mut BytesMut, version: Version, count: usize) {
    match version {
        Version::Resp2 => header(out, b'*', 2 * count as u64),
        Version::Resp3 => header(out, b'%', count as u64),
    }
}

#[inline]
fn push(out: &mut BytesMut, version: Version, count: u64) {
    let kind = match version {
        Version::Resp2 => b'*',
        Version::Resp3 => b'>',
    };
    header(out, kind, count);
}

/// A message to a subscriber of its channel.
#[inline]
pub fn put_message(out: &mut BytesMut, version: Version, channel: &[u8], payload: &[u8]) {
    out.reserve(channel.len() + payload.len() + 64);
    push(out, version, 3);
    out.extend_from_slice(b"$7\r\nmessage\r\n");
    put_bulk(out, channel);
    put_bulk(out, payload);
}

/// A message to a subscriber of a pattern that its channel matches.
#[inline]
pub fn put_pattern_message(
    out: &mut BytesMut,
    version: Version,
    pattern: &[u8],
    channel: &[u8],
    payload: &[u8],
) {
    out.reserve(pattern.len() + channel.len() + payload.len() + 96);
    push(out, version, 4);
    out.extend_from_slice(b"$8\r\npmessage\r\n");
    put_bulk(out, pattern);
    put_bulk(out, channel);
    put_bulk(out, payload);
}

/// The confirmation of a SUBSCRIBE or PSUBSCRIBE (`begins`), or of its end; None for an end of all where there was
/// nothing. `count`: subscriptions of this connection from now on.
pub fn put_subscription(
    out: &mut BytesMut,
    version: Version,
    kind: Channel,
    begins: bool,
    name: Option<&[u8]>,
    count: usize,
) {
    push(out, version, 3);
    put_bulk(
        out,
        match (kind, begins) {
            (Channel::Exact, true) => b"subscribe",
            (Channel::Exact, false) => b"unsubscribe",
            (Channel::Pattern, true) => b"psubscribe",
            (Channel::Pattern, false) => b"punsubscribe",
        },
    );
    match name {
        Some(name) => put_bulk(out, name),
        None => put_null(out, version),
    }
    put_integer(out, count as i64);
}

/// The answer to a PING of a RESP2 connection that has subscriptions.
pub fn put_pong(out: &mut BytesMut, text: &[u8]) {
    put_array(out, 2);
    put_bulk(out, b"pong");
    put_bulk(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::resp::{Decoder, Frame, Limits, Push};

    fn written(put: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut out = BytesMut::new();
        put(&mut out);
        out
    }

    #[test]
    fn a_client_reads_what_is_written() {
        for version in [Version::Resp2, Version::Resp3] {
            for length in [0, 9, 10, 99, 100, 100_000] {
                let payload = vec![b'x'; length];
                let out = written(|out| put_pattern_message(out, version, b"p", b"c", &payload));
                let mut decoder = Decoder::new(Limits::default());
                let expected = Push::PatternMessage {
                    pattern: b"p",
                    channel: b"c",
                    payload: &payload,
                };
                let decoded = decoder.decode(&out);
                assert_eq!(decoded, Ok(Some((Frame::Push(expected), out.len()))));
            }
            let out = written(|out| {
                put_subscription(out, version, Channel::Pattern, false, None, 12);
            });
            let expected = Push::Unsubscribed {
                kind: Channel::Pattern,
                name: None,
                count: 12,
            };
            let decoded = Decoder::new(Limits::default())
                .decode(&out)
                .map(|found| found.map(|(frame, _)| frame == Frame::Push(expected)));
            assert_eq!(decoded, Ok(Some(true)));
        }
    }

    #[test]
    fn numbers_and_lines_are_as_redis_writes_them() {
        let out = written(|out| {
            put_integer(out, 0);
            put_integer(out, 1234567);
            put_integer(out, -1);
            put_integer(out, i64::MAX);
            put_error(out, b"ERR a\r\nb");
            put_map(out, Version::Resp2, 1);
            put_map(out, Version::Resp3, 1);
            put_text_for_people(out, Version::Resp3, "x");
        });
        assert_eq!(
            &out[..],
            b":0\r\n:1234567\r\n:-1\r\n:9223372036854775807\r\n-ERR a  b\r\n*2\r\n%1\r\n=5\r\ntxt:x\r\n"
        );
    }
}
