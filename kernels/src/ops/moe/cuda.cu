// The experts of a token, and the two halves of their feed-forward.

// Rising with x as an unsigned integer.
DEVICE u32 ordered(float x) {
    u32 bits = __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// A warp a token: k times the largest logit that was not yet taken; of equals the first.
KERNEL moe_topk(Tensor logits, Tensor ids, Tensor weights, int tokens) {
    in_turn();
    int lane = threadIdx.x % 32, t = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (t >= tokens) return;
    u8* row = row_at(logits, t, 0, 0);
    u64 last = ~0ull;
    float largest = 0.0f, sum = 0.0f;
    for (int u = 0; u < ids.ne[0]; ++u) {
        u64 best = 0;
        for (int e = lane; e < logits.ne[0]; e += 32) {
            u64 key = (u64)ordered(f32_at(row, logits, e)) << 32 | (0xffffffffu - e);
            if (key < last && key > best) best = key;
        }
#pragma unroll
        for (int d = 16; d > 0; d /= 2) {
            u64 other = __shfl_xor_sync(FULL, best, d);
            if (other > best) best = other;
        }
        last = best;
        int e = 0xffffffffu - (u32)best;
        float logit = f32_at(row, logits, e);
        if (u == 0) largest = logit;
        float p = expf(logit - largest);
        sum += p;
        if (lane == 0) {
            i32_at(ids, u, t) = e;
            f32_at(row_at(weights, t, 0, 0), weights, u) = p;
        }
    }
    __syncwarp();
    // Lane 0 wrote them; it is the one that reads them back.
    if (lane == 0) {
        for (int u = 0; u < ids.ne[0]; ++u) f32_at(row_at(weights, t, 0, 0), weights, u) /= sum;
    }
}

#ifdef LANES
DEVICE float nan() {
    return __uint_as_float(0x7fc00000u);
}
#endif

#ifdef GATE
// LANES lanes a row of an expert: gate and up over the same activations, then silu and product.
KERNEL moe_up_gate(Tensor x, Tensor ids, Tensor gate, Tensor up, Tensor y) {
    in_turn();
    int lane = threadIdx.x % LANES;
    int f = blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
    int u = blockIdx.y, t = blockIdx.z;
    int expert = i32_at(ids, u, t);
    bool known = expert >= 0 && expert < up.ne[2];
    int row = min(f, up.ne[1] - 1), e = known ? expert : 0;
    const u8* column = row_at(x, t, 0, 0);
    float g = warp_sum<LANES>(
        dot_part<GATE, LANES>(row_at(gate, row, e, 0), gate.nb[0], column, x.nb[0], gate.ne[0], lane));
    float v = warp_sum<LANES>(dot_part<UP, LANES>(row_at(up, row, e, 0), up.nb[0], column, x.nb[0], up.ne[0], lane));
    if (f < up.ne[1] && lane == 0) f32_at(row_at(y, u, t, 0), y, f) = known ? silu(g) * v : nan();
}
#endif

#ifdef DOWN
// LANES lanes a row of the result: its row of each of the token's experts, weighted.
KERNEL moe_down(Tensor h, Tensor ids, Tensor weights, Tensor down, Tensor y) {
    in_turn();
    int lane = threadIdx.x % LANES;
    int n = blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
    int t = blockIdx.y, row = min(n, down.ne[1] - 1);
    float sum = 0.0f;
#pragma unroll 2
    for (int u = 0; u < ids.ne[0]; ++u) {
        int expert = i32_at(ids, u, t);
        bool known = expert >= 0 && expert < down.ne[2];
        float weight = known ? f32_at(row_at(weights, t, 0, 0), weights, u) : nan();
        const u8* w = row_at(down, row, known ? expert : 0, 0);
        float part = dot_part<DOWN, LANES>(w, down.nb[0], row_at(h, u, t, 0), h.nb[0], down.ne[0], lane);
        sum = fmaf(weight, part, sum);
    }
    sum = warp_sum<LANES>(sum);
    if (n < down.ne[1] && lane == 0) f32_at(row_at(y, t, 0, 0), y, n) = sum;
}
#endif
