//! Laws: what is encoded is decoded again, and it does not matter in what pieces it arrives.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// A packet that owns what it is made of: `with` lends it.
#[derive(Debug, Clone)]
struct Owned {
    kind: u8,
    version: Version,
    id: u16,
    flags: [bool; 4],
    qos: Qos,
    handling: u8,
    texts: Vec<String>,
    data: Vec<u8>,
    more: Vec<u8>,
    reasons: Vec<Reason>,
    properties: Vec<Property>,
    will: Option<Vec<Property>>,
}

/// What a property's value is taken from.
#[derive(Debug, Clone)]
struct Property {
    id: PropertyId,
    number: u32,
    text: String,
    data: Vec<u8>,
}

/// Where the packets of `kind` (0 to 13) have their properties and reasons.
const PLACES: [Place; 14] = [
    Place::Connect,
    Place::ConnAck,
    Place::Publish,
    Place::PubAck,
    Place::PubRec,
    Place::PubRel,
    Place::PubComp,
    Place::Subscribe,
    Place::SubAck,
    Place::Unsubscribe,
    Place::UnsubAck,
    Place::Disconnect,
    Place::Auth,
    Place::PingReq,
];

/// Without NUL, wildcards and empty strings, so that it can be a topic as well.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\0+#]{1,12}",
        "[a-c/]{1,8}",
        Just("$share/g/a".to_owned())
    ]
}

fn property(place: Place) -> impl Strategy<Value = Property> {
    let mut allowed: Vec<PropertyId> = PropertyId::ALL.to_vec();
    allowed.retain(|id| id.allowed_in(place));
    let number = prop_oneof![any::<u32>(), 0..300u32];
    (select(allowed), number, text(), vec(any::<u8>(), 0..12)).prop_map(
        |(id, number, text, data)| Property {
            id,
            number,
            text,
            data,
        },
    )
}

/// As many of them as the place may have, each with a value that it allows.
fn build(place: Place, properties: &[Property]) -> PropertyList {
    let mut list = PropertyList::new();
    for Property {
        id,
        number,
        text,
        data,
    } in properties
    {
        let there = list.as_properties().value(*id).is_some();
        if there && !id.repeatable_in(place) {
            continue;
        }
        let number = u64::from(*number);
        let value = [number, number & 0xffff | 1, number & 1]
            .into_iter()
            .filter_map(|number| id.integer(number))
            .chain(
                id.bytes(text.as_bytes())
                    .filter(|value| matches!(value, PropertyValue::Text(_))),
            )
            .chain(id.bytes(data))
            .chain([PropertyValue::Pair(text, text)])
            .find(|value| list.clone().push(*id, *value).is_ok());
        list.push(*id, value.expect("a value")).expect("a property");
    }
    list
}

fn owned() -> impl Strategy<Value = Owned> {
    (0..14u8, any::<bool>()).prop_flat_map(|(kind, old)| {
        let place = PLACES[usize::from(kind)];
        let version = if old { Version::V311 } else { Version::V5 };
        let mut reasons: Vec<Reason> = Reason::ALL.to_vec();
        reasons.retain(|reason| reason.allowed_in(place));
        if old && place == Place::ConnAck {
            reasons.retain(|reason| reason.return_code().is_some());
        }
        if reasons.is_empty() {
            reasons.push(Reason::SUCCESS);
        }
        // Nothing can be in a PINGREQ; a property that is not used stands in.
        let has_properties = if place == Place::PingReq {
            Place::Auth
        } else {
            place
        };
        let values = (
            1..=u16::MAX,
            any::<[bool; 4]>(),
            select(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][..]),
            0..3u8,
            vec(text(), 1..5),
            prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 100..400)],
            vec(any::<u8>(), 0..20),
            vec(select(reasons), 1..5),
            vec(property(has_properties), 0..6),
            prop::option::of(vec(property(Place::Will), 0..5)),
        );
        values.prop_map(
            move |(id, flags, qos, handling, texts, data, more, reasons, properties, will)| Owned {
                kind,
                version,
                id,
                flags,
                qos,
                handling,
                texts,
                data,
                more,
                reasons,
                properties,
                will,
            },
        )
    })
}

