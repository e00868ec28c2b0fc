//! cf's `json` module: serde_json behind mlua's serde.

use mlua::prelude::{Lua, LuaError, LuaResult, LuaString, LuaTable, LuaValue};
use mlua::serde::SerializeOptions;
use mlua::LuaSerdeExt;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io;

/// An empty table becomes `{}`, as in cf; [`array`] marks one that is to become `[]`.
pub(super) fn encode(_: &Lua, value: LuaValue) -> LuaResult<String> {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, TextOnly);
    value
        .serialize(&mut serializer)
        .map_err(|error| LuaError::runtime(format!("json: {error}")))?;
    String::from_utf8(text).map_err(LuaError::external)
}

/// JSON's strings are Unicode: a string of other bytes is refused, not turned into an array.
struct TextOnly;

impl Formatter for TextOnly {
    fn write_byte_array<W: ?Sized + io::Write>(&mut self, _: &mut W, _: &[u8]) -> io::Result<()> {
        Err(io::Error::other(
            "a string that is not UTF-8 cannot be encoded",
        ))
    }
}

/// The value, or nil and why the text is not JSON. `null` becomes `json_null`.
pub(super) fn decode(lua: &Lua, text: LuaString) -> LuaResult<(LuaValue, Option<String>)> {
    match serde_json::from_slice::<serde_json::Value>(&text.as_bytes()) {
        Ok(value) => {
            let options = SerializeOptions::new().set_array_metatable(true);
            Ok((lua.to_value_with(&value, options)?, None))
        }
        Err(error) => Ok((LuaValue::Nil, Some(format!("json: {error}")))),
    }
}

/// Marks a table as an array, also while it is empty.
pub(super) fn array(lua: &Lua, table: LuaTable) -> LuaResult<LuaTable> {
    table.set_metatable(Some(lua.array_metatable()))?;
    Ok(table)
}
