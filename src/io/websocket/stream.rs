//! An open WebSocket as a byte stream: what is written goes out as messages, what comes in as
//! messages is read as bytes. Knows no handshake.

use super::super::transport::{Layered, READ};
use super::wire::Wire;
use bytes::Bytes;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::error::{CapacityError, Error as Failure, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::frame::{CloseFrame, Utf8Bytes};
use tungstenite::protocol::{Message, Role, WebSocketConfig};
use tungstenite::WebSocket;

/// Payload of one message out, at most. Servers take as much: it is Jetty's default bound, too.
pub(super) const CHUNK: usize = READ;

/// Room for what a read of the socket may bring, held by each connection.
pub(super) const LANDING: usize = 16 * 1024;

/// The peer broke RFC 6455 or a limit, as an [`io::Error`] carries it.
#[derive(Debug)]
pub(in super::super) struct Violation(String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

/// The byte stream. Holds one message in and one out at most.
pub(super) struct Messages {
    socket: WebSocket<Wire>,
    /// Sends text where it is text.
    text: bool,
    /// Of the last message, what is not read yet.
    rest: Bytes,
    /// The socket has not taken all of the last message.
    blocked: bool,
    /// The peer has closed.
    ended: bool,
    /// So have we.
    closing: bool,
}

impl Messages {
    /// A stream over a socket on which the handshake is made; `early` came behind the answer.
    /// Sends text messages where `text`, reads messages of up to `max_message` bytes.
    pub(super) fn new(
        inner: Box<dyn Layered>,
        early: Vec<u8>,
        text: bool,
        max_message: usize,
    ) -> Self {
        let wire = Wire::new(inner);
        let config = WebSocketConfig::default()
            .read_buffer_size(LANDING)
            // A message goes out at once: what could go together already is one.
            .write_buffer_size(0)
            .max_write_buffer_size(2 * CHUNK)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        Messages {
            socket: WebSocket::from_partially_read(wire, early, Role::Client, Some(config)),
            text,
            rest: Bytes::new(),
            blocked: false,
            ended: false,
            closing: false,
        }
    }

    /// The socket, which wakes `cx`'s task.
    fn socket(&mut self, cx: &Context<'_>) -> &mut WebSocket<Wire> {
        self.socket.get_mut().wakes(cx);
        &mut self.socket
    }

    /// The peer has closed: answers, as far as the socket takes it at once, and says why where
    /// there is more to say than good-bye (RFC 6455, section 7.4.1).
    fn closed(&mut self, frame: Option<&CloseFrame>) -> io::Result<()> {
        self.ended = true;
        // The peer waits for the answer no longer than it likes, and may be gone.
        let _ = self.socket.flush();
        match frame {
            Some(frame) if !matches!(frame.code, CloseCode::Normal | CloseCode::Away) => {
                let (code, reason) = (u16::from(frame.code), frame.reason.as_str());
                let text = format!("the server closed the WebSocket with code {code}: {reason:?}");
                Err(io::Error::other(text))
            }
            _ => Ok(()),
        }
    }
}

impl AsyncRead for Messages {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.rest.is_empty() {
                let length = self.rest.len().min(room.remaining());
                room.put_slice(&self.rest.split_to(length));
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match self.socket(cx).read() {
                Ok(Message::Binary(payload)) => self.rest = payload,
                Ok(Message::Text(payload)) => self.rest = payload.into(),
                Ok(Message::Close(frame)) => return Poll::Ready(self.closed(frame.as_ref())),
                // Pings are answered by the next read.
                Ok(_) => {}
                Err(failure) => match translate(failure) {
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        self.ended = true;
                    }
                    done => return done,
                },
            }
        }
    }
}

