//! Frames → bytes. Appends to a buffer and knows nothing about who will write it.
//!
//! An error, and a frame that is not finished, leave the buffer as it was.

use super::error::excerpt;
use super::{Command, EncodeError, Version};
use bytes::BytesMut;
use memchr::memchr;

/// What follows the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// With a `content-length` header, so that it may hold NULs ("Header content-length"). Empty for frames that have
    /// no body; they get no such header either.
    Measured(&'a [u8]),
    /// Up to the first NUL. Some brokers tell text from bytes by the absence of `content-length`.
    Terminated(&'a [u8]),
}

impl Body<'_> {
    /// That of frames which have none.
    pub const NONE: Self = Self::Measured(&[]);
}

/// Appends a frame with these headers in this order, in the form of `version`.
///
/// # Errors
/// The frame cannot be sent as it is, see [`FrameBuilder`]; `out` is as it was.
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    command: Command,
    headers: &[(N, V)],
    body: Body<'_>,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut frame = FrameBuilder::new(command, version, out)?;
    for (name, value) in headers {
        frame.header(name, value)?;
    }
    frame.finish(body)
}

/// A frame that is being appended to a buffer. Taken back, unless it is finished.
///
/// Where the version has escapes they are written ("Value Encoding"). What it has none for is refused: a line feed, a
/// carriage return, and in a name a colon. So is a NUL, which many peers take for the end of the frame. A colon in the
/// value of a header of 1.0 or of CONNECT is sent as it is: 1.0 allows it, names end at the first one. Headers are sent
/// even where they are empty or repeated; lengths are not limited, peers do that.
#[derive(Debug)]
pub struct FrameBuilder<'o> {
    out: &'o mut BytesMut,
    /// Where the frame starts; the end of `out` once it is finished.
    start: usize,
    command: Command,
    version: Version,
    /// What has to be escaped or refused.
    escapes: bool,
}

impl<'o> FrameBuilder<'o> {
    /// Begins a frame behind what `out` holds.
    ///
    /// # Errors
    /// `version` has no such command.
    #[inline]
    pub fn new(
        command: Command,
        version: Version,
        out: &'o mut BytesMut,
    ) -> Result<Self, EncodeError> {
        if !command.exists_in(version) {
            return Err(EncodeError::NotInVersion { command, version });
        }
        let start = out.len();
        let name = command.as_str();
        out.reserve(name.len() + 1);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\n");
        Ok(Self {
            out,
            start,
            command,
            version,
            escapes: command.escapes_in(version),
        })
    }

