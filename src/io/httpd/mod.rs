//! An HTTP/1.1 and WebSocket server for browsers, on the runtime thread: hyper speaks HTTP,
//! tungstenite WebSocket. What a request means is the Lua program's: each one becomes an event of
//! the state's port, and waits for its [`Answer`]. Knows nothing of routes or of Lua.

mod body;
mod conversation;
mod courier;
mod exchange;
mod files;
mod patience;
mod server;
mod socket;
#[cfg(test)]
mod tests;

pub use courier::Courier;
pub use exchange::Answer;
pub use server::Server;
pub use socket::{Bounds, Socket};

use crate::message::Value;
use std::time::Duration;

/// What an event of the server's key is, in its flags.
pub mod event {
    /// A request: source is its target (path and query), payload its body, id names it, extra is a
    /// map of `method peer headers websocket`.
    pub const REQUEST: u32 = 1;
    /// The request named by id is answered with a file; extra is the status, or nil where its
    /// connection broke before.
    pub const SERVED: u32 = 2;
    /// The server itself is in trouble; source says how.
    pub const TROUBLE: u32 = 3;
}

/// What an event of a WebSocket's key is, in its flags.
pub mod socket_event {
    /// It is open.
    pub const OPEN: u32 = 1;
    /// A text message: the payload.
    pub const TEXT: u32 = 2;
    /// A binary message: the payload.
    pub const BINARY: u32 = 3;
    /// It has ended, and nothing follows: source is the reason that the browser gave, payload what
    /// went wrong (empty for a plain end), extra the status code (RFC 6455, section 7.4).
    pub const CLOSED: u32 = 4;
}

/// What the server allows, and what it adds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of a request's head.
    pub max_header: usize,
    /// Bytes of a request's body.
    pub max_body: usize,
    /// Connections at a time; further ones wait in the kernel.
    pub max_connections: usize,
    /// For a request to arrive, for the next one of a kept connection, for a TLS handshake, and for
    /// a browser to take some of what it is sent.
    pub timeout: Duration,
    /// The `Server` field.
    pub server_name: String,
}

impl Settings {
    /// Reads the options `max_header max_body max_connections timeout server_name`; what is missing gets a default.
    pub fn parse(options: &Value) -> Self {
        let size = |name, default| options.member(name).as_size().unwrap_or(default);
        let text = |name| options.member(name).as_text();
        Settings {
            // hyper takes no less.
            max_header: size("max_header", 64 << 10).max(8192),
            max_body: size("max_body", 1 << 20),
            max_connections: size("max_connections", 16_384).max(1),
            timeout: options
                .member("timeout")
                .as_seconds()
                .unwrap_or(Duration::from_secs(30)),
            server_name: text("server_name").unwrap_or("mq").to_owned(),
        }
    }
}
