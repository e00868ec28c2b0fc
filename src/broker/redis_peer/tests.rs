//! Connections of one broker, without I/O: what each is told, byte for byte as Redis 7.0 says it.

use crate::broker::testing::{accept, Rung};
use crate::broker::{Broker, Flow, Peer, Protocol, Settings, PLENTY};
use crate::codec::resp::encode_command;
use crate::error::{Code, Error};
use bytes::BytesMut;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

struct Wire {
    peer: Box<dyn Peer>,
    rung: Arc<Rung>,
    input: BytesMut,
    flow: Flow,
    now: Instant,
}

impl Wire {
    fn new(broker: &Arc<Broker>) -> Self {
        let (peer, rung) = accept(broker, Protocol::Redis);
        let mut wire = Wire {
            peer,
            rung,
            input: BytesMut::new(),
            flow: Flow::default(),
            now: Instant::now(),
        };
        wire.peer.connected(wire.now, &mut wire.flow);
        wire
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.input.extend_from_slice(bytes);
        self.peer.receive(self.now, &mut self.input, &mut self.flow)
    }

    /// What it writes next.
    fn told(&mut self) -> String {
        let mut out = BytesMut::new();
        self.peer.poll_transmit(self.now, &mut out, &mut self.flow);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Sends lines, as somebody would type them; what comes back.
    fn say(&mut self, lines: &str) -> String {
        self.receive(format!("{lines}\r\n").as_bytes())
            .expect("the connection goes on");
        self.told()
    }

    /// Sends what ends the connection: the error, and the last words.
    fn fail(&mut self, bytes: &[u8]) -> (Code, String) {
        let error = self.receive(bytes).expect_err("the connection ends");
        let mut out = BytesMut::new();
        self.peer.farewell(&mut out);
        (error.code, String::from_utf8_lossy(&out).into_owned())
    }

    fn end(mut self) {
        let cause = Error::lost("gone");
        self.peer.disconnected(&cause, &mut self.flow);
    }
}

fn broker() -> Arc<Broker> {
    Broker::new(Settings::default())
}

fn with_users(users: &[(&str, &str)]) -> Arc<Broker> {
    let owned = |text: &str| text.as_bytes().to_vec();
    let users: HashMap<_, _> = users.iter().map(|(a, b)| (owned(a), owned(b))).collect();
    Broker::new(Settings {
        users: Some(users),
        ..Settings::default()
    })
}

#[test]
fn messages_reach_channels_and_patterns_in_both_versions() {
    let broker = broker();
    let (mut old, mut new, mut from) = (Wire::new(&broker), Wire::new(&broker), Wire::new(&broker));
    assert_eq!(
        old.say("SUBSCRIBE news"),
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"
    );
    assert_eq!(
        old.say("PSUBSCRIBE n*"),
        "*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2\r\n"
    );
    new.say("HELLO 3");
    assert_eq!(
        new.say("SUBSCRIBE news"),
        ">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"
    );
    assert_eq!(from.say("PUBLISH news hi"), ":3\r\n");
    assert_eq!(from.say("publish other hi"), ":0\r\n");
    assert!(old.rung.0.load(Ordering::Relaxed));
    assert_eq!(
        old.told(),
        "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n"
    );
    assert_eq!(
        new.told(),
        ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n"
    );
    // What a client tells itself comes before the answer.
    assert_eq!(
        new.say("PUBLISH news x"),
        ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n:3\r\n"
    );
    assert_eq!(
        from.say("PUBSUB NUMSUB news x"),
        "*4\r\n$4\r\nnews\r\n:2\r\n$1\r\nx\r\n:0\r\n"
    );
    assert_eq!(from.say("PUBSUB CHANNELS"), "*1\r\n$4\r\nnews\r\n");
    assert_eq!(from.say("PUBSUB CHANNELS x*"), "*0\r\n");
    assert_eq!(from.say("PUBSUB NUMPAT"), ":1\r\n");
    old.end();
    new.end();
    assert_eq!(from.say("PUBLISH news hi"), ":0\r\n");
    assert_eq!(from.say("PUBSUB CHANNELS"), "*0\r\n");
    assert_eq!(from.say("PUBSUB NUMPAT"), ":0\r\n");
    assert_eq!(broker.counters().subscriptions.load(Ordering::Relaxed), 0);
}

#[test]
fn payloads_are_any_bytes() {
    let broker = broker();
    let (mut to, mut from) = (Wire::new(&broker), Wire::new(&broker));
    to.say("SUBSCRIBE c");
    let payload: Vec<u8> = (0..=255).collect();
    let mut command = BytesMut::new();
    encode_command(&mut command, &[b"PUBLISH", b"c", &payload]);
    from.receive(&command).expect("taken");
    let mut out = BytesMut::new();
    to.peer.poll_transmit(to.now, &mut out, &mut to.flow);
    assert!(out.ends_with(&[&payload[..], b"\r\n"].concat()));
}

#[test]
fn nothing_comes_after_the_end_of_a_subscription() {
    let broker = broker();
    let (mut to, mut from) = (Wire::new(&broker), Wire::new(&broker));
    to.say("PSUBSCRIBE a* b*");
    from.say("PUBLISH a1 x");
    let told = to.say("PUNSUBSCRIBE a*");
    let end = told.find("punsubscribe").expect("confirmed");
    assert!(told.find("pmessage").is_some_and(|message| message < end));
    from.say("PUBLISH a1 x");
    assert_eq!(to.told(), "");
    // The tag of the pattern that has ended is another one's now.
    to.say("PSUBSCRIBE c*");
    from.say("PUBLISH c1 x");
    assert!(to.told().contains("$2\r\nc*\r\n$2\r\nc1\r\n"));
    assert_eq!(
        to.say("UNSUBSCRIBE"),
        "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:2\r\n"
    );
    assert_eq!(
        to.say("UNSUBSCRIBE q"),
        "*3\r\n$11\r\nunsubscribe\r\n$1\r\nq\r\n:2\r\n"
    );
    assert_eq!(to.say("RESET"), "+RESET\r\n");
    assert_eq!(from.say("PUBLISH c1 x"), ":0\r\n");
}

#[test]
fn a_subscribed_connection_of_resp2_takes_little_else() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    wire.say("SUBSCRIBE a");
    assert_eq!(wire.say("PING"), "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert_eq!(wire.say("PING x"), "*2\r\n$4\r\npong\r\n$1\r\nx\r\n");
    assert_eq!(
        wire.say("PUBLISH a x"),
        "-ERR Can't execute 'publish': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
         this context\r\n"
    );
}

#[test]
fn errors_are_in_the_words_of_redis() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    for (line, told) in [
        ("foo a b", "-ERR unknown command 'foo', with args beginning with: 'a' 'b' \r\n"),
        ("PUBLISH x", "-ERR wrong number of arguments for 'publish' command\r\n"),
        ("PING a b", "-ERR wrong number of arguments for 'ping' command\r\n"),
        ("SUBSCRIBE", "-ERR wrong number of arguments for 'subscribe' command\r\n"),
        ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n"),
        ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'\r\n"),
        ("HELLO 3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'\r\n"),
        ("SELECT x", "-ERR value is not an integer or out of range\r\n"),
        ("SELECT 16", "-ERR DB index is out of range\r\n"),
        ("SELECT 15", "+OK\r\n"),
        ("CLIENT FOO", "-ERR unknown subcommand 'FOO'. Try CLIENT HELP.\r\n"),
        ("CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command\r\n"),
        (
            "CLIENT SETNAME 'a b'",
            "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
        ),
        ("CLIENT GETNAME", "$-1\r\n"),
        ("CLIENT SETNAME me", "+OK\r\n"),
        ("CLIENT GETNAME", "$2\r\nme\r\n"),
        ("CLIENT SETINFO LIB-NAME x", "+OK\r\n"),
        ("PUBSUB FOO", "-ERR unknown subcommand 'FOO'. Try PUBSUB HELP.\r\n"),
        ("ECHO hi", "$2\r\nhi\r\n"),
        ("PING", "+PONG\r\n"),
        (
            "AUTH x",
            "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?\r\n",
        ),
        ("AUTH a b c", "-ERR syntax error\r\n"),
        ("COMMAND COUNT", ":17\r\n"),
    ] {
        assert_eq!(wire.say(line), told, "{line}");
    }
    assert_eq!(
        wire.fail(b"PING\r\n*1\r\n+x\r\n"),
        (
            Code::Protocol,
            "+PONG\r\n-ERR Protocol error: expected '$', got '+'\r\n".to_owned()
        )
    );
}

