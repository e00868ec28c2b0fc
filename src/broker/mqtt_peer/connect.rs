//! CONNECT and CONNACK (MQTT 5, sections 3.1 and 3.2): who is let in, and what is agreed on.

use super::outgoing::{Aliases, Link};
use super::publishing::{Incoming, ALIASES, RECEIVE_MAXIMUM};
use super::sessions::{self, Arriving, LONGEST};
use super::will::Will;
use super::{list, sys, Client, Joined};
use crate::codec::mqtt::{
    ConnAck, Connect, Properties, PropertyId, PropertyValue, Reason, Version, MAX_REMAINING,
};
use crate::error::{Code, Error};
use bytes::BytesMut;
use std::time::{Duration, Instant};

/// Bytes of the largest CONNECT: a will, a password and an identifier of full length, and as much of properties.
pub(super) const CONNECT: usize = 512 * 1024;

/// The refusal of a CONNECT.
pub(super) fn refuse(version: Version, reason: Reason, out: &mut BytesMut) {
    let answer = ConnAck {
        session_present: false,
        reason,
        properties: Properties::NONE,
    };
    // Where 3.1.1 has no return code, it has no CONNACK (3.1.1, [MQTT-3.2.2-6]).
    let _ = answer.encode(version, out);
}

impl Client {
    /// Lets a client in.
    pub(super) fn connect(&mut self, now: Instant, connect: &Connect<'_>) -> Result<(), Error> {
        let asked = connect.properties;
        if asked.value(PropertyId::AuthenticationMethod).is_some() {
            let text = "it asks for a method of authentication";
            return Err(self.refuse(Reason::BAD_AUTHENTICATION_METHOD, Code::Auth, text));
        }
        self.log_in(connect)?;
        if connect
            .will
            .is_some_and(|will| sys::is_reserved(will.topic.as_bytes()))
        {
            let text = "its will is for a topic of the broker's own";
            return Err(self.refuse(Reason::NOT_AUTHORIZED, Code::Refused, text));
        }
        let assigned;
        let client_id = match connect.client_id {
            "" if connect.version == Version::V311 && !connect.clean_start => {
                // 3.1.1, [MQTT-3.1.3-8]
                let text = "its session is to be kept, and has no client identifier";
                let reason = Reason::CLIENT_IDENTIFIER_NOT_VALID;
                return Err(self.refuse(reason, Code::Refused, text));
            }
            "" => {
                assigned = format!("auto-{:032x}", fastrand::u128(..));
                &assigned
            }
            given => given,
        };
        let asked_expiry = match connect.version {
            Version::V311 if connect.clean_start => 0,
            Version::V311 => LONGEST,
            Version::V5 => asked
                .u32(PropertyId::SessionExpiryInterval)
                .unwrap_or_default(),
        };
        let expiry = asked_expiry.min(LONGEST);
        let broker = self.caller.broker.clone();
        let (owner, bell) = (self.caller.id, self.caller.bell.clone());
        let identity = broker.mqtt.identity(client_id.as_bytes());
        let (session, session_present) = sessions::attach(
            &broker,
            now,
            owner,
            bell,
            Arriving {
                client_id,
                clean_start: connect.clean_start,
                expiry,
                will: connect
                    .will
                    .as_ref()
                    .map(|will| Will::parse(will, identity)),
            },
        );
        let keep_alive = Duration::from_secs(connect.keep_alive.into());
        self.patience = Some(keep_alive * 3 / 2).filter(|patience| !patience.is_zero());
        self.heard = Some(now);
        let largest = asked.u32(PropertyId::MaximumPacketSize);
        let receive_maximum = asked.u16(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX);
        self.joined = Some(Box::new(Joined {
            session,
            link: Link {
                version: connect.version,
                receive_maximum: receive_maximum.into(),
                max_packet: largest.map_or(usize::MAX, |largest| largest as usize),
                aliases: Aliases::new(asked.u16(PropertyId::TopicAliasMaximum).unwrap_or(0)),
            },
            incoming: Incoming::default(),
            expiry,
            resumed: session_present,
        }));
        self.welcome(
            connect,
            client_id,
            (asked_expiry > expiry).then_some(expiry),
            session_present,
        );
        Ok(())
    }

    /// Section 3.1.4: the answer, with what differs from what a client supposes. What is not named is available.
    fn welcome(
        &mut self,
        connect: &Connect<'_>,
        client_id: &str,
        expiry: Option<u32>,
        session_present: bool,
    ) {
        let mut properties = list(&[
            (
                PropertyId::ReceiveMaximum,
                PropertyValue::U16(RECEIVE_MAXIMUM),
            ),
            (PropertyId::TopicAliasMaximum, PropertyValue::U16(ALIASES)),
        ]);
        let mut add = |id, value| {
            // Values of their types, each once.
            let _ = properties.push(id, value);
        };
        let largest = self.caller.broker.settings().max_packet;
        if largest <= MAX_REMAINING {
            add(
                PropertyId::MaximumPacketSize,
                PropertyValue::U32(largest as u32),
            );
        }
        if let Some(expiry) = expiry {
            add(
                PropertyId::SessionExpiryInterval,
                PropertyValue::U32(expiry),
            );
        }
        if connect.client_id.is_empty() {
            add(
                PropertyId::AssignedClientIdentifier,
                PropertyValue::Text(client_id),
            );
        }
        let answer = ConnAck {
            session_present,
            reason: Reason::SUCCESS,
            properties: properties.as_properties(),
        };
        let _ = answer.encode(connect.version, &mut self.out);
    }

    fn log_in(&mut self, connect: &Connect<'_>) -> Result<(), Error> {
        let user = connect.username.unwrap_or("default");
        let password = connect.password.unwrap_or_default();
        if self.caller.broker.admits(user.as_bytes(), password) {
            return Ok(());
        }
        let (reason, text) = match (connect.username, connect.password) {
            (None, None) => (Reason::NOT_AUTHORIZED, "it does not say who it is"),
            _ => (
                Reason::BAD_USER_NAME_OR_PASSWORD,
                "its user name or its password is wrong",
            ),
        };
        Err(self.refuse(reason, Code::Auth, text))
    }

    fn refuse(&mut self, reason: Reason, code: Code, text: &str) -> Error {
        self.refused = true;
        self.parting = Some(reason);
        Error::new(code, format!("the client was refused: {text}"))
    }
}
