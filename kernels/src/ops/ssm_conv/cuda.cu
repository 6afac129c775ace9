// The causal convolution: a thread a channel and a stretch of tokens, with the last TAPS inputs in registers.

DEVICE float past(const Tensor& x, const Tensor& state, int c, int t, int s) {
    return t < 0 ? f32_at(row_at(state, t + TAPS - 1, s, 0), state, c) : f32_at(row_at(x, t, s, 0), x, c);
}

KERNEL ssm_conv(Tensor x, Tensor state, Tensor w, Tensor y, int stretch) {
    in_turn();
    int c = blockIdx.x * blockDim.x + threadIdx.x, first = blockIdx.y * stretch, s = blockIdx.z;
    if (c >= x.ne[0]) return;
    float tap[TAPS], window[TAPS];
#pragma unroll
    for (int k = 0; k < TAPS; ++k) tap[k] = f32_at(row_at(w, c, 0, 0), w, k);
#pragma unroll
    for (int k = 1; k < TAPS; ++k) window[k] = past(x, state, c, first + k - TAPS, s);
    for (int t = first; t < min(first + stretch, x.ne[1]); ++t) {
        float u = 0.0f;
#pragma unroll
        for (int k = 0; k + 1 < TAPS; ++k) window[k] = window[k + 1];
        window[TAPS - 1] = f32_at(row_at(x, t, s, 0), x, c);
#pragma unroll
        for (int k = 0; k < TAPS; ++k) u = fmaf(tap[k], window[k], u);
        f32_at(row_at(y, t, s, 0), y, c) = SILU ? silu(u) : u;
    }
}

// After the convolution, since its stretches all read the state: the last inputs become the state.
KERNEL ssm_conv_state(Tensor x, Tensor state) {
    in_turn();
    int c = blockIdx.x * blockDim.x + threadIdx.x, s = blockIdx.y;
    if (c >= x.ne[0]) return;
    float next[TAPS];
#pragma unroll
    for (int k = 0; k + 1 < TAPS; ++k) next[k] = past(x, state, c, x.ne[1] + k + 1 - TAPS, s);
#pragma unroll
    for (int k = 0; k + 1 < TAPS; ++k) f32_at(row_at(state, k, s, 0), state, c) = next[k];
}
