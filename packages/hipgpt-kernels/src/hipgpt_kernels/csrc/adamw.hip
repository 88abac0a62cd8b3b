/*
AdamW over flat float32 buffers (Loshchilov and Hutter 2019, algorithm 2), and the gradient norm.

The odd thing: what changes from step to step (learning rate, step, norm) may be read from the
device, so that a captured graph stays valid; thread 0 of each block then works out the update's
factors in double, where 1 − β₂ᵗ keeps its digits, and the block shares them.
*/

#include "overlap.h"
#include "parts.h"

constexpr int THREADS = 256;
constexpr int N = 4;                     // floats that move as one
constexpr double CLIP_EPSILON = 1e-6;    // added to the norm before dividing, as is usual

// partials[block] = Σ g² of the block's share. Squares of float32 are exact in double and cannot
// overflow there. grid: blocks, any fixed number.
KERNEL(THREADS)
void gradient_norm_partials(const float* gradients,  // (n,)
                            double* partials,        // (blocks,)
                            i64 n, int blocks) {
  take_turn();
  constexpr int UNROLL = 4;  // loads under way at once
  const i64 threads = static_cast<i64>(blocks) * THREADS;
  const i64 mine = static_cast<i64>(block_index()) * THREADS + thread_index();
  // Up to the first 16-byte boundary and after the last, one thread an element.
  const i64 misaligned = static_cast<i64>(reinterpret_cast<u64>(gradients) % 16 / sizeof(float));
  const i64 head = minimum(misaligned == 0 ? i64{0} : N - misaligned, n);
  const i64 packs = (n - head) / N;
  const float* body = gradients + head;
  double total = 0.0;
  i64 k = mine;
  for (; k + (UNROLL - 1) * threads < packs; k += UNROLL * threads) {
    Pack<float, N> g[UNROLL];
#pragma unroll
    for (int u = 0; u < UNROLL; u++) g[u] = load<N>(body + (k + u * threads) * N);
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
#pragma unroll
      for (int i = 0; i < N; i++) total += static_cast<double>(g[u][i]) * g[u][i];
    }
  }
  for (; k < packs; k += threads) {
    const auto g = load<N>(body + k * N);
#pragma unroll
    for (int i = 0; i < N; i++) total += static_cast<double>(g[i]) * g[i];
  }
  const i64 loose = mine < head ? mine : mine + packs * N;
  if (loose < n) total += static_cast<double>(gradients[loose]) * gradients[loose];
  total = block_sum<THREADS>(total);
  if (thread_index() == 0) partials[block_index()] = total;
}

// norm[0] = √Σ partials, ∞ where float32 ends. grid: 1.
KERNEL(THREADS) void gradient_norm_combine(const double* partials, float* norm, int blocks) {
  take_turn();
  double total = 0.0;
  for (int i = thread_index(); i < blocks; i += THREADS) total += partials[i];
  total = block_sum<THREADS>(total);
  if (thread_index() == 0) norm[0] = static_cast<float>(__builtin_sqrt(total));
}

// What one update multiplies with, the same for every element.
struct Factors {
  float scale;      // of the gradient: clipping
  float step_size;  // of m, with both bias corrections: lr · √(1 − β₂ᵗ) / (1 − β₁ᵗ)
  float small;      // added to √v, likewise corrected: ε · √(1 − β₂ᵗ)
  float keep;       // of a weight that decays: 1 − lr · weight_decay
  float beta1, beta2, rest1, rest2;  // β and 1 − β, each rounded by itself
  int skip;         // 1 where nothing may change
};

DEVICE double power(double base, i64 exponent) {
  double result = 1.0;
  for (; exponent > 0; exponent >>= 1, base *= base) {
    if (exponent & 1) result *= base;
  }
  return result;
}

DEVICE Factors factors(double learning_rate, double beta1, double beta2, double epsilon,
                       double weight_decay, i64 step, const float* norm, double max_norm,
                       const double* factor) {
  Factors use{};
  double scale = 1.0;
  if (factor != nullptr) {
    scale = *factor;
    use.skip = scale != scale;
  }
  if (norm != nullptr) {
    const float size = *norm;
    use.skip = !(fabsf(size) <= 3.402823466e38f);  // ∞ or a NaN
    if (max_norm > 0.0) {
      const double wanted = max_norm / (static_cast<double>(size) + CLIP_EPSILON);
      scale = wanted < 1.0 ? wanted : 1.0;
    }
  }
  const double root2 = __builtin_sqrt(1.0 - power(beta2, step));
  use.scale = static_cast<float>(scale);
  use.step_size = static_cast<float>(learning_rate * root2 / (1.0 - power(beta1, step)));
  use.small = static_cast<float>(epsilon * root2);
  use.keep = static_cast<float>(1.0 - learning_rate * weight_decay);
  use.beta1 = static_cast<float>(beta1);
  use.beta2 = static_cast<float>(beta2);
  use.rest1 = static_cast<float>(1.0 - beta1);
  use.rest2 = static_cast<float>(1.0 - beta2);
  return use;
}

