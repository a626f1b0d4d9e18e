//! Grids of kernels over maps and over rows of channels. `spot` of `shaders/include/map.wgsl` and `row_spot` of
//! `shaders/include/rows.wgsl` find the place of an invocation without a division.

use super::recorder::fold;
use crate::gpu::MAX_WORKGROUPS;

/// Channels and columns of a workgroup of 64 invocations, and the grid of workgroups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MapGrid {
    /// The logarithm of the `vec4`s of channels that a workgroup has side by side.
    pub(crate) lanes_log2: u32,
    /// Workgroups for the channels of a column.
    pub(crate) blocks: u32,
    /// 1 / `blocks`.
    pub(crate) per_column: f32,
    /// Workgroups for columns and channels, for lines, and for pictures.
    pub(crate) workgroups: [u32; 3],
}

impl MapGrid {
    /// The grid over `pictures` maps of `lines` and `columns`, with `c4` `vec4`s of channels.
    pub(crate) fn new(c4: u32, columns: u32, lines: u32, pictures: u32) -> Self {
        let lanes_log2 = lanes_log2(c4);
        let blocks = c4.div_ceil(1 << lanes_log2).max(1);
        let x = columns.div_ceil(64 >> lanes_log2).saturating_mul(blocks);
        let workgroups = [x, lines.min(MAX_WORKGROUPS), pictures.min(MAX_WORKGROUPS)];
        Self { lanes_log2, blocks, per_column: 1.0 / blocks as f32, workgroups }
    }
}

/// Channels of a workgroup of 64 invocations over rows of channels, and the grid of workgroups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RowGrid {
    /// The logarithm of the `vec4`s of channels that a workgroup has side by side.
    pub(crate) lanes_log2: u32,
    /// Workgroups for channels, and for rows in the other two dimensions.
    pub(crate) workgroups: [u32; 3],
}

impl RowGrid {
    /// The grid over `rows` of `c4` `vec4`s of channels.
    pub(crate) fn new(c4: u32, rows: u32) -> Self {
        let lanes_log2 = lanes_log2(c4);
        let [y, z, _] = fold(rows.div_ceil(64 >> lanes_log2));
        Self { lanes_log2, workgroups: [c4.div_ceil(1 << lanes_log2).max(1), y, z] }
    }
}

/// The most `vec4`s side by side of which at most a seventeenth stands idle. With fewer than four the reads of a column
/// would be shorter than 64 bytes.
fn lanes_log2(c4: u32) -> u32 {
    let padded = |log2: u32| u64::from(c4.div_ceil(1 << log2)) << log2;
    let least = c4.next_power_of_two().trailing_zeros().min(2);
    let fits = |log2: &u32| 16 * padded(*log2) <= 17 * u64::from(c4);
    (least..=6).rev().find(fits).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lanes_stand_idle() {
        for (c4, lanes) in [(1, 1), (2, 2), (3, 4), (4, 4), (16, 16), (24, 8), (48, 16), (132, 8), (512, 64)]
        {
            assert_eq!(1 << lanes_log2(c4), lanes, "{c4}");
        }
    }

    #[test]
    fn a_workgroup_finds_its_column_and_channels() {
        // As `spot` computes it.
        for c4 in [1, 3, 5, 24, 49, 132, 2048, 100_000] {
            let grid = MapGrid::new(c4, 1, 1, 1);
            for block in (0..MAX_WORKGROUPS).step_by(7).chain([grid.blocks - 1, MAX_WORKGROUPS]) {
                let column = ((block as f32 + 0.5) * grid.per_column) as u32;
                assert_eq!(column, block / grid.blocks, "{c4} {block}");
            }
        }
    }
}
