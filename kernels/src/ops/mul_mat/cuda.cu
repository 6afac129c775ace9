// y = W x. LANES lanes share a row of W and meet it with COLUMNS columns of x: a unpacked chunk is used for all of them.

KERNEL mul_mat(Tensor w, Tensor x, Tensor y) {
    in_turn();
    int lane = threadIdx.x % LANES;
    int n = blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
    int first = blockIdx.y * COLUMNS, columns = min(COLUMNS, x.ne[1] - first);
    int i2 = blockIdx.z % x.ne[2], i3 = blockIdx.z / x.ne[2];
    // Lanes beyond the last row compute it again and store nothing: all lanes must meet in the sums.
    bool stored = n < w.ne[1] && lane == 0;
    const u8* row = row_at(w, min(n, w.ne[1] - 1), i2 / (x.ne[2] / w.ne[2]), i3 / (x.ne[3] / w.ne[3]));
    float sum[COLUMNS];
#pragma unroll
    for (int t = 0; t < COLUMNS; ++t) sum[t] = 0.0f;
    const u8* column[COLUMNS];
#pragma unroll
    for (int t = 0; t < COLUMNS; ++t) column[t] = row_at(x, first + min(t, columns - 1), i2, i3);
    if constexpr (WEIGHT <= BF16) {
        for (int i = lane; i < w.ne[0]; i += LANES) {
            float v = element<WEIGHT>(row + i * w.nb[0]);
#pragma unroll
            for (int t = 0; t < COLUMNS; ++t) sum[t] = fmaf(v, *(const float*)(column[t] + i * x.nb[0]), sum[t]);
        }
    } else {
        constexpr int CHUNKS = Block<WEIGHT>::CHUNKS;
#pragma unroll 2
        for (int c = lane; c < w.ne[0] / 32; c += LANES) {
            Chunk chunk;
            decode<WEIGHT>(row + (c / CHUNKS) * Block<WEIGHT>::BYTES, c % CHUNKS, chunk);
#pragma unroll
            for (int t = 0; t < COLUMNS; ++t) {
                Activations a;
                activations<WEIGHT>(column[t], c, a);
                sum[t] += dot(chunk, a);
            }
        }
    }
#pragma unroll
    for (int t = 0; t < COLUMNS; ++t) {
        float total = warp_sum<LANES>(sum[t]);
        if (stored && t < columns) f32_at(row_at(y, first + t, i2, i3), y, n) = total;
    }
}
