//! Tests of the MQTT codec: what they share.
