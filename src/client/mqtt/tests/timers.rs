//! Pings, answers that are late, and a consumer that takes its time.

use super::*;
use crate::codec::mqtt::{Place, Reason};

#[test]
fn a_connection_without_traffic_is_probed() -> Outcome {
    for pair in both(&[("keepalive", number(10))]) {
        let mut pair = pair.ready()?;
        pair.live(9)?;
        assert_eq!(pair.log(), [] as [&str; 0]);
        pair.live(21)?;
        assert_eq!(pair.log(), ["PINGREQ"; 3]);
        // We write, and hear nothing.
        for _ in 0..10 {
            pair.emit(None, 0, "a", "x")?;
            pair.live(1)?;
        }
        let log = pair.log();
        assert!(log.contains(&"PINGREQ".to_owned()), "{log:?}");
        // We hear, and write nothing.
        for _ in 0..10 {
            pair.arrives(Qos::AtMostOnce, "t", "x")?;
            pair.live(1)?;
        }
        assert!(pair.log().contains(&"PINGREQ".to_owned()));
    }
    Ok(())
}

#[test]
fn the_servers_keep_alive_counts_and_none_is_none() -> Outcome {
    for (ours, theirs, pings) in [(60, 5, 12), (5, 0, 0), (0, 20, 3)] {
        let mut pair = wired(&[("keepalive", number(ours))]);
        let theirs = PropertyValue::U16(theirs);
        pair.peer.grant(PropertyId::ServerKeepAlive, theirs);
        let mut pair = pair.ready()?;
        pair.live(60)?;
        assert_eq!(pair.log().len(), pings);
    }
    let mut pair = wired(&[("keepalive", number(0))]).ready()?;
    pair.live(1000)?;
    assert_eq!(pair.log(), [] as [&str; 0]);
    assert_eq!(pair.client.deadline(), None);
    Ok(())
}

#[test]
fn a_ping_without_an_answer_ends_the_connection() -> Outcome {
    for pair in both(&[("keepalive", number(10)), ("timeout", number(3))]) {
        let mut pair = pair.ready()?;
        pair.peer.silent.push(Place::PingReq);
        pair.live(12)?;
        let error = pair.live(1).expect_err("an error");
        assert_eq!((error.code, error.fatal), (Code::Timeout, false));
    }
    Ok(())
}

#[test]
fn an_acknowledgement_that_does_not_come_ends_the_connection() -> Outcome {
    for pair in both(&[("timeout", number(3))]) {
        let mut pair = pair.ready()?;
        pair.peer.silent.push(Place::Publish);
        pair.live(50)?;
        pair.emit(Some(1), 1, "a", "x")?;
        pair.settle()?.live(2)?;
        let error = pair.live(1).expect_err("an error");
        assert_eq!(error.code, Code::Timeout, "{error}");
        assert_eq!(pair.told(), [failed(1, "timeout")]);
    }
    Ok(())
}

#[test]
fn silence_before_a_question_does_not_count() -> Outcome {
    for pair in both(&[("timeout", number(3)), ("keepalive", number(100))]) {
        let mut pair = pair.ready()?;
        pair.live(50)?;
        pair.subscribe(1, 10, "a")?;
        assert!(pair.pass(seconds(2)).is_ok(), "the question is new");
        pair.settle()?;
        pair.live(50)?;
        pair.submit(Command::Unsubscribe { ticket: 2, key: 10 })?;
        assert!(pair.pass(seconds(2)).is_ok());
        pair.settle()?;
        assert_eq!(pair.told(), [done(1), done(2)]);
        pair.peer.silent.push(Place::Subscribe);
        pair.subscribe(3, 11, "b")?;
        assert!(pair.live(2).is_ok());
        assert!(pair.live(1).is_err());
    }
    Ok(())
}

#[test]
fn a_consumer_that_stalls_is_not_the_servers_silence() -> Outcome {
    for mut pair in both(&[("keepalive", number(10)), ("timeout", number(3))]) {
        pair.connect();
        pair.subscribe(1, 10, "t")?;
        pair.settle()?;
        pair.forget();
        pair.room = 1;
        pair.emit(Some(2), 1, "a", "x")?;
        let mut bytes = BytesMut::new();
        for _ in 0..3 {
            pair.peer.publish(Qos::AtMostOnce, "t", "x", &mut bytes);
        }
        pair.inject(&bytes)?;
        // What the server answers waits behind the messages.
        pair.settle()?;
        pair.pass(seconds(40))?;
        pair.reach_peer();
        let pings = pair.log().iter().filter(|line| *line == "PINGREQ").count();
        assert!(pings >= 3, "{pings}: the server wants to hear from us");
        assert_eq!(pair.told(), [message(10, "t", "x"), failed(2, "timeout")]);
        // There is room again, and for a while only messages come.
        pair.room = 1;
        pair.deliver()?;
        pair.room = 1;
        pair.deliver()?;
        assert!(pair.pass(seconds(2)).is_ok());
        pair.room = usize::MAX;
        pair.deliver()?;
        pair.settle()?;
        assert!(pair.live(30).is_ok());
    }
    Ok(())
}

#[test]
fn when_there_is_room_again_the_time_begins_anew() -> Outcome {
    for mut pair in both(&[("timeout", number(3)), ("keepalive", number(0))]) {
        pair.connect();
        pair.subscribe(1, 10, "t")?;
        pair.settle()?;
        pair.peer.silent.push(Place::Publish);
        pair.emit(None, 1, "a", "x")?;
        pair.room = 1;
        pair.settle()?;
        pair.arrives(Qos::AtMostOnce, "t", "x")?;
        pair.deliver()?;
        pair.pass(seconds(60))?;
        pair.room = usize::MAX;
        pair.deliver()?;
        assert!(pair.pass(seconds(2)).is_ok());
        assert!(pair.pass(seconds(1)).is_err());
    }
    Ok(())
}

#[test]
fn a_late_acknowledgement_still_ends_its_message() -> Outcome {
    for pair in both(&[("timeout", number(3))]) {
        let mut pair = pair.ready()?;
        pair.peer.silent.push(Place::Publish);
        pair.emit(Some(1), 1, "a", "x")?;
        pair.settle()?;
        pair.live(1)?;
        pair.peer.silent.clear();
        pair.emit(Some(2), 1, "a", "y")?;
        pair.settle()?;
        pair.live(2)?;
        let told = pair.told();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[1], failed(1, "timeout"));
        assert_eq!(pair.client.counters().in_flight, 2 - 1);
        let (kind, packet_id) = (crate::codec::mqtt::AckKind::PubAck, 1);
        let (reason, properties) = (Reason::SUCCESS, Default::default());
        let ack = crate::codec::mqtt::Ack {
            kind,
            packet_id,
            reason,
            properties,
        };
        pair.hears(&Packet::Ack(ack))?;
        assert_eq!(pair.told(), []);
        assert_eq!(pair.client.counters().in_flight, 0);
        assert!(pair.live(30).is_ok());
    }
    Ok(())
}
