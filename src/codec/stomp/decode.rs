//! Bytes → frames: lines, escapes, lengths, limits.
//!
//! What is wrong is found at the same place, and is the same error, in whatever pieces the bytes arrive; so an error
//! never tells more than its cause needs.

use super::error::excerpt;
use super::headers::meaning;
use super::{Command, DecodeError, Decoder, Event, Frame, Headers, Version};
use memchr::{memchr, memchr3};

/// The front of a frame that was begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    command: Command,
    /// Its lines may end in CR LF.
    crlf: bool,
    /// A header holds an escape.
    escaped: bool,
    /// Where the first header starts.
    first: usize,
    /// Where the line starts that comes next; behind the empty line, the body.
    line: usize,
    /// Headers before that line.
    count: usize,
    /// The empty line was there.
    done: bool,
    /// What the first `content-length` says.
    length: Option<usize>,
}

/// What is at the front of the input between two frames.
enum Start {
    Nothing,
    HeartBeat(usize),
    Frame(Head),
}

type Decoded<'a> = Result<Option<(Event<'a>, usize)>, DecodeError>;

impl Decoder {
    #[inline]
    pub(super) fn advance<'a>(&mut self, input: &'a [u8]) -> Decoded<'a> {
        let mut head = match self.head {
            Some(head) => head,
            None => match self.start(input)? {
                Start::Frame(head) => head,
                Start::HeartBeat(length) => return Ok(Some((Event::HeartBeat, length))),
                Start::Nothing => {
                    self.need = input.len() + 1;
                    return Ok(None);
                }
            },
        };
        if !head.done && !self.headers(input, &mut head)? {
            self.need = input.len() + 1;
            self.head = Some(head);
            return Ok(None);
        }
        let Some(end) = self.body(input, &head)? else {
            self.head = Some(head);
            return Ok(None);
        };
        // Both ranges are of this input; `body` found the octet at `end`.
        let (lines, body) = (
            input.get(head.first..head.line).unwrap_or_default(),
            input.get(head.line..end).unwrap_or_default(),
        );
        let empty = if lines.ends_with(b"\r\n") && head.crlf {
            2
        } else {
            1
        };
        let lines = lines.get(..lines.len() - empty.min(lines.len()));
        let frame = Frame {
            command: head.command,
            headers: Headers::new(lines.unwrap_or_default(), head.crlf, head.escaped),
            body,
        };
        Ok(Some((Event::Frame(frame), end + 1)))
    }

    /// A line end, or the line with the command.
    #[inline]
    fn start(&self, input: &[u8]) -> Result<Start, DecodeError> {
        match input {
            [] | [b'\r'] => return Ok(Start::Nothing),
            [b'\n', ..] => return Ok(Start::HeartBeat(1)),
            [b'\r', b'\n', ..] => return Ok(Start::HeartBeat(2)),
            // A peer that speaks in binary may wait for an answer now: do not wait for its line to end.
            [found, ..] if !found.is_ascii_graphic() => {
                return Err(DecodeError::NotStomp { found: *found })
            }
            _ => {}
        }
        // With CR and LF.
        const LONGEST: usize = Command::MAX_LENGTH + 2;
        let front = input.get(..LONGEST).unwrap_or(input);
        let Some(end) = front.iter().position(|octet| *octet == b'\n') else {
            return match front.len() {
                LONGEST => Err(unknown_command(front)),
                _ => Ok(Start::Nothing),
            };
        };
        let line = front.get(..end).unwrap_or_default();
        let (line, crlf) = match line.strip_suffix(b"\r") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let Some(command) = Command::from_bytes(line) else {
            return Err(unknown_command(line));
        };
        if command.reader() != self.role || !command.exists_in(self.version) {
            return Err(self.misplaced(command));
        }
        Ok(Start::Frame(Head {
            command,
            crlf: crlf || self.version == Version::V12,
            escaped: false,
            first: end + 1,
            line: end + 1,
            count: 0,
            done: false,
            length: None,
        }))
    }

    /// Header after header, until the empty line (`true`) or the end of the input.
    #[inline]
    fn headers(&mut self, input: &[u8], head: &mut Head) -> Result<bool, DecodeError> {
        if self.scanned > head.line {
            // The line was incomplete: it still is, unless there is a line feed in what is new.
            let fresh = input.get(self.scanned..).unwrap_or_default();
            #[cfg(test)]
            {
                self.work += fresh.len();
            }
            if memchr(b'\n', fresh).is_none() {
                return self.unfinished(input, head);
            }
        }
        loop {
            let rest = input.get(head.line..).unwrap_or_default();
            let Some((colon, end)) = plain(rest) else {
                match memchr(b'\n', rest) {
                    None => return self.unfinished(input, head),
                    Some(end) => {
                        let line = rest.get(..end).unwrap_or_default();
                        let done = self.line(line, head)?;
                        self.next(head, end);
                        if done {
                            head.done = true;
                            return Ok(true);
                        }
                    }
                }
                continue;
            };
            self.count(end, head)?;
            if let (Some(name), Some(value)) = (rest.get(..colon), rest.get(colon + 1..end)) {
                self.header(name, value, head)?;
            }
            self.next(head, end);
        }
    }

    #[inline]
    fn next(&mut self, head: &mut Head, end: usize) {
        head.line += end + 1;
        #[cfg(test)]
        {
            self.work += end + 1;
        }
    }

    /// The input ends within a line.
    fn unfinished(&mut self, input: &[u8], head: &Head) -> Result<bool, DecodeError> {
        let mut length = input.len() - head.line;
        if head.crlf && length > 0 && input.ends_with(b"\r") {
            length -= 1;
        }
        if length > self.limits.max_header_line {
            return Err(self.line_too_long(head));
        }
        self.scanned = input.len();
        Ok(false)
    }

    /// A line that is not plainly a name and a value. `true`: it is the empty one.
    #[inline(never)]
    fn line(&self, line: &[u8], head: &mut Head) -> Result<bool, DecodeError> {
        let line = match line.strip_suffix(b"\r") {
            Some(line) if head.crlf => line,
            _ => line,
        };
        if line.is_empty() {
            return Ok(true);
        }
        self.count(line.len(), head)?;
        let command = head.command;
        let Some(colon) = memchr(b':', line) else {
            let line = excerpt(line);
            return Err(DecodeError::MissingColon { command, line });
        };
        let (name, value) = line.split_at(colon);
        if name.is_empty() {
            let line = excerpt(line);
            return Err(DecodeError::EmptyName { command, line });
        }
        if self.version == Version::V12 && memchr(b'\r', line).is_some() {
            let name = excerpt(name);
            return Err(DecodeError::CarriageReturn { command, name });
        }
        if command.escapes_in(self.version) && memchr(b'\\', line).is_some() {
            head.escaped = true;
            for part in [name, value] {
                if let Err(escape) = check_escapes(part, self.version) {
                    return Err(DecodeError::BadEscape {
                        command,
                        version: self.version,
                        name: excerpt(name),
                        escape,
                    });
                }
            }
        }
        self.header(name, value.get(1..).unwrap_or_default(), head)?;
        Ok(false)
    }

    /// One more header, whose line has this length.
    #[inline]
    fn count(&self, length: usize, head: &mut Head) -> Result<(), DecodeError> {
        if length > self.limits.max_header_line {
            return Err(self.line_too_long(head));
        }
        if head.count >= self.limits.max_headers {
            return Err(DecodeError::TooManyHeaders {
                command: head.command,
                limit: self.limits.max_headers,
            });
        }
        head.count += 1;
        Ok(())
    }

    /// Heeds the one header that says where the frame ends.
    #[inline]
    fn header(&self, name: &[u8], value: &[u8], head: &mut Head) -> Result<(), DecodeError> {
        if name == b"content-length" && head.length.is_none() {
            head.length = Some(self.content_length(value, head.command)?);
        }
        Ok(())
    }

    fn content_length(&self, value: &[u8], command: Command) -> Result<usize, DecodeError> {
        // The examples of 1.0 have blanks around values.
        let digits = match self.version {
            Version::V10 => value.trim_ascii(),
            _ => value,
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            let value = excerpt(value);
            return Err(DecodeError::BadContentLength { command, value });
        }
        let length = digits.iter().fold(0u64, |length, digit| {
            length
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        });
        if length > 0 && !self.body_allowed(command) {
            return Err(DecodeError::UnexpectedBody { command });
        }
        let limit = self.limits.max_body;
        match usize::try_from(length) {
            Ok(length) if length <= limit => Ok(length),
            _ => Err(DecodeError::BodyTooLarge {
                command,
                announced: Some(length),
                limit,
            }),
        }
    }

    #[inline]
    fn body_allowed(&self, command: Command) -> bool {
        self.version == Version::V10 || command.has_body()
    }

    /// Where the NUL behind the body is.
    #[inline]
    fn body(&mut self, input: &[u8], head: &Head) -> Result<Option<usize>, DecodeError> {
        let (command, start) = (head.command, head.line);
        let limit = self.limits.max_body;
        if let Some(announced) = head.length {
            let end = start.saturating_add(announced);
            return match input.get(end) {
                Some(0) => Ok(Some(end)),
                Some(found) => Err(DecodeError::MissingNul {
                    command,
                    announced,
                    found: *found,
                }),
                None => {
                    self.need = end.saturating_add(1);
                    Ok(None)
                }
            };
        }
        let from = start.max(self.scanned);
        let last = input
            .len()
            .min(start.saturating_add(limit).saturating_add(1));
        let fresh = input.get(from..last).unwrap_or_default();
        #[cfg(test)]
        {
            self.work += fresh.len();
        }
        if !self.body_allowed(command) {
            return match fresh {
                [] => {
                    self.need = start + 1;
                    Ok(None)
                }
                [0, ..] => Ok(Some(start)),
                _ => Err(DecodeError::UnexpectedBody { command }),
            };
        }
        if let Some(length) = memchr(0, fresh) {
            return Ok(Some(from + length));
        }
        if input.len() - start > limit {
            return Err(DecodeError::BodyTooLarge {
                command,
                announced: None,
                limit,
            });
        }
        self.scanned = input.len();
        self.need = input.len() + 1;
        Ok(None)
    }

    #[cold]
    fn misplaced(&self, command: Command) -> DecodeError {
        if command.reader() == self.role {
            let version = self.version;
            return DecodeError::NotInVersion { command, version };
        }
        DecodeError::WrongSide { command }
    }

    #[cold]
    fn line_too_long(&self, head: &Head) -> DecodeError {
        DecodeError::LineTooLong {
            command: head.command,
            limit: self.limits.max_header_line,
        }
    }
}

