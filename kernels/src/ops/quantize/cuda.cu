// Activations as int8, the same bits as on the CPU: a warp a block of the result.

// Below this a block becomes zeros: 127 divided by it would overflow.
#define SMALLEST 3.0092655e-36f

DEVICE u32 warp_max(u32 v) {
#pragma unroll
    for (int d = 16; d > 0; d /= 2) v = max(v, __shfl_xor_sync(FULL, v, d));
    return v;
}

// d and 1 / d for the largest |x|, given as bits: they order as magnitudes do, NaN above infinity.
DEVICE void scale_of(u32 bits, float& d, float& inv) {
    float largest = __uint_as_float(bits);
    if (bits >= 0x7f800000u) {
        d = __uint_as_float(0x7fc00000u);
        inv = 0.0f;
    } else if (largest < SMALLEST) {
        d = inv = 0.0f;
    } else {
        d = largest / 127.0f;
        inv = 127.0f / largest;
    }
}

DEVICE int code(float x, float inv) {
    return inv == 0.0f ? 0 : __float2int_rn(x * inv);
}

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
