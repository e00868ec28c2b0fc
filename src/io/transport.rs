//! A byte stream to a peer: TCP, a unix socket, or anything that wraps one (TLS, WebSocket).

use bytes::BytesMut;
use std::future::Future;
use std::io;
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A socket without a layer above it. It may be written from any thread, which saves a Lua thread
/// that is about to block the hop over the runtime thread.
#[derive(Debug)]
pub enum Plain {
    /// TCP, with Nagle's algorithm off.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl Plain {
    /// Writes what the kernel takes at once.
    ///
    /// # Errors
    /// `WouldBlock`, or what ended the connection.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Plain::Tcp(socket) => socket.try_write(bytes),
            Plain::Unix(socket) => socket.try_write(bytes),
        }
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Plain::Tcp(socket) => socket.try_read_buf(buffer),
            Plain::Unix(socket) => socket.try_read_buf(buffer),
        }
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Plain::Tcp(socket) => socket.poll_read_ready(cx),
            Plain::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Plain::Tcp(socket) => socket.poll_write_ready(cx),
            Plain::Unix(socket) => socket.poll_write_ready(cx),
        }
    }
}

/// What a layered stream must be able to do.
pub trait Layered: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Layered for T {}

/// A connected stream.
pub enum Stream {
    /// A bare socket.
    Plain(Arc<Plain>),
    /// A socket with layers above it.
    Layered(Box<dyn Layered>),
}

impl Stream {
    /// The bare socket, where there is no layer that must see the bytes.
    pub fn plain(&self) -> Option<&Arc<Plain>> {
        match self {
            Stream::Plain(socket) => Some(socket),
            Stream::Layered(_) => None,
        }
    }

    /// Appends what has arrived to `buffer`, as far as its spare room goes; 0: the peer has closed.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(socket) => loop {
                ready!(socket.poll_read_ready(cx))?;
                match socket.try_read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return Poll::Ready(done),
                }
            },
            Stream::Layered(stream) => pin!(stream.read_buf(buffer)).poll(cx),
        }
    }

    /// Writes some of `bytes`.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(socket) => loop {
                ready!(socket.poll_write_ready(cx))?;
                match socket.try_write(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return Poll::Ready(done),
                }
            },
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
