//! MQ's own client against the peer, both on one clock.

use super::*;
use crate::client::mqtt::{Mqtt, Options};
use crate::message::{Command, Publish as Message, Value};
use crate::testing::{self, Pair, Told};

/// The broker's end of a client's wire.
struct End {
    broker: Arc<Broker>,
    wire: Wire,
}

impl testing::Peer for End {
    fn receive(&mut self, input: &mut BytesMut, out: &mut BytesMut) {
        self.wire
            .receive(&input.split())
            .expect("the client keeps to the protocol");
        out.unsplit(self.wire.written());
    }
}

impl End {
    fn again(&mut self) {
        let next = Wire::new(&self.broker, self.wire.now);
        std::mem::replace(&mut self.wire, next).lose();
    }
}

type Wired = Pair<Mqtt, End>;

fn wired(broker: &Arc<Broker>, options: &[(&str, Value)]) -> Wired {
    let options = options
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.clone()))
        .collect();
    let options = Options::parse(&Value::Map(options)).expect("valid options");
    let broker = broker.clone();
    let wire = Wire::new(&broker, Instant::now());
    let mut pair = Pair::new(Mqtt::new(options), End { broker, wire });
    pair.connect().settle().expect("let in");
    assert_eq!(pair.told(), [Told::State("connected")]);
    pair
}

fn emit(pair: &mut Wired, ticket: u64, qos: u32, topic: &str, payload: &str) {
    const HAS_QOS: u32 = 8;
    pair.submit(Command::Publish(Message {
        ticket: Some(ticket),
        target: topic.as_bytes(),
        payload: payload.as_bytes(),
        flags: HAS_QOS | qos,
        options: None,
    }))
    .expect("taken");
    pair.settle().expect("no error");
}

fn versions() -> [Value; 2] {
    [Value::Bytes(b"3.1.1".to_vec()), Value::Integer(5)]
}

#[test]
fn messages_of_each_qos_arrive_once() {
    for version in versions() {
        let world = World::new();
        let version = [("version", version)];
        let mut to = wired(&world.broker, &version);
        let mut from = wired(&world.broker, &version);
        to.subscribe(1, 7, "user/+").expect("taken");
        to.settle().expect("no error");
        assert_eq!(to.told(), [Told::Answered(1, Value::Nil)]);
        for qos in 0..3 {
            let payload = format!("of QoS {qos}");
            emit(&mut from, 9, qos, "user/9", &payload);
            assert!(matches!(from.told()[..], [Told::Answered(9, _)]));
            let written = to.peer.wire.written();
            to.inject(&written).expect("no error");
            to.settle().expect("no error");
            assert_eq!(to.told(), [Told::Message(7, "user/9".into(), payload)]);
        }
        to.submit(Command::Unsubscribe { ticket: 2, key: 7 })
            .expect("taken");
        to.settle().expect("no error");
        emit(&mut from, 9, 1, "user/9", "x");
        assert_eq!(to.peer.wire.written().len(), 0);
        assert_eq!(to.told(), [Told::Answered(2, Value::Nil)]);
    }
}

#[test]
fn a_client_that_comes_back_has_missed_nothing() {
    for version in versions() {
        let world = World::new();
        let options = [
            ("version", version),
            ("client_id", Value::Bytes(b"me".to_vec())),
            ("clean", Value::Boolean(false)),
        ];
        let mut to = wired(&world.broker, &options);
        let mut from = wired(&world.broker, &[]);
        to.subscribe(1, 7, "a/#").expect("taken");
        to.settle().expect("no error");
        to.told();
        to.cut(&Error::lost("gone"));
        to.peer.again();
        for qos in 1..3 {
            emit(&mut from, 9, qos, "a/b", &qos.to_string());
        }
        to.told();
        to.connect().settle().expect("let in");
        let messages: Vec<_> = to
            .told()
            .into_iter()
            .filter(|told| matches!(told, Told::Message(..)))
            .collect();
        let message = |payload: &str| Told::Message(7, "a/b".into(), payload.into());
        assert_eq!(messages, [message("1"), message("2")]);
    }
}

#[test]
fn what_was_under_way_is_published_once() {
    let world = World::new();
    let me = [("client_id", Value::Bytes(b"me".to_vec()))];
    let mut from = wired(&world.broker, &me);
    let mut to = world.client("to");
    to.subscribe("a", 0);
    for _ in 0..3 {
        from.submit(Command::Publish(Message {
            ticket: Some(1),
            target: b"a",
            payload: b"x",
            flags: 8 | 2,
            options: None,
        }))
        .expect("taken");
        // The answer does not come.
        from.reach_peer();
        from.cut(&Error::lost("gone"));
        from.peer.again();
        from.connect().settle().expect("let in");
        assert_eq!(to.told(), "PUBLISH 0 a x");
    }
    let answers = from.told();
    let answered = |told: &&Told| matches!(told, Told::Answered(1, _));
    assert_eq!(answers.iter().filter(answered).count(), 3, "{answers:?}");
}
