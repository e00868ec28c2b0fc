//! Messages of QoS 1 and 2 that have come and are not yet acknowledged: which packets, to how many
//! subscriptions each was given, and what became of that.
//!
//! Acknowledgements leave in the order in which the packets came (MQTT 5.0, section 4.6). They are
//! kept across connections while the broker keeps the session: what it sends again is then known,
//! and not given to the program twice.

use crate::codec::mqtt::Qos;
use crate::message::{Key, Verdict};
use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Packets that are remembered while the broker sends again what it says it had sent before.
const MOST: usize = 65_535;

/// An acknowledgement that may leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) identifier: u16,
    pub(super) qos: Qos,
    pub(super) verdict: Verdict,
}

/// What a packet that comes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// To be given to the program.
    New,
    /// With the program already; its acknowledgement follows.
    Pending,
    /// QoS 2, acknowledged already: the PUBREC is to be sent again.
    Received,
}

/// What tells messages apart that have the same identifier on different connections: RabbitMQ 3.10
/// counts anew on each, so that what it sends again may bear the identifier of another message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Print(u64);

impl Print {
    /// Of a large payload only both ends count.
    pub(super) fn of(topic: &str, payload: &[u8]) -> Self {
        const END: usize = 4096;
        let mut hasher = DefaultHasher::new();
        topic.hash(&mut hasher);
        payload.len().hash(&mut hasher);
        let (first, rest) = payload.split_at(payload.len().min(END));
        first.hash(&mut hasher);
        rest[rest.len().saturating_sub(END)..].hash(&mut hasher);
        Print(hasher.finish())
    }
}

/// Where a packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It came on this connection, which takes its acknowledgement.
    Here,
    /// It came on an earlier one: the broker will send it again.
    Awaited,
    /// It is acknowledged, or the broker did not send it again: nobody awaits anything.
    Done,
}

#[derive(Debug)]
struct Packet {
    identifier: u16,
    qos: Qos,
    print: Print,
    /// Deliveries of it that the program has not settled.
    left: usize,
    verdict: Verdict,
    standing: Standing,
}

#[derive(Debug)]
struct Delivery {
    /// Which packet, counted from the first one ever.
    packet: u64,
    key: Key,
    settled: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// By their numbers, which are counted from the first one ever.
    packets: VecDeque<Packet>,
    packets_gone: u64,
    /// Those of this connection, in the order in which they came on it.
    order: VecDeque<u64>,
    deliveries: VecDeque<Delivery>,
    /// The number of the first delivery; what the program names is never used again.
    first_delivery: u64,
    /// After a connection was lost: what the broker will send again, in its order.
    awaited: VecDeque<u64>,
    /// The same by identifier.
    again: HashMap<u16, u64>,
    /// QoS 2 packets of this connection that are not acknowledged.
    pending: Identifiers,
    /// QoS 2 packets that await their PUBREL.
    received: Identifiers,
}

impl Default for Arrivals {
    fn default() -> Self {
        Arrivals {
            packets: VecDeque::new(),
            packets_gone: 0,
            order: VecDeque::new(),
            deliveries: VecDeque::new(),
            first_delivery: 1,
            awaited: VecDeque::new(),
            again: HashMap::new(),
            pending: Identifiers::default(),
            received: Identifiers::default(),
        }
    }
}

impl Arrivals {
    /// Packets of this connection that are not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// What the packet is that has just come.
    pub(super) fn recognize(
        &mut self,
        identifier: u16,
        qos: Qos,
        dup: bool,
        print: Print,
    ) -> Known {
        if qos == Qos::ExactlyOnce {
            // Until it is released, the same identifier is the same message [MQTT-4.3.3-10].
            if self.received.contains(identifier) {
                return Known::Received;
            }
            if self.pending.contains(identifier) {
                return Known::Pending;
            }
        }
        if self.again.is_empty() {
            return Known::New;
        }
        // What is sent again comes in its old order, before anything new (section 4.4): what was
        // passed over does not come any more.
        let known = self.again.remove(&identifier).filter(|number| {
            let place = number.wrapping_sub(self.packets_gone) as usize;
            let same = |it: &Packet| it.qos == qos && it.print == print;
            dup && self.packets.get(place).is_some_and(same)
        });
        let Some(number) = known else {
            // A duplicate of what we had acknowledged comes before what we had not.
            if !dup || self.packets.len() > MOST {
                self.give_up_until(None);
            }
            return Known::New;
        };
        self.give_up_until(Some(number));
        if let Some(packet) = self.packet(number) {
            packet.standing = Standing::Here;
            self.order.push_back(number);
            if qos == Qos::ExactlyOnce {
                self.pending.insert(identifier);
            }
        }
        Known::Pending
    }

