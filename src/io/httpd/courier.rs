//! Wakes WebSockets that another thread has something for. To wake a task from outside of the
//! runtime costs a system call each; a burst of messages to a thousand browsers costs one here.
//!
//! What a browser is sent a second time in one turn of the Lua program waits for the turn's end, so
//! that it goes to the kernel together with what follows; where nobody tells of the end, for
//! [`PATIENCE`].

use super::super::waiter::Deferred;
use super::socket::Socket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;

/// A turn is seldom longer; where nobody tells, a second message is late by so much.
const PATIENCE: Duration = Duration::from_millis(10);

/// Who is to be woken.
#[derive(Default)]
struct Waiting {
    now: Vec<Arc<Socket>>,
    later: Vec<Arc<Socket>>,
}

/// See the module.
#[derive(Default)]
pub struct Courier {
    waiting: Mutex<Waiting>,
    notify: Notify,
}

impl Courier {
    /// Has the socket's task woken soon.
    pub(super) fn take(&self, socket: Arc<Socket>) {
        let first = {
            let mut waiting = self.waiting();
            waiting.now.push(socket);
            waiting.now.len() == 1
        };
        if first {
            self.notify.notify_one();
        }
    }

    /// Has it woken at the end of the turn; true: it is the first of them.
    pub(super) fn take_later(&self, socket: Arc<Socket>) -> bool {
        let first = {
            let mut waiting = self.waiting();
            waiting.later.push(socket);
            waiting.later.len() == 1
        };
        if first {
            self.notify.notify_one();
        }
        first
    }

    /// Works until it is dropped.
    pub(super) async fn run(self: Arc<Self>) {
        let mut round = Vec::new();
        loop {
            self.notify.notified().await;
            let mut since = Instant::now();
            loop {
                std::mem::swap(&mut self.waiting().now, &mut round);
                for socket in round.drain(..) {
                    socket.wake();
                }
                if self.waiting().later.is_empty() {
                    break;
                }
                let left = PATIENCE.saturating_sub(since.elapsed());
                if left.is_zero() || timeout(left, self.notify.notified()).await.is_err() {
                    self.turn_over();
                    since = Instant::now();
                }
            }
        }
    }

    /// What waited for the end of the turn waits no more.
    fn turn_over(&self) {
        let waiting = &mut *self.waiting();
        waiting.now.append(&mut waiting.later);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No call under this lock leaves it half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deferred for Courier {
    fn push(&self) {
        self.turn_over();
        self.notify.notify_one();
    }
}
