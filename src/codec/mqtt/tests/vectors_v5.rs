//! Every packet of version 5, byte for byte, and every property.

use super::*;
use PropertyId as Id;
use PropertyValue::{Binary, Byte, Pair, Text, Varint, U16, U32};
use Version::V5;

#[test]
fn connect() {
    let properties = list(&[
        (Id::SessionExpiryInterval, U32(10)),
        (Id::ReceiveMaximum, U16(20)),
        (Id::MaximumPacketSize, U32(256)),
        (Id::TopicAliasMaximum, U16(5)),
        (Id::RequestResponseInformation, Byte(1)),
        (Id::RequestProblemInformation, Byte(0)),
        (Id::UserProperty, Pair("k", "v")),
        (Id::UserProperty, Pair("k", "v")),
        (Id::AuthenticationMethod, Text("m")),
        (Id::AuthenticationData, Binary(&[0])),
    ]);
    let will = list(&[
        (Id::WillDelayInterval, U32(1)),
        (Id::PayloadFormatIndicator, Byte(1)),
        (Id::MessageExpiryInterval, U32(2)),
        (Id::ContentType, Text("c")),
        (Id::ResponseTopic, Text("r")),
        (Id::CorrelationData, Binary(b"d")),
        (Id::UserProperty, Pair("", "")),
    ]);
    check(
        Role::Server,
        V5,
        &[
            ("10 61", "section 3.1.1: CONNECT, remaining length 97"),
            ("00 04 4d 51 54 54", "section 3.1.2.1: protocol name MQTT"),
            ("05", "section 3.1.2.2: version 5"),
            (
                "ce",
                "section 3.1.2.3: user name, password, will QoS 1, will, clean start",
            ),
            ("01 2c", "section 3.1.2.10: keep alive of 300 s"),
            ("2a", "section 3.1.2.11.1: property length 42"),
            (
                "11 00 00 00 0a",
                "section 3.1.2.11.2: session expiry interval",
            ),
            ("21 00 14", "section 3.1.2.11.3: receive maximum"),
            ("27 00 00 01 00", "section 3.1.2.11.4: maximum packet size"),
            ("22 00 05", "section 3.1.2.11.5: topic alias maximum"),
            ("19 01", "section 3.1.2.11.6: request response information"),
            ("17 00", "section 3.1.2.11.7: request problem information"),
            ("26 00 01 6b 00 01 76", "section 3.1.2.11.8: user property"),
            ("26 00 01 6b 00 01 76", "the same again"),
            ("15 00 01 6d", "section 3.1.2.11.9: authentication method"),
            ("16 00 01 00", "section 3.1.2.11.10: authentication data"),
            ("00 00", "section 3.1.3.1: an empty client identifier"),
            ("1d", "section 3.1.3.2.1: property length 29"),
            ("18 00 00 00 01", "section 3.1.3.2.2: will delay interval"),
            ("01 01", "section 3.1.3.2.3: payload format indicator"),
            (
                "02 00 00 00 02",
                "section 3.1.3.2.4: message expiry interval",
            ),
            ("03 00 01 63", "section 3.1.3.2.5: content type"),
            ("08 00 01 72", "section 3.1.3.2.6: response topic"),
            ("09 00 01 64", "section 3.1.3.2.7: correlation data"),
            ("26 00 00 00 00", "section 3.1.3.2.8: user property"),
            ("00 01 77", "section 3.1.3.3: will topic"),
            ("00 00", "section 3.1.3.4: will payload"),
            ("00 01 75", "section 3.1.3.5: user name"),
            ("00 02 00 ff", "section 3.1.3.6: password"),
        ],
        Packet::Connect(Connect {
            version: V5,
            clean_start: true,
            keep_alive: 300,
            client_id: "",
            will: Some(Will {
                topic: "w",
                payload: b"",
                qos: Qos::AtLeastOnce,
                retain: false,
                properties: will.as_properties(),
            }),
            username: Some("u"),
            password: Some(&[0, 0xff]),
            properties: properties.as_properties(),
        }),
    );
    check(
        Role::Server,
        V5,
        &[
            ("10 11", "section 3.1.1: CONNECT, remaining length 17"),
            ("00 04 4d 51 54 54", "section 3.1.2.1: protocol name MQTT"),
            ("05", "section 3.1.2.2: version 5"),
            ("40", "section 3.1.2.9: a password without a user name"),
            ("00 00", "section 3.1.2.10: no keep alive"),
            ("00", "section 3.1.2.11.1: no properties"),
            ("00 01 61", "section 3.1.3.1: client identifier a"),
            ("00 01 70", "section 3.1.3.6: password p"),
        ],
        Packet::Connect(Connect {
            version: V5,
            clean_start: false,
            keep_alive: 0,
            client_id: "a",
            will: None,
            username: None,
            password: Some(b"p"),
            properties: Properties::NONE,
        }),
    );
}

