//! The connections as each other see them (CLIENT LIST, CLIENT KILL), and how often each command has been called.

use super::commands::{is, number, shown};
use super::table::COMMANDS;
use super::Client;
use crate::broker::{lock, Bell, Caller};
use crate::codec::resp::{reply, Arguments, Version};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Instant;

/// What the broker has for Redis alone.
#[derive(Debug, Default)]
pub(in crate::broker) struct Service {
    /// In the order of [`COMMANDS`].
    calls: [AtomicU64; COMMANDS.len()],
    clients: Mutex<BTreeMap<u64, Arc<Card>>>,
}

/// What others may know of a connection, and do to it. Its lock is held for a moment, and nothing is called meanwhile.
pub(super) struct Card {
    id: u64,
    remote: Arc<str>,
    local: Arc<str>,
    bell: Weak<dyn Bell>,
    began: OnceLock<Instant>,
    /// Milliseconds since it began.
    heard: AtomicU64,
    /// Place of its last command in [`COMMANDS`].
    command: AtomicUsize,
    killed: AtomicBool,
    details: Mutex<Details>,
}

#[derive(Clone)]
pub(super) struct Details {
    pub(super) name: Box<[u8]>,
    /// None: the default one.
    pub(super) user: Option<Box<[u8]>>,
    pub(super) database: u8,
    pub(super) version: Version,
    pub(super) channels: usize,
    pub(super) patterns: usize,
}

impl Default for Details {
    fn default() -> Self {
        Details {
            name: Box::default(),
            user: None,
            database: 0,
            version: Version::Resp2,
            channels: 0,
            patterns: 0,
        }
    }
}

impl Details {
    fn user(&self) -> &[u8] {
        self.user.as_deref().unwrap_or(b"default")
    }

    fn receives(&self) -> bool {
        self.channels + self.patterns > 0
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Card {
    pub(super) fn new(caller: &Caller) -> Arc<Self> {
        Arc::new(Card {
            id: caller.id,
            remote: caller.remote.clone(),
            local: caller.local.clone(),
            bell: caller.bell.clone(),
            began: OnceLock::new(),
            heard: AtomicU64::new(0),
            command: AtomicUsize::new(0),
            killed: AtomicBool::new(false),
            details: Mutex::default(),
        })
    }

    pub(super) fn begin(&self, now: Instant) {
        self.began.get_or_init(|| now);
    }

    pub(super) fn began(&self) -> Option<Instant> {
        self.began.get().copied()
    }

    fn age(&self, now: Instant) -> u64 {
        self.began().map_or(0, |began| {
            now.saturating_duration_since(began).as_millis() as u64
        })
    }

    pub(super) fn hear(&self, now: Instant) {
        self.heard.store(self.age(now), Ordering::Relaxed);
    }

    /// Not to be held across a call of anything of another connection.
    pub(super) fn details(&self) -> MutexGuard<'_, Details> {
        lock(&self.details)
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        if let Some(bell) = self.bell.upgrade() {
            bell.ring();
        }
    }

    fn is_of_type(&self, kind: &[u8]) -> bool {
        match self.details().receives() {
            true => is(kind, "pubsub"),
            false => is(kind, "normal"),
        }
    }

    /// A line of CLIENT LIST.
    fn describe(&self, now: Instant, verb: &str) -> String {
        let details = self.details().clone();
        let age = self.age(now);
        let idle = age.saturating_sub(self.heard.load(Ordering::Relaxed));
        let command = COMMANDS.get(self.command.load(Ordering::Relaxed));
        format!(
            "id={} addr={} laddr={} name={} age={} idle={} flags={} db={} sub={} psub={} multi=-1 cmd={}{verb} \
             user={} resp={}\n",
            self.id,
            self.remote,
            self.local,
            shown(&details.name),
            age / 1000,
            idle / 1000,
            if details.receives() { "P" } else { "N" },
            details.database,
            details.channels,
            details.patterns,
            command.map_or("NULL", |known| known.name),
            shown(details.user()),
            if details.version == Version::Resp3 { 3 } else { 2 },
        )
    }
}

impl Service {
    fn clients(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Card>>> {
        lock(&self.clients)
    }

    pub(super) fn enter(&self, card: &Arc<Card>) {
        self.clients().insert(card.id, card.clone());
    }

    pub(super) fn leave(&self, card: &Card) {
        self.clients().remove(&card.id);
    }

    /// Those for whom `wanted` says yes.
    fn chosen(&self, wanted: impl Fn(&Card) -> bool) -> Vec<Arc<Card>> {
        let all: Vec<_> = self.clients().values().cloned().collect();
        all.into_iter().filter(|card| wanted(card)).collect()
    }

    pub(super) fn forget_calls(&self) {
        for calls in &self.calls {
            calls.store(0, Ordering::Relaxed);
        }
    }

    /// The lines of INFO commandstats.
    pub(super) fn command_stats(&self) -> String {
        let counted = COMMANDS.iter().zip(&self.calls);
        counted
            .map(|(known, calls)| (known, calls.load(Ordering::Relaxed)))
            .filter(|(_, calls)| *calls > 0)
            .map(|(known, calls)| format!("cmdstat_{}:calls={calls}\r\n", known.name))
            .collect()
    }
}

impl Client {
    /// The command at this place of [`COMMANDS`] has been called so many times.
    pub(super) fn count_calls(&self, place: usize, times: u64) {
        let service = &self.caller.broker.redis;
        if let Some(calls) = service.calls.get(place) {
            calls.fetch_add(times, Ordering::Relaxed);
        }
        self.card.command.store(place, Ordering::Relaxed);
    }

