//! The scanner: finds where a frame of any kind ends and holds it against the limits, without building it.
//!
//! Incremental: it remembers how far it came, so that feeding a frame byte by byte costs as much as feeding it whole.
//! On its way it notes what has to be mended before `redis-protocol` can read the frame. It must not know of pub/sub.

use super::mend::{Mend, ELEMENT_COST};
use super::{DecodeError, Excerpt, Limits, Reply};
use memchr::memchr;
use std::ops::Range;

/// The longest line: what Redis allows for an inline command. Errors and status lines are far shorter.
const MAX_LINE: usize = 64 << 10;

/// The longest header of an aggregate or bulk string: type, 19 digits, CR LF, and some for good measure.
const MAX_HEADER: usize = 24;

/// However small frames must be, a HELLO reply must fit.
const MIN_ELEMENTS: usize = 1024;

/// How far [`Scanner::scan`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    /// The frame cannot be complete before the input has this many bytes.
    Need(usize),
    /// A top-level attribute ends here; the reply that it belongs to follows.
    Attribute(usize),
    /// The frame ends here: [`Scanner::take`] it.
    Frame(usize),
}

/// An aggregate whose elements are being scanned.
#[derive(Debug)]
struct Level {
    /// `*`, `~`, `%`, `>` or `|`.
    kind: u8,
    /// From its type byte to its first element.
    header: Range<usize>,
    /// Elements that it has, keys and values counted apart.
    count: usize,
    /// Elements still to come. Never 0: an aggregate is closed with its last element.
    remaining: usize,
    /// How many places to mend there were before it.
    mends: usize,
    /// It is a map or set that `redis-protocol` cannot build; it will be an array of its elements.
    flatten: bool,
}

/// Where the scan of one frame stands.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Where the frame starts.
    start: usize,
    /// Everything before this was scanned and is well-formed.
    position: usize,
    /// No line feed is between `position` and here.
    searched: usize,
    /// The string whose header ends at `position`: the header's start, and the string's end.
    string: Option<(usize, usize)>,
    /// Open aggregates, outermost first.
    open: Vec<Level>,
    /// Elements announced by all aggregates of the frame.
    elements: u64,
    mend: Mend,
    /// Bytes looked at one by one, and calls.
    #[cfg(test)]
    pub(super) work: usize,
}

impl Scanner {
    /// Begins with the frame that starts at `start`. Keeps its allocations.
    pub(super) fn begin(&mut self, start: usize) {
        self.start = start;
        self.position = start;
        self.searched = start;
        self.string = None;
        self.open.clear();
        self.elements = 0;
        self.mend.keep(0);
    }

    /// Goes on where the last call stopped; `input` is that call's input and maybe more.
    pub(super) fn scan(&mut self, input: &[u8], limits: &Limits) -> Result<Scan, DecodeError> {
        loop {
            #[cfg(test)]
            {
                self.work += 1;
            }
            let at = self.position;
            let done = if let Some((header, end)) = self.string {
                let Some(stop) = input.get(end..end + 2) else {
                    return Ok(Scan::Need(end + 2));
                };
                self.string(input, header, end, stop)?
            } else {
                match input.get(at) {
                    None => return Ok(Scan::Need(at + 1)),
                    Some(b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_') => {
                        let Some(end) = self.line_end(input, limits)? else {
                            return Ok(Scan::Need(input.len() + 1));
                        };
                        self.line(input, at, end)?
                    }
                    Some(b'$' | b'!' | b'=' | b'*' | b'%' | b'~' | b'>' | b'|') => {
                        let Some((length, end)) = self.header(input, limits)? else {
                            return Ok(Scan::Need(input.len() + 1));
                        };
                        self.announce(input, at, length, end, limits)?
                    }
                    Some(&kind @ (b';' | b'.')) => return Err(DecodeError::Streamed { kind }),
                    Some(&found) => {
                        return Err(DecodeError::UnknownType {
                            found,
                            near: excerpt(input, at),
                        })
                    }
                }
            };
            if let Some(scan) = done {
                return Ok(scan);
            }
        }
    }

    /// Decodes the frame that ends at `end`, as [`Scan::Frame`] told.
    pub(super) fn take(&mut self, input: &[u8], end: usize) -> Result<Reply, DecodeError> {
        self.mend.decode(input, self.start..end).map_err(|reason| {
            let kind = input.get(self.start).copied().unwrap_or_default();
            DecodeError::BadValue {
                kind,
                reason,
                near: excerpt(input, self.start),
            }
        })
    }

