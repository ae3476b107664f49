// The index of the pooling on the CPU: which runs there are, and in which order.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <tuple>
#include <vector>

#include "kernels.h"

namespace bevpool {

// The runs of one image in the order of columns, bins, rows.
struct ImageRuns {
  std::vector<Run> runs;
  std::vector<int32_t> column_offsets;  // [W + 1]
};

std::vector<ImageRuns> find_runs(const at::Tensor& cells, int64_t grid);

// A list of runs, and where each group of them begins (and the last ends).
struct RunList {
  at::Tensor offsets;  // [groups + 1] int32
  at::Tensor runs;     // [R, 4] int32, see Run

  const int32_t* offset() const { return offsets.const_data_ptr<int32_t>(); }
  const Run* run() const { return reinterpret_cast<const Run*>(runs.const_data_ptr<int32_t>()); }
};

// The runs of each tile behind each other, within it in the order in which they are given.
RunList runs_by_tile(const std::vector<ImageRuns>& images, const at::Tensor& cells, int64_t bev_y,
                     int64_t bev_x);
RunList column_runs(const std::vector<ImageRuns>& images, const at::Tensor& cells);

int64_t tiles_of(int64_t bev_y, int64_t bev_x);

// Offsets and runs of the forward, offsets and runs of the columns. For the CPU the forward's are
// by tiles. For a GPU they are by cells, `offsets` is [B * grid + 1]; the columns' are by columns
// and row tiles, and a run's `cell` there is its place in the order of cells.
using Plan = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

Plan gpu_plan(const std::vector<ImageRuns>& images, const at::Tensor& cells, int64_t grid);

// The operator.
Plan bev_pool_plan(const at::Tensor& cells, int64_t bev_y, int64_t bev_x, bool for_gpu);

}  // namespace bevpool
