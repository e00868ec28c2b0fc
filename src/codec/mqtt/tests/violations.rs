//! What a peer may not send, each with the reason that it is told: headers, roles, strings, topics, subscriptions.
//! Every entry runs whole and byte by byte. `violations_inside` has the rest.

use super::*;
use Role::{Client, Server};
use Version::{V311, V5};

pub(super) const MALFORMED: Reason = Reason::MALFORMED_PACKET;
pub(super) const PROTOCOL: Reason = Reason::PROTOCOL_ERROR;

/// CONNECT of version 5 as far as its flags, those excluded.
pub(super) const NAME_V5: &str = "00 04 4d 51 54 54 05";
pub(super) const NAME_V311: &str = "00 04 4d 51 54 54 04";

fn refused(role: Role, version: Version, digits: &str) -> DecodeError {
    let bytes = hex(digits);
    let (packets, whole) = feed(&mut decoder(role, version), &bytes, []);
    assert!(packets.is_empty(), "{digits}: {packets:?}");
    let whole = whole.expect_err(digits);
    let (_, single) = feed(&mut decoder(role, version), &bytes, 0..bytes.len());
    assert_eq!(single, Err(whole.clone()), "{digits}");
    whole
}

/// Role, version, bytes, reason, and a part of the text.
pub(super) type Violation<'a> = (Role, Version, &'a str, Reason, &'a str);

