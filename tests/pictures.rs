//! Pictures of every layout and format against what Pillow (libjpeg-turbo) reads from them; the corpus is made by
//! `tests/golden/pictures/make.py`. What cannot be read right is refused by its name.

use ocelli::Error;
use ocelli::data::{decode, read_picture};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

type Files = BTreeMap<String, Vec<u8>>;

/// The files of the corpus, and the name of the one with Pillow's pixels, or `-` where Pillow refuses, too.
fn corpus() -> (Files, Vec<(String, String)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures/corpus.zip");
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut files = BTreeMap::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        files.insert(file.name().unwrap().into_owned(), bytes);
    }
    let index = String::from_utf8(files.remove("index.txt").unwrap()).unwrap();
    let pairs = index.lines().map(|line| line.split_once(' ').unwrap());
    let pairs = pairs.map(|(name, key)| (name.to_owned(), key.to_owned())).collect();
    (files, pairs)
}

/// What is refused, by the beginning of the file's name, and the words that say why.
const REFUSED: &[(&str, &str)] = &[
    ("arithmetic-", "arithmetic coding"),
    ("grey-arithmetic", "arithmetic coding"),
    ("12-bits", "12 bits a sample"),
    ("lossless.jpg", "compressed without loss"),
    ("hierarchical", "hierarchical"),
    ("height-behind-the-scan", "its height stands behind its first scan"),
    ("not-whole", "whole fractions"),
    ("progressive-incomplete", "scans are missing"),
    ("jpeg.tif", "compressed as JPEG"),
    ("floating.tif", "does not support"),
    ("palette.tif", "RGBPalette"),
];

/// The largest difference of a sample, and the mean, that are right: decoders round the transforms in their own ways. Lossy
/// WebP has another filter for chroma in Pillow. A column of thinned chroma by itself is interpolated in another way.
fn bounds(name: &str) -> (u8, f64) {
    match name {
        _ if name.starts_with("size-1x17-420") => (6, 3.0),
        _ if name.starts_with("lossy") => (8, 1.0),
        _ if name.starts_with("cmyk.tif") => (2, 0.6),
        _ if name.ends_with(".jpg") => (3, 0.51),
        _ => (0, 0.0),
    }
}

