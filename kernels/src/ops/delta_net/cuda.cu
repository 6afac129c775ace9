// A token of a delta-net layer between its projections, in one launch. A block has WIDTH value columns of a value head,
// over all keys; the GROUP blocks of a key head are its RATIO value heads times the SLICES of their columns. Each of
// them convolves q and k of the key head for itself, which costs less than another launch.
//
// Two things must be agreed on in a group: the convolution's state of q and k may move on only when all have read it,
// and the norm of a head's result is over all its columns. The group is a thread-block cluster for that. Devices
// without clusters have the first block do what its group would, one member after the other.
//
//     S <- e^g S + k d^T,  d = beta (v - e^g S^T k),  o = e^g S^T q + d (k . q)
//
// needs S^T k and S^T q of the old state only: one exchange between the warps that share a column's keys. The lengths of
// q and k are factors of these sums, and come while they are formed.

#define THREADS (32 * WARPS)
#define WIDTH (D / SLICES)
#define GROUP (RATIO * SLICES)
// Warps that lie side by side over the columns, and the parts of the keys that they are stacked in.
#define ACROSS ((WIDTH + 31) / 32)
#define PARTS (WARPS / ACROSS)
#define KEYS ((D + PARTS - 1) / PARTS)
// Channels that a block convolves: q, k and its columns of v; TURNS of them a thread.
#define CHANNELS (2 * D + WIDTH)
#define TURNS ((CHANNELS + THREADS - 1) / THREADS)

#if __CUDA_ARCH__ >= 900
#define MEMBERS 1
#define TOGETHER __cluster_dims__(GROUP, 1, 1)

// What this block has read and written so far is so for those that come out of the next `cluster_wait`.
DEVICE void cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release.aligned;" : : : "memory");
}

DEVICE void cluster_wait() {
    asm volatile("barrier.cluster.wait.acquire.aligned;" : : : "memory");
}

// Writes a float of shared memory, named by its own address here, in another block of the cluster.
DEVICE void write_at(float* here, int block, float v) {
    asm volatile(
        "{ .reg .u64 t; .reg .u32 a, r; cvta.to.shared.u64 t, %0; cvt.u32.u64 a, t; mapa.shared::cluster.u32 r, a, %1; "
        "st.shared::cluster.f32 [r], %2; }"
        :
        : "l"(here), "r"(block), "f"(v)
        : "memory");
}
#else
#define MEMBERS GROUP
#define TOGETHER
DEVICE void cluster_arrive() {}
DEVICE void cluster_wait() { __syncthreads(); }
DEVICE void write_at(float* here, int block, float v) {
    if (block == 0) *here = v;
}
#endif

