//! Subscriptions: asked for, renewed, refused, ended, and which of them a message is for.

use super::*;
use crate::codec::mqtt::{Place, Properties, PropertyList, Publish as Wire, Reason};

#[test]
fn subscriptions_come_before_what_is_queued_and_are_renewed() -> Outcome {
    for mut pair in both(&[]) {
        let new = pair.client.version == Version::V5;
        pair.emit(Some(1), 1, "a/b", "queued")?;
        pair.subscribe(2, 10, "a/+")?;
        pair.connect().settle()?;
        let log = pair.log();
        let mark = if new { " #" } else { "" };
        assert_eq!(log[1], format!("SUBSCRIBE 1 q1 rh0{mark} a/+"));
        assert_eq!(
            log[2],
            "PUBLISH 2 q1 a/b queued".replace("a/b", &log[2][13..16])
        );
        assert_eq!(pair.told()[..2], [CONNECTED, done(2)]);
        for present in [true, false] {
            if !present {
                pair.peer.forget_session();
            }
            pair.again()?;
            let handling = if new { 1 } else { 0 };
            let log = pair.log();
            assert!(
                log[1].ends_with(&format!("q1 rh{handling}{mark} a/+")),
                "{log:?}"
            );
            assert_eq!(log.len(), 2);
            assert_eq!(pair.told(), [CONNECTED]);
        }
    }
    Ok(())
}

#[test]
fn the_options_of_a_subscription_are_asked_for() -> Outcome {
    let given = [
        ("qos", number(2)),
        ("no_local", Value::Boolean(true)),
        ("retain_as_published", Value::Boolean(true)),
        ("retain_handling", number(2)),
    ];
    let mut pair = wired(&[]).ready()?;
    pair.subscribe_with(1, "a", &given)?;
    pair.settle()?;
    assert_eq!(pair.log(), ["SUBSCRIBE 1 q2 rh2 nl rap # a"]);
    pair.again()?;
    assert!(pair.log()[1].ends_with("q2 rh2 nl rap # a"));
    let outcome = pair.subscribe_with(2, "$share/g/a", &given);
    assert_eq!(outcome.map_err(|error| error.code), Err(Code::Invalid));
    Ok(())
}

#[test]
fn a_refused_subscription_is_told() -> Outcome {
    for mut pair in both(&[]) {
        pair.connect().settle()?;
        pair.subscribe(1, 10, "a")?;
        pair.settle()?;
        pair.peer.suback = Reason::UNSPECIFIED_ERROR;
        pair.subscribe(2, 11, "b")?;
        pair.settle()?;
        assert_eq!(pair.told(), [CONNECTED, done(1), failed(2, "refused")]);
        pair.again()?;
        assert_eq!(pair.told(), [CONNECTED, Told::State("unsubscribed")]);
        pair.log();
        pair.peer.suback = Reason::SUCCESS;
        pair.again()?;
        assert_eq!(pair.log().len(), 1, "neither is asked for any more");
        pair.subscribe(3, 12, "b")?;
        pair.settle()?;
        assert_eq!(
            pair.told(),
            [CONNECTED, done(3)],
            "the filter is free again"
        );
    }
    Ok(())
}

#[test]
fn unsubscribed_here_and_on_the_next_connection() -> Outcome {
    for mut pair in persistent(&[]) {
        pair.connect().settle()?;
        for (key, filter) in [(10, "a"), (11, "b"), (12, "c")] {
            pair.subscribe(key, key, filter)?;
        }
        pair.settle()?;
        pair.forget();
        pair.submit(Command::Unsubscribe { ticket: 1, key: 10 })?;
        pair.settle()?;
        assert_eq!(pair.told(), [done(1)]);
        assert_eq!(pair.log(), ["UNSUBSCRIBE 4 a"]);
        pair.peer.silent.push(Place::Unsubscribe);
        pair.submit(Command::Unsubscribe { ticket: 2, key: 11 })?;
        pair.settle()?;
        assert_eq!(pair.told(), []);
        pair.lose();
        assert_eq!(pair.told(), [done(2)], "it has no subscription here");
        pair.submit(Command::Unsubscribe { ticket: 3, key: 12 })?;
        assert_eq!(pair.told(), [done(3)]);
        pair.subscribe(4, 13, "c")?;
        pair.peer.silent.clear();
        pair.log();
        pair.connect().settle()?;
        let log: Vec<String> = pair
            .log()
            .iter()
            .map(|line| line.replace(" #", ""))
            .collect();
        let ids: Vec<&str> = log[1..]
            .iter()
            .filter_map(|line| line.split(' ').nth(1))
            .collect();
        assert_eq!(
            log[1..],
            [
                format!("UNSUBSCRIBE {} b", ids[0]),
                format!("UNSUBSCRIBE {} c", ids[1]),
                format!("SUBSCRIBE {} q1 rh0 c", ids[2]),
            ]
        );
        pair.again()?;
        assert_eq!(pair.log().len(), 2, "the ends are confirmed");
    }
    Ok(())
}

#[test]
fn what_was_never_asked_for_need_not_end() -> Outcome {
    for mut pair in persistent(&[]) {
        pair.connect().settle()?;
        pair.lose();
        for round in 0..100 {
            pair.subscribe(round, round, "a")?;
            pair.submit(Command::Unsubscribe {
                ticket: 1000 + round,
                key: round,
            })?;
        }
        pair.log();
        pair.connect().settle()?;
        assert_eq!(pair.log().len(), 1);
    }
    Ok(())
}

