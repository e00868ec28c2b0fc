//! ERRORs that do not say what they are about, and those that do.

use super::*;

#[test]
fn an_error_with_a_receipt_id_fails_that_one() -> Outcome {
    for pair in all(&[]) {
        let mut pair = pair.ready()?;
        pair.peer.poison = Some(("bad", true));
        for (ticket, payload) in [(1, "a"), (2, "bad"), (3, "c")] {
            pair.emit(Some(ticket), 0, "/q", payload)?;
        }
        let error = pair.after_error()?;
        assert!(
            error.text.contains("not_found: no such thing"),
            "{}",
            error.text
        );
        pair.settle()?;
        assert_eq!(
            pair.told(),
            [done(1), failed(2, "refused"), CONNECTED, done(3)]
        );
        assert_eq!(pair.peer.got, ["a", "c"]);
    }
    Ok(())
}

#[test]
fn the_only_one_without_an_answer_is_to_blame() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.poison = Some(("bad", false));
    pair.emit(Some(1), 0, "/q", "bad")?;
    pair.after_error()?;
    pair.settle()?;
    assert_eq!(pair.told(), [failed(1, "refused"), CONNECTED]);
    Ok(())
}

#[test]
fn suspects_are_examined_and_the_culprit_is_found() -> Outcome {
    for place in [0, 1, 6, 99] {
        let mut pair = wired(&[]).ready()?;
        pair.peer.poison = Some(("bad", false));
        pair.peer.withholds = true;
        for number in 0..100 {
            let payload = match number == place {
                true => "bad".to_owned(),
                false => number.to_string(),
            };
            pair.emit(Some(number + 1), 0, "/q", &payload)?;
        }
        pair.after_error()?;
        assert_eq!(pair.told(), [CONNECTED][1..], "nobody knows yet");
        pair.peer.withholds = false;
        pair.peer.got.clear();
        let mut connections = 1;
        while pair.settle().is_err() {
            pair.lose_because(&Error::new(Code::Refused, "not_found"));
            pair.connect();
            connections += 1;
        }
        assert!(connections <= 8, "{connections} for {place}");
        let told = pair.told();
        assert!(told.contains(&failed(place + 1, "refused")), "{told:?}");
        let answered = told
            .iter()
            .filter(|told| matches!(told, Told::Answered(..)));
        assert_eq!(answered.count(), 99);
        assert!(!pair.client.suspects.is_under_way());
    }
    Ok(())
}

#[test]
fn a_message_at_which_the_broker_hangs_up_is_found_too() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.withholds = true;
    for (ticket, payload) in [(1, "bad"), (2, "b"), (3, "c")] {
        pair.emit(Some(ticket), 0, "/q", payload)?;
    }
    let mut connections = 0;
    while !pair.told().contains(&failed(1, "refused")) {
        connections += 1;
        assert!(connections < 10);
        pair.settle()?;
        let got = pair.peer.got.len();
        assert_eq!(
            got,
            if connections <= 3 { 3 } else { 1 },
            "the first one alone"
        );
        pair.peer.got.clear();
        pair.lose();
        pair.connect();
    }
    assert_eq!(connections, 6);
    pair.peer.withholds = false;
    pair.settle()?;
    assert_eq!(pair.peer.got, ["b", "c"]);
    Ok(())
}

#[test]
fn a_broker_that_dies_often_loses_nothing() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    for round in 0..5u64 {
        pair.peer.withholds = true;
        pair.emit(Some(2 * round + 1), 0, "/q", "a")?;
        for _ in 0..4 {
            pair.settle()?;
            pair.again()?;
        }
        pair.peer.withholds = false;
        pair.again()?;
        let told = pair.told();
        assert!(told.contains(&done(2 * round + 1)), "{told:?}");
    }
    Ok(())
}

#[test]
fn what_is_submitted_behind_an_error_is_not_to_blame() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.poison = Some(("/bad", false));
    pair.subscribe(1, 10, "/bad")?;
    let error = pair.error();
    assert_eq!(pair.told(), [failed(1, "refused")]);
    // The owner has yet to be told that the connection is over.
    pair.emit(Some(2), 0, "/q", "x")?;
    pair.subscribe(3, 11, "/s")?;
    pair.log();
    pair.reach_peer();
    assert_eq!(pair.log(), [] as [&str; 0]);
    assert_eq!(
        pair.hears(Word::Receipt, &[("receipt-id", "0")], ""),
        Err(error.clone())
    );
    pair.lose_because(&error);
    pair.connect().settle()?;
    assert_eq!(pair.told(), [CONNECTED, done(3), done(2)]);
    Ok(())
}

