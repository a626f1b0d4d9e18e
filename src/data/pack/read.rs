//! Reads a data set from one file. The file is untrusted input.

use super::{ENTRY, Entry, Facts, HEADER, MAGIC, PACK_ENDING, VERSION};
use crate::data::decode::{MAX_BYTES, MAX_PIXELS, decode};
use crate::data::memory::{DECODERS, FILES};
use crate::data::{Dataset, Normalization, Picture, Split, open_regular};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Error as IoError, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The longest index that is read, in bytes: more than ten million pictures.
const MAX_INDEX: u64 = 1 << 30;

/// The longest name of a picture, in bytes.
const MAX_NAME: u32 = 1 << 16;

/// The largest size that the index may call that of all pictures.
const MAX_SIDE: usize = 1 << 14;

/// One split of a data set in one file, as [`super::pack()`] writes it. Pictures are read when they are loaded, on any number of threads. If
/// the file is cut short or changed in the meantime, loading a picture fails, and the process goes on
/// (`docs/decisions/0073-pack-without-mmap.md`).
pub struct Pack {
    path: PathBuf,
    file: File,
    facts: Facts,
    entries: Vec<Entry>,
    /// The names of the pictures one behind the other, and where each ends.
    names: String,
    ends: Vec<usize>,
}

fn damaged(what: impl Into<String>) -> Error {
    Error::data(what).hint("the file is damaged; pack the data set again, or get the file again")
}

/// Reads exactly so many bytes from an offset. The position of the file does not matter, so that threads can share it.
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
    }
    #[cfg(windows)]
    {
        let (mut rest, mut offset) = (bytes, offset);
        while !rest.is_empty() {
            let count = std::os::windows::fs::FileExt::seek_read(file, rest, offset)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            rest = rest.get_mut(count..).unwrap_or_default();
            offset += count as u64;
        }
        Ok(())
    }
    #[cfg(not(any(unix, windows)))]
    {
        let _ = (file, bytes, offset);
        Err(ErrorKind::Unsupported.into())
    }
}

/// The header and the index of a file.
struct Index {
    file: File,
    /// Where the pictures end.
    end: u64,
    bytes: Vec<u8>,
    facts: Facts,
    /// Where the entries begin in `bytes`.
    entries: usize,
}

impl Index {
    fn read(path: &Path) -> Result<Self> {
        let failed = |e: IoError| match e.kind() {
            ErrorKind::UnexpectedEof => damaged("this file is cut short"),
            _ => Error::from_io(e, "read", path),
        };
        let (file, length) = open_regular(path)?;
        let mut header = [0; HEADER];
        read_exact_at(&file, &mut header, 0).map_err(failed)?;
        let (checked, sum) = header.split_at(HEADER - 4);
        let words: Vec<u32> = header.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        let word = |i: usize| words.get(i).copied().unwrap_or_default();
        if !header.starts_with(MAGIC) {
            return Err(
                Error::data("this is no packed data set").hint("write one with `ocelli pack DIR FILE`")
            );
        }
        if sum != crc32fast::hash(checked).to_le_bytes() {
            return Err(damaged("the checksum of its header is wrong"));
        }
        if word(2) != VERSION {
            let what = format!("this packed data set has version {}, and {VERSION} can be read", word(2));
            return Err(Error::data(what).hint("update this program, or pack the data set again"));
        }
        let long = |i: usize| u64::from(word(i)) | u64::from(word(i + 1)) << 32;
        let (offset, size) = (long(4), long(6));
        if offset < HEADER as u64 || offset.checked_add(size) != Some(length) {
            return Err(damaged(format!(
                "its header says that it ends after {} bytes, and it has {length}",
                offset.saturating_add(size)
            )));
        }
        if size > MAX_INDEX {
            return Err(damaged(format!("its index has {size} bytes, more than {MAX_INDEX}")));
        }
        // No more than the file has, whatever it says.
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        read_exact_at(&file, &mut bytes, offset).map_err(failed)?;
        if crc32fast::hash(&bytes) != word(3) {
            return Err(damaged("the checksum of its index is wrong"));
        }
        let (facts, entries) = facts(&bytes)?;
        Ok(Self { file, end: offset, bytes, facts, entries })
    }
}

