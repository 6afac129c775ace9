// Running sums of rows, a warp a row, 32 elements at a time.

KERNEL cumsum(Tensor x, Tensor y, int rows) {
    in_turn();
    int lane = threadIdx.x % 32, row = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (row >= rows) return;
    Row r = row_index(x, row);
    u8 *from = row_at(x, r), *to = row_at(y, r);
    float before = 0.0f;
    for (int first = 0; first < x.ne[0]; first += 32) {
        int i = first + lane;
        float v = i < x.ne[0] ? f32_at(from, x, i) : 0.0f;
#pragma unroll
        for (int d = 1; d < 32; d *= 2) {
            float other = __shfl_up_sync(FULL, v, d);
            if (lane >= d) v += other;
        }
        v += before;
        if (i < x.ne[0]) f32_at(to, y, i) = v;
        before = __shfl_sync(FULL, v, 31);
    }
}
