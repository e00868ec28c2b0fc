//! Queues: who gets what, acknowledgements, what comes again, temporary queues.

use super::*;

#[test]
fn a_queue_keeps_messages_and_gives_each_to_one() {
    let broker = broker();
    let mut from = Wire::new(&broker);
    from.say(&(send("/queue/q", "1") + &send("/queue/q", "2")));
    let (mut a, mut b) = (Wire::new(&broker), Wire::new(&broker));
    assert_eq!(
        bodies(&a.say(&subscribe("0", "/queue/q", "auto"))),
        ["1", "2"]
    );
    b.say(&subscribe("0", "/queue/q", "auto"));
    for body in ["3", "4", "5", "6"] {
        from.say(&send("/queue/q", body));
    }
    assert_eq!(
        (bodies(&a.told()), bodies(&b.told())),
        (vec!["3".into(), "5".into()], vec!["4".into(), "6".into()])
    );
    assert!(broker.queues().is_empty(), "what is written is accepted");
}

#[test]
fn what_was_not_acknowledged_goes_to_another_when_one_leaves() {
    for version in ["1.0", "1.1", "1.2"] {
        let broker = broker();
        let mut from = Wire::new(&broker);
        for body in ["1", "2", "3"] {
            from.say(&send("/queue/q", body));
        }
        let mut a = Wire::speaking(&broker, version);
        let told = a.say(&subscribe("0", "/queue/q", "client-individual"));
        let names = values(&told, "message-id");
        assert_eq!(acks(&told).len(), if version == "1.2" { 3 } else { 0 });
        let headers = match version {
            "1.0" => format!("message-id:{}\n", names[1]),
            "1.1" => format!("message-id:{}\nsubscription:0\n", names[1]),
            _ => format!("id:{}\n", names[1]),
        };
        assert_eq!(
            a.say(&format!("ACK\n{headers}receipt:5\n\n^")),
            "RECEIPT\nreceipt-id:5\n\n^"
        );
        let mut b = Wire::new(&broker);
        b.say(&subscribe("0", "/queue/q", "auto"));
        a.end();
        assert!(b.is_rung());
        let told = b.told();
        assert_eq!(bodies(&told), ["1*", "3*"]);
        assert_eq!(values(&told, "x-delivery-count"), ["1", "1"]);
        b.end();
        let mut c = Wire::new(&broker);
        assert_eq!(bodies(&c.say(&subscribe("0", "/queue/q", "auto"))), [""; 0]);
    }
}

#[test]
fn an_acknowledgement_may_count_for_all_before() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    wire.say(&subscribe("0", "/queue/q", "client"));
    wire.say(&subscribe("1", "/queue/other", "client"));
    let mut told = String::new();
    for body in ["1", "2", "3"] {
        told += &wire.say(&(send("/queue/q", body) + &send("/queue/other", body)));
    }
    let names = acks(&told);
    assert_eq!(names.len(), 6);
    wire.say(&ack(&names[2]));
    assert_eq!(broker.queues().len(), 4);
    wire.say("DISCONNECT\n\n^");
    let mut other = Wire::new(&broker);
    assert_eq!(
        bodies(&other.say(&subscribe("0", "/queue/q", "auto"))),
        ["3*"]
    );
    assert_eq!(
        bodies(&other.say(&subscribe("1", "/queue/other", "auto"))),
        ["1*", "2*", "3*"]
    );
}

#[test]
fn all_before_is_meant_in_the_order_of_delivery() {
    let broker = broker();
    let (mut a, mut b) = (Wire::new(&broker), Wire::new(&broker));
    a.say(&subscribe("0", "/queue/q", "client-individual"));
    b.say(&subscribe("0", "/queue/q", "client"));
    a.say(&(send("/queue/q", "1") + &send("/queue/q", "2")));
    let second = acks(&b.told());
    a.end();
    // The older message has come later: what is acknowledged does not reach it.
    assert_eq!(bodies(&b.told()), ["1*"]);
    b.say(&ack(&second[0]));
    assert_eq!(broker.queues().len(), 1);
}

#[test]
fn what_is_rejected_comes_again_but_not_for_ever() {
    let broker = broker();
    let (mut a, mut b) = (Wire::new(&broker), Wire::new(&broker));
    a.say(&subscribe("0", "/queue/q", "client-individual"));
    b.say(&subscribe("0", "/queue/q", "client-individual"));
    let told = a.say(&send("/queue/q", "poison"));
    assert_eq!(a.say(&nack(&acks(&told)[0])), "", "another one is asked");
    let told = b.told();
    assert_eq!(bodies(&told), ["poison*"]);
    a.end();
    let mut told = b.say(&nack(&acks(&told)[0]));
    let mut counts = Vec::new();
    while !told.is_empty() {
        counts.extend(values(&told, "x-delivery-count"));
        told = b.say(&nack(&acks(&told)[0]));
    }
    assert_eq!(counts, ["2", "3", "4"]);
    assert!(broker.queues().is_empty());
    let told = b.say(&send("/queue/q", "unwanted"));
    assert_eq!(
        b.say(&nack(&acks(&told)[0]).replace("id:", "requeue:false\nid:")),
        ""
    );
    assert!(broker.queues().is_empty());
}

