//! Topic names and topic filters (section 4.7), shared subscriptions (section 4.8.2).
//!
//! Text only: knows neither packets nor subscriptions.

use super::TopicError;

/// What a shared filter starts with.
const SHARE: &str = "$share/";

/// Whether messages can be published to this topic.
///
/// # Errors
/// It is empty, longer than 65535 bytes, or holds NUL or a wildcard.
#[inline]
pub fn check_name(name: &str) -> Result<(), TopicError> {
    if is_plain(name) && !name.is_empty() && name.len() <= usize::from(u16::MAX) {
        return Ok(());
    }
    check_text(name)?;
    Err(TopicError::Wildcard)
}

/// Whether a client of version 5 can subscribe to this filter.
///
/// # Errors
/// It is empty, longer than 65535 bytes, holds NUL, a wildcard that does not stand alone in its level or a `#` that is
/// not at the end; or it starts with `$share/` and is not `$share/group/filter`.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    check_text(filter)?;
    let Some(shared) = filter.strip_prefix(SHARE) else {
        return check_levels(filter);
    };
    let (group, filter) = shared.split_once('/').unwrap_or((shared, ""));
    if group.is_empty() || group.contains(['+', '#']) {
        return Err(TopicError::ShareGroup);
    }
    if filter.is_empty() {
        return Err(TopicError::ShareFilter);
    }
    check_levels(filter)
}

/// As [`check_filter`] for 3.1.1, which knows no shared subscriptions: `$share` is a level like any other.
///
/// # Errors
/// As there.
pub fn check_unshared_filter(filter: &str) -> Result<(), TopicError> {
    check_text(filter)?;
    check_levels(filter)
}

/// Group and filter of `$share/group/filter`; `None` for every other filter, also for one that
/// [`check_filter`] refuses for its form.
pub fn shared_filter(filter: &str) -> Option<(&str, &str)> {
    let (group, filter) = filter.strip_prefix(SHARE)?.split_once('/')?;
    let valid = !group.is_empty() && !group.contains(['+', '#']) && !filter.is_empty();
    valid.then_some((group, filter))
}

/// Whether messages to the topic `name` are for subscribers of `filter`. Both have been checked, and `filter` is
/// without `$share/group/`.
///
/// Names that start with `$` are not matched by a filter that starts with a wildcard (section 4.7.2).
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = name.split('/');
    for wanted in filter.split('/') {
        // Before a level is asked for: `a/#` is for `a` as well.
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Without NUL and wildcards. Looks at all of it rather than stop at the first, which the compiler can vectorize.
#[inline]
pub(super) fn is_plain(text: &str) -> bool {
    let special = |byte: u8| byte == 0 || byte == b'+' || byte == b'#';
    !text
        .bytes()
        .fold(false, |found, byte| found | special(byte))
}

/// What holds for names and filters alike (section 4.7.3).
fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > usize::from(u16::MAX) {
        let length = text.len();
        return Err(TopicError::TooLong { length });
    }
    if text.contains('\0') {
        return Err(TopicError::Nul);
    }
    Ok(())
}

fn check_levels(filter: &str) -> Result<(), TopicError> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(TopicError::MisplacedHash);
        }
        if level.contains('+') && level != "+" {
            return Err(TopicError::MisplacedPlus);
        }
    }
    Ok(())
}
