//! The Lua side of an HTTP server and of its WebSockets, which Lua names by their keys.

use super::port::{self, Consumer};
use super::{client, convert, raw};
use crate::error::{Code, Error};
use crate::io::httpd::{Answer, Bounds, Server, Settings, Socket};
use crate::message::Value;
use bytes::Bytes;
use mlua::prelude::{Lua, LuaFunction, LuaResult, LuaString, LuaTable, LuaValue};
use mlua::{AnyUserData, IntoLuaMulti, MultiValue, UserData, UserDataFields, UserDataMethods};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tungstenite::Message;

/// The WebSockets of a server, as its Lua thread holds them.
pub(super) struct Sockets {
    by_key: RefCell<HashMap<u64, Entry>>,
    /// What was sent last: what goes to a thousand browsers is checked and copied once.
    last: RefCell<Option<Message>>,
    /// The text of the last error of `send`, kept here while Lua copies it.
    failure: RefCell<String>,
    consumer: Rc<Consumer>,
}

struct Entry {
    socket: Arc<Socket>,
    /// The turn in which it was last sent something.
    turn: Cell<u64>,
}

impl Sockets {
    /// The hot path: a message. The text of an error is in [`Sockets::failure`].
    pub(super) fn send(&self, key: u64, data: &[u8], binary: bool) -> Result<(), Code> {
        self.try_send(key, data, binary).map_err(|error| {
            *self.failure.borrow_mut() = error.text;
            error.code
        })
    }

    fn try_send(&self, key: u64, data: &[u8], binary: bool) -> Result<(), Error> {
        if !self.consumer.port().is_ours() {
            return Err(closed());
        }
        let by_key = self.by_key.borrow();
        let entry = by_key.get(&key).ok_or_else(closed)?;
        let message = self.message(data, binary)?;
        let waiter = &self.consumer.waiter;
        let again = entry.turn.replace(waiter.turn()) == waiter.turn();
        if entry.socket.send(message, again)? {
            waiter.defer(entry.socket.courier().clone());
        }
        Ok(())
    }

    fn message(&self, data: &[u8], binary: bool) -> Result<Message, Error> {
        let last = &mut *self.last.borrow_mut();
        match last {
            Some(Message::Text(text)) if !binary && text.as_bytes() == data => {}
            Some(Message::Binary(bytes)) if binary && bytes == data => {}
            _ => {
                let message = Socket::message(data, binary)?;
                if data.len() > KEEP {
                    return Ok(message);
                }
                *last = Some(message);
            }
        }
        // A clone shares the bytes.
        last.clone().ok_or_else(closed)
    }

    /// Where the text of the last error lies until the next call.
    pub(super) fn failure(&self) -> *const [u8] {
        self.failure.borrow().as_bytes()
    }
}

/// A last message that is longer is not kept for its like.
const KEEP: usize = 1 << 20;

fn closed() -> Error {
    Error::new(Code::Closed, "the WebSocket is closed")
}

/// The userdata that Lua sees as a server.
struct Handle {
    server: Server,
    sockets: Rc<Sockets>,
    send: LuaFunction,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let sockets = self.sockets.by_key.take();
        for (_, entry) in sockets {
            if self.server.is_ours() {
                entry.socket.abandon();
            } else {
                // The parent's.
                std::mem::forget(entry.socket);
            }
        }
    }
}

/// `core.server(key, options)`.
pub(super) fn create(lua: &Lua, (key, options): (u64, LuaTable)) -> LuaResult<MultiValue> {
    let options = convert::to_value(&LuaValue::Table(options))?;
    let consumer = port::consumer(lua)?;
    let server = match Server::new(consumer.port().clone(), key, Settings::parse(&options)) {
        Ok(server) => server,
        Err(error) => return client::refused(lua, &error),
    };
    let sockets = Rc::new(Sockets {
        by_key: RefCell::default(),
        last: RefCell::default(),
        failure: RefCell::default(),
        consumer,
    });
    let handle: AnyUserData = lua.create_userdata(Handle {
        server,
        send: raw::send_function(lua, sockets.clone())?,
        sockets,
    })?;
    handle.into_lua_multi(lua)
}

