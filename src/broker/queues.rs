//! Queues (STOMP's `/queue/x`): each message goes to one consumer, and comes again until one has dealt with it.
//!
//! Without I/O, clock or protocol. Knows messages and consumers, not what acknowledges them: a peer whose protocol
//! does without acknowledgements accepts a message when it has written it.

use super::message::Message;
use super::router::Name;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// Names a consumer; never used twice.
pub type ConsumerId = u64;

/// A message on its way to a consumer.
#[derive(Clone, Debug)]
pub struct Consignment {
    /// As the consumer was made.
    pub tag: u32,
    /// Names the message to [`Queues::accept`] and [`Queues::reject`]; larger than that of every message before it.
    pub id: u64,
    /// How often it has been given to a consumer before.
    pub redeliveries: u32,
    /// What it is.
    pub message: Arc<Message>,
}

/// Where a queue's messages go: a [`super::Mailbox`].
pub trait Consumer: Send + Sync {
    /// Takes a message. False: there is no room, it is to be offered again after [`Queues::resume`].
    ///
    /// Called under the queues' lock: must not call the broker.
    fn consume(&self, consignment: Consignment) -> bool;
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    deliveries: u32,
}

struct Consuming {
    id: ConsumerId,
    tag: u32,
    to: Arc<dyn Consumer>,
    /// How many messages it may have that are not dealt with.
    prefetch: usize,
    unsettled: BTreeMap<u64, Entry>,
    /// It had no room.
    paused: bool,
}

impl Consuming {
    fn is_ready(&self) -> bool {
        !self.paused && self.unsettled.len() < self.prefetch
    }
}

#[derive(Default)]
struct Queue {
    /// By their ids, so in the order in which they were sent, also those that have come back.
    ready: BTreeMap<u64, Entry>,
    /// Of all messages that nobody has dealt with.
    bytes: usize,
    consumers: Vec<Consuming>,
    /// Whose turn it is.
    turn: usize,
}

impl Queue {
    /// Hands out what is ready, in turn, as far as there is anybody to take it.
    fn hand_out(&mut self) {
        while let Some((id, mut entry)) = self.ready.pop_first() {
            let count = self.consumers.len();
            let in_turn = (0..count).map(|step| (self.turn + step) % count);
            let Some(at) = { in_turn }.find(|at| self.consumers[*at].is_ready()) else {
                self.ready.insert(id, entry);
                return;
            };
            let consuming = &mut self.consumers[at];
            let taken = consuming.to.consume(Consignment {
                tag: consuming.tag,
                id,
                redeliveries: entry.deliveries,
                message: entry.message.clone(),
            });
            if taken {
                entry.deliveries += 1;
                consuming.unsettled.insert(id, entry);
                self.turn = (at + 1) % count;
            } else {
                consuming.paused = true;
                self.ready.insert(id, entry);
            }
        }
    }

    fn find(&mut self, id: ConsumerId) -> Option<&mut Consuming> {
        self.consumers.iter_mut().find(|each| each.id == id)
    }
}

/// See the module.
#[derive(Default)]
pub struct Queues {
    queues: HashMap<Name, Queue>,
    consumers: HashMap<ConsumerId, Name>,
    last_message: u64,
    last_consumer: ConsumerId,
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues")
            .field("queues", &self.queues.len())
            .field("consumers", &self.consumers.len())
            .finish_non_exhaustive()
    }
}

impl Queues {
    /// Puts a message into a queue, which need not be there yet. False: with it the queue would hold more than `limit`
    /// bytes ([`Message::size`]), and it was not taken.
    pub fn send(&mut self, name: &[u8], message: Arc<Message>, limit: usize) -> bool {
        let size = message.size();
        if !self.queues.contains_key(name) {
            self.queues.insert(name.into(), Queue::default());
        }
        let Some(queue) = self.queues.get_mut(name) else {
            return false;
        };
        if queue.bytes + size > limit {
            self.forget_empty(name);
            return false;
        }
        self.last_message += 1;
        queue.bytes += size;
        let deliveries = 0;
        queue.ready.insert(
            self.last_message,
            Entry {
                message,
                deliveries,
            },
        );
        queue.hand_out();
        true
    }

