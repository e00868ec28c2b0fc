//! Pub/sub frames as the specification writes them, and frames that only look like them. See [`super::vectors`].

use super::vectors::{check, reply, Vector};
use super::*;

fn pubsub(section: &'static str, bytes: &'static [u8], frame: Push<'static>, elements: &[Reply]) {
    let resp3 = (bytes[0] == b'>').then_some(Version::Resp3);
    let encode = Some((
        resp3.unwrap_or(Version::Resp2),
        push(elements.iter().cloned()),
    ));
    let frame = Frame::Push(frame);
    check(&Vector {
        section,
        bytes,
        frame,
        encode,
    });
}

#[test]
fn pushes() {
    let message = Push::Message {
        channel: b"second",
        payload: b"Hello",
    };
    let elements = [blob("message"), blob("second"), blob("Hello")];
    pubsub(
        "pub/sub: Wire protocol example",
        b"*3\r\n$7\r\nmessage\r\n$6\r\nsecond\r\n$5\r\nHello\r\n",
        message,
        &elements,
    );
    pubsub(
        "spec: Pushes",
        b">3\r\n$7\r\nmessage\r\n$6\r\nsecond\r\n$5\r\nHello\r\n",
        message,
        &elements,
    );
    let message = Push::PatternMessage {
        pattern: b"h*",
        channel: b"hello",
        payload: b"",
    };
    let elements = [blob("pmessage"), blob("h*"), blob("hello"), blob("")];
    pubsub(
        "pub/sub: Pattern-matching subscriptions",
        b"*4\r\n$8\r\npmessage\r\n$2\r\nh*\r\n$5\r\nhello\r\n$0\r\n\r\n",
        message,
        &elements,
    );
    pubsub(
        "spec: Pushes",
        b">4\r\n$8\r\npmessage\r\n$2\r\nh*\r\n$5\r\nhello\r\n$0\r\n\r\n",
        message,
        &elements,
    );
    let section = "pub/sub: Format of pushed messages";
    pubsub(
        section,
        b"*3\r\n$9\r\nsubscribe\r\n$5\r\nfirst\r\n:1\r\n",
        Push::Subscribed {
            kind: Channel::Exact,
            name: b"first",
            count: 1,
        },
        &[blob("subscribe"), blob("first"), number(1)],
    );
    pubsub(
        section,
        b">3\r\n$10\r\npsubscribe\r\n$5\r\nfirst\r\n:20\r\n",
        Push::Subscribed {
            kind: Channel::Pattern,
            name: b"first",
            count: 20,
        },
        &[blob("psubscribe"), blob("first"), number(20)],
    );
    pubsub(
        section,
        b">3\r\n$11\r\nunsubscribe\r\n$5\r\nfirst\r\n:0\r\n",
        Push::Unsubscribed {
            kind: Channel::Exact,
            name: Some(b"first"),
            count: 0,
        },
        &[blob("unsubscribe"), blob("first"), number(0)],
    );
    let nothing = Push::Unsubscribed {
        kind: Channel::Pattern,
        name: None,
        count: 0,
    };
    let elements = [blob("punsubscribe"), Reply::Null, number(0)];
    pubsub(
        section,
        b"*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n",
        nothing,
        &elements,
    );
    pubsub(
        section,
        b">3\r\n$12\r\npunsubscribe\r\n_\r\n:0\r\n",
        nothing,
        &elements,
    );
    pubsub(
        "PING, RESP2 with subscriptions",
        b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        Push::Pong,
        &[blob("pong"), blob("")],
    );
}

#[test]
fn look_alikes() {
    reply(
        "spec: Pushes, of another kind",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
        push([blob("invalidate"), array([blob("k")])]),
    );
    reply(
        "RESP3: Push type, its example",
        b">4\r\n+pubsub\r\n+message\r\n+somechannel\r\n+this is the message\r\n",
        push(["pubsub", "message", "somechannel", "this is the message"].map(simple)),
    );
    for (bytes, elements) in [
        (
            &b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n$1\r\nb\r\n"[..],
            &["subscribe", "a", "b"][..],
        ),
        (b"*2\r\n$7\r\nmessage\r\n$1\r\na\r\n", &["message", "a"]),
        (
            b"*4\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n$0\r\n\r\n",
            &["message", "a", "b", ""],
        ),
        (
            b"*3\r\n$8\r\npmessage\r\n$1\r\na\r\n$1\r\nb\r\n",
            &["pmessage", "a", "b"],
        ),
        (b"*1\r\n$4\r\npong\r\n", &["pong"]),
    ] {
        reply(
            "spec: Arrays",
            bytes,
            array(elements.iter().copied().map(blob)),
        );
    }
    reply(
        "spec: Pushes",
        b">2\r\n$4\r\npong\r\n$0\r\n\r\n",
        push([blob("pong"), blob("")]),
    );
    reply(
        "spec: Arrays, long count",
        b"*10\r\n:0\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n:9\r\n",
        array((0..10).map(number)),
    );
}
