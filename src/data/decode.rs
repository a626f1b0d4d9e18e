//! Decodes files of pictures to 8-bit RGBA. A file is untrusted input.

use super::jpeg::Jpeg;
use super::memory::{DECODERS, FILES, Taken};
use super::{Picture, kind, open_regular, png};
use crate::error::{Error, Result};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The largest picture that is decoded, in pixels.
pub(super) const MAX_PIXELS: u64 = 64 << 20;

/// The largest file that is read, in bytes.
pub(super) const MAX_BYTES: u64 = 512 << 20;

/// The memory that a decoder may take besides the file: a number of bytes a pixel, and a number that does not depend on the size, for
/// example for a colour profile. The pool counts the latter four times: a profile is in memory packed and unpacked, and buffers grow by
/// doubling.
const BYTES_A_PIXEL: u64 = 16;
const BYTES_BESIDES: u64 = 4 << 20;

/// Reads and decodes a file as [`decode`] does.
///
/// # Errors
/// [`Error::NotFound`] and [`Error::Io`] if the file cannot be read; [`Error::Data`] as [`decode`].
pub fn read_picture(path: impl AsRef<Path>) -> Result<Picture> {
    let path = path.as_ref();
    let (bytes, taken) = read_file(path)?;
    let picture = decode(&bytes).map_err(|e| e.at(path.display().to_string()));
    drop(taken);
    picture
}

/// The bytes of the file of a picture, and the memory that they take.
pub(super) fn read_file(path: &Path) -> Result<(Vec<u8>, Taken)> {
    let place = || path.display().to_string();
    let fail = |e: std::io::Error| Error::from_io(e, "read", path);
    let too_large = |bytes: u64| {
        let what = format!(
            "this file has {} MiB, and a picture is read of at most {}",
            bytes >> 20,
            MAX_BYTES >> 20
        );
        Error::data(what).at(place()).hint("save the picture with fewer pixels, or as JPEG")
    };
    let (file, length) = open_regular(path)?;
    if length > MAX_BYTES {
        return Err(too_large(length));
    }
    let taken = FILES.take(length);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    // Some system files, such as those in /proc, report the length 0 and have no end.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large(bytes.len() as u64));
    }
    Ok((bytes, taken))
}

/// Decodes a JPEG, PNG, WebP, BMP, GIF or TIFF. The format is recognised by the first bytes. If a file has several pictures, the first
/// is decoded. Grey, palette, CMYK and 16-bit pictures become 8-bit RGB, transparency is dropped, and the orientation in EXIF data is
/// applied. A call takes up to 16 MiB and 16 bytes a pixel (20 for TIFF of 16 bits with transparency); for a PNG with a colour profile
/// also the size of the file. All threads together take at most 2 GiB; a thread waits until enough of it is free.
///
/// # Errors
/// [`Error::Data`] if the bytes have another format, are damaged or incomplete, need a feature that is not supported, or have more
/// than 64 megapixels.
pub fn decode(bytes: &[u8]) -> Result<Picture> {
    let format = kind::of(bytes)?;
    // A panic in a decoder is an error of the file. It must not end the program.
    let decoded = catch_unwind(AssertUnwindSafe(|| match format {
        ImageFormat::Jpeg => decode_jpeg(bytes, 8),
        _ => decode_other(bytes, format),
    }));
    decoded.unwrap_or_else(|_| Err(Error::data("the picture is damaged")))
}

/// Checks the size in the header of a file. Returns the most memory that its decoder may take, in bytes.
fn allowed(width: u32, height: u32) -> Result<u64> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        let what = format!("the picture has {width}x{height} pixels, more than 64 megapixels");
        return Err(Error::data(what).hint("save it with fewer pixels; networks see some hundred a side"));
    }
    if pixels == 0 {
        return Err(Error::data("the picture has no pixels").hint("it may be damaged; get it again"));
    }
    Ok(pixels * BYTES_A_PIXEL + BYTES_BESIDES)
}

/// Decodes a JPEG with so many of 8 pixels in each direction, see [`Jpeg::decode_at`].
pub(super) fn decode_reduced(bytes: &[u8], eighths: usize) -> Result<Picture> {
    let decoded = catch_unwind(AssertUnwindSafe(|| decode_jpeg(bytes, eighths)));
    decoded.unwrap_or_else(|_| Err(Error::data("the picture is damaged")))
}

fn decode_jpeg(bytes: &[u8], eighths: usize) -> Result<Picture> {
    let jpeg = Jpeg::read(bytes)?;
    let taken = DECODERS.take(allowed(jpeg.width, jpeg.height)? + 3 * BYTES_BESIDES);
    let ([width, height], rgb) = jpeg.decode_at(eighths)?;
    let rgb = RgbImage::from_raw(width, height, rgb).ok_or_else(|| Error::data("the picture is damaged"))?;
    let picture = upright(DynamicImage::from(rgb), jpeg.orientation());
    taken.release();
    picture
}

fn decode_other(bytes: &[u8], format: ImageFormat) -> Result<Picture> {
    let broken = |e: ImageError| match e {
        ImageError::Limits(_) => Error::data(format!(
            "the picture takes more memory than {BYTES_A_PIXEL} bytes a pixel and {} MiB",
            BYTES_BESIDES >> 20
        )),
        ImageError::Unsupported(_) => Error::data(format!("this picture cannot be read: {e}"))
            .hint("convert it to JPEG or PNG")
            .with_source(e),
        e => Error::data(format!("the picture is damaged: {e}")).with_source(e),
    };
    let mut limits = Limits::default();
    let (bytes, size) = match format {
        ImageFormat::Png => (png::without_profiles(bytes), png::size(bytes)),
        _ => (Cow::Borrowed(bytes), None),
    };
    let copied = if let Cow::Owned(copy) = &bytes { copy.len() as u64 } else { 0 };
    // The PNG decoder allocates memory before it tells the size.
    let first = size.map(|(width, height)| allowed(width, height)).transpose()?;
    let taken = first.map(|most| DECODERS.take(most + 3 * BYTES_BESIDES + copied));
    limits.max_alloc = Some(first.unwrap_or(BYTES_BESIDES));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // The limit of the other decoders is set when the size is known.
    if format == ImageFormat::Png {
        reader.limits(limits.clone());
    } else {
        reader.no_limits();
    }
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let most = allowed(width, height)?;
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(Error::data("this picture cannot be read: its samples are floating-point numbers")
            .hint("convert it to 8 or 16 bits a sample"));
    }
    // The TIFF decoder holds the samples twice. With 8 bytes a pixel that is more than all other memory.
    let twice = format == ImageFormat::Tiff && decoder.color_type() == ColorType::Rgba16;
    let most = most + if twice { 4 * u64::from(width) * u64::from(height) } else { 0 };
    limits.max_alloc = Some(most);
    decoder.set_limits(limits).map_err(broken)?;
    let taken = taken.unwrap_or_else(|| DECODERS.take(most + 3 * BYTES_BESIDES));
    let orientation = decoder.orientation().map_err(broken)?;
    let image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let picture = upright(image, orientation);
    taken.release();
    picture
}

/// Applies the orientation in the EXIF data.
fn upright(image: DynamicImage, orientation: Orientation) -> Result<Picture> {
    let mut image = DynamicImage::from(image.into_rgb8());
    image.apply_orientation(orientation);
    let rgba = image.into_rgba8();
    Picture::from_rgba(rgba.height() as usize, rgba.width() as usize, rgba.into_raw())
}
