//! Message queues for Lua: Redis, MQTT and STOMP behind one small API.
//!
//! The layers, each knowing only the one below it:
//!
//! - `binding`: the only code that knows Lua
//! - [`io`]: the only code that knows tokio, sockets and clocks
//! - [`client`]: what a protocol means, as state machines without I/O ([`session`] is their contract)
//! - `broker`: what a protocol means to a broker, the same way
//! - [`codec`]: bytes ⇄ frames
//! - [`message`], [`error`]: the vocabulary that passes between them

#[cfg(feature = "lua")]
mod binding;
#[cfg(feature = "broker")]
pub mod broker;
pub mod client;
pub mod codec;
pub mod error;
pub mod io;
pub mod message;
pub mod session;
#[cfg(test)]
mod testing;

/// `require "MQ.core"`, as Lua calls it; an error is that Lua has no memory left.
#[cfg(feature = "lua")]
#[allow(unsafe_code, non_snake_case)] // the entry point that `mlua::lua_module` would write
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn luaopen_MQ_core(state: *mut mlua::lua_State) -> std::ffi::c_int {
    // An interpreter answers Ctrl-C with a hook that raises an error, and mlua, while it makes itself ready, with a panic
    // that ends the process: it comes before or after.
    let held = io::hold_interrupts();
    // SAFETY: `state` is what Lua called with. An error leaves by longjmp, after the closure has let go of `held`.
    unsafe {
        mlua::Lua::entrypoint1(state, move |lua| {
            let _held = held;
            binding::module(lua)
        })
    }
}
