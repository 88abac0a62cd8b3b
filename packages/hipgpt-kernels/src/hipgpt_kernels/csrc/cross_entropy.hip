/*
Softmax cross-entropy over rows of logits, which training turns into their own gradient, in place.

The odd thing: one block takes one row, and the (M, V) array, the largest of a training step, passes
through memory once each way. A short row stays in the registers of a small block. A long one is
read twice, the second time from the L2 cache, and its maximum and sum are found together, online: a
thread rescales its sum when it meets a larger logit (Milakov and Gimelshein 2018, "Online
normalizer calculation for softmax", algorithm 3).

Any V is allowed, 50,257 too, where no row but the first begins at a multiple of 16 bytes: a row is
a head of up to 15 bytes, a body of 16-byte packs, and a tail. Rows may also be stored with more
columns than there are ids (`stride`), so that all of them begin at such a multiple.
*/

#include "errors.h"
#include "overlap.h"
#include "parts.h"

constexpr int THREADS = 1024;     // for a long row
constexpr int HELD_THREADS = 256;  // for one that stays in registers
constexpr int HELD = 4;            // packs of it in a thread
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LOWEST = -3.402823466e38f;  // not −∞, whose difference with itself is a NaN

// exp(x − most). The difference comes first: x · log₂e − most · log₂e would cancel.
DEVICE float exponential(float x, float most) { return fast_exp2((x - most) * LOG2_E); }

// What a set of logits comes to: Σ exp(x − most), most = max x.
struct Softmax {
  float most, total;
};

// A row cut where its 16-byte packs begin and end.
template <typename T>
struct Row {
  static constexpr int N = PACK<T>;
  T* logits;
  int V, head, packs;  // `head` logits, then `packs` packs of N, then fewer than N

  __device__ Row(T* row, int columns) : logits(row), V(columns) {
    const int misaligned = static_cast<int>(reinterpret_cast<u64>(row) % 16 / sizeof(T));
    head = minimum(misaligned == 0 ? 0 : N - misaligned, V);
    packs = (V - head) / N;
  }

  __device__ T* body() const { return logits + head; }

  // The logit outside the body that a thread takes, or −1: there are at most 2 (N − 1) of them.
  __device__ int loose(int thread) const {
    const int at = thread < head ? thread : thread + packs * N;
    return at < V ? at : -1;
  }
};

// A row of the gradient is written as long as it is stored: zeros in the columns that are no ids.
template <int BLOCK, typename T>
DEVICE void zero_rest(T* row, int V, int stride) {
  for (int j = V + thread_index(); j < stride; j += BLOCK) row[j] = T{};
}

// A long row, read twice.
template <typename T>
struct Read {
  static constexpr int BLOCK = THREADS;
  const Row<T>& row;

  __device__ explicit Read(const Row<T>& r) : row(r) {}

  __device__ Softmax softmax() const {
    constexpr int N = PACK<T>;
    Softmax mine{LOWEST, 0.0f};
#pragma unroll 2
    for (int k = thread_index(); k < row.packs; k += BLOCK) {
      const auto x = to_float(load<N>(row.body() + static_cast<i64>(k) * N));
      float most = mine.most;
#pragma unroll
      for (int i = 0; i < N; i++) most = fmaxf(most, x[i]);
      float total = mine.total * exponential(mine.most, most);
#pragma unroll
      for (int i = 0; i < N; i++) total += exponential(x[i], most);
      mine = {most, total};
    }
    const int at = row.loose(thread_index());
    if (at >= 0) {
      const float x = to_float(row.logits[at]);
      const float most = fmaxf(mine.most, x);
      mine = {most, mine.total * exponential(mine.most, most) + exponential(x, most)};
    }
    const float most = block_max<BLOCK>(mine.most);
    return {most, block_sum<BLOCK>(mine.total * exponential(mine.most, most))};
  }

  // logits[j] = factor · exp(logits[j] − most); all threads. The target's −scale is put right after.
  // From the end to the beginning: what `softmax` read last is what the L2 cache still has when the
  // blocks' rows together are larger than it.
  __device__ void gradient(float most, float factor) const {
    constexpr int N = PACK<T>;
    const int turns = ceil_div(maximum(row.packs - thread_index(), 0), BLOCK);
#pragma unroll 2
    for (int turn = turns - 1; turn >= 0; turn--) {
      const int k = turn * BLOCK + thread_index();
      T* place = row.body() + static_cast<i64>(k) * N;
      auto x = to_float(load_once<N>(place));
#pragma unroll
      for (int i = 0; i < N; i++) x[i] = factor * exponential(x[i], most);
      store_once(place, from_float<T>(x));
    }
    const int at = row.loose(thread_index());
    if (at >= 0) {
      const float x = to_float(row.logits[at]);
      row.logits[at] = from_float<T>(factor * exponential(x, most));
    }
  }
};

// A short row, in registers from the start.
template <typename T>
struct Held {
  static constexpr int BLOCK = HELD_THREADS;
  static constexpr int N = PACK<T>;
  const Row<T>& row;
  Pack<T, N> packs[HELD];
  float extra;  // the logit outside the body, −∞ where there is none
  int at;

  __device__ explicit Held(const Row<T>& r) : row(r), at(r.loose(thread_index())) {
#pragma unroll
    for (int p = 0; p < HELD; p++) {
      const int k = p * BLOCK + thread_index();
      if (k < row.packs) packs[p] = load<N>(row.body() + static_cast<i64>(k) * N);
    }
    extra = at >= 0 ? to_float(row.logits[at]) : LOWEST;
  }

