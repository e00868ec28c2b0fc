//! What cannot be sent, and that a buffer stays as it was then; properties, reasons and their names.

use super::*;
use PropertyId as Id;
use PropertyValue::{Binary, Byte, Pair, Text, Varint, U16, U32};
use Version::{V311, V5};

fn publish(topic: &str) -> Publish<'_> {
    Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic,
        packet_id: 0,
        properties: Properties::NONE,
        payload: b"",
    }
}

fn connect(version: Version) -> Connect<'static> {
    Connect {
        version,
        clean_start: true,
        keep_alive: 0,
        client_id: "a",
        will: None,
        username: None,
        password: None,
        properties: Properties::NONE,
    }
}

fn will(topic: &str) -> Will<'_> {
    Will {
        topic,
        payload: b"",
        qos: Qos::AtMostOnce,
        retain: false,
        properties: Properties::NONE,
    }
}

fn refused(version: Version, packet: Packet<'_>, text: &str) {
    let mut out = BytesMut::from("before");
    let error = packet.encode(version, &mut out).expect_err(text);
    assert!(error.to_string().contains(text), "{error}, not \"{text}\"");
    assert_eq!(&out[..], b"before", "{error}");
}

#[test]
fn publishes() {
    let long = "a".repeat(65536);
    for version in [V311, V5] {
        let mut out = BytesMut::new();
        assert_eq!(publish(&long[1..]).encode(version, &mut out), Ok(()));
        refused(version, Packet::Publish(publish(&long)), "65536 bytes");
        refused(
            version,
            Packet::Publish(publish("")),
            "a topic or a topic alias",
        );
        let dup = Publish {
            dup: true,
            ..publish("a")
        };
        refused(version, Packet::Publish(dup), "DUP");
        let qos = Qos::ExactlyOnce;
        let unnamed = Publish {
            qos,
            ..publish("a")
        };
        refused(version, Packet::Publish(unnamed), "packet identifier");
    }
    let receive_maximum = list(&[(Id::ReceiveMaximum, U16(1))]);
    let properties = receive_maximum.as_properties();
    let wrong = Publish {
        properties,
        ..publish("a")
    };
    refused(
        V5,
        Packet::Publish(wrong),
        "PUBLISH cannot have the property receive_maximum",
    );
    // 3.1.1 has none, so there is nothing to refuse.
    let mut out = BytesMut::new();
    assert_eq!(wrong.encode(V311, &mut out), Ok(()));
    assert_eq!(&out[..], b"\x30\x03\x00\x01a");
    let alias = list(&[(Id::TopicAlias, U16(1))]);
    let properties = alias.as_properties();
    let aliased = Publish {
        properties,
        ..publish("")
    };
    refused(V311, Packet::Publish(aliased), "a topic or a topic alias");
}

#[test]
fn packets_of_256_mib() {
    // Untouched zeros cost address space only, and the buffer is not written.
    let payload = vec![0; MAX_REMAINING - 2];
    let packet = Packet::Publish(Publish {
        payload: &payload,
        ..publish("a")
    });
    refused(V311, packet.clone(), "268435456 bytes");
    refused(V5, packet, "268435457 bytes");
}

#[test]
fn connects() {
    for version in [V311, V5] {
        let long = "a".repeat(65536);
        let client_id = Connect {
            client_id: &long,
            ..connect(version)
        };
        refused(version, Packet::Connect(client_id), "client identifier");
        let username = Connect {
            username: Some(&long),
            ..connect(version)
        };
        refused(version, Packet::Connect(username), "user name");
        let username = Some("u");
        let password = Some(long.as_bytes());
        let password = Connect {
            username,
            password,
            ..connect(version)
        };
        refused(version, Packet::Connect(password), "password");
        let nul = Connect {
            client_id: "\0",
            ..connect(version)
        };
        refused(version, Packet::Connect(nul), "NUL");
        for topic in ["", "a/#"] {
            let will = Connect {
                will: Some(will(topic)),
                ..connect(version)
            };
            refused(version, Packet::Connect(will), "topic");
        }
        let payload = long.as_bytes();
        let will = Some(Will {
            payload,
            ..will("w")
        });
        let will = Connect {
            will,
            ..connect(version)
        };
        refused(version, Packet::Connect(will), "will payload");
    }
    let password = Connect {
        password: Some(b"p"),
        ..connect(V311)
    };
    refused(V311, Packet::Connect(password), "without a user name");
    let data = list(&[(Id::AuthenticationData, Binary(b"d"))]);
    let properties = data.as_properties();
    let data = Connect {
        properties,
        ..connect(V5)
    };
    refused(V5, Packet::Connect(data), "authentication_method");
    let alias = list(&[(Id::TopicAlias, U16(1))]);
    let properties = alias.as_properties();
    let will = Some(Will {
        properties,
        ..will("w")
    });
    let aliased = Connect {
        will,
        ..connect(V5)
    };
    refused(
        V5,
        Packet::Connect(aliased),
        "the will cannot have the property topic_alias",
    );
}

