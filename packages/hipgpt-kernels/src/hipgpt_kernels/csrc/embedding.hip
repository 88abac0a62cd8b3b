/*
Token and position rows: gathered forward; backward both tables' gradients, which are added to.

The odd thing: the backward uses no atomics and yet lets many blocks add to one row. The tokens are
first sorted by id (a stable radix sort, 8 bits a pass), which brings the rows of `dout` that belong
to one id together, in the order of the tokens. Blocks then take tiles of sorted tokens. A run of one
id that lies within a tile goes straight to the table; of a run that crosses tiles each tile writes
its part to `seams`, and one block adds those parts in order. Every order is fixed by the tokens.
The position table's gradient, a plain sum over B, travels with the launches of the sort.
*/

#include "errors.h"
#include "overlap.h"
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
    // M < 2³², and a 64-bit remainder is a hundred instructions.
    const i64 row = position + static_cast<u32>(m) % static_cast<u32>(T);
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

// --- backward: the position table --------------------------------------------------------------

constexpr int THREADS = 64;  // of a block of the sums
constexpr int N = 4;         // neighbouring columns of a thread
constexpr int AHEAD = 8;     // rows whose loads are under way at once
constexpr int BATCH = 8;     // the same for the position table

// N values as words: in a Pack of its own type the compiler gives each value of 16 bits a whole register.
template <typename T>
using Words = Pack<u32, N * static_cast<int>(sizeof(T)) / 4>;
template <typename T>
DEVICE Words<T> load_words(const T* source, int count, bool vector) {
  return bit_cast<Words<T>>(load_part<N>(source, count, vector));
}
template <typename T>
DEVICE void add_words(Pack<float, N>& sum, const Words<T>& words) {
  const auto value = to_float(bit_cast<Pack<T, N>>(afresh(words)));
#pragma unroll
  for (int i = 0; i < N; i++) sum[i] += value[i];
}

// table[column …] += sum
DEVICE void add_to(float* table, const Pack<float, N>& sum, int count, bool vector) {
  auto values = load_part<N>(table, count, vector);
#pragma unroll
  for (int i = 0; i < N; i++) values[i] += sum[i];
  store_part(table, values, count, vector);
}

// dposition_table[t] += Σ_b dout[b, t], b in order, for one t and 256 columns by THREADS threads.
template <typename T_VALUE>
DEVICE void add_positions(const T_VALUE* dout,     // (B, T, E)
                          float* dposition_table,  // (S, E), added to
                          int B, int T, int E, int t, int column) {
  if (column >= E) return;
  const int count = E - column;
  const bool vector = movable<N>(dout, E);
  const i64 step = static_cast<i64>(T) * E;
  dout += static_cast<i64>(t) * E + column;
  Pack<float, N> sum{};
  int b = 0;
  for (; b + BATCH <= B; b += BATCH) {
    Pack<T_VALUE, N> values[BATCH];
#pragma unroll
    for (int j = 0; j < BATCH; j++) values[j] = load_part<N>(dout + (b + j) * step, count, vector);
#pragma unroll
    for (int j = 0; j < BATCH; j++) {
#pragma unroll
      for (int i = 0; i < N; i++) sum[i] += to_float(values[j][i]);
    }
  }
  for (; b < B; b++) add_words<T_VALUE>(sum, load_words(dout + b * step, count, vector));
  add_to(dposition_table + static_cast<i64>(t) * E + column, sum, count,
         movable<N>(dposition_table, E));
}

// --- backward: the sort ------------------------------------------------------------------------

constexpr int SORT_THREADS = 256;
constexpr int SORT_WAVES = SORT_THREADS / WAVE;
constexpr int SORT_TILE = 1024;  // tokens of a block
constexpr int DIGITS = 256;      // values of one pass's 8 bits
constexpr int SHARE = SORT_TILE / SORT_WAVES;  // neighbouring tokens of one wave
constexpr int STEPS = SHARE / WAVE;

// The key of token i: its id, or V for an id outside [0, V), which sorts behind all others.
DEVICE int key_of(int id, int V) { return id < 0 || id >= V ? V : id; }

