// Weights in blocks, 32 at a time: w = q * scale - min, with a scale and a min for each 16.

struct Chunk {
    int q[8];  // 32 int8, in order
    float scale[2], min[2];
};

// Elements and bytes of a block.
template <int TYPE> struct Block {
    static constexpr int LEN = TYPE >= Q2_K && TYPE <= Q6_K || TYPE == IQ4_XS || TYPE == Q8_K ? 256 : 32;
    static constexpr int BYTES = TYPE == Q4_0 || TYPE == IQ4_NL ? 18 : TYPE == Q4_1 ? 20 : TYPE == Q5_0 ? 22
        : TYPE == Q5_1 ? 24 : TYPE == Q8_0 ? 34 : TYPE == Q2_K ? 84 : TYPE == Q3_K ? 110 : TYPE == Q4_K ? 144
        : TYPE == Q5_K ? 176 : TYPE == Q6_K ? 210 : TYPE == IQ4_XS ? 136 : TYPE == Q8_K ? 292 : 40;
    // Chunks of a block.
    static constexpr int CHUNKS = LEN / 32;
};

// Four bytes at an address of which only evenness is known, unless ALIGNED.
template <bool ALIGNED> DEVICE u32 load4(const u8* p) {
    if constexpr (ALIGNED) return *(const u32*)p;
    else return *(const u16*)p | (u32) * (const u16*)(p + 2) << 16;
}

// Eight words at an even address that has two bytes of its own tensor before it if it is no multiple of four.
DEVICE void load_even(const u8* p, u32* to) {
    u32 shift = (u64)p % 4 * 8;
    const u32* from = (const u32*)(p - (u64)p % 4);
    u32 word = from[0];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        u32 next = i < 7 || shift ? from[i + 1] : 0;
        to[i] = __funnelshift_r(word, next, shift);
        word = next;
    }
}

DEVICE float half_at(const u8* p) {
    return half_to_float(*(const u16*)p);
}

// Subtracts n from each byte of v, which is below 128 in each.
DEVICE u32 minus(u32 v, u32 n) {
    // With the top bit of each byte set, no byte borrows from the next.
    return ((v | 0x80808080u) - n * 0x01010101u) ^ 0x80808080u;
}

// Four nibbles to four levels of the IQ4 types: the lower three bits of each choose among eight levels in both halves of
// the table, `upper` then between the two.
DEVICE u32 level4(u32 select, u32 upper) {
    const u32 low0 = 0xbfad9881u, low1 = 0xf6eaddcfu, high0 = 0x26190d01u, high1 = 0x71594535u;
    return __byte_perm(__byte_perm(low0, low1, select), __byte_perm(high0, high1, select), upper);
}

// Four bytes to the levels of their lower nibbles and of their upper ones. A nibble is a selector as it stands but for its
// top bit, so that nothing has to be spread to bytes before: the levels come alternating, and are parted after.
DEVICE void levels(u32 v, int& lo, int& hi) {
    u32 select = v & 0x77777777u, upper = (v >> 1 & 0x44444444u) | 0x32103210u;
    u32 front = level4(select, upper), back = level4(select >> 16, upper >> 16);
    lo = __byte_perm(front, back, 0x6420);
    hi = __byte_perm(front, back, 0x7531);
}

// Types whose nibbles stand for levels. Activations that meet them by `dot_levels` stand in *pairs' order*: number p of a
// chunk is element p / 2 + 16 (p % 2), as nibbles follow one another in memory.
template <int TYPE> constexpr bool LEVELS = TYPE == IQ4_NL || TYPE == IQ4_XS;

DEVICE int place_of_pair(int p) {
    return p / 2 + 16 * (p % 2);
}

// Bytes of (a, b) that the nibbles of a selector's lower half name; of one whose top bit is set, the sign of that byte.
DEVICE int permute(u32 a, u32 b, u32 selector) {
    int r;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));
    return r;
}

