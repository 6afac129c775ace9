// The halves of the experts' feed-forward for a token at a time: columns in shared memory, TOGETHER rows for LANES lanes.

DEVICE float not_a_number() {
    return __uint_as_float(0x7fc00000u);
}

#ifdef GATE
KERNEL __launch_bounds__(32 * WARPS) moe_up_gate(Tensor x, Tensor ids, Tensor gate, Tensor up, Tensor y) {
    in_turn();
    __shared__ Column<UP, PIECES> column;
    int lane = threadIdx.x % LANES, u = blockIdx.y, t = blockIdx.z;
    int f = (blockIdx.x * (32 * WARPS / LANES) + threadIdx.x / LANES) * TOGETHER;
    int expert = i32_at(ids, u, t);
    bool known = expert >= 0 && expert < up.ne[2];
    const u8 *g[TOGETHER], *v[TOGETHER];
#pragma unroll
    for (int r = 0; r < TOGETHER; ++r) {
        int n = min(f + r, up.ne[1] - 1);
        g[r] = row_at(gate, n, known ? expert : 0, 0);
        v[r] = row_at(up, n, known ? expert : 0, 0);
        prefetch_row<GATE>(g[r], up.ne[0], lane, LANES);
        prefetch_row<UP>(v[r], up.ne[0], lane, LANES);
    }
    const u8* from = row_at(x, t, 0, 0);
    for (int c = threadIdx.x; c < PIECES; c += 32 * WARPS) column.put(c, from, c);
    __syncthreads();
    float gates[TOGETHER], ups[TOGETHER];
#pragma unroll
    for (int r = 0; r < TOGETHER; ++r) gates[r] = ups[r] = 0.0f;
    for (int c = lane; c < PIECES; c += LANES) {
        Activations a;
        column.get(c, a);
#pragma unroll
        for (int r = 0; r < TOGETHER; ++r) {
            Chunk chunk;
            decode_at<GATE>(g[r], c, chunk);
            gates[r] += dot(chunk, a);
            decode_at<UP>(v[r], c, chunk);
            ups[r] += dot(chunk, a);
        }
    }
#pragma unroll
    for (int r = 0; r < TOGETHER; ++r) {
        float a = warp_sum<LANES>(gates[r]), b = warp_sum<LANES>(ups[r]);
        if (lane == 0 && f + r < up.ne[1]) f32_at(row_at(y, u, t, 0), y, f + r) = known ? silu(a) * b : not_a_number();
    }
}
#endif

#ifdef DOWN
// The rows of all of a token's experts are one long row of USED times PIECES chunks for the lanes.
KERNEL __launch_bounds__(32 * WARPS) moe_down(Tensor h, Tensor ids, Tensor weights, Tensor down, Tensor y) {
    in_turn();
    __shared__ Column<DOWN, USED * PIECES> column;
    __shared__ int experts[USED];
    __shared__ float factors[USED];
    int lane = threadIdx.x % 32, t = blockIdx.y;
    int n = (blockIdx.x * WARPS + threadIdx.x / 32) * TOGETHER;
    for (int u = threadIdx.x; u < USED; u += 32 * WARPS) {
        int expert = i32_at(ids, u, t);
        bool known = expert >= 0 && expert < down.ne[2];
        experts[u] = known ? expert : 0;
        factors[u] = known ? f32_at(row_at(weights, t, 0, 0), weights, u) : not_a_number();
    }
    for (int c = threadIdx.x; c < USED * PIECES; c += 32 * WARPS) {
        column.put(c, row_at(h, c / PIECES, t, 0), c % PIECES);
    }
    __syncthreads();
    float sum[TOGETHER];
#pragma unroll
    for (int r = 0; r < TOGETHER; ++r) sum[r] = 0.0f;
#pragma unroll 2
    for (int c = lane; c < USED * PIECES; c += 32) {
        int u = c / PIECES;
        Activations a;
        column.get(c, a);
        const u8* matrix = row_at(down, 0, experts[u], 0);
#pragma unroll
        for (int r = 0; r < TOGETHER; ++r) {
            Chunk chunk;
            decode_at<DOWN>(matrix + min(n + r, down.ne[1] - 1) * down.nb[1], c % PIECES, chunk);
            sum[r] = fmaf(factors[u], dot(chunk, a), sum[r]);
        }
    }
#pragma unroll
    for (int r = 0; r < TOGETHER; ++r) {
        float total = warp_sum(sum[r]);
        if (lane == 0 && n + r < y.ne[0]) f32_at(row_at(y, t, 0, 0), y, n + r) = total;
    }
}
#endif
