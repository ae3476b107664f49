// The whole CUDA side, kernels and the code around them, on CPU tensors; see test_cuda_emulation.py.
#include <torch/library.h>

#include <optional>
#include <string>
#include <tuple>

// The operators get names of their own here, for PyTorch knows these already.
#undef TORCH_LIBRARY_FRAGMENT
#undef TORCH_LIBRARY_IMPL
#define TORCH_LIBRARY_FRAGMENT(name, m) static void define_##name(torch::Library& m)
#define TORCH_LIBRARY_IMPL(name, key, m) static void implement_##name(torch::Library& m)

#include "../../csrc/cuda/backward.cu"
#include "../../csrc/cuda/columns.cu"
#include "../../csrc/cuda/frustum.cu"
#include "../../csrc/cuda/pool_cells.cu"
#include "../../csrc/cuda/rows.cu"
#include "../../csrc/cuda/runs.cu"

namespace bevpool {
bool runs_on_current_gpu() { return true; }
}  // namespace bevpool

#include "../../csrc/cuda/bev_pool_cuda.cpp"

namespace bevpool {
namespace {

// bev_pool, but with room for the sums of so many runs.
Tensor bev_pool_with_sums(const Tensor& depth, const Tensor& context, const Tensor& cells,
                          const std::optional<Tensor>& offsets, const std::optional<Tensor>& runs,
                          const std::optional<Tensor>& column_offsets,
                          const std::optional<Tensor>& column_runs, int64_t bev_y, int64_t bev_x,
                          int64_t sum_rows) {
  const int64_t grid = bev_y * bev_x;
  DeviceRuns found = offsets ? planned_runs(cells, grid, *offsets, *runs, *column_offsets,
                                            *column_runs)
                             : find_runs(cells, grid, nullptr);
  found.most = sum_rows;
  Tensor bev = at::empty({cells.size(0), context.size(2), bev_y, bev_x}, depth.options());
  pool_runs(DepthLayout(depth), ContextLayout(context), cells, found, bev, nullptr);
  return bev;
}

// Counts and runs of the columns, and the order of the runs by cell.
std::tuple<Tensor, Tensor, Tensor> runs_without_a_plan(const Tensor& cells, int64_t grid) {
  const DeviceRuns found = find_runs(cells, grid, nullptr);
  return {found.group_counts, found.by_column.view({-1, found.room, 4}), found.by_cell_order};
}

void run_last_first(bool last_first) { emulation::last_first = last_first; }

TORCH_LIBRARY(bevdepth_plus_ops_emulated, m) {
  const std::string index = "Tensor? offsets, Tensor? runs, Tensor? column_offsets, ";
  const std::string pool = "Tensor depth, Tensor context, Tensor cells, " + index +
                           "Tensor? column_runs, int bev_y, int bev_x";
  m.def(("bev_pool(" + pool + ") -> Tensor").c_str(), bev_pool_cuda);
  m.def(("bev_pool_with_sums(" + pool + ", int sum_rows) -> Tensor").c_str(), bev_pool_with_sums);
  m.def("bev_pool_backward", bev_pool_backward_cuda);
  m.def("find_runs", runs_without_a_plan);
  m.def("frustum_cells", frustum_cells_cuda);
  m.def("run_last_first", run_last_first);
}

}  // namespace
}  // namespace bevpool
