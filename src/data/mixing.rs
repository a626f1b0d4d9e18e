//! Mixing pictures of a batch: mixup (Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2017) and CutMix (Yun et al.,
//! "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", 2019).

use super::{Augment, Batch};
use crate::random::Draw;

/// The class that a picture got a part of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixed {
    /// The class of the other picture.
    pub label: u32,
    /// Its share, from 0 to 1.
    pub share: f32,
}

/// How each picture of a batch is mixed with the one before it, the first with the last, as in torchvision's references.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mixing {
    /// The weight of the picture itself; the other has the rest.
    Mixup(f32),
    /// The rectangle that comes from the other picture: first row, first column, row and column behind the last.
    CutMix([usize; 4]),
}

impl Mixing {
    /// Draws how a batch of pictures of this height and width is mixed. If both methods are wanted, each has probability 1/2.
    fn draw(augment: &Augment, [h, w]: [usize; 2], mut draw: Draw) -> Option<Self> {
        let cut = match (augment.mixup > 0.0, augment.cutmix > 0.0) {
            (false, false) => return None,
            (true, true) => draw.coin(),
            (_, cut) => cut,
        };
        if !cut {
            return Some(Self::Mixup(draw.beta(augment.mixup)));
        }
        let side = (1.0 - draw.beta(augment.cutmix)).max(0.0).sqrt();
        let mut span = |length: usize| {
            let centre = draw.below(length as u32) as usize;
            let half = (0.5 * side * length as f32) as usize;
            (centre.saturating_sub(half), (centre + half).min(length))
        };
        let (columns, rows) = (span(w), span(h));
        Some(Self::CutMix([rows.0, columns.0, rows.1, columns.1]))
    }

    /// The share of the other picture.
    fn share(self, [h, w]: [usize; 2]) -> f32 {
        match self {
            Self::Mixup(own) => 1.0 - own,
            Self::CutMix([top, left, bottom, right]) => {
                ((bottom - top) * (right - left)) as f32 / (h * w).max(1) as f32
            }
        }
    }

    /// Changes a picture, RGBA.
    fn apply(self, picture: &mut [u8], other: &[u8], [_, w]: [usize; 2]) {
        match self {
            Self::Mixup(own) => {
                for (a, b) in picture.iter_mut().zip(other) {
                    *a = (own * f32::from(*a) + (1.0 - own) * f32::from(*b)).round_ties_even() as u8;
                }
            }
            Self::CutMix([top, left, bottom, right]) => {
                let rows = picture.chunks_exact_mut(4 * w.max(1)).zip(other.chunks_exact(4 * w.max(1)));
                for (to, from) in rows.take(bottom).skip(top) {
                    let columns = 4 * left..4 * right;
                    if let (Some(to), Some(from)) = (to.get_mut(columns.clone()), from.get(columns)) {
                        to.copy_from_slice(from);
                    }
                }
            }
        }
    }
}

