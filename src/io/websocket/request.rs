//! The request that opens a WebSocket, from the options; and what is no request.

use super::super::endpoint::Address;
use super::excerpt;
use crate::error::Error;
use crate::message::Value;
use std::fmt;
use tungstenite::handshake::client::{generate_key, generate_request, Request};
use tungstenite::http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What is asked of every server (RFC 6455, section 4.1).
pub(super) struct Opening {
    /// All but the fields `Host` and `Sec-WebSocket-Key`.
    request: Request,
    /// The subprotocols that we speak, the preferred one first.
    pub(super) protocols: Vec<String>,
    default_port: u16,
}

impl Opening {
    /// Reads the options `websocket_path websocket_protocols websocket_headers tls`.
    ///
    /// # Errors
    /// A path, a subprotocol or a header field that cannot stand in a request.
    pub(super) fn parse(options: &Value) -> Result<Self, Error> {
        let mut request = Request::new(());
        // Of the URI, only path and query are sent.
        *request.uri_mut() = format!("ws://localhost{}", path(options)?)
            .parse()
            .map_err(|why| Error::invalid(format!("websocket.path: {why}")))?;
        let protocols = protocols(options)?;
        let fields = request.headers_mut();
        let fixed = HeaderValue::from_static;
        fields.insert(header::CONNECTION, fixed("Upgrade"));
        fields.insert(header::UPGRADE, fixed("websocket"));
        fields.insert(header::SEC_WEBSOCKET_VERSION, fixed("13"));
        if !protocols.is_empty() {
            let list = HeaderValue::try_from(protocols.join(", "))
                .map_err(|why| Error::invalid(format!("websocket.protocols: {why}")))?;
            fields.insert(header::SEC_WEBSOCKET_PROTOCOL, list);
        }
        extra_headers(options.member("websocket_headers"), fields)?;
        let secure = options.member("tls").as_bool() == Some(true);
        Ok(Opening {
            request,
            protocols,
            default_port: if secure { 443 } else { 80 },
        })
    }

    /// The path, without a query, which may hold a secret.
    pub(super) fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// The bytes of a request to `address`, and the key in it, which is another one each time.
    ///
    /// # Errors
    /// The host's name cannot stand in a request.
    pub(super) fn to(&self, address: &Address) -> Result<(Vec<u8>, String), Error> {
        let host = match address {
            Address::Unix(_) => "localhost".to_owned(),
            Address::Tcp(host, port) if *port == self.default_port && host.contains(':') => {
                format!("[{host}]")
            }
            Address::Tcp(host, port) if *port == self.default_port => host.clone(),
            Address::Tcp(..) => address.to_string(),
        };
        let unusable = |why: &dyn fmt::Display| {
            Error::invalid(format!("host {host:?} cannot stand in a request: {why}"))
        };
        let mut request = self.request.clone();
        let fields = request.headers_mut();
        if !fields.contains_key(header::HOST) {
            let value = HeaderValue::try_from(&host).map_err(|why| unusable(&why))?;
            fields.insert(header::HOST, value);
        }
        let key = HeaderValue::try_from(generate_key()).map_err(|why| unusable(&why))?;
        fields.insert(header::SEC_WEBSOCKET_KEY, key);
        generate_request(request).map_err(|why| unusable(&why))
    }
}

