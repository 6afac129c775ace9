// What the first launches of `attention_block` share, and the second.

#define THREADS (32 * WARPS)
// Pairs of a head that turn; arrays have room for one if none does.
#define PAIRS (HALF > 0 ? HALF : 1)

struct Turns {
    float of[128];
};

DEVICE float warp_max(float v) {
#pragma unroll
    for (int d = 16; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(FULL, v, d));
    return v;
}

DEVICE int cells_seen(int pos, int n_kv) {
    return min(max(pos, -1), n_kv - 1) + 1;
}

// Elements of a head that a block merges, threads that share the stretches of one, and how many of its stretches a thread
// fetches before the weights are known.
#define WIDE (HEAD < 64 ? HEAD : 64)
#define SHARES (THREADS / 64)
#define AHEAD 4

KERNEL __launch_bounds__(THREADS) attention_block_merge(const float* sums, const float* tops, Tensor pos, Tensor gate,
                                                        Tensor o, int n_kv, int splits) {
    __shared__ float weights[SPLITS], parts[SHARES][64], tree[2][32];
    int h = blockIdx.y, s = blockIdx.z, share = threadIdx.x / 64, i = blockIdx.x * WIDE + threadIdx.x % 64;
    int n = (cells_seen(i32_at(pos, 0, s), n_kv) + STRETCH - 1) / STRETCH;
    bool mine = threadIdx.x % 64 < WIDE && i < HEAD;
    i64 row = (i64)s * o.ne[1] + h;
    // The gate is older than the kernel before.
    float open = mine && share == 0 ? 1.0f / (1.0f + expf(-f32_at(row_at(gate, h, 0, s), gate, i))) : 0.0f;
    in_turn();
    sums += row * splits * HEAD, tops += row * splits * 2;
    float early[AHEAD];
#pragma unroll
    for (int a = 0; a < AHEAD; ++a) {
        int from = share + a * SHARES;
        early[a] = mine && from < n ? sums[(i64)from * HEAD + i] : 0.0f;
    }
    float top = -__int_as_float(0x7f800000), total = 0.0f;
    for (int j = threadIdx.x; j < n; j += THREADS) top = fmaxf(top, tops[2 * j]);
    top = warp_max(top);
    if (threadIdx.x % 32 == 0) tree[0][threadIdx.x / 32] = top;
    __syncthreads();
    for (int w = 0; w < WARPS; ++w) top = fmaxf(top, tree[0][w]);
    for (int j = threadIdx.x; j < n; j += THREADS) {
        weights[j] = expf(tops[2 * j] - top);
        total = fmaf(tops[2 * j + 1], weights[j], total);
    }
    // Its barrier is the one behind the weights, too.
    total = block_sum(total, tree[1]);
    float sum = 0.0f;
#pragma unroll
    for (int a = 0; a < AHEAD; ++a) {
        if (share + a * SHARES < n) sum = fmaf(weights[share + a * SHARES], early[a], sum);
    }
#pragma unroll 4
    for (int j = share + AHEAD * SHARES; j < n; j += SHARES) {
        if (mine) sum = fmaf(weights[j], sums[(i64)j * HEAD + i], sum);
    }
    parts[share][threadIdx.x % 64] = sum;
    __syncthreads();
    if (!mine || share > 0) return;
    sum = 0.0f;
    for (int f = 0; f < SHARES; ++f) sum += parts[f][threadIdx.x % 64];
    f32_at(row_at(o, h, 0, s), o, i) = total > 0.0f ? sum / total * open : 0.0f;
}
