//! How long the router looks for those who receive a name, among few subscriptions and among many; and what a
//! subscription takes.

#![allow(missing_docs)] // criterion_group! makes a public function
#![allow(clippy::print_stdout)] // what a subscription takes is a result, too

use bytes::Bytes;
use criterion::{criterion_group, criterion_main, Criterion};
use mq::broker::{Kind, Message, Name, Router, Subscriber};
use std::hint::black_box;
use std::sync::Arc;

/// Topics that are published to, whatever there is besides.
const TOPICS: usize = 1000;

struct Nobody;

impl Subscriber for Nobody {
    fn deliver(&self, _: u32, _: &Arc<Message>) -> bool {
        true
    }
}

/// Resident memory in bytes; 0 where the system does not tell.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4096
}

/// A router with so many subscriptions to patterns that `name` makes.
fn router(kind: Kind, count: usize, name: impl Fn(usize) -> String) -> Router {
    let before = resident();
    let mut router = Router::default();
    let id = router.enrol(Arc::new(Nobody));
    for number in 0..count {
        let name: Name = name(number).as_bytes().into();
        router.subscribe(kind, &name, id, number as u32);
    }
    let taken = resident().saturating_sub(before);
    if count > 100_000 {
        println!(
            "{kind:?}: {} bytes a subscription, of {count}",
            taken / count
        );
    }
    router
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("router publish");
    let topics: Vec<Bytes> = (0..TOPICS)
        .map(|number| format!("plant/{number:07}/line/temperature").into())
        .collect();
    let message = Arc::new(Message::default());
    for count in [1000, 1_000_000] {
        let exact = |number| format!("plant/{number:07}/line/temperature");
        let plus = |number| format!("plant/{number:07}/+/temperature");
        let rest = |number| format!("plant/{number:07}/#");
        for (what, mut router) in [
            ("exact", router(Kind::Exact, count, exact)),
            ("+", router(Kind::Filter, count, plus)),
            ("#", router(Kind::Filter, count, rest)),
        ] {
            let mut turn = 0;
            group.bench_function(format!("{what} among {count}"), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % TOPICS;
                    let taken = router.publish(black_box(&topics[turn]), || message.clone());
                    assert_eq!(taken, 1);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);
