//! Text of strangers in the program: what a terminal would obey, in every field of every format, into every command.

use crate::exchange::resnet20;
use crate::onnx_in::operators::model;
use crate::pth::made;
use crate::support::fixtures::{folder, ocelli, write_pictures};
use ocelli::weights::onnx::proto;
use ocelli::weights::{Tensor, write_tensors};
use prost::Message;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Sets the title, rings, begins lines, turns red and writes backwards; twice, in C0 and C1.
const EVIL: &str = "E\u{1b}]0;t\u{7}\r\nINJECTED\u{202e}\u{9b}31m\u{2028}\u{200b}\u{e0041}";
/// What may be in the name of a file, with the end that a command wants.
fn evil(end: &str) -> String {
    format!("{EVIL}{end}")
}

/// Runs the program and looks at what it prints. Returns both streams.
fn run(here: &Path, arguments: &[&str]) -> String {
    let output = ocelli(here).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert_ne!(output.status.code(), None, "{arguments:?} was killed\n{text}");
    assert!(!text.contains("panicked"), "{arguments:?}\n{text}");
    let raw: Vec<char> =
        text.chars().filter(|c| *c != '\n' && EVIL.contains(*c) && !c.is_ascii_graphic()).collect();
    assert!(raw.is_empty(), "{arguments:?} prints {raw:?}\n{text:?}");
    let begun = text.lines().any(|line| line.starts_with("INJECTED"));
    assert!(!begun, "{arguments:?} lets a name begin a line\n{text}");
    text
}

/// As [`run`], where the text must be seen: otherwise this would pass because nothing is printed.
fn says(here: &Path, arguments: &[&str]) -> String {
    let text = run(here, arguments);
    assert!(text.contains("INJECTED"), "{arguments:?} does not print it\n{text}");
    text
}

/// Runs the commands that open weights.
fn open(here: &Path, file: &str) {
    let weights = ["--weights", file];
    run(here, &[&["predict", "data/val/class0/000.png", "--tune", "off"], &weights[..]].concat());
    run(here, &[&["predict", "data/val/class0/000.png", "--json"], &weights[..]].concat());
    run(here, &[&["eval", "--data", "data"], &weights[..]].concat());
    run(here, &["convert", file, "out.pth", "--force"]);
    run(here, &["convert", file, "out.onnx", "--force"]);
    let run_folder =
        ["--out", "other", "--arch", "resnet20", "--data", "data", "--steps", "1", "--batch-size", "2"];
    run(here, &[&["train"], &run_folder[..], &weights].concat());
    let _ = fs::remove_dir_all(here.join("other"));
}

fn strings(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let known = [
        ("ocelli.arch", "resnet20".to_owned()),
        ("ocelli.classes", json!([evil("0"), evil("1"), "c"]).to_string()),
        ("ocelli.input", "[32,32,3]".to_owned()),
        ("ocelli.normalization", json!({ "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5] }).to_string()),
    ];
    let known = known.into_iter().map(|(key, value)| (key.to_owned(), value));
    known.chain(changes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))).collect()
}

#[test]
fn of_safetensors() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 3, 1, 1, 8);
    let quoted = json!(EVIL).to_string();
    for (change, is_printed) in [
        ((EVIL, EVIL), true),
        (("ocelli.arch", EVIL), true),
        (("ocelli.preprocessing", quoted.as_str()), false),
        (("ocelli.input", quoted.as_str()), false),
        (("ocelli.classes", quoted.as_str()), false),
    ] {
        write_tensors(here.join("w.safetensors"), &resnet20(), &strings(&[change])).unwrap();
        let inspected = says(here, &["inspect", "w.safetensors"]);
        assert!(
            inspected.contains(r"\u{1b}]0;t\u{7}\r\n") && inspected.contains(r"\u{202e}\u{9b}31m"),
            "{inspected}"
        );
        let json_of: Json =
            serde_json::from_str(&says(here, &["inspect", "--json", "w.safetensors"])).unwrap();
        assert_eq!(json_of["strings"][change.0], change.1, "JSON holds what the file holds");
        if is_printed {
            open(here, "w.safetensors");
        }
    }
    // The names of classes.
    write_tensors(here.join("w.safetensors"), &resnet20(), &strings(&[])).unwrap();
    let picture = ["predict", "data/val/class0/000.png", "--weights", "w.safetensors"];
    says(here, &picture);
    let line: Json =
        serde_json::from_str(&says(here, &[&picture[..], &["--json", "--quiet"]].concat())).unwrap();
    let labels: Vec<&Json> = line["predictions"].as_array().unwrap().iter().map(|p| &p["label"]).collect();
    assert!(labels.contains(&&json!(evil("0"))), "{labels:?}");
    open(here, "w.safetensors");
    // Of tensors.
    let mut tensors = resnet20();
    tensors.insert(EVIL.to_owned(), Tensor { shape: vec![2, 2], data: vec![0.5; 4] });
    let moved = tensors.remove("linear.weight").unwrap();
    tensors.insert(evil("linear.weight"), moved);
    write_tensors(here.join("w.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    says(here, &["inspect", "w.safetensors"]);
    says(here, &["inspect", "--arch", "resnet20", "w.safetensors"]);
    open(here, "w.safetensors");
    // What no writer here would write: a type, an entry that is no tensor.
    for header in [
        json!({ EVIL: { "dtype": EVIL, "shape": [1], "data_offsets": [0, 4] } }),
        json!({ EVIL: { "dtype": "F32", "shape": [1], "data_offsets": [0, 4], EVIL: 1 } }),
        json!({ "__metadata__": { "a": [EVIL] } }),
        json!({ EVIL: EVIL }),
    ] {
        let text = header.to_string();
        let bytes = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &[0; 4]].concat();
        fs::write(here.join("h.safetensors"), bytes).unwrap();
        run(here, &["inspect", "h.safetensors"]);
        run(here, &["convert", "h.safetensors", "out.safetensors", "--force"]);
    }
}

