//! Random changes of colours. They are computed in floating point and rounded once.

use super::Augment;
use super::crop::between;
use crate::data::Picture;
use crate::random::Draw;

/// The principal components of the colours of ImageNet, from 0 to 1, and their eigenvalues, as fb.resnet.torch has them.
const COMPONENTS: [[f32; 3]; 3] =
    [[-0.5675, -0.5808, -0.5836], [0.7192, -0.0045, -0.6948], [0.4009, -0.8140, 0.4203]];
const EIGENVALUES: [f32; 3] = [0.2175, 0.0188, 0.0045];

type Rgb = [f32; 3];

/// Applies the changes of brightness, contrast, saturation and hue in a random order, then the lighting.
pub(super) fn vary(picture: &mut Picture, augment: &Augment, draw: &mut Draw) {
    let Augment { jitter, hue, lighting, .. } = *augment;
    let jitters = jitter.iter().any(|j| *j > 0.0) || hue > 0.0;
    if !jitters && lighting == 0.0 {
        return;
    }
    let pixels = picture.rgba().as_chunks::<4>().0;
    let mut colors: Vec<Rgb> = pixels.iter().map(|[r, g, b, _]| [*r, *g, *b].map(f32::from)).collect();
    if jitters {
        let factors = jitter.map(|j| between([(1.0 - j).max(0.0), 1.0 + j], draw) as f32);
        let turn = between([-hue, hue], draw) as f32;
        let mut order = [0, 1, 2, 3];
        for i in (1..order.len()).rev() {
            order.swap(i, draw.below(i as u32 + 1) as usize);
        }
        for change in order {
            match change {
                0 if jitter[0] > 0.0 => brightness(&mut colors, factors[0]),
                1 if jitter[1] > 0.0 => contrast(&mut colors, factors[1]),
                2 if jitter[2] > 0.0 => saturation(&mut colors, factors[2]),
                3 if hue > 0.0 => colors.iter_mut().for_each(|c| *c = turned(*c, turn)),
                _ => {}
            }
        }
    }
    if lighting > 0.0 {
        let amounts = EIGENVALUES.map(|value| 255.0 * value * lighting * draw.normal());
        light(&mut colors, amounts);
    }
    for (pixel, color) in picture.rgba_mut().as_chunks_mut::<4>().0.iter_mut().zip(&colors) {
        // The conversion is saturating.
        let [r, g, b] = color.map(|c| c.round() as u8);
        *pixel = [r, g, b, 255];
    }
}

/// Luma, with the weights of torchvision.
fn grey([r, g, b]: Rgb) -> f32 {
    0.2989 * r + 0.587 * g + 0.114 * b
}

/// `factor * color + (1 - factor) * other`.
pub(super) fn blend(color: Rgb, other: f32, factor: f32) -> Rgb {
    color.map(|c| (factor * c + (1.0 - factor) * other).clamp(0.0, 255.0))
}

pub(super) fn brightness(colors: &mut [Rgb], factor: f32) {
    colors.iter_mut().for_each(|c| *c = blend(*c, 0.0, factor));
}

/// Blends with the mean grey of the picture.
pub(super) fn contrast(colors: &mut [Rgb], factor: f32) {
    let sum: f64 = colors.iter().map(|c| f64::from(grey(*c))).sum();
    let mean = (sum / colors.len().max(1) as f64) as f32;
    colors.iter_mut().for_each(|c| *c = blend(*c, mean, factor));
}

/// Blends with the grey of each pixel.
pub(super) fn saturation(colors: &mut [Rgb], factor: f32) {
    colors.iter_mut().for_each(|c| *c = blend(*c, grey(*c), factor));
}

