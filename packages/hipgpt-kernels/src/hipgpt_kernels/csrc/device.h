/*
Everything that differs between the GPUs, so that no kernel has to know which one it is on.

Compiles for AMD with `clang -x hip -nogpuinc -nogpulib` and no header at all, with hiprtc, and for
NVIDIA with nvcc; -std=c++17. The odd thing: nothing reads the size of the block or of the grid.
AMD passes both as hidden arguments; here the block is a compile-time number (KERNEL takes it, the
reductions take it as THREADS) and whatever a kernel must know of its grid is an argument.

  kernels     KERNEL(threads) void name(...)         extern "C", exactly `threads` threads a block
              KERNEL_LIMIT(threads, waves, blocks)   and at least `waves` waves a SIMD (AMD), `blocks`
                                                     blocks a multiprocessor (NVIDIA)
              DEVICE float f(...)                    always inlined helper
              SHARED float tile[N];                  LDS / shared memory, size known here (<= 48 KB)
              DYNAMIC_SHARED(name)                   unsigned char name[], size known at the launch
              HIPGPT_AMD, HIPGPT_NVIDIA              which compiler this is: 1 or 0
  places      thread_index() 0 … threads − 1         block_index(), block_index_y(), block_index_z()
              lane() 0 … WAVE − 1                    wave_index() = thread_index() / WAVE
              WAVE                                   constexpr: 64 on gfx9 (CDNA), else 32
  waiting     barrier()                              the block; orders global and LDS accesses
              local_barrier()                        the block; orders LDS accesses alone, so that
                                                     loads from global memory stay under way
              wave_barrier()                         the wave; orders LDS accesses among its lanes
  shuffles    shuffle(x, source), shuffle_xor(x, m)  x of another lane; 4- and 8-byte types
              wave_any(predicate)                    true where it is true in some lane of the wave
  reductions  wave_sum, wave_max, wave_min<W>(x)     over groups of W lanes (default WAVE); all lanes
                                                     get the same bits
              block_sum, block_max, block_min<THREADS>(x)   over the block, in fixed order; all
                                                     threads must call; THREADS % WAVE == 0
  numbers     f32 = float, bf16, f16                 storage types: 16 bits in `.bits`, no arithmetic
              to_float(x), from_float<T>(x)          round to nearest even; NaN stays NaN
              pack_bf16(a, b), pack_f16(a, b)        two floats in 32 bits, a in the low half
              bit_cast<To>(x)                        same bits, other type of the same size
  memory      Pack<T, N>                             N values that move as one; .data[i] or [i]
              load<N>(p), store(p, pack)             one access of N · sizeof(T) = 2, 4, 8 or 16
                                                     bytes; p aligned to that
              load_once<N>(p), store_once(p, pack)   the same for data that is not used again soon
              PACK<T>                                N of a 16-byte pack: 4 f32, 8 bf16 or f16
              aligned(p), aligned(p, bytes)          is p a multiple of 16 (or `bytes`)?
              to_float(pack), from_float<T>(pack)    element by element
  arithmetic  fast_exp2, fast_log2, fast_rsqrt,      the hardware's instruction: about 1–2 ulp,
              fast_rcp                               subnormals may become 0
              expf, logf, sqrtf, tanhf, fmaf, fabsf, accurate, as in C
              fmaxf, fminf                           (a NaN argument gives the other one)
              minimum, maximum, ceil_div             any type
*/

#pragma once

#if defined(__CUDACC__) && !defined(__HIP__)
#define HIPGPT_NVIDIA 1
#define HIPGPT_AMD 0
#else
#define HIPGPT_NVIDIA 0
#define HIPGPT_AMD 1
#endif

#if HIPGPT_AMD

#ifndef __global__  // hiprtc brings these, plain clang does not
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#endif

// clang ignores __launch_bounds__ without HIP's headers, and then limits the registers to what
// 1024 threads could have; this attribute is what the header's macro stands for.
#define KERNEL(threads) \
  extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(threads, threads)))
#define KERNEL_LIMIT(threads, waves, blocks)                                           \
  extern "C" __global__ __attribute__((amdgpu_flat_work_group_size(threads, threads))) \
  __attribute__((amdgpu_waves_per_eu(waves)))
#define DEVICE static __device__ inline __attribute__((always_inline))

#else

#define KERNEL(threads) extern "C" __global__ __launch_bounds__(threads)
#define KERNEL_LIMIT(threads, waves, blocks) \
  extern "C" __global__ __launch_bounds__(threads, blocks)
#define DEVICE static __device__ __forceinline__

#endif

#define SHARED __shared__
#define DYNAMIC_SHARED(name) extern __shared__ unsigned char name[] __attribute__((aligned(1024)))

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

