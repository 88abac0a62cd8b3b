/*
Batches cut out of a corpus that lives on the device: inputs, and targets one token later.

The odd thing: a start that does not fit is replaced by the nearest one that does, and reported.
*/

#include "errors.h"
#include "overlap.h"

constexpr int THREADS = 256;

// One block for THREADS tokens of one row: block = row · ceil(T / THREADS) + part.
template <typename T_TOKEN>
DEVICE void gather(const T_TOKEN* tokens,  // (N,)
                   const i64* starts,      // (B,)
                   int* inputs,            // (B, T)
                   int* targets,           // (B, T)
                   i64 N, int T, i64* errors) {
  const int parts = ceil_div(T, THREADS);
  const int row = block_index() / parts;
  const int t = block_index() % parts * THREADS + thread_index();
  if (t >= T) return;
  const i64 last = N - T - 1;
  i64 start = starts[row];
  if (start < 0 || start > last) {
    if (t == 0) report(errors, GATHER_STARTS, start, last);
    start = start < 0 ? 0 : last;
  }
  const i64 at = static_cast<i64>(row) * T + t;
  inputs[at] = static_cast<int>(tokens[start + t]);
  targets[at] = static_cast<int>(tokens[start + t + 1]);
}

// grid: B · ceil(T / 256)
KERNEL(THREADS) void
gather_batch_u16(const u16* tokens, const i64* starts, int* inputs, int* targets, i64 N, int T,
                 i64* errors) {
  take_turn();
  gather(tokens, starts, inputs, targets, N, T, errors);
}

KERNEL(THREADS) void
gather_batch_u32(const u32* tokens, const i64* starts, int* inputs, int* targets, i64 N, int T,
                 i64* errors) {
  take_turn();
  gather(tokens, starts, inputs, targets, N, T, errors);
}
