//! What a network is to say of a picture.

/// What a network is to say of a picture: a class, or a mixture of two (mixup: Zhang et al., "mixup: Beyond Empirical Risk
/// Minimization", 2017), with a weight in the loss.
///
/// ```
/// use ocelli::train::Target;
///
/// let mixed = Target { second: 3, share: 0.25, ..Target::from(7) };
/// assert!(Target::from(7).is_plain() && !mixed.is_plain());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The class, counted from 0. Of a mixture it is the one with the larger share, and accuracy is that for it.
    pub label: u32,
    /// The second class.
    pub second: u32,
    /// The share of the second class, from 0 to 1.
    pub share: f32,
    /// The loss is multiplied by this.
    pub weight: f32,
}

impl From<u32> for Target {
    fn from(label: u32) -> Self {
        Self { label, second: label, share: 0.0, weight: 1.0 }
    }
}

impl Target {
    /// Whether it is one class of weight 1, which every loss takes.
    pub fn is_plain(&self) -> bool {
        self.share == 0.0 && self.weight == 1.0
    }

    /// The numbers of the input of [`crate::graph::Graph::soft_cross_entropy`]. Classes are below 2^20, which f32 holds.
    pub(super) fn stored(&self) -> [f32; 4] {
        [self.label as f32, self.second as f32, self.share, self.weight]
    }
}