  __device__ Softmax softmax() const {
    float most = extra;
#pragma unroll
    for (int p = 0; p < HELD; p++) {
      if (p * BLOCK + thread_index() >= row.packs) continue;
      const auto x = to_float(packs[p]);
#pragma unroll
      for (int i = 0; i < N; i++) most = fmaxf(most, x[i]);
    }
    most = block_max<BLOCK>(most);
    float total = at >= 0 ? exponential(extra, most) : 0.0f;
#pragma unroll
    for (int p = 0; p < HELD; p++) {
      if (p * BLOCK + thread_index() >= row.packs) continue;
      const auto x = to_float(packs[p]);
#pragma unroll
      for (int i = 0; i < N; i++) total += exponential(x[i], most);
    }
    return {most, block_sum<BLOCK>(total)};
  }

  __device__ void gradient(float most, float factor) const {
#pragma unroll
    for (int p = 0; p < HELD; p++) {
      const int k = p * BLOCK + thread_index();
      if (k >= row.packs) continue;
      auto x = to_float(packs[p]);
#pragma unroll
      for (int i = 0; i < N; i++) x[i] = factor * exponential(x[i], most);
      store_once(row.body() + static_cast<i64>(k) * N, from_float<T>(x));
    }
    if (at >= 0) row.logits[at] = from_float<T>(factor * exponential(extra, most));
  }
};

// Is some logit before the target as large? Called where the target has the maximum.
template <int BLOCK, typename T>
DEVICE bool tie_before(const Row<T>& row, int target, float most) {
  int found = 0;
  for (int j = thread_index(); j < target; j += BLOCK) {
    if (to_float(row.logits[j]) == most) found = 1;
  }
  return block_max<BLOCK>(found) != 0;
}

// losses[m] = log Σ exp(logits[m]) − logits[m, target]; where `scale` is wanted, logits[m] becomes
// scale · (softmax − [j = target]). Target −1: loss, correct and gradient 0. grid: M.
template <bool BACKWARD, template <typename> class Way, typename T>
DEVICE void cross_entropy(T* logits,           // (M, stride)
                          const int* targets,  // (M,)
                          float* losses,       // (M,)
                          float* correct,      // (M,) or null
                          int V, int stride, float scale,
                          const float* loss_scale,  // () or null: scale is multiplied with it
                          i64* errors) {
  constexpr int BLOCK = Way<T>::BLOCK;
  const i64 m = block_index();
  const Row<T> row(logits + m * stride, V);
  const int target = targets[m];
  if constexpr (BACKWARD) zero_rest<BLOCK>(row.logits, V, stride);
  if (target < 0 || target >= V) {
    if (thread_index() == 0) {
      if (target != -1) {
        const ErrorCode code =
            BACKWARD ? CROSS_ENTROPY_BACKWARD_TARGETS : CROSS_ENTROPY_FORWARD_TARGETS;
        report(errors, code, target, V);
      }
      losses[m] = 0.0f;
      if (correct != nullptr) correct[m] = 0.0f;
    }
    if constexpr (BACKWARD) zero_rest<BLOCK>(row.logits, 0, V);
    return;
  }
  const Way<T> way(row);
  const Softmax all = way.softmax();
  const float target_logit = to_float(row.logits[target]);  // only now: a register less in the loop
  if (correct != nullptr) {
    const bool best = target_logit == all.most && !tie_before<BLOCK>(row, target, all.most);
    if (thread_index() == 0) correct[m] = best ? 1.0f : 0.0f;
  }
  if (thread_index() == 0) losses[m] = logf(all.total) - (target_logit - all.most);
  if constexpr (BACKWARD) {
    if (loss_scale != nullptr) scale *= *loss_scale;
    const float factor = scale / all.total;
    barrier();  // every thread has read the target's logit
    way.gradient(all.most, factor);
    barrier();  // and its thread has written its gradient
    if (thread_index() == 0) {  // reads the target again: one register less, which would spill
      row.logits[targets[m]] = from_float<T>(factor * exponential(target_logit, all.most) - scale);
    }
  }
}

// On sm_80 nvcc would spill to keep room for a second block of 1024 threads.
#if HIPGPT_NVIDIA && defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define LOSS_KERNEL(threads) KERNEL_LIMIT(threads, 1, 1)
#else
#define LOSS_KERNEL(threads) KERNEL(threads)
#endif

#define INSTANTIATE(NAME, WAY, T)                                                                \
  LOSS_KERNEL(WAY<T>::BLOCK)                                                                     \
  void cross_entropy_forward_##NAME(T* logits, const int* targets, float* losses,                \
                                    float* correct, int V, int stride, i64* errors) {            \
    take_turn();                                                                                 \
    cross_entropy<false, WAY>(logits, targets, losses, correct, V, stride, 0.0f, nullptr,        \
                              errors);                                                           \
  }                                                                                              \
  LOSS_KERNEL(WAY<T>::BLOCK)                                                                     \
  void cross_entropy_forward_backward_##NAME(T* logits, const int* targets, float* losses,       \
                                             float* correct, int V, int stride, float scale,     \
                                             const float* loss_scale, i64* errors) {             \
    take_turn();                                                                                 \
    cross_entropy<true, WAY>(logits, targets, losses, correct, V, stride, scale, loss_scale,     \
                             errors);                                                            \
  }
INSTANTIATE(f32, Read, f32)
INSTANTIATE(bf16, Read, bf16)
INSTANTIATE(f16, Read, f16)
INSTANTIATE(held_f32, Held, f32)
INSTANTIATE(held_bf16, Held, bf16)
INSTANTIATE(held_f16, Held, f16)
