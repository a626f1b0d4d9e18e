// tiled_transposed: the form of gemm/tiled.wgsl whose rows of a are taps of the kernel, for the gradient of weights
//   c[m, n] = sum over k of a[m, k] * b[k, n], k a pixel
//   conv2d.wgsl says where a and b lie.
// Schedule: that of gemm/tiled.wgsl. Both operands lie in memory as they do in workgroup memory: an invocation loads the same
//   four rows of a and the same vec4 column of b for several pixels, and walks on from block to block without a division.
// Needs: COLS4, INSIDE, LOADS_A, LOADS_B, POINTWISE, ROWS4, THREADS, TILE_K, WHOLE, a, b, begin, corner, finish, multiply,
//   params, pixel, put_a, put_b, tap, the_group
// Provides: TRANSPOSED

const TRANSPOSED = true;

// What the next block needs, as it lies in memory.
var<private> next_a: array<vec4<StoredA>, 8>;
var<private> next_b: array<vec4<StoredB>, 4>;
// Whether it is there: not padding, and not behind the depth.
var<private> has_a: array<bool, 8>;
var<private> has_b: array<bool, 4>;

// Where a has a tap of a pixel: its index, its row and its column, which may be in the padding.
struct Place { index: u32, h: u32, w: u32 }
var<private> places: array<Place, 8>;

// Pixels of a and of b that all invocations load together.
override PIXELS_A: u32 = THREADS / ROWS4;
override PIXELS_B: u32 = THREADS / COLS4;

// What a block further means: steps of rows and columns, and of the index in all, at the end of a line of pixels and at
// the end of an image. last_h and last_w is what h and w are below.
struct Walk { h: u32, w: u32, all: u32, line: u32, image: u32, last_h: u32, last_w: u32 }

fn walk(tap: vec2<u32>) -> Walk {
    let lines = TILE_K / params.q;
    let images = lines / params.p;
    let h = (lines - images * params.p) * params.stride_h;
    let w = (TILE_K - lines * params.q) * params.stride_w;
    let line4 = params.w * params.c4;
    return Walk(
        h, w,
        images * params.h * line4 + h * line4 + w * params.c4,
        params.stride_h * line4 - params.q * params.stride_w * params.c4,
        params.h * line4 - params.p * params.stride_h * line4,
        params.p * params.stride_h + tap.x - params.pad_h,
        params.q * params.stride_w + tap.y - params.pad_w,
    );
}

// Where a has the tap of pixel k. Pixels of a pointwise kernel are apart by c4, which is a scalar: there the place of the
// first is enough.
fn begin_place(i: u32, k: u32, tap: vec2<u32>, j: u32) {
    let p = pixel(k + i * PIXELS_A);
    let first = p.image + the_group * params.run4 + j;
    let h = p.h + tap.x;
    let w = p.w + tap.y;
    if POINTWISE {
        places[i] = Place(first, 0u, 0u);
    } else {
        places[i] = Place(first + (h * params.w + w) * params.c4, h, w);
    }
}

// Rows and columns above the image are negative.
fn below(a: u32, b: u32) -> bool {
    return i32(a) < i32(b);
}

fn walk_on(i: u32, by: Walk) {
    let w = places[i].w + by.w;
    let line = !below(w, by.last_w);
    let h = places[i].h + by.h + select(0u, params.stride_h, line);
    let image = !below(h, by.last_h);
    places[i] = Place(
        places[i].index + by.all + select(0u, by.line, line) + select(0u, by.image, image),
        h - select(0u, params.p * params.stride_h, image),
        w - select(0u, params.q * params.stride_w, line),
    );
}

// Pixel `done` + i PIXELS_A of those of the workgroup and the invocation, of which there are `room`.
fn fetch_a(i: u32, done: u32, room: u32) {
    has_a[i] = done + i * PIXELS_A < room;
    var index = places[0].index + (done + i * PIXELS_A) * params.c4;
    if !POINTWISE {
        index = places[i].index;
    }
    if !INSIDE {
        has_a[i] = has_a[i] & (places[i].h < params.h) & (places[i].w < params.w);
    }
    next_a[i] = a[select(0u, index, has_a[i])];
}

fn fetch_b(i: u32, done: u32, room: u32, first: u32) {
    has_b[i] = done + i * PIXELS_B < room;
    next_b[i] = b[select(0u, first + (done + i * PIXELS_B) * params.b_pitch4, has_b[i])];
}

