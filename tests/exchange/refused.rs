//! What was asked for and is not in a file: nothing else is written in its place.

use crate::naming::resnet20;
use crate::support::fixtures::{folder, run};
use ocelli::weights::{Tensor, write_tensors};
use std::collections::BTreeMap;
use std::path::Path;

fn under(prefix: &str) -> BTreeMap<String, Tensor> {
    resnet20().into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
}

/// A conversion that must be refused; what it says.
fn refused(here: &Path, arguments: &[&str]) -> String {
    let (code, _, said) = run(here, &[&["convert"], arguments].concat());
    assert_eq!(code, 65, "{arguments:?}: {said}");
    assert!(!here.join("out.safetensors").exists(), "{arguments:?}: {said}");
    said
}

#[test]
fn a_refusal_writes_nothing() {
    let folder = folder();
    let here = folder.path();
    let none = BTreeMap::new();
    write_tensors(here.join("plain.safetensors"), &under("model."), &none).unwrap();
    write_tensors(here.join("average.safetensors"), &under("ema."), &none).unwrap();
    let mut both = under("student.");
    both.extend(under("teacher."));
    write_tensors(here.join("both.safetensors"), &both, &none).unwrap();
    let mut more = under("model.");
    more.insert("se.weight".to_owned(), Tensor { shape: vec![2, 2], data: vec![1.0; 4] });
    write_tensors(here.join("more.safetensors"), &more, &none).unwrap();
    for (arguments, says) in [
        (&["average.safetensors", "out.safetensors", "--ema=no"][..], "averaged weights only"),
        (&["plain.safetensors", "out.safetensors", "--ema"], "nothing says"),
        (&["both.safetensors", "out.safetensors"], "several times"),
        (&["more.safetensors", "out.safetensors"], "may be layers"),
    ] {
        let said = refused(here, arguments);
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    // Tensors of no network here are still written, unless something is asked of a network.
    let stranger = BTreeMap::from([("a.b".to_owned(), Tensor { shape: vec![2], data: vec![1.0; 2] })]);
    write_tensors(here.join("stranger.safetensors"), &stranger, &none).unwrap();
    for asked in ["--ema", "--ema=no", "--arch=resnet18"] {
        refused(here, &["stranger.safetensors", "out.safetensors", asked]);
    }
    let (code, _, said) =
        run(here, &["convert", "stranger.safetensors", "out.safetensors", "--output", "logits"]);
    assert!(code == 2 && !here.join("out.safetensors").exists(), "{said}");
    let (code, _, said) = run(here, &["convert", "stranger.safetensors", "out.safetensors"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn averages_are_asked_of_every_format() {
    let folder = folder();
    let here = folder.path();
    write_tensors(here.join("plain.safetensors"), &under("model."), &BTreeMap::new()).unwrap();
    for own in ["own.safetensors", "own.onnx"] {
        let (code, _, said) = run(here, &["convert", "plain.safetensors", own]);
        assert_eq!(code, 0, "{said}");
    }
    for own in ["own.safetensors", "own.onnx"] {
        let said = refused(here, &[own, "out.safetensors", "--ema"]);
        assert!(said.contains(own) && said.contains("nothing says that it holds averaged weights"), "{said}");
        let (code, _, said) = run(here, &["convert", own, "new.safetensors", "--ema=no", "--force"]);
        assert_eq!(code, 0, "{said}");
    }
    let (code, _, said) = run(here, &["train", "--arch", "resnet20", "--data", ".", "--out", "run", "--ema"]);
    assert!(code == 2 && said.contains("--weights") && !here.join("run").exists(), "{said}");
}
