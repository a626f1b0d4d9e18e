//! Fashion-MNIST: IDX files, compressed by gzip (Xiao, Rasul and Vollgraf, 2017, arXiv:1708.07747).

use super::{Dataset, Normalization, Picture, Split, open_regular};
use crate::error::{Error, Result};
use flate2::read::GzDecoder;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// The most bytes that the header of a file may announce. The real files have up to 47 MB. No more than the announced bytes are unpacked.
const MAX_BYTES: usize = 64 << 20;

/// The pictures and labels of a pair of IDX files.
#[derive(Debug)]
pub struct Idx {
    classes: Vec<String>,
    pixels: Vec<u8>,
    labels: Vec<u8>,
    size: [usize; 2],
    split: Split,
}

impl Idx {
    /// Fashion-MNIST from the first of these places that has it: the folder `fashion-mnist` in `$OCELLI_DATA`; `ocelli/fashion-mnist`
    /// in the cache folder (`$XDG_CACHE_HOME`, on Windows `%LOCALAPPDATA%`, otherwise `.cache` in the home folder); the folder of
    /// Debian's package `dataset-fashion-mnist`.
    ///
    /// # Errors
    /// [`Error::NotFound`] with these places if none has it; otherwise as [`Idx::open`]. Its test pictures are the part `val`, so that there
    /// is no part `test`.
    pub fn fashion_mnist(split: Split) -> Result<Self> {
        let places = places(cfg!(windows), |name| std::env::var_os(name), std::env::home_dir());
        let (images, labels) = file_names(split)?;
        if let Some(place) = places.iter().find(|p| p.join(images).is_file() && p.join(labels).is_file()) {
            return Self::open(place, split);
        }
        let list: Vec<_> = places.iter().map(|p| p.display().to_string()).collect();
        Err(Error::not_found(format!("Fashion-MNIST is in none of {}", list.join(", ")))
            .hint("install it with `apt-get install dataset-fashion-mnist`, or put its four .gz files there"))
    }

    /// Reads one split from a folder with the four files of Fashion-MNIST.
    ///
    /// # Errors
    /// [`Error::NotFound`] if a file is missing, [`Error::Data`] if one is damaged.
    pub fn open(folder: impl AsRef<Path>, split: Split) -> Result<Self> {
        let folder = folder.as_ref();
        let (images, labels) = file_names(split)?;
        let open = |name: &str| {
            let path = folder.join(name);
            open_regular(&path).map(|(file, _)| (file, path))
        };
        let ((images, images_at), (labels, labels_at)) = (open(images)?, open(labels)?);
        let images = read(images, 3).map_err(|e| e.at(images_at.display().to_string()))?;
        let labels = read(labels, 1).map_err(|e| e.at(labels_at.display().to_string()))?;
        Self::join(images, labels, split).map_err(|e| e.at(folder.display().to_string()))
    }

    /// Reads one split from the content of its two files.
    ///
    /// # Errors
    /// [`Error::Data`] if one is damaged or they do not belong together.
    pub fn parse(images: &[u8], labels: &[u8], split: Split) -> Result<Self> {
        Self::join(read(images, 3)?, read(labels, 1)?, split)
    }

    fn join((sizes, pixels): Content, (counts, labels): Content, split: Split) -> Result<Self> {
        let (&[n, h, w], &[m]) = (&sizes[..], &counts[..]) else {
            return Err(Error::internal("an IDX header of another length"));
        };
        if n != m || n == 0 || h == 0 || w == 0 {
            return Err(Error::data(format!("{n} pictures of {h}x{w} and {m} labels")));
        }
        if let Some(label) = labels.iter().find(|label| usize::from(**label) >= CLASSES.len()) {
            return Err(Error::data(format!("there is a label {label}, and {} classes", CLASSES.len())));
        }
        let classes = CLASSES.map(str::to_owned).to_vec();
        Ok(Self { classes, pixels, labels, size: [h, w], split })
    }
}

/// The folders in which Fashion-MNIST is searched, from the environment variables and the home folder of the user.
fn places(windows: bool, variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let folder = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let local = folder("LOCALAPPDATA").filter(|_| windows);
    let home = home.filter(|home| !home.as_os_str().is_empty()).map(|home| home.join(".cache"));
    let cache = folder("XDG_CACHE_HOME").or(local).or(home);
    let debian = (!windows).then(|| PathBuf::from("/usr/share/datasets/fashion-mnist"));
    let own = [folder("OCELLI_DATA"), cache.map(|cache| cache.join("ocelli"))].into_iter().flatten();
    own.map(|folder| folder.join("fashion-mnist")).chain(debian).collect()
}