// A tile in LDS: a wave's keys and tokens, which its own lanes put there before they look at the first,
// because the steps below wait for each other and the loads need not.
struct SortTile {
  int keys[SORT_TILE];
  int tokens[SORT_TILE];
  int counts[SORT_WAVES][DIGITS];
};

// The keys of this wave's share, 0 past the end, and which token each is: `order`, or 0, 1, … for null.
DEVICE void load_keys(SortTile& tile, const int* keys, const int* order, int n, int V, int first) {
  int mine[STEPS], tokens[STEPS];
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    const int i = first + step * WAVE + lane();
    mine[step] = i < n ? key_of(keys[i], V) : 0;
    tokens[step] = order == nullptr || i >= n ? i : order[i];
  }
#pragma unroll
  for (int step = 0; step < STEPS; step++) {
    const int at = wave_index() * SHARE + step * WAVE + lane();
    tile.keys[at] = mine[step];
    tile.tokens[at] = tokens[step];
  }
}

DEVICE u32 digit_of(const SortTile& tile, int step, int shift) {
  const int key = tile.keys[wave_index() * SHARE + step * WAVE + lane()];
  return static_cast<u32>(key) >> shift & (DIGITS - 1);
}

// How often each digit occurs in each wave's share of a tile. Lanes with the same digit are found
// by votes and the lowest counts for all of them, so no two lanes write one counter.
DEVICE void count_digits(SortTile& tile, int n, int first, int shift) {
  for (int i = thread_index(); i < SORT_WAVES * DIGITS; i += SORT_THREADS) {
    tile.counts[i / DIGITS][i % DIGITS] = 0;
  }
  local_barrier();
#pragma unroll 1
  for (int step = 0; step < STEPS; step++) {
    const bool is_key = first + step * WAVE + lane() < n;
    const u32 digit = digit_of(tile, step, shift);
    const u64 peers = same_digit(digit, is_key);
    if (is_key && (peers & lanes_below()) == 0) {
      tile.counts[wave_index()][digit] += count_bits(peers);
    }
    wave_barrier();
  }
  local_barrier();
}

DEVICE int share_start() { return block_index() * SORT_TILE + wave_index() * SHARE; }

// digit_counts (tiles, 256): how often each digit occurs in each tile. tiles = ceil(n / 1024).
DEVICE void sort_count(const int* keys,    // (n,): the tokens, or the last pass's keys
                       int* digit_counts,  // (tiles, 256)
                       int n, int V, int shift) {
  SHARED SortTile tile;
  const int first = share_start();
  load_keys(tile, keys, nullptr, n, V, first);
  count_digits(tile, n, first, shift);
  const int digit = thread_index();
  int total = 0;
#pragma unroll
  for (int wave = 0; wave < SORT_WAVES; wave++) total += tile.counts[wave][digit];
  digit_counts[block_index() * DIGITS + digit] = total;
}

// Each key to its place: behind all smaller digits, and behind its equals that came before.
DEVICE void sort_scatter(const int* keys,          // (n,)
                         const int* order,         // (n,) which token a key is; null: 0, 1, …
                         const int* digit_counts,  // (tiles, 256)
                         int* sorted_keys,         // (n,)
                         int* sorted_order,        // (n,)
                         int n, int V, int shift, int tiles, i64* errors) {
  static_assert(SORT_THREADS == DIGITS, "a thread a digit");
  SHARED SortTile tile;
  const int first = share_start();
  load_keys(tile, keys, order, n, V, first);
  const int digit = thread_index();
  int before = 0, total = 0;
#pragma unroll 16
  for (int other = 0; other < tiles; other++) {
    const int count = digit_counts[other * DIGITS + digit];
    before += other < block_index() ? count : 0;
    total += count;
  }
  int place = block_running_sum<SORT_THREADS>(total) - total + before;
  count_digits(tile, n, first, shift);
#pragma unroll
  for (int wave = 0; wave < SORT_WAVES; wave++) {
    const int count = tile.counts[wave][digit];
    tile.counts[wave][digit] = place;  // where the wave's next key of this digit goes
    place += count;
  }
  local_barrier();
#pragma unroll 1
  for (int step = 0; step < STEPS; step++) {
    const int i = first + step * WAVE + lane();
    const bool is_key = i < n;
    const u32 own_digit = digit_of(tile, step, shift);
    const u64 peers = same_digit(own_digit, is_key);
    const int rank = count_bits(peers & lanes_below());
    const int at = tile.counts[wave_index()][own_digit] + rank;
    wave_barrier();  // every lane has read the counter before its first moves it
    if (is_key) {
      const int place_in_tile = wave_index() * SHARE + step * WAVE + lane();
      const int key = tile.keys[place_in_tile];
      if (order == nullptr && key == V) report(errors, EMBEDDING_BACKWARD_TOKENS, keys[i], V);
      sorted_keys[at] = key;
      sorted_order[at] = tile.tokens[place_in_tile];
      if (rank == 0) tile.counts[wave_index()][own_digit] = at + count_bits(peers);
    }
    wave_barrier();
  }
}

