// softmax_cross_entropy: the loss of a classifier, and the rank of the right class
//   loss[n] = log(sum over k of exp(x[n,k])) - x[n, label[n]]
//   rank[n] = how many classes have a larger x than the label's (of equal ones those with a lower index)
//   soft_loss[n] = weight[n] * (log(sum over k of exp(x[n,k])) - sum over k of t[n,k] x[n,k])
//   t[n,k] = (1 - smoothing) ((1 - share[n]) [k = first[n]] + share[n] [k = second[n]]) + smoothing/K
//   x (N,1,1,K)  labels (N), or targets (N,4): first, second, share, weight  ->  loss (N), rank (N)
// Note: the maximum is subtracted first, so logits of any size stay finite.
// Schedule: one invocation = one picture for loss and rank, one vec4 for dx. K is at most some thousands.
// Needs: flat

struct Params { n: u32, k: u32, smoothing: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // (N, K/4)
@group(0) @binding(2) var<storage, read> labels: array<u32>;         // (N)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;        // (N)
@group(0) @binding(2) var<storage, read> targets: array<vec4<f32>>;  // (N) first, second, share of the second, weight
// Gradient
@group(0) @binding(2) var<storage, read_write> row_out: array<vec2<f32>>; // (N) normaliser of each row
@group(0) @binding(3) var<storage, read> dy: array<f32>;             // (N)
@group(0) @binding(4) var<storage, read> row: array<vec2<f32>>;      // (N)
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>; // (N, K/4)

fn logit(n: u32, k: u32) -> f32 {
    return x[n * ((params.k + 3u) / 4u) + k / 4u][k % 4u];
}

// The largest logit, and the logarithm of the sum of exp(x - largest).
fn normaliser(n: u32) -> vec2<f32> {
    var largest = logit(n, 0u);
    for (var k = 1u; k < params.k; k++) {
        largest = max(largest, logit(n, k));
    }
    var sum = 0.0;
    for (var k = 0u; k < params.k; k++) {
        sum += exp(logit(n, k) - largest);
    }
    return vec2(largest, log(sum));
}

@compute @workgroup_size(64)
fn loss(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = flat(group, groups, lane);
    if n >= ((params.n + 3u) / 4u) * 4u {
        return;
    }
    var value = 0.0; // the padding of y
    if n < params.n {
        let z = normaliser(n);
        // Note: the difference first; the maximum may be far larger than the loss.
        value = z.y - (logit(n, min(labels[n], params.k - 1u)) - z.x);
    }
    y[n] = value;
}

@compute @workgroup_size(64)
fn rank(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = flat(group, groups, lane);
    if n >= ((params.n + 3u) / 4u) * 4u {
        return;
    }
    var count = 0u;
    if n < params.n {
        let label = min(labels[n], params.k - 1u);
        let own = logit(n, label);
        for (var k = 0u; k < params.k; k++) {
            let other = logit(n, k);
            count += select(0u, 1u, other > own || (other == own && k < label));
        }
    }
    y[n] = f32(count);
}

@compute @workgroup_size(64)
fn normalisers(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = flat(group, groups, lane);
    if n < params.n {
        row_out[n] = normaliser(n);
    }
}

// loss = log(sum exp(x)) - x[label]  =>  dx = (softmax(x) - [k = label]) * dy.
@compute @workgroup_size(64)
fn loss_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    let k4 = (params.k + 3u) / 4u;
    if i >= params.n * k4 {
        return;
    }
    let n = i / k4;
    let z = row[n];
    let k = vec4((i % k4) * 4u) + vec4(0u, 1u, 2u, 3u);
    let softmax = exp((x[i] - z.x) - z.y);
    let target_class = select(vec4<f32>(), vec4(1.0), k == vec4(min(labels[n], params.k - 1u)));
    dx[i] = select(vec4<f32>(), (softmax - target_class) * dy[n], k < vec4(params.k));
}

// Of four classes k, their shares in a target.
fn shares(soft: vec4<f32>, k: vec4<u32>) -> vec4<f32> {
    let first = select(vec4<f32>(), vec4(1.0 - soft.z), k == vec4(u32(soft.x)));
    let second = select(vec4<f32>(), vec4(soft.z), k == vec4(u32(soft.y)));
    return fma(vec4(1.0 - params.smoothing), first + second, vec4(params.smoothing / f32(params.k)));
}

@compute @workgroup_size(64)
fn soft_loss(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = flat(group, groups, lane);
    if n >= ((params.n + 3u) / 4u) * 4u {
        return;
    }
    var value = 0.0; // the padding of y
    if n < params.n {
        let z = normaliser(n);
        let soft = targets[n];
        // The differences to the maximum first, as in loss.
        let first = logit(n, min(u32(soft.x), params.k - 1u)) - z.x;
        let second = logit(n, min(u32(soft.y), params.k - 1u)) - z.x;
        var mean = 0.0;
        if params.smoothing != 0.0 {
            for (var k = 0u; k < params.k; k++) {
                mean += logit(n, k) - z.x;
            }
            mean /= f32(params.k);
        }
        let own = (1.0 - soft.z) * first + soft.z * second;
        value = soft.w * (z.y - ((1.0 - params.smoothing) * own + params.smoothing * mean));
    }
    y[n] = value;
}

// dx = (softmax(x) - t) * weight * dy.
@compute @workgroup_size(64)
fn soft_loss_dx(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = flat(group, groups, lane);
    let k4 = (params.k + 3u) / 4u;
    if i >= params.n * k4 {
        return;
    }
    let n = i / k4;
    let z = row[n];
    let k = vec4((i % k4) * 4u) + vec4(0u, 1u, 2u, 3u);
    let softmax = exp((x[i] - z.x) - z.y);
    let soft = targets[n];
    let last = f32(params.k - 1u);
    let known = vec4(min(soft.xy, vec2(last)), soft.zw);
    dx[i] = select(vec4<f32>(), (softmax - shares(known, k)) * (known.w * dy[n]), k < vec4(params.k));
}
