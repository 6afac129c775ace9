// y = W x for a column at a time: LANES lanes have TOGETHER rows, and the column is in shared memory.

KERNEL __launch_bounds__(32 * WARPS) mul_mat(Tensor w, Tensor x, Tensor y) {
    __shared__ Column<WEIGHT, PIECES> column;
    int lane = threadIdx.x % LANES;
    int n = (blockIdx.x * (32 * WARPS / LANES) + threadIdx.x / LANES) * TOGETHER;
    int t = blockIdx.y, i2 = blockIdx.z % x.ne[2], i3 = blockIdx.z / x.ne[2];
    const u8* row[TOGETHER];
#pragma unroll
    for (int r = 0; r < TOGETHER; ++r) {
        row[r] = row_at(w, min(n + r, w.ne[1] - 1), i2 / (x.ne[2] / w.ne[2]), i3 / (x.ne[3] / w.ne[3]));
        prefetch_row<WEIGHT>(row[r], w.ne[0], lane, LANES);
    }
    in_turn();
    const u8* from = row_at(x, t, i2, i3);
    for (int c = threadIdx.x; c < PIECES; c += 32 * WARPS) column.put(c, from, c);
    __syncthreads();
    float sum[TOGETHER];
#pragma unroll
    for (int r = 0; r < TOGETHER; ++r) sum[r] = 0.0f;
    for (int c = lane; c < PIECES; c += LANES) {
        Activations a;
        column.get(c, a);
#pragma unroll
        for (int r = 0; r < TOGETHER; ++r) {
            Chunk chunk;
            decode_at<WEIGHT>(row[r], c, chunk);
            sum[r] += dot(chunk, a);
        }
    }
#pragma unroll
    for (int r = 0; r < TOGETHER; ++r) {
        float total = warp_sum<LANES>(sum[r]);
        if (lane == 0 && n + r < w.ne[1]) f32_at(row_at(y, t, i2, i3), y, n + r) = total;
    }
}
