/*
GELU (tanh and erf form), ReLU and SwiGLU by themselves, forward and backward; dx is written, not added to.

The odd thing: tanh is never computed. (1 + tanh u) / 2 = 1 / (1 + e^(−2u)), so gelu(x) = x · σ(2u),
and every activation here needs nothing but one exponential.
*/

#include "normal.h"
#include "parts.h"

constexpr int THREADS = 256;
constexpr float GELU_SCALE = 0.7978845608028654f;  // √(2/π)
constexpr float GELU_CUBIC = 0.044715f;

enum Activation { GELU, GELU_ERF, RELU, SWIGLU };

// For x below −88 the exponential is ∞ and the result the right 0.
DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// What gelu multiplies x with: σ(2u), u = √(2/π) · (x + 0.044715·x³).
DEVICE float gelu_half(float x) {
  return sigmoid(x * (2.0f * GELU_SCALE + 2.0f * GELU_SCALE * GELU_CUBIC * x * x));
}

template <Activation ACTIVATION>
DEVICE float forward(float x) {
  if constexpr (ACTIVATION == GELU) return x * gelu_half(x);
  if constexpr (ACTIVATION == GELU_ERF) {
    float density;
    return x * normal_cdf<float>(x, density);
  }
  return x < 0.0f ? 0.0f : x;  // a NaN stays
}

// With h = gelu_half: gelu' = h + x · 2h(1 − h) · u'; gelu_erf' = Φ(x) + x · φ(x)
template <Activation ACTIVATION>
DEVICE float backward(float dout, float x) {
  if constexpr (ACTIVATION == GELU) {
    const float half = gelu_half(x);
    const float slope = GELU_SCALE + 3.0f * GELU_SCALE * GELU_CUBIC * x * x;
    return dout * (half + 2.0f * x * half * (1.0f - half) * slope);
  }
  if constexpr (ACTIVATION == GELU_ERF) {
    float density;
    const float cdf = normal_cdf<float>(x, density);
    return dout * (cdf + x * density);
  }
  return dout * (x > 0.0f ? 1.0f : 0.0f);  // a NaN of dout shows, as on the CPU
}

// 16 bytes a thread. grid: ceil(n / (256 · PACK<T>)). out may be x.
template <Activation ACTIVATION, typename T>
DEVICE void activation_forward(const T* x, T* out, i64 n) {
  constexpr int N = PACK<T>;
  const i64 first = (static_cast<i64>(block_index()) * THREADS + thread_index()) * N;
  if (first >= n) return;
  const bool vector = n - first >= N && aligned(x) && aligned(out);
  auto values = to_float(load_part<N>(x + first, n - first, vector));
#pragma unroll
  for (int i = 0; i < N; i++) values[i] = forward<ACTIVATION>(values[i]);
  store_part(out + first, from_float<T>(values), n - first, vector);
}

// dx may be dout or x.
template <Activation ACTIVATION, typename T>
DEVICE void activation_backward(const T* dout, const T* x, T* dx, i64 n) {
  constexpr int N = PACK<T>;
  const i64 first = (static_cast<i64>(block_index()) * THREADS + thread_index()) * N;
  if (first >= n) return;
  const bool vector = n - first >= N && aligned(dout) && aligned(x) && aligned(dx);
  auto values = to_float(load_part<N>(x + first, n - first, vector));
  const auto gradients = to_float(load_part<N>(dout + first, n - first, vector));
#pragma unroll
  for (int i = 0; i < N; i++) values[i] = backward<ACTIVATION>(gradients[i], values[i]);
  store_part(dx + first, from_float<T>(values), n - first, vector);
}

// Where a block of the two swiglu kernels works: block = row · parts + part, PACK<T> columns a thread.
template <typename T>
struct Place {
  i64 row;
  int column;
};

template <typename T>
DEVICE Place<T> place(int columns) {
  const int parts = ceil_div(columns, THREADS * PACK<T>);
  return {block_index() / parts,
          (block_index() % parts * THREADS + thread_index()) * PACK<T>};
}

