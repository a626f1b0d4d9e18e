//! PyTorch's files: what PyTorch wrote is read, what is written is read by it, and nothing in a file is
//! executed.
//!
//! `golden/pth/make.py` wrote the files, in two versions of PyTorch. `golden/pth/check.py` says whether
//! PyTorch reads what is written here.

mod hostile;
pub mod made;

use crate::support::fixtures::folder;
use ocelli::weights::pth::{self, Pth, PthOptions, is_pth};
use ocelli::weights::{Dtype, Entry, Source};
use ocelli::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pth")
}

/// The golden files whose names start so.
fn files(start: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(golden()).unwrap().map(|e| e.unwrap().path()).collect();
    let name = |p: &PathBuf| p.file_name().unwrap().to_str().unwrap().to_owned();
    found.retain(|p| name(p).starts_with(start) && name(p).ends_with(".pth"));
    found.sort();
    assert!(found.len() >= 2, "there are two versions of each: {found:?}");
    found
}

/// Name, type, shape and numbers of what PyTorch saved.
fn expected(kind: &str) -> BTreeMap<String, (String, Vec<usize>, Vec<f32>)> {
    let text = fs::read_to_string(golden().join("expected.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let entry = |(name, v): (&String, &Value)| {
        let shape = list(&v["shape"]).iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let numbers = list(&v["numbers"]).iter().map(|n| n.as_f64().unwrap() as f32).collect();
        (name.clone(), (v["dtype"].as_str().unwrap().to_owned(), shape, numbers))
    };
    all[kind].as_object().unwrap().iter().map(entry).collect()
}

fn torch_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "float16",
        Dtype::Bf16 => "bfloat16",
        Dtype::F32 => "float32",
        Dtype::F64 => "float64",
        Dtype::Integer(name) => name,
        _ => unreachable!("a type that the files do not have"),
    }
}

/// All numbers of all tensors, in whole and row by row.
fn read_all(source: &dyn Source) -> Result<BTreeMap<String, Vec<f32>>> {
    let mut all = BTreeMap::new();
    for (name, entry) in source.entries() {
        if matches!(entry.dtype, Dtype::Integer(_)) {
            continue;
        }
        let whole = source.rows(name, 0..entry.rows())?;
        assert_eq!(whole.len(), entry.elements(), "{name}");
        let mut rows = Vec::new();
        for i in 0..entry.rows() {
            rows.extend(source.rows(name, i..i + 1)?);
        }
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&rows), bits(&whole), "{name}");
        all.insert(name.clone(), whole);
    }
    Ok(all)
}

/// A file that must be refused; the message.
fn refused(bytes: Vec<u8>) -> String {
    let start = Instant::now();
    let error = Pth::parse(bytes).expect_err("this file should not be read");
    assert!(matches!(error, Error::Data(_)), "{error:?}");
    assert_eq!(error.exit_code(), 65);
    let text = error.to_string();
    assert!(!error.report().hint.is_empty(), "{text}");
    assert!(text.len() < 600 && !text.contains(|c: char| c.is_control()), "one sentence: {text}");
    assert!(start.elapsed() < Duration::from_secs(20), "{text}: after {:?}", start.elapsed());
    text
}

fn says(bytes: Vec<u8>, what: &str) {
    let text = refused(bytes);
    assert!(text.contains(what), "{what:?} is not in {text:?}");
}

// --- Reading -----------------------------------------------------------------------------------------------

#[test]
fn files_of_pytorch_give_the_numbers_that_were_saved() {
    for kind in ["state_dict", "checkpoint"] {
        let expected = expected(kind);
        for path in files(kind) {
            let file = Pth::open(&path, PthOptions::default()).unwrap();
            let numbers = read_all(&file).unwrap();
            assert!(file.entries().keys().eq(expected.keys()), "{path:?}: {:?}", file.entries().keys());
            for (name, (dtype, shape, wanted)) in &expected {
                let entry = &file.entries()[name];
                assert_eq!(
                    (&entry.shape, torch_name(entry.dtype)),
                    (shape, dtype.as_str()),
                    "{path:?} {name}"
                );
                match entry.dtype {
                    Dtype::Integer(_) => assert!(!numbers.contains_key(name)),
                    _ => assert_eq!(&numbers[name], wanted, "{path:?} {name}"),
                }
            }
            let bytes = fs::read(&path).unwrap();
            assert!(is_pth(&bytes[..300]) && is_pth(&bytes[..16]));
            assert_eq!(read_all(&Pth::parse(bytes).unwrap()).unwrap(), numbers);
        }
    }
    assert!(expected("checkpoint").keys().all(|name| name.starts_with("module.")), "names stay as they are");
}

