//! Publishes on their way from the calling thread to the session.
//!
//! The runtime thread holds the session's lock while it works through what it has read. A caller
//! that had to wait for that would lose its time slice at every other message, so it leaves its
//! message here, under a lock that is only ever held for a copy, and the runtime thread feeds the
//! session from here. Only what certainly has room is taken: whatever the overflow policy has to
//! judge goes to the session itself.

use super::connection::PLENTY;
use crate::message::{Batch, Command, Publish, Ticket};
use crate::session::Client;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// The session is fed so much at a time: more would be out of the processor's cache again when it
/// is sent.
const PORTION: usize = 128 * 1024;

/// A buffer that grew beyond this is given back once nothing goes on.
const KEEP: usize = 256 * 1024;

/// Kept small: a rush of posts makes as many of these as messages.
#[derive(Debug)]
struct Entry {
    target: u32,
    payload: u32,
    flags: u32,
    /// Somebody waits for it: the next of [`Queue::waiters`].
    awaited: bool,
}

/// Messages in order, the first of them gone already.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How many entries, and bytes, are gone.
    gone: (usize, usize),
    /// Who waits for the entries that are awaited, and since when.
    waiters: VecDeque<(Ticket, Instant)>,
    /// Flushes, and how many entries stand before each.
    flushes: VecDeque<(usize, Ticket)>,
}

impl Queue {
    fn len(&self) -> usize {
        self.entries.len() - self.gone.0
    }

    /// Not even a flush is left.
    fn is_empty(&self) -> bool {
        self.len() == 0 && self.flushes.is_empty()
    }

    /// Bytes, their frames included.
    fn byte_len(&self) -> usize {
        self.bytes.len() - self.gone.1 + self.len() * FRAME
    }

    #[inline]
    fn push(&mut self, publish: &Publish<'_>) {
        self.bytes.extend_from_slice(publish.target);
        self.bytes.extend_from_slice(publish.payload);
        if let Some(ticket) = publish.ticket {
            self.waiters.push_back((ticket, Instant::now()));
        }
        self.entries.push(Entry {
            target: publish.target.len() as u32,
            payload: publish.payload.len() as u32,
            flags: publish.flags,
            awaited: publish.ticket.is_some(),
        });
    }

