// softmax of scale * x along dimension 0, a block a row; orders are fixed. Causal: cells beyond the token's position have
// weight 0.

KERNEL softmax(Tensor x, Tensor pos, Tensor y, float scale, int causal) {
    in_turn();
    __shared__ float largest[32], sums[32];
    Row r = row_index(x, blockIdx.x);
    u8 *from = row_at(x, r), *to = row_at(y, r);
    int n = x.ne[0];
    if (causal) {
        int last = i32_at(pos, r.i1, r.i3);
        n = last < 0 ? 0 : min(n - 1, last) + 1;
    }
    float top = __uint_as_float(0xff800000u);
    for (int i = threadIdx.x; i < n; i += blockDim.x) top = fmaxf(top, f32_at(from, x, i) * scale);
#pragma unroll
    for (int d = 16; d > 0; d /= 2) top = fmaxf(top, __shfl_xor_sync(FULL, top, d));
    if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = top;
    __syncthreads();
    for (int w = 0; w < blockDim.x / 32; ++w) top = fmaxf(top, largest[w]);
    float sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += expf(f32_at(from, x, i) * scale - top);
    // Behind its barrier all have read the row, which y may be.
    float inv = 1.0f / block_sum(sum, sums);
    for (int i = threadIdx.x; i < x.ne[0]; i += blockDim.x) {
        f32_at(to, y, i) = i < n ? expf(f32_at(from, x, i) * scale - top) * inv : 0.0f;
    }
}