// A constant that the compiler takes for a variable of each lane. It would put a copy of one into a register before each use,
// which was a fifth of all instructions of a product.
DEVICE u32 in_register(u32 constant) {
    u32 lane, multiprocessor;
    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    asm("mov.u32 %0, %%smid;" : "=r"(multiprocessor));
    return constant + (lane + multiprocessor) / 0x10000;
}

// Adds the products of eight nibbles' levels with eight activations in pairs' order. The lower eight levels are negative
// and the upper eight positive: so a nibble looked up among the lower ones gives -1 if it is an upper one, and looked up
// among the upper ones with its top bit turned round 0 if it is a lower one. With one added to the upper levels both
// products together are the level's, and nothing has to be masked, chosen or parted.
DEVICE int dot_levels(u32 nibbles, u32 front, u32 back, int sum) {
    const u32 low0 = in_register(0xbfad9881u), low1 = 0xf6eaddcfu;
    const u32 high0 = in_register(0x271a0e02u), high1 = 0x725a4636u;
    u32 turned = nibbles ^ 0x88888888u;
    sum = __dp4a(permute(low0, low1, nibbles), (int)front, sum);
    sum = __dp4a(permute(high0, high1, turned), (int)front, sum);
    sum = __dp4a(permute(low0, low1, nibbles >> 16), (int)back, sum);
    return __dp4a(permute(high0, high1, turned >> 16), (int)back, sum);
}

// A sum that starts here is a float as it stands, less `float_of`'s constant, if it stays within 2^22: no conversion.
#define FLOAT_BIASED 0x4b400000
DEVICE float float_of(int biased) {
    return __int_as_float(biased) - 12582912.0f;
}

// A chunk of levels as it lies in memory.
struct Nibbles {
    u32 word[4];
    float scale;
};

// The scale of chunk c of an IQ4_XS block; `head` holds the block's.
DEVICE float iq4_scale(uint2 head, int c) {
    u32 code = (head.y >> (4 * c) & 15) | 0x4b000000u | (head.x >> (12 + 2 * c) & 0x30);
    return half_to_float((u16)head.x) * (__uint_as_float(code) - (8388608.0f + 32.0f));
}

// Chunk c of a row.
template <int TYPE> DEVICE void nibbles_at(const u8* row, int c, Nibbles& w) {
    if constexpr (TYPE == IQ4_XS) {
        const u8* b = row + c / 8 * Block<TYPE>::BYTES;
        uint2 front = *(const uint2*)(b + 8 + c % 8 * 16), back = *(const uint2*)(b + 16 + c % 8 * 16);
        w.word[0] = front.x, w.word[1] = front.y, w.word[2] = back.x, w.word[3] = back.y;
        w.scale = iq4_scale(*(const uint2*)b, c % 8);
    } else {
        static_assert(TYPE == IQ4_NL, "no levels");
        const u8* b = row + c * Block<TYPE>::BYTES;
#pragma unroll
        for (int i = 0; i < 4; ++i) w.word[i] = load4<false>(b + 2 + 4 * i);
        w.scale = half_at(b);
    }
}

// Bit j of `bits` (its lowest four) to bit 4 of byte j.
DEVICE u32 fifth(u32 bits) {
    return (bits & 1) << 4 | (bits & 2) << 11 | (bits & 4) << 18 | (bits & 8) << 25;
}

// Chunk c of an IQ4_XS block: `head` holds its scales, front and back the nibbles.
DEVICE void unpack_iq4(uint2 head, uint2 front, uint2 back, int c, Chunk& w) {
    u32 code = (head.y >> (4 * c) & 15) | (head.x >> (16 + 2 * c) & 3) << 4;
    levels(front.x, w.q[0], w.q[4]);
    levels(front.y, w.q[1], w.q[5]);
    levels(back.x, w.q[2], w.q[6]);
    levels(back.y, w.q[3], w.q[7]);
    w.scale[0] = w.scale[1] = half_to_float((u16)head.x) * (float)((int)code - 32);
    w.min[0] = w.min[1] = 0.0f;
}

