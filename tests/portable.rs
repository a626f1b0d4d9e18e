//! What differs between systems: long paths, and being stopped.

use crate::support::fixtures::{folder, run, write_pictures};
#[cfg(windows)]
use crate::support::fixtures::{ocelli, skipped};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder with a space and an umlaut in its name and a path of more than 260 characters, which is where old calls of
/// Windows give up.
fn long(folder: &Path) -> PathBuf {
    let mut path = folder.join("two words, Gr\u{fc}\u{df}e");
    while path.as_os_str().len() < 300 {
        path.push("a folder whose name is long");
    }
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn paths_with_spaces_and_of_more_than_260_characters_are_paths() {
    let folder = folder();
    let here = folder.path();
    let long = long(here);
    let path = |name: &str| long.join(name).to_str().unwrap().to_owned();
    write_pictures(&long.join("data"), 2, 2, 1, 8);
    let (data, out) = (path("data"), path("a run"));
    let train =
        ["train", "--arch", "resnet20", "--size", "8", "--batch-size", "2", "--data", &data, "--out", &out];
    for (steps, resume) in [("2", None), ("4", Some("--resume"))] {
        let more = ["--steps", steps].into_iter().chain(resume);
        let arguments: Vec<&str> = train.into_iter().chain(more).collect();
        let (code, _, stderr) = run(here, &arguments);
        assert_eq!(code, 0, "{stderr}");
    }
    let (weights, onnx) = (path("a run/last.safetensors"), path("a run/last.onnx"));
    let picture = path("data/val/class1/000.png");
    let (code, _, stderr) = run(here, &["convert", &weights, &onnx]);
    assert_eq!(code, 0, "{stderr}");
    for file in [&weights, &onnx] {
        let (code, stdout, stderr) = run(here, &["predict", &picture, "--weights", file]);
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("class1"), "{stdout}");
        let (code, _, stderr) = run(here, &["eval", "--data", &data, "--weights", file]);
        assert_eq!(code, 0, "{stderr}");
    }
}

/// Ctrl-Break is the Ctrl-C that can be sent to one group of processes.
#[cfg(windows)]
#[test]
#[allow(unsafe_code, reason = "the library has no way to send one")]
fn ctrl_break_saves_a_checkpoint_that_goes_on_to_the_same_bits() {
    use std::os::windows::process::CommandExt;
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GenerateConsoleCtrlEvent(event: u32, group: u32) -> i32;
        fn AllocConsole() -> i32;
    }
    const CTRL_BREAK: u32 = 1;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x200;

    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 2, 8, 1, 8);
    let arguments = |out: &'static str| {
        let start = [
            "train",
            "--arch",
            "resnet20",
            "--size",
            "8",
            "--batch-size",
            "2",
            "--data",
            "data",
            "--out",
            out,
        ];
        [&start[..], &["--epochs", "12"]].concat()
    };
    let (code, _, stderr) = run(here, &arguments("whole"));
    assert_eq!(code, 0, "{stderr}");
    // SAFETY: no pointers; it fails where there is a console already.
    unsafe { AllocConsole() };
    let mut child = ocelli(here)
        .args(arguments("parts"))
        .creation_flags(CREATE_NEW_PROCESS_GROUP)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !here.join("parts/checkpoint.safetensors").exists() {
        assert!(start.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: no pointers; the group is that of the child, which has not been waited for.
    let sent = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK, child.id()) };
    if sent == 0 {
        let reason = std::io::Error::last_os_error();
        child.kill().unwrap();
        child.wait().unwrap();
        return skipped(
            "ctrl_break_saves_a_checkpoint",
            &format!("Ctrl-Break cannot be sent here: {reason}"),
        );
    }
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    assert!(stderr.contains("--resume goes on"), "{stderr}");
    let resumed = [&arguments("parts")[..], &["--resume"]].concat();
    let (code, _, stderr) = run(here, &resumed);
    assert_eq!(code, 0, "{stderr}");
    let read = |run: &str| fs::read(here.join(run).join("last.safetensors")).unwrap();
    assert!(read("whole") == read("parts"));
}
