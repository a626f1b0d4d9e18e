//! What is drawn at random has the distribution that it should have, in each epoch and from epoch to epoch.

use ocelli::data::{Augment, Normalization, Picture, Preprocessing};
use ocelli::random::{Draw, Stream, permutation};

const SIZE: usize = 10;

/// Crop offsets from 0 to 8, and whether it was mirrored, of a picture of the data set.
#[derive(Clone, Copy)]
struct Variation {
    down: usize,
    across: usize,
    mirrored: bool,
}

fn variation(picture: &Picture, seed: u64, epoch: u32, index: u32) -> Variation {
    let how = Preprocessing::covering(Normalization::IMAGENET);
    let draw = Draw::new(seed, Stream::Augment, epoch, index);
    let varied = Augment::CIFAR.apply(picture.clone(), [SIZE; 2], &how, draw).unwrap();
    // The middle never leaves the picture, so it tells the shift and the mirroring.
    let at = |y: usize, x: usize| {
        let start = (y * SIZE + x) * 4;
        (usize::from(varied.rgba()[start]), usize::from(varied.rgba()[start + 1]))
    };
    let ((y, x), (_, left)) = (at(5, 5), at(5, 4));
    let mirrored = left > x;
    // Row 5 shows row 5 + down - 4; column 5 shows column 5 + across - 4, counted from the other side if mirrored.
    let from = if mirrored { 4 } else { 5 };
    Variation { down: y - 1 + 4 - 5, across: x - 1 + 4 - from, mirrored }
}

/// A picture whose every pixel says where it is, counted from 1.
fn places() -> Picture {
    let rgba = (0..SIZE * SIZE).flat_map(|i| [(1 + i / SIZE) as u8, (1 + i % SIZE) as u8, 0, 255]).collect();
    Picture::from_rgba(SIZE, SIZE, rgba).unwrap()
}

/// Sum of (found - expected)^2 / expected for cells that are equally likely.
fn chi_square(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    counts.iter().map(|n| (*n as f64 - expected).powi(2) / expected).sum()
}

/// A bound that chi-square passes once in about a million times: normal with mean `freedom` and variance twice that,
/// and some more for few degrees of freedom.
fn bound(freedom: f64) -> f64 {
    freedom + 5.0 * (2.0 * freedom).sqrt() + 10.0
}

#[test]
fn half_of_each_epoch_is_mirrored_with_the_spread_of_coins() {
    const PICTURES: u32 = 48;
    let (picture, mut epochs, mut sum, mut spread) = (places(), 0.0, 0.0, 0.0);
    let mut counts = [0u64; PICTURES as usize + 1];
    for seed in 0..100 {
        for epoch in 0..30 {
            let mirrored = (0..PICTURES).filter(|i| variation(&picture, seed, epoch, *i).mirrored).count();
            counts[mirrored] += 1;
            epochs += 1.0;
            sum += mirrored as f64;
            spread += (mirrored as f64 - f64::from(PICTURES) / 2.0).powi(2);
        }
    }
    let pictures = f64::from(PICTURES);
    let (mean, variance) = (sum / epochs / pictures, spread / epochs / (pictures / 4.0));
    let error = 0.5 / (epochs * pictures).sqrt();
    assert!((mean - 0.5).abs() < 5.0 * error, "{mean} of the pictures are mirrored");
    // The mean of squared deviations of a binomial distribution has a relative deviation of sqrt(2 / epochs).
    assert!((variance - 1.0).abs() < 5.0 * (2.0f64 / epochs).sqrt(), "spread {variance}, {counts:?}");
}

