//! What a run shows while it trains: the wait for data, the warnings, the events for TensorBoard, its settings, its page.

use crate::ops::harness::gpu;
use crate::support::fixtures::{folder, write_pictures};
use crate::training::config;
use ocelli::Result;
use ocelli::data::{Dataset, Normalization, Picture, Split, open};
use ocelli::train::{Control, Event, Length, TrainingRun, Warning};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A data set on a slow disk.
struct Slow(Arc<dyn Dataset>, Duration);

impl Dataset for Slow {
    fn classes(&self) -> &[String] {
        self.0.classes()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn label(&self, i: usize) -> u32 {
        self.0.label(i)
    }

    fn name(&self, i: usize) -> String {
        self.0.name(i)
    }

    fn load(&self, i: usize) -> Result<Picture> {
        std::thread::sleep(self.1);
        self.0.load(i)
    }

    fn native_size(&self) -> Option<[usize; 2]> {
        self.0.native_size()
    }

    fn normalization(&self) -> Normalization {
        self.0.normalization()
    }
}

fn parts(data: &Path, time: Duration) -> [Arc<dyn Dataset>; 2] {
    let open = |split| open(data.to_str().unwrap(), split).unwrap();
    let train: Arc<dyn Dataset> = Arc::new(Slow(open(Split::Train), time));
    [train, open(Split::Val)]
}

#[test]
fn a_run_tells_how_long_the_gpu_waited_for_data() {
    let folder = folder();
    let data = folder.path().join("data");
    write_pictures(&data, 2, 16, 1, 8);
    let config = ocelli::train::Config { length: Length::Epochs(2), ..config(&data) };
    let mut shares = Vec::new();
    for (name, time) in [("slow", Duration::from_millis(150)), ("fast", Duration::ZERO)] {
        let (out, gpu) = (folder.path().join(name), gpu());
        let (mut last, mut warnings) = (0.0, 0);
        let run = TrainingRun::new(&gpu, &config, &out).with_datasets(parts(&data, time));
        let finished = run
            .run(&mut |event| {
                match event {
                    Event::Step { data_wait, .. } => last = data_wait,
                    Event::Warning(Warning::DataWait(share)) => {
                        assert!(*share > 0.2, "{share}");
                        warnings += 1;
                    }
                    _ => {}
                }
                Control::Continue
            })
            .unwrap();
        let share = finished.rows[1].data_wait.unwrap();
        assert!(
            (0.0..=1.0).contains(&share) && share == last,
            "the row is that of the last step: {share} {last}"
        );
        shares.push((share, warnings));
        let table = std::fs::read_to_string(out.join("metrics.csv")).unwrap();
        assert!(table.lines().nth(2).unwrap().ends_with(&format!(",{share:.4}")), "{table}");
    }
    println!("waited for data: {shares:?}");
    // Four pictures of 0.15 s on two cores or more are not ready before a step of a few ms is done.
    assert!(shares[0].0 > 0.4 && shares[0].0 > 2.0 * shares[1].0, "{shares:?}");
    assert_eq!(shares[0].1, 1, "two epochs, one warning");
}