/// Views of a storage that is longer than what is read at once: whole, by rows, and with gaps of all sizes.
#[test]
fn numbers_are_gathered_from_anywhere() {
    const COUNT: i64 = 3_000_000;
    let storage: Vec<u8> = (0..COUNT).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let views: [(i64, &[i64], &[i64]); 11] = [
        (0, &[1500, 2000], &[2000, 1]),
        (0, &[1500, 2000], &[1, 1500]),
        (7, &[3, 900_000], &[1_000_000, 1]),
        (5, &[900_000, 3], &[1, 1_000_000]),
        (1, &[3000, 2], &[1000, 2]),
        (0, &[2, 3000], &[2, 1000]),
        (9, &[1_000_000], &[2]),
        (9, &[6], &[500_000]),
        (0, &[10, 20, 30, 40], &[1, 10, 8000, 200]),
        (0, &[64, 40, 3, 3], &[360, 1, 120, 40]),
        (0, &[2, 1000, 3], &[0, 3, 1]),
    ];
    let items: Vec<(String, Vec<u8>)> = views
        .iter()
        .enumerate()
        .map(|(i, (offset, shape, strides))| {
            (format!("{i:02}"), made::tensor("0", COUNT, *offset, shape, strides))
        })
        .collect();
    let items: Vec<(&str, &[u8])> = items.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
    let bytes = made::archive(&[("a/data.pkl", &made::mapping(&items)), ("a/data/0", &storage)]);
    let folder = folder();
    let path = folder.path().join("views.pth");
    fs::write(&path, &bytes).unwrap();
    let file = Pth::open(&path, PthOptions::default()).unwrap();
    for ((offset, shape, strides), name) in views.iter().zip(file.entries().keys()) {
        let at = |mut i: i64| {
            let mut place = *offset;
            for (size, stride) in shape.iter().zip(*strides).rev() {
                place += i % size * stride;
                i /= size;
            }
            place as f32
        };
        let rows = shape[0] as usize;
        let row = shape[1..].iter().product::<i64>();
        for range in [0..rows, rows / 3..rows / 3 + 1, rows / 2..rows, 0..rows.min(70)] {
            let wanted: Vec<f32> = (range.start as i64 * row..range.end as i64 * row).map(at).collect();
            assert!(
                file.rows(name, range.clone()).unwrap() == wanted,
                "{shape:?} {strides:?} rows {range:?}"
            );
        }
    }
}

/// Opcodes and forms that no PyTorch at hand writes any more.
#[test]
fn what_older_and_other_pythons_wrote_is_read() {
    let view = (0, &[2, 2][..], &[1, 2][..]);
    let floats = made::arguments("torch\nFloatStorage", 4, view);
    let cuda = made::arguments("torch.cuda\nFloatStorage", 4, view);
    let bytes = made::arguments("torch.storage\nUntypedStorage", 16, view);
    let tensor = made::call("_rebuild_tensor_v2", &floats, b"\x89}");
    let typed = [
        &b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"[..],
        b"ctorch.nn.parameter\nParameter\n",
        &floats,
        b"\x89}t}tR",
    ];
    let named = |name: &[u8], tensor: &[u8]| [&b"\x80\x02}"[..], name, tensor, b"s."].concat();
    let w = b"\x8c\x01w";
    let pickles = [
        // Python 2: names as bytes, and an ordered mapping from a list of pairs.
        [&b"\x80\x02ccollections\nOrderedDict\n](](U\x01w"[..], &tensor, b"ee\x85R."].concat(),
        named(b"T\x01\0\0\0w", &tensor),
        // Protocol 0.
        [&b"(dp0\nS'w'\n"[..], &tensor, b"s0g0\n."].concat(),
        [&b"(Vw\n"[..], &tensor, b"d."].concat(),
        [&b"I4\nI01\nL5L\nF1.5\n02(NN10(0"[..], &named(w, &tensor)].concat(),
        // Of a CUDA device before PyTorch 1.10.
        named(w, &made::call("_rebuild_tensor_v2", &cuda, b"\x89}")),
        // Other functions that make tensors.
        named(w, &made::call("_rebuild_tensor", &floats, b"")),
        named(w, &made::call("_rebuild_tensor_v2", &floats, b"\x89}}")),
        named(w, &made::call("_rebuild_tensor_v3", &floats, b"\x89}ctorch\nfloat32\n")),
        named(w, &made::call("_rebuild_tensor_v3", &bytes, b"\x89}ctorch\nfloat32\n}")),
        named(w, &typed.concat()),
    ];
    for pickle in pickles {
        let file = Pth::parse(made::zipped(&pickle)).unwrap();
        assert_eq!(file.rows("w", 0..2).unwrap(), [1.0, 3.0, 2.0, 4.0]);
    }
    let negated = made::call("_rebuild_tensor_v2", &floats, b"\x89}}X\x03\0\0\0neg\x88s");
    says(made::zipped(&named(w, &negated)), "negated");
}

