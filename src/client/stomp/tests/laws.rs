//! What holds whenever receipts, cuts, resends, acknowledgements and transactions meet, in any
//! order, with a server that keeps to the protocol: nobody is left without an answer, nothing that
//! was receipted is lost, nothing is sent twice on one connection nor out of order, and a
//! transaction is applied as a whole or not at all.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Emit {
        receipt: bool,
        post: bool,
    },
    Subscribe,
    Unsubscribe(u64),
    Arrive(u64),
    Settle {
        id: u64,
        accept: bool,
    },
    Begin,
    Within,
    Pledge(u64),
    Commit,
    Abort,
    Flush,
    /// What is written reaches the server; its answers do not reach us yet.
    Reach,
    /// They do.
    Hear,
    /// The server gives one of the receipts that it holds back.
    Receipt(usize),
    /// The server says that something is wrong, not what; it is nothing of ours.
    Error,
    Pass(u64),
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<(bool, bool)>().prop_map(|(receipt, post)| Step::Emit { receipt, post }),
        2 => Just(Step::Subscribe),
        1 => (1u64..5).prop_map(Step::Unsubscribe),
        4 => (1u64..5).prop_map(Step::Arrive),
        3 => (1u64..20, any::<bool>()).prop_map(|(id, accept)| Step::Settle { id, accept }),
        2 => Just(Step::Begin),
        3 => Just(Step::Within),
        1 => (1u64..20).prop_map(Step::Pledge),
        2 => Just(Step::Commit),
        1 => Just(Step::Abort),
        1 => Just(Step::Flush),
        8 => Just(Step::Reach),
        6 => Just(Step::Hear),
        8 => any::<usize>().prop_map(Step::Receipt),
        1 => Just(Step::Error),
        1 => (0u64..4).prop_map(Step::Pass),
        2 => Just(Step::Cut),
    ]
}

/// A transaction as the program sees it.
#[derive(Default)]
struct Work {
    payloads: Vec<String>,
    commit: Option<u64>,
}

struct World {
    pair: Wired,
    tickets: u64,
    keys: u64,
    payloads: u64,
    /// Messages that ask for a receipt, by ticket where somebody waits.
    receipted: Vec<(Option<u64>, String)>,
    open: Option<Work>,
    ended: Vec<Work>,
    arrived: u64,
    /// Connections that ended without a word.
    cuts: u32,
}

impl World {
    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn payload(&mut self) -> String {
        self.payloads += 1;
        self.payloads.to_string()
    }

    fn transact(&mut self, verb: &str) -> Outcome {
        let ticket = self.ticket();
        self.pair
            .command(ticket, verb, &[("transaction", number(1))])
    }

    fn take(&mut self, step: &Step) -> Outcome {
        match *step {
            Step::Emit { receipt, post } => {
                let ticket = (!post).then(|| self.ticket());
                let payload = self.payload();
                let flags = if receipt { RECEIPT } else { NO_RECEIPT };
                self.pair.emit(ticket, flags, "/q", &payload)?;
                if receipt {
                    self.receipted.push((ticket, payload));
                }
                Ok(())
            }
            Step::Subscribe => {
                self.keys += 1;
                let (ticket, key) = (self.ticket(), self.keys);
                self.pair.subscribe(ticket, key, &format!("/q/{key}"))
            }
            Step::Unsubscribe(key) => {
                let ticket = self.ticket();
                let command = Command::Unsubscribe { ticket, key };
                if self.pair.submit(command).is_err() {
                    self.tickets -= 1;
                }
                Ok(())
            }
            Step::Arrive(key) => {
                self.arrived += 1;
                if !self.pair.client.accepted() {
                    return Ok(());
                }
                let name = self.arrived.to_string();
                let (id, ack) = (key.to_string(), format!("a-{name}"));
                let headers = [
                    ("subscription", &id[..]),
                    ("destination", "/q"),
                    ("message-id", &name),
                    ("ack", &ack),
                ];
                let mut bytes = BytesMut::new();
                self.pair.peer.say(Word::Message, &headers, "", &mut bytes);
                self.pair.inject(&bytes)
            }
            Step::Settle { id, accept } => {
                let verdict = match accept {
                    true => Verdict::Accept,
                    false => Verdict::Reject,
                };
                self.pair.submit(Command::Acknowledge { id, verdict })
            }
            Step::Begin if self.open.is_none() => {
                self.open = Some(Work::default());
                self.transact("begin")
            }
            Step::Within if self.open.is_some() => {
                let payload = self.payload();
                self.pair.emit(None, 1 << 8, "/q", &payload)?;
                if let Some(work) = &mut self.open {
                    work.payloads.push(payload);
                }
                Ok(())
            }
            Step::Pledge(id) if self.open.is_some() => {
                let ticket = self.ticket();
                let given = [("id", number(id as i64)), ("transaction", number(1))];
                self.pair.command(ticket, "acknowledge", &given)
            }
            Step::Commit if self.open.is_some() => {
                let mut work = self.open.take().unwrap_or_default();
                self.transact("commit")?;
                work.commit = Some(self.tickets);
                self.ended.push(work);
                Ok(())
            }
            Step::Abort if self.open.is_some() => {
                let work = self.open.take();
                self.ended.extend(work);
                self.transact("abort")
            }
            Step::Begin | Step::Within | Step::Pledge(_) | Step::Commit | Step::Abort => Ok(()),
            Step::Flush => {
                let ticket = self.ticket();
                self.pair.submit(Command::Flush { ticket })
            }
            Step::Reach => {
                self.pair.reach_peer();
                Ok(())
            }
            Step::Hear => self.pair.deliver(),
            Step::Receipt(which) => {
                let withheld = &mut self.pair.peer.withheld;
                if withheld.is_empty() {
                    return Ok(());
                }
                let id = withheld.remove(which % withheld.len());
                let mut bytes = BytesMut::new();
                self.pair.peer.receipt(&id, &mut bytes);
                self.pair.inject(&bytes)
            }
            Step::Error if self.pair.client.accepted() && !self.accuses_one() => {
                let mut bytes = BytesMut::new();
                let headers = [("message", "shutdown")];
                self.pair.peer.say(Word::Error, &headers, "", &mut bytes);
                self.pair.inject(&bytes)
            }
            Step::Error => Ok(()),
            Step::Pass(time) => self.pair.pass(seconds(time)).map(drop),
            Step::Cut => Err(Error::lost("gone")),
        }
    }