    /// Where the line at `position` ends, behind its CR LF, if that is there.
    fn line_end(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, DecodeError> {
        let at = self.position;
        let kind = input.get(at).copied().unwrap_or_default();
        let room = limits.max_frame.saturating_sub(at);
        let longest = room.min(MAX_LINE);
        let from = self.searched.max(at);
        let until = input.len().min(at.saturating_add(longest));
        let found = memchr(b'\n', input.get(from..until).unwrap_or_default());
        #[cfg(test)]
        {
            self.work += found.map_or(until.saturating_sub(from), |found| found + 1);
        }
        let Some(found) = found else {
            if input.len() - at < longest {
                self.searched = until.max(at);
                return Ok(None);
            }
            return Err(if room < MAX_LINE {
                DecodeError::FrameTooLong {
                    announced: limits.max_frame as u64 + 1,
                    limit: limits.max_frame,
                }
            } else {
                DecodeError::LineTooLong {
                    kind,
                    limit: MAX_LINE,
                }
            });
        };
        let end = from + found + 1;
        match input.get(at + 1..end) {
            Some([.., b'\r', b'\n']) => Ok(Some(end)),
            _ => Err(DecodeError::MissingCrlf {
                kind,
                near: excerpt(input, at),
            }),
        }
    }

    /// The length or count that the header at `position` announces (None: the -1 of a null), and the header's end.
    #[allow(clippy::type_complexity)] // incomplete, or (null or a length, end): a name would hide it
    fn header(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<(Option<u64>, usize)>, DecodeError> {
        let at = self.position;
        let line = input.get(at..).unwrap_or_default();
        let kind = line.first().copied().unwrap_or_default();
        let near = || excerpt(input, at);
        let short = line.get(..MAX_HEADER).unwrap_or(line);
        let Some(end) = memchr(b'\n', short) else {
            #[cfg(test)]
            {
                self.work += short.len();
            }
            return if short.len() < MAX_HEADER {
                Ok(None)
            } else {
                Err(DecodeError::BadLength { kind, near: near() })
            };
        };
        let text = match short.get(1..end + 1) {
            Some([text @ .., b'\r', b'\n']) => text,
            _ => return Err(DecodeError::MissingCrlf { kind, near: near() }),
        };
        let end = at + end + 1;
        if end > limits.max_frame {
            return Err(too_long(end as u64, limits));
        }
        let length = match text {
            b"-1" if matches!(kind, b'$' | b'*') => None,
            b"?" => return Err(DecodeError::Streamed { kind }),
            digits => match decimal(digits) {
                Some(length) => Some(length),
                None => return Err(DecodeError::BadLength { kind, near: near() }),
            },
        };
        Ok(Some((length, end)))
    }

    /// Checks the line in `at..end`.
    fn line(&mut self, input: &[u8], at: usize, end: usize) -> Result<Option<Scan>, DecodeError> {
        let (kind, text) = match input.get(at..end) {
            Some([kind, text @ .., b'\r', b'\n']) => (*kind, text),
            _ => (0, [].as_slice()), // not reached: `line_end` has seen the CR LF
        };
        let number = || std::str::from_utf8(text).unwrap_or_default();
        let expected = match kind {
            b':' if number().parse::<i64>().is_err() => "not a 64-bit integer",
            b',' if number().parse::<f64>().is_err() => "not a number",
            b'(' if !is_big_number(text) => "not an integer",
            b'#' if !matches!(text, b"t" | b"f") => "neither t nor f",
            b'_' if !text.is_empty() => "a null has no value",
            _ => "",
        };
        if !expected.is_empty() {
            let reason = expected.to_owned();
            return Err(DecodeError::BadValue {
                kind,
                reason,
                near: excerpt(input, at),
            });
        }
        if kind == b'-' {
            self.mend.error(at + 1, text);
        }
        self.position = end;
        Ok(self.element())
    }

    /// A header is complete: opens the aggregate or begins the string.
    fn announce(
        &mut self,
        input: &[u8],
        at: usize,
        length: Option<u64>,
        end: usize,
        limits: &Limits,
    ) -> Result<Option<Scan>, DecodeError> {
        let kind = input.get(at).copied().unwrap_or_default();
        self.position = end;
        let Some(length) = length else {
            self.mend.null(at..end);
            return Ok(self.element());
        };
        if matches!(kind, b'$' | b'!' | b'=') {
            let total = (end as u64).saturating_add(length).saturating_add(2);
            return match usize::try_from(total) {
                Ok(total) if total <= limits.max_frame => {
                    self.string = Some((at, total - 2));
                    Ok(None)
                }
                _ => Err(too_long(total, limits)),
            };
        }

        let pairs = matches!(kind, b'%' | b'|');
        let count = if pairs {
            length.saturating_mul(2)
        } else {
            length
        };
        // An attribute costs memory even when it is empty.
        self.elements = self
            .elements
            .saturating_add(count)
            .saturating_add(u64::from(kind == b'|'));
        let limit = (limits.max_frame / ELEMENT_COST).max(MIN_ELEMENTS);
        let count = match usize::try_from(count) {
            Ok(count) if self.elements <= limit as u64 => count,
            _ => {
                return Err(DecodeError::TooManyElements {
                    announced: self.elements,
                    limit,
                })
            }
        };
        if self.open.len() >= limits.max_depth {
            return Err(DecodeError::TooDeep {
                limit: limits.max_depth,
            });
        }
        if kind != b'|' {
            if let Some(parent) = self.open.last_mut() {
                // `redis-protocol` cannot hash an aggregate, yet COMMAND answers with sets of maps.
                let is_key = parent.kind == b'%' && parent.remaining % 2 == 0;
                parent.flatten |= is_key || parent.kind == b'~';
            }
        }
        let level = Level {
            kind,
            header: at..end,
            count,
            remaining: count,
            mends: self.mend.len(),
            flatten: false,
        };
        if count > 0 {
            self.open.push(level);
            return Ok(None);
        }
        Ok(self.closed(level).unwrap_or_else(|| self.element()))
    }

    /// Checks the string in `position..end` whose header starts at `header`; `stop` is what follows it.
    fn string(
        &mut self,
        input: &[u8],
        header: usize,
        end: usize,
        stop: &[u8],
    ) -> Result<Option<Scan>, DecodeError> {
        let kind = input.get(header).copied().unwrap_or_default();
        if stop != b"\r\n" {
            return Err(DecodeError::MissingCrlf {
                kind,
                near: excerpt(input, end),
            });
        }
        let text = input.get(self.position..end).unwrap_or_default();
        if kind == b'='
            && !matches!(
                text,
                [b't', b'x', b't', b':', ..] | [b'm', b'k', b'd', b':', ..]
            )
        {
            let reason = "neither txt: nor mkd:".to_owned();
            return Err(DecodeError::BadValue {
                kind,
                reason,
                near: excerpt(input, header),
            });
        }
        self.string = None;
        self.position = end + 2;
        Ok(self.element())
    }

    /// An element ends at `position`: closes the aggregates that end with it.
    fn element(&mut self) -> Option<Scan> {
        while let Some(level) = self.open.last_mut() {
            level.remaining = level.remaining.saturating_sub(1);
            if level.remaining > 0 {
                return None;
            }
            if let Some(scan) = self.open.pop().and_then(|level| self.closed(level)) {
                return scan;
            }
        }
        Some(Scan::Frame(self.position))
    }

    /// `level`, no longer among the open ones, ends at `position`. None: it is an element of what is open.
    /// Some: it is an attribute, and this is how to go on.
    fn closed(&mut self, level: Level) -> Option<Option<Scan>> {
        if level.kind == b'|' {
            self.mend.keep(level.mends); // what was to be mended inside is cut with it
            self.mend.cut(level.header.start..self.position);
            return Some(
                self.open
                    .is_empty()
                    .then_some(Scan::Attribute(self.position)),
            );
        }
        if level.flatten {
            self.mend.flatten(level.header, level.count);
        }
        None
    }
}

/// A length: decimal digits only.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn is_big_number(text: &[u8]) -> bool {
    let digits = text
        .strip_prefix(b"-")
        .or(text.strip_prefix(b"+"))
        .unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn too_long(announced: u64, limits: &Limits) -> DecodeError {
    DecodeError::FrameTooLong {
        announced,
        limit: limits.max_frame,
    }
}

fn excerpt(input: &[u8], at: usize) -> Excerpt {
    Excerpt::new(input.get(at..).unwrap_or_default())
}
