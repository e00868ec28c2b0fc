//! Keeps a client connected: connects, serves, waits, connects again, until it is closed or an
//! error comes that no new connection mends.

use super::backoff::{Backoff, Policy};
use super::connection::{Attention, Hub};
use super::endpoint::Endpoint;
use super::link::Link;
use super::pump::{self, far, Ending};
use super::runtime;
use crate::error::{Code, Error};
use crate::message::State;
use crate::session::Detour;
use std::future::{poll_fn, Future};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::{sleep, sleep_until};

/// A connection that lasted so long was a success: the next failure starts the backoff anew.
const SUCCESS: Duration = Duration::from_secs(5);

/// Starts the task that serves `link`.
///
/// # Errors
/// The runtime thread could not be started.
pub fn start(link: Arc<Link>, endpoint: Endpoint, policy: Policy) -> io::Result<()> {
    let runtime = runtime::handle()?;
    let driver = Driver {
        link,
        endpoint,
        backoff: Backoff::new(policy),
        attempts: 0,
        ever_accepted: false,
        ended: false,
    };
    runtime.spawn(driver.run());
    Ok(())
}

struct Driver {
    link: Arc<Link>,
    endpoint: Endpoint,
    backoff: Backoff,
    attempts: u32,
    ever_accepted: bool,
    ended: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A panic in a session ends its task, and must not leave callers waiting for ever.
        if !self.ended {
            let text = "internal error: the connection's task panicked; please report it";
            self.end(State::Failed, &Error::fatal(Code::Protocol, text));
        }
    }
}

impl Driver {
    async fn run(mut self) {
        let (state, cause) = self.serve().await;
        self.end(state, &cause);
    }

    /// Until it is closed (the state is then [`State::Closed`]) or given up; abandoned counts as
    /// closed, and nobody listens.
    async fn serve(&mut self) -> (State, Error) {
        loop {
            match self.serve_once().await {
                Ending::Finished | Ending::Abandoned => return (State::Closed, Error::closed()),
                Ending::CutOff => {
                    let text = "closed before everything was sent and answered";
                    return (State::Closed, Error::new(Code::Closed, text));
                }
                Ending::Broken(mut error) => {
                    if self.takes_detour(&mut error) {
                        continue;
                    }
                    match self.retry_after(error).await {
                        Ok(()) => {}
                        Err(Ending::Broken(error)) => return (State::Failed, error),
                        Err(_) => return (State::Closed, Error::closed()),
                    }
                }
            }
        }
    }

    /// Answers everybody and tells the end; what is abandoned has nobody to tell.
    fn end(&mut self, state: State, cause: &Error) {
        self.ended = true;
        self.link.set_ended();
        if self.link.abandoned() {
            return;
        }
        let mut events = self.link.events();
        {
            let mut session = self.link.connection().session();
            self.link.feed_all(&mut **session, &mut events);
            session.terminate(cause, &mut events);
            // The first time nothing more is accepted from then on; the second takes what was until then.
            self.link.feed_all(&mut **session, &mut events);
            self.link.feed_all(&mut **session, &mut events);
        }
        let told = (state == State::Failed).then_some(cause);
        events.state(state, told, 0.0);
        self.link.deliver(events);
    }

    /// One connection, from the attempt to its end.
    async fn serve_once(&mut self) -> Ending {
        let attempt = self.attempts;
        self.attempts = attempt.wrapping_add(1);
        let stream = match offline(&self.link, self.endpoint.connect(attempt)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Ending::Broken(error),
            Err(ending) => return ending,
        };
        let began = Instant::now();
        let ending = pump::run(&self.link, stream).await;
        let session = self.link.connection().session();
        if session.accepted() {
            self.ever_accepted = true;
            if began.elapsed() >= SUCCESS || session.has_made_up() {
                self.backoff.reset();
            }
        }
        drop(session);
        ending
    }

    /// Whether the session knows a way that is to be tried at once. A client that had been let in
    /// before it was sent elsewhere hears of the loss like of any other, and waits: two brokers may
    /// send it to and fro.
    fn takes_detour(&mut self, error: &mut Error) -> bool {
        let (detour, accepted) = {
            let mut session = self.link.connection().session();
            (session.detour(), session.accepted())
        };
        let at_once = match detour {
            None => false,
            Some(Detour::Again) => {
                // The same address again, where there are several.
                self.attempts = self.attempts.wrapping_sub(1);
                true
            }
            Some(Detour::Elsewhere(places)) => {
                let turned = self.endpoint.turn_to(&places);
                if turned && accepted {
                    error.fatal = false;
                }
                turned && !accepted
            }
        };
        if at_once {
            let mut events = self.link.events();
            let mut session = self.link.connection().session();
            session.disconnected(error, &mut events);
            drop(session);
            self.link.deliver(events);
        }
        at_once
    }

