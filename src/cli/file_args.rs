//! Flags that say what is taken from a file of weights, and what it leaves open.

use super::averages::{AveragesArgs, OutputArgs};
use super::preprocess::PreprocessArgs;
use crate::exchange::OpenOptions;
use clap::Args;

#[derive(Args)]
pub(super) struct FileArgs {
    /// The network, if the weights do not say it and several fit them (see `ocelli show`)
    #[arg(long, value_name = "A")]
    arch: Option<String>,
    #[command(flatten)]
    preprocess: PreprocessArgs,
    /// Let an ONNX file have its numbers in other files of its folder
    #[arg(long)]
    external_data: bool,
    #[command(flatten)]
    averages: AveragesArgs,
    #[command(flatten)]
    output_of_graph: OutputArgs,
}

impl FileArgs {
    pub(super) fn options(&self) -> OpenOptions<'_> {
        OpenOptions {
            arch: self.arch.as_deref(),
            preprocessing: self.preprocess.change(),
            external_data: self.external_data,
            averaged: self.averages.wanted(),
            output: self.output_of_graph.name(),
        }
    }
}
