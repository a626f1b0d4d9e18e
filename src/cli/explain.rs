//! `ocelli explain`

mod draw;
mod figures;
mod method;
mod mosaic;
mod units;

use super::file_args::FileArgs;
use super::stop::stop_flag;
use super::{Global, introduce, patiently, positive, reachable};
use crate::data::{Split, read_picture};
use crate::error::{Error, Result, Untrusted};
use crate::exchange::{Model, ModelFile};
use crate::explain::{Explainer, Input};
use crate::gpu::Gpu;
use crate::infer::{Classifier, ClassifierOptions};
use crate::plan::{Plan, PlanOptions};
use clap::Args;
use figures::Figures;
use method::Method;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Pictures in a batch of a graph that is none of the networks here, for methods of many pictures.
const IMPORTED_BATCH: usize = 16;

#[derive(Args)]
pub(super) struct ExplainArgs {
    /// What to show
    #[arg(value_enum, value_name = "METHOD")]
    method: Method,
    /// Pictures (JPEG, PNG, WebP, BMP, GIF or TIFF)
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Trained weights (safetensors, PyTorch or ONNX)
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// A folder for the PNG pictures and for index.html, a page of them; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The layer: its name in `ocelli show`, or any part that only one layer has [default: of `gradcam` the last map before the
    /// classifier, of `activations` the first ReLU, of `deconvnet` and `units` the ReLU in the middle of the network]
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// The class: its name, a part that only one class has, or its number [default: the most probable one; of `maximize` the first
    /// ten]
    #[arg(long, value_name = "N|NAME")]
    class: Option<String>,
    /// A unit, which is a channel of the layer, counted from 0; may be given several times
    #[arg(long, value_name = "U")]
    unit: Vec<usize>,
    /// Show the K units with the greatest activations, of `maximize` the first K [default: 9; of `activations` 64; of `units` all]
    #[arg(long, value_name = "K", value_parser = positive, conflicts_with = "unit")]
    top_units: Option<usize>,
    /// Of `units`: a folder of pictures, one with train/CLASS/*, val/CLASS/* or test/CLASS/*, one of CIFAR's binary files, a packed
    /// file, or fashion-mnist
    #[arg(long, value_name = "DIR|FILE|fashion-mnist")]
    data: Option<String>,
    /// Of `units`: the part of the data
    #[arg(long, value_name = "train|val|test", default_value = "val")]
    split: Split,
    /// Of `units`: use only so many pictures, spread over the split evenly
    #[arg(long, value_name = "N", value_parser = positive)]
    limit: Option<usize>,
    /// Of `occlusion`: the side of the grey square in pixels [default: a quarter of the input]
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    square: Option<usize>,
    /// Of `occlusion`: from one square to the next in pixels [default: a quarter of the square]
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    stride: Option<usize>,
    /// Of `saliency`: noisy pictures whose gradients SmoothGrad averages
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive)]
    samples: usize,
    /// Of `saliency`: the deviation of the noise, as a share of the range of the picture
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    noise: f32,
    /// Of `maximize`: steps along the gradient
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = positive)]
    steps: usize,
    /// Of `maximize`: the length of a step, in deviations of the normalised picture
    #[arg(long, value_name = "RATE", default_value_t = 0.1)]
    rate: f32,
    /// Of `maximize`: move the picture by at most so many pixels before a step
    #[arg(long, value_name = "PIXELS", default_value_t = 2)]
    jitter: usize,
    /// Of `maximize`: the deviation of the Gaussian blur of every fourth step, in pixels; 0 for none
    #[arg(long, value_name = "PIXELS", default_value_t = 0.5)]
    blur: f32,
    /// Of `maximize`: the weight of the total variation; 0 for none
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.02)]
    total_variation: f32,
    /// Of `maximize`: the share of the picture that a step takes away; 0 for none
    #[arg(long, value_name = "SHARE", default_value_t = 0.001)]
    decay: f32,
    /// Of `maximize` and `saliency`: the seed of what is random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Names of the classes instead of those in the weights: one a line, or a list or dictionary of Python or JSON
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    file: FileArgs,
}