    /// Tells messages to `submit`, and the flushes between them, until their bytes exceed `portion`. `now` counts for
    /// those that nobody waits for.
    fn drain(
        &mut self,
        now: Instant,
        portion: usize,
        mut submit: impl FnMut(Instant, Command<'_>),
    ) {
        let (mut next, mut at) = self.gone;
        let end = at.saturating_add(portion);
        loop {
            while let Some(&(_, ticket)) =
                self.flushes.front().filter(|(before, _)| *before <= next)
            {
                self.flushes.pop_front();
                submit(now, Command::Flush { ticket });
            }
            if at >= end {
                break;
            }
            let Some(entry) = self.entries.get(next) else {
                break;
            };
            let (target, payload) = (entry.target as usize, entry.payload as usize);
            let (target, rest) = self.bytes[at..].split_at(target);
            let waiter = if entry.awaited {
                self.waiters.pop_front()
            } else {
                None
            };
            let publish = Publish {
                ticket: waiter.map(|(ticket, _)| ticket),
                target,
                payload: &rest[..payload],
                flags: entry.flags,
                options: None,
            };
            at += target.len() + payload;
            let since = waiter.map_or(now, |(_, since)| since);
            submit(since, Command::Publish(publish));
            next += 1;
        }
        self.gone = (next, at);
        if self.is_empty() {
            self.bytes.clear();
            self.entries.clear();
            self.gone = (0, 0);
        }
    }

    fn relax(&mut self) {
        let entries = KEEP / size_of::<Entry>();
        let large = self.bytes.capacity() > KEEP || self.entries.capacity() > entries;
        if self.is_empty() && large {
            *self = Queue::default();
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Staging {
    intake: Mutex<Queue>,
    /// Something is in `intake`, ...
    filled: AtomicBool,
    /// ... and somebody waits for it. Both change under its lock, and are read without: a thread that had to wait
    /// for the lock would lose its time slice, while the other one takes it a million times a second.
    awaited: AtomicBool,
    /// Messages and bytes that the session and its next portions held when last asked.
    downstream: (AtomicUsize, AtomicUsize),
    /// What the session is being fed from. Only locked under the session's lock.
    portions: Mutex<Queue>,
}

/// Sets a flag that is mostly set already, which then stays in the cache of whoever reads it.
#[inline]
fn raise(flag: &AtomicBool) {
    if !flag.load(Ordering::Relaxed) {
        flag.store(true, Ordering::SeqCst);
    }
}

impl Staging {
    /// Takes the message if there is certainly room for it; whether it is the one with which [`PLENTY`] waits here.
    #[inline]
    pub(super) fn accept(&self, publish: &Publish<'_>, bounds: QueueBounds) -> Option<bool> {
        let size = publish.target.len() + publish.payload.len() + FRAME;
        let mut intake = lock(&self.intake);
        // What leaves `intake` is added to these under its lock.
        let messages = self.downstream.0.load(Ordering::Relaxed);
        let bytes = self.downstream.1.load(Ordering::Relaxed);
        let before = intake.byte_len();
        let waiting = before + bytes + size;
        if intake.len() + messages >= bounds.messages
            || waiting > bounds.bytes
            || size > u32::MAX as usize
            || publish.options.is_some()
        {
            return None;
        }
        intake.push(publish);
        raise(&self.filled);
        if publish.ticket.is_some() {
            raise(&self.awaited);
        }
        Some(before < PLENTY && before + size >= PLENTY)
    }

    /// Takes the flush where so much waits here that to feed it all at once would keep the session from its peer: it
    /// reaches the session behind the messages before it. Call it under the session's lock.
    pub(super) fn postpone(&self, ticket: Ticket) -> bool {
        let waiting = lock(&self.portions).byte_len();
        let mut intake = lock(&self.intake);
        let long = waiting + intake.byte_len() > PORTION;
        if long {
            let before = intake.entries.len();
            intake.flushes.push_back((before, ticket));
            raise(&self.filled);
        }
        long
    }

    /// Hands the session what is here, a portion at a time where nobody waits for it; everything
    /// with `all`. Call it under the session's lock.
    pub(super) fn feed(
        &self,
        session: &mut dyn Client,
        now: Instant,
        events: &mut Batch,
        all: bool,
    ) {
        let mut portions = lock(&self.portions);
        loop {
            if portions.is_empty() {
                if !self.filled.load(Ordering::SeqCst) {
                    break;
                }
                let mut intake = lock(&self.intake);
                std::mem::swap(&mut *intake, &mut *portions);
                self.filled.store(false, Ordering::SeqCst);
                self.awaited.store(false, Ordering::SeqCst);
                // Nobody may take the room that these still need.
                let (messages, bytes) = &self.downstream;
                messages.fetch_add(portions.len(), Ordering::Relaxed);
                bytes.fetch_add(portions.byte_len(), Ordering::Relaxed);
            }
            // Whoever waits has a deadline, which only the session looks after.
            let hurry = all || !portions.waiters.is_empty() || self.has_emits();
            let held = session.counters().queued_bytes as usize;
            if !hurry && held >= PORTION {
                break;
            }
            let portion = if hurry { usize::MAX } else { PORTION - held };
            portions.drain(now, portion, |at, command| {
                let ticket = match &command {
                    Command::Publish(publish) => publish.ticket,
                    Command::Flush { ticket } => Some(*ticket),
                    _ => None,
                };
                if let Err(error) = session.submit(at, command, events) {
                    // It was accepted while the session ended.
                    match ticket {
                        Some(ticket) => events.fail(ticket, &error),
                        None => session.forfeit(&error, events),
                    }
                }
            });
        }
        self.account(session, &portions);
    }

    /// Notes how much room the session leaves, after a command that was not fed. Call it under
    /// the session's lock.
    pub(super) fn note(&self, session: &dyn Client) {
        self.account(session, &lock(&self.portions));
    }

    fn account(&self, session: &dyn Client, portions: &Queue) {
        let (messages, bytes) = &self.downstream;
        if session.is_closed() {
            // Whatever comes from here on is refused by the session itself.
            let _intake = lock(&self.intake);
            messages.store(usize::MAX / 2, Ordering::Relaxed);
            bytes.store(0, Ordering::Relaxed);
        } else {
            let held = session.counters();
            let held_messages = (held.queued + held.in_flight) as usize;
            let held_bytes = held.queued_bytes as usize;
            messages.store(held_messages + portions.len(), Ordering::Relaxed);
            bytes.store(held_bytes + portions.byte_len(), Ordering::Relaxed);
        }
    }

    /// Whether somebody waits for a message that the session has not been fed.
    pub(super) fn has_emits(&self) -> bool {
        self.awaited.load(Ordering::SeqCst)
    }

    /// Whether there is something that the session has not been fed.
    pub(super) fn has_more(&self) -> bool {
        !lock(&self.portions).is_empty() || self.filled.load(Ordering::SeqCst)
    }

    /// Messages and bytes that the session has not been fed.
    pub(super) fn holds(&self) -> (u64, u64) {
        let portions = lock(&self.portions);
        let intake = lock(&self.intake);
        let messages = portions.len() + intake.len();
        let bytes = portions.byte_len() + intake.byte_len();
        (messages as u64, bytes as u64)
    }

    /// Gives back the memory of a rush that is over.
    pub(super) fn relax(&self) {
        lock(&self.portions).relax();
        lock(&self.intake).relax();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::stub::Stub;

    const ROOMY: QueueBounds = QueueBounds {
        messages: 100_000,
        bytes: 100_000_000,
    };

    fn accept(
        staging: &Staging,
        target: &str,
        payload: &[u8],
        bounds: QueueBounds,
    ) -> Option<bool> {
        let publish = Publish {
            ticket: None,
            target: target.as_bytes(),
            payload,
            flags: 0,
            options: None,
        };
        staging.accept(&publish, bounds)
    }

    fn feed(staging: &Staging, session: &mut Stub) {
        staging.feed(session, Instant::now(), &mut Batch::for_client(1, 0), false);
    }

    #[test]
    fn a_flush_behind_much_waits_its_turn() {
        let (staging, mut session) = (Staging::default(), Stub::default());
        assert!(!staging.postpone(1), "nothing is before it");
        let payload = vec![0; PORTION];
        for target in ["a", "b", "c"] {
            assert!(accept(&staging, target, &payload, ROOMY).is_some());
        }
        assert!(staging.postpone(2));
        assert!(staging.postpone(3));
        assert!(accept(&staging, "d", &payload, ROOMY).is_some());
        assert!(staging.postpone(4));
        // A portion at a time, as the session gets rid of what it has.
        for told in [
            vec!["a"],
            vec!["a", "b"],
            vec!["a", "b", "c", "flush 2", "flush 3"],
            vec!["a", "b", "c", "flush 2", "flush 3", "d", "flush 4"],
        ] {
            assert!(staging.has_more());
            session.held = 0;
            feed(&staging, &mut session);
            assert_eq!(session.told, told);
            feed(&staging, &mut session);
            assert_eq!(session.told, told, "it has enough");
        }
        assert!(!staging.has_more());
        assert_eq!(staging.holds(), (0, 0));
        assert!(!staging.postpone(5));
    }

    #[test]
    fn one_that_comes_while_the_rest_is_handed_on_is_not_forgotten() {
        let (staging, mut session) = (Staging::default(), Stub::default());
        let payload = vec![0; PORTION];
        for target in ["a", "b", "c"] {
            assert!(accept(&staging, target, &payload, ROOMY).is_some());
        }
        feed(&staging, &mut session);
        assert!(
            staging.postpone(2),
            "two are before it, and none has come since"
        );
        for _ in 0..2 {
            session.held = 0;
            feed(&staging, &mut session);
        }
        assert_eq!(session.told, ["a", "b", "c"]);
        session.held = 0;
        feed(&staging, &mut session);
        assert_eq!(session.told, ["a", "b", "c", "flush 2"]);
        assert!(!staging.has_more());
    }

    #[test]
    fn says_once_that_there_is_plenty() {
        let (staging, mut session) = (Staging::default(), Stub::default());
        for round in 0..2 {
            let half = vec![0; PLENTY / 2];
            assert_eq!(
                accept(&staging, "t", &half, ROOMY),
                Some(false),
                "round {round}"
            );
            assert_eq!(accept(&staging, "t", &half, ROOMY), Some(true));
            assert_eq!(accept(&staging, "t", &half, ROOMY), Some(false));
            session.held = 0;
            feed(&staging, &mut session);
        }
    }

    #[test]
    fn takes_no_more_than_there_is_room_for_with_what_was_handed_on() {
        let (staging, mut session) = (Staging::default(), Stub::default());
        let bounds = QueueBounds {
            messages: 4,
            ..ROOMY
        };
        for _ in 0..3 {
            assert!(accept(&staging, "t", b"", bounds).is_some());
        }
        feed(&staging, &mut session);
        assert!(accept(&staging, "t", b"", bounds).is_some());
        assert!(accept(&staging, "t", b"", bounds).is_none());
        feed(&staging, &mut session);
        assert!(accept(&staging, "t", b"", bounds).is_none());
        session.told.truncate(3);
        staging.note(&session);
        assert!(accept(&staging, "t", b"", bounds).is_some());
        assert!(!staging.has_emits());
    }
}
