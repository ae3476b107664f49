// The operators: schema and CPU implementation. Shapes are checked here for callers that come
// without the Python wrapper; the kernels then trust them.
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "checks.h"
#include "cpu/kernels.h"

namespace bevpool {
namespace {

using at::Tensor;

Dtype dtype_of(const Tensor& t) {
  switch (t.scalar_type()) {
    case at::kFloat: return Dtype::kFloat;
    case at::kDouble: return Dtype::kDouble;
    case at::kBFloat16: return Dtype::kBFloat16;
    default: return Dtype::kHalf;
  }
}

at::ScalarType sum_type(const Tensor& t) {
  return t.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

int64_t padded(int64_t channels) {
  return (channels + kChannelMultiple - 1) / kChannelMultiple * kChannelMultiple;
}

// [images, rows, padded channels] in the summing type from [.., channels, rows] with any strides.
Tensor packed_rows(const Tensor& source, int64_t images, int64_t rows, int64_t channels,
                   int64_t image_stride, int64_t channel_stride, int64_t row_stride) {
  Tensor packed = at::empty({images, rows, padded(channels)},
                            source.options().dtype(sum_type(source)));
  const PackArgs args{dtype_of(source), source.const_data_ptr(), rows,       channels,
                      padded(channels), image_stride,            channel_stride, row_stride,
                      packed.data_ptr()};
  const int64_t blocks = images * ((rows + kTileCells - 1) / kTileCells);
  at::parallel_for(0, blocks, 16, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().pack(args, first, last);
  });
  return packed;
}

Tensor packed_context(const Tensor& context) {
  const ContextLayout layout(context);
  return packed_rows(layout.tensor, layout.tensor.size(0) * layout.tensor.size(1),
                     context.size(3) * context.size(4), context.size(2), layout.image_stride,
                     layout.channel_stride, layout.pixel_stride);
}

struct CellRun {
  int32_t cell;
  Run run;
};

std::vector<CellRun> runs_of_image(const int32_t* cells, int64_t bins, int64_t height,
                                   int64_t width, int64_t grid, int64_t image) {
  const int64_t pixels = height * width;
  std::vector<int32_t> starts(bins * pixels), row_buffer(2 * pixels);
  kernels_for_this_cpu().run_starts(
      {cells, bins, height, width, grid, starts.data(), row_buffer.data()});
  std::vector<CellRun> runs;
  for (int64_t d = 0; d < bins; ++d) {
    for (int64_t p = 0; p < pixels; ++p) {
      const int32_t start = starts[d * pixels + p];
      if (start == 0) continue;
      runs.push_back({cells[d * pixels + p],
                      {static_cast<int32_t>(image * pixels + p), static_cast<int32_t>(d),
                       start >> 16, start & 0xffff}});
    }
  }
  return runs;
}

// Sorts the runs of each cell behind each other (a stable counting sort), one batch item a task.
std::tuple<Tensor, Tensor> bev_pool_plan(const Tensor& cells_in, int64_t bev_y, int64_t bev_x) {
  check_cells(cells_in, bev_y, bev_x);
  const Tensor cells = cells_in.contiguous();
  const int64_t items = cells.size(0), cameras = cells.size(1), bins = cells.size(2);
  const int64_t height = cells.size(3), width = cells.size(4), grid = bev_y * bev_x;
  const int64_t images = items * cameras, points = bins * height * width;

  std::vector<std::vector<CellRun>> found(images);
  const int32_t* data = cells.const_data_ptr<int32_t>();
  at::parallel_for(0, images, 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      found[i] = runs_of_image(data + i * points, bins, height, width, grid, i);
  });
  std::vector<int64_t> first_run(items + 1, 0);
  for (int64_t b = 0; b < items; ++b) {
    first_run[b + 1] = first_run[b];
    for (int64_t n = 0; n < cameras; ++n) first_run[b + 1] += found[b * cameras + n].size();
  }
  Tensor offsets = at::empty({items * grid + 1}, cells.options());
  Tensor runs = at::empty({first_run[items], 4}, cells.options());
  int32_t* offset = offsets.data_ptr<int32_t>();
  Run* sorted = reinterpret_cast<Run*>(runs.data_ptr<int32_t>());
  at::parallel_for(0, items, 1, [&](int64_t first, int64_t last) {
    std::vector<int32_t> next(grid);
    for (int64_t b = first; b < last; ++b) {
      std::fill(next.begin(), next.end(), 0);
      for (int64_t n = 0; n < cameras; ++n)
        for (const CellRun& r : found[b * cameras + n]) ++next[r.cell];
      int32_t total = static_cast<int32_t>(first_run[b]);
      for (int64_t c = 0; c < grid; ++c) {
        offset[b * grid + c] = total;
        total += next[c];
        next[c] = offset[b * grid + c];
      }
      for (int64_t n = 0; n < cameras; ++n)
        for (const CellRun& r : found[b * cameras + n]) sorted[next[r.cell]++] = r.run;
    }
  });
  offset[items * grid] = static_cast<int32_t>(first_run[items]);
  return {offsets, runs};
}

// The tile where work item `part` of `parts` begins, so that all carry about as many runs.
int64_t first_tile_of(const int32_t* offsets, int64_t items, int64_t grid, int64_t part,
                      int64_t parts) {
  const int64_t tiles = (grid + kTileCells - 1) / kTileCells;
  const auto work_before = [&](int64_t tile) {
    const int64_t cell = std::min(tile % tiles * kTileCells, grid) + tile / tiles * grid;
    return offsets[cell] + 4 * tile;  // a tile without runs costs about as much as four
  };
  const int64_t wanted = work_before(items * tiles) / parts * part;
  int64_t low = 0, high = items * tiles;
  if (part == parts) return high;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (work_before(middle) < wanted)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

Tensor bev_pool_cpu(const Tensor& depth_in, const Tensor& context, const Tensor& cells,
                    const std::optional<Tensor>& planned_offsets,
                    const std::optional<Tensor>& planned_runs, int64_t bev_y, int64_t bev_x) {
  check_pool(depth_in, context, cells, bev_y, bev_x);
  const DepthLayout depth(depth_in);
  Tensor offsets, runs;
  if (planned_offsets.has_value() && planned_runs.has_value()) {
    check_plan(*planned_offsets, *planned_runs, cells, bev_y, bev_x);
    offsets = planned_offsets->contiguous();
    runs = planned_runs->contiguous();
  } else {
    std::tie(offsets, runs) = bev_pool_plan(cells, bev_y, bev_x);
  }
  const int64_t items = cells.size(0), channels = context.size(2), grid = bev_y * bev_x;
  Tensor bev = at::empty({items, channels, bev_y, bev_x}, depth_in.options());
  if (bev.numel() == 0) return bev;
  const Tensor packed = packed_context(context);
  const int32_t* offset = offsets.const_data_ptr<int32_t>();
  const ForwardArgs args{dtype_of(depth_in),
                         depth.tensor.const_data_ptr(),
                         depth.image_stride,
                         packed.const_data_ptr(),
                         offset,
                         reinterpret_cast<const Run*>(runs.const_data_ptr<int32_t>()),
                         cells.size(2),
                         cells.size(3),
                         cells.size(4),
                         channels,
                         padded(channels),
                         grid,
                         bev.data_ptr()};
  const int64_t parts = 256;
  at::parallel_for(0, parts, 1, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().forward(args, first_tile_of(offset, items, grid, first, parts),
                                   first_tile_of(offset, items, grid, last, parts));
  });
  return bev;
}

std::tuple<Tensor, Tensor> bev_pool_backward_cpu(const Tensor& grad_in, const Tensor& depth_in,
                                                 const Tensor& context, const Tensor& cells_in) {
  check_pool(depth_in, context, cells_in, grad_in.size(2), grad_in.size(3));
  check_grad(grad_in, context);
  const DepthLayout depth(depth_in);
  const Tensor cells = cells_in.contiguous();
  const Tensor grad = grad_in.contiguous();
  const int64_t items = cells.size(0), cameras = cells.size(1), width = cells.size(4);
  const int64_t channels = context.size(2), grid = grad.size(2) * grad.size(3);
  Tensor depth_grad = at::empty(cells.sizes(), depth_in.options());
  Tensor context_grad = at::empty(context.sizes(), context.options());
  if (context_grad.numel() == 0) return {depth_grad.zero_(), context_grad};
  if (depth_grad.numel() == 0) return {depth_grad, context_grad.zero_()};
  const Tensor packed = packed_context(context);
  const Tensor packed_grad = packed_rows(grad, items, grid, channels, channels * grid, grid, 1);
  const BackwardArgs args{dtype_of(depth_in),
                          depth.tensor.const_data_ptr(),
                          depth.image_stride,
                          packed.const_data_ptr(),
                          packed_grad.const_data_ptr(),
                          cells.const_data_ptr<int32_t>(),
                          cameras,
                          cells.size(2),
                          cells.size(3),
                          width,
                          channels,
                          padded(channels),
                          grid,
                          depth_grad.data_ptr(),
                          context_grad.data_ptr()};
  const int64_t blocks = items * cameras * ((width + kColumnBlock - 1) / kColumnBlock);
  at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().backward(args, first, last);
  });
  return {depth_grad, context_grad};
}

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
  const int64_t planes = cells.size(0) * cells.size(1) * cells.size(2);
  at::parallel_for(0, planes, 8, [&](int64_t first, int64_t last) {
    kernels_for_this_cpu().frustum(args, first, last);
  });
  return cells;
}