pub(super) fn check(violations: &[Violation<'_>]) {
    for (role, version, digits, reason, text) in violations {
        let error = refused(*role, *version, digits);
        let found = (error.reason, error.to_string().contains(text));
        assert_eq!(found, (*reason, true), "{digits}: {error}, not \"{text}\"");
    }
}

/// CONNECT with this body behind the protocol's level.
pub(super) fn connect(name: &str, body: &str) -> String {
    let body = format!("{name} {body}");
    format!("10 {:02x} {body}", hex(&body).len())
}

/// A packet with this first byte and body.
pub(super) fn packet(first: &str, body: &str) -> String {
    format!("{first} {:02x} {body}", hex(body).len())
}

#[test]
fn fixed_headers() {
    check(&[
        (Client, V5, "00 00", MALFORMED, "type 0"),
        (Client, V5, "30 ff ff ff ff", MALFORMED, "four bytes"),
        (Server, V311, "e0 80 80 80 80", MALFORMED, "four bytes"),
        // [MQTT-1.5.5-1]; 3.1.1 has no such rule.
        (Client, V5, "d0 80 00", MALFORMED, "longer than it needs"),
        (Server, V5, "e0 80 80 00", MALFORMED, "longer than it needs"),
        (Server, V311, "f0 00", MALFORMED, "type 15"),
        (Client, V311, "f0 00", MALFORMED, "type 15"),
    ]);
    // A CONNECT is known to be of version 5 only once it is there.
    let padded = format!("10 8d 00 {NAME_V5} 02 00 00 00 00 00");
    check(&[(Server, V5, &padded, MALFORMED, "longer than it needs")]);
    let padded = format!("10 8c 00 {NAME_V311} 02 00 00 00 00");
    let bytes = hex(&padded);
    assert!(matches!(decoder(Server, V5).decode(&bytes), Ok(Some(_))));
}

#[test]
fn reserved_flags() {
    for (role, first) in [
        (Client, 0x20u8),
        (Client, 0x40),
        (Client, 0x50),
        (Client, 0x62),
        (Client, 0x70),
        (Client, 0x90),
        (Client, 0xb0),
        (Client, 0xd0),
        (Client, 0xe0),
        (Client, 0xf0),
        (Server, 0x10),
        (Server, 0x82),
        (Server, 0xa2),
        (Server, 0xc0),
    ] {
        for flags in 0..16 {
            let wrong = first & 0xf0 | flags;
            if wrong != first {
                let digits = format!("{wrong:02x}");
                check(&[(role, V5, &digits, MALFORMED, "flags")]);
            }
        }
    }
    for (digits, text) in [
        ("36", "QoS 3"),
        ("3e", "QoS 3"),
        ("37", "QoS 3"),
        ("38", "DUP"),
        ("39", "DUP"),
    ] {
        check(&[
            (Client, V5, digits, MALFORMED, text),
            (Server, V311, digits, MALFORMED, text),
        ]);
    }
}

#[test]
fn wrong_roles() {
    for version in [V311, V5] {
        for first in ["10", "82", "a2", "c0"] {
            check(&[(Client, version, first, PROTOCOL, "from a server")]);
        }
        for first in ["20", "90", "b0", "d0"] {
            check(&[(Server, version, first, PROTOCOL, "from a client")]);
        }
    }
    check(&[
        (Client, V311, "e0 00", PROTOCOL, "DISCONNECT cannot come"),
        (
            Server,
            V5,
            "30 06 00 01 61 02 0b 01",
            PROTOCOL,
            "subscription_identifier cannot come from a client",
        ),
        (
            Client,
            V5,
            "e0 07 00 05 11 00 00 00 00",
            PROTOCOL,
            "session_expiry_interval cannot come from a server",
        ),
    ]);
}

#[test]
fn too_large() {
    for (digits, length) in [
        ("30 ff ff ff 7f", 268_435_460u32),
        ("30 80 80 40", 1_048_580),
        ("10 ff ff ff 7f", 268_435_460),
    ] {
        let error = refused(Server, V5, digits);
        assert_eq!(error.reason, Reason::PACKET_TOO_LARGE);
        let text = error.to_string();
        assert!(text.contains(&length.to_string()), "{text}");
        assert!(text.contains("1048576"), "{text}");
    }
    let bytes = hex("30 05 00 01 61 00 78");
    let mut exact = Decoder::new(Client, bytes.len());
    assert!(matches!(exact.decode(&bytes), Ok(Some(_))));
    let mut short = Decoder::new(Client, bytes.len() - 1);
    let error = short.decode(&bytes[..2]).expect_err("announced");
    assert_eq!(error.reason, Reason::PACKET_TOO_LARGE);
}

#[test]
fn lists_of_filters_are_bounded() {
    let most = crate::codec::mqtt::decode::MAX_FILTERS;
    for (first, filter) in [(0x82, &b"\0\x01a\0"[..]), (0xa2, &b"\0\x01a"[..])] {
        let bytes = |count: usize| {
            let body = [&[0, 1, 0], &filter.repeat(count)[..]].concat();
            let length = body.len();
            let byte = |shift: u32, more: u8| (length >> shift) as u8 & 0x7f | more;
            let header = [
                first,
                byte(0, 0x80),
                byte(7, 0x80),
                byte(14, 0x80),
                byte(21, 0),
            ];
            [&header[..], &body].concat()
        };
        let mut decoder = Decoder::new(Server, usize::MAX);
        decoder.set_version(V5);
        decoder.decode(&bytes(most)).expect("as many as may be");
        let too_many = bytes(most + 1);
        let error = decoder.decode(&too_many).expect_err("too many");
        assert_eq!(error.reason, Reason::PACKET_TOO_LARGE);
    }
}

#[test]
fn packet_identifiers() {
    for first in ["40", "50", "62", "70"] {
        for version in [V311, V5] {
            let digits = packet(first, "00 00");
            check(&[(Client, version, &digits, PROTOCOL, "identifier 0")]);
        }
    }
    check(&[
        (
            Client,
            V5,
            "32 06 00 01 61 00 00 00",
            PROTOCOL,
            "PUBLISH has the packet identifier 0",
        ),
        (
            Client,
            V311,
            "34 05 00 01 61 00 00",
            PROTOCOL,
            "identifier 0",
        ),
        (Client, V5, "90 04 00 00 00 00", PROTOCOL, "identifier 0"),
        (Client, V5, "b0 04 00 00 00 00", PROTOCOL, "identifier 0"),
        (
            Server,
            V5,
            "82 07 00 00 00 00 01 61 00",
            PROTOCOL,
            "identifier 0",
        ),
        (
            Server,
            V5,
            "a2 06 00 00 00 00 01 61",
            PROTOCOL,
            "identifier 0",
        ),
    ]);
}

#[test]
fn strings() {
    for version in [V311, V5] {
        for (bytes, text) in [
            ("ff", "not UTF-8"),
            ("c0 80", "not UTF-8"),          // NUL, too long
            ("ed a0 80", "not UTF-8"),       // U+D800 [MQTT-1.5.4-1]
            ("ed bf bf", "not UTF-8"),       // U+DFFF
            ("f4 90 80 80", "not UTF-8"),    // U+110000
            ("e2 82", "not UTF-8"),          // cut short
            ("61 00 62", "a NUL character"), // [MQTT-1.5.4-2]
        ] {
            let topic = format!("{:04x} {bytes}", hex(bytes).len());
            let publish = packet("30", &topic);
            check(&[(Client, version, &publish, MALFORMED, text)]);
            let properties = if version == V5 { "00" } else { "" };
            let filter = packet("82", &format!("00 01 {properties} {topic} 00"));
            check(&[(Server, version, &filter, MALFORMED, text)]);
            let name = if version == V5 { NAME_V5 } else { NAME_V311 };
            let client = connect(name, &format!("02 00 00 {properties} {topic}"));
            check(&[(Server, version, &client, MALFORMED, text)]);
        }
    }
    let property = packet("30", "00 01 61 04 03 00 01 00");
    check(&[(
        Client,
        V5,
        &property,
        MALFORMED,
        "content_type of PUBLISH holds",
    )]);
    // Control characters, non-characters and a byte order mark are left to the application.
    let odd = "00 0a 01 7f c2 85 ef bf bf ef bb bf";
    let bytes = hex(&packet("30", &format!("{odd} 00")));
    assert!(matches!(decoder(Client, V5).decode(&bytes), Ok(Some(_))));
}

#[test]
fn topics() {
    check(&[
        (
            Client,
            V5,
            "30 03 00 00 00",
            PROTOCOL,
            "neither a topic nor a topic alias",
        ),
        (
            Client,
            V311,
            "30 02 00 00",
            PROTOCOL,
            "neither a topic nor a topic alias",
        ),
        (
            Client,
            V5,
            "30 04 00 01 23 00",
            Reason::TOPIC_NAME_INVALID,
            "wildcards",
        ),
        (
            Server,
            V311,
            "30 05 00 03 61 2f 2b",
            Reason::TOPIC_NAME_INVALID,
            "wildcards",
        ),
        // Response topic.
        (
            Client,
            V5,
            "30 08 00 01 61 04 08 00 01 2b",
            Reason::TOPIC_NAME_INVALID,
            "response_topic",
        ),
        (
            Client,
            V5,
            "30 07 00 01 61 03 08 00 00",
            Reason::TOPIC_NAME_INVALID,
            "response_topic",
        ),
        // Filters.
        (
            Server,
            V5,
            "82 06 00 01 00 00 00 00",
            Reason::TOPIC_FILTER_INVALID,
            "filter",
        ),
        (
            Server,
            V5,
            "82 08 00 01 00 00 02 61 23 00",
            Reason::TOPIC_FILTER_INVALID,
            "wildcard #",
        ),
        (
            Server,
            V311,
            "82 07 00 01 00 02 61 2b 00",
            Reason::TOPIC_FILTER_INVALID,
            "wildcard +",
        ),
        (
            Server,
            V5,
            "a2 07 00 01 00 00 02 61 2b",
            Reason::TOPIC_FILTER_INVALID,
            "UNSUBSCRIBE has",
        ),
    ]);
    let share = "00 08 24 73 68 61 72 65 2f 67"; // $share/g
    let digits = packet("82", &format!("00 01 00 {share} 00"));
    check(&[(
        Server,
        V5,
        &digits,
        Reason::TOPIC_FILTER_INVALID,
        "$share/group/filter",
    )]);
    let bytes = hex(&packet("82", &format!("00 01 {share} 00")));
    assert!(matches!(decoder(Server, V311).decode(&bytes), Ok(Some(_))));
}

#[test]
fn subscriptions() {
    check(&[
        (Server, V5, "82 03 00 01 00", PROTOCOL, "no topic filter"),
        (Server, V311, "82 02 00 01", PROTOCOL, "no topic filter"),
        (Server, V5, "a2 03 00 01 00", PROTOCOL, "no topic filter"),
        (Server, V311, "a2 02 00 01", PROTOCOL, "no topic filter"),
        (Server, V5, "82 07 00 01 00 00 01 61 03", PROTOCOL, "QoS 3"),
        (Server, V311, "82 06 00 01 00 01 61 03", MALFORMED, "QoS 3"),
        (
            Server,
            V5,
            "82 07 00 01 00 00 01 61 40",
            MALFORMED,
            "reserved bits",
        ),
        (
            Server,
            V5,
            "82 07 00 01 00 00 01 61 80",
            MALFORMED,
            "reserved bits",
        ),
        (
            Server,
            V311,
            "82 06 00 01 00 01 61 04",
            MALFORMED,
            "reserved bits",
        ),
        (
            Server,
            V5,
            "82 07 00 01 00 00 01 61 30",
            PROTOCOL,
            "retain handling 3",
        ),
        (
            Server,
            V5,
            "82 06 00 01 00 00 01 61",
            MALFORMED,
            "ends before its subscription options",
        ),
        (Client, V5, "90 03 00 01 00", PROTOCOL, "no reason code"),
        (Client, V311, "90 02 00 01", PROTOCOL, "no reason code"),
        (Client, V311, "90 03 00 01 03", PROTOCOL, "0x03"),
        (Client, V311, "90 03 00 01 87", PROTOCOL, "0x87"),
        (Client, V5, "b0 03 00 01 00", PROTOCOL, "no reason code"),
    ]);
    let shared = packet("82", "00 01 00 00 0a 24 73 68 61 72 65 2f 67 2f 61 04");
    check(&[(Server, V5, &shared, PROTOCOL, "no local on a shared")]);
}
