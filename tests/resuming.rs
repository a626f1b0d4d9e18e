//! What a run goes on from: damaged and missing checkpoints, folders that hold another run, folders that go away.

use crate::ops::harness::gpu;
use crate::oracle::Rng;
use crate::support::fixtures::{folder, write_pictures};
use crate::training::{bits, config, run, run_until};
use ocelli::Error;
use ocelli::train::{Config, Control, Event, Finished, Length, checkpoint, train};
use ocelli::weights::{read_tensors, write_tensors};
use std::fs;
use std::path::Path;

const NEWEST: &str = "checkpoint.safetensors";
const PREVIOUS: &str = "checkpoint.previous.safetensors";

/// Goes on with a run; returns which checkpoint it went on from instead of the newest one, and after which step.
fn resume(config: &Config, out: &Path) -> (Result<Finished, Error>, Option<(String, u64)>) {
    let mut older = None;
    let result = train(&gpu(), config, out, true, &mut |event| {
        if let Event::OlderCheckpoint { why, path, step } = event {
            assert!(path.ends_with(PREVIOUS));
            older = Some((why.to_string(), step));
        }
        Control::Continue
    });
    (result, older)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn flip(bytes: &mut [u8], bit: u64) {
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
}

/// How long the header of a safetensors file is, its length with it.
pub(crate) fn header(bytes: &[u8]) -> u64 {
    8 + u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

/// Bits of a file: so many anywhere, and as many in its header.
pub(crate) fn some_bits(bytes: &[u8], count: usize) -> Vec<u64> {
    let mut rng = Rng(bytes.len() as u64);
    let mut below = |n: u64| ((0.5 + 0.5 * rng.unit()) * n as f64) as u64;
    let (all, head) = (8 * bytes.len() as u64, 8 * header(bytes));
    (0..count).flat_map(|_| [below(all), below(head)]).collect()
}

#[test]
fn a_checkpoint_with_one_wrong_bit_is_noticed() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 2, 4, 1, 8);
    run(&Config { length: Length::Steps(1), ..config(&data) }, &out, false).unwrap();
    let whole = fs::read(out.join(NEWEST)).unwrap();
    checkpoint::read(&out.join(NEWEST)).unwrap();
    let damaged = out.join("damaged.safetensors");
    for bit in some_bits(&whole, 100) {
        let mut bytes = whole.clone();
        flip(&mut bytes, bit);
        fs::write(&damaged, bytes).unwrap();
        let error = checkpoint::read(&damaged).err().unwrap_or_else(|| panic!("bit {bit} goes unnoticed"));
        assert!(matches!(error, Error::Data(_)), "bit {bit}: {error:?}");
        assert!(error.to_string().contains("damaged.safetensors"), "bit {bit}: {error}");
    }
}

/// Ways to lose a checkpoint, and what is said of it.
type Damage = (&'static str, fn(&Path));
const DAMAGES: &[Damage] = &[
    ("its checksum", |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = (header(&bytes) + bytes.len() as u64) / 2;
        flip(&mut bytes, 8 * middle);
        fs::write(path, bytes).unwrap();
    }),
    ("its checksum", |path| {
        let mut bytes = fs::read(path).unwrap();
        let end = bytes.len();
        bytes[end - 4096..].fill(0);
        fs::write(path, bytes).unwrap();
    }),
    ("its checksum", |path| {
        let mut bytes = fs::read(path).unwrap();
        let start = header(&bytes) as usize;
        bytes[start..].fill(0);
        fs::write(path, bytes).unwrap();
    }),
    ("no usable safetensors", |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("empty", |path| fs::write(path, "").unwrap()),
    ("no checkpoint of a training run", |path| {
        fs::copy(path.with_file_name("last.safetensors"), path).unwrap();
    }),
    ("no such file", |path| fs::remove_file(path).unwrap()),
];

#[test]
fn a_run_with_a_damaged_checkpoint_goes_on_from_the_one_before_it_to_the_same_bits() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 7, 2, 8);
    let config = config(&data);
    let [whole, parts, out] = ["whole", "parts", "out"].map(|n| folder.path().join(n));
    run(&config, &whole, false).unwrap();
    // Once damaged in the middle of the second epoch, and once at the end of a run.
    assert!(matches!(run_until(&config, &parts, 7).1, Error::Stopped(_)));
    for (from, (says, damage)) in
        [&parts, &whole].into_iter().flat_map(|p| DAMAGES.iter().map(move |d| (p, d)))
    {
        fs::remove_dir_all(&out).ok();
        copy(from, &out);
        damage(&out.join(NEWEST));
        let (result, older) = resume(&config, &out);
        result.unwrap();
        let (why, step) = older.unwrap_or_else(|| panic!("{says}: nothing was said"));
        assert!(why.contains(says) && why.contains(NEWEST), "{says}: {why}");
        assert_eq!(step, 5, "{says}");
        assert_eq!(bits(&whole), bits(&out), "{says}");
        // What was damaged is whole again, and nothing is said any more.
        let (result, older) = resume(&config, &out);
        assert!(result.unwrap().already && older.is_none());
    }
    // A damage of the first epoch goes back to the start.
    fs::remove_dir_all(&out).ok();
    run_until(&config, &out, 2);
    DAMAGES[0].1(&out.join(NEWEST));
    let (result, older) = resume(&config, &out);
    result.unwrap();
    assert_eq!(older.unwrap().1, 0);
    assert_eq!(bits(&whole), bits(&out));
}

