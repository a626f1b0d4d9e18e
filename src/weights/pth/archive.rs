//! The zip format of PyTorch 1.6 and later. `NAME/data.pkl` is the pickle; `NAME/data/KEY` are the storages, without compression.

use super::cursor::Cursor;
use super::objects::Storage;
use super::pickle::MAX_PICKLE;
use super::{DAMAGED, SAVE_STATE_DICT};
use crate::error::{Error, Result, Untrusted};
use crate::weights::bytes::Bytes;
use std::io::Read;
use zip::read::{ArchiveOffset, Config, ZipFileEntry};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive, ZipReadOptions};

/// The largest directory that is read, in bytes. That of ResNet-152 has 100 kB.
const MAX_DIRECTORY: u64 = 8 << 20;

/// An archive whose directory has been read.
pub struct Archive<'a> {
    bytes: &'a Bytes,
    root: String,
    zip: ZipArchive<Cursor<'a>>,
}

impl<'a> Archive<'a> {
    /// Reads the directory and checks that `torch.save` has made the file.
    ///
    /// # Errors
    /// [`Error::Data`] if it is damaged or another kind of archive.
    pub fn open(bytes: &'a Bytes) -> Result<Self> {
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let zip = ZipArchive::with_config(config, Cursor::new(bytes, MAX_DIRECTORY)).map_err(unusable)?;
        if zip.has_duplicate_names() {
            return Err(Error::data("a file occurs twice in this zip archive").hint(DAMAGED));
        }
        let roots: Vec<&str> = zip.file_names_raw().filter_map(root_of).take(2).collect();
        let root = match roots.as_slice() {
            [root] => (*root).to_owned(),
            [] => {
                return Err(Error::data("this zip archive has no data.pkl, so torch.save has not made it")
                    .hint("give a file that torch.save made"));
            }
            _ => return Err(Error::data("this zip archive has several data.pkl").hint(DAMAGED)),
        };
        let archive = Self { bytes, root, zip };
        let code = format!("{}/code/", archive.root);
        if archive.file("constants.pkl").is_some()
            || archive.zip.file_names_raw().any(|name| name.starts_with(code.as_bytes()))
        {
            return Err(Error::data("this is a TorchScript program, not numbers alone")
                .hint("save its numbers: torch.save(torch.jit.load(FILE).state_dict(), NEW)"));
        }
        archive.check_byte_order()?;
        Ok(archive)
    }

    fn file(&self, name: &str) -> Option<ZipFileEntry<'_>> {
        let index = self.zip.index_for_name(&format!("{}/{name}", self.root))?;
        self.zip.by_index_data(index).ok()
    }

    /// Checks the byte order, which PyTorch 2.1 and later record.
    fn check_byte_order(&self) -> Result<()> {
        if self.file("byteorder").is_none() {
            return Ok(());
        }
        match self.content("byteorder", 16)?.as_slice() {
            b"little" => Ok(()),
            b"big" => {
                Err(Error::data("its numbers are big-endian").hint("save it on a little-endian machine"))
            }
            _ => Err(Error::data("its byte order is neither little nor big").hint(DAMAGED)),
        }
    }

    /// Reads the pickle.
    pub fn pickle(&self) -> Result<Vec<u8>> {
        self.content("data.pkl", MAX_PICKLE)
    }

    /// The offset of a storage in the file. Its length is checked against the pickle.
    pub fn locate(&self, storage: &Storage) -> Result<u64> {
        let name = format!("data/{}", storage.key);
        let (start, size) = self.locate_file(&name)?;
        let wanted = super::rebuild::bytes(storage).map(|bytes| bytes as u64);
        if wanted != Some(size) {
            let what = format!("it has {size} bytes and not {} numbers", storage.elements);
            return Err(Error::data(what).at(Untrusted::short(&name)).hint(DAMAGED));
        }
        Ok(start)
    }

    /// Reads a whole file of the archive. It must not have more bytes than `most`.
    fn content(&self, name: &str, most: usize) -> Result<Vec<u8>> {
        let (start, size) = self.locate_file(name)?;
        let length = usize::try_from(size).ok().filter(|length| *length <= most);
        let length = length.ok_or_else(|| {
            Error::data(format!("it has {size} bytes, more than {most}"))
                .at(Untrusted::short(name))
                .hint(SAVE_STATE_DICT)
        })?;
        // PyTorch has an option to write no checksums. They are 0 then.
        let Some(file) = self.file(name).filter(|file| file.crc32() != 0) else {
            return self.bytes.read(start, length);
        };
        let mut content = Vec::with_capacity(length);
        let mut body = Cursor::new(self.bytes, u64::MAX);
        let mut reader = file.with_reader(&mut body, ZipReadOptions::new()).map_err(unusable)?;
        let read = reader.read_to_end(&mut content);
        read.map_err(|e| {
            Error::data(format!("it cannot be read: {e}"))
                .at(Untrusted::short(name))
                .hint(DAMAGED)
                .with_source(e)
        })?;
        Ok(content)
    }

    /// The offset and the length of a file of the archive. All of its bytes are in the archive.
    fn locate_file(&self, name: &str) -> Result<(u64, u64)> {
        let fault = |what: &str, hint: &str| Error::data(what).at(Untrusted::short(name)).hint(hint);
        let file = self.file(name).ok_or_else(|| fault("it is missing in the archive", DAMAGED))?;
        if file.encrypted() {
            return Err(fault("it is encrypted", "unpack the archive, and save the file again in PyTorch"));
        }
        if file.compression() != CompressionMethod::Stored || file.size() != file.compressed_size() {
            return Err(fault("it is compressed, which torch.save does not do", SAVE_STATE_DICT));
        }
        let size = file.size();
        // The limit allows for the local header only.
        let mut body = Cursor::new(self.bytes, 1 << 18);
        let options = ZipReadOptions::new().ignore_crc32(true);
        let reader = file.with_reader(&mut body, options).map_err(unusable)?;
        let start = reader.data_start().ok_or_else(|| fault("it has no place", DAMAGED))?;
        let end = start.checked_add(size).filter(|end| *end <= self.bytes.len());
        end.map(|_| (start, size)).ok_or_else(|| fault("it is longer than the file", DAMAGED))
    }
}

/// The `NAME` of a file `NAME/data.pkl`.
fn root_of(name: &[u8]) -> Option<&str> {
    let root = name.strip_suffix(b"/data.pkl")?;
    std::str::from_utf8(root).ok().filter(|root| !root.contains('/'))
}

fn unusable(error: ZipError) -> Error {
    Error::data(format!("its zip archive cannot be read: {}", Untrusted::short(&error.to_string())))
        .hint(DAMAGED)
        .with_source(error)
}