#[test]
fn of_pytorch() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 3, 1, 1, 8);
    let tensor = made::tensor("0", 4, 0, &[2, 2], &[2, 1]);
    let named = made::mapping(&[(EVIL, &tensor), (&evil("2"), &made::text(EVIL))]);
    let class = EVIL.replace('\n', "");
    let global = [b"\x80\x02", format!("c{class}\n{class}\n)R.").as_bytes()].concat();
    for (bytes, is_printed) in [
        (made::zipped(&named), true),
        (made::legacy(&named), true),
        (made::zipped(&global), false),
        (made::zipped(&made::mapping(&[("a", &made::text(EVIL))])), false),
        (made::zipped(&made::mapping(&[("a", &made::tensor(EVIL, 4, 0, &[2], &[1]))])), true),
        (made::archive(&[(&evil("/data.pkl"), &made::good()), (&evil("/data/0"), &made::FOUR)]), false),
        (made::archive(&[(&evil("/data.pkl"), &made::good()), (&evil("/data/0"), &made::FOUR[..3])]), false),
    ] {
        fs::write(here.join("w.pth"), bytes).unwrap();
        if is_printed {
            says(here, &["inspect", "w.pth"])
        } else {
            run(here, &["inspect", "w.pth"])
        };
        open(here, "w.pth");
    }
}

/// What is done to a good model.
type Change = fn(&mut proto::Model);

