//! Writes a data set into one file.

use super::{Entry, Facts, HEADER, MAGIC, VERSION};
use crate::atomic::{WriteSeek, write_atomically};
use crate::data::memory::hold;
use crate::data::open::open_all;
use crate::data::resize::shrink;
use crate::data::{Dataset, Picture, Skipped, Split, decode, kind};
use crate::error::{Choice, Error, Result};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};
use rayon::prelude::*;
use std::io::{Result as IoResult, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// Pictures that are prepared before they are written. They are in memory at the same time.
const AT_ONCE: usize = 32;

/// Packing ends with an error if more than one in this many pictures cannot be read.
const READABLE: u64 = 100;

/// How the pixels of a picture are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackFormat {
    /// As a JPEG without subsampling of colours.
    Jpeg,
    /// As red, green and blue of each pixel: the largest file, and the fastest to read.
    Raw,
}

/// How a data set is packed. By default, files are stored byte for byte, so that nothing changes.
#[derive(Debug, Clone, Copy)]
pub struct PackOptions {
    /// Shrink pictures until the shorter side has this many pixels. Smaller pictures stay as they are.
    pub size: Option<usize>,
    /// How pictures are stored; the files as they are by default, or JPEG if they are shrunk. Pictures of a data set that does not consist
    /// of files are stored raw by default.
    pub format: Option<PackFormat>,
    /// The quality of JPEG, from 1 to 100.
    pub quality: u8,
    /// Whether to go on if more than 1% of the pictures cannot be read. They are left out.
    pub unreadable: bool,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self { size: None, format: None, quality: 92, unreadable: false }
    }
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The number of pictures of each split.
    pub splits: Vec<(Split, u64)>,
    /// The length of the file in bytes.
    pub bytes: u64,
    /// The number of pictures that could not be read.
    pub skipped: u64,
}

/// A picture as it is stored.
struct Stored {
    bytes: Vec<u8>,
    size: [u32; 2],
}

/// Writes all parts of the data set `spec` into the file `path`, which is complete or not there. `observe` is told the number of pictures
/// that are done, that of all pictures, and the pictures that could not be read since the last call; it says whether to go on.
///
/// # Errors
/// Those of [`crate::data::open()`]; [`Error::Usage`] for a size or a quality of 0; [`Error::Data`] if more than 1% of the pictures cannot be
/// read; [`Error::Io`] if the file cannot be written; [`Error::Stopped`] if `observe` ends the work.
pub fn pack(
    spec: &str,
    path: &Path,
    options: &PackOptions,
    observe: &mut dyn FnMut(u64, u64, &[Skipped]) -> bool,
) -> Result<Packed> {
    if options.size == Some(0) || !(1..=100).contains(&options.quality) {
        return Err(Error::usage("a size of 0, or a quality that is not between 1 and 100")
            .hint("give a size of at least 1 pixel and a quality such as 92"));
    }
    let parts = open_all(spec)?;
    let classes = parts.first().map(|(_, set)| set.classes().to_vec()).unwrap_or_default();
    if parts.iter().any(|(_, set)| set.classes() != classes) {
        return Err(Error::data("the parts have different classes").at(spec));
    }
    let total = parts.iter().map(|(_, set)| set.len() as u64).sum();
    let mut work =
        Work { spec, options, observe, total, done: 0, skipped: 0, at: HEADER as u64, fault: None };
    let mut packed = None;
    let written = write_atomically(path, |file| {
        packed = Some(work.all(&parts, classes, file)?);
        Ok(())
    });
    // An error of the data set has come through the writer as an error of the system.
    match (work.fault, written, packed) {
        (Some(error), ..) => Err(error),
        (None, Ok(()), Some(packed)) => Ok(packed),
        (None, Err(error), _) => Err(error),
        (None, Ok(()), None) => Err(Error::internal("nothing was packed")),
    }
}

struct Work<'a> {
    spec: &'a str,
    options: &'a PackOptions,
    observe: &'a mut dyn FnMut(u64, u64, &[Skipped]) -> bool,
    total: u64,
    done: u64,
    skipped: u64,
    /// Where the next picture begins.
    at: u64,
    fault: Option<Error>,
}

