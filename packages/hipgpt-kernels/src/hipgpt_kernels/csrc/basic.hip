/*
Filling, copying, converting, adding and averaging arrays: what needs no thought but must be there.

All but `strided_copy` see an array as n elements in a row. Each is bound by the bandwidth of memory,
so each thread moves 16 bytes at a time where the addresses allow (`vector` says so) and single
elements elsewhere. The odd thing: fill and copy do not know the dtype, only how many bytes it has.
*/

#include "overlap.h"

// 8 waves of 32 lanes, 4 of 64: enough loads in flight for the bandwidth, small enough to balance.
constexpr int THREADS = 256;

// First element of this thread, and how far it goes on, both in units of `width` elements.
DEVICE i64 first_element(int width) {
  return (static_cast<i64>(block_index()) * THREADS + thread_index()) * width;
}
DEVICE i64 element_step(int blocks, int width) { return static_cast<i64>(blocks) * THREADS * width; }

// --- fill: x[i] = value -----------------------------------------------------------------------

// x: (n,) of T, an unsigned integer of the dtype's size; bits: the value's bits, low end first
template <typename T>
DEVICE void fill(T* x, i64 n, i64 bits, int blocks, int vector) {
  const T value = static_cast<T>(bits);
  constexpr int N = PACK<T>;
  i64 i = first_element(vector ? N : 1);
  if (vector) {
    Pack<T, N> pack;
#pragma unroll
    for (int j = 0; j < N; j++) pack[j] = value;
    for (; i + N <= n; i += element_step(blocks, N)) store<N>(x + i, pack);
    for (int j = 0; j < N && i + j < n; j++) x[i + j] = value;  // the one thread at the tail
  } else {
    for (; i < n; i += element_step(blocks, 1)) x[i] = value;
  }
}

#define FILL(bits, type)                                                                   \
  KERNEL(THREADS) void fill_##bits(type* x, i64 n, i64 value, int blocks, int vector) { \
    take_turn();                                                                           \
    fill(x, n, value, blocks, vector);                                                     \
  }
FILL(8, u8)
FILL(16, u16)
FILL(32, u32)
FILL(64, u64)

// --- strided copy: destination[i, j, k, l] = source[i, j, k, l] -------------------------------

// Sizes (n0, n1, n2, n3) and each side's strides in units of T; n3 varies fastest. A stride may be 0
// on the source's side: that repeats it. Index says how wide the arithmetic must be: a division of
// 64 bits takes ten times as long as one of 32.
template <typename Index, typename T>
DEVICE void strided_copy(T* destination, const T* source, Index n0, Index n1, Index n2, Index n3,
                         i64 d0, i64 d1, i64 d2, i64 d3, i64 s0, i64 s1, i64 s2, i64 s3,
                         int blocks) {
  const Index n = n0 * n1 * n2 * n3;
  const Index step = static_cast<Index>(blocks) * THREADS;
  for (Index i = static_cast<Index>(first_element(1)); i < n; i += step) {
    const Index rows = i / n3;
    const Index planes = rows / n2;
    const Index i3 = i - rows * n3;
    const Index i2 = rows - planes * n2;
    const Index i0 = planes / n1;
    const Index i1 = planes - i0 * n1;
    destination[i0 * d0 + i1 * d1 + i2 * d2 + i3 * d3] =
        source[i0 * s0 + i1 * s1 + i2 * s2 + i3 * s3];
  }
}

// Half of what 32 bits hold, so that the last step of the loop does not wrap.
constexpr i64 NARROW = i64{1} << 31;

#define STRIDED_COPY(bits, type)                                                                 \
  KERNEL(THREADS) void strided_copy_##bits(                                                      \
      type* destination, const type* source, i64 n0, i64 n1, i64 n2, i64 n3, i64 d0, i64 d1,     \
      i64 d2, i64 d3, i64 s0, i64 s1, i64 s2, i64 s3, int blocks) {                              \
    if (n0 * n1 * n2 * n3 < NARROW) {                                                            \
      strided_copy<u32>(destination, source, static_cast<u32>(n0), static_cast<u32>(n1),         \
                        static_cast<u32>(n2), static_cast<u32>(n3), d0, d1, d2, d3, s0, s1, s2,  \
                        s3, blocks);                                                             \
    } else {                                                                                     \
      strided_copy<u64>(destination, source, static_cast<u64>(n0), static_cast<u64>(n1),         \
                        static_cast<u64>(n2), static_cast<u64>(n3), d0, d1, d2, d3, s0, s1, s2,  \
                        s3, blocks);                                                             \
    }                                                                                            \
  }
