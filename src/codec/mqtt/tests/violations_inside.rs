//! What a peer may not send: properties, CONNECT, answers and their reasons, what follows the end of a packet.

use super::violations::{check, connect, packet, MALFORMED, NAME_V311, NAME_V5, PROTOCOL};
use super::*;
use Role::{Client, Server};
use Version::{V311, V5};

#[test]
fn properties() {
    let publish = |properties: &str| {
        let length = hex(properties).len();
        packet("30", &format!("00 01 61 {length:02x} {properties}"))
    };
    let conn_ack = |properties: &str| {
        let length = hex(properties).len();
        packet("20", &format!("00 00 {length:02x} {properties}"))
    };
    let connect = |properties: &str| {
        let length = hex(properties).len();
        connect(
            NAME_V5,
            &format!("02 00 00 {length:02x} {properties} 00 00"),
        )
    };
    for (role, digits, reason, text) in [
        (
            Client,
            publish("00"),
            MALFORMED,
            "0x00, which does not exist",
        ),
        (
            Client,
            publish("2b 00"),
            MALFORMED,
            "0x2b, which does not exist",
        ),
        (
            Client,
            publish("a6 00"),
            MALFORMED,
            "0xa6, which does not exist",
        ),
        (
            Client,
            publish("21 00 01"),
            MALFORMED,
            "cannot have the property receive_maximum",
        ),
        (
            Client,
            publish("18 00 00 00 01"),
            MALFORMED,
            "cannot have the property will_delay",
        ),
        (
            Server,
            connect("23 00 01"),
            MALFORMED,
            "cannot have the property topic_alias",
        ),
        (
            Server,
            connect("18 00 00 00 01"),
            MALFORMED,
            "CONNECT cannot have the property will",
        ),
        (
            Client,
            publish("01 00 01 00"),
            PROTOCOL,
            "payload_format_indicator more than once",
        ),
        (
            Client,
            publish("23 00 01 23 00 01"),
            PROTOCOL,
            "topic_alias more than once",
        ),
        (
            Server,
            connect("15 00 00 15 00 00"),
            PROTOCOL,
            "authentication_method more than once",
        ),
        (Client, publish("01 02"), PROTOCOL, "must be 0 or 1"),
        (
            Client,
            publish("23 00 00"),
            Reason::TOPIC_ALIAS_INVALID,
            "above 0",
        ),
        (
            Client,
            publish("0b 00"),
            PROTOCOL,
            "subscription_identifier of PUBLISH must be above 0",
        ),
        (
            Client,
            publish("0b 80 00"),
            MALFORMED,
            "longer than it needs",
        ),
        (Client, publish("0b ff ff ff ff"), MALFORMED, "four bytes"),
        (Server, connect("21 00 00"), PROTOCOL, "receive_maximum"),
        (
            Server,
            connect("27 00 00 00 00"),
            PROTOCOL,
            "maximum_packet_size",
        ),
        (
            Server,
            connect("17 02"),
            PROTOCOL,
            "request_problem_information",
        ),
        (
            Server,
            connect("19 ff"),
            PROTOCOL,
            "request_response_information",
        ),
        (
            Server,
            connect("16 00 00"),
            PROTOCOL,
            "no authentication_method",
        ),
        (Client, conn_ack("21 00 00"), PROTOCOL, "receive_maximum"),
        (
            Client,
            conn_ack("27 00 00 00 00"),
            PROTOCOL,
            "maximum_packet_size",
        ),
        (Client, conn_ack("24 02"), PROTOCOL, "maximum_qos"),
        (Client, conn_ack("25 02"), PROTOCOL, "retain_available"),
        (
            Client,
            conn_ack("28 02"),
            PROTOCOL,
            "wildcard_subscription_available",
        ),
        (
            Client,
            conn_ack("29 02"),
            PROTOCOL,
            "subscription_identifier_available",
        ),
        (
            Client,
            conn_ack("2a 02"),
            PROTOCOL,
            "shared_subscription_available",
        ),
        // A property that its length cuts.
        (
            Client,
            publish("02 00 00 00"),
            MALFORMED,
            "ends before its message_expiry_interval",
        ),
        (
            Client,
            publish("26 00 01 61"),
            MALFORMED,
            "ends before its user_property",
        ),
        (
            Client,
            publish("03 00 05 61"),
            MALFORMED,
            "ends before its content_type",
        ),
        // A length beyond the packet, or of the wrong form.
        (
            Client,
            "30 04 00 01 61 01".into(),
            MALFORMED,
            "ends before its properties",
        ),
        (
            Client,
            "30 03 00 01 61".into(),
            MALFORMED,
            "ends before its property length",
        ),
        (
            Client,
            "30 05 00 01 61 80 00".into(),
            MALFORMED,
            "longer than it needs",
        ),
        (
            Server,
            "82 08 00 01 02 0b 01 00 01 61".into(),
            MALFORMED,
            "subscription options",
        ),
        (
            Server,
            "82 0b 00 01 04 0b 01 0b 02 00 01 61 00".into(),
            PROTOCOL,
            "more than once",
        ),
    ] {
        check(&[(role, V5, &digits, reason, text)]);
    }
}

