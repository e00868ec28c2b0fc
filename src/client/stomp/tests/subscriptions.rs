//! Subscriptions: asked for, renewed, refused, ended, and which of them a message is for.

use super::*;

#[test]
fn the_options_of_a_subscription_are_asked_for_on_each_connection() -> Outcome {
    let given = [
        ("ack", text("client")),
        ("prefetch", number(7)),
        ("durable", text("mine")),
        ("header", map(&[("selector", text("a = 1"))])),
    ];
    let mut pair = wired(&[("prefix", text("/topic"))]).ready()?;
    pair.subscribe_with(1, "/a", &given)?;
    pair.subscribe_with(2, "/b", &[("ack", text("none")), ("id", text("two"))])?;
    pair.subscribe_with(3, "/c", &[])?;
    pair.settle()?;
    assert_eq!(pair.told(), [done(1), done(2), done(3)]);
    let asked = pair.log();
    assert_eq!(
        asked,
        [
            "SUBSCRIBE id=mine destination=/topic/a ack=client receipt=0 durable=true \
             auto-delete=false activemq.subscriptionName=mine durable-subscription-name=mine \
             selector=a = 1 prefetch-count=7 activemq.prefetchSize=7",
            "SUBSCRIBE id=two destination=/topic/b ack=auto receipt=1",
            "SUBSCRIBE id=3 destination=/topic/c ack=client-individual receipt=2",
        ]
    );
    pair.again()?;
    assert_eq!(pair.log()[1..].len(), 3);
    assert_eq!(pair.told(), [CONNECTED]);
    Ok(())
}

#[test]
fn wrong_options_are_refused_at_once() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.subscribe_with(1, "/a", &[("id", text("x"))])?;
    for (key, target, given) in [
        (2, "/b", ("id", text("x"))),
        (3, "", ("ack", text("auto"))),
        (4, "/a\0", ("ack", text("auto"))),
        (5, "/d", ("header", map(&[("id", text("x"))]))),
        (6, "/e", ("header", map(&[("x", text("\0"))]))),
        (7, "/a", ("ack", text("auto"))),
    ] {
        let outcome = pair.subscribe_with(key, target, &[given]);
        let code = outcome.map_err(|error| error.code);
        assert_eq!(code, Err(Code::Invalid), "{target}");
    }
    pair.settle()?;
    assert_eq!(pair.log().len(), 1, "nothing of them remains");
    Ok(())
}

#[test]
fn subscriptions_come_before_what_is_queued() -> Outcome {
    for mut pair in all(&[]) {
        pair.emit(Some(1), 0, "/q", "queued")?;
        pair.subscribe(2, 10, "/q")?;
        pair.connect().settle()?;
        let log = pair.log();
        assert!(log[1].starts_with("SUBSCRIBE"), "{log:?}");
        assert!(log[2].starts_with("SEND"), "{log:?}");
        assert_eq!(pair.told(), [CONNECTED, done(2), done(1)]);
        pair.again()?;
        assert_eq!(pair.log().len(), 2);
    }
    Ok(())
}

#[test]
fn a_message_is_for_whom_it_names() -> Outcome {
    for pair in all(&[]) {
        let mut pair = pair.ready()?;
        pair.subscribe(1, 10, "/queue/q")?;
        pair.subscribe(2, 11, "/queue/r")?;
        pair.settle()?;
        pair.forget();
        pair.arrives("11", "m1", "x")?;
        pair.arrives_with(
            "10",
            "m2",
            "",
            &[("redelivered", "true"), ("destination", "/no")],
        )?;
        let told = [message(11, "/queue/q", "x"), message(10, "/queue/q", "")];
        assert_eq!(pair.told(), told);
        let (first, second) = (pair.metas[0].clone(), pair.metas[1].clone());
        assert_eq!((first.flags, first.id), (0, 1));
        assert_eq!((second.flags, second.id), (1, 2));
        let headers = second.extra.map(|extra| *extra).unwrap_or_default();
        let Value::Map(entries) = headers else {
            panic!("no headers");
        };
        let names: Vec<_> = entries
            .iter()
            .map(|(name, _)| name.escape_ascii().to_string())
            .collect();
        let mut expected = vec![
            "subscription",
            "destination",
            "message-id",
            "ack",
            "redelivered",
        ];
        if pair.client.version() != Version::V12 {
            expected.remove(3);
        }
        expected.push("content-length");
        assert_eq!(names, expected, "the first of equal names only");
        pair.arrives("12", "m3", "x")?;
        assert_eq!(pair.told(), [], "nobody's");
        assert_eq!(pair.client.counters().received, 2);
        assert_eq!(pair.client.counters().dropped, 1);
    }
    Ok(())
}

