//! The training loop: the same bits every time, whatever happens on the way.

use crate::ops::harness::gpu;
use crate::support::fixtures::{folder, write_pictures};
use ocelli::Error;
use ocelli::data::Augment;
use ocelli::models::Arch;
use ocelli::train::{Config, Control, Event, Finished, Length, Place, Schedule, train};
use ocelli::weights::read;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// ResNet-20 on tiny pictures: 5 steps an epoch.
pub(crate) fn config(data: &Path) -> Config {
    Config {
        length: Length::Epochs(2),
        batch_size: 4.into(),
        lr: 0.05,
        schedule: Schedule::Cosine,
        seed: 7,
        size: Some([8, 8]),
        ..Config::new(Arch::find("resnet20").unwrap(), data.display().to_string())
    }
}

pub(crate) fn run(config: &Config, out: &Path, resume: bool) -> Result<Finished, Error> {
    train(&gpu(), config, out, resume, &mut |_| Control::Continue)
}

/// Runs until `step` is done, or the validation after it has begun, and asks it to stop then: the step that is under way is
/// finished. Says after which step it stopped.
pub(crate) fn run_until(config: &Config, out: &Path, step: u64) -> (u64, Error) {
    let mut seen = 0;
    let result = train(&gpu(), config, out, true, &mut |event| {
        if let Event::Step { step, .. } = event {
            seen = step;
        }
        if seen >= step { Control::Stop } else { Control::Continue }
    });
    assert!(seen == step || seen == step + 1, "{seen}");
    (seen, result.unwrap_err())
}

/// The files that must be the same bit for bit.
pub(crate) fn bits(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = ["last.safetensors", "best.safetensors", "config.json"];
    let mut all: BTreeMap<_, _> =
        names.iter().map(|n| ((*n).to_owned(), fs::read(out.join(n)).unwrap())).collect();
    // Without the last two columns, the speed and the wait for data.
    let table = fs::read_to_string(out.join("metrics.csv")).unwrap();
    let without_speed =
        table.lines().map(|l| l.rsplitn(3, ',').last().unwrap()).collect::<Vec<_>>().join("\n");
    all.insert("metrics.csv".to_owned(), without_speed.into_bytes());
    all
}

#[test]
fn same_seed_same_bits_and_another_seed_others() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 7, 2, 8);
    let config = config(&data);
    let outs = ["a", "b", "c"].map(|n| folder.path().join(n));
    let finished = run(&config, &outs[0], false).unwrap();
    assert_eq!((finished.rows.len(), finished.rows[1].step, finished.already), (2, 10, false));
    run(&config, &outs[1], false).unwrap();
    assert_eq!(bits(&outs[0]), bits(&outs[1]));
    run(&Config { seed: 8, ..config }, &outs[2], false).unwrap();
    assert_ne!(bits(&outs[0])["last.safetensors"], bits(&outs[2])["last.safetensors"]);
}

#[test]
fn a_run_that_was_stopped_anywhere_ends_with_the_same_bits() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 7, 2, 8);
    let config = config(&data);
    let whole = folder.path().join("whole");
    run(&config, &whole, false).unwrap();
    let parts = folder.path().join("parts");
    // In the middle of an epoch, in the validation behind it, right after that, in the last validation.
    for step in [2, 5, 6, 10] {
        let (last, error) = run_until(&config, &parts, step);
        assert!(matches!(error, Error::Stopped(_)), "{error:?}");
        assert!(error.to_string().contains(&format!("after step {last} of 10")), "{error}");
    }
    run(&config, &parts, true).unwrap();
    assert_eq!(bits(&whole), bits(&parts));
    // A finished run has nothing left to do; a longer one goes on.
    assert!(run(&config, &parts, true).unwrap().already);
    assert_eq!(bits(&whole), bits(&parts));
    let longer = Config { length: Length::Steps(12), ..config };
    let finished = run(&longer, &parts, true).unwrap();
    assert_eq!(
        finished.rows.iter().map(|r| (r.epoch, r.step)).collect::<Vec<_>>(),
        [(1, 5), (2, 10), (3, 12)]
    );
}

#[test]
fn a_run_that_is_asked_once_stops_also_where_the_step_under_way_ends_its_epoch() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 7, 2, 8);
    let config = config(&data);
    for last in [5, 10] {
        let out = folder.path().join(last.to_string());
        let result = train(&gpu(), &config, &out, false, &mut |event| match event {
            Event::Step { step, .. } if step + 1 == last => Control::Stop,
            _ => Control::Continue,
        });
        let error = result.unwrap_err();
        assert!(error.to_string().contains(&format!("after step {last} of 10")), "{error}");
        run(&config, &out, true).unwrap();
    }
    let whole = folder.path().join("whole");
    run(&config, &whole, false).unwrap();
    assert_eq!(bits(&whole), bits(&folder.path().join("5")));
    assert_eq!(bits(&whole), bits(&folder.path().join("10")));
}

