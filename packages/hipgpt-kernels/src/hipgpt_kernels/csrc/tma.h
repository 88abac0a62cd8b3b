// What Hopper has beside its matrix instruction: the tensor copy engine (TMA), barriers in shared memory
// that it completes, clusters of blocks, and registers that warpgroups hand to one another.
//
// One thread starts the copy of a whole box of a matrix; the engine computes addresses, swizzles, puts
// zeros where the box is outside, and reports the bytes to a barrier. The odd thing: what a matrix is (its
// address, shape and box) is not in the program but in a TensorMap that the host encodes (`hip/ops/
// linear_tma.py`) and that comes as a kernel argument. Source: PTX ISA, "cp.async.bulk.tensor", "mbarrier".
#pragma once

#include "device.h"

struct alignas(64) TensorMap {
  u64 words[16];
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

DEVICE u32 shared_at(const void* p) { return static_cast<u32>(__cvta_generic_to_shared(p)); }

// --- barriers ----------------------------------------------------------------------------------

// A phase ends when `count` threads have arrived and all expected bytes are there. Waiting names the parity
// of the phase; a fresh barrier lets those through who wait for parity 1.
DEVICE void phase_init(u64* barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_at(barrier)), "r"(count)
               : "memory");
}
DEVICE void phase_arrive(u64* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_at(barrier)) : "memory");
}
DEVICE void phase_expect(u64* barrier, int bytes) {  // arrives as well
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_at(barrier)),
               "r"(bytes)
               : "memory");
}
// The same barrier of another block of the cluster. (Not .release.cluster, which costs a fence of the whole
// GPU: what is handed back here was read by wgmma, and nothing was written.)
DEVICE void phase_arrive_at(u64* barrier, int block) {
  asm volatile(
      "{ .reg .b32 there; mapa.shared::cluster.u32 there, %0, %1; "
      "mbarrier.arrive.shared::cluster.b64 _, [there]; }" ::"r"(shared_at(barrier)),
      "r"(block)
      : "memory");
}
DEVICE void phase_wait(u64* barrier, int parity) {
  asm volatile(
      "{\n.reg .pred done;\nAGAIN:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra AGAIN;\n}" ::"r"(shared_at(barrier)),
      "r"(parity)
      : "memory");
}

// --- clusters ----------------------------------------------------------------------------------

DEVICE int cluster_rank() {
  int rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
DEVICE void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
}

// --- copies ------------------------------------------------------------------------------------

// The box whose first element is (row, column), to shared memory; its bytes count for the barrier.
DEVICE void copy_box(void* to, const TensorMap& map, int row, int column, u64* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %2}], [%4];" ::"r"(shared_at(to)),
      "l"(&map), "r"(row), "r"(column), "r"(shared_at(barrier))
      : "memory");
}
// The same to the same place of both blocks of a pair, and for the barriers of both.
DEVICE void copy_box_to_pair(void* to, const TensorMap& map, int row, int column, u64* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%3, %2}], [%4], %5;" ::"r"(shared_at(to)),
      "l"(&map), "r"(row), "r"(column), "r"(shared_at(barrier)), "h"(static_cast<u16>(3))
      : "memory");
}
DEVICE void fetch_map(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// --- registers ---------------------------------------------------------------------------------

template <int COUNT>
DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}
template <int COUNT>
DEVICE void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

// --- tiles of results ----------------------------------------------------------------------------

// Four 8 x 8 matrices of 16-bit elements, as accumulators lie, to rows of shared memory; lane l gives the
// address of row l % 8 of matrix l / 8. (No "memory": other reads may move past it.)
DEVICE void store_matrices(u32 to, const u32 (&words)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
               "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3]));
}

#endif