#[test]
fn crops_are_uniform_and_independent() {
    let picture = places();
    let mut cells = vec![0u64; 9 * 9 * 2];
    let mut along = [vec![0u64; 18 * 18], vec![0u64; 18 * 18], vec![0u64; 18 * 18]];
    let of = |seed, epoch, index| {
        let Variation { down, across, mirrored } = variation(&picture, seed, epoch, index);
        (down * 9 + across) * 2 + usize::from(mirrored)
    };
    for seed in 0..40 {
        for epoch in 0..20 {
            for index in 0..40 {
                let here = of(seed, epoch, index);
                cells[here] += 1;
                // The neighbour in the data set, the same picture in the next epoch, and with the next seed.
                let beside =
                    [of(seed, epoch, index + 1), of(seed, epoch + 1, index), of(seed + 1, epoch, index)];
                for (table, beside) in along.iter_mut().zip(beside) {
                    // The offset across and the mirroring.
                    table[(here % 18) * 18 + beside % 18] += 1;
                }
            }
        }
    }
    assert!(chi_square(&cells) < bound(161.0), "{cells:?}");
    for offsets in [2, 18] {
        // Each offset by itself.
        let mut each = [0u64; 9];
        cells.iter().enumerate().for_each(|(i, n)| each[i / offsets % 9] += n);
        assert!(chi_square(&each) < bound(8.0), "{each:?}");
    }
    for (table, name) in along.iter().zip(["picture", "epoch", "seed"]) {
        assert!(
            chi_square(table) < bound(323.0),
            "the next {name} is not independent: {}",
            chi_square(table)
        );
    }
}

#[test]
fn shuffling_puts_every_picture_everywhere() {
    const N: usize = 12;
    let mut places = vec![0u64; N * N];
    let mut following = vec![0u64; N * N];
    for seed in 0..100 {
        for epoch in 0..60 {
            let order = permutation(seed, epoch, N);
            for (place, picture) in order.iter().enumerate() {
                places[place * N + *picture as usize] += 1;
            }
            for pair in order.windows(2) {
                following[pair[0] as usize * N + pair[1] as usize] += 1;
            }
        }
    }
    assert!(chi_square(&places) < bound(121.0), "{places:?}");
    let others: Vec<u64> =
        following.iter().enumerate().filter(|(i, _)| i / N != i % N).map(|(_, n)| *n).collect();
    assert!(chi_square(&others) < bound(131.0), "{others:?}");
}

#[test]
fn every_kind_of_draw_has_its_distribution() {
    for place in 0..9 {
        // Numbers behind the first four come from further blocks.
        let at = |b: u32| {
            let mut draw = Draw::new(1, Stream::Init, 3, b);
            for _ in 0..place {
                let _ = draw.coin();
            }
            draw
        };
        const COUNT: u32 = 40_000;
        let n = f64::from(COUNT);
        let heads = (0..COUNT).filter(|b| at(*b).coin()).count() as f64 / n;
        assert!((heads - 0.5).abs() < 5.0 * 0.5 / n.sqrt(), "coin {place}: {heads}");
        let mut cells = vec![0u64; 7];
        (0..COUNT).for_each(|b| cells[at(b).below(7) as usize] += 1);
        assert!(chi_square(&cells) < bound(6.0), "below {place}: {cells:?}");
        let mut cells = vec![0u64; 64];
        (0..COUNT).for_each(|b| cells[(at(b).unit() * 64.0) as usize] += 1);
        assert!(chi_square(&cells) < bound(63.0), "unit {place}: {cells:?}");
        let normal: Vec<f64> = (0..COUNT).map(|b| f64::from(at(b).normal())).collect();
        let (mean, square) = (normal.iter().sum::<f64>() / n, normal.iter().map(|x| x * x).sum::<f64>() / n);
        assert!(mean.abs() < 5.0 / n.sqrt(), "normal {place}: mean {mean}");
        assert!((square - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "normal {place}: variance {square}");
    }
}

/// The first weights of a seed are the same in every version.
#[test]
fn first_weights_keep_their_bits() {
    let known = [
        (0, 0, 0, 0x3f01_a3eb, 0x3f93_1cb4),
        (0, 3, 17, 0x3e58_50d4, 0x3fb6_18e1),
        (7 << 33 | 5, 60, 1000, 0x3f7d_188d, 0x3e16_4489),
    ];
    for (seed, a, b, unit, normal) in known {
        assert_eq!(Draw::new(seed, Stream::Init, a, b).unit().to_bits(), unit);
        assert_eq!(Draw::new(seed, Stream::Init, a, b).normal().to_bits(), normal);
    }
}
