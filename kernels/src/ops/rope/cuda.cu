// Rotary position embedding: a block a row; a thread owns a pair, or an element that passes.

struct Turns {
    float of[128];
};

KERNEL rope(Tensor x, Tensor pos, Tensor y, Turns turns, int half) {
    in_turn();
    Row r = row_index(x, blockIdx.x);
    u8 *from = row_at(x, r), *to = row_at(y, r);
    float p = (float)i32_at(pos, r.i2, r.i3);
    for (int i = threadIdx.x; i < x.ne[0] - half; i += blockDim.x) {
        if (i < half) {
            float sin, cos;
            sincosf(p * turns.of[i], &sin, &cos);
            float a = f32_at(from, x, i), b = f32_at(from, x, i + half);
            f32_at(to, y, i) = a * cos - b * sin;
            f32_at(to, y, i + half) = b * cos + a * sin;
        } else {
            f32_at(to, y, i + half) = f32_at(from, x, i + half);
        }
    }
}
