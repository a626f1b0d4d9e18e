//! `ocelli inspect`

use super::advice;
use super::averages::{AveragesArgs, OutputArgs};
use super::{grouped, print, print_json};
use crate::error::{Result, Untrusted};
use crate::exchange::{Inspection, OpenOptions, TensorReport, inspect};
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct InspectArgs {
    /// Weights (safetensors, PyTorch or ONNX)
    file: PathBuf,
    /// The network that they are meant to be of (see `ocelli show`)
    #[arg(long, value_name = "A")]
    arch: Option<String>,
    /// Let an ONNX file have its numbers in other files of its folder
    #[arg(long)]
    external_data: bool,
    #[command(flatten)]
    averages: AveragesArgs,
    #[command(flatten)]
    output_of_graph: OutputArgs,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let options = OpenOptions {
        arch: args.arch.as_deref(),
        external_data: args.external_data,
        averaged: args.averages.wanted(),
        output: args.output_of_graph.name(),
        ..OpenOptions::default()
    };
    let inspection = inspect(&args.file, options)?;
    if args.json {
        return print_json(&inspection);
    }
    let Inspection { format, bytes, tensors, notes, numbers, network, outputs, output, strings, operators } =
        &inspection;
    print(&format!("{}: {format}, {} bytes", Untrusted::new(&args.file), grouped(*bytes)))?;
    print(&format!("{:<44} {:>6} {:>20} {:>12} {:>12}", "tensor", "type", "shape", "least", "greatest"))?;
    for TensorReport { name, dtype, shape, least, greatest, not_finite, left_out } in tensors {
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        let shape = if shape.is_empty() { "-".to_owned() } else { shape.join("x") };
        let number = |x: &Option<f32>| x.map_or("-".to_owned(), |x| format!("{x:.5}"));
        let (least, greatest) = (number(least), number(greatest));
        let bad = match not_finite {
            0 => String::new(),
            n => format!("  {n} of its numbers are NaN or infinite"),
        };
        let left_out = if *left_out { "  left out" } else { "" };
        let name = Untrusted::short(name);
        print(&format!("{name:<44} {dtype:>6} {shape:>20} {least:>12} {greatest:>12}{bad}{left_out}"))?;
    }
    print(&format!("total: {} tensors, {} numbers", tensors.len(), grouped(*numbers)))?;
    for (operator, count) in operators {
        print(&format!("operator {}: {count}", Untrusted::short(operator)))?;
    }
    for (key, value) in strings {
        print(&format!("metadata {}: {}", Untrusted::short(key), Untrusted::short(value)))?;
    }
    for name in outputs {
        let taken = if output.as_ref() == Some(name) { ", taken for the classes" } else { "" };
        print(&format!("output {}{taken}", Untrusted::short(name)))?;
    }
    for note in notes {
        print(&format!("note: {}", advice::named(note)))?;
    }
    match network {
        Ok(found) => {
            let [h, w, _] = found.input;
            print(&format!("network: {}, input {h}x{w}, {} classes", found.name, found.classes))?;
            let whose = if found.assumed { " (usual for this network; the file does not say)" } else { "" };
            print(&format!("preprocessing: {}{whose}", found.preprocessing))
        }
        Err(why) => print(&format!("network: {}", advice::message(why))),
    }
}
