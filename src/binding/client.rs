//! The Lua side of a client.

use super::port::{self, Consumer};
use super::{convert, raw};
use crate::client;
use crate::error::{Code, Error};
use crate::io::backoff::Policy;
use crate::io::driver;
use crate::io::endpoint::Endpoint;
use crate::io::link::{Bounds, Link};
use crate::io::staging::QueueBounds;
use crate::message::{Command, Publish, Value, Verdict};
use mlua::prelude::{Lua, LuaFunction, LuaResult, LuaString, LuaTable, LuaValue};
use mlua::{AnyUserData, IntoLuaMulti, MultiValue, UserData, UserDataFields, UserDataMethods};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A client as its Lua thread holds it.
pub(super) struct Client {
    link: Arc<Link>,
    consumer: Rc<Consumer>,
    /// Taken by the first command: a client connects when it is used.
    start: RefCell<Option<(Endpoint, Policy)>>,
    epoch: Cell<u64>,
    /// The text of the last error of `publish`, kept here while Lua copies it.
    failure: RefCell<String>,
}

impl Client {
    /// The hot path: a post where there is no ticket, else an emit. The text of an error is in
    /// [`Client::failure`].
    #[inline]
    pub(super) fn publish(
        &self,
        target: &[u8],
        payload: &[u8],
        ticket: Option<u64>,
        flags: u32,
    ) -> Result<(), Code> {
        let publish = Publish {
            ticket,
            target,
            payload,
            flags,
            options: None,
        };
        self.send(publish).map_err(|error| {
            *self.failure.borrow_mut() = error.text;
            error.code
        })
    }

    #[inline]
    fn send(&self, publish: Publish<'_>) -> Result<(), Error> {
        // In this order: the first message is accepted before a connection can have failed.
        self.link.publish(publish)?;
        self.ensure_started()?;
        self.consumer.waiter.ask();
        self.consumer.waiter.touch(&self.link, &self.epoch);
        Ok(())
    }

    /// Says how a message fared: the hot path of acknowledged ones.
    #[inline]
    pub(super) fn acknowledge(&self, id: u64, verdict: Verdict) {
        self.link.acknowledge(id, verdict);
        self.consumer.waiter.touch(&self.link, &self.epoch);
    }

    /// Where the text of the last error lies until the next call.
    pub(super) fn failure(&self) -> *const [u8] {
        self.failure.borrow().as_bytes()
    }

    #[inline]
    fn submit(&self, command: Command<'_>) -> Result<(), Error> {
        self.link.submit(command)?;
        self.ensure_started()?;
        self.consumer.waiter.ask();
        self.consumer.waiter.touch(&self.link, &self.epoch);
        Ok(())
    }

    #[inline]
    fn ensure_started(&self) -> Result<(), Error> {
        if self.start.borrow().is_none() || !self.link.is_ours() {
            return Ok(());
        }
        let Some((endpoint, policy)) = self.start.take() else {
            return Ok(());
        };
        self.consumer.waiter.attach(&self.link);
        driver::start(self.link.clone(), endpoint, policy).map_err(|error| {
            Error::lost(format!("the runtime thread could not be started: {error}"))
        })
    }
}

impl Client {
    fn abandon(&self) {
        self.link.abandon();
        self.consumer.waiter.detach(&self.link);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.abandon();
        if !self.link.is_ours() {
            std::mem::forget(self.link.clone());
        }
    }
}

/// The userdata that Lua sees as a client: it owns the client together with its functions, and ends
/// it when Lua forgets both.
struct Handle {
    client: Rc<Client>,
    publish: LuaFunction,
    acknowledge: LuaFunction,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The functions are of no use alone: it must not delay the end.
        self.client.abandon();
    }
}

/// `core.client(protocol, options)`.
pub(super) fn create(lua: &Lua, (protocol, options): (String, LuaTable)) -> LuaResult<MultiValue> {
    let options = convert::to_value(&LuaValue::Table(options))?;
    let parts = client::create(&protocol, &options).and_then(|session| {
        let endpoint = Endpoint::parse(&options)?;
        Ok((session, endpoint))
    });
    let (session, endpoint) = match parts {
        Ok(parts) => parts,
        Err(error) => return refused(lua, &error),
    };
    let consumer = port::consumer(lua)?;
    let size = |name, default| options.member(name).as_size().unwrap_or(default).max(1);
    let bounds = Bounds {
        queue: QueueBounds {
            messages: size("max_queue", 100_000),
            bytes: size("max_queue_bytes", 64 << 20),
        },
        pending: size("max_pending", 65_536),
    };
    let id = consumer.next_client_id();
    let client = Rc::new(Client {
        link: Arc::new(Link::new(session, consumer.port().clone(), id, bounds)),
        consumer,
        start: RefCell::new(Some((endpoint, Policy::parse(&options)))),
        epoch: Cell::new(0),
        failure: RefCell::default(),
    });
    let publish = raw::publish_function(lua, client.clone())?;
    let acknowledge = raw::acknowledge_function(lua, client.clone())?;
    let handle: AnyUserData = lua.create_userdata(Handle {
        client,
        publish,
        acknowledge,
    })?;
    handle.into_lua_multi(lua)
}

