//! Several views of a picture, whose probabilities are averaged in evaluation.

use super::augment::mirrored as mirror_image;
use super::resize::{crop_at, fit_rgb, offset, reorder, resample};
use super::{Dataset, LeftOut, Normalization, Picture, Preprocessing, Resize};
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The views that are taken of a picture at each scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Crops {
    /// The centre.
    #[default]
    Centre,
    /// The four corners and the centre, and the same of the mirrored picture: Krizhevsky et al. 2012, section 4.1; torchvision's
    /// `TenCrop`.
    Ten,
    /// Of each of four scales (256, 288, 320 and 352 for an input of 224) the squares at both ends and in the middle, and of each square
    /// the four corners, the centre and the whole, all of them mirrored as well: Szegedy et al. 2014, section 7.
    Many,
}

impl fmt::Display for Crops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Centre => "centre",
            Self::Ten => "10",
            Self::Many => "144",
        })
    }
}

impl FromStr for Crops {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "centre" | "center" | "1" => Ok(Self::Centre),
            "10" => Ok(Self::Ten),
            "144" => Ok(Self::Many),
            _ => Err(Error::usage(format!("there are no crops \"{text}\"")).hint("give centre, 10 or 144")),
        }
    }
}

/// The length of the shorter side of a picture before it is cropped.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Scale {
    /// In pixels.
    Pixels(usize),
    /// As a multiple of the input's shorter side.
    Times(f64),
}

impl FromStr for Scale {
    type Err = Error;

    /// A whole number is pixels, a number with a decimal point a multiple.
    fn from_str(text: &str) -> Result<Self> {
        let pixels = || text.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side)).map(Self::Pixels);
        let times = || {
            let times = text.contains('.').then(|| text.parse().ok()).flatten();
            times.filter(|times| (1.0..=16.0).contains(times)).map(Self::Times)
        };
        pixels().or_else(times).ok_or_else(|| {
            Error::usage(format!("there is no scale \"{text}\"")).hint(
                "give pixels of the shorter side, as in 256, or a multiple of the input from 1.0 to 16.0",
            )
        })
    }
}

/// The longest side that a picture is scaled to, in pixels.
const MAX_SIDE: usize = 1 << 14;

/// The longer side of a whole picture in multiples of the shorter one, at most.
const LONGEST: usize = 3;

/// The views of a picture: the crops at each of the scales.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Views {
    /// The crops at each scale.
    pub crops: Crops,
    /// The scales. If there are none, that of the preprocessing, or those of the crops.
    pub scales: Vec<Scale>,
}

impl Views {
    /// Whether this is the one view that the preprocessing of a network gives.
    pub fn is_plain(&self) -> bool {
        self.crops == Crops::Centre && self.scales.is_empty()
    }

    /// How many views there are of a picture.
    pub fn count(&self) -> usize {
        let scales = self.scales.len().max(1);
        match self.crops {
            Crops::Centre => scales,
            Crops::Ten => 10 * scales,
            Crops::Many if self.scales.is_empty() => 144,
            Crops::Many => 36 * scales,
        }
    }

    /// Checks that every scale covers an input of this height and width.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the scale.
    pub fn check(&self, size: [usize; 2]) -> Result<()> {
        let [h, w] = size;
        match self.sides(size, Resize::Cover).into_iter().find(|side| *side < h.min(w)) {
            None => Ok(()),
            Some(side) => {
                Err(Error::usage(format!("a scale of {side} pixels, and the network takes {h}x{w}"))
                    .hint("give scales at least as large as the input"))
            }
        }
    }

