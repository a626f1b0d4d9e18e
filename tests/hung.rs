//! A disk that does not answer: the picture is named, and who waits for it can stop.

use ocelli::data::{
    Augment, Dataset, Last, Loader, LoaderOptions, Normalization, Picture, Preprocessing, Waited,
};
use ocelli::{Error, Result};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Batches of 4 in the order of the data set.
pub fn loader(set: Arc<dyn Dataset>) -> Loader {
    let options = LoaderOptions {
        batch_size: 4,
        size: [4, 4],
        preprocessing: Preprocessing::covering(Normalization::IMAGENET),
        augment: Augment::NONE,
        shuffle: false,
        balance: false,
        seed: 0,
        limit: None,
        last: Last::Keep,
    };
    Loader::new(set, options).unwrap()
}

/// Twelve pictures; reading the seventh takes until the door is opened.
#[derive(Default)]
struct Disk {
    open: Mutex<bool>,
    door: Condvar,
    classes: Vec<String>,
}

impl Disk {
    fn answer(&self) {
        *self.open.lock().unwrap() = true;
        self.door.notify_all();
    }
}

impl Dataset for Disk {
    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn len(&self) -> usize {
        12
    }

    fn label(&self, _: usize) -> u32 {
        0
    }

    fn name(&self, i: usize) -> String {
        format!("/net/{i}.jpg")
    }

    fn load(&self, i: usize) -> Result<Picture> {
        let mut open = self.open.lock().map_err(|_| Error::internal("poisoned"))?;
        while i == 6 && !*open {
            open = self.door.wait(open).map_err(|_| Error::internal("poisoned"))?;
        }
        Picture::from_rgba(4, 4, vec![i as u8; 64])
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        None
    }

    fn normalization(&self) -> Normalization {
        Normalization::IMAGENET
    }
}

#[test]
fn a_hung_read_is_named_once_and_can_be_stopped() {
    let disk = Arc::new(Disk::default());
    let mut epoch = loader(disk.clone()).patience(Duration::from_millis(300)).epoch(0, 0);
    assert!(matches!(epoch.wait(&mut |_| true), Ok(Waited::Batch(_))));
    let (start, mut names, mut asked) = (Instant::now(), Vec::new(), 0);
    let waited = epoch.wait(&mut |hung| {
        asked += 1;
        names.extend(hung.map(|hung| (hung.name.clone(), hung.since)));
        start.elapsed() < Duration::from_secs(1)
    });
    assert!(matches!(waited, Ok(Waited::Stopped)), "{waited:?}");
    assert!(asked > 3, "asked {asked} times in a second");
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].0 == "/net/6.jpg" && names[0].1 >= Duration::from_millis(300), "{names:?}");
    // Letting go of it does not wait for the disk either.
    let start = Instant::now();
    drop(epoch);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // The thread that was left behind ends with the read.
    disk.answer();
}

#[test]
fn a_slow_read_is_waited_for() {
    let disk = Arc::new(Disk::default());
    let other = disk.clone();
    let answer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        other.answer();
    });
    let mut epoch = loader(disk).patience(Duration::from_millis(100)).epoch(0, 0);
    let (mut pictures, mut hung) = (0, 0);
    loop {
        match epoch.wait(&mut |name| {
            hung += usize::from(name.is_some());
            true
        }) {
            Ok(Waited::Batch(batch)) => pictures += batch.valid.iter().filter(|valid| **valid).count(),
            Ok(Waited::End) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((pictures, hung), (12, 1));
    answer.join().unwrap();
}
