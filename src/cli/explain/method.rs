//! The methods, and the flags that each takes.

use super::ExplainArgs;
use crate::error::{Error, Result};
use clap::ValueEnum;

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Method {
    /// The filters of a convolution; takes no picture
    Filters,
    /// What the channels of a layer compute for the picture
    Activations,
    /// What made units fire, projected back to pixels by a DeconvNet (Zeiler and Fergus, 2014)
    Deconvnet,
    /// Where a layer speaks for a class: Grad-CAM and guided Grad-CAM (Selvaraju et al., 2017)
    Gradcam,
    /// Guided backpropagation of a class (Springenberg et al., 2014)
    Guided,
    /// The gradient of a class (Simonyan et al., 2013), and its mean over noisy pictures: SmoothGrad (Smilkov et al., 2017)
    Saliency,
    /// The probability of a class while a grey square hides a part of the picture (Zeiler and Fergus, 2014)
    Occlusion,
    /// The picture that excites a class or a unit most; begins with the given picture, or with noise
    Maximize,
    /// The nine pictures of a data set that excite each unit most, with their DeconvNet projections
    Units,
}

/// The flags that only some methods take, by their names in the program.
const FLAGS: [(&str, &[Method]); 18] = {
    use Method::{Activations, Deconvnet, Filters, Gradcam, Guided, Maximize, Occlusion, Saliency, Units};
    [
        ("layer", &[Filters, Activations, Deconvnet, Gradcam, Maximize, Units]),
        ("class", &[Gradcam, Guided, Saliency, Occlusion, Maximize]),
        ("unit", &[Activations, Deconvnet, Maximize, Units]),
        ("top_units", &[Activations, Deconvnet, Maximize, Units]),
        ("data", &[Units]),
        ("split", &[Units]),
        ("limit", &[Units]),
        ("square", &[Occlusion]),
        ("stride", &[Occlusion]),
        ("samples", &[Saliency]),
        ("noise", &[Saliency]),
        ("steps", &[Maximize]),
        ("rate", &[Maximize]),
        ("jitter", &[Maximize]),
        ("blur", &[Maximize]),
        ("total_variation", &[Maximize]),
        ("decay", &[Maximize]),
        ("seed", &[Saliency, Maximize]),
    ]
};

impl Method {
    /// The value of the argument.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The method in words.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Filters => "filters",
            Self::Activations => "activations",
            Self::Deconvnet => "DeconvNet",
            Self::Gradcam => "Grad-CAM",
            Self::Guided => "guided backpropagation",
            Self::Saliency => "saliency",
            Self::Occlusion => "occlusion",
            Self::Maximize => "activation maximization",
            Self::Units => "what excites the units",
        }
    }

    /// Whether the method takes a layer.
    pub(super) fn reads_layer(self) -> bool {
        FLAGS.iter().any(|(flag, methods)| *flag == "layer" && methods.contains(&self))
    }

    /// Refuses flags that the method does not take, and a picture or data set that is missing.
    pub(super) fn check(self, args: &ExplainArgs, given: &[String]) -> Result<()> {
        let name = self.name();
        for (flag, methods) in FLAGS {
            if given.iter().any(|given| given == flag) && !methods.contains(&self) {
                let flag = flag.replace('_', "-");
                let takers: Vec<String> = methods.iter().map(|method| method.name()).collect();
                return Err(Error::usage(format!("`ocelli explain {name}` takes no --{flag}"))
                    .hint(format!("leave it out; it belongs to {}", takers.join(", "))));
            }
        }
        match self {
            Self::Units if args.data.is_none() => {
                Err(Error::usage("`ocelli explain units` needs pictures").hint("give a data set with --data"))
            }
            Self::Units if !args.images.is_empty() => {
                Err(Error::usage("`ocelli explain units` takes its pictures from --data")
                    .hint("leave the other pictures out"))
            }
            Self::Units | Self::Filters | Self::Maximize => Ok(()),
            _ if args.images.is_empty() => {
                Err(Error::usage(format!("`ocelli explain {name}` needs a picture"))
                    .hint(format!("name one, as in `ocelli explain {name} cat.jpg --weights F --out DIR`")))
            }
            _ => Ok(()),
        }?;
        if self == Self::Maximize && args.layer.is_some() && args.class.is_some() {
            return Err(Error::usage("a class and a layer at once")
                .hint("maximize a class with --class, or units of a layer with --layer"));
        }
        let units = !args.unit.is_empty() || args.top_units.is_some();
        if self == Self::Maximize && args.layer.is_none() && units {
            return Err(Error::usage("units without a layer").hint("name their layer with --layer"));
        }
        Ok(())
    }
}
