// Products on tensor cores: a block has ROWS rows of weights and a tile of columns; both go through shared memory as
// halves, 32 elements of k a step, in two buffers. Weights of any type are unpacked on the way. Sums are single precision.
//
// Halves have a small range. So columns are scaled by powers of two of their own (`halve`), weights of block types by
// SPREAD, and results back.
//
// F32 weights are taken as two halves, w = hi + lo / 2048, and columns likewise: hi hi + (hi lo + lo hi) / 2048 has the
// error of single precision.

#define ROWS 128
// Halves from row to row of a tile: eight rows of 16 bytes meet all banks once.
#define PITCH 40
#define SPREAD 64.0f
#define LOW 2048.0f
#define THREADS 128

// Eight halves a register quad from a chunk of block weights.
DEVICE void chunk_halves(const Chunk& w, uint4* to) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        u32 scale = pack_halves(w.scale[i / 2] * SPREAD, w.scale[i / 2] * SPREAD);
        u32 min = pack_halves(-w.min[i / 2] * SPREAD, -w.min[i / 2] * SPREAD);
        u32 r[4];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            // A byte with its sign flipped is q + 128; behind 0x64 it is the half 1024 + 128 + q.
            u32 bytes = (u32)w.q[2 * i + j] ^ 0x80808080u;
            r[2 * j] = half2_fma(half2_sub(__byte_perm(bytes, 0x64646464u, 0x4140), 0x64806480u), scale, min);
            r[2 * j + 1] = half2_fma(half2_sub(__byte_perm(bytes, 0x64646464u, 0x4342), 0x64806480u), scale, min);
        }
        to[i] = make_uint4(r[0], r[1], r[2], r[3]);
    }
}

// Elements 32 c and on of a row of weights as halves. LOWER: the lower halves of F32. Beyond n there are zeros.
template <int TYPE, bool LOWER> DEVICE void weight_halves(const u8* row, i64 nb, int c, int n, uint4* to) {
    if constexpr (TYPE <= BF16) {
        constexpr int SIZE = TYPE == F32 ? 4 : 2;
        const u8* from = row + (i64)c * 32 * nb;
        if (TYPE == F16 && nb == SIZE && c * 32 + 32 <= n && (u64)from % 16 == 0) {
#pragma unroll
            for (int i = 0; i < 4; ++i) to[i] = ((const uint4*)from)[i];
            return;
        }
        bool whole = TYPE == F32 && nb == SIZE && c * 32 + 32 <= n && (u64)from % 16 == 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float v[8];
            if (whole) {
                float4 a = ((const float4*)from)[2 * i], b = ((const float4*)from)[2 * i + 1];
                v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
            } else {
#pragma unroll
                for (int j = 0; j < 8; ++j) {
                    v[j] = c * 32 + 8 * i + j < n ? element<TYPE>(from + (8 * i + j) * nb) : 0.0f;
                }
            }
            if constexpr (TYPE == F32) {
#pragma unroll
                for (int j = 0; j < 8; ++j) {
                    v[j] *= SPREAD;
                    if constexpr (LOWER) v[j] = (v[j] - half_to_float(float_to_half(v[j]))) * LOW;
                }
            }
            to[i] = make_uint4(pack_halves(v[0], v[1]), pack_halves(v[2], v[3]), pack_halves(v[4], v[5]),
                               pack_halves(v[6], v[7]));
        }
    } else {
        constexpr int CHUNKS = Block<TYPE>::CHUNKS;
        Chunk chunk;
        decode<TYPE>(row + (c / CHUNKS) * Block<TYPE>::BYTES, c % CHUNKS, chunk);
        chunk_halves(chunk, to);
    }
}

// What results are to be multiplied with beside the column's own factor.
template <int TYPE> DEVICE float weight_factor() {
    return TYPE == F16 || TYPE == BF16 ? 1.0f : 1.0f / SPREAD;
}

// How the warps of a block share a tile of COLUMNS columns.
template <int COLUMNS> struct Share {
    static constexpr int ACROSS = COLUMNS >= 64 ? 2 : 1, DOWN = 4 / ACROSS;
    // Tiles of 16 rows and of 8 columns of a warp.
    static constexpr int M = ROWS / DOWN / 16, N = COLUMNS / ACROSS / 8;
};

