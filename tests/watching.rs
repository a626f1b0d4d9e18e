//! What a run shows while it trains: the wait for data, the warnings, the events for TensorBoard, its settings, its page.

use crate::ops::harness::gpu;
use crate::support::fixtures::{folder, run as program, write_pictures};
use crate::training::{bits, config, run, run_until};
use ocelli::Result;
use ocelli::data::{Dataset, Normalization, Picture, Split, open};
use ocelli::train::{Control, Event, Length, TrainingRun, Warning};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A data set on a slow disk.
struct Slow(Arc<dyn Dataset>, Duration);

impl Dataset for Slow {
    fn classes(&self) -> &[String] {
        self.0.classes()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.0.label(i)
    }

    fn name(&self, i: usize) -> String {
        self.0.name(i)
    }

    fn load(&self, i: usize) -> Result<Picture> {
        std::thread::sleep(self.1);
        self.0.load(i)
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        self.0.native_size()
    }

    fn normalization(&self) -> Normalization {
        self.0.normalization()
    }
}

fn parts(data: &Path, time: Duration) -> [Arc<dyn Dataset>; 2] {
    let open = |split| open(data.to_str().unwrap(), split).unwrap();
    let train: Arc<dyn Dataset> = Arc::new(Slow(open(Split::Train), time));
    [train, open(Split::Val)]
}

#[test]
fn a_run_tells_how_long_the_gpu_waited_for_data() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 2, 16, 1, 8);
    let config = ocelli::train::Config { length: Length::Epochs(2), ..config(&data) };
    let mut shares = Vec::new();
    for (name, time) in [("slow", Duration::from_millis(150)), ("fast", Duration::ZERO)] {
        let (out, gpu) = (folder.path().join(name), gpu());
        let (mut last, mut warnings) = (0.0, 0);
        let run = TrainingRun::new(&gpu, &config, &out).with_datasets(parts(&data, time));
        let finished = run
            .run(&mut |event| {
                match event {
                    Event::Step { data_wait, .. } => last = data_wait,
                    Event::Warning(Warning::DataWait(share)) => {
                        assert!(*share > 0.2, "{share}");
                        warnings += 1;
                    }
                    _ => {}
                }
                Control::Continue
            })
            .unwrap();
        let share = finished.rows[1].data_wait.unwrap();
        assert!(
            (0.0..=1.0).contains(&share) && share == last,
            "the row is that of the last step: {share} {last}"
        );
        shares.push((share, warnings));
        let table = std::fs::read_to_string(out.join("metrics.csv")).unwrap();
        assert!(table.lines().nth(2).unwrap().ends_with(&format!(",{share:.4}")), "{table}");
    }
    println!("waited for data: {shares:?}");
    // Four pictures of 0.15 s on two cores or more are not ready before a step of a few ms is done.
    assert!(shares[0].0 > 0.4 && shares[0].0 > 2.0 * shares[1].0, "{shares:?}");
    assert_eq!(shares[0].1, 1, "two epochs, one warning");
}

