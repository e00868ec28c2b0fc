//! The Lua side of an embedded broker.

use super::{client, convert, port};
use crate::broker::{Broker, Happening, Protocol, Settings};
use crate::io::listener::{self, Server};
use crate::io::runtime;
use mlua::prelude::{Lua, LuaResult, LuaString, LuaTable, LuaValue};
use mlua::{IntoLuaMulti, MultiValue, UserData, UserDataFields, UserDataMethods};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// The userdata that Lua sees as a broker: it closes when Lua forgets it.
struct Handle {
    server: Arc<Server>,
    id: u32,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.server.is_ours() {
            self.server.close(false);
        } else {
            // The parent's: its destructors would take its locks and close its sockets.
            std::mem::forget(self.server.clone());
        }
    }
}

/// The names of the protocols that a broker of this build serves.
pub(super) fn protocols(lua: &Lua) -> LuaResult<LuaTable> {
    lua.create_sequence_from(Protocol::ALL.iter().map(|protocol| protocol.as_str()))
}

/// Lets the process have as many descriptors as its administrator allows; how many that are, or nil.
pub(super) fn raise_limit(_: &Lua, (): ()) -> LuaResult<Option<u64>> {
    Ok(runtime::raise_descriptors())
}

/// `core.broker(options)`: a protocol's name is its port.
pub(super) fn create(lua: &Lua, options: LuaTable) -> LuaResult<MultiValue> {
    let options = convert::to_value(&LuaValue::Table(options))?;
    let settings = match Settings::parse(&options) {
        Ok(settings) => settings,
        Err(error) => return client::refused(lua, &error),
    };
    let host = options.member("host").as_text().unwrap_or("127.0.0.1");
    let wanted: Vec<(Protocol, u16)> = Protocol::ALL
        .iter()
        .filter_map(|protocol| {
            let port = options.member(protocol.as_str()).as_integer()?;
            Some((*protocol, u16::try_from(port).ok()?))
        })
        .collect();
    let consumer = port::consumer(lua)?;
    let id = consumer.next_client_id();
    let broker = Broker::new(settings);
    match listener::start(broker, host, &wanted, consumer.port().clone(), id) {
        Ok(server) => lua
            .create_userdata(Handle {
                server: Arc::new(server),
                id,
            })?
            .into_lua_multi(lua),
        Err(error) => client::refused(lua, &error),
    }
}

impl UserData for Handle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "MQ.core.broker");
        fields.add_field_method_get("id", |_, this| Ok(this.id));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("ports", |lua, this, ()| {
            let ports = lua.create_table()?;
            for listening in this.server.listening() {
                ports.set(listening.protocol.as_str(), listening.address.port())?;
            }
            Ok(ports)
        });
        methods.add_method("observe", |_, this, name: LuaString| {
            let wanted = Happening::ALL
                .into_iter()
                .find(|what| name.as_bytes() == what.as_str().as_bytes());
            if let (Some(what), true) = (wanted, this.server.is_ours()) {
                this.server.broker().observe(what);
            }
            Ok(wanted.is_some())
        });
        methods.add_method("is_ours", |_, this, ()| Ok(this.server.is_ours()));
        methods.add_method("close", |_, this, ()| {
            this.server.close(true);
            Ok(())
        });
        methods.add_method("stats", |lua, this, ()| this.stats(lua));
    }
}

impl Handle {
    fn stats(&self, lua: &Lua) -> LuaResult<LuaTable> {
        let stats = lua.create_table_with_capacity(0, 9)?;
        if !self.server.is_ours() {
            return Ok(stats);
        }
        let counters = self.server.broker().counters();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (bytes_in, bytes_out) = self.server.bytes();
        stats.set("connections", counters.connections.load(Ordering::Relaxed))?;
        stats.set("accepted", load(&counters.accepted))?;
        stats.set("refused", load(&counters.refused))?;
        stats.set("subscriptions", load(&counters.subscriptions))?;
        stats.set("received", load(&counters.received))?;
        stats.set("sent", load(&counters.sent))?;
        stats.set("overruns", load(&counters.overruns))?;
        stats.set("bytes_in", bytes_in)?;
        stats.set("bytes_out", bytes_out)?;
        Ok(stats)
    }
}
