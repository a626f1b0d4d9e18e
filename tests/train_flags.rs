//! Flags of `ocelli train` that change when a run ends and what it prints.

use crate::support::fixtures::{folder, run as program, write_pictures};
use crate::training::{bits, config, run};
use ocelli::train::{Config, Length};
use serde_json::Value;
use std::path::Path;

#[test]
fn a_run_ends_when_validation_no_longer_improves() {
    let folder = folder();
    let [data, whole, again] = ["data", "whole", "again"].map(|name| folder.path().join(name));
    write_pictures(&data, 2, 10, 1, 8);
    // At a rate of 0 only running statistics change, so the accuracy is that of a guess, sooner or later for good.
    let config = Config { length: Length::Epochs(40), lr: 0.0, early_stop: Some(3), ..config(&data) };
    let finished = run(&config, &whole, false).unwrap();
    let rows = &finished.rows;
    let best = rows.iter().map(|row| row.val_top1).fold(0.0, f64::max);
    let first = rows.iter().position(|row| row.val_top1 == best).unwrap();
    assert_eq!((rows.len(), finished.stopped_early, finished.best), (first + 4, Some(3), best));
    assert!(rows.len() < 40);
    // It is finished; a longer patience goes on.
    let finished = run(&config, &whole, true).unwrap();
    assert!(finished.already && finished.rows.len() == first + 4);
    let longer = Config { length: Length::Epochs(first as u64 + 6), early_stop: None, ..config.clone() };
    assert_eq!(run(&longer, &whole, true).unwrap().rows.len(), first + 6);
    run(&longer, &again, false).unwrap();
    assert_eq!(bits(&again), bits(&whole));
    let error = run(&Config { early_stop: Some(0), ..config }, &again, true).unwrap_err();
    assert!(error.to_string().contains("--early-stop"), "{error}");
}

/// Trains a small network on the data in a folder.
fn train(folder: &Path, more: &[&str]) -> (i32, String, String) {
    let start = "train --arch resnet20 --data data --out run --batch-size 4 --size 8";
    program(folder, &start.split(' ').chain(more.iter().copied()).collect::<Vec<_>>())
}

#[test]
fn a_line_of_json_for_each_step_and_epoch() {
    let folder = folder();
    write_pictures(&folder.path().join("data"), 2, 6, 1, 8);
    let (code, printed, says) = train(folder.path(), &["--epochs", "2", "--json", "--schedule", "poly"]);
    assert_eq!(code, 0, "{says}");
    let lines = printed.lines().map(|line| serde_json::from_str(line).unwrap());
    // On a slow machine a run may warn of its data.
    let lines: Vec<Value> = lines.filter(|line: &Value| line["event"] != "warning").collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    let epoch = ["step", "step", "step", "epoch"];
    assert_eq!(events, [&["start"][..], &epoch, &epoch, &["finished"]].concat());
    assert_eq!((lines[0]["steps"].as_u64(), lines[0]["batch_size"].as_u64()), (Some(6), Some(4)));
    assert!(lines[0]["gpu_bytes"].as_u64() > Some(0));
    let steps = lines.iter().filter(|line| line["event"] == "step");
    for (i, step) in (0..).zip(steps) {
        assert_eq!(step["step"].as_u64(), Some(i + 1));
        assert_eq!(
            (step["epoch"].as_u64(), step["step_in_epoch"].as_u64()),
            (Some(1 + i / 3), Some(1 + i % 3))
        );
        let lr = 0.1 * (1.0 - i as f64 / 6.0).sqrt();
        assert!((step["lr"].as_f64().unwrap() - lr).abs() < 1e-12, "{step}");
        assert!(step["loss"].as_f64().unwrap() > 0.0 && step["images_per_s"].as_f64().unwrap() > 0.0);
    }
    assert!(lines[4]["val_top1"].is_f64() && lines[8]["train_loss"].is_f64());
    assert!(lines[9]["best_val_top1"].is_f64() && lines[9]["stopped_early"] == false);
}

#[test]
fn a_time_limit_saves_and_ends_without_an_error() {
    let folder = folder();
    write_pictures(&folder.path().join("data"), 2, 6, 1, 8);
    let train = |more: &[&str]| train(folder.path(), more);
    let (code, printed, says) =
        train(&["--epochs", "1000000", "--time-limit", "8", "--schedule", "constant"]);
    assert_eq!((code, printed.as_str()), (0, ""), "{says}");
    assert!(says.contains("the time limit: stopped"), "{says}");
    // On a very slow machine it is over before the first step, when there is nothing to save.
    let saved = folder.path().join("run/checkpoint.safetensors").is_file();
    assert!(saved || !says.contains("after step"), "{says}");
    for limit in ["h", "0s", "1d", "NaNs", "1e30h", ""] {
        let (code, _, says) = train(&["--epochs", "1", "--time-limit", limit, "--resume"]);
        assert!(code == 2 && says.contains("90m"), "{limit}: {code} {says}");
    }
}
