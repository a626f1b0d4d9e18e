//! Reference implementations of every operation in f64: plain loops over dense tensors that share no code with the
//! library.
//!
//! Functions that add products or terms also return the sums of absolute values, which are the scales of the errors.

mod check;
mod conv;
mod loss;
mod lrn;
mod norm;
mod pool;

use ocelli::tensor::Precision;

pub use conv::*;
pub use loss::*;
pub use lrn::*;
pub use norm::*;
pub use pool::*;

/// A dense tensor of four sizes.
#[derive(Clone, Debug)]
pub struct T {
    pub d: [usize; 4],
    pub v: Vec<f64>,
}

impl T {
    pub fn zeros(d: [usize; 4]) -> Self {
        Self { d, v: vec![0.0; d.iter().product()] }
    }

    pub fn new(d: [usize; 4], mut f: impl FnMut() -> f64) -> Self {
        Self { d, v: (0..d.iter().product()).map(|_| f()).collect() }
    }

    pub fn i(&self, i: usize, j: usize, k: usize, l: usize) -> usize {
        let [_, b, c, d] = self.d;
        ((i * b + j) * c + k) * d + l
    }

    pub fn at(&self, i: usize, j: usize, k: usize, l: usize) -> f64 {
        self.v[self.i(i, j, k, l)]
    }

    pub fn dot(&self, other: &Self) -> f64 {
        assert_eq!(self.d, other.d);
        self.v.iter().zip(&other.v).map(|(a, b)| a * b).sum()
    }

    /// The numbers rounded to `precision`.
    pub fn stored_as(mut self, precision: Precision) -> Self {
        if precision == Precision::F16 {
            self.v.iter_mut().for_each(|x| *x = f64::from(half::f16::from_f64(*x)));
        }
        self
    }

    /// The numbers rounded to f32.
    pub fn rounded(mut self) -> Self {
        self.v.iter_mut().for_each(|x| *x = f64::from(*x as f32));
        self
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): random numbers for tests.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// An integer in `low..=high`.
    pub fn int(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1) as u64) as i64
    }

    pub fn pick<X: Copy>(&mut self, from: &[X]) -> X {
        from[self.next() as usize % from.len()]
    }

    pub fn tensor(&mut self, d: [usize; 4]) -> T {
        T::new(d, || self.unit()).rounded()
    }

    pub fn small_integers(&mut self, d: [usize; 4]) -> T {
        T::new(d, || self.int(-2, 2) as f64)
    }
}

/// One number per direction: height, width.
pub type Two = [usize; 2];
