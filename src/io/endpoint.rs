//! Where a broker is, and how to reach it: addresses in turn, both families of each, TLS and
//! WebSocket on top.

use super::transport::{Plain, Stream};
use crate::error::{Code, Error};
use crate::message::Value;
use std::fmt;
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

    /// Connects to the address whose turn it is at this attempt, TLS and WebSocket included, within the
    /// time-out.
    ///
    /// # Errors
    /// Names the address and what went wrong there.
    pub async fn connect(&self, attempt: u32) -> Result<Stream, Error> {
        // invariant: parse() leaves at least one address
        let address = &self.addresses[attempt as usize % self.addresses.len()];
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
                let socket = connect_any(host, *port).await.map_err(failed)?;
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

/// Tries all addresses of a name, the next when one fails or is slow, and takes the first that
/// answers ("Happy Eyeballs", RFC 8305, without its sorting by history).
async fn connect_any(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses = interleave(lookup_host((host, port)).await?).into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = None;
    loop {
        let more = match addresses.next() {
            Some(address) => {
                attempts.spawn(TcpStream::connect(address));
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
}
