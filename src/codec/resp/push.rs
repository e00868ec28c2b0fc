//! The fast path: pub/sub frames, integers and `+OK`, borrowed from the slice without an allocation.
//!
//! Stateless: a frame that is still incomplete is begun anew on the next call, which costs next to nothing because
//! strings are jumped over by their length, never searched. Whatever is not exactly one of the frames it knows, it
//! leaves to the scanner, broken frames included: only the scanner says what is wrong.

use super::{Channel, Push};

/// A frame of the fast path: a [`super::Frame`] without the variant that makes that one large and droppable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fast<'a> {
    Push(Push<'a>),
    Integer(i64),
    Ok,
}

/// Why there is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing can be said before the input has this many bytes. Never more than that: a frame that is whole but
    /// waited for would hang the connection.
    Need(usize),
    /// Not a frame of the fast path, or not within the limits.
    Other,
}

/// No length and no integer has more digits than this, leading zeros aside; 19 digits fit in a u64.
const MAX_DIGITS: usize = 19;

/// Decodes the frame at the front of `input` if it is one of ours. `arrays`: whether an array (`*`) may be a
/// pub/sub frame, as it is in what a RESP2 server sends.
#[inline(always)]
pub(super) fn decode(
    input: &[u8],
    max_frame: usize,
    arrays: bool,
) -> Result<(Fast<'_>, usize), Stop> {
    let (frame, end) = match *input {
        [b'>', count @ b'2'..=b'4', b'\r', b'\n', ..] => pubsub(input, count, false, max_frame)?,
        [b'*', count @ b'2'..=b'4', b'\r', b'\n', ..] if arrays => {
            pubsub(input, count, true, max_frame)?
        }
        [b':', ..] => {
            let (value, end) = integer(input, 0)?;
            (Fast::Integer(value), end)
        }
        [b'+', b'O', b'K', b'\r', b'\n', ..] => (Fast::Ok, 5),
        // What these are shows with the next byte.
        [] | [b'>' | b'*'] | [b'>' | b'*', _] | [b'>' | b'*', _, b'\r'] => {
            return Err(Stop::Need(input.len() + 1))
        }
        [b'+'] | [b'+', b'O'] | [b'+', b'O', b'K'] | [b'+', b'O', b'K', b'\r'] => {
            return Err(Stop::Need(input.len() + 1))
        }
        _ => return Err(Stop::Other),
    };
    if end > max_frame {
        return Err(Stop::Other);
    }
    Ok((frame, end))
}

/// Decodes a push or array of `count` (an ASCII digit) elements. Its header takes the first four bytes of `input`.
#[inline(always)]
fn pubsub(
    input: &[u8],
    count: u8,
    is_array: bool,
    max_frame: usize,
) -> Result<(Fast<'_>, usize), Stop> {
    const HEADER: usize = 4;
    // All but the first are for speed alone: the two kinds that come by the million.
    let (kind, at): (&[u8], usize) = match input.get(HEADER..).unwrap_or_default() {
        [b'$', b'8', b'\r', b'\n', b'p', b'm', b'e', b's', b's', b'a', b'g', b'e', b'\r', b'\n', ..] => {
            (b"pmessage", HEADER + 14)
        }
        [b'$', b'7', b'\r', b'\n', b'm', b'e', b's', b's', b'a', b'g', b'e', b'\r', b'\n', ..] => {
            (b"message", HEADER + 13)
        }
        _ => bulk(input, HEADER, max_frame)?,
    };
    let (push, end) = match (count, kind) {
        (b'4', b"pmessage") => {
            let (pattern, at) = bulk(input, at, max_frame)?;
            let (channel, at) = bulk(input, at, max_frame)?;
            let (payload, at) = bulk(input, at, max_frame)?;
            (
                Push::PatternMessage {
                    pattern,
                    channel,
                    payload,
                },
                at,
            )
        }
        (b'3', b"message") => {
            let (channel, at) = bulk(input, at, max_frame)?;
            let (payload, at) = bulk(input, at, max_frame)?;
            (Push::Message { channel, payload }, at)
        }
        (b'3', b"subscribe" | b"psubscribe") => {
            let (name, at) = bulk(input, at, max_frame)?;
            let (count, at) = integer(input, at)?;
            (
                Push::Subscribed {
                    kind: channel_kind(kind),
                    name,
                    count,
                },
                at,
            )
        }
        (b'3', b"unsubscribe" | b"punsubscribe") => {
            let (name, at) = bulk_or_null(input, at, max_frame)?;
            let (count, at) = integer(input, at)?;
            (
                Push::Unsubscribed {
                    kind: channel_kind(kind),
                    name,
                    count,
                },
                at,
            )
        }
        // RESP3 connections get `+PONG`.
        (b'2', b"pong") if is_array => (Push::Pong, bulk(input, at, max_frame)?.1),
        _ => return Err(Stop::Other),
    };
    Ok((Fast::Push(push), end))
}

