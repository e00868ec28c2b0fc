//! Against servers made with tungstenite, or by hand where they misbehave, on loopback. Here: the
//! servers, and the byte stream.

mod handshake;

use super::*;
use crate::io::endpoint::Endpoint;
use std::future::{poll_fn, Future};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;
use tungstenite::handshake::server;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::{Message, WebSocket};

/// No wait is longer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn map(entries: &[(&str, Value)]) -> Value {
    let own = |(key, value): &(&str, Value)| (key.as_bytes().to_vec(), value.clone());
    Value::Map(entries.iter().map(own).collect())
}

pub(super) fn text(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

fn list(each: &str) -> Value {
    Value::List(vec![text(each)])
}

/// A server on a port of its own, in its own thread.
struct Server {
    port: u16,
    thread: JoinHandle<()>,
}

impl Server {
    fn start(work: impl FnOnce(TcpListener) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Server {
            port: listener.local_addr().expect("an address").port(),
            thread: std::thread::spawn(move || work(listener)),
        }
    }

    /// One that opens WebSockets.
    fn open(work: impl FnOnce(&mut WebSocket<TcpStream>) + Send + 'static) -> Self {
        Self::start(|listener| work(&mut open(accept(&listener))))
    }

    /// One that answers a request, whose key it is told, and waits for the end.
    fn answer(work: impl FnOnce(&str) -> String + Send + 'static) -> Self {
        Self::start(|listener| answer(&listener, work))
    }

    fn endpoint(&self, more: &[(&str, Value)]) -> Endpoint {
        let mut options = vec![
            ("host", text("127.0.0.1")),
            ("port", Value::Integer(self.port.into())),
            ("timeout", Value::Integer(PATIENCE.as_secs() as i64)),
            ("websocket", Value::Boolean(true)),
        ];
        options.retain(|(name, _)| more.iter().all(|(other, _)| name != other));
        options.extend_from_slice(more);
        Endpoint::parse(&map(&options)).expect("valid options")
    }

    fn join(self) {
        self.thread.join().expect("the server's own checks");
    }
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (socket, _) = listener.accept().expect("a client");
    let patience = Some(PATIENCE);
    socket.set_read_timeout(patience).expect("a time-out");
    socket.set_write_timeout(patience).expect("a time-out");
    socket
}

/// The server's half of the handshake; chooses the first subprotocol that is asked for.
#[allow(clippy::result_large_err)]
fn open<S: Read + Write>(socket: S) -> WebSocket<S> {
    let choose = |request: &server::Request, mut response: server::Response| {
        if let Some(asked) = request.headers().get(header::SEC_WEBSOCKET_PROTOCOL) {
            let first = asked.to_str().expect("ASCII").split(',').next();
            let first = HeaderValue::from_str(first.unwrap_or_default()).expect("a token");
            response
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_PROTOCOL, first);
        }
        Ok(response)
    };
    match tungstenite::accept_hdr(socket, choose) {
        Ok(socket) => socket,
        Err(error) => panic!("no handshake: {error}"),
    }
}

fn answer(listener: &TcpListener, work: impl FnOnce(&str) -> String) {
    let mut socket = accept(listener);
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("a request");
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).expect("ASCII");
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let answer = work(key.expect("a key"));
    // The client may have seen enough before all is written.
    let _ = socket.write_all(answer.as_bytes());
    if !answer.is_empty() {
        let _ = socket.read_to_end(&mut Vec::new());
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(PATIENCE, work).await })
        .expect("an end in time")
}

async fn read(stream: &mut Stream, buffer: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| stream.poll_read(cx, buffer)).await
}

async fn read_all(stream: &mut Stream) -> io::Result<BytesMut> {
    let mut buffer = BytesMut::new();
    while read(stream, &mut buffer).await? > 0 {}
    Ok(buffer)
}

async fn write(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, bytes)).await?;
        bytes = &bytes[written..];
    }
    poll_fn(|cx| stream.poll_flush(cx)).await
}

async fn shut_down(stream: &mut Stream) -> io::Result<()> {
    poll_fn(|cx| stream.poll_shutdown(cx)).await
}

