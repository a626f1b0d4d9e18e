//! What the test of the browser (`web/test`) compares with: networks, a picture, and the logits that they give here.
//! Only where `OCELLI_TEST_BROWSER` names a folder to write to, see `scripts/test_web.sh`.

use crate::activations::at_once;
use crate::ops::harness::gpu;
use crate::support::fixtures::skipped;
use ocelli::data::{ChannelOrder, Picture, Preprocessing, decode, fit};
use ocelli::exchange::{ConvertOptions, ModelFile, OpenOptions, convert};
use ocelli::explain::{self, Explainer, OcclusionOptions, Reconstruction};
use ocelli::infer::{ActivationRecorder, InferenceStep};
use ocelli::models::{Arch, Init, Settings};
use ocelli::plan::PlanOptions;
use ocelli::train::{EvaluationStep, transfer};
use ocelli::weights::{Dtype, InMemory, Metadata, write_source};
use ocelli::{Classifier, ClassifierOptions};
use serde_json::json;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// A network of each family, with an input that keeps its fully connected layers small.
const NETWORKS: [(&str, usize, &str); 7] = [
    ("resnet20", 32, "safetensors"),
    ("resnet20", 32, "onnx"),
    ("preresnet110", 32, "safetensors"),
    ("googlenet-tv", 64, "onnx"),
    ("vgg11", 32, "safetensors"),
    ("zfnet", 64, "safetensors"),
    ("alexnet", 67, "onnx"),
];
const CLASSES: usize = 10;

/// Those that are looked into: sums with shortcuts, joined branches, response normalisation, each file format.
const LOOKED_INTO: [&str; 3] = ["resnet20.safetensors", "googlenet-tv.onnx", "zfnet.safetensors"];

/// Those that are explained besides the network that comes with the page: channels in the order blue, green, red; a graph; max pooling that
/// shares a kernel with a convolution and a ReLU.
const EXPLAINED: [&str; 3] = ["resnet20.safetensors", "googlenet-tv.onnx", "zfnet.safetensors"];

/// A picture that no input has the size of: waves, so that scaling it is no matter of luck.
fn picture() -> Picture {
    let (height, width) = (70, 90);
    let value = |y: usize, x: usize, c: usize| {
        let wave = ((x * (c + 1)) as f32 / 7.0).sin() + (y as f32 / (5.0 + c as f32)).cos();
        (127.5 + 60.0 * wave) as u8
    };
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    let rgba = places.flat_map(|(y, x)| [value(y, x, 0), value(y, x, 1), value(y, x, 2), 255]).collect();
    Picture::from_rgba(height, width, rgba).unwrap()
}

/// Writes a network as it is before training, which tells no wrong kernel from a right one less than a trained one does.
fn write(path: &Path, arch: &Arch, size: usize) {
    let settings = Settings { size: [size; 2], classes: CLASSES, ..arch.settings(1) };
    let step = EvaluationStep::new(&gpu(), arch, &settings, None).unwrap();
    for (i, parameter) in step.parameters().iter().enumerate() {
        step.session().write(parameter.value, &parameter.initial(7, i, Some(Init::He))).unwrap();
    }
    let tensors = transfer::save(step.session(), step.parameters().iter()).unwrap();
    let preprocessing = Preprocessing { order: ChannelOrder::Bgr, ..Preprocessing::torchvision(size) };
    let metadata = Metadata {
        arch: arch.name.to_owned(),
        classes: (0..CLASSES).map(|i| format!("kind {i}")).collect(),
        input: [size, size, 3],
        preprocessing,
    };
    write_source(path, &InMemory::new(&tensors), &metadata.strings().unwrap(), Dtype::F16).unwrap();
}

/// What some layers of a network make of a picture, and its first filters.
fn inside(file: &Path, picture: &Picture) -> serde_json::Value {
    let opened = ModelFile::open(file, OpenOptions::default()).unwrap();
    let network = opened.model.network(&opened.settings(1)).unwrap();
    let step = InferenceStep::new(&gpu(), network, &PlanOptions::for_gpu(&gpu())).unwrap();
    step.load(opened.tensors.as_ref()).unwrap();
    let [h, w, _] = opened.metadata.input;
    let prepared = fit(picture.clone(), &opened.metadata.preprocessing, h, w).unwrap();
    let inside = at_once(ActivationRecorder::new(&step)).unwrap();
    inside.run(prepared.rgba()).unwrap();
    let count = step.layers().len();
    let some = [0, 1, count / 3, count - 2].map(|i| {
        let layer = &step.layers()[i];
        json!({ "index": i, "name": layer.name, "output": layer.output, "shape": layer.shape,
            "values": at_once(inside.activations(i)).unwrap() })
    });
    let filters = at_once(step.filters()).unwrap().unwrap();
    json!({ "file": file.file_name().unwrap().to_str().unwrap(), "count": count, "layers": some,
        "filters": { "layer": filters.layer, "shape": filters.shape, "data": filters.data } })
}