// Chunk c of a block.
template <int TYPE> DEVICE void decode(const u8* b, int c, Chunk& w) {
    constexpr bool A = Block<TYPE>::BYTES % 4 == 0;
    if constexpr (TYPE == Q8_0) {
#pragma unroll
        for (int i = 0; i < 8; ++i) w.q[i] = load4<false>(b + 2 + 4 * i);
        w.scale[0] = w.scale[1] = half_at(b);
        w.min[0] = w.min[1] = 0.0f;
    } else if constexpr (Block<TYPE>::LEN == 32) {
        constexpr bool MINS = TYPE == Q4_1 || TYPE == Q5_1, FIVE = TYPE == Q5_0 || TYPE == Q5_1;
        constexpr int HIGH = MINS ? 4 : 2, AT = HIGH + (FIVE ? 4 : 0);
        u32 high = FIVE ? load4<A>(b + HIGH) : 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            u32 v = load4<A>(b + AT + 4 * i);
            u32 lo = v & 0x0f0f0f0fu, hi = v >> 4 & 0x0f0f0f0fu;
            if constexpr (FIVE) {
                lo |= fifth(high >> (4 * i));
                hi |= fifth(high >> (16 + 4 * i));
            }
            if constexpr (TYPE == Q4_0) lo = minus(lo, 8), hi = minus(hi, 8);
            if constexpr (TYPE == Q5_0) lo = minus(lo, 16), hi = minus(hi, 16);
            w.q[i] = lo;
            w.q[i + 4] = hi;
            if constexpr (TYPE == IQ4_NL) levels(v, w.q[i], w.q[i + 4]);
        }
        w.scale[0] = w.scale[1] = half_at(b);
        w.min[0] = w.min[1] = MINS ? -half_at(b + 2) : 0.0f;
    } else if constexpr (TYPE == IQ4_XS) {
        // Rows of these blocks start at multiples of eight.
        unpack_iq4(*(const uint2*)b, *(const uint2*)(b + 8 + 16 * c), *(const uint2*)(b + 16 + 16 * c), c, w);
    } else if constexpr (TYPE == Q4_K || TYPE == Q5_K) {
        const u8* s = b + 4;
        int scale = c < 4 ? s[c] & 63 : (s[c + 4] & 15) | (s[c - 4] >> 6) << 4;
        int min = c < 4 ? s[c + 4] & 63 : s[c + 4] >> 4 | (s[c] >> 6) << 4;
        constexpr int AT = TYPE == Q4_K ? 16 : 48;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            u32 v = load4<A>(b + AT + 32 * (c / 2) + 4 * i) >> (4 * (c % 2)) & 0x0f0f0f0fu;
            if constexpr (TYPE == Q5_K) v |= (load4<A>(b + 16 + 4 * i) >> c & 0x01010101u) << 4;
            w.q[i] = v;
        }
        w.scale[0] = w.scale[1] = half_at(b) * (float)scale;
        w.min[0] = w.min[1] = half_at(b + 2) * (float)min;
    } else if constexpr (TYPE == Q2_K) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            w.q[i] = load4<A>(b + 16 + 32 * (c / 4) + 4 * i) >> (2 * (c % 4)) & 0x03030303u;
        }
#pragma unroll
        for (int g = 0; g < 2; ++g) {
            w.scale[g] = half_at(b + 80) * (float)(b[2 * c + g] & 15);
            w.min[g] = half_at(b + 82) * (float)(b[2 * c + g] >> 4);
        }
    } else if constexpr (TYPE == Q3_K) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            u32 low = load4<A>(b + 32 + 32 * (c / 4) + 4 * i) >> (2 * (c % 4)) & 0x03030303u;
            u32 high = (load4<A>(b + 4 * i) >> c & 0x01010101u) << 2;
            w.q[i] = minus(low | high, 4);
        }
