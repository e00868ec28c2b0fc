//! Who is let in, what is agreed on, and how a connection ends.

use super::*;
use std::collections::HashMap;

#[test]
fn both_versions_are_let_in_and_told_what_the_broker_takes() {
    let world = World::new();
    let (_, told) = world.join(Version::V5, "a", true, &[]);
    assert_eq!(
        told,
        "CONNACK 0x00 receive_maximum=1024 topic_alias_maximum=64 maximum_packet_size=67108864"
    );
    let (mut old, told) = world.join(Version::V311, "b", true, &[]);
    assert_eq!(told, "CONNACK 0x00");
    assert_eq!(old.say(Packet::PingReq), "PINGRESP");
    assert!(old.peer.accepted());
}

#[test]
fn a_client_without_an_identifier_is_given_one() {
    let world = World::new();
    let (_, told) = world.join(Version::V5, "", true, &[]);
    assert!(told.contains("assigned_client_identifier=auto-"), "{told}");
    assert_eq!(world.join(Version::V311, "", true, &[]).1, "CONNACK 0x00");
    // 3.1.1, [MQTT-3.1.3-8]
    let refused = Packet::Connect(Connect {
        clean_start: false,
        ..connect(Version::V311, "")
    });
    assert_eq!(
        world.wire().fail(refused),
        (Code::Refused, "CONNACK 0x85".to_owned())
    );
}

