//! Shared subscriptions.

use super::*;

const SHARED: &str = "$share/g/a/#";

#[test]
fn each_message_goes_to_one_after_the_other() {
    let world = World::new();
    let mut members = ["1", "2", "3"].map(|id| world.client(id));
    let mut other = world.client("other");
    for member in &mut members {
        assert_eq!(member.subscribe(SHARED, 1), "SUBACK #1 0x01");
    }
    other.subscribe("$share/h/a/#", 0);
    let mut from = world.client("from");
    for payload in 0..6 {
        assert_eq!(from.publish(1, "a/b", &payload.to_string()), "PUBACK #7");
    }
    for (place, member) in members.iter_mut().enumerate() {
        let told = member.told();
        let expected = format!("PUBLISH 1 #1 a/b {place}\nPUBLISH 1 #2 a/b {}", place + 3);
        assert_eq!(told, expected);
    }
    assert_eq!(other.told().lines().count(), 6);
    let [mut first, second, third] = members;
    assert_eq!(first.unsubscribe(SHARED), "UNSUBACK #2 0x00");
    assert_eq!(first.unsubscribe(SHARED), "UNSUBACK #2 0x11");
    second.lose();
    third.lose();
    from.publish(1, "a/b", "x");
    assert_eq!(first.told(), "");
    other.lose();
    assert_eq!(from.publish(1, "a/b", "x"), "PUBACK #7 0x10");
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
fn what_a_member_has_not_acknowledged_goes_to_another_one() {
    let world = World::new();
    let (mut first, mut second) = (world.client("1"), world.keeper("2").0);
    let mut from = world.client("from");
    first.subscribe(SHARED, 2);
    for (qos, payload) in [(1, "1"), (2, "2"), (1, "3")] {
        from.publish(qos, "a", payload);
        from.ack(AckKind::PubRel, 7);
    }
    assert_eq!(first.told().lines().count(), 3);
    from.publish(2, "a", "4");
    second.subscribe(SHARED, 2);
    first.lose();
    // Of QoS 2, what the client may have is nobody else's [MQTT-4.8.2-5].
    assert_eq!(
        second.told(),
        "PUBLISH 1 #1 a 1\nPUBLISH 1 #2 a 3\nPUBLISH 2 #3 a 4"
    );
    // The same while its session is kept, where somebody else is there.
    let mut third = world.client("3");
    third.subscribe(SHARED, 1);
    second.lose();
    assert_eq!(third.told(), "PUBLISH 1 #1 a 1\nPUBLISH 1 #2 a 3");
    let (mut second, told) = world.keeper("2");
    assert_eq!(told.lines().nth(1), Some("PUBLISH 2 #3 dup a 4"));
    assert_eq!(second.ack(AckKind::PubRec, 3), "PUBREL #3");
}

#[test]
fn a_member_that_is_away_gets_what_nobody_else_takes() {
    let world = World::new();
    let (mut to, _) = world.keeper("to");
    to.subscribe(SHARED, 1);
    to.lose();
    let mut from = world.client("from");
    assert_eq!(from.publish(1, "a", "1"), "PUBACK #7");
    let mut other = world.client("other");
    other.subscribe(SHARED, 1);
    for payload in ["2", "3"] {
        from.publish(1, "a", payload);
    }
    assert_eq!(other.told(), "PUBLISH 1 #1 a 2\nPUBLISH 1 #2 a 3");
    let (_, told) = world.keeper("to");
    assert_eq!(
        told.lines().skip(1).collect::<Vec<_>>(),
        ["PUBLISH 1 #1 a 1"]
    );
}

#[test]
fn a_full_member_is_passed_over() {
    let world = World::with(Settings {
        max_queue_bytes: 1000,
        ..Settings::default()
    });
    let (mut slow, mut quick) = (world.client("slow"), world.client("quick"));
    let mut from = world.client("from");
    slow.subscribe(SHARED, 0);
    quick.subscribe(SHARED, 0);
    let mut got = 0;
    for _ in 0..100 {
        from.publish(0, "a", &"x".repeat(100));
        got += quick.told().lines().count();
    }
    slow.pass(0).expect("nobody cuts it off for that");
    assert_eq!(got + slow.told().lines().count(), 100);
    assert!(got > 80);
}

#[test]
fn retained_messages_are_not_for_it_and_no_local_is_forbidden() {
    let world = World::new();
    let mut from = world.client("from");
    from.retain("a", "x");
    assert_eq!(from.subscribe(SHARED, 0), "SUBACK #1 0x00");
    let mut wire = world.client("b");
    let error = wire.receive(b"\x82\x12\x00\x01\x00\x00\x0c$share/g/a/#\x04");
    assert!(error.is_err());
    assert_eq!(wire.last_words(), "DISCONNECT 0x82");
    // Version 3.1.1 has it from other brokers.
    let mut old = world.old_client("old");
    assert_eq!(old.subscribe(SHARED, 0), "SUBACK #1 0x00");
    from.unsubscribe(SHARED);
    from.publish(0, "a/b", "x");
    assert_eq!(old.told(), "PUBLISH 0 a/b x");
}

#[test]
fn what_no_other_member_has_room_for_stays_with_a_session_that_is_kept() {
    let world = World::with(Settings {
        max_queue_bytes: 1000,
        ..Settings::default()
    });
    let (mut leaver, _) = world.keeper("leaver");
    let mut full = world.client("full");
    let mut from = world.client("from");
    leaver.subscribe(SHARED, 1);
    full.subscribe(SHARED, 1);
    let mut taken = 0;
    for _ in 0..20 {
        if from.publish(1, "a", &"x".repeat(100)) == "PUBACK #7" {
            taken += 1;
        }
        // Some are on their way, others wait.
        if taken == 6 {
            leaver.told();
        }
    }
    leaver.lose();
    let got = full.told().lines().count();
    let (_, told) = world.keeper("leaver");
    assert_eq!(got + told.lines().skip(1).count(), taken);
}
