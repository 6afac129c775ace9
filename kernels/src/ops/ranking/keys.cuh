// A number that is the smaller, the earlier element `i` of value x comes: the largest first, of equals the lower index,
// NaN last.
DEVICE u64 rank_key(float x, int i) {
    // Adding zero makes -0 the same as 0.
    u32 bits = __float_as_uint(x + 0.0f);
    u32 rising = bits >> 31 ? ~bits : bits | 0x80000000u;
    u32 falling = x != x ? 0xffffffffu : ~rising;
    return (u64)falling << 32 | (u32)i;
}

DEVICE u64 least(u64 a, u64 b) {
    return a < b ? a : b;
}

// Sorts N keys, a power of two, in shared memory; the block meets before and after.
template <int N> DEVICE void sort(u64* keys) {
    for (int size = 2; size <= N; size *= 2) {
        for (int step = size / 2; step > 0; step /= 2) {
            __syncthreads();
            for (int i = threadIdx.x; i < N / 2; i += blockDim.x) {
                int low = i / step * 2 * step + i % step, high = low + step;
                u64 a = keys[low], b = keys[high];
                bool rising = (low & size) == 0;
                if ((a > b) == rising) keys[low] = b, keys[high] = a;
            }
        }
    }
    __syncthreads();
}