#[test]
fn without_a_subscription_header_the_destination_counts() -> Outcome {
    let mut pair = speaking(Version::V10, &[]).ready()?;
    pair.subscribe(1, 10, "/queue/q")?;
    pair.settle()?;
    pair.forget();
    let headers = [("destination", "/queue/q"), ("message-id", "m")];
    pair.hears(Word::Message, &headers, "x")?;
    assert_eq!(pair.told(), [message(10, "/queue/q", "x")]);
    pair.hears(Word::Message, &[("destination", "/queue/r")], "x")?;
    assert_eq!(pair.told(), []);
    Ok(())
}

#[test]
fn a_message_confirms_where_the_receipt_is_late() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.silent.push(Word::Subscribe);
    pair.subscribe(1, 10, "/queue/q")?;
    pair.settle()?;
    assert_eq!(pair.told(), []);
    pair.arrives("10", "m", "x")?;
    assert_eq!(pair.told(), [done(1), message(10, "/queue/q", "x")]);
    pair.hears(Word::Receipt, &[("receipt-id", "0")], "")?;
    assert_eq!(pair.told(), []);
    assert!(!pair.client.awaits_answer());
    Ok(())
}

#[test]
fn a_refused_subscription_is_told_and_not_asked_for_again() -> Outcome {
    for names in [true, false] {
        let mut pair = wired(&[]).ready()?;
        pair.peer.poison = Some(("/bad", names));
        pair.subscribe(1, 10, "/bad")?;
        let error = pair.after_error()?;
        assert_eq!((error.code, error.fatal), (Code::Refused, false));
        pair.settle()?;
        assert_eq!(pair.told(), [failed(1, "refused"), CONNECTED]);
        assert!(
            pair.texts[0].contains("not_found: no such thing"),
            "{:?}",
            pair.texts
        );
        assert_eq!(pair.log().len(), 1);
        pair.peer.poison = None;
        pair.subscribe(2, 11, "/bad")?;
        pair.settle()?;
        pair.peer.poison = Some(("/bad", names));
        pair.lose();
        pair.forget();
        pair.connect();
        pair.after_error()?;
        pair.settle()?;
        let told = [CONNECTED, Told::State("unsubscribed"), CONNECTED];
        assert_eq!(pair.told(), told);
    }
    Ok(())
}

#[test]
fn unsubscribed_here_or_with_the_connection() -> Outcome {
    for pair in all(&[]) {
        let mut pair = pair.ready()?;
        for key in [10, 11, 12] {
            pair.subscribe(key, key, &format!("/q{key}"))?;
        }
        pair.settle()?;
        pair.forget();
        pair.unsubscribe(1, 10)?;
        assert_eq!(pair.told(), [done(1)]);
        assert_eq!(pair.log(), ["UNSUBSCRIBE id=10 destination=/q10 receipt=3"]);
        pair.peer.silent.push(Word::Unsubscribe);
        pair.unsubscribe(2, 11)?;
        assert_eq!(pair.told(), []);
        pair.lose();
        pair.unsubscribe(3, 12)?;
        assert_eq!(pair.told(), [done(2), done(3)]);
        pair.connect().settle()?;
        assert_eq!(pair.log().len(), 1);
        let outcome = pair.unsubscribe(4, 12);
        assert_eq!(outcome.map_err(|error| error.code), Err(Code::Invalid));
    }
    Ok(())
}

