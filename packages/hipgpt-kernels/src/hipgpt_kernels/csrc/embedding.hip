/*
Token and position rows: gathered forward; backward both tables' gradients, which are added to.

The odd thing: the backward uses no atomics and yet lets many blocks add to one row. The tokens are
first sorted by id (a stable radix sort, 8 bits a pass), which brings the rows of `dout` that belong
to one id together, in the order of the tokens. Blocks then take tiles of sorted tokens. A run of one
id that lies within a tile goes straight to the table; of a run that crosses tiles each tile writes
its part to `seams`, and one block adds those parts in order. Every order is fixed by the tokens.
*/

#include "errors.h"
#include "parts.h"
#include "scan.h"

// --- forward -----------------------------------------------------------------------------------

constexpr int FORWARD_THREADS = 256;
constexpr int FORWARD_WAVES = FORWARD_THREADS / WAVE;

// out[m] = token_table[tokens[m]] + position_table[position + m % T], one wave a row of E.
// grid: ceil(M / FORWARD_WAVES). An id outside [0, V) reads row 0 and is reported.
template <typename T_VALUE>
DEVICE void embedding_forward(const int* tokens,              // (M,) = (B, T)
                              const T_VALUE* token_table,     // (V, E)
                              const T_VALUE* position_table,  // (S, E) or null
                              T_VALUE* out,                   // (M, E)
                              i64 M, int T, int V, int E, int S, i64 position,
                              const i64* position_pointer,  // read instead of position if not null
                              i64* errors) {
  constexpr int N = PACK<T_VALUE>;
  const i64 m = static_cast<i64>(block_index()) * FORWARD_WAVES + wave_index();
  if (m >= M) return;
  int id = tokens[m];
  if (id < 0 || id >= V) {
    if (lane() == 0) report(errors, EMBEDDING_FORWARD_TOKENS, id, V);
    id = 0;
  }
  const bool vector = movable<N>(token_table, E) && movable<N>(out, E) &&
                      (position_table == nullptr || movable<N>(position_table, E));
  token_table += static_cast<i64>(id) * E;
  out += m * E;
  if (position_table != nullptr) {
    if (position_pointer != nullptr) position = *position_pointer;
    const i64 row = position + m % T;  // a host-side check covers `position`; the device's cannot be
    position_table += (row < 0 ? 0 : minimum(row, static_cast<i64>(S) - 1)) * E;
  }
  for (int column = lane() * N; column < E; column += WAVE * N) {
    const int count = E - column;
    auto values = load_part<N>(token_table + column, count, vector);
    if (position_table != nullptr) {
      auto sum = to_float(values);
      const auto other = to_float(load_part<N>(position_table + column, count, vector));
#pragma unroll
      for (int i = 0; i < N; i++) sum[i] += other[i];
      values = from_float<T_VALUE>(sum);
    }
    store_part(out + column, values, count, vector);
  }
}

// --- backward: the sort ------------------------------------------------------------------------

constexpr int SORT_THREADS = 256;
constexpr int SORT_WAVES = SORT_THREADS / WAVE;
constexpr int SORT_TILE = 2048;  // tokens of a block
constexpr int DIGITS = 256;      // values of one pass's 8 bits
constexpr int SHARE = SORT_TILE / SORT_WAVES;  // neighbouring tokens of one wave
constexpr int STEPS = SHARE / WAVE;

// The key of token i: its id, or V for an id outside [0, V), which sorts behind all others.
DEVICE int key_of(int id, int V) { return id < 0 || id >= V ? V : id; }

// How often each digit occurs in each wave's share of a tile. Lanes with the same digit are found
// by ballots and the lowest counts for all of them, so no two lanes write one counter.
DEVICE void count_digits(const int* keys, int n, int V, int shift, int first,
                         int (*counts)[DIGITS]) {
  for (int i = thread_index(); i < SORT_WAVES * DIGITS; i += SORT_THREADS) {
    counts[i / DIGITS][i % DIGITS] = 0;
  }
  barrier();
  for (int step = 0; step < STEPS; step++) {
    const int i = first + step * WAVE + lane();
    const u32 digit = i < n ? static_cast<u32>(key_of(keys[i], V)) >> shift & (DIGITS - 1) : 0;
    const u64 peers = same_digit(digit, i < n);
    if (i < n && (peers & lanes_below()) == 0) {
      counts[wave_index()][digit] += count_bits(peers);
    }
    wave_barrier();
  }
  barrier();
}

DEVICE int share_start() {
  return block_index() * SORT_TILE + wave_index() * SHARE;
}