/// The JSON object at the start of the index, and where it ends.
fn facts(bytes: &[u8]) -> Result<(Facts, usize)> {
    let short = || damaged("its index is too short");
    let length = u32::from_le_bytes(*bytes.first_chunk::<4>().ok_or_else(short)?) as usize;
    let end = length.checked_add(4).ok_or_else(short)?;
    let json = bytes.get(4..end).ok_or_else(short)?;
    let facts: Facts = serde_json::from_slice(json)
        .map_err(|e| damaged(format!("its index cannot be read: {e}")).with_source(e))?;
    let Facts { classes, splits, native_size, normalization: Normalization { mean, std } } = &facts;
    if classes.len() < 2 || classes.iter().collect::<HashSet<_>>().len() != classes.len() {
        return Err(damaged("its classes are fewer than two, or two of them have one name"));
    }
    let known: HashSet<_> = splits.iter().filter_map(|(name, _)| name.parse::<Split>().ok()).collect();
    if known.len() != splits.len() {
        return Err(damaged("its parts are not train, val and test, each at most once"));
    }
    let is_size = |side: &usize| (1..=MAX_SIDE).contains(side);
    if native_size.is_some_and(|size| !size.iter().all(is_size)) {
        return Err(damaged("it has pictures of an impossible size"));
    }
    if !mean.iter().chain(std).all(|v| v.is_finite()) || std.iter().any(|v| *v <= 0.0) {
        return Err(damaged("its normalisation is impossible"));
    }
    Ok((facts, end))
}

impl Pack {
    /// Whether a file is a packed data set by the end of its name or by its first bytes.
    pub fn is_at(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        let mut magic = [0; MAGIC.len()];
        let is_file = std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
        is_file
            && (path.extension().is_some_and(|ending| ending == PACK_ENDING)
                || File::open(path)
                    .is_ok_and(|mut file| file.read_exact(&mut magic).is_ok() && magic == *MAGIC))
    }

    /// The splits that a file has.
    ///
    /// # Errors
    /// Those of [`Pack::open`].
    pub fn splits(path: impl AsRef<Path>) -> Result<Vec<Split>> {
        let path = path.as_ref();
        let index = Index::read(path).map_err(|e| e.at(path.display().to_string()))?;
        Ok(index.facts.splits.iter().filter_map(|(name, _)| name.parse().ok()).collect())
    }

    /// Opens one split. All offsets, lengths and labels are checked, and the checksum of the index; that of a picture is checked when the
    /// picture is loaded.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file; [`Error::Data`] if it is no packed data set, is damaged or cut short, or does not have
    /// this split.
    pub fn open(path: impl AsRef<Path>, split: Split) -> Result<Self> {
        let path = path.as_ref();
        Self::of_split(path, split).map_err(|e| e.at(path.display().to_string()))
    }

    fn of_split(path: &Path, split: Split) -> Result<Self> {
        let Index { file, end, bytes, facts, entries: mut at } = Index::read(path)?;
        let (mut entries, mut names, mut ends) = (Vec::new(), String::new(), Vec::new());
        let (mut next, mut found) = (HEADER as u64, false);
        for (name, count) in &facts.splits {
            let wanted = *name == split.to_string();
            found |= wanted;
            for i in 0..*count {
                let wrong = |what: &str| damaged(format!("the entry of {name} picture {i} {what}"));
                let entry = bytes.get(at..).and_then(|rest| rest.first_chunk::<ENTRY>());
                let entry = Entry::from_bytes(entry.ok_or_else(|| wrong("is missing"))?);
                check(&entry, next, facts.classes.len()).map_err(|what| wrong(&what))?;
                at += ENTRY;
                let text = bytes.get(at..at.saturating_add(entry.name as usize));
                let text = text.and_then(|text| std::str::from_utf8(text).ok());
                let text = text.ok_or_else(|| wrong("has no name in UTF-8"))?;
                (at, next) = (at + text.len(), next + u64::from(entry.length));
                if wanted {
                    entries.push(entry);
                    names.push_str(text);
                    ends.push(names.len());
                }
            }
        }
        if at != bytes.len() || next != end {
            return Err(damaged("its index has something else behind its entries, or its pictures have"));
        }
        if !found {
            let parts: Vec<_> = facts.splits.iter().map(|(name, _)| name.as_str()).collect();
            let what = format!("it has no part {split}, only {}", parts.join(", "));
            return Err(Error::data(what).hint(format!("pack a folder that has {split}/")));
        }
        Ok(Self { path: path.to_owned(), file, facts, entries, names, ends })
    }

