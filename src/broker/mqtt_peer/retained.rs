//! Retained messages (MQTT 5, section 3.3.1.3): the last one of each topic, bounded in bytes.
//!
//! One sorted table. A filter with wildcards is looked up by leaps: what cannot match is jumped over, a whole branch of
//! topics at a time, so the cost grows with what matches and the branches on the way. Knows no sessions.

use crate::broker::Message;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What an entry takes besides its message.
const ENTRY: usize = 64;

/// Where there is no room, what has expired is looked for so often: it costs a look at everything.
const PURGE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub(in crate::broker) struct Retained {
    messages: BTreeMap<Bytes, Arc<Message>>,
    bytes: usize,
    /// When what has expired was thrown out.
    purged: Option<Instant>,
}

impl fmt::Debug for Retained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Retained({})", self.messages.len())
    }
}

/// Whether a topic matches a filter; if not, where to look next.
enum Verdict {
    Match,
    /// Everything in front of this cannot match, either.
    Leap(Vec<u8>),
    /// Only the next topic may.
    Next,
}

impl Retained {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Keeps a message in place of the one of its topic; an empty one in place of none. False: there is no room for it.
    pub(super) fn store(&mut self, message: &Arc<Message>, now: Instant, limit: usize) -> bool {
        if message.payload.is_empty() {
            if let Some(old) = self.messages.remove(&message.topic) {
                self.bytes -= size(&old);
            }
            return true;
        }
        let old = self.messages.get(&message.topic).map_or(0, |old| size(old));
        if self.bytes - old + size(message) > limit {
            self.purge(now);
            let old = self.messages.get(&message.topic).map_or(0, |old| size(old));
            if self.bytes - old + size(message) > limit {
                return false;
            }
        }
        self.bytes += size(message);
        // The old key with the old message would keep the bytes of both.
        if let Some(old) = self.messages.remove(&message.topic) {
            self.bytes -= size(&old);
        }
        self.messages.insert(message.topic.clone(), message.clone());
        true
    }

    /// Those that match a valid filter, without `$share/…/`, in the order of their topics.
    pub(super) fn matching(&self, filter: &[u8], now: Instant) -> Vec<Arc<Message>> {
        let mut found = Vec::new();
        let is_alive = |message: &Message| message.expires.is_none_or(|at| now < at);
        let Some(wildcard) = filter.iter().position(|byte| matches!(byte, b'+' | b'#')) else {
            let message = self.messages.get(filter);
            found.extend(message.filter(|message| is_alive(message)).cloned());
            return found;
        };
        // `a/#` is for `a`, too.
        let literal = filter.get(..wildcard).unwrap_or_default();
        let literal = match filter.get(wildcard) {
            Some(b'#') => literal.strip_suffix(b"/").unwrap_or(literal),
            _ => literal,
        };
        let mut from = Bound::Included(literal.to_vec());
        loop {
            let to: Bound<&[u8]> = Bound::Unbounded;
            let range = (as_slice(&from), to);
            let mut leap = None;
            for (topic, message) in self.messages.range::<[u8], _>(range) {
                if !topic.starts_with(literal) {
                    return found;
                }
                match judge(filter, topic) {
                    Verdict::Match if is_alive(message) => found.push(message.clone()),
                    Verdict::Match | Verdict::Next => {}
                    Verdict::Leap(to) => {
                        leap = Some(to);
                        break;
                    }
                }
            }
            match leap {
                Some(to) => from = Bound::Included(to),
                None => return found,
            }
        }
    }

    /// Drops those whose time is over.
    fn purge(&mut self, now: Instant) {
        if self.purged.is_some_and(|last| now < last + PURGE) {
            return;
        }
        self.purged = Some(now);
        let mut bytes = self.bytes;
        self.messages.retain(|_, message| {
            let alive = message.expires.is_none_or(|at| now < at);
            if !alive {
                bytes -= size(message);
            }
            alive
        });
        self.bytes = bytes;
    }
}

fn size(message: &Message) -> usize {
    message.size() + ENTRY
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(at) => Bound::Included(at),
        Bound::Excluded(at) => Bound::Excluded(at),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Looks at a topic level by level. Leaps are always ahead of the topic.
fn judge(filter: &[u8], topic: &[u8]) -> Verdict {
    if topic.first() == Some(&b'$') && matches!(filter.first(), Some(b'+' | b'#')) {
        // Section 4.7.2; `%` is what follows `$`.
        return Verdict::Leap(b"%".to_vec());
    }
    let mut start = 0;
    let mut names = topic.split(|byte| *byte == b'/');
    for wanted in filter.split(|byte| *byte == b'/') {
        if wanted == b"#" {
            return Verdict::Match;
        }
        let Some(name) = names.next() else {
            return Verdict::Next;
        };
        if wanted != b"+" && wanted != name {
            return leap(topic, start, wanted);
        }
        start += name.len() + 1;
    }
    match names.next() {
        None => Verdict::Match,
        Some(_) => past(topic, start),
    }
}

/// The level of `topic` that begins at `start` is not the one that is wanted there.
fn leap(topic: &[u8], start: usize, wanted: &[u8]) -> Verdict {
    let rest = topic.get(start..).unwrap_or_default();
    let above = topic.get(..start).unwrap_or_default();
    if rest < wanted {
        return Verdict::Leap([above, wanted].concat());
    }
    // `a-b` is between `a` and `a/b`.
    let branch = [wanted, b"/"].concat();
    if rest < &branch[..] {
        return Verdict::Leap([above, &branch].concat());
    }
    past(topic, start)
}

/// Behind all topics that begin as `topic` does up to `start`, which is behind a `/`.
fn past(topic: &[u8], start: usize) -> Verdict {
    let above = topic.get(..start).unwrap_or_default();
    match above.strip_suffix(b"/") {
        // `0` is what follows `/`.
        Some(above) => Verdict::Leap([above, b"0"].concat()),
        // The first level of the filter is no wildcard: nothing that follows has it.
        None => Verdict::Leap(vec![0xff]),
    }
}