    /// The shorter sides of the scaled pictures.
    fn sides(&self, [h, w]: [usize; 2], resize: Resize) -> Vec<usize> {
        let input = h.min(w);
        let of_224 = |side: usize| (input * side + 112) / 224;
        if !self.scales.is_empty() {
            let side = |scale: &Scale| match scale {
                Scale::Pixels(side) => *side,
                Scale::Times(times) => ((input as f64 * times).round() as usize).min(MAX_SIDE),
            };
            return self.scales.iter().map(side).collect();
        }
        match (self.crops, resize) {
            (Crops::Many, _) => [256, 288, 320, 352].map(of_224).to_vec(),
            (_, Resize::Shorter(side) | Resize::Squash(side)) if side > input => vec![side],
            _ => vec![of_224(256)],
        }
    }

    /// The views of a picture for an input of this height and width, in a fixed order. Their channels are red, green, blue.
    ///
    /// # Errors
    /// Those of [`super::fit`].
    pub fn of(&self, picture: &Picture, size: [usize; 2], how: &Preprocessing) -> Result<Vec<Picture>> {
        let [h, w] = size;
        if self.is_plain() {
            return Ok(vec![fit_rgb(picture.clone(), how.resize, h, w)?]);
        }
        let mut views = Vec::with_capacity(self.count());
        for side in self.sides(size, how.resize) {
            let scaled = scaled(picture, side, size, how.resize)?;
            let both = |views: &mut Vec<Picture>, places: &dyn Fn(&Picture) -> Result<Vec<Picture>>| {
                views.extend(places(&scaled)?);
                views.extend(places(&mirror_image(scaled.clone()))?);
                Ok::<(), Error>(())
            };
            match self.crops {
                Crops::Centre => views.push(centre(&scaled, whole(&scaled), size)?),
                Crops::Ten => both(&mut views, &|picture| five(picture, whole(picture), size))?,
                Crops::Many => both(&mut views, &|picture| {
                    let mut views = Vec::new();
                    for square in squares(picture) {
                        views.extend(five(picture, square, size)?);
                        let [top, left, side, _] = square.map(|x| x as f64);
                        views.push(resample(picture, [left, top, side, side], h, w)?);
                    }
                    Ok(views)
                })?,
            }
        }
        Ok(views)
    }

    /// The views, with their channels in the order of the network.
    ///
    /// # Errors
    /// Those of [`Views::of`].
    pub fn prepared(&self, picture: &Picture, size: [usize; 2], how: &Preprocessing) -> Result<Vec<Picture>> {
        let mut views = self.of(picture, size, how)?;
        views.iter_mut().for_each(|view| reorder(view, how.order));
        Ok(views)
    }

    /// The whole picture at each of the scales, for a network that takes pictures of any size from `size` on (Simonyan and Zisserman 2014,
    /// section 3.2). Channels are in the order of the network. `covered` says how much of a height and width the network takes: the rest is
    /// cut off, around the centre. So is what is longer than three times the shorter side. With `mirrored`, behind each picture comes its
    /// mirror image.
    ///
    /// # Errors
    /// Those of [`super::fit`].
    pub fn whole(
        &self,
        picture: &Picture,
        size: [usize; 2],
        how: &Preprocessing,
        mirrored: bool,
        covered: impl Fn([usize; 2]) -> [usize; 2],
    ) -> Result<Vec<Picture>> {
        let mut all = Vec::new();
        for side in self.sides(size, how.resize) {
            let scaled = scaled(picture, side, size, how.resize)?;
            let (h, w) = (scaled.height(), scaled.width());
            let longest = h.min(w).saturating_mul(LONGEST);
            let mut part = centre(&scaled, whole(&scaled), covered([h.min(longest), w.min(longest)]))?;
            reorder(&mut part, how.order);
            all.push(part.clone());
            all.extend(mirrored.then(|| mirror_image(part)));
        }
        Ok(all)
    }

    /// The views one below the other: a picture as high as all of them.
    fn stacked(&self, picture: &Picture, size: [usize; 2], how: &Preprocessing) -> Result<Picture> {
        let [h, w] = size;
        let mut rgba = Vec::with_capacity(self.count() * h * w * 4);
        for view in self.of(picture, size, how)? {
            rgba.extend_from_slice(view.rgba());
        }
        Picture::from_rgba(self.count() * h, w, rgba)
    }
}

