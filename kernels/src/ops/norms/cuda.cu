// Norms along dimension 0: a block a row. The sum of squares has a fixed order, so that results repeat.

DEVICE float sum_squares(const u8* row, const Tensor& x) {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < x.ne[0]; i += blockDim.x) {
        float v = f32_at((u8*)row, x, i);
        sum = fmaf(v, v, sum);
    }
    return sum;
}

KERNEL l2_norm(Tensor x, Tensor y, float eps) {
    in_turn();
    __shared__ float shared[32];
    Row r = row_index(x, blockIdx.x);
    u8 *from = row_at(x, r), *to = row_at(y, r);
    float scale = 1.0f / sqrtf(block_sum(sum_squares(from, x), shared) + eps);
    for (int i = threadIdx.x; i < x.ne[0]; i += blockDim.x) f32_at(to, y, i) = f32_at(from, x, i) * scale;
}

KERNEL rms_norm(Tensor x, Tensor w, Tensor y, float eps, int weighted) {
    in_turn();
    __shared__ float shared[32];
    Row r = row_index(x, blockIdx.x);
    u8 *from = row_at(x, r), *to = row_at(y, r);
    float scale = 1.0f / sqrtf(block_sum(sum_squares(from, x), shared) / x.ne[0] + eps);
    for (int i = threadIdx.x; i < x.ne[0]; i += blockDim.x) {
        float v = f32_at(from, x, i) * scale;
        f32_at(to, y, i) = weighted ? v * f32_at(w.p, w, i) : v;
    }
}

KERNEL add_rms_norm(Tensor a, Tensor b, Tensor w, Tensor sum, Tensor y, float eps) {
    in_turn();
    __shared__ float shared[32];
    Row r = row_index(a, blockIdx.x);
    u8 *pa = row_at(a, r), *pb = row_at(b, r), *ps = row_at(sum, r), *to = row_at(y, r);
    float squares = 0.0f;
    for (int i = threadIdx.x; i < a.ne[0]; i += blockDim.x) {
        float v = f32_at(pa, a, i) + f32_at(pb, b, i);
        f32_at(ps, sum, i) = v;
        squares = fmaf(v, v, squares);
    }
    float scale = 1.0f / sqrtf(block_sum(squares, shared) / a.ne[0] + eps);
    // Each thread reads back what it wrote itself.
    for (int i = threadIdx.x; i < a.ne[0]; i += blockDim.x) {
        f32_at(to, y, i) = f32_at(ps, sum, i) * scale * f32_at(w.p, w, i);
    }
}

KERNEL gated_norm(Tensor x, Tensor w, Tensor z, Tensor y, float eps) {
    in_turn();
    __shared__ float shared[32];
    Row r = row_index(x, blockIdx.x);
    u8 *from = row_at(x, r), *gate = row_at(z, r), *to = row_at(y, r);
    float scale = 1.0f / sqrtf(block_sum(sum_squares(from, x), shared) / x.ne[0] + eps);
    for (int i = threadIdx.x; i < x.ne[0]; i += blockDim.x) {
        f32_at(to, y, i) = f32_at(from, x, i) * scale * f32_at(w.p, w, i) * silu(f32_at(gate, z, i));
    }
}
