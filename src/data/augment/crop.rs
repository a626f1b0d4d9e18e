//! Random crops.

use crate::data::Picture;
use crate::data::resize::crop_at;
use crate::error::Result;
use crate::random::Draw;

/// Parts of a random shape that are tried before the centre is taken.
const TRIES: usize = 10;

/// The largest aspect ratio of [`resized`]; the smallest is 3/4.
const RATIO: f64 = 4.0 / 3.0;

/// Pads a picture with black and crops its size at a random place.
pub(super) fn padded(picture: Picture, pad: u32, draw: &mut Draw) -> Result<Picture> {
    let range = pad.saturating_mul(2).saturating_add(1);
    let mut offset = || draw.below(range) as isize - pad as isize;
    let (left, top) = (offset(), offset());
    let (height, width) = (picture.height(), picture.width());
    crop_at(&picture, [top, left], height, width)
}

/// The part of a picture of which the shorter side is a random multiple of the input's when the part is scaled to the input: left, top,
/// width and height in the picture's own pixels. A multiple below 1 counts as 1.
pub(super) fn shorter([h, w]: [usize; 2], range: [f32; 2], size: [usize; 2], draw: &mut Draw) -> [f64; 4] {
    let (h, w, [height, width]) = (h as f64, w as f64, size);
    let times = between(range, draw).max(1.0);
    let scale = times * (height as f64 / h).max(width as f64 / w);
    // The place is a whole number of pixels of the scaled picture.
    let mut place = |side: f64, wanted: usize| {
        let rest = ((side * scale).round() as usize).saturating_sub(wanted);
        let part = (wanted as f64 / scale).min(side);
        let place = draw.below(u32::try_from(rest).unwrap_or(u32::MAX).saturating_add(1));
        ((f64::from(place) / scale).min(side - part), part)
    };
    let ((top, part_h), (left, part_w)) = (place(h, height), place(w, width));
    [left, top, part_w, part_h]
}

/// A part of random area, aspect ratio and place: left, top, width and height, in whole pixels unless it is the centre.
pub(super) fn resized([h, w]: [usize; 2], range: [f32; 2], draw: &mut Draw) -> [f64; 4] {
    for _ in 0..TRIES {
        let area = (h as f64 * w as f64) * between(range, draw);
        let ratio = log_between([1.0 / RATIO, RATIO], draw);
        let part_w = (area * ratio).sqrt().round() as usize;
        let part_h = (area / ratio).sqrt().round() as usize;
        if (1..=w).contains(&part_w) && (1..=h).contains(&part_h) {
            let top = draw.below((h - part_h + 1) as u32);
            let left = draw.below((w - part_w + 1) as u32);
            return [f64::from(left), f64::from(top), part_w as f64, part_h as f64];
        }
    }
    // The largest part in the centre whose aspect ratio is allowed.
    let (h, w) = (h as f64, w as f64);
    let (part_h, part_w) = (h.min(w * RATIO), w.min(h * RATIO));
    [(w - part_w) / 2.0, (h - part_h) / 2.0, part_w, part_h]
}

/// Mirrors left and right.
pub(super) fn mirror(picture: &mut Picture) {
    let bytes = 4 * picture.width();
    for row in picture.rgba_mut().chunks_exact_mut(bytes) {
        row.as_chunks_mut::<4>().0.reverse();
    }
}

/// A number uniform between two.
pub(super) fn between([from, to]: [f32; 2], draw: &mut Draw) -> f64 {
    f64::from(from) + (f64::from(to) - f64::from(from)) * f64::from(draw.unit())
}