/// Scales a picture so that it covers the input enlarged to this shorter side. For a square input its shorter side has this many pixels,
/// and the longer one is rounded down as in torchvision. A network whose pictures are squashed gets a square.
fn scaled(picture: &Picture, side: usize, [h, w]: [usize; 2], resize: Resize) -> Result<Picture> {
    let input = h.min(w).max(1);
    let (box_h, box_w) = (side * h / input, side * w / input);
    let (from_h, from_w) = (picture.height(), picture.width());
    let (to_h, to_w) = match resize {
        Resize::Squash(_) => (box_h, box_w),
        _ if box_h * from_w >= box_w * from_h => (box_h, (box_h * from_w / from_h.max(1)).max(box_w)),
        _ => ((box_w * from_h / from_w.max(1)).max(box_h), box_w),
    };
    if [from_h, from_w] == [to_h, to_w] {
        return Ok(picture.clone());
    }
    resample(picture, [0.0, 0.0, from_w as f64, from_h as f64], to_h, to_w)
}

/// A part of a picture: top, left, height and width.
type Part = [usize; 4];

fn whole(picture: &Picture) -> Part {
    [0, 0, picture.height(), picture.width()]
}

/// The squares at both ends of the longer side and in its middle, as high as the shorter side.
fn squares(picture: &Picture) -> [Part; 3] {
    let (h, w) = (picture.height(), picture.width());
    let side = h.min(w);
    let place = |rest: usize| [0, offset(rest + side, side).unsigned_abs(), rest];
    if w >= h {
        place(w - side).map(|left| [0, left, side, side])
    } else {
        place(h - side).map(|top| [top, 0, side, side])
    }
}

/// Top left, top right, bottom left, bottom right, centre: the order of torchvision's `FiveCrop`.
fn five(picture: &Picture, part: Part, size: [usize; 2]) -> Result<Vec<Picture>> {
    let [top, left, part_h, part_w] = part.map(|x| x as isize);
    let [h, w] = size;
    let (bottom, right) = (top + part_h - h as isize, left + part_w - w as isize);
    let corners = [[top, left], [top, right], [bottom, left], [bottom, right]];
    let mut views =
        corners.into_iter().map(|place| crop_at(picture, place, h, w)).collect::<Result<Vec<_>>>()?;
    views.push(centre(picture, part, size)?);
    Ok(views)
}

fn centre(picture: &Picture, [top, left, part_h, part_w]: Part, [h, w]: [usize; 2]) -> Result<Picture> {
    let place = [top as isize + offset(part_h, h), left as isize + offset(part_w, w)];
    crop_at(picture, place, h, w)
}

/// A data set whose pictures are the views of those of another one, stacked.
struct Stacked {
    set: Arc<dyn Dataset>,
    views: Views,
    size: [usize; 2],
    how: Preprocessing,
}

/// A data set of which each picture has all views of a picture of `set`, one below the other, prepared for an input of this height and
/// width. A loader whose size is `[views.count() * height, width]` gives batches in which each view is as large as the input.
pub fn stacked_views(
    set: Arc<dyn Dataset>,
    views: Views,
    size: [usize; 2],
    how: Preprocessing,
) -> Arc<dyn Dataset> {
    Arc::new(Stacked { set, views, size, how })
}

impl Dataset for Stacked {
    fn classes(&self) -> &[String] {
        self.set.classes()
    }

    fn len(&self) -> usize {
        self.set.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.set.label(i)
    }

    fn name(&self, i: usize) -> String {
        self.set.name(i)
    }

    fn left_out(&self) -> &[LeftOut] {
        self.set.left_out()
    }

    fn load(&self, i: usize) -> Result<Picture> {
        self.views.stacked(&self.set.load(i)?, self.size, &self.how)
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        None
    }

    fn normalization(&self) -> Normalization {
        self.set.normalization()
    }
}
