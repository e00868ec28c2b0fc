//! CONNECT → bytes: the packet with the most rules, apart from the others for its length only.

use super::encode::{
    check_binary, check_text, invalid, properties_len, put_properties, start, with_header,
};
use super::wire::put_binary;
use super::{topic, Connect, EncodeError, Place, PropertyId, Version, Will};
use bytes::{BufMut, BytesMut};

impl Connect<'_> {
    /// As [`Packet::encode`]: the version is the one that the packet names.
    ///
    /// # Errors
    /// As there.
    pub fn encode(&self, _version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.check()?;
        start(Place::Connect, self.body_len(self.version), out)?;
        put_binary(out, b"MQTT");
        out.put_u8(self.version.level());
        let will = self.will.as_ref().map_or(0, |will| {
            1 << 2 | (will.qos as u8) << 3 | u8::from(will.retain) << 5
        });
        out.put_u8(
            u8::from(self.clean_start) << 1
                | will
                | u8::from(self.password.is_some()) << 6
                | u8::from(self.username.is_some()) << 7,
        );
        out.put_u16(self.keep_alive);
        if self.version == Version::V5 {
            put_properties(out, self.properties);
        }
        put_binary(out, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            if self.version == Version::V5 {
                put_properties(out, will.properties);
            }
            put_binary(out, will.topic.as_bytes());
            put_binary(out, will.payload);
        }
        if let Some(username) = self.username {
            put_binary(out, username.as_bytes());
        }
        if let Some(password) = self.password {
            put_binary(out, password);
        }
        Ok(())
    }

    /// As [`Packet::encoded_len`]: the version is the one that the packet names.
    pub fn encoded_len(&self, _version: Version) -> usize {
        with_header(self.body_len(self.version))
    }

    fn body_len(&self, version: Version) -> usize {
        // Name, level, flags, keep alive.
        6 + 1
            + 1
            + 2
            + properties_len(self.properties, version)
            + 2
            + self.client_id.len()
            + self.will.as_ref().map_or(0, |will| will.len(version))
            + self.username.map_or(0, |username| 2 + username.len())
            + self.password.map_or(0, |password| 2 + password.len())
    }

    fn check(&self) -> Result<(), EncodeError> {
        let place = Place::Connect;
        check_text(place, "client identifier", self.client_id)?;
        check_text(place, "user name", self.username.unwrap_or_default())?;
        check_binary(place, "password", self.password.unwrap_or_default())?;
        if let Some(will) = &self.will {
            check_text(place, "will topic", will.topic)?;
            check_binary(place, "will payload", will.payload)?;
            if topic::check_name(will.topic).is_err() {
                return Err(invalid(place, "the will needs a topic without wildcards"));
            }
        }
        if self.version == Version::V311 {
            if self.password.is_some() && self.username.is_none() {
                return Err(invalid(
                    place,
                    "MQTT 3.1.1 has no password without a user name",
                ));
            }
            return Ok(());
        }
        self.properties.check(place)?;
        if let Some(will) = &self.will {
            will.properties.check(Place::Will)?;
        }
        let value = |id| self.properties.value(id);
        if value(PropertyId::AuthenticationData).is_some()
            && value(PropertyId::AuthenticationMethod).is_none()
        {
            return Err(invalid(
                place,
                "authentication_data needs an authentication_method",
            ));
        }
        Ok(())
    }
}

impl Will<'_> {
    fn len(&self, version: Version) -> usize {
        properties_len(self.properties, version) + 2 + self.topic.len() + 2 + self.payload.len()
    }
}
