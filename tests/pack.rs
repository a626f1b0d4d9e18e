//! A data set in one file: the same pictures, labels and bits as from the folder, and nothing worse than an error from a damaged file.

use crate::support::fixtures::{folder, run as program, write_pictures};
use crate::training::{bits, config, run};
use ocelli::Error;
use ocelli::data::{
    Augment, Dataset, Last, Loader, LoaderOptions, Pack, PackFormat, PackOptions, Picture, Preprocessing,
    Split, open, open_both, pack,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn packed(data: &Path, options: PackOptions) -> PathBuf {
    let path = data.with_extension("ocelli-pack");
    pack(&data.display().to_string(), &path, &options, &mut |_, _, _| true).unwrap();
    path
}

fn opened(path: &Path, split: Split) -> Arc<dyn Dataset> {
    open(&path.display().to_string(), split).unwrap()
}

fn jpeg(height: u32, width: u32) -> Vec<u8> {
    let pixel = |x, y| image::Rgb([(x * 5) as u8, (y * 3) as u8, (x + y) as u8]);
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(width, height, pixel).write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

#[test]
fn a_packed_data_set_is_that_of_the_folder() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 3, 4, 2, 9);
    fs::rename(data.join("train/class1"), data.join("train/\u{e4} b")).unwrap();
    fs::rename(data.join("val/class1"), data.join("val/\u{e4} b")).unwrap();
    fs::write(data.join("train/class0/z.jpg"), jpeg(40, 30)).unwrap();
    for options in
        [PackOptions::default(), PackOptions { format: Some(PackFormat::Raw), ..PackOptions::default() }]
    {
        let path = packed(&data, options);
        for split in [Split::Train, Split::Val] {
            let (a, b) = (opened(&data, split), opened(&path, split));
            assert_eq!((a.classes(), a.len(), a.normalization()), (b.classes(), b.len(), b.normalization()));
            for i in 0..a.len() {
                assert_eq!((a.label(i), a.load(i).unwrap()), (b.label(i), b.load(i).unwrap()));
                let (file, name) = (PathBuf::from(a.name(i)), b.name(i));
                let below = file.strip_prefix(&data).unwrap().display().to_string().replace('\\', "/");
                assert!(name.ends_with(&format!("data.ocelli-pack: {below}")), "{name}");
                let raw = options.format == Some(PackFormat::Raw);
                assert_eq!(b.encoded(i).unwrap(), (!raw).then(|| fs::read(&file).unwrap()), "byte for byte");
            }
        }
        let error = open(&path.display().to_string(), Split::Test).err().unwrap().to_string();
        assert!(error.contains("no part test, only train, val"), "{error}");
        assert_eq!(Pack::splits(&path).unwrap(), [Split::Train, Split::Val]);
    }
    // It is recognised by its first bytes, too.
    let other = folder.path().join("renamed");
    fs::rename(data.with_extension("ocelli-pack"), &other).unwrap();
    assert_eq!(opened(&other, Split::Val).len(), 6);
}

#[test]
fn training_from_it_has_the_bits_of_training_from_the_folder() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 2, 12, 1, 9);
    for class in ["class0", "class1"] {
        fs::write(data.join("train").join(class).join("photo.jpg"), jpeg(50, 70)).unwrap();
    }
    // Without a validation part, the same pictures are held out.
    fs::rename(data.join("val"), data.join("test")).unwrap();
    let path = packed(&data, PackOptions::default());
    let seen = |spec: &Path| open_both(&spec.display().to_string(), None, 5).unwrap();
    let (a, b) = (seen(&data), seen(&path));
    assert_eq!((a.held_out, b.held_out, a.val.len()), (Some(0.2), Some(0.2), 6));
    assert!((0..6).all(|i| a.val.load(i).unwrap() == b.val.load(i).unwrap()));
    assert_eq!(opened(&path, Split::Test).len(), 2);
    let runs = [("of-folder", &data), ("of-pack", &path)].map(|(name, data)| {
        let out = folder.path().join(name);
        run(&ocelli::train::Config { augment: Augment::MODERN, ..config(data) }, &out, false).unwrap();
        bits(&out)
    });
    // All but config.json, which has the name of the data.
    let files = ["best.safetensors", "last.safetensors", "metrics.csv"];
    assert!(files.iter().all(|file| runs[0][*file] == runs[1][*file]));
}

