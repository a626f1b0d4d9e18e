//! Augmentation as text: the names of presets and the list of items.

use super::{Augment, Crop};
use crate::error::{Error, Result, Untrusted};
use std::fmt;
use std::str::FromStr;

const PRESETS: [(&str, Augment); 8] = [
    ("none", Augment::NONE),
    ("cifar", Augment::CIFAR),
    ("alexnet", Augment::ALEXNET),
    ("vgg", Augment::VGG),
    ("resnet", Augment::RESNET),
    ("inception", Augment::INCEPTION),
    ("modern", Augment::MODERN),
    // The name of `cifar` in older runs.
    ("standard", Augment::CIFAR),
];

/// The largest padding, in pixels, and the largest multiple of the input's side.
const MAX_PAD: u32 = 64;
const MAX_TIMES: f32 = 16.0;
/// The largest parameter of the distribution of mixing. Above it all shares are close to a half.
const MAX_ALPHA: f32 = 100.0;

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = PRESETS.iter().find(|(_, preset)| preset == self) {
            return f.write_str(name);
        }
        let mut items = Vec::new();
        match self.crop {
            Crop::Centre => {}
            Crop::Padded(pad) => items.push(format!("pad={pad}")),
            Crop::Shorter(from, to) => items.push(format!("shorter={from}-{to}")),
            Crop::Resized(from, to) => items.push(format!("resized={from}-{to}")),
        }
        if self.mirror {
            items.push("mirror".to_owned());
        }
        if self.trivial {
            items.push("trivial".to_owned());
        }
        match self.jitter {
            [0.0, 0.0, 0.0] => {}
            [b, c, s] if b == c && c == s => items.push(format!("jitter={b}")),
            [b, c, s] => items.push(format!("jitter={b}:{c}:{s}")),
        }
        let numbers = [
            ("hue", self.hue),
            ("lighting", self.lighting),
            ("erase", self.erase),
            ("mixup", self.mixup),
            ("cutmix", self.cutmix),
        ];
        for (name, value) in numbers {
            if value > 0.0 {
                items.push(format!("{name}={value}"));
            }
        }
        f.write_str(&items.join(","))
    }
}

impl From<Augment> for String {
    fn from(augment: Augment) -> Self {
        augment.to_string()
    }
}

impl TryFrom<String> for Augment {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Augment {
    type Err = Error;

    /// Reads a preset, a list, or a preset followed by a list.
    fn from_str(text: &str) -> Result<Self> {
        let mut augment = Self::NONE;
        for (i, item) in text.split(',').map(str::trim).enumerate() {
            let preset = PRESETS.iter().find(|(name, _)| *name == item);
            match (preset, item.split_once('=')) {
                (Some((_, preset)), _) if i == 0 => augment = *preset,
                (_, None) if item == "mirror" => augment.mirror = true,
                (_, None) if item == "trivial" => augment.trivial = true,
                (_, Some((name, value))) => augment.set(name.trim(), value.trim())?,
                _ => return Err(unknown(item)),
            }
        }
        Ok(augment)
    }
}

impl Augment {
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "pad" => {
                let pad = value.parse().ok().filter(|pad| *pad <= MAX_PAD);
                self.crop = Crop::Padded(pad.ok_or_else(|| wrong(name, value, "pixels from 0 to 64"))?);
            }
            "shorter" => {
                let [from, to] = range(name, value, 1.0, MAX_TIMES)?;
                self.crop = Crop::Shorter(from, to);
            }
            "resized" => {
                let [from, to] = range(name, value, 1e-3, 1.0)?;
                self.crop = Crop::Resized(from, to);
            }
            "mirror" => self.mirror = on_or_off(name, value)?,
            "trivial" => self.trivial = on_or_off(name, value)?,
            "jitter" => {
                let parts: Vec<&str> = value.split(':').collect();
                let each = |i: usize| number(name, parts.get(i).copied().unwrap_or(value), 0.0, 1.0);
                self.jitter = match parts.len() {
                    1 => [each(0)?; 3],
                    3 => [each(0)?, each(1)?, each(2)?],
                    _ => return Err(wrong(name, value, "one number, or three as in 0.4:0.4:0.2")),
                };
            }
            "hue" => self.hue = number(name, value, 0.0, 0.5)?,
            "lighting" => self.lighting = number(name, value, 0.0, 1.0)?,
            "erase" => self.erase = number(name, value, 0.0, 1.0)?,
            "mixup" => self.mixup = number(name, value, 0.0, MAX_ALPHA)?,
            "cutmix" => self.cutmix = number(name, value, 0.0, MAX_ALPHA)?,
            _ => return Err(unknown(name)),
        }
        Ok(())
    }
}

