//! The driver's compiled pipelines in a file, so that the next start of the program need not compile them again.
//!
//! Only Vulkan has such a cache. The driver reads the bytes of the file as they are, and wgpu checks only the first few
//! of them, so the file has a header of its own: adapter, driver and version of the library, and a CRC-32 of everything.

use super::adapter::AdapterInfo;
use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first bytes of a file, with the version of its format.
const MAGIC: &[u8; 8] = b"OCELLIP1";
/// The bytes before the content: the magic number, the CRC-32 and the length of the place.
const HEADER_BYTES: usize = MAGIC.len() + 4 + 4;
/// The largest valid file in bytes. A larger one is ignored, and the cache starts anew: a driver never removes
/// pipelines from it.
const MOST_BYTES: u64 = 256 << 20;

/// Where compiled pipelines are kept between runs of a program ([`super::GpuOptions::pipeline_cache`]).
#[derive(Debug, Clone)]
pub struct PipelineCacheOptions {
    /// The folder. It is created if it does not exist. Other programs must not be able to write to it: the driver runs
    /// the code in its files.
    pub folder: PathBuf,
    /// Called, once, if the pipelines cannot be written. Nothing else depends on them.
    pub failed: fn(&Error),
}

/// The pipeline cache of a device with its file.
pub(super) struct PipelineCache {
    inner: wgpu::PipelineCache,
    path: PathBuf,
    place: String,
    failed: fn(&Error),
    /// Whether pipelines were compiled since the file was written.
    changed: AtomicBool,
    /// The bytes of the file. It is `None` after a failure, after which nothing is written.
    written: Mutex<Option<Vec<u8>>>,
}

impl PipelineCache {
    /// Opens the cache of a device; `None` if its backend has none.
    pub(super) fn open(
        device: &wgpu::Device,
        info: &AdapterInfo,
        options: Option<&PipelineCacheOptions>,
    ) -> Option<Self> {
        let PipelineCacheOptions { folder, failed } = options?;
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let place = info.place();
        let path = folder.join(format!("pipelines-{:016x}.bin", info.place_hash()));
        let content = read(&path).as_deref().and_then(|file| content(file, &place)).map(<[u8]>::to_vec);
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: Some("ocelli"), data: content.as_deref(), fallback: true };
        // SAFETY: the bytes are those of `get_data`: the magic number and the CRC-32 tell that this file wrote them and
        // that they are complete, the place that the same driver returned them. wgpu compares the vendor, the device and
        // the driver's version as well, and starts with an empty cache if they differ.
        #[allow(unsafe_code)]
        let inner = unsafe { device.create_pipeline_cache(&descriptor) };
        let written = Mutex::new(Some(content.unwrap_or_default()));
        Some(Self { inner, path, place, failed: *failed, changed: AtomicBool::new(false), written })
    }

    /// The cache for the compilation of a pipeline.
    pub(super) fn used(&self) -> &wgpu::PipelineCache {
        self.changed.store(true, Ordering::Relaxed);
        &self.inner
    }

    /// Writes the file, if the driver has compiled something that it does not contain. If two processes write at the same
    /// time, the last one wins, and the other's pipelines are compiled again later.
    pub(super) fn save(&self) {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(before), Some(data)) = (written.as_ref(), self.inner.get_data()) else { return };
        if *before == data || data.len() as u64 > MOST_BYTES - HEADER_BYTES as u64 - self.place.len() as u64 {
            return;
        }
        match write(&self.path, &self.place, &data) {
            Ok(()) => *written = Some(data),
            Err(error) => {
                *written = None;
                (self.failed)(&error);
            }
        }
    }
}

impl Drop for PipelineCache {
    fn drop(&mut self) {
        self.save();
    }
}

/// The bytes of a file of a valid size.
fn read(path: &Path) -> Option<Vec<u8>> {
    let valid = std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= MOST_BYTES);
    if valid { std::fs::read(path).ok() } else { None }
}

/// The driver's bytes in a file; `None` if the file is damaged or belongs to another place.
fn content<'a>(file: &'a [u8], place: &str) -> Option<&'a [u8]> {
    let rest = file.strip_prefix(MAGIC)?;
    let (crc, rest) = rest.split_first_chunk()?;
    if crc32fast::hash(rest) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (length, rest) = rest.split_first_chunk()?;
    let (of, content) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (of == place.as_bytes()).then_some(content)
}

fn write(path: &Path, place: &str, data: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::from_io(e, "make the cache folder", folder))?;
    }
    let length = (place.len() as u32).to_le_bytes();
    let mut crc = crc32fast::Hasher::new();
    [&length[..], place.as_bytes(), data].into_iter().for_each(|part| crc.update(part));
    let crc = crc.finalize().to_le_bytes();
    write_atomically(path, |file| {
        [&MAGIC[..], &crc, &length, place.as_bytes(), data]
            .into_iter()
            .try_for_each(|part| file.write_all(part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_not_after_any_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/pipelines.bin");
        let data: Vec<u8> = (0..=255).collect();
        write(&path, "a GPU\n1.2", &data).unwrap();
        let file = read(&path).unwrap();
        assert_eq!(content(&file, "a GPU\n1.2"), Some(&data[..]));
        assert_eq!(content(&file, "a GPU\n1.3"), None, "another driver");
        for i in 0..file.len() {
            assert_eq!(content(&file[..i], "a GPU\n1.2"), None, "cut to {i} bytes");
            let mut damaged = file.clone();
            damaged[i] ^= 4;
            assert_eq!(content(&damaged, "a GPU\n1.2"), None, "byte {i}");
        }
        assert_eq!(content(&[&file[..], &[0]].concat(), "a GPU\n1.2"), None, "a byte more");
        assert!(read(folder.path()).is_none(), "a folder");
    }
}
