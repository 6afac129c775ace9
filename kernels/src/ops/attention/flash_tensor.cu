// Softmax attention of prompts on tensor cores: cells in tiles under a running softmax, as in FlashAttention-2 (Dao, 2023).
// A block has a KV head and 16 * WARPS rows. A row is a query head of a token, and the heads of a token are neighbours: so
// a tile of keys or values is read once for all heads that share it. A warp has 16 rows: their queries and sums stay in
// its registers.
//
// Keys and values pass through three tiles of shared memory in turn: one is worked on, one has arrived or is about to, one
// is on its way.
//
// Queries and weights are rounded to halves; logits and sums are single precision.

#define THREADS (32 * WARPS)
#define ROWS (16 * WARPS)
// Of 16 bytes, in a row of a tile.
#define CHUNKS (HEAD / 8)
#define LOG2_E 1.44269504f
// Weights are powers of two of logits less a base, which follows the largest logit once that is so far above: sums are
// rescaled seldom, and 2^8 is small enough for halves.
#define SLACK 8.0f
// Below any logit of halves.
#define LOWEST -1e30f

DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Where a chunk lies in a tile, in halves. Eight cells' chunks of one number meet all banks once.
DEVICE int place(int cell, int chunk) {
    return cell * HEAD + (chunk ^ cell % 8) * 8;
}

// How many cells a token sees.
DEVICE int seen(const Tensor& pos, int token, int s, int cells) {
    return min(max(i32_at(pos, token, s), -1), cells - 1) + 1;
}

DEVICE bool packed(const Tensor& t, const u8* cells) {
    return t.nb[0] == 2 && ((u64)cells | (u64)t.nb[1]) % 16 == 0;
}

// Cells `first` and on to a tile; zeros from `end` on, where the cache may hold anything.
DEVICE void fetch(u16* tile, const Tensor& t, const u8* cells, bool whole, int first, int end) {
    if (whole && first + CELLS <= end) {
        const u8* from = cells + (first + (int)threadIdx.x / CHUNKS) * t.nb[1] + threadIdx.x % CHUNKS * 16;
#pragma unroll
        for (int i = 0; i < CELLS * CHUNKS / THREADS; ++i) {
            int n = i * THREADS + threadIdx.x;
            copy16_async(tile + place(n / CHUNKS, n % CHUNKS), from + i * (THREADS / CHUNKS) * t.nb[1]);
        }
        return;
    }
#pragma unroll 1
    for (int n = threadIdx.x; n < CELLS * CHUNKS; n += THREADS) {
        int cell = n / CHUNKS, chunk = n % CHUNKS;
        u16* to = tile + place(cell, chunk);
        const u8* from = cells + (first + cell) * t.nb[1] + chunk * 8 * t.nb[0];
        if (first + cell >= end) {
            *(uint4*)to = make_uint4(0, 0, 0, 0);
        } else if (whole) {
            copy16_async(to, from);
        } else {
#pragma unroll 1
            for (int j = 0; j < 8; ++j) to[j] = *(const u16*)(from + j * t.nb[0]);
        }
    }
}

// Logits of a warp's rows and a tile's cells: 16 rows times CELLS.
DEVICE void logits_of(float (*s)[4], const u32 (*query)[4], const u16* tile) {
    constexpr int ACROSS = CELLS / 16, STEPS = HEAD / 16 * ACROSS;
    int lane = threadIdx.x % 32;
    u32 base = shared_address(tile) + (lane / 16 * 8 + lane % 8) * HEAD * 2, turn = (lane / 8 % 2 ^ lane % 8) * 16;
    u32 keys[2][4];
    auto load = [&](int step) {
        int k = step / ACROSS, n = step % ACROSS;
        load_matrices(keys[step % 2], base + n * 16 * HEAD * 2 + k / 4 * 128 + (k % 4 * 32 ^ turn));
    };
#pragma unroll
    for (int n = 0; n < CELLS / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) s[n][i] = 0.0f;
    }
    load(0);
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        if (step + 1 < STEPS) load(step + 1);
        int k = step / ACROSS, n = step % ACROSS * 2;
        mma_f16(s[n], query[k], keys[step % 2][0], keys[step % 2][1]);
        mma_f16(s[n + 1], query[k], keys[step % 2][2], keys[step % 2][3]);
    }
}

// Adds a tile's values, times the weights.
DEVICE void add_values(float (*sum)[4], const float (*weight)[4], const u16* tile) {
    constexpr int ACROSS = HEAD / 16, STEPS = CELLS / 16 * ACROSS;
    int lane = threadIdx.x % 32;
    u32 base = shared_address(tile) + lane % 16 * HEAD * 2, turn = (lane / 16 ^ lane % 8) * 16;
    u32 values[2][4], p[4];
    auto load = [&](int step) {
        int c = step / ACROSS, n = step % ACROSS;
        load_matrices_turned(values[step % 2], base + c * 16 * HEAD * 2 + n / 4 * 128 + (n % 4 * 32 ^ turn));
    };
    load(0);
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        if (step + 1 < STEPS) load(step + 1);
        int c = step / ACROSS * 2, n = step % ACROSS * 2;
        if (n == 0) {
#pragma unroll
            for (int i = 0; i < 4; ++i) p[i] = pack_halves(weight[c + i / 2][i % 2 * 2], weight[c + i / 2][i % 2 * 2 + 1]);
        }
        mma_f16(sum[n], p, values[step % 2][0], values[step % 2][1]);
        mma_f16(sum[n + 1], p, values[step % 2][2], values[step % 2][3]);
    }
}

