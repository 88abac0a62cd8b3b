/*
One id drawn from each row of logits: repetition penalty, temperature, top-k, top-p, min-p, then one
Philox number. One block a row; the same ids as cpu/sampling.py but for the rounding of float32.

The odd thing: nothing is sorted. Ordered by logit, the larger first and among equals the smaller id
first, what top-k keeps is the beginning of the row, and so is what top-p keeps; so the filters come
to one Cut: the logit at which it ends, and the last id among that logit's equals. The logit is found
digit by digit: its bits, read as an integer that grows with it, are narrowed 16-fold a pass by
counting (top-k) or weighing (top-p) the logits in 16 bins. Every thread has bins of its own, which
are added up in fixed order, so there are no atomics here either.
*/

#include "errors.h"
#include "overlap.h"
#include "philox.h"
#include "scan.h"

constexpr int THREADS = 512;
constexpr int WAVES = THREADS / WAVE;
constexpr int BIN_BITS = 4;
constexpr int BINS = 1 << BIN_BITS;
constexpr int NOWHERE = 0x7fffffff;  // larger than any id
constexpr float INFINITE = __builtin_huge_valf();

// Of a logit as float32 the low bits that its type never sets: without them half the digits do.
template <typename T>
constexpr int SPARE = 0;
template <>
constexpr int SPARE<bf16> = 16;
template <>
constexpr int SPARE<f16> = 13;

// A number that is larger where x is larger; −0 counts as 0. Its inverse is `value_of`.
template <typename T>
DEVICE u32 key_of(float x) {
  const u32 bits = bit_cast<u32>(x == 0.0f ? 0.0f : x);
  return (bits & 0x80000000u ? ~bits : bits | 0x80000000u) >> SPARE<T>;
}

template <typename T>
DEVICE float value_of(u32 key) {
  const u32 wide = key << SPARE<T>;
  return bit_cast<float>(wide & 0x80000000u ? wide & 0x7fffffffu : ~wide & ~0u << SPARE<T>);
}

// What the filters have left of a row: logits above `key`, and of those equal ids up to `last`.
struct Cut {
  u32 key;
  int last;

  __device__ bool keeps(u32 other, int id) const {
    return other > key || (other == key && id <= last);
  }
};

// A row of penalised logits and how likely they are: weight(x) = exp((x − most) / temperature).
template <typename T>
struct Row {
  const T* logits;
  int V;
  float most, lowest;
  float slope;  // log₂e / temperature

  __device__ float logit(int id) const { return to_float(logits[id]); }
  __device__ float weight(float x) const { return fast_exp2((x - most) * slope); }
};

// The block's shared memory, one for all passes.
struct Scratch {
  float bins[BINS][THREADS];  // each thread's own
  double bin_sums[BINS];
  double wave_sums[WAVES];
};

constexpr int AHEAD = 4;  // packs of logits that a thread loads before it looks at the first

// f(id, logit) for every id from start to stop, each for one of the threads that call with own = 0 …
// stride − 1. A row may begin anywhere, so the packs begin where memory lets them.
template <typename T, typename F>
DEVICE void walk(const T* logits, int start, int stop, int own, int stride, F f) {
  constexpr int N = PACK<T>;
  const int past = static_cast<int>(reinterpret_cast<u64>(logits + start) / sizeof(T)) & (N - 1);
  const int first = minimum(stop, start + (N - past) % N);  // where the first pack begins
  for (int id = start + own; id < first; id += stride) f(id, to_float(logits[id]));
  const int packs = (stop - first) / N;
  for (int pack = own; pack < packs; pack += AHEAD * stride) {
    Pack<T, N> x[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      const int at = minimum(pack + i * stride, packs - 1);
      x[i] = load<N>(logits + first + at * N);
    }
    // Rolled up: f stands here eight times and not 32, and instructions must be fetched, too.
#pragma unroll 1
    for (int at = pack; at < minimum(packs, pack + AHEAD * stride); at += stride) {
#pragma unroll
      for (int e = 0; e < N; e++) f(first + at * N + e, to_float(x[0][e]));
#pragma unroll
      for (int i = 1; i < AHEAD; i++) x[i - 1] = x[i];
    }
  }
  for (int id = first + packs * N + own; id < stop; id += stride) f(id, to_float(logits[id]));
}

