//! Lua values into neutral ones. The other way is in [`super::raw`], where it must be fast.

use crate::message::Value;
use mlua::prelude::{LuaError, LuaResult, LuaString, LuaValue};

/// Deeper tables are refused: options nest two levels, headers one.
const DEPTH: usize = 16;

/// A table with the keys 1 to n becomes a list, any other a map; functions and userdata are
/// refused.
pub(super) fn to_value(value: &LuaValue) -> LuaResult<Value> {
    convert(value, DEPTH)
}

fn convert(value: &LuaValue, depth: usize) -> LuaResult<Value> {
    Ok(match value {
        LuaValue::Nil => Value::Nil,
        LuaValue::Boolean(flag) => Value::Boolean(*flag),
        LuaValue::Integer(n) => Value::Integer(*n),
        LuaValue::Number(n) => Value::Number(*n),
        LuaValue::String(text) => Value::Bytes(text.as_bytes().to_vec()),
        LuaValue::Table(_) if depth == 0 => {
            return Err(LuaError::runtime("a table nested too deeply"));
        }
        LuaValue::Table(table) if table.raw_len() > 0 => Value::List(
            table
                .clone()
                .sequence_values::<LuaValue>()
                .map(|item| convert(&item?, depth - 1))
                .collect::<LuaResult<_>>()?,
        ),
        LuaValue::Table(table) => {
            let mut entries = Vec::new();
            for pair in table.clone().pairs::<LuaString, LuaValue>() {
                let (key, item) = pair?;
                entries.push((key.as_bytes().to_vec(), convert(&item, depth - 1)?));
            }
            Value::Map(entries)
        }
        other => {
            let kind = other.type_name();
            return Err(LuaError::runtime(format!("a {kind} cannot be used here")));
        }
    })
}
