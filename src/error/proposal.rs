//! What messages say that somebody may choose, in words that are the same everywhere. How it is chosen is nothing that the library
//! knows: the program adds its flags behind these words, a page what it has instead.

/// The network of a file, by its name.
pub const NAME_NETWORK: &str = "say which network it is";

/// Averaged weights were taken of a file that has plain ones, too.
pub const AVERAGED_TAKEN: &str = "the averaged ones are taken, as timm and torchvision do to evaluate";

/// Averaged weights were asked for in vain.
pub const NO_AVERAGED: &str = "do not ask for averaged ones";

/// Plain weights were asked for in vain.
pub const NO_PLAIN: &str = "do not ask for plain ones";

/// One of several outputs of a graph was taken.
pub const OUTPUT_TAKEN: &str = "is taken for the classes";

/// The output that was taken is of no use.
pub const OTHER_OUTPUT: &str = "take another of its outputs";

/// Some pictures cannot be read.
pub const WITHOUT_PICTURES: &str = "go on without them";

/// Numbers lie in files beside the one that is read.
pub const READ_BESIDE: &str = "ask for what lies in other files of its folder";

/// The adapter is of no use.
pub const OTHER_ADAPTER: &str = "choose another adapter";

/// The numbers of a file of weights are wrong.
pub const LOOK_AT_WEIGHTS: &str = "look at them";
