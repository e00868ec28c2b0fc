//! The broker's sockets: listens, accepts, and has the pump serve each connection's peer, until the broker is closed.
//! Knows no frames.

use super::connection::{lock, Connection, Hub};
use super::fork;
use super::port::{Backlog, Port, Producer};
use super::pump::{self, Ending};
use super::runtime;
use super::transport::{Plain, Stream};
use crate::broker::{Bell, Broker, Flow, Happening, Notice, Peer, Protocol};
use crate::error::{Code, Error};
use crate::message::{Batch, State, Value};
use bytes::BytesMut;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout_at};

/// Connections that the kernel may have accepted for us.
const BACKLOG: u32 = 1024;

/// How long to wait for descriptors that others give back.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a client has to read why it is cut off, and how often that is looked at.
const LAST_WORDS: (u32, Duration) = (20, Duration::from_millis(10));

/// Refused connections that are given that time at once.
const REFUSING: usize = 64;

/// How long [`Server::close`] waits for connections to end.
const CLOSING: Duration = Duration::from_secs(2);

/// A socket that is listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
}

/// A broker with its sockets.
pub struct Server {
    broker: Arc<Broker>,
    listening: Vec<Listening>,
    tasks: Vec<AbortHandle>,
    open: Arc<Open>,
    /// Hears when every task has ended.
    ended: Mutex<Receiver<()>>,
    generation: u32,
}

/// What the tasks of a server share.
#[derive(Default)]
struct Open {
    peers: Mutex<HashMap<u64, Weak<Served>>>,
    last_key: AtomicU64,
    closed: AtomicBool,
    /// Connections that are told that there is no room.
    refusing: AtomicUsize,
}

/// Events of a broker have no messages, whose bounds this would be.
#[derive(Default)]
struct Unbounded(Backlog);

impl Producer for Unbounded {
    fn backlog(&self) -> &Backlog {
        &self.0
    }

    fn consumed(&self) {}
}

/// Binds every socket, then serves. `id`: the broker among the clients of `port`, which hears its notices.
///
/// # Errors
/// The first address that cannot be had; nothing is listening then. No runtime thread can be had.
pub fn start(
    broker: Arc<Broker>,
    host: &str,
    wanted: &[(Protocol, u16)],
    port: Arc<Port>,
    id: u32,
) -> Result<Server, Error> {
    let runtime = runtime::handle().map_err(|error| {
        Error::lost(format!("the runtime thread could not be started: {error}"))
    })?;
    let _context = runtime.enter();
    let mut sockets = Vec::new();
    for (protocol, number) in wanted {
        for listener in bind(host, *number)? {
            sockets.push((*protocol, listener));
        }
    }
    observe(&broker, port, id);
    let open = Arc::<Open>::default();
    let (alive, ended) = mpsc::channel();
    let mut listening = Vec::new();
    let mut tasks = Vec::new();
    for (protocol, listener) in sockets {
        let address = listener
            .local_addr()
            .map_err(|error| Error::lost(format!("a socket without an address: {error}")))?;
        listening.push(Listening { protocol, address });
        let door = Door {
            listener,
            broker: broker.clone(),
            open: open.clone(),
            protocol,
            alive: alive.clone(),
        };
        tasks.push(runtime.spawn(door.serve()).abort_handle());
    }
    tasks.push(runtime.spawn(keep_time(broker.clone())).abort_handle());
    Ok(Server {
        broker,
        listening,
        tasks,
        open,
        ended: Mutex::new(ended),
        generation: fork::generation(),
    })
}

