//! Pictures and data sets, good and bad.

use crate::oracle::Rng;
use crate::support::fixtures::{fashion_mnist, folder, skipped, write_pictures};
use image::codecs::jpeg::JpegEncoder;
use image::{ColorType, ExtendedColorType};
use ocelli::Error;
use ocelli::data::{
    Augment, Batch, Dataset, Folder, Idx, Last, Loader, LoaderOptions, Normalization, Picture, Preprocessing,
    Split, decode, fit, open, read_picture, relabel,
};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

fn jpeg(width: u32, height: u32) -> Vec<u8> {
    let mut rng = Rng(5);
    let pixels: Vec<u8> = (0..width * height * 3).map(|_| rng.int(0, 255) as u8).collect();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90)
        .encode(&pixels, width, height, ExtendedColorType::Rgb8)
        .unwrap();
    bytes
}

fn png(color: ColorType, width: u32, height: u32, bytes: &[u8]) -> Vec<u8> {
    let folder = folder();
    let path = folder.path().join("p.png");
    image::save_buffer(&path, bytes, width, height, color).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn every_kind_of_png_becomes_rgba() {
    let rgb = decode(&png(ColorType::Rgb8, 2, 1, &[1, 2, 3, 4, 5, 6])).unwrap();
    assert_eq!(rgb, Picture::from_rgba(1, 2, vec![1, 2, 3, 255, 4, 5, 6, 255]).unwrap());
    assert_eq!(decode(&png(ColorType::L8, 1, 2, &[7, 9])).unwrap().rgba(), [7, 7, 7, 255, 9, 9, 9, 255]);
    // Transparency is dropped, not blended.
    assert_eq!(decode(&png(ColorType::Rgba8, 1, 1, &[1, 2, 3, 0])).unwrap().rgba(), [1, 2, 3, 255]);
    assert_eq!(decode(&png(ColorType::La8, 1, 1, &[8, 0])).unwrap().rgba(), [8, 8, 8, 255]);
    // 16 bits are scaled to 8.
    let deep: Vec<u8> = [0xffffu16, 0x8080, 0].iter().flat_map(|v| v.to_ne_bytes()).collect();
    assert_eq!(decode(&png(ColorType::Rgb16, 1, 1, &deep)).unwrap().rgba(), [255, 128, 0, 255]);
}

#[test]
fn damaged_pictures_are_errors_and_never_panics() {
    let folder = folder();
    let rgb: Vec<u8> = (0..300).map(|i| (i % 251) as u8).collect();
    for whole in [jpeg(16, 12), png(ColorType::Rgb8, 10, 10, &rgb)] {
        assert!(decode(&whole).is_ok());
        for length in 0..whole.len() - 16 {
            let error = decode(&whole[..length]).expect_err("a part of a picture");
            assert!(matches!(error, Error::Data(_)), "{length}: {error:?}");
        }
        for i in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[i] ^= 0x55;
            let _ = decode(&bytes);
        }
    }
    // A thumbnail inside does not make a part of a picture whole.
    let (inner, outer) = (jpeg(8, 8), jpeg(16, 12));
    let length = (inner.len() as u16 + 8).to_be_bytes();
    let camera = [&outer[..2], &[0xff, 0xe1][..], &length, b"Exif\0\0", &inner, &outer[2..]].concat();
    assert_eq!(decode(&camera).unwrap(), decode(&outer).unwrap());
    for length in 0..camera.len() - 16 {
        assert!(decode(&camera[..length]).is_err(), "{length} of {} bytes", camera.len());
    }
    // A JPEG that says it has 65,535 x 65,535 pixels is refused before memory is taken.
    let mut bytes = jpeg(16, 12);
    let frame = bytes.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 9].fill(0xff);
    assert!(decode(&bytes).unwrap_err().to_string().contains("64 megapixels"));
    for (bytes, says) in [
        (&b""[..], "empty"),
        (b"not a picture", "neither JPEG, PNG, WebP"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ] {
        let path = folder.path().join("p.jpg");
        fs::write(&path, bytes).unwrap();
        let text = read_picture(&path).unwrap_err().to_string();
        assert!(text.contains(says) && text.contains("p.jpg"), "{text}");
    }
    assert!(matches!(read_picture(folder.path().join("none.jpg")), Err(Error::NotFound(_))));
    assert!(matches!(read_picture(folder.path()), Err(Error::Data(_))));
}

