//! A safetensors file that arrives piece by piece: what comes out, and what is refused, is what the usual reader says.

use crate::ops::harness::gpu;
use ocelli::Error;
use ocelli::exchange::{ModelFile, OpenOptions};
use ocelli::infer::{InferenceStep, transfer};
use ocelli::models::{Arch, Mode};
use ocelli::plan::PlanOptions;
use ocelli::weights::{Safetensors, Source, StreamEvent, StreamReader};
use std::collections::BTreeMap;
use std::fmt::Write;

type Rows = BTreeMap<String, Vec<f32>>;

/// A file of these headers' entries, one after the other, and its data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// Tensors of several types, whose order in the file is not that of their names.
fn example() -> Vec<u8> {
    let header = r#"{"__metadata__":{"note":"hi"},
        "a":{"dtype":"F16","shape":[2,3],"data_offsets":[28,40]},
        "b":{"dtype":"F32","shape":[5],"data_offsets":[8,28]},
        "count":{"dtype":"I64","shape":[],"data_offsets":[0,8]},
        "z":{"dtype":"BF16","shape":[1],"data_offsets":[40,42]}}"#;
    let numbers = (0..5).flat_map(|i| (i as f32 * 0.3 - 1.0).to_le_bytes());
    let halves = (0..6).flat_map(|i| (0x3c00u16 + 100 * i).to_le_bytes());
    let data: Vec<u8> =
        7i64.to_le_bytes().into_iter().chain(numbers).chain(halves).chain([0x80, 0x3f]).collect();
    file(header, &data)
}

fn rows(file: &dyn Source, name: &str) -> Vec<f32> {
    file.rows(name, 0..file.entries()[name].rows()).unwrap()
}

fn is_integer(file: &Safetensors, name: &str) -> bool {
    !file.entries()[name].is_weights()
}

/// What the usual reader says.
fn at_once(bytes: &[u8]) -> Result<Rows, Error> {
    let file = Safetensors::parse(bytes.to_vec())?;
    let names = file.entries().keys().filter(|name| !is_integer(&file, name));
    Ok(names.map(|name| (name.clone(), rows(&file, name))).collect())
}

/// The same of a file that arrives in pieces of this size.
fn in_pieces(bytes: &[u8], size: usize, length: Option<u64>) -> Result<Rows, Error> {
    let mut arriving = StreamReader::new(length);
    let mut file = None;
    let mut got = Rows::new();
    for mut piece in bytes.chunks(size) {
        while !piece.is_empty() {
            match (arriving.take(&mut piece)?, &file) {
                (StreamEvent::Header(header), None) => file = Some(header),
                (StreamEvent::Rows(name, some), Some(file)) => {
                    let shape = &file.entries()[&name].shape;
                    let row: usize = shape.iter().skip(1).product();
                    let before = got.entry(name.clone()).or_default();
                    assert_eq!(before.len(), some.start * row, "rows of {name} are missing, or came twice");
                    before.extend(file.rows(&name, some.clone()).unwrap());
                    // Those before them are gone.
                    if some.start > 0 {
                        assert!(file.rows(&name, some.start - 1..some.end).is_err());
                    }
                    // What is gone and what is to come is an error, not other numbers.
                    for other in
                        file.entries().keys().filter(|other| **other != name && !is_integer(file, other))
                    {
                        let rows = file.rows(other, 0..1);
                        assert!(matches!(rows, Err(Error::Internal(_))), "{other} beside {name}: {rows:?}");
                    }
                }
                (StreamEvent::Nothing, _) => {}
                (StreamEvent::Header(_), Some(_)) => panic!("two headers"),
                (StreamEvent::Rows(name, _), None) => panic!("{name} before the header"),
            }
        }
    }
    arriving.finish()?;
    Ok(got)
}

#[test]
fn the_pieces_make_no_difference() {
    let bytes = example();
    let want = at_once(&bytes).unwrap();
    assert_eq!(want.keys().collect::<Vec<_>>(), ["a", "b", "z"]);
    for size in (1..20).chain([bytes.len() - 1, bytes.len()]) {
        for length in [None, Some(bytes.len() as u64)] {
            assert_eq!(in_pieces(&bytes, size, length).unwrap(), want, "pieces of {size}");
        }
    }
}

