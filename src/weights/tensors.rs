//! The safetensors format: named tensors and a map of strings. A file is untrusted input.

use super::{Tensor, write_atomically};
use crate::error::{Error, Result};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;

/// Tensors by name, and the strings of the header.
pub type Content = (BTreeMap<String, Tensor>, BTreeMap<String, String>);

/// Reads all floating-point tensors of a file as f32, and its metadata.
///
/// # Errors
/// [`Error::NotFound`] if there is no such file, [`Error::Data`] if it cannot be used.
pub fn read_tensors(path: &Path) -> Result<Content> {
    let place = || path.display().to_string();
    let meta = std::fs::metadata(path).map_err(|e| Error::from_io(&e, "read", path))?;
    if !meta.is_file() {
        return Err(Error::data("this is no file").at(place()));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::from_io(&e, "read", path))?;
    parse(&bytes).map_err(|e| e.at(place()))
}

fn parse(bytes: &[u8]) -> Result<Content> {
    if let Some(error) = stranger(bytes) {
        return Err(error);
    }
    let broken = |e| {
        Error::data(format!("this is no usable safetensors file: {e}"))
            .cure("it may be damaged; get it again")
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let file = SafeTensors::deserialize(bytes).map_err(broken)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let Some(data) = to_f32(view.dtype(), view.data()) else {
            if is_integer(view.dtype()) {
                continue;
            }
            return Err(Error::data(format!("its numbers are of type {:?}", view.dtype()))
                .at(name)
                .cure("convert it to f32, f16 or bf16"));
        };
        tensors.insert(name.to_owned(), Tensor { shape: view.shape().to_vec(), data });
    }
    if let Some(what) = not_finite(&tensors) {
        return Err(Error::data(what).cure("the training that made it had diverged; use an earlier file"));
    }
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok((tensors, metadata))
}

/// Names the tensors with numbers that are none.
fn not_finite(tensors: &BTreeMap<String, Tensor>) -> Option<String> {
    let bad = tensors.iter().filter(|(_, t)| t.data.iter().any(|x| !x.is_finite()));
    let bad: Vec<_> = bad.map(|(name, _)| name.as_str()).collect();
    let few = bad.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    match bad.len() {
        0 => None,
        1 => Some(format!("NaN or infinity in {few}")),
        n => Some(format!("NaN or infinity in {n} tensors, among them {few}")),
    }
}

/// Counters and masks, such as PyTorch's `num_batches_tracked`.
fn is_integer(dtype: Dtype) -> bool {
    use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, BOOL | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
}

/// Names the usual things that are given in place of a safetensors file.
fn stranger(bytes: &[u8]) -> Option<Error> {
    let start = bytes.get(..64.min(bytes.len())).unwrap_or_default();
    let text = String::from_utf8_lossy(start).trim_start().to_lowercase();
    let (what, cure) = if bytes.is_empty() {
        ("this file is empty", "get it again")
    } else if text.starts_with("version https://git-lfs") {
        ("this is a pointer of git-lfs, not the file itself", "fetch it with `git lfs pull`")
    } else if text.starts_with("<!doctype") || text.starts_with("<html") {
        ("this is a web page, not weights", "the download went wrong; get the file again")
    } else if start.starts_with(b"PK\x03\x04") || start.starts_with(b"\x80\x02") {
        (
            "this is a PyTorch pickle",
            "convert it with Python: safetensors.torch.save_file(torch.load(FILE), NEW)",
        )
    } else if bytes.len() < 8 || start.get(8) != Some(&b'{') {
        ("this is no safetensors file", "give a file that `ocelli train` or PyTorch's safetensors wrote")
    } else {
        return None;
    };
    Some(Error::data(what).cure(cure))
}

fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves = |convert: fn(u16) -> f32| {
        bytes.as_chunks::<2>().0.iter().map(|b| convert(u16::from_le_bytes(*b))).collect()
    };
    match dtype {
        Dtype::F32 => Some(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::F64 => Some(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()),
        Dtype::BF16 => Some(halves(|bits| f32::from_bits(u32::from(bits) << 16))),
        Dtype::F16 => Some(halves(from_f16)),
        _ => None,
    }
}

/// IEEE 754 binary16 to binary32, exactly.
fn from_f16(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * (-24f32).exp2(),
        0x1f if fraction == 0.0 => sign * f32::INFINITY,
        0x1f => f32::NAN,
        _ => sign * (1024.0 + fraction) * ((exponent - 25) as f32).exp2(),
    }
}

/// Writes tensors and metadata, as a whole or not at all. The same content gives the same bytes: the crate's own
/// writer puts the metadata in the order of a hash map.
///
/// # Errors
/// [`Error::Data`] naming the tensors if there is NaN or infinity in them, [`Error::Io`] if it cannot be written.
pub fn write_tensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    if let Some(what) = not_finite(tensors) {
        return Err(Error::data(what).at(path.display().to_string()).cure(
            "the training has diverged and nothing was written; start again with a smaller learning rate",
        ));
    }
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!(metadata));
    let mut end = 0;
    for (name, tensor) in tensors {
        let start = end;
        end += tensor.data.len() * 4;
        header.insert(
            name.clone(),
            serde_json::json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end] }),
        );
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    // The data starts at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for tensor in tensors.values() {
            for value in &tensor.data {
                out.write_all(&value.to_le_bytes())?;
            }
        }
        Ok(())
    })
}
