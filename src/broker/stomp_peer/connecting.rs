//! CONNECT: versions, logins, heart-beats.
//!
//! Source: STOMP 1.2, "Connecting", "Protocol Negotiation" and "Heart-beating".

use super::{shown, Client, Refusal, Stage};
use crate::codec::stomp::{Body, Command, Frame, FrameBuilder, Version};
use crate::error::Code;
use std::time::{Duration, Instant};

/// All versions that there are, as the header `version` of ERROR tells them.
pub(super) const VERSIONS: &str = "1.0,1.1,1.2";

/// What the header `server` says: a name and a version ("CONNECTED Frame").
const SERVER: &str = concat!("MQ/", env!("CARGO_PKG_VERSION"));

/// Heart-beats come no more often than this, whatever a client wants.
const QUICKEST: u64 = 100;

/// What the broker offers and asks for where the client wants nothing, in milliseconds.
const USUAL: u64 = 10_000;

/// What both sides can and want, in milliseconds; 0: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Beats {
    can: u64,
    wants: u64,
}

impl Beats {
    /// None: it says something else.
    fn parse(text: &[u8]) -> Option<Self> {
        let (can, wants) = std::str::from_utf8(text).ok()?.split_once(',')?;
        Some(Beats {
            can: can.trim().parse().ok()?,
            wants: wants.trim().parse().ok()?,
        })
    }

    /// What the broker answers: it can and wants what the client does, within reason.
    fn answer(self) -> Self {
        let ours = |theirs| match theirs {
            0 => USUAL,
            some => some.clamp(QUICKEST, u64::from(u32::MAX)),
        };
        Beats {
            can: ours(self.wants),
            wants: ours(self.can),
        }
    }
}

/// How often one side is heard: as often as it can and as the other wants, or not at all.
fn agreed(can: u64, wants: u64) -> Duration {
    match can == 0 || wants == 0 {
        true => Duration::ZERO,
        false => Duration::from_millis(can.max(wants)),
    }
}

impl Client {
    /// CONNECT, or STOMP.
    pub(super) fn connect(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), Refusal> {
        let headers = frame.headers;
        let version = negotiate(headers.get("accept-version").as_deref())?;
        let (login, passcode) = (headers.get("login"), headers.get("passcode"));
        let login = login.as_deref().unwrap_or(b"default");
        if !self
            .caller
            .broker
            .admits(login, passcode.as_deref().unwrap_or_default())
        {
            return Err(Refusal::new(
                Code::Auth,
                format!("access refused for the login {}", shown(login)),
            ));
        }
        let beats = match (version, headers.get("heart-beat")) {
            (Version::V10, _) => None,
            (_, None) => Some(Beats { can: 0, wants: 0 }),
            (_, Some(text)) => Some(Beats::parse(&text).ok_or_else(|| {
                let shown = shown(&text);
                Refusal::violation(format!("the heart-beat {shown} is not two numbers"))
            })?),
        };
        let ours = beats.map(Beats::answer);
        if let (Some(theirs), Some(ours), Some(clock)) = (beats, ours, &mut self.clock) {
            clock.send = agreed(ours.can, theirs.wants);
            clock.receive = agreed(theirs.can, ours.wants);
            clock.last_heard = now;
        }
        self.version = version;
        self.stage = Stage::Ready;
        let answer = FrameBuilder::new(Command::Connected, version, &mut self.out);
        answer
            .and_then(|mut frame| {
                frame.header("version", version.as_str())?;
                frame.header("session", self.caller.id.to_string())?;
                frame.header("server", SERVER)?;
                if let Some(ours) = ours {
                    frame.header("heart-beat", format!("{},{}", ours.can, ours.wants))?;
                }
                frame.finish(Body::NONE)
            })
            .map_err(|error| Refusal::violation(error.to_string()))
    }
}

/// The newest version that both sides speak; who names none speaks 1.0.
fn negotiate(accepted: Option<&[u8]>) -> Result<Version, Refusal> {
    let Some(accepted) = accepted else {
        return Ok(Version::V10);
    };
    let known = accepted
        .split(|octet| *octet == b',')
        .filter_map(|each| Version::from_bytes(each.trim_ascii()));
    known.max().ok_or_else(|| Refusal {
        versions: true,
        ..Refusal::refused(format!(
            "no version of {} is spoken here; these are: {VERSIONS}",
            shown(accepted)
        ))
    })
}
