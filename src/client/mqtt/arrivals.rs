//! Messages of QoS 1 and 2 that have come and are not yet acknowledged: which packets, to how many
//! subscriptions each was given, and what became of that.
//!
//! Acknowledgements leave in the order in which the packets came (MQTT 5.0, section 4.6). They are
//! kept across connections while the broker keeps the session: what it sends again is then known,
//! and not given to the program twice.

use crate::codec::mqtt::Qos;
use crate::message::{Key, Verdict};
use std::collections::{HashMap, HashSet, VecDeque};

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

#[derive(Debug)]
struct Packet {
    identifier: u16,
    qos: Qos,
    /// Deliveries of it that the program has not settled.
    left: usize,
    verdict: Verdict,
    /// It came on this connection, which takes its acknowledgement.
    here: bool,
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
    packets: VecDeque<Packet>,
    packets_gone: u64,
    deliveries: VecDeque<Delivery>,
    /// The number of the first delivery; what the program names is never used again.
    first_delivery: u64,
    /// After a connection was lost: what the broker will send again.
    again: HashMap<u16, u64>,
    /// QoS 2 packets that await their PUBREL.
    received: HashSet<u16>,
}

impl Default for Arrivals {
    fn default() -> Self {
        Arrivals {
            packets: VecDeque::new(),
            packets_gone: 0,
            deliveries: VecDeque::new(),
            first_delivery: 1,
            again: HashMap::new(),
            received: HashSet::new(),
        }
    }
}

impl Arrivals {
    /// Packets that are not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// What the packet is that has just come.
    pub(super) fn recognize(&mut self, identifier: u16, qos: Qos, dup: bool) -> Known {
        if qos == Qos::ExactlyOnce && self.received.contains(&identifier) {
            return Known::Received;
        }
        if self.again.is_empty() {
            return Known::New;
        }
        // What is sent again comes in its old order, before anything new (section 4.4): what was
        // passed over does not come any more.
        match self.again.remove(&identifier).filter(|_| dup) {
            Some(packet) => {
                self.give_up_before(packet);
                if let Some(packet) = self.packet(packet) {
                    packet.here = true;
                }
                Known::Pending
            }
            None => {
                self.again.clear();
                self.give_up_before(u64::MAX);
                Known::New
            }
        }
    }

    /// A packet is given to the program, once for each of `keys`; the number of the first of these
    /// deliveries, the others follow it.
    pub(super) fn arrive(&mut self, identifier: u16, qos: Qos, keys: &[Key]) -> u64 {
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
            left: keys.len(),
            verdict: Verdict::Accept,
            here: true,
        });
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
        let front = self.packets.front()?;
        if front.left > 0 || !front.here {
            return None;
        }
        let packet = self.packets.pop_front()?;
        self.packets_gone += 1;
        let verdict = match can_reject {
            true => packet.verdict,
            false => Verdict::Accept,
        };
        // No PUBREL follows a PUBREC that refuses (section 4.3.3).
        if packet.qos == Qos::ExactlyOnce && verdict == Verdict::Accept {
            self.received.insert(packet.identifier);
        }
        Some(Settled {
            identifier: packet.identifier,
            qos: packet.qos,
            verdict,
        })
    }

    /// The PUBREL of a packet has come. False: there is no such packet.
    pub(super) fn complete(&mut self, identifier: u16) -> bool {
        self.received.remove(&identifier)
    }

    /// The connection is gone, the session is not: what is not acknowledged will come again.
    pub(super) fn suspend(&mut self) {
        self.again.clear();
        for (number, packet) in (self.packets_gone..).zip(&mut self.packets) {
            packet.here = false;
            self.again.insert(packet.identifier, number);
        }
    }

    /// The broker has no session: what was is not acknowledged any more.
    pub(super) fn clear(&mut self) {
        *self = Arrivals {
            packets_gone: self.packets_gone + self.packets.len() as u64,
            first_delivery: self.first_delivery + self.deliveries.len() as u64,
            ..Arrivals::default()
        };
    }

    /// Packets before this one that did not come again: nobody awaits their acknowledgement.
    fn give_up_before(&mut self, packet: u64) {
        while let Some(front) = self.packets.front() {
            if self.packets_gone >= packet || front.here {
                break;
            }
            self.again.remove(&front.identifier);
            self.packets.pop_front();
            self.packets_gone += 1;
        }
    }

    fn packet(&mut self, number: u64) -> Option<&mut Packet> {
        let place = number.wrapping_sub(self.packets_gone) as usize;
        self.packets.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Qos::{AtLeastOnce, ExactlyOnce};
    use Verdict::{Accept, Reject};

    fn settled(arrivals: &mut Arrivals) -> Vec<(u16, Verdict)> {
        std::iter::from_fn(|| arrivals.next_settled(true))
            .map(|each| (each.identifier, each.verdict))
            .collect()
    }

    #[test]
    fn acknowledgements_leave_in_the_order_of_arrival() {
        let mut arrivals = Arrivals::default();
        let first = arrivals.arrive(7, AtLeastOnce, &[1]);
        let second = arrivals.arrive(8, AtLeastOnce, &[1, 2]);
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
        let deliveries = [1, 2, 3].map(|id| arrivals.arrive(id, ExactlyOnce, &[1]));
        arrivals.settle(deliveries[0], Accept);
        assert_eq!(settled(&mut arrivals), [(1, Accept)]);
        arrivals.suspend();
        arrivals.settle(deliveries[1], Accept);
        assert_eq!(settled(&mut arrivals), [], "it has to come again first");
        assert_eq!(arrivals.recognize(1, ExactlyOnce, true), Known::Received);
        assert_eq!(arrivals.recognize(2, ExactlyOnce, true), Known::Pending);
        assert_eq!(settled(&mut arrivals), [(2, Accept)]);
        assert_eq!(arrivals.recognize(3, ExactlyOnce, true), Known::Pending);
        assert_eq!(arrivals.recognize(4, ExactlyOnce, false), Known::New);
        assert!(arrivals.complete(1) && !arrivals.complete(1));
    }

    #[test]
    fn what_does_not_come_again_holds_nothing_up() {
        let mut arrivals = Arrivals::default();
        let lost = arrivals.arrive(1, AtLeastOnce, &[1]);
        arrivals.suspend();
        assert_eq!(arrivals.recognize(9, AtLeastOnce, false), Known::New);
        let new = arrivals.arrive(9, AtLeastOnce, &[1]);
        arrivals.settle(new, Accept);
        arrivals.settle(lost, Accept);
        assert_eq!(settled(&mut arrivals), [(9, Accept)]);
    }

    #[test]
    fn a_lost_session_takes_its_acknowledgements_with_it() {
        let mut arrivals = Arrivals::default();
        let old = arrivals.arrive(1, AtLeastOnce, &[1]);
        arrivals.clear();
        let new = arrivals.arrive(1, AtLeastOnce, &[1]);
        arrivals.settle(old, Accept);
        assert_eq!(settled(&mut arrivals), []);
        arrivals.settle(new, Accept);
        assert_eq!(settled(&mut arrivals), [(1, Accept)]);
    }

    #[test]
    fn the_end_of_a_subscription_releases_what_it_was_given() {
        let mut arrivals = Arrivals::default();
        arrivals.arrive(1, AtLeastOnce, &[1, 2]);
        arrivals.release(2);
        assert_eq!(settled(&mut arrivals), []);
        arrivals.release(1);
        assert_eq!(settled(&mut arrivals), [(1, Reject)]);
        assert_eq!(arrivals.len(), 0);
    }
}
