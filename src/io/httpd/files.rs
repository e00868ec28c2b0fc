//! Files for browsers, from below one directory and from nowhere else.

use super::body::{read, Reading, Reply, CHUNK};
use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What browsers must be told of a file, by the end of its name (WHATWG, MIME Sniffing, section
/// 4.6; text is UTF-8).
const TYPES: &[(&str, &str)] = &[
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("gif", "image/gif"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ogg", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xml", "application/xml"),
];

/// Answers with the file that `path` (of a request's target, undecoded) names below `root`; a
/// directory's is its `index.html`. 404 for what is not there, is hidden (its name begins with a
/// dot) or lies elsewhere, behind a symbolic link, too. Blocks.
pub(super) fn answer(
    root: &Path,
    path: &str,
    request: &HeaderMap,
    max_age: Option<Duration>,
) -> Response<Reply> {
    find(root, path)
        .and_then(|path| open(&path, request, max_age))
        .unwrap_or_else(|error| {
            let missing = matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::InvalidInput
            );
            let mut response = Response::new(Reply::Whole(Bytes::new()));
            *response.status_mut() = match (missing, error.kind()) {
                (true, _) => StatusCode::NOT_FOUND,
                (_, io::ErrorKind::PermissionDenied) => StatusCode::FORBIDDEN,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            response
        })
}

/// The file that a target's path names.
fn find(root: &Path, path: &str) -> io::Result<PathBuf> {
    let root = root.canonicalize()?;
    let mut place = root.clone();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        place.push(name(segment).ok_or(io::ErrorKind::NotFound)?);
    }
    let mut place = place.canonicalize()?;
    if place.is_dir() {
        place = place.join("index.html").canonicalize()?;
    } else if path.ends_with('/') {
        return Err(io::ErrorKind::NotFound.into());
    }
    if !place.starts_with(&root) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(place)
}

/// A segment of a path, decoded (RFC 3986, section 2.1); None for one that names nothing below.
fn name(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes().iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || (*rest.next()? as char).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                (high << 4 | low) as u8
            }
            byte => *byte,
        });
    }
    let name = String::from_utf8(bytes).ok()?;
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    is_plain.then_some(name)
}

fn open(
    path: &Path,
    request: &HeaderMap,
    max_age: Option<Duration>,
) -> io::Result<Response<Reply>> {
    // Without it, to open a pipe waits for somebody to write.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let modified = about.modified().ok();
    let mut response = Response::new(Reply::Whole(Bytes::new()));
    let fields = response.headers_mut();
    if let Some(date) = modified.map(httpdate::fmt_http_date) {
        if let Ok(date) = HeaderValue::try_from(date) {
            fields.insert(header::LAST_MODIFIED, date);
        }
    }
    let lifetime = match max_age {
        Some(age) => HeaderValue::try_from(format!("max-age={}", age.as_secs())),
        // May be kept, and is to be asked for again.
        None => HeaderValue::try_from("no-cache"),
    };
    if let Ok(lifetime) = lifetime {
        fields.insert(header::CACHE_CONTROL, lifetime);
    }
    if is_known(modified, request) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(path)));
    fields.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let length = about.len();
    *response.body_mut() = if length <= CHUNK as u64 {
        Reply::Whole(read(&file, length)?)
    } else {
        Reply::File(Reading::new(file, length))
    };
    Ok(response)
}

/// Whether the browser has the file as it is (RFC 9110, section 13.1.3: a date has seconds).
fn is_known(modified: Option<SystemTime>, request: &HeaderMap) -> bool {
    let known = request
        .get(header::IF_MODIFIED_SINCE)
        .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    match (modified, known) {
        (Some(modified), Some(known)) => modified < known + Duration::from_secs(1),
        _ => false,
    }
}

fn kind(path: &Path) -> &'static str {
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or("");
    TYPES
        .iter()
        .find(|(known, _)| end.eq_ignore_ascii_case(known))
        .map_or("application/octet-stream", |(_, kind)| kind)
}
