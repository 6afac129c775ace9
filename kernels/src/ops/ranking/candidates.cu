// The K first elements of rows, in two launches.

// A block a slice of SLICE elements: its K first, in order, into `firsts`. Slices that end with the row are filled up with
// keys that come after all others.
KERNEL candidates_of_slices(Tensor x, u64* firsts, int slices) {
    in_turn();
    __shared__ u64 keys[SLICE];
    int slice = blockIdx.x % slices, row = blockIdx.x / slices;
    u8* from = row_at(x, row_index(x, row));
    u64 best = ~0ull;
    for (int n = threadIdx.x; n < SLICE; n += blockDim.x) {
        int i = slice * SLICE + n;
        u64 key = i < x.ne[0] ? rank_key(f32_at(from, x, i), i) : ~0ull;
        if constexpr (K == 1) best = least(best, key);
        else keys[n] = key;
    }
    u64* to = firsts + (i64)blockIdx.x * K;
    if constexpr (K == 1) {
#pragma unroll
        for (int d = 16; d > 0; d /= 2) best = least(best, __shfl_xor_sync(FULL, best, d));
        if (threadIdx.x % 32 == 0) keys[threadIdx.x / 32] = best;
        __syncthreads();
        if (threadIdx.x > 0) return;
        for (int w = 1; w < blockDim.x / 32; ++w) best = least(best, keys[w]);
        *to = best;
    } else {
        sort<SLICE>(keys);
        for (int k = threadIdx.x; k < K; k += blockDim.x) to[k] = keys[k];
    }
}

// A warp a key of a slice: its rank is the number of keys before it in all slices, whose K are in order.
KERNEL candidates_by_rank(Tensor x, Tensor ids, Tensor values, const u64* firsts, int slices) {
    in_turn();
    int lane = threadIdx.x % 32, n = (blockIdx.x * blockDim.x + threadIdx.x) / 32, row = blockIdx.y;
    if (n >= slices * K) return;
    const u64* all = firsts + (i64)row * slices * K;
    u64 key = all[n];
    int rank = 0;
    for (int first = 0; first < slices && rank < K; first += 32) {
        int low = 0;
        if (first + lane < slices) {
            const u64* keys = all + (first + lane) * K;
            int high = K;
            while (low < high) {
                int middle = (low + high) / 2;
                if (keys[middle] < key) low = middle + 1;
                else high = middle;
            }
        }
#pragma unroll
        for (int d = 16; d > 0; d /= 2) low += __shfl_xor_sync(FULL, low, d);
        rank += low;
    }
    if (rank >= K || lane > 0) return;
    Row r = row_index(x, row);
    int i = (int)(u32)key;
    *(int*)(row_at(ids, r) + rank * ids.nb[0]) = i;
    f32_at(row_at(values, r), values, rank) = f32_at(row_at(x, r), x, i);
}
