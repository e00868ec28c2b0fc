//! The queue and its bounds, flushes, and the end.

use super::*;
use crate::codec::mqtt::{Place, Reason};

fn full(outcome: Outcome) -> bool {
    outcome.is_err_and(|error| error.code == Code::Full)
}

#[test]
fn each_policy_has_its_own_way_with_what_there_is_no_room_for() -> Outcome {
    for (policy, refused, kept) in [
        ("block", true, ["1", "2"]),
        ("error", true, ["1", "2"]),
        ("drop_newest", true, ["1", "2"]),
        ("drop_oldest", false, ["2", "3"]),
    ] {
        let mut pair = wired(&[("max_queue", number(2)), ("overflow", text(policy))]);
        pair.emit(Some(1), 1, "a", "1")?;
        pair.emit(None, 1, "a", "2")?;
        assert_eq!(full(pair.emit(Some(3), 1, "a", "3")), refused, "{policy}");
        if !refused {
            assert_eq!(pair.told(), [Told::State("dropped"), failed(1, "full")]);
        }
        pair.connect().settle()?;
        assert_eq!(pair.peer.got, kept, "{policy}");
        let room = pair.told().contains(&Told::State("room"));
        assert_eq!(room, policy == "block" || policy == "error");
        let dropped = pair.client.counters().dropped;
        assert_eq!(dropped, u64::from(policy.starts_with("drop")));
    }
    Ok(())
}

#[test]
fn bytes_are_bounded_and_what_is_in_flight_counts() -> Outcome {
    let mut pair = wired(&[("max_queue_bytes", number(100)), ("max_queue", number(3))]);
    let outcome = pair.emit(None, 1, "a", &"x".repeat(100));
    assert_eq!(outcome.map_err(|error| error.code), Err(Code::Invalid));
    pair.emit(None, 1, "a", &"x".repeat(60))?;
    assert!(full(pair.emit(None, 1, "a", &"x".repeat(60))));
    pair.peer.silent.push(Place::Publish);
    pair.connect().settle()?;
    pair.emit(None, 1, "a", "x")?;
    pair.emit(None, 0, "a", "x")?;
    pair.settle()?;
    pair.emit(None, 1, "a", "x")?;
    assert!(
        full(pair.emit(None, 1, "a", "x")),
        "three await their answer"
    );
    pair.lose();
    assert!(full(pair.emit(None, 1, "a", "x")));
    Ok(())
}

#[test]
fn an_emit_is_withdrawn_when_its_time_is_over() -> Outcome {
    for mut pair in both(&[("timeout", number(2))]) {
        pair.emit(Some(1), 1, "a", "late")?;
        pair.emit(None, 1, "a", "posted")?;
        pair.subscribe(2, 10, "s")?;
        pair.pass(seconds(2))?;
        let mut told = pair.told();
        told.sort_by_key(|told| format!("{told:?}"));
        assert_eq!(told, [failed(1, "timeout"), failed(2, "timeout")]);
        pair.connect().settle()?;
        assert_eq!(pair.peer.got, ["posted"]);
        assert_eq!(pair.told(), [CONNECTED]);
        assert_eq!(pair.log().len(), 3, "the subscription is still wanted");
    }
    Ok(())
}

#[test]
fn a_flush_waits_for_the_posts_before_it_and_counts_failures() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.submit(Command::Flush { ticket: 1 })?;
    assert_eq!(pair.told(), [done(1)]);
    pair.peer.silent.push(Place::PubRel);
    for qos in [0, 1, 2, 0, 1] {
        pair.emit(None, qos, "a", "x")?;
    }
    pair.submit(Command::Flush { ticket: 2 })?;
    pair.settle()?;
    assert_eq!(pair.told(), [], "one is not done");
    pair.peer.silent.clear();
    pair.peer.puback = Reason::QUOTA_EXCEEDED;
    for qos in [1, 0, 2] {
        pair.emit(None, qos, "a", "x")?;
    }
    pair.submit(Command::Flush { ticket: 3 })?;
    pair.settle()?;
    assert_eq!(pair.told(), [], "flushes are answered in order");
    pair.again()?;
    let expected = [CONNECTED, done(2), Told::Failed(3, "refused", Some(2))];
    assert_eq!(pair.told(), expected);
    Ok(())
}

