//! Every packet of 3.1.1, byte for byte; sections are those of the 3.1.1 specification.

use super::*;
use Version::V311;

const NONE: Properties<'static> = Properties::NONE;

#[test]
fn connect() {
    check(
        Role::Server,
        V311,
        &[
            ("10 0d", "section 3.1.1: CONNECT, remaining length 13"),
            ("00 04 4d 51 54 54", "section 3.1.2.1: protocol name MQTT"),
            ("04", "section 3.1.2.2: level 4"),
            ("02", "section 3.1.2.3: clean session"),
            ("00 3c", "section 3.1.2.10: keep alive of 60 s"),
            ("00 01 61", "section 3.1.3.1: client identifier a"),
        ],
        Packet::Connect(Connect {
            version: V311,
            clean_start: true,
            keep_alive: 60,
            client_id: "a",
            will: None,
            username: None,
            password: None,
            properties: NONE,
        }),
    );
    check(
        Role::Server,
        V311,
        &[
            ("10 1a", "section 3.1.1: CONNECT, remaining length 26"),
            ("00 04 4d 51 54 54", "section 3.1.2.1: protocol name MQTT"),
            ("04", "section 3.1.2.2: level 4"),
            (
                "f4",
                "section 3.1.2.3: user name, password, will retain, will QoS 2, will",
            ),
            ("00 00", "section 3.1.2.10: no keep alive"),
            ("00 02 c3 a4", "section 3.1.3.1: client identifier ä"),
            ("00 01 77", "section 3.1.3.2: will topic w"),
            ("00 02 00 ff", "section 3.1.3.3: will message"),
            ("00 01 75", "section 3.1.3.4: user name u"),
            ("00 00", "section 3.1.3.5: an empty password"),
        ],
        Packet::Connect(Connect {
            version: V311,
            clean_start: false,
            keep_alive: 0,
            client_id: "ä",
            will: Some(Will {
                topic: "w",
                payload: &[0, 0xff],
                qos: Qos::ExactlyOnce,
                retain: true,
                properties: NONE,
            }),
            username: Some("u"),
            password: Some(b""),
            properties: NONE,
        }),
    );
}

#[test]
fn conn_ack() {
    for (session_present, code, reason) in [
        (true, "00", Reason::SUCCESS),
        (false, "00", Reason::SUCCESS),
        (false, "01", Reason::UNSUPPORTED_PROTOCOL_VERSION),
        (false, "02", Reason::CLIENT_IDENTIFIER_NOT_VALID),
        (false, "03", Reason::SERVER_UNAVAILABLE),
        (false, "04", Reason::BAD_USER_NAME_OR_PASSWORD),
        (false, "05", Reason::NOT_AUTHORIZED),
    ] {
        check(
            Role::Client,
            V311,
            &[
                ("20 02", "section 3.2.1: CONNACK, remaining length 2"),
                (
                    if session_present { "01" } else { "00" },
                    "section 3.2.2.2: session present",
                ),
                (code, "section 3.2.2.3: return code"),
            ],
            Packet::ConnAck(ConnAck {
                session_present,
                reason,
                properties: NONE,
            }),
        );
    }
}

#[test]
fn publish() {
    for role in [Role::Client, Role::Server] {
        check(
            role,
            V311,
            &[
                ("30 07", "section 3.3.1: PUBLISH, QoS 0, remaining length 7"),
                ("00 03 61 2f 62", "section 3.3.2.1: topic a/b"),
                ("68 69", "section 3.3.3: payload hi"),
            ],
            Packet::Publish(Publish {
                dup: false,
                qos: Qos::AtMostOnce,
                retain: false,
                topic: "a/b",
                packet_id: 0,
                properties: NONE,
                payload: b"hi",
            }),
        );
        check(
            role,
            V311,
            &[
                ("3b 07", "section 3.3.1: PUBLISH, DUP, QoS 1, RETAIN, 7"),
                ("00 03 61 2f 62", "section 3.3.2.1: topic a/b"),
                ("00 0a", "section 3.3.2.2: packet identifier 10"),
            ],
            Packet::Publish(Publish {
                dup: true,
                qos: Qos::AtLeastOnce,
                retain: true,
                topic: "a/b",
                packet_id: 10,
                properties: NONE,
                payload: b"",
            }),
        );
    }
}