    /// The bytes of a picture, checked.
    fn bytes(&self, entry: &Entry) -> Result<Vec<u8>> {
        let mut bytes = vec![0; entry.length as usize];
        read_exact_at(&self.file, &mut bytes, entry.offset).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => damaged("the packed file was cut short after it had been opened"),
            _ => Error::from_io(e, "read", &self.path),
        })?;
        if crc32fast::hash(&bytes) != entry.crc {
            return Err(damaged("the checksum of this picture is wrong"));
        }
        Ok(bytes)
    }

    fn entry(&self, i: usize) -> Result<&Entry> {
        self.entries.get(i).ok_or_else(|| Error::internal(format!("there is no picture {i}")))
    }
}

/// Checks an entry of a picture that has to begin at `start`.
fn check(entry: &Entry, start: u64, classes: usize) -> std::result::Result<(), String> {
    let [height, width] = entry.size.map(u64::from);
    let is_raw = entry.size != [0, 0];
    if entry.offset != start {
        return Err(format!("begins at byte {}, and the one before it ends at {start}", entry.offset));
    }
    if entry.label as usize >= classes {
        return Err(format!("has the label {}, and there are {classes} classes", entry.label));
    }
    if entry.name > MAX_NAME {
        return Err(format!("has a name of {} bytes", entry.name));
    }
    if u64::from(entry.length) > MAX_BYTES {
        return Err(format!("has {} bytes, more than {MAX_BYTES}", entry.length));
    }
    if is_raw && (height * width > MAX_PIXELS || height * width * 3 != u64::from(entry.length)) {
        return Err(format!("has {} bytes for {height}x{width} pixels", entry.length));
    }
    Ok(())
}

impl Dataset for Pack {
    fn classes(&self) -> &[String] {
        &self.facts.classes
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.entries.get(i).map_or(0, |entry| entry.label)
    }

    fn name(&self, i: usize) -> String {
        let start = i.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = start.zip(self.ends.get(i).copied());
        let name = range.and_then(|(start, end)| self.names.get(start..end)).unwrap_or_default();
        format!("{}: {name}", self.path.display())
    }

    fn load(&self, i: usize) -> Result<Picture> {
        let entry = self.entry(i)?;
        let taken = FILES.take(u64::from(entry.length));
        let bytes = self.bytes(entry)?;
        let picture = match entry.size.map(|side| side as usize) {
            [0, 0] => decode(&bytes),
            [height, width] => {
                let pixels = DECODERS.take(4 * (height * width) as u64);
                let picture = Picture::from_rgb(height, width, &bytes);
                pixels.release();
                picture
            }
        };
        drop(taken);
        picture.map_err(|e| e.at(self.name(i)))
    }

    fn encoded(&self, i: usize) -> Result<Option<Vec<u8>>> {
        let entry = self.entry(i)?;
        if entry.size != [0, 0] {
            return Ok(None);
        }
        let _taken = FILES.take(u64::from(entry.length));
        self.bytes(entry).map(Some)
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        self.facts.native_size
    }

    fn normalization(&self) -> Normalization {
        self.facts.normalization
    }
}
