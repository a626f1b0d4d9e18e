//! Arrays of a picture, and pictures of them.

use crate::data::{ColourMap, Picture};
use crate::error::{Error, Result};

/// Numbers over a picture or a map: height, width and channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// Height, width and channels.
    pub shape: [usize; 3],
    /// The numbers, row by row, pixel by pixel.
    pub data: Vec<f32>,
}

impl Map {
    /// The numbers of a channel as a map of one channel.
    pub fn channel(&self, channel: usize) -> Self {
        let [h, w, c] = self.shape;
        let data = self.data.iter().skip(channel).step_by(c.max(1)).copied().collect();
        Self { shape: [h, w, 1], data }
    }

    /// The least and the greatest number; `[0, 0]` without numbers.
    pub fn range(&self) -> [f32; 2] {
        let first = self.data.first().copied().unwrap_or(0.0);
        self.data.iter().fold([first; 2], |[least, greatest], x| [least.min(*x), greatest.max(*x)])
    }

    /// The place `[row, column]` of the greatest number of a channel, the first one in row-major order, and the number.
    pub fn peak(&self, channel: usize) -> ([usize; 2], f32) {
        let [_, w, c] = self.shape;
        let numbers = self.data.iter().skip(channel).step_by(c.max(1)).enumerate();
        let start = (0, f32::NEG_INFINITY);
        let (at, most) = numbers.fold(start, |best, (i, x)| if *x > best.1 { (i, *x) } else { best });
        ([at / w.max(1), at % w.max(1)], most)
    }

    /// The greatest absolute value over the channels of each pixel.
    #[must_use]
    pub fn largest_of_channels(&self) -> Self {
        let [h, w, c] = self.shape;
        let data = self.data.chunks(c.max(1));
        let data = data.map(|pixel| pixel.iter().fold(0.0f32, |most, x| most.max(x.abs()))).collect();
        Self { shape: [h, w, 1], data }
    }

    /// Scales bilinearly to `height` x `width`, as PyTorch's `interpolate` with `align_corners=False`.
    #[must_use]
    pub fn resized(&self, height: usize, width: usize) -> Self {
        let [h, w, c] = self.shape;
        let (rows, columns) = (taps(h, height), taps(w, width));
        let mut data = Vec::with_capacity(height * width * c);
        for row in &rows {
            for column in &columns {
                for channel in 0..c {
                    let at =
                        |y: usize, x: usize| self.data.get((y * w + x) * c + channel).copied().unwrap_or(0.0);
                    let line = |y: usize| at(y, column.0) * (1.0 - column.2) + at(y, column.1) * column.2;
                    data.push(line(row.0) * (1.0 - row.2) + line(row.1) * row.2);
                }
            }
        }
        Self { shape: [height, width, c], data }
    }

    /// The numbers divided by the greatest one, with those below 0 as 0; all 0 if none is above 0.
    #[must_use]
    pub fn share_of_peak(&self) -> Self {
        let most = self.range()[1];
        let share = |x: &f32| if most > 0.0 { (x / most).max(0.0) } else { 0.0 };
        Self { shape: self.shape, data: self.data.iter().map(share).collect() }
    }

    /// A part: the first row and column, height and width. What lies outside is left out.
    #[must_use]
    pub fn part(&self, [top, left, height, width]: [usize; 4]) -> Self {
        let [h, w, c] = self.shape;
        let (bottom, right) = (top.saturating_add(height).min(h), left.saturating_add(width).min(w));
        let (top, left) = (top.min(bottom), left.min(right));
        let rows = (top..bottom).filter_map(|y| self.data.get((y * w + left) * c..(y * w + right) * c));
        Self { shape: [bottom - top, right - left, c], data: rows.flatten().copied().collect() }
    }

    /// The first channel in colours: the numbers of `range` are the two ends of the colours.
    ///
    /// # Errors
    /// [`Error::Data`] for a map without pixels.
    pub fn in_colours(&self, [least, greatest]: [f32; 2], colours: ColourMap) -> Result<Picture> {
        let [h, w, c] = self.shape;
        let span = greatest - least;
        let share = |x: f32| if span > 0.0 { (x - least) / span } else { 0.0 };
        let pixels = self.data.iter().step_by(c.max(1)).map(|x| colours.colour(share(*x)));
        Picture::from_rgb(h, w, &pixels.flatten().collect::<Vec<u8>>())
    }

