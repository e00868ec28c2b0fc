//! Where a broker is, and how to reach it: addresses in turn, both families of each, TLS and
//! WebSocket on top.

use super::transport::{Plain, Stream};
use crate::error::{Code, Error};
use crate::message::Value;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::{lookup_host, TcpStream, UnixStream};
use tokio::task::JoinSet;

/// How long an address may be silent before the next one is tried beside it (RFC 8305, section 5,
/// "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);

/// One place where a broker may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A name or an IP address, and a port.
    Tcp(String, u16),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// All places of a broker, and how to speak to it there.
pub struct Endpoint {
    addresses: Vec<Address>,
    /// Where the broker sent us, for one try each.
    elsewhere: VecDeque<Address>,
    /// Of the first address, for places that name none.
    port: u16,
    timeout: Duration,
    #[cfg(feature = "tls")]
    tls: Option<super::tls::Layer>,
    #[cfg(feature = "websocket")]
    websocket: Option<super::websocket::Layer>,
}

impl Endpoint {
    /// Reads the options `host port path hosts timeout tls… websocket…`.
    ///
    /// # Errors
    /// A certificate that cannot be read; an address that is none; what cannot stand in the
    /// request for a WebSocket.
    pub fn parse(options: &Value) -> Result<Self, Error> {
        if options.member("tls").as_bool() == Some(true) && !cfg!(feature = "tls") {
            return Err(Error::fatal(Code::Tls, "this build of MQ has no TLS"));
        }
        if options.member("websocket").as_bool() == Some(true) && !cfg!(feature = "websocket") {
            return Err(Error::invalid("this build of MQ has no WebSocket"));
        }
        Ok(Endpoint {
            addresses: addresses(options)?,
            elsewhere: VecDeque::new(),
            port: options
                .member("port")
                .as_integer()
                .map_or(0, |port| port as u16),
            timeout: options
                .member("timeout")
                .as_seconds()
                .unwrap_or(Duration::from_secs(10)),
            #[cfg(feature = "tls")]
            tls: super::tls::Layer::parse(options)?,
            #[cfg(feature = "websocket")]
            websocket: super::websocket::Layer::parse(options)?,
        })
    }

    /// Has the next attempts go to these places, `host` or `host:port`, each once. False: none of
    /// them is one.
    pub fn turn_to(&mut self, places: &[String]) -> bool {
        let places = places.iter().map(|place| parse_host(place, self.port));
        self.elsewhere = places.filter_map(Result::ok).collect();
        !self.elsewhere.is_empty()
    }

    /// Connects to the address whose turn it is at this attempt, TLS and WebSocket included, within the
    /// time-out.
    ///
    /// # Errors
    /// Names the address and what went wrong there.
    pub async fn connect(&mut self, attempt: u32) -> Result<Stream, Error> {
        let elsewhere = self.elsewhere.pop_front();
        // invariant: parse() leaves at least one address
        let regular = &self.addresses[attempt as usize % self.addresses.len()];
        let address = elsewhere.as_ref().unwrap_or(regular);
        tokio::time::timeout(self.timeout, self.open(address))
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    Code::Timeout,
                    format!(
                        "cannot connect to {address}: no answer within {} s",
                        self.timeout.as_secs_f64()
                    ),
                ))
            })
    }

    async fn open(&self, address: &Address) -> Result<Stream, Error> {
        let failed = |error: io::Error| {
            Error::new(
                Code::Lost,
                format!("cannot connect to {address}: {}", plainly(&error)),
            )
        };
        match address {
            Address::Unix(path) => {
                let socket = UnixStream::connect(path).await.map_err(failed)?;
                #[cfg(feature = "websocket")]
                if let Some(websocket) = &self.websocket {
                    return websocket.wrap(Box::new(socket), address).await;
                }
                let socket = socket.into_std().map_err(failed)?;
                Stream::plain(Plain::Unix(socket)).map_err(failed)
            }
            Address::Tcp(host, port) => {
                let resolved = lookup_host((host.as_str(), *port)).await;
                let addresses = interleave(resolved.map_err(failed)?);
                let socket = first_to_answer(addresses, TcpStream::connect).await;
                let socket = socket.map_err(failed)?;
                socket.set_nodelay(true).map_err(failed)?;
                #[cfg(feature = "tls")]
                if let Some(tls) = &self.tls {
                    let socket = tls.wrap(socket, host, address).await?;
                    #[cfg(feature = "websocket")]
                    if let Some(websocket) = &self.websocket {
                        return websocket.wrap(socket, address).await;
                    }
                    return Ok(Stream::Layered(socket));
                }
                #[cfg(feature = "websocket")]
                if let Some(websocket) = &self.websocket {
                    return websocket.wrap(Box::new(socket), address).await;
                }
                let socket = socket.into_std().map_err(failed)?;
                Stream::plain(Plain::Tcp(socket)).map_err(failed)
            }
        }
    }
}

fn addresses(options: &Value) -> Result<Vec<Address>, Error> {
    if let Some(path) = options.member("path").as_text() {
        return Ok(vec![Address::Unix(path.into())]);
    }
    let port = options.member("port").as_integer().unwrap_or(0);
    let port = u16::try_from(port)
        .map_err(|_| Error::invalid(format!("port = {port}: a port lies between 1 and 65535")))?;
    if let Value::List(hosts) = options.member("hosts") {
        if !hosts.is_empty() {
            return hosts
                .iter()
                .map(|host| parse_host(host.as_text().unwrap_or_default(), port))
                .collect();
        }
    }
    let host = options.member("host").as_text().unwrap_or("localhost");
    Ok(vec![Address::Tcp(unbracketed(host).to_owned(), port)])
}

