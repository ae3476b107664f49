// What the CPU and the CUDA side ask of their tensors, and the layouts they read without a copy.
// checks.py asks the same before it comes here, so no caller of the Python package meets these
// exceptions. They stay as a last resort for code that calls torch.ops itself (an exported program,
// say): the kernels trust what they are given, and would write outside of it.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <limits>
#include <vector>

#include "shared_math.h"

namespace bevpool {
namespace {

using at::Tensor;

inline void check_cells(const Tensor& cells, int64_t bev_y, int64_t bev_x) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  TORCH_CHECK_VALUE(cells.dim() == 5, "cells must be [B, N, D, H, W], got ", cells.sizes());
  TORCH_CHECK_TYPE(cells.scalar_type() == at::kInt, "cells must be torch.int32, got ",
                   cells.scalar_type());
  TORCH_CHECK_VALUE(bev_y > 0 && bev_x > 0, "bev_size must be (Y, X), both at least 1, got (",
                    bev_y, ", ", bev_x, ")");
  TORCH_CHECK_VALUE(bev_y <= most / bev_x && cells.size(0) <= most / (bev_y * bev_x),
                    "bev_size times batch must stay below 2^31 cells, got ", cells.size(0), " x ",
                    bev_y, " x ", bev_x);
  TORCH_CHECK_VALUE(cells.numel() <= most, "cells must stay below 2^31 points, got ",
                    cells.numel());
  TORCH_CHECK_VALUE(cells.size(2) < 32768 && cells.size(3) < 32768,
                    "cells may have at most 32767 bins and rows, got ", cells.sizes());
}

inline void check_pool(const Tensor& depth, const Tensor& context, const Tensor& cells,
                       int64_t bev_y, int64_t bev_x) {
  check_cells(cells, bev_y, bev_x);
  const auto dtype = depth.scalar_type();
  TORCH_CHECK_TYPE(dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16 ||
                       dtype == at::kHalf,
                   "depth must be float32, float64, bfloat16 or float16, got ", dtype);
  TORCH_CHECK_TYPE(context.scalar_type() == dtype, "context must have depth's dtype ", dtype,
                   ", got ", context.scalar_type());
  TORCH_CHECK_VALUE(depth.sizes() == cells.sizes(), "cells must have depth's shape ",
                    depth.sizes(), ", got ", cells.sizes());
  TORCH_CHECK_VALUE(context.dim() == 5 && context.size(0) == cells.size(0) &&
                        context.size(1) == cells.size(1) && context.size(3) == cells.size(3) &&
                        context.size(4) == cells.size(4),
                    "context must be [B, N, C, H, W] to fit depth ", depth.sizes(), ", got ",
                    context.sizes());
  TORCH_CHECK_VALUE(context.device() == depth.device() && cells.device() == depth.device(),
                    "context and cells must be on depth's device ", depth.device(), ", got ",
                    context.device(), " and ", cells.device());
}

// A plan from elsewhere is trusted in its values (BEVPoolPlan makes them from its own cells), not in
// its shapes. `groups` is the number of tiles, cells or columns that the runs are sorted by.
inline void check_runs(const Tensor& offsets, const Tensor& runs, int64_t groups,
                       const Tensor& cells, const char* offsets_name, const char* runs_name) {
  TORCH_CHECK_TYPE(offsets.scalar_type() == at::kInt && runs.scalar_type() == at::kInt,
                   offsets_name, " and ", runs_name, " must be torch.int32, got ",
                   offsets.scalar_type(), " and ", runs.scalar_type());
  TORCH_CHECK_VALUE(offsets.dim() == 1 && offsets.size(0) == groups + 1, offsets_name,
                    " must be [", groups + 1, "], got ", offsets.sizes(),
                    " (a plan made for another device or shape?)");
  TORCH_CHECK_VALUE(runs.dim() == 2 && runs.size(1) == 4, runs_name, " must be [R, 4], got ",
                    runs.sizes());
  TORCH_CHECK_VALUE(offsets.device() == cells.device() && runs.device() == cells.device(),
                    "the plan must be on depth's device ", cells.device(), ", got ",
                    offsets.device(), " and ", runs.device());
}

inline void check_grad(const Tensor& grad, const Tensor& context) {
  TORCH_CHECK_VALUE(grad.dim() == 4 && grad.size(0) == context.size(0) &&
                        grad.size(1) == context.size(2),
                    "grad must be [B, C, Y, X] to fit context ", context.sizes(), ", got ",
                    grad.sizes());
  TORCH_CHECK_TYPE(grad.scalar_type() == context.scalar_type(), "grad must have context's dtype ",
                   context.scalar_type(), ", got ", grad.scalar_type());
  TORCH_CHECK_VALUE(grad.device() == context.device(), "grad must be on context's device ",
                    context.device(), ", got ", grad.device());
}

// Images are [B, N] apart: whether one stride reaches them all, and which. Strides of axes of
// length 1 mean nothing.
inline bool has_image_stride(const Tensor& t) {
  return t.size(0) <= 1 || t.size(1) <= 1 || t.stride(0) == t.size(1) * t.stride(1);
}
inline int64_t image_stride_of(const Tensor& t) {
  return t.size(1) > 1 ? t.stride(1) : t.size(0) > 1 ? t.stride(0) : 0;
}

// Depth is read where it is if each image is contiguous (a slice of a larger tensor, say).
struct DepthLayout {
  explicit DepthLayout(const Tensor& depth) : tensor(depth) {
    int64_t expected = 1;
    bool dense = has_image_stride(depth);
    for (int64_t axis = 4; axis >= 2; --axis) {
      dense = dense && (depth.size(axis) == 1 || depth.stride(axis) == expected);
      expected *= depth.size(axis);
    }
    if (!dense) tensor = depth.contiguous();
    image_stride = image_stride_of(tensor);
  }
  Tensor tensor;
  int64_t image_stride;
};

// Context is read where it is if one stride steps through an image's pixels and either the pixels
// or the channels are neighbours (NCHW or channels_last, also as a slice of a larger tensor).
struct ContextLayout {
  explicit ContextLayout(const Tensor& context) : tensor(context) {
    const int64_t height = context.size(3), width = context.size(4);
    const bool one_pixel_stride =
        height == 1 || width == 1 || context.stride(3) == width * context.stride(4);
    const int64_t step = width > 1 ? context.stride(4) : height > 1 ? context.stride(3) : 1;
    const bool fits = has_image_stride(context) && one_pixel_stride &&
                      (step == 1 || context.stride(2) == 1 || context.size(2) == 1);
    if (!fits) tensor = context.contiguous();
    image_stride = image_stride_of(tensor);
    pixel_stride = fits ? step : 1;
    channel_stride = tensor.size(2) == 1 && pixel_stride != 1 ? 1 : tensor.stride(2);
  }
  Tensor tensor;
  int64_t image_stride, channel_stride, pixel_stride;
};

// The arguments of frustum_cells, checked and in the types the kernels read.
struct FrustumInputs {
  FrustumInputs(const Tensor& ego_T_cam_in, const Tensor& intrinsics_in, const Tensor& aug_in,
                const Tensor& bev_aug_in, const Tensor& u_in, const Tensor& v_in,
                const Tensor& depths_in) {
    TORCH_CHECK_VALUE(ego_T_cam_in.dim() == 4, "ego_T_cam must be [B, N, 4, 4], got ",
                      ego_T_cam_in.sizes());
    const int64_t items = ego_T_cam_in.size(0), cameras = ego_T_cam_in.size(1);
    const auto device = ego_T_cam_in.device();
    const auto prepared = [&](const Tensor& t, const char* name, at::IntArrayRef shape,
                              at::ScalarType dtype) {
      TORCH_CHECK_VALUE(t.sizes() == shape, name, " must be ", shape, ", got ", t.sizes());
      TORCH_CHECK_VALUE(t.device() == device, name, " must be on ego_T_cam's device ", device,
                        ", got ", t.device());
      return t.to(dtype).contiguous();
    };
    ego_T_cam = prepared(ego_T_cam_in, "ego_T_cam", {items, cameras, 4, 4}, at::kDouble);
    intrinsics = prepared(intrinsics_in, "intrinsics", {items, cameras, 3, 3}, at::kDouble);
    image_aug = prepared(aug_in, "image_aug", {items, cameras, 3, 3}, at::kDouble);
    bev_aug = prepared(bev_aug_in, "bev_aug", {items, 4, 4}, at::kDouble);
    u = prepared(u_in, "u", {u_in.numel()}, at::kFloat);
    v = prepared(v_in, "v", {v_in.numel()}, at::kFloat);
    depths = prepared(depths_in, "depths", {depths_in.numel()}, at::kFloat);
  }
  std::vector<int64_t> cells_shape() const {
    return {ego_T_cam.size(0), ego_T_cam.size(1), depths.numel(), v.numel(), u.numel()};
  }
  Tensor ego_T_cam, intrinsics, image_aug, bev_aug, u, v, depths;
};

inline Grid grid_from(at::ArrayRef<double> lower, at::ArrayRef<double> cell_size,
                      at::IntArrayRef grid_size, bool truncate) {
  TORCH_CHECK_VALUE(lower.size() == 3 && cell_size.size() == 3 && grid_size.size() == 3,
                    "lower, cell_size and grid_size must each hold x, y and z, got ",
                    lower.size(), ", ", cell_size.size(), " and ", grid_size.size(), " values");
  Grid grid;
  for (int axis = 0; axis < 3; ++axis) {
    TORCH_CHECK_VALUE(cell_size[axis] > 0, "cell_size must be positive, got ", cell_size);
    TORCH_CHECK_VALUE(grid_size[axis] > 0, "grid_size must be positive, got ", grid_size);
    grid.lower[axis] = lower[axis];
    grid.cell_size[axis] = cell_size[axis];
    grid.size[axis] = static_cast<int32_t>(grid_size[axis]);
  }
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  TORCH_CHECK_VALUE(grid_size[0] <= most / grid_size[1] && grid_size[2] <= most,
                    "grid_size must stay below 2^31 cells and layers, got ", grid_size);
  grid.truncate = truncate;
  return grid;
}

}  // namespace
}  // namespace bevpool
