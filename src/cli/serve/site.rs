//! What `ocelli serve` gives away: the built page, and the networks in one folder. Files, no HTTP.

use super::packed::Packed;
use crate::error::{Error, Result, Untrusted};
use crate::train::checkpoint;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Serialize;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// Where the networks are, seen from the page.
pub(super) const WEIGHTS: &str = "weights/";
/// Another name for the list, as a static server would have it.
const INDEX: &str = "index.json";
/// The ends of names of files that the page can open.
const FORMATS: [&str; 2] = ["safetensors", "onnx"];
/// What stands in a name as it is; all else is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path in a query.
const ESCAPED_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// The folders that are served, as real paths without links in them.
pub(super) struct Site {
    page: PathBuf,
    weights: Option<PathBuf>,
    pub(super) packed: Packed,
}

/// What is behind a path.
pub(super) enum Found {
    File { name: String, file: File, metadata: Metadata },
    List(Vec<Network>),
}

/// A file of weights in the list.
#[derive(Serialize)]
pub(super) struct Network {
    pub(super) name: String,
    bytes: u64,
    /// Where it is, seen from the page, escaped.
    url: String,
}

impl Network {
    /// The part of the page's address behind `?` that opens this network.
    pub(super) fn query(&self) -> String {
        // Once more, for what stands in a query is unescaped by who reads it.
        format!("weights={}", utf8_percent_encode(&self.url, ESCAPED_PATH))
    }
}

impl Site {
    /// Looks whether both folders are there, and the page is built.
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

    /// What is behind the path of a URL, escaped as it came. What is not served is as if it were not there.
    pub(super) fn find(&self, path: &str) -> io::Result<Found> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let path = percent_decode_str(path).decode_utf8().map_err(|_| missing())?;
        let path = path.strip_prefix('/').ok_or_else(missing)?;
        if let Some(name) = path.strip_prefix(WEIGHTS) {
            if name.is_empty() || name == INDEX {
                return Ok(Found::List(self.networks()?));
            }
            // Of this folder what the list can have, and nothing below it.
            let is_listed = is_network(name) && !name.contains('/');
            let folder = self.weights.as_ref().filter(|_| is_listed).ok_or_else(missing)?;
            return open_inside(folder, name);
        }
        open_inside(&self.page, if path.is_empty() { "index.html" } else { path })
    }

    /// The networks that are there now, sorted by name.
    pub(super) fn networks(&self) -> io::Result<Vec<Network>> {
        let Some(folder) = &self.weights else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            // What is no text cannot be asked for.
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if !is_network(&name) {
                continue;
            }
            // A link that leads elsewhere or nowhere, or a file that has just gone, is not in the list.
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

/// A file of a run's folder that is no network, but what the run goes on from, is none here either.
fn is_network(name: &str) -> bool {
    // Windows and macOS do not tell upper from lower case.
    if [checkpoint::FILE, checkpoint::PREVIOUS].iter().any(|file| name.eq_ignore_ascii_case(file)) {
        return false;
    }
    let end = Path::new(name).extension().and_then(|end| end.to_str());
    end.is_some_and(|end| FORMATS.iter().any(|format| end.eq_ignore_ascii_case(format)))
}

/// Whether a file is not there, rather than there and not to be read.
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

/// Where a file below a folder really is. A name that could lead elsewhere is refused before the system sees it, and what turns out
/// to be elsewhere, through links, is not given away. Who may write to the folder is trusted.
fn real_file(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    // Of drives, streams and separators on Windows; elsewhere they are letters like others.
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
