//! CONNECT, and what becomes of its answer.

use super::*;

fn refused(message: &'static str, body: &'static str, given: &[(&str, Value)]) -> (Wired, Error) {
    let mut pair = wired(given);
    pair.peer.manners.refuses = Some((message, body));
    pair.connect();
    let error = pair.error();
    (pair, error)
}

#[test]
fn connect_says_what_the_options_say() -> Outcome {
    let mut pair = wired(&[
        ("vhost", text("/prod")),
        ("username", text("me")),
        ("password", text("a:b\\c")),
        ("client_id", text("c1")),
        ("heartbeat_send", Value::Number(0.5)),
        ("heartbeat_receive", number(0)),
        ("header", map(&[("x", text("y"))])),
    ]);
    pair.connect().settle()?;
    assert_eq!(
        pair.log(),
        [
            "CONNECT accept-version=1.0,1.1,1.2 host=/prod login=me passcode=a:b\\c client-id=c1 \
          heart-beat=500,0 x=y"
        ]
    );
    let mut pair = wired(&[("version", text("1.1")), ("heartbeat_send", number(0))]);
    pair.peer.manners.version = Version::V11;
    pair.connect().settle()?;
    assert_eq!(
        pair.log(),
        ["CONNECT accept-version=1.1 heart-beat=0,10000"]
    );
    Ok(())
}

#[test]
fn options_that_cannot_be_used_are_named() {
    for (name, value) in [
        ("version", text("1.3")),
        ("username", text("a\nb")),
        ("header", map(&[("login", text("x"))])),
        ("header", map(&[("", text("x"))])),
        ("header", text("x")),
        ("overflow", text("maybe")),
    ] {
        let error = Options::parse(&map(&[(name, value)])).map(drop);
        assert_eq!(error.map_err(|error| error.code), Err(Code::Invalid));
    }
}

#[test]
fn the_version_is_the_broker_s_choice() -> Outcome {
    for (mut pair, version) in all(&[]).into_iter().zip(["1.0", "1.1", "1.2"]) {
        pair.connect().settle()?;
        assert_eq!(pair.told(), [CONNECTED]);
        let detail = pair.details.pop().unwrap_or_default();
        assert_eq!(detail.member("version"), &text(version));
        assert_eq!(detail.member("server"), &text("Test/1"));
        assert_eq!(detail.member("session"), &text("s-1"));
        // A header that only some versions can say, in both directions.
        pair.subscribe(1, 10, "/q")?;
        pair.settle()?;
        pair.forget();
        let given = map(&[("header", map(&[("a\nb", text("c"))]))]);
        pair.emit_with(Some(2), 0, ("/q", "x"), Some(&given))?;
        pair.settle()?;
        match version {
            "1.0" => {
                assert_eq!(pair.told(), [failed(2, "invalid")]);
                assert_eq!(pair.log(), [] as [&str; 0]);
            }
            _ => {
                assert_eq!(pair.told(), [done(2)]);
                pair.arrives_with("10", "m", "x", &[("a\nb", "c:d")])?;
                let meta = pair.metas.pop().expect("a message");
                let headers = meta.extra.map(|extra| *extra).unwrap_or_default();
                assert_eq!(headers.member("a\nb"), &text("c:d"));
            }
        }
    }
    Ok(())
}

#[test]
fn a_version_that_was_not_offered_is_fatal() {
    let mut pair = wired(&[("version", text("1.2"))]);
    pair.peer.manners.version = Version::V10;
    pair.connect();
    let error = pair.error();
    assert_eq!((error.code, error.fatal), (Code::Refused, true));
    assert!(error.text.contains("1.0"), "{}", error.text);
}

#[test]
fn refusals_are_told_apart() {
    let given = [("username", text("me")), ("vhost", text("/x"))];
    for (message, body, code, fatal, says) in [
        (
            "Bad CONNECT",
            "Access refused for user 'me'\n",
            Code::Auth,
            true,
            "Bad CONNECT: Access refused for user 'me'; are `username`",
        ),
        (
            "Bad CONNECT",
            "Virtual host '/x' access denied",
            Code::Auth,
            true,
            "vhost = \"/x\"",
        ),
        (
            "User name [me] or password is invalid.",
            "java.lang.SecurityException: User name [me] or password is invalid.\n\tat org.x.y",
            Code::Auth,
            true,
            "refused the connection: User name [me] or password is invalid.; are",
        ),
        (
            "Version mismatch",
            "Supported versions are 1.0",
            Code::Refused,
            true,
            "Supported versions are 1.0",
        ),
        ("busy", "", Code::Refused, false, "the connection: busy"),
        ("", "", Code::Refused, false, "does not say why"),
    ] {
        let (_, error) = refused(message, body, &given);
        assert_eq!((error.code, error.fatal), (code, fatal), "{message} {body}");
        assert!(error.text.contains(says), "{}", error.text);
    }
    let (_, error) = refused("Bad CONNECT", "Missing login or passcode header(s)", &[]);
    assert!(error.text.contains("; give `username`"), "{}", error.text);
}

#[test]
fn a_long_or_hostile_error_is_cut() {
    let body: &'static str = Box::leak("\u{1b}[2J x".repeat(1000).into_boxed_str());
    let (_, error) = refused("busy", body, &[]);
    assert!(error.text.len() < 300, "{}", error.text.len());
    assert!(!error.text.contains('\u{1b}'));
}

#[test]
fn a_backslash_is_tried_escaped_once() {
    let given = [("username", text("me")), ("password", text("a\\b"))];
    let (mut pair, error) = refused("Bad CONNECT", "Access refused", &given);
    assert!(error.fatal);
    assert_eq!(pair.client.detour(), Some(Detour::Again));
    pair.lose();
    pair.peer.manners.refuses = Some(("Bad CONNECT", "Access refused"));
    pair.connect();
    let error = pair.error();
    assert!(pair.log()[0].contains("passcode=a\\\\b"));
    assert_eq!((error.code, pair.client.detour()), (Code::Auth, None));
}

#[test]
fn silence_and_other_frames_in_place_of_connected() -> Outcome {
    let mut pair = wired(&[("timeout", number(3))]);
    pair.connect().transmit_into_the_void();
    let error = pair.pass(seconds(3)).err().expect("an error");
    assert_eq!((error.code, error.fatal), (Code::Timeout, false));
    for word in [Word::Message, Word::Receipt] {
        let mut pair = wired(&[]);
        pair.connect();
        let error = pair.hears(word, &[("receipt-id", "0")], "").err();
        assert_eq!(error.map(|error| error.code), Some(Code::Protocol));
    }
    let mut pair = wired(&[]).ready()?;
    let error = pair.hears(Word::Connected, &[], "").err();
    assert_eq!(error.map(|error| error.code), Some(Code::Protocol));
    Ok(())
}