/// A number between two whose logarithm is uniform.
pub(super) fn log_between([from, to]: [f64; 2], draw: &mut Draw) -> f64 {
    from * (to / from).powf(f64::from(draw.unit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    const DRAWS: u32 = 40_000;

    fn draws() -> impl Iterator<Item = Draw> {
        (0..DRAWS).map(|i| Draw::new(11, Stream::Augment, i / 1000, i % 1000))
    }

    /// Chi-square of values that should be uniform between 0 and 1 has to stay below a bound that it passes once in a million times.
    fn uniform(what: &str, values: &[f64]) {
        let mut counts = [0.0; 20];
        for value in values {
            assert!((0.0..=1.0).contains(value), "{what}: {value}");
            counts[((value * 20.0) as usize).min(19)] += 1.0;
        }
        let expected = values.len() as f64 / 20.0;
        let sum: f64 = counts.iter().map(|count: &f64| (count - expected).powi(2) / expected).sum();
        assert!(sum < 19.0 + 5.0 * 38f64.sqrt() + 10.0, "{what}: chi-square {sum} of {counts:?}");
    }

    #[test]
    fn resized_parts_have_uniform_area_ratio_and_place() {
        let ([h, w], [from, to]) = ([3000, 4000], [0.1, 0.4]);
        let parts: Vec<_> = draws().map(|mut draw| resized([h, w], [from, to], &mut draw)).collect();
        let of = |value: fn([f64; 4]) -> f64| parts.iter().map(|part| value(*part)).collect::<Vec<f64>>();
        // Every part of these areas fits the picture, so nothing is tried twice. Rounding moves the ends a little.
        let to_unit = |value: f64| ((value - 0.1) / 0.3).clamp(0.0, 1.0);
        uniform("area", &of(|[_, _, w, h]| w * h / 12e6).into_iter().map(to_unit).collect::<Vec<_>>());
        uniform("ratio", &of(|[_, _, w, h]| (0.5 + 0.5 * (w / h).ln() / RATIO.ln()).clamp(0.0, 1.0)));
        uniform("left", &of(|[left, _, w, _]| (left + 0.5) / (4000.0 - w + 1.0)));
        uniform("top", &of(|[_, top, _, h]| (top + 0.5) / (3000.0 - h + 1.0)));
    }

    #[test]
    fn a_picture_that_no_part_fits_gives_its_centre() {
        let mut draw = Draw::new(1, Stream::Augment, 0, 0);
        assert_eq!(resized([30, 300], [1.0, 1.0], &mut draw), [130.0, 0.0, 40.0, 30.0]);
        assert_eq!(resized([300, 30], [1.0, 1.0], &mut draw), [0.0, 130.0, 30.0, 40.0]);
        assert_eq!(resized([1, 1], [0.08, 1.0], &mut draw), [0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn shorter_parts_have_uniform_scale_and_place() {
        let parts: Vec<_> =
            draws().map(|mut draw| shorter([3000, 4000], [1.5, 3.0], [1000, 1000], &mut draw)).collect();
        let of = |value: fn([f64; 4]) -> f64| parts.iter().map(|part| value(*part)).collect::<Vec<f64>>();
        assert!(parts.iter().all(|[_, _, w, h]| w == h), "square, as the input");
        uniform("scale", &of(|[_, _, _, h]| (3000.0 / h - 1.5) / 1.5));
        uniform("left", &of(|[left, _, w, _]| left / (4000.0 - w)));
        uniform("top", &of(|[_, top, _, h]| top / (3000.0 - h)));
    }

    #[test]
    fn parts_stay_in_the_picture_whatever_its_size() {
        for (i, [h, w]) in [[1, 1], [1, 7], [5, 1], [33, 32], [224, 224], [17, 900]].into_iter().enumerate() {
            for (j, size) in [[1, 1], [8, 8], [32, 48], [224, 224]].into_iter().enumerate() {
                for b in 0..50 {
                    let mut draw = Draw::new(2, Stream::Augment, (4 * i + j) as u32, b);
                    let one = shorter([h, w], [1.0, 2.5], size, &mut draw);
                    for [left, top, part_w, part_h] in [one, resized([h, w], [0.001, 1.0], &mut draw)] {
                        assert!(left >= 0.0 && top >= 0.0 && part_w > 0.0 && part_h > 0.0);
                        assert!(left + part_w <= w as f64 + 1e-9 && top + part_h <= h as f64 + 1e-9);
                    }
                }
            }
        }
    }
}
