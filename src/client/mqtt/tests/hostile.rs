//! A broker that sends any packets whatsoever, in any order: nothing panics, and every ticket is
//! answered once.

use super::*;
use crate::codec::mqtt::{
    Ack, AckKind, Auth, ConnAck, Disconnect, Properties, PropertyList, Publish as Wire, Reason,
    SubAck, UnsubAck,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Reads nothing and says nothing of itself.
struct Stranger;

impl Peer for Stranger {
    fn receive(&mut self, input: &mut BytesMut, _: &mut BytesMut) {
        input.clear();
    }
}

#[derive(Clone, Debug)]
enum Step {
    ConnAck { present: bool, small: bool },
    Publish { id: u16, qos: u8, dup: bool },
    Ack { kind: u8, id: u16, error: bool },
    SubAck { id: u16, error: bool },
    UnsubAck { id: u16 },
    Auth,
    PingResp,
    Disconnect,
    Garbage(Vec<u8>),
    Emit { qos: u32, post: bool },
    Subscribe,
    Unsubscribe(u64),
    Acknowledge(u64),
    Flush,
    Transmit,
    Pass(u64),
    Room(usize),
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    let id = 1u16..12;
    prop_oneof![
        3 => any::<(bool, bool)>().prop_map(|(present, small)| Step::ConnAck { present, small }),
        4 => (id.clone(), 0u8..3, any::<bool>())
            .prop_map(|(id, qos, dup)| Step::Publish { id, qos, dup }),
        6 => (0u8..4, id.clone(), any::<bool>())
            .prop_map(|(kind, id, error)| Step::Ack { kind, id, error }),
        2 => (id.clone(), any::<bool>()).prop_map(|(id, error)| Step::SubAck { id, error }),
        1 => id.prop_map(|id| Step::UnsubAck { id }),
        1 => Just(Step::Auth),
        1 => Just(Step::PingResp),
        1 => Just(Step::Disconnect),
        1 => proptest::collection::vec(any::<u8>(), 1..20).prop_map(Step::Garbage),
        6 => (0u32..3, any::<bool>()).prop_map(|(qos, post)| Step::Emit { qos, post }),
        2 => Just(Step::Subscribe),
        1 => (0u64..6).prop_map(Step::Unsubscribe),
        3 => (0u64..20).prop_map(Step::Acknowledge),
        1 => Just(Step::Flush),
        6 => Just(Step::Transmit),
        2 => (0u64..8).prop_map(Step::Pass),
        1 => (0usize..4).prop_map(Step::Room),
        1 => Just(Step::Cut),
    ]
}

struct World {
    pair: Pair<Mqtt, Stranger>,
    tickets: u64,
    keys: u64,
}

impl World {
    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn hears(&mut self, packet: &Packet<'_>) -> Outcome {
        let mut bytes = BytesMut::new();
        // What this version does not have is not sent.
        let _ = packet.encode(self.pair.client.version, &mut bytes);
        self.pair.inject(&bytes)
    }

    fn take(&mut self, step: &Step) -> Outcome {
        let properties = Properties::default();
        let outcome = |error: bool| match error {
            true => Reason::UNSPECIFIED_ERROR,
            false => Reason::SUCCESS,
        };
        match *step {
            Step::ConnAck { present, small } => {
                let mut list = PropertyList::new();
                if small {
                    let two = PropertyValue::U16(2);
                    list.push(PropertyId::ReceiveMaximum, two)
                        .expect("a valid property");
                }
                self.hears(&Packet::ConnAck(ConnAck {
                    session_present: present,
                    reason: Reason::SUCCESS,
                    properties: list.as_properties(),
                }))
            }
            Step::Publish { id, qos, dup } => {
                let qos = Qos::from_u8(qos).unwrap_or_default();
                self.hears(&Packet::Publish(Wire {
                    dup: dup && qos != Qos::AtMostOnce,
                    qos,
                    retain: false,
                    topic: if dup { "t/1" } else { "other" },
                    packet_id: if qos == Qos::AtMostOnce { 0 } else { id },
                    properties,
                    payload: b"x",
                }))
            }
            Step::Ack { kind, id, error } => {
                let (kind, refuses) = match kind {
                    0 => (AckKind::PubAck, true),
                    1 => (AckKind::PubRec, true),
                    2 => (AckKind::PubRel, false),
                    _ => (AckKind::PubComp, false),
                };
                self.hears(&Packet::Ack(Ack {
                    kind,
                    packet_id: id,
                    reason: outcome(error && refuses),
                    properties,
                }))
            }
            Step::SubAck { id, error } => self.hears(&Packet::SubAck(SubAck {
                packet_id: id,
                properties,
                reasons: vec![outcome(error)],
            })),
            Step::UnsubAck { id } => self.hears(&Packet::UnsubAck(UnsubAck {
                packet_id: id,
                properties,
                reasons: match self.pair.client.version {
                    Version::V5 => vec![Reason::SUCCESS],
                    Version::V311 => Vec::new(),
                },
            })),
            Step::Auth => self.hears(&Packet::Auth(Auth {
                reason: Reason::CONTINUE_AUTHENTICATION,
                properties,
            })),
            Step::PingResp => self.hears(&Packet::PingResp),
            Step::Disconnect => self.hears(&Packet::Disconnect(Disconnect {
                reason: Reason::SERVER_BUSY,
                properties,
            })),
            Step::Garbage(ref bytes) => self.pair.inject(bytes),
            Step::Emit { qos, post } => {
                let ticket = (!post).then(|| self.ticket());
                self.pair.submit(Command::Publish(Publish {
                    ticket,
                    target: b"topic",
                    payload: b"payload",
                    flags: HAS_QOS | qos,
                    options: None,
                }))
            }
            Step::Subscribe => {
                self.keys += 1;
                let (ticket, key) = (self.ticket(), self.keys);
                self.pair.subscribe(ticket, key, &format!("t/{key}"))
            }
            Step::Unsubscribe(key) => {
                let ticket = self.ticket();
                let command = Command::Unsubscribe { ticket, key };
                if self.pair.submit(command).is_err() {
                    self.tickets -= 1;
                }
                Ok(())
            }
            Step::Acknowledge(id) => {
                let verdict = Verdict::Accept;
                self.pair.submit(Command::Acknowledge { id, verdict })
            }
            Step::Flush => {
                let ticket = self.ticket();
                self.pair.submit(Command::Flush { ticket })
            }
            Step::Transmit => {
                self.pair.reach_peer();
                Ok(())
            }
            Step::Pass(time) => self.pair.pass(seconds(time)).map(drop),
            Step::Room(room) => {
                self.pair.room = room;
                Ok(())
            }
            Step::Cut => Err(Error::lost("gone")),
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_everybody_is_answered_once(
        old in any::<bool>(),
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let given = [
            ("max_in_flight", number(5)),
            ("timeout", number(5)),
            ("auth_method", text("m")),
            ("version", text(if old { "3.1.1" } else { "5" })),
        ];
        let pair = Pair::new(Mqtt::new(options(&given)), Stranger);
        let mut world = World { pair, tickets: 0, keys: 0 };
        world.pair.connect();
        let _ = world.take(&Step::ConnAck { present: false, small: false });
        for step in &steps {
            if let Err(error) = world.take(step) {
                world.pair.client.farewell(&mut BytesMut::new());
                world.pair.cut(&error);
                world.pair.connect();
            }
        }
        world.pair.terminate(&Error::closed());
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for told in world.pair.told() {
            if let Told::Answered(ticket, _) | Told::Failed(ticket, ..) = told {
                *times.entry(ticket).or_default() += 1;
            }
        }
        let expected: BTreeMap<u64, usize> = (1..=world.tickets).map(|ticket| (ticket, 1)).collect();
        prop_assert_eq!(times, expected);
        let counters = world.pair.client.counters();
        prop_assert_eq!((counters.queued, counters.in_flight), (0, 0));
        prop_assert_eq!(world.pair.client.deadline(), None);
    }
}
