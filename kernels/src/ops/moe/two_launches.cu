// All experts of a token in two launches: gate, up and silu of its experts and of the shared one behind them; then the
// weighted sum of what their last matrices make of it. Between the two h is int8 with a scale for each 16, in scratch:
// halves of 16 bytes, then scales, then sums, slot after slot; behind them the shared expert's weight.
//
// x has N_X elements, h of each of USED experts N_H and of the shared one N_SHARED. PAIRS: rows of gate, and of up, of a
// warp of the first launch; SECOND_WARPS: warps of a block of the second.

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
    known = expert >= 0 && expert < experts;
    return known ? expert : 0;
}

// Sixteen rows of gate and of up, PAIRS a warp, over a column that the block makes meanwhile; `v` gets h.
template <int TYPE, int GRAIN, class Column>
DEVICE void up_gate(const u8* gate, i64 gate_nb, const u8* up, i64 up_nb, const Tensor& x, bool waited, u8* room,
                    Column& column, float* v) {
    using Row = Streamed<TYPE, N_X, GRAIN>;
    constexpr int WARPS = 16 / PAIRS;
    int lane = threadIdx.x % 32, first = threadIdx.x / 32 * PAIRS;
    room += first * 2 * Row::ROOM;
    Row g[PAIRS], u[PAIRS];
#pragma unroll
    for (int r = 0; r < PAIRS; ++r) {
        g[r].send_for(gate + (first + r) * gate_nb, room + (2 * r) * Row::ROOM, lane);
        u[r].send_for(up + (first + r) * up_nb, room + (2 * r + 1) * Row::ROOM, lane);
        copies_commit();
    }
    if (!waited) in_turn();
    make_column<N_X, 32 * WARPS>(column, row_at(x, blockIdx.y, 0, 0), x.nb[0]);
    copies_wait<0>();
    __syncthreads();
    float gates[PAIRS], ups[PAIRS];
#pragma unroll
    for (int r = 0; r < PAIRS; ++r) gates[r] = ups[r] = 0.0f;
    for (int c = lane; c < N_X / 32; c += 32) {
#pragma unroll
        for (int r = 0; r < PAIRS; ++r) {
            gates[r] += g[r].dot(c, column, c);
            ups[r] += u[r].dot(c, column, c);
        }
    }
#pragma unroll
    for (int r = 0; r < PAIRS; ++r) {
        float a = warp_sum(gates[r]), b = warp_sum(ups[r]);
        if (lane == 0) v[first + r] = silu(a) * b;
    }
}

// A block has 16 rows of an expert; the last of a token has the shared expert's weight.
KERNEL __launch_bounds__(512 / PAIRS) moe_first(Tensor x, Tensor ids, Tensor gate, Tensor up, Tensor gate_shared,
                                               Tensor up_shared, Tensor w, u8* scratch) {
    __shared__ Halves<MINS_FIRST, N_X / 32> column;
    __shared__ uint4 room[FIRST_ROOM / 16 + 1];
    __shared__ float v[32];
    int half = blockIdx.x, t = blockIdx.y;
    Between to = between(scratch, t);
    bool known = true;
    if (half == 2 * ALL) {
        in_turn();
        const u8* row = row_at(x, t, 0, 0);
        float sum = 0.0f;
        for (int i = threadIdx.x; i < N_X; i += blockDim.x) sum = fmaf(f32_at(w.p, w, i), f32_at((u8*)row, x, i), sum);
        sum = block_sum(sum, v);
        if (threadIdx.x == 0) *to.shared = 1.0f / (1.0f + expf(-sum));
        return;
    }
    if (half < 2 * ROUTED) {
        // Which expert it is, is known when the choice is made.
        in_turn();
        int e = checked(i32_at(ids, half / (N_H / 16), t), gate.ne[2], known), n = half % (N_H / 16) * 16;
        up_gate<GATE, GRAIN_GATE>(row_at(gate, n, e, 0), gate.nb[1], row_at(up, n, e, 0), up.nb[1], x, true,
                                  (u8*)room, column, v);
    } else {
        int n = (half - 2 * ROUTED) * 16;
        up_gate<GATE_SHARED, GRAIN_GATE_SHARED>(row_at(gate_shared, n, 0, 0), gate_shared.nb[1],
                                                row_at(up_shared, n, 0, 0), up_shared.nb[1], x, false, (u8*)room,
                                                column, v);
    }
    __syncthreads();
    if (threadIdx.x >= 32) return;
    int lane = threadIdx.x % 16;
    float h = known ? v[lane] : not_a_number();
    u32 largest = __float_as_uint(h) & 0x7fffffffu;
#pragma unroll
    for (int d = 8; d > 0; d /= 2) largest = max(largest, __shfl_xor_sync(FULL, largest, d));
    float d, inv;
    half_scale(largest, d, inv);
    int q = half_code(h, inv);
    int sum = q;
#pragma unroll
    for (int k = 8; k > 0; k /= 2) sum += __shfl_xor_sync(FULL, sum, k);
    if (threadIdx.x < 16) ((i8*)(to.q + half))[lane] = (i8)q;
    if (threadIdx.x == 0) {
        to.d[half] = d;
        to.sum[half] = d * (float)sum;
    }
}

