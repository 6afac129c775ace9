// Sums along dimension 0.

// A warp a row.
KERNEL sum_rows(Tensor x, Tensor y, int rows) {
    in_turn();
    int lane = threadIdx.x % 32, row = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (row >= rows) return;
    Row r = row_index(x, row);
    u8* from = row_at(x, r);
    float sum = 0.0f;
    for (int i = lane; i < x.ne[0]; i += 32) sum += f32_at(from, x, i);
    sum = warp_sum(sum);
    if (lane == 0) f32_at(row_at(y, r), y, 0) = sum;
}

// Rows that lie side by side, as after a transpose: a block has 32 of them, a lane each, and its warps divide their
// elements. `groups`: blocks for dimension 1.
KERNEL sum_columns(Tensor x, Tensor y, int groups) {
    in_turn();
    __shared__ float part[8][33];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    int plane = blockIdx.x / groups, i1 = blockIdx.x % groups * 32 + lane;
    int i2 = plane % x.ne[2], i3 = plane / x.ne[2];
    float sum = 0.0f;
    if (i1 < x.ne[1]) {
        u8* from = row_at(x, i1, i2, i3);
        for (int i = warp; i < x.ne[0]; i += warps) sum += f32_at(from, x, i);
    }
    part[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || i1 >= x.ne[1]) return;
    for (int w = 1; w < warps; ++w) sum += part[w][lane];
    f32_at(row_at(y, i1, i2, i3), y, 0) = sum;
}
