// Products of rows that are asked for long before they are used. What limits a kernel that reads each weight once is how
// many bytes are on their way at a time, so a warp sends for all of its rows, makes the column meanwhile, and unpacks
// what has come. Rows go to shared memory byte by byte as they are; types whose rows would take too much of it, or
// cannot be copied in words, are only fetched to the second level of cache.

// 32 int8 of a column with a scale for each half; sums are those that mins are multiplied with, times the scale.
struct Pieces {
    uint4 front, back;
    float2 d, sum;
};

// A column's chunks: in order, or in pairs' order for what has levels. A half is then of neighbours as they stand.
template <bool MINS, int CHUNKS> struct Halves {
    uint4 q[2][CHUNKS];
    float2 d[CHUNKS], sum[MINS ? CHUNKS : 1];

    DEVICE void get(int c, Pieces& x) const {
        x.front = q[0][c], x.back = q[1][c], x.d = d[c];
        if constexpr (MINS) x.sum = sum[c];
    }

    DEVICE float& scale(int c, int half) {
        return ((float*)&d[c])[half];
    }

    DEVICE float& sums(int c, int half) {
        return ((float*)&sum[c])[half];
    }
};

template <int TYPE> constexpr bool HAS_MINS = Column<TYPE, 1>::MINS;

// Which element of its chunk stands at p in the column that weights of TYPE meet.
template <int TYPE> DEVICE int element_at(int p) {
    return LEVELS<TYPE> ? place_of_pair(p) : p;
}

// Sends for BYTES, a multiple of which both addresses are.
template <int BYTES> DEVICE void copy_async(u8* room, int at, const u8* from) {
#if __CUDA_ARCH__ >= 800
    u32 to = shared_address(room) + at;
    if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(to), "l"(from + at) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" : : "r"(to), "l"(from + at), "n"(BYTES) : "memory");
    }
#else
    for (int i = at; i < at + BYTES; i += 4) *(u32*)(room + i) = *(const u32*)(from + i);
#endif
}

// Waits until at most `later` groups are under way: a constant once loops are unrolled.
DEVICE void copies_wait_but(int later) {
    switch (later) {
        case 0: return copies_wait<0>();
        case 1: return copies_wait<1>();
        case 2: return copies_wait<2>();
        case 3: return copies_wait<3>();
        case 4: return copies_wait<4>();
        case 5: return copies_wait<5>();
        case 6: return copies_wait<6>();
        default: return copies_wait<7>();
    }
}

// A row of K elements on its way, for a warp: a chunk a lane at each of STEPS steps. GRAIN: bytes a copy, or 0 if the row
// stays where it is.
template <int TYPE, int K, int GRAIN> struct Streamed {
    static constexpr int ROW = K / Block<TYPE>::LEN * Block<TYPE>::BYTES;
    // Bytes of shared memory.
    static constexpr int ROOM = GRAIN ? (ROW + 15) / 16 * 16 : 0;
    static constexpr int STEPS = (K + 1023) / 1024, PER_STEP = 1024 / Block<TYPE>::LEN * Block<TYPE>::BYTES;
    const u8 *from, *at;

    // Where the row is, and its room.
    DEVICE void place(const u8* row, u8* room) {
        from = row;
        at = GRAIN ? room : row;
    }

    // How many bytes are there once a step's copies are, in whole copies.
    static constexpr DEVICE int end_of(int step) {
        int end = (step * PER_STEP + GRAIN - 1) / (GRAIN ? GRAIN : 1) * GRAIN;
        return end < ROW ? end : ROW;
    }

    // All offsets but the lane's are constants: the instructions hold them.
    DEVICE void send_for(int step, int lane) const {
        if constexpr (GRAIN == 0) {
            if (step == 0) prefetch_row<TYPE>(from, K, lane, 32);
        } else {
            constexpr int MOST = (PER_STEP + 33 * GRAIN - 1) / (32 * GRAIN);
            u8* room = (u8*)at + lane * GRAIN;
            const u8* row = from + lane * GRAIN;
#pragma unroll
            for (int n = 0; n < MOST; ++n) {
                int first = end_of(step) + n * 32 * GRAIN, left = end_of(step + 1) - first;
                if (left >= 32 * GRAIN || lane * GRAIN < left) copy_async<GRAIN>(room, first, row);
            }
        }
    }

    // Sends for all of it.
    DEVICE void send_for(int lane) const {
#pragma unroll
        for (int s = 0; s < STEPS; ++s) send_for(s, lane);
    }

    // Chunk c times one of a column.
    DEVICE float dot(int c, const Pieces& x) const {
        if constexpr (LEVELS<TYPE>) {
            Nibbles w;
            nibbles_at<TYPE>(at, c, w);
            int lo = dot_levels(w.word[1], x.front.z, x.front.w,
                                dot_levels(w.word[0], x.front.x, x.front.y, FLOAT_BIASED));
            int hi = dot_levels(w.word[3], x.back.z, x.back.w, dot_levels(w.word[2], x.back.x, x.back.y, FLOAT_BIASED));
            return w.scale * (x.d.x * float_of(lo) + x.d.y * float_of(hi));
        } else {
            Chunk w;
            decode_at<TYPE>(at, c, w);
            int lo = __dp4a(w.q[0], (int)x.front.x, 0), hi = __dp4a(w.q[4], (int)x.back.x, 0);
            lo = __dp4a(w.q[1], (int)x.front.y, lo), hi = __dp4a(w.q[5], (int)x.back.y, hi);
            lo = __dp4a(w.q[2], (int)x.front.z, lo), hi = __dp4a(w.q[6], (int)x.back.z, hi);
            lo = __dp4a(w.q[3], (int)x.front.w, lo), hi = __dp4a(w.q[7], (int)x.back.w, hi);
            float sum = w.scale[0] * x.d.x * (float)lo + w.scale[1] * x.d.y * (float)hi;
            if constexpr (HAS_MINS<TYPE>) {
                // A block of 32 has one min.
                float min = Block<TYPE>::LEN == 32 ? w.min[0] : w.min[1];
                sum -= w.min[0] * x.sum.x + min * x.sum.y;
            }
            return sum;
        }
    }
};

