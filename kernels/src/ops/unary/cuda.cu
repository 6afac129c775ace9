// y = FUNCTION(x), a thread an element.

KERNEL unary(Tensor x, Tensor y, int n) {
    in_turn();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        int i0 = i % x.ne[0];
        Row r = row_index(x, i / x.ne[0]);
        float v = f32_at(row_at(x, r), x, i0);
        f32_at(row_at(y, r), y, i0) = FUNCTION(v);
    }
}