impl UserData for Handle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "MQ.core.client");
        fields.add_field_method_get("id", |_, this| Ok(this.client.link.id()));
        fields.add_field_method_get("publish", |_, this| Ok(this.publish.clone()));
        fields.add_field_method_get("acknowledge", |_, this| Ok(this.acknowledge.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("send", |lua, this, arguments| this.send(lua, arguments));
        methods.add_method(
            "subscribe",
            |lua, this, (ticket, key, pattern, exact, options): SubscribeArguments| {
                let options = convert::to_value(&options)?;
                let command = Command::Subscribe {
                    ticket,
                    key,
                    pattern: &pattern.as_bytes(),
                    exact: exact.unwrap_or(false),
                    options: &options,
                };
                answer(lua, this.client.submit(command))
            },
        );
        methods.add_method("unsubscribe", |lua, this, (ticket, key): (u64, u64)| {
            answer(
                lua,
                this.client.submit(Command::Unsubscribe { ticket, key }),
            )
        });
        methods.add_method(
            "command",
            |lua, this, (ticket, verb, options): (u64, LuaString, LuaValue)| {
                let options = convert::to_value(&options)?;
                let command = Command::Custom {
                    ticket,
                    verb: &verb.as_bytes(),
                    options: &options,
                };
                answer(lua, this.client.submit(command))
            },
        );
        methods.add_method("flush", |lua, this, ticket: u64| {
            answer(lua, this.client.submit(Command::Flush { ticket }))
        });
        methods.add_method("close", |lua, this, (ticket, seconds): (u64, f64)| {
            let patience = Duration::from_secs_f64(seconds.clamp(0.0, 1.0e9));
            // In this order: a client that was never used then ends without a connection.
            let outcome = this
                .client
                .link
                .close(ticket, patience)
                .and_then(|()| this.client.ensure_started());
            answer(lua, outcome)
        });
        methods.add_method("connect", |lua, this, ()| {
            answer(lua, this.client.ensure_started())
        });
        methods.add_method("abandon", |_, this, ()| {
            this.client.abandon();
            Ok(())
        });
        methods.add_method("held", |_, this, messages: usize| {
            this.client.link.hold(messages);
            Ok(())
        });
        methods.add_method("stats", |lua, this, ()| this.stats(lua));
    }
}

type SubscribeArguments = (u64, u64, LuaString, Option<bool>, LuaValue);
type SendArguments = (Option<u64>, LuaString, LuaString, Option<u32>, LuaValue);

impl Handle {
    /// `publish` with the protocol's own options.
    fn send(
        &self,
        lua: &Lua,
        (ticket, target, payload, flags, options): SendArguments,
    ) -> LuaResult<MultiValue> {
        let options = convert::to_value(&options)?;
        let publish = Publish {
            ticket,
            target: &target.as_bytes(),
            payload: &payload.as_bytes(),
            flags: flags.unwrap_or(0),
            options: (options != Value::Nil).then_some(&options),
        };
        answer(lua, self.client.send(publish))
    }

    fn stats(&self, lua: &Lua) -> LuaResult<LuaTable> {
        let (counters, [bytes_in, bytes_out, reconnects]) =
            self.client.link.counters().unwrap_or_default();
        let stats = lua.create_table_with_capacity(0, 9)?;
        stats.set("sent", counters.sent)?;
        stats.set("received", counters.received)?;
        stats.set("queued", counters.queued)?;
        stats.set("queued_bytes", counters.queued_bytes)?;
        stats.set("in_flight", counters.in_flight)?;
        stats.set("dropped", counters.dropped)?;
        stats.set("reconnects", reconnects)?;
        stats.set("bytes_in", bytes_in)?;
        stats.set("bytes_out", bytes_out)?;
        Ok(stats)
    }
}

fn answer(lua: &Lua, outcome: Result<(), Error>) -> LuaResult<MultiValue> {
    match outcome {
        Ok(()) => true.into_lua_multi(lua),
        Err(error) => refused(lua, &error),
    }
}

pub(super) fn refused(lua: &Lua, error: &Error) -> LuaResult<MultiValue> {
    (LuaValue::Nil, error.text.as_str(), error.code.as_str()).into_lua_multi(lua)
}
