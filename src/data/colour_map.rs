//! Numbers as colours.

/// The nine stops of viridis, at even distances. The page for browsers has the same ones (`web/page/colours.js`).
const VIRIDIS: [[u8; 3]; 9] = [
    [0x44, 0x01, 0x54],
    [0x47, 0x2d, 0x7b],
    [0x3b, 0x52, 0x8b],
    [0x2c, 0x72, 0x8e],
    [0x21, 0x91, 0x8c],
    [0x28, 0xae, 0x80],
    [0x5e, 0xc9, 0x62],
    [0xad, 0xdc, 0x30],
    [0xfd, 0xe7, 0x25],
];

const GREY: [[u8; 3]; 2] = [[0; 3], [255; 3]];

/// The ends and the middles of ColorBrewer's RdBu (Brewer, 2003), in the opposite order, with white in the middle.
const BLUE_WHITE_RED: [[u8; 3]; 5] =
    [[0x21, 0x66, 0xac], [0x92, 0xc5, 0xde], [0xff, 0xff, 0xff], [0xf4, 0xa5, 0x82], [0xb2, 0x18, 0x2b]];

/// A sequence of colours that shows a number between two others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ColourMap {
    /// Viridis (van der Walt and Smith, 2015): dark blue to yellow in even steps of lightness, also for colour-blind readers.
    #[default]
    Viridis,
    /// Black to white.
    Grey,
    /// Blue to red with white in the middle, for numbers with a sign: 0 belongs at a share of 0.5.
    BlueWhiteRed,
}

impl ColourMap {
    /// Red, green and blue at `share` of the way from the first colour to the last one. A share below 0 or NaN counts as 0, one above
    /// 1 as 1.
    pub fn colour(self, share: f32) -> [u8; 3] {
        // `clamp` would keep NaN.
        let share = if share > 0.0 { f64::from(share.min(1.0)) } else { 0.0 };
        mixed(self.stops(), share)
    }

    /// The colours at 0/255, 1/255, up to 255/255.
    pub fn table(self) -> [[u8; 3]; 256] {
        std::array::from_fn(|i| mixed(self.stops(), i as f64 / 255.0))
    }

    fn stops(self) -> &'static [[u8; 3]] {
        match self {
            Self::Viridis => &VIRIDIS,
            Self::Grey => &GREY,
            Self::BlueWhiteRed => &BLUE_WHITE_RED,
        }
    }
}

/// The colour at `share` (0 to 1) of the way along the stops, by linear interpolation.
fn mixed(stops: &[[u8; 3]], share: f64) -> [u8; 3] {
    let place = share * stops.len().saturating_sub(1) as f64;
    let below = place as usize;
    let part = place - below as f64;
    let stop = |i: usize| stops.get(i).or(stops.last()).copied().unwrap_or_default();
    let (a, b) = (stop(below), stop(below + 1));
    std::array::from_fn(|i| (f64::from(a[i]) + (f64::from(b[i]) - f64::from(a[i])) * part).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [ColourMap; 3] = [ColourMap::Viridis, ColourMap::Grey, ColourMap::BlueWhiteRed];

    #[test]
    fn shares_outside_have_the_colour_of_the_nearer_end() {
        for map in ALL {
            let (first, last) = (map.colour(0.0), map.colour(1.0));
            for low in [-1.0, -0.0, f32::NEG_INFINITY, f32::NAN, -f32::NAN] {
                assert_eq!(map.colour(low), first, "{map:?} at {low}");
            }
            for high in [1.0001, 1e30, f32::INFINITY] {
                assert_eq!(map.colour(high), last, "{map:?} at {high}");
            }
            assert_ne!(first, last);
        }
    }

    #[test]
    fn each_map_has_its_stops_and_what_lies_between() {
        for (map, share, wanted) in [
            (ColourMap::Viridis, 0.0, [0x44, 0x01, 0x54]),
            (ColourMap::Viridis, 0.5, [0x21, 0x91, 0x8c]),
            // Halfway between the first two stops.
            (ColourMap::Viridis, 0.0625, [70, 23, 104]),
            (ColourMap::Viridis, 1.0, [0xfd, 0xe7, 0x25]),
            (ColourMap::Grey, 0.0, [0; 3]),
            (ColourMap::Grey, 0.25, [64; 3]),
            (ColourMap::Grey, 1.0, [255; 3]),
            (ColourMap::BlueWhiteRed, 0.0, [0x21, 0x66, 0xac]),
            (ColourMap::BlueWhiteRed, 0.5, [255; 3]),
            (ColourMap::BlueWhiteRed, 1.0, [0xb2, 0x18, 0x2b]),
        ] {
            assert_eq!(map.colour(share), wanted, "{map:?} at {share}");
        }
    }

    #[test]
    fn a_table_has_the_colours_of_even_shares() {
        for map in ALL {
            let table = map.table();
            assert_eq!((table[0], table[255]), (map.colour(0.0), map.colour(1.0)));
            for (i, colour) in table.iter().enumerate() {
                // A share in f32 may round the other way.
                let of_share = map.colour(i as f32 / 255.0);
                assert!(colour.iter().zip(of_share).all(|(a, b)| a.abs_diff(b) <= 1), "{map:?} at {i}");
            }
        }
        // What `web/page/colours.js` makes of the stops of viridis, by the hash of all its bytes.
        let bytes = ColourMap::Viridis.table().into_iter().flatten();
        let hash = bytes.fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
        assert_eq!(hash, 0x4bb581ad);
        let grey = ColourMap::Grey.table();
        assert!(grey.iter().enumerate().all(|(i, colour)| *colour == [i as u8; 3]));
        // Lighter from step to step.
        let lightness =
            |[r, g, b]: [u8; 3]| 0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b);
        let viridis = ColourMap::Viridis.table();
        assert!(viridis.windows(2).all(|pair| lightness(pair[0]) < lightness(pair[1]) + 0.5));
        // Blue grows pale, then red grows strong.
        let signed = ColourMap::BlueWhiteRed.table();
        assert!(signed[..127].iter().all(|[r, _, b]| b > r) && signed[129..].iter().all(|[r, _, b]| r > b));
    }

    #[test]
    fn the_page_for_browsers_has_the_same_viridis() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/web/page/colours.js");
        // It is not part of the published crate.
        let Ok(page) = std::fs::read_to_string(page) else { return };
        let stops = VIRIDIS.map(|[r, g, b]| format!("\"#{r:02x}{g:02x}{b:02x}\"")).join(", ");
        assert!(page.contains(&format!("[{stops}]")), "colours.js has other stops than {stops}");
    }
}
