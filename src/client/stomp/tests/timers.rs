//! Heart-beats, silence, and callers' patience.

use super::*;

fn beating(name: &'static str, given: &[(&str, Value)]) -> Result<Wired, Error> {
    let mut pair = wired(given);
    pair.peer.manners.heart_beat = name;
    pair.ready()
}

#[test]
fn both_sides_agree_on_the_slower_rhythm() -> Outcome {
    let given = [
        ("heartbeat_send", number(4)),
        ("heartbeat_receive", number(6)),
    ];
    for (said, send, receive) in [
        ("0,0", 0, 0),
        ("1000,1000", 4, 6),
        ("60000,5000", 5, 60),
        (" 8000 , 9000 ", 9, 8),
        ("8000,0", 0, 8),
        ("nonsense", 0, 0),
        ("1,2,3", 0, 0),
    ] {
        let pair = beating(said, &given)?;
        let agreed = (pair.client.broker.send, pair.client.broker.receive);
        assert_eq!(agreed, (seconds(send), seconds(receive)), "{said}");
    }
    let pair = beating(
        "8000,8000",
        &[
            ("heartbeat_send", number(0)),
            ("heartbeat_receive", number(0)),
        ],
    )?;
    assert_eq!(pair.client.deadline(), None);
    let mut pair = speaking(Version::V10, &given);
    pair.connect().settle()?;
    assert_eq!(pair.client.deadline(), None, "1.0 has none");
    Ok(())
}

#[test]
fn we_are_heard_before_the_broker_loses_patience() -> Outcome {
    let mut pair = beating("0,10000", &[])?;
    for _ in 0..100 {
        pair.pass(seconds(1))?.settle()?;
    }
    assert_eq!(pair.peer.beats(), 12, "every 8 s");
    // Whatever is written counts.
    for _ in 0..10 {
        pair.emit(None, 0, "/q", "x")?;
        pair.settle()?;
        pair.pass(seconds(7))?.settle()?;
    }
    assert_eq!(pair.peer.beats(), 0);
    Ok(())
}

#[test]
fn beats_do_not_pile_up_while_nothing_can_be_written() -> Outcome {
    let mut pair = beating("0,1000", &[("heartbeat_send", number(1))])?;
    for _ in 0..1000 {
        let now = pair.now + seconds(1);
        pair.now = now;
        let mut events = Batch::for_client(1, 1);
        pair.client.expire(now, &mut events)?;
    }
    pair.settle()?;
    assert_eq!(pair.peer.beats(), 1);
    Ok(())
}

#[test]
fn a_broker_that_stops_is_given_up() -> Outcome {
    let mut pair = beating("10000,0", &[])?;
    for _ in 0..10 {
        pair.pass(seconds(20))?;
        pair.inject(b"\n")?;
    }
    let error = pair.pass(seconds(21)).err().expect("an error");
    assert_eq!((error.code, error.fatal), (Code::Timeout, false));
    assert!(
        error.text.contains("heart-beat every 10 s"),
        "{}",
        error.text
    );
    Ok(())
}

#[test]
fn half_a_frame_for_ever_is_silence_too() -> Outcome {
    let mut pair = beating("10000,0", &[])?;
    pair.inject(b"MESSAGE\nsubscri")?;
    assert!(pair.pass(seconds(21)).is_err());
    Ok(())
}

#[test]
fn one_that_is_not_read_is_not_silent() -> Outcome {
    let mut pair = beating("1000,0", &[("heartbeat_receive", number(1))])?;
    pair.subscribe(1, 10, "/q")?;
    pair.settle()?;
    pair.room = 1;
    pair.arrives("10", "m1", "x")?;
    pair.arrives("10", "m2", "y")?;
    pair.pass(seconds(100))?;
    assert_eq!(pair.client.counters().received, 1);
    pair.room = 10;
    pair.deliver()?;
    assert_eq!(pair.client.counters().received, 2);
    pair.pass(seconds(2))?;
    assert!(
        pair.pass(seconds(1)).is_err(),
        "from here on it counts again"
    );
    Ok(())
}

#[test]
fn without_heart_beats_answers_are_what_is_waited_for() -> Outcome {
    let mut pair = wired(&[("timeout", number(5))]).ready()?;
    pair.pass(seconds(1000))?;
    pair.peer.silent.push(Word::Send);
    pair.emit(Some(1), 0, "/q", "x")?;
    pair.settle()?;
    let error = pair.pass(seconds(5)).err().expect("an error");
    assert_eq!(error.code, Code::Timeout);
    assert_eq!(pair.told(), [failed(1, "timeout")]);
    assert!(
        pair.texts[0].contains("MQ goes on trying"),
        "{:?}",
        pair.texts
    );
    pair.lose_because(&error);
    pair.peer.silent.clear();
    pair.connect().settle()?;
    assert_eq!(pair.peer.got, ["x", "x"], "at least once");
    assert_eq!(pair.told(), [CONNECTED]);
    Ok(())
}

#[test]
fn with_heart_beats_answers_may_take_their_time() -> Outcome {
    let mut pair = beating("10000,0", &[("timeout", number(5))])?;
    pair.peer.silent = vec![Word::Send, Word::Subscribe];
    pair.emit(Some(1), 0, "/q", "x")?;
    pair.subscribe(2, 10, "/s")?;
    pair.settle()?;
    for _ in 0..10 {
        pair.pass(seconds(10))?;
        pair.inject(b"\n")?;
    }
    let mut told = pair.told();
    told.sort_by_key(|told| format!("{told:?}"));
    assert_eq!(told, [failed(1, "timeout"), failed(2, "timeout")]);
    pair.hears(Word::Receipt, &[("receipt-id", "1")], "")?;
    assert_eq!((pair.told(), pair.client.counters().in_flight), (vec![], 0));
    Ok(())
}