    pub(super) fn client_info(&mut self, now: Instant) {
        self.card.hear(now);
        let text = self.card.describe(now, "|info");
        reply::put_text_for_people(&mut self.out, self.version, &text);
    }

    /// CLIENT LIST [TYPE normal|master|replica|pubsub] [ID id …]
    pub(super) fn client_list(&mut self, now: Instant, command: Arguments<'_>) {
        let service = &self.caller.broker.redis;
        let option = command.at(2);
        let chosen = match command.len() {
            2 => service.chosen(|_| true),
            4 if is(option, "type") => {
                let kind = command.at(3);
                if !is_type(kind) {
                    return self.unknown_type(kind);
                }
                service.chosen(|card| card.is_of_type(kind))
            }
            length if length > 3 && is(option, "id") => {
                let Some(ids) = command.from(3).map(number).collect::<Option<Vec<_>>>() else {
                    return self.error("ERR Invalid client ID");
                };
                service.chosen(|card| ids.contains(&(card.id as i64)))
            }
            _ => return self.error("ERR syntax error"),
        };
        self.card.hear(now);
        let verb = |card: &Card| {
            if card.id == self.caller.id {
                "|list"
            } else {
                ""
            }
        };
        let text: String = chosen
            .iter()
            .map(|card| card.describe(now, verb(card)))
            .collect();
        reply::put_text_for_people(&mut self.out, self.version, &text);
    }

    /// CLIENT KILL address, or CLIENT KILL with filters: how many.
    pub(super) fn client_kill(&mut self, command: Arguments<'_>) {
        let own = self.caller.id;
        if command.len() == 3 {
            let address = command.at(2);
            let service = &self.caller.broker.redis;
            let chosen = service.chosen(|card| card.remote.as_bytes() == address);
            match chosen.first() {
                None => self.error("ERR No such client"),
                Some(card) => {
                    self.kill(card);
                    self.ok();
                }
            }
            return;
        }
        let (mut filters, mut spare_own) = (Vec::new(), true);
        let mut words = command.from(2);
        while let Some(option) = words.next() {
            let Some(value) = words.next() else {
                return self.error("ERR syntax error");
            };
            let filter = match &option.to_ascii_lowercase()[..] {
                b"id" => match number(value) {
                    Some(id) if id > 0 => Filter::Id(id as u64),
                    _ => return self.error("ERR client-id should be greater than 0"),
                },
                b"type" if !is_type(value) => return self.unknown_type(value),
                b"type" => Filter::Type(value),
                b"addr" => Filter::Remote(value),
                b"laddr" => Filter::Local(value),
                b"user" => Filter::User(value),
                b"skipme" if is(value, "yes") || is(value, "no") => {
                    spare_own = is(value, "yes");
                    continue;
                }
                _ => return self.error("ERR syntax error"),
            };
            filters.push(filter);
        }
        let service = &self.caller.broker.redis;
        let chosen = service.chosen(|card| {
            !(spare_own && card.id == own) && filters.iter().all(|filter| filter.takes(card))
        });
        for card in &chosen {
            self.kill(card);
        }
        reply::put_integer(&mut self.out, chosen.len() as i64);
    }

    fn kill(&mut self, card: &Arc<Card>) {
        // Oneself goes when the answer is written.
        match card.id == self.caller.id {
            true => self.leaving = true,
            false => card.kill(),
        }
    }

    fn unknown_type(&mut self, kind: &[u8]) {
        let text = format!("ERR Unknown client type '{}'", shown(kind));
        self.error(&text);
    }
}

enum Filter<'a> {
    Id(u64),
    Type(&'a [u8]),
    Remote(&'a [u8]),
    Local(&'a [u8]),
    User(&'a [u8]),
}

impl Filter<'_> {
    fn takes(&self, card: &Card) -> bool {
        match self {
            Filter::Id(id) => card.id == *id,
            Filter::Type(kind) => card.is_of_type(kind),
            Filter::Remote(address) => card.remote.as_bytes() == *address,
            Filter::Local(address) => card.local.as_bytes() == *address,
            Filter::User(user) => card.details().user() == *user,
        }
    }
}

fn is_type(kind: &[u8]) -> bool {
    ["normal", "pubsub", "master", "replica", "slave"]
        .iter()
        .any(|name| is(kind, name))
}
