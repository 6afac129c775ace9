// The gated delta rule, TOKENS tokens at a time. With G_t the decay from the state S at the start of such a group to token
// t, and D(t, s) that from token s to token t,
//
//     d_t = beta_t (v_t - G_t S^T k_t - sum_{s<t} D(t,s) (k_s . k_t) d_s)
//     o_t = G_t S^T q_t + sum_{s<=t} D(t,s) (k_s . q_t) d_s
//     S <- G S + sum_s D(last,s) k_s d_s^T
//
// so that the products with the state, which are nearly all of the work, wait for nothing, and one exchange between the
// lanes that share a column's keys serves a whole group. A lane has COLUMNS value columns of KEYS keys each in registers,
// and takes each k and q from shared memory once for all of its columns.

#define TOKENS 8
// Lanes that share the keys of a column; keys of a lane; columns of a warp and of a block.
#define LANES 16
#define KEYS (D / LANES)
#define PER_WARP (32 / LANES * COLUMNS)
#define THREADS (32 * WARPS)
#define WIDTH (WARPS * PER_WARP)
// A lane's keys: quads that lie LANES quads apart, so that lanes read side by side.
#define KEY(i) ((i) / 4 * 4 * LANES + part * 4 + (i) % 4)
// Elements of k and q, and of v, that a thread fetches for a group.
#define FETCH (TOKENS * D / THREADS)
#define FETCH_V ((TOKENS * WIDTH + THREADS - 1) / THREADS)
// Tokens whose products with one another a warp makes, and whose results a lane writes.
#define ROWS (TOKENS / WARPS)
#define RESULTS (TOKENS * PER_WARP / 32)

KERNEL __launch_bounds__(THREADS)
    gated_delta_net(Tensor q, Tensor k, Tensor v, Tensor g, Tensor beta, Tensor state, Tensor o, float scale) {
    __shared__ __align__(16) float ks[2][TOKENS][D], qs[2][TOKENS][D];
    __shared__ float vs[2][TOKENS][WIDTH], gs[2][TOKENS], strengths[2][TOKENS];
    // D(t,s) times k_s . k_t and k_s . q_t; G; D(last,s).
    __shared__ __align__(16) float kk[TOKENS][TOKENS], kq[TOKENS][TOKENS];
    __shared__ float since[TOKENS], until[TOKENS];
    __shared__ __align__(16) float products[WARPS][32 / LANES][TOKENS][2][COLUMNS], deltas[WARPS][TOKENS][PER_WARP];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = lane % LANES, group = lane / LANES;
    int base = blockIdx.x * WIDTH, h = blockIdx.y, s = blockIdx.z;
    int key_head = h / (v.ne[1] / q.ne[1]), tokens = q.ne[2];
    int mine = base + warp * PER_WARP + group * COLUMNS;
    float S[COLUMNS][KEYS];
#pragma unroll
    for (int i = 0; i < KEYS; ++i) {
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) S[c][i] = f32_at(row_at(state, KEY(i), h, s), state, mine + c);
    }
    in_turn();
    float next_k[FETCH], next_q[FETCH], next_v[FETCH_V], next_g = 0.0f, next_strength = 0.0f;
    // Tokens behind the last have no key and do not decay: they change nothing.
    auto fetch = [&](int first) {
#pragma unroll
        for (int n = 0; n < FETCH; ++n) {
            int i = threadIdx.x + n * THREADS, t = first + i / D;
            next_k[n] = t < tokens ? f32_at(row_at(k, key_head, t, s), k, i % D) : 0.0f;
            next_q[n] = t < tokens ? f32_at(row_at(q, key_head, t, s), q, i % D) * scale : 0.0f;
        }
#pragma unroll
        for (int n = 0; n < FETCH_V; ++n) {
            int i = threadIdx.x + n * THREADS, t = first + i / WIDTH;
            next_v[n] = i < TOKENS * WIDTH && t < tokens ? f32_at(row_at(v, h, t, s), v, base + i % WIDTH) : 0.0f;
        }
        int t = first + threadIdx.x;
        bool is = threadIdx.x < TOKENS && t < tokens;
        next_g = is ? *(const float*)(g.p + h * g.nb[0] + t * g.nb[1] + s * g.nb[2]) : 0.0f;
        next_strength = is ? *(const float*)(beta.p + h * beta.nb[0] + t * beta.nb[1] + s * beta.nb[2]) : 0.0f;
    };
    auto place = [&](int turn) {
#pragma unroll
        for (int n = 0; n < FETCH; ++n) {
            int i = threadIdx.x + n * THREADS;
            ks[turn][i / D][i % D] = next_k[n];
            qs[turn][i / D][i % D] = next_q[n];
        }
#pragma unroll
        for (int n = 0; n < FETCH_V; ++n) {
            int i = threadIdx.x + n * THREADS;
            if (i < TOKENS * WIDTH) vs[turn][i / WIDTH][i % WIDTH] = next_v[n];
        }
        if (threadIdx.x < TOKENS) gs[turn][threadIdx.x] = next_g, strengths[turn][threadIdx.x] = next_strength;
    };
    fetch(0);
    place(0);
    __syncthreads();
    for (int first = 0, turn = 0; first < tokens; first += TOKENS, turn = 1 - turn) {
        fetch(first + TOKENS);
        // Products with the state, half of the tokens at a time.
#pragma unroll
        for (int half = 0; half < TOKENS; half += TOKENS / 2) {
            float sums[TOKENS / 2 * 2 * COLUMNS];
#pragma unroll
            for (int t = 0; t < TOKENS / 2; ++t) {
                float *sk = sums + t * 2 * COLUMNS, *sq = sk + COLUMNS;
#pragma unroll
                for (int c = 0; c < COLUMNS; ++c) sk[c] = sq[c] = 0.0f;
#pragma unroll
                for (int i = 0; i < KEYS; i += 4) {
                    float4 k4 = *(const float4*)&ks[turn][half + t][KEY(i)];
                    float4 q4 = *(const float4*)&qs[turn][half + t][KEY(i)];
                    float kv[4] = {k4.x, k4.y, k4.z, k4.w}, qv[4] = {q4.x, q4.y, q4.z, q4.w};
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
#pragma unroll
                        for (int c = 0; c < COLUMNS; ++c) {
                            sk[c] = fmaf(S[c][i + j], kv[j], sk[c]);
                            sq[c] = fmaf(S[c][i + j], qv[j], sq[c]);
                        }
                    }
                }
            }
            constexpr int LEFT = TOKENS / 2 * 2 * COLUMNS / LANES;
            lane_sums<TOKENS / 2 * 2 * COLUMNS, LANES>(sums);
            float* to = &products[warp][group][half][0][0] + part * LEFT;
#pragma unroll
            for (int i = 0; i < LEFT; ++i) to[i] = sums[i];
        }
        // Products of tokens with one another: a warp has ROWS of them against all.
        {
            float sums[ROWS * 2 * TOKENS];
#pragma unroll
            for (int i = 0; i < ROWS * 2 * TOKENS; ++i) sums[i] = 0.0f;
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                float *with_k = sums + r * 2 * TOKENS, *with_q = with_k + TOKENS;
#pragma unroll
                for (int i = lane * 4; i < D; i += 128) {
                    float4 k4 = *(const float4*)&ks[turn][warp * ROWS + r][i];
                    float4 q4 = *(const float4*)&qs[turn][warp * ROWS + r][i];
#pragma unroll
                    for (int u = 0; u < TOKENS; ++u) {
                        float4 x = *(const float4*)&ks[turn][u][i];
                        with_k[u] += (k4.x * x.x + k4.y * x.y) + (k4.z * x.z + k4.w * x.w);
                        with_q[u] += (q4.x * x.x + q4.y * x.y) + (q4.z * x.z + q4.w * x.w);
                    }
                }
            }
            lane_sums<ROWS * 2 * TOKENS>(sums);
            int number = lane / (32 / (ROWS * 2 * TOKENS)), t = warp * ROWS + number / (2 * TOKENS), u = number % TOKENS;
            float between = 0.0f, before = 0.0f;
