// The first launch of `attention_block` on tensor cores, for F16 caches: a block has a stretch of cells of a KV head for all
// GROUP query heads that share it, a warp sixteen cells at a time, with no shared memory but for queries and sums. A row of a
// cache is read once, straight into the registers from which it is multiplied, and most of it before the block's turn: cells
// but the token's own were written in earlier runs.
//
// Products sum over dimensions or cells in any order that both sides share. So for logits a lane has eight neighbouring
// dimensions of a cell, and for the weighted sum eight neighbouring dimensions of four cells. Queries are two halves each, the
// second what the first leaves: rows 8 to 15 of a tile that has only eight heads. Weights are halves.

// Chunks of 32 dimensions, blocks of 64.
#define CHUNKS (HEAD / 32)
#define SIXTYFOURS (HEAD / 64)
#define LOG2E 1.4426950408889634f

// Two halves of neighbouring cells: of the first dimension of two words, or of the second.
DEVICE u32 firsts(u32 a, u32 b) {
    return __byte_perm(a, b, 0x5410);
}
DEVICE u32 seconds(u32 a, u32 b) {
    return __byte_perm(a, b, 0x7632);
}

DEVICE u32 word_of(const uint4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

DEVICE uint4 row16(const u8* p) {
    uint4 v;
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}

// A head's rows of a cache.
struct Cells {
    u8* p;
    i64 nb1;
};

// Sixteen cells of a warp.
struct Tile {
    uint4 keys[2][CHUNKS], values[SIXTYFOURS][4];

    // The cells of this lane: keys of two, values of four.
    static DEVICE int key_cell(int n) {
        return n * 8 + threadIdx.x % 32 / 4;
    }
    static DEVICE int value_cell(int c) {
        return threadIdx.x % 4 * 2 + c % 2 + c / 2 * 8;
    }

    // Cells from `first` on; those from `end` on are the last one again.
    DEVICE void load_keys(const Cells& rows, int first, int end) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            const u8* row = rows.p + min(first + key_cell(n), end - 1) * rows.nb1 + threadIdx.x % 4 * 16;
#pragma unroll
            for (int j = 0; j < CHUNKS; ++j) keys[n][j] = row16(row + j * 64);
        }
    }

    DEVICE void load_values(const Cells& rows, int first, int end) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            const u8* row = rows.p + min(first + value_cell(c), end - 1) * rows.nb1 + threadIdx.x % 32 / 4 * 16;
#pragma unroll
            for (int d = 0; d < SIXTYFOURS; ++d) values[d][c] = row16(row + d * 128);
        }
    }

    // The token's own cell, which is not in the caches yet.
    DEVICE void put_own(const u16* key, const u16* value, int first, int end, int own) {
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            if (min(first + key_cell(n), end - 1) != own) continue;
#pragma unroll
            for (int j = 0; j < CHUNKS; ++j) keys[n][j] = ((const uint4*)key)[j * 4 + threadIdx.x % 4];
        }
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            if (min(first + value_cell(c), end - 1) != own) continue;
#pragma unroll
            for (int d = 0; d < SIXTYFOURS; ++d) values[d][c] = ((const uint4*)value)[d * 8 + threadIdx.x % 32 / 4];
        }
    }
};

// What a warp has of its cells: for head lane / 4 the largest logit, times log2(e), and the sum of weights; for heads
// 2 (lane % 4) and the next eight dimensions, 8 (lane / 4) on, of each 64.
struct Sums {
    float top, total, of[SIXTYFOURS][4][4];

    DEVICE void clear() {
        top = -__int_as_float(0x7f800000), total = 0.0f;
#pragma unroll
        for (int i = 0; i < SIXTYFOURS * 16; ++i) of[i / 16][i / 4 % 4][i % 4] = 0.0f;
    }

    // Weights of head lane / 4 changed by a factor: so do sums of this lane's heads.
    DEVICE void scale(float factor) {
        float even = __shfl_sync(FULL, factor, threadIdx.x % 4 * 8), odd = __shfl_sync(FULL, factor, threadIdx.x % 4 * 8 + 4);
#pragma unroll
        for (int i = 0; i < SIXTYFOURS * 4; ++i) {
            float* v = of[i / 4][i % 4];
            v[0] *= even, v[1] *= odd, v[2] *= even, v[3] *= odd;
        }
    }
};

