//! JPEGs at a reduced scale, threads, and the measurement of the loader.

use crate::support::fixtures::{folder, run as program, write_pictures};
use ocelli::Error;
use ocelli::data::{
    Augment, Batch, Crop, Dataset, Epoch, Folder, Last, Loader, LoaderOptions, Normalization, Picture,
    Preprocessing, Split,
};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn options(size: usize, crop: Crop) -> LoaderOptions {
    let mut augment = Augment::NONE;
    (augment.crop, augment.mirror) = (crop, true);
    LoaderOptions {
        batch_size: 1,
        size: [size; 2],
        preprocessing: Preprocessing::covering(Normalization::IMAGENET),
        augment,
        shuffle: false,
        balance: false,
        seed: 3,
        limit: None,
        last: Last::Keep,
    }
}

fn batches(root: &Path, options: LoaderOptions, fast: bool) -> Vec<Batch> {
    let set = Arc::new(Folder::open(root, Split::Train).unwrap());
    let loader = Loader::new(set, options).unwrap().fast_jpeg(fast).allow_unreadable(true);
    loader.epoch(1, 0).map(Result::unwrap).collect()
}

/// The mean difference of all samples, in levels.
fn apart(a: &Batch, b: &Batch) -> f64 {
    let sum: u64 = a.pixels.iter().zip(&b.pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.pixels.len() as f64
}

/// A picture of waves, as JPEG.
fn waves(height: u32, width: u32) -> Vec<u8> {
    let wave = |a: u32, b: u32| (127.5 + 120.0 * (f64::from(a) / 37.0 + f64::from(b) / 91.0).sin()) as u8;
    let mut bytes = std::io::Cursor::new(Vec::new());
    let pixel = |x, y| image::Rgb([wave(x, y), wave(y, x), wave(x + y, 0)]);
    image::RgbImage::from_fn(width, height, pixel).write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

#[test]
fn large_jpegs_are_reduced_for_random_crops_alone() {
    let folder = folder();
    for class in ["a", "b"] {
        fs::create_dir_all(folder.path().join("train").join(class)).unwrap();
        fs::write(folder.path().join("train").join(class).join("1.jpg"), waves(601, 803)).unwrap();
    }
    let both = |size, crop| [false, true].map(|fast| batches(folder.path(), options(size, crop), fast));
    for (size, crop) in
        [(32, Crop::Shorter(1.1, 1.5)), (24, Crop::Resized(0.5, 1.0)), (100, Crop::Shorter(1.0, 1.0))]
    {
        let [exact, fast] = both(size, crop);
        for (exact, fast) in exact.iter().zip(&fast) {
            let mean = apart(exact, fast);
            assert!(mean > 0.0 && mean < 1.5, "{crop:?} at {size}: {mean}");
        }
    }
    // The part is no more than twice the input, or the whole picture is needed: the same bits.
    for (size, crop) in [(301, Crop::Shorter(1.0, 1.0)), (32, Crop::Centre), (32, Crop::Padded(4))] {
        let [exact, fast] = both(size, crop);
        assert_eq!(exact, fast, "{crop:?} at {size}");
    }
}

#[test]
fn every_layout_of_jpeg_can_be_reduced() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures/corpus.zip");
    let mut archive = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    let folder = folder();
    let class = |name: &str| folder.path().join("train").join(name);
    fs::create_dir_all(class("b")).unwrap();
    fs::create_dir_all(class("a")).unwrap();
    fs::write(class("b").join("x.jpg"), waves(60, 60)).unwrap();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let name = file.name().unwrap().into_owned();
        if name.ends_with(".jpg") {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            fs::write(class("a").join(name), bytes).unwrap();
        }
    }
    let [exact, fast] =
        [false, true].map(|fast| batches(folder.path(), options(4, Crop::Shorter(1.0, 1.0)), fast));
    let (mut reduced, mut worst) = (0, 0.0f64);
    for (exact, fast) in exact.iter().zip(&fast) {
        assert_eq!((exact.valid[0], &exact.skipped), (fast.valid[0], &fast.skipped), "refused alike");
        let mean = apart(exact, fast);
        reduced += usize::from(mean > 0.0);
        worst = worst.max(mean);
    }
    assert!(exact.len() > 100 && reduced > 60 && worst < 8.0, "{reduced} of {}: {worst}", exact.len());
}

