// y = W x of single-precision weights for many columns, on tensor cores. Tiles come to shared memory as they are; on the
// way to the tensor cores each float becomes two bfloats, v = hi + lo, and a product three: lo hi + hi lo + hi hi, with
// an error near 2^-17 of what is multiplied. Bfloats have the range of floats, so nothing is scaled.
//
// Tensor cores round sums toward zero. They add STRAIGHT steps at most before a sum goes to one that is rounded to nearest.
//
// A block's eight warps share a tile of ROWS x COLUMNS, 32 rows each; where that leaves warps, GROUPS of them take every
// GROUPS-th 16 of k, and their sums are added in order. On sm_75, which lacks bfloats, the same tiles by plain arithmetic.

#define THREADS 256
#define STRAIGHT 4
// Floats of a row of a stage; a group's part of a stage; what fits the shared memory that needs no asking for.
#define DEPTH 16
#define PART ((ROWS + COLUMNS) * DEPTH)
#define STAGE (GROUPS * PART)
#define STAGES (12 * 1024 / STAGE < 4 ? 12 * 1024 / STAGE : 4)
// A thread's copies of 16 bytes a stage, so many rows apart; which of them are weights.
#define COPIES (STAGE / 4 / THREADS)
#define APART (THREADS / 4 / GROUPS)
#define WEIGHTS (ROWS / APART)
// Warps side by side; tiles of 16 rows and of 8 columns of a warp.
#define DOWN (ROWS / 32)
#define ACROSS (8 / GROUPS / DOWN)
#define M 2
#define N (COLUMNS / ACROSS / 8)

// Where four floats of a row are: eight rows with the same `piece` meet all banks once.
DEVICE int place(int row, int piece) {
    return row * DEPTH + ((piece ^ (row / 2 % 4)) * 4);
}

#if __CUDA_ARCH__ >= 800
// Eight rows as the tensor cores want them. A lane gets elements l % 4 of the four pieces of row l / 4. They stand for k
// = 2 (l % 4), 2 (l % 4) + 1 and the same from 8 on: another order of k, but the same one for both factors.
DEVICE void load_split(const float* part, int row, u32* hi, u32* lo) {
    u32 r[4];
    load_matrices(r, part + place(row + threadIdx.x % 8, threadIdx.x % 32 / 8));
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        float a = __uint_as_float(r[2 * i]), b = __uint_as_float(r[2 * i + 1]);
        hi[i] = pack_bfloats(a, b);
        lo[i] = pack_bfloats(a - __uint_as_float(hi[i] << 16), b - __uint_as_float(hi[i] & 0xffff0000u));
    }
}

// Adds 16 of k to the warp's tile.
DEVICE void step_products(const float* part, int row0, int column0, float (*sums)[N][4]) {
    u32 a[2][M][4], b[2][N][2];
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            u32 hi[2], lo[2];
            load_split(part, row0 + m * 16 + i * 8, hi, lo);
            a[0][m][i] = hi[0], a[0][m][i + 2] = hi[1], a[1][m][i] = lo[0], a[1][m][i + 2] = lo[1];
        }
    }
#pragma unroll
    for (int n = 0; n < N; ++n) load_split(part, ROWS + column0 + n * 8, b[0][n], b[1][n]);
    // Small products first.
#pragma unroll
    for (int pass = 0; pass < 3; ++pass) {
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int n = 0; n < N; ++n) mma_bf16(sums[m][n], a[pass == 0][m], b[pass == 1][n]);
        }
    }
}
#else
DEVICE void step_products(const float* part, int row0, int column0, float (*sums)[N][4]) {
    int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int piece = 0; piece < 4; ++piece) {
        float4 a[2 * M];
#pragma unroll
        for (int m = 0; m < 2 * M; ++m) a[m] = *(const float4*)&part[place(row0 + m * 8 + lane / 4, piece)];
#pragma unroll
        for (int n = 0; n < 2 * N; ++n) {
            int column = column0 + n / 2 * 8 + lane % 4 * 2 + n % 2;
            float4 b = *(const float4*)&part[place(ROWS + column, piece)];
#pragma unroll
            for (int m = 0; m < 2 * M; ++m) {
                float& sum = sums[m / 2][n / 2][m % 2 * 2 + n % 2];
                sum = fmaf(a[m].x, b.x, fmaf(a[m].y, b.y, fmaf(a[m].z, b.z, fmaf(a[m].w, b.w, sum))));
            }
        }
    }
}
#endif