STRIDED_COPY(8, u8)
STRIDED_COPY(16, u16)
STRIDED_COPY(32, u32)
STRIDED_COPY(64, u64)
STRIDED_COPY(128, RawBytes<16>::type)

// --- convert: out[i] = x[i] in another type ---------------------------------------------------

// The narrower type fills its 16 bytes; the wider one takes two accesses for as many elements.
template <typename To, typename From>
DEVICE void convert(To* out, const From* x, i64 n, int blocks, int vector) {
  constexpr int N = 4;  // 16 bytes of float32, 8 of the 16-bit types
  i64 i = first_element(vector ? N : 1);
  if (vector) {
    for (; i + N <= n; i += element_step(blocks, N)) {
      store<N>(out + i, from_float<To>(to_float(load<N>(x + i))));
    }
    for (int j = 0; j < N && i + j < n; j++) out[i + j] = from_float<To>(to_float(x[i + j]));
  } else {
    for (; i < n; i += element_step(blocks, 1)) out[i] = from_float<To>(to_float(x[i]));
  }
}

#define CONVERT(from, to)                                                                         \
  KERNEL(THREADS) void convert_##from##_##to(to* out, const from* x, i64 n, int blocks, int vector) { \
    convert(out, x, n, blocks, vector);                                                           \
  }
CONVERT(f32, bf16)
CONVERT(f32, f16)
CONVERT(bf16, f32)
CONVERT(bf16, f16)
CONVERT(f16, f32)
CONVERT(f16, bf16)

// --- add: out[i] = x[i] + y[i] ----------------------------------------------------------------

// out may be x or y: a thread reads its elements before it writes them, and no other one's.
template <typename T>
DEVICE void add(T* out, const T* x, const T* y, i64 n, int blocks, int vector) {
  constexpr int N = PACK<T>;
  i64 i = first_element(vector ? N : 1);
  if (vector) {
    for (; i + N <= n; i += element_step(blocks, N)) {
      Pack<float, N> sum = to_float(load<N>(x + i));
      const Pack<float, N> other = to_float(load<N>(y + i));
#pragma unroll
      for (int j = 0; j < N; j++) sum[j] += other[j];
      store<N>(out + i, from_float<T>(sum));
    }
    for (int j = 0; j < N && i + j < n; j++) {
      out[i + j] = from_float<T>(to_float(x[i + j]) + to_float(y[i + j]));
    }
  } else {
    for (; i < n; i += element_step(blocks, 1)) {
      out[i] = from_float<T>(to_float(x[i]) + to_float(y[i]));
    }
  }
}

// --- sum: partial[block] = Σ x[i] in float64 --------------------------------------------------

// x: (n,) -> partial: (blocks,). Each thread sums its elements in their order, the block its
// threads in theirs, the host the blocks in theirs: the same n gives the same order every time.
template <typename T>
DEVICE void sum(double* partial, const T* x, i64 n, int blocks) {
  double total = 0.0;
  for (i64 i = first_element(1); i < n; i += element_step(blocks, 1)) {
    total += static_cast<double>(to_float(x[i]));
  }
  total = block_sum<THREADS>(total);
  if (thread_index() == 0) partial[block_index()] = total;
}

#define FLOATING(type)                                                                       \
  KERNEL(THREADS) void add_##type(type* out, const type* x, const type* y, i64 n, int blocks,  \
                                  int vector) {                                              \
    add(out, x, y, n, blocks, vector);                                                       \
  }                                                                                          \
  KERNEL(THREADS) void sum_##type(double* partial, const type* x, i64 n, int blocks) { \
    sum(partial, x, n, blocks);                                                              \
  }
FLOATING(f32)
FLOATING(bf16)
FLOATING(f16)
