//! Files made by hand, which PyTorch would not write.

use std::io::{Cursor, Write};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// A zip archive.
pub fn archive_as(method: CompressionMethod, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    archive_as(CompressionMethod::Stored, files)
}

/// 1, 2, 3, 4 in f32.
pub const FOUR: [u8; 16] = [0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0x40, 0x40, 0, 0, 0x80, 0x40];

/// A file of the zip form with this pickle and a storage `0` of [`FOUR`].
pub fn zipped(pickle: &[u8]) -> Vec<u8> {
    archive(&[("a/data.pkl", pickle), ("a/data/0", &FOUR)])
}

/// A file of the legacy form with this pickle and such a storage if it speaks of one.
pub fn legacy(pickle: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    bytes.extend_from_slice(pickle);
    if !pickle.windows(7).any(|part| part == b"storage") {
        bytes.extend_from_slice(b"\x80\x02].");
        return bytes;
    }
    bytes.extend_from_slice(b"\x80\x02]X\x01\0\0\x000a.");
    bytes.extend_from_slice(&4u64.to_le_bytes());
    bytes.extend_from_slice(&FOUR);
    bytes
}

pub fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

pub fn int(number: i64) -> Vec<u8> {
    [&b"\x8a\x08"[..], &number.to_le_bytes()].concat()
}

pub fn tuple(numbers: &[i64]) -> Vec<u8> {
    [&b"("[..], &numbers.iter().flat_map(|n| int(*n)).collect::<Vec<u8>>(), b"t"].concat()
}

/// The first arguments of a function that makes a tensor: a storage of so many numbers, and a view of it.
pub fn arguments(class: &str, elements: i64, view: (i64, &[i64], &[i64])) -> Vec<u8> {
    keyed(class, "0", elements, view)
}

fn keyed(class: &str, key: &str, elements: i64, (offset, shape, strides): (i64, &[i64], &[i64])) -> Vec<u8> {
    [
        &b"(("[..],
        &text("storage"),
        format!("c{class}\n").as_bytes(),
        &text(key),
        &text("cpu"),
        &int(elements),
        b"tQ",
        &int(offset),
        &tuple(shape),
        &tuple(strides),
    ]
    .concat()
}

/// A call of a function of `torch._utils`.
pub fn call(function: &str, arguments: &[u8], more: &[u8]) -> Vec<u8> {
    [format!("ctorch._utils\n{function}\n").as_bytes(), arguments, more, b"tR"].concat()
}

/// A tensor of a storage with so many f32.
pub fn tensor(key: &str, elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let arguments = keyed("torch\nFloatStorage", key, elements, (offset, shape, strides));
    call("_rebuild_tensor_v2", &arguments, b"\x89ccollections\nOrderedDict\n)R")
}

/// The pickle of a mapping.
pub fn mapping(items: &[(&str, &[u8])]) -> Vec<u8> {
    let items: Vec<u8> = items.iter().flat_map(|(name, value)| [&text(name), *value].concat()).collect();
    [&b"\x80\x02}("[..], &items, b"u."].concat()
}

pub fn good() -> Vec<u8> {
    mapping(&[("w", &tensor("0", 4, 0, &[2, 2], &[2, 1]))])
}
