// Activations as int8, the same bits as on the CPU: a warp a block of the result.

KERNEL quantize(Tensor x, Tensor y, int blocks) {
    in_turn();
    constexpr int PER = LENGTH / 32;
    int lane = threadIdx.x % 32, block = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (block >= blocks) return;
    int per_row = x.ne[0] / LENGTH;
    Row r = row_index(x, block / per_row);
    u8* from = row_at(x, r);
    u8* to = row_at(y, r) + (block % per_row) * y.nb[0];
    float v[PER];
    u32 largest = 0;
#pragma unroll
    for (int j = 0; j < PER; ++j) {
        v[j] = f32_at(from, x, (block % per_row) * LENGTH + lane * PER + j);
        largest = max(largest, __float_as_uint(v[j]) & 0x7fffffffu);
    }
    float d, inv;
    scale_of(warp_max(largest), d, inv);
    if (lane == 0) *(float*)to = d;
    if constexpr (LENGTH == 256) {
        u32 word[2] = {0, 0};
        int sum = 0;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            int q = code(v[j], inv);
            sum += q;
            word[j / 4] |= (u32)(u8)q << (8 * (j % 4));
        }
        *(u32*)(to + 4 + lane * 8) = word[0];
        *(u32*)(to + 8 + lane * 8) = word[1];
        sum += __shfl_xor_sync(FULL, sum, 1);
        if (lane % 2 == 0) *(short*)(to + 260 + lane) = (short)sum;
    } else {
        int q = code(v[0], inv), sum = q;
        to[8 + lane] = (u8)q;
#pragma unroll
        for (int k = 16; k > 0; k /= 2) sum += __shfl_xor_sync(FULL, sum, k);
        if (lane == 0) *(int*)(to + 4) = sum;
    }
}