#[test]
fn the_rows_of_a_large_tensor_come_one_block_after_the_other() {
    // Of 40 kB each, of 3 MB each, and numbers alone.
    let (a, b, c) = (100 * 10_000, 2 * 750_000, 400_000);
    let header = format!(
        r#"{{"a":{{"dtype":"F32","shape":[100,10000],"data_offsets":[0,{}]}},
            "b":{{"dtype":"F16","shape":[2,750000],"data_offsets":[{},{}]}},
            "c":{{"dtype":"F32","shape":[{c}],"data_offsets":[{},{}]}}}}"#,
        4 * a,
        4 * a,
        4 * a + 2 * b,
        4 * a + 2 * b,
        4 * a + 2 * b + 4 * c
    );
    let halves = (0..b).flat_map(|i| (0x3c00u16 + (i % 1000) as u16).to_le_bytes());
    let singles = |n: usize| (0..n).flat_map(|i| (i as f32).to_le_bytes());
    let data: Vec<u8> = singles(a).chain(halves).chain(singles(c)).collect();
    let bytes = file(&header, &data);
    let want = at_once(&bytes).unwrap();
    for size in [100_000, 1_000_003, bytes.len()] {
        for length in [None, Some(bytes.len() as u64)] {
            assert!(in_pieces(&bytes, size, length).unwrap() == want, "pieces of {size}");
        }
    }
    // There is never more of it in memory than some rows.
    let (mut arriving, mut rest, mut blocks) = (StreamReader::new(None), bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        if let StreamEvent::Rows(name, rows) = arriving.take(&mut rest).unwrap() {
            blocks.push((name, rows));
        }
    }
    let of =
        |name: &str| blocks.iter().filter(|(n, _)| n == name).map(|(_, rows)| rows.len()).collect::<Vec<_>>();
    assert_eq!(of("a"), [32, 32, 32, 4]);
    assert_eq!(of("b"), [2], "less than a cache line of them");
    assert_eq!(of("c"), [327_680, 72_320]);
}

