// The CUDA side of the operators: allocates, sorts where there is no plan, launches. Nothing here
// waits for the device, and everything runs on the current stream of the tensors' device.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros_like.h>
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

// Feature rows, and the tensor that owns them.
struct OwnedRows {
  Tensor owner;
  FeatureRows rows;
};

OwnedRows packed_rows(const Tensor& source, int64_t images, int64_t rows, int64_t channels,
                      int64_t image_stride, int64_t channel_stride, cudaStream_t stream) {
  const CudaDtype dtype = cuda_dtype_of(source);
  const int64_t width = padded(channels, dtype);
  Tensor packed = at::empty({images, rows, width}, source.options());
  launch_rows(dtype,
              {source.const_data_ptr(), images, rows, channels, width, image_stride,
               channel_stride, packed.data_ptr()},
              stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {packed, {packed.const_data_ptr(), rows * width, width}};
}

// channels_last context is read where it is if its rows are whole aligned vectors.
OwnedRows context_rows(const Tensor& context, cudaStream_t stream) {
  const ContextLayout layout(context);
  const CudaDtype dtype = cuda_dtype_of(context);
  const int64_t vector = channels_per_vector(dtype), channels = context.size(2);
  const bool aligned = layout.channel_stride == 1 && channels % vector == 0 &&
                       layout.pixel_stride % vector == 0 && layout.image_stride % vector == 0 &&
                       reinterpret_cast<uintptr_t>(layout.tensor.const_data_ptr()) % 16 == 0;
  if (aligned && layout.pixel_stride != 1)
    return {layout.tensor,
            {layout.tensor.const_data_ptr(), layout.image_stride, layout.pixel_stride}};
  const ContextLayout nchw(layout.pixel_stride == 1 ? layout.tensor : context.contiguous());
  return packed_rows(nchw.tensor, context.size(0) * context.size(1),
                     context.size(3) * context.size(4), channels, nchw.image_stride,
                     nchw.channel_stride, stream);
}

// The points sorted by cell, and where each cell's begin.
struct PointOrder {
  Tensor points;   // [points] int64
  Tensor offsets;  // [items * grid + 1] int32
};

PointOrder sort_points(const Tensor& cells, int64_t grid, cudaStream_t stream) {
  const int64_t items = cells.size(0), points = cells.numel();
  Tensor keys = at::empty({points}, cells.options());
  launch_cell_keys(cells.const_data_ptr<int32_t>(), items, points / items, grid,
                   keys.data_ptr<int32_t>(), stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  // Stable, so that a cell's points keep one order and two runs add up alike.
  PointOrder order;
  std::tie(keys, order.points) = at::sort(keys, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  order.offsets = at::empty({items * grid + 1}, cells.options());
  launch_offsets(keys.const_data_ptr<int32_t>(), points, items * grid,
                 order.offsets.data_ptr<int32_t>(), stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return order;
}

// The sum of each run, [R, padded channels], in the order of cells.
Tensor run_sums(const DepthLayout& depth, const FeatureRows& context, const Tensor& cells,
                const Tensor& column_offsets, const Tensor& runs, int64_t padded_channels,
                cudaStream_t stream) {
  const at::TensorOptions options = depth.tensor.options();
  const bool is_double = depth.tensor.scalar_type() == at::kDouble;
  Tensor sums = at::empty({runs.size(0), padded_channels},
                          options.dtype(is_double ? at::kDouble : at::kFloat));
  launch_columns(cuda_dtype_of(depth.tensor),
                 {depth.tensor.const_data_ptr(), depth.image_stride, context,
                  column_offsets.const_data_ptr<int32_t>(),
                  reinterpret_cast<const Run*>(runs.const_data_ptr<int32_t>()),
                  cells.size(0) * cells.size(1), cells.size(2), cells.size(3), cells.size(4),
                  padded_channels, sums.data_ptr()},
                 stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return sums;
}

Tensor bev_pool_cuda(const Tensor& depth_in, const Tensor& context, const Tensor& cells_in,
                     const std::optional<Tensor>& planned_offsets,
                     const std::optional<Tensor>& planned_runs,
                     const std::optional<Tensor>& planned_column_offsets,
                     const std::optional<Tensor>&, int64_t bev_y, int64_t bev_x) {
  check_pool(depth_in, context, cells_in, bev_y, bev_x);
  const c10::cuda::CUDAGuard guard(depth_in.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();
  const DepthLayout depth(depth_in);
  const int64_t items = cells_in.size(0), grid = bev_y * bev_x;
  Tensor bev = at::empty({items, context.size(2), bev_y, bev_x}, depth_in.options());
  if (bev.numel() == 0) return bev;
  if (cells_in.numel() == 0) return bev.zero_();

  const CudaDtype dtype = cuda_dtype_of(depth_in);
  const OwnedRows features = context_rows(context, stream);
  CellParams cell_params{nullptr, items, context.size(2), padded(context.size(2), dtype), grid,
                         bev.data_ptr()};
  if (planned_offsets.has_value() && planned_runs.has_value() &&
      planned_column_offsets.has_value()) {
    const int64_t row_tiles = (cells_in.size(3) + kRowTile - 1) / kRowTile;
    const int64_t columns = items * cells_in.size(1) * cells_in.size(4) * row_tiles;
    check_runs(*planned_offsets, *planned_runs, items * grid, cells_in, "offsets", "runs");
    check_runs(*planned_column_offsets, *planned_runs, columns, cells_in, "column_offsets", "runs");
    const Tensor offsets = planned_offsets->contiguous(), runs = planned_runs->contiguous();
    const Tensor column_offsets = planned_column_offsets->contiguous();
    if (runs.numel() == 0) return bev.zero_();
    const Tensor sums = run_sums(depth, features.rows, cells_in, column_offsets, runs,
                                 cell_params.padded_channels, stream);
    cell_params.offsets = offsets.const_data_ptr<int32_t>();
    launch_pool_run_sums(dtype, cell_params, sums.const_data_ptr(), stream);
  } else {
    const PointOrder order = sort_points(cells_in.contiguous(), grid, stream);
    cell_params.offsets = order.offsets.const_data_ptr<int32_t>();
    launch_pool_points(dtype, cell_params,
                       {depth.tensor.const_data_ptr(), depth.image_stride, features.rows,
                        order.points.const_data_ptr<int64_t>(), cells_in.size(2),
                        cells_in.size(3), cells_in.size(4)},
                       stream);
  }
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return bev;
}

// One launch for as many channels as a thread's registers hold.
std::tuple<Tensor, Tensor> backward_slice(const Tensor& grad, const DepthLayout& depth,
                                          const Tensor& context, const Tensor& cells,
                                          cudaStream_t stream) {
  const CudaDtype dtype = cuda_dtype_of(context);
  const int64_t channels = context.size(2), grid = grad.size(2) * grad.size(3);
  Tensor depth_grad = at::empty(cells.sizes(), context.options());
  Tensor context_grad = at::empty(context.sizes(), context.options());
  const OwnedRows features = context_rows(context, stream);
  const OwnedRows grads =
      packed_rows(grad, grad.size(0), grid, channels, grad.stride(0), grid, stream);
  launch_backward(dtype,
                  {depth.tensor.const_data_ptr(), depth.image_stride, features.rows,
                   grads.rows.data, cells.const_data_ptr<int32_t>(), cells.size(0) * cells.size(1),
                   cells.size(1), cells.size(2), cells.size(3), cells.size(4), channels,
                   padded(channels, dtype), grid, depth_grad.data_ptr(), context_grad.data_ptr()},
                  stream);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {depth_grad, context_grad};
}

// The pixels find their runs as they go, so a plan's columns are not needed.
std::tuple<Tensor, Tensor> bev_pool_backward_cuda(const Tensor& grad_in, const Tensor& depth_in,
                                                  const Tensor& context, const Tensor& cells_in,
                                                  const std::optional<Tensor>&,
                                                  const std::optional<Tensor>&) {
  check_grad(grad_in, context);
  check_pool(depth_in, context, cells_in, grad_in.size(2), grad_in.size(3));
  const c10::cuda::CUDAGuard guard(depth_in.device());
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream().stream();
  const DepthLayout depth(depth_in);
  const Tensor cells = cells_in.contiguous(), grad = grad_in.contiguous();
  if (cells.numel() == 0 || context.numel() == 0)
    return {at::zeros_like(depth_in, at::MemoryFormat::Contiguous),
            at::zeros_like(context, at::MemoryFormat::Contiguous)};
  const int64_t channels = context.size(2);
  const int64_t most = most_backward_channels(cuda_dtype_of(context));
  if (channels <= most) return backward_slice(grad, depth, context, cells, stream);

  const bool is_double = context.scalar_type() == at::kDouble;
  Tensor depth_sum = at::empty(cells.sizes(),
                               context.options().dtype(is_double ? at::kDouble : at::kFloat));
  depth_sum.zero_();
  Tensor context_grad = at::empty(context.sizes(), context.options());
  for (int64_t first = 0; first < channels; first += most) {
    const int64_t count = std::min(most, channels - first);
    const auto [depth_grad, slice] = backward_slice(
        grad.narrow(1, first, count), depth, context.narrow(2, first, count), cells, stream);
    depth_sum.add_(depth_grad);
    context_grad.narrow(2, first, count).copy_(slice);
  }
  return {depth_sum.to(context.scalar_type()), context_grad};
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

TORCH_LIBRARY_FRAGMENT(bevdepth_plus_ops, m) { m.def("runs_on_gpu(int index) -> bool", runs_on_gpu); }

TORCH_LIBRARY_IMPL(bevdepth_plus_ops, CUDA, m) {
  m.impl("bev_pool", bev_pool_cuda);
  m.impl("bev_pool_backward", bev_pool_backward_cuda);
  m.impl("frustum_cells", frustum_cells_cuda);
}

}  // namespace bevpool