// out (M, columns) = g · σ(g) · u, where x (M, 2 · columns) = (g, u). grid: M · parts.
template <typename T>
DEVICE void swiglu_forward(const T* x, T* out, int columns) {
  constexpr int N = PACK<T>;
  const Place<T> at = place<T>(columns);
  const int count = columns - at.column;
  if (count <= 0) return;
  const bool vector = movable<N>(x, columns) && movable<N>(out, columns);
  x += 2 * at.row * columns + at.column;
  out += at.row * columns + at.column;
  const auto gate = to_float(load_part<N>(x, count, vector));
  const auto up = to_float(load_part<N>(x + columns, count, vector));
  Pack<float, N> result;
#pragma unroll
  for (int i = 0; i < N; i++) result[i] = gate[i] * sigmoid(gate[i]) * up[i];
  store_part(out, from_float<T>(result), count, vector);
}

// With s = σ(g): dg = dout · u · (s + g·s·(1 − s)); du = dout · g·s. dx may be x.
template <typename T>
DEVICE void swiglu_backward(const T* dout, const T* x, T* dx, int columns) {
  constexpr int N = PACK<T>;
  const Place<T> at = place<T>(columns);
  const int count = columns - at.column;
  if (count <= 0) return;
  const bool vector =
      movable<N>(x, columns) && movable<N>(dout, columns) && movable<N>(dx, columns);
  const i64 offset = 2 * at.row * columns + at.column;
  const auto gradient = to_float(load_part<N>(dout + at.row * columns + at.column, count, vector));
  const auto gate = to_float(load_part<N>(x + offset, count, vector));
  const auto up = to_float(load_part<N>(x + offset + columns, count, vector));
  Pack<float, N> dgate, dup;
#pragma unroll
  for (int i = 0; i < N; i++) {
    const float s = sigmoid(gate[i]);
    const float silu = gate[i] * s;
    dgate[i] = gradient[i] * up[i] * (s + silu * (1.0f - s));
    dup[i] = gradient[i] * silu;
  }
  store_part(dx + offset, from_float<T>(dgate), count, vector);
  store_part(dx + offset + columns, from_float<T>(dup), count, vector);
}

#define INSTANTIATE(T)                                                                         \
  KERNEL(THREADS) void gelu_forward_##T(const T* x, T* out, i64 n) {                           \
    activation_forward<GELU>(x, out, n);                                                       \
  }                                                                                            \
  KERNEL(THREADS) void gelu_erf_forward_##T(const T* x, T* out, i64 n) {                       \
    activation_forward<GELU_ERF>(x, out, n);                                                   \
  }                                                                                            \
  KERNEL(THREADS) void relu_forward_##T(const T* x, T* out, i64 n) {                           \
    activation_forward<RELU>(x, out, n);                                                       \
  }                                                                                            \
  KERNEL(THREADS) void swiglu_forward_##T(const T* x, T* out, int columns) {                   \
    swiglu_forward(x, out, columns);                                                           \
  }                                                                                            \
  KERNEL(THREADS) void gelu_backward_##T(const T* dout, const T* x, T* dx, i64 n) {            \
    activation_backward<GELU>(dout, x, dx, n);                                                 \
  }                                                                                            \
  KERNEL(THREADS) void gelu_erf_backward_##T(const T* dout, const T* x, T* dx, i64 n) {        \
    activation_backward<GELU_ERF>(dout, x, dx, n);                                             \
  }                                                                                            \
  KERNEL(THREADS) void relu_backward_##T(const T* dout, const T* x, T* dx, i64 n) {            \
    activation_backward<RELU>(dout, x, dx, n);                                                 \
  }                                                                                            \
  KERNEL(THREADS) void swiglu_backward_##T(const T* dout, const T* x, T* dx, int columns) {    \
    swiglu_backward(dout, x, dx, columns);                                                     \
  }
INSTANTIATE(f32)
INSTANTIATE(bf16)
INSTANTIATE(f16)
