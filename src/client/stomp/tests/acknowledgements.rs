//! ACK and NACK, by version and mode.

use super::*;

/// Subscribed with that mode, and three messages have come.
fn three(version: Version, name: &'static str, mode: &str) -> Result<Wired, Error> {
    let mut pair = speaking(version, &[]);
    pair.peer.manners.name = name;
    let mut pair = pair.ready()?;
    pair.subscribe_with(10, "/queue/q", &[("ack", text(mode))])?;
    pair.settle()?;
    for name in ["m1", "m2", "m3"] {
        pair.arrives("10", name, "x")?;
    }
    pair.forget();
    Ok(pair)
}

#[test]
fn each_version_has_its_own_headers() -> Outcome {
    for (version, ack, nack) in [
        (Version::V12, "ACK id=a-m1", Some("NACK id=a-m2")),
        (
            Version::V11,
            "ACK message-id=m1 subscription=10",
            Some("NACK message-id=m2 subscription=10"),
        ),
        (Version::V10, "ACK message-id=m1 subscription=10", None),
    ] {
        let mut pair = three(version, "Test/1", "manual")?;
        pair.settles(1, Verdict::Accept)?;
        assert_eq!(pair.log(), [ack]);
        pair.settles(2, Verdict::Reject)?;
        assert_eq!(pair.log(), Vec::from_iter(nack));
        pair.settles(2, Verdict::Accept)?;
        pair.settles(1, Verdict::Reject)?;
        assert_eq!(pair.log(), [] as [&str; 0], "once is enough");
    }
    Ok(())
}

#[test]
fn each_for_itself_and_in_any_order() -> Outcome {
    for version in [Version::V11, Version::V12] {
        let mut pair = three(version, "Test/1", "auto")?;
        for id in [3, 1, 2] {
            pair.settles(id, Verdict::Accept)?;
        }
        let named = |name: &str| match version {
            Version::V12 => format!("ACK id=a-{name}"),
            _ => format!("ACK message-id={name} subscription=10"),
        };
        assert_eq!(pair.log(), ["m3", "m1", "m2"].map(named));
    }
    Ok(())
}

#[test]
fn in_1_0_they_leave_in_order_and_none_behind_a_refused_one() -> Outcome {
    let ack = |name: &str| format!("ACK message-id={name} subscription=10");
    let mut pair = three(Version::V10, "Test/1", "auto")?;
    pair.settles(2, Verdict::Accept)?;
    assert_eq!(pair.log(), [] as [&str; 0], "the first is with the program");
    pair.settles(1, Verdict::Accept)?;
    assert_eq!(pair.log(), [ack("m2")], "which is about the first, too");
    pair.settles(3, Verdict::Reject)?;
    pair.arrives("10", "m4", "x")?;
    pair.settles(4, Verdict::Accept)?;
    assert_eq!(pair.log(), [] as [&str; 0]);
    Ok(())
}

#[test]
fn an_acknowledgement_of_mode_client_is_about_all_before_it() -> Outcome {
    for version in Version::ALL {
        let mut pair = three(version, "Test/1", "client")?;
        pair.subscribe_with(11, "/queue/r", &[("ack", text("client"))])?;
        pair.settle()?;
        pair.arrives("11", "n1", "x")?;
        pair.forget();
        pair.settles(2, Verdict::Accept)?;
        assert_eq!(pair.log().len(), 1);
        pair.settles(1, Verdict::Accept)?;
        assert_eq!(pair.log(), [] as [&str; 0], "it is acknowledged already");
        pair.settles(4, Verdict::Accept)?;
        pair.settles(3, Verdict::Accept)?;
        assert_eq!(pair.log().len(), 2);
    }
    Ok(())
}

#[test]
fn without_acknowledgements_there_are_none() -> Outcome {
    let mut pair = three(Version::V12, "Test/1", "none")?;
    pair.arrives("10", "m4", "x")?;
    assert_eq!(pair.ids(), [0]);
    pair.settles(0, Verdict::Accept)?;
    pair.settles(1, Verdict::Accept)?;
    assert_eq!(pair.log(), [] as [&str; 0]);
    Ok(())
}

#[test]
fn those_of_an_earlier_connection_are_dropped() -> Outcome {
    for version in Version::ALL {
        let mut pair = three(version, "Test/1", "manual")?;
        pair.again()?;
        pair.log();
        pair.arrives("10", "m1", "x")?;
        assert_eq!(pair.ids(), [4], "no number is used twice");
        for id in 1..=3 {
            pair.settles(id, Verdict::Accept)?;
        }
        assert_eq!(pair.log(), [] as [&str; 0]);
        pair.settles(4, Verdict::Accept)?;
        assert_eq!(pair.log().len(), 1);
        pair.lose();
        pair.settles(4, Verdict::Accept)?;
        pair.connect().settle()?;
        assert_eq!(pair.log().len(), 2);
    }
    Ok(())
}

#[test]
fn what_rabbitmq_delivers_a_second_time_is_not_put_back_again() -> Outcome {
    for (server, expected) in [
        ("RabbitMQ/3.10.8", "NACK id=a-m4 requeue=false"),
        ("ActiveMQ/5.17.2", "NACK id=a-m4"),
    ] {
        let mut pair = three(Version::V12, server, "auto")?;
        pair.settles(1, Verdict::Reject)?;
        assert_eq!(pair.log(), ["NACK id=a-m1"]);
        pair.arrives_with("10", "m4", "x", &[("redelivered", "true")])?;
        pair.settles(4, Verdict::Reject)?;
        assert_eq!(pair.log(), [expected]);
        pair.arrives_with("10", "m5", "x", &[("redelivered", "true")])?;
        let header = map(&[("requeue", text("true"))]);
        let given = [
            ("id", number(5)),
            ("accept", Value::Boolean(false)),
            ("header", header),
        ];
        pair.told();
        pair.command(7, "acknowledge", &given)?;
        pair.settle()?;
        assert_eq!(pair.log(), ["NACK id=a-m5 requeue=true"]);
        assert_eq!(pair.told(), [done(7)]);
    }
    Ok(())
}

#[test]
fn headers_that_the_session_writes_are_refused() -> Outcome {
    let mut pair = three(Version::V12, "Test/1", "manual")?;
    let given = [("id", number(1)), ("header", map(&[("id", text("x"))]))];
    let outcome = pair.command(7, "acknowledge", &given);
    assert_eq!(outcome.map_err(|error| error.code), Err(Code::Invalid));
    assert_eq!(pair.told(), []);
    Ok(())
}

#[test]
fn one_that_is_never_settled_does_not_keep_those_behind_it() -> Outcome {
    let mut pair = three(Version::V12, "Test/1", "manual")?;
    for id in 4..=10_000 {
        pair.arrives("10", &format!("m{id}"), "x")?;
        pair.settles(id, Verdict::Accept)?;
    }
    pair.forget();
    let held = pair.client.deliveries.len();
    assert!(held < 3000, "{held}");
    for id in [2, 3, 1] {
        pair.settles(id, Verdict::Accept)?;
    }
    assert_eq!(pair.log(), ["ACK id=a-m2", "ACK id=a-m3", "ACK id=a-m1"]);
    assert_eq!(pair.client.deliveries.len(), 0);
    Ok(())
}
