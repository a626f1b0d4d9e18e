//! How files arrive: in parts, compressed, and beside clients that take nothing.

use super::{Server, folder, prepare, start};
use flate2::read::GzDecoder;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const HOST: &str = "Host: localhost";

#[test]
fn parts_of_a_file_are_sent() {
    let folder = folder();
    prepare(folder.path());
    let bytes: Vec<u8> = (0..200_000u32).map(|i| (i / 3) as u8).collect();
    let path = folder.path().join("weights/b.safetensors");
    fs::write(&path, &bytes).unwrap();
    let server = start(folder.path(), 2);
    let first = "GET /weights/b.safetensors";
    let whole = server.ask(first, &[HOST]);
    assert_eq!((whole.status, whole.header("accept-ranges")), (200, Some("bytes")));
    let tag = whole.header("etag").unwrap().to_owned();
    let date = whole.header("last-modified").unwrap().to_owned();

    for (range, wanted) in [
        ("bytes=0-0", 0..1),
        ("bytes=70000-139999", 70_000..140_000),
        ("bytes=199990-", 199_990..200_000),
        ("bytes=-5", 199_995..200_000),
        ("bytes=5-999999999", 5..200_000),
    ] {
        let part = server.ask(first, &[HOST, &format!("Range: {range}")]);
        assert_eq!(part.status, 206, "{range}");
        let says = format!("bytes {}-{}/200000", wanted.start, wanted.end - 1);
        assert_eq!(part.header("content-range"), Some(says.as_str()));
        assert_eq!(part.header("content-length"), Some(wanted.len().to_string().as_str()));
        assert_eq!(part.header("etag"), Some(tag.as_str()));
        assert!(part.body == bytes[wanted], "{range}");
    }
    for range in ["bytes=200000-", "bytes=-0"] {
        let outside = server.ask(first, &[HOST, &format!("Range: {range}")]);
        assert_eq!(
            (outside.status, outside.header("content-range")),
            (416, Some("bytes */200000")),
            "{range}"
        );
    }
    // What need not be understood, or is no question for a part.
    let range = "Range: bytes=1-2";
    for (first, lines) in [
        (first, ["Range: bytes=0-1,5-6", ""]),
        (first, ["Range: lines=1-2", ""]),
        (first, [range, "If-Range: \"other\""]),
        (first, [range, &format!("If-Range: W/{tag}")]),
        (first, [range, "If-Range: Mon, 05 Jan 1998 00:00:00 GMT"]),
        ("HEAD /weights/b.safetensors", [range, ""]),
    ] {
        let lines: Vec<&str> = [HOST].into_iter().chain(lines).filter(|line| !line.is_empty()).collect();
        let answer = server.ask(first, &lines);
        assert_eq!((answer.status, answer.header("content-range")), (200, None), "{lines:?}");
        assert_eq!(answer.header("content-length"), Some("200000"), "{lines:?}");
    }
    for known in [&tag, &date] {
        let part = server.ask(first, &[HOST, range, &format!("If-Range: {known}")]);
        assert_eq!((part.status, part.body.as_slice()), (206, &bytes[1..3]), "{known}");
        assert_eq!(server.ask(first, &[HOST, range, &format!("If-None-Match: {tag}")]).status, 304);
    }
    // A part of the old file does not fit the new one.
    fs::write(&path, &bytes[..100]).unwrap();
    let answer = server.ask(first, &[HOST, range, &format!("If-Range: {tag}")]);
    assert_eq!((answer.status, answer.body.len()), (200, 100));
}