#[test]
fn two_damaged_checkpoints_are_told_and_nothing_is_overwritten() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 2, 4, 1, 8);
    let config = Config { length: Length::Epochs(1), ..config(&data) };
    run(&config, &out, false).unwrap();
    let before = bits(&out);
    for name in [NEWEST, PREVIOUS] {
        DAMAGES[0].1(&out.join(name));
    }
    let longer = Config { length: Length::Epochs(2), ..config };
    let (result, older) = resume(&longer, &out);
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Data(_)) && older.is_none(), "{error:?}");
    for part in [NEWEST, PREVIOUS, "its checksum", "another folder", "best.safetensors"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(before, bits(&out));
}

#[test]
fn an_older_checkpoint_of_another_length_is_not_mixed_in() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 7, 2, 8);
    let config = config(&data);
    let longer = Config { length: Length::Epochs(3), ..config.clone() };
    let [whole, parts] = ["whole", "parts"].map(|n| folder.path().join(n));
    for out in [&whole, &parts] {
        run(&config, out, false).unwrap();
    }
    run(&longer, &whole, true).unwrap();
    // The rate of the cosine depends on the length: the steps that are lost were taken at other rates.
    DAMAGES[0].1(&parts.join(NEWEST));
    let (result, _) = resume(&longer, &parts);
    let text = result.unwrap_err().to_string();
    for part in [NEWEST, "after step 5", "resume it with --epochs 2 first"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    resume(&config, &parts).0.unwrap();
    let (result, older) = resume(&longer, &parts);
    result.unwrap();
    assert_eq!(older, None);
    assert_eq!(bits(&whole), bits(&parts));
}

/// A safetensors file without its checksums.
fn unsummed(bytes: &[u8]) -> Vec<u8> {
    let end = header(bytes) as usize;
    let mut json: serde_json::Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    json["__metadata__"].as_object_mut().unwrap().retain(|key, _| !key.starts_with("ocelli.crc32."));
    let mut text = serde_json::to_vec(&json).unwrap();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes(), &text[..], &bytes[end..]].concat()
}

#[test]
fn a_checkpoint_without_checksums_or_of_an_earlier_version_is_not_gone_on_from() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 2, 4, 1, 8);
    let config = Config { length: Length::Steps(2), ..config(&data) };
    run(&config, &out, false).unwrap();
    let newest = out.join(NEWEST);
    let whole = fs::read(&newest).unwrap();
    let wanted = bits(&out);
    // Both are read where no run goes on from them.
    fs::write(&newest, unsummed(&whole)).unwrap();
    checkpoint::read_unsummed(&newest).unwrap();
    let error = checkpoint::read(&newest).err().unwrap();
    assert!(matches!(error, Error::Data(_)) && error.to_string().contains("checksums"), "{error}");
    let (result, older) = resume(&config, &out);
    result.unwrap();
    assert!(older.unwrap().0.contains("checksums"));
    assert_eq!(bits(&out), wanted, "from the one before it to the same end");
    // A run that drew other random numbers.
    let (tensors, mut strings) = read_tensors(&newest).unwrap();
    let state = strings.get_mut("ocelli.checkpoint").unwrap();
    assert!(state.contains("\"version\":4"), "{state}");
    *state = state.replace("\"version\":4", "\"version\":3");
    write_tensors(&newest, &tensors, &strings).unwrap();
    let (result, older) = resume(&config, &out);
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("version 3, not 4"), "{error}");
    assert!(older.is_none());
}

#[test]
fn any_file_of_a_run_makes_a_folder_a_run() {
    let folder = folder();
    let (data, first) = (folder.path().join("data"), folder.path().join("first"));
    write_pictures(&data, 2, 4, 1, 8);
    let config = Config { length: Length::Steps(1), ..config(&data) };
    run(&config, &first, false).unwrap();
    for name in ["best.safetensors", "last.safetensors", "metrics.csv", "config.json", NEWEST, PREVIOUS] {
        let out = folder.path().join(name);
        fs::create_dir(&out).unwrap();
        fs::copy(first.join(name), out.join(name)).unwrap();
        let error = run(&config, &out, false).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Usage(_)) && text.contains(name), "{text}");
        let is_checkpoint = [NEWEST, PREVIOUS].contains(&name);
        assert_eq!(text.contains("--resume"), is_checkpoint, "{text}");
        if !is_checkpoint {
            let error = run(&config, &out, true).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::NotFound(_)), "{error:?}");
            assert!(text.contains("no checkpoint") && text.contains(name), "{text}");
        }
        assert_eq!(fs::read(first.join(name)).unwrap(), fs::read(out.join(name)).unwrap(), "{name}");
        assert!(fs::read_dir(&out).unwrap().count() <= 2, "nothing but the lock");
    }
    // Where there is nothing of a run nothing is lost: it begins, and says so.
    let out = folder.path().join("new");
    let mut said = false;
    let result = train(&gpu(), &config, &out, true, &mut |event| {
        said |= matches!(event, Event::NothingToResume(_));
        Control::Continue
    });
    result.unwrap();
    assert!(said);
    assert_eq!(bits(&first), bits(&out));
}

