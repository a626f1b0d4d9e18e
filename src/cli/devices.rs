//! `ocelli devices`

use super::{print, print_json};
use crate::error::Result;
use crate::gpu::{AdapterKind, adapters};
use clap::Args;

#[derive(Args)]
pub(super) struct DevicesArgs {
    /// One JSON object an adapter
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DevicesArgs) -> Result<()> {
    let list = adapters()?;
    if args.json {
        return list.iter().try_for_each(print_json);
    }
    for info in list {
        let kind = match info.kind {
            AdapterKind::Discrete => "graphics card",
            AdapterKind::Integrated => "integrated",
            AdapterKind::Virtual => "virtual",
            AdapterKind::Cpu => "software",
            AdapterKind::Other => "unknown kind",
        };
        let has = |name, yes| if yes { name } else { "" };
        let features = [
            has(" f16", info.f16),
            has(" subgroups", info.subgroup_sizes.is_some()),
            has(" timestamps", info.timestamps),
            has(", kernels compiled by FXC, slowly", info.slow_compiler),
        ];
        print(&format!("{}  {}", info.index, info.name))?;
        print(&format!("   {kind}, {}, {}", info.backend, info.driver))?;
        print(&format!(
            "   largest binding {} MiB, largest buffer {} MiB,{}",
            info.max_binding_bytes >> 20,
            info.max_buffer_bytes >> 20,
            features.concat()
        ))?;
    }
    Ok(())
}
