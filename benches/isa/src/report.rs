//! The measures of a kernel on a chip: a line of JSON, or a row of a table.

use crate::chip::{Chip, Maker};
use crate::driver::Executable;
use crate::kernels::Used;
use crate::main_loop::Turn;
use ocelli::gpu::Kernel;
use serde::Serialize;
use std::collections::BTreeMap;

/// The measures of a kernel. A figure that a driver does not give is `null`.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) chip: String,
    pub(crate) arch: String,
    pub(crate) kernel: &'static str,
    pub(crate) entry: &'static str,
    pub(crate) constants: BTreeMap<&'static str, i32>,
    /// Dispatches of a step.
    pub(crate) uses: u32,
    /// Multiply-adds of a step.
    pub(crate) macs: u64,
    /// Vector registers of an invocation.
    pub(crate) registers: Option<u64>,
    /// Registers that lie in memory, or on NVIDIA bytes of it.
    pub(crate) spills: Option<u64>,
    /// Bytes of workgroup memory.
    pub(crate) lds: u64,
    /// Waves that a SIMD (AMD) or a scheduler (NVIDIA) can hold.
    pub(crate) waves: Option<u64>,
    /// Instructions of a turn of the main loop.
    pub(crate) loop_instructions: Option<u64>,
    /// Cycles in which they are issued, on NVIDIA.
    pub(crate) issue_cycles: Option<u64>,
    pub(crate) fma: Option<u64>,
    pub(crate) fma_share: Option<f64>,
    /// Matrix instructions.
    pub(crate) matrix: Option<u64>,
    /// Loads from memory.
    pub(crate) loads: Option<u64>,
    /// Waits on memory from the first load to the last multiply-add.
    pub(crate) memory_waits: Option<u64>,
    pub(crate) divisions: Option<u64>,
    pub(crate) branches: Option<u64>,
}

impl Row {
    pub(crate) fn new(
        chip: &Chip,
        arch: &str,
        used: &Used,
        lds: u64,
        made: &Executable,
        turn: Option<Turn>,
    ) -> Self {
        let kernel = &used.kernel;
        let figure = |name: &str| made.figures.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
        let threads = constant(kernel, "THREADS").unwrap_or(64);
        let (registers, spills, waves) = match chip.maker {
            Maker::Amd => {
                let spills = figure("Spilled VGPRs").map(|v| v + figure("Spilled SGPRs").unwrap_or(0));
                (figure("VGPRs"), spills, figure("Subgroups per SIMD"))
            }
            Maker::Nvidia => {
                let registers = figure("Number of GPRs");
                (registers, figure("SLM Size"), registers.map(|r| nvidia_waves(r, threads)))
            }
        };
        let of = |f: fn(&Turn) -> u64| turn.as_ref().map(f);
        Self {
            chip: chip.name.to_owned(),
            arch: arch.to_owned(),
            kernel: kernel.name,
            entry: kernel.entry,
            constants: kernel.constants.iter().copied().collect(),
            uses: used.uses,
            macs: used.macs,
            registers,
            spills,
            lds,
            waves,
            loop_instructions: of(|t| t.instructions),
            issue_cycles: of(|t| t.cycles).filter(|_| chip.maker == Maker::Nvidia),
            fma: of(|t| t.fma),
            fma_share: turn.map(|t| t.fma as f64 / (t.instructions as f64).max(1.0)),
            matrix: of(|t| t.matrix),
            loads: of(|t| t.loads),
            memory_waits: of(|t| t.memory_waits),
            divisions: of(|t| t.divisions),
            branches: of(|t| t.branches),
        }
    }

    /// The class of a matrix product; `None` for other kernels.
    pub(crate) fn class(&self) -> Option<&'static str> {
        let whole = self.constants.contains_key("POINTWISE");
        match self.kernel {
            _ if self.macs == 0 => None,
            "conv2d.dw" => Some("dw"),
            _ if whole => Some("y, dx 1x1 and linear"),
            _ => Some("y, dx gathered"),
        }
    }
}

