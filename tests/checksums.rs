//! Checksums in safetensors files: damage is noticed wherever a file is read, and files without them are read as ever.

use crate::cli::fails;
use crate::resuming::{header, some_bits};
use crate::support::fixtures::{folder, run};
use ocelli::weights::{
    Dtype, Safetensors, Source, StreamEvent, StreamReader, Tensor, read_tensors, write_source, write_tensors,
};
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, HashMap};
use std::fs;

fn tensors() -> BTreeMap<String, Tensor> {
    let tensor = |shape: &[usize], first: f32| {
        let count: usize = shape.iter().product();
        Tensor { shape: shape.to_vec(), data: (0..count).map(|i| first + i as f32 * 0.5).collect() }
    };
    BTreeMap::from([
        ("a \"quoted\" name".to_owned(), tensor(&[3, 5], 1.0)),
        ("conv.weight".to_owned(), tensor(&[64, 9, 3, 3], -7.0)),
        ("one".to_owned(), tensor(&[], 4.0)),
        ("wide".to_owned(), tensor(&[2, 40_000], 0.25)),
    ])
}

fn strings() -> BTreeMap<String, String> {
    [("format", "pt"), ("of no meaning", "\"ocelli.crc32.header\":\"00000000\""), ("ünicode", "ß")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
}

/// Reads all of a file in the given way; false if it is refused.
fn whole(bytes: &[u8]) -> bool {
    let Ok(file) = Safetensors::parse(bytes.to_vec()) else { return false };
    file.entries().iter().all(|(name, entry)| file.rows(name, 0..entry.rows()).is_ok())
}

/// The last rows alone: nothing of a damaged tensor is given away.
fn last_rows(bytes: &[u8]) -> bool {
    let Ok(file) = Safetensors::parse(bytes.to_vec()) else { return false };
    file.entries().iter().all(|(name, entry)| file.rows(name, entry.rows() - 1..entry.rows()).is_ok())
}

fn arrives(bytes: &[u8]) -> bool {
    let mut arriving = StreamReader::new(None);
    for mut piece in bytes.chunks(9973) {
        while !piece.is_empty() {
            match arriving.take(&mut piece) {
                Err(_) => return false,
                Ok(StreamEvent::Nothing | StreamEvent::Header(_) | StreamEvent::Rows(..)) => {}
            }
        }
    }
    arriving.finish().is_ok()
}

#[test]
fn every_way_to_read_a_file_notices_one_wrong_bit() {
    let folder = folder();
    let path = folder.path().join("w.safetensors");
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
        write_tensors(&path, &tensors(), &strings()).unwrap();
        let source = Safetensors::open(&path).unwrap();
        let path = folder.path().join("typed.safetensors");
        write_source(&path, &source, &strings(), dtype).unwrap();
        let right = fs::read(&path).unwrap();
        assert!(whole(&right) && last_rows(&right) && arrives(&right));
        for bit in some_bits(&right, 100) {
            let mut bytes = right.clone();
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            for (way, reads) in
                [("whole", whole as fn(&[u8]) -> bool), ("rows", last_rows), ("arriving", arrives)]
            {
                assert!(!reads(&bytes), "{way} does not notice bit {bit} of a file of {}", dtype.name());
            }
        }
    }
}

#[test]
fn files_of_others_and_of_earlier_versions_need_no_checksums() {
    let folder = folder();
    let path = folder.path().join("w.safetensors");
    write_tensors(&path, &tensors(), &strings()).unwrap();
    let ours = fs::read(&path).unwrap();
    // The strings that a reader sees are those that were written.
    assert_eq!(read_tensors(&path).unwrap(), (tensors(), strings()));
    // Another reader ignores the checksums, and may write them with the same content: in its own order, with other spaces.
    let (_, theirs) = safetensors::SafeTensors::read_metadata(&ours).unwrap();
    let metadata = theirs.metadata().clone().unwrap();
    let sums = ["ocelli.crc32.header", "ocelli.crc32.tensors"];
    assert!(sums.iter().all(|key| metadata.contains_key(*key)), "{metadata:?}");
    let write = |metadata: &HashMap<String, String>, first: f32| {
        let mut all = tensors();
        all.get_mut("wide").unwrap().data[0] = first;
        let bytes: BTreeMap<&String, Vec<u8>> =
            all.iter().map(|(n, t)| (n, t.data.iter().flat_map(|x| x.to_le_bytes()).collect())).collect();
        let views = all.iter().map(|(name, tensor)| {
            let view = TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), &bytes[name]);
            (name.clone(), view.unwrap())
        });
        let path = folder.path().join("theirs.safetensors");
        fs::write(&path, safetensors::serialize(views, Some(metadata.clone())).unwrap()).unwrap();
        read_tensors(&path)
    };
    assert_eq!(write(&metadata, 0.25).unwrap(), (tensors(), strings()));
    // A tensor or a string that it has changed is damage, of which it is told how to avoid it.
    let text = write(&metadata, 3.0).unwrap_err().to_string();
    for part in ["theirs.safetensors", "wide", "checksum", "ocelli.crc32.*"] {
        assert!(text.contains(part), "{text}");
    }
    let mut changed = metadata.clone();
    changed.insert("format".into(), "tf".into());
    let text = write(&changed, 0.25).unwrap_err().to_string();
    assert!(text.contains("its header is damaged"), "{text}");
    // One of the two alone is damage, none of them is a file as any.
    for key in sums {
        let mut one = metadata.clone();
        one.remove(key);
        assert!(write(&one, 0.25).is_err(), "{key}");
    }
    let mut none = metadata.clone();
    sums.iter().for_each(|key| drop(none.remove(*key)));
    assert_eq!(write(&none, 3.0).unwrap().0["wide"].data[0], 3.0);
}

#[test]
fn the_program_names_the_damaged_tensor_and_the_file() {
    let folder = folder();
    let here = folder.path();
    write_tensors(here.join("w.safetensors"), &crate::exchange::resnet20(), &BTreeMap::new()).unwrap();
    assert_eq!(run(here, &["inspect", "w.safetensors"]).0, 0);
    let mut bytes = fs::read(here.join("w.safetensors")).unwrap();
    let header = header(&bytes) as usize;
    bytes[header] ^= 1;
    fs::write(here.join("w.safetensors"), bytes).unwrap();
    for arguments in [&["inspect", "w.safetensors"][..], &["convert", "w.safetensors", "out.pth"]] {
        fails(here, arguments, 65, &["w.safetensors", "bn1.bias", "its checksum"]);
    }
    assert!(!here.join("out.pth").exists());
}

/// Makes the checksums strings like any others, for tests that change a file behind the back of its writer.
pub(crate) fn forget(bytes: &mut [u8]) {
    let key = b"ocelli.crc32.";
    let places: Vec<usize> =
        bytes.windows(key.len()).enumerate().filter(|(_, w)| w == key).map(|(i, _)| i).collect();
    assert_eq!(places.len(), 2);
    places.into_iter().for_each(|place| bytes[place] = b'O');
}
