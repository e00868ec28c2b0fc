//! A WebSocket as both threads hold it: what the Lua thread wants sent waits here, bounded, for the
//! task that owns the connection ([`super::conversation`]).

use super::super::port::{Backlog, Port, Producer};
use super::courier::Courier;
use crate::error::{Code, Error};
use crate::message::{Batch, Key, Meta, Value};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::frame::{CloseFrame, Utf8Bytes};
use tungstenite::Message;

/// What a message costs beyond its payload while it waits.
const OVERHEAD: usize = 64;

/// So much is worth a system call of its own.
const PORTION: usize = 16 * 1024;

/// A control frame carries so many bytes (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

/// What one WebSocket may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a message from the browser.
    pub max_message: usize,
    /// Bytes that may wait for a slow browser.
    pub max_backlog: usize,
    /// Messages from the browser that Lua has not dealt with; beyond that it is not read.
    pub max_pending: usize,
    /// Without a sign of life for so long, the browser counts as gone. None: for ever.
    pub idle: Option<Duration>,
    /// After so much silence it is asked for a sign of life.
    pub ping: Option<Duration>,
}

#[derive(Default)]
struct Outbox {
    queue: VecDeque<Message>,
    /// What waits, here and with the task.
    bytes: usize,
    /// The courier has been told ...
    announced: bool,
    /// ... to hurry.
    hurried: bool,
    /// A good-bye is queued: nothing follows it.
    closing: bool,
    /// There was more than the bound.
    overrun: bool,
    /// The connection is gone, or to be dropped.
    ended: bool,
    waker: Option<Waker>,
}

/// See the module.
pub struct Socket {
    port: Arc<Port>,
    key: Key,
    pub(super) bounds: Bounds,
    courier: Arc<Courier>,
    backlog: Backlog,
    /// The task has stopped reading until Lua has taken something.
    paused: AtomicBool,
    outbox: Mutex<Outbox>,
}

/// What the task finds in the outbox.
pub(super) enum Errand {
    Nothing,
    /// Some messages, in the vessel given.
    Messages,
    /// The browser is too slow.
    Overrun,
    /// Nobody is interested any more.
    Abandoned,
}

impl Socket {
    pub(super) fn new(port: Arc<Port>, key: Key, bounds: Bounds, courier: Arc<Courier>) -> Self {
        Socket {
            port,
            key,
            bounds,
            courier,
            backlog: Backlog::default(),
            paused: AtomicBool::new(false),
            outbox: Mutex::default(),
        }
    }

    /// A message as [`Socket::send`] takes it; to send it to many, clone it.
    ///
    /// # Errors
    /// A text that is not UTF-8 (RFC 6455, section 8.1): a browser would end the connection.
    pub fn message(data: &[u8], binary: bool) -> Result<Message, Error> {
        let data = Bytes::copy_from_slice(data);
        if binary {
            return Ok(Message::Binary(data));
        }
        Utf8Bytes::try_from(data).map(Message::Text).map_err(|_| {
            Error::invalid(
                "a text message must be UTF-8; send other bytes as binary: ws:send(data, true)",
            )
        })
    }

    /// A ping with `data`.
    ///
    /// # Errors
    /// More than 125 bytes.
    pub fn ping(data: &[u8]) -> Result<Message, Error> {
        if data.len() > MAX_CONTROL {
            let text = format!(
                "a ping carries {MAX_CONTROL} bytes at most, not {}",
                data.len()
            );
            return Err(Error::invalid(text));
        }
        Ok(Message::Ping(Bytes::copy_from_slice(data)))
    }

    /// Queues a message; `again`: not the first one in this turn of the Lua program. True: the
    /// program is to push [`Socket::courier`] at the turn's end.
    ///
    /// # Errors
    /// `Closed`; `Full` where the browser does not keep up: its connection is then ended.
    pub fn send(self: &Arc<Self>, message: Message, again: bool) -> Result<bool, Error> {
        let max = self.bounds.max_backlog;
        let (announced, overrun, waits) = {
            let mut outbox = self.outbox();
            if outbox.ended || outbox.closing || outbox.overrun {
                return Err(Error::new(Code::Closed, "the WebSocket is closed"));
            }
            let size = message.len() + OVERHEAD;
            // One message of any size has room.
            outbox.overrun = outbox.bytes > 0 && outbox.bytes + size > max;
            if outbox.overrun {
                outbox.queue = VecDeque::new();
            } else {
                outbox.bytes += size;
                outbox.queue.push_back(message);
            }
            // Enough to go by itself.
            let waits = again && outbox.bytes < PORTION;
            let announced = match waits {
                true => std::mem::replace(&mut outbox.announced, true),
                // In a hurry now, where it was not before.
                false => std::mem::replace(&mut outbox.hurried, true),
            };
            outbox.announced = true;
            (announced, outbox.overrun, waits)
        };
        let mut is_first = false;
        if waits && !announced {
            is_first = self.courier.take_later(self.clone());
        } else if !announced || overrun {
            self.courier.take(self.clone());
        }
        if overrun {
            let text = format!("the browser is too slow: {max} bytes wait for it; see max_backlog");
            return Err(Error::new(Code::Full, text));
        }
        Ok(is_first)
    }

