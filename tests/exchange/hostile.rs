//! Hostile files at the door: one sentence, exit code 65, little time and little memory, whatever the format.

use crate::onnx_in::hostile::field;
use crate::pth::made::{self, zipped};
use crate::support::fixtures::{self, folder};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A graph in an attribute of a node of a graph, and so on.
fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..depth {
        bytes = field(1, &field(5, &field(6, &bytes)));
    }
    [vec![8, 8], field(7, &bytes)].concat()
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

fn files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let wide = r#"{"a":{"dtype":"F32","shape":[4194305,4194305,211106198978564],"data_offsets":[0,16]}}"#;
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let attack = b"\x80\x02cos\nsystem\n(X\x09\x00\x00\x00touch owntR.".to_vec();
    let mut long = b"\x80\x04]\x94(".to_vec();
    long.extend(std::iter::repeat_n(b'(', 1 << 20));
    let mut vast = vec![8, 8];
    // A tensor of 2^60 numbers in a graph of ten bytes.
    vast.extend(field(
        7,
        &field(5, &[&[8u8][..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10], &[16, 1]].concat()),
    ));
    vec![
        ("empty.safetensors", vec![], "empty"),
        ("page.pth", b"<!DOCTYPE html><html><body>404".to_vec(), "web page"),
        (
            "pointer.onnx",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0".to_vec(),
            "git lfs pull",
        ),
        ("short.safetensors", vec![1, 2, 3], "no weights"),
        (
            "lies.safetensors",
            safetensors(r#"{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}"#, 8),
            "speaks of",
        ),
        ("wide.safetensors", safetensors(wide, 16), "safetensors"),
        ("deep.safetensors", safetensors(&deep, 0), "safetensors"),
        ("attack.pth", zipped(&attack), "os.system"),
        ("plain.pth", attack, "os.system"),
        ("marks.pth", zipped(&long), "marks.pth"),
        ("cut.pth", made::zipped(&made::good())[..60].to_vec(), "cut.pth"),
        ("nested.onnx", nested(10_000), "nested.onnx"),
        ("vast.onnx", vast, "vast.onnx"),
        ("nothing.onnx", vec![8, 8], "nothing.onnx"),
    ]
}

/// Runs the program with at most so much memory; returns its exit code, standard error, and how long it took.
fn bounded(here: &Path, megabytes: u64, arguments: &[&str]) -> (Option<i32>, String, Duration) {
    let start = Instant::now();
    let output = fixtures::bounded(here, megabytes).args(arguments).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap(), start.elapsed())
}

#[test]
fn hostile_files_end_in_one_sentence() {
    let folder = folder();
    let here = folder.path();
    for (name, bytes, says) in files() {
        fs::write(here.join(name), bytes).unwrap();
        for arguments in [&["inspect", name][..], &["convert", name, "out.safetensors"]] {
            // A graph that cannot be run may still be looked at.
            if name == "nested.onnx" && arguments[0] == "inspect" {
                continue;
            }
            let (code, stderr, took) = bounded(here, 300, arguments);
            assert_eq!(code, Some(65), "{arguments:?}: {stderr}");
            assert_eq!(stderr.trim_end().lines().count(), 1, "{arguments:?}: {stderr}");
            assert!(stderr.contains(says) && stderr.contains(name), "{arguments:?}: {stderr}");
            assert!(!stderr.contains("panicked"), "{stderr}");
            // It takes milliseconds; the machine may be busy.
            assert!(took < Duration::from_secs(20), "{arguments:?} took {took:?}");
        }
    }
    assert!(!here.join("out.safetensors").exists() && !here.join("own").exists());
    // What is no file.
    let (code, stderr, _) = bounded(here, 300, &["inspect", "."]);
    assert_eq!(code, Some(65), "{stderr}");
    assert!(stderr.contains("this is no file"), "{stderr}");
    if Command::new("mkfifo").arg(here.join("pipe")).status().is_ok_and(|s| s.success()) {
        let (code, stderr, _) = bounded(here, 300, &["inspect", "pipe"]);
        assert_eq!(code, Some(65), "{stderr}");
    }
}

/// Names of many parts would make a tree of millions of modules.
#[test]
fn many_long_names_take_little_time_and_memory() {
    let folder = folder();
    let here = folder.path();
    let tensor = |i| format!(r#"{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#, 4 * i, 4 * i + 4);
    let names = (0..65_000).map(|i| format!("\"{i}.{}w\":{}", "a.".repeat(46), tensor(i)));
    let header = format!("{{{}}}", names.collect::<Vec<_>>().join(","));
    fs::write(here.join("dotted.safetensors"), safetensors(&header, 4 * 65_000)).unwrap();
    for (network, code) in [(&["--arch", "resnet18"][..], 65), (&[], 0)] {
        let arguments = [&["convert", "dotted.safetensors", "out.safetensors"], network].concat();
        let (got, stderr, took) = bounded(here, 600, &arguments);
        assert_eq!(got, Some(code), "{stderr}");
        assert!(stderr.contains("dotted.safetensors") == (code != 0), "{stderr}");
        assert!(took < Duration::from_secs(20), "{arguments:?} took {took:?}");
    }
}
