/*
Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, section 3): the words of philox.py, bit for bit.

The odd thing: there is no generator. Word i of (seed, stream) is a function of those three numbers,
so any thread makes the words it needs and none has a state to keep.
*/

#pragma once

#include "device.h"

// Words 4·counter … 4·counter + 3 of a stream. key = seed; counter words (counter, stream).
DEVICE Pack<u32, 4> philox(u64 counter, u64 seed, u64 stream) {
  u32 c0 = static_cast<u32>(counter), c1 = static_cast<u32>(counter >> 32);
  u32 c2 = static_cast<u32>(stream), c3 = static_cast<u32>(stream >> 32);
  u32 key0 = static_cast<u32>(seed), key1 = static_cast<u32>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const u64 product0 = static_cast<u64>(0xD2511F53u) * c0;
    const u64 product1 = static_cast<u64>(0xCD9E8D57u) * c2;
    c0 = static_cast<u32>(product1 >> 32) ^ c1 ^ key0;
    c1 = static_cast<u32>(product1);
    c2 = static_cast<u32>(product0 >> 32) ^ c3 ^ key1;
    c3 = static_cast<u32>(product0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return Pack<u32, 4>{{c0, c1, c2, c3}};
}

// One number in (0, 1): word `index` of a stream, as (word + 1/2) / 2³². Exact in double only.
DEVICE double philox_uniform(u64 index, u64 seed, u64 stream) {
  const Pack<u32, 4> words = philox(index / 4, seed, stream);
  const u32 word = index % 4 < 2 ? (index % 4 == 0 ? words[0] : words[1])
                                 : (index % 4 == 2 ? words[2] : words[3]);
  return (static_cast<double>(word) + 0.5) * (1.0 / 4294967296.0);
}
