//! What a client of Redis sends: commands as arrays of bulk strings, or as a line that somebody typed.
//!
//! Incremental and without an allocation a command: the arguments are places in the input, or, where a line had quotes
//! in it, in a small buffer of the decoder. Must not know what a command means. Source: Redis protocol specification,
//! "Sending commands to a Redis server" and "Inline commands"; where it is silent, what Redis 7.0 does.

use memchr::memchr;
use std::fmt;
use std::ops::Range;

/// The longest line: an inline command, a count, a length.
const MAX_LINE: usize = 64 << 10;

/// The largest number of arguments.
const MAX_ARGUMENTS: i64 = 1 << 20;

/// The same before a login, ...
const STRANGERS_ARGUMENTS: i64 = 10;

/// ... and the longest argument then.
const STRANGERS_BULK: i64 = 16384;

/// Room for more arguments than this is given back after the command.
const KEEP: usize = 1024;

/// The peer does not speak the protocol, or exceeds a limit. The text is what Redis says after "Protocol error: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// The number of arguments is none, or too large.
    Count,
    /// More arguments than somebody who has not logged in may send.
    StrangersCount,
    /// The length of an argument is none, or beyond the limit.
    Length,
    /// A longer argument than somebody who has not logged in may send.
    StrangersLength,
    /// An argument does not begin with `$`.
    Kind(u8),
    /// A number of arguments that has no end.
    CountLine,
    /// A length that has no end.
    LengthLine,
    /// An inline command that has no end.
    InlineLine,
    /// An inline command with a quote that nothing closes.
    Quotes,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Count => "invalid multibulk length",
            Self::StrangersCount => "unauthenticated multibulk length",
            Self::Length => "invalid bulk length",
            Self::StrangersLength => "unauthenticated bulk length",
            Self::Kind(found) => {
                return write!(f, "expected '$', got '{}'", found.escape_ascii());
            }
            Self::CountLine => "too big mbulk count string",
            Self::LengthLine => "too big bulk count string",
            Self::InlineLine => "too big inline request",
            Self::Quotes => "unbalanced quotes in request",
        };
        f.write_str(text)
    }
}

impl std::error::Error for CommandError {}

/// The arguments of one command, its name first. Never empty.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a> {
    bytes: &'a [u8],
    places: &'a [Range<u32>],
}

impl<'a> Arguments<'a> {
    /// How many, the name among them.
    #[allow(clippy::len_without_is_empty)] // there is always a name
    #[inline]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// One of them; empty where there is none.
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.places.get(index).map_or(&[], |place| {
            let (start, end) = (place.start as usize, place.end as usize);
            self.bytes.get(start..end).unwrap_or_default()
        })
    }

    /// All from `first` on.
    pub fn from(self, first: usize) -> impl Iterator<Item = &'a [u8]> {
        (first..self.len()).map(move |index| self.at(index))
    }
}

/// Cuts what a client sends into commands. One per connection.
#[derive(Debug)]
pub struct CommandDecoder {
    max_frame: usize,
    /// The client has logged in, or need not.
    trusted: bool,
    /// The input must be this long before looking at it again makes sense.
    need: usize,
    /// Where the next argument begins, of a command that is begun; 0: none is.
    position: usize,
    /// Arguments still to come.
    remaining: usize,
    places: Vec<Range<u32>>,
    /// The arguments of an inline command, without their quotes.
    line: Vec<u8>,
}

impl CommandDecoder {
    /// `max_frame`: the longest command in bytes; at most 4 GiB.
    pub fn new(max_frame: usize) -> Self {
        CommandDecoder {
            max_frame: max_frame.min(u32::MAX as usize),
            trusted: true,
            need: 0,
            position: 0,
            remaining: 0,
            places: Vec::new(),
            line: Vec::new(),
        }
    }

    /// Whether the client may send more than a login takes.
    pub fn trust(&mut self, trusted: bool) {
        self.trusted = trusted;
    }