    /// A packet is given to the program, once for each of `keys`; the number of the first of these
    /// deliveries, the others follow it.
    pub(super) fn arrive(&mut self, identifier: u16, qos: Qos, print: Print, keys: &[Key]) -> u64 {
        let number = self.first_delivery + self.deliveries.len() as u64;
        let packet = self.packets_gone + self.packets.len() as u64;
        self.deliveries.extend(keys.iter().map(|key| Delivery {
            packet,
            key: *key,
            settled: false,
        }));
        self.packets.push_back(Packet {
            identifier,
            qos,
            print,
            left: keys.len(),
            verdict: Verdict::Accept,
            standing: Standing::Here,
        });
        self.order.push_back(packet);
        if qos == Qos::ExactlyOnce {
            self.pending.insert(identifier);
        }
        number
    }

    /// The program is done with a delivery; one that is not known was of an earlier session.
    pub(super) fn settle(&mut self, delivery: u64, verdict: Verdict) {
        let place = delivery.wrapping_sub(self.first_delivery) as usize;
        let Some(known) = self.deliveries.get_mut(place) else {
            return;
        };
        if std::mem::replace(&mut known.settled, true) {
            return;
        }
        let packet = known.packet;
        if let Some(packet) = self.packet(packet) {
            packet.left -= 1;
            if verdict == Verdict::Reject {
                packet.verdict = Verdict::Reject;
            }
        }
        while self.deliveries.front().is_some_and(|each| each.settled) {
            self.deliveries.pop_front();
            self.first_delivery += 1;
        }
    }

    /// What was given to nobody is given to this subscription.
    pub(super) fn readdress(&mut self, delivery: u64, key: Key) {
        let place = delivery.wrapping_sub(self.first_delivery) as usize;
        if let Some(known) = self.deliveries.get_mut(place) {
            known.key = key;
        }
    }

    /// The subscription is over: nobody will settle what was given to it.
    pub(super) fn release(&mut self, key: Key) {
        let open: Vec<u64> = (self.first_delivery..)
            .zip(&self.deliveries)
            .filter(|(_, each)| each.key == key && !each.settled)
            .map(|(number, _)| number)
            .collect();
        for number in open {
            self.settle(number, Verdict::Reject);
        }
    }

    /// The next acknowledgement, in the order of the packets. Version 3.1.1 has no word for a
    /// message that could not be dealt with: `can_reject` is false, and it counts as dealt with.
    pub(super) fn next_settled(&mut self, can_reject: bool) -> Option<Settled> {
        let number = *self.order.front()?;
        let packet = self.packet(number)?;
        if packet.left > 0 {
            return None;
        }
        packet.standing = Standing::Done;
        let (identifier, qos, verdict) = (packet.identifier, packet.qos, packet.verdict);
        self.order.pop_front();
        self.forget_done();
        let verdict = match can_reject {
            true => verdict,
            false => Verdict::Accept,
        };
        if qos == Qos::ExactlyOnce {
            self.pending.remove(identifier);
            // No PUBREL follows a PUBREC that refuses (section 4.3.3).
            if verdict == Verdict::Accept {
                self.received.insert(identifier);
            }
        }
        Some(Settled {
            identifier,
            qos,
            verdict,
        })
    }

    /// The PUBREL of a packet has come. False: there is no such packet.
    pub(super) fn complete(&mut self, identifier: u16) -> bool {
        self.received.remove(identifier)
    }

