//! Many packets, whatever the pieces: what it costs, and that a decoder is as new after each.

use super::*;

fn publish(payload: &[u8]) -> Packet<'_> {
    Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: "a/b",
        packet_id: 0,
        properties: Properties::NONE,
        payload,
    })
}

#[test]
fn feeding_by_byte_is_linear() {
    for payload in [0, 100, 1000, 100_000] {
        let payload = vec![b'x'; payload];
        let mut bytes = BytesMut::new();
        publish(&payload)
            .encode(Version::V5, &mut bytes)
            .expect("encodes");
        let mut decoder = Decoder::new(Role::Client, MAX);
        for length in 0..bytes.len() {
            assert_eq!(decoder.decode(&bytes[..length]), Ok(None));
        }
        let decoded = decoder.decode(&bytes).expect("a packet");
        assert_eq!(decoded, Some((publish(&payload), bytes.len())));
        // Nothing, the bytes of the header, the whole: however long the packet is.
        assert!(decoder.looks <= 7, "{} looks", decoder.looks);
    }
}

#[test]
fn small_packets_are_linear() {
    let bytes = hex("d0 00").repeat(10_000);
    let mut decoder = Decoder::new(Role::Client, MAX);
    let (packets, end) = feed(&mut decoder, &bytes, 0..bytes.len());
    assert_eq!((packets.len(), end), (10_000, Ok(())));
    assert!(decoder.looks <= 2 * bytes.len() + 2, "{}", decoder.looks);
}

#[test]
fn reset_forgets_half_a_packet() {
    let mut decoder = decoder(Role::Client, Version::V311);
    assert_eq!(decoder.decode(&hex("30 7f 00 01 61")), Ok(None));
    assert_eq!(decoder.decode(&hex("d0 00")), Ok(None), "waits for more");
    decoder.reset();
    let ping = hex("d0 00");
    let decoded = decoder.decode(&ping);
    assert_eq!(decoded, Ok(Some((Packet::PingResp, 2))));
    assert_eq!(decoder.version(), Version::V311);
}

#[test]
fn a_server_adopts_the_version_of_connect() {
    let bytes = hex("10 0c 00 04 4d 51 54 54 04 02 00 00 00 00 30 05 00 01 61 01 02");
    let mut decoder = Decoder::new(Role::Server, MAX);
    let (packets, end) = feed(&mut decoder, &bytes, 0..bytes.len());
    assert_eq!(end, Ok(()));
    assert_eq!(decoder.version(), Version::V311);
    // In version 5, these bytes would be properties.
    match &packets[1].0 {
        Packet::Publish(publish) => assert_eq!(publish.payload, [1, 2]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_error_leaves_the_decoder_as_new() {
    let mut decoder = Decoder::new(Role::Client, MAX);
    assert_eq!(decoder.decode(&hex("40 02 00")), Ok(None));
    assert!(decoder.decode(&hex("40 02 00 00")).is_err());
    let ping = hex("d0 00");
    let decoded = decoder.decode(&ping);
    assert_eq!(decoded, Ok(Some((Packet::PingResp, 2))));
}