    /// Decodes the command at the front of `input`, and tells how many bytes it took; advance by that many. `None` in
    /// place of the arguments: nothing that anybody answers (an empty line).
    ///
    /// `None`: the command is incomplete. Call again with the same bytes and more behind them.
    ///
    /// # Errors
    /// Where the next command begins is unknown: give the connection up.
    #[inline]
    pub fn decode<'a>(
        &'a mut self,
        input: &'a [u8],
    ) -> Result<Option<(Option<Arguments<'a>>, usize)>, CommandError> {
        if input.len() < self.need {
            return Ok(None);
        }
        self.need = 0;
        if self.position == 0 {
            match input.first() {
                None => return Ok(None),
                Some(b'*') => {
                    let Some((count, end)) = self.number(input, 0, CommandError::CountLine)? else {
                        return Ok(None);
                    };
                    let count = count.filter(|count| *count <= MAX_ARGUMENTS);
                    let count = count.ok_or(CommandError::Count)?;
                    if count <= 0 {
                        return Ok(Some((None, end)));
                    } else if !self.trusted && count > STRANGERS_ARGUMENTS {
                        return Err(CommandError::StrangersCount);
                    }
                    self.position = end;
                    self.remaining = count as usize;
                    self.places.clear();
                }
                Some(_) => return self.inline(input),
            }
        }
        while self.remaining > 0 {
            let Some(end) = self.argument(input)? else {
                return Ok(None);
            };
            self.position = end;
            self.remaining -= 1;
        }
        let end = std::mem::take(&mut self.position);
        let arguments = Arguments {
            bytes: input,
            places: &self.places,
        };
        Ok(Some((Some(arguments), end)))
    }

    /// The command that was decoded last is done with: a large list of arguments is given back.
    pub fn relax(&mut self) {
        if self.position == 0 && self.places.capacity() > KEEP {
            self.places = Vec::new();
        }
        if self.line.capacity() > KEEP {
            self.line = Vec::new();
        }
    }

    /// The argument at `position`: where the next one begins.
    #[inline]
    fn argument(&mut self, input: &[u8]) -> Result<Option<usize>, CommandError> {
        let at = self.position;
        let (length, start) = match *input.get(at..).unwrap_or_default() {
            // Most arguments are this short.
            [b'$', ones @ b'0'..=b'9', b'\r', b'\n', ..] => (i64::from(ones - b'0'), at + 4),
            [b'$', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => {
                (i64::from(tens - b'0') * 10 + i64::from(ones - b'0'), at + 5)
            }
            [b'$', ..] => match self.number(input, at, CommandError::LengthLine)? {
                Some((length, end)) => (length.ok_or(CommandError::Length)?, end),
                None => return Ok(None),
            },
            [] => {
                self.need = at + 1;
                return Ok(None);
            }
            [found, ..] => return Err(CommandError::Kind(found)),
        };
        if !self.trusted && length > STRANGERS_BULK {
            return Err(CommandError::StrangersLength);
        }
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length))
            .filter(|end| *end <= self.max_frame)
            .ok_or(CommandError::Length)?;
        // What the two bytes behind it are, Redis does not look at either.
        if input.len() < end + 2 {
            self.need = end + 2;
            return Ok(None);
        }
        self.places.push(start as u32..end as u32);
        Ok(Some(end + 2))
    }

    /// The number behind the byte at `at`, None where it is none, and where its line ends.
    fn number(
        &mut self,
        input: &[u8],
        at: usize,
        endless: CommandError,
    ) -> Result<Option<(Option<i64>, usize)>, CommandError> {
        let rest = input.get(at + 1..).unwrap_or_default();
        let seen = rest.get(..rest.len().min(MAX_LINE)).unwrap_or_default();
        let Some(end) = memchr(b'\n', seen) else {
            if rest.len() >= MAX_LINE {
                return Err(endless);
            }
            self.need = input.len() + 1;
            return Ok(None);
        };
        let digits = seen.get(..end).unwrap_or_default();
        let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
        let number = std::str::from_utf8(digits).ok();
        let number = number.and_then(|digits| digits.parse().ok());
        Ok(Some((number, at + 1 + end + 1)))
    }

    /// A line of words, which may be in quotes.
    #[allow(clippy::type_complexity)] // as decode
    fn inline<'a>(
        &'a mut self,
        input: &'a [u8],
    ) -> Result<Option<(Option<Arguments<'a>>, usize)>, CommandError> {
        let seen = input.get(..input.len().min(MAX_LINE)).unwrap_or_default();
        let Some(end) = memchr(b'\n', seen) else {
            if input.len() >= MAX_LINE {
                return Err(CommandError::InlineLine);
            }
            self.need = input.len() + 1;
            return Ok(None);
        };
        let line = seen.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.places.clear();
        self.line.clear();
        split(line, &mut self.line, &mut self.places).ok_or(CommandError::Quotes)?;
        let arguments = Arguments {
            bytes: &self.line,
            places: &self.places,
        };
        let arguments = (!self.places.is_empty()).then_some(arguments);
        Ok(Some((arguments, end + 1)))
    }
}

