//! Pictures side by side in one PNG file, with titles and a colour bar.

use super::canvas::{Canvas, Colour, Font, Scaled};
use crate::error::{Error, Result};

/// The longest side of a picture as it is shown. A longer one is scaled down.
const LONGEST: usize = 512;
/// The most bytes of the pictures together, and of the figure.
const MOST_BYTES: usize = 64 << 20;

const MARGIN: usize = 24;
/// Between a text and what it belongs to.
const NEAR: usize = 6;
/// Texts of a panel have at least this width, also if its picture is narrower.
const NARROWEST: usize = 56;
/// A figure has at least this width if its title needs it.
const TITLE_WIDTH: usize = 640;
const TITLE_LINES: usize = 2;
const TITLE_GAP: usize = 14;
const BAR: [usize; 2] = [320, 14];

const DARK: Colour = [0x1d, 0x21, 0x26];
const SOFT: Colour = [0x45, 0x4d, 0x56];
/// Around pictures, so that white ones have an edge.
const EDGE: Colour = [0xcf, 0xd3, 0xd8];

/// A picture with a title above it and a caption below it. Both may be empty. They may come from files: what is not to be printed is
/// escaped, and what is too long is cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Panel {
    /// Above the picture.
    pub title: String,
    /// Below the picture.
    pub caption: String,
    /// Of the picture, in pixels.
    pub width: usize,
    /// Of the picture, in pixels.
    pub height: usize,
    /// `height * width * 4` bytes: red, green, blue and alpha of each pixel, row by row. Alpha is not used.
    pub rgba: Vec<u8>,
}

/// What the colours of a figure mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColourBar {
    /// The quantity. It may be empty.
    pub label: String,
    /// The number that has the first colour.
    pub least: String,
    /// The number that has the last colour.
    pub greatest: String,
    /// Colours at even distances.
    pub colours: Vec<[u8; 3]>,
}

/// Pictures in a grid. All small ones are enlarged to about the size of the largest one, by whole factors, and one that is longer than
/// 512 pixels is scaled down to that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figure {
    /// Above the pictures. It may be empty.
    pub title: String,
    /// The number of pictures in a row.
    pub columns: usize,
    /// The pictures, row by row.
    pub panels: Vec<Panel>,
    /// Below the pictures.
    pub bar: Option<ColourBar>,
}

/// A PNG file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Png {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Width and height in pixels.
    pub size: [usize; 2],
}

impl Figure {
    /// The figure as a file.
    ///
    /// # Errors
    /// [`Error::Data`] if there are no panels, a panel has no pixels or another number of bytes than its size demands, a bar has no
    /// colours, or the pictures or the figure take more than 64 MiB.
    pub fn png(&self) -> Result<Png> {
        self.check()?;
        let grid = Grid::new(self)?;
        let mut canvas = Canvas::white(grid.size);
        for (i, line) in grid.title.iter().enumerate() {
            canvas.text([MARGIN, MARGIN + i * Font::TITLE.height()], line, Font::TITLE, DARK);
        }
        for (panel, place) in self.panels.iter().zip(&grid.places) {
            place.draw(panel, &mut canvas);
        }
        if let Some(bar) = &self.bar {
            grid.draw_bar(bar, &mut canvas);
        }
        canvas.png()
    }

    fn check(&self) -> Result<()> {
        if self.panels.is_empty() {
            return Err(Error::data("a figure without pictures"));
        }
        if self.bar.as_ref().is_some_and(|bar| bar.colours.is_empty()) {
            return Err(Error::data("a colour bar without colours"));
        }
        let mut all = 0_usize;
        for (i, Panel { width, height, rgba, .. }) in self.panels.iter().enumerate() {
            let place = || format!("picture {} of the figure", i + 1);
            let bytes = width.checked_mul(*height).and_then(|pixels| pixels.checked_mul(4));
            if bytes != Some(rgba.len()) || rgba.is_empty() {
                let what = format!("{} bytes do not fit a picture of {width} x {height} pixels", rgba.len());
                return Err(Error::data(what).at(place()));
            }
            all = all.saturating_add(rgba.len());
        }
        bounded(all, "pictures of a figure")
    }