#[test]
fn connects() {
    let unsupported = Reason::UNSUPPORTED_PROTOCOL_VERSION;
    let v311 = |body: &str| connect(NAME_V311, body);
    let v5 = |body: &str| connect(NAME_V5, body);
    for (digits, reason, text) in [
        (
            connect("00 04 4d 51 54 55 04", "02 00 00 00 00"),
            unsupported,
            "\"MQTU\"",
        ),
        (
            connect("00 00 04", "02 00 00 00 00"),
            unsupported,
            "protocol \"\"",
        ),
        (
            connect("00 06 4d 51 49 73 64 70 03", "02 00 00 00 00"),
            unsupported,
            "level 3 of MQIsdp",
        ),
        (
            connect("00 04 4d 51 54 54 03", "02 00 00 00 00"),
            unsupported,
            "level 3",
        ),
        (
            connect("00 04 4d 51 54 54 06", "02 00 00 00 00"),
            unsupported,
            "level 6",
        ),
        (
            connect("00 04 4d 51 54 54 84", "02 00 00 00 00"),
            unsupported,
            "level 132",
        ),
        (v311("03 00 00 00 00"), MALFORMED, "reserved flag"),
        (v5("01 00 00 00 00 00"), MALFORMED, "reserved flag"),
        (v311("1c 00 00 00 00"), MALFORMED, "QoS 3"),
        (v5("1c 00 00 00 00 00"), MALFORMED, "QoS 3"),
        (v311("08 00 00 00 00"), MALFORMED, "no will"),
        (v5("20 00 00 00 00 00"), MALFORMED, "no will"),
        (v311("42 00 00 00 00 00 00"), MALFORMED, "no user name"),
        (
            v311("82 00 00 00 00"),
            MALFORMED,
            "ends before its user name",
        ),
        (
            v5("42 00 00 00 00 00"),
            MALFORMED,
            "ends before its password",
        ),
        (
            v311("06 00 00 00 00 00 01 2b 00 00"),
            Reason::TOPIC_NAME_INVALID,
            "wildcards",
        ),
        (
            v311("06 00 00 00 00 00 00 00 00"),
            Reason::TOPIC_NAME_INVALID,
            "at least one character",
        ),
        (
            v5("06 00 00 00 00 00 7f 01 00 00 01 77 00 00"),
            MALFORMED,
            "properties",
        ),
        (
            v5("06 00 00 00 00 00 03 23 00 01 00 01 77 00 00"),
            MALFORMED,
            "the will cannot have",
        ),
        (
            v311("02 00 00 00 00 00"),
            MALFORMED,
            "1 bytes behind its end",
        ),
        (
            v5("02 00 00 00 00 00 00 00"),
            MALFORMED,
            "2 bytes behind its end",
        ),
        ("10 00".into(), MALFORMED, "ends before its protocol name"),
    ] {
        check(&[(Server, V5, &digits, reason, text)]);
    }
}

/// A server answers a CONNECT of a level that it does not know in the form that its client may know.
#[test]
fn the_version_of_an_answer() {
    for (level, version) in [("03", V311), ("04", V311), ("05", V5), ("06", V5)] {
        let properties = if version == V5 { "00" } else { "" };
        let body = format!("02 00 00 {properties} 00 00");
        let bytes = hex(&connect(&format!("00 04 4d 51 54 54 {level}"), &body));
        let mut decoder = Decoder::new(Server, MAX);
        assert_eq!(decoder.version(), V5);
        let known = matches!(level, "04" | "05");
        assert_eq!(decoder.decode(&bytes).is_ok(), known, "level {level}");
        assert_eq!(decoder.version(), version, "level {level}");
    }
}

