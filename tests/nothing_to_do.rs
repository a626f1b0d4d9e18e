//! Settings with which there is nothing to do are refused before anything is opened or written.

use crate::cli::fails;
use crate::ops::harness::gpu;
use crate::support::fixtures::{folder, ocelli};
use crate::training::config;
use ocelli::Error;
use ocelli::data::Normalization;
use ocelli::train::{Config, Control, Length, train};

#[test]
fn zeros_and_numbers_that_are_none_are_refused_before_anything_is_opened() {
    let folder = folder();
    let here = folder.path();
    // Neither the data nor the weights are there: they would be the error if they were looked at.
    let start = ["train", "--arch", "resnet20", "--data", "none", "--out", "r"];
    for flag in [
        "--epochs",
        "--steps",
        "--batch-size",
        "--accumulate",
        "--limit",
        "--classes",
        "--size",
        "--memory-budget",
    ] {
        fails(here, &[&start[..], &[flag, "0"]].concat(), 2, &[flag, "at least 1"]);
    }
    for flag in ["--lr", "--momentum", "--weight-decay"] {
        for value in ["-0.1", "nan", "inf", "1e39"] {
            fails(here, &[&start[..], &[flag, value]].concat(), 2, &[flag]);
        }
    }
    let eval = ["eval", "--data", "none", "--weights", "none"];
    let bench = ["bench", "--arch", "resnet20", "--mode", "infer"];
    let show = ["show", "resnet20"];
    for (command, flags) in [
        (&eval[..], &["--batch-size", "--limit"][..]),
        (&bench, &["--batch-size", "--size"]),
        (&show, &["--classes", "--size"]),
    ] {
        for flag in flags {
            fails(here, &[command, &[flag, "0"]].concat(), 2, &[flag, "at least 1"]);
        }
    }
    assert!(!here.join("r").exists());
}

#[test]
fn the_library_refuses_them_too() {
    let folder = folder();
    let good = config(&folder.path().join("none"));
    good.check().unwrap();
    type Change = fn(&mut Config);
    let changes: &[(&str, Change)] = &[
        ("epochs", |c| c.length = Length::Epochs(0)),
        ("steps", |c| c.length = Length::Steps(0)),
        ("batch-size", |c| c.batch_size = 0.into()),
        ("accumulate", |c| c.accumulate = 0),
        ("limit", |c| c.limit = Some(0)),
        ("classes", |c| c.classes = Some(0)),
        ("size", |c| c.size = Some([8, 0])),
        ("memory-budget", |c| c.memory_budget = Some(0)),
        ("lr", |c| c.lr = f64::NAN),
        ("momentum", |c| c.momentum = -0.5),
        ("weight-decay", |c| c.weight_decay = f32::INFINITY),
        ("deviation", |c| c.normalization = Some(Normalization { mean: [0.0; 3], std: [0.0; 3] })),
    ];
    for (names, change) in changes {
        let mut config = good.clone();
        change(&mut config);
        let out = folder.path().join("run");
        let error = train(&gpu(), &config, &out, false, &mut |_| Control::Continue).unwrap_err();
        assert!(matches!(error, Error::Usage(_)) && error.to_string().contains(names), "{names}: {error:?}");
        assert!(!out.exists());
    }
}

#[test]
fn no_adapter_is_an_error_of_its_own_and_a_backend_is_the_one_asked_for_or_refused() {
    let folder = folder();
    let here = folder.path();
    let devices = |variables: &[(&str, &str)]| {
        let output =
            ocelli(here).args(["devices", "--json"]).envs(variables.iter().copied()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, all, _) = devices(&[]);
    assert_eq!(code, Some(0));
    assert_eq!(devices(&[("WGPU_BACKEND", "")]).1, all);
    let (code, _, stderr) = devices(&[("WGPU_BACKEND", "gl")]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("WGPU_BACKEND") && stderr.contains("vulkan, metal or dx12"), "{stderr}");
    if cfg!(target_os = "linux") {
        assert_eq!(devices(&[("WGPU_BACKEND", "Metal,vk")]).1, all);
        let (code, stdout, stderr) = devices(&[("WGPU_BACKEND", "dx12")]);
        assert_eq!((code, stdout.as_str()), (Some(69), ""), "{stderr}");
        assert!(stderr.contains("WGPU_BACKEND=dx12"), "{stderr}");
        let none = [("VK_ICD_FILENAMES", "/nonexistent.json"), ("VK_DRIVER_FILES", "/nonexistent.json")];
        let (code, stdout, stderr) = devices(&none);
        assert_eq!((code, stdout.as_str()), (Some(69), ""), "{stderr}");
        assert!(stderr.contains("mesa-vulkan-drivers"), "{stderr}");
    }
}
