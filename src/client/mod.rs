//! What the protocols mean to a client: one session type a protocol, all commanded through
//! [`crate::message`]. No sockets, no clock, no Lua.

#[cfg(any(feature = "mqtt", feature = "stomp"))]
mod gather;
#[cfg(any(feature = "mqtt", feature = "stomp"))]
mod in_flight;
pub mod ledger;
#[cfg(feature = "mqtt")]
pub mod mqtt;
pub mod outbox;
pub mod redis;
#[cfg(any(feature = "mqtt", feature = "stomp"))]
mod sender;
#[cfg(feature = "stomp")]
pub mod stomp;
pub mod subscriptions;
mod told;

use crate::error::Error;
use crate::message::Value;
use crate::session::Client;
use std::time::Instant;

/// Makes the session of `protocol` from the options that the Lua layer has checked.
///
/// # Errors
/// An unknown protocol, or an option of the wrong kind.
pub fn create(protocol: &str, options: &Value) -> Result<Box<dyn Client>, Error> {
    match protocol {
        #[cfg(feature = "mqtt")]
        "mqtt" => Ok(Box::new(mqtt::Mqtt::new(mqtt::Options::parse(options)?))),
        "redis" => Ok(Box::new(redis::Redis::new(redis::Options::parse(options)?))),
        #[cfg(feature = "stomp")]
        "stomp" => Ok(Box::new(stomp::Stomp::new(stomp::Options::parse(options)?))),
        other => Err(Error::invalid(format!(
            "this build of MQ has no {other}; build it with `make build`, which leaves nothing out"
        ))),
    }
}

/// The earlier of two times that need not be.
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
