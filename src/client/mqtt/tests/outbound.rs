//! Messages to the server: the flows of each QoS, the window, identifiers, and what a server does
//! not take.

use super::*;
use crate::codec::mqtt::{Ack, AckKind, Place, Reason};

#[test]
fn qos_0_is_answered_once_it_is_written() -> Outcome {
    for pair in both(&[]) {
        let mut pair = pair.ready()?;
        pair.emit(Some(1), 0, "a", "x")?;
        pair.transmit_only();
        pair.transmit_only();
        assert_eq!(pair.told(), [], "it is in the out-buffer still");
        pair.settle()?;
        assert_eq!(pair.told(), [done(1)]);
        assert_eq!(pair.log(), ["PUBLISH 0 q0 a x"]);
        pair.emit(Some(2), 0, "a", "y")?;
        pair.transmit_only();
        pair.lose();
        assert_eq!(pair.told(), [failed(2, "lost")]);
        assert_eq!(pair.client.counters().in_flight, 0);
    }
    Ok(())
}

#[test]
fn qos_1_and_2_are_answered_by_their_last_acknowledgement() -> Outcome {
    for pair in both(&[]) {
        let mut pair = pair.ready()?;
        let granted = match pair.client.version {
            Version::V5 => Value::Integer(0),
            Version::V311 => Value::Nil,
        };
        pair.emit(Some(1), 1 | RETAIN, "a", "x")?;
        pair.settle()?;
        assert_eq!(pair.told(), [Told::Answered(1, granted)]);
        pair.peer.silent.push(Place::PubRel);
        pair.emit(Some(2), 2, "a", "y")?;
        pair.settle()?;
        assert_eq!(pair.told(), []);
        assert_eq!(pair.client.counters().in_flight, 1);
        let (reason, properties) = (Reason::SUCCESS, Properties::default());
        let (kind, packet_id) = (AckKind::PubComp, 2);
        pair.hears(&Packet::Ack(Ack {
            kind,
            packet_id,
            reason,
            properties,
        }))?;
        assert_eq!(pair.told(), [done(2)]);
        assert_eq!(
            pair.log(),
            ["PUBLISH 1 q1 retain a x", "PUBLISH 2 q2 a y", "PUBREL 2"]
        );
        assert_eq!(pair.client.counters().in_flight, 0);
    }
    Ok(())
}

#[test]
fn a_refused_message_fails_with_the_reason() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.puback = Reason::NOT_AUTHORIZED;
    for qos in [1, 2] {
        pair.emit(Some(1), qos, "a", "x")?;
        pair.settle()?;
        assert_eq!(pair.told(), [failed(1, "refused")]);
        let said = pair.texts.pop().unwrap_or_default();
        assert!(said.contains("not authorized (0x87)"), "{said}");
    }
    assert_eq!(pair.log(), ["PUBLISH 1 q1 a x", "PUBLISH 2 q2 a x"]);
    pair.peer.puback = Reason::NO_MATCHING_SUBSCRIBERS;
    pair.emit(Some(2), 1, "a", "x")?;
    pair.settle()?;
    assert_eq!(pair.told(), [Told::Answered(2, Value::Integer(0x10))]);
    Ok(())
}

#[test]
fn a_broker_nearby_holds_no_more_of_qos_2_than_keeps_it_busy() -> Outcome {
    let window = [("max_in_flight", number(1000))];
    for (qos, away, most) in [(2, 1, 256), (2, 2, 1000), (1, 1, 1000)] {
        let mut pair = wired(&window);
        pair.connect().reach_peer();
        pair.pass(Duration::from_millis(away))?.settle()?;
        pair.peer.silent = vec![Place::Publish];
        pair.forget();
        for _ in 0..2000 {
            pair.emit(None, qos, "a", "x")?;
        }
        pair.settle()?;
        assert_eq!(pair.log().len(), most, "QoS {qos}, {away} ms away");
    }
    Ok(())
}

#[test]
fn no_more_are_in_flight_than_both_ends_want() -> Outcome {
    for (ours, theirs, most) in [(3, 5, 3), (5, 2, 2)] {
        let mut pair = wired(&[("max_in_flight", number(ours))]);
        let theirs = PropertyValue::U16(theirs);
        pair.peer.grant(PropertyId::ReceiveMaximum, theirs);
        let mut pair = pair.ready()?;
        pair.peer.silent = vec![Place::Publish];
        for ticket in 1..=10 {
            pair.emit(
                Some(ticket),
                1 + (ticket as u32 & 1),
                "a",
                &ticket.to_string(),
            )?;
        }
        pair.settle()?;
        assert_eq!(pair.log().len(), most);
        // The window counts while it is sent again, too.
        pair.again()?;
        assert_eq!(pair.log().len(), 1 + most);
        pair.peer.silent.clear();
        pair.peer.most_open = 0;
        pair.again()?;
        assert!(pair.peer.most_open <= most);
        let mut got = std::mem::take(&mut pair.peer.got);
        let once = got
            .iter()
            .filter(|payload| ["1", "3", "5", "7", "9"].contains(&&payload[..]));
        assert_eq!(once.count(), 5, "QoS 2 is had once");
        got.sort_unstable();
        got.dedup();
        assert_eq!(got.len(), 10);
        assert_eq!(pair.told().len(), 2 + 10);
    }
    Ok(())
}

