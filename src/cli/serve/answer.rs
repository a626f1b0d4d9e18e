//! The HTTP responses of `ocelli serve` for what [`Site`] finds.

use super::packed;
use super::range::{self, Part};
use super::site::{Found, Site, WEIGHTS, is_missing};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::fs::{self, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::spawn_blocking;

/// The bytes of a file that are in memory at a time.
const CHUNK: usize = 64 << 10;

/// The host names that are served. Another name that resolves to this machine may be a DNS rebinding attack: the page
/// of another site reads local files through the visitor's browser.
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// The content security policy. The page has it as a `meta` element too, but a worker obeys only the header of its own
/// script, and `frame-ancestors` works only in a header.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The start of the year 10000, in seconds since 1970.
const YEAR_10000: u64 = 253_402_300_800;

/// Extensions, their media types, and whether the files are compressed. All other files are sent as bytes,
/// uncompressed.
const TYPES: [(&str, &str, bool); 11] = [
    ("html", "text/html; charset=utf-8", true),
    ("css", "text/css; charset=utf-8", true),
    ("js", "text/javascript; charset=utf-8", true),
    ("mjs", "text/javascript; charset=utf-8", true),
    ("ts", "text/plain; charset=utf-8", true),
    ("md", "text/plain; charset=utf-8", true),
    ("json", "application/json", true),
    ("svg", "image/svg+xml", true),
    ("png", "image/png", false),
    ("jpg", "image/jpeg", false),
    ("wasm", "application/wasm", true),
];

/// The body of a response.
pub(super) enum Content {
    Bytes(Bytes),
    /// The next `left` bytes of an open file.
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
                    // The file has become shorter. The error tells the client that the body is incomplete.
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

/// Answers a request. It never fails: an error becomes a response too.
pub(super) async fn answer<B>(site: Arc<Site>, request: Request<B>) -> Response<Content> {
    let mut answer = match refused(&request) {
        Some(refusal) => refusal,
        None => {
            let asked = Asked { is_get: request.method() == Method::GET, headers: request.headers().clone() };
            found(site, request.uri().path().to_owned(), &asked).await
        }
    };
    let headers = answer.headers_mut();
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(headers, header::REFERRER_POLICY, "no-referrer");
    set(headers, header::CONTENT_SECURITY_POLICY, POLICY);
    // Networks in training and pages in development change, so a client must revalidate its cached copy.
    set(headers, header::CACHE_CONTROL, "no-cache");
    answer
}

/// The refusal of a request for another host or with another method, before any file is looked up.
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

async fn found(site: Arc<Site>, path: String, asked: &Asked) -> Response<Content> {
    let has_networks = site.has_networks();
    // The file system may be slow. Other requests are served meanwhile.
    let looking = site.clone();
    let found =
        spawn_blocking(move || looking.find(&path)).await.unwrap_or_else(|e| Err(io::Error::other(e)));
    let answer = match found {
        Ok(Found::List(list)) => serde_json::to_vec(&list).map_err(io::Error::other).map(|json| {
            let mut answer = Response::new(Content::Bytes(json.into()));
            set(answer.headers_mut(), header::CONTENT_TYPE, "application/json");
            answer
        }),
        Ok(Found::File { name, file, metadata }) => {
            let is_page = has_networks && name == "index.html";
            file_answer(site, name, file, &metadata, asked).await.map(|mut answer| {
                if is_page {
                    // The page can read this header without another request. On servers that do not send it, the page
                    // does not request the list.
                    let says = format!("ocelli-weights;desc=\"{WEIGHTS}\"");
                    set(answer.headers_mut(), HeaderName::from_static("server-timing"), &says);
                }
                answer
            })
        }
        Err(e) => Err(e),
    };
    answer.unwrap_or_else(|e| match e.kind() {
        io::ErrorKind::PermissionDenied => text(StatusCode::FORBIDDEN, "this file may not be read"),
        // Includes folders, and names that no file can have.
        _ if is_missing(&e) => text(StatusCode::NOT_FOUND, "there is no such file here"),
        _ => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("this cannot be read now: {e}")),
    })
}

/// What a request says besides the path.
struct Asked {
    is_get: bool,
    headers: HeaderMap,
}

impl Asked {
    fn value(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn accepts_gzip(&self) -> bool {
        let mut lines = self.headers.get_all(header::ACCEPT_ENCODING).iter();
        lines.any(|line| line.to_str().is_ok_and(packed::accepts))
    }

    /// Whether the copy that the client has is still current.
    fn has(&self, version: &Version) -> bool {
        match (self.value(header::IF_NONE_MATCH), self.value(header::IF_MODIFIED_SINCE)) {
            (Some(tags), _) => {
                let known = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == version.tag;
                tags.split(',').map(str::trim).any(known)
            }
            (None, Some(date)) => {
                seconds(date).is_some_and(|date| version.seconds.is_some_and(|at| at <= date))
            }
            (None, None) => false,
        }
    }

    /// The requested part of a file of `length` bytes. If the client has a part of another version, it gets the whole
    /// file.
    fn part(&self, version: &Version, length: u64) -> Part {
        let same = |wanted: &str| match seconds(wanted) {
            Some(date) => version.seconds == Some(date),
            None => wanted == version.tag,
        };
        match self.value(header::RANGE) {
            Some(range) if self.is_get && self.value(header::IF_RANGE).is_none_or(same) => {
                range::part(range, length)
            }
            _ => Part::Whole,
        }
    }
}

/// Parses an HTTP date to seconds since 1970.
fn seconds(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// Identifies a version of a file.
struct Version {
    tag: String,
    /// The time of modification, in seconds since 1970.
    seconds: Option<u64>,
}

impl Version {
    fn of(metadata: &Metadata, is_packed: bool) -> Self {
        let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        // An HTTP date has four digits for the year.
        let since = since.filter(|since| since.as_secs() < YEAR_10000);
        let nanos = since.unwrap_or_default().as_nanos();
        // The compressed bytes differ from those of the file, so they have another tag.
        let more = if is_packed { "-gzip" } else { "" };
        Self { tag: format!("\"{:x}-{nanos:x}{more}\"", metadata.len()), seconds: since.map(|s| s.as_secs()) }
    }
}

/// The response for a file: all of it, a part, or that the client's copy is current.
async fn file_answer(
    site: Arc<Site>,
    name: String,
    mut file: fs::File,
    metadata: &Metadata,
    asked: &Asked,
) -> io::Result<Response<Content>> {
    let end = Path::new(&name).extension().and_then(|end| end.to_str()).unwrap_or_default();
    let known = TYPES.iter().find(|(known, ..)| end.eq_ignore_ascii_case(known));
    let (kind, can_pack) =
        known.map_or(("application/octet-stream", false), |(_, kind, can_pack)| (kind, *can_pack));
    let length = metadata.len();
    let packs = can_pack
        && packed::is_worth(length)
        && asked.accepts_gzip()
        // A range is a part of the uncompressed file.
        && !(asked.is_get && asked.headers.contains_key(header::RANGE));
    let version = Version::of(metadata, packs);

    let mut answer = Response::new(Content::Bytes(Bytes::new()));
    let headers = answer.headers_mut();
    set(headers, header::CONTENT_TYPE, kind);
    set(headers, header::ETAG, &version.tag);
    if let Some(seconds) = version.seconds {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        set(headers, header::LAST_MODIFIED, &httpdate::fmt_http_date(time));
    }
    if can_pack {
        set(headers, header::VARY, "Accept-Encoding");
    }
    if asked.has(&version) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(answer);
    }
    if packs {
        set(headers, header::CONTENT_ENCODING, "gzip");
        let packing = spawn_blocking(move || site.packed.get(&name, &version.tag, file, length));
        *answer.body_mut() = Content::Bytes(packing.await.map_err(io::Error::other)??);
        return Ok(answer);
    }
    set(headers, header::ACCEPT_RANGES, "bytes");
    let wanted = match asked.part(&version, length) {
        Part::Whole => 0..length,
        Part::Bytes(part) => {
            set(headers, header::CONTENT_RANGE, &format!("bytes {}-{}/{length}", part.start, part.end - 1));
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            file.seek(SeekFrom::Start(part.start))?;
            part
        }
        Part::Outside => {
            let mut refusal = text(StatusCode::RANGE_NOT_SATISFIABLE, "the file has no such bytes");
            set(refusal.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{length}"));
            return Ok(refusal);
        }
    };
    *answer.body_mut() = Content::File { file: File::from_std(file), left: wanted.end - wanted.start };
    Ok(answer)
}

fn text(status: StatusCode, says: &str) -> Response<Content> {
    let mut answer = Response::new(Content::Bytes(format!("{says}\n").into()));
    *answer.status_mut() = status;
    set(answer.headers_mut(), header::CONTENT_TYPE, "text/plain; charset=utf-8");
    answer
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // All values are dates, numbers and constants, which are valid in a header.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
