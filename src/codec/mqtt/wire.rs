//! The data types of MQTT (section 1.5): read from the body of a packet, written to a buffer.
//!
//! Knows nothing about what the values are for.

use super::{DecodeError, Place};
use bytes::{BufMut, BytesMut};
use std::str;

/// A variable byte integer as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Varint {
    pub(super) value: u32,
    /// Its length in bytes, 1 to 4.
    pub(super) size: usize,
    /// There is no shorter form of it.
    pub(super) minimal: bool,
}

/// The variable byte integer at the front of `input` (section 1.5.5), or `None` where it does not end.
#[inline]
pub(super) fn varint(input: &[u8]) -> Result<Option<Varint>, DecodeError> {
    match input {
        [value @ ..=0x7f, ..] => Ok(Some(Varint {
            value: u32::from(*value),
            size: 1,
            minimal: true,
        })),
        _ => long_varint(input),
    }
}

fn long_varint(input: &[u8]) -> Result<Option<Varint>, DecodeError> {
    let mut value = 0;
    for (place, &byte) in input.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Ok(Some(Varint {
                value,
                size: place + 1,
                minimal: place == 0 || byte != 0,
            }));
        }
    }
    if input.len() < 4 {
        return Ok(None);
    }
    Err(DecodeError::malformed(
        "a variable byte integer has more than four bytes",
    ))
}

#[cold]
pub(super) fn not_minimal() -> DecodeError {
    DecodeError::malformed("a variable byte integer is longer than it needs to be")
}

/// How many bytes a variable byte integer takes.
#[inline]
pub(super) const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// Appends a variable byte integer of at most four bytes.
#[inline]
pub(super) fn put_varint(out: &mut BytesMut, value: usize) {
    let mut rest = value;
    while rest > 0x7f {
        out.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// Appends a string or binary data behind its length; whoever calls has seen that it has at most 65535 bytes.
#[inline]
pub(super) fn put_binary(out: &mut BytesMut, data: &[u8]) {
    out.put_u16(data.len() as u16);
    out.extend_from_slice(data);
}

/// Reads the body of a packet from its front. `what` names the value in errors.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    place: Place,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(rest: &'a [u8], place: Place) -> Self {
        Self { rest, place }
    }

    /// The packet that it reads.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let (&value, rest) = self.rest.split_first().ok_or_else(|| self.ends(what))?;
        self.rest = rest;
        Ok(value)
    }

    #[inline]
    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        let (value, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.ends(what))?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*value))
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let (value, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.ends(what))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*value))
    }

    /// A packet identifier, which is never 0 [MQTT-2.2.1-3].
    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.u16("packet identifier")? {
            0 => Err(self.zero_id()),
            id => Ok(id),
        }
    }

    /// Only version 5 has these in its packets, so it has to be the shortest form [MQTT-1.5.5-1].
    #[inline]
    pub(super) fn varint(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let Some(found) = varint(self.rest)? else {
            return Err(self.ends(what));
        };
        if !found.minimal {
            return Err(not_minimal());
        }
        self.take(found.size, what)?;
        Ok(found.value)
    }

    #[inline]
    pub(super) fn take(
        &mut self,
        length: usize,
        what: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let (data, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.ends(what))?;
        self.rest = rest;
        Ok(data)
    }

    #[inline]
    pub(super) fn binary(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.u16(what)?;
        self.take(usize::from(length), what)
    }

    /// UTF-8 that may hold NUL; whoever calls looks for that.
    #[inline]
    pub(super) fn raw_text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let data = self.binary(what)?;
        str::from_utf8(data).map_err(|_| self.not_utf8(what))
    }

    /// Well-formed UTF-8, which has no surrogates, without NUL [MQTT-1.5.4-1], [MQTT-1.5.4-2].
    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let text = self.raw_text(what)?;
        if text.contains('\0') {
            return Err(self.nul(what));
        }
        Ok(text)
    }

    /// Nothing may be left.
    #[inline]
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.trailing())
    }

    #[cold]
    pub(super) fn nul(&self, what: &str) -> DecodeError {
        let place = self.place;
        DecodeError::malformed(format!("the {what} of {place} holds a NUL character"))
    }

    #[cold]
    fn ends(&self, what: &str) -> DecodeError {
        let place = self.place;
        DecodeError::malformed(format!("{place} ends before its {what} does"))
    }

    #[cold]
    fn not_utf8(&self, what: &str) -> DecodeError {
        let place = self.place;
        DecodeError::malformed(format!("the {what} of {place} is not UTF-8"))
    }

    #[cold]
    fn zero_id(&self) -> DecodeError {
        let place = self.place;
        DecodeError::protocol(format!("{place} has the packet identifier 0"))
    }

    #[cold]
    fn trailing(&self) -> DecodeError {
        let (place, count) = (self.place, self.rest.len());
        DecodeError::malformed(format!("{place} goes on for {count} bytes behind its end"))
    }
}