#[test]
fn no_more_than_the_prefetch_is_under_way() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    for header in ["prefetch-count:2", "activemq.prefetchSize:2"] {
        wire.say(
            &subscribe("0", "/queue/q", "client-individual")
                .replace("ack:", &format!("{header}\nack:")),
        );
        let mut told = String::new();
        for body in ["1", "2", "3"] {
            told += &wire.say(&send("/queue/q", body));
        }
        assert_eq!(bodies(&told), ["1", "2"]);
        let names = acks(&told);
        let told = wire.say(&ack(&names[0]));
        assert_eq!(bodies(&told), ["3"]);
        wire.say(&(ack(&names[1]) + &ack(&acks(&told)[0]) + "UNSUBSCRIBE\nid:0\n\n^"));
        assert!(broker.queues().is_empty());
    }
}

#[test]
fn only_what_waits_can_be_acknowledged() {
    let broker = broker();
    let prepared = |mode: &str, version: &str| {
        let mut wire = Wire::speaking(&broker, version);
        let told = wire.say(&(subscribe("0", "/queue/q", mode) + &send("/queue/q", "x")));
        let name = values(&told, "message-id").remove(0);
        (wire, name)
    };
    for (version, frame, said) in [
        ("1.2", "ACK\nreceipt:1\n\n^", "ACK needs the header id"),
        (
            "1.1",
            "NACK\nsubscription:0\nreceipt:1\n\n^",
            "NACK needs the header message-id",
        ),
        (
            "1.1",
            "ACK\nmessage-id:%\nreceipt:1\n\n^",
            "ACK needs the header subscription",
        ),
        (
            "1.1",
            "ACK\nmessage-id:%\nsubscription:1\nreceipt:1\n\n^",
            "no message",
        ),
        ("1.0", "ACK\nmessage-id:1\nreceipt:1\n\n^", "no message"),
        (
            "1.0",
            "NACK\nmessage-id:%\nreceipt:1\n\n^",
            "STOMP 1.0 has no NACK",
        ),
        (
            "1.2",
            "ACK\nid:%\n\n^ACK\nid:%\nreceipt:1\n\n^",
            "no message",
        ),
        ("1.2", "ACK\nid:%9\nreceipt:1\n\n^", "no message"),
        ("1.2", "ACK\nid:%-1\nreceipt:1\n\n^", "no message"),
        (
            "1.2",
            "UNSUBSCRIBE\nid:0\n\n^ACK\nid:%\nreceipt:1\n\n^",
            "no message",
        ),
        (
            "1.2",
            "ACK\nid:%\ntransaction:t\nreceipt:1\n\n^",
            "no transaction",
        ),
    ] {
        let (mut wire, name) = prepared("client-individual", version);
        let (code, told) = wire.fail(&frame.replace('%', &name));
        assert_eq!(code, Code::Protocol);
        assert!(told.contains(said), "{told}");
        // What the decoder does not know, it does not look into.
        assert_eq!(
            told.contains("receipt-id:1"),
            !said.contains("1.0"),
            "{told}"
        );
        wire.end();
        let mut rest = Wire::new(&broker);
        rest.say(&subscribe("0", "/queue/q", "auto"));
        assert!(broker.queues().is_empty());
    }
    let (mut wire, name) = prepared("auto", "1.2");
    assert!(wire.fail(&ack(&name)).1.contains("no message"));
}

#[test]
fn a_topic_has_nothing_to_bring_again() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    let told = wire.say(&(subscribe("0", "t", "client-individual") + &send("t", "x")));
    let name = acks(&told).remove(0);
    assert_eq!(wire.say(&(nack(&name) + &ack(&name))), "");
    let ahead = name.replace("-1", "-7");
    assert!(wire.fail(&ack(&ahead)).1.contains("no message"));
}

#[test]
fn a_full_queue_refuses_and_keeps_what_it_has() {
    let broker = Broker::new(Settings {
        max_queue_bytes: 1000,
        ..Settings::default()
    });
    let mut wire = Wire::new(&broker);
    let body = "x".repeat(400);
    wire.say(&(send("/queue/q", &body) + &send("/queue/q", &body)));
    let (code, told) = wire.fail(
        "SEND\ndestination:/queue/q\nreceipt:3\n\nmore than there is room for, by far, \
         and then some: a hundred bytes are enough to show it, and these are more than that^",
    );
    assert_eq!(code, Code::Full);
    assert!(
        told.contains("it may hold 1000 bytes\nreceipt-id:3\n"),
        "{told}"
    );
    let mut other = Wire::new(&broker);
    assert_eq!(
        bodies(&other.say(&subscribe("0", "/queue/q", "auto"))).len(),
        2
    );
}

