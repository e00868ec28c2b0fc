//! Tests of the RESP codec: what they share.

mod garbage;
mod limits;
mod properties;
mod pushes;
mod vectors;

use super::*;
use bytes::{Bytes, BytesMut};

/// Feeds `input` up to each of `cuts` in turn, then whole. The frames, and how it ended.
fn feed<'a>(
    decoder: &mut Decoder,
    input: &'a [u8],
    cuts: impl IntoIterator<Item = usize>,
) -> (Vec<(Frame<'a>, usize)>, Result<(), DecodeError>) {
    let mut frames = Vec::new();
    let mut start = 0;
    for cut in cuts.into_iter().chain([input.len()]) {
        while start <= cut {
            match decoder.decode(&input[start..cut]) {
                Ok(None) => break,
                Ok(Some((frame, length))) => {
                    assert!(0 < length && length <= cut - start, "took {length}");
                    frames.push((frame, length));
                    start += length;
                }
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(()))
}

/// `error` without its excerpt, which shows as much as had arrived.
fn plain(error: DecodeError) -> DecodeError {
    let near = Excerpt::new(b"");
    match error {
        DecodeError::UnknownType { found, .. } => DecodeError::UnknownType { found, near },
        DecodeError::BadLength { kind, .. } => DecodeError::BadLength { kind, near },
        DecodeError::MissingCrlf { kind, .. } => DecodeError::MissingCrlf { kind, near },
        DecodeError::BadValue { kind, reason, .. } => DecodeError::BadValue { kind, reason, near },
        error => error,
    }
}

fn decode_error(limits: Limits, input: &[u8]) -> DecodeError {
    match Decoder::new(limits).decode(input) {
        Err(error) => error,
        other => panic!("{}: {other:?}", input.escape_ascii()),
    }
}

fn blob(text: &str) -> Reply {
    Reply::BlobString {
        data: Bytes::copy_from_slice(text.as_bytes()),
        attributes: None,
    }
}

fn simple(text: &str) -> Reply {
    Reply::SimpleString {
        data: Bytes::copy_from_slice(text.as_bytes()),
        attributes: None,
    }
}

fn failure(text: &str) -> Reply {
    Reply::SimpleError {
        data: text.into(),
        attributes: None,
    }
}

fn number(data: i64) -> Reply {
    Reply::Number {
        data,
        attributes: None,
    }
}

fn double(data: f64) -> Reply {
    Reply::Double {
        data,
        attributes: None,
    }
}

fn boolean(data: bool) -> Reply {
    Reply::Boolean {
        data,
        attributes: None,
    }
}

fn array(data: impl IntoIterator<Item = Reply>) -> Reply {
    Reply::Array {
        data: data.into_iter().collect(),
        attributes: None,
    }
}

fn push(data: impl IntoIterator<Item = Reply>) -> Reply {
    Reply::Push {
        data: data.into_iter().collect(),
        attributes: None,
    }
}

fn set(data: impl IntoIterator<Item = Reply>) -> Reply {
    Reply::Set {
        data: data.into_iter().collect(),
        attributes: None,
    }
}

fn map(data: impl IntoIterator<Item = (Reply, Reply)>) -> Reply {
    Reply::Map {
        data: data.into_iter().collect(),
        attributes: None,
    }
}