#[test]
fn rows_that_are_not_there_are_a_defect_of_the_caller() {
    let file = Pth::open(&files("state_dict-zip")[0], PthOptions::default()).unwrap();
    for (name, rows) in [("none", 0..1), ("rows", 0..4), ("scalar", 1..2), ("bn.num_batches_tracked", 0..1)] {
        assert!(matches!(file.rows(name, rows), Err(Error::Internal(_))), "{name}");
    }
    assert_eq!(file.rows("scalar", 0..1).unwrap(), [2.5]);
    assert!(file.rows("empty", 0..0).unwrap().is_empty() && file.rows("rows", 2..2).unwrap().is_empty());
}

#[test]
fn what_a_file_is_shows_in_its_first_bytes() {
    assert!(
        is_pth(b"PK\x03\x04 and more") && is_pth(b"\x80\x02\x8a\x0al\xfc\x9cF") && is_pth(b"\x80\x04\x95")
    );
    let mut tar = vec![0; 300];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(is_pth(&tar));
    // A safetensors file with a header of 640 bytes.
    assert!(!is_pth(b"\x80\x02\0\0\0\0\0\0{\"a\":{"));
    for other in
        [&b""[..], b"\x80", b"\x08\x07\x12", b"<!DOCTYPE html>", b"version https://git-lfs", &[0; 300]]
    {
        assert!(!is_pth(other), "{other:?}");
    }
}

#[test]
fn other_things_that_torch_saves_are_named() {
    for (start, what) in [
        ("module-zip", "a whole object of the class __main__.Net"),
        ("module-legacy", "__main__.Net"),
        ("script", "TorchScript"),
    ] {
        for path in files(start) {
            says(fs::read(&path).unwrap(), what);
            let error = Pth::open(&path, PthOptions::default()).unwrap_err().to_string();
            assert!(
                error.starts_with(&path.display().to_string()) && error.contains("state_dict()"),
                "{error}"
            );
        }
    }
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    says(tar, "tar form");
    says(Vec::new(), "empty");
    says(b"<!DOCTYPE html>".to_vec(), "no file of PyTorch");
    let missing = Pth::open(golden().join("none.pth"), PthOptions::default()).unwrap_err();
    assert!(matches!(missing, Error::NotFound(_)), "{missing}");
    let folder = Pth::open(golden(), PthOptions::default()).unwrap_err();
    assert!(matches!(folder, Error::Data(_)) && folder.to_string().contains("no file"), "{folder}");
}

// --- Writing -----------------------------------------------------------------------------------------------

/// Tensors in memory.
struct Memory {
    entries: BTreeMap<String, Entry>,
    numbers: BTreeMap<String, Vec<f32>>,
}

impl Memory {
    fn new(tensors: &[(&str, &[usize], &[f32])]) -> Self {
        let entry = |shape: &[usize]| Entry { shape: shape.to_vec(), dtype: Dtype::F32 };
        Self {
            entries: tensors.iter().map(|(name, shape, _)| ((*name).to_owned(), entry(shape))).collect(),
            numbers: tensors
                .iter()
                .map(|(name, _, numbers)| ((*name).to_owned(), numbers.to_vec()))
                .collect(),
        }
    }
}

impl Source for Memory {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>> {
        let entry = ocelli::weights::entry(&self.entries, name, &rows)?;
        let row = entry.elements() / entry.rows().max(1);
        Ok(self.numbers[name][rows.start * row..rows.end * row].to_vec())
    }
}

/// A source that cannot be read.
struct Failing(Memory);

impl Source for Failing {
    fn entries(&self) -> &BTreeMap<String, Entry> {
        self.0.entries()
    }

    fn rows(&self, _name: &str, _rows: Range<usize>) -> Result<Vec<f32>> {
        Err(Error::io("the cable is out"))
    }
}