#[test]
fn conn_ack() {
    let properties = list(&[
        (Id::SessionExpiryInterval, U32(1)),
        (Id::ReceiveMaximum, U16(1)),
        (Id::MaximumQos, Byte(1)),
        (Id::RetainAvailable, Byte(0)),
        (Id::MaximumPacketSize, U32(u32::MAX)),
        (Id::AssignedClientIdentifier, Text("i")),
        (Id::TopicAliasMaximum, U16(0)),
        (Id::ReasonString, Text("s")),
        (Id::UserProperty, Pair("k", "v")),
        (Id::WildcardSubscriptionAvailable, Byte(1)),
        (Id::SubscriptionIdentifierAvailable, Byte(1)),
        (Id::SharedSubscriptionAvailable, Byte(0)),
        (Id::ServerKeepAlive, U16(0)),
        (Id::ResponseInformation, Text("r")),
        (Id::ServerReference, Text("h")),
        (Id::AuthenticationMethod, Text("m")),
        (Id::AuthenticationData, Binary(b"d")),
    ]);
    check(
        Role::Client,
        V5,
        &[
            ("20 3f", "section 3.2.1: CONNACK, remaining length 63"),
            ("01", "section 3.2.2.1: session present"),
            ("00", "section 3.2.2.2: success"),
            ("3c", "section 3.2.2.3.1: property length 60"),
            (
                "11 00 00 00 01",
                "section 3.2.2.3.2: session expiry interval",
            ),
            ("21 00 01", "section 3.2.2.3.3: receive maximum"),
            ("24 01", "section 3.2.2.3.4: maximum QoS"),
            ("25 00", "section 3.2.2.3.5: retain available"),
            ("27 ff ff ff ff", "section 3.2.2.3.6: maximum packet size"),
            (
                "12 00 01 69",
                "section 3.2.2.3.7: assigned client identifier",
            ),
            ("22 00 00", "section 3.2.2.3.8: topic alias maximum"),
            ("1f 00 01 73", "section 3.2.2.3.9: reason string"),
            ("26 00 01 6b 00 01 76", "section 3.2.2.3.10: user property"),
            (
                "28 01",
                "section 3.2.2.3.11: wildcard subscription available",
            ),
            (
                "29 01",
                "section 3.2.2.3.12: subscription identifiers available",
            ),
            ("2a 00", "section 3.2.2.3.13: shared subscription available"),
            ("13 00 00", "section 3.2.2.3.14: server keep alive"),
            ("1a 00 01 72", "section 3.2.2.3.15: response information"),
            ("1c 00 01 68", "section 3.2.2.3.16: server reference"),
            ("15 00 01 6d", "section 3.2.2.3.17: authentication method"),
            ("16 00 01 64", "section 3.2.2.3.18: authentication data"),
        ],
        Packet::ConnAck(ConnAck {
            session_present: true,
            reason: Reason::SUCCESS,
            properties: properties.as_properties(),
        }),
    );
    check(
        Role::Client,
        V5,
        &[
            ("20 03", "section 3.2.1: CONNACK, remaining length 3"),
            ("00 87", "section 3.2.2: no session, not authorized"),
            ("00", "section 3.2.2.3.1: no properties"),
        ],
        Packet::ConnAck(ConnAck {
            session_present: false,
            reason: Reason::NOT_AUTHORIZED,
            properties: Properties::NONE,
        }),
    );
}