// Below this a half becomes zeros: 127 divided by it would overflow.
#define SMALLEST_HALF 3.0092655e-36f

// The larger magnitude, NaN if one is none.
DEVICE float larger(float a, float b) {
#if __CUDA_ARCH__ >= 800
    float r;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(fabsf(a)), "f"(fabsf(b)));
    return r;
#else
    // Bits order as magnitudes do, NaN above infinity.
    return __uint_as_float(max(__float_as_uint(a) & 0x7fffffffu, __float_as_uint(b) & 0x7fffffffu));
#endif
}

// The scale of a half and its inverse, for the largest |x|.
DEVICE void half_scale(float largest, float& d, float& inv) {
    bool number = __float_as_uint(largest) < 0x7f800000u, some = number && largest >= SMALLEST_HALF;
    d = number ? some ? largest * (1.0f / 127.0f) : 0.0f : __uint_as_float(0x7fc00000u);
    inv = some ? __fdividef(1.0f, d) : 0.0f;
}

// A float whose lowest byte is the code: rounded by the addition.
DEVICE u32 half_code(float x, float inv) {
    return __float_as_uint(fmaf(x, inv, 12582912.0f));
}

// The lowest bytes of four words.
DEVICE u32 lowest(u32 a, u32 b, u32 c, u32 d) {
    return __byte_perm(__byte_perm(a, b, 0x0040), __byte_perm(c, d, 0x0040), 0x5410);
}

// A row of K floats on its way to a column that weights of TYPE meet, for a block of THREADS: a thread has eight that stand
// side by side there, half of a half.
template <int TYPE, int K, int THREADS> struct Floats {
    static constexpr int COUNT = (K / 8 + THREADS - 1) / THREADS;
    float v[COUNT][8];

    // A row without gaps that starts at a multiple of 16 bytes.
    DEVICE void load(const float* row) {
#pragma unroll
        for (int n = 0; n < COUNT; ++n) {
            int i = n * THREADS + threadIdx.x, chunk = i / 4 * 32, p = i % 4 * 8;
            float4 a = make_float4(0.0f, 0.0f, 0.0f, 0.0f), b = a;
            if (i < K / 8) {
                // In pairs' order the eight are two fours, sixteen apart.
                const float* at = row + chunk + element_at<TYPE>(p);
                a = *(const float4*)at, b = *(const float4*)(at + (LEVELS<TYPE> ? 16 : 4));
            }
            const float x[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
            for (int j = 0; j < 8; ++j) v[n][j] = x[LEVELS<TYPE> ? j / 2 + j % 2 * 4 : j];
        }
    }

    // By the whole block; the column is complete after the next barrier.
    template <bool MINS> DEVICE void put(Halves<MINS, K / 32>& column) const {
#pragma unroll
        for (int n = 0; n < COUNT; ++n) {
            // Two neighbours have a half; a warp's lanes all meet.
            int i = n * THREADS + threadIdx.x, chunk = i / 4, half = i / 2 % 2;
            bool there = i < K / 8;
            float largest = 0.0f, d, inv;
#pragma unroll
            for (int j = 0; j < 8; ++j) largest = larger(largest, v[n][j]);
            half_scale(larger(largest, __shfl_xor_sync(FULL, largest, 1)), d, inv);
            u32 q[8];
#pragma unroll
            for (int j = 0; j < 8; ++j) q[j] = half_code(v[n][j], inv);
            uint2 words = make_uint2(lowest(q[0], q[1], q[2], q[3]), lowest(q[4], q[5], q[6], q[7]));
            if (there) ((uint2*)&column.q[half][chunk])[i % 2] = words;
            if (there && i % 2 == 0) column.scale(chunk, half) = d;
            if constexpr (MINS) {
                int sum = __dp4a((int)words.x, 0x01010101, __dp4a((int)words.y, 0x01010101, 0));
                sum += __shfl_xor_sync(FULL, sum, 1);
                if (there && i % 2 == 0) column.sums(chunk, half) = d * (float)sum;
            }
        }
    }
};