// Not __AMDGCN_WAVEFRONT_SIZE__ (gone from clang 20) and not warpSize (no constant since ROCm 7).
#if HIPGPT_AMD && defined(__GFX9__)
constexpr int WAVE = 64;
#else
constexpr int WAVE = 32;
#endif

// --- places ----------------------------------------------------------------------------------

#if HIPGPT_AMD

DEVICE int thread_index() { return static_cast<int>(__builtin_amdgcn_workitem_id_x()); }
DEVICE int block_index() { return static_cast<int>(__builtin_amdgcn_workgroup_id_x()); }
DEVICE int block_index_y() { return static_cast<int>(__builtin_amdgcn_workgroup_id_y()); }
DEVICE int block_index_z() { return static_cast<int>(__builtin_amdgcn_workgroup_id_z()); }

#else

DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
DEVICE int block_index() { return static_cast<int>(blockIdx.x); }
DEVICE int block_index_y() { return static_cast<int>(blockIdx.y); }
DEVICE int block_index_z() { return static_cast<int>(blockIdx.z); }

#endif

DEVICE int lane() { return thread_index() % WAVE; }
DEVICE int wave_index() { return thread_index() / WAVE; }

// --- waiting ---------------------------------------------------------------------------------

DEVICE void barrier() {
#if HIPGPT_AMD
  // s_barrier alone holds the waves but orders no memory: the fences make it __syncthreads.
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
#else
  __syncthreads();
#endif
}

// On RDNA barrier() also waits for every load under way and empties the first-level cache, since a
// block may run on two units with a cache each. That is a waste where only LDS is exchanged.
DEVICE void local_barrier() {
#if HIPGPT_AMD && __clang_major__ >= 20
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup", "local");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup", "local");
#else
  barrier();
#endif
}

DEVICE void wave_barrier() {
#if HIPGPT_AMD
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
  __builtin_amdgcn_wave_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
#else
  __syncwarp();
#endif
}

// --- bits ------------------------------------------------------------------------------------

template <typename To, typename From>
DEVICE To bit_cast(const From& value) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast: sizes differ");
  To result;
  __builtin_memcpy(&result, &value, sizeof(To));
  return result;
}

template <typename T>
DEVICE constexpr T minimum(T a, T b) {
  return b < a ? b : a;
}

template <typename T>
DEVICE constexpr T maximum(T a, T b) {
  return a < b ? b : a;
}

// The least q with q · b >= a, for a >= 0 and b > 0.
template <typename T>
DEVICE constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

// --- arithmetic ------------------------------------------------------------------------------

#if HIPGPT_AMD

DEVICE float fast_exp2(float x) { return __builtin_amdgcn_exp2f(x); }
DEVICE float fast_log2(float x) { return __builtin_amdgcn_logf(x); }  // v_log_f32 is to base 2
DEVICE float fast_rsqrt(float x) { return __builtin_amdgcn_rsqf(x); }
DEVICE float fast_rcp(float x) { return __builtin_amdgcn_rcpf(x); }

#ifndef __HIPCC_RTC__  // hiprtc declares C's functions itself
DEVICE float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEVICE float fabsf(float x) { return __builtin_fabsf(x); }
DEVICE float fmaxf(float a, float b) { return __builtin_fmaxf(a, b); }
DEVICE float fminf(float a, float b) { return __builtin_fminf(a, b); }
// The backend itself expands these three accurately; no device library is linked. But contracting
// the expansion's own operations adds a rounding error twice: 20 ulps in exp(−25). Hence the
// pragmas, which -ffp-contract=fast-honor-pragmas heeds and -ffp-contract=fast does not.
DEVICE float expf(float x) {
#pragma clang fp contract(off)
  return __builtin_expf(x);
}
DEVICE float logf(float x) {
#pragma clang fp contract(off)
  return __builtin_logf(x);
}
DEVICE float sqrtf(float x) {
#pragma clang fp contract(off)
  return __builtin_sqrtf(x);
}

// tanh(x) = sign(x) · (1 − 2 / (e^{2|x|} + 1)) loses digits near 0, where its series is used:
// x − x³/3 + 2x⁵/15 − 17x⁷/315 + 62x⁹/2835, whose next term is below 2⁻²⁶ of x for |x| < 0.2.
DEVICE float tanhf(float x) {
  const float magnitude = fabsf(x);
  const float square = x * x;
  float series = fmaf(square, 62.0f / 2835.0f, -17.0f / 315.0f);
  series = fmaf(square, series, 2.0f / 15.0f);
  series = fmaf(square, series, -1.0f / 3.0f);
  series = fmaf(square * x, series, x);
  const float large = 1.0f - 2.0f / (expf(2.0f * magnitude) + 1.0f);
  return magnitude < 0.2f ? series : __builtin_copysignf(large, x);
}
#endif

