//! The program's flags for memory.

use crate::cli::fails;
use crate::ops::harness::gpu;
use crate::support::fixtures::{folder, run, write_pictures};
use std::fs;

#[test]
fn memory_is_printed_bounded_and_spent_as_asked() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 3, 6, 1, 8);
    let base = [
        "train", "--arch", "resnet20", "--data", "data", "--size", "8", "--steps", "2", "--lr", "0.01",
        "--out",
    ];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    match gpu().memory() {
        None => fails(here, &with(&["a", "--batch-size", "auto"]), 2, &["--memory-budget 4G"]),
        Some(memory) => {
            assert!(memory >= 64 << 20, "{memory}");
            let (code, _, stderr) = run(here, &with(&["own", "--batch-size", "auto"]));
            assert!(code == 0 && stderr.contains("batches of 18, 1 steps an epoch"), "{stderr}");
        }
    }
    fails(
        here,
        &with(&["a", "--batch-size", "4", "--memory-budget", "1M"]),
        71,
        &["batch of 4", "budget is 1.0 MiB", "--recompute"],
    );
    fails(
        here,
        &with(&["a", "--batch-size", "auto", "--memory-budget", "1M"]),
        71,
        &["batch of 1", "parameters"],
    );
    fails(here, &with(&["a", "--memory-budget", "4X"]), 2, &["512M or 4G"]);
    fails(here, &with(&["a", "--batch-size", "many"]), 2, &["a number or auto"]);
    fails(here, &with(&["a", "--accumulate", "0", "--batch-size", "2"]), 2, &["--accumulate 0"]);
    assert!(!here.join("a").exists());
    // All pictures fit, or half of them, as two batches are summed in a step.
    let trained = |out: &'static str, more: &[&'static str]| {
        let (code, _, stderr) = run(here, &[&with(&[out, "--memory-budget", "64M"]), more].concat());
        assert_eq!(code, 0, "{stderr}");
        assert!(stderr.contains("GPU memory: ") && stderr.contains("MiB (parameters "), "{stderr}");
        stderr
    };
    assert!(trained("b", &["--batch-size", "auto"]).contains("batches of 18, 1 steps an epoch"));
    assert!(
        trained("c", &["--batch-size", "auto", "--accumulate", "2"])
            .contains("batches of 9, 1 steps an epoch")
    );
    trained("d", &["--batch-size", "9", "--accumulate", "2", "--recompute"]);
    // A sum of halves is another number than the whole, recomputation changes nothing.
    let bits = |out: &str| fs::read(here.join(out).join("last.safetensors")).unwrap();
    assert_eq!(bits("c"), bits("d"));
    assert_ne!(bits("b"), bits("c"));
    // It goes on with what it chose.
    let (code, _, stderr) = run(
        here,
        &[
            "train",
            "--arch",
            "resnet20",
            "--data",
            "data",
            "--size",
            "8",
            "--lr",
            "0.01",
            "--out",
            "c",
            "--resume",
            "--steps",
            "3",
            "--batch-size",
            "auto",
            "--accumulate",
            "2",
            "--memory-budget",
            "64M",
        ],
    );
    assert!(code == 0 && stderr.contains("going on after step 2"), "{stderr}");
    // The limits of WebGPU, and a variant that the file does not name.
    let eval = ["eval", "--data", "data", "--weights", "c/last.safetensors", "--limits", "webgpu"];
    assert_eq!(run(here, &eval).0, 0);
    fails(here, &[&eval[..], &["--arch", "resnet32"]].concat(), 65, &["missing: layer1.3.conv1.weight"]);
    fails(here, &[&eval[..], &["--arch", "resnet"]].concat(), 2, &["did you mean"]);
}