#[test]
fn an_epoch_that_was_begun_early_has_the_same_batches() {
    let folder = folder();
    write_pictures(folder.path(), 2, 9, 1, 8);
    let set = Arc::new(Counted {
        set: Folder::open(folder.path(), Split::Train).unwrap(),
        loads: AtomicUsize::new(0),
    });
    let plain = LoaderOptions { shuffle: true, batch_size: 2, ..options(8, Crop::Padded(2)) };
    let loader = || Loader::new(set.clone(), plain.clone()).unwrap();
    let all = |epoch: Epoch| epoch.map(Result::unwrap).collect::<Vec<_>>();
    let (first, second) = (all(loader().epoch(0, 0)), all(loader().epoch(1, 2)));
    let loads = || set.loads.load(Ordering::SeqCst);
    let (one, before) = (loader(), loads());
    one.prefetch(1, 2);
    // It prepares some batches by itself, and then waits: two in the channel, and one to be put there.
    let start = Instant::now();
    while loads() < before + 6 {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing is prepared");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(loads(), before + 6);
    assert_eq!(all(one.epoch(1, 2)), second);
    assert_eq!(loads(), before + 14, "nothing is read twice");
    // Another epoch than the one that was begun, and a second beginning.
    one.prefetch(1, 2);
    assert_eq!(all(one.epoch(0, 0)), first);
    one.prefetch(0, 0);
    one.prefetch(1, 2);
    assert_eq!(all(one.epoch(1, 2)), second);
    // A loader that is dropped takes what it has begun with it: the set is not in use any more.
    one.prefetch(0, 0);
    drop(one);
    assert_eq!(Arc::strong_count(&set), 1);
}

/// Counts how often pictures are loaded.
struct Counted {
    set: Folder,
    loads: AtomicUsize,
}

impl Dataset for Counted {
    fn classes(&self) -> &[String] {
        self.set.classes()
    }

    fn len(&self) -> usize {
        self.set.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.set.label(i)
    }

    fn name(&self, i: usize) -> String {
        self.set.name(i)
    }

    fn load(&self, i: usize) -> Result<Picture, Error> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.set.load(i)
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        None
    }

    fn normalization(&self) -> Normalization {
        self.set.normalization()
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_a_run() {
    let folder = folder();
    write_pictures(&folder.path().join("data"), 2, 9, 3, 20);
    for class in ["class0", "class1"] {
        fs::write(folder.path().join("data/train").join(class).join("photo.jpg"), waves(300, 400)).unwrap();
    }
    let run = |out: &str, more: &[&str]| {
        let arguments =
            ["train", "--arch", "resnet20", "--data", "data", "--steps", "4", "--batch-size", "4"];
        let rest = ["--size", "16", "--augment", "modern", "--fast-jpeg", "--out", out];
        let (code, _, says) = program(folder.path(), &[&arguments[..], &rest, more].concat());
        assert_eq!(code, 0, "{says}");
        fs::read(folder.path().join(out).join("last.safetensors")).unwrap()
    };
    let [one, two, four] = ["1", "2", "4"].map(|workers| run(workers, &["--workers", workers]));
    assert!(one == two && one == four && one == run("all", &[]));
    let (code, _, says) = program(
        folder.path(),
        &["train", "--arch", "resnet20", "--data", "data", "--out", "x", "--workers", "0"],
    );
    assert!(code == 2 && says.contains("at least 1"), "{code} {says}");
    // A run that decoded in one way is not resumed in the other.
    let (code, _, says) = program(
        folder.path(),
        &[
            "train",
            "--arch",
            "resnet20",
            "--data",
            "data",
            "--out",
            "1",
            "--steps",
            "5",
            "--batch-size",
            "4",
            "--size",
            "16",
            "--augment",
            "modern",
            "--resume",
        ],
    );
    assert!(code == 2 && says.contains("--fast-jpeg"), "{code} {says}");
}

#[test]
fn the_loader_alone_is_measured() {
    let folder = folder();
    write_pictures(&folder.path().join("data"), 2, 9, 3, 20);
    let bench = |more: &[&str]| {
        let arguments =
            ["bench", "--loader", "data", "--size", "16", "--batch-size", "4", "--seconds", "0.3"];
        program(folder.path(), &[&arguments[..], more].concat())
    };
    let (code, out, says) = bench(&["--json", "--workers", "2"]);
    assert_eq!(code, 0, "{says}");
    let speed: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&speed["workers"], &speed["skipped"]), (&2.into(), &0.into()));
    for number in ["pictures", "pictures_per_s", "mb_per_s", "read_us", "decode_us", "augment_us"] {
        assert!(speed[number].as_f64().unwrap() > 0.0, "{number}: {out}");
    }
    // A pack of raw pixels has no files to count.
    assert_eq!(program(folder.path(), &["pack", "data", "data.ocelli-pack", "--format", "raw"]).0, 0);
    let arguments =
        ["bench", "--loader", "data.ocelli-pack", "--batch-size", "4", "--seconds", "0.2", "--json"];
    let (code, out, says) = program(folder.path(), &arguments);
    assert_eq!(code, 0, "{says}");
    assert!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["mb_per_s"].is_null(), "{out}");
    let (code, out, says) = bench(&["--fast-jpeg", "--augment", "modern"]);
    assert!(code == 0 && out.contains("pictures at 16x16") && out.contains("augment"), "{code} {out} {says}");
    let (code, _, says) = bench(&["--arch", "resnet20"]);
    assert!(code == 2 && says.contains("cannot be used with"), "{code} {says}");
}
