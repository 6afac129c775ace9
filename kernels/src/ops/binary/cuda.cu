// y = FUNCTION(a, b), b repeated to a's shape; a thread an element.

KERNEL binary(Tensor a, Tensor b, Tensor y, int n) {
    in_turn();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        int i0 = i % a.ne[0];
        Row r = row_index(a, i / a.ne[0]);
        float u = f32_at(row_at(a, r), a, i0);
        float v = f32_at(row_at(b, r.i1 % b.ne[1], r.i2 % b.ne[2], r.i3 % b.ne[3]), b, i0 % b.ne[0]);
        f32_at(row_at(y, r), y, i0) = FUNCTION(u, v);
    }
}
