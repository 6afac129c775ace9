// Experts for many tokens: slots (a token and one of its experts) are sorted by expert on the device, then each expert's
// slots are the columns of tiles on tensor cores. No expert's slots are known to the host, so the grid has blocks for the
// most tiles that there can be; those beyond the last tile end at once.

// F32 weights are taken as two halves.
#define SPLIT EXACT

// Where what the launches share lies: sorted slots behind the list of tiles.
struct Sorted {
    int* count;  // tiles
    int* tiles;  // expert, first of its slots, how many
    int* order;  // slots by expert
};

DEVICE Sorted sorted(int* p, int most) {
    return {p, p + 1, p + 1 + 3 * most};
}

// The place of a value among those of lower lanes, added up; `total` gets the sum of all.
DEVICE int before(int v, int lane, int& total) {
    int sum = v;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
        int other = __shfl_up_sync(FULL, sum, d);
        if (lane >= d) sum += other;
    }
    total = __shfl_sync(FULL, sum, 31);
    return sum - v;
}

// One block. What is no expert goes to the bucket behind the last. The order of an expert's slots is left open: a
// column's products do not depend on where in a tile it stands.
KERNEL moe_sort(Tensor ids, int* scratch, int experts, int most) {
    in_turn();
    __shared__ int counts[EXPERTS + 1], next[EXPERTS + 1];
    Sorted s = sorted(scratch, most);
    int slots = ids.ne[0] * ids.ne[1], lane = threadIdx.x % 32;
    for (int e = threadIdx.x; e <= experts; e += blockDim.x) counts[e] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < slots; i += blockDim.x) {
        u32 e = i32_at(ids, i % ids.ne[0], i / ids.ne[0]);
        atomicAdd(&counts[min(e, (u32)experts)], 1);
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        int first = 0, tile = 0;
        for (int e0 = 0; e0 <= experts; e0 += 32) {
            int e = e0 + lane, n = e <= experts ? counts[e] : 0, tiles = (n + TILE - 1) / TILE, all, all_tiles;
            int at = first + before(n, lane, all), to = tile + before(tiles, lane, all_tiles);
            if (e <= experts) next[e] = at;
            for (int i = 0; i < tiles; ++i) {
                int* t = s.tiles + 3 * (to + i);
                t[0] = e, t[1] = at + i * TILE, t[2] = min(TILE, n - i * TILE);
            }
            first += all;
            tile += all_tiles;
        }
        if (lane == 0) *s.count = tile;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < slots; i += blockDim.x) {
        u32 e = i32_at(ids, i % ids.ne[0], i / ids.ne[0]);
        s.order[atomicAdd(&next[min(e, (u32)experts)], 1)] = i;
    }
}

// A block a row of activations.
KERNEL moe_halve(Tensor x, u16* halves, int padded) {
    in_turn();
    i64 rows = gridDim.x, below = rows * padded;
    float* factors = (float*)(halves + (SPLIT ? 2 : 1) * below);
    u16* to = halves + (i64)blockIdx.x * padded;
    halve_row<SPLIT>(row_at(x, row_index(x, blockIdx.x)), x.nb[0], x.ne[0], to, padded, below, factors + blockIdx.x);
}