#[test]
fn a_run_that_sums_gradients_and_recomputes_goes_on_to_the_same_bits() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 7, 2, 8);
    let config = Config { batch_size: 3.into(), accumulate: 2, recompute: true, ..config(&data) };
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let finished = run(&config, &whole, false).unwrap();
    assert_eq!(finished.rows[0].step, 3, "21 pictures are three steps of six");
    for step in [1, 3, 5] {
        assert!(matches!(run_until(&config, &parts, step).1, Error::Stopped(_)));
    }
    // How memory is spent changes no bit, so a run may go on without recomputation. config.json says so.
    run(&Config { recompute: false, ..config.clone() }, &parts, true).unwrap();
    let (mut whole, mut parts) = (bits(&whole), bits(&parts));
    assert_ne!(whole.remove("config.json"), parts.remove("config.json"));
    assert_eq!(whole, parts);
    let other = run(&Config { accumulate: 1, ..config }, &folder.path().join("parts"), true).unwrap_err();
    assert!(other.to_string().contains("another --accumulate"), "{other}");
}

#[test]
fn a_run_is_neither_overwritten_nor_mixed_with_another() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 2, 4, 1, 8);
    let config = Config { length: Length::Steps(1), ..config(&data) };
    run(&config, &out, false).unwrap();
    let before = bits(&out);
    let error = run(&config, &out, false).unwrap_err();
    assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("--resume"), "{error}");
    let other = Config { lr: 0.1, seed: 1, ..config.clone() };
    let error = run(&other, &out, true).unwrap_err();
    assert!(error.to_string().contains("another --lr, --seed"), "{error}");
    // Two at the same time.
    let mut second = None;
    let longer = Config { length: Length::Steps(2), ..config.clone() };
    train(&gpu(), &longer, &out, true, &mut |event| {
        if let Event::Step { .. } = event {
            second = Some(run(&longer, &out, true));
        }
        Control::Continue
    })
    .unwrap();
    assert!(matches!(second, Some(Err(Error::Io(_)))), "{second:?}");
    assert_ne!(before, bits(&out));
}

#[test]
fn a_resumed_run_needs_its_data_and_not_its_first_weights() {
    let folder = folder();
    let (data, first) = (folder.path().join("data"), folder.path().join("first"));
    write_pictures(&data, 2, 4, 1, 8);
    let config = Config { length: Length::Steps(1), ..config(&data) };
    run(&config, &first, false).unwrap();
    let weights = folder.path().join("start.safetensors");
    fs::copy(first.join("last.safetensors"), &weights).unwrap();
    let (size, out) = (None, folder.path().join("run"));
    let config = Config { weights: Some(weights.clone()), length: Length::Steps(3), size, ..config };
    assert!(matches!(run_until(&config, &out, 1).1, Error::Stopped(_)));
    fs::remove_file(weights).unwrap();
    assert_eq!(run(&config, &out, true).unwrap().rows.len(), 2);
    assert_eq!(read(out.join("last.safetensors")).unwrap().metadata.unwrap().input, [8, 8, 3]);

    let longer = Config { length: Length::Steps(4), ..config };
    fs::remove_file(data.join("train/class1/003.png")).unwrap();
    let error = run(&longer, &out, true).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Data(_)), "{text}");
    assert!(text.contains("had 8 training pictures and now has 7"), "{text}");
    write_pictures(&data, 2, 4, 1, 8);
    for split in ["train", "val"] {
        fs::rename(data.join(split).join("class1"), data.join(split).join("class9")).unwrap();
    }
    let text = run(&longer, &out, true).unwrap_err().to_string();
    assert!(text.contains("its 2 classes"), "{text}");
    for split in ["train", "val"] {
        fs::rename(data.join(split).join("class9"), data.join(split).join("class1")).unwrap();
    }
    run(&longer, &out, true).unwrap();
}

#[test]
fn a_truncated_jpeg_in_the_middle_is_skipped_and_named() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 2, 4, 2, 8);
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new(&mut bytes)
        .encode(&[100; 8 * 8 * 3], 8, 8, image::ExtendedColorType::Rgb8)
        .unwrap();
    fs::write(data.join("train/class0/002.jpg"), &bytes[..bytes.len() / 2]).unwrap();
    let config = Config { length: Length::Epochs(2), batch_size: 3.into(), ..config(&data) };
    let error = train(&gpu(), &config, &folder.path().join("strict"), false, &mut |_| Control::Continue);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("1 of 9 pictures cannot be read") && text.contains("002.jpg"), "{text}");
    let config = Config { allow_unreadable: true, ..config };
    let mut skipped = Vec::new();
    let finished = train(&gpu(), &config, &out, false, &mut |event| {
        if let Event::Skipped(picture) = event {
            skipped.push(picture.name.clone());
        }
        Control::Continue
    })
    .unwrap();
    assert_eq!(finished.rows.len(), 2);
    assert_eq!(skipped.len(), 2, "once an epoch: {skipped:?}");
    assert!(skipped.iter().all(|name| Path::new(name).ends_with("train/class0/002.jpg")), "{skipped:?}");
}