// First pass: put the penalty on the seen ids, in place; find the extremes and the likeliest id.
// Keskar et al. 2019, section 4.1. `likeliest` is −1 where some logit is a NaN or none is finite.
template <typename T>
DEVICE Row<T> prepare(T* logits, const u8* seen, int V, float penalty, float slope,
                      int& likeliest) {
  float most = -INFINITE, lowest = INFINITE;
  int first = NOWHERE, bad = 0;
  const auto look = [&](int id, float x) {
    if (x != x || x == INFINITE) bad = 1;
    if (x > most) {
      most = x;
      first = id;
    }
    lowest = fminf(lowest, x);
  };
  if (seen == nullptr) {
    walk(logits, 0, V, thread_index(), THREADS, look);
  } else {
    for (int id = thread_index(); id < V; id += THREADS) {
      float x = to_float(logits[id]);
      if ((seen[id] & 1) != 0) {
        const T penalised = from_float<T>(x > 0.0f ? x / penalty : x * penalty);
        logits[id] = penalised;
        x = to_float(penalised);
      }
      look(id, x);
    }
  }
  if (seen != nullptr) barrier();  // other threads will read what this one has penalised
  const float block_most = block_max<THREADS>(most);
  lowest = block_min<THREADS>(lowest);
  bad = block_max<THREADS>(bad);
  likeliest = block_min<THREADS>(most == block_most ? first : NOWHERE);
  if (bad || likeliest == NOWHERE) likeliest = -1;
  return {logits, V, block_most, lowest, slope};
}

// The first id at which the running sum of measure(id, logit) exceeds what threshold(total) says;
// NOWHERE where none does. Each wave sums a stretch of the row; the stretch in which the sum passes
// the limit is the row of the next round, until one wave's few steps are left. All waves then take
// those steps alike, so nothing has to be handed round.
template <typename T, typename Measure, typename Threshold>
DEVICE int locate(Scratch& scratch, const Row<T>& row, Measure measure, Threshold threshold) {
  constexpr int STEPS = 4;
  int start = 0, stop = row.V;
  double before = 0.0, limit = 0.0;  // the sum up to start
  for (bool whole = true; whole || stop - start > STEPS * WAVE; whole = false) {
    const int length = ceil_div(ceil_div(stop - start, WAVES), WAVE) * WAVE;
    const int from = minimum(stop, start + wave_index() * length);
    const int to = minimum(stop, from + length);
    double sum = 0.0;
    walk(row.logits, from, to, lane(), WAVE, [&](int id, float x) { sum += measure(id, x); });
    sum = wave_sum(sum);
    local_barrier();  // the last round's sums are read
    if (lane() == 0) scratch.wave_sums[wave_index()] = sum;
    local_barrier();
    if (whole) {
      double total = 0.0;
      for (int wave = 0; wave < WAVES; wave++) total += scratch.wave_sums[wave];
      limit = threshold(total);
    }
    int chosen = -1, last = -1;
    double running = before, chosen_before = before, last_before = before;
    for (int wave = 0; wave < WAVES; wave++) {
      const double own = scratch.wave_sums[wave];
      if (own > 0.0) {
        last = wave;
        last_before = running;
        if (chosen < 0 && running + own > limit) {
          chosen = wave;
          chosen_before = running;
        }
      }
      running += own;
    }
    if (whole && chosen < 0) return NOWHERE;
    // Rounding may let a later round end just short of the limit that an earlier one reached.
    if (chosen < 0) {
      chosen = last;
      chosen_before = last_before;
    }
    before = chosen_before;
    start += chosen * length;
    stop = minimum(stop, start + length);
  }
  int place = NOWHERE, last = NOWHERE;
  for (int first = start; first < stop && place == NOWHERE; first += WAVE) {
    const int id = first + lane();
    const double value = id < stop ? measure(id, row.logit(id)) : 0.0;
    const double reached = before + wave_running_sum(value);
    place = wave_min(value > 0.0 && reached > limit ? id : NOWHERE);
    const int positive = wave_max(value > 0.0 ? id : -1);
    if (positive >= 0) last = positive;
    before = shuffle(reached, WAVE - 1);
  }
  return place == NOWHERE ? last : place;
}

