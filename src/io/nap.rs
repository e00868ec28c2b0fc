//! Wakes a task within a fraction of a millisecond, which the runtime's own timers cannot. Whoever uses it sets one of
//! those, too: where the kernel has no such timer, or no descriptor for one, nothing comes of it.

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use fine::{Nap, Timer};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[derive(Debug, Default)]
pub(super) struct Nap;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Nap {
    pub(super) fn poll(
        &mut self,
        _: &mut std::task::Context<'_>,
        _: std::time::Instant,
    ) -> std::task::Poll<()> {
        std::task::Poll::Pending
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod fine {
    use super::super::sys;
    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, RawFd};
    use std::task::{Context, Poll};
    use std::time::{Duration, Instant};
    use tokio::io::unix::AsyncFd;

    /// See the module. Has no descriptor before it is first used.
    #[derive(Debug, Default)]
    pub(in super::super) struct Nap {
        timer: Option<AsyncFd<Timer>>,
        until: Option<Instant>,
    }

    impl Nap {
        /// Ready once it is `until`.
        pub(in super::super) fn poll(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
            self.try_poll(cx, until).unwrap_or(Poll::Pending)
        }

        fn try_poll(&mut self, cx: &mut Context<'_>, until: Instant) -> io::Result<Poll<()>> {
            let timer = match &mut self.timer {
                Some(timer) => timer,
                none => none.insert(Timer::new()?),
            };
            if self.until != Some(until) {
                timer.get_ref().set(until)?;
                self.until = Some(until);
            }
            while let Poll::Ready(ready) = timer.poll_read_ready(cx) {
                ready?.clear_ready();
                // It may have been ready for an earlier time.
                if until <= Instant::now() {
                    self.until = None;
                    return Ok(Poll::Ready(()));
                }
            }
            Ok(Poll::Pending)
        }
    }

    /// Owns its descriptor, which is always the same one.
    #[derive(Debug)]
    pub(in super::super) struct Timer(TimerFd);

    impl Timer {
        fn new() -> io::Result<AsyncFd<Self>> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            sys::watch_timer(Timer(timer))
        }

        /// Also forgets that an earlier time has come: it need not be read.
        fn set(&self, until: Instant) -> io::Result<()> {
            let left = until.saturating_duration_since(Instant::now());
            // None at all would stop it.
            let left = left.max(Duration::from_nanos(1));
            let once = Expiration::OneShot(TimeSpec::from_duration(left));
            Ok(self.0.set(once, TimerSetTimeFlags::empty())?)
        }
    }

    impl AsRawFd for Timer {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_fd().as_raw_fd()
        }
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io;
    use std::time::{Duration, Instant};
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(10);

    async fn sleep(nap: &mut Nap, until: Instant) -> bool {
        timeout(LONG, poll_fn(|cx| nap.poll(cx, until)))
            .await
            .is_ok()
    }

    #[test]
    fn wakes_when_it_is_time_and_not_before() -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut nap = Nap::default();
            for microseconds in [0, 50, 1, 300, 100] {
                let until = Instant::now() + Duration::from_micros(microseconds);
                assert!(sleep(&mut nap, until).await);
                assert!(Instant::now() >= until);
            }
            let past = Instant::now();
            for _ in 0..2 {
                assert!(sleep(&mut nap, past).await, "also the second time");
            }
            // A time that has been given up does not count as the next one.
            let (soon, later) = (Instant::now(), Instant::now() + Duration::from_millis(20));
            let given_up = timeout(Duration::from_millis(1), sleep(&mut nap, later)).await;
            assert!(given_up.is_err());
            assert!(sleep(&mut nap, soon).await);
            assert!(sleep(&mut nap, later).await);
            assert!(Instant::now() >= later);
        });
        Ok(())
    }
}
