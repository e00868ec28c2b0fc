//! Connecting, topics, headers, receipts, heart-beats.

use super::*;
use crate::broker::{Extra, Kind, Message};
use crate::codec::resp::encode_command;
use bytes::Bytes;
use std::collections::HashMap;

const VERSIONS: [&str; 3] = ["1.0", "1.1", "1.2"];

#[test]
fn the_newest_common_version_is_spoken() {
    let broker = broker();
    let server = concat!("server:MQ/", env!("CARGO_PKG_VERSION"), "\n");
    for (accepts, version) in [
        ("", "1.0"),
        ("accept-version:1.0\n", "1.0"),
        ("accept-version:1.1, 1.0\n", "1.1"),
        ("accept-version:1.0,1.1,1.2,9.9\n", "1.2"),
    ] {
        for word in ["CONNECT", "STOMP"] {
            let mut wire = Wire::bare(&broker);
            assert!(!wire.peer.accepted());
            let told = wire.say(&format!("{word}\n{accepts}host:anything\n\n^\n"));
            let start = format!("CONNECTED\nversion:{version}\nsession:");
            assert!(told.starts_with(&start) && told.contains(server), "{told}");
            assert_eq!(told.contains("heart-beat:"), version != "1.0");
            assert!(wire.peer.accepted());
        }
    }
    let mut wire = Wire::bare(&broker);
    let (code, told) = wire.fail("CONNECT\naccept-version:2.0,3\nhost:x\n\n^");
    assert_eq!(code, Code::Refused);
    assert!(told.starts_with("ERROR\nmessage:no version of \"2.0,3\""));
    assert!(told.contains("\nversion:1.0,1.1,1.2\n"), "{told}");
}

#[test]
fn users_log_in() {
    let text = |text: &str| text.as_bytes().to_vec();
    let users = [("ann", "secret"), ("default", "common")];
    let users: HashMap<_, _> = { users }.map(|(a, b)| (text(a), text(b))).into();
    let broker = Broker::new(Settings {
        users: Some(users),
        ..Settings::default()
    });
    for good in ["login:ann\npasscode:secret\n", "passcode:common\n"] {
        let mut wire = Wire::bare(&broker);
        assert!(wire
            .say(&format!("CONNECT\n{good}\n^"))
            .contains("CONNECTED"));
    }
    for bad in [
        "",
        "login:ann\n",
        "login:ann\npasscode:common\n",
        "login:bob\npasscode:secret\n",
    ] {
        let (code, told) = Wire::bare(&broker).fail(&format!("CONNECT\n{bad}receipt:1\n\n^"));
        assert_eq!(code, Code::Auth);
        assert!(
            told.starts_with("ERROR\nmessage:access refused for the login"),
            "{told}"
        );
    }
    // Nothing large is taken from strangers.
    let (_, told) = Wire::bare(&broker).fail("CONNECT\ncontent-length:2000\n\n");
    assert!(told.contains("the limit is 1024"), "{told}");
}

#[test]
fn a_connection_begins_with_connect_and_once() {
    let broker = broker();
    for first in [
        "SEND\ndestination:x\nreceipt:7\n\n^",
        "NACK\nid:x\n\n^",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        let (code, told) = Wire::bare(&broker).fail(first);
        assert_eq!(code, Code::Protocol);
        assert!(told.starts_with("ERROR\nmessage:"), "{told}");
        assert_eq!(told.contains("receipt-id:7"), first.contains("receipt"));
    }
    let (_, told) = Wire::new(&broker).fail("CONNECT\naccept-version:1.2\n\n^");
    assert!(told.contains("connected already"));
    let mut silent = Wire::bare(&broker);
    silent.receive(b"CONNECT\naccept").expect("so far");
    let error = silent.pass(seconds(11)).expect_err("time is over");
    assert_eq!(error.code, Code::Timeout);
    assert!(silent.farewell().contains("no CONNECT within 10 s"));
}