#[test]
fn users_log_in_first() {
    let broker = with_users(&[("default", "common"), ("ann", "secret")]);
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let mut wire = Wire::new(&broker);
    assert_eq!(wire.say("PING"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(
        wire.say("PUBLISH a b"),
        "-NOAUTH Authentication required.\r\n"
    );
    assert!(wire
        .say("HELLO 3")
        .starts_with("-NOAUTH HELLO must be called"));
    for line in [
        "AUTH x",
        "AUTH ann common",
        "AUTH bob secret",
        "HELLO 3 AUTH ann x",
    ] {
        assert_eq!(wire.say(line), wrong, "{line}");
    }
    assert_eq!(wire.say("AUTH common"), "+OK\r\n");
    assert_eq!(wire.say("PING"), "+PONG\r\n");
    assert_eq!(wire.say("RESET"), "+RESET\r\n");
    assert_eq!(wire.say("PING"), "-NOAUTH Authentication required.\r\n");
    assert!(wire.say("HELLO 3 AUTH ann secret").starts_with("%7\r\n"));
    assert_eq!(wire.say("PING"), "+PONG\r\n");

    let mut stranger = Wire::new(&broker);
    assert_eq!(
        stranger.fail(b"*2\r\n$4\r\nPING\r\n$16385\r\n"),
        (
            Code::Protocol,
            "-ERR Protocol error: unauthenticated bulk length\r\n".to_owned()
        )
    );
}

#[test]
fn a_client_that_does_not_read_its_answers_is_not_read() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    let many = "PING\r\n".repeat(PLENTY);
    wire.receive(many.as_bytes()).expect("taken");
    assert!(wire.flow.full);
    assert!(!wire.input.is_empty(), "the rest waits");
    let mut pongs = 0;
    while wire.flow.full {
        let told = wire.told();
        assert!(told.len() < 2 * PLENTY);
        pongs += told.matches("+PONG").count();
        assert!(!wire.flow.full);
        wire.receive(b"").expect("taken");
    }
    pongs += wire.told().matches("+PONG").count();
    assert_eq!(pongs, PLENTY);
}

#[test]
fn a_slow_subscriber_is_cut_off_and_the_others_are_not() {
    let broker = Broker::new(Settings {
        max_queue_bytes: 10_000,
        ..Settings::default()
    });
    let (mut slow, mut quick, mut from) =
        (Wire::new(&broker), Wire::new(&broker), Wire::new(&broker));
    slow.say("SUBSCRIBE a");
    quick.say("SUBSCRIBE a");
    let mut receivers = Vec::new();
    for _ in 0..100 {
        receivers.push(from.say(&format!("PUBLISH a {}", "x".repeat(200))));
        assert!(quick.told().contains("message"));
        assert_eq!(quick.peer.deadline(), None);
    }
    assert_eq!(receivers.first().map(String::as_str), Some(":2\r\n"));
    assert_eq!(receivers.last().map(String::as_str), Some(":1\r\n"));
    assert!(slow.peer.deadline().is_some_and(|at| at <= slow.now));
    let error = slow.peer.expire(slow.now, &mut slow.flow);
    assert_eq!(error.map_err(|error| error.code), Err(Code::Full));
    assert_eq!(broker.counters().overruns.load(Ordering::Relaxed), 1);
    slow.end();
    assert_eq!(from.say("PUBSUB NUMSUB a"), "*2\r\n$1\r\na\r\n:1\r\n");
}

#[test]
fn subscriptions_are_limited() {
    let broker = Broker::new(Settings {
        max_subscriptions: 2,
        ..Settings::default()
    });
    let mut wire = Wire::new(&broker);
    wire.say("SUBSCRIBE a");
    wire.say("PSUBSCRIBE b");
    assert_eq!(
        wire.fail(b"SUBSCRIBE c\r\nPING\r\n"),
        (
            Code::Refused,
            "-ERR max number of subscriptions reached (2)\r\n".to_owned()
        )
    );
}

#[test]
fn who_says_quit_is_answered_and_not_heard_any_more() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    wire.receive(b"PING\r\nQUIT\r\nPING\r\n").expect("taken");
    assert!(!wire.peer.finished());
    assert_eq!(wire.told(), "+PONG\r\n+OK\r\n");
    assert!(wire.peer.finished());
}

