//! Looking into the headers of a frame that was decoded.
//!
//! Everything here was validated by `decode`: each line has its end, a name, a colon, and no undefined escape.

use memchr::memchr;
use std::borrow::Cow;
use std::fmt;

/// The headers of a frame in the order of the wire, as bytes: ought to be UTF-8, but that is not checked. Nothing is
/// trimmed. Two are equal if names and values are, however these were spelled.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    /// Lines with their ends.
    lines: &'a [u8],
    /// A carriage return in front of a line feed belongs to the line end.
    crlf: bool,
    /// Some name or value holds an escape.
    escaped: bool,
}

impl<'a> Headers<'a> {
    #[inline]
    pub(super) fn new(lines: &'a [u8], crlf: bool, escaped: bool) -> Self {
        Self {
            lines,
            crlf,
            escaped,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Each name and value, repeated ones included, unescaped as the version demands. Borrowed where nothing was
    /// escaped.
    #[inline]
    pub fn iter(&self) -> HeaderIter<'a> {
        HeaderIter { rest: *self }
    }

    /// The value of the first header of this name ("Repeated Header Entries": only the first is the value).
    #[inline]
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<Cow<'a, [u8]>> {
        let name = name.as_ref();
        if self.escaped {
            return self
                .iter()
                .find_map(|(found, value)| (*found == *name).then_some(value));
        }
        let mut rest = *self;
        while let Some(line) = rest.next_line() {
            if line.get(name.len()) == Some(&b':') && line.starts_with(name) {
                // A name cannot hold a colon without an escape: what was found would be of a shorter one.
                return match memchr(b':', name) {
                    None => line.get(name.len() + 1..).map(Cow::Borrowed),
                    Some(_) => None,
                };
            }
        }
        None
    }

    /// Takes the first line off.
    #[inline]
    fn next_line(&mut self) -> Option<&'a [u8]> {
        let end = memchr(b'\n', self.lines)?;
        let line = self.lines.get(..end)?;
        self.lines = self.lines.get(end + 1..)?;
        Some(match line.strip_suffix(b"\r") {
            Some(line) if self.crlf => line,
            _ => line,
        })
    }
}

impl PartialEq for Headers<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers<'_> {}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self {
            map.entry(
                &format_args!("{}", name.escape_ascii()),
                &format_args!("{}", value.escape_ascii()),
            );
        }
        map.finish()
    }
}

impl<'a> IntoIterator for &Headers<'a> {
    type Item = (Cow<'a, [u8]>, Cow<'a, [u8]>);
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = (Cow<'a, [u8]>, Cow<'a, [u8]>);
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

/// Iterates over [`Headers`].
#[derive(Debug, Clone)]
pub struct HeaderIter<'a> {
    rest: Headers<'a>,
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (Cow<'a, [u8]>, Cow<'a, [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let line = self.rest.next_line()?;
        // Names are short: a loop is faster than a call.
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
        Some(if self.rest.escaped {
            (unescape(name), unescape(value))
        } else {
            (Cow::Borrowed(name), Cow::Borrowed(value))
        })
    }
}

/// What `\` and this octet stand for together ("Value Encoding").
#[inline]
pub(super) const fn meaning(octet: u8) -> Option<u8> {
    match octet {
        b'n' => Some(b'\n'),
        b'c' => Some(b':'),
        b'\\' => Some(b'\\'),
        b'r' => Some(b'\r'),
        _ => None,
    }
}

fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr(b'\\', text) else {
        return Cow::Borrowed(text);
    };
    let (clean, escaped) = text.split_at(first);
    let mut plain = Vec::with_capacity(text.len());
    plain.extend_from_slice(clean);
    let mut octets = escaped.iter().copied();
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'\\' => octets.next().and_then(meaning).unwrap_or(octet),
            octet => octet,
        };
        plain.push(octet);
    }
    Cow::Owned(plain)
}