    /// The length in pixels that the longer side of a picture is to have, as nearly as a whole factor can.
    fn side(&self) -> usize {
        let longest = |panel: &Panel| panel.width.max(panel.height).min(LONGEST);
        let longest = self.panels.iter().map(longest).max().unwrap_or(1).max(1);
        let wanted = match self.panels.len() {
            0..=6 => 256,
            7..=12 => 192,
            13..=24 => 128,
            _ => 96,
        };
        longest * (wanted / longest).max(1)
    }
}

fn bounded(bytes: usize, what: &str) -> Result<()> {
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let what = format!("{what} take more than {} MiB", MOST_BYTES >> 20);
    Err(Error::data(what).hint("show fewer or smaller pictures"))
}

/// Where everything is.
struct Grid {
    size: [usize; 2],
    title: Vec<String>,
    /// One for each panel.
    places: Vec<Place>,
    /// The upper edge of the bar.
    bar: usize,
    label: Vec<String>,
}

/// Where a panel is.
#[derive(Default)]
struct Place {
    title: Vec<String>,
    caption: Vec<String>,
    /// The picture as it is shown: width and height, and by how much it is enlarged.
    size: [usize; 2],
    factor: usize,
    /// The upper left corner of the picture.
    at: [usize; 2],
}

impl Grid {
    fn new(figure: &Figure) -> Result<Self> {
        let side = figure.side();
        let columns = figure.columns.clamp(1, figure.panels.len().max(1));
        let mut places: Vec<Place> = figure.panels.iter().map(|panel| Place::sized(panel, side)).collect();
        let mut widths = vec![NARROWEST; columns];
        for row in places.chunks(columns) {
            widths.iter_mut().zip(row).for_each(|(width, place)| *width = place.size[0].max(*width));
        }
        // Many small pictures lie closer together, and have texts of one line.
        let small = widths.iter().all(|width| *width < 128);
        let (gap, lines) = if small { (12, 1) } else { (20, 2) };
        let inner = widths.iter().fold(0_usize, |all, width| all.saturating_add(width + gap)) - gap;
        let title = Font::TITLE.lines(&figure.title, inner.max(TITLE_WIDTH), TITLE_LINES);
        let needed = title.iter().map(|line| line.chars().count() * Font::TITLE.width()).max();
        let inner = inner.max(needed.unwrap_or(0));
        let right = inner.saturating_add(2 * MARGIN);

        let mut y = MARGIN;
        if !title.is_empty() {
            y += title.len() * Font::TITLE.height() + TITLE_GAP;
        }
        for (row, panels) in places.chunks_mut(columns).zip(figure.panels.chunks(columns)) {
            let mut x = MARGIN;
            for ((place, panel), width) in row.iter_mut().zip(panels).zip(&widths) {
                place.title = Font::NAME.lines(&panel.title, *width, lines);
                place.caption = Font::TEXT.lines(&panel.caption, *width, lines);
                place.at[0] = x;
                x = x.saturating_add(width + gap);
            }
            let above = row.iter().map(|place| place.title.len()).max().unwrap_or(0);
            let above = if above == 0 { 0 } else { above * Font::NAME.height() + NEAR };
            row.iter_mut().for_each(|place| place.at[1] = y + above);
            let bottom = row.iter().map(Place::bottom).max().unwrap_or(y);
            y = bottom.saturating_add(gap);
        }
        y -= gap;

        let mut label = Vec::new();
        let mut bar = y;
        if let Some(ColourBar { label: text, .. }) = &figure.bar {
            label = Font::TEXT.lines(text, inner, 2);
            bar = y + 20 + label.len() * Font::TEXT.height() + if label.is_empty() { 0 } else { 4 };
            y = bar + BAR[1] + 4 + Font::TEXT.height();
        }
        let size = [right, y.saturating_add(MARGIN)];
        bounded(size[0].saturating_mul(size[1]).saturating_mul(3), "the pixels of a figure")?;
        Ok(Self { size, title, places, bar, label })
    }
}

