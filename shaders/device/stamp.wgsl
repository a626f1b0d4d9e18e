// stamp: the proof that a submission was run to its end, and of what its results were then
//   stamps[first + i] = (number, one more than before, sum over samples k of scrambled(result_i[k * stride] ^ scrambled(k)), 0)
//   result_i  ->  stamps[first + i], up to four results
// Schedule: one workgroup; each lane sums every 64th sample of each result.
// Note: integers, so that the order of the sum does not count and the host gets the same bits.

struct Params {
    first: u32, count: u32,
    words_a: u32, words_b: u32, words_c: u32, words_d: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> number: array<u32>;  // (4) the first is the number of the run
@group(0) @binding(2) var<storage, read> result_a: array<u32>; // (words_a)
@group(0) @binding(3) var<storage, read> result_b: array<u32>; // (words_b)
@group(0) @binding(4) var<storage, read> result_c: array<u32>; // (words_c)
@group(0) @binding(5) var<storage, read> result_d: array<u32>; // (words_d)
@group(0) @binding(6) var<storage, read_write> stamps: array<vec4<u32>>; // (results)

const LANES: u32 = 64u;
const SAMPLES: u32 = 1024u;

var<workgroup> sh_sums: array<vec4<u32>, LANES>;

// A permutation of 32 bits (Wellons, "Prospecting for hash functions", 2018).
fn scrambled(word: u32) -> u32 {
    var x = word;
    x = (x ^ (x >> 16u)) * 0x7feb352du;
    x = (x ^ (x >> 15u)) * 0x846ca68bu;
    return x ^ (x >> 16u);
}

fn stride(words: u32) -> u32 {
    return max(words / SAMPLES, 1u);
}

@compute @workgroup_size(LANES)
fn stamp(@builtin(local_invocation_index) lane: u32) {
    var sum = vec4<u32>();
    let step_a = stride(params.words_a);
    for (var k = lane; k * step_a < params.words_a; k += LANES) {
        sum.x += scrambled(result_a[k * step_a] ^ scrambled(k));
    }
    let step_b = stride(params.words_b);
    for (var k = lane; k * step_b < params.words_b; k += LANES) {
        sum.y += scrambled(result_b[k * step_b] ^ scrambled(k));
    }
    let step_c = stride(params.words_c);
    for (var k = lane; k * step_c < params.words_c; k += LANES) {
        sum.z += scrambled(result_c[k * step_c] ^ scrambled(k));
    }
    let step_d = stride(params.words_d);
    for (var k = lane; k * step_d < params.words_d; k += LANES) {
        sum.w += scrambled(result_d[k * step_d] ^ scrambled(k));
    }
    sh_sums[lane] = sum;
    workgroupBarrier();
    if lane < params.count {
        var all = vec4<u32>();
        for (var i = 0u; i < LANES; i++) {
            all += sh_sums[i];
        }
        let at = params.first + lane;
        stamps[at] = vec4(number[0], stamps[at].y + 1u, all[lane], 0u);
    }
}
