//! A picture that is drawn on: rectangles, pictures and text.

use super::figure::Png;
use crate::error::{Error, Result, Untrusted};
use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{ExtendedColorType, ImageEncoder};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// The most characters of a text that are looked at: no line of a figure has as many.
const MOST: usize = 2000;
const DOTS: &str = "...";

/// Red, green and blue.
pub(super) type Colour = [u8; 3];

/// Pixels of RGB, white at first. What lies outside is not drawn.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    /// The caller has checked that so many pixels fit into memory.
    pub(super) fn white([width, height]: [usize; 2]) -> Self {
        Self { width, height, rgb: vec![255; width.saturating_mul(height).saturating_mul(3)] }
    }

    fn pixel(&mut self, x: usize, y: usize) -> Option<&mut [u8; 3]> {
        if x >= self.width {
            return None;
        }
        self.rgb.as_chunks_mut::<3>().0.get_mut(y.checked_mul(self.width)?.checked_add(x)?)
    }

    pub(super) fn fill(&mut self, [x, y]: [usize; 2], [width, height]: [usize; 2], colour: Colour) {
        for v in y..y + height {
            for u in x..x + width {
                if let Some(pixel) = self.pixel(u, v) {
                    *pixel = colour;
                }
            }
        }
    }

    /// Draws a picture with each of its pixels as a square of `factor` pixels.
    pub(super) fn picture(&mut self, [x, y]: [usize; 2], picture: &Scaled, factor: usize) {
        for v in 0..picture.height * factor {
            for u in 0..picture.width * factor {
                let from = picture.rgb.get(v / factor * picture.width + u / factor);
                if let (Some(pixel), Some(from)) = (self.pixel(x + u, y + v), from) {
                    *pixel = *from;
                }
            }
        }
    }

    /// Draws one line of text. `x` and `y` are those of its upper left corner.
    pub(super) fn text(&mut self, [x, y]: [usize; 2], text: &str, font: Font, colour: Colour) {
        for (i, c) in text.chars().enumerate() {
            let left = x + i * font.width();
            for (v, row) in font.rows(c).enumerate() {
                for (u, covered) in row.iter().enumerate().filter(|(_, covered)| **covered > 0) {
                    if let Some(pixel) = self.pixel(left + u, y + v) {
                        let covered = u32::from(*covered);
                        let mix = |(to, ink): (&mut u8, u8)| {
                            *to = ((u32::from(*to) * (255 - covered) + u32::from(ink) * covered + 127) / 255)
                                as u8;
                        };
                        pixel.iter_mut().zip(colour).for_each(mix);
                    }
                }
            }
        }
    }

    /// The picture as a file.
    pub(super) fn png(&self) -> Result<Png> {
        let mut bytes = Vec::new();
        let (width, height) = (self.width as u32, self.height as u32);
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
            .write_image(&self.rgb, width, height, ExtendedColorType::Rgb8)
            .map_err(|e| Error::internal(format!("cannot encode a figure as PNG: {e}")).with_source(e))?;
        Ok(Png { bytes, size: [self.width, self.height] })
    }
}

/// A picture of RGB, perhaps smaller than the one it was made of.
pub(super) struct Scaled {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) rgb: Vec<Colour>,
}

impl Scaled {
    /// A picture of RGBA, without its alpha. If a side is longer than `longest`, the picture is scaled down to that: each pixel is then
    /// the mean over the area that it covers.
    pub(super) fn new(width: usize, height: usize, rgba: &[u8], longest: usize) -> Self {
        let pixels = rgba.as_chunks::<4>().0;
        if width.max(height) <= longest {
            let rgb = pixels.iter().map(|[r, g, b, _]| [*r, *g, *b]).collect();
            return Self { width, height, rgb };
        }
        let [w, h] = Self::size(width, height, longest);
        let mut rgb = Vec::with_capacity(w * h);
        for y in 0..h {
            for x in 0..w {
                let (mut sums, mut all) = ([0_u64; 3], 0);
                for (v, tall) in covered(y, height, h) {
                    for (u, wide) in covered(x, width, w) {
                        let share = tall as u64 * wide as u64;
                        let pixel = pixels.get(v * width + u).unwrap_or(&[0; 4]);
                        sums.iter_mut().zip(pixel).for_each(|(sum, byte)| *sum += share * u64::from(*byte));
                        all += share;
                    }
                }
                rgb.push(sums.map(|sum| ((sum + all / 2) / all.max(1)) as u8));
            }
        }
        Self { width: w, height: h, rgb }
    }