#[test]
fn clients_see_each_other() {
    let broker = broker();
    let (mut one, mut two) = (Wire::new(&broker), Wire::new(&broker));
    two.say("HELLO 3 SETNAME second");
    two.say("SELECT 3");
    two.say("PSUBSCRIBE a b");
    two.say("SUBSCRIBE c");
    let list = one.say("CLIENT LIST");
    let lines: Vec<_> = list
        .lines()
        .filter(|line| line.starts_with("id="))
        .collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(lines[0].starts_with(
        "id=1 addr=1.2.3.4:5 laddr=1.2.3.4:6 name= age=0 idle=0 flags=N db=0 sub=0 psub=0"
    ));
    assert!(lines[0].ends_with("cmd=client|list user=default resp=2"));
    assert!(lines[1].ends_with("name=second age=0 idle=0 flags=P db=3 sub=1 psub=2 multi=-1 cmd=subscribe user=default resp=3"));
    for (command, wanted) in [
        ("CLIENT LIST TYPE pubsub", "id=2"),
        ("CLIENT LIST TYPE normal", "id=1"),
        ("CLIENT LIST ID 2 9", "id=2"),
    ] {
        let list = one.say(command);
        assert_eq!(list.matches("id=").count(), 1, "{list}");
        assert!(list.contains(wanted), "{list}");
    }
    assert_eq!(
        one.say("CLIENT LIST TYPE x"),
        "-ERR Unknown client type 'x'\r\n"
    );
    assert_eq!(one.say("CLIENT LIST ID x"), "-ERR Invalid client ID\r\n");
    assert_eq!(one.say("CLIENT LIST x"), "-ERR syntax error\r\n");
    two.say("RESET");
    assert!(one
        .say("CLIENT LIST ID 2")
        .contains("name= age=0 idle=0 flags=N db=0 sub=0 psub=0"));
    two.end();
    assert_eq!(one.say("CLIENT LIST ID 2"), "$0\r\n\r\n");
}