#[test]
fn a_shutdown_is_about_nobody() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.withholds = true;
    for number in 1..=100 {
        pair.emit(Some(number), 0, "/q", "x")?;
    }
    pair.settle()?;
    let error = pair.hears(Word::Error, &[("message", "shutdown")], "");
    pair.lose_because(&error.expect_err("an error"));
    pair.peer.withholds = false;
    pair.connect().settle()?;
    let told = pair.told();
    assert_eq!((told.len(), &told[0]), (101, &CONNECTED));
    Ok(())
}

#[test]
fn a_message_without_a_receipt_may_be_to_blame() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.poison = Some(("bad", false));
    pair.peer.silent.push(Word::Send);
    pair.emit(Some(1), 0, "/q", "good")?;
    pair.emit(None, NO_RECEIPT, "/q", "bad")?;
    pair.after_error()?;
    pair.peer.silent.clear();
    pair.settle()?;
    assert_eq!(pair.told(), [CONNECTED, done(1)], "it is not sent again");
    // One that was answered before it is innocent, and one behind it would have been answered.
    pair.emit(None, NO_RECEIPT, "/q", "fine")?;
    pair.emit(Some(2), RECEIPT, "/q", "fine")?;
    pair.settle()?;
    pair.peer.poison = Some(("worse", false));
    pair.emit(Some(3), RECEIPT, "/q", "worse")?;
    pair.after_error()?;
    assert_eq!(pair.told(), [done(2), failed(3, "refused"), CONNECTED][..2]);
    Ok(())
}

#[test]
fn with_nothing_unanswered_nobody_is() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    let error = pair.hears(Word::Error, &[("message", "bye")], "").err();
    let error = error.expect("an error");
    assert_eq!((error.code, error.fatal), (Code::Refused, false));
    assert!(
        error.text.ends_with("ended the connection: bye"),
        "{}",
        error.text
    );
    pair.lose_because(&error);
    pair.connect().settle()?;
    assert_eq!(pair.told(), [CONNECTED]);
    Ok(())
}

#[test]
fn subscriptions_are_suspect_too() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.subscribe(1, 10, "/good")?;
    pair.settle()?;
    pair.peer.poison = Some(("/bad", false));
    pair.peer.withholds = true;
    pair.subscribe(2, 11, "/a")?;
    pair.subscribe(3, 12, "/bad")?;
    pair.subscribe(4, 13, "/c")?;
    pair.emit(Some(5), 0, "/q", "x")?;
    pair.after_error()?;
    pair.peer.withholds = false;
    // A new one waits for its turn.
    let mut failures = 0;
    while let Err(error) = pair.settle() {
        failures += 1;
        pair.lose_because(&error);
        pair.connect();
        assert!(failures < 5);
    }
    pair.subscribe(6, 14, "/d")?;
    pair.settle()?;
    let told = pair.told();
    for expected in [
        done(1),
        done(2),
        failed(3, "refused"),
        done(4),
        done(5),
        done(6),
    ] {
        assert!(told.contains(&expected), "{told:?}");
    }
    Ok(())
}

#[test]
fn what_is_new_waits_while_suspects_are_examined() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.poison = Some(("bad", false));
    pair.peer.withholds = true;
    pair.emit(None, 0, "/q", "first")?;
    pair.emit(None, 0, "/q", "bad")?;
    pair.after_error()?;
    pair.settle()?;
    pair.emit(Some(1), 0, "/q", "new")?;
    pair.subscribe(2, 10, "/s")?;
    pair.submit(Command::Close { ticket: 3 })?;
    pair.settle()?;
    assert_eq!(pair.log()[1..], ["SEND destination=/q receipt=0 | first"]);
    pair.peer.withholds = false;
    pair.hears(Word::Receipt, &[("receipt-id", "0")], "")
        .expect_err("the bad one");
    Ok(())
}