#[test]
fn closing_sends_what_waits_then_says_good_bye() -> Outcome {
    for pair in both(&[]) {
        let mut pair = pair.ready()?;
        let new = pair.client.version == Version::V5;
        pair.emit(Some(1), 0, "a", "x")?;
        pair.emit(Some(2), 2, "a", "y")?;
        pair.submit(Command::Close { ticket: 3 })?;
        assert!(!pair.client.finished());
        let outcome = pair.emit(Some(4), 1, "a", "z");
        assert_eq!(outcome.map_err(|error| error.code), Err(Code::Closed));
        pair.settle()?;
        assert!(pair.client.finished());
        let goodbye = if new {
            "DISCONNECT expiry=0"
        } else {
            "DISCONNECT"
        };
        let log = pair.log();
        assert_eq!(log[log.len() - 2..], ["PUBREL 1", goodbye]);
        pair.terminate(&Error::closed());
        let told = pair.told();
        assert_eq!(told[told.len() - 1], done(3));
        assert_eq!(told.len(), 3);
        assert_eq!(pair.client.deadline(), None);
    }
    Ok(())
}

#[test]
fn a_session_that_the_program_wants_outlives_its_close() -> Outcome {
    let asked = [("session_expiry", number(60))];
    let kept = [("clean", Value::Boolean(false)), ("client_id", text("me"))];
    for given in [&asked[..], &kept] {
        let mut pair = wired(given).ready()?;
        pair.submit(Command::Close { ticket: 1 })?;
        pair.settle()?;
        assert_eq!(pair.log(), ["DISCONNECT"]);
    }
    Ok(())
}

#[test]
fn closing_without_a_connection_or_in_a_handshake() -> Outcome {
    for mut pair in both(&[]) {
        pair.submit(Command::Close { ticket: 1 })?;
        assert!(pair.client.finished());
        pair.terminate(&Error::closed());
        assert_eq!(pair.told(), [done(1)]);
    }
    for mut pair in both(&[]) {
        pair.peer.silent.push(Place::Connect);
        pair.connect().settle()?;
        pair.submit(Command::Close { ticket: 1 })?;
        pair.settle()?;
        assert!(pair.client.finished(), "there is nothing to wait for");
        assert!(pair.log()[1].starts_with("DISCONNECT"));
    }
    for mut pair in both(&[]) {
        pair.emit(Some(1), 1, "a", "x")?;
        pair.submit(Command::Close { ticket: 2 })?;
        assert!(!pair.client.finished(), "it has something to say");
        pair.terminate(&Error::lost("gone"));
        let told = [failed(1, "lost"), Told::Failed(2, "lost", Some(1))];
        assert_eq!(pair.told(), told);
    }
    for mut pair in both(&[]) {
        pair.peer.silent.push(Place::Connect);
        pair.connect();
        pair.emit(Some(1), 1, "a", "x")?;
        pair.submit(Command::Close { ticket: 2 })?;
        pair.settle()?;
        assert!(!pair.client.finished());
        pair.peer.silent.clear();
        pair.again()?;
        assert!(pair.client.finished(), "the next connection takes it");
        assert_eq!(pair.peer.got, ["x"]);
        pair.terminate(&Error::closed());
        let told = pair.told();
        assert_eq!((told.len(), &told[2]), (3, &done(2)));
    }
    Ok(())
}

