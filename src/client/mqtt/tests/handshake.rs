//! CONNECT, what comes in answer, and good-byes.

use super::*;
use crate::codec::mqtt::{Auth, Disconnect, Properties, PropertyList, Reason};

#[test]
fn connect_says_what_the_options_say() -> Outcome {
    let mut pair = wired(&[]).ready_with_log()?;
    assert_eq!(pair.log(), ["CONNECT 5 clean id= 60s expiry=120"]);
    let given = [
        ("client_id", text("me")),
        ("clean", Value::Boolean(false)),
        ("keepalive", Value::Number(1.5)),
        ("username", text("u")),
        ("password", text("p")),
        ("will", Value::Boolean(true)),
        ("will_topic", text("gone/me")),
        ("will_payload", text("bye")),
        ("will_qos", number(1)),
        ("will_retain", Value::Boolean(true)),
        ("will_delay", number(5)),
    ];
    let [mut new, mut old] = both(&given).map(Wired::ready_with_log);
    assert_eq!(
        new.as_mut().map(Wired::log).unwrap_or_default(),
        ["CONNECT 5 id=me 2s expiry=4294967295 will: q1 retain Some(5) gone/me bye login: u:p"]
    );
    assert_eq!(
        old.as_mut().map(Wired::log).unwrap_or_default(),
        ["CONNECT 4 id=me 2s will: q1 retain None gone/me bye login: u:p"]
    );
    let [_, old] = both(&[("password", text("p"))]);
    assert_eq!(
        old.ready_with_log()?.log(),
        ["CONNECT 4 clean id= 60s login: :p"],
        "3.1.1 has no password without a user name"
    );
    Ok(())
}

#[test]
fn what_does_not_go_into_connect_is_refused_with_the_options() {
    let long = Value::Bytes(vec![b'x'; 65_536]);
    for name in ["password", "auth_data"] {
        let given = [(name, long.clone()), ("auth_method", text("m"))];
        let entries = given.map(|(name, value)| (name.as_bytes().to_vec(), value));
        let outcome = Options::parse(&Value::Map(entries.into()));
        assert_eq!(
            outcome.err().map(|error| error.code),
            Some(Code::Invalid),
            "{name}"
        );
    }
}

#[test]
fn an_assigned_client_id_is_used_again() -> Outcome {
    let mut pair = wired(&[]);
    let assigned = PropertyValue::Text("given");
    pair.peer
        .grant(PropertyId::AssignedClientIdentifier, assigned);
    pair.connect().settle()?;
    let told = pair.details.pop().unwrap_or_default();
    assert_eq!(told.member("client_id"), &text("given"));
    assert_eq!(told.member("session_present"), &Value::Boolean(false));
    pair.log();
    pair.again()?;
    assert_eq!(pair.log(), ["CONNECT 5 id=given 60s expiry=120"]);
    let told = pair.details.pop().unwrap_or_default();
    assert_eq!(told.member("session_present"), &Value::Boolean(true));
    Ok(())
}

#[test]
fn a_server_without_version_5_is_spoken_to_in_3_1_1_once() -> Outcome {
    let mut pair = wired(&[]);
    pair.peer.knows_v5 = false;
    assert_eq!(pair.connect().error().code, Code::Refused);
    assert_eq!(pair.client.detour(), Some(Detour::Again));
    pair.again()?;
    assert_eq!(pair.told(), [CONNECTED]);
    assert_eq!(pair.log()[1], "CONNECT 4 clean id= 60s");

    for mut pair in both(&[]) {
        pair.peer.connack.0 = Reason::UNSUPPORTED_PROTOCOL_VERSION;
        pair.connect().error();
        if pair.client.detour().is_some() {
            pair.lose();
            assert!(pair.connect().error().fatal, "3.1.1 is refused, too");
        }
        assert_eq!(pair.client.detour(), None);
    }
    Ok(())
}

#[test]
fn refusals_for_good_and_for_now() {
    for (reason, code, fatal) in [
        (Reason::BAD_USER_NAME_OR_PASSWORD, Code::Auth, true),
        (Reason::NOT_AUTHORIZED, Code::Auth, true),
        (Reason::CLIENT_IDENTIFIER_NOT_VALID, Code::Refused, true),
        (Reason::SERVER_UNAVAILABLE, Code::Refused, false),
    ] {
        for mut pair in both(&[]) {
            pair.peer.connack.0 = reason;
            let error = pair.connect().error();
            assert_eq!((error.code, error.fatal), (code, fatal), "{error}");
            assert!(error.text.contains(reason.text()), "{error}");
            assert_eq!(pair.told(), []);
            assert!(!pair.client.accepted());
        }
    }
    let mut pair = wired(&[]);
    pair.peer.connack.0 = Reason::QUOTA_EXCEEDED;
    assert!(!pair.connect().error().fatal);
}

#[test]
fn another_server_is_turned_to_where_wanted_and_five_times_in_a_row() {
    for (redirect, turns) in [(false, 0), (true, 5)] {
        let mut pair = wired(&[("redirect", Value::Boolean(redirect))]);
        pair.peer.connack.0 = Reason::USE_ANOTHER_SERVER;
        let other = PropertyValue::Text("other:1884 third");
        pair.peer.grant(PropertyId::ServerReference, other);
        let places = Detour::Elsewhere(vec!["other:1884".into(), "third".into()]);
        for turn in 0..7 {
            assert_eq!(pair.connect().error().code, Code::Refused);
            let expected = (turn < turns).then(|| places.clone());
            assert_eq!(pair.client.detour(), expected);
            pair.lose();
        }
    }
}

