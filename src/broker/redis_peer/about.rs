//! What the broker tells a Redis client about itself: COMMAND, CONFIG, INFO.

use super::commands::{is, shown, DATABASES, REDIS};
use super::table::{find, Known, COMMANDS};
use super::Client;
use crate::broker::glob;
use crate::codec::resp::{reply, Arguments, Version};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const COMMAND_STATS: &str = "Commandstats";

impl Client {
    pub(super) fn command(&mut self, _: Instant, command: Arguments<'_>) {
        let verb = command.at(1).to_ascii_lowercase();
        let named: Vec<&[u8]> = command.from(2).collect();
        match &verb[..] {
            b"" => {
                reply::put_array(&mut self.out, COMMANDS.len());
                COMMANDS.iter().for_each(|known| self.put_info(known));
            }
            b"count" => reply::put_integer(&mut self.out, COMMANDS.len() as i64),
            b"list" => {
                reply::put_array(&mut self.out, COMMANDS.len());
                for known in COMMANDS {
                    reply::put_bulk(&mut self.out, known.name.as_bytes());
                }
            }
            b"info" if named.is_empty() => {
                reply::put_array(&mut self.out, COMMANDS.len());
                COMMANDS.iter().for_each(|known| self.put_info(known));
            }
            b"info" => {
                reply::put_array(&mut self.out, named.len());
                for name in named {
                    match find(name) {
                        Some(known) => self.put_info(known),
                        None if self.version == Version::Resp2 => {
                            self.out.extend_from_slice(b"*-1\r\n");
                        }
                        None => reply::put_null(&mut self.out, self.version),
                    }
                }
            }
            b"docs" => {
                let wanted: Vec<&Known> = match named.is_empty() {
                    true => COMMANDS.iter().collect(),
                    false => named.iter().filter_map(|name| find(name)).collect(),
                };
                reply::put_map(&mut self.out, self.version, wanted.len());
                wanted.into_iter().for_each(|known| self.put_docs(known));
            }
            _ => self.unknown_subcommand(command),
        }
    }

    /// The ten parts of Redis 7's COMMAND INFO; no command here has keys.
    fn put_info(&mut self, known: &Known) {
        let (out, version) = (&mut self.out, self.version);
        reply::put_array(out, 10);
        reply::put_bulk(out, known.name.as_bytes());
        reply::put_integer(out, known.arity);
        reply::put_set(out, version, known.flags.len());
        for flag in known.flags {
            reply::put_line(out, flag.as_bytes());
        }
        for _ in ["first key", "last key", "step"] {
            reply::put_integer(out, 0);
        }
        reply::put_set(out, version, 1);
        reply::put_line(out, format!("@{}", known.group).as_bytes());
        for _ in ["tips", "key specifications"] {
            reply::put_set(out, version, 0);
        }
        reply::put_array(out, 0);
    }

    fn put_docs(&mut self, known: &Known) {
        let (out, version) = (&mut self.out, self.version);
        reply::put_bulk(out, known.name.as_bytes());
        reply::put_map(out, version, 3);
        for (name, value) in [
            ("summary", known.summary),
            ("since", "1.0.0"),
            ("group", known.group),
        ] {
            reply::put_bulk(out, name.as_bytes());
            reply::put_bulk(out, value.as_bytes());
        }
    }

    pub(super) fn config(&mut self, _: Instant, command: Arguments<'_>) {
        let verb = command.at(1).to_ascii_lowercase();
        match &verb[..] {
            b"get" if command.len() > 2 => {
                let settings = self.caller.broker.settings();
                let all = [
                    ("appendonly", "no".to_owned()),
                    ("databases", DATABASES.to_string()),
                    ("maxclients", settings.max_connections.to_string()),
                    ("proto-max-bulk-len", settings.max_packet.to_string()),
                    ("save", String::new()),
                ];
                let wanted = |name: &str| {
                    let mut patterns = command.from(2).map(<[u8]>::to_ascii_lowercase);
                    patterns.any(|pattern| glob::matches(&pattern, name.as_bytes()))
                };
                let found: Vec<_> = all.into_iter().filter(|(name, _)| wanted(name)).collect();
                reply::put_map(&mut self.out, self.version, found.len());
                for (name, value) in found {
                    reply::put_bulk(&mut self.out, name.as_bytes());
                    reply::put_bulk(&mut self.out, value.as_bytes());
                }
            }
            b"set" if command.len() > 3 => {
                let text = format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                    shown(command.at(2))
                );
                self.error(&text);
            }
            b"get" | b"set" => self.wrong_number(&format!("config|{}", shown(&verb))),
            b"resetstat" => {
                self.caller.broker.redis.forget_calls();
                self.ok();
            }
            _ => self.unknown_subcommand(command),
        }
    }

    pub(super) fn info(&mut self, _: Instant, command: Arguments<'_>) {
        let counters = self.caller.broker.counters();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (globs, names) = {
            let router = self.caller.broker.router();
            (router.globs(), router.names_like(None).count())
        };
        let sections = [
            (
                "Server",
                format!(
                    "redis_version:{REDIS}\r\nredis_mode:standalone\r\nmq_version:{}\r\nprocess_id:{}\r\n",
                    env!("CARGO_PKG_VERSION"),
                    std::process::id()
                ),
            ),
            (
                "Clients",
                format!(
                    "connected_clients:{}\r\nmaxclients:{}\r\n",
                    counters.connections.load(Ordering::Relaxed),
                    self.caller.broker.settings().max_connections
                ),
            ),
            (
                "Stats",
                format!(
                    "total_connections_received:{}\r\nrejected_connections:{}\r\npubsub_channels:{names}\r\n\
                     pubsub_patterns:{globs}\r\nmq_messages_received:{}\r\nmq_messages_sent:{}\r\n",
                    load(&counters.accepted),
                    load(&counters.refused),
                    load(&counters.received),
                    load(&counters.sent),
                ),
            ),
            ("Replication", "role:master\r\nconnected_slaves:0\r\n".to_owned()),
            (COMMAND_STATS, self.caller.broker.redis.command_stats()),
        ];
        let wanted = |name: &str| {
            // As in Redis, the counts of commands are for whoever asks for them, or for everything.
            let usual = name != COMMAND_STATS;
            let mut words = command.from(1);
            (usual && command.len() == 1)
                || words.any(|word| {
                    is(word, name)
                        || is(word, "all")
                        || is(word, "everything")
                        || (usual && is(word, "default"))
                })
        };
        let chosen: Vec<String> = sections
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, lines)| format!("# {name}\r\n{lines}"))
            .collect();
        let text = chosen.join("\r\n");
        reply::put_text_for_people(&mut self.out, self.version, &text);
    }
}
