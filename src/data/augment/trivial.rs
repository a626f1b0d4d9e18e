//! TrivialAugment: one random distortion of random strength (Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art
//! Data Augmentation", 2021), with the operations and strengths of torchvision's `TrivialAugmentWide`.

use super::color::{blend, brightness, contrast, saturation};
use crate::data::Picture;
use crate::random::Draw;

/// The strengths of an operation are this many, evenly spaced.
const BINS: u32 = 31;
/// The largest shear, and the largest change of a factor.
const MOST: f32 = 0.99;
/// The largest translation, in pixels, and rotation, in degrees.
const MOST_PIXELS: f32 = 32.0;
const MOST_DEGREES: f32 = 135.0;

type Rgb = [u8; 3];

/// A distortion with its strength.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Distortion {
    Identity,
    /// Row y moves left by this many times y.
    ShearX(f32),
    /// Column x moves up by this many times x.
    ShearY(f32),
    /// To the right, in pixels.
    TranslateX(i32),
    /// Down, in pixels.
    TranslateY(i32),
    /// Counterclockwise, in degrees.
    Rotate(f32),
    /// Blends with black, by 1 plus this.
    Brightness(f32),
    /// Blends with the grey of each pixel.
    Color(f32),
    /// Blends with the mean grey.
    Contrast(f32),
    /// Blends with a smoothed picture.
    Sharpness(f32),
    /// Keeps this many upper bits.
    Posterize(u32),
    /// Inverts values from this one on.
    Solarize(f32),
    /// Spreads each channel over all values.
    AutoContrast,
    /// Makes all values of each channel equally frequent.
    Equalize,
}

impl Distortion {
    fn draw(draw: &mut Draw) -> Self {
        let kind = draw.below(14);
        let bin = draw.below(BINS);
        let share = bin as f32 / (BINS - 1) as f32;
        let sign = if draw.coin() { 1.0 } else { -1.0 };
        let signed = sign * share;
        match kind {
            0 => Self::Identity,
            1 => Self::ShearX(MOST * signed),
            2 => Self::ShearY(MOST * signed),
            3 => Self::TranslateX((MOST_PIXELS * signed) as i32),
            4 => Self::TranslateY((MOST_PIXELS * signed) as i32),
            5 => Self::Rotate(MOST_DEGREES * signed),
            6 => Self::Brightness(MOST * signed),
            7 => Self::Color(MOST * signed),
            8 => Self::Contrast(MOST * signed),
            9 => Self::Sharpness(MOST * signed),
            10 => Self::Posterize(8 - (6.0 * share).round_ties_even() as u32),
            11 => Self::Solarize(255.0 * (1.0 - share)),
            12 => Self::AutoContrast,
            _ => Self::Equalize,
        }
    }

    fn apply(self, picture: &mut Picture) {
        match self {
            Self::Identity => {}
            Self::ShearX(m) => moved(picture, [1.0, f64::from(m), 0.0, 0.0, 1.0, 0.0]),
            Self::ShearY(m) => moved(picture, [1.0, 0.0, 0.0, f64::from(m), 1.0, 0.0]),
            Self::TranslateX(by) => moved(picture, [1.0, 0.0, f64::from(-by), 0.0, 1.0, 0.0]),
            Self::TranslateY(by) => moved(picture, [1.0, 0.0, 0.0, 0.0, 1.0, f64::from(-by)]),
            Self::Rotate(degrees) => {
                let matrix = rotation(picture, degrees);
                moved(picture, matrix);
            }
            Self::Brightness(m) => recolored(picture, |colors| brightness(colors, 1.0 + m)),
            Self::Color(m) => recolored(picture, |colors| saturation(colors, 1.0 + m)),
            Self::Contrast(m) => recolored(picture, |colors| contrast(colors, 1.0 + m)),
            Self::Sharpness(m) => sharpened(picture, 1.0 + m),
            Self::Posterize(bits) => {
                let mask = u8::MAX.checked_shl(8u32.saturating_sub(bits)).unwrap_or(0);
                mapped(picture, |_| std::array::from_fn(|v| v as u8 & mask));
            }
            Self::Solarize(from) => mapped(picture, |_| {
                std::array::from_fn(|v| if (v as f32) < from { v as u8 } else { 255 - v as u8 })
            }),
            Self::AutoContrast => mapped(picture, spread),
            Self::Equalize => mapped(picture, equal),
        }
    }
}

/// Distorts a picture.
pub(super) fn distort(picture: &mut Picture, draw: &mut Draw) {
    Distortion::draw(draw).apply(picture);
}