    /// An ERROR now would be taken for the refusal of the only one that it could be about.
    fn accuses_one(&self) -> bool {
        self.pair.client.in_flight.awaited() == 1
    }

    /// On one connection nothing comes twice, nor before what was sent before it.
    fn check_connection(&mut self) {
        let mut last = 0;
        for line in self.pair.peer.log.iter() {
            if line.starts_with("SEND") {
                let payload = line.rsplit("| ").next().unwrap_or_default();
                let payload: u64 = payload.parse().expect("a number");
                assert!(payload > last, "{line} after {last}");
                last = payload;
            }
        }
    }

    fn reconnect(&mut self, cause: &Error) {
        self.check_connection();
        self.pair.lose_because(cause);
        self.pair.connect();
    }
}

proptest! {
    #[test]
    fn nobody_waits_for_ever_and_nothing_receipted_is_lost(
        window in 1i64..6,
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut pair = wired(&[("max_in_flight", number(window)), ("timeout", number(6))]);
        pair.peer.manners.heart_beat = "100000,0";
        pair.peer.withholds = true;
        pair.connect();
        let mut world = World {
            pair,
            tickets: 0,
            keys: 0,
            payloads: 0,
            receipted: Vec::new(),
            open: None,
            ended: Vec::new(),
            arrived: 0,
            cuts: 0,
        };
        for step in &steps {
            if let Err(error) = world.take(step) {
                prop_assert!(matches!(step, Step::Cut | Step::Error | Step::Pass(_)), "{:?}", error);
                world.cuts += u32::from(matches!(step, Step::Cut));
                world.reconnect(&error);
            }
        }
        world.pair.peer.withholds = false;
        world.reconnect(&Error::lost("the last one"));
        world.pair.settle().map(drop).expect("an honest server");
        let ticket = world.ticket();
        world.pair.submit(Command::Close { ticket }).expect("the first close");
        world.pair.settle().map(drop).expect("an honest server");
        prop_assert!(world.pair.client.finished());
        world.check_connection();
        world.pair.terminate(&Error::closed());

        let (mut times, mut failed) = (BTreeMap::new(), BTreeMap::new());
        for told in world.pair.told() {
            match told {
                Told::Answered(ticket, _) => *times.entry(ticket).or_insert(0) += 1,
                Told::Failed(ticket, code, _) => {
                    *times.entry(ticket).or_insert(0) += 1;
                    failed.insert(ticket, code);
                }
                _ => {}
            }
        }
        let expected: BTreeMap<u64, i32> = (1..=world.tickets).map(|ticket| (ticket, 1)).collect();
        prop_assert_eq!(times, expected);
        let got = &world.pair.peer.got;
        for (ticket, payload) in &world.receipted {
            // Who has lost patience in the queue has taken the message back; and what is all that one connection after
            // another was sent before it ended is refused.
            let told = |code: &&str| matches!(*code, "timeout" | "refused");
            let failed = ticket.is_some_and(|ticket| failed.get(&ticket).is_some_and(told));
            prop_assert!(failed || world.cuts >= 6 || got.contains(payload));
        }
        for work in &world.ended {
            let applied = work.payloads.iter().filter(|payload| got.contains(payload)).count();
            let failed = work.commit.and_then(|ticket| failed.get(&ticket));
            match (work.commit, failed) {
                (Some(_), None) => prop_assert_eq!(applied, work.payloads.len()),
                (None, _) => prop_assert_eq!(applied, 0),
                // Nobody knows; but it is all or nothing.
                (Some(_), Some(_)) => {
                    prop_assert!(applied == 0 || applied == work.payloads.len());
                }
            }
        }
    }
}
