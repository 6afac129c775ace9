// y = W x for many columns, on tensor cores. First the columns are made halves.

#define SPLIT (WEIGHT == F32)

// A block a column.
KERNEL halve(Tensor x, u16* halves, int padded) {
    in_turn();
    i64 rows = gridDim.x, below = rows * padded;
    float* factors = (float*)(halves + (SPLIT ? 2 : 1) * below);
    u16* to = halves + (i64)blockIdx.x * padded;
    halve_row<SPLIT>(row_at(x, row_index(x, blockIdx.x)), x.nb[0], x.ne[0], to, padded, below, factors + blockIdx.x);
}

KERNEL __launch_bounds__(THREADS) mul_mat(Tensor w, Tensor y, const u16* halves, int padded) {
    in_turn();
    int first_row = blockIdx.x * ROWS, first = blockIdx.y * TILE;
    int i2 = blockIdx.z % y.ne[2], i3 = blockIdx.z / y.ne[2], plane = blockIdx.z * y.ne[1];
    i64 below = (i64)y.ne[1] * y.ne[2] * y.ne[3] * padded;
    const float* factors = (const float*)(halves + (SPLIT ? 2 : 1) * below) + plane;
    int w2 = i2 / (y.ne[2] / w.ne[2]), w3 = i3 / (y.ne[3] / w.ne[3]);
    const u8* row = row_at(w, min(first_row + (int)threadIdx.x, w.ne[1] - 1), w2, w3);
    auto weights = [&](int, int c, bool lower, uint4* to) {
        if (SPLIT && lower) weight_halves<WEIGHT, true>(row, w.nb[0], c, w.ne[0], to);
        else weight_halves<WEIGHT, false>(row, w.nb[0], c, w.ne[0], to);
    };
    auto column = [&](int j) { return halves + (i64)(plane + min(first + j, y.ne[1] - 1)) * padded; };
    float sums[Share<TILE>::M][Share<TILE>::N][4];
    tile_products<TILE, SPLIT>(padded / 32, below, weights, column, sums);
    each_sum<TILE>([&](int m, int n, int i, int r, int c) {
        if (first_row + r < w.ne[1] && first + c < y.ne[1]) {
            float v = sums[m][n][i] * factors[first + c] * weight_factor<WEIGHT>();
            f32_at(row_at(y, first + c, i2, i3), y, first_row + r) = v;
        }
    });
}
