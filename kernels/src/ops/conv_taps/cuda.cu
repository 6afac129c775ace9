// The convolution over an input that holds its own past; a thread an element of the result.

KERNEL conv_taps(Tensor xs, Tensor w, Tensor y, int n) {
    in_turn();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        int c = i % y.ne[0];
        Row r = row_index(y, i / y.ne[0]);
        u8 *past = row_at(xs, c, r.i2, 0), *taps = row_at(w, c, 0, 0);
        float sum = 0.0f;
        for (int k = 0; k < w.ne[0]; ++k) sum = fmaf(f32_at(taps, w, k), f32_at(past, xs, r.i1 + k), sum);
        f32_at(row_at(y, r), y, c) = sum;
    }
}
