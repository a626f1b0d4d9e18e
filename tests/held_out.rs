//! Data sets without a validation part.

use crate::support::fixtures::{folder, run as program, write_pictures};
use crate::training::{bits, config, run, run_until};
use ocelli::data::{Augment, Dataset, Split, open, open_both};
use ocelli::train::Config;
use std::fs;
use std::path::Path;
use std::sync::Arc;

#[test]
fn a_validation_part_is_held_out_of_each_class() {
    let folder = folder();
    write_pictures(folder.path(), 3, 20, 1, 8);
    fs::remove_dir_all(folder.path().join("val")).unwrap();
    let spec = folder.path().display().to_string();
    let names = |set: &Arc<dyn Dataset>| (0..set.len()).map(|i| set.name(i)).collect::<Vec<_>>();
    let parts = open_both(&spec, None, 1).unwrap();
    assert_eq!((parts.train.len(), parts.val.len(), parts.held_out), (48, 12, Some(0.2)));
    let count = |set: &Arc<dyn Dataset>, label| (0..set.len()).filter(|i| set.label(*i) == label).count();
    assert!((0..3).all(|label| count(&parts.val, label) == 4 && count(&parts.train, label) == 16));
    let whole = open(&spec, Split::Train).unwrap();
    let mut both = [names(&parts.train), names(&parts.val)].concat();
    both.sort();
    assert_eq!(both, names(&whole), "each picture is in one of the parts");
    for part in [&parts.train, &parts.val] {
        for i in 0..part.len() {
            let at = names(&whole).iter().position(|name| *name == part.name(i)).unwrap();
            assert_eq!((part.label(i), part.load(i).unwrap()), (whole.label(at), whole.load(at).unwrap()));
        }
    }
    // The draw depends on the seed and the share.
    let held = |share, seed| names(&open_both(&spec, share, seed).unwrap().val);
    assert_eq!(held(None, 1), names(&parts.val));
    assert_ne!(held(None, 2), names(&parts.val));
    assert_eq!(held(Some(0.5), 1).len(), 30);
    assert_eq!(
        (held(Some(0.001), 1).len(), held(Some(0.999), 1).len()),
        (3, 57),
        "at least one in each part"
    );
    // Each picture is held out about as often as any other.
    let mut counts = vec![0; 60];
    for seed in 0..600 {
        for name in held(None, seed) {
            counts[names(&whole).iter().position(|other| *other == name).unwrap()] += 1;
        }
    }
    assert!(
        counts.iter().all(|n| (70..=170).contains(n)),
        "120 expected, with a deviation of 10: {counts:?}"
    );
    // The folders of the classes alone do as well.
    let parts = open_both(&format!("{spec}/train"), None, 1).unwrap();
    assert_eq!((parts.train.len(), parts.val.len()), (48, 12));
}

#[test]
fn a_test_part_is_for_eval_alone() {
    let folder = folder();
    write_pictures(folder.path(), 2, 10, 3, 8);
    let at = |part: &str| folder.path().join(part);
    let spec = folder.path().display().to_string();
    assert!(open(&spec, Split::Test).err().unwrap().to_string().contains("no folder test/"));
    // The layout of many competitions: train/ and test/. The latter has the class names of the former.
    fs::rename(at("val"), at("test")).unwrap();
    let names = |set: &Arc<dyn Dataset>| (0..set.len()).map(|i| set.name(i)).collect::<Vec<_>>();
    let parts = open_both(&spec, None, 1).unwrap();
    let trained = [names(&parts.train), names(&parts.val)].concat();
    let test = open(&spec, Split::Test).unwrap();
    assert_eq!(
        (trained.len(), parts.val.len(), test.len(), test.classes()),
        (20, 4, 6, parts.train.classes())
    );
    assert!(
        names(&test).iter().all(|name| Path::new(name).starts_with(at("test")) && !trained.contains(name))
    );
    // Training does not look into it, whatever it holds.
    fs::rename(at("test/class1"), at("test/other")).unwrap();
    assert_eq!(names(&open_both(&spec, None, 1).unwrap().val), names(&parts.val));
    let says = open(&spec, Split::Test).err().unwrap().to_string();
    assert!(
        says.contains(
            "train/ and test/ have different classes: only train/ has class1; only test/ has other"
        ),
        "{says}"
    );
    // Without train/ it stands alone.
    fs::rename(at("train"), at("elsewhere")).unwrap();
    assert_eq!(open(&spec, Split::Test).unwrap().classes(), ["class0", "other"]);
    let (code, _, says) =
        program(folder.path(), &["eval", "--weights", "w", "--data", &spec, "--split", "dev"]);
    assert!(code == 2 && says.contains("say train, val or test"), "{code} {says}");
}

