//! What destinations mean. Knows no connection.

use super::{shown, Refusal};
use std::fmt::Write;

/// RabbitMQ's and ActiveMQ's name for a queue that is the connection's own.
pub(super) const TEMPORARY: &[u8] = b"/temp-queue/";

/// What others write to reach such a queue.
pub(super) const REPLY: &[u8] = b"/reply-queue/";

/// Where messages go, or come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination<'a> {
    /// A name of the router, which all protocols share: `/topic/x` is `x`. So is whatever has none of the other forms:
    /// `x` is `x`, and `/user/9` is `/user/9`.
    Topic(&'a [u8]),
    /// The whole of `/queue/x`, which names the queue, so that no other kind's name can; and its `x`.
    Queue(&'a [u8], &'a [u8]),
    /// The `x` of `/temp-queue/x`.
    Temporary(&'a [u8]),
    /// Somebody's temporary queue, by the name that the broker has given it.
    Reply(&'a [u8]),
}

impl<'a> Destination<'a> {
    /// Reads the header `destination`.
    ///
    /// # Errors
    /// There is no name in it.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Refusal> {
        let (name, destination) = if let Some(name) = text.strip_prefix(b"/topic/") {
            (name, Destination::Topic(name))
        } else if let Some(name) = text.strip_prefix(b"/queue/") {
            (name, Destination::Queue(text, name))
        } else if let Some(name) = text.strip_prefix(TEMPORARY) {
            (name, Destination::Temporary(name))
        } else if let Some(name) = text.strip_prefix(REPLY) {
            (name, Destination::Reply(text))
        } else {
            (text, Destination::Topic(text))
        };
        match name.is_empty() {
            false => Ok(destination),
            true => Err(Refusal::violation(format!(
                "the destination {} has no name",
                shown(text)
            ))),
        }
    }
}

/// What the temporary queue with this number of this connection is called.
pub(super) fn reply_name(connection: u64, number: u64) -> Vec<u8> {
    let mut name = String::from_utf8_lossy(REPLY).into_owned();
    let _ = write!(name, "{connection}-{number}");
    name.into_bytes()
}
