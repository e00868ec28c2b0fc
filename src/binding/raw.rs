//! What Lua calls for `require "MQ.core"`, and the functions that it calls for every message, written against Lua's C
//! API: mlua's safe values cost twice as much as all the rest of a message.
//!
//! The rules that make the `unsafe` here sound:
//! - No Rust value with a destructor lives across a call of Lua that may raise, since Lua leaves
//!   by longjmp: all work in Rust is done first, in `catch_unwind`, and yields plain pointers.
//! - What these point into is held by the consumer, the client or the server until its next call. Lua may run
//!   finalizers in between: one that just pulls gets nothing, and for one that waits the consumer
//!   keeps in place what is being pushed ([`Consumer::is_nested`]).
//! - The object behind an upvalue is owned by a full userdata, which a closure keeps from being
//!   freed; its `__gc` leaves null behind, for other finalizers that still call the closure.
//! - A panic becomes a Lua error: unwinding into Lua would end the process.
#![allow(unsafe_code)]

use super::client::Client;
use super::port::{Consumer, Pulled};
#[cfg(feature = "httpd")]
use super::server::Sockets;
use crate::message::{unpack, Meta, Value, Verdict};
use mlua::ffi::{self, lua_State};
use mlua::prelude::{Lua, LuaFunction, LuaResult};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use std::ffi::{c_char, c_int};
use std::mem::size_of;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;

/// First value of an answer that says yes.
const ANSWERED: i64 = 0;
/// First value of an answer that says no.
const FAILED: i64 = -1;
/// First value of a change of state.
const STATE: i64 = -2;

/// What `mlua::lua_module` would write, where Ctrl-C does no harm. An error is that Lua has no memory left.
#[allow(non_snake_case)]
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn luaopen_MQ_core(state: *mut lua_State) -> c_int {
    // SAFETY: `state` is what Lua called with, and outlives the call.
    unsafe {
        make_ready(state);
        Lua::entrypoint1(state, super::module)
    }
}

/// Has mlua made ready with no interruption: the interpreter answers Ctrl-C with a hook that raises an error, and mlua,
/// at that moment, with a panic that ends the process.
///
/// # Safety
/// `state` is that of the running function.
unsafe fn make_ready(state: *mut lua_State) {
    let interrupt: SigSet = Signal::SIGINT.into();
    let before = interrupt.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    // SAFETY: a hook is put back as it was found; nothing here raises, now that there is none.
    unsafe {
        let hook = ffi::lua_gethook(state);
        let (mask, count) = (ffi::lua_gethookmask(state), ffi::lua_gethookcount(state));
        ffi::lua_sethook(state, None, 0, 0);
        Lua::get_or_init_from_ptr(state);
        ffi::lua_sethook(state, hook, mask, count);
    }
    if let Ok(before) = before {
        // It was the thread's own: it is none that could be wrong.
        let _ = before.thread_set_mask();
    }
}

/// `port.next`.
pub(super) fn next_function(lua: &Lua, consumer: Rc<Consumer>) -> LuaResult<LuaFunction> {
    closure(lua, consumer, next)
}

/// `client.publish`.
pub(super) fn publish_function(lua: &Lua, client: Rc<Client>) -> LuaResult<LuaFunction> {
    closure(lua, client, publish)
}

/// `client.acknowledge`.
pub(super) fn acknowledge_function(lua: &Lua, client: Rc<Client>) -> LuaResult<LuaFunction> {
    closure(lua, client, acknowledge)
}

/// `server.send`.
#[cfg(feature = "httpd")]
pub(super) fn send_function(lua: &Lua, sockets: Rc<Sockets>) -> LuaResult<LuaFunction> {
    closure(lua, sockets, send)
}

/// `core.headers`: a table of what a message's headers are packed in.
pub(super) fn headers_function(lua: &Lua) -> LuaResult<LuaFunction> {
    // SAFETY: runs in protected mode; pushes one value.
    unsafe { lua.exec_raw((), |state| ffi::lua_pushcclosure(state, headers, 0)) }
}

