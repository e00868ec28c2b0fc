//! The Lua side of a port: one a Lua state and process.

use super::raw;
use crate::error::Code;
use crate::io::link::Link;
use crate::io::port::{Delivery, Port};
use crate::io::transport::Plain;
use crate::io::wakeup::{Woken, MAX_OTHERS};
use crate::message::{Meta, Record, State, Value};
use mlua::prelude::{Lua, LuaFunction, LuaResult};
use mlua::{AnyUserData, UserData, UserDataFields, UserDataMethods};
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the registry of a Lua state keeps its port.
const REGISTRY_KEY: &str = "MQ.port";

/// A client that was active so recently is likely to be so again at once.
const HOT: Duration = Duration::from_millis(2);

/// With more clients than this, looking through them costs more than it saves.
const FEW: usize = 32;

/// After so many waits in a row that ended with something for it, the Lua thread takes over the
/// watch for a while.
const STREAK: u32 = 8;

/// A client that has begun to connect, and how lively it is.
struct Attached {
    link: Arc<Link>,
    /// When it last wrote or received something.
    active: Option<Instant>,
    /// The bytes that it had received then.
    received: u64,
    streak: u32,
}

/// What the Lua thread keeps of a port: the events it has taken, its place in them, and the links
/// with something to write.
pub(super) struct Consumer {
    port: Arc<Port>,
    pulling: RefCell<Pulling>,
    dirty: RefCell<Vec<Arc<Link>>>,
    /// Counts how often `dirty` was worked off, so that a client knows whether it is in it.
    epoch: Cell<u64>,
    attached: RefCell<Vec<Attached>>,
    /// A pulled event still points into the arena. Lua may run finalizers while it is pushed, and
    /// these may want the next one.
    busy: Cell<bool>,
    clients: Cell<u32>,
}

#[derive(Default)]
struct Pulling {
    delivery: Delivery,
    record: usize,
    byte: usize,
}

/// An event that points into what the consumer holds; good until the next call of
/// [`Consumer::pull`].
#[derive(Clone, Copy)]
pub(super) enum Pulled {
    Nothing,
    Message {
        key: u64,
        source: *const [u8],
        payload: *const [u8],
        meta: Option<*const Meta>,
    },
    Answered {
        ticket: u64,
        detail: *const Value,
    },
    Failed {
        ticket: u64,
        code: Code,
        text: *const [u8],
        count: Option<u64>,
    },
    State {
        client: u32,
        state: State,
        code: Option<Code>,
        text: *const [u8],
        number: f64,
    },
}

/// Remembers who has received something, and asks for the watch over a socket that is busy.
fn note_activity(attached: &mut [Attached]) {
    if attached.len() > FEW {
        return;
    }
    let now = Instant::now();
    for each in attached {
        let received = each.link.bytes_in();
        if received != each.received {
            each.received = received;
            let again = each.active.is_some_and(|then| now - then < HOT);
            each.streak = if again {
                each.streak.saturating_add(1)
            } else {
                0
            };
            each.active = Some(now);
            if each.streak >= STREAK {
                each.link.want_lease();
            }
        }
    }
}

impl Consumer {
    fn new(port: Arc<Port>) -> Self {
        Consumer {
            port,
            pulling: RefCell::default(),
            dirty: RefCell::default(),
            epoch: Cell::new(1),
            attached: RefCell::default(),
            busy: Cell::new(false),
            clients: Cell::new(0),
        }
    }

    /// The next event. The caller pushes it, then calls [`Consumer::pushed`].
    #[inline]
    pub(super) fn pull(&self) -> Pulled {
        if self.busy.get() || !self.port.is_ours() {
            return Pulled::Nothing;
        }
        let mut pulling = self.pulling.borrow_mut();
        let pulling = &mut *pulling;
        if pulling.record == pulling.delivery.batch.records().len() {
            (pulling.record, pulling.byte) = (0, 0);
            if !self.port.take(&mut pulling.delivery) {
                return Pulled::Nothing;
            }
        }
        let batch = &pulling.delivery.batch;
        let byte = &mut pulling.byte;
        let mut cut = |len: u32| {
            let start = *byte;
            *byte += len as usize;
            // invariant: the records measure out the arena
            batch.bytes().get(start..*byte).unwrap_or_default() as *const [u8]
        };
        let pulled = match &batch.records()[pulling.record] {
            Record::Message {
                key,
                source,
                payload,
            } => Pulled::Message {
                key: *key,
                source: cut(*source),
                payload: cut(*payload),
                meta: None,
            },
            Record::RichMessage {
                key,
                source,
                payload,
                meta,
            } => Pulled::Message {
                key: *key,
                source: cut(*source),
                payload: cut(*payload),
                meta: Some(&raw const **meta),
            },
            Record::Answered { ticket, detail } => Pulled::Answered {
                ticket: *ticket,
                detail,
            },
            Record::Failed {
                ticket,
                code,
                text,
                count,
            } => Pulled::Failed {
                ticket: *ticket,
                code: *code,
                text: cut(*text),
                count: *count,
            },
            Record::State {
                client,
                state,
                code,
                text,
                number,
            } => Pulled::State {
                client: *client,
                state: *state,
                code: *code,
                text: cut(*text),
                number: *number,
            },
        };
        pulling.record += 1;
        self.busy.set(true);
        pulled
    }

    /// The pulled event is no longer needed.
    #[inline]
    pub(super) fn pushed(&self) {
        self.busy.set(false);
    }

    /// `link` has something to write, for which the pump need not be woken if the Lua thread is
    /// about to block. `epoch` is the client's memory of the last time it said so.
    #[inline]
    pub(super) fn touch(&self, link: &Arc<Link>, epoch: &Cell<u64>) {
        if epoch.replace(self.epoch.get()) != self.epoch.get() {
            self.dirty.borrow_mut().push(link.clone());
        }
    }

