//! The router beside a naive matcher; what is taken and what is not; timers.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

/// Notes the tags that it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<u32>>);

impl Notes {
    fn take(&self) -> Vec<u32> {
        let mut tags = std::mem::take(&mut *lock(&self.0));
        tags.sort_unstable();
        tags
    }
}

impl Subscriber for Notes {
    fn deliver(&self, tag: u32, _: &Arc<Message>) -> bool {
        lock(&self.0).push(tag);
        true
    }
}

fn message(topic: &[u8], payload: usize) -> Arc<Message> {
    Arc::new(Message {
        topic: Bytes::copy_from_slice(topic),
        payload: vec![0; payload].into(),
        ..Message::default()
    })
}

/// MQTT 5, section 4.7, level by level.
fn filter_matches(filter: &str, topic: &str) -> bool {
    fn levels(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([level, rest @ ..], [name, more @ ..]) => {
                (*level == "+" || level == name) && levels(rest, more)
            }
            _ => false,
        }
    }
    let hidden = topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#'));
    let split = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (filter, topic) = (split(filter), split(topic));
    let filter: Vec<_> = filter.iter().map(String::as_str).collect();
    let topic: Vec<_> = topic.iter().map(String::as_str).collect();
    !hidden && levels(&filter, &topic)
}

fn naive(kind: Kind, pattern: &str, name: &str) -> bool {
    match kind {
        Kind::Exact => pattern == name,
        Kind::Filter => filter_matches(pattern, name),
        Kind::Glob => glob::matches(pattern.as_bytes(), name.as_bytes()),
    }
}

