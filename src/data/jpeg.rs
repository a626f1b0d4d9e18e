//! JPEG. The segments of a file are examined before it is decoded, so that a feature that the decoder does not support is refused by
//! name. Decoded pixels differ from those of libjpeg-turbo by at most 3 of 255 (`tests/pictures.rs`).

use crate::error::{Error, Result};
use image::metadata::Orientation;
use jpeg_decoder::{ColorTransform, Decoder};

/// The properties of a JPEG before it is decoded.
#[derive(Debug)]
pub(super) struct Jpeg<'a> {
    bytes: &'a [u8],
    pub(super) width: u32,
    pub(super) height: u32,
    components: Vec<Component>,
    /// Whether the coefficients come in several scans.
    progressive: bool,
    jfif: bool,
    /// The colour transform in Adobe's marker.
    adobe: Option<u8>,
    exif: Option<&'a [u8]>,
}

#[derive(Debug)]
struct Component {
    name: u8,
    across: u8,
    down: u8,
    /// How many low bits of each coefficient are still missing; `ABSENT` before its first scan.
    missing: [u8; 64],
}

const ABSENT: u8 = 0xff;

/// A marker, and the bytes of its segment.
type Segment<'a> = (u8, &'a [u8]);

/// Iterates over the segments of a file, and over the scans between them.
struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    /// The next segment; `None` if the file ends too early. Bytes between segments are skipped, as in all decoders: the data of
    /// scans, and what some cameras write there.
    fn next(&mut self) -> Option<Segment<'a>> {
        loop {
            let at = self.rest.iter().position(|byte| *byte == 0xff)?;
            self.rest = self.rest.get(at + 1..)?;
            let marker = *self.rest.first()?;
            match marker {
                // A byte ff in a scan, a fill byte, a restart marker or another marker without a length.
                0x00 | 0x01 | 0xd0..=0xd8 => self.rest = self.rest.get(1..)?,
                0xff => {}
                0xd9 => return Some((marker, &[])),
                _ => {
                    let length = usize::from(u16::from_be_bytes([*self.rest.get(1)?, *self.rest.get(2)?]));
                    // The length includes its own bytes.
                    let content = self.rest.get(3..1 + length.max(2))?;
                    self.rest = self.rest.get(1 + length.max(2)..)?;
                    return Some((marker, content));
                }
            }
        }
    }
}

fn refused(what: &str) -> Error {
    Error::data(format!("this JPEG cannot be read: {what}"))
        .hint("open it with a program for pictures, and save it again")
}

/// Recoding is lossless and keeps the orientation.
fn arithmetic() -> Error {
    refused("it uses arithmetic coding").hint("convert it with `jpegtran -copy all -optimize FILE > NEW`")
}

fn damaged(what: &str) -> Error {
    Error::data(format!("the picture is damaged: {what}"))
}

