//! Limits, garbage, clients that do not read.

use super::*;
use proptest::prelude::*;

#[test]
fn frames_are_bounded() {
    let broker = Broker::new(Settings {
        max_packet: 1000,
        ..Settings::default()
    });
    for bad in [
        "SEND\ndestination:t\ncontent-length:1001\n\n".to_owned(),
        send("t", &"x".repeat(1001)),
        send("t", &"x".repeat(990)),
        "SEND\ndestination:t\n\n".to_owned() + &"x".repeat(1001),
        format!("SEND\n{}", "a:b\n".repeat(300)),
        format!("SEND\nlong:{}", "x".repeat(2000)),
    ] {
        let (code, told) = Wire::new(&broker).fail(&bad);
        assert_eq!(code, Code::Protocol);
        assert!(told.starts_with("ERROR\nmessage:"), "{told}");
    }
    let large = Wire::new(&super::broker()).fail(&format!("SEND\n{}", "a:b\n".repeat(513)));
    assert!(large.1.contains("more headers than the limit, 512"));
}

#[test]
fn a_client_that_does_not_read_its_receipts_is_not_read() {
    let broker = broker();
    let mut wire = Wire::bare(&broker);
    wire.say("CONNECT\naccept-version:1.2\nheart-beat:100,0\n\n^");
    let frame = "SEND\ndestination:t\nreceipt:1\n\n^".replace('^', "\0");
    wire.receive(frame.repeat(10_000).as_bytes())
        .expect("taken");
    assert!(wire.flow.full && !wire.input.is_empty());
    // It is not held against it that nothing of it is heard.
    wire.pass(seconds(60)).expect("goes on");
    let mut receipts = 0;
    while wire.flow.full || receipts == 0 {
        receipts += wire.told().matches("RECEIPT").count();
        assert!(!wire.flow.full);
        wire.receive(b"").expect("taken");
    }
    receipts += wire.told().matches("RECEIPT").count();
    assert_eq!(receipts, 10_000);
    assert!(wire.pass(seconds(2)).is_err(), "now it is");
}

#[test]
fn a_slow_subscriber_of_a_topic_is_cut_off_and_the_others_are_not() {
    let broker = Broker::new(Settings {
        max_queue_bytes: 10_000,
        ..Settings::default()
    });
    let (mut slow, mut quick, mut from) =
        (Wire::new(&broker), Wire::new(&broker), Wire::new(&broker));
    slow.say(&subscribe("0", "t", "auto"));
    quick.say(&subscribe("0", "t", "auto"));
    for _ in 0..100 {
        from.say(&send("t", &"x".repeat(200)));
        assert_eq!(bodies(&quick.told()).len(), 1);
        assert_eq!(quick.peer.deadline(), None);
    }
    let error = slow.pass(Duration::ZERO).expect_err("cut off");
    assert_eq!(error.code, Code::Full);
    assert!(slow.farewell().contains("ERROR\nmessage:it did not read"));
    assert_eq!(broker.counters().overruns.load(Ordering::Relaxed), 1);
}

#[test]
fn an_error_says_nothing_that_it_cannot() {
    let broker = broker();
    let mut wire = Wire::bare(&broker);
    let (_, told) = wire.fail("CONNECT\naccept-version:9\\n\r\u{7}\u{1b}\n\n^");
    assert_eq!(told.lines().next(), Some("ERROR"));
    assert!(!told.contains(['\r', '\u{7}', '\u{1b}']));
    let (_, told) = Wire::speaking(&broker, "1.1").fail("BEGIN\ntransaction:x\nreceipt:a\rb\n\n^");
    assert!(told.contains("holds a carriage return"), "{told}");
}

fn word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "SEND",
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "ACK",
        "NACK",
        "BEGIN",
        "COMMIT",
        "ABORT",
        "SEND",
        "SUBSCRIBE",
        "DISCONNECT",
        "CONNECT",
        "MESSAGE",
    ])
}

fn header() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "destination",
        "destination",
        "id",
        "id",
        "ack",
        "transaction",
        "receipt",
        "message-id",
        "subscription",
        "reply-to",
        "prefetch-count",
        "requeue",
        "x",
    ]);
    let value = prop::sample::select(vec![
        "/topic/a",
        "/queue/a",
        "/queue/b",
        "/temp-queue/a",
        "/reply-queue/1-1",
        "a",
        "1",
        "2",
        "1-1-1",
        "1-1-2",
        "1-2-3",
        "auto",
        "client",
        "client-individual",
        "",
        "false",
        "\\n",
        "\\r\\c",
    ]);
    (name, value).prop_map(|(name, value)| format!("{name}:{value}\n"))
}

fn frame() -> impl Strategy<Value = String> {
    let headers = proptest::collection::vec(header(), 0..6);
    (word(), headers, "[a-z^]{0,5}").prop_map(|(word, headers, body)| {
        let body = if word == "SEND" { body } else { String::new() };
        format!("{word}\n{}\n{body}^", headers.concat())
    })
}

proptest! {
    /// Whatever frames come, in whatever pieces: nobody panics, and nothing stays of those who have gone.
    #[test]
    fn any_frames_leave_nothing_behind(frames in proptest::collection::vec((0usize..3, frame()), 0..60), piece in 1usize..50) {
        let broker = broker();
        let mut wires: Vec<_> = ["1.0", "1.1", "1.2"].iter().map(|v| Some(Wire::speaking(&broker, v))).collect();
        for (at, frame) in frames {
            let wire = wires[at].get_or_insert_with(|| Wire::new(&broker));
            let bytes = frame.replace('^', "\0");
            let outcome = bytes.as_bytes().chunks(piece).try_for_each(|piece| wire.receive(piece));
            wire.told();
            if outcome.is_err() {
                prop_assert!(wire.farewell().starts_with("ERROR\n"));
                wires[at].take().into_iter().for_each(Wire::end);
            }
        }
        drop(wires);
        prop_assert_eq!(broker.counters().subscriptions.load(Ordering::Relaxed), 0);
        prop_assert_eq!(broker.router().names_like(None).count(), 0);
        // Whatever a queue holds can be had by the next one.
        let mut last = Wire::new(&broker);
        last.say(&subscribe("a", "/queue/a", "auto"));
        last.say(&subscribe("b", "/queue/b", "auto"));
        prop_assert!(broker.queues().is_empty());
    }

    /// Any bytes at all.
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), connected: bool) {
        let broker = broker();
        let mut wire = if connected { Wire::new(&broker) } else { Wire::bare(&broker) };
        if wire.receive(&bytes).is_err() {
            prop_assert!(wire.farewell().starts_with("ERROR\n"));
        }
        wire.end();
    }
}