#[test]
fn pictures_are_shrunk_and_never_enlarged() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 2, 1, 1, 20);
    let class = data.join("train/class0");
    fs::write(class.join("tall.jpg"), jpeg(101, 40)).unwrap();
    fs::write(class.join("wide.jpg"), jpeg(30, 90)).unwrap();
    fs::write(class.join("small.jpg"), jpeg(8, 10)).unwrap();
    let sizes = |format| {
        let set = opened(
            &packed(&data, PackOptions { size: Some(16), format, ..PackOptions::default() }),
            Split::Train,
        );
        let size = |i| set.load(i).map(|p: Picture| [p.height(), p.width()]).unwrap();
        ((0..4).map(size).collect::<Vec<_>>(), set)
    };
    let (found, jpegs) = sizes(None);
    assert_eq!(found, [[16, 16], [8, 10], [40, 16], [16, 48]]);
    assert_eq!(
        jpegs.encoded(1).unwrap().unwrap(),
        fs::read(class.join("small.jpg")).unwrap(),
        "not compressed twice"
    );
    let (found, raw) = sizes(Some(PackFormat::Raw));
    assert_eq!(found, [[16, 16], [8, 10], [40, 16], [16, 48]]);
    for i in 0..4 {
        let (a, b) = (jpegs.load(i).unwrap(), raw.load(i).unwrap());
        let far = a.rgba().iter().zip(b.rgba()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(far <= if i == 0 { 60 } else { 25 }, "picture {i}: {far}");
    }
    let zero = PackOptions { size: Some(0), ..PackOptions::default() };
    let refused = pack(&data.display().to_string(), &folder.path().join("x"), &zero, &mut |_, _, _| true);
    assert!(matches!(refused, Err(Error::Usage(_))));
}

/// A small pack, and the pictures of its training part.
fn small(folder: &Path) -> (PathBuf, Vec<u8>, Vec<Picture>) {
    let data = folder.join("data");
    write_pictures(&data, 2, 2, 1, 3);
    let path = packed(&data, PackOptions::default());
    let set = opened(&path, Split::Train);
    let pictures = (0..set.len()).map(|i| set.load(i).unwrap()).collect();
    let bytes = fs::read(&path).unwrap();
    (path, bytes, pictures)
}

#[test]
fn a_byte_that_is_wrong_is_found_wherever_it_is() {
    let folder = folder();
    let (path, bytes, pictures) = small(folder.path());
    let spec = path.display().to_string();
    let (mut refused, mut unread) = (0, 0);
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut wrong = bytes.clone();
            wrong[at] ^= flip;
            fs::write(&path, wrong).unwrap();
            match open(&spec, Split::Train) {
                Err(Error::Data(report)) => {
                    refused += 1;
                    assert!(report.place.contains("data.ocelli-pack") && !report.hint.to_string().is_empty());
                }
                Err(error) => panic!("byte {at}: {error:?}"),
                Ok(set) => {
                    let faults: Vec<usize> = (0..set.len()).filter(|i| set.load(*i).is_err()).collect();
                    assert!(faults.len() <= 1, "byte {at}: {faults:?}");
                    unread += faults.len();
                    for i in (0..set.len()).filter(|i| !faults.contains(i)) {
                        assert_eq!(set.load(i).unwrap(), pictures[i], "byte {at}");
                    }
                }
            }
        }
    }
    // Every byte of the header and of the index is checked at opening, every byte of a picture when it is loaded.
    let train: usize = {
        fs::write(&path, &bytes).unwrap();
        let set = opened(&path, Split::Train);
        (0..set.len()).map(|i| set.encoded(i).unwrap().unwrap().len()).sum()
    };
    let val: usize = {
        let set = opened(&path, Split::Val);
        (0..set.len()).map(|i| set.encoded(i).unwrap().unwrap().len()).sum()
    };
    assert_eq!((unread, refused), (3 * train, 3 * (bytes.len() - train - val)));
    // A file that is cut short or has something behind its end.
    for length in (0..bytes.len()).chain([bytes.len() + 1]) {
        let mut cut = bytes.clone();
        cut.resize(length, 0);
        fs::write(&path, cut).unwrap();
        assert!(matches!(open(&spec, Split::Train), Err(Error::Data(_))), "{length} bytes");
    }
}

