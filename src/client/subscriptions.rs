//! Which subscriptions a program wants, which of them the broker has confirmed, and who waits for
//! that. They outlive connections. Knows names, not what a pattern means.

use crate::message::{Key, Ticket};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

/// How far a subscription has come on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The broker has not been asked.
    Wanted,
    /// Asked, not confirmed.
    Asked,
    /// Confirmed.
    Active,
}

/// What became of [`Subscriptions::insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The waiter waits for the confirmation.
    Waiting,
    /// It is confirmed already: nobody needs to wait.
    Active,
    /// The name, or the key, is another subscription's, or somebody waits for it already.
    Taken,
}

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    /// As the program wrote it.
    pub name: Vec<u8>,
    /// A name, not a pattern.
    pub exact: bool,
    /// On this connection.
    pub stage: Stage,
    /// Waits for the first confirmation.
    pub waiter: Option<Ticket>,
}

/// All subscriptions of a client.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// In the order of their making: that is the order in which they are renewed.
    by_key: BTreeMap<Key, Subscription>,
    exact: HashMap<Vec<u8>, Key>,
    patterns: HashMap<Vec<u8>, Key>,
    /// Until when waiters wait, in order; answered ones are skipped when their time comes.
    patience: VecDeque<(Instant, Key)>,
    /// The pattern of the last message: messages come in runs, and a comparison costs a fifth of
    /// a hash.
    recent: Option<(bool, Vec<u8>, Key)>,
}

impl Subscriptions {
    /// Adds one, [`Stage::Wanted`], or waits anew for one that is not confirmed.
    pub fn insert(
        &mut self,
        key: Key,
        name: &[u8],
        exact: bool,
        waiter: Ticket,
        until: Instant,
    ) -> Inserted {
        if let Some(known) = self.by_key.get_mut(&key) {
            if known.name != name || known.exact != exact || known.waiter.is_some() {
                return Inserted::Taken;
            }
            if known.stage == Stage::Active {
                return Inserted::Active;
            }
            known.waiter = Some(waiter);
        } else {
            if self.names(exact).contains_key(name) {
                return Inserted::Taken;
            }
            self.names(exact).insert(name.to_vec(), key);
            let subscription = Subscription {
                name: name.to_vec(),
                exact,
                stage: Stage::Wanted,
                waiter: Some(waiter),
            };
            self.by_key.insert(key, subscription);
        }
        self.patience.push_back((until, key));
        Inserted::Waiting
    }

    /// Removes one; messages of its name find no key any more.
    pub fn remove(&mut self, key: Key) -> Option<Subscription> {
        let gone = self.by_key.remove(&key)?;
        self.names(gone.exact).remove(&gone.name);
        self.recent = None;
        self.forget_answered();
        Some(gone)
    }

    /// Removes all.
    pub fn drain(&mut self) -> impl Iterator<Item = (Key, Subscription)> {
        std::mem::take(self).by_key.into_iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// One of them, to change its stage.
    pub fn find(&mut self, key: Key) -> Option<&mut Subscription> {
        self.by_key.get_mut(&key)
    }

    /// The broker has confirmed it; returns who waited for that.
    pub fn confirm(&mut self, key: Key) -> Option<Ticket> {
        let subscription = self.by_key.get_mut(&key)?;
        subscription.stage = Stage::Active;
        let waiter = subscription.waiter.take();
        self.forget_answered();
        waiter
    }

    /// Those that the broker has yet to be asked for become [`Stage::Asked`], each told to `ask`.
    pub fn ask_wanted(&mut self, mut ask: impl FnMut(Key, &Subscription)) {
        for (key, subscription) in &mut self.by_key {
            if subscription.stage == Stage::Wanted {
                subscription.stage = Stage::Asked;
                ask(*key, subscription);
            }
        }
    }

    /// The connection is gone: the broker has to be asked for all of them.
    pub fn forget_stages(&mut self) {
        for subscription in self.by_key.values_mut() {
            subscription.stage = Stage::Wanted;
        }
    }

    /// The subscription that a message names.
    #[inline]
    pub fn route(&mut self, exact: bool, name: &[u8]) -> Option<Key> {
        if let Some((kind, recent, key)) = &self.recent {
            if *kind == exact && recent == name {
                return Some(*key);
            }
        }
        let key = *self.names(exact).get(name)?;
        self.recent = Some((exact, name.to_vec(), key));
        Some(key)
    }

    /// When the first waiter loses patience.
    pub fn deadline(&self) -> Option<Instant> {
        self.patience.front().map(|(until, _)| *until)
    }

    /// Tells each waiter whose time is over. The subscription stays wanted: the program that
    /// gave it need do nothing for it to become active later.
    pub fn expire(&mut self, now: Instant, mut expired: impl FnMut(Ticket)) {
        while let Some(&(until, key)) = self.patience.front() {
            if until > now {
                break;
            }
            self.patience.pop_front();
            if let Some(ticket) = self.find(key).and_then(|s| s.waiter.take()) {
                expired(ticket);
            }
        }
        self.forget_answered();
    }

    fn forget_answered(&mut self) {
        while let Some((_, key)) = self.patience.front() {
            if self.by_key.get(key).is_some_and(|s| s.waiter.is_some()) {
                break;
            }
            self.patience.pop_front();
        }
    }

    fn names(&mut self, exact: bool) -> &mut HashMap<Vec<u8>, Key> {
        if exact {
            &mut self.exact
        } else {
            &mut self.patterns
        }
    }
}
