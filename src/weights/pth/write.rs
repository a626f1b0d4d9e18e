//! Writes the zip format as `torch.save(OrderedDict)` does.

use crate::error::{Error, Result};
use crate::weights::{Dtype, Entry, Source, write_atomically};
use std::io::{self, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZIP64_BYTES_THR, ZipWriter};

/// The folder in the archive. PyTorch takes the name of the file; readers accept any name.
const ROOT: &str = "archive";

/// The alignment of storages in bytes, for readers that map the file into memory.
const ALIGNMENT: u16 = 64;

/// How many numbers are in memory at a time; a whole row if it has more.
const CHUNK: usize = 1 << 20;

/// Writes the floating-point tensors as `torch.save` writes a state dict. The file is written completely or not at all.
/// `torch.load` reads it with `weights_only=True`. Integers such as `num_batches_tracked` are left out;
/// `load_state_dict` sets these to 0. The same content gives the same bytes. The numbers are read and written
/// in pieces.
///
/// # Errors
/// [`Error::Usage`] if `dtype` is not f32, f16 or bf16; [`Error::Data`] if a number does not fit it; the errors of the source;
/// [`Error::NotFound`] and [`Error::Io`] if the file cannot be written.
pub fn write(path: impl AsRef<Path>, source: &dyn Source, dtype: Dtype) -> Result<()> {
    let storage = match dtype {
        Dtype::F32 => "FloatStorage",
        Dtype::F16 => "HalfStorage",
        Dtype::Bf16 => "BFloat16Storage",
        _ => {
            return Err(Error::usage(format!(
                "{} is no type of weights; f32, f16 and bf16 are",
                dtype.name()
            )));
        }
    };
    let all = source.entries().iter();
    let tensors: Vec<(&str, &Entry)> = all
        .filter(|(_, entry)| !matches!(entry.dtype, Dtype::Integer(_)))
        .map(|(name, entry)| (name.as_str(), entry))
        .collect();
    let pickle = pickle(&tensors, storage)?;
    // An error of the source cannot be returned through `std::io::Write`, so it is kept here.
    let mut fault = None;
    let written = write_atomically(path.as_ref(), |out| {
        let mut zip = ZipWriter::new_stream(out);
        let done = fill(&mut zip, source, &tensors, &pickle, dtype, &mut fault);
        if done.is_err() {
            // Dropping the writer would try to finish the archive, and print an error to the terminal.
            std::mem::forget(zip);
            return done;
        }
        zip.finish()?;
        Ok(())
    });
    match fault {
        Some(fault) => Err(fault),
        None => written,
    }
}

fn fill<W: Write + io::Seek>(
    zip: &mut ZipWriter<W>,
    source: &dyn Source,
    tensors: &[(&str, &Entry)],
    pickle: &[u8],
    dtype: Dtype,
    fault: &mut Option<Error>,
) -> io::Result<()> {
    // The file must not depend on the machine or the time.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .system(System::Unix)
        .unix_permissions(0o644)
        .with_alignment(ALIGNMENT);
    zip.start_file(format!("{ROOT}/data.pkl"), options)?;
    zip.write_all(pickle)?;
    zip.start_file(format!("{ROOT}/byteorder"), options)?;
    zip.write_all(b"little")?;
    for (i, (name, entry)) in tensors.iter().enumerate() {
        let large = entry.elements().saturating_mul(dtype.bytes()) as u64 >= ZIP64_BYTES_THR;
        zip.start_file(format!("{ROOT}/data/{i}"), options.large_file(large))?;
        // An empty tensor may have any number of rows.
        let rows = if entry.elements() == 0 { 0 } else { entry.rows() };
        let step = (CHUNK / (entry.elements() / rows.max(1)).max(1)).max(1);
        for first in (0..rows).step_by(step) {
            let range = first..rows.min(first.saturating_add(step));
            let encoded = source.rows(name, range).and_then(|numbers| dtype.encode(name, &numbers));
            match encoded {
                Ok(encoded) => zip.write_all(&encoded)?,
                Err(error) => {
                    *fault = Some(error);
                    return Err(io::Error::other("the source cannot be read"));
                }
            }
        }
    }
    zip.start_file(format!("{ROOT}/version"), options)?;
    zip.write_all(b"3\n")
}

/// The pickle of the mapping, protocol 2: for each name a call of `torch._utils._rebuild_tensor_v2`.
fn pickle(tensors: &[(&str, &Entry)], storage: &str) -> Result<Vec<u8>> {
    let mut out = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    for (i, (name, entry)) in tensors.iter().enumerate() {
        text(&mut out, name)?;
        out.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage")?;
        out.extend_from_slice(format!("ctorch\n{storage}\n").as_bytes());
        text(&mut out, &i.to_string())?;
        text(&mut out, "cpu")?;
        int(&mut out, entry.elements());
        // BINPERSID ends the persistent id; then the offset in the storage.
        out.extend_from_slice(b"tQK\x00");
        tuple(&mut out, &entry.shape);
        let mut strides = vec![1; entry.shape.len()];
        let mut stride: usize = 1;
        for (place, size) in strides.iter_mut().zip(&entry.shape).rev() {
            *place = stride;
            stride = stride.saturating_mul((*size).max(1));
        }
        tuple(&mut out, &strides);
        // No gradient is required, and there are no hooks.
        out.extend_from_slice(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    out.extend_from_slice(b"u.");
    Ok(out)
}

fn text(out: &mut Vec<u8>, text: &str) -> Result<()> {
    let length = u32::try_from(text.len()).map_err(|_| Error::data("a name of more than 4 GiB"))?;
    out.push(b'X');
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn int(out: &mut Vec<u8>, number: usize) {
    if let Ok(number) = u8::try_from(number) {
        out.extend_from_slice(&[b'K', number]);
    } else if let Ok(number) = u16::try_from(number) {
        out.push(b'M');
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.push(b'J');
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        // Nine bytes, because the highest bit of the last one is the sign.
        out.extend_from_slice(b"\x8a\x09");
        out.extend_from_slice(&(number as u64).to_le_bytes());
        out.push(0);
    }
}

fn tuple(out: &mut Vec<u8>, numbers: &[usize]) {
    out.push(b'(');
    for number in numbers {
        int(out, *number);
    }
    out.push(b't');
}