#[test]
fn closing_waits_for_answers_and_says_what_had_none() -> Outcome {
    for pair in both(&[]) {
        let mut pair = pair.ready()?;
        pair.peer.silent.push(Place::Publish);
        pair.emit(Some(1), 1, "a", "x")?;
        pair.emit(None, 2, "a", "y")?;
        pair.submit(Command::Flush { ticket: 2 })?;
        pair.submit(Command::Close { ticket: 3 })?;
        pair.settle()?;
        assert!(!pair.client.finished());
        pair.terminate(&Error::new(Code::Closed, "time is over"));
        assert_eq!(
            pair.told(),
            [
                failed(1, "closed"),
                Told::Failed(2, "closed", Some(1)),
                Told::Failed(3, "lost", Some(2))
            ]
        );
    }
    Ok(())
}

#[test]
fn the_end_answers_everybody() -> Outcome {
    for pair in persistent(&[]) {
        let mut pair = pair.ready()?;
        pair.lose();
        let mut bytes = BytesMut::new();
        pair.peer
            .publish(Qos::AtLeastOnce, "stray", "x", &mut bytes);
        pair.connect().settle()?;
        pair.peer.silent = vec![Place::Publish, Place::Subscribe, Place::Unsubscribe];
        pair.forget();
        pair.emit(Some(1), 0, "a", "x")?;
        pair.emit(Some(2), 1, "a", "x")?;
        pair.transmit_only();
        pair.subscribe(3, 10, "s")?;
        pair.submit(Command::Unsubscribe { ticket: 4, key: 10 })?;
        pair.subscribe(5, 11, "s")?;
        pair.transmit_only();
        pair.emit(Some(6), 1, "a", "x")?;
        pair.submit(Command::Flush { ticket: 7 })?;
        pair.terminate(&Error::fatal(Code::Auth, "no"));
        let mut told: Vec<_> = pair.told().iter().map(|told| format!("{told:?}")).collect();
        told.sort();
        assert_eq!(told.len(), 7, "{told:?}");
        assert_eq!(pair.client.deadline(), None, "nothing is left");
        let outcome = pair.emit(Some(8), 1, "a", "x");
        assert_eq!(outcome.map_err(|error| error.code), Err(Code::Auth));
        pair.submit(Command::Flush { ticket: 9 })?;
        assert_eq!(pair.told(), [Told::Failed(9, "auth", Some(0))]);
        let (id, verdict) = (1, Verdict::Accept);
        assert_eq!(pair.submit(Command::Acknowledge { id, verdict }), Ok(()));
    }
    Ok(())
}

#[test]
fn a_qos_that_there_is_not_is_refused() {
    let mut pair = wired(&[]);
    let outcome = pair.emit(Some(1), 3, "a", "x");
    assert_eq!(outcome.map_err(|error| error.code), Err(Code::Invalid));
}

#[test]
fn in_a_rush_messages_leave_many_at_a_time_and_none_waits_long() -> Outcome {
    let mut pair = wired(&[("max_in_flight", number(9))]).ready()?;
    pair.peer.silent.push(Place::Publish);
    for _ in 0..100 {
        pair.emit(None, 1, "a", "x")?;
    }
    pair.settle()?;
    assert_eq!(pair.log().len(), 9);
    pair.forget();
    pair.hears(&ack(AckKind::PubAck, 1))?;
    pair.settle()?;
    assert_eq!(pair.log(), [] as [&str; 0], "the broker has enough to do");
    pair.hears(&ack(AckKind::PubAck, 2))?;
    pair.settle()?;
    assert_eq!(pair.log().len(), 2, "a quarter of the window at once");
    pair.forget();
    pair.hears(&ack(AckKind::PubAck, 3))?;
    pair.pass(Duration::from_millis(1))?.settle()?;
    assert_eq!(pair.log().len(), 1, "a millisecond is long enough");
    let next = pair.client.deadline();
    assert!(next.is_some_and(|at| at > pair.now), "nothing is due");
    Ok(())
}
