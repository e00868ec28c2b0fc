//! Messages and their acknowledgements while a connection lasts.

use super::*;

#[test]
fn each_qos_in_and_out() {
    for version in [Version::V311, Version::V5] {
        let world = World::new();
        let mut to = world.join(version, "to", true, &[]).0;
        let mut from = world.join(version, "from", true, &[]).0;
        assert_eq!(to.subscribe("a/+", 2), "SUBACK #1 0x02");
        assert_eq!(from.publish(0, "a/b", "zero"), "");
        assert!(to.rung.0.load(Ordering::Relaxed));
        assert_eq!(to.told(), "PUBLISH 0 a/b zero");
        assert_eq!(from.publish(1, "a/b", "one"), "PUBACK #7");
        assert_eq!(to.told(), "PUBLISH 1 #1 a/b one");
        assert_eq!(to.ack(AckKind::PubAck, 1), "");
        assert_eq!(from.publish(2, "a/b", "two"), "PUBREC #7");
        assert_eq!(to.told(), "PUBLISH 2 #2 a/b two");
        // Sent again, it is the same one.
        assert_eq!(from.publish(2, "a/b", "two"), "PUBREC #7");
        assert_eq!(from.ack(AckKind::PubRel, 7), "PUBCOMP #7");
        assert_eq!(to.told(), "");
        assert_eq!(to.ack(AckKind::PubRec, 2), "PUBREL #2");
        assert_eq!(to.ack(AckKind::PubRec, 2), "PUBREL #2");
        assert_eq!(to.ack(AckKind::PubComp, 2), "");
        // The identifier is free for another one.
        assert_eq!(from.publish(2, "a/b", "three"), "PUBREC #7");
        assert_eq!(to.told(), "PUBLISH 2 #3 a/b three");
        let counters = world.broker.counters();
        assert_eq!(counters.received.load(Ordering::Relaxed), 4);
        assert_eq!(counters.sent.load(Ordering::Relaxed), 4);
    }
}

