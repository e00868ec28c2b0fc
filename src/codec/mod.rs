//! Bytes ⇄ frames, and nothing else: no time, no I/O, no Lua, no role.

#[cfg(feature = "mqtt")]
pub mod mqtt;
pub mod resp;
#[cfg(feature = "stomp")]
pub mod stomp;
