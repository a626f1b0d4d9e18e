//! What `ocelli serve` answers: HTTP around what [`Site`] finds.

use super::site::{Found, Site, WEIGHTS, is_missing};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::UNIX_EPOCH;
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::spawn_blocking;

/// So many bytes of a file are in memory at a time.
const CHUNK: usize = 64 << 10;

/// Names by which this machine calls itself. A page of another name that leads here is not ours: its owner may have
/// pointed that name at this machine, to read with the visitor's browser what is meant for the visitor.
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// What the page and its worker may do. The page says the same of itself, but a worker goes by what comes with its own script,
/// and that nobody may frame the page can only be said here.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const TYPES: [(&str, &str); 11] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("ts", "text/plain; charset=utf-8"),
    ("md", "text/plain; charset=utf-8"),
    ("json", "application/json"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("wasm", "application/wasm"),
];

/// The body of an answer.
pub(super) enum Content {
    Bytes(Bytes),
    /// The first bytes of an open file.
    File {
        file: File,
        left: u64,
    },
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::File { left: 0, .. } => Poll::Ready(None),
            Self::File { file, left } => {
                let wanted = usize::try_from(*left).map_or(CHUNK, |left| left.min(CHUNK));
                let mut bytes = vec![0; wanted];
                let mut buffer = ReadBuf::new(&mut bytes);
                ready!(Pin::new(file).poll_read(cx, &mut buffer))?;
                let read = buffer.filled().len();
                if read == 0 {
                    // It is shorter than it was: the reader must not take what it has for the whole.
                    return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                }
                bytes.truncate(read);
                *left -= read as u64;
                Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { left, .. } => *left,
        })
    }
}

/// Answers a request. Never fails: what goes wrong is an answer too.
pub(super) async fn answer<B>(site: Arc<Site>, request: Request<B>) -> Response<Content> {
    let mut answer = match refused(&request) {
        Some(refusal) => refusal,
        None => found(site, request.uri().path().to_owned(), request.headers()).await,
    };
    let headers = answer.headers_mut();
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(headers, header::REFERRER_POLICY, "no-referrer");
    set(headers, header::CONTENT_SECURITY_POLICY, POLICY);
    // Networks in training and pages in the making change: whoever has kept one asks whether it still holds.
    set(headers, header::CACHE_CONTROL, "no-cache");
    answer
}

/// The answer to what is not even looked for.
fn refused<B>(request: &Request<B>) -> Option<Response<Content>> {
    let named = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    let ours = |host: &str| {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        HOSTS.iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    if !named.is_some_and(ours) || !request.uri().authority().is_none_or(|a| ours(a.as_str())) {
        return Some(text(StatusCode::FORBIDDEN, "open this page as http://127.0.0.1 or http://localhost"));
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "files here can only be read");
        set(refusal.headers_mut(), header::ALLOW, "GET, HEAD");
        return Some(refusal);
    }
    None
}

async fn found(site: Arc<Site>, path: String, asked: &HeaderMap) -> Response<Content> {
    let has_networks = site.has_networks();
    // The system may take its time, during which others are served.
    let found = spawn_blocking(move || site.find(&path)).await.unwrap_or_else(|e| Err(io::Error::other(e)));
    match found {
        Ok(Found::List(list)) => match serde_json::to_vec(&list) {
            Ok(json) => {
                let mut answer = Response::new(Content::Bytes(json.into()));
                set(answer.headers_mut(), header::CONTENT_TYPE, "application/json");
                answer
            }
            Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("the list cannot be written: {e}")),
        },
        Ok(Found::File { name, file, metadata }) => {
            let content = Content::File { file: File::from_std(file), left: metadata.len() };
            let mut answer = file_answer(&name, content, &metadata, asked);
            if has_networks && name == "index.html" {
                // A page can read this header without asking for anything, so on other servers it need not ask in vain.
                let says = format!("ocelli-weights;desc=\"{WEIGHTS}\"");
                set(answer.headers_mut(), HeaderName::from_static("server-timing"), &says);
            }
            answer
        }
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            text(StatusCode::FORBIDDEN, "this file may not be read")
        }
        // Also what is no file, and what has a name that no file has.
        Err(e) if is_missing(&e) => text(StatusCode::NOT_FOUND, "there is no such file here"),
        Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("this file cannot be read now: {e}")),
    }
}

/// A file, or that the asker still has it.
fn file_answer(name: &str, content: Content, metadata: &Metadata, asked: &HeaderMap) -> Response<Content> {
    let mut answer = Response::new(content);
    let headers = answer.headers_mut();
    let modified = metadata.modified().ok().filter(|time| *time >= UNIX_EPOCH);
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let tag = format!("\"{:x}-{:x}\"", metadata.len(), since.as_nanos());
    let end = Path::new(name).extension().and_then(|end| end.to_str()).unwrap_or_default();
    let known = TYPES.iter().find(|(known, _)| end.eq_ignore_ascii_case(known));
    set(headers, header::CONTENT_TYPE, known.map_or("application/octet-stream", |(_, kind)| kind));
    set(headers, header::ETAG, &tag);
    if let Some(time) = modified {
        set(headers, header::LAST_MODIFIED, &httpdate::fmt_http_date(time));
    }
    let value = |name| asked.get(name).and_then(|value| value.to_str().ok());
    let same = match (value(header::IF_NONE_MATCH), value(header::IF_MODIFIED_SINCE)) {
        (Some(tags), _) => {
            tags.split(',').map(str::trim).any(|t| t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag)
        }
        (None, Some(date)) => httpdate::parse_http_date(date)
            .ok()
            .and_then(|date| date.duration_since(UNIX_EPOCH).ok())
            .is_some_and(|date| modified.is_some() && since.as_secs() <= date.as_secs()),
        (None, None) => false,
    };
    if same {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        *answer.body_mut() = Content::Bytes(Bytes::new());
    }
    answer
}

fn text(status: StatusCode, says: &str) -> Response<Content> {
    let mut answer = Response::new(Content::Bytes(format!("{says}\n").into()));
    *answer.status_mut() = status;
    set(answer.headers_mut(), header::CONTENT_TYPE, "text/plain; charset=utf-8");
    answer
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Dates, numbers and constants: there is nothing in them that a header cannot have.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
