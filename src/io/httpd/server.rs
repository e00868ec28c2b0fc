//! Listens, and serves each connection in a task of its own, as many as are allowed.

use super::super::endpoint::plainly;
use super::super::fork;
use super::super::port::{Backlog, Port, Producer};
use super::super::runtime;
#[cfg(feature = "tls")]
use super::super::tls;
use super::super::transport::Layered;
use super::courier::Courier;
use super::exchange::{serve, Answer, Kind};
use super::patience::Patient;
use super::socket::{Bounds, Socket};
use super::{event, Settings};
use crate::error::{Code, Error};
use crate::message::{Batch, Key, Meta, Value};
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::HashMap;
use std::future::{poll_fn, Future};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// Connections that the kernel keeps until we take them: browsers come in flocks.
const QUEUE: u32 = 1024;

/// After a failure to take a connection: descriptors are short, and some may be closed.
const PAUSE: Duration = Duration::from_millis(100);

/// What the tasks of a server share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) server_name: HeaderValue,
    port: Arc<Port>,
    key: Key,
    backlog: Backlog,
    courier: Arc<Courier>,
    /// Who waits for an answer; None once the server is closed.
    open: Mutex<Option<Requests>>,
}

#[derive(Default)]
struct Requests {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

impl Shared {
    /// A request is to be answered; its id, or None where nobody answers any more.
    pub(super) fn remember(&self, answer: oneshot::Sender<Answer>) -> Option<u64> {
        let mut open = self.open();
        let requests = open.as_mut()?;
        requests.last += 1;
        requests.waiting.insert(requests.last, answer);
        Some(requests.last)
    }

    /// It needs no answer any more.
    pub(super) fn forget(&self, id: u64) {
        if let Some(requests) = self.open().as_mut() {
            requests.waiting.remove(&id);
        }
    }

    /// Tells Lua.
    pub(super) fn event(
        self: &Arc<Self>,
        flags: u32,
        source: &[u8],
        payload: &[u8],
        id: u64,
        extra: Value,
    ) {
        let meta = Meta {
            flags,
            id,
            headers: 0,
            packed: false,
            extra: Some(Box::new(extra)),
        };
        let mut batch = Batch::default();
        batch.push_rich(self.key, source, payload, meta);
        self.port.deliver(self, &mut batch);
    }

    fn open(&self) -> MutexGuard<'_, Option<Requests>> {
        // No call under this lock leaves it half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Producer for Shared {
    fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Each connection has one request at a time: their number is the bound.
    fn consumed(&self) {}
}

/// A connection as long as it is counted.
pub(super) struct Guest {
    pub(super) address: String,
    _permit: OwnedSemaphorePermit,
}

/// How far a server has come; each is for good.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Stage {
    Open,
    /// No new connections and requests; WebSockets say good-bye.
    Closing,
    /// Nothing of it is left.
    Gone,
}

/// A server as the Lua thread holds it. Dropped, it ends what it has begun.
pub struct Server {
    shared: Arc<Shared>,
    limit: Arc<Semaphore>,
    stage: watch::Sender<Stage>,
    courier_runs: bool,
    generation: u32,
}

impl Server {
    /// A server that does not listen yet, whose events go to `port` under `key`.
    ///
    /// # Errors
    /// `Invalid` for a server name that cannot be sent.
    pub fn new(port: Arc<Port>, key: Key, settings: Settings) -> Result<Self, Error> {
        let server_name = HeaderValue::from_str(&settings.server_name)
            .map_err(|_| Error::invalid("server_name must be printable"))?;
        Ok(Server {
            limit: Arc::new(Semaphore::new(settings.max_connections)),
            shared: Arc::new(Shared {
                settings,
                server_name,
                port,
                key,
                backlog: Backlog::default(),
                courier: Arc::default(),
                open: Mutex::new(Some(Requests::default())),
            }),
            stage: watch::Sender::new(Stage::Open),
            courier_runs: false,
            generation: fork::generation(),
        })
    }

    /// Whether this process made it; otherwise nothing of it may be touched.
    pub fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Listens on an address, over TLS with the options `tls_cert tls_key`; the port, which the
    /// kernel chooses for 0.
    ///
    /// # Errors
    /// `Tls` for a certificate that cannot be used; `Refused` for an address that cannot be.
    pub fn listen(&mut self, host: &str, port: u16, options: &Value) -> Result<u16, Error> {
        #[cfg(feature = "tls")]
        let layer = tls::Front::parse(options)?;
        #[cfg(not(feature = "tls"))]
        if options.member("tls_cert") != &Value::Nil {
            return Err(Error::fatal(Code::Tls, "this build has no TLS"));
        }
        let refused = |error: io::Error| {
            let why = plainly(&error);
            Error::new(
                Code::Refused,
                format!("cannot listen on {host}:{port}: {why}"),
            )
        };
        let handle = runtime::handle().map_err(refused)?;
        let _inside = handle.enter();
        let listener = bind(host, port).map_err(refused)?;
        let port = listener.local_addr().map_err(refused)?.port();
        if !self.courier_runs {
            self.courier_runs = true;
            let courier = self.shared.courier.clone();
            handle.spawn(until(self.stage.subscribe(), Stage::Gone, courier.run()));
        }
        let house = House {
            shared: self.shared.clone(),
            limit: self.limit.clone(),
            stage: self.stage.subscribe(),
            #[cfg(feature = "tls")]
            layer,
        };
        let stage = self.stage.subscribe();
        handle.spawn(until(stage, Stage::Closing, house.receive(listener)));
        Ok(port)
    }

