//! MQ's own client at the other end.

use super::*;
use crate::client::stomp::{Options, Stomp};
use crate::message::{Command, Publish, Value, Verdict};
use crate::testing::{Pair, Told};

type Wired = Pair<Stomp, Wire>;

impl crate::testing::Peer for Wire {
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) {
        let bytes = input.split();
        if Wire::receive(self, &bytes).is_err() {
            self.peer.farewell(out);
            return;
        }
        loop {
            let said = self.bytes();
            if said.is_empty() {
                return;
            }
            out.extend_from_slice(&said);
        }
    }
}

fn map(entries: &[(&str, Value)]) -> Value {
    let entries = entries.iter();
    let entries = entries.map(|(name, value)| (name.as_bytes().to_vec(), value.clone()));
    Value::Map(entries.collect())
}

fn text(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

fn client(broker: &Arc<Broker>, version: &str) -> Wired {
    let options = Options::parse(&map(&[("version", text(version))])).expect("options");
    let mut wired = Pair::new(Stomp::new(options), Wire::bare(broker));
    wired.connect().settle().expect("connected");
    assert_eq!(wired.told(), [Told::State("connected")]);
    wired
}

impl Wired {
    fn on(&mut self, key: u64, target: &str, options: &[(&str, Value)]) -> Vec<Told> {
        self.submit(Command::Subscribe {
            ticket: key,
            key,
            pattern: target.as_bytes(),
            exact: false,
            options: &map(options),
        })
        .expect("submitted");
        self.hear()
    }

    fn emit(&mut self, target: &str, payload: &str, options: Option<&Value>) -> Vec<Told> {
        self.submit(Command::Publish(Publish {
            ticket: Some(9),
            target: target.as_bytes(),
            payload: payload.as_bytes(),
            flags: 0,
            options,
        }))
        .expect("submitted");
        self.hear()
    }

    fn command(&mut self, ticket: u64, verb: &str, options: &[(&str, Value)]) -> Vec<Told> {
        self.submit(Command::Custom {
            ticket,
            verb: verb.as_bytes(),
            options: &map(options),
        })
        .expect("submitted");
        self.hear()
    }

    fn settles(&mut self, verdict: Verdict) -> Vec<Told> {
        let id = self.metas.pop().map_or(0, |meta| meta.id);
        self.submit(Command::Acknowledge { id, verdict })
            .expect("submitted");
        self.hear()
    }

    /// What the client is told, also of what others have sent it.
    fn hear(&mut self) -> Vec<Told> {
        self.settle().expect("goes on");
        let more = self.peer.bytes();
        self.inject(&more).expect("goes on");
        self.settle().expect("goes on");
        self.told()
    }
}

fn done(ticket: u64) -> Told {
    Told::Answered(ticket, Value::Nil)
}

fn message(key: u64, source: &str, payload: &str) -> Told {
    Told::Message(key, source.into(), payload.into())
}

const VERSIONS: [&str; 3] = ["1.0", "1.1", "1.2"];

#[test]
fn it_subscribes_emits_and_acknowledges() {
    for version in VERSIONS {
        let broker = broker();
        let (mut mq, mut other) = (client(&broker, version), client(&broker, version));
        assert_eq!(mq.on(1, "/topic/t", &[]), [done(1)]);
        assert_eq!(
            mq.on(2, "/queue/q", &[("prefetch", Value::Integer(1))]),
            [done(2)]
        );
        assert_eq!(other.emit("/topic/t", "one", None), [done(9)]);
        assert_eq!(mq.hear(), [message(1, "/topic/t", "one")]);
        mq.settles(Verdict::Accept);
        for payload in ["a", "b"] {
            assert_eq!(other.emit("/queue/q", payload, None), [done(9)]);
        }
        assert_eq!(mq.hear(), [message(2, "/queue/q", "a")]);
        assert_eq!(mq.settles(Verdict::Accept), [message(2, "/queue/q", "b")]);
        mq.settles(Verdict::Accept);
        assert!(broker.queues().is_empty());
        mq.submit(Command::Unsubscribe { ticket: 3, key: 2 })
            .expect("submitted");
        assert_eq!(mq.hear(), [done(3)]);
        mq.submit(Command::Close { ticket: 4 }).expect("submitted");
        mq.hear();
        assert!(mq.peer.peer.finished());
        assert_eq!(broker.counters().subscriptions.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn what_it_rejects_comes_again_where_there_is_a_word_for_that() {
    for version in ["1.1", "1.2"] {
        let broker = broker();
        let mut mq = client(&broker, version);
        mq.on(1, "/queue/q", &[]);
        assert_eq!(mq.emit("/queue/q", "x", None).len(), 2);
        let mut times = 1;
        while !mq.settles(Verdict::Reject).is_empty() {
            times += 1;
        }
        assert_eq!(times, 5);
        assert!(broker.queues().is_empty());
    }
}

#[test]
fn its_transactions_are_all_or_nothing() {
    for version in VERSIONS {
        let broker = broker();
        let mut mq = client(&broker, version);
        mq.on(1, "/queue/in", &[]);
        mq.on(2, "/queue/out", &[("ack", text("none"))]);
        mq.emit("/queue/in", "order", None);
        let id = mq.metas.pop().map_or(0, |meta| meta.id);
        let tx = |number: i64| [("transaction", Value::Integer(number))];
        for (number, verb) in [(1, "abort"), (2, "commit")] {
            mq.command(20, "begin", &tx(number));
            let publish = Publish {
                ticket: None,
                target: b"/queue/out",
                payload: verb.as_bytes(),
                flags: (number as u32) << 8,
                options: None,
            };
            mq.submit(Command::Publish(publish)).expect("submitted");
            let given = [
                ("id", Value::Integer(id as i64)),
                ("accept", Value::Boolean(true)),
                ("transaction", Value::Integer(number)),
            ];
            let accepted = mq.command(21, "acknowledge", &given);
            assert_eq!(accepted.last(), Some(&done(21)), "{version} {verb}");
            let told = mq.command(22, verb, &tx(number));
            assert!(told.contains(&done(22)), "{told:?}");
            assert_eq!(
                told.contains(&message(2, "/queue/out", "commit")),
                verb == "commit"
            );
            assert_eq!(broker.queues().is_empty(), verb == "commit");
        }
    }
}

#[test]
fn its_requests_are_answered_on_a_temporary_queue() {
    let broker = broker();
    let (mut asks, mut answers) = (client(&broker, "1.2"), client(&broker, "1.2"));
    answers.on(1, "/queue/ask", &[]);
    assert_eq!(asks.on(2, "/temp-queue/answers", &[]), [done(2)]);
    let header = map(&[("reply-to", text("/temp-queue/answers"))]);
    let options = map(&[("header", header)]);
    assert_eq!(asks.emit("/queue/ask", "7 * 6", Some(&options)), [done(9)]);
    assert_eq!(answers.hear(), [message(1, "/queue/ask", "7 * 6")]);
    let headers = answers.metas.pop().and_then(|meta| meta.extra);
    let headers = headers.expect("headers");
    let address = headers
        .member("reply-to")
        .as_text()
        .expect("an address")
        .to_owned();
    assert_eq!(answers.emit(&address, "42", None), [done(9)]);
    assert_eq!(asks.hear(), [message(2, "/temp-queue/answers", "42")]);
}

#[test]
fn what_is_refused_it_knows_and_goes_on() {
    let broker = Broker::new(Settings {
        max_queue_bytes: 300,
        ..Settings::default()
    });
    let mut mq = client(&broker, "1.2");
    assert_eq!(mq.emit("/queue/q", &"x".repeat(100), None), [done(9)]);
    mq.submit(Command::Publish(Publish {
        ticket: Some(7),
        target: b"/queue/q",
        payload: &[b'x'; 200],
        flags: 0,
        options: None,
    }))
    .expect("submitted");
    let error = mq.settle().err().expect("the broker ends the connection");
    assert!(error.text.contains("is full"), "{}", error.text);
    assert_eq!(mq.told(), [Told::Failed(7, "refused", None)]);

    let broker = Broker::new(Settings {
        users: Some([(b"ann".to_vec(), b"secret".to_vec())].into()),
        ..Settings::default()
    });
    let options = Options::parse(&map(&[("username", text("ann"))])).expect("options");
    let mut stranger = Pair::new(Stomp::new(options), Wire::bare(&broker));
    let error = stranger.connect().settle().err().expect("refused");
    assert_eq!((error.code, error.fatal), (Code::Auth, true));
}

#[test]
fn heart_beats_keep_an_idle_connection() {
    let broker = broker();
    let mut mq = client(&broker, "1.2");
    for _ in 0..120 {
        mq.pass(seconds(1)).expect("the client goes on");
        let said = mq.peer.pass(seconds(1)).expect("the broker goes on");
        mq.inject(said.as_bytes()).expect("goes on");
        mq.settle().expect("goes on");
    }
}