/// Both readers refuse it with the same words, however the file arrives and whether or not its length is known.
fn refused_alike(bytes: &[u8]) -> String {
    let want = at_once(bytes).expect_err("this file should not be read");
    assert!(matches!(want, Error::Data(_)), "{want:?}");
    for size in [1, 7, bytes.len().max(1)] {
        for length in [None, Some(bytes.len() as u64)] {
            let got = in_pieces(bytes, size, length).unwrap_err();
            assert!(matches!(got, Error::Data(_)), "{got:?}");
            // Of two tensors that are in each other's way either may be named.
            let words = |error: &Error| error.to_string().replace("`b`", "`a`");
            assert_eq!(words(&got), words(&want), "pieces of {size}, length {length:?}");
        }
    }
    want.to_string()
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused_as_usual() {
    let bytes = example();
    for length in 0..bytes.len() {
        refused_alike(&bytes[..length]);
        // What was promised and does not come is an error, too.
        let broken_off = in_pieces(&bytes[..length], 5, Some(bytes.len() as u64));
        assert!(matches!(broken_off, Err(Error::Data(_))), "cut at {length}: {broken_off:?}");
    }
    // In one piece, so that both readers know the same length.
    let longer = [&bytes[..], b"more"].concat();
    let want = at_once(&longer).unwrap_err();
    assert_eq!(in_pieces(&longer, longer.len(), None).unwrap_err(), want);
    assert!(matches!(in_pieces(&longer, 1, None), Err(Error::Data(_))));
}

#[test]
fn headers_that_lie_are_refused_as_usual() {
    let tensor = |name: &str, shape: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let a = tensor("a", "[1]", 0, 4);
    for (case, header, data) in [
        ("numbers missing", tensor("a", "[2]", 0, 4), 4),
        ("hole before", tensor("a", "[1]", 4, 8), 8),
        ("hole between", format!("{a},{}", tensor("b", "[1]", 8, 12)), 12),
        ("backwards", tensor("a", "[1]", 4, 0), 4),
        ("overlap", format!("{a},{}", tensor("b", "[2]", 0, 8)), 8),
        ("same place", format!("{a},{}", tensor("b", "[1]", 0, 4)), 4),
        ("twice", format!("{a},{a}"), 4),
        ("empty", tensor("a", "[0]", 0, 0), 0),
        ("overflow", tensor("a", "[4194305,4194305,211106198978564]", 0, 16), 16),
        ("no type", r#""a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}"#.to_owned(), 4),
        ("no JSON", "]".to_owned(), 0),
    ] {
        let bytes = file(&format!("{{{header}}}"), &vec![0; data]);
        assert!(!refused_alike(&bytes).is_empty(), "{case}");
    }
    for length in [0, 1, (16 << 20) + 1, 1 << 62, u64::MAX] {
        let bytes = [&length.to_le_bytes()[..], b"{\"a\":1}"].concat();
        refused_alike(&bytes);
    }
}

#[test]
fn nothing_is_allocated_for_what_a_header_only_speaks_of() {
    let most = 1u64 << 60;
    let header = format!(r#"{{"a":{{"dtype":"F32","shape":[1,{}],"data_offsets":[0,{most}]}}}}"#, most / 4);
    let error = in_pieces(&file(&header, &[1; 100]), 10, None).unwrap_err();
    assert!(
        error.to_string().contains(&format!("its header speaks of {}", 8 + header.len() as u64 + most)),
        "{error}"
    );
    // Where the length is said to be known there may be no memory, and that is no abort.
    let length = Some(8 + header.len() as u64 + most);
    let error = in_pieces(&file(&header, &[1; 100]), 10, length).unwrap_err();
    assert!(matches!(error, Error::Io(_)) && error.to_string().contains("no memory"), "{error}");
}

#[test]
fn integers_are_passed_over_and_take_no_memory() {
    let most = 1u64 << 60;
    let header = format!(r#"{{"a":{{"dtype":"I64","shape":[{}],"data_offsets":[0,{most}]}}}}"#, most / 8);
    let length = 8 + header.len() as u64 + most;
    let error = in_pieces(&file(&header, &[1; 100]), 10, Some(length)).unwrap_err();
    assert!(error.to_string().contains(&format!("its header speaks of {length}")), "{error}");
    // Those of the example are never told of.
    let (bytes, mut arriving, mut names) = (example(), StreamReader::new(None), Vec::new());
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        if let StreamEvent::Rows(name, _) = arriving.take(&mut rest).unwrap() {
            names.push(name);
        }
    }
    assert_eq!(names, ["b", "a", "z"]);
}

/// A file of ResNet-20 as `DataParallel` saves it, tensors in reverse order.
fn network(change: impl Fn(&str, usize) -> f32) -> Vec<u8> {
    let arch = Arch::find("resnet20").unwrap();
    let network = arch.network(&arch.settings(1), Mode::Inference).unwrap();
    let (mut header, mut data) = ("{".to_owned(), Vec::new());
    for parameter in network.parameters.iter().rev() {
        let start = data.len();
        let n: usize = parameter.torch_shape.iter().product();
        data.extend((0..n).flat_map(|i| change(&parameter.name, i).to_le_bytes()));
        let comma = if start == 0 { "" } else { "," };
        let (name, shape, end) = (&parameter.name, &parameter.torch_shape, data.len());
        write!(
            header,
            r#"{comma}"module.{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        )
        .unwrap();
    }
    file(&(header + "}"), &data)
}

/// Opens a network before its numbers are there, and reads back what has arrived in its session.
fn arrive(bytes: &[u8]) -> Result<Rows, Error> {
    let mut arriving = StreamReader::new(None);
    let mut made = None;
    for mut piece in bytes.chunks(10_000) {
        while !piece.is_empty() {
            match arriving.take(&mut piece)? {
                StreamEvent::Nothing => {}
                StreamEvent::Header(file) => {
                    let opened = ModelFile::of_safetensors(file, OpenOptions::default())?;
                    let network = opened.model.network(&opened.settings(1))?;
                    let step = InferenceStep::new(&gpu(), network, &PlanOptions::for_gpu(&gpu()))?;
                    let loading = transfer::Loading::new(step.parameters().iter(), opened.tensors.as_ref())?;
                    made = Some((opened, step, loading));
                }
                StreamEvent::Rows(name, rows) => {
                    let (opened, step, loading) = made.as_mut().unwrap();
                    loading.take(step.session(), opened.tensors.as_ref(), &name, rows)?;
                }
            }
        }
    }
    arriving.finish()?;
    let (_, step, loading) = made.unwrap();
    loading.finish()?;
    let tensors = transfer::save(step.session(), step.parameters().iter())?;
    Ok(tensors.into_iter().map(|(name, tensor)| (name, tensor.data)).collect())
}

#[test]
fn a_network_gets_its_weights_while_they_arrive() {
    let number = |name: &str, i: usize| (name.len() * 1000 + i) as f32 * 1e-3;
    let bytes = network(number);
    let got = arrive(&bytes).unwrap();
    assert!(got.len() > 60, "{} tensors", got.len());
    for (name, data) in got {
        assert!(data.iter().enumerate().all(|(i, x)| *x == number(&name, i)), "{name}");
    }
    // Numbers that are none are told by name.
    let bad = |name: &str, i: usize| if name == "bn1.bias" && i == 3 { f32::NAN } else { number(name, i) };
    let error = arrive(&network(bad)).unwrap_err();
    assert!(matches!(error, Error::Data(_)), "{error:?}");
    assert!(error.to_string().contains("NaN or infinity in bn1.bias"), "{error}");
    // A file that breaks off has no network.
    let error = arrive(&bytes[..bytes.len() - 4]).unwrap_err();
    assert!(error.to_string().contains("its header speaks of"), "{error}");
}