    /// Tells of the loss and waits for the next try.
    async fn retry_after(&mut self, mut error: Error) -> Result<(), Ending> {
        // A peer that never spoke the protocol is the wrong peer, not one in trouble.
        if !self.ever_accepted && matches!(error.code, Code::Protocol | Code::Tls) {
            error.fatal = true;
        }
        let delay = if error.fatal {
            None
        } else {
            self.backoff.fail(fastrand::f64())
        };
        let mut events = self.link.events();
        {
            let mut session = self.link.connection().session();
            let accepted = session.accepted();
            session.disconnected(&error, &mut events);
            // Also where there was none yet: whoever asked to be told hears of each failed try.
            match delay {
                Some(delay) => events.state(State::Lost, Some(&error), delay.as_secs_f64()),
                None if accepted => events.state(State::Lost, Some(&error), -1.0),
                None => {}
            }
        }
        self.link.deliver(events);
        match delay {
            Some(delay) => offline(&self.link, sleep(delay)).await,
            None => {
                let tries = self.backoff.failures();
                if !error.fatal && tries > 1 {
                    error.text = format!("gave up after {tries} tries: {}", error.text);
                }
                Err(Ending::Broken(error))
            }
        }
    }
}

/// Waits for `work` while there is no connection, and sees to the session's timers meanwhile.
async fn offline<T>(link: &Arc<Link>, work: impl Future<Output = T>) -> Result<T, Ending> {
    let mut work = pin!(work);
    let mut timer = pin!(sleep_until(far(Instant::now())));
    poll_fn(|cx| {
        let connection = link.connection();
        connection.signal.register(cx.waker());
        loop {
            if link.abandoned() {
                return Poll::Ready(Err(Ending::Abandoned));
            }
            let now = Instant::now();
            let mut events = link.events();
            let (deadline, finished) = {
                let mut session = connection.session();
                link.feed(&mut **session, now, &mut events);
                if session.deadline().is_some_and(|at| at <= now) {
                    // Without a connection there is none to give up.
                    let _ = session.expire(now, &mut events);
                }
                (session.deadline(), session.finished())
            };
            link.deliver(events);
            if finished {
                return Poll::Ready(Err(Ending::Finished));
            }
            let cut_off = link.cut_off();
            if cut_off.is_some_and(|at| at <= now) {
                return Poll::Ready(Err(Ending::CutOff));
            }
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            // What is awaited and comes after this look wakes us.
            connection.signal.set(Attention::Offline);
            if link.has_staged_emits() {
                continue;
            }
            let next = [deadline, cut_off].into_iter().flatten().min();
            timer
                .as_mut()
                .reset(next.map_or_else(|| far(now), Into::into));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::link::Bounds;
    use crate::io::port::{Delivery, Port};
    use crate::io::staging::QueueBounds;
    use crate::io::stub::Stub;
    use crate::io::wakeup::Woken;
    use crate::message::{Command, Record, Value};
    use std::io::Write;
    use std::net::TcpListener;

    #[test]
    fn a_panic_in_a_session_fails_its_client() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = std::thread::spawn(move || listener.accept()?.0.write_all(b"x"));
        let entries = [
            ("host", Value::Bytes(b"127.0.0.1".to_vec())),
            ("port", Value::Integer(address.port().into())),
        ];
        let options = Value::Map(entries.map(|(k, v)| (k.as_bytes().to_vec(), v)).to_vec());
        let endpoint = Endpoint::parse(&options).expect("valid options");
        let port = Arc::new(Port::new()?);
        let bounds = Bounds {
            queue: QueueBounds {
                messages: 10,
                bytes: 1000,
            },
            pending: 10,
        };
        let link = Arc::new(Link::new(Box::<Stub>::default(), port.clone(), 1, bounds));
        link.submit(Command::Flush { ticket: 7 }).expect("accepted");
        start(link, endpoint, Policy::default())?;
        let mut delivery = Delivery::default();
        while !port.take(&mut delivery) {
            let woken = port.wait(&[], Some(Duration::from_secs(10)));
            assert_eq!(woken, Woken::Wakeup, "nobody was told");
        }
        assert!(matches!(
            delivery.batch.records(),
            [
                Record::Failed { ticket: 7, .. },
                Record::State {
                    state: State::Failed,
                    ..
                }
            ]
        ));
        server.join().expect("the server's thread")
    }
}
