//! What the server's answers during the handshake mean: HELLO (RESP3) with AUTH inside, or, for a
//! server that does not know HELLO, AUTH alone; then SELECT, or a PING to see whether the server
//! lets us in.
//!
//! Source: Redis command reference, HELLO, AUTH, SELECT.

use super::Options;
use crate::codec::resp::encode_command;
use crate::error::{Code, Error};
use bytes::BytesMut;

/// The command whose answer is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Hello,
    Auth,
    Select,
    Ping,
}

/// What to do about an error that answers a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server speaks RESP2 only: go on without HELLO.
    Fallback,
    /// Drop the connection; [`Error::fatal`] says whether for good.
    Drop(Error),
}

pub(super) fn encode(step: Step, options: &Options, out: &mut BytesMut) {
    let user = options.username.as_deref();
    match (step, options.password.as_deref()) {
        (Step::Hello, Some(password)) => {
            let user = user.unwrap_or(b"default");
            encode_command(out, &[b"HELLO", b"3", b"AUTH", user, password]);
        }
        (Step::Hello, None) => encode_command(out, &[b"HELLO", b"3"]),
        (Step::Auth, password) => {
            let password = password.unwrap_or_default();
            match user {
                Some(user) => encode_command(out, &[b"AUTH", user, password]),
                None => encode_command(out, &[b"AUTH", password]),
            }
        }
        (Step::Ping, _) => encode_command(out, &[b"PING"]),
        (Step::Select, _) => {
            encode_command(out, &[b"SELECT", options.db.to_string().as_bytes()]);
        }
    }
}

/// Judges an error answer. A server that is loading, full or without its master gets better by
/// itself; credentials and database numbers do not.
pub(super) fn judge(step: Step, text: &str, options: &Options) -> Verdict {
    let kind = text.split_ascii_whitespace().next().unwrap_or_default();
    let passing = matches!(
        kind,
        "LOADING" | "MASTERDOWN" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN"
    ) || text.contains("max number of clients");
    if passing {
        return Verdict::Drop(Error::new(
            Code::Refused,
            format!("the server refused the connection: {text}"),
        ));
    }
    if step == Step::Hello {
        let lower = text.to_ascii_lowercase();
        if kind == "NOPROTO" || kind == "NOPERM" || lower.contains("unknown command") {
            return Verdict::Fallback;
        }
    }
    let credentials = match kind {
        "NOAUTH" | "WRONGPASS" => true,
        _ => step == Step::Auth || (step == Step::Hello && text.contains("AUTH")),
    };
    Verdict::Drop(if credentials {
        let remedy = match (&options.username, &options.password) {
            (_, None) => "; give `auth`, or `username` and `password`",
            (None, _) => "; is `auth` the right password?",
            _ => "; are `username` and `password` right?",
        };
        Error::fatal(Code::Auth, format!("{text}{remedy}"))
    } else if step == Step::Select {
        Error::fatal(Code::Refused, format!("db = {}: {text}", options.db))
    } else {
        Error::fatal(
            Code::Refused,
            format!("the server refused the connection: {text}"),
        )
    })
}