// Adds a tile whose cells before `count` are seen. `queries` has a lane's four words for each 16 dimensions.
DEVICE void add_tile(const uint4* queries, const Tile& tile, int count, Sums& sums, u32* weights) {
    float logits[2][4] = {};
#pragma unroll
    for (int j = 0; j < 2 * CHUNKS; ++j) {
        uint4 q = queries[j * 32 + threadIdx.x % 32];
        u32 a[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            const uint4& k = tile.keys[n][j / 2];
            mma_f16(logits[n], a, j % 2 ? k.z : k.x, j % 2 ? k.w : k.y);
        }
    }
    float w[4], top = sums.top;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        bool seen = i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2 < count;
        w[i] = seen ? logits[i / 2][i % 2] + logits[i / 2][i % 2 + 2] : -__int_as_float(0x7f800000);
        top = fmaxf(top, w[i]);
    }
    top = fmaxf(top, __shfl_xor_sync(FULL, top, 1));
    top = fmaxf(top, __shfl_xor_sync(FULL, top, 2));
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        w[i] = exp2f(w[i] - top);
        total += w[i];
    }
    // The first tile finds nothing to scale: a head's cell 0 is always seen.
    float factor = exp2f(sums.top - top);
    sums.total = sums.total * factor + total;
    sums.top = top;
    sums.scale(factor);
    weights[0] = pack_halves(w[0], w[1]), weights[1] = pack_halves(w[2], w[3]);
}

DEVICE void add_values(const Tile& tile, const u32* weights, Sums& sums) {
#pragma unroll
    for (int d = 0; d < SIXTYFOURS; ++d) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            u32 w[4];
#pragma unroll
            for (int c = 0; c < 4; ++c) w[c] = word_of(tile.values[d][c], j);
            u32 a[4] = {firsts(w[0], w[1]), seconds(w[0], w[1]), firsts(w[2], w[3]), seconds(w[2], w[3])};
            mma_f16(sums.of[d][j], a, weights[0], weights[1]);
        }
    }
}

// A head's row, or the weights of a norm, over the lanes of a warp.
struct Head {
    float of[HEAD / 32];

    DEVICE void load(const u8* from) {
#pragma unroll
        for (int j = 0; j < HEAD / 32; ++j) of[j] = ((const float*)from)[threadIdx.x % 32 + 32 * j];
    }

    // Its norm and rotation, into shared memory.
    DEVICE void make(const Head& norm, float eps, const float (*turn)[PAIRS], float* row) const {
        int lane = threadIdx.x % 32;
        float square = 0.0f;
#pragma unroll
        for (int j = 0; j < HEAD / 32; ++j) square = fmaf(of[j], of[j], square);
        float scale = 1.0f / sqrtf(warp_sum(square) / HEAD + eps);
#pragma unroll
        for (int j = 0; j < HEAD / 32; ++j) row[lane + 32 * j] = of[j] * scale * norm.of[j];
        __syncwarp();
        for (int i = lane; i < HALF; i += 32) {
            float a = row[i], b = row[i + HALF];
            row[i] = a * turn[0][i] - b * turn[1][i];
            row[i + HALF] = b * turn[0][i] + a * turn[1][i];
        }
        __syncwarp();
    }
};

// Head g as the products want it.
DEVICE void put_query(const float* row, int g, float scale, uint4* queries) {
    for (int i = threadIdx.x % 32; i < HEAD / 4; i += 32) {
        float v[4], rest[4];
        u16 high[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            v[j] = g < GROUP ? row[4 * i + j] * scale : 0.0f;
            high[j] = float_to_half(v[j]);
            rest[j] = v[j] - half_to_float(high[j]);
        }
        // Quad i is number i % 2 of lane i / 2 % 4's eight in chunk i / 8.
        queries[(i / 8 * 2 + i % 2) * 32 + g * 4 + i / 2 % 4] =
            make_uint4(high[0] | (u32)high[1] << 16, pack_halves(rest[0], rest[1]), high[2] | (u32)high[3] << 16,
                       pack_halves(rest[2], rest[3]));
    }
}

// Floats from head to head of the sums of a warp.
#define APART (HALF_HEAD + 4)
#define HALF_HEAD (HEAD / 2)