fn on_or_off(name: &str, value: &str) -> Result<bool> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(wrong(name, value, "on or off")),
    }
}

fn unknown(item: &str) -> Error {
    let presets: Vec<_> = PRESETS.iter().map(|(name, _)| *name).filter(|name| *name != "standard").collect();
    Error::usage(format!("there is no augmentation \"{}\"", Untrusted::short(item))).hint(format!(
        "give one of {}, or a list of pad=4, shorter=256/224-480/224, resized=0.08-1, mirror, trivial, jitter=0.4, hue=0.05, lighting=0.1, erase=0.25, mixup=0.2, cutmix=1; or both, as in resnet,erase=0.25",
        presets.join(", ")
    ))
}

fn wrong(name: &str, value: &str, wanted: &str) -> Error {
    Error::usage(format!("the augmentation {name} cannot be \"{}\"", Untrusted::short(value)))
        .hint(format!("give {wanted}"))
}

/// A number or a quotient, as in 256/224.
fn number(name: &str, value: &str, least: f32, most: f32) -> Result<f32> {
    let parse = |text: &str| text.trim().parse::<f32>().ok();
    let number = match value.split_once('/') {
        None => parse(value),
        Some((a, b)) => parse(a).zip(parse(b)).map(|(a, b)| a / b),
    };
    let number = number.filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| wrong(name, value, &format!("a number from {least} to {most}")))
}

/// Two numbers, as in 0.08-1, or one.
fn range(name: &str, value: &str, least: f32, most: f32) -> Result<[f32; 2]> {
    let (from, to) = value.split_once('-').unwrap_or((value, value));
    let (from, to) = (number(name, from, least, most)?, number(name, to, least, most)?);
    if from > to {
        return Err(wrong(name, value, "the smaller number first"));
    }
    Ok([from, to])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (name, preset) in PRESETS {
            assert_eq!(name.parse::<Augment>().unwrap(), preset);
            assert_eq!(preset.to_string().parse::<Augment>().unwrap(), preset);
        }
        assert_eq!("standard".parse::<Augment>().unwrap().to_string(), "cifar");
        let list = "resized=0.25-1,mirror,trivial,jitter=0.4:0.4:0.2,hue=0.05,lighting=0.1,erase=0.25,mixup=0.2,cutmix=1";
        let augment: Augment = list.parse().unwrap();
        assert_eq!(augment.to_string(), list);
        assert_eq!(augment.crop, Crop::Resized(0.25, 1.0));
        let vgg: Augment = "shorter=256/224-512/224,mirror,lighting=0.1".parse().unwrap();
        assert_eq!((vgg, vgg.to_string()), (Augment::VGG, "vgg".to_owned()));
        let added: Augment = "resnet, erase=0.5, mirror=off".parse().unwrap();
        assert_eq!(added, Augment { erase: 0.5, mirror: false, ..Augment::RESNET });
        assert_eq!(added.to_string().parse::<Augment>().unwrap(), added);
    }

    #[test]
    fn wrong_text_is_refused_with_what_to_write() {
        for text in [
            "",
            "nothing",
            "mirror,none",
            "pad=65",
            "pad=-1",
            "shorter=0.5",
            "shorter=2-1",
            "resized=0-1",
            "resized=0.5-2",
            "jitter=NaN",
            "jitter=0.1:0.2",
            "jitter=2",
            "hue=0.6",
            "erase=",
            "erase=1/0",
            "mixup=-1",
            "cutmix=inf",
            "mirror=1",
            "trivial=1",
            "resnet,vgg",
        ] {
            let error = text.parse::<Augment>().unwrap_err();
            assert!(
                matches!(error, Error::Usage(_)) && error.to_string().contains("give "),
                "{text}: {error}"
            );
        }
    }
}