#[test]
fn version_5_hears_who_was_not_there_and_what_is_not_known() {
    let world = World::new();
    let mut wire = world.client("a");
    assert_eq!(wire.publish(1, "x", "1"), "PUBACK #7 0x10");
    assert_eq!(wire.publish(2, "x", "1"), "PUBREC #7 0x10");
    assert_eq!(wire.ack(AckKind::PubRel, 7), "PUBCOMP #7");
    assert_eq!(wire.ack(AckKind::PubRel, 7), "PUBCOMP #7 0x92");
    assert_eq!(wire.ack(AckKind::PubRec, 9), "PUBREL #9 0x92");
    assert_eq!(wire.ack(AckKind::PubAck, 9), "");
    assert_eq!(wire.ack(AckKind::PubComp, 9), "");
    assert_eq!(
        wire.publish(1, "$SYS/broker/version", "x"),
        "PUBACK #7 0x87"
    );
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_ends_the_connection() {
    let world = World::new();
    for (qos, kind) in [
        (1, AckKind::PubRec),
        (1, AckKind::PubComp),
        (2, AckKind::PubAck),
        (2, AckKind::PubComp),
    ] {
        let mut wire = world.client("a");
        wire.subscribe("x", 2);
        wire.publish(qos, "x", "1");
        assert_eq!(
            wire.fail(ack(kind, 1, Reason::SUCCESS)),
            (Code::Protocol, "DISCONNECT 0x82".to_owned())
        );
    }
}

#[test]
fn a_client_gets_no_more_at_a_time_than_it_takes() {
    let world = World::new();
    let two = (PropertyId::ReceiveMaximum, PropertyValue::U16(2));
    let mut to = world.join(Version::V5, "to", true, &[two]).0;
    let mut from = world.client("from");
    to.subscribe("#", 2);
    for payload in ["1", "2", "3", "4"] {
        from.publish(1, "a", payload);
    }
    from.publish(2, "a", "5");
    // QoS 0 does not wait behind what waits.
    from.publish(0, "a", "0");
    assert_eq!(
        to.told(),
        "PUBLISH 1 #1 a 1\nPUBLISH 1 #2 a 2\nPUBLISH 0 a 0"
    );
    assert_eq!(to.told(), "");
    // Out of order is no trouble.
    assert_eq!(to.ack(AckKind::PubAck, 2), "PUBLISH 1 #3 a 3");
    assert_eq!(to.ack(AckKind::PubAck, 2), "");
    assert_eq!(to.ack(AckKind::PubAck, 1), "PUBLISH 1 #4 a 4");
    from.publish(1, "a", "6");
    assert_eq!(to.told(), "");
    assert_eq!(to.ack(AckKind::PubAck, 3), "PUBLISH 2 #5 a 5");
    assert_eq!(to.ack(AckKind::PubRec, 5), "PUBREL #5");
    assert_eq!(to.ack(AckKind::PubAck, 4), "PUBLISH 1 #6 a 6");
    assert_eq!(to.ack(AckKind::PubComp, 5), "");
    assert_eq!(to.ack(AckKind::PubAck, 6), "");
    from.ack(AckKind::PubRel, 7);
    from.publish(2, "a", "7");
    assert_eq!(to.told(), "PUBLISH 2 #7 a 7");
    // An error ends the exchange.
    let refusal = ack(AckKind::PubRec, 7, Reason::QUOTA_EXCEEDED);
    assert_eq!(to.say(refusal), "");
    assert_eq!(to.ack(AckKind::PubRec, 7), "PUBREL #7 0x92");
}

#[test]
fn a_client_sends_no_more_at_a_time_than_the_broker_takes() {
    let world = World::new();
    let mut wire = world.client("a");
    for id in 1..=1024 {
        wire.say(publish(2, id, "x", "1"));
    }
    // Those of QoS 1 are answered at once.
    assert_eq!(wire.say(publish(1, 2000, "x", "1")), "PUBACK #2000 0x10");
    assert_eq!(
        wire.fail(publish(2, 1025, "x", "1")),
        (Code::Protocol, "DISCONNECT 0x93".to_owned())
    );
}

#[test]
fn identifiers_go_round_and_past_the_one_that_is_not_answered() {
    let world = World::new();
    let mut to = world.client("to");
    let mut from = world.client("from");
    to.subscribe("a", 1);
    from.publish(1, "a", "stuck");
    assert_eq!(to.told(), "PUBLISH 1 #1 a stuck");
    for id in 2..=u16::MAX {
        from.publish(1, "a", "");
        assert_eq!(to.told(), format!("PUBLISH 1 #{id} a"));
        assert_eq!(to.ack(AckKind::PubAck, id), "");
    }
    from.publish(1, "a", "waits");
    assert_eq!(to.told(), "");
    assert_eq!(to.ack(AckKind::PubAck, 1), "PUBLISH 1 #1 a waits");
    assert_eq!(to.ack(AckKind::PubAck, 1), "");
    from.publish(1, "a", "next");
    assert_eq!(to.told(), "PUBLISH 1 #2 a next");
}

#[test]
fn aliases_stand_for_topics_in_both_directions() {
    let world = World::new();
    let two = (PropertyId::TopicAliasMaximum, PropertyValue::U16(2));
    let mut to = world.join(Version::V5, "to", true, &[two]).0;
    let mut from = world.client("from");
    to.subscribe("topic/#", 0);
    let alias = |number| list(&[(PropertyId::TopicAlias, PropertyValue::U16(number))]);
    from.say(with_properties(publish(0, 0, "topic/1", "a"), &alias(64)));
    from.say(with_properties(publish(0, 0, "", "b"), &alias(64)));
    from.say(with_properties(publish(0, 0, "topic/2", "c"), &alias(64)));
    from.say(with_properties(publish(0, 0, "", "d"), &alias(64)));
    from.publish(0, "topic/3", "e");
    from.publish(0, "topic/1", "f");
    assert_eq!(
        to.told(),
        "PUBLISH 0 topic/1 a topic_alias=1\nPUBLISH 0  b topic_alias=1\n\
         PUBLISH 0 topic/2 c topic_alias=2\nPUBLISH 0  d topic_alias=2\n\
         PUBLISH 0 topic/3 e\nPUBLISH 0  f topic_alias=1"
    );
}

#[test]
fn properties_go_on_as_they_came_and_those_of_one_connection_do_not() {
    let world = World::new();
    let (mut to, mut from) = (world.client("to"), world.client("from"));
    let mut old = world.old_client("old");
    to.subscribe_with(filter("a", 0), 300);
    old.subscribe("a", 0);
    let properties = list(&[
        (PropertyId::PayloadFormatIndicator, PropertyValue::Byte(1)),
        (PropertyId::TopicAlias, PropertyValue::U16(1)),
        (PropertyId::ContentType, PropertyValue::Text("text")),
        (PropertyId::MessageExpiryInterval, PropertyValue::U32(10)),
        (PropertyId::UserProperty, PropertyValue::Pair("k", "1")),
        (PropertyId::ResponseTopic, PropertyValue::Text("r")),
        (PropertyId::CorrelationData, PropertyValue::Binary(b"\x01")),
        (PropertyId::UserProperty, PropertyValue::Pair("k", "2")),
    ]);
    from.say(with_properties(publish(0, 0, "a", "x"), &properties));
    to.now += Duration::from_millis(3500);
    assert_eq!(
        to.told(),
        "PUBLISH 0 a x subscription_identifier=300 message_expiry_interval=7 \
         payload_format_indicator=1 content_type=text k=1 response_topic=r correlation_data=\\x01 k=2"
    );
    assert_eq!(old.told(), "PUBLISH 0 a x");
    from.say(with_properties(publish(0, 0, "a", "late"), &properties));
    to.now += Duration::from_secs(11);
    assert_eq!(to.told(), "");
}

#[test]
fn what_is_too_large_for_a_client_is_not_sent_to_it() {
    let world = World::new();
    let small = (PropertyId::MaximumPacketSize, PropertyValue::U32(20));
    let mut to = world.join(Version::V5, "to", true, &[small]).0;
    let mut from = world.client("from");
    to.subscribe("a", 1);
    from.publish(1, "a", "this is more than fits");
    from.publish(0, "a", "this is more than fits");
    from.publish(1, "a", "x");
    assert_eq!(to.told(), "PUBLISH 1 #2 a x");
    assert_eq!(to.ack(AckKind::PubAck, 2), "");
    from.publish(1, "a", "y");
    assert_eq!(to.told(), "PUBLISH 1 #3 a y");
}

#[test]
fn other_protocols_share_the_name_space() {
    let world = World::new();
    let mut to = world.client("to");
    to.subscribe("#", 1);
    let redis = |name: &'static [u8]| {
        world.broker.publish(name, || {
            Arc::new(crate::broker::Message {
                topic: name.into(),
                payload: b"x"[..].into(),
                extra: Some(Box::new(crate::broker::Extra {
                    headers: vec![
                        (b"k"[..].into(), b"v"[..].into()),
                        (b"\xff"[..].into(), b"v"[..].into()),
                    ],
                    ..Default::default()
                })),
                ..Default::default()
            })
        })
    };
    assert_eq!(redis(b"news"), 1);
    // Names that are no topics.
    for name in [&b"a\xff"[..], b"a+", b"#", b"a\0", b""] {
        assert_eq!(redis(name), 0);
    }
    assert_eq!(to.told(), "PUBLISH 0 news x k=v");
}