/// What every method needs.
struct Work<'a> {
    args: &'a ExplainArgs,
    global: &'a Global,
    explainer: Explainer,
    figures: Figures,
    stop: Arc<AtomicBool>,
}

impl Work<'_> {
    /// Whether a signal to stop has come.
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Says to go on until a signal to stop has come.
    fn go_on(&self) -> impl Fn() -> ControlFlow<()> + use<> {
        let stop = self.stop.clone();
        move || if stop.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The number of the class that was asked for.
    fn class(&self) -> Result<Option<usize>> {
        self.args.class.as_deref().map(|text| class_of(text, self.explainer.class_names())).transpose()
    }

    fn class_name(&self, class: usize) -> &str {
        self.explainer.class_names().get(class).map_or("", String::as_str)
    }
}

pub(super) fn run(args: &ExplainArgs, global: &Global, given: &[String]) -> Result<()> {
    args.method.check(args, given)?;
    reachable(&args.weights)?;
    let figures = Figures::in_folder(&args.out)?;
    let gpu = global.open()?;
    let classifier = open(args, global, &gpu)?;
    let quiet = global.quiet;
    let needs = move |bytes| {
        if !quiet {
            super::tell(format!("GPU memory to explain: {}", mebibytes(bytes)));
        }
    };
    let explainer = pollster::block_on(Explainer::new_async(&classifier, needs))?;
    let mut work = Work { args, global, explainer, figures, stop: stop_flag()? };
    let facts = facts(args, &classifier, &work.explainer)?;
    let done = all(args.method, &mut work);
    // What was made before an error, or before Ctrl-C, has its page too.
    if work.figures.count() > 0 {
        let title = format!("What the network sees: {}", args.method.title());
        let page = work.figures.finish(&title, facts)?;
        global.say(format!("{}: {} pictures", Untrusted::new(&page), work.figures.count()));
    }
    done
}

/// Makes all figures.
fn all(method: Method, work: &mut Work) -> Result<()> {
    let images = &work.args.images;
    match method {
        Method::Units => return units::run(work),
        Method::Filters => {
            if !images.is_empty() {
                work.global.say("filters belong to the network: the pictures are not used");
            }
            return draw::without_picture(method, work);
        }
        _ if images.is_empty() => return draw::without_picture(method, work),
        _ => {}
    }
    for (i, path) in images.iter().enumerate() {
        if work.stopped() {
            return Err(Error::stopped(format!("stopped after {i} of {} pictures", images.len())));
        }
        let input = input(path, &work.explainer)?;
        draw::of_picture(method, work, &stem(path), &input).map_err(|e| match e {
            Error::Data(_) => e.at(path.to_string_lossy()),
            other => other,
        })?;
    }
    Ok(())
}

/// Reads a picture, and prepares it.
fn input(path: &Path, explainer: &Explainer) -> Result<Input> {
    let owned = path.to_owned();
    let picture = patiently(&path.to_string_lossy(), move || read_picture(&owned))?;
    explainer.input(&picture).map_err(|e| e.at(path.to_string_lossy()))
}

/// The name of a file without folder and extension.
fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "picture".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Opens the network. Its memory is told before it is taken.
fn open(args: &ExplainArgs, global: &Global, gpu: &Arc<Gpu>) -> Result<Classifier> {
    let place = || args.weights.to_string_lossy();
    let file = ModelFile::open(&args.weights, args.file.options())?;
    // A graph that is none of the networks here has batches of one size. Methods of many pictures want a larger one.
    let many = matches!(args.method, Method::Occlusion | Method::Saliency | Method::Units);
    let batch_size = match &file.model {
        Model::Arch(_) => 1,
        _ if many => IMPORTED_BATCH,
        _ => 1,
    };
    let network = file.model.network(&file.settings(batch_size)).map_err(|e| e.at(place()))?;
    let planned = Plan::new(&network.graph, &[network.logits], &PlanOptions::for_gpu(gpu))?;
    global.say(format!("GPU memory of the network: {}", mebibytes(planned.memory().total())));
    let options = ClassifierOptions { batch_size, ..ClassifierOptions::default() };
    let mut classifier = Classifier::unloaded(gpu, &file, options)?;
    classifier.load(file.tensors.as_ref()).map_err(|e| e.at(place()))?;
    introduce(global, classifier.card_mut(), args.labels.as_deref())?;
    Ok(classifier)
}

