//! Pages of Markdown that people can send: about one adapter.

use super::devices::kind;
use super::table::{Cell, Table};
use crate::error::{Error, Result, Untrusted};
use crate::gpu::AdapterInfo;
use std::path::Path;
use std::time::SystemTime;

/// Refuses a file that could not be written in the end, before minutes are spent on it.
pub(super) fn check(file: &Path) -> Result<()> {
    let is_folder = file.is_dir() || file.file_name().is_none();
    if is_folder {
        return Err(Error::usage("the report is a file, and this is a folder")
            .at(Untrusted::new(file))
            .hint("give a name in it, such as report.md"));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let writes = tempfile::tempfile_in(folder);
    writes.map(drop).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found("there is no such folder for the report")
            .at(Untrusted::new(folder))
            .hint("make it first, or choose another"),
        _ => Error::from_io(e, "write to this folder", folder),
    })
}

/// Where the page was made, and by which command.
pub(super) fn about(info: &AdapterInfo, command: String) -> Table {
    let mut table = Table::of_text(["", ""]);
    let system = format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH);
    table.push([Cell::plain("adapter"), Cell::quoted(&info.name)]);
    table.push([Cell::plain("kind"), Cell::plain(format!("{}, {}", kind(info.kind), info.backend))]);
    table.push([Cell::plain("driver"), Cell::quoted(&info.driver)]);
    table.push([Cell::plain("system"), Cell::plain(system)]);
    table.push([Cell::plain("version"), Cell::plain(format!("ocelli {}", env!("CARGO_PKG_VERSION")))]);
    table.push([Cell::plain("date"), Cell::plain(httpdate::fmt_http_date(SystemTime::now()))]);
    table.push([Cell::plain("command"), Cell::quoted(command)]);
    table
}