#[test]
fn every_layout_has_the_pixels_of_pillow_or_is_refused_by_name() {
    let (files, pairs) = corpus();
    let (mut read, mut refused, mut largest, mut sum, mut samples) = (0, 0, 0, 0.0, 0.0);
    let mut faults = Vec::new();
    for (name, key) in &pairs {
        let why = REFUSED.iter().find(|(start, _)| name.starts_with(start));
        let got = match (decode(&files[name]), why) {
            (Ok(got), None) => got,
            (Err(error), Some((_, says))) => {
                refused += 1;
                let text = error.to_string();
                if !matches!(error, Error::Data(_)) || !text.contains(says) || text.contains("damaged") {
                    faults.push(format!("{name}: {text}"));
                }
                continue;
            }
            (Ok(_), Some(_)) => {
                faults.push(format!("{name} is not refused"));
                continue;
            }
            (Err(error), None) => {
                faults.push(format!("{name}: {error}"));
                continue;
            }
        };
        let Some(png) = files.get(&format!("{key}.png")) else {
            faults.push(format!("{name} is refused by Pillow"));
            continue;
        };
        let want = image::load_from_memory(png).unwrap().into_rgb8();
        if (got.width(), got.height()) != (want.width() as usize, want.height() as usize) {
            faults.push(format!("{name}: {}x{}", got.width(), got.height()));
            continue;
        }
        let got = got.rgba().chunks_exact(4).flat_map(|pixel| pixel[..3].to_vec());
        let off: Vec<u8> = got.zip(want.as_raw()).map(|(got, want)| got.abs_diff(*want)).collect();
        let (most, total) =
            (off.iter().max().copied().unwrap(), off.iter().map(|d| f64::from(*d)).sum::<f64>());
        let (bound, mean) = bounds(name);
        if most > bound || total / off.len() as f64 > mean {
            faults.push(format!("{name}: off by up to {most}, {:.3} on average", total / off.len() as f64));
        }
        read += 1;
        if name.ends_with(".jpg") {
            largest = largest.max(most);
            sum += total;
            samples += off.len() as f64;
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    println!(
        "{} files: {read} read, {refused} refused; JPEG off by up to {largest}, {:.3} on average",
        pairs.len(),
        sum / samples
    );
    assert_eq!((pairs.len(), refused), (read + refused, 19));
}

#[test]
fn damaged_files_of_every_format_are_errors_and_never_panics() {
    let (files, pairs) = corpus();
    let mut read = 0;
    for (name, _) in pairs.iter().filter(|(name, _)| !name.starts_with("size-")) {
        let whole = &files[name];
        for cut in (0..whole.len()).step_by(1 + whole.len() / 60) {
            let error = decode(&whole[..cut]);
            // What stands behind the end of a picture may be missing.
            let part = name.ends_with(".jpg") && name != "behind-the-end.jpg";
            assert!(!part || error.is_err(), "{cut} bytes of {name}");
        }
        for at in (0..whole.len()).step_by(1 + whole.len() / 60) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            match decode(&bytes) {
                Ok(_) => read += 1,
                Err(error) => assert!(matches!(error, Error::Data(_)), "{name}: {error:?}"),
            }
        }
    }
    assert!(read > 0);
}

/// Where a marker begins.
fn marker(bytes: &[u8], kind: u8) -> usize {
    bytes.windows(2).position(|pair| pair == [0xff, kind]).unwrap()
}

#[test]
fn headers_of_scans_say_nothing_of_sequential_pictures() {
    let mut whole = Vec::new();
    let picture = image::RgbImage::from_fn(24, 16, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, 77]));
    image::codecs::jpeg::JpegEncoder::new(&mut whole).encode_image(&picture).unwrap();
    let want = decode(&whole).unwrap();
    // No coefficient but the first, as some cameras write it.
    let scan = marker(&whole, 0xda);
    let end = scan + 2 + usize::from(whole[scan + 3]) - 3;
    assert_eq!(whole[end..end + 3], [0, 63, 0]);
    let mut bytes = whole.clone();
    bytes[end + 1] = 0;
    assert_eq!(decode(&bytes).unwrap(), want);
    // Two planes of one number.
    let frame = marker(&whole, 0xc0);
    bytes.clone_from(&whole);
    bytes[frame + 13] = bytes[frame + 10];
    let error = decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("two of its colour planes have one number"), "{error}");
}

#[test]
fn what_is_refused_says_what_to_do() {
    let (files, _) = corpus();
    let hint = |name: &str| decode(&files[name]).unwrap_err().report().hint.to_string();
    let arithmetic = files.keys().find(|name| name.starts_with("arithmetic-")).unwrap();
    assert!(hint(arithmetic).contains("jpegtran -copy all"), "{}", hint(arithmetic));
    // A program that decodes them as we would has no other way, and djpeg forgets how the picture is turned.
    for name in ["lossless.jpg", "height-behind-the-scan.jpg"] {
        assert!(hint(name).contains("a program for pictures") && !hint(name).contains("djpeg"), "{name}");
    }
    let huge =
        [&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], &[0, 1, 0, 0, 0, 1, 0, 0, 8, 2, 0, 0, 0], &[0; 4]].concat();
    let error = decode(&huge).unwrap_err();
    assert!(error.report().what.contains("more than 64 megapixels"), "{error}");
    assert!(error.report().hint.to_string().contains("fewer pixels"), "{error}");
}

#[test]
fn a_file_that_is_too_large_says_how_large_one_may_be() {
    let folder = crate::support::fixtures::folder();
    let path = folder.path().join("photo.tif");
    // A file with a hole takes no place on the disk.
    std::fs::File::create(&path).unwrap().set_len(600 << 20).unwrap();
    let error = read_picture(&path).unwrap_err().to_string();
    for says in ["photo.tif", "600 MiB", "at most 512", "fewer pixels"] {
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn formats_that_are_not_read_are_named() {
    for (bytes, says) in [
        (&b"\0\0\0\x1cftypavif\0\0\0\0"[..], "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"<html><body>404", "web page"),
        (b"GIF89a....", "damaged"),
        (b"BM", "neither"),
    ] {
        let error = decode(bytes).unwrap_err();
        assert!(matches!(error, Error::Data(_)) && error.to_string().contains(says), "{error}");
    }
}
