// A copy into another layout, between F32 and F16 with conversion; a thread an element.

KERNEL cont(Tensor x, Tensor y, int n) {
    in_turn();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        int i0 = i % x.ne[0];
        Row r = row_index(x, i / x.ne[0]);
        const u8* from = row_at(x, r) + i0 * x.nb[0];
        u8* to = row_at(y, r) + i0 * y.nb[0];
        if constexpr (FROM == F32 && TO == F16) *(u16*)to = float_to_half(*(const float*)from);
        else if constexpr (FROM == F16 && TO == F32) *(float*)to = half_to_float(*(const u16*)from);
        else if constexpr (FROM == F16) *(u16*)to = *(const u16*)from;
        else *(u32*)to = *(const u32*)from;
    }
}