/// Runs the program on a small network.
fn train(here: &Path, line: &str) -> (i32, String, String) {
    let words: Vec<&str> = line.split(' ').collect();
    program(here, &[&["train"], &words[..]].concat())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_run_starts_again_from_its_config_json_and_from_some_settings() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 2, 6, 1, 8);
    let flags = "--arch resnet20 --data data --out a --batch-size 4 --size 8 --steps 4 --seed 3 --lr 0.02 --momentum 0.8";
    let (code, _, says) = train(here, flags);
    assert_eq!(code, 0, "{says}");
    let written = json(&here.join("a/config.json"));
    let resolved = &written["resolved"];
    assert_eq!(resolved["classes"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&resolved["batch_size"], &resolved["steps"], &resolved["input"]),
        (&4.into(), &4.into(), &[8, 8].into())
    );
    for field in ["version", "adapter", "driver", "backend", "preprocessing", "system"] {
        assert!(!resolved[field].is_null(), "{field}: {resolved}");
    }
    assert!(fs::read_to_string(here.join("a/config.json")).unwrap().contains("\"momentum\": 0.8,"));
    // The same again, of a file with all and of one of an older version, which has no resolved.
    let mut old = written.clone();
    old.as_object_mut()
        .unwrap()
        .retain(|name, _| !["resolved", "warmup", "val_split", "early_stop"].contains(&name.as_str()));
    fs::write(here.join("old.json"), old.to_string()).unwrap();
    for (file, out) in [("a/config.json", "b"), ("old.json", "c")] {
        let (code, _, says) = train(here, &format!("--config {file} --out {out}"));
        assert_eq!(code, 0, "{says}");
        assert_eq!(bits(&here.join(out)), bits(&here.join("a")), "{file}");
    }
    // The run itself goes on with its file.
    let (code, _, says) = train(here, "--config a/config.json --out a --resume");
    assert!(code == 0 && says.contains("finished already"), "{code} {says}");
    // Flags beside the file count more, also where they give what is the default.
    let (code, _, says) = train(here, "--config a/config.json --out d --seed 0 --steps 2 --no-shuffle");
    assert_eq!(code, 0, "{says}");
    let other = json(&here.join("d/config.json"));
    assert_eq!(
        (&other["seed"], &other["length"]["steps"], &other["shuffle"]),
        (&0.into(), &2.into(), &false.into())
    );
    assert_eq!((&other["lr"], &other["batch_size"]), (&written["lr"], &written["batch_size"]));
    // Some settings of a user; the others are the recipe's.
    fs::write(here.join("my.json"), r#"{"arch": "resnet20", "lr": 0.3, "size": [8, 8], "batch_size": 4}"#)
        .unwrap();
    let (code, _, says) = train(here, "--config my.json --data data --out e --steps 1");
    assert_eq!(code, 0, "{says}");
    let mine = json(&here.join("e/config.json"));
    assert_eq!(
        (&mine["lr"], mine["momentum"].as_f64(), &mine["data"]),
        (&0.3.into(), Some(0.9), &"data".into())
    );
    // Mistakes name the field.
    for (text, part) in [
        (r#"{"arch": "resnet20", "data": "data", "momentm": 1}"#, "did you mean \"momentum\""),
        (r#"{"arch": "resnet20", "data": "data", "lr": "x"}"#, "the setting \"lr\" cannot be read"),
        (r#"{"arch": "resnet20"}"#, "has no \"data\""),
        (r#"{"arch": "resnet20", "data": "data", "lr": -1}"#, "--lr"),
    ] {
        fs::write(here.join("bad.json"), text).unwrap();
        let (code, _, says) = train(here, "--config bad.json --out f");
        assert!(code == 2 && says.contains(part), "{text}: {code} {says}");
        assert!(!here.join("f").exists());
    }
    let (code, _, says) = train(here, "--config missing.json --out f");
    assert!(code != 0 && says.contains("missing.json"), "{code} {says}");
}

/// The scalars of the event files of a run, as TensorBoard takes them: files in the order of their names, and what a later start
/// repeats replaces what an earlier one has written.
fn scalars(out: &Path) -> BTreeMap<String, Vec<(u64, f32)>> {
    let mut names: Vec<_> = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.to_str().unwrap().contains("tfevents"));
    names.sort();
    let mut all: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    for name in names {
        let bytes = fs::read(name).unwrap();
        let mut rest = &bytes[..];
        let mut is_first = true;
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let event = fields(&rest[12..12 + length]);
            rest = &rest[16 + length..];
            let step =
                event.iter().find_map(|field| matches!(field, (2, _, [])).then_some(field.1)).unwrap_or(0);
            assert_eq!(is_first, event.iter().any(|field| field.0 == 3), "the version comes first and once");
            is_first = false;
            if event.iter().any(|field| field.0 == 7) {
                all.values_mut().for_each(|points| points.retain(|point| point.0 < step));
            }
            for (_, _, summary) in event.iter().filter(|field| field.0 == 5) {
                for (_, _, value) in fields(summary) {
                    let value = fields(value);
                    let tag = value.iter().find(|field| field.0 == 1).unwrap().2;
                    let number = value.iter().find(|field| field.0 == 2).unwrap().1;
                    let points = all.entry(String::from_utf8(tag.to_vec()).unwrap()).or_default();
                    points.push((step, f32::from_bits(number as u32)));
                }
            }
        }
    }
    all
}

/// The fields of a protocol buffer message: number, number that is its content, bytes that are.
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
        let (number, rest) = bytes.split_at(end + 1);
        *bytes = rest;
        number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f))
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => (key >> 3, varint(&mut bytes), &bytes[..0]),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (content, rest) = bytes.split_at(length);
                bytes = rest;
                (key >> 3, 0, content)
            }
            kind => {
                let size = if kind == 1 { 8 } else { 4 };
                let (content, rest) = bytes.split_at(size);
                bytes = rest;
                let number = content.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                (key >> 3, number, content)
            }
        };
        all.push(field);
    }
    all
}

#[test]
fn tensorboard_gets_each_point_once_however_often_a_run_is_stopped() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 7, 2, 8);
    let config = config(&data);
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    run(&config, &whole, false).unwrap();
    for step in [2, 5, 6] {
        run_until(&config, &parts, step);
    }
    // A start that is lost: it has written points and no checkpoint.
    let kept = folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    let files = || fs::read_dir(&parts).unwrap().map(|entry| entry.unwrap().path());
    let checkpoints = files().filter(|path| path.to_str().unwrap().contains("checkpoint"));
    for path in checkpoints.collect::<Vec<_>>() {
        fs::copy(&path, kept.join(path.file_name().unwrap())).unwrap();
    }
    run_until(&config, &parts, 8);
    for entry in fs::read_dir(&kept).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, parts.join(path.file_name().unwrap())).unwrap();
    }
    run(&config, &parts, true).unwrap();
    assert!(files().filter(|path| path.to_str().unwrap().contains("tfevents")).count() >= 5);
    let [whole, parts] = [whole, parts].map(|out| scalars(&out));
    let tags = [
        "accuracy/train",
        "accuracy/val_top1",
        "accuracy/val_top5",
        "data wait",
        "epoch",
        "images per second",
    ];
    let tags = [&tags[..], &["learning rate", "loss/train", "loss/val"]].concat();
    assert_eq!(whole.keys().map(String::as_str).collect::<Vec<_>>(), tags);
    let steps = |points: &[(u64, f32)]| points.iter().map(|point| point.0).collect::<Vec<_>>();
    assert_eq!(steps(&whole["loss/train"]), (1..=10).collect::<Vec<_>>());
    assert_eq!(steps(&whole["loss/val"]), [5, 10]);
    for tag in tags {
        match tag {
            "images per second" | "data wait" => assert_eq!(steps(&parts[tag]), steps(&whole[tag]), "{tag}"),
            _ => assert_eq!(parts[tag], whole[tag], "{tag}"),
        }
    }
}
