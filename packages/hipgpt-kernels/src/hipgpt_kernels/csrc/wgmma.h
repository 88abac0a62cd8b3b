// Hopper's matrix instruction, wgmma: four waves multiply straight out of shared memory, in the
// background. 64 rows of A by BN columns of B, 16 deep, accumulators in registers.
//
// The odd thing: a wave's accumulators lie as those of mma.sync do (mma.h), a row of BN / 16 tiles for
// 16 rows of C. So the results leave by the same code, and only the loop in the middle differs.
//
// In shared memory operands are rows of 128 bytes whose 16-byte pieces are at p ^ (row % 8), as
// Swizzled has them: 64 k of one row for a deep operand; for a wide one 64 of its columns at one k, and
// blocks of 64 columns one after another (Blocks). Source: PTX ISA, "Asynchronous warpgroup level
// matrix shared memory layout" and "matrix descriptor".
#pragma once

#include "device.h"
#include "mma.h"

// Whole blocks of 64 columns, each BK rows of k. (T has 16 bits.)
template <class T, int BK>
struct Blocks {
  T* base;
  DEVICE int offset(int k, int column) {
    return column / 64 * (BK * 64) + k * 64 + (column % 64 / 8 ^ (k & 7)) * 8 + column % 8;
  }
  __device__ T* at(int k, int column) const { return base + offset(k, column); }
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HOPPER 1

// Where an operand starts and how it goes on, for the instruction: 128-byte swizzle (1 << 62), eight
// rows to the next eight 1024 bytes (stride offset), 64 columns to the next 64 a block of BK rows
// (leading offset, wide operands only); all in units of 16 bytes.
template <int BK>
DEVICE u64 descriptor(const void* p) {
  const u64 address = static_cast<u32>(__cvta_generic_to_shared(p));
  return (address & 0x3ffff) >> 4 | static_cast<u64>(BK * 128 / 16) << 16 |
         static_cast<u64>(1024 / 16) << 32 | 1ull << 62;
}

// What ordinary stores and cp.async put into shared memory becomes visible to wgmma.
DEVICE void wgmma_see() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
DEVICE void wgmma_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING>
DEVICE void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// clang-format off
#define WGMMA_D(j)                                                                \
  "+f"(d[j].v[0]), "+f"(d[j].v[1]), "+f"(d[j].v[2]), "+f"(d[j].v[3]),             \
  "+f"(d[j].v[4]), "+f"(d[j].v[5]), "+f"(d[j].v[6]), "+f"(d[j].v[7])

#define WGMMA_64(TYPE)                                    \
  asm volatile(                                            \
      "{ .reg .pred p; setp.ne.b32 p, %36, 0; "               \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE " " \
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, " \
      "%32, %33, p, 1, 1, %34, %35; }" \
      : WGMMA_D(0), WGMMA_D(1), WGMMA_D(2), WGMMA_D(3) \
      : "l"(a), "l"(b), "n"(A_DEEP ? 0 : 1), "n"(B_DEEP ? 0 : 1), "r"(keep))

#define WGMMA_128(TYPE)                                    \
  asm volatile(                                            \
      "{ .reg .pred p; setp.ne.b32 p, %68, 0; "               \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE " " \
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, " \
      "%64, %65, p, 1, 1, %66, %67; }" \
      : WGMMA_D(0), WGMMA_D(1), WGMMA_D(2), WGMMA_D(3), \
        WGMMA_D(4), WGMMA_D(5), WGMMA_D(6), WGMMA_D(7) \
      : "l"(a), "l"(b), "n"(A_DEEP ? 0 : 1), "n"(B_DEEP ? 0 : 1), "r"(keep))

#define WGMMA_192(TYPE)                                    \
  asm volatile(                                            \
      "{ .reg .pred p; setp.ne.b32 p, %100, 0; "               \
      "wgmma.mma_async.sync.aligned.m64n192k16.f32." TYPE "." TYPE " " \
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95}, " \
      "%96, %97, p, 1, 1, %98, %99; }" \
      : WGMMA_D(0), WGMMA_D(1), WGMMA_D(2), WGMMA_D(3), \
        WGMMA_D(4), WGMMA_D(5), WGMMA_D(6), WGMMA_D(7), \
        WGMMA_D(8), WGMMA_D(9), WGMMA_D(10), WGMMA_D(11) \
      : "l"(a), "l"(b), "n"(A_DEEP ? 0 : 1), "n"(B_DEEP ? 0 : 1), "r"(keep))

#define WGMMA_256(TYPE)                                    \
  asm volatile(                                            \
      "{ .reg .pred p; setp.ne.b32 p, %132, 0; "               \
      "wgmma.mma_async.sync.aligned.m64n256k16.f32." TYPE "." TYPE " " \
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, " \
      "%128, %129, p, 1, 1, %130, %131; }" \
      : WGMMA_D(0), WGMMA_D(1), WGMMA_D(2), WGMMA_D(3), \
        WGMMA_D(4), WGMMA_D(5), WGMMA_D(6), WGMMA_D(7), \
        WGMMA_D(8), WGMMA_D(9), WGMMA_D(10), WGMMA_D(11), \
        WGMMA_D(12), WGMMA_D(13), WGMMA_D(14), WGMMA_D(15) \
      : "l"(a), "l"(b), "n"(A_DEEP ? 0 : 1), "n"(B_DEEP ? 0 : 1), "r"(keep))

// clang-format on

// d (64 rows of a warpgroup, 16 N columns) += A (64, 16) * B (16, 16 N); with keep = 0 d starts from zero.
template <class T, bool A_DEEP, bool B_DEEP, int N, class Acc>
DEVICE void wgmma(Acc (&d)[N], u64 a, u64 b, int keep = 1) {
  static_assert(N == 4 || N == 8 || N == 12 || N == 16, "64, 128, 192 or 256 columns");
  if constexpr (Same<T, bf16>::value) {
    if constexpr (N == 4) WGMMA_64("bf16");
    if constexpr (N == 8) WGMMA_128("bf16");
    if constexpr (N == 12) WGMMA_192("bf16");
    if constexpr (N == 16) WGMMA_256("bf16");
  } else {
    if constexpr (N == 4) WGMMA_64("f16");
    if constexpr (N == 8) WGMMA_128("f16");
    if constexpr (N == 12) WGMMA_192("f16");
    if constexpr (N == 16) WGMMA_256("f16");
  }
}

// Keep the compiler from moving what it does with accumulators across a wait.
template <int N, class Acc>
DEVICE void wgmma_hold(Acc (&d)[N]) {
#pragma unroll
  for (int j = 0; j < N; j++)
#pragma unroll
    for (int r = 0; r < 8; r++) asm volatile("" : "+f"(d[j].v[r])::"memory");
}

#else
#define HOPPER 0
#endif