/// Why a network says what it does of a picture. `url` and `shown` are the addresses of its file and of the picture in the browser.
fn why(
    classifier: &Classifier,
    picture: &Picture,
    class: Option<usize>,
    url: &str,
    shown: Option<&str>,
) -> serde_json::Value {
    let mut explainer = Explainer::new(classifier).unwrap();
    let input = explainer.input(picture).unwrap();
    let cam = explain::grad_cam(&mut explainer, &input, class, None).unwrap();
    let options = OcclusionOptions { size: None, stride: Some(7), colour: None };
    let mut go_on = |_, _| ControlFlow::Continue(());
    let hidden = explain::occlusion(&mut explainer, &input, class, options, &mut go_on).unwrap();
    let layers = classifier.layers();
    let mut units = Vec::new();
    for at in [1, layers.len() / 3, layers.len() / 2] {
        let of = explainer.layer(&layers[at].output).unwrap().clone();
        assert_eq!(of.name, layers[at].output);
        let strongest = explain::activations(&mut explainer, &input, Some(&of.name)).unwrap().strongest;
        for unit in [strongest[0], *strongest.last().unwrap()] {
            let inputs = std::slice::from_ref(&input);
            let found = explain::deconvnet_of_pictures(&mut explainer, &of, unit, inputs).unwrap().remove(0);
            let Reconstruction { layer, unit, place, activation, image, field } = found;
            let image = (activation > 0.0).then_some(image.data);
            units.push(json!({ "asked": layers[at].name, "layer": layer, "unit": unit, "place": place,
                "activation": activation, "field": field, "size": of.shape[..2], "image": image }));
        }
    }
    json!({ "file": url, "picture": shown, "class": class, "units": units,
        "cam": { "index": cam.class.index, "probability": cam.class.probability, "layer": cam.layer,
            "size": cam.map.shape[..2], "map": cam.map.data, "heat": cam.heat.data },
        "occlusion": { "stride": 7, "index": hidden.class.index, "square": hidden.size, "rows": hidden.rows,
            "columns": hidden.columns, "map": hidden.map.data, "heat": hidden.heat.data } })
}

/// The layers that the page lists are those that can be explained, with as many channels.
fn listed_layers_can_be_explained(classifier: &Classifier) {
    let explainer = Explainer::new(classifier).unwrap();
    for layer in classifier.layers().iter().filter(|layer| layer.operations != ["preprocess"]) {
        let found = explainer.layer(&layer.output).unwrap();
        assert_eq!((&found.name, found.shape[2]), (&layer.output, layer.shape[2]));
    }
}

#[test]
fn networks_for_the_browser() {
    let Some(folder) = std::env::var_os("OCELLI_TEST_BROWSER") else {
        return skipped(
            "browser::networks_for_the_browser",
            "OCELLI_TEST_BROWSER names no folder for scripts/test_web.sh",
        );
    };
    let folder = Path::new(&folder);
    fs::create_dir_all(folder).unwrap();
    let picture = picture();
    let (mut list, mut looks, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/page");
    let classifier =
        Classifier::open(&gpu(), web.join("models/clothes.safetensors"), ClassifierOptions::default())
            .unwrap();
    let boot = decode(&fs::read(web.join("samples/boot.png")).unwrap()).unwrap();
    reasons.push(why(&classifier, &boot, None, "models/clothes.safetensors", Some("samples/boot.png")));
    for (name, size, format) in NETWORKS {
        let first = folder.join(format!("{name}.safetensors"));
        write(&first, Arch::find(name).unwrap(), size);
        let file = folder.join(format!("{name}.{format}"));
        if file != first {
            convert(&first, &file, ConvertOptions::default()).unwrap();
        }
        let classifier = Classifier::open(&gpu(), &file, ClassifierOptions::default()).unwrap();
        let logits = classifier.logits(std::slice::from_ref(&picture)).unwrap().remove(0);
        assert!(logits.iter().all(|x| x.is_finite()), "{name}: {logits:?}");
        list.push(json!({ "arch": name, "file": format!("{name}.{format}"), "logits": logits }));
        if LOOKED_INTO.contains(&format!("{name}.{format}").as_str()) {
            looks.push(inside(&file, &picture));
        }
        if EXPLAINED.contains(&format!("{name}.{format}").as_str()) {
            let class = (name == "resnet20").then_some(3);
            reasons.push(why(&classifier, &picture, class, &format!("weights/{name}.{format}"), None));
        }
        listed_layers_can_be_explained(&classifier);
    }
    fs::write(folder.join("picture.rgba"), picture.rgba()).unwrap();
    fs::write(folder.join("inside.json"), json!(looks).to_string()).unwrap();
    fs::write(folder.join("why.json"), json!(reasons).to_string()).unwrap();
    let all = json!({ "width": picture.width(), "height": picture.height(), "networks": list });
    fs::write(folder.join("networks.json"), all.to_string()).unwrap();
}