// The sort keeps few blocks busy and is mostly waiting; the position table's gradient needs nothing of
// it. So each launch of the sort takes along a share of that work, in the blocks behind its own: unit
// u = t · groups + group is 256 columns of one position, and a block takes SORT_THREADS / THREADS units
// from `first_unit` on.
template <typename T_VALUE>
DEVICE bool take_along(const T_VALUE* dout, float* dposition_table, int B, int T, int E,
                       int first_unit, int tiles) {
  if (block_index() < tiles) return false;
  const int unit = first_unit + (block_index() - tiles) * (SORT_THREADS / THREADS) +
                   thread_index() / THREADS;
  const int groups = ceil_div(E, THREADS * N);
  if (unit >= T * groups) return true;
  const int column = (unit % groups * THREADS + thread_index() % THREADS) * N;
  add_positions(dout, dposition_table, B, T, E, unit / groups, column);
  return true;
}

// --- backward: the sums ------------------------------------------------------------------------

constexpr int TILE = 32;  // sorted tokens of a block

DEVICE int column_of() { return (block_index_y() * THREADS + thread_index()) * N; }

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
  local_barrier();
  const int column = column_of();
  if (column >= E) return;
  const int count = E - column;
  const bool vector = movable<N>(dout, E);
  const bool table_moves = movable<N>(dtoken_table, E) && movable<N>(seams, E);
  seams += static_cast<i64>(block_index()) * 2 * E + column;
  Pack<float, N> sum{};
  for (int start = 0; start < TILE; start += AHEAD) {
    Words<T> values[AHEAD];
    Pack<float, N> old[AHEAD];  // of the table, where a run ends
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      const int i = start + j, id = key[i + 1];
      values[j] = load_words(dout + static_cast<i64>(row[i]) * E + column, count, vector);
      // The run lies within the tile: it ends here, and is not the one that the last tile began.
      const bool direct = id >= 0 && id < V && key[i + 2] != id && key[0] != id;
      float* place = dtoken_table + static_cast<i64>(id) * E + column;
      if (direct) old[j] = load_part<N>(place, count, table_moves);
    }
#pragma unroll
    for (int j = 0; j < AHEAD; j++) {
      const int i = start + j, id = key[i + 1];
      if (id < 0 || id >= V) return;  // past the end, or an id that was refused
      add_words<T>(sum, values[j]);
      const bool run_ends = key[i + 2] != id;
      if (!run_ends && i + 1 < TILE) continue;
      if (key[0] == id) {
        store_part(seams, sum, count, table_moves);
      } else if (!run_ends) {
        store_part(seams + E, sum, count, table_moves);
      } else {
#pragma unroll
        for (int c = 0; c < N; c++) sum[c] += old[j][c];
        store_part(dtoken_table + static_cast<i64>(id) * E + column, sum, count, table_moves);
      }
      sum = Pack<float, N>{};
    }
  }
}