#ifdef GATE
// Half of a warp's rows are the gate's and half are up's, so that a thread has both products of a feature.
KERNEL __launch_bounds__(THREADS) moe_up_gate(Tensor gate, Tensor up, Tensor y, const u16* halves, int* scratch, int padded, int most) {
    in_turn();
    using S = Share<TILE>;
    constexpr int HALF = S::M * 8;
    Sorted s = sorted(scratch, most);
    if (blockIdx.y >= *s.count) return;
    const int* tile = s.tiles + 3 * blockIdx.y;
    int expert = tile[0], columns = tile[2], used = y.ne[1], first_row = blockIdx.x * (ROWS / 2);
    const int* slots = s.order + tile[1];
    bool known = expert < up.ne[2];
    i64 below = (i64)y.ne[2] * padded;
    const float* factors = (const float*)(halves + (SPLIT ? 2 : 1) * below);
    int group = threadIdx.x / (2 * HALF), within = threadIdx.x % (2 * HALF);
    bool is_gate = within < HALF;
    const Tensor& mine = is_gate ? gate : up;
    i64 nb = mine.nb[0];
    int f = min(first_row + group * HALF + within % HALF, up.ne[1] - 1), k = up.ne[0];
    const u8* row = row_at(mine, f, known ? expert : 0, 0);
    auto weights = [&](int, int c, bool lower, uint4* to) {
        if (SPLIT && lower) weight_halves<GATE, true>(row, nb, c, k, to);
        else if (GATE == UP || is_gate) weight_halves<GATE, false>(row, nb, c, k, to);
        else weight_halves<UP, false>(row, nb, c, k, to);
    };
    auto column = [&](int j) { return halves + (i64)(slots[min(j, columns - 1)] / used) * padded; };
    float sums[S::M][S::N][4];
    tile_products<TILE, SPLIT>(padded / 32, below, weights, column, sums);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int row0 = first_row + warp / S::ACROSS * HALF + lane / 4, column0 = warp % S::ACROSS * S::N * 8 + lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < S::N; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            int c = column0 + n * 8 + i % 2;
            if (c >= columns) continue;
            int u = slots[c] % used, t = slots[c] / used;
            u8* to = row_at(y, u, t, 0);
#pragma unroll
            for (int m = 0; m < S::M / 2; ++m) {
                int r = row0 + m * 16 + i / 2 * 8;
                float g = sums[m][n][i] * factors[t] * weight_factor<GATE>();
                float v = sums[m + S::M / 2][n][i] * factors[t] * weight_factor<UP>();
                if (r < up.ne[1]) f32_at(to, y, r) = known ? silu(g) * v : __uint_as_float(0x7fc00000u);
            }
        }
    }
}
#endif

#ifdef DOWN
// Products of each slot, N floats each.
KERNEL __launch_bounds__(THREADS) moe_down(Tensor down, float* products, const u16* halves, int* scratch, int padded, int slots, int most) {
    in_turn();
    Sorted s = sorted(scratch, most);
    if (blockIdx.y >= *s.count) return;
    const int* tile = s.tiles + 3 * blockIdx.y;
    int expert = tile[0], columns = tile[2], first_row = blockIdx.x * ROWS;
    const int* order = s.order + tile[1];
    if (expert >= down.ne[2]) return;
    i64 below = (i64)slots * padded;
    const float* factors = (const float*)(halves + (SPLIT ? 2 : 1) * below);
    const u8* row = row_at(down, min(first_row + (int)threadIdx.x, down.ne[1] - 1), expert, 0);
    auto weights = [&](int, int c, bool lower, uint4* to) {
        if (SPLIT && lower) weight_halves<DOWN, true>(row, down.nb[0], c, down.ne[0], to);
        else weight_halves<DOWN, false>(row, down.nb[0], c, down.ne[0], to);
    };
    auto column = [&](int j) { return halves + (i64)order[min(j, columns - 1)] * padded; };
    float sums[Share<TILE>::M][Share<TILE>::N][4];
    tile_products<TILE, SPLIT>(padded / 32, below, weights, column, sums);
    each_sum<TILE>([&](int m, int n, int i, int r, int c) {
        if (first_row + r < down.ne[1] && c < columns) {
            float v = sums[m][n][i] * factors[order[c]] * weight_factor<DOWN>();
            products[(i64)order[c] * down.ne[1] + first_row + r] = v;
        }
    });
}

// The weighted sum of a token's products, in the order of its slots. What is no expert makes it NaN.
KERNEL moe_sum(Tensor ids, Tensor weights, Tensor y, const float* products, int experts) {
    in_turn();
    int n = blockIdx.x * blockDim.x + threadIdx.x, t = blockIdx.y, used = ids.ne[0];
    if (n >= y.ne[0]) return;
    float sum = 0.0f;
    for (int u = 0; u < used; ++u) {
        bool known = (u32)i32_at(ids, u, t) < (u32)experts;
        float weight = known ? f32_at(row_at(weights, t, 0, 0), weights, u) : __uint_as_float(0x7fc00000u);
        sum = fmaf(weight, products[((i64)t * used + u) * y.ne[0] + n], sum);
    }
    f32_at(row_at(y, t, 0, 0), y, n) = sum;
}
#endif
