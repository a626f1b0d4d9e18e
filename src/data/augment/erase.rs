//! Random erasing: Zhong et al., "Random Erasing Data Augmentation", 2017, algorithm 1.

use super::crop::{between, log_between};
use crate::data::Picture;
use crate::random::Draw;

/// Rectangles that are tried before none is erased.
const TRIES: usize = 10;
/// The share of the area, and the aspect ratio: those of torchvision.
const AREA: [f32; 2] = [0.02, 0.33];
const RATIO: [f64; 2] = [0.3, 3.3];

/// Gives a random rectangle this colour, from 0 to 1: the mean of the data is 0 after normalisation.
pub(super) fn rectangle(picture: &mut Picture, color: [f32; 3], draw: &mut Draw) {
    let (h, w) = (picture.height(), picture.width());
    let [r, g, b] = color.map(|c| (255.0 * c).round() as u8);
    for _ in 0..TRIES {
        let area = (h * w) as f64 * between(AREA, draw);
        let ratio = log_between(RATIO, draw);
        let (part_h, part_w) =
            ((area * ratio).sqrt().round() as usize, (area / ratio).sqrt().round() as usize);
        if part_h == 0 || part_w == 0 || part_h >= h || part_w >= w {
            continue;
        }
        let top = draw.below((h - part_h + 1) as u32) as usize;
        let left = draw.below((w - part_w + 1) as u32) as usize;
        for row in picture.rgba_mut().chunks_exact_mut(4 * w).skip(top).take(part_h) {
            row.as_chunks_mut::<4>().0.iter_mut().skip(left).take(part_w).for_each(|p| *p = [r, g, b, 255]);
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn one_rectangle_of_the_allowed_area_and_shape() {
        let (mut sum, mut least, mut most) = (0.0, 1.0f64, 0.0f64);
        for index in 0..2000 {
            let mut picture = Picture::from_rgba(100, 100, vec![7; 40_000]).unwrap();
            rectangle(&mut picture, [0.5, 0.25, 1.0], &mut Draw::new(5, Stream::Augment, 0, index));
            let pixels = picture.rgba().as_chunks::<4>().0;
            let erased: Vec<usize> =
                (0..pixels.len()).filter(|i| pixels[*i] == [128, 64, 255, 255]).collect();
            let (rows, columns): (Vec<_>, Vec<_>) = erased.iter().map(|i| (i / 100, i % 100)).unzip();
            let side = |of: &[usize]| of.iter().max().unwrap() - of.iter().min().unwrap() + 1;
            let (h, w) = (side(&rows), side(&columns));
            assert_eq!(h * w, erased.len(), "a rectangle without holes");
            let (area, ratio) = ((h * w) as f64 / 10_000.0, h as f64 / w as f64);
            assert!((0.27..3.7).contains(&ratio), "{ratio}");
            (sum, least, most) = (sum + area, least.min(area), most.max(area));
        }
        assert!((0.015..0.025).contains(&least) && (0.31..0.34).contains(&most), "{least} to {most}");
        // A few of the largest do not fit and are drawn again, so the mean is a little below 0.175.
        assert!((0.16..0.18).contains(&(sum / 2000.0)), "{}", sum / 2000.0);
    }
}
