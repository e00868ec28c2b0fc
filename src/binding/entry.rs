//! What Lua calls for `require "MQ.core"`.
#![allow(unsafe_code)]

use mlua::ffi::{self, lua_State};
use mlua::Lua;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use std::ffi::c_int;

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