/// Golden files, and those of the folder that `OCELLI_PTH_FOLDER` names, which then gets what is written, for
/// `check.py`.
#[test]
fn what_is_written_is_read_back() {
    let temporary = folder();
    let more = std::env::var_os("OCELLI_PTH_FOLDER").map(PathBuf::from);
    let folder = more.as_deref().unwrap_or(temporary.path());
    let mut inputs = [files("state_dict"), files("checkpoint")].concat();
    if let Some(more) = &more {
        inputs.extend(fs::read_dir(more).unwrap().map(|e| e.unwrap().path()));
    }
    inputs.retain(|path| !path.to_string_lossy().contains(".written."));
    for path in inputs {
        let source = Pth::open(&path, PthOptions::default()).unwrap();
        let numbers = read_all(&source).unwrap();
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let written = folder.join(format!("{stem}.written.{}.pth", dtype.name()));
            pth::write(&written, &source, dtype).unwrap();
            let bytes = fs::read(&written).unwrap();
            pth::write(&written, &source, dtype).unwrap();
            assert_eq!(fs::read(&written).unwrap(), bytes, "the same content gives the same bytes");
            let back = Pth::open(&written, PthOptions::default()).unwrap();
            let round = |x: &f32| match dtype {
                Dtype::F16 => half::f16::from_f32(*x).to_f32(),
                Dtype::Bf16 => half::bf16::from_f32(*x).to_f32(),
                _ => *x,
            };
            let wanted: BTreeMap<String, Vec<f32>> =
                numbers.iter().map(|(name, v)| (name.clone(), v.iter().map(round).collect())).collect();
            assert_eq!(read_all(&back).unwrap(), wanted, "{written:?}");
            for (name, entry) in back.entries() {
                assert_eq!((entry.dtype, &entry.shape), (dtype, &source.entries()[name].shape), "{name}");
            }
        }
    }
}

#[test]
fn the_numbers_of_a_written_file_are_aligned_and_whole() {
    let folder = folder();
    let path = folder.path().join("w.pth");
    // More than one part of the stream, and names of odd lengths.
    let many: Vec<f32> = (0..1_500_000).map(|i| i as f32).collect();
    let source = Memory::new(&[
        ("a", &[3, 500_000], &many),
        ("b", &[1500, 1000], &many),
        ("c.\u{fc}", &[], &[-0.0]),
        ("d", &[2, 0], &[]),
        ("e", &[7000, 1, 10, 1], &many[..70_000]),
    ]);
    pth::write(&path, &source, Dtype::F32).unwrap();
    let back = Pth::open(&path, PthOptions::default()).unwrap();
    assert_eq!(back.entries(), source.entries());
    for (name, numbers) in read_all(&back).unwrap() {
        assert_eq!(numbers, source.numbers[&name], "{name}");
    }
    assert!(back.rows("c.\u{fc}", 0..1).unwrap()[0].is_sign_negative());
    let mut archive = zip::ZipArchive::new(fs::File::open(&path).unwrap()).unwrap();
    archive.validate_header_consistency().unwrap();
    let mut names = Vec::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        assert_eq!(file.data_start().unwrap() % 64, 0, "{:?}", file.name());
        std::io::copy(&mut file, &mut std::io::sink()).unwrap();
        names.push(file.name().unwrap().into_owned());
    }
    let numbers: Vec<String> = (0..5).map(|i| format!("archive/data/{i}")).collect();
    assert_eq!(names[2..7], numbers);
    assert_eq!(
        [&names[0], &names[1], &names[7]],
        ["archive/data.pkl", "archive/byteorder", "archive/version"]
    );
}

#[test]
fn numbers_that_do_not_fit_are_no_file() {
    let folder = folder();
    let path = folder.path().join("w.pth");
    let large = Memory::new(&[("large.weight", &[2], &[1.0, -1e5])]);
    let error = pth::write(&path, &large, Dtype::F16).unwrap_err();
    assert!(matches!(error, Error::Data(_)) && error.to_string().contains("1e5 in large.weight"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    pth::write(&path, &large, Dtype::Bf16).unwrap();
    for dtype in [Dtype::F64, Dtype::Integer("int64")] {
        assert!(matches!(pth::write(&path, &large, dtype), Err(Error::Usage(_))));
    }
    assert!(matches!(pth::write(Path::new("none/w.pth"), &large, Dtype::F32), Err(Error::NotFound(_))));
    let infinite = Memory::new(&[("x", &[1], &[f32::INFINITY])]);
    let error = pth::write(&path, &infinite, Dtype::F16).unwrap_err();
    assert!(error.to_string().contains("NaN or infinity in x"), "{error}");
    // Counters are left out.
    let mut odd = Memory::new(&[("x", &[1], &[7.0])]);
    odd.entries.insert("count".into(), Entry { shape: Vec::new(), dtype: Dtype::Integer("int64") });
    pth::write(&path, &odd, Dtype::F16).unwrap();
    let back = Pth::open(&path, PthOptions::default()).unwrap();
    assert!(back.entries().keys().eq(["x"]) && back.rows("x", 0..1).unwrap() == [7.0]);
    // An error of the source comes through, and the file before stays.
    let before = fs::read(&path).unwrap();
    let failing = Failing(odd);
    assert_eq!(pth::write(&path, &failing, Dtype::F32).unwrap_err(), Error::io("the cable is out"));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