std::string cpu_instruction_set() { return kernels_for_this_cpu().instruction_set; }

// Under autocast both features take the autocast dtype; the sums stay in float32.
template <c10::DispatchKey key, c10::DeviceType device>
Tensor bev_pool_autocast(const Tensor& depth, const Tensor& context, const Tensor& cells,
                         const std::optional<Tensor>& offsets, const std::optional<Tensor>& runs,
                         int64_t bev_y, int64_t bev_x) {
  c10::impl::ExcludeDispatchKeyGuard no_autocast(key);
  const auto dtype = at::autocast::get_autocast_dtype(device);
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("bevdepth_plus_ops::bev_pool", "")
                             .typed<decltype(bev_pool_cpu)>();
  return op.call(at::autocast::cached_cast(dtype, depth, device),
                 at::autocast::cached_cast(dtype, context, device), cells, offsets, runs, bev_y,
                 bev_x);
}

}  // namespace

TORCH_LIBRARY(bevdepth_plus_ops, m) {
  m.def(
      "bev_pool(Tensor depth, Tensor context, Tensor cells, Tensor? offsets, Tensor? runs, "
      "int bev_y, int bev_x) -> Tensor");
  m.def(
      "bev_pool_backward(Tensor grad, Tensor depth, Tensor context, Tensor cells) "
      "-> (Tensor, Tensor)");
  m.def("bev_pool_plan(Tensor cells, int bev_y, int bev_x) -> (Tensor, Tensor)");
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

TORCH_LIBRARY_IMPL(bevdepth_plus_ops, AutocastCPU, m) {
  m.impl("bev_pool", bev_pool_autocast<c10::DispatchKey::AutocastCPU, c10::kCPU>);
}

TORCH_LIBRARY_IMPL(bevdepth_plus_ops, AutocastCUDA, m) {
  m.impl("bev_pool", bev_pool_autocast<c10::DispatchKey::AutocastCUDA, c10::kCUDA>);
}

}  // namespace bevpool