fn colors(picture: &Picture) -> Vec<Rgb> {
    picture.rgba().as_chunks::<4>().0.iter().map(|[r, g, b, _]| [*r, *g, *b]).collect()
}

fn set(picture: &mut Picture, colors: impl IntoIterator<Item = Rgb>) {
    for (pixel, [r, g, b]) in picture.rgba_mut().as_chunks_mut::<4>().0.iter_mut().zip(colors) {
        *pixel = [r, g, b, 255];
    }
}

fn recolored(picture: &mut Picture, change: impl FnOnce(&mut [[f32; 3]])) {
    let mut all: Vec<[f32; 3]> = colors(picture).into_iter().map(|c| c.map(f32::from)).collect();
    change(&mut all);
    set(picture, all.into_iter().map(|c| c.map(|v| v.round() as u8)));
}

/// The matrix of a rotation about the centre, from the result to the picture.
fn rotation(picture: &Picture, degrees: f32) -> [f64; 6] {
    let (sin, cos) = (-f64::from(degrees).to_radians()).sin_cos();
    let (x, y) = (picture.width() as f64 / 2.0, picture.height() as f64 / 2.0);
    [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y]
}

/// Each pixel of the result is the one of the picture where the affine map of its centre lies, or black. The matrix has two rows of
/// three numbers, for x and y.
fn moved(picture: &mut Picture, [a, b, c, d, e, f]: [f64; 6]) {
    let (h, w) = (picture.height(), picture.width());
    let from = colors(picture);
    let pixel = |i: usize| {
        let (x, y) = ((i % w) as f64 + 0.5, (i / w) as f64 + 0.5);
        let (x, y) = ((a * x + b * y + c).floor(), (d * x + e * y + f).floor());
        let is_inside = x >= 0.0 && y >= 0.0 && x < w as f64 && y < h as f64;
        is_inside.then(|| from.get(y as usize * w + x as usize)).flatten().copied().unwrap_or_default()
    };
    set(picture, (0..h * w).map(pixel));
}

/// Blends with a picture that is smoothed over 3x3 pixels, the centre five times; pixels at the border stay as they are.
fn sharpened(picture: &mut Picture, factor: f32) {
    let (h, w) = (picture.height(), picture.width());
    let from = colors(picture);
    let at = |x: usize, y: usize, c: usize| from.get(y * w + x).map_or(0, |color| u32::from(color[c]));
    let pixel = |i: usize| {
        let (x, y) = (i % w, i / w);
        if x == 0 || y == 0 || x + 1 == w || y + 1 == h {
            return from.get(i).copied().unwrap_or_default();
        }
        std::array::from_fn(|c| {
            let sum: u32 = (0..9).map(|k| at(x + k % 3 - 1, y + k / 3 - 1, c)).sum();
            let smooth = ((sum + 4 * at(x, y, c)) as f32 / 13.0).round();
            blend([at(x, y, c) as f32; 3], smooth, factor)[0].round() as u8
        })
    };
    set(picture, (0..h * w).map(pixel));
}

/// Replaces the values of each channel by those of a table, which `table` makes of the channel's histogram.
fn mapped(picture: &mut Picture, table: impl Fn(&[u32; 256]) -> [u8; 256]) {
    let mut histograms = [[0; 256]; 3];
    for color in colors(picture) {
        for (histogram, value) in histograms.iter_mut().zip(color) {
            histogram[usize::from(value)] += 1;
        }
    }
    let tables = histograms.each_ref().map(table);
    let all = colors(picture).into_iter().map(|color| {
        let [r, g, b] = color.map(usize::from);
        [tables[0][r], tables[1][g], tables[2][b]]
    });
    set(picture, all);
}

const SAME: fn() -> [u8; 256] = || std::array::from_fn(|v| v as u8);

/// The table with which the smallest value becomes 0 and the largest 255.
fn spread(histogram: &[u32; 256]) -> [u8; 256] {
    let least = histogram.iter().position(|n| *n > 0).unwrap_or(0);
    let most = histogram.iter().rposition(|n| *n > 0).unwrap_or(0);
    if most <= least {
        return SAME();
    }
    let scale = 255.0 / (most - least) as f64;
    // The conversion rounds down and is saturating.
    std::array::from_fn(|v| (v as f64 * scale - least as f64 * scale) as u8)
}

