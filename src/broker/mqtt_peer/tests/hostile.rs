//! Whatever comes, the peer does not panic, and what it says is MQTT.

use super::*;
use proptest::prelude::*;

const TOPICS: [&str; 4] = ["a", "a/b", "topic/long", "$x"];
const FILTERS: [&str; 6] = ["a", "a/#", "+/+", "#", "$share/g/#", "$share/g/a"];

/// Something that a client may do.
#[derive(Clone, Debug)]
enum Act {
    Publish {
        qos: u8,
        retain: bool,
        topic: usize,
        id: u16,
        alias: u16,
    },
    Ack {
        kind: usize,
        id: u16,
        fails: bool,
    },
    Subscribe {
        filter: usize,
        qos: u8,
        identifier: u32,
    },
    Unsubscribe {
        filter: usize,
    },
    Read,
    Ping,
    Bytes(Vec<u8>),
    Lose,
    Leave,
    Pass(u8),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..3u8, any::<bool>(), 0..5usize, 1..5u16, 0..4u16).prop_map(
            |(qos, retain, topic, id, alias)| Act::Publish { qos, retain, topic, id, alias }
        ),
        4 => (0..4usize, 1..8u16, any::<bool>())
            .prop_map(|(kind, id, fails)| Act::Ack { kind, id, fails }),
        2 => (0..FILTERS.len(), 0..3u8, 0..3u32)
            .prop_map(|(filter, qos, identifier)| Act::Subscribe { filter, qos, identifier }),
        1 => (0..FILTERS.len()).prop_map(|filter| Act::Unsubscribe { filter }),
        3 => Just(Act::Read),
        1 => Just(Act::Ping),
        1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Act::Bytes),
        1 => Just(Act::Lose),
        1 => Just(Act::Leave),
        1 => any::<u8>().prop_map(Act::Pass),
    ]
}

fn packet(act: &Act, version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    let packet = match act {
        Act::Publish {
            qos,
            retain,
            topic,
            id,
            alias,
        } => {
            let properties = match alias {
                0 => PropertyList::new(),
                alias => list(&[(PropertyId::TopicAlias, PropertyValue::U16(*alias))]),
            };
            let topic = TOPICS.get(*topic).copied().unwrap_or("");
            let Packet::Publish(publish) = publish(*qos, *id, topic, "payload") else {
                return out;
            };
            let packet = Packet::Publish(Publish {
                retain: *retain,
                properties: properties.as_properties(),
                ..publish
            });
            // An empty topic without an alias is no packet.
            let _ = packet.encode(version, &mut out);
            return out;
        }
        Act::Ack { kind, id, fails } => {
            let kinds = [
                AckKind::PubAck,
                AckKind::PubRec,
                AckKind::PubRel,
                AckKind::PubComp,
            ];
            let kind = kinds[*kind];
            let reason = match (fails, kind) {
                (true, AckKind::PubAck | AckKind::PubRec) => Reason::QUOTA_EXCEEDED,
                (true, _) => Reason::PACKET_IDENTIFIER_NOT_FOUND,
                (false, _) => Reason::SUCCESS,
            };
            ack(kind, *id, reason)
        }
        Act::Unsubscribe { filter } => Packet::Unsubscribe(Unsubscribe {
            packet_id: 1,
            properties: Properties::NONE,
            filters: vec![FILTERS[*filter]],
        }),
        Act::Ping => Packet::PingReq,
        Act::Leave => Packet::Disconnect(Disconnect {
            reason: Reason::SUCCESS,
            properties: Properties::NONE,
        }),
        Act::Bytes(bytes) => {
            out.extend_from_slice(bytes);
            return out;
        }
        Act::Subscribe {
            filter,
            qos,
            identifier,
        } => {
            let properties = match identifier {
                0 => PropertyList::new(),
                id => list(&[(
                    PropertyId::SubscriptionIdentifier,
                    PropertyValue::Varint(*id),
                )]),
            };
            Packet::Subscribe(Subscribe {
                packet_id: 1,
                properties: properties.as_properties(),
                filters: vec![self::filter(FILTERS[*filter], *qos)],
            })
            .encode(version, &mut out)
            .expect("valid");
            return out;
        }
        Act::Read | Act::Lose | Act::Pass(_) => return out,
    };
    packet.encode(version, &mut out).expect("valid");
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(chunks in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..40), 0..6
    )) {
        let world = World::new();
        for mut wire in [world.wire(), world.client("a"), world.old_client("b")] {
            for chunk in &chunks {
                if wire.receive(chunk).is_err() {
                    wire.last_words();
                    break;
                }
                wire.written();
            }
            wire.lose();
        }
    }

    #[test]
    fn any_course_of_events(
        course in proptest::collection::vec((0..3usize, acts()), 0..120),
    ) {
        let mut world = World::with(Settings {
            max_queue_bytes: 2000,
            ..Settings::default()
        });
        let ids = ["a", "b", "c"];
        let join = |world: &World, place: usize| match place {
            0 => world.old_client(ids[place]),
            1 => world.keeper(ids[place]).0,
            _ => {
                let few = (PropertyId::ReceiveMaximum, PropertyValue::U16(2));
                let aliases = (PropertyId::TopicAliasMaximum, PropertyValue::U16(1));
                let hour = (PropertyId::SessionExpiryInterval, PropertyValue::U32(200));
                world.join(Version::V5, ids[place], false, &[few, aliases, hour]).0
            }
        };
        let mut wires: Vec<_> = (0..3).map(|place| Some(join(&world, place))).collect();
        for (place, act) in &course {
            let place = *place;
            let Some(mut wire) = wires[place].take() else { continue };
            let outcome = match act {
                Act::Pass(seconds) => {
                    world.pass(u64::from(*seconds));
                    wire.now = world.now;
                    wire.pass(0)
                }
                Act::Read => {
                    wire.told();
                    wire.pass(0)
                }
                Act::Lose => Err(Error::lost("gone")),
                act => {
                    let bytes = packet(act, wire.version);
                    wire.receive(&bytes)
                }
            };
            if outcome.is_err() || wire.peer.finished() {
                wire.last_words();
                wire.lose();
                world.pass(0);
                wire = join(&world, place);
                wire.now = world.now;
            }
            wires[place] = Some(wire);
        }
        for wire in wires.into_iter().flatten() {
            wire.lose();
        }
        world.pass(0);
        world.pass(4000);
        // Nothing is left of anybody.
        let counters = world.broker.counters();
        prop_assert_eq!(counters.subscriptions.load(Ordering::Relaxed), 0);
        prop_assert_eq!(crate::broker::lock(&world.broker.mqtt.sessions).len(), 0);
        let taken = world.broker.publish(b"a", || Arc::new(crate::broker::Message::default()));
        prop_assert_eq!(taken, 0);
    }
}
