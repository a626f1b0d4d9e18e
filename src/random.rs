//! Randomness as a function of where it is used, not of what was drawn before.
//!
//! A number depends only on (seed, stream, a, b). So a resumed run, another number of threads
//! or another order of evaluation draw the same numbers, and a shader can draw them too.

/// What a random number is for; two uses never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// First values of the parameters; keyed by (parameter, element).
    Init = 1,
    /// The order of the pictures in an epoch; keyed by (epoch, position).
    Shuffle = 2,
    /// Crop and flip of a picture; keyed by (epoch, picture).
    Augment = 3,
    /// The key of a step's dropout masks; keyed by (step, 0).
    Dropout = 4,
}

/// The hash `pcg4d` of Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020:
/// four words to four well-mixed words, in 32-bit arithmetic that WGSL has too.
pub fn pcg4d(mut v: [u32; 4]) -> [u32; 4] {
    let mix = |v: &mut [u32; 4]| {
        v[0] = v[0].wrapping_add(v[1].wrapping_mul(v[3]));
        v[1] = v[1].wrapping_add(v[2].wrapping_mul(v[0]));
        v[2] = v[2].wrapping_add(v[0].wrapping_mul(v[1]));
        v[3] = v[3].wrapping_add(v[1].wrapping_mul(v[2]));
    };
    v = v.map(|x| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    mix(&mut v);
    v = v.map(|x| x ^ (x >> 16));
    mix(&mut v);
    v
}

/// Four random words for element (`a`, `b`) of a stream.
pub fn words(seed: u64, stream: Stream, a: u32, b: u32) -> [u32; 4] {
    // The key is mixed once by itself, so that neighbouring seeds, streams and elements share nothing.
    let key = pcg4d([seed as u32, (seed >> 32) as u32, stream as u32, a]);
    pcg4d([key[0], key[1], key[2] ^ b, key[3]])
}

/// A number in [0, `n`); `n` must not be 0. The bias is below n / 2^32.
pub fn below(word: u32, n: u32) -> u32 {
    ((u64::from(word) * u64::from(n)) >> 32) as u32
}

/// A number uniform in (0, 1), exact in f32.
pub fn unit(word: u32) -> f32 {
    ((word >> 9) as f32 + 0.5) / 8_388_608.0
}

/// A number from the standard normal distribution (Box and Muller, 1958).
pub fn normal(word0: u32, word1: u32) -> f32 {
    let r = (-2.0 * f64::from(unit(word0)).ln()).sqrt();
    let angle = std::f64::consts::TAU * f64::from(unit(word1));
    (r * angle.cos()) as f32
}

/// The numbers 0..`n` in an order that depends on the seed and the epoch alone (Fisher and Yates).
pub fn permutation(seed: u64, epoch: u32, n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        let word = words(seed, Stream::Shuffle, epoch, i as u32)[0];
        order.swap(i, below(word, i as u32 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutation_is_one_and_depends_on_epoch() {
        let a = permutation(7, 0, 1000);
        let mut sorted = a.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().enumerate().all(|(i, &x)| i as u32 == x));
        assert_eq!(a, permutation(7, 0, 1000));
        assert_ne!(a, permutation(7, 1, 1000));
        assert_ne!(a, permutation(8, 0, 1000));
    }

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        let n = 100_000;
        let (mut sum, mut square) = (0.0, 0.0);
        for i in 0..n {
            let w = words(1, Stream::Init, 3, i);
            let x = f64::from(normal(w[0], w[1]));
            sum += x;
            square += x * x;
        }
        let n = f64::from(n);
        assert!((sum / n).abs() < 0.02, "mean {}", sum / n);
        assert!((square / n - 1.0).abs() < 0.03, "variance {}", square / n);
    }

    #[test]
    fn below_stays_below() {
        assert_eq!(below(u32::MAX, 9), 8);
        assert_eq!(below(0, 9), 0);
    }
}
