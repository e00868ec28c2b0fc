//! Commands and replies → bytes. Appends to a buffer and knows nothing about who will write it.
//!
//! Commands are written by hand, they are the hot path; replies by `redis-protocol`'s encoders.

use super::{EncodeError, Excerpt, Reply};
use bytes::BytesMut;
use memchr::memchr2;
use redis_protocol::error::RedisProtocolError;
use redis_protocol::resp2::encode::extend_encode as extend_resp2;
use redis_protocol::resp2::types::BytesFrame as Resp2;
use redis_protocol::resp3::encode::complete::extend_encode as extend_resp3;
use redis_protocol::resp3::types::BytesAttributes;

/// The protocol version of a connection, as HELLO agreed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// Redis before 6, and every connection that did not say `HELLO 3`.
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// CR LF, `$`, the digits of a u64, CR LF.
const HEADER: usize = 2 + 1 + 20 + 2;

/// Appends a command: an array of bulk strings.
pub fn encode_command(out: &mut BytesMut, parts: &[&[u8]]) {
    let strings: usize = parts.iter().map(|part| part.len() + HEADER).sum();
    out.reserve(strings + HEADER);
    let mut buffer = [0; HEADER];
    // The count, `*3`, is a string's header without its frame of CR LFs: each part brings the one in front.
    let count = header(b'*', parts.len(), &mut buffer);
    out.extend_from_slice(count.get(2..count.len() - 2).unwrap_or_default());
    for part in parts {
        out.extend_from_slice(header(b'$', part.len(), &mut buffer));
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends `PUBLISH channel payload`.
pub fn encode_publish(out: &mut BytesMut, channel: &[u8], payload: &[u8]) {
    const COMMAND: &[u8] = b"*3\r\n$7\r\nPUBLISH";
    out.reserve(COMMAND.len() + channel.len() + payload.len() + 2 * HEADER + 2);
    let mut buffer = [0; HEADER];
    out.extend_from_slice(COMMAND);
    out.extend_from_slice(header(b'$', channel.len(), &mut buffer));
    out.extend_from_slice(channel);
    out.extend_from_slice(header(b'$', payload.len(), &mut buffer));
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// CR LF, `kind`, the length in decimal, CR LF: written from the back, as division yields the last digit first.
#[inline]
fn header(kind: u8, length: usize, buffer: &mut [u8; HEADER]) -> &[u8] {
    let mut at = HEADER;
    // A usize has at most 20 digits, and the buffer has room for that many: nothing is ever dropped.
    let mut put = |byte| {
        at = at.saturating_sub(1);
        if let Some(place) = buffer.get_mut(at) {
            *place = byte;
        }
    };
    put(b'\n');
    put(b'\r');
    let mut rest = length;
    loop {
        put(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    put(kind);
    put(b'\n');
    put(b'\r');
    buffer.get(at..).unwrap_or_default()
}

/// Appends a reply as a server sends it; on an error, nothing.
///
/// RESP2 has fewer types: a map becomes a flat array, a set or push an array, a boolean 0 or 1, a double, big number
/// or verbatim string a bulk string, a null `$-1`, and attributes are left out, as Redis does it.
pub fn encode_reply(
    out: &mut BytesMut,
    version: Version,
    reply: &Reply,
) -> Result<(), EncodeError> {
    check(reply)?;
    let before = out.len();
    let end = match version {
        Version::Resp2 => extend_resp2(out, &to_resp2(reply), false),
        Version::Resp3 => extend_resp3(out, reply, false),
    };
    // The crate reserves by a logarithm of floats, which is one digit too many for 10^18 - 1, and leaves a zero byte
    // there; where its text ends is what it returns.
    let end = end.map_err(|error: RedisProtocolError| EncodeError::Refused(error.to_string()));
    out.truncate(*end.as_ref().unwrap_or(&before));
    end.map(|_| ())
}

/// Whether a reply can be written without its text being taken for frames.
fn check(reply: &Reply) -> Result<(), EncodeError> {
    let line = |text: &[u8]| match memchr2(b'\r', b'\n', text) {
        Some(_) => Err(EncodeError::LineBreak {
            near: Excerpt::new(text),
        }),
        None => Ok(()),
    };
    match reply {
        Reply::SimpleString { data, .. } | Reply::BigNumber { data, .. } => line(data)?,
        Reply::SimpleError { data, .. } => line(data.as_bytes())?,
        Reply::Array { data, .. } | Reply::Push { data, .. } => data.iter().try_for_each(check)?,
        Reply::Set { data, .. } => data.iter().try_for_each(check)?,
        Reply::Map { data, .. } => check_pairs(data)?,
        Reply::Hello { .. } | Reply::ChunkedString(_) => return Err(EncodeError::NotAReply),
        _ => {}
    }
    attributes(reply).map_or(Ok(()), check_pairs)
}

fn check_pairs(pairs: &BytesAttributes) -> Result<(), EncodeError> {
    pairs
        .iter()
        .try_for_each(|(key, value)| check(key).and_then(|()| check(value)))
}

fn attributes(reply: &Reply) -> Option<&BytesAttributes> {
    match reply {
        Reply::Array { attributes, .. }
        | Reply::BigNumber { attributes, .. }
        | Reply::BlobError { attributes, .. }
        | Reply::BlobString { attributes, .. }
        | Reply::Boolean { attributes, .. }
        | Reply::Double { attributes, .. }
        | Reply::Map { attributes, .. }
        | Reply::Number { attributes, .. }
        | Reply::Push { attributes, .. }
        | Reply::Set { attributes, .. }
        | Reply::SimpleError { attributes, .. }
        | Reply::SimpleString { attributes, .. }
        | Reply::VerbatimString { attributes, .. } => attributes.as_ref(),
        Reply::Null | Reply::Hello { .. } | Reply::ChunkedString(_) => None,
    }
}

fn to_resp2(reply: &Reply) -> Resp2 {
    match reply {
        Reply::Array { data, .. } | Reply::Push { data, .. } => {
            Resp2::Array(data.iter().map(to_resp2).collect())
        }
        Reply::Set { data, .. } => Resp2::Array(data.iter().map(to_resp2).collect()),
        Reply::Map { data, .. } => Resp2::Array(
            data.iter()
                .flat_map(|(key, value)| [to_resp2(key), to_resp2(value)])
                .collect(),
        ),
        Reply::BlobString { data, .. }
        | Reply::BigNumber { data, .. }
        | Reply::VerbatimString { data, .. } => Resp2::BulkString(data.clone()),
        // Rust writes inf as Redis does, but not this one.
        Reply::Double { data, .. } if data.is_nan() => Resp2::BulkString("nan".into()),
        Reply::Double { data, .. } => Resp2::BulkString(data.to_string().into()),
        Reply::SimpleString { data, .. } => Resp2::SimpleString(data.clone()),
        Reply::SimpleError { data, .. } => Resp2::Error(data.clone()),
        // A line in RESP2, so what may not be in a line is replaced.
        Reply::BlobError { data, .. } => Resp2::Error(
            String::from_utf8_lossy(data)
                .replace(['\r', '\n'], " ")
                .into(),
        ),
        Reply::Boolean { data, .. } => Resp2::Integer(i64::from(*data)),
        Reply::Number { data, .. } => Resp2::Integer(*data),
        // `check` lets neither a Hello nor a chunk through.
        Reply::Null | Reply::Hello { .. } | Reply::ChunkedString(_) => Resp2::Null,
    }
}