/// Turns the hue by a part of the colour circle: to the HSV model and back.
fn turned(color: Rgb, turn: f32) -> Rgb {
    let [r, g, b] = color;
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let range = most - least;
    if range == 0.0 {
        return color;
    }
    let sixths = if most == r {
        (g - b) / range
    } else if most == g {
        2.0 + (b - r) / range
    } else {
        4.0 + (r - g) / range
    };
    let hue = (sixths / 6.0 + turn).rem_euclid(1.0);
    // Smith, "Color Gamut Transform Pairs", 1978, in the form that needs no cases.
    [5.0, 3.0, 1.0].map(|n: f32| {
        let k = (n + 6.0 * hue).rem_euclid(6.0);
        most - range * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}

/// Adds amounts of the principal components.
fn light(colors: &mut [Rgb], amounts: [f32; 3]) {
    let mut shift = [0.0; 3];
    for (component, amount) in COMPONENTS.iter().zip(amounts) {
        for (s, c) in shift.iter_mut().zip(component) {
            *s += amount * c;
        }
    }
    for color in colors {
        for (c, s) in color.iter_mut().zip(shift) {
            *c += s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut [Rgb], f32);

    fn near(found: Rgb, wanted: Rgb) {
        assert!(
            found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < 2e-3),
            "{found:?} instead of {wanted:?}"
        );
    }

    #[test]
    fn a_third_of_the_colour_circle_moves_the_channels_on() {
        for color in [[200.0, 30.0, 90.0], [10.0, 250.0, 0.0], [0.0, 128.0, 255.0], [255.0, 255.0, 0.0]] {
            let [r, g, b] = color;
            near(turned(color, 0.0), color);
            near(turned(color, 1.0 / 3.0), [b, r, g]);
            near(turned(color, -1.0 / 3.0), [g, b, r]);
        }
        near(turned([77.0; 3], 0.3), [77.0; 3]);
    }

    #[test]
    fn changes_are_those_of_torchvision() {
        // adjust_brightness, adjust_contrast, adjust_saturation and adjust_hue of torchvision 0.14, in double precision, times 255.
        let picture = [[200.0, 30.0, 90.0], [10.0, 250.0, 0.0], [0.0, 128.0, 255.0]];
        let hue: Change = |colors, turn| colors.iter_mut().for_each(|c| *c = turned(*c, turn));
        let cases: [(Change, f32, [Rgb; 3]); 5] = [
            (brightness, 1.3, [[255.0, 39.0, 117.0], [13.0, 255.0, 0.0], [0.0, 166.4, 255.0]]),
            (
                contrast,
                0.6,
                [[165.546, 63.546, 99.546], [51.546, 195.546, 45.546], [45.546, 122.346, 198.546]],
            ),
            (saturation, 1.4, [[244.94, 6.94, 90.94], [0.0, 255.0, 0.0], [0.0, 137.518, 255.0]]),
            (hue, 0.05, [[200.0, 30.0, 39.0], [0.0, 250.0, 65.0], [0.0, 51.5, 255.0]]),
            (hue, -0.3, [[30.0, 56.0, 200.0], [250.0, 40.0, 0.0], [77.0, 255.0, 0.0]]),
        ];
        for (change, amount, wanted) in cases {
            let mut colors = picture;
            change(&mut colors, amount);
            colors.into_iter().zip(wanted).for_each(|(found, wanted)| near(found, wanted));
        }
    }

    #[test]
    fn factors_of_one_change_nothing_and_of_zero_leave_black_the_mean_or_grey() {
        let picture = [[200.0, 30.0, 90.0], [10.0, 250.0, 0.0]];
        let greys = picture.map(grey);
        let mean = (greys[0] + greys[1]) / 2.0;
        let changed = |change: fn(&mut [Rgb], f32), factor| {
            let mut colors = picture;
            change(&mut colors, factor);
            colors
        };
        for change in [brightness, contrast, saturation] {
            assert_eq!(changed(change, 1.0), picture);
        }
        assert_eq!(changed(brightness, 0.0), [[0.0; 3]; 2]);
        changed(contrast, 0.0).iter().for_each(|c| near(*c, [mean; 3]));
        changed(saturation, 0.0).iter().zip(greys).for_each(|(c, grey)| near(*c, [grey; 3]));
        assert_eq!(changed(brightness, 1.5)[1], [15.0, 255.0, 0.0], "no more than white");
    }
}
