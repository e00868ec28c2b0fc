//! The only code that knows Lua: `MQ.core`, the surface that `lua/MQ/*.lua` is built on.
//!
//! `port.next`, `client.publish`, `client.acknowledge` and `headers`, called for every message, are raw C functions
//! ([`raw`]); everything else goes through mlua's safe API.

#[cfg(feature = "broker")]
mod broker;
mod client;
mod convert;
mod json;
mod port;
mod raw;
#[cfg(feature = "httpd")]
mod server;

use crate::io::{clock, fork};
use mlua::prelude::{Lua, LuaResult, LuaTable, LuaValue};
use std::io::IsTerminal;

/// Builds the table that `require "MQ.core"` returns.
///
/// # Errors
/// Lua has no memory left.
pub(crate) fn module(lua: &Lua) -> LuaResult<LuaTable> {
    fork::watch();
    let core = lua.create_table()?;
    core.set("version", env!("CARGO_PKG_VERSION"))?;
    core.set("port", lua.create_function(|lua, ()| port::current(lua))?)?;
    core.set("client", lua.create_function(client::create)?)?;
    #[cfg(feature = "httpd")]
    core.set("server", lua.create_function(server::create)?)?;
    core.set("headers", raw::headers_function(lua)?)?;
    #[cfg(feature = "broker")]
    {
        core.set("broker", lua.create_function(broker::create)?)?;
        core.set("broker_protocols", broker::protocols(lua)?)?;
        core.set("raise_limit", lua.create_function(broker::raise_limit)?)?;
    }
    core.set("now", lua.create_function(|_, ()| Ok(clock::monotonic()))?)?;
    core.set("time", lua.create_function(|_, ()| Ok(clock::wall()))?)?;
    core.set("pid", lua.create_function(|_, ()| Ok(std::process::id()))?)?;
    core.set("is_terminal", lua.create_function(is_terminal)?)?;
    core.set("json_encode", lua.create_function(json::encode)?)?;
    core.set("json_decode", lua.create_function(json::decode)?)?;
    core.set("json_array", lua.create_function(json::array)?)?;
    core.set("json_null", LuaValue::NULL)?;
    Ok(core)
}

/// Whether a standard descriptor (0, 1, 2) is a terminal.
fn is_terminal(_: &Lua, descriptor: i64) -> LuaResult<bool> {
    Ok(match descriptor {
        0 => std::io::stdin().is_terminal(),
        1 => std::io::stdout().is_terminal(),
        2 => std::io::stderr().is_terminal(),
        _ => false,
    })
}
