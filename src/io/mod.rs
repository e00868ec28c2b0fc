//! The only code that knows tokio, sockets and clocks. It drives [`crate::session`] state
//! machines without knowing what their frames mean, and knows nothing of Lua.

pub mod alarm;
pub mod backoff;
pub mod clock;
mod connection;
pub mod doorbell;
pub mod driver;
pub mod endpoint;
mod flood;
pub mod fork;
#[cfg(feature = "httpd")]
pub mod httpd;
pub mod link;
#[cfg(feature = "broker")]
pub mod listener;
mod nap;
pub mod port;
mod pump;
mod recall;
pub mod runtime;
pub mod staging;
#[cfg(test)]
mod stub;
mod sys;
#[cfg(feature = "tls")]
mod tls;
pub mod transport;
pub mod waiter;
pub mod wakeup;
#[cfg(feature = "websocket")]
mod websocket;
