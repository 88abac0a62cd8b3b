// Dropout by Philox4x32-10 (Salmon et al. 2011): the words are those of philox.py, bit for bit.
#pragma once

#include "vector.h"

constexpr int LANES = 16;  // counters at once, so that the compiler can use its vectors

// words[4·i + w] for counters first … first + LANES − 1.
static void philox(uint64_t first, uint64_t seed, uint64_t stream, uint32_t* words) {
    uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
    for (int i = 0; i < LANES; ++i) {
        c0[i] = static_cast<uint32_t>(first + i);
        c1[i] = static_cast<uint32_t>((first + i) >> 32);
        c2[i] = static_cast<uint32_t>(stream);
        c3[i] = static_cast<uint32_t>(stream >> 32);
    }
    uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u)
        for (int i = 0; i < LANES; ++i) {
            const uint64_t p0 = uint64_t{0xD2511F53u} * c0[i], p1 = uint64_t{0xCD9E8D57u} * c2[i];
            const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1[i] ^ key0;
            const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3[i] ^ key1;
            c0[i] = n0;
            c1[i] = static_cast<uint32_t>(p1);
            c2[i] = n2;
            c3[i] = static_cast<uint32_t>(p0);
        }
    for (int i = 0; i < LANES; ++i) {
        words[4 * i] = c0[i];
        words[4 * i + 1] = c1[i];
        words[4 * i + 2] = c2[i];
        words[4 * i + 3] = c3[i];
    }
}

// Elements start … stop − 1; start is a multiple of 4·LANES. threshold = round(probability·2^32).
static void dropout_span(const float* x, const float* residual, float* out, int64_t start, int64_t stop,
                         uint64_t threshold, float scale, uint64_t seed, uint64_t stream) {
    uint32_t words[4 * LANES];
    for (int64_t block = start; block < stop; block += 4 * LANES) {
        philox(static_cast<uint64_t>(block / 4), seed, stream, words);
        const int64_t n = stop - block < 4 * LANES ? stop - block : 4 * LANES;
        for (int64_t i = 0; i < n; ++i) {
            const float kept = words[i] >= threshold ? x[block + i] * scale : 0.0f;
            out[block + i] = residual ? residual[block + i] + kept : kept;
        }
    }
}
