//! Properties between the codec and the neutral vocabulary: a table with the specification's names
//! in lower case (`content_type`), and `user_properties`, a table of names and values.
//!
//! Source: MQTT 5.0, section 2.2.2.

use crate::client::told;
use crate::codec::mqtt::{Place, Properties, PropertyId, PropertyList, PropertyValue};
use crate::error::Error;
use crate::message::Value;
use std::collections::HashMap;

/// The name of the table that holds what may be there several times.
const USER: &str = "user_properties";

/// Reads what a program gives for a packet.
///
/// # Errors
/// Names the property that there is not, that this packet cannot have, or whose value is wrong.
pub(super) fn parse(value: &Value, place: Place) -> Result<PropertyList, Error> {
    let mut list = PropertyList::new();
    let entries = match value {
        Value::Nil => return Ok(list),
        Value::Map(entries) => entries,
        Value::List(_) => return Err(Error::invalid("properties have names: {content_type = …}")),
        _ => return Err(Error::invalid("properties are given as a table")),
    };
    for (name, value) in entries {
        let name = String::from_utf8_lossy(name);
        if name == USER {
            user(value, &mut list)?;
            continue;
        }
        let id = PropertyId::from_name(&name)
            .filter(|id| id.allowed_in(place) && !is_ours(*id, place))
            .ok_or_else(|| {
                let known = PropertyId::ALL.iter().filter(|id| {
                    id.allowed_in(place)
                        && !is_ours(**id, place)
                        && **id != PropertyId::UserProperty
                });
                let known: Vec<_> = known.map(|id| id.name()).collect();
                let known = match known.is_empty() {
                    true => format!("{USER} can"),
                    false => format!("{} and {USER} can", known.join(", ")),
                };
                Error::invalid(format!(
                    "the property {name:?} cannot be given here; {known}"
                ))
            })?;
        let wrong = || {
            let expected = id.type_name();
            Error::invalid(format!(
                "the property {name} must be {expected} (got {})",
                shown(value)
            ))
        };
        let parsed = match value {
            Value::Bytes(bytes) => id.bytes(bytes),
            Value::Boolean(flag) => id
                .integer(u64::from(*flag))
                .filter(|value| matches!(value, PropertyValue::Byte(_))),
            number => number
                .as_integer()
                .and_then(|n| u64::try_from(n).ok())
                .and_then(|n| id.integer(n)),
        };
        push(&mut list, id, parsed.ok_or_else(wrong)?)?;
    }
    Ok(list)
}

/// Properties that the session itself gives or takes.
fn is_ours(id: PropertyId, place: Place) -> bool {
    use PropertyId::{
        AuthenticationData, AuthenticationMethod, MaximumPacketSize, ReceiveMaximum,
        SessionExpiryInterval, SubscriptionIdentifier, TopicAlias, TopicAliasMaximum, UserProperty,
        WillDelayInterval,
    };
    match id {
        TopicAlias | SubscriptionIdentifier | UserProperty => true,
        AuthenticationMethod
        | AuthenticationData
        | MaximumPacketSize
        | ReceiveMaximum
        | SessionExpiryInterval
        | TopicAliasMaximum => place == Place::Connect,
        WillDelayInterval => true,
        _ => false,
    }
}

/// A value as an error shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => told::quoted(bytes),
        Value::Boolean(flag) => flag.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Number(n) => n.to_string(),
        Value::Nil => "nothing".into(),
        Value::List(_) | Value::Map(_) => "a table".into(),
    }
}

fn user(value: &Value, list: &mut PropertyList) -> Result<(), Error> {
    let wrong = || {
        Error::invalid(format!(
            "{USER} is a table of strings: {{name = \"value\", other = {{\"one\", \"two\"}}}}"
        ))
    };
    let Value::Map(entries) = value else {
        return Err(wrong());
    };
    for (name, value) in entries {
        let name = std::str::from_utf8(name).map_err(|_| wrong())?;
        let values = match value {
            Value::List(values) => values.as_slice(),
            single => std::slice::from_ref(single),
        };
        for value in values {
            let value = value.as_text().ok_or_else(wrong)?;
            let pair = PropertyValue::Pair(name, value);
            push(list, PropertyId::UserProperty, pair)?;
        }
    }
    Ok(())
}

/// Adds one.
///
/// # Errors
/// What the codec says of its value.
pub(super) fn push(
    list: &mut PropertyList,
    id: PropertyId,
    value: PropertyValue<'_>,
) -> Result<(), Error> {
    list.push(id, value)
        .map_err(|error| Error::invalid(error.to_string()))
}

