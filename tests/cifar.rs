//! CIFAR-10 and CIFAR-100 in their binary form. The files are written here as the data sets' page describes them.

use crate::support::fixtures::{folder, run as program};
use ocelli::Error;
use ocelli::data::{Dataset, Normalization, Split, open, open_both};
use std::fs;
use std::path::Path;
use std::sync::Arc;

const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Record `i`: its labels, and planes in which red counts up, green is the label and blue is `i`.
fn record(labels: &[u8], i: u8) -> Vec<u8> {
    let red = (0..1024u32).map(|p| (p % 251) as u8);
    let label = *labels.last().unwrap();
    labels.iter().copied().chain(red).chain([label; 1024]).chain([i; 1024]).collect()
}

fn cifar10(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("batches.meta.txt"), CLASSES.join("\n") + "\n\n").unwrap();
    for batch in 1..=5u8 {
        let records: Vec<u8> = (0..4).flat_map(|i| record(&[(batch + i) % 10], 10 * batch + i)).collect();
        fs::write(folder.join(format!("data_batch_{batch}.bin")), records).unwrap();
    }
    fs::write(folder.join("test_batch.bin"), [record(&[9], 1), record(&[0], 2), record(&[3], 3)].concat())
        .unwrap();
}

fn spec(folder: &Path) -> String {
    folder.display().to_string()
}

fn fault(folder: &Path, split: Split) -> String {
    let error = open(&spec(folder), split).err().expect("this should not open");
    assert!(matches!(error, Error::Data(_) | Error::NotFound(_)), "{error:?}");
    error.to_string()
}

#[test]
fn cifar_10_is_read_with_names_labels_and_planes() {
    let folder = folder();
    cifar10(folder.path());
    let parts = open_both(&spec(folder.path()), None, 0).unwrap();
    assert_eq!((parts.train.len(), parts.val.len(), parts.held_out), (20, 3, None));
    let labels = |set: &Arc<dyn Dataset>| (0..set.len()).map(|i| set.label(i)).collect::<Vec<_>>();
    assert_eq!(parts.train.classes(), CLASSES);
    assert_eq!(labels(&parts.train)[..9], [1, 2, 3, 4, 2, 3, 4, 5, 3], "batches in their order");
    assert_eq!(labels(&parts.val), [9, 0, 3]);
    let picture = parts.train.load(5).unwrap();
    let pixel = |at: usize| &picture.rgba()[4 * at..4 * at + 4];
    assert_eq!((picture.height(), picture.width()), (32, 32));
    assert_eq!(
        (pixel(0), pixel(33), pixel(1023)),
        (&[0, 3, 21, 255][..], &[33, 3, 21, 255][..], &[19, 3, 21, 255][..])
    );
    assert!(parts.train.name(5).ends_with("data_batch_2.bin record 1"), "{}", parts.train.name(5));
    assert_eq!(
        (parts.train.native_size(), parts.train.normalization().mean),
        (Some([32, 32]), [0.4914, 0.4822, 0.4465])
    );
    assert_ne!(parts.train.normalization(), Normalization::IMAGENET);
    assert!(matches!(parts.train.load(20), Err(Error::Internal(_))));
    // The test pictures are what validation uses.
    assert!(fault(folder.path(), Split::Test).contains("test_batch.bin are the part val"));
    assert!(
        open_both(&spec(folder.path()), Some(0.2), 0).err().unwrap().to_string().contains("hold none out")
    );
}

#[test]
fn cifar_100_has_its_fine_labels() {
    let folder = folder();
    let names: Vec<String> = (0..100).map(|i| format!("fine {i}")).collect();
    fs::write(folder.path().join("fine_label_names.txt"), names.join("\r\n")).unwrap();
    fs::write(folder.path().join("train.bin"), [record(&[19, 99], 1), record(&[0, 7], 2)].concat()).unwrap();
    fs::write(folder.path().join("test.bin"), record(&[3, 50], 3)).unwrap();
    let set = open(&spec(folder.path()), Split::Train).unwrap();
    assert_eq!((set.classes(), set.len(), set.label(0), set.label(1)), (&names[..], 2, 99, 7));
    assert_eq!(set.load(0).unwrap().rgba()[4..8], [1, 99, 1, 255]);
    assert_eq!(open(&spec(folder.path()), Split::Val).unwrap().label(0), 50);
    fs::write(folder.path().join("test.bin"), record(&[20, 50], 3)).unwrap();
    assert!(fault(folder.path(), Split::Val).contains("record 0 has the label 20, and there are 20"));
}

#[test]
fn damaged_files_of_cifar_are_named_with_the_record() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    cifar10(folder.path());
    let whole = fs::read(at("data_batch_3.bin")).unwrap();
    fs::write(at("data_batch_3.bin"), &whole[..whole.len() - 1]).unwrap();
    let says = fault(folder.path(), Split::Train);
    assert!(says.contains("data_batch_3.bin") && says.contains("record 3 has 3072 of 3073 bytes"), "{says}");
    let mut wrong = whole.clone();
    wrong[2 * 3073] = 10;
    fs::write(at("data_batch_3.bin"), wrong).unwrap();
    let says = fault(folder.path(), Split::Train);
    assert!(says.contains("data_batch_3.bin") && says.contains("record 2 has the label 10"), "{says}");
    assert_eq!(open(&spec(folder.path()), Split::Val).unwrap().len(), 3, "the other part is whole");
    fs::write(at("data_batch_3.bin"), b"").unwrap();
    assert!(fault(folder.path(), Split::Train).contains("empty"));
    // A batch that is missing is no smaller data set.
    fs::remove_file(at("data_batch_3.bin")).unwrap();
    assert!(fault(folder.path(), Split::Train).contains("data_batch_3.bin"));
    fs::write(at("batches.meta.txt"), "cat\ndog\n").unwrap();
    assert!(fault(folder.path(), Split::Val).contains("2 class names, not 10"));
    fs::write(at("batches.meta.txt"), CLASSES.join("\n").replace("dog", "cat")).unwrap();
    assert!(fault(folder.path(), Split::Val).contains("names the class cat twice"));
}

#[test]
fn the_program_trains_on_the_folder_of_cifar_10() {
    let folder = folder();
    cifar10(&folder.path().join("cifar-10-batches-bin"));
    let arguments = ["--arch", "resnet20", "--steps", "1", "--batch-size", "4", "--out", "run"];
    let (code, _, says) =
        program(folder.path(), &[&["train", "--data", "cifar-10-batches-bin"], &arguments[..]].concat());
    assert_eq!(code, 0, "{says}");
    assert!(says.contains("train: 20 pictures in 10 classes: airplane 0, automobile 1"), "{says}");
}