/// `host`, `host:port`, `::1`, `[::1]:port`.
fn parse_host(text: &str, default_port: u16) -> Result<Address, Error> {
    let invalid = || Error::invalid(format!("hosts: {text:?} is not \"host\" or \"host:port\""));
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| invalid())?)
        }
        _ => (text, default_port),
    };
    if host.is_empty() {
        return Err(invalid());
    }
    Ok(Address::Tcp(unbracketed(host).to_owned(), port))
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Tries all addresses, the next when one fails or is slow, and takes the first that answers
/// ("Happy Eyeballs", RFC 8305, without its sorting by history).
async fn first_to_answer<S, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<S>
where
    S: Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = None;
    loop {
        let more = match addresses.next() {
            Some(address) => {
                attempts.spawn(connect(address));
                true
            }
            None => false,
        };
        let finished = if more {
            match tokio::time::timeout(STAGGER, attempts.join_next()).await {
                Ok(finished) => finished,
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match finished {
            Some(Ok(Ok(socket))) => return Ok(socket),
            Some(Ok(Err(error))) => failure = Some(error),
            Some(Err(_)) => {}
            None if more => {}
            None => break,
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::other("the name has no address")))
}

/// The two families in turn, beginning with the one that the resolver prefers.
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<_> = addresses.collect();
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut mixed = Vec::with_capacity(preferred.len() + others.len());
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    loop {
        match (preferred.next(), others.next()) {
            (None, None) => return mixed,
            (a, b) => mixed.extend(a.into_iter().chain(b)),
        }
    }
}

/// An I/O error without the "(os error 111)" that means nothing to a reader.
pub(super) fn plainly(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, Value)]) -> Value {
        Value::Map(
            entries
                .iter()
                .map(|(key, value)| (key.as_bytes().to_vec(), value.clone()))
                .collect(),
        )
    }

    fn text(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn hosts_have_ports_of_their_own_or_the_common_one() -> Result<(), Error> {
        let options = map(&[
            ("port", Value::Integer(6379)),
            (
                "hosts",
                Value::List(vec![text("a"), text("b:1"), text("::1"), text("[::1]:2")]),
            ),
        ]);
        let shown: Vec<_> = addresses(&options)?
            .iter()
            .map(Address::to_string)
            .collect();
        assert_eq!(shown, ["a:6379", "b:1", "[::1]:6379", "[::1]:2"]);
        Ok(())
    }

    #[test]
    fn a_wrong_host_or_port_is_named() {
        let wrong = map(&[("hosts", Value::List(vec![text("a:b")]))]);
        assert!(addresses(&wrong).is_err_and(|error| error.text.contains("a:b")));
        let wrong = map(&[("port", Value::Integer(70_000))]);
        assert!(addresses(&wrong).is_err_and(|error| error.text.contains("70000")));
    }

    #[test]
    fn families_take_turns() {
        let all = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1"];
        let mixed = interleave(all.iter().filter_map(|a| a.parse().ok()));
        let shown: Vec<_> = mixed.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "1.1.1.3:1"]
        );
    }

    /// What becomes of an attempt to connect.
    #[derive(Clone, Copy)]
    enum Fate {
        Answers(Duration),
        Refuses,
        Silent,
    }

    /// Tries addresses of these fates, on a clock of its own: the index of the one that answered, or
    /// what went wrong; and how long that took.
    fn try_in_turn(fates: &[Fate]) -> io::Result<(io::Result<usize>, Duration)> {
        let addresses = (0..fates.len()).map(|at| SocketAddr::from(([127, 0, 0, 1], at as u16)));
        let connect = |address: SocketAddr| {
            let at = usize::from(address.port());
            let fate = fates[at];
            async move {
                match fate {
                    Fate::Answers(after) => tokio::time::sleep(after).await,
                    Fate::Refuses => return Err(io::Error::other(format!("{at} refuses"))),
                    Fate::Silent => std::future::pending().await,
                }
                Ok(at)
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        Ok(runtime.block_on(async {
            let begun = tokio::time::Instant::now();
            let outcome = first_to_answer(addresses.collect(), connect).await;
            (outcome, begun.elapsed())
        }))
    }

    #[test]
    fn a_refused_address_costs_nothing_and_a_silent_one_the_stagger() -> io::Result<()> {
        use Fate::{Answers, Refuses, Silent};
        let at_once = Answers(Duration::ZERO);
        let millisecond = Duration::from_millis(1); // the clock's grain
        for (fates, winner, cost) in [
            (&[at_once, Refuses][..], 0, Duration::ZERO),
            (&[Refuses, at_once], 1, Duration::ZERO),
            (&[Silent, at_once], 1, STAGGER),
            (&[Silent, Silent, at_once], 2, 2 * STAGGER),
            (&[Silent, Refuses, at_once], 2, STAGGER),
            // Slow is not out: the first one goes on beside the second.
            (&[Answers(STAGGER + STAGGER), Silent], 0, 2 * STAGGER),
        ] {
            let (outcome, took) = try_in_turn(fates)?;
            assert_eq!(outcome?, winner);
            assert!(took >= cost && took <= cost + 5 * millisecond, "{took:?}");
        }
        Ok(())
    }

    #[test]
    fn where_every_address_fails_the_last_error_is_told() -> io::Result<()> {
        let (outcome, _) = try_in_turn(&[Fate::Refuses, Fate::Refuses])?;
        assert!(outcome.is_err_and(|error| error.to_string() == "1 refuses"));
        let (outcome, _) = try_in_turn(&[])?;
        assert!(outcome.is_err());
        Ok(())
    }
}