// How many tiles after `tile` begin with id: the keys are sorted, so those come without a gap.
DEVICE int tiles_of(const int* keys, int n, int tile, int id) {
  int found = 0;
  for (;;) {
    const i64 at = (static_cast<i64>(tile) + 1 + found + thread_index()) * TILE;
    const int same = at < n && keys[at] == id ? 1 : 0;
    const int count = block_sum<THREADS>(same);
    found += count;
    if (count < THREADS) return found;
  }
}

// A block for each tile in which a run begins that later tiles end: its parts, in order.
KERNEL(THREADS)
void embedding_backward_seams(const int* keys, float* dtoken_table, const float* seams, int n,
                              int V, int E) {
  take_turn();
  const int first = block_index() * TILE, last = first + TILE - 1;
  if (last + 1 >= n) return;
  const int id = keys[last];
  const bool goes_on = keys[last + 1] == id;
  const bool begun_here = keys[first] != id || first == 0 || keys[first - 1] != id;
  if (!goes_on || !begun_here || id >= V) return;
  const int parts = tiles_of(keys, n, block_index(), id);
  const int column = column_of();
  if (column >= E) return;
  const int count = E - column;
  const bool vector = movable<N>(dtoken_table, E) && movable<N>(seams, E);
  const i64 step = 2 * static_cast<i64>(E);
  seams += block_index() * step + column;
  auto sum = load_part<N>(seams + E, count, vector);
#pragma unroll 8
  for (int i = 1; i <= parts; i++) {
    const auto part = load_part<N>(seams + i * step, count, vector);
#pragma unroll
    for (int c = 0; c < N; c++) sum[c] += part[c];
  }
  add_to(dtoken_table + static_cast<i64>(id) * E + column, sum, count, vector);
}

#define INSTANTIATE(T_VALUE)                                                                      \
  KERNEL(FORWARD_THREADS)                                                                         \
  void embedding_forward_##T_VALUE(const int* tokens, const T_VALUE* token_table,                 \
                                   const T_VALUE* position_table, T_VALUE* out, i64 M, int T,     \
                                   int V, int E, int S, i64 position,                             \
                                   const i64* position_pointer, i64* errors) {                    \
    take_turn();                                                                                  \
    embedding_forward(tokens, token_table, position_table, out, M, T, V, E, S, position,          \
                      position_pointer, errors);                                                  \
  }                                                                                               \
  KERNEL(SORT_THREADS)                                                                            \
  void embedding_sort_count_##T_VALUE(const int* keys, int* digit_counts, int n, int V,           \
                                      int shift, int tiles, const T_VALUE* dout,                  \
                                      float* dposition_table, int B, int T, int E,                \
                                      int first_unit) {                                           \
    take_turn();                                                                                  \
    if (take_along(dout, dposition_table, B, T, E, first_unit, tiles)) return;                    \
    sort_count(keys, digit_counts, n, V, shift);                                                  \
  }                                                                                               \
  KERNEL(SORT_THREADS)                                                                            \
  void embedding_sort_scatter_##T_VALUE(const int* keys, const int* order,                        \
                                        const int* digit_counts, int* sorted_keys,                \
                                        int* sorted_order, int n, int V, int shift, int tiles,    \
                                        i64* errors, const T_VALUE* dout,                         \
                                        float* dposition_table, int B, int T, int E,              \
                                        int first_unit) {                                         \
    take_turn();                                                                                  \
    if (take_along(dout, dposition_table, B, T, E, first_unit, tiles)) return;                    \
    sort_scatter(keys, order, digit_counts, sorted_keys, sorted_order, n, V, shift, tiles,        \
                 errors);                                                                         \
  }                                                                                               \
  KERNEL(THREADS)                                                                                 \
  void embedding_backward_tokens_##T_VALUE(const T_VALUE* dout, const int* keys,                  \
                                           const int* order, float* dtoken_table, float* seams,   \
                                           int n, int V, int E) {                                 \
    take_turn();                                                                                  \
    embedding_backward_tokens(dout, keys, order, dtoken_table, seams, n, V, E);                   \
  }
INSTANTIATE(f32)
INSTANTIATE(bf16)
INSTANTIATE(f16)
