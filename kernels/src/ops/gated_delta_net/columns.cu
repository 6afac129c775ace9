// The gated delta rule with a few lanes a value column: each has a share of the column's keys in registers, and what the
// column recalls is summed among them by shuffles. Columns never meet, so a warp waits for nobody; q and k of STAGE tokens
// at a time go to shared memory, for all of the block's columns.

// Lanes a column, keys a lane, columns a block.
#define LANES (32 / COLUMNS)
#define KEYS (D / LANES)
#define WIDTH (WARPS * COLUMNS)
#define STAGE 16
// A lane's keys lie this far apart: lanes of a column then read different banks.
#define KEY(i) ((i) / 4 * 4 * LANES + part * 4 + (i) % 4)

KERNEL __launch_bounds__(32 * WARPS) gated_delta_net(Tensor q, Tensor k, Tensor v, Tensor g, Tensor beta, Tensor state, Tensor o, float scale) {
    in_turn();
    __shared__ __align__(16) float ks[2][STAGE][D], qs[2][STAGE][D];
    __shared__ float vs[2][STAGE][WIDTH], decays[2][STAGE], strengths[2][STAGE];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = lane % LANES;
    int mine = warp * COLUMNS + lane / LANES, column = blockIdx.x * WIDTH + mine;
    int h = blockIdx.y, s = blockIdx.z, key_head = h / (v.ne[1] / q.ne[1]), tokens = q.ne[2];
    float S[KEYS];
#pragma unroll
    for (int i = 0; i < KEYS; ++i) S[i] = f32_at(row_at(state, KEY(i), h, s), state, column);
    auto stage = [&](int first, int turn) {
        int n = min(STAGE, tokens - first);
        for (int i = threadIdx.x; i < n * D; i += 32 * WARPS) {
            int t = i / D, j = i % D;
            ks[turn][t][j] = f32_at(row_at(k, key_head, first + t, s), k, j);
            qs[turn][t][j] = f32_at(row_at(q, key_head, first + t, s), q, j) * scale;
        }
        for (int i = threadIdx.x; i < n * WIDTH; i += 32 * WARPS) {
            int t = i / WIDTH, j = i % WIDTH;
            vs[turn][t][j] = f32_at(row_at(v, h, first + t, s), v, blockIdx.x * WIDTH + j);
        }
        for (int t = threadIdx.x; t < n; t += 32 * WARPS) {
            int at = first + t;
            decays[turn][t] = expf(*(const float*)(g.p + h * g.nb[0] + at * g.nb[1] + s * g.nb[2]));
            strengths[turn][t] = *(const float*)(beta.p + h * beta.nb[0] + at * beta.nb[1] + s * beta.nb[2]);
        }
    };
    stage(0, 0);
    __syncthreads();
    for (int first = 0, turn = 0; first < tokens; first += STAGE, turn = 1 - turn) {
        if (first + STAGE < tokens) stage(first + STAGE, 1 - turn);
        int n = min(STAGE, tokens - first);
        for (int t = 0; t < n; ++t) {
            float decay = decays[turn][t], strength = strengths[turn][t], value = vs[turn][t][mine];
            float keys[KEYS], recall[4] = {0.0f, 0.0f, 0.0f, 0.0f}, answer[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
            for (int i = 0; i < KEYS; i += 4) {
                float4 x = *(const float4*)&ks[turn][t][KEY(i)];
                keys[i] = x.x, keys[i + 1] = x.y, keys[i + 2] = x.z, keys[i + 3] = x.w;
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    S[i + j] *= decay;
                    recall[j] = fmaf(S[i + j], keys[i + j], recall[j]);
                }
            }
            float delta = (recall[0] + recall[1]) + (recall[2] + recall[3]);
            delta = strength * (value - warp_sum<LANES>(delta));
#pragma unroll
            for (int i = 0; i < KEYS; i += 4) {
                float4 x = *(const float4*)&qs[turn][t][KEY(i)];
                float queries[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    S[i + j] = fmaf(keys[i + j], delta, S[i + j]);
                    answer[j] = fmaf(S[i + j], queries[j], answer[j]);
                }
            }
            float sum = warp_sum<LANES>((answer[0] + answer[1]) + (answer[2] + answer[3]));
            if (part == 0) f32_at(row_at(o, h, first + t, s), o, column) = sum;
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < KEYS; ++i) f32_at(row_at(state, KEY(i), h, s), state, column) = S[i];
}
