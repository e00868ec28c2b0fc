//! What is sent again after a connection is lost, with the session and without.

use super::*;
use crate::codec::mqtt::Place;

/// 1 is to be sent again, 2 to be released, 3 is not sent at all.
fn interrupted(pair: Wired) -> Result<Wired, Error> {
    let mut pair = pair.ready()?;
    pair.subscribe(9, 9, "s")?;
    pair.settle()?;
    pair.peer.silent = vec![Place::Publish];
    pair.emit(Some(1), 2, "a", "one")?;
    pair.settle()?;
    pair.peer.silent = vec![Place::PubRel];
    pair.emit(Some(2), 2, "a", "two")?;
    pair.emit(Some(3), 1, "a", "three")?;
    pair.reach_peer();
    pair.peer.silent = vec![Place::Publish, Place::PubRel];
    pair.deliver()?;
    pair.emit(Some(4), 1, "a", "four")?;
    pair.settle()?;
    pair.lose();
    pair.emit(Some(5), 0, "a", "five")?;
    pair.emit(Some(6), 1, "a", "six")?;
    pair.peer.silent.clear();
    pair.forget();
    Ok(pair)
}

fn plain(log: &[String]) -> Vec<String> {
    let skipped = log.iter().filter(|line| !line.starts_with("CONNECT"));
    skipped.map(|line| line.replace(" #", "")).collect()
}

#[test]
fn with_the_session_all_goes_on_where_it_was() -> Outcome {
    for pair in persistent(&[]) {
        let mut pair = interrupted(pair)?;
        let handling = match pair.client.version {
            Version::V5 => 1,
            Version::V311 => 0,
        };
        pair.connect().settle()?;
        assert_eq!(
            plain(&pair.log()),
            [
                &format!("SUBSCRIBE 6 q1 rh{handling} s"),
                "PUBLISH 2 q2 dup a one",
                "PUBREL 3",
                "PUBLISH 5 q1 dup a four",
                "PUBLISH 0 q0 a five",
                "PUBLISH 7 q1 a six",
                "PUBREL 2",
            ]
        );
        let told = pair.told();
        for ticket in [1, 2, 4, 5, 6] {
            let answered = |told: &&Told| matches!(told, Told::Answered(to, _) if *to == ticket);
            assert_eq!(
                told.iter().filter(answered).count(),
                1,
                "{ticket}: {told:?}"
            );
        }
        let mut once = pair.peer.got.clone();
        once.retain(|payload| payload == "one" || payload == "two");
        assert_eq!(once, ["one", "two"], "QoS 2 is had once");
    }
    Ok(())
}

#[test]
fn without_the_session_what_the_server_had_is_lost_and_the_rest_is_new() -> Outcome {
    for pair in persistent(&[]) {
        let mut pair = interrupted(pair)?;
        pair.peer.forget_session();
        pair.connect().settle()?;
        let log = plain(&pair.log());
        assert!(log[0].starts_with("SUBSCRIBE 6"), "{log:?}");
        assert_eq!(
            log[1..],
            [
                "PUBLISH 2 q2 a one",
                "PUBLISH 5 q1 a four",
                "PUBLISH 0 q0 a five",
                "PUBLISH 7 q1 a six",
                "PUBREL 2"
            ]
        );
        let told = pair.told();
        assert!(told.contains(&failed(2, "lost")), "{told:?}");
        let answered = told
            .iter()
            .filter(|told| matches!(told, Told::Answered(..)));
        assert_eq!(answered.count(), 4);
    }
    Ok(())
}

#[test]
fn a_subscription_made_while_much_is_sent_again_holds_nothing_up() -> Outcome {
    let [mut pair, _] = persistent(&[("max_in_flight", number(2))]);
    pair.connect().settle()?;
    pair.peer.silent = vec![Place::Publish];
    for ticket in [1, 2] {
        pair.emit(Some(ticket), 1, "a", "x")?;
    }
    pair.settle()?;
    pair.lose();
    pair.peer
        .grant(PropertyId::ReceiveMaximum, PropertyValue::U16(1));
    pair.connect().settle()?;
    pair.forget();
    pair.subscribe(3, 3, "s")?;
    pair.settle()?;
    assert_eq!(pair.told(), [done(3)]);
    pair.peer.silent.clear();
    pair.again()?;
    let zero = |ticket| Told::Answered(ticket, number(0));
    assert_eq!(pair.told(), [CONNECTED, zero(1), zero(2)]);
    Ok(())
}

#[test]
fn what_is_answered_twice_is_told_once() -> Outcome {
    for pair in persistent(&[]) {
        let mut pair = pair.ready()?;
        pair.emit(Some(1), 1, "a", "x")?;
        pair.emit(Some(2), 2, "a", "y")?;
        pair.reach_peer();
        pair.lose();
        pair.connect().settle()?;
        let told = pair.told();
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(pair.peer.got, ["x", "y", "x"]);
    }
    Ok(())
}