#pragma unroll
        for (int g = 0; g < 2; ++g) {
            int n = 2 * c + g;
            int code = (b[96 + n % 8] >> (4 * (n / 8)) & 15) | (b[104 + n % 4] >> (2 * (n / 4)) & 3) << 4;
            w.scale[g] = half_at(b + 108) * (float)(code - 32);
            w.min[g] = 0.0f;
        }
    } else {
        static_assert(TYPE == Q6_K, "no block type");
        int h = c / 4, j = c % 4;
        u32 lows[8], highs[8];
        load_even(b + 64 * h + 32 * (j % 2), lows);
        load_even(b + 128 + 32 * h, highs);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            u32 low = lows[i] >> (4 * (j / 2)) & 0x0f0f0f0fu;
            u32 high = (highs[i] >> (2 * j) & 0x03030303u) << 4;
            w.q[i] = minus(low | high, 32);
        }
#pragma unroll
        for (int g = 0; g < 2; ++g) {
            w.scale[g] = half_at(b + 208) * (float)(i8)b[192 + 2 * c + g];
            w.min[g] = 0.0f;
        }
    }
}

// 32 activations as int8, with the sums that mins are multiplied by.
struct Activations {
    int q[8];
    float d, sum[2];
};

// Chunk number c of a row of activations that belong to weights of TYPE.
template <int TYPE> DEVICE void activations(const u8* row, int c, Activations& x) {
    if constexpr (Block<TYPE>::LEN == 256) {
        const u8* b = row + (c / 8) * 292;
#pragma unroll
        for (int i = 0; i < 8; ++i) x.q[i] = *(const int*)(b + 4 + 32 * (c % 8) + 4 * i);
        x.d = *(const float*)b;
        const short* sums = (const short*)(b + 260) + 2 * (c % 8);
        x.sum[0] = sums[0];
        x.sum[1] = sums[1];
    } else {
        const u8* b = row + c * 40;
#pragma unroll
        for (int i = 0; i < 8; ++i) x.q[i] = *(const int*)(b + 8 + 4 * i);
        x.d = *(const float*)b;
        // A block of 32 has one min.
        x.sum[0] = *(const int*)(b + 4);
        x.sum[1] = 0.0f;
    }
}

// The product of 32 weights with 32 activations.
DEVICE float dot(const Chunk& w, const Activations& x) {
    int lo = 0, hi = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        lo = __dp4a(w.q[i], x.q[i], lo);
        hi = __dp4a(w.q[i + 4], x.q[i + 4], hi);
    }
    float products = w.scale[0] * (float)lo + w.scale[1] * (float)hi;
    return x.d * (products - w.min[0] * x.sum[0] - w.min[1] * x.sum[1]);
}

// This lane's part of the product of a row of n weights with a row of activations: chunks, or elements of plain types,
// `lane`, `lane + WIDTH`, and so on. Plain types have strides nb_w and nb_x.
template <int TYPE, int WIDTH>
DEVICE float dot_part(const u8* w, i64 nb_w, const u8* x, i64 nb_x, int n, int lane) {
    float sum = 0.0f;
    if constexpr (TYPE <= BF16) {
#pragma unroll 4
        for (int i = lane; i < n; i += WIDTH) {
            sum = fmaf(element<TYPE>(w + i * nb_w), *(const float*)(x + i * nb_x), sum);
        }
    } else {
        constexpr int CHUNKS = Block<TYPE>::CHUNKS;
#pragma unroll 2
        for (int c = lane; c < n / 32; c += WIDTH) {
            Chunk chunk;
            Activations a;
            decode<TYPE>(w + (c / CHUNKS) * Block<TYPE>::BYTES, c % CHUNKS, chunk);
            activations<TYPE>(x, c, a);
            sum += dot(chunk, a);
        }
    }
    return sum;
}
