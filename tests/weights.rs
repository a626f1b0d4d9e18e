//! Weights files: round trips, other people's files, and damaged ones.

use crate::support::fixtures::{folder, shared, skipped};
use ocelli::Error;
use ocelli::data::{ChannelOrder, Normalization, Preprocessing, Resize};
use ocelli::models::{Arch, Mode, recognise};
use ocelli::tensor::Shape;
use ocelli::weights::{
    Metadata, Tensor, Weights, export, import, import_rows, read, read_tensors, rows_together, write,
    write_atomically, write_tensors,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn example() -> Weights {
    let tensor = |shape: &[usize]| {
        let n: usize = shape.iter().product();
        Tensor { shape: shape.to_vec(), data: (0..n).map(|i| i as f32 * 0.1 - 1.0).collect() }
    };
    let tensors = [("conv.weight", &[2, 3, 1, 2][..]), ("a.bias", &[5]), ("number", &[])];
    Weights {
        tensors: tensors.into_iter().map(|(n, s)| (n.to_owned(), tensor(s))).collect(),
        metadata: Some(Metadata {
            arch: "resnet20".into(),
            classes: vec!["T-shirt/top".into(), "\u{fc}ber \"x\"\n".into()],
            input: [28, 30, 3],
            preprocessing: Preprocessing {
                resize: Resize::Shorter(41),
                order: ChannelOrder::Bgr,
                normalization: Normalization { mean: [0.1, 0.2, 0.3], std: [1.0, 0.5, 0.3333] },
            },
        }),
    }
}

/// A safetensors file made by hand: the header as text, then the data.
fn file(path: &Path, header: &str, data: &[u8]) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    fs::write(path, bytes).unwrap();
}

fn refused(path: &Path) -> Error {
    let error = read(path).expect_err("this file should not be read");
    assert!(matches!(error, Error::Data(_)), "{error:?}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    error
}

#[test]
fn written_weights_are_read_back() {
    let folder = folder();
    let path = folder.path().join("w.safetensors");
    let weights = example();
    write(&path, &weights).unwrap();
    assert_eq!(read(&path).unwrap(), weights);
    let first = fs::read(&path).unwrap();
    write(&path, &weights).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first, "the same content gives the same bytes");
    let header = u64::from_le_bytes(first[..8].try_into().unwrap());
    assert_eq!(header % 8, 0, "the data is aligned");
    // The official reader agrees.
    let theirs = safetensors::SafeTensors::deserialize(&first).unwrap();
    assert_eq!(theirs.tensor("conv.weight").unwrap().shape(), [2, 3, 1, 2]);
}

