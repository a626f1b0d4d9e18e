//! `ocelli explain`.

use super::files::weights;
use crate::file_choices::{pictures, resnet20};
use crate::support::fixtures::{folder, ocelli, run, with_slashes};
use ocelli::data::ChannelOrder;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Width and height of a PNG file that can be decoded.
fn size(file: &Path) -> (u32, u32) {
    let image = image::open(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    (image.width(), image.height())
}

/// Weights of three classes, and pictures.
fn prepared() -> tempfile::TempDir {
    let folder = folder();
    weights("resnet20", 3, 32, ChannelOrder::Rgb, &folder.path().join("w.safetensors"));
    pictures(&folder.path().join("data"), &["ant", "bee", "cat"]);
    folder
}

#[test]
fn every_method_writes_pictures_and_a_page_of_them() {
    let folder = prepared();
    let here = folder.path();
    let (ant, bee) = ("data/val/ant/0.png", "data/val/bee/1.png");
    for (method, more, files) in [
        ("filters", &[][..], &["filters-conv1"][..]),
        ("activations", &[ant, bee], &["activations-0", "activations-1"]),
        ("activations", &[ant, "--layer", "linear"], &["activations-0"]),
        ("deconvnet", &[ant, "--top-units", "2", "--layer", "layer1.0.relu2"], &["deconvnet-0"]),
        ("gradcam", &[ant, "data/val/cat/0.png", "--class", "kind1"], &["gradcam-0", "gradcam-0-2"]),
        ("guided", &[ant, "--class", "2"], &["guided-0"]),
        ("saliency", &[ant, "--samples", "3"], &["saliency-0"]),
        ("occlusion", &[ant, "--square", "12", "--stride", "10"], &["occlusion-0"]),
        ("maximize", &["--steps", "3"], &["maximize-classes"]),
        ("maximize", &[ant, "--steps", "2", "--class", "kind0"], &["maximize-classes-0"]),
        (
            "maximize",
            &["--steps", "2", "--layer", "layer3.0.relu2", "--unit", "5", "--unit", "7"],
            &["maximize-layer3.0.relu2"],
        ),
        (
            "units",
            &["--data", "data", "--top-units", "9"],
            &["units-layer2.1.relu1-1", "units-layer2.1.relu1-2"],
        ),
        ("units", &["--data", "data/val/ant", "--layer", "relu1", "--unit", "3"], &[]),
    ] {
        let out = format!("out/{method}-{}", more.len());
        let arguments = [&["explain", method, "--weights", "w.safetensors", "--out", &out], more].concat();
        let (code, _, said) = run(here, &arguments);
        assert_eq!(code, 0, "{method}: {said}");
        assert!(
            said.contains("GPU memory of the network: ") && said.contains("GPU memory to explain: "),
            "{said}"
        );
        let page = fs::read_to_string(here.join(&out).join("index.html")).unwrap();
        assert!(page.contains("resnet20") && page.contains("w.safetensors"), "{page}");
        for file in files {
            let (width, height) = size(&here.join(&out).join(format!("{file}.png")));
            assert!(width > 100 && height > 80, "{method} {file}: {width}x{height}");
            assert!(page.contains(&format!("<img src=\"{file}.png\"")), "{method}: {page}");
            assert!(page.contains(&format!("width=\"{width}\" height=\"{height}\"")), "{page}");
        }
        let pictures = page.matches("<img ").count();
        assert!(with_slashes(&said).contains(&format!("{out}/index.html: {pictures} pictures")), "{said}");
        assert_eq!(fs::read_dir(here.join(&out)).unwrap().count(), pictures + 1, "nothing else is left");
    }
}

#[test]
fn what_makes_no_sense_is_said_in_a_sentence() {
    let folder = prepared();
    let here = folder.path();
    let ant = "data/val/ant/0.png";
    fs::write(here.join("text.png"), b"no picture").unwrap();
    fs::write(here.join("file"), b"").unwrap();
    for (arguments, code, says) in [
        (&["gradcam"][..], 2, "`ocelli explain gradcam` needs a picture"),
        (&["units"], 2, "`ocelli explain units` needs pictures; give a data set with --data"),
        (&["units", ant, "--data", "data"], 2, "takes its pictures from --data"),
        (
            &["guided", ant, "--layer", "conv1"],
            2,
            "takes no --layer; leave it out; it belongs to filters, activations",
        ),
        (&["gradcam", ant, "--steps", "3"], 2, "takes no --steps; leave it out; it belongs to maximize"),
        (&["gradcam", ant, "--seed", "3"], 2, "takes no --seed"),
        (&["maximize", "--layer", "conv1", "--class", "1"], 2, "a class and a layer at once"),
        (&["maximize", "--unit", "1"], 2, "units without a layer"),
        (&["maximize", "--top-units", "5"], 2, "units without a layer"),
        (&["maximize", "--rate", "nan"], 2, "a rate of NaN; give a number from 0 to 1000"),
        (&["maximize", "--steps", "0"], 2, "at least 1"),
        (&["gradcam", ant, "--layer", "linear"], 2, "it has no map"),
        (&["activations", ant, "--layer", "linear", "--unit", "9"], 2, "it has no maps"),
        (&["activations", ant, "--layer", "conv1", "--unit", "16"], 2, "its 16 units"),
        (&["deconvnet", ant, "--unit", "1", "--top-units", "2"], 2, "cannot be used with"),
        (
            &["gradcam", ant, "--class", "kind7"],
            2,
            "there is no class kind7; the classes are kind0, kind1, kind2",
        ),
        (&["gradcam", ant, "--class", "3"], 2, "there is no class 3; the 3 classes are counted from 0 to 2"),
        (&["gradcam", ant, "--class", "kind"], 2, "kind is a part of the names of 3 classes"),
        (&["gradcam", ant, "--layer", "block"], 2, "there is no layer block"),
        (&["gradcam", ant, "--layer", "layer3"], 2, "is a part of the names of"),
        (&["deconvnet", ant, "--layer", "conv1", "--unit", "16"], 2, "its 16 units are counted from 0 to 15"),
        (&["occlusion", ant, "--square", "40"], 2, "give a square of 1 to 32 pixels"),
        (&["saliency", ant, "--noise=-1"], 2, "noise from 0 to 100"),
        (&["gradcam", "text.png"], 65, "text.png"),
        (&["gradcam", "nothing.png"], 66, "nothing.png"),
        (&["units", "--data", "nowhere"], 66, "nowhere"),
        (&["units", "--data", "data", "--unit", "99"], 2, "there is no unit 99"),
    ] {
        let all = [&["explain"], arguments, &["--weights", "w.safetensors", "--out", "out"]].concat();
        let (got, printed, said) = run(here, &all);
        assert_eq!(got, code, "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert_eq!(printed, "", "{arguments:?}");
    }
    let (code, _, said) =
        run(here, &["explain", "gradcam", ant, "--weights", "none.safetensors", "--out", "out"]);
    assert!(code == 66 && said.contains("none.safetensors"), "{said}");
    let (code, _, said) =
        run(here, &["explain", "gradcam", ant, "--weights", "w.safetensors", "--out", "file"]);
    assert!(code != 0 && said.contains("file"), "{said}");
    let (code, _, said) = run(here, &["explain", "dream", ant, "--weights", "w.safetensors", "--out", "out"]);
    assert!(code == 2 && said.contains("deconvnet"), "{said}");
}

#[test]
fn names_of_classes_are_given_and_an_onnx_file_is_explained_like_its_network() {
    let folder = folder();
    let here = folder.path();
    resnet20(3, &here.join("w.safetensors"));
    pictures(&here.join("data"), &["ant", "bee", "cat"]);
    fs::write(here.join("labels.txt"), "<b>ant</b>\nbee\ncat\n").unwrap();
    assert_eq!(run(here, &["convert", "w.safetensors", "w.onnx"]).0, 0);
    for (weights, out) in [("w.safetensors", "a"), ("w.onnx", "b")] {
        let arguments = [
            "explain",
            "gradcam",
            "data/val/ant/0.png",
            "--weights",
            weights,
            "--labels",
            "labels.txt",
            "--out",
            out,
        ];
        let (code, _, said) = run(here, &arguments);
        assert_eq!(code, 0, "{said}");
    }
    let page = fs::read_to_string(here.join("a/index.html")).unwrap();
    assert!(!page.contains("<b>ant") && page.contains("Grad-CAM for "), "{page}");
    let [a, b] = ["a", "b"].map(|out| fs::read(here.join(out).join("gradcam-0.png")).unwrap());
    assert!(a == b, "the same network and the same picture");
}

#[test]
fn what_was_made_before_an_error_has_its_page() {
    let folder = prepared();
    let here = folder.path();
    fs::write(here.join("text.png"), b"no picture").unwrap();
    let explain = |images: &[&str], out: &str| {
        run(here, &[&["explain", "guided", "--weights", "w.safetensors", "--out", out], images].concat())
    };
    let (code, _, said) = explain(&["data/val/ant/0.png", "text.png", "data/val/ant/1.png"], "out");
    assert!(code == 65 && said.contains("text.png"), "{said}");
    let page = fs::read_to_string(here.join("out/index.html")).unwrap();
    assert!(page.contains("guided-0.png") && !page.contains("guided-1.png"), "{page}");
    // Our page is replaced, another one is not.
    assert_eq!(explain(&["data/val/ant/1.png"], "out").0, 0);
    fs::write(here.join("out/index.html"), "<title>My cats</title>").unwrap();
    let (code, _, said) = explain(&["data/val/ant/1.png"], "out");
    assert!(code == 2 && said.contains("a page of something else"), "{said}");
    assert_eq!(fs::read_to_string(here.join("out/index.html")).unwrap(), "<title>My cats</title>");
}

#[cfg(unix)]
#[test]
fn a_signal_stops_what_takes_long() {
    let folder = prepared();
    let mut child = ocelli(folder.path())
        .args(["explain", "maximize", "--weights", "w.safetensors", "--out", "out", "--steps", "1000000"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    // The handler of signals is there when the first picture has taken its memory: the second line of this kind.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = |line: &String| line.contains("GPU memory to explain");
    let mut said = String::new();
    let mut next = || lines.find_map(|line| line.ok().filter(told)).is_some();
    assert!(next() && next(), "it does not begin");
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(120), "it goes on");
        std::thread::sleep(Duration::from_millis(50));
    }
    lines.for_each(|line| said += &format!("{}\n", line.unwrap()));
    assert!(said.contains("stopped after 0 of 3 pictures"), "{said}");
    assert_ne!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(!folder.path().join("out/index.html").exists());
}