KERNEL TOGETHER __launch_bounds__(THREADS)
    delta_net(Tensor qkv, Tensor z, Tensor ba, Tensor conv_state, Tensor state, Tensor w_conv, Tensor dt, Tensor a,
              Tensor w_norm, Tensor o, float eps, float scale) {
    __shared__ float qs[D], ks[D], vs[WIDTH], sums[2][PARTS][WIDTH];
    __shared__ float answers[MEMBERS][WIDTH], gates[MEMBERS][WIDTH], squares[GROUP][ACROSS];
    // Only where kernels do not start early: `in_turn` would do nothing.
    if (MEMBERS > 1 && blockIdx.x > 0) return;
    int key_head = blockIdx.y, s = blockIdx.z, key_heads = gridDim.y;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = warp / ACROSS, column = warp % ACROSS * 32 + lane;
    bool mine = part < PARTS && column < WIDTH;
#pragma unroll 1
    for (int m = 0; m < MEMBERS; ++m) {
        int member = blockIdx.x + m, head = member / SLICES, h = key_head * RATIO + head;
        int first = member % SLICES * WIDTH;
        // States and weights are not written by the kernel before: they are fetched while it still runs.
        float S[KEYS], past[TURNS][TAPS - 1], tap[TURNS][TAPS];
        // Addresses of neighbours are one step apart: to multiply for each takes longer than the sums.
        u8* const states = row_at(state, part * KEYS, h, s) + (first + column) * state.nb[0];
        const u8* from = states;
#pragma unroll
        for (int i = 0; i < KEYS; ++i, from += state.nb[1]) {
            S[i] = mine && part * KEYS + i < D ? *(const float*)from : 0.0f;
        }
        int channel[TURNS];
#pragma unroll
        for (int n = 0; n < TURNS; ++n) {
            int i = threadIdx.x + n * THREADS;
            channel[n] = i < D ? key_head * D + i
                : i < 2 * D    ? (key_heads + key_head) * D + i - D
                : i < CHANNELS ? 2 * key_heads * D + h * D + first + i - 2 * D
                               : -1;
            // q and k serve all members.
            if (m > 0 && i < 2 * D) channel[n] = -1;
            if (channel[n] < 0) continue;
            const u8* at = row_at(conv_state, 0, s, 0) + channel[n] * conv_state.nb[0];
#pragma unroll
            for (int k = 0; k + 1 < TAPS; ++k, at += conv_state.nb[1]) past[n][k] = *(const float*)at;
            at = row_at(w_conv, channel[n], 0, 0);
#pragma unroll
            for (int k = 0; k < TAPS; ++k, at += w_conv.nb[0]) tap[n][k] = *(const float*)at;
        }
        float norm = mine ? f32_at(w_norm.p, w_norm, first + column) : 0.0f;
        float bias = f32_at(dt.p, dt, h), rate = f32_at(a.p, a, h);
        cluster_arrive();
        if (m == 0) in_turn();
        u8* gate_row = row_at(ba, 0, s, 0);
        float b = f32_at(gate_row, ba, (2 * key_head) * RATIO + head);
        float x = f32_at(gate_row, ba, (2 * key_head + 1) * RATIO + head) + bias;
        float gate = mine && part == 0 ? f32_at(row_at(z, 0, s, 0), z, h * D + first + column) : 0.0f;
        float now[TURNS];
#pragma unroll
        for (int n = 0; n < TURNS; ++n) now[n] = channel[n] < 0 ? 0.0f : f32_at(row_at(qkv, 0, s, 0), qkv, channel[n]);
        cluster_wait();
#pragma unroll
        for (int n = 0; n < TURNS; ++n) {
            if (channel[n] < 0) continue;
            int i = threadIdx.x + n * THREADS;
            float u = 0.0f;
#pragma unroll
            for (int k = 0; k + 1 < TAPS; ++k) u = fmaf(tap[n][k], past[n][k], u);
            u = silu(fmaf(tap[n][TAPS - 1], now[n], u));
            (i < D ? qs[i] : i < 2 * D ? ks[i - D] : vs[i - 2 * D]) = u;
            // Each has its own columns of v; what is common moves on in the first block.
            if (i < 2 * D && blockIdx.x > 0) continue;
            u8* at = row_at(conv_state, 0, s, 0) + channel[n] * conv_state.nb[0];
#pragma unroll
            for (int k = 0; k + 1 < TAPS; ++k, at += conv_state.nb[1]) {
                *(float*)at = k + 2 < TAPS ? past[n][k + 1] : now[n];
            }
        }
        float decay = expf(rate * (x > 20.0f ? x : log1pf(expf(x)))), strength = 1.0f / (1.0f + expf(-b));
        __syncthreads();
        float sk[2] = {0.0f, 0.0f}, sq[2] = {0.0f, 0.0f};
#pragma unroll
        for (int i = 0; i < KEYS; ++i) {
            int key = part * KEYS + i;
            if (key < D) {
                sk[i % 2] = fmaf(S[i], ks[key], sk[i % 2]);
                sq[i % 2] = fmaf(S[i], qs[key], sq[i % 2]);
            }
        }
        if (mine) {
            sums[0][part][column] = sk[0] + sk[1];
            sums[1][part][column] = sq[0] + sq[1];
        }
        float kk = 0.0f, qq = 0.0f, kq = 0.0f;
#pragma unroll
        for (int i = lane; i < D; i += 32) {
            kk = fmaf(ks[i], ks[i], kk);
            qq = fmaf(qs[i], qs[i], qq);
            kq = fmaf(ks[i], qs[i], kq);
        }
        float unit_k = 1.0f / sqrtf(warp_sum(kk) + eps), unit_q = scale / sqrtf(warp_sum(qq) + eps);
        kq = warp_sum(kq) * unit_k * unit_q;
        __syncthreads();
        float recalled = 0.0f, answer = 0.0f, delta = 0.0f;
        if (mine) {
#pragma unroll
            for (int p = 0; p < PARTS; ++p) {
                recalled += sums[0][p][column];
                answer += sums[1][p][column];
            }
            delta = strength * (vs[column] - decay * unit_k * recalled);
            answer = fmaf(delta, kq, decay * unit_q * answer);
        }
        if (part == 0) {
            float square = warp_sum(answer * answer);
            if (lane < GROUP) write_at(&squares[member][warp], lane, square);
        }
        if (m + 1 == MEMBERS) cluster_arrive();
        if (mine && part == 0) {
            answers[m][column] = answer;
            gates[m][column] = norm * silu(gate);
        }
        delta *= unit_k;
        u8* to = states;
#pragma unroll
        for (int i = 0; i < KEYS; ++i, to += state.nb[1]) {
            int key = part * KEYS + i;
            if (mine && key < D) *(float*)to = fmaf(ks[key], delta, S[i] * decay);
        }
        if (m + 1 < MEMBERS) __syncthreads();
    }
    cluster_wait();
    if (!mine || part > 0) return;
#pragma unroll 1
    for (int m = 0; m < MEMBERS; ++m) {
        int member = blockIdx.x + m, head = member / SLICES;
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < SLICES; ++i) {
#pragma unroll
            for (int j = 0; j < ACROSS; ++j) sum += squares[head * SLICES + i][j];
        }
        int at = (key_head * RATIO + head) * D + member % SLICES * WIDTH + column;
        f32_at(row_at(o, 0, s, 0), o, at) = answers[m][column] * (1.0f / sqrtf(sum / D + eps)) * gates[m][column];
    }
}