impl Grid {
    /// The label, then the colours, then the numbers at both ends.
    fn draw_bar(&self, bar: &ColourBar, canvas: &mut Canvas) {
        let height = Font::TEXT.height();
        let [width, thick] = [BAR[0].min(self.size[0] - 2 * MARGIN), BAR[1]];
        let above = self.bar - 4 - self.label.len() * height;
        for (i, line) in self.label.iter().enumerate() {
            canvas.text([MARGIN, above + i * height], line, Font::TEXT, DARK);
        }
        canvas.fill([MARGIN - 1, self.bar - 1], [width + 2, thick + 2], EDGE);
        for x in 0..width {
            let colour = bar.colours.get(x * bar.colours.len() / width).copied().unwrap_or_default();
            canvas.fill([MARGIN + x, self.bar], [1, thick], colour);
        }
        let below = self.bar + thick + 4;
        let end =
            |text: &str| Font::TEXT.lines(text, width / 2 - 4, 1).into_iter().next().unwrap_or_default();
        let (least, greatest) = (end(&bar.least), end(&bar.greatest));
        canvas.text([MARGIN, below], &least, Font::TEXT, DARK);
        let wide = greatest.chars().count() * Font::TEXT.width();
        canvas.text([MARGIN + width - wide, below], &greatest, Font::TEXT, DARK);
    }
}

impl Place {
    /// Of a picture whose longer side is to have about `side` pixels.
    fn sized(panel: &Panel, side: usize) -> Self {
        let size = Scaled::size(panel.width, panel.height, LONGEST);
        let factor = (side / size[0].max(size[1]).max(1)).max(1);
        Self { size: size.map(|length| length * factor), factor, ..Self::default() }
    }

    /// The lower edge, with the caption.
    fn bottom(&self) -> usize {
        let caption = self.caption.len() * Font::TEXT.height();
        let picture = self.at[1].saturating_add(self.size[1]);
        picture.saturating_add(if caption == 0 { 0 } else { caption + NEAR })
    }