/// Elsewhere the system does not let a folder go whose files are open.
#[cfg(unix)]
#[test]
fn a_run_whose_folder_is_taken_away_ends_and_leaves_the_new_folder_alone() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 2, 4, 1, 8);
    let config = Config { length: Length::Epochs(2), ..config(&data) };
    for again in ["nothing", "a folder", "a run"] {
        let out = folder.path().join("run");
        let mut gone = false;
        let result = train(&gpu(), &config, &out, false, &mut |event| {
            if matches!(event, Event::Step { .. }) && !std::mem::replace(&mut gone, true) {
                fs::remove_dir_all(&out).unwrap();
                match again {
                    "nothing" => {}
                    "a folder" => fs::create_dir(&out).unwrap(),
                    _ => drop(run(
                        &Config { seed: 8, length: Length::Steps(1), ..config.clone() },
                        &out,
                        false,
                    )),
                }
            }
            Control::Continue
        });
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{again}: {error:?}");
        assert!(error.to_string().contains("deleted or replaced"), "{again}: {error}");
        match again {
            "nothing" => assert!(!out.exists()),
            "a folder" => assert_eq!(fs::read_dir(&out).unwrap().count(), 0),
            _ => assert!(fs::read_to_string(out.join("config.json")).unwrap().contains("\"seed\": 8")),
        }
        fs::remove_dir_all(&out).ok();
    }
}

/// GNU `timeout` sends one signal to the process and one to its group.
#[cfg(unix)]
#[test]
fn a_doubled_signal_is_one_signal() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let folder = folder();
    write_pictures(&folder.path().join("data"), 3, 7, 2, 8);
    let arguments = [
        "train",
        "--arch",
        "resnet20",
        "--data",
        "data",
        "--out",
        "run",
        "--batch-size",
        "4",
        "--epochs",
        "1000",
    ];
    let mut child = crate::support::fixtures::ocelli(folder.path())
        .args(arguments)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.starts_with("GPU memory")).unwrap();
    let script = format!("kill -TERM {0}; kill -TERM {0}; sleep 0.1; kill -TERM {0}", child.id());
    Command::new("sh").args(["-c", &script]).status().unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(75), "{rest:?}");
    assert!(folder.path().join("run/checkpoint.safetensors").is_file());
}

#[test]
fn a_run_that_dies_in_an_epoch_goes_on_from_a_checkpoint_within_it() {
    let folder = folder();
    let [data, whole, dies] = ["data", "whole", "dies"].map(|name| folder.path().join(name));
    write_pictures(&data, 2, 10, 1, 8);
    let config = Config { checkpoint_minutes: 1e-9, ..config(&data) };
    let mut checked = 0;
    let result = train(&gpu(), &config, &whole, false, &mut |event| {
        if let Event::Step { step, step_in_epoch, .. } = event {
            // The checkpoint after the step before, within the epoch or after it.
            let state = checkpoint::read(&whole.join(NEWEST)).unwrap().state;
            assert_eq!(state.position.step, step - 1);
            assert_eq!(state.position.step_in_epoch, (step_in_epoch - 1) % 5);
            checked += 1;
            if step == 4 || step == 8 {
                copy(&whole, &dies.join(step.to_string()));
            }
        }
        Control::Continue
    });
    result.unwrap();
    assert_eq!(checked, 10);
    for step in ["4", "8"] {
        let out = dies.join(step);
        let (result, older) = resume(&config, &out);
        result.unwrap();
        assert_eq!((bits(&out), older), (bits(&whole), None), "after step {step}");
    }
    // Ten minutes are longer than this run: it writes checkpoints after its epochs alone, and ends with the same bits.
    let config = Config { checkpoint_minutes: 10.0, ..config };
    let rare = folder.path().join("rare");
    train(&gpu(), &config, &rare, false, &mut |event| {
        if let Event::Step { step, .. } = event {
            assert_eq!(checkpoint::read(&rare.join(NEWEST)).unwrap().state.position.step, (step - 1) / 5 * 5);
        }
        Control::Continue
    })
    .unwrap();
    let [mut often, mut rare] = [&whole, &rare].map(|out| bits(out));
    let _ = (often.remove("config.json"), rare.remove("config.json"));
    assert_eq!(often, rare);
    for minutes in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = run(&Config { checkpoint_minutes: minutes, ..config.clone() }, &whole, true).unwrap_err();
        assert!(error.to_string().contains("--checkpoint-every"), "{error}");
    }
}
