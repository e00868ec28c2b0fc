//! WebSocket (RFC 6455): the opening handshake by HTTP, then a byte stream over tungstenite's
//! frames. Knows neither what the bytes are nor what is below it.

mod request;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

use super::endpoint::{plainly, Address};
use super::transport::{code_of, Layered, Stream};
use crate::error::{Code, Error};
use crate::message::Value;
use bytes::{Buf, BytesMut};
use request::Opening;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
pub(super) use stream::Violation;
use stream::{Messages, LANDING};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tungstenite::handshake::client::Response;
use tungstenite::handshake::{derive_accept_key, machine::TryParse};
use tungstenite::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tungstenite::http::StatusCode;
#[cfg(feature = "httpd")]
pub(super) use wire::Wire;

/// An answer to the handshake, header fields included, is not longer.
const MAX_ANSWER: usize = 16 * 1024;

/// The least bound of a message in.
const MAX_MESSAGE: usize = 16 << 20;

/// The longest frame header (RFC 6455, section 5.2).
const FRAME_HEADER: usize = 14;

/// How to put a WebSocket on a socket.
pub(super) struct Layer {
    opening: Opening,
    text: bool,
    max_message: usize,
    /// A server has accepted the request before.
    accepted: AtomicBool,
}

impl Layer {
    /// Reads the options `websocket websocket_path websocket_protocols websocket_headers
    /// websocket_text`, and `tls` and `max_packet`; None without `websocket`.
    ///
    /// # Errors
    /// A path, a subprotocol or a header field that cannot stand in a request.
    pub(super) fn parse(options: &Value) -> Result<Option<Self>, Error> {
        if options.member("websocket").as_bool() != Some(true) {
            return Ok(None);
        }
        let max_packet = options.member("max_packet").as_size().unwrap_or(0);
        Ok(Some(Layer {
            opening: Opening::parse(options)?,
            text: options.member("websocket_text").as_bool() == Some(true),
            max_message: MAX_MESSAGE.max(max_packet.saturating_add(FRAME_HEADER)),
            accepted: AtomicBool::new(false),
        }))
    }

    /// Makes the handshake.
    ///
    /// # Errors
    /// `Refused` where the server answers with another HTTP status than 101; `Protocol` where what
    /// it answers opens no WebSocket, or not the one asked for; `Lost` where it answers nothing.
    pub(super) async fn wrap(
        &self,
        mut socket: Box<dyn Layered>,
        address: &Address,
    ) -> Result<Stream, Error> {
        let (request, key) = self.opening.to(address)?;
        self.open(&mut *socket, &request, &key)
            .await
            .map(|early| {
                self.accepted.store(true, Ordering::Relaxed);
                let stream = Messages::new(socket, early, self.text, self.max_message);
                Stream::Layered(Box::new(stream))
            })
            .map_err(|mut error| {
                let path = self.opening.path();
                error.text = format!("WebSocket on {address}, path {path}: {}", error.text);
                error
            })
    }

    /// Sends the request and judges the answer; gives what came behind it.
    async fn open(
        &self,
        socket: &mut dyn Layered,
        request: &[u8],
        key: &str,
    ) -> Result<Vec<u8>, Error> {
        let broken = |error: io::Error| Error::new(code_of(&error), plainly(&error));
        socket.write_all(request).await.map_err(broken)?;
        socket.flush().await.map_err(broken)?;
        let mut input = BytesMut::new();
        let answer = loop {
            input.reserve(LANDING);
            if socket.read_buf(&mut input).await.map_err(broken)? == 0 {
                // Whoever knows no HTTP closes; so does a proxy whose server restarts.
                return Err(Error::lost(
                    "the server closed the connection without an answer; is this its WebSocket port?",
                ));
            }
            match Response::try_parse(&input) {
                Ok(Some((length, answer))) => {
                    input.advance(length);
                    break answer;
                }
                Ok(None) if input.len() <= MAX_ANSWER => {}
                Ok(None) => {
                    let text = format!("the answer is longer than {MAX_ANSWER} bytes");
                    return Err(Error::new(Code::Protocol, text));
                }
                Err(_) => {
                    let text = format!(
                        "asked for a WebSocket, and the server answers {}, which is not HTTP/1.1; \
                         is this its WebSocket port?",
                        excerpt(&input)
                    );
                    return Err(Error::new(Code::Protocol, text));
                }
            }
        };
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error {
                code: Code::Refused,
                text: refusal(&answer),
                fatal: self.is_final(answer.status()),
            });
        }
        judge(answer.headers(), key, &self.opening.protocols)
            .map_err(|text| Error::new(Code::Protocol, text))?;
        Ok(input.into())
    }

    /// Whether the same request will be refused again. Not where the status is a temporary one
    /// (RFC 9110, section 15; RFC 6585, section 4), and not what was accepted before: a proxy
    /// answers 404, too, while its server is being replaced.
    fn is_final(&self, status: StatusCode) -> bool {
        let temporary = status.is_server_error()
            || matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
            );
        !temporary && !self.accepted.load(Ordering::Relaxed)
    }
}