    /// A client has begun to connect.
    pub(super) fn attach(&self, link: &Arc<Link>) {
        let mut attached = self.attached.borrow_mut();
        attached.retain(|each| !each.link.has_ended());
        attached.push(Attached {
            link: link.clone(),
            active: None,
            received: 0,
            streak: 0,
        });
    }

    /// A client is gone.
    pub(super) fn detach(&self, link: &Arc<Link>) {
        if self.port.is_ours() {
            self.attached
                .borrow_mut()
                .retain(|each| !Arc::ptr_eq(&each.link, link));
        }
    }

    /// Writes what the clients have to write, as far as the kernel takes it now.
    fn push(&self) {
        if !self.port.is_ours() {
            return;
        }
        self.epoch.set(self.epoch.get() + 1);
        let mut attached = self.attached.borrow_mut();
        let few = attached.len() <= FEW;
        for link in self.dirty.borrow_mut().drain(..) {
            if link.push() && few {
                let written = attached
                    .iter_mut()
                    .find(|each| Arc::ptr_eq(&each.link, &link));
                if let Some(each) = written {
                    each.active = Some(Instant::now());
                }
            }
        }
    }

    fn wait(&self, seconds: Option<f64>) -> bool {
        // An error raised while an event was pushed may have left it set.
        self.busy.set(false);
        if !self.port.is_ours() {
            return false;
        }
        self.push();
        {
            let pulling = self.pulling.borrow();
            if pulling.record < pulling.delivery.batch.records().len() {
                return true;
            }
        }
        let limit = seconds
            .filter(|seconds| seconds.is_finite())
            .map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1.0e9)));
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match self.wait_once(left) {
                Woken::Wakeup => return true,
                Woken::Late => return false,
                Woken::Others(_) => {}
            }
        }
    }

    /// Waits for events, and for the sockets of clients that have just been active: their answers
    /// are read right here, without the hop over the runtime thread.
    fn wait_once(&self, limit: Option<Duration>) -> Woken {
        if !self.port.park() {
            return Woken::Wakeup;
        }
        let mut attached = self.attached.borrow_mut();
        let now = Instant::now();
        let mut hot: [Option<(usize, Arc<Plain>)>; MAX_OTHERS] = Default::default();
        let mut count = 0;
        if attached.len() <= FEW {
            for (at, each) in attached.iter().enumerate() {
                let recent = count < MAX_OTHERS && each.active.is_some_and(|then| now - then < HOT);
                if let Some(socket) = recent.then(|| each.link.socket()).flatten() {
                    hot[count] = Some((at, socket));
                    count += 1;
                }
            }
        }
        // Filled up with the port's own descriptor, which `count` cuts off again.
        let fds: [BorrowedFd<'_>; MAX_OTHERS] = std::array::from_fn(|at| match &hot[at] {
            Some((_, socket)) => socket.as_fd(),
            None => self.port.as_fd(),
        });
        let mut woken = self.port.wait(&fds[..count], limit);
        if let Woken::Others(mask) = woken {
            self.port.unpark();
            for (bit, (at, _)) in hot.iter().flatten().enumerate() {
                if mask >> bit & 1 == 1 {
                    // Where the pump was quicker, it is delivering what it has read.
                    attached[*at].link.serve_here();
                }
            }
            if self.port.unpark() {
                woken = Woken::Wakeup;
            }
        }
        if woken != Woken::Late {
            note_activity(&mut attached);
        }
        woken
    }

    pub(super) fn port(&self) -> &Arc<Port> {
        &self.port
    }

    pub(super) fn next_client_id(&self) -> u32 {
        self.clients.set(self.clients.get() + 1);
        self.clients.get()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.port.is_ours() {
            self.push();
            self.port.close();
        } else {
            // The parent's: its destructors would take its locks and close its sockets.
            std::mem::forget(std::mem::take(&mut self.pulling));
            std::mem::forget(std::mem::take(&mut self.dirty));
            std::mem::forget(std::mem::take(&mut self.attached));
            std::mem::forget(self.port.clone());
        }
    }
}

/// The userdata that Lua sees as a port.
struct Handle {
    consumer: Rc<Consumer>,
    next: LuaFunction,
}

impl UserData for Handle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "MQ.port");
        fields.add_field_method_get("next", |_, this| Ok(this.next.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("wait", |_, this, seconds: Option<f64>| {
            Ok(this.consumer.wait(seconds))
        });
        methods.add_method("push", |_, this, ()| {
            this.consumer.push();
            Ok(())
        });
        methods.add_method("fd", |_, this, ()| Ok(this.consumer.port.fd()));
    }
}

/// The port of this Lua state in this process, made at the first call.
pub(super) fn current(lua: &Lua) -> LuaResult<AnyUserData> {
    if let Ok(known) = lua.named_registry_value::<AnyUserData>(REGISTRY_KEY) {
        if known.borrow::<Handle>()?.consumer.port.is_ours() {
            return Ok(known);
        }
    }
    let consumer = Rc::new(Consumer::new(Arc::new(Port::new()?)));
    let next = raw::next_function(lua, consumer.clone())?;
    let port = lua.create_userdata(Handle { consumer, next })?;
    lua.set_named_registry_value(REGISTRY_KEY, &port)?;
    Ok(port)
}

/// The consumer behind [`current`].
pub(super) fn consumer(lua: &Lua) -> LuaResult<Rc<Consumer>> {
    let port = current(lua)?;
    let handle = port.borrow::<Handle>()?;
    Ok(handle.consumer.clone())
}
