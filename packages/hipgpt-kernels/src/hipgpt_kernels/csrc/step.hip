/*
What surrounds the arithmetic of a training step: the numbers that change from step to step, what
becomes of the update, and what a report shows.

The odd thing: these kernels do next to nothing and exist so that the host need not: a step that is
captured as a graph reads its learning rate, its batch and its loss scale from device memory, and
nobody waits for the device to decide whether an update is skipped.
*/

#include "overlap.h"

constexpr int THREADS = 256;
constexpr int MEAN_THREADS = 1024;

// out = table[cursor[0]], and the cursor moves on; it stays on the last row. grid: 1.
KERNEL(THREADS)
void take_row(const i64* table,  // (rows, W)
              i64* cursor,       // ()
              i64* out,          // (W,)
              i64 rows, int W) {
  take_turn();
  const i64 row = minimum(maximum(*cursor, i64{0}), rows - 1);
  local_barrier();  // every thread has read it
  if (thread_index() == 0) *cursor = minimum(row + 1, rows);
  for (int i = thread_index(); i < W; i += THREADS) out[i] = table[row * W + i];
}

// As `Control` in backend/training.py.
enum Control {
  LOSS_SCALE, GOOD_STEPS, NORM_MEAN, NORM_STEPS, OVERFLOWS, OUTLIERS, LOST_IN_A_ROW, NORM
};

constexpr double CLIP_EPSILON = 1e-6;
constexpr double LARGEST_SCALE = 16777216.0;
constexpr double NORM_WINDOW = 100.0;
constexpr double NORMS_WANTED = 20.0;

// One thread, in double: the same bits as cpu/step.py. grid: 1.
KERNEL(64)
void step_control(float* control,     // (8,), updated
                  const float* norm,  // (), of the scaled gradients
                  double* factor,     // (), written
                  double max_norm, double outlier, i64 growth) {
  take_turn();
  if (thread_index() != 0) return;
  double scale = control[LOSS_SCALE];
  double good = control[GOOD_STEPS];
  double mean = control[NORM_MEAN];
  double steps = control[NORM_STEPS];
  const double size = static_cast<double>(*norm) / scale;
  const bool overflow = !(fabsf(*norm) <= 3.402823466e38f);
  const bool strange =
      !overflow && outlier > 0.0 && steps >= NORMS_WANTED && size > outlier * mean;
  double use = __builtin_nan("");
  double lost = 0.0;
  if (overflow) {
    control[OVERFLOWS] += 1.0f;
    good = 0.0;
    lost = control[LOST_IN_A_ROW];
    if (growth > 0 && scale > 1.0) {
      scale = maximum(scale / 2.0, 1.0);
    } else {
      lost += 1.0;
    }
  } else {
    if (strange) {
      control[OUTLIERS] += 1.0f;
    } else {
      const double wanted = max_norm > 0.0 ? max_norm / (size + CLIP_EPSILON) : 1.0;
      use = (wanted < 1.0 ? wanted : 1.0) / scale;
    }
    const double counted = strange ? outlier * mean : size;
    steps = minimum(steps + 1.0, NORM_WINDOW);
    mean += (counted - mean) / steps;
    good += 1.0;
    if (growth > 0 && good >= static_cast<double>(growth)) {
      scale = minimum(scale * 2.0, LARGEST_SCALE);
      good = 0.0;
    }
  }
  control[LOSS_SCALE] = static_cast<float>(scale);
  control[GOOD_STEPS] = static_cast<float>(good);
  control[NORM_MEAN] = static_cast<float>(mean);
  control[NORM_STEPS] = static_cast<float>(steps);
  control[LOST_IN_A_ROW] = static_cast<float>(lost);
  control[NORM] = static_cast<float>(size);
  *factor = use;
}

// out[r] = mean of x[r, :]. grid: rows.
KERNEL(MEAN_THREADS)
void row_means(const float* x,  // (rows, n)
               double* out,     // (rows,)
               i64 n) {
  const float* row = x + static_cast<i64>(block_index()) * n;
  double total = 0.0;
#pragma unroll 4
  for (i64 i = thread_index(); i < n; i += MEAN_THREADS) total += row[i];
  total = block_sum<MEAN_THREADS>(total);
  if (thread_index() == 0) out[block_index()] = total / static_cast<double>(n);
}