#[test]
fn a_server_that_lacks_a_kind_of_subscription_is_not_asked() -> Outcome {
    let off = PropertyValue::Byte(0);
    let mut pair = wired(&[]);
    for id in [
        PropertyId::WildcardSubscriptionAvailable,
        PropertyId::SharedSubscriptionAvailable,
        PropertyId::SubscriptionIdentifierAvailable,
    ] {
        pair.peer.grant(id, off);
    }
    let mut pair = pair.ready()?;
    pair.subscribe(1, 10, "a/+")?;
    pair.subscribe(2, 11, "$share/g/a")?;
    pair.subscribe(3, 12, "a")?;
    pair.settle()?;
    assert_eq!(
        pair.told(),
        [failed(1, "refused"), failed(2, "refused"), done(3)]
    );
    assert_eq!(pair.log(), ["SUBSCRIBE 1 q1 rh0 a"]);
    Ok(())
}

#[test]
fn overlapping_filters_get_a_message_each() -> Outcome {
    for mut pair in both(&[]) {
        pair.connect().settle()?;
        for (key, filter) in [(10, "a/b"), (11, "a/+"), (12, "$share/g/a/#"), (13, "c")] {
            pair.subscribe(key, key, filter)?;
        }
        pair.settle()?;
        pair.forget();
        pair.arrives(Qos::AtLeastOnce, "a/b", "x")?;
        let told = pair.told();
        let each = [10, 11, 12].map(|key| message(key, "a/b", "x"));
        assert_eq!(told, each);
        let last = pair.metas.pop().map(|meta| meta.id);
        pair.acknowledge(Verdict::Accept)?;
        assert_eq!(pair.log(), [] as [&str; 0], "one is still with the program");
        let (id, verdict) = (last.unwrap_or_default(), Verdict::Accept);
        pair.submit(Command::Acknowledge { id, verdict })?;
        pair.settle()?;
        assert_eq!(pair.log(), ["PUBACK 1"]);
    }
    Ok(())
}

#[test]
fn a_program_may_do_without_identifiers() -> Outcome {
    let mut pair = wired(&[("subscription_identifiers", Value::Boolean(false))]).ready()?;
    pair.subscribe(1, 10, "a/+")?;
    pair.subscribe(2, 11, "a/b")?;
    pair.settle()?;
    let expected = ["SUBSCRIBE 1 q1 rh0 a/+", "SUBSCRIBE 2 q1 rh0 a/b"];
    assert_eq!(pair.log(), expected);
    pair.forget();
    // A copy for each, as some servers send them: there is no telling which is whose.
    for copy in ["PUBACK 1", "PUBACK 2"] {
        pair.arrives(Qos::AtLeastOnce, "a/b", "x")?;
        assert_eq!(pair.told(), [10, 11].map(|key| message(key, "a/b", "x")));
        let held = pair.metas.split_off(1);
        pair.acknowledge(Verdict::Accept)?;
        assert_eq!(pair.log(), [] as [&str; 0], "one is still with the program");
        pair.metas = held;
        pair.acknowledge(Verdict::Accept)?;
        assert_eq!(pair.log(), [copy]);
        pair.forget();
    }
    Ok(())
}

#[test]
fn an_identifier_names_the_one_that_a_message_is_for() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.subscribe(1, 10, "a/b")?;
    pair.subscribe(2, 11, "a/+")?;
    pair.settle()?;
    let identifier = pair
        .client
        .routes
        .wish(11)
        .map_or(0, |wish| wish.identifier);
    let mut list = PropertyList::new();
    list.push(
        PropertyId::SubscriptionIdentifier,
        PropertyValue::Varint(identifier),
    )
    .expect("a valid property");
    pair.forget();
    pair.hears(&Packet::Publish(Wire {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: true,
        topic: "a/b",
        packet_id: 0,
        properties: list.as_properties(),
        payload: b"x",
    }))?;
    assert_eq!(pair.told(), [message(11, "a/b", "x")]);
    let meta = pair.metas.pop().expect("it has one");
    assert_eq!((meta.flags, meta.id, meta.extra), (RETAIN, 0, None));
    Ok(())
}

#[test]
fn more_subscriptions_than_identifiers_are_asked_for_in_turn() -> Outcome {
    let mut pair = wired(&[("max_in_flight", number(65_535))]).ready()?;
    pair.peer.silent.push(Place::Publish);
    for _ in 0..65_535 {
        pair.emit(None, 1, "a", "x")?;
    }
    pair.settle()?;
    pair.subscribe(1, 10, "b")?;
    pair.settle()?;
    assert_eq!(pair.told(), [], "it waits for an identifier");
    pair.peer.silent.clear();
    pair.again()?;
    assert_eq!(pair.told(), [CONNECTED, done(1)]);
    assert_eq!(pair.client.counters().in_flight, 0);
    Ok(())
}

#[test]
fn the_cost_of_a_subscription_does_not_grow_with_their_number() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    let properties = Properties::default();
    for key in 1..=20_000 {
        pair.subscribe(key, key, &format!("a/{key}"))?;
    }
    pair.settle()?;
    assert_eq!(pair.told().len(), 20_000);
    assert_eq!(pair.client.routes.route("a/77", properties), [77]);
    for key in 1..=20_000 {
        pair.submit(Command::Unsubscribe { ticket: key, key })?;
    }
    pair.settle()?;
    assert_eq!(pair.told().len(), 20_000);
    Ok(())
}