#[test]
fn weights_of_another_kind_and_a_diverging_run_end_in_errors() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 2, 4, 1, 8);
    let config = Config { length: Length::Steps(1), ..config(&data) };
    run(&config, &out, false).unwrap();
    let weights = Some(out.join("last.safetensors"));

    let other = Config { arch: "resnet32".into(), weights, ..config.clone() };
    let error = run(&other, &folder.path().join("other"), false).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Data(_)), "{error:?}");
    assert!(text.contains("missing: layer1.3.") && text.contains("last.safetensors"), "{text}");

    let fewer = Config { classes: Some(1), ..config.clone() };
    assert!(matches!(run(&fewer, &folder.path().join("fewer"), false), Err(Error::Usage(_))));

    let wild = Config { lr: 1e30, length: Length::Steps(20), ..config };
    let error = run(&wild, &folder.path().join("wild"), false).unwrap_err();
    assert!(matches!(error, Error::Data(_)) && error.to_string().contains("diverged"), "{error}");
    assert!(!folder.path().join("wild/last.safetensors").exists());
    // The last step of a run may be the one that diverges: the validation sees it, or the writing of the weights.
    for lr in [1e12, 1e36] {
        let out = folder.path().join(format!("last-{lr}"));
        let wild = Config { lr, length: Length::Steps(1), ..wild.clone() };
        let error = run(&wild, &out, false).unwrap_err();
        assert!(matches!(error, Error::Data(_)) && error.to_string().contains("diverged"), "{error}");
        let written: Vec<_> = fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
        let start = [".lock", "config.json", "checkpoint.safetensors"];
        assert!(written.iter().all(|n| start.iter().any(|start| n == start)), "{written:?}");
    }
}

#[test]
fn a_network_learns_and_its_file_needs_no_other_flag() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 3, 16, 6, 8);
    let config = Config {
        length: Length::Epochs(5),
        batch_size: 8.into(),
        lr: 0.02,
        augment: Augment::NONE,
        classes: Some(4),
        ..config(&data)
    };
    let finished = run(&config, &out, false).unwrap();
    println!("{:?}", finished.rows.last().unwrap());
    assert!(finished.best >= 0.9, "{} after five epochs on three colours", finished.best);
    let file = read(out.join("best.safetensors")).unwrap();
    let metadata = file.metadata.unwrap();
    assert_eq!((metadata.arch.as_str(), metadata.input), ("resnet20", [8, 8, 3]));
    assert_eq!(metadata.classes, ["class0", "class1", "class2", "class 3"]);
    let two = ocelli::ClassifierOptions { batch_size: 2, ..Default::default() };
    let classifier = ocelli::Classifier::open(&gpu(), out.join("best.safetensors"), two).unwrap();
    let mut right = 0;
    for class in 0..3 {
        let path = data.join(format!("val/class{class}/001.png"));
        let found = classifier.classify(&ocelli::data::read_picture(&path).unwrap(), 2).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].probability >= found[1].probability);
        right += usize::from(found[0].index == class);
    }
    assert!(right >= 2, "{right} of 3");
}

#[test]
fn the_rate_follows_warm_up_and_validation_also_in_a_run_that_was_stopped() {
    let folder = folder();
    let [data, whole, parts] = ["data", "whole", "parts"].map(|name| folder.path().join(name));
    write_pictures(&data, 2, 10, 2, 8);
    let config = Config {
        length: Length::Epochs(7),
        schedule: "plateau=1".parse().unwrap(),
        warmup: "1.4:0.1".parse().unwrap(),
        lr: 0.2,
        ..config(&data)
    };
    let rows = run(&config, &whole, false).unwrap().rows;
    assert_eq!(rows.len(), 7);
    for (i, row) in rows.iter().enumerate() {
        let place = Place { step: row.step - 1, total: 35, epoch: 5, rows: &rows[..i] };
        assert_eq!(row.lr, config.schedule.rate(0.2, config.warmup, place), "epoch {}", i + 1);
    }
    assert!((rows[0].lr - 0.2 * (0.1 + 0.9 * 4.0 / 7.0)).abs() < 1e-12, "{}", rows[0].lr);
    let lowered = rows.iter().filter(|row| row.lr < 0.15).count();
    println!("rates {:?}", rows.iter().map(|row| row.lr).collect::<Vec<_>>());
    assert!(lowered > 1, "the validation loss of a rate this large has plateaus");
    for step in [3, 12, 30] {
        run_until(&config, &parts, step);
    }
    run(&config, &parts, true).unwrap();
    assert_eq!(bits(&parts), bits(&whole));
}