#[test]
fn topics_reach_every_subscriber_in_every_version() {
    let broker = broker();
    let mut wires: Vec<_> = { VERSIONS }
        .iter()
        .map(|v| Wire::speaking(&broker, v))
        .collect();
    for wire in &mut wires {
        let told = wire.say("SUBSCRIBE\nid:0\ndestination:/topic/news\nreceipt:r1\n\n^");
        assert_eq!(told, "RECEIPT\nreceipt-id:r1\n\n^");
    }
    let mut from = Wire::new(&broker);
    let told = from.say(
        "SEND\ndestination:/topic/news\ncolour:red\ncontent-type:text/plain\nreceipt:1\n\nhi^",
    );
    assert_eq!(told, "RECEIPT\nreceipt-id:1\n\n^");
    for wire in &mut wires {
        assert!(wire.is_rung());
        let told = wire.told();
        let id = values(&told, "message-id").remove(0);
        assert_eq!(
            told,
            format!(
                "MESSAGE\nsubscription:0\nmessage-id:{id}\ndestination:/topic/news\ncolour:red\n\
                 content-type:text/plain\ncontent-length:2\n\nhi^"
            )
        );
    }
    for wire in &mut wires {
        let told = wire.say("UNSUBSCRIBE\nid:0\nreceipt:r2\n\n^");
        assert_eq!(told, "RECEIPT\nreceipt-id:r2\n\n^");
    }
    from.say(&send("/topic/news", "nobody"));
    assert!(wires.iter_mut().all(|wire| wire.told().is_empty()));
    assert_eq!(broker.counters().subscriptions.load(Ordering::Relaxed), 0);
    assert_eq!(broker.counters().sent.load(Ordering::Relaxed), 3);
    assert_eq!(broker.counters().received.load(Ordering::Relaxed), 2);
}

#[test]
fn a_bare_name_and_any_other_is_a_topic_and_shown_as_it_was_subscribed_to() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    wire.say(&subscribe("a", "/topic/x", "auto"));
    wire.say(&subscribe("b", "x", "auto"));
    wire.say(&subscribe("c", "/user/9", "auto"));
    let told = wire.say(&send("x", "1"));
    assert_eq!(values(&told, "subscription"), ["a", "b"]);
    assert_eq!(values(&told, "destination"), ["/topic/x", "x"]);
    assert_eq!(
        values(&wire.say(&send("/topic//user/9", "2")), "subscription"),
        ["c"]
    );
    assert_eq!(wire.say(&send("/queue/x", "3")), "");
    for bad in ["/topic/", "/queue/", "/temp-queue/", "/reply-queue/", ""] {
        let (code, told) = Wire::new(&broker).fail(&send(bad, ""));
        assert_eq!(code, Code::Protocol);
        assert!(told.contains("has no name"), "{told}");
    }
    let (_, told) = Wire::new(&broker).fail("SEND\nreceipt:3\n\n^");
    assert_eq!(
        told,
        "ERROR\nmessage:SEND needs the header destination\nreceipt-id:3\ncontent-length:0\n\n^"
    );
}

#[test]
fn headers_and_bodies_are_handed_on_as_far_as_a_version_can_say_them() {
    let broker = broker();
    let mut wires: Vec<_> = { VERSIONS }
        .iter()
        .map(|v| Wire::speaking(&broker, v))
        .collect();
    for wire in &mut wires {
        wire.say(&subscribe("0", "/topic/t", "auto"));
    }
    let mut from = Wire::new(&broker);
    from.say(
        "SEND\ndestination:/topic/t\na:1\na:2\nline:x\\ny\\cz\nreturn:\\r\nmessage-id:mine\nsubscription:mine\n\
         ack:mine\nredelivered:true\nreceipt:\\c\ncontent-length:3\npersistent:true\n\n\0\0^^",
    );
    let head = |wire: &mut Wire| {
        let told = wire.told();
        assert!(told.ends_with("\ncontent-length:3\n\n^^^^"), "{told}");
        let lines: Vec<_> = told.lines().skip(4).map(str::to_owned).collect();
        lines[..lines.len() - 3].join(" ")
    };
    assert_eq!(head(&mut wires[0]), "a:1 a:2 persistent:true");
    assert_eq!(
        head(&mut wires[1]),
        "a:1 a:2 line:x\\ny\\cz persistent:true"
    );
    assert_eq!(
        head(&mut wires[2]),
        "a:1 a:2 line:x\\ny\\cz return:\\r persistent:true"
    );
}

