//! What keeps a picture natural while it is improved.

use super::map::Map;

/// Moves a picture by so many rows and columns. What leaves at one side comes in at the other.
pub(super) fn roll(x: &Map, [down, right]: [i64; 2]) -> Map {
    let [h, w, c] = x.shape;
    let from = |i: usize, by: i64, side: usize| (i as i64 - by).rem_euclid(side.max(1) as i64) as usize;
    let mut data = Vec::with_capacity(x.data.len());
    for y in 0..h {
        for column in 0..w {
            let at = (from(y, down, h) * w + from(column, right, w)) * c;
            data.extend_from_slice(x.data.get(at..at + c).unwrap_or_default());
        }
    }
    Map { shape: x.shape, data }
}

/// A step of `weight` against the total variation: half the sum of squared differences of neighbours, whose gradient is the Laplacian
/// with the opposite sign.
pub(super) fn smooth(x: &mut Map, weight: f32) {
    if weight == 0.0 {
        return;
    }
    let [h, w, c] = x.shape;
    let at = |y: usize, column: usize| (y * w + column) * c;
    let mut change = vec![0.0f32; x.data.len()];
    let mut pair = |a: usize, b: usize| {
        for channel in 0..c {
            let difference = x.data[a + channel] - x.data[b + channel];
            change[a + channel] -= weight * difference;
            change[b + channel] += weight * difference;
        }
    };
    for y in 0..h {
        for column in 0..w {
            if column + 1 < w {
                pair(at(y, column), at(y, column + 1));
            }
            if y + 1 < h {
                pair(at(y, column), at(y + 1, column));
            }
        }
    }
    x.data.iter_mut().zip(change).for_each(|(x, change)| *x += change);
}

/// Takes a share of the picture away.
pub(super) fn decay(x: &mut Map, share: f32) {
    x.data.iter_mut().for_each(|x| *x *= 1.0 - share);
}

/// A Gaussian blur. Pixels at the border are repeated beyond it.
pub(super) fn blur(x: &Map, deviation: f32) -> Map {
    let reach = ((3.0 * deviation).ceil() as i64).clamp(1, 64);
    let weights: Vec<f32> = (-reach..=reach).map(|i| (-0.5 * (i as f32 / deviation).powi(2)).exp()).collect();
    let sum: f32 = weights.iter().sum();
    let along = |x: &Map, [down, right]: [i64; 2]| {
        let [h, w, c] = x.shape;
        let mut data = vec![0.0f32; x.data.len()];
        for y in 0..h {
            for column in 0..w {
                for (i, weight) in (-reach..=reach).zip(&weights) {
                    let row = (y as i64 + i * down).clamp(0, h as i64 - 1) as usize;
                    let place = (column as i64 + i * right).clamp(0, w as i64 - 1) as usize;
                    for channel in 0..c {
                        data[(y * w + column) * c + channel] +=
                            weight / sum * x.data[(row * w + place) * c + channel];
                    }
                }
            }
        }
        Map { shape: x.shape, data }
    };
    along(&along(x, [1, 0]), [0, 1])
}

/// Keeps every number within those of a picture.
pub(super) fn clamp(x: &mut Map, mean: [f32; 3], std: [f32; 3]) {
    for pixel in x.data.as_chunks_mut::<3>().0 {
        for c in 0..3 {
            pixel[c] = pixel[c].clamp(-mean[c] / std[c], (1.0 - mean[c]) / std[c]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(h: usize, w: usize) -> Map {
        Map { shape: [h, w, 3], data: (0..h * w * 3).map(|i| (i * i % 17) as f32).collect() }
    }

    #[test]
    fn rolling_back_gives_the_same_picture() {
        let x = ramp(4, 5);
        let moved = roll(&x, [1, -2]);
        assert_eq!(moved.data[(5 + 2) * 3..][..3], x.data[4 * 3..][..3]);
        assert_eq!(roll(&moved, [-1, 2]), x);
        assert_eq!(roll(&x, [4, 5]), x);
    }

    #[test]
    fn blur_and_smoothing_keep_the_mean_and_lower_the_variation() {
        let variation = |x: &Map| -> f32 {
            let [h, w, c] = x.shape;
            (0..h * (w - 1) * c)
                .map(|i| {
                    let at = i / ((w - 1) * c) * w * c + i % ((w - 1) * c);
                    (x.data[at] - x.data[at + c]).powi(2)
                })
                .sum()
        };
        let x = ramp(6, 7);
        let mean = |x: &Map| x.data.iter().sum::<f32>() / x.data.len() as f32;
        let mut smoothed = x.clone();
        smooth(&mut smoothed, 0.1);
        assert!((mean(&smoothed) - mean(&x)).abs() < 1e-4);
        assert!(variation(&smoothed) < 0.7 * variation(&x));
        let flat = Map { shape: [5, 5, 3], data: vec![2.0; 75] };
        assert!(blur(&flat, 1.5).data.iter().all(|x| (x - 2.0).abs() < 1e-5));
        assert!(variation(&blur(&x, 1.0)) < 0.5 * variation(&x));
    }

    #[test]
    fn numbers_stay_those_of_a_picture() {
        let mut x = Map { shape: [1, 1, 3], data: vec![-9.0, 0.5, 9.0] };
        clamp(&mut x, [0.5; 3], [0.25; 3]);
        assert_eq!(x.data, [-2.0, 0.5, 2.0]);
        decay(&mut x, 0.5);
        assert_eq!(x.data, [-1.0, 0.25, 1.0]);
    }
}
