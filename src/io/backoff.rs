//! How long to wait before the next try.

use crate::message::Value;
use std::time::Duration;

/// When and how often to connect again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// False: the first failure is the last.
    pub enabled: bool,
    /// Before the first retry.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Tries in a row before giving up; 0: no bound.
    pub attempts: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            enabled: true,
            min: Duration::from_millis(100),
            max: Duration::from_secs(30),
            attempts: 0,
        }
    }
}

impl Policy {
    /// Reads the options `reconnect reconnect_min reconnect_max reconnect_attempts`.
    pub fn parse(options: &Value) -> Self {
        let default = Policy::default();
        let min = options
            .member("reconnect_min")
            .as_seconds()
            .unwrap_or(default.min);
        let max = options
            .member("reconnect_max")
            .as_seconds()
            .unwrap_or(default.max);
        Policy {
            enabled: options.member("reconnect").as_bool().unwrap_or(true),
            min,
            max: max.max(min),
            attempts: options
                .member("reconnect_attempts")
                .as_size()
                .map_or(0, |n| n.min(u32::MAX as usize) as u32),
        }
    }
}

/// Exponential backoff: each wait up to twice the one before, spread over its upper half so that
/// clients which lost the same broker do not come back at the same moment.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: Policy,
    failures: u32,
}

impl Backoff {
    /// No failure so far.
    pub fn new(policy: Policy) -> Self {
        Backoff {
            policy,
            failures: 0,
        }
    }

    /// A connection has served long enough to count as a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// How long to wait after one more failure; None: give up. `spread` is between 0 and 1.
    pub fn fail(&mut self, spread: f64) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        let Policy {
            enabled,
            min,
            max,
            attempts,
        } = self.policy;
        if !enabled || (attempts != 0 && self.failures >= attempts) {
            return None;
        }
        let doublings = (self.failures - 1).min(31);
        let ceiling = min.saturating_mul(1 << doublings).min(max);
        Some(ceiling.mul_f64(0.5 + spread.clamp(0.0, 1.0) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum_and_starts_over() {
        let mut backoff = Backoff::new(Policy::default());
        let waits: Vec<_> = (0..12)
            .filter_map(|_| backoff.fail(1.0))
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[9..], [30_000; 3]);
        backoff.reset();
        assert_eq!(backoff.fail(0.0), Some(Duration::from_millis(50)));
    }

    #[test]
    fn gives_up_after_the_attempts_or_at_once() {
        let policy = Policy {
            attempts: 3,
            ..Policy::default()
        };
        let mut backoff = Backoff::new(policy);
        assert!(backoff.fail(0.5).is_some());
        assert!(backoff.fail(0.5).is_some());
        assert_eq!(backoff.fail(0.5), None);
        let mut never = Backoff::new(Policy {
            enabled: false,
            ..policy
        });
        assert_eq!(never.fail(0.5), None);
    }
}
