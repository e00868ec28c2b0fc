//! The queue and its bounds, flushes, and the end.

use super::*;

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
        pair.emit(Some(1), 0, "/q", "1")?;
        pair.emit(None, 0, "/q", "2")?;
        assert_eq!(full(pair.emit(Some(3), 0, "/q", "3")), refused, "{policy}");
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
    let mut pair = wired(&[("max_queue_bytes", number(150)), ("max_queue", number(3))]);
    let outcome = pair.emit(None, 0, "/q", &"x".repeat(150));
    assert_eq!(outcome.map_err(|error| error.code), Err(Code::Invalid));
    pair.emit(None, 0, "/q", &"x".repeat(90))?;
    assert!(full(pair.emit(None, 0, "/q", &"x".repeat(90))));
    pair.peer.silent.push(Word::Send);
    pair.connect().settle()?;
    pair.emit(None, 0, "/q", "x")?;
    pair.settle()?;
    pair.emit(None, 0, "/q", "x")?;
    assert!(
        full(pair.emit(None, 0, "/q", "x")),
        "three await their answer"
    );
    pair.lose();
    assert!(full(pair.emit(None, 0, "/q", "x")));
    Ok(())
}

#[test]
fn an_emit_is_withdrawn_when_its_time_is_over() -> Outcome {
    for mut pair in all(&[("timeout", number(2))]) {
        pair.emit(Some(1), 0, "/q", "late")?;
        pair.emit(None, 0, "/q", "posted")?;
        pair.subscribe(2, 10, "/s")?;
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
    pair.peer.withholds = true;
    pair.emit(None, 0, "/q", "a")?;
    pair.emit(None, NO_RECEIPT, "/q", "b")?;
    pair.submit(Command::Flush { ticket: 1 })?;
    pair.settle()?;
    assert_eq!(pair.told(), []);
    pair.hears(Word::Receipt, &[("receipt-id", "0")], "")?;
    assert_eq!(pair.told(), [done(1)]);
    pair.peer.poison = Some(("bad", true));
    pair.emit(None, 0, "/q", "bad")?;
    pair.submit(Command::Flush { ticket: 2 })?;
    pair.settle().map(drop).expect_err("the bad one");
    assert_eq!(pair.told(), [Told::Failed(2, "refused", Some(1))]);
    Ok(())
}

#[test]
fn closing_sends_what_waits_then_says_good_bye() -> Outcome {
    for pair in all(&[]) {
        let mut pair = pair.ready()?;
        pair.subscribe(9, 10, "/q")?;
        pair.settle()?;
        pair.arrives("10", "m", "x")?;
        pair.forget();
        pair.emit(Some(1), NO_RECEIPT, "/q", "x")?;
        pair.emit(Some(2), 0, "/q", "y")?;
        pair.peer.silent.push(Word::Disconnect);
        pair.submit(Command::Close { ticket: 3 })?;
        assert!(!pair.client.finished());
        let outcome = pair.emit(Some(4), 0, "/q", "z");
        assert_eq!(outcome.map_err(|error| error.code), Err(Code::Closed));
        pair.settles(1, Verdict::Accept)?;
        assert!(
            !pair.client.finished(),
            "the receipt of DISCONNECT is to come"
        );
        let log = pair.log();
        assert!(log[0].starts_with("ACK"), "{log:?}");
        assert_eq!(log[log.len() - 1], "DISCONNECT receipt=2");
        // It cannot be acknowledged any more.
        pair.arrives("10", "m2", "x")?;
        pair.hears(Word::Receipt, &[("receipt-id", "2")], "")?;
        assert!(pair.client.finished());
        pair.terminate(&Error::closed());
        let told = pair.told();
        let (last, others) = told.split_last().expect("answers");
        assert_eq!(last, &done(3));
        assert!(others.len() == 2 && others.contains(&done(1)) && others.contains(&done(2)));
        assert_eq!(pair.client.deadline(), None);
    }
    Ok(())
}

#[test]
fn closing_without_a_connection_or_in_a_handshake() -> Outcome {
    let mut pair = wired(&[]);
    pair.submit(Command::Close { ticket: 1 })?;
    assert!(pair.client.finished());
    pair.terminate(&Error::closed());
    assert_eq!(pair.told(), [done(1)]);

    let mut pair = wired(&[]);
    pair.connect().transmit_into_the_void();
    pair.submit(Command::Close { ticket: 1 })?;
    pair.settle()?;
    assert!(pair.client.finished(), "there is nothing to wait for");

    let mut pair = wired(&[]);
    pair.emit(Some(1), 0, "/q", "x")?;
    pair.submit(Command::Close { ticket: 2 })?;
    assert!(!pair.client.finished(), "it has something to say");
    pair.terminate(&Error::lost("gone"));
    let told = [failed(1, "lost"), Told::Failed(2, "lost", Some(1))];
    assert_eq!(pair.told(), told);

    let mut pair = wired(&[]);
    pair.emit(Some(1), 0, "/q", "x")?;
    pair.submit(Command::Close { ticket: 2 })?;
    pair.connect().settle()?;
    assert!(pair.client.finished());
    assert_eq!(pair.peer.got, ["x"]);
    Ok(())
}

#[test]
fn a_broker_that_closes_in_place_of_a_receipt_is_as_good() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.silent.push(Word::Disconnect);
    pair.submit(Command::Close { ticket: 1 })?;
    pair.settle()?;
    pair.lose();
    assert!(pair.client.finished());
    pair.terminate(&Error::closed());
    assert_eq!(pair.told(), [done(1)]);
    Ok(())
}

