// beta = sigmoid(b), g = a * softplus(a_in + dt): a thread a value head and token. A key head's group of `ba` holds the
// b of its `ratio` value heads, then their a.

KERNEL delta_gates(Tensor ba, Tensor dt, Tensor a, Tensor g, Tensor beta, int n, int ratio) {
    in_turn();
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int h = i % g.ne[0];
    Row r = row_index(g, i / g.ne[0]);
    int at = h / ratio * 2 * ratio + h % ratio;
    float b = f32_at(row_at(ba, r), ba, at);
    float x = f32_at(row_at(ba, r), ba, at + ratio) + f32_at(dt.p, dt, h);
    float softplus = x > 20.0f ? x : log1pf(expf(x));
    f32_at(row_at(g, r), g, h) = f32_at(a.p, a, h) * softplus;
    f32_at(row_at(beta, r), beta, h) = 1.0f / (1.0f + expf(-b));
}