#[test]
fn the_format_is_told_by_the_content() {
    let folder = folder();
    let path = folder.path().join("really_a_png.JPEG");
    fs::write(&path, png(ColorType::Rgb8, 1, 1, &[1, 2, 3])).unwrap();
    assert_eq!(read_picture(&path).unwrap().rgba(), [1, 2, 3, 255]);
}

#[test]
fn fitting_keeps_the_middle() {
    let how = Preprocessing::covering(Normalization::IMAGENET);
    // 4 columns of 2: the outer two are cut away.
    let row = [10, 20, 30, 40].iter().flat_map(|g| [*g, *g, *g, 255]);
    let rgba: Vec<u8> = row.clone().chain(row).collect();
    let wide = Picture::from_rgba(2, 4, rgba).unwrap();
    let fitted = fit(wide.clone(), &how, 2, 2).unwrap();
    assert_eq!((fitted.height(), fitted.width()), (2, 2));
    let grey: Vec<u8> = fitted.rgba().chunks(4).map(|p| p[0]).collect();
    assert_eq!(grey, [20, 30, 20, 30]);
    assert_eq!(fit(wide.clone(), &how, 2, 4).unwrap(), wide, "a picture of the right size is left as it is");
    let even = Picture::from_rgba(30, 50, vec![77; 30 * 50 * 4]).unwrap();
    assert!(fit(even, &how, 7, 13).unwrap().rgba().iter().all(|v| *v == 77));
    assert!(matches!(Picture::from_rgba(1, 1, vec![]), Err(Error::Data(_))));
}

#[test]
fn a_folder_tree_is_read_in_byte_order() {
    let folder = folder();
    let picture = png(ColorType::Rgb8, 1, 1, &[1, 2, 3]);
    for split in ["train", "val"] {
        for (class, names) in
            [("a", ["2.png", "10.PNG"]), ("B", ["x.jpeg", "a.jpg"]), ("\u{e4}", ["1.png", "2.png"])]
        {
            let here = folder.path().join(split).join(class);
            fs::create_dir_all(&here).unwrap();
            names.iter().for_each(|name| fs::write(here.join(name), &picture).unwrap());
            fs::write(here.join("notes.txt"), "not a picture").unwrap();
            fs::write(here.join(".hidden.png"), "not seen").unwrap();
        }
        fs::create_dir_all(folder.path().join(split).join(".cache")).unwrap();
        fs::write(folder.path().join(split).join("README"), "not a class").unwrap();
    }
    let set = Folder::open(folder.path(), Split::Train).unwrap();
    // By bytes, not by the alphabet.
    assert_eq!(set.classes(), ["B", "a", "\u{e4}"]);
    let names: Vec<String> = (0..set.len()).map(|i| set.name(i)).collect();
    let ends = ["B/a.jpg", "B/x.jpeg", "a/10.PNG", "a/2.png", "\u{e4}/1.png", "\u{e4}/2.png"];
    assert!(names.len() == 6 && names.iter().zip(ends).all(|(n, e)| Path::new(n).ends_with(e)), "{names:?}");
    assert_eq!((0..6).map(|i| set.label(i)).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2]);
    assert!(matches!(set.load(6), Err(Error::Internal(_))));
    let left_out: Vec<_> = set.left_out().iter().map(|left| (left.reason, left.count)).collect();
    let other = "no picture (JPEG, PNG, WebP, BMP, GIF, TIFF)";
    let want = [("its name begins with a dot", 4), (other, 3), ("outside of the folders of classes", 1)];
    assert_eq!(left_out, want);
}

