//! Shows what the compilers of real GPUs make of Ocelli's kernels. `scripts/isa.sh` selects the driver; see
//! `benches/README.md`.

mod aco;
mod assembly;
mod chip;
mod driver;
mod kernels;
mod main_loop;
mod nak;
mod report;
mod spirv;

use chip::{Chip, Maker};
use clap::Parser;
use driver::Driver;
use kernels::{Step, Used, Wanted};
use ocelli::kernels::GemmKernel;
use ocelli::tensor::Precision;
use report::Row;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Compiles the kernels of a network for a chip that need not be there, and measures their main loops
#[derive(Parser)]
#[command(name = "isa")]
struct Args {
    /// The networks, with commas (see `ocelli show`)
    #[arg(long, value_name = "A", value_delimiter = ',', required_unless_present_any = ["list", "maker", "driver"])]
    arch: Vec<String>,
    /// Pictures in a step
    #[arg(long, value_name = "B", default_value_t = 32)]
    batch_size: usize,
    /// The chip
    #[arg(long, value_name = "C", default_value = "navi21")]
    chip: String,
    /// Whose kernels
    #[arg(long, value_enum, default_value = "train", value_name = "M")]
    mode: Step,
    /// Store activations in half precision
    #[arg(long)]
    f16: bool,
    /// Compute every product by this kernel where it can, such as "tiled 64x64"
    #[arg(long, value_name = "K", value_parser = kernels::gemm)]
    gemm: Option<GemmKernel>,
    /// Write a JSON object a line instead of a table
    #[arg(long)]
    json: bool,
    /// Write the assembly of every kernel to this folder
    #[arg(long, value_name = "DIR")]
    assembly: Option<PathBuf>,
    /// List the chips
    #[arg(long)]
    list: bool,
    /// Print who makes the chip
    #[arg(long, hide = true)]
    maker: bool,
    /// Print the name and the version of the driver
    #[arg(long, hide = true)]
    driver: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "isa: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    if args.list {
        return chip::CHIPS.iter().try_for_each(|c| print(&format!("{:<10} {}\n", c.name, c.about)));
    }
    let chip = chip::find(&args.chip)?;
    if args.maker {
        return print(&format!("{}\n", chip.maker.name()));
    }
    let driver = Driver::open()?;
    let right = match chip.maker {
        Maker::Amd => driver.name.to_lowercase().ends_with(&format!("radv {})", chip.name)),
        Maker::Nvidia => driver.version.starts_with("NVK"),
    };
    if !right {
        return Err(format!(
            "the driver offers {:?} ({}), not {}; scripts/isa.sh selects the driver",
            driver.name, driver.version, chip.name
        ));
    }
    if args.driver {
        return print(&format!("{} {}\n", driver.name, driver.version));
    }
    let precision = if args.f16 { Precision::F16 } else { Precision::F32 };
    let wanted = Wanted { batch: args.batch_size, step: args.mode, precision, gemm: args.gemm };
    let mut rows = Vec::new();
    for arch in &args.arch {
        let list = kernels::of(arch, wanted).map_err(|e| e.to_string())?;
        for (i, used) in list.iter().enumerate() {
            let (row, assembly) = measure(&driver, chip, arch, used)?;
            if let Some(folder) = &args.assembly {
                write(folder, &format!("{arch}-{i:03}-{}-{}.s", row.kernel, row.entry), &assembly)?;
            }
            if args.json {
                let line = serde_json::to_string(&row).map_err(|e| e.to_string())?;
                print(&format!("{line}\n"))?;
            }
            rows.push(row);
        }
    }
    if args.json {
        return Ok(());
    }
    print(&format!("{} by {}\n", driver.name, driver.version))?;
    print(&report::table(&rows))
}

fn measure(driver: &Driver, chip: &Chip, arch: &str, used: &Used) -> Result<(Row, String), String> {
    let kernel = &used.kernel;
    let at = |e: String| format!("{} {} {:?}: {e}", kernel.name, kernel.entry, kernel.constants);
    let module = spirv::translate(kernel).map_err(at)?;
    let made = driver.compile(&module.words, kernel.entry).map_err(at)?;
    let program = match chip.maker {
        Maker::Amd => aco::read(&made.assembly),
        Maker::Nvidia => nak::read(&made.assembly),
    };
    let turn = main_loop::find(&program, report::fma_of_block(kernel));
    let row = Row::new(chip, arch, used, module.workgroup_bytes, &made, turn);
    Ok((row, made.assembly))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = folder.join(name);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no error.
fn print(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|e| format!("standard output: {e}")),
    }
}