// digit_counts (tiles, 256): how often each digit occurs in each tile. grid: tiles = ceil(n / 2048).
KERNEL(SORT_THREADS)
void embedding_sort_count(const int* keys,    // (n,): the tokens, or the last pass's keys
                          int* digit_counts,  // (tiles, 256)
                          int n, int V, int shift) {
  SHARED int counts[SORT_WAVES][DIGITS];
  count_digits(keys, n, V, shift, share_start(), counts);
  const int digit = thread_index();
  int total = 0;
  for (int wave = 0; wave < SORT_WAVES; wave++) total += counts[wave][digit];
  digit_counts[block_index() * DIGITS + digit] = total;
}

// Each key to its place: behind all smaller digits, and behind its equals that came before.
KERNEL(SORT_THREADS)
void embedding_sort_scatter(const int* keys,          // (n,)
                            const int* order,         // (n,) which token a key is; null: 0, 1, …
                            const int* digit_counts,  // (tiles, 256)
                            int* sorted_keys,         // (n,)
                            int* sorted_order,        // (n,)
                            int n, int V, int shift, int tiles, i64* errors) {
  SHARED int next[SORT_WAVES][DIGITS];  // where each wave's next key of a digit goes
  static_assert(SORT_THREADS == DIGITS, "a thread a digit");
  const int digit = thread_index();
  int before = 0, total = 0;
  for (int tile = 0; tile < tiles; tile++) {
    const int count = digit_counts[tile * DIGITS + digit];
    if (tile < block_index()) before += count;
    total += count;
  }
  int place = block_running_sum<SORT_THREADS>(total) - total + before;
  const int first = share_start();
  count_digits(keys, n, V, shift, first, next);
  for (int wave = 0; wave < SORT_WAVES; wave++) {
    const int count = next[wave][digit];
    next[wave][digit] = place;
    place += count;
  }
  barrier();
  for (int step = 0; step < STEPS; step++) {
    const int i = first + step * WAVE + lane();
    const int id = i < n ? keys[i] : 0;
    const int key = key_of(id, V);
    if (order == nullptr && i < n && key != id) report(errors, EMBEDDING_BACKWARD_TOKENS, id, V);
    const u32 own_digit = static_cast<u32>(key) >> shift & (DIGITS - 1);
    const u64 peers = same_digit(own_digit, i < n);
    const int rank = count_bits(peers & lanes_below());
    int at = 0;
    if (i < n) at = next[wave_index()][own_digit] + rank;
    wave_barrier();  // every lane has read the counter before its first moves it
    if (i < n) {
      sorted_keys[at] = key;
      sorted_order[at] = order == nullptr ? i : order[i];
      if (rank == 0) next[wave_index()][own_digit] = at + count_bits(peers);
    }
    wave_barrier();
  }
}

// --- backward: the sums ------------------------------------------------------------------------

constexpr int THREADS = 64;
constexpr int N = 4;       // neighbouring columns of a thread
constexpr int TILE = 32;   // sorted tokens of a block
constexpr int AHEAD = 8;   // rows whose loads are under way at once

DEVICE int column_of() { return (block_index_y() * THREADS + thread_index()) * N; }

// table[column …] += sum
DEVICE void add_to(float* table, const Pack<float, N>& sum, int count, bool vector) {
  auto values = load_part<N>(table, count, vector);
#pragma unroll
  for (int i = 0; i < N; i++) values[i] += sum[i];
  store_part(table, values, count, vector);
}

// grid: (ceil(n / 32), ceil(E / 256)).
template <typename T>
DEVICE void embedding_backward_tokens(const T* dout,          // (n, E)
                                      const int* keys,        // (n,) sorted
                                      const int* order,       // (n,)
                                      float* dtoken_table,    // (V, E), added to
                                      float* seams,           // (tiles, 2, E): see above
                                      int n, int V, int E) {
  SHARED int key[TILE + 2];  // with the neighbours' on both sides; −1 where there is none
  SHARED int row[TILE];
  const int first = block_index() * TILE;
  for (int i = thread_index(); i < TILE + 2; i += THREADS) {
    const int at = first + i - 1;
    key[i] = at >= 0 && at < n ? keys[at] : -1;
    if (i >= 1 && i <= TILE) row[i - 1] = at < n ? order[at] : 0;
  }
  barrier();
  const int column = column_of();
  if (column >= E) return;
  const int count = E - column;
  const bool vector = movable<N>(dout, E);
  const bool table_moves = movable<N>(dtoken_table, E) && movable<N>(seams, E);
  seams += static_cast<i64>(block_index()) * 2 * E + column;
  Pack<float, N> sum{};
  bool begun_here = key[1] != key[0];  // the run, not in an earlier tile
  for (int start = 0; start < TILE; start += AHEAD) {
    Pack<T, N> values[AHEAD];
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      values[j] = load_part<N>(dout + static_cast<i64>(row[start + j]) * E + column, count, vector);
    }
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      const int i = start + j, id = key[i + 1];
      if (id < 0 || id >= V) return;  // past the end, or an id that was refused
#pragma unroll
      for (int c = 0; c < N; c++) sum[c] += to_float(values[j][c]);
      const bool run_ends = key[i + 2] != id;
      if (!run_ends && i + 1 < TILE) continue;
      if (!begun_here) {
        store_part(seams, sum, count, table_moves);
      } else if (!run_ends) {
        store_part(seams + E, sum, count, table_moves);
      } else {
        add_to(dtoken_table + static_cast<i64>(id) * E + column, sum, count, table_moves);
      }
      sum = Pack<float, N>{};
      begun_here = true;
    }
  }
}

