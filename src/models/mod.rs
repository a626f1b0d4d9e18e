//! The networks: one file per family, written like the table of its paper. [`ARCHS`] lists the variants.

mod alexnet;
mod builder;
mod dense;
mod frozen;
mod googlenet;
mod parameter;
mod preresnet;
mod recognise;
mod resnet;
mod summary;
mod vgg;
mod zfnet;

pub use builder::{Builder, Conv};
pub(crate) use builder::{MAX_PIECE_BYTES, pieces};
pub use dense::DenseNetwork;
pub use frozen::Frozen;
pub use parameter::{Init, Parameter};
pub use recognise::{Difference, Found, Names, exact, nearest, recognise, recognise_as};
pub use summary::{Layer, Summary};

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::tensor::{Precision, Shape, Value};

/// Whether a network is built for training or for inference. The two are different graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch norm uses the statistics of the batch. Dropout and auxiliary classifiers are included.
    Training,
    /// Batch norm uses the running statistics. Dropout and auxiliary classifiers are left out.
    Inference,
}

/// A variant of a network.
#[derive(Debug, Clone, Copy)]
pub struct Arch {
    /// The value of `--arch`.
    pub name: &'static str,
    /// The family, e.g. `ResNet`.
    pub family: &'static str,
    /// Height and width of the input in its paper, in pixels.
    pub size: usize,
    /// The number of classes of its paper.
    pub classes: usize,
    /// One line of description.
    pub about: &'static str,
    build: fn(&mut Builder, Value) -> Result<Value>,
}

const FAMILIES: [&[Arch]; 6] = [
    &alexnet::ALEXNETS,
    &zfnet::ZFNETS,
    &vgg::VGGS,
    &googlenet::GOOGLENETS,
    &resnet::RESNETS,
    &preresnet::PRERESNETS,
];

const COUNT: usize = {
    let (mut count, mut i) = (0, 0);
    while i < FAMILIES.len() {
        count += FAMILIES[i].len();
        i += 1;
    }
    count
};

/// All variants, in the order of the list that `ocelli show` prints.
pub const ARCHS: &[Arch] = &{
    let mut all = [FAMILIES[0][0]; COUNT];
    let (mut family, mut i, mut place) = (0, 0, 0);
    while family < FAMILIES.len() {
        if i == FAMILIES[family].len() {
            (family, i) = (family + 1, 0);
            continue;
        }
        all[place] = FAMILIES[family][i];
        (i, place) = (i + 1, place + 1);
    }
    all
};

/// The sizes of a network, its normalisation and its precision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Images in a batch.
    pub batch_size: usize,
    /// Height and width of the input, in pixels.
    pub size: [usize; 2],
    /// Number of classes.
    pub classes: usize,
    /// Mean of red, green and blue, on the scale from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, on the scale from 0 to 1.
    pub std: [f32; 3],
    /// The precision in which activations are stored.
    pub precision: Precision,
}

/// A network as a graph.
#[derive(Debug, Clone)]
pub struct Network {
    /// The operations.
    pub graph: Graph,
    /// The input: 8-bit RGBA pixels `(N, H, W)`.
    pub pixels: Value,
    /// The result: logits `(N, 1, 1, classes)`, f32.
    pub logits: Value,
    /// Parameters and running statistics in the order of the layers.
    pub parameters: Vec<Parameter>,
    /// The key of the dropout masks, if there is dropout: four words, different in each step.
    pub noise: Option<Value>,
    /// Logits of the auxiliary classifiers, in training. The weight of each of their losses is 0.3.
    pub auxiliary: Vec<Value>,
    /// Filters whose root mean square may not exceed a limit after a step.
    pub limited: Vec<(Value, f32)>,
}

/// The most classes of a network: far more than any data set has, and far below the number at which sizes overflow.
pub const MAX_CLASSES: usize = 1 << 20;

