// Residual, norm, router and choice of a token. Every block makes the norm for itself, which costs less than to wait for
// another to do so, and has ROWS experts; whichever is the last to be done chooses. A thread has four elements of each
// stretch of 128 * WARPS, of x and of its rows alike, so that nothing but sums goes through shared memory: and these at once,
// as the norm's scale is a factor of the products.

#define STRETCHES ((N_X + 128 * WARPS - 1) / (128 * WARPS))
#define BLOCKS ((EXPERTS + ROWS - 1) / ROWS)

// Blocks that are not done, less one. The last one finds zero and leaves it as it was; launches of a module follow one
// another.
__device__ u32 others = BLOCKS - 1;

// Four elements as they lie in memory. Loads said to be of constants would not do: the assembler puts them behind the wait
// for the kernel before.
template <int TYPE> struct Four {
    u32 words[TYPE == F32 ? 4 : 2];

    DEVICE void load(const u8* row, int i) {
        if constexpr (TYPE == F32) {
            uint4 v = ((const uint4*)row)[i];
            words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
        } else {
            uint2 v = ((const uint2*)row)[i];
            words[0] = v.x, words[1] = v.y;
        }
    }

    DEVICE float at(int j) const {
        if constexpr (TYPE == F32) return __uint_as_float(words[j]);
        u16 half = (u16)(words[j / 2] >> (16 * (j % 2)));
        return TYPE == F16 ? half_to_float(half) : bf16_to_float(half);
    }
};

// Elements of a thread in shared memory. They come past registers and the first level of cache, which has no room for as
// many bytes on their way.
struct Copied {
    uint4* to;

    DEVICE void load(const u8* row, int i) {
        copy16_async(to, (const uint4*)row + i);
    }

    DEVICE float at(int j) const {
        return ((const float*)to)[j];
    }
};

// The larger, the earlier an expert comes: by logit, of equals the first, numbers before what is none.
DEVICE u64 rank_key(float logit, int expert) {
    u32 bits = __float_as_uint(logit + 0.0f);
    u32 rising = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (u64)(logit == logit ? rising : 0u) << 32 | (0xffffffffu - (u32)expert);
}

DEVICE float logit_of(u64 key) {
    u32 rising = (u32)(key >> 32);
    return __uint_as_float(rising & 0x80000000u ? rising ^ 0x80000000u : ~rising);
}

// A warp chooses CHOSEN of the experts. The largest logits of the lanes' shares give a bound that at least so many reach;
// what reaches it is put in order by counting what comes before.
DEVICE void choose(const float* logits, const Tensor& ids, const Tensor& weights) {
    __shared__ u64 tops[32], reach[EXPERTS];
    __shared__ float parts[CHOSEN];
    constexpr int SHARE = (EXPERTS + 31) / 32;
    int lane = threadIdx.x % 32;
    u64 keys[SHARE], top = 0;
#pragma unroll
    for (int j = 0; j < SHARE; ++j) {
        int e = lane + 32 * j;
        keys[j] = e < EXPERTS ? rank_key(__ldcg(logits + min(e, EXPERTS - 1)), e) : 0;
        top = keys[j] > top ? keys[j] : top;
    }
    tops[lane] = top;
    __syncwarp();
    int before = 0;
#pragma unroll
    for (int j = 0; j < 32; ++j) before += tops[j] > top;
    u64 bound = 0;
    if constexpr (CHOSEN <= 32 && CHOSEN <= EXPERTS) {
        // Lanes without an expert come last and share a rank; there is none before one that has some.
        u32 which = __ballot_sync(FULL, before == CHOSEN - 1);
        bound = which ? __shfl_sync(FULL, top, __ffs(which) - 1) : 0;
    }
    int n = 0;
#pragma unroll
    for (int j = 0; j < SHARE; ++j) {
        bool in = keys[j] != 0 && keys[j] >= bound;
        u32 all = __ballot_sync(FULL, in);
        if (in) reach[n + __popc(all & ((1u << lane) - 1))] = keys[j];
        n += __popc(all);
    }
    __syncwarp();
    u64 best = 0;
    for (int i = lane; i < n; i += 32) best = reach[i] > best ? reach[i] : best;
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
        u64 other = __shfl_xor_sync(FULL, best, d);
        best = other > best ? other : best;
    }
    float largest = logit_of(best);
    for (int i = lane; i < n; i += 32) {
        u64 key = reach[i];
        int rank = 0;
        for (int j = 0; j < n; ++j) rank += reach[j] > key;
        if (rank < CHOSEN) {
            i32_at(ids, rank, 0) = 0xffffffffu - (u32)key;
            parts[rank] = expf(logit_of(key) - largest);
        }
    }
    __syncwarp();
    float sum = 0.0f;
    for (int u = 0; u < CHOSEN; ++u) sum += parts[u];
    for (int u = lane; u < CHOSEN; u += 32) f32_at(weights.p, weights, u) = parts[u] / sum;
}

