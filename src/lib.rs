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