impl Work<'_> {
    fn all(
        &mut self,
        parts: &[(Split, Arc<dyn Dataset>)],
        classes: Vec<String>,
        file: &mut dyn WriteSeek,
    ) -> IoResult<Packed> {
        file.write_all(&[0; HEADER])?;
        let (mut entries, mut splits) = (Vec::new(), Vec::new());
        for (split, set) in parts {
            splits.push((*split, self.split(set.as_ref(), file, &mut entries)?));
        }
        let first = parts.first().map(|(_, set)| set);
        let facts = Facts {
            classes,
            splits: splits.iter().map(|(split, count)| (split.to_string(), *count)).collect(),
            native_size: first.and_then(|set| set.native_size()).filter(|_| self.options.size.is_none()),
            normalization: first.map_or(crate::data::Normalization::IMAGENET, |set| set.normalization()),
        };
        let json = serde_json::to_vec(&facts)?;
        let index = [&(json.len() as u32).to_le_bytes()[..], &json, &entries].concat();
        file.write_all(&index)?;
        let mut header =
            [&MAGIC[..], &VERSION.to_le_bytes(), &crc32fast::hash(&index).to_le_bytes()].concat();
        header.extend_from_slice(&self.at.to_le_bytes());
        header.extend_from_slice(&(index.len() as u64).to_le_bytes());
        header.resize(HEADER - 4, 0);
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header)?;
        Ok(Packed { splits, bytes: self.at + index.len() as u64, skipped: self.skipped })
    }

    /// Writes the pictures of a split, and adds their entries. Returns how many there are.
    fn split(&mut self, set: &dyn Dataset, file: &mut dyn WriteSeek, entries: &mut Vec<u8>) -> IoResult<u64> {
        let mut count = 0;
        for first in (0..set.len()).step_by(AT_ONCE) {
            let numbers: Vec<usize> = (first..set.len().min(first + AT_ONCE)).collect();
            let options = self.options;
            let made: Vec<_> = numbers.into_par_iter().map(|i| (i, stored(set, i, options))).collect();
            let mut unread = Vec::new();
            for (i, made) in made {
                match made {
                    Ok(picture) => {
                        file.write_all(&picture.bytes)?;
                        self.add(&picture, set.label(i), &name(&set.name(i), self.spec), entries)?;
                        count += 1;
                    }
                    Err(error) => {
                        let reason = error.report().what.clone();
                        unread.push(Skipped { name: set.name(i), reason });
                    }
                }
                self.done += 1;
            }
            self.skipped += unread.len() as u64;
            if !(self.observe)(self.done, self.total, &unread) {
                return self.fail(Error::stopped("stopped; no file was written"));
            }
            if let Some(Skipped { name, reason }) = unread.pop()
                && self.skipped * READABLE > self.total
                && !self.options.unreadable
            {
                let (skipped, total) = (self.skipped, self.total);
                let what = format!("{reason}; {skipped} of {total} pictures cannot be read, more than 1%");
                let error = Error::data(what).at(name);
                return self.fail(error.hint(Choice::SkipUnreadable.after("mend or remove them, or ")));
            }
        }
        Ok(count)
    }

    fn add(&mut self, picture: &Stored, label: u32, name: &str, entries: &mut Vec<u8>) -> IoResult<()> {
        let length = u32::try_from(picture.bytes.len()).map_err(std::io::Error::other)?;
        let (crc, size) = (crc32fast::hash(&picture.bytes), picture.size);
        let entry = Entry { offset: self.at, length, crc, label, size, name: name.len() as u32 };
        entries.extend_from_slice(&entry.to_bytes());
        entries.extend_from_slice(name.as_bytes());
        self.at += u64::from(length);
        Ok(())
    }

    fn fail<T>(&mut self, error: Error) -> IoResult<T> {
        self.fault = Some(error);
        Err(std::io::Error::other("the data set"))
    }
}

/// The name of a picture below the folder of the data set.
fn name(name: &str, spec: &str) -> String {
    let below = Path::new(name).strip_prefix(spec).ok().map(|path| path.to_string_lossy().into_owned());
    let name = below.unwrap_or_else(|| name.to_owned());
    if cfg!(windows) { name.replace('\\', "/") } else { name }
}

/// A picture as it is stored.
fn stored(set: &dyn Dataset, i: usize, options: &PackOptions) -> Result<Stored> {
    let file = |bytes| Ok(Stored { bytes, size: [0, 0] });
    hold(|| {
        let encoded = set.encoded(i)?;
        let jpeg = encoded.as_ref().is_some_and(|bytes| kind::format(bytes) == Some(ImageFormat::Jpeg));
        let PackOptions { size, format, .. } = *options;
        let default = if encoded.is_some() && size.is_some() { PackFormat::Jpeg } else { PackFormat::Raw };
        let (picture, encoded) = match (encoded, size) {
            (Some(bytes), None) if format.is_none() || (format == Some(PackFormat::Jpeg) && jpeg) => {
                return file(bytes);
            }
            (Some(bytes), _) => (decode(&bytes)?, Some(bytes)),
            (None, _) => (set.load(i)?, None),
        };
        let whole = [picture.height(), picture.width()];
        let picture = if let Some(side) = size { shrink(picture, side)? } else { picture };
        let as_it_was = whole == [picture.height(), picture.width()];
        match (format.unwrap_or(default), encoded) {
            // A second compression would only make it worse.
            (PackFormat::Jpeg, Some(bytes)) if jpeg && as_it_was => file(bytes),
            (PackFormat::Jpeg, _) => file(compress(&picture, options.quality)?),
            (PackFormat::Raw, _) => {
                Ok(Stored { bytes: rgb(&picture), size: [picture.height() as u32, picture.width() as u32] })
            }
        }
    })
}

fn rgb(picture: &Picture) -> Vec<u8> {
    picture.rgba().as_chunks::<4>().0.iter().flat_map(|[r, g, b, _]| [*r, *g, *b]).collect()
}

fn compress(picture: &Picture, quality: u8) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (height, width) = (picture.height() as u32, picture.width() as u32);
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(&rgb(picture), width, height, ExtendedColorType::Rgb8)
        .map_err(|e| Error::data(format!("it cannot be written as JPEG: {e}")).with_source(e))?;
    Ok(bytes)
}
