//! The opening handshake, and what is said about one that fails.

use super::*;

#[test]
fn a_status_is_a_refusal() {
    let cases = [
        ("404 Not Found", "", true, "check websocket.path"),
        ("401 Unauthorized", "", true, "give websocket.headers what"),
        ("403 Forbidden", "", true, "give websocket.headers what"),
        ("400 Bad Request", "", true, "websocket.protocols"),
        ("200 OK", "", true, "an ordinary page"),
        (
            "301 Moved",
            "Location: wss://x/\r\n",
            true,
            "\"wss://x/\" instead",
        ),
        ("429 Too Many", "", false, "websocket.path"),
        ("503 Service Unavailable", "", false, "in trouble"),
    ];
    for (status, more, fatal, remedy) in cases {
        let server = Server::answer(move |_| {
            format!("HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\n\r\n")
        });
        let error = refused(&server, &[("websocket_path", text("/x?secret=1"))]);
        assert_eq!(
            (error.code, error.fatal),
            (Code::Refused, fatal),
            "{status}"
        );
        let start = format!(
            "WebSocket on 127.0.0.1:{}, path /x: the server answers ",
            server.port
        );
        assert!(error.text.starts_with(&start), "{error}");
        assert!(error.text.contains(&status[..3]), "{error}");
        assert!(error.text.contains(remedy), "{error}");
        server.join();
    }
}

#[test]
fn what_was_accepted_once_is_tried_again() {
    let server = Server::start(|listener| {
        let _ = open(accept(&listener)).close(None);
        answer(&listener, |_| "HTTP/1.1 404 Not Found\r\n\r\n".to_owned());
    });
    let mut endpoint = server.endpoint(&[]);
    run(async {
        let _ = endpoint.connect(0).await.expect("accepted");
        let error = endpoint.connect(1).await.err().expect("refused");
        assert_eq!((error.code, error.fatal), (Code::Refused, false));
    });
    server.join();
}

#[test]
fn an_answer_must_fit_the_question() {
    const START: &str = "HTTP/1.1 101 Switching Protocols\r\n";
    let good = |key: &str| {
        let accept = derive_accept_key(key.as_bytes());
        format!(
            "{START}Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n"
        )
    };
    type Answer = Box<dyn FnOnce(&str) -> String + Send>;
    let mqtt = || vec![("websocket_protocols", list("mqtt"))];
    let with = |field: &'static str| -> Answer { Box::new(move |key| good(key) + field + "\r\n") };
    type Options = Vec<(&'static str, Value)>;
    let cases: [(Answer, Options, &str); 7] = [
        (
            with(""),
            mqtt(),
            "asked for subprotocol mqtt, and the server speaks none",
        ),
        (
            with("Sec-WebSocket-Protocol: stomp\r\n"),
            mqtt(),
            "asked for subprotocol mqtt, and the server speaks \"stomp\"",
        ),
        (
            with("Sec-WebSocket-Protocol: mqtt\r\n"),
            vec![],
            "asked for no subprotocol, and the server speaks \"mqtt\"; name it in",
        ),
        (
            with("Sec-WebSocket-Extensions: x\r\n"),
            vec![],
            "the server uses \"x\"",
        ),
        (
            Box::new(move |_| good("another") + "\r\n"),
            vec![],
            "Sec-WebSocket-Accept is not what follows",
        ),
        (
            Box::new(|_| format!("{START}Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n")),
            vec![],
            "another protocol than WebSocket",
        ),
        (
            Box::new(|_| format!("{START}X: {}", "y".repeat(100_000))),
            vec![],
            "longer than 16384 bytes",
        ),
    ];
    for (answer, options, part) in cases {
        let server = Server::answer(answer);
        let error = refused(&server, &options);
        assert_eq!(error.code, Code::Protocol, "{error}");
        assert!(error.text.contains(part), "{error}");
        server.join();
    }
    let server = Server::answer(move |key| good(key) + "Sec-WebSocket-Protocol: mqtt\r\n\r\n\x01");
    assert!(run(server.endpoint(&mqtt()).connect(0)).is_ok());
    server.join();
}

#[test]
fn who_speaks_no_http_is_named() {
    for answer in [
        "-ERR unknown command\r\n",
        "SSH-2.0-x\r\n",
        "HTTP/1.0 404 No\r\n\r\n",
    ] {
        let server = Server::answer(move |_| answer.to_owned());
        let error = refused(&server, &[]);
        assert_eq!(error.code, Code::Protocol, "{error}");
        assert!(
            error.text.contains(&format!("answers {answer:?}")),
            "{error}"
        );
        server.join();
    }
    let server = Server::answer(|_| String::new());
    let error = refused(&server, &[]);
    assert_eq!((error.code, error.fatal), (Code::Lost, false));
    assert!(error.text.contains("without an answer"), "{error}");
    server.join();
}

#[test]
fn who_never_answers_costs_the_time_out() {
    let server = Server::start(|listener| {
        let _ = accept(&listener).read_to_end(&mut Vec::new());
    });
    let error = refused(&server, &[("timeout", Value::Number(0.05))]);
    assert_eq!((error.code, error.fatal), (Code::Timeout, false));
    assert!(error.text.contains("no answer within 0.05 s"), "{error}");
    server.join();
}
