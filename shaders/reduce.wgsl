// reduce: sums over rows in a fixed order
//   y[c] = sum over i of x[i, c]
//   x (rows, C)  ->  y (C)
// Algorithm: first the sums of chunks of neighbouring rows, then the sum of those. The order depends on the
//   sizes alone, so the same input gives the same bits; two short sums lose less than one long one.
// Schedule: one invocation = one vec4 of columns of one chunk. Eight rows at a time are loaded, then added one after the other.
// Needs: flat

// Rows that lie in several buffers come one buffer at a time; `first` is the number of its first chunk.
struct Params { rows: u32, c4: u32, chunk: u32, chunks: u32, first: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<Stored>>;       // (rows, C/4)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>; // (chunks, C/4)

@compute @workgroup_size(64)
fn sum_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    if i >= params.chunks * params.c4 {
        return;
    }
    let first = (i / params.c4) * params.chunk;
    let end = min(first + params.chunk, params.rows);
    let c = i % params.c4;
    let eights = first + (end - first) / 8u * 8u;
    var sum = vec4<f32>();
    for (var row = first; row < eights; row += 8u) {
        let at = row * params.c4 + c;
        let x0 = vec4<f32>(x[at]);
        let x1 = vec4<f32>(x[at + params.c4]);
        let x2 = vec4<f32>(x[at + 2u * params.c4]);
        let x3 = vec4<f32>(x[at + 3u * params.c4]);
        let x4 = vec4<f32>(x[at + 4u * params.c4]);
        let x5 = vec4<f32>(x[at + 5u * params.c4]);
        let x6 = vec4<f32>(x[at + 6u * params.c4]);
        let x7 = vec4<f32>(x[at + 7u * params.c4]);
        sum = (((((((sum + x0) + x1) + x2) + x3) + x4) + x5) + x6) + x7;
    }
    for (var row = eights; row < end; row++) {
        sum += vec4<f32>(x[row * params.c4 + c]);
    }
    y[params.first * params.c4 + i] = sum;
}