#else

DEVICE float fast_exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

DEVICE float fast_log2(float x) {
  float result;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

DEVICE float fast_rsqrt(float x) {
  float result;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

DEVICE float fast_rcp(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

#endif

// --- numbers ---------------------------------------------------------------------------------

using f32 = float;

struct bf16 {
  u16 bits;
};

struct f16 {
  u16 bits;
};

DEVICE float to_float(float x) { return x; }

DEVICE float to_float(bf16 x) { return bit_cast<float>(static_cast<u32>(x.bits) << 16); }

DEVICE float to_float(f16 x) {
#if HIPGPT_AMD
  return static_cast<float>(bit_cast<_Float16>(x.bits));
#else
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(x.bits));
  return result;
#endif
}

// The upper half of the bits, rounded to nearest even: adding 0x7fff, or 0x8000 above an odd half,
// carries into it exactly when it should. A NaN whose upper mantissa is all ones would carry into
// the sign, so it is made quiet instead.
DEVICE u32 bf16_bits(float x) {
#if HIPGPT_NVIDIA
  u16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(x));
  return result;
#elif defined(__gfx950__)
  return bit_cast<u16>(static_cast<__bf16>(x));  // one instruction on this one
#else
  const u32 bits = bit_cast<u32>(x);
  const u32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return x != x ? (bits >> 16) | 0x40u : rounded;
#endif
}

DEVICE u32 f16_bits(float x) {
#if HIPGPT_AMD
  return bit_cast<u16>(static_cast<_Float16>(x));
#else
  u16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result) : "f"(x));
  return result;
#endif
}

DEVICE u32 pack_bf16(float low, float high) {
#if HIPGPT_NVIDIA
  u32 result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
#else
  return bf16_bits(low) | bf16_bits(high) << 16;
#endif
}

DEVICE u32 pack_f16(float low, float high) {
#if HIPGPT_NVIDIA
  u32 result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
#else
  return f16_bits(low) | f16_bits(high) << 16;
#endif
}

template <typename T>
__device__ inline T from_float(float x);

template <>
__device__ inline float from_float<float>(float x) {
  return x;
}

template <>
__device__ inline bf16 from_float<bf16>(float x) {
  return bf16{static_cast<u16>(bf16_bits(x))};
}

template <>
__device__ inline f16 from_float<f16>(float x) {
  return f16{static_cast<u16>(f16_bits(x))};
}

// --- memory ----------------------------------------------------------------------------------

template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  static constexpr int size = N;
  T data[N];
  __device__ T& operator[](int i) { return data[i]; }
  __device__ const T& operator[](int i) const { return data[i]; }
};

template <typename T>
constexpr int PACK = 16 / static_cast<int>(sizeof(T));

// The type whose load is one instruction of that many bytes. A struct alone would do on AMD; nvcc
// splits one that holds 2-byte members.
template <int BYTES>
struct RawBytes;
template <>
struct RawBytes<2> {
  using type = u16;
};
template <>
struct RawBytes<4> {
  using type = u32;
};
#if HIPGPT_AMD
template <>
struct RawBytes<8> {
  typedef u32 type __attribute__((ext_vector_type(2)));
};
template <>
struct RawBytes<16> {
  typedef u32 type __attribute__((ext_vector_type(4)));
};
#else
template <>
struct RawBytes<8> {
  using type = uint2;
};
template <>
struct RawBytes<16> {
  using type = uint4;
};
#endif

template <int N, typename T>
DEVICE Pack<T, N> load(const T* source) {
  using Raw = typename RawBytes<sizeof(T) * N>::type;
  // Through a variable of its own: read in place, nvcc takes the pack apart byte by byte.
  const Raw raw = *reinterpret_cast<const Raw*>(source);
  return bit_cast<Pack<T, N>>(raw);
}

template <int N, typename T>
DEVICE void store(T* destination, const Pack<T, N>& pack) {
  using Raw = typename RawBytes<sizeof(T) * N>::type;
  *reinterpret_cast<Raw*>(destination) = bit_cast<Raw>(pack);
}

template <int N, typename T>
DEVICE Pack<T, N> load_once(const T* source) {
  using Raw = typename RawBytes<sizeof(T) * N>::type;
#if HIPGPT_AMD
  return bit_cast<Pack<T, N>>(__builtin_nontemporal_load(reinterpret_cast<const Raw*>(source)));
#else
  return bit_cast<Pack<T, N>>(__ldcs(reinterpret_cast<const Raw*>(source)));
#endif
}

template <int N, typename T>
DEVICE void store_once(T* destination, const Pack<T, N>& pack) {
  using Raw = typename RawBytes<sizeof(T) * N>::type;
#if HIPGPT_AMD
  __builtin_nontemporal_store(bit_cast<Raw>(pack), reinterpret_cast<Raw*>(destination));
#else
  __stcs(reinterpret_cast<Raw*>(destination), bit_cast<Raw>(pack));
#endif
}