// Where the row ends, ordered as above, when the sum of measure(x) over what comes before an id must
// stay below `target`. Only what `cut` keeps counts.
template <typename T, typename Measure>
DEVICE Cut narrow(Scratch& scratch, const Row<T>& row, Cut cut, double target, Measure measure) {
  auto& bins = scratch.bins;
  auto& sums = scratch.bin_sums;
  u32 low = key_of<T>(row.lowest), high = key_of<T>(row.most);
  double above = 0.0;   // the sum over logits beyond `high`
  double within = 0.0;  // the sum over those from low to high, once low = high
  while (low < high) {
    int shift = 0;
    while ((high - low) >> shift >= BINS) shift++;
#pragma unroll
    for (int bin = 0; bin < BINS; bin++) bins[bin][thread_index()] = 0.0f;
    walk(row.logits, 0, row.V, thread_index(), THREADS, [&](int id, float x) {
      const u32 key = key_of<T>(x);
      if (key >= low && key <= high && cut.keeps(key, id)) {
        bins[(key - low) >> shift][thread_index()] += measure(x);
      }
    });
    local_barrier();
    for (int bin = wave_index(); bin < BINS; bin += WAVES) {
      double sum = 0.0;
      for (int i = lane(); i < THREADS; i += WAVE) sum += static_cast<double>(bins[bin][i]);
      sum = wave_sum(sum);
      if (lane() == 0) sums[bin] = sum;
    }
    local_barrier();
    int bin = BINS - 1;
    while (bin > 0 && above + sums[bin] < target) above += sums[bin--];
    low += static_cast<u32>(bin) << shift;
    high = minimum(high, low + ((1u << shift) - 1));
    within = sums[bin];
    local_barrier();  // sums are read
  }
  // Of the equals of this logit the first `allowed` stay, at least one.
  const double each = static_cast<double>(measure(value_of<T>(low)));
  if (within > 0.0 && within < 1.5 * each) return {low, NOWHERE};  // it has no equals
  const double allowed = maximum(1.0, __builtin_ceil((target - above) / each));  // ∞ where each = 0
  const auto is_equal = [&](int id, float x) {
    return key_of<T>(x) == low && cut.keeps(low, id) ? 1.0 : 0.0;
  };
  const int last = locate(scratch, row, is_equal, [&](double) { return allowed - 0.5; });
  return {low, last};
}

// How one row draws, as `Filters` in hip/ops/sampling.py packs it.
struct Filters {
  double top_p;         // 1: all
  float slope;          // log₂e / temperature, at most the largest float; < 0: greedy
  int top_k;            // 0: all
  float min_p;          // 0: all
  float penalty;        // 1: none
};

// The id of word `index` of Philox stream `position`, −1 where the logits are not finite; the same in
// all threads of the block. Seen ids (where `occurred` is not null) are penalised in place.
template <typename T>
DEVICE int draw(Scratch& scratch, T* logits, const u8* occurred, int V, const Filters& filters,
                u64 index, u64 seed, u64 position) {
  int likeliest;
  const Row<T> row = prepare(logits, occurred, V, filters.penalty, filters.slope, likeliest);
  if (likeliest < 0 || filters.slope < 0.0f || filters.top_k == 1) return likeliest;
  Cut cut{0, NOWHERE};
  if (filters.top_k > 0 && filters.top_k < V) {
    cut = narrow(scratch, row, cut, static_cast<double>(filters.top_k), [](float) { return 1.0f; });
  }
  const auto kept_weight = [&](int other, float x) -> double {
    return cut.keeps(key_of<T>(x), other) ? static_cast<double>(row.weight(x)) : 0.0;
  };
  if (filters.top_p < 1.0) {
    double total = 0.0;
    walk(row.logits, 0, V, thread_index(), THREADS,
         [&](int other, float x) { total += kept_weight(other, x); });
    total = block_sum<THREADS>(total);
    cut = narrow(scratch, row, cut, filters.top_p * total, [&](float x) { return row.weight(x); });
  }
  const double u = philox_uniform(index, seed, position);
  const double least = static_cast<double>(filters.min_p);  // the likeliest weighs 1
  return locate(
      scratch, row,
      [&](int other, float x) {
        const double weight = kept_weight(other, x);
        return weight >= least ? weight : 0.0;
      },
      [&](double total) { return u * total; });
}