#[test]
fn a_folder_that_is_laid_out_in_another_way_says_what_is_wrong() {
    let folder = folder();
    let root = folder.path().join("set");
    let fault = |split: Split| {
        let error = open(&root.display().to_string(), split).err().expect("this should not open");
        assert!(error.to_string().contains("set"), "{error}");
        error
    };
    assert!(matches!(fault(Split::Train), Error::NotFound(_)));
    fs::create_dir_all(&root).unwrap();
    assert!(fault(Split::Train).to_string().contains("has no folder train/"));
    write_pictures(&root, 1, 2, 2, 4);
    assert!(fault(Split::Train).to_string().contains("at least two"));
    write_pictures(&root, 3, 2, 2, 4);
    assert!(open(&root.display().to_string(), Split::Val).is_ok());
    fs::remove_file(root.join("val/class1/000.png")).unwrap();
    fs::remove_file(root.join("val/class1/001.png")).unwrap();
    let text = fault(Split::Val).to_string();
    assert!(text.contains("class1") && text.contains("no pictures"), "{text}");
    fs::rename(root.join("val/class1"), root.join("val/other")).unwrap();
    let text = fault(Split::Train).to_string();
    assert!(text.contains("only train/ has class1") && text.contains("only val/ has other"), "{text}");
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(open(&file.display().to_string(), Split::Val).err(), Some(Error::Data(_))));
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn write_idx(folder: &Path, images: &[u8], labels: &[u8]) {
    fs::write(folder.join("t10k-images-idx3-ubyte.gz"), gz(images)).unwrap();
    fs::write(folder.join("t10k-labels-idx1-ubyte.gz"), gz(labels)).unwrap();
}

#[test]
fn idx_files_are_read_and_checked() {
    let folder = folder();
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3][..], &[1, 2, 3, 4, 5, 6]].concat();
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 2][..], &[9, 0]].concat();
    write_idx(folder.path(), &images, &labels);
    let set = Idx::open(folder.path(), Split::Val).unwrap();
    assert_eq!((set.len(), set.native_size(), set.label(0), set.label(1)), (2, Some([1, 3]), 9, 0));
    assert_eq!(set.load(1).unwrap().rgba(), [4, 4, 4, 255, 5, 5, 5, 255, 6, 6, 6, 255]);
    assert!(matches!(Idx::open(folder.path(), Split::Train), Err(Error::NotFound(_))));

    let fault = |images: &[u8], labels: &[u8]| {
        write_idx(folder.path(), images, labels);
        let error = Idx::open(folder.path(), Split::Val).unwrap_err();
        assert!(matches!(error, Error::Data(_)), "{error:?}");
    };
    fault(&images[..images.len() - 1], &labels);
    fault(&[&images[..], &[0]].concat(), &labels);
    fault(&images, &labels[..9]);
    fault(&images, &[&[0, 0, 8, 1, 0, 0, 0, 2][..], &[10, 0]].concat());
    fault(b"", &labels);
    fault(&labels, &images);
    let huge = [&[0, 0, 8, 3][..], &[0xff; 12]].concat();
    fault(&huge, &labels);
    fs::write(folder.path().join("t10k-images-idx3-ubyte.gz"), "not gzip").unwrap();
    assert!(matches!(Idx::open(folder.path(), Split::Val), Err(Error::Data(_))));
}

