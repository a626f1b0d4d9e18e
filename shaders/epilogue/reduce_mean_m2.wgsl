// reduce_mean_m2: the fused reduction of what a kernel stores to mean and squared deviations, for the batch norm that reads it
//   A lane reduces some rows of a column, lanes are merged where that is cheap, and the result is written as a partial;
//   include/batch_norm_reductions.wgsl merges the partials.
// Algorithm: number by number, and lanes and partials by the formula of Chan, Golub and LeVeque (1979).
// Note: what is reduced is rounded as it is stored.
// Needs: PARTS, Terms
// Provides: Seen, begin_column, joined, see, seen, write_part

@group(0) @binding(PARTS) var<storage, read_write> parts: array<vec4<f32>>; // (partial, 2*K/4 + 1) mean, sum of squares; how many

struct Seen { count: f32, first: vec4<f32>, second: vec4<f32> } // mean, sum of squared deviations

var<private> seen: Seen;

fn begin_column() {
    seen = Seen();
}

fn see(v: vec4<f32>, pixel: u32, col: u32, all4: u32, terms: Terms) {
    seen.count += 1.0;
    let d = v - seen.first;
    seen.first = fma(d, vec4(1.0 / seen.count), seen.first);
    seen.second = fma(d, v - seen.first, seen.second);
}

fn joined(x: Seen, y: Seen) -> Seen {
    let count = x.count + y.count;
    let d = y.first - x.first;
    let part = y.count / max(count, 1.0);
    return Seen(count, fma(d, vec4(part), x.first), x.second + y.second + d * d * (x.count * part));
}

fn write_part(part: u32, col: u32, all4: u32) {
    let i = part * (2u * all4 + 1u);
    parts[i + col] = seen.first;
    parts[i + all4 + col] = seen.second;
    if col == 0u {
        parts[i + 2u * all4] = vec4(seen.count);
    }
}
