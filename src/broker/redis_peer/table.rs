//! Which commands of Redis the broker knows.

use super::Client;
use crate::codec::resp::{reply, Arguments, Channel};
use std::time::Instant;

/// What COMMAND tells of a command, and what is checked before it is executed.
pub(super) struct Known {
    pub(super) name: &'static str,
    /// Arguments, the name among them; negative: at least so many.
    pub(super) arity: i64,
    pub(super) flags: &'static [&'static str],
    pub(super) group: &'static str,
    pub(super) summary: &'static str,
    pub(super) execute: fn(&mut Client, Instant, Arguments<'_>),
}

const FAST: &[&str] = &["loading", "stale", "fast"];
const BEFORE_LOGIN: &[&str] = &[
    "noscript",
    "loading",
    "stale",
    "fast",
    "no_auth",
    "allow_busy",
];
const PUBSUB: &[&str] = &["pubsub", "noscript", "loading", "stale"];
const SERVER: &[&str] = &["loading", "stale"];

/// In the order of their names.
pub(super) const COMMANDS: &[Known] = &[
    Known {
        name: "auth",
        arity: -2,
        flags: BEFORE_LOGIN,
        group: "connection",
        summary: "Authenticates the connection.",
        execute: Client::auth,
    },
    Known {
        name: "client",
        arity: -2,
        flags: SERVER,
        group: "connection",
        summary: "A container for client connection commands.",
        execute: Client::client,
    },
    Known {
        name: "command",
        arity: -1,
        flags: SERVER,
        group: "server",
        summary: "Returns detailed information about all commands.",
        execute: Client::command,
    },
    Known {
        name: "config",
        arity: -2,
        flags: SERVER,
        group: "server",
        summary: "A container for server configuration commands.",
        execute: Client::config,
    },
    Known {
        name: "echo",
        arity: 2,
        flags: FAST,
        group: "connection",
        summary: "Returns the given string.",
        execute: |client, _, command| reply::put_bulk(&mut client.out, command.at(1)),
    },
    Known {
        name: "hello",
        arity: -1,
        flags: BEFORE_LOGIN,
        group: "connection",
        summary: "Handshakes with the Redis server.",
        execute: Client::hello,
    },
    Known {
        name: "info",
        arity: -1,
        flags: SERVER,
        group: "server",
        summary: "Returns information and statistics about the server.",
        execute: Client::info,
    },
    Known {
        name: "ping",
        arity: -1,
        flags: FAST,
        group: "connection",
        summary: "Returns the server's liveliness response.",
        execute: Client::ping,
    },
    Known {
        name: "psubscribe",
        arity: -2,
        flags: PUBSUB,
        group: "pubsub",
        summary: "Listens for messages published to channels that match one or more patterns.",
        execute: |client, _, command| client.subscribe(Channel::Pattern, command),
    },
    Known {
        name: "publish",
        arity: 3,
        flags: &["pubsub", "loading", "stale", "fast"],
        group: "pubsub",
        summary: "Posts a message to a channel.",
        execute: |client, _, command| client.publish(command),
    },
    Known {
        name: "pubsub",
        arity: -2,
        flags: PUBSUB,
        group: "pubsub",
        summary: "A container for Pub/Sub commands.",
        execute: Client::pubsub,
    },
    Known {
        name: "punsubscribe",
        arity: -1,
        flags: PUBSUB,
        group: "pubsub",
        summary:
            "Stops listening to messages published to channels that match one or more patterns.",
        execute: |client, _, command| client.unsubscribe(Channel::Pattern, command),
    },
    Known {
        name: "quit",
        arity: -1,
        flags: BEFORE_LOGIN,
        group: "connection",
        summary: "Closes the connection.",
        execute: |client, _, _| client.quit(),
    },
    Known {
        name: "reset",
        arity: 1,
        flags: BEFORE_LOGIN,
        group: "connection",
        summary: "Resets the connection.",
        execute: |client, _, _| client.reset(),
    },
    Known {
        name: "select",
        arity: 2,
        flags: FAST,
        group: "connection",
        summary: "Changes the selected database.",
        execute: Client::select,
    },
    Known {
        name: "subscribe",
        arity: -2,
        flags: PUBSUB,
        group: "pubsub",
        summary: "Listens for messages published to channels.",
        execute: |client, _, command| client.subscribe(Channel::Exact, command),
    },
    Known {
        name: "unsubscribe",
        arity: -1,
        flags: PUBSUB,
        group: "pubsub",
        summary: "Stops listening to messages posted to channels.",
        execute: |client, _, command| client.unsubscribe(Channel::Exact, command),
    },
];

/// The longest name that is looked up.
const LONGEST: usize = 16;

pub(super) fn find(name: &[u8]) -> Option<&'static Known> {
    COMMANDS.get(place(name)?)
}

/// Where PUBLISH stands, which is not looked up.
pub(super) const PUBLISH: usize = 9;

/// Where a command stands in [`COMMANDS`].
pub(super) fn place(name: &[u8]) -> Option<usize> {
    let mut lower = [0; LONGEST];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    COMMANDS
        .binary_search_by(|known| known.name.as_bytes().cmp(lower))
        .ok()
}