#[test]
fn fashion_mnist_is_what_it_is_known_to_be() {
    let set = match fashion_mnist(Split::Val) {
        Ok(set) => set,
        Err(reason) => return skipped("fashion_mnist_is_what_it_is_known_to_be", &reason),
    };
    assert_eq!((set.len(), set.native_size()), (10_000, Some([28, 28])));
    let mut counts = [0; 10];
    (0..set.len()).for_each(|i| counts[set.label(i) as usize] += 1);
    assert_eq!(counts, [1000; 10]);
    assert_eq!(set.classes()[set.label(0) as usize], "Ankle boot");
    // The normalisation is that of the training pictures; these come close.
    let mut sums = [0.0f64; 2];
    for i in 0..set.len() {
        for pixel in set.load(i).unwrap().rgba().chunks(4) {
            let value = f64::from(pixel[0]) / 255.0;
            sums[0] += value;
            sums[1] += value * value;
        }
    }
    let n = 10_000.0 * 784.0;
    let (mean, square) = (sums[0] / n, sums[1] / n);
    let Normalization { mean: [m, ..], std: [s, ..] } = set.normalization();
    assert!(
        (mean - f64::from(m)).abs() < 2e-3 && ((square - mean * mean).sqrt() - f64::from(s)).abs() < 2e-3
    );
}

fn loader(root: &Path, change: impl FnOnce(&mut LoaderOptions)) -> Result<Loader, Error> {
    let mut options = LoaderOptions {
        batch_size: 4,
        size: [8, 8],
        preprocessing: Preprocessing::covering(Normalization::IMAGENET),
        augment: Augment::CIFAR,
        shuffle: true,
        balance: false,
        seed: 3,
        limit: None,
        last: Last::Drop,
    };
    change(&mut options);
    Ok(Loader::new(open(&root.display().to_string(), Split::Train)?, options)?.allow_unreadable(true))
}

fn batches(loader: &Loader, epoch: u32, first: usize) -> Vec<Batch> {
    loader.epoch(epoch, first).map(|batch| batch.unwrap()).collect()
}

#[test]
fn the_order_depends_on_seed_and_epoch_alone() {
    let folder = folder();
    write_pictures(folder.path(), 3, 6, 1, 8);
    let one = loader(folder.path(), |_| {}).unwrap();
    assert_eq!((one.pictures(), one.steps()), (18, 4));
    let first = batches(&one, 0, 0);
    assert_eq!(first.len(), 4);
    assert_eq!(first, batches(&loader(folder.path(), |_| {}).unwrap(), 0, 0));
    assert_eq!(first[2..], batches(&one, 0, 2), "from the middle of an epoch on");
    assert_ne!(first, batches(&one, 1, 0));
    assert_ne!(first, batches(&loader(folder.path(), |o| o.seed = 4).unwrap(), 0, 0));
    // Dropping an epoch in its middle ends the threads behind it; the next one starts from the front.
    drop(one.epoch(0, 0).next());
    assert_eq!(first, batches(&one, 0, 0));
}

#[test]
fn an_epoch_shows_every_picture_once() {
    let folder = folder();
    write_pictures(folder.path(), 3, 6, 1, 8);
    let plain = |o: &mut LoaderOptions| {
        o.augment = Augment::NONE;
        o.last = Last::Keep;
    };
    let shuffled = batches(&loader(folder.path(), plain).unwrap(), 5, 0);
    let in_order = batches(
        &loader(folder.path(), |o| {
            plain(o);
            o.shuffle = false;
        })
        .unwrap(),
        5,
        0,
    );
    assert_eq!(shuffled.len(), 5);
    let pictures = |batches: &[Batch]| -> Vec<(Vec<u8>, u32)> {
        let each = batches.iter().flat_map(|b| b.pixels.chunks(8 * 8 * 4).zip(&b.labels).zip(&b.valid));
        each.filter(|(_, valid)| **valid).map(|((p, l), _)| (p.to_vec(), *l)).collect()
    };
    let (mut a, mut b) = (pictures(&shuffled), pictures(&in_order));
    assert_eq!(b.iter().map(|(_, l)| *l).collect::<Vec<_>>(), [[0; 6], [1; 6], [2; 6]].concat());
    assert_ne!(a, b);
    a.sort();
    b.sort();
    assert_eq!(a, b);
    assert_eq!(shuffled[4].valid, [true, true, false, false]);
    // A limit is spread over the classes.
    let few = batches(
        &loader(folder.path(), |o| {
            plain(o);
            o.limit = Some(6);
        })
        .unwrap(),
        0,
        0,
    );
    let mut labels: Vec<u32> = pictures(&few).into_iter().map(|(_, l)| l).collect();
    labels.sort_unstable();
    assert_eq!(labels, [0, 0, 1, 1, 2, 2]);
}

