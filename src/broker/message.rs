//! A message as all protocols share it. Knows none of them.

use bytes::Bytes;
use std::time::Instant;

/// One message, shared by all who receive it.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The name that it was published to: a channel, a topic, a destination without `/topic/`. From Redis it may be
    /// any bytes: an MQTT peer leaves out what is no topic name.
    pub topic: Bytes,
    /// Any bytes, never touched.
    pub payload: Bytes,
    /// Who published it, for those that want none of their own: the connection ([`super::Caller::id`]), or, of MQTT, a
    /// number of the client, who may come by another connection.
    pub publisher: u64,
    /// MQTT's quality of service; 0 from the others.
    pub qos: u8,
    /// Published to be retained (MQTT).
    pub retain: bool,
    /// Not to be delivered from then on.
    pub expires: Option<Instant>,
    /// What only some protocols carry; None from Redis.
    pub extra: Option<Box<Extra>>,
}

/// What a message carries beside its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Names and values that any protocol with headers can show: STOMP's headers, MQTT's user properties.
    pub headers: Vec<(Bytes, Bytes)>,
    /// MQTT's properties as they came, to be handed on unaltered (MQTT 5, section 3.3.2.3); empty from others.
    pub properties: Bytes,
}

impl Message {
    /// Bytes that it takes, for the bounds of queues.
    pub fn size(&self) -> usize {
        /// A queue's entry, and this struct's share.
        const ENTRY: usize = 64;
        let extra = self.extra.as_ref().map_or(0, |extra| {
            let headers = extra.headers.iter();
            let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
            headers + extra.properties.len()
        });
        self.topic.len() + self.payload.len() + extra + ENTRY
    }
}
