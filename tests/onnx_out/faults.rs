//! What is refused, in one sentence, with nothing written.

use super::{Drawn, says, settings, whole};
use ocelli::Error;
use ocelli::exchange::onnx_out::{Content, write, write_network};
use ocelli::models::{Arch, Mode, Network};
use ocelli::tensor::Shape;
use ocelli::weights::{Dtype, Entry, Source};
use std::collections::BTreeMap;

/// Writes `resnet20` from this source over an earlier file, which must stay.
#[track_caller]
fn refused(source: &Drawn, dtype: Dtype, words: &[&str]) -> Error {
    let arch = Arch::find("resnet20").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.onnx");
    std::fs::write(&path, "earlier").unwrap();
    let settings = settings(arch, [32, 32], 10);
    let error = says(write(&path, arch, &settings, Content::new(source, dtype)), words);
    assert!(error.report().place.contains("out.onnx"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"earlier");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file is left");
    error
}

fn drawn() -> Drawn {
    Drawn::of(&whole("resnet20", [32, 32], 10))
}

#[test]
fn tensors_that_are_not_the_networks_are_listed() {
    let mut source = drawn();
    source.entries.remove("bn1.bias");
    source.entries.insert("conv9.weight".to_owned(), Entry { shape: vec![1], dtype: Dtype::F16 });
    source.entries.get_mut("linear.weight").unwrap().shape = vec![10, 65];
    let error = refused(&source, Dtype::F32, &["missing: bn1.bias", "unexpected: conv9.weight", "[10, 65]"]);
    assert_eq!(error.exit_code(), 65);
    // PyTorch's counters are no weights.
    let mut source = drawn();
    let counter = Entry { shape: vec![], dtype: Dtype::Integer("int64") };
    source.entries.insert("bn1.num_batches_tracked".to_owned(), counter);
    let arch = Arch::find("resnet20").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(arch, [32, 32], 10);
    write(folder.path().join("a"), arch, &settings, Content::new(&source, Dtype::F32)).unwrap();
}

#[test]
fn numbers_that_are_none_are_refused_with_the_tensor() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for dtype in [Dtype::F32, Dtype::F16] {
            let wrong = Some(("layer3.2.conv2.weight", 36_863, value));
            let error =
                refused(&Drawn { wrong, ..drawn() }, dtype, &["NaN or infinity in layer3.2.conv2.weight"]);
            assert_eq!(error.exit_code(), 65);
        }
    }
    let wrong = Some(("bn1.running_var", 3, 65_520.0));
    let error = refused(&Drawn { wrong, ..drawn() }, Dtype::F16, &["6.552e4 in bn1.running_var", "f16"]);
    assert_eq!(error.exit_code(), 65);
}

#[test]
fn only_f32_and_f16_can_be_written() {
    for dtype in [Dtype::Bf16, Dtype::F64, Dtype::Integer("int8")] {
        let error = refused(&drawn(), dtype, &[dtype.name(), "f32 and f16"]);
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn more_than_a_protocol_buffer_holds_is_refused_before_a_number_is_read() {
    let arch = Arch::find("vgg16").unwrap();
    let settings = settings(arch, [32, 32], 1 << 18);
    let source = Drawn::of(&arch.whole_network(&settings, Mode::Inference).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.onnx");
    let error = says(write(&path, arch, &settings, Content::new(&source, Dtype::F32)), &["2 GiB"]);
    assert_eq!(error.exit_code(), 65);
    assert_eq!(source.most.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_is_not_there_and_a_source_that_fails_are_said() {
    let arch = Arch::find("resnet20").unwrap();
    let settings = settings(arch, [32, 32], 10);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/a.onnx");
    let error = says(write(&path, arch, &settings, Content::new(&drawn(), Dtype::F32)), &["no such"]);
    assert_eq!(error.exit_code(), 66);

    struct Failing(Drawn, bool);
    impl Source for Failing {
        fn entries(&self) -> &BTreeMap<String, Entry> {
            self.0.entries()
        }
        fn rows(&self, name: &str, rows: std::ops::Range<usize>) -> ocelli::Result<Vec<f32>> {
            let short = self.0.rows(name, rows)?.split_off(1);
            if self.1 { Ok(short) } else { Err(Error::io("the disk is gone").at(name)) }
        }
    }
    let path = folder.path().join("a.onnx");
    for (short, words) in
        [(false, ["the disk is gone", "conv1.weight"]), (true, ["431 numbers", "conv1.weight"])]
    {
        let source = Failing(drawn(), short);
        says(write(&path, arch, &settings, Content::new(&source, Dtype::F32)), &words);
        assert!(!path.exists());
    }
}

#[test]
fn graphs_without_a_form_in_onnx_are_refused_with_the_layer() {
    let arch = Arch::find("vgg11").unwrap();
    let pieces = arch.network(&settings(arch, [224, 224], 10), Mode::Inference).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.onnx");
    let out = |network: &Network| {
        let source = Drawn::of(network);
        write_network(&path, "a", network, Content::new(&source, Dtype::F32))
    };
    says(out(&pieces), &["classifier.0.weight[0..", "whole_network"]);
    // Training has operations that no file has.
    let training = Arch::find("resnet20").unwrap();
    let training = training.network(&settings(training, [32, 32], 10), Mode::Training).unwrap();
    says(out(&training), &["layer bn1", "has no form in ONNX"]);
    // Filters that are no parameter.
    let network = super::network(1, [8, 8], |g, _, x| {
        let w = g.input("w", Shape::filter(1, 1, 3, 4));
        g.layer("odd").conv2d(x, w, None, ocelli::kernels::ConvOptions::square(1, 0))
    });
    says(out(&network), &["layer odd", "no parameter"]);
    // A parameter with the name of the input.
    let network = super::network(1, [8, 8], |g, list, x| {
        let w = super::parameter(g, list, "input", Shape::filter(1, 1, 3, 4), vec![4, 3, 1, 1]);
        g.layer("conv").conv2d(x, w, None, ocelli::kernels::ConvOptions::square(1, 0))
    });
    says(out(&network), &["input", "same name"]);
    assert!(!path.exists());
}
