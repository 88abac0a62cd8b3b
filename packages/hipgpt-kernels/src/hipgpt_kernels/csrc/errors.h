/*
What a kernel says about bad input, since it cannot raise: a record that the next wait looks at.

The odd thing: a kernel that meets a bad number goes on without it (an id is skipped or replaced, so
no memory outside the arrays is touched) and the results of that op mean nothing. `errors` is three
int64 on the device (code, value, limit), zero while all is well, or null; the first op to complain
keeps the record. hip/ops/errors.py makes the exception of it.
*/

#pragma once

#include "device.h"

enum ErrorCode : i64 {
  GATHER_STARTS = 1,                    // value: the start; limit: the last possible one
  EMBEDDING_FORWARD_TOKENS = 2,         // value: the id; limit: V
  EMBEDDING_BACKWARD_TOKENS = 3,        // value: the id; limit: V
  CROSS_ENTROPY_FORWARD_TARGETS = 4,    // value: the target; limit: V
  CROSS_ENTROPY_BACKWARD_TARGETS = 5,   // value: the target; limit: V
  SAMPLE_NOT_FINITE = 6,                // value: the row
};

// Several threads may report at once; each tells the truth, and one of them stays.
DEVICE void report(i64* errors, i64 code, i64 value, i64 limit) {
  if (errors == nullptr || errors[0] != 0) return;
  errors[1] = value;
  errors[2] = limit;
  errors[0] = code;
}
