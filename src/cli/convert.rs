//! `ocelli convert`

use super::averages::{AveragesArgs, OutputArgs};
use super::preprocess::PreprocessArgs;
use super::{Global, advice, labels, usual};
use crate::error::{Error, Result, Untrusted};
use crate::exchange::{Conversion, ConvertOptions, OpenOptions, convert};
use crate::weights::Dtype;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct ConvertArgs {
    /// Weights (safetensors, PyTorch or ONNX)
    input: PathBuf,
    /// The file to write; the end of its name says the format: .safetensors, .pth or .onnx
    output: PathBuf,
    /// How numbers are written
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f32")]
    dtype: DtypeArg,
    /// The network, if the weights do not say it and several fit them (see `ocelli show`)
    #[arg(long, value_name = "A")]
    arch: Option<String>,
    /// Names of the classes to go into the new file: one a line, or a list or dictionary of Python or JSON
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    preprocess: PreprocessArgs,
    /// Let an ONNX file have its numbers in other files of its folder
    #[arg(long)]
    external_data: bool,
    #[command(flatten)]
    averages: AveragesArgs,
    #[command(flatten)]
    output_of_graph: OutputArgs,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum DtypeArg {
    F32,
    F16,
    Bf16,
}

pub(super) fn run(args: &ConvertArgs, global: &Global) -> Result<()> {
    if args.output.exists() && !args.force {
        return Err(Error::usage("this file is there already")
            .at(Untrusted::new(&args.output))
            .hint("choose another name, or add --force to replace it"));
    }
    let dtype = match args.dtype {
        DtypeArg::F32 => Dtype::F32,
        DtypeArg::F16 => Dtype::F16,
        DtypeArg::Bf16 => Dtype::Bf16,
    };
    let open = OpenOptions {
        arch: args.arch.as_deref(),
        preprocessing: args.preprocess.change(),
        external_data: args.external_data,
        averaged: args.averages.wanted(),
        output: args.output_of_graph.name(),
    };
    let labels = args.labels.as_deref().map(labels::read).transpose()?;
    let Conversion { metadata, notes, tensors, format, assumed } =
        convert(&args.input, &args.output, ConvertOptions { open, labels, dtype })?;
    notes.iter().for_each(|note| global.say(advice::named(note)));
    match metadata {
        Some(metadata) => {
            if assumed {
                global.say(usual(&metadata));
            }
            let [h, w, _] = metadata.input;
            let (arch, classes) = (&metadata.arch, metadata.classes.len());
            global.say(format!(
                "{}: {format} with {tensors} tensors of {arch}, input {h}x{w}, {classes} classes",
                Untrusted::new(&args.output)
            ));
        }
        None => global.say(format!(
            "{}: {format} with {tensors} tensors of no network here",
            Untrusted::new(&args.output)
        )),
    }
    Ok(())
}