    /// The connection is gone, the session is not: what is not acknowledged will come again.
    pub(super) fn suspend(&mut self) {
        self.pending = Identifiers::default();
        // What came on this connection comes before what was still to come.
        let mut awaited = std::mem::take(&mut self.order);
        awaited.append(&mut self.awaited);
        self.again.clear();
        for number in &awaited {
            if let Some(packet) = self.packet(*number) {
                packet.standing = Standing::Awaited;
                let identifier = packet.identifier;
                self.again.insert(identifier, *number);
            }
        }
        self.awaited = awaited;
    }

    /// The broker has no session: what was is not acknowledged any more.
    pub(super) fn clear(&mut self) {
        *self = Arrivals {
            packets_gone: self.packets_gone + self.packets.len() as u64,
            first_delivery: self.first_delivery + self.deliveries.len() as u64,
            ..Arrivals::default()
        };
    }

    /// This packet has come again, or what is new; what was to come before it has not, and nobody
    /// awaits its acknowledgement.
    fn give_up_until(&mut self, come: Option<u64>) {
        while let Some(number) = self.awaited.pop_front() {
            if Some(number) == come {
                break;
            }
            if let Some(packet) = self.packet(number) {
                packet.standing = Standing::Done;
                let identifier = packet.identifier;
                self.again.remove(&identifier);
            }
        }
        self.forget_done();
    }

    fn forget_done(&mut self) {
        while let Some(Standing::Done) = self.packets.front().map(|packet| packet.standing) {
            self.packets.pop_front();
            self.packets_gone += 1;
        }
    }

    fn packet(&mut self, number: u64) -> Option<&mut Packet> {
        let place = number.wrapping_sub(self.packets_gone) as usize;
        self.packets.get_mut(place)
    }
}

/// A set of packet identifiers: a bit for each, once there is any.
#[derive(Debug, Default)]
struct Identifiers {
    bits: Vec<u64>,
}

