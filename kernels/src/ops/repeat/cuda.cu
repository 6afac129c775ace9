// x tiled to y's shape, or each index of dimension 1 in place; a thread an element.

KERNEL repeat(Tensor x, Tensor y, int n, int interleave) {
    in_turn();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        int i0 = i % y.ne[0];
        Row r = row_index(y, i / y.ne[0]);
        int i1 = interleave ? r.i1 / (y.ne[1] / x.ne[1]) : r.i1 % x.ne[1];
        f32_at(row_at(y, r), y, i0) = f32_at(row_at(x, i1, r.i2 % x.ne[2], r.i3 % x.ne[3]), x, i0 % x.ne[0]);
    }
}