/// Sockets on all addresses of `host`, with one port: a free one for 0.
fn bind(host: &str, mut port: u16) -> Result<Vec<TcpListener>, Error> {
    let taken = |port: u16, error: &io::Error| {
        let text = super::endpoint::plainly(error);
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => "; choose another one, or 0 for any that is free",
            io::ErrorKind::PermissionDenied => "; ports below 1024 are the administrator's",
            _ => "",
        };
        Error::new(
            Code::Refused,
            format!("cannot listen on {host}, port {port}: {text}{remedy}"),
        )
    };
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|error| taken(port, &error))?;
    let mut listeners = Vec::new();
    let mut missing = None;
    for mut address in addresses {
        address.set_port(port);
        match listen(address) {
            Ok(listener) => {
                port = listener.local_addr().map_or(port, |local| local.port());
                listeners.push(listener);
            }
            // A name may have addresses of a family that this machine does not have.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => missing = Some(error),
            Err(error) => return Err(taken(port, &error)),
        }
    }
    match (listeners.is_empty(), missing) {
        (true, Some(error)) => Err(taken(port, &error)),
        (true, None) => Err(Error::invalid(format!("the host {host:?} has no address"))),
        (false, _) => Ok(listeners),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A port whose last connections are not forgotten yet is free.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn observe(broker: &Arc<Broker>, port: Arc<Port>, id: u32) {
    let producer = Arc::new(Unbounded::default());
    broker.set_observer(Box::new(move |notice: Notice| {
        let text = |text: &[u8]| Value::Bytes(text.to_vec());
        let mut detail = vec![
            (b"event".to_vec(), text(notice.what.as_str().as_bytes())),
            (
                b"protocol".to_vec(),
                text(notice.protocol.as_str().as_bytes()),
            ),
            (b"id".to_vec(), Value::Integer(notice.id as i64)),
            (b"remote".to_vec(), text(notice.remote.as_bytes())),
        ];
        match notice.what {
            Happening::Connect => {}
            Happening::Disconnect => detail.push((b"reason".to_vec(), text(&notice.text))),
            Happening::Subscribe | Happening::Unsubscribe => {
                detail.push((b"pattern".to_vec(), text(&notice.text)));
            }
        }
        let mut batch = Batch::for_client(id, 0);
        batch.state_with(State::Notice, Value::Map(detail));
        port.deliver(&producer, &mut batch);
    }));
}

impl Server {
    /// Whether this process made it; otherwise nothing of it may be touched.
    pub fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    /// The broker behind the sockets.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Where it listens.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Bytes read and written so far.
    pub fn bytes(&self) -> (u64, u64) {
        let counters = self.broker.counters();
        let ended = (&counters.bytes_in, &counters.bytes_out);
        let ended = (
            ended.0.load(Ordering::Relaxed),
            ended.1.load(Ordering::Relaxed),
        );
        self.peers().iter().fold(ended, |sum, peer| {
            let (read, written) = peer.bytes();
            (sum.0 + read, sum.1 + written)
        })
    }

    /// The connections that there are; the last owner of one takes the lock that this one has given back.
    fn peers(&self) -> Vec<Arc<Served>> {
        let peers = lock(&self.open.peers);
        peers.values().filter_map(Weak::upgrade).collect()
    }

    /// Stops listening and ends every connection. With `wait`, its ports are free when it returns.
    pub fn close(&self, wait: bool) {
        if !self.is_ours() {
            return;
        }
        self.open.closed.store(true, Ordering::SeqCst);
        for task in &self.tasks {
            task.abort();
        }
        for peer in self.peers() {
            peer.connection.signal.wake();
        }
        if wait {
            // Nothing is ever sent: the error comes when the last task is gone, or the time is over.
            let _ = lock(&self.ended).recv_timeout(CLOSING);
        }
    }
}

/// Wakes the task that keeps a broker's time.
#[derive(Default)]
struct Clock(Notify);

impl Bell for Clock {
    fn ring(&self) {
        self.0.notify_one();
    }
}

/// Has a broker's timers called when they are due.
async fn keep_time(broker: Arc<Broker>) {
    let clock = Arc::new(Clock::default());
    let weak: Weak<dyn Bell> = Arc::<Clock>::downgrade(&clock);
    loop {
        let deadline = broker.deadline(&weak);
        let until = deadline.map_or_else(|| pump::far(Instant::now()), Into::into);
        // Either way it is time to look.
        let _ = timeout_at(until, clock.0.notified()).await;
        broker.expire(Instant::now());
    }
}

/// Where connections of one protocol come in.
struct Door {
    /// Before `alive`, since fields are dropped in this order: when the end of the task is heard, the port is free,
    /// even where the task has been aborted before it ever ran.
    listener: TcpListener,
    broker: Arc<Broker>,
    open: Arc<Open>,
    protocol: Protocol,
    /// Dropped with the task.
    alive: Sender<()>,
}

impl Door {
    async fn serve(self) {
        loop {
            let (socket, remote) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                // The client has gone again, or there is no descriptor left: others may go, too.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(_) => {
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(socket) = socket.into_std() else {
                continue;
            };
            let local = socket
                .local_addr()
                .map_or_else(|_| String::new(), |at| at.to_string());
            // A socket that is not told sends a little later.
            let _ = socket.set_nodelay(true);
            let socket = Plain::Tcp(socket);
            if !self.broker.enter() {
                self.refuse(socket);
                continue;
            }
            let peer = Served::new(&self, &remote.to_string(), &local);
            lock(&self.open.peers).insert(peer.key, Arc::downgrade(&peer));
            tokio::spawn(serve(peer, socket, self.alive.clone()));
        }
    }
}

impl Door {
    /// There is no room for a connection.
    fn refuse(&self, socket: Plain) {
        // As far as the kernel takes it at once, which it does at the start of a connection.
        let _ = socket.try_write(self.protocol.no_room());
        let open = self.open.clone();
        // A flood of them may not take the descriptors that others need.
        if open.refusing.fetch_add(1, Ordering::Relaxed) < REFUSING {
            tokio::spawn(async move {
                last_words(&socket).await;
                open.refusing.fetch_sub(1, Ordering::Relaxed);
            });
        } else {
            open.refusing.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// One connection, served.
async fn serve(peer: Arc<Served>, socket: Plain, _alive: Sender<()>) {
    let ending = match Stream::plain(socket) {
        Ok(stream) => {
            let socket = stream.socket().cloned();
            let ending = pump::run(&peer, stream).await;
            if let (Ending::Broken(error), Some(socket)) = (&ending, socket) {
                if error.code != Code::Lost {
                    last_words(&socket).await;
                }
            }
            ending
        }
        Err(error) => Ending::Broken(pump::failed(&error)),
    };
    let cause = match ending {
        Ending::Broken(error) => error,
        Ending::Finished => Error::lost("the client said good-bye"),
        Ending::CutOff | Ending::Abandoned => Error::new(Code::Closed, "the broker was closed"),
    };
    let mut flow = Flow::default();
    peer.connection.session().disconnected(&cause, &mut flow);
}

/// A connection that is closed while something of its client's is unread takes what it has last been told with it, so
/// that is read for a while, and forgotten.
async fn last_words(socket: &Plain) {
    if socket.shut().is_err() {
        return;
    }
    let (times, pause) = LAST_WORDS;
    let mut unread = BytesMut::new();
    for _ in 0..times {
        unread.clear();
        match socket.try_read(&mut unread) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        sleep(pause).await;
    }
}

/// A connection of the broker: its peer, and what the pump needs to know.
struct Served {
    connection: Connection<dyn Peer>,
    broker: Arc<Broker>,
    open: Arc<Open>,
    key: u64,
    /// The peer reads on once what it has to say is written.
    full: AtomicBool,
}

impl Served {
    fn new(door: &Door, remote: &str, local: &str) -> Arc<Self> {
        Arc::new_cyclic(|weak: &Weak<Served>| {
            let bell: Weak<dyn Bell> = weak.clone();
            Served {
                connection: Connection::new(door.broker.accept(door.protocol, remote, local, bell)),
                broker: door.broker.clone(),
                open: door.open.clone(),
                key: door.open.last_key.fetch_add(1, Ordering::Relaxed),
                full: AtomicBool::new(false),
            }
        })
    }

    fn bytes(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let connection = &self.connection;
        (load(&connection.bytes_in), load(&connection.bytes_out))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Also where a panic in the session has ended the task.
        lock(&self.open.peers).remove(&self.key);
        let (read, written) = self.bytes();
        self.broker.leave(read, written);
    }
}

impl Bell for Served {
    fn ring(&self) {
        self.connection.signal.queued(true, true);
    }
}

impl Hub for Served {
    type Session = dyn Peer;

    const PEER: &str = "client";
    // Few: those who publish must not be far ahead of those who receive.
    const ROUNDS: usize = 2;
    // Whoever it is meant for would have it late.
    const GATHERS: bool = false;

    fn connection(&self) -> &Connection<dyn Peer> {
        &self.connection
    }

    fn events(&self) -> Flow {
        Flow {
            full: self.full.load(Ordering::Relaxed),
        }
    }

    fn is_full(events: &Flow) -> bool {
        events.full
    }

    fn has_room(&self) -> bool {
        !self.full.load(Ordering::Relaxed)
    }

    fn deliver(self: &Arc<Self>, events: Flow) {
        self.full.store(events.full, Ordering::Relaxed);
    }

    fn feed(&self, _: &mut (dyn Peer + 'static), _: Instant, _: &mut Flow) {}

    fn has_more(&self) -> bool {
        false
    }

    fn relax(&self) {}

    fn cut_off(&self) -> Option<Instant> {
        None
    }

    fn abandoned(&self) -> bool {
        self.open.closed.load(Ordering::Relaxed)
    }
}
