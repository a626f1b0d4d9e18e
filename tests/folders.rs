//! What a folder of pictures holds, what is left out of it, and what cannot be read: all of it is said.

use crate::support::fixtures::{folder, run, with_slashes, write_pictures};
use ocelli::Error;
use ocelli::data::{Census, Dataset, Folder, Split};
use std::fs;
use std::path::Path;

fn left_out(set: &Folder) -> Vec<(&'static str, usize)> {
    set.left_out().iter().map(|left| (left.reason, left.count)).collect()
}

#[test]
fn folders_in_the_folder_of_a_class_are_read() {
    let folder = folder();
    let root = folder.path();
    write_pictures(root, 2, 4, 1, 8);
    let class = root.join("train/class1");
    fs::create_dir_all(class.join("b/c")).unwrap();
    fs::rename(class.join("001.png"), class.join("b/9.png")).unwrap();
    fs::rename(class.join("002.png"), class.join("b/c/1.png")).unwrap();
    // By its content, whatever it is called.
    fs::rename(class.join("003.png"), class.join("z")).unwrap();
    let set = Folder::open(root, Split::Train).unwrap();
    let names: Vec<String> = (4..set.len()).map(|i| set.name(i)).collect();
    let ends = ["class1/000.png", "class1/b/9.png", "class1/b/c/1.png", "class1/z"];
    assert!(
        names.len() == 4 && names.iter().zip(ends).all(|(name, end)| Path::new(name).ends_with(end)),
        "{names:?}"
    );
    assert!((0..set.len()).all(|i| set.load(i).is_ok()));
    assert_eq!(left_out(&set), []);
    assert_eq!(
        Census::of(&set, Split::Train).to_string(),
        "train: 8 pictures in 2 classes: class0 4, class1 4"
    );
}

#[cfg(unix)]
#[test]
fn links_are_followed_once_and_pipes_never() {
    use std::os::unix::fs::symlink;
    let folder = folder();
    let root = folder.path();
    write_pictures(root, 2, 2, 1, 8);
    let class = root.join("train/class0");
    fs::create_dir(root.join("elsewhere")).unwrap();
    fs::copy(class.join("000.png"), root.join("elsewhere/far.png")).unwrap();
    fs::create_dir(class.join("in")).unwrap();
    symlink(root.join("elsewhere"), class.join("away")).unwrap();
    symlink(root.join("elsewhere"), class.join("in/again")).unwrap();
    symlink("../..", class.join("in/around")).unwrap();
    symlink(".", class.join("self")).unwrap();
    symlink("nowhere.png", class.join("dead.png")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(class.join("pipe.png")).status();
    let pipes = usize::from(made.is_ok_and(|status| status.success()));
    let set = Folder::open(root, Split::Train).unwrap();
    let names: Vec<String> = (0..set.len()).map(|i| set.name(i)).collect();
    let here = names.iter().filter(|name| name.contains("train/class0/"));
    let here: Vec<_> = here.filter(|name| !name.contains("around")).collect();
    assert!(here.len() == 3 && here[2].ends_with("away/far.png"), "{here:?}");
    let found: std::collections::BTreeMap<_, _> = left_out(&set).into_iter().collect();
    assert_eq!(found.get("a link to nothing"), Some(&1), "{found:?}");
    assert_eq!(found.get("neither a file nor a folder").copied().unwrap_or(0), pipes, "{found:?}");
    let twice = found["a link to a folder that is read already"];
    assert!(twice >= 2, "{found:?}");
}

#[test]
fn what_is_left_out_and_the_pictures_of_each_class_are_printed() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 3, 4, 2, 8);
    fs::write(here.join("data/train/class1/notes.txt"), "not a picture").unwrap();
    fs::write(here.join("data/train/class2/.hidden.png"), "not seen").unwrap();
    fs::rename(here.join("data/train/class0/003.png"), here.join("data/train/class1/more.png")).unwrap();
    let train =
        ["train", "--arch", "resnet20", "--data", "data", "--out", "run", "--size", "8", "--batch-size", "4"];
    let (code, _, stderr) = run(here, &[&train[..], &["--steps", "1"]].concat());
    assert_eq!(code, 0, "{stderr}");
    let stderr = with_slashes(&stderr);
    for says in [
        "train: 12 pictures in 3 classes: class0 3, class1 5, class2 4",
        "val: 6 pictures in 3 classes: class0 2, class1 2, class2 2",
        "train: 1 left out: no picture (JPEG, PNG, WebP, BMP, GIF, TIFF): data/train/class1/notes.txt",
        "train: 1 left out: its name begins with a dot: data/train/class2/.hidden.png",
    ] {
        assert!(stderr.lines().any(|line| line == says), "{says}\n{stderr}");
    }
    let (code, _, stderr) = run(here, &["eval", "--weights", "run/best.safetensors", "--data", "data"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("val: 6 pictures in 3 classes: class0 2, class1 2, class2 2"), "{stderr}");
}

