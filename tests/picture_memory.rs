//! The memory that a picture takes while it is decoded, measured in a process of its own: 16 bytes a pixel and 16 MiB, and
//! no more for a file that unpacks to gigabytes.

use crate::support::fixtures::{bounded, folder, skipped};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use ocelli::data::read_picture;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A chunk of a PNG. Decoders do not look at the checksum of chunks that they need not know.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(kind);
    crc.update(data);
    [&(data.len() as u32).to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()].concat()
}

/// So many MiB of zeros, compressed.
fn zeros(megabytes: usize) -> Vec<u8> {
    let mut out = ZlibEncoder::new(Vec::new(), Compression::best());
    (0..megabytes).for_each(|_| out.write_all(&vec![0; 1 << 20]).unwrap());
    out.finish().unwrap()
}

/// A PNG that says to have so many pixels a side, with a chunk before those of 8x8.
fn png(side: u32, kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let header = chunk(b"IHDR", &[&side.to_be_bytes()[..], &side.to_be_bytes(), &[8, 2, 0, 0, 0]].concat());
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::best());
    pixels.write_all(&[0; 8 * 25]).unwrap();
    let pixels = chunk(b"IDAT", &pixels.finish().unwrap());
    [&b"\x89PNG\r\n\x1a\n"[..], &header, &chunk(kind, data), &pixels, &chunk(b"IEND", &[])].concat()
}

const SIDE: u32 = 1000;

/// Pictures of `SIDE` pixels a side in every format, and files that unpack to much.
fn files(here: &Path) -> Vec<(String, u32)> {
    let rgb = RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let noise = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)) >> 13;
        image::Rgb([(x / 9) as u8, (y / 7) as u8, noise as u8 & 31])
    });
    let mut names = Vec::new();
    let mut add = |name: &str, side: u32, bytes: Vec<u8>| {
        std::fs::write(here.join(name), bytes).unwrap();
        names.push((name.to_owned(), side));
    };
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&rgb).unwrap();
    add("rgb.jpg", SIDE, bytes);
    let rgba: RgbaImage = DynamicImage::from(rgb.clone()).into_rgba8();
    let deep = DynamicImage::from(DynamicImage::from(rgba.clone()).into_rgba16());
    let images = [DynamicImage::from(rgb), DynamicImage::from(rgba), deep];
    for (ending, format) in [
        ("png", ImageFormat::Png),
        ("bmp", ImageFormat::Bmp),
        ("tif", ImageFormat::Tiff),
        ("webp", ImageFormat::WebP),
    ] {
        for (i, image) in images.iter().enumerate() {
            let mut bytes = std::io::Cursor::new(Vec::new());
            // Not every format has 16 bits.
            if image.write_to(&mut bytes, format).is_ok() {
                add(&format!("{i}.{ending}"), SIDE, bytes.into_inner());
            }
        }
    }
    let packed = zeros(300);
    add("profile.png", 8, png(8, b"iCCP", &[b"bomb\0\0", &packed[..]].concat()));
    add("text.png", 8, png(8, b"zTXt", &[b"bomb\0\0", &packed[..]].concat()));
    add("international.png", 8, png(8, b"iTXt", &[b"bomb\0\x01\0\0\0", &packed[..]].concat()));
    // The profile may be as large as the pixels that the file only speaks of.
    let profile = [b"bomb\0\0", &packed[..]].concat();
    add("wide.png", CUT, png(4096, b"iCCP", &profile));
    names
}

/// The side in [`files`] of a picture that has far fewer pixels than it says.
const CUT: u32 = 0;

/// The largest memory of this process so far, in KiB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

const CHILD: &str = "OCELLI_TEST_PICTURE";

#[test]
fn a_picture_takes_sixteen_bytes_a_pixel() {
    if let Some(path) = std::env::var_os(CHILD) {
        let before = peak().unwrap();
        let read = read_picture(Path::new(&path)).map(|picture| (picture.width(), picture.height()));
        println!("MEASURED {} {}", peak().unwrap() - before, read.is_ok());
        return;
    }
    if peak().is_none() {
        return skipped("a_picture_takes_sixteen_bytes_a_pixel", "no /proc to measure with");
    }
    let folder = folder();
    let here = folder.path();
    let mut read = 0;
    for (name, side) in files(here) {
        let length = std::fs::metadata(here.join(&name)).unwrap().len();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "picture_memory::a_picture_takes_sixteen_bytes_a_pixel", "--nocapture"])
            .env(CHILD, here.join(&name))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text
            .lines()
            .find_map(|line| line.split_once("MEASURED "))
            .unwrap_or_else(|| panic!("{name}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        let (kib, ok) = line.1.split_once(' ').unwrap();
        let (kib, pixels): (u64, u64) = (kib.parse().unwrap(), u64::from(side * side));
        read += usize::from(ok == "true");
        println!("{name}: {} KiB, {:.1} bytes a pixel", kib, kib as f64 * 1024.0 / pixels as f64);
        // Without its profile a picture takes the pixels, once, and what is left of the file.
        let pixels = if side == CUT { 4096 * 4096 / 2 } else { pixels };
        let most = if name == "2.tif" { 20 } else { 16 } * pixels + (16 << 20) + length;
        assert!(kib << 10 <= most, "{name} took {kib} KiB, allowed are {}", most >> 10);
        assert!(ok == "true" || side == 8 || side == CUT, "{name} is not read");
    }
    assert!(read >= 10, "only {read} files were read");
}

#[test]
fn a_gzip_bomb_as_idx_is_refused_within_little_memory() {
    let folder = folder();
    let here = folder.path();
    std::fs::create_dir_all(here.join("fashion-mnist")).unwrap();
    let write = |name: &str, header: &[u8], megabytes: usize| {
        let mut out = GzEncoder::new(Vec::new(), Compression::best());
        out.write_all(header).unwrap();
        (0..megabytes).for_each(|_| out.write_all(&vec![0; 1 << 20]).unwrap());
        std::fs::write(here.join("fashion-mnist").join(name), out.finish().unwrap()).unwrap();
    };
    let images = |count: u32| {
        [&[0, 0, 8, 3][..], &count.to_be_bytes(), &28u32.to_be_bytes(), &28u32.to_be_bytes()].concat()
    };
    write("t10k-labels-idx1-ubyte.gz", &[&[0, 0, 8, 1][..], &10u32.to_be_bytes(), &[0; 10]].concat(), 0);
    for (count, says) in [(10, "too many bytes"), (u32::MAX, "more than 64 MiB"), (80_000, "too many bytes")]
    {
        write("t10k-images-idx3-ubyte.gz", &images(count), 100);
        let output = bounded(here, 293)
            .args(["eval", "--weights", "none.safetensors", "--data", "fashion-mnist"])
            .env("OCELLI_DATA", here)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(65), "{stderr}");
        assert!(stderr.contains(says) && stderr.contains("t10k-images-idx3-ubyte.gz"), "{stderr}");
    }
}
