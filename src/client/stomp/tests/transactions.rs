//! Transactions: what they send, and what ends them.

use super::*;

fn named(transaction: i64) -> [(&'static str, Value); 1] {
    [("transaction", number(transaction))]
}

impl Wired {
    fn begin(&mut self, transaction: i64) -> Outcome {
        self.command(100, "begin", &named(transaction))
    }

    fn commit(&mut self, ticket: u64, transaction: i64) -> Outcome {
        self.command(ticket, "commit", &named(transaction))
    }

    fn within(&mut self, ticket: Option<u64>, transaction: u32, payload: &str) -> Outcome {
        self.emit(ticket, transaction << 8, "/q", payload)
    }

    fn acknowledge_within(&mut self, transaction: i64, id: i64, accept: bool) -> Outcome {
        let given = [
            ("id", number(id)),
            ("accept", Value::Boolean(accept)),
            ("transaction", number(transaction)),
        ];
        self.command(101, "acknowledge", &given)
    }
}

#[test]
fn a_commit_is_answered_by_its_receipt() -> Outcome {
    for pair in all(&[]) {
        let mut pair = pair.ready()?;
        pair.begin(7)?;
        pair.within(Some(1), 7, "x")?;
        pair.within(None, 7, "y")?;
        pair.emit(Some(2), 0, "/q", "outside")?;
        pair.commit(3, 7)?;
        assert_eq!(pair.told(), [done(100), done(1)], "accepted");
        pair.settle()?;
        assert_eq!(pair.told(), [done(2), done(3)]);
        assert_eq!(
            pair.log(),
            [
                "BEGIN transaction=1",
                "SEND destination=/q transaction=1 | x",
                "SEND destination=/q transaction=1 | y",
                "SEND destination=/q receipt=0 | outside",
                "COMMIT transaction=1 receipt=1",
            ]
        );
        assert_eq!(pair.peer.got, ["outside", "x", "y"]);
        pair.submit(Command::Flush { ticket: 4 })?;
        assert_eq!(pair.told(), [done(4)], "the commit spoke for the post");
        let outcome = pair.within(None, 7, "z");
        assert_eq!(outcome.map_err(|error| error.code), Err(Code::Invalid));
    }
    Ok(())
}

#[test]
fn an_abort_undoes_and_what_was_not_sent_is_not() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.begin(1)?;
    pair.within(None, 1, "x")?;
    pair.settle()?;
    pair.within(None, 1, "y")?;
    pair.command(2, "abort", &named(1))?;
    pair.settle()?;
    assert_eq!(pair.told(), [done(100), done(2)]);
    let log = [
        "BEGIN transaction=1",
        "SEND destination=/q transaction=1 | x",
        "ABORT transaction=1",
    ];
    assert_eq!(pair.log(), log);
    // The number is free, and nothing of the old one is mistaken for the new one's.
    pair.begin(1)?;
    pair.command(3, "abort", &named(1))?;
    pair.begin(1)?;
    pair.within(None, 1, "z")?;
    pair.commit(4, 1)?;
    pair.settle()?;
    assert_eq!(pair.peer.got, ["z"]);
    assert_eq!(pair.log()[0], "BEGIN transaction=3");
    Ok(())
}

#[test]
fn misuse_is_refused() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.begin(1)?;
    assert!(pair.begin(1).is_err());
    for transaction in [0, 2, 65_536, -1] {
        let verbs = ["commit", "abort"];
        let mut outcomes = verbs.map(|verb| pair.command(5, verb, &named(transaction)));
        assert!(outcomes.iter_mut().all(|outcome| outcome.is_err()));
        assert!(pair.acknowledge_within(transaction, 1, true).is_err());
    }
    assert!(pair.begin(0).is_err());
    assert!(pair.command(5, "begin", &[]).is_err());
    assert!(pair.command(5, "somersault", &[]).is_err());
    assert_eq!(pair.told(), [done(100)]);
    Ok(())
}

#[test]
fn what_is_not_begun_waits_for_the_next_connection() -> Outcome {
    let mut pair = wired(&[]);
    pair.begin(1)?;
    pair.within(None, 1, "x")?;
    pair.connect().settle()?;
    pair.begin(2)?;
    pair.within(None, 2, "y")?;
    pair.lose();
    pair.connect().settle()?;
    pair.commit(3, 1)?;
    pair.commit(4, 2)?;
    pair.within(None, 1, "late").expect_err("it has ended");
    pair.settle()?;
    assert_eq!(pair.peer.got, ["y"]);
    let told = pair.told();
    assert_eq!(told[told.len() - 2..], [failed(3, "lost"), done(4)]);
    let said = pair.texts.pop().unwrap_or_default();
    assert!(
        said.starts_with("nothing of the transaction was applied"),
        "{said}"
    );
    assert!(pair.log().iter().all(|line| !line.starts_with("ABORT")));
    Ok(())
}

#[test]
fn a_lost_transaction_swallows_what_follows_in_it() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.begin(1)?;
    pair.settle()?;
    pair.again()?;
    pair.forget();
    pair.within(None, 1, "x")?;
    pair.within(Some(2), 1, "y")?;
    assert_eq!(pair.told(), [failed(2, "lost")]);
    pair.commit(3, 1)?;
    pair.settle()?;
    assert_eq!(pair.told(), [failed(3, "lost")]);
    assert_eq!(pair.log(), [] as [&str; 0]);
    Ok(())
}

#[test]
fn a_commit_under_way_has_an_unknown_outcome() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.silent.push(Word::Commit);
    pair.begin(1)?;
    pair.commit(2, 1)?;
    pair.settle()?;
    pair.lose();
    assert_eq!(pair.told(), [done(100), failed(2, "lost")]);
    assert!(pair.texts[0].starts_with("the outcome is unknown"));
    pair.connect().settle()?;
    assert_eq!(pair.log().len(), 1, "it is not sent again");
    Ok(())
}