/// Of `subscribe` and `psubscribe`, `unsubscribe` and `punsubscribe`.
fn channel_kind(kind: &[u8]) -> Channel {
    if kind.starts_with(b"p") {
        Channel::Pattern
    } else {
        Channel::Exact
    }
}

/// The bulk string at `at`, and where the next element starts.
#[inline(always)]
fn bulk(input: &[u8], at: usize, max_frame: usize) -> Result<(&[u8], usize), Stop> {
    let rest = input.get(at..).unwrap_or_default();
    let (length, start) = match *rest {
        // Most strings are this short; two digits at once are twice as fast as a loop.
        [b'$', ones @ b'0'..=b'9', b'\r', b'\n', ..] => (u64::from(ones - b'0'), at + 4),
        [b'$', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => {
            (u64::from(tens - b'0') * 10 + u64::from(ones - b'0'), at + 5)
        }
        [b'$', ..] => number(input, at + 1)?,
        [] => return Err(Stop::Need(at + 1)),
        _ => return Err(Stop::Other),
    };
    // `start` is at most the input's length and the sum is compared before it is trusted, so that neither this
    // nor what is computed from it overflows.
    let within = (start as u64).saturating_add(length).saturating_add(2) <= max_frame as u64;
    let Some(length) = usize::try_from(length).ok().filter(|_| within) else {
        return Err(Stop::Other);
    };
    let end = start + length;
    match input.get(end..end + 2) {
        Some(b"\r\n") => Ok((input.get(start..end).ok_or(Stop::Other)?, end + 2)),
        Some(_) => Err(Stop::Other),
        None => Err(Stop::Need(end + 2)),
    }
}

/// A bulk string, or the null of either version.
fn bulk_or_null(input: &[u8], at: usize, max_frame: usize) -> Result<(Option<&[u8]>, usize), Stop> {
    match input.get(at..).unwrap_or_default() {
        [b'_', b'\r', b'\n', ..] => Ok((None, at + 3)),
        [b'$', b'-', b'1', b'\r', b'\n', ..] => Ok((None, at + 5)),
        [b'_', ..] | [b'$', b'-', ..] if input.len() < at + 5 => Err(Stop::Need(input.len() + 1)),
        _ => bulk(input, at, max_frame).map(|(name, at)| (Some(name), at)),
    }
}

/// The integer frame at `at`, and where the next frame starts.
fn integer(input: &[u8], at: usize) -> Result<(i64, usize), Stop> {
    match input.get(at..).unwrap_or_default() {
        [b':', b'-', ..] => {
            let (value, end) = number(input, at + 2)?;
            Ok((0i64.checked_sub_unsigned(value).ok_or(Stop::Other)?, end))
        }
        [b':', b'+', ..] => unsigned(number(input, at + 2)?),
        [b':', ..] => unsigned(number(input, at + 1)?),
        [] => Err(Stop::Need(at + 1)),
        _ => Err(Stop::Other),
    }
}

fn unsigned((value, end): (u64, usize)) -> Result<(i64, usize), Stop> {
    Ok((i64::try_from(value).map_err(|_| Stop::Other)?, end))
}

/// Decimal digits and CR LF from `at` on: their value, and what comes after.
#[inline]
fn number(input: &[u8], at: usize) -> Result<(u64, usize), Stop> {
    let rest = input.get(at..).unwrap_or_default();
    let mut value = 0;
    for (digits, &byte) in rest.iter().enumerate().take(MAX_DIGITS + 1) {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 && digits < MAX_DIGITS {
            value = value * 10 + u64::from(digit);
            continue;
        }
        return match rest.get(digits..digits + 2) {
            Some(b"\r\n") if digits > 0 => Ok((value, at + digits + 2)),
            None if byte == b'\r' && digits > 0 => Err(Stop::Need(at + digits + 2)),
            _ => Err(Stop::Other),
        };
    }
    Err(Stop::Need(input.len().max(at) + 1))
}