#[test]
fn one_that_ends_before_it_is_confirmed() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.peer.silent.push(Word::Subscribe);
    pair.subscribe(1, 10, "/q")?;
    pair.settle()?;
    pair.unsubscribe(2, 10)?;
    assert_eq!(pair.told(), [failed(1, "closed"), done(2)]);
    pair.hears(Word::Receipt, &[("receipt-id", "0")], "")?;
    assert_eq!(pair.told(), []);
    Ok(())
}

#[test]
fn an_end_waits_for_what_the_program_has_to_settle() -> Outcome {
    let mut pair = wired(&[("timeout", number(5))]).ready()?;
    pair.subscribe(1, 10, "/q")?;
    pair.settle()?;
    pair.arrives("10", "m1", "x")?;
    pair.forget();
    pair.unsubscribe(2, 10)?;
    assert_eq!(pair.told(), [done(2)], "a callback may have called it");
    pair.arrives("10", "m2", "y")?;
    assert_eq!(pair.told(), [], "nobody's any more");
    assert_eq!(pair.log(), [] as [&str; 0]);
    pair.settles(1, Verdict::Accept)?;
    let ends = ["ACK id=a-m1", "UNSUBSCRIBE id=10 destination=/q receipt=1"];
    assert_eq!(pair.log(), ends);

    pair.subscribe(3, 11, "/r")?;
    pair.settle()?;
    pair.arrives("11", "m3", "x")?;
    pair.unsubscribe(4, 11)?;
    pair.forget();
    pair.pass(seconds(5))?.settle()?;
    assert_eq!(pair.log(), ["UNSUBSCRIBE id=11 destination=/r receipt=3"]);
    pair.settles(2, Verdict::Accept)?;
    pair.settles(3, Verdict::Accept)?;
    assert_eq!(pair.log(), [] as [&str; 0], "too late");
    Ok(())
}

#[test]
fn rabbitmq_is_given_back_what_nobody_has_settled() -> Outcome {
    for (mode, expected) in [
        (
            "manual",
            vec!["NACK id=a-m1 requeue=true", "NACK id=a-m2 requeue=true"],
        ),
        ("client", vec!["NACK id=a-m2 requeue=true"]),
    ] {
        let mut pair = wired(&[("timeout", number(5))]);
        pair.peer.manners.name = "RabbitMQ/3.10.8";
        let mut pair = pair.ready()?;
        pair.subscribe_with(10, "/q", &[("ack", text(mode))])?;
        pair.settle()?;
        pair.arrives("10", "m1", "x")?;
        pair.unsubscribe(2, 10)?;
        pair.arrives_with("10", "m2", "y", &[("redelivered", "true")])?;
        pair.forget();
        pair.pass(seconds(5))?.settle()?;
        let log = pair.log();
        let end = "UNSUBSCRIBE id=10 destination=/q receipt=1";
        assert_eq!(log, [expected, vec![end]].concat());
    }
    Ok(())
}

#[test]
fn rabbitmq_s_temporary_queues_need_no_asking() -> Outcome {
    for name in ["RabbitMQ/3.10.8", "ActiveMQ/5.17.2"] {
        let mut pair = wired(&[]);
        pair.peer.manners.name = name;
        pair.subscribe(1, 10, "/temp-queue/r")?;
        pair.connect().settle()?;
        assert_eq!(pair.told(), [CONNECTED, done(1)]);
        let rabbit = name.starts_with("Rabbit");
        assert_eq!(pair.log().len(), if rabbit { 1 } else { 2 });
        let id = if rabbit { "/temp-queue/r" } else { "10" };
        pair.arrives(id, "m", "x")?;
        assert_eq!(pair.told(), [message(10, "/queue/q", "x")]);
        assert_eq!(pair.ids(), [u64::from(!rabbit)]);
        pair.settles(1, Verdict::Accept)?;
        pair.log();
        pair.unsubscribe(2, 10)?;
        assert_eq!(pair.log().len(), usize::from(!rabbit));
        assert_eq!(pair.told(), [done(2)]);
    }
    Ok(())
}