// Whether rows can be copied 16 bytes at a time.
DEVICE bool in_sixteens(const Tensor& t) {
    return t.nb[0] == 4 && t.ne[0] % 4 == 0 && ((u64)t.p | t.nb[1] | t.nb[2] | t.nb[3]) % 16 == 0;
}

KERNEL __launch_bounds__(THREADS, 1) mul_mat(Tensor w, Tensor x, Tensor y) {
    __shared__ __align__(128) float stages[STAGES * STAGE];
    in_turn();
    int first_row = blockIdx.x * ROWS, first = blockIdx.y * COLUMNS;
    int i2 = blockIdx.z % y.ne[2], i3 = blockIdx.z / y.ne[2], k = w.ne[0];
    int w2 = i2 / (y.ne[2] / w.ne[2]), w3 = i3 / (y.ne[3] / w.ne[3]);
    int copied = threadIdx.x / (4 * GROUPS), piece = threadIdx.x % (4 * GROUPS);
    const u8* from[COPIES];
#pragma unroll
    for (int i = 0; i < COPIES; ++i) {
        int row = copied + i * APART;
        from[i] = i < WEIGHTS ? row_at(w, min(first_row + row, w.ne[1] - 1), w2, w3)
                              : row_at(x, min(first + row - ROWS, x.ne[1] - 1), i2, i3);
    }
    bool w_whole = in_sixteens(w), x_whole = in_sixteens(x);
    int steps = (k + DEPTH * GROUPS - 1) / (DEPTH * GROUPS);
    auto copy = [&](int step) {
        int at = step * DEPTH * GROUPS + piece * 4;
        float* to = stages + step % STAGES * STAGE + piece / 4 * PART;
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            float* there = to + place(copied + i * APART, piece % 4);
            if (i < WEIGHTS ? w_whole : x_whole) {
                copy16_async_or_zero(there, from[i] + (at < k ? (i64)at * 4 : 0), at < k);
            } else {
                i64 nb = i < WEIGHTS ? w.nb[0] : x.nb[0];
#pragma unroll
                for (int j = 0; j < 4; ++j) there[j] = at + j < k ? *(const float*)(from[i] + (at + j) * nb) : 0.0f;
            }
        }
    };
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = warp / (DOWN * ACROSS), spot = warp % (DOWN * ACROSS);
    int row0 = spot / ACROSS * 32, column0 = spot % ACROSS * N * 8;
    float sums[M][N][4] = {}, straight[M][N][4] = {};
#pragma unroll
    for (int s = 0; s < STAGES - 1; ++s) {
        if (s < steps) copy(s);
        copies_commit();
    }
    for (int step = 0; step < steps; ++step) {
        copies_wait<STAGES - 2>();
        // All have what is needed now, and none needs the step before, whose place is filled anew.
        __syncthreads();
        if (step + STAGES - 1 < steps) copy(step + STAGES - 1);
        copies_commit();
        step_products(stages + step % STAGES * STAGE + group * PART, row0, column0, straight);
        if (step % STRAIGHT == STRAIGHT - 1 || step == steps - 1) {
#pragma unroll
            for (int i = 0; i < M * N * 4; ++i) {
                (&sums[0][0][0])[i] += (&straight[0][0][0])[i];
                (&straight[0][0][0])[i] = 0.0f;
            }
        }
    }
    if constexpr (GROUPS > 1) {
        constexpr int EACH = M * N * 4 * 32;
        copies_wait<0>();
        __syncthreads();
        float* mine = stages + spot * EACH + lane;
        if (group > 0) {
#pragma unroll
            for (int i = 0; i < M * N * 4; ++i) {
                mine[(group - 1) * DOWN * ACROSS * EACH + i * 32] = (&sums[0][0][0])[i];
            }
        }
        __syncthreads();
        if (group > 0) return;
#pragma unroll
        for (int g = 0; g < GROUPS - 1; ++g) {
#pragma unroll
            for (int i = 0; i < M * N * 4; ++i) (&sums[0][0][0])[i] += mine[g * DOWN * ACROSS * EACH + i * 32];
        }
    }
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int n = 0; n < N; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                int r = first_row + row0 + m * 16 + i / 2 * 8 + lane / 4, c = first + column0 + n * 8 + lane % 4 * 2 + i % 2;
                if (r < w.ne[1] && c < y.ne[1]) f32_at(row_at(y, c, i2, i3), y, r) = sums[m][n][i];
            }
        }
    }
}