    /// Whether a queue has room for messages of so many bytes together, of `limit`.
    pub fn has_room(&self, name: &[u8], bytes: usize, limit: usize) -> bool {
        let held = self.queues.get(name).map_or(0, |queue| queue.bytes);
        held.saturating_add(bytes) <= limit
    }

    /// Whether somebody consumes from a queue.
    pub fn is_consumed(&self, name: &[u8]) -> bool {
        let queue = self.queues.get(name);
        queue.is_some_and(|queue| !queue.consumers.is_empty())
    }

    /// Forgets a queue, its consumers, and what is in it.
    pub fn remove(&mut self, name: &[u8]) {
        if let Some(queue) = self.queues.remove(name) {
            for consuming in queue.consumers {
                self.consumers.remove(&consuming.id);
            }
        }
    }

    /// Adds a consumer, which gets up to `prefetch` messages before it has dealt with the first.
    pub fn consume(
        &mut self,
        name: &[u8],
        to: Arc<dyn Consumer>,
        tag: u32,
        prefetch: usize,
    ) -> ConsumerId {
        self.last_consumer += 1;
        let id = self.last_consumer;
        let name: Name = name.into();
        self.consumers.insert(id, name.clone());
        let queue = self.queues.entry(name).or_default();
        queue.consumers.push(Consuming {
            id,
            tag,
            to,
            prefetch: prefetch.max(1),
            unsettled: BTreeMap::new(),
            paused: false,
        });
        queue.hand_out();
        id
    }

    /// Ends a consumer: what it has not dealt with comes again, to others.
    pub fn cancel(&mut self, consumer: ConsumerId) {
        let Some(name) = self.consumers.remove(&consumer) else {
            return;
        };
        if let Some(queue) = self.queues.get_mut(&name) {
            let place = queue.consumers.iter().position(|each| each.id == consumer);
            if let Some(place) = place {
                let gone = queue.consumers.remove(place);
                queue.turn = match queue.turn > place {
                    true => queue.turn - 1,
                    false => queue.turn,
                };
                queue.ready.extend(gone.unsettled);
                queue.hand_out();
            }
        }
        self.forget_empty(&name);
    }

    /// A message is dealt with. False: this consumer has no such message.
    pub fn accept(&mut self, consumer: ConsumerId, id: u64) -> bool {
        self.settle(consumer, id, |queue, _, entry| {
            queue.bytes -= entry.message.size();
        })
    }

    /// A consumer could not deal with a message: it comes again, to another one where there is one; or, not `again`, is
    /// thrown away. False: this consumer has no such message.
    pub fn reject(&mut self, consumer: ConsumerId, id: u64, again: bool) -> bool {
        self.settle(consumer, id, |queue, place, entry| match again {
            true => {
                queue.turn = (place + 1) % queue.consumers.len();
                queue.ready.insert(id, entry);
            }
            false => queue.bytes -= entry.message.size(),
        })
    }

    /// The ids of the messages that a consumer has not dealt with, up to `last`, in their order: for protocols that
    /// acknowledge all messages so far at once.
    pub fn unsettled(&mut self, consumer: ConsumerId, last: u64) -> Vec<u64> {
        let queue = self
            .consumers
            .get(&consumer)
            .and_then(|name| self.queues.get_mut(name));
        let consuming = queue.and_then(|queue| queue.find(consumer));
        consuming.map_or_else(Vec::new, |consuming| {
            consuming
                .unsettled
                .range(..=last)
                .map(|(id, _)| *id)
                .collect()
        })
    }

    /// A consumer has room again.
    pub fn resume(&mut self, consumer: ConsumerId) {
        let queue = self
            .consumers
            .get(&consumer)
            .and_then(|name| self.queues.get_mut(name));
        if let Some(queue) = queue {
            if let Some(consuming) = queue.find(consumer) {
                consuming.paused = false;
            }
            queue.hand_out();
        }
    }