#[test]
fn a_consumer_that_does_not_read_does_not_get_more_and_is_not_cut_off() {
    let broker = broker();
    let mut slow = Wire::new(&broker);
    slow.say(&subscribe("0", "/queue/q", "auto"));
    slow.say(&subscribe("1", "t", "auto"));
    let mut from = Wire::new(&broker);
    let body = "x".repeat(100_000);
    for _ in 0..50 {
        from.say(&send("/queue/q", &body));
    }
    assert!(broker.queues().len() > 40);
    // A topic's messages have room of their own.
    from.say(&send("t", "in between"));
    assert_eq!(slow.peer.deadline(), None);
    let (mut got, mut largest) = (Vec::new(), 0);
    loop {
        let bytes = slow.bytes();
        if bytes.is_empty() {
            break;
        }
        largest = largest.max(bytes.len());
        got.extend(bodies(&readable(&bytes)).into_iter().map(|body| body.len()));
    }
    assert_eq!(got.len(), 51);
    assert_eq!(got[0], 10);
    assert!(largest < 500_000);
    assert!(broker.queues().is_empty());
}

#[test]
fn a_temporary_queue_is_the_connections_own_and_others_answer_to_it() {
    let broker = broker();
    let mut server = Wire::new(&broker);
    server.say(&subscribe("0", "/queue/ask", "auto"));
    let request = "SEND\ndestination:/queue/ask\nreply-to:/temp-queue/x\n\nquestion^";
    // Without a SUBSCRIBE, as RabbitMQ has it; with one, as ActiveMQ has it; with one later.
    for way in ["", "before", "after"] {
        let mut client = Wire::new(&broker);
        let own = subscribe("mine", "/temp-queue/x", "client-individual");
        if way == "before" {
            client.say(&own);
        }
        client.say(request);
        if way == "after" {
            client.say(&own);
        }
        let told = server.told();
        let address = values(&told, "reply-to").remove(0);
        assert!(address.starts_with("/reply-queue/"), "{told}");
        server.say(&send(&address, "answer"));
        let told = client.told();
        assert_eq!(bodies(&told), ["answer"]);
        assert_eq!(values(&told, "destination"), ["/temp-queue/x"]);
        let subscription = if way.is_empty() {
            "/temp-queue/x"
        } else {
            "mine"
        };
        assert_eq!(values(&told, "subscription"), [subscription]);
        // Its own name for it is the same queue; the same name of others is not.
        assert_eq!(
            bodies(&client.say(&send("/temp-queue/x", "self"))),
            ["self"]
        );
        let (_, told) = Wire::new(&broker).fail(&send("/temp-queue/x", "no"));
        assert!(told.contains("is not subscribed to"));
        let (_, told) = Wire::new(&broker).fail(&subscribe("0", &address, "auto"));
        assert!(told.contains("another connection's"));
        client.end();
        // An answer that comes too late is nobody's fault, and nobody's.
        assert_eq!(
            server.say(&send(&address, "late").replace("\n\n", "\nreceipt:1\n\n")),
            "RECEIPT\nreceipt-id:1\n\n^"
        );
        assert!(broker.queues().is_empty());
    }
}

#[test]
fn answers_that_came_before_the_subscription_are_kept_for_it() {
    let broker = broker();
    let mut client = Wire::new(&broker);
    client.say("SEND\ndestination:/topic/nobody\nreply-to:/temp-queue/x\n\n^");
    // Of a SEND to nobody nothing is made but the queue.
    let mut other = Wire::new(&broker);
    other.say(&send("/reply-queue/1-1", "early"));
    client
        .receive(
            subscribe("mine", "/temp-queue/x", "auto")
                .replace('^', "\0")
                .as_bytes(),
        )
        .expect("taken");
    let told = client.told();
    assert_eq!(bodies(&told), ["early*"]);
    assert_eq!(values(&told, "subscription"), ["mine"]);
    // The name that it had on the quiet is taken over as it is.
    let mut client = Wire::new(&broker);
    client.say("SEND\ndestination:/topic/nobody\nreply-to:/temp-queue/x\n\n^");
    let id = "/temp-queue/x";
    assert_eq!(client.say(&subscribe(id, id, "auto")), "");
    assert!(client
        .fail(&subscribe(id, id, "auto"))
        .1
        .contains("has the id"));
}

#[test]
fn a_reply_to_that_is_no_temporary_queue_is_handed_on() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    wire.say(&subscribe("0", "t", "auto"));
    let told = wire.say("SEND\ndestination:t\nreply-to:/queue/answers\n\n^");
    assert_eq!(values(&told, "reply-to"), ["/queue/answers"]);
}