#pragma unroll
            for (int i = 0; i < TOKENS; ++i) {
                if (i <= t) before += gs[turn][i];
                if (i > u && i <= t) between += gs[turn][i];
            }
            float fade = expf(between);
            bool of_q = number / TOKENS % 2;
            (of_q ? kq : kk)[t][u] = u <= t ? sums[0] * fade : 0.0f;
            if (!of_q && u == 0) since[t] = expf(before);
            if (!of_q && t == TOKENS - 1) until[u] = fade;
        }
        __syncthreads();
        // Lanes that have one column solve it alike, and write the results of different tokens.
        {
            int column = lane % PER_WARP, own = lane / PER_WARP * RESULTS;
            const float(*product)[2][COLUMNS] = products[warp][column / COLUMNS];
            float delta[TOKENS];
#pragma unroll
            for (int t = 0; t < TOKENS; ++t) {
                delta[t] = vs[turn][t][warp * PER_WARP + column] - since[t] * product[t][0][column % COLUMNS];
            }
#pragma unroll
            for (int t = 0; t < TOKENS; ++t) {
                delta[t] *= strengths[turn][t];
#pragma unroll
                for (int u = t + 1; u < TOKENS; ++u) delta[u] = fmaf(-kk[u][t], delta[t], delta[u]);
                if (lane < PER_WARP) deltas[warp][t][column] = delta[t] * until[t];
            }
#pragma unroll
            for (int r = 0; r < RESULTS; ++r) {
                int t = own + r;
                float y = since[t] * product[t][1][column % COLUMNS];
#pragma unroll
                for (int u = 0; u < TOKENS; ++u) y = fmaf(kq[t][u], delta[u], y);
                if (first + t < tokens) f32_at(row_at(o, h, first + t, s), o, base + warp * PER_WARP + column) = y;
            }
        }
        __syncwarp();
        float decay = since[TOKENS - 1];
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
#pragma unroll
            for (int i = 0; i < KEYS; ++i) S[c][i] *= decay;
        }
#pragma unroll
        for (int t = 0; t < TOKENS; ++t) {
            float delta[COLUMNS];
#pragma unroll
            for (int c = 0; c < COLUMNS; ++c) delta[c] = deltas[warp][t][group * COLUMNS + c];
#pragma unroll
            for (int i = 0; i < KEYS; i += 4) {
                float4 k4 = *(const float4*)&ks[turn][t][KEY(i)];
                float kv[4] = {k4.x, k4.y, k4.z, k4.w};
#pragma unroll
                for (int j = 0; j < 4; ++j) {
#pragma unroll
                    for (int c = 0; c < COLUMNS; ++c) S[c][i + j] = fmaf(kv[j], delta[c], S[c][i + j]);
                }
            }
        }
        place(1 - turn);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < KEYS; ++i) {
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) f32_at(row_at(state, KEY(i), h, s), state, mine + c) = S[c][i];
    }
}
