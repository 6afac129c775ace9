// A row of F32 that every block of a launch makes ready for itself: a sum, a norm and int8 codes cost less than a launch.
//
// A lane has eight neighbouring elements, a warp 256, so that a warp has the whole of any block of activations. Orders are
// those of lanes and warps: all blocks get the same bits. TEAM: warps of a block.

template <int CHUNKS, int TEAM> struct Elements {
    // Turns of a warp; its elements of a turn are those of block `turn * TEAM + warp`.
    static constexpr int TURNS = (CHUNKS + 8 * TEAM - 1) / (8 * TEAM);
    float v[TURNS][8];

    // The lane's first element of a turn; beyond the row if `!has`.
    static DEVICE int first(int turn) {
        return ((turn * TEAM + (int)threadIdx.x / 32) * 32 + (int)threadIdx.x % 32) * 8;
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
                float4 a = *(const float4*)(row + at * 4), b = *(const float4*)(row + at * 4 + 16);
                x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
            } else if (has(t)) {
#pragma unroll
                for (int i = 0; i < 8; ++i) x[i] = *(const float*)(row + (at + i) * nb);
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
            for (int i = 0; i < 8; ++i) *(float*)(row + (first(t) + i) * nb) = v[t][i];
        }
    }

    // rms_norm times the weights w. The block meets once; `shared` has 32 floats.
    DEVICE void norm(const Elements& w, float eps, float* shared) {
        float squares = 0.0f;
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
#pragma unroll
            for (int i = 0; i < 8; ++i) squares = fmaf(v[t][i], v[t][i], squares);
        }
        float scale = 1.0f / sqrtf(block_sum(squares, shared) / (CHUNKS * 32) + eps);
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
#pragma unroll
            for (int i = 0; i < 8; ++i) v[t][i] = v[t][i] * scale * w.v[t][i];
        }
    }

    // Into shared memory as it is; to be read after the next barrier.
    DEVICE void put(float* to) const {
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
            if (!has(t)) continue;
            float4* at = (float4*)(to + first(t));
            at[0] = make_float4(v[t][0], v[t][1], v[t][2], v[t][3]);
            at[1] = make_float4(v[t][4], v[t][5], v[t][6], v[t][7]);
        }
    }

    // Into shared memory as the int8 blocks that weights of TYPE meet, from chunk `base` of the column on: the bits of
    // `quantize`. To be read after the next barrier.
    template <int TYPE, int TOTAL> DEVICE void put(Column<TYPE, TOTAL>& column, int base = 0) const {
        constexpr bool LONG = Block<TYPE>::LEN == 256;
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
            u32 largest = 0;
#pragma unroll
            for (int i = 0; i < 8; ++i) largest = max(largest, __float_as_uint(v[t][i]) & 0x7fffffffu);
            float d, inv;
            scale_of(warp_max<LONG ? 32 : 4>(largest), d, inv);
            u32 word[2] = {0, 0};
            int sum = 0;
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                int q = code(v[t][i], inv);
                sum += q;
                word[i / 4] |= (u32)(u8)q << (8 * (i % 4));
            }
            int chunk = base + first(t) / 32, part = threadIdx.x % 4;
            sum += __shfl_xor_sync(FULL, sum, 1);
            if constexpr (!LONG) sum += __shfl_xor_sync(FULL, sum, 2);
            if (!has(t)) continue;
            ((uint2*)&column.q[part / 2][chunk])[part % 2] = make_uint2(word[0], word[1]);
            if (part == 0) column.d[chunk] = d;
            if constexpr (Column<TYPE, TOTAL>::MINS) {
                // A block of 32 has one min.
                if (part == 0) column.sum[0][chunk] = (float)sum;
                if (part == 2) column.sum[1][chunk] = LONG ? (float)sum : 0.0f;
            }
        }
    }
};
