// A X = B by forward substitution: a block has 32 columns of a matrix, a thread each, which lie in shared memory as they
// are solved. ROWS: of A. `groups`: blocks for the columns of a matrix.

KERNEL solve_tri(Tensor a, Tensor b, Tensor x, int groups) {
    in_turn();
    __shared__ float solved[ROWS][32];
    int plane = blockIdx.x / groups, column = blockIdx.x % groups * 32 + threadIdx.x;
    int i2 = plane % a.ne[2], i3 = plane / a.ne[2];
    if (column >= b.ne[0]) return;
    for (int i = 0; i < ROWS; ++i) {
        u8* row = row_at(a, i, i2, i3);
        float above = 0.0f;
        for (int j = 0; j < i; ++j) above = fmaf(f32_at(row, a, j), solved[j][threadIdx.x], above);
        float v = f32_at(row_at(b, i, i2, i3), b, column) - above;
        solved[i][threadIdx.x] = v;
        f32_at(row_at(x, i, i2, i3), x, column) = v;
    }
}