KERNEL __launch_bounds__(THREADS) flash_tensor(Tensor q, Tensor k, Tensor v, Tensor pos, Tensor y, float scale) {
    in_turn();
    __shared__ __align__(128) u16 tiles[3][CELLS * HEAD];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, cells = k.ne[1];
    int kv = blockIdx.x % k.ne[2], s = blockIdx.x / k.ne[2];
    // Later tokens see more: they go first, so that the last blocks to run are short.
    int row0 = (gridDim.y - 1 - blockIdx.y) * ROWS, rows = q.ne[2] * GROUP;

    // Cells that some row sees, and that all rows see.
    int end = 0, all = cells;
    for (int r = row0 + lane; r < min(row0 + ROWS, rows); r += 32) {
        int n = seen(pos, r / GROUP, s, cells);
        end = max(end, n), all = min(all, n);
    }
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
        end = max(end, __shfl_xor_sync(FULL, end, d));
        all = min(all, __shfl_xor_sync(FULL, all, d));
    }
    const u8 *keys = row_at(k, 0, kv, s), *values = row_at(v, 0, kv, s);
    bool k_whole = packed(k, keys), v_whole = packed(v, values);
    if (end > 0) {
        fetch(tiles[0], k, keys, k_whole, 0, end);
        copies_commit();
        fetch(tiles[1], v, values, v_whole, 0, end);
        copies_commit();
    }

    // A thread has two rows, eight apart, and of each pair of halves one in four.
    u32 query[HEAD / 16][4];
    int limit[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        int r = row0 + warp * 16 + lane / 4 + 8 * h;
        bool there = r < rows;
        int token = there ? r / GROUP : 0;
        const u8* from = row_at(q, kv * GROUP + r % GROUP, token, s);
        limit[h] = there ? seen(pos, token, s, cells) : 0;
#pragma unroll
        for (int i = 0; i < HEAD / 8; ++i) {
            const u8* at = from + (8 * i + lane % 4 * 2) * q.nb[0];
            float a = there ? *(const float*)at : 0.0f, b = there ? *(const float*)(at + q.nb[0]) : 0.0f;
            query[i / 2][i % 2 * 2 + h] = pack_halves(a * (scale * LOG2_E), b * (scale * LOG2_E));
        }
    }
    float sum[HEAD / 8][4], base[2] = {LOWEST, LOWEST}, total[2] = {0.0f, 0.0f};
#pragma unroll
    for (int n = 0; n < HEAD / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[n][i] = 0.0f;
    }

    for (int cell = 0, turn = 0; cell < end; cell += CELLS) {
        int next = cell + CELLS, v_turn = turn == 2 ? 0 : turn + 1, k_next = v_turn == 2 ? 0 : v_turn + 1;
        // The keys are there, and nobody reads the last values any more: their tile takes the next keys.
        copies_wait<1>();
        __syncthreads();
        if (next < end) fetch(tiles[k_next], k, keys, k_whole, next, end);
        copies_commit();
        float weight[CELLS / 8][4], top[2] = {LOWEST, LOWEST};
        logits_of(weight, query, tiles[turn]);
        if (next > all) {
#pragma unroll
            for (int n = 0; n < CELLS / 8; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    bool hidden = cell + n * 8 + lane % 4 * 2 + i % 2 >= limit[i / 2];
                    if (hidden) weight[n][i] = -__int_as_float(0x7f800000);
                }
            }
        }
#pragma unroll
        for (int n = 0; n < CELLS / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) top[i / 2] = fmaxf(top[i / 2], weight[n][i]);
        }
        float fade[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            top[h] = fmaxf(top[h], __shfl_xor_sync(FULL, top[h], 1));
            top[h] = fmaxf(top[h], __shfl_xor_sync(FULL, top[h], 2));
            float to = top[h] > base[h] + SLACK ? top[h] : base[h];
            fade[h] = exp2_fast(base[h] - to);
            base[h] = to;
        }
        if (__any_sync(FULL, fade[0] != 1.0f || fade[1] != 1.0f)) {
            total[0] *= fade[0], total[1] *= fade[1];
#pragma unroll
            for (int n = 0; n < HEAD / 8; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) sum[n][i] *= fade[i / 2];
            }
        }
#pragma unroll
        for (int n = 0; n < CELLS / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                weight[n][i] = exp2_fast(weight[n][i] - base[i / 2]);
                total[i / 2] += weight[n][i];
            }
        }
        // The values are there, and the keys' tile takes the next values.
        copies_wait<1>();
        __syncthreads();
        if (next < end) fetch(tiles[turn], v, values, v_whole, next, end);
        copies_commit();
        add_values(sum, weight, tiles[v_turn]);
        turn = k_next;
    }

#pragma unroll
    for (int h = 0; h < 2; ++h) {
        total[h] += __shfl_xor_sync(FULL, total[h], 1);
        total[h] += __shfl_xor_sync(FULL, total[h], 2);
        float inverse = total[h] > 0.0f ? 1.0f / total[h] : 0.0f;
        int r = row0 + warp * 16 + lane / 4 + 8 * h;
        if (r >= rows) continue;
        u8* to = row_at(y, kv * GROUP + r % GROUP, r / GROUP, s);
#pragma unroll
        for (int n = 0; n < HEAD / 8; ++n) {
            f32_at(to, y, n * 8 + lane % 4 * 2) = sum[n][2 * h] * inverse;
            f32_at(to, y, n * 8 + lane % 4 * 2 + 1) = sum[n][2 * h + 1] * inverse;
        }
    }
}