DEVICE bool aligned(const void* pointer, int bytes = 16) {
  return (reinterpret_cast<u64>(pointer) & static_cast<u64>(bytes - 1)) == 0;
}

template <typename T, int N>
DEVICE Pack<float, N> to_float(const Pack<T, N>& pack) {
  Pack<float, N> result;
#pragma unroll
  for (int i = 0; i < N; i++) result[i] = to_float(pack[i]);
  return result;
}

template <typename T, int N>
DEVICE Pack<T, N> from_float(const Pack<float, N>& pack) {
  Pack<T, N> result;
#pragma unroll
  for (int i = 0; i < N; i++) result[i] = from_float<T>(pack[i]);
  return result;
}

// --- shuffles --------------------------------------------------------------------------------

template <typename T>
DEVICE T shuffle(T value, int source) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffle: 4- and 8-byte types only");
  if constexpr (sizeof(T) == 8) {
    Pack<u32, 2> halves = bit_cast<Pack<u32, 2>>(value);
    halves[0] = shuffle(halves[0], source);
    halves[1] = shuffle(halves[1], source);
    return bit_cast<T>(halves);
  } else {
#if HIPGPT_AMD
    // ds_bpermute takes the byte address 4 · lane; it needs no LDS and no wave size in its encoding.
    return bit_cast<T>(__builtin_amdgcn_ds_bpermute(source * 4, bit_cast<int>(value)));
#else
    return bit_cast<T>(__shfl_sync(0xffffffffu, bit_cast<int>(value), source));
#endif
  }
}

template <typename T>
DEVICE T shuffle_xor(T value, int mask) {
  return shuffle(value, lane() ^ mask);
}

DEVICE bool wave_any(bool predicate) {
#if HIPGPT_AMD
#if defined(__GFX9__)
  return __builtin_amdgcn_uicmpl(predicate ? 1u : 0u, 0u, 33) != 0;  // 33: "not equal"
#else
  return __builtin_amdgcn_ballot_w32(predicate) != 0;
#endif
#else
  return __any_sync(0xffffffffu, predicate);
#endif
}

// --- reductions ------------------------------------------------------------------------------

struct Sum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

struct Maximum {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return maximum(a, b);
  }
};

struct Minimum {
  __device__ float operator()(float a, float b) const { return fminf(a, b); }
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return minimum(a, b);
  }
};

// Butterfly: after the step with mask m every lane holds its group of 2m. Both partners combine the
// same two numbers, so all lanes agree to the bit.
template <int WIDTH, typename T, typename Operation>
DEVICE T wave_reduce(T value, Operation operation) {
  static_assert(WIDTH <= WAVE && (WIDTH & (WIDTH - 1)) == 0, "wave_reduce: a power of two, <= WAVE");
#pragma unroll
  for (int mask = WIDTH / 2; mask > 0; mask /= 2) {
    value = operation(value, shuffle_xor(value, mask));
  }
  return value;
}

template <int WIDTH = WAVE, typename T>
DEVICE T wave_sum(T value) {
  return wave_reduce<WIDTH>(value, Sum());
}

template <int WIDTH = WAVE, typename T>
DEVICE T wave_max(T value) {
  return wave_reduce<WIDTH>(value, Maximum());
}

template <int WIDTH = WAVE, typename T>
DEVICE T wave_min(T value) {
  return wave_reduce<WIDTH>(value, Minimum());
}

// First within the waves, then every thread combines the waves' results in their order. The barrier
// in front lets the function be called again while a slow wave still reads the last results.
template <int THREADS, typename T, typename Operation>
DEVICE T block_reduce(T value, Operation operation) {
  static_assert(THREADS % WAVE == 0, "block_reduce: whole waves only");
  constexpr int WAVES = THREADS / WAVE;
  value = wave_reduce<WAVE>(value, operation);
  if constexpr (WAVES > 1) {
    SHARED T partial[WAVES];
    local_barrier();
    if (lane() == 0) partial[wave_index()] = value;
    local_barrier();
    value = partial[0];
#pragma unroll
    for (int wave = 1; wave < WAVES; wave++) value = operation(value, partial[wave]);
  }
  return value;
}

template <int THREADS, typename T>
DEVICE T block_sum(T value) {
  return block_reduce<THREADS>(value, Sum());
}

template <int THREADS, typename T>
DEVICE T block_max(T value) {
  return block_reduce<THREADS>(value, Maximum());
}

template <int THREADS, typename T>
DEVICE T block_min(T value) {
  return block_reduce<THREADS>(value, Minimum());
}
