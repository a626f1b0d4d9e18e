//! `ocelli pack`

use super::progress::Progress;
use super::stop::stop_flag;
use super::{Global, grouped, positive, print_json};
use crate::data::{PackFormat, PackOptions, Packed, pack};
use crate::error::{Error, Result, Untrusted};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

#[derive(Args)]
pub(super) struct PackArgs {
    /// A folder with train/CLASS/*, val/CLASS/* and test/CLASS/*, or what else `ocelli train --data` takes
    #[arg(value_name = "DIR")]
    data: String,
    /// The file to write; --data takes it in place of the folder. Let its name end with .ocelli-pack
    file: PathBuf,
    /// Shrink pictures until the shorter side has so many pixels; smaller ones stay as they are [default: all stay as they
    /// are, byte for byte]
    #[arg(long, value_name = "N", value_parser = positive)]
    size: Option<usize>,
    /// How pictures are stored: raw (red, green and blue of each pixel) is read fastest and takes the most space
    /// [default: the files as they are; with --size, jpeg]
    #[arg(long, value_enum, value_name = "F")]
    format: Option<FormatArg>,
    /// The quality of JPEG
    #[arg(long, value_name = "Q", default_value_t = 92, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// Leave pictures out that cannot be read, even if they are more than 1%
    #[arg(long)]
    allow_unreadable: bool,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatArg {
    Jpeg,
    Raw,
}

impl From<FormatArg> for PackFormat {
    fn from(arg: FormatArg) -> Self {
        match arg {
            FormatArg::Jpeg => Self::Jpeg,
            FormatArg::Raw => Self::Raw,
        }
    }
}

pub(super) fn run(args: &PackArgs, global: &Global) -> Result<()> {
    if args.file.exists() && !args.force {
        return Err(Error::usage("this file is there already")
            .at(Untrusted::new(&args.file))
            .hint("choose another name, or add --force to replace it"));
    }
    let options = PackOptions {
        size: args.size,
        format: args.format.map(PackFormat::from),
        quality: args.quality,
        unreadable: args.allow_unreadable,
    };
    let stop = stop_flag()?;
    let mut progress = None;
    let packed = pack(&args.data, &args.file, &options, &mut |done, total, unread| {
        let bar = progress.get_or_insert_with(|| Progress::pictures(global.quiet, total));
        for picture in unread {
            bar.say(format!("left out {}: {}", picture.name, picture.reason));
        }
        bar.set(done);
        !stop.load(Ordering::SeqCst)
    });
    progress.iter().for_each(Progress::finish);
    report(args, global, &packed?)
}

fn report(args: &PackArgs, global: &Global, packed: &Packed) -> Result<()> {
    let Packed { splits, bytes, skipped } = packed;
    if args.json {
        let splits: serde_json::Map<_, _> =
            splits.iter().map(|(split, count)| (split.to_string(), (*count).into())).collect();
        return print_json(&json!({ "pictures": splits, "bytes": bytes, "left_out": skipped }));
    }
    let parts: Vec<_> = splits.iter().map(|(split, count)| format!("{split} {}", grouped(*count))).collect();
    let (file, size) = (Untrusted::new(&args.file), *bytes as f64 / 1e6);
    global.say(format!("{file}: {} pictures, {size:.1} MB", parts.join(", ")));
    if *skipped > 0 {
        global.say(format!("{} pictures could not be read and are left out", grouped(*skipped)));
    }
    Ok(())
}
