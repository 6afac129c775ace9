// All experts of a token in two launches: gate, up and silu of its experts and of the shared one behind them; then the
// weighted sum of what their last matrices make of it. Between the two h is int8 with a scale for each 16, in scratch:
// halves of 16 bytes, then scales, then sums, slot after slot; behind them the shared expert's weight.
//
// x has N_X elements, h of each of USED experts N_H and of the shared one N_SHARED. PAIRS: rows of gate, and of up, of a
// warp of the first launch; SECOND_WARPS: warps of a block of the second, SECOND_ROWS: rows of a warp.

#define MINS_FIRST (HAS_MINS<GATE> || HAS_MINS<GATE_SHARED>)
#define MINS_SECOND (HAS_MINS<DOWN> || HAS_MINS<DOWN_SHARED>)
// Chunks of h.
#define ROUTED (USED * N_H / 32)
#define ALL (ROUTED + N_SHARED / 32)

struct Between {
    uint4* q;
    float *d, *sum, *shared;
};

DEVICE Between between(u8* scratch, int token) {
    // A token's part is padded to multiples of 16.
    u8* p = scratch + (i64)token * (ALL * 48 + 16);
    float* d = (float*)(p + ALL * 32);
    return {(uint4*)p, d, d + 2 * ALL, d + 4 * ALL};
}

DEVICE float not_a_number() {
    return __uint_as_float(0x7fc00000u);
}

// An expert's number, or 0 for what is none; its weight and all that comes of it are then NaN.
DEVICE int checked(int expert, int experts, bool& known) {
    known = (u32)expert < (u32)experts;
    return known ? expert : 0;
}

// A token's experts; they lie side by side, as weights and x do.
DEVICE const int* ids_of(const Tensor& ids, int token) {
    return (const int*)ids.p + token * USED;
}

// Row n from `p` on: strides of weights are below 4 GiB.
DEVICE const u8* row_from(const u8* p, int n, i64 nb) {
    return p + (u64)(u32)n * (u32)nb;
}

// Which of its expert's rows is row r of a half, for weights NEXT that meet h: halves are of neighbours in their order.
template <int NEXT> DEVICE int row_of_half(int half, int r) {
    return half / 2 * 32 + element_at<NEXT>(half % 2 * 16 + r);
}

// Half number `half` of an expert's h: sixteen rows of gate and of up, PAIRS a warp, over a column that the block makes
// meanwhile. What is sent for first is multiplied first, while the rest is under way: TOGETHER pairs at a time, so that
// each piece of the column serves them all, step by step.
template <int TYPE, int NEXT, int GRAIN> struct UpGate {
    using Row = Streamed<TYPE, N_X, GRAIN>;
    static constexpr int WARPS = 16 / PAIRS, GROUPS = PAIRS / TOGETHER * Row::STEPS;
    Row rows[PAIRS][2];
    Floats<TYPE, N_X, 32 * WARPS> column;

    static DEVICE int first() {
        return threadIdx.x / 32 * PAIRS;
    }

    DEVICE void load(const Tensor& x) {
        column.load((const float*)x.p + (i64)blockIdx.y * N_X);
    }

    DEVICE void send_for(const u8* gate, i64 gate_nb, const u8* up, i64 up_nb, int half, u8* room) {
        room += first() * 2 * Row::ROOM;
#pragma unroll
        for (int r = 0; r < PAIRS; ++r) {
            int n = row_of_half<NEXT>(half, first() + r);
            rows[r][0].place(row_from(gate, n, gate_nb), room + (2 * r) * Row::ROOM);
            rows[r][1].place(row_from(up, n, up_nb), room + (2 * r + 1) * Row::ROOM);
        }
#pragma unroll
        for (int g = 0; g < GROUPS; ++g) {
#pragma unroll
            for (int r = g / Row::STEPS * TOGETHER; r < (g / Row::STEPS + 1) * TOGETHER; ++r) {
                rows[r][0].send_for(g % Row::STEPS, threadIdx.x % 32);
                rows[r][1].send_for(g % Row::STEPS, threadIdx.x % 32);
            }
            copies_commit();
        }
    }

    // Puts sixteen elements of h into v; they are there after the next barrier.
    template <class Column> DEVICE void run(Column& x, float* v) {
        column.put(x);
        __syncthreads();
        float sums[2 * PAIRS] = {};
#pragma unroll
        for (int g = 0; g < GROUPS; ++g) {
            copies_wait_but(GROUPS - 1 - g);
            __syncwarp();
            int c = g % Row::STEPS * 32 + threadIdx.x % 32;
            if (N_X % 1024 && c >= N_X / 32) continue;
            Pieces part;
            x.get(c, part);
#pragma unroll
            for (int r = g / Row::STEPS * TOGETHER; r < (g / Row::STEPS + 1) * TOGETHER; ++r) {
                sums[2 * r] += rows[r][0].dot(c, part);
                sums[2 * r + 1] += rows[r][1].dot(c, part);
            }
        }
        // Sums are left side by side, each with so many lanes.
        constexpr int LANES = 16 / PAIRS;
        lane_sums<2 * PAIRS>(sums);
        float up = __shfl_down_sync(FULL, sums[0], LANES);
        int lane = threadIdx.x % 32;
        if (lane % (2 * LANES) == 0) v[first() + lane / (2 * LANES)] = silu(sums[0]) * up;
    }
};