/// Mixes the pictures of a batch, of this height and width, if the augmentation says so. `labels` then has the class with the larger
/// share.
pub(super) fn mix(batch: &mut Batch, augment: &Augment, size: [usize; 2], draw: Draw) {
    let Some(mixing) = Mixing::draw(augment, size, draw) else { return };
    let length = (4 * size[0] * size[1]).max(1);
    let share = mixing.share(size);
    let mut before: Vec<u8> = batch.pixels.rchunks_exact(length).next().unwrap_or_default().to_vec();
    let mut own = Vec::with_capacity(length);
    for picture in batch.pixels.chunks_exact_mut(length) {
        own.clear();
        own.extend_from_slice(picture);
        mixing.apply(picture, &before, size);
        std::mem::swap(&mut own, &mut before);
    }
    let others: Vec<u32> = batch.labels.last().into_iter().chain(&batch.labels).copied().collect();
    for (label, other) in batch.labels.iter_mut().zip(others) {
        let (larger, mixed) = match share > 0.5 {
            true => (other, Mixed { label: *label, share: 1.0 - share }),
            false => (*label, Mixed { label: other, share }),
        };
        *label = larger;
        batch.mixed.push(mixed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn batch(values: &[u8], size: [usize; 2]) -> Batch {
        let pixels = values.iter().flat_map(|v| vec![*v; 4 * size[0] * size[1]]).collect();
        let labels = (0..values.len() as u32).collect();
        let valid = vec![true; values.len()];
        Batch { pixels, labels, valid, skipped: Vec::new(), mixed: Vec::new() }
    }

    #[test]
    fn mixup_is_the_weighted_mean_and_the_target_too() {
        let augment = Augment { mixup: 1.0, ..Augment::NONE };
        let size = [2, 3];
        let mut shares = Vec::new();
        for step in 0..2000 {
            let mut batch = batch(&[0, 100, 200], size);
            mix(&mut batch, &augment, size, Draw::new(1, Stream::Mix, 0, step));
            for (place, (label, mixed)) in batch.labels.iter().zip(&batch.mixed).enumerate() {
                assert!((0.0..=0.5).contains(&mixed.share), "{mixed:?}");
                let before = (place + 2) % 3;
                let mut pair = [*label as usize, mixed.label as usize];
                pair.sort_unstable();
                assert_eq!(pair, [place.min(before), place.max(before)]);
                let value = f64::from(*label) * 100.0 * (1.0 - f64::from(mixed.share))
                    + f64::from(mixed.label) * 100.0 * f64::from(mixed.share);
                let got = f64::from(batch.pixels[place * 24]);
                assert!((got - value).abs() <= 0.5 + 1e-3, "{got} instead of {value}");
            }
            let own = if batch.labels[0] == 0 { 1.0 - batch.mixed[0].share } else { batch.mixed[0].share };
            shares.push(f64::from(own));
        }
        // Beta(1, 1) is uniform.
        let mean = shares.iter().sum::<f64>() / 2000.0;
        let below = shares.iter().filter(|s| **s < 0.25).count();
        assert!((mean - 0.5).abs() < 4.0 * (1.0f64 / 12.0 / 2000.0).sqrt(), "{mean}");
        assert!((400..600).contains(&below), "{below}");
    }

    #[test]
    fn cutmix_replaces_a_rectangle_whose_share_is_that_of_the_target() {
        let augment = Augment { cutmix: 1.0, ..Augment::NONE };
        let size = [11, 7];
        let mut cut = 0;
        for step in 0..500 {
            let mut batch = batch(&[10, 20], size);
            mix(&mut batch, &augment, size, Draw::new(2, Stream::Mix, 3, step));
            let first = &batch.pixels[..4 * 77];
            let others = first.chunks_exact(4).filter(|p| p[0] == 20).count();
            let share = if batch.labels[0] == 0 { batch.mixed[0].share } else { 1.0 - batch.mixed[0].share };
            assert!((f64::from(share) - others as f64 / 77.0).abs() < 1e-6, "{share} and {others}");
            assert!(first.iter().all(|v| [10, 20].contains(v)));
            cut += usize::from(others > 0);
        }
        assert!(cut > 400, "{cut}");
    }

    #[test]
    fn both_alternate_and_none_changes_nothing() {
        let both = Augment { cutmix: 1.0, mixup: 0.2, ..Augment::NONE };
        let cuts = (0..1000).filter(|step| {
            let drawn = Mixing::draw(&both, [8, 8], Draw::new(5, Stream::Mix, 1, *step));
            matches!(drawn, Some(Mixing::CutMix(_)))
        });
        let cuts = cuts.count();
        assert!((430..570).contains(&cuts), "{cuts}");
        let mut plain = batch(&[1, 2], [2, 2]);
        mix(&mut plain, &Augment::CIFAR, [2, 2], Draw::new(5, Stream::Mix, 1, 1));
        assert_eq!(plain, batch(&[1, 2], [2, 2]));
    }
}
