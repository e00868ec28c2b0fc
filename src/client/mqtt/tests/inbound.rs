//! Messages from the server: acknowledgements, what comes again, what nobody wants yet.

use super::*;
use crate::codec::mqtt::{AckKind, Place, PropertyList, Publish as Wire, Reason};
use Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

/// Connected, with a subscription to everything.
fn subscribed(mut pair: Wired) -> Result<Wired, Error> {
    pair.connect();
    pair.subscribe(1, 10, "#")?;
    pair.settle()?;
    pair.forget();
    Ok(pair)
}

fn publish(qos: Qos, packet_id: u16, dup: bool) -> Packet<'static> {
    Packet::Publish(Wire {
        dup,
        qos,
        retain: false,
        topic: "t",
        packet_id,
        properties: Properties::default(),
        payload: b"x",
    })
}

#[test]
fn each_qos_has_its_acknowledgement() -> Outcome {
    for pair in both(&[]) {
        let mut pair = subscribed(pair)?;
        for (qos, payload) in [(AtMostOnce, "0"), (AtLeastOnce, "1"), (ExactlyOnce, "2")] {
            pair.arrives(qos, "t", payload)?;
        }
        let expected = ["0", "1", "2"].map(|payload| message(10, "t", payload));
        assert_eq!(pair.told(), expected);
        assert_eq!(pair.log(), [] as [&str; 0]);
        assert_eq!(pair.metas[0].id, 0);
        assert_eq!(pair.metas[1].flags, 1 | 1 << 16);
        assert_eq!(pair.metas[2].flags, 2 | 2 << 16);
        pair.acknowledge(Verdict::Accept)?;
        assert_eq!(pair.log(), ["PUBACK 1", "PUBREC 2", "PUBCOMP 2"]);
        assert_eq!(pair.peer.unacknowledged(), 0);
        assert_eq!(pair.client.counters().received, 3);
    }
    Ok(())
}

#[test]
fn acknowledgements_leave_in_the_order_of_the_messages() -> Outcome {
    for pair in both(&[]) {
        let mut pair = subscribed(pair)?;
        for qos in [AtLeastOnce, ExactlyOnce, AtLeastOnce] {
            pair.arrives(qos, "t", "x")?;
        }
        pair.metas.reverse();
        let first = pair.metas.pop().expect("three of them");
        pair.acknowledge(Verdict::Accept)?;
        assert_eq!(pair.log(), [] as [&str; 0]);
        pair.metas.push(first);
        pair.acknowledge(Verdict::Accept)?;
        assert_eq!(pair.log()[..3], ["PUBACK 1", "PUBREC 2", "PUBACK 3"]);
    }
    Ok(())
}

#[test]
fn a_rejected_message_is_told_in_version_5() -> Outcome {
    for pair in both(&[]) {
        let mut pair = subscribed(pair)?;
        pair.arrives(AtLeastOnce, "t", "x")?;
        pair.arrives(ExactlyOnce, "t", "x")?;
        pair.acknowledge(Verdict::Reject)?;
        match pair.client.version {
            Version::V5 => assert_eq!(pair.log(), ["PUBACK 1 0x80", "PUBREC 2 0x80"]),
            Version::V311 => assert_eq!(pair.log(), ["PUBACK 1", "PUBREC 2", "PUBCOMP 2"]),
        }
        assert_eq!(pair.peer.unacknowledged(), 0);
    }
    Ok(())
}

