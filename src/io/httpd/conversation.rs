//! The task that owns an open WebSocket: sends what [`Socket`] holds, hands on what comes in, sees
//! to pings and time-outs, and ends the connection properly.

use super::super::websocket::Wire;
use super::patience::Patient;
use super::socket::{Errand, Socket};
use super::socket_event;
use crate::message::{Batch, Value};
use std::collections::VecDeque;
use std::future::{poll_fn, Future};
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::Duration;
use tokio::time::{sleep_until, Instant, Sleep};
use tungstenite::error::{CapacityError, Error as Failure, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::frame::{CloseFrame, Utf8Bytes};
use tungstenite::protocol::{Message, Role, WebSocketConfig};
use tungstenite::WebSocket;

/// Room for what a read of the socket may bring, held by each connection.
const LANDING: usize = 2 * 1024;

/// Messages go to the kernel together, up to so many bytes.
const PORTION: usize = 16 * 1024;

/// Messages that one browser may have read before the others have a turn.
const TURN: usize = 32;

/// How long a good-bye waits for its answer, and a browser that broke the rules for the reason.
const GOOD_BYE: Duration = Duration::from_secs(5);

/// How a WebSocket ended.
struct Ending {
    code: u16,
    reason: String,
    /// Empty for a plain end.
    error: String,
    /// The browser is to hear why, if it still listens.
    tell: bool,
}

impl Ending {
    fn plain(code: u16, reason: &str) -> Self {
        Ending {
            code,
            reason: reason.to_owned(),
            error: String::new(),
            tell: false,
        }
    }

    fn fault(code: u16, error: impl Into<String>) -> Self {
        Ending {
            code,
            reason: String::new(),
            error: error.into(),
            tell: true,
        }
    }
}

struct Conversation {
    socket: Arc<Socket>,
    web: WebSocket<Wire>,
    /// On their way into tungstenite's buffer.
    sending: VecDeque<Message>,
    /// The kernel has not taken all of that buffer.
    blocked: bool,
    /// Our good-bye is sent; until when its answer may take.
    closing: Option<Instant>,
    /// The last sign of life.
    heard: Instant,
    /// The last ping since then.
    asked: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// Serves an open WebSocket to its end; `early` came behind the request.
pub(super) async fn run(socket: Arc<Socket>, stream: Patient, early: Vec<u8>) {
    let max = Some(socket.bounds.max_message);
    let config = WebSocketConfig::default()
        .read_buffer_size(LANDING)
        .write_buffer_size(PORTION)
        .max_message_size(max)
        .max_frame_size(max);
    let wire = Wire::new(Box::new(stream));
    let now = Instant::now();
    let mut conversation = Conversation {
        web: WebSocket::from_partially_read(wire, early, Role::Server, Some(config)),
        sending: VecDeque::new(),
        blocked: false,
        closing: None,
        heard: now,
        asked: None,
        timer: Box::pin(sleep_until(now + Duration::from_secs(3600))),
        socket: socket.clone(),
    };
    let mut batch = Batch::default();
    socket.push(&mut batch, socket_event::OPEN, b"", b"", None);
    socket.deliver(&mut batch);
    let Some(ending) = poll_fn(|cx| conversation.poll(cx)).await else {
        return;
    };
    tell(&socket, &ending);
    if ending.tell {
        conversation.part(&ending).await;
    }
}

/// A WebSocket that never came to be.
pub(super) fn stillborn(socket: &Arc<Socket>, error: &str) {
    tell(socket, &Ending::fault(1006, error));
}

fn tell(socket: &Arc<Socket>, ending: &Ending) {
    let Ending {
        code,
        reason,
        error,
        ..
    } = ending;
    socket.end();
    let mut batch = Batch::default();
    let code = Value::Integer((*code).into());
    let flags = socket_event::CLOSED;
    socket.push(
        &mut batch,
        flags,
        reason.as_bytes(),
        error.as_bytes(),
        Some(code),
    );
    socket.deliver(&mut batch);
}

impl Conversation {
    /// Ready with how it ended; with None where nobody wants to know.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ending>> {
        self.socket.register(cx);
        self.web.get_mut().wakes(cx);
        let mut batch = Batch::default();
        let step = self.step(cx, &mut batch);
        self.socket.deliver(&mut batch);
        match step {
            Ok(true) => Poll::Pending,
            Ok(false) => Poll::Ready(None),
            Err(ending) => Poll::Ready(Some(ending)),
        }
    }

    /// False: abandoned.
    fn step(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Result<bool, Ending> {
        // Reading first: what comes may be to be answered.
        self.read(cx, batch)?;
        if !self.write()? {
            return Ok(false);
        }
        self.watch(cx)?;
        Ok(true)
    }

    fn read(&mut self, cx: &Context<'_>, batch: &mut Batch) -> Result<(), Ending> {
        for _ in 0..TURN {
            if !self.socket.has_room() && self.socket.pause() {
                // Silence is not the browser's fault while nobody listens.
                self.heard = Instant::now();
                return Ok(());
            }
            match self.web.read() {
                Ok(message) => {
                    self.heard = Instant::now();
                    self.asked = None;
                    match message {
                        Message::Text(text) => {
                            self.hand_on(batch, socket_event::TEXT, text.as_bytes())
                        }
                        Message::Binary(bytes) => self.hand_on(batch, socket_event::BINARY, &bytes),
                        Message::Close(frame) => return Err(self.closed(frame.as_ref())),
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                    }
                }
                Err(Failure::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(())
                }
                Err(failure) => return Err(self.fault(failure)),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn hand_on(&self, batch: &mut Batch, flags: u32, payload: &[u8]) {
        // Once we have said good-bye, nobody listens.
        if self.closing.is_none() {
            self.socket.push(batch, flags, b"", payload, None);
            self.socket.deliver(batch);
        }
    }

    /// The browser has said good-bye: tungstenite has the answer ready.
    fn closed(&mut self, frame: Option<&CloseFrame>) -> Ending {
        let _ = self.web.flush();
        match frame {
            Some(frame) => Ending::plain(frame.code.into(), &frame.reason),
            None => Ending::plain(1005, ""),
        }
    }

    /// Hands over what waits, as far as the kernel takes it. False: abandoned.
    fn write(&mut self) -> Result<bool, Ending> {
        loop {
            if self.blocked && !self.flush()? && !self.socket.is_doomed() {
                return Ok(true);
            }
            if self.sending.is_empty() || self.blocked {
                match self.socket.fetch(&mut self.sending) {
                    Errand::Messages => {}
                    Errand::Nothing => return Ok(true),
                    Errand::Abandoned => return Ok(false),
                    Errand::Overrun => return Err(self.overrun()),
                }
            }
            while let Some(message) = self.sending.pop_front() {
                let size = message.len();
                if let Message::Close(_) = message {
                    self.closing = Some(Instant::now() + GOOD_BYE);
                }
                match self.web.write(message) {
                    Ok(()) => self.socket.sent(size),
                    // It is in the buffer.
                    Err(Failure::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.socket.sent(size);
                        self.blocked = true;
                        break;
                    }
                    Err(Failure::Protocol(ProtocolError::SendAfterClosing)) => {
                        self.sending.clear();
                        break;
                    }
                    Err(failure) => return Err(self.fault(failure)),
                }
            }
            if self.sending.is_empty() && !self.blocked {
                self.blocked = true;
            }
        }
    }

    /// True: everything is with the kernel.
    fn flush(&mut self) -> Result<bool, Ending> {
        match self.web.flush() {
            Ok(()) => {
                self.blocked = false;
                Ok(true)
            }
            Err(Failure::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(failure) => Err(self.fault(failure)),
        }
    }

    fn overrun(&self) -> Ending {
        let max = self.socket.bounds.max_backlog;
        let error =
            format!("the browser is too slow: over {max} bytes waited for it; see max_backlog");
        Ending {
            // It takes nothing: there is no telling it.
            tell: false,
            ..Ending::fault(1013, error)
        }
    }

    fn watch(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        loop {
            let now = Instant::now();
            let next = match self.next_deadline() {
                Some(next) if next <= now => {
                    self.due(now)?;
                    continue;
                }
                next => next.unwrap_or(now + Duration::from_secs(3600)),
            };
            // One that fires too early finds nothing due; to set it at each message would cost more.
            if self.timer.is_elapsed() || self.timer.deadline() > next {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        if self.closing.is_some() {
            return self.closing;
        }
        let bounds = &self.socket.bounds;
        let idle = bounds.idle.map(|limit| self.heard + limit);
        let ping = bounds
            .ping
            .map(|pause| self.asked.unwrap_or(self.heard) + pause);
        idle.into_iter().chain(ping).min()
    }

    fn due(&mut self, now: Instant) -> Result<(), Ending> {
        if self.closing.is_some() {
            return Err(Ending::plain(1006, ""));
        }
        if let Some(limit) = self.socket.bounds.idle {
            if self.heard + limit <= now {
                let seconds = limit.as_secs_f64();
                let error = format!("no sign of life for {seconds} s; see idle_timeout");
                return Err(Ending::fault(1001, error));
            }
        }
        self.asked = Some(now);
        // With the buffer full, the browser has something to answer already.
        if !self.blocked {
            match self.web.write(Message::Ping(bytes::Bytes::new())) {
                Ok(()) => self.blocked = true,
                Err(Failure::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true
                }
                Err(failure) => return Err(self.fault(failure)),
            }
            self.flush()?;
        }
        Ok(())
    }

    /// What a failure of tungstenite means (RFC 6455, section 7.4.1).
    fn fault(&self, failure: Failure) -> Ending {
        match failure {
            Failure::ConnectionClosed | Failure::AlreadyClosed => match self.closing {
                Some(_) => Ending::plain(1000, ""),
                None => Ending::plain(1006, ""),
            },
            Failure::Io(error) if error.kind() == io::ErrorKind::TimedOut => Ending {
                tell: false,
                ..Ending::fault(1006, "the browser took nothing for too long; see timeout")
            },
            Failure::Io(_) | Failure::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                Ending::plain(1006, "")
            }
            Failure::Capacity(CapacityError::MessageTooLong { size, max_size }) => Ending::fault(
                1009,
                format!("a message of {size} bytes is longer than {max_size}; see max_message"),
            ),
            Failure::Utf8(_) => Ending::fault(1007, "the browser sends as text what is not UTF-8"),
            Failure::Protocol(error) => {
                Ending::fault(1002, format!("the browser breaks RFC 6455: {error}"))
            }
            other => Ending::fault(1011, other.to_string()),
        }
    }

    /// Tells the browser why, and lets it hear: a socket closed while something unread lies in it
    /// is reset, and what it was told with it.
    async fn part(mut self, ending: &Ending) {
        let frame = CloseFrame {
            code: CloseCode::from(ending.code),
            reason: Utf8Bytes::from(ending.error.chars().take(40).collect::<String>()),
        };
        let said = self.web.close(Some(frame));
        let mut timer = std::pin::pin!(sleep_until(Instant::now() + GOOD_BYE));
        let mut waste = [0; 1024];
        let mut flushed = said.is_ok();
        poll_fn(|cx| {
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            self.web.get_mut().wakes(cx);
            if !flushed {
                match self.web.flush() {
                    Ok(()) => flushed = true,
                    Err(Failure::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Poll::Pending;
                    }
                    Err(_) => return Poll::Ready(()),
                }
            }
            let wire = self.web.get_mut();
            if ready!(wire.poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            loop {
                match wire.read(&mut waste) {
                    Ok(0) => return Poll::Ready(()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Poll::Pending
                    }
                    Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }
}
