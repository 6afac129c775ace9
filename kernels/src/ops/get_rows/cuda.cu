// Rows of a table by index, widened to F32: a block a row, a thread 32 elements of a block type or one of a plain type.
// An id that names no row gives NaN, which every check sees.

KERNEL get_rows(Tensor table, Tensor ids, Tensor y) {
    in_turn();
    int i = blockIdx.x % ids.ne[0], b = blockIdx.x / ids.ne[0];
    int id = i32_at(ids, i, b);
    u8* to = row_at(y, i, b, 0);
    if (id < 0 || id >= table.ne[1]) {
        for (int k = threadIdx.x; k < y.ne[0]; k += blockDim.x) f32_at(to, y, k) = __uint_as_float(0x7fc00000u);
        return;
    }
    const u8* from = row_at(table, id, b, 0);
    if constexpr (WEIGHT <= BF16) {
        for (int k = threadIdx.x; k < y.ne[0]; k += blockDim.x) f32_at(to, y, k) = element<WEIGHT>(from + k * table.nb[0]);
    } else {
        constexpr int CHUNKS = Block<WEIGHT>::CHUNKS;
        for (int c = threadIdx.x; c < y.ne[0] / 32; c += blockDim.x) {
            Chunk w;
            decode<WEIGHT>(from + (c / CHUNKS) * Block<WEIGHT>::BYTES, c % CHUNKS, w);
#pragma unroll
            for (int k = 0; k < 32; ++k) {
                float q = (float)(i8)(w.q[k / 4] >> (8 * (k % 4)));
                // Rounded as on the CPU: a product, then a difference.
                f32_at(to, y, 32 * c + k) = __fsub_rn(__fmul_rn(q, w.scale[k / 16]), w.min[k / 16]);
            }
        }
    }
}