#[test]
fn protocols_that_it_does_not_speak_are_refused_in_their_own_words() {
    let world = World::new();
    let mut older = world.wire();
    // MQTT 3.1
    let error = older.receive(b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a");
    assert!(error.is_err());
    let mut out = BytesMut::new();
    older.peer.farewell(&mut out);
    assert_eq!(&out[..], b"\x20\x02\x00\x01");
    let mut newer = world.wire();
    assert!(newer
        .receive(b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x3c\x00\x00\x01a")
        .is_err());
    assert_eq!(newer.last_words(), "CONNACK 0x84");
}

#[test]
fn users_log_in() {
    let users = [("ann", "secret"), ("default", "common")]
        .map(|(user, password)| (user.as_bytes().to_vec(), password.as_bytes().to_vec()));
    let world = World::with(Settings {
        users: Some(HashMap::from(users)),
        ..Settings::default()
    });
    let log_in = |version, username, password: Option<&'static [u8]>| {
        Packet::Connect(Connect {
            username,
            password,
            ..connect(version, "a")
        })
    };
    for version in [Version::V311, Version::V5] {
        let (ann, secret) = (Some("ann"), Some(&b"secret"[..]));
        assert!(world
            .wire()
            .say(log_in(version, ann, secret))
            .starts_with("CONNACK 0x00"));
        for (username, password, told) in [
            (None, None, "CONNACK 0x87"),
            (ann, Some(&b"common"[..]), "CONNACK 0x86"),
            (ann, None, "CONNACK 0x86"),
            (Some("bob"), secret, "CONNACK 0x86"),
        ] {
            let refused = world.wire().fail(log_in(version, username, password));
            assert_eq!(refused, (Code::Auth, told.to_owned()));
        }
    }
    let common = log_in(Version::V5, None, Some(b"common"));
    assert!(world.wire().say(common).starts_with("CONNACK 0x00"));
    let method = list(&[(PropertyId::AuthenticationMethod, PropertyValue::Text("x"))]);
    let asks = Packet::Connect(Connect {
        properties: method.as_properties(),
        ..connect(Version::V5, "a")
    });
    assert_eq!(
        world.wire().fail(asks),
        (Code::Auth, "CONNACK 0x8c".to_owned())
    );
}

#[test]
fn what_comes_before_connect_or_is_a_second_one_ends_the_connection() {
    let world = World::new();
    let silence = (Code::Protocol, String::new());
    assert_eq!(world.wire().fail(Packet::PingReq), silence);
    assert_eq!(world.wire().fail(publish(0, 0, "a", "x")), silence);
    let again = Packet::Connect(connect(Version::V5, "a"));
    assert_eq!(
        world.client("a").fail(again.clone()),
        (Code::Protocol, "DISCONNECT 0x82".to_owned())
    );
    let mut slow = world.wire();
    slow.pass(9).expect("there is time");
    slow.say(again.clone());
    slow.pass(9).expect("it has said who it is");
    let mut silent = world.wire();
    let error = silent.pass(11).expect_err("too late");
    assert_eq!(
        (error.code, silent.last_words()),
        (Code::Timeout, String::new())
    );
    // Half a CONNECT buys no time.
    let mut dawdler = world.wire();
    dawdler.receive(b"\x10").expect("incomplete");
    dawdler.pass(9).expect("there is time");
    dawdler.receive(b"\x0d").expect("incomplete");
    assert!(dawdler.pass(2).is_err());
}

#[test]
fn a_silent_client_is_given_up_after_one_and_a_half_keep_alives() {
    let world = World::new();
    for (version, last_words) in [(Version::V5, "DISCONNECT 0x8d"), (Version::V311, "")] {
        let mut wire = world.join(version, "a", true, &[]).0;
        wire.pass(89).expect("in time");
        assert_eq!(wire.say(Packet::PingReq), "PINGRESP");
        wire.pass(89).expect("in time");
        let error = wire.pass(2).expect_err("too long");
        assert_eq!(
            (error.code, wire.last_words()),
            (Code::Timeout, last_words.to_owned())
        );
    }
    let mut patient = world.wire();
    patient.say(Packet::Connect(Connect {
        keep_alive: 0,
        ..connect(Version::V5, "b")
    }));
    patient.pass(1_000_000).expect("it need not say anything");
    assert_eq!(patient.peer.deadline(), None);
}

#[test]
fn what_is_no_mqtt_is_answered_with_its_reason() {
    let world = World::new();
    for (bytes, last_words) in [
        // QoS 3
        (&b"\x36\x05\x00\x01a\x00\x01"[..], "DISCONNECT 0x81"),
        // SUBSCRIBE without filters
        (b"\x82\x03\x00\x01\x00", "DISCONNECT 0x82"),
        // a wildcard in a topic
        (b"\x30\x04\x00\x01#\x00", "DISCONNECT 0x90"),
        // an alias beyond the maximum, and one that is unknown
        (b"\x30\x07\x00\x01a\x03\x23\x00\x41", "DISCONNECT 0x94"),
        (b"\x30\x06\x00\x00\x03\x23\x00\x01", "DISCONNECT 0x94"),
        // AUTH without a method
        (b"\xf0\x00", "DISCONNECT 0x82"),
        // more than 64 MiB
        (b"\x30\xff\xff\xff\x7f", "DISCONNECT 0x95"),
    ] {
        let mut wire = world.client("a");
        let error = wire.receive(bytes).expect_err("not taken");
        assert_eq!(error.code, Code::Protocol, "{bytes:02x?}");
        assert_eq!(wire.last_words(), last_words, "{bytes:02x?}");
    }
    let mut old = world.old_client("a");
    assert!(old.receive(b"\x36\x05\x00\x01a\x00\x01").is_err());
    assert_eq!(old.last_words(), "");
}

#[test]
fn the_same_client_takes_its_session_over() {
    let world = World::new();
    let mut first = world.client("a");
    first.subscribe("x", 0);
    assert_eq!(
        first.peer.deadline(),
        Some(first.now + Duration::from_secs(90))
    );
    first.rung.0.store(false, Ordering::Relaxed);
    let mut second = world.client("a");
    assert!(first.rung.0.load(Ordering::Relaxed));
    assert!(first.peer.deadline().is_some_and(|at| at <= first.now));
    let error = first.pass(0).expect_err("taken over");
    assert_eq!(
        (error.code, first.last_words()),
        (Code::Refused, "DISCONNECT 0x8e".to_owned())
    );
    // What it says meanwhile is for nobody.
    let late = Packet::Subscribe(Subscribe {
        packet_id: 1,
        properties: Properties::NONE,
        filters: vec![filter("x", 0)],
    });
    assert_eq!(
        first.fail(late),
        (Code::Refused, "DISCONNECT 0x8e".to_owned())
    );
    first.lose();
    // Its session was no longer to be had.
    assert_eq!(second.publish(1, "x", "1"), "PUBACK #7 0x10");
    second.subscribe("x", 0);
    assert_eq!(second.publish(0, "x", "1"), "PUBLISH 0 x 1");
    let sessions = &world.broker.mqtt.sessions;
    assert_eq!(crate::broker::lock(sessions).len(), 1);
    second.lose();
    assert_eq!(crate::broker::lock(sessions).len(), 0);
    assert_eq!(
        world
            .broker
            .counters()
            .subscriptions
            .load(Ordering::Relaxed),
        0
    );
}

#[test]
fn a_client_is_not_silent_while_a_large_packet_comes() {
    let world = World::new();
    let mut wire = world.client("a");
    let mut bytes = BytesMut::new();
    let payload = "x".repeat(1000);
    publish(1, 7, "a", &payload)
        .encode(Version::V5, &mut bytes)
        .expect("a valid packet");
    for part in bytes.chunks(300) {
        assert_eq!(wire.told(), "");
        wire.receive(part).expect("it goes on");
        wire.pass(80).expect("it has been heard");
    }
    assert_eq!(wire.told(), "PUBACK #7 0x10");
    // Half a packet keeps nobody connected.
    wire.receive(&bytes[..10]).expect("it goes on");
    wire.pass(80).expect("it has been heard");
    wire.receive(b"").expect("it goes on");
    assert!(wire.pass(80).is_err());
}