#[test]
fn a_slow_consumer_is_cut_off_and_the_others_are_not() {
    let world = World::with(Settings {
        max_queue_bytes: 10_000,
        ..Settings::default()
    });
    let (mut slow, mut quick) = (world.client("slow"), world.client("quick"));
    let mut from = world.client("from");
    slow.subscribe("a", 0);
    quick.subscribe("a", 0);
    for _ in 0..100 {
        from.publish(0, "a", &"x".repeat(200));
        assert!(quick.told().starts_with("PUBLISH"));
        quick.pass(0).expect("it reads");
    }
    let error = slow.pass(0).expect_err("cut off");
    assert_eq!(
        (error.code, slow.last_words()),
        (Code::Full, "DISCONNECT 0x97".to_owned())
    );
    assert_eq!(world.broker.counters().overruns.load(Ordering::Relaxed), 1);
    slow.lose();
    // The same for what is not acknowledged.
    let mut lazy = world.client("lazy");
    lazy.subscribe("b", 1);
    for _ in 0..100 {
        from.publish(1, "b", &"x".repeat(200));
        lazy.told();
    }
    assert_eq!(lazy.pass(0).map_err(|error| error.code), Err(Code::Full));
}

#[test]
fn a_client_that_does_not_read_its_answers_is_not_read() {
    let world = World::new();
    let mut wire = world.client("a");
    wire.receive(&b"\xc0\x00".repeat(100_000)).expect("taken");
    assert!(wire.flow.full);
    assert!(!wire.input.is_empty(), "the rest waits");
    // Its silence is ours.
    wire.pass(1000).expect("it is not blamed");
    let mut pongs = 0;
    while wire.flow.full {
        pongs += wire.told().lines().count();
        wire.receive(b"").expect("taken");
    }
    pongs += wire.told().lines().count();
    assert_eq!(pongs, 100_000);
}