    /// Adds a header.
    ///
    /// # Errors
    /// The name is empty or `content-length`; name or value hold what cannot be sent in this frame. The frame is as it
    /// was without this header.
    #[inline]
    pub fn header(
        &mut self,
        name: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<&mut Self, EncodeError> {
        let (name, value) = (name.as_ref(), value.as_ref());
        let (in_name, in_value) = (kinds(name), kinds(value));
        if name.is_empty() || name == b"content-length" {
            return Err(self.bad_name(name));
        }
        if in_name | in_value == 0 {
            self.out.reserve(name.len() + value.len() + 2);
            self.out.extend_from_slice(name);
            self.out.extend_from_slice(b":");
            self.out.extend_from_slice(value);
            self.out.extend_from_slice(b"\n");
            return Ok(self);
        }
        self.special(name, value, in_name, in_value)
    }

    /// Adds the body, and with it `content-length` where it is asked for, and ends the frame.
    ///
    /// # Errors
    /// The command has no body; or the body holds a NUL and is not measured. The whole frame is taken back.
    #[inline]
    pub fn finish(self, body: Body<'_>) -> Result<(), EncodeError> {
        let command = self.command;
        let bytes = match body {
            Body::Measured(bytes) => bytes,
            Body::Terminated(bytes) => match memchr(0, bytes) {
                Some(at) => return Err(EncodeError::NulInBody { command, at }),
                None => bytes,
            },
        };
        if !command.has_body() {
            if !bytes.is_empty() {
                return Err(EncodeError::UnexpectedBody { command });
            }
        } else if let Body::Measured(_) = body {
            self.out.extend_from_slice(b"content-length:");
            put_decimal(bytes.len(), self.out);
            self.out.extend_from_slice(b"\n");
        }
        self.out.reserve(bytes.len() + 2);
        self.out.extend_from_slice(b"\n");
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\0");
        let mut frame = self;
        frame.start = frame.out.len();
        Ok(())
    }

    /// A header that holds something to escape, to refuse, or to look at again.
    #[inline(never)]
    fn special(
        &mut self,
        name: &[u8],
        value: &[u8],
        in_name: u8,
        in_value: u8,
    ) -> Result<&mut Self, EncodeError> {
        let refused = self.refused();
        for (part, found) in [
            (name, in_name & refused),
            (value, in_value & refused & !COLON),
        ] {
            if found != 0 {
                let octet = part.iter().copied().find(|octet| kind(*octet) & found != 0);
                return Err(EncodeError::Octet {
                    command: self.command,
                    version: self.version,
                    name: excerpt(name),
                    octet: octet.unwrap_or_default(),
                });
            }
        }
        let end = self.out.len();
        self.out.reserve(name.len() + value.len() + 2);
        self.put(name);
        self.out.extend_from_slice(b":");
        self.put(value);
        self.out.extend_from_slice(b"\n");
        debug_assert!(self.out.len() > end);
        Ok(self)
    }

    /// The kinds of octets that this frame has no way to say, in a name at least.
    fn refused(&self) -> u8 {
        match (self.escapes, self.version) {
            (true, Version::V12) => NUL,
            // 1.1 could send a carriage return as it is. RabbitMQ then ends the connection, others drop it.
            (true, _) => NUL | CARRIAGE_RETURN,
            (false, _) => NUL | CARRIAGE_RETURN | LINE_FEED | COLON,
        }
    }

    /// Appends `text`, escaped where the frame has escapes.
    fn put(&mut self, text: &[u8]) {
        if !self.escapes {
            self.out.extend_from_slice(text);
            return;
        }
        let mut rest = text;
        while let Some(at) = rest.iter().position(|octet| kind(*octet) != 0) {
            let (clean, special) = rest.split_at(at);
            self.out.extend_from_slice(clean);
            self.out.extend_from_slice(match special.first() {
                Some(b'\n') => br"\n",
                Some(b':') => br"\c",
                Some(b'\r') => br"\r",
                _ => br"\\",
            });
            rest = special.get(1..).unwrap_or_default();
        }
        self.out.extend_from_slice(rest);
    }

    #[cold]
    fn bad_name(&self, name: &[u8]) -> EncodeError {
        let command = self.command;
        if name.is_empty() {
            EncodeError::EmptyName { command }
        } else {
            EncodeError::ContentLength { command }
        }
    }
}

impl Drop for FrameBuilder<'_> {
    #[inline]
    fn drop(&mut self) {
        self.out.truncate(self.start);
    }
}

const NUL: u8 = 1;
const LINE_FEED: u8 = 2;
const CARRIAGE_RETURN: u8 = 4;
const COLON: u8 = 8;
const BACKSLASH: u8 = 16;

/// The kind of each octet; 0 for those that mean nothing.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    kinds[0] = NUL;
    kinds[b'\n' as usize] = LINE_FEED;
    kinds[b'\r' as usize] = CARRIAGE_RETURN;
    kinds[b':' as usize] = COLON;
    kinds[b'\\' as usize] = BACKSLASH;
    kinds
};

#[inline]
fn kind(octet: u8) -> u8 {
    KINDS[usize::from(octet)]
}

/// The kinds that occur in `text`.
#[inline]
fn kinds(text: &[u8]) -> u8 {
    text.iter().fold(0, |found, octet| found | kind(*octet))
}

fn put_decimal(number: usize, out: &mut BytesMut) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    let mut rest = number;
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        start = at;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}
