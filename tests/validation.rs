//! A training step and a prediction under the validation layer of the Khronos Group, which looks at every call of Vulkan, at every
//! shader, and at what the GPU may read before it is written.

use crate::support::fixtures::{folder, ocelli, skipped, write_pictures};
use std::fs;
use std::path::Path;
use std::process::Output;

const MISSING: &str = "the Khronos validation layer is not active (on Debian and Ubuntu it is in the package vulkan-validationlayers)";

/// Runs the program under the layer; what that says of errors and the like, or `None` where it is not active.
fn validated(here: &Path, arguments: &[&str]) -> Option<String> {
    let log = here.join("said.txt");
    let settings = [
        "debug_action = VK_DBG_LAYER_ACTION_LOG_MSG",
        // By what it informs of it is seen to be active.
        "report_flags = error,warn,info",
        "enables = VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT",
        &format!("log_filename = {}", log.display()),
    ];
    let settings: String = settings.iter().map(|line| format!("khronos_validation.{line}\n")).collect();
    fs::write(here.join("vk_layer_settings.txt"), settings).unwrap();
    let Output { status, stderr, .. } = ocelli(here)
        .args(arguments)
        .env("VK_INSTANCE_LAYERS", "VK_LAYER_KHRONOS_validation")
        .env("VK_LAYER_SETTINGS_PATH", here)
        // The layer keeps which shaders it has seen to be valid.
        .env("XDG_CACHE_HOME", here.join("layer"))
        .output()
        .unwrap();
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    let said = fs::read_to_string(&log).unwrap_or_default();
    if !said.contains("Khronos Validation Layer Active") {
        return None;
    }
    fs::remove_file(&log).unwrap();
    Some(faults(&said))
}

/// The messages that are more than information. Each begins with its name, `NAME(ERROR / SPEC): ..`.
fn faults(said: &str) -> String {
    let is_fault = |line: &&str| ["(ERROR / ", "(WARN / ", "(PERF / "].iter().any(|kind| line.contains(kind));
    said.lines().filter(is_fault).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_training_step_and_a_prediction_are_valid() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 2, 2, 1, 8);
    let train = ["train", "--arch", "resnet20", "--data", "data", "--out", "run", "--batch-size", "2"];
    let train = [&train[..], &["--epochs", "1", "--quiet"]].concat();
    let predict = ["predict", "data/val/class0/000.png", "--weights", "run/last.safetensors", "--quiet"];
    for arguments in [&train[..], &predict[..]] {
        match validated(here, arguments) {
            None => return skipped("a training step and a prediction under validation", MISSING),
            Some(faults) => assert_eq!(faults, "", "{arguments:?}"),
        }
    }
}

#[test]
fn faults_are_told_from_information() {
    let said =
        "A(INFO / SPEC): msgNum: 1\n    Objects: 1\nB(ERROR / SPEC): msgNum: 2 - Validation Error: [ B ]\n";
    assert_eq!(faults(said), "B(ERROR / SPEC): msgNum: 2 - Validation Error: [ B ]\n");
}