#[test]
fn other_types_of_numbers_become_f32() {
    let folder = folder();
    let path = folder.path().join("w.safetensors");
    let mut data = Vec::new();
    let mut entries = Vec::new();
    let mut add = |name: &str, dtype: &str, n: usize, bytes: Vec<u8>| {
        let start = data.len();
        data.extend(bytes);
        let end = data.len();
        entries
            .push(format!(r#""{name}":{{"dtype":"{dtype}","shape":[{n}],"data_offsets":[{start},{end}]}}"#));
    };
    // binary16: 1, -2, the largest, the smallest subnormal, -0
    let halves = [0x3c00u16, 0xc000, 0x7bff, 0x0001, 0x8000];
    add("f16", "F16", 5, halves.iter().flat_map(|h| h.to_le_bytes()).collect());
    // bfloat16: the upper half of an f32
    add("bf16", "BF16", 2, [0x3f80u16, 0xc049].iter().flat_map(|h| h.to_le_bytes()).collect());
    add("f64", "F64", 2, [0.1f64, -1e300f64.powi(-1)].iter().flat_map(|x| x.to_le_bytes()).collect());
    add("num_batches_tracked", "I64", 1, 7i64.to_le_bytes().to_vec());
    add("counter", "U32", 1, 7u32.to_le_bytes().to_vec());
    file(&path, &format!("{{{}}}", entries.join(",")), &data);
    let weights = read(&path).unwrap();
    assert_eq!(weights.metadata, None);
    let values = |name: &str| weights.tensors[name].data.clone();
    assert_eq!(values("f16"), [1.0, -2.0, 65504.0, 2f32.powi(-24), 0.0]);
    assert!(values("f16")[4].is_sign_negative());
    assert_eq!(values("bf16"), [1.0, -3.140625]);
    assert_eq!(values("f64"), [0.1, 0.0]);
    assert_eq!(weights.tensors.len(), 3, "counters are no weights");
}

#[test]
fn strangers_are_told_apart() {
    let folder = folder();
    let path = folder.path().join("w.safetensors");
    let cases: [(&[u8], &str); 7] = [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04 zip of torch.save", "a file of PyTorch"),
        (b"\x80\x02}q\x00", "a file of PyTorch"),
        (b"just some text, longer than a header\n", "these are no weights"),
        (b"tiny", "these are no weights"),
    ];
    for (bytes, says) in cases {
        fs::write(&path, bytes).unwrap();
        let error = refused(&path);
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.report().hint.is_empty(), "{error}");
    }
    let missing = read(folder.path().join("none")).unwrap_err();
    assert!(matches!(missing, Error::NotFound(_)), "{missing:?}");
    refused(folder.path());
}

#[test]
fn a_damaged_file_is_an_error_wherever_it_is_cut_or_changed() {
    let folder = folder();
    let path = folder.path().join("w.safetensors");
    let weights = example();
    write(&path, &weights).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        refused(&path);
    }
    fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    refused(&path);
    // A changed byte is an error or another content, and never a panic.
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    // Only the string by which other programs know the format has no meaning here.
    let format = br#""format":"pt""#;
    let ignored = whole.windows(format.len()).position(|w| w == format).unwrap();
    let ignored = ignored..ignored + format.len();
    let mut errors = 0;
    for i in (0..header).filter(|i| !ignored.contains(i)) {
        for bit in [0, 3, 7] {
            let mut bytes = whole.clone();
            bytes[i] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
            match read(&path) {
                Err(error) => {
                    assert!(matches!(error, Error::Data(_)), "{error:?}");
                    errors += 1;
                }
                Ok(other) => assert_ne!(other, weights, "bit {bit} of byte {i} means nothing"),
            }
        }
    }
    assert!(errors > header, "{errors} of {} changes were seen", 3 * header);
}

