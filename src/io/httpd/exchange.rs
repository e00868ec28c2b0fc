//! One request and its answer: the request becomes an event, the answer comes back from the Lua
//! thread by the request's id.

use super::super::websocket::is_one_of;
use super::body::{collect, Reply};
use super::patience::Patient;
use super::server::{Guest, Shared};
use super::socket::Socket;
use super::{conversation, event, files};
use crate::error::Error;
use crate::message::Value;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tungstenite::handshake::derive_accept_key;

/// What the Lua program wants a request answered with.
pub struct Answer(pub(super) Kind);

pub(super) enum Kind {
    Reply(Response<Reply>),
    File {
        root: PathBuf,
        max_age: Option<Duration>,
    },
    WebSocket {
        socket: Arc<Socket>,
        protocol: Option<HeaderValue>,
    },
}

impl Answer {
    /// A whole response.
    ///
    /// # Errors
    /// `Invalid` for a status or a header field that HTTP does not have.
    pub fn reply(status: u16, fields: &[(Vec<u8>, Vec<u8>)], body: Bytes) -> Result<Self, Error> {
        let mut response = Response::new(Reply::Whole(body));
        // 1xx are none of the program's (RFC 9110, section 15.2).
        *response.status_mut() = StatusCode::from_u16(status)
            .ok()
            .filter(|_| status >= 200)
            .ok_or_else(|| Error::invalid(format!("{status} is no status; use 200 to 999")))?;
        for (name, value) in fields {
            let shown = String::from_utf8_lossy(name);
            let wrong = || Error::invalid(format!("the header field {shown:?} cannot be sent"));
            let name = HeaderName::from_bytes(name).map_err(|_| wrong())?;
            let value = HeaderValue::from_bytes(value).map_err(|_| wrong())?;
            response.headers_mut().append(name, value);
        }
        // How long the body is, is hyper's to say.
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().remove(header::TRANSFER_ENCODING);
        Ok(Answer(Kind::Reply(response)))
    }

    /// The file that the request's path names below `root`; the browser may keep it for `max_age`
    /// without asking again.
    pub fn file(root: PathBuf, max_age: Option<Duration>) -> Self {
        Answer(Kind::File { root, max_age })
    }
}

/// A request without its answer; its connection may end first.
struct Open {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}

/// A file on its way: Lua hears when it is dealt with, whether or not the browser has waited.
struct Serving {
    shared: Arc<Shared>,
    id: u64,
    status: Option<StatusCode>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let status = self
            .status
            .map_or(Value::Nil, |status| Value::Integer(status.as_u16().into()));
        self.shared.event(event::SERVED, b"", b"", self.id, status);
    }
}

/// hyper's service: never fails, since every failure has a status.
pub(super) async fn serve(
    shared: Arc<Shared>,
    guest: Arc<Guest>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    let mut response = match exchange(&shared, guest, request).await {
        Ok(response) => response,
        Err(status) => {
            let mut response = Response::new(Reply::Whole(Bytes::new()));
            *response.status_mut() = status;
            response
        }
    };
    let fields = response.headers_mut();
    if !fields.contains_key(header::SERVER) {
        fields.insert(header::SERVER, shared.server_name.clone());
    }
    Ok(response)
}

