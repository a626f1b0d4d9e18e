// map: where an invocation stands in a map, without a division: the grid has columns and channels, lines, and pictures in its
//   three dimensions, and a workgroup of 64 some neighbouring channels of some neighbouring columns
//   src/kernels/map_grid.rs has the grid. It may be cut short along lines and pictures, of which an invocation then takes
//   several.
// Needs: params
// Provides: spot

struct Spot { column: u32, c: u32 }

// Column and vec4 of channels of a lane. Both may lie behind the last one.
fn spot(block: u32, lane: u32) -> Spot {
    // Exact: with at most 65,535 workgroups the rounded product is no whole number away from the quotient.
    let column = u32((f32(block) + 0.5) * params.per_column);
    let c = (block - column * params.blocks) << params.lanes_log2;
    let columns_log2 = 6u - params.lanes_log2;
    return Spot((column << columns_log2) + (lane >> params.lanes_log2), c + (lane & ((1u << params.lanes_log2) - 1u)));
}
