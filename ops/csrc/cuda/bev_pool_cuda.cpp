// The CUDA side of the operators: allocates, finds the runs where there is no plan, launches.
// Nothing here waits for the device, and everything runs on the current stream of the tensors'
// device.
#include <ATen/core/Tensor.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "../checks.h"
#include "launchers.h"

namespace bevpool {
namespace {

CudaDtype cuda_dtype_of(const Tensor& t) {
  switch (t.scalar_type()) {
    case at::kFloat: return CudaDtype::kFloat;
    case at::kDouble: return CudaDtype::kDouble;
    case at::kBFloat16: return CudaDtype::kBFloat16;
    default: return CudaDtype::kHalf;
  }
}

int64_t padded(int64_t channels, CudaDtype dtype) {
  const int64_t vector = channels_per_vector(dtype);
  return (channels + vector - 1) / vector * vector;
}

PixelFeatures features_of(const ContextLayout& context) {
  return {context.tensor.const_data_ptr(), context.image_stride, context.channel_stride,
          context.pixel_stride};
}

// [items, channels, cells] -> [items, cells, padded channels]
Tensor packed_rows(const Tensor& grad, cudaStream_t stream) {
  const CudaDtype dtype = cuda_dtype_of(grad);
  const int64_t channels = grad.size(1), cells = grad.size(2) * grad.size(3);
  const int64_t width = padded(channels, dtype);
  Tensor packed = at::empty({grad.size(0), cells, width}, grad.options());
  launch_rows(dtype,
              {grad.const_data_ptr(), grad.size(0), cells, channels, width, channels * cells,
               cells, packed.data_ptr()},
              stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return packed;
}

// Sums of runs take at most so much memory. Without a plan there is room for one run in 16 points;
// upright cameras have one in 19. Runs beyond have no sum of their own: the second kernel reads
// their depth and context.
constexpr int64_t kMostSumBytes = int64_t{64} << 20, kPointsPerSum = 16;

// The runs of some cells, sorted both ways, and the tensors that own them; see launchers.h.
struct DeviceRuns {
  Tensor cell_offsets;
  Tensor by_cell;        // with a plan: the runs
  Tensor by_cell_order;  // without: their numbers in `by_column`
  Tensor cell_runs;      // without: how many each cell has
  Tensor group_offsets, group_counts, by_column;
  int64_t room = 0;
  int64_t most = 0;  // runs there may be

  const uint32_t* order() const {
    return by_cell_order.defined()
               ? reinterpret_cast<const uint32_t*>(by_cell_order.const_data_ptr<int32_t>())
               : nullptr;
  }
  RunGroups groups() const {
    return {group_offsets.defined() ? group_offsets.const_data_ptr<int32_t>() : nullptr,
            group_counts.defined() ? group_counts.const_data_ptr<int32_t>() : nullptr, room};
  }
};

const Run* run_pointer(const Tensor& runs) {
  return reinterpret_cast<const Run*>(runs.const_data_ptr<int32_t>());
}

int64_t groups_of(const Tensor& cells) {
  return cells.size(0) * cells.size(1) * cells.size(4) * row_tiles_of(cells.size(3));
}

// The runs of a plan, by column.
DeviceRuns planned_columns(const Tensor& cells, const Tensor& column_offsets,
                           const Tensor& column_runs) {
  check_runs(column_offsets, column_runs, groups_of(cells), cells, "column_offsets",
             "column_runs");
  DeviceRuns found;
  found.group_offsets = column_offsets.contiguous();
  found.by_column = column_runs.contiguous();
  return found;
}

// And by cell.
DeviceRuns planned_runs(const Tensor& cells, int64_t grid, const Tensor& offsets,
                        const Tensor& runs, const Tensor& column_offsets,
                        const Tensor& column_runs) {
  DeviceRuns found = planned_columns(cells, column_offsets, column_runs);
  check_runs(offsets, runs, cells.size(0) * grid, cells, "offsets", "runs");
  found.cell_offsets = offsets.contiguous();
  found.by_cell = runs.contiguous();
  found.most = runs.size(0);
  return found;
}

// The runs of new cells, by column.
DeviceRuns find_column_runs(const Tensor& cells, int64_t grid, cudaStream_t stream) {
  const int64_t items = cells.size(0), groups = groups_of(cells);
  DeviceRuns found;
  found.room = most_runs_of_group(cells.size(2), cells.size(3));
  found.by_column = at::empty({groups * found.room, 4}, cells.options());
  found.group_counts = at::empty({groups}, cells.options());
  found.cell_runs = at::zeros({items * grid}, cells.options());
  launch_find_runs({cells.const_data_ptr<int32_t>(), items * cells.size(1), cells.size(1),
                    cells.size(2), cells.size(3), cells.size(4), grid,
                    reinterpret_cast<Run*>(found.by_column.data_ptr<int32_t>()),
                    found.group_counts.data_ptr<int32_t>(), found.cell_runs.data_ptr<int32_t>()},
                   stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return found;
}

// And by cell.
DeviceRuns find_runs(const Tensor& cells, int64_t grid, cudaStream_t stream) {
  const int64_t all_cells = cells.size(0) * grid;
  DeviceRuns found = find_column_runs(cells, grid, stream);
  found.most = cells.numel() / kPointsPerSum + 1;
  found.cell_offsets = at::empty({all_cells + 1}, cells.options());
  found.cell_offsets.narrow(0, 0, 1).zero_();
  Tensor ends = found.cell_offsets.narrow(0, 1, all_cells);
  at::cumsum_out(ends, found.cell_runs, 0, at::kInt);

  found.by_cell_order = at::empty({cells.numel()}, cells.options());
  Tensor unsorted = at::empty({cells.numel()}, cells.options());
  launch_sort_runs({found.cell_offsets.const_data_ptr<int32_t>(),
                    found.cell_runs.data_ptr<int32_t>(), found.groups(),
                    cells.size(1) * cells.size(4), groups_of(cells), all_cells, grid,
                    reinterpret_cast<Run*>(found.by_column.data_ptr<int32_t>()),
                    reinterpret_cast<uint32_t*>(unsorted.data_ptr<int32_t>()),
                    reinterpret_cast<uint32_t*>(found.by_cell_order.data_ptr<int32_t>())},
                   stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return found;
}

// First the sum of each run, column by column, then the sum of each cell's runs.
void pool_runs(const DepthLayout& depth, const ContextLayout& context, const Tensor& cells,
               const DeviceRuns& runs, const Tensor& bev, cudaStream_t stream) {
  const CudaDtype dtype = cuda_dtype_of(bev);
  const int64_t bins = cells.size(2), height = cells.size(3), width = cells.size(4);
  const int64_t channels = bev.size(1), width_of_sums = padded(channels, dtype);
  const at::ScalarType sum_type = dtype == CudaDtype::kDouble ? at::kDouble : at::kFloat;
  const int64_t bytes = width_of_sums * static_cast<int64_t>(at::elementSize(sum_type));
  const int64_t sum_rows = std::min(runs.most, std::max(kMostSumBytes / bytes, int64_t{1}));
  const Tensor sums = at::empty({sum_rows, width_of_sums}, bev.options().dtype(sum_type));
  launch_columns(dtype,
                 {depth.tensor.const_data_ptr(), depth.image_stride, features_of(context),
                  runs.groups(), run_pointer(runs.by_column), cells.size(0) * cells.size(1), bins,
                  height, width, channels, width_of_sums, sums.data_ptr(), sum_rows},
                 stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  launch_pool_cells(dtype,
                    {depth.tensor.const_data_ptr(), depth.image_stride, features_of(context),
                     runs.cell_offsets.const_data_ptr<int32_t>(),
                     run_pointer(runs.by_cell.defined() ? runs.by_cell : runs.by_column),
                     runs.order(), sums.const_data_ptr(), sum_rows, cells.size(0), height, width,
                     channels, width_of_sums, bev.size(2) * bev.size(3), bev.data_ptr()},
                    stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

Tensor bev_pool_cuda(const Tensor& depth_in, const Tensor& context, const Tensor& cells_in,
                     const std::optional<Tensor>& offsets, const std::optional<Tensor>& runs,
                     const std::optional<Tensor>& column_offsets,
                     const std::optional<Tensor>& column_runs, int64_t bev_y, int64_t bev_x) {
  check_pool(depth_in, context, cells_in, bev_y, bev_x);
  const c10::cuda::CUDAGuard guard(depth_in.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();
  Tensor bev = at::empty({cells_in.size(0), context.size(2), bev_y, bev_x}, depth_in.options());
  if (bev.numel() == 0) return bev;
  if (cells_in.numel() == 0) return bev.zero_();
  const bool planned = offsets && runs && column_offsets && column_runs;
  const DeviceRuns found =
      planned ? planned_runs(cells_in, bev_y * bev_x, *offsets, *runs, *column_offsets,
                             *column_runs)
              : find_runs(cells_in.contiguous(), bev_y * bev_x, stream);
  if (found.most == 0) return bev.zero_();
  pool_runs(DepthLayout(depth_in), ContextLayout(context), cells_in, found, bev, stream);
  return bev;
}

std::tuple<Tensor, Tensor> bev_pool_backward_cuda(const Tensor& grad_in, const Tensor& depth_in,
                                                  const Tensor& context, const Tensor& cells_in,
                                                  const std::optional<Tensor>& column_offsets,
                                                  const std::optional<Tensor>& column_runs) {
  check_grad(grad_in, context);
  check_pool(depth_in, context, cells_in, grad_in.size(2), grad_in.size(3));
  const c10::cuda::CUDAGuard guard(depth_in.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();
  const DepthLayout depth(depth_in);
  const Tensor cells = cells_in.contiguous(), grad = grad_in.contiguous();
  if (cells.numel() == 0 || context.numel() == 0)
    return {at::zeros(cells.sizes(), depth_in.options()),
            at::zeros(context.sizes(), context.options())};
  const DeviceRuns runs = column_offsets && column_runs
                              ? planned_columns(cells, *column_offsets, *column_runs)
                              : find_column_runs(cells, grad.size(2) * grad.size(3), stream);
  const int64_t channels = context.size(2);
  const CudaDtype dtype = cuda_dtype_of(context);
  const ContextLayout features(context);
  const Tensor packed_grad = packed_rows(grad, stream);
  Tensor depth_grad = at::zeros(cells.sizes(), context.options());
  Tensor context_grad = at::empty(context.sizes(), context.options());
  launch_backward(dtype,
                  {depth.tensor.const_data_ptr(), depth.image_stride, features_of(features),
                   packed_grad.const_data_ptr(), runs.groups(), run_pointer(runs.by_column),
                   cells.const_data_ptr<int32_t>(), cells.size(0) * cells.size(1), cells.size(1),
                   cells.size(2), cells.size(3), cells.size(4), channels, padded(channels, dtype),
                   grad.size(2) * grad.size(3), depth_grad.data_ptr(), context_grad.data_ptr()},
                  stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {depth_grad, context_grad};
}

Tensor frustum_cells_cuda(const Tensor& ego_T_cam, const Tensor& intrinsics,
                          const Tensor& image_aug, const Tensor& bev_aug, const Tensor& u,
                          const Tensor& v, const Tensor& depths, at::ArrayRef<double> lower,
                          at::ArrayRef<double> cell_size, at::IntArrayRef grid_size,
                          bool truncate) {
  const c10::cuda::CUDAGuard guard(ego_T_cam.device());
  const FrustumInputs in(ego_T_cam, intrinsics, image_aug, bev_aug, u, v, depths);
  const Grid grid = grid_from(lower, cell_size, grid_size, truncate);
  Tensor cells = at::empty(in.cells_shape(), u.options().dtype(at::kInt));
  if (cells.numel() == 0) return cells;
  launch_frustum(
      {in.ego_T_cam.const_data_ptr<double>(), in.intrinsics.const_data_ptr<double>(),
       in.image_aug.const_data_ptr<double>(), in.bev_aug.const_data_ptr<double>(),
       in.u.const_data_ptr<float>(), in.v.const_data_ptr<float>(),
       in.depths.const_data_ptr<float>(), cells.size(0) * cells.size(1), cells.size(1),
       cells.size(2), cells.size(3), cells.size(4), grid, cells.data_ptr<int32_t>()},
      c10::cuda::getCurrentCUDAStream().stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return cells;
}

bool runs_on_gpu(int64_t index) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(index));
  return runs_on_current_gpu();
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(bevdepth_plus_ops, m) {
  m.def("runs_on_gpu(int index) -> bool", runs_on_gpu);
}

TORCH_LIBRARY_IMPL(bevdepth_plus_ops, CUDA, m) {
  m.impl("bev_pool", bev_pool_cuda);
  m.impl("bev_pool_backward", bev_pool_backward_cuda);
  m.impl("frustum_cells", frustum_cells_cuda);
}

}  // namespace bevpool