// A block's products: sums[i][j] is the warp's tile of 16 rows and 8 columns as the tensor cores leave it. `weights`
// unpacks chunk c of tile row r: weights(r, c, lower, to). `column(j)` is column j's halves, whole steps long; the lower
// halves of all columns follow `below` halves behind.
template <int COLUMNS, bool SPLIT, class Weights, class Column>
DEVICE void tile_products(int chunks, i64 below, Weights weights, Column column, float (*sums)[Share<COLUMNS>::N][4]) {
    using S = Share<COLUMNS>;
    __shared__ __align__(16) u16 w_tile[2][ROWS * PITCH];
    __shared__ __align__(16) u16 x_tile[2][COLUMNS * PITCH];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int row0 = warp / S::ACROSS * S::M * 16, column0 = warp % S::ACROSS * S::N * 8;
    const u16* from[COLUMNS / 32];
#pragma unroll
    for (int i = 0; i < COLUMNS / 32; ++i) from[i] = column(i * 32 + threadIdx.x / 4) + threadIdx.x % 4 * 8;
#pragma unroll
    for (int m = 0; m < S::M; ++m) {
#pragma unroll
        for (int n = 0; n < S::N; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[m][n][i] = 0.0f;
        }
    }
    // Passes of split products, small ones first: hi lo, lo hi, hi hi.
    int steps = SPLIT ? 3 * chunks : chunks;
    auto copy = [&](int step, int turn) {
        int pass = SPLIT ? step / chunks : 2, c = SPLIT ? step % chunks : step;
        i64 at = c * 32 + (pass == 0 ? below : 0);
#pragma unroll
        for (int i = 0; i < COLUMNS / 32; ++i) {
            copy16_async(&x_tile[turn][(i * 32 + threadIdx.x / 4) * PITCH + threadIdx.x % 4 * 8], from[i] + at);
        }
        copies_commit();
    };
    auto unpack = [&](int step, uint4* to) {
        int pass = SPLIT ? step / chunks : 2, c = SPLIT ? step % chunks : step;
        weights(threadIdx.x, c, pass == 1, to);
    };
    auto store = [&](int turn, const uint4* w) {
#pragma unroll
        for (int i = 0; i < 4; ++i) *(uint4*)&w_tile[turn][threadIdx.x * PITCH + i * 8] = w[i];
    };
    uint4 next[4];
    copy(0, 0);
    unpack(0, next);
    store(0, next);
    copies_wait<0>();
    __syncthreads();
    for (int step = 0; step < steps; ++step) {
        int turn = step % 2;
        bool more = step + 1 < steps;
        if (more) {
            copy(step + 1, 1 - turn);
            unpack(step + 1, next);
        }
        if constexpr (SPLIT) {
            if (step == 2 * chunks) {
#pragma unroll
                for (int m = 0; m < S::M; ++m) {
#pragma unroll
                    for (int n = 0; n < S::N; ++n) {
#pragma unroll
                        for (int i = 0; i < 4; ++i) sums[m][n][i] *= 1.0f / LOW;
                    }
                }
            }
        }
#pragma unroll
        for (int k = 0; k < 32; k += 16) {
            u32 a[S::M][4], b[S::N / 2][4];
#pragma unroll
            for (int m = 0; m < S::M; ++m) {
                load_matrices(a[m], &w_tile[turn][(row0 + m * 16 + lane % 16) * PITCH + k + lane / 16 * 8]);
            }
#pragma unroll
            for (int n = 0; n < S::N / 2; ++n) {
                int column = column0 + n * 16 + lane / 16 * 8 + lane % 8;
                load_matrices(b[n], &x_tile[turn][column * PITCH + k + lane / 8 % 2 * 8]);
            }
#pragma unroll
            for (int m = 0; m < S::M; ++m) {
#pragma unroll
                for (int n = 0; n < S::N; ++n) mma_f16(sums[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
            }
        }
        if (more) store(1 - turn, next);
        copies_wait<0>();
        __syncthreads();
    }
}

// Calls `each(m, i, row, column, n)` for this thread's place in the tile: element i of sums[m][n].
template <int COLUMNS, class Each> DEVICE void each_sum(Each each) {
    using S = Share<COLUMNS>;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int row0 = warp / S::ACROSS * S::M * 16 + lane / 4, column0 = warp % S::ACROSS * S::N * 8 + lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < S::M; ++m) {
#pragma unroll
        for (int n = 0; n < S::N; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) each(m, n, i, row0 + m * 16 + i / 2 * 8, column0 + n * 8 + i % 2);
        }
    }
}

// Rows of x as halves of `padded` elements, the largest near 256, and the factors that undo the scaling; with SPLIT the
// lower halves too, behind all of the upper ones. A block a row.
template <bool SPLIT> DEVICE void halve_row(const u8* from, i64 nb, int n, u16* to, int padded, i64 below, float* factor) {
    __shared__ u32 largest[32];
    u32 most = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        most = max(most, __float_as_uint(*(const float*)(from + i * nb)) & 0x7fffffffu);
    }
#pragma unroll
    for (int d = 16; d > 0; d /= 2) most = max(most, __shfl_xor_sync(FULL, most, d));
    if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = most;
    __syncthreads();
    most = 0;
    for (int w = 0; w < (int)blockDim.x / 32; ++w) most = max(most, largest[w]);
    // 2^(8 - exponent), within what both factors can be; what is no number stays one.
    int exponent = min(max((int)(most >> 23) - 127, -110), 110);
    bool plain = most == 0 || most >= 0x7f800000u;
    float scale = plain ? 1.0f : __uint_as_float((u32)(8 - exponent + 127) << 23);
    for (int i = threadIdx.x; i < padded; i += blockDim.x) {
        float v = i < n ? *(const float*)(from + i * nb) * scale : 0.0f;
        u16 high = float_to_half(v);
        to[i] = high;
        if constexpr (SPLIT) to[i + below] = float_to_half((v - half_to_float(high)) * LOW);
    }
    if (threadIdx.x == 0) *factor = plain ? 1.0f : __uint_as_float((u32)(exponent - 8 + 127) << 23);
}