#[test]
fn who_can_read_it_gets_the_page_compressed() {
    let folder = folder();
    prepare(folder.path());
    let script = folder.path().join("page/page.js");
    let text = "export const a = 1;\n".repeat(5000);
    fs::write(&script, &text).unwrap();
    fs::write(folder.path().join("weights/b.safetensors"), &text).unwrap();
    let server = start(folder.path(), 2);
    let (first, gzip) = ("GET /page.js", "Accept-Encoding: deflate, gzip;q=0.8, br");
    let plain = server.ask(first, &[HOST]);
    assert_eq!((plain.header("content-encoding"), plain.body == text.as_bytes()), (None, true));
    let packed = server.ask(first, &[HOST, gzip]);
    assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")));
    assert!(packed.body.len() < text.len() / 20, "{} bytes", packed.body.len());
    assert_eq!(packed.header("content-length"), Some(packed.body.len().to_string().as_str()));
    let mut back = String::new();
    GzDecoder::new(&packed.body[..]).read_to_string(&mut back).unwrap();
    assert!(back == text);
    // Other bytes under the same name: caches are told so.
    for answer in [&plain, &packed] {
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
    }
    let (tag, plain_tag) = (packed.header("etag").unwrap(), plain.header("etag").unwrap());
    assert_ne!(tag, plain_tag);
    let head = server.ask("HEAD /page.js", &[HOST, gzip]);
    for name in ["content-length", "content-encoding", "etag", "vary"] {
        assert_eq!(head.header(name), packed.header(name), "{name}");
    }
    let kept = |tag: &str, more: &[&str]| {
        let line = format!("If-None-Match: {tag}");
        server.ask(first, &[&[HOST, &line], more].concat()).status
    };
    assert_eq!((kept(tag, &[gzip]), kept(plain_tag, &[gzip])), (304, 200));
    assert_eq!((kept(tag, &[]), kept(plain_tag, &[])), (200, 304));
    // A part is one of the file itself.
    let part = server.ask(first, &[HOST, gzip, "Range: bytes=0-5"]);
    assert_eq!((part.status, part.body.as_slice()), (206, &b"export"[..]));
    assert_eq!((part.header("content-encoding"), part.header("etag")), (None, Some(plain_tag)));

    for (path, more) in [
        ("/page.js", "Accept-Encoding: gzip;q=0"),
        ("/page.js", "Accept-Encoding: identity"),
        // It would not become smaller, and not be a file whose length the page knows.
        ("/weights/b.safetensors", gzip),
        ("/ocelli.d.ts", gzip),
    ] {
        let answer = server.ask(&format!("GET {path}"), &[HOST, more]);
        assert_eq!((answer.status, answer.header("content-encoding")), (200, None), "{path} {more}");
    }
    fs::write(&script, format!("{text}//")).unwrap();
    let packed = server.ask(first, &[HOST, gzip]);
    let mut back = String::new();
    GzDecoder::new(&packed.body[..]).read_to_string(&mut back).unwrap();
    assert!(back.ends_with("//"), "the new file is compressed anew");
}

fn request(server: &Server, path: &str) -> TcpStream {
    let mut stream = server.connect();
    write!(stream, "GET {path} HTTP/1.1\r\n{HOST}\r\n\r\n").unwrap();
    stream
}

/// A process on macOS may have 256 files open, which are too few for so many clients.
#[cfg(not(target_os = "macos"))]
#[test]
fn more_clients_than_places_do_not_keep_others_out() {
    let folder = folder();
    prepare(folder.path());
    // Of a file with holes: more than the system keeps on the way.
    let file = fs::File::create(folder.path().join("weights/b.safetensors")).unwrap();
    file.set_len(64 << 20).unwrap();
    let server = start(folder.path(), 2);
    let start = Instant::now();
    // Some read nothing, some say nothing, some say nothing more, and one reads all the time.
    let mut busy = request(&server, "/weights/b.safetensors");
    let mut held = Vec::new();
    for i in 0..280 {
        held.push(match i % 3 {
            0 => request(&server, "/weights/b.safetensors"),
            1 => server.connect(),
            _ => request(&server, "/page.js"),
        });
        let mut some = [0; 20_000];
        assert!(busy.read(&mut some).unwrap() > 0, "who reads is not cut off");
    }
    assert_eq!(server.get("/page.js").body, b"export {};");
    assert_eq!(server.get("/weights/b.safetensors").body.len(), 64 << 20);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "nobody waits for a limit of time: {:?}",
        start.elapsed()
    );
    drop(held);
}
