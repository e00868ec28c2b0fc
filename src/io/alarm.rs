//! A time at which a port's descriptor becomes readable, for hosts that can watch a descriptor and
//! have no timers.

use super::port::Port;
use super::runtime;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Rings `port` once, after `delay`, if it is still there.
///
/// # Errors
/// The runtime thread cannot be started.
pub fn set(port: &Arc<Port>, delay: Duration) -> io::Result<()> {
    let port = Arc::downgrade(port);
    runtime::handle()?.spawn(async move {
        tokio::time::sleep(delay).await;
        if let Some(port) = port.upgrade() {
            port.ring();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::port::Delivery;
    use crate::io::wakeup::Woken;

    #[test]
    fn rings_once_and_until_it_is_taken_back() -> io::Result<()> {
        let port = Arc::new(Port::new()?);
        set(&port, Duration::from_millis(5))?;
        assert_eq!(port.wait(&[], Some(Duration::from_secs(10))), Woken::Wakeup);
        assert_eq!(port.wait(&[], Some(Duration::ZERO)), Woken::Wakeup);
        assert!(!port.take(&mut Delivery::default()));
        assert_eq!(port.wait(&[], Some(Duration::ZERO)), Woken::Wakeup);
        port.hush();
        assert_eq!(port.wait(&[], Some(Duration::ZERO)), Woken::Late);
        Ok(())
    }

    #[test]
    fn does_not_keep_a_port_that_nobody_uses_any_more() -> io::Result<()> {
        let port = Arc::new(Port::new()?);
        set(&port, Duration::from_secs(3600))?;
        assert_eq!(Arc::strong_count(&port), 1);
        Ok(())
    }
}