/// A server of 3.1.1 refuses a CONNECT of version 5 in its own form (3.1.1, section 3.2.2.3).
#[test]
fn conn_ack_of_the_old_form() {
    for (code, reason) in [
        ("01", Reason::UNSUPPORTED_PROTOCOL_VERSION),
        ("02", Reason::CLIENT_IDENTIFIER_NOT_VALID),
        ("03", Reason::SERVER_UNAVAILABLE),
        ("04", Reason::BAD_USER_NAME_OR_PASSWORD),
        ("05", Reason::NOT_AUTHORIZED),
    ] {
        read(
            Role::Client,
            V5,
            &[("20 02 00", "CONNACK, no session"), (code, "return code")],
            Packet::ConnAck(ConnAck {
                session_present: false,
                reason,
                properties: Properties::NONE,
            }),
        );
    }
}

#[test]
fn publish() {
    let properties = list(&[
        (Id::PayloadFormatIndicator, Byte(1)),
        (Id::MessageExpiryInterval, U32(0)),
        (Id::TopicAlias, U16(1)),
        (Id::ResponseTopic, Text("r")),
        (Id::CorrelationData, Binary(b"")),
        (Id::UserProperty, Pair("k", "v")),
        (Id::SubscriptionIdentifier, Varint(1)),
        (Id::SubscriptionIdentifier, Varint(268_435_455)),
        (Id::ContentType, Text("c")),
    ]);
    check(
        Role::Client,
        V5,
        &[
            ("3d 29", "section 3.3.1: PUBLISH, DUP, QoS 2, RETAIN, 41"),
            ("00 00", "section 3.3.2.1: no topic, as there is an alias"),
            ("ff ff", "section 3.3.2.2: packet identifier 65535"),
            ("23", "section 3.3.2.3.1: property length 35"),
            ("01 01", "section 3.3.2.3.2: payload format indicator"),
            (
                "02 00 00 00 00",
                "section 3.3.2.3.3: message expiry interval",
            ),
            ("23 00 01", "section 3.3.2.3.4: topic alias"),
            ("08 00 01 72", "section 3.3.2.3.5: response topic"),
            ("09 00 00", "section 3.3.2.3.6: correlation data"),
            ("26 00 01 6b 00 01 76", "section 3.3.2.3.7: user property"),
            ("0b 01", "section 3.3.2.3.8: subscription identifier 1"),
            ("0b ff ff ff 7f", "section 1.5.5: the greatest of them"),
            ("03 00 01 63", "section 3.3.2.3.9: content type"),
            ("00", "section 3.3.3: payload"),
        ],
        Packet::Publish(Publish {
            dup: true,
            qos: Qos::ExactlyOnce,
            retain: true,
            topic: "",
            packet_id: 65535,
            properties: properties.as_properties(),
            payload: &[0],
        }),
    );
    check(
        Role::Server,
        V5,
        &[
            ("30 08", "section 3.3.1: PUBLISH, QoS 0, remaining length 8"),
            ("00 03 61 2f 62", "section 3.3.2.1: topic a/b"),
            ("00", "section 3.3.2.3.1: no properties"),
            ("68 69", "section 3.3.3: payload hi"),
        ],
        Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: "a/b",
            packet_id: 0,
            properties: Properties::NONE,
            payload: b"hi",
        }),
    );
}