#[test]
fn answers() {
    let properties = Properties::NONE;
    let conn_ack = |session_present, reason| {
        Packet::ConnAck(ConnAck {
            session_present,
            reason,
            properties,
        })
    };
    refused(
        V5,
        conn_ack(true, Reason::BANNED),
        "no session together with an error",
    );
    refused(
        V5,
        conn_ack(false, Reason::SESSION_TAKEN_OVER),
        "session taken over",
    );
    // No return code of 3.1.1 comes near.
    refused(
        V311,
        conn_ack(false, Reason::MALFORMED_PACKET),
        "malformed packet",
    );
    let (kind, reason) = (AckKind::PubRel, Reason::NOT_AUTHORIZED);
    let ack = |packet_id| {
        Packet::Ack(Ack {
            kind,
            packet_id,
            reason,
            properties,
        })
    };
    refused(V5, ack(1), "not authorized");
    refused(V5, ack(0), "packet identifier");
    refused(V311, ack(0), "packet identifier");
    for version in [V311, V5] {
        let sub_ack = |packet_id, reasons| SubAck {
            packet_id,
            properties,
            reasons,
        };
        refused(
            version,
            Packet::SubAck(sub_ack(1, vec![])),
            "a reason for each",
        );
        let wrong = vec![Reason::SUCCESS, Reason(3)];
        refused(version, Packet::SubAck(sub_ack(1, wrong)), "reason 0x03");
        let success = vec![Reason::SUCCESS];
        refused(
            version,
            Packet::SubAck(sub_ack(0, success)),
            "packet identifier",
        );
        let filters = vec![];
        let subscribe = Subscribe {
            packet_id: 1,
            properties,
            filters,
        };
        refused(version, Packet::Subscribe(subscribe), "a topic filter");
        let filters = vec![];
        let unsubscribe = Unsubscribe {
            packet_id: 1,
            properties,
            filters,
        };
        refused(version, Packet::Unsubscribe(unsubscribe), "a topic filter");
    }
    let reasons = vec![];
    let unsub_ack = UnsubAck {
        packet_id: 1,
        properties,
        reasons,
    };
    refused(V5, Packet::UnsubAck(unsub_ack), "a reason for each");
    let reason = Reason::SUCCESS;
    refused(
        V311,
        Packet::Auth(Auth { reason, properties }),
        "3.1.1 has no such packet",
    );
    let reason = Reason::GRANTED_QOS_1;
    let disconnect = Disconnect { reason, properties };
    refused(V5, Packet::Disconnect(disconnect), "granted QoS 1");
}

#[test]
fn subscriptions() {
    let subscribe = |filter: Filter<'static>| {
        Packet::Subscribe(Subscribe {
            packet_id: 1,
            properties: Properties::NONE,
            filters: vec![filter],
        })
    };
    let plain = Filter {
        filter: "$share/g/a",
        qos: Qos::AtMostOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    };
    refused(
        V5,
        subscribe(Filter {
            retain_handling: 3,
            ..plain
        }),
        "retain handling",
    );
    refused(
        V5,
        subscribe(Filter {
            no_local: true,
            ..plain
        }),
        "no local",
    );
    refused(
        V5,
        subscribe(Filter {
            filter: "a\0",
            ..plain
        }),
        "NUL",
    );
    let twice = list(&[
        (Id::SubscriptionIdentifier, Varint(1)),
        (Id::SubscriptionIdentifier, Varint(2)),
    ]);
    let packet = Packet::Subscribe(Subscribe {
        packet_id: 1,
        properties: twice.as_properties(),
        filters: vec![plain],
    });
    refused(
        V5,
        packet,
        "SUBSCRIBE can have the property subscription_identifier only once",
    );
}

