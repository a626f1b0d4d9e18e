//! `ocelli convert`

use super::file_args::FileArgs;
use super::{Global, advice, labels, usual};
use crate::error::{Error, Result, Untrusted};
use crate::exchange::{Conversion, ConvertOptions, convert};
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
    /// Names of the classes to go into the new file: one a line, or a list or dictionary of Python or JSON
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    file: FileArgs,
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
    let open = args.file.options();
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
