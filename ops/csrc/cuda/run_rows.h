// A run within its column and row tile, in both directions of the pooling.
#pragma once

#include "launch.h"

namespace bevpool {

// Bit k is set if row k of the tile belongs to the run.
__device__ __forceinline__ uint32_t rows_in_tile(const Run& run, int first_row) {
  return ((1u << run.rows) - 1u) << (run.first_row - first_row);
}

// Depth summed over the run's bins in image row `row`; `column` is the first value of its column.
template <typename S>
__device__ __forceinline__ Sum<S> weight_of(const S* column, const Run& run, int64_t row,
                                            int64_t height, int64_t width) {
  const int64_t pixels = height * width;
  const S* depth = column + run.first_bin * pixels + row * width;
  Sum<S> weight = 0;
  for (int d = 0; d < run.bins; ++d) weight += to_sum(depth[d * pixels]);
  return weight;
}

// First run of a group, and how many it has.
struct RunRange {
  int64_t first, count;
};

__device__ __forceinline__ RunRange runs_of_group(const RunGroups& groups, int64_t group) {
  if (groups.offsets == nullptr) return {group * groups.room, groups.counts[group]};
  return {groups.offsets[group], groups.offsets[group + 1] - groups.offsets[group]};
}

}  // namespace bevpool
