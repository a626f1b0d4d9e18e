//! A run that is asked to stop before its first step, and disks that do not answer meanwhile.

use crate::support::fixtures::{folder, write_pictures};
use ocelli::autotune::{Notice, Tune};
use ocelli::gpu::{Gpu, GpuOptions};
use ocelli::models::Arch;
use ocelli::train::{BatchSize, Config, Control, Event, Length, train};
use ocelli::{Error, Result};
use std::path::Path;
use std::sync::Arc;

fn gpu() -> Arc<Gpu> {
    Arc::new(Gpu::open(&GpuOptions::default()).unwrap())
}

fn config(data: &Path) -> Config {
    let mut config = Config::new(Arch::find("resnet20").unwrap(), data.to_str().unwrap());
    config.length = Length::Steps(2);
    config.batch_size = BatchSize::Fixed(2);
    config
}

/// What a run comes to that is asked to stop when it says something, and what it says.
fn stopped_at(config: &Config, out: &Path, resume: bool, at: &str) -> (Result<()>, Vec<&'static str>) {
    let mut said = Vec::new();
    let result = train(&gpu(), config, out, resume, &mut |event| {
        let what = match event {
            Event::NothingToResume(_) => "nothing to resume",
            Event::Data(_) => "data",
            Event::Start { .. } => "start",
            Event::Tuning(Notice::Begins { .. }) => "tuning begins",
            Event::Tuning(_) => "tuning",
            Event::Planned { .. } => "planned",
            Event::Waiting | Event::Hung(_) => return Control::Continue,
            _ => "a step",
        };
        said.push(what);
        if what == at { Control::Stop } else { Control::Continue }
    });
    (result.map(drop), said)
}

#[test]
fn a_run_stops_where_it_is_asked_to_before_its_first_step() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 2, 4, 2, 8);
    let mut config = config(&data);
    config.tune = Tune::Quick;
    for (at, resume) in
        [("data", false), ("nothing to resume", true), ("tuning begins", false), ("tuning", false)]
    {
        let (result, said) = stopped_at(&config, &out, resume, at);
        assert!(matches!(result, Err(Error::Stopped(_))), "{at}: {result:?}");
        assert_eq!(said.last(), Some(&at), "nothing more is done");
        assert!(!out.exists(), "{at}");
    }
    config.tune = Tune::Off;
    let (result, said) = stopped_at(&config, &out, false, "planned");
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Stopped(_)) && error.to_string().contains("--resume goes on"), "{error}");
    assert_eq!(said.last(), Some(&"planned"));
    assert!(out.join("checkpoint.safetensors").exists());
    let (result, _) = stopped_at(&config, &out, true, "nothing");
    result.unwrap();
}

#[test]
fn a_run_stops_while_it_looks_for_a_batch_size_and_before_it_compiles() {
    let folder = folder();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_pictures(&data, 2, 4, 2, 8);
    let fixed = Config { size: Some([8, 8]), ..config(&data) };
    let auto = Config { batch_size: BatchSize::Auto, memory_budget: Some(1 << 30), ..fixed.clone() };
    for config in [fixed, auto] {
        let mut begun = false;
        let result = train(&gpu(), &config, &out, false, &mut |event| match event {
            // Only what comes after the data has been read.
            Event::Data(_) => {
                begun = true;
                Control::Continue
            }
            Event::Waiting if begun => Control::Stop,
            Event::Waiting | Event::Hung(_) => Control::Continue,
            other => panic!("{other:?}"),
        });
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Stopped(_)), "{error}");
        assert!(error.to_string().contains("nothing was changed"), "{error}");
        assert!(!out.exists());
    }
}

/// Files that nobody else can open, as on a disk that does not answer: the kernel holds them back while another process has a lease.
#[cfg(target_os = "linux")]
mod hung {
    use super::*;
    use crate::support::fixtures::{ocelli, run, skipped};
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    /// Holds a lease until it is dropped, or for as long as the system lets it, some 45 seconds.
    struct Lease(Child);

    impl Drop for Lease {
        fn drop(&mut self) {
            let _ = (self.0.kill(), self.0.wait());
        }
    }

    const HOLD: &str = "import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(sys.argv[1], 'r+b')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()";

    fn hold(file: &Path) -> Option<Lease> {
        let child = Command::new("python3")
            .args(["-c", HOLD])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut lease = Lease(child.ok()?);
        let mut line = String::new();
        BufReader::new(lease.0.stdout.take()?).read_line(&mut line).ok()?;
        (line == "held\n").then_some(lease)
    }

    #[test]
    fn a_run_can_be_stopped_while_a_disk_does_not_answer() {
        const NAME: &str = "a_run_can_be_stopped_while_a_disk_does_not_answer";
        let folder = folder();
        let here = folder.path();
        write_pictures(&here.join("data"), 2, 4, 2, 8);
        std::fs::write(here.join("data/train/class0/unknown"), "no picture by its name").unwrap();
        let start = ["train", "--arch", "resnet20", "--data", "data", "--batch-size", "2", "--steps", "1"];
        let (code, _, said) = run(here, &[&start[..], &["--out", "old"]].concat());
        assert_eq!(code, 0, "{said}");
        let weights = ["--out", "new", "--weights", "old/last.safetensors"];
        for (file, place, more) in [
            ("data/train/class0/unknown", "data: ", &["--out", "new"][..]),
            ("old/last.safetensors", "old/last.safetensors: ", &weights),
            ("old/checkpoint.safetensors", "old: ", &["--out", "old", "--resume"]),
        ] {
            let Some(lease) = hold(&here.join(file)) else {
                return skipped(NAME, "python3 gets no lease of a file here");
            };
            let mut child = ocelli(here)
                .args([&start[..], more].concat())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stderr = BufReader::new(child.stderr.take().unwrap());
            let mut said = String::new();
            while !said.contains("adapter: ") && stderr.read_line(&mut said).unwrap() > 0 {}
            std::thread::sleep(Duration::from_secs(1));
            let asked = Instant::now();
            let signal = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            assert!(signal.unwrap().success());
            stderr.read_to_string(&mut said).unwrap();
            let code = child.wait().unwrap().code();
            assert_eq!(code, Some(75), "{file}: {said}");
            assert!(asked.elapsed() < Duration::from_secs(20), "{file}: {:?}", asked.elapsed());
            assert!(said.contains(&format!("ocelli: {place}stopped")), "{file}: {said}");
            assert!(!here.join("new").exists(), "{file}");
            drop(lease);
        }
    }
}
