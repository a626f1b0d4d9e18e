//! Counter-based random numbers: each depends on where it is used, not on what was drawn before.
//!
//! A number depends only on (seed, stream, a, b). A resumed run, another number of threads or another order of
//! evaluation draws the same numbers. A shader can draw them too.

use std::sync::{Mutex, PoisonError};

/// The elements that a thread computes before it takes more: about a millisecond of work.
const ELEMENTS_AT_ONCE: usize = 1 << 15;

/// The purpose of a random number. Two streams never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// Initial values of the parameters; keyed by (parameter, element).
    Init = 1,
    /// The order of the images in an epoch; keyed by (epoch, position).
    Shuffle = 2,
    /// Crop and flip of an image; keyed by (epoch, image).
    Augment = 3,
    /// The key of a step's dropout masks; keyed by (step, 0).
    Dropout = 4,
    /// The pictures that are held out for validation; keyed by (class, place).
    HoldOut = 5,
    /// How the pictures of a batch are mixed; keyed by (epoch, batch).
    Mix = 6,
    /// The pictures of a class in an epoch in which each class comes as often; keyed by (epoch, class).
    Balance = 7,
    /// Noise that is added to a picture to explain a network; keyed by (sample, element).
    Explain = 8,
}

/// The hash `pcg4d` of Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020. It maps four words to
/// four words in 32-bit arithmetic, which WGSL has too.
///
/// Its last operations only carry upwards, so the low bits of a word are poorly mixed. Therefore words stay in this
/// file, and every draw uses their upper bits (`docs/decisions/0010-random-upper-bits.md`).
fn pcg4d(mut v: [u32; 4]) -> [u32; 4] {
    let mix = |v: &mut [u32; 4]| {
        v[0] = v[0].wrapping_add(v[1].wrapping_mul(v[3]));
        v[1] = v[1].wrapping_add(v[2].wrapping_mul(v[0]));
        v[2] = v[2].wrapping_add(v[0].wrapping_mul(v[1]));
        v[3] = v[3].wrapping_add(v[1].wrapping_mul(v[2]));
    };
    for x in &mut v {
        *x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    }
    mix(&mut v);
    for x in &mut v {
        *x ^= *x >> 16;
    }
    mix(&mut v);
    v
}

/// The elements (`a`, 0), (`a`, 1), ... of a stream. The hash of their common part is computed once.
#[derive(Debug, Clone, Copy)]
pub struct Elements {
    key: [u32; 4],
}

impl Elements {
    /// The elements of `stream` whose first index is `a`.
    pub fn new(seed: u64, stream: Stream, a: u32) -> Self {
        // The key is hashed once by itself, so that neighbouring seeds, streams and elements have unrelated numbers.
        Self { key: pcg4d([seed as u32, (seed >> 32) as u32, stream as u32, a]) }
    }

    /// The random numbers of element (`a`, `b`).
    pub fn draw(self, b: u32) -> Draw {
        let mut key = self.key;
        key[2] ^= b;
        Draw { key, words: pcg4d(key), next: 0 }
    }

    /// A value for each of the first `count` elements, computed from its random numbers on all cores.
    pub fn values(self, count: usize, of: impl Fn(Draw) -> f32 + Sync) -> Vec<f32> {
        let mut values = vec![0.0; count];
        let parts = Mutex::new(values.chunks_mut(ELEMENTS_AT_ONCE).enumerate());
        let compute = || {
            loop {
                let part = parts.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((i, part)) = part else { return };
                for (j, value) in part.iter_mut().enumerate() {
                    *value = of(self.draw((i * ELEMENTS_AT_ONCE + j) as u32));
                }
            }
        };
        let threads =
            std::thread::available_parallelism().map_or(1, usize::from).min(count.div_ceil(ELEMENTS_AT_ONCE));
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // If the system refuses a thread, the others compute its elements.
                if std::thread::Builder::new().spawn_scoped(scope, compute).is_err() {
                    break;
                }
            }
            compute();
        });
        values
    }
}

/// The random numbers of one element of a stream, one after another.
#[derive(Debug, Clone)]
pub struct Draw {
    key: [u32; 4],
    words: [u32; 4],
    next: u32,
}