    /// Width and height of a picture that is scaled down to a side of at most `longest`.
    pub(super) fn size(width: usize, height: usize, longest: usize) -> [usize; 2] {
        let side = width.max(height);
        let scaled = |x: usize| (x as u128 * longest as u128 / side.max(1) as u128).max(1) as usize;
        if side <= longest { [width, height] } else { [width, height].map(scaled) }
    }
}

/// The old pixels that the new pixel `i` covers, of `from` pixels that become `to`, each with its length in units of 1/`to`.
fn covered(i: usize, from: usize, to: usize) -> impl Iterator<Item = (usize, usize)> {
    let (begin, end) = (i * from, (i + 1) * from);
    (begin / to..end.div_ceil(to)).map(move |old| (old, end.min((old + 1) * to) - begin.max(old * to)))
}

/// A font of one size. All characters have the same width.
#[derive(Clone, Copy)]
pub(super) struct Font(FontWeight, RasterHeight);

impl Font {
    pub(super) const TITLE: Self = Self(FontWeight::Bold, RasterHeight::Size24);
    pub(super) const NAME: Self = Self(FontWeight::Bold, RasterHeight::Size16);
    pub(super) const TEXT: Self = Self(FontWeight::Regular, RasterHeight::Size16);

    /// Of a character.
    pub(super) const fn width(self) -> usize {
        get_raster_width(self.0, self.1)
    }

    /// Of a line.
    pub(super) const fn height(self) -> usize {
        self.1.val()
    }

    /// The rows of a character; those of `?` for one that the font lacks.
    fn rows(self, c: char) -> impl Iterator<Item = &'static [u8]> {
        let Self(weight, size) = self;
        let glyph = get_raster(c, weight, size).or_else(|| get_raster('?', weight, size));
        glyph.into_iter().flat_map(|glyph| glyph.rows())
    }

    /// A text in lines of at most `width` pixels, broken at spaces where there are some. There are at most `most` lines. Three dots mark a
    /// text that was cut.
    pub(super) fn lines(self, text: &str, width: usize, most: usize) -> Vec<String> {
        let room = (width / self.width()).max(DOTS.len());
        let mut lines: Vec<String> = Vec::new();
        let mut free = 0;
        for word in drawn(text).split(' ').filter(|word| !word.is_empty()) {
            let characters: Vec<char> = word.chars().collect();
            if let Some(line) = lines.last_mut().filter(|_| characters.len() < free) {
                *line += &format!(" {word}");
                free -= characters.len() + 1;
                continue;
            }
            for part in characters.chunks(room) {
                lines.push(part.iter().collect());
                free = room - part.len();
            }
        }
        let cut: String = lines.drain(most.min(lines.len())..).take(1).collect();
        if let Some(last) = lines.last_mut().filter(|_| !cut.is_empty()) {
            let kept: String = format!("{last} {cut}").chars().take(room - DOTS.len()).collect();
            *last = format!("{}{DOTS}", kept.trim_end());
        }
        lines
    }
}

