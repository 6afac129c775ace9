// A row of F32 that every block of a launch makes ready for itself: a sum, a norm and int8 codes cost less than a launch.
//
// A lane has eight elements of a chunk of 32: four neighbours of either half, which is what stands together both in order
// and in pairs' order. A warp has 256, so that it has the whole of any block of activations. Orders are those of lanes and
// warps: all blocks get the same bits. TEAM: warps of a block.

template <int CHUNKS, int TEAM> struct Elements {
    // Turns of a warp; its elements of a turn are those of block `turn * TEAM + warp`.
    static constexpr int TURNS = (CHUNKS + 8 * TEAM - 1) / (8 * TEAM);
    float v[TURNS][8];

    // The lane's first element of a turn; beyond the row if `!has`. The others are at `next(i)` from there.
    static DEVICE int first(int turn) {
        int lane = threadIdx.x % 32;
        return (turn * TEAM + (int)threadIdx.x / 32) * 256 + lane / 4 * 32 + lane % 4 * 4;
    }

    static DEVICE int next(int i) {
        return i % 4 + i / 4 * 16;
    }

    static DEVICE bool has(int turn) {
        return CHUNKS % (8 * TEAM) == 0 || first(turn) < CHUNKS * 32;
    }

    // Calls `each(element, to)` for the lane's elements of a row with stride nb, in fours where they lie so.
    template <class Each> DEVICE void each_of(const u8* row, i64 nb, Each each) const {
        bool fours = nb == 4 && (u64)row % 16 == 0;
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
            float x[8] = {};
            int at = first(t);
            if (has(t) && fours) {
                float4 a = *(const float4*)(row + at * 4), b = *(const float4*)(row + at * 4 + 64);
                x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
            } else if (has(t)) {
#pragma unroll
                for (int i = 0; i < 8; ++i) x[i] = *(const float*)(row + (at + next(i)) * nb);
            }
#pragma unroll
            for (int i = 0; i < 8; ++i) each(t, i, x[i]);
        }
    }

    DEVICE void load(const u8* row, i64 nb) {
        each_of(row, nb, [&](int t, int i, float x) { v[t][i] = x; });
    }

    DEVICE void add(const u8* row, i64 nb) {
        each_of(row, nb, [&](int t, int i, float x) { v[t][i] += x; });
    }

    DEVICE void store(u8* row, i64 nb) const {
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
            if (!has(t)) continue;
#pragma unroll
            for (int i = 0; i < 8; ++i) *(float*)(row + (first(t) + next(i)) * nb) = v[t][i];
        }
    }

    // The warp's part of the sum of squares.
    DEVICE float squares() const {
        float sum = 0.0f;
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
#pragma unroll
            for (int i = 0; i < 8; ++i) sum = fmaf(v[t][i], v[t][i], sum);
        }
        return warp_sum(sum);
    }

    DEVICE void times(const Elements& w) {
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
#pragma unroll
            for (int i = 0; i < 8; ++i) v[t][i] *= w.v[t][i];
        }
    }

    // Into shared memory as it is; to be read after the next barrier.
    DEVICE void put(float* to) const {
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
            if (!has(t)) continue;
            float4* at = (float4*)(to + first(t));
            at[0] = make_float4(v[t][0], v[t][1], v[t][2], v[t][3]);
            at[4] = make_float4(v[t][4], v[t][5], v[t][6], v[t][7]);
        }
    }

    static DEVICE int lane_sum4(int v) {
        v += __shfl_xor_sync(FULL, v, 1);
        return v + __shfl_xor_sync(FULL, v, 2);
    }

    // Into shared memory as the int8 blocks that weights of TYPE meet, from chunk `base` of the column on: the bits of
    // `quantize`, in pairs' order for types of levels. To be read after the next barrier.
    template <int TYPE, int TOTAL> DEVICE void put(Column<TYPE, TOTAL>& column, int base = 0) const {
        constexpr bool LONG = Block<TYPE>::LEN == 256;
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
            u32 largest = 0;
#pragma unroll
            for (int i = 0; i < 8; ++i) largest = max(largest, __float_as_uint(v[t][i]) & 0x7fffffffu);
            float d, inv;
            scale_of(warp_max<LONG ? 32 : 4>(largest), d, inv);
            // Four of the chunk's first half, and of its second.
            u32 word[2] = {0, 0};
#pragma unroll
            for (int i = 0; i < 8; ++i) word[i / 4] |= (u32)(u8)code(v[t][i], inv) << (8 * (i % 4));
            int chunk = base + first(t) / 32, part = threadIdx.x % 4;
            int sum[2] = {0, 0};
            if constexpr (Column<TYPE, TOTAL>::MINS) {
#pragma unroll
                for (int h = 0; h < 2; ++h) sum[h] = lane_sum4(__dp4a((int)word[h], 0x01010101, 0));
            }
            if (!has(t)) continue;
            if constexpr (LEVELS<TYPE>) {
                uint2 pairs = make_uint2(__byte_perm(word[0], word[1], 0x5140), __byte_perm(word[0], word[1], 0x7362));
                ((uint2*)&column.q[part / 2][chunk])[part % 2] = pairs;
            } else {
#pragma unroll
                for (int h = 0; h < 2; ++h) ((u32*)&column.q[h][chunk])[part] = word[h];
            }
            if (part > 0) continue;
            column.d[chunk] = d;
            if constexpr (Column<TYPE, TOTAL>::MINS) {
                // A block of 32 has one min.
                column.sum[0][chunk] = (float)(LONG ? sum[0] : sum[0] + sum[1]);
                column.sum[1][chunk] = LONG ? (float)sum[1] : 0.0f;
            }
        }
    }
};
