// How activations become int8: the same bits as on the CPU.

// Below this a block becomes zeros: 127 divided by it would overflow.
#define SMALLEST 3.0092655e-36f

// The largest of WIDTH neighbouring lanes; every lane gets it.
template <int WIDTH = 32> DEVICE u32 warp_max(u32 v) {
#if __CUDA_ARCH__ >= 800
    if constexpr (WIDTH == 32) return __reduce_max_sync(FULL, v);
#endif
#pragma unroll
    for (int d = WIDTH / 2; d > 0; d /= 2) v = max(v, __shfl_xor_sync(FULL, v, d));
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
