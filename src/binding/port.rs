//! The Lua side of a port: one a Lua state and process.

use super::raw;
use crate::error::Code;
use crate::io::alarm;
use crate::io::doorbell::Doorbell;
use crate::io::port::{Delivery, Port};
use crate::io::waiter::Waiter;
use crate::message::{Meta, Record, State, Value};
use mlua::prelude::{Lua, LuaFunction, LuaResult, LuaValue};
use mlua::{AnyUserData, UserData, UserDataFields, UserDataMethods};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Rings after this many seconds at the latest; whoever set a later alarm sets it again.
const LONGEST_ALARM: f64 = 86_400.0;

/// Where the registry of a Lua state keeps its port.
const REGISTRY_KEY: &str = "MQ.port";

/// What the Lua thread keeps of a port: the events it has taken, and its place in them.
pub(super) struct Consumer {
    pub(super) waiter: Waiter,
    pulling: RefCell<Pulling>,
    /// A pulled event still points into the arena. Lua may run finalizers while it is pushed, and
    /// these may want the next one.
    busy: Cell<bool>,
    clients: Cell<u32>,
    /// Waits for the host to connect.
    doorbell: RefCell<Option<Doorbell>>,
}

#[derive(Default)]
struct Pulling {
    delivery: Delivery,
    record: usize,
    byte: usize,
    /// An event of it is being pushed while a finalizer pulls: it must stay where it is.
    pinned: bool,
    /// Used up while pinned.
    retired: Vec<Delivery>,
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
        /// Packed; see [`crate::message::unpack`].
        headers: *const [u8],
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
        detail: Option<*const Value>,
    },
}

impl Consumer {
    fn new(port: Arc<Port>) -> Self {
        Consumer {
            waiter: Waiter::new(port),
            pulling: RefCell::default(),
            busy: Cell::new(false),
            clients: Cell::new(0),
            doorbell: RefCell::default(),
        }
    }

