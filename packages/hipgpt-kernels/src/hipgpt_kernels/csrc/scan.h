/*
Counting and running sums over the lanes of a wave and the threads of a block, in fixed order.

The odd thing: a set of lanes is 64 bits wide everywhere; the upper half is zero where a wave has 32 lanes.
*/

#pragma once

#include "device.h"

// Bit l says whether the predicate is true in lane l.
DEVICE u64 lanes_where(bool predicate) {
#if HIPGPT_AMD
#if defined(__GFX9__)
  return __builtin_amdgcn_ballot_w64(predicate);
#else
  return __builtin_amdgcn_ballot_w32(predicate);
#endif
#else
  return __ballot_sync(0xffffffffu, predicate);
#endif
}

DEVICE int count_bits(u64 bits) {
#if HIPGPT_AMD
  return __builtin_popcountll(bits);
#else
  return __popcll(bits);
#endif
}

// The lanes below this one.
DEVICE u64 lanes_below() { return (u64{1} << lane()) - 1; }

// Lanes whose 8-bit digit equals this lane's, among those that take part.
DEVICE u64 same_digit(u32 digit, bool takes_part) {
  u64 peers = lanes_where(takes_part);
#pragma unroll
  for (int bit = 0; bit < 8; bit++) {
    const bool is_set = (digit >> bit & 1u) != 0;
    const u64 set = lanes_where(is_set);
    peers &= is_set ? set : ~set;
  }
  return peers;
}

// x of lanes 0 … this one, added up.
template <typename T>
DEVICE T wave_running_sum(T x) {
#pragma unroll
  for (int step = 1; step < WAVE; step *= 2) {
    const T below = shuffle(x, lane() >= step ? lane() - step : lane());
    if (lane() >= step) x = below + x;
  }
  return x;
}

// x of threads 0 … this one, added up. All threads must call.
template <int THREADS, typename T>
DEVICE T block_running_sum(T x) {
  constexpr int WAVES = THREADS / WAVE;
  SHARED T totals[WAVES];
  x = wave_running_sum(x);
  local_barrier();  // the last call's readers are done
  if (lane() == WAVE - 1) totals[wave_index()] = x;
  local_barrier();
  T before = T{};
  for (int wave = 0; wave < wave_index(); wave++) before = before + totals[wave];
  return before + x;
}