// A warp has a row of the result: that row of every expert.
KERNEL __launch_bounds__(32 * SECOND_WARPS) moe_second(Tensor ids, Tensor weights, Tensor down, Tensor down_shared, Tensor y,
                                               u8* scratch) {
    using Row = Streamed<DOWN, N_H, GRAIN_DOWN>;
    using Shared = Streamed<DOWN_SHARED, N_SHARED, GRAIN_DOWN_SHARED>;
    __shared__ Halves<MINS_SECOND, ALL> column;
    __shared__ uint4 room[SECOND_WARPS * (USED * Row::ROOM + Shared::ROOM) / 16 + 1];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, t = blockIdx.y;
    int n = blockIdx.x * SECOND_WARPS + warp, row = min(n, down.ne[1] - 1);
    u8* own = (u8*)room + warp * (USED * Row::ROOM + Shared::ROOM);
    // The experts are older than the launch before, so they are known already.
    const u8* matrix[USED];
#pragma unroll
    for (int u = 0; u < USED; ++u) {
        bool known;
        matrix[u] = row_at(down, row, checked(i32_at(ids, u, t), down.ne[2], known), 0);
        Row r;
        r.send_for(matrix[u], own + u * Row::ROOM, lane);
    }
    Shared shared;
    shared.send_for(row_at(down_shared, row, 0, 0), own + USED * Row::ROOM, lane);
    copies_commit();
    in_turn();
    Between from = between(scratch, t);
    float weight_shared = __ldcg(from.shared);
    for (int i = threadIdx.x; i < 2 * ALL; i += 32 * SECOND_WARPS) {
        int slot = i / (N_H / 16);
        float weight = slot < USED ? f32_at(row_at(weights, t, 0, 0), weights, slot) : weight_shared;
        column.q[i % 2][i / 2] = __ldcg(from.q + i);
        column.d[i % 2][i / 2] = weight * __ldcg(from.d + i);
        if constexpr (MINS_SECOND) column.sum[i % 2][i / 2] = weight * __ldcg(from.sum + i);
    }
    copies_wait<0>();
    __syncthreads();
    float sum = 0.0f;
#pragma unroll 3
    for (int c = lane; c < ROUTED; c += 32) {
        int u = c / (N_H / 32);
        Row r;
        r.at = GRAIN_DOWN ? own + u * Row::ROOM : row_at(down, row, 0, 0);
        if constexpr (GRAIN_DOWN == 0) {
            bool known;
            r.at = row_at(down, row, checked(i32_at(ids, u, t), down.ne[2], known), 0);
        }
        sum += r.dot(c % (N_H / 32), column, c);
    }
    for (int c = lane; c < N_SHARED / 32; c += 32) sum += shared.dot(c, column, ROUTED + c);
    sum = warp_sum(sum);
    if (n < down.ne[1] && lane == 0) f32_at(row_at(y, t, 0, 0), y, n) = sum;
}