#[test]
fn servers_that_let_us_in_and_send_us_on_are_not_followed_for_ever() -> Outcome {
    let mut pair = wired(&[("redirect", Value::Boolean(true))]);
    let mut list = PropertyList::new();
    list.push(PropertyId::ServerReference, PropertyValue::Text("other"))
        .expect("a valid property");
    let goodbye = Packet::Disconnect(Disconnect {
        reason: Reason::USE_ANOTHER_SERVER,
        properties: list.as_properties(),
    });
    let turn = |pair: &mut Wired, stays| -> Result<bool, Error> {
        pair.connect().settle()?;
        pair.live(stays)?;
        assert!(pair.hears(&goodbye).is_err());
        let turned = pair.client.detour().is_some();
        pair.lose();
        Ok(turned)
    };
    for _ in 0..5 {
        assert!(turn(&mut pair, 0)?);
    }
    assert!(!turn(&mut pair, 0)?, "the sixth in a row");
    pair.peer.silent.clear();
    pair.connect().settle()?;
    pair.live(70)?;
    pair.lose();
    assert!(turn(&mut pair, 0)?, "a connection that lasts begins anew");
    Ok(())
}

#[test]
fn enhanced_authentication() -> Outcome {
    let mut pair = wired(&[("auth_method", text("SCRAM")), ("auth_data", text("hi"))]);
    pair.peer.challenge = Some("who?");
    pair.connect().settle()?;
    assert_eq!(pair.told(), [Told::State("challenge")]);
    let asked = pair.details.pop().unwrap_or_default();
    assert_eq!(asked.member("authentication_data"), &text("who?"));
    pair.submit(Command::Custom {
        ticket: 1,
        verb: b"authenticate",
        options: &text("me"),
    })?;
    pair.settle()?;
    assert_eq!(pair.told(), [done(1), CONNECTED]);
    assert_eq!(
        pair.log(),
        ["CONNECT 5 clean id= 60s expiry=120 method=SCRAM", "AUTH me"]
    );
    let late = pair.submit(Command::Custom {
        ticket: 2,
        verb: b"authenticate",
        options: &text("me"),
    });
    assert_eq!(late.map_err(|error| error.code), Err(Code::Lost));
    Ok(())
}

#[test]
fn a_challenge_comes_only_where_it_can_be_answered_and_one_at_a_time() {
    let auth = Packet::Auth(Auth {
        reason: Reason::CONTINUE_AUTHENTICATION,
        properties: Properties::default(),
    });
    for (given, taken) in [(vec![], 0), (vec![("auth_method", text("SCRAM"))], 1)] {
        let mut pair = wired(&given);
        pair.peer.silent.push(crate::codec::mqtt::Place::Connect);
        pair.connect().settle().expect("silence");
        for _ in 0..taken {
            assert_eq!(pair.hears(&auth), Ok(()));
        }
        let outcome = pair.hears(&auth);
        assert_eq!(outcome.map_err(|error| error.code), Err(Code::Protocol));
        assert_eq!(pair.told().len(), taken);
    }
}

#[test]
fn a_handshake_takes_no_longer_than_the_timeout() {
    for mut pair in both(&[("timeout", number(3))]) {
        pair.peer.silent.push(crate::codec::mqtt::Place::Connect);
        pair.connect().settle().expect("silence");
        assert!(pair.pass(seconds(2)).is_ok());
        let error = pair.pass(seconds(1)).err().expect("an error");
        assert_eq!((error.code, error.fatal), (Code::Timeout, false));
    }
}

#[test]
fn a_server_that_ends_the_connection_says_why() -> Outcome {
    for (reason, code, fatal) in [
        (Reason::SESSION_TAKEN_OVER, Code::Refused, true),
        (Reason::SERVER_SHUTTING_DOWN, Code::Lost, false),
        (Reason::NOT_AUTHORIZED, Code::Auth, true),
        (Reason::KEEP_ALIVE_TIMEOUT, Code::Lost, false),
    ] {
        let mut pair = wired(&[]).ready()?;
        let properties = Properties::default();
        let goodbye = Packet::Disconnect(Disconnect { reason, properties });
        let error = pair.hears(&goodbye).expect_err("an error");
        assert_eq!((error.code, error.fatal), (code, fatal), "{error}");
        assert_eq!(pair.last_words(), [] as [&str; 0]);
    }
    Ok(())
}

#[test]
fn what_is_no_mqtt_is_answered_with_a_reason_where_there_are_any() -> Outcome {
    for (bytes, words) in [
        // PUBLISH of QoS 3.
        (&[0x36, 0][..], "DISCONNECT 0x81"),
        // PINGREQ cannot come from a server.
        (&[0xc0, 0], "DISCONNECT 0x82"),
        // A topic that is not UTF-8.
        (&[0x30, 4, 0, 1, 0xff, 0], "DISCONNECT 0x81"),
        // SUBACK that nobody awaits.
        (&[0x90, 4, 0, 9, 0, 0], "DISCONNECT 0x82"),
        // CONNACK once more.
        (&[0x20, 3, 0, 0, 0], "DISCONNECT 0x82"),
        // Longer than max_packet.
        (&[0x30, 0xff, 0xff, 0xff, 0x7f], "DISCONNECT 0x95"),
    ] {
        for mut pair in both(&[]).map(Wired::ready) {
            let pair = pair.as_mut().expect("connected");
            let error = pair.inject(bytes).err();
            if pair.peer.version == Version::V5 {
                assert_eq!(error.map(|error| error.code), Some(Code::Protocol));
                assert_eq!(pair.last_words(), [words]);
            } else {
                assert_eq!(pair.last_words(), [] as [&str; 0]);
            }
        }
    }
    Ok(())
}

impl Wired {
    fn ready_with_log(mut self) -> Result<Self, Error> {
        self.connect().settle()?;
        Ok(self)
    }
}
