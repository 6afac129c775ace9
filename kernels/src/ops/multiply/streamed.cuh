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
    static constexpr int STEPS = (K + 1023) / 1024;
    const u8 *from, *at;

    // Where the row is, and its room.
    DEVICE void place(const u8* row, u8* room) {
        from = row;
        at = GRAIN ? room : row;
    }

    // How many bytes are there once a step's copies are, in whole copies.
    static constexpr DEVICE int end_of(int step) {
        constexpr int PER_STEP = 1024 / Block<TYPE>::LEN * Block<TYPE>::BYTES;
        int end = (step * PER_STEP + GRAIN - 1) / (GRAIN ? GRAIN : 1) * GRAIN;
        return end < ROW ? end : ROW;
    }

    DEVICE void send_for(int step, int lane) const {
        if constexpr (GRAIN == 0) {
            if (step == 0) prefetch_row<TYPE>(from, K, lane, 32);
        } else {
            for (int i = end_of(step) + lane * GRAIN; i < end_of(step + 1); i += 32 * GRAIN) {
                copy_async<GRAIN>((u8*)at + i, from + i);
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

// A row of K floats on its way to a column that weights of TYPE meet, for a block of THREADS: a thread has four that stand
// side by side there.
template <int TYPE, int K, int THREADS> struct Floats {
    static constexpr int COUNT = (K / 4 + THREADS - 1) / THREADS;
    float v[COUNT][4];

    DEVICE void load(const u8* row, i64 nb) {
        bool wide = nb == 4 && (u64)row % 16 == 0;
#pragma unroll
        for (int n = 0; n < COUNT; ++n) {
            int i = n * THREADS + threadIdx.x, chunk = i / 8 * 32, p = i % 8 * 4;
#pragma unroll
            for (int j = 0; j < 4; ++j) v[n][j] = 0.0f;
            if (i >= K / 4) continue;
            if (wide && LEVELS<TYPE>) {
                float2 a = *(const float2*)(row + (chunk + p / 2) * 4), b = *(const float2*)(row + (chunk + p / 2) * 4 + 64);
                v[n][0] = a.x, v[n][1] = b.x, v[n][2] = a.y, v[n][3] = b.y;
            } else if (wide) {
                float4 all = ((const float4*)row)[i];
                v[n][0] = all.x, v[n][1] = all.y, v[n][2] = all.z, v[n][3] = all.w;
            } else {
#pragma unroll
                for (int j = 0; j < 4; ++j) v[n][j] = *(const float*)(row + (chunk + element_at<TYPE>(p + j)) * nb);
            }
        }
    }

    // By the whole block; the column is complete after the next barrier.
    template <bool MINS> DEVICE void put(Halves<MINS, K / 32>& column) const {
#pragma unroll
        for (int n = 0; n < COUNT; ++n) {
            // Four neighbours have a half; there are whole warps of words, so that all lanes meet.
            int i = n * THREADS + threadIdx.x, chunk = i / 8, half = i / 4 % 2;
            bool there = i < K / 4;
            u32 largest = 0;
#pragma unroll
            for (int j = 0; j < 4; ++j) largest = max(largest, __float_as_uint(v[n][j]) & 0x7fffffffu);
            largest = max(largest, __shfl_xor_sync(FULL, largest, 1));
            largest = max(largest, __shfl_xor_sync(FULL, largest, 2));
            float d, inv;
            half_scale(largest, d, inv);
            u32 word = 0;
#pragma unroll
            for (int j = 0; j < 4; ++j) word |= (u32)(u8)half_code(v[n][j], inv) << (8 * j);
            if (there) ((u32*)&column.q[half][chunk])[i % 4] = word;
            if (there && i % 4 == 0) column.scale(chunk, half) = d;
            if constexpr (MINS) {
                int sum = __dp4a((int)word, 0x01010101, 0);
                sum += __shfl_xor_sync(FULL, sum, 1);
                sum += __shfl_xor_sync(FULL, sum, 2);
                if (there && i % 4 == 0) column.sums(chunk, half) = d * (float)sum;
            }
        }
    }
};
