//! The meaning of the axes of a value in the file. Exporters put channels first or last, and pixels in two axes or in one.

use super::activation::Activation;
use super::axis::{Axis, MAP, MAP_LAST};
use super::node::DAMAGED;
use crate::error::{Error, Result};

impl Activation {
    /// Whether the order of the numbers is the same with channels first and with channels last.
    pub(super) fn is_either(&self) -> bool {
        let [h, w, c] = self.sizes();
        c == 1 || (h, w) == (1, 1)
    }

    /// The meaning of its axes; `None` if an axis combines several of them.
    pub(super) fn axes(&self) -> Option<Vec<Axis>> {
        let [h, w, c] = self.sizes();
        let pixels = h.saturating_mul(w);
        let either = self.is_either();
        let (first, last) = (!self.last || either, self.last || either);
        let tail = self.tail.as_slice();
        if self.together {
            return Some(vec![Axis::Channel]);
        }
        if first && tail == [c, h, w] {
            return Some(MAP.to_vec());
        }
        if last && tail == [h, w, c] {
            return Some(MAP_LAST.to_vec());
        }
        if self.is_vector() {
            let channel = tail.iter().position(|d| *d != 1).unwrap_or(0);
            let one = |i: usize| if i == channel { Axis::Channel } else { Axis::One };
            return (!tail.is_empty()).then(|| (0..tail.len()).map(one).collect());
        }
        if first && tail == [c, pixels] {
            return Some(vec![Axis::Channel, Axis::Pixel]);
        }
        (last && tail == [pixels, c]).then(|| vec![Axis::Pixel, Axis::Channel])
    }

    /// The axis of the channels, counted behind the batch.
    pub(super) fn channel_axis(&self) -> Option<usize> {
        self.axes()?.iter().position(|a| *a == Axis::Channel)
    }

    /// The meaning of an axis of the file, where axis 0 is the batch.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no such axis, it is the batch, or it combines several axes.
    pub(super) fn axis_at(&self, axis: usize) -> Result<Axis> {
        let axes = self.axes().unwrap_or_default();
        axis.checked_sub(1).and_then(|i| axes.get(i)).copied().ok_or_else(|| {
            Error::data(format!("it works along axis {axis} of a batch of {:?}", self.tail))
                .hint("only channels, rows and columns are told apart")
        })
    }

    /// Gives it the shape with these axes.
    pub(super) fn lies(&mut self, axes: &[Axis]) {
        let [h, w, c] = self.sizes();
        let size = |axis: &Axis| match axis {
            Axis::Channel => c,
            Axis::Row => h,
            Axis::Column => w,
            Axis::Pixel => h.saturating_mul(w),
            Axis::One => 1,
        };
        self.tail = axes.iter().map(size).collect();
        // The two orders may be the same for one shape and differ for another.
        match axes {
            [Axis::Channel, Axis::Row | Axis::Pixel, ..] => self.last = false,
            [Axis::Row | Axis::Pixel, ..] => self.last = true,
            _ => {}
        }
    }

    /// Transposes the axes behind the batch.
    ///
    /// # Errors
    /// [`Error::Data`] if the result has neither channels first nor channels last.
    pub(super) fn transposed(mut self, order: &[usize]) -> Result<Self> {
        let wrong = |x: &Self| {
            Error::data(format!("it puts the sizes {:?} behind the batch in the order {order:?}", x.tail))
                .hint("only maps with their channels first or last are read")
        };
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        let complete = sorted.into_iter().eq(0..=self.tail.len());
        let Some((0, behind)) = order.split_first().filter(|_| complete) else {
            return Err(Error::data(format!("its order is {order:?}")).hint(DAMAGED));
        };
        let behind: Vec<usize> = behind.iter().filter_map(|i| i.checked_sub(1)).collect();
        let tail: Vec<usize> = behind.iter().filter_map(|i| self.tail.get(*i).copied()).collect();
        // Axes of size 1 may be anywhere.
        let long = |i: &&usize| self.tail.get(**i) != Some(&1);
        let kept = behind.iter().filter(long).is_sorted();
        let axes = self.axes().map(|axes| behind.iter().filter_map(|i| axes.get(*i).copied()).collect());
        let axes: Vec<Axis> = match axes {
            Some(axes) => axes,
            None if kept => {
                self.tail = tail;
                return Ok(self);
            }
            None => return Err(wrong(&self)),
        };
        let known = [MAP, MAP_LAST, &[Axis::Channel, Axis::Pixel], &[Axis::Pixel, Axis::Channel]];
        if known.contains(&axes.as_slice()) {
            self.lies(&axes);
            return Ok(self);
        }
        if kept {
            self.tail = tail;
            return Ok(self);
        }
        Err(wrong(&self))
    }
}
