// y = W x for a column of F32 at a time: every block makes the column ready for itself.

KERNEL __launch_bounds__(32 * WARPS, BESIDE) mul_mat(Tensor w, Tensor x, Tensor y) {
    using Ways = WaysOf<WEIGHT, PIECES>;
    using Product = ProductOf<Ways, TOGETHER, WARP_ROOM>;
    using Vector = typename Ways::Vector;
    extern __shared__ uint4 rooms[];
    __shared__ __align__(16) Vector column;
    int t = blockIdx.y, i2 = blockIdx.z % x.ne[2], i3 = blockIdx.z / x.ne[2];
    int warp = blockIdx.x * WARPS + threadIdx.x / 32, begin;
    const u8* plane = row_at(w, 0, i2 / (x.ne[2] / w.ne[2]), i3 / (x.ne[3] / w.ne[3]));
    Stripe stripe(plane, w.nb[1], w.ne[1], warp, gridDim.x * WARPS, Product::STEP, begin);
    Product product;
    // What stands for weights may be a cache that the kernel before writes to.
    constexpr bool CACHE = WEIGHT == F32 || WEIGHT == F16;
    if (!CACHE) product.start(stripe, (u8*)rooms);
    in_turn();
    if (CACHE) product.start(stripe, (u8*)rooms);
    Elements<PIECES, WARPS> elements;
    elements.load(row_at(x, t, i2, i3), x.nb[0]);
    Ways::put(elements, column);
    __syncthreads();
    u8* to = row_at(y, t, i2, i3);
    product.run(stripe, column, [&](int row, float v) { f32_at(to, y, begin + row) = v; });
}
