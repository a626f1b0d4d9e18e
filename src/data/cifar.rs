//! CIFAR-10 and CIFAR-100 in their binary form (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009;
//! cs.toronto.edu/~kriz/cifar.html).

use super::{Dataset, Normalization, Picture, Split, open_regular};
use crate::error::{Error, Result, Untrusted};
use std::io::Read;
use std::path::{Path, PathBuf};

const SIDE: usize = 32;

/// The bytes of a picture: the red plane, the green one, the blue one.
const PIXELS: usize = 3 * SIDE * SIDE;

/// The largest file that is read. The real ones have up to 154 MB.
const MAX_BYTES: u64 = 512 << 20;

/// The largest list of class names. The real ones have less than a kilobyte.
const MAX_NAMES: u64 = 1 << 20;

/// What differs between the two data sets.
struct Form {
    names: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    classes: usize,
    /// The number of coarse labels, each a byte before the label. CIFAR-10 has none.
    coarse: Option<u8>,
    normalization: Normalization,
}

/// The means and deviations are those of the 50,000 training pictures.
const CIFAR_10: Form = Form {
    names: "batches.meta.txt",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    classes: 10,
    coarse: None,
    normalization: Normalization { mean: [0.4914, 0.4822, 0.4465], std: [0.2470, 0.2435, 0.2616] },
};

const CIFAR_100: Form = Form {
    names: "fine_label_names.txt",
    train: &["train.bin"],
    test: "test.bin",
    classes: 100,
    coarse: Some(20),
    normalization: Normalization { mean: [0.5071, 0.4865, 0.4409], std: [0.2673, 0.2564, 0.2762] },
};

/// The records of one file.
struct Part {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// CIFAR-10 or CIFAR-100, from the files of the binary version. The 10,000 pictures of the test file are the part `val`.
pub struct Cifar {
    form: &'static Form,
    classes: Vec<String>,
    parts: Vec<Part>,
    /// The file of each picture and its record there.
    places: Vec<(u32, u32)>,
}

/// The form of the files in a folder.
fn form(folder: &Path) -> Option<&'static Form> {
    [&CIFAR_10, &CIFAR_100].into_iter().find(|form| {
        form.train.iter().chain([&form.test]).any(|name| folder.join(name).is_file())
            && (folder.join(form.names).is_file() || !folder.join("train").is_dir())
    })
}

impl Cifar {
    /// Whether a folder holds the binary files of CIFAR-10 or CIFAR-100.
    pub fn is_at(folder: impl AsRef<Path>) -> bool {
        form(folder.as_ref()).is_some()
    }

    /// Reads one split.
    ///
    /// # Errors
    /// [`Error::NotFound`] if a file is missing; [`Error::Data`] if one is damaged: it does not consist of whole records, or has a label
    /// beyond the classes. [`Error::Data`] for [`Split::Test`]: the test pictures are the part `val`.
    pub fn open(folder: impl AsRef<Path>, split: Split) -> Result<Self> {
        let folder = folder.as_ref();
        let place = || folder.display().to_string();
        let form = form(folder).ok_or_else(|| {
            Error::not_found("these are not the binary files of CIFAR-10 or CIFAR-100").at(place())
        })?;
        let files = match split {
            Split::Train => form.train,
            Split::Val => std::slice::from_ref(&form.test),
            Split::Test => {
                let error = Error::data("CIFAR has the parts train and val, and no test");
                return Err(error
                    .at(place())
                    .hint(format!("the pictures of {} are the part val", form.test)));
            }
        };
        let classes = names(folder, form)?;
        let (mut parts, mut places) = (Vec::new(), Vec::new());
        for (file, name) in (0..).zip(files) {
            let path = folder.join(name);
            let bytes = records(&path, form).map_err(|e| e.at(path.display().to_string()))?;
            let count = bytes.len() / form.record();
            places.extend((0..count as u32).map(|record| (file, record)));
            parts.push(Part { path, bytes });
        }
        Ok(Self { form, classes, parts, places })
    }