#[test]
fn of_onnx() {
    fn graph(model: &mut proto::Model) -> &mut proto::Graph {
        model.graph.as_mut().unwrap()
    }
    fn set(text: &mut String) {
        EVIL.clone_into(text);
    }
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 3, 1, 1, 8);
    let changes: [(Change, bool); 8] = [
        (|model| graph(model).node.iter_mut().for_each(|node| node.name = evil(&node.op_type)), false),
        (|model| graph(model).node.iter_mut().for_each(|node| set(&mut node.op_type)), true),
        (|model| graph(model).node.iter_mut().for_each(|node| set(&mut node.domain)), true),
        (|model| graph(model).node.iter_mut().for_each(|node| node.input.iter_mut().for_each(set)), true),
        (
            |model| graph(model).initializer.iter_mut().for_each(|tensor| tensor.name = evil(&tensor.name)),
            true,
        ),
        (|model| graph(model).input.iter_mut().for_each(|value| set(&mut value.name)), false),
        (
            |model| {
                model.metadata_props.push(proto::KeyValue { key: EVIL.to_owned(), value: EVIL.to_owned() });
                set(&mut model.producer_name);
            },
            true,
        ),
        (|model| model.functions.push(proto::Function { name: EVIL.to_owned() }), false),
    ];
    for (change, is_printed) in changes {
        let mut model = model("input_scaled");
        change(&mut model);
        fs::write(here.join("w.onnx"), model.encode_to_vec()).unwrap();
        if is_printed {
            says(here, &["inspect", "w.onnx"])
        } else {
            run(here, &["inspect", "w.onnx"])
        };
        open(here, "w.onnx");
        let bench =
            ["bench", "--seconds", "0", "--weights", "w.onnx", "--mode", "train", "--batch-size", "1"];
        run(here, &[&bench[..], &["--profile=layers"]].concat());
    }
    // Every name of a network that runs, in the lines of a profile.
    let mut model = model("input_scaled");
    let graph = model.graph.as_mut().unwrap();
    let names = graph.initializer.iter_mut().map(|tensor| &mut tensor.name);
    let nodes = graph.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output));
    let outside = graph.input.iter_mut().chain(&mut graph.output).map(|value| &mut value.name);
    names.chain(nodes).chain(outside).filter(|name| !name.is_empty()).for_each(|name| *name = evil(name));
    fs::write(here.join("w.onnx"), model.encode_to_vec()).unwrap();
    let bench = ["bench", "--seconds", "0", "--weights", "w.onnx", "--mode", "infer", "--batch-size", "1"];
    says(here, &[&bench[..], &["--profile=layers"]].concat());
    open(here, "w.onnx");
}

#[test]
fn of_arguments_and_lists_of_names() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 3, 1, 1, 8);
    write_tensors(here.join("w.safetensors"), &resnet20(), &BTreeMap::new()).unwrap();
    let flag = format!("--{EVIL}");
    let port = evil("8000");
    for arguments in [
        &[EVIL][..],
        &["show", &flag],
        &["show", EVIL],
        &["show", "--size", EVIL],
        &["serve", "--port", &port],
        &["serve", "--page", EVIL],
        &["serve", "--page", "data", "--weights", EVIL],
        &["devices", EVIL],
        &["inspect", EVIL],
        &["inspect", "w.safetensors", "--arch", EVIL],
        &["convert", EVIL, "out.pth"],
        &["convert", "w.safetensors", &evil(".txt")],
        &["predict", EVIL, "--weights", "w.safetensors"],
        &["predict", EVIL, &evil("2"), "--weights", "w.safetensors"],
        &["predict", "data/val/class0/000.png", "--weights", EVIL],
        &["predict", "data/val/class0/000.png", "--weights", "w.safetensors", "--labels", EVIL],
        &["predict", "data/val/class0/000.png", "--weights", "w.safetensors", "--adapter", EVIL],
        &["predict", "data/val/class0/000.png", "--weights", "w.safetensors", "--resize", EVIL],
        &["eval", "--data", EVIL, "--weights", "w.safetensors"],
        &["eval", "--data", "data", "--split", EVIL, "--weights", "w.safetensors"],
        &["train", "--arch", EVIL, "--data", "data", "--out", "x"],
        &["train", "--arch", "resnet20", "--data", EVIL, "--out", "x"],
        &["train", "--arch", "resnet20", "--data", "data", "--out", "x", "--weights", EVIL],
        &[
            "train",
            "--arch",
            "resnet20",
            "--data",
            "data",
            "--out",
            EVIL,
            "--steps",
            "1",
            "--batch-size",
            "2",
        ],
        &["bench", "--seconds", "0", "--arch", EVIL, "--mode", "infer"],
        &["bench", "--seconds", "0", "--arch", "resnet20", "--report", &evil("/report.md")],
    ] {
        // `serve` with a page and no weights would serve.
        let text = run(here, arguments);
        let is_named = text.contains("INJECTED") || text.contains("there is no page");
        assert!(is_named, "{arguments:?} does not say what is wrong\n{text}");
    }
    let name = EVIL.replace(['\r', '\n', '\u{2028}'], "");
    let lists =
        [format!("{name}\n{name}1\nc\n"), format!("{name}\n"), format!("{{0: '{name}', 1: 'b', 2: 'c'}}")];
    for list in lists {
        fs::write(here.join("labels.txt"), list).unwrap();
        let weights = ["--weights", "w.safetensors", "--labels", "labels.txt"];
        run(here, &[&["predict", "data/val/class0/000.png"], &weights[..]].concat());
        run(here, &[&["eval", "--data", "data"], &weights[..]].concat());
        run(here, &["convert", "w.safetensors", "out.onnx", "--force", "--labels", "labels.txt"]);
    }
    fs::write(here.join("labels.txt"), format!("{name}\n{name}1\nc\n")).unwrap();
    says(
        here,
        &["predict", "data/val/class0/000.png", "--weights", "w.safetensors", "--labels", "labels.txt"],
    );
}

