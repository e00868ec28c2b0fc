//! When the broker has to hear from us, when it has been silent for too long, and what callers are
//! told whose time is over. Source: MQTT 5.0, section 3.1.2.10.

use super::{Fallback, Mqtt, Stage};
use crate::client::earliest;
use crate::codec::mqtt::{Packet, Reason};
use crate::error::{Code, Error};
use std::time::Instant;

impl Mqtt {
    /// When the broker has to hear from us, or we from it. Also while its messages wait for our
    /// program: it goes on counting then (section 3.1.2.10).
    pub(super) fn ping_deadline(&self) -> Option<Instant> {
        let clock = self.clock.filter(|_| self.stage == Stage::Ready)?;
        if clock.keepalive.is_zero() {
            return None;
        }
        let idle = match clock.pinged.is_some() || self.stalled {
            true => clock.last_sent,
            false => clock.last_sent.min(clock.last_heard),
        };
        Some(idle + clock.keepalive)
    }

    pub(super) fn ping(&mut self, now: Instant) {
        if Packet::PingReq
            .encode(self.version, &mut self.control)
            .is_ok()
        {
            if let Some(clock) = &mut self.clock {
                clock.last_sent = now;
                clock.pinged.get_or_insert(now);
            }
        }
    }

    /// When the broker has been silent for too long.
    pub(super) fn silence_deadline(&self) -> Option<Instant> {
        let timeout = self.options.timeout;
        let clock = self.clock?;
        match self.stage {
            Stage::Offline | Stage::Ended => None,
            Stage::Handshake { until } => Some(until),
            Stage::Ready if self.stalled => None,
            Stage::Ready => {
                let ping = clock.pinged.map(|at| at.max(clock.last_heard) + timeout);
                let answer = (!self.in_flight.is_quiet()).then(|| clock.last_progress + timeout);
                earliest(ping, answer)
            }
        }
    }

    pub(super) fn silence(&mut self) -> Error {
        if self.fallback == Fallback::Possible {
            self.fallback = Fallback::Silent;
        }
        let seconds = self.options.timeout.as_secs_f64();
        let what = match (self.stage, self.clock.and_then(|clock| clock.pinged)) {
            (Stage::Ready, None) => {
                self.parting = Reason::UNSPECIFIED_ERROR;
                "no acknowledgement"
            }
            _ => "no answer",
        };
        let text = format!("{what} from the broker within {seconds} s");
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

    /// What the caller of a publish is told whose answer is late: it is sent again where needed.
    pub(super) fn unanswered(&self) -> Error {
        let seconds = self.options.timeout.as_secs_f64();
        Error::new(
            Code::Timeout,
            format!("sent, but not acknowledged within {seconds} s; MQ goes on trying"),
        )
    }
}
