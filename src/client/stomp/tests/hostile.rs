//! A broker that sends any frames whatsoever, in any order: nothing panics, and every ticket is
//! answered once.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Reads nothing and says nothing of itself.
struct Stranger;

impl Peer for Stranger {
    fn receive(&mut self, input: &mut BytesMut, _: &mut BytesMut) {
        input.clear();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Connected {
        version: u8,
        rabbit: bool,
    },
    Message {
        key: u64,
        named: u8,
        redelivered: bool,
    },
    Receipt(u64),
    Error(Option<u64>),
    Beat,
    Garbage(Vec<u8>),
    Emit {
        flags: u32,
        post: bool,
    },
    Subscribe {
        mode: u8,
        durable: bool,
        temporary: bool,
    },
    Unsubscribe(u64),
    Acknowledge {
        id: u64,
        accept: bool,
    },
    Transact {
        verb: u8,
        number: i64,
    },
    Flush,
    Transmit,
    Pass(u64),
    Room(usize),
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0u64..12;
    prop_oneof![
        4 => (0u8..4, any::<bool>())
            .prop_map(|(version, rabbit)| Step::Connected { version, rabbit }),
        5 => (0u64..8, 0u8..4, any::<bool>())
            .prop_map(|(key, named, redelivered)| Step::Message { key, named, redelivered }),
        6 => number.clone().prop_map(Step::Receipt),
        2 => proptest::option::of(number).prop_map(Step::Error),
        1 => Just(Step::Beat),
        1 => proptest::collection::vec(any::<u8>(), 1..20).prop_map(Step::Garbage),
        6 => (0u32..4, 0u32..3, any::<bool>()).prop_map(|(flags, transaction, post)| Step::Emit {
            flags: flags | transaction << 8,
            post,
        }),
        3 => (0u8..4, any::<bool>(), any::<bool>())
            .prop_map(|(mode, durable, temporary)| Step::Subscribe { mode, durable, temporary }),
        2 => (0u64..8).prop_map(Step::Unsubscribe),
        4 => (0u64..20, any::<bool>()).prop_map(|(id, accept)| Step::Acknowledge { id, accept }),
        3 => (0u8..4, 1i64..3).prop_map(|(verb, number)| Step::Transact { verb, number }),
        1 => Just(Step::Flush),
        6 => Just(Step::Transmit),
        2 => (0u64..8).prop_map(Step::Pass),
        1 => (0usize..4).prop_map(Step::Room),
        1 => Just(Step::Cut),
    ]
}

struct World {
    pair: Pair<Stomp, Stranger>,
    tickets: u64,
    keys: u64,
}

impl World {
    /// A command with a ticket of its own, which is nobody's where it is refused.
    fn submit(&mut self, command: impl FnOnce(u64) -> Command<'static>) -> Outcome {
        if self.pair.submit(command(self.tickets + 1)).is_ok() {
            self.tickets += 1;
        }
        Ok(())
    }

    fn hears(&mut self, word: Word, headers: &[(&str, &str)]) -> Outcome {
        let mut bytes = BytesMut::new();
        let version = self.pair.client.version();
        let body = crate::codec::stomp::Body::Measured(match word {
            Word::Receipt | Word::Connected => b"",
            _ => b"body",
        });
        crate::codec::stomp::encode(word, headers, body, version, &mut bytes).expect("a frame");
        self.pair.inject(&bytes)
    }