// One element; the gradient is scaled before it is squared, so that a huge one cannot overflow.
DEVICE void update(float& weight, float gradient, float& m, float& v, bool decays,
                   const Factors& use) {
  const float g = gradient * use.scale;
  m = use.beta1 * m + use.rest1 * g;
  v = use.beta2 * v + use.rest2 * g * g;
  weight = (decays ? use.keep : 1.0f) * weight - use.step_size * m / (sqrtf(v) + use.small);
}

struct None {};  // no low-precision copy

// Blocks take packs of 4 in turns, so the factors are paid once for many. grid: blocks.
template <typename T>
DEVICE void adamw(float* weights,          // (n,), updated
                  float* gradients,        // (n,), zeroed where wanted
                  float* m,                // (n,), updated
                  float* v,                // (n,), updated
                  T* low,                  // (n,), written with the new weights; None: not there
                  i64 n,
                  i64 decayed,  // the first so many weights decay
                  int blocks, int zero, double beta1, double beta2, double epsilon,
                  double weight_decay, double max_norm,
                  const float* norm,     // () or null
                  const double* factor,  // () or null: of the gradient; a NaN skips the update
                  double learning_rate,
                  const double* learning_rate_pointer,  // read instead of the value where not null
                  i64 step, const i64* step_pointer) {
  constexpr bool LOW = sizeof(T) == 2;
  SHARED Factors shared;
  if (thread_index() == 0) {
    if (learning_rate_pointer != nullptr) learning_rate = *learning_rate_pointer;
    if (step_pointer != nullptr) step = *step_pointer;
    shared =
        factors(learning_rate, beta1, beta2, epsilon, weight_decay, step, norm, max_norm, factor);
  }
  local_barrier();
  const Factors use = shared;
  if (use.skip && !zero) return;
  bool vector = aligned(weights) && aligned(gradients) && aligned(m) && aligned(v);
  if constexpr (LOW) vector = vector && aligned(low, 8);
  const i64 packs = vector ? n / N : 0;
  const i64 threads = static_cast<i64>(blocks) * THREADS;
  const i64 mine = static_cast<i64>(block_index()) * THREADS + thread_index();
  if (use.skip) {
    for (i64 k = mine; k < packs; k += threads) store_once(gradients + k * N, Pack<float, N>{});
    for (i64 i = packs * N + mine; i < n; i += threads) gradients[i] = 0.0f;
    return;
  }
  for (i64 k = mine; k < packs; k += threads) {
    auto weight = load_once<N>(weights + k * N);
    const auto gradient = load_once<N>(gradients + k * N);
    auto first = load_once<N>(m + k * N);
    auto second = load_once<N>(v + k * N);
#pragma unroll
    for (int i = 0; i < N; i++) {
      update(weight[i], gradient[i], first[i], second[i], k * N + i < decayed, use);
    }
    store_once(weights + k * N, weight);
    store_once(m + k * N, first);
    store_once(v + k * N, second);
    if (zero) store_once(gradients + k * N, Pack<float, N>{});
    if constexpr (LOW) store(low + k * N, from_float<T>(weight));
  }
  for (i64 i = packs * N + mine; i < n; i += threads) {  // a tail, or all where it is not aligned
    float weight = weights[i], first = m[i], second = v[i];
    update(weight, gradients[i], first, second, i < decayed, use);
    weights[i] = weight;
    m[i] = first;
    v[i] = second;
    if (zero) gradients[i] = 0.0f;
    if constexpr (LOW) low[i] = from_float<T>(weight);
  }
}

#define INSTANTIATE(NAME, T)                                                                     \
  KERNEL(THREADS)                                                                                \
  void NAME(float* weights, float* gradients, float* m, float* v, T* low, i64 n, i64 decayed,    \
            int blocks, int zero, double beta1, double beta2, double epsilon,                    \
            double weight_decay, double max_norm, const float* norm, const double* factor,       \
            double learning_rate, const double* learning_rate_pointer, i64 step,                 \
            const i64* step_pointer) {                                                           \
    take_turn();                                                                                 \
    adamw(weights, gradients, m, v, low, n, decayed, blocks, zero, beta1, beta2, epsilon,        \
          weight_decay, max_norm, norm, factor, learning_rate, learning_rate_pointer, step,      \
          step_pointer);                                                                         \
  }
INSTANTIATE(adamw_step, None)
INSTANTIATE(adamw_step_bf16, bf16)
INSTANTIATE(adamw_step_f16, f16)