fn refused(server: &Server, more: &[(&str, Value)]) -> Error {
    match run(server.endpoint(more).connect(0)) {
        Err(error) => error,
        Ok(_) => panic!("accepted"),
    }
}

fn is_close<S: Read + Write>(socket: &mut WebSocket<S>, code: CloseCode) -> bool {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return frame.is_some_and(|frame| frame.code == code),
            Ok(_) => {}
            Err(error) => panic!("no Close frame: {error}"),
        }
    }
}

/// Answers each message with the same bytes: in fragments, some of them empty, with a ping among
/// them, and an empty message behind. Gives the pongs.
fn echo<S: Read + Write>(socket: &mut WebSocket<S>) -> usize {
    let mut pongs = 0;
    loop {
        match socket.read() {
            Ok(Message::Binary(mut payload)) => {
                let mut opcode = Data::Binary;
                for size in [0, 1, 5, 1000, 0, 30_000] {
                    let piece = payload.split_to(size.min(payload.len()));
                    let piece = Frame::message(piece, OpCode::Data(opcode), false);
                    socket.write(Message::Frame(piece)).expect("written");
                    opcode = Data::Continue;
                }
                socket.write(Message::Ping("?".into())).expect("written");
                let last = Frame::message(payload, OpCode::Data(opcode), true);
                socket.write(Message::Frame(last)).expect("written");
                socket.send(Message::Binary("".into())).expect("sent");
            }
            Ok(Message::Pong(_)) => pongs += 1,
            Ok(Message::Close(frame)) => {
                assert!(frame.is_some_and(|frame| frame.code == CloseCode::Normal));
                assert!(matches!(
                    socket.flush(),
                    Ok(()) | Err(tungstenite::Error::ConnectionClosed)
                ));
                return pongs;
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
}

/// Sends `bytes` in odd portions, and reads as many, both at once; then says good-bye.
async fn converse(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    let sizes = [1, 2, 3, 7, 125, 126, 65_535, 65_536, 65_537, 200_001];
    let (mut sent, mut turn) = (0, 0);
    let mut received = BytesMut::new();
    poll_fn(|cx| loop {
        let mut idle = true;
        if sent < bytes.len() {
            let end = bytes.len().min(sent + sizes[turn % sizes.len()]);
            if let Poll::Ready(written) = stream.poll_write(cx, &bytes[sent..end])? {
                sent += written;
                turn += 1;
                idle = false;
            }
        }
        let _ = stream.poll_flush(cx)?;
        if let Poll::Ready(read) = stream.poll_read(cx, &mut received)? {
            assert!(read > 0, "an end of stream at {} bytes", received.len());
            idle = false;
        }
        if received.len() >= bytes.len() {
            return Poll::Ready(io::Result::Ok(()));
        }
        if idle {
            return Poll::Pending;
        }
    })
    .await?;
    assert!(received == bytes, "other bytes came back");
    shut_down(stream).await
}

fn pattern(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}

#[test]
fn bytes_come_back_whatever_the_messages() {
    let server = Server::open(|socket| assert!(echo(socket) > 0, "no ping was answered"));
    let mut endpoint = server.endpoint(&[("websocket_protocols", list("mqtt"))]);
    run(async {
        let mut stream = endpoint.connect(0).await.expect("accepted");
        assert!(stream.socket().is_none());
        converse(&mut stream, &pattern(8 << 20)).await
    })
    .expect("no error");
    server.join();
}

#[test]
fn a_unix_socket_carries_one_too() {
    let path = std::env::temp_dir().join(format!("mq-websocket-{}", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let thread = std::thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a client");
        echo(&mut open(socket))
    });
    let options = [
        ("path", text(&path.to_string_lossy())),
        ("websocket", Value::Boolean(true)),
    ];
    let mut endpoint = Endpoint::parse(&map(&options)).expect("valid options");
    run(async {
        let mut stream = endpoint.connect(0).await.expect("accepted");
        converse(&mut stream, &pattern(100_000)).await
    })
    .expect("no error");
    thread.join().expect("the server's own checks");
    std::fs::remove_file(&path).expect("removed");
}

#[test]
fn text_goes_out_as_text_and_the_rest_as_binary() {
    let server = Server::open(|socket| {
        assert_eq!(
            socket.read().expect("a message"),
            Message::Text("SEND\n\né\0".into())
        );
        let binary = Message::Binary(b"SEND\n\n\xff\0"[..].into());
        assert_eq!(socket.read().expect("a message"), binary);
        socket.write(Message::Text("é".into())).expect("written");
        socket.send(binary).expect("sent");
        assert!(is_close(socket, CloseCode::Normal));
        let _ = socket.flush();
    });
    let mut endpoint = server.endpoint(&[("websocket_text", Value::Boolean(true))]);
    run(async {
        let mut stream = endpoint.connect(0).await.expect("accepted");
        write(&mut stream, "SEND\n\né\0".as_bytes()).await?;
        write(&mut stream, b"SEND\n\n\xff\0").await?;
        let mut input = BytesMut::new();
        while input.len() < 10 {
            assert!(read(&mut stream, &mut input).await? > 0);
        }
        assert_eq!(input[..], b"\xc3\xa9SEND\n\n\xff\0"[..]);
        shut_down(&mut stream).await
    })
    .expect("no error");
    server.join();
}

#[test]
fn pings_are_answered_while_nothing_else_happens() {
    let server = Server::open(|socket| {
        for ping in ["a", "b"] {
            socket.send(Message::Ping(ping.into())).expect("sent");
            assert_eq!(
                socket.read().expect("an answer"),
                Message::Pong(ping.into())
            );
        }
        socket.send(Message::Binary("x".into())).expect("sent");
        socket.close(None).expect("sent");
        // The end of the closing handshake.
        assert!(matches!(socket.read(), Ok(Message::Close(None))));
    });
    let mut endpoint = server.endpoint(&[]);
    let all = run(async {
        let mut stream = endpoint.connect(0).await.expect("accepted");
        read_all(&mut stream).await
    });
    assert_eq!(all.expect("an end")[..], b"x"[..]);
    server.join();
}

#[test]
fn a_close_frame_is_the_end_and_says_why() {
    let server = Server::open(|socket| {
        let frame = CloseFrame {
            code: CloseCode::Policy,
            reason: "not\nyou".into(),
        };
        socket.close(Some(frame)).expect("sent");
        assert!(is_close(socket, CloseCode::Policy), "it is not answered");
    });
    let mut endpoint = server.endpoint(&[]);
    run(async {
        let mut stream = endpoint.connect(0).await.expect("accepted");
        let mut input = BytesMut::new();
        let error = read(&mut stream, &mut input).await.expect_err("a reason");
        assert!(error.to_string().contains("1008: \"not\\nyou\""), "{error}");
        assert_eq!(code_of(&error), Code::Lost);
        assert_eq!(read(&mut stream, &mut input).await.expect("an end"), 0);
        let error = write(&mut stream, b"x").await.expect_err("no way");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
    server.join();
}

#[test]
fn a_lost_connection_is_the_end() {
    let server = Server::open(|socket| socket.send(Message::Text("x".into())).expect("sent"));
    let mut endpoint = server.endpoint(&[]);
    let all = run(async {
        let mut stream = endpoint.connect(0).await.expect("accepted");
        read_all(&mut stream).await
    });
    assert_eq!(all.expect("an end")[..], b"x"[..]);
    server.join();
}

#[test]
fn what_breaks_the_protocol_or_a_limit_is_told() {
    let too_long = [b"\x82\x7f".as_slice(), &(17_u64 << 20).to_be_bytes()].concat();
    let cases: [(Vec<u8>, &str); 4] = [
        (
            too_long,
            "17825792 bytes is longer than 16777216; see max_packet",
        ),
        (b"\x83\x00".into(), "breaks RFC 6455"),
        (b"\x82\x81\0\0\0\0x".into(), "breaks RFC 6455"),
        (b"\x81\x01\xff".into(), "have it send binary messages"),
    ];
    for (bytes, part) in cases {
        let server = Server::open(move |socket| {
            socket.get_mut().write_all(&bytes).expect("written");
            let _ = socket.get_mut().read_to_end(&mut Vec::new());
        });
        let mut endpoint = server.endpoint(&[]);
        let error = run(async {
            let mut stream = endpoint.connect(0).await.expect("accepted");
            read_all(&mut stream).await.expect_err("a violation")
        });
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(code_of(&error), Code::Protocol, "{error}");
        server.join();
    }
    let large = [
        ("websocket", Value::Boolean(true)),
        ("max_packet", Value::Integer(20 << 20)),
    ];
    let layer = Layer::parse(&map(&large))
        .expect("valid")
        .expect("asked for");
    assert_eq!(layer.max_message, (20 << 20) + 14);
}

#[test]
fn a_peer_that_does_not_read_holds_the_writer_back() {
    let (go, gone) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel::<usize>();
    let server = Server::open(move |socket| {
        gone.recv_timeout(PATIENCE).expect("a word from the client");
        let mut total = 0;
        while let Ok(Message::Binary(payload)) = socket.read() {
            total += payload.len();
        }
        let _ = socket.flush();
        tell.send(total).expect("a client");
    });
    let mut endpoint = server.endpoint(&[]);
    let sent = run(async {
        let mut stream = endpoint.connect(0).await.expect("accepted");
        let chunk = vec![7; 65_536];
        let mut sent = 0_usize;
        poll_fn(|cx| loop {
            match stream.poll_write(cx, &chunk)? {
                Poll::Ready(written) => sent += written,
                Poll::Pending => return Poll::Ready(io::Result::Ok(())),
            }
            // The kernel's buffers, and one message.
            assert!(sent < 64 << 20, "nothing holds it back");
        })
        .await?;
        go.send(()).expect("a server");
        shut_down(&mut stream).await.map(|()| sent)
    });
    let total = told.recv_timeout(PATIENCE).expect("a word from the server");
    assert_eq!(sent.expect("no error"), total);
    server.join();
}

#[test]
fn a_client_that_does_not_read_holds_the_peer_back() {
    let (go, gone) = mpsc::channel::<u64>();
    let server = Server::open(move |socket| {
        let blocks = |error: tungstenite::Error| match error {
            tungstenite::Error::Io(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            other => panic!("unexpected: {other}"),
        };
        socket.get_ref().set_nonblocking(true).expect("a socket");
        let mut total = 0;
        loop {
            total += 65_536;
            assert!(total < 64 << 20, "nothing holds it back");
            if let Err(error) = socket.send(Message::Binary(vec![7; 65_536].into())) {
                blocks(error);
                break;
            }
        }
        socket.get_ref().set_nonblocking(false).expect("a socket");
        go.send(total).expect("a client");
        socket.flush().expect("flushed");
        socket.close(None).expect("closed");
        assert!(matches!(socket.read(), Ok(Message::Close(None))));
    });
    let mut endpoint = server.endpoint(&[]);
    run(async {
        let mut stream = endpoint.connect(0).await.expect("accepted");
        let total = gone.recv_timeout(PATIENCE).expect("a word from the server");
        let all = read_all(&mut stream).await.expect("an end");
        assert_eq!(all.len() as u64, total);
    });
    server.join();
}

#[cfg(feature = "tls")]
#[test]
fn tls_goes_below() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    // Made for this test alone: self-signed, for 127.0.0.1, 2020 to 2120.
    const CERTIFICATE: &str = include_str!("server.pem");
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("one");
    let key = PrivateKeyDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("one");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate and its key");
    let server = Server::start(move |listener| {
        for good in [true, false] {
            let connection = ServerConnection::new(config.clone().into()).expect("a connection");
            let mut socket = StreamOwned::new(connection, accept(&listener));
            if good {
                echo(&mut open(socket));
            } else {
                assert!(socket.read(&mut [0]).is_err(), "the client trusts anybody");
            }
        }
    });
    let tls = ("tls", Value::Boolean(true));
    let mut endpoint = server.endpoint(&[tls.clone(), ("tls_ca", text(CERTIFICATE))]);
    run(async {
        let mut stream = endpoint.connect(0).await.expect("accepted");
        converse(&mut stream, &pattern(300_000)).await
    })
    .expect("no error");
    let other = ("tls_server_name", text("another.example"));
    let error = refused(&server, &[tls, ("tls_ca", text(CERTIFICATE)), other]);
    assert_eq!(error.code, Code::Tls, "{error}");
    server.join();
}