    /// Answers a request. False: its connection is gone, or it has its answer.
    pub fn answer(&self, id: u64, answer: Answer) -> bool {
        self.is_ours() && self.take(id).is_some_and(|to| to.send(answer).is_ok())
    }

    /// Makes a WebSocket of a request, whose events come under `key`. None: its connection is gone.
    pub fn accept(
        &self,
        id: u64,
        key: Key,
        bounds: Bounds,
        protocol: Option<&str>,
    ) -> Option<Arc<Socket>> {
        if !self.is_ours() {
            return None;
        }
        let to = self.take(id)?;
        let shared = &self.shared;
        let socket = Socket::new(shared.port.clone(), key, bounds, shared.courier.clone());
        let socket = Arc::new(socket);
        let answer = Answer(Kind::WebSocket {
            socket: socket.clone(),
            protocol: protocol.and_then(|name| HeaderValue::from_str(name).ok()),
        });
        to.send(answer).ok().map(|()| socket)
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Answer>> {
        self.shared.open().as_mut()?.waiting.remove(&id)
    }

    /// Takes no more connections, and no more requests on those that there are.
    pub fn close(&self) {
        if self.is_ours() {
            self.stage.send_replace(Stage::Closing);
        }
    }

    /// Connections at the moment, WebSockets among them.
    pub fn connections(&self) -> usize {
        let settings = &self.shared.settings;
        settings
            .max_connections
            .saturating_sub(self.limit.available_permits())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_ours() {
            self.stage.send_replace(Stage::Gone);
            // Who waits for an answer hears that there is none.
            *self.shared.open() = None;
        } else {
            // The parent's: its destructors would take its locks.
            std::mem::forget(self.shared.clone());
            std::mem::forget(self.limit.clone());
            std::mem::forget(std::mem::replace(
                &mut self.stage,
                watch::Sender::new(Stage::Gone),
            ));
        }
    }
}

fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (host, port).to_socket_addrs()? {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(QUEUE)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Does `work` until the server has come to `end`.
async fn until(stage: watch::Receiver<Stage>, end: Stage, work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    let mut ended = pin!(reached(stage, end));
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => ended.as_mut().poll(cx),
    })
    .await;
}

/// The server has come to `end`.
async fn reached(mut stage: watch::Receiver<Stage>, end: Stage) {
    // An error: there is no server any more.
    let _ = stage.wait_for(|stage| *stage >= end).await;
}

/// What the listening task needs.
struct House {
    shared: Arc<Shared>,
    limit: Arc<Semaphore>,
    stage: watch::Receiver<Stage>,
    #[cfg(feature = "tls")]
    layer: Option<tls::Front>,
}

impl House {
    async fn receive(self, listener: TcpListener) {
        let mut troubled = false;
        loop {
            let Ok(permit) = self.limit.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, address)) => {
                    troubled = false;
                    let guest = Guest {
                        address: plain(address.ip()).to_string(),
                        _permit: permit,
                    };
                    // Otherwise the kernel waits with a short message for more.
                    let _ = stream.set_nodelay(true);
                    self.welcome(stream, guest);
                }
                // The one that came is gone again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !std::mem::replace(&mut troubled, true) {
                        let text = format!("cannot take a connection: {}", plainly(&error));
                        let shared = &self.shared;
                        shared.event(event::TROUBLE, text.as_bytes(), b"", 0, Value::Nil);
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn welcome(&self, stream: TcpStream, guest: Guest) {
        let (shared, stage) = (self.shared.clone(), self.stage.clone());
        #[cfg(feature = "tls")]
        if let Some(layer) = self.layer.clone() {
            tokio::spawn(async move {
                let limit = shared.settings.timeout;
                // One that fails has nobody to tell: the browser knows.
                if let Ok(Ok(stream)) = tokio::time::timeout(limit, layer.wrap(stream)).await {
                    converse(shared, stream, guest, stage).await;
                }
            });
            return;
        }
        tokio::spawn(converse(shared, Box::new(stream), guest, stage));
    }
}

/// Serves one connection, request after request.
async fn converse(
    shared: Arc<Shared>,
    stream: Box<dyn Layered>,
    guest: Guest,
    stage: watch::Receiver<Stage>,
) {
    let guest = Arc::new(guest);
    let settings = &shared.settings;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(settings.timeout)
        .max_header_size(settings.max_header)
        .max_buf_size(settings.max_header);
    let stream = TokioIo::new(Patient::new(stream, settings.timeout));
    let service = service_fn(|request| serve(shared.clone(), guest.clone(), request));
    let mut connection = pin!(http.serve_connection(stream, service).with_upgrades());
    let mut closed = pin!(reached(stage, Stage::Closing));
    let mut leaving = false;
    poll_fn(|cx| {
        if !leaving && closed.as_mut().poll(cx).is_ready() {
            leaving = true;
            connection.as_mut().graceful_shutdown();
        }
        // What goes wrong with a connection is between hyper and the browser.
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

/// An IPv4 address as such, where the socket takes both kinds (RFC 4291, section 2.5.5.2).
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}