#[test]
fn a_damaged_picture_is_skipped_by_its_name() {
    let folder = folder();
    let (path, mut bytes, _) = small(folder.path());
    bytes[64 + 10] ^= 4;
    fs::write(&path, bytes).unwrap();
    let options = LoaderOptions {
        batch_size: 4,
        size: [3, 3],
        preprocessing: Preprocessing::covering(ocelli::data::Normalization::IMAGENET),
        augment: Augment::NONE,
        shuffle: false,
        balance: false,
        seed: 0,
        limit: None,
        last: Last::Keep,
    };
    let loader = Loader::new(opened(&path, Split::Train), options).unwrap();
    let batch = loader.clone().allow_unreadable(true).epoch(0, 0).next().unwrap().unwrap();
    assert_eq!(batch.valid, [false, true, true, true]);
    let skipped = &batch.skipped[0];
    assert!(skipped.name.ends_with("data.ocelli-pack: train/class0/000.png"), "{skipped:?}");
    assert!(skipped.reason.contains("checksum of this picture is wrong"), "{skipped:?}");
    let error = loader.epoch(0, 0).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("train/class0/000.png") && error.contains("1 of 4 pictures"), "{error}");
}

/// The file with another index, whose checksums are right.
fn with_index(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let start = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) as usize;
    let mut index = bytes[start..].to_vec();
    change(&mut index);
    let mut made = [&bytes[..start], &index].concat();
    made[24..32].copy_from_slice(&(index.len() as u64).to_le_bytes());
    made[12..16].copy_from_slice(&crc32fast::hash(&index).to_le_bytes());
    let sum = crc32fast::hash(&made[..60]).to_le_bytes();
    made[60..64].copy_from_slice(&sum);
    made
}

#[test]
fn lies_with_right_checksums_are_refused_before_memory_is_taken() {
    let folder = folder();
    let (path, bytes, _) = small(folder.path());
    let says = |made: Vec<u8>| {
        fs::write(&path, made).unwrap();
        let error = open(&path.display().to_string(), Split::Train).err().expect("this should not open");
        assert!(matches!(error, Error::Data(_)), "{error:?}");
        error.to_string()
    };
    let json = |index: &[u8]| u32::from_le_bytes(index[..4].try_into().unwrap()) as usize;
    // The fields of the second entry, behind the name of the first.
    let field = |at: usize, value: &[u8]| {
        with_index(&bytes, |index| {
            let first = 4 + json(index);
            let name = u32::from_le_bytes(index[first + 28..first + 32].try_into().unwrap()) as usize;
            let at = first + 32 + name + at;
            index[at..at + value.len()].copy_from_slice(value);
        })
    };
    assert!(
        says(field(0, &64u64.to_le_bytes()))
            .contains("train picture 1 begins at byte 64, and the one before")
    );
    assert!(says(field(0, &u64::MAX.to_le_bytes())).contains("begins at byte"));
    assert!(says(field(8, &u32::MAX.to_le_bytes())).contains("more than"));
    assert!(says(field(8, &1u32.to_le_bytes())).contains("begins at byte"));
    assert!(says(field(16, &2u32.to_le_bytes())).contains("has the label 2, and there are 2 classes"));
    assert!(says(field(20, &[0xff; 8])).contains("pixels"));
    assert!(says(field(20, &3u32.to_le_bytes())).contains("pixels"));
    assert!(says(field(28, &u32::MAX.to_le_bytes())).contains("a name of"));
    assert!(says(field(28, &9000u32.to_le_bytes())).contains("no name in UTF-8"));
    assert!(says(field(32, &[0xff; 3])).contains("no name in UTF-8"));
    let text = |from: &str, to: &str| {
        with_index(&bytes, |index| {
            let end = 4 + json(index);
            let text = String::from_utf8(index[4..end].to_vec()).unwrap();
            assert!(text.contains(from), "{text}");
            let text = text.replace(from, to);
            let entries = index.split_off(end);
            *index = [&(text.len() as u32).to_le_bytes()[..], text.as_bytes(), &entries].concat();
        })
    };
    assert!(says(text("[\"train\",4]", "[\"train\",18446744073709551615]")).contains("entry of"));
    assert!(says(text("[\"train\",4]", "[\"train\",3]")).contains("picture"));
    assert!(says(text("[\"val\",2]", "[\"train\",2]")).contains("parts are not train, val and test"));
    assert!(says(text("[\"val\",2]", "[\"dev\",2]")).contains("parts are not train, val and test"));
    assert!(says(text("class1", "class0")).contains("one name"));
    assert!(says(text("0.229", "0.0")).contains("normalisation"));
    assert!(says(text("null", "[0,3]")).contains("impossible size"));
    assert!(says(text("\"classes\"", "\"clashes\"")).contains("index cannot be read"));
    assert!(says(with_index(&bytes, |index| index[..4].copy_from_slice(&[0xff; 4]))).contains("too short"));
    assert!(says(with_index(&bytes, |index| index.push(0))).contains("behind its entries"));
    assert!(says(with_index(&bytes, Vec::clear)).contains("too short"));
    let mut version = bytes.clone();
    version[8] = 2;
    let sum = crc32fast::hash(&version[..60]).to_le_bytes();
    version[60..64].copy_from_slice(&sum);
    assert!(says(version).contains("version 2, and 1 can be read"));
    assert!(
        says(b"nothing of the kind, but long enough to have a header of sixty-four bytes".to_vec())
            .contains("no packed")
    );
}

