//! `ocelli serve`: the real program, asked over plain sockets.

mod transfer;

use crate::cli::fails;
use crate::support::fixtures::{folder, ocelli};
use serde_json::{Value as Json, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const PAGE: &str = "<!doctype html><title>A page</title>";

/// The running program, ended with the test.
struct Server {
    program: Child,
    port: u16,
    /// What it has printed, the address first.
    printed: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A page, weights beside it, and a secret that is in neither folder.
fn prepare(here: &Path) {
    for (name, content) in [
        ("page/index.html", PAGE),
        ("page/page.js", "export {};"),
        ("page/ocelli.d.ts", "export {};"),
        ("page/wasm/ocelli_web_bg.wasm", "\0asm"),
        ("page/.hidden", "secret"),
        ("weights/b.safetensors", "bb"),
        ("weights/a 100%.onnx", "aaaa"),
        ("weights/notes.txt", "secret"),
        ("weights/checkpoint.safetensors", "secret"),
        ("weights/checkpoint.previous.safetensors", "secret"),
        ("weights/Checkpoint.SafeTensors", "secret"),
        ("weights/deeper/c.onnx", "secret"),
        ("secret.txt", "secret"),
        ("secret.onnx", "secret"),
        ("page-of-others/index.html", "secret"),
    ] {
        let path = here.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Starts the program and reads the lines that it prints before it serves.
fn start(here: &Path, networks: usize) -> Server {
    let program = ocelli(here)
        .args(["serve", "--page", "page", "--weights", "weights", "--port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut server = Server { program, port: 0, printed: Vec::new() };
    let lines = BufReader::new(server.program.stdout.take().unwrap()).lines();
    // A line too few must not hold up the tests for ever.
    let (send, lines_of) = mpsc::channel();
    thread::spawn(move || lines.map_while(|line| send.send(line.ok()?).ok()).for_each(drop));
    for _ in 0..1 + networks {
        server.printed.push(lines_of.recv_timeout(Duration::from_secs(60)).expect("a line more"));
    }
    let port = server.printed[0].strip_prefix("http://127.0.0.1:").unwrap().trim_end_matches('/');
    server.port = port.parse().unwrap();
    server
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends a request with these lines behind the first, and reads until the server closes the connection.
    fn ask(&self, first: &str, lines: &[&str]) -> Answer {
        let mut stream = self.connect();
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        write!(stream, "{first} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| {
            panic!("{first}: no headers in {:?}", String::from_utf8_lossy(&bytes));
        });
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let (status, headers) = head.split_once("\r\n").unwrap();
        let headers = headers.lines().map(|line| line.split_once(": ").unwrap());
        Answer {
            status: status.split(' ').nth(1).unwrap().parse().unwrap(),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &["Host: localhost"])
    }
}

#[test]
fn the_page_and_the_networks_are_served() {
    let folder = folder();
    prepare(folder.path());
    let server = start(folder.path(), 2);
    let base = format!("http://127.0.0.1:{}/", server.port);
    let links = ["", "?weights=weights/a%2520100%2525.onnx", "?weights=weights/b.safetensors"];
    assert_eq!(server.printed, links.map(|link| format!("{base}{link}")));

    for (path, kind, body) in [
        ("/", "text/html; charset=utf-8", PAGE),
        ("/?weights=weights/b.safetensors", "text/html; charset=utf-8", PAGE),
        ("/index.html", "text/html; charset=utf-8", PAGE),
        ("/page.js", "text/javascript; charset=utf-8", "export {};"),
        ("/ocelli.d.ts", "text/plain; charset=utf-8", "export {};"),
        ("/wasm/ocelli_web_bg.wasm", "application/wasm", "\0asm"),
        ("/weights/b.safetensors", "application/octet-stream", "bb"),
        ("/weights/a%20100%25.onnx", "application/octet-stream", "aaaa"),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!(String::from_utf8(answer.body.clone()).unwrap(), body, "{path}");
        assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        let told = answer.header("server-timing");
        assert_eq!(told, (body == PAGE).then_some("ocelli-weights;desc=\"weights/\""), "{path}");
    }

    // Page and worker may do what the page says of itself, and be in no frame.
    let page = include_str!("../web/page/index.html");
    let (_, policy) = page.split_once("Content-Security-Policy\" content=\"").unwrap();
    let policy = format!("{}; frame-ancestors 'none'", policy.split_once('"').unwrap().0);
    for path in ["/", "/page.js", "/wasm/ocelli_web_bg.wasm", "/none"] {
        assert_eq!(server.get(path).header("content-security-policy"), Some(policy.as_str()), "{path}");
    }

    let wanted = json!([
        { "name": "a 100%.onnx", "bytes": 4, "url": "weights/a%20100%25.onnx" },
        { "name": "b.safetensors", "bytes": 2, "url": "weights/b.safetensors" },
    ]);
    for path in ["/weights/", "/weights/index.json"] {
        let list = server.get(path);
        assert_eq!((list.status, list.header("content-type")), (200, Some("application/json")));
        assert_eq!(serde_json::from_slice::<Json>(&list.body).unwrap(), wanted);
    }
    // A network that has just been trained is there without a new start.
    fs::write(folder.path().join("weights/new.onnx"), "n").unwrap();
    let list: Json = serde_json::from_slice(&server.get("/weights/").body).unwrap();
    assert_eq!(list[2]["name"], "new.onnx");
}

/// What a terminal obeys is escaped in links as everything else is; Windows has no such names.
#[cfg(unix)]
#[test]
fn links_are_printed_without_what_a_terminal_obeys() {
    let folder = folder();
    prepare(folder.path());
    fs::write(folder.path().join("weights/\u{1b}]0;t\u{7}\r\n\u{202e}\u{9b}.onnx"), "n").unwrap();
    let server = start(folder.path(), 3);
    let wanted = "?weights=weights/%251B%255D0%253Bt%2507%250D%250A%25E2%2580%25AE%25C2%259B.onnx";
    assert!(server.printed[1].ends_with(wanted), "{:?}", server.printed);
    assert_eq!(server.get("/weights/%1B%5D0%3Bt%07%0D%0A%E2%80%AE%C2%9B.onnx").body, b"n");
}

#[test]
fn nothing_else_is_served() {
    let folder = folder();
    let here = folder.path();
    prepare(here);
    #[cfg(unix)]
    for (target, link) in [
        (here.join("secret.onnx"), "weights/link.onnx"),
        (here.join("secret.txt"), "page/link.txt"),
        (here.to_owned(), "page/up"),
        (here.join("page-of-others"), "page/others"),
    ] {
        std::os::unix::fs::symlink(target, here.join(link)).unwrap();
    }
    let server = start(here, 2);
    // The link leads out of the folder, so it is not offered either.
    let list: Json = serde_json::from_slice(&server.get("/weights/").body).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    let absolute = here.join("secret.txt").display().to_string();
    // As it stands in an address.
    let absolute = format!("/{}", absolute.trim_start_matches('/').replace('\\', "%5c"));
    for path in [
        "/none",
        "/weights",
        "/weights/none.onnx",
        "/weights/notes.txt",
        "/weights/checkpoint.safetensors",
        "/weights/CHECKPOINT.safetensors",
        "/weights/Checkpoint.SafeTensors",
        "/weights/checkpoint.previous.safetensors",
        "/weights/deeper/c.onnx",
        "/weights/../weights/notes.txt",
        "/.hidden",
        "/wasm",
        "/wasm/",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2E%2E%2Fsecret.txt",
        "/..%5csecret.txt",
        "/wasm/../../secret.txt",
        "/weights/../secret.onnx",
        "/weights/%2e%2e/secret.onnx",
        "/weights/..%2fsecret.onnx",
        "/%252e%252e/secret.txt",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        &absolute,
        &format!("/{absolute}"),
        "/C:/Windows/win.ini",
        "/page.js%00",
        "/%00",
        "/%ff%fe",
        "/link.txt",
        "/up/secret.txt",
        "/others/index.html",
        "/weights/link.onnx",
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.body, b"there is no such file here\n", "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = server.ask(&format!("{method} /"), &["Host: localhost", "Content-Length: 0"]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
}

#[test]
fn only_this_machine_under_its_own_name_is_answered() {
    let folder = folder();
    prepare(folder.path());
    let server = start(folder.path(), 2);
    let with_port = format!("Host: 127.0.0.1:{}", server.port);
    for host in [with_port.as_str(), "Host: LOCALHOST:1", "Host: [::1]:8000"] {
        assert_eq!(server.ask("GET /", &[host]).status, 200, "{host}");
    }
    for host in
        ["Host: example.com", "Host: 127.0.0.1.example.com:8000", "Host: localhost.example.com", "Host: ", ""]
    {
        let lines: &[&str] = if host.is_empty() { &[] } else { &[host] };
        let answer = server.ask("GET /weights/b.safetensors", lines);
        assert_eq!(answer.status, 403, "{host}");
        assert!(answer.body.starts_with(b"open this page as http://127.0.0.1"), "{host}");
    }
    let answer = server.ask("GET http://example.com/page.js", &["Host: localhost"]);
    assert_eq!(answer.status, 403);
}

#[test]
fn what_is_kept_is_asked_for_by_its_tag() {
    let folder = folder();
    prepare(folder.path());
    let server = start(folder.path(), 2);
    let path = "/weights/b.safetensors";
    let whole = server.get(path);
    let head = server.ask(&format!("HEAD {path}"), &["Host: localhost"]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-length", "content-type", "etag", "last-modified"] {
        assert!(head.header(name).is_some(), "{name}");
        assert_eq!(head.header(name), whole.header(name), "{name}");
    }
    assert_eq!(server.ask("HEAD /none", &["Host: localhost"]).status, 404);

    let tag = whole.header("etag").unwrap().to_owned();
    let date = whole.header("last-modified").unwrap().to_owned();
    let (tags, weak) = (format!("If-None-Match: \"x\", {tag}"), format!("If-None-Match: W/{tag}"));
    for line in [&tags, &weak, "If-None-Match: *", &format!("If-Modified-Since: {date}")] {
        let answer = server.ask(&format!("GET {path}"), &["Host: localhost", line]);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{line}");
        assert_eq!(answer.header("etag"), Some(tag.as_str()), "{line}");
    }
    for line in
        ["If-None-Match: \"x\"", "If-Modified-Since: Mon, 05 Jan 1998 00:00:00 GMT", "If-Modified-Since: ?"]
    {
        assert_eq!(server.ask(&format!("GET {path}"), &["Host: localhost", line]).status, 200, "{line}");
    }
    fs::write(folder.path().join("weights/b.safetensors"), "bbb").unwrap();
    let line = format!("If-None-Match: {tag}");
    let answer = server.ask(&format!("GET {path}"), &["Host: localhost", &line]);
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"bbb"[..]));
    assert_ne!(answer.header("etag"), Some(tag.as_str()));
}

#[test]
fn who_reads_slowly_or_says_nothing_holds_up_nobody() {
    let folder = folder();
    prepare(folder.path());
    // More than the system keeps on the way, so that the server waits for the reader.
    let large: Vec<u8> = (0..40 << 20).map(|i: u32| (i / 7) as u8).collect();
    fs::write(folder.path().join("weights/b.safetensors"), &large).unwrap();
    let server = start(folder.path(), 2);
    let silent: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
    let mut slow: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
    for stream in &mut slow {
        write!(stream, "GET /weights/b.safetensors HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        stream.read_exact(&mut [0; 64]).unwrap();
    }
    assert_eq!(server.get("/page.js").body, b"export {};");
    assert!(server.get("/weights/b.safetensors").body == large, "the file arrives as it is");
    let mut rest = Vec::new();
    slow[3].read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&large[large.len() - 1000..]), "who was slow has it all in the end");
    drop(silent);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_at_once_and_well() {
    let folder = folder();
    prepare(folder.path());
    let mut server = start(folder.path(), 2);
    let open = server.connect();
    let process = server.program.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &process]).status().unwrap().success());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = server.program.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
    drop(open);
}

#[test]
fn what_is_missing_is_said() {
    let folder = folder();
    let here = folder.path();
    prepare(here);
    fails(here, &["serve"], 66, &["web/dist: there is no page", "`make web`", "--page"]);
    fails(here, &["serve", "--page", "weights"], 66, &["weights: there is no page"]);
    let arguments = ["serve", "--page", "page", "--weights", "none"];
    fails(here, &arguments, 66, &["none: there is no such file or folder", "give --weights a folder"]);
    let arguments = ["serve", "--page", "page", "--weights", "secret.onnx"];
    fails(here, &arguments, 2, &["secret.onnx: this is no folder", "give --weights a folder"]);
    let server = start(here, 2);
    let port = server.port.to_string();
    let says = [format!("127.0.0.1:{port}: another program listens"), "--port 0".to_owned()];
    fails(here, &["serve", "--page", "page", "--port", &port], 74, &says.each_ref().map(String::as_str));
}
