//! BEGIN, COMMIT, ABORT.

use super::*;

fn inside(frame: &str) -> String {
    frame.replacen('\n', "\ntransaction:t\n", 1)
}

const BEGIN: &str = "BEGIN\ntransaction:t\n\n^";
const COMMIT: &str = "COMMIT\ntransaction:t\nreceipt:c\n\n^";
const ABORT: &str = "ABORT\ntransaction:t\nreceipt:a\n\n^";

#[test]
fn what_is_sent_comes_at_the_commit_all_together() {
    let broker = broker();
    let mut to = Wire::new(&broker);
    to.say(&(subscribe("0", "/queue/q", "auto") + &subscribe("1", "t", "auto")));
    let mut from = Wire::new(&broker);
    assert_eq!(
        from.say(
            &inside(&send("t", "1"))
                .replace("\n\n", "\nreceipt:1\n\n")
                .replace("SEND", &format!("{BEGIN}SEND"))
        ),
        "RECEIPT\nreceipt-id:1\n\n^"
    );
    from.say(&(inside(&send("/queue/q", "2")) + &inside(&send("t", "3")) + &send("t", "outside")));
    assert_eq!(bodies(&to.told()), ["outside"]);
    assert_eq!(from.say(COMMIT), "RECEIPT\nreceipt-id:c\n\n^");
    assert_eq!(bodies(&to.told()), ["1", "3", "2"]);
    from.say(&(BEGIN.to_owned() + &inside(&send("t", "never")) + ABORT));
    from.say(&(BEGIN.to_owned() + &inside(&send("t", "never"))));
    from.end();
    assert_eq!(to.told(), "");
}

#[test]
fn acknowledgements_count_at_the_commit() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    let mut told = wire.say(&subscribe("0", "/queue/q", "client-individual"));
    for body in ["1", "2", "3"] {
        told += &wire.say(&send("/queue/q", body));
    }
    let names = acks(&told);
    wire.say(&(BEGIN.to_owned() + &inside(&ack(&names[0])) + &inside(&nack(&names[1]))));
    assert_eq!(broker.queues().len(), 3);
    // As if they had not been.
    assert_eq!(wire.say(ABORT), "RECEIPT\nreceipt-id:a\n\n^");
    wire.say(&(BEGIN.to_owned() + &inside(&ack(&names[0])) + &inside(&nack(&names[1]))));
    let told = wire.say(COMMIT);
    assert_eq!(bodies(&told), ["2*"]);
    assert_eq!(broker.queues().len(), 2);
    // One that a transaction has cannot be another's.
    wire.say(&(BEGIN.to_owned() + &inside(&ack(&names[2]))));
    assert!(wire.fail(&ack(&names[2])).1.contains("no message"));
}

#[test]
fn all_before_is_what_came_before_the_acknowledgement() {
    let broker = broker();
    let mut wire = Wire::new(&broker);
    let mut told = wire.say(&subscribe("0", "/queue/q", "client"));
    for body in ["1", "2", "3"] {
        told += &wire.say(&send("/queue/q", body));
    }
    let names = acks(&told);
    wire.say(&(BEGIN.to_owned() + &inside(&ack(&names[1]))));
    wire.say(&ack(&names[2]));
    assert_eq!(broker.queues().len(), 2, "those of the transaction wait");
    wire.say(COMMIT);
    assert!(broker.queues().is_empty());
}

#[test]
fn a_commit_that_cannot_be_whole_does_nothing() {
    let broker = Broker::new(Settings {
        max_queue_bytes: 1000,
        ..Settings::default()
    });
    let body = "x".repeat(400);
    let mut wire = Wire::new(&broker);
    wire.say(&send("/queue/q", &body));
    wire.say(
        &(BEGIN.to_owned()
            + &inside(&send("/queue/other", "y"))
            + &inside(&send("/queue/q", &body)[..])),
    );
    Wire::new(&broker).say(&send(
        "/queue/q",
        "something of another one's, in between, as there may be, of a hundred bytes or so",
    ));
    let (code, told) = wire.fail(COMMIT);
    assert_eq!(code, Code::Full);
    assert!(told.contains("\nreceipt-id:c\n"));
    wire.end();
    assert_eq!(broker.queues().len(), 2);
    // Of messages that are not its any more.
    let mut wire = Wire::new(&broker);
    let told = wire.say(&subscribe("0", "/queue/q", "client-individual"));
    wire.say(&(BEGIN.to_owned() + &inside(&ack(&acks(&told)[0])) + "UNSUBSCRIBE\nid:0\n\n^"));
    assert!(wire.fail(COMMIT).1.contains("nothing of \"t\" is done") || wire.farewell().is_empty());
    assert_eq!(broker.queues().len(), 2);
}

#[test]
fn transactions_are_known_and_bounded() {
    let broker = Broker::new(Settings {
        max_queue_bytes: 1000,
        ..Settings::default()
    });
    for frame in [COMMIT, ABORT, &inside(&send("t", ""))] {
        assert!(Wire::new(&broker).fail(frame).1.contains("no transaction"));
    }
    for frame in ["BEGIN\n\n^", "COMMIT\n\n^", "ABORT\n\n^"] {
        assert!(Wire::new(&broker)
            .fail(frame)
            .1
            .contains("needs the header transaction"));
    }
    assert!(Wire::new(&broker)
        .fail(&BEGIN.repeat(2))
        .1
        .contains("is open already"));
    let many: String = (0..300)
        .map(|n| BEGIN.replace(":t", &format!(":{n}")))
        .collect();
    assert!(Wire::new(&broker)
        .fail(&many)
        .1
        .contains("256 transactions are open"));
    let mut wire = Wire::new(&broker);
    for _ in 0..100 {
        wire.say(&(BEGIN.to_owned() + &inside(&send("t", &"x".repeat(800))) + ABORT));
    }
    let twice = inside(&send("t", &"x".repeat(800))).repeat(2);
    let (code, told) = wire.fail(&(BEGIN.to_owned() + &twice));
    assert_eq!(code, Code::Full);
    assert!(told.contains("transactions may hold 1000 bytes"));
}
