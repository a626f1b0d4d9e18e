//! `ocelli show`

use super::{grouped, positive, print, print_json};
use crate::error::{Error, Result};
use crate::models::{ARCHS, Arch, Summary};
use crate::train::{Recipe, RecipeName};
use clap::Args;
use serde::Serialize;

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The network; all of them if left out
    arch: Option<String>,
    /// Number of classes
    #[arg(long, value_name = "N", value_parser = positive)]
    classes: Option<usize>,
    /// Height and width of the input
    #[arg(long, value_name = "S", value_parser = positive)]
    size: Option<usize>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Entry {
    arch: &'static str,
    family: &'static str,
    input: [usize; 3],
    classes: usize,
    parameters: u64,
    macs: u64,
    about: &'static str,
}

pub(super) fn run(args: &ShowArgs) -> Result<()> {
    match &args.arch {
        Some(name) => one(Arch::find(name)?, args),
        None if args.size.is_some() => {
            Err(Error::usage("--size without a network: each has its own smallest input")
                .hint("name the network, as in `ocelli show resnet20 --size 64`"))
        }
        None => list(args),
    }
}

fn summary(arch: &Arch, args: &ShowArgs) -> Result<Summary> {
    let mut settings = arch.settings(1);
    settings.classes = args.classes.unwrap_or(settings.classes);
    settings.size = args.size.map_or(settings.size, |s| [s; 2]);
    arch.summary(&settings)
}

fn list(args: &ShowArgs) -> Result<()> {
    if !args.json {
        print(&format!("{:<14} {:>9} {:>13} {:>10}  about", "arch", "input", "parameters", "MMACs"))?;
    }
    for arch in ARCHS {
        let Summary { input, classes, parameters, macs, .. } = summary(arch, args)?;
        if args.json {
            let Arch { name, family, about, .. } = *arch;
            print_json(&Entry { arch: name, family, input, classes, parameters, macs, about })?;
        } else {
            let size = format!("{}x{}", input[0], input[1]);
            let (parameters, macs) = (grouped(parameters), macs as f64 / 1e6);
            print(&format!("{:<14} {size:>9} {parameters:>13} {macs:>10.1}  {}", arch.name, arch.about))?;
        }
    }
    Ok(())
}

fn one(arch: &Arch, args: &ShowArgs) -> Result<()> {
    let summary = summary(arch, args)?;
    if args.json {
        return print_json(&summary);
    }
    let [h, w, c] = summary.input;
    print(&format!("{}: {}, input {h}x{w}x{c}, {} classes", summary.arch, arch.about, summary.classes))?;
    print(&format!(
        "{:<26} {:<22} {:>12} {:>12} {:>15} {:>10}",
        "layer", "op", "output", "parameters", "MACs", "KiB"
    ))?;
    for layer in &summary.layers {
        let [h, w, c] = layer.output;
        let blank = |n: u64| if n == 0 { "-".to_owned() } else { grouped(n) };
        let output = format!("{h}x{w}x{c}");
        let (parameters, macs) = (blank(layer.parameters), blank(layer.macs));
        let kib = grouped(layer.bytes.div_ceil(1024));
        let (name, op) = (&layer.name, layer.op);
        print(&format!("{name:<26} {op:<22} {output:>12} {parameters:>12} {macs:>15} {kib:>10}"))?;
    }
    print(&format!(
        "total: {} parameters, {} multiply-adds",
        grouped(summary.parameters),
        grouped(summary.macs)
    ))?;
    let names = [
        ("paper", RecipeName::Paper),
        ("torchvision", RecipeName::Torchvision),
        ("modern", RecipeName::Modern),
    ];
    for (name, recipe) in names {
        let recipe = Recipe::named(recipe, arch);
        if name == "paper" || recipe != Recipe::of(arch) {
            print(&format!("recipe {name}: {}", described(&recipe)))?;
        }
    }
    Ok(())
}

/// A recipe in a line.
fn described(recipe: &Recipe) -> String {
    let Recipe { batch_size, epochs, lr, momentum, weight_decay, schedule, warmup, augment, .. } = recipe;
    let warmup = if warmup.epochs > 0.0 { format!(", after a warm-up {warmup}") } else { String::new() };
    let nesterov = if recipe.nesterov { "Nesterov's momentum" } else { "momentum" };
    let decays = if recipe.bias_decay { "" } else { " (of filters only)" };
    let mut text = format!(
        "batches of {batch_size}, {epochs} epochs, learning rate {lr} ({schedule}{warmup}), {nesterov} {momentum}, weight decay \
         {weight_decay}{decays}, augmentation {augment}"
    );
    if recipe.label_smoothing > 0.0 {
        text += &format!(", label smoothing {}", recipe.label_smoothing);
    }
    if let Some(decay) = recipe.ema_decay {
        text += &format!(", averaged weights {decay}");
    }
    text
}