#[test]
fn acknowledgements() {
    let text = list(&[
        (Id::ReasonString, Text("s")),
        (Id::UserProperty, Pair("k", "v")),
    ]);
    for (first, kind, reason) in [
        ("40", AckKind::PubAck, Reason::NO_MATCHING_SUBSCRIBERS), // section 3.4.1
        ("50", AckKind::PubRec, Reason::QUOTA_EXCEEDED),          // section 3.5.1
        ("62", AckKind::PubRel, Reason::PACKET_IDENTIFIER_NOT_FOUND), // section 3.6.1
        ("70", AckKind::PubComp, Reason::PACKET_IDENTIFIER_NOT_FOUND), // section 3.7.1
    ] {
        let ack = |reason, properties| {
            let packet_id = 0x1234;
            Packet::Ack(Ack {
                kind,
                packet_id,
                reason,
                properties,
            })
        };
        let code = format!("{:02x}", reason.0);
        let id = ("12 34", "section 3.4.2: packet identifier");
        check(
            Role::Server,
            V5,
            &[(first, "the packet"), ("02", "remaining length 2"), id],
            ack(Reason::SUCCESS, Properties::NONE),
        );
        let code = (&code[..], "section 3.4.2.1: reason code");
        check(
            Role::Client,
            V5,
            &[
                (first, "the packet"),
                ("03", "remaining length 3"),
                id,
                code,
            ],
            ack(reason, Properties::NONE),
        );
        let whole = [
            (first, "the packet"),
            ("0f", "remaining length 15"),
            id,
            code,
            ("0b", "section 3.4.2.2.1: property length 11"),
            ("1f 00 01 73", "section 3.4.2.2.2: reason string"),
            ("26 00 01 6b 00 01 76", "section 3.4.2.2.3: user property"),
        ];
        check(Role::Client, V5, &whole, ack(reason, text.as_properties()));
        // What may be left out may be there.
        let spelled = [(first, "the packet"), ("04", "4"), id, ("00 00", "success")];
        read(
            Role::Client,
            V5,
            &spelled,
            ack(Reason::SUCCESS, Properties::NONE),
        );
    }
}

#[test]
fn subscriptions() {
    let asked = list(&[
        (Id::SubscriptionIdentifier, Varint(128)),
        (Id::UserProperty, Pair("k", "v")),
    ]);
    check(
        Role::Server,
        V5,
        &[
            ("82 22", "section 3.8.1: SUBSCRIBE, remaining length 34"),
            ("00 0a", "section 3.8.2: packet identifier 10"),
            ("0a", "section 3.8.2.1.1: property length 10"),
            ("0b 80 01", "section 3.8.2.1.2: subscription identifier"),
            ("26 00 01 6b 00 01 76", "section 3.8.2.1.3: user property"),
            ("00 03 61 2f 62", "section 3.8.3: filter a/b"),
            (
                "2e",
                "section 3.8.3.1: QoS 2, no local, retain as published, retain handling 2",
            ),
            (
                "00 0c 24 73 68 61 72 65 2f 67 2f 61 2f 23",
                "section 4.8.2: $share/g/a/#",
            ),
            ("11", "section 3.8.3.1: QoS 1, retain handling 1"),
        ],
        Packet::Subscribe(Subscribe {
            packet_id: 10,
            properties: asked.as_properties(),
            filters: vec![
                Filter {
                    filter: "a/b",
                    qos: Qos::ExactlyOnce,
                    no_local: true,
                    retain_as_published: true,
                    retain_handling: 2,
                },
                Filter {
                    filter: "$share/g/a/#",
                    qos: Qos::AtLeastOnce,
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: 1,
                },
            ],
        }),
    );
    let answer = list(&[(Id::ReasonString, Text("s"))]);
    check(
        Role::Client,
        V5,
        &[
            ("90 0b", "section 3.9.1: SUBACK, remaining length 11"),
            ("00 0a", "section 3.9.2: packet identifier 10"),
            ("04", "section 3.9.2.1.1: property length 4"),
            ("1f 00 01 73", "section 3.9.2.1.2: reason string"),
            ("00 02 87 9e", "section 3.9.3: QoS 0, QoS 2, two errors"),
        ],
        Packet::SubAck(SubAck {
            packet_id: 10,
            properties: answer.as_properties(),
            reasons: vec![
                Reason::GRANTED_QOS_0,
                Reason::GRANTED_QOS_2,
                Reason::NOT_AUTHORIZED,
                Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
            ],
        }),
    );
    check(
        Role::Server,
        V5,
        &[
            ("a2 08", "section 3.10.1: UNSUBSCRIBE, remaining length 8"),
            ("00 0a", "section 3.10.2: packet identifier 10"),
            ("00", "section 3.10.2.1.1: no properties"),
            ("00 03 61 2f 2b", "section 3.10.3: filter a/+"),
        ],
        Packet::Unsubscribe(Unsubscribe {
            packet_id: 10,
            properties: Properties::NONE,
            filters: vec!["a/+"],
        }),
    );
    check(
        Role::Client,
        V5,
        &[
            ("b0 05", "section 3.11.1: UNSUBACK, remaining length 5"),
            ("00 0a", "section 3.11.2: packet identifier 10"),
            ("00", "section 3.11.2.1.1: no properties"),
            ("00 11", "section 3.11.3: success, no subscription existed"),
        ],
        Packet::UnsubAck(UnsubAck {
            packet_id: 10,
            properties: Properties::NONE,
            reasons: vec![Reason::SUCCESS, Reason::NO_SUBSCRIPTION_EXISTED],
        }),
    );
}

