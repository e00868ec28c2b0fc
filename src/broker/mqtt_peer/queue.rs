//! What waits in a session: small entries that share their messages. Knows no packets.

use crate::broker::Message;
use crate::codec::mqtt::Qos;
use std::sync::Arc;

/// What a subscription asks for, and how it is named: all of it goes into the router's tag, so that a session needs no
/// table to find it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish(u32);

const NO_LOCAL: u32 = 1 << 28;
const AS_PUBLISHED: u32 = 1 << 29;
const QOS: u32 = 30;

impl Wish {
    /// `identifier`: 28 bits; 0: none.
    pub(super) fn new(identifier: u32, qos: Qos, no_local: bool, as_published: bool) -> Self {
        let flag = |set, bit| if set { bit } else { 0 };
        Wish(
            (identifier & (NO_LOCAL - 1))
                | flag(no_local, NO_LOCAL)
                | flag(as_published, AS_PUBLISHED)
                | (qos as u32) << QOS,
        )
    }

    pub(super) fn from_tag(tag: u32) -> Self {
        Wish(tag)
    }

    pub(super) fn tag(self) -> u32 {
        self.0
    }

    #[inline]
    pub(super) fn is_no_local(self) -> bool {
        self.0 & NO_LOCAL != 0
    }

    /// How a message is to be sent for this subscription.
    #[inline]
    pub(super) fn manner(self, message: &Message) -> Manner {
        let qos = (self.0 >> QOS).min(u32::from(message.qos));
        let retain = message.retain && self.0 & AS_PUBLISHED != 0;
        Manner((self.0 & (NO_LOCAL - 1)) | u32::from(retain) << 28 | qos << QOS)
    }

    /// The same for a message that was retained before the subscription (section 3.3.1.3).
    pub(super) fn manner_of_retained(self, message: &Message) -> Manner {
        let qos = (self.0 >> QOS).min(u32::from(message.qos));
        Manner((self.0 & (NO_LOCAL - 1)) | 1 << 28 | qos << QOS)
    }
}

/// How a message is sent: QoS, RETAIN, and the subscription's identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner(u32);

impl Manner {
    #[inline]
    pub(super) fn qos(self) -> Qos {
        Qos::from_u8((self.0 >> QOS) as u8).unwrap_or_default()
    }

    #[inline]
    pub(super) fn retain(self) -> bool {
        self.0 >> 28 & 1 != 0
    }

    /// The two as one message that respects both; None where a client is to tell them apart.
    #[inline]
    pub(super) fn merge(self, other: Self) -> Option<Self> {
        let same = (self.0 ^ other.0) << 2 == 0 && self.identifier() == 0;
        same.then(|| Manner(self.0.max(other.0)))
    }

    /// 0: none.
    #[inline]
    pub(super) fn identifier(self) -> u32 {
        self.0 & (NO_LOCAL - 1)
    }
}

/// A message that waits, or is on its way.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) message: Arc<Message>,
    pub(super) manner: Manner,
    /// The shared subscription that it came by; 0: none.
    pub(super) group: u32,
}
