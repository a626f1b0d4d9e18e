// rows: where an invocation stands among rows of channels, without a division: the grid has channels in its first dimension
//   and rows in the others, and a workgroup of 64 some neighbouring channels of some neighbouring rows
//   src/kernels/map_grid.rs has the grid.
// Needs: params
// Provides: row_spot

struct RowSpot { row: u32, c: u32 }

// Row and vec4 of channels of a lane. Both may lie behind the last one.
fn row_spot(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> RowSpot {
    let c = (group.x << params.lanes_log2) + (lane & ((1u << params.lanes_log2) - 1u));
    let row = (group.z * groups.y + group.y) << (6u - params.lanes_log2);
    return RowSpot(row + (lane >> params.lanes_log2), c);
}