#[test]
fn closing_waits_for_receipts_and_says_what_had_none() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.silent.push(Word::Send);
    pair.emit(Some(1), 0, "/q", "x")?;
    pair.emit(None, 0, "/q", "y")?;
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
    Ok(())
}

#[test]
fn the_end_answers_everybody() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.silent = vec![Word::Send, Word::Subscribe, Word::Unsubscribe];
    pair.emit(Some(1), NO_RECEIPT, "/q", "x")?;
    pair.emit(Some(2), 0, "/q", "x")?;
    pair.transmit_only();
    pair.subscribe(3, 10, "/s")?;
    pair.transmit_only();
    pair.submit(Command::Unsubscribe { ticket: 4, key: 10 })?;
    pair.subscribe(5, 11, "/s")?;
    pair.transmit_only();
    pair.emit(Some(6), 0, "/q", "x")?;
    pair.submit(Command::Flush { ticket: 7 })?;
    pair.terminate(&Error::fatal(Code::Auth, "no"));
    let mut told: Vec<_> = pair.told().iter().map(|told| format!("{told:?}")).collect();
    told.sort();
    assert_eq!(told.len(), 7, "{told:?}");
    assert_eq!(pair.client.deadline(), None, "nothing is left");
    let outcome = pair.emit(Some(8), 0, "/q", "x");
    assert_eq!(outcome.map_err(|error| error.code), Err(Code::Auth));
    pair.submit(Command::Flush { ticket: 9 })?;
    assert_eq!(pair.told(), [Told::Failed(9, "auth", Some(0))]);
    let (id, verdict) = (1, Verdict::Accept);
    assert_eq!(pair.submit(Command::Acknowledge { id, verdict }), Ok(()));
    Ok(())
}

#[test]
fn in_a_rush_messages_leave_many_at_a_time_and_none_waits_long() -> Outcome {
    let mut pair = wired(&[("max_in_flight", number(9))]).ready()?;
    pair.peer.withholds = true;
    for _ in 0..100 {
        pair.emit(None, 0, "/q", "x")?;
    }
    pair.settle()?;
    assert_eq!(pair.log().len(), 9);
    let receipt = |number: u64| format!("RECEIPT\nreceipt-id:{number}\n\n\0");
    pair.inject(receipt(0).as_bytes())?;
    pair.settle()?;
    assert_eq!(pair.log(), [] as [&str; 0], "the broker has enough to do");
    pair.inject(receipt(1).as_bytes())?;
    pair.settle()?;
    assert_eq!(pair.log().len(), 2, "a quarter of the window at once");
    pair.inject(receipt(2).as_bytes())?;
    pair.pass(Duration::from_millis(1))?.settle()?;
    assert_eq!(pair.log().len(), 1, "a millisecond is long enough");
    Ok(())
}
