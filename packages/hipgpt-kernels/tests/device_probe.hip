/*
Kernels that do nothing but call device.h, for test_device.py.

Each is launched with one block of 128 threads: four waves of 32, or two of 64.
*/

#include "device.h"

constexpr int THREADS = 128;

// Every reduction of x: (128,) -> out: (9, 128), one row a reduction.
KERNEL(THREADS) void probe_reductions(const float* x, float* out) {
  const int i = thread_index();
  const float value = x[i];
  out[0 * THREADS + i] = wave_sum<16>(value);
  out[1 * THREADS + i] = wave_max<32>(value);
  out[2 * THREADS + i] = wave_min<4>(value);
  out[3 * THREADS + i] = block_sum<THREADS>(value);
  out[4 * THREADS + i] = block_max<THREADS>(value);
  out[5 * THREADS + i] = block_min<THREADS>(value);
  out[6 * THREADS + i] = static_cast<float>(block_sum<THREADS>(static_cast<double>(value)));
  out[7 * THREADS + i] = static_cast<float>(block_max<THREADS>(i * 37 % THREADS));
  out[8 * THREADS + i] = wave_any(i == 5) ? 1.0f : 0.0f;
}

// out: (4, 128): the lane 5 places on, the partner under a mask of 3 (as 8 bytes), WAVE, lane().
KERNEL(THREADS) void probe_shuffles(const float* x, float* out) {
  const int i = thread_index();
  out[0 * THREADS + i] = shuffle(x[i], (lane() + 5) % WAVE);
  out[1 * THREADS + i] = static_cast<float>(shuffle_xor(static_cast<double>(x[i]), 3));
  out[2 * THREADS + i] = WAVE;
  out[3 * THREADS + i] = lane() + 1000 * wave_index();
}

// x: (n,) -> out: (11, n), one row a function; n a multiple of nothing.
KERNEL(THREADS) void probe_functions(const float* x, float* out, i64 n) {
  for (i64 i = thread_index(); i < n; i += THREADS) {
    const float v = x[i];
    out[0 * n + i] = expf(v);
    out[1 * n + i] = logf(fabsf(v));
    out[2 * n + i] = sqrtf(fabsf(v));
    out[3 * n + i] = tanhf(v);
    out[4 * n + i] = fast_exp2(v);
    out[5 * n + i] = fast_log2(fabsf(v));
    out[6 * n + i] = fast_rsqrt(fabsf(v));
    out[7 * n + i] = fast_rcp(v);
    out[8 * n + i] = fmaf(v, v, 1.0f);
    out[9 * n + i] = fmaxf(v, 0.25f);
    out[10 * n + i] = fminf(v, 0.25f);
  }
}

// out: (4, n) of 16 bits: f32 -> bf16 and f16, one by one and packed in pairs; n is even.
KERNEL(THREADS) void probe_conversions(const float* x, u16* out, i64 n) {
  for (i64 i = 2 * thread_index(); i < n; i += 2 * THREADS) {
    for (int j = 0; j < 2; j++) {
      out[0 * n + i + j] = from_float<bf16>(x[i + j]).bits;
      out[1 * n + i + j] = from_float<f16>(x[i + j]).bits;
    }
    *reinterpret_cast<u32*>(out + 2 * n + i) = pack_bf16(x[i], x[i + 1]);
    *reinterpret_cast<u32*>(out + 3 * n + i) = pack_f16(x[i], x[i + 1]);
  }
}

// Every 16-bit pattern as bf16 and as f16: out: (2, 65536) float.
KERNEL(THREADS) void probe_widening(float* out) {
  for (int i = thread_index(); i < 65536; i += THREADS) {
    out[i] = to_float(bf16{static_cast<u16>(i)});
    out[65536 + i] = to_float(f16{static_cast<u16>(i)});
  }
}

// Memory in packs of every width, backwards within a pack, through dynamic LDS and both barriers.
template <int N>
DEVICE void reverse_packs(const float* x, float* out, unsigned char* shared) {
  float* tile = reinterpret_cast<float*>(shared);
  const int i = thread_index() * N;
  store<N>(tile + i, load_once<N>(x + i));
  barrier();
  const int j = (THREADS - 1 - thread_index()) * N;
  Pack<float, N> pack = load<N>(tile + j);
  Pack<float, N> turned;
  for (int k = 0; k < N; k++) turned[k] = pack[N - 1 - k];
  store_once<N>(out + i, turned);
  local_barrier();
}

// x: (512,) -> out: (3, 512): reversed in packs of 1, 2 and 4; LDS: 2048 bytes, given at the launch.
KERNEL(THREADS) void probe_packs(const float* x, float* out) {
  DYNAMIC_SHARED(shared);
  reverse_packs<1>(x, out, shared);
  reverse_packs<2>(x, out + 512, shared);
  reverse_packs<4>(x, out + 1024, shared);
}