fn file_names(split: Split) -> Result<(&'static str, &'static str)> {
    match split {
        Split::Train => Ok(("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")),
        Split::Val => Ok(("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")),
        Split::Test => Err(Error::data("Fashion-MNIST has the parts train and val, and no test")
            .hint("its 10,000 test pictures are the part val")),
    }
}

/// The sizes of an IDX file and its bytes.
type Content = (Vec<usize>, Vec<u8>);

/// Reads an IDX file of bytes: two zeros, the type 8, the number of sizes, the sizes as big-endian u32, the bytes. No more
/// than the sizes announce is unpacked.
fn read(file: impl Read, dimensions: u8) -> Result<Content> {
    let broken = |what: String| Error::data(what).hint("the file is damaged; get it again");
    let packed = |e: std::io::Error| broken(format!("it cannot be unpacked: {e}")).with_source(e);
    let mut unpacked = GzDecoder::new(file);
    let length = 4 + 4 * usize::from(dimensions);
    let mut header = Vec::with_capacity(length);
    unpacked.by_ref().take(length as u64).read_to_end(&mut header).map_err(packed)?;
    if header.len() < length || !header.starts_with(&[0, 0, 8, dimensions]) {
        return Err(broken(format!("this is no IDX file of bytes in {dimensions} dimensions")));
    }
    let (_, numbers) = header.split_at(4);
    let sizes: Vec<usize> =
        numbers.as_chunks::<4>().0.iter().map(|b| u32::from_be_bytes(*b) as usize).collect();
    let expected = sizes.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
    let expected = expected
        .filter(|n| *n <= MAX_BYTES)
        .ok_or_else(|| broken(format!("its header says {sizes:?}, more than {} MiB", MAX_BYTES >> 20)))?;
    let mut bytes = Vec::new();
    // One more byte shows that the file is too long.
    unpacked.take(expected as u64 + 1).read_to_end(&mut bytes).map_err(packed)?;
    if bytes.len() != expected {
        let many = if bytes.len() > expected { "many" } else { "few" };
        return Err(broken(format!("its header says {sizes:?}, and too {many} bytes follow")));
    }
    Ok((sizes, bytes))
}

impl Dataset for Idx {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.labels.get(i).copied().map_or(0, u32::from)
    }

    fn name(&self, i: usize) -> String {
        format!("fashion-mnist {} picture {i}", self.split)
    }

    fn load(&self, i: usize) -> Result<Picture> {
        let [height, width] = self.size;
        let grey = self.pixels.chunks_exact(height * width).nth(i);
        let grey = grey.ok_or_else(|| Error::internal(format!("there is no picture {i}")))?;
        Picture::from_rgba(height, width, grey.iter().flat_map(|g| [*g, *g, *g, 255]).collect())
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        Some(self.size)
    }

    fn normalization(&self) -> Normalization {
        // Mean and deviation of the 60,000 training pictures.
        Normalization { mean: [0.2860; 3], std: [0.3530; 3] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fashion_mnist_is_looked_for_where_each_system_keeps_such_files() {
        let seen = |windows, variables: &[(&str, &str)], home: Option<&str>| {
            let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
            let places = places(windows, variable, home.map(PathBuf::from));
            places.iter().map(|p| p.to_string_lossy().replace('\\', "/")).collect::<Vec<_>>()
        };
        let debian = "/usr/share/datasets/fashion-mnist";
        assert_eq!(seen(false, &[], Some("h")), ["h/.cache/ocelli/fashion-mnist", debian]);
        let all = [("LOCALAPPDATA", "l"), ("XDG_CACHE_HOME", ""), ("OCELLI_DATA", "d")];
        assert_eq!(seen(true, &all, Some("h")), ["d/fashion-mnist", "l/ocelli/fashion-mnist"]);
        assert_eq!(seen(true, &[], Some("h")), ["h/.cache/ocelli/fashion-mnist"]);
        let xdg = [("LOCALAPPDATA", "l"), ("XDG_CACHE_HOME", "x")];
        assert_eq!(seen(false, &xdg, Some("h")), ["x/ocelli/fashion-mnist", debian]);
        assert_eq!(seen(true, &[], None), Vec::<String>::new());
    }
}