// A block for each tile in which a run begins that later tiles end: its parts, in order.
KERNEL(THREADS)
void embedding_backward_seams(const int* keys, float* dtoken_table, const float* seams, int n,
                              int V, int E) {
  const int first = block_index() * TILE, last = first + TILE - 1;
  if (last + 1 >= n) return;
  const int id = keys[last];
  const bool goes_on = keys[last + 1] == id;
  const bool begun_here = keys[first] != id || first == 0 || keys[first - 1] != id;
  const int column = column_of();
  if (!goes_on || !begun_here || id >= V || column >= E) return;
  const int count = E - column;
  const bool vector = movable<N>(dtoken_table, E) && movable<N>(seams, E);
  seams += static_cast<i64>(block_index()) * 2 * E + column;
  auto sum = load_part<N>(seams + E, count, vector);
  for (int at = last + 1; at < n && keys[at] == id; at += TILE) {  // `at` begins a tile
    seams += 2 * static_cast<i64>(E);
    const auto part = load_part<N>(seams, count, vector);
#pragma unroll
    for (int i = 0; i < N; i++) sum[i] += part[i];
  }
  add_to(dtoken_table + static_cast<i64>(id) * E + column, sum, count, vector);
}

// dposition_table[t] += Σ_b dout[b, t], b in order. grid: (T, ceil(E / 256)).
template <typename T_VALUE>
DEVICE void embedding_backward_positions(const T_VALUE* dout,     // (B, T, E)
                                         float* dposition_table,  // (S, E), added to
                                         int B, int T, int E) {
  const int t = block_index(), column = column_of();
  if (column >= E) return;
  const int count = E - column;
  const bool vector = movable<N>(dout, E);
  const i64 step = static_cast<i64>(T) * E;
  dout += static_cast<i64>(t) * E + column;
  Pack<float, N> sum{};
  int b = 0;
  for (; b + AHEAD <= B; b += AHEAD) {
    Pack<T_VALUE, N> values[AHEAD];
#pragma unroll
    for (int j = 0; j < AHEAD; j++) values[j] = load_part<N>(dout + (b + j) * step, count, vector);
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
#pragma unroll
      for (int i = 0; i < N; i++) sum[i] += to_float(values[j][i]);
    }
  }
  for (; b < B; b++) {
    const auto value = to_float(load_part<N>(dout + b * step, count, vector));
#pragma unroll
    for (int i = 0; i < N; i++) sum[i] += value[i];
  }
  add_to(dposition_table + static_cast<i64>(t) * E + column, sum, count,
         movable<N>(dposition_table, E));
}

#define INSTANTIATE(T_VALUE)                                                                      \
  KERNEL(FORWARD_THREADS)                                                                         \
  void embedding_forward_##T_VALUE(const int* tokens, const T_VALUE* token_table,                 \
                                   const T_VALUE* position_table, T_VALUE* out, i64 M, int T,     \
                                   int V, int E, int S, i64 position,                             \
                                   const i64* position_pointer, i64* errors) {                    \
    embedding_forward(tokens, token_table, position_table, out, M, T, V, E, S, position,          \
                      position_pointer, errors);                                                  \
  }                                                                                               \
  KERNEL(THREADS)                                                                                 \
  void embedding_backward_tokens_##T_VALUE(const T_VALUE* dout, const int* keys,                  \
                                           const int* order, float* dtoken_table, float* seams,   \
                                           int n, int V, int E) {                                 \
    embedding_backward_tokens(dout, keys, order, dtoken_table, seams, n, V, E);                   \
  }                                                                                               \
  KERNEL(THREADS)                                                                                 \
  void embedding_backward_positions_##T_VALUE(const T_VALUE* dout, float* dposition_table, int B, \
                                              int T, int E) {                                     \
    embedding_backward_positions(dout, dposition_table, B, T, E);                                 \
  }
INSTANTIATE(f32)
INSTANTIATE(bf16)
INSTANTIATE(f16)
