// y = W rms_norm(x + delta) for up to four W, each of which has blocks of its own. The norm's scale is a factor of the
// products: so the block meets once, for the sum of squares and the column at a time. WARP_ROOM: bytes of shared memory of
// a warp for rows on their way.

// The rows of a block's matrix that it shares with other blocks.
struct Job {
    const u8* w;
    i64 nb_w;
    int rows, block, blocks;
    u8* y;
    i64 nb_y;
};

DEVICE constexpr int most(int a, int b) {
    return a > b ? a : b;
}

template <int TYPE> DEVICE constexpr int room() {
    return (int)sizeof(typename WaysOf<TYPE, PIECES>::Vector);
}

// What belongs to matrix `number`, of four.
template <class T> DEVICE T pick(int number, T a, T b, T c, T d) {
    return number == 1 ? a : number == 2 ? b : number == 3 ? c : d;
}

// `weighed(elements)` gives the row times the norm's weights once it may be read, `scale()` the norm's factor after the next
// barrier.
template <int TYPE, class Weighed, class Scale>
DEVICE void multiply(const Job& job, u8* memory, u8* rooms, Weighed weighed, Scale scale) {
    using Ways = WaysOf<TYPE, PIECES>;
    using Vector = typename Ways::Vector;
    Vector& column = *(Vector*)memory;
    int warp = job.block * WARPS + threadIdx.x / 32, begin;
    // Rows of plain types are long, and few.
    ProductOf<Ways, (TYPE <= BF16 ? 1 : TOGETHER), WARP_ROOM> product;
    Stripe stripe(job.w, job.nb_w, job.rows, warp, job.blocks * WARPS, product.STEP, begin);
    product.start(stripe, rooms);
    Elements<PIECES, WARPS> row;
    weighed(row);
    Ways::put(row, column);
    __syncthreads();
    float factor = scale();
    product.run(stripe, column, [&](int r, float v) { *(float*)(job.y + (begin + r) * job.nb_y) = factor * v; });
}

KERNEL __launch_bounds__(32 * WARPS, BESIDE) norm_mul_mat(Tensor x, Tensor delta, Tensor norm, Tensor sum, Tensor w1, Tensor w2, Tensor w3, Tensor w4, Tensor y1, Tensor y2, Tensor y3, Tensor y4, float eps) {
    constexpr int LARGEST = most(most(room<TYPE1>(), room<TYPE2>()), most(room<TYPE3>(), room<TYPE4>()));
    extern __shared__ uint4 rooms[];
    __shared__ __align__(16) u8 memory[LARGEST];
    __shared__ float shared[WARPS];
    int b = blockIdx.x;
    int number = b < END1 ? 1 : b < END2 ? 2 : b < END3 ? 3 : 4;
    Row r = row_index(x, blockIdx.y);
    Job job;
    job.w = pick(number, w1.p, w2.p, w3.p, w4.p);
    job.nb_w = pick(number, w1.nb[1], w2.nb[1], w3.nb[1], w4.nb[1]);
    job.rows = pick(number, w1.ne[1], w2.ne[1], w3.ne[1], w4.ne[1]);
    job.block = b - pick(number, 0, END1, END2, END3);
    job.blocks = pick(number, END1, END2 - END1, END3 - END2, END4 - END3);
    job.y = pick(number, row_at(y1, r), row_at(y2, r), row_at(y3, r), row_at(y4, r));
    job.nb_y = pick(number, y1.nb[0], y2.nb[0], y3.nb[0], y4.nb[0]);
    auto weighed = [&](Elements<PIECES, WARPS>& row) {
        Elements<PIECES, WARPS> w;
        w.load(norm.p, norm.nb[0]);
        in_turn();
        row.load(row_at(x, r), x.nb[0]);
        if constexpr (RESIDUAL) {
            row.add(row_at(delta, r), delta.nb[0]);
            if (b == 0) row.store(row_at(sum, r), sum.nb[0]);
        }
        float squares = row.squares();
        row.times(w);
        if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = squares;
    };
    auto scale = [&] {
        float squares = 0.0f;
#pragma unroll
        for (int i = 0; i < WARPS; ++i) squares += shared[i];
        return rsqrtf(squares / (PIECES * 32) + eps);
    };
    int type = pick<int>(number, TYPE1, TYPE2, TYPE3, TYPE4);
    if (type == TYPE1) multiply<TYPE1>(job, memory, (u8*)rooms, weighed, scale);
    if constexpr (TYPE2 != TYPE1) {
        if (type == TYPE2) multiply<TYPE2>(job, memory, (u8*)rooms, weighed, scale);
    }
    if constexpr (TYPE3 != TYPE1 && TYPE3 != TYPE2) {
        if (type == TYPE3) multiply<TYPE3>(job, memory, (u8*)rooms, weighed, scale);
    }
    if constexpr (TYPE4 != TYPE1 && TYPE4 != TYPE2 && TYPE4 != TYPE3) {
        if (type == TYPE4) multiply<TYPE4>(job, memory, (u8*)rooms, weighed, scale);
    }
}