#[test]
fn a_file_that_is_cut_or_overwritten_while_it_is_open_is_an_error() {
    let folder = folder();
    let (path, bytes, pictures) = small(folder.path());
    let set = opened(&path, Split::Train);
    assert_eq!(set.load(3).unwrap(), pictures[3]);
    // In place, so that the open file sees it.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(100).unwrap();
    let error = set.load(3).unwrap_err().to_string();
    assert!(error.contains("cut short after it had been opened"), "{error}");
    drop(file);
    fs::write(&path, vec![7; bytes.len()]).unwrap();
    assert!(set.load(3).unwrap_err().to_string().contains("checksum"));
}

#[test]
fn packing_stops_on_request_and_leaves_nothing_behind() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 2, 40, 1, 3);
    let path = folder.path().join("d.ocelli-pack");
    let mut calls = 0;
    let stopped = pack(&data.display().to_string(), &path, &PackOptions::default(), &mut |done, total, _| {
        calls += 1;
        assert!(done < total && total == 82);
        calls < 2
    });
    assert!(matches!(stopped, Err(Error::Stopped(_))) && calls == 2);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no file, and no temporary file");
}

#[test]
fn the_program_packs_and_trains_from_the_file() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 2, 4, 2, 8);
    let here = |arguments: &[&str]| program(folder.path(), arguments);
    let (code, out, says) = here(&["pack", "data", "d.ocelli-pack", "--json"]);
    assert_eq!(code, 0, "{says}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["pictures"], serde_json::json!({ "train": 8, "val": 4 }));
    assert_eq!(json["bytes"], fs::metadata(folder.path().join("d.ocelli-pack")).unwrap().len());
    let (code, _, says) = here(&["pack", "data", "d.ocelli-pack"]);
    assert!(code == 2 && says.contains("--force"), "{code} {says}");
    // A picture that cannot be read has to be left out on purpose where it is decoded.
    fs::write(data.join("train/class1/000.png"), "x").unwrap();
    let (code, _, says) = here(&["pack", "data", "d.ocelli-pack", "--force", "--size", "4"]);
    assert!(code == 65 && says.contains("000.png") && says.contains("--allow-unreadable"), "{code} {says}");
    let (code, _, says) =
        here(&["pack", "data", "d.ocelli-pack", "--force", "--size", "4", "--allow-unreadable"]);
    assert!(
        code == 0 && says.contains("train 7, val 4 pictures") && says.contains("left out"),
        "{code} {says}"
    );
    let arguments = ["--arch", "resnet20", "--steps", "1", "--batch-size", "4", "--out", "run"];
    let (code, _, says) = here(&[&["train", "--data", "d.ocelli-pack"], &arguments[..]].concat());
    assert!(code == 0 && says.contains("train: 7 pictures"), "{code} {says}");
    let (code, _, says) = here(&["pack", "nowhere", "e.ocelli-pack"]);
    assert!(code == 66 && says.contains("nowhere"), "{code} {says}");
}
