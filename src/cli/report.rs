//! `ocelli report`

use super::{Global, page, patiently};
use crate::error::{Error, Result, Untrusted};
use crate::report::{Metrics, Run, compare};
use crate::weights::write_atomically;
use clap::Args;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The largest file of a run that is read, in bytes.
const MOST: u64 = 1 << 26;

#[derive(Args)]
pub(super) struct ReportArgs {
    /// Folders of training runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page to write
    #[arg(long, value_name = "FILE", default_value = "runs.html")]
    out: PathBuf,
}

pub(super) fn run(args: &ReportArgs, global: &Global) -> Result<()> {
    page::check(&args.out)?;
    let read = |folder: &PathBuf| {
        let folder = folder.clone();
        patiently(&Untrusted::new(&folder).to_string(), move || of_folder(&folder))
    };
    let runs = args.runs.iter().map(read).collect::<Result<Vec<Run>>>()?;
    let html = compare(&runs);
    write_atomically(&args.out, |out| out.write_all(html.as_bytes()))?;
    global.say(format!("{}: {} runs side by side", Untrusted::new(&args.out), runs.len()));
    Ok(())
}

/// The run in a folder. One of an older version may lack columns of its table and settings.
fn of_folder(folder: &Path) -> Result<Run> {
    if !folder.is_dir() {
        return Err(Error::not_found("there is no such folder").at(Untrusted::new(folder)));
    }
    let table = folder.join("metrics.csv");
    let text = read(&table)?.ok_or_else(|| {
        Error::not_found("this folder has no metrics.csv: it is no run, or its first epoch is not done")
            .at(Untrusted::new(folder))
            .hint("give the folder that `ocelli train --out` has written to")
    })?;
    let metrics = Metrics::parse(&text).map_err(|e| e.at(Untrusted::new(&table)))?;
    let settings = folder.join("config.json");
    let config: Map<String, Value> = match read(&settings)? {
        None => Map::new(),
        Some(text) => serde_json::from_str(&text).map_err(|e| {
            Error::data(format!("the settings of this run cannot be read: {e}"))
                .at(Untrusted::new(&settings))
                .hint("mend or remove the file; without it the page has no settings of the run")
        })?,
    };
    Ok(Run { name: Untrusted::new(folder).to_string(), metrics, config })
}

/// The text of a file; `None` if it is not there.
fn read(path: &Path) -> Result<Option<String>> {
    let failed = |e| Error::from_io(e, "read", path);
    // Opening a named pipe would wait for a writer forever.
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() <= MOST => {}
        Ok(meta) if meta.is_file() => {
            return Err(Error::data("no run has a file that large").at(Untrusted::new(path)));
        }
        Ok(_) => return Err(Error::data("this is no file").at(Untrusted::new(path))),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