/// What came with a packet, as a program sees it; None where there is nothing of interest. A name
/// that comes several times among the user properties has a list.
pub(super) fn to_value(properties: Properties<'_>) -> Option<Value> {
    let mut entries: Vec<(Vec<u8>, Value)> = Vec::new();
    let mut user = User::default();
    for (id, value) in properties.iter() {
        let plain = match value {
            _ if matches!(
                id,
                PropertyId::TopicAlias | PropertyId::SubscriptionIdentifier
            ) =>
            {
                continue
            }
            PropertyValue::Pair(name, value) => {
                user.add(name, value);
                continue;
            }
            PropertyValue::Byte(n) => Value::Integer(n.into()),
            PropertyValue::U16(n) => Value::Integer(n.into()),
            PropertyValue::U32(n) | PropertyValue::Varint(n) => Value::Integer(n.into()),
            PropertyValue::Binary(bytes) => Value::Bytes(bytes.to_vec()),
            PropertyValue::Text(text) => Value::Bytes(text.as_bytes().to_vec()),
        };
        entries.push((id.name().as_bytes().to_vec(), plain));
    }
    if !user.entries.is_empty() {
        entries.push((USER.as_bytes().to_vec(), Value::Map(user.entries)));
    }
    (!entries.is_empty()).then_some(Value::Map(entries))
}

/// The user properties of a packet, in the order of their names' first use.
#[derive(Default)]
struct User<'a> {
    entries: Vec<(Vec<u8>, Value)>,
    /// Their places, once there are many: a packet may hold a million.
    places: HashMap<&'a str, usize>,
}

/// So many names are compared one by one.
const FEW: usize = 16;

impl<'a> User<'a> {
    fn add(&mut self, name: &'a str, value: &str) {
        let value = Value::Bytes(value.as_bytes().to_vec());
        let next = self.entries.len();
        let place = match self.places.get(name) {
            Some(place) => *place,
            // The first few are in no index.
            None => {
                let mut few = self.entries.iter().take(FEW);
                few.position(|(known, _)| known == name.as_bytes())
                    .unwrap_or(next)
            }
        };
        match self.entries.get_mut(place) {
            Some((_, Value::List(values))) => values.push(value),
            Some((_, single)) => *single = Value::List(vec![std::mem::take(single), value]),
            None => {
                if next >= FEW {
                    self.places.insert(name, next);
                }
                self.entries.push((name.as_bytes().to_vec(), value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, Value)]) -> Value {
        let entries = entries.iter();
        Value::Map(
            entries
                .map(|(name, value)| (name.as_bytes().to_vec(), value.clone()))
                .collect(),
        )
    }

    fn text(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn what_goes_in_comes_out() -> Result<(), Error> {
        let given = map(&[
            ("content_type", text("text/plain")),
            ("message_expiry_interval", Value::Integer(60)),
            ("correlation_data", Value::Bytes(vec![0, 255])),
            (
                "user_properties",
                map(&[
                    ("a", Value::List(vec![text("1"), text("2")])),
                    ("b", text("3")),
                ]),
            ),
        ]);
        let list = parse(&given, Place::Publish)?;
        assert_eq!(to_value(list.as_properties()), Some(given));
        assert_eq!(to_value(Properties::default()), None);
        Ok(())
    }

    #[test]
    fn many_user_properties_cost_no_more_each_than_few() -> Result<(), Error> {
        let mut list = PropertyList::new();
        for round in ["first", "second"] {
            for name in 0..100_000 {
                let pair = PropertyValue::Pair(&name.to_string(), round);
                push(&mut list, PropertyId::UserProperty, pair)?;
            }
        }
        let value = to_value(list.as_properties()).unwrap_or_default();
        let user = value.member(USER);
        let both = Value::List(vec![text("first"), text("second")]);
        for name in ["0", "15", "16", "17"] {
            assert_eq!(user.member(name), &both, "{name}");
        }
        let Value::Map(entries) = user else {
            panic!("{user:?}");
        };
        assert_eq!(entries.len(), 100_000);
        Ok(())
    }

    #[test]
    fn a_wrong_property_is_named() {
        for (name, value, expected) in [
            ("contenttype", text("x"), "content_type"),
            ("topic_alias", Value::Integer(1), "cannot be given here"),
            ("message_expiry_interval", text("soon"), "an integer"),
            ("payload_format_indicator", Value::Integer(2), "0 or 1"),
            ("response_topic", text("a/#"), "without wildcards"),
            ("user_properties", text("x"), "a table of strings"),
        ] {
            let outcome = parse(&map(&[(name, value)]), Place::Publish);
            assert!(
                outcome
                    .as_ref()
                    .is_err_and(|error| error.text.contains(expected)),
                "{name}: {outcome:?}"
            );
        }
    }
}
