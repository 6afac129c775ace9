// A token of an attention layer between its projections, in two launches. In the first a block has a stretch of cells of a
// KV head, for all GROUP query heads that share it, so that a key and a value are read once: norm and rotation of the
// queries, which every block does for itself; logits; softmax over the stretch; weighted sum. The block whose stretch the
// token's own cell lies in also makes and stores its key and value, and takes them from shared memory: nobody reads what
// another block stores. The second launch merges stretches in their order, and gates.

// Neighbouring elements of a head that a lane has, and query heads filled up to a power of two.
#define PER ((HEAD + 31) / 32)
#define HEADS (GROUP > 4 ? 8 : GROUP > 2 ? 4 : GROUP)
// Cells that a warp has under way at a time.
#define CELLS 4
// For the weighted sum a thread has four elements of a head; FOLD threads that have the same ones share the cells.
#define QUADS ((HEAD + 3) / 4)
#define FOLD (THREADS / QUADS)
#define STEP ((GROUP + 3) / 4 * 4)
// What a cache holds of a float, and where its element lies.
template <int TYPE> struct Stored {
    typedef float T;
};
template <> struct Stored<F16> {
    typedef u16 T;
};

DEVICE void store(float* p, float v) {
    *p = v;
}
DEVICE void store(u16* p, float v) {
    *p = float_to_half(v);
}

DEVICE void prefetch(const void* p) {
    asm volatile("prefetch.global.L2 [%0];" : : "l"(p));
}

// The last line of a row that its elements lie in is fetched with the others.
DEVICE void prefetch_rows(const Tensor& cache, const u8* rows, int first, int last, int size) {
    int lines = (HEAD * size + 127) / 128;
    if (cache.nb[0] != size) return;
    for (int i = threadIdx.x; i < (last - first) * lines; i += THREADS) {
        prefetch(rows + (first + i / lines) * cache.nb[1] + i % lines * 128);
    }
}

// Rows of a cache's type, with what `load` wants to know of them.
struct Rows {
    const u8* p;
    i64 nb0, nb1;
    bool packed;
};

DEVICE Rows rows_of(const Tensor& t, int kv, int s, int size) {
    const u8* p = row_at(t, 0, kv, s);
    return {p, t.nb[0], t.nb[1], t.nb[0] == size && ((u64)p | (u64)t.nb[1]) % 16 == 0};
}

// N elements of a row from number `at` on, zero beyond the head.
template <int TYPE, int N> DEVICE void load(const u8* row, i64 nb0, bool packed, int at, float* v) {
    if constexpr (HEAD % N == 0 && N == 8 && TYPE == F16) {
        if (packed) {
            uint4 w = *(const uint4*)(row + at * 2);
            u32 words[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
            for (int j = 0; j < 8; ++j) v[j] = half_to_float((u16)(words[j / 2] >> (16 * (j % 2))));
            return;
        }
    }
    if constexpr (HEAD % N == 0 && N == 4 && TYPE == F16) {
        if (packed) {
            uint2 w = *(const uint2*)(row + at * 2);
            v[0] = half_to_float((u16)w.x), v[1] = half_to_float((u16)(w.x >> 16));
            v[2] = half_to_float((u16)w.y), v[3] = half_to_float((u16)(w.y >> 16));
            return;
        }
    }
    if constexpr (HEAD % N == 0 && N % 4 == 0 && TYPE == F32) {
        if (packed) {
#pragma unroll
            for (int j = 0; j < N; j += 4) {
                float4 w = *(const float4*)(row + (at + j) * 4);
                v[j] = w.x, v[j + 1] = w.y, v[j + 2] = w.z, v[j + 3] = w.w;
            }
            return;
        }
    }
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] = at + j < HEAD ? element<TYPE>(row + (at + j) * nb0) : 0.0f;
}