#[test]
fn an_alias_is_no_way_around_what_its_topic_forbids() {
    let world = World::new();
    let mut from = world.client("from");
    let mut watcher = world.client("watcher");
    watcher.subscribe("$SYS/broker/version", 0);
    let alias = list(&[(PropertyId::TopicAlias, PropertyValue::U16(1))]);
    let named = publish(1, 7, "$SYS/broker/version", "forged");
    assert_eq!(from.say(with_properties(named, &alias)), "PUBACK #7 0x87");
    let meant = publish(1, 8, "", "forged");
    assert_eq!(from.say(with_properties(meant, &alias)), "PUBACK #8 0x87");
    assert_eq!(watcher.told(), "");
}

#[test]
fn an_alias_makes_no_message_too_large() {
    let world = World::new();
    let mut to = world
        .join(
            Version::V5,
            "to",
            true,
            &[
                (PropertyId::TopicAliasMaximum, PropertyValue::U16(2)),
                (PropertyId::MaximumPacketSize, PropertyValue::U32(20)),
            ],
        )
        .0;
    let mut from = world.client("from");
    to.subscribe("topic/#", 0);
    from.publish(0, "topic/1", "12345678");
    from.publish(0, "topic/1", "1");
    assert_eq!(
        to.told(),
        "PUBLISH 0 topic/1 12345678\nPUBLISH 0 topic/1 1 topic_alias=1"
    );
}

#[test]
fn what_an_earlier_connection_left_open_does_not_count_against_this_one() {
    let world = World::new();
    let mut to = world.client("to");
    to.subscribe("x", 0);
    let (mut from, _) = world.keeper("from");
    for id in 1..=1024 {
        assert_eq!(from.say(publish(2, id, "x", "")), format!("PUBREC #{id}"));
    }
    from.lose();
    assert_eq!(to.told().lines().count(), 1024);
    let (mut from, _) = world.keeper("from");
    // These are known and not delivered again; the window of a connection begins with it (section 4.9).
    assert_eq!(from.say(publish(2, 5, "x", "")), "PUBREC #5");
    assert_eq!(to.told(), "");
    for id in 2001..=3024 {
        assert_eq!(from.say(publish(2, id, "x", "")), format!("PUBREC #{id}"));
    }
    assert_eq!(to.told().lines().count(), 1024);
    assert_eq!(from.ack(AckKind::PubRel, 2001), "PUBCOMP #2001");
    assert_eq!(from.say(publish(2, 2001, "x", "")), "PUBREC #2001");
    assert_eq!(
        from.fail(publish(2, 4000, "x", "")),
        (Code::Protocol, "DISCONNECT 0x93".to_owned())
    );
}
