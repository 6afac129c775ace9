// Rows into a cache by position: a block a row. Where a later token of the sequence has the same position, the row is
// that one's, whatever block runs last.

KERNEL set_rows(Tensor src, Tensor pos, Tensor cache) {
    in_turn();
    Row r = row_index(src, blockIdx.x);
    int h = r.i1, t = r.i2, s = r.i3, cell = i32_at(pos, t, s);
    bool again = cell < 0 || cell >= cache.ne[1];
    for (int later = t + 1 + threadIdx.x; later < src.ne[2]; later += blockDim.x) again |= i32_at(pos, later, s) == cell;
    if (__syncthreads_or(again)) return;
    u8 *from = row_at(src, r), *to = row_at(cache, cell, h, s);
    for (int i = threadIdx.x; i < src.ne[0]; i += blockDim.x) {
        float v = f32_at(from, src, i);
        if constexpr (TO == F16) *(u16*)(to + i * cache.nb[0]) = float_to_half(v);
        else f32_at(to, cache, i) = v;
    }
}
