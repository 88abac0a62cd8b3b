// Which matrix unit the attention of a type and head size uses.
//
// The odd thing: float32 never uses one. NVIDIA's would round it to tf32, and AMD's float32 MFMA is no
// faster than its vector units.
#pragma once

#include "attention_mma.h"
#include "attention_tiles.h"
#include "attention_wgmma.h"

#if HIPGPT_NVIDIA
constexpr int ATTENTION_FAMILY = NVIDIA;
#elif defined(__GFX9__)
constexpr int ATTENTION_FAMILY = CDNA;
#else
constexpr int ATTENTION_FAMILY = RDNA;
#endif

template <class T, int D>
struct AttentionUnit {
#if ATTENTION_MATRIX
    typedef MatrixAttention<T> Type;
#else
    typedef FmaAttention<T> Type;
#endif
#if defined(ATTENTION_WMMA_11)
    static constexpr int FAMILY = RDNA3;
#else
    static constexpr int FAMILY = ATTENTION_FAMILY;
#endif
};
template <int D>
struct AttentionUnit<float, D> {
    typedef FmaAttention<float> Type;
    static constexpr int FAMILY = ATTENTION_FAMILY;
};
#if defined(ATTENTION_WGMMA)
template <>
struct AttentionUnit<bf16, 64> {
    typedef WarpgroupAttention<bf16> Type;
    static constexpr int FAMILY = HOPPER;
};
template <>
struct AttentionUnit<f16, 64> {
    typedef WarpgroupAttention<f16> Type;
    static constexpr int FAMILY = HOPPER;
};
#endif
