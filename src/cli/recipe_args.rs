//! Flags of `ocelli train` for optimiser, loss and fine-tuning.

use crate::models::Arch;
use crate::train::{Balance, Config, Freeze, Recipe, RecipeName};
use clap::{Args, ValueEnum};

#[derive(Args)]
pub(super) struct RecipeArgs {
    /// What the other flags default to (`ocelli show A` prints it)
    #[arg(long, value_enum, value_name = "NAME", default_value = "paper")]
    recipe: RecipeArg,
    /// Nesterov's momentum, or with =no the classical one [default: the recipe's]
    #[arg(long, value_enum, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    nesterov: Option<YesNo>,
    /// With =no weight decay spares biases and batch norm [default: the recipe's]
    #[arg(long, value_enum, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    bias_decay: Option<YesNo>,
    /// Spread this part of the target over all classes, e.g. 0.1 [default: the recipe's]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    label_smoothing: Option<f32>,
    /// Limit the norm of all gradients together
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    clip_norm: Option<f32>,
    /// Average the weights over about 1/(1-F) steps, e.g. 0.999; it is then the averages that are validated and written. 0: none
    /// [default: the recipe's]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    ema_decay: Option<f64>,
    /// Even out classes of different size: weights of the loss, or how often their pictures are drawn
    #[arg(long, value_enum, value_name = "HOW", default_value = "none")]
    balance: BalanceArg,
    /// Keep the weights of the first layers: stem, all layers up to one (e.g. layer2, features.10), or all-but-head
    #[arg(long, value_name = "LAYERS")]
    freeze: Option<Freeze>,
    /// Keep the running statistics of batch norm in all layers; frozen layers keep theirs in any case
    #[arg(long)]
    freeze_norm: bool,
    /// Multiply the learning rate of all layers but the classifier, e.g. by 0.1
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    lr_body: Option<f32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum RecipeArg {
    /// That of the network's paper
    Paper,
    /// That of torchvision's references
    Torchvision,
    /// Cosine, label smoothing, averaged weights
    Modern,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum YesNo {
    Yes,
    No,
}

#[derive(Clone, Copy, ValueEnum)]
enum BalanceArg {
    /// Each picture counts the same
    None,
    /// The loss of pictures of small classes counts more
    Weights,
    /// Each class is drawn equally often
    Sampling,
}

impl RecipeArgs {
    /// The settings of the recipe for this network and data, with the flags of this group.
    pub(super) fn config(&self, arch: &Arch, data: &str) -> Config {
        let name = match self.recipe {
            RecipeArg::Paper => RecipeName::Paper,
            RecipeArg::Torchvision => RecipeName::Torchvision,
            RecipeArg::Modern => RecipeName::Modern,
        };
        let recipe = Config::with_recipe(arch, data, Recipe::named(name, arch));
        let is_yes = |choice: YesNo| choice == YesNo::Yes;
        Config {
            nesterov: self.nesterov.map_or(recipe.nesterov, is_yes),
            bias_decay: self.bias_decay.map_or(recipe.bias_decay, is_yes),
            label_smoothing: self.label_smoothing.unwrap_or(recipe.label_smoothing),
            clip_norm: self.clip_norm,
            ema_decay: match self.ema_decay {
                Some(0.0) => None,
                given => given.or(recipe.ema_decay),
            },
            balance: match self.balance {
                BalanceArg::None => Balance::None,
                BalanceArg::Weights => Balance::Weights,
                BalanceArg::Sampling => Balance::Sampling,
            },
            freeze: self.freeze.clone(),
            freeze_norm: self.freeze_norm,
            lr_body: self.lr_body,
            ..recipe
        }
    }
}
