// Softmax attention over a cache, split over stretches of cells. A warp has a query head; a lane has PER neighbouring
// elements of it, and the running maximum and sum are the warp's. Stretches are merged in their order by a second
// kernel.

// PER elements of a row, zero beyond the head.
template <int TYPE> DEVICE void load(const u8* row, i64 nb, int lane, bool packed, float* v) {
    if constexpr (TYPE == F16 && PER == 8 && PER * 32 == HEAD) {
        if (packed) {
            uint4 w = *(const uint4*)(row + lane * 16);
            u32 words[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
            for (int j = 0; j < 8; ++j) v[j] = half_to_float((u16)(words[j / 2] >> (16 * (j % 2))));
            return;
        }
    }
#pragma unroll
    for (int j = 0; j < PER; ++j) {
        int i = lane * PER + j;
        v[j] = i < HEAD ? element<TYPE>(row + i * nb) : 0.0f;
    }
}

DEVICE bool packed(const Tensor& t, const u8* p, int size) {
    return t.nb[0] == size && ((u64)p | (u64)t.nb[1]) % 16 == 0;
}

// One warp: query head h of token t of sequence s, cells `first .. last`.
KERNEL attention(Tensor q, Tensor k, Tensor v, Tensor pos, Tensor y, float* partial, float scale, int stretch, int splits) {
    in_turn();
    int lane = threadIdx.x % 32, h = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32;
    int split = blockIdx.x, t = blockIdx.z % q.ne[2], s = blockIdx.z / q.ne[2];
    if (h >= q.ne[1]) return;
    int seen = min(max(i32_at(pos, t, s), -1), k.ne[1] - 1) + 1;
    int first = split * stretch, last = min(seen, first + stretch);
    int kv = h / (q.ne[1] / k.ne[2]);
    const u8 *keys = row_at(k, 0, kv, s), *values = row_at(v, 0, kv, s);
    bool k_packed = packed(k, keys, 2), v_packed = packed(v, values, 2);
    float query[PER], sum[PER];
    load<F32>(row_at(q, h, t, s), q.nb[0], lane, false, query);
#pragma unroll
    for (int j = 0; j < PER; ++j) query[j] *= scale, sum[j] = 0.0f;
    float largest = -__int_as_float(0x7f800000), total = 0.0f;
    for (int cell = first; cell < last; cell += CELLS) {
        float logit[CELLS], top = largest;
#pragma unroll
        for (int c = 0; c < CELLS; ++c) {
            float key[PER], part = 0.0f;
            load<KEY>(keys + min(cell + c, last - 1) * k.nb[1], k.nb[0], lane, k_packed, key);
#pragma unroll
            for (int j = 0; j < PER; ++j) part = fmaf(query[j], key[j], part);
            logit[c] = part;
        }
#pragma unroll
        for (int c = 0; c < CELLS; ++c) {
            logit[c] = warp_sum(logit[c]);
            if (cell + c < last) top = fmaxf(top, logit[c]);
        }
        float fade = expf(largest - top);
        largest = top;
        total *= fade;
#pragma unroll
        for (int j = 0; j < PER; ++j) sum[j] *= fade;
#pragma unroll
        for (int c = 0; c < CELLS; ++c) {
            if (cell + c < last) {
                float p = expf(logit[c] - top), value[PER];
                load<VALUE>(values + (cell + c) * v.nb[1], v.nb[0], lane, v_packed, value);
                total += p;
#pragma unroll
                for (int j = 0; j < PER; ++j) sum[j] = fmaf(p, value[j], sum[j]);
            }
        }
    }
    if (splits == 1) {
        u8* row = row_at(y, h, t, s);
        float inverse = total > 0.0f ? 1.0f / total : 0.0f;
#pragma unroll
        for (int j = 0; j < PER; ++j) {
            if (lane * PER + j < HEAD) f32_at(row, y, lane * PER + j) = sum[j] * inverse;
        }
        return;
    }
    float* to = partial + ((i64)(blockIdx.z * q.ne[1] + h) * splits + split) * (HEAD + 2);
    if (lane == 0) to[0] = largest, to[1] = total;
#pragma unroll
    for (int j = 0; j < PER; ++j) {
        if (lane * PER + j < HEAD) to[2 + lane * PER + j] = sum[j];
    }
}

// A block a query head and token: a thread an element.
KERNEL attention_merge(Tensor y, const float* partial, int splits) {
    in_turn();
    Row r = row_index(y, blockIdx.x);
    const float* from = partial + (i64)blockIdx.x * splits * (HEAD + 2);
    float largest = -__int_as_float(0x7f800000), total = 0.0f;
    for (int n = 0; n < splits; ++n) {
        if (from[n * (HEAD + 2) + 1] > 0.0f) largest = fmaxf(largest, from[n * (HEAD + 2)]);
    }
    for (int i = threadIdx.x; i < HEAD; i += blockDim.x) {
        float sum = 0.0f;
        total = 0.0f;
        for (int n = 0; n < splits; ++n) {
            const float* part = from + n * (HEAD + 2);
            if (part[1] > 0.0f) {
                float fade = expf(part[0] - largest);
                total = fmaf(part[1], fade, total);
                sum = fmaf(part[2 + i], fade, sum);
            }
        }
        f32_at(row_at(y, r), y, i) = total > 0.0f ? sum / total : 0.0f;
    }
}