#[test]
fn what_comes_again_is_not_told_again() -> Outcome {
    for pair in persistent(&[]) {
        let mut pair = subscribed(pair)?;
        pair.peer.silent = vec![Place::PubRec];
        for payload in ["received", "pending"] {
            pair.arrives(ExactlyOnce, "t", payload)?;
        }
        pair.arrives(AtLeastOnce, "t", "pending, too")?;
        let pending = pair.metas.split_off(1);
        pair.acknowledge(Verdict::Accept)?;
        // The PUBREC is lost with the connection: the server has to send the message again.
        pair.forget();
        pair.peer.silent.clear();
        pair.again()?;
        assert_eq!(pair.told(), [CONNECTED], "nothing is told again");
        pair.metas = pending;
        pair.acknowledge(Verdict::Accept)?;
        let log = pair.log();
        assert!(log.contains(&"PUBCOMP 1".to_owned()), "{log:?}");
        assert_eq!(log[log.len() - 3..], ["PUBREC 2", "PUBACK 3", "PUBCOMP 2"]);
        assert_eq!(pair.peer.unacknowledged(), 0);

        // Again on one connection, as 3.1.1 does not forbid.
        pair.hears(&publish(ExactlyOnce, 9, false))?;
        pair.hears(&publish(ExactlyOnce, 9, true))?;
        assert_eq!(pair.told().len(), 1, "with the program still");
        pair.acknowledge(Verdict::Accept)?;
        assert_eq!(pair.log(), ["PUBREC 9", "PUBCOMP 9"]);
        pair.peer.silent = vec![Place::PubRec];
        pair.hears(&publish(ExactlyOnce, 9, false))?;
        pair.acknowledge(Verdict::Accept)?;
        pair.hears(&publish(ExactlyOnce, 9, true))?;
        assert_eq!(pair.log(), ["PUBREC 9", "PUBREC 9"]);
        assert_eq!(pair.told().len(), 1);
    }
    Ok(())
}

#[test]
fn what_does_not_come_again_holds_nothing_up() -> Outcome {
    for pair in persistent(&[("receive_maximum", number(4))]) {
        let mut pair = subscribed(pair)?;
        for _ in 0..4 {
            pair.arrives(AtLeastOnce, "t", "x")?;
        }
        let mut old = std::mem::take(&mut pair.metas);
        pair.lose();
        pair.peer.silent.push(Place::Connect);
        pair.connect().settle()?;
        let connack = crate::codec::mqtt::ConnAck {
            session_present: true,
            reason: Reason::SUCCESS,
            properties: Properties::default(),
        };
        pair.hears(&Packet::ConnAck(connack))?;
        pair.forget();
        // The second one again, the others have expired there.
        pair.hears(&publish(AtLeastOnce, 2, true))?;
        for id in [5, 6, 7] {
            pair.hears(&publish(AtLeastOnce, id, false))?;
        }
        assert_eq!(pair.told().len(), 3);
        pair.acknowledge(Verdict::Accept)?;
        assert_eq!(pair.log(), [] as [&str; 0]);
        pair.metas.append(&mut old);
        pair.acknowledge(Verdict::Accept)?;
        assert_eq!(pair.log(), ["PUBACK 2", "PUBACK 5", "PUBACK 6", "PUBACK 7"]);
    }
    Ok(())
}

#[test]
fn a_release_is_always_completed() -> Outcome {
    for pair in both(&[]) {
        let mut pair = subscribed(pair)?;
        pair.hears(&ack(AckKind::PubRel, 50))?;
        match pair.client.version {
            Version::V5 => assert_eq!(pair.log(), ["PUBCOMP 50 0x92"]),
            Version::V311 => assert_eq!(pair.log(), ["PUBCOMP 50"]),
        }
    }
    Ok(())
}

#[test]
fn a_server_that_exceeds_receive_maximum_is_borne() -> Outcome {
    // Mosquitto 2.0.11 does.
    let mut pair = subscribed(wired(&[("receive_maximum", number(3))]))?;
    for _ in 0..5 {
        pair.arrives(AtLeastOnce, "t", "x")?;
    }
    assert_eq!(pair.told().len(), 5);
    pair.acknowledge(Verdict::Accept)?;
    assert_eq!(pair.log().len(), 5);
    Ok(())
}

#[test]
fn a_server_cannot_have_more_under_way_than_there_are_identifiers() -> Outcome {
    for pair in both(&[]) {
        let mut pair = subscribed(pair)?;
        let mut bytes = BytesMut::new();
        for _ in 0..70_000 {
            pair.peer.say(&publish(AtLeastOnce, 1, false), &mut bytes);
        }
        let outcome = pair.inject(&bytes);
        assert_eq!(outcome.map_err(|error| error.code), Err(Code::Protocol));
        match pair.client.version {
            Version::V5 => assert_eq!(pair.last_words(), ["DISCONNECT 0x93"]),
            Version::V311 => assert_eq!(pair.last_words(), [] as [&str; 0]),
        }
    }
    Ok(())
}

#[test]
fn a_server_that_reads_nothing_is_not_answered_for_ever() -> Outcome {
    for pair in both(&[]) {
        let mut pair = subscribed(pair)?;
        let mut bytes = BytesMut::new();
        for _ in 0..100_000 {
            pair.peer.say(&ack(AckKind::PubRel, 1), &mut bytes);
        }
        let outcome = (0..200).try_for_each(|_| pair.inject(&bytes));
        assert_eq!(outcome.map_err(|error| error.code), Err(Code::Protocol));
        assert!(pair.client.control.len() < 100 << 20);
    }
    Ok(())
}