/// The warps that a scheduler can hold: 65,536 registers of a processor for four schedulers, given in eights, and only whole
/// workgroups.
fn nvidia_waves(registers: u64, threads: u64) -> u64 {
    let workgroups = 65_536 / (registers.next_multiple_of(8).max(1) * threads.max(1));
    workgroups * threads.div_ceil(32) / 4
}

/// The value of a constant of a kernel.
pub(crate) fn constant(kernel: &Kernel, name: &str) -> Option<u64> {
    let value = kernel.constants.iter().find(|(n, _)| *n == name)?.1;
    u64::try_from(value).ok()
}

/// The multiply-adds of an invocation for a block of the depth; `None` for a kernel without such blocks.
pub(crate) fn fma_of_block(kernel: &Kernel) -> Option<u64> {
    let of = |name| constant(kernel, name);
    (16 * of("ROWS4")? * of("COLS4")? * of("TILE_K")?).checked_div(of("THREADS")?)
}

/// The mean of a figure over products, weighted by their multiply-adds.
pub(crate) fn weighted<'a>(rows: impl Iterator<Item = &'a Row>) -> f64 {
    let (sum, weight) = rows
        .filter_map(|row| Some((row.macs as f64, row.fma_share?)))
        .fold((0.0, 0.0), |(sum, weight), (macs, share)| (sum + macs * share, weight + macs));
    sum / f64::max(weight, 1.0)
}

fn or_dash(value: Option<u64>) -> String {
    value.map_or("-".to_owned(), |v| v.to_string())
}

/// The table of all rows, and below it the share of multiply-adds of each class of products.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<20} {:<18} {:>5} {:>7} {:>5} {:>6} {:>6} {:>5} {:>6} {:>6} {:>6} {:>5} {:>4} {:>5} {:>4} {:>4} {:>4}  constants\n",
        "kernel",
        "entry",
        "uses",
        "GMAC",
        "regs",
        "spills",
        "lds",
        "waves",
        "loop",
        "cycles",
        "fma",
        "share",
        "mat",
        "loads",
        "wait",
        "div",
        "br"
    );
    for r in rows {
        let constants: Vec<String> = r.constants.iter().map(|(n, v)| format!("{n}={v}")).collect();
        text += &format!(
            "{:<20} {:<18} {:>5} {:>7.2} {:>5} {:>6} {:>6} {:>5} {:>6} {:>6} {:>6} {:>5} {:>4} {:>5} {:>4} {:>4} {:>4}  {}\n",
            r.kernel,
            r.entry,
            r.uses,
            r.macs as f64 / 1e9,
            or_dash(r.registers),
            or_dash(r.spills),
            r.lds,
            or_dash(r.waves),
            or_dash(r.loop_instructions),
            or_dash(r.issue_cycles),
            or_dash(r.fma),
            r.fma_share.map_or("-".to_owned(), |s| format!("{s:.2}")),
            or_dash(r.matrix.filter(|count| *count > 0)),
            or_dash(r.loads),
            or_dash(r.memory_waits),
            or_dash(r.divisions),
            or_dash(r.branches),
            constants.join(" ")
        );
    }
    let mut classes: Vec<&str> = rows.iter().filter_map(Row::class).collect();
    classes.sort_unstable();
    classes.dedup();
    for class in classes {
        let of = || rows.iter().filter(|row| row.class() == Some(class));
        let most = |f: fn(&Row) -> Option<u64>| or_dash(of().filter_map(f).max());
        let cycles: Vec<f64> =
            of().filter_map(|r| Some(r.issue_cycles? as f64 / r.fma?.max(1) as f64)).collect();
        text += &format!(
            "{class}: {} kernels, share of fma {:.3}; at most {} registers, {} spills, {} waits on memory, {} divisions; at least {} waves",
            of().count(),
            weighted(of()),
            most(|r| r.registers),
            most(|r| r.spills),
            most(|r| r.memory_waits),
            most(|r| r.divisions),
            or_dash(of().filter_map(|r| r.waves).min()),
        );
        if let Some(worst) = cycles.into_iter().max_by(f64::total_cmp) {
            text += &format!("; at most {worst:.2} issue cycles for an fma");
        }
        text.push('\n');
    }
    text
}
