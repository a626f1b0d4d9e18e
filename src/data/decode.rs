//! JPEG and PNG to 8-bit RGBA. A file is untrusted input.

use super::Picture;
use crate::error::{Error, Result};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The largest picture that is decoded, in pixels.
const MAX_PIXELS: u64 = 64 << 20;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 512 << 20;

/// Reads and decodes a file, see [`decode`].
///
/// # Errors
/// [`Error::NotFound`], [`Error::Io`], or [`Error::Data`] as [`decode`].
pub fn read_picture(path: &Path) -> Result<Picture> {
    let place = || path.display().to_string();
    let meta = std::fs::metadata(path).map_err(|e| Error::from_io(&e, "read", path))?;
    // Opening a named pipe would wait for a writer for ever.
    if !meta.is_file() {
        return Err(Error::data("this is no file").at(place()));
    }
    if meta.len() > MAX_BYTES {
        return Err(Error::data(format!("this file has {} MiB", meta.len() >> 20)).at(place()));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::from_io(&e, "read", path))?;
    decode(&bytes).map_err(|e| e.at(place()))
}

/// Decodes a JPEG or PNG, told apart by their first bytes. Grey, palette, CMYK and 16-bit pictures become 8-bit RGB,
/// transparency is dropped, and the orientation in EXIF data is applied.
///
/// # Errors
/// [`Error::Data`] if it is neither, is damaged or cut off, or has more than 64 megapixels.
pub fn decode(bytes: &[u8]) -> Result<Picture> {
    let format = match bytes {
        [] => return Err(Error::data("this file is empty")),
        [0xff, 0xd8, ..] => ImageFormat::Jpeg,
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        _ if bytes.starts_with(b"version https://git-lfs") => {
            return Err(Error::data("this is a pointer of git-lfs, not the picture")
                .cure("fetch it with `git lfs pull`"));
        }
        _ => return Err(Error::data("this is neither a JPEG nor a PNG picture")),
    };
    // The decoder fills what is missing with grey.
    if format == ImageFormat::Jpeg && !is_whole_jpeg(bytes) {
        return Err(Error::data("the picture is cut off"));
    }
    // A panic in the decoder is an error of the file, not of the run.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode_as(bytes, format)));
    let image = decoded.unwrap_or_else(|_| Err(Error::data("the picture is damaged")))?;
    let rgba = DynamicImage::from(image.into_rgb8()).into_rgba8();
    let (width, height) = (rgba.width() as usize, rgba.height() as usize);
    Picture::new(height, width, rgba.into_raw())
}

/// Whether the scans of a JPEG have an end. The segments before them may hold a whole JPEG of their own, a thumbnail,
/// whose end does not count.
fn is_whole_jpeg(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut rest = bytes.get(2..).unwrap_or_default();
    // A segment: ff, its marker, its length in two bytes that count themselves. More ff may stand before the marker.
    while let [0xff, marker, tail @ ..] = rest {
        rest = match marker {
            0xff => &rest[1..],
            &START_OF_SCAN => return tail.windows(2).any(|pair| pair == [0xff, 0xd9]),
            // Markers without a length.
            0x01 | 0xd0..=0xd7 => tail,
            _ => match tail {
                [high, low, ..] => {
                    tail.get(usize::from(u16::from_be_bytes([*high, *low])).max(2)..).unwrap_or_default()
                }
                _ => &[],
            },
        };
    }
    false
}

fn decode_as(bytes: &[u8], format: ImageFormat) -> Result<DynamicImage> {
    let broken = |e: image::ImageError| Error::data(format!("the picture is damaged: {e}"));
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS * 16);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::data(format!("the picture has {width}x{height} pixels, more than 64 megapixels")));
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    image.apply_orientation(orientation);
    Ok(image)
}
