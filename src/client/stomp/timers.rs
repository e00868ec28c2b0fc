//! When the broker has to hear from us, when it has been silent for too long, and what callers are
//! told whose time is over. Source: STOMP 1.2, "Heart-beating".

use super::{Goodbye, Stage, Stomp};
use crate::codec::stomp::HEART_BEAT;
use crate::error::{Code, Error};
use std::time::{Duration, Instant};

/// A broker is late by this at the most, or by as much as its interval where that is shorter.
const LATE: Duration = Duration::from_millis(500);

/// The timers of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) last_sent: Instant,
    pub(super) last_heard: Instant,
    /// The last answer to something in flight, or when the first of it was sent.
    pub(super) last_progress: Instant,
}

impl Clock {
    pub(super) fn new(now: Instant) -> Self {
        Clock {
            last_sent: now,
            last_heard: now,
            last_progress: now,
        }
    }
}

impl Stomp {
    /// Something has come, or is taken again.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(clock) = &mut self.clock {
            clock.last_heard = now;
            if self.stalled {
                // Answers may have waited behind what was not taken.
                clock.last_progress = now;
            }
        }
    }

    /// From here on the next answer is due.
    pub(super) fn progressed(&mut self, now: Instant) {
        if let Some(clock) = &mut self.clock {
            clock.last_progress = now;
        }
    }

    /// When the broker has to hear from us: a fifth of the interval early, for what the way takes.
    pub(super) fn beat_deadline(&self) -> Option<Instant> {
        let ready = self.stage == Stage::Ready && self.goodbye == Goodbye::Unsaid;
        let clock = self.clock.filter(|_| ready)?;
        let interval = self.broker.send;
        (!interval.is_zero()).then(|| clock.last_sent + interval.mul_f64(0.8))
    }

    pub(super) fn beat(&mut self, now: Instant) {
        if let Some(clock) = &mut self.clock {
            clock.last_sent = now;
        }
        if self.control.is_empty() {
            self.control.extend_from_slice(HEART_BEAT);
        }
    }

    /// When the broker has been silent for too long: twice its interval, since some look only once
    /// in an interval whether they have sent something, or the time for an answer where it sends no
    /// heart-beats. One that does may take its time to answer: RabbitMQ keeps receipts back while it
    /// is short of memory.
    pub(super) fn silence_deadline(&self) -> Option<Instant> {
        let clock = self.clock?;
        let interval = self.broker.receive;
        match self.stage {
            Stage::Offline | Stage::Ended => None,
            Stage::Handshake { until } => Some(until),
            Stage::Ready if self.stalled => None,
            Stage::Ready if interval.is_zero() => {
                let due = !self.in_flight.is_quiet();
                due.then(|| clock.last_progress + self.options.timeout)
            }
            Stage::Ready => Some(clock.last_heard + interval * 2 + interval.min(LATE)),
        }
    }

    pub(super) fn silence(&self) -> Error {
        let interval = self.broker.receive;
        let text = match self.stage {
            Stage::Ready if !interval.is_zero() => format!(
                "the broker has been silent, though it promised a heart-beat every {} s",
                interval.as_secs_f64()
            ),
            Stage::Ready => format!(
                "no receipt from the broker within {} s",
                self.options.timeout.as_secs_f64()
            ),
            _ => format!(
                "no answer from the broker within {} s",
                self.options.timeout.as_secs_f64()
            ),
        };
        Error::new(Code::Timeout, text)
    }

    /// What a caller is told whose command could not be sent in time.
    pub(super) fn out_of_patience(&self) -> Error {
        let seconds = self.options.timeout.as_secs_f64();
        let text = match (&self.trouble, self.stage) {
            (Some(trouble), Stage::Offline | Stage::Handshake { .. }) => format!(
                "no connection within {seconds} s; the last error: {}",
                trouble.text
            ),
            (_, Stage::Ready) => format!("no answer within {seconds} s"),
            _ => format!("could not be sent within {seconds} s"),
        };
        Error::new(Code::Timeout, text)
    }

    /// What the caller of a publish is told whose receipt is late: it is sent again where needed.
    pub(super) fn unanswered(&self) -> Error {
        let seconds = self.options.timeout.as_secs_f64();
        Error::new(
            Code::Timeout,
            format!("sent, but no receipt within {seconds} s; MQ goes on trying"),
        )
    }
}