// Partial results: HEAD sums for each query head and stretch, then of each its largest logit and sum of weights.
KERNEL __launch_bounds__(THREADS)
    attention_block(Tensor q, Tensor k, Tensor v, Tensor pos, Tensor k_cache, Tensor v_cache, Tensor w_q, Tensor w_k,
                    float* sums, float* tops, Turns turns, float eps, float scale, int n_kv) {
    typedef Stored<KEY>::T Key;
    typedef Stored<VALUE>::T Value;
    // Queries and logits are done with when the sums of the threads take their place.
    union Stage {
        struct {
            float rows[GROUP + 1][HEAD];
            __align__(16) float weights[STRETCH][STEP];
        } of;
        __align__(16) float sums[FOLD][GROUP][4 * QUADS];
    };
    __shared__ __align__(16) Stage stage;
    __shared__ __align__(16) Key new_key[HEAD];
    __shared__ __align__(16) Value new_value[HEAD];
    __shared__ float turn[2][PAIRS];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, split = blockIdx.x, kv = blockIdx.y, s = blockIdx.z;
    int at = i32_at(pos, 0, s), seen = cells_seen(at, n_kv), first = split * STRETCH;
    int count = min(seen - first, STRETCH);
    // A cell beyond those that are looked at is stored by the last block.
    bool owner = at >= 0 && at < k_cache.ne[1] && split == min(at / STRETCH, (int)gridDim.x - 1);
    bool idle = count <= 0 && !owner;
    Rows keys = rows_of(k_cache, kv, s, sizeof(Key)), values = rows_of(v_cache, kv, s, sizeof(Value));
    // Positions are the run's inputs, and cells, but for the token's own, were written in earlier ones.
    if (!idle) {
        prefetch_rows(k_cache, keys.p, first, first + count, sizeof(Key));
        prefetch_rows(v_cache, values.p, first, first + count, sizeof(Value));
        for (int i = threadIdx.x; i < HALF; i += THREADS) sincosf((float)at * turns.of[i], &turn[1][i], &turn[0][i]);
    }
    in_turn();
    if (idle) return;
    int made = GROUP + owner;
    for (int r = warp; r < made; r += WARPS) {
        bool query = r < GROUP;
        const u8 *row = query ? row_at(q, kv * GROUP + r, 0, s) : row_at(k, kv, 0, s), *w = query ? w_q.p : w_k.p;
        i64 row_nb = query ? q.nb[0] : k.nb[0], w_nb = query ? w_q.nb[0] : w_k.nb[0];
        float part[PER], square = 0.0f;
#pragma unroll
        for (int j = 0; j < PER; ++j) {
            int i = lane + 32 * j;
            part[j] = i < HEAD ? *(const float*)(row + i * row_nb) : 0.0f;
            square = fmaf(part[j], part[j], square);
        }
        float norm = 1.0f / sqrtf(warp_sum(square) / HEAD + eps);
#pragma unroll
        for (int j = 0; j < PER; ++j) {
            int i = lane + 32 * j;
            if (i < HEAD) stage.of.rows[r][i] = part[j] * norm * *(const float*)(w + i * w_nb);
        }
    }
    if (owner) {
        u8* row = row_at(v, kv, 0, s);
        for (int i = threadIdx.x; i < HEAD; i += THREADS) {
            store(&new_value[i], f32_at(row, v, i));
            *(Value*)(values.p + at * values.nb1 + i * values.nb0) = new_value[i];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < made * HALF; i += THREADS) {
        float *row = stage.of.rows[i / PAIRS] + i % PAIRS, cos = turn[0][i % PAIRS], sin = turn[1][i % PAIRS];
        float a = row[0], b = row[HALF];
        row[0] = a * cos - b * sin;
        row[HALF] = b * cos + a * sin;
    }
    __syncthreads();
    if (owner) {
        for (int i = threadIdx.x; i < HEAD; i += THREADS) {
            store(&new_key[i], stage.of.rows[GROUP][i]);
            *(Key*)(keys.p + at * keys.nb1 + i * keys.nb0) = new_key[i];
        }
        __syncthreads();
    }
    if (count <= 0) return;
    {
        float query[GROUP][PER];
#pragma unroll
        for (int g = 0; g < GROUP; ++g) {
#pragma unroll
            for (int j = 0; j < PER; ++j) {
                int i = lane * PER + j;
                query[g][j] = i < HEAD ? stage.of.rows[g][i] * scale : 0.0f;
            }
        }
        for (int base = warp * CELLS; base < count; base += WARPS * CELLS) {
            float logits[CELLS * HEADS];
#pragma unroll
            for (int c = 0; c < CELLS; ++c) {
                int cell = first + min(base + c, count - 1);
                bool own = cell == at;
                float key[PER];
                load<KEY, PER>(own ? (const u8*)new_key : keys.p + cell * keys.nb1, own ? sizeof(Key) : keys.nb0,
                               own || keys.packed, lane * PER, key);
#pragma unroll
                for (int g = 0; g < HEADS; ++g) {
                    float dot = 0.0f;
#pragma unroll
                    for (int j = 0; j < PER; ++j) {
                        if (g < GROUP) dot = fmaf(query[g < GROUP ? g : 0][j], key[j], dot);
                    }
                    logits[c * HEADS + g] = dot;
                }
            }
            lane_sums<CELLS * HEADS>(logits);
            int number = lane / (32 / (CELLS * HEADS)), c = base + number / HEADS, g = number % HEADS;
            if (lane % (32 / (CELLS * HEADS)) == 0 && c < count && g < GROUP) stage.of.weights[c][g] = logits[0];
        }
    }
    __syncthreads();
    i64 row = (i64)s * q.ne[1] + kv * GROUP;
    for (int g = warp; g < GROUP; g += WARPS) {
        float top = -__int_as_float(0x7f800000), total = 0.0f;
        for (int c = lane; c < count; c += 32) top = fmaxf(top, stage.of.weights[c][g]);
        top = warp_max(top);
        for (int c = lane; c < count; c += 32) {
            float weight = expf(stage.of.weights[c][g] - top);
            stage.of.weights[c][g] = weight;
            total += weight;
        }
        total = warp_sum(total);
        if (lane == 0) {
            float* to = tops + ((row + g) * gridDim.x + split) * 2;
            to[0] = top, to[1] = total;
        }
    }
    __syncthreads();
    int quad = threadIdx.x % QUADS, fold = threadIdx.x / QUADS;
    float sum[GROUP][4];
#pragma unroll
    for (int g = 0; g < GROUP; ++g) sum[g][0] = sum[g][1] = sum[g][2] = sum[g][3] = 0.0f;
    if (fold < FOLD) {
#pragma unroll 4
        for (int c = fold; c < count; c += FOLD) {
            bool own = first + c == at;
            float value[4];
            load<VALUE, 4>(own ? (const u8*)new_value : values.p + (first + c) * values.nb1,
                           own ? sizeof(Value) : values.nb0, own || values.packed, quad * 4, value);
#pragma unroll
            for (int n = 0; n < STEP; n += 4) {
                float4 weight = *(const float4*)&stage.of.weights[c][n];
                float weights[4] = {weight.x, weight.y, weight.z, weight.w};
#pragma unroll
                for (int g = n; g < GROUP && g < n + 4; ++g) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) sum[g][j] = fmaf(weights[g - n], value[j], sum[g][j]);
                }
            }
        }
    }
    __syncthreads();
    if (fold < FOLD) {
#pragma unroll
        for (int g = 0; g < GROUP; ++g) {
            *(float4*)&stage.sums[fold][g][quad * 4] = make_float4(sum[g][0], sum[g][1], sum[g][2], sum[g][3]);
        }
    }
    __syncthreads();
    // Folds that no cell fell to hold zeros.
    int folds = min(FOLD, count);
    for (int i = threadIdx.x; i < GROUP * HEAD; i += THREADS) {
        float all = 0.0f;
        for (int f = 0; f < folds; ++f) all += stage.sums[f][i / HEAD][i % HEAD];
        sums[((row + i / HEAD) * gridDim.x + split) * HEAD + i % HEAD] = all;
    }
}
