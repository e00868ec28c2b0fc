//! Publishes on their way from the calling thread to the session.
//!
//! The runtime thread holds the session's lock while it works through what it has read. A caller
//! that had to wait for that would lose its time slice at every other message, so it leaves its
//! message here, under a lock that is only ever held for a copy, and the runtime thread feeds the
//! session from here. Only what certainly has room is taken: whatever the overflow policy has to
//! judge goes to the session itself.

use crate::message::{Batch, Command, Publish, Ticket};
use crate::session::Client;
use std::collections::VecDeque;
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
}

impl Queue {
    fn len(&self) -> usize {
        self.entries.len() - self.gone.0
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

    /// Tells messages to `submit` until their bytes exceed `portion`. `now` counts for those that
    /// nobody waits for.
    fn drain(
        &mut self,
        now: Instant,
        portion: usize,
        mut submit: impl FnMut(Instant, Publish<'_>),
    ) {
        let (mut next, mut at) = self.gone;
        let end = at.saturating_add(portion);
        while at < end {
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
            submit(waiter.map_or(now, |(_, since)| since), publish);
            next += 1;
        }
        self.gone = (next, at);
        if self.len() == 0 {
            self.bytes.clear();
            self.entries.clear();
            self.gone = (0, 0);
        }
    }

    fn relax(&mut self) {
        let entries = KEEP / size_of::<Entry>();
        let large = self.bytes.capacity() > KEEP || self.entries.capacity() > entries;
        if self.len() == 0 && large {
            *self = Queue::default();
        }
    }
}

#[derive(Debug, Default)]
struct Intake {
    queue: Queue,
    /// What the session and its next portions held when last asked.
    downstream: (usize, usize),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Staging {
    intake: Mutex<Intake>,
    /// What the session is being fed from. Only locked under the session's lock.
    portions: Mutex<Queue>,
}

impl Staging {
    /// Takes the message if there is certainly room for it; how many bytes wait here then.
    #[inline]
    pub(super) fn accept(&self, publish: &Publish<'_>, bounds: QueueBounds) -> Option<usize> {
        let size = publish.target.len() + publish.payload.len() + FRAME;
        let mut intake = lock(&self.intake);
        let (messages, bytes) = intake.downstream;
        let waiting = intake.queue.byte_len() + bytes + size;
        if intake.queue.len() + messages >= bounds.messages
            || waiting > bounds.bytes
            || size > u32::MAX as usize
            || publish.options.is_some()
        {
            return None;
        }
        intake.queue.push(publish);
        Some(intake.queue.byte_len())
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
            if portions.len() == 0 {
                let mut intake = lock(&self.intake);
                if intake.queue.len() == 0 {
                    break;
                }
                std::mem::swap(&mut intake.queue, &mut portions);
                // Nobody may take the room that these still need.
                intake.downstream.0 += portions.len();
                intake.downstream.1 += portions.byte_len();
            }
            // Whoever waits has a deadline, which only the session looks after.
            let hurry = all || !portions.waiters.is_empty() || self.has_emits();
            let held = session.counters().queued_bytes as usize;
            if !hurry && held >= PORTION {
                break;
            }
            let portion = if hurry { usize::MAX } else { PORTION - held };
            portions.drain(now, portion, |at, publish| {
                let ticket = publish.ticket;
                if let Err(error) = session.submit(at, Command::Publish(publish), events) {
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
        lock(&self.intake).downstream = if session.is_closed() {
            // Whatever comes now is refused by the session itself.
            (usize::MAX / 2, 0)
        } else {
            let held = session.counters();
            let messages = (held.queued + held.in_flight) as usize;
            let bytes = held.queued_bytes as usize;
            (messages + portions.len(), bytes + portions.byte_len())
        };
    }

    /// Whether somebody waits for a message that the session has not been fed.
    pub(super) fn has_emits(&self) -> bool {
        !lock(&self.intake).queue.waiters.is_empty()
    }

    /// Whether there is something that the session has not been fed.
    pub(super) fn has_more(&self) -> bool {
        lock(&self.portions).len() > 0 || lock(&self.intake).queue.len() > 0
    }

    /// Messages and bytes that the session has not been fed.
    pub(super) fn holds(&self) -> (u64, u64) {
        let portions = lock(&self.portions);
        let intake = lock(&self.intake);
        let messages = portions.len() + intake.queue.len();
        let bytes = portions.byte_len() + intake.queue.byte_len();
        (messages as u64, bytes as u64)
    }

    /// Gives back the memory of a rush that is over.
    pub(super) fn relax(&self) {
        lock(&self.portions).relax();
        lock(&self.intake).queue.relax();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
