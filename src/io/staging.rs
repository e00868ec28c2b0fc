//! Publishes on their way from the calling thread to the session.
//!
//! The runtime thread holds the session's lock while it works through what it has read. A caller
//! that had to wait for that would lose its time slice at every other message, so it leaves its
//! message here, under a lock that is only ever held for a copy, and the runtime thread feeds the
//! session from here. Only what certainly has room is taken: whatever the overflow policy has to
//! judge goes to the session itself.

use crate::message::{Publish, Ticket};
use std::time::Instant;

/// What a client may have accepted and not yet had answered.
#[derive(Clone, Copy, Debug)]
pub struct QueueBounds {
    /// Messages.
    pub messages: usize,
    /// Bytes of them that wait to be sent.
    pub bytes: usize,
}

/// Bytes that a frame may need beyond target and payload.
const FRAME: usize = 64;

/// A buffer that grew beyond this is given back once it is empty.
const KEEP: usize = 256 * 1024;

#[derive(Debug)]
struct Entry {
    ticket: Option<Ticket>,
    target: u32,
    payload: u32,
    flags: u32,
    /// When it was accepted, if somebody waits for it.
    at: Option<Instant>,
}

/// Accepted publishes in order.
#[derive(Debug, Default)]
pub(super) struct Staging {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// What the session held when last asked.
    session_messages: usize,
    session_bytes: usize,
}

impl Staging {
    /// Takes the message if there is certainly room for it.
    #[inline]
    pub(super) fn accept(&mut self, publish: &Publish<'_>, bounds: QueueBounds) -> bool {
        let size = publish.target.len() + publish.payload.len() + FRAME;
        let waiting = self.byte_len() + self.session_bytes;
        if self.entries.len() + self.session_messages >= bounds.messages
            || size > bounds.bytes.min(u32::MAX as usize)
            || waiting + size > bounds.bytes
            || publish.options.is_some()
        {
            return false;
        }
        self.bytes.extend_from_slice(publish.target);
        self.bytes.extend_from_slice(publish.payload);
        self.entries.push(Entry {
            ticket: publish.ticket,
            target: publish.target.len() as u32,
            payload: publish.payload.len() as u32,
            flags: publish.flags,
            at: publish.ticket.map(|_| Instant::now()),
        });
        true
    }

    /// Bytes that wait here, their frames included.
    pub(super) fn byte_len(&self) -> usize {
        self.bytes.len() + self.entries.len() * FRAME
    }

    /// Moves everything to `other`, which is empty; it counts as the session's from here on.
    pub(super) fn hand_over(&mut self, other: &mut Staging) {
        self.session_messages += self.entries.len();
        self.session_bytes += self.byte_len();
        std::mem::swap(&mut self.bytes, &mut other.bytes);
        std::mem::swap(&mut self.entries, &mut other.entries);
    }

    /// Whether nothing is here.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether somebody waits for one of the messages.
    pub(super) fn has_emits(&self) -> bool {
        self.entries.iter().any(|entry| entry.ticket.is_some())
    }

    /// What the session holds now.
    pub(super) fn session_holds(&mut self, messages: usize, bytes: usize) {
        (self.session_messages, self.session_bytes) = (messages, bytes);
    }

    /// Tells each message to `submit` and is empty afterwards. `now` counts for those nobody
    /// waits for.
    pub(super) fn drain(&mut self, now: Instant, mut submit: impl FnMut(Instant, Publish<'_>)) {
        let mut at = 0;
        for entry in &self.entries {
            let payload = at + entry.target as usize;
            let end = payload + entry.payload as usize;
            let publish = Publish {
                ticket: entry.ticket,
                target: &self.bytes[at..payload],
                payload: &self.bytes[payload..end],
                flags: entry.flags,
                options: None,
            };
            submit(entry.at.unwrap_or(now), publish);
            at = end;
        }
        self.bytes.clear();
        self.entries.clear();
        if self.bytes.capacity() > KEEP {
            *self = Staging::default();
        }
    }
}