#[test]
fn identifiers_go_round_and_never_meet() -> Outcome {
    for pair in persistent(&[("max_in_flight", number(60_000))]) {
        let mut pair = pair.ready()?;
        let mut key = 0;
        for block in 0..70 {
            // Ten are left unanswered for three blocks, then sent again.
            pair.peer.silent = match block % 4 {
                0 => vec![Place::Publish],
                2 => vec![Place::PubRel],
                _ => vec![],
            };
            for at in 0..10 {
                pair.emit(None, 1 + at % 2, "a", &format!("{block}/{at}"))?;
            }
            pair.settle()?;
            pair.peer.silent.clear();
            for at in 10..1000 {
                pair.emit(None, 1 + at % 2, "a", &format!("{block}/{at}"))?;
            }
            key += 1;
            pair.subscribe(key, key, &format!("f{key}"))?;
            pair.settle()?;
            if block % 4 == 3 {
                pair.again()?;
            }
        }
        pair.again()?;
        let mut got = std::mem::take(&mut pair.peer.got);
        assert!(got.len() >= 70_000);
        got.sort_unstable();
        got.dedup();
        assert_eq!(got.len(), 70_000);
        assert_eq!(pair.client.counters().in_flight, 0);
    }
    Ok(())
}

#[test]
fn what_the_server_does_not_take_is_refused_here() -> Outcome {
    let mut pair = wired(&[]);
    pair.peer
        .grant(PropertyId::MaximumQos, PropertyValue::Byte(1));
    pair.peer
        .grant(PropertyId::RetainAvailable, PropertyValue::Byte(0));
    pair.peer
        .grant(PropertyId::MaximumPacketSize, PropertyValue::U32(100));
    pair.peer
        .grant(PropertyId::TopicAliasMaximum, PropertyValue::U16(10));
    let mut pair = pair.ready()?;
    let fits = "x".repeat(100 - 2 - 2 - 7 - 2 - 1);
    pair.emit(Some(1), 2, "a/topic", "x")?;
    pair.emit(Some(2), 1 | RETAIN, "a/topic", "x")?;
    pair.emit(Some(3), 1, "a/topic", &format!("{fits}x"))?;
    pair.settle()?;
    let refused = [1, 2, 3].map(|ticket| failed(ticket, "refused"));
    assert_eq!(pair.told(), refused);
    assert_eq!(pair.log(), [] as [&str; 0]);
    pair.emit(Some(4), 1, "a/topic", &fits)?;
    pair.settle()?;
    assert_eq!(
        pair.log(),
        [format!("PUBLISH 1 q1 a/topic {fits}")],
        "with an alias it would not fit"
    );
    assert_eq!(pair.client.counters().queued, 0);
    Ok(())
}

#[test]
fn what_the_next_server_does_not_take_is_refused_when_it_is_sent_again() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.silent.push(Place::Publish);
    pair.emit(Some(1), 1, "a", &"x".repeat(100))?;
    pair.emit(Some(2), 1, "a", "x")?;
    pair.settle()?;
    pair.peer.silent.clear();
    pair.peer
        .grant(PropertyId::MaximumPacketSize, PropertyValue::U32(50));
    pair.peer.forget_session();
    pair.again()?;
    let expected = [
        CONNECTED,
        failed(1, "refused"),
        Told::Answered(2, number(0)),
    ];
    assert_eq!(pair.told(), expected);
    Ok(())
}

#[test]
fn a_topic_is_named_once_on_each_connection() -> Outcome {
    let mut pair = wired(&[]);
    let two = PropertyValue::U16(2);
    pair.peer.grant(PropertyId::TopicAliasMaximum, two);
    let mut pair = pair.ready()?;
    for topic in [
        "sensors/1",
        "sensors/1",
        "sensors/2",
        "sensors/3",
        "sensors/1",
    ] {
        pair.emit(None, 0, topic, "x")?;
    }
    pair.settle()?;
    assert_eq!(
        pair.log(),
        [
            "PUBLISH 0 q0 sensors/1~1 x",
            "PUBLISH 0 q0 ~1 x",
            "PUBLISH 0 q0 sensors/2~2 x",
            "PUBLISH 0 q0 sensors/3 x",
            "PUBLISH 0 q0 ~1 x",
        ]
    );
    pair.again()?;
    pair.emit(None, 0, "sensors/2", "x")?;
    pair.settle()?;
    assert_eq!(pair.log()[1..], ["PUBLISH 0 q0 sensors/2~1 x"]);
    Ok(())
}

#[test]
fn answers_to_nothing() -> Outcome {
    for pair in both(&[]) {
        let mut pair = pair.ready()?;
        let new = pair.client.version == Version::V5;
        for kind in [AckKind::PubAck, AckKind::PubComp] {
            pair.hears(&ack(kind, 77))?;
        }
        assert_eq!(pair.log(), [] as [&str; 0]);
        pair.hears(&ack(AckKind::PubRec, 77))?;
        let release = if new { "PUBREL 77 0x92" } else { "PUBREL 77" };
        assert_eq!(pair.log(), [release]);
        pair.forget();
        pair.peer.silent.push(Place::Publish);
        pair.emit(Some(1), 2, "a", "x")?;
        pair.settle()?;
        pair.told();
        let outcome = pair.hears(&ack(AckKind::PubAck, 1));
        match new {
            true => assert!(outcome.is_err(), "QoS 2 has none"),
            false => assert_eq!(pair.told(), [done(1)], "RabbitMQ's"),
        }
    }
    Ok(())
}