template <typename T>
DEVICE void sample(T* logits,  // (B, V), the seen ids' are penalised in place
                   u8* seen,   // (B, V) or null; the drawn id is set
                   int* out,   // (B,)
                   int V, const Filters& filters, u64 seed, u64 position,
                   const u64* position_pointer,  // read instead of position where not null
                   i64* errors) {
  SHARED Scratch scratch;
  const i64 b = block_index();
  if (seen != nullptr) seen += b * V;
  if (position_pointer != nullptr) position = *position_pointer;
  int id = draw(scratch, logits + b * V, filters.penalty != 1.0f ? seen : nullptr, V, filters,
                static_cast<u64>(b), seed, position);
  if (id < 0) {
    if (thread_index() == 0) report(errors, SAMPLE_NOT_FINITE, b, 0);
    id = 0;
  }
  if (thread_index() == 0) {
    out[b] = id;
    if (seen != nullptr) seen[id] = 1;
  }
}

// A row of generation, 64 bytes, as hip/decode_loop.py packs it.
struct Slot {
  u64 seed;
  u64 draw;         // number of the next draw
  Filters filters;  // 24 bytes
  int live;         // 0: it draws nothing
  int length;       // tokens in the cache
  int remaining;    // draws until it ends
  int launches;     // of all there were, live or not: the place in the ring
};
static_assert(sizeof(Slot) == 56, "hip/decode_loop.py packs it so");

constexpr u8 SEEN = 1, STOP = 2;  // bits of an id's mark
constexpr int DREW_NOTHING = -1, NOT_FINITE = -2;

// Every live row draws; what it draws goes to the host's ring, and with its position to where the next
// step begins: x = token_table[id] + position_table[length]. Rows that end, or whose cache is full,
// get position −1 and are no longer live. A block a row. grid: B.
template <typename T>
DEVICE void sample_rows(T* logits,           // (B, V)
                        Slot* slots,         // (B,)
                        u8* marks,           // (B, V)
                        int* ring,           // (launches, B), the host's memory
                        int ring_length,
                        int* positions,      // (B,)
                        const T* token_table,     // (V, E)
                        const T* position_table,  // (S, E)
                        T* x,                // (B, E)
                        int V, int S, int E, int B) {
  SHARED Scratch scratch;
  let_next_start();
  await_previous();
  const i64 b = block_index();
  const Slot slot = slots[b];
  marks += b * V;
  int id = DREW_NOTHING;
  bool ends = true;
  if (slot.live != 0) {
    id = draw(scratch, logits + b * V, slot.filters.penalty != 1.0f ? marks : nullptr, V,
              slot.filters, 0, slot.seed, slot.draw);
    if (id < 0) {
      id = NOT_FINITE;
    } else {
      ends = slot.remaining <= 1 || slot.length >= S || (marks[id] & STOP) != 0;
    }
  }
  if (!ends) {
    const T* token = token_table + static_cast<i64>(id) * E;
    const T* place = position_table + static_cast<i64>(slot.length) * E;
    for (int e = thread_index(); e < E; e += THREADS)
      x[b * E + e] = from_float<T>(to_float(token[e]) + to_float(place[e]));
  }
  barrier();  // all have read the slot and the mark
  if (thread_index() != 0) return;
  ring[slot.launches % ring_length * B + b] = id;
  positions[b] = ends ? -1 : slot.length;
  Slot& next = slots[b];
  next.launches = slot.launches + 1;
  next.live = ends ? 0 : 1;
  if (id >= 0) {
    marks[id] |= SEEN;
    next.draw = slot.draw + 1;
    next.remaining = slot.remaining - 1;
    next.length = slot.length + (ends ? 0 : 1);
  }
}

#define INSTANTIATE(T)                                                                           \
  KERNEL_LIMIT(THREADS, 2, 1)                                                                    \
  void sample_##T(T* logits, u8* seen, int* out, int V, float slope, int top_k, double top_p,    \
                  float min_p, float penalty, u64 seed, u64 position,                            \
                  const u64* position_pointer, i64* errors) {                                    \
    sample(logits, seen, out, V, {top_p, slope, top_k, min_p, penalty}, seed, position,          \
           position_pointer, errors);                                                            \
  }                                                                                              \
  KERNEL_LIMIT(THREADS, 2, 1)                                                                    \
  void sample_rows_##T(T* logits, Slot* slots, u8* marks, int* ring, int ring_length,            \
                       int* positions, const T* token_table, const T* position_table, T* x,      \
                       int V, int S, int E, int B) {                                             \
    sample_rows(logits, slots, marks, ring, ring_length, positions, token_table, position_table, \
                x, V, S, E, B);                                                                  \
  }
INSTANTIATE(f32)
INSTANTIATE(bf16)
INSTANTIATE(f16)