#[test]
fn a_picture_that_cannot_be_read_is_named_and_replaced() {
    let folder = folder();
    write_pictures(folder.path(), 2, 4, 1, 8);
    fs::write(folder.path().join("train/class1/002.png"), "not a picture").unwrap();
    let training = loader(folder.path(), |o| o.shuffle = false).unwrap();
    let got = batches(&training, 0, 0);
    let skipped: Vec<_> = got.iter().flat_map(|b| &b.skipped).collect();
    assert_eq!(skipped.len(), 1);
    assert!(
        Path::new(&skipped[0].name).ends_with("class1/002.png") && skipped[0].reason.contains("neither"),
        "{skipped:?}"
    );
    assert!(got.iter().all(|b| b.valid.iter().all(|v| *v)), "the next picture takes the place");
    assert_eq!(got, batches(&training, 0, 0), "and always the same one");
    // In an evaluation nothing is counted twice.
    let evaluation = loader(folder.path(), |o| {
        o.shuffle = false;
        o.last = Last::Keep;
    });
    let evaluation = evaluation.unwrap();
    assert_eq!(batches(&evaluation, 0, 0)[1].valid, [true, true, false, true]);
    // Two in a row: the first stands in for nobody, and each is named once.
    fs::write(folder.path().join("train/class1/001.png"), "not a picture").unwrap();
    let names: Vec<_> =
        batches(&training, 0, 0).into_iter().flat_map(|b| b.skipped).map(|s| s.name).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    // When nothing can be read that is an error, not an endless search.
    for class in 0..2 {
        for i in 0..4 {
            fs::write(folder.path().join(format!("train/class{class}/00{i}.png")), "x").unwrap();
        }
    }
    let error = training.epoch(0, 0).next().unwrap().unwrap_err();
    assert!(matches!(error, Error::Data(_)) && error.to_string().contains("png"), "{error}");
    // An evaluation counts what can be read, be it nothing of a whole batch.
    for batch in batches(&evaluation, 0, 0) {
        assert_eq!((batch.valid, batch.skipped.len()), (vec![false; 4], 4));
    }
}

#[test]
fn labels_follow_the_names_of_the_classes() {
    let folder = folder();
    write_pictures(folder.path(), 3, 1, 1, 8);
    let set = open(&folder.path().display().to_string(), Split::Val).unwrap();
    let names = ["class2", "other", "class0", "class1"].map(str::to_owned);
    let again = relabel(set.clone(), &names).unwrap();
    assert_eq!((0..3).map(|i| again.label(i)).collect::<Vec<_>>(), [2, 3, 0]);
    assert_eq!((again.len(), again.classes(), again.name(1)), (3, &names[..], set.name(1)));
    assert_eq!(again.load(2).unwrap(), set.load(2).unwrap());
    let error = relabel(set, &names[..3]).err().unwrap();
    assert!(matches!(error, Error::Data(_)) && error.to_string().contains("class1"), "{error}");
}

#[test]
fn batches_that_cannot_be_filled_are_refused() {
    let folder = folder();
    write_pictures(folder.path(), 2, 3, 1, 8);
    let error = loader(folder.path(), |o| o.batch_size = 7).err().unwrap();
    assert!(matches!(error, Error::Data(_)) && error.to_string().contains("at most 6"), "{error}");
    assert!(loader(folder.path(), |o| o.batch_size = 6).is_ok());
    assert!(matches!(loader(folder.path(), |o| o.batch_size = 0), Err(Error::Usage(_))));
    assert!(matches!(loader(folder.path(), |o| o.limit = Some(0)), Err(Error::Data(_))));
    let set: Arc<dyn Dataset> = Arc::new(Folder::open(folder.path(), Split::Train).unwrap());
    assert!(!set.is_empty());
}
