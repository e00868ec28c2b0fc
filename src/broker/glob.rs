//! Redis' glob patterns: `*`, `?`, `[a-c]`, `[^a]`, and `\` before a character that is meant as it is.
//!
//! Agrees with Redis 7.0's stringmatchlen, odd patterns included, but takes no longer than pattern times name.

/// Whether `name` matches `pattern`.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where to go on when what follows the last star does not match: behind it, one byte further.
    let mut again: Option<(usize, usize)> = None;
    loop {
        let stepped = match (pattern.get(at), name.get(from)) {
            (Some(b'*'), Some(_)) => {
                again = Some((at + 1, from));
                at += 1;
                continue;
            }
            (None, None) => return true,
            (_, None) => {
                // Redis looks at no pattern for an empty name, not at `*` either.
                return !name.is_empty() && pattern[at..].iter().all(|byte| *byte == b'*');
            }
            (None, Some(_)) => None,
            (Some(_), Some(&byte)) => one(&pattern[at..], byte),
        };
        match (stepped, &mut again) {
            (Some(length), _) => {
                at += length;
                from += 1;
            }
            (None, Some((behind, taken))) => {
                *taken += 1;
                (at, from) = (*behind, *taken);
                // A star at the end takes the rest.
                if *behind == pattern.len() {
                    return true;
                }
            }
            (None, None) => return false,
        }
    }
}

/// How many bytes at the start of a pattern match any name's: none of them is special.
pub(super) fn literal_prefix(pattern: &[u8]) -> usize {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    pattern.iter().position(special).unwrap_or(pattern.len())
}

/// The length of what `pattern`, which is not empty, begins with, if that matches `byte`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [b'?', ..] => Some(1),
        [b'[', ref rest @ ..] => {
            let (length, found) = class(rest, byte);
            found.then_some(1 + length)
        }
        [b'\\', escaped, ..] => (escaped == byte).then_some(2),
        [plain, ..] => (plain == byte).then_some(1),
        [] => None,
    }
}

/// How long the class at the start of `rest` is, its `]` included, and whether `byte` is in it. One that nothing
/// closes ends with the pattern.
fn class(rest: &[u8], byte: u8) -> (usize, bool) {
    let negated = rest.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        at += match *rest.get(at..).unwrap_or_default() {
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                2
            }
            [b']', ..] => return (at + 1, found != negated),
            [] => return (at, found != negated),
            [first, b'-', last, ..] => {
                found |= (first.min(last)..=first.max(last)).contains(&byte);
                3
            }
            [plain, ..] => {
                found |= plain == byte;
                1
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Redis' own way, which takes exponential time.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], [_, more @ ..]) => naive(rest, name) || naive(pattern, more),
            ([b'*', rest @ ..], []) => naive(rest, name),
            (_, []) | ([], _) => false,
            (_, [byte, more @ ..]) => {
                one(pattern, *byte).is_some_and(|length| naive(&pattern[length..], more))
            }
        }
    }

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, yes, no) in [
            ("news", &["news"][..], &["new", "newss", ""][..]),
            ("news.*", &["news.", "news.a.b"], &["news", "xnews."]),
            ("*", &["a", "\n"], &[""]),
            ("**", &["ab"], &[]),
            ("a**c", &["ac", "abc"], &["ab"]),
            ("h?llo", &["hello", "h/llo"], &["hllo", "heello"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo"]),
            ("h[^e]llo", &["hallo"], &["hello"]),
            ("h[a-c]llo", &["hbllo"], &["hdllo"]),
            ("h[c-a]llo", &["hbllo"], &["hdllo"]),
            ("h[\\]]llo", &["h]llo"], &["hxllo"]),
            ("h\\*llo", &["h*llo"], &["hello"]),
            ("h[ab", &["ha", "hb"], &["hc"]),
            ("a\\", &["a\\"], &["a"]),
            ("[^a", &["b"], &["a"]),
            ("[]a", &[], &["a", "]"]),
            ("*a*a*b", &["aab", "xaxaxb"], &["ab"]),
        ] {
            for name in yes {
                assert!(
                    matches(pattern.as_bytes(), name.as_bytes()),
                    "{pattern} {name}"
                );
            }
            for name in no {
                assert!(
                    !matches(pattern.as_bytes(), name.as_bytes()),
                    "{pattern} {name}"
                );
            }
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(pattern in "[ab*?\\[\\]^\\\\-]{0,10}", name in "[ab\\]-]{1,10}") {
            prop_assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                naive(pattern.as_bytes(), name.as_bytes()),
            );
        }

        #[test]
        fn a_name_that_matches_begins_with_the_literal_prefix(pattern in "[ab*?\\\\]{0,6}", name in "[ab]{1,6}") {
            if matches(pattern.as_bytes(), name.as_bytes()) {
                let prefix = literal_prefix(pattern.as_bytes());
                prop_assert!(name.as_bytes().starts_with(&pattern.as_bytes()[..prefix]));
            }
        }
    }
}
