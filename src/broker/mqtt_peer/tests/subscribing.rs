//! Subscriptions: their options, their ends, their limits, what observers hear.

use super::*;
use crate::broker::{Happening, Notice};
use std::sync::Mutex;

#[test]
fn each_matching_subscription_gets_its_own_copy_as_its_options_say() {
    let world = World::new();
    let (mut to, mut from) = (world.client("to"), world.client("from"));
    to.subscribe_with(filter("a/+", 1), 1);
    to.subscribe_with(filter("a/#", 0), 268_435_455);
    to.subscribe_with(filter("a/b", 2), 0);
    from.publish(2, "a/b", "x");
    let told = to.told();
    let mut lines: Vec<_> = told.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 3, "{told}");
    assert_eq!(
        lines[0],
        "PUBLISH 0 a/b x subscription_identifier=268435455"
    );
    assert!(lines[1].starts_with("PUBLISH 1 #") && lines[1].ends_with("subscription_identifier=1"));
    assert!(lines[2].starts_with("PUBLISH 2 #") && lines[2].ends_with("a/b x"));

    let mut own = world.client("own");
    own.subscribe_with(
        Filter {
            no_local: true,
            ..filter("c", 0)
        },
        0,
    );
    assert_eq!(own.publish(1, "c", "x"), "PUBACK #7 0x10");
    from.publish(0, "c", "y");
    assert_eq!(own.told(), "PUBLISH 0 c y");

    let mut kept = world.client("kept");
    kept.subscribe("d", 0);
    let mut marked = world.client("marked");
    marked.subscribe_with(
        Filter {
            retain_as_published: true,
            ..filter("d", 0)
        },
        0,
    );
    from.retain("d", "x");
    assert_eq!(kept.told(), "PUBLISH 0 d x");
    assert_eq!(marked.told(), "PUBLISH 0 retain d x");
}

#[test]
fn overlapping_subscriptions_that_nothing_tells_apart_get_one_copy() {
    let world = World::new();
    let (mut old, mut new, mut from) = (
        world.old_client("old"),
        world.client("new"),
        world.client("from"),
    );
    for to in [&mut old, &mut new] {
        to.subscribe("a/#", 0);
        to.subscribe("a/b", 2);
        to.subscribe("+/b", 1);
    }
    from.publish(2, "a/b", "x");
    assert_eq!(old.told(), "PUBLISH 2 #1 a/b x");
    assert_eq!(new.told(), "PUBLISH 2 #1 a/b x");
    from.publish(0, "a/b", "y");
    from.publish(0, "a/b", "y");
    assert_eq!(old.told(), "PUBLISH 0 a/b y\nPUBLISH 0 a/b y");
    // Whatever others there are among them, in whatever order.
    for (identifier, of_it) in ["a/+", "+/+", "#"].into_iter().enumerate() {
        let identifier = identifier as u32 + 1;
        new.subscribe_with(filter(of_it, 0), identifier);
        new.subscribe(&format!("$share/g/{of_it}"), 0);
    }
    new.subscribe("a/#", 0);
    new.told();
    from.publish(0, "a/b", "z");
    let told = new.told();
    let plain = told.lines().filter(|line| *line == "PUBLISH 0 a/b z");
    // One, and one for each of the shared.
    assert_eq!((told.lines().count(), plain.count()), (7, 4));
}

#[test]
fn a_subscription_that_is_made_again_is_changed() {
    let world = World::new();
    let (mut to, mut from) = (world.client("to"), world.client("from"));
    to.subscribe_with(filter("a/#", 0), 1);
    assert_eq!(to.subscribe_with(filter("a/#", 1), 2), "SUBACK #1 0x01");
    assert_eq!(to.subscribe_with(filter("a/#", 1), 2), "SUBACK #1 0x01");
    from.publish(1, "a", "x");
    assert_eq!(to.told(), "PUBLISH 1 #1 a x subscription_identifier=2");
    assert_eq!(
        world
            .broker
            .counters()
            .subscriptions
            .load(Ordering::Relaxed),
        1
    );
}

#[test]
fn nothing_comes_after_the_end_of_a_subscription() {
    let world = World::new();
    let (mut to, mut from) = (world.client("to"), world.client("from"));
    to.subscribe("a/#", 0);
    from.publish(0, "a/b", "x");
    assert_eq!(to.unsubscribe("a/#"), "PUBLISH 0 a/b x\nUNSUBACK #2 0x00");
    assert_eq!(to.unsubscribe("a/#"), "UNSUBACK #2 0x11");
    from.publish(0, "a/b", "x");
    assert_eq!(to.told(), "");
    assert_eq!(
        world
            .broker
            .counters()
            .subscriptions
            .load(Ordering::Relaxed),
        0
    );
    let mut old = world.old_client("old");
    assert_eq!(old.unsubscribe("x"), "UNSUBACK #2 ");
}