impl AsyncWrite for Messages {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let (length, is_text) = portion(bytes, self.text);
        let payload = Bytes::copy_from_slice(bytes.get(..length).unwrap_or(bytes));
        let mut message = match Utf8Bytes::try_from(payload.clone()) {
            Ok(text) if is_text => Message::Text(text),
            _ => Message::Binary(payload),
        };
        loop {
            if self.blocked {
                ready!(self.as_mut().poll_flush(cx))?;
            }
            match self.socket(cx).write(message) {
                Ok(()) => return Poll::Ready(Ok(length)),
                // It is taken, and waits for the socket.
                Err(Failure::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Poll::Ready(Ok(length));
                }
                // Answers to pings are in the way.
                Err(Failure::WriteBufferFull(refused)) => {
                    self.blocked = true;
                    message = *refused;
                }
                Err(failure) => return translate(failure),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.socket(cx).flush() {
            Ok(()) => {
                self.blocked = false;
                Poll::Ready(Ok(()))
            }
            Err(failure) => translate(failure),
        }
    }

    /// The closing handshake (RFC 6455, section 7.1.2), then that of the layer below. What still
    /// arrives is thrown away.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closing && !self.ended {
            let good_bye = CloseFrame {
                code: CloseCode::Normal,
                reason: Utf8Bytes::default(),
            };
            match self.socket(cx).close(Some(good_bye)) {
                Ok(()) => {}
                Err(Failure::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Pongs fill the buffer of a peer that reads nothing.
                Err(_) => self.ended = true,
            }
            self.closing = true;
        }
        while !self.ended {
            // Reading does not send on what is blocked.
            let _ = self.as_mut().poll_flush(cx)?;
            match self.socket(cx).read() {
                Ok(Message::Close(_)) => self.ended = true,
                Ok(_) => {}
                Err(failure) => match translate::<()>(failure) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(_) => self.ended = true,
                },
            }
        }
        self.socket.get_mut().poll_shutdown(cx)
    }
}

/// How much of `bytes` goes into the next message, and whether it is text (UTF-8, RFC 6455,
/// section 8.1). Text is not cut within a character; what is none goes as binary.
fn portion(bytes: &[u8], text: bool) -> (usize, bool) {
    let chunk = bytes.get(..CHUNK).unwrap_or(bytes);
    if !text {
        return (chunk.len(), false);
    }
    match std::str::from_utf8(chunk) {
        Ok(_) => (chunk.len(), true),
        Err(error) if error.error_len().is_none() && chunk.len() < bytes.len() => {
            (error.valid_up_to(), true)
        }
        Err(_) => (chunk.len(), false),
    }
}

/// [`io::ErrorKind::UnexpectedEof`]: the connection has ended.
fn translate<T>(failure: Failure) -> Poll<io::Result<T>> {
    let violation = |text: String| io::Error::other(Violation(text));
    Poll::Ready(Err(match failure {
        Failure::Io(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
        // As it is: TLS speaks through it.
        Failure::Io(error) => error,
        Failure::ConnectionClosed
        | Failure::AlreadyClosed
        | Failure::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            io::ErrorKind::UnexpectedEof.into()
        }
        Failure::Protocol(ProtocolError::SendAfterClosing) => io::ErrorKind::BrokenPipe.into(),
        Failure::Capacity(CapacityError::MessageTooLong { size, max_size }) => violation(format!(
            "a WebSocket message of {size} bytes is longer than {max_size}; see max_packet"
        )),
        // Some servers send as text whatever they carry (RFC 6455, section 8.1 forbids it).
        Failure::Utf8(_) => violation(
            "the server sends as text what is no UTF-8; have it send binary messages".to_owned(),
        ),
        Failure::Protocol(error) => violation(format!("the server breaks RFC 6455: {error}")),
        other => violation(format!("the server breaks RFC 6455: {other}")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_binary_is_not_text() {
        assert_eq!(portion("aé".as_bytes(), true), (3, true));
        assert_eq!(portion("aé".as_bytes(), false), (3, false));
        assert_eq!(portion(b"a\xff", true), (2, false));
        // What ends within a character, with nothing behind it, cannot wait for the rest.
        assert_eq!(portion(b"a\xc3", true), (2, false));
        let mut long = vec![b'a'; CHUNK - 1];
        long.extend_from_slice("é".as_bytes());
        assert_eq!(portion(&long, true), (CHUNK - 1, true));
        assert_eq!(portion(&long, false), (CHUNK, false));
    }
}