    /// Three channels around grey: 0 is grey, and the greatest absolute value is as far from it as possible.
    ///
    /// # Errors
    /// [`Error::Data`] for a map without pixels or with other channels.
    pub fn around_grey(&self) -> Result<Picture> {
        let [h, w, c] = self.shape;
        if c != 3 {
            return Err(
                Error::data(format!("a picture of {c} channels")).hint("take a map of three channels")
            );
        }
        let most = self.data.iter().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
        let bytes = self.data.iter().map(|x| (127.5 + 127.5 * x / most).round().clamp(0.0, 255.0) as u8);
        Picture::from_rgb(h, w, &bytes.collect::<Vec<u8>>())
    }
}

/// For each place of `to` the two places of `from` that it lies between, and the share of the second.
fn taps(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let last = from.saturating_sub(1);
    let tap = |i: usize| {
        let centre = ((i as f64 + 0.5) * from as f64 / to.max(1) as f64 - 0.5).max(0.0);
        let first = (centre.floor() as usize).min(last);
        (first, (first + 1).min(last), (centre - first as f64).clamp(0.0, 1.0) as f32)
    };
    (0..to).map(tap).collect()
}

/// Lays a heat map over a picture of the same size: where `heat` is 1, the colour covers the picture by `share`.
///
/// # Errors
/// [`Error::Usage`] if the sizes differ.
pub fn overlay(picture: &Picture, heat: &Map, share: f32, colours: ColourMap) -> Result<Picture> {
    let [h, w, c] = heat.shape;
    if [h, w] != [picture.height(), picture.width()] {
        let size = format!("{}x{}", picture.height(), picture.width());
        return Err(Error::usage(format!("a heat map of {h}x{w} over a picture of {size}"))
            .hint("scale the map to the size of the picture"));
    }
    let mut over = picture.clone();
    let pixels = over.rgba_mut().as_chunks_mut::<4>().0.iter_mut();
    for (pixel, x) in pixels.zip(heat.data.iter().step_by(c.max(1))) {
        let cover = share.clamp(0.0, 1.0) * x.clamp(0.0, 1.0).sqrt();
        for (below, above) in pixel.iter_mut().zip(colours.colour(*x)) {
            *below = (f32::from(*below) * (1.0 - cover) + f32::from(above) * cover).round() as u8;
        }
    }
    Ok(over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_is_that_of_pytorch() {
        // torch.nn.functional.interpolate(torch.tensor([[[[0., 1.], [2., 3.]]]]), (4, 3), mode="bilinear")
        let map = Map { shape: [2, 2, 1], data: vec![0.0, 1.0, 2.0, 3.0] };
        let wanted = [0.0, 0.5, 1.0, 0.5, 1.0, 1.5, 1.5, 2.0, 2.5, 2.0, 2.5, 3.0];
        let scaled = map.resized(4, 3);
        assert_eq!(scaled.shape, [4, 3, 1]);
        assert!(scaled.data.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{scaled:?}");
        assert_eq!(map.resized(2, 2), map);
    }

    #[test]
    fn peaks_parts_and_channels() {
        let map = Map { shape: [2, 2, 2], data: vec![1.0, -1.0, 4.0, 0.0, 4.0, 5.0, 2.0, -9.0] };
        assert_eq!((map.peak(0), map.peak(1)), (([0, 1], 4.0), ([1, 0], 5.0)));
        assert_eq!(map.channel(1).data, [-1.0, 0.0, 5.0, -9.0]);
        assert_eq!(map.range(), [-9.0, 5.0]);
        assert_eq!(map.largest_of_channels().data, [1.0, 4.0, 5.0, 9.0]);
        assert_eq!(map.part([1, 0, 5, 1]).data, [4.0, 5.0]);
        assert_eq!(map.part([7, 7, 1, 1]).shape, [0, 0, 2]);
        assert_eq!(map.channel(0).share_of_peak().data, [0.25, 1.0, 1.0, 0.5]);
        let none = Map { shape: [1, 2, 1], data: vec![-1.0, 0.0] };
        assert_eq!(none.share_of_peak().data, [0.0, 0.0]);
    }

    #[test]
    fn pictures_of_maps() {
        let map = Map { shape: [1, 1, 3], data: vec![1.0, 0.0, -0.5] };
        assert_eq!(map.around_grey().unwrap().rgba(), [255, 128, 64, 255]);
        assert!(map.channel(0).around_grey().is_err());
        let heat = Map { shape: [1, 2, 1], data: vec![0.0, 1.0] };
        let picture = Picture::from_grey(1, 2, &[100, 100]).unwrap();
        let over = overlay(&picture, &heat, 1.0, ColourMap::Grey).unwrap();
        assert_eq!(over.rgba(), [100, 100, 100, 255, 255, 255, 255, 255]);
        assert!(overlay(&picture, &map, 1.0, ColourMap::Grey).is_err());
        assert_eq!(heat.in_colours([0.0, 2.0], ColourMap::Grey).unwrap().rgba()[4..7], [128; 3]);
    }
}