// Has the second launch's weights brought to the second level of cache: part `part` of `parts` of an expert's.
DEVICE void ask_for_down(const Tensor& down, int e, int part, int parts) {
    const u8* from = row_from(down.p, e, down.nb[2]);
    i64 bytes = down.ne[1] * down.nb[1], end = bytes * (part + 1) / parts;
    for (i64 at = bytes * part / parts + threadIdx.x * 128; at < end; at += blockDim.x * 128) prefetch(from + at);
}

// A block has 16 rows of an expert; the last of a token has the shared expert's weight.
KERNEL __launch_bounds__(512 / PAIRS) moe_first(Tensor x, Tensor ids, Tensor gate, Tensor up, Tensor down,
                                               Tensor gate_shared, Tensor up_shared, Tensor w, u8* scratch) {
    __shared__ Halves<MINS_FIRST, N_X / 32> column;
    __shared__ uint4 room[FIRST_ROOM / 16 + 1];
    __shared__ float v[32];
    int half = blockIdx.x, t = blockIdx.y;
    Between to = between(scratch, t);
    bool known = true;
    if (half == 2 * ALL) {
        in_turn();
        const float* row = (const float*)x.p + (i64)t * N_X;
        float sum = 0.0f;
        for (int i = threadIdx.x; i < N_X; i += blockDim.x) sum = fmaf(((const float*)w.p)[i], row[i], sum);
        sum = block_sum(sum, v);
        if (threadIdx.x == 0) *to.shared = 1.0f / (1.0f + expf(-sum));
        return;
    }
    if (half < 2 * ROUTED) {
        UpGate<GATE, DOWN, GRAIN_GATE> rows;
        // Which expert it is, is known when the choice is made.
        in_turn();
        rows.load(x);
        int e = checked(ids_of(ids, t)[half / (N_H / 16)], gate.ne[2], known);
        rows.send_for(row_from(gate.p, e, gate.nb[2]), gate.nb[1], row_from(up.p, e, up.nb[2]), up.nb[1],
                      half % (N_H / 16), (u8*)room);
        if constexpr (AHEAD) ask_for_down(down, e, half % (N_H / 16), N_H / 16);
        rows.run(column, v);
    } else {
        UpGate<GATE_SHARED, DOWN_SHARED, GRAIN_GATE_SHARED> rows;
        half -= 2 * ROUTED;
        rows.send_for(gate_shared.p, gate_shared.nb[1], up_shared.p, up_shared.nb[1], half, (u8*)room);
        half += 2 * ROUTED;
        in_turn();
        rows.load(x);
        rows.run(column, v);
    }
    __syncthreads();
    if (threadIdx.x >= 32) return;
    int lane = threadIdx.x % 16;
    float h = known ? v[lane] : not_a_number();
    float largest = h;
#pragma unroll
    for (int d = 8; d > 0; d /= 2) largest = larger(largest, __shfl_xor_sync(FULL, largest, d));
    float d, inv;
    half_scale(largest, d, inv);
    int q = (i8)half_code(h, inv);
    if (threadIdx.x < 16) ((i8*)(to.q + half))[lane] = (i8)q;
    if (threadIdx.x == 0) to.d[half] = d;
    if constexpr (MINS_SECOND) {
        int sum = q;
#pragma unroll
        for (int k = 8; k > 0; k /= 2) sum += __shfl_xor_sync(FULL, sum, k);
        if (threadIdx.x == 0) to.sum[half] = d * (float)sum;
    }
}

