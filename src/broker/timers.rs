//! What the broker has to do later, without a connection.

use super::Broker;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Names a job that waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId(Instant, u64);

pub(super) type Job = Box<dyn FnOnce(&Arc<Broker>, Instant) + Send>;

#[derive(Default)]
pub(super) struct Timers {
    jobs: BTreeMap<TimerId, Job>,
    last: u64,
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timers({})", self.jobs.len())
    }
}

impl Timers {
    /// True: it is the first that is due.
    pub(super) fn insert(&mut self, at: Instant, job: Job) -> (TimerId, bool) {
        self.last += 1;
        let id = TimerId(at, self.last);
        self.jobs.insert(id, job);
        (id, self.jobs.keys().next() == Some(&id))
    }

    pub(super) fn remove(&mut self, id: TimerId) -> bool {
        self.jobs.remove(&id).is_some()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.jobs.keys().next().map(|id| id.0)
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<Job> {
        let first = self.jobs.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