unsafe extern "C-unwind" fn headers(state: *mut lua_State) -> c_int {
    // SAFETY: the string stays on the stack, and with it its bytes; nothing here has a destructor.
    // Whatever the bytes are, `unpack` stays within them.
    unsafe {
        match string(state, 1) {
            Some(packed) => push_headers(state, packed),
            None => ffi::lua_pushnil(state),
        }
    }
    1
}

/// A C function whose first upvalue is a userdata that owns `object`.
fn closure<T>(
    lua: &Lua,
    object: Rc<T>,
    function: unsafe extern "C-unwind" fn(*mut lua_State) -> c_int,
) -> LuaResult<LuaFunction> {
    let mut object = Some(object);
    // SAFETY: runs in protected mode with three free stack slots beyond which it does not go (the
    // metatable and its `__gc` lie above the userdata). Ownership moves into the userdata only
    // after the last call that may raise while `object` still owns it: the slot holds null until
    // then, and `collect` skips null.
    unsafe {
        lua.exec_raw((), |state| {
            ffi::luaL_checkstack(state, 4, std::ptr::null());
            let slot = ffi::lua_newuserdata(state, size_of::<*const T>()).cast::<*const T>();
            slot.write(std::ptr::null());
            ffi::lua_createtable(state, 0, 1);
            ffi::lua_pushcclosure(state, collect::<T>, 0);
            ffi::lua_setfield(state, -2, c"__gc".as_ptr());
            ffi::lua_setmetatable(state, -2);
            if let Some(object) = object.take() {
                slot.write(Rc::into_raw(object));
            }
            ffi::lua_pushcclosure(state, function, 1);
        })
    }
}

/// `__gc` of the userdata that owns a `T`.
unsafe extern "C-unwind" fn collect<T>(state: *mut lua_State) -> c_int {
    // SAFETY: only ever called by Lua with the userdata of `closure`, or by a program that found
    // the metatable with the debug library, at its own risk. A second call finds null.
    unsafe {
        let slot = ffi::lua_touserdata(state, 1).cast::<*const T>();
        if !slot.is_null() {
            let object = slot.replace(std::ptr::null());
            if !object.is_null() {
                // A panicking destructor is caught; there is nobody to tell.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(Rc::from_raw(object))));
            }
        }
    }
    0
}

/// The object of a closure; None once it is collected.
///
/// # Safety
/// Only in a function made by [`closure`] for a `T`.
#[inline]
unsafe fn upvalue<'a, T>(state: *mut lua_State) -> Option<&'a T> {
    // SAFETY: the first upvalue is the userdata of `closure`, alive as long as the running
    // function; what it points to is alive until `collect` has put null there.
    unsafe {
        let slot = ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<*const T>();
        (*slot).as_ref()
    }
}

unsafe extern "C-unwind" fn next(state: *mut lua_State) -> c_int {
    // SAFETY: see the module. At most six values are pushed; Lua guarantees twenty.
    unsafe {
        let Some(consumer) = upvalue::<Consumer>(state) else {
            return 0;
        };
        let work = || (consumer.is_nested(), consumer.pull());
        let Ok((nested, pulled)) = catch_unwind(AssertUnwindSafe(work)).map_err(drop) else {
            return panicked(state);
        };
        let values = match pulled {
            Pulled::Nothing => return 0,
            Pulled::Message {
                key,
                source,
                payload,
                meta,
                headers,
            } => {
                push_whole(state, key);
                push_bytes(state, source);
                push_bytes(state, payload);
                match meta {
                    None => 3,
                    Some(meta) => push_meta(state, &*meta, &*headers),
                }
            }
            Pulled::Answered { ticket, detail } => {
                ffi::lua_pushinteger(state, ANSWERED as ffi::lua_Integer);
                push_whole(state, ticket);
                push_value(state, &*detail);
                3
            }
            Pulled::Failed {
                ticket,
                code,
                text,
                count,
            } => {
                ffi::lua_pushinteger(state, FAILED as ffi::lua_Integer);
                push_whole(state, ticket);
                push_bytes(state, text);
                push_bytes(state, code.as_str().as_bytes());
                match count {
                    Some(count) => ffi::lua_pushinteger(state, count as ffi::lua_Integer),
                    None => ffi::lua_pushnil(state),
                }
                5
            }
            Pulled::State {
                client,
                state: new,
                code,
                text,
                number,
                detail,
            } => {
                ffi::lua_pushinteger(state, STATE as ffi::lua_Integer);
                ffi::lua_pushinteger(state, client as ffi::lua_Integer);
                push_bytes(state, new.as_str().as_bytes());
                match code {
                    Some(code) => {
                        push_bytes(state, text);
                        push_bytes(state, code.as_str().as_bytes());
                    }
                    None => {
                        ffi::lua_pushnil(state);
                        ffi::lua_pushnil(state);
                    }
                }
                match detail {
                    Some(detail) => push_value(state, &*detail),
                    None => ffi::lua_pushnumber(state, number),
                }
                6
            }
        };
        consumer.pushed(nested);
        values
    }
}

