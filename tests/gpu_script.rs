//! `scripts/gpu.sh`: its arguments, its time, what it writes, and the table that is made of it.
#![cfg(target_os = "linux")]

use crate::support::fixtures::{folder, skipped};
use serde_json::Value as Json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A folder as `gpu.sh pack` makes it, with this binary for the tests. `ocelli` is a script to run instead of the program, which is
/// `$real` in it.
fn pack(folder: &Path, ocelli: &str) {
    let root = Path::new(ROOT);
    for place in ["bin", "gpu", "pytorch"] {
        fs::create_dir_all(folder.join(place)).unwrap();
    }
    for (from, to) in [
        ("scripts/gpu.sh", "gpu.sh"),
        ("scripts/gpu/table.py", "gpu/table.py"),
        ("benches/peers/pytorch/networks.py", "pytorch/networks.py"),
        ("benches/peers/pytorch/bench.py", "pytorch/bench.py"),
    ] {
        fs::copy(root.join(from), folder.join(to)).unwrap();
    }
    let text = format!("#!/bin/sh\nreal={}\n{ocelli}\nexec $real \"$@\"\n", env!("CARGO_BIN_EXE_ocelli"));
    fs::write(folder.join("bin/ocelli"), text).unwrap();
    fs::set_permissions(folder.join("bin/ocelli"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink(std::env::current_exe().unwrap(), folder.join("bin/tests")).unwrap();
}

fn script(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("bash");
    // A Python with torch would take most of the time.
    command.arg("gpu.sh").args(arguments).current_dir(folder).env("PYTHON", "none");
    command
}

fn output(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// The lines of the results of this kind.
fn results(folder: &Path, kind: &str) -> Vec<Json> {
    let text = fs::read_to_string(folder.join("out/results.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    lines.filter(|line: &Json| line["kind"] == kind).collect()
}

/// Writes the table, if there is Python.
fn table(folder: &Path) -> Option<String> {
    let made = Command::new("python3").args(["-B", "gpu/table.py", "out"]).current_dir(folder).output();
    let Ok(made) = made else {
        skipped("gpu_script", "the table needs python3");
        return None;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(fs::read_to_string(folder.join("out/table.md")).unwrap())
}

#[test]
fn wrong_arguments_are_told_before_anything_is_made() {
    let folder = folder();
    let here = folder.path();
    pack(here, "");
    fs::create_dir(here.join("full")).unwrap();
    fs::write(here.join("full/file"), "").unwrap();
    for (arguments, says) in [
        (&[][..], "the folder for the results is missing"),
        (&["--fast", "out"], "unknown flag --fast"),
        (&["--budget"], "--budget takes a value"),
        (&["--budget", "soon", "out"], "--budget takes a number"),
        (&["--budget", "0", "out"], "at least 1"),
        (&["--batch-size", "-1", "out"], "--batch-size takes a number"),
        (&["--size", "1e9", "out"], "--size takes a number"),
        (&["--seconds", "", "out"], "--seconds takes a value"),
        (&["--tune", "off,fast", "out"], "\"fast\" is no level"),
        (&["--networks", "resnet20,resnet21", "out"], "\"resnet21\" is no network"),
        (&["out", "more"], "one folder"),
        (&["full"], "is not empty"),
        (&["full/file"], "is a file"),
        (&["pack"], "pack takes one folder"),
        (&["pack", "out"], "clone of the repository"),
    ] {
        let (code, stderr) = output(script(here, arguments));
        assert_eq!(code, Some(64), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    }
    assert!(!here.join("out").exists());
    let (code, stderr) = output(script(here, &["--adapter", "Voodoo 2", "out"]));
    assert!(code == Some(69) && stderr.contains("no adapter \"Voodoo 2\""), "{stderr}");
    fs::remove_dir_all(here.join("out")).unwrap();
    let mut driverless = script(here, &["out"]);
    driverless.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
    let (code, stderr) = output(driverless);
    assert!(code == Some(69) && stderr.contains("VK_DRIVER_FILES"), "{stderr}");
    fs::remove_file(here.join("bin/ocelli")).unwrap();
    let (code, stderr) = output(script(here, &["other"]));
    assert!(code == Some(69) && stderr.contains("there is no program"), "{stderr}");
}

#[test]
fn every_step_is_measured_or_named_and_the_table_has_it() {
    let folder = folder();
    let here = folder.path();
    pack(here, "");
    let sizes = ["--quick", "--size", "8", "--networks", "resnet20", "--filter", "ops::relu::"];
    let (code, stderr) =
        output(script(here, &[&sizes[..], &["--tune", "off", "--turns", "1", "out"]].concat()));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("left out: PyTorch") && stderr.contains("gpu/table.py"), "{stderr}");
    assert_eq!(results(here, "chosen").len(), 1);
    let [tests] = &results(here, "tests")[..] else { panic!("{stderr}") };
    assert!(tests["passed"].as_u64() >= Some(1) && tests["failed"] == 0, "{tests}");
    let measured = results(here, "bench");
    assert!(
        measured.iter().all(|m| m["result"]["size"] == 8 && m["result"]["batch_size"] == 2),
        "{measured:?}"
    );
    assert!(measured[0]["result"]["profile"]["kernels"].is_array(), "{measured:?}");
    let named: Vec<Json> = results(here, "left_out").into_iter().map(|line| line["step"].clone()).collect();
    let precisions = if named.contains(&"f16".into()) { 1 } else { 2 };
    let cut = named.iter().filter(|step| step.as_str().unwrap().contains("tune=")).count();
    assert_eq!(measured.len() + cut, 2 * precisions, "{named:?}");
    assert!(!here.join("out/scratch").exists() && here.join("out/logs/adapters.txt").exists());
    if let Some(table) = table(here) {
        let ms = measured[0]["result"]["ms_median"].as_f64().unwrap();
        let row = format!("| `resnet20` | training | {ms:.2} (off) |");
        assert!(table.contains(&row), "{row}\n{table}");
        assert!(table.contains("## Left out") && table.contains("Sizes are small"), "{table}");
    }
}

#[test]
fn steps_that_fail_or_hang_are_named_and_the_others_go_on() {
    let folder = folder();
    let here = folder.path();
    pack(
        here,
        "case \"$*\" in selftest*) exit 0 ;; *bench*train*) printf 'lost | the `device`\\n' >&2; exit 71 ;; *bench*infer*) sleep 60 ;; esac",
    );
    let start = Instant::now();
    let arguments = ["--quick", "--networks", "resnet20", "--filter", "no such test", "--budget", "8", "out"];
    let (code, stderr) = output(script(here, &arguments));
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    assert_eq!(code, Some(1), "{stderr}");
    let failed = results(here, "failed");
    assert_eq!(failed[0]["step"], "resnet20 train f32 tune=off turn 1");
    assert_eq!(failed[0]["why"], "exit code 71: lost | the `device`");
    let left = results(here, "left_out");
    let stopped = left.iter().find(|line| line["step"] == "resnet20 infer f32 tune=off turn 1").unwrap();
    assert!(stopped["why"].as_str().unwrap().starts_with("it was stopped after "), "{stopped}");
    assert!(left.iter().any(|line| line["why"] == "the 8 s were over"), "{left:?}");
    if let Some(table) = table(here) {
        assert!(table.contains("Nothing was measured."), "{table}");
        assert!(
            table
                .contains("| `exit code 71: lost \\| the 'device'` | `resnet20 train f32 tune=off turn 1` |"),
            "{table}"
        );
    }
}

#[test]
fn ratios_are_those_of_the_shortest_medians() {
    let folder = folder();
    let here = folder.path();
    pack(here, "");
    fs::create_dir(here.join("out")).unwrap();
    let ours = |precision: &str, tune: &str, ms: f64| {
        serde_json::json!({ "kind": "bench", "tune": tune, "turn": 1, "result": {
            "arch": "vgg16", "mode": "train", "precision": precision, "ms_median": ms, "images_per_s": 1.0,
            "gflops_per_s": 1.0, "gpu_bytes": 1 << 20, "first_step_ms": 1500.0, "tune_ms": 0.0,
            "tuned": [{ "product": "p", "images": 1, "heuristic": "a", "chosen": "b", "ms": { "a": 4.0, "b": 3.0 } }] } })
    };
    let theirs = |precision: &str, layout: &str, ms: f64| {
        serde_json::json!({ "kind": "pytorch", "turn": 1, "result": {
            "network": "vgg16", "mode": "train", "precision": precision, "layout": layout, "ms_median": ms,
            "images_per_s": 1.0, "gpu_bytes": null, "first_step_ms": 1.0 } })
    };
    let driver = "a `b` | [c](d)\u{1b}\n";
    let lines = [
        serde_json::json!({ "kind": "chosen", "result": { "name": "GPU", "backend": "Vulkan", "driver": driver } }),
        ours("f32", "off", 12.0),
        ours("f32", "quick", 10.0),
        ours("f16", "off", 8.0),
        theirs("fp32", "nchw", 9.5),
        theirs("fp32", "nhwc", 9.0),
        theirs("tf32", "nchw", 6.0),
        theirs("mixed", "nhwc", 4.0),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(here.join("out/results.jsonl"), text + "{\"kind\":\"ben").unwrap();
    let Some(table) = table(here) else { return };
    let row = "| `vgg16` | training | 10.00 (quick) | 9.00 (nhwc) | **0.90** | 6.00 (nchw) | **0.60** | 8.00 (off) | 4.00 (nhwc) | **0.50** |";
    assert!(table.contains(row), "{table}");
    assert!(table.contains("| `a 'b' \\| [c](d)??` |"), "{table}");
    assert!(table.contains("| `vgg16` | training | f32 | off | 1 | 0 | 4.00 | 3.00 |"), "{table}");
    assert!(table.contains("1 lines of the results could not be read"), "{table}");
}