/// The table of the page.
fn facts(
    args: &ExplainArgs,
    classifier: &Classifier,
    explainer: &Explainer,
) -> Result<Vec<(String, String)>> {
    let [h, w] = explainer.size();
    let metadata = classifier.metadata();
    let mut facts = vec![
        ("network".to_owned(), metadata.arch.clone()),
        ("weights".to_owned(), args.weights.to_string_lossy().into_owned()),
        ("input".to_owned(), format!("{h}x{w}, {}", metadata.preprocessing)),
        ("adapter".to_owned(), classifier.gpu().info().name.clone()),
    ];
    if args.method.reads_layer() {
        let layer = args.layer.as_deref();
        let layer = match args.method {
            Method::Activations => Some(explainer.layer_or_first_map(layer)?),
            // The figure names the convolution before the layer.
            Method::Filters => None,
            Method::Maximize => layer.map(|name| explainer.layer(name)).transpose()?,
            Method::Deconvnet | Method::Units => Some(explainer.layer_or_middle_map(layer)?),
            _ => Some(explainer.layer_or_last_map(layer)?),
        };
        facts.extend(layer.map(|layer| {
            let [h, w, c] = layer.shape;
            ("layer".to_owned(), format!("{} ({}, {h}x{w}x{c})", layer.name, layer.op))
        }));
    }
    Ok(facts)
}

/// The class of this name, of the only name with this part, or of this number.
fn class_of(text: &str, names: &[String]) -> Result<usize> {
    if let Some(exact) = names.iter().position(|name| name == text) {
        return Ok(exact);
    }
    // Whether there is such a class, the library says.
    if let Ok(number) = text.parse::<usize>() {
        return Ok(number);
    }
    let part = text.to_lowercase();
    let found: Vec<usize> = (0..names.len())
        .filter(|i| names.get(*i).is_some_and(|name| name.to_lowercase().contains(&part)))
        .collect();
    let list = |numbers: &mut dyn Iterator<Item = usize>| {
        let named = numbers.take(12).filter_map(|i| names.get(i));
        named.map(|name| Untrusted::short(name).to_string()).collect::<Vec<_>>().join(", ")
    };
    let typed = Untrusted::short(text);
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            let more = names.len().saturating_sub(12);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            Err(Error::usage(format!("there is no class {typed}"))
                .hint(format!("the classes are {}{more}", list(&mut (0..names.len())))))
        }
        some => Err(Error::usage(format!("{typed} is a part of the names of {} classes", some.len()))
            .hint(format!("give more of the name, or its number: {}", list(&mut some.iter().copied())))),
    }
}

/// A picture that has been prepared, with its name.
struct Named<'a> {
    name: &'a str,
    input: &'a Input,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_name_a_part_of_one_or_a_number() {
        let names = ["cat", "catfish", "Siamese cat", "7", "dog"].map(str::to_owned);
        let of = |text| class_of(text, &names);
        assert_eq!([of("cat"), of("siam"), of("0"), of("7"), of("DOG")].map(Result::unwrap), [0, 2, 0, 3, 4]);
        let several = of("CAT").unwrap_err().to_string();
        assert!(several.contains("3 classes") && several.contains("Siamese cat"), "{several}");
        let none = of("bird").unwrap_err().to_string();
        assert!(none.contains("there is no class bird") && none.contains("catfish"), "{none}");
        assert_eq!(of("5").unwrap(), 5);
        assert!(of("\u{1b}[1m").unwrap_err().to_string().contains("\\u{1b}"));
    }
}