#[test]
fn a_durable_subscription_ends_by_its_own_end_only() -> Outcome {
    let durable = "durable=true auto-delete=false activemq.subscriptionName=d \
                   durable-subscription-name=d";
    for name in ["RabbitMQ/3.10.8", "ActiveMQ/5.17.2"] {
        let mut pair = wired(&[]);
        pair.peer.manners.name = name;
        let mut pair = pair.ready()?;
        let given = [("durable", text("d"))];
        let classic = ["UNSUBSCRIBE id=d destination=/t".to_owned()];
        let classic = match name.starts_with("Active") {
            true => &classic[..],
            false => &[],
        };
        let end = |receipt| format!("UNSUBSCRIBE id=d destination=/t receipt={receipt} {durable}");
        pair.subscribe_with(1, "/t", &given)?;
        pair.settle()?;
        pair.forget();
        pair.unsubscribe(2, 1)?;
        assert_eq!(pair.log(), [classic, &[end(1)]].concat());
        assert_eq!(pair.told(), [done(2)]);

        // Without a connection it ends on the next one.
        pair.subscribe_with(3, "/t", &given)?;
        pair.settle()?;
        pair.lose();
        pair.unsubscribe(4, 3)?;
        pair.forget();
        pair.connect().settle()?;
        let log = pair.log();
        let made = format!("SUBSCRIBE id=d destination=/t ack=client-individual {durable}");
        assert_eq!(log[1..], [&[made], classic, &[end(3)]].concat());
        pair.again()?;
        assert_eq!(pair.log().len(), 1);

        // A close leaves it.
        pair.subscribe_with(5, "/t", &given)?;
        pair.settle()?;
        pair.log();
        pair.submit(Command::Close { ticket: 6 })?;
        pair.settle()?;
        assert_eq!(pair.log(), ["DISCONNECT receipt=5"]);
    }
    Ok(())
}

#[test]
fn a_durable_end_is_not_forgotten_by_a_close() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    pair.subscribe_with(1, "/t", &[("durable", text("d"))])?;
    pair.settle()?;
    pair.arrives("d", "m", "x")?;
    pair.unsubscribe(2, 1)?;
    pair.log();
    pair.submit(Command::Close { ticket: 3 })?;
    pair.settle()?;
    let log = pair.log();
    assert!(log[0].starts_with("UNSUBSCRIBE id=d"), "{log:?}");
    assert_eq!(log.len(), 2);
    assert!(pair.client.finished());
    Ok(())
}

#[test]
fn an_id_is_free_once_its_subscription_has_ended() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    let given = [("id", text("x"))];
    pair.subscribe_with(1, "/a", &given)?;
    pair.settle()?;
    pair.arrives("x", "m", "1")?;
    pair.forget();
    pair.unsubscribe(2, 1)?;
    pair.subscribe_with(3, "/b", &given)?;
    pair.settle()?;
    let log = pair.log();
    assert!(log[0].starts_with("UNSUBSCRIBE id=x"), "{log:?}");
    assert!(log[1].starts_with("SUBSCRIBE id=x"), "{log:?}");
    pair.forget();
    pair.arrives("x", "m2", "2")?;
    assert_eq!(pair.told(), [message(3, "/queue/q", "2")]);
    Ok(())
}

#[test]
fn the_cost_of_a_subscription_does_not_grow_with_their_number() -> Outcome {
    let mut pair = wired(&[]).ready()?;
    for key in 1..=20_000 {
        pair.subscribe(key, key, &format!("/q/{key}"))?;
    }
    pair.settle()?;
    assert_eq!(pair.told().len(), 20_000);
    for key in 1..=20_000 {
        pair.submit(Command::Unsubscribe { ticket: key, key })?;
    }
    pair.settle()?;
    assert_eq!(pair.told().len(), 20_000);
    Ok(())
}
