//! When the client has to hear from the broker, when it has been silent for too long.
//!
//! Source: STOMP 1.2, "Heart-beating".

use super::{Client, Refusal, Stage};
use crate::codec::stomp::HEART_BEAT;
use crate::error::{Code, Error};
use std::time::{Duration, Instant};

/// How long a client may take to say CONNECT.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A client is late by an interval and this: some look only once in an interval whether they have sent something.
const LATE: Duration = Duration::from_secs(1);

/// The timers of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    began: Instant,
    pub(super) last_sent: Instant,
    pub(super) last_heard: Instant,
    /// How often the client has to hear from the broker; zero: it need not.
    pub(super) send: Duration,
    /// How often the client promised to be heard; zero: it did not.
    pub(super) receive: Duration,
    /// The client is not read because it does not read: its silence says nothing.
    pub(super) stalled: bool,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Clock {
            began: now,
            last_sent: now,
            last_heard: now,
            send: Duration::ZERO,
            receive: Duration::ZERO,
            stalled: false,
        }
    }

    /// So many bytes have come, or are taken again.
    pub(super) fn heard(&mut self, now: Instant, bytes: usize) {
        if bytes > 0 || self.stalled {
            self.last_heard = now;
        }
        self.stalled = false;
    }

    /// A fifth of the interval early, for what the way takes.
    fn beat(&self) -> Option<Instant> {
        (!self.send.is_zero()).then(|| self.last_sent + self.send.mul_f64(0.8))
    }

    fn silence(&self) -> Option<Instant> {
        let watched = !self.receive.is_zero() && !self.stalled;
        watched.then(|| self.last_heard + self.receive * 2 + LATE)
    }
}

impl Client {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let clock = self.clock.as_ref()?;
        if self.subscriptions.is_overrun() {
            // What was in time is long past.
            return Some(clock.began);
        }
        match self.stage {
            Stage::Connecting => Some(clock.began + HANDSHAKE),
            Stage::Ready => match (clock.beat(), clock.silence()) {
                (Some(beat), Some(silence)) => Some(beat.min(silence)),
                (beat, silence) => beat.or(silence),
            },
            Stage::Leaving => None,
        }
    }

    pub(super) fn expire(&mut self, now: Instant) -> Result<(), Error> {
        if self.subscriptions.is_overrun() {
            return Err(self.overrun());
        }
        let Some(clock) = &mut self.clock else {
            return Ok(());
        };
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match self.stage {
            Stage::Connecting if clock.began + HANDSHAKE <= now => {
                let text = format!("no CONNECT within {} s", HANDSHAKE.as_secs());
                Err(self.condemn(Refusal::new(Code::Timeout, text), None))
            }
            Stage::Ready if is_due(clock.silence()) => {
                let text = format!(
                    "silent for too long: a heart-beat was due every {} s",
                    clock.receive.as_secs_f64()
                );
                Err(self.condemn(Refusal::new(Code::Timeout, text), None))
            }
            Stage::Ready if is_due(clock.beat()) => {
                clock.last_sent = now;
                // Whatever else waits to be written says as much.
                if self.out.is_empty() {
                    self.out.extend_from_slice(HEART_BEAT);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
