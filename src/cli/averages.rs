//! Flags that choose what is taken from a file: averaged or plain weights, one of several outputs.

use clap::{Args, ValueEnum};

#[derive(Args)]
pub(super) struct AveragesArgs {
    /// Take averaged weights (EMA, SWA), or with --ema=no the plain ones beside them [default: averaged ones where a file has
    /// both, as timm and torchvision do to evaluate]
    #[arg(long, value_enum, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    ema: Option<Choice>,
}

#[derive(Args)]
pub(super) struct OutputArgs {
    /// The output of an ONNX graph that has the classes, if it has several (`inspect` lists them) [default: the likely one]
    #[arg(long = "output", id = "graph_output", value_name = "NAME")]
    name: Option<String>,
}

impl OutputArgs {
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    Yes,
    No,
}

impl AveragesArgs {
    pub(super) fn wanted(&self) -> Option<bool> {
        self.ema.map(|choice| matches!(choice, Choice::Yes))
    }
}
