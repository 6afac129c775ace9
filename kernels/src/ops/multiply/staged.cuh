// Products of one column with rows that are read once, at the memory's speed. The column is put into shared memory first,
// chunk by chunk where 16 bytes a lane meet all banks, and each chunk that a lane takes from there serves several rows:
// read from global memory for every row, it would be the first level of cache that limits.

// Chunks of a column.
template <int TYPE, int CHUNKS> struct Column {
    static constexpr bool MINS = TYPE == Q4_1 || TYPE == Q5_1 || TYPE == Q4_K || TYPE == Q5_K || TYPE == Q2_K;
    uint4 q[2][CHUNKS];
    float d[CHUNKS], sum[MINS ? 2 : 1][MINS ? CHUNKS : 1];

    // Chunk c of the column's row becomes chunk `at`.
    DEVICE void put(int at, const u8* row, int c) {
        Activations a;
        activations<TYPE>(row, c, a);
        q[0][at] = make_uint4(a.q[0], a.q[1], a.q[2], a.q[3]);
        q[1][at] = make_uint4(a.q[4], a.q[5], a.q[6], a.q[7]);
        d[at] = a.d;
        if constexpr (MINS) sum[0][at] = a.sum[0], sum[1][at] = a.sum[1];
    }

    DEVICE void get(int at, Activations& a) const {
        uint4 lo = q[0][at], hi = q[1][at];
        a.q[0] = lo.x, a.q[1] = lo.y, a.q[2] = lo.z, a.q[3] = lo.w;
        a.q[4] = hi.x, a.q[5] = hi.y, a.q[6] = hi.z, a.q[7] = hi.w;
        a.d = d[at];
        a.sum[0] = MINS ? sum[0][MINS ? at : 0] : 0.0f;
        a.sum[1] = MINS ? sum[MINS ? 1 : 0][MINS ? at : 0] : 0.0f;
    }
};

// Asks for a row before it is needed: what follows waits for the column, and not for both.
DEVICE void prefetch(const u8* p) {
    asm volatile("prefetch.global.L2 [%0];" : : "l"(p));
}

template <int TYPE> DEVICE void prefetch_row(const u8* row, int n, int lane, int lanes) {
    for (int at = lane * 128; at < n / Block<TYPE>::LEN * Block<TYPE>::BYTES; at += lanes * 128) prefetch(row + at);
}

// Chunk c of a row.
template <int TYPE> DEVICE void decode_at(const u8* row, int c, Chunk& chunk) {
    constexpr int PER = Block<TYPE>::CHUNKS;
    decode<TYPE>(row + (c / PER) * Block<TYPE>::BYTES, c % PER, chunk);
}