#[test]
fn acknowledgements() {
    for (first, kind) in [
        ("40", AckKind::PubAck),  // section 3.4.1
        ("50", AckKind::PubRec),  // section 3.5.1
        ("62", AckKind::PubRel),  // section 3.6.1: reserved flags 0010
        ("70", AckKind::PubComp), // section 3.7.1
    ] {
        check(
            Role::Client,
            V311,
            &[
                (first, "the packet"),
                ("02", "remaining length 2"),
                ("12 34", "packet identifier"),
            ],
            Packet::Ack(Ack {
                kind,
                packet_id: 0x1234,
                reason: Reason::SUCCESS,
                properties: NONE,
            }),
        );
    }
}

#[test]
fn subscriptions() {
    let filter = |filter, qos| Filter {
        filter,
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    };
    check(
        Role::Server,
        V311,
        &[
            ("82 0e", "section 3.8.1: SUBSCRIBE, remaining length 14"),
            ("00 0a", "section 3.8.2: packet identifier 10"),
            ("00 03 61 2f 62", "section 3.8.3: filter a/b"),
            ("01", "section 3.8.3: QoS 1"),
            ("00 03 63 2f 23", "section 3.8.3: filter c/#"),
            ("02", "section 3.8.3: QoS 2"),
        ],
        Packet::Subscribe(Subscribe {
            packet_id: 10,
            properties: NONE,
            filters: vec![
                filter("a/b", Qos::AtLeastOnce),
                filter("c/#", Qos::ExactlyOnce),
            ],
        }),
    );
    check(
        Role::Client,
        V311,
        &[
            ("90 06", "section 3.9.1: SUBACK, remaining length 6"),
            ("00 0a", "section 3.9.2: packet identifier 10"),
            ("00 01 02 80", "section 3.9.3: QoS 0, 1, 2, failure"),
        ],
        Packet::SubAck(SubAck {
            packet_id: 10,
            properties: NONE,
            reasons: vec![
                Reason::GRANTED_QOS_0,
                Reason::GRANTED_QOS_1,
                Reason::GRANTED_QOS_2,
                Reason::UNSPECIFIED_ERROR,
            ],
        }),
    );
    check(
        Role::Server,
        V311,
        &[
            ("a2 0c", "section 3.10.1: UNSUBSCRIBE, remaining length 12"),
            ("00 0a", "section 3.10.2: packet identifier 10"),
            ("00 03 61 2f 62", "section 3.10.3: filter a/b"),
            ("00 03 63 2f 2b", "section 3.10.3: filter c/+"),
        ],
        Packet::Unsubscribe(Unsubscribe {
            packet_id: 10,
            properties: NONE,
            filters: vec!["a/b", "c/+"],
        }),
    );
    check(
        Role::Client,
        V311,
        &[
            ("b0 02", "section 3.11.1: UNSUBACK, remaining length 2"),
            ("00 0a", "section 3.11.2: packet identifier 10"),
        ],
        Packet::UnsubAck(UnsubAck {
            packet_id: 10,
            properties: NONE,
            reasons: vec![],
        }),
    );
}

#[test]
fn without_content() {
    for version in [V311, Version::V5] {
        let ping = &[("c0 00", "section 3.12.1: PINGREQ")];
        check(Role::Server, version, ping, Packet::PingReq);
        let pong = &[("d0 00", "section 3.13.1: PINGRESP")];
        check(Role::Client, version, pong, Packet::PingResp);
    }
    check(
        Role::Server,
        V311,
        &[("e0 00", "section 3.14.1: DISCONNECT")],
        Packet::Disconnect(Disconnect {
            reason: Reason::NORMAL_DISCONNECTION,
            properties: NONE,
        }),
    );
}

/// 3.1.1 does not ask for the shortest form of the remaining length (section 2.2.3).
#[test]
fn long_remaining_length() {
    for padded in ["e0 80 00", "e0 80 80 80 00"] {
        read(
            Role::Server,
            V311,
            &[(padded, "DISCONNECT, remaining length 0")],
            Packet::Disconnect(Disconnect {
                reason: Reason::NORMAL_DISCONNECTION,
                properties: NONE,
            }),
        );
    }
}

#[test]
fn lengths_of_several_bytes() {
    // Section 2.2.3, table 2.4: where one more byte begins.
    for (payload, header) in [
        (124, "30 7f"),
        (125, "30 80 01"),
        (16380, "30 ff 7f"),
        (16381, "30 80 80 01"),
    ] {
        let digits = "78".repeat(payload);
        check(
            Role::Client,
            V311,
            &[
                (header, "PUBLISH, remaining length"),
                ("00 01 74", "topic t"),
                (&digits, "payload"),
            ],
            Packet::Publish(Publish {
                dup: false,
                qos: Qos::AtMostOnce,
                retain: false,
                topic: "t",
                packet_id: 0,
                properties: NONE,
                payload: &vec![b'x'; payload],
            }),
        );
    }
}
