//! PUBACK, PUBREC, PUBREL and PUBCOMP, in both directions.
//!
//! Source: MQTT 5.0, sections 3.4 to 3.7 and 4.3.

use super::{handshake, Batch, Due, Mqtt, Sender, Stage};
use crate::codec::mqtt::{Ack, AckKind, Properties, Qos, Reason, Version};
use crate::error::{Code, Error};
use crate::message::{Value, Verdict};
use bytes::BytesMut;
use std::time::Instant;

impl Mqtt {
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    pub(super) fn take_ack(
        &mut self,
        now: Instant,
        ack: &Ack<'_>,
        events: &mut Batch,
    ) -> Result<(), Error> {
        if ack.kind == AckKind::PubRel {
            self.take_release(ack);
            return Ok(());
        }
        if let Some(clock) = &mut self.clock {
            clock.last_progress = now;
        }
        let identifier = ack.packet_id;
        match (ack.kind, self.in_flight.due(identifier)) {
            (AckKind::PubAck, Due::PubAck(sender)) | (AckKind::PubComp, Due::PubComp(sender)) => {
                self.in_flight.set_due(identifier, Due::Nothing);
                self.answer(sender, ack, events);
            }
            // RabbitMQ's 3.1.1 takes a message of QoS 2 for one of QoS 1.
            (AckKind::PubAck, Due::PubRec(sender)) if self.version == Version::V311 => {
                self.in_flight.set_due(identifier, Due::Nothing);
                self.answer(sender, ack, events);
            }
            (AckKind::PubRec, Due::PubRec(sender)) if ack.reason.is_error() => {
                self.in_flight.set_due(identifier, Due::Nothing);
                self.answer(sender, ack, events);
            }
            (AckKind::PubRec, Due::PubRec(sender) | Due::PubComp(sender)) => {
                self.in_flight.set_due(identifier, Due::PubComp(sender));
                self.released += 1;
                release(
                    identifier,
                    Reason::SUCCESS,
                    self.version,
                    &mut self.releases,
                );
            }
            (AckKind::PubRec, Due::Nothing) if !ack.reason.is_error() => {
                // Not of this session: the broker shall forget it (section 4.3.3).
                let reason = Reason::PACKET_IDENTIFIER_NOT_FOUND;
                release(identifier, reason, self.version, &mut self.control);
            }
            // An answer that comes twice.
            (_, Due::Nothing) => {}
            (kind, _) => {
                self.parting = Reason::PROTOCOL_ERROR;
                return Err(Error::new(
                    Code::Protocol,
                    format!(
                        "the broker sent {} for packet {identifier}, which awaits something else",
                        kind.place()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The last answer to a publish.
    fn answer(&mut self, sender: Sender, ack: &Ack<'_>, events: &mut Batch) {
        // A PUBCOMP cannot refuse: the broker has had the message since its PUBREC.
        if ack.reason.is_error() && ack.kind != AckKind::PubComp {
            let told = handshake::told(ack.reason, ack.properties);
            let code = Code::Refused;
            let error = Error::new(code, format!("the broker refused the message: {told}"));
            sender.fail(&error, &mut self.ledger, events);
            return;
        }
        match sender {
            Sender::Emit(ticket) => {
                let detail = match (self.version, ack.kind) {
                    (Version::V5, AckKind::PubAck) => Value::Integer(ack.reason.0.into()),
                    _ => Value::Nil,
                };
                events.answer(ticket, detail);
            }
            other => other.succeed(&mut self.ledger, events),
        }
    }

    /// Acknowledgements that may leave now.
    pub(super) fn send_acknowledgements(&mut self) {
        if self.stage != Stage::Ready {
            return;
        }
        while let Some(settled) = self.arrivals.next_settled(self.version == Version::V5) {
            let reason = match settled.verdict {
                Verdict::Accept => Reason::SUCCESS,
                Verdict::Reject => Reason::UNSPECIFIED_ERROR,
            };
            let kind = match settled.qos {
                Qos::ExactlyOnce => AckKind::PubRec,
                _ => AckKind::PubAck,
            };
            acknowledge(
                kind,
                settled.identifier,
                reason,
                self.version,
                &mut self.control,
            );
        }
    }
}

/// Appends PUBREL.
pub(super) fn release(identifier: u16, reason: Reason, version: Version, out: &mut BytesMut) {
    acknowledge(AckKind::PubRel, identifier, reason, version, out);
}

pub(super) fn acknowledge(
    kind: AckKind,
    packet_id: u16,
    reason: Reason,
    version: Version,
    out: &mut BytesMut,
) {
    let ack = Ack {
        kind,
        packet_id,
        reason,
        properties: Properties::default(),
    };
    // It holds nothing that could be too long.
    let _ = ack.encode(version, out);
}