fn path(options: &Value) -> Result<&str, Error> {
    let path = match options.member("websocket_path") {
        Value::Nil => return Ok("/"),
        path => path,
    };
    path.as_text()
        .filter(|path| path.starts_with('/') && !path.contains('#'))
        .filter(|path| path.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or_else(|| {
            Error::invalid(format!(
                "websocket.path = {} is no path; write \"/mqtt\", and %20 for a space",
                excerpt(path.as_bytes().unwrap_or_default())
            ))
        })
}

fn protocols(options: &Value) -> Result<Vec<String>, Error> {
    let Value::List(protocols) = options.member("websocket_protocols") else {
        return Ok(Vec::new());
    };
    protocols
        .iter()
        .map(|name| {
            // A token (RFC 6455, section 4.1, item 10), of which names of header fields are, too.
            name.as_text()
                .filter(|name| HeaderName::from_bytes(name.as_bytes()).is_ok())
                .map(str::to_owned)
                .ok_or_else(|| {
                    Error::invalid(format!(
                        "websocket.protocols: {} is no subprotocol's name; write \"mqtt\"",
                        excerpt(name.as_bytes().unwrap_or_default())
                    ))
                })
        })
        .collect()
}

/// Adds the user's header fields. No error repeats a value: it may be a secret.
fn extra_headers(given: &Value, fields: &mut HeaderMap) -> Result<(), Error> {
    let Value::Map(given) = given else {
        return Ok(());
    };
    for (name, value) in given {
        let shown = excerpt(name);
        let name = HeaderName::from_bytes(name).map_err(|_| {
            let text = format!("websocket.headers: {shown} is no name of a header field");
            Error::invalid(text)
        })?;
        if name.as_str().starts_with("sec-websocket-") || fields.contains_key(&name) {
            return Err(Error::invalid(format!(
                "websocket.headers: {shown} is the handshake's own, or given twice; \
                 subprotocols go into websocket.protocols"
            )));
        }
        let value = value
            .as_bytes()
            .and_then(|value| HeaderValue::from_bytes(value).ok())
            .ok_or_else(|| {
                Error::invalid(format!(
                    "websocket.headers: the value of {shown} must be a string without line ends \
                     and control characters"
                ))
            })?;
        fields.insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{map, text};
    use super::*;

    fn sent(options: &[(&str, Value)], address: &Address) -> Result<String, Error> {
        let (bytes, key) = Opening::parse(&map(options))?.to(address)?;
        Ok(String::from_utf8_lossy(&bytes).replace(&key, "KEY"))
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp(host.to_owned(), port)
    }

    #[test]
    fn the_request_says_what_the_options_say() -> Result<(), Error> {
        let options = [
            ("websocket_path", text("/mqtt?token=1")),
            (
                "websocket_protocols",
                Value::List(vec![text("mqtt"), text("mqttv3.1")]),
            ),
            ("websocket_headers", map(&[("Origin", text("http://x"))])),
        ];
        assert_eq!(
            sent(&options, &tcp("::1", 8083))?,
            "GET /mqtt?token=1 HTTP/1.1\r\nHost: [::1]:8083\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: KEY\r\n\
             Sec-WebSocket-Protocol: mqtt, mqttv3.1\r\nOrigin: http://x\r\n\r\n"
        );
        Ok(())
    }

    #[test]
    fn the_host_names_no_default_port() -> Result<(), Error> {
        let cases = [
            (false, tcp("a", 80), "a"),
            (false, tcp("a", 443), "a:443"),
            (true, tcp("a", 443), "a"),
            (true, tcp("::1", 443), "[::1]"),
            (false, Address::Unix("/x".into()), "localhost"),
        ];
        for (secure, address, host) in cases {
            let request = sent(&[("tls", Value::Boolean(secure))], &address)?;
            assert!(request.contains(&format!("Host: {host}\r\n")), "{request}");
        }
        let given = map(&[("host", text("b"))]);
        let request = sent(&[("websocket_headers", given)], &tcp("a", 80))?;
        assert!(request.contains("Host: b\r\n") && !request.contains("Host: a"));
        assert!(sent(&[], &tcp("a\r\nb", 80)).is_err());
        Ok(())
    }

    #[test]
    fn nothing_can_be_smuggled_into_the_request() {
        let protocol = |name| ("websocket_protocols", Value::List(vec![text(name)]));
        let header = |name, value| ("websocket_headers", map(&[(name, text(value))]));
        let wrong = [
            (("websocket_path", text("mqtt")), "\"mqtt\" is no path"),
            (("websocket_path", text("/a b")), "\"/a b\" is no path"),
            (
                ("websocket_path", text("/a\r\nX: y")),
                "\"/a\\r\\nX: y\" is",
            ),
            (("websocket_path", text("/a#b")), "\"/a#b\" is no path"),
            (
                ("websocket_path", Value::Bytes(vec![b'/', 255])),
                "is no path",
            ),
            (("websocket_path", Value::Integer(1)), "is no path"),
            (protocol("a,b"), "\"a,b\" is no subprotocol"),
            (protocol("a\r\nX: y"), "is no subprotocol"),
            (protocol(""), "is no subprotocol"),
            (header("X Y", "z"), "\"X Y\" is no name"),
            (header("X:\r\nY", "z"), "is no name"),
            (header("X", "secret\r\nY: z"), "the value of \"X\" must be"),
            (header("X", "secret\0"), "the value of \"X\" must be"),
            (
                header("Upgrade", "secret"),
                "\"Upgrade\" is the handshake's",
            ),
            (header("sec-websocket-key", "secret"), "is the handshake's"),
        ];
        for (option, part) in wrong {
            match Opening::parse(&map(&[option])) {
                Err(error) => {
                    assert!(error.text.contains(part), "{}", error.text);
                    assert!(!error.text.contains("secret"), "{}", error.text);
                }
                Ok(_) => panic!("taken, instead of: {part}"),
            }
        }
    }
}