impl Arch {
    /// Finds a variant by its name.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the nearest variants.
    pub fn find(name: &str) -> Result<&'static Self> {
        ARCHS.iter().find(|a| a.name == name).ok_or_else(|| {
            let mut near: Vec<_> = ARCHS.iter().map(|a| (distance(name, a.name), a.name)).collect();
            near.sort_unstable();
            let near: Vec<_> = near.iter().take(3).map(|(_, name)| *name).collect();
            Error::usage(format!("there is no network \"{name}\""))
                .hint(format!("did you mean {}? `ocelli show` lists all", near.join(" or ")))
        })
    }

    /// The settings of the paper at a batch size, with ImageNet's normalisation, in f32.
    pub fn settings(&self, batch_size: usize) -> Settings {
        Settings {
            batch_size,
            size: [self.size; 2],
            classes: self.classes,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            precision: Precision::F32,
        }
    }

    /// Builds the network.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the input is too small for it, or if a size is 0 or too large.
    pub fn network(&self, settings: &Settings, mode: Mode) -> Result<Network> {
        self.network_with_frozen(settings, mode, &Frozen::default())
    }

    /// Like [`Arch::network`], with a part that training leaves as it is.
    ///
    /// # Errors
    /// Those of [`Arch::network`].
    pub fn network_with_frozen(&self, settings: &Settings, mode: Mode, frozen: &Frozen) -> Result<Network> {
        self.in_pieces_of(MAX_PIECE_BYTES, settings, mode, frozen)
    }

    /// Like [`Arch::network`], but every parameter is one shard, however large. It is for writing a network to a file
    /// or comparing it with another one, not for running it.
    ///
    /// # Errors
    /// Those of [`Arch::network`].
    pub fn whole_network(&self, settings: &Settings, mode: Mode) -> Result<Network> {
        self.in_pieces_of(u64::MAX, settings, mode, &Frozen::default())
    }

    fn in_pieces_of(&self, bytes: u64, settings: &Settings, mode: Mode, frozen: &Frozen) -> Result<Network> {
        let [h, w] = settings.size;
        build(bytes, settings, mode, frozen, |builder, x| {
            (self.build)(builder, x).map_err(|e| e.at(format!("{} at {h}x{w}", self.name)))
        })
    }
}

impl Network {
    /// Builds a custom network: `layers` adds its layers after the normalised images `(N, H, W, 3)` and returns the
    /// logits.
    ///
    /// ```
    /// use ocelli::models::{Arch, Conv, Init, Mode, Network};
    ///
    /// # fn main() -> ocelli::Result<()> {
    /// let settings = ocelli::models::Settings { size: [16, 16], classes: 4, ..Arch::find("resnet20")?.settings(8) };
    /// let network = Network::build(&settings, Mode::Training, |b, x| {
    ///     let conv = Conv { filters: 16, kernel: 3, pad: 1, ..Conv::default() };
    ///     let x = b.conv("stem", x, conv)?;
    ///     let x = b.batch_norm("norm", x, 1e-5)?;
    ///     let x = b.relu("relu", x)?;
    ///     let x = b.graph.layer("pool").global_average_pool(x)?;
    ///     b.logits("fc", x, Init::He, 0.0)
    /// })?;
    /// assert_eq!(network.parameters.len(), 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Usage`] naming the layer if the input is too small for it, or if a size is 0 or too large; those of
    /// `layers`.
    pub fn build(
        settings: &Settings,
        mode: Mode,
        layers: impl FnOnce(&mut Builder, Value) -> Result<Value>,
    ) -> Result<Self> {
        Self::build_with_frozen(settings, mode, &Frozen::default(), layers)
    }

    /// As [`Network::build`], with a part that training leaves as it is.
    ///
    /// # Errors
    /// Those of [`Network::build`].
    pub fn build_with_frozen(
        settings: &Settings,
        mode: Mode,
        frozen: &Frozen,
        layers: impl FnOnce(&mut Builder, Value) -> Result<Value>,
    ) -> Result<Self> {
        build(MAX_PIECE_BYTES, settings, mode, frozen, layers)
    }
}

fn build(
    largest_piece: u64,
    settings: &Settings,
    mode: Mode,
    frozen: &Frozen,
    layers: impl FnOnce(&mut Builder, Value) -> Result<Value>,
) -> Result<Network> {
    let builder = Builder::new(mode, settings.classes, largest_piece, frozen.clone());
    Ok(build_with(builder, settings, layers)?.0)
}

/// The network, and the builder's maps.
fn build_with(
    mut builder: Builder,
    settings: &Settings,
    layers: impl FnOnce(&mut Builder, Value) -> Result<Value>,
) -> Result<(Network, Vec<[usize; 2]>)> {
    let Settings { batch_size, size: [h, w], classes, mean, std, precision } = *settings;
    for (what, n) in [("classes", classes), ("pictures in a batch", batch_size), ("pixels", h.min(w))] {
        if n == 0 {
            return Err(Error::usage(format!("a network for 0 {what}")).hint("give a number of at least 1"));
        }
    }
    if classes > MAX_CLASSES {
        return Err(Error::usage(format!("a network for {classes} classes"))
            .hint(format!("the most is {MAX_CLASSES}")));
    }
    let pixels = builder.graph.input("pixels", Shape::pixels(batch_size, h, w));
    let x = builder.graph.layer("input").preprocess(pixels, mean, std, precision)?;
    let logits = layers(&mut builder, x)?;
    builder.graph.node(logits)?;
    let maps = builder.maps().to_vec();
    let Builder { graph, parameters, noise, auxiliary, limited, .. } = builder;
    Ok((Network { graph, pixels, logits, parameters, noise, auxiliary, limited }, maps))
}

/// The name that is nearest to a mistyped one, if one is near.
pub fn nearest_name<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Long text is no mistyped name, and would take long.
    let typed: String = typed.chars().take(64).collect();
    let near = names.map(|name| (distance(&typed, name), name)).min()?;
    (near.0 <= (typed.chars().count() / 2).max(1)).then_some(near.1)
}

/// Edit distance (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
