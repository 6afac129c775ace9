// Rows of weights times one column in shared memory, at the memory's speed. A warp has a range of neighbouring rows and
// takes STEP of them at a time. They are on their way long before: through shared memory as many as have room there (`Ring`),
// else what it takes next, through registers (`Gemv`).

// How weights of TYPE are read and met: piece by piece, a lane a piece.
template <int TYPE, int CHUNKS> struct Blocks {
    using Vector = Column<TYPE, CHUNKS>;
    using Part = Activations;
    // Pieces and bytes of a row.
    static constexpr int COUNT = CHUNKS, ROW = CHUNKS / Block<TYPE>::CHUNKS * Block<TYPE>::BYTES;

    // A piece on its way to registers; for most types that only says where it is.
    struct Raw {
        const u8* row;
    };

    static DEVICE void load(const u8* row, int, Raw& raw) {
        raw.row = row;
    }

    template <class Row> static DEVICE void put(const Row& x, Vector& v) {
        x.put(v);
    }

    static DEVICE void part(const Vector& v, int c, Part& x) {
        v.get(c, x);
    }

    static DEVICE float times(const Raw& raw, int c, const Part& x) {
        Chunk w;
        decode_at<TYPE>(raw.row, c, w);
        return dot(w, x);
    }
};

// Of levels there is no unpacking but their products; the column is in pairs' order.
template <int CHUNKS> struct Levels4 : Blocks<IQ4_XS, CHUNKS> {
    struct Raw {
        uint2 head, front, back;
    };

    static DEVICE void load(const u8* row, int c, Raw& raw) {
        const u8* b = row + c / 8 * Block<IQ4_XS>::BYTES;
        raw.head = *(const uint2*)b;
        raw.front = *(const uint2*)(b + 8 + c % 8 * 16);
        raw.back = *(const uint2*)(b + 16 + c % 8 * 16);
    }

    static DEVICE float times(const Raw& raw, int c, const Activations& x) {
        int one = dot_levels(raw.front.y, x.q[2], x.q[3], dot_levels(raw.front.x, x.q[0], x.q[1], FLOAT_BIASED));
        int two = dot_levels(raw.back.y, x.q[6], x.q[7], dot_levels(raw.back.x, x.q[4], x.q[5], 0));
        return iq4_scale(raw.head, c % 8) * x.d * float_of(one + two);
    }
};

template <int CHUNKS> struct LevelsShort : Blocks<IQ4_NL, CHUNKS> {
    using Raw = typename Blocks<IQ4_NL, CHUNKS>::Raw;

    static DEVICE float times(const Raw& raw, int c, const Activations& x) {
        Nibbles w;
        nibbles_at<IQ4_NL>(raw.row, c, w);
        int sum = FLOAT_BIASED;
#pragma unroll
        for (int i = 0; i < 4; ++i) sum = dot_levels(w.word[i], x.q[2 * i], x.q[2 * i + 1], sum);
        return w.scale * x.d * float_of(sum);
    }
};

// Eight bytes at an even address. A word before them is read if they do not start at a multiple of four: it belongs to the
// tensor, as in `load_even`.
struct Eight {
    u32 word[3], shift;

    DEVICE void load(const u8* p) {
        shift = (u64)p % 4 * 8;
        const u32* from = (const u32*)(p - (u64)p % 4);
        word[0] = from[0], word[1] = from[1];
        word[2] = shift ? from[2] : 0;
    }

    DEVICE u32 get(int i) const {
        return __funnelshift_r(word[i], word[i + 1], shift);
    }
};

