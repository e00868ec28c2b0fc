//! Scanned frame → reply, by the `redis-protocol` crate, on a copy in which the few legal things are mended that
//! the crate would refuse: nulls of RESP2, attributes of nulls, aggregates as keys, errors that are not UTF-8.
//!
//! Relies on the scanner for everything: the frame is whole, well-formed and within the limits.

use super::Reply;
use bytes::Bytes;
use redis_protocol::resp3::{decode::complete, types::RangeFrame};
use std::borrow::Cow;
use std::mem::size_of;
use std::ops::Range;

/// What an element takes in memory while it is decoded: the frame, the ranges that it is made from, and as much
/// again for the slack of vectors and hash tables.
pub(super) const ELEMENT_COST: usize =
    2 * (size_of::<Reply>() + size_of::<RangeFrame>()) + size_of::<Edit>();

/// A place where the bytes given to `redis-protocol` differ from the bytes received.
#[derive(Debug)]
struct Edit {
    range: Range<usize>,
    text: Cow<'static, [u8]>,
}

/// The places to mend in one frame; they do not overlap. All positions are those of the scanner's input.
#[derive(Debug, Default)]
pub(super) struct Mend {
    edits: Vec<Edit>,
}

impl Mend {
    pub(super) fn len(&self) -> usize {
        self.edits.len()
    }

    /// Forgets all but the first `count` places.
    pub(super) fn keep(&mut self, count: usize) {
        self.edits.truncate(count);
    }

    /// A null of RESP2.
    pub(super) fn null(&mut self, range: Range<usize>) {
        self.edit(range, Cow::Borrowed(b"_\r\n"));
    }

    /// An attribute with all that is in it: the crate refuses it before a null, and we have no use for any.
    pub(super) fn cut(&mut self, range: Range<usize>) {
        self.edit(range, Cow::Borrowed(b""));
    }

    /// The text of an error, which the crate makes a `str`. Redis quotes what it was sent, and that may be any bytes.
    pub(super) fn error(&mut self, at: usize, text: &[u8]) {
        if let Cow::Owned(valid) = String::from_utf8_lossy(text) {
            self.edit(at..at + text.len(), Cow::Owned(valid.into_bytes()));
        }
    }

    /// The header of a set or map with aggregates as keys, which the crate cannot hash: becomes an array's, of `count`
    /// elements.
    pub(super) fn flatten(&mut self, header: Range<usize>, count: usize) {
        self.edit(header, Cow::Owned(format!("*{count}\r\n").into_bytes()));
    }

    fn edit(&mut self, range: Range<usize>, text: Cow<'static, [u8]>) {
        self.edits.push(Edit { range, text });
    }

    /// Decodes the frame in `range`. The error says what the crate did not like, and has no other cause than a
    /// disagreement between it and the scanner.
    pub(super) fn decode(&mut self, input: &[u8], range: Range<usize>) -> Result<Reply, String> {
        let bytes = self.mended(input, range);
        match complete::decode_bytes(&bytes) {
            Ok(Some((reply, length))) if length == bytes.len() => Ok(reply),
            Ok(Some((_, length))) => Err(format!("its end is at {length} of {}", bytes.len())),
            Ok(None) => Err("it is incomplete".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn mended(&mut self, input: &[u8], frame: Range<usize>) -> Bytes {
        let received = |range: Range<usize>| input.get(range).unwrap_or_default();
        if self.edits.is_empty() {
            return Bytes::copy_from_slice(received(frame));
        }
        // A header is noted when its aggregate ends, so after what is within.
        self.edits.sort_unstable_by_key(|edit| edit.range.start);
        let mut copy = Vec::with_capacity(frame.len());
        let mut at = frame.start;
        for edit in &self.edits {
            copy.extend_from_slice(received(at..edit.range.start));
            copy.extend_from_slice(&edit.text);
            at = edit.range.end;
        }
        copy.extend_from_slice(received(at..frame.end));
        Bytes::from(copy)
    }
}
