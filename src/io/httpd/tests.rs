//! What can be told without a socket: which files are found, what a slow browser may have waiting.

use super::files;
use super::socket::Errand;
use super::{Answer, Bounds, Courier, Socket};
use crate::error::Code;
use crate::io::port::Port;
use bytes::Bytes;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory that is removed with what is in it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> std::io::Result<Self> {
        let name = format!("mq-httpd-{name}-{}", std::process::id());
        let place = Place(std::env::temp_dir().join(name));
        std::fs::create_dir_all(place.0.join("root/sub"))?;
        std::fs::write(place.0.join("secret"), "secret")?;
        std::fs::write(place.0.join("root/index.html"), "index")?;
        std::fs::write(place.0.join("root/sub/ü.txt"), "text")?;
        std::fs::write(place.0.join("root/.hidden"), "hidden")?;
        std::os::unix::fs::symlink("../secret", place.0.join("root/link"))?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn status(root: &Path, path: &str) -> u16 {
    let none = hyper::HeaderMap::new();
    files::answer(root, path, &none, None).status().as_u16()
}

#[test]
fn files_are_found_below_the_root_only() -> std::io::Result<()> {
    let place = Place::new("below")?;
    let root = place.0.join("root");
    for path in ["/", "/index.html", "/sub/%C3%BC.txt", "/sub//%c3%bc.txt"] {
        assert_eq!(status(&root, path), 200, "{path}");
    }
    for path in [
        "/../secret",
        "/%2e%2e/secret",
        "/%2E./secret",
        "/..%2fsecret",
        "/sub/..%2f..%2fsecret",
        "/link",
        "/.hidden",
        "/%2ehidden",
        "/sub",
        "/sub%00/x",
        "/index.html/",
        "/index.html/x",
        "/%",
        "/%4",
        "/%zz",
        "/%ff",
    ] {
        assert_eq!(status(&root, path), 404, "{path}");
    }
    assert_eq!(status(&place.0.join("nowhere"), "/"), 404);
    Ok(())
}

fn socket(max_backlog: usize) -> std::io::Result<Arc<Socket>> {
    let bounds = Bounds {
        max_message: 100,
        max_backlog,
        max_pending: 10,
        idle: None,
        ping: None,
    };
    let courier = Arc::<Courier>::default();
    Ok(Arc::new(Socket::new(
        Arc::new(Port::new()?),
        1,
        bounds,
        courier,
    )))
}

#[test]
fn what_waits_for_a_slow_browser_is_bounded() -> std::io::Result<()> {
    let message = || Socket::message(&[b'x'; 100], false).expect("text");
    let slow = socket(500)?;
    for _ in 0..3 {
        slow.send(message(), false).expect("there is room");
    }
    assert_eq!(
        slow.send(message(), false).map_err(|e| e.code),
        Err(Code::Full)
    );
    assert_eq!(
        slow.send(message(), false).map_err(|e| e.code),
        Err(Code::Closed)
    );
    assert!(matches!(slow.fetch(&mut VecDeque::new()), Errand::Overrun));
    // One message has room however long it is; what the kernel has taken waits no more.
    let quick = socket(10)?;
    for _ in 0..3 {
        quick.send(message(), false).expect("there is room");
        let mut taken = VecDeque::new();
        assert!(matches!(quick.fetch(&mut taken), Errand::Messages));
        assert_eq!(taken.len(), 1);
        quick.sent(100);
    }
    Ok(())
}

#[test]
fn nothing_follows_a_good_bye() -> std::io::Result<()> {
    let socket = socket(1000)?;
    let invalid = |outcome: Result<(), crate::error::Error>| outcome.map_err(|e| e.code);
    assert_eq!(invalid(socket.close(1005, b"")), Err(Code::Invalid));
    assert_eq!(invalid(socket.close(1000, b"\xff")), Err(Code::Invalid));
    assert_eq!(
        invalid(socket.close(1000, &[b'x'; 124])),
        Err(Code::Invalid)
    );
    assert_eq!(socket.close(4999, &[b'x'; 123]), Ok(()));
    assert_eq!(invalid(socket.close(1000, b"")), Err(Code::Closed));
    let message = Socket::message(b"late", true).expect("binary");
    assert_eq!(
        invalid(socket.send(message, false).map(drop)),
        Err(Code::Closed)
    );
    Ok(())
}

#[test]
fn messages_and_answers_are_checked() {
    assert!(Socket::message(b"\xff", false).is_err());
    assert!(Socket::message(b"\xff", true).is_ok());
    assert!(Socket::ping(&[0; 126]).is_err());
    let field = |name: &str, value: &str| vec![(name.into(), value.into())];
    let answer = |status, fields: &[_]| Answer::reply(status, fields, Bytes::new()).is_ok();
    assert!(answer(200, &field("x-own", "1")));
    assert!(!answer(200, &field("x-own", "a\r\nb")));
    assert!(!answer(200, &field("x own", "1")));
    assert!(!answer(101, &[]));
    assert!(!answer(1000, &[]));
}