impl<'a> Jpeg<'a> {
    /// Reads the segments.
    ///
    /// # Errors
    /// [`Error::Data`] if the file is cut off or damaged, or of a kind that cannot be decoded, which it then names.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let mut found = Self {
            bytes,
            width: 0,
            height: 0,
            components: Vec::new(),
            progressive: false,
            jfif: false,
            adobe: None,
            exif: None,
        };
        let mut walk = Walk { rest: bytes.get(2..).unwrap_or_default() };
        loop {
            // The decoder would fill the missing part with grey.
            let (marker, content) = walk.next().ok_or_else(|| Error::data("the picture is cut off"))?;
            match marker {
                0xc4 | 0xc8 => {}
                0xcc => return Err(arithmetic()),
                0xc0..=0xcf => found.frame(marker, content)?,
                0xda => found.scan(content)?,
                0xdc => return Err(refused("its height stands behind its first scan")),
                0xde | 0xdf => return Err(refused("it is hierarchical")),
                0xe0 if content.starts_with(b"JFIF\0") => found.jfif = true,
                0xe1 if content.starts_with(b"Exif\0") => {
                    found.exif = found.exif.or(content.get(6..));
                }
                0xee if content.starts_with(b"Adobe") => found.adobe = content.get(11).copied(),
                0xd9 => break,
                _ => {}
            }
        }
        found.is_whole()?;
        Ok(found)
    }

    fn frame(&mut self, marker: u8, content: &[u8]) -> Result<()> {
        match marker {
            0xc3 => return Err(refused("it is compressed without loss")),
            0xc5..=0xc7 | 0xcd..=0xcf => return Err(refused("it is hierarchical")),
            0xc9..=0xcb => return Err(arithmetic()),
            _ => {}
        }
        let &[bits, h0, h1, w0, w1, count, ref rest @ ..] = content else {
            return Err(damaged("its header is too short"));
        };
        if bits != 8 {
            return Err(refused(&format!("it has {bits} bits a sample")));
        }
        if !self.components.is_empty() {
            return Err(refused("it holds several frames"));
        }
        (self.height, self.width) =
            (u32::from(u16::from_be_bytes([h0, h1])), u32::from(u16::from_be_bytes([w0, w1])));
        if self.height == 0 {
            return Err(refused("its height stands behind its first scan"));
        }
        if self.width == 0 {
            return Err(damaged("it has no columns"));
        }
        let (entries, _) = rest.as_chunks::<3>();
        if !matches!(count, 1 | 3 | 4) {
            return Err(refused(&format!("it has {count} colour planes")));
        }
        if entries.len() < usize::from(count) {
            return Err(damaged("its header is too short"));
        }
        for [name, sampling, _] in entries.iter().take(usize::from(count)) {
            let (across, down) = (sampling >> 4, sampling & 15);
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) {
                return Err(damaged("a sampling factor that does not exist"));
            }
            if self.components.iter().any(|other| other.name == *name) {
                return Err(refused("two of its colour planes have one number"));
            }
            self.components.push(Component { name: *name, across, down, missing: [ABSENT; 64] });
        }
        self.progressive = marker == 0xc2;
        let largest = |of: fn(&Component) -> u8| self.components.iter().map(of).max().unwrap_or(1);
        let (across, down) = (largest(|c| c.across), largest(|c| c.down));
        // The sampling factors of a single plane have no effect.
        if count > 1 && self.components.iter().any(|c| across % c.across != 0 || down % c.down != 0) {
            return Err(refused("its colour planes do not have whole fractions of its size"));
        }
        Ok(())
    }

    /// Records which coefficients of which planes a scan adds.
    fn scan(&mut self, content: &[u8]) -> Result<()> {
        let short = || damaged("the header of a scan is too short");
        let (count, rest) = content.split_first().ok_or_else(short)?;
        let (planes, tail) = rest.split_at_checked(2 * usize::from(*count)).ok_or_else(short)?;
        let &[first, last, bits, ..] = tail else { return Err(short()) };
        // As in all decoders, a scan of a sequential picture has all coefficients, whatever its header says.
        let (first, last, bits) = if self.progressive { (first, last, bits) } else { (0, 63, 0) };
        if first > last || last > 63 {
            return Err(damaged("a scan of coefficients that do not exist"));
        }
        for plane in planes.chunks_exact(2) {
            let component = self.components.iter_mut().find(|c| Some(&c.name) == plane.first());
            let component = component.ok_or_else(|| damaged("a scan of a colour plane that is not there"))?;
            for missing in component.missing.iter_mut().take(usize::from(last) + 1).skip(usize::from(first)) {
                *missing = bits & 15;
            }
        }
        Ok(())
    }

    /// Whether the scans have every bit of every plane. A file may have an end marker and still lack scans.
    fn is_whole(&self) -> Result<()> {
        if self.components.is_empty() {
            return Err(damaged("it has no header"));
        }
        if self.components.iter().any(|c| c.missing.iter().any(|missing| *missing != 0)) {
            return Err(Error::data("the picture is incomplete: scans are missing"));
        }
        Ok(())
    }

    pub(super) fn orientation(&self) -> Orientation {
        self.exif.and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
    }

    /// Height and width after the orientation has been applied.
    pub(super) fn upright_size(&self) -> [usize; 2] {
        let (height, width) = (self.height as usize, self.width as usize);
        match self.orientation() {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => [width, height],
            _ => [height, width],
        }
    }

    /// The colour space of the planes, by the rules of libjpeg.
    fn colours(&self) -> ColorTransform {
        let names: Vec<u8> = self.components.iter().map(|c| c.name).collect();
        match (names.len(), self.adobe) {
            (3, _) if self.jfif => ColorTransform::YCbCr,
            (3, Some(0)) => ColorTransform::RGB,
            (3, None) if names == *b"RGB" => ColorTransform::RGB,
            (3, _) => ColorTransform::YCbCr,
            (4, None | Some(0)) => ColorTransform::CMYK,
            (4, _) => ColorTransform::YCCK,
            _ => ColorTransform::Grayscale,
        }
    }

    /// Decodes red, green and blue of every pixel, row by row, with 1, 2, 4 or all 8 of 8 pixels in each direction, rounded up. Returns width
    /// and height as well.
    ///
    /// # Errors
    /// [`Error::Data`] if the data of a scan is damaged.
    pub(super) fn decode_at(&self, eighths: usize) -> Result<([u32; 2], Vec<u8>)> {
        let [width, height] = [self.width, self.height].map(|side| (side * eighths as u32).div_ceil(8));
        let pixels = self.width as usize * self.height as usize;
        let mut decoder = Decoder::new(self.bytes);
        decoder.set_max_decoding_buffer_size(pixels.saturating_mul(4));
        if self.components.len() > 1 {
            decoder.set_color_transform(self.colours());
        }
        if eighths < 8 {
            // The decoder takes the smallest scale with which one side is as long as is asked for.
            let found = decoder.scale(width as u16, height as u16).map_err(|e| damaged(&e.to_string()))?;
            if found != (width as u16, height as u16) {
                return Err(Error::internal(format!("a JPEG of {width}x{height} was scaled to {found:?}")));
            }
        }
        let pixels = width as usize * height as usize;
        let planes = decoder.decode().map_err(|e| damaged(&e.to_string()))?;
        let rgb: Vec<u8> = match self.components.len() {
            1 => planes.iter().flat_map(|grey| [*grey; 3]).collect(),
            3 => planes,
            _ => planes.as_chunks::<4>().0.iter().flat_map(|ink| from_ink(*ink)).collect(),
        };
        if rgb.len() != pixels * 3 {
            return Err(damaged("it has fewer pixels than its header says"));
        }
        Ok(([width, height], rgb))
    }
}

/// Cyan, magenta, yellow and black to red, green and blue. Programs write them inverted, as Adobe's do; the decoder has undone that.
fn from_ink([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    let light = 255 - u32::from(black);
    [cyan, magenta, yellow].map(|ink| {
        let product = u32::from(ink) * light + 128;
        (light - ((product + (product >> 8)) >> 8)) as u8
    })
}