#[test]
fn a_commit_that_waits_too_long_takes_all_with_it() -> Outcome {
    let mut pair = wired(&[("timeout", number(2)), ("heartbeat_receive", number(10))]);
    pair.peer.manners.heart_beat = "10000,0";
    let mut pair = pair.ready()?;
    pair.peer.silent.push(Word::Commit);
    pair.begin(1)?;
    pair.commit(2, 1)?;
    pair.settle()?;
    pair.pass(seconds(2))?;
    assert_eq!(pair.told(), [done(100), failed(2, "timeout")]);
    pair.hears(Word::Receipt, &[("receipt-id", "0")], "")?;
    assert_eq!(pair.told(), []);

    // In the queue: it is taken back, and the broker is told.
    let mut pair = wired(&[("timeout", number(2)), ("max_in_flight", number(1))]);
    pair.peer.manners.heart_beat = "10000,0";
    let mut pair = pair.ready()?;
    pair.begin(1)?;
    pair.within(None, 1, "x")?;
    pair.settle()?;
    pair.peer.silent.push(Word::Send);
    pair.emit(None, 0, "/q", "a")?;
    pair.emit(None, 0, "/q", "b")?;
    pair.commit(2, 1)?;
    pair.settle()?;
    pair.forget();
    pair.pass(seconds(2))?.settle()?;
    assert_eq!(pair.told(), [failed(2, "timeout")]);
    assert_eq!(pair.log(), ["ABORT transaction=1"]);
    Ok(())
}

#[test]
fn a_refused_commit_fails_its_caller() -> Outcome {
    for names in [true, false] {
        let mut pair = wired(&[]).ready()?;
        pair.begin(1)?;
        pair.settle()?;
        pair.peer.poison = Some(("", names));
        pair.commit(2, 1)?;
        pair.after_error()?;
        assert_eq!(pair.told(), [done(100), failed(2, "refused")]);
    }
    Ok(())
}

#[test]
fn acknowledgements_belong_to_it_until_it_ends() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.subscribe_with(10, "/q", &[("ack", text("manual"))])?;
    pair.settle()?;
    for name in ["m1", "m2", "m3"] {
        pair.arrives("10", name, "x")?;
    }
    pair.forget();
    pair.begin(1)?;
    pair.acknowledge_within(1, 1, true)?;
    pair.acknowledge_within(1, 2, false)?;
    pair.settles(1, Verdict::Reject)?;
    pair.commit(2, 1)?;
    pair.settle()?;
    let log = [
        "BEGIN transaction=1",
        "ACK id=a-m1 transaction=1",
        "NACK id=a-m2 transaction=1",
        "COMMIT transaction=1 receipt=1",
    ];
    assert_eq!(pair.log(), log);
    pair.settles(1, Verdict::Accept)?;
    assert_eq!(pair.log(), [] as [&str; 0]);

    pair.begin(1)?;
    pair.acknowledge_within(1, 3, true)?;
    pair.settle()?;
    pair.command(3, "abort", &named(1))?;
    pair.settle()?;
    pair.log();
    pair.settles(3, Verdict::Accept)?;
    assert_eq!(
        pair.log(),
        ["ACK id=a-m3"],
        "it counts as never acknowledged"
    );
    assert_eq!(pair.client.deliveries.len(), 0);
    Ok(())
}

#[test]
fn what_cannot_be_acknowledged_fails_the_transaction() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.subscribe_with(10, "/q", &[("ack", text("manual"))])?;
    pair.settle()?;
    pair.arrives("10", "m1", "x")?;
    pair.again()?;
    pair.begin(1)?;
    pair.within(None, 1, "made of m1")?;
    pair.acknowledge_within(1, 1, true)?;
    pair.forget();
    pair.commit(2, 1)?;
    pair.settle()?;
    assert_eq!(pair.told(), [failed(2, "lost")]);
    assert_eq!(pair.peer.got, [] as [&str; 0]);

    // Its message came on a connection that was lost before BEGIN could be sent.
    pair.arrives("10", "m1", "x")?;
    let id = pair.ids()[0] as i64;
    pair.lose();
    pair.begin(1)?;
    pair.acknowledge_within(1, id, true)?;
    pair.commit(3, 1)?;
    pair.connect().settle()?;
    let told = pair.told();
    assert_eq!(told[told.len() - 1], failed(3, "lost"));
    Ok(())
}

#[test]
fn one_that_loses_a_message_to_the_bound_fails() -> Outcome {
    let given = [("max_queue", number(2)), ("overflow", text("drop_oldest"))];
    let mut pair = wired(&given);
    pair.begin(1)?;
    pair.within(None, 1, "x")?;
    pair.within(None, 1, "y")?;
    pair.commit(2, 1)?;
    pair.emit(Some(3), 0, "/q", "z")?;
    pair.connect().settle()?;
    let told = pair.told();
    assert!(told.contains(&failed(2, "full")), "{told:?}");
    assert!(told.contains(&done(3)), "{told:?}");
    assert_eq!(pair.peer.got, ["z"]);
    Ok(())
}

#[test]
fn the_end_answers_a_commit() -> Outcome {
    let mut pair = wired(&[]);
    pair.begin(1)?;
    pair.within(None, 1, "x")?;
    pair.commit(2, 1)?;
    pair.begin(2)?;
    pair.submit(Command::Flush { ticket: 3 })?;
    pair.terminate(&Error::fatal(Code::Auth, "no"));
    let told = pair.told();
    assert_eq!(told, [done(100), done(100), done(3), failed(2, "auth")]);
    Ok(())
}
