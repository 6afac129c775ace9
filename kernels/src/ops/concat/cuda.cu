// a and b end to end along dimension DIM, elements of four bytes; a thread an element.

KERNEL concat(Tensor a, Tensor b, Tensor y, int n) {
    in_turn();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        Row r = row_index(y, i / y.ne[0]);
        int at[4] = {i % y.ne[0], r.i1, r.i2, r.i3};
        u32* to = (u32*)(row_at(y, r) + at[0] * y.nb[0]);
        bool second = at[DIM] >= a.ne[DIM];
        if (second) at[DIM] -= a.ne[DIM];
        const Tensor& from = second ? b : a;
        *to = *(const u32*)(row_at(from, at[1], at[2], at[3]) + at[0] * from.nb[0]);
    }
}
