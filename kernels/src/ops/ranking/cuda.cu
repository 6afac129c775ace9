// Indices by rank, a block a row.

#ifdef PADDED
// All of a row, in shared memory.
KERNEL argsort(Tensor x, Tensor y) {
    in_turn();
    __shared__ u64 keys[PADDED];
    Row r = row_index(x, blockIdx.x);
    u8 *from = row_at(x, r), *to = row_at(y, r);
    for (int i = threadIdx.x; i < PADDED; i += blockDim.x) keys[i] = i < x.ne[0] ? rank_key(f32_at(from, x, i), i) : ~0ull;
    sort<PADDED>(keys);
    for (int i = threadIdx.x; i < x.ne[0]; i += blockDim.x) *(int*)(to + i * y.nb[0]) = (int)(u32)keys[i];
}
#else
// As many rounds as are wanted: the first of those that come after the last one found.
KERNEL top_k(Tensor x, Tensor y) {
    in_turn();
    __shared__ u64 first[32];
    Row r = row_index(x, blockIdx.x);
    u8 *from = row_at(x, r), *to = row_at(y, r);
    u64 last = 0;
    for (int k = 0; k < y.ne[0]; ++k) {
        u64 best = ~0ull;
        for (int i = threadIdx.x; i < x.ne[0]; i += blockDim.x) {
            u64 key = rank_key(f32_at(from, x, i), i);
            if (k == 0 || key > last) best = least(best, key);
        }
#pragma unroll
        for (int d = 16; d > 0; d /= 2) best = least(best, __shfl_xor_sync(FULL, best, d));
        if (threadIdx.x % 32 == 0) first[threadIdx.x / 32] = best;
        __syncthreads();
        for (int w = 0; w < blockDim.x / 32; ++w) best = least(best, first[w]);
        // Before the next round's are put there.
        __syncthreads();
        last = best;
        if (threadIdx.x == 0) *(int*)(to + k * y.nb[0]) = (int)(u32)best;
    }
}
#endif