KERNEL __launch_bounds__(32 * WARPS) moe_router(Tensor x, Tensor delta, Tensor w_norm, Tensor w_router, Tensor sum, Tensor h,
                                               Tensor ids, Tensor weights, float* logits, float eps) {
    __shared__ float products[WARPS][ROWS + 1];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, first = blockIdx.x * ROWS;
    // Weights are constants: they are on their way before it is this kernel's turn.
#if COPIES
    __shared__ uint4 room[STRETCHES][ROWS][32 * WARPS];
    Copied rows[STRETCHES][ROWS];
#pragma unroll
    for (int s = 0; s < STRETCHES; ++s) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) rows[s][r].to = &room[s][r][threadIdx.x];
    }
#else
    Four<ROUTER> rows[STRETCHES][ROWS];
#endif
    Four<F32> norm[STRETCHES];
#pragma unroll
    for (int s = 0; s < STRETCHES; ++s) {
        int i = min((int)threadIdx.x + 32 * WARPS * s, N_X / 4 - 1);
#pragma unroll
        for (int r = 0; r < ROWS; ++r) rows[s][r].load(row_at(w_router, min(first + r, EXPERTS - 1), 0, 0), i);
        norm[s].load(w_norm.p, i);
    }
    copies_commit();
    in_turn();
    float v[STRETCHES][4], sums[ROWS + 1] = {};
#pragma unroll
    for (int s = 0; s < STRETCHES; ++s) {
        int i = threadIdx.x + 32 * WARPS * s;
        float4 a = make_float4(0.0f, 0.0f, 0.0f, 0.0f), b = a;
        if (i < N_X / 4) a = ((const float4*)x.p)[i], b = ((const float4*)delta.p)[i];
        v[s][0] = a.x + b.x, v[s][1] = a.y + b.y, v[s][2] = a.z + b.z, v[s][3] = a.w + b.w;
    }
    copies_wait<0>();
#pragma unroll
    for (int s = 0; s < STRETCHES; ++s) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            float weighed = v[s][j] * norm[s].at(j);
            sums[ROWS] = fmaf(v[s][j], v[s][j], sums[ROWS]);
#pragma unroll
            for (int r = 0; r < ROWS; ++r) sums[r] = fmaf(rows[s][r].at(j), weighed, sums[r]);
        }
    }
    lane_sums<ROWS>(sums);
    sums[ROWS] = warp_sum(sums[ROWS]);
    if (lane % (32 / ROWS) == 0) products[warp][lane / (32 / ROWS)] = sums[0];
    if (lane == 0) products[warp][ROWS] = sums[ROWS];
    __syncthreads();
    if (warp > 0 && blockIdx.x > 0) return;
    float squares = 0.0f;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) squares += products[w][ROWS];
    float scale = rsqrtf(squares / N_X + eps);
    if (blockIdx.x == 0) {
#pragma unroll
        for (int s = 0; s < STRETCHES; ++s) {
            int i = threadIdx.x + 32 * WARPS * s;
            if (i >= N_X / 4) continue;
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                f32_at(sum.p, sum, 4 * i + j) = v[s][j];
                f32_at(h.p, h, 4 * i + j) = v[s][j] * scale * norm[s].at(j);
            }
        }
    }
    if (warp > 0) return;
    if (lane < ROWS && first + lane < EXPERTS) {
        float total = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) total += products[w][lane];
        logits[first + lane] = total * scale;
    }
    __threadfence();
    __syncwarp();
    if constexpr (BLOCKS > 1) {
        u32 left = 0;
        if (lane == 0) left = atomicDec(&others, BLOCKS - 1);
        if (__shfl_sync(FULL, left, 0) > 0) return;
    }
    __threadfence();
    choose(logits, ids, weights);
}