    fn take(&mut self, step: &Step) -> Outcome {
        match *step {
            Step::Connected { version, rabbit } => {
                let version = ["1.0", "1.1", "1.2", "7"][usize::from(version)];
                let server = if rabbit { "RabbitMQ/3" } else { "ActiveMQ/5" };
                let headers = [
                    ("version", version),
                    ("server", server),
                    ("heart-beat", "4000,4000"),
                ];
                self.hears(Word::Connected, &headers)
            }
            Step::Message {
                key,
                named,
                redelivered,
            } => {
                let id = match key {
                    6 => "d".to_owned(),
                    7 => "/temp-queue/r".to_owned(),
                    key => key.to_string(),
                };
                let all = [
                    ("subscription", &id[..]),
                    ("ack", "a"),
                    ("message-id", "m"),
                    ("destination", "/q"),
                    ("redelivered", if redelivered { "true" } else { "false" }),
                ];
                self.hears(Word::Message, &all[usize::from(named)..])
            }
            Step::Receipt(number) => {
                self.hears(Word::Receipt, &[("receipt-id", &number.to_string())])
            }
            Step::Error(Some(number)) => {
                self.hears(Word::Error, &[("receipt-id", &number.to_string())])
            }
            Step::Error(None) => self.hears(Word::Error, &[("message", "no")]),
            Step::Beat => self.pair.inject(b"\n"),
            Step::Garbage(ref bytes) => self.pair.inject(bytes),
            Step::Emit { flags, post } => {
                let publish = |ticket| {
                    Command::Publish(Publish {
                        ticket,
                        target: b"/q",
                        payload: b"payload",
                        flags,
                        options: None,
                    })
                };
                match post {
                    true => {
                        let _ = self.pair.submit(publish(None));
                        Ok(())
                    }
                    false => self.submit(|ticket| publish(Some(ticket))),
                }
            }
            Step::Subscribe {
                mode,
                durable,
                temporary,
            } => {
                self.keys += 1;
                let key = self.keys;
                let mode = ["auto", "manual", "client", "none"][usize::from(mode)];
                let mut given = vec![("ack", text(mode))];
                if durable {
                    given.push(("durable", text("d")));
                }
                let given = map(&given);
                let name = match temporary {
                    true => "/temp-queue/r".to_owned(),
                    false => format!("/q/{key}"),
                };
                let outcome = self.pair.submit(Command::Subscribe {
                    ticket: self.tickets + 1,
                    key,
                    pattern: name.as_bytes(),
                    exact: false,
                    options: &given,
                });
                self.tickets += u64::from(outcome.is_ok());
                Ok(())
            }
            Step::Unsubscribe(key) => self.submit(|ticket| Command::Unsubscribe { ticket, key }),
            Step::Acknowledge { id, accept } => {
                let verdict = match accept {
                    true => Verdict::Accept,
                    false => Verdict::Reject,
                };
                self.pair.submit(Command::Acknowledge { id, verdict })
            }
            Step::Transact {
                verb,
                number: which,
            } => {
                let verb = [&b"begin"[..], b"commit", b"abort", b"acknowledge"][usize::from(verb)];
                let given = map(&[("transaction", number(which)), ("id", number(which))]);
                let outcome = self.pair.submit(Command::Custom {
                    ticket: self.tickets + 1,
                    verb,
                    options: &given,
                });
                self.tickets += u64::from(outcome.is_ok());
                Ok(())
            }
            Step::Flush => self.submit(|ticket| Command::Flush { ticket }),
            Step::Transmit => {
                self.pair.reach_peer();
                Ok(())
            }
            Step::Pass(time) => self.pair.pass(seconds(time)).map(drop),
            Step::Room(room) => {
                self.pair.room = room;
                Ok(())
            }
            Step::Cut => Err(Error::lost("gone")),
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_everybody_is_answered_once(
        bounded in any::<bool>(),
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let mut given = vec![("max_in_flight", number(3)), ("timeout", number(5))];
        if bounded {
            given.push(("max_queue", number(4)));
            given.push(("overflow", text("drop_oldest")));
        }
        let pair = Pair::new(Stomp::new(options(&given)), Stranger);
        let mut world = World { pair, tickets: 0, keys: 0 };
        world.pair.connect();
        let _ = world.take(&Step::Connected { version: 2, rabbit: true });
        for step in &steps {
            if let Err(error) = world.take(step) {
                world.pair.cut(&error);
                world.pair.connect();
                if matches!(step, Step::Cut | Step::Error(_)) {
                    let _ = world.take(&Step::Connected { version: 2, rabbit: false });
                }
            }
        }
        world.pair.terminate(&Error::closed());
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for told in world.pair.told() {
            if let Told::Answered(ticket, _) | Told::Failed(ticket, ..) = told {
                *times.entry(ticket).or_default() += 1;
            }
        }
        let expected: BTreeMap<u64, usize> = (1..=world.tickets).map(|ticket| (ticket, 1)).collect();
        prop_assert_eq!(times, expected);
        let counters = world.pair.client.counters();
        prop_assert_eq!((counters.queued, counters.in_flight), (0, 0));
        prop_assert_eq!(world.pair.client.deadline(), None);
    }
}
