//! `ocelli devices`

use super::{print, print_json, selftest};
use crate::error::Result;
use crate::gpu::{AdapterInfo, AdapterKind, adapters};
use crate::selftest::Verdict;
use clap::Args;
use serde::Serialize;

#[derive(Args)]
pub(super) struct DevicesArgs {
    /// One JSON object an adapter
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DevicesArgs) -> Result<()> {
    let list = adapters()?;
    if args.json {
        let listed = |info| print_json(&Listed { info, selftest: selftest::known(info) });
        return list.iter().try_for_each(listed);
    }
    for info in list {
        print(&format!("{}  {}", info.index, info.name))?;
        print(&format!("   {}, {}, {}", kind(info.kind), info.backend, info.driver))?;
        print(&format!("   {}", facts(&info)))?;
        print(&format!("   self-test: {}", tested(&info)))?;
    }
    Ok(())
}

/// An adapter with the verdict of its self-test, as JSON.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    info: &'a AdapterInfo,
    selftest: Option<Verdict>,
}

/// Whether the adapter has passed its self-test.
fn tested(info: &AdapterInfo) -> String {
    match selftest::known(info) {
        Some(verdict) => selftest::summary(&verdict),
        None => format!("not run (ocelli selftest --adapter {})", info.index),
    }
}

/// The kind of hardware in words.
pub(super) fn kind(kind: AdapterKind) -> &'static str {
    match kind {
        AdapterKind::Discrete => "graphics card",
        AdapterKind::Integrated => "integrated",
        AdapterKind::Virtual => "virtual",
        AdapterKind::Cpu => "software",
        AdapterKind::Other => "unknown kind",
    }
}

/// The limits and features of an adapter in one line.
fn facts(info: &AdapterInfo) -> String {
    let mut facts = vec![
        format!("largest binding {} MiB", info.max_binding_bytes >> 20),
        format!("largest buffer {} MiB", info.max_buffer_bytes >> 20),
    ];
    let features = [
        ("f16", info.f16),
        ("cooperative matrices", info.cooperative.is_some()),
        ("subgroups", info.subgroup_sizes.is_some()),
        ("timestamps", info.timestamps),
        ("kernels compiled by FXC, slowly", info.slow_compiler),
    ];
    facts.extend(features.into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_owned()));
    facts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_a_list_with_commas_whatever_there_is() {
        let mut info = AdapterInfo {
            index: 0,
            name: String::new(),
            kind: AdapterKind::Other,
            backend: String::new(),
            driver: String::new(),
            slow_compiler: false,
            dxc_refused: false,
            f16: false,
            cooperative: None,
            subgroup_sizes: None,
            timestamps: false,
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 256 << 20,
            max_workgroup_bytes: 0,
            max_workgroup_size: 0,
        };
        assert_eq!(facts(&info), "largest binding 128 MiB, largest buffer 256 MiB");
        (info.f16, info.slow_compiler) = (true, true);
        let wanted = "largest binding 128 MiB, largest buffer 256 MiB, f16, kernels compiled by FXC, slowly";
        assert_eq!(facts(&info), wanted);
    }
}