/// Folders and files that are called so; Windows has no such names.
#[cfg(unix)]
#[test]
fn of_folders_files_and_runs() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    // The file systems of macOS refuse names that are not UTF-8.
    let odd = OsStr::from_bytes(if cfg!(target_os = "macos") {
        &b"\x1bINJECTED.png"[..]
    } else {
        b"\x1b\xff\x9bINJECTED.png"
    });
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 2, 3, 2, 8);
    for part in ["train", "val"] {
        let class = here.join("data").join(part).join(evil("class"));
        fs::rename(here.join("data").join(part).join("class1"), &class).unwrap();
        fs::rename(class.join("000.png"), class.join(evil(".png"))).unwrap();
        fs::write(class.join(evil("bad.png")), EVIL).unwrap();
        fs::write(class.join(evil(".txt")), EVIL).unwrap();
        fs::write(class.join(odd), EVIL).unwrap();
    }
    let out = evil("run");
    let train = ["train", "--arch", "resnet20", "--data", "data", "--out", &out, "--batch-size", "2"];
    says(here, &[&train[..], &["--steps", "1"]].concat());
    let _ = fs::remove_dir_all(here.join(&out));
    for part in ["train", "val"] {
        let class = here.join("data").join(part).join(evil("class"));
        for name in [OsStr::new(&evil("bad.png")), odd] {
            fs::remove_file(class.join(name)).unwrap();
        }
    }
    assert!(says(here, &[&train[..], &["--steps", "1"]].concat()).contains("best validation top-1"));
    let table = fs::read_to_string(here.join(&out).join("metrics.csv")).unwrap();
    assert!(!table.contains("INJECTED"), "{table}");
    let weights = here.join(&out).join("last.safetensors").display().to_string();
    let class = here.join("data/val").join(evil("class"));
    let picture = class.join(evil(".png")).display().to_string();
    says(here, &["predict", &picture, "--weights", &weights]);
    says(here, &["predict", &picture, "--weights", &weights, "--json", "--logits"]);
    fs::write(here.join(evil("bad.png")), EVIL).unwrap();
    says(here, &["predict", &picture, &evil("bad.png"), "--weights", &weights]);
    run(here, &["eval", "--data", "data", "--weights", &weights]);
    says(here, &["inspect", &weights]);
    for end in ["safetensors", "pth", "onnx"] {
        says(here, &["convert", &weights, &evil(&format!(".{end}"))]);
        says(here, &["convert", &weights, &evil(&format!(".{end}"))]);
        says(here, &["inspect", &evil(&format!(".{end}"))]);
    }
    // Other classes than those of the weights, and of the run.
    for part in ["train", "val"] {
        let part = here.join("data").join(part);
        fs::rename(part.join(evil("class")), part.join(evil("other"))).unwrap();
    }
    says(here, &["eval", "--data", "data", "--weights", &weights]);
    let resume = [&train[..], &["--steps", "2", "--resume"]].concat();
    run(here, &resume);
    // What a run goes on from.
    let checkpoint = here.join(&out).join("checkpoint.safetensors");
    let whole = fs::read(&checkpoint).unwrap();
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header: Json = serde_json::from_slice(&whole[8..8 + length]).unwrap();
    let state: Json =
        serde_json::from_str(header["__metadata__"]["ocelli.checkpoint"].as_str().unwrap()).unwrap();
    for (place, key) in
        [("config", "arch"), ("config", "data"), ("config", "schedule"), ("facts", "preprocessing")]
    {
        let (mut header, mut state) = (header.clone(), state.clone());
        state[place][key] = json!(EVIL);
        header["__metadata__"]["ocelli.checkpoint"] = json!(state.to_string());
        let text = header.to_string();
        let bytes = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &whole[8 + length..]].concat();
        fs::write(&checkpoint, bytes).unwrap();
        fs::write(here.join(&out).join("config.json"), json!({ key: EVIL }).to_string()).unwrap();
        says(here, &resume);
        says(here, &["inspect", &checkpoint.display().to_string()]);
    }
}
