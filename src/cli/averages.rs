//! Flags that choose between averaged weights and plain ones.

use clap::{Args, ValueEnum};

#[derive(Args)]
pub(super) struct AveragesArgs {
    /// Take averaged weights (EMA, SWA), or with --ema=no the plain ones beside them [default: averaged ones where a file has
    /// both, as timm and torchvision do to evaluate]
    #[arg(long, value_enum, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    ema: Option<Choice>,
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