#[test]
fn a_client_ends_another() {
    let broker = broker();
    let (mut one, mut two) = (Wire::new(&broker), Wire::new(&broker));
    two.say("SUBSCRIBE c");
    assert_eq!(one.say("CLIENT KILL TYPE normal"), ":0\r\n");
    assert_eq!(one.say("CLIENT KILL 9.9.9.9:9"), "-ERR No such client\r\n");
    for wrong in [
        "TYPE x",
        "ID x",
        "ID 0",
        "TYPE",
        "TYPE pubsub ID",
        "SKIPME maybe",
        "x y",
    ] {
        assert!(
            one.say(&format!("CLIENT KILL {wrong}"))
                .starts_with("-ERR "),
            "{wrong}"
        );
    }
    assert_eq!(two.peer.deadline(), None);
    assert_eq!(
        one.say("CLIENT KILL TYPE pubsub USER default ADDR 1.2.3.4:5"),
        ":1\r\n"
    );
    assert!(two.rung.0.load(Ordering::Relaxed));
    assert!(two.peer.deadline().is_some_and(|at| at <= two.now));
    let error = two
        .peer
        .expire(two.now, &mut two.flow)
        .expect_err("it ends");
    assert_eq!(error.code, Code::Refused);
    two.end();
    assert_eq!(one.say("PUBSUB NUMSUB c"), "*2\r\n$1\r\nc\r\n:0\r\n");
    assert_eq!(one.say("CLIENT KILL SKIPME no ID 1"), ":1\r\n");
    assert!(one.peer.finished());
}

#[test]
fn calls_are_counted() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    let mut bytes = Vec::new();
    for _ in 0..3 {
        bytes.extend_from_slice(b"PUBLISH a b\r\n");
    }
    bytes.extend_from_slice(b"PING\r\nINFO commandstats\r\n");
    wire.receive(&bytes).expect("the connection goes on");
    assert!(wire.told().ends_with(
        "# Commandstats\r\ncmdstat_info:calls=1\r\ncmdstat_ping:calls=1\r\ncmdstat_publish:calls=3\r\n\r\n"
    ));
    assert!(!wire.say("INFO").contains("cmdstat"));
    assert!(wire.say("INFO everything").contains("cmdstat_info:calls=3"));
    wire.say("CONFIG RESETSTAT");
    assert!(!wire.say("INFO all").contains("publish"));
}