/// The table with which all values are equally frequent, as near as can be.
fn equal(histogram: &[u32; 256]) -> [u8; 256] {
    let last = histogram.iter().rfind(|n| **n > 0).copied().unwrap_or(0);
    let step = (histogram.iter().sum::<u32>() - last) / 255;
    if step == 0 {
        return SAME();
    }
    let mut sum = step / 2;
    histogram.map(|n| {
        let value = (sum / step).min(255) as u8;
        sum += n;
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// `tests/golden/trivial_augment.py` made the pictures with torchvision 0.14 and Pillow 9.4.
    const GOLDEN: &str = include_str!("../../../tests/golden/trivial_augment.txt");

    fn picture() -> Picture {
        let rgb: Vec<u8> = (0..24 * 19 * 3u32).map(|i| (i * i * 7 + i * 31) as u8 % 201 + 20).collect();
        Picture::from_rgb(19, 24, &rgb).unwrap()
    }

    fn parse(name: &str, value: f32) -> Distortion {
        match name {
            "ShearX" => Distortion::ShearX(value),
            "ShearY" => Distortion::ShearY(value),
            "TranslateX" => Distortion::TranslateX(value as i32),
            "TranslateY" => Distortion::TranslateY(value as i32),
            "Rotate" => Distortion::Rotate(value),
            "Brightness" => Distortion::Brightness(value),
            "Color" => Distortion::Color(value),
            "Contrast" => Distortion::Contrast(value),
            "Sharpness" => Distortion::Sharpness(value),
            "Posterize" => Distortion::Posterize(value as u32),
            "Solarize" => Distortion::Solarize(value),
            "AutoContrast" => Distortion::AutoContrast,
            "Equalize" => Distortion::Equalize,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn distortions_are_those_of_torchvision() {
        let mut cases = 0;
        for line in GOLDEN.lines() {
            let [name, value, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let want: Vec<u8> =
                (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
            let mut got = picture();
            parse(name, value.parse().unwrap()).apply(&mut got);
            let got: Vec<u8> = colors(&got).into_iter().flatten().collect();
            assert_eq!(got.len(), want.len());
            // Blends are rounded, and those of Pillow cut off, some of them twice.
            let blends = ["Brightness", "Color", "Contrast", "Sharpness"].contains(&name);
            let most = got.iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(most <= if blends { 2 } else { 0 }, "{name} {value}: {most}");
            cases += 1;
        }
        assert_eq!(cases, 30);
    }

    #[test]
    fn each_distortion_and_strength_comes_as_often() {
        let mut kinds = [0; 14];
        let (mut positive, mut signed, mut small) = (0, 0, 0);
        for i in 0..28_000 {
            let distortion = Distortion::draw(&mut Draw::new(4, Stream::Augment, 0, i));
            let kind = match distortion {
                Distortion::Identity => 0,
                Distortion::ShearX(_) => 1,
                Distortion::ShearY(_) => 2,
                Distortion::TranslateX(_) => 3,
                Distortion::TranslateY(_) => 4,
                Distortion::Rotate(degrees) => {
                    positive += u32::from(degrees > 0.0);
                    signed += u32::from(degrees != 0.0);
                    small += u32::from(degrees.abs() < 45.0);
                    5
                }
                Distortion::Brightness(_) => 6,
                Distortion::Color(_) => 7,
                Distortion::Contrast(_) => 8,
                Distortion::Sharpness(_) => 9,
                Distortion::Posterize(bits) => {
                    assert!((2..=8).contains(&bits), "{bits}");
                    10
                }
                Distortion::Solarize(_) => 11,
                Distortion::AutoContrast => 12,
                Distortion::Equalize => 13,
            };
            kinds[kind] += 1;
        }
        // Five standard deviations.
        assert!(kinds.iter().all(|n| (1785..2215).contains(n)), "{kinds:?}");
        assert!((f64::from(positive) / f64::from(signed) - 0.5).abs() < 0.056, "{positive} of {signed}");
        // 10 of 31 bins are below a third.
        assert!((f64::from(small) / f64::from(kinds[5]) - 10.0 / 31.0).abs() < 0.053, "{small}");
    }

    #[test]
    fn pictures_of_any_size_are_distorted() {
        for (h, w) in [(1, 1), (1, 7), (3, 2), (40, 1)] {
            for i in 0..500 {
                let rgb: Vec<u8> = (0..h * w * 3).map(|v| (v * 37) as u8).collect();
                let mut picture = Picture::from_rgb(h, w, &rgb).unwrap();
                distort(&mut picture, &mut Draw::new(5, Stream::Augment, 0, i));
                assert_eq!(picture.rgba().len(), 4 * h * w);
                assert!(picture.rgba().as_chunks::<4>().0.iter().all(|pixel| pixel[3] == 255));
            }
        }
    }
}