// A piece is eight neighbours of each of four chunks, which share bytes: nothing is read twice.
template <int CHUNKS> struct Blocks6 : Blocks<Q6_K, CHUNKS> {
    using Vector = Column<Q6_K, CHUNKS>;

    struct Part {
        uint2 q[4];
        float d;
    };

    struct Raw {
        Eight low[2], high, scales;
        u16 d;
    };

    static DEVICE void load(const u8* row, int c, Raw& raw) {
        const u8* b = row + c / 8 * Block<Q6_K>::BYTES;
        int half = c / 4 % 2, part = c % 4;
        raw.low[0].load(b + 64 * half + 8 * part);
        raw.low[1].load(b + 64 * half + 32 + 8 * part);
        raw.high.load(b + 128 + 32 * half + 8 * part);
        raw.scales.load(b + 192 + 8 * half);
        raw.d = *(const u16*)(b + 208);
    }

    static DEVICE void part(const Vector& v, int c, Part& x) {
        int first = c / 4 * 4, part = c % 4;
#pragma unroll
        for (int j = 0; j < 4; ++j) x.q[j] = ((const uint2*)&v.q[part / 2][first + j])[part % 2];
        x.d = v.d[first];
    }

    static DEVICE float times(const Raw& raw, int c, const Part& x) {
        int sum = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            u32 w[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                u32 low = raw.low[j % 2].get(i) >> (4 * (j / 2)) & 0x0f0f0f0fu;
                w[i] = minus(low | (raw.high.get(i) >> (2 * j) & 0x03030303u) << 4, 32);
            }
            // Each chunk has two scales, for sixteen each.
            int scale = (i8)(raw.scales.get(j / 2) >> (16 * (j % 2) + 8 * (c % 4 / 2)));
            sum += scale * __dp4a((int)w[1], (int)x.q[j].y, __dp4a((int)w[0], (int)x.q[j].x, 0));
        }
        return half_to_float(raw.d) * x.d * (float)sum;
    }
};

// Plain types: a piece is 16 bytes.
template <int TYPE, int CHUNKS> struct Plain {
    static constexpr int EACH = TYPE == F32 ? 4 : 8, COUNT = CHUNKS * 32 / EACH, ROW = COUNT * 16;

    struct Vector {
        float x[CHUNKS * 32];
    };

    struct Part {
        float x[EACH];
    };

    using Raw = uint4;

    static DEVICE void load(const u8* row, int c, Raw& raw) {
        raw = *(const uint4*)(row + c * 16);
    }

    template <class Row> static DEVICE void put(const Row& x, Vector& v) {
        x.put(v.x);
    }

    static DEVICE void part(const Vector& v, int c, Part& x) {
#pragma unroll
        for (int i = 0; i < EACH; i += 4) {
            float4 four = *(const float4*)(v.x + c * EACH + i);
            x.x[i] = four.x, x.x[i + 1] = four.y, x.x[i + 2] = four.z, x.x[i + 3] = four.w;
        }
    }

    static DEVICE float times(const Raw& raw, int, const Part& x) {
        const u32 words[4] = {raw.x, raw.y, raw.z, raw.w};
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if constexpr (TYPE == F32) {
                sum = fmaf(__uint_as_float(words[i]), x.x[i], sum);
            } else {
                u16 low = (u16)words[i], high = (u16)(words[i] >> 16);
                sum = fmaf(TYPE == F16 ? half_to_float(low) : bf16_to_float(low), x.x[2 * i], sum);
                sum = fmaf(TYPE == F16 ? half_to_float(high) : bf16_to_float(high), x.x[2 * i + 1], sum);
            }
        }
        return sum;
    }
};

template <int TYPE, int CHUNKS> struct Chosen {
    using Ways = Blocks<TYPE, CHUNKS>;
};
template <int CHUNKS> struct Chosen<IQ4_XS, CHUNKS> {
    using Ways = Levels4<CHUNKS>;
};
template <int CHUNKS> struct Chosen<IQ4_NL, CHUNKS> {
    using Ways = LevelsShort<CHUNKS>;
};
template <int CHUNKS> struct Chosen<Q6_K, CHUNKS> {
    using Ways = Blocks6<CHUNKS>;
};
template <int CHUNKS> struct Chosen<F32, CHUNKS> {
    using Ways = Plain<F32, CHUNKS>;
};
template <int CHUNKS> struct Chosen<F16, CHUNKS> {
    using Ways = Plain<F16, CHUNKS>;
};
template <int CHUNKS> struct Chosen<BF16, CHUNKS> {
    using Ways = Plain<BF16, CHUNKS>;
};
template <int TYPE, int CHUNKS> using WaysOf = typename Chosen<TYPE, CHUNKS>::Ways;

// A warp's rows of a matrix: a stripe of neighbouring ones.
struct Stripe {
    const u8* first;
    i64 nb;
    int rows;