// A warp has SECOND_ROWS rows of the result: those rows of every expert.
KERNEL __launch_bounds__(32 * SECOND_WARPS) moe_second(Tensor ids, Tensor weights, Tensor down, Tensor down_shared, Tensor y,
                                               u8* scratch) {
    using Row = Streamed<DOWN, N_H, GRAIN_DOWN>;
    using Shared = Streamed<DOWN_SHARED, N_SHARED, GRAIN_DOWN_SHARED>;
    constexpr int ROOM = USED * Row::ROOM + Shared::ROOM;
    __shared__ Halves<MINS_SECOND, ALL> column;
    __shared__ uint4 room[SECOND_WARPS * SECOND_ROWS * ROOM / 16 + 1];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, t = blockIdx.y;
    int n = (blockIdx.x * SECOND_WARPS + warp) * SECOND_ROWS;
    u8* own = (u8*)room + warp * SECOND_ROWS * ROOM;
    // The experts are older than the launch before, so they are known already.
    int experts[USED];
#pragma unroll
    for (int u = 0; u < USED; ++u) {
        bool known;
        experts[u] = checked(ids_of(ids, t)[u], down.ne[2], known);
    }
    Shared shared[SECOND_ROWS];
#pragma unroll
    for (int u = 0; u < USED; ++u) {
        const u8* expert = row_from(down.p, experts[u], down.nb[2]);
#pragma unroll
        for (int r = 0; r < SECOND_ROWS; ++r) {
            Row of;
            of.place(row_from(expert, min(n + r, down.ne[1] - 1), down.nb[1]), own + r * ROOM + u * Row::ROOM);
            of.send_for(lane);
        }
    }
#pragma unroll
    for (int r = 0; r < SECOND_ROWS; ++r) {
        int row = min(n + r, down.ne[1] - 1);
        shared[r].place(row_from(down_shared.p, row, down_shared.nb[1]), own + r * ROOM + USED * Row::ROOM);
        shared[r].send_for(lane);
    }
    copies_commit();
    in_turn();
    Between from = between(scratch, t);
    float weight_shared = __ldcg(from.shared);
    const float* weight_of = (const float*)weights.p + t * USED;
#pragma unroll
    for (int at = 0; at < 2 * ALL; at += 32 * SECOND_WARPS) {
        int i = at + threadIdx.x, slot = i / (N_H / 16);
        if (i >= 2 * ALL) continue;
        float weight = slot < USED ? weight_of[slot] : weight_shared;
        column.q[i % 2][i / 2] = __ldcg(from.q + i);
        column.scale(i / 2, i % 2) = weight * __ldcg(from.d + i);
        if constexpr (MINS_SECOND) column.sums(i / 2, i % 2) = weight * __ldcg(from.sum + i);
    }
    copies_wait<0>();
    __syncthreads();
    float sums[SECOND_ROWS] = {};
#pragma unroll
    for (int at = 0; at < ROUTED; at += 32) {
        int c = at + lane, u = c / (N_H / 32);
        if (ROUTED % 32 && c >= ROUTED) continue;
        Pieces part;
        column.get(c, part);
#pragma unroll
        for (int r = 0; r < SECOND_ROWS; ++r) {
            Row of;
            of.at = own + r * ROOM + u * Row::ROOM;
            if constexpr (GRAIN_DOWN == 0) {
                bool known;
                int e = checked(ids_of(ids, t)[u], down.ne[2], known);
                of.at = row_from(row_from(down.p, e, down.nb[2]), min(n + r, down.ne[1] - 1), down.nb[1]);
            }
            sums[r] += of.dot(c % (N_H / 32), part);
        }
    }
    for (int c = lane; c < N_SHARED / 32; c += 32) {
        Pieces part;
        column.get(ROUTED + c, part);
#pragma unroll
        for (int r = 0; r < SECOND_ROWS; ++r) sums[r] += shared[r].dot(c, part);
    }
#pragma unroll
    for (int r = 0; r < SECOND_ROWS; ++r) {
        float sum = warp_sum(sums[r]);
        if (n + r < down.ne[1] && lane == 0) f32_at(row_at(y, t, 0, 0), y, n + r) = sum;
    }
}
