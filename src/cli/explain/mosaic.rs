//! Several small pictures as one, and numbers as pictures.

use super::figures::panel;
use crate::data::Picture;
use crate::error::Result;
use crate::explain::Map;
use crate::infer::Filters;
use crate::report::Panel;

/// The most filters that are shown.
const FILTERS: usize = 256;

/// The pixels between the pictures of a mosaic.
const GAP: usize = 2;

/// The filters of a convolution around grey: in colour over three inputs, the mean over the inputs otherwise.
pub(super) fn filter_panels(filters: &Filters) -> Result<Vec<Panel>> {
    let [k, r, s, c] = filters.shape;
    let one = |i: usize| {
        let size = r * s * c;
        let weights = filters.data.get(i * size..(i + 1) * size).unwrap_or_default();
        let data: Vec<f32> = if c == 3 {
            weights.to_vec()
        } else {
            let mean = |taps: &[f32]| taps.iter().sum::<f32>() / c.max(1) as f32;
            weights.chunks(c.max(1)).flat_map(|taps| [mean(taps); 3]).collect()
        };
        let picture = Map { shape: [r, s, 3], data }.around_grey()?;
        Ok(panel(i.to_string(), "", &picture))
    };
    (0..k.min(FILTERS)).map(one).collect()
}

/// The channels of a vector row by row, in nearly a square. Places that are left have the least number.
pub(super) fn grid_of_vector(vector: &Map) -> Map {
    let count = vector.data.len();
    let columns = (count as f64).sqrt().ceil().max(1.0) as usize;
    let rows = count.div_ceil(columns).max(1);
    let mut data = vector.data.clone();
    data.resize(rows * columns, vector.range()[0]);
    Map { shape: [rows, columns, 1], data }
}

/// Pictures in rows of `columns`, each enlarged or reduced to a square of `side` pixels without changing its shape, on grey.
pub(super) fn mosaic(pictures: &[Picture], columns: usize, side: usize) -> Result<Picture> {
    let columns = columns.max(1);
    let rows = pictures.len().div_ceil(columns).max(1);
    let pitch = side + GAP;
    let (height, width) = (rows * pitch - GAP, columns * pitch - GAP);
    let mut rgba = [225, 225, 225, 255].repeat(height * width);
    for (i, picture) in pictures.iter().enumerate() {
        let (h, w) = (picture.height(), picture.width());
        let longest = h.max(w).max(1);
        let (to_h, to_w) = ((h * side / longest).max(1), (w * side / longest).max(1));
        let (top, left) = (i / columns * pitch + (side - to_h) / 2, i % columns * pitch + (side - to_w) / 2);
        for y in 0..to_h {
            for x in 0..to_w {
                let from = 4 * ((y * h / to_h) * w + x * w / to_w);
                let to = 4 * ((top + y) * width + left + x);
                if let (Some(to), Some(from)) = (rgba.get_mut(to..to + 4), picture.rgba().get(from..from + 4))
                {
                    to.copy_from_slice(from);
                }
            }
        }
    }
    Picture::from_rgba(height, width, rgba)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_lie_in_rows_and_keep_their_shape() {
        let red = Picture::from_rgb(1, 2, &[255, 0, 0, 255, 0, 0]).unwrap();
        let blue = Picture::from_rgb(1, 1, &[0, 0, 255]).unwrap();
        let all = mosaic(&[red, blue.clone(), blue], 2, 4).unwrap();
        assert_eq!((all.height(), all.width()), (10, 10));
        let pixel = |y: usize, x: usize| all.rgba()[4 * (y * 10 + x)..][..3].to_vec();
        assert_eq!((pixel(0, 0), pixel(1, 0), pixel(2, 3)), (vec![225; 3], vec![255, 0, 0], vec![255, 0, 0]));
        assert_eq!((pixel(0, 6), pixel(9, 3), pixel(9, 4)), (vec![0, 0, 255], vec![0, 0, 255], vec![225; 3]));
    }

    #[test]
    fn vectors_and_filters() {
        let grid = grid_of_vector(&Map { shape: [1, 1, 5], data: vec![3.0, 1.0, 2.0, 5.0, 4.0] });
        assert_eq!((grid.shape, &grid.data[5..]), ([2, 3, 1], &[1.0][..]));
        let filters = Filters {
            layer: "conv1".to_owned(),
            shape: [2, 1, 2, 2],
            data: vec![1.0, -1.0, 2.0, 2.0, 1.0, 1.0, 0.0, -1.0],
        };
        let panels = filter_panels(&filters).unwrap();
        assert_eq!((panels.len(), panels[0].width, panels[0].height), (2, 2, 1));
        assert_eq!(panels[0].rgba[..5], [128, 128, 128, 255, 255]);
    }
}