#[test]
fn topics_by_alias() -> Outcome {
    let mut pair = subscribed(wired(&[("topic_alias_maximum", number(2))]))?;
    let named = |alias, topic| {
        let mut list = PropertyList::new();
        list.push(PropertyId::TopicAlias, PropertyValue::U16(alias))
            .expect("a valid property");
        (list, topic)
    };
    let mut outcomes = Vec::new();
    for (list, topic) in [
        named(1, "a"),
        named(2, "b"),
        named(1, ""),
        named(1, "c"),
        named(1, ""),
        named(3, "d"),
    ] {
        outcomes.push(pair.hears(&Packet::Publish(Wire {
            dup: false,
            qos: AtMostOnce,
            retain: false,
            topic,
            packet_id: 0,
            properties: list.as_properties(),
            payload: b"x",
        })));
    }
    let expected = ["a", "b", "a", "c", "c"].map(|topic| message(10, topic, "x"));
    assert_eq!(pair.told(), expected);
    assert!(outcomes.pop().is_some_and(|last| last.is_err()));
    assert_eq!(outcomes, [Ok(()), Ok(()), Ok(()), Ok(()), Ok(())]);
    assert_eq!(pair.last_words(), ["DISCONNECT 0x94"]);
    Ok(())
}

#[test]
fn messages_wait_for_a_subscription_that_is_about_to_be_made() -> Outcome {
    for mut pair in persistent(&[("timeout", number(5))]) {
        pair.connect().settle()?;
        pair.lose();
        let mut bytes = BytesMut::new();
        for topic in ["a", "b", "a"] {
            pair.peer.publish(AtLeastOnce, topic, "x", &mut bytes);
        }
        pair.connect().settle()?;
        pair.forget();
        pair.subscribe(1, 10, "a")?;
        assert_eq!(pair.told(), [message(10, "a", "x"), message(10, "a", "x")]);
        pair.acknowledge(Verdict::Accept)?;
        assert_eq!(
            pair.log()[1..],
            ["PUBACK 1"],
            "the second waits for its place"
        );
        pair.told();
        pair.pass(seconds(5))?.settle()?;
        assert_eq!(pair.told(), [Told::State("dropped")]);
        assert_eq!(pair.log(), ["PUBACK 2", "PUBACK 3"]);
        assert_eq!(pair.client.counters().dropped, 1);
    }
    Ok(())
}

#[test]
fn acknowledgements_of_a_lost_session_are_ignored() -> Outcome {
    for pair in persistent(&[]) {
        let mut pair = subscribed(pair)?;
        pair.arrives(AtLeastOnce, "t", "old")?;
        pair.peer.forget_session();
        pair.again()?;
        pair.log();
        pair.acknowledge(Verdict::Accept)?;
        pair.arrives(AtLeastOnce, "t", "new")?;
        assert_eq!(pair.log(), [] as [&str; 0]);
        let verdict = Verdict::Accept;
        for id in [0, 77, u64::MAX] {
            pair.submit(Command::Acknowledge { id, verdict })?;
        }
        pair.acknowledge(verdict)?;
        assert_eq!(pair.log(), ["PUBACK 2"]);
    }
    Ok(())
}

#[test]
fn the_end_of_a_subscription_releases_its_messages() -> Outcome {
    for pair in both(&[]) {
        let mut pair = subscribed(pair)?;
        pair.arrives(AtLeastOnce, "t", "x")?;
        pair.submit(Command::Unsubscribe { ticket: 2, key: 10 })?;
        pair.settle()?;
        pair.acknowledge(Verdict::Accept)?;
        match pair.client.version {
            Version::V5 => assert_eq!(pair.log(), ["PUBACK 1 0x80", "UNSUBSCRIBE 2 #"]),
            Version::V311 => assert_eq!(pair.log(), ["PUBACK 1", "UNSUBSCRIBE 2 #"]),
        }
        pair.told();
        pair.arrives(AtLeastOnce, "t", "late")?;
        assert_eq!(pair.told(), [], "nobody wants it");
        assert_eq!(pair.peer.unacknowledged(), 0);
    }
    Ok(())
}