KERNEL __launch_bounds__(THREADS, 1)
    attention_block(Tensor q, Tensor k, Tensor v, Tensor pos, Tensor k_cache, Tensor v_cache, Tensor w_q, Tensor w_k,
                    float* sums, float* tops, Turns turns, float eps, float scale, int n_kv) {
    union Stage {
        struct {
            uint4 queries[2 * CHUNKS * 32];
            float rows[9][HEAD];
        } of;
        float sums[WARPS][GROUP][APART];
    };
    __shared__ __align__(16) Stage stage;
    __shared__ __align__(16) u16 new_key[HEAD], new_value[HEAD];
    __shared__ float turn[2][PAIRS], top_of[WARPS][8], total_of[WARPS][8];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, split = blockIdx.x, kv = blockIdx.y, s = blockIdx.z;
    int at = i32_at(pos, 0, s), seen = cells_seen(at, n_kv), first = split * STRETCH;
    int end = min(first + STRETCH, seen), count = end - first;
    // A cell beyond those that are looked at is stored by the last block.
    bool owner = at >= 0 && at < k_cache.ne[1] && split == min(at / STRETCH, (int)gridDim.x - 1);
    bool idle = count <= 0 && !owner;
    Cells keys = {row_at(k_cache, 0, kv, s), k_cache.nb[1]}, values = {row_at(v_cache, 0, kv, s), v_cache.nb[1]};
    Tile tile;
    int cell = first + warp * 16;
    if (cell < end) {
        tile.load_keys(keys, cell, end);
        tile.load_values(values, cell, end);
    }
    if (!idle) {
        for (int i = threadIdx.x; i < HALF; i += THREADS) sincosf((float)at * turns.of[i], &turn[1][i], &turn[0][i]);
    }
    // Warp g makes query head g, the last one the token's key as well.
    Head query, key, norm_q, norm_k;
    bool makes_key = owner && warp == WARPS - 1;
    if (warp < GROUP) norm_q.load(w_q.p);
    if (makes_key) norm_k.load(w_k.p);
    __syncthreads();
    in_turn();
    if (idle) return;
    if (warp < GROUP) query.load(row_at(q, kv * GROUP + warp, 0, s));
    if (makes_key) key.load(row_at(k, kv, 0, s));
    if (owner && threadIdx.x < HEAD) {
        u16 value = float_to_half(((const float*)row_at(v, kv, 0, s))[threadIdx.x]);
        new_value[threadIdx.x] = value;
        *(u16*)(values.p + at * values.nb1 + threadIdx.x * 2) = value;
    }
    if (warp < GROUP) query.make(norm_q, eps, turn, stage.of.rows[warp]);
    put_query(stage.of.rows[warp], warp, scale * LOG2E, stage.of.queries);
    if (makes_key) {
        key.make(norm_k, eps, turn, stage.of.rows[8]);
        for (int i = lane; i < HEAD; i += 32) {
            new_key[i] = float_to_half(stage.of.rows[8][i]);
            *(u16*)(keys.p + at * keys.nb1 + i * 2) = new_key[i];
        }
    }
    __syncthreads();
    if (count <= 0) return;
    Sums mine;
    mine.clear();
    while (cell < end) {
        u32 weights[2];
        int next = cell + 16 * WARPS;
        if (owner && at < end) tile.put_own(new_key, new_value, cell, end, at);
        add_tile(stage.of.queries, tile, end - cell, mine, weights);
        if (next < end) tile.load_keys(keys, next, end);
        add_values(tile, weights, mine);
        if (next < end) tile.load_values(values, next, end);
        cell = next;
    }
    // Warps meet: each head's largest logit first.
    float total = mine.total + __shfl_xor_sync(FULL, mine.total, 1);
    total += __shfl_xor_sync(FULL, total, 2);
    if (lane % 4 == 0) top_of[warp][lane / 4] = mine.top, total_of[warp][lane / 4] = total;
    __syncthreads();
    float top = mine.top, all = 0.0f;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) top = fmaxf(top, top_of[w][lane / 4]);
#pragma unroll
    for (int w = 0; w < WARPS; ++w) all += total_of[w][lane / 4] * exp2f(top_of[w][lane / 4] - top);
    i64 row = (i64)s * q.ne[1] + kv * GROUP;
    if (warp == 0 && lane % 4 == 0 && lane / 4 < GROUP) {
        float* to = tops + ((row + lane / 4) * gridDim.x + split) * 2;
        to[0] = top / LOG2E, to[1] = all;
    }
    mine.scale(exp2f(mine.top - top));
    int warps = min(WARPS, (count + 15) / 16);
#pragma unroll
    for (int part = 0; part < 2; ++part) {
        if (part > 0) __syncthreads();
        if (warp < warps) {
#pragma unroll
            for (int i = 0; i < SIXTYFOURS * 8; ++i) {
                // Dimensions 8 (lane / 4) + 2 j and the next of each 64, for two heads.
                int d = i / 4 % SIXTYFOURS, j = i % 4, head = threadIdx.x % 4 * 2 + i / (SIXTYFOURS * 4);
                int dim = d * 64 + lane / 4 * 8 + j * 2 - part * HALF_HEAD;
                if (dim < 0 || dim >= HALF_HEAD || head >= GROUP) continue;
                const float* c = mine.of[d][j] + i / (SIXTYFOURS * 4);
                *(float2*)&stage.sums[warp][head][dim] = make_float2(c[0], c[2]);
            }
        }
        __syncthreads();
        for (int i = threadIdx.x; i < GROUP * HALF_HEAD; i += THREADS) {
            int g = i / HALF_HEAD, dim = i % HALF_HEAD;
            float sum = 0.0f;
#pragma unroll
            for (int w = 0; w < WARPS; ++w) sum += w < warps ? stage.sums[w][g][dim] : 0.0f;
            sums[((row + g) * gridDim.x + split) * HEAD + part * HALF_HEAD + dim] = sum;
        }
    }
}
