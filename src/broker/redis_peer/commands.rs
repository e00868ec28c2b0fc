//! What each command of Redis means to the broker. Writes replies, knows nothing of how they leave.

use super::table::{place, COMMANDS, PUBLISH};
use super::{Client, Details};
use crate::broker::Message;
use crate::codec::resp::{reply, Arguments, Version};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// The version of Redis whose words and answers these are: clients look at it to know what there is.
pub(super) const REDIS: &str = "7.0.0";

/// Databases that SELECT takes; publish/subscribe is the same in all of them.
pub(super) const DATABASES: u8 = 16;

/// Text that came from a client, in a message to it.
pub(super) fn shown(bytes: &[u8]) -> String {
    let most = bytes.get(..bytes.len().min(128)).unwrap_or_default();
    String::from_utf8_lossy(most).into_owned()
}

pub(super) fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

impl Client {
    /// Answers one command.
    pub(super) fn execute(&mut self, now: Instant, command: Arguments<'_>) {
        let name = command.at(0);
        // The one that comes by the million.
        if command.len() == 3
            && is(name, "publish")
            && self.trusted
            && (self.version == Version::Resp3 || self.subscriptions.len() == 0)
        {
            self.published += 1;
            return self.publish(command);
        }
        let found = place(name).and_then(|at| Some((at, COMMANDS.get(at)?)));
        let Some((at, known)) = found else {
            return self.unknown(command);
        };
        let count = command.len() as i64;
        if (known.arity > 0 && count != known.arity) || count < -known.arity {
            return self.wrong_number(known.name);
        }
        let before_login = known.flags.contains(&"no_auth");
        if !self.trusted && !before_login {
            return self.error("NOAUTH Authentication required.");
        }
        let in_subscription = matches!(
            known.name,
            "subscribe" | "psubscribe" | "unsubscribe" | "punsubscribe" | "ping" | "quit" | "reset"
        );
        if self.version == Version::Resp2 && self.subscriptions.len() > 0 && !in_subscription {
            return self.error(&format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed \
                 in this context",
                known.name
            ));
        }
        self.count_published();
        self.count_calls(at, 1);
        (known.execute)(self, now, command);
    }

    /// Tells what [`Client::execute`] has only noted.
    pub(super) fn count_published(&mut self) {
        if self.published > 0 {
            self.count_calls(PUBLISH, self.published);
            self.published = 0;
        }
    }

    pub(super) fn error(&mut self, text: &str) {
        reply::put_error(&mut self.out, text.as_bytes());
    }

    pub(super) fn ok(&mut self) {
        reply::put_line(&mut self.out, b"OK");
    }

    fn unknown(&mut self, command: Arguments<'_>) {
        let mut text = format!(
            "ERR unknown command '{}', with args beginning with: ",
            shown(command.at(0))
        );
        for argument in command.from(1) {
            if text.len() >= 256 {
                break;
            }
            text.push_str(&format!("'{}' ", shown(argument)));
        }
        self.error(&text);
    }

    pub(super) fn wrong_number(&mut self, name: &str) {
        self.error(&format!(
            "ERR wrong number of arguments for '{name}' command"
        ));
    }

    pub(super) fn unknown_subcommand(&mut self, command: Arguments<'_>) {
        let text = format!(
            "ERR unknown subcommand '{}'. Try {} HELP.",
            shown(command.at(1)),
            shown(command.at(0)).to_uppercase()
        );
        self.error(&text);
    }

    #[inline]
    pub(super) fn publish(&mut self, command: Arguments<'_>) {
        let (channel, payload) = (command.at(1), command.at(2));
        let publisher = self.caller.id;
        let receivers = self.caller.broker.publish(channel, || {
            Arc::new(Message {
                topic: Bytes::copy_from_slice(channel),
                payload: Bytes::copy_from_slice(payload),
                publisher,
                ..Message::default()
            })
        });
        // As in Redis, what a client tells itself comes before the answer.
        self.catch_up();
        reply::put_integer(&mut self.out, receivers as i64);
    }

    pub(super) fn ping(&mut self, _: Instant, command: Arguments<'_>) {
        if command.len() > 2 {
            self.wrong_number("ping");
        } else if self.version == Version::Resp2 && self.subscriptions.len() > 0 {
            reply::put_pong(&mut self.out, command.at(1));
        } else if command.len() == 2 {
            reply::put_bulk(&mut self.out, command.at(1));
        } else {
            reply::put_line(&mut self.out, b"PONG");
        }
    }

    pub(super) fn quit(&mut self) {
        self.catch_up();
        self.ok();
        self.leaving = true;
    }

    pub(super) fn reset(&mut self) {
        self.catch_up();
        self.end_subscriptions();
        self.version = Version::Resp2;
        self.trusted = self.caller.broker.settings().users.is_none();
        *self.card.details() = Details::default();
        reply::put_line(&mut self.out, b"RESET");
    }

    pub(super) fn select(&mut self, _: Instant, command: Arguments<'_>) {
        match number(command.at(1)) {
            None => self.error("ERR value is not an integer or out of range"),
            Some(database) if !(0..i64::from(DATABASES)).contains(&database) => {
                self.error("ERR DB index is out of range");
            }
            Some(database) => {
                self.card.details().database = database as u8;
                self.ok();
            }
        }
    }

    pub(super) fn auth(&mut self, _: Instant, command: Arguments<'_>) {
        let (user, password) = match command.len() {
            2 => (b"default".as_slice(), command.at(1)),
            3 => (command.at(1), command.at(2)),
            _ => return self.error("ERR syntax error"),
        };
        if command.len() == 2 && self.caller.broker.settings().users.is_none() {
            self.error(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            );
        } else if self.log_in(user, password) {
            self.ok();
        }
    }

    /// False: it was refused, and told so.
    fn log_in(&mut self, user: &[u8], password: &[u8]) -> bool {
        let broker = &self.caller.broker;
        // Without users there is the default one alone, whom any password suits.
        let known = broker.settings().users.is_some() || user == b"default";
        if known && broker.admits(user, password) {
            self.trusted = true;
            self.card.details().user = (user != b"default").then(|| user.into());
            return true;
        }
        self.error("WRONGPASS invalid username-password pair or user is disabled.");
        false
    }

    pub(super) fn hello(&mut self, _: Instant, command: Arguments<'_>) {
        let version = match (command.len(), number(command.at(1))) {
            (1, _) => self.version,
            (_, Some(2)) => Version::Resp2,
            (_, Some(3)) => Version::Resp3,
            (_, Some(_)) => return self.error("NOPROTO unsupported protocol version"),
            (_, None) => {
                return self.error("ERR Protocol version is not an integer or out of range");
            }
        };
        let (mut login, mut name) = (None, None);
        let mut at = 2;
        while at < command.len() {
            let option = command.at(at);
            let left = command.len() - at - 1;
            if is(option, "auth") && left >= 2 {
                login = Some((command.at(at + 1), command.at(at + 2)));
                at += 3;
            } else if is(option, "setname") && left >= 1 {
                name = Some(command.at(at + 1));
                at += 2;
            } else {
                let text = format!("ERR Syntax error in HELLO option '{}'", shown(option));
                return self.error(&text);
            }
        }
        if let Some((user, password)) = login {
            if !self.log_in(user, password) {
                return;
            }
        }
        if !self.trusted {
            return self.error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
                 <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
                 the same time",
            );
        }
        if let Some(name) = name {
            if !self.set_name(name) {
                return;
            }
        }
        self.catch_up();
        self.version = version;
        self.card.details().version = version;
        let out = &mut self.out;
        reply::put_map(out, version, 7);
        reply::put_bulk(out, b"server");
        reply::put_bulk(out, b"redis");
        reply::put_bulk(out, b"version");
        reply::put_bulk(out, REDIS.as_bytes());
        reply::put_bulk(out, b"proto");
        reply::put_integer(out, if version == Version::Resp3 { 3 } else { 2 });
        reply::put_bulk(out, b"id");
        reply::put_integer(out, self.caller.id as i64);
        reply::put_bulk(out, b"mode");
        reply::put_bulk(out, b"standalone");
        reply::put_bulk(out, b"role");
        reply::put_bulk(out, b"master");
        reply::put_bulk(out, b"modules");
        reply::put_array(out, 0);
    }

    /// False: it was refused, and told so.
    fn set_name(&mut self, name: &[u8]) -> bool {
        if name.iter().all(u8::is_ascii_graphic) {
            self.card.details().name = name.into();
            return true;
        }
        self.error("ERR Client names cannot contain spaces, newlines or special characters.");
        false
    }

    pub(super) fn client(&mut self, now: Instant, command: Arguments<'_>) {
        let verb = command.at(1).to_ascii_lowercase();
        let expected = match &verb[..] {
            b"id" | b"getname" | b"info" => 2,
            b"setname" | b"no-evict" | b"no-touch" => 3,
            b"setinfo" => 4,
            b"list" => return self.client_list(now, command),
            b"kill" if command.len() > 2 => return self.client_kill(command),
            b"kill" => 3,
            _ => return self.unknown_subcommand(command),
        };
        if command.len() != expected {
            return self.wrong_number(&format!("client|{}", shown(&verb)));
        }
        match &verb[..] {
            b"id" => reply::put_integer(&mut self.out, self.caller.id as i64),
            b"getname" => match &self.card.details().name {
                name if name.is_empty() => reply::put_null(&mut self.out, self.version),
                name => reply::put_bulk(&mut self.out, name),
            },
            b"setname" => {
                if self.set_name(command.at(2)) {
                    self.ok();
                }
            }
            b"info" => self.client_info(now),
            // What the client library is called; and what a broker that stores nothing does not do anyway.
            _ => self.ok(),
        }
    }

    pub(super) fn pubsub(&mut self, _: Instant, command: Arguments<'_>) {
        let verb = command.at(1).to_ascii_lowercase();
        let broker = self.caller.broker.clone();
        let router = broker.router();
        match (&verb[..], command.len()) {
            (b"channels", 2 | 3) => {
                let pattern = (command.len() == 3).then(|| command.at(2));
                let names: Vec<_> = router.names_like(pattern).collect();
                reply::put_array(&mut self.out, names.len());
                for name in names {
                    reply::put_bulk(&mut self.out, name);
                }
            }
            (b"channels", _) => {
                let text = "ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.";
                self.error(text);
            }
            (b"numsub", _) => {
                reply::put_map(&mut self.out, Version::Resp2, command.len() - 2);
                for name in command.from(2) {
                    reply::put_bulk(&mut self.out, name);
                    reply::put_integer(&mut self.out, router.count(name) as i64);
                }
            }
            (b"numpat", 2) => reply::put_integer(&mut self.out, router.globs() as i64),
            (b"numpat", _) => self.wrong_number("pubsub|numpat"),
            // Sharded channels are a cluster's.
            (b"shardchannels" | b"shardnumsub", _) => reply::put_array(&mut self.out, 0),
            _ => self.unknown_subcommand(command),
        }
    }
}

pub(super) fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
