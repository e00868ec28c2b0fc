use super::*;
use crate::testing::{Pair, RedisServer, Told};
use std::time::Duration;

type Wired = Pair<Redis, RedisServer>;
type Outcome = Result<(), Error>;

fn options(entries: &[(&str, Value)]) -> Options {
    let entries = entries
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.clone()))
        .collect();
    Options::parse(&Value::Map(entries)).expect("valid options")
}

fn wired(entries: &[(&str, Value)]) -> Wired {
    Pair::new(Redis::new(options(entries)), RedisServer::new())
}

fn text(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

fn message(key: u64, source: &str, payload: &str) -> Told {
    Told::Message(key, source.into(), payload.into())
}

fn reached(ticket: u64, receivers: i64) -> Told {
    Told::Answered(ticket, Value::Integer(receivers))
}

fn done(ticket: u64) -> Told {
    Told::Answered(ticket, Value::Nil)
}

const CONNECTED: Told = Told::State("connected");

#[test]
fn subscribes_publishes_and_receives_over_one_connection() -> Outcome {
    let mut pair = wired(&[]);
    pair.subscribe(1, 10, "/user/9/*")?;
    pair.publish(Some(2), "/user/9/ad", "hello")?;
    pair.connect().settle()?;
    assert_eq!(
        pair.told(),
        [
            CONNECTED,
            done(1),
            message(10, "/user/9/ad", "hello"),
            reached(2, 1)
        ]
    );
    assert_eq!(pair.peer.version, Version::Resp3);
    Ok(())
}

use crate::codec::resp::Version;

#[test]
fn after_a_loss_subscriptions_come_before_what_is_queued() -> Outcome {
    let mut pair = wired(&[]);
    pair.subscribe(1, 10, "a*")?;
    pair.subscribe(2, 11, "b*")?;
    pair.connect().settle()?;
    pair.cut(&Error::lost("gone"))
        .publish(Some(3), "a1", "while offline")?;
    pair.peer.reset();
    pair.told();
    pair.connect().settle()?;
    assert_eq!(
        pair.peer.log,
        [
            "HELLO 3",
            "PSUBSCRIBE a*",
            "PSUBSCRIBE b*",
            "PUBLISH a1 while offline"
        ]
    );
    assert_eq!(
        pair.told(),
        [CONNECTED, message(10, "a1", "while offline"), reached(3, 1)]
    );
    Ok(())
}

#[test]
fn what_was_under_way_is_lost_and_what_was_not_is_kept() -> Outcome {
    let mut pair = wired(&[]);
    pair.connect().settle()?;
    pair.publish(Some(1), "c", "written")?;
    pair.publish(None, "c", "written")?;
    pair.transmit_into_the_void();
    pair.publish(Some(2), "c", "queued")?;
    pair.publish(None, "c", "queued")?;
    pair.submit(Command::Flush { ticket: 3 })?;
    pair.told();
    pair.cut(&Error::lost("gone"));
    assert_eq!(pair.told(), [Told::Failed(1, "lost", None)]);
    pair.peer.reset();
    pair.connect().settle()?;
    assert_eq!(
        pair.peer.log,
        ["HELLO 3", "PUBLISH c queued", "PUBLISH c queued"]
    );
    assert_eq!(
        pair.told(),
        [CONNECTED, reached(2, 0), Told::Failed(3, "lost", Some(1))],
        "the flush counts the post that was lost, and only that"
    );
    pair.submit(Command::Flush { ticket: 4 })?;
    assert_eq!(pair.told(), [done(4)], "a failure is told once");
    Ok(())
}

#[test]
fn a_server_without_hello_is_logged_into_by_auth_and_select() -> Outcome {
    let mut pair = wired(&[("password", text("secret")), ("db", Value::Integer(3))]);
    pair.peer.knows_hello = false;
    pair.peer.password = Some("secret");
    pair.publish(Some(1), "c", "p")?;
    pair.connect().settle()?;
    assert_eq!(
        pair.peer.log,
        [
            "HELLO 3 AUTH default secret",
            "AUTH secret",
            "SELECT 3",
            "PUBLISH c p"
        ]
    );
    assert_eq!(pair.told(), [CONNECTED, reached(1, 0)]);
    Ok(())
}

#[test]
fn a_server_without_hello_that_wants_a_password_is_found_out() {
    let mut pair = wired(&[]);
    pair.peer.knows_hello = false;
    pair.peer.refuses = Some(("PING", "NOAUTH Authentication required."));
    let error = pair.connect().settle().err().expect("an error");
    assert_eq!((error.code, error.fatal), (Code::Auth, true), "{error}");
    assert_eq!(pair.told(), [], "it was never connected");
}

#[test]
fn on_resp2_subscriptions_are_handed_back_once() -> Outcome {
    let mut pair = wired(&[]);
    pair.peer.knows_hello = false;
    pair.subscribe(1, 10, "a*")?;
    pair.connect().settle()?;
    assert_eq!(pair.told(), [CONNECTED, Told::State("split")]);
    pair.publish(Some(2), "a1", "p")?;
    pair.settle()?;
    assert_eq!(pair.told(), [reached(2, 0)], "publishing goes on here");
    pair.cut(&Error::lost("gone"));
    pair.peer.reset();
    pair.connect().settle()?;
    assert_eq!(
        pair.told(),
        [CONNECTED],
        "the subscription is no longer this session's"
    );

    let mut reader = wired(&[("role", text("subscriber"))]);
    reader.peer.knows_hello = false;
    reader.subscribe(1, 10, "a*")?;
    reader.connect().settle()?;
    assert_eq!(reader.told(), [CONNECTED, done(1)]);
    reader.inject(b"*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\na1\r\n$1\r\np\r\n")?;
    assert_eq!(reader.told(), [message(10, "a1", "p")]);
    Ok(())
}

#[test]
fn wrong_credentials_are_fatal_and_a_loading_server_is_not() -> Outcome {
    for (password, refuses, code, fatal) in [
        (Some("right"), None, Code::Auth, true),
        (
            None,
            Some(("HELLO", "LOADING Redis is loading the dataset in memory")),
            Code::Refused,
            false,
        ),
        (
            None,
            Some(("HELLO", "ERR max number of clients reached")),
            Code::Refused,
            false,
        ),
        (
            None,
            Some(("SELECT", "ERR DB index is out of range")),
            Code::Refused,
            true,
        ),
    ] {
        let mut pair = wired(&[("password", text("wrong")), ("db", Value::Integer(99))]);
        pair.peer.password = password;
        pair.peer.refuses = refuses;
        let error = pair.connect().settle().err().expect("an error");
        assert_eq!((error.code, error.fatal), (code, fatal), "{error}");
    }
    Ok(())
}

#[test]
fn a_refused_command_fails_alone() -> Outcome {
    let mut pair = wired(&[]);
    pair.peer.refuses = Some(("PSUBSCRIBE", "NOPERM no permissions to access a channel"));
    pair.subscribe(1, 10, "a*")?;
    pair.connect().settle()?;
    assert_eq!(pair.told(), [CONNECTED, Told::Failed(1, "refused", None)]);
    pair.peer.refuses = Some(("PUBLISH", "NOPERM no permissions to access a channel"));
    pair.publish(Some(2), "c", "p")?;
    for _ in 0..3 {
        pair.publish(None, "c", "p")?;
    }
    pair.submit(Command::Flush { ticket: 3 })?;
    pair.settle()?;
    assert_eq!(
        pair.told(),
        [
            Told::Failed(2, "refused", None),
            Told::Failed(3, "refused", Some(3))
        ]
    );
    Ok(())
}

#[test]
fn a_subscription_refused_on_renewal_is_told_and_gone() -> Outcome {
    let mut pair = wired(&[]);
    pair.subscribe(1, 10, "a*")?;
    pair.connect().settle()?;
    pair.cut(&Error::lost("gone"));
    pair.peer.reset();
    pair.peer.refuses = Some(("PSUBSCRIBE", "NOPERM"));
    pair.told();
    pair.connect().settle()?;
    assert_eq!(pair.told(), [CONNECTED, Told::State("unsubscribed")]);
    Ok(())
}

#[test]
fn an_idle_connection_is_probed_and_given_up_when_nothing_comes_back() -> Outcome {
    let mut pair = wired(&[
        ("keepalive", Value::Integer(60)),
        ("timeout", Value::Integer(5)),
    ]);
    pair.connect().settle()?;
    pair.pass(Duration::from_secs(59))?;
    pair.settle()?;
    assert_eq!(pair.peer.log, ["HELLO 3"]);
    pair.pass(Duration::from_secs(1))?.settle()?;
    assert_eq!(pair.peer.log, ["HELLO 3", "PING"]);
    pair.pass(Duration::from_secs(60))?;
    pair.transmit_into_the_void();
    let error = pair
        .pass(Duration::from_secs(5))
        .err()
        .expect("silence is an error");
    assert_eq!((error.code, error.fatal), (Code::Timeout, false));
    Ok(())
}

#[test]
fn silence_while_nobody_takes_messages_is_no_time_out() -> Outcome {
    let mut pair = wired(&[
        ("keepalive", Value::Integer(10)),
        ("timeout", Value::Integer(5)),
    ]);
    pair.subscribe(1, 10, "a*")?;
    pair.connect().settle()?;
    pair.room = 1;
    for payload in ["1", "2", "3"] {
        pair.publish(None, "a", payload)?;
    }
    pair.settle()?;
    assert_eq!(pair.told(), [CONNECTED, done(1), message(10, "a", "1")]);
    pair.pass(Duration::from_secs(3600))?;
    pair.room = 10;
    pair.deliver()?;
    assert_eq!(pair.told(), [message(10, "a", "2"), message(10, "a", "3")]);
    pair.pass(Duration::from_secs(9))?;
    Ok(())
}

#[test]
fn who_waits_offline_is_told_when_the_time_is_over() -> Outcome {
    let mut pair = wired(&[("timeout", Value::Integer(10))]);
    pair.subscribe(1, 10, "a*")?;
    pair.publish(Some(2), "a1", "withdrawn")?;
    pair.publish(None, "a1", "kept")?;
    pair.pass(Duration::from_secs(9))?;
    assert_eq!(pair.told(), []);
    pair.pass(Duration::from_secs(1))?;
    assert_eq!(
        pair.told(),
        [
            Told::Failed(1, "timeout", None),
            Told::Failed(2, "timeout", None)
        ]
    );
    pair.connect().settle()?;
    assert_eq!(
        pair.told(),
        [CONNECTED, message(10, "a1", "kept")],
        "the subscription is still wanted; the emit was withdrawn"
    );
    Ok(())
}

#[test]
fn a_full_queue_follows_its_policy() -> Outcome {
    let full = |policy| {
        let mut pair = wired(&[("overflow", text(policy)), ("max_queue", Value::Integer(2))]);
        pair.publish(Some(1), "c", "1")?;
        pair.publish(None, "c", "2")?;
        let third = pair.publish(None, "c", "3").map_err(|error| error.code);
        pair.submit(Command::Flush { ticket: 9 })?;
        let told = pair.told();
        pair.connect().settle()?;
        let sent: Vec<_> = pair.peer.log.drain(1..).collect();
        Ok::<_, Error>((
            third,
            told,
            sent,
            pair.told(),
            pair.client.counters().dropped,
        ))
    };
    for policy in ["block", "error"] {
        let (third, _, sent, told, dropped) = full(policy)?;
        assert_eq!((third, dropped), (Err(Code::Full), 0), "{policy}");
        assert_eq!(sent, ["PUBLISH c 1", "PUBLISH c 2"]);
        assert!(told.contains(&Told::State("room")), "{told:?}");
    }
    let (third, _, sent, _, dropped) = full("drop_newest")?;
    assert_eq!((third, dropped), (Err(Code::Full), 1));
    assert_eq!(sent, ["PUBLISH c 1", "PUBLISH c 2"]);
    let (third, told, sent, _, dropped) = full("drop_oldest")?;
    assert_eq!((third, dropped), (Ok(()), 1));
    assert_eq!(
        told,
        [Told::State("dropped"), Told::Failed(1, "full", None)]
    );
    assert_eq!(sent, ["PUBLISH c 2", "PUBLISH c 3"]);
    Ok(())
}

#[test]
fn closing_sends_what_is_queued_first() -> Outcome {
    let mut pair = wired(&[]);
    pair.connect().settle()?;
    pair.publish(None, "c", "last words")?;
    pair.submit(Command::Close { ticket: 1 })?;
    assert!(!pair.client.finished());
    assert_eq!(
        pair.publish(None, "c", "too late").map_err(|e| e.code),
        Err(Code::Closed)
    );
    pair.settle()?;
    assert!(pair.client.finished());
    pair.terminate(&Error::closed());
    assert_eq!(pair.peer.log, ["HELLO 3", "PUBLISH c last words"]);
    assert_eq!(pair.told(), [CONNECTED, done(1)]);
    Ok(())
}

#[test]
fn termination_answers_everybody_once() -> Outcome {
    let mut pair = wired(&[]);
    pair.connect().settle()?;
    pair.subscribe(1, 10, "a*")?;
    pair.publish(Some(2), "c", "in flight")?;
    pair.transmit_into_the_void();
    pair.publish(Some(3), "c", "queued")?;
    pair.publish(None, "c", "queued")?;
    pair.submit(Command::Flush { ticket: 4 })?;
    pair.submit(Command::Close { ticket: 5 })?;
    pair.told();
    pair.terminate(&Error::fatal(Code::Auth, "no"));
    let mut tickets: Vec<_> = pair
        .told()
        .into_iter()
        .map(|told| match told {
            Told::Failed(ticket, code, _) => (ticket, code),
            other => panic!("{other:?}"),
        })
        .collect();
    tickets.sort_unstable();
    assert_eq!(
        tickets,
        [
            (1, "auth"),
            (2, "lost"),
            (3, "auth"),
            (4, "auth"),
            (5, "lost")
        ]
    );
    Ok(())
}

#[test]
fn garbage_and_unasked_answers_end_the_connection() -> Outcome {
    let nonsense: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b":1\r\n",
        b"+OK\r\n",
        b"$536870912\r\n",
    ];
    for bytes in nonsense {
        let mut pair = wired(&[]);
        pair.connect().settle()?;
        let error = pair.inject(bytes).expect_err("refused");
        assert_eq!(error.code, Code::Protocol, "{error}");
    }
    Ok(())
}