async fn exchange(
    shared: &Arc<Shared>,
    guest: Arc<Guest>,
    mut request: Request<Incoming>,
) -> Result<Response<Reply>, StatusCode> {
    let upgrade = Upgrade::of(&mut request);
    let (head, body) = request.into_parts();
    let settings = &shared.settings;
    let body = collect(body, settings.max_body, settings.timeout).await?;
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let (answer, answered) = oneshot::channel();
    let id = shared
        .remember(answer)
        .ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let open = Open {
        shared: shared.clone(),
        id,
    };
    let mut extra = vec![
        entry("method", head.method.as_str()),
        entry("peer", &guest.address),
        (b"headers".to_vec(), fields(&head.headers)),
    ];
    if let Some(upgrade) = &upgrade {
        extra.push(entry("websocket", upgrade.fault.unwrap_or("ready")));
    }
    shared.event(
        event::REQUEST,
        target.as_bytes(),
        &body,
        id,
        Value::Map(extra),
    );
    drop(body);
    let answer = answered
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    drop(open);
    match answer.0 {
        Kind::Reply(response) => Ok(response),
        Kind::File { root, max_age } => {
            let mut serving = Serving {
                shared: shared.clone(),
                id,
                status: None,
            };
            let path = head.uri.path().to_owned();
            let work = move || files::answer(&root, &path, &head.headers, max_age);
            let response = tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
            serving.status = Some(response.status());
            Ok(response)
        }
        Kind::WebSocket { socket, protocol } => {
            let Some(Upgrade { on, key, .. }) = upgrade else {
                conversation::stillborn(&socket, "the request asks for no WebSocket");
                return Err(StatusCode::UPGRADE_REQUIRED);
            };
            tokio::spawn(open_websocket(socket, on, guest));
            Ok(switching(&key, protocol))
        }
    }
}

/// What a request for a WebSocket brings.
struct Upgrade {
    on: OnUpgrade,
    key: Vec<u8>,
    /// What keeps it from becoming one.
    fault: Option<&'static str>,
}

impl Upgrade {
    /// None where it asks for none (RFC 6455, section 4.2.1).
    fn of(request: &mut Request<Incoming>) -> Option<Self> {
        let fields = request.headers();
        let asks = is_one_of(fields, &header::UPGRADE, "websocket")
            && is_one_of(fields, &header::CONNECTION, "upgrade");
        if !asks {
            return None;
        }
        let key = fields.get(header::SEC_WEBSOCKET_KEY);
        let version = fields.get(header::SEC_WEBSOCKET_VERSION);
        let is_get = request.method() == Method::GET && request.version() == Version::HTTP_11;
        let fault = match (is_get, key, version.map(HeaderValue::as_bytes)) {
            (false, ..) => Some("method"),
            (_, _, version) if version != Some(b"13") => Some("version"),
            // 16 bytes in base64.
            (_, Some(key), _) if key.len() == 24 => None,
            _ => Some("key"),
        };
        let key = key.map_or_else(Vec::new, |key| key.as_bytes().to_vec());
        let on = hyper::upgrade::on(request);
        Some(Upgrade { on, key, fault })
    }
}

/// The answer that opens a WebSocket (RFC 6455, section 4.2.2).
fn switching(key: &[u8], protocol: Option<HeaderValue>) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(derive_accept_key(key)) {
        fields.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        fields.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// Takes the connection over from hyper; `guest` counts it until it ends.
async fn open_websocket(socket: Arc<Socket>, on: OnUpgrade, guest: Arc<Guest>) {
    let Ok(upgraded) = on.await else {
        conversation::stillborn(&socket, "");
        return;
    };
    match upgraded.downcast::<TokioIo<Patient>>() {
        Ok(parts) => {
            let early = parts.read_buf.to_vec();
            conversation::run(socket, parts.io.into_inner(), early).await;
        }
        Err(_) => conversation::stillborn(&socket, "internal error: an unknown stream"),
    }
    drop(guest);
}

fn entry(name: &str, value: &str) -> (Vec<u8>, Value) {
    (
        name.as_bytes().to_vec(),
        Value::Bytes(value.as_bytes().to_vec()),
    )
}

/// Header fields by name in lower case; one that comes several times is joined by commas, Cookie by
/// semicolons (RFC 9110, section 5.3; RFC 6265, section 5.4).
fn fields(map: &HeaderMap) -> Value {
    let entries = map.keys().map(|name| {
        let glue: &[u8] = if name == header::COOKIE { b"; " } else { b", " };
        let values: Vec<_> = map
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        let name = name.as_str().as_bytes().to_vec();
        (name, Value::Bytes(values.join(glue)))
    });
    Value::Map(entries.collect())
}
