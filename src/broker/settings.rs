//! What a broker is told when it is made.

use crate::error::Error;
use crate::message::Value;
use std::collections::HashMap;
use std::fmt;

/// Limits, and who may come in.
#[derive(Clone)]
pub struct Settings {
    /// Names and passwords; None: everybody may come in.
    pub users: Option<HashMap<Vec<u8>, Vec<u8>>>,
    /// Connections at a time.
    pub max_connections: usize,
    /// Bytes of the largest frame that a client may send.
    pub max_packet: usize,
    /// Subscriptions of one client.
    pub max_subscriptions: usize,
    /// Bytes that may wait for one client to read them.
    pub max_queue_bytes: usize,
    /// Bytes of all retained messages (MQTT).
    pub max_retained_bytes: usize,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Passwords stay out of it.
        f.debug_struct("Settings")
            .field("users", &self.users.as_ref().map(HashMap::len))
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            users: None,
            max_connections: 20_000,
            max_packet: 64 << 20,
            max_subscriptions: 1_000_000,
            max_queue_bytes: 32 << 20,
            max_retained_bytes: 64 << 20,
        }
    }
}

impl Settings {
    /// Reads the options; the Lua layer has checked names and ranges.
    ///
    /// # Errors
    /// A user whose password is no string.
    pub fn parse(options: &Value) -> Result<Self, Error> {
        let defaults = Settings::default();
        let size = |name, default| options.member(name).as_size().unwrap_or(default).max(1);
        let users = match options.member("users") {
            Value::Map(users) => Some(
                users
                    .iter()
                    .map(|(user, password)| match password.as_bytes() {
                        Some(password) => Ok((user.clone(), password.to_vec())),
                        None => Err(Error::invalid(format!(
                            "the password of the user {:?} must be a string",
                            String::from_utf8_lossy(user)
                        ))),
                    })
                    .collect::<Result<_, _>>()?,
            ),
            _ => None,
        };
        Ok(Settings {
            users,
            max_connections: size("max_connections", defaults.max_connections),
            max_packet: size("max_packet", defaults.max_packet),
            max_subscriptions: size("max_subscriptions", defaults.max_subscriptions),
            max_queue_bytes: size("max_queue_bytes", defaults.max_queue_bytes),
            max_retained_bytes: size("max_retained_bytes", defaults.max_retained_bytes),
        })
    }

    pub(super) fn admits(&self, user: &[u8], password: &[u8]) -> bool {
        match &self.users {
            None => true,
            Some(users) => users.get(user).is_some_and(|known| same(known, password)),
        }
    }
}

/// Takes as long whichever byte differs.
fn same(known: &[u8], given: &[u8]) -> bool {
    let differences = known.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
    known.len() == given.len() && differences == 0
}
