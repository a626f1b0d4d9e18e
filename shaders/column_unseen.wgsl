// column_unseen: for kernels whose numbers nobody looks at on the way out; the twin of column_statistics.wgsl and column_sums.wgsl

fn begin_column() {}

fn see(v: vec4<f32>, pixel: u32, col: u32, all4: u32, terms: Terms) {}

fn end_column(row: u32, col4: u32) {}

fn write_part(part: u32, col: u32, all4: u32) {}