#[test]
fn disconnect() {
    let disconnect = |reason, properties| Packet::Disconnect(Disconnect { reason, properties });
    let expiry = list(&[(Id::SessionExpiryInterval, U32(60))]);
    let moved = list(&[(Id::ServerReference, Text("h"))]);
    check(
        Role::Server,
        V5,
        &[(
            "e0 00",
            "section 3.14.1: DISCONNECT, normal (section 3.14.2.1)",
        )],
        disconnect(Reason::NORMAL_DISCONNECTION, Properties::NONE),
    );
    check(
        Role::Server,
        V5,
        &[
            ("e0 01", "section 3.14.1: DISCONNECT, remaining length 1"),
            ("04", "section 3.14.2.1: with will message"),
        ],
        disconnect(Reason::DISCONNECT_WITH_WILL, Properties::NONE),
    );
    check(
        Role::Server,
        V5,
        &[
            ("e0 07", "section 3.14.1: DISCONNECT, remaining length 7"),
            ("00", "section 3.14.2.1: normal"),
            ("05", "section 3.14.2.2.1: property length 5"),
            (
                "11 00 00 00 3c",
                "section 3.14.2.2.2: session expiry interval",
            ),
        ],
        disconnect(Reason::NORMAL_DISCONNECTION, expiry.as_properties()),
    );
    check(
        Role::Client,
        V5,
        &[
            ("e0 06", "section 3.14.1: DISCONNECT, remaining length 6"),
            ("9d", "section 3.14.2.1: server moved"),
            ("04", "section 3.14.2.2.1: property length 4"),
            ("1c 00 01 68", "section 3.14.2.2.5: server reference"),
        ],
        disconnect(Reason::SERVER_MOVED, moved.as_properties()),
    );
}

#[test]
fn auth() {
    let properties = list(&[
        (Id::AuthenticationMethod, Text("m")),
        (Id::AuthenticationData, Binary(b"d")),
    ]);
    for role in [Role::Client, Role::Server] {
        check(
            role,
            V5,
            &[("f0 00", "section 3.15.1: AUTH, success")],
            Packet::Auth(Auth {
                reason: Reason::SUCCESS,
                properties: Properties::NONE,
            }),
        );
        check(
            role,
            V5,
            &[
                ("f0 0a", "section 3.15.1: AUTH, remaining length 10"),
                ("18", "section 3.15.2.1: continue authentication"),
                ("08", "section 3.15.2.2.1: property length 8"),
                ("15 00 01 6d", "section 3.15.2.2.2: authentication method"),
                ("16 00 01 64", "section 3.15.2.2.3: authentication data"),
            ],
            Packet::Auth(Auth {
                reason: Reason::CONTINUE_AUTHENTICATION,
                properties: properties.as_properties(),
            }),
        );
    }
}
