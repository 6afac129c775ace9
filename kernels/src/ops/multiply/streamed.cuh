// Products of rows that are asked for long before they are used. What limits a kernel that reads each weight once is how
// many bytes are on their way at a time, so a warp sends for all of its rows, makes the column meanwhile, and unpacks
// what has come. Rows go to shared memory byte by byte as they are; types whose rows would take too much of it, or
// cannot be copied in words, are only fetched to the second level of cache.

// 32 int8 of a column with a scale for each half; sums are those that mins are multiplied with, times the scale.
template <bool MINS, int CHUNKS> struct Halves {
    uint4 q[2][CHUNKS];
    float d[2][CHUNKS], sum[MINS ? 2 : 1][MINS ? CHUNKS : 1];
};

template <int TYPE> constexpr bool HAS_MINS = Column<TYPE, 1>::MINS;

// Sends for N bytes; BYTES are copied at a time, to and from multiples of it.
template <int BYTES> DEVICE void copy_async(void* to, const void* from) {
#if __CUDA_ARCH__ >= 800
    if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(shared_address(to)), "l"(from) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;"
                     :
                     : "r"(shared_address(to)), "l"(from), "n"(BYTES)
                     : "memory");
    }
#else
    for (int i = 0; i < BYTES / 4; ++i) ((u32*)to)[i] = ((const u32*)from)[i];
#endif
}

// A row of K elements on its way, for a warp. GRAIN: bytes a copy, or 0 if the row stays where it is.
template <int TYPE, int K, int GRAIN> struct Streamed {
    static constexpr int ROW = K / Block<TYPE>::LEN * Block<TYPE>::BYTES;
    // Bytes of shared memory.
    static constexpr int ROOM = GRAIN ? (ROW + 15) / 16 * 16 : 0;
    const u8* at;

    DEVICE void send_for(const u8* row, u8* room, int lane) {
        if constexpr (GRAIN == 0) {
            at = row;
            prefetch_row<TYPE>(row, K, lane, 32);
        } else {
            at = room;
            for (int i = lane * GRAIN; i < ROW; i += 32 * GRAIN) copy_async<GRAIN>(room + i, row + i);
        }
    }

    // Chunk c times chunk `with` of a column.
    template <class Column> DEVICE float dot(int c, const Column& x, int with) const {
        Chunk w;
        decode_at<TYPE>(at, c, w);
        uint4 front = x.q[0][with], back = x.q[1][with];
        int lo = __dp4a(w.q[0], (int)front.x, 0), hi = __dp4a(w.q[4], (int)back.x, 0);
        lo = __dp4a(w.q[1], (int)front.y, lo), hi = __dp4a(w.q[5], (int)back.y, hi);
        lo = __dp4a(w.q[2], (int)front.z, lo), hi = __dp4a(w.q[6], (int)back.z, hi);
        lo = __dp4a(w.q[3], (int)front.w, lo), hi = __dp4a(w.q[7], (int)back.w, hi);
        float sum = w.scale[0] * x.d[0][with] * (float)lo + w.scale[1] * x.d[1][with] * (float)hi;
        if constexpr (HAS_MINS<TYPE>) {
            // A block of 32 has one min.
            float min = Block<TYPE>::LEN == 32 ? w.min[0] : w.min[1];
            sum -= w.min[0] * x.sum[0][with] + min * x.sum[1][with];
        }
        return sum;
    }
};

// Below this a half becomes zeros: 127 divided by it would overflow.
#define SMALLEST_HALF 3.0092655e-36f

// The scale of a half and its inverse, for the largest |x|, given as bits: they order as magnitudes do, NaN above
// infinity.
DEVICE void half_scale(u32 bits, float& d, float& inv) {
    float largest = __uint_as_float(bits);
    bool number = bits < 0x7f800000u, some = number && largest >= SMALLEST_HALF;
    d = number ? some ? largest / 127.0f : 0.0f : __uint_as_float(0x7fc00000u);
    inv = some ? 127.0f / largest : 0.0f;
}

DEVICE int half_code(float x, float inv) {
    return inv == 0.0f ? 0 : __float2int_rn(x * inv);
}

// A row of K floats as a column, by the whole block of THREADS. It is complete after the next barrier.
template <int K, int THREADS, bool MINS>
DEVICE void make_column(Halves<MINS, K / 32>& column, const u8* row, i64 nb) {
    bool wide = nb == 4 && (u64)row % 16 == 0;
    // Four neighbours have a half; there are whole warps of words, so that all lanes meet.
    for (int i = threadIdx.x; i < (K / 4 + 31) / 32 * 32; i += THREADS) {
        bool there = i < K / 4;
        float v[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (there && wide) {
            float4 all = ((const float4*)row)[i];
            v[0] = all.x, v[1] = all.y, v[2] = all.z, v[3] = all.w;
        } else if (there) {
#pragma unroll
            for (int j = 0; j < 4; ++j) v[j] = *(const float*)(row + (4 * i + j) * nb);
        }
        u32 largest = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) largest = max(largest, __float_as_uint(v[j]) & 0x7fffffffu);
        largest = max(largest, __shfl_xor_sync(FULL, largest, 1));
        largest = max(largest, __shfl_xor_sync(FULL, largest, 2));
        float d, inv;
        half_scale(largest, d, inv);
        u32 word = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) word |= (u32)(u8)half_code(v[j], inv) << (8 * j);
        int chunk = i / 8, half = i / 4 % 2;
        if (there) ((u32*)&column.q[half][chunk])[i % 4] = word;
        if (there && i % 4 == 0) column.d[half][chunk] = d;
        if constexpr (MINS) {
            int sum = __dp4a((int)word, 0x01010101, 0);
            sum += __shfl_xor_sync(FULL, sum, 1);
            sum += __shfl_xor_sync(FULL, sum, 2);
            if (there && i % 4 == 0) column.sum[half][chunk] = d * (float)sum;
        }
    }
}