/// Cuts a line into words, as Redis' sdssplitargs does. None: a quote that nothing closes, or that a
/// word follows without a space.
fn split(line: &[u8], words: &mut Vec<u8>, places: &mut Vec<Range<u32>>) -> Option<()> {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b);
    let mut rest = line;
    loop {
        let blank = rest.iter().take_while(|byte| is_space(byte)).count();
        rest = rest.get(blank..).unwrap_or_default();
        if rest.is_empty() {
            return Some(());
        }
        let start = words.len() as u32;
        while let Some((&first, more)) = rest.split_first() {
            rest = match first {
                byte if is_space(&byte) => break,
                b'"' | b'\'' => {
                    let after = quoted(first, more, words)?;
                    if after.first().is_some_and(|next| !is_space(next)) {
                        return None;
                    }
                    after
                }
                byte => {
                    words.push(byte);
                    more
                }
            };
        }
        places.push(start..words.len() as u32);
    }
}

/// Appends what stands up to the closing `quote`; what is behind that.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], words: &mut Vec<u8>) -> Option<&'a [u8]> {
    let hex = |digit: u8| (digit as char).to_digit(16).map(|value| value as u8);
    loop {
        let taken = match *rest {
            [] => return None,
            [b'\\', b'x', high, low, ..]
                if quote == b'"' && hex(high).is_some() && hex(low).is_some() =>
            {
                words.push(hex(high)? * 16 + hex(low)?);
                4
            }
            [b'\\', escaped, ..] if quote == b'"' => {
                words.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                2
            }
            [b'\\', b'\'', ..] if quote == b'\'' => {
                words.push(b'\'');
                2
            }
            [found, ..] if found == quote => return rest.get(1..),
            [found, ..] => {
                words.push(found);
                1
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::resp::encode_command;
    use bytes::BytesMut;
    use proptest::prelude::*;

    type Decoded = Result<Option<(Vec<Vec<u8>>, usize)>, CommandError>;

    /// The first command of `input`, given `step` bytes at a time, and how many it took.
    fn decode_by(input: &[u8], step: usize) -> Decoded {
        let mut decoder = CommandDecoder::new(1 << 20);
        let mut end = step.min(input.len());
        loop {
            if let Some((arguments, taken)) = decoder.decode(&input[..end])? {
                let words = arguments.map(|all| all.from(0).map(<[u8]>::to_vec).collect());
                return Ok(Some((words.unwrap_or_default(), taken)));
            }
            if end == input.len() {
                return Ok(None);
            }
            end = (end + step).min(input.len());
        }
    }

    /// All commands of `input`, given `step` bytes at a time, and the error that ends them.
    fn stream(input: &[u8], step: usize) -> (Vec<Vec<Vec<u8>>>, Option<CommandError>) {
        let mut decoder = CommandDecoder::new(1 << 20);
        let (mut commands, mut start, mut end) = (Vec::new(), 0, 0);
        while end < input.len() {
            end = (end + step).min(input.len());
            loop {
                match decoder.decode(&input[start..end]) {
                    Ok(None) => break,
                    Ok(Some((command, length))) => {
                        assert!(0 < length && length <= end - start);
                        start += length;
                        let words = command.map(|all| all.from(0).map(<[u8]>::to_vec).collect());
                        commands.extend(words);
                        decoder.relax();
                    }
                    Err(error) => return (commands, Some(error)),
                }
            }
        }
        (commands, None)
    }

    fn decode(input: &[u8]) -> Decoded {
        let whole = decode_by(input, input.len().max(1));
        assert_eq!(decode_by(input, 1), whole, "byte by byte");
        whole
    }

    fn words(input: &[u8]) -> Vec<String> {
        let (words, taken) = decode(input).expect("well-formed").expect("whole");
        assert_eq!(taken, input.len());
        let text = |word: Vec<u8>| word.escape_ascii().to_string();
        words.into_iter().map(text).collect()
    }

    #[test]
    fn arrays_and_lines_are_commands() {
        assert_eq!(words(b"*1\r\n$4\r\nPING\r\n"), ["PING"]);
        assert_eq!(
            words(b"*3\r\n$7\r\nPUBLISH\r\n$0\r\n\r\n$2\r\n\r\n\r\n"),
            ["PUBLISH", "", "\\r\\n"]
        );
        assert_eq!(words(b"PING\r\n"), ["PING"]);
        assert_eq!(words(b"  PUBLISH  a\tb \n"), ["PUBLISH", "a", "b"]);
        assert_eq!(
            words(b"PUBLISH \"a b\\x41\\n\\\"\" 'it\\'s \\n' ''\r\n"),
            ["PUBLISH", "a bA\\n\\\"", "it\\\'s \\\\n", ""]
        );
        assert_eq!(words(b"\r\n"), [""; 0]);
        assert_eq!(words(b"*0\r\n"), [""; 0]);
        assert_eq!(words(b"*-1\r\n"), [""; 0]);
        // As Redis does, which does not look at what ends an argument.
        assert_eq!(words(b"*1\r\n$4\r\nPINGxx"), ["PING"]);
    }

    #[test]
    fn what_is_no_command_is_refused_in_the_words_of_redis() {
        let long = |start: &[u8]| [start, &[b'1'; MAX_LINE]].concat();
        for (input, text) in [
            (&b"*x\r\n"[..], "invalid multibulk length"),
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*1\r\n$x\r\n", "invalid bulk length"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$1048576\r\n", "invalid bulk length"),
            (b"*1\r\n$999999999999999999999\r\n", "invalid bulk length"),
            (b"*1\r\n+x\r\n", "expected '$', got '+'"),
            (b"PING \"a\r\n", "unbalanced quotes in request"),
            (b"PING 'a'b\r\n", "unbalanced quotes in request"),
            (&long(b"*"), "too big mbulk count string"),
            (&long(b"*1\r\n$"), "too big bulk count string"),
            (&long(b"x"), "too big inline request"),
        ] {
            let whole = decode_by(input, input.len());
            assert_eq!(whole.expect_err("refused").to_string(), text);
        }
    }

    #[test]
    fn a_stranger_may_send_little() {
        let mut decoder = CommandDecoder::new(1 << 20);
        decoder.trust(false);
        assert_eq!(
            decoder.decode(b"*11\r\n").map(drop),
            Err(CommandError::StrangersCount)
        );
        assert_eq!(
            decoder.decode(b"*1\r\n$16385\r\n").map(drop),
            Err(CommandError::StrangersLength)
        );
    }

    proptest! {
        #[test]
        fn what_a_client_encodes_is_decoded(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6),
            step in 1usize..300,
            behind in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut input = BytesMut::new();
            let borrowed: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            encode_command(&mut input, &borrowed);
            let length = input.len();
            input.extend_from_slice(&behind);
            prop_assert_eq!(decode_by(&input, step), Ok(Some((parts, length))));
        }

        /// A stream of what looks like commands gives the same ones, and the same error, in whatever pieces it comes.
        #[test]
        fn pieces_make_no_difference(
            input in "((\\*[0-3]\r\n|\\$[0-3]\r\n|[ab]{1,3}\r\n|PING|'a|\" \"|[*$ \r\n-]){0,5}){0,6}",
            step in 1usize..9,
        ) {
            prop_assert_eq!(stream(input.as_bytes(), step), stream(input.as_bytes(), input.len().max(1)));
        }

        #[test]
        fn nothing_panics(input in proptest::collection::vec(any::<u8>(), 0..200), step in 1usize..50) {
            let whole = decode_by(&input, input.len().max(1));
            prop_assert_eq!(decode_by(&input, step), whole);
        }
    }
}
