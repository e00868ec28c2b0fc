//! Wills: when they are published, and when not.

use super::*;

/// A client with a will of that delay, whose session is kept for so long.
fn willing(world: &World, delay: u32, expiry: u32) -> Wire {
    let mut wire = world.wire();
    let of_will = list(&[(PropertyId::WillDelayInterval, PropertyValue::U32(delay))]);
    let properties = list(&[(
        PropertyId::SessionExpiryInterval,
        PropertyValue::U32(expiry),
    )]);
    wire.say(Packet::Connect(Connect {
        clean_start: false,
        will: Some(will("will", "gone", of_will.as_properties())),
        properties: properties.as_properties(),
        ..connect(Version::V5, "a")
    }));
    wire
}

fn watcher(world: &World) -> Wire {
    let mut wire = world.client("watcher");
    wire.subscribe("will", 0);
    wire
}

const GONE: &str = "PUBLISH 0 will gone";

#[test]
fn it_is_published_when_the_connection_breaks() {
    let mut world = World::new();
    let mut watcher = watcher(&world);
    let mut old = world.wire();
    old.say(Packet::Connect(Connect {
        will: Some(Will {
            qos: Qos::AtLeastOnce,
            retain: true,
            ..will("will", "gone", Properties::NONE)
        }),
        ..connect(Version::V311, "old")
    }));
    old.lose();
    world.pass(0);
    assert_eq!(watcher.told(), GONE);
    let mut late = world.client("late");
    assert_eq!(
        late.subscribe("will", 1),
        "SUBACK #1 0x01\nPUBLISH 1 #1 retain will gone"
    );
    willing(&world, 0, 0).leave(Reason::DISCONNECT_WITH_WILL);
    world.pass(0);
    assert_eq!(watcher.told(), GONE);
    willing(&world, 0, 100).leave(Reason::UNSPECIFIED_ERROR);
    world.pass(0);
    assert_eq!(watcher.told(), GONE);
    let mut silent = willing(&world, 0, 100);
    assert!(silent.pass(91).is_err());
    silent.lose();
    world.pass(91);
    assert_eq!(watcher.told(), GONE);
}

#[test]
fn it_is_not_for_what_is_the_brokers_own() {
    let refused = Packet::Connect(Connect {
        will: Some(will("$SYS/broker/version", "x", Properties::NONE)),
        ..connect(Version::V5, "a")
    });
    let told = (Code::Refused, "CONNACK 0x87".to_owned());
    assert_eq!(World::new().wire().fail(refused), told);
}

#[test]
fn a_good_bye_takes_it_back() {
    let mut world = World::new();
    let mut watcher = watcher(&world);
    willing(&world, 0, 0).leave(Reason::NORMAL_DISCONNECTION);
    willing(&world, 0, 100).leave(Reason::NORMAL_DISCONNECTION);
    world.pass(0);
    world.pass(100);
    assert_eq!(watcher.told(), "");
}

#[test]
fn it_waits_for_the_client_to_come_back() {
    let mut world = World::new();
    let mut watcher = watcher(&world);
    willing(&world, 10, 100).lose();
    world.pass(0);
    world.pass(9);
    assert_eq!(watcher.told(), "");
    world.pass(1);
    assert_eq!(watcher.told(), GONE);
    world.pass(100);
    assert_eq!(watcher.told(), "");

    willing(&world, 10, 100).lose();
    world.pass(9);
    let back = willing(&world, 10, 100);
    world.pass(9);
    assert_eq!(watcher.told(), "");
    back.leave(Reason::NORMAL_DISCONNECTION);
    world.pass(0);
    world.pass(1000);
    assert_eq!(watcher.told(), "");
}

#[test]
fn the_end_of_the_session_does_not_wait_for_it() {
    let mut world = World::new();
    let mut watcher = watcher(&world);
    willing(&world, 10, 0).lose();
    world.pass(0);
    assert_eq!(watcher.told(), GONE);
    willing(&world, 10, 5).lose();
    world.pass(0);
    world.pass(4);
    assert_eq!(watcher.told(), "");
    world.pass(1);
    assert_eq!(watcher.told(), GONE);
    // A clean start ends it.
    willing(&world, 10, 100).lose();
    let _other = world.client("a");
    assert_eq!(watcher.told(), GONE);
    world.pass(100);
    assert_eq!(watcher.told(), "");
}

#[test]
fn a_take_over_is_a_broken_connection() {
    let mut world = World::new();
    let mut watcher = watcher(&world);
    let first = willing(&world, 0, 100);
    let second = willing(&world, 10, 100);
    assert_eq!(watcher.told(), GONE);
    first.lose();
    let third = willing(&world, 10, 100);
    assert_eq!(watcher.told(), "");
    second.lose();
    world.pass(0);
    world.pass(50);
    assert_eq!(watcher.told(), "");
    third.lose();
    world.pass(0);
    world.pass(10);
    assert_eq!(watcher.told(), GONE);
}

#[test]
fn its_properties_are_the_messages_and_its_time_begins_when_it_is_published() {
    let mut world = World::new();
    let mut watcher = watcher(&world);
    let of_will = list(&[
        (PropertyId::WillDelayInterval, PropertyValue::U32(10)),
        (PropertyId::MessageExpiryInterval, PropertyValue::U32(5)),
        (PropertyId::ContentType, PropertyValue::Text("text")),
    ]);
    let mut wire = world.wire();
    let hour = list(&[(PropertyId::SessionExpiryInterval, PropertyValue::U32(3600))]);
    wire.say(Packet::Connect(Connect {
        will: Some(will("will", "gone", of_will.as_properties())),
        properties: hour.as_properties(),
        ..connect(Version::V5, "a")
    }));
    wire.lose();
    world.pass(0);
    world.pass(10);
    watcher.now = world.now;
    assert_eq!(
        watcher.told(),
        "PUBLISH 0 will gone message_expiry_interval=5 content_type=text"
    );
}
