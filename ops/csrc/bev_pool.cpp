// The operators as PyTorch sees them, called through the Python package.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <string>

#include "checks.h"
#include "cpu/kernels.h"
#include "cpu/plan.h"
#include "cpu/pool.h"
#include "cpu/share.h"

namespace bevpool {
namespace {

using at::Tensor;

Tensor frustum_cells_cpu(const Tensor& ego_T_cam, const Tensor& intrinsics,
                         const Tensor& image_aug, const Tensor& bev_aug, const Tensor& u,
                         const Tensor& v, const Tensor& depths, at::ArrayRef<double> lower,
                         at::ArrayRef<double> cell_size, at::IntArrayRef grid_size,
                         bool truncate) {
  const FrustumInputs in(ego_T_cam, intrinsics, image_aug, bev_aug, u, v, depths);
  Tensor cells = at::empty(in.cells_shape(), u.options().dtype(at::kInt));
  const FrustumArgs args{in.ego_T_cam.const_data_ptr<double>(),
                         in.intrinsics.const_data_ptr<double>(),
                         in.image_aug.const_data_ptr<double>(),
                         in.bev_aug.const_data_ptr<double>(),
                         in.u.const_data_ptr<float>(),
                         in.v.const_data_ptr<float>(),
                         in.depths.const_data_ptr<float>(),
                         cells.size(1),
                         cells.size(2),
                         cells.size(3),
                         cells.size(4),
                         grid_from(lower, cell_size, grid_size, truncate),
                         cells.data_ptr<int32_t>()};
  share(cells.size(0) * cells.size(1) * cells.size(2), 8, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().frustum(args, first, last);
  });
  return cells;
}

std::string cpu_instruction_set() { return kernels_for_this_cpu().instruction_set; }

}  // namespace

TORCH_LIBRARY(bevdepth_plus_ops, m) {
  m.def(
      "bev_pool(Tensor depth, Tensor context, Tensor cells, Tensor? offsets, Tensor? runs, "
      "Tensor? column_offsets, Tensor? column_runs, int bev_y, int bev_x) -> Tensor");
  m.def(
      "bev_pool_backward(Tensor grad, Tensor depth, Tensor context, Tensor cells, "
      "Tensor? column_offsets, Tensor? column_runs) -> (Tensor, Tensor)");
  m.def(
      "bev_pool_plan(Tensor cells, int bev_y, int bev_x, bool for_gpu) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "frustum_cells(Tensor ego_T_cam, Tensor intrinsics, Tensor image_aug, Tensor bev_aug, "
      "Tensor u, Tensor v, Tensor depths, float[] lower, float[] cell_size, int[] grid_size, "
      "bool truncate) -> Tensor");
  m.def("cpu_instruction_set() -> str", cpu_instruction_set);
}

TORCH_LIBRARY_IMPL(bevdepth_plus_ops, CPU, m) {
  m.impl("bev_pool", bev_pool_cpu);
  m.impl("bev_pool_backward", bev_pool_backward_cpu);
  m.impl("bev_pool_plan", bev_pool_plan);
  m.impl("frustum_cells", frustum_cells_cpu);
}

}  // namespace bevpool