impl UserData for Handle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "MQ.core.server");
        fields.add_field_method_get("send", |_, this| Ok(this.send.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method_mut(
            "listen",
            |lua, this, (host, port, options): (String, u16, LuaValue)| {
                let options = convert::to_value(&options)?;
                match this.server.listen(&host, port, &options) {
                    Ok(port) => port.into_lua_multi(lua),
                    Err(error) => client::refused(lua, &error),
                }
            },
        );
        methods.add_method(
            "reply",
            |lua, this, (id, status, fields, body): (u64, u16, LuaValue, LuaString)| {
                let fields = list(&convert::to_value(&fields)?);
                let body = Bytes::copy_from_slice(&body.as_bytes());
                match Answer::reply(status, &fields, body) {
                    Ok(answer) => this.server.answer(id, answer).into_lua_multi(lua),
                    Err(error) => client::refused(lua, &error),
                }
            },
        );
        methods.add_method(
            "file",
            |_, this, (id, root, seconds): (u64, LuaString, Option<f64>)| {
                let root = OsStr::from_bytes(&root.as_bytes()).into();
                let max_age = seconds.map(|n| Duration::from_secs_f64(n.clamp(0.0, 1.0e9)));
                Ok(this.server.answer(id, Answer::file(root, max_age)))
            },
        );
        methods.add_method(
            "accept",
            |_, this, (id, key, options, protocol): (u64, u64, LuaValue, Option<String>)| {
                let bounds = bounds(&convert::to_value(&options)?);
                let socket = this.server.accept(id, key, bounds, protocol.as_deref());
                Ok(socket.is_some_and(|socket| {
                    let turn = Cell::new(0);
                    let entry = Entry { socket, turn };
                    this.sockets.by_key.borrow_mut().insert(key, entry);
                    true
                }))
            },
        );
        methods.add_method("ping", |lua, this, (key, data): (u64, LuaString)| {
            let outcome = this.socket(key).and_then(|socket| {
                let message = Socket::ping(&data.as_bytes())?;
                socket.send(message, false).map(drop)
            });
            client::answer(lua, outcome)
        });
        methods.add_method(
            "finish",
            |lua, this, (key, code, reason): (u64, u16, LuaString)| {
                let outcome = this
                    .socket(key)
                    .and_then(|socket| socket.close(code, &reason.as_bytes()));
                client::answer(lua, outcome)
            },
        );
        methods.add_method("held", |_, this, (key, messages): (u64, usize)| {
            if let Ok(socket) = this.socket(key) {
                socket.hold(messages);
            }
            Ok(())
        });
        // It has ended, or is to.
        methods.add_method("forget", |_, this, key: u64| {
            if this.server.is_ours() {
                let entry = this.sockets.by_key.borrow_mut().remove(&key);
                if let Some(entry) = entry {
                    entry.socket.abandon();
                }
            }
            Ok(())
        });
        methods.add_method("close", |_, this, ()| {
            this.server.close();
            Ok(())
        });
        methods.add_method("connections", |_, this, ()| Ok(this.server.connections()));
    }
}

impl Handle {
    fn socket(&self, key: u64) -> Result<Arc<Socket>, Error> {
        if !self.server.is_ours() {
            return Err(closed());
        }
        let by_key = self.sockets.by_key.borrow();
        let entry = by_key.get(&key).ok_or_else(closed)?;
        Ok(entry.socket.clone())
    }
}

/// `{{name, value}, …}`.
fn list(value: &Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Value::List(pairs) = value else {
        return Vec::new();
    };
    let pair = |pair: &Value| match pair {
        Value::List(pair) => match pair.as_slice() {
            [Value::Bytes(name), Value::Bytes(value)] => Some((name.clone(), value.clone())),
            _ => None,
        },
        _ => None,
    };
    pairs.iter().filter_map(pair).collect()
}

fn bounds(options: &Value) -> Bounds {
    let size = |name, default| options.member(name).as_size().unwrap_or(default).max(1);
    let pause = |name| options.member(name).as_seconds().filter(|t| !t.is_zero());
    Bounds {
        max_message: size("max_message", 1 << 20),
        max_backlog: size("max_backlog", 1 << 20),
        max_pending: size("max_pending", 256),
        idle: pause("idle_timeout"),
        ping: pause("ping"),
    }
}