impl Draw {
    /// The random numbers of element (`a`, `b`) of a stream.
    pub fn new(seed: u64, stream: Stream, a: u32, b: u32) -> Self {
        Elements::new(seed, stream, a).draw(b)
    }

    fn word(&mut self) -> u32 {
        let (block, place) = (self.next / 4, self.next % 4);
        if place == 0 && block > 0 {
            self.words = pcg4d([self.key[0], self.key[1] ^ block, self.key[2], self.key[3]]);
        }
        self.next += 1;
        self.words[place as usize]
    }

    /// A number in [0, `n`), and 0 for `n` = 0. The bias is below n / 2^32.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.word()) * u64::from(n)) >> 32) as u32
    }

    /// True or false, each with probability 1/2.
    pub fn coin(&mut self) -> bool {
        self.word() >> 31 == 1
    }

    /// A number uniform in (0, 1), exact in f32.
    pub fn unit(&mut self) -> f32 {
        ((self.word() >> 9) as f32 + 0.5) / 8_388_608.0
    }

    /// A number from the standard normal distribution (Box and Muller, 1958).
    pub fn normal(&mut self) -> f32 {
        let r = (-2.0 * f64::from(self.unit()).ln()).sqrt();
        let angle = std::f64::consts::TAU * f64::from(self.unit());
        (r * angle.cos()) as f32
    }

    /// A number from the distribution Beta(`alpha`, `alpha`) on [0, 1].
    pub fn beta(&mut self, alpha: f32) -> f32 {
        // For a very small alpha both numbers can be 0 in f64. The logarithms of them are not.
        let [x, y] = [self.ln_gamma_number(alpha), self.ln_gamma_number(alpha)];
        (1.0 / (1.0 + (y - x).exp())) as f32
    }

    /// The logarithm of a number from the gamma distribution of shape `alpha` (Marsaglia and Tsang, "A Simple Method for Generating
    /// Gamma Variables", 2000).
    fn ln_gamma_number(&mut self, alpha: f32) -> f64 {
        let alpha = f64::from(alpha.max(f32::MIN_POSITIVE));
        // The method needs a shape of at least 1; the last factor takes the number back to the smaller shape.
        let boost = if alpha < 1.0 { f64::from(self.unit()).ln() / alpha } else { 0.0 };
        let d = if alpha < 1.0 { alpha + 1.0 } else { alpha } - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = f64::from(self.normal());
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && f64::from(self.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return (d * v).ln() + boost;
            }
        }
    }

    /// Four words that serve as a key in a shader, which hashes them again.
    pub fn shader_key(self) -> [u32; 4] {
        self.words
    }
}

/// The numbers 0..`n` in a random order that depends only on the seed and the epoch (Fisher and Yates).
pub fn permutation(seed: u64, epoch: u32, n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    let elements = Elements::new(seed, Stream::Shuffle, epoch);
    for i in (1..n).rev() {
        let j = elements.draw(i as u32).below(i as u32 + 1);
        order.swap(i, j as usize);
    }
    order
}

/// `count` of the numbers 0..`n` for a class in an epoch, each as often as any other or once more, in a random order.
#[cfg(feature = "train")]
pub(crate) fn spread_draw(seed: u64, epoch: u32, class: u32, n: usize, count: usize) -> Vec<usize> {
    let mut draw = Draw::new(seed, Stream::Balance, epoch, class);
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count && n > 0 {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, draw.below(i as u32 + 1) as usize);
        }
        drawn.extend(order.into_iter().take(count - drawn.len()));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_on_all_cores_are_those_of_one() {
        let elements = Elements::new(3, Stream::Init, 5);
        for count in [0, 1, ELEMENTS_AT_ONCE, 3 * ELEMENTS_AT_ONCE + 77] {
            let alone: Vec<f32> = (0..count).map(|i| elements.draw(i as u32).normal()).collect();
            assert_eq!(elements.values(count, |mut draw| draw.normal()), alone);
        }
    }

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
    fn below_takes_the_upper_bits() {
        let drawn = |word| Draw { key: [0; 4], words: [word; 4], next: 0 };
        assert_eq!(drawn(u32::MAX).below(9), 8);
        assert_eq!(drawn(0).below(9), 0);
        assert_eq!(drawn(u32::MAX).below(0), 0);
        assert!(drawn(1 << 31).coin() && !drawn(u32::MAX >> 1).coin());
    }
}
