// What every kernel sees: strided tensors, conversions, sums over warps and blocks. No header of the toolkit is needed.

typedef signed char i8;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

#define DEVICE __device__ __forceinline__
#define KERNEL extern "C" __global__ void
#define FULL 0xffffffffu

// The tensor types, numbered as the macros that kernels are given.
enum Type {
    F32, F16, BF16, I32, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, Q8_K, Q8_A
};

// A strided view: shape in elements, strides in bytes.
struct Tensor {
    u8* p;
    int ne[4];
    i64 nb[4];
};

struct Row {
    int i1, i2, i3;
};

// Splits a row number into its indices.
DEVICE Row row_index(const Tensor& t, int row) {
    int rest = row / t.ne[1];
    return {row % t.ne[1], rest % t.ne[2], rest / t.ne[2]};
}

DEVICE u8* row_at(const Tensor& t, int i1, int i2, int i3) {
    return t.p + i1 * t.nb[1] + i2 * t.nb[2] + i3 * t.nb[3];
}

DEVICE u8* row_at(const Tensor& t, Row r) {
    return row_at(t, r.i1, r.i2, r.i3);
}

DEVICE float& f32_at(u8* row, const Tensor& t, int i0) {
    return *(float*)(row + i0 * t.nb[0]);
}

DEVICE int& i32_at(const Tensor& t, int i0, int i1) {
    return *(int*)(t.p + i0 * t.nb[0] + i1 * t.nb[1]);
}

DEVICE float half_to_float(u16 h) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}

DEVICE u16 float_to_half(float f) {
    u16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
}

DEVICE float bf16_to_float(u16 b) {
    return __uint_as_float((u32)b << 16);
}

// An element of a plain float type.
template <int TYPE> DEVICE float element(const u8* p) {
    if constexpr (TYPE == F32) return *(const float*)p;
    else if constexpr (TYPE == F16) return half_to_float(*(const u16*)p);
    else return bf16_to_float(*(const u16*)p);
}

DEVICE float silu(float x) {
    return x / (1.0f + expf(-x));
}

// A kernel is started while the one before it on the stream still runs, on devices that can do so (9.0 and up). Before it
// reads what an earlier kernel wrote, and before it writes anything, it waits until the one before is complete. Only then
// does it let the next one start: so whatever is older than the kernel before is complete when a kernel starts, and what
// may come before the wait is a look at constants and at what the kernel before does not write.
DEVICE void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" : : : "memory");
#endif
}

DEVICE void let_next_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" : : : "memory");
#endif
}

// Every thread of every kernel calls this, or both of its parts, before it returns.
DEVICE void in_turn() {
    wait_for_inputs();
    let_next_start();
}

// Sums over WIDTH neighbouring lanes, in a fixed order; every lane gets the sum.
template <int WIDTH = 32> DEVICE float warp_sum(float v) {
#pragma unroll
    for (int d = WIDTH / 2; d > 0; d /= 2) v += __shfl_xor_sync(FULL, v, d);
    return v;
}

// Sums N values over OVER neighbouring lanes, halving what a lane has left at each step: N shuffles, not N times as many as
// one sum takes. Of more values than lanes, lane l is left with the N / OVER sums from number l N / OVER on; of fewer,
// with number l N / OVER.
template <int N, int OVER = 32> DEVICE void lane_sums(float* v) {
    if constexpr (OVER > 1) {
        constexpr int left = N > 1 ? N / 2 : 1, d = OVER / 2;
        if constexpr (N == 1) {
            v[0] += __shfl_xor_sync(FULL, v[0], d);
        } else {
            bool upper = threadIdx.x & d;
#pragma unroll
            for (int i = 0; i < left; ++i) {
                float keep = upper ? v[i + left] : v[i], give = upper ? v[i] : v[i + left];
                v[i] = keep + __shfl_xor_sync(FULL, give, d);
            }
        }
        lane_sums<left, d>(v);
    }
}

// Sums over a block of whole warps; every thread gets the sum. `shared` has 32 floats; it may be used again after the
// next barrier.
DEVICE float block_sum(float v, float* shared) {
    int warp = threadIdx.x / 32, warps = (blockDim.x + 31) / 32;
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0) shared[warp] = v;
    __syncthreads();
    float sum = 0.0f;
    for (int w = 0; w < warps; ++w) sum += shared[w];
    return sum;
}
