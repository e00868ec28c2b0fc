//! Wakes WebSockets that another thread has something for. To wake a task from outside of the
//! runtime costs a system call each; a burst of messages to a thousand browsers costs one here.

use super::socket::Socket;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// See the module.
#[derive(Default)]
pub(super) struct Courier {
    waiting: Mutex<Vec<Arc<Socket>>>,
    notify: Notify,
}

impl Courier {
    /// Has the socket's task woken soon.
    pub(super) fn take(&self, socket: Arc<Socket>) {
        let first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(socket);
            waiting.len() == 1
        };
        if first {
            self.notify.notify_one();
        }
    }

    /// Works until it is dropped.
    pub(super) async fn run(self: Arc<Self>) {
        let mut round = Vec::new();
        loop {
            self.notify.notified().await;
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut *waiting, &mut round);
            }
            for socket in round.drain(..) {
                socket.wake();
            }
        }
    }
}