// Loads the block that begins after `done` pixels. Of a and b an invocation has `room_a` and `room_b` pixels; where all
// blocks are full, that is a scalar.
fn load_ahead(done: u32, room_a: u32, room_b: u32, first_b: u32) {
    fetch_a(0u, done, room_a);
    fetch_a(1u, done, room_a);
    if LOADS_A > 2u {
        fetch_a(2u, done, room_a);
        fetch_a(3u, done, room_a);
    }
    if LOADS_A > 4u {
        fetch_a(4u, done, room_a);
        fetch_a(5u, done, room_a);
        fetch_a(6u, done, room_a);
        fetch_a(7u, done, room_a);
    }
    fetch_b(0u, done, room_b, first_b);
    fetch_b(1u, done, room_b, first_b);
    if LOADS_B > 2u {
        fetch_b(2u, done, room_b, first_b);
        fetch_b(3u, done, room_b, first_b);
    }
}

fn walk_all(by: Walk) {
    if POINTWISE {
        return;
    }
    walk_on(0u, by);
    walk_on(1u, by);
    if LOADS_A > 2u {
        walk_on(2u, by);
        walk_on(3u, by);
    }
    if LOADS_A > 4u {
        walk_on(4u, by);
        walk_on(5u, by);
        walk_on(6u, by);
        walk_on(7u, by);
    }
}

fn got_a(i: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(next_a[i]), has_a[i] || (INSIDE && WHOLE));
}

fn got_b(i: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(next_b[i]), has_b[i] || WHOLE);
}

// Puts what was loaded ahead into workgroup memory: all invocations fill it in their order.
fn stage(t: u32) {
    let first = 2u * t;
    put_a(first, got_a(0u));
    put_a(first + 2u * THREADS, got_a(1u));
    if LOADS_A > 2u {
        put_a(first + 4u * THREADS, got_a(2u));
        put_a(first + 6u * THREADS, got_a(3u));
    }
    if LOADS_A > 4u {
        put_a(first + 8u * THREADS, got_a(4u));
        put_a(first + 10u * THREADS, got_a(5u));
        put_a(first + 12u * THREADS, got_a(6u));
        put_a(first + 14u * THREADS, got_a(7u));
    }
    put_b(first, got_b(0u));
    put_b(first + 2u * THREADS, got_b(1u));
    if LOADS_B > 2u {
        put_b(first + 4u * THREADS, got_b(2u));
        put_b(first + 6u * THREADS, got_b(3u));
    }
}

@compute @workgroup_size(THREADS)
fn tiled_transposed(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let block = begin(group.z);
    let row = (group.y * groups.x + group.x) * (4u * ROWS4);
    if row >= params.rows {
        return;
    }
    let col = block.x * COLS4;
    let m4 = t % ROWS4;
    let n4 = t % COLS4;
    let of_a = t / ROWS4;
    let of_b = t / COLS4;
    // Rows and columns beyond the last one compute it again and store nothing.
    let row4 = min(row / 4u + m4, params.rows / 4u - 1u);
    let first_b = the_group * params.b_group_col4 + min(col + n4, params.cols4 - 1u)
        + (block.y + of_b) * params.b_pitch4;
    let tap = tap(row4 / params.run4);
    let j = row4 % params.run4;
    begin_place(0u, block.y + of_a, tap, j);
    begin_place(1u, block.y + of_a, tap, j);
    if LOADS_A > 2u {
        begin_place(2u, block.y + of_a, tap, j);
        begin_place(3u, block.y + of_a, tap, j);
    }
    if LOADS_A > 4u {
        begin_place(4u, block.y + of_a, tap, j);
        begin_place(5u, block.y + of_a, tap, j);
        begin_place(6u, block.y + of_a, tap, j);
        begin_place(7u, block.y + of_a, tap, j);
    }
    let by = walk(tap);
    // As many blocks in each split, so that the loop depends on parameters alone: a compiler keeps a second copy of c for a
    // loop that might end at different times.
    let pixels = min(params.k_chunk, params.split);
    let all = block.z - min(block.y, block.z);
    let room_a = select(all - min(of_a, all), pixels, WHOLE);
    let room_b = select(all - min(of_b, all), pixels, WHOLE);
    load_ahead(0u, room_a, room_b, first_b);
    let tile = corner(t);
    for (var done = 0u; done < pixels; done += TILE_K) {
        workgroupBarrier();
        stage(t);
        workgroupBarrier();
        walk_all(by);
        load_ahead(done + TILE_K, room_a, room_b, first_b);
        multiply(tile.x, tile.y);
    }
    finish(row + 4u * tile.x, col + tile.y);
}
