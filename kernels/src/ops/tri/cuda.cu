// x with zeros above the diagonal, or on it too; a thread an element. `diagonal`: 1 if that is kept.

KERNEL tri(Tensor x, Tensor y, int n, int diagonal) {
    in_turn();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        int i0 = i % x.ne[0];
        Row r = row_index(x, i / x.ne[0]);
        f32_at(row_at(y, r), y, i0) = i0 < r.i1 + diagonal ? f32_at(row_at(x, r), x, i0) : 0.0f;
    }
}