#[test]
fn other_protocols_share_the_names() {
    let broker = broker();
    let mut stomp = Wire::new(&broker);
    stomp.say(&subscribe("0", "/topic/a/b", "client"));
    let rung = Arc::<Rung>::default();
    let bell: Weak<dyn Bell> = Arc::<Rung>::downgrade(&rung);
    let (mut flow, now) = (Flow::default(), Instant::now());
    let mut redis = broker.accept(Protocol::Redis, "r", "l", bell);
    redis.connected(now, &mut flow);
    let mut ask = |words: &[&[u8]]| {
        let (mut bytes, mut out) = (BytesMut::new(), BytesMut::new());
        encode_command(&mut bytes, words);
        redis.receive(now, &mut bytes, &mut flow).expect("taken");
        redis.poll_transmit(now, &mut out, &mut flow);
        out
    };
    ask(&[b"HELLO", b"3"]);
    ask(&[b"PSUBSCRIBE", b"a/*"]);
    stomp.say("SEND\ndestination:/topic/a/b\nx:y\ncontent-length:2\n\n^\u{1}^");
    let told = ask(&[b"PING"]);
    assert!(
        told.ends_with(b"$8\r\npmessage\r\n$3\r\na/*\r\n$3\r\na/b\r\n$2\r\n\0\x01\r\n"),
        "{told:?}"
    );
    assert_eq!(bodies(&stomp.told()).len(), 0, "it was told before");
    let any: Vec<u8> = (1..=255).collect();
    ask(&[b"PUBLISH", b"a/b", &any]);
    let bytes = stomp.bytes();
    assert!(bytes.ends_with(&[b"content-length:255\n\n", &any[..], b"\0"].concat()));
    // What other protocols carry beside the payload, and what of it could be mistaken.
    let header = |name: &'static str, value: &'static str| {
        (
            Bytes::from_static(name.as_bytes()),
            Bytes::from_static(value.as_bytes()),
        )
    };
    let message = Message {
        topic: Bytes::from_static(b"a/b"),
        extra: Some(Box::new(Extra {
            headers: vec![
                header("k", "v"),
                header("", "x"),
                header("destination", "x"),
                header("content-length", "9"),
            ],
            ..Extra::default()
        })),
        ..Message::default()
    };
    broker.publish(b"a/b", || Arc::new(message.clone()));
    broker.publish(b"a/b", || {
        Arc::new(Message {
            expires: Some(stomp.now),
            ..message
        })
    });
    let told = stomp.told();
    assert_eq!(bodies(&told), [""]);
    assert!(told.contains("\nk:v\ncontent-length:0\n\n"), "{told}");
    assert_eq!(values(&told, "destination"), ["/topic/a/b"]);
}

#[test]
fn what_came_before_the_end_of_a_subscription_is_told_before_it() {
    let broker = broker();
    let (mut to, mut from) = (Wire::new(&broker), Wire::new(&broker));
    to.say(&subscribe("0", "/topic/t", "auto"));
    from.say(&send("/topic/t", "one"));
    let told = to.say("UNSUBSCRIBE\nid:0\nreceipt:1\n\n^");
    assert!(told.starts_with("MESSAGE") && told.ends_with("RECEIPT\nreceipt-id:1\n\n^"));
    let (_, told) = to.fail("UNSUBSCRIBE\nid:0\nreceipt:2\n\n^");
    assert!(
        told.contains("no subscription \"0\"\nreceipt-id:2")
            || told.contains("no subscription \\\"0"),
        "{told}"
    );
}

#[test]
fn subscriptions_of_one_point_zero_need_no_id() {
    let broker = broker();
    let mut wire = Wire::speaking(&broker, "1.0");
    wire.say("SUBSCRIBE\ndestination:/topic/t\n\n^");
    let told = wire.say(&send("/topic/t", "x"));
    assert!(!told.contains("subscription:") && told.contains("destination:/topic/t"));
    assert_eq!(
        wire.say("UNSUBSCRIBE\ndestination:/topic/t\nreceipt:1\n\n^"),
        "RECEIPT\nreceipt-id:1\n\n^"
    );
    wire.say(&subscribe("named", "/topic/t", "auto"));
    assert_eq!(
        wire.say("UNSUBSCRIBE\ndestination:/topic/t\nreceipt:1\n\n^"),
        "RECEIPT\nreceipt-id:1\n\n^"
    );
    wire.say("SUBSCRIBE\ndestination:/topic/t\n\n^");
    let (_, told) = wire.fail("SUBSCRIBE\ndestination:/topic/t\n\n^");
    assert!(told.contains("already subscribed to"));
}

