//! What a program is told in the same words whatever the protocol.

use crate::error::{Code, Error};
use crate::message::{Batch, Ticket, Value};

/// The error of a message that was under way when the connection ended because of `cause`.
pub(super) fn lost(cause: &Error) -> Error {
    let code = match cause.code {
        Code::Timeout | Code::Closed => cause.code,
        _ => Code::Lost,
    };
    Error::new(code, format!("the outcome is unknown: {}", cause.text))
}

/// The error of a message for which there is no room: so many wait, and so many may.
pub(super) fn full(messages: (usize, usize), bytes: (usize, usize)) -> Error {
    Error::new(
        Code::Full,
        format!(
            "the queue is full: {} messages, {} bytes wait (max_queue = {}, max_queue_bytes = {})",
            messages.0, bytes.0, messages.1, bytes.1
        ),
    )
}

/// The error of a message that could never be queued.
pub(super) fn too_large(payload: usize, max_queue_bytes: usize) -> Error {
    Error::invalid(format!(
        "a message of {payload} bytes is larger than max_queue_bytes = {max_queue_bytes}"
    ))
}

/// A name as an error shows it: in quotation marks, and not for pages.
#[cfg(any(feature = "mqtt", feature = "stomp"))]
pub(super) fn quoted(name: &[u8]) -> String {
    const MOST: usize = 80;
    let name = String::from_utf8_lossy(name);
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &name[..end]),
        None => format!("{name:?}"),
    }
}

/// The error of a queued message that newer ones have pushed out.
pub(super) fn dropped() -> Error {
    Error::new(Code::Full, "dropped: newer messages needed the room")
}

/// Answers a close: so many messages could not be sent, because of `reason`.
pub(super) fn closed(ticket: Ticket, unsent: usize, reason: &Error, events: &mut Batch) {
    if unsent == 0 {
        events.answer(ticket, Value::Nil);
        return;
    }
    let text = format!("{unsent} messages could not be sent: {}", reason.text);
    let error = Error::new(Code::Lost, text);
    events.fail_counted(ticket, &error, Some(unsent as u64));
}