    /// The labels and pixels of a picture.
    fn record(&self, i: usize) -> Option<&[u8]> {
        let (file, record) = self.places.get(i)?;
        self.parts.get(*file as usize)?.bytes.chunks_exact(self.form.record()).nth(*record as usize)
    }
}

impl Form {
    /// The bytes before the pixels: the labels.
    fn labels(&self) -> usize {
        1 + usize::from(self.coarse.is_some())
    }

    fn record(&self) -> usize {
        self.labels() + PIXELS
    }
}

/// Reads a file of at most so many bytes.
fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let (file, length) = open_regular(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(most)).unwrap_or(0));
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| Error::from_io(e, "read", path))?;
    if bytes.len() as u64 > most {
        return Err(Error::data(format!("this file has more than {} MiB", most >> 20))
            .hint("get the binary version of the data set again"));
    }
    Ok(bytes)
}

/// The class names: one a line.
fn names(folder: &Path, form: &Form) -> Result<Vec<String>> {
    let path = folder.join(form.names);
    let bytes = read(&path, MAX_NAMES)?;
    let text = String::from_utf8_lossy(&bytes);
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    let broken = |what: String| {
        let error = Error::data(what).at(path.display().to_string());
        error.hint("get the binary version of the data set again")
    };
    if names.len() != form.classes {
        return Err(broken(format!("it has {} class names, not {}", names.len(), form.classes)));
    }
    if let Some(twice) =
        names.iter().enumerate().find_map(|(i, name)| names[..i].contains(name).then_some(name))
    {
        return Err(broken(format!("it names the class {} twice", Untrusted::short(twice))));
    }
    Ok(names)
}

/// The checked records of a file.
fn records(path: &Path, form: &Form) -> Result<Vec<u8>> {
    let bytes = read(path, MAX_BYTES)?;
    let broken = |what: String| Error::data(what).hint("the file is damaged; get it again");
    let (size, length) = (form.record(), bytes.len());
    if length == 0 {
        return Err(broken("the file is empty".to_owned()));
    }
    if length % size != 0 {
        let (whole, rest) = (length / size, length % size);
        return Err(broken(format!(
            "the file is cut short: record {whole} has {rest} of {size} bytes, after {whole} whole records"
        )));
    }
    for (i, record) in bytes.chunks_exact(size).enumerate() {
        let bounds = form.coarse.map(usize::from).into_iter().chain([form.classes]);
        for (label, most) in record.iter().zip(bounds) {
            if usize::from(*label) >= most {
                return Err(broken(format!("record {i} has the label {label}, and there are {most}")));
            }
        }
    }
    Ok(bytes)
}

impl Dataset for Cifar {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn label(&self, i: usize) -> u32 {
        let label = self.record(i).and_then(|record| record.get(self.form.labels() - 1));
        label.copied().map_or(0, u32::from)
    }

    fn name(&self, i: usize) -> String {
        let place =
            self.places.get(i).and_then(|(file, record)| Some((self.parts.get(*file as usize)?, record)));
        place.map(|(part, record)| format!("{} record {record}", part.path.display())).unwrap_or_default()
    }

    fn load(&self, i: usize) -> Result<Picture> {
        let planes = self.record(i).and_then(|record| record.get(self.form.labels()..));
        let planes = planes.ok_or_else(|| Error::internal(format!("there is no picture {i}")))?;
        let (red, rest) = planes.split_at(SIDE * SIDE);
        let (green, blue) = rest.split_at(SIDE * SIDE);
        let pixels = red.iter().zip(green).zip(blue).flat_map(|((r, g), b)| [*r, *g, *b, 255]);
        Picture::from_rgba(SIDE, SIDE, pixels.collect())
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        Some([SIDE, SIDE])
    }

    fn normalization(&self) -> Normalization {
        self.form.normalization
    }
}