    fn draw(&self, panel: &Panel, canvas: &mut Canvas) {
        let [x, y] = self.at;
        let above = y - (self.title.len() * Font::NAME.height() + NEAR).min(y);
        for (i, line) in self.title.iter().enumerate() {
            canvas.text([x, above + i * Font::NAME.height()], line, Font::NAME, DARK);
        }
        canvas.fill([x - 1, y - 1], self.size.map(|length| length + 2), EDGE);
        let picture = Scaled::new(panel.width, panel.height, &panel.rgba, LONGEST);
        canvas.picture([x, y], &picture, self.factor);
        for (i, line) in self.caption.iter().enumerate() {
            let below = y + self.size[1] + NEAR + i * Font::TEXT.height();
            canvas.text([x, below], line, Font::TEXT, SOFT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(width: usize, height: usize, colour: [u8; 3]) -> Panel {
        let rgba = [colour[0], colour[1], colour[2], 0].repeat(width * height);
        Panel { width, height, rgba, ..Panel::default() }
    }

    fn figure(columns: usize, panels: Vec<Panel>) -> Figure {
        Figure { columns, panels, ..Figure::default() }
    }

    /// Width, height and the pixels of a figure, from its file.
    fn decoded(figure: &Figure) -> (usize, usize, Vec<[u8; 3]>) {
        let png = figure.png().unwrap();
        let image = ::image::load_from_memory_with_format(&png.bytes, ::image::ImageFormat::Png).unwrap();
        let image = image.to_rgb8();
        let (width, height) = (image.width() as usize, image.height() as usize);
        assert_eq!(png.size, [width, height]);
        (width, height, image.into_raw().as_chunks::<3>().0.to_vec())
    }

    /// Left, top, width and height of what has exactly this colour.
    fn area(figure: &Figure, colour: [u8; 3]) -> [usize; 4] {
        let (width, _, pixels) = decoded(figure);
        let found = pixels.iter().enumerate().filter(|(_, p)| **p == colour);
        let places: Vec<[usize; 2]> = found.map(|(i, _)| [i % width, i / width]).collect();
        let least = [0, 1].map(|i| places.iter().map(|p| p[i]).min().unwrap());
        let most = [0, 1].map(|i| places.iter().map(|p| p[i]).max().unwrap());
        let size = [0, 1].map(|i| most[i] - least[i] + 1);
        assert_eq!(places.len(), size[0] * size[1], "not a rectangle");
        [least[0], least[1], size[0], size[1]]
    }

    const RED: [u8; 3] = [250, 3, 5];
    const BLUE: [u8; 3] = [3, 5, 250];

    #[test]
    fn small_pictures_are_enlarged_by_whole_factors_and_large_ones_are_not() {
        for (count, side, shown) in [
            (1, 32, 256),
            (6, 8, 256),
            (10, 32, 192),
            (20, 28, 112),
            (64, 8, 96),
            (64, 32, 96),
            (64, 55, 55),
            (1, 224, 224),
            (64, 224, 224),
            (1, 512, 512),
            (1, 600, 512),
        ] {
            let mut panels = vec![panel(side, side, [9; 3]); count];
            panels[0] = panel(side, side, RED);
            let got = area(&figure(8, panels), RED);
            assert_eq!(got, [MARGIN, MARGIN, shown, shown], "{count} pictures of {side}");
        }
    }

    #[test]
    fn a_map_is_as_large_as_the_picture_beside_it() {
        for (picture, map, shown) in [(224, 7, 224), (32, 8, 256), (227, 13, 221), (600, 16, 512)] {
            let figure = figure(2, vec![panel(picture, picture, RED), panel(map, map, BLUE)]);
            let [_, y, width, height] = area(&figure, BLUE);
            assert_eq!((y, width, height), (MARGIN, shown, shown), "a map of {map} beside {picture}");
        }
    }

    #[test]
    fn panels_lie_in_rows_with_their_texts() {
        let mut panels = vec![panel(64, 64, RED), panel(64, 32, BLUE), panel(64, 64, [7; 3])];
        let bare = figure(2, panels.clone());
        let (width, height, _) = decoded(&bare);
        assert_eq!((width, height), (2 * MARGIN + 2 * 256 + 20, 2 * MARGIN + 2 * 256 + 20));
        assert_eq!(area(&bare, BLUE), [MARGIN + 276, MARGIN, 256, 128]);
        assert_eq!(area(&bare, [7; 3]), [MARGIN, MARGIN + 276, 256, 256]);
        // A title moves its row down, a caption what is below it.
        panels[1].title = "a title".to_owned();
        panels[0].caption = "a caption that is longer than one line has room for".to_owned();
        let texts = figure(2, panels.clone());
        let name = Font::NAME.height() + NEAR;
        assert_eq!(area(&texts, BLUE), [MARGIN + 276, MARGIN + name, 256, 128]);
        let below = MARGIN + name + 256 + NEAR + 2 * Font::TEXT.height() + 20;
        assert_eq!(area(&texts, [7; 3]), [MARGIN, below, 256, 256]);
        // So does a title of the figure; nothing changes the place of the columns.
        let titled = Figure { title: "of all".to_owned(), ..texts };
        assert_eq!(area(&titled, [7; 3])[1], below + Font::TITLE.height() + TITLE_GAP);
        // As many columns as there are panels, and at least one.
        assert_eq!(decoded(&figure(99, panels.clone())).0, 2 * MARGIN + 3 * 256 + 40);
        assert_eq!(decoded(&figure(0, panels)).0, 2 * MARGIN + 256);
    }

    #[test]
    fn a_bar_shows_its_colours_from_left_to_right() {
        let bar = ColourBar {
            label: "relevance".to_owned(),
            least: "-1.5".to_owned(),
            greatest: "2.25e9".to_owned(),
            colours: vec![[1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0]],
        };
        let with =
            |bar: ColourBar, side| Figure { bar: Some(bar), ..figure(1, vec![panel(side, side, RED)]) };
        let shown = with(bar.clone(), 400);
        let top = MARGIN + 400 + 20 + Font::TEXT.height() + 4;
        for i in 0..4 {
            assert_eq!(area(&shown, [i as u8 + 1, 0, 0]), [MARGIN + 80 * i, top, 80, 14]);
        }
        let bottom = top + 14 + 4 + Font::TEXT.height() + MARGIN;
        assert_eq!(decoded(&shown).1, bottom);
        let unlabelled = with(ColourBar { label: String::new(), ..bar.clone() }, 400);
        assert_eq!(area(&unlabelled, [1, 0, 0])[1], MARGIN + 400 + 20);
        // A bar is not wider than its figure.
        let narrow = Figure { bar: Some(bar), ..figure(1, vec![panel(1, 3, RED)]) };
        assert_eq!(area(&narrow, [1, 0, 0])[2], 85 / 4 + 1);
    }

    #[test]
    fn texts_of_any_kind_and_length_fit() {
        let long = "\u{202e}犬 <b>\n".repeat(1000);
        let mut one = panel(8, 8, RED);
        (one.title, one.caption) = (long.clone(), long.clone());
        let bar = ColourBar {
            label: long.clone(),
            least: long.clone(),
            greatest: long.clone(),
            colours: vec![[1; 3]],
        };
        let figure = Figure { title: long, bar: Some(bar), ..figure(3, vec![one; 40]) };
        assert!(decoded(&figure).0 < 900);
    }

    #[test]
    fn what_is_no_figure_is_refused() {
        let refused = |figure: Figure| {
            let error = figure.png().unwrap_err();
            assert!(matches!(error, Error::Data(_)), "{error:?}");
            error.to_string()
        };
        assert_eq!(refused(Figure::default()), "a figure without pictures");
        for (width, height, bytes) in
            [(2, 2, 15), (2, 2, 17), (0, 2, 0), (2, 0, 0), (usize::MAX, 2, 8), (usize::MAX, usize::MAX, 4)]
        {
            let wrong = Panel { width, height, rgba: vec![0; bytes], ..Panel::default() };
            let says = refused(figure(1, vec![panel(1, 1, RED), wrong]));
            let wanted = format!(
                "picture 2 of the figure: {bytes} bytes do not fit a picture of {width} x {height} pixels"
            );
            assert_eq!(says, wanted);
        }
        let bar = Some(ColourBar::default());
        assert_eq!(
            refused(Figure { bar, ..figure(1, vec![panel(1, 1, RED)]) }),
            "a colour bar without colours"
        );
        // 16 million pixels are one too many with one more.
        let most = "pictures of a figure take more than 64 MiB; show fewer or smaller pictures";
        assert_eq!(refused(figure(1, vec![panel(4096, 4096, RED), panel(1, 1, RED)])), most);
        // A million small pictures would be a large figure.
        let says = refused(figure(1000, vec![panel(1, 1, RED); 1_000_000]));
        assert_eq!(says, "the pixels of a figure take more than 64 MiB; show fewer or smaller pictures");
        // The largest that is allowed, and the longest.
        assert_eq!(area(&figure(1, vec![panel(4096, 4096, RED)]), RED)[2], 512);
        assert_eq!(area(&figure(1, vec![panel(1 << 20, 1, RED)]), RED)[2..], [512, 1]);
    }
}