unsafe extern "C-unwind" fn publish(state: *mut lua_State) -> c_int {
    // SAFETY: see the module. The two strings are arguments and stay on the stack, unmoved, for
    // as long as they are borrowed; at most three values are pushed.
    unsafe {
        let Some(client) = upvalue::<Client>(state) else {
            return refuse(state, b"the client is closed", "closed");
        };
        let (Some(target), Some(payload)) = (string(state, 1), string(state, 2)) else {
            return refuse(
                state,
                b"the pattern and the payload must be strings",
                "invalid",
            );
        };
        // A plain post has neither.
        let (ticket, flags) = match ffi::lua_gettop(state) {
            2 => (0, 0),
            _ => (
                ffi::lua_tonumber(state, 3) as u64,
                ffi::lua_tonumber(state, 4) as u32,
            ),
        };
        let ticket = (ticket != 0).then_some(ticket);
        let published = catch_unwind(AssertUnwindSafe(|| {
            client.publish(target, payload, ticket, flags)
        }))
        .map_err(drop);
        match published {
            Ok(Ok(())) => {
                ffi::lua_pushboolean(state, 1);
                1
            }
            Ok(Err(code)) => refuse(state, client.failure(), code.as_str()),
            Err(_) => panicked(state),
        }
    }
}

unsafe extern "C-unwind" fn acknowledge(state: *mut lua_State) -> c_int {
    // SAFETY: see the module. Reads two arguments, pushes nothing.
    unsafe {
        if let Some(client) = upvalue::<Client>(state) {
            let id = ffi::lua_tonumber(state, 1) as u64;
            let verdict = match ffi::lua_toboolean(state, 2) {
                0 => Verdict::Reject,
                _ => Verdict::Accept,
            };
            let told = catch_unwind(AssertUnwindSafe(|| client.acknowledge(id, verdict)));
            if told.map_err(drop).is_err() {
                return panicked(state);
            }
        }
    }
    0
}

#[cfg(feature = "httpd")]
unsafe extern "C-unwind" fn send(state: *mut lua_State) -> c_int {
    // SAFETY: see the module. The string is an argument and stays on the stack, unmoved, for as long
    // as it is borrowed; at most three values are pushed.
    unsafe {
        let Some(sockets) = upvalue::<Sockets>(state) else {
            return refuse(state, b"the WebSocket is closed", "closed");
        };
        let Some(data) = string(state, 2) else {
            return refuse(state, b"a message must be a string", "invalid");
        };
        let key = ffi::lua_tonumber(state, 1) as u64;
        let binary = ffi::lua_toboolean(state, 3) != 0;
        let sent = catch_unwind(AssertUnwindSafe(|| sockets.send(key, data, binary)));
        match sent.map_err(drop) {
            Ok(Ok(())) => {
                ffi::lua_pushboolean(state, 1);
                1
            }
            Ok(Err(code)) => refuse(state, sockets.failure(), code.as_str()),
            Err(()) => panicked(state),
        }
    }
}

/// The bytes of a string argument; numbers do not count as strings.
#[inline]
unsafe fn string<'a>(state: *mut lua_State, index: c_int) -> Option<&'a [u8]> {
    // SAFETY: the type is checked, so the conversion is none and cannot raise; Lua keeps the
    // bytes for as long as the argument is on the stack.
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TSTRING {
            return None;
        }
        let mut len = 0;
        let bytes = ffi::lua_tolstring(state, index, &mut len).cast::<u8>();
        Some(std::slice::from_raw_parts(bytes, len))
    }
}

