//! The files that `ocelli serve` serves: the built page, and the networks in one folder. This module knows no HTTP.

use super::packed::Packed;
use crate::error::{Error, Result, Untrusted};
use crate::train::checkpoint;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// The path of the networks, relative to the page.
pub(super) const WEIGHTS: &str = "weights/";
/// Another name of the list, as on a static server.
const INDEX: &str = "index.json";
/// The extensions of files that the page can open.
const FORMATS: [&str; 2] = ["safetensors", "onnx"];
/// The characters that are escaped in a name: all but letters, digits and `-._~`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Like [`ESCAPED`], but without `/`, for a path in a query.
const ESCAPED_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// The folders that are served, as canonical paths without links.
pub(super) struct Site {
    page: PathBuf,
    weights: Option<PathBuf>,
    pub(super) packed: Packed,
}

/// The target of a path.
pub(super) enum Found {
    File { name: String, file: File, metadata: Metadata },
    List(Vec<Network>),
}

/// A file of weights in the list.
#[derive(Serialize)]
pub(super) struct Network {
    pub(super) name: String,
    bytes: u64,
    /// The escaped path, relative to the page.
    url: String,
}

impl Network {
    /// The query of the page's URL that opens this network, without the `?`.
    pub(super) fn query(&self) -> String {
        // Escaped a second time, because the reader of a query unescapes it.
        format!("weights={}", utf8_percent_encode(&self.url, ESCAPED_PATH))
    }
}

impl Site {
    /// Checks that both folders exist and that the page is built.
    pub(super) fn open(page: &Path, weights: Option<&Path>) -> Result<Self> {
        let build = "build the page with `make web`, or say with --page where it is";
        let index = fs::metadata(page.join("index.html"));
        if index.as_ref().map_or_else(|e| e.kind() == io::ErrorKind::NotFound, |index| !index.is_file()) {
            let error = Error::not_found("there is no page in this folder, for it has no index.html");
            return Err(error.at(Untrusted::new(page)).hint(build));
        }
        index.map_err(|e| Error::from_io(e, "open", page))?;
        let page = real_folder(page)?;
        let folder = "give --weights a folder with .safetensors or .onnx files";
        let weights = weights.map(real_folder).transpose().map_err(|e| e.hint(folder))?;
        Ok(Self { page, weights, packed: Packed::default() })
    }

    /// Whether there is a list of networks.
    pub(super) fn has_networks(&self) -> bool {
        self.weights.is_some()
    }

    /// The target of the path of a URL, still escaped. A file that is not served is reported as missing.
    pub(super) fn find(&self, path: &str) -> io::Result<Found> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let path = percent_decode_str(path).decode_utf8().map_err(|_| missing())?;
        let path = path.strip_prefix('/').ok_or_else(missing)?;
        if let Some(name) = path.strip_prefix(WEIGHTS) {
            if name.is_empty() || name == INDEX {
                return Ok(Found::List(self.networks()?));
            }
            // Only files that can be in the list are served from this folder, and none of its subfolders.
            let is_listed = is_network(name) && !name.contains('/');
            let folder = self.weights.as_ref().filter(|_| is_listed).ok_or_else(missing)?;
            return open_inside(folder, name);
        }
        open_inside(&self.page, if path.is_empty() { "index.html" } else { path })
    }

    /// The networks that exist now, sorted by name.
    pub(super) fn networks(&self) -> io::Result<Vec<Network>> {
        let Some(folder) = &self.weights else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            // A name that is not Unicode cannot be requested.
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if !is_network(&name) {
                continue;
            }
            // A link that leads out of the folder or nowhere is not in the list, nor is a file that has just been
            // removed.
            if let Ok(metadata) = real_file(folder, &name).and_then(fs::metadata) {
                let url = format!("{WEIGHTS}{}", utf8_percent_encode(&name, ESCAPED));
                found.push(Network { name, bytes: metadata.len(), url });
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

fn real_folder(path: &Path) -> Result<PathBuf> {
    let real = path.canonicalize().map_err(|e| Error::from_io(e, "open", path))?;
    if !real.is_dir() {
        return Err(Error::usage("this is no folder").at(Untrusted::new(path)));
    }
    Ok(real)
}

/// Whether a file is a network. The checkpoints that a run resumes from are not, although they have the extension of
/// one.
fn is_network(name: &str) -> bool {
    // File names on Windows and macOS are case-insensitive.
    if [checkpoint::FILE, checkpoint::PREVIOUS].iter().any(|file| name.eq_ignore_ascii_case(file)) {
        return false;
    }
    let end = Path::new(name).extension().and_then(|end| end.to_str());
    end.is_some_and(|end| FORMATS.iter().any(|format| end.eq_ignore_ascii_case(format)))
}

/// Whether there is no such file, as opposed to one that cannot be read.
pub(super) fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound};
    [NotFound, NotADirectory, IsADirectory, InvalidInput, InvalidFilename].contains(&error.kind())
}

/// Opens a file below a folder.
fn open_inside(folder: &Path, name: &str) -> io::Result<Found> {
    let file = File::open(real_file(folder, name)?)?;
    let metadata = file.metadata()?;
    Ok(Found::File { name: name.to_owned(), file, metadata })
}

/// The canonical path of a file below `folder`. A name that could lead out of the folder is refused before it reaches
/// the system. A file that is outside of the folder through links is refused too. Users who may write to the folder
/// are trusted.
fn real_file(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    // On Windows these denote drives, streams and separators. Elsewhere they are ordinary characters.
    let special: &[char] = if cfg!(windows) { &['\\', ':', '\0'] } else { &['\0'] };
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(special);
    if !name.split('/').all(is_plain) {
        return Err(missing());
    }
    let path = name.split('/').fold(folder.to_owned(), |path, part| path.join(part)).canonicalize()?;
    if !path.starts_with(folder) || !path.is_file() {
        return Err(missing());
    }
    Ok(path)
}
