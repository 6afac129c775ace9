// The gated delta rule with the state in registers. A block has 32 value columns of a head; each of its PARTS warps has
// a share of the keys of those columns. What a column recalls of k and of q is summed over the warps in one exchange:
//
//     S <- e^g S + k d^T,  d = beta (v - e^g S^T k),  o = e^g S^T q + d (k . q)
//
// so that a token costs two barriers, and the state is read and written once a run.

#define KEYS ((D + PARTS - 1) / PARTS)

KERNEL gated_delta_net(Tensor q, Tensor k, Tensor v, Tensor g, Tensor beta, Tensor state, Tensor o, float scale) {
    in_turn();
    __shared__ float ks[2][D], qs[2][D];
    __shared__ float sums[2][3][PARTS][32];
    int lane = threadIdx.x % 32, part = threadIdx.x / 32, column = blockIdx.x * 32 + lane;
    int h = blockIdx.y, s = blockIdx.z, key_head = h / (v.ne[1] / q.ne[1]);
    bool mine = column < D;
    float S[KEYS];
#pragma unroll
    for (int i = 0; i < KEYS; ++i) {
        int key = part * KEYS + i;
        S[i] = mine && key < D ? f32_at(row_at(state, key, h, s), state, column) : 0.0f;
    }
    for (int t = 0; t < q.ne[2]; ++t) {
        int turn = t % 2;
        for (int i = threadIdx.x; i < D; i += 32 * PARTS) {
            ks[turn][i] = f32_at(row_at(k, key_head, t, s), k, i);
            qs[turn][i] = f32_at(row_at(q, key_head, t, s), q, i) * scale;
        }
        float decay = expf(*(const float*)(g.p + h * g.nb[0] + t * g.nb[1] + s * g.nb[2]));
        float strength = *(const float*)(beta.p + h * beta.nb[0] + t * beta.nb[1] + s * beta.nb[2]);
        float value = mine ? f32_at(row_at(v, h, t, s), v, column) : 0.0f;
        __syncthreads();
        float sk = 0.0f, sq = 0.0f, kq = 0.0f;
#pragma unroll
        for (int i = 0; i < KEYS; ++i) {
            int key = part * KEYS + i;
            if (key < D) {
                S[i] *= decay;
                sk = fmaf(S[i], ks[turn][key], sk);
                sq = fmaf(S[i], qs[turn][key], sq);
                kq = fmaf(ks[turn][key], qs[turn][key], kq);
            }
        }
        sums[turn][0][part][lane] = sk;
        sums[turn][1][part][lane] = sq;
        sums[turn][2][part][lane] = kq;
        __syncthreads();
        sk = sq = kq = 0.0f;
#pragma unroll
        for (int p = 0; p < PARTS; ++p) {
            sk += sums[turn][0][p][lane];
            sq += sums[turn][1][p][lane];
            kq += sums[turn][2][p][lane];
        }
        float delta = strength * (value - sk);
#pragma unroll
        for (int i = 0; i < KEYS; ++i) {
            int key = part * KEYS + i;
            if (key < D) S[i] = fmaf(ks[turn][key], delta, S[i]);
        }
        if (mine && part == 0) f32_at(row_at(o, h, t, s), o, column) = fmaf(delta, kq, sq);
    }
#pragma unroll
    for (int i = 0; i < KEYS; ++i) {
        int key = part * KEYS + i;
        if (mine && key < D) f32_at(row_at(state, key, h, s), state, column) = S[i];
    }
}