    // Stripe number `warp` of `warps`, in whole steps of `step` rows.
    DEVICE Stripe(const u8* w, i64 nb, int count, int warp, int warps, int step, int& begin) : nb(nb) {
        int steps = (count + step - 1) / step;
        begin = (int)((i64)steps * warp / warps) * step;
        int end = min((int)((i64)steps * (warp + 1) / warps) * step, count);
        first = w + begin * nb;
        rows = end - begin;
    }
};

// How a warp's lanes have a stripe's rows: SPAN lanes share one, and have GROUP of them at a time.
template <class Ways, int GROUP> struct Shares {
    static constexpr int SPAN = Ways::COUNT > 16 ? 32 : Ways::COUNT > 8 ? 16 : Ways::COUNT > 4 ? 8 : 4;
    // Pieces of a lane, rows side by side, rows of a step.
    static constexpr int PER = (Ways::COUNT + SPAN - 1) / SPAN, ACROSS = 32 / SPAN, STEP = ACROSS * GROUP;

    // The lane's row of a step, of GROUP.
    static DEVICE int row_of(int r) {
        return r * ACROSS + (int)threadIdx.x % 32 / SPAN;
    }

    // Calls `store` for what the lanes' sums come to, each row in one lane.
    template <class Store> static DEVICE void finish(float* sum, int row, int rows, Store store) {
        lane_sums<GROUP, SPAN>(sum);
        int at = (int)threadIdx.x % SPAN * GROUP, mine = row + row_of(at / SPAN);
        if (at % SPAN == 0 && mine < rows) store(mine, sum[0]);
    }
};

// The products of a stripe's rows, whose pieces are on their way to registers: DEPTH at a time, as many as go in two buffers
// of at most 32 registers.
template <class Ways, int GROUP> struct Gemv : Shares<Ways, GROUP> {
    using Share = Shares<Ways, GROUP>;
    using Share::SPAN, Share::PER, Share::STEP;
    static constexpr int FIT = (int)(32 * 4 / (sizeof(typename Ways::Raw) * GROUP));
    static constexpr int EVEN = FIT < 2 ? 1 : FIT < 4 ? 2 : FIT < 8 ? 4 : 8, DEPTH = EVEN < PER ? EVEN : PER;
    static constexpr int TURNS = (PER + DEPTH - 1) / DEPTH;

    typename Ways::Raw raw[GROUP][DEPTH];

    static DEVICE int piece(int turn, int d) {
        return (turn * DEPTH + d) * SPAN + (int)threadIdx.x % SPAN;
    }

    static DEVICE bool has(int p) {
        return Ways::COUNT % (SPAN * DEPTH) == 0 || p < Ways::COUNT;
    }

    // Turn `turn` of the group of rows from `row` on.
    DEVICE void load(const Stripe& s, int row, int turn) {
#pragma unroll
        for (int r = 0; r < GROUP; ++r) {
            int mine = min(row + Share::row_of(r), s.rows - 1);
#pragma unroll
            for (int d = 0; d < DEPTH; ++d) {
                int p = piece(turn, d);
                if (has(p)) Ways::load(s.first + mine * s.nb, p, raw[r][d]);
            }
        }
    }

    // Sends for the first rows. They may not be written by the kernel before.
    DEVICE void start(const Stripe& s, u8*) {
        if (s.rows > 0) load(s, 0, 0);
    }

    // After `start`: calls `store(row, product)` for each row of the stripe, in one lane.
    template <class Store> DEVICE void run(const Stripe& s, const typename Ways::Vector& x, Store store) {
        for (int row = 0; row < s.rows; row += STEP) {
            float sum[GROUP] = {};
#pragma unroll
            for (int turn = 0; turn < TURNS; ++turn) {
                Gemv next;
                if (turn + 1 < TURNS) next.load(s, row, turn + 1);
                else if (row + STEP < s.rows) next.load(s, row + STEP, 0);
#pragma unroll
                for (int d = 0; d < DEPTH; ++d) {
                    int p = piece(turn, d);
                    if (!has(p)) continue;
                    typename Ways::Part part;
                    Ways::part(x, p, part);
#pragma unroll
                    for (int r = 0; r < GROUP; ++r) sum[r] += Ways::times(raw[r][d], p, part);
                }
                *this = next;
            }
            Share::finish(sum, row, s.rows, store);
        }
    }
};

