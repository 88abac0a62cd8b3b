// The two products of attention on Hopper's warpgroup matrix unit (wgmma, sm_90a), for head size 64.
//
// Four waves own 64 rows together; the panel is read from LDS by the unit itself, once for all four,
// where mma.sync reads it once a wave and through registers. That is worth about 1.5 of the rate.
// The odd thing: the product is asynchronous. A product is only started by `scores` and `weigh`; `wait<n>(x)`
// waits until at most n are under way and hands x back. Between the two, x belongs to the unit.
//
// Accumulators and left operands lie as those of mma.sync m16n8k16 (PTX ISA, "Register Fragments for
// wgmma.m64nNk16"), so everything else is inherited. Panels have rows of 128 bytes in the 128-byte swizzle.
#pragma once

#include "attention_mma.h"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define ATTENTION_WGMMA 1

// Descriptor of a panel: address, 1024 bytes from 8 rows to the next 8, 128-byte swizzle. The same for both
// directions: `scores` reads along rows (K-major), `weigh` down columns (MN-major, one atom of 64).
// `further`: units of 16 bytes from p, which never carry beyond the address.
DEVICE u64 panel_descriptor(const void* p, u32 further = 0) {
    const u32 low = ((shared_address(p) >> 4) | 1u << 16) + further;
    return (u64)low | (u64)(64u | 1u << 30) << 32;
}

#define WGMMA_64(TYPE, D, A, DESCRIPTOR, KEEP, TRANSPOSE)                                                    \
    asm volatile(                                                                                            \
        "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"                                                         \
        "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE " "                                      \
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,"    \
        "%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, p, 1, 1, %38;\n}"                                 \
        : "+f"((D)[0].v[0]), "+f"((D)[0].v[1]), "+f"((D)[0].v[2]), "+f"((D)[0].v[3]), "+f"((D)[0].v[4]),     \
          "+f"((D)[0].v[5]), "+f"((D)[0].v[6]), "+f"((D)[0].v[7]), "+f"((D)[1].v[0]), "+f"((D)[1].v[1]),     \
          "+f"((D)[1].v[2]), "+f"((D)[1].v[3]), "+f"((D)[1].v[4]), "+f"((D)[1].v[5]), "+f"((D)[1].v[6]),     \
          "+f"((D)[1].v[7]), "+f"((D)[2].v[0]), "+f"((D)[2].v[1]), "+f"((D)[2].v[2]), "+f"((D)[2].v[3]),     \
          "+f"((D)[2].v[4]), "+f"((D)[2].v[5]), "+f"((D)[2].v[6]), "+f"((D)[2].v[7]), "+f"((D)[3].v[0]),     \
          "+f"((D)[3].v[1]), "+f"((D)[3].v[2]), "+f"((D)[3].v[3]), "+f"((D)[3].v[4]), "+f"((D)[3].v[5]),     \
          "+f"((D)[3].v[6]), "+f"((D)[3].v[7])                                                               \
        : "r"((A).w[0]), "r"((A).w[1]), "r"((A).w[2]), "r"((A).w[3]), "l"(DESCRIPTOR), "r"(KEEP),            \
          "n"(TRANSPOSE))

template <class T>
struct Wgmma;
template <>
struct Wgmma<bf16> {
    template <int TRANSPOSE, class Acc>
    static METHOD void start(Acc* d, const Operand& a, u64 b, int keep) {
        WGMMA_64("bf16", d, a, b, keep, TRANSPOSE);
    }
};
template <>
struct Wgmma<f16> {
    template <int TRANSPOSE, class Acc>
    static METHOD void start(Acc* d, const Operand& a, u64 b, int keep) {
        WGMMA_64("f16", d, a, b, keep, TRANSPOSE);
    }
};

template <class T>
struct WarpgroupAttention : MatrixAttention<T> {
    typedef MatrixAttention<T> Base;
    typedef typename Base::Acc Acc;
    static constexpr int TOGETHER = 4;
    static constexpr bool BEHIND = true;

    // What this thread wrote to LDS must be visible to the matrix unit, which is another reader.
    static METHOD void published() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
    static METHOD void begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
    static METHOD void commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

    template <int LEFT, int N>
    static METHOD void wait(Acc (&x)[1][N]) {
        asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
        hold(x);
    }
    template <int N>
    static METHOD void hold(Acc (&x)[1][N]) {
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int r = 0; r < 8; r++) asm volatile("" : "+f"(x[0][n].v[r])::"memory");
    }

    template <int D, int R, int N, class O, class P>
    static METHOD void scores(Acc (&s)[R][N], const O& mine, const P& panel) {
        static_assert(R == 1 && N % 4 == 0 && D == 64, "64 own rows, 64 others at a time, head size 64");
        hold(s);
        begin();
#pragma unroll
        for (int n = 0; n < N; n += 4)
#pragma unroll
            for (int k = 0; k < 4; k++)
                Wgmma<T>::template start<0>(&s[0][n], mine.kept[0][k],
                                            panel_descriptor(panel.base, n * (16 * 128 >> 4) + 2 * k), k > 0);
        commit();
    }
    template <int COLUMNS, int R, int N, class P>
    static METHOD void weigh(Acc (&out)[R][COLUMNS / 16], const Acc (&p)[R][N], const P& panel, int) {
        static_assert(R == 1 && COLUMNS == 64, "64 own rows, head size 64");
        Operand a[N];
#pragma unroll
        for (int n = 0; n < N; n++) Base::rounded(a[n], p[0][n]);
        hold(out);
        begin();
#pragma unroll
        for (int n = 0; n < N; n++)
            Wgmma<T>::template start<1>(out[0], a[n], panel_descriptor(panel.base, n * (16 * 128 >> 4)), 1);
        commit();
    }
};
#endif
