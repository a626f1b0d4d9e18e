//! The format of a picture, by the first bytes of its file.

use crate::error::{Error, Result};
use image::ImageFormat;

/// How many bytes show the format of a file.
pub(super) const HEAD: usize = 16;

/// The extensions of pictures, in lower case.
pub(super) const ENDINGS: &[&str] =
    &["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff"];

/// The formats that can be read.
pub(super) fn format(bytes: &[u8]) -> Option<ImageFormat> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Some(ImageFormat::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(ImageFormat::WebP),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(ImageFormat::Gif),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(ImageFormat::Tiff),
        // Two letters occur in other files too, so the size of the header must fit.
        [b'B', b'M', rest @ ..] if matches!(rest.get(12..14), Some([12..=124, 0])) => Some(ImageFormat::Bmp),
        _ => None,
    }
}

/// Formats that are recognised but cannot be read.
fn other(bytes: &[u8]) -> Option<&'static str> {
    const BRANDS: &[(&[u8], &str)] = &[
        (b"ftypavif", "AVIF"),
        (b"ftypavis", "AVIF"),
        (b"ftyphei", "HEIC"),
        (b"ftyphev", "HEIC"),
        (b"ftypmif1", "HEIF"),
    ];
    const STARTS: &[(&[u8], &str)] = &[
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"8BPS", "Photoshop"),
        (b"%PDF", "PDF"),
        (b"\0\0\x01\0", "icon"),
    ];
    let brand = bytes.get(4..).unwrap_or_default();
    let found = BRANDS.iter().find(|(start, _)| brand.starts_with(start));
    found.or_else(|| STARTS.iter().find(|(start, _)| bytes.starts_with(start))).map(|(_, name)| *name)
}

/// The format of a file.
///
/// # Errors
/// [`Error::Data`] if it is another kind of file; the message says which, if it is known.
pub(super) fn of(bytes: &[u8]) -> Result<ImageFormat> {
    if let Some(format) = format(bytes) {
        if format == ImageFormat::Tiff && tiff_holds_jpeg(bytes) {
            return Err(Error::data("this TIFF cannot be read: its pixels are compressed as JPEG")
                .hint("write it with another compression"));
        }
        return Ok(format);
    }
    if bytes.is_empty() {
        return Err(Error::data("this file is empty"));
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(
            Error::data("this is a pointer of git-lfs, not the picture").hint("fetch it with `git lfs pull`")
        );
    }
    let text: String = bytes.iter().take(64).map(|byte| char::from(byte.to_ascii_lowercase())).collect();
    if ["<!doctype html", "<html"].iter().any(|start| text.trim_start().starts_with(start)) {
        return Err(Error::data("this is a web page, not a picture"));
    }
    if bytes.starts_with(&[0xff, 0xd8]) {
        return Err(Error::data("the picture is cut off"));
    }
    Err(match other(bytes) {
        Some(name) => Error::data(format!("this is a picture of a format that is not read: {name}"))
            .hint("convert it to JPEG or PNG"),
        None => Error::data("this is neither JPEG, PNG, WebP, BMP, GIF nor TIFF"),
    })
}

/// Whether the first picture of a TIFF is compressed as JPEG. The TIFF decoder has its own JPEG decoder.
fn tiff_holds_jpeg(bytes: &[u8]) -> bool {
    let little = bytes.starts_with(b"II");
    let number = |at: usize, size: usize| -> Option<usize> {
        let field = bytes.get(at..at.checked_add(size)?)?;
        let add = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
        Some(if little { field.iter().rev().fold(0, add) } else { field.iter().fold(0, add) })
    };
    // The classic format, and BigTIFF.
    let large = number(2, 2) == Some(43);
    let (pointer, counts, entry) = if large { (8, 8, 20) } else { (4, 2, 12) };
    let directory = number(if large { 8 } else { 4 }, pointer);
    let Some((directory, count)) = directory.and_then(|at| Some((at, number(at, counts)?))) else {
        return false;
    };
    const COMPRESSION: usize = 259;
    (0..count.min(4096)).any(|i| {
        let at = directory.saturating_add(counts + i * entry);
        let value = at.saturating_add(entry - pointer);
        number(at, 2) == Some(COMPRESSION) && matches!(number(value, 2), Some(6 | 7))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        assert_eq!(of(b"\xff\xd8\xff\xe0").unwrap(), ImageFormat::Jpeg);
        assert_eq!(of(b"RIFF\0\0\0\0WEBPVP8 ").unwrap(), ImageFormat::WebP);
        assert_eq!(of(b"II*\0\x08\0\0\0\0\0").unwrap(), ImageFormat::Tiff);
        assert_eq!(of(&[&b"BM"[..], &[0; 12], &[40, 0, 0, 0]].concat()).unwrap(), ImageFormat::Bmp);
        for (bytes, says) in [
            (&b""[..], "empty"),
            (b"BMW is a make of cars", "neither"),
            (b"\n<!DOCTYPE HTML><html>", "web page"),
            (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
            (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
            (b"II*\0\x08\0\0\0\x01\0\x03\x01\x03\0\x01\0\0\0\x07\0\0\0", "compressed as JPEG"),
            (b"MM\0*\0\0\0\x08\0\x01\x01\x03\0\x03\0\0\0\x01\0\x06\0\0", "compressed as JPEG"),
        ] {
            let error = of(bytes).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        // Directories that lie outside of the file.
        assert!(!tiff_holds_jpeg(b"II*\0\xff\xff\xff\xff"));
        assert!(!tiff_holds_jpeg(b"II+\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"));
    }
}