#[test]
fn what_a_subscription_cannot_have_is_refused() {
    let broker = Broker::new(Settings {
        max_subscriptions: 2,
        ..Settings::default()
    });
    for (bad, said) in [
        ("destination:x\n", "SUBSCRIBE needs the header id"),
        ("id:1\n", "SUBSCRIBE needs the header destination"),
        (
            "id:1\ndestination:x\nack:maybe\n",
            "ack is auto, client or client-individual",
        ),
        ("id:1\ndestination:x\nselector:a > 1\n", "no selectors"),
        (
            "id:1\ndestination:x\ndurable:true\n",
            "no durable subscriptions",
        ),
        (
            "id:1\ndestination:/topic/x\nactivemq.subscriptionName:n\n",
            "no durable subscriptions",
        ),
        (
            "id:1\ndestination:/queue/x\nprefetch-count:many\n",
            "is no number",
        ),
        ("id:0\ndestination:y\n", "another subscription has the id"),
        (
            "id:1\ndestination:/reply-queue/1-1\n",
            "another connection's",
        ),
    ] {
        let mut wire = Wire::new(&broker);
        wire.say(&subscribe("0", "x", "auto"));
        let (_, told) = wire.fail(&format!("SUBSCRIBE\n{bad}receipt:9\n\n^"));
        assert!(
            told.contains(said) && told.contains("\nreceipt-id:9\n"),
            "{told}"
        );
        wire.end();
    }
    let mut wire = Wire::new(&broker);
    wire.say(&subscribe("1", "/queue/x", "auto").replace("ack:", "durable:true\nack:"));
    wire.say(&subscribe("2", "x", "auto"));
    let (code, told) = wire.fail(&subscribe("3", "x", "auto"));
    assert_eq!(code, Code::Refused);
    assert!(told.contains("max number of subscriptions reached (2)"));
}

#[test]
fn heart_beats_go_both_ways() {
    let broker = broker();
    let mut wire = Wire::bare(&broker);
    let told = wire.say("CONNECT\naccept-version:1.2\nheart-beat:1000,500\n\n^");
    assert!(told.contains("heart-beat:500,1000\n"), "{told}");
    let mut beats = String::new();
    for _ in 0..10 {
        wire.receive(b"\r\n").expect("a heart-beat");
        beats += &wire.pass(Duration::from_millis(900)).expect("goes on");
    }
    assert!((18..=24).contains(&beats.len()), "{}", beats.len());
    assert!(beats.chars().all(|c| c == '\n'));
    let error = wire.pass(seconds(3)).expect_err("silent");
    assert_eq!(error.code, Code::Timeout);
    assert!(wire
        .farewell()
        .ends_with("due every 1 s\ncontent-length:0\n\n^"));

    // Neither wants any; one of 1.0 knows none; quicker than there are is not had.
    for (asked, answer) in [
        ("accept-version:1.2\n", "heart-beat:10000,10000\n"),
        (
            "accept-version:1.1\nheart-beat:0,0\n",
            "heart-beat:10000,10000\n",
        ),
        ("accept-version:1.0\nheart-beat:5,5\n", ""),
    ] {
        let mut wire = Wire::bare(&broker);
        let told = wire.say(&format!("CONNECT\n{asked}\n^"));
        assert!(told.contains(answer), "{told}");
        assert_eq!(wire.peer.deadline(), None);
    }
    let told = Wire::bare(&broker).say("CONNECT\naccept-version:1.2\nheart-beat:1,20\n\n^");
    assert!(told.contains("heart-beat:100,100\n"));
    let (_, told) = Wire::bare(&broker).fail("CONNECT\naccept-version:1.2\nheart-beat:x\n\n^");
    assert!(told.contains("is not two numbers"));
}

#[test]
fn who_says_disconnect_is_answered_and_not_heard_any_more() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    wire.say(&subscribe("0", "t", "auto"));
    let told = wire.say("DISCONNECT\nreceipt:bye\n\n^SEND\ndestination:t\n\nx^nonsense");
    assert_eq!(told, "RECEIPT\nreceipt-id:bye\n\n^");
    assert!(wire.peer.finished() && wire.input.is_empty());
    assert_eq!(broker.publish(b"t", Arc::<Message>::default), 0);
    assert_eq!(wire.peer.deadline(), None);
}

#[test]
fn the_router_forgets_who_has_gone() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    wire.say(&subscribe("0", "t", "auto"));
    wire.say(&subscribe("1", "t", "auto"));
    let mut other = Wire::new(&broker);
    other.say(&subscribe("0", "t", "auto"));
    assert_eq!(broker.router().count(b"t"), 3);
    wire.end();
    assert_eq!(broker.router().count(b"t"), 1);
    drop(other);
    assert_eq!(broker.router().count(b"t"), 0);
    let mut probe = broker.router();
    let id = probe.enrol(Arc::new(crate::broker::Mailbox::new(
        Weak::<Rung>::new(),
        1,
    )));
    probe.subscribe(Kind::Exact, &b"t"[..].into(), id, 0);
    assert!(id < 3, "places are used again");
}
