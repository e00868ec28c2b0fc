//! A socket that tungstenite can use: it wants one that blocks never, and does not know tasks.

use super::super::transport::Layered;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

/// A socket as tungstenite wants it: it blocks never, and wakes who called last. One task reads
/// and writes, so there is one to wake.
pub(in super::super) struct Wire {
    inner: Box<dyn Layered>,
    waker: Waker,
}

impl Wire {
    /// Over a socket on which the handshake is made.
    pub(in super::super) fn new(inner: Box<dyn Layered>) -> Self {
        Wire {
            inner,
            waker: Waker::noop().clone(),
        }
    }

    /// Says whose task is to be woken from now on.
    pub(in super::super) fn wakes(&mut self, cx: &Context<'_>) {
        self.waker.clone_from(cx.waker());
    }

    /// Closes the socket for writing, or takes the steps that the layer below has for that.
    pub(in super::super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_shutdown(cx)
    }

    fn poll<T>(
        &mut self,
        work: impl FnOnce(Pin<&mut dyn Layered>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        match work(
            Pin::new(&mut *self.inner),
            &mut Context::from_waker(&self.waker),
        ) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut room = ReadBuf::new(room);
        self.poll(|inner, cx| inner.poll_read(cx, &mut room))?;
        Ok(room.filled().len())
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.poll(|inner, cx| inner.poll_write(cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.poll(|inner, cx| inner.poll_flush(cx))
    }
}
