//! Sessions that outlive their connections.

use super::*;

#[test]
fn a_kept_session_receives_meanwhile() {
    let mut world = World::new();
    for version in [Version::V311, Version::V5] {
        let hour = (PropertyId::SessionExpiryInterval, PropertyValue::U32(3600));
        let properties = match version {
            Version::V311 => vec![],
            Version::V5 => vec![hour],
        };
        let (mut to, told) = world.join(version, "to", false, &properties);
        assert!(!told.contains("present"));
        to.subscribe("a/#", 2);
        let mut from = world.client("from");
        from.publish(2, "a", "1");
        from.ack(AckKind::PubRel, 7);
        assert_eq!(to.told(), "PUBLISH 2 #1 a 1");
        to.lose();
        world.pass(0);
        assert_eq!(from.publish(1, "a", "2"), "PUBACK #7");
        // Nobody waits for QoS 0.
        from.publish(0, "a", "0");
        assert_eq!(from.publish(2, "a", "3"), "PUBREC #7");
        let (mut to, told) = world.join(version, "to", false, &properties);
        assert!(told.starts_with("CONNACK 0x00 present"), "{told}");
        let messages: Vec<_> = told.lines().skip(1).collect();
        assert_eq!(
            messages,
            [
                "PUBLISH 2 #1 dup a 1",
                "PUBLISH 1 #2 a 2",
                "PUBLISH 2 #3 a 3"
            ]
        );
        assert_eq!(to.ack(AckKind::PubRec, 1), "PUBREL #1");
        assert_eq!(to.ack(AckKind::PubAck, 2), "");
        to.lose();
        world.pass(3599);
        let (mut to, told) = world.join(version, "to", false, &properties);
        let messages: Vec<_> = told.lines().skip(1).collect();
        assert_eq!(messages, ["PUBREL #1", "PUBLISH 2 #3 dup a 3"]);
        assert_eq!(to.ack(AckKind::PubComp, 1), "");
        assert_eq!(to.ack(AckKind::PubRec, 3), "PUBREL #3");
        assert_eq!(to.ack(AckKind::PubComp, 3), "");
        // Its packet identifiers go on.
        from.ack(AckKind::PubRel, 7);
        from.publish(1, "a", "4");
        assert_eq!(to.told(), "PUBLISH 1 #4 a 4");
        to.leave(Reason::NORMAL_DISCONNECTION);
        // A clean start forgets it.
        let (mut to, told) = world.join(version, "to", true, &[]);
        assert!(!told.contains("present"), "{told}");
        assert_eq!(
            from.publish(1, "a", "5"),
            match version {
                Version::V311 | Version::V5 => "PUBACK #7 0x10",
            }
        );
        assert_eq!(to.told(), "");
        to.lose();
        from.lose();
    }
}

