// y = factor * x, a thread an element.

KERNEL scale(Tensor x, Tensor y, int n, float factor) {
    in_turn();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        int i0 = i % x.ne[0];
        Row r = row_index(x, i / x.ne[0]);
        f32_at(row_at(y, r), y, i0) = factor * f32_at(row_at(x, r), x, i0);
    }
}