#[test]
fn what_cannot_be_split_says_so() {
    let folder = folder();
    write_pictures(folder.path(), 2, 3, 1, 8);
    let spec = folder.path().display().to_string();
    let says = |spec: &str, share| open_both(spec, share, 0).err().unwrap().to_string();
    assert!(says(&spec, Some(0.2)).contains("hold none out"));
    fs::remove_dir_all(folder.path().join("val")).unwrap();
    #[cfg(unix)]
    {
        // A part that is not there at the moment is not a part that does not exist.
        std::os::unix::fs::symlink("/nowhere", folder.path().join("val")).unwrap();
        assert!(says(&spec, None).contains("no folder val/"));
        fs::remove_file(folder.path().join("val")).unwrap();
    }
    for share in [0.0, 1.0, -0.5, f64::NAN] {
        assert!(says(&spec, Some(share)).contains("between 0 and 1"));
    }
    let class = folder.path().join("train/class1");
    for picture in fs::read_dir(&class).unwrap().skip(1) {
        fs::remove_file(picture.unwrap().path()).unwrap();
    }
    assert!(says(&spec, None).contains("the class class1 has 1 pictures, too few"));
    // Other names of the parts are not taken for classes.
    fs::rename(folder.path().join("train"), folder.path().join("Training")).unwrap();
    write_pictures(&folder.path().join("Valid"), 2, 1, 1, 8);
    assert!(says(&spec, None).contains("Training would be a class"));
    fs::remove_dir_all(folder.path().join("Valid")).unwrap();
    fs::remove_dir_all(folder.path().join("Training")).unwrap();
    assert!(says(&spec, None).contains("one folder of pictures a class"));
}

#[test]
fn a_run_lists_what_it_holds_out_and_is_resumed_with_the_same_pictures() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 2, 10, 1, 8);
    fs::remove_dir_all(data.join("val")).unwrap();
    let config = Config { augment: Augment::MODERN, ..config(&data) };
    let whole = folder.path().join("whole");
    run(&config, &whole, false).unwrap();
    run_until(&config, &out, 2);
    let list = fs::read_to_string(out.join("validation.txt")).unwrap();
    assert_eq!(list.lines().count(), 4);
    assert!(list.lines().all(|name| Path::new(name).is_file()));
    run(&config, &out, true).unwrap();
    assert_eq!(bits(&out), bits(&whole));
    assert_eq!(list, fs::read_to_string(out.join("validation.txt")).unwrap());
    let other = Config { val_split: Some(0.3), ..config };
    assert!(run(&other, &out, true).unwrap_err().to_string().contains("--val-split"));
}

#[test]
fn the_program_says_that_it_holds_pictures_out() {
    let folder = folder();
    write_pictures(&folder.path().join("data"), 2, 10, 1, 8);
    fs::remove_dir_all(folder.path().join("data/val")).unwrap();
    let arguments = ["--arch", "resnet20", "--steps", "1", "--batch-size", "4", "--out", "run"];
    let train = |more: &[&str]| program(folder.path(), &[&["train"], &arguments[..], more].concat());
    let (code, _, says) = train(&["--data", "data", "--val-split", "0.4", "--augment", "cifar,erase=0.5"]);
    assert_eq!(code, 0, "{says}");
    assert!(says.contains("40% of the pictures of each class") && says.contains("validation.txt"), "{says}");
    assert!(says.contains("train: 12 pictures") && says.contains("val: 8 pictures"), "{says}");
    let (code, _, says) = train(&["--data", "data", "--val-split", "1.5"]);
    assert!(code == 2 && says.contains("--val-split is a share"), "{code} {says}");
    let (code, _, says) = train(&["--data", "data", "--augment", "blur"]);
    assert!(code == 2 && says.contains("there is no augmentation \"blur\""), "{code} {says}");
}