/// What a status other than 101 means for who asked.
fn refusal(answer: &Response) -> String {
    let status = answer.status();
    let remedy = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "it wants to know who asks: give websocket.headers what it expects".to_owned()
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            "there is no WebSocket at this path: check websocket.path".to_owned()
        }
        _ if status.is_redirection() => match answer.headers().get(header::LOCATION) {
            Some(place) => format!("connect to {:?} instead", shown(place)),
            None => "it is elsewhere, and the server does not say where".to_owned(),
        },
        _ if status.is_success() => {
            "there is an ordinary page at this path: check websocket.path".to_owned()
        }
        _ if status.is_client_error() => {
            "check websocket.path, websocket.protocols and websocket.headers".to_owned()
        }
        _ => "the server, or one behind it, is in trouble".to_owned(),
    };
    format!("the server answers {status}; {remedy}")
}

/// Checks an answer with status 101 (RFC 6455, section 4.1, "the client MUST validate the
/// server's response as follows").
fn judge(fields: &HeaderMap, key: &str, protocols: &[String]) -> Result<(), String> {
    if !is_one_of(fields, &header::UPGRADE, "websocket")
        || !is_one_of(fields, &header::CONNECTION, "upgrade")
    {
        return Err("the server switches to another protocol than WebSocket".to_owned());
    }
    let expected = derive_accept_key(key.as_bytes());
    if fields
        .get(header::SEC_WEBSOCKET_ACCEPT)
        .is_none_or(|value| value.as_bytes() != expected.as_bytes())
    {
        let text = "Sec-WebSocket-Accept is not what follows from the key that was sent; \
                    does a cache answer?";
        return Err(text.to_owned());
    }
    if let Some(extensions) = fields.get(header::SEC_WEBSOCKET_EXTENSIONS) {
        let extensions = shown(extensions);
        return Err(format!(
            "the server uses {extensions:?}, and no extension was asked for"
        ));
    }
    let asked = protocols.join(", ");
    match fields.get(header::SEC_WEBSOCKET_PROTOCOL).map(shown) {
        None if protocols.is_empty() => Ok(()),
        Some(chosen) if protocols.contains(&chosen) => Ok(()),
        None => Err(format!(
            "asked for subprotocol {asked}, and the server speaks none; \
             check websocket.path and websocket.protocols"
        )),
        Some(chosen) if protocols.is_empty() => Err(format!(
            "asked for no subprotocol, and the server speaks {chosen:?}; \
             name it in websocket.protocols"
        )),
        Some(chosen) => Err(format!(
            "asked for subprotocol {asked}, and the server speaks {chosen:?}; \
             check websocket.path and websocket.protocols"
        )),
    }
}

/// Whether a field that is a list has `token` in it, in whatever case (RFC 9110, section 5.6.1).
pub(super) fn is_one_of(fields: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    fields.get_all(name).iter().any(|value| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.any(|each| each.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// A field that a server sent, not longer than an error may be.
fn shown(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.chars().take(200).collect()
}

/// The beginning of what may be anything, in quotes.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..60).unwrap_or(bytes));
    format!("{text:?}")
}