    /// Messages that nobody has dealt with, of all queues.
    pub fn len(&self) -> usize {
        let held = |queue: &Queue| {
            let unsettled: usize = queue
                .consumers
                .iter()
                .map(|each| each.unsettled.len())
                .sum();
            queue.ready.len() + unsettled
        };
        self.queues.values().map(held).sum()
    }

    /// Whether there is no such message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn settle(
        &mut self,
        consumer: ConsumerId,
        id: u64,
        deal: impl FnOnce(&mut Queue, usize, Entry),
    ) -> bool {
        let Some(name) = self.consumers.get(&consumer).cloned() else {
            return false;
        };
        let Some(queue) = self.queues.get_mut(&name) else {
            return false;
        };
        let place = queue.consumers.iter().position(|each| each.id == consumer);
        let found = place.and_then(|place| {
            let entry = queue.consumers[place].unsettled.remove(&id)?;
            Some((place, entry))
        });
        let Some((place, entry)) = found else {
            return false;
        };
        deal(queue, place, entry);
        queue.hand_out();
        true
    }

    /// A queue is there as long as somebody consumes from it or something is in it.
    fn forget_empty(&mut self, name: &[u8]) {
        let unused = |queue: &Queue| queue.consumers.is_empty() && queue.ready.is_empty();
        if self.queues.get(name).is_some_and(unused) {
            self.queues.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Mutex;

    /// Takes so many messages at most, and notes their ids and how often they came before.
    struct Shelf {
        room: Mutex<usize>,
        taken: Mutex<Vec<(u64, u32)>>,
    }

    impl Shelf {
        fn new(room: usize) -> Arc<Self> {
            Arc::new(Shelf {
                room: Mutex::new(room),
                taken: Mutex::default(),
            })
        }

        fn take(&self) -> Vec<(u64, u32)> {
            std::mem::take(&mut *self.taken.lock().unwrap())
        }
    }

    impl Consumer for Shelf {
        fn consume(&self, consignment: Consignment) -> bool {
            let mut room = self.room.lock().unwrap();
            let taken = *room > 0;
            if taken {
                *room -= 1;
                let what = (consignment.id, consignment.redeliveries);
                self.taken.lock().unwrap().push(what);
            }
            taken
        }
    }

    fn send(queues: &mut Queues, count: usize) {
        for _ in 0..count {
            assert!(queues.send(b"q", Arc::default(), 1 << 20));
        }
    }

    #[test]
    fn consumers_compete_in_turn_within_their_prefetch() {
        let mut queues = Queues::default();
        let (a, b) = (Shelf::new(99), Shelf::new(99));
        send(&mut queues, 2);
        let first = queues.consume(b"q", a.clone(), 1, 3);
        assert_eq!(a.take(), [(1, 0), (2, 0)]);
        let second = queues.consume(b"q", b.clone(), 2, 1);
        send(&mut queues, 4);
        assert_eq!((a.take(), b.take()), (vec![(3, 0)], vec![(4, 0)]));
        assert!(queues.accept(second, 4));
        assert_eq!(b.take(), [(5, 0)]);
        assert!(!queues.accept(second, 4), "once only");
        assert!(!queues.accept(second, 1), "it is the other one's");
        assert_eq!(queues.unsettled(first, 2), [1, 2]);
        assert_eq!(queues.len(), 5);
        // What the first one had comes to the second, in its order, marked.
        queues.cancel(first);
        for id in [5, 1, 2, 3, 6] {
            assert!(queues.accept(second, id));
        }
        assert_eq!(b.take(), [(1, 1), (2, 1), (3, 1), (6, 0)]);
        assert!(queues.is_empty());
        queues.cancel(second);
        assert!(queues.queues.is_empty());
    }

    #[test]
    fn what_is_rejected_goes_to_another_consumer_or_nowhere() {
        let mut queues = Queues::default();
        let (a, b) = (Shelf::new(99), Shelf::new(99));
        let first = queues.consume(b"q", a.clone(), 1, 9);
        send(&mut queues, 1);
        let second = queues.consume(b"q", b.clone(), 2, 9);
        assert!(queues.reject(first, 1, true));
        assert_eq!((a.take(), b.take()), (vec![(1, 0)], vec![(1, 1)]));
        assert!(queues.reject(second, 1, false));
        assert!(queues.is_empty());
    }

    #[test]
    fn a_full_consumer_is_left_out_until_it_has_room() {
        let mut queues = Queues::default();
        let (a, b) = (Shelf::new(1), Shelf::new(2));
        let first = queues.consume(b"q", a.clone(), 1, 9);
        queues.consume(b"q", b.clone(), 2, 9);
        send(&mut queues, 5);
        assert_eq!((a.take(), b.take()), (vec![(1, 0)], vec![(2, 0), (3, 0)]));
        *a.room.lock().unwrap() = 5;
        queues.resume(first);
        assert_eq!(a.take(), [(4, 0), (5, 0)]);
    }

    #[test]
    fn a_queue_is_bounded() {
        let mut queues = Queues::default();
        let size = Message::default().size();
        assert!(queues.send(b"q", Arc::default(), size));
        assert!(!queues.send(b"q", Arc::default(), size));
        let consumer = queues.consume(b"q", Shelf::new(9), 1, 1);
        assert!(
            !queues.send(b"q", Arc::default(), size),
            "it is not dealt with"
        );
        assert!(queues.accept(consumer, 1));
        assert!(queues.send(b"q", Arc::default(), size));
        assert!(!queues.send(b"other", Arc::default(), 0));
        assert_eq!(queues.queues.len(), 1);
    }

    #[test]
    fn a_queue_that_is_removed_takes_all_with_it() {
        let mut queues = Queues::default();
        let size = Message::default().size();
        assert!(queues.has_room(b"q", size, size) && !queues.is_consumed(b"q"));
        let consumer = queues.consume(b"q", Shelf::new(9), 1, 1);
        send(&mut queues, 3);
        assert!(queues.has_room(b"q", size, 4 * size) && !queues.has_room(b"q", size, 3 * size));
        assert!(queues.is_consumed(b"q"));
        queues.remove(b"q");
        assert!(queues.is_empty() && !queues.is_consumed(b"q"));
        assert!(!queues.accept(consumer, 1));
        assert!(queues.consumers.is_empty());
    }

    proptest! {
        /// Whatever consumers do, each message is dealt with once, and none is lost.
        #[test]
        fn every_message_is_dealt_with_once(steps in proptest::collection::vec((0u8..6, any::<u8>()), 1..80)) {
            let mut queues = Queues::default();
            let mut live: Vec<(ConsumerId, Arc<Shelf>, Vec<u64>)> = Vec::new();
            let (mut sent, mut settled) = (0, 0);
            for (step, choice) in steps {
                let at = usize::from(choice) % live.len().max(1);
                match (step, live.get_mut(at)) {
                    (0, _) => {
                        let shelf = Shelf::new(usize::MAX);
                        live.push((queues.consume(b"q", shelf.clone(), 0, 1 + usize::from(choice) % 4), shelf, Vec::new()));
                    }
                    (1, Some(_)) => queues.cancel(live.remove(at).0),
                    (2 | 3, Some((consumer, _, held))) if !held.is_empty() => {
                        let id = held.remove(usize::from(choice) % held.len());
                        let again = step == 3 && choice % 2 == 0;
                        let done = if step == 2 { queues.accept(*consumer, id) } else { queues.reject(*consumer, id, again) };
                        prop_assert!(done);
                        settled += usize::from(!again);
                    }
                    _ => {
                        send(&mut queues, 1);
                        sent += 1;
                    }
                }
                for (_, shelf, held) in &mut live {
                    held.extend(shelf.take().into_iter().map(|(id, _)| id));
                }
                prop_assert_eq!(queues.len(), sent - settled);
                let mut all: Vec<u64> = live.iter().flat_map(|(_, _, held)| held.iter().copied()).collect();
                let count = all.len();
                all.sort_unstable();
                all.dedup();
                prop_assert_eq!(all.len(), count, "a message has one consumer at a time");
            }
        }
    }
}
