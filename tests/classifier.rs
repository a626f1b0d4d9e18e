//! The classifier: files and bytes, batches, prepared pixels, activations by name, progress, saving.

use crate::ops::harness::gpu;
use crate::support::fixtures::folder;
use ocelli::data::{ChannelOrder, Normalization, Picture, Preprocessing};
use ocelli::infer::{ActivationRecorder, InferenceStep};
use ocelli::models::{Arch, Init, Settings};
use ocelli::plan::PlanOptions;
use ocelli::train::{EvaluationStep, transfer};
use ocelli::weights::{Metadata, Weights, read, write};
use ocelli::{Classifier, ClassifierOptions, Error};
use std::ops::ControlFlow;
use std::path::Path;

/// ResNet-20 with first weights and three classes.
fn weights(path: &Path, order: ChannelOrder) {
    let arch = Arch::find("resnet20").unwrap();
    let step = EvaluationStep::new(&gpu(), arch, &Settings { classes: 3, ..arch.settings(1) }, None).unwrap();
    for (i, parameter) in step.parameters().iter().enumerate() {
        step.session().write(parameter.value, &parameter.initial(3, i, Some(Init::He))).unwrap();
    }
    let metadata = Metadata {
        arch: "resnet20".to_owned(),
        classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
        input: [32, 32, 3],
        preprocessing: Preprocessing { order, ..Preprocessing::covering(Normalization::IMAGENET) },
    };
    let tensors = transfer::save(step.session(), step.parameters().iter()).unwrap();
    write(path, &Weights { tensors, metadata: Some(metadata) }).unwrap();
}

fn rgb(number: u32) -> Vec<u8> {
    let byte = |i: u32| (i.wrapping_mul(2_654_435_761).wrapping_add(number.wrapping_mul(40_503)) >> 24) as u8;
    (0..40 * 48 * 3).map(byte).collect()
}

fn pictures(count: u32) -> Vec<Picture> {
    (0..count).map(|i| Picture::from_rgb(40, 48, &rgb(i)).unwrap()).collect()
}

fn batches_of(batch_size: usize) -> ClassifierOptions<'static, 'static> {
    ClassifierOptions { batch_size, ..ClassifierOptions::default() }
}

#[test]
fn a_path_and_bytes_prepared_and_not_in_any_batches_give_the_same_bits() {
    let folder = folder();
    let file = folder.path().join("weights.safetensors");
    weights(&file, ChannelOrder::Bgr);
    let pictures = pictures(5);
    let one = Classifier::open(&gpu(), &file, batches_of(1)).unwrap();
    let three = Classifier::from_bytes(&gpu(), std::fs::read(&file).unwrap(), batches_of(3)).unwrap();
    let logits = three.logits(&pictures).unwrap();
    assert_eq!(logits.len(), 5);
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * b.abs().max(1.0));
    for (picture, logits) in pictures.iter().zip(&logits) {
        assert_eq!(three.logits(std::slice::from_ref(picture)).unwrap()[0], *logits);
        // Another batch size may choose other kernels.
        assert!(close(&one.logits(std::slice::from_ref(picture)).unwrap()[0], logits));
    }
    let prepared: Vec<u8> = pictures.iter().flat_map(|p| three.prepare(p.clone()).unwrap()).collect();
    assert_eq!(three.logits_of_prepared(&prepared).unwrap(), logits);
    assert_eq!(three.logits(&[]).unwrap(), Vec::<Vec<f32>>::new());
    assert_eq!(three.logits_of_prepared(&[]).unwrap(), Vec::<Vec<f32>>::new());
    let all = three.classify_all(&pictures, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(all[4], three.classify(&pictures[4], 2).unwrap());
    let usage = |result: ocelli::Result<_>| assert!(matches!(result, Err(Error::Usage(_))));
    usage(three.logits_of_prepared(&prepared[1..]).map(|_| ()));
    usage(Classifier::open(&gpu(), &file, batches_of(0)).map(|_| ()));
    usage(Classifier::from_bytes(&gpu(), Vec::new(), batches_of(0)).map(|_| ()));
    for bytes in [&b""[..], b"text", &std::fs::read(&file).unwrap()[..9000]] {
        let error = Classifier::from_bytes(&gpu(), bytes.to_vec(), batches_of(1)).err().unwrap();
        assert!(matches!(error, Error::Data(_)), "{error:?}");
    }
}