#[test]
fn what_is_hidden_or_no_picture_is_counted_wherever_it_lies() {
    let folder = folder();
    let here = folder.path();
    write_pictures(here, 2, 2, 1, 8);
    fs::rename(here.join("train/class0/000.png"), here.join("moved.png")).unwrap();
    fs::create_dir(here.join("train/.cat")).unwrap();
    fs::rename(here.join("moved.png"), here.join("train/.cat/000.png")).unwrap();
    fs::write(here.join("train/.DS_Store"), "x").unwrap();
    let set = Folder::open(here, Split::Train).unwrap();
    assert!(left_out(&set).contains(&("its name begins with a dot", 2)), "{:?}", left_out(&set));
    // A class of which nothing is left says why.
    fs::remove_file(here.join("train/class1/000.png")).unwrap();
    fs::remove_file(here.join("train/class1/001.png")).unwrap();
    (0..25).for_each(|i| fs::write(here.join(format!("train/class1/{i:02}.heic")), "heic").unwrap());
    fs::write(here.join("train/class1/.hidden.png"), "x").unwrap();
    let error = Folder::open(here, Split::Train).map(|_| ()).unwrap_err().to_string();
    for says in ["class1", "no pictures", "25 left out: no picture", "00.heic", "1 left out: its name begins"]
    {
        assert!(error.contains(says), "{says}: {error}");
    }
    assert!(!error.contains(".DS_Store"), "{error}");
}

/// Spoils pictures of a class.
fn spoil(class: &Path, names: &[&str]) {
    names.iter().for_each(|name| fs::write(class.join(name), "spoilt").unwrap());
}

#[test]
fn many_unreadable_pictures_end_a_run_unless_allowed() {
    let folder = folder();
    let here = folder.path();
    write_pictures(&here.join("data"), 2, 6, 4, 8);
    let train = |out: &'static str, more: &[&'static str]| {
        let plain = [
            "train",
            "--arch",
            "resnet20",
            "--data",
            "data",
            "--out",
            out,
            "--size",
            "8",
            "--batch-size",
            "4",
        ];
        run(here, &[&plain[..], &["--epochs", "1"], more].concat())
    };
    let (code, _, stderr) = train("good", &[]);
    assert_eq!(code, 0, "{stderr}");
    spoil(&here.join("data/val/class1"), &["001.png", "002.png"]);
    let eval = ["eval", "--weights", "good/best.safetensors", "--data", "data"];
    for (code, stderr) in [(run(here, &eval).0, run(here, &eval).2), (train("a", &[]).0, train("b", &[]).2)] {
        assert_eq!(code, 65, "{stderr}");
        let stderr = with_slashes(&stderr);
        for says in
            ["2 of 8 pictures cannot be read, more than 1%", "data/val/class1/00", "--allow-unreadable"]
        {
            assert!(stderr.contains(says), "{stderr}");
        }
    }
    let (code, stdout, stderr) = run(here, &[&eval[..], &["--allow-unreadable"]].concat());
    assert!(code == 0 && stdout.contains("6 images"), "{stdout}{stderr}");
    let (code, _, stderr) = train("c", &["--allow-unreadable"]);
    assert!(code == 0 && stderr.contains("could not be read 2 times"), "{stderr}");
    spoil(&here.join("data/train/class0"), &["003.png"]);
    let (code, _, stderr) = train("d", &[]);
    assert_eq!(code, 65, "{stderr}");
    let stderr = with_slashes(&stderr);
    assert!(
        stderr.contains("1 of 12 pictures cannot be read") && stderr.contains("train/class0/003.png"),
        "{stderr}"
    );
}

#[test]
fn one_unreadable_picture_of_a_hundred_is_no_reason_to_stop() {
    let folder = folder();
    write_pictures(folder.path(), 2, 50, 1, 4);
    spoil(&folder.path().join("train/class0"), &["007.png"]);
    let epoch = |spoilt: &[&str]| {
        spoil(&folder.path().join("train/class1"), spoilt);
        let set = std::sync::Arc::new(Folder::open(folder.path(), Split::Train).unwrap());
        let loader = crate::hung::loader(set);
        loader.epoch(0, 0).map(|batch| batch.map(|batch| batch.skipped.len())).sum::<Result<usize, Error>>()
    };
    assert_eq!(epoch(&[]).unwrap(), 1);
    let error = epoch(&["049.png"]).unwrap_err();
    assert!(matches!(error, Error::Data(_)), "{error:?}");
    assert!(error.to_string().contains("2 of 100 pictures"), "{error}");
}
