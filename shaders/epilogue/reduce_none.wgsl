// reduce_none: no fused reduction; takes the place of epilogue/reduce_mean_m2.wgsl and epilogue/reduce_sum_dot.wgsl
// Needs: Terms
// Provides: begin_column, end_column, see, write_part

fn begin_column() {}

fn see(v: vec4<f32>, pixel: u32, col: u32, all4: u32, terms: Terms) {}

fn end_column(row: u32, col4: u32) {}

fn write_part(part: u32, col: u32, all4: u32) {}