// The same through shared memory, of which a warp has ROOM bytes: a slot a step, or a part of one where rows are long. All
// that fits is sent for before anything else, and goes past registers and the first level of cache: so a kernel's weights
// come while the kernel before still runs on the same SM. Rows are without gaps.
template <class Ways, int GROUP, int ROOM> struct Ring : Shares<Ways, GROUP> {
    using Share = Shares<Ways, GROUP>;
    using Share::SPAN, Share::PER, Share::STEP;
    static constexpr int PARTS = STEP == 1 && Ways::COUNT % 128 == 0 ? Ways::COUNT / 128 : 1;
    static constexpr int SLOT = STEP * Ways::ROW / PARTS, FIT = ROOM / SLOT, SLOTS = FIT < 16 ? FIT : 16;
    static constexpr bool USABLE = Ways::ROW % 16 == 0 && FIT > 0;

    u8* room;

    // Sends for part n of the stripe, to the slot at `at`. Each has a group of copies, if empty: they are counted.
    static DEVICE void send_for(const Stripe& s, int n, u8* at) {
        int bytes = s.rows * Ways::ROW - n * SLOT, lane = threadIdx.x % 32;
        if (bytes > 0) {
            const u8* from = s.first + (i64)n * SLOT;
#pragma unroll
            for (int k = 0; k < SLOT; k += 512) {
                int i = k + lane * 16;
                if (i < bytes && (k + 512 <= SLOT || i < SLOT)) copy16_async(at + i, from + i);
            }
        }
        copies_commit();
    }

    DEVICE void start(const Stripe& s, u8* rooms) {
        room = rooms + threadIdx.x / 32 * ROOM;
#pragma unroll
        for (int n = 0; n < SLOTS; ++n) send_for(s, n, room + n * SLOT);
    }

    template <class Store> DEVICE void run(const Stripe& s, const typename Ways::Vector& x, Store store) {
        u8* slot = room;
        int n = 0;
        for (int row = 0; row < s.rows; row += STEP) {
            float sum[GROUP] = {};
#pragma unroll
            for (int part = 0; part < PARTS; ++part, ++n) {
                copies_wait<SLOTS - 1>();
                __syncwarp();
                // Where row `row` would begin, were all of it there. Rows beyond the stripe's are whatever the slot holds.
                const u8* rows = slot - part * SLOT;
#pragma unroll
                for (int d = 0; d < PER / PARTS; ++d) {
                    int p = (part * (PER / PARTS) + d) * SPAN + (int)threadIdx.x % SPAN;
                    if (Ways::COUNT % SPAN != 0 && p >= Ways::COUNT) continue;
                    typename Ways::Part piece;
                    Ways::part(x, p, piece);
#pragma unroll
                    for (int r = 0; r < GROUP; ++r) {
                        typename Ways::Raw raw;
                        Ways::load(rows + Share::row_of(r) * Ways::ROW, p, raw);
                        sum[r] += Ways::times(raw, p, piece);
                    }
                }
                __syncwarp();
                send_for(s, n + SLOTS, slot);
                slot = slot == room + (SLOTS - 1) * SLOT ? room : slot + SLOT;
            }
            Share::finish(sum, row, s.rows, store);
        }
        copies_wait<0>();
    }
};

template <bool RING, class Ways, int GROUP, int ROOM> struct Way {
    using Product = Gemv<Ways, GROUP>;
};
template <class Ways, int GROUP, int ROOM> struct Way<true, Ways, GROUP, ROOM> {
    using Product = Ring<Ways, GROUP, ROOM>;
};
#if __CUDA_ARCH__ >= 800
template <class Ways, int GROUP, int ROOM>
using ProductOf = typename Way<Ring<Ways, GROUP, ROOM>::USABLE, Ways, GROUP, ROOM>::Product;
#else
// No copies past registers.
template <class Ways, int GROUP, int ROOM> using ProductOf = Gemv<Ways, GROUP>;
#undef BESIDE
#define BESIDE 1
#endif
