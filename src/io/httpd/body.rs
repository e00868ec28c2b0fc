//! Bodies: a request's, collected within its limits; a response's, from memory or from a file.

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::StatusCode;
use std::fs::File;
use std::future::{poll_fn, Future};
use std::io::{self, Read};
use std::pin::{pin, Pin};
use std::task::{ready, Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Bytes of a file read at a time; a smaller file is read whole.
pub(super) const CHUNK: usize = 64 * 1024;

/// The whole body of a request.
///
/// # Errors
/// The status to answer: 413 over `max` bytes, 408 after `limit`, 400 where it breaks off.
pub(super) async fn collect(
    body: Incoming,
    max: usize,
    limit: Duration,
) -> Result<Bytes, StatusCode> {
    if body.size_hint().lower() > max as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let whole = async {
        let mut body = pin!(body);
        let mut bytes = BytesMut::new();
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > max {
                    return Err(StatusCode::PAYLOAD_TOO_LARGE);
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.freeze())
    };
    timeout(limit, whole)
        .await
        .unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
}

/// The body of a response.
pub(super) enum Reply {
    /// From memory.
    Whole(Bytes),
    /// From a file, as the browser takes it.
    File(Reading),
}

/// A file that is read by the runtime's other threads, since a disk makes its reader wait.
pub(super) struct Reading {
    /// Here between two chunks.
    file: Option<File>,
    /// The bytes to come: no more even where the file has grown.
    left: u64,
    chunk: Option<JoinHandle<(File, io::Result<Bytes>)>>,
}

impl Reading {
    /// The next `length` bytes of the file.
    pub(super) fn new(file: File, length: u64) -> Self {
        Reading {
            file: Some(file),
            left: length,
            chunk: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let want = self.left.min(CHUNK as u64);
        if let Some(file) = self.file.take() {
            self.chunk = Some(Handle::current().spawn_blocking(move || {
                let chunk = read(&file, want);
                (file, chunk)
            }));
        }
        let Some(chunk) = &mut self.chunk else {
            return Poll::Ready(Some(Err(io::ErrorKind::Other.into())));
        };
        let (file, bytes) = ready!(Pin::new(chunk).poll(cx)).map_err(io::Error::other)?;
        self.chunk = None;
        self.file = Some(file);
        let bytes = bytes?;
        if bytes.is_empty() {
            // It has shrunk: the browser must not take what it has for the whole.
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        self.left -= bytes.len() as u64;
        Poll::Ready(Some(Ok(bytes)))
    }
}

/// Up to `want` bytes from where the file stands; none: its end.
pub(super) fn read(file: &File, want: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(want as usize);
    file.take(want).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Reply::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Reply::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Reply::File(reading) => reading
                .poll(cx)
                .map(|next| next.map(|r| r.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Reply::Whole(bytes) => bytes.len() as u64,
            Reply::File(reading) => reading.left,
        })
    }
}