fn kinds() -> impl Strategy<Value = (Kind, String)> {
    let level = prop_oneof![Just("a"), Just("b"), Just(""), Just("+"), Just("$c")];
    let filter =
        (proptest::collection::vec(level, 1..4), any::<bool>()).prop_map(|(mut levels, rest)| {
            if rest {
                levels.push("#");
            }
            levels.join("/")
        });
    prop_oneof![
        filter.prop_map(|filter| (Kind::Filter, filter)),
        Just((Kind::Filter, "#".to_owned())),
        "[ab/$]{0,5}".prop_map(|name| (Kind::Exact, name)),
        "[ab/*?]{1,5}".prop_map(|glob| (Kind::Glob, glob)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Subscribes, ends some of it, and publishes: exactly those whose pattern matches are told; then ends all, and
    /// nothing is left.
    #[test]
    fn who_receives_is_who_a_naive_matcher_names(
        wanted in proptest::collection::vec((kinds(), 0usize..3, any::<bool>()), 0..12),
        names in proptest::collection::vec("[ab/$c]{0,6}", 1..6),
    ) {
        let mut router = Router::default();
        let notes: Vec<Arc<Notes>> = (0..3).map(|_| Arc::default()).collect();
        let ids: Vec<_> = notes.iter().map(|notes| router.enrol(notes.clone())).collect();
        let mut live = Vec::new();
        for (tag, ((kind, pattern), who, _)) in wanted.iter().enumerate() {
            if !live.iter().any(|(k, p, w, _)| (k, p, w) == (kind, pattern, who)) {
                router.subscribe(*kind, &pattern.as_bytes().into(), ids[*who], tag as u32);
                live.push((*kind, pattern.clone(), *who, tag as u32));
            }
        }
        for ((kind, pattern), who, ends) in &wanted {
            if *ends {
                let known = live.iter().position(|(k, p, w, _)| (k, p, w) == (kind, pattern, who));
                // Of two names for the same subscription, a filter without wildcards and a name, one ends the other.
                let removed = router.unsubscribe(*kind, pattern.as_bytes(), ids[*who]);
                prop_assert!(removed || known.is_none());
                if let Some(known) = known {
                    live.remove(known);
                } else if removed {
                    let alike = live.iter().position(|(k, p, w, _)| *k != Kind::Glob && p == pattern && w == who);
                    prop_assert!(alike.is_some());
                    live.remove(alike.unwrap());
                }
            }
        }
        for name in &names {
            let taken = router.publish(name.as_bytes(), || message(name.as_bytes(), 1));
            let mut total = 0;
            for (who, notes) in notes.iter().enumerate() {
                let told = notes.take();
                total += told.len();
                let expected = live.iter().filter(|(k, p, w, _)| *w == who && naive(*k, p, name)).count();
                prop_assert_eq!(told.len(), expected, "{} for {}: {:?}", name, who, &live);
            }
            prop_assert_eq!(taken, total);
        }
        for (kind, pattern, who, _) in &live {
            prop_assert!(router.unsubscribe(*kind, pattern.as_bytes(), ids[*who]));
        }
        prop_assert_eq!(
            (router.filters(), router.globs(), router.names_like(None).count()),
            (0, 0, 0)
        );
    }
}

#[test]
fn tags_come_with_messages_and_ids_are_used_again() {
    let mut router = Router::default();
    let notes = Arc::<Notes>::default();
    let id = router.enrol(notes.clone());
    router.subscribe(Kind::Exact, &b"a".as_slice().into(), id, 7);
    router.subscribe(Kind::Glob, &b"*".as_slice().into(), id, 8);
    router.subscribe(Kind::Filter, &b"+".as_slice().into(), id, 9);
    assert_eq!(router.publish(b"a", || message(b"a", 0)), 3);
    assert_eq!(notes.take(), [7, 8, 9]);
    assert!(!router.unsubscribe(Kind::Exact, b"b", id));
    assert!(router.unsubscribe(Kind::Exact, b"a", id));
    assert_eq!(router.count(b"a"), 0);
    assert_eq!(router.publish(b"a", || message(b"a", 0)), 2);
    router.dismiss(id);
    assert_eq!(router.publish(b"a", || message(b"a", 0)), 0);
    assert_eq!(router.enrol(notes), id);
}

#[test]
fn nobody_makes_a_message_that_nobody_receives() {
    let mut router = Router::default();
    assert_eq!(router.publish(b"a", || panic!("made for nobody")), 0);
}

/// Counts how often it rings.
#[derive(Default)]
struct Rings(AtomicU32);

impl Bell for Rings {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_mailbox_rings_once_and_is_cut_off_at_its_bound() {
    let rings = Arc::<Rings>::default();
    let rung = || rings.0.load(Ordering::Relaxed);
    let size = message(b"t", 100).size();
    let bell: Weak<dyn Bell> = Arc::<Rings>::downgrade(&rings);
    let mailbox = Mailbox::new(bell, 2 * size);
    assert!(mailbox.deliver(1, &message(b"t", 100)));
    assert!(mailbox.deliver(2, &message(b"t", 100)));
    assert_eq!(rung(), 1);
    let mut tags = Vec::new();
    mailbox.drain(|delivery| {
        tags.push(delivery.tag);
        false
    });
    assert_eq!(tags, [1]);
    assert!(mailbox.is_waiting());
    mailbox.drain(|_| true);
    assert!(!mailbox.is_waiting());
    // One that is larger than the bound is taken where nothing else waits.
    assert!(mailbox.deliver(3, &message(b"t", 10_000)));
    assert_eq!(rung(), 2);
    assert!(!mailbox.deliver(4, &message(b"t", 0)));
    assert!(mailbox.is_overrun());
    assert_eq!(rung(), 3);
    mailbox.drain(|_| panic!("nothing is left"));
    assert!(!mailbox.deliver(5, &message(b"t", 0)));
}

#[test]
fn timers_are_called_in_their_order_when_they_are_due() {
    let broker = Broker::new(Settings::default());
    let rings = Arc::<Rings>::default();
    let bell: Weak<dyn Bell> = Arc::<Rings>::downgrade(&rings);
    assert_eq!(broker.deadline(&bell), None);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let called = Arc::<Mutex<Vec<u64>>>::default();
    let note = |number: u64| {
        let called = called.clone();
        move |broker: &Arc<Broker>, now: Instant| {
            lock(&called).push(number);
            // A job may want another one.
            if number == 1 {
                broker.after(now, |_, _| {});
            }
        }
    };
    broker.after(at(2), note(2));
    broker.after(at(1), note(1));
    let third = broker.after(at(3), note(3));
    assert_eq!(rings.0.load(Ordering::Relaxed), 2);
    assert_eq!(broker.deadline(&bell), Some(at(1)));
    broker.expire(at(0));
    assert!(lock(&called).is_empty());
    broker.expire(at(2));
    assert_eq!(*lock(&called), [1, 2]);
    assert!(broker.cancel(third));
    assert!(!broker.cancel(third));
    assert_eq!(broker.deadline(&bell), None);
}

#[test]
fn users_are_let_in_by_their_passwords() {
    let everybody = Settings::default();
    assert!(everybody.admits(b"x", b"y"));
    let users = HashMap::from([(b"a".to_vec(), b"secret".to_vec())]);
    let some = Settings {
        users: Some(users),
        ..Settings::default()
    };
    assert!(some.admits(b"a", b"secret"));
    for (user, password) in [("a", "secreT"), ("a", "secre"), ("a", ""), ("b", "secret")] {
        assert!(!some.admits(user.as_bytes(), password.as_bytes()));
    }
}