#[test]
fn progress_is_told_and_may_stop() {
    let folder = folder();
    let file = folder.path().join("weights.safetensors");
    weights(&file, ChannelOrder::Rgb);
    let classifier = Classifier::open(&gpu(), &file, batches_of(2)).unwrap();
    let pictures = pictures(5);
    let mut told = Vec::new();
    let logits = classifier.logits_with_progress(&pictures, &mut |done| {
        told.push(done);
        ControlFlow::Continue(())
    });
    assert_eq!((logits.unwrap(), &told[..]), (classifier.logits(&pictures).unwrap(), &[2, 4, 5][..]));
    told.clear();
    let stopped = classifier.logits_with_progress(&pictures, &mut |done| {
        told.push(done);
        if done >= 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let error = stopped.unwrap_err();
    assert!(matches!(error, Error::Stopped(_)) && error.to_string().contains("4 of 5"), "{error}");
    assert_eq!(told, [2, 4]);
    // After the last batch there is nothing left to stop.
    let all = classifier.logits_with_progress(&pictures[..4], &mut |done| {
        if done == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(all.unwrap().len(), 4);
}

#[test]
fn what_is_saved_is_the_same_network() {
    let folder = folder();
    let (file, copy) = (folder.path().join("weights.safetensors"), folder.path().join("copy.safetensors"));
    weights(&file, ChannelOrder::Rgb);
    let mut classifier = Classifier::open(&gpu(), &file, batches_of(2)).unwrap();
    classifier.card_mut().set_labels(["x", "y", "z"].map(str::to_owned).to_vec()).unwrap();
    classifier.save(&copy).unwrap();
    let bytes = classifier.to_bytes().unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), bytes);
    assert_eq!(read(&copy).unwrap().tensors, read(&file).unwrap().tensors);
    let again = Classifier::from_bytes(&gpu(), bytes, batches_of(2)).unwrap();
    assert_eq!(again.metadata(), classifier.metadata());
    assert!(again.card().is_named());
    assert_eq!(again.logits(&pictures(3)).unwrap(), classifier.logits(&pictures(3)).unwrap());
    let nowhere = classifier.save(folder.path().join("no/such/folder.safetensors"));
    assert!(matches!(nowhere, Err(Error::Io(_) | Error::NotFound(_))), "{nowhere:?}");
}

#[test]
fn activations_are_found_by_the_name_of_their_layer() {
    let folder = folder();
    let file = folder.path().join("weights.safetensors");
    weights(&file, ChannelOrder::Rgb);
    let classifier = Classifier::open(&gpu(), &file, batches_of(2)).unwrap();
    let picture = pictures(1).remove(0);
    let opened = ocelli::exchange::ModelFile::open(&file, Default::default()).unwrap();
    let network = opened.model.network(&opened.settings(2)).unwrap();
    let step = InferenceStep::new(&gpu(), network, &PlanOptions::for_gpu(&gpu())).unwrap();
    step.load(opened.tensors.as_ref()).unwrap();
    let recorder = pollster::block_on(ActivationRecorder::new(&step)).unwrap();
    recorder.run(&classifier.prepare(picture.clone()).unwrap().repeat(2)).unwrap();
    let names: Vec<&str> = step.layers().iter().map(|layer| layer.output.as_str()).collect();
    assert_eq!(classifier.layer_names().collect::<Vec<_>>(), names);
    let logits = classifier.layer_names().last().unwrap();
    for name in ["layer1.0.relu1", "layer1.0.conv1", logits] {
        let number = step.layers().iter().position(|l| l.output == name || l.name == name).unwrap();
        let got = classifier.activations(&picture, name).unwrap();
        let [h, w, c] = got.shape;
        assert_eq!(got.shape, step.layers()[number].shape);
        let want = pollster::block_on(recorder.activations(number)).unwrap();
        assert_eq!(got.data, want[..h * w * c], "{name}");
    }
    let got = classifier.activations(&picture, logits).unwrap();
    assert_eq!(got.data, classifier.logits(std::slice::from_ref(&picture)).unwrap()[0]);
    let error = classifier.activations(&picture, "layer9.relu").unwrap_err();
    assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("layer9.relu"), "{error}");
    let error = classifier.activations_of_prepared(&[0; 7], logits).unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error}");
    assert_eq!(classifier.filters().unwrap().unwrap().shape, [16, 3, 3, 3]);
}

#[test]
fn files_of_every_format_are_read_from_bytes() {
    let folder = folder();
    let file = folder.path().join("weights.safetensors");
    weights(&file, ChannelOrder::Rgb);
    let pictures = pictures(2);
    for name in ["weights.pth", "weights.onnx"] {
        let other = folder.path().join(name);
        ocelli::exchange::convert(&file, &other, ocelli::exchange::ConvertOptions::default()).unwrap();
        let from_file = Classifier::open(&gpu(), &other, batches_of(2)).unwrap();
        let from_bytes =
            Classifier::from_bytes(&gpu(), std::fs::read(&other).unwrap(), batches_of(2)).unwrap();
        assert_eq!(from_bytes.logits(&pictures).unwrap(), from_file.logits(&pictures).unwrap(), "{name}");
        assert_eq!(from_bytes.card().format(), from_file.card().format());
    }
}
