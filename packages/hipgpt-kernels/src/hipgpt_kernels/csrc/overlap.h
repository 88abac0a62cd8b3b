/*
Kernels that begin before their predecessor has ended, so that what they read of no one's making
(weights) is under way when its results arrive.

On NVIDIA (sm_90 and later) a kernel launched with `overlapped` may start once all blocks of the one
before it have said `let_next_start`, or ended; what earlier kernels of the stream have written may be
read, and what they read be written, after `await_previous` alone. On AMD a kernel starts when the one
before it has ended, and all of this is nothing. The odd thing: every kernel that is launched so must
call await_previous, also one that needs nothing of its predecessor: that it has ended is how the next
one knows that all before it have.
*/

#pragma once

#include "device.h"

#if HIPGPT_NVIDIA && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define HIPGPT_OVERLAP 1
#else
#define HIPGPT_OVERLAP 0
#endif

// Wait until all earlier kernels of the stream are done and their results can be seen.
DEVICE void await_previous() {
#if HIPGPT_OVERLAP
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// This block does not mind if the next kernel's blocks move in beside it. The sooner the better: several
// kernels then wait in line, each with its weights at hand.
DEVICE void let_next_start() {
#if HIPGPT_OVERLAP
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// How an overlapped kernel begins that needs its predecessor's results for all it does: what is hidden then
// is its launch, which takes as long as a small kernel. (Large ones await only: blocks let in early hold
// their registers and LDS while they wait, which another stream could use.)
DEVICE void take_turn() {
  let_next_start();
  await_previous();
}

// A number that an earlier kernel may just be writing: good as a hint, and no cache keeps it.
DEVICE int peek(const int* source) {
#if HIPGPT_OVERLAP
  return __ldcg(source);
#else
  return *source;
#endif
}

// Have `bytes` from `start` on brought into the second-level cache; both multiples of 16.
DEVICE void fetch_ahead(const void* start, int bytes) {
#if HIPGPT_OVERLAP
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(start), "r"(bytes) : "memory");
#endif
}
