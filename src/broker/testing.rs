//! What the tests of all peers share: a connection's peer, and a bell that notes that it was rung.

use super::{Bell, Broker, Peer, Protocol};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

#[derive(Default)]
pub(super) struct Rung(pub(super) AtomicBool);

impl Bell for Rung {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The peer of a new connection, and its bell.
pub(super) fn accept(broker: &Arc<Broker>, protocol: Protocol) -> (Box<dyn Peer>, Arc<Rung>) {
    let rung = Arc::<Rung>::default();
    let bell: Weak<dyn Bell> = Arc::<Rung>::downgrade(&rung);
    let peer = broker.accept(protocol, "1.2.3.4:5", "1.2.3.4:6", bell);
    (peer, rung)
}
