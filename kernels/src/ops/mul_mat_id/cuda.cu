// y = W[id] x. LANES lanes share a row of an expert, for one token and place.

KERNEL mul_mat_id(Tensor w, Tensor x, Tensor ids, Tensor y) {
    in_turn();
    int lane = threadIdx.x % LANES;
    int n = blockIdx.x * (blockDim.x / LANES) + threadIdx.x / LANES;
    int u = blockIdx.y, t = blockIdx.z;
    int expert = i32_at(ids, u, t);
    bool known = expert >= 0 && expert < w.ne[2];
    // Lanes beyond the last row compute it again and store nothing: all lanes must meet in the sums.
    const u8* row = row_at(w, min(n, w.ne[1] - 1), known ? expert : 0, 0);
    const u8* column = row_at(x, x.ne[1] == 1 ? 0 : u, t, 0);
    float sum = warp_sum<LANES>(dot_part<WEIGHT, LANES>(row, w.nb[0], column, x.nb[0], w.ne[0], lane));
    if (n < w.ne[1] && lane == 0) f32_at(row_at(y, u, t, 0), y, n) = known ? sum : __uint_as_float(0x7fc00000u);
}