impl Owned {
    /// The packet, and the role that may read it.
    fn with<T>(&self, use_it: impl FnOnce(Packet<'_>, Role) -> T) -> T {
        let place = PLACES[usize::from(self.kind)];
        let list = build(place, &self.properties);
        let will_list = build(Place::Will, self.will.as_deref().unwrap_or_default());
        let old = self.version == Version::V311;
        let kept = |list| if old { Properties::NONE } else { list };
        let mut properties = kept(list.as_properties());
        let reason = self.reasons[0];
        let packet_id = self.id;
        let topic = &self.texts[0][..];
        let [first, second, third, _] = self.flags;
        let value = |id| properties.value(id);
        let (packet, role) = match place {
            Place::Connect => {
                if value(PropertyId::AuthenticationMethod).is_none() {
                    properties = match value(PropertyId::AuthenticationData) {
                        Some(_) => Properties::NONE,
                        None => properties,
                    };
                }
                let username = first.then_some(topic);
                let connect = Connect {
                    version: self.version,
                    clean_start: second,
                    keep_alive: packet_id,
                    client_id: if third { "" } else { topic },
                    will: self.will.as_ref().map(|_| Will {
                        topic,
                        payload: &self.data,
                        qos: self.qos,
                        retain: third,
                        properties: kept(will_list.as_properties()),
                    }),
                    username,
                    password: (self.flags[3] && (!old || first)).then_some(&self.more),
                    properties,
                };
                (Packet::Connect(connect), Role::Server)
            }
            Place::ConnAck => {
                let reason = match reason.return_code().and_then(Reason::from_return_code) {
                    Some(reason) if old => reason,
                    _ => reason,
                };
                let session_present = first && reason == Reason::SUCCESS;
                let ack = ConnAck {
                    session_present,
                    reason,
                    properties,
                };
                (Packet::ConnAck(ack), Role::Client)
            }
            Place::Publish => {
                let alias = value(PropertyId::TopicAlias).is_some();
                let publish = Publish {
                    dup: first && self.qos != Qos::AtMostOnce,
                    qos: self.qos,
                    retain: second,
                    topic: if alias && third { "" } else { topic },
                    packet_id: if self.qos == Qos::AtMostOnce {
                        0
                    } else {
                        packet_id
                    },
                    properties,
                    payload: &self.data,
                };
                (Packet::Publish(publish), Role::Client)
            }
            Place::PubAck | Place::PubRec | Place::PubRel | Place::PubComp => {
                let kinds = [
                    AckKind::PubAck,
                    AckKind::PubRec,
                    AckKind::PubRel,
                    AckKind::PubComp,
                ];
                let kind = kinds[usize::from(self.kind) - 3];
                let reason = if old { Reason::SUCCESS } else { reason };
                let ack = Ack {
                    kind,
                    packet_id,
                    reason,
                    properties,
                };
                (
                    Packet::Ack(ack),
                    if first { Role::Client } else { Role::Server },
                )
            }
            Place::Subscribe => {
                let filters = self.texts.iter().map(|filter| Filter {
                    filter,
                    qos: self.qos,
                    no_local: !old && first && topic::shared_filter(filter).is_none(),
                    retain_as_published: !old && second,
                    retain_handling: if old { 0 } else { self.handling },
                });
                let filters = filters.collect();
                let subscribe = Subscribe {
                    packet_id,
                    properties,
                    filters,
                };
                (Packet::Subscribe(subscribe), Role::Server)
            }
            Place::SubAck => {
                let code =
                    |reason: &Reason| Reason(if old { reason.suback_code() } else { reason.0 });
                let reasons = self.reasons.iter().map(code).collect();
                let ack = SubAck {
                    packet_id,
                    properties,
                    reasons,
                };
                (Packet::SubAck(ack), Role::Client)
            }
            Place::Unsubscribe => {
                let filters = self.texts.iter().map(String::as_str).collect();
                let unsubscribe = Unsubscribe {
                    packet_id,
                    properties,
                    filters,
                };
                (Packet::Unsubscribe(unsubscribe), Role::Server)
            }
            Place::UnsubAck => {
                let reasons = if old { vec![] } else { self.reasons.clone() };
                let ack = UnsubAck {
                    packet_id,
                    properties,
                    reasons,
                };
                (Packet::UnsubAck(ack), Role::Client)
            }
            Place::Disconnect => {
                let reason = if old { Reason::SUCCESS } else { reason };
                (
                    Packet::Disconnect(Disconnect { reason, properties }),
                    Role::Server,
                )
            }
            Place::Auth if !old => (Packet::Auth(Auth { reason, properties }), Role::Client),
            _ if first => (Packet::PingReq, Role::Server),
            _ => (Packet::PingResp, Role::Client),
        };
        use_it(packet, role)
    }

    fn encoded(&self) -> (BytesMut, Role) {
        self.with(|packet, role| {
            let mut out = BytesMut::new();
            packet.encode(self.version, &mut out).expect("encodes");
            (out, role)
        })
    }
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(any::<usize>(), 0..4)
}

/// `input` in pieces gives what it gives whole.
fn split(decoder: &Decoder, input: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    cuts.sort_unstable();
    let whole = feed(&mut decoder.clone(), input, []);
    let pieces = feed(&mut decoder.clone(), input, cuts);
    prop_assert_eq!(&whole, &pieces);
    let single = feed(&mut decoder.clone(), input, 0..input.len());
    prop_assert_eq!(&whole, &single);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn packets_survive(owned in owned()) {
        owned.with(|packet, role| {
            let mut out = BytesMut::from("before");
            prop_assert_eq!(packet.encode(owned.version, &mut out), Ok(()));
            prop_assert_eq!(packet.encoded_len(owned.version), out.len() - 6);
            let decoded = decoder(role, owned.version).decode(&out[6..]);
            prop_assert_eq!(decoded, Ok(Some((packet, out.len() - 6))));
            Ok(())
        })?;
    }

    /// What is wrong is wrong in whatever pieces it comes.
    #[test]
    fn near_misses_in_pieces(
        owned in owned(), at in any::<usize>(), byte in any::<u8>(), cuts in cuts(), other in any::<bool>(),
    ) {
        let (mut bytes, role) = owned.encoded();
        let at = at % bytes.len();
        bytes[at] = byte;
        let role = match (role, other) {
            (role, false) => role,
            (Role::Client, true) => Role::Server,
            (Role::Server, true) => Role::Client,
        };
        split(&decoder(role, owned.version), &bytes, &cuts)?;
    }

    #[test]
    fn random_bytes_in_pieces(input in vec(any::<u8>(), 0..60), cuts in cuts()) {
        for role in [Role::Client, Role::Server] {
            for version in [Version::V311, Version::V5] {
                let mut decoder = Decoder::new(role, 40);
                decoder.set_version(version);
                split(&decoder, &input, &cuts)?;
            }
        }
    }

    /// A filter matches the names that it is, and nothing that its first level forbids.
    #[test]
    fn matching(name in "[ab/$]{1,8}") {
        prop_assert!(topic::matches(&name, &name));
        prop_assert_eq!(topic::matches("#", &name), !name.starts_with('$'));
        let plus: Vec<&str> = name.split('/').map(|_| "+").collect();
        prop_assert_eq!(topic::matches(&plus.join("/"), &name), !name.starts_with('$'));
    }
}
