//! `ocelli bench --loader`: the speed at which pictures are read.

use super::BenchArgs;
use crate::cli::stop::stop_flag;
use crate::cli::{Global, patiently, positive, print, print_json, say_census};
use crate::data::{
    Augment, Census, Last, LoaderOptions, LoaderSpeed, Preprocessing, Split, measure_loader, open_both,
    use_threads,
};
use crate::error::Result;
use clap::Args;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Height and width of the input if no other is given and the data has none.
const SIZE: usize = 224;

#[derive(Args)]
pub(in crate::cli) struct LoaderArgs {
    /// Measure how fast the training pictures of this data set are read, decoded and varied, without any network
    #[arg(long, value_name = "DIR|FILE|fashion-mnist", conflicts_with_all = ["arch", "weights", "mode", "report", "profile"])]
    pub(super) loader: Option<String>,
    /// How pictures are varied, as in `ocelli train`
    #[arg(long, value_name = "PRESET|LIST", default_value = "resnet", requires = "loader")]
    augment: Augment,
    /// Decode large JPEGs at a reduced scale, as in `ocelli train`
    #[arg(long, requires = "loader")]
    fast_jpeg: bool,
    /// The threads that read pictures [default: one for each core]
    #[arg(long, value_name = "N", value_parser = positive, requires = "loader")]
    workers: Option<usize>,
}

pub(super) fn run(args: &BenchArgs, global: &Global, spec: &str) -> Result<()> {
    let LoaderArgs { augment, fast_jpeg, workers, .. } = args.loader;
    workers.map_or(Ok(()), use_threads)?;
    let name = spec.to_owned();
    let set = patiently(spec, move || open_both(&name, None, 0))?.train;
    say_census(global, &Census::of(set.as_ref(), Split::Train));
    let size = args.size.map(|side| [side; 2]).or(set.native_size()).unwrap_or([SIZE; 2]);
    let options = LoaderOptions {
        batch_size: args.batch_size.min(set.len()).max(1),
        size,
        preprocessing: Preprocessing::covering(set.normalization()),
        augment,
        shuffle: true,
        balance: false,
        seed: 0,
        limit: None,
        last: Last::Drop,
    };
    let (stop, time) = (stop_flag()?, Duration::from_secs_f64(args.seconds));
    let speed = measure_loader(set, &options, fast_jpeg, time, &|| !stop.load(Ordering::SeqCst))?;
    if args.json { print_json(&speed) } else { print_speed(&speed, size) }
}

fn print_speed(speed: &LoaderSpeed, [height, width]: [usize; 2]) -> Result<()> {
    let files = speed.mb_per_s.map_or_else(String::new, |mb| format!(", {mb:.1} MB/s of files"));
    let cpu = speed
        .pictures_per_cpu_s
        .map_or_else(String::new, |n| format!(", {n:.0} per second of processor time"));
    let LoaderSpeed { workers, pictures, pictures_per_s, skipped, .. } = speed;
    print(&format!(
        "{pictures} pictures at {height}x{width} on {workers} threads: {pictures_per_s:.0} pictures/s{files}{cpu}"
    ))?;
    let LoaderSpeed { read_us, decode_us, augment_us, .. } = speed;
    print(&format!(
        "a picture on one thread: read {read_us:.0} us, decode {decode_us:.0} us, augment {augment_us:.0} us"
    ))?;
    if *skipped > 0 { print(&format!("{skipped} pictures could not be read")) } else { Ok(()) }
}
