// softmax_cross_entropy: the loss of a classifier, and the rank of the right class
//   loss[n] = log(sum over k of exp(x[n,k])) - x[n, label[n]]
//   rank[n] = how many classes have a larger x than the label's (of equal ones those with a lower index)
//   x (N,1,1,K)  labels (N)  ->  loss (N), rank (N)
// Note: the maximum is subtracted first, so logits of any size stay finite.
// Schedule: one workgroup = one picture for loss and rank, whose invocations read neighbouring vec4s; one invocation = one vec4 for dx.
// Needs: row_spot

struct Params {
    n: u32, k: u32,
    lanes_log2: u32, // the grid of dx, see include/rows.wgsl
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // (N, K/4)
@group(0) @binding(2) var<storage, read> labels: array<u32>;         // (N)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;        // (N)
// Gradient
@group(0) @binding(2) var<storage, read_write> row_out: array<vec2<f32>>; // (N) normaliser of each row
@group(0) @binding(3) var<storage, read> dy: array<f32>;             // (N)
@group(0) @binding(4) var<storage, read> row: array<vec2<f32>>;      // (N)
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>; // (N, K/4)

const THREADS: u32 = 64u;

var<workgroup> sh_value: array<f32, THREADS>;
var<workgroup> sh_count: array<u32, THREADS>;

fn k4() -> u32 {
    return (params.k + 3u) / 4u;
}

fn logit(n: u32, k: u32) -> f32 {
    return x[n * k4() + k / 4u][k % 4u];
}

// The classes of the vec4 at i of a row.
fn classes(i: u32) -> vec4<u32> {
    return vec4(4u * i) + vec4(0u, 1u, 2u, 3u);
}

// The largest value of all invocations.
fn largest_of(lane: u32, value: f32) -> f32 {
    sh_value[lane] = value;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if lane < half {
            sh_value[lane] = max(sh_value[lane], sh_value[lane + half]);
        }
        workgroupBarrier();
    }
    let all = sh_value[0];
    workgroupBarrier();
    return all;
}

fn sum_of(lane: u32, value: f32) -> f32 {
    sh_value[lane] = value;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if lane < half {
            sh_value[lane] += sh_value[lane + half];
        }
        workgroupBarrier();
    }
    return sh_value[0];
}

// The largest logit, and the logarithm of the sum of exp(x - largest).
fn normaliser(n: u32, lane: u32) -> vec2<f32> {
    let first = n * k4();
    var four = vec4(x[first].x);
    for (var i = lane; i < k4(); i += THREADS) {
        four = max(four, select(four, x[first + i], classes(i) < vec4(params.k)));
    }
    let largest = largest_of(lane, max(max(four.x, four.y), max(four.z, four.w)));
    var sum = vec4<f32>();
    for (var i = lane; i < k4(); i += THREADS) {
        sum += select(vec4<f32>(), exp(x[first + i] - largest), classes(i) < vec4(params.k));
    }
    return vec2(largest, log(sum_of(lane, (sum.x + sum.y) + (sum.z + sum.w))));
}

@compute @workgroup_size(THREADS)
fn loss(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = group.y * groups.x + group.x;
    if n >= ((params.n + 3u) / 4u) * 4u {
        return;
    }
    var value = 0.0; // the padding of y
    if n < params.n {
        let z = normaliser(n, lane);
        // Note: the difference first; the maximum may be far larger than the loss.
        value = z.y - (logit(n, min(labels[n], params.k - 1u)) - z.x);
    }
    if lane == 0u {
        y[n] = value;
    }
}

@compute @workgroup_size(THREADS)
fn rank(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = group.y * groups.x + group.x;
    if n >= ((params.n + 3u) / 4u) * 4u {
        return;
    }
    var four = vec4<u32>();
    if n < params.n {
        let label = min(labels[n], params.k - 1u);
        let own = logit(n, label);
        for (var i = lane; i < k4(); i += THREADS) {
            let other = x[n * k4() + i];
            let k = classes(i);
            let before = (other > vec4(own)) | ((other == vec4(own)) & (k < vec4(label)));
            four += select(vec4<u32>(), vec4(1u), before & (k < vec4(params.k)));
        }
    }
    sh_count[lane] = (four.x + four.y) + (four.z + four.w);
    workgroupBarrier();
    if lane == 0u {
        var count = 0u;
        for (var i = 0u; i < THREADS; i++) {
            count += sh_count[i];
        }
        y[n] = f32(count);
    }
}

@compute @workgroup_size(THREADS)
fn normalisers(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = group.y * groups.x + group.x;
    if n >= params.n {
        return;
    }
    let z = normaliser(n, lane);
    if lane == 0u {
        row_out[n] = z;
    }
}

// loss = log(sum exp(x)) - x[label]  =>  dx = (softmax(x) - [k = label]) * dy.
@compute @workgroup_size(64)
fn loss_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_spot(group, groups, lane);
    if at.row >= params.n || at.c >= k4() {
        return;
    }
    let i = at.row * k4() + at.c;
    let z = row[at.row];
    let k = classes(at.c);
    let softmax = exp((x[i] - z.x) - z.y);
    let target_class = select(vec4<f32>(), vec4(1.0), k == vec4(min(labels[at.row], params.k - 1u)));
    dx[i] = select(vec4<f32>(), (softmax - target_class) * dy[at.row], k < vec4(params.k));
}