#[inline]
unsafe fn push_bytes(state: *mut lua_State, bytes: *const [u8]) {
    // SAFETY: the caller's pointer is good until the next pull or publish.
    unsafe {
        ffi::lua_pushlstring(state, bytes.cast::<c_char>(), bytes.len());
    }
}

/// As an integer where Lua's are wide enough: an integer is the faster key of a table.
#[inline]
unsafe fn push_whole(state: *mut lua_State, n: u64) {
    // SAFETY: pushes a number.
    unsafe {
        match ffi::lua_Integer::try_from(n) {
            Ok(n) => ffi::lua_pushinteger(state, n),
            Err(_) => ffi::lua_pushnumber(state, n as ffi::lua_Number),
        }
    }
}

/// Pushes flags, id and the rest behind source and payload; how many values that makes in all.
unsafe fn push_meta(state: *mut lua_State, meta: &Meta, headers: &[u8]) -> c_int {
    // SAFETY: a reference and plain numbers; nothing to drop when Lua raises.
    unsafe {
        ffi::lua_pushinteger(state, meta.flags as ffi::lua_Integer);
        push_whole(state, meta.id);
        match &meta.extra {
            Some(extra) => push_value(state, extra),
            None if headers.is_empty() => return 5,
            None if meta.packed => push_bytes(state, headers),
            None => push_headers(state, headers),
        }
    }
    6
}

/// Pushes a table of packed headers.
unsafe fn push_headers(state: *mut lua_State, mut headers: &[u8]) {
    let (mut rest, mut count) = (headers, 0);
    while unpack(&mut rest).is_some() {
        count += 1;
    }
    // SAFETY: borrows only. Three values above the five of a message: Lua guarantees twenty.
    unsafe {
        ffi::lua_createtable(state, 0, count);
        while let Some((name, value)) = unpack(&mut headers) {
            push_bytes(state, name);
            push_bytes(state, value);
            ffi::lua_rawset(state, -3);
        }
    }
}

unsafe fn push_value(state: *mut lua_State, value: &Value) {
    // SAFETY: borrows only; `luaL_checkstack` raises before the stack is exhausted.
    unsafe {
        match value {
            Value::Nil => ffi::lua_pushnil(state),
            Value::Boolean(flag) => ffi::lua_pushboolean(state, c_int::from(*flag)),
            Value::Integer(n) => match ffi::lua_Integer::try_from(*n) {
                Ok(n) => ffi::lua_pushinteger(state, n),
                Err(_) => ffi::lua_pushnumber(state, *n as ffi::lua_Number),
            },
            Value::Number(n) => ffi::lua_pushnumber(state, *n),
            Value::Bytes(bytes) => push_bytes(state, bytes.as_slice()),
            Value::List(items) => {
                ffi::luaL_checkstack(state, 4, std::ptr::null());
                ffi::lua_createtable(state, items.len() as c_int, 0);
                for (at, item) in items.iter().enumerate() {
                    push_value(state, item);
                    ffi::lua_rawseti(state, -2, (at + 1) as ffi::lua_Integer);
                }
            }
            Value::Map(entries) => {
                ffi::luaL_checkstack(state, 4, std::ptr::null());
                ffi::lua_createtable(state, 0, entries.len() as c_int);
                for (key, item) in entries {
                    push_bytes(state, key.as_slice());
                    push_value(state, item);
                    ffi::lua_rawset(state, -3);
                }
            }
        }
    }
}

unsafe fn refuse(state: *mut lua_State, text: *const [u8], code: &str) -> c_int {
    // SAFETY: the text lies in the client, or is static.
    unsafe {
        ffi::lua_pushnil(state);
        push_bytes(state, text);
        push_bytes(state, code.as_bytes());
    }
    3
}

unsafe fn panicked(state: *mut lua_State) -> c_int {
    // SAFETY: the payload of the panic is dropped by the caller before this raises.
    unsafe {
        ffi::lua_pushstring(
            state,
            c"MQ: internal error (a panic; please report it)".as_ptr(),
        );
        ffi::lua_error(state)
    }
}