impl Identifiers {
    fn contains(&self, identifier: u16) -> bool {
        let (word, bit) = Self::place(identifier);
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn insert(&mut self, identifier: u16) {
        let (word, bit) = Self::place(identifier);
        if self.bits.is_empty() {
            self.bits = vec![0; 1 << 10];
        }
        if let Some(bits) = self.bits.get_mut(word) {
            *bits |= bit;
        }
    }

    /// Whether it was there.
    fn remove(&mut self, identifier: u16) -> bool {
        let (word, bit) = Self::place(identifier);
        let Some(bits) = self.bits.get_mut(word) else {
            return false;
        };
        let known = *bits & bit != 0;
        *bits &= !bit;
        known
    }

    fn place(identifier: u16) -> (usize, u64) {
        (usize::from(identifier) / 64, 1 << (identifier % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Qos::{AtLeastOnce, ExactlyOnce};
    use Verdict::{Accept, Reject};

    const SAME: Print = Print(0);

    fn settled(arrivals: &mut Arrivals) -> Vec<(u16, Verdict)> {
        std::iter::from_fn(|| arrivals.next_settled(true))
            .map(|each| (each.identifier, each.verdict))
            .collect()
    }

    #[test]
    fn acknowledgements_leave_in_the_order_of_arrival() {
        let mut arrivals = Arrivals::default();
        let first = arrivals.arrive(7, AtLeastOnce, SAME, &[1]);
        let second = arrivals.arrive(8, AtLeastOnce, SAME, &[1, 2]);
        arrivals.settle(second, Accept);
        arrivals.settle(second, Accept);
        assert_eq!(settled(&mut arrivals), []);
        arrivals.settle(first, Accept);
        assert_eq!(settled(&mut arrivals), [(7, Accept)]);
        arrivals.settle(second + 1, Reject);
        assert_eq!(settled(&mut arrivals), [(8, Reject)]);
    }

    #[test]
    fn what_comes_again_is_not_given_twice() {
        let mut arrivals = Arrivals::default();
        let deliveries = [1, 2, 3].map(|id| arrivals.arrive(id, ExactlyOnce, SAME, &[1]));
        arrivals.settle(deliveries[0], Accept);
        assert_eq!(settled(&mut arrivals), [(1, Accept)]);
        arrivals.suspend();
        arrivals.settle(deliveries[1], Accept);
        assert_eq!(settled(&mut arrivals), [], "it has to come again first");
        assert_eq!(
            arrivals.recognize(1, ExactlyOnce, true, SAME),
            Known::Received
        );
        assert_eq!(
            arrivals.recognize(2, ExactlyOnce, true, SAME),
            Known::Pending
        );
        assert_eq!(settled(&mut arrivals), [(2, Accept)]);
        assert_eq!(
            arrivals.recognize(3, ExactlyOnce, true, SAME),
            Known::Pending
        );
        assert_eq!(arrivals.recognize(4, ExactlyOnce, false, SAME), Known::New);
        assert!(arrivals.complete(1) && !arrivals.complete(1));
    }

    #[test]
    fn what_does_not_come_again_holds_nothing_up() {
        let mut arrivals = Arrivals::default();
        let lost = arrivals.arrive(1, AtLeastOnce, SAME, &[1]);
        arrivals.suspend();
        assert_eq!(arrivals.recognize(9, AtLeastOnce, false, SAME), Known::New);
        let new = arrivals.arrive(9, AtLeastOnce, SAME, &[1]);
        arrivals.settle(new, Accept);
        arrivals.settle(lost, Accept);
        assert_eq!(settled(&mut arrivals), [(9, Accept)]);
    }

    #[test]
    fn a_duplicate_whose_acknowledgement_was_lost_is_not_yet_a_new_message() {
        let mut arrivals = Arrivals::default();
        let first = arrivals.arrive(1, AtLeastOnce, SAME, &[1]);
        arrivals.arrive(2, ExactlyOnce, SAME, &[1]);
        arrivals.settle(first, Accept);
        assert_eq!(settled(&mut arrivals), [(1, Accept)]);
        arrivals.suspend();
        assert_eq!(arrivals.recognize(1, AtLeastOnce, true, SAME), Known::New);
        assert_eq!(
            arrivals.recognize(2, ExactlyOnce, true, SAME),
            Known::Pending
        );
    }

    #[test]
    fn another_message_with_the_same_identifier_is_new() {
        let mut arrivals = Arrivals::default();
        let print = |number: u8| Print::of("topic", &[number; 10_000]);
        let old = arrivals.arrive(1, AtLeastOnce, print(1), &[1]);
        arrivals.suspend();
        let known = arrivals.recognize(1, AtLeastOnce, true, print(2));
        assert_eq!(known, Known::New);
        let new = arrivals.arrive(1, AtLeastOnce, print(2), &[1]);
        arrivals.settle(old, Accept);
        assert_eq!(settled(&mut arrivals), []);
        arrivals.settle(new, Accept);
        assert_eq!(settled(&mut arrivals), [(1, Accept)]);
    }

    #[test]
    fn a_lost_session_takes_its_acknowledgements_with_it() {
        let mut arrivals = Arrivals::default();
        let old = arrivals.arrive(1, AtLeastOnce, SAME, &[1]);
        arrivals.clear();
        let new = arrivals.arrive(1, AtLeastOnce, SAME, &[1]);
        arrivals.settle(old, Accept);
        assert_eq!(settled(&mut arrivals), []);
        arrivals.settle(new, Accept);
        assert_eq!(settled(&mut arrivals), [(1, Accept)]);
    }

    #[test]
    fn the_end_of_a_subscription_releases_what_it_was_given() {
        let mut arrivals = Arrivals::default();
        arrivals.arrive(1, AtLeastOnce, SAME, &[1, 2]);
        arrivals.release(2);
        assert_eq!(settled(&mut arrivals), []);
        arrivals.release(1);
        assert_eq!(settled(&mut arrivals), [(1, Reject)]);
        assert_eq!(arrivals.len(), 0);
    }
}
