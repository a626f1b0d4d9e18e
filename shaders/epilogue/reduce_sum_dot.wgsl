// reduce_sum_dot: the fused reduction of what a kernel stores to the sums of the gradient of batch norm, whose dy it is
//   sum of dy, sum of dy*(x - mean)
//   Lanes and partials as in epilogue/reduce_mean_m2.wgsl; include/batch_norm_reductions.wgsl adds the partials. This text
//   takes the place of epilogue/affine.wgsl too: gradients have no bias and no affine map.
// Note: what is reduced is rounded as it is stored.
// Needs: PARTS
// Provides: Seen, Terms, begin_column, joined, mapped, see, seen, terms_of, write_part

@group(0) @binding(2) var<storage, read> bn_stats: array<vec4<f32>>;    // (2, C/4) mean, var
@group(0) @binding(3) var<storage, read> bn_x: array<vec4<StoredC>>;    // (N, H, W, C/4)
@group(0) @binding(PARTS) var<storage, read_write> parts: array<vec4<f32>>; // (partial, 2, C/4)

struct Terms { mean: vec4<f32> }

struct Seen { count: f32, first: vec4<f32>, second: vec4<f32> } // the two sums; the count has no use

var<private> seen: Seen;

fn terms_of(col: u32, all4: u32) -> Terms {
    return Terms(bn_stats[col]);
}

fn mapped(v: vec4<f32>, terms: Terms) -> vec4<f32> {
    return v;
}

fn begin_column() {
    seen = Seen();
}

fn see(v: vec4<f32>, pixel: u32, col: u32, all4: u32, terms: Terms) {
    seen.first += v;
    seen.second = fma(v, vec4<f32>(bn_x[pixel * all4 + col]) - terms.mean, seen.second);
}

fn joined(x: Seen, y: Seen) -> Seen {
    return Seen(0.0, x.first + y.first, x.second + y.second);
}

fn write_part(part: u32, col: u32, all4: u32) {
    parts[2u * part * all4 + col] = seen.first;
    parts[(2u * part + 1u) * all4 + col] = seen.second;
}