#[test]
fn headers_that_lie_are_refused() {
    let folder = folder();
    let path = folder.path().join("w.safetensors");
    let cases = [
        // (header, bytes of data)
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#.to_owned(), 4),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.to_owned(), 8),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#.to_owned(), 4),
        // The product of the sizes is 4 in 64 bits.
        (
            r#"{"a":{"dtype":"F32","shape":[4194305,4194305,211106198978564],"data_offsets":[0,16]}}"#.to_owned(),
            16,
        ),
        (r#"{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}"#.to_owned(), 4),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#
                .to_owned(),
            4,
        ),
        // Two of one name, and one without numbers where another lies.
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#
                .to_owned(),
            4,
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#
                .to_owned(),
            4,
        ),
        (format!(r#"{{"a":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000)), 0),
        (r#"{"__metadata__":{"ocelli.arch":"resnet20"}}"#.to_owned(), 0),
        (
            r#"{"__metadata__":{"ocelli.arch":"resnet20","ocelli.classes":"[]","ocelli.input":"[1,1,3]","ocelli.normalization":"{\"mean\":[0,0,0],\"std\":[1,1,1]}"}}"#
                .to_owned(),
            0,
        ),
    ];
    for (header, data) in cases {
        file(&path, &header, &vec![0; data]);
        refused(&path);
    }
    // Metadata that no run writes.
    for (input, std) in [("[16385,32,3]", "[1,1,1]"), ("[32,32,3]", "[1,0,1]"), ("[32,32,3]", "[1,1e60,1]")] {
        let strings = [
            ("ocelli.arch", "resnet20".to_owned()),
            ("ocelli.classes", r#"["a","b"]"#.to_owned()),
            ("ocelli.input", input.to_owned()),
            ("ocelli.normalization", format!(r#"{{"mean":[0,0,0],"std":{std}}}"#)),
        ];
        let strings = strings.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        write_tensors(&path, &BTreeMap::new(), &strings).unwrap();
        assert!(refused(&path).to_string().contains("metadata"));
    }
    // A header longer than any file.
    let mut bytes = (1u64 << 62).to_le_bytes().to_vec();
    bytes.extend_from_slice(b"{\"a\":1}");
    fs::write(&path, bytes).unwrap();
    refused(&path);
}

#[test]
fn numbers_that_are_none_are_refused_by_name() {
    let folder = folder();
    let path = folder.path().join("w.safetensors");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut weights = example();
        weights.tensors.get_mut("a.bias").unwrap().data[3] = 12345.5;
        write(&path, &weights).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let place = bytes.windows(4).position(|w| w == 12345.5f32.to_le_bytes()).unwrap();
        bytes[place..place + 4].copy_from_slice(&bad.to_le_bytes());
        crate::checksums::forget(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let error = refused(&path);
        assert!(error.to_string().contains("NaN or infinity in a.bias"), "{error}");
        // They are not written either, and what was there stays.
        weights.tensors.get_mut("a.bias").unwrap().data[3] = bad;
        let error = write(&path, &weights).unwrap_err();
        assert!(matches!(error, Error::Data(_)) && error.to_string().contains("a.bias"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_write_that_fails_leaves_the_old_file() {
    let folder = folder();
    let path = folder.path().join("file");
    write_atomically(&path, |out| out.write_all(b"old")).unwrap();
    let failed = write_atomically(&path, |out| {
        out.write_all(&vec![1; 1 << 20])?;
        Err(std::io::Error::other("the disk is full"))
    });
    let error = failed.unwrap_err();
    assert!(matches!(error, Error::Io(_)) && error.to_string().contains("the disk is full"), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    write_atomically(&path, |out| out.write_all(b"new")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["file"], "a temporary file was left behind");
    let nowhere = write_tensors(folder.path().join("no/w"), &BTreeMap::new(), &BTreeMap::new());
    assert!(matches!(nowhere, Err(Error::NotFound(_))), "{nowhere:?}");
}

#[test]
fn filters_change_between_the_layouts() {
    // OIHW (2, 3, 1, 2): element [k, c, 0, s] has the value 100 k + 10 c + s.
    let data = (0..12).map(|i| (100 * (i / 6) + 10 * (i / 2 % 3) + i % 2) as f32).collect();
    let torch = Tensor { shape: vec![2, 3, 1, 2], data };
    let shape = Shape::filter(1, 2, 3, 2);
    let stored = import(&torch.data, shape).unwrap();
    let dense = shape.unpad(&stored).unwrap();
    // (R, S, C, K)
    assert_eq!(dense, [0., 100., 10., 110., 20., 120., 1., 101., 11., 111., 21., 121.]);
    assert_eq!(shape.pad(&dense).unwrap(), stored, "padding is zero");
    assert_eq!(export(&stored, shape).unwrap(), torch.data);
    // One row of it, as a piece.
    let one = Shape::filter(1, 2, 3, 1);
    let piece = import(&torch.data[6..], one).unwrap();
    assert_eq!(one.unpad(&piece).unwrap(), [100., 110., 120., 101., 111., 121.]);
    assert_eq!(export(&piece, one).unwrap(), torch.data[6..]);
    assert!(matches!(import(&[0.0], shape), Err(Error::Data(_))));
}

/// Random odd shapes, each as a whole and in blocks of rows, against the definition.
#[test]
fn filters_change_between_the_layouts_whole_and_by_rows() {
    let mut state = 7u32;
    let mut random = |most: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % most as usize + 1
    };
    for _ in 0..60 {
        let [r, s, c, k] = [random(4), random(4), random(21), random(50)];
        let shape = Shape::filter(r, s, c, k);
        let data: Vec<f32> = (0..k * c * r * s).map(|i| i as f32 + 1.0).collect();
        let stored = import(&data, shape).unwrap();
        let mut dense = vec![0.0; data.len()];
        for (i, x) in data.iter().enumerate() {
            let (ki, ci, tap) = (i / (c * r * s), i / (r * s) % c, i % (r * s));
            dense[(tap * c + ci) * k + ki] = *x;
        }
        assert_eq!(stored, shape.pad(&dense).unwrap(), "{shape:?}");
        assert_eq!(export(&stored, shape).unwrap(), data, "{shape:?}");
        let (mut by_rows, step, row) = (vec![0.0; stored.len()], random(40), c * r * s);
        for (i, rows) in data.chunks(step * row).enumerate() {
            import_rows(rows, i * step, shape, &mut by_rows).unwrap();
        }
        assert_eq!(by_rows, stored, "{shape:?} in blocks of {step}");
        // No whole rows, more than there are, and another memory.
        for (rows, first, room) in [
            (&data[..row - 1], 0, stored.len()),
            (&data[..row], k, stored.len()),
            (&data[..row], 0, stored.len() - 1),
        ] {
            let refused = import_rows(rows, first, shape, &mut vec![0.0; room]);
            assert!(
                matches!(refused, Err(Error::Data(_))) || rows.is_empty(),
                "{shape:?} from {first}: {refused:?}"
            );
        }
    }
    for row in [0, 1, 9216, 1 << 20, usize::MAX] {
        let together = rows_together(row);
        assert!(together >= 16 && together.is_multiple_of(16), "{together} rows of {row}");
    }
    let vector = Shape::vector(21);
    let data: Vec<f32> = (0..21).map(|i| i as f32).collect();
    assert_eq!(import(&data, vector).unwrap(), vector.pad(&data).unwrap());
    let refused = import_rows(&data, usize::MAX, vector, &mut [0.0; 24]);
    assert!(matches!(refused, Err(Error::Data(_))), "{refused:?}");
}

#[test]
fn weights_made_elsewhere_are_recognised() {
    for (name, arch) in [("resnet20", "resnet20"), ("resnet56", "resnet56")] {
        let path = match shared(&format!("cifar-resnets/{name}-cifar10.safetensors")) {
            Ok(path) => path,
            Err(reason) => return skipped("weights_made_elsewhere_are_recognised", &reason),
        };
        let weights = read(&path).unwrap();
        let names = weights.tensors.iter().map(|(n, t)| (n.clone(), t.shape.clone())).collect();
        let found = recognise(&names).unwrap();
        assert_eq!((found.arch.name, found.classes, found.size), (arch, 10, 32));
    }
}

#[test]
fn every_network_is_recognised_by_its_own_names() {
    for arch in ocelli::models::ARCHS {
        let mut settings = arch.settings(1);
        settings.classes = 7;
        let network = arch.network(&settings, Mode::Inference).unwrap();
        let names: BTreeMap<_, _> =
            network.parameters.iter().map(|p| (p.name.clone(), p.torch_shape.clone())).collect();
        let found = recognise(&names).unwrap();
        // Those that differ in nothing that has parameters.
        let twin = match arch.name {
            "caffenet" => "alexnet",
            name => name.strip_suffix("-v1").unwrap_or(name),
        };
        assert_eq!((found.arch.name, found.classes, found.size), (twin, 7, arch.size));
    }
}

#[test]
fn strange_names_get_the_difference_to_the_nearest_network() {
    let settings = Arch::find("resnet32").unwrap().settings(1);
    let network = Arch::find("resnet32").unwrap().network(&settings, Mode::Inference).unwrap();
    let mut names: BTreeMap<_, _> =
        network.parameters.iter().map(|p| (p.name.clone(), p.torch_shape.clone())).collect();
    names.remove("layer1.0.conv1.weight");
    names.insert("layer9.weight".into(), vec![3]);
    names.insert("bn1.bias".into(), vec![17]);
    // Shapes that no memory could hold are no shapes of a network.
    let mut huge = names.clone();
    huge.insert("linear.weight".into(), vec![usize::MAX, 64]);
    assert!(matches!(recognise(&huge), Err(Error::Data(_))));
    let text = recognise(&names).unwrap_err().to_string();
    for part in [
        "nearest is resnet32",
        "missing: layer1.0.conv1.weight",
        "unexpected: layer9.weight",
        "mis-shaped: bn1.bias [17] instead of [16]",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_checkpoint_is_no_weights_and_tensors_keep_their_strings() {
    let folder = folder();
    let path = folder.path().join("w");
    let strings = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let tensors = BTreeMap::from([("t".to_owned(), Tensor { shape: vec![1], data: vec![2.0] })]);
    write_tensors(&path, &tensors, &strings).unwrap();
    assert_eq!(read_tensors(&path).unwrap(), (tensors, strings));
}