    /// Who wakes its task.
    pub fn courier(&self) -> &Arc<Courier> {
        &self.courier
    }

    /// Queues a good-bye behind all messages.
    ///
    /// # Errors
    /// `Closed`; `Invalid` for a code that no program may send (RFC 6455, section 7.4.1), or a
    /// reason that is longer than 123 bytes or not UTF-8.
    pub fn close(self: &Arc<Self>, code: u16, reason: &[u8]) -> Result<(), Error> {
        let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        if !allowed {
            let text = format!("{code} cannot close a WebSocket; use 1000, or 4000 to 4999");
            return Err(Error::invalid(text));
        }
        let reason = Utf8Bytes::try_from(Bytes::copy_from_slice(reason))
            .ok()
            .filter(|reason| reason.len() <= MAX_CONTROL - 2)
            .ok_or_else(|| Error::invalid("a reason must be UTF-8 of at most 123 bytes"))?;
        {
            let mut outbox = self.outbox();
            if outbox.ended || outbox.closing {
                return Err(Error::new(Code::Closed, "the WebSocket is closed"));
            }
            outbox.closing = true;
            let code = CloseCode::from(code);
            outbox
                .queue
                .push_back(Message::Close(Some(CloseFrame { code, reason })));
        }
        self.courier.take(self.clone());
        Ok(())
    }

    /// Drops the connection; no event follows.
    pub fn abandon(self: &Arc<Self>) {
        {
            let mut outbox = self.outbox();
            outbox.ended = true;
            outbox.queue = VecDeque::new();
        }
        self.courier.take(self.clone());
    }

    /// Says how many messages Lua holds in queues of its own.
    pub fn hold(self: &Arc<Self>, messages: usize) {
        self.backlog.hold(messages);
        self.resume();
    }

    fn resume(&self) {
        if self.paused.load(Ordering::SeqCst)
            && self.has_room()
            && self.paused.swap(false, Ordering::SeqCst)
        {
            self.wake();
        }
    }

    /// Whether Lua takes another message.
    pub(super) fn has_room(&self) -> bool {
        let max_bytes = self.bounds.max_message.saturating_mul(2);
        self.backlog.room(self.bounds.max_pending, max_bytes) > 0
    }

    /// Asks to be woken when there is room. False: there is by now.
    pub(super) fn pause(&self) -> bool {
        self.paused.store(true, Ordering::SeqCst);
        if self.has_room() {
            self.paused.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// Has the task of `cx` woken from now on.
    pub(super) fn register(&self, cx: &Context<'_>) {
        let mut outbox = self.outbox();
        match &mut outbox.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
    }

    /// Wakes the task.
    pub(super) fn wake(&self) {
        let waker = self.outbox().waker.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves what is to be sent into `messages`, which is empty.
    pub(super) fn fetch(&self, messages: &mut VecDeque<Message>) -> Errand {
        let mut outbox = self.outbox();
        outbox.announced = false;
        outbox.hurried = false;
        if outbox.ended {
            return Errand::Abandoned;
        } else if outbox.overrun {
            return Errand::Overrun;
        } else if outbox.queue.is_empty() {
            return Errand::Nothing;
        }
        std::mem::swap(&mut outbox.queue, messages);
        Errand::Messages
    }

    /// Whether its connection is to be dropped, because nobody wants it or because the browser is too
    /// slow.
    pub(super) fn is_doomed(&self) -> bool {
        let outbox = self.outbox();
        outbox.ended || outbox.overrun
    }

    /// The kernel, or as good as the kernel, has the message.
    pub(super) fn sent(&self, size: usize) {
        let mut outbox = self.outbox();
        outbox.bytes = outbox.bytes.saturating_sub(size + OVERHEAD);
    }

    /// Hands events to the Lua thread.
    pub(super) fn deliver(self: &Arc<Self>, batch: &mut Batch) {
        self.port.deliver(self, batch);
    }

    /// An event, for [`Socket::deliver`].
    pub(super) fn push(
        &self,
        batch: &mut Batch,
        flags: u32,
        source: &[u8],
        payload: &[u8],
        extra: Option<Value>,
    ) {
        let meta = Meta {
            flags,
            id: 0,
            headers: 0,
            packed: false,
            extra: extra.map(Box::new),
        };
        batch.push_rich(self.key, source, payload, meta);
    }

    /// Takes nothing more.
    pub(super) fn end(&self) {
        let mut outbox = self.outbox();
        *outbox = Outbox {
            ended: true,
            ..Outbox::default()
        };
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // No call under this lock leaves it half changed.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Producer for Socket {
    fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    fn consumed(&self) {
        self.resume();
    }
}