/// Whether an octet may end a name, or the plain form of a line.
const STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    stops[b'\n' as usize] = true;
    stops[b'\r' as usize] = true;
    stops[b':' as usize] = true;
    stops[b'\\' as usize] = true;
    stops
};

/// Where the colon and the line feed of the first line are, if it has the form that nearly all have: a name, a value,
/// no carriage return, no escape.
#[inline]
fn plain(rest: &[u8]) -> Option<(usize, usize)> {
    let colon = rest.iter().position(|octet| STOPS[usize::from(*octet)])?;
    if colon == 0 || rest.get(colon) != Some(&b':') {
        return None;
    }
    let value = rest.get(colon + 1..)?;
    let length = memchr3(b'\n', b'\r', b'\\', value)?;
    (value.get(length) == Some(&b'\n')).then_some((colon, colon + 1 + length))
}

/// The first escape that `version` does not define, as it was spelled.
fn check_escapes(text: &[u8], version: Version) -> Result<(), String> {
    let mut octets = text.iter();
    while octets.any(|octet| *octet == b'\\') {
        let escape = octets.next();
        let defined = match escape {
            Some(b'r') => version == Version::V12,
            Some(octet) => meaning(*octet).is_some(),
            None => false,
        };
        if !defined {
            let escape: Vec<u8> = [b'\\'].into_iter().chain(escape.copied()).collect();
            return Err(String::from_utf8_lossy(&escape).into_owned());
        }
    }
    Ok(())
}

#[cold]
fn unknown_command(found: &[u8]) -> DecodeError {
    DecodeError::UnknownCommand {
        found: excerpt(found),
    }
}
