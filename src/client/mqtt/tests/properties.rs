//! Whatever happens to connections and in which order: QoS 1 loses nothing, QoS 2 neither loses
//! nor doubles anything, in both directions.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    /// The program sends.
    Emit { exactly: bool },
    /// The server sends; it reaches the client unless the wire breaks.
    Arrive { exactly: bool },
    /// The program acknowledges so many of those that it has.
    Acknowledge(usize),
    /// What the client says reaches the server, whose answers stay on the wire.
    Half,
    /// What is on the wire arrives.
    Deliver,
    /// Both ends talk until they have nothing more to say.
    Settle,
    /// The connection breaks, what is on the wire is gone, the next one is made.
    Cut,
    /// What the client says goes nowhere, then as before.
    CutUnheard,
    /// A subscription comes and takes an identifier.
    Subscribe,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|exactly| Step::Emit { exactly }),
        4 => any::<bool>().prop_map(|exactly| Step::Arrive { exactly }),
        3 => (1usize..4).prop_map(Step::Acknowledge),
        3 => Just(Step::Half),
        3 => Just(Step::Deliver),
        1 => Just(Step::Settle),
        2 => Just(Step::Cut),
        1 => Just(Step::CutUnheard),
        1 => Just(Step::Subscribe),
    ]
}

struct World {
    pair: Wired,
    emitted: u64,
    arrived: u64,
    keys: u64,
    told: Vec<Told>,
}

impl World {
    fn take(&mut self, step: &Step) -> Outcome {
        let pair = &mut self.pair;
        match step {
            Step::Emit { exactly } => {
                self.emitted += 1;
                let (qos, mark) = if *exactly { (2, "2") } else { (1, "1") };
                let payload = format!("{mark}/{}", self.emitted);
                pair.emit(Some(self.emitted), qos, "out", &payload)?;
            }
            Step::Arrive { exactly } => {
                self.arrived += 1;
                let (qos, mark) = match exactly {
                    true => (Qos::ExactlyOnce, "2"),
                    false => (Qos::AtLeastOnce, "1"),
                };
                let mut bytes = BytesMut::new();
                let payload = format!("{mark}/{}", self.arrived);
                pair.peer.publish(qos, "in/x", &payload, &mut bytes);
                pair.inject(&bytes)?;
            }
            Step::Acknowledge(count) => {
                let count = (*count).min(pair.metas.len());
                for meta in pair.metas.drain(..count).collect::<Vec<_>>() {
                    let (id, verdict) = (meta.id, Verdict::Accept);
                    pair.submit(Command::Acknowledge { id, verdict })?;
                }
            }
            Step::Half => pair.reach_peer(),
            Step::Deliver => pair.deliver()?,
            Step::Settle => drop(pair.settle()?),
            Step::Cut => drop(pair.again()?),
            Step::CutUnheard => {
                pair.transmit_into_the_void();
                pair.again()?;
            }
            Step::Subscribe => {
                self.keys += 1;
                let key = 1000 + self.keys;
                pair.subscribe(1_000_000 + key, key, &format!("other/{key}"))?;
            }
        }
        self.told.append(&mut pair.told());
        Ok(())
    }

    fn finish(&mut self) -> Outcome {
        for _ in 0..3 {
            self.take(&Step::Settle)?;
            self.take(&Step::Acknowledge(usize::MAX))?;
            self.take(&Step::Settle)?;
            self.take(&Step::Cut)?;
        }
        Ok(())
    }
}

/// How often each was had; QoS 2 once, QoS 1 at least once.
fn check(had: &[String], sent: u64) -> Result<(), TestCaseError> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for payload in had {
        *times.entry(payload).or_default() += 1;
    }
    prop_assert_eq!(times.len() as u64, sent, "nothing is lost");
    for (payload, times) in times {
        prop_assert!(
            times == 1 || payload.starts_with('1'),
            "{} came {} times",
            payload,
            times
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn nothing_is_lost_and_qos_2_is_not_doubled(
        old in any::<bool>(),
        window in 1i64..6,
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let [new, three] = persistent(&[("max_in_flight", number(window))]);
        let mut pair = if old { three } else { new };
        pair.subscribe(1_000_001, 1000, "in/#").expect("a subscription");
        pair.connect().settle().expect("a connection");
        pair.told();
        let mut world = World { pair, emitted: 0, arrived: 0, keys: 0, told: Vec::new() };
        for step in &steps {
            let outcome = world.take(step);
            prop_assert!(outcome.is_ok(), "{:?}: {:?}", step, outcome);
        }
        let outcome = world.finish();
        prop_assert!(outcome.is_ok(), "{:?}", outcome);
        check(&world.pair.peer.got, world.emitted)?;
        let had: Vec<String> = world.told.iter().filter_map(|told| match told {
            Told::Message(_, _, payload) => Some(payload.clone()),
            _ => None,
        }).collect();
        check(&had, world.arrived)?;
        let mut answered: Vec<u64> = world.told.iter().filter_map(|told| match told {
            Told::Answered(ticket, _) if *ticket < 1_000_000 => Some(*ticket),
            _ => None,
        }).collect();
        answered.sort_unstable();
        prop_assert_eq!(answered, (1..=world.emitted).collect::<Vec<_>>(), "each is answered once");
        prop_assert_eq!(world.pair.peer.unacknowledged(), 0);
        prop_assert!(world.pair.peer.most_open <= window as usize);
        prop_assert_eq!(world.pair.client.counters().in_flight, 0);
    }
}