#[test]
fn answers() {
    check(&[
        (Client, V5, "20 03 02 00 00", MALFORMED, "flags 0x02"),
        (Client, V311, "20 02 80 00", MALFORMED, "flags 0x80"),
        (
            Client,
            V5,
            "20 03 01 87 00",
            PROTOCOL,
            "together with the error",
        ),
        (
            Client,
            V311,
            "20 02 01 05",
            PROTOCOL,
            "together with the error",
        ),
        (
            Client,
            V5,
            "20 02 01 01",
            PROTOCOL,
            "together with the error",
        ),
        (Client, V311, "20 02 00 06", PROTOCOL, "return code 6"),
        (
            Client,
            V5,
            "20 03 00 8e 00",
            PROTOCOL,
            "CONNACK cannot carry the reason 0x8e",
        ),
        (Client, V5, "20 03 00 01 00", PROTOCOL, "0x01"),
        (Client, V5, "20 02 00 00", MALFORMED, "property length"),
        (Client, V5, "20 02 00 87", MALFORMED, "property length"),
        (Client, V5, "20 02 00 06", PROTOCOL, "0x06"),
        (
            Client,
            V5,
            "40 03 00 01 92",
            PROTOCOL,
            "PUBACK cannot carry the reason 0x92",
        ),
        (Client, V5, "50 03 00 01 01", PROTOCOL, "PUBREC"),
        (Client, V5, "62 03 00 01 80", PROTOCOL, "PUBREL"),
        (Client, V5, "70 03 00 01 10", PROTOCOL, "PUBCOMP"),
        (Client, V5, "90 04 00 01 00 03", PROTOCOL, "SUBACK"),
        (Client, V5, "b0 04 00 01 00 01", PROTOCOL, "UNSUBACK"),
        (Client, V5, "e0 01 01", PROTOCOL, "DISCONNECT"),
        (Client, V5, "f0 02 80 00", PROTOCOL, "AUTH"),
        (
            Client,
            V5,
            "f0 01 18",
            MALFORMED,
            "AUTH ends before its property length",
        ),
    ]);
}

#[test]
fn an_answer_of_mosquitto_that_should_not_be() {
    for (bytes, place) in [
        ("40 03 00 01 95", Place::PubAck),
        ("50 03 00 01 95", Place::PubRec),
    ] {
        let bytes = hex(bytes);
        let (packets, outcome) = feed(&mut decoder(Client, V5), &bytes, []);
        assert_eq!(outcome, Ok(()));
        assert!(
            !Reason::PACKET_TOO_LARGE.allowed_in(place),
            "not to be sent"
        );
        assert!(matches!(
            packets.as_slice(),
            [(Packet::Ack(ack), 5)] if ack.reason == Reason::PACKET_TOO_LARGE
        ));
    }
}

#[test]
fn trailing_bytes() {
    for (role, version, first, body) in [
        (Client, V311, "20", "00 00"),
        (Client, V5, "20", "00 00 00"),
        (Client, V311, "40", "00 01"),
        (Client, V5, "40", "00 01 00 00"),
        (Client, V5, "62", "00 01 00 00"),
        (Client, V311, "b0", "00 01"),
        (Server, V311, "c0", ""),
        (Server, V5, "c0", ""),
        (Client, V5, "d0", ""),
        (Server, V311, "e0", ""),
        (Server, V5, "e0", "00 00"),
        (Server, V5, "f0", "18 00"),
    ] {
        let bytes = hex(&packet(first, body));
        let whole = decoder(role, version).decode(&bytes);
        assert!(matches!(whole, Ok(Some(_))), "{first} {body}: {whole:?}");
        let digits = packet(first, &format!("{body} 00"));
        check(&[(role, version, &digits, MALFORMED, "1 bytes behind its end")]);
    }
}

/// No front of a packet's body is a packet, unless what is left out may be.
#[test]
fn cut_bodies() {
    let whole = connect(
        NAME_V5,
        "c6 00 00 02 17 01 00 01 61 02 01 01 00 01 77 00 01 78 00 01 75 00 01 70",
    );
    let bytes = hex(&whole);
    assert!(matches!(decoder(Server, V5).decode(&bytes), Ok(Some(_))));
    for length in 0..bytes.len() - 2 {
        let mut cut = bytes[..2 + length].to_vec();
        cut[1] = length as u8;
        let error = decoder(Server, V5).decode(&cut).expect_err("cut");
        assert_eq!(error.reason, MALFORMED, "{length}: {error}");
    }
}
