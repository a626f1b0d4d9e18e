//! The times of the kernels of a step as tables.

use super::By;
use crate::cli::table::{Cell, Table};
use crate::plan::KernelTime;
use crate::train::Profile;

/// The table that was asked for, and the lines below it.
pub(super) fn tables(profile: &Profile, by: By) -> (Table, Vec<String>) {
    match by {
        By::Kernels => (kernels(profile), vec![ceiling(profile), products(profile)]),
        By::Layers => (layers(profile), vec![products(profile)]),
    }
}

/// The kernels of a step, slowest first.
fn kernels(profile: &Profile) -> Table {
    let total = profile.ms().max(1e-9);
    let mut table = Table::of_numbers(["kernel", "calls", "ms", "share", "GFLOP/s", "GB/s", "of ceiling"]);
    for k in &profile.kernels {
        table.push([
            Cell::quoted(k.name),
            Cell::plain(k.calls.to_string()),
            Cell::plain(format!("{:.3}", k.ms)),
            Cell::plain(format!("{:.1}%", 100.0 * k.ms / total)),
            rate(Some(k)),
            Cell::plain(format!("{:.1}", k.gbytes_per_s())),
            Cell::plain(format!("{:.0}%", 100.0 * profile.roofline.reached_by(k))),
        ]);
    }
    table
}

/// The layers of a step in order: the rates of the three products of each, and the time of everything else.
fn layers(profile: &Profile) -> Table {
    let total = profile.ms().max(1e-9);
    let mut table = Table::of_numbers(["layer", "ms", "share", "y GFLOP/s", "dx", "dw", "rest ms"]);
    for l in &profile.layers {
        let product = |suffix: &str| l.kernels.iter().find(|k| k.macs > 0 && k.name.ends_with(suffix));
        let rest: f64 = l.kernels.iter().filter(|k| k.macs == 0).map(|k| k.ms).sum();
        table.push([
            Cell::quoted(if l.layer.is_empty() { "-" } else { &l.layer }),
            Cell::plain(format!("{:.3}", l.ms())),
            Cell::plain(format!("{:.1}%", 100.0 * l.ms() / total)),
            rate(product(".y")),
            rate(product(".dx")),
            rate(product(".dw")),
            Cell::plain(format!("{rest:.3}")),
        ]);
    }
    table
}

fn rate(kernel: Option<&KernelTime>) -> Cell {
    Cell::plain(kernel.and_then(KernelTime::gflops_per_s).map_or("-".to_owned(), |rate| format!("{rate:.1}")))
}

/// The rate of all products beside that of the best one.
fn products(profile: &Profile) -> String {
    let (products, roofline) = (profile.products(), profile.roofline);
    format!(
        "products: {:.1} GFLOP/s, {:.0}% of the best matrix product here ({:.1} GFLOP/s); the rest takes {:.0}% of the step",
        products.gflops_per_s().unwrap_or(0.0),
        100.0 * roofline.reached_by(&products),
        roofline.gflops_per_s,
        100.0 * (1.0 - products.ms / profile.ms().max(1e-9))
    )
}

/// What the last column of the table of kernels is a share of.
fn ceiling(profile: &Profile) -> String {
    format!(
        "what is no product is held against the best copy here ({:.1} GB/s read and written)",
        profile.roofline.gbytes_per_s
    )
}