#[test]
fn unsubscribing_is_confirmed_and_deaf_at_once() -> Outcome {
    let mut pair = wired(&[]);
    pair.subscribe(1, 10, "a*")?;
    pair.connect().settle()?;
    pair.submit(Command::Unsubscribe { ticket: 2, key: 10 })?;
    pair.told();
    pair.inject(b">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$1\r\np\r\n")?;
    assert_eq!(pair.told(), [], "under way when it ended");
    pair.settle()?;
    assert_eq!(pair.told(), [done(2)]);
    pair.cut(&Error::lost("gone"));
    pair.peer.reset();
    pair.connect().settle()?;
    assert_eq!(pair.peer.log, ["HELLO 3"], "not renewed");
    Ok(())
}

#[test]
fn subscribing_again_waits_again_until_it_is_confirmed() -> Outcome {
    let mut pair = wired(&[("timeout", Value::Integer(10))]);
    pair.subscribe(1, 10, "a*")?;
    pair.pass(Duration::from_secs(10))?;
    pair.subscribe(2, 10, "a*")?;
    assert_eq!(pair.told(), [Told::Failed(1, "timeout", None)]);
    assert_eq!(
        pair.subscribe(3, 11, "a*").map_err(|error| error.code),
        Err(Code::Invalid),
        "another key"
    );
    pair.connect().settle()?;
    assert_eq!(pair.told(), [CONNECTED, done(2)]);
    pair.subscribe(4, 10, "a*")?;
    assert_eq!(pair.told(), [done(4)]);
    assert_eq!(pair.peer.log, ["HELLO 3", "PSUBSCRIBE a*"]);
    Ok(())
}

#[test]
fn after_a_fatal_error_every_command_is_told_of_it() {
    let mut pair = wired(&[]);
    pair.terminate(&Error::fatal(Code::Auth, "WRONGPASS"));
    for ticket in [1, 2] {
        let error = pair.publish(Some(ticket), "c", "p").expect_err("ended");
        assert_eq!((error.code, error.text.as_str()), (Code::Auth, "WRONGPASS"));
    }
}

#[test]
fn a_flush_after_the_end_counts_the_posts_that_did_not_make_it() -> Outcome {
    let mut pair = wired(&[]);
    for _ in 0..3 {
        pair.publish(None, "c", "p")?;
    }
    let cause = Error::fatal(Code::Auth, "WRONGPASS");
    pair.terminate(&cause);
    pair.client.forfeit(&cause, &mut Batch::default());
    pair.submit(Command::Flush { ticket: 1 })?;
    pair.submit(Command::Flush { ticket: 2 })?;
    assert_eq!(
        pair.told(),
        [
            Told::Failed(1, "auth", Some(4)),
            Told::Failed(2, "auth", Some(0))
        ]
    );
    Ok(())
}