#[test]
fn property_lists() {
    let long = "a".repeat(65536);
    let mut list = PropertyList::new();
    list.push(Id::TopicAlias, U16(1)).expect("a property");
    list.push(Id::SubscriptionIdentifier, Varint(1))
        .expect("a property");
    list.push(Id::UserProperty, Pair("a", ""))
        .expect("a property");
    let before = list.clone();
    for (id, value, text) in [
        (Id::TopicAlias, U16(2), "only once"),
        (Id::TopicAliasMaximum, U32(2), "an integer from 0 to 65535"),
        (Id::ContentType, Binary(b"a"), "a string"),
        (Id::ReceiveMaximum, U16(0), "above 0"),
        (Id::MaximumPacketSize, U32(0), "above 0"),
        (Id::SubscriptionIdentifier, Varint(0), "above 0"),
        (Id::SubscriptionIdentifier, Varint(268_435_456), "268435455"),
        (Id::MaximumQos, Byte(2), "0 or 1"),
        (Id::ContentType, Text("\0"), "without NUL"),
        (Id::ContentType, Text(&long), "at most 65535"),
        (
            Id::CorrelationData,
            Binary(long.as_bytes()),
            "at most 65535",
        ),
        (Id::UserProperty, Pair("a", &long), "at most 65535"),
        (Id::ResponseTopic, Text("a/+"), "without wildcards"),
        (Id::ResponseTopic, Text(""), "without wildcards"),
    ] {
        let error = list.push(id, value).expect_err(text).to_string();
        assert!(error.contains(text) && error.contains(id.name()), "{error}");
        assert_eq!(list, before);
    }
    list.push(Id::SubscriptionIdentifier, Varint(2))
        .expect("repeatable");
    list.push(Id::UserProperty, Pair("a", ""))
        .expect("repeatable");
    let properties = list.as_properties();
    assert_eq!(properties.iter().count(), 5);
    assert_eq!(properties.u16(Id::TopicAlias), Some(1));
    assert_eq!(
        properties.u32(Id::SubscriptionIdentifier),
        Some(1),
        "the first"
    );
    assert_eq!(properties.u32(Id::TopicAlias), None, "another type");
    assert_eq!(properties.text(Id::ContentType), None);
    assert_eq!(PropertyList::from(properties), list);
    assert!(PropertyList::new().is_empty() && Properties::default().is_empty());
}

#[test]
fn property_names() {
    assert_eq!(Id::ALL.len(), 27);
    for id in Id::ALL {
        assert_eq!(Id::from_name(id.name()), Some(*id));
        assert_eq!(Id::from_id(*id as u8), Some(*id));
        assert!(id
            .name()
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_lowercase()));
        let integer = id.integer(1).is_some();
        let bytes = id.bytes(b"a").is_some();
        assert_eq!(
            integer as u8 + bytes as u8,
            u8::from(*id != Id::UserProperty)
        );
    }
    assert_eq!((0..=255).filter_map(Id::from_id).count(), 27);
    assert_eq!(Id::from_name("message_expiry"), None);
    assert_eq!(Id::MaximumQos.integer(256), None);
    assert_eq!(Id::ServerKeepAlive.integer(65536), None);
    assert_eq!(Id::ContentType.bytes(b"\xff"), None);
    assert_eq!(Id::CorrelationData.bytes(b"\xff"), Some(Binary(b"\xff")));
}

#[test]
fn reasons() {
    assert_eq!(Reason::ALL.len(), 43);
    for reason in Reason::ALL {
        assert_eq!(reason.to_string(), reason.text());
        assert_eq!(reason.is_error(), reason.0 >= 0x80);
    }
    assert_eq!(Reason::NOT_AUTHORIZED.text(), "not authorized");
    assert_eq!(Reason(0x42).to_string(), "reason 0x42");
    assert_eq!(Reason(0xff).to_string(), "reason 0xff");
    assert!(!Reason(0xff).allowed_in(Place::Disconnect));
    for code in 0..=255 {
        let reason = Reason::from_return_code(code);
        assert_eq!(reason.is_some(), code <= 5);
        assert_eq!(reason.and_then(Reason::return_code), reason.map(|_| code));
        let reason = Reason::from_suback_code(code);
        assert_eq!(reason.map(Reason::suback_code), reason.map(|_| code));
    }
    assert_eq!(Reason::QUOTA_EXCEEDED.suback_code(), 0x80);
    assert_eq!(Reason::SERVER_BUSY.return_code(), Some(3));
}

#[test]
fn values() {
    assert_eq!((V311.level(), V5.level()), (4, 5));
    for qos in 0..=255 {
        assert_eq!(
            Qos::from_u8(qos).map(|qos| qos as u8),
            (qos < 3).then_some(qos)
        );
    }
}