#[test]
fn a_session_ends_when_its_time_is_over() {
    let mut world = World::new();
    let (mut to, _) = world.keeper("to");
    to.subscribe("a", 1);
    to.lose();
    world.pass(3600);
    world.pass(3599);
    assert!(world.keeper("to").1.contains("present"));
    // That one came and went in the same moment.
    world.pass(0);
    world.pass(3600);
    assert!(!world.keeper("to").1.contains("present"));
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
fn nothing_is_left_to_wait_for_of_a_session_that_was_begun_anew() {
    let mut world = World::new();
    let clock: Weak<dyn Bell> = Weak::<Rung>::new();
    world.keeper("a").0.lose();
    world.pass(0);
    assert!(world.broker.deadline(&clock).is_some());
    let back = world.client("a");
    assert!(world.broker.deadline(&clock).is_none());
    back.lose();
    world.keeper("a").0.lose();
    world.pass(0);
    let _back = world.keeper("a");
    assert!(world.broker.deadline(&clock).is_none());
}

#[test]
fn a_client_may_change_its_mind_as_it_leaves() {
    let mut world = World::new();
    let leave = |seconds: u32| {
        let list = list(&[(
            PropertyId::SessionExpiryInterval,
            PropertyValue::U32(seconds),
        )]);
        move |mut wire: Wire| {
            let told = wire.send(Packet::Disconnect(Disconnect {
                reason: Reason::SUCCESS,
                properties: list.as_properties(),
            }));
            (told.map_err(|_| wire.last_words()), wire)
        }
    };
    let (told, wire) = leave(0)(world.keeper("a").0);
    assert_eq!(told, Ok(()));
    wire.lose();
    assert!(!world.keeper("a").1.contains("present"));
    let (told, wire) = leave(5)(world.keeper("a").0);
    assert_eq!(told, Ok(()));
    wire.lose();
    world.pass(0);
    world.pass(6);
    assert!(!world.keeper("a").1.contains("present"));
    // But not from nothing to something.
    let (told, _) = leave(5)(world.client("b"));
    assert_eq!(told, Err("DISCONNECT 0x82".to_owned()));
}

#[test]
fn sessions_are_kept_for_a_week_at_the_most() {
    let world = World::new();
    let ever = (
        PropertyId::SessionExpiryInterval,
        PropertyValue::U32(u32::MAX),
    );
    let (_, told) = world.join(Version::V5, "a", false, &[ever]);
    assert!(told.contains("session_expiry_interval=604800"), "{told}");
}

#[test]
fn exactly_once_holds_across_connections() {
    let world = World::new();
    let (mut from, _) = world.keeper("from");
    let mut to = world.client("to");
    to.subscribe("a", 0);
    assert_eq!(from.publish(2, "a", "1"), "PUBREC #7");
    from.lose();
    let (mut from, told) = world.keeper("from");
    assert!(told.contains("present"));
    assert_eq!(from.publish(2, "a", "1"), "PUBREC #7");
    assert_eq!(from.ack(AckKind::PubRel, 7), "PUBCOMP #7");
    assert_eq!(to.told(), "PUBLISH 0 a 1");
}

#[test]
fn a_session_that_is_taken_over_goes_on() {
    let world = World::new();
    let (mut first, _) = world.keeper("a");
    first.subscribe("x", 1);
    let mut from = world.client("from");
    from.publish(1, "x", "1");
    assert_eq!(first.told(), "PUBLISH 1 #1 x 1");
    from.publish(1, "x", "2");
    let (mut second, told) = world.keeper("a");
    let messages: Vec<_> = told.lines().skip(1).collect();
    assert_eq!(messages, ["PUBLISH 1 #1 dup x 1", "PUBLISH 1 #2 x 2"]);
    assert_eq!(first.told(), "");
    assert!(first.pass(0).is_err());
    first.lose();
    from.publish(1, "x", "3");
    assert_eq!(second.told(), "PUBLISH 1 #3 x 3");
}

#[test]
fn what_waits_is_bounded_and_the_newest_goes() {
    let mut world = World::with(Settings {
        max_queue_bytes: 1000,
        ..Settings::default()
    });
    let (mut to, _) = world.keeper("to");
    to.subscribe("a", 1);
    to.lose();
    world.pass(0);
    let mut from = world.client("from");
    let mut taken = 0;
    while from.publish(1, "a", &"x".repeat(100)) == "PUBACK #7" {
        taken += 1;
        assert!(taken < 100, "it is bounded");
    }
    let (mut to, told) = world.keeper("to");
    assert_eq!(told.lines().count(), 1 + taken);
    to.pass(0).expect("nobody cuts it off for that");
    assert_eq!(from.publish(1, "a", "y"), "PUBACK #7 0x10");
}

#[test]
fn a_smaller_window_holds_for_what_is_sent_again() {
    let world = World::new();
    let (mut to, _) = world.keeper("to");
    to.subscribe("a", 1);
    let mut from = world.client("from");
    for payload in ["1", "2", "3"] {
        from.publish(1, "a", payload);
    }
    assert_eq!(to.told().lines().count(), 3);
    to.lose();
    from.publish(1, "a", "4");
    let hour = (PropertyId::SessionExpiryInterval, PropertyValue::U32(3600));
    let one = (PropertyId::ReceiveMaximum, PropertyValue::U16(1));
    let (mut to, told) = world.join(Version::V5, "to", false, &[hour, one]);
    let messages: Vec<_> = told.lines().skip(1).collect();
    assert_eq!(messages, ["PUBLISH 1 #1 dup a 1"]);
    assert_eq!(to.ack(AckKind::PubAck, 1), "PUBLISH 1 #2 dup a 2");
    assert_eq!(to.ack(AckKind::PubAck, 2), "PUBLISH 1 #3 dup a 3");
    assert_eq!(to.ack(AckKind::PubAck, 3), "PUBLISH 1 #4 a 4");
}

#[test]
fn there_are_no_more_sessions_away_than_connections_may_be() {
    let world = World::with(Settings {
        max_connections: 1,
        ..Settings::default()
    });
    let (mut one, _) = world.keeper("1");
    let (two, _) = world.keeper("2");
    one.subscribe("x", 0);
    two.lose();
    one.lose();
    assert!(world.keeper("2").1.contains("present"));
    assert!(!world.keeper("1").1.contains("present"));
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
fn what_has_expired_makes_room() {
    let world = World::with(Settings {
        max_queue_bytes: 1000,
        ..Settings::default()
    });
    let (mut to, _) = world.keeper("to");
    to.subscribe("a", 1);
    to.lose();
    let mut from = world.client("from");
    let second = list(&[(PropertyId::MessageExpiryInterval, PropertyValue::U32(1))]);
    let payload = "x".repeat(100);
    let expiring = |from: &mut Wire| {
        let packet = publish(1, 7, "a", &payload);
        from.say(with_properties(packet, &second))
    };
    let mut taken = 0;
    while expiring(&mut from) == "PUBACK #7" {
        taken += 1;
        assert!(taken < 100, "it is bounded");
    }
    from.now += Duration::from_secs(2);
    assert_eq!(from.publish(1, "a", "fresh"), "PUBACK #7");
    let (_, told) = world.keeper("to");
    let messages: Vec<_> = told.lines().skip(1).collect();
    assert_eq!(messages, ["PUBLISH 1 #1 a fresh"]);
}

#[test]
fn what_was_released_before_the_connection_broke_is_no_error() {
    let world = World::new();
    let (mut from, _) = world.keeper("from");
    assert_eq!(from.publish(2, "a", "x"), "PUBREC #7 0x10");
    assert_eq!(from.ack(AckKind::PubRel, 7), "PUBCOMP #7");
    assert_eq!(from.ack(AckKind::PubRel, 7), "PUBCOMP #7 0x92");
    from.lose();
    let (mut from, _) = world.keeper("from");
    assert_eq!(from.ack(AckKind::PubRel, 7), "PUBCOMP #7");
}
