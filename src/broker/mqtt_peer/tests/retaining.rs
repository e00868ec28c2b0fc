//! Retained messages: for whom, until when, how many; the look-up beside a naive one.

use super::super::retained::Retained;
use super::*;
use crate::broker::Message;
use crate::codec::mqtt::topic;
use proptest::prelude::*;

#[test]
fn the_last_one_of_each_topic_is_for_new_subscriptions() {
    let world = World::new();
    let mut from = world.client("from");
    from.retain("a/1", "x");
    from.retain("a/1", "y");
    from.retain("a/2", "z");
    from.retain("$b", "w");
    let mut to = world.client("to");
    assert_eq!(
        to.subscribe_with(filter("#", 1), 5),
        "SUBACK #1 0x00\nPUBLISH 0 retain a/1 y subscription_identifier=5\n\
         PUBLISH 0 retain a/2 z subscription_identifier=5"
            .replace("0x00", "0x01")
    );
    assert_eq!(
        to.subscribe("$b", 0),
        "SUBACK #1 0x00\nPUBLISH 0 retain $b w"
    );
    from.retain("a/1", "");
    // Whoever is subscribed hears of the end as of any message.
    assert_eq!(to.told(), "PUBLISH 0 a/1 subscription_identifier=5");
    assert_eq!(
        to.subscribe("a/+", 0),
        "SUBACK #1 0x00\nPUBLISH 0 retain a/2 z"
    );
}

#[test]
fn retain_handling_says_when() {
    let world = World::new();
    world.client("from").retain("a", "x");
    let mut to = world.client("to");
    let with = |retain_handling| Filter {
        retain_handling,
        ..filter("a", 0)
    };
    let (with_it, without) = ("SUBACK #1 0x00\nPUBLISH 0 retain a x", "SUBACK #1 0x00");
    assert_eq!(to.subscribe_with(with(2), 0), without);
    assert_eq!(to.subscribe_with(with(1), 0), without);
    assert_eq!(to.subscribe_with(with(0), 0), with_it);
    to.unsubscribe("a");
    assert_eq!(to.subscribe_with(with(1), 0), with_it);
}

#[test]
fn a_retained_message_expires() {
    let world = World::new();
    let mut from = world.client("from");
    let properties = list(&[(PropertyId::MessageExpiryInterval, PropertyValue::U32(10))]);
    let Packet::Publish(publish) = with_properties(publish(1, 1, "a", "x"), &properties) else {
        return;
    };
    let retain = true;
    from.say(Packet::Publish(Publish { retain, ..publish }));
    let mut to = world.client("to");
    to.now += Duration::from_secs(4);
    assert_eq!(
        to.subscribe("a", 1),
        "SUBACK #1 0x01\nPUBLISH 1 #1 retain a x message_expiry_interval=6"
    );
    to.now += Duration::from_secs(6);
    assert_eq!(to.subscribe("a", 0), "SUBACK #1 0x00");
}

#[test]
fn they_are_bounded_and_who_is_too_much_is_told() {
    let world = World::with(Settings {
        max_retained_bytes: 1000,
        ..Settings::default()
    });
    let mut from = world.client("from");
    let mut to = world.client("to");
    to.subscribe("#", 0);
    let retained = |payload: &str, from: &mut Wire| {
        let Packet::Publish(publish) = publish(1, 1, payload, payload) else {
            return String::new();
        };
        let retain = true;
        from.say(Packet::Publish(Publish { retain, ..publish }))
    };
    let large = "x".repeat(300);
    assert_eq!(retained(&large, &mut from), "PUBACK #1");
    assert!(to.told().starts_with("PUBLISH"));
    let other = "y".repeat(300);
    assert_eq!(retained(&other, &mut from), "PUBACK #1 0x97");
    assert_eq!(to.told(), "");
    // Who cannot be told is not refused the rest.
    from.retain(&other, &other);
    assert!(to.told().starts_with("PUBLISH"));
    // One that takes the place of another.
    assert_eq!(retained(&large, &mut from), "PUBACK #1");
    from.retain(&large, "");
    assert_eq!(retained(&other, &mut from), "PUBACK #1");
}

#[test]
fn a_rush_of_them_does_not_count_against_the_client() {
    let world = World::with(Settings {
        max_queue_bytes: 1000,
        ..Settings::default()
    });
    let mut from = world.client("from");
    for topic in 0..100 {
        from.retain(&topic.to_string(), "x");
    }
    let mut to = world.client("to");
    to.send(Packet::Subscribe(Subscribe {
        packet_id: 1,
        properties: Properties::NONE,
        filters: vec![filter("#", 0)],
    }))
    .expect("taken");
    from.publish(0, "a", "y");
    to.pass(0).expect("it may read them yet");
    assert_eq!(to.told().lines().count(), 102);
    // But not if it asks and asks, and does not read.
    for _ in 0..2 {
        to.send(Packet::Subscribe(Subscribe {
            packet_id: 1,
            properties: Properties::NONE,
            filters: vec![filter("#", 0)],
        }))
        .expect("taken");
    }
    assert_eq!(to.pass(0).map_err(|error| error.code), Err(Code::Full));
}

fn levels() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        Just("a"),
        Just("b"),
        Just(""),
        Just("a-b"),
        Just("a0"),
        Just("a!"),
        Just("$c")
    ];
    proptest::collection::vec(level, 1..4).prop_map(|levels| levels.join("/"))
}

proptest! {
    #[test]
    fn the_look_up_finds_what_matches(
        topics in proptest::collection::btree_set(levels(), 0..40),
        mut filter in levels(),
        wild in any::<[bool; 3]>(),
        rest in any::<bool>(),
    ) {
        let mut levels: Vec<_> = filter.split('/').map(str::to_owned).collect();
        for (level, wild) in levels.iter_mut().zip(wild) {
            if wild {
                *level = "+".to_owned();
            }
        }
        if rest {
            levels.push("#".to_owned());
        }
        filter = levels.join("/");
        prop_assume!(topic::check_filter(&filter).is_ok());
        let now = Instant::now();
        let mut retained = Retained::default();
        for topic in topics.iter().filter(|topic| !topic.is_empty()) {
            let message = Message {
                topic: topic.clone().into(),
                payload: b"x"[..].into(),
                ..Message::default()
            };
            prop_assert!(retained.store(&Arc::new(message), now, usize::MAX));
        }
        let found: Vec<_> = retained
            .matching(filter.as_bytes(), now)
            .iter()
            .map(|message| String::from_utf8_lossy(&message.topic).into_owned())
            .collect();
        let expected: Vec<_> = topics
            .iter()
            .filter(|name| !name.is_empty() && topic::matches(&filter, name))
            .cloned()
            .collect();
        prop_assert_eq!(found, expected, "{}", filter);
    }
}

#[test]
fn who_reads_slowly_and_asks_again_does_not_raise_its_bound() {
    let world = World::with(Settings {
        max_queue_bytes: 100_000,
        ..Settings::default()
    });
    let mut from = world.client("from");
    let payload = "x".repeat(10_000);
    for topic in 0..43 {
        from.retain(&topic.to_string(), &payload);
    }
    let mut to = world.client("to");
    for _ in 0..10 {
        to.send(Packet::Subscribe(Subscribe {
            packet_id: 1,
            properties: Properties::NONE,
            filters: vec![filter("#", 0)],
        }))
        .expect("taken");
        // All but what is less than the bound.
        for _ in 0..3 {
            to.written();
        }
    }
    let mut taken = 0;
    while to.pass(0).is_ok() {
        from.publish(0, "a", &payload);
        taken += 1;
        assert!(taken < 60, "it is bounded");
    }
}