#[test]
fn subscriptions_are_limited() {
    let world = World::with(Settings {
        max_subscriptions: 2,
        ..Settings::default()
    });
    let (mut new, mut old) = (world.client("new"), world.old_client("old"));
    for (wire, refusal) in [(&mut new, "SUBACK #1 0x97"), (&mut old, "SUBACK #1 0x80")] {
        wire.subscribe("a", 0);
        wire.subscribe("b", 0);
        assert_eq!(wire.subscribe("c", 0), refusal);
        assert_eq!(wire.subscribe("a", 1), "SUBACK #1 0x01");
        wire.unsubscribe("a");
        assert_eq!(wire.subscribe("c", 0), "SUBACK #1 0x00");
    }
}

#[test]
fn wildcards_do_not_match_what_is_the_brokers_own() {
    let world = World::new();
    let (mut to, mut from) = (world.client("to"), world.client("from"));
    to.subscribe("#", 0);
    to.subscribe("+/a", 0);
    from.publish(0, "$x/a", "1");
    assert_eq!(to.told(), "");
    to.subscribe("$x/#", 0);
    from.publish(0, "$x/a", "2");
    assert_eq!(to.told(), "PUBLISH 0 $x/a 2");
}

#[test]
fn the_broker_tells_of_itself_to_who_asks() {
    let mut world = World::new();
    let mut wire = world.client("a");
    assert!(world
        .broker
        .deadline(&(Weak::<Rung>::new() as Weak<dyn Bell>))
        .is_none());
    let told = wire.subscribe("$SYS/broker/clients/+", 0);
    assert_eq!(
        told,
        "SUBACK #1 0x00\nPUBLISH 0 retain $SYS/broker/clients/total 1\n\
         PUBLISH 0 retain $SYS/broker/clients/connected 1\n\
         PUBLISH 0 retain $SYS/broker/clients/disconnected 0"
    );
    assert_eq!(
        wire.subscribe("$SYS/broker/uptime", 0),
        "SUBACK #1 0x00\nPUBLISH 0 retain $SYS/broker/uptime 0 seconds"
    );
    let other = world.client("b");
    assert_eq!(wire.told(), "");
    for _ in 0..2 {
        world.pass(10);
        let told = wire.told();
        assert!(
            told.contains("PUBLISH 0 $SYS/broker/clients/total 2"),
            "{told}"
        );
        assert_eq!(told.matches("uptime").count(), 1, "{told}");
    }
    other.lose();
    wire.unsubscribe("$SYS/broker/uptime");
    wire.lose();
    world.pass(10);
    world.pass(10);
    assert!(world
        .broker
        .deadline(&(Weak::<Rung>::new() as Weak<dyn Bell>))
        .is_none());
}

#[test]
fn observers_hear_of_it() {
    let world = World::new();
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let notes = heard.clone();
    world.broker.set_observer(Box::new(move |notice: Notice| {
        let text = String::from_utf8_lossy(&notice.text).into_owned();
        let line = format!(
            "{} {} {text}",
            notice.what.as_str(),
            notice.protocol.as_str()
        );
        notes.lock().expect("unpoisoned").push(line);
    }));
    for what in Happening::ALL {
        world.broker.observe(what);
    }
    let mut wire = world.client("a");
    wire.subscribe("x/#", 0);
    wire.subscribe("x/#", 1);
    wire.unsubscribe("x/#");
    wire.subscribe("y", 0);
    wire.lose();
    assert_eq!(
        *heard.lock().expect("unpoisoned"),
        [
            "connect mqtt ",
            "subscribe mqtt x/#",
            "unsubscribe mqtt x/#",
            "subscribe mqtt y",
            "unsubscribe mqtt y",
            "disconnect mqtt gone"
        ]
    );
}

/// A client whose session is kept, with a will of QoS 1 for `x` that is retained.
fn willing(world: &World) -> (Wire, String) {
    let mut wire = world.wire();
    let hour = list(&[(PropertyId::SessionExpiryInterval, PropertyValue::U32(3600))]);
    let told = wire.say(Packet::Connect(Connect {
        clean_start: false,
        properties: hour.as_properties(),
        will: Some(Will {
            qos: Qos::AtLeastOnce,
            retain: true,
            ..will("x", "will", Properties::NONE)
        }),
        ..connect(Version::V5, "own")
    }));
    (wire, told)
}

#[test]
fn no_local_is_of_the_client_and_not_of_its_connection() {
    let mut world = World::new();
    let mut other = world.client("other");
    other.subscribe("x", 0);
    let mut own = willing(&world).0;
    let no_local = Filter {
        no_local: true,
        ..filter("x", 1)
    };
    let subscribe = |wire: &mut Wire| wire.subscribe_with(no_local, 0);
    subscribe(&mut own);
    own.lose();
    world.pass(0);
    assert_eq!(other.told(), "PUBLISH 0 x will");
    // Neither what it published while it was away, nor what was retained of its own [MQTT-3.8.3-3].
    let (mut own, told) = willing(&world);
    assert_eq!(told.lines().count(), 1);
    assert_eq!(subscribe(&mut own), "SUBACK #1 0x01");
    // Nor the will of the connection that it takes over from.
    let (mut again, told) = willing(&world);
    assert_eq!(told.lines().count(), 1);
    assert_eq!(again.told(), "");
    other.publish(1, "x", "of another");
    assert_eq!(again.told(), "PUBLISH 1 #1 x of another");
}
