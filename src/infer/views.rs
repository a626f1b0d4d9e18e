//! Probabilities averaged over views of a picture.

use super::{Classifier, check_logits, mean_of_views};
use crate::data::{Picture, Views};
use crate::error::{Error, Result};
use std::ops::{ControlFlow, Range};

impl Classifier {
    /// The mean of the probabilities of all views of each picture, in the order of the classes; two of a network with one output. The views
    /// of consecutive pictures fill the batches of the network, and the memory for pixels does not grow with the number of pictures.
    ///
    /// # Errors
    /// [`Error::Usage`] if a scale is smaller than the input; [`Error::Data`] naming the picture, counted from 0 where there are several,
    /// that cannot be scaled or whose logits overflow; [`Error::Gpu`] if the device failed.
    pub fn probabilities_of_views(&self, pictures: &[Picture], views: &Views) -> Result<Vec<Vec<f64>>> {
        let metadata = self.metadata();
        let [h, w, _] = metadata.input;
        views.check([h, w])?;
        let place = |e: Error, i: usize| if pictures.len() > 1 { e.at(format!("picture {i}")) } else { e };
        let each = views.count();
        // The views of the picture that was asked for last: views are asked for in their order.
        let mut prepared: (usize, Vec<Picture>) = (usize::MAX, Vec::new());
        let mut take = |numbers: Range<usize>| {
            let mut pixels = Vec::with_capacity(self.batch_size() * h * w * 4);
            for number in numbers {
                let i = number / each;
                if prepared.0 != i {
                    let of = pictures.get(i).map(|p| views.prepared(p, [h, w], &metadata.preprocessing));
                    prepared = (i, of.transpose().map_err(|e| place(e, i))?.unwrap_or_default());
                }
                pixels.extend_from_slice(prepared.1.get(number % each).map_or(&[], |view| view.rgba()));
            }
            Ok(pixels)
        };
        let mut go_on = |_| ControlFlow::Continue(());
        let run = self.unchecked(pictures.len() * each, &mut take, &mut go_on);
        let logits = pollster::block_on(run)?;
        let outputs = metadata.classes.len().max(1);
        let of = |(i, logits): (usize, &[f32])| {
            logits
                .chunks(outputs)
                .try_for_each(|view| check_logits(view, outputs))
                .map_err(|e| place(e, i))?;
            Ok(mean_of_views(logits, outputs))
        };
        logits.chunks(each * outputs).enumerate().map(of).collect()
    }
}
