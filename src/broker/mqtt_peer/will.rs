//! A will (MQTT 5, section 3.1.2.5): what is published when a client has gone without a good-bye.

use super::properties;
use crate::broker::Message;
use crate::codec::mqtt;
use crate::codec::mqtt::PropertyId;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(super) struct Will {
    message: Message,
    /// Of the message, from when it is published.
    expiry: Option<Duration>,
    /// Seconds for the client to come back.
    pub(super) delay: u32,
}

impl Will {
    /// As CONNECT has it, of the client `publisher`.
    pub(super) fn parse(will: &mqtt::Will<'_>, publisher: u64) -> Self {
        let properties = will.properties;
        let seconds = properties.u32(PropertyId::MessageExpiryInterval);
        Will {
            message: Message {
                topic: Bytes::copy_from_slice(will.topic.as_bytes()),
                payload: Bytes::copy_from_slice(will.payload),
                publisher,
                qos: will.qos as u8,
                retain: will.retain,
                expires: None,
                extra: properties::extra(properties),
            },
            expiry: seconds.map(|seconds| Duration::from_secs(seconds.into())),
            delay: properties
                .u32(PropertyId::WillDelayInterval)
                .unwrap_or_default(),
        }
    }

    /// The message that is published now.
    pub(super) fn into_message(self, now: Instant) -> Arc<Message> {
        let mut message = self.message;
        message.expires = self.expiry.and_then(|expiry| now.checked_add(expiry));
        Arc::new(message)
    }
}