    /// The next event. The caller pushes it, then calls [`Consumer::pushed`].
    #[inline]
    pub(super) fn pull(&self) -> Pulled {
        if self.busy.get() || !self.port().is_ours() {
            return Pulled::Nothing;
        }
        if !self.has_more() {
            return Pulled::Nothing;
        }
        let pulling = &mut *self.pulling.borrow_mut();
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
                headers: &[],
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
                meta: Some(meta),
                headers: cut(meta.headers),
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
                detail,
            } => Pulled::State {
                client: *client,
                state: *state,
                code: *code,
                text: cut(*text),
                number: *number,
                detail: detail.as_deref().map(|detail| detail as *const Value),
            },
        };
        pulling.record += 1;
        self.busy.set(true);
        pulled
    }

    /// Whether [`Consumer::pull`] has something. Where the last batch is used up, its producers
    /// are told so: one that waits for room would otherwise wait for ever, while we wait for it.
    fn has_more(&self) -> bool {
        let pulling = &mut *self.pulling.borrow_mut();
        if pulling.record < pulling.delivery.batch.records().len() {
            return true;
        }
        (pulling.record, pulling.byte) = (0, 0);
        if pulling.pinned {
            let mut used_up = std::mem::take(&mut pulling.delivery);
            used_up.release();
            pulling.retired.push(used_up);
        }
        self.port().take(&mut pulling.delivery)
    }

    /// Whether somebody is in the middle of pushing an event: a finalizer of its pulls this one.
    #[inline]
    pub(super) fn is_nested(&self) -> bool {
        self.pulling.borrow().pinned
    }

    /// The pulled event is no longer needed; `nested` as it was before the pull.
    #[inline]
    pub(super) fn pushed(&self, nested: bool) {
        self.busy.set(false);
        if nested {
            return;
        }
        let pulling = &mut *self.pulling.borrow_mut();
        if pulling.pinned {
            pulling.pinned = false;
            pulling.retired.clear();
        }
    }

    /// Blocks until [`Consumer::pull`] has something; see [`Waiter::wait`].
    /// `outermost`: no other loop waits below this one, so no event can be in the middle of being
    /// pushed.
    fn wait(&self, seconds: Option<f64>, outermost: bool) -> bool {
        let busy = self.busy.replace(false);
        if outermost {
            // What an error within a push has left behind.
            let pulling = &mut *self.pulling.borrow_mut();
            pulling.pinned = false;
            pulling.retired.clear();
        } else if busy {
            // A finalizer that ran while an event was pushed waits for an answer: it may pull, and
            // what is being pushed stays where it is until that is done.
            self.pulling.borrow_mut().pinned = true;
        }
        if self.port().is_ours() && self.has_more() {
            self.waiter.push();
            return true;
        }
        self.waiter.wait(seconds)
    }

    /// Where a host that can watch only what it has connected itself has to connect to.
    fn open_doorbell(&self) -> io::Result<String> {
        let doorbell = Doorbell::new()?;
        let path = doorbell.path().to_str().map(str::to_owned);
        *self.doorbell.borrow_mut() = Some(doorbell);
        path.ok_or_else(|| io::Error::other("the directory for temporary files has no proper name"))
    }

    /// The host has connected: it is told of events from now on.
    fn answer_doorbell(&self) -> io::Result<()> {
        let doorbell = self.doorbell.borrow_mut().take();
        let doorbell = doorbell.ok_or(io::ErrorKind::NotConnected)?;
        self.port().set_bell(doorbell.answer()?);
        Ok(())
    }

    pub(super) fn port(&self) -> &Arc<Port> {
        self.waiter.port()
    }

    pub(super) fn next_client_id(&self) -> u32 {
        self.clients.set(self.clients.get() + 1);
        self.clients.get()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if !self.port().is_ours() {
            // The parent's: its destructors would take its locks and close its sockets.
            std::mem::forget(std::mem::take(&mut self.pulling));
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
        methods.add_method(
            "wait",
            |_, this, (seconds, outermost): (_, Option<bool>)| {
                Ok(this.consumer.wait(seconds, outermost.unwrap_or(false)))
            },
        );
        methods.add_method("push", |_, this, ()| {
            this.consumer.waiter.push();
            Ok(())
        });
        methods.add_method("fd", |_, this, ()| Ok(this.consumer.port().fd()));
        // Makes the descriptor readable until `hush`: at once, or after so many seconds.
        methods.add_method("ring", |_, this, seconds: Option<f64>| {
            let port = this.consumer.port();
            if !port.is_ours() {
                return Ok(());
            }
            match seconds.filter(|seconds| *seconds > 0.0) {
                None => port.ring(),
                Some(seconds) => {
                    alarm::set(port, Duration::from_secs_f64(seconds.min(LONGEST_ALARM)))?;
                }
            }
            Ok(())
        });
        // For hosts that can watch only the sockets that they have connected themselves: the path of one, or nil, err.
        methods.add_method("doorbell", |_, this, ()| {
            Ok(match this.consumer.open_doorbell() {
                Ok(path) => (Some(path), None),
                Err(error) => (None, Some(error.to_string())),
            })
        });
        // The host has connected to it: true, or nil, err. A byte comes each time that the descriptor becomes readable.
        methods.add_method("answer", |_, this, ()| {
            Ok(match this.consumer.answer_doorbell() {
                Ok(()) => (Some(true), None),
                Err(error) => (None, Some(error.to_string())),
            })
        });
        // Another byte comes if it is readable still.
        methods.add_method("remind", |_, this, ()| {
            let port = this.consumer.port();
            if port.is_ours() {
                port.remind();
            }
            Ok(())
        });
        methods.add_method("hush", |_, this, ()| {
            let port = this.consumer.port();
            if port.is_ours() {
                port.hush();
            }
            Ok(())
        });
    }
}

/// The port of this Lua state in this process, made at the first call.
pub(super) fn current(lua: &Lua) -> LuaResult<AnyUserData> {
    // An error is Ctrl-C, which may come in any call into Lua: it is for the program, and no reason for another port.
    if let LuaValue::UserData(known) = lua.named_registry_value(REGISTRY_KEY)? {
        if known.borrow::<Handle>()?.consumer.port().is_ours() {
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
