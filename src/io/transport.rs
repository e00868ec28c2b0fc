//! A byte stream to a peer: TCP, a unix socket, or anything that wraps one (TLS, WebSocket).

use super::sys;
use crate::error::Code;
use bytes::BytesMut;
use std::cell::RefCell;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest};

/// Bytes read at a time.
pub(super) const READ: usize = 64 * 1024;

thread_local! {
    /// Where the kernel puts what was read: one a thread, so that a connection needs no room for
    /// what may come.
    static LANDING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// A socket without a layer above it, not blocking. Any thread may read and write it, which saves
/// a Lua thread that is about to block the hop over the runtime thread.
#[derive(Debug)]
pub enum Plain {
    /// TCP, with Nagle's algorithm off.
    Tcp(std::net::TcpStream),
    /// A unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Plain {
    /// Writes what the kernel takes at once.
    ///
    /// # Errors
    /// `WouldBlock`, or what ended the connection.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Plain::Tcp(socket) => (&*socket).write(bytes),
            Plain::Unix(socket) => (&*socket).write(bytes),
        }
    }

    /// Tells the peer at once that what was read has arrived, where the kernel would wait for
    /// something to send with it; with `once`, of what comes next it does so again.
    pub fn acknowledge(&self, once: bool) {
        if let Plain::Tcp(socket) = self {
            sys::acknowledge(socket.as_fd(), once);
        }
    }

    /// Whether a low water mark spares wake-ups: a unix socket of Linux wakes for every byte, whatever it was told.
    pub fn heeds_low_water(&self) -> bool {
        cfg!(any(target_os = "linux", target_os = "android")) && matches!(self, Plain::Tcp(_))
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn shut(&self) -> io::Result<()> {
        match self {
            Plain::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Plain::Unix(socket) => socket.shutdown(Shutdown::Write),
        }
    }

    /// Appends what has arrived to `buffer`; 0: the peer has closed.
    ///
    /// # Errors
    /// `WouldBlock`, or what ended the connection.
    pub fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        LANDING.with_borrow_mut(|landing| {
            let read = match self {
                Plain::Tcp(socket) => (&*socket).read(landing),
                Plain::Unix(socket) => (&*socket).read(landing),
            }?;
            buffer.extend_from_slice(landing.get(..read).unwrap_or_default());
            Ok(read)
        })
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Plain::Tcp(socket) => socket.as_fd(),
            Plain::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Plain {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// What the runtime watches a bare socket for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// For all that happens.
    All,
    /// For room to write; reads are never ready.
    Writes,
    /// For nothing: reads are never ready, and writes that block are not either.
    Nothing,
}

/// A bare socket, and the runtime's watch over it.
pub struct Watched {
    socket: Arc<Plain>,
    watch: Watch,
    /// So many bytes make it readable.
    low_water: u16,
    registered: Option<AsyncFd<Arc<Plain>>>,
}

impl Watched {
    fn new(socket: Plain) -> io::Result<Self> {
        let mut watched = Watched {
            socket: Arc::new(socket),
            watch: Watch::Nothing,
            low_water: 1,
            registered: None,
        };
        watched.set_watch(Watch::All)?;
        Ok(watched)
    }

    /// Changes what is watched for; what has come before is noticed. True: it is a change.
    ///
    /// # Errors
    /// The process has no memory or descriptor left.
    pub fn set_watch(&mut self, watch: Watch) -> io::Result<bool> {
        if watch == self.watch {
            return Ok(false);
        }
        // The old registration goes first: a descriptor is registered once.
        self.registered = None;
        self.registered = match watch {
            Watch::All => Some(Interest::READABLE | Interest::WRITABLE),
            Watch::Writes => Some(Interest::WRITABLE),
            Watch::Nothing => None,
        }
        .map(|interest| sys::watch(self.socket.clone(), interest))
        .transpose()?;
        self.watch = watch;
        Ok(true)
    }

    /// From how many bytes on it counts as readable.
    pub fn set_low_water(&mut self, bytes: u16) {
        if bytes != self.low_water {
            self.low_water = bytes;
            sys::set_receive_low_water(self.socket.as_fd(), bytes);
        }
    }

    /// See [`Plain::acknowledge`].
    pub fn acknowledge(&self, once: bool) {
        self.socket.acknowledge(once);
    }

    /// Reads what is there, watched or not.
    pub fn read_now(&self, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self.socket.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            done => Poll::Ready(done),
        }
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let (Watch::All, Some(watch)) = (self.watch, &self.registered) else {
            return Poll::Pending;
        };
        loop {
            let mut ready = ready!(watch.poll_read_ready(cx))?;
            let outcome = self.socket.try_read(buffer);
            // Less than was asked for means that there is no more: the kernel tells when there is.
            let emptied = matches!(outcome, Ok(read) if read < READ);
            if let Some(outcome) = settle(&mut ready, outcome, emptied) {
                return Poll::Ready(outcome);
            }
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(watch) = &self.registered else {
            return match self.socket.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                done => Poll::Ready(done),
            };
        };
        loop {
            let mut ready = ready!(watch.poll_write_ready(cx))?;
            let outcome = self.socket.try_write(bytes);
            if let Some(outcome) = settle(&mut ready, outcome, false) {
                return Poll::Ready(outcome);
            }
        }
    }
}

/// None: the readiness was a false one; ask again.
fn settle(
    ready: &mut AsyncFdReadyGuard<'_, Arc<Plain>>,
    outcome: io::Result<usize>,
    exhausted: bool,
) -> Option<io::Result<usize>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            ready.clear_ready();
            None
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
        outcome => {
            if exhausted {
                ready.clear_ready();
            }
            Some(outcome)
        }
    }
}

/// What a layered stream must be able to do.
pub trait Layered: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Layered for T {}

/// A connected stream.
pub enum Stream {
    /// A bare socket.
    Plain(Watched),
    /// A socket with layers above it.
    Layered(Box<dyn Layered>),
}

impl Stream {
    /// A stream over a connected socket that does not block.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub fn plain(socket: Plain) -> io::Result<Self> {
        Watched::new(socket).map(Stream::Plain)
    }

    /// The bare socket, where there is no layer that must see the bytes.
    pub fn socket(&self) -> Option<&Arc<Plain>> {
        match self {
            Stream::Plain(watched) => Some(&watched.socket),
            Stream::Layered(_) => None,
        }
    }

    /// Appends what has arrived to `buffer`; 0: the peer has closed.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(watched) => watched.poll_read(cx, buffer),
            Stream::Layered(stream) => {
                buffer.reserve(READ);
                pin!(stream.read_buf(buffer)).poll(cx)
            }
        }
    }

    /// Writes some of `bytes`.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(watched) => watched.poll_write(cx, bytes),
            Stream::Layered(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Pushes on what a layer has buffered.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Layered(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Says good-bye, where the layers have a word for it.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Layered(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Whether a layer or the network is to blame. A server may refuse a certificate long after it
/// has taken the handshake (TLS 1.3, RFC 8446, section 4.4.2.4).
pub(super) fn code_of(error: &io::Error) -> Code {
    match error.get_ref() {
        #[cfg(feature = "tls")]
        Some(inner) if inner.is::<rustls::Error>() => Code::Tls,
        #[cfg(feature = "websocket")]
        Some(inner) if inner.is::<super::websocket::Violation>() => Code::Protocol,
        _ => Code::Lost,
    }
}