/// A text in characters that the fonts have, or that become `?`. What is not to be printed is escaped.
fn drawn(text: &str) -> String {
    let plain = |c| match c {
        '\u{a0}' | '\u{2009}' | '\u{202f}' => ' ',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        c => c,
    };
    Untrusted::new(text).at_most(MOST).to_string().chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, characters: usize, most: usize) -> Vec<String> {
        let lines = Font::TEXT.lines(text, characters * Font::TEXT.width() + 1, most);
        assert!(
            lines.len() <= most && lines.iter().all(|line| line.chars().count() <= characters),
            "{lines:?}"
        );
        lines
    }

    #[test]
    fn texts_are_broken_at_spaces_and_cut() {
        assert_eq!(lines("one two three", 13, 2), ["one two three"]);
        assert_eq!(lines("one two three", 12, 2), ["one two", "three"]);
        assert_eq!(lines("one two three", 12, 1), ["one two t..."]);
        assert_eq!(lines("one  two\u{a0}three four", 7, 2), ["one two", "thre..."]);
        assert_eq!(lines("one twothreefour", 5, 9), ["one", "twoth", "reefo", "ur"]);
        assert_eq!(lines("abcdefgh", 3, 1), ["..."]);
        assert_eq!((lines("", 9, 2), lines("   ", 9, 2), lines("abc", 9, 0)), (vec![], vec![], vec![]));
        assert_eq!(Font::TEXT.lines("abcdef", 0, 1), ["..."]);
        assert!(lines(&"x ".repeat(1 << 20), 40, 3).join("").ends_with("..."));
    }

    #[test]
    fn text_of_strangers_is_escaped() {
        assert_eq!(lines("a\n\u{202e}\u{1b}b \u{2212}1\u{2019}", 40, 1), [r"a\n\u{202e}\u{1b}b -1'"]);
    }

    /// The pixels that are not white.
    fn inked(canvas: &Canvas) -> Vec<[usize; 2]> {
        let pixels = canvas.rgb.as_chunks::<3>().0.iter().enumerate();
        pixels.filter(|(_, p)| **p != [255; 3]).map(|(i, _)| [i % canvas.width, i / canvas.width]).collect()
    }

    #[test]
    fn text_is_drawn_in_its_place_and_colour() {
        let draw = |text: &str| {
            let mut canvas = Canvas::white([60, 30]);
            canvas.text([10, 5], text, Font::TEXT, [10, 20, 30]);
            canvas
        };
        let one = draw("H");
        let ink = inked(&one);
        let [w, h] = [Font::TEXT.width(), Font::TEXT.height()];
        assert!(
            ink.len() > 10 && ink.iter().all(|[x, y]| (10..10 + w).contains(x) && (5..5 + h).contains(y))
        );
        // The stems of bold letters cover whole pixels.
        let mut bold = Canvas::white([60, 30]);
        bold.text([10, 5], "H", Font::TITLE, [10, 20, 30]);
        assert!(bold.rgb.as_chunks::<3>().0.contains(&[10, 20, 30]));
        assert_eq!(draw("é\u{72ac}").rgb, draw("é?").rgb, "what the font lacks is a question mark");
        assert_ne!(draw("é").rgb, draw("?").rgb);
        // Half of it lies outside.
        let mut canvas = Canvas::white([14, 9]);
        canvas.text([10, 5], "HHHH", Font::TITLE, [0; 3]);
        canvas.text([usize::MAX / 2, 5], "H", Font::TITLE, [0; 3]);
        assert!(inked(&canvas).iter().all(|[x, y]| *x >= 10 && *y >= 5));
    }

    #[test]
    fn rectangles_and_pictures_end_where_they_should() {
        let mut canvas = Canvas::white([6, 5]);
        canvas.fill([1, 2], [2, 2], [9; 3]);
        assert_eq!(inked(&canvas), [[1, 2], [2, 2], [1, 3], [2, 3]]);
        let picture = Scaled::new(2, 1, &[1, 2, 3, 0, 4, 5, 6, 99], 512);
        let mut canvas = Canvas::white([6, 5]);
        canvas.picture([1, 1], &picture, 2);
        canvas.picture([5, 4], &picture, 9);
        assert_eq!(
            canvas.rgb.as_chunks::<3>().0[6..18],
            [
                [[255; 3], [1, 2, 3], [1, 2, 3], [4, 5, 6], [4, 5, 6], [255; 3]],
                [[255; 3], [1, 2, 3], [1, 2, 3], [4, 5, 6], [4, 5, 6], [255; 3]],
            ]
            .concat()
        );
        assert_eq!(canvas.rgb.as_chunks::<3>().0[29], [1, 2, 3]);
    }

    #[test]
    fn large_pictures_become_means_of_areas() {
        // Three pixels become two: each new one covers one and a half.
        let grey = |values: &[u8]| values.iter().flat_map(|v| [*v, *v, *v, 7]).collect::<Vec<u8>>();
        let small = Scaled::new(3, 1, &grey(&[30, 60, 90]), 2);
        assert_eq!((small.width, small.height), (2, 1));
        assert_eq!(small.rgb, [[40; 3], [80; 3]]);
        let small =
            Scaled::new(4, 4, &grey(&[0, 0, 10, 10, 0, 0, 10, 10, 20, 20, 40, 40, 20, 20, 40, 44]), 2);
        assert_eq!(small.rgb, [[0; 3], [10; 3], [20; 3], [41; 3]]);
        assert_eq!(Scaled::size(600, 400, 512), [512, 341]);
        assert_eq!(Scaled::size(1, usize::MAX, 512), [1, 512]);
        assert_eq!(Scaled::size(512, 3, 512), [512, 3]);
        // Of a picture of one colour none is lost at the edges.
        assert!(Scaled::new(37, 53, &grey(&[201; 37 * 53]), 16).rgb.iter().all(|p| *p == [201; 3]));
    }
}
